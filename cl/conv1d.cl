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
 * the loop knows no edges. A register sum runs over at most CHUNK products and is then added to a
 * private master tile: that bounds the rounding error (c <= 8 in units of 2^-24 sum|x||w|; 1.5
 * measured at 1280 products). No knob depends on B, L, channels, K or d: no shape compiles.
 * ROWS * PV sums, PV weights and one broadcast must fit the registers: 6x2 of 16, 8x2 of 32;
 * 7x2 of 16 spills and halves the speed.
 */
#ifndef ROWS
#define ROWS (VW == 16 ? 8 : 6)
#endif
#ifndef PV
#define PV 2 /* vectors per panel */
#endif
#define PW (VW * PV) /* channels per panel */
#ifndef CHUNK
#define CHUNK 64 /* products per register sum; a multiple of VW */
#endif
#ifndef INNER
#define INNER 4 /* steps per turn of the innermost loop */
#endif
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
#define TURN 64 /* conv1d_dw_panel: numbers of a row that are turned at a time */
#define KERNEL __kernel __attribute__((reqd_work_group_size(1, 1, 1)))

#define UNROLL _Pragma("unroll")

/* Private copies and sums are floats whatever the storage type is. */
#define LOADF(p) CAT(vload, VW)(0, p)
#define STOREF(v, p) CAT(vstore, VW)(v, 0, p)

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

/* clang-format off */
/* One product per sum: ROWS broadcasts of a[r*ROW + i*STEP] times PV vectors of w[i*PW ..]. */
#define REGISTER_STEP(acc, a, ROW, STEP, LOADW, w, i)                                              \
    {                                                                                              \
        VEC wv[PV];                                                                                \
        UNROLL for (int v = 0; v < PV; v++)                                                        \
            wv[v] = LOADW((w) + (i) * PW + v * VW);                                                \
        UNROLL for (int r = 0; r < ROWS; r++) {                                                    \
            const VEC s = (VEC)((a)[r * (ROW) + (i) * (STEP)]);                                    \
            UNROLL for (int v = 0; v < PV; v++)                                                    \
                acc[r][v] = fma(s, wv[v], acc[r][v]);                                              \
        }                                                                                          \
    }

/* sum[] += the products of n steps, summed in registers. A macro: w is in global or private memory.
 * Unrolled by hand: LLVM leaves a loop of unknown length alone here. */
#define REGISTER_TILE(sum, a, ROW, STEP, LOADW, w, n)                                              \
    {                                                                                              \
        VEC acc[ROWS][PV];                                                                         \
        UNROLL for (int r = 0; r < ROWS; r++)                                                      \
            UNROLL for (int v = 0; v < PV; v++)                                                    \
                acc[r][v] = (VEC)0.f;                                                              \
        int i = 0;                                                                                 \
        for (; i + INNER <= (n); i += INNER)                                                       \
            UNROLL for (int u = 0; u < INNER; u++)                                                 \
                REGISTER_STEP(acc, a, ROW, STEP, LOADW, w, i + u)                                  \
        for (; i < (n); i++)                                                                       \
            REGISTER_STEP(acc, a, ROW, STEP, LOADW, w, i)                                          \
        UNROLL for (int r = 0; r < ROWS; r++)                                                      \
            UNROLL for (int v = 0; v < PV; v++)                                                    \
                (sum)[r * PV + v] += acc[r][v];                                                    \
    }
