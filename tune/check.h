/* check.h -- are the choices in a database still right and still faster? */
#ifndef TUNE_CHECK_H
#define TUNE_CHECK_H

#include "session.h"
#include "stats.h"

typedef struct tune_verdict {
    bool kept, was_default; /* a default has nothing to lose */
    const char *why;        /* it was not kept */
    char choice[EF__CLBLAST_TEXT];
    tune_interval ratio; /* to the default, where both were timed */
} tune_verdict;

/* Verify and time the choice that db has for the session's current target, against the default in
 * rounds of both, and write the record anew, of this session's identity: the choice if it is surely
 * faster, else the default. Errors: s->error. */
ef_status tune_check(tune_session *s, const char *db, tune_verdict *verdict);

#endif
