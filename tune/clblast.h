/* clblast.h -- the parameters of CLBlast's GEMM, one set for all products of the targets: first the
 * kernels of the product, then the copies around the fastest, then the size from which it is taken.
 * README.md tells why so. */
#ifndef TUNE_CLBLAST_H
#define TUNE_CLBLAST_H

#include "session.h"

/* Is there time for a few sets? If not, nothing is tried. */
bool tune_clblast_has_time(bool is_cpu, double seconds);

/* With the session open at CLBlast's parameters: the budget of `plan` is that of all searches, of
 * which *found is the last one's; the session's options are those of it, and its control is none,
 * in a process that never took any. plan and bench are as in tune_search, without a space.
 * *tried of *all sets in the searches before that. Errors: as tune_search, and s->error. */
ef_status tune_clblast(tune_session *s, const tune_plan *plan, const tune_bench *bench,
                       const ef__clblast_limits *limits, tune_result *found, size_t *tried,
                       size_t *all);

/* The session's options become what db has, and none. Errors: s->error. */
ef_status tune_clblast_stored(tune_session *s, const char *db, const ef__clblast_limits *limits);

#endif
