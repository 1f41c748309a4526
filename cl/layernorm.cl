/* layernorm.cl -- rows normalised by their own mean and variance, and the gradients.
 *
 * Forward sums run over x - x[0], so that a large mean does not cancel. item kernels (CPU): an item
 * has a contiguous chunk of rows; row kernels: a work-group has a row at a time, its size is a
 * power of two. Backward leaves partial sums of dgamma and dbeta, one pair for each chunk of rows,
 * which layernorm_bwd_sum adds up: the order of every sum is fixed. */
#define WAYS 4 /* independent sums: they hide an addition's latency and shorten the chains */

/* By halves, which takes fewer dependent additions than sum_vector. */
static float sum_lanes(const VEC v)
{
#if VW == 16
    const float8 e = v.lo + v.hi;
    const float4 q = e.lo + e.hi;
#elif VW == 8
    const float4 q = v.lo + v.hi;
#else
    const float4 q = v;
#endif
    return (q.x + q.z) + (q.y + q.w);
}

/* ---- forward, a row to an item ---- */

/* Sum of d = (x - shift) - mean, or of d^2. */
static float sum_row(__global const REAL *x, const long C, const float shift, const float mean,
                     const bool squares)
{
    VEC sum[WAYS] = {(VEC)0.0f, (VEC)0.0f, (VEC)0.0f, (VEC)0.0f};
    long c = 0;
    for (; c + WAYS * VW <= C; c += WAYS * VW)
#pragma unroll
        for (int k = 0; k < WAYS; k++) {
            const VEC d = VLOAD(x + c + k * VW) - shift - mean;
            sum[k] = squares ? fma(d, d, sum[k]) : sum[k] + d;
        }
    for (; c + VW <= C; c += VW) {
        const VEC d = VLOAD(x + c) - shift - mean;
        sum[0] = squares ? fma(d, d, sum[0]) : sum[0] + d;
    }
    float total = sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; c < C; c++) {
        const float d = LOAD(x, c) - shift - mean;
        total += squares ? d * d : d;
    }
    return total;
}

static void normalise(__global const REAL *x, __global const REAL *gamma,
                      __global const REAL *beta, __global REAL *y, const long n, const float shift,
                      const float mean, const float rstd)
{
    const VEC d = load_lanes(x, n) - shift - mean;
    store_lanes(fma(d * rstd, load_lanes(gamma, n), load_lanes(beta, n)), y, n);
}

__kernel void layernorm_fwd_item(IN(REAL, x), IN(REAL, gamma), IN(REAL, beta), IN(uchar, mask),
                                 OUT(REAL, y), OUT(REAL, mean), OUT(REAL, rstd), const long rows,
                                 const long C, const float eps, const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(rows, from + chunk);
    for (long r = from; r < to; r++) {
        __global const REAL *xr = PTR(x) + r * C;
        __global REAL *yr = PTR(y) + r * C;
        float shift = 0.0f, m = 0.0f, s = 0.0f;
        if (mask_base && PTR(mask)[r] == 0) {
            EACH_VECTOR(c, n, 0, C, store_lanes((VEC)0.0f, yr + c, n))
        } else {
            shift = LOAD(xr, 0);
            m = sum_row(xr, C, shift, 0.0f, false) / C;
            s = 1.0f / sqrt(sum_row(xr, C, shift, m, true) / C + eps);
            EACH_VECTOR(c, n, 0, C,
                        normalise(xr + c, PTR(gamma) + c, PTR(beta) + c, yr + c, n, shift, m, s))
        }
        if (mean_base) {
            STORE(shift + m, PTR(mean), r);
            STORE(s, PTR(rstd), r);
        }
    }
}

/* ---- forward, a row to a work-group ---- */

/* Where y is x, what any item has read of a row is read before another writes there. */
SUM_GROUP(float)

__kernel void layernorm_fwd_row(IN(REAL, x), IN(REAL, gamma), IN(REAL, beta), IN(uchar, mask),
                                OUT(REAL, y), OUT(REAL, mean), OUT(REAL, rstd), const long C,
                                const float eps, __local float *sums)
{
    const long r = get_global_id(0) / get_local_size(0), step = get_local_size(0);
    __global const REAL *xr = PTR(x) + r * C;
    __global REAL *yr = PTR(y) + r * C;
    const bool keep = !mask_base || PTR(mask)[r];
    const float shift = keep ? LOAD(xr, 0) : 0.0f;
    float sum = 0.0f, squares = 0.0f;
    for (long c = get_local_id(0); keep && c < C; c += step)
        sum += LOAD(xr, c) - shift;
    const float m = sum_group(sum, sums) / C;
    for (long c = get_local_id(0); keep && c < C; c += step) {
        const float d = LOAD(xr, c) - shift - m;
        squares += d * d;
    }
    const float variance = sum_group(squares, sums) / C;
    const float s = keep ? 1.0f / sqrt(variance + eps) : 0.0f;
    for (long c = get_local_id(0); c < C; c += step) {
        const float n = keep ? (LOAD(xr, c) - shift - m) * s : 0.0f;
        STORE(keep ? fma(n, LOAD(PTR(gamma), c), LOAD(PTR(beta), c)) : 0.0f, yr, c);
    }
    if (mean_base && get_local_id(0) == 0) {
        STORE(shift + m, PTR(mean), r);
        STORE(s, PTR(rstd), r);
    }
}

/* ---- backward ---- */

/* One row's operands; residual, dx and the sums [C] may be null. */
typedef struct row {
    __global const REAL *x, *gamma, *dy, *residual;
    __global REAL *dx;
    __global float *dgamma, *dbeta;
    float mean, rstd;
} row;

