/* A worker and its books. */
#include "session.h"
#include "base/clock.h"
#include "base/error.h"
#include "op/tuned.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tune_patience usual = {
    .start_s = 60, .open_s = 300, .compile_s = 60, .run_s = 2, .verify_s = 120};

/* ---- the worker ---- */

static ef_status stop(tune_session *s, ef_status status, const char *text)
{
    return ef__error_set(&s->error, status, 0, NULL, "%s", text);
}

static ef_status start(tune_session *s, tune_process *p)
{
    json_t *line = NULL;
    char died[64];
    tune_answer answer = tune_process_start(p, s->argv, s->patience.start_s, &line);
    const char *text = json_string_value(json_object_get(line, "text"));
    const char *kind = json_string_value(json_object_get(line, "failed"));
    ef_status status = EF_OK;
    if (text)
        status = stop(s, kind && !strcmp(kind, "usage") ? EF_EARG : EF_EDEVICE, text);
    else if (answer != TUNE_ANSWERED) {
        tune_process_end(p, died, sizeof died);
        status = ef__error_set(&s->error, EF_EDEVICE, 0, NULL, "the worker does not start: %s",
                               answer == TUNE_SILENT    ? "it says nothing"
                               : answer == TUNE_GARBLED ? "what it says is no answer"
                                                        : died);
    }
    json_decref(line);
    return status;
}

/* What an answer comes to: TUNE_CORRECT, or a failure and why. */
static tune_outcome outcome_of(tune_process *p, tune_answer answer, json_t *reply, char *why,
                               size_t size)
{
    const char *failed = json_string_value(json_object_get(reply, "failed"));
    const char *text = json_string_value(json_object_get(reply, "text"));
    char died[64] = "";
    if (answer == TUNE_ANSWERED && !failed)
        return TUNE_CORRECT;
    if (answer == TUNE_ANSWERED) {
        snprintf(why, size, "%s", text ? text : failed);
        return strcmp(failed, "compile") ? TUNE_RUNTIME : TUNE_COMPILE;
    }
    tune_process_end(p, died, sizeof died);
    if (answer == TUNE_SILENT)
        snprintf(why, size, "took too long");
    else if (answer == TUNE_GARBLED)
        snprintf(why, size, "the worker's answer is no line of JSON");
    else
        snprintf(why, size, "the worker died: %s", died);
    return answer == TUNE_SILENT ? TUNE_TIMEOUT : TUNE_RUNTIME;
}

static void learn_hardware(tune_device *d, json_t *hardware)
{
    json_int_t vendor = 0, group = 0, local = 0;
    const char *pci = "", *uuid = "";
    json_unpack(hardware, "{s?I, s?I, s?I, s?s, s?s}", "vendor_id", &vendor, "max_work_group",
                &group, "local_bytes", &local, "pci", &pci, "uuid", &uuid);
    d->vendor_id = (unsigned)vendor;
    d->max_work_group = (size_t)group;
    d->local_bytes = (size_t)local;
    snprintf(d->pci, sizeof d->pci, "%s", pci);
    snprintf(d->uuid, sizeof d->uuid, "%s", uuid);
}

static ef_status learn_device(tune_session *s)
{
    json_t *reply;
    const char *name, *platform, *version, *driver, *cpu, *key, *identity, *accuracy;
    tune_device *d = &s->device;
    char why[256];
    int is_cpu;
    tune_answer answer = tune_process_ask(&s->worker, json_pack("{s:s}", "do", "device"),
                                          s->patience.start_s, &reply);
    if (outcome_of(&s->worker, answer, reply, why, sizeof why) != TUNE_CORRECT ||
        json_unpack(reply, "{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s}", "is_cpu", &is_cpu,
                    "accuracy", &accuracy, "name", &name, "platform", &platform, "version",
                    &version, "driver", &driver, "cpu", &cpu, "key", &key, "units", &d->units,
                    "identity", &identity)) {
        json_decref(reply);
        return stop(s, EF_EDEVICE, "the worker does not say what its device is");
    }
    snprintf(d->name, sizeof d->name, "%s", name);
    snprintf(d->platform, sizeof d->platform, "%s", platform);
    snprintf(d->version, sizeof d->version, "%s", version);
    snprintf(d->driver, sizeof d->driver, "%s", driver);
    snprintf(d->cpu, sizeof d->cpu, "%s", cpu);
    learn_hardware(d, json_object_get(reply, "hardware"));
    snprintf(d->key, sizeof d->key, "%s", key);
    snprintf(d->accuracy, sizeof d->accuracy, "%s", accuracy);
    snprintf(s->identity, sizeof s->identity, "%s", identity);
    s->is_cpu = is_cpu;
    json_decref(reply);
    return EF_OK;
}

