/* conv1d_direct.cl -- dilated Conv1D as implicit GEMM for any device: T x T work-items share tiles
 * in local memory, each owns SIDE_M x SIDE_N outputs, by fours in each direction.
 *
 * Weights are read as they are ([Cout][Cin][K]). Every sum has one owner and a fixed order, and is
 * made of sums of PARTIAL products. Rows outside [0,L) count as zero, so no output depends on
 * a later input. T, SIDE_M, SIDE_N, DEPTH and BUFFERS come from the device alone.
 *
 * While a tile is multiplied the next one is on its way into registers; with two BUFFERS it needs
 * no barrier before it is stored. Output tiles are numbered row by row along dimension 0: a GPU
 * limits the groups of the others. */
#define TILE_M (SIDE_M * T)
#define TILE_N (SIDE_N * T)
#define ITEMS (T * T)
#define ITEM ((int)get_local_id(1) * T + (int)get_local_id(0))
#define TILES_N(n) (((long)(n) + TILE_N - 1) / TILE_N)
#define TILE_ROW(across) ((long)get_global_id(0) / T / (across) * TILE_M)
#define TILE_COLUMN(across) ((long)get_global_id(0) / T % (across) * TILE_N)
#define OUTPUT_ROW(r) (r / 4 * 4 * T + (int)get_local_id(1) * 4 + r % 4)
#define OUTPUT_COLUMN(c) (c / 4 * 4 * T + (int)get_local_id(0) * 4 + c % 4)
#define UNROLL_ALL _Pragma("unroll")
#define EACH_OUTPUT(r, c)                                                                          \
    UNROLL_ALL for (int r = 0; r < SIDE_M; r++) UNROLL_ALL for (int c = 0; c < SIDE_N; c++)

/* A tile is DEPTH lines of WIDTH numbers; the four more keep its lines on different banks. It comes
 * in quads, four numbers along a line or, FLAT 0, of four lines one below the other. */
#define LINE(WIDTH) ((WIDTH) / 4 + 1)
#define QUADS(WIDTH) (DEPTH * (WIDTH) / 4)
#define LOADS(WIDTH) ((QUADS(WIDTH) + ITEMS - 1) / ITEMS)
#define EACH_QUAD(q, e, WIDTH)                                                                     \
    UNROLL_ALL for (int q = 0, e = ITEM; q < LOADS(WIDTH); q++, e += ITEMS)                        \
        if (QUADS(WIDTH) % ITEMS == 0 || e < QUADS(WIDTH))
#define QUAD_LINE(e, WIDTH, flat) ((flat) ? (e) / ((WIDTH) / 4) : (e) % (DEPTH / 4) * 4)
#define QUAD_COLUMN(e, WIDTH, flat) ((flat) ? (e) % ((WIDTH) / 4) * 4 : (e) / (DEPTH / 4))

/* p[0], p[stride], ..., n of them at most, then zeros. Four neighbours come at once if together. */
static float4 load_quad(__global const REAL *p, const long stride, const long n,
                        const bool together)
{
    float4 v = (float4)0.f;
    if (together && n >= 4)
        return *(__global const CAT(REAL, 4) *)p;
    if (n > 0)
        v.x = LOAD(p, 0);
    if (n > 1)
        v.y = LOAD(p, stride);
    if (n > 2)
        v.z = LOAD(p, 2 * stride);
    if (n > 3)
        v.w = LOAD(p, 3 * stride);
    return v;
}

static void store_quad(__local float4 *tile, const int width, const int line, const int column,
                       const bool flat, const float4 v)
{
    __local float *to = (__local float *)tile + line * width + column;
    if (flat) {
        *(__local float4 *)to = v;
    } else {
        to[0] = v.x;
        to[width] = v.y;
        to[2 * width] = v.z;
        to[3 * width] = v.w;
    }
}

