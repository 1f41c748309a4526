/* A vocabulary: lines of UTF-8, a token each, whose id is the number of its line from 0. */
#ifndef EF_DATA_VOCABULARY_H
#define EF_DATA_VOCABULARY_H

#include "base/error.h"
#include "data/trie.h"

typedef struct ef__vocabulary {
    char *text;      /* the tokens, each with a newline after it */
    size_t bytes;    /* of the text */
    size_t *offset;  /* [count + 1] of each token in the text, and the end */
    size_t count;    /* > 0 */
    int32_t *sorted; /* [count] ids, by the bytes of their tokens */
} ef__vocabulary;

/* ef__vocabulary_parse -- read lines; name is for messages. White space at the end of a line is no
 * part of it. Free it with ef__vocabulary_free, after a failure too; a zeroed one is fine.
 * Errors: EFORMAT (no line, a blank one, one twice, one that is not UTF-8; the text names the
 * line), ENOMEM. */
ef_status ef__vocabulary_parse(const char *name, const void *data, size_t bytes, ef__vocabulary *v,
                               ef_error *error);
void ef__vocabulary_free(ef__vocabulary *v);

/* ef__vocabulary_token -- the token of an id that there is: its bytes, which a newline follows. */
const char *ef__vocabulary_token(const ef__vocabulary *v, int32_t id, size_t *bytes);

/* ef__vocabulary_find -- the id of a token, or -1. */
int32_t ef__vocabulary_find(const ef__vocabulary *v, const char *token, size_t bytes);

/* ef__vocabulary_trie -- the trie of the tokens that have at most so many bytes. false: no
 * memory. */
bool ef__vocabulary_trie(const ef__vocabulary *v, size_t most, ef__trie *trie);

#endif
