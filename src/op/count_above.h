/* count_above.h -- how many numbers of each row are above its level: what a rank is made of. */
#ifndef EF_OP_COUNT_ABOVE_H
#define EF_OP_COUNT_ABOVE_H

#include "op/op.h"

/* ef__count_above -- count[r] += how many of x[r,:] are above level[r]; NaN is above any level, and
 * everything is above one that is NaN.
 *   x  [R,C]     level, count  [R]; count holds whole numbers, exact up to 2^24
 * Cost: RC flop, 4 RC byte. */
ef_status ef__count_above(ef_actor *a, const ef_tensor *x, const ef_tensor *level,
                          ef_tensor *count);

#endif
