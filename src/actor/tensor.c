/* Tensors: a shape and a place in a leased buffer. */
#include "actor/internal.h"
#include "base/size.h"
#include "energyflow_cl.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const dtype_names[] = {"f32", "f16", "i32", "u8"};

const char *ef__tensor_text(const ef_tensor *t, char text[80])
{
    if (!t)
        return "NULL";
    int n = snprintf(text, 80, "%s %s [", t->label, dtype_names[t->dtype]);
    for (size_t i = 0; i < t->rank && n < 80; i++)
        n += snprintf(text + n, 80 - (size_t)n, "%s%zu", i ? "," : "", t->dims[i]);
    if (n < 80)
        snprintf(text + n, 80 - (size_t)n, "]");
    return text;
}

/* Checked shape arithmetic; fills t->rank, dims, count. */
static ef_status set_shape(ef_actor *a, ef_tensor *t, size_t rank, const size_t *dims,
                           const char *op)
{
    if (rank < 1 || rank > EF_MAX_RANK)
        return ef__fail(a, EF_EARG, 0, op, "%s: rank %zu, expected 1 to %d", op, rank, EF_MAX_RANK);
    size_t count = 1, bytes;
    bool fits = true;
    for (size_t i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        fits = fits && ef__mul(count, dims[i], &count);
    }
    t->rank = rank;
    t->count = count;
    if (!fits || !ef__mul(count, ef__dtype_bytes(t->dtype), &bytes) || bytes > INT64_MAX)
        return ef__fail(a, EF_EARG, 0, op, "%s: the size of %s passes 2^63 bytes", op, t->label);
    return EF_OK;
}

static void set_label(char label[EF__LABEL_BYTES], const char *text)
{
    snprintf(label, EF__LABEL_BYTES, "%s", text ? text : "tensor");
}

ef_status ef_tensor_new(ef_actor *a, ef_dtype dtype, size_t rank, const size_t *dims,
                        const char *label, ef_tensor **tensor)
{
    ef__lock(a);
    const char *op = a->op_depth ? a->op : "tensor.new"; /* scratch: the operation names itself */
    ef_tensor *t = calloc(1, sizeof *t);
    ef_status status = ef__ready(a);
    if (!status && !t)
        status = ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    if (!status && (unsigned)dtype > EF_U8)
        status = ef__fail(a, EF_EARG, 0, op, "%s: unknown dtype %d", op, (int)dtype);
    if (!status) {
        t->dtype = dtype;
        set_label(t->label, label);
        status = set_shape(a, t, rank, dims, op);
    }
    if (!status)
        status = ef__lease_new(a, t->count * ef__dtype_bytes(dtype), op, t->label, &t->lease);
    if (status) {
        free(t);
    } else {
        t->actor = ef__actor_retain(a);
        *tensor = t;
    }
    ef__unlock(a);
    return status;
}

ef_status ef__tensor_new_upto(ef_actor *a, size_t least, size_t *count, const char *label,
                              ef_tensor **tensor)
{
    ef__lock(a);
    const ef_error before = a->error;
    ef_status status = ef_tensor_new(a, EF_F32, 1, count, label, tensor);
    if (status == EF_ENOMEM && !before.status && *count > least) {
        a->error = before; /* that was no failure yet */
        *count = least;
        status = ef_tensor_new(a, EF_F32, 1, count, label, tensor);
    }
    ef__unlock(a);
    return status;
}

ef_status ef_tensor_view(ef_tensor *parent, size_t offset, size_t rank, const size_t *dims,
                         const char *label, ef_tensor **view)
{
    assert(parent);
    ef_actor *a = parent->actor;
    ef__lock(a);
    const char *op = a->op_depth ? a->op : "tensor.view";
    ef_tensor *t = calloc(1, sizeof *t);
    ef_status status = a->closed ? EF_ECANCELLED : EF_OK;
    if (!status && !t)
        status = ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    if (!status) {
        t->dtype = parent->dtype;
        set_label(t->label, label ? label : parent->label);
        status = set_shape(a, t, rank, dims, op);
    }
    size_t end;
    if (!status && (!ef__add(offset, t->count, &end) || end > parent->count))
        status = ef__fail(a, EF_ESHAPE, 0, op, "%s: %zu elements at %zu pass the end of %s (%zu)",
                          op, t->count, offset, parent->label, parent->count);
    if (!status && (parent->offset + offset) * ef__dtype_bytes(t->dtype) % 64)
        status = ef__fail(a, EF_EARG, 0, op, "%s: offset %zu of %s is not 64-byte aligned", op,
                          offset, parent->label);
    if (status) {
        free(t);
    } else {
        t->lease = parent->lease;
        t->lease->refs++;
        t->offset = parent->offset + offset;
        t->actor = ef__actor_retain(a);
        *view = t;
    }
    ef__unlock(a);
    return status;
}

