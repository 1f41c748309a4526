/* conv.h -- one convolution problem for the tests of conv1d and linear: random x, w and dy with
 * their tensors, and the comparison of each variant with the references of ref.h. */
#ifndef CONV_H
#define CONV_H

#include "ef_test.h"
#include "ref.h"

/* |error| <= CONV_BOUND 2^-24 sum|x||w|; of loose variants CONV_LOOSE times the most of the sums of
 * its bundle (conv_spread). */
enum { CONV_BOUND = 8, CONV_LOOSE = 64 };

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

/* Of mag [B*L, channels] the most over four rows d apart, which Toom-Cook F(4,K) makes together;
 * conv_spread_taps: of mag [Cout, Cin, K] over the taps. */
double *conv_spread(const ref_conv *s, size_t channels, const double *mag);
double *conv_spread_taps(const ref_conv *s, const double *mag);

/* y is what the reference says, within the bound. */
void conv_check_forward(const char *what, const conv *c, const ef_tensor *y);

/* Every variant that fits, in all three operations; gradients are added to what was there. */
void conv_agrees(ef_actor *a, ref_conv s, bool linear);
/* The same over the values of the knobs of direct. */
void conv_agrees_tuned(ef_actor *a, ref_conv s, bool linear);

/* The result does not depend on knobs, bit for bit: every variant that has some, in all three
 * operations, with its widest and its tallest tiles. */
void conv_knobs_change_nothing(ef_actor *a, ref_conv s, bool linear);

/* Whether untuned knobs are valid, and at most 150 points, on devices with vectors of 4, 8, 16. */
void conv_knobs_are_few(ef_actor *a, ref_conv s, bool linear);

/* Gradients against finite differences of sum(dy y). */
void conv_slopes_agree(ef_actor *a, ref_conv s, bool linear);

uint64_t conv_launches(ef_actor *a); /* so far */

#endif
