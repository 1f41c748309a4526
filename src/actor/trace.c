/* The spans of a trace. One waits in memory until its command is done, and then for the sync of its
 * epoch, which brings the batch's label. */
#include "actor/trace.h"
#include "base/error.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SPANS = 1 << 16 }; /* that wait for a sync, at most */

const char *ef__trace_path(void)
{
    const char *path = getenv("EF_TRACE");
    return path && *path ? path : NULL;
}

uint64_t ef__trace_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the clocks ---- */

/* A command runs after the host has asked for it and before the host has seen its end: that bounds
 * how far the two clocks are apart, by some microseconds. PoCL's is the host's own. */
static int64_t correlate(ef_actor *a)
{
    enum { ROUNDS = 8 };
    int64_t low = INT64_MIN, high = INT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        int record[EF__RECORD_INTS];
        ef__event e = {0};
        uint64_t from, to;
        const int64_t began = (int64_t)ef__trace_now();
        cl_int code = clEnqueueReadBuffer(a->queue, a->record->lease->block->mem, CL_FALSE, 0,
                                          sizeof record, record, 0, NULL, &e.event);
        code = clFinish(a->queue) || code;
        const int64_t ended = (int64_t)ef__trace_now();
        if (!code && ef__event_times(&e, &from, &to)) {
            low = began - (int64_t)from > low ? began - (int64_t)from : low;
            high = ended - (int64_t)to < high ? ended - (int64_t)to : high;
        }
        ef__event_drop(&e);
    }
    return low <= 0 && high >= 0 ? 0 : low + (high - low) / 2;
}

/* Clocks drift: a command that seems to have run before it was enqueued, or to end later than now,
 * corrects what was found when the actor opened. */
static void place(ef__trace *t, ef__span *s, uint64_t from, uint64_t to)
{
    const int64_t end = (int64_t)to + t->offset;
    if (end > t->now)
        t->now = (int64_t)ef__trace_now();
    if (end > t->now)
        t->offset = t->now - (int64_t)to;
    else if ((int64_t)from + t->offset < (int64_t)s->enqueued)
        t->offset = (int64_t)s->enqueued - (int64_t)from;
    s->from = (uint64_t)((int64_t)from + t->offset);
    s->to = (uint64_t)((int64_t)to + t->offset);
}

/* ---- spans ---- */

static ef__span *make(ef_actor *a, ef__lane lane, const char *op)
{
    ef__trace *t = a->trace;
    ef__span *s = t->spare;
    if (t->fd < 0)
        return NULL;
    if (s)
        t->spare = s->next;
    else
        s = malloc(sizeof *s);
    if (!s)
        return NULL;
    memset(s, 0, offsetof(ef__span, label));
    s->label[0] = s->shape[0] = '\0';
    s->lane = lane;
    s->op = op;
    s->enqueued = t->op_began;
    s->epoch = a->epoch;
    s->sequence = a->sequence;
    s->in_batch = a->depth > 0;
    return s;
}

static void list(ef_actor *a, ef__span *s)
{
    ef__trace *t = a->trace;
    *(t->last ? &t->last->next : &t->first) = s;
    t->last = s;
    if (++t->count == SPANS)
        ef__trace_write(a, a->epoch, a->labelled == a->epoch ? a->batch : NULL);
}

ef__span *ef__span_new(ef_actor *a, ef__lane lane, const char *op)
{
    return a->profiling ? make(a, lane, op) : NULL;
}

void ef__span_bytes(ef__span *s, size_t bytes)
{
    if (s)
        s->bytes = bytes;
}

/* "[16,128,256]"; whole shapes only, as many as there is room for. */
static void add_shape(ef__span *s, const ef_tensor *t)
{
    enum { MOST = 4 + EF_MAX_RANK * 21 };
    if (s->shape_used + MOST > sizeof s->shape)
        return;
    char *to = s->shape + s->shape_used;
    if (s->shape_used)
        *to++ = ' ';
    for (size_t i = 0; i < t->rank; i++) {
        *to++ = i ? ',' : '[';
        to += ef__digits(t->dims[i], to);
    }
    memcpy(to, "]", 2);
    s->shape_used = (size_t)(to + 1 - s->shape);
}

