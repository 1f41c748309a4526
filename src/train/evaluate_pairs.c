/* Similarities of pairs of sentences, as ef_embed gives their vectors, and their ranks. */
#include "base/size.h"
#include "data/pairs.h"
#include "train/evaluate.h"
#include "train/spearman.h"
#include <math.h>
#include <stdlib.h>

enum {
    BATCHES = 16,     /* of sentences, that are embedded at once */
    MOST_BATCH = 4096 /* that ef_embed takes */
};

typedef struct run {
    ef_encoder *encoder;
    const ef_tokenizer *tokenizer;
    const char *path;
    ef_embed_options how;
    ef__pairs pairs;
    size_t most; /* pairs at a time */
    double *score, *similarity;
    ef_text *text;  /* [2 most] the sentences of some pairs, */
    float *vectors; /* [2 most, E] and what the encoder makes of them */
    ef_error *error;
} run;

static ef_status make_room(run *r)
{
    const size_t N = r->pairs.count, E = ef_encoder_get_config(r->encoder)->vector;
    size_t numbers;
    r->most = ef__min(N, BATCHES / 2 * r->how.batch);
    if (ef__mul(2 * r->most, E, &numbers) && numbers <= SIZE_MAX / sizeof *r->vectors)
        r->vectors = malloc(numbers * sizeof *r->vectors);
    r->text = malloc(2 * r->most * sizeof *r->text);
    r->score = malloc(N * sizeof *r->score);
    r->similarity = malloc(N * sizeof *r->similarity);
    return r->vectors && r->text && r->score && r->similarity
               ? EF_OK
               : ef__error_set(r->error, EF_ENOMEM, 0, NULL, "%s: out of memory for %zu vectors",
                               r->path, 2 * r->most);
}

/* In f32: one sentence twice gives 1, whatever rounding made of its vectors, so such pairs are a
 * tie. */
static float similarity(const float *a, const float *b, size_t E)
{
    const double norms = sqrt(ef__dot(a, a, E) * ef__dot(b, b, E));
    return norms > 0 ? (float)(ef__dot(a, b, E) / norms) : 0;
}

static ef_status run_some(run *r, size_t first, size_t count)
{
    const size_t E = ef_encoder_get_config(r->encoder)->vector;
    const ef__pair *pair = r->pairs.pair + first;
    for (size_t i = 0; i < 2 * count; i++)
        r->text[i] = pair[i / 2].text[i % 2];
    ef_status status =
        ef_embed(r->encoder, r->tokenizer, &r->how, r->text, 2 * count, r->vectors, r->error);
    for (size_t i = 0; i < count && !status; i++) {
        const float *vector = r->vectors + 2 * i * E;
        r->score[first + i] = pair[i].score;
        r->similarity[first + i] = similarity(vector, vector + E, E);
    }
    return status;
}

static ef_status run_all(run *r, const ef_eval_options *o)
{
    const size_t N = r->pairs.count;
    ef_status status = EF_OK;
    for (size_t n = 0, count; n < N && !status; n += count) {
        count = ef__min(r->most, N - n);
        status = run_some(r, n, count);
        if (!status && o->on_progress && !o->on_progress(o->user, n + count, N))
            status = ef__error_set(r->error, EF_ECANCELLED, 0, NULL, "%s: cancelled", r->path);
    }
    return status;
}

/* What runs at a time is a batch: none is waited for alone. A text has two ids at least: [CLS] and
 * [SEP]. */
static ef_embed_options options_of(const ef_eval_options *o)
{
    const size_t length = o->length == EF_LENGTH_P95 ? ef__eval_cap(o) : o->length;
    const size_t batch = o->micro_batch ? o->micro_batch : o->batch ? o->batch : EF__EVAL_BATCH;
    return (ef_embed_options){.batch = ef__min(batch, MOST_BATCH),
                              .length = length == 1 ? 2 : length};
}

ef_status ef_evaluate_pairs(ef_encoder *encoder, const ef_tokenizer *tokenizer, const char *path,
                            const ef_eval_options *options, ef_pairs_report *report,
                            ef_error *error)
{
    const ef_eval_options none = {0}, *o = options ? options : &none;
    run r = {.encoder = encoder,
             .tokenizer = tokenizer,
             .path = path,
             .how = options_of(o),
             .error = error};
    double rho;
    ef_status status = ef__pairs_open(path, &r.pairs, error);
    if (!status)
        status = make_room(&r);
    if (!status)
        status = run_all(&r, o);
    if (!status)
        status = ef__spearman(r.pairs.count, r.score, r.similarity, &rho, error);
    if (!status)
        *report = (ef_pairs_report){.spearman = rho, .pairs = r.pairs.count};
    ef__pairs_free(&r.pairs);
    free(r.text);
    free(r.vectors);
    free(r.score);
    free(r.similarity);
    return status;
}