ef_status tune_session_begin(tune_session *s, char *const argv[])
{
    s->argv = argv;
    s->journal.fd = -1;
    if (s->patience.start_s == 0)
        s->patience = usual;
    ef_status status = start(s, &s->worker);
    return status ? status : learn_device(s);
}

static void drop_options(tune_session *s)
{
    for (size_t i = 0; i < s->count; i++) {
        json_decref(s->options[i].knobs);
        json_decref(s->options[i].sent);
    }
    free(s->options);
    s->options = NULL;
    s->count = 0;
}

static bool make_options(tune_session *s, size_t count)
{
    drop_options(s);
    s->options = calloc(count, sizeof *s->options);
    s->count = s->options ? count : 0;
    return s->options != NULL;
}

void tune_session_end(tune_session *s)
{
    tune_process_end(&s->worker, NULL, 0);
    tune_process_end(&s->plain, NULL, 0);
    tune_journal_close(&s->journal);
    drop_options(s);
    json_decref(s->kernels);
    s->kernels = NULL;
}

/* ---- a target ---- */

static json_t *list_products(const tune_session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->product_count; i++) {
        char text[128];
        tune_target_text(&s->products[i], text, sizeof text);
        json_array_append_new(
            list, json_pack("{s:s, s:f}", "target", text, "weight", s->products[i].weight));
    }
    return list;
}

/* All of a value, as text. */
static void add_json(ef__sha256 *sha, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (text)
        ef__sha256_add(sha, text, strlen(text) + 1);
    free(text);
}

void tune_session_identity(const tune_session *s, const tune_target *target,
                           char hex[EF__SHA256_HEX])
{
    ef__sha256 sha;
    snprintf(hex, EF__SHA256_HEX, "%s", s->identity);
    if (target->id != TUNE_CLBLAST && !(tune_is_product(target) && s->kernels))
        return;
    ef__sha256_begin(&sha);
    ef__sha256_add(&sha, hex, strlen(hex) + 1);
    json_t *more = target->id == TUNE_CLBLAST ? list_products(s) : json_incref(s->kernels);
    add_json(&sha, more);
    json_decref(more);
    ef__sha256_end_hex(&sha, hex);
}

/* Times of other parameters of CLBlast, or for other products, are times of something else. */
static unsigned long number_of(const tune_session *s, const tune_target *target)
{
    char hex[EF__SHA256_HEX];
    tune_session_identity(s, target, hex);
    hex[7] = '\0';
    return strtoul(hex, NULL, 16);
}

static void name(const tune_session *s, const tune_target *target, char shape[TUNE_NAME])
{
    tune_target_text(target, shape, TUNE_NAME);
    if (target->id == TUNE_CLBLAST)
        snprintf(shape, TUNE_NAME, EF__TUNE_CLBLAST " products %lu", number_of(s, target));
}

/* In the journal, where a class of accuracy has its own. */
static void book(const tune_session *s, const tune_target *target, char booked[TUNE_NAME])
{
    name(s, target, booked);
    if (!strcmp(s->device.accuracy, "strict"))
        snprintf(booked + strlen(booked), TUNE_NAME - strlen(booked), " strict");
}

bool tune_session_has_failures(const tune_session *s, const tune_target *target)
{
    char booked[TUNE_NAME];
    book(s, target, booked);
    return tune_journal_has_failures(&s->journal, booked);
}

