/* Opening, closing, the lock, errors. One actor owns one device and one in-order queue. */
#include "actor/trace.h"
#include "base/error.h"
#include "energyflow_cl.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void ef__lock(ef_actor *a)
{
    assert(a);
    pthread_mutex_lock(&a->lock);
}

void ef__unlock(ef_actor *a)
{
    pthread_mutex_unlock(&a->lock);
}

ef_actor *ef__actor_retain(ef_actor *a)
{
    ef__lock(a);
    a->refs++;
    ef__unlock(a);
    return a;
}

void ef__actor_release(ef_actor *a)
{
    ef__lock(a);
    bool last = --a->refs == 0;
    ef__unlock(a);
    if (!last)
        return;
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* ---- errors ---- */

static bool is_sticky(ef_status status)
{
    return status != EF_OK && status != EF_EEARLY && status != EF_ETIMEOUT && status != EF_ESTATE &&
           status != EF_ECANCELLED;
}

ef_status ef__fail(ef_actor *a, ef_status status, int cl_code, const char *op, const char *format,
                   ...)
{
    ef_error error;
    va_list args;
    va_start(args, format);
    ef__error_setv(&error, status, cl_code, op, format, args);
    va_end(args);
    memcpy(a->message, error.text, sizeof a->message);
    if (is_sticky(status) && a->error.status == EF_OK) {
        a->error = error;
        a->error_sequence = a->sequence;
    }
    return status;
}

ef_status ef__cl_fail(ef_actor *a, const char *op, const char *function, cl_int code)
{
    if (code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY)
        return ef__fail(a, EF_ENOMEM, code, op, "%s: %s: %s (%d)", op, function, ef__cl_name(code),
                        code);
    return ef__fail(a, EF_EDEVICE, code, op, "%s: %s: %s (%d)%s", op, function, ef__cl_name(code),
                    code, a->lost ? "; the device is lost to this process" : "");
}

ef_status ef__ready(ef_actor *a)
{
    if (a->closed)
        return EF_ECANCELLED;
    return a->error.status;
}

ef_status ef_actor_error(ef_actor *a, ef_error *error)
{
    ef__lock(a);
    ef_status status = a->error.status;
    if (error)
        *error = a->error;
    ef__unlock(a);
    return status;
}

const char *ef_actor_message(ef_actor *a)
{
    ef__lock(a); /* what is shown is a copy: another thread may fail meanwhile */
    memcpy(a->shown, a->message, sizeof a->shown);
    ef__unlock(a);
    return a->shown;
}

/* ---- opening ---- */

static void init_lock(ef_actor *a)
{
    pthread_mutexattr_t mutex;
    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_settype(&mutex, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&a->lock, &mutex);
    pthread_mutexattr_destroy(&mutex);
    pthread_condattr_t condition;
    pthread_condattr_init(&condition);
    pthread_condattr_setclock(&condition, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &condition);
    pthread_condattr_destroy(&condition);
}

static ef_status clear_record(ef_actor *a)
{
    int32_t zero[EF__RECORD_INTS] = {0};
    zero[8] = INT32_MAX;
    return ef_tensor_write(a->record, zero);
}

static bool has_times(cl_command_queue queue)
{
    cl_command_queue_properties properties = 0;
    clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    return properties & CL_QUEUE_PROFILING_ENABLE;
}

/* Context and queue are set (and owned from here on, also when this fails). */
static ef_status start(ef_actor *a, ef_actor **actor, ef_error *error)
{
    a->refs = 1;
    a->epoch = 1;
    init_lock(a);
    ef_status status = ef__environment_read(a, error);
    if (!status)
        status = ef__device_fill(a->device, &a->about, error);
    if (!status)
        status = ef__cache_open(a, error);
    a->profiling = has_times(a->queue);
    a->about.keeps_events |= a->profiling;
    if (!status) {
        size_t ints = EF__RECORD_INTS;
        status = ef_tensor_new(a, EF_I32, 1, &ints, "error record", &a->record);
        if (!status)
            status = clear_record(a);
        if (status && error)
            *error = a->error;
    }
    if (!status && ef__trace_path())
        status = ef__trace_open(a, ef__trace_path(), error);
    if (status) {
        ef_actor_close(a);
        return status;
    }
    a->stats = (ef_stats){.pool_bytes = a->stats.pool_bytes, .pool_used = a->stats.pool_used};
    *actor = a;
    return EF_OK;
}

static ef_status open_queue(const char *wanted, cl_command_queue_properties properties,
                            ef_actor **actor, ef_error *error)
{
    cl_device_id device;
    ef_status status = ef__device_find(wanted, &device, error);
    if (status)
        return status;
    ef_actor *a = calloc(1, sizeof *a);
    if (!a)
        return ef__error_set(error, EF_ENOMEM, 0, "open", "open: no memory for an actor");
    cl_int code;
    const char *function = "clCreateContext";
    a->device = device;
    a->context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    if (!code) {
        function = "clCreateCommandQueue";
        a->queue = clCreateCommandQueue(a->context, device, properties, &code);
    }
    if (!code)
        return start(a, actor, error);
    if (a->context)
        clReleaseContext(a->context);
    free(a);
    return ef__error_set(error, EF_EDEVICE, code, "open", "open: %s: %s (%d)", function,
                         ef__cl_name(code), code);
}

ef_status ef_actor_open(const char *wanted, ef_actor **actor, ef_error *error)
{
    return open_queue(wanted, ef__trace_path() ? CL_QUEUE_PROFILING_ENABLE : 0, actor, error);
}

ef_status ef__actor_open_profiling(const char *wanted, ef_actor **actor, ef_error *error)
{
    return open_queue(wanted, CL_QUEUE_PROFILING_ENABLE, actor, error);
}

ef_status ef_actor_adopt(cl_context context, cl_command_queue queue, ef_actor **actor,
                         ef_error *error)
{
    cl_context owner = NULL;
    cl_device_id device = NULL;
    cl_command_queue_properties properties = 0;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof owner, &owner, NULL);
    if (!code)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof device, &device, NULL);
    if (!code)
        code =
            clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    if (code)
        return ef__error_set(error, EF_EDEVICE, code, "adopt",
                             "adopt: clGetCommandQueueInfo: %s (%d)", ef__cl_name(code), code);
    if (owner != context)
        return ef__error_set(error, EF_EARG, 0, "adopt", "adopt: the queue is of another context");
    if (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE)
        return ef__error_set(error, EF_EARG, 0, "adopt", "adopt: the queue is out of order");
    ef_actor *a = calloc(1, sizeof *a);
    if (!a)
        return ef__error_set(error, EF_ENOMEM, 0, "adopt", "adopt: no memory for an actor");
    a->device = device;
    clRetainContext(a->context = context);
    clRetainCommandQueue(a->queue = queue);
    return start(a, actor, error);
}

