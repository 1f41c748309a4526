/* conv1d.cl -- dilated Conv1D as an implicit GEMM for CPU devices.
 *
 *   forward          y[b,t,o]  = sum_j sum_i x[b, t-(K-1-j)d, i] w[o,i,j]
 *   input gradient   dx[b,t,i] = sum_j sum_o dy[b, t+(K-1-j)d, o] w[o,i,j]
 *   weight gradient  dw[o,i,j] += sum_b sum_t dy[b,t,o] x[b, t-(K-1-j)d, i]
 *
 * Rows outside [0,L) count as zero.
 * One work-item per group. Its innermost loop keeps ROWS x PV vectors of sums in registers; each
 * step broadcasts ROWS scalars and loads PV vectors. What it broadcasts is first copied to a small
 * private block: there strides are short, and rows outside [0,L) and channel tails are zeros, so
 * the loop knows no edges. A register sum runs over at most PARTIAL products and is then added to a
 * private master tile: that bounds the rounding error (c <= 8 in units of 2^-24 sum|x||w|; 1.5
 * measured at 1280 products). No knob depends on B, L, channels, K or d: no shape compiles.
 */
#ifndef MAX_TILES
#define MAX_TILES 16 /* conv1d_taps_panel: row tiles per group; at most 32, a bit each */
#endif
#ifndef MAX_SUMS
#define MAX_SUMS (12288 / (ROWS * PW)) /* row tiles times panels per group: 48 KB of sums */
#endif
#ifndef DW_TILES
#define DW_TILES 16 /* conv1d_dw_panel: tiles of ROWS input channels per group */
#endif
#ifndef DW_PANELS
#define DW_PANELS (256 / PW) /* panels per group */
#endif
#ifndef DW_SUMS
#define DW_SUMS (49152 / (ROWS * PW)) /* tiles times panels times K per group: 192 KB of sums */
#endif
#ifndef PACK_ROWS
#define PACK_ROWS 64 /* conv1d_pack: reduction channels per group */
#endif
/* Row l's number c becomes row c's number l: each turn of the loop deals the two halves of the rows
 * out in turn, as cards are shuffled. */
static void turn(VEC *rows)
{
    VEC dealt[VW];
#pragma unroll
    for (int w = 1; w < VW; w *= 2) {
#pragma unroll
        for (int i = 0; i < VW; i++) {
            const VEC a = rows[i / 2], b = rows[i / 2 + VW / 2];
            dealt[i].even = i % 2 ? a.hi : a.lo;
            dealt[i].odd = i % 2 ? b.hi : b.lo;
        }
#pragma unroll
        for (int i = 0; i < VW; i++)
            rows[i] = dealt[i];
    }
}

/* n floats into a private row of `width` >= n floats, the rest zeros. */
static void copy_row(float *to, __global const REAL *from, int n, int width)
{
    int i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW)
#pragma unroll
        for (int u = 0; u < 4; u++)
            STOREF(VLOAD(from + i + u * VW), to + i + u * VW);
    for (; i + VW <= n; i += VW)
        STOREF(VLOAD(from + i), to + i);
    for (; i < n; i++)
        to[i] = LOAD(from, i);
    for (; i < width; i++)
        to[i] = 0.f;
}

/* Forward and input gradient: y[row,o] = sum over s, i of x[row + s*step, i] w[s,i,o], epilogue.
 *   x [B*L, Cin]   y, pre, residual [B*L, Cout]   bias [Cout]   mask [B*L]
 *   w packed by conv1d_pack, [ceil(Cout/PW)][K][Cin][PW]
 *   step = -d forward, +d for dx, there with channels swapped
 * PRE writes pre, GELU_GRAD reads it. What the epilogue does not name may be null.
 * Grid (ceil(B*L / (tiles*ROWS)), ceil(ceil(Cout/PW) / panels)); tiles <= MAX_TILES and
 * tiles * panels <= MAX_SUMS. The host chooses both; the result does not depend on them, bit for
 * bit. Groups next to each other in x share weights. A block of rows may cross sequences: each row
 * knows its t. A tile that sees only padding is skipped. An output row sums only its own rows of x:
 * an Inf at t reaches no earlier row and no other sequence. */
