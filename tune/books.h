/* books.h -- what tuning left behind: a database and the journal beside it, to read. */
#ifndef TUNE_BOOKS_H
#define TUNE_BOOKS_H

#include "journal.h"
#include <jansson.h>

/* A choice that was tried. */
typedef struct tune_tried {
    const tune_entry *entry;
    tune_outcome outcome; /* the journal's; TUNE_CORRECT: it has run, and nothing was wrong */
    double ms;            /* the median of its times, 0: it has none */
} tune_tried;

typedef struct tune_books {
    json_t *header; /* the database's first line */
    tune_journal journal;
    tune_tried *tried; /* [count]: those of a target stand together, in their order */
    size_t count;
} tune_books;

/* Read both. Close the books also when this fails. Errors: EIO, EFORMAT (also: nothing was tried),
 * ENOMEM. */
ef_status tune_books_read(tune_books *b, const char *db, ef_error *error);
void tune_books_close(tune_books *b);

/* A member of the header, or "". */
const char *tune_books_header(const tune_books *b, const char *name);

/* How many choices stand together from first on, of one target. */
size_t tune_books_group(const tune_books *b, size_t first);

#endif
