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

static ef_status check_options(const ef__run *r)
{
    const ef_train_options *o = r->options;
    const char *wrong = !o->data                ? "no data file"
                        : o->batch == 0         ? "a batch of 0 samples"
                        : o->accum == 0         ? "0 micro-batches in a step"
                        : o->batch > INT32_MAX  ? "a batch of more than 2147483647 samples"
                        : o->accum > INT32_MAX  ? "more than 2147483647 micro-batches in a step"
                        : o->epochs > INT32_MAX ? "more than 2147483647 epochs"
                        : o->resume && o->init_from
                            ? "both a run to resume and a model to start from"
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

static ef_status open_data(ef__run *r)
{
    const ef_train_options *o = r->options;
    const ef_dataset_options texts = {.tokenizer = r->tokenizer,
                                      .most_ids = o->model.length > 2 ? o->model.length : 2};
    ef_status status = ef_dataset_open_with(o->data, &texts, &r->data, r->error);
    if (!status && o->val)
        status = ef_dataset_open_with(o->val, &texts, &r->val, r->error);
    if (!status)
        status = ef__dataset_need_ids(r->data, r->error);
    if (!status && r->val)
        status = ef__dataset_need_ids(r->val, r->error);
    if (!status && r->val && ef_dataset_width(r->val) != ef_dataset_width(r->data))
        status = ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                               "%s: its targets have %zu values, those of %s have %zu", o->val,
                               ef_dataset_width(r->val), o->data, ef_dataset_width(r->data));
    return status;
}

static ef_model_config model_of(const ef__run *r)
{
    ef_model_config c = r->options->model;
    int32_t largest = ef_dataset_max_id(r->data);
    if (r->val && ef_dataset_max_id(r->val) > largest)
        largest = ef_dataset_max_id(r->val);
    if (c.vocab == 0)
        c.vocab = r->tokenizer ? ef_tokenizer_size(r->tokenizer) : (size_t)largest + 1;
    c.vector = ef_dataset_width(r->data);
    return c;
}

static void tell_cut(ef__run *r, size_t length)
{
    size_t cut = 0, N = ef_dataset_size(r->data);
    char text[512];
    for (size_t n = 0; n < N; n++)
        cut += ef__dataset_length(r->data, n) > length;
    snprintf(text, sizeof text, "%s: %zu of %zu samples are longer than %zu ids and are cut",
             ef_dataset_path(r->data), cut, N, length);
    if (cut)
        notice(&r->watch, text);
}

static ef_status open_loader(ef__run *r, const ef_model_config *model)
{
    const ef_train_options *o = r->options;
    r->accum = ef__min(o->accum, ef__ceil_div(ef_dataset_size(r->data), o->batch));
    ef_loader_options options = {.batch = o->batch,
                                 .length = model->length,
                                 .shuffle = true,
                                 .bucket = o->bucket,
                                 .seed = o->seed,
                                 .vocab = model->vocab,
                                 .keep = r->accum};
    return ef_loader_new(r->data, &options, &r->loader, r->error);
}

/* Are the held-out ids in the vocabulary? Better asked now than at the first epoch's end. */
static ef_status check_val(ef__run *r, const ef_model_config *model)
{
    ef_loader *loader = NULL;
    ef_loader_options options = {.batch = 1, .length = model->length, .vocab = model->vocab};
    ef_status status = r->val ? ef_loader_new(r->val, &options, &loader, r->error) : EF_OK;
    ef_loader_free(loader);
    return status;
}

static ef_status begin_state(ef__run *r)
{
    const ef_train_options *o = r->options;
    ef__run_state *s = &r->state;
    uint64_t each = ef__ceil_div(ef_loader_batches(r->loader), r->accum);
    r->steps = o->epochs * each;
    *s = (ef__run_state){.seed = o->seed,
                         .batch = o->batch,
                         .accum = o->accum,
                         .bucket = o->bucket,
                         .trainer = o->trainer,
                         .data_bytes = ef_dataset_bytes(r->data)};
    s->trainer.decay = r->steps > s->trainer.warmup ? r->steps - s->trainer.warmup : 0;
    ef__identity_of(r->actor, &s->identity);
    if (!o->save && !o->resume)
        return EF_OK;
    const char *sha256 = ef_dataset_sha256(r->data);
    if (!sha256)
        return ef__error_set(r->error, EF_EIO, 0, NULL, "%s: cannot be read any more", o->data);
    snprintf(s->data_sha256, sizeof s->data_sha256, "%s", sha256);
    return EF_OK;
}

