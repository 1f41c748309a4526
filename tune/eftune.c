/* eftune: find the fastest variants of the operations on a device, once, and write them down. */
#include "actor/identity.h"
#include "base/error.h"
#include "base/size.h"
#include "cmd/options.h"
#include "export.h"
#include "jobs.h"
#include "op/tuned.h"
#include "plot.h"
#include "run.h"
#include "worker.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "eftune"

typedef struct settings {
    const char *device, *ops, *shapes, *db, *why, *plot;
    int effort, format;
    float budget;
    uint64_t seed;
    size_t jobs; /* 0: one device only */
    bool fresh, retry_failed, check, list, show, json, worker;
} settings;

static const float budgets[] = {40, 600, 3000}; /* of the efforts, seconds */

/* ---- the database ---- */

/* The user has none at path: the system's, which programs use then, if only looked at. */
static int find_system_database(const settings *s, ef_actor *actor, const char *key, char *path,
                                size_t size)
{
    char system[4096];
    ef__tuned_system_path(key, system, sizeof system);
    if (access(system, F_OK))
        return ef__say_error(NAME, EF__DATA, "%s: nothing is tuned for %s yet; eftune does", path,
                             ef_actor_device(actor)->name);
    if (s->check)
        return ef__say_error(NAME, EF__DATA, "%s: %s; programs use the system's, %s: --db names it",
                             path, strerror(ENOENT), system);
    ef__say_error(NAME, 0, "looking at the system's database, %s", system);
    snprintf(path, size, "%s", system);
    return 0;
}

/* The database to look into: --db, else the device's own, else the system's. */
static int find_database(const settings *s, char *path, size_t size)
{
    ef_actor *actor;
    char key[EF__SHA256_HEX];
    if (s->db) {
        snprintf(path, size, "%s", s->db);
        return 0;
    }
    int code = ef__open_device(NAME, s->device, &actor);
    if (code)
        return code;
    ef__tuned_key(actor, key);
    ef__tuned_user_path(key, path, size);
    if (access(path, F_OK) && errno != ENOENT)
        code = ef__say_error(NAME, EF__DATA, "%s: %s", path, strerror(errno));
    else if (access(path, F_OK))
        code = find_system_database(s, actor, key, path, size);
    ef_actor_close(actor);
    return code;
}

/* ---- targets ---- */

typedef struct targets {
    tune_target *at;
    size_t count;
    bool captured;         /* some of them: of what ran, not of what was asked for */
    tune_target *products; /* what CLBlast's parameters are for, where these are a target */
    size_t product_count;
} targets;

static bool append(targets *t, const tune_target *one)
{
    tune_target *more = realloc(t->at, (t->count + 1) * sizeof *more);
    if (!more)
        return false;
    t->at = more;
    t->at[t->count++] = *one;
    return true;
}

/* One line: a target as --show prints it, what stands behind # is a remark; or one that
 * EF_TUNE_CAPTURE wrote, of which operations that are not tuned are passed over. */
static int read_target(const char *path, size_t number, char *line, targets *t)
{
    tune_target one;
    json_t *json = NULL;
    bool good = true, wanted = true;
    line[strcspn(line, "\n")] = '\0';
    if (*line == '{') {
        json = json_loads(line, 0, NULL);
        const char *op = json_string_value(json_object_get(json, "op"));
        wanted = !op || tune_is_tunable_name(op);
        good = !wanted || tune_target_read(json, &one);
        t->captured = true;
        json_decref(json);
    } else {
        line[strcspn(line, "#")] = '\0';
        wanted = line[strspn(line, " \t")] != '\0';
        good = !wanted || tune_target_parse(line, &one);
    }
    if (!good)
        return ef__say_error(NAME, EF__DATA, "%s:%zu: not an operation with its sizes: %s", path,
                             number, line);
    return !wanted || append(t, &one) ? 0 : ef__say_error(NAME, EF__RUNTIME, "no host memory");
}

