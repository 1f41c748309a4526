/* GELU, the tanh form, and its gradient. Sizes n: N elements. */
#include "base/size.h"
#include "op/op.h"

enum { N };
enum { X, Y };           /* forward */
enum { DY = 1, DX = 2 }; /* backward */
enum { CHUNK };          /* knob of chunk: elements */
enum { GROUP, EACH };    /* of item: items of a group, elements of each */

#define CHUNKS 4096, 1024, 2048, 8192, 16384, 32768
#define EACHES 4, 1, 2, 8

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    args->n[N] = ef_tensor_count(args->t[X]);
    return ef__want_same_shape(a, op, "y", args->t[Y], "x", args->t[X]);
}

static ef_status check_backward(ef_actor *a, const char *op, ef__args *args)
{
    args->n[N] = ef_tensor_count(args->t[X]);
    ef_status status = ef__want_same_shape(a, op, "dy", args->t[DY], "x", args->t[X]);
    return status ? status : ef__want_same_shape(a, op, "dx", args->t[DX], "x", args->t[X]);
}

/* ---- launches: chunk is one item for a chunk of elements, item one for some of a group's ---- */

static ef_status launch_chunks(ef_actor *a, const ef__args *args, const char *op,
                               const char *kernel)
{
    return ef__launch_flat(a, args, op, "gelu", kernel, (size_t)args->knob[CHUNK]);
}

static ef_status launch_items(ef_actor *a, const ef__args *args, const char *op, const char *kernel)
{
    const size_t group = (size_t)args->knob[GROUP], each = (size_t)args->knob[EACH];
    ef__call call = ef__flat_call(args, op, "gelu", kernel);
    call.defines[0] = (ef__define){"GROUP", args->knob[GROUP]};
    call.defines[1] = (ef__define){"EACH", args->knob[EACH]};
    call.global[0] = ef__ceil_div(args->n[N], group * each) * group;
    call.local[0] = group;
    return ef__launch(a, &call);
}

static ef_status forward_chunk(ef_actor *a, const ef__args *args)
{
    return launch_chunks(a, args, "gelu.forward[chunk]", "gelu_fwd_chunk");
}

static ef_status forward_item(ef_actor *a, const ef__args *args)
{
    return launch_items(a, args, "gelu.forward[item]", "gelu_fwd_item");
}

static ef_status backward_chunk(ef_actor *a, const ef__args *args)
{
    return launch_chunks(a, args, "gelu.backward[chunk]", "gelu_bwd_chunk");
}

static ef_status backward_item(ef_actor *a, const ef__args *args)
{
    return launch_items(a, args, "gelu.backward[item]", "gelu_bwd_item");
}

/* ---- the table: operations counted by hand, an exponential as its polynomial ---- */

static double forward_flops(const ef__args *args)
{
    return 24.0 * args->n[N];
}

static double forward_bytes(const ef__args *args)
{
    return 8.0 * args->n[N];
}

static double backward_flops(const ef__args *args)
{
    return 32.0 * args->n[N];
}

static double backward_bytes(const ef__args *args)
{
    return 12.0 * args->n[N];
}

const ef__op ef__op_gelu_forward = {
    .name = "gelu.forward",
    .names = {"x", "y"},
    .writes = 1 << Y,
    .in_place = 1 << X,
    .check = check_forward,
    .flops = forward_flops,
    .bytes = forward_bytes,
    .examples = {{.tensors = "nBLH zBLH"}},
    .sources = {"gelu"},
    .variants = {{"chunk", 0, ef__fits_cpu, forward_chunk, {{"chunk", {CHUNKS}}}},
                 {"item",
                  0,
                  ef__fits_always,
                  forward_item,
                  {{"group", {EF__GROUPS}}, {"each", {EACHES}}},
                  ef__settle_group,
                  ef__valid_group,
                  ef__group_of_items}}};

const ef__op ef__op_gelu_backward = {
    .name = "gelu.backward",
    .names = {"x", "dy", "dx"},
    .writes = 1 << DX,
    .in_place = 1 << X | 1 << DY,
    .check = check_backward,
    .flops = backward_flops,
    .bytes = backward_bytes,
    .examples = {{.tensors = "nBLH nBLH zBLH"}},
    .sources = {"gelu"},
    .variants = {{"chunk", 0, ef__fits_cpu, backward_chunk, {{"chunk", {CHUNKS}}}},
                 {"item",
                  0,
                  ef__fits_always,
                  backward_item,
                  {{"group", {EF__GROUPS}}, {"each", {EACHES}}},
                  ef__settle_group,
                  ef__valid_group,
                  ef__group_of_items}}};

ef_status ef_gelu_forward(ef_actor *a, const ef_tensor *x, ef_tensor *y)
{
    return ef__op_run(a, EF__GELU_FORWARD, &(ef__args){.t = {x, y}});
}

ef_status ef_gelu_backward(ef_actor *a, const ef_tensor *x, const ef_tensor *dy, ef_tensor *dx)
{
    return ef__op_run(a, EF__GELU_BACKWARD, &(ef__args){.t = {x, dy, dx}});
}
