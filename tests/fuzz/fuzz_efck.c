/* Any bytes as an EFCK1 and as an EFOP1 file: refused, or all that is given is in bounds. */
#include "train/import.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static unsigned sum_of(const unsigned char *floats, size_t count)
{
    unsigned sum = 0;
    for (size_t i = 0; floats && i < 4 * count; i++)
        sum += floats[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef__efck c;
    ef__efop o;
    ef_error error = {0};
    volatile unsigned sum = 0;
    if (ef__efck_parse("a", data, bytes, &c, &error))
        assert(error.status == EF_EFORMAT && !strncmp(error.text, "a: ", 3));
    else
        sum += sum_of(c.weight, (size_t)c.out * c.in) + sum_of(c.bias, c.out);
    if (ef__efop_parse("a", data, bytes, &o, &error))
        assert(error.status == EF_EFORMAT && !strncmp(error.text, "a: ", 3));
    else
        for (size_t i = 0; i < o.parts; i++)
            sum += sum_of(o.m[i], o.count[i]) + sum_of(o.v[i], o.count[i]);
    return 0;
}
