#include "model/decoder.h"
#include "base/size.h"
#include "model/init.h"
#include <stdlib.h>

/* Of logits at a time; rows are a multiple. GPUs want more work in a product: a part of their
 * memory, if that is more. */
enum { CHUNK_BYTES = 64 << 20, CHUNK_ROWS = 16, GPU_PART = 64 };

/* The block that is shared stands before the decoder's own. */
static void add_shared(ef_decoder *d, const ef_model_config *encoder, bool there)
{
    ef__params *p = d->model.params;
    const size_t last = d->model.config.blocks - 1;
    if (there) {
        ef__tcn_share(&d->tcn, last);
    } else {
        p->prefix = "encoder.";
        p->part = EF__PART_SHARED;
        ef__tcn_add(&d->tcn, last, encoder->blocks - 1);
    }
    d->model.first = d->tcn.at[last];
    p->prefix = "decoder.";
    d->model.own = p->part = EF__PART_LAST;
}

static void add_segments(ef_decoder *d)
{
    const ef_model_config *c = &d->model.config;
    const size_t blocks = c->blocks - d->model.shares;
    const int above = 1 + (int)c->blocks;
    ef__params *p = d->model.params;
    d->embedding = p->segments;
    ef__params_add(p, 0, 2, (size_t[]){c->vocab, c->width}, "embedding.weight");
    d->cond = p->segments;
    ef__params_add(p, 0, 2, (size_t[]){c->width, c->vector}, "cond.weight");
    ef__params_add(p, 0, 1, &c->width, "cond.bias");
    for (size_t i = 0; i < blocks; i++)
        ef__tcn_add(&d->tcn, i, i);
    d->out = p->segments;
    ef__params_add(p, above, 2, (size_t[]){c->vocab, c->width}, "out.weight");
    ef__params_add(p, above, 1, &c->vocab, "out.bias");
    d->model.segments = p->segments - d->model.first;
}

ef_status ef__decoder_begin(ef_actor *a, const ef_model_config *config,
                            const ef_model_config *encoder, ef__params *params,
                            ef_decoder **decoder)
{
    ef_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return ef__fail(a, EF_ENOMEM, 0, "decoder", "decoder: no host memory");
    ef_status status = ef__model_begin(a, config, EF_DECODER, params, &d->model);
    if (status) {
        ef_decoder_free(d);
        return status;
    }
    d->model.shares = encoder != NULL;
    ef__tcn_begin(&d->tcn, &d->model.config, d->model.params);
    if (encoder)
        add_shared(d, encoder, params != NULL);
    add_segments(d);
    *decoder = d;
    return EF_OK;
}

ef_status ef_decoder_new(ef_actor *a, const ef_model_config *config, ef_init init, uint64_t seed,
                         bool trainable, ef_decoder **decoder)
{
    ef_decoder *d = NULL;
    ef__lock(a);
    ef_status status = ef__decoder_begin(a, config, NULL, NULL, &d);
    if (!status)
        status = ef__params_build(d->model.params, trainable);
    if (!status)
        status = ef__init_params(d->model.params, init, seed);
    if (status)
        ef_decoder_free(d);
    else
        *decoder = d;
    ef__unlock(a);
    return status;
}

void ef_decoder_free(ef_decoder *decoder)
{
    if (!decoder)
        return;
    ef__params_free(decoder->model.params);
    free(decoder);
}

const ef_model_config *ef_decoder_get_config(const ef_decoder *decoder)
{
    return &decoder->model.config;
}

size_t ef_decoder_parameters(const ef_decoder *decoder)
{
    return ef__model_parameters(&decoder->model);
}

ef_tensor *ef_decoder_parameter(ef_decoder *decoder, size_t index, const char **name)
{
    return ef__model_parameter(&decoder->model, index, name);
}

static const ef__segment *segment(const ef_decoder *d, size_t index)
{
    return &d->model.params->segment[index];
}

ef_status ef__decoder_condition(const ef_decoder *d, const ef_tensor *z, ef_tensor *added)
{
    const ef__segment *cond = segment(d, d->cond);
    const ef_epilogue bias = {.bias = cond[1].value};
    return ef_linear_forward(d->model.actor, z, cond->value, &bias, added);
}

