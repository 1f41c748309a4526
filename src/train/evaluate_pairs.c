/* Similarities of pairs of sentences: the device computes vectors, a batch of pairs at a time. */
#include "base/size.h"
#include "data/pairs.h"
#include "train/evaluate.h"
#include "train/spearman.h"
#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    ef_actor *actor;
    ef_encoder *encoder;
    const ef_tokenizer *tokenizer;
    const char *path;
    ef__pairs pairs;
    size_t batch, length; /* pairs of a batch; most ids of a sentence */
    double *score, *similarity;
    int32_t *ids;  /* [2 batch, length] of a batch's sentences; then [2 batch, longest] */
    uint8_t *mask; /* [2 batch, longest] */
    size_t *count; /* [2 batch] ids */
    ef_error *error;
} run;

static ef_status check(const run *r)
{
    const size_t model = ef_encoder_get_config(r->encoder)->vocab;
    const size_t tokens = ef_tokenizer_size(r->tokenizer);
    return tokens <= model ? EF_OK
                           : ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                                           "a vocabulary of %zu tokens does not fit a model of %zu",
                                           tokens, model);
}

static ef_status make_room(run *r)
{
    const size_t rows = 2 * r->batch;
    size_t numbers;
    if (ef__mul(rows, r->length, &numbers) && numbers <= SIZE_MAX / sizeof *r->ids) {
        r->ids = malloc(numbers * sizeof *r->ids);
        r->mask = malloc(numbers);
    }
    r->count = malloc(rows * sizeof *r->count);
    r->score = malloc(r->pairs.count * sizeof *r->score);
    r->similarity = malloc(r->pairs.count * sizeof *r->similarity);
    return r->ids && r->mask && r->count && r->score && r->similarity
               ? EF_OK
               : ef__error_set(r->error, EF_ENOMEM, 0, NULL,
                               "%s: out of memory for %zu sentences of %zu ids", r->path, rows,
                               r->length);
}

/* The sentences of pairs, each pair's two one after the other, padded to the longest. */
static ef_batch tokenize(run *r, const ef__pair *pair, size_t pairs)
{
    ef_batch b = {.B = 2 * pairs, .E = ef_encoder_get_config(r->encoder)->vector};
    for (size_t i = 0; i < b.B; i++) {
        const ef__pair *p = &pair[i / 2];
        r->count[i] = ef_tokenizer_encode(r->tokenizer, p->text[i % 2], p->bytes[i % 2],
                                          r->ids + i * r->length, r->length);
        b.L = r->count[i] > b.L ? r->count[i] : b.L;
    }
    for (size_t i = 0; i < b.B; i++) {
        const size_t count = r->count[i];
        memmove(r->ids + i * b.L, r->ids + i * r->length, count * sizeof *r->ids);
        memset(r->ids + i * b.L + count, 0, (b.L - count) * sizeof *r->ids);
        memset(r->mask + i * b.L, 1, count);
        memset(r->mask + i * b.L + count, 0, b.L - count);
    }
    b.ids = r->ids;
    b.mask = r->mask;
    return b;
}

/* In f32: one sentence twice gives 1, whatever rounding made of its vectors, so such pairs are a
 * tie. */
static void compare(const float *vectors, size_t pairs, size_t E, double *similarity)
{
    for (size_t i = 0; i < pairs; i++) {
        const float *a = vectors + 2 * i * E, *b = a + E;
        const double norms = sqrt(ef__dot(a, a, E) * ef__dot(b, b, E));
        similarity[i] = (float)(norms > 0 ? ef__dot(a, b, E) / norms : norms);
    }
}

static ef_status run_batch(run *r, size_t first, size_t pairs)
{
    const ef_batch batch = tokenize(r, r->pairs.pair + first, pairs);
    ef_readback *readback = NULL;
    const void *vectors;
    ef_status status = ef_batch_begin(r->actor);
    if (status)
        return status;
    status = ef__encode(r->encoder, &batch, &readback);
    ef_status synced = ef_batch_sync(r->actor, "pairs");
    status = status ? status : synced;
    if (!status)
        status = ef_readback_value(readback, &vectors, NULL);
    if (!status)
        compare(vectors, pairs, batch.E, r->similarity + first);
    ef_readback_free(readback);
    return status;
}

static ef_status run_all(run *r, const ef_eval_options *o)
{
    const size_t N = r->pairs.count;
    ef_status status = EF_OK;
    for (size_t i = 0; i < N; i++)
        r->score[i] = r->pairs.pair[i].score;
    for (size_t n = 0, count; n < N && !status; n += count) {
        count = ef__min(r->batch, N - n);
        status = ef__actor_says(r->actor, run_batch(r, n, count), r->error);
        if (!status && o->on_progress && !o->on_progress(o->user, n + count, N))
            status = ef__error_set(r->error, EF_ECANCELLED, 0, NULL, "%s: cancelled", r->path);
    }
    return status;
}

static void settle(run *r, const ef_eval_options *o)
{
    enum { LEAST = 2 }; /* [CLS] and [SEP] */
    const size_t asked = o->length == EF_LENGTH_P95 ? ef__eval_cap(o) : o->length;
    const size_t length = asked ? asked : ef_encoder_get_config(r->encoder)->length;
    size_t longest = 0; /* a sentence has no more ids than bytes, and two */
    for (size_t i = 0; i < 2 * r->pairs.count; i++) {
        const size_t bytes = r->pairs.pair[i / 2].bytes[i % 2];
        longest = bytes > longest ? bytes : longest;
    }
    r->length = ef__min(length, longest + 2);
    r->length = r->length < LEAST ? LEAST : r->length;
    r->batch = ef__min(o->batch ? o->batch : EF__EVAL_BATCH, r->pairs.count);
}

ef_status ef_evaluate_pairs(ef_encoder *encoder, const ef_tokenizer *tokenizer, const char *path,
                            const ef_eval_options *options, ef_pairs_report *report,
                            ef_error *error)
{
    const ef_eval_options none = {0}, *o = options ? options : &none;
    run r = {.actor = encoder->model.actor,
             .encoder = encoder,
             .tokenizer = tokenizer,
             .path = path,
             .error = error};
    double rho;
    ef_status status = check(&r);
    if (!status)
        status = ef__pairs_open(path, &r.pairs, error);
    if (!status) {
        settle(&r, o);
        status = make_room(&r);
    }
    if (!status)
        status = run_all(&r, o);
    if (!status)
        status = ef__spearman(r.pairs.count, r.score, r.similarity, &rho, error);
    if (!status)
        *report = (ef_pairs_report){.spearman = rho, .pairs = r.pairs.count};
    ef__pairs_free(&r.pairs);
    free(r.ids);
    free(r.mask);
    free(r.count);
    free(r.score);
    free(r.similarity);
    return status;
}
