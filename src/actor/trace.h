/* EF_TRACE: what ran when, as a Chrome trace. a->trace is NULL when it is off: callers look at that
 * first. All under the actor's lock. */
#ifndef EF_ACTOR_TRACE_H
#define EF_ACTOR_TRACE_H

#include "actor/internal.h"

typedef enum ef__lane { EF__ENQUEUE = 1, EF__WAIT, EF__DEVICE, EF__READBACK, EF__LOADER } ef__lane;

/* ef__trace_path -- what EF_TRACE names; NULL: nothing. */
const char *ef__trace_path(void);

/* ef__trace_open -- start the file; a must be ready to work. Errors: EIO, ENOMEM. */
ef_status ef__trace_open(ef_actor *a, const char *path, ef_error *error);

/* ef__trace_close -- write what is left and end the file. */
void ef__trace_close(ef_actor *a);

/* ef__trace_write -- write what is done of the epochs up to this one, whose batch has that label.
 */
void ef__trace_write(ef_actor *a, uint64_t epoch, const char *label);

/* ---- the host's side: ns of its clock ---- */

uint64_t ef__trace_now(void);

/* The operation that runs began at; ends now. */
void ef__trace_op_begin(ef_actor *a);
void ef__trace_op_end(ef_actor *a);

/* The host waited from then till now for what label says, in epoch. */
void ef__trace_wait(ef_actor *a, uint64_t from, uint64_t epoch, const char *label);

/* ---- commands: a span is made when one is enqueued, and given its times when it is done ---- */

/* NULL: the queue keeps no times, or no memory. */
ef__span *ef__span_new(ef_actor *a, ef__lane lane, const char *op);
void ef__span_call(ef__span *s, const ef__call *call);
void ef__span_bytes(ef__span *s, size_t bytes);
void ef__span_tensor(ef__span *s, const ef_tensor *t, const char *label);

/* Takes the span over. from, to: by the device's clock. */
void ef__span_done(ef_actor *a, ef__span *s, uint64_t from, uint64_t to);
void ef__span_drop(ef__span *s); /* NULL is fine */

/* ---- between trace.c and trace_file.c ---- */

struct ef__span {
    ef__span *next;
    ef__lane lane;
    const char *op, *kernel; /* kernel NULL: none */
    uint64_t from, to;       /* by the host's clock */
    uint64_t enqueued;       /* not later than that */
    uint64_t epoch, sequence;
    bool in_batch;
    size_t bytes, global[3], local[3], shape_used;
    char label[EF__LABEL_BYTES], shape[192]; /* the last, so that they need not be cleared */
};

typedef struct ef__text {
    char *data;
    size_t used, room;
    bool failed; /* no memory was left */
} ef__text;

struct ef__trace {
    int fd, pid;            /* fd < 0: it could not be written */
    size_t bytes;           /* written: whole events */
    ef__text lines;         /* not yet written */
    ef__text batch;         /* ,"batch":"label" */
    int64_t offset;         /* host's clock - device's */
    int64_t now;            /* by the host's clock, when it was last looked at */
    uint64_t op_began;      /* the operation that runs */
    ef__span *first, *last; /* done, not yet lines */
    size_t count;
    ef__span *spare;
};

/* Open the file and write its head. Errors: EIO. */
ef_status ef__trace_file_open(ef__trace *t, const char *path, const char *device, ef_error *error);

/* Write the lines. False: the file could not grow; what it has is valid, and no more is written. */
bool ef__trace_file_write(ef__trace *t);

/* Write the end; close and free all that belongs to the file. */
void ef__trace_file_close(ef__trace *t);

/* Set batch; make a line of a span. */
void ef__trace_batch(ef__trace *t, const char *label);
void ef__trace_line(ef__trace *t, const ef__span *s, bool with_batch);

/* The digits of n, without a final 0; returns how many. All 20 bytes may be written. */
size_t ef__digits(uint64_t n, char to[20]);

#endif
