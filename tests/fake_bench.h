/* fake_bench.h -- a device of the tuner's tests: times out of a formula, noise out of a seed, and a
 * clock that only its own calls move. */
#ifndef FAKE_BENCH_H
#define FAKE_BENCH_H

#include "../tune/search.h"
#include "base/rng.h"

typedef struct fake_bench {
    tune_space *space;
    size_t control;
    double *ms;            /* [count] true times */
    tune_outcome *outcome; /* [count] what sampling gives; CORRECT if not set */
    bool *wrong;           /* [count] what verifying finds */
    double *complexity;    /* [count] 0 if not set */
    size_t *checked;       /* [count] verifications */
    size_t *asked;         /* [count] samples */
    bool *built;
    double build_s, check_s, call_s; /* call_s: of every call, beside what it does */
    double slow, slow_at; /* from slow_at on its clock all takes so many times as long; 0: never */
    size_t slow_build;    /* a candidate that takes a day; 0: none */
    size_t flaky;         /* one that only a second check finds wrong; 0: none */
    size_t fragile;       /* one that fails in its third round; 0: none */
    double fail_s;        /* that checks of wrong ones and a round that fails take, too */
    size_t rounds;
    double noise, spikes; /* of log-normal noise; share of samples that take three times as long */
    double drift;         /* share of rounds in the middle of which the clock halves */
    double clock;
    ef__rng rng;
    size_t calls, gone_at, sick_at, stop_at; /* number of the call; 0: never */
    volatile sig_atomic_t stop;
    size_t sick; /* failures in a row that it answers for */
    tune_progress last;
    tune_result result;
} fake_bench;

/* A space of parts[count], all points taking 1 ms. */
fake_bench *fake_new(const tune_part *parts, size_t count,
                     bool (*valid)(const void *user, const tune_point *point));
void fake_free(fake_bench *f);

/* Search with the default at f->control; f->result is that of the last. */
tune_result *fake_search(fake_bench *f, tune_plan plan);

size_t fake_fastest(const fake_bench *f);

#endif
