/* window.h -- a window of a stream of texts: those that are sorted by length and put into batches
 * together. Pure host work, all of it ahead of the device. */
#ifndef EF_TRAIN_WINDOW_H
#define EF_TRAIN_WINDOW_H

#include "base/error.h"

enum {
    EF__WINDOW_BATCHES = 16,       /* that many full ones have room */
    EF__WINDOW_BYTES = 4 * 1 << 20 /* of texts, after which a window takes no more */
};

typedef struct ef__window_batch {
    size_t B, L, at; /* its ids and mask begin at element `at` of the window's */
    size_t from;     /* order[from .. from + B) are its texts */
} ef__window_batch;

typedef struct ef__window {
    size_t most, count; /* texts */
    ef_text *text;      /* [count] */
    char *bytes;        /* of the texts, one after the other */
    size_t used, bytes_room;
    size_t *begin; /* [count + 1]: of each text's ids among all */
    size_t *order; /* [count]: the texts by length, the longest first */
    int32_t *raw;  /* ids in the order of the texts */
    size_t raw_room;
    size_t *cost, *next;     /* [count + 1]: while batches are made */
    ef__window_batch *batch; /* [batches]; as many as texts have room */
    size_t batches;
    int32_t *ids; /* those of the batches, right padded */
    uint8_t *mask;
    size_t padded_room;
    uint64_t cut;      /* texts that had more ids than allowed */
    uint64_t not_utf8; /* texts with bytes that are no UTF-8 */
    ef_next ended;     /* what the stream said after the last text; EF_NEXT_TEXT: nothing yet */
    bool no_memory;    /* the window is not whole */
} ef__window;

/* Room for 16 full batches of texts; false: no memory. A zeroed window may be freed. */
bool ef__window_new(ef__window *window, size_t batch);
void ef__window_free(ef__window *window);

/* Take texts from the stream until the window is full or the stream has none for now, then make
 * batches of them. length: most ids of a text. */
void ef__window_fill(ef__window *window, const ef_embed_stream *stream,
                     const ef_tokenizer *tokenizer, size_t batch, size_t length);

#endif
