/* Readbacks: one-shot host values. PENDING becomes READY or FAILED exactly once, under the lock, by
 * the thread that syncs, or by the one that asks an immediate readback. */
#include "actor/internal.h"
#include "base/error.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void ef__readback_resolve(ef_readback *r, const ef_error *error)
{
    if (r->state != EF__PENDING)
        return;
    if (error) {
        r->state = EF__FAILED;
        r->error = *error;
    } else {
        r->state = EF__READY;
    }
    if (r->event)
        clReleaseEvent(r->event);
    r->event = NULL;
}

static void enlist(ef_actor *a, ef_readback *r)
{
    ef__pending *p = &a->pending;
    r->refs++;
    if (p->last)
        p->last->next = r;
    else
        p->first = r;
    p->last = r;
}

/* Takes r out of the open batch's list, when it still is there. */
static bool unlist(ef_actor *a, ef_readback *r)
{
    ef_readback *before = NULL, *it = a->pending.first;
    while (it && it != r) {
        before = it;
        it = it->next;
    }
    if (!it)
        return false;
    if (before)
        before->next = r->next;
    else
        a->pending.first = r->next;
    if (a->pending.last == r)
        a->pending.last = before;
    r->next = NULL;
    return true;
}

static ef_status enqueue(ef_actor *a, const ef_tensor *t, ef_readback *r)
{
    static const char op[] = "readback";
    size_t bytes = ef_tensor_bytes(t);
    r->data = malloc(bytes ? bytes : 1);
    if (!r->data)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s %s: no host memory for %zu bytes", op, r->label,
                        bytes);
    if (!bytes) {
        r->state = EF__READY;
        return EF_OK;
    }
    cl_int code;
    if (a->depth == 0 && a->pending.checked) {
        code = clEnqueueReadBuffer(a->queue, a->record->lease->block->mem, CL_FALSE, 0,
                                   sizeof r->record, r->record, 0, NULL, NULL);
        r->checked = code == CL_SUCCESS;
    }
    code = clEnqueueReadBuffer(a->queue, t->lease->block->mem, CL_FALSE,
                               t->offset * ef__dtype_bytes(t->dtype), bytes, r->data, 0, NULL,
                               &r->event);
    if (code)
        return ef__cl_fail(a, op, "clEnqueueReadBuffer", code);
    a->stats.bytes_down += bytes;
    enlist(a, r);
    return EF_OK;
}

ef_status ef_readback_start(ef_actor *a, const ef_tensor *t, ef_readback_mode mode,
                            const char *label, ef_readback **readback)
{
    ef_status status = ef__op_begin(a, "readback");
    ef_readback *r = calloc(1, sizeof *r);
    if (!status)
        status = ef__tensor_usable(a, t, "readback");
    if (!status && !r)
        status = ef__fail(a, EF_ENOMEM, 0, "readback", "readback: no host memory");
    if (!status) {
        r->refs = 1;
        r->mode = a->depth ? mode : EF_IMMEDIATE;
        r->epoch = a->epoch;
        r->sequence = a->sequence;
        r->count = t->count;
        snprintf(r->label, sizeof r->label, "%s", label ? label : t->label);
        snprintf(r->tensor, sizeof r->tensor, "%s", t->label);
        status = enqueue(a, t, r);
    }
    if (status) {
        if (r)
            free(r->data);
        free(r);
    } else {
        r->actor = ef__actor_retain(a);
        *readback = r;
    }
    return ef__op_end(a, status);
}

