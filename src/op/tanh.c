/* Tanh. Sizes n: N elements. */
#include "op/tanh.h"

enum { N };
enum { X, Y };           /* forward */
enum { RESULT, DY, DX }; /* backward */

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    args->n[N] = ef_tensor_count(args->t[X]);
    return ef__want_same_shape(a, op, "y", args->t[Y], "x", args->t[X]);
}

static ef_status check_backward(ef_actor *a, const char *op, ef__args *args)
{
    args->n[N] = ef_tensor_count(args->t[RESULT]);
    ef_status status = ef__want_same_shape(a, op, "dy", args->t[DY], "y", args->t[RESULT]);
    return status ? status : ef__want_same_shape(a, op, "dx", args->t[DX], "y", args->t[RESULT]);
}

static ef_status forward_item(ef_actor *a, const ef__args *args)
{
    return ef__launch_flat(a, args, "tanh.forward[item]", "tanh", "tanh_fwd_item", 0);
}

static ef_status backward_item(ef_actor *a, const ef__args *args)
{
    return ef__launch_flat(a, args, "tanh.backward[item]", "tanh", "tanh_bwd_item", 0);
}

static double flops_forward(const ef__args *args)
{
    return (double)args->n[N];
}

static double flops_backward(const ef__args *args)
{
    return 3.0 * args->n[N];
}

static double bytes_forward(const ef__args *args)
{
    return 8.0 * args->n[N];
}

static double bytes_backward(const ef__args *args)
{
    return 12.0 * args->n[N];
}

const ef__op ef__op_tanh_forward = {.name = "tanh.forward",
                                    .names = {"x", "y"},
                                    .writes = 1 << Y,
                                    .in_place = 1 << X,
                                    .check = check_forward,
                                    .flops = flops_forward,
                                    .bytes = bytes_forward,
                                    .examples = {{.tensors = "nBLH zBLH"}},
                                    .variants = {{"item", 0, ef__fits_always, forward_item}}};

const ef__op ef__op_tanh_backward = {.name = "tanh.backward",
                                     .names = {"y", "dy", "dx"},
                                     .writes = 1 << DX,
                                     .in_place = 1 << RESULT | 1 << DY,
                                     .check = check_backward,
                                     .flops = flops_backward,
                                     .bytes = bytes_backward,
                                     .examples = {{.tensors = "nBLH nBLH zBLH"}},
                                     .variants = {{"item", 0, ef__fits_always, backward_item}}};

ef_status ef__tanh_forward(ef_actor *a, const ef_tensor *x, ef_tensor *y)
{
    return ef__op_run(a, EF__TANH_FORWARD, &(ef__args){.t = {x, y}});
}

ef_status ef__tanh_backward(ef_actor *a, const ef_tensor *y, const ef_tensor *dy, ef_tensor *dx)
{
    return ef__op_run(a, EF__TANH_BACKWARD, &(ef__args){.t = {y, dy, dx}});
}
