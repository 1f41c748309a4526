/* Evaluation of an encoder: the device computes vectors, the host the metrics, in double. */
#include "base/clock.h"
#include "base/size.h"
#include "train/evaluate.h"
#include "train/recall.h"
#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    ef__evaluation of;
    ef_encoder *encoder;
    ef_readback **readback;              /* of a batch's parts */
    double *mean;                        /* [E] of the targets */
    double mse, cos, mean_mse, mean_cos; /* sums over samples */
    ef__recall recall;
} run;

static ef_status add_targets(const ef_dataset *dataset, size_t N, unsigned char *room, double *mean,
                             ef_error *error)
{
    size_t E = ef_dataset_width(dataset);
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

static ef_status mean_target(run *r)
{
    const ef__evaluation *v = &r->of;
    unsigned char *room = malloc(ef__dataset_room(v->dataset));
    r->mean = calloc(ef_dataset_width(v->dataset), sizeof *r->mean);
    ef_status status = room && r->mean
                           ? add_targets(v->dataset, v->samples, room, r->mean, v->error)
                           : ef__dataset_no_memory(v->dataset, v->error);
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

static void measure(run *r, const float *y, const float *target, size_t E)
{
    comparison model = {0}, mean = {0};
    for (size_t e = 0; e < E; e++) {
        add(&model, y[e], target[e]);
        add(&mean, r->mean[e], target[e]);
    }
    r->mse += model.square / (double)E;
    r->cos += cosine(&model);
    r->mean_mse += mean.square / (double)E;
    r->mean_cos += cosine(&mean);
}

/* A part of a batch whose vectors are there. */
static ef_status take(run *r, const ef_batch *part, ef_readback *readback)
{
    const void *vectors;
    ef_status status =
        ef__actor_says(r->of.actor, ef_readback_value(readback, &vectors, NULL), r->of.error);
    for (size_t b = 0; b < part->B && !status; b++) {
        const float *y = (const float *)vectors + b * part->E, *target = part->target + b * part->E;
        measure(r, y, target, part->E);
        if (r->of.options.recall)
            status = ef__recall_add(&r->recall, y, target);
    }
    return status;
}

static ef_status encode_batch(run *r, const ef_batch *batch)
{
    ef_actor *a = r->of.actor;
    const size_t parts = ef__evaluation_parts(&r->of, batch->B);
    ef_status status = ef_batch_begin(a);
    if (status)
        return status;
    for (size_t i = 0; i < parts && !status; i++) {
        const ef_batch part = ef__evaluation_part(&r->of, batch, i);
        status = ef__encode(r->encoder, &part, &r->readback[i]);
    }
    ef_status synced = ef_batch_sync(a, "evaluation");
    return status ? status : synced;
}

static ef_status evaluate_batch(run *r, const ef_batch *batch)
{
    const size_t parts = ef__evaluation_parts(&r->of, batch->B);
    ef_status status = ef__actor_says(r->of.actor, encode_batch(r, batch), r->of.error);
    for (size_t i = 0; i < parts; i++) {
        const ef_batch part = ef__evaluation_part(&r->of, batch, i);
        if (!status)
            status = take(r, &part, r->readback[i]);
        ef_readback_free(r->readback[i]);
        r->readback[i] = NULL;
    }
    return status ? status : ef__evaluation_tell(&r->of, batch->B);
}

static ef_status evaluate_all(run *r)
{
    ef_batch batch;
    ef_status status = ef__evaluation_next(&r->of, &batch);
    while (!status && batch.B) {
        status = evaluate_batch(r, &batch);
        if (!status)
            status = ef__evaluation_next(&r->of, &batch);
    }
    return status || !r->of.options.recall ? status : ef__recall_end(&r->recall);
}

static ef_status begin(run *r, const ef_eval_options *options)
{
    ef__evaluation *v = &r->of;
    ef_status status = ef__evaluation_begin(v, ef_encoder_get_config(r->encoder), options);
    const size_t parts =
        status ? 0 : ef__evaluation_parts(v, ef__min(v->options.batch, v->samples));
    if (!status)
        status = mean_target(r);
    if (!status && !(r->readback = calloc(parts, sizeof *r->readback)))
        status = ef__dataset_no_memory(v->dataset, v->error);
    return status || !v->options.recall ? status : ef__recall_begin(&r->recall, v);
}

static double recall_at(const run *r, int k)
{
    return r->of.options.recall ? (double)r->recall.found[k] / (double)r->of.samples : NAN;
}

static void report_of(const run *r, ef_eval_report *report)
{
    const double n = (double)r->of.samples, seconds = ef__now() - r->of.started;
    *report = (ef_eval_report){.mse = r->mse / n,
                               .cos = r->cos / n,
                               .mean_vector_mse = r->mean_mse / n,
                               .mean_vector_cos = r->mean_cos / n,
                               .recall_1 = recall_at(r, 0),
                               .recall_5 = recall_at(r, 1),
                               .recall_10 = recall_at(r, 2),
                               .samples = r->of.samples,
                               .length = r->of.options.length,
                               .seconds = seconds,
                               .samples_per_s = n / seconds};
}

ef_status ef_evaluate(ef_encoder *encoder, ef_dataset *dataset, const ef_eval_options *options,
                      ef_eval_report *report, ef_error *error)
{
    run r = {.of = {.actor = encoder->model.actor, .dataset = dataset, .error = error},
             .encoder = encoder};
    ef_status status = begin(&r, options);
    if (!status)
        status = evaluate_all(&r);
    if (!status)
        report_of(&r, report);
    ef__recall_free(&r.recall);
    ef__evaluation_end(&r.of);
    free(r.readback);
    free(r.mean);
    return status;
}
