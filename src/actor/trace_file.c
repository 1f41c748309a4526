/* A Chrome trace: one JSON array of events, each on a line of its own. Only whole lines are
 * written, so that a process that dies leaves all of its array but the last bracket, which readers
 * of the format do without. The text is made by hand: printf would cost a small step more than the
 * rest of the trace. */
#include "actor/trace.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- text ---- */

static bool grow(ef__text *t, size_t n)
{
    const size_t room = 2 * (t->used + n) + 4096;
    char *more = t->failed ? NULL : realloc(t->data, room);
    if (!more)
        return !(t->failed = true);
    t->data = more;
    t->room = room;
    return true;
}

/* Inline, as most of what is put is a literal. */
static inline void put_bytes(ef__text *t, const char *bytes, size_t n)
{
    if (t->used + n > t->room && !grow(t, n))
        return;
    memcpy(t->data + t->used, bytes, n);
    t->used += n;
}

static inline void put(ef__text *t, const char *s)
{
    put_bytes(t, s, strlen(s));
}

size_t ef__digits(uint64_t n, char to[20])
{
    enum { MOST = 20 };
    char all[2 * MOST] = {0}, *from = all + MOST;
    do
        *--from = (char)('0' + n % 10);
    while (n /= 10);
    memcpy(to, from, MOST); /* no call for a few bytes */
    return (size_t)(all + MOST - from);
}

static inline void put_number(ef__text *t, const char *before, uint64_t n)
{
    enum { MOST = 20 };
    put(t, before);
    if (t->used + MOST <= t->room || grow(t, MOST))
        t->used += ef__digits(n, t->data + t->used);
}

/* Microseconds. */
static inline void put_us(ef__text *t, const char *before, uint64_t ns)
{
    char to[20];
    ef__digits(1000 + ns % 1000, to);
    to[0] = '.';
    put_number(t, before, ns / 1000);
    put_bytes(t, to, 4);
}

static void put_sizes(ef__text *t, const char *before, const size_t n[3])
{
    put_number(t, before, n[0]);
    for (int i = 1; i < 3 && n[i]; i++)
        put_number(t, "x", n[i]);
    put(t, "\"");
}

/* A label as JSON has it. What is not UTF-8, a letter that was cut for example, ends it. */
static void put_label(ef__text *t, const char *before, const char *label)
{
    json_t *s = NULL;
    for (size_t n = strlen(label); !s && n; n--)
        s = json_stringn(label, n);
    char *quoted = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    put(t, before);
    put(t, quoted ? quoted : "\"\"");
    free(quoted);
    json_decref(s);
}

void ef__trace_batch(ef__trace *t, const char *label)
{
    t->batch.used = 0;
    put_label(&t->batch, ",\"batch\":", label);
}

void ef__trace_line(ef__trace *trace, const ef__span *s, bool with_batch)
{
    ef__text *t = &trace->lines;
    put(t, ",\n{\"name\":\"");
    put(t, s->op);
    put_number(t, "\",\"ph\":\"X\",\"pid\":", (uint64_t)trace->pid);
    put_number(t, ",\"tid\":", s->lane);
    put_us(t, ",\"ts\":", s->from);
    put_us(t, ",\"dur\":", s->to - s->from);
    put_number(t, ",\"args\":{\"epoch\":", s->epoch);
    put_number(t, ",\"op\":", s->sequence);
    if (with_batch)
        put_bytes(t, trace->batch.data, trace->batch.used);
    if (s->label[0])
        put_label(t, ",\"label\":", s->label);
    if (s->kernel) {
        put(t, ",\"kernel\":\"");
        put(t, s->kernel);
        put_sizes(t, "\",\"global\":\"", s->global);
        put_sizes(t, ",\"local\":\"", s->local);
    }
    if (s->shape[0]) {
        put(t, ",\"shape\":\"");
        put(t, s->shape);
        put(t, "\"");
    }
    if (s->bytes)
        put_number(t, ",\"bytes\":", s->bytes);
    put(t, "}}");
}

static void put_head(ef__text *t, int pid, const char *device)
{
    static const char *const lanes[] = {"host: enqueue", "host: wait", "device", "readback",
                                        "loader"};
    put_number(t, "[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":", (uint64_t)pid);
    put_label(t, ",\"args\":{\"name\":", device);
    put(t, "}}");
    for (unsigned i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        put_number(t, ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":", (uint64_t)pid);
        put_number(t, ",\"tid\":", i + 1);
        put_label(t, ",\"args\":{\"name\":", lanes[i]);
        put(t, "}}");
    }
}

/* ---- the file ---- */

bool ef__trace_file_write(ef__trace *t)
{
    bool right = !t->lines.failed && t->fd >= 0;
    for (size_t done = 0; right && done < t->lines.used;) {
        ssize_t n = write(t->fd, t->lines.data + done, t->lines.used - done);
        if (n > 0)
            done += (size_t)n;
        else
            right = n < 0 && errno == EINTR;
    }
    if (right) {
        t->bytes += t->lines.used;
    } else if (t->fd >= 0) {
        int code = errno;
        (void)!ftruncate(t->fd, (off_t)t->bytes);
        close(t->fd);
        t->fd = -1;
        errno = code;
    }
    t->lines.used = 0;
    return right;
}

/* Open and lock a regular file. False: another actor, of any process, is writing it. fd < 0 and
 * errno: it cannot be written. */
static bool open_locked(const char *name, int *fd)
{
    struct stat st;
    *fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (*fd < 0 || fstat(*fd, &st))
        return true;
    if (S_ISREG(st.st_mode) && flock(*fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        close(*fd);
        return false;
    }
    errno = EINVAL;
    if (!S_ISREG(st.st_mode) || ftruncate(*fd, 0)) {
        int code = errno;
        close(*fd);
        *fd = -1;
        errno = code;
    }
    return true;
}

/* FILE, or the first of FILE.1, FILE.2 ... that no other actor is writing. */
static int open_free(const char *path, ef_error *error)
{
    char name[4096];
    int fd = -1, n = snprintf(name, sizeof name, "%s", path);
    for (unsigned k = 1; n < (int)sizeof name && !open_locked(name, &fd); k++)
        n = snprintf(name, sizeof name, "%s.%u", path, k);
    if (n >= (int)sizeof name)
        errno = ENAMETOOLONG;
    if (fd < 0 || n >= (int)sizeof name)
        ef__error_set(error, EF_EIO, 0, "open", "open: EF_TRACE=%s: cannot write %s: %s", path,
                      name, strerror(errno));
    return n < (int)sizeof name ? fd : -1;
}

ef_status ef__trace_file_open(ef__trace *t, const char *path, const char *device, ef_error *error)
{
    t->pid = (int)getpid();
    t->fd = open_free(path, error);
    if (t->fd < 0)
        return EF_EIO;
    put_head(&t->lines, t->pid, device);
    if (ef__trace_file_write(t))
        return EF_OK;
    return ef__error_set(error, EF_EIO, 0, "open", "open: EF_TRACE=%s: cannot write: %s", path,
                         strerror(errno));
}

void ef__trace_file_close(ef__trace *t)
{
    put(&t->lines, "\n]\n");
    ef__trace_file_write(t);
    if (t->fd >= 0)
        close(t->fd);
    free(t->lines.data);
    free(t->batch.data);
}
