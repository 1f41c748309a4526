/* resume.h -- may a run continue from a checkpoint, and is it the same run then? */
#ifndef EF_TRAIN_RESUME_H
#define EF_TRAIN_RESUME_H

#include "model/encoder.h"
#include "train/state.h"

/* What the actor's results depend on besides their input. */
void ef__identity_of(ef_actor *a, ef__identity *identity);

/* One side of the comparison. */
typedef struct ef__resume_side {
    const ef__models *models;
    const ef__run_state *state;
} ef__resume_side;

/* Compare a checkpoint with the run that is to continue it. Another mode, model, data or order of
 * batches or steps is refused (EARG, both values named). What is left of bit-for-bit differences,
 * the trainers' options and the identity, is told to notice, a line each; if strict, the first is
 * refused (ESTATE). */
ef_status ef__resume_check(const char *path, ef__resume_side saved, ef__resume_side now,
                           bool strict, void (*notice)(void *user, const char *text), void *user,
                           ef_error *error);

/* Compare a checkpoint's models with those of a run that is to start from its parameters: another
 * kind, or another function of them, is refused (EARG, both values named), another length not. */
ef_status ef__start_check(const char *path, const ef__models *saved, const ef__models *now,
                          ef_error *error);

#endif
