#include "train/run.h"
#include "base/file.h"
#include "base/size.h"
#include "data/dataset.h"
#include "model/init.h"
#include "train/resume.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void notice(void *user, const char *text)
{
    const ef_train_observer *watch = user;
    if (watch->on_notice)
        watch->on_notice(watch->user, text);
}

/* Is it a file of the plan's own formats? path NULL: no. */
static bool begins(const char *path, const char *magic)
{
    char head[5] = "";
    FILE *file = path ? fopen(path, "rbe") : NULL;
    bool same = file && fread(head, 1, sizeof head, file) == sizeof head &&
                !memcmp(head, magic, sizeof head - 1);
    if (file)
        fclose(file);
    return same;
}

const char *ef__run_start(const ef__run *r)
{
    const ef_train_options *o = r->options;
    return o->resume ? o->resume : begins(o->init_from, "EFCK1") ? NULL : o->init_from;
}

static ef_status check_options(const ef__run *r)
{
    const ef_train_options *o = r->options;
    const char *wrong =
        !o->data                ? "no data file"
        : o->batch == 0         ? "a batch of 0 samples"
        : o->accum == 0         ? "0 batches in a step"
        : o->batch > INT32_MAX  ? "a batch of more than 2147483647 samples"
        : o->accum > INT32_MAX  ? "more than 2147483647 batches in a step"
        : o->epochs > INT32_MAX ? "more than 2147483647 epochs"
        : !(o->val_fraction >= 0 && o->val_fraction < 1)
            ? "a held-out share that is not from 0 to below 1"
        : o->val && o->val_fraction > 0 ? "both held-out data and a share of the data to hold out"
        : o->patience && !o->val && o->val_fraction == 0
            ? "patience, but nothing held out to find a better epoch by"
        : !(o->ab_ratio >= 0 && o->ab_ratio <= 1) ? "a share of A steps that is not from 0 to 1"
        : o->resume && o->init_from               ? "both a run to resume and a model to start from"
                                                  : NULL;
    return wrong ? ef__error_set(r->error, EF_EARG, 0, NULL, "train: %s", wrong) : EF_OK;
}

static ef_status check_writable(const char *path, ef_error *error)
{
    ef__file *file;
    ef_status status = ef__file_begin(path, &file, error);
    if (!status)
        ef__file_abandon(file);
    return status;
}

/* A save that cannot work is better known before the training than after it. */
static ef_status check_saves(ef__run *r)
{
    if (!r->options->save)
        return EF_OK;
    r->best_path = ef_train_best_path(r->options->save);
    if (!r->best_path)
        return ef__error_set(r->error, EF_ENOMEM, 0, NULL, "train: out of memory");
    ef_status status = check_writable(r->options->save, r->error);
    return status ? status : check_writable(r->best_path, r->error);
}

/* What the options say of a model, and the data of its sizes. */
static ef_model_config model_of(const ef__run *r, ef_model_kind kind)
{
    ef_model_config c = kind == EF_ENCODER ? r->options->model : r->options->decoder;
    int32_t largest = ef_dataset_max_id(r->file);
    if (r->val && ef_dataset_max_id(r->val) > largest)
        largest = ef_dataset_max_id(r->val);
    if (c.vocab == 0)
        c.vocab = r->tokenizer ? ef_tokenizer_size(r->tokenizer) : (size_t)largest + 1;
    c.vector = ef_dataset_width(r->file);
    return c;
}

const ef_model_config *ef__run_model(const ef__run *r)
{
    return &r->models.config[r->models.has[EF_ENCODER] ? EF_ENCODER : EF_DECODER];
}

static ef_status choose_models(ef__run *r)
{
    const ef_train_mode mode = r->options->mode;
    ef__models *m = &r->models;
    ef_status status = EF_OK;
    m->has[EF_ENCODER] = mode != EF_MODE_DECODER;
    m->has[EF_DECODER] = mode != EF_MODE_ENCODER;
    for (int k = 0; k < EF__KINDS && !status; k++)
        if (m->has[k]) {
            m->config[k] = model_of(r, k);
            status = ef__config_check(&m->config[k], r->error);
        }
    const size_t a = m->config[EF_ENCODER].length, b = m->config[EF_DECODER].length;
    if (!status && mode == EF_MODE_COMBINED && a != b)
        status = ef__error_set(r->error, EF_EARG, 0, "model",
                               "model: the encoder's length is %zu, the decoder's %zu", a, b);
    return status;
}

/* A decay that is the rest of the run begins after the warm-up and ends with the last step. */
static ef_trainer_options trainer_of(const ef__run *r, ef_model_kind kind)
{
    ef_trainer_options t = kind == EF_ENCODER ? r->options->trainer : r->options->decoder_trainer;
    uint64_t steps = ef__run_count(r, kind, r->steps);
    if (t.decay == EF_DECAY_RUN)
        t.decay = steps > t.warmup ? steps - t.warmup : 0;
    return t;
}

