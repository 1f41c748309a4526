#include "model/encoder.h"
#include "model/init.h"
#include "op/tanh.h"
#include <stdlib.h>

static void add_segments(ef_encoder *e)
{
    const ef_model_config *c = &e->model.config;
    ef__params *p = e->model.params;
    const size_t last = c->blocks - 1;
    const int above = 1 + (int)c->blocks;
    if (e->model.shares)
        p->prefix = "encoder.";
    ef__tcn_begin(&e->tcn, c, p);
    e->embedding = p->segments;
    ef__params_add(p, 0, 2, (size_t[]){c->vocab, c->width}, "embedding.weight");
    for (size_t i = 0; i < last; i++)
        ef__tcn_add(&e->tcn, i, i);
    if (!e->model.shares)
        ef__tcn_add(&e->tcn, last, last);
    e->proj = p->segments;
    ef__params_add(p, above, 2, (size_t[]){c->vector, c->width}, "proj.weight");
    ef__params_add(p, above, 1, &c->vector, "proj.bias");
    if (e->model.shares) {
        p->part = EF__PART_SHARED;
        ef__tcn_add(&e->tcn, last, last);
    }
    e->model.segments = p->segments;
}

ef_status ef__encoder_begin(ef_actor *a, const ef_model_config *config, bool paired,
                            ef_encoder **encoder)
{
    ef_encoder *e = calloc(1, sizeof *e);
    if (!e)
        return ef__fail(a, EF_ENOMEM, 0, "encoder", "encoder: no host memory");
    ef_status status = ef__model_begin(a, config, EF_ENCODER, NULL, &e->model);
    if (status) {
        ef_encoder_free(e);
        return status;
    }
    e->model.shares = paired;
    add_segments(e);
    *encoder = e;
    return EF_OK;
}

ef_status ef_encoder_new(ef_actor *a, const ef_model_config *config, ef_init init, uint64_t seed,
                         bool trainable, ef_encoder **encoder)
{
    ef_encoder *e = NULL;
    ef__lock(a);
    ef_status status = ef__encoder_begin(a, config, false, &e);
    if (!status)
        status = ef__params_build(e->model.params, trainable);
    if (!status)
        status = ef__init_params(e->model.params, init, seed);
    if (status)
        ef_encoder_free(e);
    else
        *encoder = e;
    ef__unlock(a);
    return status;
}

void ef_encoder_free(ef_encoder *encoder)
{
    if (!encoder)
        return;
    ef__params_free(encoder->model.params);
    free(encoder);
}

const ef_model_config *ef_encoder_get_config(const ef_encoder *encoder)
{
    return &encoder->model.config;
}

size_t ef_encoder_parameters(const ef_encoder *encoder)
{
    return ef__model_parameters(&encoder->model);
}

ef_tensor *ef_encoder_parameter(ef_encoder *encoder, size_t index, const char **name)
{
    return ef__model_parameter(&encoder->model, index, name);
}

/* The projection of pooled [B,D], and tanh where the model has it. */
static ef_status project(ef_encoder *e, const ef_tensor *pooled, ef_tensor *y)
{
    const ef__segment *weight = &e->model.params->segment[e->proj], *bias = weight + 1;
    ef_epilogue epilogue = {.bias = bias->value};
    ef_status status = ef_linear_forward(e->model.actor, pooled, weight->value, &epilogue, y);
    return status || !e->model.config.tanh ? status : ef__tanh_forward(e->model.actor, y, y);
}

ef_status ef__encoder_forward(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                              ef_tensor *y, ef__pass *pass)
{
    ef_actor *a = e->model.actor;
    const size_t *dims = ef_tensor_dims(ids), D = e->model.config.width;
    ef_tensor *x = NULL, *pooled = NULL, *count = NULL;
    if (pass)
        pass->trace.first = ef__tcn_first_kept(pass->group);
    ef_status status = ef_tensor_new(a, EF_F32, 3, (size_t[]){dims[0], dims[1], D}, "x", &x);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, (size_t[]){dims[0], D}, "pooled", &pooled);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 1, dims, "count", &count);
    if (!status)
        status =
            ef_embedding_forward(a, ids, e->model.params->segment[e->embedding].value, NULL, x);
    if (!status)
        status = ef__tcn_forward(&e->tcn, mask, &x, pass ? &pass->trace : NULL);
    if (!status)
        status = ef_masked_mean_forward(a, x, mask, pooled, count);
    if (!status)
        status = project(e, pooled, y);
    ef_tensor_free(x);
    if (pass) {
        pass->pooled = pooled;
        pass->count = count;
    } else {
        ef_tensor_free(pooled);
        ef_tensor_free(count);
    }
    return status;
}

