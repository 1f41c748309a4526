/* Rings of rows. Sizes n: B, T rows, C columns, K taps, R rows of the ring, d; d comes in and is
 * brought to 1 at least. Scalars f: the slot, a whole number: it changes with each call, so it is
 * no size, which a choice is made and kept by. */
#include "op/ring.h"
#include <math.h>

enum { B, T, C, K, R, D };
enum { X, TAPS, RING };
enum { SLOT };
enum { MOST_ROWS = 1 << 24 }; /* floats count so far */

static ef_status check_shapes(ef_actor *a, const char *op, ef__args *args)
{
    const size_t *x = ef_tensor_dims(args->t[X]), *taps = ef_tensor_dims(args->t[TAPS]);
    const size_t *ring = ef_tensor_dims(args->t[RING]), *n = args->n;
    char left[80], right[80];
    if (taps[0] != x[0] || taps[1] != x[1] || taps[2] != x[2])
        return ef__fail(a, EF_ESHAPE, 0, op,
                        "%s: taps must be x with a last dimension more: %s, %s", op,
                        ef__tensor_text(args->t[TAPS], left), ef__tensor_text(args->t[X], right));
    if (n[K] == 0)
        return ef__fail(a, EF_EARG, 0, op, "%s: taps has none", op);
    if (ring[0] != x[0] || ring[2] != x[2] || ring[1] / n[D] < n[K] - 1 || ring[1] > MOST_ROWS)
        return ef__fail(
            a, EF_ESHAPE, 0, op, "%s: ring is %s, must be [%zu,R,%zu], R %zu x %zu to %d", op,
            ef__tensor_text(args->t[RING], left), x[0], x[2], n[K] - 1, n[D], MOST_ROWS);
    return EF_OK;
}

static ef_status check(ef_actor *a, const char *op, ef__args *args)
{
    const size_t ranks[] = {3, 4, 3};
    static const char *const names[] = {"x", "taps", "ring"};
    const float slot = args->f[SLOT];
    size_t *n = args->n;
    for (int i = 0; i < 3; i++) {
        const ef_status s = ef__want_rank(a, op, names[i], args->t[i], ranks[i]);
        if (s)
            return s;
    }
    n[B] = ef_tensor_dims(args->t[TAPS])[0];
    n[T] = ef_tensor_dims(args->t[TAPS])[1];
    n[C] = ef_tensor_dims(args->t[TAPS])[2];
    n[K] = ef_tensor_dims(args->t[TAPS])[3];
    n[R] = ef_tensor_dims(args->t[RING])[1];
    n[D] = n[D] ? n[D] : 1;
    const ef_status s = check_shapes(a, op, args);
    if (s)
        return s;
    if (!(slot >= 0) || slot != floorf(slot) || slot > (n[R] ? (float)(n[R] - 1) : 0))
        return ef__fail(a, EF_EARG, 0, op, "%s: slot %g of a ring of %zu rows", op, (double)slot,
                        n[R]);
    return EF_OK;
}

static ef_status launch_item(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    ef__call call = {.op = "ring.taps[item]",
                     .source = "ring",
                     .kernel = "ring_taps_item",
                     .args = {ef__t(args->t[X]), ef__t(args->t[TAPS]), ef__t(args->t[RING]),
                              ef__n(n[B]), ef__n(n[T]), ef__n(n[C]), ef__n(n[K]), ef__n(n[R]),
                              ef__n(n[D]), ef__n((size_t)args->f[SLOT])}};
    ef__spread(a, &call, n[B] * n[C]);
    return ef__launch(a, &call);
}

static double flops(const ef__args *args)
{
    (void)args;
    return 0;
}

/* Of a row: itself twice, each other tap twice. */
static double bytes(const ef__args *args)
{
    const size_t *n = args->n;
    return 4.0 * n[B] * n[T] * n[C] * (2.0 * n[K] + 1);
}

const ef__op ef__op_ring_taps = {
    .name = "ring.taps",
    .names = {"x", "taps", "ring"},
    .writes = 1 << TAPS | 1 << RING,
    .check = check,
    .flops = flops,
    .bytes = bytes,
    .examples = {{.tensors = "nB1D zB1D5 nB9D", .n = {[D] = 2}, .f = {3}}},
    .variants = {{"item", 0, ef__fits_always, launch_item}}};

ef_status ef__ring_taps(ef_actor *a, const ef_tensor *x, size_t dilation, size_t slot,
                        ef_tensor *ring, ef_tensor *taps)
{
    return ef__op_run(a, EF__RING_TAPS,
                      &(ef__args){.t = {x, taps, ring}, .n = {[D] = dilation}, .f = {(float)slot}});
}
