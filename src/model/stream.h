/* stream.h -- a decoder that goes on where it stopped: of each block it keeps the last (K-1) d rows
 * that conv1 has read, which is all that later positions see of earlier ones. */
#ifndef EF_MODEL_STREAM_H
#define EF_MODEL_STREAM_H

#include "model/decoder.h"

typedef struct ef__stream_block {
    ef_tensor *ring;          /* [B,(K-1)d,D]: rows of the block's LayerNorm, after its mask */
    ef_tensor *conv1, *conv2; /* weights as matrices, [H,D K] and [D,H] */
} ef__stream_block;

struct ef_stream {
    ef_decoder *decoder;
    size_t B;
    uint64_t position;
    ef_tensor *added; /* [B,D]: cond(z) */
    ef__stream_block block[EF_MAX_BLOCKS];
};

#endif
