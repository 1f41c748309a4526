/* spearman.h -- the correlation of ranks. */
#ifndef EF_TRAIN_SPEARMAN_H
#define EF_TRAIN_SPEARMAN_H

#include "base/error.h"

/* ef__spearman -- Pearson's correlation of the ranks of x [n] and y [n]; equal numbers share their
 * mean rank. NAN where a number is NaN, or all of x or of y are one number. Errors: ENOMEM. */
ef_status ef__spearman(size_t n, const double *x, const double *y, double *rho, ef_error *error);

#endif
