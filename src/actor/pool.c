/* The pool: device memory by size class. A block is leased to one ef__lease at a time; the queue is
 * in order, so a block may go to the next lease while work of the last one is still enqueued.
 * Tensors and views hold their lease, and only blocks without one are trimmed, so no handle ever
 * sees memory that was given away. */
#include "actor/internal.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

/* Four classes to each power of two, from 256 bytes: at most a quarter is wasted. */
static unsigned class_of(size_t bytes, size_t *rounded)
{
    size_t base = SMALLEST;
    unsigned k = 0;
    while (base < bytes && base * 2 <= bytes) {
        base *= 2;
        k += 4;
    }
    size_t step = base / 4, size = base;
    while (size < bytes) {
        size += step;
        k++;
    }
    *rounded = size;
    return k;
}

static void block_free(ef_actor *a, ef__block *b)
{
    a->stats.pool_bytes -= b->bytes;
    clReleaseMemObject(b->mem);
    free(b);
}

static void drain(ef_actor *a)
{
    for (unsigned k = 0; k < EF__SIZE_CLASSES; k++) {
        while (a->pool.free[k]) {
            ef__block *b = a->pool.free[k];
            a->pool.free[k] = b->next;
            block_free(a, b);
        }
    }
}

static ef_status no_room(ef_actor *a, size_t bytes, const char *op, const char *label)
{
    const ef_device_info *d = &a->about.info;
    uint64_t left = d->global_bytes > a->stats.pool_used ? d->global_bytes - a->stats.pool_used : 0;
    return ef__fail(a, EF_ENOMEM, CL_MEM_OBJECT_ALLOCATION_FAILURE, op,
                    "%s: %s needs %zu bytes; %s has %" PRIu64 " bytes left, at most %" PRIu64
                    " in one buffer",
                    op, label, bytes, d->name, left, d->max_alloc_bytes);
}

static ef_status block_new(ef_actor *a, size_t bytes, const char *op, const char *label,
                           ef__block **block)
{
    size_t rounded;
    unsigned k = class_of(bytes, &rounded);
    const ef_device_info *d = &a->about.info;
    if (bytes > d->max_alloc_bytes || k >= EF__SIZE_CLASSES)
        return no_room(a, bytes, op, label);
    if (rounded > d->max_alloc_bytes)
        rounded = bytes;
    if (a->stats.pool_bytes + rounded > d->global_bytes)
        drain(a);
    if (a->stats.pool_bytes + rounded > d->global_bytes)
        return no_room(a, bytes, op, label);
    ef__block *b = calloc(1, sizeof *b);
    if (!b)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    cl_int code;
    b->mem = clCreateBuffer(a->context, CL_MEM_READ_WRITE, rounded, NULL, &code);
    if (code) {
        drain(a);
        b->mem = clCreateBuffer(a->context, CL_MEM_READ_WRITE, rounded, NULL, &code);
    }
    if (code) {
        free(b);
        return no_room(a, bytes, op, label);
    }
    b->bytes = rounded;
    b->size_class = k;
    a->stats.pool_bytes += rounded;
    *block = b;
    return EF_OK;
}

static void list_append(ef__pool *p, ef__lease *l)
{
    l->previous = p->last;
    *(p->last ? &p->last->next : &p->first) = l;
    p->last = l;
}

static void list_remove(ef__pool *p, ef__lease *l)
{
    *(l->previous ? &l->previous->next : &p->first) = l->next;
    *(l->next ? &l->next->previous : &p->last) = l->previous;
}

ef_status ef__lease_new(ef_actor *a, size_t bytes, const char *op, const char *label,
                        ef__lease **lease)
{
    ef__lease *l = calloc(1, sizeof *l);
    if (!l)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    size_t rounded;
    unsigned k = class_of(bytes, &rounded);
    ef__block *b = k < EF__SIZE_CLASSES ? a->pool.free[k] : NULL;
    if (b && b->bytes >= bytes) {
        a->pool.free[k] = b->next;
    } else {
        ef_status status = block_new(a, bytes, op, label, &b);
        if (status) {
            free(l);
            return status;
        }
    }
    l->block = b;
    l->refs = 1;
    memcpy(l->label, label, sizeof l->label);
    list_append(&a->pool, l);
    a->stats.pool_used += b->bytes;
    if (a->stats.pool_used > a->stats.pool_peak)
        a->stats.pool_peak = a->stats.pool_used;
    *lease = l;
    return EF_OK;
}

/* Canary mode: whoever reads a freed lease sees NaN. */
static void poison(ef_actor *a, ef__block *b)
{
    const cl_uint nan = 0x7fc00000;
    ef__pattern p = {.size = sizeof nan};
    memcpy(p.bytes, &nan, sizeof nan);
    ef__fill(a, "canary", b->mem, &p, 0, b->bytes);
}

void ef__lease_drop(ef_actor *a, ef__lease *l)
{
    if (--l->refs > 0)
        return;
    if (l->attachment)
        l->attachment->destroy(l->attachment);
    ef__block *b = l->block;
    list_remove(&a->pool, l);
    a->stats.pool_used -= b->bytes;
    if (a->closed) {
        block_free(a, b);
    } else {
        if (a->debug_canary && !a->lost)
            poison(a, b);
        b->next = a->pool.free[b->size_class];
        a->pool.free[b->size_class] = b;
    }
    free(l);
}

void ef_actor_memory(ef_actor *a, void (*each)(void *user, const char *label, size_t bytes),
                     void *user)
{
    ef__lock(a);
    for (const ef__lease *l = a->pool.first; l; l = l->next)
        each(user, l->label, l->block->bytes);
    ef__unlock(a);
}

void ef_actor_trim(ef_actor *a)
{
    ef__lock(a);
    if (!a->closed)
        drain(a);
    ef__unlock(a);
}

void ef__pool_close(ef_actor *a)
{
    drain(a);
}
