/* Tests of the tuner's search against a device that is a formula. */
#include "ef_test.h"
#include "fake_bench.h"
#include <math.h>
#include <string.h>

/* ---- Landscapes ---- */

static const tune_part tiles = {"tile",
                                {{"rows", {1, 2, 3, 4, 6, 8, 12}, 7},
                                 {"columns", {4, 8, 16, 32, 64}, 5},
                                 {"unroll", {1, 2, 4}, 3},
                                 {"block", {32, 64, 128, 256}, 4}}};

static bool a_tile(const void *user, const tune_point *p)
{
    (void)user;
    const int *v = p->value, area = v[0] * v[1];
    return area >= 8 && area <= 128 && v[1] * v[2] <= 128 && v[1] <= v[3];
}

static double between(ef__rng *rng, double low, double high)
{
    return low + (high - low) * ef__rng_uniform(rng);
}

/* As times of a tiled product are: loads fall with the tile's sides, until registers spill or the
 * block leaves the cache. `rough` is what no rule explains. */
static fake_bench *tiling(uint64_t seed, double rough)
{
    ef__rng r = {seed};
    fake_bench *f = fake_new(&tiles, 1, a_tile);
    double registers = between(&r, 8, 18), loop = between(&r, 0.05, 0.4),
           load = between(&r, 0.5, 2), cache = between(&r, 500, 5000),
           spill = between(&r, 0.05, 0.2);
    for (size_t i = 0; i < tune_space_count(f->space); i++) {
        tune_point p = tune_space_point(f->space, i);
        double rows = p.value[0], columns = p.value[1], unroll = p.value[2], block = p.value[3];
        double used = (rows * columns / 8 + columns / 8 + 1) * (1 + 0.1 * unroll);
        f->ms[i] = 1 + load * (1 / rows + 4 / columns) + loop / unroll +
                   spill * fmax(0, used - registers) + 0.3 * fmax(0, log2(block * columns / cache));
        f->ms[i] *= between(&r, 1 - rough, 1 + rough);
    }
    return f;
}

/* A default as programmers leave them: not bad. */
static void settle(fake_bench *f, uint64_t seed)
{
    ef__rng r = {seed};
    do
        f->control = ef__rng_below(&r, tune_space_count(f->space));
    while (f->ms[f->control] > 1.7 * f->ms[fake_fastest(f)]);
}

/* `count` candidates, the default first. */
static fake_bench *row_of(size_t count)
{
    tune_part row = {"row", {{"tens", {0}, 0}, {"ones", {0}, 8}}};
    row.parameter[0].count = count / 8;
    for (int i = 0; i < 8; i++)
        row.parameter[0].values[i] = row.parameter[1].values[i] = i;
    return fake_new(&row, 1, NULL);
}

/* How much slower is the choice than the fastest? */
static double loss(const fake_bench *f)
{
    return f->ms[f->result.choice] / f->ms[fake_fastest(f)] - 1;
}

/* ---- Statistics ---- */

START_TEST(medians_are_those_of_the_sorted)
{
    ck_assert_double_eq(tune_median((double[]){3}, 1), 3);
    ck_assert_double_eq(tune_median((double[]){3, 1, 2}, 3), 2);
    ck_assert_double_eq(tune_median((double[]){4, 1, 2, 100}, 4), 3);
    ck_assert_double_eq(tune_mad((double[]){4, 1, 2, 100, 3}, 5), 1);
    ck_assert_double_eq(tune_mad((double[]){7, 7}, 2), 0);
}
END_TEST

/* Drawn, it comes out the same. */
START_TEST(the_bootstrap_is_that_of_many_resamples)
{
    enum { N = 15, DRAWS = 20000 };
    double x[N], again[N], *median = ef_test_doubles(DRAWS);
    ef__rng rng = {5};
    for (size_t i = 0; i < N; i++)
        x[i] = (double)i; /* so that an element tells its rank */
    for (size_t d = 0; d < DRAWS; d++) {
        for (size_t i = 0; i < N; i++)
            again[i] = x[ef__rng_below(&rng, N)];
        median[d] = tune_median(again, N);
    }
    tune_median(median, DRAWS);
    tune_interval i = tune_bootstrap(x, N, 0.9);
    ck_assert_double_eq(i.median, 7);
    ck_assert_double_eq(i.low, median[DRAWS / 20]);
    ck_assert_double_eq(i.high, median[DRAWS - DRAWS / 20]);
    tune_interval wide = tune_bootstrap(x, N, 0.999);
    ck_assert(wide.low < i.low && wide.high > i.high && wide.high < 14);
    ck_assert_double_eq(tune_bootstrap(x, 1, 0.9).high, 0);
}
END_TEST

START_TEST(the_bootstrap_covers_what_it_says)
{
    enum { N = 21, RUNS = 4000 };
    size_t covered = 0;
    ef__rng rng = {9};
    for (size_t run = 0; run < RUNS; run++) {
        double x[N];
        for (size_t i = 0; i < N; i++)
            x[i] = ef__rng_uniform(&rng);
        tune_interval i = tune_bootstrap(x, N, 0.95);
        covered += i.low <= 0.5 && i.high >= 0.5;
    }
    ck_assert_msg(covered > 0.9 * RUNS && covered < 0.98 * RUNS, "%zu of %d", covered, RUNS);
}
END_TEST

