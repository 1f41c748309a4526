/* Text to words, as BERT's uncased models want them: the normaliser and the splitter of Hugging
 * Face's tokenizers 0.23 in one pass, without allocation.
 * Of a text, in this order: control and format characters go; white space ends a word; Chinese
 * characters stand alone; letters become their canonical decomposition (NFD), which loses its marks
 * and becomes lower case; punctuation stands alone. What is not UTF-8 goes, too. */
#ifndef EF_DATA_WORDS_H
#define EF_DATA_WORDS_H

#include "base/utf8.h"
#include <stdbool.h>

enum { EF__WORD_CHARS = 100 }; /* words with more code points are no words */

/* A text on its way, and the word that was found last. */
typedef struct ef__words {
    const unsigned char *at, *end; /* the rest of the text */
    size_t chars;                  /* of the word: when > EF__WORD_CHARS, word has not all of it */
    size_t bytes;                  /* in word */
    size_t waiting;                /* code points that are not written yet, in canonical order */
    struct {
        uint32_t c;
        unsigned char order;
    } wait[EF__WORD_CHARS];
    unsigned char word[EF__WORD_CHARS * EF__UTF8_MAX];
} ef__words;

/* ef__words_begin -- start before the first word of a text, which must stay. */
void ef__words_begin(ef__words *w, const void *text, size_t bytes);

/* ef__words_next -- find the next word; false at the end of the text. */
bool ef__words_next(ef__words *w);

/* ef__is_white -- Unicode's white space. */
bool ef__is_white(uint32_t c);

#endif
