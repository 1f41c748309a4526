/* config.h -- what encoders and decoders have in common besides their blocks. */
#ifndef EF_MODEL_CONFIG_H
#define EF_MODEL_CONFIG_H

#include "model/params.h"

/* Sizes that a model can have. Errors: EARG. */
ef_status ef__config_check(const ef_model_config *config, ef_error *error);

typedef struct ef__model {
    ef_actor *actor;
    ef_model_config config;
    ef__params *params;
    size_t first, segments; /* those of the set that it has */
    int own;                /* the part of the set that no other model has */
    bool shares;            /* the last block is of EF__PART_SHARED */
} ef__model;

/* What a model begins with: a copy of its configuration, checked, and params, which gets one more
 * reference; NULL: a new set. Errors: EARG, ENOMEM. */
ef_status ef__model_begin(ef_actor *a, const ef_model_config *config, ef_model_kind kind,
                          ef__params *params, ef__model *model);

size_t ef__model_parameters(const ef__model *model); /* how many numbers */

/* Segment number index of the model: its value, and its name unless that is NULL; NULL past the
 * last. */
ef_tensor *ef__model_parameter(const ef__model *model, size_t index, const char **name);

/* The group from which on a scope trains: the embedding is 0, block i 1 + i, what is above the
 * blocks 1 + blocks. */
int ef__scope_group(const ef_model_config *config, ef_scope scope);

/* A caller's tensor called name: there, usable, of this rank and dtype. */
ef_status ef__want_tensor(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                          size_t rank, ef_dtype dtype);

/* A tensor with a copy of data. */
ef_status ef__upload(ef_actor *a, ef_dtype dtype, size_t rank, const size_t *dims,
                     const char *label, const void *data, ef_tensor **tensor);

/* A view of rows of a [N] or [N,columns], which is aligned where `from` is a multiple of 16. */
ef_status ef__view_rows(ef_tensor *t, size_t from, size_t rows, ef_tensor **view);

#endif
