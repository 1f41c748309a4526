/* ring.h -- a causal convolution that goes on where it stopped: what its taps still need. */
#ifndef EF_OP_RING_H
#define EF_OP_RING_H

#include "op/op.h"

/* What the taps of a convolution read at T more positions, so that w [O,C,K], as [O,C K], times
 * taps, as [B,T,C K], is its result there; then the ring has the last rows.
 *     taps[b,t,c,j] = x[b, t - (K-1-j) d, c], of rows before x's first: those of earlier calls
 *   x     [B,T,C]   taps [B,T,C,K]   d = max(1, dilation)
 *   ring  [B,R,C], R >= (K-1) d: zeros before the first call; row r of all calls is in r mod R
 *   slot  position of x's first row mod R; 0 where R is 0 */
ef_status ef__ring_taps(ef_actor *a, const ef_tensor *x, size_t dilation, size_t slot,
                        ef_tensor *ring, ef_tensor *taps);

#endif
