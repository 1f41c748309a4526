/* Any bytes as a text: there is room for its ids, a shorter room gives the first of them, and they
 * can be decoded. The first byte is how much shorter. */
#include "energyflow.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Pieces of one and several letters, of several scripts; what is not covered is unknown. */
static const char vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[\n]\n.\n,\n'\n#\na\n##a\nb\n##b\nc\n##c\nab\nabc\n##abc\n"
    "e\n##e\nthe\nk\n##k\n=\n\xce\xb1\n##\xce\xb1\n\xd0\xb6\n##"
    "\xd0\xb6\n\xe4\xbd\xa0\n\xe1\x84\x80\n"
    "##\xe1\x85\xa1\n##\xe3\x80\xae\n\xe3\x80\xae\n##\xf0\x9d\x85\xa5\n\xf0\x9f\x98\x80";

static void decode(const ef_tokenizer *t, const int32_t *ids, size_t count)
{
    const size_t bytes = ef_tokenizer_decode(t, ids, count, NULL, 0);
    char *text = malloc(bytes + 1);
    const size_t again = ef_tokenizer_decode(t, ids, count, text, bytes + 1);
    assert(again == bytes && strlen(text) == bytes);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef_tokenizer *t = NULL;
    if (!bytes)
        return 0;
    if (ef_tokenizer_parse("few", vocabulary, sizeof vocabulary - 1, &t, NULL))
        abort();
    const char *text = (const char *)data + 1;
    const size_t max = bytes + 1;
    int32_t *ids = malloc(max * sizeof *ids), *cut = malloc(max * sizeof *cut);
    const size_t count = ef_tokenizer_encode(t, text, bytes - 1, ids, max);
    assert(count >= 2 && count <= max);
    const size_t room = count > data[0] ? count - data[0] : 0;
    const size_t less = ef_tokenizer_encode(t, text, bytes - 1, cut, room);
    assert(less == (room < 2 ? 0 : room));
    if (less)
        assert(!memcmp(ids, cut, (less - 1) * sizeof *ids) && cut[less - 1] == ids[count - 1]);
    decode(t, ids, count);
    free(ids);
    free(cut);
    ef_tokenizer_free(t);
    return 0;
}
