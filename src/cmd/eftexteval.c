/* eftexteval -- how near an encoder comes to its teacher on held-out text, how well a decoder tells
 * it, and how an encoder's similarities go with people's. */
#include "cmd/json.h"
#include "cmd/options.h"
#include "cmd/progress.h"
#include "cmd/signals.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME "eftexteval"

enum { LENGTH_CAP = 256 };
#define MODELS_LENGTH SIZE_MAX /* of --length: it was not given */

typedef struct settings {
    const char *data, *pairs, *checkpoint, *vocab, *device;
    bool random_init, no_recall, json;
    uint64_t seed;
    size_t length;
    ef_eval_options eval;
} settings;

/* What the command works with, and finds out. */
typedef struct session {
    const settings *settings;
    ef__progress progress;
    ef__signals signals;
    ef_checkpoint_info model;
    ef_tokenizer *tokenizer; /* or NULL, as all of these */
    ef_dataset *data;
    ef_actor *actor;
    ef_encoder *encoder;
    ef_decoder *decoder;
    ef_eval_report vectors;
    ef_decoder_report tokens;
    ef_pairs_report pairs;
} session;

/* ---- the command line ---- */

static int check_usage(const settings *s)
{
    const char *wrong = NULL;
    if (!s->data && !s->pairs)
        wrong = "--data or --pairs is needed (see --help)";
    else if (!s->checkpoint && !s->random_init)
        wrong = "--checkpoint is needed (see --help)";
    else if (s->checkpoint && s->random_init)
        wrong = "--checkpoint and --random-init exclude each other";
    else if (s->pairs && s->random_init && !s->vocab)
        wrong = "--pairs with --random-init needs --vocab";
    return wrong ? ef__say_error(NAME, EF__USAGE, "%s", wrong) : -1;
}

