/* Any bytes as JSONL: refused with the line, or every sample can be written and is read back as it
 * was. */
#include "data/dataset.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void same(const ef_sample *a, const ef_sample *b, size_t width)
{
    assert(!a->text == !b->text && a->bytes == b->bytes && a->length == b->length);
    assert(!a->bytes || !memcmp(a->text, b->text, a->bytes));
    assert(!memcmp(a->target, b->target, 4 * width));
    if (a->length)
        assert(!memcmp(a->ids, b->ids, 4 * a->length) && !memcmp(a->mask, b->mask, a->length));
}

static void write_and_read(ef_dataset *d)
{
    char path[64];
    ef_dataset_writer *w = NULL;
    ef_dataset *again = NULL;
    ef_sample a, b;
    snprintf(path, sizeof path, "/tmp/ef_fuzz_%ld.jsonl", (long)getpid());
    if (ef_dataset_writer_new(path, EF_DATA_JSONL, ef_dataset_width(d), &w, NULL))
        abort();
    for (size_t i = 0; i < ef_dataset_size(d); i++)
        if (ef_dataset_read(d, i, &a, NULL) || ef_dataset_writer_add(w, &a, NULL))
            abort();
    if (ef_dataset_writer_save(w, NULL) || ef_dataset_open(path, &again, NULL))
        abort();
    for (size_t i = 0; i < ef_dataset_size(d); i++) {
        if (ef_dataset_read(d, i, &a, NULL) || ef_dataset_read(again, i, &b, NULL))
            abort();
        same(&a, &b, ef_dataset_width(d));
    }
    ef_dataset_writer_free(w);
    ef_dataset_free(again);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef_dataset *d = NULL;
    ef_error error = {0};
    const ef_dataset_options o = {.skip_bad = bytes % 2};
    if (bytes && data[0] == 'E') /* EFB has a fuzzer of its own */
        return 0;
    if (ef__dataset_parse("a.jsonl", data, bytes, &o, &d, &error))
        assert(error.status == EF_EFORMAT && strstr(error.text, "a.jsonl:") && !d);
    else
        write_and_read(d);
    ef_dataset_free(d);
    return 0;
}
