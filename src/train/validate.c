/* How good a run's models are on what is held out, and which epoch's are the best. */
#include "base/size.h"
#include "train/run.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void ef__run_tell(const ef__run *r, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->watch.on_notice)
        r->watch.on_notice(r->watch.user, text);
}

/* Measure the held-out samples, in batches of the size that fits the device in training. */
static ef_status measure(ef__run *r, ef_epoch_report *e)
{
    const ef_eval_options how = {.batch = ef__min(r->options->batch, ef_dataset_size(r->val)),
                                 .micro_batch = r->state.micro_batch};
    ef_eval_report encoder;
    ef_decoder_report decoder;
    ef_status status = EF_OK;
    if (r->encoder && !(status = ef_evaluate(r->encoder, r->val, &how, &encoder, r->error))) {
        e->val_mse = encoder.mse;
        e->val_cos = encoder.cos;
    }
    if (!status && r->decoder &&
        !(status = ef_evaluate_decoder(r->decoder, r->val, &how, &decoder, r->error))) {
        e->val_ce = decoder.cross_entropy;
        e->val_accuracy = decoder.accuracy;
    }
    e->has_val = !status;
    return status;
}

/* Is it the best epoch so far? */
static void judge(ef__run *r, ef_epoch_report *e)
{
    ef__run_state *s = &r->state;
    const bool decoder = e->mode == EF_MODE_DECODER;
    double value = decoder ? e->val_ce : e->val_cos;
    if (!isfinite(value))
        ef__run_tell(r, "epoch %llu: the held-out %s is not finite: the model is of no use",
                     (unsigned long long)e->epoch, decoder ? "cross-entropy" : "cosine");
    else
        e->best = !s->has_best || (decoder ? value < s->best : value > s->best);
    s->stale = e->best ? 0 : s->stale + 1;
    if (e->best) {
        s->has_best = true;
        s->best = value;
    }
}

ef_status ef__run_validate(ef__run *r, ef_epoch_report *report)
{
    ef_status status = measure(r, report);
    if (!status)
        judge(r, report);
    return status;
}
