#include "train/recall.h"
#include "base/size.h"
#include "model/config.h"
#include "op/count_above.h"
#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of vectors that a pass is for, and of cosines at a time; targets of a part. */
enum { PASS_BYTES = 128 << 20, COSINE_BYTES = 64 << 20, PART = 4096 };

static const double nearer = 1e-5;
static const float no_direction = -2; /* a level that every target is above */
static const size_t among[EF__RECALLS] = {1, 5, 10};

static size_t width(const ef__recall *r)
{
    return ef_dataset_width(r->evaluation->dataset);
}

static ef_status out_of_memory(const ef__recall *r)
{
    return ef__error_set(r->evaluation->error, EF_ENOMEM, 0, NULL,
                         "recall: out of memory for %zu vectors of %zu", r->room, width(r));
}

ef_status ef__recall_begin(ef__recall *r, ef__evaluation *evaluation)
{
    const size_t N = evaluation->samples, E = ef_dataset_width(evaluation->dataset);
    size_t bytes;
    *r = (ef__recall){.evaluation = evaluation};
    r->room = ef__min(N, PASS_BYTES / sizeof(float) / E + 1);
    evaluation->all += ef__ceil_div(N, r->room) * N;
    if (!ef__mul(ef__min(N, PART), E * sizeof(float), &bytes))
        return out_of_memory(r);
    r->vector = malloc(r->room * E * sizeof *r->vector);
    r->level = malloc(r->room * sizeof *r->level);
    r->targets = malloc(bytes);
    r->sample = malloc(ef__dataset_room(evaluation->dataset));
    return r->vector && r->level && r->targets && r->sample ? EF_OK : out_of_memory(r);
}

void ef__recall_free(ef__recall *r)
{
    free(r->vector);
    free(r->level);
    free(r->targets);
    free(r->sample);
}

/* to [n] = from, of any alignment, as a vector of norm 1; false, all zero, where it has no
 * direction. */
static bool normalise(const void *from, size_t n, float *to)
{
    double sum = 0;
    memcpy(to, from, n * sizeof *to);
    for (size_t i = 0; i < n; i++)
        sum += (double)to[i] * to[i];
    const bool good = isfinite(sum) && sum > 0;
    const double scale = good ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++)
        to[i] = good ? (float)(scale * to[i]) : 0;
    return good;
}

/* ---- a pass over the targets ---- */

/* Tensors of the vectors that wait. */
typedef struct pass {
    ef__recall *recall;
    ef_tensor *vector, *level, *count;
} pass;

static ef_status begin_pass(pass *p)
{
    const ef__recall *r = p->recall;
    ef_actor *a = r->evaluation->actor;
    const size_t shape[2] = {r->count, width(r)};
    ef_status status = ef__upload(a, EF_F32, 2, shape, "vectors", r->vector, &p->vector);
    if (!status)
        status = ef__upload(a, EF_F32, 1, shape, "own cosines", r->level, &p->level);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 1, shape, "ranks", &p->count);
    return status ? status : ef_tensor_fill(p->count, 0);
}

static void end_pass(pass *p)
{
    ef_tensor_free(p->vector);
    ef_tensor_free(p->level);
    ef_tensor_free(p->count);
}

static ef_status read_targets(const ef__recall *r, size_t from, size_t count)
{
    const ef__evaluation *v = r->evaluation;
    ef_status status = EF_OK;
    ef__sample s;
    for (size_t n = 0; n < count; n++) {
        if ((status = ef__dataset_read(v->dataset, from + n, r->sample, &s, v->error)))
            break;
        normalise(s.target, width(r), r->targets + n * width(r));
    }
    return status;
}

