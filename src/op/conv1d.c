/* Causal dilated convolution: rules, table rows, public entry points.
 * Sizes n: B, L, Cin, Cout, K, d (op/conv1d.h); d comes in and is brought into 1..L. */
#include "op/conv1d.h"
#include "base/size.h"

static ef_status want_extent(ef_actor *a, const char *op, const char *what, size_t x, size_t y)
{
    size_t product;
    if (ef__mul(x, y, &product) && product < INT32_MAX - 65535)
        return EF_OK;
    return ef__fail(a, EF_ESHAPE, 0, op, "%s: %zu x %zu %s are too many", op, x, y, what);
}

ef_status ef__conv1d_want_extents(ef_actor *a, const char *op, const size_t *n)
{
    ef_status status = want_extent(a, op, "rows", n[EF__B], n[EF__L]);
    if (!status)
        status = want_extent(a, op, "taps and inputs", n[EF__K], n[EF__CIN]);
    return status ? status : want_extent(a, op, "taps and outputs", n[EF__K], n[EF__COUT]);
}

static ef_status want_rows(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                           const size_t *n, size_t channels)
{
    const size_t *dims = ef_tensor_dims(t);
    char text[80];
    if (dims[0] == n[EF__B] && dims[1] == n[EF__L] && dims[2] == channels)
        return EF_OK;
    return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s is %s, expected [%zu,%zu,%zu]", op, name,
                    ef__tensor_text(t, text), n[EF__B], n[EF__L], channels);
}

/* Ranks, and n from [B,L,.] and [Cout,Cin,K]. */
static ef_status measure(ef_actor *a, const char *op, ef__args *args, const char *const names[3],
                         const ef_tensor *rows, const ef_tensor *w)
{
    size_t *n = args->n;
    for (size_t i = 0; i < 3; i++) {
        ef_status status = ef__want_rank(a, op, names[i], args->t[i], 3);
        if (status)
            return status;
    }
    n[EF__B] = ef_tensor_dims(rows)[0];
    n[EF__L] = ef_tensor_dims(rows)[1];
    n[EF__COUT] = ef_tensor_dims(w)[0];
    n[EF__CIN] = ef_tensor_dims(w)[1];
    n[EF__K] = ef_tensor_dims(w)[2];
    if (n[EF__K] == 0)
        return ef__fail(a, EF_EARG, 0, op, "%s: the weight has no taps", op);
    /* From L on, all taps but the last see only padding. */
    n[EF__D] = n[EF__L] ? ef__min(n[EF__D], n[EF__L]) : 1;
    n[EF__D] = n[EF__D] ? n[EF__D] : 1;
    return ef__conv1d_want_extents(a, op, n);
}

ef_status ef__conv1d_check_taps(ef_actor *a, const char *op, const ef__args *args,
                                ef__direction direction, ef__want_rows *want)
{
    static const char *const names[2][2] = {{"x", "y"}, {"dy", "dx"}};
    const char *const *name = names[direction];
    const ef_tensor *from = args->t[0], *to = args->t[2];
    const size_t *n = args->n;
    ef_status status = want(a, op, name[0], from, n, n[direction ? EF__COUT : EF__CIN]);
    if (!status)
        status = want(a, op, name[1], to, n, n[direction ? EF__CIN : EF__COUT]);
    return status ? status : ef__want_epilogue(a, op, &args->epilogue, to);
}

ef_status ef__conv1d_check_dw(ef_actor *a, const char *op, const ef__args *args,
                              ef__want_rows *want)
{
    const size_t *n = args->n;
    ef_status status = want(a, op, "x", args->t[0], n, n[EF__CIN]);
    if (!status)
        status = want(a, op, "dy", args->t[1], n, n[EF__COUT]);
    return status ? status
                  : ef__want_count(a, op, "db", args->t[3], n[EF__COUT],
                                   "one for each output channel");
}

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    static const char *const names[] = {"x", "w", "y"};
    ef_status status = measure(a, op, args, names, args->t[0], args->t[1]);
    return status ? status : ef__conv1d_check_taps(a, op, args, EF__FORWARD, want_rows);
}

