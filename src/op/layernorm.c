/* LayerNorm over rows. Sizes n: ROWS rows of C columns; scalar f: EPS. */
#include "base/size.h"
#include "op/op.h"
#include <string.h>

enum { ROWS, C };
enum { EPS };
enum { X, GAMMA, BETA, MASK, Y, MEAN, RSTD };
enum { IN_MEAN = 2, IN_RSTD, DY, IN_MASK, RESIDUAL, DX, DGAMMA, DBETA };
enum { CHUNK, FORWARD_ABREAST };       /* knobs of item: elements, rows at a time */
enum { ITEM_PARTS, BACKWARD_ABREAST }; /* parts for each compute unit, rows at a time */
enum { GROUP, LANES, ROW_PARTS };      /* of row: items, items for a row, parts as above */

/* ---- rules ---- */

static ef_status want_rows(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *x = args->t[X];
    args->n[ROWS] = ef__rows(x);
    args->n[C] = ef__columns(x);
    if (args->n[C] == 0)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: x has no columns", op);
    return ef__want_count(a, op, "gamma", args->t[GAMMA], args->n[C], "one for each column of x");
}

static ef_status want_moments(ef_actor *a, const char *op, const ef__args *args,
                              const ef_tensor *mean, const ef_tensor *rstd)
{
    ef_status status = ef__want_count(a, op, "mean", mean, args->n[ROWS], "one for each row of x");
    if (status)
        return status;
    return ef__want_count(a, op, "rstd", rstd, args->n[ROWS], "one for each row of x");
}

static ef_status want_both(ef_actor *a, const char *op, const char *names, const ef_tensor *t,
                           const ef_tensor *other)
{
    return !t == !other ? EF_OK : ef__fail(a, EF_EARG, 0, op, "%s: only one of %s", op, names);
}

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *const *t = args->t;
    ef_status s = want_rows(a, op, args);
    if (!s && !(args->f[EPS] > 0))
        s = ef__fail(a, EF_EARG, 0, op, "%s: eps is %g, must be above 0", op, args->f[EPS]);
    if (!s)
        s = ef__want_count(a, op, "beta", t[BETA], args->n[C], "one for each column of x");
    if (!s)
        s = ef__want_mask(a, op, t[MASK], t[X]);
    if (!s)
        s = want_both(a, op, "mean and rstd", t[MEAN], t[RSTD]);
    if (!s)
        s = want_moments(a, op, args, t[MEAN], t[RSTD]);
    return s ? s : ef__want_same_shape(a, op, "y", t[Y], "x", t[X]);
}

static ef_status check_gradients(ef_actor *a, const char *op, const ef__args *args)
{
    const ef_tensor *const *t = args->t;
    ef_status s = want_both(a, op, "dgamma and dbeta", t[DGAMMA], t[DBETA]);
    if (!s)
        s = ef__want_count(a, op, "dgamma", t[DGAMMA], args->n[C], "one for each column of x");
    return s ? s : ef__want_count(a, op, "dbeta", t[DBETA], args->n[C], "one for each column of x");
}

static ef_status check_backward(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *const *t = args->t;
    ef_status s = want_rows(a, op, args);
    if (!s)
        s = want_moments(a, op, args, t[IN_MEAN], t[IN_RSTD]);
    if (!s)
        s = ef__want_mask(a, op, t[IN_MASK], t[X]);
    if (!s)
        s = check_gradients(a, op, args);
    static const struct {
        int i;
        const char *name;
    } like_x[] = {{DY, "dy"}, {RESIDUAL, "residual"}, {DX, "dx"}};
    for (int k = 0; !s && k < 3; k++)
        s = ef__want_same_shape(a, op, like_x[k].name, t[like_x[k].i], "x", t[X]);
    return s;
}

/* ---- launches: item is one item for a chunk of rows, row a work-group for several ---- */

static ef__call forward_call(const ef__args *args, const char *op, const char *source,
                             const char *kernel)
{
    const ef_tensor *const *t = args->t;
    return (ef__call){.op = op,
                      .source = source,
                      .kernel = kernel,
                      .args = {ef__t(t[X]), ef__t(t[GAMMA]), ef__t(t[BETA]), ef__t(t[MASK]),
                               ef__t(t[Y]), ef__t(t[MEAN]), ef__t(t[RSTD]), ef__n(args->n[ROWS]),
                               ef__n(args->n[C]), ef__f(args->f[EPS])}};
}

static ef_status forward_item(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n, most = (size_t)args->knob[CHUNK];
    const size_t chunk = n[C] < most ? most / n[C] : 1;
    ef__call call =
        forward_call(args, "layernorm.forward[item]", "layernorm", "layernorm_fwd_item");
    call.defines[0] = (ef__define){"ABREAST", args->knob[FORWARD_ABREAST]};
    call.args[10] = ef__n(chunk);
    call.global[0] = ef__ceil_div(n[ROWS], chunk);
    call.local[0] = 1;
    return ef__launch(a, &call);
}

