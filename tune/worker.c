/* The worker: requests in, answers out. */
#include "worker.h"
#include "actor/identity.h"
#include "base/size.h"
#include "op/tuned.h"
#include "process.h"
#include "products.h"
#include "timing.h"
#include "train/trainer.h"
#include "../bench/bench.h"
#include "verify.h"
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_CHOICES = 4096 };

typedef struct timed {
    ef__choice choice;
    size_t calls; /* that are timed at once; 0: not known yet */
} timed;

typedef struct worker {
    FILE *out;
    ef_actor *actor;
    bool is_open;
    tune_cases cases;
    tune_timing timing; /* of the target */
    timed *choices;
    size_t count, untuned;
    tune_products products; /* of the target "clblast"; its choices are parameters, not numbers */
    bench ceilings;
} worker;

/* ---- answers ---- */

/* One line; it is freed. False: nobody listens. */
static bool say(worker *w, json_t *line)
{
    bool said =
        !json_dumpf(line, w->out, JSON_COMPACT) && fputc('\n', w->out) != EOF && !fflush(w->out);
    json_decref(line);
    return said;
}

static json_t *failed(const char *kind, const char *text)
{
    char line[sizeof((ef_error *)0)->text];
    snprintf(line, sizeof line, "%s", text);
    tune_one_line(line);
    return json_pack("{s:s, s:s}", "failed", kind, "text", line);
}

/* What a failed call said; the actor is ready again. */
static json_t *actor_failed(worker *w, ef_status status)
{
    ef_error error;
    ef__actor_says(w->actor, status, &error);
    ef_actor_reset(w->actor);
    return failed(status == EF_EBUILD ? "compile" : "runtime", error.text);
}

/* Of everything that makes old times worthless: device, driver, library, kernels. */
static void identify(worker *w, char hex[EF__SHA256_HEX])
{
    const ef_device_info *d = ef_actor_device(w->actor);
    char key[EF__SHA256_HEX];
    ef__sha256 sha;
    ef__tuned_key(w->actor, key);
    ef__sha256_begin(&sha);
    ef__sha256_add(&sha, key, strlen(key) + 1);
    ef__sha256_add(&sha, d->driver, strlen(d->driver) + 1);
    ef__sha256_add(&sha, ef_version(), strlen(ef_version()) + 1);
    for (int id = 0; id < EF__OPS; id++)
        if (tune_is_tunable(id) && !ef__op_hash(w->actor, id, key))
            ef__sha256_add(&sha, key, strlen(key) + 1);
    ef__sha256_end_hex(&sha, hex);
}

static json_t *device(worker *w)
{
    ef__identity own;
    char all[EF__SHA256_HEX];
    ef__identity_get(w->actor, &own);
    identify(w, all);
    const ef_device_info *d = &own.info;
    const char *accuracy = ef_actor_accuracy(w->actor) == EF_STRICT ? "strict" : "normal";
    return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s}", "is_cpu", (int)d->is_cpu,
                     "accuracy", accuracy, "name", d->name, "platform", d->platform, "version",
                     d->version, "driver", d->driver, "cpu", d->host_cpu, "key", own.hash, "units",
                     (int)d->compute_units, "identity", all);
}

/* With what else tells it from others, for people. */
static json_t *describe(worker *w)
{
    json_t *all = device(w);
    ef__identity own;
    ef__identity_get(w->actor, &own);
    json_object_set_new(
        all, "hardware",
        json_pack("{s:I, s:I, s:I, s:s, s:s}", "vendor_id", (json_int_t)own.vendor_id,
                  "max_work_group", (json_int_t)own.info.max_work_group, "local_bytes",
                  (json_int_t)own.info.local_bytes, "pci", own.pci, "uuid", own.uuid));
    return all;
}

/* ---- opening a target ---- */

static void close_target(worker *w)
{
    tune_timing_close(&w->timing);
    if (w->is_open)
        tune_cases_free(&w->cases);
    w->is_open = false;
    tune_products_close(&w->products);
    free(w->choices);
    w->choices = NULL;
    w->count = 0;
}

static bool add(worker *w, const ef__variant *v, const int *knob)
{
    timed *more = realloc(w->choices, (w->count + 1) * sizeof *more);
    if (!more)
        return false;
    w->choices = more;
    more[w->count] = (timed){.choice = {.variant = v}};
    memcpy(more[w->count].choice.knob, knob, sizeof more->choice.knob);
    return ++w->count < MOST_CHOICES;
}

/* Worth trying: in the class of accuracy; on a CPU, of what works in local memory, which there is
 * none of, only the untuned point. */
