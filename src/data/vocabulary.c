#include "data/vocabulary.h"
#include "base/size.h"
#include "data/words.h"
#include <stdlib.h>
#include <string.h>

static ef_status no_memory(const char *name, ef_error *error)
{
    return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", name);
}

/* ---- Lines ---- */

/* Where the white space at the end of a line of UTF-8 begins. */
static const unsigned char *trimmed(const unsigned char *line, const unsigned char *end)
{
    while (end > line) {
        const unsigned char *last = end - 1, *next;
        while (last > line && (*last & 0xc0) == 0x80)
            last--;
        next = last;
        if (!ef__is_white(ef__utf8_next(&next, end)))
            break;
        end = last;
    }
    return end;
}

static bool is_utf8(const unsigned char *p, const unsigned char *end)
{
    while (p < end)
        if (ef__utf8_next(&p, end) == EF__UTF8_BAD)
            return false;
    return true;
}

static ef_status add_line(const char *name, const unsigned char *line, const unsigned char *end,
                          ef__vocabulary *v, ef_error *error)
{
    const char *fault = is_utf8(line, end) ? NULL : "is not UTF-8";
    if (!fault && (end = trimmed(line, end)) == line)
        fault = "is blank: each line is a token";
    if (fault)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s:%zu: %s", name, v->count + 1, fault);
    memcpy(v->text + v->bytes, line, (size_t)(end - line));
    v->bytes += (size_t)(end - line);
    v->text[v->bytes++] = '\n';
    v->offset[++v->count] = v->bytes;
    return EF_OK;
}

static ef_status read_lines(const char *name, const unsigned char *data, size_t bytes,
                            ef__vocabulary *v, ef_error *error)
{
    ef_status status = EF_OK;
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++)
        lines += data[i] == '\n';
    v->text = malloc(bytes + 1);
    v->offset = calloc(lines + 1, sizeof *v->offset);
    v->sorted = malloc(lines * sizeof *v->sorted);
    if (!v->text || !v->offset || !v->sorted)
        return no_memory(name, error);
    const unsigned char *end = data + bytes;
    for (const unsigned char *p = data; p < end && !status;) {
        const unsigned char *newline = memchr(p, '\n', (size_t)(end - p));
        const unsigned char *stop = newline ? newline : end;
        status = add_line(name, p, stop, v, error);
        p = newline ? newline + 1 : end;
    }
    return status;
}

/* ---- Order ---- */

static int compare(const void *left, const void *right)
{
    const ef__trie_key *a = left, *b = right;
    const int order = memcmp(a->text, b->text, ef__min(a->bytes, b->bytes));
    if (order)
        return order;
    return a->bytes != b->bytes ? (a->bytes > b->bytes) - (a->bytes < b->bytes)
                                : (a->id > b->id) - (a->id < b->id);
}

static ef__trie_key key_of(const ef__vocabulary *v, int32_t id)
{
    ef__trie_key key = {.id = id};
    key.text = (const unsigned char *)ef__vocabulary_token(v, id, &key.bytes);
    return key;
}

/* Of all tokens that are there twice, the first line that repeats one. */
static ef_status check_twice(const char *name, const ef__trie_key *key, size_t count,
                             ef_error *error)
{
    const ef__trie_key *again = NULL;
    for (size_t i = 1; i < count; i++)
        if (key[i].bytes == key[i - 1].bytes && !memcmp(key[i].text, key[i - 1].text, key[i].bytes))
            if (!again || key[i].id < again->id)
                again = &key[i];
    if (!again)
        return EF_OK;
    return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s:%ld: is the token of line %ld again", name,
                         again->id + 1L, again[-1].id + 1L);
}

static ef_status sort(const char *name, ef__vocabulary *v, ef_error *error)
{
    ef__trie_key *key = malloc(v->count * sizeof *key);
    if (!key)
        return no_memory(name, error);
    for (size_t i = 0; i < v->count; i++)
        key[i] = key_of(v, (int32_t)i);
    qsort(key, v->count, sizeof *key, compare);
    for (size_t i = 0; i < v->count; i++)
        v->sorted[i] = key[i].id;
    ef_status status = check_twice(name, key, v->count, error);
    free(key);
    return status;
}

ef_status ef__vocabulary_parse(const char *name, const void *data, size_t bytes, ef__vocabulary *v,
                               ef_error *error)
{
    *v = (ef__vocabulary){0};
    if (!bytes)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: is empty", name);
    if (bytes > INT32_MAX)
        return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: %zu bytes are too many", name, bytes);
    ef_status status = read_lines(name, data, bytes, v, error);
    return status ? status : sort(name, v, error);
}

void ef__vocabulary_free(ef__vocabulary *v)
{
    free(v->text);
    free(v->offset);
    free(v->sorted);
    *v = (ef__vocabulary){0};
}

/* ---- Look-up ---- */

const char *ef__vocabulary_token(const ef__vocabulary *v, int32_t id, size_t *bytes)
{
    *bytes = v->offset[id + 1] - v->offset[id] - 1;
    return v->text + v->offset[id];
}

int32_t ef__vocabulary_find(const ef__vocabulary *v, const char *token, size_t bytes)
{
    const ef__trie_key want = {(const unsigned char *)token, bytes, 0};
    size_t low = 0, high = v->count;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        ef__trie_key key = key_of(v, v->sorted[mid]);
        key.id = 0;
        const int order = compare(&want, &key);
        if (!order)
            return v->sorted[mid];
        if (order > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

bool ef__vocabulary_trie(const ef__vocabulary *v, size_t most, ef__trie *trie)
{
    ef__trie_key *key = malloc(v->count * sizeof *key);
    size_t count = 0;
    for (size_t i = 0; key && i < v->count; i++) {
        key[count] = key_of(v, v->sorted[i]);
        count += key[count].bytes <= most;
    }
    const bool good = key && ef__trie_build(trie, key, count);
    free(key);
    return good;
}
