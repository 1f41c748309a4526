/* Any bytes as a safetensors file: refused, or every tensor is in bounds; and what a checkpoint
 * says in its metadata is refused or understood. */
#include "base/safetensors.h"
#include "train/state.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ef__st_reader *r = NULL;
    ef_error error = {0};
    volatile unsigned sum = 0;
    if (ef__st_parse("a.safetensors", data, bytes, &r, &error)) {
        assert(error.status == EF_EFORMAT && strstr(error.text, "a.safetensors: ") && !r);
        return 0;
    }
    for (size_t i = 0; ef__st_at(r, i); i++)
        for (size_t k = 0; k < ef__st_at(r, i)->bytes; k++)
            sum += ((const unsigned char *)ef__st_at(r, i)->data)[k];
    ef__models models;
    ef__run_state state;
    (void)ef__run_check_version("a", ef__st_metadata(r, "run"), &error);
    (void)ef__config_parse("a", ef__st_metadata(r, "config"), &models, &error);
    (void)ef__run_parse("a", ef__st_metadata(r, "run"), &state, &error);
    ef__st_close(r);
    return 0;
}
