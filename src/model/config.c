#include "model/config.h"
#include "base/error.h"
#include <math.h>

void ef_model_config_default(ef_model_config *config)
{
    *config = (ef_model_config){.vocab = 30000,
                                .width = 256,
                                .hidden = 512,
                                .taps = 5,
                                .vector = 768,
                                .blocks = 4,
                                .dilations = {1, 2, 4, 8},
                                .length = 128,
                                .eps = 1e-5f};
}

size_t ef_receptive_field(const ef_model_config *config)
{
    size_t field = 1;
    for (size_t i = 0; i < config->blocks; i++)
        field += (config->taps - 1) * (config->dilations[i] ? config->dilations[i] : 1);
    return field;
}

/* Sizes are also kernel arguments and file fields, so each has to fit 31 bits. */
ef_status ef__config_check(const ef_model_config *c, ef_error *error)
{
    const struct {
        const char *name;
        size_t value;
    } sizes[] = {{"vocab", c->vocab},  {"width", c->width},   {"hidden", c->hidden},
                 {"taps", c->taps},    {"vector", c->vector}, {"blocks", c->blocks},
                 {"length", c->length}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > INT32_MAX)
            return ef__error_set(error, EF_EARG, 0, "model", "model: %s is %zu, must be 1 to %d",
                                 sizes[i].name, sizes[i].value, INT32_MAX);
    if (c->blocks > EF_MAX_BLOCKS)
        return ef__error_set(error, EF_EARG, 0, "model", "model: %zu blocks, at most %d", c->blocks,
                             EF_MAX_BLOCKS);
    for (size_t i = 0; i < c->blocks; i++)
        if (c->dilations[i] > INT32_MAX / c->taps)
            return ef__error_set(error, EF_EARG, 0, "model",
                                 "model: dilation %zu of block %zu is too large", c->dilations[i],
                                 i);
    if (!(c->eps > 0) || !isfinite(c->eps))
        return ef__error_set(error, EF_EARG, 0, "model", "model: eps is %g, must be above 0",
                             (double)c->eps);
    return EF_OK;
}

ef_status ef__model_begin(ef_actor *a, const ef_model_config *config, ef_model_kind kind,
                          ef__params *params, ef__model *model)
{
    ef_error error;
    ef_status status = ef__config_check(config, &error);
    if (status)
        return ef__fail(a, status, 0, error.op, "%s", error.text);
    model->actor = a;
    model->config = *config;
    model->config.kind = kind;
    model->params = params ? ef__params_retain(params) : ef__params_new(a);
    return model->params ? EF_OK : EF_ENOMEM;
}

size_t ef__model_parameters(const ef__model *model)
{
    size_t numbers = 0;
    for (size_t i = 0; i < model->segments; i++)
        numbers += model->params->segment[model->first + i].count;
    return numbers;
}

ef_tensor *ef__model_parameter(const ef__model *model, size_t index, const char **name)
{
    if (index >= model->segments)
        return NULL;
    const ef__segment *s = &model->params->segment[model->first + index];
    if (name)
        *name = s->name;
    return s->value;
}

int ef__scope_group(const ef_model_config *config, ef_scope scope)
{
    int blocks = (int)config->blocks;
    return scope == EF_TRAIN_ALL ? 0 : scope == EF_TRAIN_LAST ? blocks : 1 + blocks;
}

ef_status ef__want_tensor(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                          size_t rank, ef_dtype dtype)
{
    if (!t)
        return ef__fail(a, EF_EARG, 0, op, "%s: %s is NULL", op, name);
    ef_status status = ef__tensor_usable(a, t, op);
    if (!status)
        status = ef__want_rank(a, op, name, t, rank);
    return status ? status : ef__want_dtype(a, op, name, t, dtype);
}

ef_status ef__upload(ef_actor *a, ef_dtype dtype, size_t rank, const size_t *dims,
                     const char *label, const void *data, ef_tensor **tensor)
{
    ef_status status = ef_tensor_new(a, dtype, rank, dims, label, tensor);
    return status ? status : ef_tensor_write(*tensor, data);
}

ef_status ef__view_rows(ef_tensor *t, size_t from, size_t rows, ef_tensor **view)
{
    const size_t rank = ef_tensor_rank(t), columns = rank > 1 ? ef_tensor_dims(t)[1] : 1;
    return ef_tensor_view(t, from * columns, rank, (size_t[]){rows, columns}, "rows", view);
}
