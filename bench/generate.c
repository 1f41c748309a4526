/* generate -- a token more: the decoder's stream and the choice of the likeliest, soon after the
 * beginning and late, by turns. A stream is made anew for each round, so that a position is what it
 * says; its first tokens, which find the caches full of the prompt's, are not timed.
 *
 * It is verified by a full pass over the prompt and what was generated: the logits of its last
 * position. */
#include "base/clock.h"
#include "bench.h"
#include "model/stream.h"
#include "op/token.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM = 4, TOKENS = 32, POSITIONS = 2, MOST_ROUNDS = 101 };
static const size_t positions[POSITIONS] = {10, 500};

typedef struct generation {
    ef_actor *actor;
    ef_decoder *decoder;
    bench_shape shape;
    ef_tensor *z, *ids, *logits, *flat, *state, *history; /* as in model/generate.c */
    double ms[POSITIONS][MOST_ROUNDS], share[MOST_ROUNDS],
        launches; /* share: of the first's speed */
    bool right;
} generation;

static ef_status new_tensors(generation *g)
{
    const size_t B = g->shape.B, V = g->shape.V;
    ef_actor *a = g->actor;
    ef_status status = ef_tensor_new(a, EF_F32, 2, (size_t[]){B, g->shape.E}, "z", &g->z);
    if (!status)
        status = ef_tensor_fill(g->z, 0.05);
    if (!status)
        status = ef_tensor_new(a, EF_I32, 2, (size_t[]){B, 1}, "ids", &g->ids);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 3, (size_t[]){B, 1, V}, "logits", &g->logits);
    if (!status)
        status = ef_tensor_view(g->logits, 0, 2, (size_t[]){B, V}, "logits", &g->flat);
    if (!status)
        status = ef_tensor_new(a, EF_I32, 2, (size_t[]){B, 3}, "draws", &g->state);
    return status
               ? status
               : ef_tensor_new(a, EF_I32, 2, (size_t[]){B, WARM + TOKENS}, "history", &g->history);
}

static ef_status open_generation(bench *b, generation *g)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.width = g->shape.D;
    c.hidden = g->shape.H;
    c.taps = g->shape.K;
    c.vocab = g->shape.V;
    c.vector = g->shape.E;
    ef_status status = bench_open(b, NULL, &g->actor);
    if (status)
        return status;
    status = ef_decoder_new(g->actor, &c, EF_INIT_TORCH, 1, false, &g->decoder);
    return status ? status : new_tensors(g);
}

static void close_generation(generation *g)
{
    ef_tensor *const all[] = {g->z, g->ids, g->logits, g->flat, g->state, g->history};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ef_tensor_free(all[i]);
    ef_decoder_free(g->decoder);
    if (g->actor)
        ef_actor_close(g->actor);
}

/* A prompt of so many ids, all of them 1 + their position. */
static ef_status feed(generation *g, ef_stream *s, size_t count)
{
    const size_t B = g->shape.B;
    int32_t *ids = malloc(B * count * sizeof *ids);
    ef_tensor *t = NULL;
    ef_status status = ids ? EF_OK : EF_ENOMEM;
    for (size_t i = 0; i < B * count && ids; i++)
        ids[i] = 1 + (int32_t)(i % count % (g->shape.V - 1));
    if (!status)
        status = ef_tensor_new(g->actor, EF_I32, 2, (size_t[]){B, count}, "prompt", &t);
    if (!status)
        status = ef_tensor_write(t, ids);
    if (!status)
        status = ef_stream_logits(s, t, NULL, NULL);
    ef_tensor_free(t);
    free(ids);
    return status;
}

/* So many tokens, and the wait for them. */
static ef_status run_tokens(generation *g, ef_stream *s, int count)
{
    ef_status status = EF_OK;
    for (int i = 0; i < count && !status; i++) {
        status = ef_stream_logits(s, g->ids, NULL, g->logits);
        if (!status)
            status = ef__token_choose(g->actor, g->flat, 1, 0, g->ids, g->state, g->history);
    }
    return status ? status : ef_actor_finish(g->actor);
}

/* TOKENS tokens from position on, WARM of them before it. */
static ef_status time_tokens(generation *g, size_t position, double *ms, ef_stream **stream)
{
    ef_stats before, after;
    ef_status status = ef_stream_new(g->decoder, g->z, stream);
    if (!status)
        status = feed(g, *stream, position - WARM);
    if (!status)
        status = ef_tensor_fill(g->ids, 7);
    if (!status)
        status = ef_tensor_fill(g->state, 0);
    if (!status)
        status = run_tokens(g, *stream, WARM);
    ef_actor_stats(g->actor, &before);
    const double start = ef__now();
    if (!status)
        status = run_tokens(g, *stream, TOKENS);
    *ms = (ef__now() - start) * 1e3 / TOKENS;
    ef_actor_stats(g->actor, &after);
    g->launches = (double)(after.launches - before.launches) / TOKENS;
    return status;
}

/* ---- verifying ---- */

static ef_status read_tensor(ef_actor *a, const ef_tensor *t, void **copy)
{
    ef_readback *readback = NULL;
    const void *data;
    ef_status status = ef_readback_start(a, t, EF_IMMEDIATE, NULL, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, NULL);
    if (!status && !(*copy = malloc(ef_tensor_bytes(t))))
        status = EF_ENOMEM;
    if (!status)
        memcpy(*copy, data, ef_tensor_bytes(t));
    ef_readback_free(readback);
    return status;
}

