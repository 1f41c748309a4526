/* conv1d_toom.cl -- Conv1D, forward and both gradients, by Toom-Cook F(2,TAPS), TAPS 3 or 5, for CPU
 * devices: TAPS + 1 products give two outputs, where plain sums need 2 TAPS. The host chooses
 * MAX_TILES, MAX_SUMS, DW_TILES, DW_PANELS and DW_SUMS, the most that a group may hold.
 *
 * in_0 .. in_TAPS are rows d apart, and out_m = sum_j in_(m+j) tap_j for m = 0, 1:
 *   out_m = sum_s at[s]^m (sum_i points[s][i] in_i) (sum_j at[s]^j tap_j / scale[s])
 * The last bracket is packed by conv1d_pack. Point 0 alone takes in_0 and gives nothing to out_1;
 * infinity, the last point, takes in_TAPS and gives nothing to out_0: no output meets a row that it
 * would not read. at and points are exact; powers, with the quotients, are rounded once.
 * (A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2016.) */
#define POINTS (TAPS + 1)
#define at CAT(at, TAPS)
#define points CAT(points, TAPS)
#define powers CAT(powers, TAPS)

/* Pairs of rows d apart in a sequence; d <= L. */
static int count_pairs(int L, int d)
{
    const long d2 = 2L * d;
    return (int)(L / d2 * d + min(L % d2, (long)d));
}

/* Row pair `pair` of all: the row of in_0 and out_0, and bit i for each in_i that is a row of its
 * sequence; with step < 0 in_0 is the later one. */
