/* The run: a session, a search for each target, and what is said about it. */
#include "run.h"
#include "base/clock.h"
#include "check.h"
#include "clblast.h"
#include "cmd/options.h"
#include "load.h"
#include "op/tuned.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct run {
    const tune_request *request;
    tune_session session;
    char db[4096];
    double end_s;        /* when the budget is spent */
    double budget_s;     /* of the target */
    double shown_s;      /* when progress was last shown */
    bool on_terminal;    /* progress */
    tune_target *target; /* [count] the request's for this device, in their order */
    size_t at, count;
    tune_target *products; /* [product_count] of these */
    size_t product_count;
    tune_load load;
    size_t adopted, kept, old, broken;
    size_t before, tried_before; /* choices of the target in searches before its last, and tried */
    bool without_clblast;        /* its own parameters compute wrong numbers here */
} run;

/* ---- progress: a line that changes every second on a terminal, else one in ten ---- */

static void clear(run *r)
{
    if (r->on_terminal && r->shown_s > 0)
        fputs("\r\033[K", stderr);
}

/* It is said once, after the first second, and is no reason to stop: rounds that were disturbed
 * are discarded. */
static void look_at_load(run *r)
{
    char text[64];
    if (!tune_load_is_high(&r->load, r->session.worker.pid, text, sizeof text))
        return;
    clear(r);
    ef__say_error(r->request->command, 0, "warning: %s: times will scatter", text);
}

static void add_failures(char *text, size_t size, size_t used, const tune_progress *p)
{
    const char *before = ", failed: ";
    for (int i = TUNE_COMPILE; i < TUNE_LATE && used < size; i++)
        if (p->failed[i]) {
            used += (size_t)snprintf(text + used, size - used, "%s%zu %s", before, p->failed[i],
                                     tune_outcome_text(i));
            before = ", ";
        }
}

/* The speed-up is that of the finals' rounds; before them there are two medians. */
void tune_progress_text(const tune_progress *p, char *text, size_t size)
{
    static const char *const stages[] = {"exploring", "first round", "second round", "finals",
                                         "confirming"};
    size_t used = (size_t)snprintf(text, size, "%s %zu/%zu", stages[p->stage], p->done, p->total);
    if (p->best_ms > 0 && p->control_ms > 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, ", best %.3g ms, default %.3g ms",
                                 p->best_ms, p->control_ms);
    if (p->ratio.median > 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, ", %.2f times as fast (%.2f to %.2f)",
                                 1 / p->ratio.median, 1 / p->ratio.high, 1 / p->ratio.low);
    add_failures(text, size, used, p);
}

static void show(void *user, const tune_progress *p)
{
    run *r = user;
    char text[256];
    double now = ef__now(), left = r->end_s - now;
    look_at_load(r);
    if (now - r->shown_s < (r->on_terminal ? 1 : 10))
        return;
    clear(r);
    r->shown_s = now;
    tune_progress_text(p, text, sizeof text);
    fprintf(stderr, "[%zu/%zu] %s: %s, at most %.0f s left%s", r->at + 1, r->count,
            r->session.shape, text, fmax(0, left), r->on_terminal ? "" : "\n");
    fflush(stderr);
}

/* ---- the search's bench ---- */

static tune_outcome sample(void *user, size_t i, tune_limit limit, double *ms)
{
    return tune_session_sample(&((run *)user)->session, i, limit, ms);
}

static tune_outcome verify(void *user, size_t i, tune_limit limit)
{
    return tune_session_verify(&((run *)user)->session, i, limit);
}

static tune_outcome round_of(void *user, const size_t *list, size_t count, tune_limit limit,
                             double *ms, size_t *failed)
{
    return tune_session_round(&((run *)user)->session, list, count, limit, ms, failed);
}

static double now(void *user)
{
    (void)user;
    return ef__now();
}

/* Knobs that are not their variant's own, and being another variant than the default's. */
static double complexity(void *user, size_t i)
{
    const tune_session *s = &((run *)user)->session;
    const tune_option *o = &s->options[i], *control = &s->options[s->untuned];
    return (o->choice.variant != control->choice.variant ? 2 : 0) + (o->untuned ? 0 : 1);
}