/* Logits of the last position of ids [1,L], by a full pass. */
static ef_status last_logits(generation *g, const int32_t *ids, size_t L, void **copy)
{
    ef_actor *a = g->actor;
    const size_t one[2] = {1, L}, D = g->shape.D, V = g->shape.V, E = g->shape.E;
    ef_tensor *t = NULL, *mask = NULL, *z = NULL, *x = NULL, *last = NULL, *logits = NULL;
    ef_status status = ef_tensor_new(a, EF_I32, 2, one, "ids", &t);
    if (!status)
        status = ef_tensor_write(t, ids);
    if (!status)
        status = ef_tensor_new(a, EF_U8, 2, one, "mask", &mask);
    if (!status)
        status = ef_tensor_fill(mask, 1);
    if (!status)
        status = ef_tensor_view(g->z, 0, 2, (size_t[]){1, E}, "z", &z);
    if (!status)
        status = ef__decoder_forward(g->decoder, t, mask, z, NULL, &x);
    if (!status)
        status = ef_tensor_view(x, (L - 1) * D, 2, (size_t[]){1, D}, "last", &last);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, (size_t[]){1, V}, "logits", &logits);
    if (!status)
        status = ef__decoder_project(g->decoder, last, logits);
    if (!status)
        status = read_tensor(a, logits, copy);
    ef_tensor *const all[] = {t, mask, z, x, last, logits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ef_tensor_free(all[i]);
    return status;
}

/* Of sequence 0, whose stream has just read all but the last of its tokens. */
static ef_status verify(generation *g, size_t position)
{
    const size_t L = position + TOKENS;
    void *got = NULL, *want = NULL, *made = NULL;
    int32_t *ids = malloc(L * sizeof *ids);
    ef_status status = ids ? EF_OK : EF_ENOMEM;
    if (!status)
        status = read_tensor(g->actor, g->logits, &got);
    if (!status)
        status = read_tensor(g->actor, g->history, &made);
    if (!status) {
        for (size_t i = 0; i < position - WARM; i++)
            ids[i] = 1 + (int32_t)(i % (g->shape.V - 1));
        ids[position - WARM] = 7;
        memcpy(ids + position - WARM + 1, made, (WARM + TOKENS - 1) * sizeof *ids);
        status = last_logits(g, ids, L, &want);
    }
    g->right = g->right && !status && bench_near(got, want, g->shape.V, 1e-4);
    free(got);
    free(want);
    free(made);
    free(ids);
    return status;
}

/* ---- the item ---- */

static int compare(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static ef_status print_position(bench *b, const generation *g, size_t p)
{
    const bench_shape *s = &g->shape;
    const double blocks = 4.0 * s->D * s->H * (s->K + 1), out = (double)s->V * s->D;
    const double ms = g->ms[p][b->rounds / 2];
    bench_line line = {.item = "generate.token", .ms = ms, .verified = g->right};
    ef_stats stats;
    snprintf(line.shape, sizeof line.shape, "B%zu D%zu H%zu K%zu V%zu at %zu", s->B, s->D, s->H,
             s->K, s->V, positions[p]);
    line.flops = 2 * (double)s->B * (blocks + out);
    line.bytes = 4 * (blocks + out + 2 * (double)s->B * (double)s->V);
    ef_actor_stats(g->actor, &stats);
    line.peak_bytes = stats.pool_peak;
    line.more[0].name = "tokens_per_s", line.more[0].value = (double)s->B / ms * 1e3;
    line.more[1].name = "of_the_first", line.more[1].value = p ? g->share[b->rounds / 2] : 1;
    line.more[2].name = "launches", line.more[2].value = g->launches;
    return bench_print(b, &line);
}

static ef_status time_generation(bench *b, generation *g)
{
    ef_status status = open_generation(b, g);
    g->right = true;
    for (size_t r = 0; r <= b->rounds && !status; r++)
        for (size_t p = 0; p < POSITIONS && !status; p++) {
            ef_stream *s = NULL;
            double ms;
            status = time_tokens(g, positions[p], &ms, &s);
            if (!status && r == 0) /* which may pack and build */
                status = verify(g, positions[p]);
            else if (!status)
                g->ms[p][r - 1] = ms;
            ef_stream_free(s);
        }
    if (status && g->actor)
        ef__actor_says(g->actor, status, &b->error);
    for (size_t r = 0; r < b->rounds; r++)
        g->share[r] = g->ms[0][r] / g->ms[1][r];
    qsort(g->share, b->rounds, sizeof(double), compare);
    for (size_t p = 0; p < POSITIONS && !status; p++)
        qsort(g->ms[p], b->rounds, sizeof(double), compare);
    for (size_t p = 0; p < POSITIONS && !status; p++)
        status = print_position(b, g, p);
    return status;
}

ef_status bench_generate(bench *b)
{
    const size_t batches[] = {1, 16};
    ef_status status = EF_OK;
    for (size_t i = 0; i < 2 && !status; i++) {
        generation g = {.shape = bench_shape_of(b)};
        g.shape.B = b->batch ? b->batch : batches[i];
        if (i == 0 || !b->batch)
            status = time_generation(b, &g);
        close_generation(&g);
    }
    return status;
}
