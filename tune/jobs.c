/* Devices and the processes that work on them. */
#define _GNU_SOURCE /* pipe2, strcasestr */
#include "jobs.h"
#include "base/clock.h"
#include "cmd/options.h"
#include "load.h"
#include "process.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 };

typedef struct stream {
    int fd; /* < 0: at its end */
    size_t used;
    char line[4096];
} stream;

typedef struct job {
    char device[24]; /* its index */
    char key[32], pci[32], uuid[64];
    bool is_cpu, begun;
    size_t hardware; /* the same number: never at once */
    pid_t pid;       /* 0: none now */
    stream out, err;
} job;

typedef struct jobs {
    const tune_jobs *request;
    job lister, *at;
    size_t count;
    bool failed;  /* the devices cannot be listed */
    bool stopped; /* the runs know it */
    int code;     /* the highest so far */
} jobs;

static void raise_code(jobs *j, int code)
{
    if (code > j->code)
        j->code = code;
}

/* ---- devices ---- */

static bool is_index(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0';
}

static bool is_wanted(const tune_jobs *q, const char *device, const char *name,
                      const char *platform)
{
    if (!q->wanted)
        return !strcasestr(platform, "Oclgrind");
    return is_index(q->wanted) ? !strcmp(q->wanted, device)
                               : strcasestr(name, q->wanted) || strcasestr(platform, q->wanted);
}

static bool is_same(const char *a, const char *b)
{
    return *a && !strcmp(a, b);
}

/* One more. Those that share hardware with it, each by what its own platform says, are one. */
static void add(jobs *j, const job *one)
{
    job *own = &j->at[j->count];
    *own = *one;
    own->hardware = j->count++;
    for (job *other = j->at; other < own; other++) {
        const size_t theirs = other->hardware;
        if ((own->is_cpu && other->is_cpu) || is_same(own->uuid, other->uuid) ||
            is_same(own->pci, other->pci))
            for (job *any = j->at; any < own; any++)
                any->hardware = any->hardware == theirs ? own->hardware : any->hardware;
    }
}

static void take_device(jobs *j, const char *line)
{
    const char *name, *platform, *kind, *key, *pci, *uuid;
    json_int_t index;
    job one = {.out.fd = -1, .err.fd = -1};
    json_t *json = json_loads(line, 0, NULL);
    if (json_unpack(json, "{s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "index", &index, "name", &name,
                    "platform", &platform, "kind", &kind, "key", &key, "pci", &pci, "uuid",
                    &uuid)) {
        j->failed = true;
    } else {
        snprintf(one.device, sizeof one.device, "%lld", (long long)index);
        snprintf(one.key, sizeof one.key, "%s", key);
        snprintf(one.pci, sizeof one.pci, "%s", pci);
        snprintf(one.uuid, sizeof one.uuid, "%s", uuid);
        one.is_cpu = !strcmp(kind, "cpu");
        bool wanted = is_wanted(j->request, one.device, name, platform) && j->count < MOST;
        for (size_t i = 0; i < j->count; i++)
            wanted &= strcmp(one.key, j->at[i].key) != 0;
        if (wanted)
            add(j, &one);
    }
    json_decref(json);
}

static bool may_begin(const jobs *j, const job *one)
{
    size_t running = 0;
    for (const job *other = j->at; other < j->at + j->count; other++) {
        if (!other->pid)
            continue;
        running++;
        if (one->hardware == other->hardware)
            return false;
    }
    return !one->begun && running < j->request->at_once;
}

/* ---- processes ---- */

static void become(const jobs *j, const job *one, int out, int err, pid_t parent)
{
    const tune_jobs *q = j->request;
    tune_process_attach(parent);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    int code = one == &j->lister ? q->list(q->user) : q->run(q->user, one->device);
    fflush(NULL);
    _exit(code);
}

static void begin(jobs *j, job *one)
{
    const pid_t parent = getpid();
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    fflush(NULL);
    pid_t pid = pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ? -1 : fork();
    if (pid == 0)
        become(j, one, out[1], err[1], parent);
    if (pid < 0)
        raise_code(
            j, ef__say_error(j->request->command, EF__RUNTIME, "no process: %s", strerror(errno)));
    close(out[1]);
    close(err[1]);
    one->begun = true;
    one->pid = pid > 0 ? pid : 0;
    one->out = (stream){.fd = out[0]};
    one->err = (stream){.fd = err[0]};
}

/* Its end, once it has said everything. */
static void bury(jobs *j, job *one)
{
    int status;
    while (waitpid(one->pid, &status, 0) < 0 && errno == EINTR)
        ;
    one->pid = 0;
    if (WIFEXITED(status))
        raise_code(j, WEXITSTATUS(status));
    else
        raise_code(j, ef__say_error(j->request->command, EF__RUNTIME,
                                    "device %s: the process died of signal %d", one->device,
                                    WTERMSIG(status)));
}

