/* Batches. The outermost sync takes everything pending out under the lock, waits once without it,
 * and resolves under it again. Readbacks are resolved in the order of their start; epochs complete
 * in order. No callbacks: PoCL does not fire them for failed commands. */
#include "actor/trace.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAGING_LIMIT = 256 << 20 }; /* host bytes waiting to be uploaded before a write waits */

/* The first failure in sequence is the one to keep, even if a later one was seen before it. */
void ef__fail_at(ef_actor *a, uint64_t sequence, const char *op, cl_int code)
{
    if (a->error.status && a->error_sequence <= sequence)
        return;
    a->error.status = EF_OK;
    uint64_t now = a->sequence;
    a->sequence = sequence;
    ef__fail(a, EF_EDEVICE, code, op, "%s: the command failed on the device: %s (%d)", op,
             ef__cl_name(code), code);
    a->sequence = now;
}

cl_int ef__event_status(cl_event event)
{
    cl_int status = CL_COMPLETE, code = CL_SUCCESS;
    if (event)
        code =
            clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
    return code ? code : status;
}

void ef__event_drop(const ef__event *e)
{
    if (e->event)
        clReleaseEvent(e->event);
    if (e->before)
        clReleaseEvent(e->before);
    ef__span_drop(e->span);
}

static void staging_pop(ef_actor *a, ef__pending *p)
{
    ef__staging *s = p->staging;
    cl_int code = ef__event_status(s->event);
    if (code < 0)
        ef__fail_at(a, s->sequence, "tensor.write", code);
    ef__profile_done(a, &(ef__event){.event = s->event, .span = s->span});
    p->staging = s->next;
    if (!p->staging)
        p->staging_last = NULL;
    p->staging_bytes -= s->bytes;
    if (s->event)
        clReleaseEvent(s->event);
    free(s);
}

static void staging_check(ef_actor *a, ef__pending *p)
{
    while (p->staging && ef__event_status(p->staging->event) <= CL_COMPLETE)
        staging_pop(a, p);
}

void ef__pending_check(ef_actor *a, ef__pending *p)
{
    size_t kept = 0;
    staging_check(a, p);
    for (size_t i = 0; i < p->event_count; i++) {
        ef__event e = p->events[i];
        cl_int code = ef__event_status(e.event);
        if (code > CL_COMPLETE) {
            p->events[kept++] = e;
            continue;
        }
        if (code < 0)
            ef__fail_at(a, e.sequence, e.op, code);
        ef__profile_done(a, &e);
        ef__event_drop(&e);
    }
    p->event_count = kept;
}

/* The record's layout: cl/common.cl. */
void ef__record_report(ef_actor *a, const int record[EF__RECORD_INTS])
{
    if (record[0] == 0)
        return;
    uint64_t sequence = (a->sequence & ~(uint64_t)INT32_MAX) | (uint32_t)record[1];
    if (sequence > a->sequence) /* 2^31 was passed since */
        sequence -= (uint64_t)INT32_MAX + 1;
    if (a->error.status && a->error_sequence <= sequence)
        return;
    a->error.status = EF_OK;
    uint64_t now = a->sequence;
    a->sequence = sequence;
    const char *op = record[0] == EF__CHECKED_ID ? "embedding.forward" : "cross_entropy.loss";
    ef__fail(a, EF_EARG, 0, op, "%s: %s %d at position %d is not in 0..%d (V %d)", op,
             record[0] == EF__CHECKED_ID ? "id" : "target", record[3], record[2], record[4] - 1,
             record[4]);
    a->sequence = now;
}

/* ---- staging ---- */

ef_status ef__staging_new(ef_actor *a, const void *data, size_t bytes, ef__staging **staging)
{
    ef__pending *p = &a->pending;
    staging_check(a, p);
    while (p->staging && p->staging_bytes + bytes > STAGING_LIMIT) {
        clWaitForEvents(1, &p->staging->event);
        a->stats.host_waits++;
        staging_pop(a, p);
    }
    ef__staging *s = malloc(sizeof *s + bytes);
    if (!s)
        return ef__fail(a, EF_ENOMEM, 0, "tensor.write",
                        "tensor.write: no host memory for %zu bytes", bytes);
    s->next = NULL;
    s->event = NULL;
    s->span = NULL;
    s->bytes = bytes;
    s->sequence = a->sequence;
    memcpy(s->data, data, bytes);
    if (p->staging_last)
        p->staging_last->next = s;
    else
        p->staging = s;
    p->staging_last = s;
    p->staging_bytes += bytes;
    *staging = s;
    return EF_OK;
}

static void forget(ef_actor *a, ef__pending *p)
{
    while (p->staging)
        staging_pop(a, p);
    for (size_t i = 0; i < p->event_count; i++) {
        ef__profile_done(a, &p->events[i]);
        ef__event_drop(&p->events[i]);
    }
    free(p->events);
    *p = (ef__pending){0};
}

