/* train_data.h -- a small EFB1 file for the tests of training: vectors that depend on their
 * texts. */
#ifndef EF_TESTS_TRAIN_DATA_H
#define EF_TESTS_TRAIN_DATA_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum { TRAIN_VOCAB = 19, TRAIN_WIDTH = 6, TRAIN_LONGEST = 9 };

/* samples texts of 1 to 9 ids below 19; target width 6. Little-endian machines only, as the
 * library. */
static inline void train_data_write(const char *path, uint32_t samples, uint32_t seed)
{
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "cannot write %s", path);
    const uint32_t width = TRAIN_WIDTH;
    fwrite("EFB1", 1, 4, f);
    fwrite(&samples, 4, 1, f);
    fwrite(&width, 4, 1, f);
    for (uint32_t n = 0; n < samples; n++) {
        uint32_t ids[TRAIN_LONGEST], length = 1 + 7 * n % TRAIN_LONGEST;
        uint8_t mask[TRAIN_LONGEST];
        float target[TRAIN_WIDTH] = {0};
        for (uint32_t t = 0; t < length; t++) {
            seed = seed * 1664525u + 1013904223u;
            ids[t] = 1 + (seed >> 16) % (TRAIN_VOCAB - 1);
            mask[t] = 1;
            for (uint32_t e = 0; e < width; e++)
                target[e] += sinf((float)(ids[t] * (e + 1)));
        }
        fwrite(&length, 4, 1, f);
        fwrite(ids, 4, length, f);
        fwrite(mask, 1, length, f);
        fwrite(target, 4, width, f);
    }
    ck_assert_int_eq(fclose(f), 0);
}

#endif
