/* The loader: a thread prepares one batch ahead into a ring of buffers.
 * While state is WANTED the thread owns everything but state, which the lock guards; otherwise the
 * caller does. All memory is taken when the loader is made, so the thread can fail to read only. */
#include "base/clock.h"
#include "base/size.h"
#include "data/dataset.h"
#include "data/order.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum state {
    IDLE,   /* nothing asked for */
    WANTED, /* batch `position` is to be prepared, in ring[slot] */
    READY,  /* it is there, or could not be read: see `status` */
    QUIT
};

struct slot {
    int32_t *ids;    /* [batch, longest] */
    uint8_t *mask;   /* [batch, longest] */
    float *target;   /* [batch, E] */
    ef_batch batch;  /* what is in them */
    double from, to; /* when it was prepared */
};

struct ef_loader {
    const ef_dataset *dataset;
    ef_loader_options options; /* batch is at most the number of samples */
    uint32_t *kept;            /* [N] how many ids of each sample are fed */
    uint32_t *order;           /* [N] samples of epoch `ordered`, if there is an order yet */
    ef__order_key *key;
    size_t full_length; /* see ef__loader_full_length */
    bool has_order;
    uint64_t ordered, epoch;
    size_t position;
    struct slot *ring;
    size_t slots, slot;
    unsigned char *room; /* for a sample, as it is in the file */
    ef_status status;    /* of the batch that is READY, and why */
    ef_error error;
    enum state state;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
};

/* ---- The thread ---- */

static ef_status fill_row(ef_loader *l, size_t sample, size_t row, struct slot *slot)
{
    ef__sample s;
    ef_batch *b = &slot->batch;
    ef_status status = ef__dataset_read(l->dataset, sample, l->room, &s, &l->error);
    if (status)
        return status;
    int32_t *ids = slot->ids + row * b->L;
    uint8_t *mask = slot->mask + row * b->L;
    size_t kept = l->kept[sample];
    for (size_t i = 0; i < kept; i++) {
        ids[i] = (int32_t)ef__load_u32(s.ids + 4 * i);
        mask[i] = s.mask[i] != 0;
        b->tokens += mask[i];
    }
    memset(ids + kept, 0, (b->L - kept) * sizeof *ids);
    memset(mask + kept, 0, b->L - kept);
    for (size_t i = 0; i < b->E; i++) {
        uint32_t bits = ef__load_u32(s.target + 4 * i);
        memcpy(&slot->target[row * b->E + i], &bits, sizeof bits);
    }
    return EF_OK;
}

static void prepare(ef_loader *l)
{
    const double from = ef__now();
    if (!l->has_order || l->ordered != l->epoch)
        ef__order_fill(&l->options, l->epoch, l->kept, l->dataset->count, l->key, l->order);
    l->has_order = true;
    l->ordered = l->epoch;

    struct slot *slot = &l->ring[l->slot];
    size_t first = l->position * l->options.batch;
    ef_batch b = {.B = ef__min(l->options.batch, l->dataset->count - first),
                  .E = l->dataset->width,
                  .ids = slot->ids,
                  .mask = slot->mask,
                  .target = slot->target};
    const uint32_t *sample = l->order + first;
    for (size_t r = 0; r < b.B; r++)
        if (l->kept[sample[r]] > b.L)
            b.L = l->kept[sample[r]];
    slot->batch = b;
    l->status = EF_OK;
    for (size_t r = 0; r < b.B && !l->status; r++)
        l->status = fill_row(l, sample[r], r, slot);
    slot->from = from;
    slot->to = ef__now();
}

static void set_state(ef_loader *l, enum state state)
{
    l->state = state;
    pthread_cond_broadcast(&l->changed);
}

/* Wait until the thread has let go. */
static void settle(ef_loader *l)
{
    while (l->state == WANTED)
        pthread_cond_wait(&l->changed, &l->lock);
}

