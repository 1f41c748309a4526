#include "model/params.h"
#include "base/size.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ef__params *ef__params_new(ef_actor *a)
{
    ef__params *p = calloc(1, sizeof *p);
    if (p)
        *p = (ef__params){.actor = a, .references = 1, .prefix = ""};
    else
        ef__fail(a, EF_ENOMEM, 0, "model", "model: no host memory");
    return p;
}

ef__params *ef__params_retain(ef__params *p)
{
    atomic_fetch_add(&p->references, 1);
    return p;
}

void ef__params_free(ef__params *p)
{
    if (!p || atomic_fetch_sub(&p->references, 1) > 1)
        return;
    for (size_t i = 0; i < p->segments; i++) {
        ef_tensor_free(p->segment[i].value);
        ef_tensor_free(p->segment[i].grad);
    }
    ef_tensor_free(p->value);
    ef_tensor_free(p->grad);
    ef_tensor_free(p->m);
    ef_tensor_free(p->v);
    ef_tensor_free(p->updates);
    free(p->segment);
    free(p);
}

static bool grow(ef__params *p)
{
    if (p->segments < p->capacity)
        return true;
    size_t capacity = p->capacity ? 2 * p->capacity : 32;
    ef__segment *segment = realloc(p->segment, capacity * sizeof *segment);
    if (!segment)
        return false;
    p->segment = segment;
    p->capacity = capacity;
    return true;
}

/* Place s at the arena's end; false if the arena's size leaves size_t or a kernel's long. */
static bool place(ef__params *p, ef__segment *s)
{
    size_t end, bytes;
    s->offset = p->count;
    s->count = 1;
    for (size_t i = 0; i < s->rank; i++)
        if (!ef__mul(s->count, s->dims[i], &s->count))
            return false;
    if (!ef__add(p->count, s->count, &end) || !ef__add(end, EF__CHUNK, &end) ||
        !ef__mul(end, 4 * sizeof(float), &bytes) || bytes > INT64_MAX)
        return false;
    p->count = ef__round_up(s->offset + s->count, EF__CHUNK);
    p->numbers += s->count;
    return true;
}

void ef__params_add(ef__params *p, int group, size_t rank, const size_t *dims, const char *format,
                    ...)
{
    ef__segment s = {.rank = rank, .group = group, .part = p->part, .decay = rank >= 2};
    s.prefix = (size_t)snprintf(s.name, sizeof s.name, "%s", p->prefix);
    va_list args;
    va_start(args, format);
    vsnprintf(s.name + s.prefix, sizeof s.name - s.prefix, format, args);
    va_end(args);
    memcpy(s.dims, dims, rank * sizeof *dims);
    if (p->failed)
        return;
    if (!grow(p))
        p->failed = EF_ENOMEM;
    else if (!place(p, &s))
        p->failed = EF_EARG;
    else
        p->segment[p->segments++] = s;
}

/* Does the arena fit the device? Asked before anything is allocated. */
static ef_status check_fits(ef__params *p, unsigned copies)
{
    const ef_device_info *device = ef_actor_device(p->actor);
    size_t bytes = p->count * sizeof(float);
    ef_stats stats;
    ef_actor_stats(p->actor, &stats);
    uint64_t available = device->global_bytes - ef__min(device->global_bytes, stats.pool_used);
    if (bytes > device->max_alloc_bytes)
        return ef__fail(
            p->actor, EF_ENOMEM, 0, "model",
            "model: %zu parameters need a buffer of %zu bytes, the device's largest has %llu",
            p->numbers, bytes, (unsigned long long)device->max_alloc_bytes);
    if (bytes > available / copies)
        return ef__fail(
            p->actor, EF_ENOMEM, 0, "model",
            "model: %zu parameters need %u x %zu bytes, %llu are available on the device",
            p->numbers, copies, bytes, (unsigned long long)available);
    return EF_OK;
}

static ef_status new_zeros(ef__params *p, const char *label, ef_tensor **tensor)
{
    ef_status status = ef_tensor_new(p->actor, EF_F32, 1, &p->count, label, tensor);
    return status ? status : ef_tensor_fill(*tensor, 0);
}

static ef_status new_views(ef__params *p)
{
    ef_status status = EF_OK;
    for (size_t i = 0; i < p->segments && !status; i++) {
        ef__segment *s = &p->segment[i];
        status = ef_tensor_view(p->value, s->offset, s->rank, s->dims, s->name, &s->value);
        if (!status && p->grad)
            status = ef_tensor_view(p->grad, s->offset, s->rank, s->dims, s->name, &s->grad);
    }
    return status;
}

ef_status ef__params_build(ef__params *p, bool trainable)
{
    if (p->failed)
        return ef__fail(p->actor, p->failed, 0, "model",
                        p->failed == EF_ENOMEM
                            ? "model: no host memory for the segment table"
                            : "model: the sizes overflow: too many parameters to count");
    ef_status status = check_fits(p, trainable ? 4 : 1);
    if (!status)
        status = new_zeros(p, "parameters", &p->value);
    if (!status && trainable) {
        status = new_zeros(p, "gradients", &p->grad);
        if (!status)
            status = new_zeros(p, "adam m", &p->m);
        if (!status)
            status = new_zeros(p, "adam v", &p->v);
        if (!status)
            status =
                ef_tensor_new(p->actor, EF_I32, 1, (size_t[]){EF__PARTS}, "updates", &p->updates);
    }
    return status ? status : new_views(p);
}