KERNEL void conv1d_taps_panel(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias),
                              OUT(REAL, pre), IN(REAL, residual), IN(uchar, mask), const int B,
                              const int L, const int Cin, const int Cout, const int K,
                              const int step, const int tiles, const int panels, const int parts)
{
    const long row0 = (long)get_global_id(0) * tiles * ROWS;
    const int rows = (int)min((long)tiles * ROWS, (long)B * L - row0);
    const int t0 = (int)(row0 % L);
    const int p0 = (int)get_group_id(1) * panels;
    const int np = min(panels, (Cout + PW - 1) / PW - p0);
    float block[MAX_TILES * ROWS * PARTIAL];
    VEC sum[MAX_SUMS * ROWS * PV]; /* panel p, row r, vector v: (p * tiles * ROWS + r) * PV + v */

    for (int i = 0; i < np * tiles * ROWS * PV; i++)
        sum[i] = (VEC)0.f;

    for (int c0 = 0; c0 < Cin; c0 += PARTIAL) {
        const int n = min(PARTIAL, Cin - c0);
        for (int s = 0; s < K; s++) {
            const long shift = (long)s * step;
            uint live = 0; /* tiles with a row inside its sequence */
            for (int r = 0, t = t0; r < tiles * ROWS; r++, t = t + 1 == L ? 0 : t + 1) {
                const bool inside = r < rows && t + shift >= 0 && t + shift < L;
                copy_row(block + r * PARTIAL, PTR(x) + (row0 + r + shift) * Cin + c0,
                         inside ? n : 0, PARTIAL);
                live |= (uint)inside << (r / ROWS);
            }
            for (int p = 0; p < np; p++) {
                __global const REAL *panel = PTR(w) + (((ulong)(p0 + p) * K + s) * Cin + c0) * PW;
                for (int q = 0; q < tiles; q++) {
                    VEC *tile = sum + (p * tiles + q) * ROWS * PV;
                    const float *a = block + q * ROWS * PARTIAL;
                    if (live >> q & 1)
                        REGISTER_TILE(a, PARTIAL, 1, VLOAD, panel, n, tile[i] += part)
                }
            }
        }
    }

    const epilogue e = {PTR(bias), PTR(pre), PTR(residual), PTR(mask), PTR(y), PTR(pre), parts};
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < np; p++)
            finish_panel(&e, sum + (p * tiles * ROWS + r) * PV, row0 + r, Cout, (p0 + p) * PW);
}

/* Adds sums, which are by tap, input channel and lane, to rows of dw, by lane, input channel and
 * tap: n <= VW numbers of VW rows (`lanes` of them there), from number e on. */
static void add_turned(__global REAL *to, ulong row, int lanes, const VEC *sum, int next_tap, int K,
                       int e, int n)
{
    VEC turned[VW];
    int i = e / K, j = e % K;
#pragma unroll
    for (int c = 0; c < VW; c++) {
        turned[c] = c < n ? sum[j * next_tap + i * PV] : (VEC)0.f;
        i += ++j == K;
        j = j == K ? 0 : j;
    }
    turn(turned);
#pragma unroll
    for (int l = 0; l < VW; l++, to += row)
        if (l < lanes)
            store_lanes(load_lanes(to, n) + turned[l], to, n);
}

/* Weight gradient: dw [Cout][Cin][K] += ..., and, unless null, db [Cout] += sum of dy over rows.
 *   x [B*L, Cin]   dy [B*L, Cout]   K = 1 knows no sequences: give it as B = 1 and one long L
 * Grid (ceil(Cin / (tiles*ROWS)), ceil(Cout / (panels*PW))); tiles <= DW_TILES and
 * panels <= DW_PANELS, tiles * panels * K <= DW_SUMS. A register tile is input x output
 * channels, its steps are rows.
 * A group owns its block of dw for all taps and walks all rows in order, copying dy once per
 * PARTIAL rows and x once per tap: no global packing, no split, no atomics, always the same bits.
 * Rows that meet only padding are left out. */
