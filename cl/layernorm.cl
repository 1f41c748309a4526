/* layernorm.cl -- LayerNorm on CPUs: an item has a contiguous chunk of rows and takes ABREAST of
 * them at a time. Their sums are independent chains of additions, and what belongs to a column is
 * loaded once for all. layernorm_row.cl has the kernels of GPUs.
 *
 * Forward sums run over d = x - shift, so that a large mean does not cancel; shift is near the mean
 * of the row, hence the squares of d give the variance in the same pass. Backward leaves partial
 * sums of dgamma and dbeta, one pair for each chunk, which layernorm_bwd_sum adds up: the order of
 * every sum is fixed. */
#define WAYS (ABREAST < 4 ? 4 / ABREAST : 1) /* chains of a row: they hide an addition's latency */
#define INLINE static inline __attribute__((always_inline)) /* n, the rows, becomes a constant */
#define EACH_ROW(q) _Pragma("unroll") for (int q = 0; q < n; q++)
#define EACH_WAY(k) _Pragma("unroll") for (int k = 0; k < WAYS; k++)

/* By halves, which takes fewer dependent additions than sum_vector. */
INLINE float sum_lanes(const VEC v)
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

/* Kept rows from r on that are taken together: ABREAST or 1; 0 if r is not kept. */
static int rows_at(__global const uchar *keep, const long r, const long to)
{
    bool all = r + ABREAST <= to;
    if (keep && keep[r] == 0)
        return 0;
    for (int q = 1; keep && all && q < ABREAST; q++)
        all = keep[r + q];
    return all ? ABREAST : 1;
}

/* ---- forward ---- */

typedef struct moments {
    float shift[ABREAST], mean[ABREAST], rstd[ABREAST]; /* mean of x - shift */
} moments;

INLINE void find_moments(__global const REAL *x, const long C, const int n, const float eps,
                         moments *m)
{
    VEC sum[ABREAST][WAYS], squares[ABREAST][WAYS];
    long c = 0;
    EACH_ROW(q)
    {
        m->shift[q] = C < VW ? LOAD(x, q * C) : sum_lanes(VLOAD(x + q * C)) / VW;
        EACH_WAY(k) sum[q][k] = squares[q][k] = (VEC)0.0f;
    }
    for (; c + WAYS * VW <= C; c += WAYS * VW)
        EACH_WAY(k) EACH_ROW(q)
        {
            const VEC d = VLOAD(x + q * C + c + k * VW) - m->shift[q];
            sum[q][k] += d;
            squares[q][k] = fma(d, d, squares[q][k]);
        }
    EACH_ROW(q)
    {
        float s = 0.0f, ss = 0.0f;
        for (long i = c; i < C; i++) {
            const float d = LOAD(x, q * C + i) - m->shift[q];
            s += d;
            ss += d * d;
        }
        EACH_WAY(k)
        {
            s += sum_lanes(sum[q][k]);
            ss += sum_lanes(squares[q][k]);
        }
        m->mean[q] = s / C;
        const float variance = ss / C - m->mean[q] * m->mean[q];
        m->rstd[q] = 1.0f / sqrt((variance < 0.0f ? 0.0f : variance) + eps);
    }
}

INLINE void normalise(__global const REAL *x, __global const REAL *gamma, __global const REAL *beta,
                      __global REAL *y, const long C, const long lanes, const int n,
                      const moments *m)
{
    const VEC g = load_lanes(gamma, lanes), b = load_lanes(beta, lanes);
    EACH_ROW(q)
    {
        const VEC d = load_lanes(x + q * C, lanes) - m->shift[q];
        const VEC normal = fma(d, (VEC)m->rstd[q], (VEC)(-m->mean[q] * m->rstd[q]));
        store_lanes(fma(normal, g, b), y + q * C, lanes);
    }
}

INLINE void forward_rows(__global const REAL *x, __global const REAL *gamma,
                         __global const REAL *beta, __global REAL *y, const long C, const int n,
                         const float eps, moments *m)
{
    find_moments(x, C, n, eps, m);
    EACH_VECTOR(c, lanes, 0, C,
                normalise(x + c, gamma + c, beta + c, y + c, C, lanes, n, m))
}

__kernel void layernorm_fwd_item(IN(REAL, x), IN(REAL, gamma), IN(REAL, beta), IN(uchar, mask),
                                 OUT(REAL, y), OUT(REAL, mean), OUT(REAL, rstd), const long rows,
                                 const long C, const float eps, const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(rows, from + chunk);
    __global const uchar *keep = mask_base ? PTR(mask) : 0;
    for (long r = from, n; r < to; r += n) {
        __global const REAL *xr = PTR(x) + r * C;
        __global REAL *yr = PTR(y) + r * C;
        moments m;
        const int kept = rows_at(keep, r, to);
        n = max(kept, 1);
        if (kept == ABREAST) {
            forward_rows(xr, PTR(gamma), PTR(beta), yr, C, ABREAST, eps, &m);
        } else if (kept) {
            forward_rows(xr, PTR(gamma), PTR(beta), yr, C, 1, eps, &m);
        } else {
            m.shift[0] = m.mean[0] = m.rstd[0] = 0.0f;
            EACH_VECTOR(c, lanes, 0, C, store_lanes((VEC)0.0f, yr + c, lanes))
        }
        for (int q = 0; mean_base && q < n; q++) {
            STORE(m.shift[q] + m.mean[q], PTR(mean), r + q);
            STORE(m.rstd[q], PTR(rstd), r + q);
        }
    }
}

