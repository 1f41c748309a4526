/* energyflow.h -- train and run causal TCN text encoders on any OpenCL device.
 *
 * An ef_actor owns one device and its one in-order queue. Every operation is only enqueued; the
 * host waits in ef_batch_sync, ef_actor_finish, ef_actor_reset, ef_actor_close, in a readback, in
 * what syncs a batch of its own (ef_trainer_step outside a batch, ef_train, evaluations), in an
 * upload while too many bytes of earlier ones are on their way, and under EF_DEBUG=sync; nowhere
 * else. Any thread may call: an actor's calls are serialised by its lock.
 *
 * Shapes use fixed letters: B batch, L length, C channels, D width, H hidden, K taps, V vocabulary,
 * E output width. Tensors are dense and row-major; the last dimension is contiguous.
 *
 * Every function that returns ef_status leaves its outputs untouched when it fails. The text of a
 * failure is in the actor's error (ef_actor_error), or in the ef_error that the function takes as
 * its last parameter, which may be NULL. A function asserts that the object it belongs to, its
 * first parameter, is not NULL, but the _free and _close functions allow it; a NULL among the
 * tensors of an operation, a copy or a readback is EF_EARG. */
#ifndef ENERGYFLOW_H
#define ENERGYFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status, errors, version --------------------------------------------------------------- */

#define EF_STATUS_LIST(X)                                                                          \
    X(OK, "success")                                                                               \
    X(EARG, "invalid argument")                                                                    \
    X(ESHAPE, "shapes disagree")                                                                   \
    X(ENOMEM, "out of memory")                                                                     \
    X(EDEVICE, "device or driver error")                                                           \
    X(EBUILD, "a kernel does not build")                                                           \
    X(EIO, "input/output error")                                                                   \
    X(EFORMAT, "malformed file")                                                                   \
    X(ESTATE, "wrong state for this call")                                                         \
    X(EEARLY, "readback asked for before its batch was synced")                                    \
    X(ECANCELLED, "cancelled")                                                                     \
    X(ETIMEOUT, "timed out")

typedef enum ef_status {
#define EF_STATUS_ENUM(name, text) EF_##name,
    EF_STATUS_LIST(EF_STATUS_ENUM)
#undef EF_STATUS_ENUM
} ef_status;

/* The first failure: status, the OpenCL code behind it (0: none), the operation, one line of
 * text. */
typedef struct ef_error {
    ef_status status;
    int code;
    char op[48];
    char text[512];
} ef_error;

/* ef_strerror -- what a status means, in a few words; a static string. */
const char *ef_strerror(ef_status status);

/* ef_version -- the version of the library that runs, "0.1.0"; a static string. */
const char *ef_version(void);

/* ef_version_full -- the same with the versions of the OpenCL loader, as its pkg-config file gives
 * it, CLBlast, hwloc, jansson and utf8proc that it was built with. */
const char *ef_version_full(void);

/* ---- Devices ------------------------------------------------------------------------------- */

typedef struct ef_device_info {
    char name[128], vendor[128], platform[128], version[128], driver[128];
    bool is_cpu, is_gpu;
    unsigned compute_units, vector_width; /* vector_width: floats in a native vector */
    size_t max_work_group;
    uint64_t global_bytes, max_alloc_bytes, local_bytes;
    char extensions[2048];
    /* Where the device is, from hwloc; -1 and 0 where it is not known. */
    int package, numa_node, pci_domain, pci_bus, pci_device;
    unsigned cores;
    uint64_t l1d_bytes, l2_bytes, l3_bytes;
    char host_cpu[128];
} ef_device_info;

/* ef_device_count -- how many OpenCL devices there are; 0 without a driver. Indices are stable as
 * long as the set of drivers does not change. */
size_t ef_device_count(void);

/* ef_device_describe -- fill in what is known of one device. Errors: EARG (no such index). */
ef_status ef_device_describe(size_t index, ef_device_info *info, ef_error *error);

/* ef_device_tree -- the machine around a device as indented text lines (hwloc): packages, NUMA
 * nodes, caches, cores, and the device's place among them. *text is malloc'ed, the caller frees
 * it. */
ef_status ef_device_tree(size_t index, char **text, ef_error *error);

/* ---- The actor ----------------------------------------------------------------------------- */

typedef struct ef_actor ef_actor;
typedef struct ef_tensor ef_tensor;
typedef struct ef_readback ef_readback;

typedef enum ef_guard {
    EF_GUARD_TRAP, /* a readback asked for early prints why and aborts (default) */
    EF_GUARD_ERROR /* it returns EF_EEARLY; also by EF_GUARD=error in the environment */
} ef_guard;

/* Which kernels an actor may choose among. Normal admits convolutions, twice as fast, whose
 * rounding errors follow rows next to an output in time; ef_conv1d_forward says how far. */
typedef enum ef_accuracy {
    EF_NORMAL, /* default */
    EF_STRICT  /* without them; also by EF_ACCURACY=strict in the environment */
} ef_accuracy;

typedef struct ef_stats {
    uint64_t ops;          /* operations enqueued */
    uint64_t launches;     /* kernels, fills and copies enqueued, CLBlast's included */
    uint64_t host_waits;   /* times that the host waited for the device */
    uint64_t bytes_up;     /* host to device */
    uint64_t bytes_down;   /* device to host */
    uint64_t builds;       /* programs compiled or loaded */
    uint64_t loads;        /* part of them: binaries from the disk cache */
    uint64_t pool_bytes;   /* device memory held */
    uint64_t pool_used;    /* part of it that is leased */
    uint64_t pool_peak;    /* most that was ever leased at a time */
    uint64_t epoch;        /* number of the open batch */
    uint64_t epoch_synced; /* last batch that was synced */
} ef_stats;

/* ef_actor_open -- open a device.
 *   device   an index ("0") or a part of the name of device or platform, any case; NULL: the
 *            environment's EF_DEVICE, else the first GPU, else the first CPU. Oclgrind is only
 *            taken when named.
 * Environment: EF_GUARD=trap|error, EF_ACCURACY=strict|normal, EF_DEBUG=sync,canary, EF_CL_DIR,
 * EF_LINEAR=clblast|own, EF_TUNE=on|off|PATH, EF_TUNE_STALE=use and EF_TUNE_VERBOSE (ef_tune_load),
 * EF_TUNE_CAPTURE=FILE (for eftune: which operations ran at which shapes, appended on close),
 * EF_CACHE=off|FOLDER (for program binaries; unset: energyflow in $XDG_CACHE_HOME or ~/.cache),
 * EF_TRACE=FILE (a Chrome trace, whole when the actor is closed; FILE.1 and so on while another
 * actor writes FILE).
 * Errors: EARG (nothing matches: the text lists what there is; a variable has another value),
 * EDEVICE (no device, driver error), EIO (EF_TRACE's file or EF_TUNE_CAPTURE's cannot be
 * written). */
ef_status ef_actor_open(const char *device, ef_actor **actor, ef_error *error);

/* ef_actor_close -- wait for the device, resolve pending readbacks as EF_ECANCELLED, let go of the
 * device. Tensors and readbacks may outlive it: they answer EF_ECANCELLED and free normally. */
void ef_actor_close(ef_actor *actor);

/* ef_actor_device -- what the actor's device is. The struct belongs to the actor. */
const ef_device_info *ef_actor_device(const ef_actor *actor);

/* ef_tune_load -- take the choices of variants from a database that eftune wrote, from the next
 * operation on. Without it the first operation looks for one: EF_TUNE=PATH names it; else, with
 * EF_TUNE unset or =on, it is the user's for this device, $XDG_DATA_HOME/energyflow/tune/KEY.eftune
 * (~/.local/share), or the system's, SYSCONFDIR/energyflow/tune/KEY.eftune; without any, and with
 * EF_TUNE=off, choices are built in. A database that is found there and cannot be read is as none
 * (ef_tune_get says why); one that is named must be good. A shape that was not tuned takes the
 * choice of the nearest that was, at most three doublings of its sizes away. Records of other
 * kernels than this library's are passed over, and those that were measured with another driver
 * than the device has now, unless EF_TUNE_STALE=use: eftune --check measures them anew. With
 * EF_TUNE_VERBOSE set, each operation says on stderr what was chosen for it, once for each shape.
 * CLBlast's parameters belong to the process: the first database that has some decides for its
 * device and all actors on it, until the process ends; one with others that is found, not named, is
 * as none. CLBlast shows before its first product that it is right with them; if not, products that
 * take it are EDEVICE.
 * Errors: EIO, EFORMAT (no such file, or of another device), ENOMEM, ESTATE (the process has other
 * parameters of CLBlast for the device; actors before this one and without a database keep on). */
