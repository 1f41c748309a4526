/* The actor's own state. Every field belongs to the actor's lock unless it says otherwise. */
#ifndef EF_ACTOR_INTERNAL_H
#define EF_ACTOR_INTERNAL_H

#include "actor/cl.h"
#include "base/sha256.h"
#include <pthread.h>

enum { EF__RECORD_INTS = 16, EF__SIZE_CLASSES = 256, EF__BUCKETS = 128 };

typedef struct ef__trace ef__trace; /* trace.h */
typedef struct ef__span ef__span;

/* Device memory. While leased it belongs to one ef__lease; between leases it waits in the pool. */
typedef struct ef__block {
    cl_mem mem;
    size_t bytes;
    unsigned size_class;
    struct ef__block *next;
} ef__block;

enum { EF__LABEL_BYTES = 40 };

typedef struct ef__lease {
    struct ef__lease *next, *previous; /* in the pool's list */
    ef__block *block;
    char label[EF__LABEL_BYTES]; /* of the tensor that it was made for */
    unsigned refs; /* tensor and views; the queue's order keeps what was enqueued safe */
    uint64_t version;
    const char *writer; /* the operation that wrote last; NULL: none */
    ef__attachment *attachment;
} ef__lease;

typedef struct ef__pool {
    ef__block *free[EF__SIZE_CLASSES];
    ef__lease *first, *last; /* what is leased, oldest first */
} ef__pool;

struct ef_tensor {
    ef_actor *actor; /* one reference */
    ef__lease *lease;
    ef_dtype dtype;
    size_t rank, dims[EF_MAX_RANK], count, offset; /* offset in elements from the lease's start */
    char label[EF__LABEL_BYTES];
};

struct ef_readback {
    ef_actor *actor;   /* one reference */
    ef_readback *next; /* in ef__pending */
    unsigned refs;
    ef_readback_mode mode;
    enum { EF__PENDING, EF__READY, EF__FAILED } state;
    ef_error error; /* when FAILED */
    cl_event event;
    ef__span *span; /* of the trace; NULL: none */
    uint64_t epoch, sequence;
    bool checked; /* record was read along with it */
    int record[EF__RECORD_INTS];
    size_t count;
    char label[40], tensor[40];
    const char *writer; /* of the tensor */
    void *data;
};

typedef struct ef__event {
    cl_event event;
    cl_event before; /* timed from this marker's end; NULL: from the command's own start */
    const char *op;
    uint64_t sequence;
    ef__span *span; /* NULL: none */
} ef__event;

/* A host copy that an enqueued upload still reads. */
typedef struct ef__staging {
    struct ef__staging *next;
    cl_event event;
    ef__span *span;
    size_t bytes;
    uint64_t sequence; /* of the write */
    max_align_t data[];
} ef__staging;

/* What is enqueued and not yet known to be done. A sync takes all of it out under the lock. */
typedef struct ef__pending {
    ef__event *events;
    size_t event_count, event_room;
    ef_readback *first, *last;
    ef__staging *staging, *staging_last;
    size_t staging_bytes;
    bool checked; /* an operation ran that may have filled in the error record */
} ef__pending;

typedef struct ef__kernel {
    struct ef__kernel *next;
    const char *source, *name; /* literals of the call that made it */
    ef__define defines[EF__MAX_DEFINES];
    cl_kernel kernel;
} ef__kernel;

typedef struct ef__program {
    struct ef__program *next;
    const char *file; /* the first that it is made of */
    char options[256];
    cl_program program;
} ef__program;

struct ef_actor {
    pthread_mutex_t lock;   /* recursive */
    pthread_cond_t changed; /* synced, syncing or a readback's state changed */
    unsigned refs;          /* the opener, tensors, readbacks */
    bool closed, lost;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    bool profiling; /* the queue keeps the times of its commands */
    ef__device about;
    ef_guard guard;
    ef_accuracy accuracy;
    bool debug_sync, debug_canary;
    ef_stats stats;

    ef_error error;          /* the sticky one */
    uint64_t error_sequence; /* of the operation that failed */
    char message[sizeof((ef_error *)0)->text], shown[sizeof((ef_error *)0)->text];

    unsigned depth;         /* of the open batch */
    char batch[40];         /* label that the last sync gave, inner ones too */
    uint64_t labelled;      /* the epoch that it is of */
    uint64_t epoch, synced; /* the open epoch; all up to synced are done */
    unsigned syncing; /* threads in a sync or finish: they hold what they took out of pending */
    unsigned waiting; /* threads that wait for an immediate readback's event */
    ef__pending pending;
    uint64_t sequence; /* of the running operation */
    const char *op;    /* its name */
    unsigned op_depth;