/* ---- the space: what the worker listed ---- */

static bool is_listed(const void *user, const tune_point *point)
{
    const tune_session *s = user;
    const ef__variant *v = &ef__op_row(s->target.id)->variants[point->part];
    for (size_t i = 0; i < s->count; i++)
        if (s->options[i].choice.variant == v &&
            !memcmp(s->options[i].choice.knob, point->value, ef__knobs(v) * sizeof(int)))
            return true;
    return false;
}

static tune_space *make_space(const tune_session *s)
{
    const ef__op *op = ef__op_row(s->target.id);
    tune_part parts[EF__MAX_VARIANTS] = {{0}};
    size_t count = 0;
    for (; count < EF__MAX_VARIANTS && op->variants[count].name; count++) {
        const ef__variant *v = &op->variants[count];
        parts[count].name = v->name;
        for (size_t k = 0; k < ef__knobs(v); k++) {
            tune_parameter *p = &parts[count].parameter[k];
            p->name = v->knobs[k].name;
            p->count = ef__knob_values(&v->knobs[k]);
            memcpy(p->values, v->knobs[k].values, p->count * sizeof(int));
        }
    }
    return tune_space_new(parts, count, is_listed, s);
}

/* ---- results ---- */

static const char *const ends[] = {"", "the budget ended first", "interrupted", "the device failed",
                                   "the default failed"};

/* Choices that were tried of r->before + found->count. */
static size_t count_tried(const run *r, const tune_result *found)
{
    size_t tried = r->tried_before;
    for (size_t i = 0; i < found->count; i++)
        tried += found->candidate[i].outcome != TUNE_UNTRIED;
    return tried;
}

