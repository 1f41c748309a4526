/* clblast_space.h -- the parameters of CLBlast's GEMM: the values that its own tuners try, and the
 * rules that its override does not check (CLBlast 1.5.3 to 1.7.0, src/tuning/kernels/). A set that
 * breaks one builds or launches wrongly, or computes wrong numbers. */
#ifndef TUNE_CLBLAST_SPACE_H
#define TUNE_CLBLAST_SPACE_H

#include "space.h"

typedef enum tune_clblast_set {
    TUNE_XGEMM_1, /* GEMMK 0, few; XGEMM_2: many */
    TUNE_XGEMM_2,
    TUNE_XGEMM_11, /* GEMMK 1, few; XGEMM_12: many */
    TUNE_XGEMM_12,
    TUNE_XGEMM_DIRECT_1,
    TUNE_XGEMM_DIRECT_2,
    TUNE_COPY,
    TUNE_PAD,
    TUNE_TRANSPOSE,
    TUNE_PADTRANSPOSE,
    TUNE_GEMM_ROUTINE, /* which kernel: always the indirect one, or always the direct one */
    TUNE_CLBLAST_SETS
} tune_clblast_set;

/* What bounds a set on a device. */
typedef struct tune_clblast_limits {
    size_t group;       /* items of a work-group */
    size_t item[2];     /* of its first two dimensions */
    size_t local_bytes; /* memory of a work-group */
    int version;        /* CLBlast's: 10503 is 1.5.3; 0: not known */
} tune_clblast_limits;

typedef struct tune_clblast_group {
    size_t item[2], local_bytes;
} tune_clblast_group;

/* The kernel name for CLBlastOverrideParameters, which wants every parameter of the part. */
const char *tune_clblast_kernel(tune_clblast_set set);
const tune_part *tune_clblast_part(tune_clblast_set set);

/* What a work-group of the kernel takes in single precision, of a point of that set. */
tune_clblast_group tune_clblast_group_of(tune_clblast_set set, const tune_point *point);

/* tune_clblast_space -- the valid points of sets[count], one part each. NULL: out of memory. */
tune_space *tune_clblast_space(const tune_clblast_set *sets, size_t count,
                               const tune_clblast_limits *limits);

#endif
