/* conv1d_toom.cl -- Conv1D forward and input gradient by Toom-Cook F(2,TAPS), TAPS 3 or 5, for CPU
 * devices: TAPS + 1 products give two outputs, where plain sums need 2 TAPS.
 *
 * in_0 .. in_TAPS are rows d apart, and out_m = sum_j in_(m+j) tap_j for m = 0, 1:
 *   out_m = sum_s at[s]^m (sum_i points[s][i] in_i) (sum_j at[s]^j tap_j / scale[s])
 * The last bracket is packed by conv1d_pack. Point 0 alone takes in_0 and gives nothing to out_1;
 * infinity, the last point, takes in_TAPS and gives nothing to out_0: no output meets a row that it
 * would not read. Every number here is exact.
 * (A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2016.) */
#ifndef TAPS
#define TAPS 5
#endif
#ifndef MAX_TILES
#define MAX_TILES 4 /* tiles of row pairs per group */
#endif
#ifndef MAX_SUMS
#define MAX_SUMS (12288 / (ROWS * PW)) /* 2 * tiles * panels per group: 48 KB of sums */
#endif
#define POINTS (TAPS + 1)

#if TAPS == 3
__constant float at[POINTS] = {0, 1, -1, 1};
__constant float points[POINTS][POINTS] = {
    {-1, 0, 1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}};
#else
__constant float at[POINTS] = {0, 0.625f, -0.625f, 1.5f, -1.5f, 1};
__constant float points[POINTS][POINTS] = {
    {0.87890625f, 0, -2.640625f, 0, 1, 0},    {0, -1.40625f, -2.25f, 0.625f, 1, 0},
    {0, 1.40625f, -2.25f, -0.625f, 1, 0},     {0, -0.5859375f, -0.390625f, 1.5f, 1, 0},
    {0, 0.5859375f, -0.390625f, -1.5f, 1, 0}, {0, 0.87890625f, 0, -2.640625f, 0, 1}};
#endif

/* VW channels (n are left) of rows `next` apart, at every point. A bit of live for each row that is
 * there; the others count as zero. */
static void to_points(float *to, int to_next, __global const REAL *from, long next, uint live,
                      int n)
{
    VEC in[POINTS];
#pragma unroll
    for (int i = 0; i < POINTS; i++)
        in[i] = live >> i & 1 ? load_lanes(from + i * next, n) : (VEC)0.f;
#pragma unroll
    for (int s = 0; s < POINTS; s++) {
        VEC sum = (VEC)0.f;
#pragma unroll
        for (int i = 0; i < POINTS; i++)
            if (points[s][i] != 0)
                sum = fma((VEC)points[s][i], in[i], sum);
        STOREF(sum, to + s * to_next);
    }
}

/* The arguments of conv1d_taps_panel; w packed [ceil(Cout/PW)][POINTS][Cin][PW], K is TAPS. Rows go
 * in pairs d apart; of the last pairs of a sequence the second row may be past its end. A group has
 * `tiles` tiles of ROWS pairs, in any sequences, and brings their inputs to the points once per
 * PARTIAL of channels.
 * Grid (ceil(B*pairs / (tiles*ROWS)), ceil(ceil(Cout/PW) / panels)); tiles <= MAX_TILES and
 * 2 * tiles * panels <= MAX_SUMS. The result does not depend on either. */
KERNEL void conv1d_taps_toom(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias), OUT(REAL, pre),
                             IN(REAL, residual), IN(uchar, mask), const int B, const int L,
                             const int Cin, const int Cout, const int K, const int step,
                             const int tiles, const int panels, const int parts)
{
    const int d = abs(step), width = tiles * ROWS;
    const int pairs = L / (2 * d) * d + min(L % (2 * d), d);
    const int p0 = (int)get_group_id(1) * panels;
    const int np = min(panels, (Cout + PW - 1) / PW - p0);
    long base[MAX_TILES * ROWS]; /* row of in_0 and out_0 */
    uint live[MAX_TILES * ROWS]; /* bit i: in_i is a row of the sequence */
    float block[POINTS * MAX_TILES * ROWS * PARTIAL];
    VEC sum[MAX_SUMS * ROWS * PV]; /* panel p, output m, pair r: ((2 * p + m) * width + r) * PV */

    for (int r = 0; r < width; r++) {
        const long pair = (long)get_group_id(0) * width + r, b = pair / pairs;
        const int k = (int)(pair % pairs), t = k / d * 2 * d + k % d + (step < 0 ? d : 0);
        base[r] = b * L + t;
        live[r] = 0;
        for (int i = 0; i < POINTS && b < B; i++)
            live[r] |= (uint)(t + i * step >= 0 && t + i * step < L) << i;
    }
    for (int i = 0; i < 2 * np * width * PV; i++)
        sum[i] = (VEC)0.f;

    for (int c0 = 0; c0 < Cin; c0 += PARTIAL) {
        const int n = min(PARTIAL, Cin - c0);
        for (int r = 0; r < width; r++)
            for (int c = 0; c < n; c += VW)
                to_points(block + r * PARTIAL + c, width * PARTIAL, PTR(x) + base[r] * Cin + c0 + c,
                          (long)step * Cin, live[r], n - c);
        for (int p = 0; p < np; p++)
            for (int s = 0; s < POINTS; s++) {
                __global const REAL *panel =
                    PTR(w) + (((ulong)(p0 + p) * POINTS + s) * Cin + c0) * PW;
                const VEC power = (VEC)at[s];
                for (int q = 0; q < tiles; q++) {
                    VEC *out0 = sum + (2 * p * width + q * ROWS) * PV, *out1 = out0 + width * PV;
                    const float *a = block + (s * width + q * ROWS) * PARTIAL;
                    REGISTER_TILE(a, PARTIAL, 1, VLOAD, panel, n, {
                        if (s < TAPS)
                            out0[i] += part;
                        if (s > 0)
                            out1[i] = fma(power, part, out1[i]);
                    })
                }
            }
    }

    const epilogue e = {PTR(bias), PTR(pre), PTR(residual), PTR(mask), PTR(y), PTR(pre), parts};
    for (int r = 0; r < width; r++)
        for (int m = 0; m < 2; m++)
            for (int p = 0; p < np && live[r] >> m & 1; p++)
                finish_panel(&e, sum + ((2 * p + m) * width + r) * PV, base[r] + m * step, Cout,
                             (p0 + p) * PW);
}
