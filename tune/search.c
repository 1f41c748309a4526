/* The stages, from many candidates with little time each to few with much. */
#include "search_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_texts[] = {
#define OUTCOME_TEXT(name, text) text,
    TUNE_OUTCOMES(OUTCOME_TEXT)
#undef OUTCOME_TEXT
};

static const char *const fate_texts[] = {
#define FATE_TEXT(name, text) text,
    TUNE_FATES(FATE_TEXT)
#undef FATE_TEXT
};

const char *tune_outcome_text(tune_outcome outcome)
{
    return outcome_texts[outcome];
}

bool tune_is_failure(tune_outcome outcome)
{
    return outcome >= TUNE_COMPILE && outcome <= TUNE_CONSTRAINTS;
}

const char *tune_fate_text(tune_fate fate)
{
    return fate_texts[fate];
}

/* ---- Before the first sample ---- */

static bool sound(const tune_plan *plan)
{
    size_t points = tune_space_count(plan->space);
    bool fine = plan->control <= points && plan->budget_s > 0;
    size_t count = points + (plan->control == points);
    for (size_t i = 0; i < plan->seed_count; i++)
        fine = fine && plan->seeds[i] < count;
    for (size_t i = 0; i < plan->known_count; i++)
        fine = fine && plan->known[i].candidate < count && plan->known[i].samples <= TUNE_SAMPLES;
    return fine;
}

static ef_status prepare(tune__search *s)
{
    size_t count = s->points + (s->plan->control == s->points);
    *s->result = (tune_result){.choice = s->plan->control, .count = count};
    s->candidate = s->result->candidate = calloc(count, sizeof *s->candidate);
    s->order = calloc(count, sizeof *s->order);
    s->built = calloc(count, sizeof *s->built);
    s->model = tune_model_new(s->plan->space);
    if (!s->candidate || !s->order || !s->built || !s->model)
        return EF_ENOMEM;
    for (size_t i = 0; i < s->points; i++) {
        size_t j = ef__rng_below(&s->rng, i + 1);
        s->order[i] = s->order[j];
        s->order[j] = i;
    }
    for (size_t i = 0; i < s->plan->known_count; i++)
        tune__recall(s, &s->plan->known[i]);
    return EF_OK;
}

/* The default first: without it there is nothing to compare with, and what it takes tells what the
 * later stages will. */
static void meet_control(tune__search *s)
{
    size_t twice[2] = {s->plan->control, s->plan->control};
    double ms[2];
    tune__begin(s, 0);
    tune__warm(s);
    if (tune__sample(s, s->plan->control) &&
        (s->candidate[s->plan->control].verified || tune__verify(s, s->plan->control)))
        tune__round(s, twice, 2, ms);
}

/* ---- S0 ---- */

static double least(double a, double b)
{
    return a < b ? a : b;
}

static size_t at_least(size_t n, size_t least)
{
    return n > least ? n : least;
}

/* Seconds that S2 wants: of those that the finals hold, at least, and of the default. */
static double second_s(const tune__search *s)
{
    const double sample_s = s->sample.seconds;
    return (double)s->finalists * (s->verify.seconds + 9 * sample_s) + 9 * sample_s;
}

/* Seconds that S1 wants of so many, S2 and the finals. */
static double stages_s(const tune__search *s, size_t alive)
{
    return 3 * (double)alive * s->sample.seconds + second_s(s) + tune__finals_s(s, false);
}

/* What later stages may have of it: S0 has half of the budget at least, or the seeds' time. */
static double reserve(const tune__search *s, double seconds)
{
    return least(seconds, s->budget_s - least(s->seeded_at, s->budget_s / 2));
}

static double later_s(const tune__search *s)
{
    return reserve(s, stages_s(s, s->alive));
}

/* A result needs the seeds and the finals, by what the default has taken for each step. */
static void settle_budget(tune__search *s)
{
    const double slack = 1.5;
    size_t seeds = 0;
    for (size_t i = 0; i < s->plan->seed_count; i++)
        seeds += s->candidate[s->plan->seeds[i]].outcome == TUNE_UNTRIED;
    double seeded = tune__spent(s) + slack * (double)seeds * (s->first_s + s->verify.seconds);
    s->seeded_at = s->plan->seed_count ? seeded : INFINITY;
    s->budget_s =
        fmax(s->plan->budget_s, least(s->plan->most_s, seeded + stages_s(s, s->alive + seeds)));
    s->progress.budget_s = s->budget_s;
    double half = (s->budget_s - tune__spent(s)) / 2;
    while (s->finalists > 1 && stages_s(s, 0) > half)
        s->finalists--;
}

