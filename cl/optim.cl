/* optim.cl -- gradient norm, the decision to skip, AdamW, over an arena of CHUNK-element chunks. */
#define CHUNK 1024
#define DECAY 1 /* flags of a chunk: op/optim.h */
#define TRAINABLE 2
#define NORM_LANES 256 /* most work-items that share a sum */

/* metrics: energyflow.h */
#define LOSS 0
#define GRAD_NORM 3
#define SKIPPED 4
#define SKIPPED_IN_A_ROW 5
#define STEPS 6
#define LR 7
#define SCALE 8

/* counts: op/optim.h */
#define COUNT_SKIPPED 0
#define COUNT_SKIPPED_IN_A_ROW 1
#define COUNT_GOOD_IN_A_ROW 2

/* op/optim.h */
#define PART_SHIFT 8
#define SCALE_GOOD 2000
#define SCALE_MOST 65536.0f

/* Kahan's sum: lost is what rounding took from sum. */
typedef struct {
    VEC sum, lost;
} total;

static total add(total s, VEC value)
{
    const VEC v = value - s.lost, next = s.sum + v;
    return (total){next, (next - s.sum) - v};
}

SUM_GROUP(float)

/* Up to four at a time, because a Kahan addition is four dependent ones. */
static VEC four_squares(__global const REAL *g, int i, int stride)
{
    VEC sum = 0.0f;
    for (int end = min(CHUNK, i + 4 * stride); i < end; i += stride) {
        const VEC x = VLOAD(g + i);
        sum += x * x;
    }
    return sum;
}

static bool trains(__global const int *table, long chunk)
{
    return table[chunk] & TRAINABLE;
}

/* A work-group has the sum of squares of a run of chunks. */
__kernel void optim_norm_group(IN(REAL, grad), IN(int, table), OUT(REAL, sums), const long chunks,
                               const long run)
{
    __local float part[NORM_LANES];
    const int lane = get_local_id(0), lanes = get_local_size(0);
    const long first = get_group_id(0) * run, end = min(chunks, first + run);
    total s = {0.0f, 0.0f};
    for (long chunk = first; chunk < end; chunk++)
        for (int i = lane * VW; trains(PTR(table), chunk) && i < CHUNK; i += 4 * lanes * VW)
            s = add(s, four_squares(PTR(grad) + chunk * CHUNK, i, lanes * VW));
    const float sum = sum_group_float(sum_vector(s.sum), part);
    if (lane == 0)
        STORE(sum, PTR(sums), get_group_id(0));
}

/* Does the step count? */
static bool decide(float norm, __global const int *record, __global REAL *metrics,
                   __global int *counts)
{
    const bool skip = !isfinite(norm) || !isfinite(metrics[LOSS]) || record[RECORD_CODE] != 0;
    counts[COUNT_SKIPPED] += skip;
    counts[COUNT_SKIPPED_IN_A_ROW] = skip ? counts[COUNT_SKIPPED_IN_A_ROW] + 1 : 0;
    metrics[GRAD_NORM] = norm;
    metrics[SKIPPED] = skip;
    metrics[SKIPPED_IN_A_ROW] = counts[COUNT_SKIPPED_IN_A_ROW];
    return !skip;
}

/* The scale of the next step. An error on the device is no overflow. */
static float next_scale(float scale, bool good, __global const int *record, __global int *counts)
{
    if (record[RECORD_CODE] != 0)
        return scale;
    counts[COUNT_GOOD_IN_A_ROW] = good ? counts[COUNT_GOOD_IN_A_ROW] + 1 : 0;
    if (!good)
        return fmax(1.0f, 0.5f * scale);
    if (counts[COUNT_GOOD_IN_A_ROW] < SCALE_GOOD)
        return scale;
    counts[COUNT_GOOD_IN_A_ROW] = 0;
    return fmin(SCALE_MOST, 2.0f * scale);
}

/* One work-group: the norm, and whether to skip. shared: another part that a step updates, or
 * below 0. */
