/* arena.h -- a parameter arena with its optimiser state, for the tests of the optimiser. */
#ifndef ARENA_H
#define ARENA_H

#include "ef_test.h"
#include "op/optim.h"

enum { BOTH = EF__DECAY | EF__TRAINABLE };

/* An arena on the host and on the device. */
typedef struct arena {
    ef_actor *a;
    size_t chunks, n;
    int32_t *flags;
    float *p;
    ef_tensor *value, *grad, *m, *v, *metrics;
    ef__optim_state state; /* without a scale */
} arena;

/* data NULL: zeros. */
ef_tensor *arena_flat(ef_actor *a, size_t n, const float *data);

/* Chunk i has flags[i mod count]; values are random, all else is zero. */
arena arena_new(ef_actor *a, size_t chunks, size_t count, const int32_t *flags);

/* One of the operations; both, with gradient g. */
void arena_norm(arena *s, float lr);
void arena_update(arena *s, const ef__optim_rule *rule);
void arena_step(arena *s, const float *g, const ef__optim_rule *rule);

float arena_metric(const arena *s, int which);

/* AdamW without clipping. */
ef__optim_rule arena_rule(void);

/* for (size_t v = 0; arena_variant(a, &v); v++): all variants of both operations that fit the
 * device, the norm's v-th with the update's v-th. */
bool arena_variant(ef_actor *a, size_t *v);

#endif
