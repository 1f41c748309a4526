/* Words to ids and back. A word is the longest token that begins it, then the longest "##" token
 * that goes on, and so on; [UNK] if there is none at some place. */
#include "data/wordpiece.h"
#include "base/file.h"
#include "base/size.h"
#include "data/words.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const special_name[EF__SPECIALS] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]",
                                                       "[MASK]"};

/* ---- A tokenizer ---- */

static ef_status find_specials(const char *name, ef_tokenizer *t, ef_error *error)
{
    for (int i = 0; i < EF__SPECIALS; i++) {
        const char *token = special_name[i];
        t->special[i] = ef__vocabulary_find(&t->vocabulary, token, strlen(token));
        if (t->special[i] < 0 && i < EF__NEEDED)
            return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: none of its %zu lines is %s",
                                 name, t->vocabulary.count, token);
    }
    return EF_OK;
}

static ef_status set_up(const char *name, ef_tokenizer *t, ef_error *error)
{
    ef_status status = find_specials(name, t, error);
    if (status)
        return status;
    if (!ef__vocabulary_trie(&t->vocabulary, EF__WORD_CHARS * EF__UTF8_MAX + 2, &t->trie))
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", name);
    t->inner = ef__trie_child(&t->trie, EF__TRIE_ROOT, '#');
    t->inner = t->inner ? ef__trie_child(&t->trie, t->inner, '#') : EF__TRIE_ROOT;
    if (!t->inner)
        t->inner = EF__TRIE_DEAD;
    return EF_OK;
}

ef_status ef_tokenizer_parse(const char *name, const void *data, size_t bytes,
                             ef_tokenizer **tokenizer, ef_error *error)
{
    ef_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", name);
    ef_status status = ef__vocabulary_parse(name, data, bytes, &t->vocabulary, error);
    if (!status)
        status = set_up(name, t, error);
    if (status)
        ef_tokenizer_free(t);
    else
        *tokenizer = t;
    return status;
}

ef_status ef__tokenizer_of(const ef__st_reader *file, ef_tokenizer **tokenizer, ef_error *error)
{
    char name[512];
    const ef__st_tensor *t = ef__st_find(file, EF__VOCABULARY);
    if (!t) {
        *tokenizer = NULL;
        return EF_OK;
    }
    ef_status status = ef__st_need(file, EF__VOCABULARY, EF__ST_U8, 1, &t->count, &t, error);
    snprintf(name, sizeof name, "%s: tensor \"%s\"", ef__st_path(file), EF__VOCABULARY);
    return status ? status : ef_tokenizer_parse(name, t->data, t->bytes, tokenizer, error);
}

static ef_status open_checkpoint(const char *path, ef_tokenizer **tokenizer, ef_error *error)
{
    ef__st_reader *file = NULL;
    ef_tokenizer *t = NULL;
    ef_status status = ef__st_open(path, &file, error);
    if (!status)
        status = ef__tokenizer_of(file, &t, error);
    if (!status && !t)
        status = ef__error_set(error, EF_EFORMAT, 0, NULL,
                               "%s: carries no vocabulary: it has no tensor \"%s\"", path,
                               EF__VOCABULARY);
    ef__st_close(file);
    if (!status)
        *tokenizer = t;
    return status;
}

ef_status ef_tokenizer_open(const char *path, ef_tokenizer **tokenizer, ef_error *error)
{
    int fd;
    size_t bytes;
    ef_status status = ef__file_open(path, &fd, &bytes, error);
    if (status)
        return status;
    char *data = malloc(bytes + 1), head[EF__ST_HEAD] = "";
    if (!data)
        status = ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    if (!status)
        status = ef__file_read(fd, path, 0, head, ef__min(bytes, sizeof head), error);
    const bool checkpoint = ef__st_looks(head);
    if (!status && !checkpoint)
        status = ef__file_read(fd, path, 0, data, bytes, error);
    close(fd);
    if (!status)
        status = checkpoint ? open_checkpoint(path, tokenizer, error)
                            : ef_tokenizer_parse(path, data, bytes, tokenizer, error);
    free(data);
    return status;
}

