/* tanh.h -- the encoder's optional last step. */
#ifndef EF_OP_TANH_H
#define EF_OP_TANH_H

#include "op/op.h"

/* y = tanh(x). Same shape; y may be x. */
ef_status ef__tanh_forward(ef_actor *a, const ef_tensor *x, ef_tensor *y);

/* dx = dy (1 - y^2), y being what forward gave. Same shapes; dx may be dy or y. */
ef_status ef__tanh_backward(ef_actor *a, const ef_tensor *y, const ef_tensor *dy, ef_tensor *dx);

#endif
