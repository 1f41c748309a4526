/* Searches for CLBlast's parameters, each with what the ones before it found. */
#include "clblast.h"
#include "clblast_space.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the budget the kernels', of what is left then the copies'; the rest is the last comparison's,
 * whose default may be slow. */
static const double kernels_share = 0.5, copies_share = 0.3;

/* Of the last comparison, of three sets at most: so many as the interval of their ratios needs. A
 * round takes all products, twice of them with CLBlast's own parameters, which may be slow. */
static const size_t few_rounds = 7;

typedef struct stage {
    tune_session *session;
    const tune_plan *plan;
    const tune_bench *bench;
    const ef__clblast_limits *limits;
    double start;
    size_t points;                    /* of the last search's space */
    ef__clblast_set indirect, direct; /* the fastest of each kernel so far, for all sizes */
    double indirect_ms, direct_ms;    /* INFINITY: none */
    bool all_tried;                   /* of the kernels */
} stage;

/* On a CPU CLBlast's program takes 7 s to build. On any device, a quarter of the least effort's
 * budget is too little. */
bool tune_clblast_has_time(bool is_cpu, double seconds)
{
    return seconds >= (is_cpu ? 60 : 12);
}

static double left_s(const stage *st)
{
    return st->plan->budget_s - (st->bench->now(st->bench->user) - st->start);
}

/* sets: of the points of the space, in their order. Of what is known, none is no candidate where
 * the control is a point. */
static ef_status search(stage *st, const tune_plan *of, const tune_space *space,
                        const ef__clblast_set *sets, tune_result *found)
{
    tune_plan plan = *of;
    ef_status status = tune_session_sets(st->session, sets, tune_space_count(space));
    if (status)
        return status;
    tune_known *known = tune_session_known(st->session, &plan.known_count);
    if (!known)
        return EF_ENOMEM;
    st->points = tune_space_count(space);
    if (plan.control < st->points && plan.known_count > 0 &&
        known[plan.known_count - 1].candidate == st->points)
        plan.known_count--;
    plan.space = space;
    plan.known = known;
    plan.budget_s = fmax(plan.budget_s, 0.1);
    status = tune_search(&plan, st->bench, found);
    free(known);
    return status;
}

static bool goes_on(const stage *st, const tune_result *found)
{
    return found->end != TUNE_STOPPED && found->end != TUNE_LOST &&
           !(st->plan->stop && *st->plan->stop) && !st->session->error.status;
}

/* The fastest of those sets of one kernel that is right: into *set unless that is faster. The
 * options are those of the search. */
static void take_fastest(stage *st, tune_result *found, const ef__clblast_set *sets, bool direct,
                         ef__clblast_set *set, double *ms)
{
    const tune_limit limit = {left_s(st), left_s(st)};
    for (size_t best = 0; best < found->count && left_s(st) > 0 && goes_on(st, found);) {
        best = found->count;
        double least = *ms;
        for (size_t i = 0; i < st->points; i++) {
            const tune_candidate *c = &found->candidate[i];
            if (!sets[i].has[EF__XGEMM_DIRECT] == !direct && c->outcome == TUNE_CORRECT &&
                c->median_ms < least) {
                least = c->median_ms;
                best = i;
            }
        }
        if (best == found->count)
            return;
        tune_candidate *c = &found->candidate[best];
        if (!c->verified)
            c->outcome = st->bench->verify(st->bench->user, best, limit);
        c->verified = c->outcome == TUNE_CORRECT;
        if (c->verified) {
            *set = sets[best];
            *ms = least;
        }
    }
}

/* ---- the kernels of the product, each for all sizes ---- */

/* On a CPU, which has no local memory, tiles in it are copies for nothing: there, all that there is
 * of the kernel that works in registers. */
static const tune_clblast_set kinds_of_cpu[] = {TUNE_XGEMM_12},
                              kinds_of_others[] = {TUNE_XGEMM_1, TUNE_XGEMM_11,
                                                   TUNE_XGEMM_DIRECT_1};

/* To begin with on a CPU: vectors of 8 and 4, rows of which an item keeps in registers. */
static const struct start {
    const char *name;
    int value[3];
} starts[] = {{"VWM", {8, 8, 4}},   {"VWN", {1, 4, 4}},   {"KREG", {1, 4, 4}},
              {"MDIMC", {4, 4, 4}}, {"NDIMC", {4, 4, 4}}, {"MWG", {32, 32, 32}}};

