/* stats.h -- medians, and how far they can be trusted. */
#ifndef TUNE_STATS_H
#define TUNE_STATS_H

#include <stddef.h>

/* The median of x[count]; sorts x. count is at least 1. */
double tune_median(double *x, size_t count);

/* The median distance from the median; x is sorted, then overwritten. */
double tune_mad(double *x, size_t count);

typedef struct tune_interval {
    double median, low, high;
} tune_interval;

/* tune_bootstrap -- the median of x[count] and its percentile bootstrap interval; sorts x.
 *   confidence  between 0 and 1: so often the median of a resample lies in the interval
 * Not drawn but counted: the median of a resample is at most the k-th of x when more than half of
 * its draws are, and that is binomial. So it is the interval of infinitely many resamples, the same
 * for the same x, and its ends are elements of x. Of an even count the ends are those of the lower
 * and of the upper median, which is the wider choice. */
tune_interval tune_bootstrap(double *x, size_t count, double confidence);

#endif