/* ---- The vocabulary of a checkpoint ---- */

/* NULL: it carries none, or there is no checkpoint. */
static ef_status open_carried(const char *path, ef_tokenizer **tokenizer, ef_error *error)
{
    ef__st_reader *file = NULL;
    *tokenizer = NULL;
    ef_status status = path ? ef__st_open(path, &file, error) : EF_OK;
    if (file)
        status = ef__tokenizer_of(file, tokenizer, error);
    ef__st_close(file);
    return status;
}

static ef_status check_same(const char *path, const ef_tokenizer *t, const char *checkpoint,
                            const ef_tokenizer *carried, ef_error *error)
{
    const size_t size = ef_tokenizer_size(t), was = ef_tokenizer_size(carried);
    const size_t both = ef__min(size, was);
    for (size_t id = 0; id < both; id++) {
        size_t n, m;
        const char *a = ef_tokenizer_token(t, (int32_t)id, &n);
        const char *b = ef_tokenizer_token(carried, (int32_t)id, &m);
        if (n != m || memcmp(a, b, n))
            return ef__error_set(error, EF_EARG, 0, NULL,
                                 "%s: id %zu is \"%.*s\", in the vocabulary of %s \"%.*s\"", path,
                                 id, (int)n, a, checkpoint, (int)m, b);
    }
    return size == was ? EF_OK
                       : ef__error_set(
                             error, EF_EARG, 0, NULL,
                             "%s: has %zu tokens, the vocabulary of %s %zu: id %zu is in one alone",
                             path, size, checkpoint, was, both);
}

ef_status ef_tokenizer_open_for(const char *vocab, const char *checkpoint, ef_tokenizer **tokenizer,
                                ef_error *error)
{
    ef_tokenizer *named = NULL, *carried;
    ef_status status = open_carried(checkpoint, &carried, error);
    if (!status && vocab)
        status = ef_tokenizer_open(vocab, &named, error);
    if (!status && named && carried)
        status = check_same(vocab, named, checkpoint, carried, error);
    ef_tokenizer *kept = status ? NULL : named ? named : carried;
    if (named != kept)
        ef_tokenizer_free(named);
    if (carried != kept)
        ef_tokenizer_free(carried);
    if (!status)
        *tokenizer = kept;
    return status;
}

/* ---- What a tokenizer has ---- */

void ef_tokenizer_free(ef_tokenizer *t)
{
    if (!t)
        return;
    ef__trie_free(&t->trie);
    ef__vocabulary_free(&t->vocabulary);
    free(t);
}

size_t ef_tokenizer_size(const ef_tokenizer *t)
{
    assert(t);
    return t->vocabulary.count;
}

const char *ef_tokenizer_vocabulary(const ef_tokenizer *t, size_t *bytes)
{
    assert(t);
    *bytes = t->vocabulary.bytes;
    return t->vocabulary.text;
}

int32_t ef_tokenizer_id(const ef_tokenizer *t, const char *token)
{
    assert(t);
    return ef__vocabulary_find(&t->vocabulary, token, strlen(token));
}

const char *ef_tokenizer_token(const ef_tokenizer *t, int32_t id, size_t *bytes)
{
    assert(t);
    if (id < 0 || (size_t)id >= t->vocabulary.count)
        return NULL;
    return ef__vocabulary_token(&t->vocabulary, id, bytes);
}

/* ---- Words to ids ---- */

