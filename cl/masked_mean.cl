/* masked_mean.cl -- mean or sum over the kept steps of a sequence. Masked steps are never read, so
 * what is in them cannot leak. count null: the sum. Sums are of partial sums over BLOCK steps, so that long ones stay
 * accurate. */
#define BLOCK 32

static int kept_steps(__global const uchar *mask, long L)
{
    int kept = 0;
    for (long t = 0; t < L; t++)
        kept += mask[t] != 0;
    return kept;
}

static float sum_column(__global const REAL *x, __global const uchar *mask, long L, long D)
{
    float sum = 0.0f;
    for (long block = 0; block < L; block += BLOCK) {
        const long end = min(L, block + BLOCK);
        float part = 0.0f;
        for (long t = block; t < end; t++)
            if (mask[t])
                part += LOAD(x, t * D);
        sum += part;
    }
    return sum;
}

static VEC sum_columns(__global const REAL *x, __global const uchar *mask, long L, long D)
{
    VEC sum = 0.0f;
    for (long block = 0; block < L; block += BLOCK) {
        const long end = min(L, block + BLOCK);
        VEC part = 0.0f;
        for (long t = block; t < end; t++)
            if (mask[t])
                part += VLOAD(x + t * D);
        sum += part;
    }
    return sum;
}

/* An item has some columns of one sample. */
__kernel void masked_mean_fwd_slice(IN(REAL, x), IN(uchar, mask), OUT(REAL, y), OUT(REAL, count),
                                    const long L, const long D, const long width)
{
    const long b = get_global_id(1), from = get_global_id(0) * width, to = min(D, from + width);
    __global const REAL *rows = PTR(x) + b * L * D;
    __global const uchar *keep = PTR(mask) + b * L;
    __global REAL *mean = PTR(y) + b * D;
    const int kept = count_base ? kept_steps(keep, L) : 1;
    const float n = max(kept, 1);
    long d = from;
    for (; d + VW <= to; d += VW)
        VSTORE(sum_columns(rows + d, keep, L, D) / n, mean + d);
    for (; d < to; d++)
        STORE(sum_column(rows + d, keep, L, D) / n, mean, d);
    if (count_base && from == 0)
        STORE(kept, PTR(count), b);
}

#ifdef SPLITS

#define COLUMNS (GROUP / SPLITS)

/* A group has COLUMNS columns, each the work of SPLITS items, which share the steps. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
masked_mean_fwd_column(IN(REAL, x), IN(uchar, mask), OUT(REAL, y), OUT(REAL, count), const long B,
                       const long L, const long D)
{
    __local float sums[GROUP];
    __local int counts[GROUP];
    const int item = get_local_id(0), split = item / COLUMNS;
    const long i = (long)get_global_id(0) / GROUP * COLUMNS + item % COLUMNS, b = i / D, d = i % D;
    const long share = (L + SPLITS - 1) / SPLITS, from = min(L, split * share);
    const long steps = min(L - from, share);
    __global const uchar *keep = PTR(mask) + b * L + from;
    int kept = b < B ? kept_steps(keep, steps) : 0;
    float sum = kept ? sum_column(PTR(x) + (b * L + from) * D + d, keep, steps, D) : 0.0f;
    sums[item] = sum;
    counts[item] = kept;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (split > 0 || b >= B)
        return;
    for (int k = item + COLUMNS; k < GROUP; k += COLUMNS) {
        sum += sums[k];
        kept += counts[k];
    }
    STORE(count_base && kept ? sum / kept : sum, PTR(y), i);
    if (count_base && d == 0)
        STORE(kept, PTR(count), b);
}

#endif

/* An item writes a contiguous part of the rows. */
__kernel void masked_mean_bwd_chunk(IN(REAL, dy), IN(uchar, mask), IN(REAL, count), OUT(REAL, dx),
                                    const long B, const long L, const long D)
{
    const long part = get_global_id(0), parts = get_global_size(0);
    const long end = B * L * (part + 1) / parts;
    for (long row = B * L * part / parts; row < end; row++) {
        const bool keep = PTR(mask)[row];
        const float n = LOAD(PTR(count), row / L);
        __global const REAL *from = PTR(dy) + row / L * D;
        __global REAL *to = PTR(dx) + row * D;
        long d = 0;
        for (; d + VW <= D; d += VW)
            VSTORE(keep ? VLOAD(from + d) / n : (VEC)0.0f, to + d);
        for (; d < D; d++)
            STORE(keep ? LOAD(from, d) / n : 0.0f, to, d);
    }
}

/* An item writes one element. */
__kernel void masked_mean_bwd_item(IN(REAL, dy), IN(uchar, mask), IN(REAL, count), OUT(REAL, dx),
                                   const long B, const long L, const long D)
{
    const long i = get_global_id(0), row = i / D, b = row / L;
    if (b >= B)
        return;
    const bool keep = PTR(mask)[row];
    STORE(keep ? LOAD(PTR(dy), b * D + i % D) / LOAD(PTR(count), b) : 0.0f, PTR(dx), i);
}