/* An immediate readback waits for its own event alone, without the lock. */
static void wait_immediate(ef_readback *r)
{
    ef_actor *a = r->actor;
    cl_event event = r->event;
    clRetainEvent(event);
    a->waiting++;
    ef__unlock(a);
    cl_int code = clWaitForEvents(1, &event);
    ef__lock(a);
    a->stats.host_waits++;
    clReleaseEvent(event);
    while (a->syncing) /* it may hold the event of an earlier operation that failed */
        pthread_cond_wait(&a->changed, &a->lock);
    a->waiting--;
    pthread_cond_broadcast(&a->changed);
    if (r->state != EF__PENDING)
        return;
    ef__pending_check(a, &a->pending);
    if (r->checked)
        ef__record_report(a, r->record);
    if (code && !a->error.status) {
        a->lost = !a->about.is_pocl;
        ef__cl_fail(a, "readback", "clWaitForEvents", code);
        a->error_sequence = r->sequence;
    }
    if (unlist(a, r)) {
        bool failed = a->error.status && r->sequence >= a->error_sequence;
        ef__readback_resolve(r, failed ? &a->error : NULL);
        r->refs--; /* the list's; the caller holds another */
        pthread_cond_broadcast(&a->changed);
    }
}

static ef_status asked_early(ef_readback *r)
{
    ef_actor *a = r->actor;
    if (a->guard == EF_GUARD_TRAP) {
        fprintf(stderr,
                "libenergyflow: readback %s of tensor %s asked for in epoch %" PRIu64
                " before ef_batch_sync; set EF_GUARD=error to get EF_EEARLY instead\n",
                r->label, r->tensor, r->epoch);
        abort();
    }
    return ef__fail(a, EF_EEARLY, 0, "readback",
                    "readback %s of tensor %s: asked for before its batch (epoch %" PRIu64
                    ") was synced",
                    r->label, r->tensor, r->epoch);
}

static ef_status outcome(const ef_readback *r)
{
    return r->state == EF__PENDING ? EF_ETIMEOUT : r->state == EF__READY ? EF_OK : r->error.status;
}

ef_status ef_readback_value(ef_readback *r, const void **data, size_t *count)
{
    ef_actor *a = r->actor;
    ef__lock(a);
    if (r->state == EF__PENDING && r->mode == EF_IMMEDIATE)
        wait_immediate(r);
    while (r->state == EF__PENDING && r->mode == EF_IMMEDIATE)
        pthread_cond_wait(&a->changed, &a->lock); /* a sync of another thread resolves it */
    ef_status status = r->state == EF__PENDING ? asked_early(r) : outcome(r);
    if (status == EF_OK) {
        *data = r->data;
        if (count)
            *count = r->count;
    } else if (r->state == EF__FAILED) {
        memcpy(a->message, r->error.text, sizeof a->message);
    }
    ef__unlock(a);
    return status;
}

ef_status ef_readback_poll(ef_readback *r)
{
    ef__lock(r->actor);
    if (r->state == EF__PENDING && r->mode == EF_IMMEDIATE) {
        cl_int code = CL_QUEUED;
        clFlush(r->actor->queue);
        clGetEventInfo(r->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof code, &code, NULL);
        if (code <= CL_COMPLETE)
            wait_immediate(r);
    }
    ef_status status = outcome(r);
    ef__unlock(r->actor);
    return status;
}

static struct timespec deadline_in(int milliseconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += milliseconds / 1000;
    t.tv_nsec += milliseconds % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

ef_status ef_readback_wait(ef_readback *r, int milliseconds)
{
    ef_actor *a = r->actor;
    struct timespec deadline = deadline_in(milliseconds > 0 ? milliseconds : 0);
    ef__lock(a);
    if (r->state == EF__PENDING && r->mode == EF_IMMEDIATE)
        wait_immediate(r);
    int code = 0;
    while (r->state == EF__PENDING && code != ETIMEDOUT)
        code = milliseconds < 0 ? pthread_cond_wait(&a->changed, &a->lock)
                                : pthread_cond_timedwait(&a->changed, &a->lock, &deadline);
    ef_status status = outcome(r);
    ef__unlock(a);
    return status;
}

ef_readback *ef_readback_retain(ef_readback *r)
{
    ef__lock(r->actor);
    r->refs++;
    ef__unlock(r->actor);
    return r;
}

void ef_readback_free(ef_readback *r)
{
    if (!r)
        return;
    ef_actor *a = r->actor;
    ef__lock(a);
    bool last = --r->refs == 0;
    ef__unlock(a);
    if (!last)
        return;
    if (r->event)
        clReleaseEvent(r->event);
    free(r->data);
    free(r);
    ef__actor_release(a);
}