ef_status ef__decoder_embed(const ef_decoder *d, const ef_tensor *ids, const ef_tensor *added,
                            ef_tensor *x)
{
    return ef_embedding_forward(d->model.actor, ids, segment(d, d->embedding)->value, added, x);
}

ef_status ef__decoder_project(const ef_decoder *d, const ef_tensor *x, ef_tensor *logits)
{
    const ef__segment *out = segment(d, d->out);
    const ef_epilogue bias = {.bias = out[1].value};
    return ef_linear_forward(d->model.actor, x, out->value, &bias, logits);
}

ef_status ef__decoder_forward(ef_decoder *d, const ef_tensor *ids, const ef_tensor *mask,
                              const ef_tensor *z, ef__tcn_trace *trace, ef_tensor **x)
{
    ef_actor *a = d->model.actor;
    const size_t *dims = ef_tensor_dims(ids), D = d->model.config.width;
    ef_tensor *added = NULL;
    ef_status status = ef_tensor_new(a, EF_F32, 3, (size_t[]){dims[0], dims[1], D}, "x", x);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, (size_t[]){dims[0], D}, "cond", &added);
    if (!status)
        status = ef__decoder_condition(d, z, added);
    if (!status)
        status = ef__decoder_embed(d, ids, added, *x);
    if (!status)
        status = ef__tcn_forward(&d->tcn, mask, x, trace);
    ef_tensor_free(added);
    return status;
}

/* ---- positions that count ---- */

static bool counts(const ef_batch *b, size_t n)
{
    return (n + 1) % b->L && b->mask[n + 1];
}

size_t ef__count_targets(const ef_batch *batch)
{
    size_t count = 0;
    for (size_t n = 0; n < batch->B * batch->L; n++)
        count += counts(batch, n);
    return count;
}

/* Host copies of what ef__counted holds. */
typedef struct lists {
    int32_t *rows, *target, *place;
    uint8_t *mask;
} lists;

static void fill_lists(const ef_batch *b, size_t count, lists *l)
{
    size_t at = count;
    bool seen = false; /* does a position that counts see this one? */
    for (size_t n = b->B * b->L; n-- > 0;) {
        const bool last = (n + 1) % b->L == 0, here = counts(b, n);
        seen = here || (seen && !last);
        l->mask[n] = b->mask[n] && seen;
        if (here) {
            l->rows[--at] = (int32_t)n;
            l->target[at] = b->ids[n + 1];
        }
        l->place[n] = (int32_t)(here && b->mask[n] ? at : count); /* tcn.h: masked rows get none */
    }
}

static ef_status upload_lists(ef_actor *a, const ef_batch *b, const lists *l, ef__counted *c)
{
    const size_t dims[2] = {b->B, b->L};
    ef_status status = ef__upload(a, EF_I32, 1, &c->count, "counted rows", l->rows, &c->rows);
    if (!status)
        status = ef__upload(a, EF_I32, 1, &c->count, "targets", l->target, &c->target);
    if (!status)
        status = ef__upload(a, EF_I32, 2, dims, "places", l->place, &c->place);
    if (!status)
        status = ef__upload(a, EF_U8, 2, dims, "counted mask", l->mask, &c->mask);
    return status;
}

ef_status ef__counted_new(ef_actor *a, const ef_batch *batch, ef__counted *counted)
{
    const size_t N = batch->B * batch->L, count = ef__count_targets(batch);
    lists l = {.rows = malloc((2 * count + N) * sizeof *l.rows), .mask = malloc(N)};
    l.target = l.rows + count;
    l.place = l.target + count;
    counted->count = count;
    ef_status status = EF_OK;
    if (!l.rows || !l.mask)
        status =
            ef__fail(a, EF_ENOMEM, 0, "decoder", "decoder: no host memory for %zu positions", N);
    if (!status) {
        fill_lists(batch, count, &l);
        status = upload_lists(a, batch, &l, counted);
    }
    free(l.rows);
    free(l.mask);
    return status;
}

void ef__counted_clear(ef__counted *counted)
{
    ef_tensor_free(counted->rows);
    ef_tensor_free(counted->target);
    ef_tensor_free(counted->place);
    ef_tensor_free(counted->mask);
    *counted = (ef__counted){0};
}

