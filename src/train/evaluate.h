/* evaluate.h -- what the evaluations of encoders and decoders share: one pass over the batches of a
 * dataset, in parts that the device holds, with a wait for each batch. */
#ifndef EF_TRAIN_EVALUATE_H
#define EF_TRAIN_EVALUATE_H

#include "base/error.h"
#include "data/dataset.h"

typedef struct ef__evaluation {
    ef_actor *actor;
    ef_dataset *dataset;
    ef_eval_options options; /* what was 0 has its default; length is that of the samples */
    ef_loader *loader;
    size_t samples, batches; /* to evaluate: the first ones of the dataset */
    uint64_t done, all;      /* of the progress; done counts samples */
    double started;
    ef_error *error;
} ef__evaluation;

/* Everything about dataset and options that can be wrong; then the loader. Errors: as
 * ef_evaluate. */
ef_status ef__evaluation_begin(ef__evaluation *v, const ef_model_config *model,
                               const ef_eval_options *options);
void ef__evaluation_end(ef__evaluation *v);

/* The next batch; B is 0 behind the last. */
ef_status ef__evaluation_next(ef__evaluation *v, ef_batch *batch);

/* How many parts a batch of B samples has; part number index of it. */
size_t ef__evaluation_parts(const ef__evaluation *v, size_t B);
ef_batch ef__evaluation_part(const ef__evaluation *v, const ef_batch *batch, size_t index);

/* Count what was done, and tell. Errors: ECANCELLED. */
ef_status ef__evaluation_tell(ef__evaluation *v, size_t done);

/* Enqueue the vectors of a batch, and their readback. */
ef_status ef__encode(ef_encoder *encoder, const ef_batch *batch, ef_readback **vectors);

double ef__dot(const float *a, const float *b, size_t n);

enum { EF__EVAL_BATCH = 64 }; /* the default */

/* What EF_LENGTH_P95 is at most. */
size_t ef__eval_cap(const ef_eval_options *options);

/* ef__length_p95 -- the least length that 95 of 100 of the first `samples` do not pass; ids after
 * the last unmasked one are not counted. Errors: EIO, ENOMEM. */
ef_status ef__length_p95(const ef_dataset *dataset, size_t samples, size_t *length,
                         ef_error *error);

#endif
