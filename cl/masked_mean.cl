/* masked_mean.cl -- mean over the kept steps of a sequence. Masked steps are never read, so
 * what is in them cannot leak. Sums are of partial sums over BLOCK steps, so that long ones stay
 * accurate. */
#define BLOCK 32

static int kept_steps(__global const uchar *mask, long L)
{
    int kept = 0;
    for (long t = 0; t < L; t++)
        kept += mask[t] != 0;
    return kept;
}

static float mean_column(__global const REAL *x, __global const uchar *mask, long L, long D,
                         int kept)
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
    return kept ? sum / kept : 0.0f;
}

static VEC mean_columns(__global const REAL *x, __global const uchar *mask, long L, long D,
                        int kept)
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
    return kept ? sum / kept : (VEC)0.0f;
}

/* An item has some columns of one sample. */
__kernel void masked_mean_fwd_slice(IN(REAL, x), IN(uchar, mask), OUT(REAL, y), OUT(REAL, count),
                                    const long L, const long D, const long width)
{
    const long b = get_global_id(1), from = get_global_id(0) * width, to = min(D, from + width);
    __global const REAL *rows = PTR(x) + b * L * D;
    __global const uchar *keep = PTR(mask) + b * L;
    __global REAL *mean = PTR(y) + b * D;
    const int kept = kept_steps(keep, L);
    long d = from;
    for (; d + VW <= to; d += VW)
        VSTORE(mean_columns(rows + d, keep, L, D, kept), mean + d);
    for (; d < to; d++)
        STORE(mean_column(rows + d, keep, L, D, kept), mean, d);
    if (from == 0)
        STORE(kept, PTR(count), b);
}

/* An item has one column of one sample. */
__kernel void masked_mean_fwd_column(IN(REAL, x), IN(uchar, mask), OUT(REAL, y), OUT(REAL, count),
                                     const long B, const long L, const long D)
{
    const long i = get_global_id(0), b = i / D, d = i % D;
    if (b >= B)
        return;
    __global const uchar *keep = PTR(mask) + b * L;
    const int kept = kept_steps(keep, L);
    STORE(mean_column(PTR(x) + b * L * D + d, keep, L, D, kept), PTR(y), i);
    if (d == 0)
        STORE(kept, PTR(count), b);
}

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
