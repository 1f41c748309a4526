/* Any bytes as a vocabulary: refused, or each token has its id, the bytes have a text's ids, and
 * its lines make the same vocabulary again. */
#include "energyflow.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void look_up(const ef_tokenizer *t)
{
    for (size_t id = 0; id < ef_tokenizer_size(t); id++) {
        size_t bytes;
        const char *token = ef_tokenizer_token(t, (int32_t)id, &bytes);
        char *copy = calloc(1, bytes + 1);
        memcpy(copy, token, bytes);
        assert(strlen(copy) < bytes || ef_tokenizer_id(t, copy) == (int32_t)id);
        free(copy);
    }
}

static void parse_again(const ef_tokenizer *t)
{
    ef_tokenizer *again = NULL;
    size_t bytes, same;
    const char *lines = ef_tokenizer_vocabulary(t, &bytes);
    if (ef_tokenizer_parse("again", lines, bytes, &again, NULL))
        abort();
    assert(!memcmp(ef_tokenizer_vocabulary(again, &same), lines, bytes) && same == bytes);
    ef_tokenizer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    int32_t *ids = malloc((bytes + 2) * sizeof *ids);
    if (ef_tokenizer_parse("v.txt", data, bytes, &t, &error)) {
        assert(error.status == EF_EFORMAT && !t);
    } else {
        assert(ef_tokenizer_encode(t, (const char *)data, bytes, ids, bytes + 2) >= 2);
        look_up(t);
        parse_again(t);
    }
    ef_tokenizer_free(t);
    free(ids);
    return 0;
}
