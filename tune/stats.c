#include "stats.h"
#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tune_median(double *x, size_t count)
{
    qsort(x, count, sizeof *x, compare);
    return (x[(count - 1) / 2] + x[count / 2]) / 2;
}

double tune_mad(double *x, size_t count)
{
    double median = tune_median(x, count);
    for (size_t i = 0; i < count; i++)
        x[i] = fabs(x[i] - median);
    return tune_median(x, count);
}

/* At least k of n draws succeed, each with probability p. */
static double at_least(size_t k, size_t n, double p)
{
    double sum = 0;
    if (p >= 1)
        return 1;
    for (size_t i = k; i <= n; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) +
                   (double)i * log(p) + (double)(n - i) * log1p(-p));
    return sum;
}

/* The smallest k, 1 .. n, for which the upper median of a resample is at most the k-th element with
 * probability `often`. */
static size_t reach(size_t n, double often)
{
    size_t k = 1;
    while (k < n && at_least(n / 2 + 1, n, (double)k / (double)n) < often)
        k++;
    return k;
}

tune_interval tune_bootstrap(double *x, size_t count, double confidence)
{
    tune_interval i = {.median = tune_median(x, count)};
    size_t k = reach(count, (1 + confidence) / 2);
    i.low = x[count - k]; /* the other end is the same from above */
    i.high = x[k - 1];
    return i;
}
