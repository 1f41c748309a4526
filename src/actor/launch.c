/* What reaches the queue: kernels, fills, copies, uploads. Every one is counted; on devices that
 * keep events it leaves one behind for the sync to check. */
#include "actor/trace.h"
#include "base/size.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of one fill: NVIDIA's driver loses the device when a fill ends more than 8 GiB after the
 * start of its buffer. So each piece is one of a sub-buffer, but for the first. */
static const size_t FILL_PIECE = (size_t)1 << 30;

ef_status ef__op_begin(ef_actor *a, const char *op)
{
    ef__lock(a);
    if (a->op_depth++ == 0) {
        a->op = op;
        a->sequence++;
        if (a->trace)
            ef__trace_op_begin(a);
        ef_status status = ef__ready(a);
        if (status)
            return status;
        a->stats.ops++;
    }
    return EF_OK;
}

ef_status ef__op_end(ef_actor *a, ef_status status)
{
    a->op_depth--;
    if (a->op_depth == 0 && a->trace)
        ef__trace_op_end(a);
    if (a->op_depth == 0 && !status && a->debug_sync) {
        cl_int code = clFinish(a->queue);
        a->stats.host_waits++;
        ef__pending_check(a, &a->pending);
        if (code)
            ef__device_lost(a, a->op, "clFinish", code);
        if (a->error.status)
            status = a->error.status;
    }
    ef__unlock(a);
    return status;
}

void ef__count_launches(ef_actor *a, unsigned n)
{
    a->stats.launches += n;
}

static bool make_room(ef_actor *a, ef__pending *p)
{
    if (p->event_count < p->event_room)
        return true;
    if (p->event_count)
        ef__pending_check(a, p); /* forgets what is done, so a long batch stays small */
    if (p->event_count * 2 < p->event_room)
        return true;
    size_t room = p->event_room ? p->event_room * 2 : 512;
    ef__event *more = realloc(p->events, room * sizeof *more);
    if (!more)
        return false;
    p->events = more;
    p->event_room = room;
    return true;
}

static void keep(ef_actor *a, const ef__event *e)
{
    ef__pending *p = &a->pending;
    if (!e->event || !make_room(a, p)) {
        if (e->event)
            ef__fail(a, EF_ENOMEM, 0, e->op, "%s: no host memory", e->op);
        ef__event_drop(e);
        return;
    }
    p->events[p->event_count++] = *e;
}

void ef__keep_event(ef_actor *a, cl_event event, cl_event before, const char *op)
{
    keep(a, &(ef__event){.event = event,
                         .before = before,
                         .op = op,
                         .sequence = a->sequence,
                         .span = a->trace ? ef__span_new(a, EF__DEVICE, op) : NULL});
}

cl_event ef__marker(ef_actor *a)
{
    cl_event marker = NULL;
    if (a->profiling)
        clEnqueueMarkerWithWaitList(a->queue, 0, NULL, &marker);
    return marker;
}

static cl_event *event_slot(ef_actor *a, cl_event *event)
{
    return a->about.keeps_events ? event : NULL;
}

/* Books what was enqueued under code: call, or something that moves so many bytes. */
static ef_status enqueued(ef_actor *a, const char *op, const char *function, cl_int code,
                          cl_event event, const ef__call *call, size_t bytes)
{
    if (code)
        return ef__cl_fail(a, op, function, code);
    ef__event e = {.event = event, .op = op, .sequence = a->sequence};
    if (a->trace) {
        e.span = ef__span_new(a, EF__DEVICE, op);
        call ? ef__span_call(e.span, call) : ef__span_bytes(e.span, bytes);
    }
    a->stats.launches++;
    keep(a, &e);
    return EF_OK;
}

static cl_int set_tensor(cl_kernel kernel, cl_uint *index, const ef_tensor *t)
{
    size_t offset = 0;
    cl_mem mem = t ? ef__tensor_mem(t, &offset) : NULL;
    cl_ulong at = offset;
    cl_int code = clSetKernelArg(kernel, (*index)++, sizeof mem, t ? &mem : NULL);
    return code ? code : clSetKernelArg(kernel, (*index)++, sizeof at, &at);
}

