/* verify.h -- is a choice right? Through the public operation, against double precision, at the
 * tuned shape, alone and with an epilogue, and three small ones; outputs full of NaN before, guard
 * bands around every tensor, three runs with the same bits. */
#ifndef TUNE_VERIFY_H
#define TUNE_VERIFY_H

#include "target.h"

/* The cases of a target: itself, its probes, and for an operation that takes an epilogue itself
 * with those parts of one that go together. */
enum { TUNE_EPILOGUE = 1 + TUNE_PROBES, TUNE_CASES };

/* A case's data have other magnitudes in each sequence, and mag knows all of the sums. */
typedef struct tune_cases {
    tune_target targets[TUNE_CASES];
    bench_case cases[TUNE_CASES];
    int count;
    float
        *plain[EF__MAX_TENSORS]; /* what the always-fitting variant gives for the target; where that
                                      does not run, the untuned choice */
} tune_cases;

/* Free it also when this fails. */
ef_status tune_cases_make(tune_cases *c, ef_actor *a, const tune_target *t, ef_error *error);
void tune_cases_free(tune_cases *c);

/* bench_job_open with guard bands around every tensor: what is written outside of one hits nothing
 * that the process lives on. */
ef_status tune_job_open(bench_job *j, const bench_case *c, ef_actor *a);

/* status: what a failed call said stands on the actor. OK with *worst > 1: wrong; text says where.
 * *worst is the largest error over its bound. */
ef_status tune_verify(ef_actor *a, const tune_cases *c, const ef__choice *choice, double *worst,
                      char *text, size_t size);

#endif
