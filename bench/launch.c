/* launch -- what one tiny operation costs: enqueued in a row, waited for, read back. */
#include "bench.h"
#include <stdio.h>

enum { COUNT = 64 };

typedef struct tiny {
    ef_actor *actor;
    ef_tensor *x, *y; /* y counts the operations */
    uint64_t runs;
    float last;
} tiny;

static ef_status add(void *user)
{
    tiny *t = user;
    t->runs++;
    return ef_residual_add(t->actor, t->x, t->y);
}

static ef_status add_and_wait(void *user)
{
    tiny *t = user;
    ef_status status = add(t);
    return status ? status : ef_actor_finish(t->actor);
}

static ef_status add_and_read(void *user)
{
    tiny *t = user;
    ef_readback *readback = NULL;
    const void *data;
    size_t count;
    ef_status status = add(t);
    if (!status)
        status = ef_readback_start(t->actor, t->y, EF_IMMEDIATE, NULL, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, &count);
    if (!status)
        t->last = ((const float *)data)[COUNT - 1];
    ef_readback_free(readback);
    return status;
}

static ef_status prepare(tiny *t)
{
    const size_t count = COUNT;
    t->runs = 0;
    ef_status status = ef_tensor_new(t->actor, EF_F32, 1, &count, "x", &t->x);
    if (!status)
        status = ef_tensor_new(t->actor, EF_F32, 1, &count, "y", &t->y);
    if (!status)
        status = ef_tensor_fill(t->x, 0.25);
    return status ? status : ef_tensor_fill(t->y, 0);
}

static ef_status time_way(bench *b, const char *item, ef_status (*run)(void *user), bool in_batch)
{
    tiny t = {0};
    ef_stats stats;
    bench_line line = {.item = item, .bytes = 12.0 * COUNT};
    ef_status status = bench_open(b, NULL, &t.actor);
    if (status)
        return status;
    bench_task task = {.run = run, .user = &t, .batch = in_batch ? t.actor : NULL};
    status = prepare(&t);
    if (!status)
        status = bench_measure(b, &task, 1);
    if (!status)
        status = add_and_read(&t);
    if (!status) {
        ef_actor_stats(t.actor, &stats);
        snprintf(line.shape, sizeof line.shape, "N%d", COUNT);
        line.ms = task.ms;
        line.verified = t.last == 0.25f * (float)t.runs;
        line.peak_bytes = stats.pool_peak;
        line.more[0].name = "us", line.more[0].value = task.ms * 1e3;
        status = bench_print(b, &line);
    } else {
        ef__actor_says(t.actor, status, &b->error);
    }
    ef_tensor_free(t.x);
    ef_tensor_free(t.y);
    ef_actor_close(t.actor);
    return status;
}

ef_status bench_launch(bench *b)
{
    ef_status status = time_way(b, "launch.in_a_row", add, true);
    if (!status)
        status = time_way(b, "launch.wait", add_and_wait, false);
    return status ? status : time_way(b, "launch.readback", add_and_read, false);
}
