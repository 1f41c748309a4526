/* Counting shapes. */
#include "op/capture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    ef__op_id id;
    size_t n[EF__MAX_SIZES];
    unsigned long count; /* 0: an empty place */
} shape;

enum { PLACES = 1024, TRIES = 8 }; /* what finds no place is not counted */

struct ef__capture {
    const char *path;
    shape shapes[PLACES];
};

ef__capture *ef__capture_new(void)
{
    const char *path = getenv("EF_TUNE_CAPTURE");
    ef__capture *c = path && *path ? calloc(1, sizeof *c) : NULL;
    if (c)
        c->path = path;
    return c;
}

void ef__capture_add(ef__capture *c, ef__op_id id, const ef__args *args)
{
    uint64_t h = (uint64_t)id;
    for (int i = 0; i < EF__MAX_SIZES; i++)
        h = (h ^ args->n[i]) * 0x9e3779b97f4a7c15u;
    for (uint64_t i = 0; i < TRIES; i++) {
        shape *s = &c->shapes[((h >> 40) + i) % PLACES];
        if (!s->count) {
            s->id = id;
            memcpy(s->n, args->n, sizeof s->n);
        }
        if (s->id == id && !memcmp(s->n, args->n, sizeof s->n)) {
            s->count++;
            return;
        }
    }
}

void ef__capture_end(ef__capture *c)
{
    FILE *file = c ? fopen(c->path, "ae") : NULL;
    for (int i = 0; file && i < PLACES; i++) {
        const shape *s = &c->shapes[i];
        if (!s->count)
            continue;
        fprintf(file, "{\"op\": \"%s\", \"n\": [", ef__op_row(s->id)->name);
        for (int k = 0; k < EF__MAX_SIZES; k++)
            fprintf(file, "%s%zu", k ? ", " : "", s->n[k]);
        fprintf(file, "], \"count\": %lu}\n", s->count);
    }
    if (file)
        fclose(file);
    free(c);
}
