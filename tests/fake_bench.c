#include "fake_bench.h"
#include "ef_test.h"
#include <math.h>
#include <stdlib.h>

fake_bench *fake_new(const tune_part *parts, size_t count,
                     bool (*valid)(const void *user, const tune_point *point))
{
    fake_bench *f = ef_test_alloc(sizeof *f);
    f->space = tune_space_new(parts, count, valid, NULL);
    size_t n = tune_space_count(f->space) + 1;
    f->ms = ef_test_doubles(n);
    f->outcome = ef_test_alloc(n * sizeof *f->outcome);
    f->wrong = ef_test_alloc(n * sizeof *f->wrong);
    f->complexity = ef_test_doubles(n);
    f->checked = ef_test_alloc(n * sizeof *f->checked);
    f->asked = ef_test_alloc(n * sizeof *f->asked);
    f->built = ef_test_alloc(n * sizeof *f->built);
    for (size_t i = 0; i < n; i++)
        f->ms[i] = 1;
    f->build_s = 0.3;
    f->check_s = 0.02;
    return f;
}

void fake_free(fake_bench *f)
{
    tune_result_free(&f->result);
    tune_space_free(f->space);
}

static double noisy(fake_bench *f, double ms)
{
    double radius = sqrt(-2 * log(1 - ef__rng_uniform(&f->rng)));
    double normal = radius * cos(6.283185307179586 * ef__rng_uniform(&f->rng));
    return ms * exp(f->noise * normal) * (ef__rng_uniform(&f->rng) < f->spikes ? 3 : 1);
}

/* What every call does; TUNE_CORRECT: it may go on. */
static tune_outcome call(fake_bench *f)
{
    f->calls++;
    if (f->calls == f->stop_at)
        f->stop = 1;
    return f->gone_at && f->calls >= f->gone_at ? TUNE_GONE : TUNE_CORRECT;
}

static tune_outcome spend(fake_bench *f, double s, double limit_s, tune_outcome past)
{
    if (f->slow > 0 && f->clock >= f->slow_at)
        s *= f->slow;
    f->clock += s < limit_s ? s : limit_s;
    return s < limit_s ? TUNE_CORRECT : past;
}

/* A device that is sick fails all until, three failures later, it is found out. */
static tune_outcome sick(fake_bench *f)
{
    if (!f->sick_at || f->calls < f->sick_at)
        return TUNE_CORRECT;
    if (++f->sick < 3)
        return TUNE_RUNTIME;
    f->sick_at = 0;
    return TUNE_SICK;
}

static tune_outcome sample(void *user, size_t c, tune_limit limit, double *ms)
{
    fake_bench *f = user;
    tune_outcome outcome = call(f);
    if (outcome == TUNE_GONE)
        return outcome;
    f->asked[c]++;
    double build_s = f->call_s + (f->built[c] ? 0 : f->build_s);
    if (f->slow_build && c == f->slow_build)
        build_s = 86400;
    f->built[c] = true;
    outcome = spend(f, build_s, limit.left_s, TUNE_LATE);
    if (outcome == TUNE_CORRECT)
        outcome = sick(f);
    if (outcome == TUNE_CORRECT && f->outcome[c])
        outcome = f->outcome[c];
    if (outcome != TUNE_CORRECT)
        return outcome;
    *ms = noisy(f, f->ms[c]);
    limit.left_s -= build_s;
    return limit.run_s < limit.left_s ? spend(f, *ms * 1e-3, limit.run_s, TUNE_TIMEOUT)
                                      : spend(f, *ms * 1e-3, limit.left_s, TUNE_LATE);
}

static tune_outcome verify(void *user, size_t c, tune_limit limit)
{
    fake_bench *f = user;
    tune_outcome outcome = call(f);
    bool wrong = f->wrong[c] || (f->flaky && c == f->flaky && f->checked[c] > 0);
    f->checked[c]++;
    if (outcome == TUNE_CORRECT)
        outcome =
            spend(f, f->call_s + f->check_s + (wrong ? f->fail_s : 0), limit.left_s, TUNE_LATE);
    return outcome == TUNE_CORRECT && wrong ? TUNE_CORRECTNESS : outcome;
}

/* What is not built is; then as many calls as last 5 ms. */
static tune_outcome time_round(void *user, const size_t *c, size_t count, tune_limit limit,
                               double *ms, size_t *failed)
{
    fake_bench *f = user;
    tune_outcome outcome = call(f);
    bool slower = ef__rng_uniform(&f->rng) < f->drift;
    if (outcome == TUNE_CORRECT)
        outcome = spend(f, f->call_s, limit.left_s, TUNE_LATE);
    limit.left_s -= f->call_s;
    for (size_t i = 0; i < count && outcome == TUNE_CORRECT; i++) {
        if (f->fragile && c[i] == f->fragile && ++f->rounds == 3) {
            *failed = i;
            outcome = spend(f, f->fail_s, limit.left_s, TUNE_LATE);
            return outcome == TUNE_CORRECT ? TUNE_RUNTIME : outcome;
        }
        if (!f->built[c[i]]) {
            outcome = spend(f, f->build_s, limit.left_s, TUNE_LATE);
            limit.left_s -= f->build_s;
        }
        f->built[c[i]] = true;
        if (outcome != TUNE_CORRECT)
            return outcome;
        double now = f->ms[c[i]] * (slower && i >= count / 2 ? 2 : 1);
        ms[i] = noisy(f, now);
        double s = 1e-3 * ms[i] * ceil(5 / now);
        outcome = spend(f, s, limit.left_s, TUNE_LATE);
        limit.left_s -= s;
    }
    return outcome;
}

static double now(void *user)
{
    fake_bench *f = user;
    return f->clock;
}

static void progress(void *user, const tune_progress *p)
{
    fake_bench *f = user;
    f->last = *p;
}

static double complexity(void *user, size_t c)
{
    fake_bench *f = user;
    return f->complexity[c];
}

tune_result *fake_search(fake_bench *f, tune_plan plan)
{
    const tune_bench bench = {f, sample, verify, time_round, now, progress, complexity};
    tune_result_free(&f->result);
    plan.space = f->space;
    plan.control = f->control;
    plan.stop = &f->stop;
    for (size_t i = 0; i <= tune_space_count(f->space); i++)
        f->built[i] = false;
    ck_assert_int_eq(tune_search(&plan, &bench, &f->result), EF_OK);
    return &f->result;
}

size_t fake_fastest(const fake_bench *f)
{
    size_t best = 0;
    for (size_t i = 1; i < tune_space_count(f->space); i++)
        if (f->ms[i] < f->ms[best])
            best = i;
    return best;
}
