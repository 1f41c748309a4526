/* ref.c -- the references of ref.h. Every loop is written as its formula reads. */
#include "ref.h"
#include <math.h>
#include <string.h>

static void clear(double *p, size_t n)
{
    if (p)
        memset(p, 0, n * sizeof *p);
}

static void add_product(double *sum, double *mag, size_t i, double a, double b)
{
    sum[i] += a * b;
    if (mag)
        mag[i] += fabs(a * b);
}

/* ---- conv1d ---- */

/* The position that tap j of position t sees; false when it lies before the start. */
static bool seen(const ref_conv *s, size_t t, size_t j, size_t *at)
{
    size_t back = (s->K - 1 - j) * s->d;
    *at = t - back;
    return t >= back;
}

static size_t w_index(const ref_conv *s, size_t o, size_t i, size_t j)
{
    return (o * s->Cin + i) * s->K + j;
}

void ref_conv1d_forward(const ref_conv *s, const float *x, const float *w, double *y, double *mag)
{
    size_t at;
    clear(y, s->B * s->L * s->Cout);
    clear(mag, s->B * s->L * s->Cout);
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->L; t++)
            for (size_t j = 0; j < s->K; j++) {
                if (!seen(s, t, j, &at))
                    continue;
                const float *row = x + (b * s->L + at) * s->Cin;
                for (size_t o = 0; o < s->Cout; o++)
                    for (size_t i = 0; i < s->Cin; i++)
                        add_product(y, mag, (b * s->L + t) * s->Cout + o, row[i],
                                    w[w_index(s, o, i, j)]);
            }
}

void ref_conv1d_dx(const ref_conv *s, const float *dy, const float *w, double *dx, double *mag)
{
    size_t at;
    clear(dx, s->B * s->L * s->Cin);
    clear(mag, s->B * s->L * s->Cin);
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->L; t++)
            for (size_t j = 0; j < s->K; j++) {
                if (!seen(s, t, j, &at))
                    continue;
                const float *row = dy + (b * s->L + t) * s->Cout;
                for (size_t o = 0; o < s->Cout; o++)
                    for (size_t i = 0; i < s->Cin; i++)
                        add_product(dx, mag, (b * s->L + at) * s->Cin + i, row[o],
                                    w[w_index(s, o, i, j)]);
            }
}

void ref_conv1d_dw(const ref_conv *s, const float *x, const float *dy, double *dw, double *mag)
{
    size_t at;
    clear(mag, s->Cout * s->Cin * s->K);
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->L; t++)
            for (size_t j = 0; j < s->K; j++) {
                if (!seen(s, t, j, &at))
                    continue;
                const float *in = x + (b * s->L + at) * s->Cin;
                const float *out = dy + (b * s->L + t) * s->Cout;
                for (size_t o = 0; o < s->Cout; o++)
                    for (size_t i = 0; i < s->Cin; i++)
                        add_product(dw, mag, w_index(s, o, i, j), out[o], in[i]);
            }
}

void ref_bias_grad(size_t rows, size_t C, const float *dy, double *db, double *mag)
{
    clear(mag, C);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < C; c++)
            add_product(db, mag, c, dy[r * C + c], 1);
}

void ref_im2col(const ref_conv *s, const float *x, double *cols)
{
    size_t at;
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->L; t++)
            for (size_t i = 0; i < s->Cin; i++)
                for (size_t j = 0; j < s->K; j++)
                    cols[((b * s->L + t) * s->Cin + i) * s->K + j] =
                        seen(s, t, j, &at) ? x[(b * s->L + at) * s->Cin + i] : 0;
}

void ref_col2im(const ref_conv *s, const double *cols, double *dx)
{
    size_t at;
    clear(dx, s->B * s->L * s->Cin);
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->L; t++)
            for (size_t i = 0; i < s->Cin; i++)
                for (size_t j = 0; j < s->K; j++)
                    if (seen(s, t, j, &at))
                        dx[(b * s->L + at) * s->Cin + i] +=
                            cols[((b * s->L + t) * s->Cin + i) * s->K + j];
}

/* ---- epilogue and elementwise ---- */

static const double gelu_c = 0.7978845608028654, gelu_a = 0.044715;

double ref_gelu(double x)
{
    return x / (1 + exp(-2 * gelu_c * (x + gelu_a * x * x * x)));
}

double ref_gelu_grad(double x)
{
    double p = 1 / (1 + exp(-2 * gelu_c * (x + gelu_a * x * x * x)));
    return p + 2 * x * p * (1 - p) * gelu_c * (1 + 3 * gelu_a * x * x);
}

static double epilogue_one(const ref_epilogue *e, size_t i, size_t c, double z)
{
    if (e->bias)
        z += e->bias[c];
    if (e->pre)
        e->pre[i] = z;
    if (e->gelu)
        z = ref_gelu(z);
    if (e->gelu_grad)
        z *= ref_gelu_grad(e->gelu_grad[i]);
    if (e->residual)
        z += e->residual[i];
    return z;
}

