#include "train/trainer.h"
#include "base/error.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

ef_status ef__actor_says(ef_actor *a, ef_status status, ef_error *error)
{
    ef_error kept;
    if (status && ef_actor_error(a, &kept) == status) {
        if (error)
            *error = kept;
        return status;
    }
    return status ? ef__error_set(error, status, 0, NULL, "%s", ef_actor_message(a)) : EF_OK;
}

static ef_status check_options(ef_actor *a, const ef_trainer_options *o)
{
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"alpha", o->alpha, 0, INFINITY},
                  {"beta", o->beta, 0, INFINITY},
                  {"lr", o->lr, 0, INFINITY},
                  {"min_lr", o->min_lr, -FLT_MAX, INFINITY},
                  {"weight_decay", o->weight_decay, 0, INFINITY},
                  {"beta1", o->beta1, 0, 1},
                  {"beta2", o->beta2, 0, 1},
                  {"epsilon", o->epsilon, FLT_MIN, INFINITY}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value < ranges[i].high))
            return ef__fail(a, EF_EARG, 0, "trainer",
                            "trainer: %s is %g, must be from %g to below %g", ranges[i].name,
                            ranges[i].value, ranges[i].low, ranges[i].high);
    if (!isfinite(o->clip))
        return ef__fail(a, EF_EARG, 0, "trainer", "trainer: clip is %g, must be finite", o->clip);
    return EF_OK;
}

static ef_status build(ef_trainer *t)
{
    ef_encoder *e = t->encoder;
    ef_status status = check_options(e->actor, &t->options);
    if (!status && !e->params.grad)
        status = ef__fail(e->actor, EF_ESTATE, 0, "trainer",
                          "trainer: the encoder has values only, it was not made to be trained");
    if (!status)
        status = ef_tensor_new(e->actor, EF_F32, 1, (size_t[]){EF_METRICS}, "metrics", &t->metrics);
    if (!status)
        status = ef_tensor_new(e->actor, EF_I32, 1, (size_t[]){EF__COUNTS}, "counts", &t->counts);
    if (!status)
        status = ef_tensor_fill(t->counts, 0);
    ef_tensor *fresh[] = {e->params.grad, e->params.m, e->params.v};
    for (int i = 0; i < 3 && !status; i++)
        status = ef_tensor_fill(fresh[i], 0);
    if (!status)
        status = ef__params_train_from(&e->params, ef__encoder_group(e, t->options.scope));
    return status;
}

ef_status ef_trainer_new(ef_encoder *encoder, const ef_trainer_options *options,
                         ef_trainer **trainer)
{
    ef_actor *a = encoder->actor;
    ef_trainer *t = calloc(1, sizeof *t);
    ef__lock(a);
    ef_status status = t ? EF_OK : ef__fail(a, EF_ENOMEM, 0, "trainer", "trainer: no host memory");
    if (!status) {
        t->encoder = encoder;
        t->options = *options;
        status = build(t);
    }
    if (status)
        ef_trainer_free(t);
    else
        *trainer = t;
    ef__unlock(a);
    return status;
}

void ef_trainer_free(ef_trainer *trainer)
{
    if (!trainer)
        return;
    ef_tensor_free(trainer->metrics);
    ef_tensor_free(trainer->counts);
    free(trainer);
}

uint64_t ef_trainer_attempted(const ef_trainer *trainer)
{
    return trainer->attempted;
}

/* A micro-batch on the device. */
typedef struct micro {
    ef_tensor *ids, *mask, *target, *y, *dy;
} micro;

static ef_status upload(ef_actor *a, ef_dtype dtype, size_t rows, size_t columns, const char *label,
                        const void *data, ef_tensor **tensor)
{
    ef_status status = ef_tensor_new(a, dtype, 2, (size_t[]){rows, columns}, label, tensor);
    return status || !data ? status : ef_tensor_write(*tensor, data);
}

static ef_status micro_new(ef_actor *a, const ef_batch *b, micro *m)
{
    ef_status status = upload(a, EF_I32, b->B, b->L, "ids", b->ids, &m->ids);
    if (!status)
        status = upload(a, EF_U8, b->B, b->L, "mask", b->mask, &m->mask);
    if (!status)
        status = upload(a, EF_F32, b->B, b->E, "target", b->target, &m->target);
    if (!status)
        status = upload(a, EF_F32, b->B, b->E, "y", NULL, &m->y);
    if (!status)
        status = upload(a, EF_F32, b->B, b->E, "dy", NULL, &m->dy);
    return status;
}

static void micro_clear(micro *m)
{
    ef_tensor_free(m->ids);
    ef_tensor_free(m->mask);
    ef_tensor_free(m->target);
    ef_tensor_free(m->y);
    ef_tensor_free(m->dy);
}