static int read_targets(const char *path, targets *t)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    int code = 0;
    if (!file)
        return ef__say_error(NAME, EF__DATA, "%s: %s", path, strerror(errno));
    for (size_t number = 1; !code && getline(&line, &room, file) > 0; number++)
        code = read_target(path, number, line, t);
    if (!code && ferror(file))
        code = ef__say_error(NAME, EF__DATA, "%s: cannot read: %s", path, strerror(errno));
    free(line);
    fclose(file);
    if (!code && !t->count)
        code = ef__say_error(NAME, EF__DATA, "%s: no shapes", path);
    return code;
}

/* Is name, or the family before its dot, in a list parted by commas? */
static bool is_wanted(const char *list, const char *name)
{
    size_t family = strcspn(name, ".");
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
        size_t length = strcspn(at, ",");
        if ((length == family && !strncmp(at, name, family)) ||
            (length == strlen(name) && !strncmp(at, name, length)))
            return true;
    }
    return false;
}

static int check_ops(const char *list)
{
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',') {
        char word[64];
        bool known;
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, ","), at);
        known = tune_is_tunable_name(word);
        for (int id = 0; id < EF__OPS; id++)
            known |= tune_is_tunable(id) && is_wanted(word, ef__op_row(id)->name);
        if (!known)
            return ef__say_error(NAME, EF__USAGE, "--ops: \"%s\" is no operation that is tuned",
                                 word);
    }
    return 0;
}

/* The class that the process on the device has. */
static const char *accuracy(void)
{
    const char *class = getenv("EF_ACCURACY");
    return class && !strcmp(class, "strict") ? class : "normal";
}

/* Records of the other class are not this run's. */
static bool see_shape(void *user, json_t *line)
{
    const char *shape = json_string_value(json_object_get(line, "shape"));
    tune_target one;
    return !shape || !tune_target_parse(shape, &one) ||
           !tune_database_is_of(line, &one, accuracy()) || append(user, &one);
}

static int read_database(const settings *s, targets *t)
{
    char path[4096];
    ef_error error;
    int code = find_database(s, path, sizeof path);
    if (!code && tune_database_read(path, see_shape, t, &error))
        code = ef__say_error(NAME, EF__DATA, "%s", error.text);
    if (!code && !t->count)
        code =
            ef__say_error(NAME, EF__DATA, "%s: nothing is tuned for %s accuracy", path, accuracy());
    return code;
}

/* CLBlast's parameters go before what they are for: all products that are wanted, or with "clblast"
 * alone all that there are. What is checked has to be in the database. */
static int find_products(const settings *s, targets *t)
{
    const bool wanted = !s->ops || is_wanted(s->ops, EF__TUNE_CLBLAST);
    bool listed = false, any = false;
    size_t kept = 0;
    t->products = calloc(t->count + 1, sizeof *t->products);
    if (!t->products)
        return ef__say_error(NAME, EF__RUNTIME, "no host memory");
    for (size_t i = 0; i < t->count; i++) {
        const tune_target one = t->at[i];
        const bool own = !s->ops || is_wanted(s->ops, tune_target_op(&one));
        if (tune_is_product(&one) && (own || wanted))
            t->products[t->product_count++] = one;
        any |= tune_is_product(&one) && own;
        listed |= one.id == TUNE_CLBLAST;
        if (own && one.id != TUNE_CLBLAST)
            t->at[kept++] = one;
    }
    t->count = kept;
    if (t->product_count && (listed || !s->check) && (any || (s->ops && wanted))) {
        if (!append(t, &(tune_target){.id = TUNE_CLBLAST}))
            return ef__say_error(NAME, EF__RUNTIME, "no host memory");
        memmove(t->at + 1, t->at, kept * sizeof *t->at);
        t->at[0] = (tune_target){.id = TUNE_CLBLAST};
    }
    return 0;
}

