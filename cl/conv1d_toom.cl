/* conv1d_toom.cl -- Conv1D, forward and both gradients, by Toom-Cook F(OUTPUTS,TAPS), OUTPUTS 2 or
 * 4 and TAPS 3 or 5, for CPU devices: OUTPUTS + TAPS - 1 products give OUTPUTS sums, where plain
 * loops need OUTPUTS TAPS. The host chooses MAX_TILES, MAX_PANELS and MAX_SUMS, the most
 * that a group may hold.
 *
 * in_0 .. in_(POINTS-1) are rows d apart, and out_m = sum_j in_(m+j) tap_j for m < OUTPUTS:
 *   out_m = sum_s point[s]^m (sum_i basis[s][i] in_i) (sum_j point[s]^j tap_j / scale[s])
 * basis[s] are the coefficients of the product of (x - point) over the other finite points. The
 * last bracket is packed by conv1d_pack. A point and its negative share their even and odd parts.
 * Point 0 alone takes in_0 and gives to out_0 alone; infinity, the last point, takes in_(POINTS-1)
 * and gives to the last output alone. With two outputs so none meets a row that it would not read;
 * of four the outer rows of a bundle reach the others by rounding.
 * (A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2016.) */
#define POINTS (OUTPUTS + TAPS - 1)
#define PAIRS (POINTS / 2 - 1)
#define BUNDLES 32 /* weight gradient: that are brought to the points at a time */

/* Bundles of OUTPUTS rows d apart in a sequence; d <= L. */
static int count_bundles(int L, int d)
{
    const long rows = (long)OUTPUTS * d;
    return (int)(L / rows * d + min(L % rows, (long)d));
}

/* Of bundle number `bundle` of all: the row of in_0 and out_0, and bit i for each in_i that is a row
 * of its sequence; with step < 0 in_0 is the latest. */
static long find_bundle(int bundle, int B, int L, int step, uint *live)
{
    const int d = abs(step), bundles = count_bundles(L, d), b = bundle / bundles;
    const int k = bundle % bundles;
    const long t = (long)(k / d) * OUTPUTS * d + k % d + (step < 0 ? (OUTPUTS - 1L) * d : 0);
    *live = 0;
    for (int i = 0; i < POINTS && b < B; i++)
        *live |= (uint)(t + (long)i * step >= 0 && t + (long)i * step < L) << i;
    return (long)b * L + t;
}

/* VW channels (n are left) of rows `next` apart; those without their bit in live count as zero. */
static void load_rows(VEC *in, const int rows, __global const REAL *from, long next, uint live,
                      int n)
{
    if (n >= VW && live == (1u << POINTS) - 1) {
#pragma unroll
        for (int i = 0; i < rows; i++)
            in[i] = VLOAD(from + i * next);
        return;
    }
#pragma unroll
    for (int i = 0; i < rows; i++)
        in[i] = live >> i & 1 ? load_lanes(from + i * next, n) : (VEC)0.f;
}

/* What even and odd make of the two points of a pair. */
static void store_pair(float *to, int to_next, int pair, VEC even, VEC odd)
{
    const float a = at[PAIRS - 1][pair];
    STOREF(fma((VEC)a, odd, even), to + (1 + 2 * pair) * to_next);
    STOREF(fma((VEC)-a, odd, even), to + (2 + 2 * pair) * to_next);
}

/* Rows in_i at every point. */
static void to_points(float *to, int to_next, __global const REAL *from, long next, uint live,
                      int n)
{
    VEC in[POINTS];
    load_rows(in, POINTS, from, next, live, n);
    VEC zero = in[0] * whole[PAIRS - 1][0], infinity = in[1] * whole[PAIRS - 1][0];
#pragma unroll
    for (int k = 1; k <= PAIRS; k++) {
        zero = fma((VEC)whole[PAIRS - 1][k], in[2 * k], zero);
        infinity = fma((VEC)whole[PAIRS - 1][k], in[2 * k + 1], infinity);
    }
    STOREF(zero, to);
    STOREF(infinity, to + (POINTS - 1) * to_next);
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
        VEC even = in[2] * rest[PAIRS - 1][p][0], odd = in[1] * rest[PAIRS - 1][p][0];
#pragma unroll
        for (int k = 1; k < PAIRS; k++) {
            even = fma((VEC)rest[PAIRS - 1][p][k], in[2 * k + 2], even);
            odd = fma((VEC)rest[PAIRS - 1][p][k], in[2 * k + 1], odd);
        }
        store_pair(to, to_next, p, even, odd);
    }
}

/* Of the sums at every point, `next` apart, the outputs. */
static void to_outputs(VEC *out, const VEC *sum, int next)
{
    out[0] = sum[0];
#pragma unroll
    for (int m = 1; m < OUTPUTS; m++)
        out[m] = (VEC)0.f;
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
        const VEC plus = sum[(1 + 2 * p) * next], minus = sum[(2 + 2 * p) * next];
        const VEC even = plus + minus, odd = plus - minus;
        float power = 1;
#pragma unroll
        for (int m = 0; m < OUTPUTS; m++, power *= at[PAIRS - 1][p])
            out[m] = fma((VEC)power, m % 2 ? odd : even, out[m]);
    }
    out[OUTPUTS - 1] += sum[(POINTS - 1) * next];
}