/* Take over where the checkpoint's run stood, if it may be continued. */
static ef_status adopt_state(ef__run *r, const ef__st_reader *file, const ef_model_config *model)
{
    const char *path = r->options->resume;
    ef__models models;
    ef__run_state saved, *s = &r->state;
    ef_status status = ef__config_parse(path, ef__st_metadata(file, "config"), &models, r->error);
    if (!status)
        status = ef__models_want(path, &models, model->kind, r->error);
    if (!status)
        status = ef__run_parse(path, ef__st_metadata(file, "run"), &saved, r->error);
    if (!status)
        status = ef__resume_check(path, (ef__resume_side){&models.config[EF_ENCODER], &saved},
                                  (ef__resume_side){model, s}, r->options->strict_resume, notice,
                                  &r->watch, r->error);
    if (!status && saved.position > ef_loader_batches(r->loader))
        status = ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                               "%s: it stands at batch %llu of an epoch of %zu", path,
                               (unsigned long long)saved.position, ef_loader_batches(r->loader));
    if (status)
        return status;
    s->step = saved.step;
    s->epoch = saved.epoch;
    s->position = saved.position;
    s->skipped = saved.skipped;
    s->has_best = saved.has_best;
    s->best_cos = saved.best_cos;
    return EF_OK;
}

static ef_status fresh_params(ef__run *r)
{
    ef_status status =
        ef__init_params(r->encoder->model.params, r->options->init, r->options->seed);
    return ef__actor_says(r->actor, status, r->error);
}

/* file: the checkpoint to resume or to start from, or NULL. */
static ef_status build(ef__run *r, const ef__st_reader *file, const ef_model_config *model)
{
    ef_status status = ef__encoder_begin(r->actor, model, false, &r->encoder);
    if (!status)
        status = ef__params_build(r->encoder->model.params, true);
    if (!status)
        status = ef_trainer_new(r->encoder, &r->state.trainer, &r->trainers.of[EF_ENCODER]);
    if (!status)
        status = ef__tcn_check_batch(
            &r->encoder->tcn, ef__scope_group(&r->encoder->model.config, r->state.trainer.scope),
            ef__min(r->options->batch, ef_dataset_size(r->data)),
            ef__loader_full_length(r->loader));
    if (status)
        return ef__actor_says(r->actor, status, r->error);
    status =
        file ? ef__checkpoint_params(file, r->encoder->model.params, r->error) : fresh_params(r);
    if (!status && r->options->resume) {
        status = ef__checkpoint_optim(file, &r->trainers, r->error);
        r->trainers.of[EF_ENCODER]->attempted = r->state.step;
    }
    return status;
}

static ef_status open_model(ef__run *r, const ef_model_config *model)
{
    const ef_train_options *o = r->options;
    ef__st_reader *file = NULL;
    ef_status status = EF_OK;
    if (o->resume || o->init_from)
        status = ef__st_open(o->resume ? o->resume : o->init_from, &file, r->error);
    if (!status && file)
        status = ef__run_check_version(ef__st_path(file), ef__st_metadata(file, "run"), r->error);
    if (!status && o->resume)
        status = adopt_state(r, file, model);
    if (!status) {
        ef__lock(r->actor);
        status = build(r, file, model);
        ef__unlock(r->actor);
    }
    ef__st_close(file);
    return status;
}

ef_status ef__run_open(ef__run *r)
{
    ef_model_config model;
    ef_status status = check_options(r);
    if (!status)
        status = check_saves(r);
    if (!status)
        status = ef__run_open_vocabulary(r);
    if (!status)
        status = open_data(r);
    if (!status) {
        model = model_of(r);
        status = ef__config_check(&model, r->error);
    }
    if (!status)
        status = open_loader(r, &model);
    if (!status)
        status = check_val(r, &model);
    if (!status) {
        tell_cut(r, model.length);
        status = begin_state(r);
    }
    if (!status)
        status = open_model(r, &model);
    return status;
}

void ef__run_close(ef__run *r)
{
    ef_trainer_free(r->trainers.of[EF_ENCODER]);
    ef_encoder_free(r->encoder);
    ef_loader_free(r->loader);
    ef_dataset_free(r->data);
    ef_dataset_free(r->val);
    ef_tokenizer_free(r->tokenizer);
    free(r->best_path);
}