static bool is_tried(worker *w, const ef__variant *v, const ef__args *args)
{
    const ef__device *d = ef__device_of(w->actor);
    if (v->loose && ef_actor_accuracy(w->actor) == EF_STRICT)
        return false;
    const ef__choice untuned = ef__op_untuned(d, w->cases.targets[0].id, v->name);
    return !d->info.is_cpu || !v->group || !v->group(d, args).local_bytes ||
           !memcmp(untuned.knob, args->knob, sizeof untuned.knob);
}

/* Every point of the variant's knobs that runs the target, the last knob fastest. */
static bool enumerate(worker *w, const ef__variant *v, ef__args *args)
{
    const size_t knobs = ef__knobs(v);
    size_t at[EF__MAX_KNOBS] = {0}, i;
    do {
        int knob[EF__MAX_KNOBS] = {0};
        for (i = 0; i < knobs; i++)
            knob[i] = v->knobs[i].values[at[i]];
        memcpy(args->knob, knob, sizeof knob);
        if (ef__variant_runs(v, ef__device_of(w->actor), args) && is_tried(w, v, args) &&
            !add(w, v, knob))
            return false;
        for (i = knobs; i > 0 && ++at[i - 1] == ef__knob_values(&v->knobs[i - 1]); i--)
            at[i - 1] = 0;
    } while (i > 0);
    return true;
}

static bool list_choices(worker *w)
{
    const ef__op *op = ef__op_row(w->cases.targets[0].id);
    ef__args args = w->timing.sets[0].args;
    ef__choice untuned = ef__op_choose(w->actor, w->cases.targets[0].id, &args);
    for (int v = 0; v < EF__MAX_VARIANTS && op->variants[v].name; v++)
        if (!enumerate(w, &op->variants[v], &args))
            return false;
    w->untuned = w->count;
    for (size_t i = 0; i < w->count; i++)
        if (w->choices[i].choice.variant == untuned.variant &&
            !memcmp(w->choices[i].choice.knob, untuned.knob, sizeof untuned.knob))
            w->untuned = i;
    return w->untuned < w->count;
}

static json_t *choice_json(worker *w, const ef__choice *c)
{
    json_t *knobs = json_object();
    for (size_t i = 0; i < ef__knobs(c->variant); i++)
        json_object_set_new(knobs, c->variant->knobs[i].name, json_integer(c->knob[i]));
    const ef__choice untuned =
        ef__op_untuned(ef__device_of(w->actor), w->cases.targets[0].id, c->variant->name);
    return json_pack("{s:s, s:o, s:b}", "variant", c->variant->name, "knobs", knobs, "untuned",
                     !memcmp(untuned.knob, c->knob, sizeof c->knob));
}

/* What the plain formula's flop, or its bytes, take at the device's ceilings. 0: not known. */
static double floor_ms(worker *w, double flops, double bytes)
{
    double fma, copy;
    ef_status status = bench_ceiling_fma(&w->ceilings, &fma);
    if (!status)
        status = bench_ceiling_copy(&w->ceilings, bytes, &copy);
    if (!status)
        return 1e3 * fmax(flops / fma, bytes / copy);
    ef_actor_reset(w->actor);
    return 0;
}

static json_t *target_json(worker *w)
{
    const ef__op *op = ef__op_row(w->cases.targets[0].id);
    const ef__args *args = &w->timing.sets[0].args;
    json_t *choices = json_array();
    for (size_t i = 0; i < w->count; i++)
        json_array_append_new(choices, choice_json(w, &w->choices[i].choice));
    char source[EF__SHA256_HEX];
    ef__op_hash(w->actor, w->cases.targets[0].id, source);
    const double flops = op->flops(args), bytes = op->bytes(args);
    return json_pack("{s:o, s:i, s:f, s:f, s:f, s:s}", "choices", choices, "default",
                     (int)w->untuned, "flops", flops, "bytes", bytes, "floor_ms",
                     floor_ms(w, flops, bytes), "source", source);
}

static json_t *open_clblast(worker *w, json_t *list)
{
    ef_error error = {0};
    close_target(w);
    ef_status status = tune_products_open(&w->products, w->actor, list, &error);
    if (status) {
        ef_actor_reset(w->actor);
        return failed("runtime", error.text);
    }
    const ef__clblast_limits l = ef__clblast_limits_of(ef__device_of(w->actor));
    return json_pack("{s:b, s:I, s:I}", "fits", (int)tune_products_fit(&w->products), "group",
                     (json_int_t)l.group, "local_bytes", (json_int_t)l.local_bytes);
}