/* More samples where they cost nothing beside the first, which built it: one in a while is far
 * off. */
static void try(tune__search *s, size_t candidate)
{
    enum { MOST = 3 };
    const double nothing = 0.05;
    const tune_candidate *c = &s->candidate[candidate];
    double before = tune__spent(s);
    bool fine = tune__sample(s, candidate);
    double first_s = tune__spent(s) - before;
    while (fine && c->samples < MOST && 1e-3 * c->ms[0] < nothing * first_s)
        fine = tune__sample(s, candidate);
}

/* Who leads has to be right at once: a wrong one may be faster than any other, and would lead all
 * that follows astray. */
static void check_leader(tune__search *s)
{
    while (!s->candidate[s->progress.best].verified && !tune__halted(s) && tune__left(s) > 0)
        tune__verify(s, s->progress.best);
}

/* One that was cut short, after so long that it hangs? Where there was less time than that, a
 * search with more is made anyway. */
static bool holds_up(const tune__search *s, double began)
{
    const double much = 5, least_s = 10;
    double took = tune__spent(s) - began, others = began - s->explored_at;
    return s->late && took >= least_s && took * (double)(s->sampled - 1) >= much * others;
}

/* The finals of those that are there now get their time. One that was cut short has ended what runs
 * them: it is started again, and they are built again. */
static void settle_finals(tune__search *s)
{
    const double slack = 1.5, start_s = 2;
    double more = s->late ? start_s + (double)s->alive * s->first_s : 0;
    double need = tune__spent(s) + slack * (stages_s(s, s->alive) + more);
    s->budget_s = fmax(s->budget_s, least(s->plan->most_s, need));
    s->progress.budget_s = s->budget_s;
}

static void explore(tune__search *s)
{
    size_t c;
    tune__begin(s, later_s(s));
    s->explored_at = tune__spent(s);
    while (!tune__halted(s) && tune__left(s) > 0 && tune__next(s, &c)) {
        double began = tune__spent(s);
        s->sampled++;
        try(s, c);
        s->held_up = holds_up(s, began);
        check_leader(s);
        s->until = s->budget_s - later_s(s);
        tune__report(s, TUNE_EXPLORE, s->points - s->untried, s->points);
    }
    s->result->exhaustive = s->untried == 0;
    settle_finals(s);
}

/* ---- S1 and S2 ---- */

static int by_median(const void *a, const void *b)
{
    const tune_candidate *x = *(tune_candidate *const *)a, *y = *(tune_candidate *const *)b;
    if (x->median_ms != y->median_ms)
        return x->median_ms < y->median_ms ? -1 : 1;
    return (x > y) - (x < y);
}

/* Those that are not the default, live, and not too slow; the fastest first. */
static size_t survivors(tune__search *s, tune_candidate **list)
{
    const double too_slow = 3;
    size_t n = 0;
    for (size_t i = 0; i < s->points; i++) {
        tune_candidate *c = &s->candidate[i];
        if (i == s->plan->control || c->outcome != TUNE_CORRECT)
            continue;
        if (c->median_ms > too_slow * s->progress.best_ms)
            c->fate = TUNE_FATE_SLOW;
        else
            list[n++] = c;
    }
    qsort(list, n, sizeof *list, by_median);
    return n;
}

/* In time, with so many samples, and verified before the second stage? */
static bool bring(tune__search *s, size_t candidate, tune_stage stage, size_t samples)
{
    tune_candidate *c = &s->candidate[candidate];
    c->stage = stage;
    bool fine =
        tune__left(s) > 0 && (stage == TUNE_FIRST || c->verified || tune__verify(s, candidate));
    while (fine && c->samples < samples)
        fine = tune__sample(s, candidate);
    return fine;
}

/* A stage that has reached so many leaves to later ones what they want, or, until it has as many as
 * the finals hold, what they cannot do without. */
static void leave(tune__search *s, tune_stage stage, size_t reached)
{
    const double finals =
        reached < s->finalists ? tune__finals_s(s, true) : reserve(s, tune__finals_s(s, false));
    s->until = s->budget_s - finals - (stage == TUNE_FIRST ? second_s(s) : 0);
}

