/* import.h -- the two older formats of a projection: little-endian, nothing aligned.
 *   EFCK1  "EFCK1", u32 out, u32 in, u32 has_bias, f32 weight [out,in], f32 bias [out] if there
 *   EFOP1  "EFOP1", u32 steps, u32 n, then for each of n parameters u32 count, f32 m [count], f32 v
 *          [count]: those of the weight, then those of the bias */
#ifndef EF_TRAIN_IMPORT_H
#define EF_TRAIN_IMPORT_H

#include "base/error.h"

/* What a file holds: pointers of any alignment into it. */
typedef struct ef__efck {
    uint32_t out, in;
    const unsigned char *weight, *bias; /* bias NULL: none */
} ef__efck;

enum { EF__EFOP_PARTS = 2 };

typedef struct ef__efop {
    uint32_t steps, parts;
    uint32_t count[EF__EFOP_PARTS];
    const unsigned char *m[EF__EFOP_PARTS], *v[EF__EFOP_PARTS];
} ef__efop;

/* All of the memory is checked, values too; path is for messages. Errors: EFORMAT. */
ef_status ef__efck_parse(const char *path, const unsigned char *data, size_t bytes, ef__efck *efck,
                         ef_error *error);
ef_status ef__efop_parse(const char *path, const unsigned char *data, size_t bytes, ef__efop *efop,
                         ef_error *error);

#endif
