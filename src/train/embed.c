/* Embedding. Windows of texts go round between two threads: one fills them (train/window.h), the
 * caller's enqueues them and gives their vectors out. There are three, so that one is filled and
 * one given out while the device has the third. */
#include "base/clock.h"
#include "model/encoder.h"
#include "train/evaluate.h"
#include "train/trainer.h"
#include "train/window.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOWS = 3, MOST_BATCH = 4096 };

typedef struct embedding {
    ef_encoder *encoder;
    const ef_tokenizer *tokenizer;
    ef_embed_options options;
    const ef_embed_stream *stream;
    ef_embed_report report;
    ef_error *error;
    ef__window window[WINDOWS]; /* number n is window[n % WINDOWS] */
    size_t texts;               /* in a window, at most */
    ef_readback **vectors;      /* [texts]: one for each batch of the window that the device has */
    float *rows;                /* [texts,E], in their order */
    pthread_t filler;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t filled, freed; /* under the lock: windows so far */
    bool stop;              /* under the lock: no more are wanted */
} embedding;

/* ---- the thread that fills ---- */

/* The next window to fill; NULL: none is wanted. */
static ef__window *await_free(embedding *e)
{
    pthread_mutex_lock(&e->lock);
    while (!e->stop && e->filled - e->freed == WINDOWS)
        pthread_cond_wait(&e->changed, &e->lock);
    ef__window *w = e->stop ? NULL : &e->window[e->filled % WINDOWS];
    pthread_mutex_unlock(&e->lock);
    return w;
}

