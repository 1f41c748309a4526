/* Choice of the next token. Sizes n: N rows, V columns, S columns of the history, k; k comes in and
 * is brought into 1..V. Scalars f: the temperature. */
#include "op/token.h"
#include "base/size.h"
#include <limits.h>
#include <math.h>

enum { N, V, S, TOP };
enum { LOGITS, IDS, STATE, HISTORY };
enum { TEMPERATURE };
enum { LANES = 256, STATE_INTS = 3 }; /* as in cl/token.cl */

static ef_status check_integers(ef_actor *a, const char *op, const ef__args *args)
{
    static const char *const names[] = {"logits", "ids", "state", "history"};
    ef_status s = EF_OK;
    for (int i = IDS; !s && i <= HISTORY; i++)
        s = ef__want_dtype(a, op, names[i], args->t[i], EF_I32);
    if (!s)
        s = ef__want_count(a, op, "ids", args->t[IDS], args->n[N], "one for each row of logits");
    if (!s)
        s = ef__want_count(a, op, "state", args->t[STATE], STATE_INTS * args->n[N],
                           "three for each row of logits");
    return s ? s : ef__want_rank(a, op, "history", args->t[HISTORY], 2);
}

static ef_status check(ef_actor *a, const char *op, ef__args *args)
{
    const float temperature = args->f[TEMPERATURE];
    size_t *n = args->n;
    ef_status s = ef__want_rank(a, op, "logits", args->t[LOGITS], 2);
    if (s)
        return s;
    n[N] = ef_tensor_dims(args->t[LOGITS])[0];
    n[V] = ef_tensor_dims(args->t[LOGITS])[1];
    if ((s = check_integers(a, op, args)))
        return s;
    const size_t *history = ef_tensor_dims(args->t[HISTORY]);
    n[S] = history[1];
    if (history[0] != n[N] || (n[S] == 0 && n[N] > 0))
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: history is [%zu,%zu], must be [%zu,1] or wider",
                        op, history[0], n[S], n[N]);
    if (n[V] == 0 || n[V] >= INT_MAX)
        return ef__fail(a, EF_ESHAPE, 0, op, "%s: %zu logits a row, must be 1 to 2^31 - 2", op,
                        n[V]);
    if (!(temperature >= 0) || !isfinite(temperature))
        return ef__fail(a, EF_EARG, 0, op, "%s: temperature is %g, must be 0 or above", op,
                        (double)temperature);
    n[TOP] = n[TOP] ? ef__min(n[TOP], n[V]) : n[V];
    return EF_OK;
}

static ef_status launch(ef_actor *a, const ef__args *args, const char *op, size_t local)
{
    const size_t *n = args->n;
    const float temperature = n[TOP] == 1 ? 0 : args->f[TEMPERATURE];
    return ef__launch(
        a, &(ef__call){.op = op,
                       .source = "token",
                       .kernel = "token_choose_group",
                       .global = {n[N] * local},
                       .local = {local},
                       .args = {ef__t(args->t[LOGITS]), ef__t(args->t[IDS]), ef__t(args->t[STATE]),
                                ef__t(args->t[HISTORY]), ef__n(n[V]), ef__n(n[S]),
                                ef__n(temperature > 0 ? n[TOP] : n[V]), ef__f(temperature)}});
}

static ef_status launch_single(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "token.choose[single]", 1);
}

static ef_status launch_group(ef_actor *a, const ef__args *args)
{
    return launch(a, args, "token.choose[group]",
                  ef__min(LANES, ef__device_of(a)->info.max_work_group));
}

/* A draw takes two logarithms. */
static double flops(const ef__args *args)
{
    return (args->f[TEMPERATURE] > 0 ? 40.0 : 1.0) * args->n[N] * args->n[V];
}

static double bytes(const ef__args *args)
{
    return 4.0 * args->n[N] * (args->n[V] + 2.0 * STATE_INTS);
}

const ef__op ef__op_token_choose = {.name = "token.choose",
                                    .names = {"logits", "ids", "state", "history"},
                                    .writes = 1 << IDS | 1 << STATE | 1 << HISTORY,
                                    .any_dtype = 1 << IDS | 1 << STATE | 1 << HISTORY,
                                    .check = check,
                                    .flops = flops,
                                    .bytes = bytes,
                                    .examples = {{.tensors = "nBV cB cB3 cB8"}},
                                    .variants = {{"single", 0, ef__fits_cpu, launch_single},
                                                 {"group", 0, ef__fits_always, launch_group}}};

ef_status ef__token_choose(ef_actor *a, const ef_tensor *logits, size_t top_k, float temperature,
                           ef_tensor *ids, ef_tensor *state, ef_tensor *history)
{
    return ef__op_run(
        a, EF__TOKEN_CHOOSE,
        &(ef__args){.t = {logits, ids, state, history}, .n = {[TOP] = top_k}, .f = {temperature}});
}