static ef_status put_sha256(const ef__run *r, ef_dataset *data, char *to, size_t size)
{
    const char *sha256 = ef_dataset_sha256(data);
    if (!sha256)
        return ef__error_set(r->error, EF_EIO, 0, NULL, "%s: cannot be read any more",
                             ef_dataset_path(data));
    snprintf(to, size, "%s", sha256);
    return EF_OK;
}

static ef_status begin_state(ef__run *r)
{
    const ef_train_options *o = r->options;
    ef__run_state *s = &r->state;
    r->steps = o->epochs * ef__ceil_div(r->batches, r->accum);
    *s = (ef__run_state){.seed = o->seed,
                         .val_fraction = o->val_fraction,
                         .ab_ratio = o->ab_ratio,
                         .batch = o->batch,
                         .accum = o->accum,
                         .micro_batch = o->micro_batch ? o->micro_batch : o->batch,
                         .max_batches = o->max_batches,
                         .bucket = o->bucket,
                         .data_bytes = ef_dataset_bytes(r->file)};
    for (int k = 0; k < EF__KINDS; k++)
        s->trainer[k] = trainer_of(r, k);
    ef__identity_of(r->actor, &s->identity);
    if (!o->save && !o->resume)
        return EF_OK;
    ef_status status = put_sha256(r, r->file, s->data_sha256, sizeof s->data_sha256);
    return status || !o->val ? status : put_sha256(r, r->val, s->val_sha256, sizeof s->val_sha256);
}

/* Is it a place of this run, with the steps that lead there? */
static ef_status check_place(const ef__run *r, const ef__run_state *saved)
{
    const char *path = r->options->resume;
    const unsigned long long step = saved->step, epoch = saved->epoch, position = saved->position;
    if (position > r->batches)
        return ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                             "%s: it stands at batch %llu of an epoch of %zu", path, position,
                             r->batches);
    const uint64_t steps =
        epoch * ef__ceil_div(r->batches, r->accum) + ef__ceil_div((size_t)position, r->accum);
    return steps == step
               ? EF_OK
               : ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                               "%s: it counts %llu steps, batch %llu of epoch %llu is after %llu",
                               path, step, position, epoch, (unsigned long long)steps);
}

/* Take over where the checkpoint's run stood, if it may be continued. */
static ef_status adopt_state(ef__run *r, const ef__st_reader *file)
{
    const char *path = r->options->resume;
    ef__models models;
    ef__run_state saved, *s = &r->state;
    ef_status status = ef__config_parse(path, ef__st_metadata(file, "config"), &models, r->error);
    if (!status)
        status = ef__run_parse(path, ef__st_metadata(file, "run"), &saved, r->error);
    if (!status)
        status = ef__resume_check(path, (ef__resume_side){&models, &saved},
                                  (ef__resume_side){&r->models, s}, r->options->strict_resume,
                                  notice, &r->watch, r->error);
    if (!status)
        status = check_place(r, &saved);
    if (status)
        return status;
    s->step = saved.step;
    s->epoch = saved.epoch;
    s->position = saved.position;
    s->skipped = saved.skipped;
    s->stale = saved.stale;
    s->has_best = saved.has_best;
    s->best = saved.best;
    return EF_OK;
}

/* A file that is no checkpoint does not say what model it is of. */
static ef_status check_start(const ef__run *r, const ef__st_reader *file)
{
    const char *path = r->options->init_from, *config = ef__st_metadata(file, "config");
    ef__models models;
    if (!config)
        return EF_OK;
    ef_status status = ef__config_parse(path, config, &models, r->error);
    return status ? status : ef__start_check(path, &models, &r->models, r->error);
}

/* The models with fresh parameters. */
static ef_status new_models(ef__run *r)
{
    const ef_train_options *o = r->options;
    const ef_model_config *e = &r->models.config[EF_ENCODER], *d = &r->models.config[EF_DECODER];
    if (o->mode == EF_MODE_ENCODER)
        return ef_encoder_new(r->actor, e, o->init, o->seed, true, &r->encoder);
    if (o->mode == EF_MODE_DECODER)
        return ef_decoder_new(r->actor, d, o->init, o->seed, true, &r->decoder);
    return ef_pair_new(r->actor, e, d, o->init, o->seed, true, &r->encoder, &r->decoder);
}

/* Steps asked for so far: the clock of the trainer's schedule is the run's own. */
static void set_clock(ef__run *r, ef_model_kind kind)
{
    r->trainers.of[kind]->attempted = ef__run_count(r, kind, r->state.step);
}

