/* trainer.h -- one optimiser step: everything that it enqueues, and nothing that it waits for. */
#ifndef EF_TRAIN_TRAINER_H
#define EF_TRAIN_TRAINER_H

#include "model/decoder.h"
#include "model/encoder.h"

struct ef_trainer {
    ef_actor *actor;
    ef__params *params;
    const ef_model_config *config;
    ef_encoder *encoder; /* either, the other is NULL */
    ef_decoder *decoder;
    ef_trainer_options options;
    ef_tensor *metrics, *counts; /* counts: EF__COUNTS, part of the optimiser's state */
    uint64_t attempted;
    bool dirty; /* a step broke off: the gradients are not zero */
};

/* Forward and backward of all micro-batches: metrics from LOSS to COS, gradients added to the
 * (zero) arena. The part of a step that comes before the optimiser. */
ef_status ef__trainer_gradients(ef_trainer *t, const ef_batch *batches, size_t count);

/* What a failed call on an actor said, as an error value. Returns status. */
ef_status ef__actor_says(ef_actor *a, ef_status status, ef_error *error);

#endif
