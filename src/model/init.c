/* EF_INIT_PLAN is bit-compatible with the program that this library follows: its draws, its
 * seeds by label ("embedding", "tcn_stack_0" and in it "conv1", "conv2", "proj"; a bias has its
 * weight's seed + 1), its tap order (tap 0 is the current step), which is stored reversed here.
 * EF_INIT_TORCH has the distributions of PyTorch's layers; EF_INIT_SCALED is the same with
 * conv2's weights zero, so that each block starts as x plus a constant. */
#include "model/init.h"
#include "base/size.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ef__rng ef__rng_new(uint64_t seed)
{
    return (ef__rng){seed * 0x9E3779B97F4A7C15u};
}

float ef__rng_plan(ef__rng *rng)
{
    return (float)(ef__rng_next(rng) & 0xFFFFFF) * 0x1p-24f;
}

double ef__rng_normal(ef__rng *rng)
{
    double radius = sqrt(-2 * log(1 - ef__rng_uniform(rng)));
    return radius * cos(6.283185307179586 * ef__rng_uniform(rng));
}

uint64_t ef__derive(uint64_t base, const char *label)
{
    const uint64_t prime = 1099511628211u;
    uint64_t hash = 1469598103934665603u; /* the original's basis, one digit short of FNV's */
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (base >> 8 * i & 0xFF)) * prime;
    for (; *label; label++)
        hash = (hash ^ (unsigned char)*label) * prime;
    return hash;
}

/* The layer's name: a model of a pair begins as one alone does. */
static const char *layer_of(const ef__segment *s)
{
    return s->name + s->prefix;
}

static uint64_t plan_seed(const ef__segment *s, uint64_t seed)
{
    size_t block;
    char stack[32], layer[32];
    if (sscanf(layer_of(s), "blocks.%zu.%31[^.]", &block, layer) == 2) {
        snprintf(stack, sizeof stack, "tcn_stack_%zu", block);
        seed = ef__derive(seed, stack);
    } else {
        sscanf(layer_of(s), "%31[^.]", layer);
    }
    return ef__derive(seed, layer) + (s->rank < 2);
}

static void init_plan(const ef__segment *s, size_t fan_in, uint64_t seed, float *values)
{
    ef__rng rng = ef__rng_new(plan_seed(s, seed));
    size_t taps = s->rank == 3 ? s->dims[2] : 1;
    float bound = strncmp(layer_of(s), "embedding", 9) == 0 ? 0.02f
                  : s->rank < 2                             ? 1e-3f
                                                            : 1.0f / (float)fan_in;
    for (size_t i = 0; i < s->count; i++) {
        float u = ef__rng_plan(&rng);
        values[i - i % taps + (taps - 1 - i % taps)] = -bound + u * (bound + bound);
    }
}

static void init_torch(const ef__segment *s, size_t fan_in, uint64_t seed, float *values)
{
    ef__rng rng = ef__rng_new(ef__derive(seed, layer_of(s)));
    double bound = 1 / sqrt((double)fan_in);
    bool normal = strncmp(layer_of(s), "embedding", 9) == 0;
    for (size_t i = 0; i < s->count; i++)
        values[i] = normal ? (float)(0.02 * ef__rng_normal(&rng))
                           : (float)(bound * (2 * ef__rng_uniform(&rng) - 1));
}

void ef__init_segment(const ef__segment *segment, size_t fan_in, ef_init init, uint64_t seed,
                      float *values)
{
    bool norm = strstr(segment->name, ".norm.") != NULL;
    bool zero = norm ? strstr(segment->name, ".bias") != NULL
                     : init == EF_INIT_SCALED && strstr(segment->name, ".conv2.weight");
    if (norm || zero)
        for (size_t i = 0; i < segment->count; i++)
            values[i] = zero ? 0 : 1;
    else if (init == EF_INIT_PLAN)
        init_plan(segment, fan_in, seed, values);
    else
        init_torch(segment, fan_in, seed, values);
}

ef_status ef__init_params(ef__params *params, ef_init init, uint64_t seed)
{
    size_t largest = 0, fan_in = 1;
    for (size_t i = 0; i < params->segments; i++)
        if (params->segment[i].count > largest)
            largest = params->segment[i].count;
    float *values = malloc(largest * sizeof *values);
    if (!values)
        return ef__fail(params->actor, EF_ENOMEM, 0, "model",
                        "model: no host memory for %zu values", largest);
    ef_status status = EF_OK;
    for (size_t i = 0; i < params->segments && !status; i++) {
        const ef__segment *s = &params->segment[i];
        if (s->rank >= 2)
            fan_in = s->count / s->dims[0];
        ef__init_segment(s, fan_in, init, seed, values);
        status = ef_tensor_write(s->value, values);
    }
    free(values);
    return status;
}
