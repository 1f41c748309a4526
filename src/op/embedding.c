/* Embedding: rows of a table by id, and their gradients.
 * Sizes n: N positions, V rows, D columns, forward L positions a row of add. */
#include "base/size.h"
#include "op/op.h"

#include <limits.h>

enum { N, V, D, L };      /* L: forward, positions that share a row of add */
enum { IDS, W, Y, ADD };  /* forward */
enum { DY = 1, DW = 2 };  /* backward */
enum { LOCAL = 256 };     /* most work-items that share one row's gradient */
enum { CACHE_LINE = 16 }; /* floats */

static size_t units(ef_actor *a)
{
    return ef__device_of(a)->info.compute_units;
}

/* ids, one row of other for each of them, table [V,D]. */
static ef_status check(ef_actor *a, const char *op, ef__args *args, const ef_tensor *table,
                       const ef_tensor *rows, const char *table_name, const char *rows_name)
{
    ef_status s;
    const ef_tensor *ids = args->t[IDS];
    if ((s = ef__want_dtype(a, op, "ids", ids, EF_I32)) ||
        (s = ef__want_rank(a, op, table_name, table, 2)))
        return s;
    args->n[N] = ef_tensor_count(ids);
    args->n[V] = ef_tensor_dims(table)[0];
    args->n[D] = ef_tensor_dims(table)[1];
    if (args->n[N] >= INT_MAX || args->n[V] >= INT_MAX)
        return ef__fail(a, EF_EARG, 0, op, "%s: %zu ids, %zu rows: each must be below 2^31", op,
                        args->n[N], args->n[V]);
    if (ef__columns(rows) != args->n[D])
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s has %zu columns, %s has %zu", op, rows_name,
                        ef__columns(rows), table_name, args->n[D]);
    return ef__want_count(a, op, rows_name, rows, args->n[N] * args->n[D], "one row for each id");
}

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *add = args->t[ADD];
    const ef_status s = check(a, op, args, args->t[W], args->t[Y], "w", "y");
    if (s || !add)
        return s;
    const size_t rows = ef__rows(add), *n = args->n;
    if (ef__columns(add) != n[D] || rows == 0 || n[N] % rows)
        return ef__fail(a, EF_ESHAPE, 0, op,
                        "%s: add is [%zu,%zu], must be [B,%zu] where B divides %zu ids", op, rows,
                        ef__columns(add), n[D], n[N]);
    args->n[L] = n[N] / rows;
    return EF_OK;
}

static ef_status check_backward(ef_actor *a, const char *op, ef__args *args)
{
    return check(a, op, args, args->t[DW], args->t[DY], "dw", "dy");
}

/* Launch a checked kernel, then let the device enter what it found in the error record. */
static ef_status launch_checked(ef_actor *a, const ef__args *args, const ef__call *call)
{
    const ef_status s = ef__launch(a, call);
    return s ? s : ef__record_check(a, call->op, EF__CHECKED_ID, args->t[IDS], args->n[V]);
}

static ef_status forward_chunk(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    return launch_checked(
        a, args,
        &(ef__call){.op = "embedding.forward[chunk]",
                    .source = "embedding",
                    .kernel = "embedding_fwd_chunk",
                    .global = {ef__min(n[N], 8 * units(a))},
                    .local = {1},
                    .args = {ef__t(args->t[IDS]), ef__t(args->t[W]), ef__t(args->t[Y]),
                             ef__t(args->t[ADD]), ef__t(ef__record(a)), ef__n(n[N]), ef__n(n[V]),
                             ef__n(n[D]), ef__n(n[L])}});
}

static ef_status forward_item(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    ef__call call = {.op = "embedding.forward[item]",
                     .source = "embedding",
                     .kernel = "embedding_fwd_item",
                     .args = {ef__t(args->t[IDS]), ef__t(args->t[W]), ef__t(args->t[Y]),
                              ef__t(args->t[ADD]), ef__t(ef__record(a)), ef__n(n[N]), ef__n(n[V]),
                              ef__n(n[D]), ef__n(n[L])}};
    ef__spread(a, &call, n[N] * n[D]);
    return launch_checked(a, args, &call);
}

/* Two slices of columns for each unit, of whole cache lines. */
static ef_status backward_columns(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    const size_t width = ef__round_up(ef__ceil_div(n[D], 2 * units(a)), CACHE_LINE);
    return ef__launch(
        a, &(ef__call){.op = "embedding.backward[columns]",
                       .source = "embedding",
                       .kernel = "embedding_bwd_columns",
                       .global = {ef__ceil_div(n[D], width)},
                       .local = {1},
                       .args = {ef__t(args->t[IDS]), ef__t(args->t[DY]), ef__t(args->t[DW]),
                                ef__n(n[N]), ef__n(n[V]), ef__n(n[D]), ef__n(width)}});
}

static ef_status backward_scan(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n, local = ef__min(LOCAL, ef__device_of(a)->info.max_work_group);
    return ef__launch(
        a, &(ef__call){.op = "embedding.backward[scan]",
                       .source = "embedding",
                       .kernel = "embedding_bwd_scan",
                       .global = {n[N] * local},
                       .local = {local},
                       .args = {ef__t(args->t[IDS]), ef__t(args->t[DY]), ef__t(args->t[DW]),
                                ef__n(n[N]), ef__n(n[V]), ef__n(n[D])}});
}

static double flops_forward(const ef__args *args)
{
    (void)args;
    return 0;
}

static double flops_backward(const ef__args *args)
{
    return (double)args->n[N] * args->n[D];
}

static double bytes_forward(const ef__args *args)
{
    return args->n[N] * (4.0 + 8.0 * args->n[D]) +
           (args->t[ADD] ? 4.0 * args->n[N] / args->n[L] * args->n[D] : 0);
}

static double bytes_backward(const ef__args *args)
{
    return args->n[N] * (4.0 + 12.0 * args->n[D]);
}

const ef__op ef__op_embedding_forward = {.name = "embedding.forward",
                                         .names = {"ids", "w", "y", "add"},
                                         .optional = 1 << ADD,
                                         .writes = 1 << Y,
                                         .any_dtype = 1 << IDS,
                                         .check = check_forward,
                                         .flops = flops_forward,
                                         .bytes = bytes_forward,
                                         .examples = {{.tensors = "iBL nVD zBLD nBD"}},
                                         .variants = {{"chunk", 0, ef__fits_cpu, forward_chunk},
                                                      {"item", 0, ef__fits_always, forward_item}}};

const ef__op ef__op_embedding_backward = {
    .name = "embedding.backward",
    .names = {"ids", "dy", "dw"},
    .writes = 1 << DW,
    .any_dtype = 1 << IDS,
    .check = check_backward,
    .flops = flops_backward,
    .bytes = bytes_backward,
    .examples = {{.tensors = "iBL nBLD zVD"}},
    .variants = {{"columns", 0, ef__fits_cpu, backward_columns},
                 {"scan", 0, ef__fits_always, backward_scan}}};

ef_status ef_embedding_forward(ef_actor *a, const ef_tensor *ids, const ef_tensor *w,
                               const ef_tensor *add, ef_tensor *y)
{
    return ef__op_run(a, EF__EMBEDDING_FORWARD, &(ef__args){.t = {ids, w, y, add}});
}

ef_status ef_embedding_backward(ef_actor *a, const ef_tensor *ids, const ef_tensor *dy,
                                ef_tensor *dw)
{
    return ef__op_run(a, EF__EMBEDDING_BACKWARD, &(ef__args){.t = {ids, dy, dw}});
}