ef_status ef_tune_load(ef_actor *actor, const char *path);

typedef struct ef_tune_info {
    char path[1024];  /* of the database; "" when there is none */
    char error[512];  /* why it cannot be read: the built-in choices are in force; "" */
    char driver[128]; /* another driver that records name, the first of several; "" */
    size_t choices;   /* in force */
    size_t of_other_driver, stale, broken; /* lines passed over: measured with another driver; of
                                            * other kernels; that cannot be read */
    char clblast[640]; /* CLBlast's parameters for its GEMM; "" where it has its own */
    char digest[65];   /* SHA-256 of the choices in force, hexadecimal; "" without any. Two runs on
                        * one device with the same digest run the same kernels. */
} ef_tune_info;

/* ef_tune_get -- what of a database is in force. Errors: as ef_tune_load. */
ef_status ef_tune_get(ef_actor *actor, ef_tune_info *info);

/* ef_actor_error -- copy the sticky error; returns its status, EF_OK when there is none. The first
 * error of an operation, batch or readback stays until ef_actor_reset; meanwhile operations return
 * it and do not touch the device. EEARLY, ETIMEOUT, ESTATE and ECANCELLED are returned, never
 * kept. */
ef_status ef_actor_error(ef_actor *actor, ef_error *error);

/* ef_actor_message -- the text of the last failure of any kind on this actor, by whichever thread;
 * valid until the actor's next ef_actor_message. */
const char *ef_actor_message(ef_actor *actor);

/* ef_actor_reset -- clear the sticky error; an open batch is closed, its pending readbacks resolve
 * as EF_ECANCELLED. Waits for the device. A lost device stays lost: EF_EDEVICE. */
ef_status ef_actor_reset(ef_actor *actor);

/* ef_actor_finish -- a plain fence: wait for everything enqueued. Resolves nothing of an open
 * batch. Returns the first error. */
ef_status ef_actor_finish(ef_actor *actor);

/* ef_actor_set_guard -- what asking early does. */
void ef_actor_set_guard(ef_actor *actor, ef_guard guard);

/* ef_actor_set_accuracy -- the class of accuracy of the operations from here on. */
void ef_actor_set_accuracy(ef_actor *actor, ef_accuracy accuracy);
ef_accuracy ef_actor_accuracy(ef_actor *actor);

/* ef_actor_stats -- the counters since the actor was opened. */
void ef_actor_stats(ef_actor *actor, ef_stats *stats);

/* ef_actor_memory -- call each for every piece of leased device memory, oldest first: the label of
 * the tensor that it was made for, and its bytes, together pool_used. each runs under the actor's
 * lock and must not call the library. */
void ef_actor_memory(ef_actor *actor, void (*each)(void *user, const char *label, size_t bytes),
                     void *user);

/* ef_actor_trim -- give unused pooled device memory back to the driver. */
void ef_actor_trim(ef_actor *actor);

/* ef_batch_begin -- open a batch, or join the open one (batches nest; a batch is the actor's, not
 * the thread's). Returns the sticky error, if any. */
ef_status ef_batch_begin(ef_actor *actor);

/* ef_batch_sync -- leave a batch. An inner sync only flushes; the outermost one waits once for the
 * device (clFinish), resolves the batch's readbacks in the order of their start and returns the
 * batch's first error. label: for messages; copied. Errors: ESTATE (no batch is open). */
ef_status ef_batch_sync(ef_actor *actor, const char *label);

/* ---- Tensors ------------------------------------------------------------------------------- */

#define EF_MAX_RANK 4

typedef enum ef_dtype { EF_F32, EF_F16, EF_I32, EF_U8 } ef_dtype;

/* ef_tensor_new -- lease device memory from the actor's pool. The contents are undefined.
 *   dims    rank numbers (1 <= rank <= 4); a zero makes an empty tensor, which is legal
 *   label   for messages; copied; may be NULL
 * f16 is storage only: write, read and ef_cast take it, every other operation answers EARG.
 * Errors: EARG, ENOMEM (the text gives bytes needed and available), EDEVICE. */
ef_status ef_tensor_new(ef_actor *actor, ef_dtype dtype, size_t rank, const size_t *dims,
                        const char *label, ef_tensor **tensor);

/* ef_tensor_view -- another shape over a part of parent's memory, which it keeps alive.
 *   offset  in elements from parent's start; its byte offset must be a multiple of 64
 * Errors: EARG (alignment), ESHAPE (it passes the end of parent). */
ef_status ef_tensor_view(ef_tensor *parent, size_t offset, size_t rank, const size_t *dims,
                         const char *label, ef_tensor **view);

/* ef_tensor_free -- let go of a tensor; legal right after enqueueing with it. NULL is fine. */
void ef_tensor_free(ef_tensor *tensor);

size_t ef_tensor_rank(const ef_tensor *tensor);
const size_t *ef_tensor_dims(const ef_tensor *tensor);
size_t ef_tensor_count(const ef_tensor *tensor);
size_t ef_tensor_bytes(const ef_tensor *tensor);
ef_dtype ef_tensor_dtype(const ef_tensor *tensor);
const char *ef_tensor_label(const ef_tensor *tensor);

/* ef_tensor_write -- enqueue an upload of ef_tensor_bytes(tensor) bytes. data is copied before the
 * call returns. Errors: ENOMEM, EDEVICE. */
ef_status ef_tensor_write(ef_tensor *tensor, const void *data);

/* ef_tensor_fill -- set every element to value (converted to the dtype). */
ef_status ef_tensor_fill(ef_tensor *tensor, double value);

/* ef_tensor_copy -- to = from; same dtype and count. They may be one memory, but not overlap
 * otherwise. Errors: ESHAPE, EARG (overlap). */
ef_status ef_tensor_copy(ef_tensor *to, const ef_tensor *from);

/* ---- Readbacks: deferred host values ------------------------------------------------------- */

typedef enum ef_readback_mode {
    EF_DEFER_UNTIL_SYNC, /* readable once its own batch is synced; outside a batch like IMMEDIATE */
    EF_IMMEDIATE         /* readable at once: asking waits for this readback alone */
} ef_readback_mode;

/* ef_readback_start -- enqueue a download of tensor into memory that the readback owns. An empty
 * tensor gives a readback that is ready. label: for messages; copied; may be NULL. */
ef_status ef_readback_start(ef_actor *actor, const ef_tensor *tensor, ef_readback_mode mode,
                            const char *label, ef_readback **readback);

/* ef_readback_value -- the value: *data has *count elements of the tensor's dtype and belongs to
 * the readback; count may be NULL. Asking a deferred readback before its batch is synced traps, or
 * answers EF_EEARLY under EF_GUARD_ERROR. Other errors: the one that the batch failed with,
 * ECANCELLED. */
ef_status ef_readback_value(ef_readback *readback, const void **data, size_t *count);

/* ef_readback_poll -- EF_OK ready, EF_ETIMEOUT pending, else the error it resolved to. Never
 * traps. */
ef_status ef_readback_poll(ef_readback *readback);

/* ef_readback_wait -- wait until it is resolved, a deferred one by whichever thread syncs, an
 * immediate one by the device; at most milliseconds (< 0: for ever). EF_ETIMEOUT when the time is
 * up. Never traps. */
ef_status ef_readback_wait(ef_readback *readback, int milliseconds);

/* ef_readback_retain, ef_readback_free -- a readback is counted: each start and retain needs one
 * free. */
ef_readback *ef_readback_retain(ef_readback *readback);
void ef_readback_free(ef_readback *readback);

/* ---- Operations ---------------------------------------------------------------------------- */
/* All enqueue only; their tensors may be freed at once. All are f32 but ids (i32) and masks (u8: 0
 * masked, anything else kept). Activation gradients overwrite, parameter gradients are added to.
 * An output overlaps no other tensor of the call, unless its text says what it may be: then both
 * are exactly the same memory.
 * Common errors: EARG (wrong dtype or rank, a tensor of another actor, NULL or overlapping
 * tensors), ESHAPE, EBUILD, EDEVICE, ENOMEM, and the sticky error.
 * Same device, variants and input: same bits. */

/* What an operation does to z, its plain result, before it is stored; NULL parts are left out:
 *     z += bias[c];  pre = z;  z = gelu(z);  z *= gelu'(gelu_grad);  z += residual;
 *     z = 0 in rows whose mask is 0 (assigned, so NaN in a masked row becomes 0)
 * pre, gelu_grad and residual have the result's shape; residual may be the result itself; mask has
 * one element for each row. The same values as the separate operations, one launch. */
