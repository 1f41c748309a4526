/* deferral -- what one wait for a step is worth: the same kernels, waiting after every operation.
 *
 * Two actors take turns, the second opened under EF_DEBUG=sync; they have to agree in every
 * bit. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

typedef struct pair {
    bench_model deferred, waiting;
} pair;

static ef_status open_pair(bench *b, const bench_shape *s, pair *p)
{
    ef_actor *a;
    ef_status status = bench_open(b, NULL, &a);
    if (!status)
        status = bench_model_open(b, s, a, &p->deferred);
    if (!status)
        status = bench_open(b, "sync", &a);
    return status ? status : bench_model_open(b, s, a, &p->waiting);
}

/* Three steps and the vectors after them. */
static ef_status try_out(bench_model *m, float **vectors, size_t *count)
{
    ef_status status = EF_OK;
    for (int i = 0; i < 3 && !status; i++)
        status = bench_model_step(m);
    if (!status)
        status = bench_model_forward(m);
    return status ? status : bench_model_vectors(m, vectors, count);
}

static ef_status verify(pair *p, bool *same)
{
    float *x = NULL, *y = NULL;
    size_t count;
    ef_status status = try_out(&p->deferred, &x, &count);
    if (!status)
        status = try_out(&p->waiting, &y, &count);
    *same = !status && p->deferred.metrics[EF_METRIC_LOSS] > 0 &&
            !memcmp(p->deferred.metrics, p->waiting.metrics, sizeof p->waiting.metrics) &&
            !memcmp(x, y, count * sizeof *x);
    free(x);
    free(y);
    return status;
}

static ef_status print_task(bench *b, const char *item, const bench_shape *s, pair *p,
                            ef_status (*run)(void *user), double flops, bool same)
{
    bench_line line = {.item = item, .flops = flops, .verified = same};
    bench_task tasks[] = {{.run = run, .user = &p->deferred}, {.run = run, .user = &p->waiting}};
    double waits, launches, all_waits, all_launches;
    ef_stats stats;
    ef_status status = bench_count(p->deferred.actor, run, &p->deferred, &waits, &launches);
    if (!status)
        status = bench_count(p->waiting.actor, run, &p->waiting, &all_waits, &all_launches);
    if (!status)
        status = bench_measure(b, tasks, 2);
    if (status)
        return status;
    bench_shape_text(s, line.shape);
    ef_actor_stats(p->deferred.actor, &stats);
    line.peak_bytes = stats.pool_peak;
    line.verified &= launches == all_launches;
    line.ms = tasks[0].ms;
    line.more[0].name = "waiting_ms", line.more[0].value = tasks[1].ms;
    line.more[1].name = "ratio", line.more[1].value = tasks[1].ms / tasks[0].ms;
    line.more[2].name = "launches", line.more[2].value = launches;
    line.more[3].name = "waits", line.more[3].value = waits;
    line.more[4].name = "waiting_waits", line.more[4].value = all_waits;
    return bench_print(b, &line);
}

static ef_status compare(bench *b, const bench_shape *s)
{
    pair p = {0};
    bool same = false;
    double flops = bench_forward_flops(s);
    ef_status status = open_pair(b, s, &p);
    if (!status)
        status = verify(&p, &same);
    if (!status)
        status = print_task(b, "deferral.forward", s, &p, bench_model_forward, flops, same);
    if (!status)
        status = print_task(b, "deferral.step", s, &p, bench_model_step, 3 * flops, same);
    bench_model_close(&p.deferred);
    bench_model_close(&p.waiting);
    return status;
}

ef_status bench_deferral(bench *b)
{
    bench_shape shapes[] = {bench_sample, bench_sample, bench_full};
    size_t count = b->model ? 2 : 3; /* the small model alone, or both */
    ef_status status = EF_OK;
    shapes[1].B = 4;
    for (size_t i = 0; i < count && !status; i++) {
        shapes[i].B = b->batch ? b->batch : shapes[i].B;
        shapes[i].L = b->length ? b->length : shapes[i].L;
        if (i != 1 || !b->batch)
            status = compare(b, &shapes[i]);
    }
    return status;
}
