#include "base/safetensors.h"
#include "base/file.h"
#include "base/size.h"
#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are read as they are");

#define LENGTH_BYTES 8
#define LONGEST_HEADER 100000000 /* as in the reference implementation */
#define METADATA "__metadata__"

static const struct dtype {
    const char *name;
    size_t bytes;
} dtypes[] = {
#define DTYPE_ROW(name, bytes) {#name, bytes},
    EF__ST_DTYPES(DTYPE_ROW)
#undef DTYPE_ROW
};

enum { DTYPES = sizeof dtypes / sizeof *dtypes };

struct ef__st_reader {
    char *path;
    ef__map map;           /* zero when the memory is the caller's */
    json_t *header;        /* owns names and metadata */
    ef__st_tensor *tensor; /* [count], in the order of the data */
    size_t count;
};

static ef_status bad(const ef__st_reader *r, const char *tensor, const char *what, ef_error *error)
{
    if (tensor)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: tensor \"%s\": %s", r->path, tensor,
                             what);
    return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: %s", r->path, what);
}

static ef_status no_memory(const ef__st_reader *r, ef_error *error)
{
    return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", r->path);
}

/* A JSON integer that is a size. */
static bool get_size(const json_t *json, size_t *size)
{
    if (!json_is_integer(json) || json_integer_value(json) < 0)
        return false;
    *size = (size_t)json_integer_value(json);
    return (json_int_t)*size == json_integer_value(json);
}

static bool find_dtype(const char *name, ef__st_dtype *dtype)
{
    for (int i = 0; name && i < DTYPES; i++)
        if (!strcmp(name, dtypes[i].name)) {
            *dtype = (ef__st_dtype)i;
            return true;
        }
    return false;
}

const char *ef__st_dtype_name(ef__st_dtype dtype)
{
    return dtypes[dtype].name;
}

bool ef__st_measure(ef__st_tensor *t)
{
    t->count = 1;
    for (size_t i = 0; i < t->rank; i++)
        if (!ef__mul(t->count, t->dims[i], &t->count))
            return false;
    return ef__mul(t->count, dtypes[t->dtype].bytes, &t->bytes);
}

static ef_status read_shape(const ef__st_reader *r, const json_t *shape, ef__st_tensor *t,
                            ef_error *error)
{
    if (!json_is_array(shape))
        return bad(r, t->name, "has no shape", error);
    if (json_array_size(shape) > EF__ST_RANK)
        return bad(r, t->name, "has more than 8 dimensions", error);
    t->rank = json_array_size(shape);
    for (size_t i = 0; i < t->rank; i++)
        if (!get_size(json_array_get(shape, i), &t->dims[i]))
            return bad(r, t->name, "has a dimension that is no size", error);
    return ef__st_measure(t) ? EF_OK : bad(r, t->name, "its shape overflows", error);
}

/* One entry of the header. data and bytes: what follows the header. */
static ef_status read_entry(const ef__st_reader *r, const json_t *entry, const char *data,
                            size_t bytes, ef__st_tensor *t, ef_error *error)
{
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return bad(r, t->name, "is not an object of dtype, shape and data_offsets", error);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!find_dtype(dtype, &t->dtype))
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: tensor \"%s\": dtype %.16s is not supported", r->path, t->name,
                             dtype ? dtype : "(none)");
    ef_status status = read_shape(r, json_object_get(entry, "shape"), t, error);
    if (status)
        return status;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin, end;
    if (json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end))
        return bad(r, t->name, "data_offsets are not two sizes", error);
    if (begin > end || end > bytes)
        return bad(r, t->name, "its data passes the end of the file", error);
    if (end - begin != t->bytes)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: tensor \"%s\": has %zu bytes of data, its shape needs %zu",
                             r->path, t->name, end - begin, t->bytes);
    t->data = data + begin;
    return EF_OK;
}

static ef_status read_metadata(const ef__st_reader *r, json_t *metadata, ef_error *error)
{
    if (!json_is_object(metadata))
        return bad(r, NULL, METADATA " is not an object", error);
    for (void *i = json_object_iter(metadata); i; i = json_object_iter_next(metadata, i))
        if (!json_is_string(json_object_iter_value(i)))
            return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: metadata \"%s\" is not a string",
                                 r->path, json_object_iter_key(i));
    return EF_OK;
}

