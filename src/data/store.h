/* A store in the making: records of texts and ids, in a file without a name. */
#ifndef EF_DATA_STORE_H
#define EF_DATA_STORE_H

#include "data/dataset.h"

typedef struct ef__store {
    ef_dataset *dataset; /* counts what is added */
    const ef_dataset_options *options;
    int fd;
    unsigned char *data; /* what is not written yet, from `at` on */
    size_t bytes, room, at;
    int32_t *ids; /* room for a text's */
    size_t most;
} ef__store;

/* ef__store_begin -- into a dataset without samples. ef__store_end follows in any case. Errors:
 * EIO. */
ef_status ef__store_begin(ef__store *store, ef_dataset *dataset, const ef_dataset_options *options,
                          ef_error *error);

/* ef__store_add -- one more sample; without ids, those of its text if the options can tell. line:
 * from 1, or 0. Errors: EIO, ENOMEM. */
ef_status ef__store_add(ef__store *store, const ef__sample *sample, size_t line, ef_error *error);

/* ef__store_end -- after success (status EF_OK) the dataset's records are those of the store.
 * Returns status, or EIO. */
ef_status ef__store_end(ef__store *store, ef_status status, ef_error *error);

/* ef__store_tokenized -- of a dataset that has samples without ids: a store with those of their
 * texts. Errors: as ef__store_add. */
ef_status ef__store_tokenized(ef_dataset *dataset, const ef_dataset_options *options,
                              ef_error *error);

#endif