__kernel void optim_norm_sum(IN(REAL, sums), IN(int, record), OUT(REAL, metrics), OUT(int, counts),
                             OUT(int, updates), OUT(REAL, scale), const long n, const float lr,
                             const long own, const long shared)
{
    __local float part[NORM_LANES];
    const long lane = get_local_id(0), lanes = get_local_size(0);
    float sum = 0.0f, lost = 0.0f;
    for (long i = lane; i < n; i += lanes) {
        const float v = LOAD(PTR(sums), i) - lost, next = sum + v;
        lost = (next - sum) - v;
        sum = next;
    }
    sum = sum_group_float(sum, part);
    if (lane != 0)
        return;
    const float scaled = scale_base ? PTR(scale)[0] : 1.0f;
    const bool good = decide(sqrt(sum) / scaled, PTR(record), PTR(metrics), PTR(counts));
    PTR(updates)[own] += good;
    if (shared >= 0)
        PTR(updates)[shared] += good;
    if (scale_base)
        PTR(scale)[0] = next_scale(scaled, good, PTR(record), PTR(counts));
    PTR(metrics)[STEPS] = PTR(updates)[own];
    PTR(metrics)[LR] = lr;
    PTR(metrics)[SCALE] = scaled;
}

/* The numbers of a step that are the same for all parameters. */
typedef struct {
    float scale;        /* of the gradient */
    float decay, l2;    /* p *= decay; g += l2 p */
    float take1;        /* 1 - beta1 */
    float keep2, take2; /* beta2, 1 - beta2 */
    float rate, root;   /* of m and sqrt(v), with their bias corrections */
    float epsilon;
} rule;

static VEC flush(VEC x)
{
    return select(x, (VEC)0.0f, fabs(x) < FLT_MIN);
}

/* Where gradient and moments are zero only decay is left: most rows of a large embedding. */
static void update(rule r, __global REAL *p, __global REAL *grad, __global REAL *m,
                   __global REAL *v)
{
    const VEC g0 = VLOAD(grad), m0 = VLOAD(m), v0 = VLOAD(v);
    if (r.l2 == 0.0f && !any((g0 != 0.0f) | (m0 != 0.0f) | (v0 != 0.0f))) {
        if (r.decay != 1.0f)
            VSTORE(VLOAD(p) * r.decay, p);
        return;
    }
    const VEC p0 = VLOAD(p), g = g0 * r.scale + p0 * r.l2;
    const VEC m1 = flush(m0 + r.take1 * (g - m0));
    const VEC v1 = flush(r.keep2 * v0 + r.take2 * g * g);
    VSTORE((VEC)0.0f, grad);
    VSTORE(m1, m);
    VSTORE(v1, v);
    VSTORE(p0 * r.decay - r.rate * m1 / (sqrt(v1) * r.root + r.epsilon), p);
}

/* A work-group updates a run of chunks. log1, log2: of the betas, from the host, because 1 - beta^t
 * from a rounded beta^t would lose most digits. */
__kernel void optim_update_group(OUT(REAL, value), OUT(REAL, grad), OUT(REAL, m), OUT(REAL, v),
                                 IN(int, table), IN(int, updates), IN(REAL, metrics),
                                 const long chunks, const long run, const float lr,
                                 const float decay, const float l2, const float take1,
                                 const float keep2, const float take2, const float log1,
                                 const float log2, const float epsilon, const float clip)
{
    const long first = get_group_id(0) * run, end = min(chunks, first + run);
    const bool skip = PTR(metrics)[SKIPPED] != 0.0f;
    const float norm = PTR(metrics)[GRAD_NORM];
    const float clipped = clip > 0.0f ? fmin(1.0f, clip / (norm + 1e-6f)) : 1.0f;
    rule r = {clipped / PTR(metrics)[SCALE], 1.0f, l2, take1, keep2, take2, 0.0f, 0.0f, epsilon};
    int part = -1;
    for (long chunk = first; chunk < end; chunk++) {
        const int flags = PTR(table)[chunk];
        if (part != flags >> PART_SHIFT) {
            part = flags >> PART_SHIFT;
            const float t = PTR(updates)[part];
            r.rate = lr / -expm1(t * log1);
            r.root = 1.0f / sqrt(-expm1(t * log2));
        }
        r.decay = flags & DECAY ? decay : 1.0f;
        for (int j = get_local_id(0) * VW; j < CHUNK; j += get_local_size(0) * VW) {
            const long i = chunk * CHUNK + j;
            if (flags & TRAINABLE && !skip)
                update(r, PTR(value) + i, PTR(grad) + i, PTR(m) + i, PTR(v) + i);
            else
                VSTORE((VEC)0.0f, PTR(grad) + i);
        }
    }
}