/* From the pooled vectors' gradient down to the embedding. */
static ef_status backward_below(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                                const ef__pass *pass, const ef_tensor *dpooled, ef_tensor *dx)
{
    ef_status status = ef_masked_mean_backward(e->model.actor, dpooled, mask, pass->count, dx);
    if (!status)
        status = ef__tcn_backward(&e->tcn, mask, &pass->trace, pass->group == 0, dx);
    if (!status && pass->group == 0)
        status = ef_embedding_backward(e->model.actor, ids, dx,
                                       e->model.params->segment[e->embedding].grad);
    return status;
}

ef_status ef__encoder_backward(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                               const ef__pass *pass, const ef_tensor *y, ef_tensor *dy)
{
    ef_actor *a = e->model.actor;
    const size_t *dims = ef_tensor_dims(ids), D = e->model.config.width;
    const ef__segment *weight = &e->model.params->segment[e->proj], *bias = weight + 1;
    ef_tensor *dpooled = NULL, *dx = NULL;
    ef_status status = e->model.config.tanh ? ef__tanh_backward(a, y, dy, dy) : EF_OK;
    if (!status)
        status = ef_linear_dw(a, pass->pooled, dy, weight->grad, bias->grad);
    if (!status && pass->group <= (int)e->model.config.blocks) {
        status = ef_tensor_new(a, EF_F32, 2, (size_t[]){dims[0], D}, "dpooled", &dpooled);
        if (!status)
            status = ef_tensor_new(a, EF_F32, 3, (size_t[]){dims[0], dims[1], D}, "dx", &dx);
        if (!status)
            status = ef_linear_dx(a, dy, weight->value, NULL, dpooled);
        if (!status)
            status = backward_below(e, ids, mask, pass, dpooled, dx);
    }
    ef_tensor_free(dpooled);
    ef_tensor_free(dx);
    return status;
}

void ef__pass_clear(ef__pass *pass)
{
    ef__tcn_trace_clear(&pass->trace);
    ef_tensor_free(pass->pooled);
    ef_tensor_free(pass->count);
    *pass = (ef__pass){.group = pass->group};
}

/* Before anything is enqueued, so that what is refused was not begun. */
static ef_status check_encode(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                              const ef_tensor *vectors)
{
    static const char op[] = "encoder.encode";
    ef_actor *a = e->model.actor;
    ef_status status = ef__ready(a);
    if (!status)
        status = ef__want_tensor(a, op, "ids", ids, 2, EF_I32);
    if (!status)
        status = ef__want_tensor(a, op, "mask", mask, 2, EF_U8);
    if (!status)
        status = ef__want_tensor(a, op, "vectors", vectors, 2, EF_F32);
    if (!status)
        status = ef__want_same_shape(a, op, "mask", mask, "ids", ids);
    if (status)
        return status;
    const size_t *have = ef_tensor_dims(vectors), B = ef_tensor_dims(ids)[0],
                 E = e->model.config.vector;
    if (have[0] != B || have[1] != E)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: vectors is [%zu,%zu], must be [%zu,%zu]", op,
                        have[0], have[1], B, E);
    return EF_OK;
}

ef_status ef_encoder_encode(ef_encoder *encoder, const ef_tensor *ids, const ef_tensor *mask,
                            ef_tensor *vectors)
{
    ef__lock(encoder->model.actor);
    ef_status status = check_encode(encoder, ids, mask, vectors);
    if (!status)
        status = ef__encoder_forward(encoder, ids, mask, vectors, NULL);
    ef__unlock(encoder->model.actor);
    return status;
}
