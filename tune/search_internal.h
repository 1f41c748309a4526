/* search_internal.h -- a search under way. search.c leads through the stages, ask.c talks to the
 * bench, explore.c says what to sample next, finals.c compares with the default. */
#ifndef TUNE_SEARCH_INTERNAL_H
#define TUNE_SEARCH_INTERNAL_H

#include "base/rng.h"
#include "model.h"
#include "search.h"

enum { TUNE__FAILING = 8 };

/* What a call of a kind takes, by those so far. */
typedef struct tune__cost {
    double seconds;
    size_t calls; /* that it is the mean of */
} tune__cost;

typedef struct tune__search {
    const tune_plan *plan;
    const tune_bench *bench;
    tune_result *result;
    tune_candidate *candidate; /* the result's */
    ef__rng rng;
    size_t points; /* of the space */
    double margin;
    size_t rounds;
    tune_progress progress;

    double budget_s;                  /* the plan's, or what seeds and finals need */
    double start;                     /* on the bench's clock */
    double until;                     /* how long after it the present stage ends */
    bool late;                        /* a call was cut short by that */
    double first_s;                   /* what the default's first sample takes, which builds it */
    tune__cost sample, verify, entry; /* a sample of one that is built; a check; a place in a round
                                         of those that are */
    bool *built;                      /* [count] in this search */
    size_t finalists;                 /* at most */

    size_t failing[TUNE__FAILING]; /* the last of those that failed since the last success */
    size_t failures, sick;

    /* Exploring. */
    size_t *order; /* [points] shuffled */
    size_t next;   /* all before it in order are tried */
    size_t untried;
    size_t alive;       /* of the tried: correct */
    size_t sampled;     /* in this search */
    double explored_at; /* when exploring began */
    double seeded_at;   /* when the seeds should be sampled; INFINITY: there are none */
    bool held_up;       /* by one that took all the time of those after it */
    tune_model *model;
} tune__search;

/* ---- ask.c ---- */

/* Has something ended the search? */
bool tune__halted(tune__search *s);

/* Seconds since the start; until the stage ends, 0 if it is over. */
double tune__spent(const tune__search *s);
double tune__left(const tune__search *s);

/* A stage begins, which leaves so many seconds of the budget to the later ones. */
void tune__begin(tune__search *s, double later);

/* Put in what an earlier search saw. */
void tune__recall(tune__search *s, const tune_known *known);

/* One more sample of a candidate, TUNE_SAMPLES at most are kept; false: it failed, or the search is
 * halted. */
bool tune__sample(tune__search *s, size_t candidate);
bool tune__verify(tune__search *s, size_t candidate);
bool tune__round(tune__search *s, const size_t *candidates, size_t count, double *ms);

/* Sample the default until its times are steady; these samples are not kept. */
void tune__warm(tune__search *s);
double tune__warming_s(const tune__search *s); /* at most */

void tune__report(tune__search *s, tune_stage stage, size_t done, size_t total);

bool tune__alive(const tune__search *s, size_t candidate);

/* ---- explore.c ---- */

/* The candidate to sample next; false: all are tried. */
bool tune__next(tune__search *s, size_t *candidate);

/* ---- finals.c ---- */

/* Seconds that the finals want, their confirmation included; in need: cannot do without. */
double tune__finals_s(const tune__search *s, bool need);

/* Choose among these; the choice and all their fates go into the result. *finished: in time. */
ef_status tune__finals(tune__search *s, const size_t *finalists, size_t count, bool *finished);

#endif
