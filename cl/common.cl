/* common.cl -- what every kernel file starts with; the host puts it in front.
 *
 * A tensor argument is a pair: buffer and offset in elements. Storage type is REAL; kernels load
 * and store through LOAD and STORE, so that half storage is a change in this file alone.
 * EF_CPU is 1 on CPU devices, where a work-item is a loop over a contiguous chunk; 0 on GPUs, where
 * neighbouring work-items touch neighbouring elements. VW is the width of a native vector. */
#define REAL float
#define IN(T, x) __global const T *x##_base, const ulong x##_at
#define OUT(T, x) __global T *x##_base, const ulong x##_at
#define PTR(x) (x##_base + x##_at)

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define VEC CAT(float, VW)
#define LOAD(p, i) ((p)[i])
#define STORE(v, p, i) ((p)[i] = (v))
#define VLOAD(p) CAT(vload, VW)(0, p)
#define VSTORE(v, p) CAT(vstore, VW)(v, 0, p)

/* Parts of an epilogue: op/op.h. */
#define BIAS 1
#define PRE 2
#define GELU 4
#define GELU_GRAD 8
#define RESIDUAL 16
#define MASK 32

/* The device's error record, 16 ints. */
#define RECORD_CODE 0
#define RECORD_OP 1
#define RECORD_POSITION 2
#define RECORD_VALUE 3
#define RECORD_LIMIT 4
#define RECORD_CANDIDATE 8 /* smallest bad position of the running operation, else INT_MAX */

/* ---- vectors with tails: the first n lanes at p; the others are 0 on load, untouched on store
 * ---- */

static VEC load_lanes(__global const REAL *p, const long n)
{
    if (n >= VW)
        return VLOAD(p);
    float lane[VW];
    for (int i = 0; i < VW; i++)
        lane[i] = i < n ? LOAD(p, i) : 0.0f;
    return VLOAD(lane);
}

static void store_lanes(const VEC v, __global REAL *p, const long n)
{
    if (n >= VW) {
        VSTORE(v, p);
        return;
    }
    float lane[VW];
    VSTORE(v, lane);
    for (int i = 0; i < VW && i < n; i++)
        STORE(lane[i], p, i);
}

/* CALL for each vector in [FROM, TO), at index i with n lanes: VW of them, fewer in the last. */
#define EACH_VECTOR(i, n, FROM, TO, CALL)                                                          \
    {                                                                                              \
        long i = FROM;                                                                             \
        for (; i + VW <= TO; i += VW) {                                                            \
            const long n = VW;                                                                     \
            CALL;                                                                                  \
        }                                                                                          \
        if (i < TO) {                                                                              \
            const long n = TO - i;                                                                 \
            CALL;                                                                                  \
        }                                                                                          \
    }

/* ---- sums ---- */

static float sum_vector(const VEC v)
{
    float lane[VW], sum = 0.0f;
    VSTORE(v, lane);
    for (int i = 0; i < VW; i++)
        sum += lane[i];
    return sum;
}

/* SUM_GROUP(T) makes T sum_group_T(v, part): the sum of v over a work-group, by halves, to all its
 * items; part has room for each. The first fence is global too: what an item has read before, no
 * other has overwritten. */
#define SUM_GROUP(T)                                                                               \
    static T sum_group_##T(const T v, __local T *part)                                             \
    {                                                                                              \
        const int item = get_local_id(0);                                                          \
        part[item] = v;                                                                            \
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);                                       \
        for (int n = get_local_size(0), rest; n > 1; n = rest) {                                   \
            rest = (n + 1) / 2;                                                                    \
            if (item < n / 2)                                                                      \
                part[item] += part[item + rest];                                                   \
            barrier(CLK_LOCAL_MEM_FENCE);                                                          \
        }                                                                                          \
        const T sum = part[0];                                                                     \
        barrier(CLK_LOCAL_MEM_FENCE);                                                              \
        return sum;                                                                                \
    }

/* ---- GELU; of one number: gelu((VEC)x).s0 ---- */

/* A comparison with NaN is false: NaN passes through both. */
static VEC at_least(const VEC v, const float low)
{
    return v < low ? (VEC)low : v;
}

static VEC at_most(const VEC v, const float high)
{
    return v > high ? (VEC)high : v;
}

/* 2^v for v in [-126, 128]: adding 1.5 2^23 leaves rint(v) in the low bits; 128 gives Inf
 * exactly. */
