/* check.h -- are the choices in a database still right and still faster? */
#ifndef TUNE_CHECK_H
#define TUNE_CHECK_H

#include "session.h"
#include "stats.h"
#include <signal.h>

typedef enum tune_check_end {
    TUNE_KEPT,
    TUNE_GIVEN_UP,   /* wrong, or not surely faster: the default is the choice from now on */
    TUNE_DEFAULT,    /* it was, and has nothing to lose */
    TUNE_UNCHECKED,  /* the record stays as it was: there was no time, or no answer */
    TUNE_NO_DEFAULT, /* so does it where the default fails: there is nothing to compare with */
} tune_check_end;

typedef struct tune_verdict {
    tune_check_end end;
    const char *why;               /* not kept, not checked, failed; of the session */
    char choice[EF__CLBLAST_TEXT]; /* of the record */
    tune_interval ratio;           /* to the default, where both were timed */
} tune_verdict;

/* Verify and time the choice that db has for the session's current target, against the default in
 * rounds of both, and write the record anew, of this session's identity: the choice if it is surely
 * faster, else the default. It is left as it is when the clock is past end_s or *stop (which may be
 * NULL) is set before that is known. Errors: s->error. */
ef_status tune_check(tune_session *s, const char *db, double end_s,
                     const volatile sig_atomic_t *stop, tune_verdict *verdict);

#endif
