#include "base/safetensors.h"
#include "base/file.h"
#include "base/size.h"
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are written as they are");

#define LENGTH_BYTES 8
#define METADATA "__metadata__"

typedef struct put {
    ef__st_tensor tensor; /* without its name */
    size_t number;
    json_t *entry; /* in the header */
} put;

struct ef__st_writer {
    json_t *header;
    json_t *metadata; /* in the header */
    put *put;         /* [count] of allocated */
    size_t count, allocated;
    ef_error error; /* the first */
};

ef__st_writer *ef__st_writer_new(void)
{
    ef__st_writer *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->header = json_object();
    w->metadata = json_object();
    if (json_object_set_new(w->header, METADATA, w->metadata)) {
        ef__st_writer_free(w);
        return NULL;
    }
    return w;
}

void ef__st_writer_free(ef__st_writer *w)
{
    if (!w)
        return;
    json_decref(w->header);
    free(w->put);
    free(w);
}

static void refuse(ef__st_writer *w, ef_status status, const char *name, const char *what)
{
    if (!w->error.status)
        ef__error_set(&w->error, status, 0, NULL, "\"%s\": %s", name, what);
}

void ef__st_put_metadata(ef__st_writer *w, const char *key, const char *value)
{
    if (json_object_get(w->metadata, key))
        refuse(w, EF_EARG, key, "metadata put twice");
    else if (json_object_set_new(w->metadata, key, json_string(value)))
        refuse(w, EF_EARG, key, "metadata is not UTF-8, or out of memory");
}

static bool grow(ef__st_writer *w)
{
    if (w->count < w->allocated)
        return true;
    size_t room = w->allocated ? 2 * w->allocated : 64;
    put *more = realloc(w->put, room * sizeof *more);
    if (!more)
        return false;
    w->put = more;
    w->allocated = room;
    return true;
}

/* {"dtype":"F32","shape":[3,4]}; data_offsets come with the save. */
static json_t *new_entry(const ef__st_tensor *t)
{
    json_t *shape = json_array();
    int failed = !shape;
    for (size_t i = 0; i < t->rank && !failed; i++)
        failed = json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    if (failed) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "dtype", ef__st_dtype_name(t->dtype), "shape", shape);
}

void ef__st_put(ef__st_writer *w, const char *name, ef__st_dtype dtype, size_t rank,
                const size_t *dims, const void *data)
{
    ef__st_tensor t = {.dtype = dtype, .rank = ef__min(rank, EF__ST_RANK), .data = data};
    for (size_t i = 0; i < t.rank; i++)
        t.dims[i] = dims[i];
    if (rank > EF__ST_RANK)
        refuse(w, EF_EARG, name, "tensor of more than 8 dimensions");
    else if (!ef__st_measure(&t))
        refuse(w, EF_EARG, name, "tensor whose shape overflows");
    else if (json_object_get(w->header, name))
        refuse(w, EF_EARG, name, "tensor put twice");
    else if (!grow(w))
        refuse(w, EF_ENOMEM, name, "out of memory");
    else if (json_object_set_new(w->header, name, new_entry(&t)))
        refuse(w, EF_EARG, name, "name is not UTF-8, or out of memory");
    else
        w->put[w->count] = (put){t, w->count, json_object_get(w->header, name)}, w->count++;
}

/* The table has the wider dtypes first, so that every tensor comes to lie aligned. */
static int by_dtype(const void *a, const void *b)
{
    const put *x = a, *y = b;
    if (x->tensor.dtype != y->tensor.dtype)
        return x->tensor.dtype < y->tensor.dtype ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static ef_status place(ef__st_writer *w, ef_error *error)
{
    size_t begin = 0, end;
    if (w->count)
        qsort(w->put, w->count, sizeof *w->put, by_dtype);
    for (put *p = w->put; p < w->put + w->count; p++, begin = end) {
        if (!ef__add(begin, p->tensor.bytes, &end) || end > INT64_MAX)
            return ef__error_set(error, EF_EARG, 0, NULL, "the tensors pass the largest file");
        json_t *offsets = json_pack("[I, I]", (json_int_t)begin, (json_int_t)end);
        if (json_object_set_new(p->entry, "data_offsets", offsets))
            return ef__error_set(error, EF_ENOMEM, 0, NULL, "out of memory");
    }
    return EF_OK;
}

/* The header's text, padded with spaces to a multiple of 8; NULL: out of memory. */
static char *header_text(const ef__st_writer *w, size_t *padded)
{
    size_t length = json_dumpb(w->header, NULL, 0, JSON_COMPACT);
    char *text = length ? malloc(length + LENGTH_BYTES) : NULL;
    if (!text)
        return NULL;
    json_dumpb(w->header, text, length, JSON_COMPACT);
    memset(text + length, ' ', LENGTH_BYTES);
    *padded = ef__round_up(length, LENGTH_BYTES);
    return text;
}

static ef_status write_all(const ef__st_writer *w, ef__file *file, const char *header,
                           size_t length, ef_error *error)
{
    uint64_t stored = length;
    ef_status status = ef__file_write(file, &stored, LENGTH_BYTES, error);
    if (!status)
        status = ef__file_write(file, header, length, error);
    for (size_t i = 0; i < w->count && !status; i++)
        status = ef__file_write(file, w->put[i].tensor.data, w->put[i].tensor.bytes, error);
    return status;
}

ef_status ef__st_save(ef__st_writer *w, const char *path, ef_error *error)
{
    size_t length;
    ef__file *file = NULL;
    if (w->error.status)
        return ef__error_set(error, w->error.status, 0, NULL, "%s: %s", path, w->error.text);
    ef_status status = place(w, error);
    if (status)
        return status;
    char *header = header_text(w, &length);
    if (!header)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    status = ef__file_begin(path, &file, error);
    if (!status)
        status = write_all(w, file, header, length, error);
    if (status)
        ef__file_abandon(file);
    else
        status = ef__file_commit(file, error);
    free(header);
    return status;
}
