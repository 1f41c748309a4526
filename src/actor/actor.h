/* The actor as the layers above see it: tensors' places, kernels to launch, errors to report.
 *
 * Everything here is called with the actor's lock held (ef__lock); the lock is recursive, so public
 * functions may be called too. */
#ifndef EF_ACTOR_ACTOR_H
#define EF_ACTOR_ACTOR_H

#include "base/sha256.h"
#include "energyflow.h"

void ef__lock(ef_actor *a);
void ef__unlock(ef_actor *a);

/* ---- errors ---- */

/* Report a failure of operation op ("layernorm.forward" or "conv1d.forward[panel]"). Keeps it as
 * the sticky error if it is of a sticky kind and none is there yet. Returns status. */
ef_status ef__fail(ef_actor *a, ef_status status, int cl_code, const char *op, const char *format,
                   ...) __attribute__((format(printf, 5, 6)));

/* Ready for work? EF_OK, the sticky error, or EF_ECANCELLED after close. */
ef_status ef__ready(ef_actor *a);

/* One pointer that the op layer keeps on the actor; destroy runs when the actor closes. */
typedef struct ef__slot {
    void *data;
    void (*destroy)(void *data);
} ef__slot;
ef__slot *ef__actor_slot(ef_actor *a);

/* The file of EF_TUNE_CAPTURE, open to append to until the actor is closed; below 0: none. */
int ef__actor_capture(const ef_actor *a);

/* ---- what the device is ---- */

typedef struct ef__device {
    ef_device_info info;
    bool keeps_events; /* one for each command: where they are free (CPUs), or to be timed */
} ef__device;

const ef__device *ef__device_of(const ef_actor *a);

/* ---- tensors ---- */

ef_actor *ef__tensor_actor(const ef_tensor *t);

/* EF_OK if there is a t and it belongs to a, else reports op. */
ef_status ef__tensor_usable(ef_actor *a, const ef_tensor *t, const char *op);

/* Do they share memory? Empty tensors never do. Are they the same memory? */
bool ef__overlap(const ef_tensor *x, const ef_tensor *y);
bool ef__same_memory(const ef_tensor *x, const ef_tensor *y);

/* Name, dtype and shape for messages: "x f32 [16,128,256]"; written into text[80]. */
const char *ef__tensor_text(const ef_tensor *t, char text[80]);

/* Number of writes that the memory under t has seen: derived layouts compare it. The write counter
 * is of the whole lease, so a write to any view of a parameter arena counts. */
uint64_t ef__tensor_version(const ef_tensor *t);
void ef__tensor_written(ef_tensor *t);

/* ef__tensor_new_upto -- a flat f32 tensor of *count elements, or of `least`, which is *count then,
 * where the device has no room for those. Errors: as ef_tensor_new. */
ef_status ef__tensor_new_upto(ef_actor *a, size_t least, size_t *count, const char *label,
                              ef_tensor **tensor);

/* Something that an upper layer hangs on the memory under t (packed weights); freed with it. */
typedef struct ef__attachment {
    void (*destroy)(struct ef__attachment *self);
} ef__attachment;
ef__attachment **ef__tensor_attachment(const ef_tensor *t);

/* Offset of t's first element from the start of its lease, in elements. */
size_t ef__tensor_offset(const ef_tensor *t);

/* A view of the whole lease under t, as a flat tensor of t's dtype. */
ef_status ef__tensor_root(const ef_tensor *t, ef_tensor **root);

/* ---- launching ---- */

enum { EF__MAX_ARGS = 32, EF__MAX_DEFINES = 8 };

typedef struct ef__arg {
    enum { EF__ARG_END, EF__ARG_TENSOR, EF__ARG_I32, EF__ARG_I64, EF__ARG_F32, EF__ARG_LOCAL } kind;
    union {
        const ef_tensor *tensor;
        int32_t i32;
        int64_t i64;
        float f32;
        size_t bytes;
    } u;
} ef__arg;

/* A tensor fills two kernel arguments: its buffer and its offset in elements (IN/OUT in
 * cl/common.cl); NULL gives a null pointer and 0. */