void tune_print_json(json_t *line)
{
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

static void say(const run *r, const tune_result *found)
{
    const tune_session *s = &r->session;
    const tune_option *o = &s->options[found->choice];
    const tune_candidate none = {0}; /* of a search that had another control */
    const tune_candidate *control =
        s->untuned < found->count ? &found->candidate[s->untuned] : &none;
    const size_t tried = count_tried(r, found);
    if (r->request->json) {
        tune_print_json(json_pack("{s:s, s:s, s:b, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:s}",
                                  "target", s->shape, "choice", o->text, "adopted",
                                  (int)found->adopted, "default_ms", control->median_ms, "ratio",
                                  found->adopted ? found->ratio.median : 1.0, "low",
                                  found->adopted ? found->ratio.low : 1.0, "high",
                                  found->adopted ? found->ratio.high : 1.0, "tried",
                                  (json_int_t)tried, "of", (json_int_t)(r->before + found->count),
                                  "seconds", found->spent_s, "end", ends[found->end]));
    } else if (found->adopted)
        printf("%-44s %s: %.2f times as fast (%.2f to %.2f), %zu of %zu tried\n", s->shape, o->text,
               1 / found->ratio.median, 1 / found->ratio.high, 1 / found->ratio.low, tried,
               r->before + found->count);
    else if (found->end)
        printf("%-44s not finished: %zu of %zu tried; %s\n", s->shape, tried,
               r->before + found->count, ends[found->end]);
    else
        printf("%-44s default (%s), %zu of %zu tried\n", s->shape, s->options[s->untuned].text,
               tried, r->before + found->count);
    fflush(stdout);
}

/* A search that did not end leaves no record: the next run goes on with it. */
static ef_status keep(run *r, const tune_result *found)
{
    tune_session *s = &r->session;
    const tune_option *o = &s->options[found->choice];
    const tune_candidate *control = &found->candidate[s->untuned];
    char identity[EF__SHA256_HEX];
    tune_session_identity(s, &s->target, identity);
    const tune_record record = {.target = s->target,
                                .variant = found->adopted || r->without_clblast ? o->variant : NULL,
                                .knobs = o->knobs,
                                .source = s->source,
                                .identity = identity,
                                .ms = found->candidate[found->choice].median_ms,
                                .samples = found->candidate[found->choice].samples,
                                .mad_ms = found->candidate[found->choice].mad_ms,
                                .base_ms = control->median_ms,
                                .low = found->adopted ? found->ratio.low : 1,
                                .high = found->adopted ? found->ratio.high : 1,
                                .worst = o->worst,
                                .tried = count_tried(r, found),
                                .of = r->before + found->count,
                                .seconds = fmax(r->budget_s, found->spent_s)};
    return tune_database_put(r->db, &s->device, &record, 1, &s->error);
}

/* Why each option is where it is, for --why. */
static ef_status note_fates(run *r, const tune_result *found)
{
    tune_session *s = &r->session;
    ef_status status = EF_OK;
    for (size_t i = 0; i < found->count && !status; i++)
        status = tune_journal_fate(&s->journal, s->booked, s->options[i].text,
                                   tune_fate_text(found->candidate[i].fate), &found->candidate[i],
                                   &s->error);
    return status;
}

/* ---- one target ---- */

static size_t *make_seeds(const tune_session *s, size_t *count)
{
    size_t *seeds = calloc(s->count, sizeof *seeds);
    *count = 0;
    for (size_t i = 0; seeds && i < s->count; i++)
        if (s->options[i].untuned)
            seeds[(*count)++] = i;
    return seeds;
}

static ef_status search(run *r, double budget_s, tune_result *found)
{
    tune_session *s = &r->session;
    const tune_bench bench = {r, sample, verify, round_of, now, show, complexity};
    tune_plan plan = {.control = s->untuned,
                      .budget_s = budget_s,
                      .most_s = r->end_s - ef__now(), /* rather one less than one half done */
                      .seed = r->request->seed,
                      .stop = r->request->stop};
    tune_space *space = make_space(s);
    size_t *seeds = make_seeds(s, &plan.seed_count);
    tune_known *known = tune_session_known(s, &plan.known_count);
    plan.space = space;
    plan.seeds = seeds;
    plan.known = known;
    ef_status status = space && seeds && known ? EF_OK : EF_ENOMEM;
    if (!status && tune_space_count(space) != s->count)
        status = EF_ESTATE; /* the worker is of another build */
    if (!status)
        status = tune_search(&plan, &bench, found);
    if (status)
        ef__error_set(&s->error, status, 0, NULL, "%s: %s", s->shape, ef_strerror(status));
    tune_space_free(space);
    free(seeds);
    free(known);
    return status;
}

/* Of the seconds, where the targets from first on share them. */
static double share(const run *r, size_t first, double seconds)
{
    static const double clblast = 0.25;
    const tune_target *own = &r->target[r->at];
    double all = 0;
    for (size_t i = first; i < r->count; i++)
        all += tune_target_share(&r->target[i]);
    if (own->id == TUNE_CLBLAST)
        return all > 0 ? clblast * seconds : seconds;
    return seconds * tune_target_share(own) / all;
}

static void print_verdict(const run *r, const tune_verdict *v)
{
    const char *shape = r->session.shape;
    if (v->end == TUNE_DEFAULT)
        printf("%-44s default\n", shape);
    else if (v->end == TUNE_KEPT)
        printf("%-44s %s: %.2f to %.2f times as fast\n", shape, v->choice, 1 / v->ratio.high,
               1 / v->ratio.low);
    else
        printf("%-44s %s %s: %s\n", shape, v->choice,
               v->end == TUNE_UNCHECKED ? "not checked" : "given up", v->why);
}

static void say_verdict(run *r, const tune_verdict *v)
{
    clear(r);
    if (v->end == TUNE_NO_DEFAULT) {
        ef__say_error(r->request->command, EF__DEVICE, "%s: the default: %s", r->session.shape,
                      v->why);
    } else if (r->request->json) {
        tune_print_json(json_pack("{s:s, s:s, s:b, s:b, s:s, s:f, s:f, s:f}", "target",
                                  r->session.shape, "choice", v->choice, "checked",
                                  v->end != TUNE_UNCHECKED, "kept", v->end != TUNE_GIVEN_UP, "why",
                                  v->why ? v->why : "", "ratio", v->ratio.median, "low",
                                  v->ratio.low, "high", v->ratio.high));
    } else {
        print_verdict(r, v);
    }
    fflush(stdout);
}

/* A target that cannot be opened is not the end of the others. */
static ef_status pass_over(run *r, ef_status status)
{
    if (status != EF_EBUILD)
        return status;
    clear(r);
    ef__say_error(r->request->command, EF__DEVICE, "%s", r->session.error.text);
    r->session.error = (ef_error){0};
    r->broken++;
    return EF_OK;
}

/* What the database has of CLBlast's parameters and programs take. NULL: none. */
static json_t *stored_kernels(const run *r, ef__clblast_set *set)
{
    const tune_device *d = &r->session.device;
    const size_t group = d->max_work_group;
    const ef__clblast_limits limits = {
        group, {group, group}, d->local_bytes, ef__clblast_version()};
    json_t *kernels = tune_database_clblast(r->db, d->driver);
    if (!kernels || ef__clblast_read(kernels, &limits, set))
        return kernels;
    json_decref(kernels);
    return NULL;
}

/* The workers of what follows take them. */
static void install(run *r)
{
    const tune_session *s = &r->session;
    ef__clblast_set set;
    json_t *kernels = stored_kernels(r, &set);
    if (kernels || s->kernels || s->target.id == TUNE_CLBLAST)
        tune_session_kernels(&r->session, kernels);
    json_decref(kernels);
}

static ef_status open_stored(run *r)
{
    tune_session *s = &r->session;
    const tune_target *target = &r->target[r->at];
    ef__clblast_limits limits;
    bool fits;
    if (target->id != TUNE_CLBLAST)
        return tune_session_open(s, target);
    ef_status status = tune_session_open_clblast(s, &limits, &fits);
    return status ? status : tune_clblast_stored(s, r->db, &limits);
}

static ef_status check_one(run *r)
{
    tune_verdict v;
    ef_status status = open_stored(r);
    if (status)
        return pass_over(r, status);
    status = tune_check(&r->session, r->db, r->end_s, r->request->stop, &v);
    if (status)
        return pass_over(r, status);
    say_verdict(r, &v);
    if (r->target[r->at].id == TUNE_CLBLAST)
        install(r);
    r->adopted += v.end == TUNE_KEPT;
    r->kept += v.end == TUNE_DEFAULT || v.end == TUNE_GIVEN_UP;
    r->broken += v.end == TUNE_NO_DEFAULT;
    return EF_OK;
}

/* A search that had half of what is the target's when all are searched is not made again. */
static const double enough = 0.5;

static bool is_tuned(const run *r, const tune_target *target)
{
    const tune_session *s = &r->session;
    char identity[EF__SHA256_HEX];
    tune_session_identity(s, target, identity);
    if (r->request->retry_failed && tune_session_has_failures(s, target))
        return false;
    return !r->request->fresh && tune_database_has(r->db, target, s->device.accuracy, identity,
                                                   enough * share(r, 0, r->request->budget_s));
}

static ef_status finish(run *r, ef_status status, tune_result *found)
{
    tune_session *s = &r->session;
    if (status)
        return status;
    clear(r);
    if (!*s->error.text)
        say(r, found);
    if (found->end == TUNE_DONE && !(status = keep(r, found)))
        status = note_fates(r, found);
    r->adopted += found->end == TUNE_DONE && found->adopted;
    r->kept += found->end == TUNE_DONE && !found->adopted;
    r->broken += found->end == TUNE_CONTROL_FAILED;
    tune_result_free(found);
    return pass_over(r, status ? status : s->error.status);
}

/* CLBlast is wrong as it is: from now on there is none. */
static ef_status give_up_clblast(run *r)
{
    tune_session *s = &r->session;
    clear(r);
    ef__say_error(r->request->command, EF__DEVICE,
                  "CLBlast is left out: with its %s parameters, %s", s->kernels ? "tuned" : "own",
                  s->options[s->untuned].why);
    r->without_clblast = true;
    setenv("EF_LINEAR", "own", 1);
    tune_session_kernels(s, NULL);
    return EF_OK;
}

/* What CLBlast runs with where no search has chosen that, and why. */
static void say_clblast(run *r, const char *choice, const char *why)
{
    clear(r);
    if (r->request->json)
        tune_print_json(json_pack("{s:s, s:s, s:b, s:s}", "target", EF__TUNE_CLBLAST, "choice",
                                  choice, "adopted", 0, "end", why));
    else
        printf("%-44s %s: %s\n", EF__TUNE_CLBLAST, choice, why);
    fflush(stdout);
}

/* A set that is in the database stays in force. */
static ef_status keep_clblast(run *r, const char *why)
{
    char text[EF__CLBLAST_TEXT] = "built-in";
    ef__clblast_set set;
    json_t *kernels = stored_kernels(r, &set);
    if (kernels)
        ef__clblast_text(&set, text);
    r->old += kernels != NULL;
    r->kept += kernels == NULL;
    say_clblast(r, text, why);
    json_decref(kernels);
    return EF_OK;
}

/* What a fresh run forgets is searched again, by a later run if this one is ended; so the database
 * says it before the journal does. */
static ef_status forget_record(run *r)
{
    tune_session *s = &r->session;
    return r->request->fresh ? tune_database_reopen(r->db, &s->device, &r->target[r->at], &s->error)
                             : EF_OK;
}

static ef_status search_clblast(run *r, double budget_s)
{
    tune_session *s = &r->session;
    const tune_bench bench = {r, sample, verify, round_of, now, show, NULL};
    const double until = ef__now() + budget_s;
    tune_plan plan = {.seed = r->request->seed, .stop = r->request->stop};
    tune_result found = {0};
    ef__clblast_limits limits;
    bool fits;
    if (!tune_clblast_has_time(s->is_cpu, budget_s))
        return keep_clblast(r, "too little time to try others of its parameters");
    ef_status status = forget_record(r);
    if (!status)
        status = tune_session_open_clblast(s, &limits, &fits);
    if (status)
        return pass_over(r, status);
    if (!fits)
        return keep_clblast(r, "CLBlast does not run here");
    plan.budget_s = fmax(until - ef__now(), 0.1);
    status = tune_clblast(s, &plan, &bench, &limits, &found, &r->tried_before, &r->before);
    if (!status && found.end == TUNE_CONTROL_FAILED) {
        tune_result_free(&found);
        r->kept++;
        say_clblast(r, "none", "it is wrong with its own parameters");
        return give_up_clblast(r);
    }
    if (status && !s->error.status)
        ef__error_set(&s->error, status, 0, NULL, "%s: %s", EF__TUNE_CLBLAST, ef_strerror(status));
    return finish(r, status, &found);
}

static ef_status tune_clblast_one(run *r)
{
    ef_status status = EF_OK;
    r->budget_s = share(r, r->at, r->end_s - ef__now());
    if (is_tuned(r, &r->target[r->at]))
        r->old++;
    else
        status = search_clblast(r, r->budget_s);
    if (!status && !r->without_clblast)
        install(r);
    return status;
}

/* Is the default CLBlast, and wrong? */
static bool is_wrong_clblast(const run *r, const tune_result *found)
{
    const tune_session *s = &r->session;
    return found->end == TUNE_CONTROL_FAILED && !r->without_clblast &&
           !strcmp(s->options[s->untuned].variant, "clblast");
}

static ef_status tune_one(run *r)
{
    const tune_target *target = &r->target[r->at];
    tune_session *s = &r->session;
    tune_result found = {0};
    double before = ef__now();
    r->before = r->tried_before = 0;
    if (target->id == TUNE_CLBLAST)
        return tune_clblast_one(r);
    r->budget_s = share(r, r->at, r->end_s - before);
    if (is_tuned(r, target)) {
        r->old++;
        return EF_OK;
    }
    ef_status status = forget_record(r);
    if (!status)
        status = tune_session_open(s, target);
    if (status)
        return pass_over(r, status);
    status = search(r, fmax(r->budget_s - (ef__now() - before), 0.1), &found);
    if (!status && is_wrong_clblast(r, &found)) {
        tune_result_free(&found);
        give_up_clblast(r);
        return tune_one(r);
    }
    return finish(r, status, &found);
}

/* ---- all of them ---- */

static tune_target *order(const run *r, const tune_target *list, size_t *count)
{
    tune_target *own = calloc(*count + 1, sizeof *own);
    if (own && *count > 0)
        memcpy(own, list, *count * sizeof *own);
    *count = own ? tune_targets_order(own, *count, r->session.is_cpu) : 0;
    return own;
}

static ef_status list_targets(run *r)
{
    const tune_request *q = r->request;
    r->count = q->count;
    r->product_count = q->product_count;
    r->target = order(r, q->target, &r->count);
    r->products = order(r, q->products, &r->product_count);
    r->session.products = r->products;
    r->session.product_count = r->product_count;
    if (r->target && r->products)
        return EF_OK;
    return ef__error_set(&r->session.error, EF_ENOMEM, 0, NULL, "no host memory");
}

/* The database and its journal, in a place that can be written. */
static ef_status open_books(run *r)
{
    char path[sizeof r->db + 16], text[sizeof r->session.error.text];
    tune_session *s = &r->session;
    ef_status status = tune_database_prepare(r->db, &s->device, &s->error);
    snprintf(path, sizeof path, "%s.journal", r->db);
    if (!status)
        status = tune_journal_open(&s->journal, path, s->identity, &s->error);
    if (!status) /* can it be written? */
        status = tune_database_put(r->db, &s->device, NULL, 0, &s->error);
    if (status == EF_EIO && !strstr(s->error.text, "--db")) {
        strcpy(text, s->error.text);
        ef__error_set(&s->error, status, 0, NULL, "%s; --db FILE names another place", text);
    }
    return status;
}

static ef_status begin(run *r)
{
    tune_session *s = &r->session;
    ef_status status = tune_session_begin(s, r->request->worker);
    if (!status)
        status = list_targets(r);
    if (status)
        return status;
    s->fresh = r->request->fresh;
    s->retry_failed = r->request->retry_failed;
    if (r->request->db)
        snprintf(r->db, sizeof r->db, "%s", r->request->db);
    else
        ef__tuned_user_path(s->device.key, r->db, sizeof r->db);
    return open_books(r);
}

/* Nothing is begun that cannot be ended. */
static bool is_spent(const run *r)
{
    static const double least_s = 0.5;
    return r->end_s - ef__now() < least_s;
}

static bool is_stopped(const run *r)
{
    return r->request->stop && *r->request->stop;
}

/* A file that cannot be written is not one that is wrong. */
static int exit_code(ef_status status)
{
    return status == EF_EARG ? EF__USAGE : status == EF_EIO ? EF__RUNTIME : ef__exit_code(status);
}

static int say_end(run *r, ef_status status)
{
    const tune_request *q = r->request;
    clear(r);
    if (status)
        return ef__say_error(q->command, exit_code(status), "%s", r->session.error.text);
    size_t left = r->count - r->adopted - r->kept - r->old;
    if (!q->json)
        printf("%zu adopted, %zu default, %zu tuned before, %zu not finished: %s\n", r->adopted,
               r->kept, r->old, left, r->db);
    const char *how = q->fresh ? "without --fresh " : "";
    if (is_stopped(r) && q->check)
        return ef__say_error(q->command, EF__INTERRUPTED, "interrupted");
    if (is_stopped(r))
        return ef__say_error(q->command, EF__INTERRUPTED, "interrupted; run again %sto go on", how);
    if (r->broken)
        return ef__say_error(q->command, EF__DEVICE, "the default does not run at %zu of them",
                             r->broken);
    if (left && !q->json && !q->check)
        printf("The time is up; run again %sto go on.\n", how);
    return EXIT_SUCCESS;
}

int tune_run(const tune_request *request)
{
    run r = {.request = request,
             .end_s = ef__now() + request->budget_s,
             .on_terminal = isatty(STDERR_FILENO)};
    if (request->alone)
        tune_load_begin(&r.load, 1);
    ef_status status = begin(&r);
    for (; r.at < r.count && !status && !is_stopped(&r) && !is_spent(&r); r.at++) {
        status = request->check ? check_one(&r) : tune_one(&r);
        look_at_load(&r);
    }
    int code = say_end(&r, status);
    tune_session_end(&r.session);
    free(r.target);
    free(r.products);
    return code;
}
