/* clblast_space.h -- the parameters of CLBlast's GEMM (op/clblast.h) as spaces, in the sets that
 * its own tuners try: few of the values of the kernels of the product, or many. */
#ifndef TUNE_CLBLAST_SPACE_H
#define TUNE_CLBLAST_SPACE_H

#include "op/clblast.h"
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
    TUNE_GEMM_ROUTINE, /* always the indirect kernel, or always the direct one */
    TUNE_CLBLAST_SETS
} tune_clblast_set;

/* What a set is of, and its values; a point of the part has them in the order of the library. */
ef__clblast_id tune_clblast_id(tune_clblast_set set);
tune_part tune_clblast_part(tune_clblast_set set);

/* tune_clblast_space -- the valid points of sets[count], one part each. NULL: out of memory. */
tune_space *tune_clblast_space(const tune_clblast_set *sets, size_t count,
                               const ef__clblast_limits *limits);

/* The same in fewer parameters, each of which can be changed alone: those that go with another
 * (MDIMA with MDIMC, say, and NWG with MWG where they have to be equal) are left out. */
tune_space *tune_clblast_tied_space(const tune_clblast_set *sets, size_t count,
                                    const ef__clblast_limits *limits);

/* The values of a point of that, of that set, in the order of the library. */
void tune_clblast_untie(tune_clblast_set set, const ef__clblast_limits *limits,
                        const tune_point *point, int values[EF__CLBLAST_PARAMETERS]);

#endif