/* The cosines of some of the vectors with a part of the targets, and what of them is nearer. */
static ef_status count_rows(const pass *p, const ef_tensor *targets, size_t from, size_t rows)
{
    ef_actor *a = p->recall->evaluation->actor;
    const size_t shape[2] = {rows, ef_tensor_dims(targets)[0]};
    ef_tensor *vector = NULL, *level = NULL, *count = NULL, *cosines = NULL;
    ef_status status = ef__view_rows(p->vector, from, rows, &vector);
    if (!status)
        status = ef__view_rows(p->level, from, rows, &level);
    if (!status)
        status = ef__view_rows(p->count, from, rows, &count);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, shape, "cosines", &cosines);
    if (!status)
        status = ef_linear_forward(a, vector, targets, NULL, cosines);
    if (!status)
        status = ef__count_above(a, cosines, level, count);
    ef_tensor_free(vector);
    ef_tensor_free(level);
    ef_tensor_free(count);
    ef_tensor_free(cosines);
    return status;
}

/* Flushed: the device works while the next part is read. */
static ef_status count_part(const pass *p, size_t targets)
{
    enum { ROWS = COSINE_BYTES / (int)sizeof(float) / PART };
    const ef__recall *r = p->recall;
    ef_actor *a = r->evaluation->actor;
    const size_t shape[2] = {targets, width(r)};
    ef_tensor *t = NULL;
    ef_status status = ef_batch_begin(a);
    if (status)
        return status;
    status = ef__upload(a, EF_F32, 2, shape, "targets", r->targets, &t);
    for (size_t from = 0; from < r->count && !status; from += ROWS)
        status = count_rows(p, t, from, ef__min(ROWS, r->count - from));
    ef_tensor_free(t);
    ef_status flushed = ef_batch_sync(a, "recall");
    return status ? status : flushed;
}

/* Counts the targets from..from+count, which were read, and reads the next ones. */
static ef_status step(const pass *p, size_t from, size_t count)
{
    ef__evaluation *v = p->recall->evaluation;
    const size_t next = ef__min(PART, v->samples - from - count);
    ef_status status = ef_batch_begin(v->actor);
    if (status)
        return ef__actor_says(v->actor, status, v->error);
    status = ef__actor_says(v->actor, count_part(p, count), v->error);
    if (!status)
        status = read_targets(p->recall, from + count, next);
    ef_status synced = ef_batch_sync(v->actor, "recall");
    status = status ? status : ef__actor_says(v->actor, synced, v->error);
    return status ? status : ef__evaluation_tell(v, count);
}

static ef_status count_all(const pass *p)
{
    const size_t N = p->recall->evaluation->samples;
    ef_status status = read_targets(p->recall, 0, ef__min(PART, N));
    for (size_t from = 0; from < N && !status; from += PART)
        status = step(p, from, ef__min(PART, N - from));
    return status;
}

static void add_found(ef__recall *r, const float *nearer_ones)
{
    for (size_t n = 0; n < r->count; n++)
        for (int k = 0; k < EF__RECALLS; k++)
            r->found[k] += r->level[n] > no_direction && nearer_ones[n] < (float)among[k];
}

static ef_status read_ranks(const pass *p)
{
    ef__evaluation *v = p->recall->evaluation;
    ef_readback *readback = NULL;
    const void *ranks;
    ef_status status = ef_readback_start(v->actor, p->count, EF_IMMEDIATE, "ranks", &readback);
    if (!status)
        status = ef_readback_value(readback, &ranks, NULL);
    if (!status)
        add_found(p->recall, ranks);
    ef_readback_free(readback);
    return ef__actor_says(v->actor, status, v->error);
}

static ef_status look(ef__recall *r)
{
    ef__evaluation *v = r->evaluation;
    pass p = {.recall = r};
    ef_status status = ef__actor_says(v->actor, begin_pass(&p), v->error);
    if (!status)
        status = count_all(&p);
    if (!status)
        status = read_ranks(&p);
    end_pass(&p);
    r->count = 0;
    return status;
}

ef_status ef__recall_add(ef__recall *r, const float *vector, const float *target)
{
    const size_t E = width(r);
    float *own = r->vector + r->count * E;
    const bool good = normalise(vector, E, own);
    const bool known = normalise(target, E, r->targets); /* between passes nothing else is there */
    r->level[r->count++] =
        good && known ? (float)(ef__dot(own, r->targets, E) + nearer) : no_direction;
    return r->count < r->room ? EF_OK : look(r);
}

ef_status ef__recall_end(ef__recall *r)
{
    return r->count ? look(r) : EF_OK;
}
