/* optim.h -- the optimiser's two operations over a parameter arena. Not public.
 *
 * An arena is a flat f32 tensor of EF__CHUNK-element chunks; table [chunks] i32 has the flags of
 * each chunk and, from EF__PART_SHIFT on, its part: updates are counted for each part, because
 * two trainers may share one. The device decides whether a step is skipped, so the host never
 * waits: ef__optim_norm decides and counts, ef__optim_update obeys. */
#ifndef EF_OP_OPTIM_H
#define EF_OP_OPTIM_H

#include "op/op.h"

enum { EF__CHUNK = 1024 };
enum { EF__DECAY = 1, EF__TRAINABLE = 2 }; /* flags of a chunk, as cl/optim.cl reads them */
enum { EF__PART_SHIFT = 8, EF__PARTS = 3 };

/* A trainer's counts [EF__COUNTS] i32, zero at first, kept with the optimiser's state. */
enum { EF__COUNT_SKIPPED, EF__COUNT_SKIPPED_IN_A_ROW, EF__COUNT_GOOD_IN_A_ROW, EF__COUNTS = 4 };

/* The loss scale is doubled after so many good steps and halved after an overflow, within 1 and
 * EF__SCALE_MOST; as cl/optim.cl has it. */
enum { EF__SCALE_GOOD = 2000, EF__SCALE_MOST = 65536 };

/* What a trainer's steps train. */
typedef struct ef__optim_state {
    const ef_tensor *table;
    ef_tensor *updates; /* [EF__PARTS] i32, made of each part */
    ef_tensor *counts;
    ef_tensor *scale; /* [1] f32, the loss scale; NULL: gradients are not scaled */
    int own, shared;  /* parts; shared -1: none */
} ef__optim_state;

typedef struct ef__optim_rule {
    float lr, beta1, beta2, epsilon, weight_decay;
    float clip; /* most gradient norm; <= 0: no clipping */
    bool l2;    /* g += weight_decay p for all parameters, instead of p *= 1 - lr weight_decay */
} ef__optim_rule;

/* The norm of the gradient in trainable chunks, the loss scale taken out. A step is skipped if the
 * norm or the loss in metrics is not finite, or the device's error record has an error; else the
 * updates of its parts go up by one. Fills in metrics [EF_METRICS] from GRAD_NORM on, lr and the
 * scale of this step included, and sets the scale of the next. Two launches. */
ef_status ef__optim_norm(ef_actor *a, const ef_tensor *grad, const ef__optim_state *state, float lr,
                         ef_tensor *metrics);

/* One step as torch.optim.AdamW makes it, after ef__optim_norm: the gradient is scaled by
 * min(1, clip / (norm + 1e-6)), decay is only of chunks that have the flag. Frozen chunks and
 * skipped steps change nothing, but grad is zero afterwards everywhere. One launch.
 * Moments below the smallest normal number become zero: denormals are slow on CPUs. */
ef_status ef__optim_update(ef_actor *a, ef_tensor *value, ef_tensor *grad, ef_tensor *m,
                           ef_tensor *v, const ef__optim_state *state, const ef_tensor *metrics,
                           const ef__optim_rule *rule);

#endif