static cl_int set_args(cl_kernel kernel, const ef__arg *args)
{
    cl_uint i = 0;
    cl_int code = CL_SUCCESS;
    for (const ef__arg *g = args; !code && g < args + EF__MAX_ARGS && g->kind != EF__ARG_END; g++) {
        switch (g->kind) {
        case EF__ARG_TENSOR:
            code = set_tensor(kernel, &i, g->u.tensor);
            break;
        case EF__ARG_I32:
            code = clSetKernelArg(kernel, i++, sizeof g->u.i32, &g->u.i32);
            break;
        case EF__ARG_I64:
            code = clSetKernelArg(kernel, i++, sizeof g->u.i64, &g->u.i64);
            break;
        case EF__ARG_F32:
            code = clSetKernelArg(kernel, i++, sizeof g->u.f32, &g->u.f32);
            break;
        default:
            code = clSetKernelArg(kernel, i++, g->u.bytes, NULL);
        }
    }
    return code;
}

/* The failing launch in one line: kernel, sizes. */
static ef_status launch_failed(ef_actor *a, const ef__call *c, const char *function, cl_int code)
{
    char what[200];
    const size_t *g = c->global, *l = c->local;
    snprintf(what, sizeof what, "%s(%s, global %zux%zux%zu local %zux%zux%zu)", function, c->kernel,
             g[0], g[1], g[2], l[0], l[1], l[2]);
    return ef__cl_fail(a, c->op, what, code);
}

ef_status ef__launch(ef_actor *a, const ef__call *c)
{
    cl_uint dims = c->global[2] ? 3 : c->global[1] ? 2 : 1;
    assert(c->local[0]);
    if (c->global[0] == 0)
        return EF_OK;
    cl_kernel kernel;
    ef_status status = ef__kernel_get(a, c, &kernel);
    if (status)
        return status;
    cl_int code = set_args(kernel, c->args);
    if (code)
        return launch_failed(a, c, "clSetKernelArg", code);
    cl_event event = NULL;
    code = clEnqueueNDRangeKernel(a->queue, kernel, dims, c->offset, c->global, c->local, 0, NULL,
                                  event_slot(a, &event));
    if (code)
        return launch_failed(a, c, "clEnqueueNDRangeKernel", code);
    return enqueued(a, c->op, "clEnqueueNDRangeKernel", code, event, c, 0);
}

ef_status ef__prepare(ef_actor *a, const ef__call *call)
{
    cl_kernel kernel;
    return ef__kernel_get(a, call, &kernel);
}

/* ---- uploads, fills, copies ---- */

ef_status ef_tensor_write(ef_tensor *t, const void *data)
{
    static const char op[] = "tensor.write";
    assert(t);
    ef_actor *a = t->actor;
    ef_status status = ef__op_begin(a, op);
    size_t bytes = ef_tensor_bytes(t);
    ef__staging *s = NULL;
    if (!status)
        status = ef__tensor_usable(a, t, op);
    if (!status && bytes)
        status = ef__staging_new(a, data, bytes, &s);
    if (!status && bytes) {
        cl_int code = clEnqueueWriteBuffer(a->queue, t->lease->block->mem, CL_FALSE,
                                           t->offset * ef__dtype_bytes(t->dtype), bytes, s->data, 0,
                                           NULL, &s->event);
        if (code)
            status = ef__cl_fail(a, op, "clEnqueueWriteBuffer", code);
        else if (a->trace)
            ef__span_tensor(s->span = ef__span_new(a, EF__DEVICE, op), t, t->label);
        a->stats.bytes_up += bytes;
        ef__tensor_written(t);
    }
    return ef__op_end(a, status);
}

static cl_uint half_bits(float value)
{
    union {
        float f;
        uint32_t u;
    } x = {value};
    uint32_t sign = x.u >> 16 & 0x8000, magnitude = x.u & 0x7fffffff;
    if (magnitude >= 0x7f800000)
        return sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0);
    if (magnitude >= 0x477ff000)
        return sign | 0x7c00;
    if (magnitude < 0x38800000) { /* subnormal: count units of 2^-24, ties to even by the FPU */
        x.u = magnitude;
        x.f += 0.5f;
        return sign | (x.u - 0x3f000000);
    }
    return sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
}

