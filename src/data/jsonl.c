/* JSONL: a line is a sample. Lines are read one after the other, each sample goes into a store. */
#include "base/size.h"
#include "data/dataset.h"
#include "data/store.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16, LONGEST_LINE = 1 << 24 };

/* A line of a file, and the file's next bytes after it. */
typedef struct lines {
    const ef_dataset *dataset;
    size_t at;        /* of the file: what is to be read next */
    char *data;       /* [room]: what was read */
    size_t room, end; /* data[begin .. end) is not given yet */
    size_t begin;
    size_t number; /* of the line that was given, from 1 */
    size_t length; /* and its bytes, at data[line] */
    size_t line;
} lines;

/* Read more behind data[begin .. end), which moves to the front. */
static ef_status more(lines *l, ef_error *error)
{
    const ef_dataset *d = l->dataset;
    memmove(l->data, l->data + l->begin, l->end - l->begin);
    l->end -= l->begin;
    l->begin = 0;
    if (l->room - l->end < PIECE) {
        size_t room = 2 * (l->room + PIECE);
        char *data = realloc(l->data, room);
        if (!data)
            return ef__dataset_no_memory(d, error);
        l->data = data;
        l->room = room;
    }
    size_t bytes = ef__min(d->bytes - l->at, l->room - l->end);
    ef_status status = ef__dataset_fetch(d, l->at, l->data + l->end, bytes, error);
    l->at += bytes;
    l->end += bytes;
    return status;
}

/* The next line, without its end; *there is false behind the last. */
static ef_status next_line(lines *l, bool *there, ef_error *error)
{
    size_t seen = 0; /* bytes that have no end of line in them */
    for (;;) {
        size_t left = l->end - l->begin;
        char *end = left > seen ? memchr(l->data + l->begin + seen, '\n', left - seen) : NULL;
        bool last = !end && l->at == l->dataset->bytes;
        size_t length = end ? (size_t)(end - l->data) - l->begin : left;
        if (length > LONGEST_LINE)
            return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s:%zu: is longer than %d bytes",
                                 l->dataset->path, l->number + 1, LONGEST_LINE);
        if (end || last) {
            *there = end || left;
            l->line = l->begin;
            l->length = length;
            l->begin += length + (end != NULL);
            l->number += *there;
            return EF_OK;
        }
        seen = left;
        ef_status status = more(l, error);
        if (status)
            return status;
    }
}

/* ---- A line's sample ---- */

typedef struct row {
    lines *lines;
    size_t width;  /* of targets, 0: that of the first */
    bool bare;     /* a target alone will do */
    float *target; /* [width]; until that is known, of the line before */
    int32_t *ids;  /* [room] */
    uint8_t *mask; /* [room] */
    size_t room;
    ef__sample sample;
    json_t *json; /* owns the text */
    ef_error *error;
} row;