/* ---- Finding ---- */

START_TEST(the_fastest_is_found_when_there_is_time_for_all)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        fake_bench *f = tiling(seed, seed % 2 ? 0.3 : 0);
        settle(f, seed);
        tune_result *r = fake_search(f, (tune_plan){.budget_s = 1000, .seed = seed});
        ck_assert_int_eq(r->end, TUNE_DONE);
        ck_assert(r->exhaustive);
        ck_assert_msg(loss(f) < 0.01, "landscape %d: %g", (int)seed, loss(f));
        ck_assert_int_eq(r->adopted, r->choice != f->control);
        fake_free(f);
    }
}
END_TEST

/* A seventh of the time that all would take. Not on every landscape: in some the fastest tile is
 * far from all others that are fast. */
START_TEST(a_small_share_of_the_time_gets_near_the_fastest)
{
    enum { LANDSCAPES = 40 };
    size_t near = 0;
    double losses[LANDSCAPES];
    for (uint64_t i = 0; i < LANDSCAPES; i++) {
        fake_bench *f = tiling(i, 0.01);
        settle(f, i);
        f->noise = 0.01;
        double all_s = fake_search(f, (tune_plan){.budget_s = 1e4, .seed = i})->spent_s;
        ck_assert(f->result.exhaustive);
        fake_search(f, (tune_plan){.budget_s = 0.15 * all_s, .seed = i});
        ck_assert(!f->result.exhaustive);
        losses[i] = loss(f);
        near += losses[i] <= 0.03;
        fake_free(f);
    }
    double median = tune_median(losses, LANDSCAPES);
    ck_assert_msg(near >= 32 && median < 0.01 && losses[LANDSCAPES - 1] < 0.1,
                  "%zu within 3 %%, the median %g, the worst %g", near, median,
                  losses[LANDSCAPES - 1]);
}
END_TEST

/* What an operation costs on a CPU: a check as much as several samples; and the machine becomes
 * slower in the middle. */
typedef struct costs {
    double build_s, check_s, noise, slow;
    size_t finished, near; /* of the landscapes, at least */
} costs;

static void search_a_share(const costs *c)
{
    enum { LANDSCAPES = 40 };
    size_t finished = 0, near = 0;
    for (uint64_t i = 0; i < LANDSCAPES; i++) {
        fake_bench *f = tiling(i, 0.01);
        settle(f, i);
        f->build_s = c->build_s;
        f->check_s = c->check_s;
        f->call_s = 0.008;
        f->noise = c->noise;
        f->spikes = 0.02;
        double share_s = 0.15 * fake_search(f, (tune_plan){.budget_s = 1e4, .seed = i})->spent_s;
        f->slow = c->slow;
        f->slow_at = f->clock + share_s / 2;
        finished += fake_search(f, (tune_plan){.budget_s = share_s, .seed = i})->end == TUNE_DONE;
        near += loss(f) <= 0.03;
        fake_free(f);
    }
    ck_assert_msg(finished >= c->finished && near >= c->near,
                  "built in %g s, checked in %g: %zu finished, %zu within 3 %%", c->build_s,
                  c->check_s, finished, near);
}

