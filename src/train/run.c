/* The loop of a run: steps, epochs, saves. One step is enqueued, synced and reported before the
 * next; the loader's thread prepares the next batch meanwhile. A checkpoint is written after a
 * good sync only, so a lost device never reaches a file. */
#include "train/run.h"
#include "base/clock.h"
#include "base/error.h"
#include "data/dataset.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SKIPPED = 10 }; /* in a row, before the run gives up */

void ef_train_options_default(ef_train_options *options)
{
    *options = (ef_train_options){.epochs = 1, .seed = 1, .batch = 32, .accum = 1, .bucket = true};
    ef_model_config_default(&options->model);
    options->model.vocab = 0;
    ef_trainer_options_default(&options->trainer);
}

/* ---- a step ---- */

/* The micro-batches of the next step, r->accum at most; *count 0 at the end of the epoch. The
 * loader keeps them all. */
static ef_status fetch(ef__run *r, ef_batch *batches, size_t *count)
{
    for (*count = 0; *count < r->accum; ++*count) {
        ef_status status = ef_loader_next(r->loader, &batches[*count], r->error);
        if (status || batches[*count].B == 0)
            return status;
        double from, to;
        ef__loader_prepared(r->loader, &from, &to);
        ef__trace_loaded(r->actor, from, to);
    }
    return EF_OK;
}

typedef struct progress { /* of this epoch, as far as it ran here */
    double started;
    uint64_t steps, samples, positions, tokens;
} progress;

static void count_step(progress *p, const ef_batch *batches, size_t count)
{
    p->steps++;
    for (size_t i = 0; i < count; i++) {
        p->samples += batches[i].B;
        p->positions += batches[i].B * batches[i].L;
        p->tokens += batches[i].tokens;
    }
}

static void report_step(const ef__run *r, const progress *p, const float *metrics)
{
    double seconds = ef__now() - p->started;
    ef_step_report report = {.step = r->state.step,
                             .steps = r->steps,
                             .epoch = r->state.epoch + 1,
                             .epochs = r->options->epochs,
                             .loss = metrics[EF_METRIC_LOSS],
                             .mse = metrics[EF_METRIC_MSE],
                             .cos = metrics[EF_METRIC_COS],
                             .grad_norm = metrics[EF_METRIC_GRAD_NORM],
                             .lr = ef_lr_at(&r->state.trainer, r->state.step - 1),
                             .samples_per_s = (double)p->samples / seconds,
                             .skipped = metrics[EF_METRIC_SKIPPED] != 0,
                             .skipped_total = r->state.skipped};
    if (r->steps > r->state.step)
        report.eta_s = seconds / (double)p->steps * (double)(r->steps - r->state.step);
    if (r->watch.on_step)
        r->watch.on_step(r->watch.user, &report);
}

static ef_status run_step(ef__run *r, const ef_batch *batches, size_t count, progress *p)
{
    ef_readback *readback = NULL;
    const void *data;
    size_t values;
    ef_status status = ef_trainer_step(r->trainers.of[EF_ENCODER], batches, count, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, &values);
    if (status)
        return ef__actor_says(r->actor, status, r->error);
    float metrics[EF_METRICS];
    memcpy(metrics, data, sizeof metrics);
    ef_readback_free(readback);
    r->state.step = r->trainers.of[EF_ENCODER]->attempted;
    r->state.position += count;
    r->state.skipped += metrics[EF_METRIC_SKIPPED] != 0;
    count_step(p, batches, count);
    report_step(r, p, metrics);
    if (metrics[EF_METRIC_SKIPPED_IN_A_ROW] < MOST_SKIPPED)
        return EF_OK;
    return ef__error_set(
        r->error, EF_ESTATE, 0, NULL,
        "train: step %llu: %d steps in a row were skipped, because the loss or the "
        "gradient is not finite",
        (unsigned long long)r->state.step, MOST_SKIPPED);
}

/* ---- saves and epochs ---- */

static ef_status save(ef__run *r, bool best)
{
    const char *paths[] = {r->options->save, best ? r->best_path : NULL, NULL};
    return r->options->save
               ? ef__checkpoint_save(&r->trainers, &r->state, r->tokenizer, paths, r->error)
               : EF_OK;
}

static ef_status stop(ef__run *r)
{
    ef_status status = save(r, false);
    return status
               ? status
               : ef__error_set(r->error, EF_ECANCELLED, 0, NULL, "train: stopped after step %llu",
                               (unsigned long long)r->state.step);
}

static void tell_not_finite(const ef__run *r)
{
    char text[160];
    snprintf(text, sizeof text,
             "epoch %llu: the held-out cosine is not finite: the model is of no use",
             (unsigned long long)r->state.epoch + 1);
    if (r->watch.on_notice)
        r->watch.on_notice(r->watch.user, text);
}

/* Validate, move on to the next epoch, save, tell. */
static ef_status end_epoch(ef__run *r, const progress *p)
{
    ef__run_state *s = &r->state;
    double seconds = ef__now() - p->started;
    ef_epoch_report report = {.epoch = s->epoch + 1,
                              .seconds = seconds,
                              .samples_per_s = (double)p->samples / seconds,
                              .padding = p->tokens ? (double)p->positions / (double)p->tokens : 1};
    if (r->val) {
        ef_eval_report val;
        ef_status status = ef_evaluate(r->encoder, r->val, NULL, &val, r->error);
        if (status)
            return status;
        report.has_val = true;
        report.val_mse = val.mse;
        report.val_cos = val.cos;
        report.best = isfinite(val.cos) && (!s->has_best || val.cos > s->best_cos);
        if (!isfinite(val.cos))
            tell_not_finite(r);
    }
    if (report.best) {
        s->has_best = true;
        s->best_cos = report.val_cos;
    }
    s->epoch++;
    s->position = 0;
    ef_status status = save(r, report.best);
    if (!status && r->watch.on_epoch)
        r->watch.on_epoch(r->watch.user, &report);
    return status;
}

static ef_status run_epoch(ef__run *r, ef_batch *batches)
{
    progress p = {.started = ef__now()};
    uint64_t every = r->options->save_every;
    size_t count = 0;
    ef_status status = ef_loader_seek(r->loader, r->state.epoch, r->state.position, r->error);
    while (!status) {
        if (r->watch.should_stop && r->watch.should_stop(r->watch.user))
            return stop(r);
        status = fetch(r, batches, &count);
        if (status || count == 0)
            break;
        status = run_step(r, batches, count, &p);
        if (!status && every && r->state.step % every == 0)
            status = save(r, false);
    }
    return status ? status : end_epoch(r, &p);
}

static ef_status run_all(ef__run *r)
{
    ef_batch *batches = calloc(r->accum, sizeof *batches);
    ef_status status = EF_OK;
    if (!batches)
        status = ef__error_set(r->error, EF_ENOMEM, 0, NULL, "train: out of memory");
    else if (r->state.epoch >= r->options->epochs)
        status = save(r, false);
    while (!status && r->state.epoch < r->options->epochs)
        status = run_epoch(r, batches);
    free(batches);
    return status;
}

ef_status ef_train(ef_actor *a, const ef_train_options *options, const ef_train_observer *observer,
                   ef_error *error)
{
    ef__run r = {.actor = a, .options = options, .error = error};
    if (observer)
        r.watch = *observer;
    ef_status status = ef__run_open(&r);
    if (!status && r.watch.on_begin)
        r.watch.on_begin(r.watch.user, r.state.step, r.steps);
    if (!status)
        status = run_all(&r);
    ef__run_close(&r);
    return status;
}
