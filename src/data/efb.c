/* EFB1 and EFB2: the records are the file's own. Each sample is read once, one after the other, so
 * a file larger than memory is. */
#include "base/size.h"
#include "data/dataset.h"
#include "data/store.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IDS = 1, TEXTS = 2, NORMALIZED = 4 }; /* flags of EFB2 */

#define REPAIR "; efdata repair saves what is whole"

/* Bytes of a record with nothing in it but a target. */
static uint64_t least_bytes(const ef_dataset *d)
{
    return 4 * ((uint64_t)d->width + d->has_text + d->has_ids);
}

static ef_status read_flags(ef_dataset *d, uint32_t flags, ef_error *error)
{
    if (flags & ~(uint32_t)(IDS | TEXTS | NORMALIZED))
        return ef__dataset_bad(d, error, "has EFB2 flags 0x%lx that this library does not know",
                               (unsigned long)flags);
    if (!(flags & (IDS | TEXTS)))
        return ef__dataset_bad(d, error, "has neither ids nor texts");
    d->has_ids = flags & IDS;
    d->has_text = flags & TEXTS;
    d->normalized = flags & NORMALIZED;
    return EF_OK;
}

ef_status ef__efb_header(ef_dataset *d, ef_error *error)
{
    unsigned char data[16] = {0};
    ef_status status = ef__dataset_fetch(d, 0, data, ef__min(d->bytes, sizeof data), error);
    bool second = data[3] == '2';
    size_t header = second ? 16 : 12;
    if (status)
        return status;
    if (data[3] != '1' && !second)
        return ef__dataset_bad(d, error, "is an EFB%c file, this library reads EFB1 and EFB2",
                               data[3]);
    if (d->bytes < header)
        return ef__dataset_bad(d, error, "is cut off in its header of %zu bytes", header);
    d->format = second ? "EFB2" : "EFB1";
    d->declared = ef__load_u32(data + 4);
    d->width = ef__load_u32(data + 8);
    d->has_ids = true;
    if (second)
        status = read_flags(d, ef__load_u32(data + 12), error);
    if (status)
        return status;
    if (!(d->offset = malloc(sizeof *d->offset)))
        return ef__dataset_no_memory(d, error);
    d->offset[0] = header;
    return d->width ? EF_OK : ef__dataset_bad(d, error, "has targets of width 0");
}

static ef_status check_count(const ef_dataset *d, ef_error *error)
{
    size_t left = d->bytes - d->offset[0];
    if (!d->declared && left)
        return ef__dataset_bad(d, error,
                               "counts 0 samples, but %zu bytes follow: its writer did not "
                               "finish" REPAIR,
                               left);
    if (!d->declared)
        return ef__dataset_bad(d, error, "has no samples");
    if (d->declared > left / least_bytes(d))
        return ef__dataset_bad(d, error,
                               "is cut off: %zu samples of width %zu do not fit into %zu "
                               "bytes" REPAIR,
                               d->declared, d->width, d->bytes);
    return EF_OK;
}

/* Add a part that begins with its count to a record's bytes; false: it passes the end of what is
 * left. */
static ef_status add_part(const ef_dataset *d, size_t at, size_t each, uint64_t *bytes,
                          uint32_t *count, bool *fits, ef_error *error)
{
    unsigned char data[4] = {0};
    size_t left = d->bytes - at;
    ef_status status = EF_OK;
    *fits = *bytes + 4 <= left;
    if (*fits)
        status = ef__dataset_fetch(d, at + (size_t)*bytes, data, 4, error);
    *count = ef__load_u32(data);
    *bytes += 4 + each * (uint64_t)*count;
    *fits = *fits && *bytes <= left;
    return status;
}

static ef_status too_long(const ef_dataset *d, size_t index, const char *what, uint32_t count,
                          ef_error *error)
{
    char of[32] = "";
    if (d->declared)
        snprintf(of, sizeof of, " of %zu", d->declared);
    return ef__dataset_bad(d, error, "sample %zu%s: %s %lu passes the end of the file" REPAIR,
                           index, of, what, (unsigned long)count);
}