START_TEST(a_small_share_of_the_time_is_enough_to_finish)
{
    static const costs all[] = {{0.1, 0.2, 0.02, 1, 40, 26},    {0.1, 0.2, 0.02, 1.7, 40, 26},
                                {0.12, 0.1, 0.06, 1.7, 36, 16}, {1.1, 0.1, 0.02, 1, 40, 32},
                                {0.05, 1, 0.02, 1, 40, 28},     {0.02, 0.02, 0.02, 1.7, 38, 24}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        search_a_share(&all[i]);
}
END_TEST

START_TEST(two_seeds_choose_alike)
{
    enum { LANDSCAPES = 60 };
    size_t alike = 0;
    for (uint64_t i = 0; i < LANDSCAPES; i++) {
        fake_bench *f = tiling(i, 0.02);
        settle(f, i);
        f->noise = 0.02;
        f->spikes = 0.05;
        double a = f->ms[fake_search(f, (tune_plan){.budget_s = 1000, .seed = 2 * i})->choice];
        double b = f->ms[fake_search(f, (tune_plan){.budget_s = 1000, .seed = 2 * i + 1})->choice];
        alike += fabs(a / b - 1) <= 0.02;
        fake_free(f);
    }
    ck_assert_msg(alike >= 57, "%zu of %d", alike, LANDSCAPES);
}
END_TEST

START_TEST(the_same_plan_and_answers_give_the_same_search)
{
    double clock[2];
    size_t choice[2], calls[2];
    for (size_t i = 0; i < 2; i++) {
        fake_bench *f = tiling(3, 0.05);
        f->noise = 0.05;
        choice[i] = fake_search(f, (tune_plan){.budget_s = 20, .seed = 7})->choice;
        clock[i] = f->clock;
        calls[i] = f->calls;
        fake_free(f);
    }
    ck_assert(clock[0] == clock[1] && choice[0] == choice[1] && calls[0] == calls[1]);
}
END_TEST

START_TEST(seeds_come_first)
{
    fake_bench *f = tiling(1, 0.05);
    size_t best = fake_fastest(f);
    settle(f, 1);
    f->ms[best] = 0.5; /* nothing near it tells of it */
    tune_result *r =
        fake_search(f, (tune_plan){.budget_s = 6, .seeds = &best, .seed_count = 1, .seed = 4});
    ck_assert(!r->exhaustive);
    ck_assert_msg(r->choice == best, "end %d, %s", r->end, tune_fate_text(r->candidate[best].fate));
    fake_free(f);
}
END_TEST

/* ---- Adopting ---- */

static tune_result *planted(fake_bench *f, double ms)
{
    f->ms[5] = ms;
    return fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
}

START_TEST(what_is_not_faster_by_the_margin_is_not_adopted)
{
    fake_bench *f = row_of(16);
    f->noise = 0.01;
    for (size_t i = 0; i < 16; i++)
        f->ms[i] = i ? 1.3 : 1;
    static const double not [] = {1.05, 1.0, 0.99};
    for (size_t i = 0; i < 3; i++) {
        ck_assert(!planted(f, not [i])->adopted);
        ck_assert_uint_eq(f->result.choice, f->control);
        ck_assert_int_eq(f->result.end, TUNE_DONE);
        ck_assert_int_eq(f->result.candidate[5].fate, TUNE_FATE_UNSURE);
        ck_assert_int_eq(f->result.candidate[0].fate, TUNE_FATE_CONTROL);
    }
    ck_assert(planted(f, 0.9)->adopted);
    ck_assert_uint_eq(f->result.choice, 5);
    ck_assert_int_eq(f->result.candidate[5].fate, TUNE_FATE_CHOSEN);
    ck_assert_double_eq_tol(f->result.ratio.median, 0.9, 0.01);
    ck_assert(f->result.ratio.low <= 0.9 && f->result.ratio.high >= 0.9);
    fake_free(f);
}
END_TEST

static size_t adopted_from_noise(double noise, bool outside)
{
    size_t adopted = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        fake_bench *f = row_of(24);
        f->noise = noise;
        f->spikes = 0.05;
        f->rng.state = seed;
        f->control = outside ? 24 : 0;
        adopted += fake_search(f, (tune_plan){.budget_s = 60, .seed = seed})->adopted;
        ck_assert_int_eq(f->result.end, TUNE_DONE);
        fake_free(f);
    }
    return adopted;
}

START_TEST(noise_is_not_adopted)
{
    size_t small = adopted_from_noise(0.05, false), large = adopted_from_noise(0.2, true);
    ck_assert_msg(small <= 4 && large <= 4, "%zu and %zu of 200", small, large);
}
END_TEST

START_TEST(what_is_much_faster_is_adopted_through_noise)
{
    size_t adopted = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        fake_bench *f = row_of(24);
        f->noise = 0.2;
        f->spikes = 0.05;
        f->rng.state = seed;
        f->ms[9] = 0.5;
        adopted += fake_search(f, (tune_plan){.budget_s = 60, .seed = seed})->choice == 9;
        fake_free(f);
    }
    ck_assert_msg(adopted >= 19, "%zu of 20", adopted);
}
END_TEST

START_TEST(of_two_as_fast_the_simpler_is_chosen)
{
    fake_bench *f = row_of(16);
    f->noise = 0.003;
    f->ms[3] = 0.7;
    f->ms[9] = 0.703;
    f->complexity[3] = 1;
    ck_assert_uint_eq(fake_search(f, (tune_plan){.budget_s = 60, .seed = 1})->choice, 9);
    ck_assert_int_eq(f->result.candidate[3].fate, TUNE_FATE_TIED);
    f->ms[9] = 0.75;
    ck_assert_uint_eq(fake_search(f, (tune_plan){.budget_s = 60, .seed = 1})->choice, 3);
    ck_assert_int_eq(f->result.candidate[9].fate, TUNE_FATE_BEATEN);
    f->ms[9] = 0.7;
    f->complexity[3] = 0;
    ck_assert_uint_eq(fake_search(f, (tune_plan){.budget_s = 60, .seed = 1})->choice, 3);
    fake_free(f);
}
END_TEST

/* What changes in the middle of a round is in the ratios of that round. */
START_TEST(rounds_in_which_the_device_drifts_do_not_count)
{
    fake_bench *f = row_of(16);
    f->noise = 0.003;
    f->drift = 0.3;
    f->ms[3] = 0.9;
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
    ck_assert_uint_eq(r->choice, 3);
    ck_assert_uint_ge(r->discarded, 4);
    ck_assert_uint_eq(r->rounds, 30);
    ck_assert_double_eq_tol(r->ratio.low, 0.9, 0.01);
    ck_assert_double_eq_tol(r->ratio.high, 0.9, 0.01);
    f->drift = 1; /* always: then they count all the same, and the search ends */
    r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
    ck_assert_uint_eq(r->rounds % 15, 0);
    ck_assert_uint_eq(r->discarded, r->rounds / 15 * 7);
    fake_free(f);
}
END_TEST

/* ---- Time ---- */

