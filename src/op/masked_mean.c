/* Mean or sum over the kept steps of each sample. Sizes n: B samples, L steps, D columns. */
#include "base/size.h"
#include "op/op.h"

#include <limits.h>

enum { B, L, D };
enum { X, MASK, Y, COUNT };          /* forward */
enum { DY, BACK_COUNT = 2, DX = 3 }; /* backward */
enum { PARTS, SLICE };               /* knobs of CPUs: items for a compute unit, least columns */
enum { GROUP, SPLITS };              /* of GPUs: items of a group, for a column */

#define SPLIT_VALUES 4, 1, 2, 8

/* clang-format off */
#define SLICE_KNOBS {"parts", {8, 2, 4, 16}}, {"columns", {64, 16, 32, 128, 256}}
#define COLUMN_KNOBS {"group", {EF__GROUPS}}, {"splits", {SPLIT_VALUES}}
#define COLUMN_RULES settle_column, valid_column, group_of_column
/* clang-format on */

static size_t items(ef_actor *a, const ef__args *args)
{
    return (size_t)args->knob[PARTS] * (size_t)ef__device_of(a)->info.compute_units;
}

/* x [B,L,D], y [B,D], mask [B,L], count [B] by the same rules in both directions. */
static ef_status check(ef_actor *a, const char *op, ef__args *args, const ef_tensor *x,
                       const ef_tensor *y, const ef_tensor *count, const char *x_name,
                       const char *y_name)
{
    ef_status s;
    size_t *n = args->n;
    const ef_tensor *mask = args->t[MASK];
    if ((s = ef__want_rank(a, op, x_name, x, 3)) ||
        (s = ef__want_dtype(a, op, "mask", mask, EF_U8)))
        return s;
    for (size_t i = 0; i < 3; i++)
        n[i] = ef_tensor_dims(x)[i];
    if (n[D] == 0)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s has no columns", op, x_name);
    if (n[L] > INT_MAX)
        return ef__fail(a, EF_EARG, 0, op, "%s: %zu steps: at most 2^31 - 1", op, n[L]);
    if ((s = ef__want_count(a, op, "mask", mask, n[B] * n[L],
                            "one for each step of each sample")) ||
        (s = ef__want_count(a, op, "count", count, n[B], "one for each sample")))
        return s;
    return ef__want_count(a, op, y_name, y, n[B] * n[D], "one row for each sample");
}

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    return check(a, op, args, args->t[X], args->t[Y], args->t[COUNT], "x", "y");
}

static ef_status check_sum(ef_actor *a, const char *op, ef__args *args)
{
    return check(a, op, args, args->t[X], args->t[Y], NULL, "x", "y");
}

static ef_status check_backward(ef_actor *a, const char *op, ef__args *args)
{
    return check(a, op, args, args->t[DX], args->t[DY], args->t[BACK_COUNT], "dx", "dy");
}

/* Both forward operations: a sum has no count. */
static ef_status slice(ef_actor *a, const ef__args *args, const char *op)
{
    const size_t *n = args->n;
    const size_t slices = ef__ceil_div(items(a, args), n[B]), least = (size_t)args->knob[SLICE];
    const size_t width = ef__round_up(ef__ceil_div(n[D], slices), least);
    return ef__launch(
        a, &(ef__call){.op = op,
                       .source = "masked_mean",
                       .kernel = "masked_mean_fwd_slice",
                       .global = {ef__ceil_div(n[D], width), n[B]},
                       .local = {1, 1},
                       .args = {ef__t(args->t[X]), ef__t(args->t[MASK]), ef__t(args->t[Y]),
                                ef__t(args->t[COUNT]), ef__n(n[L]), ef__n(n[D]), ef__n(width)}});
}

static ef_status column(ef_actor *a, const ef__args *args, const char *op)
{
    const size_t *n = args->n, group = (size_t)args->knob[GROUP];
    ef__call call = {.op = op,
                     .source = "masked_mean",
                     .kernel = "masked_mean_fwd_column",
                     .defines = {{"GROUP", args->knob[GROUP]}, {"SPLITS", args->knob[SPLITS]}},
                     .local = {group},
                     .args = {ef__t(args->t[X]), ef__t(args->t[MASK]), ef__t(args->t[Y]),
                              ef__t(args->t[COUNT]), ef__n(n[B]), ef__n(n[L]), ef__n(n[D])}};
    call.global[0] = ef__ceil_div(n[B] * n[D], group / (size_t)args->knob[SPLITS]) * group;
    return ef__launch(a, &call);
}

static ef_status forward_slice(ef_actor *a, const ef__args *args)
{
    return slice(a, args, "masked_mean.forward[slice]");
}

static ef_status forward_column(ef_actor *a, const ef__args *args)
{
    return column(a, args, "masked_mean.forward[column]");
}

static ef_status sum_slice(ef_actor *a, const ef__args *args)
{
    return slice(a, args, "masked_sum[slice]");
}

static ef_status sum_column(ef_actor *a, const ef__args *args)
{
    return column(a, args, "masked_sum[column]");
}