KERNEL void conv1d_dw_panel(IN(REAL, x), IN(REAL, dy), OUT(REAL, dw), OUT(REAL, db), const int B,
                            const int L, const int Cin, const int Cout, const int K, const int d,
                            const int tiles, const int panels)
{
    const int i0 = (int)get_group_id(0) * tiles * ROWS, ni = min(tiles * ROWS, Cin - i0);
    const int o0 = (int)get_group_id(1) * panels * PW, no = min(panels * PW, Cout - o0);
    const int nt = (ni + ROWS - 1) / ROWS, np = (no + PW - 1) / PW;
    const int width = nt * ROWS;
    const bool with_db = db_base != 0 && i0 == 0;
    float xs[PARTIAL * DW_TILES * ROWS];
    float gs[DW_PANELS * PARTIAL * PW];
    VEC sum[DW_SUMS * ROWS * PV]; /* tap j, panel p, channel i: ((j * np + p) * width + i) * PV */
    VEC sum_db[DW_PANELS * PV];

    for (int i = 0; i < K * np * width * PV; i++)
        sum[i] = (VEC)0.f;
    for (int v = 0; v < np * PV; v++)
        sum_db[v] = (VEC)0.f;

    for (long b = 0; b < B; b++)
        for (int c0 = 0; c0 < L; c0 += PARTIAL) {
            const int n = min(PARTIAL, L - c0);
            for (int t = 0; t < n; t++) {
                __global const REAL *from = PTR(dy) + (b * L + c0 + t) * Cout + o0;
                for (int p = 0; p < np; p++)
                    copy_row(gs + (p * PARTIAL + t) * PW, from + p * PW, min(PW, no - p * PW), PW);
            }
            for (int v = 0; with_db && v < np * PV; v++) {
                VEC part = (VEC)0.f;
                for (int t = 0; t < n; t++)
                    part += LOADF(gs + (v / PV * PARTIAL + t) * PW + v % PV * VW);
                sum_db[v] += part;
            }
            for (int j = 0; j < K; j++) {
                const long shift = (long)(K - 1 - j) * d;
                const int first = (int)clamp(shift - c0, 0L, (long)n);
                for (int t = first; t < n; t++)
                    copy_row(xs + t * width, PTR(x) + (b * L + c0 + t - shift) * Cin + i0, ni,
                             width);
                for (int p = 0; p < np; p++) {
                    const float *panel = gs + (p * PARTIAL + first) * PW;
                    for (int q = 0; q < nt; q++) {
                        VEC *tile = sum + ((j * np + p) * nt + q) * ROWS * PV;
                        const float *a = xs + first * width + q * ROWS;
                        REGISTER_TILE(a, 1, width, LOADF, panel, n - first, tile[i] += part)
                    }
                }
            }
        }

    for (int p = 0; p < np * PV; p++)
        for (int e = 0; e < ni * K; e += VW)
            add_turned(PTR(dw) + ((ulong)(o0 + p * VW) * Cin + i0) * K + e, (ulong)Cin * K,
                       no - p * VW, sum + p / PV * width * PV + p % PV, np * width * PV, K, e,
                       ni * K - e);
    for (int o = 0; with_db && o < no; o++)
        STORE(LOAD(PTR(db), o0 + o) + ((const float *)sum_db)[o], PTR(db), o0 + o);
}

/* Toom-Cook F(2,K): powers of the points 0, 1, -1 (K 3) or 0, +-5/8, +-3/2 (K 5), over the product
 * of a point's distances to the others; then infinity. See conv1d_toom.cl. */
#define POWERS3(x, scale)                                                                          \
    {                                                                                              \
        1.f / (scale), (x) / (scale), (x) * (x) / (scale)                                          \
    }
#define POWERS5(x, scale)                                                                          \
    {                                                                                              \
        1.f / (scale), (x) / (scale), (x) * (x) / (scale), (x) * (x) * (x) / (scale),              \
            (x) * (x) * (x) * (x) / (scale)                                                        \
    }
__constant float powers3[4][3] = {
    POWERS3(0.f, -1.f), POWERS3(1.f, 2.f), POWERS3(-1.f, 2.f), {0, 0, 1}};
__constant float powers5[6][5] = {
    POWERS5(0.f, 0.87890625f), POWERS5(0.625f, -1.45263671875f), POWERS5(-0.625f, -1.45263671875f),
    POWERS5(1.5f, 8.3671875f), POWERS5(-1.5f, 8.3671875f),       {0, 0, 0, 0, 1}};