/* clang-format on */

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
                              const int step, const int tiles, const int panels, const int epilogue)
{
    const long row0 = (long)get_global_id(0) * tiles * ROWS;
    const int rows = (int)min((long)tiles * ROWS, (long)B * L - row0);
    const int t0 = (int)(row0 % L);
    const int p0 = (int)get_group_id(1) * panels;
    const int np = min(panels, (Cout + PW - 1) / PW - p0);
    float block[MAX_TILES * ROWS * CHUNK];
    VEC sum[MAX_SUMS * ROWS * PV]; /* panel p, row r, vector v: (p * tiles * ROWS + r) * PV + v */

    for (int i = 0; i < np * tiles * ROWS * PV; i++)
        sum[i] = (VEC)0.f;

    for (int c0 = 0; c0 < Cin; c0 += CHUNK) {
        const int n = min(CHUNK, Cin - c0);
        for (int s = 0; s < K; s++) {
            const long shift = (long)s * step;
            uint live = 0; /* tiles with a row inside its sequence */
            for (int r = 0, t = t0; r < tiles * ROWS; r++, t = t + 1 == L ? 0 : t + 1) {
                const bool inside = r < rows && t + shift >= 0 && t + shift < L;
                copy_row(block + r * CHUNK, PTR(x) + (row0 + r + shift) * Cin + c0, inside ? n : 0,
                         CHUNK);
                live |= (uint)inside << (r / ROWS);
            }
            for (int p = 0; p < np; p++) {
                __global const REAL *panel = PTR(w) + (((ulong)(p0 + p) * K + s) * Cin + c0) * PW;
                for (int q = 0; q < tiles; q++) {
                    VEC *tile = sum + (p * tiles + q) * ROWS * PV;
                    const float *a = block + q * ROWS * CHUNK;
                    if (live >> q & 1)
                        REGISTER_TILE(tile, a, CHUNK, 1, VLOAD, panel, n)
                }
            }
        }
    }

    for (int r = 0; r < rows; r++) {
        const bool masked = epilogue & MASK && PTR(mask)[row0 + r] == 0;
        for (int p = 0; p < np; p++)
            for (int v = 0; v < PV; v++) {
                const int o = (p0 + p) * PW + v * VW, n = Cout - o;
                const ulong at = (ulong)(row0 + r) * Cout + o;
                if (n <= 0)
                    break;
                VEC z = sum[(p * tiles * ROWS + r) * PV + v];
                if (epilogue & BIAS)
                    z += load_lanes(PTR(bias) + o, n);
                if (epilogue & PRE)
                    store_lanes(z, PTR(pre) + at, n);
                if (epilogue & GELU)
                    z = gelu(z);
                if (epilogue & GELU_GRAD)
                    z *= gelu_grad(load_lanes(PTR(pre) + at, n));
                if (epilogue & RESIDUAL)
                    z += load_lanes(PTR(residual) + at, n);
                store_lanes(masked ? (VEC)0.f : z, PTR(y) + at, n);
            }
    }
}

/* Sums are by tap, input channel, lane; rows of dw by lane, input channel, tap. Add n <= TURN
 * numbers of each of `lanes` rows, from number e on, by way of a private block that stays in L1. */
static void add_turned(__global REAL *to, ulong row, int lanes, const VEC *sum, int next_tap, int K,
                       int e, int n)
{
    float turned[PW * TURN];
    int i = e / K, j = e % K;
    for (int c = 0; c < n; c++) {
        const float *from = (const float *)(sum + j * next_tap + i * PV);
#pragma unroll
        for (int l = 0; l < PW; l++)
            turned[l * TURN + c] = from[l];
        i += ++j == K;
        j = j == K ? 0 : j;
    }
    for (int l = 0; l < lanes; l++, to += row) {
        int c = 0;
        for (; c + VW <= n; c += VW)
            VSTORE(VLOAD(to + c) + LOADF(turned + l * TURN + c), to + c);
        for (; c < n; c++)
            STORE(LOAD(to, c) + turned[l * TURN + c], to, c);
    }
}