ef_status ef__efb_record(const ef_dataset *d, size_t index, size_t at, size_t *bytes,
                         ef_error *error)
{
    uint64_t size = 0;
    uint32_t count = 0;
    bool fits = true;
    ef_status status = EF_OK;
    if (d->has_text) {
        status = add_part(d, at, 1, &size, &count, &fits, error);
        if (!status && !fits)
            return too_long(d, index, "text of length", count, error);
    }
    if (d->has_ids && !status) {
        status = add_part(d, at, 5, &size, &count, &fits, error);
        if (!status && !fits)
            return too_long(d, index, "length", count, error);
    }
    if (status)
        return status;
    size += 4 * (uint64_t)d->width;
    if (size > d->bytes - at)
        return too_long(d, index, d->has_ids ? "length" : "text of length", count, error);
    *bytes = (size_t)size;
    return EF_OK;
}

/* Finite or not is in the bits: no arithmetic that a compiler could reason away. */
static ef_status check_target(const ef_dataset *d, size_t index, const ef__sample *s,
                              ef_error *error)
{
    for (size_t i = 0; i < d->width; i++) {
        uint32_t bits = ef__load_u32(s->target + 4 * i) & 0x7fffffff;
        if (bits >= 0x7f800000)
            return ef__dataset_bad(d, error, "sample %zu: target element %zu is %s", index, i,
                                   bits > 0x7f800000 ? "NaN" : "infinite");
    }
    return EF_OK;
}

ef_status ef__efb_check(const ef_dataset *d, size_t index, const ef__sample *s, bool not_finite,
                        ef_error *error)
{
    if (d->has_ids && !s->length)
        return ef__dataset_bad(d, error, "sample %zu: has no ids", index);
    for (size_t i = 0; i < s->length; i++) {
        uint32_t id = ef__load_u32(s->ids + 4 * i);
        if (id > INT32_MAX)
            return ef__dataset_bad(d, error, "sample %zu: id %lu at position %zu passes 2147483647",
                                   index, (unsigned long)id, i);
    }
    return not_finite ? EF_OK : check_target(d, index, s, error);
}

/* room: as large as the largest record so far. */
static ef_status read_sample(ef_dataset *d, const ef_dataset_options *o, unsigned char **room,
                             size_t *size, ef_error *error)
{
    size_t at = d->offset[d->count], bytes;
    ef__sample s;
    ef_status status = ef__efb_record(d, d->count, at, &bytes, error);
    if (status)
        return status;
    if (bytes > *size) {
        unsigned char *more = realloc(*room, bytes);
        if (!more)
            return ef__dataset_no_memory(d, error);
        *room = more;
        *size = bytes;
    }
    status = ef__dataset_fetch(d, at, *room, bytes, error);
    if (status)
        return status;
    if (!ef__dataset_decode(d, *room, bytes, &s))
        return ef__dataset_bad(d, error, "sample %zu: is not what it was a moment ago", d->count);
    status = ef__efb_check(d, d->count, &s, o->not_finite, error);
    return status ? status : ef__dataset_add(d, &s, at + bytes, 0, error);
}

static ef_status read_samples(ef_dataset *d, const ef_dataset_options *o, ef_error *error)
{
    unsigned char *room = NULL;
    size_t size = 0;
    ef_status status = EF_OK;
    while (d->count < d->declared && !status) {
        status = ef__dataset_tell(d, o, d->offset[d->count], d->bytes, error);
        if (!status)
            status = read_sample(d, o, &room, &size, error);
    }
    free(room);
    return status;
}

ef_status ef__efb_open(ef_dataset *d, const ef_dataset_options *o, ef_error *error)
{
    ef_status status = ef__efb_header(d, error);
    if (!status)
        status = check_count(d, error);
    if (!status)
        status = read_samples(d, o, error);
    if (!status && d->offset[d->count] < d->bytes)
        status = ef__dataset_bad(d, error, "%zu bytes after the last of %zu samples" REPAIR,
                                 d->bytes - d->offset[d->count], d->count);
    return !status && d->bare && o->tokenizer ? ef__store_tokenized(d, o, error) : status;
}