#define STORE_QUADS(tile, v, WIDTH, flat)                                                          \
    EACH_QUAD(q, e, WIDTH)                                                                         \
    store_quad(tile, 4 * LINE(WIDTH), QUAD_LINE(e, WIDTH, flat), QUAD_COLUMN(e, WIDTH, flat),      \
               flat, v[q]);

/* part[r][c] += sum over k of a[k][row r of this work-item] b[k][its column c] */
static void multiply(__local const float4 *a, __local const float4 *b, float part[SIDE_M][SIDE_N])
{
    for (int k = 0; k < DEPTH; k++) {
        float u[SIDE_M], v[SIDE_N];
        UNROLL_ALL for (int q = 0; q < SIDE_M / 4; q++)
            vstore4(a[k * LINE(TILE_M) + q * T + get_local_id(1)], q, u);
        UNROLL_ALL for (int q = 0; q < SIDE_N / 4; q++)
            vstore4(b[k * LINE(TILE_N) + q * T + get_local_id(0)], q, v);
        EACH_OUTPUT(r, c) part[r][c] = fma(u[r], v[c], part[r][c]);
    }
}

static void fold(float sum[SIDE_M][SIDE_N], float part[SIDE_M][SIDE_N])
{
    EACH_OUTPUT(r, c)
    {
        sum[r][c] += part[r][c];
        part[r][c] = 0.f;
    }
}

/* Output number at, of row and channel o, through the epilogue. Called, not inlined: it stands
 * SIDE_M SIDE_N times in the kernel. */
__attribute__((noinline)) static void finish_one(const epilogue *e, float z, const long at,
                                                 const long row, const long o)
{
    if (e->parts & BIAS)
        z += LOAD(e->bias, o);
    if (e->parts & PRE)
        STORE(z, e->pre, at);
    if (e->parts & GELU)
        z = gelu((VEC)z).s0;
    if (e->parts & GELU_GRAD)
        z *= gelu_grad((VEC)LOAD(e->slope, at)).s0;
    if (e->parts & RESIDUAL)
        z += LOAD(e->residual, at);
    if (e->parts & MASK && e->mask[row] == 0)
        z = 0.f;
    STORE(z, e->y, at);
}

/* Forward (step -d, w_out Cin K, w_in K) and input gradient (step d, w_out K, w_in Cin K):
 *   y[b,t,o] = epilogue(sum_s sum_i x[b, t + s step, i] w[o w_out + i w_in + K-1-s])
 * Grid ceil(rows/TILE_M) ceil(Cout/TILE_N) groups; rows = B L. A tile has one tap s: all taps of
 * some channels come one after the other, for the rows and the weights they share. */
