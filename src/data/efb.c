#include "data/efb.h"
#include "base/size.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 12 };

static ef_status bad(const ef_dataset *d, ef_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* EF_EFORMAT with the path before the text. */
static ef_status bad(const ef_dataset *d, ef_error *error, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: %s", d->path, text);
}

static ef_status check_header(ef_dataset *d, ef_error *error)
{
    const unsigned char *data = d->map.data;
    size_t bytes = d->map.bytes;
    if (bytes >= 4 && !memcmp(data, "EFB2", 4))
        return bad(d, error, "is an EFB2 file, only EFB1 can be read");
    if (bytes < HEADER || memcmp(data, "EFB1", 4))
        return bad(d, error, "is not an EFB1 file");
    d->count = ef__load_u32(data + 4);
    d->width = ef__load_u32(data + 8);
    if (!d->count && bytes > HEADER)
        return bad(d, error, "counts 0 samples, but %zu bytes follow: its writer did not finish",
                   bytes - HEADER);
    if (!d->count)
        return bad(d, error, "has no samples");
    if (!d->width)
        return bad(d, error, "has targets of width 0");
    uint64_t least = 4 + 5 + 4 * (uint64_t)d->width; /* of the shortest sample */
    if (d->count > (bytes - HEADER) / least)
        return bad(d, error, "is cut off: %zu samples of width %zu do not fit into %zu bytes",
                   d->count, d->width, bytes);
    return EF_OK;
}

static ef_status check_ids(ef_dataset *d, size_t index, const ef__sample *s, ef_error *error)
{
    for (size_t i = 0; i < s->length; i++) {
        uint32_t id = ef__load_u32(s->ids + 4 * i);
        if (id > INT32_MAX)
            return bad(d, error, "sample %zu: id %lu at position %zu passes 2147483647", index,
                       (unsigned long)id, i);
        if ((int32_t)id > d->max_id)
            d->max_id = (int32_t)id;
    }
    return EF_OK;
}

/* Finite or not is in the bits: no arithmetic that a compiler could reason away. */
static ef_status check_target(const ef_dataset *d, size_t index, const ef__sample *s,
                              ef_error *error)
{
    for (size_t i = 0; i < d->width; i++) {
        uint32_t bits = ef__load_u32(s->target + 4 * i) & 0x7fffffff;
        if (bits >= 0x7f800000)
            return bad(d, error, "sample %zu: target element %zu is %s", index, i,
                       bits > 0x7f800000 ? "NaN" : "infinite");
    }
    return EF_OK;
}

/* Bytes of a sample of that length; it fits in 64 bits whatever L and E are. */
static uint64_t sample_bytes(const ef_dataset *d, uint32_t length)
{
    return 4 + 5 * (uint64_t)length + 4 * (uint64_t)d->width;
}

/* Check sample number index, which starts at *at, and move *at behind it. */
static ef_status check_sample(ef_dataset *d, size_t index, size_t *at, ef_error *error)
{
    size_t left = d->map.bytes - *at;
    uint32_t length = left < 4 ? 0 : ef__load_u32(d->map.data + *at);
    if (left < 4 || sample_bytes(d, length) > left)
        return bad(d, error, "sample %zu of %zu: length %lu passes the end of the file", index,
                   d->count, (unsigned long)length);
    if (!length)
        return bad(d, error, "sample %zu: has no ids", index);
    d->offset[index] = *at;
    *at += (size_t)sample_bytes(d, length);
    if (length > d->longest)
        d->longest = length;
    ef__sample s = ef__dataset_sample(d, index);
    ef_status status = check_ids(d, index, &s, error);
    return status ? status : check_target(d, index, &s, error);
}

static ef_status check_all(ef_dataset *d, ef_error *error)
{
    size_t at = HEADER;
    ef_status status = check_header(d, error);
    if (status)
        return status;
    if (!(d->offset = malloc(d->count * sizeof *d->offset)))
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", d->path);
    for (size_t i = 0; i < d->count; i++)
        if ((status = check_sample(d, i, &at, error)))
            return status;
    if (at < d->map.bytes)
        return bad(d, error, "%zu bytes after the last of %zu samples", d->map.bytes - at,
                   d->count);
    return EF_OK;
}

ef_status ef__dataset_parse(const char *path, const void *data, size_t bytes, ef_dataset **dataset,
                            ef_error *error)
{
    ef_dataset *d = calloc(1, sizeof *d);
    if (!d || !(d->path = strdup(path))) {
        free(d);
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    }
    d->map = (ef__map){data, bytes};
    ef_status status = check_all(d, error);
    if (status)
        ef_dataset_free(d);
    else
        *dataset = d;
    return status;
}

ef_status ef_dataset_open(const char *path, ef_dataset **dataset, ef_error *error)
{
    ef__map map;
    ef_status status = ef__file_map(path, &map, error);
    if (status)
        return status;
    status = ef__dataset_parse(path, map.data, map.bytes, dataset, error);
    if (status)
        ef__file_unmap(&map);
    else
        (*dataset)->mapped = true;
    return status;
}

void ef_dataset_free(ef_dataset *d)
{
    if (!d)
        return;
    if (d->mapped)
        ef__file_unmap(&d->map);
    free(d->offset);
    free(d->path);
    free(d);
}

ef__sample ef__dataset_sample(const ef_dataset *d, size_t index)
{
    const unsigned char *at = d->map.data + d->offset[index];
    size_t length = ef__load_u32(at);
    return (ef__sample){length, at + 4, at + 4 + 4 * length, at + 4 + 5 * length};
}

size_t ef_dataset_size(const ef_dataset *d)
{
    return d->count;
}

size_t ef_dataset_width(const ef_dataset *d)
{
    return d->width;
}

size_t ef_dataset_longest(const ef_dataset *d)
{
    return d->longest;
}

int32_t ef_dataset_max_id(const ef_dataset *d)
{
    return d->max_id;
}

uint64_t ef_dataset_bytes(const ef_dataset *d)
{
    return d->map.bytes;
}

const char *ef_dataset_path(const ef_dataset *d)
{
    return d->path;
}

const char *ef_dataset_sha256(ef_dataset *d)
{
    if (!*d->sha256)
        ef__sha256_hex(d->map.data, d->map.bytes, d->sha256);
    return d->sha256;
}
