/* Vectors into files: lines, or a header that is written anew when the count is known, and rows. */
#include "base/file.h"
#include "base/number.h"
#include "base/size.h"
#include "base/utf8.h"
#include "data/dataset.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FULL = 1 << 20 }; /* bytes to be written at once */
enum { HEADER = 256 };   /* bytes of a header: room for any count; what is left is spaces */

struct ef_vectors_writer {
    ef__file *file; /* NULL: standard output, or saved */
    char *path;     /* for messages */
    bool to_stdout;
    ef_vectors_format format;
    size_t width;
    uint64_t count;
    char *data; /* [bytes] of room: what is not written yet */
    size_t bytes, room;
};

/* Room for so many bytes more; NULL: there is none. */
static char *reserve(ef_vectors_writer *w, size_t bytes)
{
    size_t need;
    if (!ef__add(w->bytes, bytes, &need) || need > SIZE_MAX / 2)
        return NULL;
    if (need > w->room) {
        char *more = realloc(w->data, 2 * need);
        if (!more)
            return NULL;
        w->data = more;
        w->room = 2 * need;
    }
    return w->data + w->bytes;
}

static ef_status write_stdout(ef_vectors_writer *w, ef_error *error)
{
    for (size_t at = 0; at < w->bytes;) {
        ssize_t n = write(STDOUT_FILENO, w->data + at, w->bytes - at);
        if (n < 0 && errno != EINTR)
            return ef__error_set(error, EF_EIO, 0, NULL, "%s: cannot write: %s", w->path,
                                 strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    return EF_OK;
}

static ef_status flush(ef_vectors_writer *w, ef_error *error)
{
    ef_status status =
        w->to_stdout ? write_stdout(w, error) : ef__file_write(w->file, w->data, w->bytes, error);
    w->bytes = 0;
    return status;
}

/* ---- headers ---- */

static bool has_header(const ef_vectors_writer *w)
{
    return w->format == EF_VECTORS_NPY || w->format == EF_VECTORS_SAFETENSORS;
}

/* Both formats allow spaces before the data: .npy with a newline as the last. */
static void make_header(const ef_vectors_writer *w, char *header)
{
    const uint64_t json = HEADER - 8;
    const uint16_t dictionary = HEADER - 10;
    memset(header, ' ', HEADER);
    if (w->format == EF_VECTORS_NPY) {
        memcpy(header, "\x93NUMPY\x01\x00", 8);
        memcpy(header + 8, &dictionary, 2);
        int n = sprintf(header + 10,
                        "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %zu), }",
                        w->count, w->width);
        header[10 + n] = ' ';
        header[HEADER - 1] = '\n';
    } else {
        memcpy(header, &json, 8);
        int n = sprintf(header + 8,
                        "{\"vectors\":{\"dtype\":\"F32\",\"shape\":[%" PRIu64
                        ",%zu],\"data_offsets\":[0,%" PRIu64 "]}}",
                        w->count, w->width, 4 * w->count * w->width);
        header[8 + n] = ' ';
    }
}

static ef_status put_header(ef_vectors_writer *w, ef_error *error)
{
    char header[HEADER];
    make_header(w, header);
    return ef__file_write(w->file, header, HEADER, error);
}

/* ---- rows ---- */

static char *put_reals(char *to, const float *vector, size_t width, char between)
{
    for (size_t i = 0; i < width; i++) {
        if (i)
            *to++ = between;
        to = ef__put_float(to, vector[i]);
    }
    return to;
}

/* A string of JSON; at most 6 bytes for each of the text, and the quotes. */
static char *put_string(char *to, const ef_text *text)
{
    const unsigned char *at = (const unsigned char *)text->text, *end = at + text->bytes;
    *to++ = '"';
    while (at < end) {
        const uint32_t c = ef__utf8_next(&at, end);
        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = (char)c;
        } else if (c < ' ') {
            to += sprintf(to, "\\u%04" PRIx32, c);
        } else {
            to += ef__utf8_put(c == EF__UTF8_BAD ? 0xfffd : c, (unsigned char *)to);
        }
    }
    *to++ = '"';
    return to;
}

static char *put_row(const ef_vectors_writer *w, char *to, const float *vector, const ef_text *text)
{
    if (has_header(w)) {
        memcpy(to, vector, w->width * sizeof *vector);
        return to + w->width * sizeof *vector;
    }
    if (w->format == EF_VECTORS_TEXT) {
        to = put_reals(to, vector, w->width, ' ');
    } else {
        to = stpcpy(to, text ? "{\"text\":" : "{\"vector\":[");
        if (text)
            to = stpcpy(put_string(to, text), ",\"vector\":[");
        to = stpcpy(put_reals(to, vector, w->width, ','), "]}");
    }
    *to++ = '\n';
    return to;
}

static ef_status check_row(const ef_vectors_writer *w, const float *vector, ef_error *error)
{
    for (size_t i = 0; i < w->width; i++)
        if (!isfinite(vector[i]))
            return ef__error_set(error, EF_EARG, 0, NULL,
                                 "%s: vector %" PRIu64 ": value %zu is not finite", w->path,
                                 w->count, i);
    return EF_OK;
}

static ef_status add_row(ef_vectors_writer *w, const float *vector, const ef_text *text,
                         ef_error *error)
{
    enum { AROUND = 32 }; /* bytes of keys, quotes and brackets */
    size_t string = 0;
    ef_status status = check_row(w, vector, error);
    if (status)
        return status;
    char *to = NULL;
    if (!text || ef__mul(6, text->bytes, &string))
        to = reserve(w, string + w->width * (EF__FLOAT_CHARS + 1) + AROUND);
    if (!to)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", w->path);
    w->bytes = (size_t)(put_row(w, to, vector, text) - w->data);
    w->count++;
    return w->bytes >= FULL ? flush(w, error) : EF_OK;
}

/* ---- a writer ---- */

static ef_status check(const char *path, ef_vectors_format format, size_t width, ef_error *error)
{
    const char *name = path ? path : "stdout";
    if (!width || width > UINT32_MAX / 4)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: vectors of width %zu", name, width);
    if ((unsigned)format > EF_VECTORS_SAFETENSORS)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: unknown format %d", name, (int)format);
    if (!path && format != EF_VECTORS_TEXT && format != EF_VECTORS_JSONL)
        return ef__error_set(error, EF_EARG, 0, NULL, "%s: only lines can be written there", name);
    return EF_OK;
}

ef_status ef_vectors_writer_new(const char *path, ef_vectors_format format, size_t width,
                                ef_vectors_writer **writer, ef_error *error)
{
    ef_status status = check(path, format, width, error);
    if (status)
        return status;
    ef_vectors_writer *w = calloc(1, sizeof *w);
    if (!w || !(w->path = strdup(path ? path : "stdout"))) {
        free(w);
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory",
                             path ? path : "stdout");
    }
    w->format = format;
    w->width = width;
    w->to_stdout = !path;
    if (path)
        status = ef__file_begin(path, &w->file, error);
    if (!status && has_header(w))
        status = put_header(w, error);
    if (status)
        ef_vectors_writer_free(w);
    else
        *writer = w;
    return status;
}

ef_status ef_vectors_writer_add(ef_vectors_writer *w, const float *vectors, const ef_text *texts,
                                size_t count, ef_error *error)
{
    ef_status status = EF_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = add_row(w, vectors + i * w->width, texts ? texts + i : NULL, error);
    return status || !w->to_stdout ? status : flush(w, error);
}

ef_status ef_vectors_writer_save(ef_vectors_writer *w, ef_error *error)
{
    char header[HEADER];
    ef_status status = flush(w, error);
    make_header(w, header);
    if (!status && has_header(w))
        status = ef__file_patch(w->file, 0, header, HEADER, error);
    if (status || w->to_stdout)
        return status;
    ef__file *file = w->file;
    w->file = NULL;
    return ef__file_commit(file, error);
}

void ef_vectors_writer_free(ef_vectors_writer *w)
{
    if (!w)
        return;
    ef__file_abandon(w->file);
    free(w->data);
    free(w->path);
    free(w);
}
