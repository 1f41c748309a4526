/* example.h -- a row's examples of the op table with numbers in them: test_ops takes them at small
 * sizes, efbench at a model's. The same sizes give the same numbers. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include "op/op.h"

/* Where the tensors of an epilogue stand, behind the operation's own. */
enum {
    EXAMPLE_BIAS = EF__MAX_TENSORS,
    EXAMPLE_RESIDUAL,
    EXAMPLE_MASK,
    EXAMPLE_PRE,
    EXAMPLE_GELU_GRAD,
    EXAMPLE_TENSORS
};

enum { EXAMPLE_SIZES = 7 }; /* of a model: B, L, D, H, K, V, E */

typedef struct example_array {
    ef_dtype dtype;
    size_t rank, dims[EF_MAX_RANK], count; /* rank 0: left out */
    void *data;                            /* what the tensor holds before the operation */
} example_array;

typedef struct example {
    char shape[80]; /* "B16 L128 D256 H512 K5 d4" */
    example_array t[EXAMPLE_TENSORS];
    ef__args args; /* scalars and sizes; the tensors are for the caller to make and put in */
    bool no_memory;
} example;

void example_make(const ef__op *op, int which, const size_t model[EXAMPLE_SIZES], example *e);
void example_clear(example *e);

/* Give e, which has none, these parts of an epilogue. */
void example_epilogue(example *e, const ef__op *op, int parts);

/* Put the tensors made from e's arrays, NULL where there is none, into args. */
void example_bind(ef__args *args, ef_tensor *const t[EXAMPLE_TENSORS]);

#endif
