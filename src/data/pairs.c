#include "data/pairs.h"
#include "base/file.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 3 };

/* Where a line is, for messages. */
typedef struct place {
    const char *name;
    size_t line; /* from 1 */
    ef_error *error;
} place;

static ef_status bad(const place *p, const char *text)
{
    return ef__error_set(p->error, EF_EFORMAT, 0, NULL, "%s:%zu: %s", p->name, p->line, text);
}

static ef_status bad_columns(const place *p, size_t count)
{
    return ef__error_set(p->error, EF_EFORMAT, 0, NULL,
                         "%s:%zu: has %zu column%s, must be SCORE tab SENTENCE tab SENTENCE",
                         p->name, p->line, count, count == 1 ? "" : "s");
}

static size_t count_tabs(const char *from, const char *end)
{
    size_t count = 0;
    while ((from = memchr(from, '\t', (size_t)(end - from)))) {
        from++;
        count++;
    }
    return count;
}

static bool is_blank(ef_text t)
{
    for (size_t i = 0; i < t.bytes; i++)
        if (!strchr(" \r", t.text[i]) || !t.text[i])
            return false;
    return true;
}

/* A line, [from,end), which is not copied. */
static ef_status parse_line(const place *p, const char *from, const char *end, ef__pair *pair)
{
    const size_t tabs = count_tabs(from, end);
    if (tabs + 1 != COLUMNS)
        return bad_columns(p, tabs + 1);
    const char *tab = memchr(from, '\t', (size_t)(end - from));
    json_t *score = json_loadb(from, (size_t)(tab - from), JSON_DECODE_ANY, NULL);
    if (!json_is_number(score)) {
        json_decref(score);
        return bad(p, "its score is no number");
    }
    pair->score = json_number_value(score);
    json_decref(score);
    for (int i = 0; i < 2; i++) {
        from = tab + 1;
        const char *next = i ? end : memchr(from, '\t', (size_t)(end - from));
        pair->text[i] = (ef_text){from, (size_t)(next - from)};
        tab = next;
        if (is_blank(pair->text[i]))
            return bad(p, i ? "its second sentence is empty" : "its first sentence is empty");
    }
    return EF_OK;
}

/* A newline ends a line; behind the last one there may be none. */
static size_t count_lines(const char *from, const char *end)
{
    size_t count = 0;
    for (const char *next; from < end; from = next + 1, count++)
        if (!(next = memchr(from, '\n', (size_t)(end - from))))
            return count + 1;
    return count;
}

static ef_status parse_lines(const char *name, const char *from, const char *end, ef__pair *pair,
                             ef_error *error)
{
    place p = {.name = name, .line = 1, .error = error};
    ef_status status = EF_OK;
    for (; from < end && !status; p.line++) {
        const char *newline = memchr(from, '\n', (size_t)(end - from));
        const char *stop = newline ? newline : end;
        status = parse_line(&p, from, stop, pair++);
        from = newline ? newline + 1 : end;
    }
    return status;
}

ef_status ef__pairs_parse(const char *name, const void *data, size_t bytes, ef__pairs *pairs,
                          ef_error *error)
{
    if (!bytes)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: is empty", name);
    ef__pairs p = {.text = malloc(bytes)};
    ef_status status = EF_ENOMEM;
    if (p.text) {
        memcpy(p.text, data, bytes);
        p.count = count_lines(p.text, p.text + bytes);
        p.pair = calloc(p.count, sizeof *p.pair);
    }
    if (p.pair)
        status = parse_lines(name, p.text, p.text + bytes, p.pair, error);
    else
        ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", name);
    if (status)
        ef__pairs_free(&p);
    else
        *pairs = p;
    return status;
}

ef_status ef__pairs_open(const char *path, ef__pairs *pairs, ef_error *error)
{
    ef__map map = {0};
    ef_status status = ef__file_map(path, &map, error);
    if (!status)
        status = ef__pairs_parse(path, map.data, map.bytes, pairs, error);
    ef__file_unmap(&map);
    return status;
}

void ef__pairs_free(ef__pairs *pairs)
{
    free(pairs->text);
    free(pairs->pair);
    *pairs = (ef__pairs){0};
}