static int find_targets(const settings *s, targets *t)
{
    int code = check_ops(s->ops);
    if (!code && s->check)
        code = read_database(s, t);
    else if (!code && s->shapes)
        code = read_targets(s->shapes, t);
    else if (!code)
        t->at = tune_default_targets(s->effort, &t->count);
    if (t->captured)
        t->count = tune_targets_merge(t->at, t->count);
    if (!code)
        code = find_products(s, t);
    if (!code && !t->count)
        code = ef__say_error(NAME, EF__USAGE, "none of the shapes is of --ops %s", s->ops);
    return code;
}

/* ---- looking ---- */

static int list_devices(bool json)
{
    size_t count = ef_device_count();
    for (size_t i = 0; i < count; i++) {
        ef__identity id;
        ef_error error;
        if (ef__identity_describe(i, &id, &error))
            return ef__say_error(NAME, EF__DEVICE, "%s", error.text);
        const ef_device_info *d = &id.info;
        if (json)
            tune_print_json(json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "index", (json_int_t)i,
                                      "name", d->name, "platform", d->platform, "kind",
                                      d->is_gpu   ? "gpu"
                                      : d->is_cpu ? "cpu"
                                                  : "other",
                                      "key", id.hash, "pci", id.pci, "uuid", id.uuid));
        else
            printf("%3zu: %s (%s)\n", i, d->name, d->platform);
    }
    return count ? EXIT_SUCCESS : ef__say_error(NAME, EF__DEVICE, "no OpenCL device");
}

/* Those of CLBlast stand by kernels. */
static void show_knobs(json_t *knobs)
{
    const char *name;
    json_t *value;
    json_object_foreach(knobs, name, value)
    {
        printf(" %s", name);
        if (json_is_object(value))
            show_knobs(value);
        else
            printf(" %lld", (long long)json_integer_value(value));
    }
}

typedef struct shown {
    bool json, any;
} shown;

static bool show_line(void *user, json_t *line)
{
    shown *s = user;
    const char *shape, *variant, *date, *class;
    json_t *knobs;
    double ms, base, low, high;
    json_int_t tried = 0, of = 0;
    s->any = true;
    if (s->json) {
        tune_print_json(json_incref(line));
        return true;
    }
    if (json_object_get(line, "format"))
        printf("# %s, driver %s\n", json_string_value(json_object_get(line, "device")),
               json_string_value(json_object_get(line, "driver")));
    if (json_unpack(line, "{s:s, s:s, s:s, s:s, s:o, s:F, s:F, s:F, s:F, s?I, s?I}", "shape",
                    &shape, "variant", &variant, "date", &date, "accuracy", &class, "knobs", &knobs,
                    "ms", &ms, "base_ms", &base, "ratio_low", &low, "ratio_high", &high, "tried",
                    &tried, "of", &of))
        return true;
    printf("%s # %.4g ms: %s", shape, ms, variant);
    if (strcmp(variant, "default")) {
        show_knobs(knobs);
        printf(", default %.4g ms, %.2f to %.2f times as fast", base, 1 / high, 1 / low);
    }
    if (of > 0)
        printf(", %lld of %lld tried", (long long)tried, (long long)of);
    printf(", %s accuracy, %s\n", class, date);
    return true;
}

static int show(const settings *s)
{
    char path[4096];
    ef_error error;
    shown lines = {.json = s->json};
    int code = find_database(s, path, sizeof path);
    if (!code && tune_database_read(path, show_line, &lines, &error))
        code = ef__say_error(NAME, EF__DATA, "%s", error.text);
    else if (!code && !lines.any)
        code = ef__say_error(NAME, EF__DATA, "%s: is empty, not a file of \"%s\"", path,
                             EF__TUNE_FORMAT);
    return code;
}

/* Of a search that has ended, or of the times so far; 0: there are none. */
static double median_of(const tune_entry *e)
{
    double ms[64];
    size_t count = ef__min(e->count, sizeof ms / sizeof *ms);
    if (e->median_ms > 0 || count == 0)
        return e->median_ms;
    memcpy(ms, e->ms, count * sizeof *ms);
    return tune_median(ms, count);
}

