/* efdata tokenize: texts on standard input, their ids on standard output, a line each. */
#include "cmd/efdata.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct settings {
    const char *vocab;
    size_t length;
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    int first;
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"vocab", EF__TEXT, &s->vocab, "FILE", .help = "vocab.txt: a token a line (needed)"},
        {"length", EF__SIZE, &s->length, "N", 2, INT32_MAX, "all",
         .help = "at most N ids of a text, with [CLS] and [SEP]"},
        {0}};
    int code = efdata_options("tokenize --vocab FILE [OPTION...]",
                              "Write the WordPiece ids of each line of standard input, with spaces "
                              "between them.",
                              table, argc, argv, 0, "", &first);
    if (code < 0 && !s->vocab)
        return ef__say_error(EFDATA, EF__USAGE, "tokenize: --vocab is needed (see --help)");
    return code;
}

static void print_ids(const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%s%" PRId32, i ? " " : "", ids[i]);
    putchar('\n');
}

static int tokenize(const settings *s, const ef_tokenizer *t, ef__lines *lines, int32_t **ids)
{
    size_t ids_room = 0, bytes;
    const char *line;
    int code;
    while (!(code = efdata_next(lines, "stdin", &line, &bytes)) && line && !ferror(stdout)) {
        size_t most = bytes + 2;
        if (s->length && s->length < most)
            most = s->length;
        if (most > ids_room) {
            int32_t *more = realloc(*ids, most * sizeof *more);
            if (!more)
                return ef__say_error(EFDATA, EF__DEVICE, "out of memory");
            *ids = more;
            ids_room = most;
        }
        print_ids(*ids, ef_tokenizer_encode(t, line, bytes, *ids, most));
    }
    return !code && efdata_interrupted() ? ef__say_error(EFDATA, EF__INTERRUPTED, "interrupted")
                                         : code;
}

int efdata_tokenize(int argc, char **argv)
{
    settings s = {0};
    ef_tokenizer *tokenizer = NULL;
    ef__lines lines = {.fd = STDIN_FILENO};
    int32_t *ids = NULL;
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    code = efdata_vocabulary(s.vocab, &tokenizer);
    if (!code)
        code = tokenize(&s, tokenizer, &lines, &ids);
    ef_tokenizer_free(tokenizer);
    free(lines.data);
    free(ids);
    return code;
}