typedef struct ef_epilogue {
    const ef_tensor *bias;
    ef_tensor *pre;
    bool gelu;
    const ef_tensor *gelu_grad;
    const ef_tensor *residual;
    const ef_tensor *mask;
} ef_epilogue;

/* ef_cast -- y = x converted to y's dtype (f32 <-> f16, round to nearest even). Same shape. */
ef_status ef_cast(ef_actor *a, const ef_tensor *x, ef_tensor *y);

/* ef_residual_add -- y += x, same shape; x may be y. Backward: dx = dy to both. Cost: 12 N byte. */
ef_status ef_residual_add(ef_actor *a, const ef_tensor *x, ef_tensor *y);

/* ef_mask_rows -- y[b,t,:] = 0 where mask[b,t] == 0. y [B,L,C], mask [B,L] u8. Its own backward. */
ef_status ef_mask_rows(ef_actor *a, const ef_tensor *mask, ef_tensor *y);

/* ef_gelu_forward -- y = gelu(x), the tanh form: u = c (x + 0.044715 x^3), c = sqrt(2/pi),
 * y = x (1 + tanh u) / 2 evaluated as x / (1 + exp(-2u)), which does not cancel in the tail.
 * Same shape; y may be x. Source: Hendrycks, Gimpel 2016, arXiv:1606.08415. */
ef_status ef_gelu_forward(ef_actor *a, const ef_tensor *x, ef_tensor *y);

/* ef_gelu_backward -- dx = dy gelu'(x). Same shapes; dx may be dy or x. */
ef_status ef_gelu_backward(ef_actor *a, const ef_tensor *x, const ef_tensor *dy, ef_tensor *dx);

/* ef_layernorm_forward -- normalise each row, then scale and shift.
 *     y[r,c] = (x[r,c] - mean[r]) rstd[r] gamma[c] + beta[c], rstd = 1/sqrt(var + eps), var biased
 *   x, y         [..., C], rows are all leading dimensions; y may be x
 *   gamma, beta  [C]
 *   mask         [rows] u8 or NULL: y is 0 in masked rows
 *   mean, rstd   [rows] out, for backward, 0 in masked rows; both or neither NULL
 *   eps          > 0
 * Two passes over a row, so a large mean does not cancel. Cost: 8 rows C flop, 8 rows C byte.
 * Source: Ba et al. 2016, arXiv:1607.06450. */
ef_status ef_layernorm_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *gamma,
                               const ef_tensor *beta, const ef_tensor *mask, float eps,
                               ef_tensor *y, ef_tensor *mean, ef_tensor *rstd);

/* ef_layernorm_backward -- with g = dy gamma, n = (x - mean) rstd, sums over a row:
 *     dx = rstd (g - sum(g)/C - n sum(g n)/C) [+ residual];  dgamma += sum_r dy n;  dbeta += sum_r
 *     dy
 *   mask      rows that are 0 in it give dx = residual alone and nothing to dgamma and dbeta
 *   residual  [..., C] or NULL: added to dx; may be dx itself
 *   dx        NULL: not wanted; may be dy or x
 *   dgamma, dbeta  [C], added to; both or neither NULL
 * Fixed order of summation. */
ef_status ef_layernorm_backward(ef_actor *a, const ef_tensor *x, const ef_tensor *gamma,
                                const ef_tensor *mean, const ef_tensor *rstd, const ef_tensor *dy,
                                const ef_tensor *mask, const ef_tensor *residual, ef_tensor *dx,
                                ef_tensor *dgamma, ef_tensor *dbeta);

/* ef_conv1d_forward -- causal dilated convolution in PyTorch's tap order.
 *     y[b,t,o] = epilogue(sum_j sum_i x[b, t - (K-1-j) d, i] w[o,i,j]), x = 0 before t = 0
 *   x [B,L,Cin]   w [Cout,Cin,K]   y [B,L,Cout]   d = max(1, dilation)   epilogue  or NULL
 * Accuracy, strict class: |error| <= 8 2^-24 sum|x||w| per element; on CPUs, K 3 and 5 and 32
 * channels or more, with sum_i (sum_r |x[b,r,i]|) (sum_j |w[o,i,j]|) instead, rows r = t - K d,
 * ..., t + d step d: that is the same for numbers of one size, and there an Inf may come out as
 * NaN. Earlier outputs do not depend on later inputs, bit for bit.
 * Normal class: CPUs may make four outputs together, t = p + 4 k d, ..., p + (4 k + 3) d. Their
 * error is at most 64 2^-24 times the most of sum|x||w| among the four; measured for normal
 * numbers: 4.5 (dx 11; K 3: 2.1, 7), relative rms 7e-7, strict 4e-7. A later input changes the
 * earlier of the four by rounding, up to 1e-5 of max|y|, a huge one by its own rounding; an Inf
 * may make all four NaN. dw: the most among the K taps, measured 2.3.
 * Cost: 2 B L Cin Cout K flop. */
ef_status ef_conv1d_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *w, size_t dilation,
                            const ef_epilogue *epilogue, ef_tensor *y);

/* ef_conv1d_dx -- gradient of the input.
 *     dx[b,t,i] = epilogue(sum_j sum_o dy[b, t + (K-1-j) d, o] w[o,i,j]), dy = 0 from t = L on */
ef_status ef_conv1d_dx(ef_actor *a, const ef_tensor *dy, const ef_tensor *w, size_t dilation,
                       const ef_epilogue *epilogue, ef_tensor *dx);

/* ef_conv1d_dw -- gradients of weight and bias, added to.
 *     dw[o,i,j] += sum_{b,t} dy[b,t,o] x[b, t - (K-1-j) d, i];  db[o] += sum_{b,t} dy[b,t,o]
 *   db  [Cout] or NULL */
ef_status ef_conv1d_dw(ef_actor *a, const ef_tensor *x, const ef_tensor *dy, size_t dilation,
                       ef_tensor *dw, ef_tensor *db);

/* ef_linear_forward, _dx, _dw -- y = epilogue(x w^T); dx = epilogue(dy w); dw += dy^T x, db += sum
 * dy.
 *   x [..., I]   w [O,I]   y [..., O]   rows are all leading dimensions
 * By CLBlast or by the library's own GEMM: EF_LINEAR=clblast|own; unset: CLBlast on GPUs, own on
 * CPUs. */
ef_status ef_linear_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *w,
                            const ef_epilogue *epilogue, ef_tensor *y);
ef_status ef_linear_dx(ef_actor *a, const ef_tensor *dy, const ef_tensor *w,
                       const ef_epilogue *epilogue, ef_tensor *dx);
ef_status ef_linear_dw(ef_actor *a, const ef_tensor *x, const ef_tensor *dy, ef_tensor *dw,
                       ef_tensor *db);

/* ef_embedding_forward -- y[n,:] = w[ids[n],:] + add[b,:].  ids [...] i32, w [V,D], y [...,D]
 *   add  [B,D] or NULL: each of its rows is for as many positions in a row, those of a sample
 * An id outside 0..V-1 writes zeros and becomes EF_EARG, naming id, position and V, at the sync. */
ef_status ef_embedding_forward(ef_actor *a, const ef_tensor *ids, const ef_tensor *w,
                               const ef_tensor *add, ef_tensor *y);

/* ef_embedding_backward -- dw[ids[n],:] += dy[n,:] in the order of n; row 0 (padding) gets
 * nothing. */
ef_status ef_embedding_backward(ef_actor *a, const ef_tensor *ids, const ef_tensor *dy,
                                ef_tensor *dw);

/* ef_masked_mean_forward -- y[b,:] = mean of x[b,t,:] over the kept t; 0 where none is kept.
 *   x [B,L,D]   mask [B,L] u8   y [B,D]   count [B] f32 out: how many are kept */
ef_status ef_masked_mean_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *mask,
                                 ef_tensor *y, ef_tensor *count);

/* ef_masked_mean_backward -- dx[b,t,:] = dy[b,:] / count[b] where kept, else 0. */
ef_status ef_masked_mean_backward(ef_actor *a, const ef_tensor *dy, const ef_tensor *mask,
                                  const ef_tensor *count, ef_tensor *dx);

/* ef_masked_sum -- y[b,:] = sum of x[b,t,:] over the kept t.  x [B,L,D]  mask [B,L] u8  y [B,D] */
ef_status ef_masked_sum(ef_actor *a, const ef_tensor *x, const ef_tensor *mask, ef_tensor *y);

