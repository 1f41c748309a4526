#include "base/file.h"
#include "base/size.h"
#include "data/dataset.h"
#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they are");

enum { FULL = 1 << 20 }; /* bytes to be written at once */

struct ef_dataset_writer {
    ef__file *file; /* NULL: saved, or given up */
    char *path;
    ef_data_format format;
    size_t width, count;
    unsigned char *data; /* [bytes] of room: what is not written yet */
    size_t bytes, room;
};

static ef_status wrong(const ef_dataset_writer *w, const char *what, ef_error *error)
{
    return ef__error_set(error, EF_EARG, 0, NULL, "%s: sample %zu: %s", w->path, w->count, what);
}

static ef_status no_memory(const char *path, ef_error *error)
{
    return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
}

/* Room for so many bytes more; NULL: there is none. */
static void *reserve(ef_dataset_writer *w, size_t bytes)
{
    size_t need;
    if (!ef__add(w->bytes, bytes, &need))
        return NULL;
    if (need > w->room) {
        unsigned char *more = realloc(w->data, 2 * need);
        if (!more)
            return NULL;
        w->data = more;
        w->room = 2 * need;
    }
    return w->data + w->bytes;
}

static ef_status flush(ef_dataset_writer *w, ef_error *error)
{
    ef_status status = ef__file_write(w->file, w->data, w->bytes, error);
    w->bytes = 0;
    return status;
}

/* ---- EFB1 ---- */

static void *put(void *to, const void *data, size_t bytes)
{
    memcpy(to, data, bytes);
    return (char *)to + bytes;
}

/* The count is 0 until the file is saved. */
static ef_status put_header(ef_dataset_writer *w, ef_error *error)
{
    uint32_t header[2] = {0, (uint32_t)w->width};
    unsigned char *to = reserve(w, 12);
    if (!to)
        return no_memory(w->path, error);
    put(put(to, "EFB1", 4), header, sizeof header);
    w->bytes += 12;
    return EF_OK;
}

static ef_status put_efb(ef_dataset_writer *w, const ef_sample *s, ef_error *error)
{
    uint32_t length = (uint32_t)s->length;
    size_t bytes = 4 + 5 * s->length + 4 * w->width;
    unsigned char *to = reserve(w, bytes);
    if (!to)
        return no_memory(w->path, error);
    to = put(to, &length, 4);
    to = put(to, s->ids, 4 * s->length);
    if (s->mask)
        memcpy(to, s->mask, s->length);
    else
        memset(to, 1, s->length);
    put(to + s->length, s->target, 4 * w->width);
    w->bytes += bytes;
    return EF_OK;
}

/* ---- JSONL ---- */

/* Nine digits tell any two floats apart; -0 stays a real. */
static json_t *reals(const float *from, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(array, json_real((double)from[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *ids_of(const ef_sample *s, bool mask)
{
    json_t *array = json_array();
    for (size_t i = 0; i < s->length; i++) {
        int32_t value = !mask ? s->ids[i] : s->mask ? s->mask[i] : 1;
        if (json_array_append_new(array, json_integer(value))) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* Takes value over. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static int add_text(const char *text, size_t bytes, void *user)
{
    ef_dataset_writer *w = user;
    void *to = reserve(w, bytes);
    if (!to)
        return -1;
    memcpy(to, text, bytes);
    w->bytes += bytes;
    return 0;
}

static ef_status put_jsonl(ef_dataset_writer *w, const ef_sample *s, ef_error *error)
{
    size_t before = w->bytes;
    json_t *object = json_object(), *text = NULL;
    if (s->text && !(text = json_stringn(s->text, s->bytes))) {
        json_decref(object);
        return wrong(w, "its text is not UTF-8", error);
    }
    bool well = object && (!text || set(object, "text", text));
    if (s->length)
        well = well && set(object, "input_ids", ids_of(s, false)) &&
               set(object, "attention_mask", ids_of(s, true));
    well = well && set(object, "target", reals(s->target, w->width)) &&
           !json_dump_callback(object, add_text, w, JSON_COMPACT | JSON_REAL_PRECISION(9)) &&
           !add_text("\n", 1, w);
    json_decref(object);
    if (well)
        return EF_OK;
    w->bytes = before;
    return no_memory(w->path, error);
}

/* ---- Both ---- */

ef_status ef_dataset_writer_new(const char *path, ef_data_format format, size_t width,
                                ef_dataset_writer **writer, ef_error *error)
{
    if (!width || width > UINT32_MAX / 4)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: targets of width %zu", path, width);
    if (format != EF_DATA_EFB1 && format != EF_DATA_JSONL)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: unknown format %d", path, (int)format);
    ef_dataset_writer *w = calloc(1, sizeof *w);
    if (!w || !(w->path = strdup(path))) {
        free(w);
        return no_memory(path, error);
    }
    w->format = format;
    w->width = width;
    ef_status status = ef__file_begin(path, &w->file, error);
    if (!status && format == EF_DATA_EFB1)
        status = put_header(w, error);
    if (status)
        ef_dataset_writer_free(w);
    else
        *writer = w;
    return status;
}

static ef_status check(const ef_dataset_writer *w, const ef_sample *s, ef_error *error)
{
    if (!s->length && w->format == EF_DATA_EFB1)
        return wrong(w, "has no ids, which is all that EFB1 holds", error);
    if (!s->length && !s->text)
        return wrong(w, "has neither text nor ids", error);
    if (s->length > UINT32_MAX / 5)
        return wrong(w, "has too many ids", error);
    for (size_t i = 0; i < s->length; i++)
        if (s->ids[i] < 0)
            return wrong(w, "has an id below 0", error);
    for (size_t i = 0; i < w->width; i++)
        if (!isfinite(s->target[i]))
            return wrong(w, "its target is not finite", error);
    return w->count < UINT32_MAX ? EF_OK : wrong(w, "is one too many", error);
}

ef_status ef_dataset_writer_add(ef_dataset_writer *w, const ef_sample *s, ef_error *error)
{
    ef_status status = check(w, s, error);
    if (!status)
        status = w->format == EF_DATA_EFB1 ? put_efb(w, s, error) : put_jsonl(w, s, error);
    if (!status)
        w->count++;
    if (!status && w->bytes >= FULL)
        status = flush(w, error);
    return status;
}

ef_status ef_dataset_writer_finish(ef_dataset_writer *w, ef_error *error)
{
    uint32_t count = (uint32_t)w->count;
    if (!count)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: no samples to save", w->path);
    ef_status status = flush(w, error);
    if (!status && w->format == EF_DATA_EFB1)
        status = ef__file_patch(w->file, 4, &count, sizeof count, error);
    return status ? status : ef__file_sync(w->file, error);
}

ef_status ef_dataset_writer_save(ef_dataset_writer *w, ef_error *error)
{
    ef__file *file = w->file;
    ef_status status = ef_dataset_writer_finish(w, error);
    if (status)
        return status;
    w->file = NULL;
    return ef__file_commit(file, error);
}

void ef_dataset_writer_free(ef_dataset_writer *w)
{
    if (!w)
        return;
    ef__file_abandon(w->file);
    free(w->data);
    free(w->path);
    free(w);
}