START_TEST(the_budget_is_kept)
{
    static const double budgets[] = {0.01, 0.3, 1, 3, 10, 30, 100};
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++)
        for (uint64_t seed = 0; seed < 6; seed++) {
            fake_bench *f = tiling(seed, 0.1);
            settle(f, seed);
            f->noise = 0.05;
            for (size_t i = 0; i < tune_space_count(f->space); i++)
                if (i % 16 == 0 && i != f->control)
                    f->ms[i] = i % 32 ? 1e5 : 1e7;
            tune_result *r = fake_search(f, (tune_plan){.budget_s = budgets[b], .seed = seed});
            ck_assert_msg(f->clock <= budgets[b] * (1 + 1e-9), "%g of %g s", f->clock, budgets[b]);
            ck_assert_double_eq_tol(r->spent_s, f->clock, 1e-9);
            ck_assert(r->end == TUNE_DONE || r->end == TUNE_SPENT);
            ck_assert(r->adopted || r->choice == f->control);
            if (budgets[b] >= 30)
                ck_assert_msg(r->end == TUNE_DONE && loss(f) < 0.15, "%g", loss(f));
            fake_free(f);
        }
}
END_TEST

/* It ends with the stage's time, not with the budget. */
START_TEST(a_candidate_that_builds_for_ever_does_not_spend_all)
{
    fake_bench *f = row_of(16);
    f->slow_build = 7;
    f->ms[3] = 0.5;
    tune_result *r = fake_search(
        f, (tune_plan){.budget_s = 30, .seeds = (size_t[]){3, 7}, .seed_count = 2, .seed = 1});
    ck_assert_uint_eq(r->choice, 3);
    ck_assert_int_eq(r->candidate[7].fate, TUNE_FATE_UNSEEN);
    ck_assert(f->clock <= 30);
    fake_free(f);
}
END_TEST

static tune_result *search_beside_a_hang(fake_bench *f, tune_outcome of_seven)
{
    static tune_known known;
    known = (tune_known){7, of_seven, false, 0, {0}};
    return fake_search(f, (tune_plan){.budget_s = 30,
                                      .seeds = (size_t[]){7, 3},
                                      .seed_count = 2,
                                      .known = &known,
                                      .known_count = of_seven != TUNE_UNTRIED,
                                      .seed = 1});
}

/* What it keeps from their turn may be faster, so that is no result; and it does so only once. */
START_TEST(a_candidate_that_builds_for_ever_comes_last_the_next_time)
{
    fake_bench *f = row_of(16);
    f->slow_build = 7;
    tune_result *r = search_beside_a_hang(f, TUNE_UNTRIED);
    ck_assert_int_eq(r->end, TUNE_SPENT);
    ck_assert(r->candidate[7].late && r->candidate[7].outcome == TUNE_UNTRIED);
    ck_assert_int_eq(r->candidate[3].fate, TUNE_FATE_UNSEEN);
    r = search_beside_a_hang(f, TUNE_LATE);
    ck_assert_int_eq(r->end, TUNE_SPENT);
    for (size_t i = 0; i < 16; i++)
        ck_assert_int_eq(r->candidate[i].outcome, i == 7 ? TUNE_UNTRIED : TUNE_CORRECT);
    ck_assert_int_eq(search_beside_a_hang(f, TUNE_TIMEOUT)->end, TUNE_DONE);
    f->ms[3] = 0.5;
    ck_assert_int_eq(search_beside_a_hang(f, TUNE_LATE)->end, TUNE_DONE);
    ck_assert_uint_eq(f->result.choice, 3);
    fake_free(f);
}
END_TEST

/* The default alone takes more than that to build. */
START_TEST(seeds_and_finals_have_their_time_in_any_budget)
{
    const size_t seeds[] = {3, 12};
    tune_plan plan = {.budget_s = 1, .seeds = seeds, .seed_count = 2, .seed = 1};
    fake_bench *f = row_of(64);
    f->build_s = 1.5;
    f->check_s = 0.5;
    f->ms[3] = 0.5;
    ck_assert_int_eq(fake_search(f, plan)->end, TUNE_SPENT);
    ck_assert_double_le(f->clock, 1);
    f->clock = 0;
    plan.most_s = 100;
    const tune_result *r = fake_search(f, plan);
    ck_assert_int_eq(r->end, TUNE_DONE);
    ck_assert_uint_eq(r->choice, 3);
    ck_assert_int_eq(r->candidate[12].outcome, TUNE_CORRECT);
    ck_assert_double_lt(f->clock, 20); /* of 100 that all would take */
    f->clock = 0;
    plan.most_s = 3;
    ck_assert_int_eq(fake_search(f, plan)->end, TUNE_SPENT);
    ck_assert_double_le(f->clock, 3);
    f->clock = 0;
    plan.budget_s = plan.most_s = 40; /* which is enough: seeds do not take all of it */
    ck_assert_uint_gt(fake_search(f, plan)->candidate[3].samples, 0);
    ck_assert_double_gt(f->clock, 20);
    fake_free(f);
}
END_TEST

START_TEST(checks_leave_time_for_the_finals)
{
    fake_bench *f = row_of(64);
    f->build_s = 0.01;
    f->check_s = 1;
    for (size_t i = 1; i < 64; i++)
        f->ms[i] = 0.5 + 0.005 * (double)i;
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 30, .seed = 1});
    ck_assert_int_eq(r->end, TUNE_DONE);
    ck_assert_msg(loss(f) < 0.02, "%g", loss(f));
    fake_free(f);
}
END_TEST

