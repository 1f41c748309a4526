/* run.h -- a training run: what ef_train holds while it lasts. */
#ifndef EF_TRAIN_RUN_H
#define EF_TRAIN_RUN_H

#include "train/checkpoint.h"

typedef struct ef__run {
    ef_actor *actor;
    const ef_train_options *options;
    ef_train_observer watch;
    ef_error *error;
    ef_tokenizer *tokenizer; /* of the run's vocabulary; NULL: it has none */
    ef_dataset *data, *val;
    ef_loader *loader;
    ef_encoder *encoder;
    ef__trainers trainers;
    char *best_path;
    size_t accum;        /* batches in a step: as asked for, or the epoch's if they are fewer */
    uint64_t steps;      /* of the whole run */
    ef__run_state state; /* where the run stands: what a checkpoint would say now */
} ef__run;

/* Open everything that a run needs: files, model, trainer, and the state to start from. Whatever
 * can be wrong with the options or the files is found here, before the first step. */
ef_status ef__run_open(ef__run *run);
void ef__run_close(ef__run *run);

/* Open the run's vocabulary, if it has one: the one that is named, or that of the checkpoint it
 * starts from. Errors: EARG (two that are not the same; more tokens than the model is to have). */
ef_status ef__run_open_vocabulary(ef__run *run);

#endif