static void hand_over(embedding *e)
{
    pthread_mutex_lock(&e->lock);
    e->filled++;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static void *fill(void *user)
{
    embedding *e = user;
    ef__window *w;
    while ((w = await_free(e))) {
        ef__window_fill(w, e->stream, e->tokenizer, e->options.batch, e->options.length);
        if (w->ended == EF_NEXT_PAUSE && !w->count)
            continue; /* nothing came: the same window again */
        const bool last = w->no_memory || w->ended == EF_NEXT_END || w->ended == EF_NEXT_STOP;
        hand_over(e);
        if (last)
            break;
    }
    return NULL;
}

/* ---- the caller's thread ---- */

/* Window number n; NULL: it is not there yet, and there is something better to do than wait. */
static ef__window *get_window(embedding *e, uint64_t n, bool wait)
{
    pthread_mutex_lock(&e->lock);
    while (wait && e->filled == n)
        pthread_cond_wait(&e->changed, &e->lock);
    ef__window *w = e->filled > n ? &e->window[n % WINDOWS] : NULL;
    pthread_mutex_unlock(&e->lock);
    return w;
}

static void free_window(embedding *e)
{
    pthread_mutex_lock(&e->lock);
    e->freed++;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

/* Everything that is enqueued for a batch, and sent to the device. */
static ef_status encode(embedding *e, const ef__window *w, const ef__window_batch *b,
                        ef_readback **readback)
{
    ef_actor *a = e->encoder->model.actor;
    const ef_batch batch = {.B = b->B,
                            .L = b->L,
                            .E = e->encoder->model.config.vector,
                            .ids = w->ids + b->at,
                            .mask = w->mask + b->at};
    ef_status status = ef_batch_begin(a);
    if (status)
        return status;
    status = ef__encode(e->encoder, &batch, readback);
    ef_status flushed = ef_batch_sync(a, "batch of texts");
    return status ? status : flushed;
}

/* A row of the device's in the place of its text. */
static ef_status put_row(embedding *e, const float *from, float *to, uint64_t text)
{
    const size_t E = e->encoder->model.config.vector;
    double square = 0;
    for (size_t i = 0; i < E; i++)
        square += (double)from[i] * (double)from[i];
    if (!isfinite(square))
        return ef__error_set(e->error, EF_ESTATE, 0, NULL,
                             "embedding: the vector of text %llu is not finite",
                             (unsigned long long)text);
    const double scale = e->options.normalize && square > 0 ? 1 / sqrt(square) : 1;
    for (size_t i = 0; i < E; i++)
        to[i] = (float)(scale * (double)from[i]);
    return EF_OK;
}

/* A window that was synced: its vectors, and what there is to count. */
static ef_status resolve(embedding *e, const ef__window *w)
{
    const size_t E = e->encoder->model.config.vector;
    ef_status status = EF_OK;
    for (size_t i = 0; i < w->batches && !status; i++) {
        const ef__window_batch *b = &w->batch[i];
        const void *data;
        size_t count;
        status = ef_readback_value(e->vectors[i], &data, &count);
        if (status)
            return ef__actor_says(e->encoder->model.actor, status, e->error);
        for (size_t r = 0; r < b->B && !status; r++) {
            const size_t text = w->order[b->from + r];
            status =
                put_row(e, (const float *)data + r * E, e->rows + text * E, e->report.texts + text);
        }
        e->report.positions += b->B * b->L;
    }
    e->report.texts += w->count;
    e->report.cut += w->cut;
    e->report.not_utf8 += w->not_utf8;
    e->report.ids += w->begin[w->count];
    return status;
}

static void free_readbacks(embedding *e)
{
    for (size_t i = 0; e->vectors && i < e->texts; i++) {
        ef_readback_free(e->vectors[i]);
        e->vectors[i] = NULL;
    }
}

static ef_status cancelled(embedding *e)
{
    return ef__error_set(e->error, EF_ECANCELLED, 0, NULL, "embedding: stopped after %llu texts",
                         (unsigned long long)e->report.texts);
}

/* Give out the vectors of the window that was resolved last. */
static ef_status give_out(embedding *e, const ef__window *w)
{
    if (!w->count ||
        e->stream->take(e->stream->user, e->rows, w->text, w->count)) /* or the end's */
        return EF_OK;
    return cancelled(e);
}

static ef_status check_window(embedding *e, const ef__window *w)
{
    if (w->no_memory)
        return ef__error_set(e->error, EF_ENOMEM, 0, NULL, "embedding: out of memory");
    return w->ended == EF_NEXT_STOP ? cancelled(e) : EF_OK;
}

/* Enqueue w, then give out `done`, which may be NULL, then wait for w: the one wait for it. */
static ef_status step(embedding *e, const ef__window *w, const ef__window *done)
{
    ef_actor *a = e->encoder->model.actor;
    ef_status status = ef_batch_begin(a), given = EF_OK;
    if (status)
        return ef__actor_says(a, status, e->error);
    for (size_t i = 0; i < w->batches && !status; i++)
        status = encode(e, w, &w->batch[i], &e->vectors[i]);
    if (!status && done)
        given = give_out(e, done);
    ef_status synced = ef_batch_sync(a, "window of texts");
    status = status ? status : synced;
    if (status)
        return ef__actor_says(a, status, e->error);
    if (!given)
        given = resolve(e, w);
    free_readbacks(e);
    return given;
}

static ef_status embed_windows(embedding *e)
{
    ef__window *done = NULL;
    bool last = false;
    for (uint64_t n = 0; !last || done;) {
        ef__window *w = last ? NULL : get_window(e, n, !done);
        ef_status status = w ? check_window(e, w) : EF_OK;
        if (!status && w && w->count)
            status = step(e, w, done);
        else if (!status && done)
            status = give_out(e, done);
        if (status)
            return status;
        if (done)
            free_window(e);
        done = w;
        n += w != NULL;
        last = last || (w && w->ended == EF_NEXT_END);
    }
    return EF_OK;
}

/* ---- a whole embedding ---- */

static ef_status check(embedding *e, const ef_embed_options *options)
{
    const ef_model_config *c = &e->encoder->model.config;
    if (options)
        e->options = *options;
    if (!e->options.batch)
        e->options.batch = EF_EMBED_BATCH;
    if (!e->options.length)
        e->options.length = c->length < 2 ? 2 : c->length;
    const char *wrong = e->options.batch > MOST_BATCH       ? "a batch of more than 4096 texts"
                        : e->options.length < 2             ? "a length of 1: [CLS] and [SEP] are 2"
                        : e->options.length > INT32_MAX - 1 ? "a length of more than 2147483646"
                                                            : NULL;
    if (wrong)
        return ef__error_set(e->error, EF_EARG, 0, NULL, "embedding: %s", wrong);
    if (ef_tokenizer_size(e->tokenizer) > c->vocab)
        return ef__error_set(e->error, EF_EARG, 0, NULL,
                             "embedding: the vocabulary has %zu tokens, the model has %zu",
                             ef_tokenizer_size(e->tokenizer), c->vocab);
    return EF_OK;
}

static ef_status allocate(embedding *e)
{
    e->texts = EF__WINDOW_BATCHES * e->options.batch;
    e->rows = calloc(e->texts, e->encoder->model.config.vector * sizeof *e->rows);
    e->vectors = calloc(e->texts, sizeof *e->vectors);
    bool good = e->rows && e->vectors;
    for (int i = 0; i < WINDOWS && good; i++)
        good = ef__window_new(&e->window[i], e->options.batch);
    return good ? EF_OK : ef__error_set(e->error, EF_ENOMEM, 0, NULL, "embedding: out of memory");
}

static ef_status run(embedding *e)
{
    int code = pthread_create(&e->filler, NULL, fill, e);
    if (code)
        return ef__error_set(e->error, EF_ENOMEM, 0, NULL, "embedding: no thread: %s",
                             strerror(code));
    ef_status status = embed_windows(e);
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->filler, NULL);
    return status;
}

ef_status ef_embed_texts(ef_encoder *encoder, const ef_tokenizer *tokenizer,
                         const ef_embed_options *options, const ef_embed_stream *stream,
                         ef_embed_report *report, ef_error *error)
{
    embedding e = {.encoder = encoder, .tokenizer = tokenizer, .stream = stream, .error = error};
    const double began = ef__now();
    ef_status status = check(&e, options);
    if (status)
        return status;
    pthread_mutex_init(&e.lock, NULL);
    pthread_cond_init(&e.changed, NULL);
    status = allocate(&e);
    if (!status)
        status = run(&e);
    free_readbacks(&e);
    for (int i = 0; i < WINDOWS; i++)
        ef__window_free(&e.window[i]);
    free(e.rows);
    free(e.vectors);
    pthread_cond_destroy(&e.changed);
    pthread_mutex_destroy(&e.lock);
    if (!status && report) {
        e.report.seconds = ef__now() - began;
        e.report.texts_per_s = (double)e.report.texts / e.report.seconds;
        *report = e.report;
    }
    return status;
}

/* ---- texts in memory ---- */

typedef struct memory {
    const ef_text *texts;
    size_t count, given, taken, width;
    float *vectors;
} memory;

static ef_next next_text(void *user, ef_text *text)
{
    memory *m = user;
    if (m->given == m->count)
        return EF_NEXT_END;
    *text = m->texts[m->given++];
    return EF_NEXT_TEXT;
}

static bool take_vectors(void *user, const float *vectors, const ef_text *texts, size_t count)
{
    memory *m = user;
    (void)texts;
    memcpy(m->vectors + m->taken * m->width, vectors, count * m->width * sizeof *vectors);
    m->taken += count;
    return true;
}

ef_status ef_embed(ef_encoder *encoder, const ef_tokenizer *tokenizer,
                   const ef_embed_options *options, const ef_text *texts, size_t count,
                   float *vectors, ef_error *error)
{
    memory m = {
        .texts = texts, .count = count, .width = encoder->model.config.vector, .vectors = vectors};
    const ef_embed_stream stream = {&m, next_text, take_vectors};
    return ef_embed_texts(encoder, tokenizer, options, &stream, NULL, error);
}