/* The arguments of conv1d_taps_panel; w packed [ceil(Cout/PW)][POINTS][Cin][PW], K is TAPS. Rows go
 * in bundles of OUTPUTS, d apart; the last bundles of a sequence may reach past its end. A group
 * has `tiles` tiles of ROWS bundles, in any sequences, and brings their inputs to the points once
 * per PARTIAL of channels.
 * Grid (ceil(B*bundles / (tiles*ROWS)), ceil(ceil(Cout/PW) / panels)); tiles <= MAX_TILES and
 * POINTS * tiles * panels <= MAX_SUMS. The result does not depend on either. */
KERNEL void CAT(conv1d_taps_toom, OUTPUTS)(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias),
                                           OUT(REAL, pre), IN(REAL, residual), IN(uchar, mask),
                                           const int B, const int L, const int Cin, const int Cout,
                                           const int K, const int step, const int tiles,
                                           const int panels, const int parts)
{
    const int width = tiles * ROWS, slice = width * PV; /* sums of a point of a panel */
    const int p0 = (int)get_group_id(1) * panels;
    const int np = min(panels, (Cout + PW - 1) / PW - p0);
    long base[MAX_TILES * ROWS]; /* row of in_0 and out_0 */
    uint live[MAX_TILES * ROWS]; /* bit i: in_i is a row of the sequence */
    float block[POINTS * MAX_TILES * ROWS * PARTIAL];
    VEC sum[MAX_SUMS * ROWS *
            PV]; /* panel p, point s, bundle r: ((p * POINTS + s) * width + r) * PV
                                    */

    for (int r = 0; r < width; r++)
        base[r] = find_bundle((int)get_global_id(0) * width + r, B, L, step, live + r);
    for (int i = 0; i < np * POINTS * slice; i++)
        sum[i] = (VEC)0.f;

    for (int c0 = 0; c0 < Cin; c0 += PARTIAL) {
        const int n = min(PARTIAL, Cin - c0);
        for (int r = 0; r < width; r++)
            for (int c = 0; c < n; c += VW)
                to_points(block + r * PARTIAL + c, width * PARTIAL, PTR(x) + base[r] * Cin + c0 + c,
                          (long)step * Cin, live[r], n - c);
        for (int i = 0; i < np * POINTS; i++) {
            __global const REAL *panel = PTR(w) + (((ulong)p0 * POINTS + i) * Cin + c0) * PW;
            const float *points = block + i % POINTS * width * PARTIAL;
            for (int q = 0; q < tiles; q++) {
                VEC *tile = sum + i * slice + q * ROWS * PV;
                const float *a = points + q * ROWS * PARTIAL;
                REGISTER_TILE(a, PARTIAL, 1, VLOAD, panel, PW, n, tile[i] += part)
            }
        }
    }

    const epilogue e = {PTR(bias), PTR(pre), PTR(residual), PTR(mask), PTR(y), PTR(pre), parts};
    for (int r = 0; r < width; r++)
        for (int v = 0, o = p0 * PW; v < np * PV && o < Cout; v++, o += VW) {
            VEC out[OUTPUTS];
            to_outputs(out, sum + v / PV * POINTS * slice + r * PV + v % PV, slice);
#pragma unroll
            for (int m = 0; m < OUTPUTS; m++) {
                const long row = base[r] + (long)m * step;
                if (live[r] >> m & 1)
                    finish(&e, out[m], row * Cout + o, row, o, Cout - o);
            }
        }
}

/* Of a panel of dy at a point; a line longer than a power of two, or all of them fall into one set
 * of the cache. */
#define DY_PANEL (BUNDLES * PW + 16)

/* Rows of dy at every point; returns their sum. */
static VEC dy_to_points(float *to, int to_next, __global const REAL *from, long next, uint live,
                        int n)
{
    VEC in[OUTPUTS], total = (VEC)0.f;
    load_rows(in, OUTPUTS, from, next, live, n);
#pragma unroll
    for (int m = 0; m < OUTPUTS; m++)
        total += in[m];
    STOREF(in[0], to);
    STOREF(in[OUTPUTS - 1], to + (POINTS - 1) * to_next);
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
        const float square = at[PAIRS - 1][p] * at[PAIRS - 1][p];
        VEC even = in[OUTPUTS - 2], odd = in[OUTPUTS - 1];
#pragma unroll
        for (int m = OUTPUTS - 4; m >= 0; m -= 2) {
            even = fma((VEC)square, even, in[m]);
            odd = fma((VEC)square, odd, in[m + 1]);
        }
        store_pair(to, to_next, p, even, odd);
    }
    return total;
}