static ef_status check_dx(ef_actor *a, const char *op, ef__args *args)
{
    static const char *const names[] = {"dy", "w", "dx"};
    ef_status status = measure(a, op, args, names, args->t[0], args->t[1]);
    return status ? status : ef__conv1d_check_taps(a, op, args, EF__BACKWARD, want_rows);
}

static ef_status check_dw(ef_actor *a, const char *op, ef__args *args)
{
    static const char *const names[] = {"x", "dy", "dw"};
    ef_status status = measure(a, op, args, names, args->t[0], args->t[2]);
    return status ? status : ef__conv1d_check_dw(a, op, args, want_rows);
}

static bool fits_taps_toom2(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_fits_taps_toom(device, args, 2);
}

static bool fits_taps_toom4(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_fits_taps_toom(device, args, 4);
}

static bool valid_taps_toom2(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_valid_taps_toom(device, args, 2);
}

static bool valid_taps_toom4(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_valid_taps_toom(device, args, 4);
}

static bool fits_dw_toom2(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_fits_dw_toom(device, args, 2);
}

static bool fits_dw_toom4(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_fits_dw_toom(device, args, 4);
}

static bool valid_dw_toom2(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_valid_dw_toom(device, args, 2);
}

static bool valid_dw_toom4(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_valid_dw_toom(device, args, 4);
}

static ef_status forward_panel(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_panel(a, "conv1d.forward[panel]", args, EF__FORWARD);
}

static ef_status forward_toom2(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_toom(a, "conv1d.forward[toom2]", args, EF__FORWARD, 2);
}

static ef_status forward_toom4(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_toom(a, "conv1d.forward[toom4]", args, EF__FORWARD, 4);
}

static ef_status forward_direct(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_direct(a, "conv1d.forward[direct]", args, EF__FORWARD);
}

static ef_status dx_panel(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_panel(a, "conv1d.dx[panel]", args, EF__BACKWARD);
}

static ef_status dx_toom2(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_toom(a, "conv1d.dx[toom2]", args, EF__BACKWARD, 2);
}

static ef_status dx_toom4(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_toom(a, "conv1d.dx[toom4]", args, EF__BACKWARD, 4);
}

static ef_status dx_direct(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_direct(a, "conv1d.dx[direct]", args, EF__BACKWARD);
}

static ef_status dw_panel(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_dw_panel(a, "conv1d.dw[panel]", args);
}

static ef_status dw_toom2(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_dw_toom(a, "conv1d.dw[toom2]", args, 2);
}

static ef_status dw_toom4(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_dw_toom(a, "conv1d.dw[toom4]", args, 4);
}

static ef_status dw_direct(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_dw_direct(a, "conv1d.dw[direct]", args);
}

const ef__op ef__op_conv1d_forward = {
    .name = "conv1d.forward",
    .names = {"x", "w", "y"},
    .writes = 1 << 2,
    .check = check_forward,
    .flops = ef__conv1d_flops,
    .bytes = ef__conv1d_taps_bytes,
    .examples = {{.tensors = "nBLD nHDK zBLH", .n = {[EF__D] = 4}}, {.tensors = "nBLH nDH1 zBLD"}},
    .sources = {"conv1d", "conv1d_pack", "conv1d_toom", "conv1d_direct"},
    .variants = {{"toom4", EF__ALL_PARTS, fits_taps_toom4, forward_toom4, EF__TAPS_TOOM_KNOBS,
                  ef__conv1d_settle_taps, valid_taps_toom4, .loose = true},
                 {"toom2", EF__ALL_PARTS, fits_taps_toom2, forward_toom2, EF__TAPS_TOOM_KNOBS,
                  ef__conv1d_settle_taps, valid_taps_toom2},
                 {"panel", EF__ALL_PARTS, ef__conv1d_fits_taps_panel, forward_panel, EF__TAPS_KNOBS,
                  ef__conv1d_settle_taps, ef__conv1d_valid_taps_panel},
                 {"direct",
                  EF__ALL_PARTS,
                  ef__fits_always,
                  forward_direct,
                  {EF__DIRECT_KNOBS},
                  EF__DIRECT_RULES}},
};

