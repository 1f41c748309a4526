/* Readbacks: one-shot host values. PENDING becomes READY or FAILED exactly once, under the lock, by
 * the thread that syncs, or by the one that asks an immediate readback. */
#include "actor/trace.h"
#include "base/error.h"
#include <assert.h>
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
    if (r->event) {
        ef__profile_done(r->actor, &(ef__event){.event = r->event, .span = r->span});
        clReleaseEvent(r->event);
    }
    r->event = NULL;
    r->span = NULL;
}

void ef__readback_settle(ef_actor *a, ef_readback *r)
{
    cl_int code = ef__event_status(r->event);
    if (code < 0)
        ef__fail_at(a, r->sequence, "readback", code);
    bool failed = a->error.status && r->sequence >= a->error_sequence;
    ef__readback_resolve(r, failed ? &a->error : NULL);
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
    r->checked = r->mode == EF_IMMEDIATE && a->pending.checked;
    cl_int code = CL_SUCCESS;
    if (r->checked)
        code = ef__record_read(a, r->record);
    if (!code) {
        code = clEnqueueReadBuffer(a->queue, t->lease->block->mem, CL_FALSE,
                                   t->offset * ef__dtype_bytes(t->dtype), bytes, r->data, 0, NULL,
                                   &r->event);
        if (code && r->checked)
            clFinish(a->queue); /* the record is on its way into r, which goes */
    }
    if (code)
        return ef__cl_fail(a, op, "clEnqueueReadBuffer", code);
    a->stats.bytes_down += bytes;
    if (a->trace) {
        r->span = ef__span_new(a, EF__READBACK, op);
        ef__span_tensor(r->span, t, r->label);
    }
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
        r->writer = t->lease->writer;
        status = enqueue(a, t, r);
    }
    if (!status) {
        r->actor = ef__actor_retain(a);
    } else {
        if (r)
            free(r->data);
        free(r);
        r = NULL;
    }
    status = ef__op_end(a, status);
    if (status)
        ef_readback_free(r); /* EF_DEBUG=sync: it failed after all */
    else
        *readback = r;
    return status;
}

/* An immediate readback whose event is complete, while no sync holds events of operations before
 * it: now it is known whether one of them failed. */
static void settle_immediate(ef_readback *r)
{
    ef_actor *a = r->actor;
    cl_int code = clWaitForEvents(1, &r->event);
    ef__pending_check(a, &a->pending);
    if (code && ef__event_status(r->event) >= 0)
        ef__device_lost(a, "readback", "clWaitForEvents", code);
    else if (r->checked)
        ef__record_report(a, r->record);
    if (unlist(a, r)) {
        ef__readback_settle(a, r);
        r->refs--; /* the list's; the caller holds another */
        pthread_cond_broadcast(&a->changed);
    }
}

/* It waits for its own event alone, without the lock. */
static void wait_immediate(ef_readback *r)
{
    ef_actor *a = r->actor;
    cl_event event = r->event;
    clRetainEvent(event);
    a->waiting++;
    const uint64_t began = a->trace ? ef__trace_now() : 0;
    ef__unlock(a);
    clWaitForEvents(1, &event);
    ef__lock(a);
    a->stats.host_waits++;
    if (a->trace)
        ef__trace_wait(a, began, r->epoch, r->label);
    clReleaseEvent(event);
    while (a->syncing)
        pthread_cond_wait(&a->changed, &a->lock);
    a->waiting--;
    pthread_cond_broadcast(&a->changed);
    if (r->state == EF__PENDING)
        settle_immediate(r);
}

static void poll_immediate(ef_readback *r)
{
    clFlush(r->actor->queue);
    if (!r->actor->syncing && ef__event_status(r->event) <= CL_COMPLETE)
        settle_immediate(r);
}

/* A batch's label comes with its syncs: before the first one only the last batch's is known. */
static ef_status asked_early(ef_readback *r)
{
    ef_actor *a = r->actor;
    const char *where = a->labelled == r->epoch ? "" : a->labelled ? "after " : "the first one";
    return ef__fail(a, EF_EEARLY, 0, "readback",
                    "readback %s of tensor %s, written by %s: asked for before its batch (%s%s, "
                    "epoch %" PRIu64 ") was synced",
                    r->label, r->tensor, r->writer ? r->writer : "no operation", where, a->batch,
                    r->epoch);
}

static ef_status outcome(const ef_readback *r)
{
    return r->state == EF__PENDING ? EF_ETIMEOUT : r->state == EF__READY ? EF_OK : r->error.status;
}

static bool is_pending(const ef_readback *r, ef_readback_mode mode)
{
    return r->state == EF__PENDING && r->mode == mode;
}

ef_status ef_readback_value(ef_readback *r, const void **data, size_t *count)
{
    assert(r);
    ef_actor *a = r->actor;
    ef__lock(a);
    if (is_pending(r, EF_IMMEDIATE))
        wait_immediate(r);
    while (is_pending(r, EF_IMMEDIATE))
        pthread_cond_wait(&a->changed, &a->lock); /* a sync of another thread resolves it */
    ef_status status = r->state == EF__PENDING ? asked_early(r) : outcome(r);
    if (status == EF_OK) {
        *data = r->data;
        if (count)
            *count = r->count;
    } else if (r->state == EF__FAILED) {
        memcpy(a->message, r->error.text, sizeof a->message);
    }
    bool trap = status == EF_EEARLY && a->guard == EF_GUARD_TRAP;
    if (trap)
        fprintf(stderr, "libenergyflow: %s; EF_GUARD=error gives EF_EEARLY instead\n", a->message);
    ef__unlock(a);
    if (trap)
        abort();
    return status;
}

ef_status ef_readback_poll(ef_readback *r)
{
    assert(r);
    ef__lock(r->actor);
    if (is_pending(r, EF_IMMEDIATE))
        poll_immediate(r);
    ef_status status = outcome(r);
    ef__unlock(r->actor);
    return status;
}

static struct timespec time_in(int milliseconds)
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

static bool is_before(const struct timespec *x, const struct timespec *y)
{
    return x->tv_sec < y->tv_sec || (x->tv_sec == y->tv_sec && x->tv_nsec < y->tv_nsec);
}

/* Waits for a change until the end. OpenCL knows no wait with a limit, so that the event of an
 * immediate readback is asked every millisecond. ETIMEDOUT at the end. */
static int wait_until(ef_readback *r, const struct timespec *end)
{
    ef_actor *a = r->actor;
    struct timespec soon = time_in(1);
    if (r->mode == EF_DEFER_UNTIL_SYNC)
        return pthread_cond_timedwait(&a->changed, &a->lock, end);
    poll_immediate(r);
    if (r->state != EF__PENDING)
        return 0;
    if (!is_before(&soon, end))
        return pthread_cond_timedwait(&a->changed, &a->lock, end);
    pthread_cond_timedwait(&a->changed, &a->lock, &soon);
    return 0;
}

ef_status ef_readback_wait(ef_readback *r, int milliseconds)
{
    assert(r);
    ef_actor *a = r->actor;
    const struct timespec end = time_in(milliseconds > 0 ? milliseconds : 0);
    int code = 0;
    ef__lock(a);
    if (milliseconds < 0 && is_pending(r, EF_IMMEDIATE))
        wait_immediate(r);
    while (r->state == EF__PENDING && code != ETIMEDOUT)
        code = milliseconds < 0 ? pthread_cond_wait(&a->changed, &a->lock) : wait_until(r, &end);
    ef_status status = outcome(r);
    ef__unlock(a);
    return status;
}

ef_readback *ef_readback_retain(ef_readback *r)
{
    assert(r);
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