static ef_status backward_chunk(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    return ef__launch(a, &(ef__call){.op = "masked_mean.backward[chunk]",
                                     .source = "masked_mean",
                                     .kernel = "masked_mean_bwd_chunk",
                                     .global = {ef__min(n[B] * n[L], items(a, args))},
                                     .local = {1},
                                     .args = {ef__t(args->t[DY]), ef__t(args->t[MASK]),
                                              ef__t(args->t[BACK_COUNT]), ef__t(args->t[DX]),
                                              ef__n(n[B]), ef__n(n[L]), ef__n(n[D])}});
}

static ef_status backward_item(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    ef__call call = {.op = "masked_mean.backward[item]",
                     .source = "masked_mean",
                     .kernel = "masked_mean_bwd_item",
                     .args = {ef__t(args->t[DY]), ef__t(args->t[MASK]), ef__t(args->t[BACK_COUNT]),
                              ef__t(args->t[DX]), ef__n(n[B]), ef__n(n[L]), ef__n(n[D])}};
    call.local[0] = (size_t)args->knob[GROUP];
    call.global[0] = ef__round_up(n[B] * n[L] * n[D], call.local[0]);
    return ef__launch(a, &call);
}

static void settle_column(const ef__device *device, int *knob)
{
    static const int splits[EF__MAX_VALUES] = {SPLIT_VALUES};
    ef__settle_group(device, knob);
    knob[SPLITS] = ef__value_within(splits, (size_t)knob[GROUP]);
}

static bool valid_column(const ef__device *device, const ef__args *args)
{
    return args->knob[SPLITS] <= args->knob[GROUP] && ef__valid_group(device, args);
}

static ef__group group_of_column(const ef__device *device, const ef__args *args)
{
    (void)device;
    const size_t group = (size_t)args->knob[GROUP];
    return (ef__group){group, group * (sizeof(float) + sizeof(int))};
}

static double flops(const ef__args *args)
{
    return (double)args->n[B] * args->n[L] * args->n[D];
}

static double bytes(const ef__args *args)
{
    return args->n[B] * (args->n[L] * (4.0 * args->n[D] + 1) + 4.0 * args->n[D] + 4);
}

const ef__op ef__op_masked_mean_forward = {
    .name = "masked_mean.forward",
    .names = {"x", "mask", "y", "count"},
    .writes = 1 << Y | 1 << COUNT,
    .any_dtype = 1 << MASK,
    .check = check_forward,
    .flops = flops,
    .bytes = bytes,
    .examples = {{.tensors = "nBLD mBL zBD zB"}},
    .sources = {"masked_mean"},
    .variants = {{"slice", 0, ef__fits_cpu, forward_slice, {SLICE_KNOBS}},
                 {"column", 0, ef__fits_always, forward_column, {COLUMN_KNOBS}, COLUMN_RULES}}};

const ef__op ef__op_masked_sum = {
    .name = "masked_sum",
    .names = {"x", "mask", "y"},
    .writes = 1 << Y,
    .any_dtype = 1 << MASK,
    .check = check_sum,
    .flops = flops,
    .bytes = bytes,
    .examples = {{.tensors = "nBLD mBL zBD"}},
    .sources = {"masked_mean"},
    .variants = {{"slice", 0, ef__fits_cpu, sum_slice, {SLICE_KNOBS}},
                 {"column", 0, ef__fits_always, sum_column, {COLUMN_KNOBS}, COLUMN_RULES}}};

const ef__op ef__op_masked_mean_backward = {
    .name = "masked_mean.backward",
    .names = {"dy", "mask", "count", "dx"},
    .writes = 1 << DX,
    .any_dtype = 1 << MASK,
    .check = check_backward,
    .flops = flops,
    .bytes = bytes,
    .examples = {{.tensors = "nBD mBL pB zBLD"}},
    .sources = {"masked_mean"},
    .variants = {{"chunk", 0, ef__fits_cpu, backward_chunk, {{"parts", {8, 2, 4, 16, 32}}}},
                 {"item",
                  0,
                  ef__fits_always,
                  backward_item,
                  {{"group", {EF__GROUPS}}},
                  ef__settle_group,
                  ef__valid_group,
                  ef__group_of_items}}};

ef_status ef_masked_mean_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *mask,
                                 ef_tensor *y, ef_tensor *count)
{
    return ef__op_run(a, EF__MASKED_MEAN_FORWARD, &(ef__args){.t = {x, mask, y, count}});
}

ef_status ef_masked_mean_backward(ef_actor *a, const ef_tensor *dy, const ef_tensor *mask,
                                  const ef_tensor *count, ef_tensor *dx)
{
    return ef__op_run(a, EF__MASKED_MEAN_BACKWARD, &(ef__args){.t = {dy, mask, count, dx}});
}

ef_status ef_masked_sum(ef_actor *a, const ef_tensor *x, const ef_tensor *mask, ef_tensor *y)
{
    return ef__op_run(a, EF__MASKED_SUM, &(ef__args){.t = {x, mask, y}});
}
