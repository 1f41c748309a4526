/* A decoder's state between positions, and positions more. A convolution over a ring is a product:
 * what its taps read stands in the weight's own order. */
#include "model/stream.h"
#include "op/ring.h"
#include <stdlib.h>

/* ---- the state ---- */

static size_t dilation_of(const ef__tcn *tcn, size_t i)
{
    return tcn->dilations[i] ? tcn->dilations[i] : 1;
}

static size_t ring_rows(const ef_decoder *d, size_t i)
{
    return (d->model.config.taps - 1) * dilation_of(&d->tcn, i);
}

static ef_status as_matrix(const ef__segment *s, ef_tensor **matrix)
{
    return ef_tensor_view(s->value, 0, 2, (size_t[]){s->dims[0], s->count / s->dims[0]}, s->name,
                          matrix);
}

static ef_status new_block(ef_stream *s, size_t i)
{
    const ef_decoder *d = s->decoder;
    const ef__block_segments at = ef__tcn_block(&d->tcn, i);
    ef__stream_block *b = &s->block[i];
    ef_status status =
        ef_tensor_new(d->model.actor, EF_F32, 3,
                      (size_t[]){s->B, ring_rows(d, i), d->model.config.width}, "ring", &b->ring);
    if (!status)
        status = ef_tensor_fill(b->ring, 0);
    if (!status)
        status = as_matrix(at.conv1, &b->conv1);
    return status ? status : as_matrix(at.conv2, &b->conv2);
}

static ef_status check_z(const ef_decoder *d, const ef_tensor *z)
{
    static const char op[] = "stream";
    ef_status status = ef__ready(d->model.actor);
    if (!status)
        status = ef__want_tensor(d->model.actor, op, "z", z, 2, EF_F32);
    if (status || ef_tensor_dims(z)[1] == d->model.config.vector)
        return status;
    return ef__fail(d->model.actor, EF_ESHAPE, 0, op, "%s: z is [%zu,%zu], must be [B,%zu]", op,
                    ef_tensor_dims(z)[0], ef_tensor_dims(z)[1], d->model.config.vector);
}

static ef_status build(ef_stream *s, const ef_tensor *z)
{
    const ef_decoder *d = s->decoder;
    ef_status status = ef_tensor_new(d->model.actor, EF_F32, 2,
                                     (size_t[]){s->B, d->model.config.width}, "cond", &s->added);
    if (!status)
        status = ef__decoder_condition(d, z, s->added);
    for (size_t i = 0; i < d->model.config.blocks && !status; i++)
        status = new_block(s, i);
    return status;
}

ef_status ef_stream_new(ef_decoder *decoder, const ef_tensor *z, ef_stream **stream)
{
    ef_actor *a = decoder->model.actor;
    ef_stream *s = NULL;
    ef__lock(a);
    ef_status status = check_z(decoder, z);
    if (!status && !(s = calloc(1, sizeof *s)))
        status = ef__fail(a, EF_ENOMEM, 0, "stream", "stream: no host memory");
    if (!status) {
        s->decoder = decoder;
        s->B = ef_tensor_dims(z)[0];
        status = build(s, z);
    }
    if (status)
        ef_stream_free(s);
    else
        *stream = s;
    ef__unlock(a);
    return status;
}

void ef_stream_free(ef_stream *stream)
{
    if (!stream)
        return;
    ef_tensor_free(stream->added);
    for (size_t i = 0; i < EF_MAX_BLOCKS; i++) {
        ef_tensor_free(stream->block[i].ring);
        ef_tensor_free(stream->block[i].conv1);
        ef_tensor_free(stream->block[i].conv2);
    }
    free(stream);
}

uint64_t ef_stream_position(const ef_stream *stream)
{
    return stream->position;
}

/* ---- positions ---- */

/* What a block computes on the way; wide is taps as a matrix. */
typedef struct scratch {
    ef_tensor *norm, *taps, *wide, *act;
} scratch;

static ef_status new_scratch(const ef_stream *s, size_t T, scratch *w)
{
    const ef_model_config *c = &s->decoder->model.config;
    const size_t B = s->B, D = c->width, H = c->hidden, K = c->taps;
    ef_actor *a = s->decoder->model.actor;
    ef_status status = ef_tensor_new(a, EF_F32, 3, (size_t[]){B, T, D}, "norm", &w->norm);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 4, (size_t[]){B, T, D, K}, "taps", &w->taps);
    if (!status)
        status = ef_tensor_view(w->taps, 0, 3, (size_t[]){B, T, D * K}, "taps", &w->wide);
    return status ? status : ef_tensor_new(a, EF_F32, 3, (size_t[]){B, T, H}, "act", &w->act);
}

