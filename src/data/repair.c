/* The samples of a broken EFB file that are whole, in a file of their own. */
#include "base/size.h"
#include "data/dataset.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct repair {
    ef_dataset *from;
    ef__file *to;
    ef_repair_report *report;
    unsigned char *room; /* [size] for a record */
    size_t size;
    ef_error *error;
} repair;

static void note(repair *r, const char *text)
{
    if (!*r->report->first)
        snprintf(r->report->first, sizeof r->report->first, "%s", text);
}

static ef_status copy_header(repair *r)
{
    unsigned char header[16];
    size_t bytes = r->from->offset[0];
    ef_status status = ef__dataset_fetch(r->from, 0, header, bytes, r->error);
    return status ? status : ef__file_write(r->to, header, bytes, r->error);
}

static ef_status copy_record(repair *r, size_t index, size_t at, size_t bytes)
{
    ef_error wrong = {0};
    ef__sample s;
    if (bytes > r->size) {
        unsigned char *more = realloc(r->room, bytes);
        if (!more)
            return ef__dataset_no_memory(r->from, r->error);
        r->room = more;
        r->size = bytes;
    }
    ef_status status = ef__dataset_fetch(r->from, at, r->room, bytes, r->error);
    if (status)
        return status;
    if (ef__dataset_decode(r->from, r->room, bytes, &s) &&
        !ef__efb_check(r->from, index, &s, false, &wrong)) {
        r->report->kept++;
        return ef__file_write(r->to, r->room, bytes, r->error);
    }
    r->report->unsound++;
    note(r, wrong.text);
    return EF_OK;
}

/* Records one after the other, up to the first that is not whole. */
static ef_status copy_records(repair *r)
{
    ef_dataset *d = r->from;
    size_t at = d->offset[0], most = d->declared ? d->declared : UINT32_MAX, bytes, i;
    ef_status status = EF_OK;
    for (i = 0; i < most && at < d->bytes && !status; i++) {
        ef_error wrong = {0};
        ef_status whole = ef__efb_record(d, i, at, &bytes, &wrong);
        if (whole == EF_EFORMAT) {
            note(r, wrong.text);
            break;
        }
        status = whole ? ef__error_set(r->error, whole, 0, NULL, "%s", wrong.text)
                       : copy_record(r, i, at, bytes);
        at += bytes;
    }
    r->report->cut_bytes = d->bytes - at;
    return status;
}

static ef_status copy_all(repair *r)
{
    uint32_t count;
    ef_status status = copy_header(r);
    if (!status)
        status = copy_records(r);
    if (!status && !r->report->kept)
        return ef__dataset_bad(r->from, r->error, "has no sample to keep%s%s",
                               *r->report->first ? ": " : "", r->report->first);
    count = (uint32_t)r->report->kept;
    return status ? status : ef__file_patch(r->to, 4, &count, sizeof count, r->error);
}

static ef_status open_broken(const char *path, ef_dataset *d, ef_error *error)
{
    char head[4] = "";
    *d = (ef_dataset){.fd = -1, .store = -1, .path = (char *)path};
    ef_status status = ef__file_open(path, &d->fd, &d->bytes, error);
    if (!status)
        status = ef__dataset_fetch(d, 0, head, ef__min(d->bytes, 4), error);
    if (!status && memcmp(head, "EFB", 3))
        return ef__dataset_bad(d, error,
                               "is no EFB file; of JSONL, what is sound is a conversion "
                               "with --skip-bad");
    return status ? status : ef__efb_header(d, error);
}

ef_status ef_dataset_repair(const char *path, const char *copy, ef_repair_report *report,
                            ef_error *error)
{
    ef_dataset d;
    ef_repair_report done = {0};
    repair r = {.from = &d, .report = &done, .error = error};
    ef_status status = open_broken(path, &d, error);
    done.declared = d.declared;
    if (!status)
        status = ef__file_begin(copy, &r.to, error);
    if (!status)
        status = copy_all(&r);
    if (!status) {
        status = ef__file_commit(r.to, error);
        r.to = NULL;
    }
    ef__file_abandon(r.to);
    free(r.room);
    free(d.offset);
    if (d.fd >= 0)
        close(d.fd);
    if (!status)
        *report = done;
    return status;
}
