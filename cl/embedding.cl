/* embedding.cl -- rows of w by id, and their gradients added up in the order of the positions. */

/* Is id a row of w? A bad one leaves the smallest bad position in the record. */
static bool usable(int id, long V, __global int *record, long n)
{
    const bool ok = id >= 0 && id < V;
    if (!ok)
        atomic_min(record + RECORD_CANDIDATE, (int)n);
    return ok;
}

/* add may be null. */
static void copy_row(__global const REAL *from, __global const REAL *add, __global REAL *to, long D)
{
    long d = 0;
    for (; d + VW <= D; d += VW)
        VSTORE(add ? VLOAD(from + d) + VLOAD(add + d) : VLOAD(from + d), to + d);
    for (; d < D; d++)
        STORE(add ? LOAD(from, d) + LOAD(add, d) : LOAD(from, d), to, d);
}

static void zero_row(__global REAL *to, long D)
{
    for (long d = 0; d < D; d++)
        STORE(0.0f, to, d);
}

/* An item copies a contiguous part of the rows. */
__kernel void embedding_fwd_chunk(IN(int, ids), IN(REAL, w), OUT(REAL, y), IN(REAL, add),
                                  OUT(int, record), const long N, const long V, const long D,
                                  const long L)
{
    const long part = get_global_id(0), parts = get_global_size(0);
    const long end = N * (part + 1) / parts;
    for (long n = N * part / parts; n < end; n++) {
        const int id = PTR(ids)[n];
        __global REAL *to = PTR(y) + n * D;
        if (usable(id, V, PTR(record), n))
            copy_row(PTR(w) + id * D, add_base ? PTR(add) + n / L * D : 0, to, D);
        else
            zero_row(to, D);
    }
}

/* An item copies one element. */
__kernel void embedding_fwd_item(IN(int, ids), IN(REAL, w), OUT(REAL, y), IN(REAL, add),
                                 OUT(int, record), const long N, const long V, const long D,
                                 const long L)
{
    const long i = get_global_id(0), n = i / D, d = i % D;
    if (n >= N)
        return;
    const int id = PTR(ids)[n];
    float value = 0.0f;
    if (usable(id, V, PTR(record), n))
        value = LOAD(PTR(w), id * D + d) + (add_base ? LOAD(PTR(add), n / L * D + d) : 0.0f);
    STORE(value, PTR(y), i);
}

/* An item owns some columns of dw and walks all positions: no two items meet. */
__kernel void embedding_bwd_columns(IN(int, ids), IN(REAL, dy), OUT(REAL, dw), const long N,
                                    const long V, const long D, const long width)
{
    const long from = get_global_id(0) * width, to = min(D, from + width);
    for (long n = 0; n < N; n++) {
        const int id = PTR(ids)[n];
        if (id <= 0 || id >= V)
            continue;
        __global const REAL *g = PTR(dy) + n * D;
        __global REAL *sum = PTR(dw) + id * D;
        long d = from;
        for (; d + VW <= to; d += VW)
            VSTORE(VLOAD(sum + d) + VLOAD(g + d), sum + d);
        for (; d < to; d++)
            STORE(LOAD(sum, d) + LOAD(g, d), sum, d);
    }
}

/* Adds to row sum the rows of g (32 of them) that have a bit in found, lowest first. */
static void add_rows(uint found, __global const REAL *g, __global REAL *sum, long D)
{
    for (long d = get_local_id(0); d < D; d += get_local_size(0)) {
        float s = LOAD(sum, d);
        for (uint left = found; left; left &= left - 1)
            s += LOAD(g, (31 - clz(left & -left)) * D + d);
        STORE(s, sum, d);
    }
}

/* A work-group owns the id of its position if no earlier position has the same one. It looks
 * through all positions, 32 words of bits at a time, and adds what it finds in their order. */
#define WORDS 32
__kernel void embedding_bwd_scan(IN(int, ids), IN(REAL, dy), OUT(REAL, dw), const long N,
                                 const long V, const long D)
{
    __local uint found[WORDS];
    const long own = get_group_id(0);
    const int lane = get_local_id(0), lanes = get_local_size(0), id = PTR(ids)[own];
    bool owner = id > 0 && id < V;
    for (long tile = 0; owner && tile < N; tile += 32 * WORDS) {
        for (int word = lane; word < WORDS; word += lanes)
            found[word] = 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        const int here = min(N - tile, 32L * WORDS);
        for (int i = lane; i < here; i += lanes)
            if (PTR(ids)[tile + i] == id)
                atomic_or(&found[i / 32], 1u << i % 32);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int word = 0; owner && word < WORDS; word++) {
            const uint bits = found[word];
            const long n = tile + 32 * word;
            if (bits == 0)
                continue;
            owner = n + 31 - clz(bits & -bits) >= own;
            if (owner)
                add_rows(bits, PTR(dy) + n * D, PTR(dw) + id * D, D);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