ef_status ef__tensor_root(const ef_tensor *t, ef_tensor **root)
{
    ef_tensor *r = calloc(1, sizeof *r);
    if (!r)
        return ef__fail(t->actor, EF_ENOMEM, 0, "tensor.view", "tensor.view: no host memory");
    *r = *t;
    r->rank = 1;
    r->offset = 0;
    r->count = r->dims[0] = t->lease->block->bytes / ef__dtype_bytes(t->dtype);
    r->lease->refs++;
    ef__actor_retain(t->actor);
    *root = r;
    return EF_OK;
}

void ef_tensor_free(ef_tensor *t)
{
    if (!t)
        return;
    ef_actor *a = t->actor;
    ef__lock(a);
    ef__lease_drop(a, t->lease);
    ef__unlock(a);
    ef__actor_release(a);
    free(t);
}

ef_status ef__tensor_usable(ef_actor *a, const ef_tensor *t, const char *op)
{
    if (!t)
        return ef__fail(a, EF_EARG, 0, op, "%s: the tensor is NULL", op);
    if (t->actor != a)
        return ef__fail(a, EF_EARG, 0, op, "%s: %s belongs to another actor", op, t->label);
    return EF_OK;
}

static size_t first_byte(const ef_tensor *t)
{
    return t->offset * ef__dtype_bytes(t->dtype);
}

bool ef__overlap(const ef_tensor *x, const ef_tensor *y)
{
    return x->lease == y->lease && x->count && y->count &&
           first_byte(x) < first_byte(y) + ef_tensor_bytes(y) &&
           first_byte(y) < first_byte(x) + ef_tensor_bytes(x);
}

bool ef__same_memory(const ef_tensor *x, const ef_tensor *y)
{
    return x->lease == y->lease && first_byte(x) == first_byte(y) &&
           ef_tensor_bytes(x) == ef_tensor_bytes(y);
}

uint64_t ef__tensor_version(const ef_tensor *t)
{
    return t->lease->version;
}

void ef__tensor_written(ef_tensor *t)
{
    t->lease->version++;
    t->lease->writer = t->actor->op_depth ? t->actor->op : "another program";
}

ef__attachment **ef__tensor_attachment(const ef_tensor *t)
{
    return &t->lease->attachment;
}

size_t ef__tensor_offset(const ef_tensor *t)
{
    return t->offset;
}

ef_actor *ef__tensor_actor(const ef_tensor *t)
{
    return t->actor;
}

cl_mem ef__tensor_mem(const ef_tensor *t, size_t *offset)
{
    *offset = t->offset;
    return t->lease->block->mem;
}

ef_status ef_tensor_cl_mem(const ef_tensor *t, cl_mem *mem, size_t *offset)
{
    assert(t);
    ef_actor *a = t->actor;
    ef__lock(a);
    ef_status status = a->closed ? EF_ECANCELLED : EF_OK;
    if (!status)
        *mem = ef__tensor_mem(t, offset);
    ef__unlock(a);
    return status;
}

void ef_tensor_touch(ef_tensor *t)
{
    assert(t);
    ef__lock(t->actor);
    ef__tensor_written(t);
    ef__unlock(t->actor);
}

size_t ef_tensor_rank(const ef_tensor *t)
{
    assert(t);
    return t->rank;
}

const size_t *ef_tensor_dims(const ef_tensor *t)
{
    assert(t);
    return t->dims;
}

size_t ef_tensor_count(const ef_tensor *t)
{
    assert(t);
    return t->count;
}

size_t ef_tensor_bytes(const ef_tensor *t)
{
    assert(t);
    return t->count * ef__dtype_bytes(t->dtype);
}

ef_dtype ef_tensor_dtype(const ef_tensor *t)
{
    assert(t);
    return t->dtype;
}

const char *ef_tensor_label(const ef_tensor *t)
{
    assert(t);
    return t->label;
}