static VEC exp2_fast(const VEC v)
{
    const VEC z = v + 12582912.0f, f = v - (z - 12582912.0f);
    VEC p = (VEC)1.54035303933816e-4f;
    p = fma(p, f, (VEC)1.33335581464284e-3f);
    p = fma(p, f, (VEC)9.61812910762848e-3f);
    p = fma(p, f, (VEC)5.55041086648216e-2f);
    p = fma(p, f, (VEC)2.40226506959101e-1f);
    p = fma(p, f, (VEC)6.93147180559945e-1f);
    p = fma(p, f, (VEC)1.0f);
    return CAT(as_float, VW)(CAT(as_int, VW)(p) + (CAT(as_int, VW)(z) << 23));
}

/* -2u log2(e), u = sqrt(2/pi) (x + 0.044715 x^3) */
static VEC gelu_exponent(const VEC x)
{
    return x * fma(x * x, (VEC)-0.1029432396f, (VEC)-2.3022081987f);
}

/* x / (1 + exp(-2u)). +Inf gives +Inf, -Inf NaN as in PyTorch, NaN NaN. */
static VEC gelu(const VEC x)
{
    return x / (1.0f + exp2_fast(at_most(at_least(gelu_exponent(x), -126.0f), 128.0f)));
}

/* s + x s (1-s) 2u' with s = 1 / (1 + e). Beyond +-10 it is 1 or 0 to the last bit. */
static VEC gelu_grad(const VEC any)
{
    const VEC x = at_most(at_least(any, -10.0f), 10.0f);
    const VEC e = exp2_fast(gelu_exponent(x)), s = 1.0f / (1.0f + e);
    return fma(x * s * (e * s), fma(x * x, (VEC)0.2140644489f, (VEC)1.5957691216f), s);
}

/* ---- the parts of an epilogue, in order ---- */

/* What all elements share; what parts does not name may be null. */
typedef struct epilogue {
    __global const REAL *bias, *slope, *residual;
    __global const uchar *mask;
    __global REAL *y, *pre;
    int parts;
} epilogue;

/* Elements at..at+n of row, in columns c..c+n, which are z. */
static void finish(const epilogue *e, VEC z, const long at, const long row, const long c,
                   const long n)
{
    if (e->parts & BIAS)
        z += load_lanes(e->bias + c, n);
    if (e->parts & PRE)
        store_lanes(z, e->pre + at, n);
    if (e->parts & GELU)
        z = gelu(z);
    if (e->parts & GELU_GRAD)
        z *= gelu_grad(load_lanes(e->slope + at, n));
    if (e->parts & RESIDUAL)
        z += load_lanes(e->residual + at, n);
    if (e->parts & MASK && e->mask[row] == 0)
        z = (VEC)0.0f;
    store_lanes(z, e->y + at, n);
}

#define PARTIAL 64 /* products per partial sum; a multiple of VW and of 16 */

#if EF_CPU

/* ---- the GEMMs of CPU devices and the packing of their weights ---- */
#define KERNEL __kernel __attribute__((reqd_work_group_size(1, 1, 1)))
#define UNROLL _Pragma("unroll")

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

/* ---- Toom-Cook F(OUTPUTS,K): cl/conv1d_toom.cl says how ----
 *
 * The points are 0, one to three pairs +-a, infinity. Row PAIRS - 1 of each table, a pair's place in
 * it: at is a; rest are the coefficients, by powers of x^2, of the product of x^2 - b^2 over the
 * other pairs, and whole those over all pairs; scale is the product of a's distances to the other
 * finite points, the same for -a. All but scale's quotients are exact. */
__constant float at[3][3] = {{1}, {0.625f, 1.5f}, {1, 2, 0.5f}};
__constant float rest[3][3][3] = {
    {{1}}, {{-2.25f, 1}, {-0.390625f, 1}}, {{1, -4.25f, 1}, {0.25f, -1.25f, 1}, {4, -5, 1}}};
__constant float whole[3][4] = {{-1, 1}, {0.87890625f, -2.640625f, 1}, {-1, 5.25f, -5.25f, 1}};
__constant float scale[3][3] = {{2}, {-1.45263671875f, 8.3671875f}, {-4.5f, 90, 1.40625f}};

/* Power j of a pair's point over its scale, rounded once. */
static float power(const int pairs, const int pair, const int j)
{
    float power = 1;
    for (int i = 0; i < j; i++)
        power *= at[pairs - 1][pair];
    return power / scale[pairs - 1][pair];
}

#endif

#ifdef ROWS

