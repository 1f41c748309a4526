/* search.h -- which point of a space is the fastest, and surely faster than the default?
 *
 * The search owns the strategy and the statistics, and nothing else: what runs a candidate is the
 * caller's bench, one call at a time, each blocking until it has an answer; so a bench may as well
 * talk to another process over a pipe. The search keeps no clock and no file of its own, and with
 * the same plan and the same answers it asks the same questions. README.md tells the method.
 *
 * A candidate is a number: that of a point in the space, or tune_space_count() for a default that
 * is no point of it ("as the device is, untuned"). */
#ifndef TUNE_SEARCH_H
#define TUNE_SEARCH_H

#include "energyflow.h"
#include "space.h"
#include "stats.h"
#include <signal.h>
#include <stdint.h>

/* What became of running a candidate: the names that other tuners' files know. */
#define TUNE_OUTCOMES(X)                                                                           \
    X(UNTRIED, "untried")                                                                          \
    X(CORRECT, "correct")                                                                          \
    X(COMPILE, "compile")         /* it does not build */                                          \
    X(RUNTIME, "runtime")         /* it fails, or its process died */                              \
    X(TIMEOUT, "timeout")         /* ended because it was not, in its time */                      \
    X(CORRECTNESS, "correctness") /* its results are wrong */                                      \
    X(CONSTRAINTS, "constraints") /* the device cannot run it */                                   \
    X(LATE, "late")               /* cut short, for the search's time was up: it has not failed */ \
    X(SICK, "sick")               /* an answer only: see below */                                  \
    X(GONE, "gone")               /* an answer only: the bench cannot go on; ends the search */

/* Why a candidate is where it is. The margin is that of a plan that names no other. */
#define TUNE_FATES(X)                                                                              \
    X(UNSEEN, "not tried: the time was up")                                                        \
    X(FAILED, "failed")                                                                            \
    X(WAITING, "the search ended before its turn")                                                 \
    X(SLOW, "more than 3 times the time of the fastest")                                           \
    X(THIRD, "not in the fastest third after 4 samples")                                           \
    X(FEW, "not among the finalists after 13 samples")                                             \
    X(CROWDED, "a finalist, but the time was up for its rounds")                                   \
    X(UNSURE, "not surely faster than the default by the margin of 2 %")                           \
    X(BEATEN, "surely faster than the default, but slower than the choice")                        \
    X(TIED, "as fast as the choice, but not as simple")                                            \
    X(UNCONFIRMED, "faster than the default in the finals, but not in rounds of its own")          \
    X(CONTROL, "the default")                                                                      \
    X(CHOSEN, "the choice")

typedef enum tune_outcome {
#define TUNE_OUTCOME(name, text) TUNE_##name,
    TUNE_OUTCOMES(TUNE_OUTCOME)
#undef TUNE_OUTCOME
        TUNE_OUTCOME_COUNT
} tune_outcome;

typedef enum tune_fate {
#define TUNE_FATE(name, text) TUNE_FATE_##name,
    TUNE_FATES(TUNE_FATE)
#undef TUNE_FATE
} tune_fate;

const char *tune_outcome_text(tune_outcome outcome);
bool tune_is_failure(tune_outcome outcome); /* of the candidate */
const char *tune_fate_text(tune_fate fate);

typedef enum tune_stage {
    TUNE_EXPLORE, /* S0: one sample of each candidate */
    TUNE_FIRST,   /* S1: 3 more */
    TUNE_SECOND,  /* S2: verified, then 9 more */
    TUNE_FINALS,  /* S3: rounds against the default */
    TUNE_CONFIRM  /* rounds of the winner alone */
} tune_stage;

enum { TUNE_SAMPLES = 1 + 3 + 9, TUNE_FINALISTS = 5 };

/* ---- What the caller brings ---- */

/* How long a call may take; a search cannot interrupt it.
 * run_s   of one run of the candidate, once built. Past it the answer is TUNE_TIMEOUT.
 * left_s  of the whole call: what is left of the budget. Past it the answer is TUNE_LATE. */
typedef struct tune_limit {
    double run_s, left_s;
} tune_limit;

