/* optim.h -- the optimiser's two operations over a parameter arena. Not public.
 *
 * An arena is a flat f32 tensor of EF__CHUNK-element chunks; table [chunks] i32 has the flags of
 * each chunk. The device decides whether a step is skipped, so the host never waits:
 * ef__optim_norm decides and counts, ef__optim_update obeys. */
#ifndef EF_OP_OPTIM_H
#define EF_OP_OPTIM_H

#include "op/op.h"

enum { EF__CHUNK = 1024 };
enum { EF__DECAY = 1, EF__TRAINABLE = 2 }; /* flags of a chunk, as cl/optim.cl reads them */

/* counts [EF__COUNTS] i32, zero at first, kept with the optimiser's state. */
enum {
    EF__COUNT_STEPS, /* updates made */
    EF__COUNT_SKIPPED,
    EF__COUNT_SKIPPED_IN_A_ROW,
    EF__COUNTS = 8
};

typedef struct ef__optim_rule {
    float lr, beta1, beta2, epsilon, weight_decay;
    float clip; /* most gradient norm; <= 0: no clipping */
    bool l2;    /* g += weight_decay p for all parameters, instead of p *= 1 - lr weight_decay */
} ef__optim_rule;

/* The norm of the gradient in trainable chunks. A step is skipped if the norm or the loss in
 * metrics is not finite, or the device's error record has an error; else counts' steps go up by
 * one. Fills in metrics [EF_METRICS] from GRAD_NORM on, lr included. Two launches. */
ef_status ef__optim_norm(ef_actor *a, const ef_tensor *grad, const ef_tensor *table, float lr,
                         ef_tensor *metrics, ef_tensor *counts);

/* One step as torch.optim.AdamW makes it, after ef__optim_norm: the gradient is scaled by
 * min(1, clip / (norm + 1e-6)), decay is only of chunks that have the flag. Frozen chunks and
 * skipped steps change nothing, but grad is zero afterwards everywhere. One launch.
 * Moments below the smallest normal number become zero: denormals are slow on CPUs. */
ef_status ef__optim_update(ef_actor *a, ef_tensor *value, ef_tensor *grad, ef_tensor *m,
                           ef_tensor *v, const ef_tensor *table, const ef_tensor *counts,
                           const ef_tensor *metrics, const ef__optim_rule *rule);

#endif
