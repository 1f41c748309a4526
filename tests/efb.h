/* efb.h -- EFB1 files in memory, for the tests of src/data. */
#ifndef EF_TESTS_EFB_H
#define EF_TESTS_EFB_H

#include "data/dataset.h"

typedef struct efb {
    unsigned char *data;
    size_t bytes, room;
} efb;

enum { EFB_WIDTH = 3, EFB_LONGEST = 40 };

void efb_put(efb *f, const void *data, size_t bytes);
void efb_put_u32(efb *f, uint32_t x);

/* A header; one sample, whose target is {name, 0.5, 0.5, ...}. */
efb efb_begin(uint32_t count, uint32_t width);
void efb_add(efb *f, size_t length, const uint32_t *ids, const uint8_t *mask, uint32_t name,
             size_t width);

/* count samples of 1 .. EFB_LONGEST ids, none masked; width EFB_WIDTH. */
efb efb_random(uint32_t count, uint64_t seed);

/* The dataset "a.efb" of it. */
ef_dataset *efb_parsed(const efb *f);

/* A temporary file of it (unlink it): its path, the kit's string. */
char *efb_file(const efb *f);

/* The status is that one, and the error says so with that text in it. */
void efb_refused(ef_status got, ef_status want, const ef_error *error, const char *text);

#endif
