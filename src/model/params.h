/* params.h -- a model's parameters: one arena, read by the optimiser in one launch.
 *
 * Four equal flat tensors (value, gradient, m, v; value alone for inference) and a table of
 * segments. Each segment starts at a multiple of EF__CHUNK elements and is padded with zeros to the
 * next, so a chunk never holds two segments and a trainer's table of flags has one entry for each
 * chunk. A set is filled with ef__params_add and then built once; segments keep their order.
 *
 * Two models that share their last block share the set: its parts are [encoder only | shared |
 * decoder only], and what a model has is one run of segments. A model alone has part 0. */
#ifndef EF_MODEL_PARAMS_H
#define EF_MODEL_PARAMS_H

#include "op/optim.h"
#include <stdatomic.h>

enum { EF__PART_FIRST, EF__PART_SHARED, EF__PART_LAST };

typedef struct ef__segment {
    char name[48]; /* PyTorch's, after a prefix of so many characters */
    size_t prefix, offset, count, rank, dims[EF_MAX_RANK];
    int group;               /* of its model; freezing is by group: everything below one of them */
    int part;                /* whose updates are counted together */
    bool decay;              /* weight decay: matrices only */
    ef_tensor *value, *grad; /* views; grad NULL in a set for inference */
} ef__segment;

typedef struct ef__params {
    ef_actor *actor;
    atomic_uint references; /* models may be freed by any thread */
    ef__segment *segment;
    size_t segments, capacity;
    size_t count;     /* elements of the arena, padding included */
    size_t numbers;   /* parameters, padding not included */
    ef_status failed; /* of an add, reported by build */
    ef_tensor *value, *grad, *m, *v;
    ef_tensor *updates; /* [EF__PARTS] i32, made of each part */
    bool dirty;         /* a step broke off: the gradients are not zero */
    const char *prefix; /* of the names of what is added next: "", "encoder." */
    int part;           /* of what is added next */
} ef__params;

/* With one reference, which ef__params_free gives up. NULL: no host memory (reported on a). */
ef__params *ef__params_new(ef_actor *a);
ef__params *ef__params_retain(ef__params *p);
void ef__params_free(ef__params *p);

/* Append a segment; a failure is kept for ef__params_build. */
void ef__params_add(ef__params *p, int group, size_t rank, const size_t *dims, const char *format,
                    ...) __attribute__((format(printf, 5, 6)));

/* Allocate, zero, and make the views. Says what is needed and available before it allocates. */
ef_status ef__params_build(ef__params *p, bool trainable);

#endif
