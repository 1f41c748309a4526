/* The optimiser's operations. Sizes n: chunks of the arena; of norm also the parts, 1 more than
 * their numbers, 0: none. Scalars f of norm: lr; of update: the numbers of the enum below. */
#include "op/optim.h"
#include "base/size.h"

#include <math.h>

enum { CHUNKS, OWN, SHARED };
enum { GRAD, TABLE, METRICS, COUNTS, UPDATES, SCALE };        /* norm */
enum { FLAGS, MADE, STATE_METRICS, VALUE, STATE_GRAD, M, V }; /* update */
enum { LR, BETA1, BETA2, EPSILON, WEIGHT_DECAY, CLIP, L2 };
enum { RUN = 16 };    /* chunks of a work-group */
enum { LANES = 256 }; /* most work-items of a group; as in cl/optim.cl */

static size_t lanes(ef_actor *a)
{
    return ef__min(LANES, ef__device_of(a)->info.max_work_group);
}

/* What both operations want: the arena t and what belongs to it. */
static ef_status check(ef_actor *a, const char *op, ef__args *args, const ef_tensor *t,
                       const ef_tensor *table, const ef_tensor *updates, const ef_tensor *metrics)
{
    ef_status s;
    const size_t count = ef_tensor_count(t);
    if (count % EF__CHUNK)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: %zu parameters: must be a multiple of %d", op,
                        count, EF__CHUNK);
    args->n[CHUNKS] = count / EF__CHUNK;
    if ((s = ef__want_dtype(a, op, "table", table, EF_I32)) ||
        (s = ef__want_dtype(a, op, "updates", updates, EF_I32)) ||
        (s = ef__want_count(a, op, "table", table, args->n[CHUNKS], "one for each chunk")) ||
        (s = ef__want_count(a, op, "updates", updates, EF__PARTS, "one for each part")))
        return s;
    return ef__want_count(a, op, "metrics", metrics, EF_METRICS, "as energyflow.h says");
}

static ef_status check_norm(ef_actor *a, const char *op, ef__args *args)
{
    const ef_tensor *const *t = args->t;
    ef_status s = check(a, op, args, t[GRAD], t[TABLE], t[UPDATES], t[METRICS]);
    if (!s)
        s = ef__want_dtype(a, op, "counts", t[COUNTS], EF_I32);
    if (!s)
        s = ef__want_count(a, op, "counts", t[COUNTS], EF__COUNTS, "as op/optim.h says");
    if (!s)
        s = ef__want_count(a, op, "scale", t[SCALE], 1, "the loss scale");
    if (!s && (args->n[OWN] < 1 || args->n[OWN] > EF__PARTS || args->n[SHARED] > EF__PARTS))
        s = ef__fail(a, EF_EARG, 0, op, "%s: of %d parts, not number %zu and %zu", op, EF__PARTS,
                     args->n[OWN], args->n[SHARED]);
    return s;
}

static ef_status check_update(ef_actor *a, const char *op, ef__args *args)
{
    static const char *const name[] = {"value", "grad", "m", "v"};
    const ef_tensor *const *t = args->t;
    const float *f = args->f;
    ef_status s = check(a, op, args, t[VALUE], t[FLAGS], t[MADE], t[STATE_METRICS]);
    for (int i = 1; !s && i < 4; i++)
        s = ef__want_count(a, op, name[i], t[VALUE + i], ef_tensor_count(t[VALUE]),
                           "as many as value");
    if (s)
        return s;
    if (!(isfinite(f[LR]) && isfinite(f[WEIGHT_DECAY]) && f[EPSILON] > 0 && f[BETA1] >= 0 &&
          f[BETA1] < 1 && f[BETA2] >= 0 && f[BETA2] < 1))
        return ef__fail(a, EF_EARG, 0, op, "%s: lr %g, weight decay %g, epsilon %g, betas %g %g",
                        op, f[LR], f[WEIGHT_DECAY], f[EPSILON], f[BETA1], f[BETA2]);
    return EF_OK;
}

static ef_status norm(ef_actor *a, const ef__args *args, const char *op, size_t local)
{
    const size_t chunks = args->n[CHUNKS], groups = ef__ceil_div(chunks, RUN);
    ef_tensor *sums;
    ef_status s = ef_tensor_new(a, EF_F32, 1, &groups, "norm sums", &sums);
    if (s)
        return s;
    s = ef__launch(a, &(ef__call){.op = op,
                                  .source = "optim",
                                  .kernel = "optim_norm_group",
                                  .global = {groups * local},
                                  .local = {local},
                                  .args = {ef__t(args->t[GRAD]), ef__t(args->t[TABLE]), ef__t(sums),
                                           ef__n(chunks), ef__n(RUN)}});
    if (!s)
        s = ef__launch(
            a, &(ef__call){.op = op,
                           .source = "optim",
                           .kernel = "optim_norm_sum",
                           .global = {local},
                           .local = {local},
                           .args = {ef__t(sums), ef__t(ef__record(a)), ef__t(args->t[METRICS]),
                                    ef__t(args->t[COUNTS]), ef__t(args->t[UPDATES]),
                                    ef__t(args->t[SCALE]), ef__n(groups), ef__f(args->f[LR]),
                                    ef__n(args->n[OWN] - 1), ef__n((long)args->n[SHARED] - 1)}});
    ef_tensor_free(sums);
    return s;
}

