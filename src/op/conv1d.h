/* What conv1d and linear share: both fill args->n with these extents (linear: B = 1, L = rows, K =
 * 1, d = 1) and hold their tensors in the same order, so each launch below serves both.
 *   forward  t: x, w, y     dx  t: dy, w, dx     dw  t: x, dy, dw, db
 * op names the variant in messages: "linear.forward[panel]". */
#ifndef EF_OP_CONV1D_H
#define EF_OP_CONV1D_H

#include "op/op.h"

enum { EF__B, EF__L, EF__CIN, EF__COUT, EF__K, EF__D };

typedef enum ef__direction {
    EF__FORWARD,
    EF__BACKWARD
} ef__direction; /* also ef__pack's layouts */

/* Kernels count rows and channels in int, with room for a tile beyond; offsets are long. ESHAPE if
 * B L, K Cin or K Cout is more than they count. */
ef_status ef__conv1d_want_extents(ef_actor *a, const char *op, const size_t *n);

/* t has n's rows, each of so many channels. */
typedef ef_status ef__want_rows(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                                const size_t *n, size_t channels);

/* What conv1d and linear ask once n is known, each with rows in its own shape. */
ef_status ef__conv1d_check_taps(ef_actor *a, const char *op, const ef__args *args,
                                ef__direction direction, ef__want_rows *want);
ef_status ef__conv1d_check_dw(ef_actor *a, const char *op, const ef__args *args,
                              ef__want_rows *want);

/* panel: CPU devices, weights packed by ef__pack. */
bool ef__conv1d_fits_taps_panel(const ef__device *device, const ef__args *args);
bool ef__conv1d_fits_dw_panel(const ef__device *device, const ef__args *args);
ef_status ef__conv1d_taps_panel(ef_actor *a, const char *op, const ef__args *args,
                                ef__direction direction);
ef_status ef__conv1d_dw_panel(ef_actor *a, const char *op, const ef__args *args);

/* toom2 and toom4: the same by Toom-Cook F(outputs,K), outputs 2 or 4, K 3 or 5, where it saves a
 * fifth of the products and sums are long. */
bool ef__conv1d_fits_taps_toom(const ef__device *device, const ef__args *args, size_t outputs);
ef_status ef__conv1d_taps_toom(ef_actor *a, const char *op, const ef__args *args,
                               ef__direction direction, size_t outputs);
bool ef__conv1d_fits_dw_toom(const ef__device *device, const ef__args *args, size_t outputs);
ef_status ef__conv1d_dw_toom(ef_actor *a, const char *op, const ef__args *args, size_t outputs);

/* The first row of the bundle that row t of a sequence is made in, with outputs - 1 others d
 * apart. Loose variants are of LOOSE_OUTPUTS: an error of one row of a bundle follows all of them.
 * The same goes for the taps of a weight's gradient. */
enum { EF__LOOSE_OUTPUTS = 4 };
size_t ef__conv1d_bundle(const size_t *n, size_t t, size_t outputs);

/* Their knobs: rows and vectors of a register tile, and how many tiles of rows (dw: of input
 * channels) and panels of vectors a group holds at most. The result does not depend on them, bit
 * for bit. */
/* clang-format off */
#define EF__TILE_KNOBS {"rows", {6, 8, 4, 12}}, {"vectors", {2, 1, 3, 4}}
#define EF__TAPS_KNOBS {EF__TILE_KNOBS, {"tiles", {12, 4, 16}}, {"panels", {16, 8, 6, 3}}}
#define EF__TAPS_TOOM_KNOBS {EF__TILE_KNOBS, {"tiles", {4, 2, 8}}, {"panels", {16, 8, 6, 3}}}
#define EF__DW_KNOBS {EF__TILE_KNOBS, {"tiles", {44, 16, 8}}, {"panels", {8, 4, 2, 12}}}
#define EF__DW_TOOM_KNOBS {EF__TILE_KNOBS, {"tiles", {16, 8, 4}}, {"panels", {8, 4, 2, 12}}}
/* clang-format on */
size_t ef__lanes(const ef__device *device); /* floats in a vector, VW of the kernels */
void ef__conv1d_settle_taps(const ef__device *device, int *knob);
void ef__conv1d_settle_dw(const ef__device *device, int *knob);
void ef__conv1d_settle_dw_toom(const ef__device *device, int *knob);
bool ef__conv1d_valid_taps_panel(const ef__device *device, const ef__args *args);
bool ef__conv1d_valid_taps_toom(const ef__device *device, const ef__args *args, size_t outputs);
bool ef__conv1d_valid_dw_panel(const ef__device *device, const ef__args *args);
bool ef__conv1d_valid_dw_toom(const ef__device *device, const ef__args *args, size_t outputs);

/* direct: any device. conv1d_dw_direct with dw NULL gives db alone. Knobs: work-items along a side
 * of a group, outputs of each in both directions, depth of a tile, tiles in local memory. */
/* clang-format off */
#define EF__DIRECT_KNOBS                                                                           \
    {"side", {16, 8, 4, 2, 1}}, {"m", {8, 4}}, {"n", {4, 8}}, {"depth", {16, 8, 32}},              \
        {"buffers", {2, 1}}
/* clang-format on */
#define EF__DIRECT_RULES                                                                           \
    .settle = ef__direct_settle, .valid = ef__direct_valid, .group = ef__direct_group
void ef__direct_settle(const ef__device *device, int *knob);
bool ef__direct_valid(const ef__device *device, const ef__args *args);
ef__group ef__direct_group(const ef__device *device, const ef__args *args);
ef_status ef__conv1d_taps_direct(ef_actor *a, const char *op, const ef__args *args,
                                 ef__direction direction);
ef_status ef__conv1d_dw_direct(ef_actor *a, const char *op, const ef__args *args);

/* Cost of forward and dx, and of dw. */
double ef__conv1d_flops(const ef__args *args);
double ef__conv1d_taps_bytes(const ef__args *args);
double ef__conv1d_dw_bytes(const ef__args *args);

#endif
