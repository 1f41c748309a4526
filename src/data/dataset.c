#include "data/dataset.h"
#include "base/size.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What the readers share ---- */

ef_status ef__dataset_bad(const ef_dataset *d, ef_error *error, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: %s", d->path, text);
}

ef_status ef__dataset_no_memory(const ef_dataset *d, ef_error *error)
{
    return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", d->path);
}

void ef__dataset_where(const ef_dataset *d, size_t index, char *text, size_t size)
{
    if (d->line)
        snprintf(text, size, "%s:%zu", d->path, d->line[index]);
    else
        snprintf(text, size, "%s: sample %zu", d->path, d->whole ? d->part[index] : index);
}

ef_status ef__dataset_fetch(const ef_dataset *d, size_t at, void *to, size_t bytes, ef_error *error)
{
    if (!d->memory)
        return ef__file_read(d->fd, d->path, at, to, bytes, error);
    memcpy(to, d->memory + at, bytes);
    return EF_OK;
}

/* A part that begins with its count; false: it passes the end. */
static bool take(const unsigned char **next, size_t *left, size_t each, uint32_t *count,
                 const unsigned char **part)
{
    if (*left < 4)
        return false;
    *count = ef__load_u32(*next);
    *part = *next + 4;
    uint64_t bytes = *count == EF__NO_TEXT && each == 1 ? 0 : each * (uint64_t)*count;
    if (bytes > *left - 4)
        return false;
    *next += 4 + (size_t)bytes;
    *left -= 4 + (size_t)bytes;
    return true;
}

bool ef__dataset_decode(const ef_dataset *d, const unsigned char *record, size_t bytes,
                        ef__sample *sample)
{
    ef__sample s = {0};
    const unsigned char *part;
    uint32_t count;
    if (d->has_text) {
        if (!take(&record, &bytes, 1, &count, &part))
            return false;
        if (count != EF__NO_TEXT) {
            s.text = (const char *)part;
            s.text_bytes = count;
        }
    }
    if (d->has_ids) {
        if (!take(&record, &bytes, 5, &count, &part))
            return false;
        s.length = count;
        s.ids = part;
        s.mask = part + 4 * (size_t)count;
    }
    s.target = record;
    *sample = s;
    return bytes == 4 * d->width;
}

static bool grow(ef_dataset *d, bool lines)
{
    size_t room = d->allocated ? 2 * d->allocated : 256;
    size_t *offset = realloc(d->offset, (room + 1) * sizeof *offset);
    if (offset)
        d->offset = offset;
    uint32_t *length = realloc(d->length, room * sizeof *length);
    if (length)
        d->length = length;
    size_t *line = lines ? realloc(d->line, room * sizeof *line) : NULL;
    if (line)
        d->line = line;
    if (!offset || !length || (lines && !line))
        return false;
    d->allocated = room;
    return true;
}

static int32_t largest_id(const ef__sample *s)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < s->length; i++) {
        uint32_t id = ef__load_u32(s->ids + 4 * i);
        largest = id > largest ? id : largest;
    }
    return (int32_t)largest;
}

void ef__dataset_count(ef_dataset *d, const ef__sample *s)
{
    int32_t id = largest_id(s);
    d->longest = s->length > d->longest ? s->length : d->longest;
    d->max_id = id > d->max_id ? id : d->max_id;
    d->texts += s->text != NULL;
    d->bare += s->length == 0;
}

ef_status ef__dataset_add(ef_dataset *d, const ef__sample *s, size_t end, size_t line,
                          ef_error *error)
{
    if (d->count == UINT32_MAX)
        return ef__dataset_bad(d, error, "has more than 4294967295 samples");
    if (d->count == d->allocated) {
        size_t begin = d->offset ? d->offset[d->count] : 0;
        if (!grow(d, line > 0))
            return ef__dataset_no_memory(d, error);
        d->offset[d->count] = begin;
    }
    size_t bytes = end - d->offset[d->count];
    d->length[d->count] = (uint32_t)s->length;
    if (line)
        d->line[d->count] = line;
    d->offset[++d->count] = end;
    d->largest = bytes > d->largest ? bytes : d->largest;
    ef__dataset_count(d, s);
    return EF_OK;
}

