/* Counting shapes. */
#include "op/capture.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct shape {
    ef__op_id id;
    size_t n[EF__MAX_SIZES];
    unsigned long count; /* 0: an empty place */
    double flops, bytes; /* of the first call */
} shape;

enum { PLACES = 1024, TRIES = 8 }; /* what finds no place is not counted */

struct ef__capture {
    int fd; /* the actor's */
    shape shapes[PLACES];
};

ef__capture *ef__capture_new(const ef_actor *a)
{
    const int fd = ef__actor_capture(a);
    ef__capture *c = fd >= 0 ? calloc(1, sizeof *c) : NULL;
    if (c)
        c->fd = fd;
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
            s->flops = ef__op_row(id)->flops(args);
            s->bytes = ef__op_row(id)->bytes(args);
        }
        if (s->id == id && !memcmp(s->n, args->n, sizeof s->n)) {
            s->count++;
            return;
        }
    }
}

static void put(FILE *to, const shape *s)
{
    fprintf(to, "{\"op\": \"%s\", \"n\": [", ef__op_row(s->id)->name);
    for (int k = 0; k < EF__MAX_SIZES; k++)
        fprintf(to, "%s%zu", k ? ", " : "", s->n[k]);
    fprintf(to, "], \"count\": %lu, \"flops\": %.0f, \"bytes\": %.0f}\n", s->count, s->flops,
            s->bytes);
}

static bool write_all(int fd, const char *text, size_t bytes)
{
    const ssize_t done = write(fd, text, bytes);
    if (done >= 0 && (size_t)done < bytes)
        errno = ENOSPC; /* files take all that they have room for */
    return done == (ssize_t)bytes;
}

void ef__capture_end(ef__capture *c)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = c ? open_memstream(&text, &bytes) : NULL;
    for (int i = 0; to && i < PLACES; i++)
        if (c->shapes[i].count)
            put(to, &c->shapes[i]);
    if (c && (!to || fclose(to) || !write_all(c->fd, text, bytes)))
        fprintf(stderr, "energyflow: the file of EF_TUNE_CAPTURE is not complete: %s\n",
                strerror(errno));
    free(text);
    free(c);
}
