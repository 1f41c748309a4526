/* A teacher's vectors: .npy and safetensors files are read row by row, JSONL is a dataset. */
#include "base/safetensors.h"
#include "base/size.h"
#include "data/dataset.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NPY_MAGIC "\x93NUMPY"
enum { NPY_LEAST = 10, NPY_MOST = 1 << 16 }; /* bytes before the dictionary; of the dictionary */

struct ef_vectors {
    char *path;
    size_t rows, width;
    ef_dataset *dataset;        /* JSONL */
    ef__st_reader *safetensors; /* the values are at `data` */
    const char *data;
    int fd; /* .npy: they begin at byte `at` */
    size_t at;
    size_t element; /* bytes of a value: 4 or 8 */
    double *room;   /* a row, as it is in the file */
};

static ef_status bad(const ef_vectors *v, const char *what, ef_error *error)
{
    return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: %s", v->path, what);
}

/* ---- .npy: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html ---- */

/* What follows 'key': in the dictionary, or NULL. */
static const char *value_of(const char *dictionary, const char *key)
{
    const char *value = strstr(dictionary, key);
    if (!value)
        return NULL;
    value += strlen(key);
    value += strspn(value, " ");
    if (*value++ != ':')
        return NULL;
    return value + strspn(value, " ");
}

/* "(N, E)" */
static bool read_shape(const char *text, size_t *rows, size_t *width)
{
    size_t *to[] = {rows, width};
    if (!text || *text++ != '(')
        return false;
    for (int i = 0; i < 2; i++) {
        char *end;
        text += strspn(text, " ");
        if (*text < '0' || *text > '9')
            return false;
        unsigned long long value = strtoull(text, &end, 10);
        if (value > SIZE_MAX / 8)
            return false;
        *to[i] = (size_t)value;
        text = end + strspn(end, " ");
        if (*text == ',')
            text++;
    }
    text += strspn(text, " ");
    return *text == ')';
}

static ef_status read_dictionary(ef_vectors *v, const char *text, ef_error *error)
{
    const char *type = value_of(text, "'descr'"), *order = value_of(text, "'fortran_order'");
    if (!type || !order)
        return bad(v, "its header is no dictionary of descr, fortran_order and shape", error);
    if (!strncmp(type, "'<f4'", 5))
        v->element = 4;
    else if (!strncmp(type, "'<f8'", 5))
        v->element = 8;
    else
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: is of dtype %.*s, should be '<f4' or '<f8'", v->path,
                             (int)strcspn(type, ",}\n"), type);
    if (strncmp(order, "False", 5))
        return bad(v, "is in Fortran order, should be in C order", error);
    if (!read_shape(value_of(text, "'shape'"), &v->rows, &v->width))
        return bad(v, "has not two dimensions, rows and width", error);
    return EF_OK;
}

static ef_status read_npy(ef_vectors *v, size_t bytes, ef_error *error)
{
    unsigned char head[NPY_LEAST + 2] = {0};
    size_t length, need;
    ef_status status = ef__file_read(v->fd, v->path, 0, head, ef__min(bytes, sizeof head), error);
    if (status)
        return status;
    if (bytes < sizeof head)
        return bad(v, "is cut off in its header", error);
    if (head[6] < 1 || head[6] > 3)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: is of .npy version %d, this library reads 1 to 3", v->path,
                             head[6]);
    length = head[6] == 1 ? (size_t)(head[8] | head[9] << 8) : ef__load_u32(head + 8);
    v->at = head[6] == 1 ? NPY_LEAST : NPY_LEAST + 2;
    if (length > bytes - v->at || length > NPY_MOST)
        return bad(v, "is cut off in its header", error);
    char *text = calloc(1, length + 1);
    if (!text)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", v->path);
    status = ef__file_read(v->fd, v->path, v->at, text, length, error);
    if (!status)
        status = read_dictionary(v, text, error);
    free(text);
    v->at += length;
    if (status)
        return status;
    if (!ef__mul(v->rows, v->width, &need) || !ef__mul(need, v->element, &need) ||
        need != bytes - v->at)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: has %zu bytes of data, its shape (%zu, %zu) needs %zu", v->path,
                             bytes - v->at, v->rows, v->width, v->rows * v->width * v->element);
    return EF_OK;
}

/* ---- safetensors ---- */

/* The tensor of that name, or the only one. */
static ef_status find_tensor(const ef_vectors *v, const char *name, const ef__st_tensor **found,
                             ef_error *error)
{
    *found = name ? ef__st_find(v->safetensors, name) : ef__st_at(v->safetensors, 0);
    if (!*found && name)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: tensor \"%s\": is not there", v->path,
                             name);
    if (!*found)
        return bad(v, "has no tensor", error);
    if (!name && ef__st_at(v->safetensors, 1))
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: has several tensors, \"%s\" and \"%s\" among them: name one",
                             v->path, (*found)->name, ef__st_at(v->safetensors, 1)->name);
    return EF_OK;
}

