/* conv1d_direct.cl -- dilated Conv1D as implicit GEMM for any device: T x T work-items share tiles
 * in local memory, each owns SIDE x SIDE outputs.
 *
 * Weights are read as they are ([Cout][Cin][K]). Every sum has one owner and a fixed order, and is
 * made of sums of PARTIAL products. Rows outside [0,L) count as zero, so no output depends on
 * a later input. T comes from the device alone.
 *
 * Output tiles are numbered row by row along dimension 0: a GPU limits the groups of the others. */
#define SIDE 4
#define TILE (SIDE * T)
#define DEPTH 16
#define LOADS (DEPTH * TILE / (T * T)) /* of each tile, by each work-item */
#define ITEM ((int)get_local_id(1) * T + (int)get_local_id(0))
#define TILES(n) (((long)(n) + TILE - 1) / TILE)
#define TILE_ROW(across) ((long)get_global_id(0) / T / (across) * TILE)
#define TILE_COLUMN(across) ((long)get_global_id(0) / T % (across) * TILE)
#define UNROLL_ALL _Pragma("unroll")
#define EACH_OUTPUT(r, c)                                                                          \
    UNROLL_ALL for (int r = 0; r < SIDE; r++) UNROLL_ALL for (int c = 0; c < SIDE; c++)

typedef __local float (*tile_ptr)[TILE + 1]; /* one column more keeps banks apart */

/* part[r][c] += sum over k of a[k][row r of this work-item] b[k][its column c] */
static void multiply(tile_ptr a, tile_ptr b, float part[SIDE][SIDE])
{
    for (int k = 0; k < DEPTH; k++) {
        float u[SIDE], v[SIDE];
        UNROLL_ALL for (int q = 0; q < SIDE; q++)
        {
            u[q] = a[k][get_local_id(1) + q * T];
            v[q] = b[k][get_local_id(0) + q * T];
        }
        EACH_OUTPUT(r, c) part[r][c] = fma(u[r], v[c], part[r][c]);
    }
}

static void fold(float sum[SIDE][SIDE], float part[SIDE][SIDE])
{
    EACH_OUTPUT(r, c)
    {
        sum[r][c] += part[r][c];
        part[r][c] = 0.f;
    }
}

/* Forward (step -d, w_out Cin K, w_in K) and input gradient (step d, w_out K, w_in Cin K):
 *   y[b,t,o] = epilogue(sum_s sum_i x[b, t + s step, i] w[o w_out + i w_in + K-1-s])
 * Grid ceil(rows/TILE) ceil(Cout/TILE) groups; rows = B L. */
__kernel __attribute__((reqd_work_group_size(T, T, 1))) void
conv1d_taps_direct(IN(REAL, x), IN(REAL, w), OUT(REAL, y), IN(REAL, bias), OUT(REAL, pre),
                   IN(REAL, slope), IN(REAL, residual), IN(uchar, mask), const int rows, const int L,
                   const int Cin, const int Cout, const int K, const long step, const long w_out,
                   const long w_in, const int parts)
{
    __local float a[DEPTH][TILE + 1], b[DEPTH][TILE + 1];
    float sum[SIDE][SIDE] = {{0.f}}, part[SIDE][SIDE] = {{0.f}};
    const long row0 = TILE_ROW(TILES(Cout)), o0 = TILE_COLUMN(TILES(Cout));

    for (int k0 = 0; k0 < K * Cin; k0 += DEPTH) {
        UNROLL_ALL for (int q = 0; q < LOADS; q++)
        {
            const int e = ITEM + q * T * T, k = e % DEPTH, m = e / DEPTH;
            const int s = (k0 + k) / Cin, i = (k0 + k) % Cin;
            const long row = row0 + m, o = o0 + m;
            const long t = (int)row % L + s * step;
            const bool live = s < K;
            a[k][m] = live && row < rows && t >= 0 && t < L ? LOAD(PTR(x), (row + s * step) * Cin + i)
                                                            : 0.f;
            b[k][m] = live && o < Cout ? LOAD(PTR(w), o * w_out + i * w_in + K - 1 - s) : 0.f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        multiply(a, b, part);
        if ((k0 + DEPTH) % PARTIAL == 0)
            fold(sum, part);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    fold(sum, part);

    EACH_OUTPUT(r, c)
    {
        const long row = row0 + get_local_id(1) + r * T, o = o0 + get_local_id(0) + c * T;
        if (row < rows && o < Cout) {
            const long at = row * Cout + o;
            float z = sum[r][c];
            if (parts & BIAS)
                z += LOAD(PTR(bias), o);
            if (parts & PRE)
                STORE(z, PTR(pre), at);
            if (parts & GELU)
                z = gelu((VEC)z).s0;
            if (parts & GELU_GRAD)
                z *= gelu_grad((VEC)LOAD(PTR(slope), at)).s0;
            if (parts & RESIDUAL)
                z += LOAD(PTR(residual), at);
            if (parts & MASK && PTR(mask)[row] == 0)
                z = 0.f;
            STORE(z, PTR(y), at);
        }
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

/* Weight and bias gradient: dw[o,n] += sum_rows dy[row,o] x[row + s step, i]; N = K Cin, or one
 * more for db, a column of ones. K = 0 gives db alone.
 * Grid (ceil(Cout/TILE) ceil(N/TILE), 1, splits) groups; split z has the rows from z span on. With
 * more than one split the sums go to partial [splits][Cout][N], and conv1d_dw_sum adds them up. */
__kernel __attribute__((reqd_work_group_size(T, T, 1))) void
conv1d_dw_direct(IN(REAL, x), IN(REAL, dy), OUT(REAL, dw), OUT(REAL, db), OUT(float, partial),
                 const int rows, const int L, const int Cin, const int Cout, const int K,
                 const int N, const long step, const int span)
{
    __local float a[DEPTH][TILE + 1], b[DEPTH][TILE + 1];
    float sum[SIDE][SIDE] = {{0.f}}, part[SIDE][SIDE] = {{0.f}};
    const long o0 = TILE_ROW(TILES(N)), n0 = TILE_COLUMN(TILES(N));
    const int first = (int)get_group_id(2) * span, last = min(rows - first, span) + first;

    for (int row0 = first; row0 < last; row0 += DEPTH) {
        UNROLL_ALL for (int q = 0; q < LOADS; q++)
        {
            const int e = ITEM + q * T * T, m = e % TILE, k = e / TILE;
            const long o = o0 + m, n = n0 + m, row = (long)row0 + k;
            const int s = Cin > 0 ? (int)n / Cin : 0, i = (int)n - s * Cin;
            const long t = (int)row % L + s * step;
            a[k][m] = row < last && o < Cout ? LOAD(PTR(dy), row * Cout + o) : 0.f;
            float v = row < last && n == (long)K * Cin ? 1.f : 0.f;
            if (row < last && n < (long)K * Cin && t >= 0 && t < L)
                v = LOAD(PTR(x), (row + s * step) * Cin + i);
            b[k][m] = v;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        multiply(a, b, part);
        if ((row0 - first + DEPTH) % PARTIAL == 0)
            fold(sum, part);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    fold(sum, part);

    EACH_OUTPUT(r, c)
    {
        const long o = o0 + get_local_id(1) + r * T, n = n0 + get_local_id(0) + c * T;
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