void ef__span_tensor(ef__span *s, const ef_tensor *t, const char *label)
{
    if (!s)
        return;
    add_shape(s, t);
    snprintf(s->label, sizeof s->label, "%s", label);
    s->bytes = ef_tensor_bytes(t);
}

void ef__span_call(ef__span *s, const ef__call *c)
{
    if (!s)
        return;
    s->kernel = c->kernel;
    memcpy(s->global, c->global, sizeof s->global);
    memcpy(s->local, c->local, sizeof s->local);
    for (const ef__arg *g = c->args; g < c->args + EF__MAX_ARGS && g->kind != EF__ARG_END; g++)
        if (g->kind == EF__ARG_TENSOR && g->u.tensor)
            add_shape(s, g->u.tensor);
}

void ef__span_done(ef_actor *a, ef__span *s, uint64_t from, uint64_t to)
{
    place(a->trace, s, from, to);
    list(a, s);
}

void ef__span_drop(ef__span *s)
{
    free(s);
}

/* ---- the host ---- */

void ef__trace_op_begin(ef_actor *a)
{
    a->trace->op_began = ef__trace_now();
}

void ef__trace_op_end(ef_actor *a)
{
    ef__span *s = make(a, EF__ENQUEUE, a->op);
    if (!s)
        return;
    s->from = s->enqueued;
    s->to = ef__trace_now();
    list(a, s);
}

void ef__trace_wait(ef_actor *a, uint64_t from, uint64_t epoch, const char *label)
{
    ef__span *s = make(a, EF__WAIT, "wait");
    if (!s)
        return;
    s->epoch = epoch;
    s->in_batch = a->depth || epoch < a->epoch; /* a sync has just closed its own */
    s->from = from;
    s->to = ef__trace_now();
    snprintf(s->label, sizeof s->label, "%s", label);
    list(a, s);
}

void ef__trace_loaded(ef_actor *a, double from, double to)
{
    const double ns = 1e9;
    ef__lock(a);
    ef__span *s = a->trace ? make(a, EF__LOADER, "batch") : NULL;
    if (s) {
        s->in_batch = false;
        s->from = (uint64_t)(from * ns);
        s->to = (uint64_t)(to * ns);
        list(a, s);
    }
    ef__unlock(a);
}

/* ---- open, write, close ---- */

ef_status ef__trace_open(ef_actor *a, const char *path, ef_error *error)
{
    a->trace = calloc(1, sizeof *a->trace);
    if (!a->trace)
        return ef__error_set(error, EF_ENOMEM, 0, "open", "open: no host memory");
    ef_status status = ef__trace_file_open(a->trace, path, a->about.info.name, error);
    if (!status && a->profiling)
        a->trace->offset = correlate(a);
    return status;
}

void ef__trace_write(ef_actor *a, uint64_t epoch, const char *label)
{
    ef__trace *t = a->trace;
    ef__span *s = t->first;
    if (label)
        ef__trace_batch(t, label);
    t->first = t->last = NULL;
    t->count = 0;
    while (s) {
        ef__span *next = s->next;
        s->next = NULL;
        if (s->epoch > epoch) {
            list(a, s);
        } else {
            ef__trace_line(t, s, label && s->in_batch && s->epoch == epoch);
            s->next = t->spare;
            t->spare = s;
        }
        s = next;
    }
    ef__trace_file_write(t);
}

void ef__trace_close(ef_actor *a)
{
    ef__trace *t = a->trace;
    ef__trace_write(a, UINT64_MAX, NULL);
    ef__trace_file_close(t);
    while (t->spare) {
        ef__span *s = t->spare;
        t->spare = s->next;
        free(s);
    }
    free(t);
    a->trace = NULL;
}
