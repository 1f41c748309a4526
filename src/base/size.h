/* Checked size arithmetic: false when the result does not fit, *out untouched. */
#ifndef EF_BASE_SIZE_H
#define EF_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>

static inline bool ef__mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool ef__add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline size_t ef__ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static inline size_t ef__round_up(size_t a, size_t b)
{
    return ef__ceil_div(a, b) * b;
}

static inline size_t ef__min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t ef__max(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
