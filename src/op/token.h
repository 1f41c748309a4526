/* token.h -- the next token of each sequence, chosen on the device. */
#ifndef EF_OP_TOKEN_H
#define EF_OP_TOKEN_H

#include "op/op.h"

/* ids[n] = a token by logits[n,:]; of equal ones the lowest id. NaN is chosen only where there is
 * nothing else, and then id 0.
 *   temperature  0: the likeliest. Above: a draw from softmax(logits / temperature)
 *   top_k        among the k largest alone and those that equal the k-th; 0: all
 *   logits   [N,V]     ids  [N...] i32 out
 *   state    [N,3] i32: a key in two halves, low first, and how many tokens were chosen; the draw
 *            is a function of the two and of the logits, and the count goes up by one
 *   history  [N,S] i32: the n-th choice of a row goes into column n mod S */
ef_status ef__token_choose(ef_actor *a, const ef_tensor *logits, size_t top_k, float temperature,
                           ef_tensor *ids, ef_tensor *state, ef_tensor *history);

#endif