static bool is_start(const ef__clblast_set *set)
{
    const ef__clblast_id id = EF__XGEMM_REGISTERS;
    bool any = false;
    for (size_t which = 0; which < 3; which++) {
        bool all = set->has[id];
        for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
            all = all &&
                  set->value[id][ef__clblast_place(id, starts[i].name)] == starts[i].value[which];
        any |= all;
    }
    return any;
}

static void put_kernel(ef__clblast_set *set, tune_clblast_set kind,
                       const ef__clblast_limits *limits, const tune_point *point)
{
    const ef__clblast_id id = tune_clblast_id(kind);
    set->has[id] = set->has[EF__GEMM_ROUTINE] = 1;
    set->value[EF__GEMM_ROUTINE][0] = id == EF__XGEMM_DIRECT ? EF__CLBLAST_HUGE : 0;
    tune_clblast_untie(kind, limits, point, set->value[id]);
}

static ef_status search_kernels(stage *st, tune_result *found)
{
    const bool is_cpu = st->session->is_cpu;
    const tune_clblast_set *kinds = is_cpu ? kinds_of_cpu : kinds_of_others;
    tune_space *space = tune_clblast_tied_space(kinds, is_cpu ? 1 : 3, st->limits);
    const size_t count = space ? tune_space_count(space) : 0;
    ef__clblast_set *sets = calloc(count + 1, sizeof *sets);
    size_t *seeds = calloc(count + 1, sizeof *seeds), seed_count = 0;
    ef_status status = space && sets && seeds ? EF_OK : EF_ENOMEM;
    for (size_t i = 0; i < count && !status; i++) {
        const tune_point point = tune_space_point(space, i);
        put_kernel(&sets[i], kinds[point.part], st->limits, &point);
        if (is_cpu && is_start(&sets[i]))
            seeds[seed_count++] = i;
    }
    if (!status) {
        tune_plan plan = *st->plan;
        plan.seeds = seeds;
        plan.seed_count = seed_count;
        plan.control = seed_count ? seeds[0] : count;
        plan.budget_s = kernels_share * left_s(st);
        plan.rounds = 1;
        status = search(st, &plan, space, sets, found);
        if (!status && seed_count && found->end == TUNE_CONTROL_FAILED) {
            tune_result_free(found);
            plan.control = count;
            status = search(st, &plan, space, sets, found);
        }
    }
    if (!status) {
        st->all_tried = found->exhaustive;
        take_fastest(st, found, sets, false, &st->indirect, &st->indirect_ms);
        take_fastest(st, found, sets, true, &st->direct, &st->direct_ms);
    }
    if (space)
        tune_space_free(space);
    free(sets);
    free(seeds);
    return status;
}

/* ---- the copies around the indirect kernel ---- */

/* Of the copies' parameters the values that are tried, in all combinations; 0 ends. Of
 * any other the least that there is. */
static const struct few {
    const char *name;
    int value[3];
} few[] = {{"COPY_DIMX", {8, 32}}, {"COPY_DIMY", {8}},      {"COPY_VW", {1, 4}},
           {"COPY_WPT", {1, 4}},   {"PAD_DIMX", {8, 32}},   {"PAD_DIMY", {8}},
           {"PAD_WPTX", {1, 4}},   {"TRA_DIM", {4, 16}},    {"TRA_WPT", {1, 4}},
           {"PADTRA_WPT", {1, 4}}, {"PADTRA_TILE", {8, 16}}};

static tune_parameter few_of(const ef__clblast_parameter *from)
{
    tune_parameter p = {from->name, {from->values[0]}, 1};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++)
        if (!strcmp(few[i].name, from->name))
            for (p.count = 0; few[i].value[p.count]; p.count++)
                p.values[p.count] = few[i].value[p.count];
    return p;
}

/* Kernel by kernel, as put_copies takes them. */
static tune_part copies_part(void)
{
    tune_part part = {.name = "copies"};
    tune_parameter *to = part.parameter;
    for (ef__clblast_id id = EF__COPY; id <= EF__PADTRANSPOSE; id++)
        for (const ef__clblast_parameter *p = ef__clblast_parameters(id); p->name; p++)
            *to++ = few_of(p);
    return part;
}

