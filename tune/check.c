/* Checking a database's choices again, after an update of a driver for example. */
#include "check.h"
#include "base/error.h"
#include <string.h>

enum { ROUNDS = 15 };
static const double confidence = 0.95, patience_s = 60;

/* ---- the record ---- */

typedef struct search {
    const tune_session *session;
    size_t option; /* that the record names; count: none that is there now */
    bool found, is_default;
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

static tune_outcome time_both(tune_session *s, size_t option, times *t)
{
    const tune_limit limit = {patience_s, patience_s};
    for (int r = 0; r < ROUNDS; r++) {
        const size_t list[] = {r % 2 ? option : s->untuned, r % 2 ? s->untuned : option};
        double ms[2];
        size_t failed;
        tune_outcome outcome = tune_session_round(s, list, 2, limit, ms, &failed);
        if (outcome != TUNE_CORRECT)
            return outcome;
        t->own[r] = ms[r % 2 ? 0 : 1];
        t->base[r] = ms[r % 2 ? 1 : 0];
        t->ratio[r] = t->own[r] / t->base[r];
    }
    return TUNE_CORRECT;
}

/* What becomes of the choice; its times are in t if it was timed. */
static void judge(tune_session *s, size_t option, tune_verdict *v, times *t)
{
    const tune_limit limit = {patience_s, patience_s};
    if (option == s->count) {
        v->why = "no such choice any more";
        return;
    }
    strcpy(v->choice, s->options[option].text);
    tune_outcome outcome = tune_session_verify(s, option, limit);
    if (outcome == TUNE_CORRECT)
        outcome = time_both(s, option, t);
    if (outcome != TUNE_CORRECT) {
        v->why = tune_outcome_text(outcome);
        return;
    }
    v->ratio = tune_bootstrap(t->ratio, ROUNDS, confidence);
    v->kept = v->ratio.high < 1;
    if (!v->kept)
        v->why = "not surely faster than the default any more";
}

ef_status tune_check(tune_session *s, const char *db, tune_verdict *v)
{
    search f = {.session = s};
    times t = {.ratio = {0}};
    *v = (tune_verdict){.kept = false};
    ef_status status = tune_database_read(db, see, &f, &s->error);
    if (status || !f.found)
        return status;
    v->was_default = v->kept = f.is_default;
    if (!f.is_default)
        judge(s, f.option, v, &t);
    if (!v->kept || f.is_default)
        time_both(s, s->untuned, &t);
    if (s->error.status)
        return s->error.status;
    const bool adopted = v->kept && !f.is_default;
    const tune_option *o = &s->options[adopted ? f.option : s->untuned];
    char identity[EF__SHA256_HEX];
    tune_session_identity(s, &s->target, identity);
    const tune_record record = {.target = s->target,
                                .variant = adopted ? o->variant : NULL,
                                .knobs = o->knobs,
                                .source = s->source,
                                .identity = identity,
                                .ms = tune_median(adopted ? t.own : t.base, ROUNDS),
                                .base_ms = tune_median(t.base, ROUNDS),
                                .low = adopted ? v->ratio.low : 1,
                                .high = adopted ? v->ratio.high : 1,
                                .worst = o->worst,
                                .tried = f.tried,
                                .of = s->count,
                                .seconds = f.seconds};
    return tune_database_put(db, &s->device, &record, 1, &s->error);
}