static void *work(void *user)
{
    ef_loader *l = user;
    pthread_mutex_lock(&l->lock);
    while (l->state != QUIT) {
        if (l->state == WANTED) {
            pthread_mutex_unlock(&l->lock);
            prepare(l);
            pthread_mutex_lock(&l->lock);
            set_state(l, READY);
        } else {
            pthread_cond_wait(&l->changed, &l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Signals are for the program's own threads. */
static int start(ef_loader *l)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int code = pthread_create(&l->thread, NULL, work, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    l->started = !code;
    return code;
}

/* ---- Making a loader ---- */

/* Ids to feed: of the prefix that is not cut, up to the last that the mask keeps; one at least. */
static size_t kept_of(const ef__sample *s, size_t cut)
{
    size_t n = cut ? ef__min(s->length, cut) : s->length;
    while (n > 1 && !s->mask[n - 1])
        n--;
    return n;
}

static ef_status check_ids(const ef_loader *l, size_t sample, const ef__sample *s, ef_error *error)
{
    char where[256];
    for (size_t i = 0; i < l->kept[sample]; i++) {
        uint32_t id = ef__load_u32(s->ids + 4 * i);
        if (id < l->options.vocab)
            continue;
        ef__dataset_where(l->dataset, sample, where, sizeof where);
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s: id %lu at position %zu is not below the vocabulary size %zu",
                             where, (unsigned long)id, i, l->options.vocab);
    }
    return EF_OK;
}

static ef_status measure(ef_loader *l, size_t *longest, ef_error *error)
{
    bool check = l->options.vocab && (size_t)l->dataset->max_id >= l->options.vocab;
    ef_status status = EF_OK;
    *longest = 1;
    for (size_t i = 0; i < l->dataset->count && !status; i++) {
        ef__sample s;
        if ((status = ef__dataset_read(l->dataset, i, l->room, &s, error)))
            break;
        size_t kept = kept_of(&s, l->options.length);
        l->kept[i] = (uint32_t)kept;
        if (kept > *longest)
            *longest = kept;
        if (check)
            status = check_ids(l, i, &s, error);
    }
    return status;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The order of an epoch is not filled in yet: it is the room to sort in. */
static size_t find_full_length(const ef_loader *l)
{
    size_t count = l->dataset->count, rest = count % l->options.batch;
    memcpy(l->order, l->kept, count * sizeof *l->order);
    qsort(l->order, count, sizeof *l->order, by_number);
    return l->order[count - 1 - rest];
}

static void *array(size_t rows, size_t columns, size_t element)
{
    size_t n;
    return ef__mul(rows, columns, &n) && ef__mul(n, element, &n) ? malloc(n) : NULL;
}

static bool allocate_ring(ef_loader *l, size_t longest)
{
    size_t rows = l->options.batch;
    if (!ef__add(l->options.keep, 1, &l->slots)) /* and the one ahead */
        return false;
    if (!(l->ring = calloc(l->slots, sizeof *l->ring)))
        return false;
    for (struct slot *s = l->ring; s < l->ring + l->slots; s++) {
        s->ids = array(rows, longest, sizeof *s->ids);
        s->mask = array(rows, longest, sizeof *s->mask);
        s->target = array(rows, l->dataset->width, sizeof *s->target);
        if (!s->ids || !s->mask || !s->target)
            return false;
    }
    return true;
}

static ef_status set_up(ef_loader *l, ef_error *error)
{
    size_t count = l->dataset->count, longest;
    l->kept = array(count, 1, sizeof *l->kept);
    l->order = array(count, 1, sizeof *l->order);
    l->room = malloc(ef__dataset_room(l->dataset));
    l->key = array(ef__min(count, EF__ORDER_POOL * l->options.batch), 1, sizeof *l->key);
    if (!l->kept || !l->order || !l->room || !l->key)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "out of memory for %zu samples", count);
    ef_status status = measure(l, &longest, error);
    if (status)
        return status;
    l->full_length = find_full_length(l);
    if (!allocate_ring(l, longest))
        return ef__error_set(error, EF_ENOMEM, 0, NULL,
                             "out of memory for %zu batches of %zu samples of length %zu",
                             l->options.keep + 1, l->options.batch, longest);
    int code = start(l);
    return code ? ef__error_set(error, EF_ENOMEM, 0, NULL, "no thread for the loader: %s",
                                strerror(code))
                : EF_OK;
}

ef_status ef_loader_new(ef_dataset *dataset, const ef_loader_options *options, ef_loader **loader,
                        ef_error *error)
{
    if (!options->batch)
        return ef__error_set(error, EF_EARG, 0, NULL, "a batch of 0 samples");
    ef_status status = ef__dataset_need_ids(dataset, error);
    if (status)
        return status;
    ef_loader *l = calloc(1, sizeof *l);
    if (!l)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "out of memory");
    l->dataset = dataset;
    l->options = *options;
    l->options.batch = ef__min(options->batch, dataset->count);
    l->options.keep = options->keep ? options->keep : EF_LOADER_KEEP;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    status = set_up(l, error);
    if (status)
        ef_loader_free(l);
    else
        *loader = l;
    return status;
}

void ef_loader_free(ef_loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    settle(l);
    set_state(l, QUIT);
    pthread_mutex_unlock(&l->lock);
    if (l->started)
        pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    for (size_t i = 0; l->ring && i < l->slots; i++) {
        free(l->ring[i].ids);
        free(l->ring[i].mask);
        free(l->ring[i].target);
    }
    free(l->ring);
    free(l->key);
    free(l->order);
    free(l->room);
    free(l->kept);
    free(l);
}

/* ---- Using it ---- */

size_t ef__loader_full_length(const ef_loader *l)
{
    return l->full_length;
}

void ef__loader_prepared(const ef_loader *l, double *from, double *to)
{
    const struct slot *last = &l->ring[(l->slot + l->slots - 1) % l->slots];
    *from = last->from;
    *to = last->to;
}

size_t ef_loader_batches(const ef_loader *l)
{
    return ef__ceil_div(l->dataset->count, l->options.batch);
}

static void ask(ef_loader *l)
{
    set_state(l, l->position < ef_loader_batches(l) ? WANTED : IDLE);
}

ef_status ef_loader_seek(ef_loader *l, uint64_t epoch, size_t position, ef_error *error)
{
    if (position > ef_loader_batches(l))
        return ef__error_set(error, EF_EARG, 0, NULL, "no batch %zu in an epoch of %zu", position,
                             ef_loader_batches(l));
    pthread_mutex_lock(&l->lock);
    settle(l);
    if (l->state != READY || l->epoch != epoch || l->position != position) {
        l->epoch = epoch;
        l->position = position;
        ask(l);
    }
    pthread_mutex_unlock(&l->lock);
    return EF_OK;
}

ef_status ef_loader_next(ef_loader *l, ef_batch *batch, ef_error *error)
{
    ef_status status = EF_OK;
    pthread_mutex_lock(&l->lock);
    if (l->state == IDLE)
        ask(l);
    settle(l);
    *batch = (ef_batch){0};
    if (l->state == READY && l->status) {
        status = ef__error_set(error, l->status, 0, NULL, "%s", l->error.text);
        set_state(l, IDLE); /* who asks again has it read again */
    } else if (l->state == READY) {
        *batch = l->ring[l->slot].batch;
        l->slot = (l->slot + 1) % l->slots;
        l->position++;
        ask(l);
    }
    pthread_mutex_unlock(&l->lock);
    return status;
}
