/* efembed -- the vectors of lines of text: ef_embed_texts with a command line. */
#include "cmd/files.h"
#include "cmd/lines.h"
#include "cmd/options.h"
#include "cmd/progress.h"
#include "cmd/signals.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "efembed"

enum { PAUSE_MS = 50, BY_SUFFIX = -1 };

typedef struct settings {
    const char *checkpoint, *vocab, *device, *output, *input; /* input NULL: standard input */
    int format;                                               /* ef_vectors_format, or BY_SUFFIX */
    ef_embed_options embed;
} settings;

/* What the two ends of the stream share; each is used by one thread alone. */
typedef struct stream {
    const settings *s;
    ef__signals signals;
    ef__lines lines;
    ef__line line; /* why there are no more lines */
    int line_error;
    uint64_t input_bytes; /* 0: not known */
    ef_vectors_writer *writer;
    ef_error error; /* of the writer */
    uint64_t taken, taken_bytes;
    ef__progress progress;
} stream;

/* ---- the command line ---- */

static int read_options(settings *s, int argc, char **argv)
{
    const double most = INT32_MAX;
    int first = argc;
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"checkpoint", EF__TEXT, &s->checkpoint, "FILE", .help = "a trained encoder (needed)"},
        {"vocab", EF__TEXT, &s->vocab, "FILE", .fallback = "the checkpoint's",
         .help = "vocab.txt, where the checkpoint carries none"},
        {"output", EF__TEXT, &s->output, "FILE", .fallback = "standard output",
         .help = "where the vectors go"},
        {"format", EF__CHOICE, &s->format, "text|jsonl|npy|safetensors",
         .fallback = "by the output's suffix, else text", .help = "of the vectors"},
        {"normalize", EF__FLAG, &s->embed.normalize, .help = "vectors of norm 1"},
        {"batch", EF__SIZE, &s->embed.batch, "N", 1, 4096, .help = "most texts of a batch"},
        {"length", EF__SIZE, &s->embed.length, "N", 2, most, .fallback = "the model's",
         .help = "at most N ids of a text, with [CLS] and [SEP]"},
        {"device", EF__TEXT, &s->device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "--checkpoint FILE [OPTION...] [TEXTS]",
        .about = "Write the vector of each line of TEXTS, or of standard input.",
        .options = table,
        .operands = &first};
    int code = ef__options_parse(&command, argc, argv);
    if (code < 0 && argc - first > 1)
        return ef__say_error(NAME, EF__USAGE, "unexpected argument \"%s\"", argv[first + 1]);
    if (code < 0 && first < argc && strcmp(argv[first], "-"))
        s->input = argv[first];
    return code;
}

static ef_vectors_format format_of(const settings *s)
{
    static const char *const suffixes[] = {[EF_VECTORS_JSONL] = ".jsonl",
                                           [EF_VECTORS_NPY] = ".npy",
                                           [EF_VECTORS_SAFETENSORS] = ".safetensors"};
    const char *suffix = s->output ? strrchr(s->output, '.') : NULL;
    if (s->format != BY_SUFFIX)
        return (ef_vectors_format)s->format;
    for (int i = EF_VECTORS_JSONL; suffix && i <= EF_VECTORS_SAFETENSORS; i++)
        if (!strcmp(suffix, suffixes[i]))
            return (ef_vectors_format)i;
    return EF_VECTORS_TEXT;
}

static int check_usage(const settings *s)
{
    const ef_vectors_format format = format_of(s);
    if (!s->checkpoint)
        return ef__say_error(NAME, EF__USAGE, "--checkpoint is needed (see --help)");
    if (!s->output && (format == EF_VECTORS_NPY || format == EF_VECTORS_SAFETENSORS))
        return ef__say_error(NAME, EF__USAGE,
                             "this --format needs --output: its header has a count");
    const ef__place inputs[] = {{"--checkpoint", s->checkpoint},
                                {"--vocab", s->vocab},
                                {"the texts", s->input ? s->input : "/dev/stdin"}};
    return ef__check_apart(NAME, (ef__place){"--output", s->output}, inputs, 3);
}

/* ---- the stream: lines in, vectors out ---- */

static ef_next next_text(void *user, ef_text *text)
{
    stream *t = user;
    if (atomic_load(&t->signals.interrupted))
        return EF_NEXT_STOP;
    switch (t->line = ef__lines_next(&t->lines, PAUSE_MS, &text->text, &text->bytes)) {
    case EF__LINE:
        return EF_NEXT_TEXT;
    case EF__LINE_PAUSE:
        return EF_NEXT_PAUSE;
    case EF__LINE_END:
        return EF_NEXT_END;
    default:
        t->line_error = errno;
        return EF_NEXT_STOP;
    }
}

static void show(stream *t)
{
    char text[128], share[16] = "";
    if (!ef__progress_due(&t->progress))
        return;
    if (t->input_bytes)
        snprintf(share, sizeof share, " (%.0f %%)",
                 100 * (double)t->taken_bytes / (double)t->input_bytes);
    snprintf(text, sizeof text, "%" PRIu64 " texts%s", t->taken, share);
    ef__progress_show(&t->progress, text);
}

static bool take_vectors(void *user, const float *vectors, const ef_text *texts, size_t count)
{
    stream *t = user;
    ef_status status = ef_vectors_writer_add(t->writer, vectors, texts, count, &t->error);
    t->taken += count;
    for (size_t i = 0; i < count; i++)
        t->taken_bytes += texts[i].bytes + 1;
    if (t->s->output)
        show(t);
    return !status && !atomic_load(&t->signals.interrupted);
}

