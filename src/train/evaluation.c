#include "base/clock.h"
#include "base/size.h"
#include "model/encoder.h"
#include "train/evaluate.h"
#include "train/trainer.h"
#include <stdlib.h>

enum { LONGEST_P95 = 512 };

/* ---- the length that most samples have ---- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static ef_status read_lengths(const ef_dataset *dataset, size_t samples, unsigned char *room,
                              uint32_t *length, ef_error *error)
{
    ef_status status = EF_OK;
    ef__sample s;
    for (size_t n = 0; n < samples; n++) {
        if ((status = ef__dataset_read(dataset, n, room, &s, error)))
            break;
        while (s.length > 1 && !s.mask[s.length - 1])
            s.length--;
        length[n] = (uint32_t)s.length;
    }
    return status;
}

ef_status ef__length_p95(const ef_dataset *dataset, size_t samples, size_t *length, ef_error *error)
{
    unsigned char *room = malloc(ef__dataset_room(dataset));
    uint32_t *lengths = malloc(samples * sizeof *lengths);
    ef_status status = room && lengths ? read_lengths(dataset, samples, room, lengths, error)
                                       : ef__dataset_no_memory(dataset, error);
    if (!status) {
        qsort(lengths, samples, sizeof *lengths, by_number);
        *length = lengths[ef__ceil_div(95 * samples, 100) - 1];
    }
    free(room);
    free(lengths);
    return status;
}

size_t ef__eval_cap(const ef_eval_options *options)
{
    return options->length_cap ? ef__min(options->length_cap, LONGEST_P95) : LONGEST_P95;
}

static ef_status settle_length(ef__evaluation *v, size_t model_length)
{
    ef_eval_options *o = &v->options;
    ef_status status = EF_OK;
    if (o->length == EF_LENGTH_P95) {
        status = ef__length_p95(v->dataset, v->samples, &o->length, v->error);
        o->length = ef__min(o->length, ef__eval_cap(o));
    } else if (!o->length) {
        o->length = model_length;
    }
    return status;
}

/* ---- the pass ---- */

static size_t samples_of(size_t count, size_t batch, size_t batches)
{
    size_t most;
    return batches && ef__mul(batch, batches, &most) ? ef__min(most, count) : count;
}

ef_status ef__evaluation_begin(ef__evaluation *v, const ef_model_config *model,
                               const ef_eval_options *options)
{
    ef_eval_options *o = &v->options;
    v->started = ef__now();
    if (ef_dataset_width(v->dataset) != model->vector)
        return ef__error_set(v->error, EF_EFORMAT, 0, NULL,
                             "%s: its targets have %zu values, the model's vectors %zu",
                             ef_dataset_path(v->dataset), ef_dataset_width(v->dataset),
                             model->vector);
    if (options)
        *o = *options;
    o->batch = o->batch ? o->batch : EF__EVAL_BATCH;
    o->micro_batch = o->micro_batch ? o->micro_batch : o->batch;
    v->samples = samples_of(ef_dataset_size(v->dataset), o->batch, o->max_batches);
    v->batches = ef__ceil_div(v->samples, o->batch);
    v->all = v->samples;
    ef_status status = ef__dataset_need_ids(v->dataset, v->error);
    if (!status)
        status = settle_length(v, model->length);
    ef_loader_options how = {.batch = o->batch, .length = o->length, .vocab = model->vocab};
    return status ? status : ef_loader_new(v->dataset, &how, &v->loader, v->error);
}

void ef__evaluation_end(ef__evaluation *v)
{
    ef_loader_free(v->loader);
}

ef_status ef__evaluation_next(ef__evaluation *v, ef_batch *batch)
{
    *batch = (ef_batch){0};
    if (!v->batches)
        return EF_OK;
    v->batches--;
    return ef_loader_next(v->loader, batch, v->error);
}

size_t ef__evaluation_parts(const ef__evaluation *v, size_t B)
{
    return ef__ceil_div(B, v->options.micro_batch);
}

ef_batch ef__evaluation_part(const ef__evaluation *v, const ef_batch *batch, size_t index)
{
    return ef__batch_part(batch, index * v->options.micro_batch, v->options.micro_batch);
}

ef_status ef__evaluation_tell(ef__evaluation *v, size_t done)
{
    const ef_eval_options *o = &v->options;
    v->done += done;
    if (!o->on_progress || o->on_progress(o->user, v->done, v->all))
        return EF_OK;
    return ef__error_set(v->error, EF_ECANCELLED, 0, NULL, "%s: evaluation cancelled",
                         ef_dataset_path(v->dataset));
}

/* ---- what the device computes ---- */

ef_status ef__encode(ef_encoder *encoder, const ef_batch *batch, ef_readback **vectors)
{
    ef_actor *a = encoder->model.actor;
    const size_t shape[2] = {batch->B, batch->L}, out[2] = {batch->B, batch->E};
    ef_tensor *ids = NULL, *mask = NULL, *y = NULL;
    ef_status status = ef__upload(a, EF_I32, 2, shape, "ids", batch->ids, &ids);
    if (!status)
        status = ef__upload(a, EF_U8, 2, shape, "mask", batch->mask, &mask);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, out, "vectors", &y);
    if (!status)
        status = ef_encoder_encode(encoder, ids, mask, y);
    if (!status)
        status = ef_readback_start(a, y, EF_DEFER_UNTIL_SYNC, "vectors", vectors);
    ef_tensor_free(ids);
    ef_tensor_free(mask);
    ef_tensor_free(y);
    return status;
}

double ef__dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}
