/* count_above.cl -- how many numbers of a row are above its level. A work-group has a row; what is
 * at most the level is counted, so that NaN is above. */
#define LANES 128 /* most work-items that share a row */
#define INTS CAT(int, VW)

SUM_GROUP(int)

__kernel void count_above_group(IN(REAL, x), IN(REAL, level), OUT(REAL, count), const long C)
{
    __local int part[LANES];
    const long row = get_group_id(0), lane = get_local_id(0), lanes = get_local_size(0);
    const long vectors = C / VW * VW;
    const float most = LOAD(PTR(level), row);
    __global const REAL *v = PTR(x) + row * C;
    INTS below = 0;
    for (long i = lane * VW; i < vectors; i += lanes * VW)
        below += VLOAD(v + i) <= (VEC)most; /* -1 for each that is */
    int each[VW], all = 0;
    CAT(vstore, VW)(below, 0, each);
    for (int i = 0; i < VW; i++)
        all += each[i];
    for (long i = vectors + lane; i < C; i += lanes)
        all -= LOAD(v, i) <= most;
    const int sum = sum_group_int(all, part);
    if (lane == 0)
        STORE(LOAD(PTR(count), row) + (float)(C + sum), PTR(count), row);
}