/* Of the sums at every point, `next` apart, the gradients of the taps, in place of the first. */
static void to_taps(VEC *sum, int next)
{
    VEC tap[TAPS];
    tap[0] = sum[0] / whole[PAIRS - 1][0];
#pragma unroll
    for (int j = 1; j < TAPS; j++)
        tap[j] = (VEC)0.f;
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
        const VEC plus = sum[(1 + 2 * p) * next], minus = sum[(2 + 2 * p) * next];
        const VEC even = plus + minus, odd = plus - minus;
#pragma unroll
        for (int j = 0; j < TAPS; j++)
            tap[j] = fma((VEC)power(PAIRS, p, j), j % 2 ? odd : even, tap[j]);
    }
    tap[TAPS - 1] += sum[(POINTS - 1) * next];
#pragma unroll
    for (int j = 0; j < TAPS; j++)
        sum[(TAPS - 1 - j) * next] = tap[j]; /* tap 0 of w is the oldest */
}

/* The arguments of conv1d_dw_panel, and what it does, in bundles of rows:
 *   dtap_j = sum_s point[s]^j / scale[s] sum over bundles (sum_i basis[s][i] x_i)
 *                                                        (sum_m point[s]^m dy_m)
 * again with point 0 for dy_0 alone and infinity for the last dy alone. Bundles are counted through
 * all sequences. */
KERNEL void CAT(conv1d_dw_toom, OUTPUTS)(IN(REAL, x), IN(REAL, dy), OUT(REAL, dw), OUT(REAL, db),
                                         const int B, const int L, const int Cin, const int Cout,
                                         const int K, const int d, const int tiles,
                                         const int panels)
{
    const int i0 = (int)get_group_id(0) * tiles * ROWS, ni = min(tiles * ROWS, Cin - i0);
    const int o0 = (int)get_group_id(1) * panels * PW, no = min(panels * PW, Cout - o0);
    const int nt = (ni + ROWS - 1) / ROWS, np = (no + PW - 1) / PW;
    const int width = nt * ROWS, slice = np * width * PV; /* one point's sums */
    const int bundles = B * count_bundles(L, d);
    float xs[POINTS][BUNDLES * MAX_TILES * ROWS + VW]; /* of x the stores run over by a vector */
    float gs[POINTS][MAX_PANELS * DY_PANEL];
    VEC sum[MAX_SUMS * ROWS *
            PV]; /* point s, panel p, channel i: ((s * np + p) * width + i) * PV */
    VEC sum_db[MAX_PANELS * PV];

    for (int i = 0; i < POINTS * slice; i++)
        sum[i] = (VEC)0.f;
    for (int v = 0; v < np * PV; v++)
        sum_db[v] = (VEC)0.f;

    for (int first = 0; first < bundles; first += BUNDLES) {
        const int n = min(BUNDLES, bundles - first);
        VEC part_db[MAX_PANELS * PV];
        for (int v = 0; v < np * PV; v++)
            part_db[v] = (VEC)0.f;
        for (int t = 0; t < n; t++) {
            uint live;
            const long row = find_bundle(first + t, B, L, -d, &live);
            for (int c = 0; c < width; c += VW)
                to_points(xs[0] + t * width + c, sizeof xs[0] / sizeof(float),
                          PTR(x) + row * Cin + i0 + c, -(long)d * Cin, live, Cin - i0 - c);
            for (int v = 0; v < np * PV; v++)
                part_db[v] += dy_to_points(
                    gs[0] + v / PV * DY_PANEL + t * PW + v % PV * VW, sizeof gs[0] / sizeof(float),
                    PTR(dy) + row * Cout + o0 + v * VW, -(long)d * Cout, live, no - v * VW);
        }
        for (int v = 0; v < np * PV; v++)
            sum_db[v] += part_db[v];
        for (int s = 0; s < POINTS; s++)
            for (int p = 0; p < np; p++)
                for (int q = 0; q < nt; q++) {
                    VEC *tile = sum + s * slice + (p * width + q * ROWS) * PV;
                    const float *a = xs[s] + q * ROWS, *panel = gs[s] + p * DY_PANEL;
                    const int ahead = first + n + (s * np + p) * nt + q; /* a tile, a bundle */
                    if (ahead < min(first + n + BUNDLES, bundles)) {
                        uint live;
                        const long row = find_bundle(ahead, B, L, -d, &live);
                        for (int m = 0; m < OUTPUTS; m++)
                            if (live >> m & 1) {
                                fetch(PTR(x) + (row - (long)m * d) * Cin + i0, ni);
                                fetch(PTR(dy) + (row - (long)m * d) * Cout + o0, no);
                            }
                    }
                    REGISTER_TILE(a, 1, width, LOADF, panel, PW, n, tile[i] += part)
                }
    }

    for (int i = 0; i < slice; i++)
        to_taps(sum + i, slice);
    add_dw(PTR(dw) + ((ulong)o0 * Cin + i0) * K, (ulong)Cin * K, no, ni, K, sum, slice, width * PV);
    if (db_base != 0 && i0 == 0)
        add_db(PTR(db) + o0, no, sum_db);
}
