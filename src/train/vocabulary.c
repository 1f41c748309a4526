#include "train/run.h"

static ef_status check_size(const char *path, const ef_tokenizer *t, size_t ids, ef_error *error)
{
    const size_t size = ef_tokenizer_size(t);
    return ids == 0 || size <= ids
               ? EF_OK
               : ef__error_set(error, EF_EARG, 0, "model",
                               "%s: its vocabulary has %zu tokens, the model is to have %zu", path,
                               size, ids);
}

ef_status ef__run_open_vocabulary(ef__run *r)
{
    const ef_train_options *o = r->options;
    const char *start = ef__run_start(r);
    ef_status status = ef_tokenizer_open_for(o->vocabulary, start, &r->tokenizer, r->error);
    if (!status && r->tokenizer)
        status =
            check_size(o->vocabulary ? o->vocabulary : start, r->tokenizer,
                       o->mode == EF_MODE_DECODER ? o->decoder.vocab : o->model.vocab, r->error);
    return status;
}