static json_t *open_target(worker *w, const char *text, json_t *clblast)
{
    tune_target target;
    ef_error error = {0};
    close_target(w);
    if (tune_clblast_take(w->actor, clblast))
        return actor_failed(w, EF_EARG);
    if (!tune_target_parse(text, &target))
        return failed("runtime", "no such target");
    w->is_open = true;
    ef_status status = tune_cases_make(&w->cases, w->actor, &target, &error);
    if (status) {
        ef_actor_reset(w->actor);
        return failed(status == EF_EBUILD ? "compile" : "runtime", error.text);
    }
    status = tune_timing_open(&w->timing, w->actor, &w->cases.cases[0]);
    if (status)
        return actor_failed(w, status);
    return list_choices(w) ? target_json(w) : failed("runtime", "the choices cannot be listed");
}

/* ---- timing ---- */

/* Once enqueued it is built, and the supervisor is told; but drivers of CPUs build a command when
 * its turn comes. */
static void say_built(void *user)
{
    worker *w = user;
    if (!ef_actor_device(w->actor)->is_cpu)
        say(w, json_pack("{s:b}", "built", 1));
}

static ef_status time_choice(worker *w, size_t index, double *ms)
{
    if (index >= w->count)
        return EF_EARG;
    timed *t = &w->choices[index];
    return tune_timing_measure(&w->timing, &t->choice, &t->calls, say_built, w, ms);
}

/* each: of the products of CLBlast, of the last choice. */
static ef_status time_list(worker *w, json_t *list, json_t *ms, json_t *each)
{
    json_t *item;
    size_t i;
    double *own = calloc(w->products.count + 1, sizeof *own);
    ef_status status = own ? EF_OK : EF_ENOMEM;
    json_array_foreach(list, i, item)
    {
        double all = 0;
        if (!status && w->products.count)
            status = tune_products_time(&w->products, item, &all, own);
        else if (!status)
            status = time_choice(w, (size_t)json_integer_value(item), &all);
        json_array_append_new(ms, json_real(all));
    }
    for (i = 0; i < w->products.count && own; i++)
        json_array_append_new(each, json_real(own[i]));
    free(own);
    return status;
}

static json_t *time_choices(worker *w, json_t *list)
{
    json_t *ms = json_array(), *each = json_array();
    ef_status status = time_list(w, list, ms, each);
    json_t *answer = json_pack("{s:o, s:o}", "ms", ms, "each", each);
    if (!status)
        return answer;
    json_decref(answer);
    return actor_failed(w, status);
}

static json_t *verify(worker *w, json_t *choice)
{
    char text[256];
    double worst;
    ef_status status;
    const size_t index = (size_t)json_integer_value(choice);
    if (w->products.count)
        status = tune_products_verify(&w->products, choice, &worst, text, sizeof text);
    else if (index >= w->count)
        return failed("runtime", "no such choice");
    else
        status =
            tune_verify(w->actor, &w->cases, &w->choices[index].choice, &worst, text, sizeof text);
    if (status)
        return actor_failed(w, status);
    return json_pack("{s:f, s:s}", "worst", fmin(worst, 1e30), "text", text);
}

/* ---- requests ---- */

static json_t *answer(worker *w, json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    const char *target = json_string_value(json_object_get(request, "target"));
    if (what && !strcmp(what, "device"))
        return describe(w);
    if (what && !strcmp(what, "open") && target && json_object_get(request, "products"))
        return open_clblast(w, json_object_get(request, "products"));
    if (what && !strcmp(what, "open") && target)
        return open_target(w, target, json_object_get(request, "clblast"));
    if (what && !strcmp(what, "verify"))
        return verify(w, json_object_get(request, "choice"));
    if (what && !strcmp(what, "time"))
        return time_choices(w, json_object_get(request, "choices"));
    return failed("runtime", "no such request");
}

static void serve(worker *w)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) {
        json_t *request = json_loadb(line, (size_t)length, 0, NULL);
        json_t *reply = answer(w, request);
        if (!reply)
            reply = failed("runtime", "no host memory");
        json_decref(request);
        if (!say(w, reply))
            break;
    }
    free(line);
}

int tune_worker(const char *name)
{
    worker w = {.ceilings = {.rounds = 3}};
    ef_error error;
    /* compilers that a driver starts do not hold it open */
    w.out = fdopen(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), "w");
    if (!w.out || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) /* what drivers print is no answer */
        return EXIT_FAILURE;
    setenv("EF_TUNE", "off", 1);
    ef_status status = ef_actor_open(name, &w.actor, &error);
    if (status) {
        say(&w, failed(status == EF_EARG ? "usage" : "runtime", error.text));
        fclose(w.out);
        return EXIT_FAILURE;
    }
    say(&w, json_pack("{s:b}", "ready", 1));
    w.ceilings.actor = w.actor;
    serve(&w);
    close_target(&w);
    ef_actor_close(w.actor);
    fclose(w.out);
    return EXIT_SUCCESS;
}
