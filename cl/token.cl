/* token.cl -- the next token of each row of logits: the likeliest, or a draw among the k likeliest.
 *
 * A draw is the largest of logit / temperature + g, where each g is from Gumbel's distribution: that
 * is a draw from the softmax (Gumbel 1954), and needs no sum. The g of a token is number
 * (count, id) of the row's own SplitMix64, so that it depends on nothing else, above all not on how
 * items share a row. A work-group has a row. */
#define LANES 256 /* most work-items that share a row */
#define DIGITS 256

/* A number's place among all floats, as an unsigned number; both zeros have one. NaN comes first. */
static uint place_of(const float x)
{
    const uint bits = as_uint(x == 0.0f ? 0.0f : x);
    return x != x ? 0 : bits >> 31 ? ~bits : bits | 0x80000000u;
}

static void count_digit(__local uint *count, const uint digit)
{
    if (get_local_size(0) == 1)
        count[digit]++;
    else
        atomic_inc(&count[digit]);
}

/* The place of the k-th largest of V numbers, found a digit of 8 bits after the other: of those that
 * begin as it does, how many have which next digit? */
static uint place_of_kth(__global const REAL *x, const long V, const long k, __local uint *count)
{
    const long lane = get_local_id(0), lanes = get_local_size(0);
    uint found = 0, left = (uint)k;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (long i = lane; i < DIGITS; i += lanes)
            count[i] = 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (long i = lane; i < V; i += lanes) {
            const uint place = place_of(LOAD(x, i));
            if ((ulong)(place ^ found) >> (shift + 8) == 0)
                count_digit(count, place >> shift & (DIGITS - 1));
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        uint digit = DIGITS - 1;
        for (; count[digit] < left; digit--)
            left -= count[digit];
        found |= digit << shift;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return found;
}

/* Number n of the SplitMix64 that starts at key. */
static ulong draw(const ulong key, const ulong n)
{
    ulong z = key + (n + 1) * 0x9E3779B97F4A7C15ul;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ul;
    z = (z ^ z >> 27) * 0x94D049BB133111EBul;
    return z ^ z >> 31;
}

/* -log of an exponential variate. The large ones, which decide, come from u near 0, where floats are
 * dense. */
static float gumbel(const ulong bits)
{
    const float u = (convert_float((uint)(bits >> 32)) + 0.5f) * 0x1p-32f;
    return -log(-log1p(-fmin(u, 0.99999994f)));
}

/* The largest v of a work-group, to all its items. The first fence is global too: what an item has
 * read before, no other has overwritten. */
static ulong max_group(const ulong v, __local ulong *part)
{
    const int lane = get_local_id(0);
    part[lane] = v;
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    for (int n = get_local_size(0), rest; n > 1; n = rest) {
        rest = (n + 1) / 2;
        if (lane < n / 2)
            part[lane] = max(part[lane], part[lane + rest]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return part[0];
}

/* state [N,3]: the row's key, in two halves, and how many tokens it chose; history [N,S]: the last
 * of them, number n in column n mod S. temperature 0: no draw. */
__kernel void token_choose_group(IN(REAL, logits), OUT(int, ids), OUT(int, state),
                                 OUT(int, history), const long V, const long S, const long k,
                                 const float temperature)
{
    __local ulong part[LANES];
    __local uint count[DIGITS];
    const long row = get_group_id(0), lane = get_local_id(0), lanes = get_local_size(0);
    __global const REAL *x = PTR(logits) + row * V;
    __global int *own = PTR(state) + 3 * row;
    const ulong key = (ulong)(uint)own[1] << 32 | (uint)own[0];
    const uint chosen = (uint)own[2], least = k < V ? place_of_kth(x, V, k, count) : 0;
    ulong best = 0;
    for (long i = lane; i < V; i += lanes) {
        const float logit = LOAD(x, i);
        if (place_of(logit) < least)
            continue;
        const float score = temperature > 0.0f
                                ? logit / temperature + gumbel(draw(key, (ulong)chosen << 32 | i))
                                : logit;
        best = max(best, (ulong)place_of(score) << 32 | (uint)~(uint)i); /* of equals the first */
    }
    best = max_group(best, part);
    if (lane > 0)
        return;
    const int id = (int)~(uint)best;
    PTR(ids)[row] = id;
    PTR(history)[row * S + chosen % S] = id;
    own[2] = (int)(chosen + 1);
}
