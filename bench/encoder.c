/* encoder -- the model: encoding, and a training step, at two batch sizes.
 *
 * Both are verified by a second model whose operations all run their plain variants: the vectors
 * after a step, and the step's loss and gradient norm. */
#include "bench.h"
#include <stdlib.h>

enum { CHECKED = EF_METRIC_GRAD_NORM + 1 }; /* metrics compared: those up to the gradient norm */

/* One step, then the vectors. */
static ef_status try_out(bench_model *m, float **vectors, size_t *count)
{
    ef_status status = bench_model_step(m);
    if (!status)
        status = bench_model_forward(m);
    return status ? status : bench_model_vectors(m, vectors, count);
}

static ef_status open_plain(bench *b, const bench_shape *s, bench_model *m)
{
    ef_actor *a;
    ef_status status = bench_open(b, NULL, &a);
    if (!status)
        status = bench_model_open(b, s, a, m);
    return status ? status : ef__actor_says(a, bench_force_plain(a), &b->error);
}

static ef_status verify(bench *b, const bench_shape *s, bench_model *m, bool *right)
{
    bench_model plain = {0};
    float *x = NULL, *y = NULL;
    size_t count;
    ef_status status = open_plain(b, s, &plain);
    if (!status)
        status = try_out(m, &x, &count);
    if (!status)
        status = try_out(&plain, &y, &count);
    *right = !status && bench_near(m->metrics, plain.metrics, CHECKED, 1e-5) &&
             bench_near(x, y, count, 1e-3);
    free(x);
    free(y);
    bench_model_close(&plain);
    return status;
}

static ef_status print_task(bench *b, const char *item, const bench_shape *s, bench_model *m,
                            ef_status (*run)(void *user), double flops, bool right)
{
    bench_line line = {.item = item, .flops = flops, .verified = right};
    bench_task task = {.run = run, .user = m};
    double waits, launches;
    ef_stats stats;
    ef_status status = bench_count(m->actor, run, m, &waits, &launches);
    if (!status)
        status = bench_measure(b, &task, 1);
    if (status)
        return status;
    bench_shape_text(s, line.shape);
    ef_actor_stats(m->actor, &stats);
    line.peak_bytes = stats.pool_peak;
    line.ms = task.ms;
    line.more[0].name = "samples_per_s", line.more[0].value = (double)s->B / task.ms * 1e3;
    line.more[1].name = "launches", line.more[1].value = launches;
    line.more[2].name = "waits", line.more[2].value = waits;
    return bench_print(b, &line);
}

static ef_status time_shape(bench *b, const bench_shape *s)
{
    bench_model m = {0};
    ef_actor *a;
    bool right = false;
    double flops = bench_forward_flops(s);
    ef_status status = bench_open(b, NULL, &a);
    if (!status)
        status = bench_model_open(b, s, a, &m);
    if (!status)
        status = verify(b, s, &m, &right);
    if (!status)
        status = print_task(b, "encoder.forward", s, &m, bench_model_forward, flops, right);
    if (!status)
        status = print_task(b, "encoder.step", s, &m, bench_model_step, 3 * flops, right);
    bench_model_close(&m);
    return status;
}

ef_status bench_encoder(bench *b)
{
    const size_t batches[] = {4, 16};
    ef_status status = EF_OK;
    for (size_t i = 0; i < 2 && !status; i++) {
        bench_shape s = bench_shape_of(b);
        s.B = b->batch ? b->batch : batches[i];
        if (i == 0 || !b->batch)
            status = time_shape(b, &s);
    }
    return status;
}