/* ---- what is opened ---- */

static int open_texts(stream *t)
{
    struct stat about;
    const char *path = t->s->input;
    t->lines.fd = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (t->lines.fd < 0 || fstat(t->lines.fd, &about))
        return ef__say_error(NAME, EF__DATA, "%s: cannot read: %s", path ? path : "stdin",
                             strerror(errno));
    if (S_ISDIR(about.st_mode))
        return ef__say_error(NAME, EF__DATA, "%s: is a folder", path ? path : "stdin");
    t->input_bytes = S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0;
    return 0;
}

static int open_tokenizer(const settings *s, ef_tokenizer **tokenizer)
{
    ef_error error = {0};
    ef_status status = ef_tokenizer_open_for(s->vocab, s->checkpoint, tokenizer, &error);
    if (status)
        return ef__say_failure(NAME, status, &error);
    return *tokenizer ? 0 : ef__say_no_vocabulary(NAME, s->checkpoint);
}

static int open_writer(stream *t, const ef_encoder *encoder)
{
    ef_status status =
        ef_vectors_writer_new(t->s->output, format_of(t->s), ef_encoder_get_config(encoder)->vector,
                              &t->writer, &t->error);
    return status ? ef__say_error(NAME, EF__RUNTIME, "%s", t->error.text) : 0;
}

/* ---- the run ---- */

/* Why the stream ended before its end; the library only knows that it did. */
static int say_stopped(const stream *t)
{
    const char *input = t->s->input ? t->s->input : "stdin";
    if (t->error.status)
        return ef__say_error(NAME, EF__RUNTIME, "%s", t->error.text);
    if (t->line == EF__LINE_LONG)
        return ef__say_error(NAME, EF__DATA, "%s:%" PRIu64 ": is longer than %d bytes", input,
                             t->lines.number + 1, EF__LONGEST_LINE);
    if (t->line == EF__LINE_FAILED)
        return ef__say_error(NAME, EF__DATA, "%s: cannot read: %s", input, strerror(t->line_error));
    if (t->line == EF__LINE_NO_MEMORY)
        return ef__say_error(NAME, EF__DEVICE, "out of memory");
    return ef__say_error(NAME, EF__INTERRUPTED, "interrupted%s",
                         t->s->output ? ": nothing is written" : "");
}

static void tell(const stream *t, const ef_embed_report *report, size_t width)
{
    if (report->cut)
        ef__say_error(NAME, 0, "%" PRIu64 " of %" PRIu64 " texts have more ids and are cut",
                      report->cut, report->texts);
    if (report->not_utf8)
        ef__say_error(NAME, 0,
                      "%" PRIu64 " of %" PRIu64 " texts are not UTF-8: what is not, is left out",
                      report->not_utf8, report->texts);
    if (t->s->output)
        ef__say_error(NAME, 0, "%s: %" PRIu64 " vectors of %zu values, %.0f texts/s", t->s->output,
                      report->texts, width, report->texts_per_s);
}

static int embed(stream *t, ef_encoder *encoder, const ef_tokenizer *tokenizer)
{
    const ef_embed_stream ends = {t, next_text, take_vectors};
    ef_embed_report report;
    ef_error error = {0};
    ef__progress_begin(&t->progress, NAME);
    ef_status status = ef_embed_texts(encoder, tokenizer, &t->s->embed, &ends, &report, &error);
    ef__progress_clear(&t->progress);
    if (status)
        return status == EF_ECANCELLED ? say_stopped(t) : ef__say_failure(NAME, status, &error);
    status = ef_vectors_writer_save(t->writer, &t->error);
    if (status)
        return ef__say_error(NAME, EF__RUNTIME, "%s", t->error.text);
    tell(t, &report, ef_encoder_get_config(encoder)->vector);
    return EXIT_SUCCESS;
}

static int open_and_embed(stream *t, const ef_tokenizer *tokenizer)
{
    ef_actor *actor = NULL;
    ef_encoder *encoder = NULL;
    ef_error error = {0};
    int code = ef__open_device(NAME, t->s->device, &actor);
    if (!code) {
        ef__warn_untuned(NAME, actor);
        ef_status status = ef_encoder_open(actor, t->s->checkpoint, &encoder, &error);
        code = status ? ef__say_failure(NAME, status, &error) : open_writer(t, encoder);
    }
    if (!code)
        code = embed(t, encoder, tokenizer);
    ef_vectors_writer_free(t->writer);
    ef_encoder_free(encoder);
    ef_actor_close(actor);
    return code;
}

int main(int argc, char **argv)
{
    settings s = {.format = BY_SUFFIX, .embed.batch = EF_EMBED_BATCH};
    stream t = {.s = &s, .lines.fd = -1};
    ef_tokenizer *tokenizer = NULL;
    ef__command_begin();
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    code = check_usage(&s);
    if (!code)
        code = open_texts(&t);
    if (!code)
        code = open_tokenizer(&s, &tokenizer);
    if (!code && !(code = ef__signals_catch(&t.signals, NAME))) {
        code = open_and_embed(&t, tokenizer);
        ef__signals_release(&t.signals);
    }
    ef_tokenizer_free(tokenizer);
    free(t.lines.data);
    if (s.input && t.lines.fd >= 0)
        close(t.lines.fd);
    return ef__command_end(NAME, code);
}
