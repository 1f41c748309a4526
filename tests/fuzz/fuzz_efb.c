/* Any bytes as an EFB file: refused, or every sample can be read to the last byte. The file cut
 * anywhere, or its header unfinished, is the repair's, whose copy a reader takes. */
#include "data/dataset.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void read_all(ef_dataset *d)
{
    volatile size_t sum = 0;
    for (size_t i = 0; i < ef_dataset_size(d); i++) {
        ef_sample s;
        if (ef_dataset_read(d, i, &s, NULL))
            abort();
        for (size_t k = 0; k < s.length; k++)
            sum += (size_t)s.ids[k] + s.mask[k];
        for (size_t k = 0; k < s.bytes; k++)
            sum += (unsigned char)s.text[k];
        for (size_t k = 0; k < ef_dataset_width(d); k++)
            sum += s.target[k] > 0;
    }
}

static void repair(const uint8_t *data, size_t bytes)
{
    char from[64], to[64];
    ef_repair_report r;
    ef_dataset *d = NULL;
    snprintf(from, sizeof from, "/tmp/ef_fuzz_%ld_broken", (long)getpid());
    snprintf(to, sizeof to, "/tmp/ef_fuzz_%ld_whole", (long)getpid());
    FILE *f = fopen(from, "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f))
        abort();
    if (!ef_dataset_repair(from, to, &r, NULL)) {
        if (ef_dataset_open(to, &d, NULL) || ef_dataset_size(d) != r.kept)
            abort();
        ef_dataset_free(d);
    }
    unlink(from);
    unlink(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef_dataset *d = NULL;
    ef_error error = {0};
    const ef_dataset_options o = {.not_finite = bytes % 2};
    if (bytes && data[0] != 'E') /* JSONL has a fuzzer of its own */
        return 0;
    if (ef__dataset_parse("a.efb", data, bytes, &o, &d, &error))
        assert(error.status == EF_EFORMAT && strstr(error.text, "a.efb") && !d);
    else
        read_all(d);
    ef_dataset_free(d);
    if (bytes % 8 == 0) /* files take time */
        repair(data, bytes);
    return 0;
}
