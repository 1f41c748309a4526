#include "train/trainer.h"
#include "base/error.h"
#include "base/size.h"
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
    if (o->loss_scale && !(o->loss_scale >= 1 && o->loss_scale <= EF__SCALE_MOST))
        return ef__fail(a, EF_EARG, 0, "trainer",
                        "trainer: loss_scale is %g, must be 0 or from 1 to %d",
                        (double)o->loss_scale, EF__SCALE_MOST);
    if (!isfinite(o->clip))
        return ef__fail(a, EF_EARG, 0, "trainer", "trainer: clip is %g, must be finite", o->clip);
    return EF_OK;
}

/* The model's run of chunks. */
typedef struct run {
    size_t first, count; /* elements of the arena */
} run;

static run run_of(const ef__model *model)
{
    const ef__params *p = model->params;
    const size_t end = model->first + model->segments, first = p->segment[model->first].offset;
    return (run){first, (end < p->segments ? p->segment[end].offset : p->count) - first};
}

/* The last block's group is that of its model: of a pair's, the segments say the encoder's. */
static int flags_of(const ef__model *model, const ef__segment *s, int group)
{
    const int own = s->part == EF__PART_SHARED ? (int)model->config.blocks : s->group;
    return (s->decay ? EF__DECAY : 0) | (own >= group ? EF__TRAINABLE : 0) |
           s->part << EF__PART_SHIFT;
}

/* Groups from group on are trained, the rest frozen. */
static ef_status new_table(ef_trainer *t, run r, int group)
{
    const ef__params *p = t->model->params;
    ef_actor *a = t->model->actor;
    const size_t chunks = r.count / EF__CHUNK;
    int32_t *flags = malloc(chunks * sizeof *flags);
    if (!flags)
        return ef__fail(a, EF_ENOMEM, 0, "trainer", "trainer: no host memory for %zu flags",
                        chunks);
    size_t next = t->model->first;
    for (size_t c = 0; c < chunks; c++) {
        const size_t at = r.first + c * EF__CHUNK;
        if (next + 1 < p->segments && at >= p->segment[next + 1].offset)
            next++;
        flags[c] = flags_of(t->model, &p->segment[next], group);
    }
    ef_status status = ef__upload(a, EF_I32, 1, &chunks, "parameter flags", flags, &t->table);
    free(flags);
    return status;
}

static ef_status new_views(ef_trainer *t, run r)
{
    const ef__params *p = t->model->params;
    ef_tensor *of[] = {p->value, p->grad, p->m, p->v};
    ef_tensor **view[] = {&t->value, &t->grad, &t->m, &t->v};
    ef_status status = EF_OK;
    for (int i = 0; i < 4 && !status; i++)
        status = ef_tensor_view(of[i], r.first, 1, &r.count, ef_tensor_label(of[i]), view[i]);
    return status;
}

/* The optimiser's state is that of no step. */
static ef_status clear_state(ef_trainer *t)
{
    ef_tensor *fresh[] = {t->grad, t->m, t->v, t->counts, t->model->params->updates};
    ef_status status = EF_OK;
    for (int i = 0; i < 5 && !status; i++)
        status = ef_tensor_fill(fresh[i], 0);
    return status || !t->scale ? status : ef_tensor_fill(t->scale, t->options.loss_scale);
}

static ef_status build(ef_trainer *t)
{
    ef_actor *a = t->model->actor;
    const run r = run_of(t->model);
    ef_status status = check_options(a, &t->options);
    if (!status && !t->model->params->grad)
        status = ef__fail(a, EF_ESTATE, 0, "trainer",
                          "trainer: the model has values only, it was not made to be trained");
    if (!status)
        status = new_views(t, r);
    if (!status)
        status = new_table(t, r, ef__scope_group(&t->model->config, t->options.scope));
    if (!status)
        status = ef_tensor_new(a, EF_F32, 1, (size_t[]){EF_METRICS}, "metrics", &t->metrics);
    if (!status)
        status = ef_tensor_new(a, EF_I32, 1, (size_t[]){EF__COUNTS}, "counts", &t->counts);
    if (!status && t->options.loss_scale > 0)
        status = ef_tensor_new(a, EF_F32, 1, (size_t[]){1}, "loss scale", &t->scale);
    return status ? status : clear_state(t);
}

