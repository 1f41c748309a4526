/* efdata convert, split and repair: samples of a file in other files. */
#include "cmd/efdata.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- convert ---- */

typedef struct conversion {
    const char *input, *vocab;
    ef_dataset_options read;
    efdata_output out;
} conversion;

static int convert_options(conversion *c, int argc, char **argv)
{
    int first;
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"format", EF__CHOICE, &c->out.asked, EFDATA_FORMATS, .fallback = "by OUT's suffix",
         .help = "what to write"},
        {"vocab", EF__TEXT, &c->vocab, "FILE", .fallback = "",
         .help = "vocab.txt: texts without ids get those of WordPiece"},
        {"length", EF__SIZE, &c->read.most_ids, "N", 2, INT32_MAX, "all",
         .help = "of them at most N, with [CLS] and [SEP]"},
        {"skip-bad", EF__FLAG, &c->read.skip_bad,
         .help = "JSONL: leave out lines that are no samples, and count them"},
        {0}};
    int code = efdata_options("convert IN OUT [OPTION...]",
                              "Write the samples of an EFB1, EFB2 or JSONL file as EFB1 or JSONL.",
                              table, argc, argv, 2, "two files, IN and OUT", &first);
    if (code >= 0)
        return code;
    c->input = argv[first];
    c->out.path = argv[first + 1];
    code = efdata_format(c->out.path, c->out.asked, &c->out.format);
    if (!code)
        code = efdata_apart("OUT", c->out.path, (const char *[]){c->input, c->vocab}, 2);
    return code ? code : -1;
}

/* Sample number index of data goes to out. */
static int copy(ef_dataset *data, size_t index, efdata_output *out)
{
    ef_error error = {0};
    ef_sample sample;
    ef_status status = ef_dataset_read(data, index, &sample, &error);
    return status ? efdata_failed(status, false, &error) : efdata_add(out, &sample);
}

static int convert(conversion *c, ef_dataset *data)
{
    size_t count = ef_dataset_size(data);
    int code = efdata_begin(&c->out, ef_dataset_width(data));
    for (size_t i = 0; i < count && !code; i++)
        code =
            efdata_step((void *)c->out.path, i, count) ? copy(data, i, &c->out) : efdata_stopped();
    return code ? code : efdata_save(&c->out, count);
}

int efdata_convert(int argc, char **argv)
{
    conversion c = {.out.asked = EFDATA_BY_SUFFIX};
    ef_tokenizer *tokenizer = NULL;
    ef_dataset *data = NULL;
    int code = convert_options(&c, argc, argv);
    if (code >= 0)
        return code;
    code = efdata_vocabulary(c.vocab, &tokenizer);
    c.read.tokenizer = tokenizer;
    if (!code)
        code = efdata_open(c.input, &c.read, &data);
    if (!code)
        code = convert(&c, data);
    ef_dataset_writer_free(c.out.writer);
    ef_dataset_free(data);
    ef_tokenizer_free(tokenizer);
    return code;
}

/* ---- split ---- */

typedef struct division {
    const char *input;
    float fraction;
    size_t count;
    uint64_t seed;
    ef_dataset_options read;
    efdata_output out[2]; /* what is left; what was drawn */
} division;

static int check_division(division *d)
{
    if ((d->fraction > 0) == (d->count > 0))
        return ef__say_error(EFDATA, EF__USAGE, "split: needs either --fraction or --count");
    int code = efdata_apart("REST", d->out[0].path, &d->input, 1);
    if (!code)
        code = efdata_apart("DRAWN", d->out[1].path, (const char *[]){d->input, d->out[0].path}, 2);
    for (int i = 0; i < 2 && !code; i++)
        code = efdata_format(d->out[i].path, d->out[0].asked, &d->out[i].format);
    return code ? code : -1;
}