static int read_options(settings *s, int argc, char **argv)
{
    ef_eval_options *e = &s->eval;
    const double most = INT32_MAX;
    const ef__option table[] = {
        {"What to evaluate", EF__GROUP, .help = ""},
        {"data", EF__TEXT, &s->data, "FILE",
         .help = "samples with the teacher's vectors: EFB or JSONL"},
        {"pairs", EF__TEXT, &s->pairs, "FILE", .help = "lines of SCORE tab SENTENCE tab SENTENCE"},
        {"checkpoint", EF__TEXT, &s->checkpoint, "FILE",
         .help = "encoder or decoder, as eftrain saves it (needed)"},
        {"random-init", EF__FLAG, &s->random_init,
         .help = "instead of it, an encoder that was not trained"},
        {"seed", EF__U64, &s->seed, "N", .help = "of its parameters"},
        {"vocab", EF__TEXT, &s->vocab, "FILE", .fallback = "the checkpoint's",
         .help = "vocab.txt, for texts"},
        {"How", EF__GROUP, .help = ""},
        {"batch", EF__SIZE, &e->batch, "N", 1, most, .help = "samples in a batch"},
        {"batch-size", EF__SIZE, &e->batch, "N", 1, most, .help = NULL},
        {"micro-batch", EF__SIZE, &e->micro_batch, "N", 1, most, "the batch",
         .help = "of them, how many run at a time"},
        {"length", EF__SIZE, &s->length, "N", 0, most, "the model's",
         .help = "cut samples to N ids; 0: what 95 in 100 have"},
        {"max-length", EF__SIZE, &s->length, "N", 0, most, .help = NULL},
        {"length-cap", EF__SIZE, &e->length_cap, "N", 1, most,
         .help = "most that --length 0 comes to, and 512"},
        {"max-batches", EF__SIZE, &e->max_batches, "N", 0, most,
         .help = "of the file, the first N batches; 0: all"},
        {"no-recall", EF__FLAG, &s->no_recall,
         .help = "do not look for each target among all of them"},
        {"Other", EF__GROUP, .help = ""},
        {"json", EF__FLAG, &s->json, .help = "one JSON object instead of lines"},
        {"device", EF__TEXT, &s->device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "--data FILE --checkpoint FILE [OPTION...]",
        .about = "Compare an encoder's vectors of held-out text with its teacher's; say how well a "
                 "decoder\ntells the text.",
        .options = table};
    int code = ef__options_parse(&command, argc, argv);
    return code < 0 ? check_usage(s) : code;
}

/* ---- what is evaluated ---- */

static int failed(session *s, ef_status status, const ef_error *error)
{
    ef__progress_clear(&s->progress);
    if (status == EF_ECANCELLED)
        return ef__say_error(NAME, EF__INTERRUPTED, "interrupted");
    return status ? ef__say_failure(NAME, status, error) : 0;
}

static bool on_data(void *user, uint64_t done, uint64_t all)
{
    session *s = user;
    ef__progress_share(&s->progress, s->settings->data, done, all);
    return !atomic_load(&s->signals.interrupted);
}

static bool on_pairs(void *user, uint64_t done, uint64_t all)
{
    session *s = user;
    ef__progress_share(&s->progress, s->settings->pairs, done, all);
    return !atomic_load(&s->signals.interrupted);
}

static int describe_model(session *s)
{
    const settings *o = s->settings;
    ef_error error = {0};
    if (o->checkpoint)
        return failed(s, ef_checkpoint_describe(o->checkpoint, &s->model, &error), &error);
    ef_model_config_default(&s->model.encoder);
    s->model.has_encoder = true;
    return 0;
}

/* Ids that both models know, if there are two. */
static size_t vocabulary_of(const ef_checkpoint_info *m)
{
    if (!m->has_encoder || !m->has_decoder)
        return m->has_encoder ? m->encoder.vocab : m->decoder.vocab;
    return m->encoder.vocab < m->decoder.vocab ? m->encoder.vocab : m->decoder.vocab;
}

static int open_vocabulary(session *s)
{
    const settings *o = s->settings;
    ef_error error = {0};
    ef_status status = ef_tokenizer_open_for(o->vocab, o->checkpoint, &s->tokenizer, &error);
    if (status || !s->tokenizer)
        return failed(s, status, &error);
    size_t tokens = ef_tokenizer_size(s->tokenizer);
    if (o->random_init)
        s->model.encoder.vocab = tokens;
    else if (tokens > vocabulary_of(&s->model))
        return ef__say_error(NAME, EF__DATA, "%s: has %zu tokens, the model of %s %zu",
                             o->vocab ? o->vocab : o->checkpoint, tokens, o->checkpoint,
                             vocabulary_of(&s->model));
    return 0;
}

static int open_data(session *s)
{
    const settings *o = s->settings;
    const ef_model_config *model = s->model.has_encoder ? &s->model.encoder : &s->model.decoder;
    size_t most = o->length == MODELS_LENGTH ? model->length
                  : o->length == 0           ? o->eval.length_cap
                                             : o->length;
    ef_dataset_options options = {.tokenizer = s->tokenizer,
                                  .most_ids = most > 2 ? most : 2,
                                  .on_progress = on_data,
                                  .user = s};
    ef_error error = {0};
    if (!o->data)
        return 0;
    int code = failed(s, ef_dataset_open_with(o->data, &options, &s->data, &error), &error);
    if (!code && ef_dataset_bare(s->data) && !s->tokenizer)
        code = ef__say_error(NAME, EF__DATA,
                             "%s: has texts without ids, the checkpoint has no vocabulary: --vocab "
                             "is needed",
                             o->data);
    if (code || !o->random_init)
        return code;
    s->model.encoder.vector = ef_dataset_width(s->data);
    if (!s->tokenizer)
        s->model.encoder.vocab = (size_t)ef_dataset_max_id(s->data) + 1;
    return 0;
}

static int check_pairs(const session *s)
{
    const settings *o = s->settings;
    if (o->pairs && !s->model.has_encoder)
        return ef__say_error(NAME, EF__DATA, "%s: has no encoder, --pairs needs one",
                             o->checkpoint);
    if (o->pairs && !s->tokenizer)
        return ef__say_error(NAME, EF__DATA, "%s: has no vocabulary: --pairs needs --vocab",
                             o->checkpoint);
    return 0;
}

static ef_status open_models(session *s, ef_error *error)
{
    const settings *o = s->settings;
    ef_status status = EF_OK;
    if (o->random_init) {
        status =
            ef_encoder_new(s->actor, &s->model.encoder, EF_INIT_TORCH, o->seed, false, &s->encoder);
        if (status)
            ef_actor_error(s->actor, error);
        return status;
    }
    if (s->model.has_encoder)
        status = ef_encoder_open(s->actor, o->checkpoint, &s->encoder, error);
    if (!status && s->model.has_decoder)
        status = ef_decoder_open(s->actor, o->checkpoint, &s->decoder, error);
    return status;
}

/* Pairs first: they are few, and an error in their file is not found after hours. */
static int evaluate(session *s)
{
    const settings *o = s->settings;
    ef_eval_options options = o->eval;
    ef_error error = {0};
    options.length = o->length == MODELS_LENGTH ? 0 : o->length ? o->length : EF_LENGTH_P95;
    options.recall = !o->no_recall;
    options.on_progress = on_pairs;
    options.user = s;
    ef_status status = open_models(s, &error);
    if (!status && o->pairs)
        status = ef_evaluate_pairs(s->encoder, s->tokenizer, o->pairs, &options, &s->pairs, &error);
    options.on_progress = on_data;
    if (!status && s->data && s->encoder)
        status = ef_evaluate(s->encoder, s->data, &options, &s->vectors, &error);
    if (!status && s->data && s->decoder)
        status = ef_evaluate_decoder(s->decoder, s->data, &options, &s->tokens, &error);
    if (!status && s->data && s->decoder && !s->tokens.tokens)
        return ef__say_error(NAME, EF__DATA, "%s: no sample has a second id to be told", o->data);
    return failed(s, status, &error);
}

/* ---- printing ---- */

static const char *kind_of(const session *s)
{
    return !s->decoder ? "encoder" : !s->encoder ? "decoder" : "combined";
}

static void put_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, ef__json_real(value));
}