/* Its names; what is fresh is forgotten. */
static ef_status turn_to(tune_session *s, const tune_target *target)
{
    s->target = *target;
    s->failures = 0;
    s->floor_ms = 0;
    name(s, target, s->shape);
    book(s, target, s->booked);
    return s->fresh ? tune_journal_forget(&s->journal, s->booked, &s->error) : EF_OK;
}

static json_t *open_request(const tune_session *s)
{
    json_t *request = json_pack("{s:s, s:s}", "do", "open", "target", s->shape);
    if (tune_is_product(&s->target) && s->kernels)
        json_object_set(request, "clblast", s->kernels);
    if (s->target.id == TUNE_CLBLAST)
        json_object_set_new(request, "products", list_products(s));
    return request;
}

static bool read_choice(const tune_session *s, json_t *json, tune_option *c)
{
    const char *variant, *name;
    json_t *knobs, *value;
    int untuned;
    if (json_unpack(json, "{s:s, s:o, s:b}", "variant", &variant, "knobs", &knobs, "untuned",
                    &untuned))
        return false;
    *c = (tune_option){.choice.variant = ef__op_variant(s->target.id, variant), .untuned = untuned};
    if (!c->choice.variant)
        return false;
    c->variant = c->choice.variant->name;
    c->knobs = json_incref(knobs);
    for (size_t i = 0; i < ef__knobs(c->choice.variant); i++) {
        name = c->choice.variant->knobs[i].name;
        value = json_object_get(knobs, name);
        c->choice.knob[i] = (int)json_integer_value(value);
    }
    char text[100];
    ef__choice_text(&c->choice, text, sizeof text);
    snprintf(c->text, sizeof c->text, "%s%s%s", variant, *text ? " " : "", text);
    if (s->kernels && !strcmp(variant, "clblast"))
        snprintf(c->text, sizeof c->text, "%s set %lu", variant, number_of(s, &s->target));
    return true;
}

/* Cut short, for a budget's end, after so long that it hangs; or twice, not at once. */
static bool has_hung(const tune_session *s, const tune_entry *e)
{
    const double least_s = 10, times_default = 10;
    const tune_entry *d = tune_journal_find(&s->journal, s->booked, s->options[s->untuned].text);
    const double default_s = d ? 1e-3 * d->cost.first : 0;
    return e->late_s[0] >= fmax(least_s, times_default * default_s) ||
           (e->late_s[1] > 0 && e->late_s[1] >= default_s);
}

/* What an earlier run found out. The default gets another chance in any case: without it there is
 * no search. */
static void recall(tune_session *s, size_t i)
{
    tune_option *o = &s->options[i];
    const tune_entry *e = tune_journal_find(&s->journal, s->booked, o->text);
    if (!e)
        return;
    const char *why = tune_journal_why(e);
    o->late = e->late_s[0] > 0;
    o->outcome = tune_journal_outcome(e);
    o->worst = e->worst;
    snprintf(o->why, sizeof o->why, "%s", why ? why : "");
    if (tune_is_failure(o->outcome) && (s->retry_failed || i == s->untuned))
        o->outcome = TUNE_UNTRIED;
}

static bool read_target(tune_session *s, json_t *reply)
{
    json_t *choices, *item;
    const char *source;
    int untuned;
    size_t i;
    s->floor_ms = 0;
    if (json_unpack(reply, "{s:o, s:i, s:F, s:F, s?F, s:s}", "choices", &choices, "default",
                    &untuned, "flops", &s->flops, "bytes", &s->bytes, "floor_ms", &s->floor_ms,
                    "source", &source) ||
        untuned < 0 || (size_t)untuned >= json_array_size(choices))
        return false;
    snprintf(s->source, sizeof s->source, "%s", source);
    s->untuned = (size_t)untuned;
    if (!make_options(s, json_array_size(choices)))
        return false;
    json_array_foreach(choices, i, item)
    {
        if (!read_choice(s, item, &s->options[i]))
            return false;
        s->options[i].sent = json_integer((json_int_t)i);
        recall(s, i);
    }
    return true;
}