static inline ef__arg ef__t(const ef_tensor *t)
{
    return (ef__arg){EF__ARG_TENSOR, {.tensor = t}};
}
static inline ef__arg ef__i(int32_t v)
{
    return (ef__arg){EF__ARG_I32, {.i32 = v}};
}
static inline ef__arg ef__n(size_t v) /* long in the kernel */
{
    return (ef__arg){EF__ARG_I64, {.i64 = (int64_t)v}};
}
static inline ef__arg ef__f(float v)
{
    return (ef__arg){EF__ARG_F32, {.f32 = v}};
}
static inline ef__arg ef__local(size_t bytes) /* __local memory */
{
    return (ef__arg){EF__ARG_LOCAL, {.bytes = bytes}};
}

typedef struct ef__define {
    const char *name;
    long value;
} ef__define;

/* One launch. source is the base name of a file in cl/; defines become -D options and are part of
 * the program's identity, so they may never depend on B, L or N; nor may local, which is never left
 * to the driver: it would make groups of 1 of a prime number of items, and PoCL compiles each size
 * anew. global is in work-items; a zero in it makes the launch a no-op. args end at the first
 * EF__ARG_END. */
typedef struct ef__call {
    const char *op; /* for messages */
    const char *source, *kernel;
    ef__define defines[EF__MAX_DEFINES];
    size_t global[3], local[3]; /* unused dimensions 0 */
    size_t offset[3];           /* of the first work-item's global id: to test index widths */
    ef__arg args[EF__MAX_ARGS];
} ef__call;

ef_status ef__launch(ef_actor *a, const ef__call *call);

/* Build a call's program now, so that a build failure shows before work starts. */
ef_status ef__prepare(ef_actor *a, const ef__call *call);

/* SHA-256 of a file in cl/ with what is put in front of it. */
ef_status ef__kernel_hash(ef_actor *a, const char *source, char hex[EF__SHA256_HEX]);

/* Brackets of one operation: they count it, own its events and its sequence number, and run
 * EF_DEBUG=sync. ef__op_begin returns ef__ready's answer. */
ef_status ef__op_begin(ef_actor *a, const char *op);
ef_status ef__op_end(ef_actor *a, ef_status status);

/* ---- device time: these take the lock themselves, and wait without it ---- */

/* As ef_actor_open, on a queue that keeps the times of its commands. That is free on PoCL; on a GPU
 * it makes a launch about 2.5 times as dear (NVIDIA H200: 11.6 us instead of 4.4 us). */
ef_status ef__actor_open_profiling(const char *device, ef_actor **actor, ef_error *error);

/* The time that the device spends on what is enqueued between the two: END - START of each kernel,
 * fill and copy, summed, by whichever thread; uploads and readbacks are not counted. Of a CLBlast
 * call that makes copies first, from the end of the command before it to its own, gaps included.
 * ef__profile_end waits for the device. ESTATE: the queue keeps no times (it was adopted, or opened
 * for speed); else the error that the actor has. */
ef_status ef__profile_begin(ef_actor *a);
ef_status ef__profile_end(ef_actor *a, uint64_t *ns);

/* ---- the trace ---- */

/* Shows in a trace, if there is one, that a loader prepared a batch from then to then, by ef__now.
 * Takes the lock itself. */
void ef__trace_loaded(ef_actor *a, double from, double to);

/* ---- the device's error record (cl/common.cl: struct of 16 ints) ---- */

/* What was checked, for the message: the record's code. */
typedef enum ef__checked { EF__CHECKED_ID = 1, EF__CHECKED_TARGET } ef__checked;

/* The record as a tensor for kernel arguments. A checked kernel puts the smallest bad position into
 * it; ef__record_check enqueues the one-item kernel that fills the record in. ids [n] i32, limit
 * V. */
ef_tensor *ef__record(ef_actor *a);
ef_status ef__record_check(ef_actor *a, const char *op, ef__checked what, const ef_tensor *ids,
                           size_t limit);

#endif