static void put_whole(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void put_vectors(json_t *object, const ef_eval_report *r)
{
    put_real(object, "mse", r->mse);
    put_real(object, "cos", r->cos);
    put_real(object, "mean_vector_mse", r->mean_vector_mse);
    put_real(object, "mean_vector_cos", r->mean_vector_cos);
    put_real(object, "recall_1", r->recall_1);
    put_real(object, "recall_5", r->recall_5);
    put_real(object, "recall_10", r->recall_10);
    put_whole(object, "samples", r->samples);
    put_whole(object, "length", r->length);
    put_real(object, "samples_per_s", r->samples_per_s);
}

static void put_tokens(json_t *object, const ef_decoder_report *r)
{
    put_real(object, "cross_entropy", r->cross_entropy);
    put_real(object, "perplexity", r->perplexity);
    put_real(object, "accuracy", r->accuracy);
    put_whole(object, "tokens", r->tokens);
    put_whole(object, "samples", r->samples);
    put_whole(object, "length", r->length);
    put_real(object, "tokens_per_s", r->tokens_per_s);
}

static void print_json(const session *s)
{
    json_t *object = json_object();
    json_object_set_new(object, "kind", json_string(kind_of(s)));
    if (s->data && s->encoder)
        put_vectors(object, &s->vectors);
    if (s->data && s->decoder)
        put_tokens(object, &s->tokens);
    if (s->settings->pairs) {
        put_real(object, "spearman", s->pairs.spearman);
        put_whole(object, "pairs", s->pairs.pairs);
    }
    json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(object);
}

/* Of any constant vector, k of N targets are the k nearest. */
static double chance(const ef_eval_report *r, double k)
{
    return fmin(1, k / (double)r->samples);
}

static void print_vectors(const ef_eval_report *r, bool recall)
{
    printf("                 cos        mse%s\n", recall ? "   recall at 1      5     10" : "");
    printf("encoder      %7.4f  %.3e", r->cos, r->mse);
    if (recall)
        printf("        %.4f %.4f %.4f", r->recall_1, r->recall_5, r->recall_10);
    printf("\nmean vector  %7.4f  %.3e", r->mean_vector_cos, r->mean_vector_mse);
    if (recall)
        printf("        %.4f %.4f %.4f", chance(r, 1), chance(r, 5), chance(r, 10));
    printf("\n%" PRIu64 " samples of at most %zu ids, %.0f samples/s\n", r->samples, r->length,
           r->samples_per_s);
}

static void print_tokens(const ef_decoder_report *r)
{
    printf("decoder      perplexity %.5g, cross-entropy %.4f, accuracy %.4f\n", r->perplexity,
           r->cross_entropy, r->accuracy);
    printf("%" PRIu64 " tokens of %" PRIu64 " samples of at most %zu ids, %.0f tokens/s\n",
           r->tokens, r->samples, r->length, r->tokens_per_s);
}

static void print_pairs(const ef_pairs_report *r)
{
    if (isfinite(r->spearman))
        printf("spearman     %7.4f with the scores of %" PRIu64 " pairs\n", r->spearman, r->pairs);
    else
        printf("spearman        none: of %" PRIu64
               " pairs all similarities, or all scores, are the same\n",
               r->pairs);
}

static void print_text(const session *s)
{
    const char *of = s->settings->checkpoint;
    printf("%s: %s\n", of ? of : "not trained", kind_of(s));
    if (s->data && s->encoder)
        print_vectors(&s->vectors, !s->settings->no_recall);
    if (s->data && s->decoder)
        print_tokens(&s->tokens);
    if (s->settings->pairs)
        print_pairs(&s->pairs);
}

/* ---- the command ---- */

static int run(session *s)
{
    int code = describe_model(s);
    if (!code)
        code = open_vocabulary(s);
    if (!code)
        code = check_pairs(s);
    if (!code)
        code = open_data(s);
    if (!code)
        code = ef__open_device(NAME, s->settings->device, &s->actor);
    if (code)
        return code;
    ef__warn_untuned(NAME, s->actor);
    code = evaluate(s);
    if (!code && s->settings->json)
        print_json(s);
    else if (!code)
        print_text(s);
    return code;
}

int main(int argc, char **argv)
{
    settings o = {
        .length = MODELS_LENGTH, .seed = 1, .eval = {.batch = 64, .length_cap = LENGTH_CAP}};
    session s = {.settings = &o};
    ef__command_begin();
    int code = read_options(&o, argc, argv);
    if (code >= 0)
        return code;
    ef__progress_begin(&s.progress, NAME);
    code = ef__signals_catch(&s.signals, NAME);
    if (!code) {
        code = run(&s);
        ef__signals_release(&s.signals);
    }
    ef_encoder_free(s.encoder);
    ef_decoder_free(s.decoder);
    ef_actor_close(s.actor);
    ef_dataset_free(s.data);
    ef_tokenizer_free(s.tokenizer);
    return ef__command_end(NAME, code);
}
