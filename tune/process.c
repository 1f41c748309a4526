/* Worker processes. */
#define _GNU_SOURCE /* pipe2 */
#include "process.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_LINE = 4 << 20 };

void tune_process_attach(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
}

static void become(char *const argv[], int in, int out, pid_t parent)
{
    tune_process_attach(parent);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    if (!getenv("EF_TUNE_VERBOSE")) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
    }
    execv(argv[0], argv);
    _exit(127);
}

static bool spawn(tune_process *p, char *const argv[])
{
    const pid_t self = getpid();
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC))
        return false;
    if (pipe2(out, O_CLOEXEC)) {
        close(in[0]);
        close(in[1]);
        return false;
    }
    p->pid = fork();
    if (p->pid == 0)
        become(argv, in[0], out[1], self);
    if (p->pid > 0)
        setpgid(p->pid, p->pid); /* as it does itself: whoever is first */
    close(in[0]);
    close(out[1]);
    p->to = in[1];
    p->from = out[0];
    p->used = 0;
    if (p->pid > 0)
        p->started++;
    else
        close(p->to), close(p->from), p->pid = 0;
    return p->pid > 0;
}

/* ---- lines ---- */

static bool more_room(tune_process *p)
{
    if (p->room - p->used > 4096)
        return true;
    size_t room = p->room ? 2 * p->room : 65536;
    char *more = room <= MOST_LINE ? realloc(p->read, room) : NULL;
    if (!more)
        return false;
    p->read = more;
    p->room = room;
    return true;
}

/* Is a whole line there? It is taken out; *line stays NULL where it is no object. */
static bool take_line(tune_process *p, json_t **line)
{
    char *end = p->used ? memchr(p->read, '\n', p->used) : NULL;
    if (!end)
        return false;
    size_t length = (size_t)(end - p->read) + 1;
    *line = json_loadb(p->read, length, 0, NULL);
    memmove(p->read, p->read + length, p->used -= length);
    if (!json_is_object(*line)) {
        json_decref(*line);
        *line = NULL;
    }
    return true;
}

static tune_answer wait_for_line(tune_process *p, double seconds, json_t **line)
{
    const double end = ef__now() + seconds;
    while (!take_line(p, line)) {
        struct pollfd fd = {.fd = p->from, .events = POLLIN};
        double left = end - ef__now();
        int ready = left > 0 ? poll(&fd, 1, (int)(left * 1e3) + 1) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            return TUNE_SILENT;
        if (!more_room(p))
            return TUNE_GARBLED;
        ssize_t n = read(p->from, p->read + p->used, p->room - p->used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return TUNE_DIED;
        p->used += (size_t)n;
    }
    return *line ? TUNE_ANSWERED : TUNE_GARBLED;
}

static bool send_line(tune_process *p, json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;
    bool sent = text != NULL;
    if (text)
        text[length++] = '\n'; /* in place of the final 0 */
    for (size_t at = 0; sent && at < length;) {
        ssize_t n = write(p->to, text + at, length - at);
        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno != EINTR)
            sent = false;
    }
    free(text);
    return sent;
}

/* ---- public ---- */

tune_answer tune_process_start(tune_process *p, char *const argv[], double seconds, json_t **line)
{
    *line = NULL;
    return spawn(p, argv) ? wait_for_line(p, seconds, line) : TUNE_DIED;
}

tune_answer tune_process_ask(tune_process *p, json_t *request, double seconds, json_t **answer)
{
    bool sent = send_line(p, request);
    *answer = NULL;
    json_decref(request);
    return sent ? wait_for_line(p, seconds, answer) : TUNE_DIED;
}

tune_answer tune_process_next(tune_process *p, double seconds, json_t **line)
{
    *line = NULL;
    return wait_for_line(p, seconds, line);
}

bool tune_process_is_quiet(const tune_process *p)
{
    struct pollfd fd = {.fd = p->from, .events = POLLIN};
    return p->pid && p->used == 0 && poll(&fd, 1, 0) == 0;
}

static bool is_over(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

void tune_process_end(tune_process *p, char *text, size_t size)
{
    int status = 0;
    if (text && size)
        *text = '\0';
    if (!p->pid)
        return;
    /* One that has died by itself says of what; its end may be a moment away. A compiler that it
     * has started may hang, so its whole group goes, while its own number is still taken. */
    if (!is_over(p->pid)) {
        struct pollfd fd = {.fd = p->from};
        poll(&fd, 1, 20);
    }
    kill(-p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (text && WIFSIGNALED(status))
        snprintf(text, size, "signal %d", WTERMSIG(status));
    else if (text && WIFEXITED(status))
        snprintf(text, size, "exit status %d", WEXITSTATUS(status));
    close(p->to);
    close(p->from);
    free(p->read);
    p->read = NULL;
    p->used = p->room = 0;
    p->pid = 0;
}

void tune_one_line(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = ' ';
}
