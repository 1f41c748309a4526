/* layernorm_row.cl -- LayerNorm on GPUs: a work-group has GROUP items, LANES of them for each of
 * its rows; both are powers of two. Items that are neighbours have neighbouring columns. Forward
 * sums run over x - shift, as in layernorm.cl. */
#define LEAD 4 /* shift is the mean of so many elements */
#define EACH_COLUMN(c) for (long c = (long)get_local_id(0) % LANES; c < C; c += LANES)
#define KERNEL __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))

/* The sum over the items of a row, by halves, to all of them. The first fence is global too: what
 * an item has read before, no other has overwritten. */
static float2 sum_row(const float2 v, __local float2 *part)
{
    const int item = get_local_id(0), lane = item % LANES;
    part[item] = v;
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    for (int n = LANES / 2; n > 0; n /= 2) {
        if (lane < n)
            part[item] += part[item + n];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float2 sum = part[item - lane];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}

KERNEL void layernorm_fwd_row(IN(REAL, x), IN(REAL, gamma), IN(REAL, beta), IN(uchar, mask),
                              OUT(REAL, y), OUT(REAL, mean), OUT(REAL, rstd), const long rows,
                              const long C, const float eps)
{
    __local float2 part[GROUP];
    const long r = get_global_id(0) / LANES;
    const bool here = r < rows, keep = here && (!mask_base || PTR(mask)[r]);
    __global const REAL *xr = PTR(x) + r * C;
    __global REAL *yr = PTR(y) + r * C;
    float shift = 0.0f;
    float2 sum = (float2)0.0f;
    if (keep) {
        for (int c = 0; c < LEAD && c < C; c++)
            shift += LOAD(xr, c);
        shift = C < LEAD ? LOAD(xr, 0) : shift / LEAD;
        EACH_COLUMN(c)
        {
            const float d = LOAD(xr, c) - shift;
            sum += (float2)(d, d * d);
        }
    }
    sum = sum_row(sum, part) / C;
    const float m = sum.x, variance = sum.y - m * m;
    const float s = keep ? 1.0f / sqrt((variance < 0.0f ? 0.0f : variance) + eps) : 0.0f;
    if (!here)
        return;
    EACH_COLUMN(c)
    {
        const float normal = keep ? fma(LOAD(xr, c) - shift, s, -m * s) : 0.0f;
        STORE(keep ? fma(normal, LOAD(PTR(gamma), c), LOAD(PTR(beta), c)) : 0.0f, yr, c);
    }
    if (mean_base && get_local_id(0) % LANES == 0) {
        STORE(shift + m, PTR(mean), r);
        STORE(s, PTR(rstd), r);
    }
}

/* Sums of dy normal and of dy over the kept rows [from, to); an item has whole columns. */
static void add_rows(__global const REAL *x, __global const REAL *dy, __global const REAL *mean,
                     __global const REAL *rstd, __global const uchar *keep, const long from,
                     const long to, const long C, __global float *sums)
{
    for (long c = get_local_id(0); c < C; c += GROUP) {
        float2 sum = (float2)0.0f;
        for (long r = from; r < to; r++)
            if (!keep || keep[r]) {
                const float normal = (LOAD(x, r * C + c) - LOAD(mean, r)) * LOAD(rstd, r);
                sum += LOAD(dy, r * C + c) * (float2)(normal, 1.0f);
            }
        sums[c] = sum.x;
        sums[C + c] = sum.y;
    }
}

/* A group has chunk rows, and one part of the sums. It reads them all for those before it
 * overwrites any. */
KERNEL void layernorm_bwd_row(IN(REAL, x), IN(REAL, gamma), IN(REAL, mean), IN(REAL, rstd),
                              IN(REAL, dy), IN(uchar, mask), IN(REAL, residual), OUT(REAL, dx),
                              OUT(float, sums), const long rows, const long C, const long chunk)
{
    __local float2 part[GROUP];
    const long group = get_group_id(0), from = group * chunk, to = min(rows, from + chunk);
    if (sums_base)
        add_rows(PTR(x), PTR(dy), PTR(mean), PTR(rstd), mask_base ? PTR(mask) : 0, from, to, C,
                 PTR(sums) + group * 2 * C);
    for (long first = from; dx_base && first < to; first += GROUP / LANES) {
        const long r = first + get_local_id(0) / LANES, at = r * C;
        const bool here = r < to, keep = here && (!mask_base || PTR(mask)[r]);
        const float m = keep ? LOAD(PTR(mean), r) : 0.0f, s = keep ? LOAD(PTR(rstd), r) : 0.0f;
        float2 sum = (float2)0.0f;
        if (keep)
            EACH_COLUMN(c)
            {
                const float normal = (LOAD(PTR(x), at + c) - m) * s;
                sum += LOAD(PTR(dy), at + c) * LOAD(PTR(gamma), c) * (float2)(1.0f, normal);
            }
        sum = sum_row(sum, part) / C;
        if (here)
            EACH_COLUMN(c)
            {
                float d = residual_base ? LOAD(PTR(residual), at + c) : 0.0f;
                if (keep) {
                    const float normal = (LOAD(PTR(x), at + c) - m) * s;
                    const float g = LOAD(PTR(dy), at + c) * LOAD(PTR(gamma), c);
                    d += (g - sum.x - normal * sum.y) * s;
                }
                STORE(d, PTR(dx), at + c);
            }
    }
}

/* dgamma and dbeta [C] += the parts' sums. LANES items have a column each of [parts][2 C], the
 * others further parts of it. */
KERNEL void layernorm_bwd_sum(IN(float, sums), OUT(REAL, dgamma), OUT(REAL, dbeta),
                              const long parts, const long C)
{
    __local float shared[GROUP];
    const int item = get_local_id(0), lane = item % LANES;
    const long c = (long)get_group_id(0) * LANES + lane;
    float sum = 0.0f;
    for (long p = item / LANES; c < 2 * C && p < parts; p += GROUP / LANES)
        sum += PTR(sums)[p * 2 * C + c];
    shared[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item != lane || c >= 2 * C)
        return;
    for (int i = lane + LANES; i < GROUP; i += LANES)
        sum += shared[i];
    __global REAL *to = c < C ? PTR(dgamma) + c : PTR(dbeta) + c - C;
    STORE(LOAD(to, 0) + sum, to, 0);
}