/* ---- register tiles: the GEMMs of CPU devices, ROWS x PV vectors of sums ----
 *
 * For programs with ROWS and PV, which the host chooses: sums, PV weights and one broadcast must fit
 * the registers, 6x2 of 16, 8x2 of 32; 7x2 of 16 spills and halves the speed. */
#define PW (VW * PV) /* channels per panel */
#define INNER 4      /* steps per turn of the innermost loop */

/* Private copies and sums are floats whatever the storage type is. */
#define LOADF(p) CAT(vload, VW)(0, p)
#define STOREF(v, p) CAT(vstore, VW)(v, 0, p)

/* Brings n numbers into the cache that a later step reads or writes: pieces of rows are too short for
 * hardware to see them coming. */
static void fetch(__global const REAL *from, int n)
{
    for (int c = 0; c < n; c += 64 / (int)sizeof(REAL)) /* a cache line */
#ifdef POCL_DEVICE_ADDRESS_BITS                         /* PoCL's own prefetch does nothing */
        __builtin_prefetch((const void *)(size_t)(from + c));
#else
        prefetch(from + c, 1);
#endif
}

/* clang-format off */
/* One product per sum: ROWS broadcasts of a[r*ROW + i*STEP] times PV vectors of w[i*WROW ..]. */
#define REGISTER_STEP(acc, a, ROW, STEP, LOADW, w, WROW, i)                                        \
    {                                                                                              \
        VEC wv[PV];                                                                                \
        UNROLL for (int v = 0; v < PV; v++)                                                        \
            wv[v] = LOADW((w) + (i) * (WROW) + v * VW);                                            \
        UNROLL for (int r = 0; r < ROWS; r++) {                                                    \
            const VEC s = (VEC)((a)[r * (ROW) + (i) * (STEP)]);                                    \
            UNROLL for (int v = 0; v < PV; v++)                                                    \
                acc[r][v] = fma(s, wv[v], acc[r][v]);                                              \
        }                                                                                          \
    }

/* The products of n steps, summed in registers; then TAKE for sum number i, which is `part`. A
 * macro: w is in global or private memory. Unrolled by hand: LLVM leaves a loop of unknown length
 * alone here. */
#define REGISTER_TILE(a, ROW, STEP, LOADW, w, WROW, n, TAKE)                                       \
    {                                                                                              \
        VEC acc[ROWS][PV];                                                                         \
        UNROLL for (int r = 0; r < ROWS; r++)                                                      \
            UNROLL for (int v = 0; v < PV; v++)                                                    \
                acc[r][v] = (VEC)0.f;                                                              \
        int step = 0;                                                                              \
        for (; step + INNER <= (n); step += INNER)                                                 \
            UNROLL for (int u = 0; u < INNER; u++)                                                 \
                REGISTER_STEP(acc, a, ROW, STEP, LOADW, w, WROW, step + u)                         \
        for (; step < (n); step++)                                                                 \
            REGISTER_STEP(acc, a, ROW, STEP, LOADW, w, WROW, step)                                 \
        UNROLL for (int i = 0; i < ROWS * PV; i++) {                                               \
            const VEC part = acc[i / PV][i % PV];                                                  \
            TAKE;                                                                                  \
        }                                                                                          \
    }
/* clang-format on */

/* One row of a panel of sums, through the epilogue. */
static void finish_panel(const epilogue *e, const VEC *sum, long row, int Cout, int o)
{
    const long end = min(o + PW, Cout);
    EACH_VECTOR(c, n, o, end, finish(e, *sum++, row * Cout + c, row, c, n))
}

/* Adds sums, which are by tap, input channel and lane, to rows of dw, by lane, input channel and
 * tap: the first VW of n numbers of VW rows, where `lanes` are left, from number e on. */
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

/* A group's block of dw, from input and output channel on; sums are by tap (next_tap apart), panel
 * (next_panel apart), input channel, lane. */
static void add_dw(__global REAL *dw, ulong row, int no, int ni, int K, const VEC *sum,
                   int next_tap, int next_panel)
{
    for (int o = 0; o < no; o += VW)
        for (int e = 0; e < ni * K; e += VW)
            add_turned(dw + o * row + e, row, no - o, sum + o / PW * next_panel + o / VW % PV,
                       next_tap, K, e, ni * K - e);
}

static void add_db(__global REAL *db, int no, const VEC *sum)
{
    for (int o = 0; o < no; o += VW)
        store_lanes(load_lanes(db + o, no - o) + sum[o / VW], db + o, no - o);
}

#endif
