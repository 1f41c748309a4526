#include "train/window.h"
#include "base/size.h"
#include "base/utf8.h"
#include <stdlib.h>
#include <string.h>

bool ef__window_new(ef__window *w, size_t batch)
{
    *w = (ef__window){.most = EF__WINDOW_BATCHES * batch};
    w->text = calloc(w->most, sizeof *w->text);
    w->begin = calloc(w->most + 1, sizeof *w->begin);
    w->order = calloc(w->most, sizeof *w->order);
    w->cost = calloc(w->most + 1, sizeof *w->cost);
    w->next = calloc(w->most + 1, sizeof *w->next);
    w->batch = calloc(w->most, sizeof *w->batch);
    return w->text && w->begin && w->order && w->cost && w->next && w->batch;
}

void ef__window_free(ef__window *w)
{
    free(w->text);
    free(w->bytes);
    free(w->begin);
    free(w->order);
    free(w->cost);
    free(w->next);
    free(w->batch);
    free(w->raw);
    free(w->ids);
    free(w->mask);
    *w = (ef__window){0};
}

/* Room for `need` elements; false: no memory, and what was there stays. */
static bool grow(void *array, size_t *room, size_t need, size_t size)
{
    void *old, *more;
    if (need <= *room)
        return true;
    memcpy(&old, array, sizeof old);
    more = need < SIZE_MAX / 2 / size ? realloc(old, 2 * need * size) : NULL;
    if (!more)
        return false;
    memcpy(array, &more, sizeof more);
    *room = 2 * need;
    return true;
}

/* ---- texts and their ids ---- */

/* Ids of a text, at most `length`: one more shows that there are more. */
static bool tokenize(ef__window *w, const ef_text *text, const ef_tokenizer *tokenizer,
                     size_t length)
{
    const size_t at = w->begin[w->count], most = ef__min(text->bytes + 2, length + 1);
    if (!grow(&w->raw, &w->raw_room, at + most, sizeof *w->raw))
        return false;
    int32_t *ids = w->raw + at;
    size_t count = ef_tokenizer_encode(tokenizer, text->text, text->bytes, ids, most);
    if (count > length) {
        ids[length - 1] = ids[length]; /* [SEP] */
        count = length;
        w->cut++;
    }
    w->begin[w->count + 1] = at + count;
    return true;
}

static bool is_utf8(const ef_text *text)
{
    const unsigned char *at = (const unsigned char *)text->text, *end = at + text->bytes;
    while (at < end)
        if (ef__utf8_next(&at, end) == EF__UTF8_BAD)
            return false;
    return true;
}

/* The texts move when there is no room for one more: until all are there, text is an offset. */
static bool add(ef__window *w, const ef_text *text, const ef_tokenizer *tokenizer, size_t length)
{
    if (!grow(&w->bytes, &w->bytes_room, w->used + text->bytes + 1, 1) ||
        !tokenize(w, text, tokenizer, length))
        return false;
    memcpy(w->bytes + w->used, text->text, text->bytes);
    w->text[w->count++].bytes = text->bytes;
    w->not_utf8 += !is_utf8(text);
    w->used += text->bytes;
    return true;
}

static void take_texts(ef__window *w, const ef_embed_stream *stream, const ef_tokenizer *tokenizer,
                       size_t length)
{
    while (w->count < w->most && w->used < EF__WINDOW_BYTES) {
        ef_text text;
        w->ended = stream->next(stream->user, &text);
        if (w->ended != EF_NEXT_TEXT)
            break;
        w->no_memory = !add(w, &text, tokenizer, length);
        if (w->no_memory)
            return;
    }
    for (size_t i = 0, at = 0; i < w->count; at += w->text[i++].bytes)
        w->text[i].text = w->bytes + at;
}

/* ---- batches ---- */

static size_t length_of(const ef__window *w, size_t text)
{
    return w->begin[text + 1] - w->begin[text];
}

/* Counts for each length, then places: as many steps as there are texts and lengths. */
static bool sort(ef__window *w)
{
    size_t longest = 0;
    for (size_t i = 0; i < w->count; i++)
        longest = length_of(w, i) > longest ? length_of(w, i) : longest;
    size_t *place = calloc(longest + 2, sizeof *place);
    if (!place)
        return false;
    for (size_t i = 0; i < w->count; i++)
        place[longest - length_of(w, i) + 1]++;
    for (size_t n = 1; n <= longest; n++)
        place[n] += place[n - 1];
    for (size_t i = 0; i < w->count; i++)
        w->order[place[longest - length_of(w, i)]++] = i;
    free(place);
    return true;
}

/* The cheapest way to cut the sorted texts into batches, from the last text to the first: next[i]
 * is where the batch ends that begins at i. Batches of one length have no padding, but each batch
 * costs as much as so many positions. */
static void cut_cheaply(ef__window *w, size_t batch)
{
    enum { EACH = 64 };
    w->cost[w->count] = 0;
    for (size_t i = w->count; i-- > 0;) {
        const size_t L = length_of(w, w->order[i]), most = ef__min(batch, w->count - i);
        w->cost[i] = SIZE_MAX;
        for (size_t B = 1; B <= most; B++) {
            const size_t cost = EACH + B * L + w->cost[i + B];
            if (cost < w->cost[i]) {
                w->cost[i] = cost;
                w->next[i] = i + B;
            }
        }
    }
}

static size_t lay_out(ef__window *w, size_t batch)
{
    size_t padded = 0;
    cut_cheaply(w, batch);
    for (size_t from = 0; from < w->count; from = w->next[from]) {
        ef__window_batch *b = &w->batch[w->batches++];
        *b = (ef__window_batch){.B = w->next[from] - from,
                                .L = length_of(w, w->order[from]),
                                .at = padded,
                                .from = from};
        padded += b->B * b->L;
    }
    return padded;
}

static void copy_ids(ef__window *w, const ef__window_batch *b)
{
    for (size_t i = 0; i < b->B; i++) {
        const size_t text = w->order[b->from + i], n = length_of(w, text), at = b->at + i * b->L;
        memcpy(w->ids + at, w->raw + w->begin[text], n * sizeof *w->ids);
        memset(w->ids + at + n, 0, (b->L - n) * sizeof *w->ids);
        memset(w->mask + at, 1, n);
        memset(w->mask + at + n, 0, b->L - n);
    }
}

static bool make_batches(ef__window *w, size_t batch)
{
    if (!sort(w))
        return false;
    size_t padded = lay_out(w, batch), room = w->padded_room;
    if (!grow(&w->ids, &room, padded, sizeof *w->ids) ||
        !grow(&w->mask, &w->padded_room, padded, sizeof *w->mask))
        return false;
    for (size_t i = 0; i < w->batches; i++)
        copy_ids(w, &w->batch[i]);
    return true;
}

void ef__window_fill(ef__window *w, const ef_embed_stream *stream, const ef_tokenizer *tokenizer,
                     size_t batch, size_t length)
{
    w->count = w->used = w->batches = 0;
    w->cut = w->not_utf8 = 0;
    w->ended = EF_NEXT_TEXT;
    w->no_memory = false;
    take_texts(w, stream, tokenizer, length);
    if (!w->no_memory)
        w->no_memory = !make_batches(w, batch);
}