/* Weight gradient: dw [Cout][Cin][K] += ..., and, unless null, db [Cout] += sum of dy over rows.
 *   x [B*L, Cin]   dy [B*L, Cout]   K = 1 knows no sequences: give it as B = 1 and one long L
 * Grid (ceil(Cin / (tiles*ROWS)), ceil(Cout / (panels*PW))); tiles <= DW_TILES and
 * panels <= DW_PANELS, tiles * panels * K <= DW_SUMS. A register tile is input x output
 * channels, its steps are rows.
 * A group owns its block of dw for all taps and walks all rows in order, copying dy once per CHUNK
 * of rows and x once per tap: no global packing, no split, no atomics, always the same bits.
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
    float xs[CHUNK * DW_TILES * ROWS];
    float gs[DW_PANELS * CHUNK * PW];
    VEC sum[DW_SUMS * ROWS * PV]; /* tap j, panel p, channel i: ((j * np + p) * width + i) * PV */
    VEC sum_db[DW_PANELS * PV];

    for (int i = 0; i < K * np * width * PV; i++)
        sum[i] = (VEC)0.f;
    for (int v = 0; v < np * PV; v++)
        sum_db[v] = (VEC)0.f;

    for (long b = 0; b < B; b++)
        for (int c0 = 0; c0 < L; c0 += CHUNK) {
            const int n = min(CHUNK, L - c0);
            for (int t = 0; t < n; t++) {
                __global const REAL *from = PTR(dy) + (b * L + c0 + t) * Cout + o0;
                for (int p = 0; p < np; p++)
                    copy_row(gs + (p * CHUNK + t) * PW, from + p * PW, min(PW, no - p * PW), PW);
            }
            for (int v = 0; with_db && v < np * PV; v++) {
                VEC part = (VEC)0.f;
                for (int t = 0; t < n; t++)
                    part += LOADF(gs + (v / PV * CHUNK + t) * PW + v % PV * VW);
                sum_db[v] += part;
            }
            for (int j = 0; j < K; j++) {
                const long shift = (long)(K - 1 - j) * d;
                const int first = (int)clamp(shift - c0, 0L, (long)n);
                for (int t = first; t < n; t++)
                    copy_row(xs + t * width, PTR(x) + (b * L + c0 + t - shift) * Cin + i0, ni,
                             width);
                for (int p = 0; p < np; p++) {
                    const float *panel = gs + (p * CHUNK + first) * PW;
                    for (int q = 0; q < nt; q++) {
                        VEC *tile = sum + ((j * np + p) * nt + q) * ROWS * PV;
                        const float *a = xs + first * width + q * ROWS;
                        REGISTER_TILE(tile, a, 1, width, LOADF, panel, n - first)
                    }
                }
            }
        }

    for (int p = 0; p < np; p++)
        for (int e = 0; e < ni * K; e += TURN)
            add_turned(PTR(dw) + ((ulong)(o0 + p * PW) * Cin + i0) * K + e, (ulong)Cin * K,
                       min(PW, no - p * PW), sum + p * width * PV, np * width * PV, K, e,
                       min(TURN, ni * K - e));
    for (int o = 0; with_db && o < no; o++)
        STORE(LOAD(PTR(db), o0 + o) + ((const float *)sum_db)[o], PTR(db), o0 + o);
}

/* The first n lanes from p, `stride` apart, the others zero. */
static VEC gather(__global const REAL *p, long stride, int n)
{
    if (n >= VW) {
        float lane[VW];
#pragma unroll
        for (int l = 0; l < VW; l++)
            lane[l] = LOAD(p, l * stride);
        return LOADF(lane);
    }
    float lane[VW];
    for (int l = 0; l < VW; l++)
        lane[l] = l < n ? LOAD(p, l * stride) : 0.f;
    return LOADF(lane);
}

/* All packed copies of a model's weights in one launch: w [Cout][Cin][K] to [ceil(N/PW)][K][R][PW],
 * lanes past N zero. Layout 0, forward: N = Cout, R = Cin. Layout 1, input gradient: N = Cin,
 * R = Cout. Step s is tap K-1-s in both.
 *   table [copies][8]: offsets in w and in packed, Cout, Cin, K, layout, first group, 0
 * Grid (groups of all copies); a copy takes ceil(N/PW) * ceil(R/PACK_ROWS), microseconds each. */
KERNEL void conv1d_pack(IN(REAL, w), OUT(REAL, packed), IN(long, table), const int copies)
{
    const long group = (long)get_group_id(0);
    __global const long *row = PTR(table);
    for (int i = 1; i < copies && row[8 + 6] <= group; i++)
        row += 8;
    const long Cout = row[2], Cin = row[3], layout = row[5];
    const int K = (int)row[4];
    const long N = layout ? Cin : Cout, R = layout ? Cout : Cin;
    const long next_lane = layout ? K : Cin * K, next_r = layout ? Cin * K : K;
    const long slices = (R + PACK_ROWS - 1) / PACK_ROWS, p = (group - row[6]) / slices;
    const long r0 = (group - row[6]) % slices * PACK_ROWS, r1 = min(R, r0 + PACK_ROWS);
    const int lanes = (int)min((long)PW, N - p * PW);
    __global const REAL *from = PTR(w) + row[0] + p * PW * next_lane;
    __global REAL *to = PTR(packed) + row[1] + p * K * R * PW;

    for (long r = r0; r < r1; r++)
        for (int s = 0; s < K; s++) {
            __global const REAL *a = from + r * next_r + K - 1 - s;
            for (int v = 0; v < PV; v++)
                VSTORE(gather(a + v * VW * next_lane, next_lane, lanes - v * VW),
                       to + (s * R + r) * PW + v * VW);
        }
}
