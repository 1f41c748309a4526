/* What the cases should give, in double precision: the references of the tests, and for the large
 * products a sample of their elements. Tensors are numbered as in the operations' documentation. */
#include "case.h"
#include "op/conv1d.h"
#include "op/optim.h"
#include "../tests/ref.h"
#include <math.h>
#include <stdlib.h>

enum { SAMPLES = 1000 };

static const float *floats(const bench_case *c, int i)
{
    return c->in.t[i].data;
}

static const uint8_t *bytes(const bench_case *c, int i)
{
    return c->in.t[i].data;
}

/* ---- conv1d and linear: t is x or dy, w or dy, result ---- */

/* Element number s of the sample: all of a few, else the ends and some between. */
static size_t pick(size_t s, size_t count)
{
    if (count <= SAMPLES)
        return s < count ? s : 0;
    return s == 0 ? 0 : s == 1 ? count - 1 : s * 2654435761u % count;
}

/* x[b, t + shift, i], 0 outside of the sample. */
static double at(const size_t *n, const float *x, size_t row, long shift, size_t channels, size_t i)
{
    long t = (long)(row % n[EF__L]) + shift;
    return t < 0 || t >= (long)n[EF__L] ? 0 : x[(size_t)((long)row + shift) * channels + i];
}

static long back(const size_t *n, size_t j)
{
    return (long)((n[EF__K] - 1 - j) * n[EF__D]);
}

/* Forward sums over inputs i of earlier rows, dx over outputs o of later ones. */
static void expect_taps(bench_case *c, bool dx)
{
    const size_t *n = c->in.args.n, I = n[EF__CIN], K = n[EF__K];
    const size_t from = dx ? n[EF__COUT] : I, to = dx ? I : n[EF__COUT];
    for (size_t s = 0; s < SAMPLES; s++) {
        size_t e = pick(s, c->in.t[2].count), row = e / to, r = e % to;
        double sum = 0, mag = 0;
        for (size_t j = 0; j < K; j++)
            for (size_t q = 0; q < from; q++) {
                size_t o = dx ? q : r, i = dx ? r : q;
                double term = at(n, floats(c, 0), row, dx ? back(n, j) : -back(n, j), from, q) *
                              floats(c, 1)[(o * I + i) * K + j];
                sum += term;
                mag += fabs(term);
            }
        c->want[2][e] = sum;
        c->mag[2][e] = mag;
    }
}

void bench_expect_conv1d_forward(bench_case *c)
{
    expect_taps(c, false);
}

void bench_expect_conv1d_dx(bench_case *c)
{
    expect_taps(c, true);
}

void bench_expect_conv1d_dw(bench_case *c)
{
    const size_t *n = c->in.args.n, I = n[EF__CIN], O = n[EF__COUT], K = n[EF__K];
    const size_t rows = n[EF__B] * n[EF__L];
    for (size_t s = 0; s < SAMPLES; s++) {
        size_t e = pick(s, c->in.t[2].count), j = e % K, i = e / K % I, o = e / K / I;
        double sum = 0, mag = 0;
        for (size_t row = 0; row < rows; row++) {
            double term = at(n, floats(c, 0), row, -back(n, j), I, i) * floats(c, 1)[row * O + o];
            sum += term;
            mag += fabs(term);
        }
        c->want[2][e] = sum;
        c->mag[2][e] = mag;
    }
    for (size_t o = 0; o < O; o++)
        c->want[3][o] = 0;
    ref_bias_grad(rows, O, floats(c, 1), c->want[3], c->mag[3]);
}

void bench_expect_linear_forward(bench_case *c)
{
    bench_expect_conv1d_forward(c);
}

void bench_expect_linear_dx(bench_case *c)
{
    bench_expect_conv1d_dx(c);
}

void bench_expect_linear_dw(bench_case *c)
{
    bench_expect_conv1d_dw(c);
}

/* ---- elementwise ---- */

void bench_expect_cast(bench_case *c)
{
    for (size_t i = 0; i < c->in.t[0].count; i++)
        c->want[1][i] = ref_float(ref_half(floats(c, 0)[i]));
}

void bench_expect_residual_add(bench_case *c)
{
    for (size_t i = 0; i < c->in.t[0].count; i++)
        c->want[1][i] = (double)floats(c, 0)[i] + floats(c, 1)[i];
}

static void widen(bench_case *c, int to, int from)
{
    for (size_t i = 0; i < c->in.t[from].count; i++)
        c->want[to][i] = floats(c, from)[i];
}

static size_t columns(const example_array *t)
{
    return t->dims[t->rank - 1];
}

