/* S3: who is surely faster than the default, and of those, which? Every round times all finalists
 * in an order of its own, between two times of the default. What both have in common, a slower
 * clock or a warmer chip, is in neither's ratio; where the two times of the default differ, the
 * device changed in the middle of the round and the round does not count. */
#include "search_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct rounds {
    size_t who[TUNE_FINALISTS], count;
    double *ratio[TUNE_FINALISTS]; /* [rounds] of who[i] to the default, in each round */
    double *scratch;               /* [rounds] */
    double *memory;                /* of all of these */
    size_t done;
} rounds;

/* So many rounds may be discarded; those after them count, however the device drifts. */
static size_t discards(const tune__search *s)
{
    return s->rounds / 2;
}

/* Where the time ends, fewer rounds do. */
static size_t least_rounds(const tune__search *s)
{
    enum { LEAST = 7 };
    return s->rounds < LEAST ? s->rounds : LEAST;
}

static double rounds_s(const tune__search *s, size_t candidates, bool need)
{
    const size_t times = need ? least_rounds(s) : s->rounds + discards(s);
    return s->entry.seconds * (double)((candidates + 2) * times);
}

static double confirm_s(const tune__search *s, bool need)
{
    return s->verify.seconds + rounds_s(s, 1, need);
}

double tune__finals_s(const tune__search *s, bool need)
{
    const double slack = need ? 1.5 : 1;
    return tune__warming_s(s) + slack * (rounds_s(s, s->finalists, need) + confirm_s(s, need));
}

/* ---- Rounds ---- */

static tune_interval interval(const rounds *r, size_t i)
{
    const double doubt = 0.05;
    memcpy(r->scratch, r->ratio[i], r->done * sizeof *r->scratch);
    return tune_bootstrap(r->scratch, r->done, 1 - doubt / (double)r->count);
}

static void report(tune__search *s, const rounds *r, tune_stage stage)
{
    if (!s->bench->progress)
        return;
    s->progress.ratio = (tune_interval){0};
    for (size_t i = 0; i < r->count && r->done > 0; i++) {
        tune_interval now = interval(r, i);
        if (i == 0 || now.median < s->progress.ratio.median)
            s->progress.ratio = now;
    }
    tune__report(s, stage, r->done, s->rounds);
}

static void drop(rounds *r, size_t i)
{
    double *row = r->ratio[i];
    r->count--;
    r->who[i] = r->who[r->count];
    r->ratio[i] = r->ratio[r->count];
    r->ratio[r->count] = row;
}

/* The slowest leave, whose place comes last, when the seconds do not suffice for all. */
static void make_room(tune__search *s, rounds *r, double place_s)
{
    while (r->count > 1 && r->done < least_rounds(s) &&
           place_s * (double)(r->count + 2) * (double)(least_rounds(s) - r->done) > tune__left(s)) {
        r->count--;
        s->candidate[r->who[r->count]].fate = TUNE_FATE_CROWDED;
    }
}

/* One round, if it is finished and counts. */
static void one_round(tune__search *s, rounds *r, size_t *discarded)
{
    const double drift = 0.05;
    size_t order[TUNE_FINALISTS + 2], place[TUNE_FINALISTS] = {0}, last = r->count + 1;
    double ms[TUNE_FINALISTS + 2];
    order[0] = order[last] = s->plan->control;
    for (size_t i = 0; i < r->count; i++) {
        size_t j = ef__rng_below(&s->rng, i + 1);
        place[i] = place[j];
        place[j] = i;
    }
    for (size_t i = 0; i < r->count; i++)
        order[1 + i] = r->who[place[i]];
    if (!tune__round(s, order, r->count + 2, ms)) {
        for (size_t i = r->count; i-- > 0;)
            if (!tune__alive(s, r->who[i]))
                drop(r, i);
        return;
    }
    double control = (ms[0] + ms[last]) / 2;
    if (fabs(ms[0] - ms[last]) > drift * fmin(ms[0], ms[last]) && *discarded < discards(s)) {
        ++*discarded;
        return;
    }
    for (size_t i = 0; i < r->count; i++)
        r->ratio[place[i]][r->done] = ms[1 + i] / control;
    r->done++;
}

/* All rounds, or as many as leave time for what follows the finals; false: too few. */
static bool run(tune__search *s, rounds *r, tune_stage stage)
{
    const bool last = stage == TUNE_CONFIRM;
    const double slack = 1.5;
    size_t discarded = 0;
    tune__begin(s, last ? 0 : slack * confirm_s(s, true));
    r->done = 0;
    for (size_t i = 0; i < r->count; i++)
        s->candidate[r->who[i]].stage = stage;
    double place_s = INFINITY;
    bool first = true;
    while (r->done < s->rounds && r->count > 0 && !tune__halted(s) && tune__left(s) > 0) {
        double before = tune__spent(s), places = (double)(r->count + 2);
        one_round(s, r, &discarded);
        if (!first) { /* which may have to build what an earlier run has built */
            place_s = fmin(place_s, (tune__spent(s) - before) / places);
            make_room(s, r, place_s);
        }
        if (!last)
            s->until = s->budget_s - slack * confirm_s(s, r->done < least_rounds(s));
        first = false;
        report(s, r, stage);
    }
    s->result->rounds += r->done;
    s->result->discarded += discarded;
    return r->done >= least_rounds(s) && !tune__halted(s);
}

