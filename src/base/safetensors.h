/* The safetensors format: u64 length of a JSON header, the header, then the tensors' data without
 * holes; little-endian. https://huggingface.co/docs/safetensors
 * A reader has checked all of a file before it hands out anything: what it hands out is in
 * bounds. */
#ifndef EF_BASE_SAFETENSORS_H
#define EF_BASE_SAFETENSORS_H

#include "base/error.h"

#define EF__ST_RANK 8

/* Name in the file, bytes of an element. */
#define EF__ST_DTYPES(X)                                                                           \
    X(F64, 8)                                                                                      \
    X(I64, 8)                                                                                      \
    X(F32, 4)                                                                                      \
    X(I32, 4)                                                                                      \
    X(F16, 2)                                                                                      \
    X(U8, 1)                                                                                       \
    X(BOOL, 1)

typedef enum ef__st_dtype {
#define EF__ST_ENUM(name, bytes) EF__ST_##name,
    EF__ST_DTYPES(EF__ST_ENUM)
#undef EF__ST_ENUM
} ef__st_dtype;

typedef struct ef__st_tensor {
    const char *name;
    ef__st_dtype dtype;
    size_t rank, dims[EF__ST_RANK]; /* rank 0: one element */
    const void *data;               /* of any alignment: memcpy from it */
    size_t count, bytes;
} ef__st_tensor;

const char *ef__st_dtype_name(ef__st_dtype dtype);

/* ef__st_measure -- fill in count and bytes from dtype and dims; false when they pass a size_t. */
bool ef__st_measure(ef__st_tensor *tensor);

/* ---- Reading (safetensors.c) ---- */

typedef struct ef__st_reader ef__st_reader;

/* ef__st_looks -- is what begins with these EF__ST_HEAD bytes of this format, rather than text? */
enum { EF__ST_HEAD = 9 };
static inline bool ef__st_looks(const char *head)
{
    return !head[7] && head[8] == '{'; /* a length below 2^56, a JSON object */
}

/* ef__st_open -- map a file and check all of it. Errors: EIO, EFORMAT (the text names file and
 * tensor), ENOMEM. */
ef_status ef__st_open(const char *path, ef__st_reader **reader, ef_error *error);

/* ef__st_parse -- the same for memory that outlives the reader; path is for messages. */
ef_status ef__st_parse(const char *path, const void *data, size_t bytes, ef__st_reader **reader,
                       ef_error *error);
void ef__st_close(ef__st_reader *reader);

/* Everything below belongs to the reader. */
const char *ef__st_path(const ef__st_reader *reader);

/* ef__st_find -- the tensor of that name, or NULL. */
const ef__st_tensor *ef__st_find(const ef__st_reader *reader, const char *name);

/* ef__st_need -- the tensor of that name, dtype and shape. Errors: EFORMAT, naming file and tensor,
 * what it is and what it should be. */
ef_status ef__st_need(const ef__st_reader *reader, const char *name, ef__st_dtype dtype,
                      size_t rank, const size_t *dims, const ef__st_tensor **tensor,
                      ef_error *error);

/* ef__st_at -- tensor number index in the order of the data; NULL past the last. */
const ef__st_tensor *ef__st_at(const ef__st_reader *reader, size_t index);

/* ef__st_metadata -- the string of that key, or NULL. */
const char *ef__st_metadata(const ef__st_reader *reader, const char *key);

/* ---- Writing (safetensors_write.c) ---- */

typedef struct ef__st_writer ef__st_writer;

/* ef__st_writer_new -- an empty file in the making; NULL: out of memory. */
ef__st_writer *ef__st_writer_new(void);
void ef__st_writer_free(ef__st_writer *writer);

/* ef__st_put, ef__st_put_metadata -- add a tensor, add a string. Names, keys and values are copied;
 * data is borrowed until ef__st_save. What is wrong with one of them is ef__st_save's to report. */
void ef__st_put(ef__st_writer *writer, const char *name, ef__st_dtype dtype, size_t rank,
                const size_t *dims, const void *data);
void ef__st_put_metadata(ef__st_writer *writer, const char *key, const char *value);

/* ef__st_save -- write the file, whole or not at all (base/file.h). Wider dtypes come first, so
 * that each tensor is aligned in the file; the same puts give the same bytes. Errors: EIO, ENOMEM,
 * EARG (a name twice, rank or size too large, text that is not UTF-8). */
ef_status ef__st_save(ef__st_writer *writer, const char *path, ef_error *error);

#endif