void bench_expect_mask_rows(bench_case *c)
{
    widen(c, 1, 1);
    ref_mask_rows(c->in.t[0].count, columns(&c->in.t[1]), bytes(c, 0), c->want[1]);
}

void bench_expect_epilogue(bench_case *c)
{
    const ref_epilogue e = {.bias = floats(c, EXAMPLE_BIAS),
                            .gelu = true,
                            .residual = floats(c, EXAMPLE_RESIDUAL),
                            .mask = bytes(c, EXAMPLE_MASK)};
    widen(c, 1, 0);
    ref_epilogue_apply(&e, c->in.t[EXAMPLE_MASK].count, columns(&c->in.t[1]), c->want[1]);
}

void bench_expect_gelu_forward(bench_case *c)
{
    for (size_t i = 0; i < c->in.t[0].count; i++)
        c->want[1][i] = ref_gelu(floats(c, 0)[i]);
}

void bench_expect_gelu_backward(bench_case *c)
{
    for (size_t i = 0; i < c->in.t[0].count; i++)
        c->want[2][i] = floats(c, 1)[i] * ref_gelu_grad(floats(c, 0)[i]);
}

void bench_expect_tanh_forward(bench_case *c)
{
    for (size_t i = 0; i < c->in.t[0].count; i++)
        c->want[1][i] = tanh(floats(c, 0)[i]);
}

void bench_expect_tanh_backward(bench_case *c)
{
    for (size_t i = 0; i < c->in.t[0].count; i++)
        c->want[2][i] = floats(c, 1)[i] * (1 - (double)floats(c, 0)[i] * floats(c, 0)[i]);
}

/* ---- layernorm, embedding, masked mean, loss ---- */

void bench_expect_layernorm_forward(bench_case *c)
{
    ref_layernorm_forward(c->in.t[3].count, c->in.t[1].count, floats(c, 0), floats(c, 1),
                          floats(c, 2), bytes(c, 3), c->in.args.f[0], c->want[4], c->want[5],
                          c->want[6]);
    for (size_t r = 0; r < c->in.t[3].count; r++)
        if (bytes(c, 3)[r] == 0)
            c->want[5][r] = c->want[6][r] = NAN; /* a masked row has no moments */
}

static void zero(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = 0;
}

/* Its mean and rstd are those of its x. */
static void put_moments(bench_case *c, size_t rows, size_t C)
{
    double *y = c->want[7], *moments = malloc(2 * rows * sizeof *moments);
    c->in.no_memory = !moments;
    if (!moments)
        return;
    ref_layernorm_forward(rows, C, floats(c, 0), floats(c, 1), floats(c, 1), NULL, 1e-5, y, moments,
                          moments + rows);
    for (size_t r = 0; r < rows; r++) {
        ((float *)c->in.t[2].data)[r] = (float)moments[r];
        ((float *)c->in.t[3].data)[r] = (float)moments[rows + r];
    }
    free(moments);
}

void bench_expect_layernorm_backward(bench_case *c)
{
    const size_t rows = c->in.t[5].count, C = c->in.t[1].count;
    put_moments(c, rows, C);
    zero(c->want[8], C);
    zero(c->want[9], C);
    ref_layernorm_backward(rows, C, floats(c, 0), floats(c, 1), floats(c, 4), bytes(c, 5),
                           floats(c, 6), 1e-5, c->want[7], c->want[8], c->want[9]);
}

void bench_expect_embedding_forward(bench_case *c)
{
    const size_t n = c->in.t[0].count;
    ref_embedding_forward(n, c->in.t[1].dims[0], c->in.t[1].dims[1], n / c->in.t[3].dims[0],
                          c->in.t[0].data, floats(c, 1), floats(c, 3), c->want[2]);
}

void bench_expect_embedding_backward(bench_case *c)
{
    zero(c->want[2], c->in.t[2].count);
    ref_embedding_backward(c->in.t[0].count, c->in.t[2].dims[0], c->in.t[2].dims[1],
                           c->in.t[0].data, floats(c, 1), c->want[2]);
}

void bench_expect_masked_mean_forward(bench_case *c)
{
    const size_t *d = c->in.t[0].dims;
    ref_masked_mean_forward(d[0], d[1], d[2], floats(c, 0), bytes(c, 1), c->want[2], c->want[3]);
}

void bench_expect_masked_mean_backward(bench_case *c)
{
    const size_t *d = c->in.t[3].dims;
    float *count = c->in.t[2].data;
    for (size_t b = 0; b < d[0]; b++) {
        count[b] = 0;
        for (size_t l = 0; l < d[1]; l++)
            count[b] += bytes(c, 1)[b * d[1] + l];
    }
    ref_masked_mean_backward(d[0], d[1], d[2], floats(c, 0), bytes(c, 1), c->want[3]);
}