static ef_status read_safetensors(ef_vectors *v, const char *name, ef_error *error)
{
    const ef__st_tensor *t;
    ef_status status = ef__st_open(v->path, &v->safetensors, error);
    if (!status)
        status = find_tensor(v, name, &t, error);
    if (status)
        return status;
    if (t->rank != 2 || (t->dtype != EF__ST_F32 && t->dtype != EF__ST_F64))
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: tensor \"%s\": is %s of %zu dimensions, should be F32 or F64 of "
                             "two, rows and width",
                             v->path, t->name, ef__st_dtype_name(t->dtype), t->rank);
    v->rows = t->dims[0];
    v->width = t->dims[1];
    v->element = t->dtype == EF__ST_F32 ? 4 : 8;
    v->data = t->data;
    return EF_OK;
}

/* ---- All ---- */

static ef_status open_npy_or_safetensors(ef_vectors *v, const char *tensor, bool *other,
                                         ef_error *error)
{
    char head[EF__ST_HEAD] = "";
    size_t bytes;
    ef_status status = ef__file_open(v->path, &v->fd, &bytes, error);
    if (status)
        return status;
    status = ef__file_read(v->fd, v->path, 0, head, ef__min(bytes, sizeof head), error);
    if (status)
        return status;
    if (ef__st_looks(head))
        return read_safetensors(v, tensor, error);
    if (tensor)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: tensor \"%s\": is asked for, but this is no safetensors file",
                             v->path, tensor);
    *other = memcmp(head, NPY_MAGIC, 6) != 0;
    return *other ? EF_OK : read_npy(v, bytes, error);
}

static ef_status open_any(ef_vectors *v, const char *tensor, ef_error *error)
{
    bool other = false;
    ef_status status = open_npy_or_safetensors(v, tensor, &other, error);
    if (!status && other)
        status = ef__dataset_open_targets(v->path, &v->dataset, error);
    if (status)
        return status;
    if (v->dataset) {
        v->rows = ef_dataset_size(v->dataset);
        v->width = ef_dataset_width(v->dataset);
    }
    if (!v->rows || !v->width)
        return bad(v, "has no vectors", error);
    v->room = v->dataset ? NULL : malloc(v->width * v->element);
    return v->room || v->dataset
               ? EF_OK
               : ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", v->path);
}

ef_status ef_vectors_open(const char *path, const char *tensor, ef_vectors **vectors,
                          ef_error *error)
{
    ef_status status = EF_ENOMEM;
    ef_vectors *v = calloc(1, sizeof *v);
    if (v)
        v->fd = -1;
    if (!v || !(v->path = strdup(path)))
        ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    else
        status = open_any(v, tensor, error);
    if (status)
        ef_vectors_free(v);
    else
        *vectors = v;
    return status;
}

void ef_vectors_free(ef_vectors *v)
{
    if (!v)
        return;
    if (v->fd >= 0)
        close(v->fd);
    ef__st_close(v->safetensors);
    ef_dataset_free(v->dataset);
    free(v->room);
    free(v->path);
    free(v);
}

size_t ef_vectors_size(const ef_vectors *v)
{
    return v->rows;
}

size_t ef_vectors_width(const ef_vectors *v)
{
    return v->width;
}

/* The row in room becomes one of floats. */
static ef_status convert(ef_vectors *v, size_t index, ef_error *error)
{
    for (size_t i = 0; i < v->width; i++) {
        float single = v->element == 8 ? (float)v->room[i] : 0;
        if (v->element == 4)
            memcpy(&single, (char *)v->room + 4 * i, 4);
        if (!isfinite(single))
            return ef__error_set(error, EF_EFORMAT, 0, NULL,
                                 "%s: row %zu: element %zu is no finite number", v->path, index, i);
        memcpy((char *)v->room + 4 * i, &single, 4);
    }
    return EF_OK;
}

ef_status ef_vectors_read(ef_vectors *v, size_t index, float *row, ef_error *error)
{
    size_t bytes = v->width * v->element;
    ef_sample sample;
    ef_status status = EF_OK;
    if (index >= v->rows)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: no row %zu of %zu", v->path, index,
                             v->rows);
    if (v->dataset) {
        status = ef_dataset_read(v->dataset, index, &sample, error);
        if (!status)
            memcpy(row, sample.target, v->width * sizeof *row);
        return status;
    }
    if (v->data)
        memcpy(v->room, v->data + index * bytes, bytes);
    else
        status = ef__file_read(v->fd, v->path, v->at + index * bytes, v->room, bytes, error);
    if (!status)
        status = convert(v, index, error);
    if (!status)
        memcpy(row, v->room, v->width * sizeof *row);
    return status;
}