/* For display, after each answer. */
typedef struct tune_progress {
    tune_stage stage;
    size_t done, total;                /* of the stage; exploring: of all candidates */
    size_t best;                       /* candidate with the least median so far */
    double best_ms, control_ms;        /* 0: not yet known */
    tune_interval ratio;               /* best finalist to default so far; 0 before the finals */
    size_t failed[TUNE_OUTCOME_COUNT]; /* candidates */
    double spent_s, budget_s;
} tune_progress;

/* TUNE_SICK: not the candidate failed but the device, and it is well again.
 * The failures since the last success are forgotten, this one included, and tried again. */
typedef struct tune_bench {
    void *user;
    /* Build the candidate unless it is built, run it, and time it once. */
    tune_outcome (*sample)(void *user, size_t candidate, tune_limit limit, double *ms);
    /* Are its results right? Asked of each that takes the lead, of the others
     * in S2, and again of the winner. NULL: not asked. */
    tune_outcome (*verify)(void *user, size_t candidate, tune_limit limit);
    /* Time each of candidates[count] once, in this order, as the application would run them; the
     * same may stand there twice. *failed: the place of one that failed, if so. */
    tune_outcome (*round)(void *user, const size_t *candidates, size_t count, tune_limit limit,
                          double *ms, size_t *failed);
    double (*now)(void *user);                            /* seconds */
    void (*progress)(void *user, const tune_progress *p); /* NULL: none */
    double (*complexity)(void *user, size_t candidate);   /* NULL: all alike */
} tune_bench;

/* What an earlier search saw of a candidate. TUNE_LATE: only that, so its turn comes last. */
typedef struct tune_known {
    size_t candidate;
    tune_outcome outcome;
    bool verified;
    size_t samples; /* none, where it failed */
    double ms[TUNE_SAMPLES];
} tune_known;

typedef struct tune_plan {
    const tune_space *space;
    size_t control;      /* the default: what a choice has to beat, and the result if none does */
    const size_t *seeds; /* candidates to begin with: one of each part, those of a database */
    size_t seed_count;
    const tune_known *known; /* never run again where they failed, nor sampled again */
    size_t known_count;
    double budget_s;
    double most_s; /* where the budget is too small for seeds and finals, they may have this much;
                      0: they may not */
    uint64_t seed;
    double margin; /* a choice saves more than this share of the default's time; 0: 2 % */
    size_t rounds; /* of the finals; 0: 15. Where the time ends, 7 will do */
    const volatile sig_atomic_t *stop; /* becomes 1: end, with what is known; may be NULL */
} tune_plan;

/* ---- What it finds ---- */

typedef struct tune_candidate {
    tune_outcome outcome;
    tune_fate fate;
    tune_stage stage;    /* the last that it reached, where it was tried */
    bool verified, late; /* late: it was cut short once */
    size_t samples;
    double ms[TUNE_SAMPLES]; /* in the order of measuring; known ones first */
    double median_ms, mad_ms;
    tune_interval ratio; /* to the default, in its last rounds: the finals', or those of its own */
    size_t rounds;       /* that counted of these; 0: it had none */
} tune_candidate;

typedef enum tune_end {
    TUNE_DONE,
    TUNE_SPENT,          /* the budget ended before it could be told that the default stays */
    TUNE_STOPPED,        /* by the flag: the default stays */
    TUNE_LOST,           /* the bench was gone: the default stays */
    TUNE_CONTROL_FAILED, /* see its outcome: there is nothing to compare with */
} tune_end;

typedef struct tune_result {
    tune_end end;
    size_t choice;            /* the control, unless adopted */
    bool adopted, exhaustive; /* exhaustive: no candidate was left untried */
    tune_interval ratio;      /* adopted: of the choice to the default, in its confirming rounds */
    double spent_s;
    size_t rounds, discarded; /* rounds that counted, and those in which the device drifted */
    size_t count;
    tune_candidate *candidate; /* [count] */
} tune_result;

/* tune_search -- search within the budget; result is the caller's to free with tune_result_free,
 * and is filled whatever became of the search.
 * Errors: EARG (a candidate of the plan does not exist, no budget), ENOMEM. */
ef_status tune_search(const tune_plan *plan, const tune_bench *bench, tune_result *result);
void tune_result_free(tune_result *result);

#endif