/* ef_kd_loss -- distillation loss, its metrics and its gradient in y, in one pass over [B,E].
 *     mse = mean (y-t)^2;  cos = mean_b y.t / (max(|y|,1e-6) max(|t|,1e-6))
 *     loss = beta mse + alpha (1 - cos)
 *     dy = weight dloss/dy, overwritten;  metrics += weight {loss, mse, cos}
 *   metrics  [3] or longer, or NULL     dy  [B,E], or NULL     weight  share of the whole batch
 *   scale    [1], the loss scale: dy is multiplied by it, metrics are not; NULL: 1
 * Fixed order of summation. */
ef_status ef_kd_loss(ef_actor *a, const ef_tensor *y, const ef_tensor *target, float alpha,
                     float beta, float weight, const ef_tensor *scale, ef_tensor *metrics,
                     ef_tensor *dy);

#define EF_IGNORED (-100) /* the target of a position that does not count */

/* ef_cross_entropy_loss -- softmax cross-entropy, its metrics and its gradient in the logits.
 *     loss[n] = log sum_v exp(logits[n,v]) - logits[n,target[n]]
 *     dlogits = weight dloss/dlogits, overwritten
 *     metrics += weight {sum of loss, the same, how many largest logits are the target's}
 *   logits   [N,V]     target  [N] i32, EF_IGNORED: no loss, no gradient
 *   dlogits  [N,V], may be logits, or NULL     metrics  [3] or longer
 *   weight   1 / number of counted positions: the mean over them
 *   scale    [1], the loss scale: dlogits is multiplied by it, metrics are not; NULL: 1
 * A target outside 0..V-1 becomes EF_EARG, naming target, position and V, at the sync.
 * Fixed order of summation. Cost: 15 NV flop, 8 NV byte. */
ef_status ef_cross_entropy_loss(ef_actor *a, const ef_tensor *logits, const ef_tensor *target,
                                float weight, const ef_tensor *scale, ef_tensor *dlogits,
                                ef_tensor *metrics);

/* ---- Tokenizer ----------------------------------------------------------------------------- */

/* WordPiece of BERT's uncased models: the ids that Hugging Face's BertWordPieceTokenizer gives
 * (tokenizers 0.23, lowercase), for any bytes. Text is freed of control characters and accents and
 * made lower case, then split at white space and around punctuation and Chinese characters; of each
 * word the longest token that begins it is taken, then the longest "##" token that goes on, and so
 * on. A word of more than 100 characters, or that tokens do not cover, is [UNK]. What is not UTF-8
 * is left out. [MASK] and the other special tokens stand for themselves in a text.
 * A tokenizer never changes: any number of threads may use one at a time. */
typedef struct ef_tokenizer ef_tokenizer;

/* ef_tokenizer_open -- a tokenizer from a vocabulary file: UTF-8, a token a line, its id the number
 * of the line from 0. White space at the end of a line is no part of the token. [UNK], [CLS] and
 * [SEP] must be there, [PAD] and [MASK] may be. A checkpoint will do that carries a vocabulary
 * (ef_train_options): which of them path is, its content says.
 * Errors: EIO, EFORMAT (empty, or one of the three is missing; "FILE:LINE: ..." for a blank line, a
 * token that was there before, what is not UTF-8; a checkpoint without a vocabulary), ENOMEM. */
ef_status ef_tokenizer_open(const char *path, ef_tokenizer **tokenizer, ef_error *error);

/* ef_tokenizer_open_for -- the tokenizer for a checkpoint's models: of the vocabulary at path
 * vocab, or of the one that the checkpoint carries; NULL where there is neither. Either
 * path may be NULL. Where there are both, they must have the same tokens: rows of the embedding
 * stand for those.
 * Errors: EIO, EFORMAT, ENOMEM; EARG (the two differ: both files and the first such id). */
ef_status ef_tokenizer_open_for(const char *vocab, const char *checkpoint, ef_tokenizer **tokenizer,
                                ef_error *error);

/* ef_tokenizer_parse -- as ef_tokenizer_open, from lines in memory, which are copied. name is for
 * messages. */
ef_status ef_tokenizer_parse(const char *name, const void *data, size_t bytes,
                             ef_tokenizer **tokenizer, ef_error *error);
void ef_tokenizer_free(ef_tokenizer *tokenizer);

size_t ef_tokenizer_size(const ef_tokenizer *tokenizer); /* tokens V; ids are 0 .. V-1 */

/* ef_tokenizer_vocabulary -- all tokens as lines: what ef_tokenizer_parse makes the same tokenizer
 * of. It belongs to the tokenizer. */
const char *ef_tokenizer_vocabulary(const ef_tokenizer *tokenizer, size_t *bytes);

/* ef_tokenizer_id -- the id of a token, for example "[PAD]" or "##s"; -1: there is none. */
int32_t ef_tokenizer_id(const ef_tokenizer *tokenizer, const char *token);

/* ef_tokenizer_token -- the token of an id: *bytes bytes, without a NUL behind them, that belong to
 * the tokenizer. NULL: there is no such id. */
const char *ef_tokenizer_token(const ef_tokenizer *tokenizer, int32_t id, size_t *bytes);

/* ef_tokenizer_encode -- [CLS], the ids of a text, [SEP]; how many that are. A text with more ids
 * than fit loses its last ones before [SEP].
 *   text  any bytes, NULs too
 *   ids   room for max; bytes + 2 of them are enough for any text. max < 2: none are written
 * Cost: time in proportion to the bytes; no memory. */
size_t ef_tokenizer_encode(const ef_tokenizer *tokenizer, const char *text, size_t bytes,
                           int32_t *ids, size_t max);

/* ef_tokenizer_decode -- the text of ids: tokens with spaces between, but none before "##" tokens,
 * whose "##" goes, nor before English punctuation; special tokens and ids that there are not are
 * left out. Returns the bytes of the whole text; what fits into room is in text, always with a NUL,
 * so room 0 asks how much to give. */
size_t ef_tokenizer_decode(const ef_tokenizer *tokenizer, const int32_t *ids, size_t count,
                           char *text, size_t room);

/* ---- Data ---------------------------------------------------------------------------------- */

typedef struct ef_dataset ef_dataset;

/* One batch on the host, right padded with id 0 and mask 0. */
typedef struct ef_batch {
    size_t B, L, E;
    const int32_t *ids;  /* [B,L] */
    const uint8_t *mask; /* [B,L] */
    const float *target; /* [B,E] */
    size_t tokens;       /* kept positions */
} ef_batch;

/* One sample on the host. */
typedef struct ef_sample {
    const char *text; /* UTF-8, no final 0; NULL: none */
    size_t bytes;     /* of the text */
    size_t length;    /* ids; 0: none */
    const int32_t *ids;
    const uint8_t *mask; /* [length]; in ef_dataset_writer_add NULL: all 1 */
    const float *target; /* [E] */
} ef_sample;

typedef struct ef_dataset_options {
    bool skip_bad;                 /* JSONL: leave out lines that are no samples, and count them */
    bool not_finite;               /* targets may be NaN or infinite: for who looks for them */
    const ef_tokenizer *tokenizer; /* gives samples without ids those of their text; or NULL */
    size_t most_ids;               /* that it gives a text, from 2 on; 0: all */
    bool (*on_progress)(void *user, uint64_t done, uint64_t all); /* or NULL; false: no further */
    void *user;
} ef_dataset_options;

/* ef_dataset_open -- open a file of samples and check all of it. What it is its content says:
 *   EFB1   "EFB1", u32 N, u32 E, then N samples of u32 L, L u32 ids, L u8 mask, E f32 target;
 *          little-endian, without padding
 *   EFB2   "EFB2", u32 N, u32 E, u32 flags (1 ids, 2 texts, 4 targets of norm 1), then N samples of
 *          u32 n, n bytes of UTF-8 (if texts), u32 L, L u32 ids, L u8 mask (if ids), E f32 target
 *   JSONL  a line for each sample, of at most 16 MiB: {"text": string, "input_ids": [..],
 *          "attention_mask": [..], "target": [..]}; target is needed, so is text or input_ids;
 *          numbers may be strings of such, a missing mask is all 1, other keys are ignored
 * No samples, ids that are no int32, non-finite targets and whatever does not agree are refused.
 * Samples and positions count from 0 in messages, lines from 1. The file stays open and is read as
 * its samples are needed; replacing it is fine, but it must not be changed in place. JSONL samples,
 * and those that are tokenized, are kept in an unnamed file in TMPDIR, else /tmp. Errors: EIO,
 * EFORMAT (the text names file and sample or line), ENOMEM. */
ef_status ef_dataset_open(const char *path, ef_dataset **dataset, ef_error *error);

/* ef_dataset_open_with -- the same with options, which may be NULL. Errors: EARG (most_ids 1)
 * and ECANCELLED, too. */