ef_status ef__dataset_tell(const ef_dataset *d, const ef_dataset_options *o, size_t done,
                           size_t all, ef_error *error)
{
    if (!o->on_progress || o->on_progress(o->user, done, all))
        return EF_OK;
    return ef__error_set(error, EF_ECANCELLED, 0, NULL, "%s: cancelled", d->path);
}

/* ---- Opening ---- */

/* "EFB" and a digit: what it is, though perhaps not to be read. */
static bool is_efb(const char head[4])
{
    return !memcmp(head, "EFB", 3) && head[3] >= '0' && head[3] <= '9';
}

/* Does the file begin, after white space, with an object, or where those will do, an array? */
static ef_status find_json(const ef_dataset *d, bool arrays, bool *found, ef_error *error)
{
    char c = ' ';
    ef_status status = EF_OK;
    for (size_t at = 0; at < d->bytes && c && strchr(" \t\r\n", c) && !status; at++)
        status = ef__dataset_fetch(d, at, &c, 1, error);
    *found = c == '{' || (arrays && c == '[');
    return status;
}

static ef_status check_all(ef_dataset *d, const ef_dataset_options *o, bool bare_targets,
                           ef_error *error)
{
    char head[4] = "";
    bool json;
    ef_status status = ef__dataset_fetch(d, 0, head, ef__min(d->bytes, 4), error);
    if (!status && !d->bytes)
        return ef__dataset_bad(d, error, "is empty");
    if (!status && is_efb(head))
        return ef__efb_open(d, o, error);
    if (!status)
        status = find_json(d, bare_targets, &json, error);
    if (status)
        return status;
    if (json)
        return ef__jsonl_open(d, o, bare_targets, error);
    return ef__dataset_bad(d, error, "is neither an EFB nor a JSONL file");
}

/* Takes fd over; -1: memory is read instead. */
static ef_status open_dataset(const char *path, int fd, const void *memory, size_t bytes,
                              const ef_dataset_options *options, bool bare_targets,
                              ef_dataset **dataset, ef_error *error)
{
    const ef_dataset_options none = {0};
    ef_dataset *d = calloc(1, sizeof *d);
    ef_status status = EF_ENOMEM;
    if (d) {
        d->fd = fd;
        d->store = -1;
        d->memory = memory;
        d->bytes = bytes;
        d->path = strdup(path);
    }
    if (!d || !d->path)
        ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    else if (options && options->most_ids == 1)
        status = ef__error_set(error, EF_EARG, 0, NULL, "%s: texts of 1 id: [CLS] and [SEP] are 2",
                               path);
    else
        status = check_all(d, options ? options : &none, bare_targets, error);
    if (!status)
        *dataset = d;
    else if (d)
        ef_dataset_free(d);
    else if (fd >= 0)
        close(fd);
    return status;
}

ef_status ef__dataset_parse(const char *path, const void *data, size_t bytes,
                            const ef_dataset_options *options, ef_dataset **dataset,
                            ef_error *error)
{
    return open_dataset(path, -1, data, bytes, options, false, dataset, error);
}

ef_status ef__dataset_open_targets(const char *path, ef_dataset **dataset, ef_error *error)
{
    int fd;
    size_t bytes;
    ef_status status = ef__file_open(path, &fd, &bytes, error);
    return status ? status : open_dataset(path, fd, NULL, bytes, NULL, true, dataset, error);
}

ef_status ef_dataset_open_with(const char *path, const ef_dataset_options *options,
                               ef_dataset **dataset, ef_error *error)
{
    int fd;
    size_t bytes;
    ef_status status = ef__file_open(path, &fd, &bytes, error);
    return status ? status : open_dataset(path, fd, NULL, bytes, options, false, dataset, error);
}

