/* session.h -- one device's worker with the books kept: whatever happens to the worker becomes an
 * outcome of the choice that it was trying. The functions are a tune_bench of the current
 * target. */
#ifndef TUNE_SESSION_H
#define TUNE_SESSION_H

#include "database.h"
#include "op/clblast.h"
#include "journal.h"
#include "process.h"

/* One that can be chosen for the current target. */
typedef struct tune_option {
    ef__choice choice;           /* variant NULL: of CLBlast's parameters */
    const char *variant;         /* as a record names it: its own, or "set" */
    json_t *knobs, *sent;        /* in a record; in requests */
    char text[EF__CLBLAST_TEXT]; /* "toom2 rows 6, vectors 2" */
    tune_outcome outcome;        /* TUNE_CORRECT: verified */
    bool untuned, late;          /* its variant's own values; cut short in an earlier run */
    unsigned built_in;           /* the worker, by its number, that has run it */
    double worst;
    char why[256]; /* it was given up */
} tune_option;

enum { TUNE_NAME = 128 };        /* bytes of a target's */
enum { TUNE_MOST_FAILURES = 3 }; /* in a row before the device is suspected */

/* Seconds that the worker has for an answer. */
typedef struct tune_patience {
    double start_s, open_s;
    double compile_s; /* until a choice that is new to the worker is built, or has run */
    double run_s;     /* the least for a run of it then */
    double verify_s;  /* which builds for other shapes, and computes what is right on the host */
} tune_patience;

typedef struct tune_session {
    tune_patience patience; /* all 0: as begin has it */
    char *const *argv;      /* of the worker */
    tune_process worker;
    tune_process plain; /* of CLBlast's own parameters: one that never takes others */
    tune_journal journal;
    tune_device device;
    char identity[EF__SHA256_HEX]; /* of device, driver and kernels */
    bool is_cpu;
    bool fresh, retry_failed; /* fresh: targets are forgotten as they are opened */

    const tune_target *products; /* [product_count] what CLBlast's parameters are tuned for */
    size_t product_count;
    json_t *kernels; /* CLBlast's parameters that all workers take; NULL: its own */

    tune_target target;
    char shape[TUNE_NAME], booked[TUNE_NAME]; /* its name, and that in the journal */
    char source[EF__SHA256_HEX];              /* of its kernels */
    tune_option *options;
    size_t count, untuned;
    double flops, bytes, floor_ms; /* floor_ms: what they take at the ceilings, 0: not known */

    size_t failed[TUNE_MOST_FAILURES], failures; /* in a row */
    unsigned sick;                               /* how often the device was */
    ef_error error; /* that ends the run: of a file, a worker that does not start, a sick device */
} tune_session;

/* Start a worker and learn what the device is. s is zero but for its patience; argv stays the
 * caller's. Errors: EARG (no such device), EDEVICE. */
ef_status tune_session_begin(tune_session *s, char *const argv[]);
void tune_session_end(tune_session *s);

/* Make a target the current one: its options, with what the journal knows of them. Errors: EBUILD
 * (this target's default does not run), EDEVICE. */
ef_status tune_session_open(tune_session *s, const tune_target *target);

/* What makes a result for a target good for another run: device, driver, kernels; for what CLBlast
 * computes its parameters, and for these all products. */
void tune_session_identity(const tune_session *s, const tune_target *target,
                           char hex[EF__SHA256_HEX]);

/* Does the journal know choices of it that failed? */
bool tune_session_has_failures(const tune_session *s, const tune_target *target);

/* Make CLBlast's parameters the current target. *limits: the device's. *fits: can it run them?
 * Errors: EDEVICE, EBUILD. */
ef_status tune_session_open_clblast(tune_session *s, ef__clblast_limits *limits, bool *fits);

/* Its options are these sets, and as the last and the default none, in a worker of its own. The
 * journal's are known. Errors: ENOMEM, EIO. */
ef_status tune_session_sets(tune_session *s, const ef__clblast_set *sets, size_t count);

/* How long each product takes with an option: ms[product_count]. false: it cannot be said. */
bool tune_session_each(tune_session *s, size_t option, double *ms);

/* From now on all workers take these parameters for CLBlast, which are borrowed no longer than this
 * call; NULL: its own. Those that run are ended. */
void tune_session_kernels(tune_session *s, json_t *kernels);

/* tune_bench's; user is a tune_session. TUNE_GONE: s->error says why. */
tune_outcome tune_session_sample(void *user, size_t option, tune_limit limit, double *ms);
tune_outcome tune_session_verify(void *user, size_t option, tune_limit limit);
tune_outcome tune_session_round(void *user, const size_t *options, size_t count, tune_limit limit,
                                double *ms, size_t *failed);

/* What the journal knows, as a plan takes it; the caller frees. NULL with *count 0: nothing. */
tune_known *tune_session_known(const tune_session *s, size_t *count);

#endif