/* (Re)open the target in the worker that runs, or in a new one. */
static ef_status reopen(tune_session *s, tune_process *p, json_t **reply)
{
    char why[256] = "";
    ef_status status = p->pid ? EF_OK : start(s, p);
    if (status)
        return status;
    tune_answer answer = tune_process_ask(p, open_request(s), s->patience.open_s, reply);
    if (outcome_of(p, answer, *reply, why, sizeof why) == TUNE_CORRECT)
        return EF_OK;
    json_decref(*reply);
    return ef__error_set(&s->error, EF_EBUILD, 0, NULL, "%s: %s", s->shape, why);
}

ef_status tune_session_open(tune_session *s, const tune_target *target)
{
    json_t *reply;
    ef_status status = turn_to(s, target);
    if (!status)
        status = reopen(s, &s->worker, &reply);
    if (status)
        return status;
    if (!read_target(s, reply))
        status = stop(s, EF_EDEVICE, "the worker's list of choices cannot be read");
    json_decref(reply);
    return status ? status
                  : tune_journal_default(&s->journal, s->booked, s->options[s->untuned].text,
                                         s->floor_ms, &s->error);
}

/* ---- CLBlast's parameters ---- */

ef_status tune_session_open_clblast(tune_session *s, ef__clblast_limits *limits, bool *fits)
{
    json_t *reply;
    json_int_t group, local_bytes;
    int fit;
    ef_status status = turn_to(s, &(tune_target){.id = TUNE_CLBLAST});
    snprintf(s->source, sizeof s->source, "%s", ef__clblast_source());
    if (!status)
        status = reopen(s, &s->worker, &reply);
    if (status)
        return status;
    if (json_unpack(reply, "{s:b, s:I, s:I}", "fits", &fit, "group", &group, "local_bytes",
                    &local_bytes))
        status = stop(s, EF_EDEVICE, "the worker does not say what CLBlast can take");
    json_decref(reply);
    if (status)
        return status;
    *fits = fit;
    *limits = (ef__clblast_limits){
        (size_t)group, {(size_t)group, (size_t)group}, (size_t)local_bytes, ef__clblast_version()};
    return EF_OK;
}

ef_status tune_session_sets(tune_session *s, const ef__clblast_set *sets, size_t count)
{
    if (!make_options(s, count + 1))
        return stop(s, EF_ENOMEM, "no host memory");
    s->untuned = count;
    for (size_t i = 0; i <= count; i++) {
        tune_option *o = &s->options[i];
        o->variant = i < count ? "set" : "default";
        o->knobs = i < count ? ef__clblast_json(&sets[i]) : json_object();
        o->sent = i < count ? json_incref(o->knobs) : json_null();
        if (i < count)
            ef__clblast_text(&sets[i], o->text);
        else
            snprintf(o->text, sizeof o->text, "built-in");
        o->untuned = i == count;
        recall(s, i);
    }
    return tune_journal_default(&s->journal, s->booked, s->options[s->untuned].text, 0, &s->error);
}

void tune_session_kernels(tune_session *s, json_t *kernels)
{
    tune_process_end(&s->worker, NULL, 0);
    tune_process_end(&s->plain, NULL, 0);
    json_incref(kernels);
    json_decref(s->kernels);
    s->kernels = kernels;
}

/* ---- asking ---- */

/* Who tries option i. */
static tune_process *worker_of(tune_session *s, size_t i)
{
    return s->target.id == TUNE_CLBLAST && i == s->untuned ? &s->plain : &s->worker;
}

/* One that died since its last answer, or goes on talking, is nobody's fault: a new one is
 * asked. */
static ef_status ready(tune_session *s, size_t i)
{
    json_t *reply;
    tune_process *p = worker_of(s, i);
    if (p->pid && tune_process_is_quiet(p))
        return EF_OK;
    tune_process_end(p, NULL, 0);
    ef_status status = reopen(s, p, &reply);
    if (!status)
        json_decref(reply);
    return status;
}