/* The point's values in the set. */
static void put_copies(ef__clblast_set *set, const tune_point *point)
{
    const int *value = point->value;
    for (ef__clblast_id id = EF__COPY; id <= EF__PADTRANSPOSE && point->part; id++) {
        const size_t count = ef__clblast_count(id);
        set->has[id] = 1;
        memcpy(set->value[id], value, count * sizeof *value);
        value += count;
    }
}

static bool are_valid(const void *user, const tune_point *point)
{
    ef__clblast_set set = {.has = {0}};
    put_copies(&set, point);
    for (ef__clblast_id id = EF__COPY; id <= EF__PADTRANSPOSE; id++)
        if (set.has[id] && !ef__clblast_valid(id, set.value[id], user))
            return false;
    return true;
}

static ef_status search_copies(stage *st, tune_result *found)
{
    const tune_part parts[] = {{.name = "own"}, copies_part()}; /* as CLBlast has them; or others */
    tune_space *space = tune_space_new(parts, 2, are_valid, st->limits);
    const size_t count = space ? tune_space_count(space) : 0;
    ef__clblast_set *sets = calloc(count + 1, sizeof *sets);
    ef_status status = space && sets ? EF_OK : EF_ENOMEM;
    for (size_t i = 0; i < count && sets; i++) {
        const tune_point point = tune_space_point(space, i);
        sets[i] = st->indirect;
        put_copies(&sets[i], &point);
    }
    if (!status) {
        tune_plan plan = *st->plan;
        plan.control = 0; /* the set as it is */
        plan.budget_s = copies_share * left_s(st);
        plan.rounds = 1;
        status = search(st, &plan, space, sets, found);
    }
    if (!status)
        take_fastest(st, found, sets, false, &st->indirect, &st->indirect_ms);
    if (space)
        tune_space_free(space);
    free(sets);
    return status;
}

/* ---- the switch ---- */

/* m n k of a product: its sizes but those that are 1. */
static double volume(const tune_target *t)
{
    double product = 1;
    for (size_t i = 0; i < EF__MAX_SIZES; i++)
        product *= t->n[i] ? (double)t->n[i] : 1;
    return product;
}

/* What all products take if those below `from` in volume are the direct kernel's. */
static double cost_from(const tune_session *s, double from, const double *indirect,
                        const double *direct)
{
    double ms = 0;
    for (size_t i = 0; i < s->product_count; i++)
        ms += s->products[i].weight * (volume(&s->products[i]) < from ? direct[i] : indirect[i]);
    return ms;
}

/* Between two neighbouring cube roots, or at either end, whichever costs least. */
static int best_switch(const tune_session *s, const double *indirect, const double *direct)
{
    const double huge = EF__CLBLAST_HUGE;
    double least = cost_from(s, 0, indirect, direct), root = 0;
    for (size_t i = 0; i < s->product_count; i++) {
        const double own = cbrt(volume(&s->products[i]));
        double above = INFINITY;
        for (size_t k = 0; k < s->product_count; k++)
            if (volume(&s->products[k]) > volume(&s->products[i]))
                above = fmin(above, cbrt(volume(&s->products[k])));
        const double middle = isinf(above) ? huge : ceil((own + above) / 2);
        const double ms = cost_from(s, middle * middle * middle, indirect, direct);
        if (ms < least) {
            least = ms;
            root = middle;
        }
    }
    return (int)root;
}

static bool are_alike(const tune_session *s)
{
    for (size_t i = 1; i < s->product_count; i++)
        if (volume(&s->products[i]) != volume(&s->products[0]))
            return false;
    return true;
}

/* The fastest of each kernel in one set, and the size between them. The options are those of the
 * last search. false: it is one of the two. */