void ref_epilogue_apply(const ref_epilogue *e, size_t rows, size_t C, double *z)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < C; c++)
            z[r * C + c] = epilogue_one(e, r * C + c, c, z[r * C + c]);
    if (e->mask)
        ref_mask_rows(rows, C, e->mask, z);
}

void ref_mask_rows(size_t rows, size_t C, const uint8_t *mask, double *y)
{
    for (size_t r = 0; r < rows; r++)
        if (!mask[r])
            clear(y + r * C, C);
}

uint16_t ref_half(float x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    double a = fabs((double)x);
    int e;
    if (isnan(x))
        return sign | 0x7e00;
    if (a >= 65520) /* halfway between the largest half and 2^16 */
        return sign | 0x7c00;
    frexp(a, &e); /* a = f 2^e, 1/2 <= f < 1 */
    if (a == 0 || e < -13)
        e = -13; /* subnormal halves are multiples of 2^-24 */
    double ulps = nearbyint(ldexp(a, 11 - e));
    /* Adding lets a mantissa that was rounded up carry into the exponent. */
    return sign | (uint16_t)(ulps + (e + 13) * 1024);
}

float ref_float(uint16_t half)
{
    int e = half >> 10 & 31, m = half & 1023;
    double a = e == 31 ? (m ? NAN : INFINITY) : (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
    return (float)(half & 0x8000 ? -a : a);
}

/* ---- layernorm ---- */

static void moments(const float *x, size_t C, double eps, double *mean, double *rstd)
{
    double sum = 0, squares = 0;
    for (size_t c = 0; c < C; c++)
        sum += x[c];
    *mean = sum / C;
    for (size_t c = 0; c < C; c++)
        squares += (x[c] - *mean) * (x[c] - *mean);
    *rstd = 1 / sqrt(squares / C + eps);
}

void ref_layernorm_forward(size_t rows, size_t C, const float *x, const float *gamma,
                           const float *beta, const uint8_t *mask, double eps, double *y,
                           double *mean, double *rstd)
{
    for (size_t r = 0; r < rows; r++) {
        double m, s;
        moments(x + r * C, C, eps, &m, &s);
        if (mean)
            mean[r] = m;
        if (rstd)
            rstd[r] = s;
        for (size_t c = 0; c < C; c++)
            y[r * C + c] = (x[r * C + c] - m) * s * gamma[c] + beta[c];
    }
    if (mask)
        ref_mask_rows(rows, C, mask, y);
}

static void layernorm_row_dx(size_t C, const float *x, const float *gamma, const float *dy,
                             double m, double s, double *dx)
{
    double sum = 0, dot = 0;
    for (size_t c = 0; c < C; c++) {
        double g = (double)dy[c] * gamma[c];
        sum += g;
        dot += g * (x[c] - m) * s;
    }
    for (size_t c = 0; c < C; c++)
        dx[c] = s * ((double)dy[c] * gamma[c] - sum / C - (x[c] - m) * s * dot / C);
}

void ref_layernorm_backward(size_t rows, size_t C, const float *x, const float *gamma,
                            const float *dy, const uint8_t *mask, const float *residual, double eps,
                            double *dx, double *dgamma, double *dbeta)
{
    clear(dx, rows * C);
    for (size_t r = 0; r < rows; r++) {
        const float *xr = x + r * C, *dyr = dy + r * C;
        double m, s;
        if (mask && !mask[r])
            continue;
        moments(xr, C, eps, &m, &s);
        if (dx)
            layernorm_row_dx(C, xr, gamma, dyr, m, s, dx + r * C);
        for (size_t c = 0; dgamma && c < C; c++) {
            dgamma[c] += dyr[c] * (xr[c] - m) * s;
            dbeta[c] += dyr[c];
        }
    }
    for (size_t i = 0; dx && residual && i < rows * C; i++)
        dx[i] += residual[i];
}

/* ---- embedding ---- */

void ref_embedding_forward(size_t n, size_t V, size_t D, size_t L, const int32_t *ids,
                           const float *w, const float *add, double *y)
{
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < D; c++)
            y[i * D + c] = ids[i] < 0 || (size_t)ids[i] >= V
                               ? 0
                               : (double)w[(size_t)ids[i] * D + c] + (add ? add[i / L * D + c] : 0);
}

void ref_embedding_backward(size_t n, size_t V, size_t D, const int32_t *ids, const float *dy,
                            double *dw)
{
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; ids[i] > 0 && (size_t)ids[i] < V && c < D; c++)
            dw[(size_t)ids[i] * D + c] += dy[i * D + c];
}

/* ---- masked mean ---- */

static double kept(size_t L, const uint8_t *mask)
{
    double count = 0;
    for (size_t t = 0; t < L; t++)
        count += mask[t] != 0;
    return count;
}