ef_status ef_dataset_open_with(const char *path, const ef_dataset_options *options,
                               ef_dataset **dataset, ef_error *error);
void ef_dataset_free(ef_dataset *dataset);

size_t ef_dataset_size(const ef_dataset *dataset);    /* samples N */
size_t ef_dataset_width(const ef_dataset *dataset);   /* target width E */
size_t ef_dataset_longest(const ef_dataset *dataset); /* most ids in a sample */
int32_t ef_dataset_max_id(const ef_dataset *dataset);
size_t ef_dataset_texts(const ef_dataset *dataset); /* samples that have a text */
size_t ef_dataset_bare(const ef_dataset *dataset);  /* samples without ids: no loader takes them */
uint64_t ef_dataset_bytes(const ef_dataset *dataset);
const char *ef_dataset_path(const ef_dataset *dataset);
const char *ef_dataset_format(const ef_dataset *dataset); /* "EFB1", "EFB2", "JSONL" */
bool ef_dataset_normalized(const ef_dataset *dataset);    /* EFB2 says that targets have norm 1 */

/* ef_dataset_skipped -- how many lines skip_bad left out; *first (if not NULL) says why of the
 * first. */
size_t ef_dataset_skipped(const ef_dataset *dataset, const char **first);

/* ef_dataset_sha256 -- of the file, as hex; NULL: it cannot be read any more. The first call,
 * alone, computes it. */
const char *ef_dataset_sha256(ef_dataset *dataset);

/* ef_dataset_read -- sample number index; valid until the next call. One thread at a time. Errors:
 * EARG (no such sample), EIO, ENOMEM. */
ef_status ef_dataset_read(ef_dataset *dataset, size_t index, ef_sample *sample, ef_error *error);

/* ef_dataset_draw -- picked[i] for each of n samples: count of them, by seed. */
void ef_dataset_draw(size_t n, size_t count, uint64_t seed, bool *picked);

typedef enum ef_data_format { EF_DATA_EFB1, EF_DATA_JSONL } ef_data_format;

/* A file of samples in the making: it takes its name when it is saved, whole. JSONL has numbers
 * that are read back bit for bit. */
typedef struct ef_dataset_writer ef_dataset_writer;

/* ef_dataset_writer_new -- begin a file of targets of that width. Errors: EARG, EIO, ENOMEM. */
ef_status ef_dataset_writer_new(const char *path, ef_data_format format, size_t width,
                                ef_dataset_writer **writer, ef_error *error);

/* ef_dataset_writer_add -- one more sample; all of it is copied. EFB1 leaves texts out. Errors:
 * EARG (what the reader would refuse: no ids for EFB1, an id below 0, a target that is not finite,
 * text that is not UTF-8), EIO, ENOMEM. */
ef_status ef_dataset_writer_add(ef_dataset_writer *writer, const ef_sample *sample,
                                ef_error *error);

/* ef_dataset_writer_finish -- all samples are there: put what is left on the disk, not yet in its
 * place. A save does it too; of several files each can be finished before the first is saved. Only
 * ef_dataset_writer_save and _free may follow. Errors: EARG (no samples), EIO. */
ef_status ef_dataset_writer_finish(ef_dataset_writer *writer, ef_error *error);

/* ef_dataset_writer_save -- put the file in its place. Only ef_dataset_writer_free may follow.
 * Errors: EARG (no samples), EIO. */
ef_status ef_dataset_writer_save(ef_dataset_writer *writer, ef_error *error);

/* ef_dataset_writer_free -- let go of it; without a save, nothing is left of the file. */
void ef_dataset_writer_free(ef_dataset_writer *writer);

typedef struct ef_repair_report {
    uint64_t declared;      /* samples that the header counted */
    uint64_t kept, unsound; /* whole samples that were kept; whole ones that no reader takes */
    uint64_t cut_bytes;     /* after the last whole sample */
    char first[512];        /* what is wrong with the first that is unsound, or with the rest */
} ef_repair_report;

/* ef_dataset_repair -- save a copy of an EFB file that its reader refuses: all whole and sound
 * samples, counted in the header. Of a header that counts 0, all up to the end of the file.
 * Errors: EIO, EFORMAT (no EFB file, or no sample to keep), ENOMEM. */
ef_status ef_dataset_repair(const char *path, const char *copy, ef_repair_report *report,
                            ef_error *error);

/* Vectors, a row each, of a teacher's. */
typedef struct ef_vectors ef_vectors;

/* ef_vectors_open -- by content: .npy (f4 or f8, little-endian, C order, two dimensions),
 * safetensors (F32 or F64 [N,E]; tensor: its name, NULL: there is one), JSONL (lines that are
 * arrays of numbers, or objects with such a "target" or "vector"). Of other files than safetensors
 * a tensor is refused. Must not be changed in place.
 * Errors: EIO, EFORMAT (the text names file, and tensor or line), ENOMEM. */
ef_status ef_vectors_open(const char *path, const char *tensor, ef_vectors **vectors,
                          ef_error *error);
void ef_vectors_free(ef_vectors *vectors);
size_t ef_vectors_size(const ef_vectors *vectors);  /* rows N */
size_t ef_vectors_width(const ef_vectors *vectors); /* E */

/* ef_vectors_read -- row number index, [E]. Errors: EARG (no such row), EFORMAT (a value that is no
 * finite f32), EIO. */
ef_status ef_vectors_read(ef_vectors *vectors, size_t index, float *row, ef_error *error);

/* A text: UTF-8, no final 0. What is not UTF-8 in it counts for nothing. */
typedef struct ef_text {
    const char *text;
    size_t bytes;
} ef_text;

typedef enum ef_vectors_format {
    EF_VECTORS_TEXT,       /* a line each: numbers with spaces between them */
    EF_VECTORS_JSONL,      /* {"text": string, "vector": [..]}, a line each */
    EF_VECTORS_NPY,        /* f4 [N,E] */
    EF_VECTORS_SAFETENSORS /* a tensor "vectors", F32 [N,E] */
} ef_vectors_format;

/* A file of vectors in the making: it takes its name when it is saved, whole. Numbers that are
 * written as text are read back bit for bit. */
typedef struct ef_vectors_writer ef_vectors_writer;

/* ef_vectors_writer_new -- begin a file of vectors of that width. path NULL: standard output, where
 * lines go with each add; the other formats cannot. Errors: EARG, EIO, ENOMEM. */
ef_status ef_vectors_writer_new(const char *path, ef_vectors_format format, size_t width,
                                ef_vectors_writer **writer, ef_error *error);

/* ef_vectors_writer_add -- count vectors more, [count,E], and in JSONL their texts, in which U+FFFD
 * stands for what is not UTF-8; NULL: without. Errors: EARG (a value is not finite), EIO,
 * ENOMEM. */
ef_status ef_vectors_writer_add(ef_vectors_writer *writer, const float *vectors,
                                const ef_text *texts, size_t count, ef_error *error);

/* ef_vectors_writer_save -- put the file in its place. Only ef_vectors_writer_free may follow.
 * Errors: EIO. */
ef_status ef_vectors_writer_save(ef_vectors_writer *writer, ef_error *error);

/* ef_vectors_writer_free -- let go of it; without a save, nothing is left of the file. */
void ef_vectors_writer_free(ef_vectors_writer *writer);

/* A loader gives an epoch's batches in an order that is a pure function of (seed, epoch). */
typedef struct ef_loader ef_loader;

typedef struct ef_loader_options {
    size_t batch;  /* samples in a batch; the last of an epoch may have fewer */
    size_t length; /* samples are cut to this many ids; 0: not cut */
    bool shuffle;  /* false: the order of the file */
    bool bucket;   /* batches of samples of like length, order of batches still random */
    uint64_t seed;
    size_t vocab; /* ids must be below it; 0: not checked */
    size_t keep;  /* how many batches are valid at a time; 0: EF_LOADER_KEEP */
} ef_loader_options;

#define EF_LOADER_KEEP 2

/* ef_loader_new -- a loader at the first batch of epoch 0. A thread of its own prepares one batch
 * ahead. The dataset must outlive it; one thread at a time may use it. Of each sample, the ids
 * after the last unmasked one are left out, and each batch is padded to its own longest sample
 * only. Errors: EARG (batch 0), EFORMAT (a sample has no ids, an id passes vocab; the text names
 * file, sample or line, position, id and vocab), EIO, ENOMEM. */
ef_status ef_loader_new(ef_dataset *dataset, const ef_loader_options *options, ef_loader **loader,
                        ef_error *error);
void ef_loader_free(ef_loader *loader);

