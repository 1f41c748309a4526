/* efgenerate -- the texts that a decoder makes of vectors. */
#include "cmd/options.h"
#include "cmd/signals.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "efgenerate"

typedef struct settings {
    const char *checkpoint, *vectors, *tensor, *data, *vocab, *prompt, *device;
    size_t max_tokens, batch;
    ef_generate_options choice;
    bool ids, json;
} settings;

static int check_options(const settings *s)
{
    if (!s->checkpoint)
        return ef__say_error(NAME, EF__USAGE, "--checkpoint is needed (see --help)");
    if (!s->vectors == !s->data)
        return ef__say_error(NAME, EF__USAGE, "either --vectors or --data is needed (see --help)");
    if (s->tensor && !s->vectors)
        return ef__say_error(NAME, EF__USAGE, "--tensor: there are no --vectors");
    if (s->ids && s->json)
        return ef__say_error(NAME, EF__USAGE, "--json has the ids: --ids is not for it");
    return -1;
}

static int read_options(settings *s, int argc, char **argv)
{
    const ef__option table[] = {
        {"Input", EF__GROUP, .help = ""},
        {"checkpoint", EF__TEXT, &s->checkpoint, "FILE",
         .help = "decoder, as eftrain saves it (needed)"},
        {"vectors", EF__TEXT, &s->vectors, "FILE", .fallback = "",
         .help = ".npy, safetensors or JSONL: a text for each vector"},
        {"tensor", EF__TEXT, &s->tensor, "NAME", .fallback = "the only one",
         .help = "the vectors' name in a safetensors file"},
        {"data", EF__TEXT, &s->data, "FILE", .fallback = "",
         .help = "instead: samples, whose targets are the vectors"},
        {"vocab", EF__TEXT, &s->vocab, "FILE", .fallback = "the checkpoint's own",
         .help = "vocab.txt, or a checkpoint that has one"},
        {"prompt", EF__TEXT, &s->prompt, "TEXT", .fallback = "",
         .help = "what each text begins with"},
        {"Choice", EF__GROUP, .help = ""},
        {"max-tokens", EF__SIZE, &s->max_tokens, "N", 1, 1 << 20, "the model's length",
         .help = "most ids of a text after its prompt"},
        {"top-k", EF__SIZE, &s->choice.top_k, "K", 0, INT32_MAX,
         .help = "draw among the K likeliest; 1: the likeliest, 0: all"},
        {"temperature", EF__REAL, &s->choice.temperature, "T", 0, 1e6,
         .help = "logits are divided by it before a draw"},
        {"seed", EF__U64, &s->choice.seed, "N", .help = "of the draws"},
        {"Output", EF__GROUP, .help = ""},
        {"ids", EF__FLAG, &s->ids, .help = "ids instead of texts"},
        {"json", EF__FLAG, &s->json, .help = "a JSON object for each text"},
        {"Device", EF__GROUP, .help = ""},
        {"batch", EF__SIZE, &s->batch, "N", 1, 1 << 16, .help = "texts at a time"},
        {"device", EF__TEXT, &s->device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "--checkpoint FILE --vectors FILE|--data FILE [OPTION...]",
        .about = "Write the texts that a decoder makes of vectors, a line each.",
        .options = table};
    int code = ef__options_parse(&command, argc, argv);
    return code < 0 ? check_options(s) : code;
}

/* What is open while texts are made. */
typedef struct generation {
    const settings *s;
    ef__signals signals;
    ef_vectors *vectors; /* or */
    ef_dataset *data;
    ef_tokenizer *tokenizer;
    ef_actor *actor;
    ef_decoder *decoder;
    ef_generate_options choice;
    size_t prompt;  /* ids of the prompt */
    ef_batch batch; /* whose arrays are the command's own, for s->batch texts */
    int32_t *ids; /* [batch,prompt + max_tokens + 1]: of one text, and what was generated behind */
    size_t *lengths;
    char *text;
    size_t room;
} generation;

static int no_memory(void)
{
    return ef__say_error(NAME, EF__DEVICE, "out of memory");
}

/* ---- what is read ---- */

static size_t count_of(const generation *g)
{
    return g->vectors ? ef_vectors_size(g->vectors) : ef_dataset_size(g->data);
}

static size_t width_of(const generation *g)
{
    return g->vectors ? ef_vectors_width(g->vectors) : ef_dataset_width(g->data);
}

static ef_status read_vector(generation *g, size_t index, float *row, ef_error *error)
{
    ef_sample sample;
    if (g->vectors)
        return ef_vectors_read(g->vectors, index, row, error);
    ef_status status = ef_dataset_read(g->data, index, &sample, error);
    if (!status)
        memcpy(row, sample.target, width_of(g) * sizeof *row);
    return status;
}

static int open_files(generation *g)
{
    const settings *s = g->s;
    ef_error error = {0};
    ef_status status = s->vectors ? ef_vectors_open(s->vectors, s->tensor, &g->vectors, &error)
                                  : ef_dataset_open(s->data, &g->data, &error);
    if (!status)
        status = ef_tokenizer_open_for(s->vocab, s->checkpoint, &g->tokenizer, &error);
    if (status)
        return ef__say_failure(NAME, status, &error);
    return g->tokenizer ? 0 : ef__say_no_vocabulary(NAME, s->checkpoint);
}

static int open_model(generation *g)
{
    const settings *s = g->s;
    ef_error error = {0};
    int code = ef__open_device(NAME, s->device, &g->actor);
    if (code)
        return code;
    ef__warn_untuned(NAME, g->actor);
    ef_status status = ef_decoder_open(g->actor, s->checkpoint, &g->decoder, &error);
    if (status)
        return ef__say_failure(NAME, status, &error);
    const ef_model_config *c = ef_decoder_get_config(g->decoder);
    if (width_of(g) != c->vector)
        return ef__say_error(NAME, EF__DATA, "%s: its vectors have %zu values, those of %s %zu",
                             s->vectors ? s->vectors : s->data, width_of(g), s->checkpoint,
                             c->vector);
    if (ef_tokenizer_size(g->tokenizer) > c->vocab)
        return ef__say_error(NAME, EF__DATA, "%s: has %zu tokens, the model of %s %zu",
                             s->vocab ? s->vocab : s->checkpoint, ef_tokenizer_size(g->tokenizer),
                             s->checkpoint, c->vocab);
    g->choice.max_tokens = s->max_tokens ? s->max_tokens : c->length;
    return 0;
}

/* [CLS] and the prompt's ids, for all texts. */
static int make_prompts(generation *g)
{
    const char *prompt = g->s->prompt ? g->s->prompt : "";
    const size_t B = g->s->batch, bytes = strlen(prompt), E = width_of(g);
    int32_t *first = malloc((bytes + 2) * sizeof *first);
    if (!first)
        return no_memory();
    g->prompt = ef_tokenizer_encode(g->tokenizer, prompt, bytes, first, bytes + 2) - 1; /* [SEP] */
    int32_t *ids = malloc(B * g->prompt * sizeof *ids);
    uint8_t *mask = malloc(B * g->prompt);
    float *target = malloc(B * E * sizeof *target);
    g->batch = (ef_batch){.L = g->prompt, .E = E, .ids = ids, .mask = mask, .target = target};
    g->ids = malloc((B + 1) * (g->prompt + g->choice.max_tokens + 1) * sizeof *g->ids);
    g->lengths = malloc(B * sizeof *g->lengths);
    const bool whole = ids && mask && target && g->ids && g->lengths;
    for (size_t b = 0; b < B && whole; b++)
        memcpy(ids + b * g->prompt, first, g->prompt * sizeof *ids);
    if (whole) {
        memset(mask, 1, B * g->prompt);
        memcpy(g->ids, first, g->prompt * sizeof *first);
    }
    free(first);
    return whole ? 0 : no_memory();
}

/* ---- what is written ---- */

/* The text of count of g->ids; NULL: no memory. */
static const char *text_of(generation *g, size_t count)
{
    const size_t bytes = ef_tokenizer_decode(g->tokenizer, g->ids, count, g->text, g->room);
    if (bytes >= g->room) {
        char *more = realloc(g->text, bytes + 1);
        if (!more)
            return NULL;
        g->text = more;
        g->room = bytes + 1;
        ef_tokenizer_decode(g->tokenizer, g->ids, count, g->text, g->room);
    }
    return g->text;
}

static void print_ids(const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%s%" PRId32, i ? " " : "", ids[i]);
    putchar('\n');
}

static int print_json(generation *g, size_t index, size_t count, bool ended)
{
    const char *text = text_of(g, count);
    if (!text)
        return no_memory();
    json_t *ids = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(ids, json_integer(g->ids[i]));
    json_t *object = json_pack("{s:I, s:s, s:o, s:b}", "index", (json_int_t)index, "text", text,
                               "ids", ids, "ended", ended);
    if (!object)
        return no_memory();
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
    return 0;
}

/* The prompt, which g->ids begins with, what was made of vector number index, and the end. */
static int print_one(generation *g, size_t index, const int32_t *made, size_t length)
{
    const bool ended = length < g->choice.max_tokens;
    size_t count = g->prompt + length;
    memcpy(g->ids + g->prompt, made, length * sizeof *made);
    if (ended)
        g->ids[count++] = g->choice.end;
    if (g->s->json)
        return print_json(g, index, count, ended);
    if (g->s->ids) {
        print_ids(g->ids, count);
        return 0;
    }
    const char *text = text_of(g, count);
    return text ? (puts(text), 0) : no_memory();
}

/* ---- the run ---- */

static int generate_batch(generation *g, size_t from, size_t count)
{
    int32_t *made = g->ids + g->prompt + g->choice.max_tokens + 1;
    ef_error error = {0};
    ef_status status = EF_OK;
    g->batch.B = count;
    g->choice.first = from;
    for (size_t b = 0; b < count && !status; b++)
        status = read_vector(g, from + b, (float *)g->batch.target + b * g->batch.E, &error);
    if (status)
        return ef__say_failure(NAME, status, &error);
    status = ef_generate(g->decoder, &g->batch, &g->choice, made, g->lengths);
    if (status)
        return ef__say_error(NAME, ef__exit_code(status), "%s", ef_actor_message(g->actor));
    int code = 0;
    for (size_t b = 0; b < count && !code; b++)
        code = print_one(g, from + b, made + b * g->choice.max_tokens, g->lengths[b]);
    fflush(stdout);
    return code;
}

static int generate_all(generation *g)
{
    const size_t N = count_of(g), B = g->s->batch;
    int code = make_prompts(g);
    g->choice.end = ef_tokenizer_id(g->tokenizer, "[SEP]");
    for (size_t n = 0; n < N && !code && !ferror(stdout); n += B)
        code = atomic_load(&g->signals.interrupted)
                   ? ef__say_error(NAME, EF__INTERRUPTED, "interrupted")
                   : generate_batch(g, n, N - n < B ? N - n : B);
    return code;
}

static void close_all(generation *g)
{
    ef_decoder_free(g->decoder);
    if (g->actor)
        ef_actor_close(g->actor);
    ef_tokenizer_free(g->tokenizer);
    ef_vectors_free(g->vectors);
    ef_dataset_free(g->data);
    free((void *)g->batch.ids);
    free((void *)g->batch.mask);
    free((void *)g->batch.target);
    free(g->ids);
    free(g->lengths);
    free(g->text);
}

int main(int argc, char **argv)
{
    settings s = {.batch = 16};
    ef_generate_options_default(&s.choice);
    ef__command_begin();
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    generation g = {.s = &s, .choice = s.choice};
    code = open_files(&g);
    if (!code && !(code = ef__signals_catch(&g.signals, NAME))) {
        code = open_model(&g);
        if (!code)
            code = generate_all(&g);
        ef__signals_release(&g.signals);
    }
    close_all(&g);
    return ef__command_end(NAME, code);
}
