/* The arguments of every operation, as the full model has them. Tensors are numbered as in the
 * operations' documentation; what is added to starts at zero. */
#include "case.h"
#include "base/size.h"
#include "op/conv1d.h"
#include "op/optim.h"
#include "../tests/ref.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DILATION = 4 };

typedef enum fill {
    ZERO,
    NORMAL, /* mean 0, variance 1 */
    ABOUT_ONE,
    KEPT, /* u8: the last sixteenth of every other sample is masked */
    IDS   /* i32 from 1 to V - 1 */
} fill;

static double draw(uint64_t *state) /* -1 .. 1 */
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 32) / 2147483648.0 - 1;
}

static void fill_array(bench_array *t, fill how, size_t limit, uint64_t seed)
{
    size_t L = t->dims[t->rank - 1];
    for (size_t i = 0; i < t->count; i++) {
        if (how == NORMAL)
            ((float *)t->data)[i] = (float)(1.7320508 * draw(&seed));
        else if (how == ABOUT_ONE)
            ((float *)t->data)[i] = (float)(1 + draw(&seed) / 4);
        else if (how == KEPT)
            ((uint8_t *)t->data)[i] = i / L % 2 == 0 || i % L < L - L / 16;
        else if (how == IDS)
            ((int32_t *)t->data)[i] = 1 + (int32_t)((draw(&seed) + 1) / 2 * (double)(limit - 1));
    }
}

/* dims end at the first 0. limit: of ids. */
static void put(bench_case *c, int i, ef_dtype dtype, fill how, size_t limit,
                const size_t dims[EF_MAX_RANK])
{
    bench_array *t = &c->t[i];
    *t = (bench_array){.dtype = dtype, .count = 1};
    for (; t->rank < EF_MAX_RANK && dims[t->rank]; t->rank++) {
        t->dims[t->rank] = dims[t->rank];
        t->count *= dims[t->rank];
    }
    t->data = calloc(t->count, sizeof(float));
    if (t->data)
        fill_array(t, how, limit, (uint64_t)i + 1);
    else
        c->no_memory = true;
}

#define DIMS(...) ((const size_t[EF_MAX_RANK]){__VA_ARGS__})

static void put_f32(bench_case *c, int i, fill how, const size_t dims[EF_MAX_RANK])
{
    put(c, i, EF_F32, how, 0, dims);
}

static void put_mask(bench_case *c, int i, const bench_shape *s)
{
    put(c, i, EF_U8, KEPT, 0, DIMS(s->B, s->L));
}

void bench_case_clear(bench_case *c)
{
    for (int i = 0; i < BENCH_TENSORS; i++)
        free(c->t[i].data);
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        free(c->want[i]);
}

/* ---- conv1d: conv1 and conv2 of a block; linear: proj, and conv2 as one ---- */

/* x [B,L,in] with w [out,in,K], all three directions. */
static void make_conv(bench_case *c, const bench_shape *s, size_t in, size_t out, size_t K)
{
    const size_t *x = DIMS(s->B, s->L, in), *y = DIMS(s->B, s->L, out), *w = DIMS(out, in, K);
    size_t d = K > 1 ? DILATION : 1;
    bool dx = c->id == EF__CONV1D_DX, dw = c->id == EF__CONV1D_DW;
    snprintf(c->shape, sizeof c->shape, "B%zu L%zu %zu->%zu K%zu d%zu", s->B, s->L, in, out, K, d);
    c->args.n[EF__D] = d;
    put_f32(c, 0, NORMAL, dx ? y : x);
    put_f32(c, 1, NORMAL, dw ? y : w);
    put_f32(c, 2, ZERO, dx ? x : dw ? w : y);
    if (dw)
        put_f32(c, 3, ZERO, DIMS(out));
}

static void make_conv1(bench_case *c, const bench_shape *s)
{
    make_conv(c, s, s->D, s->H, s->K);
}

static void make_conv2(bench_case *c, const bench_shape *s)
{
    make_conv(c, s, s->H, s->D, 1);
}

