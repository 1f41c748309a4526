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
    ef_dataset *file;        /* the data */
    ef_dataset *data, *val;  /* what is trained on: file, or what of it is not held out; or NULL */
    ef_loader *loader;
    ef_encoder *encoder; /* NULL: the run has none */
    ef_decoder *decoder;
    ef__trainers trainers;
    ef__models models; /* their configurations */
    char *best_path;
    size_t accum;               /* batches in a step: as asked for, or the epoch's if fewer */
    size_t batches;             /* of an epoch */
    ef_batch *fetched, *pieces; /* a step's batches, and the micro-batches that they are cut into */
    uint64_t steps;             /* of the whole run */
    ef__run_state state;        /* where the run stands: what a checkpoint would say now */
} ef__run;

/* How many of its first steps train a model of that kind. */
uint64_t ef__run_count(const ef__run *run, ef_model_kind kind, uint64_t steps);

/* One of its models: both have the vocabulary and the length of the other. */
const ef_model_config *ef__run_model(const ef__run *run);

/* The checkpoint that it starts from; NULL: none, or a file of a projection alone (EFCK1). */
const char *ef__run_start(const ef__run *run);

/* Open data and val, whose samples have ids; hold out what is to be (inputs.c). */
ef_status ef__run_open_data(ef__run *run);

/* Open the batches that are trained on, of ids that the models have; room for those of a step; are
 * the held-out ids in the vocabulary? Better asked now than at the first epoch's end. */
ef_status ef__run_open_loader(ef__run *run);

/* The epoch's held-out measures into its report, and whether it is the best one so far into the
 * state, too. */
ef_status ef__run_validate(ef__run *run, ef_epoch_report *report);

/* One line for whoever watches. */
void ef__run_tell(const ef__run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Open everything that a run needs: files, model, trainer, and the state to start from. Whatever
 * can be wrong with the options or the files is found here, before the first step. */
ef_status ef__run_open(ef__run *run);
void ef__run_close(ef__run *run);

/* Open the run's vocabulary, if it has one: the one that is named, or that of the checkpoint it
 * starts from. Errors: EARG (two that are not the same; more tokens than the model is to have). */
ef_status ef__run_open_vocabulary(ef__run *run);

#endif
