/* Counting above a level: a work-group for each row. Sizes n: R rows, C columns. */
#include "op/count_above.h"
#include "base/size.h"

#include <limits.h>

enum { R, C };
enum { X, LEVEL, COUNT };
enum { LANES = 128 }; /* as in cl/count_above.cl */

static ef_status check(ef_actor *a, const char *op, ef__args *args)
{
    ef_status s;
    const ef_tensor *x = args->t[X];
    if ((s = ef__want_rank(a, op, "x", x, 2)) ||
        (s = ef__want_count(a, op, "level", args->t[LEVEL], ef_tensor_dims(x)[0],
                            "one for each row of x")) ||
        (s = ef__want_count(a, op, "count", args->t[COUNT], ef_tensor_dims(x)[0],
                            "one for each row of x")))
        return s;
    args->n[R] = ef_tensor_dims(x)[0];
    args->n[C] = ef_tensor_dims(x)[1];
    if (args->n[R] >= INT_MAX || args->n[C] >= INT_MAX)
        return ef__fail(a, EF_EARG, 0, op, "%s: %zu rows of %zu: each must be below 2^31", op,
                        args->n[R], args->n[C]);
    return EF_OK;
}

static ef_status launch(ef_actor *a, const ef__args *args, const char *op, size_t local)
{
    if (args->n[C] == 0)
        return EF_OK;
    return ef__launch(a, &(ef__call){.op = op,
                                     .source = "count_above",
                                     .kernel = "count_above_group",
                                     .global = {args->n[R] * local},
                                     .local = {local},
                                     .args = {ef__t(args->t[X]), ef__t(args->t[LEVEL]),
                                              ef__t(args->t[COUNT]), ef__n(args->n[C])}});
}

static ef_status launch_single(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "count_above[single]", 1);
}

static ef_status launch_group(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "count_above[group]",
                  ef__min(LANES, ef__device_of(a)->info.max_work_group));
}

static double flops(const ef__args *args)
{
    return (double)args->n[R] * (double)args->n[C];
}

static double bytes(const ef__args *args)
{
    return 4.0 * args->n[R] * args->n[C];
}

const ef__op ef__op_count_above = {.name = "count_above",
                                   .names = {"x", "level", "count"},
                                   .writes = 1 << COUNT,
                                   .check = check,
                                   .flops = flops,
                                   .bytes = bytes,
                                   .examples = {{.tensors = "nBV nB zB"}},
                                   .variants = {{"single", 0, ef__fits_cpu, launch_single},
                                                {"group", 0, ef__fits_always, launch_group}}};

ef_status ef__count_above(ef_actor *a, const ef_tensor *x, const ef_tensor *level, ef_tensor *count)
{
    return ef__op_run(a, EF__COUNT_ABOVE, &(ef__args){.t = {x, level, count}});
}
