/* timing.h -- how long one call of an operation takes: of calls in a row until the last is done, so
 * many that the clock sees them, on sets of tensors used by turns, which together pass the
 * caches. */
#ifndef TUNE_TIMING_H
#define TUNE_TIMING_H

#include "../bench/case.h"

enum { TUNE_MOST_SETS = 4 };

typedef struct tune_timing {
    ef_actor *actor;
    bench_job sets[TUNE_MOST_SETS]; /* the case on tensors of its own, in guard bands */
    size_t count, next;
} tune_timing;

/* The case is borrowed. Close it also when this fails; status: what failed stands on the actor. */
ef_status tune_timing_open(tune_timing *t, ef_actor *a, const bench_case *c);
void tune_timing_close(tune_timing *t);

/* *ms of one call with this choice, of *calls in a row or as many more as the clock needs. *calls
 * 0: the choice is new here; each set has a call first, to have it built and packed, and when these
 * are enqueued built(user) is called, unless built is NULL. */
ef_status tune_timing_measure(tune_timing *t, const ef__choice *choice, size_t *calls,
                              void (*built)(void *user), void *user, double *ms);

#endif
