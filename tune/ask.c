/* What a search asks its bench, and what the answers do to the candidates. */
#include "search_internal.h"
#include <string.h>

bool tune__halted(tune__search *s)
{
    if (s->result->end == TUNE_DONE && s->plan->stop && *s->plan->stop)
        s->result->end = TUNE_STOPPED;
    return s->result->end != TUNE_DONE;
}

double tune__spent(const tune__search *s)
{
    return s->bench->now(s->bench->user) - s->start;
}

double tune__left(const tune__search *s)
{
    double left = s->until - tune__spent(s);
    return s->late || left < 0 ? 0 : left;
}

void tune__begin(tune__search *s, double later)
{
    s->until = s->budget_s - later;
    s->late = false;
}

bool tune__alive(const tune__search *s, size_t candidate)
{
    return s->candidate[candidate].outcome == TUNE_CORRECT;
}

/* A run may be slow, but not so slow that nothing else gets its turn. */
static tune_limit limit(const tune__search *s)
{
    const double least_s = 2, times_best = 50;
    double run_s = times_best * s->progress.best_ms * 1e-3;
    return (tune_limit){run_s > least_s ? run_s : least_s, tune__left(s)};
}

/* ---- Answers ---- */

static void lead(tune__search *s, size_t candidate)
{
    s->progress.best = candidate;
    s->progress.best_ms = s->candidate[candidate].median_ms;
}

static void find_best(tune__search *s)
{
    s->progress.best_ms = 0;
    for (size_t i = 0; i < s->result->count; i++)
        if (tune__alive(s, i) && s->candidate[i].samples > 0 &&
            (s->progress.best_ms == 0 || s->candidate[i].median_ms < s->progress.best_ms))
            lead(s, i);
}

static void add(tune__search *s, size_t candidate, double ms)
{
    tune_candidate *c = &s->candidate[candidate];
    double sorted[TUNE_SAMPLES];
    if (c->samples < TUNE_SAMPLES)
        c->ms[c->samples++] = ms;
    memcpy(sorted, c->ms, sizeof sorted);
    c->median_ms = tune_median(sorted, c->samples);
    c->mad_ms = tune_mad(sorted, c->samples);
    if (candidate == s->plan->control)
        s->progress.control_ms = c->median_ms;
    if (s->progress.best_ms == 0 || c->median_ms < s->progress.best_ms)
        lead(s, candidate);
    else if (candidate == s->progress.best)
        find_best(s);
}

static void set_outcome(tune__search *s, size_t candidate, tune_outcome outcome)
{
    tune_candidate *c = &s->candidate[candidate];
    if (candidate < s->points) {
        s->untried -= c->outcome == TUNE_UNTRIED;
        s->untried += outcome == TUNE_UNTRIED;
        s->alive -= c->outcome == TUNE_CORRECT;
        s->alive += outcome == TUNE_CORRECT;
    }
    if (c->fate == TUNE_FATE_FAILED)
        s->progress.failed[c->outcome]--;
    c->outcome = outcome;
    c->fate = outcome == TUNE_UNTRIED   ? TUNE_FATE_UNSEEN
              : outcome == TUNE_CORRECT ? TUNE_FATE_WAITING
                                        : TUNE_FATE_FAILED;
    if (c->fate == TUNE_FATE_FAILED)
        s->progress.failed[outcome]++;
    if (candidate == s->progress.best && outcome != TUNE_CORRECT)
        find_best(s);
}

void tune__recall(tune__search *s, const tune_known *known)
{
    if (known->candidate == s->plan->control && known->outcome != TUNE_CORRECT)
        return; /* without a default there is no search: it gets another chance */
    if (known->outcome == TUNE_LATE) {
        s->candidate[known->candidate].late = true;
        return;
    }
    set_outcome(s, known->candidate, known->outcome);
    s->candidate[known->candidate].verified = known->verified;
    for (size_t i = 0; i < known->samples; i++)
        add(s, known->candidate, known->ms[i]);
}

static void forget(tune__search *s)
{
    enum { MOST = 3 };
    size_t n = s->failures < TUNE__FAILING ? s->failures : TUNE__FAILING;
    for (size_t i = 0; i < n; i++) {
        size_t c = s->failing[i];
        set_outcome(s, c, s->candidate[c].samples ? TUNE_CORRECT : TUNE_UNTRIED);
    }
    s->failures = s->next = 0;
    if (++s->sick > MOST) /* a bench that never gives up */
        s->result->end = TUNE_LOST;
}

