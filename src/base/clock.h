/* Seconds of a clock that only goes forward. */
#ifndef EF_BASE_CLOCK_H
#define EF_BASE_CLOCK_H

#include <time.h>

static inline double ef__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
