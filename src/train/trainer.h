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

/* Of a batch the samples from..from+most, or to its end. */
ef_batch ef__batch_part(const ef_batch *batch, size_t from, size_t most);

/* What either model takes of a batch: ids and vectors on the device. */
ef_status ef__batch_upload(ef_actor *a, const ef_batch *batch, ef_tensor **ids, ef_tensor **vector);

/* What a failed call on an actor said, as an error value. Returns status. */
ef_status ef__actor_says(ef_actor *a, ef_status status, ef_error *error);

#endif
