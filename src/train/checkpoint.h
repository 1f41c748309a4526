/* checkpoint.h -- safetensors files of a model and of a training run.
 *
 * Tensors: the parameters under PyTorch's names, optim.m.NAME, optim.v.NAME, optim.updates (i32, of
 * the set's parts), and of each trainer optim.counts (i32) and optim.scale, if it has one; a pair's
 * parameters are encoder.NAME and decoder.NAME, the shared block an encoder's, and its trainers'
 * state optim.counts.encoder and so on; tokenizer.vocab where there is a vocabulary
 * (data/wordpiece.h). Metadata: train/state.h. Any safetensors file with the parameters will do to
 * start from. */
#ifndef EF_TRAIN_CHECKPOINT_H
#define EF_TRAIN_CHECKPOINT_H

#include "data/wordpiece.h"
#include "train/state.h"
#include "train/trainer.h"

/* By kind: one, or both of a pair. */
typedef struct ef__trainers {
    ef_trainer *of[EF__KINDS];
} ef__trainers;

/* Read everything back in one batch, then write it to each of the paths (NULL ends): a file is
 * there whole or not at all, and none is touched unless the device did well. Live state is not
 * touched. vocabulary: whose it is, or NULL. Errors: EIO, ESTATE (not all numbers are finite),
 * EFORMAT (the state cannot be written), ENOMEM, EDEVICE and what else the batch failed with. */
ef_status ef__checkpoint_save(const ef__trainers *trainers, const ef__run_state *state,
                              const ef_tokenizer *vocabulary, const char *const *paths,
                              ef_error *error);

/* Upload the parameters, or the optimiser's state, of a file that was opened. Finds out what is
 * wrong with the file before it writes anything. Errors: EFORMAT (names file and tensor),
 * EDEVICE, ENOMEM. */
ef_status ef__checkpoint_params(const ef__st_reader *file, ef__params *p, ef_error *error);
ef_status ef__checkpoint_optim(const ef__st_reader *file, const ef__trainers *trainers,
                               ef_error *error);

#endif
