/* The clock of all items, and the two ceilings. */
#include "bench.h"
#include "base/clock.h"
#include "base/size.h"
#include <math.h>
#include <stdlib.h>

enum { MOST_ROUNDS = 101, LEAST_ROUNDS = 3 };
static const double least_ms = 10;    /* of a round, for the clock to see it */
static const double budget_ms = 4000; /* of a task's rounds: slow tasks get fewer */

static ef_status repeat(const bench_task *t, size_t times, double *ms)
{
    ef_status status = EF_OK;
    double start = ef__now();
    if (t->batch)
        status = ef_batch_begin(t->batch);
    for (size_t i = 0; i < times && !status; i++)
        status = t->run(t->user);
    if (t->batch) {
        ef_status synced = ef_batch_sync(t->batch, "bench");
        status = status ? status : synced;
    }
    *ms = (ef__now() - start) * 1e3;
    return status;
}

/* How often t has to run for the clock to see it. */
static ef_status calibrate(const bench_task *t, size_t *times, double *ms)
{
    ef_status status = repeat(t, 1, ms);
    for (*times = 1; !status; *times *= 2) {
        status = repeat(t, *times, ms);
        if (*ms >= least_ms)
            break;
    }
    return status;
}

static int compare(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static void settle(bench_task *t, double *ms, size_t rounds, size_t times)
{
    qsort(ms, rounds, sizeof *ms, compare);
    t->ms = (ms[(rounds - 1) / 2] + ms[rounds / 2]) / 2 / (double)times;
    t->least_ms = ms[0] / (double)times;
}

ef_status bench_measure(const bench *b, bench_task *tasks, size_t count)
{
    struct {
        size_t times;
        double ms[MOST_ROUNDS];
    } *seen = calloc(count, sizeof *seen);
    size_t rounds = ef__min(b->rounds, MOST_ROUNDS);
    ef_status status = seen ? EF_OK : EF_ENOMEM;
    for (size_t i = 0; i < count && !status; i++) {
        double ms;
        status = calibrate(&tasks[i], &seen[i].times, &ms);
        while (rounds > LEAST_ROUNDS && (double)rounds * ms > budget_ms)
            rounds--;
    }
    for (size_t r = 0; r < rounds && !status; r++)
        for (size_t i = 0; i < count && !status; i++)
            status = repeat(&tasks[i], seen[i].times, &seen[i].ms[r]);
    for (size_t i = 0; i < count && !status; i++)
        settle(&tasks[i], seen[i].ms, rounds, seen[i].times);
    free(seen);
    return status;
}

/* ---- ceilings ---- */

typedef struct ceiling {
    ef_actor *actor;
    ef__call call;
} ceiling;

static ef_status launch(void *user)
{
    ceiling *c = user;
    ef_status status = ef__op_begin(c->actor, c->call.op);
    if (!status)
        status = ef__launch(c->actor, &c->call);
    return ef__op_end(c->actor, status);
}

static ef_status time_call(bench *b, const ef__call *call, double *ms)
{
    ceiling c = {b->actor, *call};
    bench_task task = {.run = launch, .user = &c, .batch = b->actor};
    ef_status status = bench_measure(b, &task, 1);
    *ms = task.least_ms;
    return ef__actor_says(b->actor, status, &b->error);
}

static size_t lanes(const ef_device_info *d)
{
    return d->is_cpu ? 1 : ef__min(256, d->max_work_group);
}

ef_status bench_ceiling_fma(bench *b, double *flops_per_s)
{
    enum { STEPS = 4096, SUMS = 12 }; /* SUMS: cl/ceiling.cl */
    const ef_device_info *d = ef_actor_device(b->actor);
    size_t width = d->is_cpu ? d->vector_width : 1;
    size_t items = d->compute_units * (d->is_cpu ? 16 : 16 * lanes(d)), count = items * width;
    ef_tensor *y;
    double ms = 1;
    ef_status status = EF_OK;
    if (b->fma == 0) {
        status = ef_tensor_new(b->actor, EF_F32, 1, &count, "sums", &y);
        if (status)
            return ef__actor_says(b->actor, status, &b->error);
        status = time_call(b,
                           &(ef__call){.op = "ceiling.fma",
                                       .source = "ceiling",
                                       .kernel = "ceiling_fma",
                                       .global = {items},
                                       .local = {lanes(d)},
                                       .args = {ef__t(y), ef__f(0.5f), ef__i(STEPS)}},
                           &ms);
        ef_tensor_free(y);
        b->fma = status ? 0 : 2.0 * SUMS * STEPS * (double)count / ms * 1e3;
    }
    *flops_per_s = b->fma;
    return status;
}

static ef_status measure_copy(bench *b, size_t count, double *bytes_per_s)
{
    const ef_device_info *d = ef_actor_device(b->actor);
    size_t run = d->is_cpu ? ef__ceil_div(count, 4 * d->compute_units * d->vector_width) : 1;
    size_t vectors = ef__ceil_div(ef__ceil_div(count, d->vector_width), run);
    size_t room = ef__round_up(vectors, lanes(d)) * run * d->vector_width;
    ef_tensor *x = NULL, *y = NULL;
    double ms = 1;
    ef_status status = ef_tensor_new(b->actor, EF_F32, 1, &room, "from", &x);
    if (!status)
        status = ef_tensor_new(b->actor, EF_F32, 1, &room, "to", &y);
    if (!status)
        status = ef_tensor_fill(x, 1);
    if (status)
        ef__actor_says(b->actor, status, &b->error);
    else
        status = time_call(b,
                           &(ef__call){.op = "ceiling.copy",
                                       .source = "ceiling",
                                       .kernel = "ceiling_copy",
                                       .global = {ef__round_up(vectors, lanes(d))},
                                       .local = {lanes(d)},
                                       .args = {ef__t(x), ef__t(y), ef__n(run)}},
                           &ms);
    ef_tensor_free(x);
    ef_tensor_free(y);
    *bytes_per_s = 8.0 * (double)room / ms * 1e3;
    return status;
}

ef_status bench_ceiling_copy(bench *b, double bytes, double *bytes_per_s)
{
    int i = bytes > 4096 ? (int)lround(log2(bytes)) : 12, most = 28;
    ef_status status = EF_OK;
    i = i < most ? i : most;
    if (b->copy[i] == 0)
        status = measure_copy(b, (size_t)1 << (i - 3), &b->copy[i]);
    *bytes_per_s = b->copy[i];
    return status;
}