/* ef_loader_seek -- go to batch number position of epoch (both from 0), from anywhere. Batches that
 * were given stay valid. Errors: EARG (position passes the end of the epoch). */
ef_status ef_loader_seek(ef_loader *loader, uint64_t epoch, size_t position, ef_error *error);

/* ef_loader_next -- the next batch. The arrays of the last options.keep batches that were given are
 * valid, until ef_loader_free. *batch has B = 0 at the end of the epoch, and again until the next
 * ef_loader_seek. Errors: EIO (the file cannot be read any more, or was changed in place). */
ef_status ef_loader_next(ef_loader *loader, ef_batch *batch, ef_error *error);

size_t ef_loader_batches(const ef_loader *loader); /* batches in an epoch */

/* ---- Models -------------------------------------------------------------------------------- */

#define EF_MAX_BLOCKS 64

typedef enum ef_init { EF_INIT_SCALED, EF_INIT_TORCH, EF_INIT_PLAN } ef_init;

typedef enum ef_model_kind { EF_ENCODER, EF_DECODER } ef_model_kind;

typedef struct ef_model_config {
    size_t vocab, width, hidden, taps, vector; /* V, D, H, K, E */
    size_t blocks;                             /* E: the encoder's result, the decoder's input */
    size_t dilations[EF_MAX_BLOCKS];           /* one for each block */
    size_t length;                             /* longest input that it is meant for */
    float eps;                                 /* of LayerNorm */
    bool tanh;                                 /* encoder: y = tanh(proj), in training too */
    ef_model_kind kind;                        /* set by whoever makes the model */
} ef_model_config;

typedef struct ef_encoder ef_encoder;

/* ef_model_config_default -- D 256, H 512, K 5, dilations 1,2,4,8, L 128, E 768, V 30000, eps
 * 1e-5. */
void ef_model_config_default(ef_model_config *config);

/* ef_receptive_field -- 1 + sum (K-1) d: how many steps an output sees. */
size_t ef_receptive_field(const ef_model_config *config);

/* ef_encoder_new -- an encoder with fresh parameters.
 *     x = embedding[ids];  each block: x = mask (x + conv2(gelu(conv1(mask layernorm(x)))))
 *     y = proj(masked mean of x)
 *   trainable  false: values only; true: gradients and optimiser state too
 * Errors: EARG (a size of 0), ENOMEM (bytes needed and available). */
ef_status ef_encoder_new(ef_actor *a, const ef_model_config *config, ef_init init, uint64_t seed,
                         bool trainable, ef_encoder **encoder);

/* ef_encoder_open -- an encoder for inference (values only) from a checkpoint, of its own or of a
 * pair. Errors: EIO, EFORMAT (the text names file and tensor; it holds a decoder), ENOMEM,
 * EDEVICE. */
ef_status ef_encoder_open(ef_actor *a, const char *path, ef_encoder **encoder, ef_error *error);
void ef_encoder_free(ef_encoder *encoder);

const ef_model_config *ef_encoder_get_config(const ef_encoder *encoder);
size_t ef_encoder_parameters(const ef_encoder *encoder); /* how many numbers */

/* ef_encoder_parameter -- parameter number index: its name in checkpoints, which is PyTorch's (of a
 * pair, "encoder." or "decoder." goes before it), and a view of its values that belongs to the
 * encoder. NULL past the last. */
ef_tensor *ef_encoder_parameter(ef_encoder *encoder, size_t index, const char **name);

/* ef_encoder_import -- take the projection from an EFCK1 file: "EFCK1", u32 out, u32 in, u32 1 if
 * it has a bias, f32 weight [out,in], f32 bias [out]. Without a bias it becomes 0. Nothing is
 * written unless all of the file is sound. Errors: EIO, EFORMAT (both shapes named), EDEVICE,
 * ENOMEM. */
ef_status ef_encoder_import(ef_encoder *encoder, const char *path, ef_error *error);

/* ef_encoder_encode -- vectors [B,E] of ids [B,L] i32 under mask [B,L] u8, any L. Enqueues only.
 * Left and right padding give the same vectors. */
ef_status ef_encoder_encode(ef_encoder *encoder, const ef_tensor *ids, const ef_tensor *mask,
                            ef_tensor *vectors);

typedef struct ef_decoder ef_decoder;

/* ef_decoder_new -- a decoder with fresh parameters.
 *     x[b,t] = embedding[ids[b,t]] + cond(z[b]);  the same blocks;  logits = out(x)
 * logits[b,t] depend on z[b] and ids[b,0..t] alone: what follows position t is asked of them.
 * Otherwise as ef_encoder_new; tanh is not used. */
ef_status ef_decoder_new(ef_actor *a, const ef_model_config *config, ef_init init, uint64_t seed,
                         bool trainable, ef_decoder **decoder);

/* ef_decoder_open -- a decoder for inference (values only) from a checkpoint, as
 * ef_encoder_open. */
ef_status ef_decoder_open(ef_actor *a, const char *path, ef_decoder **decoder, ef_error *error);
void ef_decoder_free(ef_decoder *decoder);

const ef_model_config *ef_decoder_get_config(const ef_decoder *decoder);
size_t ef_decoder_parameters(const ef_decoder *decoder); /* how many numbers */
ef_tensor *ef_decoder_parameter(ef_decoder *decoder, size_t index, const char **name);

/* ef_decoder_logits -- logits [B,L,V] of ids [B,L] i32 under mask [B,L] u8 and z [B,E], any L.
 * Enqueues only. */
ef_status ef_decoder_logits(ef_decoder *decoder, const ef_tensor *ids, const ef_tensor *mask,
                            const ef_tensor *z, ef_tensor *logits);

/* ef_pair_new -- an encoder and a decoder that share their last block, its parameters and their
 * optimiser state: the two begin as ef_encoder_new and ef_decoder_new make them, but for the
 * decoder's last block, which is the encoder's. Each is freed by itself, in any order; a trainer of
 * each, stepping in turn, trains both. Errors: EARG (vocab, vector, or the last blocks' width,
 * hidden or taps differ: both values are named), ENOMEM. */
ef_status ef_pair_new(ef_actor *a, const ef_model_config *encoder_config,
                      const ef_model_config *decoder_config, ef_init init, uint64_t seed,
                      bool trainable, ef_encoder **encoder, ef_decoder **decoder);

/* A decoder's state between positions: it takes B sequences on by any number of positions at a
 * time, at a cost that does not depend on how many there were. Of each block it keeps the (K-1) d
 * rows that later positions see. */
typedef struct ef_stream ef_stream;

/* ef_stream_new -- at position 0 of B sequences under z [B,E], which is not kept. The decoder must
 * outlive it, and its parameters must stay as they are. Enqueues only. Errors: ESHAPE, ENOMEM. */
ef_status ef_stream_new(ef_decoder *decoder, const ef_tensor *z, ef_stream **stream);
void ef_stream_free(ef_stream *stream);

/* ef_stream_logits -- the next T positions: logits [B,T,V] of ids [B,T] i32 under mask [B,T] u8,
 * those that ef_decoder_logits gives of all ids so far. There may be more of them than the
 * configuration's length, and any number in all.
 *   mask    NULL: none is masked. Sequences may begin later than others: masked before
 *   logits  NULL: they are not wanted; nor are they worth computing of ids that are given
 * Enqueues only: 4 launches a block and 3 (without logits 2) more. After a failure of anything but
 * its arguments the stream is worth nothing. Errors: ESHAPE, ENOMEM.
 * Accuracy: the class makes no difference, sums are never loose ones; beside those of the strict
 * class's full pass, 1e-5. */
ef_status ef_stream_logits(ef_stream *stream, const ef_tensor *ids, const ef_tensor *mask,
                           ef_tensor *logits);

uint64_t ef_stream_position(const ef_stream *stream); /* positions so far */

typedef struct ef_generate_options {
    size_t max_tokens; /* most ids of a sequence, the prompt's not counted */
    size_t top_k;      /* draw among so many of the likeliest; 1: take the likeliest; 0: all */
    float temperature; /* logits are divided by it before a draw; 0: take the likeliest */
    uint64_t seed;     /* of the draws */
    uint64_t first;    /* number of the first sequence */
    int32_t end;       /* the id that ends a sequence; -1: none does */
} ef_generate_options;

/* ef_generate_options_default -- 128 ids, the likeliest each; seed 1; no end. */
void ef_generate_options_default(ef_generate_options *options);