static int split_options(division *d, int argc, char **argv)
{
    int first;
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"fraction", EF__REAL, &d->fraction, "F", 1e-9, 1, "",
         .help = "share of the samples for DRAWN"},
        {"count", EF__SIZE, &d->count, "N", 1, UINT32_MAX, "",
         .help = "how many samples for DRAWN"},
        {"seed", EF__U64, &d->seed, "N", .help = "which ones"},
        {"format", EF__CHOICE, &d->out[0].asked, EFDATA_FORMATS, .fallback = "by their suffixes",
         .help = "what to write"},
        {"skip-bad", EF__FLAG, &d->read.skip_bad,
         .help = "JSONL: leave out lines that are no samples, and count them"},
        {0}};
    int code = efdata_options("split IN REST DRAWN --fraction F|--count N [OPTION...]",
                              "Draw samples of IN into DRAWN; the others go to REST. Both keep the "
                              "order of IN.",
                              table, argc, argv, 3, "three files, IN, REST and DRAWN", &first);
    if (code >= 0)
        return code;
    d->input = argv[first];
    d->out[0].path = argv[first + 1];
    d->out[1].path = argv[first + 2];
    return check_division(d);
}

/* Both outputs or none: neither has its name before both are whole. */
static int divide(division *d, ef_dataset *data, const bool *drawn, size_t count)
{
    size_t all = ef_dataset_size(data);
    int code = 0;
    for (int i = 0; i < 2 && !code; i++)
        code = efdata_begin(&d->out[i], ef_dataset_width(data));
    for (size_t i = 0; i < all && !code; i++)
        code = efdata_step((void *)d->input, i, all) ? copy(data, i, &d->out[drawn[i]])
                                                     : efdata_stopped();
    for (int i = 0; i < 2 && !code; i++)
        code = efdata_finish(&d->out[i]);
    if (!code)
        code = efdata_save(&d->out[0], all - count);
    return code ? code : efdata_save(&d->out[1], count);
}

static int split(division *d, ef_dataset *data)
{
    size_t all = ef_dataset_size(data);
    size_t count = d->count ? d->count : (size_t)((double)d->fraction * (double)all + 0.5);
    if (!count || count >= all)
        return ef__say_error(EFDATA, EF__DATA,
                             "%s: %zu of its %zu samples cannot be drawn: none %s", d->input, count,
                             all, count ? "would be left" : "would be");
    bool *drawn = malloc(all * sizeof *drawn);
    if (!drawn)
        return ef__say_error(EFDATA, EF__DEVICE, "out of memory");
    ef_dataset_draw(all, count, d->seed, drawn);
    int code = divide(d, data, drawn, count);
    free(drawn);
    return code;
}

int efdata_split(int argc, char **argv)
{
    division d = {.seed = 1, .out[0].asked = EFDATA_BY_SUFFIX};
    ef_dataset *data = NULL;
    int code = split_options(&d, argc, argv);
    if (code >= 0)
        return code;
    code = efdata_open(d.input, &d.read, &data);
    if (!code)
        code = split(&d, data);
    ef_dataset_writer_free(d.out[0].writer);
    ef_dataset_writer_free(d.out[1].writer);
    ef_dataset_free(data);
    return code;
}

/* ---- repair ---- */

int efdata_repair(int argc, char **argv)
{
    int first;
    const ef__option none[] = {{0}};
    ef_repair_report r;
    ef_error error = {0};
    int code = efdata_options("repair IN OUT",
                              "Save what is whole of an EFB file that was cut off, or whose header "
                              "counts 0 samples\nbecause its writer did not finish. IN is not "
                              "changed.",
                              none, argc, argv, 2, "two files, IN and OUT", &first);
    if (code >= 0)
        return code;
    code = efdata_apart("OUT", argv[first + 1], (const char *[]){argv[first]}, 1);
    if (code)
        return code;
    ef_status status = ef_dataset_repair(argv[first], argv[first + 1], &r, &error);
    if (status)
        return efdata_failed(status, false, &error);
    ef__say_error(EFDATA, 0,
                  "%s: %" PRIu64 " samples; the header counted %" PRIu64 "; left out: %" PRIu64
                  " unsound samples and %" PRIu64 " bytes at the end%s%s",
                  argv[first + 1], r.kept, r.declared, r.unsound, r.cut_bytes,
                  *r.first ? "; the first: " : "", r.first);
    return EXIT_SUCCESS;
}