/* ---- Choosing ---- */

static bool sure(const tune__search *s, tune_interval ratio)
{
    return ratio.high < 1 - s->margin;
}

static double complexity(const tune__search *s, size_t candidate)
{
    return s->bench->complexity ? s->bench->complexity(s->bench->user, candidate) : 0;
}

static bool simpler(const tune__search *s, size_t a, size_t b)
{
    double x = complexity(s, a), y = complexity(s, b);
    return x != y ? x < y : a < b;
}

/* The median over the rounds of one finalist's time over another's. */
static double against(const rounds *r, size_t i, size_t other)
{
    for (size_t k = 0; k < r->done; k++)
        r->scratch[k] = r->ratio[i][k] / r->ratio[other][k];
    return tune_median(r->scratch, r->done);
}

/* The simplest of those that are as fast as the fastest; r->count: none is surely faster than the
 * default. Who is left out of open[] does not count. */
static size_t choose(tune__search *s, const rounds *r, const bool *open)
{
    const double as_fast = 1.01;
    size_t fastest = r->count, chosen = r->count;
    for (size_t i = 0; i < r->count; i++)
        if (open[i] && (fastest == r->count || s->candidate[r->who[i]].ratio.median <
                                                   s->candidate[r->who[fastest]].ratio.median))
            fastest = i;
    for (size_t i = 0; i < r->count; i++) {
        if (!open[i])
            continue;
        bool tied = against(r, i, fastest) <= as_fast;
        s->candidate[r->who[i]].fate = tied ? TUNE_FATE_TIED : TUNE_FATE_BEATEN;
        if (tied && (chosen == r->count || simpler(s, r->who[i], r->who[chosen])))
            chosen = i;
    }
    return chosen;
}

/* The choice was found by looking at many, and luck had its share in it. Rounds of its own, after
 * another look at its results, tell what it is really worth. */
static bool confirmed(tune__search *s, rounds *own, size_t candidate)
{
    tune_candidate *c = &s->candidate[candidate];
    own->who[0] = candidate;
    own->count = 1;
    tune__begin(s, 0);
    if (!tune__verify(s, candidate) || !run(s, own, TUNE_CONFIRM)) {
        c->fate = tune__alive(s, candidate) ? TUNE_FATE_CROWDED : c->fate;
        return false;
    }
    s->result->ratio = c->ratio = interval(own, 0);
    c->rounds = own->done;
    c->fate = sure(s, s->result->ratio) ? TUNE_FATE_CHOSEN : TUNE_FATE_UNCONFIRMED;
    return c->fate == TUNE_FATE_CHOSEN;
}

/* false: the time was up. */
static bool adopt(tune__search *s, const rounds *finals, rounds *own)
{
    bool open[TUNE_FINALISTS];
    size_t winner;
    for (size_t i = 0; i < finals->count; i++) {
        tune_candidate *c = &s->candidate[finals->who[i]];
        c->ratio = interval(finals, i);
        c->rounds = finals->done;
        c->fate = TUNE_FATE_UNSURE;
        open[i] = sure(s, c->ratio);
    }
    while ((winner = choose(s, finals, open)) < finals->count) {
        size_t candidate = finals->who[winner];
        if (confirmed(s, own, candidate)) {
            s->result->adopted = true;
            s->result->choice = candidate;
            return true;
        }
        if (tune__halted(s) || s->candidate[candidate].fate == TUNE_FATE_CROWDED)
            return false;
        s->result->ratio = (tune_interval){0};
        open[winner] = false;
    }
    return true;
}

static bool take(rounds *r, size_t count)
{
    r->memory = calloc((TUNE_FINALISTS + 1) * count, sizeof *r->memory);
    if (!r->memory)
        return false;
    for (size_t i = 0; i < TUNE_FINALISTS; i++)
        r->ratio[i] = r->memory + i * count;
    r->scratch = r->memory + TUNE_FINALISTS * count;
    return true;
}

/* A finalist that did not get its rounds may be faster than the default. */
static bool is_crowded(const tune__search *s, const size_t *finalists, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (s->candidate[finalists[i]].fate == TUNE_FATE_CROWDED)
            return true;
    return false;
}

ef_status tune__finals(tune__search *s, const size_t *finalists, size_t count, bool *finished)
{
    rounds finals = {.count = count}, own = {0};
    bool room = take(&finals, s->rounds) && take(&own, s->rounds);
    if (room) {
        memcpy(finals.who, finalists, count * sizeof *finalists);
        for (size_t i = 0; i < count; i++)
            s->candidate[finalists[i]].fate = TUNE_FATE_CROWDED;
        tune__warm(s);
        *finished = (run(s, &finals, TUNE_FINALS) || finals.count == 0) &&
                    adopt(s, &finals, &own) &&
                    (s->result->adopted || !is_crowded(s, finalists, count));
    }
    free(finals.memory);
    free(own.memory);
    return room ? EF_OK : EF_ENOMEM;
}