/* ---- backward ---- */

/* Rows of operands, from the first of them on; residual, dx and the sums [C] may be null. */
typedef struct rows_of {
    __global const REAL *x, *gamma, *dy, *residual;
    __global REAL *dx;
    __global float *dgamma, *dbeta;
} rows_of;

/* What all columns of a row share: dx = rstd g + by_d d + rest, d = x - mean. */
typedef struct factors {
    float mean, rstd, by_d, rest;
} factors;

/* Of some columns from c: adds g = dy gamma and g normal to sum, dy normal and dy to dgamma and
 * dbeta. */
INLINE void add_columns(const rows_of *r, const long C, const long c, const long lanes, const int n,
                        const factors *f, VEC sum[ABREAST][2])
{
    const VEC gamma = load_lanes(r->gamma + c, lanes);
    VEC dgamma = (VEC)0.0f, dbeta = (VEC)0.0f;
    EACH_ROW(q)
    {
        const VEC dy = load_lanes(r->dy + q * C + c, lanes), g = dy * gamma;
        const VEC normal = (load_lanes(r->x + q * C + c, lanes) - f[q].mean) * f[q].rstd;
        sum[q][0] += g;
        sum[q][1] = fma(g, normal, sum[q][1]);
        dgamma = fma(dy, normal, dgamma);
        dbeta += dy;
    }
    if (r->dgamma) {
        store_lanes(load_lanes(r->dgamma + c, lanes) + dgamma, r->dgamma + c, lanes);
        store_lanes(load_lanes(r->dbeta + c, lanes) + dbeta, r->dbeta + c, lanes);
    }
}

INLINE void write_columns(const rows_of *r, const long C, const long c, const long lanes,
                          const int n, const factors *f)
{
    const VEC gamma = load_lanes(r->gamma + c, lanes);
    EACH_ROW(q)
    {
        const VEC g = load_lanes(r->dy + q * C + c, lanes) * gamma;
        const VEC d = load_lanes(r->x + q * C + c, lanes) - f[q].mean;
        VEC dx = fma(d, (VEC)f[q].by_d, fma(g, (VEC)f[q].rstd, (VEC)f[q].rest));
        if (r->residual)
            dx += load_lanes(r->residual + q * C + c, lanes);
        store_lanes(dx, r->dx + q * C + c, lanes);
    }
}

/* dx = rstd (g - mean of g - normal mean of g normal) + residual */
INLINE void backward_rows(const rows_of *r, __global const REAL *mean, __global const REAL *rstd,
                          const long C, const int n)
{
    VEC sum[ABREAST][2];
    factors f[ABREAST];
    EACH_ROW(q)
    {
        f[q].mean = LOAD(mean, q);
        f[q].rstd = LOAD(rstd, q);
        sum[q][0] = sum[q][1] = (VEC)0.0f;
    }
    EACH_VECTOR(c, lanes, 0, C, add_columns(r, C, c, lanes, n, f, sum))
    EACH_ROW(q)
    {
        f[q].rest = -f[q].rstd * sum_lanes(sum[q][0]) / C;
        f[q].by_d = -f[q].rstd * f[q].rstd * sum_lanes(sum[q][1]) / C;
    }
    if (r->dx)
        EACH_VECTOR(c, lanes, 0, C, write_columns(r, C, c, lanes, n, f))
}

static void write_masked(const rows_of *r, const long c, const long lanes)
{
    store_lanes(r->residual ? load_lanes(r->residual + c, lanes) : (VEC)0.0f, r->dx + c, lanes);
}

__kernel void layernorm_bwd_item(IN(REAL, x), IN(REAL, gamma), IN(REAL, mean), IN(REAL, rstd),
                                 IN(REAL, dy), IN(uchar, mask), IN(REAL, residual), OUT(REAL, dx),
                                 OUT(float, sums), const long rows, const long C, const long chunk)
{
    const long part = get_global_id(0), from = part * chunk, to = min(rows, from + chunk);
    __global const uchar *keep = mask_base ? PTR(mask) : 0;
    int n;
    for (long c = 0; sums_base && c < 2 * C; c++)
        PTR(sums)[part * 2 * C + c] = 0.0f;
    for (long i = from; i < to; i += n) {
        const rows_of r = {.x = PTR(x) + i * C,
                           .gamma = PTR(gamma),
                           .dy = PTR(dy) + i * C,
                           .residual = residual_base ? PTR(residual) + i * C : 0,
                           .dx = dx_base ? PTR(dx) + i * C : 0,
                           .dgamma = sums_base ? PTR(sums) + part * 2 * C : 0,
                           .dbeta = sums_base ? PTR(sums) + (part * 2 + 1) * C : 0};
        const int kept = rows_at(keep, i, to);
        n = max(kept, 1);
        if (kept == ABREAST)
            backward_rows(&r, PTR(mean) + i, PTR(rstd) + i, C, ABREAST);
        else if (kept)
            backward_rows(&r, PTR(mean) + i, PTR(rstd) + i, C, 1);
        else if (r.dx)
            EACH_VECTOR(c, lanes, 0, C, write_masked(&r, c, lanes))
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