static int by_target_and_time(const void *x, const void *y)
{
    const tune_entry *a = *(const tune_entry *const *)x, *b = *(const tune_entry *const *)y;
    int order = strcmp(a->target, b->target);
    double at = median_of(a), bt = median_of(b);
    at = at > 0 ? at : INFINITY;
    bt = bt > 0 ? bt : INFINITY;
    return order ? order : (at > bt) - (at < bt);
}

static const char *why_of(const tune_entry *e)
{
    const char *failed = tune_journal_why(e);
    return failed             ? failed
           : e->begun         ? "the run ended while it was tried: once more it may be"
           : e->fate          ? e->fate
           : e->late_s[0] > 0 ? "cut short: the time was up"
           : e->count         ? "the search has not ended"
                              : "not tried yet";
}

/* The rounds tell more than the times, which were taken one after another. */
static void print_why(const settings *s, const tune_entry *e)
{
    const bool has_rounds = e->rounds && why_of(e) == e->fate;
    if (s->json) {
        json_t *line = json_pack("{s:s, s:s, s:f, s:s, s:s}", "target", e->target, "choice",
                                 e->choice, "ms", median_of(e), "outcome",
                                 tune_outcome_text(tune_journal_outcome(e)), "why", why_of(e));
        if (line && has_rounds)
            tune_add_rounds(line, e->ratio, e->rounds);
        tune_print_json(line);
        return;
    }
    if (median_of(e) > 0)
        printf("  %10.4g ms  %-44s ", median_of(e), e->choice);
    else
        printf("  %10s     %-44s ", "", e->choice);
    if (has_rounds)
        printf("%.3f (%.3f to %.3f) of the default's time in %zu rounds: ", e->ratio.median,
               e->ratio.low, e->ratio.high, e->rounds);
    puts(why_of(e));
}

/* A family, OP or "OP SIZES": every option of each target, fastest first, and why it is where it
 * is. */
static int why(const settings *s)
{
    char path[4200];
    tune_journal j;
    ef_error error;
    int code = find_database(s, path, sizeof path - 16);
    if (code)
        return code;
    strcat(path, ".journal");
    if (tune_journal_look(&j, path, &error)) {
        tune_journal_close(&j);
        return ef__say_error(NAME, EF__DATA, "%s", error.text);
    }
    const tune_entry **list = calloc(j.count + 1, sizeof *list);
    size_t count = 0, wanted = strlen(s->why);
    for (size_t i = 0; list && i < j.count; i++)
        if (!strncmp(j.entries[i].target, s->why, wanted) &&
            strchr(" .", j.entries[i].target[wanted]))
            list[count++] = &j.entries[i];
    if (list)
        qsort(list, count, sizeof *list, by_target_and_time);
    for (size_t i = 0; i < count; i++) {
        if (!s->json && (i == 0 || strcmp(list[i]->target, list[i - 1]->target)))
            printf("%s\n", list[i]->target);
        print_why(s, list[i]);
    }
    free(list);
    tune_journal_close(&j);
    return count ? EXIT_SUCCESS
                 : ef__say_error(NAME, EF__USAGE, "--why: nothing was tried for \"%s\"", s->why);
}

/* What was tried, for others' programs and as a picture. folder: of --export. */
static int hand_out(const settings *s, const char *folder)
{
    char path[4096];
    tune_books b;
    ef_error error;
    int code = find_database(s, path, sizeof path);
    if (code)
        return code;
    if (tune_books_read(&b, path, &error))
        code = ef__say_error(NAME, EF__DATA, "%s", error.text);
    else if ((folder && tune_export(&b, (tune_format)s->format, folder, &error)) ||
             (s->plot && tune_plot(&b, s->plot, &error)))
        code = ef__say_error(NAME, EF__RUNTIME, "%s", error.text);
    tune_books_close(&b);
    return code;
}