ef_status ef_dataset_open(const char *path, ef_dataset **dataset, ef_error *error)
{
    return ef_dataset_open_with(path, NULL, dataset, error);
}

void ef_dataset_free(ef_dataset *d)
{
    if (!d)
        return;
    if (d->fd >= 0)
        close(d->fd);
    if (d->store >= 0)
        close(d->store);
    free(d->aligned);
    free(d->room);
    free(d->offset);
    free(d->part);
    free(d->length);
    free(d->line);
    free(d->path);
    free(d);
}

/* ---- Samples ---- */

size_t ef__dataset_length(const ef_dataset *d, size_t index)
{
    return d->length[index];
}

size_t ef__dataset_room(const ef_dataset *d)
{
    return d->largest;
}

ef_status ef__dataset_read(const ef_dataset *d, size_t index, unsigned char *room, ef__sample *s,
                           ef_error *error)
{
    if (d->whole)
        return ef__dataset_read(d->whole, d->part[index], room, s, error);
    size_t at = d->offset[index], bytes = d->offset[index + 1] - at;
    ef__sample sample;
    ef_status status = d->store < 0 ? ef__dataset_fetch(d, at, room, bytes, error)
                                    : ef__file_read(d->store, d->path, at, room, bytes, error);
    if (status)
        return status;
    if (!ef__dataset_decode(d, room, bytes, &sample) || sample.length != d->length[index])
        return ef__error_set(error, EF_EIO, 0, NULL,
                             "%s: was changed while in use: sample %zu is not what it was", d->path,
                             index);
    *s = sample;
    return EF_OK;
}

ef_status ef__dataset_need_ids(const ef_dataset *d, ef_error *error)
{
    char where[256];
    for (size_t i = 0; d->bare && i < d->count; i++)
        if (!d->length[i]) {
            ef__dataset_where(d, i, where, sizeof where);
            return ef__error_set(error, EF_EFORMAT, 0, NULL,
                                 "%s: has a text but no ids: a vocabulary is needed (--vocab)",
                                 where);
        }
    return EF_OK;
}

ef_status ef_dataset_read(ef_dataset *d, size_t index, ef_sample *sample, ef_error *error)
{
    ef__sample s;
    if (index >= d->count)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: no sample %zu of %zu", d->path, index,
                             d->count);
    if (!d->room)
        d->room = malloc(d->largest);
    if (!d->aligned)
        d->aligned = malloc(4 * (d->longest + d->width));
    if (!d->room || !d->aligned)
        return ef__dataset_no_memory(d, error);
    ef_status status = ef__dataset_read(d, index, d->room, &s, error);
    if (status)
        return status;
    int32_t *ids = (int32_t *)d->aligned + d->width;
    memcpy(d->aligned, s.target, 4 * d->width);
    if (s.length)
        memcpy(ids, s.ids, 4 * s.length);
    *sample = (ef_sample){.text = s.text,
                          .bytes = s.text_bytes,
                          .length = s.length,
                          .ids = ids,
                          .mask = s.mask,
                          .target = d->aligned};
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

size_t ef_dataset_texts(const ef_dataset *d)
{
    return d->texts;
}

size_t ef_dataset_bare(const ef_dataset *d)
{
    return d->bare;
}

uint64_t ef_dataset_bytes(const ef_dataset *d)
{
    return d->bytes;
}

const char *ef_dataset_path(const ef_dataset *d)
{
    return d->path;
}

const char *ef_dataset_format(const ef_dataset *d)
{
    return d->format;
}

bool ef_dataset_normalized(const ef_dataset *d)
{
    return d->normalized;
}

size_t ef_dataset_skipped(const ef_dataset *d, const char **first)
{
    if (first)
        *first = d->first_skipped;
    return d->skipped;
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
        if (ef__dataset_fetch(d, at, piece, n, NULL))
            return NULL;
        ef__sha256_add(&sha, piece, n);
    }
    ef__sha256_end_hex(&sha, d->sha256);
    return d->sha256;
}