/* ef_generate -- texts' ids from vectors.
 *   prompts  B sequences: target is z [B,E], ids and mask are what each begins with; its unmasked
 *            ids alone, at least one: [CLS] for what a decoder was trained on
 *   ids      out [B,max_tokens]: what follows the prompt, up to the end, which is not among them;
 *            from there on options->end
 *   lengths  out [B]: how many that are; less than max_tokens where the end was reached
 * A draw is a function of the logits and of (seed, first + b, number of the id): how sequences are
 * put into batches makes no difference but by rounding. Of equally likely ids the lowest is taken.
 * Ids are chosen on the device. The host waits once for 16 ids, to see whether all have ended; up
 * to 15 are in vain then. A wait is for these ids alone: it may be inside of a batch.
 * Errors: EARG (no prompt, an id that is not in 0..V-1: sequence, position, id and V are named;
 * temperature; end), ESHAPE, ENOMEM, EDEVICE. */
ef_status ef_generate(ef_decoder *decoder, const ef_batch *prompts,
                      const ef_generate_options *options, int32_t *ids, size_t *lengths);

/* ---- Training ------------------------------------------------------------------------------ */

typedef enum ef_optim { EF_OPTIM_ADAMW, EF_OPTIM_ADAM_L2 } ef_optim;
typedef enum ef_scope { EF_TRAIN_ALL, EF_TRAIN_LAST, EF_TRAIN_PROJ } ef_scope;

/* With a loss scale, gradients are computed times it. It is doubled after 2000 good steps and
 * halved, down to 1, after one whose loss or gradient is not finite: that step changes nothing. */
typedef struct ef_trainer_options {
    float alpha, beta; /* weights of 1 - cos and mse */
    float lr, min_lr;  /* base and final rate; min_lr < 0: lr / 100 */
    uint64_t warmup;   /* steps of linear warm-up */
    uint64_t decay;    /* steps of the cosine after it; 0: constant */
    float weight_decay, beta1, beta2, epsilon;
    float clip;       /* most gradient norm; <= 0: no clipping */
    float loss_scale; /* first loss scale: 0 for none, or 1 to 65536 */
    ef_optim optim;
    ef_scope scope;
} ef_trainer_options;

void ef_trainer_options_default(ef_trainer_options *options);

/* ef_lr_at -- the learning rate of a step (from 0): warm-up base (s+1)/W, then cosine to min_lr. */
double ef_lr_at(const ef_trainer_options *options, uint64_t step);

typedef struct ef_trainer ef_trainer;

/* What a step's readback holds: EF_METRICS floats. Metrics are those before the update. */
enum {
    EF_METRIC_LOSS,
    EF_METRIC_MSE,
    EF_METRIC_COS,
    EF_METRIC_CE = EF_METRIC_MSE,       /* of a decoder's step: mean over the counted tokens */
    EF_METRIC_ACCURACY = EF_METRIC_COS, /* share of them that are the likeliest */
    EF_METRIC_GRAD_NORM,                /* before clipping */
    EF_METRIC_SKIPPED, /* 1: loss or gradient was not finite, nothing was updated */
    EF_METRIC_SKIPPED_IN_A_ROW,
    EF_METRIC_STEPS, /* updates that the model's own part has had */
    EF_METRIC_LR,
    EF_METRIC_SCALE, /* the loss scale that it had; 1 without */
    EF_METRICS
};

/* ef_trainer_new -- the trainer borrows the encoder, which must be trainable and outlive it. All
 * moments and counts of updates of the model begin at zero: make both trainers of a pair before the
 * first step of either. Errors: EARG, ESTATE (not trainable), ENOMEM. */
ef_status ef_trainer_new(ef_encoder *encoder, const ef_trainer_options *options,
                         ef_trainer **trainer);

/* ef_trainer_new_decoder -- the same for a decoder: z is the batch's target, and a position is
 * counted where the next one is not masked, whose id it has to tell. A step without any has loss 0
 * and zero gradients. alpha and beta are not used. */
ef_status ef_trainer_new_decoder(ef_decoder *decoder, const ef_trainer_options *options,
                                 ef_trainer **trainer);
void ef_trainer_free(ef_trainer *trainer);

/* ef_trainer_step -- one optimiser step over count micro-batches (their mean counts each sample
 * once; a decoder's, each counted token): forward, metrics, backward, clip, update. Enqueues only;
 * *metrics (free it) is readable after the sync. Outside a batch it opens and syncs its own:
 * exactly one host wait.
 * Errors: ESHAPE, EARG, EDEVICE, ENOMEM, and what the sync returns. */
ef_status ef_trainer_step(ef_trainer *trainer, const ef_batch *batches, size_t count,
                          ef_readback **metrics);

/* ef_trainer_import -- take step count and moments from an EFOP1 file: "EFOP1", u32 steps, u32 n,
 * then for the projection's weight and, if n is 2, its bias: u32 count, f32 m [count], f32 v
 * [count]. Nothing is written unless all of the file is sound. Errors: ESTATE (the scope is not
 * EF_TRAIN_PROJ), EIO, EFORMAT, EDEVICE, ENOMEM. */
ef_status ef_trainer_import(ef_trainer *trainer, const char *path, ef_error *error);

/* ef_trainer_attempted -- steps asked for so far, skipped ones included; the schedule's clock. */
uint64_t ef_trainer_attempted(const ef_trainer *trainer);

/* ---- Whole runs: what the commands do ------------------------------------------------------- */

typedef enum ef_train_mode { EF_MODE_ENCODER, EF_MODE_DECODER, EF_MODE_COMBINED } ef_train_mode;

/* A step of a run is an A step, which trains the encoder by distillation, or a B step, which trains
 * the decoder by cross-entropy. A combined run makes both, spread evenly: step s (from 0) is an A
 * step if floor((s + 1) r) > floor(s r). */

#define EF_DECAY_RUN UINT64_MAX /* as a trainer's decay, in ef_train: the rest of the run */

typedef struct ef_train_options {
    ef_train_mode mode;
    const char *data, *val; /* files of samples; val may be NULL */
    double val_fraction;    /* 0; or the share of data that is held out, drawn by seed, for val */
    const char *vocabulary; /* for samples with a text alone, and kept in checkpoints: as
                             * ef_tokenizer_open; NULL: that of resume or init_from, else none */
    bool need_ids;          /* samples with a text alone are refused though there is a vocabulary */
    const char *save;       /* checkpoint or NULL; the best model goes beside it */
    const char *resume, *init_from;
    const char *init_optim; /* start with its optimiser state: a checkpoint, or an EFOP1 file; the
                             * schedule of the learning rate begins with the run all the same */
    bool strict_resume;
    uint64_t save_every; /* steps, 0: none; each epoch's end saves in any case */
    uint64_t epochs, seed;
    uint64_t patience; /* epochs without a better one that end the run; 0: none do */
    size_t batch, accum;
    size_t micro_batch; /* samples on the device at a time; 0: the batch */
    size_t max_batches; /* of an epoch; 0: all */
    bool bucket;
    double ab_ratio;       /* combined: the share r of A steps, 0 to 1 */
    ef_model_config model; /* encoder; vocab 0: the vocabulary's tokens, without one the largest */
    ef_model_config decoder; /* id in data and val + 1; vector is the data's */
    ef_init init;
    ef_trainer_options trainer;         /* of A steps */
    ef_trainer_options decoder_trainer; /* of B steps */
} ef_train_options;

typedef struct ef_step_report {
    uint64_t step, steps, epoch, epochs; /* step from 1 */
    ef_model_kind kind;                  /* EF_ENCODER: an A step */
    double loss;
    double mse, cos;     /* of an A step */
    double ce, accuracy; /* of a B step */
    double grad_norm, lr, samples_per_s, eta_s;
    bool skipped;
    uint64_t skipped_total;
} ef_step_report;

typedef struct ef_epoch_report {
    uint64_t epoch; /* from 1 */
    uint64_t step;  /* that it ended with */
    bool has_val;
    ef_train_mode mode;          /* what there is of: */
    double val_mse, val_cos;     /* encoder and combined */
    double val_ce, val_accuracy; /* decoder and combined */
    double seconds, samples_per_s;
    double padding; /* positions computed for each real one */
    bool best;      /* the highest val_cos so far; of a decoder, the lowest val_ce */
} ef_epoch_report;

typedef struct ef_train_observer { /* every member may be NULL */
    void *user;
    void (*on_notice)(void *user, const char *text); /* a warning or a fact: one line */
    /* once, when all is found well: the steps that a resumed run made before, those of the whole */
    void (*on_begin)(void *user, uint64_t step, uint64_t steps);
    void (*on_step)(void *user, const ef_step_report *report);
    void (*on_epoch)(void *user, const ef_epoch_report *report); /* before its end is saved */
    bool (*should_stop)(void *user); /* asked before each step; true: save, then EF_ECANCELLED */
} ef_train_observer;