void ref_masked_mean_forward(size_t B, size_t L, size_t D, const float *x, const uint8_t *mask,
                             double *y, double *count)
{
    clear(y, B * D);
    for (size_t b = 0; b < B; b++) {
        count[b] = kept(L, mask + b * L);
        for (size_t t = 0; t < L; t++)
            for (size_t c = 0; mask[b * L + t] && c < D; c++)
                y[b * D + c] += x[(b * L + t) * D + c] / count[b];
    }
}

void ref_masked_mean_backward(size_t B, size_t L, size_t D, const float *dy, const uint8_t *mask,
                              double *dx)
{
    clear(dx, B * L * D);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < L; t++)
            for (size_t c = 0; mask[b * L + t] && c < D; c++)
                dx[(b * L + t) * D + c] = dy[b * D + c] / kept(L, mask + b * L);
}

void ref_masked_sum(size_t B, size_t L, size_t D, const float *x, const uint8_t *mask, double *y)
{
    for (size_t i = 0; i < B * D; i++)
        y[i] = 0;
    for (size_t n = 0; n < B * L; n++)
        for (size_t c = 0; mask[n] && c < D; c++)
            y[n / L * D + c] += x[n * D + c];
}

/* ---- softmax cross-entropy ---- */

void ref_cross_entropy_loss(size_t N, size_t V, const float *logits, const int32_t *target,
                            double weight, double *dlogits, double *metrics)
{
    for (size_t n = 0; n < N; n++) {
        const float *x = logits + n * V;
        double most = -INFINITY, sum = 0;
        for (size_t v = 0; v < V; v++)
            most = fmax(most, x[v]);
        for (size_t v = 0; v < V; v++)
            sum += exp(x[v] - most);
        for (size_t v = 0; dlogits && v < V; v++)
            dlogits[n * V + v] =
                target[n] == -100
                    ? 0
                    : weight * (exp(x[v] - most) / sum - (v == (size_t)target[n] ? 1 : 0));
        if (target[n] == -100)
            continue;
        double loss = log(sum) + most - x[target[n]];
        metrics[0] += weight * loss;
        metrics[1] += weight * loss;
        metrics[2] += weight * (x[target[n]] >= most);
    }
}

/* ---- ranks ---- */

void ref_count_above(size_t R, size_t C, const float *x, const float *level, double *count)
{
    for (size_t i = 0; i < R * C; i++)
        count[i / C] += !(x[i] <= level[i / C]);
}

/* ---- distillation loss ---- */

static double dot(size_t n, const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

void ref_kd_loss(size_t B, size_t E, const float *y, const float *target, double alpha, double beta,
                 double weight, double *metrics, double *dy)
{
    const double least = 1e-6;
    double mse = 0, cosine = 0;
    for (size_t b = 0; b < B; b++) {
        const float *yb = y + b * E, *tb = target + b * E;
        double ny = sqrt(dot(E, yb, yb)), nt = sqrt(dot(E, tb, tb)), yt = dot(E, yb, tb);
        double my = fmax(ny, least), mt = fmax(nt, least);
        cosine += yt / (my * mt) / B;
        for (size_t e = 0; e < E; e++) {
            double diff = (double)yb[e] - tb[e];
            double dcos = tb[e] / (my * mt) - (ny > least ? yt * yb[e] / (my * my * my * mt) : 0);
            mse += diff * diff / ((double)B * E);
            if (dy)
                dy[b * E + e] = weight * (beta * 2 * diff / ((double)B * E) - alpha * dcos / B);
        }
    }
    metrics[0] += weight * (beta * mse + alpha * (1 - cosine));
    metrics[1] += weight * mse;
    metrics[2] += weight * cosine;
}

/* ---- optimiser ---- */

double ref_norm(size_t n, const float *g)
{
    return sqrt(dot(n, g, g));
}

double ref_clip_scale(double norm, double most)
{
    return most > 0 ? fmin(1, most / (norm + 1e-6)) : 1;
}

void ref_adam_step(const ref_adam *o, bool decay, size_t n, const float *g, double *p, double *m,
                   double *v)
{
    double rate = decay ? o->weight_decay : 0;
    double c1 = 1 - pow(o->beta1, (double)o->step), c2 = 1 - pow(o->beta2, (double)o->step);
    for (size_t i = 0; i < n; i++) {
        double gi = g[i] * o->scale + (o->l2 ? rate * p[i] : 0);
        if (!o->l2)
            p[i] *= 1 - o->lr * rate;
        m[i] = o->beta1 * m[i] + (1 - o->beta1) * gi;
        v[i] = o->beta2 * v[i] + (1 - o->beta2) * gi * gi;
        p[i] -= o->lr * (m[i] / c1) / (sqrt(v[i] / c2) + o->epsilon);
    }
}
