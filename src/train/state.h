/* state.h -- what a checkpoint says besides its tensors, and its JSON. Pure: no device, no file.
 *
 * A checkpoint's metadata has two JSON texts: "config", the model, enough to run it; and "run",
 * where a training run stands and under what it ran, enough to continue it. */
#ifndef EF_TRAIN_STATE_H
#define EF_TRAIN_STATE_H

#include "base/error.h"

enum { EF__FORMAT_VERSION = 1 };

/* What has to be the same for a run to continue bit for bit: printable ASCII. */
typedef struct ef__identity {
    char device[400], driver[300], library[256], variants[256];
} ef__identity;

/* What is one of each kind, or NULL: of a pair, both. */
enum { EF__KINDS = 2 };

typedef struct ef__run_state {
    uint64_t step;            /* attempted */
    uint64_t epoch, position; /* batch number position of epoch is next, both from 0 */
    uint64_t skipped, seed;
    uint64_t stale; /* epochs since the best one */
    bool has_best;
    double best; /* held-out cos; ce of a decoder's run */
    uint64_t data_bytes;
    char data_sha256[65], val_sha256[65]; /* val: of a file of its own, else "" */
    double val_fraction, ab_ratio;
    size_t batch, accum, micro_batch, max_batches;
    bool bucket;
    ef_trainer_options trainer[EF__KINDS];
    ef__identity identity;
} ef__run_state;

/* The configurations of a checkpoint's model, or of a pair's two. */
typedef struct ef__models {
    bool has[EF__KINDS];
    ef_model_config config[EF__KINDS];
} ef__models;

/* What a file calls a model, "encoder" or "decoder", by its ef_model_kind. */
extern const char *const ef__kinds[EF__KINDS];

/* What a file calls it: "encoder", "decoder", "combined". */
const char *ef__models_kind(const ef__models *models);

/* Has it a model of this kind? Errors: EFORMAT. */
ef_status ef__models_want(const char *path, const ef__models *models, ef_model_kind kind,
                          ef_error *error);

/* path: for messages. */

/* *text is malloc'ed. Errors: EFORMAT (something that JSON cannot say: NaN, infinity, a text that
 * is not UTF-8), ENOMEM; *text is NULL then. */
ef_status ef__config_dump(const char *path, const ef__models *models, char **text, ef_error *error);
ef_status ef__run_dump(const char *path, const ef__run_state *state, char **text, ef_error *error);

/* Is a file's "run" of a format version that this library reads? NULL, of a file that has none, is.
 * Errors: EFORMAT (both versions named). */
ef_status ef__run_check_version(const char *path, const char *text, ef_error *error);

/* Errors: EFORMAT, ENOMEM; outputs untouched. */
ef_status ef__config_parse(const char *path, const char *text, ef__models *models, ef_error *error);
ef_status ef__run_parse(const char *path, const char *text, ef__run_state *state, ef_error *error);

#endif
