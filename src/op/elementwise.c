/* Copies and sums: cast, residual_add, mask_rows, and the epilogue for operations that cannot fuse
 * theirs. Sizes n: N elements, and of mask_rows and epilogue also ROWS and C columns. */
#include "base/size.h"
#include "op/op.h"

enum { N, ROWS, C };
enum { X, Y };         /* cast, residual_add */
enum { ROW_MASK };     /* mask_rows: mask, y */
enum { Z };            /* epilogue: z, y */
enum { CHUNK = 4096 }; /* elements of one work-item on a CPU */

static ef_status fill_extents(ef__args *args, const ef_tensor *y)
{
    args->n[N] = ef_tensor_count(y);
    args->n[ROWS] = ef__rows(y);
    args->n[C] = ef__columns(y);
    return EF_OK;
}

static ef_status check_cast(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *x = args->t[X], *y = args->t[Y];
    char from[80], to[80];
    ef_dtype other = ef_tensor_dtype(x) == EF_F32 ? EF_F16 : EF_F32;
    ef_status status = ef__want_same_shape(a, op, "y", y, "x", x);
    if (!status && (ef_tensor_dtype(x) > EF_F16 || ef_tensor_dtype(y) != other))
        status = ef__fail(a, EF_EARG, 0, op, "%s: f32 to f16 or f16 to f32, not %s to %s", op,
                          ef__tensor_text(x, from), ef__tensor_text(y, to));
    return status ? status : fill_extents(args, y);
}

static ef_status check_residual_add(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *x = args->t[X], *y = args->t[Y];
    ef_status status = ef__want_same_shape(a, op, "x", x, "y", y);
    return status ? status : fill_extents(args, y);
}

static ef_status check_mask_rows(ef_actor *a, const char *op, ef__args *args)
{
    ef_status status = ef__want_rank(a, op, "y", args->t[Y], 3);
    if (!status)
        status = ef__want_mask(a, op, args->t[ROW_MASK], args->t[Y]);
    return status ? status : fill_extents(args, args->t[Y]);
}

static ef_status check_epilogue(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *z = args->t[Z], *y = args->t[Y];
    ef_status status = ef__want_same_shape(a, op, "z", z, "y", y);
    if (!status)
        status = ef__want_epilogue(a, op, &args->epilogue, y);
    return status ? status : fill_extents(args, y);
}

/* ---- launches: chunk is one item for CHUNK elements, item one for each element ---- */

void ef__spread(ef_actor *a, ef__call *call, size_t items)
{
    call->local[0] = ef__min(256, ef__device_of(a)->info.max_work_group);
    call->global[0] = ef__round_up(items, call->local[0]);
}

ef__call ef__flat_call(const ef__args *args, const char *op, const char *source, const char *kernel)
{
    ef__call call = {.op = op, .source = source, .kernel = kernel};
    ef__arg *end = call.args;
    for (int i = 0; i < EF__MAX_TENSORS && args->t[i]; i++)
        *end++ = ef__t(args->t[i]);
    *end = ef__n(args->n[N]);
    return call;
}

static ef__arg *end_of(ef__call *call)
{
    ef__arg *end = call->args;
    while (end->kind != EF__ARG_END)
        end++;
    return end;
}

ef_status ef__launch_flat(ef_actor *a, const ef__args *args, const char *op, const char *source,
                          const char *kernel, size_t chunk)
{
    ef__call call = ef__flat_call(args, op, source, kernel);
    if (chunk) {
        *end_of(&call) = ef__n(chunk);
        call.global[0] = ef__ceil_div(args->n[N], chunk);
        call.local[0] = 1;
    } else {
        ef__spread(a, &call, args->n[N]);
    }
    return ef__launch(a, &call);
}

static ef_status cast_chunk(ef_actor *a, const ef__args *args)
{
    bool narrow = ef_tensor_dtype(args->t[Y]) == EF_F16;
    return ef__launch_flat(a, args, "cast[chunk]", "elementwise",
                           narrow ? "cast_narrow_chunk" : "cast_widen_chunk", CHUNK);
}

static ef_status cast_item(ef_actor *a, const ef__args *args)
{
    bool narrow = ef_tensor_dtype(args->t[Y]) == EF_F16;
    return ef__launch_flat(a, args, "cast[item]", "elementwise",
                           narrow ? "cast_narrow_item" : "cast_widen_item", 0);
}

static ef_status residual_add_chunk(ef_actor *a, const ef__args *args)
{
    return ef__launch_flat(a, args, "residual_add[chunk]", "elementwise", "residual_add_chunk",
                           CHUNK);
}

static ef_status residual_add_item(ef_actor *a, const ef__args *args)
{
    return ef__launch_flat(a, args, "residual_add[item]", "elementwise", "residual_add_item", 0);
}

/* Sets the grid for whole rows and adds the rows of an item to the arguments before end. */
static void chunk_rows(const ef__args *args, ef__call *call, ef__arg *end)
{
    size_t rows = args->n[C] < CHUNK ? CHUNK / args->n[C] : 1;
    call->global[0] = ef__ceil_div(args->n[ROWS], rows);
    call->local[0] = 1;
    *end = ef__n(rows);
}

static ef_status launch_mask_rows(ef_actor *a, const ef__args *args, const char *op,
                                  const char *kernel, bool chunk)
{
    ef__call call = {.op = op,
                     .source = "elementwise",
                     .kernel = kernel,
                     .args = {ef__t(args->t[ROW_MASK]), ef__t(args->t[Y]), ef__n(args->n[ROWS]),
                              ef__n(args->n[C])}};
    if (chunk)
        chunk_rows(args, &call, &call.args[4]);
    else
        ef__spread(a, &call, args->n[N]);
    return ef__launch(a, &call);
}

