/* Evaluation: the device computes vectors, the host the metrics, in double. */
#include "base/clock.h"
#include "base/error.h"
#include "data/dataset.h"
#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluation {
    ef_encoder *encoder;
    ef_loader *loader;
    const double *mean;                  /* [E] of the targets */
    double mse, cos, mean_mse, mean_cos; /* sums over samples */
    uint64_t samples;
    ef_error *error;
} evaluation;

static ef_status add_targets(ef_dataset *dataset, unsigned char *room, double *mean,
                             ef_error *error)
{
    size_t E = ef_dataset_width(dataset), N = ef_dataset_size(dataset);
    ef_status status = EF_OK;
    ef__sample s;
    for (size_t n = 0; n < N && !(status = ef__dataset_read(dataset, n, room, &s, error)); n++)
        for (size_t e = 0; e < E; e++) {
            float value;
            memcpy(&value, s.target + e * sizeof value, sizeof value);
            mean[e] += (double)value / (double)N;
        }
    return status;
}

/* Free *mean, also after a failure. */
static ef_status mean_target(ef_dataset *dataset, double **mean, ef_error *error)
{
    unsigned char *room = malloc(ef__dataset_room(dataset));
    *mean = calloc(ef_dataset_width(dataset), sizeof **mean);
    ef_status status = room && *mean
                           ? add_targets(dataset, room, *mean, error)
                           : ef__error_set(error, EF_ENOMEM, 0, NULL, "evaluation: out of memory");
    free(room);
    return status;
}

typedef struct comparison {
    double yy, tt, yt, square; /* sums over a row */
} comparison;

static void add(comparison *c, double y, double t)
{
    c->yy += y * y;
    c->tt += t * t;
    c->yt += y * t;
    c->square += (y - t) * (y - t);
}

static double cosine(const comparison *c)
{
    return c->yt / (fmax(sqrt(c->yy), 1e-6) * fmax(sqrt(c->tt), 1e-6));
}

static void measure(evaluation *v, const ef_batch *batch, const float *vectors)
{
    for (size_t b = 0; b < batch->B; b++) {
        comparison model = {0}, mean = {0};
        for (size_t e = 0; e < batch->E; e++) {
            double t = batch->target[b * batch->E + e];
            add(&model, vectors[b * batch->E + e], t);
            add(&mean, v->mean[e], t);
        }
        v->mse += model.square / (double)batch->E;
        v->cos += cosine(&model);
        v->mean_mse += mean.square / (double)batch->E;
        v->mean_cos += cosine(&mean);
    }
    v->samples += batch->B;
}

/* Everything that is enqueued for a batch. */
static ef_status encode(evaluation *v, const ef_batch *batch, ef_readback **readback)
{
    ef_actor *a = v->encoder->model.actor;
    const size_t shape[2] = {batch->B, batch->L}, out[2] = {batch->B, batch->E};
    ef_tensor *ids = NULL, *mask = NULL, *y = NULL;
    ef_status status = ef__upload(a, EF_I32, 2, shape, "ids", batch->ids, &ids);
    if (!status)
        status = ef__upload(a, EF_U8, 2, shape, "mask", batch->mask, &mask);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, out, "vectors", &y);
    if (!status)
        status = ef_encoder_encode(v->encoder, ids, mask, y);
    if (!status)
        status = ef_readback_start(a, y, EF_DEFER_UNTIL_SYNC, "vectors", readback);
    ef_tensor_free(ids);
    ef_tensor_free(mask);
    ef_tensor_free(y);
    return status;
}

static ef_status evaluate_batch(evaluation *v, const ef_batch *batch)
{
    ef_actor *a = v->encoder->model.actor;
    ef_readback *readback = NULL;
    const void *vectors;
    size_t count;
    ef_status status = ef_batch_begin(a);
    if (!status) {
        ef_status enqueued = encode(v, batch, &readback);
        status = ef_batch_sync(a, "evaluation");
        status = enqueued ? enqueued : status;
    }
    if (!status)
        status = ef_readback_value(readback, &vectors, &count);
    if (!status)
        measure(v, batch, vectors);
    ef_readback_free(readback);
    return ef__actor_says(a, status, v->error);
}

static ef_status evaluate_all(evaluation *v)
{
    for (;;) {
        ef_batch batch;
        ef_status status = ef_loader_next(v->loader, &batch, v->error);
        if (!status && batch.B == 0)
            return EF_OK;
        if (!status)
            status = evaluate_batch(v, &batch);
        if (status)
            return status;
    }
}

static void report_of(const evaluation *v, double seconds, ef_eval_report *report)
{
    double n = (double)v->samples;
    *report = (ef_eval_report){.mse = v->mse / n,
                               .cos = v->cos / n,
                               .mean_vector_mse = v->mean_mse / n,
                               .mean_vector_cos = v->mean_cos / n,
                               .samples = v->samples,
                               .seconds = seconds,
                               .samples_per_s = n / seconds};
}

ef_status ef_evaluate(ef_encoder *encoder, ef_dataset *dataset, size_t batch, size_t length,
                      ef_eval_report *report, ef_error *error)
{
    const ef_model_config *c = &encoder->model.config;
    if (ef_dataset_width(dataset) != c->vector)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: its targets have %zu values, the encoder gives %zu",
                             ef_dataset_path(dataset), ef_dataset_width(dataset), c->vector);
    ef_loader_options options = {
        .batch = batch ? batch : 64, .length = length ? length : c->length, .vocab = c->vocab};
    double started = ef__now(), *mean;
    ef_status status = mean_target(dataset, &mean, error);
    evaluation v = {.encoder = encoder, .mean = mean, .error = error};
    if (!status)
        status = ef_loader_new(dataset, &options, &v.loader, error);
    if (!status)
        status = evaluate_all(&v);
    if (!status)
        report_of(&v, ef__now() - started, report);
    ef_loader_free(v.loader);
    free(mean);
    return status;
}
