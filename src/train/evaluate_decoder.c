/* Evaluation of a decoder: the device sums the losses of a batch, the host those of batches. */
#include "base/clock.h"
#include "train/evaluate.h"
#include "train/trainer.h"
#include <math.h>

typedef struct run {
    ef__evaluation of;
    ef_decoder *decoder;
    double loss, hits; /* sums over tokens */
    uint64_t tokens;
} run;

/* Device tensors of a part of a batch. */
typedef struct part {
    ef_tensor *ids, *z, *x;
    ef__counted counted;
} part;

static void clear(part *p)
{
    ef_tensor_free(p->ids);
    ef_tensor_free(p->z);
    ef_tensor_free(p->x);
    ef__counted_clear(&p->counted);
}

static ef_status run_part(const run *r, const ef_batch *b, const ef__loss *loss)
{
    part p = {0};
    ef_status status = ef__batch_upload(r->of.actor, b, &p.ids, &p.z);
    if (!status)
        status = ef__counted_new(r->of.actor, b, &p.counted);
    if (!status)
        status = ef__decoder_forward(r->decoder, p.ids, p.counted.mask, p.z, NULL, &p.x);
    if (!status)
        status = ef__decoder_loss(r->decoder, p.x, &p.counted, loss, NULL);
    clear(&p);
    return status;
}

/* Enqueues a batch; the readback is of its means. */
static ef_status enqueue(const run *r, const ef_batch *batch, size_t count, ef_readback **readback)
{
    ef_actor *a = r->of.actor;
    const size_t parts = ef__evaluation_parts(&r->of, batch->B);
    ef_tensor *metrics = NULL;
    ef_status status = ef_tensor_new(a, EF_F32, 1, (size_t[]){EF_METRICS}, "metrics", &metrics);
    if (!status)
        status = ef_tensor_fill(metrics, 0);
    const ef__loss loss = {.weight = (float)(1 / (double)count), .metrics = metrics};
    for (size_t i = 0; i < parts && !status; i++) {
        const ef_batch b = ef__evaluation_part(&r->of, batch, i);
        status = run_part(r, &b, &loss);
    }
    if (!status)
        status = ef_readback_start(a, metrics, EF_DEFER_UNTIL_SYNC, "metrics", readback);
    ef_tensor_free(metrics);
    return status;
}

/* A batch with tokens that count. */
static ef_status run_batch(run *r, const ef_batch *batch, size_t count)
{
    ef_actor *a = r->of.actor;
    ef_readback *readback = NULL;
    const void *metrics;
    ef__lock(a);
    ef_status status = ef_batch_begin(a);
    if (status) {
        ef__unlock(a);
        return status;
    }
    status = enqueue(r, batch, count, &readback);
    ef__unlock(a);
    /* Without the lock: the wait lets other threads in. */
    ef_status synced = ef_batch_sync(a, "evaluation");
    status = status ? status : synced;
    if (!status)
        status = ef_readback_value(readback, &metrics, NULL);
    if (!status) {
        r->loss += (double)count * ((const float *)metrics)[EF_METRIC_CE];
        r->hits += (double)count * ((const float *)metrics)[EF_METRIC_ACCURACY];
        r->tokens += count;
    }
    ef_readback_free(readback);
    return status;
}

static ef_status evaluate_all(run *r)
{
    ef__evaluation *v = &r->of;
    for (;;) {
        ef_batch batch;
        ef_status status = ef__evaluation_next(v, &batch);
        if (!status && batch.B == 0)
            return EF_OK;
        const size_t count = status ? 0 : ef__count_targets(&batch);
        if (count)
            status = ef__actor_says(v->actor, run_batch(r, &batch, count), v->error);
        if (!status)
            status = ef__evaluation_tell(v, batch.B);
        if (status)
            return status;
    }
}

static void report_of(const run *r, ef_decoder_report *report)
{
    const double n = (double)r->tokens, seconds = ef__now() - r->of.started;
    *report = (ef_decoder_report){.cross_entropy = r->loss / n,
                                  .perplexity = exp(r->loss / n),
                                  .accuracy = r->hits / n,
                                  .tokens = r->tokens,
                                  .samples = r->of.samples,
                                  .length = r->of.options.length,
                                  .seconds = seconds,
                                  .tokens_per_s = n / seconds};
}

ef_status ef_evaluate_decoder(ef_decoder *decoder, ef_dataset *dataset,
                              const ef_eval_options *options, ef_decoder_report *report,
                              ef_error *error)
{
    run r = {.of = {.actor = decoder->model.actor, .dataset = dataset, .error = error},
             .decoder = decoder};
    ef_status status = ef__evaluation_begin(&r.of, ef_decoder_get_config(decoder), options);
    if (!status)
        status = evaluate_all(&r);
    if (!status)
        report_of(&r, report);
    ef__evaluation_end(&r.of);
    return status;
}