/* From list[n], the fastest first, to those that go on: a third of those that were reached in time,
 * but as many as the finals hold, in time or not: the winner is verified in any case. */
static size_t narrow(tune__search *s, tune_candidate **list, size_t n, tune_stage stage)
{
    const size_t samples = stage == TUNE_FIRST ? 4 : TUNE_SAMPLES;
    const tune_fate fate = stage == TUNE_FIRST ? TUNE_FATE_THIRD : TUNE_FATE_FEW;
    size_t reached = 0;
    tune__begin(s, 0);
    leave(s, stage, 0);
    for (size_t i = 0; i < n && !tune__halted(s); i++) {
        const size_t c = (size_t)(list[i] - s->candidate);
        if (tune__left(s) == 0 && reached >= s->finalists)
            break;
        if (bring(s, c, stage, samples) || (reached < s->finalists && tune__alive(s, c)))
            list[reached++] = list[i];
        leave(s, stage, reached);
        tune__report(s, stage, i + 1, n);
    }
    bring(s, s->plan->control, stage, samples);
    qsort(list, reached, sizeof *list, by_median);
    size_t keep = stage == TUNE_FIRST ? (reached + 2) / 3 : 0;
    keep = at_least(keep, s->finalists);
    for (size_t i = keep; i < reached; i++)
        list[i]->fate = fate;
    return reached < keep ? reached : keep;
}

/* Has one been tried beside the default, where there is one? */
static bool is_begun(const tune__search *s)
{
    return s->untried == 0 || s->points - s->untried > (s->plan->control < s->points);
}

/* Has one not had its turn, that is neither the default nor failed nor too slow? */
static bool is_waiting(const tune__search *s)
{
    for (size_t i = 0; i < s->points; i++)
        if (i != s->plan->control && s->candidate[i].fate == TUNE_FATE_WAITING)
            return true;
    return false;
}

static ef_status compare(tune__search *s, bool *finished)
{
    tune_candidate **list = calloc(s->points + 1, sizeof *list);
    size_t finalist[TUNE_FINALISTS];
    if (!list)
        return EF_ENOMEM;
    tune__begin(s, tune__finals_s(s, true));
    check_leader(s);
    size_t n = survivors(s, list);
    s->finalists = n < s->finalists ? n : s->finalists;
    n = narrow(s, list, n, TUNE_FIRST);
    n = narrow(s, list, n, TUNE_SECOND);
    for (size_t i = 0; i < n; i++)
        finalist[i] = (size_t)(list[i] - s->candidate);
    free(list);
    *finished = n == 0 && tune__left(s) > 0 && is_begun(s) && !is_waiting(s);
    return n == 0 || tune__halted(s) ? EF_OK : tune__finals(s, finalist, n, finished);
}

ef_status tune_search(const tune_plan *plan, const tune_bench *bench, tune_result *result)
{
    tune__search s = {.plan = plan,
                      .bench = bench,
                      .result = result,
                      .rng = {plan->seed},
                      .points = tune_space_count(plan->space),
                      .margin = plan->margin > 0 ? plan->margin : 0.02,
                      .rounds = plan->rounds ? plan->rounds : 15,
                      .budget_s = fmax(plan->budget_s, plan->most_s)};
    s.untried = s.points;
    s.finalists = s.points < TUNE_FINALISTS ? s.points : TUNE_FINALISTS;
    *result = (tune_result){0};
    if (!sound(plan))
        return EF_EARG;
    s.start = bench->now(bench->user);
    ef_status status = prepare(&s);
    if (!status) {
        bool finished = false;
        meet_control(&s);
        settle_budget(&s);
        explore(&s);
        status = compare(&s, &finished);
        if ((!finished || (s.held_up && !result->adopted)) && result->end == TUNE_DONE)
            result->end = TUNE_SPENT;
        if (tune__alive(&s, plan->control))
            s.candidate[plan->control].fate = TUNE_FATE_CONTROL;
    }
    free(s.order);
    free(s.built);
    tune_model_free(s.model);
    result->spent_s = tune__spent(&s);
    return status;
}

void tune_result_free(tune_result *result)
{
    free(result->candidate);
    *result = (tune_result){0};
}