static void make_linear(bench_case *c, size_t rows, size_t in, size_t out)
{
    const size_t *x = DIMS(rows, in), *y = DIMS(rows, out), *w = DIMS(out, in);
    bool dx = c->id == EF__LINEAR_DX, dw = c->id == EF__LINEAR_DW;
    snprintf(c->shape, sizeof c->shape, "rows%zu %zu->%zu", rows, in, out);
    put_f32(c, 0, NORMAL, dx ? y : x);
    put_f32(c, 1, NORMAL, dw ? y : w);
    put_f32(c, 2, ZERO, dx ? x : dw ? w : y);
    if (dw)
        put_f32(c, 3, ZERO, DIMS(out));
}

static void make_proj(bench_case *c, const bench_shape *s)
{
    make_linear(c, s->B, s->D, s->E);
}

static void make_wide(bench_case *c, const bench_shape *s)
{
    make_linear(c, s->B * s->L, s->H, s->D);
}

/* ---- elementwise: on the width D, gelu and the epilogue on H ---- */

static const size_t *activations(bench_case *c, const bench_shape *s, size_t C, size_t dims[4])
{
    snprintf(c->shape, sizeof c->shape, "B%zu L%zu %zu", s->B, s->L, C);
    dims[0] = s->B, dims[1] = s->L, dims[2] = C, dims[3] = 0;
    return dims;
}

static void make_cast(bench_case *c, const bench_shape *s)
{
    size_t dims[4];
    activations(c, s, s->D, dims);
    put_f32(c, 0, NORMAL, dims);
    put(c, 1, EF_F16, ZERO, 0, dims);
}

/* The first tensors, all [B,L,C]. */
static void put_alike(bench_case *c, const bench_shape *s, size_t C, int count, const fill *how)
{
    size_t dims[4];
    activations(c, s, C, dims);
    for (int i = 0; i < count; i++)
        put_f32(c, i, how[i], dims);
}

static void make_residual_add(bench_case *c, const bench_shape *s)
{
    put_alike(c, s, s->D, 2, (const fill[]){NORMAL, NORMAL});
}

static void make_forward(bench_case *c, const bench_shape *s)
{
    put_alike(c, s, s->H, 2, (const fill[]){NORMAL, ZERO});
}

static void make_backward(bench_case *c, const bench_shape *s)
{
    put_alike(c, s, s->H, 3, (const fill[]){NORMAL, NORMAL, ZERO});
}

static void make_mask_rows(bench_case *c, const bench_shape *s)
{
    size_t dims[4];
    put_mask(c, 0, s);
    put_f32(c, 1, NORMAL, activations(c, s, s->D, dims));
}

static void make_epilogue(bench_case *c, const bench_shape *s)
{
    size_t dims[4];
    activations(c, s, s->H, dims);
    put_f32(c, 0, NORMAL, dims);
    put_f32(c, 1, ZERO, dims);
    put_f32(c, BENCH_BIAS, NORMAL, DIMS(s->H));
    put_f32(c, BENCH_RESIDUAL, NORMAL, dims);
    put_mask(c, BENCH_MASK, s);
    c->args.epilogue.gelu = true;
}

/* ---- layernorm, embedding, masked mean, loss ---- */

static void make_layernorm_forward(bench_case *c, const bench_shape *s)
{
    size_t dims[4];
    c->args.f[0] = 1e-5f;
    put_f32(c, 0, NORMAL, activations(c, s, s->D, dims));
    put_f32(c, 1, ABOUT_ONE, DIMS(s->D));
    put_f32(c, 2, NORMAL, DIMS(s->D));
    put_mask(c, 3, s);
    put_f32(c, 4, ZERO, dims);
    put_f32(c, 5, ZERO, DIMS(s->B * s->L));
    put_f32(c, 6, ZERO, DIMS(s->B * s->L));
}