/* Of n columns from c: adds dy gamma and dy gamma n to sums, dy n and dy to dgamma and dbeta. */
static void add_columns(const row *r, const long c, const long n, VEC sums[2])
{
    const VEC dy = load_lanes(r->dy + c, n), g = dy * load_lanes(r->gamma + c, n);
    const VEC normal = (load_lanes(r->x + c, n) - r->mean) * r->rstd;
    sums[0] += g;
    sums[1] = fma(g, normal, sums[1]);
    if (r->dgamma) {
        store_lanes(fma(dy, normal, load_lanes(r->dgamma + c, n)), r->dgamma + c, n);
        store_lanes(dy + load_lanes(r->dbeta + c, n), r->dbeta + c, n);
    }
}

static void write_columns(const row *r, const long c, const long n, const float mean_g,
                          const float mean_gn)
{
    const VEC g = load_lanes(r->dy + c, n) * load_lanes(r->gamma + c, n);
    const VEC normal = (load_lanes(r->x + c, n) - r->mean) * r->rstd;
    VEC dx = (g - mean_g - normal * mean_gn) * r->rstd;
    if (r->residual)
        dx += load_lanes(r->residual + c, n);
    store_lanes(dx, r->dx + c, n);
}

static void write_masked(const row *r, const long c, const long n)
{
    store_lanes(r->residual ? load_lanes(r->residual + c, n) : (VEC)0.0f, r->dx + c, n);
}

#define BACKWARD_ARGS                                                                              \
    IN(REAL, x), IN(REAL, gamma), IN(REAL, mean), IN(REAL, rstd), IN(REAL, dy), IN(uchar, mask),   \
        IN(REAL, residual), OUT(REAL, dx), OUT(float, sums), const long rows, const long C,        \
        const long chunk

/* Row i of part number part. */
#define ROW(i, part)                                                                               \
    {.x = PTR(x) + i * C,                                                                          \
     .gamma = PTR(gamma),                                                                          \
     .dy = PTR(dy) + i * C,                                                                        \
     .residual = residual_base ? PTR(residual) + i * C : 0,                                        \
     .dx = dx_base ? PTR(dx) + i * C : 0,                                                          \
     .dgamma = sums_base ? PTR(sums) + part * 2 * C : 0,                                           \
     .dbeta = sums_base ? PTR(sums) + (part * 2 + 1) * C : 0,                                      \
     .mean = LOAD(PTR(mean), i),                                                                   \
     .rstd = LOAD(PTR(rstd), i)}

__kernel void layernorm_bwd_item(BACKWARD_ARGS)
{
    const long part = get_global_id(0), from = part * chunk, to = min(rows, from + chunk);
    for (long c = 0; sums_base && c < 2 * C; c++)
        PTR(sums)[part * 2 * C + c] = 0.0f;
    for (long i = from; i < to; i++) {
        const row r = ROW(i, part);
        const bool keep = !mask_base || PTR(mask)[i];
        VEC sum[2] = {(VEC)0.0f, (VEC)0.0f};
        if (keep)
            EACH_VECTOR(c, n, 0, C, add_columns(&r, c, n, sum))
        const float mean_g = sum_lanes(sum[0]) / C, mean_gn = sum_lanes(sum[1]) / C;
        if (r.dx && keep)
            EACH_VECTOR(c, n, 0, C, write_columns(&r, c, n, mean_g, mean_gn))
        else if (r.dx)
            EACH_VECTOR(c, n, 0, C, write_masked(&r, c, n))
    }
}

__kernel void layernorm_bwd_row(BACKWARD_ARGS, __local float *shared)
{
    const long part = get_global_id(0) / get_local_size(0), step = get_local_size(0);
    const long from = part * chunk, to = min(rows, from + chunk);
    for (long c = get_local_id(0); sums_base && c < C; c += step) {
        PTR(sums)[part * 2 * C + c] = 0.0f;
        PTR(sums)[(part * 2 + 1) * C + c] = 0.0f;
    }
    for (long i = from; i < to; i++) {
        const row r = ROW(i, part);
        const bool keep = !mask_base || PTR(mask)[i];
        VEC sum[2] = {(VEC)0.0f, (VEC)0.0f};
        for (long c = get_local_id(0); keep && c < C; c += step)
            add_columns(&r, c, 1, sum);
        const float mean_g = sum_group(sum[0].s0, shared) / C;
        const float mean_gn = sum_group(sum[1].s0, shared) / C;
        for (long c = get_local_id(0); r.dx && c < C; c += step)
            if (keep)
                write_columns(&r, c, 1, mean_g, mean_gn);
            else
                write_masked(&r, c, 1);
    }
}

/* d [C] += the parts' sums; an item has VW columns. */
static void add_parts(__global const float *sums, __global REAL *d, const long parts, const long C)
{
    const long c = get_global_id(0) * VW;
    VEC sum = (VEC)0.0f;
    for (long part = 0; part < parts; part++)
        sum += load_lanes(sums + part * 2 * C + c, C - c);
    store_lanes(load_lanes(d + c, C - c) + sum, d + c, C - c);
}

__kernel void layernorm_bwd_sum(IN(float, sums), OUT(REAL, dgamma), OUT(REAL, dbeta),
                                const long parts, const long C)
{
    if ((long)get_global_id(0) * VW >= C)
        return;
    add_parts(PTR(sums), PTR(dgamma), parts, C);
    add_parts(PTR(sums) + C, PTR(dbeta), parts, C);
}