static long find_pair(int pair, int B, int L, int step, uint *live)
{
    const int d = abs(step), pairs = count_pairs(L, d), b = pair / pairs;
    const int k = pair % pairs, t = k / d * 2 * d + k % d + (step < 0 ? d : 0);
    *live = 0;
    for (int i = 0; i < POINTS && b < B; i++)
        *live |= (uint)(t + (long)i * step >= 0 && t + (long)i * step < L) << i;
    return (long)b * L + t;
}

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
KERNEL void conv1d_taps_toom2(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias),
                              OUT(REAL, pre), IN(REAL, residual), IN(uchar, mask), const int B,
                              const int L, const int Cin, const int Cout, const int K,
                              const int step, const int tiles, const int panels, const int parts)
{
    const int width = tiles * ROWS;
    const int p0 = (int)get_group_id(1) * panels;
    const int np = min(panels, (Cout + PW - 1) / PW - p0);
    long base[MAX_TILES * ROWS]; /* row of in_0 and out_0 */
    uint live[MAX_TILES * ROWS]; /* bit i: in_i is a row of the sequence */
    float block[POINTS * MAX_TILES * ROWS * PARTIAL];
    VEC sum[MAX_SUMS * ROWS * PV]; /* panel p, output m, pair r: ((2 * p + m) * width + r) * PV */

    for (int r = 0; r < width; r++)
        base[r] = find_pair((int)get_group_id(0) * width + r, B, L, step, live + r);
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

/* Point s of `width` channels of rows `next` apart, n of them there. The stores may run over by a
 * vector. s is a constant where this is unrolled. */
static void x_at_point(int s, float *to, int width, __global const REAL *from, long next, uint live,
                       int n)
{
    for (int c = 0; c < width; c += VW) {
        VEC sum = (VEC)0.f;
#pragma unroll
        for (int i = 0; i < POINTS; i++)
            if (points[s][i] != 0 && live >> i & 1)
                sum = fma((VEC)points[s][i], load_lanes(from + i * next + c, n - c), sum);
        STOREF(sum, to + c);
    }
}

/* Point s of the pair of gradients, of one panel. */
static void dy_at_point(int s, float *to, __global const REAL *from, long next, uint live, int n)
{
#pragma unroll
    for (int c = 0; c < PW; c += VW) {
        VEC sum = (VEC)0.f;
        if (s < TAPS && live & 1)
            sum = load_lanes(from + c, n - c);
        if (s > 0 && live & 2)
            sum = fma((VEC)at[s], load_lanes(from + next + c, n - c), sum);
        STOREF(sum, to + c);
    }
}

/* The arguments of conv1d_dw_panel, and what it does, in pairs of rows:
 *   dtap_j = sum_s powers[s][j] sum over pairs (sum_i points[s][i] x_i) (dy_0 + at[s] dy_1)
 * again with point 0 for dy_0 alone and infinity for dy_1 alone. Pairs are counted through all
 * sequences. */
KERNEL void conv1d_dw_toom2(IN(REAL, x), IN(REAL, dy), OUT(REAL, dw), OUT(REAL, db), const int B,
                            const int L, const int Cin, const int Cout, const int K, const int d,
                            const int tiles, const int panels)
{
    const int i0 = (int)get_group_id(0) * tiles * ROWS, ni = min(tiles * ROWS, Cin - i0);
    const int o0 = (int)get_group_id(1) * panels * PW, no = min(panels * PW, Cout - o0);
    const int nt = (ni + ROWS - 1) / ROWS, np = (no + PW - 1) / PW;
    const int width = nt * ROWS, slice = np * width * PV; /* one point's sums */
    const int pairs = B * count_pairs(L, d);
    const bool with_db = db_base != 0 && i0 == 0;
    long base[PARTIAL];
    uint live[PARTIAL];
    float xs[PARTIAL * DW_TILES * ROWS + VW];
    float gs[DW_PANELS * PARTIAL * PW];
    VEC sum[DW_SUMS * ROWS * PV]; /* point s, panel p, channel i: ((s * np + p) * width + i) * PV */
    VEC sum_db[DW_PANELS * PV];

    for (int i = 0; i < POINTS * slice; i++)
        sum[i] = (VEC)0.f;
    for (int v = 0; v < np * PV; v++)
        sum_db[v] = (VEC)0.f;

    for (int first = 0; first < pairs; first += PARTIAL) {
        const int n = min(PARTIAL, pairs - first);
        for (int t = 0; t < n; t++)
            base[t] = find_pair(first + t, B, L, -d, live + t);
        for (int s = 0; s < POINTS; s++) {
#pragma unroll
            for (int u = 0; u < POINTS; u++)
                for (int t = 0; t < n && u == s; t++) {
                    x_at_point(u, xs + t * width, width, PTR(x) + base[t] * Cin + i0,
                               -(long)d * Cin, live[t], Cin - i0);
                    for (int p = 0; p < np; p++)
                        dy_at_point(u, gs + (p * PARTIAL + t) * PW,
                                    PTR(dy) + base[t] * Cout + o0 + p * PW, -(long)d * Cout,
                                    live[t], no - p * PW);
                }
            for (int v = 0; with_db && (s == 0 || s == TAPS) && v < np * PV; v++) {
                VEC part = (VEC)0.f;
                for (int t = 0; t < n; t++)
                    part += LOADF(gs + (v / PV * PARTIAL + t) * PW + v % PV * VW);
                sum_db[v] += part;
            }
            for (int p = 0; p < np; p++)
                for (int q = 0; q < nt; q++) {
                    VEC *tile = sum + s * slice + (p * width + q * ROWS) * PV;
                    const float *a = xs + q * ROWS, *panel = gs + p * PARTIAL * PW;
                    REGISTER_TILE(a, 1, width, LOADF, panel, n, tile[i] += part)
                }
        }
    }

    for (int i = 0; i < slice; i++) {
        VEC point[POINTS];
#pragma unroll
        for (int s = 0; s < POINTS; s++)
            point[s] = sum[s * slice + i];
#pragma unroll
        for (int j = 0; j < TAPS; j++) {
            VEC tap = (VEC)0.f;
#pragma unroll
            for (int s = 0; s < POINTS; s++)
                if (powers[s][j] != 0)
                    tap = fma((VEC)powers[s][j], point[s], tap);
            sum[(TAPS - 1 - j) * slice + i] = tap; /* tap 0 of w is the oldest */
        }
    }
    add_dw(PTR(dw) + ((ulong)o0 * Cin + i0) * K, (ulong)Cin * K, no, ni, K, sum, slice, width * PV);
    if (with_db)
        add_db(PTR(db) + o0, no, sum_db);
}