/* A kernel of layernorm_row.cl in so many groups. */
static void set_groups(ef__call *call, const ef__args *args, size_t groups)
{
    call->defines[0] = (ef__define){"GROUP", args->knob[GROUP]};
    call->defines[1] = (ef__define){"LANES", args->knob[LANES]};
    call->local[0] = (size_t)args->knob[GROUP];
    call->global[0] = groups * call->local[0];
}

/* Rows that a group has at once. */
static size_t group_rows(const ef__args *args)
{
    return (size_t)args->knob[GROUP] / (size_t)args->knob[LANES];
}

static ef_status forward_row(ef_actor *a, const ef__args *args)
{
    ef__call call =
        forward_call(args, "layernorm.forward[row]", "layernorm_row", "layernorm_fwd_row");
    set_groups(&call, args, ef__ceil_div(args->n[ROWS], group_rows(args)));
    return ef__launch(a, &call);
}

/* Backward: first leaves a pair of sums for each of parts chunks of rows, sum adds them up; the
 * caller has filled in all but first's and sum's tensors. */
static ef_status launch_backward(ef_actor *a, const ef__args *args, ef__call *first, ef__call *sum,
                                 size_t chunk, size_t parts)
{
    const ef_tensor *const *t = args->t;
    const size_t *n = args->n, dims[] = {parts, 2, n[C]};
    ef_tensor *sums = NULL;
    ef_status status = t[DGAMMA] ? ef_tensor_new(a, EF_F32, 3, dims, first->op, &sums) : EF_OK;
    const ef__arg list[] = {ef__t(t[X]),  ef__t(t[GAMMA]),   ef__t(t[IN_MEAN]),  ef__t(t[IN_RSTD]),
                            ef__t(t[DY]), ef__t(t[IN_MASK]), ef__t(t[RESIDUAL]), ef__t(t[DX]),
                            ef__t(sums),  ef__n(n[ROWS]),    ef__n(n[C]),        ef__n(chunk)};
    const ef__arg of_sum[] = {ef__t(sums), ef__t(t[DGAMMA]), ef__t(t[DBETA]), ef__n(parts),
                              ef__n(n[C])};
    memcpy(first->args, list, sizeof list);
    memcpy(sum->args, of_sum, sizeof of_sum);
    sum->op = first->op;
    sum->source = first->source;
    sum->kernel = "layernorm_bwd_sum";
    if (!status)
        status = ef__launch(a, first);
    if (!status && sums)
        status = ef__launch(a, sum);
    ef_tensor_free(sums);
    return status;
}

/* Rows of a part if there are as many parts for a compute unit as the knob says. */
static size_t rows_of_part(ef_actor *a, const ef__args *args, int parts)
{
    return ef__ceil_div(args->n[ROWS],
                        (size_t)parts * (size_t)ef__device_of(a)->info.compute_units);
}

static ef_status backward_item(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n, chunk = rows_of_part(a, args, args->knob[ITEM_PARTS]);
    if (chunk == 0) /* no rows: nothing to add */
        return EF_OK;
    const size_t parts = ef__ceil_div(n[ROWS], chunk);
    const ef__define abreast = {"ABREAST", args->knob[BACKWARD_ABREAST]};
    ef__call first = {.op = "layernorm.backward[item]",
                      .source = "layernorm",
                      .kernel = "layernorm_bwd_item",
                      .defines = {abreast},
                      .global = {parts},
                      .local = {1}};
    ef__call sum = {.defines = {abreast},
                    .global = {ef__ceil_div(n[C], ef__device_of(a)->info.vector_width)},
                    .local = {1}};
    return launch_backward(a, args, &first, &sum, chunk, parts);
}

static ef_status backward_row(ef_actor *a, const ef__args *args)
{
    const size_t rows = args->n[ROWS], at_once = group_rows(args);
    const size_t chunk = ef__round_up(rows_of_part(a, args, args->knob[ROW_PARTS]), at_once);
    if (chunk == 0)
        return EF_OK;
    const size_t parts = ef__ceil_div(rows, chunk);
    ef__call first = {.op = "layernorm.backward[row]",
                      .source = "layernorm_row",
                      .kernel = "layernorm_bwd_row"},
             sum = {0};
    set_groups(&first, args, parts);
    set_groups(&sum, args, ef__ceil_div(2 * args->n[C], (size_t)args->knob[LANES]));
    return launch_backward(a, args, &first, &sum, chunk, parts);
}

/* ---- knobs of row ---- */

#define ROW_LANES 32, 64, 128, 256, 16, 8, 1

