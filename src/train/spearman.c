#include "train/spearman.h"
#include <math.h>
#include <stdlib.h>

typedef struct item {
    double value;
    size_t at;
} item;

static int by_value(const void *a, const void *b)
{
    const double x = ((const item *)a)->value, y = ((const item *)b)->value;
    return (x > y) - (x < y);
}

/* rank[i] of x[i], from 1; of equal ones their mean. room [n]. False: there is a NaN. */
static bool find_ranks(size_t n, const double *x, item *room, double *rank)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            return false;
        room[i] = (item){x[i], i};
    }
    qsort(room, n, sizeof *room, by_value);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && room[to].value == room[from].value;)
            to++;
        for (size_t i = from; i < to; i++) /* ranks from+1 .. to */
            rank[room[i].at] = (double)(from + 1 + to) / 2;
    }
    return true;
}

/* Both have the mean (n + 1) / 2. */
static double correlation(size_t n, const double *x, const double *y)
{
    const double mean = (double)(n + 1) / 2;
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        xx += (x[i] - mean) * (x[i] - mean);
        yy += (y[i] - mean) * (y[i] - mean);
        xy += (x[i] - mean) * (y[i] - mean);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

ef_status ef__spearman(size_t n, const double *x, const double *y, double *rho, ef_error *error)
{
    item *room = malloc(n * sizeof *room);
    double *rank = malloc(2 * n * sizeof *rank);
    ef_status status = EF_OK;
    if (!room || !rank)
        status = ef__error_set(error, EF_ENOMEM, 0, NULL, "out of memory for %zu ranks", n);
    else if (find_ranks(n, x, room, rank) && find_ranks(n, y, room, rank + n))
        *rho = correlation(n, rank, rank + n);
    else
        *rho = NAN;
    free(room);
    free(rank);
    return status;
}
