/* The encoder that deferral and encoder time, on one batch made from a seed. */
#include "bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 4 };

const bench_shape bench_full = {16, 128, 256, 512, 5, 30522, 768};
const bench_shape bench_sample = {1, 16, 64, 128, 5, 266, 384};

bench_shape bench_shape_of(const bench *b)
{
    bench_shape s = b->model ? bench_sample : bench_full;
    s.B = b->batch ? b->batch : s.B;
    s.L = b->length ? b->length : s.L;
    return s;
}

void bench_shape_text(const bench_shape *s, char text[80])
{
    snprintf(text, 80, "B%zu L%zu D%zu H%zu K%zu V%zu E%zu", s->B, s->L, s->D, s->H, s->K, s->V,
             s->E);
}

double bench_forward_flops(const bench_shape *s)
{
    double positions = (double)s->B * s->L, block = 2.0 * s->D * s->H * (s->K + 1);
    return positions * BLOCKS * block + 2.0 * s->B * s->D * s->E;
}

bool bench_near(const float *x, const float *y, size_t n, double bound)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        norm += (double)y[i] * y[i];
    }
    return sqrt(difference) <= bound * sqrt(norm);
}

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static bool fill_batch(const bench_shape *s, ef_batch *batch)
{
    size_t positions = s->B * s->L, targets = s->B * s->E;
    int32_t *ids = malloc(positions * sizeof *ids);
    uint8_t *mask = malloc(positions);
    float *target = malloc(targets * sizeof *target);
    uint32_t state = 1;
    *batch = (ef_batch){s->B, s->L, s->E, ids, mask, target, positions};
    if (!ids || !mask || !target)
        return false;
    for (size_t i = 0; i < positions; i++)
        ids[i] = 1 + (int32_t)(draw(&state) % (s->V - 1));
    memset(mask, 1, positions);
    for (size_t i = 0; i < targets; i++)
        target[i] = ((float)draw(&state) / (1 << 23) - 1) / 16;
    return true;
}

static ef_status upload(bench_model *m)
{
    const ef_batch *b = &m->batch;
    ef_status status = ef_tensor_new(m->actor, EF_I32, 2, (size_t[]){b->B, b->L}, "ids", &m->ids);
    if (!status)
        status = ef_tensor_new(m->actor, EF_U8, 2, (size_t[]){b->B, b->L}, "mask", &m->mask);
    if (!status)
        status = ef_tensor_new(m->actor, EF_F32, 2, (size_t[]){b->B, b->E}, "vectors", &m->vectors);
    if (!status)
        status = ef_tensor_write(m->ids, b->ids);
    return status ? status : ef_tensor_write(m->mask, b->mask);
}

/* Torch's initialisation: with the default one the blocks add nothing before the first step. */
static ef_status build(const bench_shape *s, bench_model *m)
{
    ef_model_config config;
    ef_trainer_options options;
    ef_model_config_default(&config);
    config.width = s->D;
    config.hidden = s->H;
    config.taps = s->K;
    config.vocab = s->V;
    config.vector = s->E;
    config.length = s->L;
    ef_trainer_options_default(&options);
    ef_status status = ef_encoder_new(m->actor, &config, EF_INIT_TORCH, 1, true, &m->encoder);
    if (!status)
        status = ef_trainer_new(m->encoder, &options, &m->trainer);
    if (!status && !fill_batch(s, &m->batch))
        status = ef__fail(m->actor, EF_ENOMEM, 0, "bench", "bench: no host memory for a batch");
    return status ? status : upload(m);
}

ef_status bench_model_open(bench *b, const bench_shape *s, ef_actor *a, bench_model *m)
{
    *m = (bench_model){.actor = a, .error = &b->error};
    return ef__actor_says(a, build(s, m), &b->error);
}

void bench_model_close(bench_model *m)
{
    ef_trainer_free(m->trainer);
    ef_encoder_free(m->encoder);
    ef_tensor_free(m->ids);
    ef_tensor_free(m->mask);
    ef_tensor_free(m->vectors);
    free((void *)m->batch.ids);
    free((void *)m->batch.mask);
    free((void *)m->batch.target);
    ef_actor_close(m->actor);
}

ef_status bench_model_forward(void *user)
{
    bench_model *m = user;
    ef_status status = ef_batch_begin(m->actor);
    if (!status) {
        status = ef_encoder_encode(m->encoder, m->ids, m->mask, m->vectors);
        ef_status synced = ef_batch_sync(m->actor, "forward");
        status = status ? status : synced;
    }
    return ef__actor_says(m->actor, status, m->error);
}

ef_status bench_model_step(void *user)
{
    bench_model *m = user;
    ef_readback *readback = NULL;
    const void *data;
    size_t count;
    ef_status status = ef_trainer_step(m->trainer, &m->batch, 1, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, &count);
    if (!status)
        memcpy(m->metrics, data, sizeof m->metrics);
    ef_readback_free(readback);
    return ef__actor_says(m->actor, status, m->error);
}

ef_status bench_model_vectors(bench_model *m, float **vectors, size_t *count)
{
    ef_readback *readback = NULL;
    const void *data;
    float *copy = NULL;
    ef_status status = ef_readback_start(m->actor, m->vectors, EF_IMMEDIATE, NULL, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, count);
    if (!status && !(copy = malloc(*count * sizeof *copy)))
        status = ef__fail(m->actor, EF_ENOMEM, 0, "bench", "bench: no host memory");
    if (!status) {
        memcpy(copy, data, *count * sizeof *copy);
        *vectors = copy;
    }
    ef_readback_free(readback);
    return ef__actor_says(m->actor, status, m->error);
}