/* Mean and rstd of its x. */
static void fill_moments(bench_case *c, size_t rows, size_t D)
{
    double *y = malloc(rows * D * sizeof *y), *moments = malloc(2 * rows * sizeof *moments);
    if (y && moments)
        ref_layernorm_forward(rows, D, c->t[0].data, c->t[1].data, c->t[1].data, NULL, 1e-5, y,
                              moments, moments + rows);
    else
        c->no_memory = true;
    for (size_t r = 0; r < rows && !c->no_memory; r++) {
        ((float *)c->t[2].data)[r] = (float)moments[r];
        ((float *)c->t[3].data)[r] = (float)moments[rows + r];
    }
    free(y);
    free(moments);
}

static void make_layernorm_backward(bench_case *c, const bench_shape *s)
{
    size_t dims[4], rows = s->B * s->L;
    put_f32(c, 0, NORMAL, activations(c, s, s->D, dims));
    put_f32(c, 1, ABOUT_ONE, DIMS(s->D));
    put_f32(c, 2, ZERO, DIMS(rows));
    put_f32(c, 3, ZERO, DIMS(rows));
    put_f32(c, 4, NORMAL, dims);
    put_mask(c, 5, s);
    put_f32(c, 6, NORMAL, dims);
    put_f32(c, 7, ZERO, dims);
    put_f32(c, 8, ZERO, DIMS(s->D));
    put_f32(c, 9, ZERO, DIMS(s->D));
    if (!c->no_memory)
        fill_moments(c, rows, s->D);
}

static void make_embedding(bench_case *c, const bench_shape *s)
{
    const size_t *table = DIMS(s->V, s->D), *rows = DIMS(s->B, s->L, s->D);
    bool back = c->id == EF__EMBEDDING_BACKWARD;
    snprintf(c->shape, sizeof c->shape, "B%zu L%zu V%zu D%zu", s->B, s->L, s->V, s->D);
    put(c, 0, EF_I32, IDS, s->V, DIMS(s->B, s->L));
    put_f32(c, 1, NORMAL, back ? rows : table);
    put_f32(c, 2, ZERO, back ? table : rows);
}

static void make_masked_mean_forward(bench_case *c, const bench_shape *s)
{
    size_t dims[4];
    put_f32(c, 0, NORMAL, activations(c, s, s->D, dims));
    put_mask(c, 1, s);
    put_f32(c, 2, ZERO, DIMS(s->B, s->D));
    put_f32(c, 3, ZERO, DIMS(s->B));
}

static void make_masked_mean_backward(bench_case *c, const bench_shape *s)
{
    size_t dims[4];
    put_f32(c, 0, NORMAL, DIMS(s->B, s->D));
    put_mask(c, 1, s);
    put_f32(c, 2, ZERO, DIMS(s->B));
    put_f32(c, 3, ZERO, activations(c, s, s->D, dims));
    for (size_t i = 0; i < s->B * s->L && !c->no_memory; i++)
        ((float *)c->t[2].data)[i / s->L] += ((uint8_t *)c->t[1].data)[i];
}

static void make_kd_loss(bench_case *c, const bench_shape *s)
{
    const float scalars[] = {1, 1, 1}; /* alpha, beta, weight */
    snprintf(c->shape, sizeof c->shape, "B%zu E%zu", s->B, s->E);
    memcpy(c->args.f, scalars, sizeof scalars);
    put_f32(c, 0, NORMAL, DIMS(s->B, s->E));
    put_f32(c, 1, NORMAL, DIMS(s->B, s->E));
    put_f32(c, 2, ZERO, DIMS(EF_METRICS));
    put_f32(c, 3, ZERO, DIMS(s->B, s->E));
}

/* ---- optimiser: an arena as large as the model's ---- */

static size_t arena(bench_case *c, const bench_shape *s)
{
    size_t block = s->D * s->H * (s->K + 1) + s->H + 3 * s->D;
    size_t count = ef__round_up((s->V + s->E) * s->D + s->E + 4 * block, EF__CHUNK);
    snprintf(c->shape, sizeof c->shape, "%zu parameters", count);
    return count;
}

