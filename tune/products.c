/* Timing and verifying CLBlast's products. */
#include "products.h"
#include "base/clock.h"
#include "op/clblast.h"
#include "train/trainer.h"
#include <stdlib.h>

struct tune_product {
    tune_cases cases;
    bench_job job;
    double weight;
};

static ef_status open_one(tune_product *one, ef_actor *a, json_t *json, ef_error *error)
{
    const char *text;
    tune_target target;
    if (json_unpack(json, "{s:s, s:F}", "target", &text, "weight", &one->weight) ||
        !tune_target_parse(text, &target))
        return EF_EARG;
    ef_status status = tune_cases_make(&one->cases, a, &target, error);
    if (!status && (status = tune_job_open(&one->job, &one->cases.cases[0], a)))
        ef__actor_says(a, status, error);
    return status;
}

ef_status tune_products_open(tune_products *p, ef_actor *a, json_t *list, ef_error *error)
{
    ef_status status = EF_OK;
    json_t *item;
    size_t i;
    *p = (tune_products){.actor = a, .at = calloc(json_array_size(list) + 1, sizeof *p->at)};
    if (!p->at)
        return EF_ENOMEM;
    json_array_foreach(list, i, item)
    {
        if (!status)
            status = open_one(&p->at[p->count++], a, item, error);
    }
    return status;
}

static void drop_sets(tune_products *p)
{
    while (p->built_count > 0)
        json_decref(p->built[--p->built_count]);
}

void tune_products_close(tune_products *p)
{
    drop_sets(p);
    for (size_t i = 0; i < p->count; i++) {
        bench_job_close(&p->at[i].job);
        tune_cases_free(&p->at[i].cases);
    }
    free(p->at);
    *p = (tune_products){0};
}

static const ef__variant *variant_of(const tune_product *one)
{
    return ef__op_variant(one->cases.targets[0].id, "clblast");
}

bool tune_products_fit(const tune_products *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (!ef__variant_runs(variant_of(&p->at[i]), ef__device_of(p->actor), &p->at[i].job.args))
            return false;
    return p->count > 0;
}

/* ---- parameters ---- */

ef_status tune_clblast_take(ef_actor *a, json_t *kernels)
{
    const ef__clblast_limits limits = ef__clblast_limits_of(ef__device_of(a));
    ef__clblast_set set;
    if (!json_is_object(kernels))
        return EF_OK;
    if (!ef__clblast_read(kernels, &limits, &set))
        return ef__fail(a, EF_EARG, 0, "clblast", "clblast: parameters that are not valid here");
    return ef__clblast_override(a, &set);
}

/* Were this set's programs built before? If not, there has to be room for them: CLBlast itself
 * drops none. */
static ef_status make_room(tune_products *p, json_t *kernels, bool *built)
{
    ef_status status = EF_OK;
    *built = true;
    for (size_t i = 0; i < p->built_count; i++)
        if (json_equal(p->built[i], kernels))
            return EF_OK;
    *built = false;
    if (p->built_count == TUNE_SETS_KEPT) {
        status = ef__clblast_forget(p->actor);
        drop_sets(p);
    }
    p->built[p->built_count++] = json_incref(kernels);
    return status;
}

/* ---- timing ---- */

static ef_status run(tune_product *one, ef_actor *a, size_t calls, double *ms)
{
    const double start = ef__now();
    ef_status status = ef_batch_begin(a);
    for (size_t i = 0; i < calls && !status; i++)
        status = bench_job_run(&one->job);
    ef_status synced = ef_batch_sync(a, "tune");
    *ms = (ef__now() - start) * 1e3;
    return status ? status : synced;
}

/* Of one call, of so many that the clock sees them. */
static ef_status time_one(tune_product *one, ef_actor *a, bool built, double *ms)
{
    size_t calls = 1;
    ef_status status = ef__op_force(a, one->cases.targets[0].id, "clblast", NULL);
    if (!status && !built)
        status = run(one, a, calls, ms);
    while (!status && !(status = run(one, a, calls, ms)) && *ms < TUNE_LEAST_MS)
        calls *= 2;
    *ms /= (double)calls;
    return status;
}

ef_status tune_products_time(tune_products *p, json_t *kernels, double *ms, double *each)
{
    bool built;
    ef_status status = make_room(p, kernels, &built);
    if (!status)
        status = tune_clblast_take(p->actor, kernels);
    *ms = 0;
    for (size_t i = 0; i < p->count && !status; i++) {
        status = time_one(&p->at[i], p->actor, built, &each[i]);
        *ms += p->at[i].weight * each[i];
    }
    return status;
}

ef_status tune_products_verify(tune_products *p, json_t *kernels, double *worst, char *text,
                               size_t size)
{
    ef_status status = tune_clblast_take(p->actor, kernels);
    *worst = 0;
    *text = '\0';
    for (size_t i = 0; i < p->count && !status; i++) {
        const ef__choice choice = {.variant = variant_of(&p->at[i])};
        char where[256];
        double own = 0;
        status = tune_verify(p->actor, &p->at[i].cases, &choice, &own, where, sizeof where);
        if (own > *worst) {
            *worst = own;
            snprintf(text, size, "%s", where);
        }
    }
    return status;
}