/* weight: the micro-batch's share of the step's samples. */
static ef_status run_micro(ef_trainer *t, const ef_batch *batch, float weight)
{
    ef_encoder *e = t->encoder;
    const ef_trainer_options *o = &t->options;
    micro m = {0};
    ef__pass pass = {.group = ef__encoder_group(e, o->scope)};
    ef_status status = micro_new(e->actor, batch, &m);
    if (!status)
        status = ef__encoder_forward(e, m.ids, m.mask, m.y, &pass);
    if (!status)
        status = ef_kd_loss(e->actor, m.y, m.target, o->alpha, o->beta, weight, t->metrics, m.dy);
    if (!status)
        status = ef__encoder_backward(e, m.ids, m.mask, &pass, m.y, m.dy);
    ef__pass_clear(&pass);
    micro_clear(&m);
    return status;
}

static ef_status count_samples(ef_trainer *t, const ef_batch *batches, size_t count,
                               size_t *samples)
{
    ef_actor *a = t->encoder->actor;
    size_t E = t->encoder->config.out;
    *samples = 0;
    for (size_t i = 0; i < count; i++) {
        const ef_batch *b = &batches[i];
        if (b->B == 0 || b->L == 0)
            return ef__fail(a, EF_ESHAPE, 0, "trainer.step",
                            "trainer.step: micro-batch %zu is empty: B %zu, L %zu", i, b->B, b->L);
        if (!b->ids || !b->mask || !b->target)
            return ef__fail(a, EF_EARG, 0, "trainer.step",
                            "trainer.step: %s of micro-batch %zu is NULL",
                            !b->ids    ? "ids"
                            : !b->mask ? "mask"
                                       : "target",
                            i);
        if (b->E != E)
            return ef__fail(a, EF_ESHAPE, 0, "trainer.step",
                            "trainer.step: targets have %zu values, the encoder gives %zu", b->E,
                            E);
        *samples += b->B;
    }
    return *samples ? EF_OK
                    : ef__fail(a, EF_EARG, 0, "trainer.step", "trainer.step: no micro-batch");
}

ef_status ef__trainer_gradients(ef_trainer *t, const ef_batch *batches, size_t count)
{
    size_t samples;
    ef_status status = count_samples(t, batches, count, &samples);
    if (!status && t->dirty)
        status = ef_tensor_fill(t->encoder->params.grad, 0);
    if (!status)
        status = ef_tensor_fill(t->metrics, 0);
    for (size_t i = 0; i < count && !status; i++) {
        t->dirty = true;
        status = run_micro(t, &batches[i], (float)((double)batches[i].B / (double)samples));
    }
    return status;
}

static ef_status update(ef_trainer *t)
{
    const ef_trainer_options *o = &t->options;
    ef__params *p = &t->encoder->params;
    ef_actor *a = t->encoder->actor;
    ef__optim_rule rule = {.lr = (float)ef_lr_at(o, t->attempted),
                           .beta1 = o->beta1,
                           .beta2 = o->beta2,
                           .epsilon = o->epsilon,
                           .weight_decay = o->weight_decay,
                           .clip = o->clip,
                           .l2 = o->optim == EF_OPTIM_ADAM_L2};
    ef_status status = ef__optim_norm(a, p->grad, p->table, rule.lr, t->metrics, t->counts);
    if (!status)
        status = ef__optim_update(a, p->value, p->grad, p->m, p->v, p->table, t->counts, t->metrics,
                                  &rule);
    if (!status)
        t->dirty = false; /* it leaves the gradients zero, whether it skipped or not */
    return status;
}

ef_status ef_trainer_step(ef_trainer *trainer, const ef_batch *batches, size_t count,
                          ef_readback **metrics)
{
    ef_actor *a = trainer->encoder->actor;
    ef_readback *readback = NULL;
    char label[40];
    snprintf(label, sizeof label, "step %llu", (unsigned long long)trainer->attempted + 1);
    ef__lock(a);
    ef_status status = ef_batch_begin(a);
    if (status) {
        ef__unlock(a);
        return status;
    }
    status = ef__trainer_gradients(trainer, batches, count);
    if (!status)
        status = update(trainer);
    if (!status)
        status = ef_readback_start(a, trainer->metrics, EF_DEFER_UNTIL_SYNC, label, &readback);
    if (!status)
        trainer->attempted++;
    ef__unlock(a);
    /* Without the lock: the wait lets other threads in. */
    ef_status synced = ef_batch_sync(a, label);
    status = status ? status : synced;
    if (status)
        ef_readback_free(readback);
    else
        *metrics = readback;
    return status;
}