const ef__op ef__op_conv1d_dx = {
    .name = "conv1d.dx",
    .names = {"dy", "w", "dx"},
    .writes = 1 << 2,
    .check = check_dx,
    .flops = ef__conv1d_flops,
    .bytes = ef__conv1d_taps_bytes,
    .examples = {{.tensors = "nBLH nHDK zBLD", .n = {[EF__D] = 4}}, {.tensors = "nBLD nDH1 zBLH"}},
    .sources = {"conv1d", "conv1d_pack", "conv1d_toom", "conv1d_direct"},
    .variants = {{"toom4", EF__ALL_PARTS, fits_taps_toom4, dx_toom4, EF__TAPS_TOOM_KNOBS,
                  ef__conv1d_settle_taps, valid_taps_toom4, .loose = true},
                 {"toom2", EF__ALL_PARTS, fits_taps_toom2, dx_toom2, EF__TAPS_TOOM_KNOBS,
                  ef__conv1d_settle_taps, valid_taps_toom2},
                 {"panel", EF__ALL_PARTS, ef__conv1d_fits_taps_panel, dx_panel, EF__TAPS_KNOBS,
                  ef__conv1d_settle_taps, ef__conv1d_valid_taps_panel},
                 {"direct",
                  EF__ALL_PARTS,
                  ef__fits_always,
                  dx_direct,
                  {EF__DIRECT_KNOBS},
                  EF__DIRECT_RULES}},
};

const ef__op ef__op_conv1d_dw = {
    .name = "conv1d.dw",
    .names = {"x", "dy", "dw", "db"},
    .writes = 1 << 2 | 1 << 3,
    .optional = 1 << 3,
    .check = check_dw,
    .flops = ef__conv1d_flops,
    .bytes = ef__conv1d_dw_bytes,
    .examples = {{.tensors = "nBLD nBLH zHDK zH", .n = {[EF__D] = 4}},
                 {.tensors = "nBLH nBLD zDH1 zD"}},
    .sources = {"conv1d", "conv1d_pack", "conv1d_toom", "conv1d_direct"},
    .variants = {{"toom4", 0, fits_dw_toom4, dw_toom4, EF__DW_TOOM_KNOBS, ef__conv1d_settle_dw_toom,
                  valid_dw_toom4, .loose = true},
                 {"toom2", 0, fits_dw_toom2, dw_toom2, EF__DW_TOOM_KNOBS, ef__conv1d_settle_dw_toom,
                  valid_dw_toom2},
                 {"panel", 0, ef__conv1d_fits_dw_panel, dw_panel, EF__DW_KNOBS,
                  ef__conv1d_settle_dw, ef__conv1d_valid_dw_panel},
                 {"direct", 0, ef__fits_always, dw_direct, {EF__DIRECT_KNOBS}, EF__DIRECT_RULES}},
};

ef_status ef_conv1d_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *w, size_t dilation,
                            const ef_epilogue *epilogue, ef_tensor *y)
{
    ef__args args = {.t = {x, w, y}, .n = {[EF__D] = dilation}};
    if (epilogue)
        args.epilogue = *epilogue;
    return ef__op_run(a, EF__CONV1D_FORWARD, &args);
}

ef_status ef_conv1d_dx(ef_actor *a, const ef_tensor *dy, const ef_tensor *w, size_t dilation,
                       const ef_epilogue *epilogue, ef_tensor *dx)
{
    ef__args args = {.t = {dy, w, dx}, .n = {[EF__D] = dilation}};
    if (epilogue)
        args.epilogue = *epilogue;
    return ef__op_run(a, EF__CONV1D_DX, &args);
}

ef_status ef_conv1d_dw(ef_actor *a, const ef_tensor *x, const ef_tensor *dy, size_t dilation,
                       ef_tensor *dw, ef_tensor *db)
{
    ef__args args = {.t = {x, dy, dw, db}, .n = {[EF__D] = dilation}};
    return ef__op_run(a, EF__CONV1D_DW, &args);
}