static bool join(stage *st, ef__clblast_set *both)
{
    tune_session *s = st->session;
    double *ms = calloc(2 * s->product_count, sizeof *ms);
    ef__clblast_set ends[2];
    bool good = ms != NULL;
    *both = st->indirect;
    both->has[EF__XGEMM_DIRECT] = st->direct.has[EF__XGEMM_DIRECT];
    memcpy(both->value[EF__XGEMM_DIRECT], st->direct.value[EF__XGEMM_DIRECT],
           sizeof both->value[0]);
    both->has[EF__GEMM_ROUTINE] = 1;
    for (int i = 0; i < 2; i++) {
        ends[i] = *both;
        ends[i].value[EF__GEMM_ROUTINE][0] = i ? EF__CLBLAST_HUGE : 0;
    }
    good = good && !tune_session_sets(s, ends, 2) && tune_session_each(s, 0, ms) &&
           tune_session_each(s, 1, ms + s->product_count);
    both->value[EF__GEMM_ROUTINE][0] = good ? best_switch(s, ms, ms + s->product_count) : 0;
    free(ms);
    return good && both->value[EF__GEMM_ROUTINE][0] > 0 &&
           both->value[EF__GEMM_ROUTINE][0] < EF__CLBLAST_HUGE;
}

/* Both kernels together, if that is neither alone, and each alone, against CLBlast's own. */
static ef_status compare(stage *st, tune_result *found)
{
    ef__clblast_set sets[3];
    tune_part part = {"set", {{"number", {0}, 0}}};
    tune_parameter *number = part.parameter;
    if (!isinf(st->indirect_ms) && !are_alike(st->session) && join(st, &sets[number->count]))
        number->count++;
    if (!isinf(st->indirect_ms))
        sets[number->count++] = st->indirect;
    if (!isinf(st->direct_ms))
        sets[number->count++] = st->direct;
    for (size_t i = 0; i < number->count; i++)
        number->values[i] = (int)i;
    tune_space *space = tune_space_new(&part, 1, NULL, NULL);
    if (!space)
        return EF_ENOMEM;
    tune_plan plan = *st->plan;
    plan.budget_s = left_s(st);
    plan.control = number->count;
    plan.rounds = few_rounds;
    ef_status status = search(st, &plan, space, sets, found);
    tune_space_free(space);
    if (!status && number->count == 0 && !st->all_tried && found->end == TUNE_DONE)
        found->end = TUNE_SPENT; /* no set was verified in time */
    return status;
}

/* ---- all of it ---- */

/* Of a search that another one should have followed: nothing of it is a result. */
static void cut_off(const tune_session *s, tune_result *found)
{
    found->end = s->error.status ? TUNE_LOST : TUNE_STOPPED;
    found->adopted = false;
    found->choice = s->untuned;
}

/* A search that another one follows; those who lost in it stay losers. */
static ef_status leave(tune_session *s, tune_result *found, size_t *tried, size_t *all)
{
    ef_status status = EF_OK;
    *all += found->count;
    for (size_t i = 0; i < found->count; i++) {
        const tune_candidate *c = &found->candidate[i];
        const tune_candidate ranked = {.median_ms = c->median_ms}; /* not against the default */
        *tried += c->outcome != TUNE_UNTRIED;
        if (!status && i != s->untuned)
            status =
                tune_journal_fate(&s->journal, s->booked, s->options[i].text,
                                  c->fate < TUNE_FATE_CROWDED ? tune_fate_text(c->fate)
                                                              : "ranked; another set was compared",
                                  &ranked, &s->error);
    }
    tune_result_free(found);
    return status;
}

ef_status tune_clblast(tune_session *s, const tune_plan *plan, const tune_bench *bench,
                       const ef__clblast_limits *limits, tune_result *found, size_t *tried,
                       size_t *all)
{
    stage st = {.session = s,
                .plan = plan,
                .bench = bench,
                .limits = limits,
                .start = bench->now(bench->user),
                .indirect_ms = INFINITY,
                .direct_ms = INFINITY};
    *tried = *all = 0;
    ef_status status = search_kernels(&st, found);
    if (status || found->end == TUNE_CONTROL_FAILED) /* CLBlast's own */
        return status;
    if (goes_on(&st, found) && !isinf(st.indirect_ms)) {
        status = leave(s, found, tried, all);
        if (!status)
            status = search_copies(&st, found);
    }
    if (status)
        return status;
    if (!goes_on(&st, found)) {
        cut_off(s, found);
        return EF_OK;
    }
    status = leave(s, found, tried, all);
    return status ? status : compare(&st, found);
}

ef_status tune_clblast_stored(tune_session *s, const char *db, const ef__clblast_limits *limits)
{
    ef__clblast_set set;
    json_t *kernels = tune_database_clblast(db, NULL);
    bool good = kernels && ef__clblast_read(kernels, limits, &set);
    json_decref(kernels);
    return tune_session_sets(s, &set, good);
}
