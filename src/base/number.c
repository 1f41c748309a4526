#include "base/number.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS = 9, LEAST = -4 }; /* LEAST: power of ten of what is written without an exponent */

static const double power[] = {1e-4, 1e-3, 1e-2, 1e-1, 1,   1e1, 1e2,
                               1e3,  1e4,  1e5,  1e6,  1e7, 1e8, 1e9};
static const double scale[] = {1e12, 1e11, 1e10, 1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1};

/* digits 10^(place - 8), without zeros at its end */
static char *put_digits(char *to, uint32_t digits, int place)
{
    char digit[DIGITS];
    int count = DIGITS;
    for (int i = DIGITS - 1; i >= 0; i--, digits /= 10)
        digit[i] = (char)('0' + digits % 10);
    while (count > 1 && digit[count - 1] == '0')
        count--;
    if (place < 0) {
        *to++ = '0';
        *to++ = '.';
        for (int i = place + 1; i < 0; i++)
            *to++ = '0';
    }
    for (int i = 0; i < count || i <= place; i++) {
        if (place >= 0 && i == place + 1)
            *to++ = '.';
        *to++ = i < count ? digit[i] : '0';
    }
    return to;
}

/* The product is off by a few parts in 10^16: the nine digits are those of a number that is nearer
 * to x than to any other float. */
char *ef__put_float(char *to, float x)
{
    const double size = fabs((double)x);
    if (signbit(x))
        *to++ = '-';
    if (size == 0 || size < power[0] || size >= 1e9)
        return to + snprintf(to, EF__FLOAT_CHARS, size == 0 ? "0.0" : "%.9g", size);
    int place = 0;
    while (size >= power[place + 1])
        place++;
    uint32_t digits = (uint32_t)(size * scale[place] + 0.5);
    if (digits == 1000000000) {
        digits /= 10;
        place++;
    }
    return put_digits(to, digits, place + LEAST);
}