void ef_train_options_default(ef_train_options *options);

/* ef_train_best_path -- where the best model of a run goes that saves in path:
 * "model.best.safetensors" beside "model.safetensors", "model.best" beside "model". Free it; NULL:
 * no memory. */
char *ef_train_best_path(const char *save);

/* ef_train -- a whole run of eftrain. EF_ECANCELLED after should_stop, with everything saved.
 *   resume     continues bit for bit where the checkpoint stands. Another mode, model, data file,
 *              held-out data or share, seed or order of batches is refused with both values named;
 *              another device, driver, library, variant or trainer option gets a notice, or a
 *              refusal under strict_resume
 *   init_from  takes parameters and vocabulary alone, from any safetensors file with the first; a
 *              checkpoint of another kind or model is refused with both values named
 * Whatever can be wrong with options and files is found before the first step. Where a validation
 * fails, its epoch's steps are saved: a run that is resumed begins with that validation. What has
 * nothing left to do when it is resumed saves nothing.
 * Errors: EARG (options; a vocabulary of more tokens than the model's, or of others than those of
 * the checkpoint to start from; a bad id found on the device; a checkpoint that is refused), EIO
 * and EFORMAT (files), EDEVICE (nothing is written from device state), ESTATE (ten skipped steps in
 * a row, the last at a loss scale of 1 or none; a model to save that is not finite; a strict resume
 * that is refused), ENOMEM, EBUILD. */
ef_status ef_train(ef_actor *a, const ef_train_options *options, const ef_train_observer *observer,
                   ef_error *error);

/* ---- Evaluation ----------------------------------------------------------------------------- */

#define EF_LENGTH_P95 SIZE_MAX /* the length that 95 of 100 samples do not pass */

typedef struct ef_eval_options { /* all 0, or NULL for them: the defaults */
    size_t batch;                /* samples that are waited for together; 0: 64 */
    size_t micro_batch;          /* of them, how many run on the device at a time; 0: all */
    size_t length;               /* samples are cut to this many ids; 0: the model's length */
    size_t length_cap;           /* EF_LENGTH_P95 is at most this, and 512; 0: 512 */
    size_t max_batches;          /* the first ones of the file; 0: all */
    bool recall;                 /* look for each sample's own target among all of them */
    bool (*on_progress)(void *user, uint64_t done, uint64_t all); /* or NULL; false: no further */
    void *user;
} ef_eval_options;

typedef struct ef_eval_report {
    double mse, cos, mean_vector_mse, mean_vector_cos; /* mean vector: of these samples' targets */
    double recall_1, recall_5, recall_10; /* share of samples: of a target or vector that is all 0
                                           * none is found; NAN unless it was asked for */
    uint64_t samples;
    size_t length; /* that they were cut to */
    double seconds, samples_per_s;
} ef_eval_report;

/* ef_evaluate -- run an encoder over the samples of a dataset, in the order of the file. mse and
 * cos are computed on the host in double, as means over samples.
 *   recall_k  share of samples whose own target is among the k nearest of all samples' targets, by
 *             their cosine with the encoder's vector. Those count as nearer whose cosine is larger
 *             by more than 1e-5: a tie is in the sample's favour. A vector that is zero or not
 *             finite finds nothing.
 * Recall costs 2 N^2 E flop on the device, and reads the targets once more for each 128 MiB of
 * vectors; that is all the memory it takes, whatever N. One host wait for each batch and, for
 * recall, each 4,096 targets.
 * Errors: EFORMAT (target width or ids that the model does not have), EIO, ENOMEM, EDEVICE,
 * ECANCELLED. */
ef_status ef_evaluate(ef_encoder *encoder, ef_dataset *dataset, const ef_eval_options *options,
                      ef_eval_report *report, ef_error *error);

typedef struct ef_decoder_report {
    double cross_entropy, perplexity; /* mean over tokens, in nats; exp of it */
    double accuracy;                  /* share of tokens that are the likeliest */
    uint64_t tokens, samples; /* tokens: those that are told from the ones before, as in training */
    size_t length;
    double seconds, tokens_per_s;
} ef_decoder_report;

/* ef_evaluate_decoder -- how well a decoder tells each sample's ids from its target; recall is not
 * used. The logits never exist all at once. Without any token, of samples of one id, the means are
 * NAN. Errors: as ef_evaluate. */
ef_status ef_evaluate_decoder(ef_decoder *decoder, ef_dataset *dataset,
                              const ef_eval_options *options, ef_decoder_report *report,
                              ef_error *error);

typedef struct ef_pairs_report {
    double spearman; /* NAN where all scores or all similarities are one number */
    uint64_t pairs;
} ef_pairs_report;

/* ef_evaluate_pairs -- Spearman's rank correlation between people's scores of pairs of sentences
 * and the cosines of the encoder's vectors, in f32; what is equal shares its mean rank.
 *   path  lines of SCORE tab SENTENCE tab SENTENCE; the score is a number as JSON has them
 * Of the options, micro_batch or else batch (sentences, at most 4096 of them), length
 * (EF_LENGTH_P95: its cap) and progress are used.
 * Errors: EFORMAT (no line; "FILE:LINE: ..." for another number of columns, a bad score, an empty
 * sentence; a vocabulary of more tokens than the model's), EIO, ENOMEM, EDEVICE, ECANCELLED. */
ef_status ef_evaluate_pairs(ef_encoder *encoder, const ef_tokenizer *tokenizer, const char *path,
                            const ef_eval_options *options, ef_pairs_report *report,
                            ef_error *error);

/* What a checkpoint has. */
typedef struct ef_checkpoint_info {
    bool has_encoder, has_decoder; /* for ef_encoder_open, ef_decoder_open */
    bool has_vocabulary;           /* for ef_tokenizer_open */
    ef_model_config encoder, decoder;
} ef_checkpoint_info;

/* ef_checkpoint_describe -- look into a checkpoint; no device is needed. Errors: EIO, EFORMAT,
 * ENOMEM. */
ef_status ef_checkpoint_describe(const char *path, ef_checkpoint_info *info, ef_error *error);

/* ---- Embedding: texts to vectors ------------------------------------------------------------ */

typedef enum ef_next {
    EF_NEXT_TEXT,  /* *text is the next one; it is copied at once */
    EF_NEXT_PAUSE, /* there is none yet, so what came before should not wait for it */
    EF_NEXT_END,   /* there are no more */
    EF_NEXT_STOP   /* no further */
} ef_next;

/* Where texts come from and vectors go. */
typedef struct ef_embed_stream {
    void *user;
    /* The next text. Called by a thread of its own, one call at a time; again after a pause. */
    ef_next (*next)(void *user, ef_text *text);
    /* Vectors [count,E] of the next texts, in their order; both only for the call. By the caller's
     * thread. false: no further. */
    bool (*take)(void *user, const float *vectors, const ef_text *texts, size_t count);
} ef_embed_stream;

typedef struct ef_embed_options {
    size_t batch;   /* most texts of a batch; 0: EF_EMBED_BATCH */
    size_t length;  /* most ids of a text, from 2 on; 0: the model's */
    bool normalize; /* vectors of norm 1, but for zeros */
} ef_embed_options;

#define EF_EMBED_BATCH 64

typedef struct ef_embed_report {
    uint64_t texts, cut;     /* cut: to the most ids */
    uint64_t not_utf8;       /* texts of which some bytes count for nothing */
    uint64_t ids, positions; /* positions: with padding */
    double seconds, texts_per_s;
} ef_embed_report;

/* ef_embed_texts -- the vectors of a stream of texts, however many. Windows of 16 full batches (or
 * 4 MiB of text, or up to a pause) are sorted by length and cut so that little is padded, and each
 * is enqueued whole before the one wait for it. While the device computes, a thread reads and
 * tokenizes the next window, and the caller's gives out the one before, in a batch of the actor's.
 *   options, report  may be NULL
 * Errors: EARG (length 1, a batch of more than 4096; the tokenizer has more ids than the model),
 * ECANCELLED (next or take want no more), ESTATE (a vector is not finite), ENOMEM, EDEVICE. */
ef_status ef_embed_texts(ef_encoder *encoder, const ef_tokenizer *tokenizer,
                         const ef_embed_options *options, const ef_embed_stream *stream,
                         ef_embed_report *report, ef_error *error);

/* ef_embed -- the same of count texts in memory: vectors [count,E]. */
ef_status ef_embed(ef_encoder *encoder, const ef_tokenizer *tokenizer,
                   const ef_embed_options *options, const ef_text *texts, size_t count,
                   float *vectors, ef_error *error);

#ifdef __cplusplus
}
#endif
#endif