static void settle_row(const ef__device *device, int *knob)
{
    static const int lanes[EF__MAX_VALUES] = {ROW_LANES};
    ef__settle_group(device, knob);
    knob[LANES] = ef__value_within(lanes, (size_t)knob[GROUP]);
}

static bool valid_row(const ef__device *device, const ef__args *args)
{
    return args->knob[LANES] <= args->knob[GROUP] && ef__valid_group(device, args);
}

static ef__group group_of_row(const ef__device *device, const ef__args *args)
{
    (void)device;
    const size_t items = (size_t)args->knob[GROUP];
    return (ef__group){items, 2 * sizeof(float) * items};
}

/* ---- the table ---- */

static double forward_flops(const ef__args *args)
{
    return 8.0 * args->n[ROWS] * args->n[C];
}

static double forward_bytes(const ef__args *args)
{
    return 8.0 * args->n[ROWS] * (args->n[C] + 1) + 8.0 * args->n[C];
}

static double backward_flops(const ef__args *args)
{
    return 16.0 * args->n[ROWS] * args->n[C];
}

static double backward_bytes(const ef__args *args)
{
    int matrices = 2 + !!args->t[RESIDUAL] + !!args->t[DX];
    return 4.0 * args->n[ROWS] * (matrices * args->n[C] + 2) + 20.0 * args->n[C];
}

const ef__op ef__op_layernorm_forward = {
    .name = "layernorm.forward",
    .names = {"x", "gamma", "beta", "mask", "y", "mean", "rstd"},
    .writes = 1 << Y | 1 << MEAN | 1 << RSTD,
    .in_place = 1 << X,
    .optional = 1 << MASK | 1 << MEAN | 1 << RSTD,
    .any_dtype = 1 << MASK,
    .check = check_forward,
    .flops = forward_flops,
    .bytes = forward_bytes,
    .examples = {{.tensors = "nBLD pD nD mBL zBLD zBL zBL", .f = {1e-5f}}},
    .sources = {"layernorm", "layernorm_row"},
    .variants = {
        {"item", 0, ef__fits_cpu, forward_item,
         .knobs = {{"chunk", {4096, 1024, 2048, 8192, 16384, 32768}}, {"abreast", {4, 1, 2, 8}}}},
        {"row", 0, ef__fits_always, forward_row,
         .knobs = {{"group", {EF__GROUPS}}, {"lanes", {ROW_LANES}}}, .settle = settle_row,
         .valid = valid_row, .group = group_of_row}}};

const ef__op ef__op_layernorm_backward = {
    .name = "layernorm.backward",
    .names = {"x", "gamma", "mean", "rstd", "dy", "mask", "residual", "dx", "dgamma", "dbeta"},
    .writes = 1 << DX | 1 << DGAMMA | 1 << DBETA,
    .in_place = 1 << X | 1 << DY | 1 << RESIDUAL,
    .optional = 1 << IN_MASK | 1 << RESIDUAL | 1 << DX | 1 << DGAMMA | 1 << DBETA,
    .any_dtype = 1 << IN_MASK,
    .check = check_backward,
    .flops = backward_flops,
    .bytes = backward_bytes,
    .examples = {{.tensors = "nBLD pD nBL pBL nBLD mBL nBLD zBLD zD zD"}},
    .sources = {"layernorm", "layernorm_row"},
    .variants = {
        {"item", 0, ef__fits_cpu, backward_item,
         .knobs = {{"parts", {16, 2, 4, 8, 32, 64}}, {"abreast", {2, 1, 4, 8}}}},
        {"row", 0, ef__fits_always, backward_row,
         .knobs = {{"group", {EF__GROUPS}}, {"lanes", {ROW_LANES}}, {"parts", {4, 1, 2, 8, 16}}},
         .settle = settle_row, .valid = valid_row, .group = group_of_row}}};

/* ---- public ---- */

ef_status ef_layernorm_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *gamma,
                               const ef_tensor *beta, const ef_tensor *mask, float eps,
                               ef_tensor *y, ef_tensor *mean, ef_tensor *rstd)
{
    return ef__op_run(a, EF__LAYERNORM_FORWARD,
                      &(ef__args){.t = {x, gamma, beta, mask, y, mean, rstd}, .f = {eps}});
}

ef_status ef_layernorm_backward(ef_actor *a, const ef_tensor *x, const ef_tensor *gamma,
                                const ef_tensor *mean, const ef_tensor *rstd, const ef_tensor *dy,
                                const ef_tensor *mask, const ef_tensor *residual, ef_tensor *dx,
                                ef_tensor *dgamma, ef_tensor *dbeta)
{
    return ef__op_run(
        a, EF__LAYERNORM_BACKWARD,
        &(ef__args){.t = {x, gamma, mean, rstd, dy, mask, residual, dx, dgamma, dbeta}});
}
