/* Timing and verifying CLBlast's products. */
#include "products.h"
#include "op/clblast.h"
#include "timing.h"
#include "train/trainer.h"
#include <stdlib.h>

struct tune_product {
    tune_cases cases;
    tune_timing timing;
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
    if (!status && (status = tune_timing_open(&one->timing, a, &one->cases.cases[0])))
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
        tune_timing_close(&p->at[i].timing);
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
        if (!ef__variant_runs(variant_of(&p->at[i]), ef__device_of(p->actor),
                              &p->at[i].timing.sets[0].args))
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

/* Have CLBlast take this set. Were its programs built before? If not, there has to be room for
 * them: CLBlast itself drops none. */
static ef_status take(tune_products *p, json_t *kernels, bool *built)
{
    ef_status status = EF_OK;
    *built = false;
    for (size_t i = 0; i < p->built_count; i++)
        *built |= json_equal(p->built[i], kernels);
    if (!*built && p->built_count == TUNE_SETS_KEPT) {
        status = ef__clblast_forget(p->actor);
        drop_sets(p);
    }
    if (!*built)
        p->built[p->built_count++] = json_incref(kernels);
    return status ? status : tune_clblast_take(p->actor, kernels);
}

/* ---- of one set ---- */

static ef__choice choice_of(const tune_product *one)
{
    return (ef__choice){.variant = variant_of(one)};
}

ef_status tune_products_time(tune_products *p, json_t *kernels, double *ms, double *each)
{
    bool built;
    ef_status status = take(p, kernels, &built);
    *ms = 0;
    for (size_t i = 0; i < p->count && !status; i++) {
        const ef__choice choice = choice_of(&p->at[i]);
        size_t calls = built ? 1 : 0;
        status = tune_timing_measure(&p->at[i].timing, &choice, &calls, NULL, NULL, &each[i]);
        *ms += p->at[i].weight * each[i];
    }
    return status;
}

ef_status tune_products_verify(tune_products *p, json_t *kernels, double *worst, char *text,
                               size_t size)
{
    bool built;
    ef_status status = take(p, kernels, &built);
    *worst = 0;
    *text = '\0';
    for (size_t i = 0; i < p->count && !status; i++) {
        const ef__choice choice = choice_of(&p->at[i]);
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