__kernel __attribute__((reqd_work_group_size(T, T, 1))) void
conv1d_taps_direct(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias), OUT(REAL, pre),
                   IN(REAL, slope), IN(REAL, residual), IN(uchar, mask), const int rows, const int L,
                   const int Cin, const int Cout, const int K, const long step, const long w_out,
                   const long w_in, const int parts)
{
    __local float4 a[BUFFERS][DEPTH * LINE(TILE_M)], b[BUFFERS][DEPTH * LINE(TILE_N)];
    float sum[SIDE_M][SIDE_N] = {{0.f}}, part[SIDE_M][SIDE_N] = {{0.f}};
    float4 next_a[LOADS(TILE_M)], next_b[LOADS(TILE_N)];
    const long row0 = TILE_ROW(TILES_N(Cout)), o0 = TILE_COLUMN(TILES_N(Cout));
    const bool flat = w_out < w_in; /* quads of weights lie along outputs, else along inputs */
    const long near = flat ? w_out : w_in, far = flat ? w_in : w_out;
    const int tiles = (Cin + DEPTH - 1) / DEPTH * K;

    for (int n = 0; n <= tiles; n++) {
        const int i0 = n / K * DEPTH, s = n % K;
        if (n < tiles) {
            EACH_QUAD(q, e, TILE_M)
            {
                const int i = i0 + QUAD_LINE(e, TILE_M, false);
                const long row = row0 + QUAD_COLUMN(e, TILE_M, false), t = (int)row % L + s * step;
                const bool live = row < rows && t >= 0 && t < L;
                next_a[q] = load_quad(PTR(x) + (row + s * step) * Cin + i, 1, live ? Cin - i : 0,
                                      Cin % 4 == 0);
            }
            EACH_QUAD(q, e, TILE_N)
            {
                const int i = i0 + QUAD_LINE(e, TILE_N, flat);
                const long o = o0 + QUAD_COLUMN(e, TILE_N, flat);
                const long live = i >= Cin || o >= Cout ? 0 : flat ? Cout - o : Cin - i;
                next_b[q] = load_quad(PTR(w) + o * w_out + i * w_in + K - 1 - s, near, live,
                                      near == 1 && far % 4 == 0);
            }
        }
        if (n > 0)
            multiply(a[(n - 1) % BUFFERS], b[(n - 1) % BUFFERS], part);
        if (n % (PARTIAL / DEPTH) == 0)
            fold(sum, part);
        if (BUFFERS == 1)
            barrier(CLK_LOCAL_MEM_FENCE);
        if (n < tiles) {
            STORE_QUADS(a[n % BUFFERS], next_a, TILE_M, false)
            STORE_QUADS(b[n % BUFFERS], next_b, TILE_N, flat)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    fold(sum, part);

    const epilogue e = {.bias = PTR(bias),
                        .slope = PTR(slope),
                        .residual = PTR(residual),
                        .mask = PTR(mask),
                        .y = PTR(y),
                        .pre = PTR(pre),
                        .parts = parts};
    EACH_OUTPUT(r, c)
    {
        const long row = row0 + OUTPUT_ROW(r), o = o0 + OUTPUT_COLUMN(c);
        if (row < rows && o < Cout)
            finish_one(&e, sum[r][c], row * Cout + o, row, o);
    }
}

/* Where column n of the weight gradient's matrix [Cout][N] belongs: n = s Cin + i is dw[o,i,K-1-s],
 * the column after the last is db. */
static void accumulate(float sum, OUT(REAL, dw), OUT(REAL, db), long o, int n, int Cin, int K)
{
    const bool weight = n < K * Cin;
    __global REAL *to = weight ? PTR(dw) + (o * Cin + n % Cin) * K + K - 1 - n / Cin : PTR(db) + o;
    STORE(LOAD(to, 0) + sum, to, 0);
}

/* What all elements of the gradient's right-hand matrix [rows][N] share. */
typedef struct shifted {
    __global const REAL *x;
    int L, Cin, columns; /* columns: K Cin; the one after them is of ones */
    long step;
} shifted;

/* Element n of the row at time t. */
static float shifted_one(const shifted *m, const long row, const int t, const int n)
{
    const int s = n < m->columns ? n / m->Cin : 0;
    const long then = t + s * m->step;
    if (n >= m->columns)
        return n == m->columns ? 1.f : 0.f;
    return then < 0 || then >= m->L ? 0.f
                                    : LOAD(m->x, (row + s * m->step) * m->Cin + n - s * m->Cin);
}

static float4 shifted_quad(const shifted *m, const long row, const int t, const int n)
{
    if (m->Cin % 4 || n >= m->columns)
        return (float4)(shifted_one(m, row, t, n), shifted_one(m, row, t, n + 1),
                        shifted_one(m, row, t, n + 2), shifted_one(m, row, t, n + 3));
    const int s = n / m->Cin;
    const long then = t + s * m->step;
    return load_quad(m->x + (row + s * m->step) * m->Cin + n - s * m->Cin, 1,
                     then < 0 || then >= m->L ? 0 : 4, true);
}

/* Weight and bias gradient: dw[o,n] += sum_rows dy[row,o] x[row + s step, i]; N = K Cin, or one
 * more for db, a column of ones. K = 0 gives db alone.
 * Grid (ceil(Cout/TILE_M) ceil(N/TILE_N), 1, splits) groups; split z has the rows from z span on.
 * With more than one split the sums go to partial [splits][Cout][N], and conv1d_dw_sum adds them
 * up. */
__kernel __attribute__((reqd_work_group_size(T, T, 1))) void
conv1d_dw_direct(IN(REAL, x), IN(REAL, dy), OUT(REAL, dw), OUT(REAL, db), OUT(float, partial),
                 const int rows, const int L, const int Cin, const int Cout, const int K,
                 const int N, const long step, const int span)
{
    __local float4 a[BUFFERS][DEPTH * LINE(TILE_M)], b[BUFFERS][DEPTH * LINE(TILE_N)];
    float sum[SIDE_M][SIDE_N] = {{0.f}}, part[SIDE_M][SIDE_N] = {{0.f}};
    float4 next_a[LOADS(TILE_M)], next_b[LOADS(TILE_N)];
    const long o0 = TILE_ROW(TILES_N(N)), n0 = TILE_COLUMN(TILES_N(N));
    const int from = (int)get_group_id(2) * span, to = min(rows - from, span) + from;
    const shifted m = {.x = PTR(x), .L = L, .Cin = Cin, .columns = K * Cin, .step = step};
    const int tiles = (to - from + DEPTH - 1) / DEPTH;

    for (int k = 0; k <= tiles; k++) {
        const int row0 = from + k * DEPTH;
        if (k < tiles) {
            EACH_QUAD(q, e, TILE_M)
            {
                const long row = (long)row0 + QUAD_LINE(e, TILE_M, true);
                const long o = o0 + QUAD_COLUMN(e, TILE_M, true);
                next_a[q] = load_quad(PTR(dy) + row * Cout + o, 1, row < to ? Cout - o : 0,
                                      Cout % 4 == 0);
            }
            EACH_QUAD(q, e, TILE_N)
            {
                const int row = row0 + QUAD_LINE(e, TILE_N, true);
                const long n = n0 + QUAD_COLUMN(e, TILE_N, true);
                next_b[q] = row < to && n < N ? shifted_quad(&m, row, row % L, (int)n) : (float4)0.f;
            }
        }
        if (k > 0)
            multiply(a[(k - 1) % BUFFERS], b[(k - 1) % BUFFERS], part);
        if (k % (PARTIAL / DEPTH) == 0)
            fold(sum, part);
        if (BUFFERS == 1)
            barrier(CLK_LOCAL_MEM_FENCE);
        if (k < tiles) {
            STORE_QUADS(a[k % BUFFERS], next_a, TILE_M, true)
            STORE_QUADS(b[k % BUFFERS], next_b, TILE_N, true)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    fold(sum, part);

    EACH_OUTPUT(r, c)
    {
        const long o = o0 + OUTPUT_ROW(r), n = n0 + OUTPUT_COLUMN(c);
        if (o < Cout && n < N) {
            if (partial_base)
                PTR(partial)[((long)get_group_id(2) * Cout + o) * N + n] = sum[r][c];
            else
                accumulate(sum[r][c], dw_base, dw_at, db_base, db_at, o, (int)n, Cin, K);
        }
    }
}

/* One work-item for each element of [Cout][N]. */
__kernel void conv1d_dw_sum(IN(float, partial), OUT(REAL, dw), OUT(REAL, db), const int Cin,
                            const int Cout, const int K, const int N, const int splits)
{
    const long i = get_global_id(0), all = (long)Cout * N;
    float sum = 0.f;
    if (i >= all)
        return;
    for (int z = 0; z < splits; z++)
        sum += PTR(partial)[z * all + i];
    accumulate(sum, dw_base, dw_at, db_base, db_at, i / N, (int)(i % N), Cin, K);
}
