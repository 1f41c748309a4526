/* cross_entropy.cl -- softmax cross-entropy of rows of logits, its gradient, and the metrics.
 *
 * A work-group has a row. It goes over it three times at most, the second and third time in a
 * cache: the largest logit; the exponentials and their sum; the gradient. Each row leaves
 * {loss, hit} in rows for cross_entropy_sum. */
#define LANES 128      /* most work-items that share a row */
#define IGNORED (-100) /* the target of a row that does not count */

typedef float2 pair; /* loss, hit */

SUM_GROUP(float)

/* The largest of v over a work-group, to all its items. What an item has read before, no other has
 * overwritten. */
static float max_group(const float v, __local float *part)
{
    const int lanes = get_local_size(0);
    float most = v;
    part[get_local_id(0)] = v;
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    for (int i = 0; i < lanes; i++)
        most = fmax(most, part[i]);
    barrier(CLK_LOCAL_MEM_FENCE);
    return most;
}

static float max_part(__global const REAL *x, const long V)
{
    const long lane = get_local_id(0), lanes = get_local_size(0), vectors = V / VW * VW;
    VEC most = -INFINITY;
    for (long i = lane * VW; i < vectors; i += lanes * VW)
        most = fmax(most, VLOAD(x + i));
    float all[VW], largest = -INFINITY;
    VSTORE(most, all);
    for (int i = 0; i < VW; i++)
        largest = fmax(largest, all[i]);
    for (long i = vectors + lane; i < V; i += lanes)
        largest = fmax(largest, LOAD(x, i));
    return largest;
}

/* exp(x - most); NaN stays NaN. */
static VEC exp_below(const VEC x, const float most)
{
    const VEC d = (x - most) * 1.44269504f;
    return select(exp2_fast(at_least(d, -126.0f)), d, isnan(d));
}

/* This item's part of the sum of exponentials, of sums of PARTIAL vectors; to NULL: not stored. */
static float exp_part(__global const REAL *x, __global REAL *to, const long V, const float most)
{
    const long lane = get_local_id(0), lanes = get_local_size(0), vectors = V / VW * VW;
    VEC sum = 0.0f;
    for (long from = lane * VW; from < vectors; from += PARTIAL * lanes * VW) {
        const long end = min(vectors, from + PARTIAL * lanes * VW);
        VEC part = 0.0f;
        for (long i = from; i < end; i += lanes * VW) {
            const VEC e = exp_below(VLOAD(x + i), most);
            if (to)
                VSTORE(e, to + i);
            part += e;
        }
        sum += part;
    }
    float all = sum_vector(sum);
    for (long i = vectors + lane; i < V; i += lanes) {
        const float e = exp_below((VEC)LOAD(x, i), most).s0;
        if (to)
            STORE(e, to, i);
        all += e;
    }
    return all;
}

static void scale_part(__global REAL *x, const long V, const float scale)
{
    const long lane = get_local_id(0), lanes = get_local_size(0), vectors = V / VW * VW;
    for (long i = lane * VW; i < vectors; i += lanes * VW)
        VSTORE(VLOAD(x + i) * scale, x + i);
    for (long i = vectors + lane; i < V; i += lanes)
        STORE(LOAD(x, i) * scale, x, i);
}

static void zero_part(__global REAL *x, const long V)
{
    const long lane = get_local_id(0), lanes = get_local_size(0);
    for (long i = lane; i < V; i += lanes)
        STORE(0.0f, x, i);
}

/* dlogits may be logits. */
__kernel void cross_entropy_group(IN(REAL, logits), IN(int, target), OUT(REAL, dlogits),
                                  OUT(REAL, rows), OUT(int, record), IN(REAL, scale), const long V,
                                  const float weight)
{
    __local float part[LANES];
    const long row = get_group_id(0), lane = get_local_id(0);
    const int target = PTR(target)[row];
    const bool counts = target >= 0 && target < V;
    __global const REAL *x = PTR(logits) + row * V;
    __global REAL *dx = dlogits_base ? PTR(dlogits) + row * V : 0;
    if (!counts) {
        if (lane == 0 && target != IGNORED)
            atomic_min(PTR(record) + RECORD_CANDIDATE, (int)row);
        if (lane == 0)
            vstore2((pair)(0.0f, 0.0f), row, PTR(rows));
        if (dx)
            zero_part(dx, V);
        return;
    }
    const float wanted = LOAD(x, target), most = max_group(max_part(x, V), part);
    const float sum = sum_group_float(exp_part(x, dx, V, most), part);
    if (lane == 0)
        vstore2((pair)(log(sum) + (most - wanted), wanted >= most), row, PTR(rows));
    if (!dx)
        return;
    const float scaled = weight * (scale_base ? PTR(scale)[0] : 1.0f);
    scale_part(dx, V, scaled / sum);
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (lane == 0)
        STORE(LOAD(dx, target) - scaled, dx, target);
}

/* One work-group: metrics += weight {loss, loss, hits}. */
__kernel void cross_entropy_sum(IN(REAL, rows), OUT(REAL, metrics), const long N,
                                const float weight)
{
    __local float part[LANES];
    const long lane = get_local_id(0), lanes = get_local_size(0);
    pair sum = 0.0f, lost = 0.0f; /* lost: what rounding took from sum (Kahan) */
    for (long n = lane; n < N; n += lanes) {
        const pair add = vload2(n, PTR(rows)) - lost, next = sum + add;
        lost = (next - sum) - add;
        sum = next;
    }
    const float loss = sum_group_float(sum.x, part), hits = sum_group_float(sum.y, part);
    if (lane != 0)
        return;
    PTR(metrics)[0] += weight * loss;
    PTR(metrics)[1] += weight * loss;
    PTR(metrics)[2] += weight * hits;
}
