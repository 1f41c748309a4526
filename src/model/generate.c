/* Generation: a stream whose next ids are chosen on the device. A column of a history for each id;
 * the host reads the history when it is full. */
#include "base/rng.h"
#include "base/size.h"
#include "model/stream.h"
#include "op/token.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT = 16 }; /* ids for each wait: some 10 us against 16 times 100 us on a fast GPU */

static const char op[] = "generate";

void ef_generate_options_default(ef_generate_options *options)
{
    *options = (ef_generate_options){
        .max_tokens = 128, .top_k = 1, .temperature = 1, .seed = 1, .end = -1};
}

typedef struct generation {
    ef_decoder *d;
    const ef_batch *prompts;
    const ef_generate_options *o;
    ef_stream *stream;
    ef_tensor *ids;             /* [B,1]: what the next step reads, and then chooses */
    ef_tensor *logits, *flat;   /* [B,1,V] and as [B,V] */
    ef_tensor *state, *history; /* op/token.h; history [B,WAIT] */
    int32_t *out;               /* [B,max_tokens] */
    size_t *lengths, made, ended;
} generation;

/* ---- prompts ---- */

static size_t kept(const ef_batch *p, size_t b)
{
    size_t n = 0;
    for (size_t t = 0; t < p->L; t++)
        n += p->mask[b * p->L + t] != 0;
    return n;
}

static ef_status check_prompt(const ef_decoder *d, const ef_batch *p, size_t b)
{
    const size_t V = d->model.config.vocab;
    if (kept(p, b) == 0)
        return ef__fail(d->model.actor, EF_EARG, 0, op, "%s: sequence %zu has no prompt", op, b);
    for (size_t t = 0; t < p->L; t++) {
        const int32_t id = p->ids[b * p->L + t];
        if (p->mask[b * p->L + t] && (id < 0 || (size_t)id >= V))
            return ef__fail(d->model.actor, EF_EARG, 0, op,
                            "%s: id %d at position %zu of sequence %zu is not in 0..%zu (V %zu)",
                            op, id, t, b, V - 1, V);
    }
    return EF_OK;
}

static ef_status check(const ef_decoder *d, const ef_batch *p, const ef_generate_options *o)
{
    ef_actor *a = d->model.actor;
    const size_t V = d->model.config.vocab;
    ef_status status = ef__ready(a);
    if (status)
        return status;
    if (p->E != d->model.config.vector)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: vectors have %zu values, the decoder takes %zu",
                        op, p->E, d->model.config.vector);
    if (!(o->temperature >= 0) || !isfinite(o->temperature))
        return ef__fail(a, EF_EARG, 0, op, "%s: temperature is %g, must be 0 or above", op,
                        (double)o->temperature);
    if (o->end < -1 || (o->end >= 0 && (size_t)o->end >= V))
        return ef__fail(a, EF_EARG, 0, op, "%s: end is %d, must be in 0..%zu (V %zu), or -1", op,
                        o->end, V - 1, V);
    for (size_t b = 0; b < p->B && !status; b++)
        status = check_prompt(d, p, b);
    return status;
}

/* The prompts' unmasked ids, right-aligned, [B,P] but the last, and [B] the last. */
typedef struct aligned {
    size_t P;
    int32_t *ids, *last;
    uint8_t *mask;
} aligned;

static ef_status new_aligned(ef_actor *a, const ef_batch *p, aligned *l)
{
    *l = (aligned){.P = 0};
    for (size_t b = 0; b < p->B; b++)
        l->P = kept(p, b) > l->P + 1 ? kept(p, b) - 1 : l->P;
    l->ids = calloc(p->B * l->P + 1, sizeof *l->ids);
    l->last = calloc(p->B, sizeof *l->last);
    l->mask = calloc(p->B * l->P + 1, 1);
    if (!l->ids || !l->last || !l->mask)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory for %zu prompts", op, p->B);
    for (size_t b = 0; b < p->B; b++) {
        bool last = true;
        size_t at = l->P;
        for (size_t t = p->L; t-- > 0;) {
            const int32_t id = p->ids[b * p->L + t];
            if (!p->mask[b * p->L + t])
                continue;
            if (last) {
                l->last[b] = id;
            } else {
                l->ids[b * l->P + --at] = id;
                l->mask[b * l->P + at] = 1;
            }
            last = false;
        }
    }
    return EF_OK;
}

static void free_aligned(aligned *l)
{
    free(l->ids);
    free(l->last);
    free(l->mask);
}

/* All of the prompts but their last ids, which the first step takes. */
static ef_status read_prompts(generation *g)
{
    ef_actor *a = g->d->model.actor;
    const size_t B = g->prompts->B;
    ef_tensor *ids = NULL, *mask = NULL;
    aligned l;
    ef_status status = new_aligned(a, g->prompts, &l);
    const size_t dims[2] = {B, l.P}, one[2] = {B, 1};
    if (!status)
        status = ef__upload(a, EF_I32, 2, one, "ids", l.last, &g->ids);
    if (!status && l.P)
        status = ef__upload(a, EF_I32, 2, dims, "prompts", l.ids, &ids);
    if (!status && l.P)
        status = ef__upload(a, EF_U8, 2, dims, "prompts' mask", l.mask, &mask);
    if (!status && l.P)
        status = ef_stream_logits(g->stream, ids, mask, NULL);
    ef_tensor_free(ids);
    ef_tensor_free(mask);
    free_aligned(&l);
    return status;
}

/* ---- the state ---- */