static ef_status new_trainers(ef__run *r)
{
    ef_trainer **of = r->trainers.of;
    const ef_trainer_options *options = r->state.trainer;
    ef_status status = EF_OK;
    if (r->encoder)
        status = ef_trainer_new(r->encoder, &options[EF_ENCODER], &of[EF_ENCODER]);
    if (!status && r->decoder)
        status = ef_trainer_new_decoder(r->decoder, &options[EF_DECODER], &of[EF_DECODER]);
    for (int k = 0; k < EF__KINDS; k++)
        if (of[k])
            set_clock(r, k);
    return status;
}

/* Does the largest batch that each epoch has fit onto the device? */
static ef_status check_batch(const ef__run *r)
{
    ef_status status = EF_OK;
    size_t all = ef_dataset_size(r->data), samples = ef__min(r->options->batch, all);
    samples = ef__min(samples, r->state.micro_batch);
    for (int k = 0; k < EF__KINDS && !status; k++)
        if (r->models.has[k])
            status = ef__tcn_check_batch(
                k == EF_ENCODER ? &r->encoder->tcn : &r->decoder->tcn,
                ef__scope_group(&r->models.config[k], r->state.trainer[k].scope), samples,
                ef__loader_full_length(r->loader));
    return status;
}

static ef_status load_params(ef__run *r, const ef__st_reader *file)
{
    const char *from = r->options->init_from;
    ef__params *set = r->encoder ? r->encoder->model.params : r->decoder->model.params;
    if (file)
        return ef__checkpoint_params(file, set, r->error);
    if (!from)
        return EF_OK;
    return r->encoder
               ? ef_encoder_import(r->encoder, from, r->error)
               : ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                               "%s: has an encoder's projection, the run has no encoder", from);
}

/* What an EFOP1 file counts are updates: the schedule begins with the run. */
static ef_status import_optim(ef__run *r)
{
    const ef_model_kind kind = r->encoder ? EF_ENCODER : EF_DECODER;
    ef_status status = ef_trainer_import(r->trainers.of[kind], r->options->init_optim, r->error);
    if (!status)
        set_clock(r, kind);
    return status;
}

static ef_status load_optim(ef__run *r, const ef__st_reader *file)
{
    const char *from = r->options->init_optim;
    ef__st_reader *other = NULL;
    if (r->options->resume)
        return ef__checkpoint_optim(file, &r->trainers, r->error);
    if (!from)
        return EF_OK;
    if (begins(from, "EFOP1"))
        return import_optim(r);
    ef_status status = ef__st_open(from, &other, r->error);
    if (!status)
        status = ef__checkpoint_optim(other, &r->trainers, r->error);
    ef__st_close(other);
    return status;
}

/* file: the checkpoint to resume or to start from, or NULL. */
static ef_status build(ef__run *r, const ef__st_reader *file)
{
    ef_status status = new_models(r);
    if (!status)
        status = new_trainers(r);
    if (!status)
        status = check_batch(r);
    if (status)
        return ef__actor_says(r->actor, status, r->error);
    status = load_params(r, file);
    return status ? status : load_optim(r, file);
}

static ef_status open_model(ef__run *r)
{
    const ef_train_options *o = r->options;
    const char *from = ef__run_start(r);
    ef__st_reader *file = NULL;
    ef_status status = from ? ef__st_open(from, &file, r->error) : EF_OK;
    if (!status && file)
        status = ef__run_check_version(from, ef__st_metadata(file, "run"), r->error);
    if (!status && file)
        status = o->resume ? adopt_state(r, file) : check_start(r, file);
    if (!status) {
        ef__lock(r->actor);
        status = build(r, file);
        ef__unlock(r->actor);
    }
    ef__st_close(file);
    return status;
}

ef_status ef__run_open(ef__run *r)
{
    ef_status status = check_options(r);
    if (!status)
        status = check_saves(r);
    if (!status)
        status = ef__run_open_vocabulary(r);
    if (!status)
        status = ef__run_open_data(r);
    if (!status)
        status = choose_models(r);
    if (!status)
        status = ef__run_open_loader(r);
    if (!status)
        status = begin_state(r);
    return status ? status : open_model(r);
}

void ef__run_close(ef__run *r)
{
    for (int k = 0; k < EF__KINDS; k++)
        ef_trainer_free(r->trainers.of[k]);
    ef_encoder_free(r->encoder);
    ef_decoder_free(r->decoder);
    ef_loader_free(r->loader);
    if (r->data != r->file)
        ef_dataset_free(r->data);
    ef_dataset_free(r->val);
    ef_tokenizer_free(r->tokenizer);
    ef_dataset_free(r->file);
    free(r->fetched);
    free(r->pieces);
    free(r->best_path);
}