/* Where the default alone takes half of the budget. */
START_TEST(the_default_is_no_result_where_nothing_else_was_tried)
{
    fake_bench *f = row_of(16);
    const tune_plan plan = {.budget_s = 11, .seed = 1};
    f->build_s = 6;
    for (size_t outside = 0; outside < 2; outside++) {
        f->control = outside ? 16 : 0;
        f->clock = 0;
        ck_assert_int_eq(fake_search(f, plan)->end, TUNE_SPENT);
        ck_assert_double_lt(f->clock, 10); /* though there was time left */
        for (size_t i = 1; i < 16; i++)
            ck_assert_int_eq(f->result.candidate[i].fate, TUNE_FATE_UNSEEN);
    }
    f->build_s = 0.1;
    for (size_t i = 0; i < 16; i++)
        f->outcome[i] = TUNE_COMPILE;
    ck_assert_int_eq(fake_search(f, plan)->end, TUNE_DONE);
    fake_free(f);
    const tune_part alone = {"alone", {{"only", {1}, 1}}};
    f = fake_new(&alone, 1, NULL);
    ck_assert_int_eq(fake_search(f, plan)->end, TUNE_DONE);
    fake_free(f);
}
END_TEST

static size_t finalists(const tune_result *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++) {
        ck_assert_int_ne(r->candidate[i].fate, TUNE_FATE_CROWDED);
        n += r->candidate[i].stage == TUNE_FINALS;
    }
    return n;
}

START_TEST(there_are_no_more_finalists_than_have_time)
{
    static const struct {
        double budget_s;
        size_t finalists;
    } all[] = {{12.5, 1}, {20, 1}, {45, 2}, {120, 5}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        fake_bench *f = row_of(16);
        f->build_s = 0.1;
        for (size_t i = 0; i < 16; i++)
            f->ms[i] = i ? 100 + (double)i : 101;
        const tune_result *r = fake_search(f, (tune_plan){.budget_s = all[k].budget_s, .seed = 1});
        ck_assert_int_eq(r->end, TUNE_DONE);
        ck_assert_uint_eq(finalists(r), all[k].finalists);
        fake_free(f);
    }
}
END_TEST

/* What the finals leave to it is reckoned anew after each round. */
START_TEST(a_machine_that_becomes_slower_costs_rounds_not_the_result)
{
    for (double slow = 2; slow < 4; slow++)
        for (double at = 6; at < 20; at++) {
            fake_bench *f = row_of(16);
            f->build_s = 0.1;
            for (size_t i = 0; i < 16; i++)
                f->ms[i] = i == 3 ? 60 : 100 + (double)i;
            f->slow = slow;
            f->slow_at = at;
            const tune_result *r =
                fake_search(f, (tune_plan){.budget_s = slow == 2 ? 36 : 40, .seed = 1});
            ck_assert_int_eq(r->end, TUNE_DONE);
            ck_assert_uint_eq(r->choice, 3);
            if (slow == 2) /* the finals' are 7, not the confirmation's */
                ck_assert_uint_eq(f->last.done, 15);
            fake_free(f);
        }
}
END_TEST

/* One that was built in an earlier search is not in this one, and keeps S1 and S2 busy until their
 * time is up. */
static tune_result *search_behind_a_hang(fake_bench *f)
{
    static const tune_known seven = {7, TUNE_CORRECT, true, 1, {0.4}};
    f->slow_build = 7;
    f->ms[3] = 0.5;
    f->calls = 0;
    return fake_search(f,
                       (tune_plan){.budget_s = 30, .known = &seven, .known_count = 1, .seed = 1});
}

START_TEST(the_fastest_go_on_as_they_are_when_the_time_is_up)
{
    fake_bench *f = row_of(16);
    const tune_result *r = search_behind_a_hang(f);
    ck_assert_int_eq(r->end, TUNE_DONE);
    ck_assert_uint_eq(r->choice, 3);
    ck_assert_uint_lt(r->candidate[3].samples, 4);
    ck_assert(r->candidate[7].late);
    ck_assert_uint_eq(finalists(r), 4);
    fake_free(f);
}
END_TEST

START_TEST(who_goes_on_as_it_is_has_reached_the_stage)
{
    fake_bench *f = row_of(16);
    size_t first = 0;
    do { /* until S2 has just begun */
        f->stop = 0;
        f->stop_at++;
        ck_assert_int_eq(search_behind_a_hang(f)->end, TUNE_STOPPED);
    } while (f->last.stage < TUNE_SECOND);
    ck_assert_int_eq(f->result.candidate[7].stage, TUNE_SECOND);
    for (size_t i = 1; i < 16; i++)
        first += f->result.candidate[i].stage == TUNE_FIRST;
    ck_assert_uint_eq(first, 4);
    fake_free(f);
}
END_TEST

/* It has to be built again, which takes as long as five finalists would leave. */
START_TEST(a_candidate_that_is_left_alone_has_the_time_of_five)
{
    fake_bench *f = row_of(16);
    tune_known known[15];
    f->build_s = 50;
    for (size_t i = 0; i < 16; i++)
        f->ms[i] = i == 7 ? 90 : 101;
    for (size_t i = 1; i < 16; i++)
        known[i - 1] = (tune_known){i, TUNE_COMPILE, false, 0, {0}};
    known[6] = (tune_known){7, TUNE_CORRECT, true, 1, {90}};
    const tune_plan plan = {.budget_s = 117, .known = known, .known_count = 15, .seed = 1};
    const tune_result *r = fake_search(f, plan);
    ck_assert_uint_eq(r->choice, 7);
    ck_assert(!r->candidate[7].late);
    fake_free(f);
}
END_TEST

