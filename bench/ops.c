/* ops -- every row of the op table, its examples at a model's sizes, each variant that fits,
 * verified and then timed. */
#include "bench.h"
#include "case.h"
#include <stdio.h>

/* ---- the device's clock ---- */

/* What the device takes for one run, the mean of a few, by its own clock: on a queue that keeps
 * times, which the timed one does not. */
static ef_status profile_job(bench_job *j, double *ms)
{
    enum { RUNS = 3 };
    uint64_t ns = 0;
    ef_status status = bench_job_run(j); /* which may build */
    if (!status)
        status = ef__profile_begin(j->actor);
    for (int i = 0; i < RUNS && !status; i++)
        status = bench_job_run(j);
    if (!status)
        status = ef__profile_end(j->actor, &ns);
    *ms = (double)ns / 1e6 / RUNS;
    return status;
}

static ef_status profile_variant(bench *b, const bench_case *c, const ef__variant *v, double *ms)
{
    ef_actor *actor;
    bench_job j;
    ef_status status = ef__actor_open_profiling(b->device, &actor, &b->error);
    if (status)
        return status;
    status = bench_job_open(&j, c, actor);
    if (!status)
        status = ef__op_force(actor, c->id, v->name, NULL);
    if (!status)
        status = profile_job(&j, ms);
    if (status)
        ef__actor_says(actor, status, &b->error);
    bench_job_close(&j);
    ef_actor_close(actor);
    return status;
}

/* ---- one line ---- */

static ef_status time_job(bench *b, bench_job *j, const ef__variant *v)
{
    const ef__op *op = ef__op_row(j->c->id);
    char item[64];
    bench_line line = {.item = item, .flops = op->flops(&j->args), .bytes = op->bytes(&j->args)};
    bench_task task = {.run = bench_job_run, .user = j, .batch = j->actor};
    ef_stats stats;
    ef_status status = ef__op_force(j->actor, j->c->id, v->name, NULL);
    if (!status)
        status = bench_job_verify(j, &line.verified);
    if (!status)
        status = bench_measure(b, &task, 1);
    if (status)
        return ef__actor_says(j->actor, status, &b->error);
    snprintf(item, sizeof item, "%s[%s]", op->name, v->name);
    snprintf(line.shape, sizeof line.shape, "%s", j->c->in.shape);
    ef_actor_stats(j->actor, &stats);
    line.peak_bytes = stats.pool_peak;
    line.ms = task.ms;
    line.more[0].name = "device_ms";
    status = profile_variant(b, j->c, v, &line.more[0].value);
    if (!status)
        status = bench_print(b, &line);
    return status || !b->plot ? status : bench_roofline_add(b, op, v, &line);
}

static ef_status time_variant(bench *b, const bench_case *c, const ef__variant *v)
{
    ef_actor *actor;
    bench_job j;
    ef_status status = bench_open(b, NULL, &actor);
    if (status)
        return status;
    status = bench_job_open(&j, c, actor);
    if (status)
        ef__actor_says(actor, status, &b->error);
    else if (v->fits(ef__device_of(actor), &j.args))
        status = time_job(b, &j, v);
    bench_job_close(&j);
    ef_actor_close(actor);
    return status;
}

static ef_status time_example(bench *b, ef__op_id id, int which)
{
    const bench_shape s = bench_shape_of(b);
    const size_t model[EXAMPLE_SIZES] = {s.B, s.L, s.D, s.H, s.K, s.V, s.E};
    const ef__op *op = ef__op_row(id);
    bench_case c;
    ef_status status = bench_case_make(&c, b->actor, id, which, model, NULL, &b->error);
    for (int v = 0; v < EF__MAX_VARIANTS && op->variants[v].name && !status; v++)
        status = time_variant(b, &c, &op->variants[v]);
    bench_case_free(&c);
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