/* ---- loss ---- */

/* Rows of logits at a time: equal parts of count. */
static size_t chunk_rows(const ef_decoder *d, size_t count)
{
    const ef_device_info *device = ef_actor_device(d->model.actor);
    size_t bytes = CHUNK_BYTES;
    if (device->is_gpu && device->global_bytes / GPU_PART > bytes)
        bytes = (size_t)device->global_bytes / GPU_PART;
    size_t most = bytes / sizeof(float) / d->model.config.vocab;
    size_t parts = ef__ceil_div(count, most > CHUNK_ROWS ? most : CHUNK_ROWS);
    return ef__round_up(ef__ceil_div(count, parts), CHUNK_ROWS);
}

/* What the chunks of a loss work on: the counted rows of x, and of its gradient one more, which is
 * zero and stands for all that do not count. */
typedef struct head {
    ef_decoder *d;
    const ef__counted *counted;
    const ef__loss *loss;
    ef_tensor *x, *dx; /* dx NULL: not wanted */
} head;

/* The gradients of a chunk's logits go to out and to the chunk's rows of x. */
static ef_status chunk_backward(const head *h, const ef_tensor *x, const ef_tensor *dlogits,
                                ef_tensor *dx)
{
    const ef__segment *out = segment(h->d, h->d->out);
    ef_status status = ef_linear_dw(h->d->model.actor, x, dlogits, out[0].grad, out[1].grad);
    return status || !dx ? status : ef_linear_dx(h->d->model.actor, dlogits, out->value, NULL, dx);
}

static ef_status run_chunk(const head *h, size_t from, size_t rows)
{
    ef_actor *a = h->d->model.actor;
    const ef__loss *loss = h->loss;
    const size_t shape[] = {rows, h->d->model.config.vocab};
    ef_tensor *x = NULL, *dx = NULL, *target = NULL, *logits = NULL;
    ef_status status = ef__view_rows(h->x, from, rows, &x);
    if (!status && h->dx)
        status = ef__view_rows(h->dx, from, rows, &dx);
    if (!status)
        status = ef__view_rows(h->counted->target, from, rows, &target);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, shape, "logits", &logits);
    if (!status)
        status = ef__decoder_project(h->d, x, logits);
    if (!status)
        status = ef_cross_entropy_loss(a, logits, target, loss->weight, loss->scale,
                                       loss->train ? logits : NULL, loss->metrics);
    if (!status && loss->train)
        status = chunk_backward(h, x, logits, dx);
    ef_tensor_free(x);
    ef_tensor_free(dx);
    ef_tensor_free(target);
    ef_tensor_free(logits);
    return status;
}

static ef_status run_chunks(const head *h)
{
    const size_t count = h->counted->count, most = chunk_rows(h->d, count);
    ef_status status = EF_OK;
    for (size_t from = 0; from < count && !status; from += most)
        status = run_chunk(h, from, ef__min(most, count - from));
    return status;
}

/* The rows of x [B,L,D] that count. */
static ef_status gather(head *h, ef_tensor *x)
{
    ef_actor *a = h->d->model.actor;
    const size_t *dims = ef_tensor_dims(x), D = dims[2];
    ef_tensor *flat = NULL;
    ef_status status =
        ef_tensor_new(a, EF_F32, 2, (size_t[]){h->counted->count, D}, "counted x", &h->x);
    if (!status)
        status = ef_tensor_view(x, 0, 2, (size_t[]){dims[0] * dims[1], D}, "x", &flat);
    if (!status)
        status = ef_embedding_forward(a, h->counted->rows, flat, NULL, h->x);
    ef_tensor_free(flat);
    return status;
}

static ef_status new_dx(head *h)
{
    const size_t count = h->counted->count, D = h->d->model.config.width;
    ef_status status =
        ef_tensor_new(h->d->model.actor, EF_F32, 2, (size_t[]){count + 1, D}, "counted dx", &h->dx);
    return status ? status : ef_tensor_fill(h->dx, 0);
}

