/* case.h -- an operation with arguments at a model's shape, and what it should give. */
#ifndef BENCH_CASE_H
#define BENCH_CASE_H

#include "bench.h"

/* Where the tensors of an epilogue stand in a case, behind the operation's own. */
enum { BENCH_BIAS = EF__MAX_TENSORS, BENCH_RESIDUAL, BENCH_MASK, BENCH_TENSORS };

typedef struct bench_array {
    ef_dtype dtype;
    size_t rank, dims[EF_MAX_RANK], count; /* rank 0: left out */
    void *data;                            /* what the tensor holds before the operation */
} bench_array;

typedef struct bench_case {
    ef__op_id id;
    char shape[80];
    bench_array t[BENCH_TENSORS];
    ef__args args;                 /* scalars and sizes; the runner fills in the tensors */
    double *want[EF__MAX_TENSORS]; /* of written tensors, NaN: not known; made by the runner */
    bool no_memory;
} bench_case;

typedef struct bench_case_row {
    ef__op_id id;
    void (*make)(bench_case *c, const bench_shape *s);
    void (*expect)(bench_case *c); /* fills in want; args.n is what the operation's check gave */
} bench_case_row;

/* Ends with a row whose make is NULL. */
extern const bench_case_row bench_cases[];

void bench_case_clear(bench_case *c);

/* expect.c */
void bench_expect_conv_forward(bench_case *c);
void bench_expect_conv_dx(bench_case *c);
void bench_expect_conv_dw(bench_case *c);
void bench_expect_cast(bench_case *c);
void bench_expect_residual_add(bench_case *c);
void bench_expect_mask_rows(bench_case *c);
void bench_expect_epilogue(bench_case *c);
void bench_expect_gelu_forward(bench_case *c);
void bench_expect_gelu_backward(bench_case *c);
void bench_expect_tanh_forward(bench_case *c);
void bench_expect_tanh_backward(bench_case *c);
void bench_expect_layernorm_forward(bench_case *c);
void bench_expect_layernorm_backward(bench_case *c);
void bench_expect_embedding_forward(bench_case *c);
void bench_expect_embedding_backward(bench_case *c);
void bench_expect_masked_mean_forward(bench_case *c);
void bench_expect_masked_mean_backward(bench_case *c);
void bench_expect_kd_loss(bench_case *c);
void bench_expect_optim_norm(bench_case *c);
void bench_expect_optim_update(bench_case *c);

#endif
