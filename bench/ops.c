/* ops -- every row of the op table, its examples at a model's sizes, each variant that fits,
 * verified and then timed. */
#include "case.h"
#include "../tests/ref.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A case on a device, with one variant. */
typedef struct job {
    bench *b;
    const bench_case *c;
    ef_actor *actor;
    ef_tensor *t[EXAMPLE_TENSORS];
    ef__args args;
} job;

static const double bound = 1e-5; /* of ||got - want|| / ||want|| */

static ef_status upload(job *j)
{
    ef_status status = EF_OK;
    for (int i = 0; i < EXAMPLE_TENSORS && !status; i++) {
        const example_array *t = &j->c->in.t[i];
        if (t->rank == 0)
            continue;
        status = ef_tensor_new(j->actor, t->dtype, t->rank, t->dims, "bench", &j->t[i]);
        if (!status)
            status = ef_tensor_write(j->t[i], t->data);
    }
    return status;
}

/* Arguments, and the sizes that the operation's check makes of them. */
static ef_status fill_args(job *j)
{
    const ef__op *op = ef__op_row(j->c->id);
    j->args = j->c->in.args;
    example_bind(&j->args, j->t);
    ef__lock(j->actor);
    ef_status status = op->check(j->actor, op->name, &j->args);
    ef__unlock(j->actor);
    return status;
}

/* Close it also when this fails. */
static ef_status open_job(job *j)
{
    ef_status status = bench_open(j->b, NULL, &j->actor);
    if (status)
        return status;
    status = upload(j);
    if (!status)
        status = fill_args(j);
    return status ? ef__actor_says(j->actor, status, &j->b->error) : EF_OK;
}

static void close_job(job *j)
{
    for (int i = 0; i < EXAMPLE_TENSORS; i++)
        ef_tensor_free(j->t[i]);
    ef_actor_close(j->actor);
}

static ef_status run(void *user)
{
    job *j = user;
    return ef__op_run(j->actor, j->c->id, &j->args);
}

/* ---- verifying ---- */

static double element(const example_array *t, const void *data, size_t i)
{
    return t->dtype == EF_F16 ? ref_float(((const uint16_t *)data)[i]) : ((const float *)data)[i];
}

/* Does what is known of one result agree? known: is counted up. */
static bool agrees(const example_array *t, const void *got, const double *want, size_t *known)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (isnan(want[i]))
            continue;
        double d = element(t, got, i) - want[i];
        difference += d * d;
        norm += want[i] * want[i];
        ++*known;
    }
    return sqrt(difference) <= bound * sqrt(norm);
}

static ef_status verify(job *j, bool *right)
{
    size_t known = 0;
    ef_status status = run(j);
    *right = true;
    for (int i = 0; i < EF__MAX_TENSORS && !status; i++) {
        ef_readback *readback = NULL;
        const void *data;
        size_t count;
        if (!j->c->want[i])
            continue;
        status = ef_readback_start(j->actor, j->t[i], EF_IMMEDIATE, NULL, &readback);
        if (!status)
            status = ef_readback_value(readback, &data, &count);
        if (!status)
            *right &= agrees(&j->c->in.t[i], data, j->c->want[i], &known);
        ef_readback_free(readback);
    }
    *right &= known > 0;
    return status;
}

/* ---- one line ---- */

static ef_status time_job(job *j, const ef__variant *v)
{
    const ef__op *op = ef__op_row(j->c->id);
    char item[64];
    bench_line line = {.item = item, .flops = op->flops(&j->args), .bytes = op->bytes(&j->args)};
    bench_task task = {.run = run, .user = j, .batch = j->actor};
    ef_stats stats;
    ef_status status = verify(j, &line.verified);
    if (!status)
        status = bench_measure(j->b, &task, 1);
    if (status)
        return ef__actor_says(j->actor, status, &j->b->error);
    snprintf(item, sizeof item, "%s[%s]", op->name, v->name);
    snprintf(line.shape, sizeof line.shape, "%s", j->c->in.shape);
    ef_actor_stats(j->actor, &stats);
    line.peak_bytes = stats.pool_peak;
    line.ms = task.ms;
    return bench_print(j->b, &line);
}

static ef_status time_variant(bench *b, const bench_case *c, const ef__variant *v)
{
    job j = {.b = b, .c = c};
    ef_status status = open_job(&j);
    if (!status && v->fits(ef__device_of(j.actor), &j.args)) {
        status = ef__op_force(j.actor, c->id, v->name, NULL);
        status = status ? ef__actor_says(j.actor, status, &b->error) : time_job(&j, v);
    }
    close_job(&j);
    return status;
}

/* ---- one case ---- */

static void (*const expectations[EF__OPS])(bench_case *c) = {
#define EXPECT(id, row) bench_expect_##row,
    EF__OP_LIST(EXPECT)
#undef EXPECT
};

/* Room for what is written, all NaN. */
static bool make_want(bench_case *c)
{
    for (int i = 0; i < EF__MAX_TENSORS; i++) {
        const example_array *t = &c->in.t[i];
        if (!t->rank || t->dtype == EF_I32 || !(ef__op_row(c->id)->writes >> i & 1))
            continue;
        c->want[i] = malloc(t->count * sizeof(double));
        if (!c->want[i])
            return false;
        for (size_t k = 0; k < t->count; k++)
            c->want[i][k] = NAN;
    }
    return true;
}

/* What the case should give; its sizes come from a check on the device. */
static ef_status expect(bench *b, bench_case *c)
{
    job j = {.b = b, .c = c};
    ef_status status = open_job(&j);
    c->in.args = j.args;
    close_job(&j);
    if (!status)
        expectations[c->id](c);
    return status;
}

static ef_status time_variants(bench *b, bench_case *c)
{
    const ef__op *op = ef__op_row(c->id);
    ef_status status = EF_OK;
    if (!c->in.no_memory && make_want(c))
        status = expect(b, c);
    else
        c->in.no_memory = true;
    if (!status && c->in.no_memory) {
        status = b->error.status = EF_ENOMEM;
        snprintf(b->error.text, sizeof b->error.text, "%s: no host memory for %s", op->name,
                 c->in.shape);
    }
    for (int v = 0; v < EF__MAX_VARIANTS && op->variants[v].name && !status; v++)
        status = time_variant(b, c, &op->variants[v]);
    return status;
}

static ef_status time_example(bench *b, ef__op_id id, int which)
{
    const bench_shape s = bench_shape_of(b);
    const size_t model[EXAMPLE_SIZES] = {s.B, s.L, s.D, s.H, s.K, s.V, s.E};
    bench_case c = {.id = id};
    example_make(ef__op_row(id), which, model, &c.in);
    ef_status status = time_variants(b, &c);
    example_clear(&c.in);
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        free(c.want[i]);
    return status;
}

ef_status bench_ops(bench *b)
{
    ef_status status = EF_OK;
    for (int id = 0; id < EF__OPS; id++)
        for (int e = 0; e < EF__MAX_EXAMPLES && ef__op_row(id)->examples[e].tensors && !status; e++)
            status = time_example(b, id, e);
    return status;
}
