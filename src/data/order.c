#include "data/order.h"
#include "base/rng.h"
#include "base/size.h"
#include <stdlib.h>

static void swap(uint32_t *a, uint32_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

/* Fisher-Yates over n blocks of `block` numbers each. */
static void shuffle(ef__rng *rng, uint32_t *x, size_t n, size_t block)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = ef__rng_below(rng, i);
        if (j != i - 1)
            swap(x + j * block, x + (i - 1) * block, block);
    }
}

/* By length; equal ones stay in the order that they had. */
static int by_length(const void *a, const void *b)
{
    const ef__order_key *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static void sort(const uint32_t *length, size_t n, ef__order_key *key, uint32_t *order)
{
    for (size_t i = 0; i < n; i++)
        key[i] = (ef__order_key){length[order[i]], (uint32_t)i, order[i]};
    qsort(key, n, sizeof *key, by_length);
    for (size_t i = 0; i < n; i++)
        order[i] = key[i].sample;
}

/* What does not fill a batch stays as drawn, at the end: sorted with the others, it would always be
 * the longest samples. */
void ef__order_fill(const ef_loader_options *o, uint64_t epoch, const uint32_t *length,
                    size_t count, ef__order_key *key, uint32_t *order)
{
    ef__rng rng = {o->seed};
    rng.state = ef__rng_next(&rng) + epoch;
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    if (o->shuffle)
        shuffle(&rng, order, count, 1);
    if (!o->bucket)
        return;
    size_t full = count / o->batch, pool = EF__ORDER_POOL * o->batch;
    for (size_t i = 0; i < full * o->batch; i += pool)
        sort(length, ef__min(pool, full * o->batch - i), key, order + i);
    if (o->shuffle)
        shuffle(&rng, order, full, o->batch);
}

/* Each is taken with the chance that makes the rest come out: Knuth, algorithm S. */
void ef_dataset_draw(size_t n, size_t count, uint64_t seed, bool *picked)
{
    ef__rng rng = {seed};
    for (size_t i = 0; i < n; i++) {
        picked[i] = ef__rng_below(&rng, n - i) < count;
        count -= picked[i];
    }
}
