/* What a run reads: the samples to train on, those that are held out, and their batches. */
#include "base/size.h"
#include "data/dataset.h"
#include "train/run.h"
#include <stdlib.h>

/* Hold out a share of the file's samples, drawn by the seed: at least one. */
static ef_status hold_out(ef__run *r)
{
    const ef_train_options *o = r->options;
    size_t N = ef_dataset_size(r->file), count = (size_t)(o->val_fraction * (double)N + 0.5);
    count = count ? count : 1;
    if (count >= N)
        return ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                             "%s: of its %zu samples %zu are to be held out: none is left", o->data,
                             N, count);
    bool *drawn = malloc(N * sizeof *drawn);
    if (!drawn)
        return ef__error_set(r->error, EF_ENOMEM, 0, NULL, "train: out of memory");
    ef_dataset_draw(N, count, o->seed, drawn);
    ef_status status = ef__dataset_part(r->file, drawn, true, &r->val, r->error);
    if (!status)
        status = ef__dataset_part(r->file, drawn, false, &r->data, r->error);
    free(drawn);
    return status;
}

/* How a text becomes ids. */
static ef_dataset_options texts_of(const ef__run *r)
{
    const ef_train_options *o = r->options;
    size_t length = o->mode == EF_MODE_DECODER ? o->decoder.length : o->model.length;
    return (ef_dataset_options){.tokenizer = o->need_ids ? NULL : r->tokenizer,
                                .most_ids = length > 2 ? length : 2};
}

static ef_status open_val(ef__run *r)
{
    const ef_train_options *o = r->options;
    const ef_dataset_options texts = texts_of(r);
    ef_status status = ef_dataset_open_with(o->val, &texts, &r->val, r->error);
    if (!status)
        status = ef__dataset_need_ids(r->val, r->error);
    if (!status && ef_dataset_width(r->val) != ef_dataset_width(r->file))
        status = ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                               "%s: its targets have %zu values, those of %s have %zu", o->val,
                               ef_dataset_width(r->val), o->data, ef_dataset_width(r->file));
    return status;
}

ef_status ef__run_open_data(ef__run *r)
{
    const ef_train_options *o = r->options;
    const ef_dataset_options texts = texts_of(r);
    ef_status status = ef_dataset_open_with(o->data, &texts, &r->file, r->error);
    if (!status)
        status = ef__dataset_need_ids(r->file, r->error);
    if (!status && o->val)
        status = open_val(r);
    if (!status && o->val_fraction > 0)
        return hold_out(r);
    r->data = r->file;
    return status;
}

static void tell_cut(ef__run *r)
{
    size_t cut = 0, N = ef_dataset_size(r->data), length = ef__run_model(r)->length;
    for (size_t n = 0; n < N; n++)
        cut += ef__dataset_length(r->data, n) > length;
    if (cut)
        ef__run_tell(r, "%s: %zu of %zu samples are longer than %zu ids and are cut",
                     ef_dataset_path(r->data), cut, N, length);
}

/* A step's batches, and what they are cut into. */
static ef_status make_room(ef__run *r)
{
    const ef_train_options *o = r->options;
    size_t batch = ef__min(o->batch, ef_dataset_size(r->data));
    size_t each = ef__ceil_div(batch, o->micro_batch ? ef__min(o->micro_batch, batch) : batch);
    r->fetched = calloc(r->accum, sizeof *r->fetched);
    r->pieces = calloc(r->accum * each, sizeof *r->pieces);
    return r->fetched && r->pieces
               ? EF_OK
               : ef__error_set(r->error, EF_ENOMEM, 0, NULL, "train: out of memory");
}

static ef_status open_loader(ef__run *r)
{
    const ef_train_options *o = r->options;
    const ef_model_config *model = ef__run_model(r);
    size_t all = ef__ceil_div(ef_dataset_size(r->data), o->batch);
    r->batches = o->max_batches ? ef__min(all, o->max_batches) : all;
    r->accum = ef__min(o->accum, r->batches);
    ef_loader_options options = {.batch = o->batch,
                                 .length = model->length,
                                 .shuffle = true,
                                 .bucket = o->bucket,
                                 .seed = o->seed,
                                 .vocab = model->vocab,
                                 .keep = r->accum};
    ef_status status = ef_loader_new(r->data, &options, &r->loader, r->error);
    return status ? status : make_room(r);
}

/* Are the held-out ids in the vocabulary? Better asked now than at the first epoch's end. */
static ef_status check_val(ef__run *r)
{
    ef_loader *loader = NULL;
    const ef_model_config *model = ef__run_model(r);
    ef_loader_options options = {.batch = 1, .length = model->length, .vocab = model->vocab};
    ef_status status = r->val ? ef_loader_new(r->val, &options, &loader, r->error) : EF_OK;
    ef_loader_free(loader);
    return status;
}

ef_status ef__run_open_loader(ef__run *r)
{
    ef_status status = open_loader(r);
    if (!status)
        status = check_val(r);
    if (!status)
        tell_cut(r);
    return status;
}
