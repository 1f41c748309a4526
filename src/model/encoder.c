#include "model/encoder.h"
#include "base/error.h"
#include "model/init.h"
#include "op/op.h"
#include "op/tanh.h"
#include <math.h>
#include <stdlib.h>

void ef_encoder_config_default(ef_encoder_config *config)
{
    *config = (ef_encoder_config){.vocab = 30000,
                                  .width = 256,
                                  .hidden = 512,
                                  .taps = 5,
                                  .out = 768,
                                  .blocks = 4,
                                  .dilations = {1, 2, 4, 8},
                                  .length = 128,
                                  .eps = 1e-5f};
}

size_t ef_encoder_receptive_field(const ef_encoder_config *config)
{
    size_t field = 1;
    for (size_t i = 0; i < config->blocks; i++)
        field += (config->taps - 1) * (config->dilations[i] ? config->dilations[i] : 1);
    return field;
}

/* Sizes are also kernel arguments and file fields, so each has to fit 31 bits. */
ef_status ef__config_check(const ef_encoder_config *c, ef_error *error)
{
    const struct {
        const char *name;
        size_t value;
    } sizes[] = {{"vocab", c->vocab},  {"width", c->width}, {"hidden", c->hidden},
                 {"taps", c->taps},    {"out", c->out},     {"blocks", c->blocks},
                 {"length", c->length}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > INT32_MAX)
            return ef__error_set(error, EF_EARG, 0, "encoder",
                                 "encoder: %s is %zu, must be 1 to %d", sizes[i].name,
                                 sizes[i].value, INT32_MAX);
    if (c->blocks > EF_MAX_BLOCKS)
        return ef__error_set(error, EF_EARG, 0, "encoder", "encoder: %zu blocks, at most %d",
                             c->blocks, EF_MAX_BLOCKS);
    for (size_t i = 0; i < c->blocks; i++)
        if (c->dilations[i] > INT32_MAX / c->taps)
            return ef__error_set(error, EF_EARG, 0, "encoder",
                                 "encoder: dilation %zu of block %zu is too large", c->dilations[i],
                                 i);
    if (!(c->eps > 0) || !isfinite(c->eps))
        return ef__error_set(error, EF_EARG, 0, "encoder", "encoder: eps is %g, must be above 0",
                             (double)c->eps);
    return EF_OK;
}

static ef_status build(ef_encoder *e, bool trainable)
{
    const ef_encoder_config *c = &e->config;
    int group = 1 + (int)c->blocks;
    e->embedding = 0;
    ef__params_add(&e->params, 0, 2, (size_t[]){c->vocab, c->width}, "embedding.weight");
    ef__tcn_add(&e->tcn, c, &e->params, 1);
    e->proj = e->params.segments;
    ef__params_add(&e->params, group, 2, (size_t[]){c->out, c->width}, "proj.weight");
    ef__params_add(&e->params, group, 1, &c->out, "proj.bias");
    return ef__params_build(&e->params, trainable);
}

ef_status ef__encoder_new(ef_actor *a, const ef_encoder_config *config, bool trainable,
                          ef_encoder **encoder)
{
    ef_error error;
    ef_status status = ef__config_check(config, &error);
    if (status)
        return ef__fail(a, status, 0, error.op, "%s", error.text);
    ef_encoder *e = calloc(1, sizeof *e);
    if (!e)
        return ef__fail(a, EF_ENOMEM, 0, "encoder", "encoder: no host memory");
    e->actor = a;
    e->config = *config;
    ef__params_init(&e->params, a);
    status = build(e, trainable);
    if (status)
        ef_encoder_free(e);
    else
        *encoder = e;
    return status;
}

ef_status ef_encoder_new(ef_actor *a, const ef_encoder_config *config, ef_init init, uint64_t seed,
                         bool trainable, ef_encoder **encoder)
{
    ef_encoder *e = NULL;
    ef__lock(a);
    ef_status status = ef__encoder_new(a, config, trainable, &e);
    if (!status)
        status = ef__init_params(&e->params, init, seed);
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
    ef__params_clear(&encoder->params);
    free(encoder);
}

const ef_encoder_config *ef_encoder_get_config(const ef_encoder *encoder)
{
    return &encoder->config;
}

size_t ef_encoder_parameters(const ef_encoder *encoder)
{
    return encoder->params.numbers;
}

ef_tensor *ef_encoder_parameter(ef_encoder *encoder, size_t index, const char **name)
{
    if (index >= encoder->params.segments)
        return NULL;
    if (name)
        *name = encoder->params.segment[index].name;
    return encoder->params.segment[index].value;
}

int ef__encoder_group(const ef_encoder *encoder, ef_scope scope)
{
    int blocks = (int)encoder->config.blocks;
    return scope == EF_TRAIN_ALL ? 0 : scope == EF_TRAIN_LAST ? blocks : 1 + blocks;
}

/* The projection of pooled [B,D], and tanh where the model has it. */
static ef_status project(ef_encoder *e, const ef_tensor *pooled, ef_tensor *y)
{
    const ef__segment *weight = &e->params.segment[e->proj], *bias = weight + 1;
    ef_epilogue epilogue = {.bias = bias->value};
    ef_status status = ef_linear_forward(e->actor, pooled, weight->value, &epilogue, y);
    return status || !e->config.tanh ? status : ef__tanh_forward(e->actor, y, y);
}