/* ---- lines ---- */

static void say(jobs *j, const job *one, FILE *to, const char *line)
{
    if (one == &j->lister && to == stdout)
        take_device(j, line);
    else if (one == &j->lister)
        fprintf(to, "%s\n", line);
    else if (to == stdout && j->request->json && *line == '{')
        fprintf(to, "{\"device\":%s,%s\n", one->device, line + 1);
    else
        fprintf(to, "device %s: %s\n", one->device, line);
    fflush(to);
}

/* Read what there is; whole lines, and one that is too long in parts, are passed on. */
static void take(jobs *j, const job *one, stream *s, FILE *to)
{
    ssize_t n = read(s->fd, s->line + s->used, sizeof s->line - 1 - s->used);
    if (n < 0 && errno == EINTR)
        return;
    s->used += n > 0 ? (size_t)n : 0;
    s->line[s->used] = '\0';
    char *from = s->line;
    for (char *end; (end = strchr(from, '\n')); from = end + 1) {
        *end = '\0';
        say(j, one, to, from);
    }
    if (*from && (n <= 0 || strlen(from) == sizeof s->line - 1)) {
        say(j, one, to, from);
        from += strlen(from);
    }
    s->used = strlen(from);
    memmove(s->line, from, s->used);
    if (n <= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

/* A signal may come just before poll: the stop is looked for every second. */
static void wait_for(jobs *j, job *list, size_t count)
{
    struct pollfd fds[2 * MOST];
    for (size_t i = 0; i < count; i++) {
        fds[2 * i] = (struct pollfd){.fd = list[i].out.fd, .events = POLLIN};
        fds[2 * i + 1] = (struct pollfd){.fd = list[i].err.fd, .events = POLLIN};
    }
    int ready = poll(fds, 2 * count, 1000);
    for (size_t i = 0; i < count && ready > 0; i++) {
        if (fds[2 * i].revents)
            take(j, &list[i], &list[i].out, stdout);
        if (fds[2 * i + 1].revents)
            take(j, &list[i], &list[i].err, stderr);
    }
    for (job *one = list; one < list + count; one++)
        if (one->pid && one->out.fd < 0 && one->err.fd < 0)
            bury(j, one);
}

/* ---- the whole ---- */

static void list_devices(jobs *j)
{
    begin(j, &j->lister);
    while (j->lister.pid)
        wait_for(j, &j->lister, 1);
    if (j->code == EXIT_SUCCESS && j->failed)
        raise_code(j, ef__say_error(j->request->command, EF__DEVICE,
                                    "the list of devices cannot be read"));
    else if (j->code == EXIT_SUCCESS && !j->count)
        raise_code(j, ef__say_error(j->request->command, EF__USAGE, "no device \"%s\"",
                                    j->request->wanted ? j->request->wanted : "(any)"));
}

/* Before the first begins: later the runs themselves are what keeps the machine at work. */
static void look_at_load(const tune_jobs *q, tune_load *load)
{
    char text[64];
    double left = load->since ? load->since + load->least_s - ef__now() : 0;
    if (left > 0)
        poll(NULL, 0, (int)(left * 1e3) + 1);
    if (tune_load_is_high(load, 0, text, sizeof text))
        ef__say_error(q->command, 0, "warning: %s: times will scatter", text);
}

static void stop(jobs *j)
{
    for (job *one = j->at; one < j->at + j->count; one++) {
        if (one->pid && !j->stopped)
            kill(one->pid, SIGINT);
        one->begun = true;
    }
    j->stopped = true;
    raise_code(j, EF__INTERRUPTED);
}

static void run_all(jobs *j)
{
    for (size_t running = 1; running;) {
        if (j->request->stop && *j->request->stop)
            stop(j);
        running = 0;
        for (job *one = j->at; one < j->at + j->count; one++) {
            if (may_begin(j, one))
                begin(j, one);
            running += one->pid != 0;
        }
        if (running)
            wait_for(j, j->at, j->count);
    }
}

int tune_jobs_run(const tune_jobs *request)
{
    tune_load load = {0};
    jobs j = {.request = request, .at = calloc(MOST, sizeof *j.at)};
    if (!j.at)
        return ef__say_error(request->command, EF__RUNTIME, "no host memory");
    if (request->watch_s > 0)
        tune_load_begin(&load, request->watch_s);
    list_devices(&j);
    if (j.code == EXIT_SUCCESS) {
        look_at_load(request, &load);
        run_all(&j);
    }
    free(j.at);
    return j.code;
}
