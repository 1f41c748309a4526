/* kd.cl -- distillation loss: mse and cosine of each row, the gradient, and the metrics.
 *
 * Everything but the metrics is a matter of one row, so one pass gives it all; each row leaves
 * {sum (y-t)^2, cos} in rows for kd_loss_sum. */
#define LEAST 1e-6f  /* norms count as this much at least */
#define KD_LANES 128 /* most work-items that share a row */

/* Of a row: y.y, t.t, y.t, (y-t).(y-t) */
typedef float4 sums;

/* dloss/dy = difference (y-t) + self y - other t, weight included */
typedef struct {
    float difference, self, other;
} slopes;

SUM_GROUP(sums)

/* What this work-item adds to its row's sums. */
static sums sum_part(__global const REAL *y, __global const REAL *t, long E)
{
    const long lane = get_local_id(0), lanes = get_local_size(0), vectors = E / VW * VW;
    VEC yy = 0.0f, tt = 0.0f, yt = 0.0f, dd = 0.0f;
    for (long e = lane * VW; e < vectors; e += lanes * VW) {
        const VEC u = VLOAD(y + e), v = VLOAD(t + e);
        yy += u * u;
        tt += v * v;
        yt += u * v;
        dd += (u - v) * (u - v);
    }
    sums s = (sums)(sum_vector(yy), sum_vector(tt), sum_vector(yt), sum_vector(dd));
    for (long e = vectors + lane; e < E; e += lanes) {
        const float u = LOAD(y, e), v = LOAD(t, e);
        s += (sums)(u * u, v * v, u * v, (u - v) * (u - v));
    }
    return s;
}

/* |y| |t|, each at least LEAST */
static float norms(sums s)
{
    return fmax(sqrt(s.x), LEAST) * fmax(sqrt(s.y), LEAST);
}

/* A norm below LEAST is a constant: it has no slope. */
static slopes row_slopes(sums s, float mse_scale, float cos_scale)
{
    const float other = cos_scale / norms(s);
    return (slopes){mse_scale, sqrt(s.x) > LEAST ? other * (s.z / s.x) : 0.0f, other};
}

/* A work-group has a row. */
__kernel void kd_loss_group(IN(REAL, y), IN(REAL, target), OUT(REAL, dy), OUT(REAL, rows),
                            IN(REAL, scale), const long E, const float mse_scale,
                            const float cos_scale)
{
    __local sums part[KD_LANES];
    const long b = get_group_id(0), lane = get_local_id(0), lanes = get_local_size(0);
    const long vectors = E / VW * VW;
    __global const REAL *y = PTR(y) + b * E, *t = PTR(target) + b * E;
    const sums s = sum_group_sums(sum_part(y, t, E), part);
    if (rows_base && lane == 0)
        vstore2((float2)(s.w, s.z / norms(s)), b, PTR(rows));
    if (!dy_base)
        return;
    __global REAL *dy = PTR(dy) + b * E;
    const float scaled = scale_base ? PTR(scale)[0] : 1.0f;
    const slopes k = row_slopes(s, scaled * mse_scale, scaled * cos_scale);
    for (long e = lane * VW; e < vectors; e += lanes * VW) {
        const VEC u = VLOAD(y + e), v = VLOAD(t + e);
        VSTORE(k.difference * (u - v) + (k.self * u - k.other * v), dy + e);
    }
    for (long e = vectors + lane; e < E; e += lanes) {
        const float u = LOAD(y, e), v = LOAD(t, e);
        STORE(k.difference * (u - v) + (k.self * u - k.other * v), dy, e);
    }
}

/* One work-group: metrics += weight {loss, mse, cos}. */
__kernel void kd_loss_sum(IN(REAL, rows), OUT(REAL, metrics), const long B, const long E,
                          const float alpha, const float beta, const float weight)
{
    __local sums part[KD_LANES];
    const long lane = get_local_id(0), lanes = get_local_size(0);
    sums sum = 0.0f, lost = 0.0f; /* lost: what rounding took from sum (Kahan) */
    for (long b = lane; b < B; b += lanes) {
        const sums add = (sums)(vload2(b, PTR(rows)), 0.0f, 0.0f) - lost, next = sum + add;
        lost = (next - sum) - add;
        sum = next;
    }
    sum = sum_group_sums(sum, part);
    if (lane != 0)
        return;
    const float mse = sum.x / B / E, cosine = sum.y / B;
    PTR(metrics)[0] += weight * (beta * mse + alpha * (1.0f - cosine));
    PTR(metrics)[1] += weight * mse;
    PTR(metrics)[2] += weight * cosine;
}
