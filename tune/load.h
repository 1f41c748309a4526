/* load.h -- how much of the machine other processes took while a run began: that disturbs what is
 * timed. Nothing is known where there is no /proc/stat. */
#ifndef TUNE_LOAD_H
#define TUNE_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct tune_load {
    double least_s;       /* to watch for */
    double since;         /* 0: it was judged */
    double busy_s, own_s; /* of all cores, and ours of them, before */
} tune_load;

/* Watch from now on, for so long at least. */
void tune_load_begin(tune_load *load, double least_s);

/* Did others use more than half of the cores since? text: how much. True at most once, and not
 * before the time. Ours is this process and the worker (0: none), with the children that either has
 * waited for. */
bool tune_load_is_high(tune_load *load, pid_t worker, char *text, size_t size);

#endif
