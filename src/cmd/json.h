/* json.h -- numbers in JSON, which knows no NaN and no infinity. */
#ifndef EF_CMD_JSON_H
#define EF_CMD_JSON_H

#include <jansson.h>
#include <math.h>

/* ef__json_real -- a number, or null where it is not finite. */
static inline json_t *ef__json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

#endif
