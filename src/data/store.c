#include "data/store.h"
#include "base/size.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "ids are stored as they are");

enum { FULL = 1 << 20 }; /* bytes to be written at once */

static ef_status failed(const ef__store *s, const char *what, ef_error *error)
{
    int code = errno;
    return ef__error_set(error, EF_EIO, 0, NULL, "%s: %s: %s", s->dataset->path, what,
                         strerror(code));
}

ef_status ef__store_begin(ef__store *s, ef_dataset *d, const ef_dataset_options *options,
                          ef_error *error)
{
    char path[4096];
    const char *folder = getenv("TMPDIR");
    *s = (ef__store){.dataset = d, .options = options, .fd = -1};
    int n =
        snprintf(path, sizeof path, "%s/energyflow-XXXXXX", folder && *folder ? folder : "/tmp");
    errno = ENAMETOOLONG;
    if ((size_t)n < sizeof path)
        s->fd = mkstemp(path);
    if (s->fd < 0)
        return failed(s, "cannot make a temporary file in TMPDIR, else /tmp", error);
    unlink(path);
    return EF_OK;
}

static ef_status flush(ef__store *s, ef_error *error)
{
    for (size_t done = 0; done < s->bytes;) {
        ssize_t n = pwrite(s->fd, s->data + done, s->bytes - done, (off_t)(s->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(s, "cannot write a temporary file in TMPDIR, else /tmp", error);
        done += (size_t)n;
    }
    s->at += s->bytes;
    s->bytes = 0;
    return EF_OK;
}

/* Room for so many more bytes in data. */
static bool reserve(ef__store *s, size_t bytes)
{
    size_t need;
    if (!ef__add(s->bytes, bytes, &need))
        return false;
    if (need <= s->room)
        return true;
    unsigned char *more = realloc(s->data, 2 * need);
    if (!more)
        return false;
    s->data = more;
    s->room = 2 * need;
    return true;
}

static void put(ef__store *s, const void *data, size_t bytes)
{
    if (bytes)
        memcpy(s->data + s->bytes, data, bytes);
    s->bytes += bytes;
}

static void put_count(ef__store *s, size_t count)
{
    uint32_t n = (uint32_t)count;
    put(s, &n, sizeof n);
}

static ef_status put_record(ef__store *s, const ef__sample *sample, ef_error *error)
{
    size_t width = 4 * s->dataset->width;
    if (!reserve(s, 8 + sample->text_bytes + 5 * sample->length + width))
        return ef__dataset_no_memory(s->dataset, error);
    put_count(s, sample->text ? sample->text_bytes : EF__NO_TEXT);
    put(s, sample->text, sample->text_bytes);
    put_count(s, sample->length);
    put(s, sample->ids, 4 * sample->length);
    if (sample->mask) {
        put(s, sample->mask, sample->length);
    } else {
        memset(s->data + s->bytes, 1, sample->length);
        s->bytes += sample->length;
    }
    put(s, sample->target, width);
    return EF_OK;
}

/* bytes + 2 ids are room enough for any text. */
static ef_status tokenize(ef__store *s, ef__sample *sample, ef_error *error)
{
    const ef_dataset_options *o = s->options;
    size_t most = sample->text_bytes + 2;
    if (o->most_ids)
        most = ef__min(most, o->most_ids);
    if (most > s->most) {
        int32_t *more = realloc(s->ids, most * sizeof *more);
        if (!more)
            return ef__dataset_no_memory(s->dataset, error);
        s->ids = more;
        s->most = most;
    }
    sample->length =
        ef_tokenizer_encode(o->tokenizer, sample->text, sample->text_bytes, s->ids, most);
    sample->ids = (const unsigned char *)s->ids;
    sample->mask = NULL;
    return EF_OK;
}

ef_status ef__store_add(ef__store *s, const ef__sample *given, size_t line, ef_error *error)
{
    ef__sample sample = *given;
    ef_status status = EF_OK;
    if (!sample.length && sample.text && s->options->tokenizer)
        status = tokenize(s, &sample, error);
    if (!status)
        status = put_record(s, &sample, error);
    if (!status)
        status = ef__dataset_add(s->dataset, &sample, s->at + s->bytes, line, error);
    if (!status && s->bytes >= FULL)
        status = flush(s, error);
    return status;
}

ef_status ef__store_end(ef__store *s, ef_status status, ef_error *error)
{
    if (!status)
        status = flush(s, error);
    if (status && s->fd >= 0)
        close(s->fd);
    if (!status) {
        s->dataset->store = s->fd;
        s->dataset->has_text = s->dataset->has_ids = true;
    }
    free(s->data);
    free(s->ids);
    return status;
}

static ef_status add_all(ef__store *s, const ef_dataset *from, unsigned char *room, ef_error *error)
{
    ef_status status = EF_OK;
    ef__sample sample;
    for (size_t i = 0; i < from->count && !status; i++) {
        status = ef__dataset_tell(from, s->options, i, from->count, error);
        if (!status)
            status = ef__dataset_read(from, i, room, &sample, error);
        if (!status)
            status = ef__store_add(s, &sample, 0, error);
    }
    return status;
}

/* The dataset is counted anew; what it was is put back if that fails, to be freed. */
ef_status ef__store_tokenized(ef_dataset *d, const ef_dataset_options *options, ef_error *error)
{
    ef__store store;
    ef_dataset from = *d;
    unsigned char *room = malloc(from.largest);
    d->offset = NULL;
    d->length = NULL;
    d->count = d->allocated = d->texts = d->bare = d->largest = 0;
    ef_status status = ef__store_begin(&store, d, options, error);
    if (!status && !room)
        status = ef__dataset_no_memory(d, error);
    if (!status)
        status = add_all(&store, &from, room, error);
    status = ef__store_end(&store, status, error);
    free(room);
    free(from.offset);
    free(from.length);
    return status;
}
