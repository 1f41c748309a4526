#include "data/efb.h"
#include "base/size.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Both inside the file as it was when it was opened. */
static ef_status fetch(const ef_dataset *d, size_t at, void *to, size_t bytes, ef_error *error)
{
    if (!d->memory)
        return ef__file_read(d->fd, d->path, at, to, bytes, error);
    memcpy(to, d->memory + at, bytes);
    return EF_OK;
}

/* Bytes of a sample of that length; it fits in 64 bits whatever L and E are. */
static uint64_t sample_bytes(const ef_dataset *d, uint32_t length)
{
    return 4 + 5 * (uint64_t)length + 4 * (uint64_t)d->width;
}

static ef_status check_header(ef_dataset *d, ef_error *error)
{
    unsigned char data[HEADER] = {0};
    size_t bytes = d->bytes;
    ef_status status = fetch(d, 0, data, ef__min(bytes, HEADER), error);
    if (status)
        return status;
    if (!memcmp(data, "EFB2", 4))
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
    if (d->count > (bytes - HEADER) / sample_bytes(d, 0))
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

/* Where sample number index begins is known; find out where it ends. */
static ef_status check_length(ef_dataset *d, size_t index, ef_error *error)
{
    size_t at = d->offset[index], left = d->bytes - at;
    unsigned char data[4] = {0};
    ef_status status = fetch(d, at, data, ef__min(left, 4), error);
    if (status)
        return status;
    uint32_t length = ef__load_u32(data);
    if (left < 4 || sample_bytes(d, length) > left)
        return bad(d, error, "sample %zu of %zu: length %lu passes the end of the file", index,
                   d->count, (unsigned long)length);
    if (!length)
        return bad(d, error, "sample %zu: has no ids", index);
    d->offset[index + 1] = at + (size_t)sample_bytes(d, length);
    if (length > d->longest)
        d->longest = length;
    return EF_OK;
}

/* room: as large as the largest sample so far. */
static ef_status check_sample(ef_dataset *d, size_t index, unsigned char **room, ef_error *error)
{
    size_t longest = d->longest;
    ef__sample s;
    ef_status status = check_length(d, index, error);
    if (status)
        return status;
    if (d->longest > longest) {
        unsigned char *more = realloc(*room, ef__dataset_room(d));
        if (!more)
            return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", d->path);
        *room = more;
    }
    status = ef__dataset_read(d, index, *room, &s, error);
    if (!status)
        status = check_ids(d, index, &s, error);
    return status ? status : check_target(d, index, &s, error);
}

/* Samples are read one after the other: a file larger than memory is read once. */
static ef_status check_all(ef_dataset *d, ef_error *error)
{
    unsigned char *room = NULL;
    ef_status status = check_header(d, error);
    if (status)
        return status;
    if (!(d->offset = malloc((d->count + 1) * sizeof *d->offset)))
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", d->path);
    d->offset[0] = HEADER;
    for (size_t i = 0; i < d->count && !status; i++)
        status = check_sample(d, i, &room, error);
    free(room);
    if (!status && d->offset[d->count] < d->bytes)
        status = bad(d, error, "%zu bytes after the last of %zu samples",
                     d->bytes - d->offset[d->count], d->count);
    return status;
}

/* Takes fd over; -1: memory is read instead. */
static ef_status open_dataset(const char *path, int fd, const void *memory, size_t bytes,
                              ef_dataset **dataset, ef_error *error)
{
    ef_dataset *d = calloc(1, sizeof *d);
    ef_status status = EF_ENOMEM;
    if (d) {
        d->fd = fd;
        d->memory = memory;
        d->bytes = bytes;
        d->path = strdup(path);
    }
    if (!d || !d->path)
        ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    else
        status = check_all(d, error);
    if (!status)
        *dataset = d;
    else if (d)
        ef_dataset_free(d);
    else if (fd >= 0)
        close(fd);
    return status;
}

ef_status ef__dataset_parse(const char *path, const void *data, size_t bytes, ef_dataset **dataset,
                            ef_error *error)
{
    return open_dataset(path, -1, data, bytes, dataset, error);
}

ef_status ef_dataset_open(const char *path, ef_dataset **dataset, ef_error *error)
{
    int fd;
    size_t bytes;
    ef_status status = ef__file_open(path, &fd, &bytes, error);
    return status ? status : open_dataset(path, fd, NULL, bytes, dataset, error);
}

void ef_dataset_free(ef_dataset *d)
{
    if (!d)
        return;
    if (d->fd >= 0)
        close(d->fd);
    free(d->offset);
    free(d->path);
    free(d);
}

/* ---- Samples ---- */

size_t ef__dataset_length(const ef_dataset *d, size_t index)
{
    return (d->offset[index + 1] - d->offset[index] - (size_t)sample_bytes(d, 0)) / 5;
}

size_t ef__dataset_room(const ef_dataset *d)
{
    return (size_t)sample_bytes(d, (uint32_t)d->longest);
}

ef_status ef__dataset_read(const ef_dataset *d, size_t index, unsigned char *room, ef__sample *s,
                           ef_error *error)
{
    size_t at = d->offset[index], length = ef__dataset_length(d, index);
    ef_status status = fetch(d, at, room, d->offset[index + 1] - at, error);
    if (status)
        return status;
    if (ef__load_u32(room) != length)
        return ef__error_set(error, EF_EIO, 0, NULL,
                             "%s: was changed while in use: sample %zu is not what it was", d->path,
                             index);
    *s = (ef__sample){length, room + 4, room + 4 + 4 * length, room + 4 + 5 * length};
    return EF_OK;
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
    return d->bytes;
}

const char *ef_dataset_path(const ef_dataset *d)
{
    return d->path;
}

const char *ef_dataset_sha256(ef_dataset *d)
{
    unsigned char piece[16384];
    ef__sha256 sha;
    if (*d->sha256)
        return d->sha256;
    ef__sha256_begin(&sha);
    for (size_t at = 0, n; at < d->bytes; at += n) {
        n = ef__min(d->bytes - at, sizeof piece);
        if (fetch(d, at, piece, n, NULL))
            return NULL;
        ef__sha256_add(&sha, piece, n);
    }
    ef__sha256_end_hex(&sha, d->sha256);
    return d->sha256;
}
