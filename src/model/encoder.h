/* encoder.h -- the encoder as the trainer sees it: one pass forward that keeps, one backward. */
#ifndef EF_MODEL_ENCODER_H
#define EF_MODEL_ENCODER_H

#include "model/tcn.h"

struct ef_encoder {
    ef_actor *actor;
    ef_encoder_config config;
    ef__params params;      /* embedding (group 0), block i (1 + i), proj (1 + blocks) */
    size_t embedding, proj; /* segments; proj's bias follows its weight */
    ef__tcn tcn;
};

/* Sizes that a model can have. Errors: EARG. */
ef_status ef__config_check(const ef_encoder_config *config, ef_error *error);

/* An encoder whose parameters are all zero. */
ef_status ef__encoder_new(ef_actor *a, const ef_encoder_config *config, bool trainable,
                          ef_encoder **encoder);

/* The group from which on a scope trains. */
int ef__encoder_group(const ef_encoder *encoder, ef_scope scope);

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

/* Can a batch of B samples of L ids be trained from group on? Asked of what such a step holds at
 * its fullest and no driver does without: never of a batch that would fit. Errors: ENOMEM. */
ef_status ef__encoder_check_batch(const ef_encoder *e, int group, size_t B, size_t L);

#endif