static void resolve_all(ef_actor *a, ef__pending *p, const ef_error *cancelled)
{
    while (p->first) {
        ef_readback *r = p->first;
        p->first = r->next;
        r->next = NULL;
        if (cancelled)
            ef__readback_resolve(r, cancelled);
        else
            ef__readback_settle(a, r);
        ef_readback_free(r);
    }
    p->last = NULL;
}

void ef__pending_cancel(ef_actor *a)
{
    ef_error cancelled = {.status = EF_ECANCELLED, .text = "the actor was closed or reset"};
    resolve_all(a, &a->pending, &cancelled);
    forget(a, &a->pending);
}

/* ---- begin, sync, finish ---- */

ef_status ef_batch_begin(ef_actor *a)
{
    ef__lock(a);
    ef_status status = ef__ready(a);
    if (!status)
        a->depth++;
    ef__unlock(a);
    return status;
}

cl_int ef__record_read(ef_actor *a, int record[EF__RECORD_INTS])
{
    return clEnqueueReadBuffer(a->queue, a->record->lease->block->mem, CL_FALSE, 0,
                               EF__RECORD_INTS * sizeof *record, record, 0, NULL, NULL);
}

void ef__device_lost(ef_actor *a, const char *label, const char *function, cl_int code)
{
    a->lost = true;
    ef__fail(a, EF_EDEVICE, code, label, "%s: %s: %s (%d); the device is lost to this process%s",
             label, function, ef__cl_name(code), code,
             a->about.keeps_events || a->debug_sync
                 ? ""
                 : "; EF_DEBUG=sync tells which operation failed");
    a->error_sequence = 0; /* nothing that was read can be trusted */
}

/* The outermost sync, or a finish: wait for everything that p took out of the actor. */
static void wait_for(ef_actor *a, ef__pending *p, uint64_t epoch, const char *label)
{
    int record[EF__RECORD_INTS] = {0};
    cl_int code = p->checked ? ef__record_read(a, record) : CL_SUCCESS;
    if (code)
        ef__cl_fail(a, label, "clEnqueueReadBuffer", code);
    const uint64_t began = a->trace ? ef__trace_now() : 0;
    ef__unlock(a);
    code = clFinish(a->queue);
    ef__lock(a);
    a->stats.host_waits++;
    if (a->trace)
        ef__trace_wait(a, began, epoch, label);
    ef__pending_check(a, p);
    if (code)
        ef__device_lost(a, label, "clFinish", code);
    else
        ef__record_report(a, record);
}

static ef_status sync_outermost(ef_actor *a, const char *label)
{
    uint64_t epoch = a->epoch++;
    ef__pending p = a->pending;
    a->pending = (ef__pending){0};
    a->syncing++;
    wait_for(a, &p, epoch, label);
    while (a->synced + 1 < epoch)
        pthread_cond_wait(&a->changed, &a->lock);
    ef_readback *first = p.first;
    p.first = NULL;
    forget(a, &p); /* a failed upload fails what was read after it */
    p.first = first;
    resolve_all(a, &p, NULL);
    if (a->trace)
        ef__trace_write(a, epoch, label);
    if (a->synced < epoch)
        a->synced = epoch;
    a->syncing--; /* from here on the actor may be closed */
    pthread_cond_broadcast(&a->changed);
    return a->error.status;
}

ef_status ef_batch_sync(ef_actor *a, const char *label)
{
    ef_status status;
    label = label ? label : "batch";
    ef__lock(a);
    if (a->depth) {
        snprintf(a->batch, sizeof a->batch, "%s", label);
        a->labelled = a->epoch;
    }
    if (a->closed) {
        status = EF_ECANCELLED;
    } else if (a->depth == 0) {
        status = ef__fail(a, EF_ESTATE, 0, "sync", "sync %s: no batch is open", label);
    } else if (--a->depth > 0) {
        clFlush(a->queue);
        status = a->error.status;
    } else {
        status = sync_outermost(a, label);
    }
    ef__unlock(a);
    return status;
}

ef_status ef_actor_finish(ef_actor *a)
{
    ef__lock(a);
    if (a->closed) {
        ef__unlock(a);
        return EF_ECANCELLED;
    }
    /* Readbacks stay with the open batch; all else is taken out. */
    ef__pending p = a->pending;
    a->pending = (ef__pending){.first = p.first, .last = p.last};
    p.first = p.last = NULL;
    a->syncing++;
    wait_for(a, &p, a->epoch, "finish");
    forget(a, &p);
    if (a->trace && !a->depth)
        ef__trace_write(a, a->epoch, NULL);
    a->syncing--;
    pthread_cond_broadcast(&a->changed);
    ef_status status = a->error.status;
    ef__unlock(a);
    return status;
}
