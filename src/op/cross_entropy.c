/* Softmax cross-entropy: a work-group for each row, and one more for the metrics.
 * Sizes n: N rows, V columns. Scalars f: weight. */
#include "base/size.h"
#include "op/op.h"

#include <limits.h>

enum { N, V };
enum { LOGITS, TARGET, DLOGITS, METRICS, SCALE };
enum { WEIGHT };
enum { LANES = 128 }; /* as in cl/cross_entropy.cl */

static ef_status check(ef_actor *a, const char *op, ef__args *args)
{
    ef_status s;
    const ef_tensor *logits = args->t[LOGITS], *metrics = args->t[METRICS];
    if ((s = ef__want_rank(a, op, "logits", logits, 2)) ||
        (s = ef__want_dtype(a, op, "target", args->t[TARGET], EF_I32)) ||
        (s = ef__want_count(a, op, "target", args->t[TARGET], ef_tensor_dims(logits)[0],
                            "one for each row of logits")) ||
        (s = ef__want_same_shape(a, op, "dlogits", args->t[DLOGITS], "logits", logits)) ||
        (s = ef__want_count(a, op, "scale", args->t[SCALE], 1, "the loss scale")))
        return s;
    if (ef_tensor_count(metrics) < 3)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: metrics has %zu values, 3 are written", op,
                        ef_tensor_count(metrics));
    args->n[N] = ef_tensor_dims(logits)[0];
    args->n[V] = ef_tensor_dims(logits)[1];
    if (args->n[N] >= INT_MAX || args->n[V] >= INT_MAX)
        return ef__fail(a, EF_EARG, 0, op, "%s: %zu rows of %zu: each must be below 2^31", op,
                        args->n[N], args->n[V]);
    return EF_OK;
}

static ef_status launch_rows(ef_actor *a, const ef__args *args, const char *op, size_t local,
                             const ef_tensor *rows)
{
    return ef__launch(
        a, &(ef__call){.op = op,
                       .source = "cross_entropy",
                       .kernel = "cross_entropy_group",
                       .global = {args->n[N] * local},
                       .local = {local},
                       .args = {ef__t(args->t[LOGITS]), ef__t(args->t[TARGET]),
                                ef__t(args->t[DLOGITS]), ef__t(rows), ef__t(ef__record(a)),
                                ef__t(args->t[SCALE]), ef__n(args->n[V]), ef__f(args->f[WEIGHT])}});
}

static ef_status launch_sum(ef_actor *a, const ef__args *args, const char *op, size_t local,
                            const ef_tensor *rows)
{
    return ef__launch(a, &(ef__call){.op = op,
                                     .source = "cross_entropy",
                                     .kernel = "cross_entropy_sum",
                                     .global = {local},
                                     .local = {local},
                                     .args = {ef__t(rows), ef__t(args->t[METRICS]),
                                              ef__n(args->n[N]), ef__f(args->f[WEIGHT])}});
}

static ef_status launch(ef_actor *a, const ef__args *args, const char *op, size_t local)
{
    ef_tensor *rows = NULL;
    if (args->n[N] == 0 || args->n[V] == 0)
        return EF_OK;
    ef_status s = ef_tensor_new(a, EF_F32, 2, (size_t[]){args->n[N], 2}, "loss rows", &rows);
    if (!s)
        s = launch_rows(a, args, op, local, rows);
    if (!s)
        s = ef__record_check(a, op, EF__CHECKED_TARGET, args->t[TARGET], args->n[V]);
    if (!s)
        s = launch_sum(a, args, op, local, rows);
    ef_tensor_free(rows);
    return s;
}

static ef_status launch_single(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "cross_entropy.loss[single]", 1);
}

static ef_status launch_group(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "cross_entropy.loss[group]",
                  ef__min(LANES, ef__device_of(a)->info.max_work_group));
}

static double flops(const ef__args *args)
{
    return 15.0 * args->n[N] * args->n[V];
}

static double bytes(const ef__args *args)
{
    return (args->t[DLOGITS] ? 8.0 : 4.0) * args->n[N] * args->n[V];
}

const ef__op ef__op_cross_entropy_loss = {
    .name = "cross_entropy.loss",
    .names = {"logits", "target", "dlogits", "metrics", "scale"},
    .writes = 1 << METRICS | 1 << DLOGITS,
    .in_place = 1 << LOGITS,
    .optional = 1 << DLOGITS | 1 << SCALE,
    .any_dtype = 1 << TARGET,
    .check = check,
    .flops = flops,
    .bytes = bytes,
    .examples = {{.tensors = "nBV iB zBV z8 p1", .f = {0.1f}}},
    .variants = {{"single", 0, ef__fits_cpu, launch_single},
                 {"group", 0, ef__fits_always, launch_group}}};

ef_status ef_cross_entropy_loss(ef_actor *a, const ef_tensor *logits, const ef_tensor *target,
                                float weight, const ef_tensor *scale, ef_tensor *dlogits,
                                ef_tensor *metrics)
{
    return ef__op_run(a, EF__CROSS_ENTROPY_LOSS,
                      &(ef__args){.t = {logits, target, dlogits, metrics, scale}, .f = {weight}});
}
