/* LayerNorm over rows. Sizes n: ROWS rows of C columns; scalar f: EPS. */
#include "base/size.h"
#include "op/op.h"

enum { ROWS, C };
enum { EPS };
enum { X, GAMMA, BETA, MASK, Y, MEAN, RSTD };
enum { IN_MEAN = 2, IN_RSTD, DY, IN_MASK, RESIDUAL, DX, DGAMMA, DBETA };
enum {
    CHUNK = 4096,
    LOCAL = 128
}; /* elements of a CPU's work-item; a GPU's work-items for a row */

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

/* ---- launches: item is one item for a chunk of rows, row one work-group for a row ---- */

static size_t group_size(ef_actor *a) /* a power of two */
{
    size_t local = LOCAL;
    while (local > ef__device_of(a)->info.max_work_group)
        local /= 2;
    return local;
}

static ef__call forward_call(const ef__args *args, const char *op, const char *kernel)
{
    const ef_tensor *const *t = args->t;
    return (ef__call){.op = op,
                      .source = "layernorm",
                      .kernel = kernel,
                      .args = {ef__t(t[X]), ef__t(t[GAMMA]), ef__t(t[BETA]), ef__t(t[MASK]),
                               ef__t(t[Y]), ef__t(t[MEAN]), ef__t(t[RSTD])}};
}

static ef_status forward_item(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n, chunk = n[C] < CHUNK ? CHUNK / n[C] : 1;
    ef__call call = forward_call(args, "layernorm.forward[item]", "layernorm_fwd_item");
    call.args[7] = ef__n(n[ROWS]);
    call.args[8] = ef__n(n[C]);
    call.args[9] = ef__f(args->f[EPS]);
    call.args[10] = ef__n(chunk);
    call.global[0] = ef__ceil_div(n[ROWS], chunk);
    call.local[0] = 1;
    return ef__launch(a, &call);
}

static ef_status forward_row(ef_actor *a, const ef__args *args)
{
    size_t local = group_size(a);
    ef__call call = forward_call(args, "layernorm.forward[row]", "layernorm_fwd_row");
    call.args[7] = ef__n(args->n[C]);
    call.args[8] = ef__f(args->f[EPS]);
    call.args[9] = ef__local(local * sizeof(float));
    call.global[0] = args->n[ROWS] * local;
    call.local[0] = local;
    return ef__launch(a, &call);
}

/* Adds up the sums that parts chunks of rows have left. */
static ef_status launch_sum(ef_actor *a, const ef__args *args, const char *op,
                            const ef_tensor *sums, size_t parts)
{
    const ef__device *device = ef__device_of(a);
    size_t items = ef__ceil_div(args->n[C], device->info.vector_width);
    ef__call call = {.op = op,
                     .source = "layernorm",
                     .kernel = "layernorm_bwd_sum",
                     .global = {items},
                     .local = {1},
                     .args = {ef__t(sums), ef__t(args->t[DGAMMA]), ef__t(args->t[DBETA]),
                              ef__n(parts), ef__n(args->n[C])}};
    if (!device->info.is_cpu)
        ef__spread(a, &call, items);
    return ef__launch(a, &call);
}

static ef_status launch_backward(ef_actor *a, const ef__args *args, const char *op,
                                 const char *kernel, size_t local, ef__arg shared)
{
    const ef_tensor *const *t = args->t;
    const ef_device_info *device = &ef__device_of(a)->info;
    size_t most = (device->is_cpu ? 8 : 4) * (size_t)device->compute_units;
    size_t chunk = ef__ceil_div(args->n[ROWS], most);
    if (chunk == 0) /* no rows: nothing to add */
        return EF_OK;
    size_t parts = ef__ceil_div(args->n[ROWS], chunk);
    ef_tensor *sums = NULL;
    size_t dims[] = {parts, 2, args->n[C]};
    ef_status status = t[DGAMMA] ? ef_tensor_new(a, EF_F32, 3, dims, op, &sums) : EF_OK;
    ef__call call = {.op = op,
                     .source = "layernorm",
                     .kernel = kernel,
                     .global = {parts * local},
                     .local = {local},
                     .args = {ef__t(t[X]), ef__t(t[GAMMA]), ef__t(t[IN_MEAN]), ef__t(t[IN_RSTD]),
                              ef__t(t[DY]), ef__t(t[IN_MASK]), ef__t(t[RESIDUAL]), ef__t(t[DX]),
                              ef__t(sums), ef__n(args->n[ROWS]), ef__n(args->n[C]), ef__n(chunk),
                              shared}};
    if (!status)
        status = ef__launch(a, &call);
    if (!status && sums)
        status = launch_sum(a, args, op, sums, parts);
    ef_tensor_free(sums);
    return status;
}

static ef_status backward_item(ef_actor *a, const ef__args *args)
{
    return launch_backward(a, args, "layernorm.backward[item]", "layernorm_bwd_item", 1,
                           (ef__arg){0});
}

static ef_status backward_row(ef_actor *a, const ef__args *args)
{
    size_t local = group_size(a);
    return launch_backward(a, args, "layernorm.backward[row]", "layernorm_bwd_row", local,
                           ef__local(local * sizeof(float)));
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
    .variants = {{"item", 0, ef__fits_cpu, forward_item},
                 {"row", 0, ef__fits_always, forward_row}}};

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
    .variants = {{"item", 0, ef__fits_cpu, backward_item},
                 {"row", 0, ef__fits_always, backward_row}}};

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