/* ---- tuning ---- */

static volatile sig_atomic_t stop;

/* The first asks for the end, the second kills. */
static void on_signal(int number)
{
    if (stop) {
        signal(number, SIG_DFL);
        raise(number);
    }
    stop = 1;
}

static void catch_signals(void)
{
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP}; /* the last: its terminal was closed */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old, own = {.sa_handler = on_signal};
        if (!sigaction(numbers[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &own, NULL);
    }
    signal(SIGPIPE, SIG_IGN); /* of a worker that died */
}

/* What is checked is all that there is, unless someone has less time. */
static double budget(const settings *s)
{
    return s->budget > 0 ? s->budget : s->check ? INFINITY : budgets[s->effort];
}

static int tune(const settings *s)
{
    static char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char device[] = "--device", worker[] = "--worker", *argv[5] = {self, worker};
    targets t = {0};
    if (length <= 0)
        return ef__say_error(NAME, EF__RUNTIME, "/proc/self/exe: %s", strerror(errno));
    self[length] = '\0';
    if (s->device) {
        argv[2] = device;
        argv[3] = (char *)s->device;
    }
    int code = find_targets(s, &t);
    if (!code) {
        const tune_request request = {.command = NAME,
                                      .worker = argv,
                                      .db = s->db,
                                      .target = t.at,
                                      .count = t.count,
                                      .products = t.products,
                                      .product_count = t.product_count,
                                      .budget_s = budget(s),
                                      .seed = s->seed,
                                      .check = s->check,
                                      .fresh = s->fresh,
                                      .retry_failed = s->retry_failed,
                                      .json = s->json,
                                      .alone = !s->jobs,
                                      .stop = &stop};
        catch_signals();
        code = tune_run(&request);
    }
    free(t.at);
    free(t.products);
    return code;
}

/* ---- several devices ---- */

static int list_for_jobs(void *user)
{
    (void)user;
    return ef__command_end(NAME, list_devices(true));
}

static int tune_for_jobs(void *user, const char *device)
{
    settings s = *(const settings *)user;
    s.device = device;
    return ef__command_end(NAME, tune(&s));
}

static int tune_several(settings *s)
{
    const char *from_outside = getenv("EF_DEVICE");
    const tune_jobs jobs = {.command = NAME,
                            .wanted = s->device                       ? s->device
                                      : from_outside && *from_outside ? from_outside
                                                                      : NULL,
                            .at_once = s->jobs,
                            .watch_s = 1,
                            .json = s->json,
                            .list = list_for_jobs,
                            .run = tune_for_jobs,
                            .user = s,
                            .stop = &stop};
    targets t = {0};
    if (s->db)
        return ef__say_error(NAME, EF__USAGE, "--jobs: each device has its own database, not --db");
    int code = s->check ? 0 : find_targets(s, &t); /* what is wrong is said once */
    free(t.at);
    free(t.products);
    if (code)
        return code;
    catch_signals();
    return tune_jobs_run(&jobs);
}

/* ---- the command line ---- */

typedef struct given {
    const char *name;
    bool is;
} given;

static int exclude(const char *one, const char *other)
{
    return ef__say_error(NAME, EF__USAGE, "%s and %s exclude each other", one, other);
}

/* One thing at a time, but --export and --plot; what is only looked at needs no words on how to
 * tune. */
static int check_together(const settings *s)
{
    const given modes[] = {{"--check", s->check},        {"--list", s->list},
                           {"--show", s->show},          {"--why", s->why},
                           {"--export", s->format >= 0}, {"--plot", s->plot}};
    const given tuning[] = {{"--shapes", s->shapes},
                            {"--ops", s->ops},
                            {"--budget", s->budget > 0},
                            {"--fresh", s->fresh},
                            {"--retry-failed", s->retry_failed},
                            {"--jobs", s->jobs}};
    enum { CHECK = 0, EXPORT = 4, MODES = 6, SHAPES = 0, FRESH = 3, TUNING = 6 };
    for (int i = 0; i < MODES; i++) {
        for (int k = i + 1; k < MODES && modes[i].is; k++)
            if (modes[k].is && i != EXPORT)
                return exclude(modes[i].name, modes[k].name);
        for (int k = 0; k < TUNING && modes[i].is; k++)
            if (tuning[k].is && (i != CHECK || k == SHAPES || k == FRESH))
                return exclude(modes[i].name, tuning[k].name);
    }
    return 0;
}

