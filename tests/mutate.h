/* Broken copies of a file, for parsers to survive. */
#ifndef EF_TESTS_MUTATE_H
#define EF_TESTS_MUTATE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint32_t mutate_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* A copy of from[*n] with one to four changes, in memory of exactly *n bytes, so that the address
 * sanitizer sees a step past its end. Only the first `head` bytes are changed. */
static inline unsigned char *mutate(const unsigned char *from, size_t head, size_t *n,
                                    uint64_t *seed)
{
    static const char text[] = "{}[]\",:-0123456789eE.\\ tfn";
    static const uint32_t word[] = {0,          1,          0x7fffffff, 0x80000000,
                                    0xffffffff, 0x7f800000, 0x3fffffff};
    size_t size = mutate_random(seed) % 8 ? *n : mutate_random(seed) % (*n + 1);
    unsigned char *copy = malloc(size ? size : 1);
    memcpy(copy, from, size);
    head = head < size ? head : size;
    for (unsigned left = 1 + mutate_random(seed) % 4; left && head > 8; left--) {
        size_t at = mutate_random(seed) % (head - 4), to = mutate_random(seed) % (head - 4);
        switch (mutate_random(seed) % 5) {
        case 0:
            copy[at] ^= (unsigned char)(1u << mutate_random(seed) % 8);
            break;
        case 1:
            copy[at] = (unsigned char)mutate_random(seed);
            break;
        case 2:
            copy[at] = (unsigned char)text[mutate_random(seed) % (sizeof text - 1)];
            break;
        case 3:
            memcpy(copy + at, &word[mutate_random(seed) % (sizeof word / sizeof *word)], 4);
            break;
        default:
            memmove(copy + to, copy + at, mutate_random(seed) % (head - (to > at ? to : at)));
        }
    }
    *n = size;
    return copy;
}

#endif