static bool answer(tune__search *s, size_t candidate, tune_outcome outcome)
{
    if (outcome == TUNE_CORRECT) {
        s->failures = 0;
        set_outcome(s, candidate, TUNE_CORRECT);
        return true;
    }
    if (outcome == TUNE_GONE)
        s->result->end = TUNE_LOST;
    else if (outcome == TUNE_SICK)
        forget(s);
    else if (outcome == TUNE_LATE)
        s->late = s->candidate[candidate].late = true;
    else {
        set_outcome(s, candidate, outcome);
        s->failing[s->failures++ % TUNE__FAILING] = candidate;
        if (candidate == s->plan->control)
            s->result->end = TUNE_CONTROL_FAILED;
    }
    return false;
}

/* ---- Questions ---- */

/* The mean of the first; from then on it follows the last few. Only of calls that were answered:
 * what failed or was cut short took what it took. */
static void learn(tune__cost *cost, double seconds)
{
    enum { FEW = 3 };
    cost->calls += cost->calls < FEW;
    cost->seconds += (seconds - cost->seconds) / (double)cost->calls;
}

bool tune__sample(tune__search *s, size_t candidate)
{
    double ms = 0, began = tune__spent(s);
    if (tune__halted(s) ||
        !answer(s, candidate, s->bench->sample(s->bench->user, candidate, limit(s), &ms)))
        return false;
    if (s->built[candidate])
        learn(&s->sample, tune__spent(s) - began);
    s->built[candidate] = true;
    add(s, candidate, ms);
    return true;
}

bool tune__verify(tune__search *s, size_t candidate)
{
    if (tune__halted(s))
        return false;
    double began = tune__spent(s);
    bool fine = !s->bench->verify ||
                answer(s, candidate, s->bench->verify(s->bench->user, candidate, limit(s)));
    if (fine)
        learn(&s->verify, tune__spent(s) - began);
    return s->candidate[candidate].verified = fine;
}

bool tune__round(tune__search *s, const size_t *candidates, size_t count, double *ms)
{
    size_t failed = 0, unbuilt = 0;
    double began = tune__spent(s);
    if (tune__halted(s))
        return false;
    tune_outcome outcome =
        s->bench->round(s->bench->user, candidates, count, limit(s), ms, &failed);
    if (!answer(s, candidates[failed], outcome))
        return false;
    for (size_t i = 0; i < count; i++) {
        unbuilt += !s->built[candidates[i]];
        s->built[candidates[i]] = true;
    }
    if (!unbuilt)
        learn(&s->entry, (tune__spent(s) - began) / (double)count);
    return true;
}

double tune__warming_s(const tune__search *s)
{
    const double most_s = 2, share = 0.05;
    double most = share * s->plan->budget_s;
    return most < most_s ? most : most_s;
}

void tune__warm(tune__search *s)
{
    enum { STEADY = 5 };
    const double within = 1.03, most = tune__warming_s(s);
    double last[STEADY], began = tune__spent(s);
    for (size_t n = 0; tune__spent(s) - began < most; n++) {
        double ms = 0;
        size_t c = s->plan->control;
        if (tune__halted(s) || !answer(s, c, s->bench->sample(s->bench->user, c, limit(s), &ms)))
            return;
        if (s->first_s == 0)
            s->first_s = tune__spent(s) - began;
        s->built[c] = true;
        last[n % STEADY] = ms;
        double low = ms, high = ms;
        for (size_t i = 0; i < STEADY && n + 1 >= STEADY; i++) {
            low = last[i] < low ? last[i] : low;
            high = last[i] > high ? last[i] : high;
        }
        if (n + 1 >= STEADY && high <= within * low)
            break;
    }
}

void tune__report(tune__search *s, tune_stage stage, size_t done, size_t total)
{
    if (!s->bench->progress)
        return;
    s->progress.stage = stage;
    s->progress.done = done;
    s->progress.total = total;
    s->progress.spent_s = tune__spent(s);
    s->bench->progress(s->bench->user, &s->progress);
}