int main(int argc, char **argv)
{
    settings s = {.effort = 1, .format = -1, .seed = 1};
    int operands = 0;
    const ef__option options[] = {
        {"device", EF__TEXT, &s.device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {"ops", EF__TEXT, &s.ops, "A,B", .fallback = "all",
         .help = "operations or families; clblast: its parameters"},
        {"shapes", EF__TEXT, &s.shapes, "FILE", .fallback = "those of a TCN encoder",
         .help = "what to tune for, a line each"},
        {"effort", EF__CHOICE, &s.effort, "quick|normal|patient",
         .help = "at most 40 s, 10 minutes, 50 minutes"},
        {"budget", EF__REAL, &s.budget, "SECONDS", 0.1, 1e6, "the effort's",
         .help = "how long at most"},
        {"seed", EF__U64, &s.seed, "N", .help = "of what is tried when not all can be"},
        {"db", EF__TEXT, &s.db, "FILE", .fallback = "the user's, for the device",
         .help = "the database"},
        {"fresh", EF__FLAG, &s.fresh, .help = "forget what earlier runs have measured"},
        {"retry-failed", EF__FLAG, &s.retry_failed, .help = "try again what failed before"},
        {"jobs", EF__SIZE, &s.jobs, "N", 1, 64, "one device",
         .help = "tune all devices, or all that D names, N at once"},
        {"Looking", EF__GROUP, .help = ""},
        {"check", EF__FLAG, &s.check,
         .help = "verify and time what is in the database again, after a driver's update"},
        {"list", EF__FLAG, &s.list, .help = "the devices"},
        {"show", EF__FLAG, &s.show, .help = "what is in the database"},
        {"why", EF__TEXT, &s.why, "OP [SIZES]", .fallback = "",
         .help = "all that was tried for it, and why it lost"},
        {"export", EF__CHOICE, &s.format, "t4|kt", .fallback = "",
         .help = "write what was tried into DIR: T4 results, or Kernel Tuner caches"},
        {"plot", EF__TEXT, &s.plot, "FILE.svg", .fallback = "",
         .help = "draw what was tried, by gnuplot"},
        {"json", EF__FLAG, &s.json, .help = "one JSON object a line"},
        {"worker", EF__FLAG, &s.worker, .help = NULL},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "[OPTION...] [DIR]",
        .about = "Find the fastest variant of each operation on a device and write it into the\n"
                 "database that every program of this library looks into. A run that was ended\n"
                 "goes on where it was.\n",
        .options = options,
        .operands = &operands};
    ef__command_begin();
    int code = ef__options_parse(&command, argc, argv);
    if (code >= 0)
        return code;
    if (s.format >= 0 && operands == argc)
        return ef__say_error(NAME, EF__USAGE, "--export: needs a folder");
    if (argc - operands > (s.format >= 0))
        return ef__say_error(NAME, EF__USAGE, "unexpected argument \"%s\"", argv[argc - 1]);
    if (s.worker)
        return tune_worker(s.device);
    if ((code = check_together(&s)) != 0)
        return code;
    if (s.list)
        code = list_devices(s.json);
    else if (s.show)
        code = show(&s);
    else if (s.why)
        code = why(&s);
    else if (s.format >= 0 || s.plot)
        code = hand_out(&s, argv[operands]);
    else
        code = s.jobs ? tune_several(&s) : tune(&s);
    return ef__command_end(NAME, code);
}
