/* The loop of a run: steps, epochs, saves. One step is enqueued, synced and reported before the
 * next; the loader's thread prepares the next batch meanwhile. A checkpoint is written after a
 * good sync only, so a lost device never reaches a file. */
#include "train/run.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/size.h"
#include "data/dataset.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Steps in a row, before the run gives up: but first the loss scale falls as far as it can. */
enum { MOST_SKIPPED = 10 };

void ef_train_options_default(ef_train_options *options)
{
    *options = (ef_train_options){
        .epochs = 1, .seed = 1, .batch = 32, .accum = 1, .bucket = true, .ab_ratio = 0.5};
    ef_model_config_default(&options->model);
    options->model.vocab = 0;
    ef_trainer_options_default(&options->trainer);
    options->trainer.decay = EF_DECAY_RUN;
    options->decoder = options->model;
    options->decoder_trainer = options->trainer;
}

/* ---- a step ---- */

uint64_t ef__run_count(const ef__run *r, ef_model_kind kind, uint64_t steps)
{
    const bool *has = r->models.has;
    if (!has[EF_ENCODER] || !has[EF_DECODER])
        return has[kind] ? steps : 0;
    uint64_t a = (uint64_t)floor((double)steps * r->options->ab_ratio);
    return kind == EF_ENCODER ? a : steps - a;
}

static ef_model_kind kind_of(const ef__run *r, uint64_t step)
{
    return ef__run_count(r, EF_ENCODER, step + 1) > ef__run_count(r, EF_ENCODER, step) ? EF_ENCODER
                                                                                       : EF_DECODER;
}

/* The batches of the next step, r->accum at most; *count 0 at the end of the epoch. The loader
 * keeps them all. */
static ef_status fetch(ef__run *r, size_t *count)
{
    size_t most = ef__min(r->accum, r->batches - (size_t)r->state.position);
    for (*count = 0; *count < most; ++*count) {
        ef_status status = ef_loader_next(r->loader, &r->fetched[*count], r->error);
        if (status || r->fetched[*count].B == 0)
            return status;
        double from, to;
        ef__loader_prepared(r->loader, &from, &to);
        ef__trace_loaded(r->actor, from, to);
    }
    return EF_OK;
}

/* Batches in pieces of at most so many samples: how many there are. */
static size_t cut(const ef_batch *batches, size_t count, size_t most, ef_batch *pieces)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t from = 0; from < batches[i].B; from += pieces[n++].B)
            pieces[n] = ef__batch_part(&batches[i], from, most);
    return n;
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

static void report_step(const ef__run *r, ef_model_kind kind, const progress *p,
                        const float *metrics)
{
    const ef_trainer *t = r->trainers.of[kind];
    double seconds = ef__now() - p->started;
    ef_step_report report = {.step = r->state.step,
                             .steps = r->steps,
                             .epoch = r->state.epoch + 1,
                             .epochs = r->options->epochs,
                             .kind = kind,
                             .loss = metrics[EF_METRIC_LOSS],
                             .grad_norm = metrics[EF_METRIC_GRAD_NORM],
                             .lr = ef_lr_at(&t->options, t->attempted - 1),
                             .samples_per_s = (double)p->samples / seconds,
                             .skipped = metrics[EF_METRIC_SKIPPED] != 0,
                             .skipped_total = r->state.skipped};
    if (kind == EF_ENCODER) {
        report.mse = metrics[EF_METRIC_MSE];
        report.cos = metrics[EF_METRIC_COS];
    } else {
        report.ce = metrics[EF_METRIC_CE];
        report.accuracy = metrics[EF_METRIC_ACCURACY];
    }
    if (r->steps > r->state.step)
        report.eta_s = seconds / (double)p->steps * (double)(r->steps - r->state.step);
    if (r->watch.on_step)
        r->watch.on_step(r->watch.user, &report);
}