/* One request about option i, or NULL: another line of the answer; in the seconds that it may take
 * and those that are left of the budget: where these are fewer, it is LATE and has not failed. */
static tune_outcome ask(tune_session *s, size_t i, json_t *request, double seconds, double left_s,
                        json_t **reply, char *why, size_t size)
{
    const double left = fmax(left_s, s->patience.run_s), wait = fmin(seconds, left);
    tune_process *p = worker_of(s, i);
    tune_answer answer =
        request ? tune_process_ask(p, request, wait, reply) : tune_process_next(p, wait, reply);
    tune_outcome outcome = outcome_of(p, answer, *reply, why, size);
    return outcome == TUNE_TIMEOUT && left < seconds ? TUNE_LATE : outcome;
}

static tune_outcome unreadable(char *why, size_t size)
{
    snprintf(why, size, "the worker's answer is not of its request");
    return TUNE_RUNTIME;
}

static tune_outcome ask_verify(tune_session *s, size_t i, double left_s, double *worst, char *why,
                               size_t size)
{
    json_t *reply = NULL;
    const char *text;
    tune_outcome outcome =
        ask(s, i, json_pack("{s:s, s:O}", "do", "verify", "choice", s->options[i].sent),
            s->patience.verify_s, left_s, &reply, why, size);
    if (outcome == TUNE_CORRECT) {
        if (json_unpack(reply, "{s:F, s:s}", "worst", worst, "text", &text))
            outcome = unreadable(why, size);
        else if (*worst > 1) {
            snprintf(why, size, "%s: %.3g times what is allowed", text, *worst);
            outcome = TUNE_CORRECTNESS;
        }
    }
    json_decref(reply);
    return outcome;
}

static bool read_times(json_t *times, size_t count, double *ms)
{
    const double most = 1e9; /* a week and more */
    bool good = json_array_size(times) == count;
    for (size_t i = 0; i < count && good; i++) {
        ms[i] = json_number_value(json_array_get(times, i));
        good = ms[i] > 0 && ms[i] < most;
    }
    return good;
}

/* Of CLBlast's parameters nobody knows: it drops what it has built. */
static bool is_built(tune_session *s, size_t i)
{
    return s->target.id != TUNE_CLBLAST && s->options[i].built_in == worker_of(s, i)->started;
}

/* Options that one worker tries. What is not built must be alone: the worker says when it is, or
 * has run it when it answers. */
static tune_outcome ask_times(tune_session *s, const size_t *list, size_t count, tune_limit limit,
                              double *ms, char *why, size_t size)
{
    json_t *choices = json_array(), *reply = NULL;
    for (size_t i = 0; i < count; i++)
        json_array_append(choices, s->options[list[i]].sent);
    const double run_s = fmax(s->patience.run_s, limit.run_s) * (double)count, began = ef__now();
    tune_outcome outcome =
        ask(s, *list, json_pack("{s:s, s:o}", "do", "time", "choices", choices),
            is_built(s, *list) ? run_s : s->patience.compile_s, limit.left_s, &reply, why, size);
    if (outcome == TUNE_CORRECT && json_object_get(reply, "built")) {
        json_decref(reply);
        outcome = ask(s, *list, NULL, run_s, limit.left_s - (ef__now() - began), &reply, why, size);
    }
    if (outcome == TUNE_CORRECT && !read_times(json_object_get(reply, "ms"), count, ms))
        outcome = unreadable(why, size);
    for (size_t i = 0; i < count && outcome == TUNE_CORRECT; i++)
        s->options[list[i]].built_in = worker_of(s, list[i])->started;
    json_decref(reply);
    return outcome;
}

bool tune_session_each(tune_session *s, size_t i, double *ms)
{
    json_t *reply = NULL;
    char why[256];
    if (ready(s, i))
        return false;
    bool good = ask(s, i, json_pack("{s:s, s:[O]}", "do", "time", "choices", s->options[i].sent),
                    s->patience.compile_s, INFINITY, &reply, why, sizeof why) == TUNE_CORRECT &&
                read_times(json_object_get(reply, "each"), s->product_count, ms);
    json_decref(reply);
    return good;
}

