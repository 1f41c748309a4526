/* pairs.h -- pairs of sentences that people have scored: lines of SCORE tab SENTENCE tab
 * SENTENCE. */
#ifndef EF_DATA_PAIRS_H
#define EF_DATA_PAIRS_H

#include "base/error.h"

typedef struct ef__pair {
    double score;
    ef_text text[2];
} ef__pair;

typedef struct ef__pairs {
    size_t count;
    ef__pair *pair;
    char *text; /* the file's */
} ef__pairs;

/* ef__pairs_open -- read a file of them. Errors: EFORMAT (no line; "FILE:LINE: ..." for another
 * number of columns, a score that is no number of JSON's, an empty sentence), EIO, ENOMEM; nothing
 * is left to free then. */
ef_status ef__pairs_open(const char *path, ef__pairs *pairs, ef_error *error);

/* ef__pairs_parse -- the same from memory, which is copied. name is for messages. */
ef_status ef__pairs_parse(const char *name, const void *data, size_t bytes, ef__pairs *pairs,
                          ef_error *error);
void ef__pairs_free(ef__pairs *pairs);

#endif
