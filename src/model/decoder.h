/* decoder.h -- the decoder as the trainer sees it: hidden states forward, the loss of counted
 * positions with the gradient of what is above the blocks, the rest backward.
 *
 * The logits of all positions never exist at once: a chunk of counted positions after the other
 * goes through projection, loss and both gradients. */
#ifndef EF_MODEL_DECODER_H
#define EF_MODEL_DECODER_H

#include "model/encoder.h"

struct ef_decoder {
    ef__model model; /* embedding and cond (group 0), block i (1 + i), out (1 + blocks) */
    size_t embedding, cond, out; /* segments; a bias follows its weight */
    ef__tcn tcn;
};

/* A decoder whose set of parameters is still to be built; ef_decoder_free lets go of it. encoder:
 * the configuration of the encoder that the last block is shared with, and that gives the block its
 * name; NULL: none. params: the set that has that encoder; NULL: a new one. */
ef_status ef__decoder_begin(ef_actor *a, const ef_model_config *config,
                            const ef_model_config *encoder, ef__params *params,
                            ef_decoder **decoder);

/* What is below the blocks and above them, for one position as for all:
 *   added [B,D] = cond(z [B,E]);  x [B,L,D] = embedding[ids [B,L]] + added;  logits = out(x) */
ef_status ef__decoder_condition(const ef_decoder *d, const ef_tensor *z, ef_tensor *added);
ef_status ef__decoder_embed(const ef_decoder *d, const ef_tensor *ids, const ef_tensor *added,
                            ef_tensor *x);
ef_status ef__decoder_project(const ef_decoder *d, const ef_tensor *x, ef_tensor *logits);

/* *x [B,L,D] = what the blocks make of ids and mask [B,L] under z [B,E]. trace NULL: inference. */
ef_status ef__decoder_forward(ef_decoder *d, const ef_tensor *ids, const ef_tensor *mask,
                              const ef_tensor *z, ef__tcn_trace *trace, ef_tensor **x);

/* The positions of a batch that count, those followed by one that is not masked, in order. */
typedef struct ef__counted {
    size_t count;
    ef_tensor *rows;   /* [count]: b L + t */
    ef_tensor *target; /* [count]: ids[b,t+1] */
    ef_tensor *place;  /* [B,L]: where an unmasked position is in rows; count: it is not */
    ef_tensor *mask;   /* [B,L]: the batch's, without what is behind the last that counts: its
                        * gradient is zero, and what rounding would make of it Adam would blow up */
} ef__counted;

size_t ef__count_targets(const ef_batch *batch);
ef_status ef__counted_new(ef_actor *a, const ef_batch *batch, ef__counted *counted);
void ef__counted_clear(ef__counted *counted);

typedef struct ef__loss {
    float weight;
    const ef_tensor *scale; /* the loss scale, or NULL */
    ef_tensor *metrics;
    bool train;
} ef__loss;

/* metrics += weight {loss, loss, hits} of the counted positions of x [B,L,D]. train: the gradients
 * of out are added to, and dx [B,L,D], unless it is NULL, is scale weight dloss/dx. */
ef_status ef__decoder_loss(ef_decoder *d, ef_tensor *x, const ef__counted *counted,
                           const ef__loss *loss, ef_tensor *dx);

/* Adds the gradients of groups from group on, below out; dx is overwritten. */
ef_status ef__decoder_backward(ef_decoder *d, int group, const ef_tensor *ids,
                               const ef_tensor *mask, const ef_tensor *z,
                               const ef__tcn_trace *trace, ef_tensor *dx);

#endif
