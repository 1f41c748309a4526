/* SplitMix64: Steele, Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195 */
#ifndef EF_BASE_RNG_H
#define EF_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct ef__rng {
    uint64_t state; /* any is a seed */
} ef__rng;

static inline uint64_t ef__rng_next(ef__rng *rng)
{
    uint64_t z = rng->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* 0 .. n-1, each as likely: what would favour the small ones is drawn again. */
static inline size_t ef__rng_below(ef__rng *rng, size_t n)
{
    uint64_t draw, unfair = (0 - (uint64_t)n) % n;
    do
        draw = ef__rng_next(rng);
    while (draw < unfair);
    return (size_t)(draw % n);
}

/* [0,1) in 53 bits */
static inline double ef__rng_uniform(ef__rng *rng)
{
    return (double)(ef__rng_next(rng) >> 11) * 0x1p-53;
}

#endif