/* One step of a trainer, and what it measured. */
static ef_status step(ef__run *r, ef_trainer *t, size_t count, float metrics[EF_METRICS])
{
    ef_readback *readback = NULL;
    const void *data;
    size_t values, pieces = cut(r->fetched, count, r->state.micro_batch, r->pieces);
    ef_status status = ef_trainer_step(t, r->pieces, pieces, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, &values);
    if (!status)
        memcpy(metrics, data, EF_METRICS * sizeof *metrics);
    ef_readback_free(readback);
    return ef__actor_says(r->actor, status, r->error);
}

static ef_status run_step(ef__run *r, size_t count, progress *p)
{
    const ef_model_kind kind = kind_of(r, r->state.step);
    float metrics[EF_METRICS];
    ef_status status = step(r, r->trainers.of[kind], count, metrics);
    if (status)
        return status;
    r->state.step++;
    r->state.position += count;
    r->state.skipped += metrics[EF_METRIC_SKIPPED] != 0;
    count_step(p, r->fetched, count);
    report_step(r, kind, p, metrics);
    if (metrics[EF_METRIC_SKIPPED_IN_A_ROW] < MOST_SKIPPED || metrics[EF_METRIC_SCALE] > 1)
        return EF_OK;
    return ef__error_set(
        r->error, EF_ESTATE, 0, NULL,
        "train: step %llu: %.0f steps in a row were skipped, because the loss or the "
        "gradient is not finite",
        (unsigned long long)r->state.step, (double)metrics[EF_METRIC_SKIPPED_IN_A_ROW]);
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

/* The epoch's steps are saved all the same: a run that is resumed there validates again. */
static ef_status keep_epoch(ef__run *r, ef_status failed)
{
    ef_error why, *error = r->error;
    r->error = &why;
    if (save(r, false))
        ef__run_tell(r, "%s", why.text);
    r->error = error;
    return failed;
}

/* Validate, tell, move on to the next epoch, save: what a killed run did not save is told again. */
static ef_status end_epoch(ef__run *r, const progress *p)
{
    ef__run_state *s = &r->state;
    double seconds = ef__now() - p->started;
    ef_epoch_report report = {.epoch = s->epoch + 1,
                              .step = s->step,
                              .mode = r->options->mode,
                              .seconds = seconds,
                              .samples_per_s = (double)p->samples / seconds,
                              .padding = p->tokens ? (double)p->positions / (double)p->tokens : 1};
    if (r->val) {
        ef_status status = ef__run_validate(r, &report);
        if (status)
            return keep_epoch(r, status);
    }
    if (r->watch.on_epoch)
        r->watch.on_epoch(r->watch.user, &report);
    s->epoch++;
    s->position = 0;
    return save(r, report.best);
}

static ef_status run_epoch(ef__run *r)
{
    progress p = {.started = ef__now()};
    uint64_t every = r->options->save_every;
    size_t count = 0;
    ef_status status = ef_loader_seek(r->loader, r->state.epoch, r->state.position, r->error);
    while (!status) {
        if (r->watch.should_stop && r->watch.should_stop(r->watch.user))
            return stop(r);
        status = fetch(r, &count);
        if (status || count == 0)
            break;
        status = run_step(r, count, &p);
        if (!status && every && r->state.step % every == 0)
            status = save(r, false);
    }
    return status ? status : end_epoch(r, &p);
}

/* So many epochs in a row without a better one are enough. */
static bool is_stale(const ef__run *r)
{
    return r->options->patience && r->state.stale >= r->options->patience;
}

static ef_status run_all(ef__run *r)
{
    const uint64_t epochs = r->options->epochs;
    ef_status status = EF_OK;
    if (epochs == 0 && !r->options->resume)
        status = save(r, false);
    while (!status && r->state.epoch < epochs && !is_stale(r))
        status = run_epoch(r);
    if (!status && r->state.epoch < epochs)
        ef__run_tell(r, "epoch %llu: none of the last %llu was better: the run ends early",
                     (unsigned long long)r->state.epoch, (unsigned long long)r->state.stale);
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