/* clang-format off */
/* to_points3 and 5: VW weights of one row, tap by tap in slices `next` apart, to their values at
 * the points. */
#define TO_POINTS(K)                                                                               \
    static void to_points##K(__global REAL *slices, long next)                                     \
    {                                                                                              \
        VEC tap[K];                                                                                \
        UNROLL for (int j = 0; j < K; j++)                                                         \
            tap[j] = VLOAD(slices + j * next);                                                     \
        UNROLL for (int s = 0; s <= K; s++) {                                                      \
            VEC sum = tap[0] * powers##K[s][0];                                                    \
            UNROLL for (int j = 1; j < K; j++)                                                     \
                sum = fma((VEC)powers##K[s][j], tap[j], sum);                                      \
            VSTORE(sum, slices + s * next);                                                        \
        }                                                                                          \
    }
TO_POINTS(3)
TO_POINTS(5)
/* clang-format on */

/* VW numbers of each of `lanes` rows of w, `row` apart, turned; at is the first, end is w's. */
static void load_turned(VEC *turned, __global const REAL *w, long at, long end, long row, int lanes)
{
    const bool whole = lanes >= VW && at + (VW - 1) * row + VW <= end;
#pragma unroll
    for (int l = 0; l < VW; l++)
        turned[l] = whole       ? VLOAD(w + at + l * row)
                    : l < lanes ? load_lanes(w + at + l * row, end - at - l * row)
                                : (VEC)0.f;
    turn(turned);
}

/* All packed copies of a model's weights in one launch: w [Cout][Cin][K] to [ceil(N/PW)][S][R][PW],
 * lanes past N zero. Layout 0, forward: N = Cout, R = Cin. Layout 1, input gradient: N = Cin,
 * R = Cout. S = K: slice s is tap K-1-s in both. S = K + 1: slice s is point s of F(2,K).
 *   table [copies][8]: offsets in w and in packed, Cout, Cin, K, layout, first group, S
 * Grid (groups of all copies); a copy takes ceil(N/PW) * ceil(R/PACK_ROWS), microseconds each. */
KERNEL void conv1d_pack(IN(REAL, w), OUT(REAL, packed), IN(long, table), const int copies)
{
    const long group = (long)get_group_id(0);
    __global const long *row = PTR(table);
    for (int i = 1; i < copies && row[8 + 6] <= group; i++)
        row += 8;
    const long Cout = row[2], Cin = row[3], layout = row[5];
    const int K = (int)row[4], S = (int)row[7];
    const long N = layout ? Cin : Cout, R = layout ? Cout : Cin;
    const long next_lane = layout ? K : Cin * K, next_r = layout ? Cin * K : K;
    const long slices = (R + PACK_ROWS - 1) / PACK_ROWS, p = (group - row[6]) / slices;
    const long r0 = (group - row[6]) % slices * PACK_ROWS, r1 = min(R, r0 + PACK_ROWS);
    const long end = Cout * Cin * K, next_slice = R * PW;
    const int run = layout ? 1 : (int)(r1 - r0); /* rows in one piece of memory */
    __global const REAL *from = PTR(w) + row[0];
    __global REAL *to = PTR(packed) + row[1] + p * S * R * PW;

    for (int v = 0; v < PV; v++, to += VW) {
        const long lane0 = p * PW + v * VW;
        const int lanes = (int)min((long)VW, N - lane0);
        for (long r = r0; r < r1; r += run) {
            __global REAL *slice = to + r * PW;
            for (int e = 0, j = K - 1; e < run * K; e += VW) {
                VEC turned[VW];
                load_turned(turned, from, lane0 * next_lane + r * next_r + e, end, next_lane, lanes);
#pragma unroll
                for (int c = 0; c < VW; c++) {
                    if (e + c < run * K)
                        VSTORE(turned[c], slice + j * next_slice);
                    slice += j ? 0 : PW;
                    j = j ? j - 1 : K - 1;
                }
            }
        }
        for (long r = r0; r < r1 && S > K; r++)
            K == 3 ? to_points3(to + r * PW, next_slice) : to_points5(to + r * PW, next_slice);
    }
}
