/* Timing calls of one operation. */
#include "timing.h"
#include "actor/identity.h"
#include "base/clock.h"
#include "train/trainer.h"
#include "verify.h"
#include <math.h>
#include <string.h>

static const double least_ms = 5; /* of what is timed at once */

/* So many sets of tensors that together they pass the caches. */
static size_t sets_for(ef_actor *a, double bytes)
{
    ef__identity own;
    ef__identity_get(a, &own);
    const size_t cache = own.info.l3_bytes ? own.info.l3_bytes : own.info.l2_bytes;
    return (size_t)fmin(TUNE_MOST_SETS, fmax(1, ceil(2 * (double)cache / fmax(bytes, 1))));
}

ef_status tune_timing_open(tune_timing *t, ef_actor *a, const bench_case *c)
{
    ef_status status;
    *t = (tune_timing){.actor = a};
    do
        status = tune_job_open(&t->sets[t->count++], c, a);
    while (!status && t->count < sets_for(a, ef__op_row(c->id)->bytes(&t->sets[0].args)));
    return status;
}

void tune_timing_close(tune_timing *t)
{
    for (size_t i = 0; i < t->count; i++)
        bench_job_close(&t->sets[i]);
    *t = (tune_timing){0};
}

/* One call as a training step makes it: the weights have changed since the last. */
static ef_status call(tune_timing *t)
{
    bench_job *j = &t->sets[t->next++ % t->count];
    const ef__op *op = ef__op_row(j->c->id);
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        if (op->names[i] && !strcmp(op->names[i], "w"))
            ef__tensor_written(j->t[i]);
    return bench_job_run(j);
}

/* All of so many calls. */
static ef_status run(tune_timing *t, size_t calls, void (*enqueued)(void *user), void *user,
                     double *ms)
{
    const double start = ef__now();
    ef_status status = ef_batch_begin(t->actor);
    for (size_t i = 0; i < calls && !status; i++)
        status = call(t);
    if (enqueued && !status)
        enqueued(user);
    ef_status synced = ef_batch_sync(t->actor, "tune");
    *ms = (ef__now() - start) * 1e3;
    return status ? status : synced;
}

ef_status tune_timing_measure(tune_timing *t, const ef__choice *choice, size_t *calls,
                              void (*built)(void *user), void *user, double *ms)
{
    *ms = 0;
    ef_status status =
        ef__op_force(t->actor, t->sets[0].c->id, choice->variant->name, choice->knob);
    if (!status && !*calls) {
        status = run(t, t->count, built, user, ms);
        *calls = 1;
    }
    while (!status && !(status = run(t, *calls, NULL, NULL, ms)) && *ms < least_ms)
        *calls *= 2;
    *ms /= (double)*calls;
    if (status)
        *calls = 0;
    return status;
}