/* A check that hangs until it is ended tells nothing of the next one. */
START_TEST(what_fails_does_not_tell_what_a_call_takes)
{
    fake_bench *f = row_of(64);
    const size_t five = 5;
    f->build_s = 0.5;
    f->fail_s = 10;
    f->ms[5] = 0.1;
    f->wrong[5] = true;
    tune_result *r =
        fake_search(f, (tune_plan){.budget_s = 60, .seeds = &five, .seed_count = 1, .seed = 1});
    ck_assert_int_eq(r->candidate[5].outcome, TUNE_CORRECTNESS);
    ck_assert(r->exhaustive);
    fake_free(f);
    f = row_of(16);
    f->fragile = 5;
    f->fail_s = 30;
    f->ms[5] = 0.4;
    f->ms[6] = 0.5;
    r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
    ck_assert_int_eq(r->candidate[5].outcome, TUNE_RUNTIME);
    ck_assert_uint_eq(r->choice, 6);
    fake_free(f);
}
END_TEST

START_TEST(a_flag_ends_the_search_at_any_call)
{
    fake_bench *f = row_of(24);
    f->ms[3] = 0.5;
    ck_assert_int_eq(fake_search(f, (tune_plan){.budget_s = 60, .seed = 1})->end, TUNE_DONE);
    size_t all = f->calls;
    for (size_t at = 1; at < all; at += 3) {
        f->calls = 0;
        f->stop = 0;
        f->stop_at = at;
        tune_result *r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
        ck_assert_int_eq(r->end, TUNE_STOPPED);
        ck_assert_uint_eq(f->calls, at);
        ck_assert(!r->adopted && r->choice == f->control);
        f->stop_at = f->stop = 0;
        f->calls = 0;
        f->gone_at = at;
        r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
        ck_assert_int_eq(r->end, TUNE_LOST);
        ck_assert_uint_eq(f->calls, at);
        ck_assert(!r->adopted);
        f->gone_at = 0;
    }
    fake_free(f);
}
END_TEST

/* ---- Failures ---- */

START_TEST(failures_of_every_kind_are_survived)
{
    static const tune_outcome kinds[] = {TUNE_COMPILE, TUNE_RUNTIME, TUNE_TIMEOUT, TUNE_CORRECTNESS,
                                         TUNE_CONSTRAINTS};
    fake_bench *f = tiling(2, 0);
    size_t want[TUNE_OUTCOME_COUNT] = {0};
    settle(f, 2);
    for (size_t i = 0; i < tune_space_count(f->space); i++)
        if (i % 3 && i != f->control) {
            f->outcome[i] = kinds[i % 5];
            want[kinds[i % 5]]++;
            f->ms[i] = 1e3; /* not the fastest */
        }
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 1000, .seed = 1});
    ck_assert_int_eq(r->end, TUNE_DONE);
    ck_assert(loss(f) < 0.01);
    for (size_t i = 0; i < r->count; i++)
        if (f->outcome[i]) {
            ck_assert_int_eq(r->candidate[i].outcome, f->outcome[i]);
            ck_assert_int_eq(r->candidate[i].fate, TUNE_FATE_FAILED);
            ck_assert_uint_eq(f->asked[i], 1);
        }
    ck_assert_mem_eq(f->last.failed, want, sizeof want);
    fake_free(f);
}
END_TEST

/* So fast that all others are dropped beside it, were it right. */
START_TEST(a_wrong_one_is_neither_chosen_nor_in_the_way)
{
    for (uint64_t seed = 0; seed < 8; seed++) {
        fake_bench *f = tiling(seed, 0.05);
        settle(f, seed);
        size_t best = fake_fastest(f), wrong = (best + 1) % tune_space_count(f->space);
        f->wrong[wrong] = wrong != f->control;
        if (f->wrong[wrong])
            f->ms[wrong] = 0.1;
        tune_result *r = fake_search(f, (tune_plan){.budget_s = 1000, .seed = seed});
        ck_assert(f->ms[r->choice] <= 1.01 * f->ms[best]);
        if (f->wrong[wrong])
            ck_assert_int_eq(r->candidate[wrong].outcome, TUNE_CORRECTNESS);
        fake_free(f);
    }
}
END_TEST

START_TEST(the_winner_is_checked_again)
{
    fake_bench *f = row_of(16);
    f->flaky = 5;
    f->ms[5] = 0.4;
    f->ms[6] = 0.5;
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
    ck_assert_uint_eq(r->choice, 6);
    ck_assert_int_eq(r->candidate[5].outcome, TUNE_CORRECTNESS);
    ck_assert_uint_eq(f->checked[5], 2);
    ck_assert_uint_eq(f->checked[6], 2);
    ck_assert_uint_eq(f->checked[7], 0); /* not in the fastest third */
    fake_free(f);
}
END_TEST

START_TEST(a_finalist_that_fails_leaves_the_others)
{
    fake_bench *f = row_of(16);
    f->fragile = 5;
    f->ms[5] = 0.4;
    f->ms[6] = 0.5;
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 60, .seed = 1});
    ck_assert_uint_eq(r->choice, 6);
    ck_assert_int_eq(r->candidate[5].outcome, TUNE_RUNTIME);
    ck_assert_int_eq(r->candidate[5].fate, TUNE_FATE_FAILED);
    ck_assert_double_eq_tol(r->ratio.median, 0.5, 1e-9);
    ck_assert_uint_eq(r->rounds, 30);
    fake_free(f);
}
END_TEST