static ef_status new_trainer(const ef__model *model, ef_encoder *encoder, ef_decoder *decoder,
                             const ef_trainer_options *options, ef_trainer **trainer)
{
    ef_actor *a = model->actor;
    ef_trainer *t = malloc(sizeof *t);
    ef__lock(a);
    ef_status status = t ? EF_OK : ef__fail(a, EF_ENOMEM, 0, "trainer", "trainer: no host memory");
    if (!status) {
        *t = (ef_trainer){
            .model = model, .encoder = encoder, .decoder = decoder, .options = *options};
        status = build(t);
    }
    if (status)
        ef_trainer_free(t);
    else
        *trainer = t;
    ef__unlock(a);
    return status;
}

ef_status ef_trainer_new(ef_encoder *encoder, const ef_trainer_options *options,
                         ef_trainer **trainer)
{
    return new_trainer(&encoder->model, encoder, NULL, options, trainer);
}

ef_status ef_trainer_new_decoder(ef_decoder *decoder, const ef_trainer_options *options,
                                 ef_trainer **trainer)
{
    return new_trainer(&decoder->model, NULL, decoder, options, trainer);
}

void ef_trainer_free(ef_trainer *trainer)
{
    if (!trainer)
        return;
    ef_tensor *own[] = {trainer->value, trainer->grad,    trainer->m,      trainer->v,
                        trainer->table, trainer->metrics, trainer->counts, trainer->scale};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        ef_tensor_free(own[i]);
    free(trainer);
}

uint64_t ef_trainer_attempted(const ef_trainer *trainer)
{
    return trainer->attempted;
}

ef_batch ef__batch_part(const ef_batch *batch, size_t from, size_t most)
{
    ef_batch part = *batch;
    part.B = ef__min(most, batch->B - from);
    part.ids += from * batch->L;
    part.mask += from * batch->L;
    part.target += from * batch->E;
    return part;
}

ef_status ef__batch_upload(ef_actor *a, const ef_batch *b, ef_tensor **ids, ef_tensor **vector)
{
    const size_t words[] = {b->B, b->L}, vectors[] = {b->B, b->E};
    ef_status status = ef__upload(a, EF_I32, 2, words, "ids", b->ids, ids);
    return status ? status : ef__upload(a, EF_F32, 2, vectors, "vector", b->target, vector);
}

/* What either model needs of a micro-batch. */
typedef struct micro {
    ef_tensor *ids, *vector;
} micro;

/* weight: the micro-batch's share of the step's samples. */
static ef_status run_encoder(ef_trainer *t, const ef_batch *batch, const micro *m, float weight)
{
    ef_encoder *e = t->encoder;
    const ef_trainer_options *o = &t->options;
    const size_t *dims = ef_tensor_dims(m->vector);
    ef__pass pass = {.group = ef__scope_group(&t->model->config, o->scope)};
    ef_tensor *mask = NULL, *y = NULL, *dy = NULL;
    ef_status status =
        ef__upload(t->model->actor, EF_U8, 2, ef_tensor_dims(m->ids), "mask", batch->mask, &mask);
    if (!status)
        status = ef_tensor_new(t->model->actor, EF_F32, 2, dims, "y", &y);
    if (!status)
        status = ef_tensor_new(t->model->actor, EF_F32, 2, dims, "dy", &dy);
    if (!status)
        status = ef__encoder_forward(e, m->ids, mask, y, &pass);
    if (!status)
        status = ef_kd_loss(t->model->actor, y, m->vector, o->alpha, o->beta, weight, t->scale,
                            t->metrics, dy);
    if (!status)
        status = ef__encoder_backward(e, m->ids, mask, &pass, y, dy);
    ef__pass_clear(&pass);
    ef_tensor_free(mask);
    ef_tensor_free(y);
    ef_tensor_free(dy);
    return status;
}

/* weight: one over the step's counted tokens. */
static ef_status run_decoder(ef_trainer *t, const ef_batch *batch, const micro *m, float weight)
{
    ef_decoder *d = t->decoder;
    const ef__loss loss = {weight, t->scale, t->metrics, true};
    const int group = ef__scope_group(&t->model->config, t->options.scope);
    const bool below = group <= (int)t->model->config.blocks;
    ef__tcn_trace trace = {.first = ef__tcn_first_kept(group)};
    ef__counted counted = {0};
    ef_tensor *x = NULL, *dx = NULL;
    ef_status status = ef__counted_new(t->model->actor, batch, &counted);
    if (!status)
        status = ef__decoder_forward(d, m->ids, counted.mask, m->vector, &trace, &x);
    if (!status && below)
        status = ef_tensor_new(t->model->actor, EF_F32, 3, ef_tensor_dims(x), "dx", &dx);
    if (!status)
        status = ef__decoder_loss(d, x, &counted, &loss, dx);
    if (!status && below)
        status = ef__decoder_backward(d, group, m->ids, counted.mask, m->vector, &trace, dx);
    ef__tcn_trace_clear(&trace);
    ef__counted_clear(&counted);
    ef_tensor_free(x);
    ef_tensor_free(dx);
    return status;
}

