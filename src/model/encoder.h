/* encoder.h -- the encoder as the trainer sees it: one pass forward that keeps, one backward. */
#ifndef EF_MODEL_ENCODER_H
#define EF_MODEL_ENCODER_H

#include "model/config.h"
#include "model/tcn.h"

struct ef_encoder {
    ef__model model;        /* embedding (group 0), block i (1 + i), proj (1 + blocks) */
    size_t embedding, proj; /* segments; proj's bias follows its weight */
    ef__tcn tcn;
};

/* An encoder whose set of parameters is still to be built; ef_encoder_free lets go of it. paired:
 * its last block is to be shared, and its names are those of a pair. */
ef_status ef__encoder_begin(ef_actor *a, const ef_model_config *config, bool paired,
                            ef_encoder **encoder);

/* What a forward pass keeps for its backward pass. */
typedef struct ef__pass {
    int group; /* groups from here on will get gradients */
    ef__tcn_trace trace;
    ef_tensor *pooled, *count;
} ef__pass;

/* y [B,E] = vectors of ids under mask. pass NULL: inference. */
ef_status ef__encoder_forward(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                              ef_tensor *y, ef__pass *pass);

/* Adds the gradients of pass->group and above. y: what forward gave; dy [B,E] is overwritten. */
ef_status ef__encoder_backward(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                               const ef__pass *pass, const ef_tensor *y, ef_tensor *dy);

void ef__pass_clear(ef__pass *pass);

#endif
