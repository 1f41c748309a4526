/* start -- from the start of a process to the end of its first training step, with programs from
 * the driver's cache.
 *
 * Each repetition is a process of its own, `efbench --first-step`, which says on stdout what the
 * metrics of its step are. They have to be those of a step of this process, in every bit. */
#include "base/error.h"
#include "bench.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WORDS = 12 };

typedef struct start {
    bench *b;
    char *argv[WORDS];
    float metrics[EF_METRICS]; /* of the step in this process */
    bool same;
} start;

/* m is to be closed, also after a failure. */
static ef_status take_step(bench *b, const bench_shape *s, bench_model *m)
{
    ef_actor *a;
    ef_status status = bench_open(b, NULL, &a);
    if (!status)
        status = bench_model_open(b, s, a, m);
    return status ? status : bench_model_step(m);
}

ef_status bench_first_step(bench *b)
{
    bench_model m = {0};
    const bench_shape s = bench_shape_of(b);
    ef_status status = take_step(b, &s, &m);
    if (!status && write(STDOUT_FILENO, m.metrics, sizeof m.metrics) == sizeof m.metrics)
        _exit(EXIT_SUCCESS); /* at once: closing is no part of the time */
    bench_model_close(&m);
    return status ? status : ef__error_set(&b->error, EF_EIO, 0, NULL, "nobody reads the metrics");
}

static bool spawn(char *const argv[], int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    errno = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return errno == 0;
}

/* A process, until it has ended. */
static ef_status run(void *user)
{
    start *s = user;
    ef_error *error = &s->b->error;
    float metrics[EF_METRICS];
    int way[2], code;
    pid_t pid;
    if (pipe(way))
        return ef__error_set(error, EF_EIO, errno, NULL, "pipe: %s", strerror(errno));
    fcntl(way[0], F_SETFD, FD_CLOEXEC);
    fcntl(way[1], F_SETFD, FD_CLOEXEC);
    bool started = spawn(s->argv, way[1], &pid);
    close(way[1]);
    ssize_t got = started ? read(way[0], metrics, sizeof metrics) : 0;
    close(way[0]);
    if (!started)
        return ef__error_set(error, EF_EIO, errno, NULL, "/proc/self/exe: %s", strerror(errno));
    if (waitpid(pid, &code, 0) != pid || code || got != sizeof metrics)
        return ef__error_set(error, EF_EDEVICE, 0, NULL, "the process of a first step failed");
    s->same &= !memcmp(metrics, s->metrics, sizeof metrics);
    return EF_OK;
}

/* Text is room for the numbers. */
static void set_argv(start *s, char text[2][24])
{
    const bench *b = s->b;
    char **word = s->argv;
    *word++ = "efbench";
    *word++ = "--first-step";
    *word++ = "--model";
    *word++ = b->model ? "sample" : "full";
    if (b->device) {
        *word++ = "--device";
        *word++ = (char *)b->device;
    }
    const size_t sizes[2] = {b->batch, b->length};
    for (int i = 0; i < 2; i++) {
        if (sizes[i] == 0)
            continue;
        snprintf(text[i], sizeof text[i], "%zu", sizes[i]);
        *word++ = i ? "--length" : "--batch";
        *word++ = text[i];
    }
}

ef_status bench_start(bench *b)
{
    start s = {.b = b, .same = true};
    bench_task task = {.run = run, .user = &s};
    const bench_shape shape = bench_shape_of(b);
    bench_line line = {.item = "start", .flops = 3 * bench_forward_flops(&shape)};
    char text[2][24];
    bench_model m = {0};
    ef_stats stats = {0};
    ef_status status = take_step(b, &shape, &m);
    if (!status)
        ef_actor_stats(m.actor, &stats);
    memcpy(s.metrics, m.metrics, sizeof s.metrics);
    bench_model_close(&m);
    set_argv(&s, text);
    if (!status)
        status = bench_measure(b, &task, 1);
    if (status)
        return status;
    bench_shape_text(&shape, line.shape);
    line.ms = task.ms;
    line.peak_bytes = stats.pool_peak;
    line.verified = s.same && s.metrics[EF_METRIC_LOSS] > 0;
    line.more[0].name = "least_ms", line.more[0].value = task.least_ms;
    line.more[1].name = "programs", line.more[1].value = (double)stats.builds;
    return bench_print(b, &line);
}