/* By place in the file; empty tensors before what starts where they are. */
static int by_place(const void *a, const void *b)
{
    const ef__st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors must cover the data exactly: no overlap, no hole, nothing after the last. */
static ef_status check_cover(ef__st_reader *r, const char *data, size_t bytes, ef_error *error)
{
    const char *expected = data;
    if (r->count)
        qsort(r->tensor, r->count, sizeof *r->tensor, by_place);
    for (const ef__st_tensor *t = r->tensor; t < r->tensor + r->count; t++) {
        if ((const char *)t->data < expected)
            return bad(r, t->name, "overlaps the tensor before it", error);
        if ((const char *)t->data > expected)
            return bad(r, t->name, "there is a hole before its data", error);
        expected += t->bytes;
    }
    return expected == data + bytes ? EF_OK : bad(r, NULL, "bytes after the last tensor", error);
}

static ef_status read_entries(ef__st_reader *r, const char *data, size_t bytes, ef_error *error)
{
    if (!(r->tensor = calloc(json_object_size(r->header) + 1, sizeof *r->tensor)))
        return no_memory(r, error);
    for (void *i = json_object_iter(r->header); i; i = json_object_iter_next(r->header, i)) {
        const char *name = json_object_iter_key(i);
        json_t *entry = json_object_iter_value(i);
        ef_status status;
        if (!strcmp(name, METADATA)) {
            status = read_metadata(r, entry, error);
        } else {
            r->tensor[r->count].name = name;
            status = read_entry(r, entry, data, bytes, &r->tensor[r->count++], error);
        }
        if (status)
            return status;
    }
    return check_cover(r, data, bytes, error);
}

static ef_status parse(ef__st_reader *r, const unsigned char *data, size_t bytes, ef_error *error)
{
    uint64_t length;
    json_error_t why;
    if (bytes < LENGTH_BYTES)
        return bad(r, NULL, "too short for a safetensors file", error);
    memcpy(&length, data, LENGTH_BYTES);
    if (length > bytes - LENGTH_BYTES || length > LONGEST_HEADER)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: no safetensors file, or cut off: header of %" PRIu64
                             " bytes in a file of %zu",
                             r->path, length, bytes);
    const char *header = (const char *)data + LENGTH_BYTES;
    r->header = json_loadb(header, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    if (!r->header && json_error_code(&why) == json_error_out_of_memory)
        return no_memory(r, error);
    if (!r->header)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: header: byte %d: %s", r->path,
                             why.position, why.text);
    if (!json_is_object(r->header))
        return bad(r, NULL, "the header is not an object", error);
    return read_entries(r, header + length, bytes - LENGTH_BYTES - (size_t)length, error);
}

ef_status ef__st_parse(const char *path, const void *data, size_t bytes, ef__st_reader **reader,
                       ef_error *error)
{
    ef__st_reader *r = calloc(1, sizeof *r);
    if (!r || !(r->path = strdup(path))) {
        free(r);
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    }
    ef_status status = parse(r, data, bytes, error);
    if (status)
        ef__st_close(r);
    else
        *reader = r;
    return status;
}

ef_status ef__st_open(const char *path, ef__st_reader **reader, ef_error *error)
{
    ef__map map;
    ef_status status = ef__file_map(path, &map, error);
    if (status)
        return status;
    status = ef__st_parse(path, map.data, map.bytes, reader, error);
    if (status)
        ef__file_unmap(&map);
    else
        (*reader)->map = map;
    return status;
}

void ef__st_close(ef__st_reader *r)
{
    if (!r)
        return;
    json_decref(r->header);
    ef__file_unmap(&r->map);
    free(r->tensor);
    free(r->path);
    free(r);
}

const char *ef__st_path(const ef__st_reader *r)
{
    return r->path;
}

const ef__st_tensor *ef__st_at(const ef__st_reader *r, size_t index)
{
    return index < r->count ? &r->tensor[index] : NULL;
}

const ef__st_tensor *ef__st_find(const ef__st_reader *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->tensor[i].name, name))
            return &r->tensor[i];
    return NULL;
}

const char *ef__st_metadata(const ef__st_reader *r, const char *key)
{
    return json_string_value(json_object_get(json_object_get(r->header, METADATA), key));
}

/* "F32 [3,4]" */
static const char *describe(char text[256], ef__st_dtype dtype, size_t rank, const size_t *dims)
{
    int n = snprintf(text, 256, "%s [", dtypes[dtype].name);
    for (size_t i = 0; i < rank; i++)
        n += snprintf(text + n, 256 - (size_t)n, "%s%zu", i ? "," : "", dims[i]);
    snprintf(text + n, 256 - (size_t)n, "]");
    return text;
}

ef_status ef__st_need(const ef__st_reader *r, const char *name, ef__st_dtype dtype, size_t rank,
                      const size_t *dims, const ef__st_tensor **tensor, ef_error *error)
{
    assert(rank <= EF__ST_RANK);
    char is[256], should[256];
    const ef__st_tensor *t = ef__st_find(r, name);
    if (!t)
        return bad(r, name, "is not there", error);
    if (t->dtype != dtype || t->rank != rank ||
        (rank && memcmp(t->dims, dims, rank * sizeof *dims)))
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: tensor \"%s\": is %s, should be %s",
                             r->path, name, describe(is, t->dtype, t->rank, t->dims),
                             describe(should, dtype, rank, dims));
    *tensor = t;
    return EF_OK;
}
