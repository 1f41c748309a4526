/* ref.h -- what every operation should compute, as plain loops in double precision.
 *
 * Inputs are the arrays that the operation gets (f32, i32, u8); results are double. As in
 * energyflow.h, parameter gradients are added to what the caller put there, all else is
 * overwritten. mag, where there is one, may be NULL: the same sum over absolute values, for error
 * bounds of the form c 2^-24 mag. Nothing here calls the library. */
#ifndef REF_H
#define REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- conv1d; linear is K = 1, d = 1, B = 1, L = rows ---- */

typedef struct ref_conv {
    size_t B, L, Cin, Cout, K, d;
} ref_conv;

/* y [B,L,Cout] = sum_j sum_i x[b, t - (K-1-j) d, i] w[o,i,j], without an epilogue. */
void ref_conv1d_forward(const ref_conv *s, const float *x, const float *w, double *y, double *mag);
/* dx [B,L,Cin] = sum_j sum_o dy[b, t + (K-1-j) d, o] w[o,i,j] */
void ref_conv1d_dx(const ref_conv *s, const float *dy, const float *w, double *dx, double *mag);
/* dw [Cout,Cin,K] +=; mag [Cout,Cin,K] of the sum alone */
void ref_conv1d_dw(const ref_conv *s, const float *x, const float *dy, double *dw, double *mag);
/* db [Cout] += sum over rows of dy; mag [Cout] */
void ref_bias_grad(size_t rows, size_t C, const float *dy, double *db, double *mag);

/* The oracle by another road: cols [B*L, Cin*K] = x[b, t - (K-1-j) d, i] at column i K + j, so that
 * y = cols w^T with w as [Cout, Cin*K]; and its transpose, dx[...] = sum of cols. */
void ref_im2col(const ref_conv *s, const float *x, double *cols);
void ref_col2im(const ref_conv *s, const double *cols, double *dx);

/* ---- epilogue: NULL and false parts are left out; pre (out) and the others [rows,C], mask
 * [rows] */

typedef struct ref_epilogue {
    const float *bias;
    double *pre;
    bool gelu;
    const float *gelu_grad;
    const float *residual;
    const uint8_t *mask;
} ref_epilogue;

void ref_epilogue_apply(const ref_epilogue *e, size_t rows, size_t C, double *z);

/* ---- elementwise ---- */

double ref_gelu(double x);
double ref_gelu_grad(double x);
/* y[r,:] = 0 where mask[r] == 0 */
void ref_mask_rows(size_t rows, size_t C, const uint8_t *mask, double *y);
/* Round to the nearest half, ties to even, as its bits; and back. */
uint16_t ref_half(float x);
float ref_float(uint16_t half);

/* ---- layernorm: mask and residual may be NULL, mean and rstd [rows] too ---- */

void ref_layernorm_forward(size_t rows, size_t C, const float *x, const float *gamma,
                           const float *beta, const uint8_t *mask, double eps, double *y,
                           double *mean, double *rstd);
/* Mean and rstd are computed anew from x. dx, or dgamma with dbeta, may be NULL. */
void ref_layernorm_backward(size_t rows, size_t C, const float *x, const float *gamma,
                            const float *dy, const uint8_t *mask, const float *residual, double eps,
                            double *dx, double *dgamma, double *dbeta);

/* ---- embedding: n ids; an id outside 0..V-1 gives zeros and no gradient, id 0 no gradient; a row
 * of add (NULL: none) for each L ids ---- */

void ref_embedding_forward(size_t n, size_t V, size_t D, size_t L, const int32_t *ids,
                           const float *w, const float *add, double *y);
void ref_embedding_backward(size_t n, size_t V, size_t D, const int32_t *ids, const float *dy,
                            double *dw);

/* ---- masked mean ---- */

void ref_masked_mean_forward(size_t B, size_t L, size_t D, const float *x, const uint8_t *mask,
                             double *y, double *count);
void ref_masked_mean_backward(size_t B, size_t L, size_t D, const float *dy, const uint8_t *mask,
                              double *dx);

/* y[b,:] = sum over the kept steps */
void ref_masked_sum(size_t B, size_t L, size_t D, const float *x, const uint8_t *mask, double *y);

/* ---- softmax cross-entropy: metrics[3] += weight {loss, loss, hits}; dlogits = weight
 * dloss/dlogits or NULL. A target of -100 does not count. */
void ref_cross_entropy_loss(size_t N, size_t V, const float *logits, const int32_t *target,
                            double weight, double *dlogits, double *metrics);

/* ---- count[r] += how many of x[r,:] are not at most level[r] ---- */
void ref_count_above(size_t R, size_t C, const float *x, const float *level, double *count);

/* ---- distillation loss: metrics[3] += weight {loss, mse, cos}; dy = weight dloss/dy or NULL.
 * Where a norm is below 1e-6 it counts as the constant 1e-6. */
void ref_kd_loss(size_t B, size_t E, const float *y, const float *target, double alpha, double beta,
                 double weight, double *metrics, double *dy);

/* ---- optimiser ---- */

typedef struct ref_adam {
    double lr, beta1, beta2, epsilon, weight_decay;
    double scale;  /* gradients are multiplied by it first (clipping) */
    uint64_t step; /* from 1 */
    bool l2;       /* false: AdamW, p *= 1 - lr weight_decay; true: g += weight_decay p */
} ref_adam;

double ref_norm(size_t n, const float *g);
/* What a gradient of this norm is multiplied by: min(1, most / (norm + 1e-6)); most <= 0: 1. */
double ref_clip_scale(double norm, double most);
/* One step over n parameters that share whether they decay. */
void ref_adam_step(const ref_adam *o, bool decay, size_t n, const float *g, double *p, double *m,
                   double *v);

#endif
