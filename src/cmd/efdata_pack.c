/* efdata pack: texts, a line each, and a teacher's vectors become samples. */
#include "cmd/efdata.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct packing {
    const char *texts, *vectors, *tensor, *vocab;
    size_t length;
    ef_tokenizer *tokenizer;
    int32_t *ids; /* [ids_room] */
    size_t ids_room;
    efdata_output out;
    ef__lines lines;
} packing;

static int read_options(packing *p, int argc, char **argv)
{
    int first;
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"texts", EF__TEXT, &p->texts, "FILE",
         .help = "UTF-8, a text each line; - is stdin (needed)"},
        {"vectors", EF__TEXT, &p->vectors, "FILE",
         .help = ".npy, safetensors or JSONL: a vector for each text (needed)"},
        {"tensor", EF__TEXT, &p->tensor, "NAME", .fallback = "the only one",
         .help = "the vectors' name in a safetensors file"},
        {"vocab", EF__TEXT, &p->vocab, "FILE", .fallback = "",
         .help = "vocab.txt: samples get the ids of WordPiece"},
        {"length", EF__SIZE, &p->length, "N", 2, INT32_MAX, "all",
         .help = "of them at most N, with [CLS] and [SEP]"},
        {"format", EF__CHOICE, &p->out.asked, EFDATA_FORMATS, .fallback = "by OUT's suffix",
         .help = "what to write"},
        {0}};
    int code = efdata_options("pack --texts FILE --vectors FILE OUT [OPTION...]",
                              "Make a file of samples from texts and their teacher's vectors.",
                              table, argc, argv, 1, "a file OUT", &first);
    if (code >= 0)
        return code;
    if (!p->texts || !p->vectors)
        return ef__say_error(EFDATA, EF__USAGE, "pack: --%s is needed (see --help)",
                             p->texts ? "vectors" : "texts");
    p->out.path = argv[first];
    code = efdata_format(p->out.path, p->out.asked, &p->out.format);
    if (!code && p->out.format == EF_DATA_EFB1 && !p->vocab)
        return ef__say_error(EFDATA, EF__USAGE,
                             "pack: EFB1 holds ids and no texts: --vocab is needed");
    if (!code)
        code =
            efdata_apart("OUT", p->out.path, (const char *[]){p->texts, p->vectors, p->vocab}, 3);
    return code ? code : -1;
}

static int open_texts(packing *p)
{
    struct stat about;
    p->lines.fd = strcmp(p->texts, "-") ? open(p->texts, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (p->lines.fd < 0)
        return ef__say_error(EFDATA, EF__DATA, "%s: cannot open: %s", p->texts, strerror(errno));
    if (!fstat(p->lines.fd, &about) && S_ISDIR(about.st_mode))
        return ef__say_error(EFDATA, EF__DATA, "%s: is a folder", p->texts);
    return 0;
}

/* *text is NULL behind the last. */
static int next_text(packing *p, const char **text, size_t *bytes)
{
    int code = efdata_next(&p->lines, p->texts, text, bytes);
    return !code && efdata_interrupted() ? efdata_stopped() : code;
}

static int tokenize(packing *p, ef_sample *sample)
{
    size_t most = sample->bytes + 2;
    if (p->length && p->length < most)
        most = p->length;
    if (most > p->ids_room) {
        int32_t *more = realloc(p->ids, most * sizeof *more);
        if (!more)
            return ef__say_error(EFDATA, EF__DEVICE, "out of memory");
        p->ids = more;
        p->ids_room = most;
    }
    sample->ids = p->ids;
    sample->length = ef_tokenizer_encode(p->tokenizer, sample->text, sample->bytes, p->ids, most);
    return 0;
}

static int pack_row(packing *p, ef_vectors *vectors, size_t index, float *row)
{
    ef_sample sample = {.target = row};
    ef_error error = {0};
    int code = next_text(p, &sample.text, &sample.bytes);
    if (code)
        return code;
    if (!sample.text)
        return ef__say_error(EFDATA, EF__DATA, "%s has %zu texts, %s has %zu vectors", p->texts,
                             index, p->vectors, ef_vectors_size(vectors));
    if (p->tokenizer)
        code = tokenize(p, &sample);
    if (code)
        return code;
    ef_status status = ef_vectors_read(vectors, index, row, &error);
    return status ? efdata_failed(status, false, &error) : efdata_add(&p->out, &sample);
}

static int check_end(packing *p, size_t count)
{
    const char *text;
    size_t bytes;
    int code = next_text(p, &text, &bytes);
    efdata_clear();
    if (!code && text)
        return ef__say_error(EFDATA, EF__DATA, "%s has more than the %zu vectors of %s", p->texts,
                             count, p->vectors);
    return code;
}

static int pack(packing *p, ef_vectors *vectors)
{
    size_t count = ef_vectors_size(vectors);
    float *row = malloc(ef_vectors_width(vectors) * sizeof *row);
    if (!row)
        return ef__say_error(EFDATA, EF__DEVICE, "out of memory");
    int code = efdata_begin(&p->out, ef_vectors_width(vectors));
    for (size_t i = 0; i < count && !code; i++)
        code = efdata_step((void *)p->out.path, i, count) ? pack_row(p, vectors, i, row)
                                                          : efdata_stopped();
    free(row);
    if (!code)
        code = check_end(p, count);
    return code ? code : efdata_save(&p->out, count);
}

static int open_and_pack(packing *p)
{
    ef_vectors *vectors = NULL;
    ef_error error = {0};
    ef_status status = ef_vectors_open(p->vectors, p->tensor, &vectors, &error);
    int code = status ? efdata_failed(status, false, &error) : open_texts(p);
    if (!code)
        code = efdata_vocabulary(p->vocab, &p->tokenizer);
    if (!code)
        code = pack(p, vectors);
    ef_vectors_free(vectors);
    return code;
}

int efdata_pack(int argc, char **argv)
{
    packing p = {.out.asked = EFDATA_BY_SUFFIX, .lines.fd = -1};
    int code = read_options(&p, argc, argv);
    if (code >= 0)
        return code;
    code = open_and_pack(&p);
    ef_dataset_writer_free(p.out.writer);
    if (p.lines.fd > STDIN_FILENO)
        close(p.lines.fd);
    ef_tokenizer_free(p.tokenizer);
    free(p.ids);
    free(p.lines.data);
    return code;
}
