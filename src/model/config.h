/* config.h -- what encoders and decoders have in common besides their blocks. */
#ifndef EF_MODEL_CONFIG_H
#define EF_MODEL_CONFIG_H

#include "model/params.h"

/* Sizes that a model can have. Errors: EARG. */
ef_status ef__config_check(const ef_model_config *config, ef_error *error);

/* What a model begins with: a copy of its configuration, checked, and an empty set of parameters.
 * Errors: EARG, ENOMEM; *params is NULL then. */
ef_status ef__model_begin(ef_actor *a, const ef_model_config *config, ef_model_kind kind,
                          ef_model_config *own, ef__params **params);

/* The group from which on a scope trains: the embedding is 0, block i 1 + i, what is above the
 * blocks 1 + blocks. */
int ef__scope_group(const ef_model_config *config, ef_scope scope);

/* A caller's tensor called name: there, usable, of this rank and dtype. */
ef_status ef__want_tensor(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                          size_t rank, ef_dtype dtype);

/* A tensor with a copy of data. */
ef_status ef__upload(ef_actor *a, ef_dtype dtype, size_t rank, const size_t *dims,
                     const char *label, const void *data, ef_tensor **tensor);

#endif
