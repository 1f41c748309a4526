/* An operation's case: made, put on a device, run, compared. */
#include "case.h"
#include "train/trainer.h"
#include "../tests/ref.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double bound = 1e-5; /* of ||got - want|| / ||want|| */

/* ---- on a device ---- */

static ef_status upload(bench_job *j)
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
static ef_status fill_args(bench_job *j)
{
    const ef__op *op = ef__op_row(j->c->id);
    j->args = j->c->in.args;
    example_bind(&j->args, j->t);
    ef__lock(j->actor);
    ef_status status = op->check(j->actor, op->name, &j->args);
    ef__unlock(j->actor);
    return status;
}

ef_status bench_job_open(bench_job *j, const bench_case *c, ef_actor *a)
{
    *j = (bench_job){.c = c, .actor = a};
    ef_status status = upload(j);
    return status ? status : fill_args(j);
}

void bench_job_close(bench_job *j)
{
    for (int i = 0; i < EXAMPLE_TENSORS; i++)
        ef_tensor_free(j->t[i]);
}

ef_status bench_job_run(void *user)
{
    bench_job *j = user;
    return ef__op_run(j->actor, j->c->id, &j->args);
}

/* ---- verifying ---- */

double bench_element(const example_array *t, const void *data, size_t i)
{
    return t->dtype == EF_F16   ? ref_float(((const uint16_t *)data)[i])
           : t->dtype == EF_I32 ? ((const int32_t *)data)[i]
                                : ((const float *)data)[i];
}

/* Does what is known of one result agree? known: is counted up. */
static bool agrees(const example_array *t, const void *got, const double *want, size_t *known)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (isnan(want[i]))
            continue;
        double d = bench_element(t, got, i) - want[i];
        difference += d * d;
        norm += want[i] * want[i];
        ++*known;
    }
    return sqrt(difference) <= bound * sqrt(norm);
}

ef_status bench_job_verify(bench_job *j, bool *right)
{
    size_t known = 0;
    ef_status status = bench_job_run(j);
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

/* ---- the case ---- */

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
        if (!t->rank || !(ef__op_row(c->id)->writes >> i & 1))
            continue;
        c->want[i] = malloc(t->count * sizeof(double));
        c->mag[i] = calloc(t->count, sizeof(double));
        if (!c->want[i] || !c->mag[i])
            return false;
        for (size_t k = 0; k < t->count; k++)
            c->want[i][k] = NAN;
    }
    return true;
}

/* What the case should give; its sizes come from a check on the device. */
static ef_status expect(bench_case *c, ef_actor *a)
{
    bench_job j;
    ef_status status = bench_job_open(&j, c, a);
    c->in.args = j.args;
    bench_job_close(&j);
    if (!status)
        expectations[c->id](c);
    return status;
}

ef_status bench_case_make(bench_case *c, ef_actor *a, ef__op_id id, int which,
                          const size_t model[EXAMPLE_SIZES], const size_t *n, ef_error *error)
{
    const ef__op *op = ef__op_row(id);
    ef_status status = EF_OK;
    *c = (bench_case){.id = id};
    example_make(op, which, model, &c->in);
    if (n)
        memcpy(c->in.args.n, n, sizeof c->in.args.n);
    if (!c->in.no_memory && make_want(c))
        status = expect(c, a);
    else
        c->in.no_memory = true;
    if (status)
        return ef__actor_says(a, status, error);
    if (c->in.no_memory) {
        status = error->status = EF_ENOMEM;
        snprintf(error->text, sizeof error->text, "%s: no host memory for %s", op->name,
                 c->in.shape);
    }
    return status;
}

void bench_case_free(bench_case *c)
{
    example_clear(&c->in);
    for (int i = 0; i < EXAMPLE_TENSORS; i++) {
        free(c->want[i]);
        free(c->mag[i]);
    }
}
