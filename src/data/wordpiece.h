/* The tokenizer: a vocabulary, its trie, and what the special tokens are. */
#ifndef EF_DATA_WORDPIECE_H
#define EF_DATA_WORDPIECE_H

#include "base/safetensors.h"
#include "data/vocabulary.h"

/* The tokens that stand for themselves in a text and are left out of what ids say. */
typedef enum ef__special {
    EF__UNK,
    EF__CLS,
    EF__SEP,
    EF__NEEDED, /* the others may be missing */
    EF__PAD = EF__NEEDED,
    EF__MASK_TOKEN,
    EF__SPECIALS
} ef__special;

struct ef_tokenizer {
    ef__vocabulary vocabulary;
    ef__trie trie;
    uint32_t inner;                /* the node behind "##", where words go on */
    int32_t special[EF__SPECIALS]; /* ids, or -1 */
};

/* The U8 tensor of a checkpoint that is its vocabulary, as ef_tokenizer_vocabulary gives it. */
#define EF__VOCABULARY "tokenizer.vocab"

/* ef__tokenizer_of -- the tokenizer of the vocabulary that a safetensors file carries; NULL where
 * it carries none. Errors: EFORMAT, ENOMEM. */
ef_status ef__tokenizer_of(const ef__st_reader *file, ef_tokenizer **tokenizer, ef_error *error);

#endif