/* In a worker that is new. */
static tune_outcome build(tune_session *s, const size_t *list, size_t count, tune_limit limit,
                          char *why, size_t size)
{
    tune_outcome outcome = TUNE_CORRECT;
    double ms;
    for (size_t i = 0; i < count && outcome == TUNE_CORRECT; i++)
        if (s->target.id != TUNE_CLBLAST && !is_built(s, list[i]))
            outcome = ask_times(s, &list[i], 1, limit, &ms, why, size);
    return outcome;
}

/* ---- the device's health ---- */

/* What keeps it from that is no error of the run: a new process may do. */
static bool runs_default(tune_session *s)
{
    double worst;
    char why[256];
    if (!ready(s, s->untuned) &&
        ask_verify(s, s->untuned, INFINITY, &worst, why, sizeof why) == TUNE_CORRECT)
        return true;
    s->error = (ef_error){0};
    return false;
}

static ef_status forget_failures(tune_session *s)
{
    ef_status status = EF_OK;
    for (size_t i = 0; i < s->failures && !status; i++) {
        tune_option *o = &s->options[s->failed[i]];
        o->outcome = TUNE_UNTRIED;
        status = tune_journal_end(&s->journal, s->booked, o->text, TUNE_UNTRIED, 0,
                                  "the device was sick", &s->error);
    }
    s->failures = 0;
    return status;
}

/* Several failures in a row may be the device's: its default must still run. If it does not, and
 * does in a new process, they were; a device that is sick again ends the run. */
static tune_outcome look_after(tune_session *s, size_t i, tune_outcome outcome)
{
    /* nobody knows that CLBlast's own parameters ever were right here */
    const bool has_canary =
        s->target.id != TUNE_CLBLAST || s->options[s->untuned].outcome == TUNE_CORRECT;
    if (outcome == TUNE_CORRECT)
        s->failures = 0;
    if (outcome == TUNE_CORRECT || outcome == TUNE_LATE)
        return outcome;
    s->failed[s->failures++] = i;
    if (s->failures < TUNE_MOST_FAILURES || !has_canary || runs_default(s)) {
        s->failures %= TUNE_MOST_FAILURES;
        return outcome;
    }
    tune_process_end(worker_of(s, s->untuned), NULL, 0);
    if (s->sick++ || !runs_default(s)) {
        stop(s, EF_EDEVICE, "the device does not run any more what it ran before");
        return TUNE_GONE;
    }
    return forget_failures(s) ? TUNE_GONE : TUNE_SICK;
}

/* What was known before is what is known now, but one that hangs failed. */
static ef_status book_late(tune_session *s, size_t i, double seconds)
{
    tune_option *o = &s->options[i];
    ef_status status = tune_journal_late(&s->journal, s->booked, o->text, seconds, &s->error);
    if (status || i == s->untuned ||
        !has_hung(s, tune_journal_find(&s->journal, s->booked, o->text)))
        return status;
    o->outcome = TUNE_TIMEOUT;
    return tune_journal_end(&s->journal, s->booked, o->text, TUNE_TIMEOUT, o->worst,
                            "took too long, again and again or by far", &s->error);
}

/* Books an outcome; a success only where it is that of a verification. */
static tune_outcome settle(tune_session *s, size_t i, tune_outcome outcome, bool verified,
                           double seconds)
{
    tune_option *o = &s->options[i];
    ef_status status = EF_OK;
    if (outcome == TUNE_LATE)
        status = book_late(s, i, seconds);
    else if (outcome != TUNE_CORRECT || verified) {
        tune_one_line(o->why);
        o->outcome = outcome;
        status =
            tune_journal_end(&s->journal, s->booked, o->text, outcome, o->worst, o->why, &s->error);
    }
    if (status)
        return TUNE_GONE;
    return outcome == TUNE_LATE ? outcome : look_after(s, i, outcome);
}

