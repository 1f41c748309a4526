/* Any bytes as scored pairs of sentences: refused with the line, or each line gave its pair. */
#include "data/pairs.h"
#include <assert.h>
#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef__pairs p = {0};
    ef_error error = {0};
    if (ef__pairs_parse("p.tsv", data, bytes, &p, &error)) {
        assert(error.status == EF_EFORMAT && strstr(error.text, "p.tsv:") && !p.pair);
        return 0;
    }
    size_t ends = 0, seen = 0;
    for (size_t i = 0; i < bytes; i++)
        ends += data[i] == '\n';
    assert(p.count == ends + (data[bytes - 1] != '\n'));
    for (size_t i = 0; i < p.count; i++) {
        assert(isfinite(p.pair[i].score) && p.pair[i].text[0].bytes && p.pair[i].text[1].bytes);
        for (int k = 0; k < 2; k++)
            assert(!memchr(p.pair[i].text[k].text, '\t', p.pair[i].text[k].bytes));
        seen +=
            p.pair[i].text[0].bytes + p.pair[i].text[1].bytes + 2; /* and two tabs, and a score */
        assert(seen < bytes);
    }
    ef__pairs_free(&p);
    return 0;
}