ef_status ef__decoder_loss(ef_decoder *d, ef_tensor *x, const ef__counted *counted,
                           const ef__loss *loss, ef_tensor *dx)
{
    head h = {.d = d, .counted = counted, .loss = loss};
    if (counted->count == 0)
        return dx ? ef_tensor_fill(dx, 0) : EF_OK;
    ef_status status = gather(&h, x);
    if (!status && dx)
        status = new_dx(&h);
    if (!status)
        status = run_chunks(&h);
    if (!status && dx)
        status = ef_embedding_forward(d->model.actor, counted->place, h.dx, NULL, dx);
    ef_tensor_free(h.x);
    ef_tensor_free(h.dx);
    return status;
}

/* dx is the gradient of what the blocks got. */
static ef_status backward_below(ef_decoder *d, const ef_tensor *ids, const ef_tensor *mask,
                                const ef_tensor *z, const ef_tensor *dx)
{
    ef_actor *a = d->model.actor;
    const ef__segment *cond = segment(d, d->cond);
    ef_tensor *dadded = NULL;
    ef_status status = ef_tensor_new(
        a, EF_F32, 2, (size_t[]){ef_tensor_dims(z)[0], d->model.config.width}, "dcond", &dadded);
    if (!status)
        status = ef_masked_sum(a, dx, mask, dadded);
    if (!status)
        status = ef_linear_dw(a, z, dadded, cond[0].grad, cond[1].grad);
    if (!status)
        status = ef_embedding_backward(a, ids, dx, segment(d, d->embedding)->grad);
    ef_tensor_free(dadded);
    return status;
}

ef_status ef__decoder_backward(ef_decoder *d, int group, const ef_tensor *ids,
                               const ef_tensor *mask, const ef_tensor *z,
                               const ef__tcn_trace *trace, ef_tensor *dx)
{
    ef_status status = ef__tcn_backward(&d->tcn, mask, trace, group == 0, dx);
    return status || group > 0 ? status : backward_below(d, ids, mask, z, dx);
}

/* ---- all logits, for inference ---- */

/* Before anything is enqueued, so that what is refused was not begun. */
static ef_status check_logits(ef_decoder *d, const ef_tensor *ids, const ef_tensor *mask,
                              const ef_tensor *z, const ef_tensor *logits)
{
    static const char op[] = "decoder.logits";
    ef_actor *a = d->model.actor;
    ef_status status = ef__ready(a);
    if (!status)
        status = ef__want_tensor(a, op, "ids", ids, 2, EF_I32);
    if (!status)
        status = ef__want_tensor(a, op, "mask", mask, 2, EF_U8);
    if (!status)
        status = ef__want_tensor(a, op, "z", z, 2, EF_F32);
    if (!status)
        status = ef__want_tensor(a, op, "logits", logits, 3, EF_F32);
    if (!status)
        status = ef__want_same_shape(a, op, "mask", mask, "ids", ids);
    if (status)
        return status;
    const size_t *have = ef_tensor_dims(logits), *zs = ef_tensor_dims(z);
    const size_t B = ef_tensor_dims(ids)[0], L = ef_tensor_dims(ids)[1];
    const size_t E = d->model.config.vector, V = d->model.config.vocab;
    if (zs[0] != B || zs[1] != E)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: z is [%zu,%zu], must be [%zu,%zu]", op, zs[0],
                        zs[1], B, E);
    if (have[0] != B || have[1] != L || have[2] != V)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: logits is [%zu,%zu,%zu], must be [%zu,%zu,%zu]",
                        op, have[0], have[1], have[2], B, L, V);
    return EF_OK;
}

static ef_status all_logits(ef_decoder *d, const ef_tensor *ids, const ef_tensor *mask,
                            const ef_tensor *z, ef_tensor *logits)
{
    ef_tensor *x = NULL;
    ef_status status = ef__decoder_forward(d, ids, mask, z, NULL, &x);
    if (!status)
        status = ef__decoder_project(d, x, logits);
    ef_tensor_free(x);
    return status;
}

ef_status ef_decoder_logits(ef_decoder *decoder, const ef_tensor *ids, const ef_tensor *mask,
                            const ef_tensor *z, ef_tensor *logits)
{
    ef__lock(decoder->model.actor);
    ef_status status = check_logits(decoder, ids, mask, z, logits);
    if (!status)
        status = all_logits(decoder, ids, mask, z, logits);
    ef__unlock(decoder->model.actor);
    return status;
}
