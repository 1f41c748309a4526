/* tcn.h -- the stack of causal convolution blocks that encoders (and decoders) share.
 *
 *     block: x -> mask (x + conv2(gelu(conv1(mask layernorm(x)))))
 *
 * A block's output is 0 in masked rows, and so is the gradient that comes back to it: what is
 * above gives masked rows none, and a block's own dx there is the residual's alone. Backward
 * relies on it. */
#ifndef EF_MODEL_TCN_H
#define EF_MODEL_TCN_H

#include "model/params.h"

typedef struct ef__tcn {
    ef__params *params;
    size_t at[EF_MAX_BLOCKS]; /* a block's first segment, of six */
    size_t width, hidden, taps, blocks;
    const size_t *dilations;
    float eps;
} ef__tcn;

/* Where the weights of a block are; a bias follows its weight. */
typedef struct ef__block_segments {
    const ef__segment *norm, *conv1, *conv2;
} ef__block_segments;

ef__block_segments ef__tcn_block(const ef__tcn *tcn, size_t block);

/* What a block's forward pass keeps for its backward pass. All NULL: nothing was kept. */
typedef struct ef__block_trace {
    ef_tensor *x, *norm, *mean, *rstd, *pre, *act;
} ef__block_trace;

typedef struct ef__tcn_trace {
    ef__block_trace block[EF_MAX_BLOCKS];
    size_t first; /* blocks from here on are kept, the ones before are not */
} ef__tcn_trace;

/* A stack whose blocks have no segments yet. config must stay. */
void ef__tcn_begin(ef__tcn *tcn, const ef_model_config *config, ef__params *params);

/* Append the segments of a block, of group 1 + block: blocks.N.norm.weight ...
 * blocks.N.conv2.bias, N being number. */
void ef__tcn_add(ef__tcn *tcn, size_t block, size_t number);

/* The block has the segments that were added last. */
void ef__tcn_share(ef__tcn *tcn, size_t block);

/* *x [B,L,D] goes through all blocks and is replaced by the result. trace NULL: inference. */
ef_status ef__tcn_forward(const ef__tcn *tcn, const ef_tensor *mask, ef_tensor **x,
                          ef__tcn_trace *trace);

/* Blocks from trace->first on get their gradients. dx holds the output's gradient and then, if
 * want_dx, the gradient of the input of block trace->first. */
ef_status ef__tcn_backward(const ef__tcn *tcn, const ef_tensor *mask, const ef__tcn_trace *trace,
                           bool want_dx, ef_tensor *dx);

/* The first block that a pass keeps when groups from group on get gradients. */
size_t ef__tcn_first_kept(int group);

/* Can a batch of B samples of L ids be trained from group on? Asked of what such a step holds at
 * its fullest and no driver does without: never of a batch that would fit. Errors: ENOMEM. */
ef_status ef__tcn_check_batch(const ef__tcn *tcn, int group, size_t B, size_t L);

void ef__tcn_trace_clear(ef__tcn_trace *trace);

#endif
