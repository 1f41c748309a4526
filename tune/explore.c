/* S0: which candidate to sample next. First the caller's seeds, then some at random. From then on
 * all that are left, in random order, whenever the time suffices for all of them; while it does
 * not, the one of which the model hopes most. Those that were cut short once come last: one that
 * hangs keeps nobody from his turn again. */
#include "search_internal.h"
#include <math.h>

static bool untried(const tune__search *s, size_t candidate)
{
    return s->candidate[candidate].outcome == TUNE_UNTRIED && !s->candidate[candidate].late;
}

static bool seed(const tune__search *s, size_t *candidate)
{
    for (size_t i = 0; i < s->plan->seed_count; i++) {
        *candidate = s->plan->seeds[i];
        if (untried(s, *candidate))
            return true;
    }
    return false;
}

static bool in_order(tune__search *s, size_t *candidate)
{
    while (s->next < s->points && !untried(s, s->order[s->next]))
        s->next++;
    if (s->next < s->points)
        *candidate = s->order[s->next];
    return s->next < s->points;
}

/* A tenth of all, or of what the time is enough for, whichever is less. */
static bool more_at_random(const tune__search *s)
{
    const double share = 0.1, of_time = 1.0 / 3;
    enum { LEAST = 4 };
    double spent = tune__spent(s) - s->explored_at;
    return s->sampled < LEAST || ((double)(s->points - s->untried) < share * (double)s->points &&
                                  spent < of_time * (spent + tune__left(s)));
}

static bool time_for_all(const tune__search *s)
{
    double spent = tune__spent(s) - s->explored_at;
    return (double)s->untried * spent / (double)s->sampled <= tune__left(s);
}

/* ---- The model's proposal ---- */

/* Insert a point into the fastest[n] so far, ascending; returns the new n. */
static size_t insert(const tune__search *s, size_t *fastest, size_t n, size_t point)
{
    double ms = s->candidate[point].median_ms;
    size_t i = n < TUNE_MODEL_POINTS ? n : n - 1;
    if (n == TUNE_MODEL_POINTS && s->candidate[fastest[n - 1]].median_ms <= ms)
        return n;
    for (; i > 0 && s->candidate[fastest[i - 1]].median_ms > ms; i--)
        fastest[i] = fastest[i - 1];
    fastest[i] = point;
    return n < TUNE_MODEL_POINTS ? n + 1 : n;
}

/* Teach the model the fastest, and, in the room that is left, those that failed: as slow as the
 * slowest. Returns the fastest; points: none is known. */
static size_t teach(tune__search *s)
{
    size_t known[TUNE_MODEL_POINTS], n = 0, slowest;
    double ms[TUNE_MODEL_POINTS];
    for (size_t i = 0; i < s->points; i++)
        if (tune__alive(s, i))
            n = insert(s, known, n, i);
    if (n == 0)
        return s->points;
    slowest = known[n - 1];
    for (size_t i = 0; i < s->points && n < TUNE_MODEL_POINTS; i++)
        if (s->candidate[i].fate == TUNE_FATE_FAILED)
            known[n++] = i;
    for (size_t i = 0; i < n; i++)
        ms[i] = s->candidate[tune__alive(s, known[i]) ? known[i] : slowest].median_ms;
    tune_model_fit(s->model, known, ms, n);
    return known[0];
}

static void hope(const tune__search *s, size_t point, double *most, size_t *candidate)
{
    double h = untried(s, point) ? tune_model_hope(s->model, point) : *most;
    if (h < *most) {
        *most = h;
        *candidate = point;
    }
}

/* The best of the fastest's neighbours and of a stretch of the others, in their random order: all
 * of them in a space that is small. */
static bool propose(tune__search *s, size_t *candidate)
{
    enum { STRETCH = 512 };
    size_t fastest = teach(s), near[TUNE_NEIGHBOURS], n, seen = 0;
    double most = INFINITY;
    if (fastest == s->points || !in_order(s, candidate))
        return in_order(s, candidate);
    n = tune_space_neighbours(s->plan->space, fastest, near);
    for (size_t i = 0; i < n; i++)
        hope(s, near[i], &most, candidate);
    for (size_t i = s->next; i < s->points && seen < STRETCH; i++, seen++)
        hope(s, s->order[i], &most, candidate);
    return true;
}

static bool late(const tune__search *s, size_t *candidate)
{
    for (*candidate = 0; *candidate < s->points; ++*candidate)
        if (s->candidate[*candidate].outcome == TUNE_UNTRIED)
            return true;
    return false;
}

bool tune__next(tune__search *s, size_t *candidate)
{
    if (seed(s, candidate))
        return true;
    if (more_at_random(s) || time_for_all(s) ? in_order(s, candidate) : propose(s, candidate))
        return true;
    return late(s, candidate);
}