void ef_actor_close(ef_actor *a)
{
    if (!a)
        return;
    ef__lock(a);
    assert(!a->closed);
    while (a->syncing || a->waiting)
        pthread_cond_wait(&a->changed, &a->lock);
    clFinish(a->queue);
    a->closed = true;
    ef__pending_cancel(a);
    if (a->slot.destroy)
        a->slot.destroy(a->slot.data);
    ef_tensor *record = a->record;
    a->record = NULL;
    ef_tensor_free(record);
    ef__pool_close(a);
    ef__programs_close(a);
    if (a->trace)
        ef__trace_close(a);
    if (a->capture >= 0)
        close(a->capture);
    clReleaseCommandQueue(a->queue);
    clReleaseContext(a->context);
    pthread_cond_broadcast(&a->changed);
    ef__unlock(a);
    ef__actor_release(a);
}

/* ---- the rest ---- */

ef_status ef_actor_reset(ef_actor *a)
{
    ef__lock(a);
    if (a->closed) {
        ef__unlock(a);
        return EF_ECANCELLED;
    }
    while (a->syncing || a->waiting)
        pthread_cond_wait(&a->changed, &a->lock);
    cl_int code = clFinish(a->queue);
    a->stats.host_waits++;
    if (code)
        a->lost = true;
    ef__pending_cancel(a);
    a->depth = 0;
    a->synced = a->epoch++;
    ef_status status = EF_OK;
    if (a->lost) {
        status = a->error.status ? a->error.status : ef__cl_fail(a, "reset", "clFinish", code);
    } else {
        a->error = (ef_error){.status = EF_OK};
        status = clear_record(a);
    }
    pthread_cond_broadcast(&a->changed);
    ef__unlock(a);
    return status;
}

void ef_actor_set_guard(ef_actor *a, ef_guard guard)
{
    ef__lock(a);
    a->guard = guard;
    ef__unlock(a);
}

void ef_actor_set_accuracy(ef_actor *a, ef_accuracy accuracy)
{
    ef__lock(a);
    a->accuracy = accuracy;
    ef__unlock(a);
}

ef_accuracy ef_actor_accuracy(ef_actor *a)
{
    ef__lock(a);
    ef_accuracy accuracy = a->accuracy;
    ef__unlock(a);
    return accuracy;
}

void ef_actor_stats(ef_actor *a, ef_stats *stats)
{
    ef__lock(a);
    *stats = a->stats;
    stats->epoch = a->epoch;
    stats->epoch_synced = a->synced;
    ef__unlock(a);
}

const ef_device_info *ef_actor_device(const ef_actor *a)
{
    return &a->about.info;
}

const ef__device *ef__device_of(const ef_actor *a)
{
    return &a->about;
}

int ef__actor_capture(const ef_actor *a)
{
    return a->capture;
}

ef__slot *ef__actor_slot(ef_actor *a)
{
    return &a->slot;
}

ef_tensor *ef__record(ef_actor *a)
{
    return a->record;
}

cl_command_queue ef__queue(ef_actor *a)
{
    return a->queue;
}