/* The part of mem from start on, which is whole pieces away from mem's own. */
static ef_status piece_of(ef_actor *a, const char *op, cl_mem mem, size_t start, size_t bytes,
                          cl_mem *part)
{
    const cl_buffer_region region = {start, bytes};
    cl_int code = CL_SUCCESS;
    if (start == 0)
        code = clRetainMemObject(*part = mem);
    else
        *part = clCreateSubBuffer(mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    return code ? ef__cl_fail(a, op, "clCreateSubBuffer", code) : EF_OK;
}

ef_status ef__fill(ef_actor *a, const char *op, cl_mem mem, const ef__pattern *p, size_t offset,
                   size_t bytes)
{
    ef_status status = EF_OK;
    for (size_t at = offset, n; !status && at < offset + bytes; at += n) {
        const size_t within = at % FILL_PIECE;
        cl_event event = NULL;
        cl_mem part;
        n = ef__min(offset + bytes - at, FILL_PIECE - within);
        status = piece_of(a, op, mem, at - within, within + n, &part);
        if (status)
            break;
        cl_int code = clEnqueueFillBuffer(a->queue, part, p->bytes, p->size, within, n, 0, NULL,
                                          event_slot(a, &event));
        clReleaseMemObject(part);
        status = enqueued(a, op, "clEnqueueFillBuffer", code, event, NULL, n);
    }
    return status;
}

static ef__pattern pattern_of(ef_dtype dtype, double value)
{
    ef__pattern p = {.size = ef__dtype_bytes(dtype)};
    if (dtype == EF_F32)
        memcpy(p.bytes, &(cl_float){(cl_float)value}, p.size);
    else if (dtype == EF_F16)
        memcpy(p.bytes, &(cl_ushort){(cl_ushort)half_bits((float)value)}, p.size);
    else if (dtype == EF_I32)
        memcpy(p.bytes, &(cl_int){(cl_int)value}, p.size);
    else
        p.bytes[0] = (cl_uchar)value;
    return p;
}

ef_status ef_tensor_fill(ef_tensor *t, double value)
{
    static const char op[] = "tensor.fill";
    assert(t);
    ef_actor *a = t->actor;
    ef_status status = ef__op_begin(a, op);
    if (!status)
        status = ef__tensor_usable(a, t, op);
    if (!status && t->count) {
        const ef__pattern p = pattern_of(t->dtype, value);
        status = ef__fill(a, op, t->lease->block->mem, &p, t->offset * p.size, ef_tensor_bytes(t));
        ef__tensor_written(t);
    }
    return ef__op_end(a, status);
}

static ef_status check_copy(ef_actor *a, const char *op, const ef_tensor *to, const ef_tensor *from)
{
    char x[80], y[80];
    ef_status status = ef__tensor_usable(a, to, op);
    if (!status)
        status = ef__tensor_usable(a, from, op);
    if (!status && (to->dtype != from->dtype || to->count != from->count))
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s into %s", op, ef__tensor_text(from, x),
                        ef__tensor_text(to, y));
    if (!status && ef__overlap(to, from) && !ef__same_memory(to, from))
        return ef__fail(a, EF_EARG, 0, op, "%s: %s overlaps %s", op, ef__tensor_text(to, y),
                        ef__tensor_text(from, x));
    return status;
}

ef_status ef_tensor_copy(ef_tensor *to, const ef_tensor *from)
{
    static const char op[] = "tensor.copy";
    assert(to);
    ef_actor *a = to->actor;
    ef_status status = ef__op_begin(a, op);
    if (!status)
        status = check_copy(a, op, to, from);
    if (!status && to->count && !ef__same_memory(to, from)) {
        size_t size = ef__dtype_bytes(to->dtype);
        cl_event event = NULL;
        cl_int code = clEnqueueCopyBuffer(a->queue, from->lease->block->mem, to->lease->block->mem,
                                          from->offset * size, to->offset * size,
                                          ef_tensor_bytes(to), 0, NULL, event_slot(a, &event));
        status = enqueued(a, op, "clEnqueueCopyBuffer", code, event, NULL, ef_tensor_bytes(to));
        ef__tensor_written(to);
    }
    return ef__op_end(a, status);
}

/* ---- the error record ---- */

ef_status ef__record_check(ef_actor *a, const char *op, ef__checked what, const ef_tensor *ids,
                           size_t limit)
{
    a->pending.checked = true;
    return ef__launch(
        a, &(ef__call){.op = op,
                       .source = "record",
                       .kernel = "record_check",
                       .global = {1},
                       .local = {1},
                       .args = {ef__t(a->record), ef__t(ids), ef__i((int32_t)what),
                                ef__i((int32_t)(a->sequence & INT32_MAX)), ef__i((int32_t)limit)}});
}