/* Ready to try option i, with that in the journal. */
static bool begin(tune_session *s, size_t i)
{
    s->options[i].why[0] = '\0';
    return !ready(s, i) &&
           !tune_journal_begin(&s->journal, s->booked, s->options[i].text, &s->error);
}

/* ms NULL: verify it, else time it. */
static tune_outcome attempt(tune_session *s, size_t i, tune_limit limit, double *ms)
{
    tune_option *o = &s->options[i];
    return ms ? ask_times(s, &i, 1, limit, ms, o->why, sizeof o->why)
              : ask_verify(s, i, limit.left_s, &o->worst, o->why, sizeof o->why);
}

/* A worker that dies of the default may have been killed: it is asked once more. */
static tune_outcome try(tune_session *s, size_t i, tune_limit limit, double *ms)
{
    tune_option *o = &s->options[i];
    if (tune_is_failure(o->outcome))
        return o->outcome;
    if (!begin(s, i))
        return TUNE_GONE;
    const double began = ef__now();
    tune_outcome outcome = attempt(s, i, limit, ms);
    if (i == s->untuned && tune_is_failure(outcome) && !worker_of(s, i)->pid)
        outcome = begin(s, i) ? attempt(s, i, limit, ms) : TUNE_GONE;
    if (outcome == TUNE_CORRECT && ms &&
        tune_journal_time(&s->journal, s->booked, o->text, *ms, &s->error))
        outcome = TUNE_GONE;
    return outcome == TUNE_GONE ? outcome : settle(s, i, outcome, !ms, ef__now() - began);
}

tune_outcome tune_session_sample(void *user, size_t i, tune_limit limit, double *ms)
{
    return try(user, i, limit, ms);
}

tune_outcome tune_session_verify(void *user, size_t i, tune_limit limit)
{
    return try(user, i, limit, NULL);
}

/* Only times are compared here: some of them may not have been verified, the winner is before it is
 * adopted. Where a round of several fails, each is tried alone. */
tune_outcome tune_session_round(void *user, const size_t *list, size_t count, tune_limit limit,
                                double *ms, size_t *failed)
{
    tune_session *s = user;
    char why[256];
    tune_outcome outcome = TUNE_CORRECT;
    for (size_t i = 0, n; i < count && outcome == TUNE_CORRECT; i += n) {
        for (n = 1; i + n < count && worker_of(s, list[i + n]) == worker_of(s, list[i]); n++)
            ;
        if (ready(s, list[i]))
            return TUNE_GONE;
        outcome = build(s, list + i, n, limit, why, sizeof why);
        if (outcome == TUNE_CORRECT)
            outcome = ask_times(s, list + i, n, limit, ms + i, why, sizeof why);
    }
    *failed = 0;
    if (outcome == TUNE_LATE)
        return outcome;
    for (size_t i = 0; i < count && outcome != TUNE_CORRECT; i++) {
        tune_outcome alone = tune_session_sample(s, list[i], limit, &ms[i]);
        *failed = i;
        if (alone != TUNE_CORRECT)
            return alone;
    }
    return TUNE_CORRECT;
}

tune_known *tune_session_known(const tune_session *s, size_t *count)
{
    tune_known *known = calloc(s->count, sizeof *known);
    *count = 0;
    for (size_t i = 0; known && i < s->count; i++) {
        const tune_option *o = &s->options[i];
        const tune_entry *e = tune_journal_find(&s->journal, s->booked, o->text);
        if (!e || (!tune_is_failure(o->outcome) && !e->count && !o->late))
            continue;
        tune_known k = {.candidate = i,
                        .outcome = tune_is_failure(o->outcome) ? o->outcome
                                   : e->count                  ? TUNE_CORRECT
                                                               : TUNE_LATE,
                        .verified = o->outcome == TUNE_CORRECT};
        /* The last: before them the default was cold. */
        size_t t = e->count > TUNE_SAMPLES ? e->count - TUNE_SAMPLES : 0;
        for (; k.outcome == TUNE_CORRECT && t < e->count; t++)
            k.ms[k.samples++] = e->ms[t];
        known[(*count)++] = k;
    }
    return known;
}