/* The special token whose first byte was the word that ends here; the words go on after it. */
static int32_t take_special(const ef_tokenizer *t, ef__words *w)
{
    const unsigned char *from = w->at - 1;
    if (w->bytes != 1 || w->word[0] != '[')
        return -1;
    for (int i = 0; i < EF__SPECIALS; i++) {
        const size_t bytes = strlen(special_name[i]);
        if (t->special[i] >= 0 && bytes <= (size_t)(w->end - from) &&
            !memcmp(from, special_name[i], bytes)) {
            w->at = from + bytes;
            return t->special[i];
        }
    }
    return -1;
}

/* The longest token that begins at `at`, behind node; where it ends. -1: there is none. */
static int32_t longest(const ef_tokenizer *t, const ef__words *w, uint32_t node, size_t *at)
{
    int32_t found = -1;
    for (size_t i = *at; i < w->bytes; i++) {
        node = ef__trie_child(&t->trie, node, w->word[i]);
        if (!node)
            break;
        if (t->trie.node[node].id >= 0) {
            found = t->trie.node[node].id;
            *at = i + 1;
        }
    }
    return found;
}

/* The ids of a word, EF__WORD_CHARS at most. */
static size_t pieces(const ef_tokenizer *t, const ef__words *w, int32_t *id)
{
    size_t count = 0, at = 0;
    while (at < w->bytes && w->chars <= EF__WORD_CHARS) {
        id[count] = longest(t, w, at ? t->inner : EF__TRIE_ROOT, &at);
        if (id[count++] < 0)
            break;
    }
    if (count && id[count - 1] >= 0)
        return count;
    id[0] = t->special[EF__UNK];
    return 1;
}

size_t ef_tokenizer_encode(const ef_tokenizer *t, const char *text, size_t bytes, int32_t *ids,
                           size_t max)
{
    int32_t id[EF__WORD_CHARS];
    size_t count = 0;
    ef__words w;
    assert(t);
    if (max < 2)
        return 0;
    ids[count++] = t->special[EF__CLS];
    ef__words_begin(&w, text, bytes);
    while (count < max - 1 && ef__words_next(&w)) {
        size_t more = 1;
        id[0] = take_special(t, &w);
        if (id[0] < 0)
            more = pieces(t, &w, id);
        more = ef__min(more, max - 1 - count);
        memcpy(ids + count, id, more * sizeof *id);
        count += more;
    }
    ids[count++] = t->special[EF__SEP];
    return count;
}

/* ---- Ids to text ---- */

static bool is_special(const ef_tokenizer *t, int32_t id)
{
    for (int i = 0; i < EF__SPECIALS; i++)
        if (id == t->special[i])
            return true;
    return false;
}

/* Does a token stand without a space before it, as English has it? */
static bool is_joined(const char *token, size_t bytes)
{
    static const char *const start[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    for (size_t i = 0; i < sizeof start / sizeof *start; i++)
        if (bytes >= strlen(start[i]) && !memcmp(token, start[i], strlen(start[i])))
            return true;
    return false;
}

/* A text of which only the part that has room is written. */
typedef struct writer {
    char *text;
    size_t room, bytes;
} writer;

static void append(writer *w, const char *from, size_t bytes)
{
    if (w->bytes < w->room)
        memcpy(w->text + w->bytes, from, ef__min(bytes, w->room - w->bytes));
    w->bytes += bytes;
}

size_t ef_tokenizer_decode(const ef_tokenizer *t, const int32_t *ids, size_t count, char *text,
                           size_t room)
{
    writer w = {text, room ? room - 1 : 0, 0};
    bool first = true;
    assert(t);
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *token = ef_tokenizer_token(t, ids[i], &bytes);
        if (!token || is_special(t, ids[i]))
            continue;
        const bool inner = bytes >= 2 && !memcmp(token, "##", 2);
        if (!first && inner)
            append(&w, token + 2, bytes - 2);
        else if (!first && !is_joined(token, bytes))
            append(&w, " ", 1);
        if (first || !inner)
            append(&w, token, bytes);
        first = false;
    }
    if (room)
        text[ef__min(w.bytes, w.room)] = '\0';
    return w.bytes;
}