static ef_status norm_single(ef_actor *a, const ef__args *args)
{
    return norm(a, args, "optim.norm[single]", 1);
}

static ef_status norm_group(ef_actor *a, const ef__args *args)
{
    return norm(a, args, "optim.norm[group]", lanes(a));
}

static ef_status update(ef_actor *a, const ef__args *args, const char *op, size_t local)
{
    const size_t chunks = args->n[CHUNKS];
    const ef_tensor *const *t = args->t;
    const float *f = args->f;
    const double decay = f[L2] ? 1 : 1 - (double)f[LR] * f[WEIGHT_DECAY];
    return ef__launch(
        a, &(ef__call){.op = op,
                       .source = "optim",
                       .kernel = "optim_update_group",
                       .global = {ef__ceil_div(chunks, RUN) * local},
                       .local = {local},
                       .args = {ef__t(t[VALUE]), ef__t(t[STATE_GRAD]), ef__t(t[M]), ef__t(t[V]),
                                ef__t(t[FLAGS]), ef__t(t[MADE]), ef__t(t[STATE_METRICS]),
                                ef__n(chunks), ef__n(RUN), ef__f(f[LR]), ef__f((float)decay),
                                ef__f(f[L2] ? f[WEIGHT_DECAY] : 0),
                                ef__f((float)(1 - (double)f[BETA1])), ef__f(f[BETA2]),
                                ef__f((float)(1 - (double)f[BETA2])), ef__f((float)log(f[BETA1])),
                                ef__f((float)log(f[BETA2])), ef__f(f[EPSILON]), ef__f(f[CLIP])}});
}

static ef_status update_single(ef_actor *a, const ef__args *args)
{
    return update(a, args, "optim.update[single]", 1);
}

static ef_status update_group(ef_actor *a, const ef__args *args)
{
    return update(a, args, "optim.update[group]", lanes(a));
}

static double flops_norm(const ef__args *args)
{
    return 2.0 * EF__CHUNK * args->n[CHUNKS];
}

static double bytes_norm(const ef__args *args)
{
    return 4.0 * EF__CHUNK * args->n[CHUNKS];
}

static double flops_update(const ef__args *args)
{
    return 15.0 * EF__CHUNK * args->n[CHUNKS];
}

static double bytes_update(const ef__args *args) /* reads four numbers and writes them */
{
    return 32.0 * EF__CHUNK * args->n[CHUNKS];
}

const ef__op ef__op_optim_norm = {
    .name = "optim.norm",
    .names = {"grad", "table", "metrics", "counts", "updates", "scale"},
    .writes = 1 << METRICS | 1 << COUNTS | 1 << UPDATES | 1 << SCALE,
    .optional = 1 << SCALE,
    .any_dtype = 1 << TABLE | 1 << COUNTS | 1 << UPDATES,
    .check = check_norm,
    .flops = flops_norm,
    .bytes = bytes_norm,
    .examples = {{.tensors = "nP tC z9 c4 c3 p1", .n = {0, 1}, .f = {1e-3f}}},
    .variants = {{"single", 0, ef__fits_cpu, norm_single},
                 {"group", 0, ef__fits_always, norm_group}}};

const ef__op ef__op_optim_update = {
    .name = "optim.update",
    .names = {"table", "updates", "metrics", "value", "grad", "m", "v"},
    .writes = 1 << VALUE | 1 << STATE_GRAD | 1 << M | 1 << V,
    .any_dtype = 1 << FLAGS | 1 << MADE,
    .check = check_update,
    .flops = flops_update,
    .bytes = bytes_update,
    .examples = {{.tensors = "tC c3 z9 nP nP nP pP",
                  .f = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, 0}}},
    .variants = {{"single", 0, ef__fits_cpu, update_single},
                 {"group", 0, ef__fits_always, update_group}}};

ef_status ef__optim_norm(ef_actor *a, const ef_tensor *grad, const ef__optim_state *state, float lr,
                         ef_tensor *metrics)
{
    return ef__op_run(
        a, EF__OPTIM_NORM,
        &(ef__args){.t = {grad, state->table, metrics, state->counts, state->updates, state->scale},
                    .n = {0, (size_t)(state->own + 1), (size_t)(state->shared + 1)},
                    .f = {lr}});
}

ef_status ef__optim_update(ef_actor *a, ef_tensor *value, ef_tensor *grad, ef_tensor *m,
                           ef_tensor *v, const ef__optim_state *state, const ef_tensor *metrics,
                           const ef__optim_rule *rule)
{
    return ef__op_run(a, EF__OPTIM_UPDATE,
                      &(ef__args){.t = {state->table, state->updates, metrics, value, grad, m, v},
                                  .f = {rule->lr, rule->beta1, rule->beta2, rule->epsilon,
                                        rule->weight_decay, rule->clip, rule->l2}});
}
