/* The order of an epoch's samples: a pure function of seed, epoch and the samples' lengths. */
#ifndef EF_DATA_ORDER_H
#define EF_DATA_ORDER_H

#include "energyflow.h"

/* Samples are sorted by length within pools of this many batches: enough for batches of like
 * length, few enough that they are still random ones. */
#define EF__ORDER_POOL 64

typedef struct ef__order_key {
    uint32_t length, rank, sample;
} ef__order_key;

/* ef__order_fill -- order[count] = the samples of an epoch; each `batch` of them are a batch.
 *   o       batch, shuffle, bucket and seed are read
 *   length  [count] of each sample
 *   key     scratch, min(count, EF__ORDER_POOL * batch) */
void ef__order_fill(const ef_loader_options *o, uint64_t epoch, const uint32_t *length,
                    size_t count, ef__order_key *key, uint32_t *order);

#endif