static ef_status bad(const row *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "FILE:LINE: TEXT", in printable ASCII: jansson quotes what it cannot read. */
static ef_status bad(const row *r, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return ef__error_set(r->error, EF_EFORMAT, 0, NULL, "%s:%zu: %s", r->lines->dataset->path,
                         r->lines->number, text);
}

/* A number, or a string that JSON reads as one; NULL: neither. A new reference. */
static json_t *number_of(json_t *value)
{
    if (json_is_number(value))
        return json_incref(value);
    if (!json_is_string(value))
        return NULL;
    json_t *number =
        json_loadb(json_string_value(value), json_string_length(value), JSON_DECODE_ANY, NULL);
    if (json_is_number(number))
        return number;
    json_decref(number);
    return NULL;
}

static bool get_real(json_t *value, float *real)
{
    json_t *number = number_of(value);
    *real = number ? (float)json_number_value(number) : NAN;
    json_decref(number);
    return isfinite(*real);
}

static bool get_whole(json_t *value, json_int_t most, json_int_t *whole)
{
    json_t *number = number_of(value);
    *whole = json_is_integer(number) ? json_integer_value(number) : -1;
    json_decref(number);
    return *whole >= 0 && *whole <= most;
}

/* The member of that name; null is none at all. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static ef_status read_target(row *r, const json_t *values)
{
    size_t n = json_array_size(values);
    if (!values)
        return bad(r, "\"target\" is missing");
    if (!json_is_array(values))
        return bad(r, "\"target\" is no array of numbers");
    if (!n)
        return bad(r, "\"target\" has no numbers");
    if (r->width && n != r->width)
        return bad(r, "\"target\" has %zu numbers, expected %zu", n, r->width);
    float *target = r->width ? r->target : realloc(r->target, n * sizeof *target);
    if (!target)
        return ef__dataset_no_memory(r->lines->dataset, r->error);
    r->target = target;
    for (size_t i = 0; i < n; i++)
        if (!get_real(json_array_get(values, i), &target[i]))
            return bad(r, "\"target\" element %zu is no finite number", i);
    r->sample.target = (const unsigned char *)r->target;
    return EF_OK;
}

static bool make_room(row *r, size_t n)
{
    if (n <= r->room)
        return true;
    int32_t *ids = realloc(r->ids, n * sizeof *ids);
    if (ids)
        r->ids = ids;
    uint8_t *mask = realloc(r->mask, n);
    if (mask)
        r->mask = mask;
    r->room = ids && mask ? n : r->room;
    return ids && mask;
}

static ef_status read_ids(row *r, const json_t *ids, const json_t *mask)
{
    size_t n = json_array_size(ids);
    json_int_t value;
    if (ids && !json_is_array(ids))
        return bad(r, "\"input_ids\" is no array of numbers");
    if (mask && !json_is_array(mask))
        return bad(r, "\"attention_mask\" is no array of numbers");
    if (mask && json_array_size(mask) != n)
        return bad(r, "\"attention_mask\" has %zu numbers, \"input_ids\" has %zu",
                   json_array_size(mask), n);
    if (!make_room(r, n))
        return ef__dataset_no_memory(r->lines->dataset, r->error);
    for (size_t i = 0; i < n; i++) {
        if (!get_whole(json_array_get(ids, i), INT32_MAX, &value))
            return bad(r, "\"input_ids\" element %zu is no whole number from 0 to 2147483647", i);
        r->ids[i] = (int32_t)value;
        value = 1;
        if (mask && !get_whole(json_array_get(mask, i), UINT8_MAX, &value))
            return bad(r, "\"attention_mask\" element %zu is no whole number from 0 to 255", i);
        r->mask[i] = (uint8_t)value;
    }
    r->sample.length = n;
    r->sample.ids = (const unsigned char *)r->ids;
    r->sample.mask = r->mask;
    return EF_OK;
}

static ef_status read_text(row *r, const json_t *text)
{
    if (text && !json_is_string(text))
        return bad(r, "\"text\" is no string");
    if (json_string_length(text) >= EF__NO_TEXT)
        return bad(r, "\"text\" passes 4294967294 bytes");
    r->sample.text = json_string_value(text);
    r->sample.text_bytes = json_string_length(text);
    return EF_OK;
}

/* The line's vector; of lines that need nothing else it may be the line itself, or "vector". */
static json_t *target_of(const row *r)
{
    if (json_is_array(r->json))
        return r->json;
    json_t *target = member(r->json, "target");
    return target || !r->bare ? target : member(r->json, "vector");
}

static ef_status read_object(row *r)
{
    if (!json_is_object(r->json) && !(r->bare && json_is_array(r->json)))
        return bad(r, "is no JSON object");
    ef_status status = read_target(r, target_of(r));
    if (status || r->bare)
        return status;
    status = read_text(r, member(r->json, "text"));
    if (!status)
        status = read_ids(r, member(r->json, "input_ids"), member(r->json, "attention_mask"));
    if (!status && !r->sample.text && !r->sample.length)
        return bad(r, "has neither \"text\" nor \"input_ids\"");
    return status;
}

/* jansson reads past its buffers when memory ends in the middle of a string: is there enough? */
static bool enough_memory(size_t length)
{
    void *volatile trial = malloc(4 * length + PIECE);
    free(trial);
    return trial;
}

static ef_status read_row(row *r)
{
    json_error_t why;
    const lines *l = r->lines;
    r->sample = (ef__sample){0};
    if (!enough_memory(l->length))
        return ef__dataset_no_memory(l->dataset, r->error);
    r->json = json_loadb(l->data + l->line, l->length,
                         JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!r->json && json_error_code(&why) == json_error_out_of_memory)
        return ef__dataset_no_memory(l->dataset, r->error);
    return r->json ? read_object(r) : bad(r, "byte %d: %s", why.position, why.text);
}

static bool is_blank(const lines *l)
{
    for (size_t i = 0; i < l->length; i++)
        if (!strchr(" \t\r", l->data[l->line + i]) || !l->data[l->line + i])
            return false;
    return true;
}

/* ---- A file ---- */

/* A bad line is passed over where that is asked for. */
static ef_status pass_over(ef_dataset *d, const ef_dataset_options *o, const ef_error *wrong,
                           ef_error *error)
{
    if (wrong->status != EF_EFORMAT || !o->skip_bad)
        return ef__error_set(error, wrong->status, 0, NULL, "%s", wrong->text);
    if (!d->skipped++)
        snprintf(d->first_skipped, sizeof d->first_skipped, "%s", wrong->text);
    return EF_OK;
}

static ef_status add_line(ef__store *store, row *r, ef_error *error)
{
    ef_dataset *d = store->dataset;
    ef_error wrong = {0};
    r->error = &wrong;
    ef_status status = read_row(r);
    if (status) {
        status = pass_over(d, store->options, &wrong, error);
    } else {
        if (!r->width)
            d->width = r->width = json_array_size(target_of(r));
        status = ef__store_add(store, &r->sample, r->lines->number, error);
    }
    json_decref(r->json);
    r->json = NULL;
    return status;
}

static ef_status add_lines(ef__store *store, row *r, ef_error *error)
{
    lines *l = r->lines;
    for (bool there = true;;) {
        ef_status status = next_line(l, &there, error);
        if (status || !there)
            return status;
        status = ef__dataset_tell(l->dataset, store->options, l->at - (l->end - l->begin),
                                  l->dataset->bytes, error);
        if (!status && !is_blank(l))
            status = add_line(store, r, error);
        if (status)
            return status;
    }
}

ef_status ef__jsonl_open(ef_dataset *d, const ef_dataset_options *options, bool bare_targets,
                         ef_error *error)
{
    ef__store store;
    lines l = {.dataset = d};
    row r = {.lines = &l, .bare = bare_targets};
    d->format = "JSONL";
    ef_status status = ef__store_begin(&store, d, options, error);
    if (!status)
        status = add_lines(&store, &r, error);
    if (!status && !d->count)
        status = ef__dataset_bad(d, error, "has no samples%s%s", d->skipped ? ": " : "",
                                 d->first_skipped);
    status = ef__store_end(&store, status, error);
    free(l.data);
    free(r.target);
    free(r.ids);
    free(r.mask);
    return status;
}
