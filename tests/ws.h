/* ws.h -- a tokenizer for tests that need ids without a vocabulary file: ASCII in lower case, split
 * at white space, ids from 2 in the order seen; 0 pads, and 1 is what is unknown when no more are
 * to be added. */
#ifndef EF_TESTS_WS_H
#define EF_TESTS_WS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { WS_PAD, WS_UNK, WS_FIRST, WS_WORDS = 512, WS_BYTES = 32 };

typedef struct ws {
    size_t count; /* words seen */
    char word[WS_WORDS][WS_BYTES];
    bool fixed; /* no more are added */
} ws;

static inline int32_t ws_id(ws *t, const char *word)
{
    for (size_t i = 0; i < t->count; i++)
        if (!strcmp(t->word[i], word))
            return WS_FIRST + (int32_t)i;
    if (t->fixed || t->count == WS_WORDS)
        return WS_UNK;
    strcpy(t->word[t->count], word);
    return WS_FIRST + (int32_t)t->count++;
}

/* The ids of a text, max at most; a word longer than WS_BYTES - 1 counts by its beginning. */
static inline size_t ws_encode(ws *t, const char *text, int32_t *ids, size_t max)
{
    size_t count = 0;
    while (count < max) {
        char word[WS_BYTES];
        size_t bytes = 0;
        for (; isspace((unsigned char)*text); text++)
            ;
        for (; *text && !isspace((unsigned char)*text); text++)
            if (bytes < WS_BYTES - 1)
                word[bytes++] = (char)tolower((unsigned char)*text);
        if (!bytes)
            break;
        word[bytes] = '\0';
        ids[count++] = ws_id(t, word);
    }
    return count;
}

#endif