static ef_status mask_rows_chunk(ef_actor *a, const ef__args *args)
{
    return launch_mask_rows(a, args, "mask_rows[chunk]", "mask_rows_chunk", true);
}

static ef_status mask_rows_item(ef_actor *a, const ef__args *args)
{
    return launch_mask_rows(a, args, "mask_rows[item]", "mask_rows_item", false);
}

static ef_status launch_epilogue(ef_actor *a, const ef__args *args, const char *op,
                                 const char *kernel, bool chunk)
{
    const ef_epilogue *e = &args->epilogue;
    ef__call call = {.op = op,
                     .source = "elementwise",
                     .kernel = kernel,
                     .args = {ef__t(args->t[Z]), ef__t(args->t[Y]), ef__t(e->bias), ef__t(e->pre),
                              ef__t(e->gelu_grad), ef__t(e->residual), ef__t(e->mask),
                              ef__i(ef__epilogue_parts(e)), ef__n(args->n[ROWS]),
                              ef__n(args->n[C])}};
    if (chunk)
        chunk_rows(args, &call, &call.args[10]);
    else
        ef__spread(a, &call, args->n[N]);
    return ef__launch(a, &call);
}

static ef_status epilogue_chunk(ef_actor *a, const ef__args *args)
{
    return launch_epilogue(a, args, "epilogue[chunk]", "epilogue_chunk", true);
}

static ef_status epilogue_item(ef_actor *a, const ef__args *args)
{
    return launch_epilogue(a, args, "epilogue[item]", "epilogue_item", false);
}

/* ---- the table ---- */

static double no_flops(const ef__args *args)
{
    (void)args;
    return 0;
}

static double add_flops(const ef__args *args)
{
    return (double)args->n[N];
}

static double cast_bytes(const ef__args *args)
{
    return 6.0 * args->n[N];
}

static double add_bytes(const ef__args *args)
{
    return 12.0 * args->n[N];
}

static double mask_bytes(const ef__args *args)
{
    return args->n[ROWS] + 4.0 * args->n[N];
}

static double epilogue_bytes(const ef__args *args)
{
    const ef_epilogue *e = &args->epilogue;
    int matrices = 2 + !!e->pre + !!e->gelu_grad + !!e->residual;
    return 4.0 * matrices * args->n[N] + (e->bias ? 4.0 * args->n[C] : 0) +
           (e->mask ? (double)args->n[ROWS] : 0);
}

const ef__op ef__op_cast = {
    .name = "cast",
    .names = {"x", "y"},
    .writes = 1 << Y,
    .any_dtype = 1 << X | 1 << Y,
    .check = check_cast,
    .flops = no_flops,
    .bytes = cast_bytes,
    .examples = {{.tensors = "nBLD hBLD"}},
    .variants = {{"chunk", 0, ef__fits_cpu, cast_chunk}, {"item", 0, ef__fits_always, cast_item}}};

const ef__op ef__op_residual_add = {.name = "residual_add",
                                    .names = {"x", "y"},
                                    .writes = 1 << Y,
                                    .in_place = 1 << X,
                                    .check = check_residual_add,
                                    .flops = add_flops,
                                    .bytes = add_bytes,
                                    .examples = {{.tensors = "nBLD nBLD"}},
                                    .variants = {{"chunk", 0, ef__fits_cpu, residual_add_chunk},
                                                 {"item", 0, ef__fits_always, residual_add_item}}};

const ef__op ef__op_mask_rows = {.name = "mask_rows",
                                 .names = {"mask", "y"},
                                 .writes = 1 << Y,
                                 .any_dtype = 1 << ROW_MASK,
                                 .check = check_mask_rows,
                                 .flops = no_flops,
                                 .bytes = mask_bytes,
                                 .examples = {{.tensors = "mBL nBLD"}},
                                 .variants = {{"chunk", 0, ef__fits_cpu, mask_rows_chunk},
                                              {"item", 0, ef__fits_always, mask_rows_item}}};

const ef__op ef__op_epilogue = {
    .name = "epilogue",
    .names = {"z", "y"},
    .writes = 1 << Y,
    .in_place = 1 << Z,
    .check = check_epilogue,
    .flops = add_flops,
    .bytes = epilogue_bytes,
    .examples = {{.tensors = "nBLH zBLH",
                  .epilogue = EF__BIAS | EF__GELU | EF__RESIDUAL | EF__MASK}},
    .variants = {{"chunk", EF__ALL_PARTS, ef__fits_cpu, epilogue_chunk},
                 {"item", EF__ALL_PARTS, ef__fits_always, epilogue_item}}};

/* ---- public ---- */

ef_status ef_cast(ef_actor *a, const ef_tensor *x, ef_tensor *y)
{
    return ef__op_run(a, EF__CAST, &(ef__args){.t = {x, y}});
}

ef_status ef_residual_add(ef_actor *a, const ef_tensor *x, ef_tensor *y)
{
    return ef__op_run(a, EF__RESIDUAL_ADD, &(ef__args){.t = {x, y}});
}

ef_status ef_mask_rows(ef_actor *a, const ef_tensor *mask, ef_tensor *y)
{
    return ef__op_run(a, EF__MASK_ROWS, &(ef__args){.t = {mask, y}});
}
