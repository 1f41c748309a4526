/* trainer.h -- one optimiser step: everything that it enqueues, and nothing that it waits for. */
#ifndef EF_TRAIN_TRAINER_H
#define EF_TRAIN_TRAINER_H

#include "model/decoder.h"

struct ef_trainer {
    const ef__model *model; /* of either, the other is NULL */
    ef_encoder *encoder;
    ef_decoder *decoder;
    ef_trainer_options options;
    ef_tensor *value, *grad, *m, *v; /* views: what of the set's arenas the model has */
    ef_tensor *table, *metrics;
    ef_tensor *counts, *scale; /* part of the optimiser's state; scale NULL: none */
    uint64_t attempted;
};

/* Forward and backward of all micro-batches: metrics from LOSS to COS, gradients added to the
 * (zero) arena. The part of a step that comes before the optimiser. */
ef_status ef__trainer_gradients(ef_trainer *t, const ef_batch *batches, size_t count);

/* What a failed call on an actor said, as an error value. Returns status. */
ef_status ef__actor_says(ef_actor *a, ef_status status, ef_error *error);

#endif