START_TEST(without_a_default_that_runs_there_is_no_search)
{
    fake_bench *f = row_of(16);
    f->outcome[0] = TUNE_RUNTIME;
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 60});
    ck_assert_int_eq(r->end, TUNE_CONTROL_FAILED);
    ck_assert_int_eq(r->candidate[0].outcome, TUNE_RUNTIME);
    f->outcome[0] = TUNE_CORRECT;
    f->wrong[0] = true;
    r = fake_search(f, (tune_plan){.budget_s = 60});
    ck_assert_int_eq(r->end, TUNE_CONTROL_FAILED);
    ck_assert_int_eq(r->candidate[0].outcome, TUNE_CORRECTNESS);
    ck_assert(!r->adopted && r->choice == 0);
    fake_free(f);
}
END_TEST

START_TEST(a_sick_device_is_not_held_against_its_candidates)
{
    for (size_t at = 20; at < 80; at += 7) {
        fake_bench *f = row_of(40);
        f->sick_at = at;
        f->ms[3] = 0.5;
        tune_result *r = fake_search(f, (tune_plan){.budget_s = 100, .seed = 3});
        ck_assert_uint_eq(f->sick, 3);
        ck_assert(r->exhaustive);
        ck_assert_uint_eq(r->choice, 3);
        for (size_t i = 0; i < r->count; i++)
            ck_assert_int_eq(r->candidate[i].outcome, TUNE_CORRECT);
        ck_assert_uint_eq(f->last.failed[TUNE_RUNTIME], 0);
        fake_free(f);
    }
}
END_TEST

/* ---- Resuming ---- */

START_TEST(a_resumed_search_repeats_nothing)
{
    fake_bench *f = tiling(4, 0.05);
    tune_known known[512];
    size_t count = 0;
    settle(f, 4);
    for (size_t i = 0; i < tune_space_count(f->space); i++)
        if (i % 7 == 1 && i != f->control)
            f->outcome[i] = TUNE_TIMEOUT;
    tune_result *r = fake_search(f, (tune_plan){.budget_s = 40, .seed = 1});
    for (size_t i = 0; i < r->count; i++) {
        const tune_candidate *c = &r->candidate[i];
        known[count] = (tune_known){i, c->outcome, c->verified, c->samples, {0}};
        memcpy(known[count].ms, c->ms, sizeof c->ms);
        count += c->outcome != TUNE_UNTRIED && i != f->control;
        f->asked[i] = 0;
    }
    ck_assert_uint_gt(count, 50);
    tune_plan plan = {.budget_s = 1000, .known = known, .known_count = count, .seed = 2};
    r = fake_search(f, plan);
    ck_assert(r->exhaustive);
    for (size_t i = 0; i < count; i++) {
        size_t c = known[i].candidate;
        ck_assert_int_eq(r->candidate[c].outcome, known[i].outcome);
        ck_assert_uint_eq(f->asked[c] + known[i].samples, r->candidate[c].samples);
        ck_assert_mem_eq(r->candidate[c].ms, known[i].ms, known[i].samples * sizeof(double));
    }
    fake_free(f);
}
END_TEST

/* All is known, but not built: that the first round builds the finalists says nothing of the
 * others. */
START_TEST(a_search_that_resumes_into_its_finals_drops_nobody)
{
    fake_bench *f = row_of(16);
    tune_known known[16];
    f->build_s = 1;
    f->ms[7] = 0.9;
    for (size_t i = 0; i < 16; i++) {
        known[i] = (tune_known){i, TUNE_CORRECT, true, TUNE_SAMPLES, {0}};
        for (size_t k = 0; k < TUNE_SAMPLES; k++)
            known[i].ms[k] = i == 7 ? 0.99 : i < 5 ? 0.95 : 1; /* the slowest of the finalists */
    }
    const tune_plan plan = {.budget_s = 20, .known = known, .known_count = 16, .seed = 1};
    tune_result *r = fake_search(f, plan);
    ck_assert_int_eq(r->end, TUNE_DONE);
    ck_assert_uint_eq(r->choice, 7);
    for (size_t i = 0; i < r->count; i++)
        ck_assert_int_ne(r->candidate[i].fate, TUNE_FATE_CROWDED);
    fake_free(f);
}
END_TEST

/* Whoever had no rounds may be the fastest: without a choice, that is no result. */
START_TEST(the_default_is_no_result_while_a_finalist_waits)
{
    fake_bench *f = row_of(16);
    for (size_t i = 0; i < 16; i++)
        f->ms[i] = i ? 100 : 101;
    size_t crowded = 0, spent = 0;
    f->slow = 6; /* when the finals begin */
    f->slow_at = 16;
    for (double budget_s = 20; budget_s < 84; budget_s += 2) {
        const tune_result *r = fake_search(f, (tune_plan){.budget_s = budget_s, .seed = 1});
        bool waits = false;
        for (size_t i = 0; i < r->count; i++)
            waits |= r->candidate[i].fate == TUNE_FATE_CROWDED;
        crowded += waits && r->rounds >= 7;
        spent += r->end == TUNE_SPENT;
        ck_assert(!waits || r->end == TUNE_SPENT);
        f->clock = 0;
    }
    ck_assert_uint_gt(crowded, 0);
    ck_assert_uint_lt(spent, 32);
    fake_free(f);
}
END_TEST