void bench_expect_masked_sum(bench_case *c)
{
    const size_t *d = c->in.t[0].dims;
    ref_masked_sum(d[0], d[1], d[2], floats(c, 0), bytes(c, 1), c->want[2]);
}

/* What is wanted of tensor t, times the loss scale in tensor scale. */
static void scaled(bench_case *c, size_t t, size_t scale)
{
    for (size_t i = 0; i < c->in.t[t].count; i++)
        c->want[t][i] *= floats(c, scale)[0];
}

void bench_expect_cross_entropy_loss(bench_case *c)
{
    zero(c->want[3], 3);
    ref_cross_entropy_loss(c->in.t[0].dims[0], c->in.t[0].dims[1], floats(c, 0), c->in.t[1].data,
                           c->in.args.f[0], c->want[2], c->want[3]);
    scaled(c, 2, 4);
}

/* One row: what its older taps read is not where it is put. */
void bench_expect_ring_taps(bench_case *c)
{
    const size_t *taps = c->in.t[1].dims, C = taps[2], K = taps[3], R = c->in.t[2].dims[1];
    const size_t d = c->in.args.n[EF__D], slot = (size_t)c->in.args.f[0];
    widen(c, 2, 2);
    for (size_t i = 0; i < taps[0] * C; i++) {
        double *ring = c->want[2] + i / C * R * C + i % C;
        ring[slot * C] = floats(c, 0)[i];
        for (size_t j = 0; j < K; j++)
            c->want[1][i * K + j] = ring[(slot + R - (K - 1 - j) * d) % R * C];
    }
}

void bench_expect_token_choose(bench_case *c)
{
    const size_t N = c->in.t[0].dims[0], V = c->in.t[0].dims[1];
    for (size_t n = 0; n < N; n++) {
        size_t best = 0;
        for (size_t v = 1; v < V; v++)
            if (floats(c, 0)[n * V + v] > floats(c, 0)[n * V + best])
                best = v;
        c->want[1][n] = (double)best;
    }
}

void bench_expect_count_above(bench_case *c)
{
    const size_t *d = c->in.t[0].dims;
    zero(c->want[2], d[0]);
    ref_count_above(d[0], d[1], floats(c, 0), floats(c, 1), c->want[2]);
}

void bench_expect_kd_loss(bench_case *c)
{
    const float *f = c->in.args.f;
    zero(c->want[2], 3);
    ref_kd_loss(c->in.t[0].dims[0], c->in.t[0].dims[1], floats(c, 0), floats(c, 1), f[0], f[1],
                f[2], c->want[2], c->want[3]);
    scaled(c, 3, 4);
}

/* ---- optimiser ---- */

void bench_expect_optim_norm(bench_case *c)
{
    const float scale = floats(c, 5)[0];
    c->want[2][EF_METRIC_GRAD_NORM] = ref_norm(c->in.t[0].count, floats(c, 0)) / scale;
    c->want[2][EF_METRIC_STEPS] = 2; /* one was made */
    c->want[2][EF_METRIC_LR] = c->in.args.f[0];
    c->want[2][EF_METRIC_SCALE] = scale;
}

/* The first and the last chunk. */
void bench_expect_optim_update(bench_case *c)
{
    const float *f = c->in.args.f, norm = 2, scale = 4;
    const ref_adam rule = {.lr = f[0],
                           .beta1 = f[1],
                           .beta2 = f[2],
                           .epsilon = f[3],
                           .weight_decay = f[4],
                           .scale = ref_clip_scale(norm, f[5]) / scale,
                           .step = 1};
    const size_t starts[] = {0, c->in.t[3].count - EF__CHUNK};
    ((float *)c->in.t[2].data)[EF_METRIC_GRAD_NORM] = norm;
    ((float *)c->in.t[2].data)[EF_METRIC_SCALE] = scale;
    for (int k = 0; k < 2; k++) {
        for (size_t i = starts[k]; i < starts[k] + EF__CHUNK; i++) {
            c->want[3][i] = floats(c, 3)[i];
            c->want[4][i] = 0;
            c->want[5][i] = floats(c, 5)[i];
            c->want[6][i] = floats(c, 6)[i];
        }
        ref_adam_step(&rule, true, EF__CHUNK, floats(c, 4) + starts[k], c->want[3] + starts[k],
                      c->want[5] + starts[k], c->want[6] + starts[k]);
    }
}