/* A key for each sequence, a function of the seed and of its number. */
static ef_status new_state(generation *g)
{
    const size_t B = g->prompts->B, dims[2] = {B, 3};
    int32_t *state = malloc(B * sizeof(int32_t[3]));
    if (!state)
        return ef__fail(g->d->model.actor, EF_ENOMEM, 0, op, "%s: no host memory", op);
    for (size_t b = 0; b < B; b++) {
        ef__rng rng = {g->o->seed};
        rng.state = ef__rng_next(&rng) ^ (g->o->first + b) * 0xD1342543DE82EF95u;
        const uint64_t key = ef__rng_next(&rng);
        const uint32_t words[3] = {(uint32_t)key, (uint32_t)(key >> 32), 0};
        memcpy(state + 3 * b, words, sizeof words);
    }
    ef_status status = ef__upload(g->d->model.actor, EF_I32, 2, dims, "draws", state, &g->state);
    free(state);
    return status;
}

static ef_status new_results(generation *g)
{
    const size_t B = g->prompts->B, max = g->o->max_tokens;
    size_t room;
    if (ef__mul(B, max, &room) && ef__add(room, 1, &room))
        g->out = calloc(room, sizeof *g->out);
    g->lengths = malloc(B * sizeof *g->lengths);
    if (!g->out || !g->lengths)
        return ef__fail(g->d->model.actor, EF_ENOMEM, 0, op, "%s: no host memory", op);
    for (size_t b = 0; b < B; b++)
        g->lengths[b] = max;
    return EF_OK;
}

static ef_status begin(generation *g)
{
    ef_actor *a = g->d->model.actor;
    const size_t B = g->prompts->B, V = g->d->model.config.vocab;
    ef_tensor *z = NULL;
    ef_status status = new_results(g);
    if (!status)
        status =
            ef__upload(a, EF_F32, 2, (size_t[]){B, g->prompts->E}, "z", g->prompts->target, &z);
    if (!status)
        status = ef_stream_new(g->d, z, &g->stream);
    if (!status)
        status = read_prompts(g);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 3, (size_t[]){B, 1, V}, "logits", &g->logits);
    if (!status)
        status = ef_tensor_view(g->logits, 0, 2, (size_t[]){B, V}, "logits", &g->flat);
    if (!status)
        status = ef_tensor_new(a, EF_I32, 2, (size_t[]){B, WAIT}, "history", &g->history);
    if (!status)
        status = new_state(g);
    ef_tensor_free(z);
    return status;
}

static void end(generation *g)
{
    ef_stream_free(g->stream);
    ef_tensor_free(g->ids);
    ef_tensor_free(g->logits);
    ef_tensor_free(g->flat);
    ef_tensor_free(g->state);
    ef_tensor_free(g->history);
    free(g->out);
    free(g->lengths);
}

/* ---- ids ---- */

static ef_status enqueue(generation *g, size_t count)
{
    ef_status status = EF_OK;
    for (size_t i = 0; i < count && !status; i++) {
        status = ef_stream_logits(g->stream, g->ids, NULL, g->logits);
        if (!status)
            status = ef__token_choose(g->d->model.actor, g->flat, g->o->top_k, g->o->temperature,
                                      g->ids, g->state, g->history);
    }
    return status;
}

/* So many more ids of each sequence; a length that is not known yet is max_tokens. */
static void take(generation *g, const int32_t *history, size_t count)
{
    const size_t max = g->o->max_tokens;
    for (size_t b = 0; b < g->prompts->B; b++)
        for (size_t i = 0, at = g->made; i < count; i++, at++) {
            const int32_t id = history[b * WAIT + i];
            if (g->lengths[b] == max && id == g->o->end) {
                g->lengths[b] = at;
                g->ended++;
            }
            g->out[b * max + at] = g->lengths[b] == max ? id : g->o->end;
        }
    g->made += count;
}

static ef_status generate_some(generation *g, size_t count)
{
    ef_actor *a = g->d->model.actor;
    ef_readback *readback = NULL;
    const void *history;
    ef__lock(a);
    ef_status status = enqueue(g, count);
    if (!status)
        status = ef_readback_start(a, g->history, EF_IMMEDIATE, op, &readback);
    ef__unlock(a);
    if (!status)
        status = ef_readback_value(readback, &history, NULL);
    if (!status)
        take(g, history, count);
    ef_readback_free(readback);
    return status;
}

/* What is left behind the ends when all have ended. */
static void fill_up(generation *g)
{
    const size_t max = g->o->max_tokens;
    for (size_t b = 0; b < g->prompts->B; b++)
        for (size_t i = g->made; i < max; i++)
            g->out[b * max + i] = g->o->end;
}

ef_status ef_generate(ef_decoder *decoder, const ef_batch *prompts,
                      const ef_generate_options *options, int32_t *ids, size_t *lengths)
{
    const size_t B = prompts->B, max = options->max_tokens;
    generation g = {.d = decoder, .prompts = prompts, .o = options};
    ef__lock(decoder->model.actor);
    ef_status status = check(decoder, prompts, options);
    if (!status && B)
        status = begin(&g);
    ef__unlock(decoder->model.actor);
    while (!status && g.made < max && g.ended < B)
        status = generate_some(&g, ef__min(WAIT, max - g.made));
    if (!status && B) {
        fill_up(&g);
        memcpy(ids, g.out, B * max * sizeof *ids);
        memcpy(lengths, g.lengths, B * sizeof *lengths);
    }
    end(&g);
    return status;
}
