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
 * the loop knows no edges. While a tile is multiplied, a row of the next block is fetched: the
 * copies would wait for memory a tenth to a third of the time. A register sum runs over at most
 * DEPTH products (dw: PARTIAL) and is then added to a private master tile: that bounds the rounding
 * error (c <= 8 in units of 2^-24 sum|x||w|; 1.7 measured). No knob depends on B, L, channels, K or
 * d: no shape compiles. The host chooses MAX_TILES (at most 32, a bit each, for the forward pass),
 * MAX_PANELS and MAX_SUMS, the most that a group may hold.
 */
/* A private row of `width` floats, of which the first `there` are in memory, the others zero. It
 * ends with a whole vector: what runs over is for the next row to write. */
static void copy_row(float *to, __global const REAL *from, int there, int width)
{
    int c = 0;
    for (; c < width && c + VW <= there; c += VW)
        STOREF(VLOAD(from + c), to + c);
    for (; c < width; c += VW)
        STOREF(c < there ? load_lanes(from + c, there - c) : (VEC)0.f, to + c);
}

/* A row of a panel, of which the first `there` are in memory. */
static void copy_panel(float *to, __global const REAL *from, int there)
{
    if (there < PW)
        copy_row(to, from, there, PW);
    else
        UNROLL for (int v = 0; v < PV; v++) STOREF(VLOAD(from + v * VW), to + v * VW);
}

#define DEPTH (2 * PARTIAL) /* products of a register sum: 3 % faster than PARTIAL */

/* What a group needs of a row after channel c: DEPTH more of x or, after the last, what the epilogue
 * touches, n channels from o on. */
static void fetch_next(const epilogue *e, __global const REAL *x, long row, int Cin, int c,
                       int Cout, int o, int n)
{
    const long at = row * Cout + o;
    if (c < Cin) {
        fetch(x + row * Cin + c, min(DEPTH, Cin - c));
        return;
    }
    fetch(e->y + at, n);
    if (e->parts & (PRE | GELU_GRAD))
        fetch(e->pre + at, n);
    if (e->parts & RESIDUAL)
        fetch(e->residual + at, n);
}

#define CACHED (1 << 17) /* weights that stay in a core's cache from one tile of rows to the next */

/* A tile's part of n rows of a panel, for the next turn. */
static void fetch_panel(__global const REAL *panel, int w_row, int n, int tile, int tiles)
{
    const int part = (n + tiles - 1) / tiles, end = min(n, (tile + 1) * part);
    for (int i = tile * part; i < end; i++)
        fetch(panel + (long)i * w_row, PW);
}

/* Forward and input gradient: y[row,o] = sum over s, i of x[row + s*step, i] w[s,i,o], epilogue.
 *   x [B*L, Cin]   y, pre, residual [B*L, Cout]   bias [Cout]   mask [B*L]
 *   w packed by conv1d_pack, [ceil(Cout/PW)][K][Cin][PW]: its rows are w_row = PW apart, its panels
 *     w_panel = K Cin PW. For dx with K = 1 and whole panels also w as it is: w_row = Cout,
 *     w_panel = PW
 *   step = -d forward, +d for dx, there with channels swapped
 *   across: tiles take rows position by position, those of all sequences, else sequence by sequence
 * PRE writes pre, GELU_GRAD reads it. What the epilogue does not name may be null.
 * Grid (ceil(B*L / (tiles*ROWS)), ceil(ceil(Cout/PW) / panels)); tiles <= MAX_TILES and
 * tiles * panels <= MAX_SUMS. The host chooses both, and across; the result does not depend on them,
 * bit for bit. Groups next to each other in x share weights. A block of rows may cross sequences:
 * each row knows its t. A tile that sees only padding is skipped, in short sequences more of them if
 * they are taken across. An output row sums only its own rows of x: an Inf at t reaches no earlier
 * row and no other sequence. */
