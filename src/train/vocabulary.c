#include "data/wordpiece.h"
#include "train/run.h"
#include <string.h>

/* The vocabulary that a checkpoint carries; NULL: none. */
static ef_status open_carried(const char *path, ef_tokenizer **tokenizer, ef_error *error)
{
    ef__st_reader *file = NULL;
    ef_status status = path ? ef__st_open(path, &file, error) : EF_OK;
    if (file)
        status = ef__tokenizer_of(file, tokenizer, error);
    ef__st_close(file);
    return status;
}

/* Rows of the embedding stand for the checkpoint's tokens: others would be read as those. */
static ef_status check_same(const char *path, const ef_tokenizer *t, const char *checkpoint,
                            const ef_tokenizer *carried, ef_error *error)
{
    const size_t size = ef_tokenizer_size(t), was = ef_tokenizer_size(carried);
    if (size != was)
        return ef__error_set(error, EF_EARG, 0, NULL,
                             "%s: has %zu tokens, the vocabulary of %s has %zu", path, size,
                             checkpoint, was);
    for (size_t i = 0; i < size; i++) {
        size_t n, m;
        const char *a = ef_tokenizer_token(t, (int32_t)i, &n);
        const char *b = ef_tokenizer_token(carried, (int32_t)i, &m);
        if (n != m || memcmp(a, b, n))
            return ef__error_set(error, EF_EARG, 0, NULL,
                                 "%s:%zu: is \"%.*s\", in the vocabulary of %s \"%.*s\"", path,
                                 i + 1, (int)n, a, checkpoint, (int)m, b);
    }
    return EF_OK;
}

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
    ef_tokenizer *named = NULL, *carried = NULL;
    ef_status status = open_carried(start, &carried, r->error);
    if (!status && o->vocabulary)
        status = ef_tokenizer_open(o->vocabulary, &named, r->error);
    if (!status && named && carried)
        status = check_same(o->vocabulary, named, start, carried, r->error);
    if (!status && (named || carried))
        status =
            check_size(named ? o->vocabulary : start, named ? named : carried,
                       o->mode == EF_MODE_DECODER ? o->decoder.vocab : o->model.vocab, r->error);
    r->tokenizer = named ? named : carried;
    if (named)
        ef_tokenizer_free(carried);
    return status;
}
