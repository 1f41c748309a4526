/* Checking a database's choices again, after an update of a driver for example. */
#include "check.h"
#include "base/clock.h"
#include "base/error.h"
#include <stdio.h>
#include <string.h>

enum { ROUNDS = 15 };
static const double confidence = 0.95, patience_s = 60;

/* ---- the record ---- */

typedef struct search {
    const tune_session *session;
    size_t option; /* that the record names; count: none that is there now */
    bool found, is_default;
    bool is_open; /* it needs a new search, whatever is found here */
    char variant[64];
    size_t tried;
    double seconds; /* of the search that chose it */
} search;

static bool names(const tune_option *o, const char *variant, json_t *knobs)
{
    return !strcmp(o->variant, variant) && json_equal(o->knobs, knobs);
}

static bool see(void *user, json_t *line)
{
    search *f = user;
    const tune_session *s = f->session;
    const char *variant = json_string_value(json_object_get(line, "variant"));
    if (!variant || !tune_database_is_of(line, &s->target, s->device.accuracy))
        return true;
    f->found = true;
    f->is_default = !strcmp(variant, "default");
    snprintf(f->variant, sizeof f->variant, "%s", variant);
    const char *identity = json_string_value(json_object_get(line, "identity"));
    f->is_open = identity && !*identity;
    f->tried = (size_t)json_integer_value(json_object_get(line, "tried"));
    f->seconds = json_number_value(json_object_get(line, "seconds"));
    while (f->option < s->count &&
           !names(&s->options[f->option], variant, json_object_get(line, "knobs")))
        f->option++;
    return false;
}

/* ---- rounds of both, each first in every other ---- */

typedef struct times {
    double ratio[ROUNDS], own[ROUNDS], base[ROUNDS];
} times;

typedef struct check {
    tune_session *session;
    double end_s;
    const volatile sig_atomic_t *stop; /* may be NULL */
    times t;
} check;

static tune_limit limit_of(const check *c)
{
    return (tune_limit){patience_s, c->end_s - ef__now()};
}

static bool is_over(const check *c)
{
    return (c->stop && *c->stop) || c->end_s <= ef__now();
}

static tune_outcome verify(check *c, size_t option)
{
    return is_over(c) ? TUNE_LATE : tune_session_verify(c->session, option, limit_of(c));
}

/* Of the default and another option, or of the default alone. */
static tune_outcome time_rounds(check *c, size_t option)
{
    tune_session *s = c->session;
    const size_t last = option == s->untuned ? 0 : 1;
    for (size_t r = 0; r < ROUNDS; r++) {
        const size_t own = r % 2 ? 0 : last, base = last - own;
        const size_t list[] = {own ? s->untuned : option, own ? option : s->untuned};
        double ms[2];
        size_t failed;
        if (is_over(c))
            return TUNE_LATE;
        tune_outcome outcome = tune_session_round(s, list, last + 1, limit_of(c), ms, &failed);
        if (outcome != TUNE_CORRECT)
            return outcome;
        c->t.own[r] = ms[own];
        c->t.base[r] = ms[base];
        c->t.ratio[r] = ms[own] / ms[base];
    }
    return TUNE_CORRECT;
}

/* ---- what becomes of it ---- */

/* An outcome that says nothing against any choice. */
static bool is_no_answer(tune_outcome outcome)
{
    return outcome == TUNE_LATE || outcome == TUNE_SICK || outcome == TUNE_GONE;
}

static void leave(const check *c, tune_verdict *v, tune_outcome outcome)
{
    v->end = TUNE_UNCHECKED;
    v->why = outcome != TUNE_LATE  ? "the device did not answer as it should"
             : c->stop && *c->stop ? "interrupted"
                                   : "the time was up";
}

/* The choice is verified, then timed; what fails in the rounds may be the default, which is seen
 * behind this. */
static void judge(check *c, size_t option, tune_verdict *v)
{
    tune_session *s = c->session;
    v->end = TUNE_GIVEN_UP;
    v->why = "no such choice any more";
    if (option == s->count)
        return;
    strcpy(v->choice, s->options[option].text);
    tune_outcome outcome = verify(c, option);
    if (outcome == TUNE_CORRECT)
        outcome = time_rounds(c, option);
    v->why = tune_outcome_text(outcome);
    if (is_no_answer(outcome)) {
        leave(c, v, outcome);
    } else if (outcome == TUNE_CORRECT) {
        v->ratio = tune_bootstrap(c->t.ratio, ROUNDS, confidence);
        v->end = v->ratio.high < 1 ? TUNE_KEPT : TUNE_GIVEN_UP;
        v->why = v->ratio.high < 1 ? NULL : "not surely faster than the default any more";
    }
}

/* What is to be the choice from now on has to be right, too. One that failed in the rounds fails
 * here again. */
static void judge_default(check *c, tune_verdict *v)
{
    tune_session *s = c->session;
    tune_outcome outcome = verify(c, s->untuned);
    if (outcome == TUNE_CORRECT && v->ratio.high == 0)
        outcome = time_rounds(c, s->untuned);
    if (is_no_answer(outcome)) {
        leave(c, v, outcome);
    } else if (outcome != TUNE_CORRECT) {
        v->end = TUNE_NO_DEFAULT;
        v->why = s->options[s->untuned].why;
    }
}

static ef_status write_down(check *c, const char *db, const search *f, const tune_verdict *v)
{
    tune_session *s = c->session;
    const bool adopted = v->end == TUNE_KEPT;
    const tune_option *o = &s->options[adopted ? f->option : s->untuned];
    char identity[EF__SHA256_HEX];
    tune_session_identity(s, &s->target, identity);
    const tune_record record = {.target = s->target,
                                .variant = adopted ? o->variant : NULL,
                                .knobs = o->knobs,
                                .source = s->source,
                                .identity = f->is_open ? "" : identity,
                                .ms = tune_median(adopted ? c->t.own : c->t.base, ROUNDS),
                                .base_ms = tune_median(c->t.base, ROUNDS),
                                .low = adopted ? v->ratio.low : 1,
                                .high = adopted ? v->ratio.high : 1,
                                .worst = o->worst,
                                .tried = f->tried,
                                .of = s->count,
                                .seconds = f->seconds};
    return tune_database_put(db, &s->device, &record, 1, &s->error);
}

ef_status tune_check(tune_session *s, const char *db, double end_s,
                     const volatile sig_atomic_t *stop, tune_verdict *v)
{
    check c = {.session = s, .end_s = end_s, .stop = stop};
    search f = {.session = s};
    ef_status status = tune_database_read(db, see, &f, &s->error);
    *v = (tune_verdict){.end = TUNE_DEFAULT};
    if (status)
        return status;
    if (!f.found)
        return ef__error_set(&s->error, EF_EFORMAT, 0, NULL, "%s: has no %s any more", db,
                             s->shape);
    snprintf(v->choice, sizeof v->choice, "%s", f.variant);
    if (!f.is_default)
        judge(&c, f.option, v);
    if (v->end == TUNE_DEFAULT || v->end == TUNE_GIVEN_UP)
        judge_default(&c, v);
    if (s->error.status)
        return s->error.status;
    return v->end == TUNE_UNCHECKED || v->end == TUNE_NO_DEFAULT ? EF_OK
                                                                 : write_down(&c, db, &f, v);
}
