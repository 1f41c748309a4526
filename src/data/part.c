/* A part of a dataset: its samples are some of the whole's, which reads them. */
#include "data/dataset.h"
#include <stdlib.h>
#include <string.h>

static bool make_room(ef_dataset *d, size_t count, bool lines)
{
    d->part = malloc(count * sizeof *d->part);
    d->length = malloc(count * sizeof *d->length);
    d->line = lines ? malloc(count * sizeof *d->line) : NULL;
    d->allocated = count;
    return d->part && d->length && (d->line || !lines);
}

static ef_status add(ef_dataset *d, size_t sample, unsigned char *room, ef_error *error)
{
    const ef_dataset *whole = d->whole;
    ef__sample s;
    ef_status status = ef__dataset_read(whole, sample, room, &s, error);
    if (status)
        return status;
    d->part[d->count] = sample;
    d->length[d->count] = whole->length[sample];
    if (d->line)
        d->line[d->count] = whole->line[sample];
    d->count++;
    ef__dataset_count(d, &s);
    return EF_OK;
}

ef_status ef__dataset_part(const ef_dataset *whole, const bool *picked, bool which,
                           ef_dataset **part, ef_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < whole->count; i++)
        count += picked[i] == which;
    ef_dataset *d = calloc(1, sizeof *d);
    unsigned char *room = malloc(whole->largest);
    ef_status status = EF_OK;
    if (d) {
        *d = (ef_dataset){.fd = -1,
                          .store = -1,
                          .whole = whole,
                          .format = whole->format,
                          .has_text = whole->has_text,
                          .has_ids = whole->has_ids,
                          .normalized = whole->normalized,
                          .width = whole->width,
                          .largest = whole->largest,
                          .path = strdup(whole->path)};
    }
    if (!d || !room || !d->path || !make_room(d, count, whole->line != NULL))
        status = ef__dataset_no_memory(whole, error);
    for (size_t i = 0; i < whole->count && !status; i++)
        if (picked[i] == which)
            status = add(d, i, room, error);
    free(room);
    if (status)
        ef_dataset_free(d);
    else
        *part = d;
    return status;
}
