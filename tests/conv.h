/* conv.h -- one convolution problem for the tests of conv1d and linear: random x, w and dy with
 * their tensors, and the comparison of each variant with the references of ref.h. */
#ifndef CONV_H
#define CONV_H

#include "ef_test.h"
#include "ref.h"

enum { CONV_BOUND = 8 }; /* |error| <= CONV_BOUND 2^-24 sum|x||w| */

typedef struct conv {
    ref_conv s;
    bool linear; /* [L,Cin] and [Cout,Cin] by ef_linear; else rank 3 by ef_conv1d */
    size_t nx, nw, ny;
    float *x, *w, *dy;
    ef_tensor *tx, *tw, *tdy;
} conv;

conv conv_new(ef_actor *a, ref_conv s, bool linear);

/* Tensors of these shapes; data NULL: NaN. */
ef_tensor *conv_x(ef_actor *a, const conv *c, const float *data);
ef_tensor *conv_w(ef_actor *a, const conv *c, const float *data);
ef_tensor *conv_y(ef_actor *a, const conv *c, const float *data);

ef_status conv_forward(ef_actor *a, const conv *c, const ef_epilogue *e, ef_tensor *y);
ef_status conv_dx(ef_actor *a, const conv *c, const ef_epilogue *e, ef_tensor *dx);
ef_status conv_dw(ef_actor *a, const conv *c, ef_tensor *dw, ef_tensor *db);

/* y is what the reference says, within the bound. */
void conv_check_forward(const char *what, const conv *c, const ef_tensor *y);

/* Every variant that fits, in all three operations; gradients are added to what was there. */
void conv_agrees(ef_actor *a, ref_conv s, bool linear);
/* The same over the values of all knobs. */
void conv_agrees_tuned(ef_actor *a, ref_conv s, bool linear);

/* Gradients against finite differences of sum(dy y). */
void conv_slopes_agree(ef_actor *a, ref_conv s, bool linear);

uint64_t conv_launches(ef_actor *a); /* so far */

#endif