static ef_status run_micro(ef_trainer *t, const ef_batch *batch, double weight)
{
    micro m = {0};
    ef_status status = ef__batch_upload(t->model->actor, batch, &m.ids, &m.vector);
    if (!status && t->encoder)
        status = run_encoder(t, batch, &m, (float)(weight * (double)batch->B));
    if (!status && t->decoder)
        status = run_decoder(t, batch, &m, (float)weight);
    ef_tensor_free(m.ids);
    ef_tensor_free(m.vector);
    return status;
}

static ef_status check_batches(const ef_trainer *t, const ef_batch *batches, size_t count)
{
    static const char op[] = "trainer.step";
    for (size_t i = 0; i < count; i++) {
        const ef_batch *b = &batches[i];
        if (b->B == 0 || b->L == 0)
            return ef__fail(t->model->actor, EF_ESHAPE, 0, op,
                            "%s: micro-batch %zu is empty: B %zu, L %zu", op, i, b->B, b->L);
        if (!b->ids || !b->mask || !b->target)
            return ef__fail(t->model->actor, EF_EARG, 0, op, "%s: %s of micro-batch %zu is NULL",
                            op,
                            !b->ids    ? "ids"
                            : !b->mask ? "mask"
                                       : "target",
                            i);
        if (b->E != t->model->config.vector)
            return ef__fail(t->model->actor, EF_ESHAPE, 0, op,
                            "%s: targets have %zu values, the model's vectors %zu", op, b->E,
                            t->model->config.vector);
    }
    return count ? EF_OK : ef__fail(t->model->actor, EF_EARG, 0, op, "%s: no micro-batch", op);
}

/* What the step's mean is over: samples, or counted tokens. */
static double total(const ef_trainer *t, const ef_batch *batches, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += t->encoder ? batches[i].B : ef__count_targets(&batches[i]);
    return (double)sum;
}

ef_status ef__trainer_gradients(ef_trainer *t, const ef_batch *batches, size_t count)
{
    ef_status status = check_batches(t, batches, count);
    if (status)
        return status;
    const double sum = total(t, batches, count);
    if (t->model->params->dirty)
        status = ef_tensor_fill(t->model->params->grad, 0);
    if (!status)
        status = ef_tensor_fill(t->metrics, 0);
    for (size_t i = 0; i < count && !status; i++) {
        t->model->params->dirty = true;
        status = run_micro(t, &batches[i], sum > 0 ? 1 / sum : 0);
    }
    return status;
}

static ef_status update(ef_trainer *t)
{
    const ef_trainer_options *o = &t->options;
    const ef__model *model = t->model;
    const bool shared = model->shares && o->scope != EF_TRAIN_PROJ;
    const ef__optim_state state = {t->table,   model->params->updates,       t->counts, t->scale,
                                   model->own, shared ? EF__PART_SHARED : -1};
    ef__optim_rule rule = {.lr = (float)ef_lr_at(o, t->attempted),
                           .beta1 = o->beta1,
                           .beta2 = o->beta2,
                           .epsilon = o->epsilon,
                           .weight_decay = o->weight_decay,
                           .clip = o->clip,
                           .l2 = o->optim == EF_OPTIM_ADAM_L2};
    ef_status status = ef__optim_norm(model->actor, t->grad, &state, rule.lr, t->metrics);
    if (!status)
        status = ef__optim_update(model->actor, t->value, t->grad, t->m, t->v, &state, t->metrics,
                                  &rule);
    if (!status)
        model->params->dirty = false; /* it leaves them zero, whether it skipped or not */
    return status;
}

ef_status ef_trainer_step(ef_trainer *trainer, const ef_batch *batches, size_t count,
                          ef_readback **metrics)
{
    ef_actor *a = trainer->model->actor;
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
