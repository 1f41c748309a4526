/* conv1d_pack.cl -- weights in panels for conv1d.cl and conv1d_toom.cl. */
#if EF_CPU

#define POINT_ROWS 32 /* rows that are brought to the points at a time */

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

/* n rows of VW lanes, tap by tap in slices `next` apart. */
static void pack_taps(__global REAL *slices, long next, __global const REAL *w, long at, long end,
                      long row, int lanes, int n, int K, int PW)
{
    for (int e = 0, j = K - 1; e < n * K; e += VW) {
        VEC turned[VW];
        load_turned(turned, w, at + e, end, row, lanes);
#pragma unroll
        for (int c = 0; c < VW; c++) {
            if (e + c < n * K)
                VSTORE(turned[c], slices + j * next);
            slices += j ? 0 : PW;
            j = j ? j - 1 : K - 1;
        }
    }
}

/* clang-format off */
/* pack_points3_1 and so on: the taps of n rows of VW lanes, at points with so many pairs. */
#define PACK_POINTS(K, PAIRS)                                                                      \
    static void pack_points##K##_##PAIRS(__global REAL *slices, long next, const VEC *tap, int n,  \
                                               int PW)                                             \
    {                                                                                              \
        for (int r = 0; r < n; r++, tap += K, slices += PW) {                                      \
            VSTORE(tap[K - 1] / whole[PAIRS - 1][0], slices);                                      \
            UNROLL for (int p = 0; p < PAIRS; p++) {                                               \
                VEC even = tap[K - 1] * power(PAIRS, p, 0), odd = tap[K - 2] * power(PAIRS, p, 1); \
                UNROLL for (int j = 2; j < K; j += 2)                                              \
                    even = fma((VEC)power(PAIRS, p, j), tap[K - 1 - j], even);                     \
                UNROLL for (int j = 3; j < K; j += 2)                                              \
                    odd = fma((VEC)power(PAIRS, p, j), tap[K - 1 - j], odd);                       \
                VSTORE(even + odd, slices + (1 + 2 * p) * next);                                   \
                VSTORE(even - odd, slices + (2 + 2 * p) * next);                                   \
            }                                                                                      \
            VSTORE(tap[0], slices + (1 + 2 * PAIRS) * next);                                       \
        }                                                                                          \
    }
PACK_POINTS(3, 1)
PACK_POINTS(5, 2)
PACK_POINTS(3, 2)
PACK_POINTS(5, 3)
/* clang-format on */

/* All packed copies of a model's weights in one launch: w [Cout][Cin][K] to [ceil(N/PW)][S][R][PW],
 * lanes past N zero. Layout 0, forward: N = Cout, R = Cin. Layout 1, input gradient: N = Cin,
 * R = Cout. S = K: slice s is tap K-1-s in both. S > K: slice s is point s of F(S+1-K,K).
 *   most         rows that a group packs
 *   table [copies][9]: offsets in w and in packed, Cout, Cin, K, layout, first group, S, and the
 *                vectors in a panel: PW = VW times as many
 * Grid (groups of all copies); a copy takes ceil(N/PW) * ceil(R/most), microseconds each. */
KERNEL void conv1d_pack(IN(REAL, w), OUT(REAL, packed), IN(long, table), const int copies,
                        const int most)
{
    const long group = (long)get_group_id(0);
    __global const long *row = PTR(table);
    for (int i = 1; i < copies && row[9 + 6] <= group; i++)
        row += 9;
    const long Cout = row[2], Cin = row[3], layout = row[5];
    const int K = (int)row[4], S = (int)row[7], PV = (int)row[8], PW = PV * VW;
    const long N = layout ? Cin : Cout, R = layout ? Cout : Cin;
    const long next_lane = layout ? K : Cin * K, next_r = layout ? Cin * K : K;
    const long slices = (R + most - 1) / most, panels = (N + PW - 1) / PW, part = group - row[6];
    const long p = layout ? part % panels : part / slices; /* neighbours share rows of w */
    const long r0 = (layout ? part / panels : part % slices) * most, r1 = min(R, r0 + most);
    const long end = Cout * Cin * K, next_slice = R * PW;
    const int run = layout ? 1 : (int)(r1 - r0); /* rows in one piece of memory */
    __global const REAL *from = PTR(w) + row[0];
    __global REAL *to = PTR(packed) + row[1] + p * S * R * PW;

    for (int v = 0; v < PV; v++, to += VW) {
        const long lane0 = p * PW + v * VW;
        const int lanes = (int)min((long)VW, N - lane0);
        for (long r = r0; r < r1 && next_lane == 1; r++)
            VSTORE(load_lanes(from + r * next_r + lane0, lanes), to + r * PW);
        for (long r = r0; r < r1 && next_lane > 1 && S == K; r += run)
            pack_taps(to + r * PW, next_slice, from, lane0 * next_lane + r * next_r, end, next_lane,
                      lanes, run, K, PW);
        for (long r = r0; r < r1 && S > K; r += POINT_ROWS) {
            VEC tap[POINT_ROWS * 5 + VW]; /* many: they leave the store buffer before a read */
            const int n = (int)min((long)POINT_ROWS, r1 - r), piece = min(n, run);
            for (int i = 0; i < n; i += piece)
                for (int e = 0; e < piece * K; e += VW)
                    load_turned(tap + i * K + e, from, lane0 * next_lane + (r + i) * next_r + e,
                                end, next_lane, lanes);
            if (S == 4)
                pack_points3_1(to + r * PW, next_slice, tap, n, PW);
            else if (S == 8)
                pack_points5_3(to + r * PW, next_slice, tap, n, PW);
            else if (K == 3)
                pack_points3_2(to + r * PW, next_slice, tap, n, PW);
            else
                pack_points5_2(to + r * PW, next_slice, tap, n, PW);
        }
    }
}

#endif