static void free_scratch(scratch *w)
{
    ef_tensor_free(w->norm);
    ef_tensor_free(w->taps);
    ef_tensor_free(w->wide);
    ef_tensor_free(w->act);
}

/* Four launches; x is replaced by the block's result. */
static ef_status run_block(ef_stream *s, size_t i, const ef_tensor *mask, const scratch *w,
                           ef_tensor *x)
{
    const ef_decoder *d = s->decoder;
    const ef__stream_block *b = &s->block[i];
    const ef__block_segments at = ef__tcn_block(&d->tcn, i);
    const size_t rows = ring_rows(d, i), slot = rows ? s->position % rows : 0;
    const ef_epilogue hidden = {.bias = at.conv1[1].value, .gelu = true};
    const ef_epilogue out = {.bias = at.conv2[1].value, .residual = x, .mask = mask};
    ef_actor *a = d->model.actor;
    ef_status status = ef_layernorm_forward(a, x, at.norm[0].value, at.norm[1].value, mask,
                                            d->tcn.eps, w->norm, NULL, NULL);
    if (!status)
        status = ef__ring_taps(a, w->norm, dilation_of(&d->tcn, i), slot, b->ring, w->taps);
    if (!status)
        status = ef_linear_forward(a, w->wide, b->conv1, &hidden, w->act);
    return status ? status : ef_linear_forward(a, w->act, b->conv2, &out, x);
}

static ef_status run(ef_stream *s, const ef_tensor *ids, const ef_tensor *mask, ef_tensor *logits)
{
    const ef_decoder *d = s->decoder;
    const size_t T = ef_tensor_dims(ids)[1];
    scratch w = {0};
    ef_tensor *x = NULL;
    ef_status status = ef_tensor_new(d->model.actor, EF_F32, 3,
                                     (size_t[]){s->B, T, d->model.config.width}, "x", &x);
    if (!status)
        status = new_scratch(s, T, &w);
    if (!status)
        status = ef__decoder_embed(d, ids, s->added, x);
    for (size_t i = 0; i < d->model.config.blocks && !status; i++)
        status = run_block(s, i, mask, &w, x);
    if (!status && logits)
        status = ef__decoder_project(d, x, logits);
    if (!status)
        s->position += T;
    ef_tensor_free(x);
    free_scratch(&w);
    return status;
}

/* Before anything is enqueued, so that what is refused was not begun. */
static ef_status check(const ef_stream *s, const ef_tensor *ids, const ef_tensor *mask,
                       const ef_tensor *logits)
{
    static const char op[] = "stream.logits";
    ef_actor *a = s->decoder->model.actor;
    const size_t B = s->B, V = s->decoder->model.config.vocab;
    ef_status status = ef__ready(a);
    if (!status)
        status = ef__want_tensor(a, op, "ids", ids, 2, EF_I32);
    if (!status && mask)
        status = ef__want_tensor(a, op, "mask", mask, 2, EF_U8);
    if (!status && logits)
        status = ef__want_tensor(a, op, "logits", logits, 3, EF_F32);
    if (!status)
        status = ef__want_same_shape(a, op, "mask", mask, "ids", ids);
    if (status)
        return status;
    const size_t *dims = ef_tensor_dims(ids), *have = logits ? ef_tensor_dims(logits) : NULL;
    if (dims[0] != B)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: ids is [%zu,%zu], must be [%zu,T]", op, dims[0],
                        dims[1], B);
    if (have && (have[0] != B || have[1] != dims[1] || have[2] != V))
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: logits is [%zu,%zu,%zu], must be [%zu,%zu,%zu]",
                        op, have[0], have[1], have[2], B, dims[1], V);
    return EF_OK;
}

ef_status ef_stream_logits(ef_stream *stream, const ef_tensor *ids, const ef_tensor *mask,
                           ef_tensor *logits)
{
    ef_actor *a = stream->decoder->model.actor;
    ef__lock(a);
    ef_status status = check(stream, ids, mask, logits);
    if (!status && ef_tensor_count(ids))
        status = run(stream, ids, mask, logits);
    ef__unlock(a);
    return status;
}