START_TEST(a_wrong_one_that_is_known_as_fast_is_found_out)
{
    fake_bench *f = row_of(16);
    tune_known known[16];
    f->wrong[5] = true;
    f->ms[5] = 0.01;
    f->ms[6] = 0.5;
    for (size_t i = 0; i < 16; i++)
        known[i] = (tune_known){i, TUNE_CORRECT, false, 1, {f->ms[i]}};
    tune_result *r =
        fake_search(f, (tune_plan){.budget_s = 60, .known = known, .known_count = 16, .seed = 1});
    ck_assert_uint_eq(r->choice, 6);
    ck_assert_int_eq(r->candidate[5].outcome, TUNE_CORRECTNESS);
    fake_free(f);
}
END_TEST

START_TEST(a_plan_with_what_does_not_exist_is_refused)
{
    fake_bench *f = row_of(16);
    tune_bench bench = {.now = NULL};
    const size_t beyond = 16;
    const tune_known known = {.candidate = 17}, crowded = {.samples = TUNE_SAMPLES + 1};
    const tune_plan plans[] = {{.control = 17, .budget_s = 1},
                               {.control = 0, .budget_s = 0},
                               {.budget_s = 1, .seeds = &beyond, .seed_count = 1},
                               {.budget_s = 1, .known = &known, .known_count = 1},
                               {.budget_s = 1, .known = &crowded, .known_count = 1}};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        tune_plan plan = plans[i];
        plan.space = f->space;
        ck_assert_int_eq(tune_search(&plan, &bench, &f->result), EF_EARG);
    }
    fake_free(f);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tune_search");
    TCase *stats = ef_test_case(s, "stats"), *find = ef_test_case(s, "find"),
          *adopt = ef_test_case(s, "adopt"), *bounds = ef_test_case(s, "bounds"),
          *failures = ef_test_case(s, "failures");
    tcase_add_test(stats, medians_are_those_of_the_sorted);
    tcase_add_test(stats, the_bootstrap_is_that_of_many_resamples);
    tcase_add_test(stats, the_bootstrap_covers_what_it_says);
    tcase_add_test(find, the_fastest_is_found_when_there_is_time_for_all);
    tcase_add_test(find, a_small_share_of_the_time_gets_near_the_fastest);
    tcase_add_test(find, a_small_share_of_the_time_is_enough_to_finish);
    tcase_add_test(find, two_seeds_choose_alike);
    tcase_add_test(find, the_same_plan_and_answers_give_the_same_search);
    tcase_add_test(find, seeds_come_first);
    tcase_add_test(adopt, what_is_not_faster_by_the_margin_is_not_adopted);
    tcase_add_test(adopt, noise_is_not_adopted);
    tcase_add_test(adopt, what_is_much_faster_is_adopted_through_noise);
    tcase_add_test(adopt, of_two_as_fast_the_simpler_is_chosen);
    tcase_add_test(adopt, rounds_in_which_the_device_drifts_do_not_count);
    tcase_add_test(bounds, the_budget_is_kept);
    tcase_add_test(bounds, a_candidate_that_builds_for_ever_does_not_spend_all);
    tcase_add_test(bounds, a_candidate_that_builds_for_ever_comes_last_the_next_time);
    tcase_add_test(bounds, seeds_and_finals_have_their_time_in_any_budget);
    tcase_add_test(bounds, checks_leave_time_for_the_finals);
    tcase_add_test(bounds, the_default_is_no_result_where_nothing_else_was_tried);
    tcase_add_test(bounds, there_are_no_more_finalists_than_have_time);
    tcase_add_test(bounds, a_machine_that_becomes_slower_costs_rounds_not_the_result);
    tcase_add_test(bounds, the_fastest_go_on_as_they_are_when_the_time_is_up);
    tcase_add_test(bounds, who_goes_on_as_it_is_has_reached_the_stage);
    tcase_add_test(bounds, a_candidate_that_is_left_alone_has_the_time_of_five);
    tcase_add_test(bounds, what_fails_does_not_tell_what_a_call_takes);
    tcase_add_test(bounds, a_flag_ends_the_search_at_any_call);
    tcase_add_test(failures, failures_of_every_kind_are_survived);
    tcase_add_test(failures, a_wrong_one_is_neither_chosen_nor_in_the_way);
    tcase_add_test(failures, the_winner_is_checked_again);
    tcase_add_test(failures, a_finalist_that_fails_leaves_the_others);
    tcase_add_test(failures, without_a_default_that_runs_there_is_no_search);
    tcase_add_test(failures, a_sick_device_is_not_held_against_its_candidates);
    tcase_add_test(failures, a_resumed_search_repeats_nothing);
    tcase_add_test(failures, a_search_that_resumes_into_its_finals_drops_nobody);
    tcase_add_test(failures, the_default_is_no_result_while_a_finalist_waits);
    tcase_add_test(failures, a_wrong_one_that_is_known_as_fast_is_found_out);
    tcase_add_test(failures, a_plan_with_what_does_not_exist_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