/* The first block that a pass keeps when groups from group on get gradients. */
static size_t first_kept(int group)
{
    return group > 0 ? (size_t)group - 1 : 0;
}

ef_status ef__encoder_forward(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                              ef_tensor *y, ef__pass *pass)
{
    ef_actor *a = e->actor;
    const size_t *dims = ef_tensor_dims(ids), D = e->config.width;
    ef_tensor *x = NULL, *pooled = NULL, *count = NULL;
    if (pass)
        pass->trace.first = first_kept(pass->group);
    ef_status status = ef_tensor_new(a, EF_F32, 3, (size_t[]){dims[0], dims[1], D}, "x", &x);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, (size_t[]){dims[0], D}, "pooled", &pooled);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 1, dims, "count", &count);
    if (!status)
        status = ef_embedding_forward(a, ids, e->params.segment[e->embedding].value, NULL, x);
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
    ef_status status = ef_masked_mean_backward(e->actor, dpooled, mask, pass->count, dx);
    if (!status)
        status = ef__tcn_backward(&e->tcn, mask, &pass->trace, pass->group == 0, dx);
    if (!status && pass->group == 0)
        status = ef_embedding_backward(e->actor, ids, dx, e->params.segment[e->embedding].grad);
    return status;
}

ef_status ef__encoder_backward(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                               const ef__pass *pass, const ef_tensor *y, ef_tensor *dy)
{
    ef_actor *a = e->actor;
    const size_t *dims = ef_tensor_dims(ids), D = e->config.width;
    const ef__segment *weight = &e->params.segment[e->proj], *bias = weight + 1;
    ef_tensor *dpooled = NULL, *dx = NULL;
    ef_status status = e->config.tanh ? ef__tanh_backward(a, y, dy, dy) : EF_OK;
    if (!status)
        status = ef_linear_dw(a, pass->pooled, dy, weight->grad, bias->grad);
    if (!status && pass->group <= (int)e->config.blocks) {
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

/* At each position: what the pass keeps of its blocks, beside it the gradients dx and dnorm [D] and
 * dpre [H] of one of them; without blocks to train, a block's x, norm and act, which are as large.
 * In double, for the product may pass 64 bits. */
ef_status ef__encoder_check_batch(const ef_encoder *e, int group, size_t B, size_t L)
{
    const ef_encoder_config *c = &e->config;
    const ef_device_info *device = ef_actor_device(e->actor);
    double D = (double)c->width, H = (double)c->hidden;
    double kept = (double)(c->blocks - first_kept(group));
    double column = (double)B * (double)L * sizeof(float), largest = column * (D > H ? D : H);
    double bytes = column * (kept * (2 * D + 2 * H + 2) + 2 * D + H);
    ef_stats stats;
    ef_actor_stats(e->actor, &stats);
    double left = (double)device->global_bytes - (double)stats.pool_used;
    if (bytes <= left && largest <= (double)device->max_alloc_bytes)
        return EF_OK;
    return ef__fail(
        e->actor, EF_ENOMEM, 0, "model",
        "model: a batch of %zu x %zu ids needs %.0f bytes beside the parameters, %.0f of "
        "them in one buffer; %.0f are available on the device, at most %llu in one buffer",
        B, L, bytes, largest, left > 0 ? left : 0, (unsigned long long)device->max_alloc_bytes);
}

static ef_status want_matrix(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                             ef_dtype dtype)
{
    if (!t)
        return ef__fail(a, EF_EARG, 0, op, "%s: %s is NULL", op, name);
    ef_status status = ef__tensor_usable(a, t, op);
    if (!status)
        status = ef__want_rank(a, op, name, t, 2);
    return status ? status : ef__want_dtype(a, op, name, t, dtype);
}

/* Before anything is enqueued, so that what is refused was not begun. */
static ef_status check_encode(ef_encoder *e, const ef_tensor *ids, const ef_tensor *mask,
                              const ef_tensor *vectors)
{
    static const char op[] = "encoder.encode";
    ef_actor *a = e->actor;
    ef_status status = ef__ready(a);
    if (!status)
        status = want_matrix(a, op, "ids", ids, EF_I32);
    if (!status)
        status = want_matrix(a, op, "mask", mask, EF_U8);
    if (!status)
        status = want_matrix(a, op, "vectors", vectors, EF_F32);
    if (!status)
        status = ef__want_same_shape(a, op, "mask", mask, "ids", ids);
    if (status)
        return status;
    const size_t *have = ef_tensor_dims(vectors), B = ef_tensor_dims(ids)[0], E = e->config.out;
    if (have[0] != B || have[1] != E)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: vectors is [%zu,%zu], must be [%zu,%zu]", op,
                        have[0], have[1], B, E);
    return EF_OK;
}

ef_status ef_encoder_encode(ef_encoder *encoder, const ef_tensor *ids, const ef_tensor *mask,
                            ef_tensor *vectors)
{
    ef__lock(encoder->actor);
    ef_status status = check_encode(encoder, ids, mask, vectors);
    if (!status)
        status = ef__encoder_forward(encoder, ids, mask, vectors, NULL);
    ef__unlock(encoder->actor);
    return status;
}