    int capture;                   /* EF_TUNE_CAPTURE's file, to append to; below 0: none */
    ef__trace *trace;              /* NULL: EF_TRACE is not set */
    uint64_t timed_from, timed_ns; /* of the operations from this sequence on: their device time */

    ef__pool pool;
    char cache[512]; /* folder for program binaries; empty: none */
    ef__program *programs;
    ef__kernel *kernels[EF__BUCKETS];
    ef_tensor *record;
    ef__slot slot;
};

/* actor.c */
ef_actor *ef__actor_retain(ef_actor *a);
void ef__actor_release(ef_actor *a); /* lock not held */

/* environment.c: guard, accuracy, debug settings, the file to capture to; EARG if a variable has a
 * value that nothing knows, EIO. */
ef_status ef__environment_read(ef_actor *a, ef_error *error);

/* device.c */
ef_status ef__device_at(size_t index, cl_device_id *device, ef_error *error);
ef_status ef__device_find(const char *wanted, cl_device_id *device, ef_error *error);
ef_status ef__device_fill(cl_device_id device, ef__device *about, ef_error *error);

/* locality.c: fill in the hwloc part of info. */
void ef__locality_fill(ef_device_info *info);

/* pool.c */
ef_status ef__lease_new(ef_actor *a, size_t bytes, const char *op, const char *label,
                        ef__lease **lease);
void ef__lease_drop(ef_actor *a, ef__lease *lease);
void ef__pool_close(ef_actor *a);

/* launch.c: enqueue the filling of memory with copies of a pattern. */
typedef struct ef__pattern {
    size_t size;
    unsigned char bytes[4];
} ef__pattern;
ef_status ef__fill(ef_actor *a, const char *op, cl_mem mem, const ef__pattern *p, size_t offset,
                   size_t bytes);

/* program.c */
ef_status ef__kernel_get(ef_actor *a, const ef__call *call, cl_kernel *kernel);
void ef__programs_close(ef_actor *a);

/* profile.c: when a command ran, by the device's clock, if that is known; book a command that is
 * done, or was given up, and its span. */
bool ef__event_times(const ef__event *e, uint64_t *from, uint64_t *to);
void ef__profile_done(ef_actor *a, ef__event *e);

/* cache.c: program binaries on disk. */
typedef struct ef__cache_entry {
    unsigned char key[EF__SHA256_BYTES];
    char path[640];
} ef__cache_entry;
ef_status ef__cache_open(ef_actor *a,
                         ef_error *error); /* EARG: EF_CACHE is neither off nor a path */
/* Where a program's binary belongs; false: it is not kept. */
bool ef__cache_key(const ef_actor *a, const char *source, const char *options,
                   ef__cache_entry *entry);
/* The program, built; NULL: there is no usable binary. */
cl_program ef__cache_load(const ef_actor *a, const ef__cache_entry *entry, const char *options);
void ef__cache_save(const ef_actor *a, const ef__cache_entry *entry, cl_program program);

/* batch.c */
void ef__pending_check(ef_actor *a, ef__pending *p); /* statuses of finished commands */
cl_int ef__event_status(cl_event event);             /* CL_COMPLETE of NULL, negative: failed */
void ef__event_drop(const ef__event *e);
void ef__fail_at(ef_actor *a, uint64_t sequence, const char *op, cl_int code);
void ef__device_lost(ef_actor *a, const char *label, const char *function, cl_int code);
/* Enqueue the download of the error record; to be reported once it is there. */
cl_int ef__record_read(ef_actor *a, int record[EF__RECORD_INTS]);
void ef__record_report(ef_actor *a, const int record[EF__RECORD_INTS]);
ef_status ef__staging_new(ef_actor *a, const void *data, size_t bytes, ef__staging **staging);
void ef__pending_cancel(ef_actor *a); /* the queue is idle: drop everything pending */

/* readback.c */
void ef__readback_resolve(ef_readback *r, const ef_error *error); /* NULL: ready */
void ef__readback_settle(ef_actor *a, ef_readback *r);            /* its event is complete */

static inline size_t ef__dtype_bytes(ef_dtype dtype)
{
    return dtype == EF_U8 ? 1 : dtype == EF_F16 ? 2 : 4;
}

#endif
