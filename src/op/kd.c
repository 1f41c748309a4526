/* Distillation loss: a launch over the rows, and one work-group more when metrics are wanted.
 * Sizes n: B rows, E columns. Scalars f: alpha, beta, weight. */
#include "base/size.h"
#include "op/op.h"

enum { B, E };
enum { Y, TARGET, METRICS, DY, SCALE };
enum { ALPHA, BETA, WEIGHT };
enum { LANES = 128 }; /* as in cl/kd.cl */

static ef_status check(ef_actor *a, const char *op, ef__args *args)
{
    ef_status s;
    const ef_tensor *y = args->t[Y], *metrics = args->t[METRICS];
    if ((s = ef__want_rank(a, op, "y", y, 2)) ||
        (s = ef__want_same_shape(a, op, "target", args->t[TARGET], "y", y)))
        return s;
    if (args->t[DY] && (s = ef__want_same_shape(a, op, "dy", args->t[DY], "y", y)))
        return s;
    if (metrics && ef_tensor_count(metrics) < 3)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: metrics has %zu values, 3 are written", op,
                        ef_tensor_count(metrics));
    if ((s = ef__want_count(a, op, "scale", args->t[SCALE], 1, "the loss scale")))
        return s;
    args->n[B] = ef_tensor_dims(y)[0];
    args->n[E] = ef_tensor_dims(y)[1];
    return EF_OK;
}

static ef_status launch_rows(ef_actor *a, const ef__args *args, const char *op, size_t local,
                             const ef_tensor *rows)
{
    const size_t *n = args->n;
    const double weight = args->f[WEIGHT];
    return ef__launch(
        a, &(ef__call){.op = op,
                       .source = "kd",
                       .kernel = "kd_loss_group",
                       .global = {n[B] * local},
                       .local = {local},
                       .args = {ef__t(args->t[Y]), ef__t(args->t[TARGET]), ef__t(args->t[DY]),
                                ef__t(rows), ef__t(args->t[SCALE]), ef__n(n[E]),
                                ef__f((float)(weight * args->f[BETA] * 2 / n[B] / n[E])),
                                ef__f((float)(weight * args->f[ALPHA] / n[B]))}});
}

static ef_status launch_sum(ef_actor *a, const ef__args *args, const char *op, size_t local,
                            const ef_tensor *rows)
{
    return ef__launch(a,
                      &(ef__call){.op = op,
                                  .source = "kd",
                                  .kernel = "kd_loss_sum",
                                  .global = {local},
                                  .local = {local},
                                  .args = {ef__t(rows), ef__t(args->t[METRICS]), ef__n(args->n[B]),
                                           ef__n(args->n[E]), ef__f(args->f[ALPHA]),
                                           ef__f(args->f[BETA]), ef__f(args->f[WEIGHT])}});
}

static ef_status launch(ef_actor *a, const ef__args *args, const char *op, size_t local)
{
    ef_status s;
    ef_tensor *rows = NULL;
    if (args->n[B] == 0 || args->n[E] == 0)
        return EF_OK;
    if (!args->t[METRICS])
        return launch_rows(a, args, op, local, NULL);
    if ((s = ef_tensor_new(a, EF_F32, 2, (size_t[]){args->n[B], 2}, "kd rows", &rows)))
        return s;
    if ((s = launch_rows(a, args, op, local, rows)) == EF_OK)
        s = launch_sum(a, args, op, local, rows);
    ef_tensor_free(rows);
    return s;
}

static ef_status launch_single(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "kd.loss[single]", 1);
}

static ef_status launch_group(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "kd.loss[group]", ef__min(LANES, ef__device_of(a)->info.max_work_group));
}

static double flops(const ef__args *args)
{
    return 15.0 * args->n[B] * args->n[E];
}

static double bytes(const ef__args *args)
{
    return (args->t[DY] ? 12.0 : 8.0) * args->n[B] * args->n[E];
}

const ef__op ef__op_kd_loss = {.name = "kd.loss",
                               .names = {"y", "target", "metrics", "dy", "scale"},
                               .writes = 1 << METRICS | 1 << DY,
                               .optional = 1 << METRICS | 1 << DY | 1 << SCALE,
                               .check = check,
                               .flops = flops,
                               .bytes = bytes,
                               .examples = {{.tensors = "nBE nBE z8 zBE p1", .f = {1, 1, 1}}},
                               .variants = {{"single", 0, ef__fits_cpu, launch_single},
                                            {"group", 0, ef__fits_always, launch_group}}};

ef_status ef_kd_loss(ef_actor *a, const ef_tensor *y, const ef_tensor *target, float alpha,
                     float beta, float weight, const ef_tensor *scale, ef_tensor *metrics,
                     ef_tensor *dy)
{
    return ef__op_run(
        a, EF__KD_LOSS,
        &(ef__args){.t = {y, target, metrics, dy, scale}, .f = {alpha, beta, weight}});
}