static void put_state(bench_case *c, int table, int metrics, int counts, size_t count)
{
    put(c, table, EF_I32, ZERO, 0, DIMS(count / EF__CHUNK));
    put_f32(c, metrics, ZERO, DIMS(EF_METRICS));
    put(c, counts, EF_I32, ZERO, 0, DIMS(EF__COUNTS));
    for (size_t i = 0; i < count / EF__CHUNK && !c->no_memory; i++)
        ((int32_t *)c->t[table].data)[i] = EF__DECAY | EF__TRAINABLE;
}

static void make_optim_norm(bench_case *c, const bench_shape *s)
{
    size_t count = arena(c, s);
    put_f32(c, 0, NORMAL, DIMS(count));
    put_state(c, 1, 2, 3, count);
    c->args.f[0] = 1e-3f;
}

static void make_optim_update(bench_case *c, const bench_shape *s)
{
    const float scalars[] = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, 0}; /* as in op/optim.c */
    size_t count = arena(c, s);
    memcpy(c->args.f, scalars, sizeof scalars);
    put_state(c, 0, 2, 1, count);
    for (int i = 3; i < 6; i++)
        put_f32(c, i, NORMAL, DIMS(count));
    put_f32(c, 6, ABOUT_ONE, DIMS(count));
    if (c->no_memory)
        return;
    ((int32_t *)c->t[1].data)[EF__COUNT_STEPS] = 1;
    ((float *)c->t[2].data)[EF_METRIC_GRAD_NORM] = 2;
}

const bench_case_row bench_cases[] = {
    {EF__CONV1D_FORWARD, make_conv1, bench_expect_conv_forward},
    {EF__CONV1D_DX, make_conv1, bench_expect_conv_dx},
    {EF__CONV1D_DW, make_conv1, bench_expect_conv_dw},
    {EF__CONV1D_FORWARD, make_conv2, bench_expect_conv_forward},
    {EF__CONV1D_DX, make_conv2, bench_expect_conv_dx},
    {EF__CONV1D_DW, make_conv2, bench_expect_conv_dw},
    {EF__LINEAR_FORWARD, make_proj, bench_expect_conv_forward},
    {EF__LINEAR_DX, make_proj, bench_expect_conv_dx},
    {EF__LINEAR_DW, make_proj, bench_expect_conv_dw},
    {EF__LINEAR_FORWARD, make_wide, bench_expect_conv_forward},
    {EF__LINEAR_DX, make_wide, bench_expect_conv_dx},
    {EF__LINEAR_DW, make_wide, bench_expect_conv_dw},
    {EF__LAYERNORM_FORWARD, make_layernorm_forward, bench_expect_layernorm_forward},
    {EF__LAYERNORM_BACKWARD, make_layernorm_backward, bench_expect_layernorm_backward},
    {EF__GELU_FORWARD, make_forward, bench_expect_gelu_forward},
    {EF__GELU_BACKWARD, make_backward, bench_expect_gelu_backward},
    {EF__TANH_FORWARD, make_forward, bench_expect_tanh_forward},
    {EF__TANH_BACKWARD, make_backward, bench_expect_tanh_backward},
    {EF__EPILOGUE, make_epilogue, bench_expect_epilogue},
    {EF__CAST, make_cast, bench_expect_cast},
    {EF__RESIDUAL_ADD, make_residual_add, bench_expect_residual_add},
    {EF__MASK_ROWS, make_mask_rows, bench_expect_mask_rows},
    {EF__EMBEDDING_FORWARD, make_embedding, bench_expect_embedding_forward},
    {EF__EMBEDDING_BACKWARD, make_embedding, bench_expect_embedding_backward},
    {EF__MASKED_MEAN_FORWARD, make_masked_mean_forward, bench_expect_masked_mean_forward},
    {EF__MASKED_MEAN_BACKWARD, make_masked_mean_backward, bench_expect_masked_mean_backward},
    {EF__KD_LOSS, make_kd_loss, bench_expect_kd_loss},
    {EF__OPTIM_NORM, make_optim_norm, bench_expect_optim_norm},
    {EF__OPTIM_UPDATE, make_optim_update, bench_expect_optim_update},
    {0},
};