KERNEL void conv1d_taps_panel(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias),
                              OUT(REAL, pre), IN(REAL, residual), IN(uchar, mask), const int B,
                              const int L, const int Cin, const int Cout, const int K,
                              const int step, const int tiles, const int panels, const int parts,
                              const int w_row, const long w_panel, const int across)
{
    const long row0 = (long)get_global_id(0) * tiles * ROWS;
    const int rows = (int)min((long)tiles * ROWS, (long)B * L - row0);
    const int p0 = (int)get_group_id(1) * panels;
    const int np = min(panels, (Cout + PW - 1) / PW - p0);
    const epilogue e = {PTR(bias), PTR(pre), PTR(residual), PTR(mask), PTR(y), PTR(pre), parts};
    const bool streams = (ulong)np * K * Cin * PW > CACHED;
    float block[MAX_TILES * ROWS * DEPTH];
    VEC sum[MAX_SUMS * ROWS * PV]; /* panel p, row r, vector v: (p * tiles * ROWS + r) * PV + v */
    long row[MAX_TILES * ROWS];
    int t[MAX_TILES * ROWS];

    for (int r = 0; r < rows; r++) {
        const long k = row0 + r;
        t[r] = (int)(across ? k / B : k % L);
        row[r] = across ? k % B * L + t[r] : k;
    }
    for (int i = 0; i < np * tiles * ROWS * PV; i++)
        sum[i] = (VEC)0.f;

    for (int c0 = 0; c0 < Cin; c0 += DEPTH) {
        const int n = min(DEPTH, Cin - c0);
        for (int s = 0; s < K; s++) {
            const long shift = (long)s * step;
            uint live = 0; /* tiles with a row inside its sequence */
            for (int r = 0; r < tiles * ROWS; r++) {
                const bool inside = r < rows && t[r] + shift >= 0 && t[r] + shift < L;
                const long from = inside ? row[r] + shift : 0;
                copy_row(block + r * DEPTH, PTR(x) + from * Cin + c0, inside ? n : 0, n);
                live |= (uint)inside << (r / ROWS);
            }
            __global const REAL *first = PTR(w) + p0 * w_panel + ((long)s * Cin + c0) * w_row;
            for (int p = 0; p < np; p++) {
                __global const REAL *panel = first + p * w_panel, *next = panel + w_panel;
                int next_n = n;
                if (p + 1 == np) { /* the first panel's next tap, or after the last more channels */
                    const int s1 = s + 1 < K ? s + 1 : 0, c1 = s1 ? c0 : c0 + n;
                    next = PTR(w) + p0 * w_panel + ((long)s1 * Cin + c1) * w_row;
                    next_n = min(DEPTH, Cin - c1);
                }
                for (int q = 0; q < tiles; q++) {
                    VEC *tile = sum + (p * tiles + q) * ROWS * PV;
                    const float *a = block + q * ROWS * DEPTH;
                    const int ahead = p * tiles + q;
                    if (s == K - 1 && ahead < rows)
                        fetch_next(&e, PTR(x), row[ahead], Cin, c0 + n, Cout, p0 * PW,
                                   min(np * PW, Cout - p0 * PW));
                    if (streams)
                        fetch_panel(next, w_row, next_n, q, tiles);
                    if (live >> q & 1)
                        REGISTER_TILE(a, DEPTH, 1, VLOAD, panel, w_row, n, tile[i] += part)
                }
            }
        }
    }

    for (int r = 0; r < rows; r++)
        for (int p = 0; p < np; p++)
            finish_panel(&e, sum + (p * tiles * ROWS + r) * PV, row[r], Cout, (p0 + p) * PW);
}

/* Of a panel of dy; a line longer than a power of two, or all of them fall into one set of the
 * cache. */
#define DY_PANEL (PARTIAL * PW + 16)

/* Weight gradient: dw [Cout][Cin][K] += ..., and, unless null, db [Cout] += sum of dy over rows.
 *   x [B*L, Cin]   dy [B*L, Cout]   K = 1 knows no sequences: give it as B = 1 and one long L
 * Grid (ceil(Cin / (tiles*ROWS)), ceil(Cout / (panels*PW))); tiles <= MAX_TILES and
 * panels <= MAX_PANELS, tiles * panels * K <= MAX_SUMS. A register tile is input x output
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
    float xs[PARTIAL * MAX_TILES * ROWS + VW];
    float gs[MAX_PANELS * DY_PANEL];
    VEC sum[MAX_SUMS * ROWS * PV]; /* tap j, panel p, channel i: ((j * np + p) * width + i) * PV */
    VEC sum_db[MAX_PANELS * PV];

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
                    copy_panel(gs + p * DY_PANEL + t * PW, from + p * PW, no - p * PW);
            }
            for (int v = 0; with_db && v < np * PV; v++) {
                VEC part = (VEC)0.f;
                for (int t = 0; t < n; t++)
                    part += LOADF(gs + v / PV * DY_PANEL + t * PW + v % PV * VW);
                sum_db[v] += part;
            }
            for (int j = 0; j < K; j++) {
                const long shift = (long)(K - 1 - j) * d;
                const int first = (int)clamp(shift - c0, 0L, (long)n);
                for (int t = first; t < n; t++)
                    copy_row(xs + t * width, PTR(x) + (b * L + c0 + t - shift) * Cin + i0, Cin - i0,
                             width);
                for (int p = 0; p < np; p++) {
                    const float *panel = gs + p * DY_PANEL + first * PW;
                    for (int q = 0; q < nt; q++) {
                        VEC *tile = sum + ((j * np + p) * nt + q) * ROWS * PV;
                        const float *a = xs + first * width + q * ROWS;
                        const int ahead = p * nt + q;
                        const long next = b * L + c0 + n + ahead;
                        if (j == 0 && ahead < PARTIAL && next < (long)B * L) {
                            fetch(PTR(x) + next * Cin + i0, ni);
                            fetch(PTR(dy) + next * Cout + o0, no);
                        } else if (j == 0 && ahead < no && next >= (long)B * L)
                            fetch(PTR(dw) + ((ulong)(o0 + ahead) * Cin + i0) * K, ni * K);
                        REGISTER_TILE(a, 1, width, LOADF, panel, PW, n - first, tile[i] += part)
                    }
                }
            }
        }

    add_dw(PTR(dw) + ((ulong)o0 * Cin + i0) * K, (ulong)Cin * K, no, ni, K, sum, np * width * PV,
           width * PV);
    if (with_db)
        add_db(PTR(db) + o0, no, sum_db);
}
