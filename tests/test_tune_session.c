/* The tuner's supervisor against workers that misbehave, its journal and its database, without a
 * device: this program is the worker, too, run with --fake SCENARIO FOLDER.
 *
 * A scenario is a list of "WHEN CHOICE WHAT", parted by commas: WHEN is start, device, open, verify
 * or time, CHOICE a number or * for any; of CLBlast's parameters -1 is its own. FOLDER holds what
 * outlives one worker: a log of requests, a file for each thing that happens once, and "dead", the
 * file of a device that runs nothing. */
#include "ef_test.h"
#include "../tune/check.h"
#include "../tune/run.h"
#include "base/clock.h"
#include "base/rng.h"
#include "folder.h"
#include "op/tuned.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RIGHT = 0 };     /* the default: never the one that misbehaves, but where a test says so */
enum { BUILT_IN = -1 }; /* CLBlast's own parameters */

/* ---- the worker ---- */

static bool fake_sick; /* this process runs nothing any more */
static int fake_begun; /* requests that the scenario has something for */

/* Is this the first time, of all workers in this folder? */
static bool first_time(const char *name)
{
    int fd = open(path_of(name), O_CREAT | O_EXCL | O_WRONLY, 0666);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool is_dead(void)
{
    return !access(path_of("dead"), F_OK);
}

static void note(const char *when, int choice)
{
    FILE *log = fopen(path_of("log"), "a");
    fprintf(log, "%d %s %d\n", (int)getpid(), when, choice);
    fclose(log);
}

static void say(json_t *line)
{
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void hang(void)
{
    for (;;)
        pause();
}

static void die_of(int number)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(number, SIG_DFL);
    raise(number);
}

/* With a process of its own, as a driver's compiler: who has it, has the lock. */
static void hang_with_a_child(void)
{
    int fd = open(path_of("child"), O_RDWR | O_CREAT, 0666);
    if (flock(fd, LOCK_EX) == 0 && fork() == 0)
        hang();
    close(fd);
    hang();
}

/* Instead of an answer. false: there is none more to give. */
static bool misbehave(const char *what)
{
    static const char cut[] = "{\"ms\": [1.0";
    char log[400];
    if (!strcmp(what, "segv"))
        die_of(SIGSEGV);
    else if (!strcmp(what, "abort"))
        die_of(SIGABRT);
    else if (!strcmp(what, "exit"))
        exit(7);
    else if (!strcmp(what, "once") && first_time("once"))
        die_of(SIGKILL);
    else if (!strcmp(what, "hang"))
        hang();
    else if (!strcmp(what, "brood"))
        hang_with_a_child();
    else if (!strcmp(what, "stuck")) { /* it builds, and never ends to run */
        say(json_pack("{s:b}", "built", 1));
        hang();
    } else if (!strcmp(what, "again")) { /* it runs, once in each process */
        if (fake_begun++)
            hang();
        return false;
    } else if (!strcmp(what, "once_again")) { /* of all requests the second fails */
        if (first_time("first") || !first_time("second"))
            return false;
        puts("{\"failed\": \"runtime\", \"text\": \"CL_OUT_OF_RESOURCES\"}");
    } else if (!strcmp(what, "slowly") || !strcmp(what, "drowsily")) {
        usleep(fake_begun++ ? 0 : *what == 's' ? 400000 : 990000); /* it builds, in each process */
        return false;
    } else if (!strcmp(what, "interrupt")) { /* the run */
        kill(getppid(), SIGALRM);
        return false;
    } else if (!strcmp(what, "half")) {
        fputs(cut, stdout);
        fflush(stdout);
        hang();
    } else if (!strcmp(what, "cut")) {
        fputs(cut, stdout);
        fflush(stdout);
        exit(0);
    } else if (!strcmp(what, "endless")) {
        for (;;)
            putchar('x');
    } else if (!strcmp(what, "rubbish"))
        puts("warning: this is no JSON");
    else if (!strcmp(what, "array"))
        puts("[1, 2]");
    else if (!strcmp(what, "empty"))
        puts("{}");
    else if (!strcmp(what, "nothing"))
        puts("{\"ms\": [0]}");
    else if (!strcmp(what, "words"))
        puts("{\"ms\": [\"fast\"]}");
    else if (!strcmp(what, "wrong"))
        puts("{\"worst\": 5.0, \"text\": \"element 3 of y\"}");
    else if (!strcmp(what, "once_wrong") && first_time("once"))
        puts("{\"worst\": 5.0, \"text\": \"element 3 of y\"}");
    else if (!strcmp(what, "fail"))
        puts("{\"failed\": \"runtime\", \"text\": \"CL_OUT_OF_RESOURCES\"}");
    else if (!strcmp(what, "log")) { /* of a compiler: cut off in the middle of a character */
        for (size_t i = 0; i + 1 < sizeof log; i += 2)
            memcpy(log + i, "\xc3\xa4", 2);
        log[sizeof log - 2] = '\0';
        say(json_pack("{s:s, s:s+}", "failed", "compile", "text", "x", log));
    } else if (!strcmp(what, "sick")) { /* until it is started again */
        fake_sick = true;
        return false;
    } else if (!strcmp(what, "dead")) { /* and so is each that follows */
        first_time("dead");
        return false;
    } else if (!strcmp(what, "bury")) { /* and dies */
        first_time("dead");
        die_of(SIGSEGV);
    } else
        return false;
    fflush(stdout);
    return true;
}

/* What the scenario has for this: NULL: nothing. after: it happens behind the answer. */
static const char *planned(const char *scenario, const char *when, int choice)
{
    static char what[32];
    char number[16], at[16];
    for (const char *s = scenario; s; s = strchr(s, ',')) {
        s += *s == ',';
        if (sscanf(s, "%15s %15s %31[^,]", at, number, what) == 3 && !strcmp(at, when) &&
            (*number == '*' || atoi(number) == choice))
            return what;
    }
    return NULL;
}

/* Every point of the operation's table, in its order; the first of a variant is its untuned one. */
static json_t *fake_choices(void)
{
    const ef__op *op = ef__op_row(EF__GELU_FORWARD);
    json_t *list = json_array();
    for (const ef__variant *v = op->variants; v < op->variants + EF__MAX_VARIANTS && v->name; v++) {
        size_t at[EF__MAX_KNOBS] = {0}, i, number = 0;
        do {
            json_t *knobs = json_object();
            for (i = 0; i < ef__knobs(v); i++)
                json_object_set_new(knobs, v->knobs[i].name,
                                    json_integer(v->knobs[i].values[at[i]]));
            json_array_append_new(list, json_pack("{s:s, s:o, s:b}", "variant", v->name, "knobs",
                                                  knobs, "untuned", number++ == 0));
            for (; i > 0 && ++at[i - 1] == ef__knob_values(&v->knobs[i - 1]); i--)
                at[i - 1] = 0;
        } while (i > 0);
    }
    return list;
}

static int fake_default = RIGHT; /* of the target that is open */

/* The higher the number the slower, but the default is slowest of all. */
static double fake_ms(int choice)
{
    return choice == fake_default ? 1.5 : 1 + 0.01 * choice;
}

/* Among more than itself and the default before and after it, a choice is slower. */
static double fake_round_ms(json_t *choices, size_t i)
{
    const int choice = (int)json_integer_value(json_array_get(choices, i));
    const bool alone = json_array_size(choices) <= 3 || choice == fake_default;
    return (alone ? 1 : 1.125) * fake_ms(choice);
}

/* ---- CLBlast's parameters, as the worker has them ---- */

static bool fake_took_some; /* of them */
static size_t fake_products;

static int parameter(json_t *kernels, const char *kernel, const char *name)
{
    return (int)json_integer_value(json_object_get(json_object_get(kernels, kernel), name));
}

/* Of product i, the larger the later. Its own parameters are slow; the direct kernel is good for
 * the first, the other for the rest, most of all with large tiles in registers, wide vectors and
 * copies of 4. */
static double fake_product_ms(json_t *kernels, size_t i)
{
    const double size = i ? 4 : 1;
    if (!json_is_object(kernels))
        return 4 * size;
    if (parameter(kernels, "GemmRoutine", "XGEMM_MIN_INDIRECT_SIZE") > (i ? 50 : 0))
        return i ? 6 * size : 4.0 / fmax(parameter(kernels, "XgemmDirect", "WGD"), 8);
    const double tile = parameter(kernels, "Xgemm", "MWG") * parameter(kernels, "Xgemm", "VWM");
    const double copies = parameter(kernels, "Pad", "PAD_WPTX") == 4 ? 0.8 : 1;
    return (2 * size - tile / 768) * copies;
}

/* A worker of CLBlast's own parameters has to be one that never took others. */
static json_t *fake_products_ms(json_t *choices)
{
    json_t *ms = json_array(), *each = json_array(), *item;
    size_t i;
    json_array_foreach(choices, i, item)
    {
        double all = 0;
        if (json_is_null(item) && fake_took_some)
            return json_pack("{s:s, s:s}", "failed", "runtime", "text", "there is no way back");
        fake_took_some |= json_is_object(item);
        json_array_clear(each);
        for (size_t k = 0; k < fake_products; k++) {
            all += fake_product_ms(item, k);
            json_array_append_new(each, json_real(fake_product_ms(item, k)));
        }
        json_array_append_new(ms, json_real(all));
    }
    return json_pack("{s:o, s:o}", "ms", ms, "each", each);
}

static bool fake_is_cpu(void)
{
    return access(path_of("gpu"), F_OK) != 0;
}

static int fake_group(void)
{
    return fake_is_cpu() ? 256 : 64;
}

static json_t *untuned_choice(const char *name)
{
    const ef__variant *v = ef__op_variant(EF__LINEAR_FORWARD, name);
    json_t *knobs = json_object();
    for (size_t i = 0; i < ef__knobs(v); i++)
        json_object_set_new(knobs, v->knobs[i].name, json_integer(v->knobs[i].values[0]));
    return json_pack("{s:s, s:o, s:b}", "variant", name, "knobs", knobs, "untuned", 1);
}

/* CLBlast, which is the faster one and the default of what is no CPU; and where it is the default
 * no longer, or never was, direct. */
static json_t *fake_linear_choices(void)
{
    const bool pinned = getenv("EF_LINEAR") != NULL;
    json_t *list = json_array();
    if (!pinned)
        json_array_append_new(list, untuned_choice("clblast"));
    if (pinned || fake_is_cpu())
        json_array_append_new(list, untuned_choice("direct"));
    return list;
}

static json_t *fake_open(json_t *request)
{
    const char *target = json_string_value(json_object_get(request, "target"));
    json_t *products = json_object_get(request, "products"), *choices;
    fake_products = json_array_size(products);
    if (products)
        return json_pack("{s:b, s:i, s:i}", "fits", 1, "group", fake_group(), "local_bytes", 8448);
    const bool is_linear = !strncmp(target, "linear", 6);
    if (is_linear)
        note(json_object_get(request, "clblast") ? "tuned" : "own", -1);
    choices = is_linear ? fake_linear_choices() : fake_choices();
    fake_default = is_linear ? (int)json_array_size(choices) - 1 : RIGHT;
    return json_pack("{s:o, s:i, s:f, s:f, s:s}", "choices", choices, "default", fake_default,
                     "flops", 1.0, "bytes", 1.0, "source", "abc");
}

static json_t *fake_answer(const char *when, json_t *request)
{
    json_t *times, *item;
    size_t i;
    if (!strcmp(when, "device"))
        return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:{s:i, s:i}}",
                         "is_cpu", fake_is_cpu(), "name", "fake", "platform", "test", "version",
                         "1", "driver", "1", "cpu", "none", "key", "k1", "accuracy", "normal",
                         "units", 2, "identity", "i1", "hardware", "max_work_group", fake_group(),
                         "local_bytes", 8448);
    if (!strcmp(when, "open"))
        return fake_open(request);
    if (!strcmp(when, "time") && fake_products)
        return fake_products_ms(json_object_get(request, "choices"));
    if (!strcmp(when, "verify"))
        return json_pack("{s:f, s:s}", "worst", 0.5, "text", "");
    times = json_array();
    item = json_object_get(request, "choices");
    for (i = 0; i < json_array_size(item); i++)
        json_array_append_new(times, json_real(fake_round_ms(item, i)));
    return json_pack("{s:o}", "ms", times);
}

static int number_of(json_t *choice)
{
    return !choice || json_is_null(choice) ? BUILT_IN : (int)json_integer_value(choice);
}

/* The choice that a request is about; where it is several, one that the scenario has. */
static int choice_of(const char *scenario, const char *when, json_t *request)
{
    json_t *list = json_object_get(request, "choices");
    int choice = number_of(json_object_get(request, "choice"));
    for (size_t i = 0; i < json_array_size(list); i++) {
        choice = number_of(json_array_get(list, i));
        if (planned(scenario, when, choice))
            break;
    }
    return choice;
}

static void fake_serve(const char *scenario, json_t *request)
{
    const char *when = json_string_value(json_object_get(request, "do"));
    int choice = choice_of(scenario, when, request);
    const char *what = planned(scenario, when, choice);
    note(when, choice);
    if (what && misbehave(what))
        return;
    if (fake_sick || is_dead())
        say(json_pack("{s:s, s:s}", "failed", "runtime", "text", "CL_DEVICE_NOT_AVAILABLE"));
    else
        say(fake_answer(when, request));
    if (what && !strcmp(what, "extra"))
        say(json_pack("{s:[f]}", "ms", 0.001));
    if (what && !strcmp(what, "after"))
        die_of(SIGSEGV);
}

static int fake(const char *scenario, const char *place)
{
    char line[65536];
    snprintf(folder, sizeof folder, "%s", place);
    note("start", -1);
    const char *what = planned(scenario, "start", -1);
    if (what && !strcmp(what, "unless") && !unlink(path_of("dead")))
        exit(1);
    if (!what || !misbehave(what))
        say(json_pack("{s:b}", "ready", 1));
    while (fgets(line, sizeof line, stdin)) {
        json_t *request = json_loads(line, 0, NULL);
        fake_serve(scenario, request);
        json_decref(request);
    }
    return 0;
}

/* ---- a session with it ---- */

static char self[4096];
static char *fake_argv[] = {self, (char[]){"--fake"}, NULL, folder, NULL};
static const tune_limit enough = {0.1, 100};
static tune_session session;

static void write_file(const char *name, const char *mode, const char *text)
{
    FILE *f = fopen(path_of(name), mode);
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

static const char *gelu = "gelu.forward H1000";

/* With little patience. */
static ef_status try_begin(const char *scenario, double start_s)
{
    session = (tune_session){
        .patience = {
            .start_s = start_s, .open_s = 5, .compile_s = 0.6, .run_s = 0.2, .verify_s = 0.6}};
    fake_argv[2] = (char *)scenario;
    return tune_session_begin(&session, fake_argv);
}

static void open_target(void)
{
    tune_target target;
    ck_assert(tune_target_parse(gelu, &target));
    ef_status status = tune_session_open(&session, &target);
    ck_assert_msg(status == EF_OK, "%s", session.error.text);
}

static void begin(const char *scenario)
{
    ck_assert_msg(try_begin(scenario, 5) == EF_OK, "%s", session.error.text);
    ck_assert_int_eq(
        tune_journal_open(&session.journal, path_of("journal"), session.identity, &session.error),
        EF_OK);
    open_target();
}

static tune_outcome sample(size_t i)
{
    double ms = 0;
    tune_outcome outcome = tune_session_sample(&session, i, enough, &ms);
    if (outcome == TUNE_CORRECT)
        ck_assert_double_eq(ms, fake_ms((int)i));
    return outcome;
}

static tune_outcome verify(size_t i)
{
    return tune_session_verify(&session, i, enough);
}

static int count_text(const char *all, const char *text)
{
    int count = 0;
    while ((all = strstr(all, text)) != NULL)
        all += strlen(text), count++;
    return count;
}

/* Lines of the log with this text. */
static int count_log(const char *text)
{
    FILE *log = fopen(path_of("log"), "r");
    char line[128];
    int count = 0;
    while (log && fgets(line, sizeof line, log))
        count += strstr(line, text) != NULL;
    if (log)
        fclose(log);
    return count;
}

/* No worker of the log lives, nor waits to be buried. */
static void end(void)
{
    FILE *log;
    int pid;
    tune_session_end(&session);
    ck_assert_ptr_nonnull(log = fopen(path_of("log"), "r"));
    while (fscanf(log, "%d %*[^\n]", &pid) == 1)
        ck_assert_msg(kill(pid, 0) < 0 && errno == ESRCH, "worker %d is left", pid);
    fclose(log);
}

/* What the journal on the disk has of option i. */
static tune_outcome on_disk(size_t i, bool *begun, char *text)
{
    tune_journal j;
    ef_error error;
    ck_assert_int_eq(tune_journal_look(&j, path_of("journal"), &error), EF_OK);
    const tune_entry *e = tune_journal_find(&j, gelu, session.options[i].text);
    tune_outcome outcome = e ? e->outcome : TUNE_UNTRIED;
    if (begun)
        *begun = e && e->begun;
    if (text)
        snprintf(text, 256, "%s", e && e->text ? e->text : "");
    tune_journal_close(&j);
    return outcome;
}

static void ck_outcome(tune_outcome got, tune_outcome want)
{
    ck_assert_str_eq(tune_outcome_text(got), tune_outcome_text(want));
}

/* ---- workers that misbehave ---- */

static void begin_is_refused(const char *scenario, double start_s, const char *says)
{
    ck_assert_int_eq(try_begin(scenario, start_s), EF_EDEVICE);
    ck_assert_msg(strstr(session.error.text, says) != NULL, "%s: %s", scenario, session.error.text);
    end();
}

START_TEST(a_worker_that_does_not_start_is_said)
{
    static const struct {
        const char *scenario, *says;
    } plans[] = {{"start * segv", "signal 11"},        {"start * abort", "signal 6"},
                 {"start * exit", "exit status 7"},    {"start * cut", "exit status 0"},
                 {"start * rubbish", "is no answer"},  {"start * endless", "is no answer"},
                 {"start * fail", "OUT_OF_RESOURCES"}, {"device * segv", "its device"},
                 {"device * rubbish", "its device"},   {"device * empty", "its device"}};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        begin_is_refused(plans[i].scenario, 5, plans[i].says);
    begin_is_refused("start * hang", 0.2, "says nothing");
    begin_is_refused("start * half", 0.2, "says nothing");
    begin_is_refused("device * hang", 1, "what its device is"); /* by then it has started */
    fake_argv[0] = (char[]){"/nonexistent/worker"};
    ck_assert_int_eq(try_begin("", 5), EF_EDEVICE);
    tune_session_end(&session);
    fake_argv[0] = self;
}
END_TEST

START_TEST(what_happens_to_the_worker_is_the_choices_outcome)
{
    static const struct {
        const char *when, *what, *says;
        tune_outcome outcome;
    } plans[] = {{"verify", "segv", "signal 11", TUNE_RUNTIME},
                 {"verify", "abort", "signal 6", TUNE_RUNTIME},
                 {"verify", "exit", "exit status 7", TUNE_RUNTIME},
                 {"verify", "hang", "too long", TUNE_TIMEOUT},
                 {"verify", "rubbish", "no line of JSON", TUNE_RUNTIME},
                 {"verify", "array", "no line of JSON", TUNE_RUNTIME},
                 {"verify", "empty", "not of its request", TUNE_RUNTIME},
                 {"verify", "endless", "no line of JSON", TUNE_RUNTIME},
                 {"verify", "wrong", "element 3 of y: 5 times", TUNE_CORRECTNESS},
                 {"verify", "fail", "CL_OUT_OF_RESOURCES", TUNE_RUNTIME},
                 {"verify", "log", "x   ", TUNE_COMPILE},
                 {"time", "segv", "signal 11", TUNE_RUNTIME},
                 {"time", "abort", "signal 6", TUNE_RUNTIME},
                 {"time", "hang", "too long", TUNE_TIMEOUT},
                 {"time", "half", "too long", TUNE_TIMEOUT},
                 {"time", "cut", "exit status 0", TUNE_RUNTIME},
                 {"time", "nothing", "not of its request", TUNE_RUNTIME},
                 {"time", "words", "not of its request", TUNE_RUNTIME},
                 {"time", "log", "x   ", TUNE_COMPILE}};
    char scenario[64], text[256];
    for (size_t p = 0; p < sizeof plans / sizeof *plans; p++) {
        const bool times = !strcmp(plans[p].when, "time");
        snprintf(scenario, sizeof scenario, "%s 2 %s", plans[p].when, plans[p].what);
        begin(scenario);
        ck_outcome(sample(1), TUNE_CORRECT);
        ck_outcome(times ? sample(2) : verify(2), plans[p].outcome);
        ck_outcome(on_disk(2, NULL, text), plans[p].outcome);
        ck_assert_msg(strstr(text, plans[p].says) != NULL, "%s: %s", scenario, text);
        ck_outcome(verify(1), TUNE_CORRECT); /* the next is not troubled */
        ck_outcome(sample(3), TUNE_CORRECT);
        ck_outcome(on_disk(1, NULL, text), TUNE_CORRECT);
        ck_outcome(sample(2), plans[p].outcome); /* and it is not asked again */
        end();
        begin(scenario); /* nor by a later run */
        int asked = count_log(times ? "time 2" : "verify 2");
        ck_outcome(times ? sample(2) : verify(2), plans[p].outcome);
        ck_assert_int_eq(count_log(times ? "time 2" : "verify 2"), asked);
        end();
        unlink(path_of("journal"));
        unlink(path_of("log"));
    }
}
END_TEST

START_TEST(a_second_answer_is_not_taken_for_the_next_ones)
{
    begin("time 2 extra");
    ck_outcome(sample(2), TUNE_CORRECT);
    usleep(20000);
    ck_outcome(sample(3), TUNE_CORRECT); /* sample compares the times */
    end();
}
END_TEST

START_TEST(a_worker_that_dies_between_requests_is_nobodys_failure)
{
    begin("time 2 after");
    ck_outcome(sample(2), TUNE_CORRECT);
    usleep(50000);
    ck_outcome(sample(3), TUNE_CORRECT);
    ck_outcome(on_disk(3, NULL, NULL), TUNE_UNTRIED);
    ck_assert_int_eq(count_log("start"), 2);
    end();
}
END_TEST

START_TEST(the_default_is_asked_twice)
{
    begin("time 0 once");
    ck_outcome(sample(RIGHT), TUNE_CORRECT);
    end();
    unlink(path_of("journal"));
    begin("time 0 segv");
    ck_outcome(sample(RIGHT), TUNE_RUNTIME);
    end();
    begin(""); /* and each run has its own try */
    ck_outcome(sample(RIGHT), TUNE_CORRECT);
    end();
}
END_TEST

START_TEST(a_round_that_fails_names_the_one)
{
    const size_t list[] = {0, 1, 2, 0};
    double ms[4];
    size_t failed = 9;
    begin("time 2 segv");
    ck_outcome(tune_session_round(&session, list, 4, enough, ms, &failed), TUNE_RUNTIME);
    ck_assert_uint_eq(failed, 2);
    ck_outcome(on_disk(2, NULL, NULL), TUNE_RUNTIME);
    ck_outcome(on_disk(1, NULL, NULL), TUNE_UNTRIED);
    end();
    remove(path_of("journal"));
    begin("time * once"); /* killed by someone else */
    ck_outcome(tune_session_round(&session, list, 4, enough, ms, &failed), TUNE_CORRECT);
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq(ms[i], fake_ms((int)list[i]));
    end();
}
END_TEST

START_TEST(what_runs_out_of_the_budget_has_not_failed)
{
    const tune_limit nothing = {10, -1};
    const size_t list[] = {0, 2, 0};
    double ms[3];
    size_t failed;
    bool begun;
    begin("time 2 hang,verify 3 hang");
    ck_outcome(tune_session_sample(&session, 2, nothing, ms), TUNE_LATE);
    ck_outcome(tune_session_round(&session, list, 3, nothing, ms, &failed), TUNE_LATE);
    ck_outcome(verify(1), TUNE_CORRECT);
    ck_outcome(tune_session_verify(&session, 3, nothing), TUNE_LATE);
    ck_outcome(on_disk(2, &begun, NULL), TUNE_UNTRIED);
    ck_assert(!begun);
    ck_outcome(on_disk(3, &begun, NULL), TUNE_UNTRIED);
    ck_assert(!begun);
    end();
    begin("time 1 hang"); /* what was known of it still is */
    ck_outcome(tune_session_sample(&session, 1, nothing, ms), TUNE_LATE);
    ck_outcome(on_disk(1, &begun, NULL), TUNE_CORRECT);
    ck_assert(!begun);
    end();
}
END_TEST

/* Twice, with as long as the default needed to be built: then it hangs. */
START_TEST(what_runs_out_of_the_budget_twice_hangs)
{
    const tune_limit little = {10, 0.2};
    double ms;
    size_t count;
    for (int run = 0; run < 3; run++) {
        begin("time 2 hang,time 3 hang");
        ck_outcome(sample(RIGHT), TUNE_CORRECT);
        ck_outcome(tune_session_sample(&session, 2, little, &ms),
                   run < 2 ? TUNE_LATE : TUNE_TIMEOUT);
        if (run == 1) { /* long ones are found out at once */
            ck_assert_int_eq(tune_journal_late(&session.journal, gelu, session.options[4].text, 9,
                                               &session.error),
                             EF_OK);
            ck_assert_int_eq(tune_journal_late(&session.journal, gelu, session.options[3].text, 11,
                                               &session.error),
                             EF_OK);
            ck_outcome(tune_session_sample(&session, 3, little, &ms), TUNE_LATE);
            ck_outcome(session.options[3].outcome, TUNE_TIMEOUT);
        }
        tune_known *known = tune_session_known(&session, &count);
        for (size_t i = 0; i < count; i++) /* this run's are the search's own to know */
            if (known[i].candidate == 2)
                ck_outcome(known[i].outcome, run ? TUNE_TIMEOUT : TUNE_LATE);
            else if (known[i].candidate == 4)
                ck_outcome(known[i].outcome, TUNE_LATE);
        free(known);
        end();
    }
}
END_TEST

/* Only what is not built yet has the time for that. */
START_TEST(a_run_that_hangs_does_not_cost_the_time_to_build)
{
    double began = ef__now();
    begin("time 2 stuck");
    session.patience.compile_s = 60;
    ck_outcome(sample(2), TUNE_TIMEOUT);
    end();
    begin("time 1 again");
    session.patience.compile_s = 60;
    ck_outcome(sample(1), TUNE_CORRECT);
    ck_outcome(sample(1), TUNE_TIMEOUT);
    end();
    ck_assert_double_lt(ef__now() - began, 30);
}
END_TEST

START_TEST(a_new_worker_has_the_time_to_build_again)
{
    const size_t list[] = {0, 2};
    double ms[2];
    size_t failed;
    begin("time 2 slowly,time 3 segv");
    session.patience.run_s = 0.1;
    ck_outcome(sample(2), TUNE_CORRECT);
    ck_outcome(sample(3), TUNE_RUNTIME);
    ck_outcome(sample(RIGHT), TUNE_CORRECT); /* by another */
    ck_outcome(tune_session_round(&session, list, 2, enough, ms, &failed), TUNE_CORRECT);
    ck_assert_double_eq(ms[1], fake_ms(2));
    ck_assert_int_eq(count_log("start"), 2); /* and that is not because of a third one */
    end();
}
END_TEST

START_TEST(what_a_worker_has_started_ends_with_it)
{
    begin("time 2 brood");
    ck_outcome(sample(2), TUNE_TIMEOUT);
    int fd = open(path_of("child"), O_RDWR);
    ck_assert_int_ge(fd, 0);
    bool alive = true;
    for (int i = 0; i < 100 && (alive = flock(fd, LOCK_EX | LOCK_NB) != 0); i++)
        usleep(10000);
    ck_assert_msg(!alive, "its child lives");
    close(fd);
    end();
}
END_TEST

/* ---- the device's health ---- */

START_TEST(three_failures_with_a_healthy_device_stay_failures)
{
    begin("verify 2 fail,verify 3 segv,verify 4 wrong,verify 5 fail");
    ck_outcome(verify(2), TUNE_RUNTIME);
    ck_outcome(verify(3), TUNE_RUNTIME);
    ck_outcome(verify(4), TUNE_CORRECTNESS);
    ck_assert_int_eq(count_log("verify 0"), 1); /* the default, to see whether the device is well */
    ck_outcome(verify(5), TUNE_RUNTIME);
    ck_outcome(verify(1), TUNE_CORRECT);
    ck_outcome(on_disk(2, NULL, NULL), TUNE_RUNTIME);
    ck_outcome(on_disk(4, NULL, NULL), TUNE_CORRECTNESS);
    ck_assert_uint_eq(session.sick, 0);
    end();
}
END_TEST

START_TEST(failures_of_a_sick_device_that_recovers_are_tried_again)
{
    begin("time 2 sick");
    ck_outcome(sample(1), TUNE_CORRECT);
    for (size_t i = 2; i < 4; i++)
        ck_outcome(sample(i), TUNE_RUNTIME);
    ck_outcome(sample(4), TUNE_SICK);
    for (size_t i = 2; i < 5; i++)
        ck_outcome(on_disk(i, NULL, NULL), TUNE_UNTRIED);
    ck_outcome(on_disk(1, NULL, NULL), TUNE_UNTRIED);
    ck_outcome(sample(3), TUNE_CORRECT);
    ck_outcome(sample(4), TUNE_CORRECT);
    ck_assert_int_eq(session.error.status, EF_OK);
    for (size_t i = 2; i < 4; i++)
        ck_outcome(sample(i == 2 ? 2 : 5), TUNE_RUNTIME);
    ck_outcome(sample(6), TUNE_GONE); /* a second time is too often */
    ck_assert_int_eq(session.error.status, EF_EDEVICE);
    end();
}
END_TEST

/* The first process after the third death does not start, the second does. */
START_TEST(one_start_that_fails_is_no_end)
{
    begin("time 2 segv,time 3 segv,time 4 bury,start * unless");
    ck_outcome(sample(2), TUNE_RUNTIME);
    ck_outcome(sample(3), TUNE_RUNTIME);
    ck_outcome(sample(4), TUNE_SICK);
    ck_assert_int_eq(session.error.status, EF_OK);
    ck_assert_int_eq(count_log("start"), 5);
    end();
}
END_TEST

START_TEST(a_device_that_does_not_recover_ends_the_run)
{
    begin("time 2 dead");
    ck_outcome(sample(1), TUNE_CORRECT);
    ck_outcome(sample(2), TUNE_RUNTIME);
    ck_outcome(sample(3), TUNE_RUNTIME);
    ck_outcome(sample(4), TUNE_GONE);
    ck_assert_int_eq(session.error.status, EF_EDEVICE);
    ck_assert_ptr_nonnull(strstr(session.error.text, "does not run any more"));
    end();
    unlink(path_of("dead"));
    begin(""); /* the journal has lost nothing */
    size_t count;
    free(tune_session_known(&session, &count));
    ck_assert_uint_gt(count, 0);
    end();
}
END_TEST

/* ---- whole runs ---- */

static const tune_device device = {
    .name = "fake", .key = "k1", .driver = "1", .accuracy = "normal"};
static volatile sig_atomic_t stopped;

static void on_alarm(int number)
{
    (void)number;
    stopped = 1;
}

static const char *const shapes[] = {"gelu.forward H1000", "gelu.forward H90000"};

static int run_request(const char *scenario, tune_request request)
{
    tune_target targets[3];
    char db[512];
    snprintf(db, sizeof db, "%s/new/folders/db", folder);
    for (size_t i = 0; i < 2; i++)
        ck_assert(tune_target_parse(shapes[i], &targets[i]));
    targets[2] = targets[1]; /* not for the fake, which is a CPU */
    targets[2].devices = TUNE_NO_CPUS;
    fake_argv[2] = (char *)scenario;
    request.command = "test";
    request.worker = fake_argv;
    request.db = db;
    request.target = targets;
    request.count = 3;
    request.seed = 1;
    request.json = true;
    return tune_run(&request);
}

static int run_fake(const char *scenario, bool retry_failed)
{
    return run_request(scenario, (tune_request){.budget_s = 100, .retry_failed = retry_failed});
}

static bool take_variant(void *user, json_t *line)
{
    const char *variant = json_string_value(json_object_get(line, "variant"));
    if (variant)
        sprintf((char *)user + strlen(user), "%s,", variant);
    return true;
}

static const char *in_database(void)
{
    static char variants[512];
    ef_error error;
    variants[0] = '\0';
    if (tune_database_read(path_of("new/folders/db"), take_variant, variants, &error))
        snprintf(variants, sizeof variants, "%s", error.text);
    return variants;
}

START_TEST(runs_end_with_the_right_status)
{
    static const struct {
        const char *scenario;
        int status;
        const char *database; /* the choices for both targets */
    } plans[] = {{"", 0, "chunk,chunk,"},
                 {"time 1 segv,verify 2 abort,time 3 rubbish", 0, "chunk,chunk,"},
                 {"time * once", 0, "chunk,chunk,"},
                 {"time 2 sick", 4, NULL},
                 {"time 5 dead", 4, ""},
                 {"start * exit", 4, NULL},
                 {"open * segv", 4, ""},
                 {"time 0 segv", 4, ""},
                 {"verify 0 wrong", 4, ""}};
    for (size_t p = 0; p < sizeof plans / sizeof *plans; p++) {
        int status = run_fake(plans[p].scenario, false);
        ck_assert_msg(status == plans[p].status, "%s: %d", plans[p].scenario, status);
        if (plans[p].database)
            ck_assert_str_eq(in_database(), plans[p].database);
        remove_folder();
        make_folder();
    }
}
END_TEST

START_TEST(a_wrong_choice_that_is_fast_hides_no_other)
{
    ck_assert_int_eq(run_fake("verify 1 wrong,time 2 segv", false), 0);
    ck_assert_str_eq(in_database(), "chunk,chunk,");
    unlink(path_of("new/folders/db"));
    int starts = count_log("start"), wrong = count_log("verify 1"), asked = count_log("time 2");
    ck_assert_int_eq(run_fake("verify 1 wrong,time 2 segv", false), 0);
    ck_assert_str_eq(in_database(), "chunk,chunk,");
    ck_assert_int_eq(count_log("start"), starts + 1); /* nothing that fails was tried again */
    ck_assert_int_eq(count_log("verify 1"), wrong);
    ck_assert_int_eq(count_log("time 2"), asked);
    unlink(path_of("new/folders/db"));
    ck_assert_int_eq(run_fake("verify 1 wrong", true), 0);
    ck_assert_int_gt(count_log("verify 1"), wrong);
    ck_assert_int_gt(count_log("time 2"), asked);
}
END_TEST

/* A half of it is too little for the default to be built. */
START_TEST(one_target_is_finished_rather_than_two_begun)
{
    ck_assert_int_eq(run_request("time * drowsily", (tune_request){.budget_s = 1.95}), 0);
    ck_assert_ptr_nonnull(strstr(read_text("new/folders/db"), shapes[0]));
}
END_TEST

/* What failed may have been mended, in a search that is over, too. */
START_TEST(failures_are_tried_again_where_all_is_tuned)
{
    ck_assert_int_eq(run_fake("verify 1 wrong,time 2 segv", false), 0);
    int wrong = count_log("verify 1"), times = count_log("time 2");
    ck_assert_int_eq(run_fake("", false), 0);
    ck_assert_int_eq(count_log("verify 1"), wrong);
    ck_assert_int_eq(run_fake("", true), 0);
    ck_assert_int_gt(count_log("verify 1"), wrong);
    ck_assert_int_gt(count_log("time 2"), times);
    ck_assert_str_eq(in_database(), "chunk,chunk,");
    times = count_log("time 2");
    ck_assert_int_eq(run_fake("", true), 0); /* nothing has failed */
    ck_assert_int_eq(count_log("time 2"), times);
}
END_TEST

/* In the middle of the first target, whose record stays in force meanwhile, also where it is
 * checked; the second is left as it was. */
START_TEST(a_fresh_search_that_is_cut_off_goes_on)
{
    const tune_request fresh = {.budget_s = 100, .fresh = true, .stop = &stopped};
    signal(SIGALRM, on_alarm);
    ck_assert_int_eq(run_fake("", false), 0);
    int times = count_log("time");
    ck_assert_int_eq(run_fake("", false), 0);
    ck_assert_int_eq(count_log("time"), times); /* all is tuned */
    ck_assert_int_eq(run_request("time 5 interrupt", fresh), 130);
    ck_assert_str_eq(in_database(), "chunk,chunk,");
    ck_assert_int_eq(run_request("", (tune_request){.budget_s = 100, .check = true}), 0);
    ck_assert_str_eq(in_database(), "chunk,chunk,");
    times = count_log("time");
    ck_assert_int_eq(run_fake("", false), 0);
    ck_assert_int_gt(count_log("time"), times);
    times = count_log("time");
    ck_assert_int_eq(run_fake("", false), 0);
    ck_assert_int_eq(count_log("time"), times);
    ck_assert_str_eq(in_database(), "chunk,chunk,");
}
END_TEST

/* Those of its own for the choice, the finals' for the others; none for who was no finalist. */
START_TEST(the_journal_has_the_rounds_of_finalists)
{
    size_t finalists = 0;
    ck_assert_int_eq(run_fake("", false), 0);
    tune_journal j;
    ef_error error;
    ck_assert_int_eq(tune_journal_look(&j, path_of("new/folders/db.journal"), &error), EF_OK);
    for (size_t i = 0; i < j.count; i++) {
        const tune_entry *e = &j.entries[i];
        const bool chosen = e->fate && !strcmp(e->fate, "the choice");
        const double ratio = (chosen ? 1 : 1.125) * e->median_ms / fake_ms(RIGHT);
        ck_assert_ptr_nonnull(e->fate);
        if (strcmp(e->target, gelu))
            continue;
        ck_assert(e->rounds == 15 || (e->rounds == 0 && !chosen));
        finalists += e->rounds > 0;
        ck_assert(e->rounds == 0 || fabs(e->ratio.median - ratio) < 1e-9);
        ck_assert(e->ratio.low == e->ratio.median && e->ratio.high == e->ratio.median);
    }
    ck_assert_uint_eq(finalists, TUNE_FINALISTS);
    tune_journal_close(&j);
}
END_TEST

/* Of two targets, the first. */
START_TEST(a_target_that_does_not_open_again_stops_no_other)
{
    ck_assert_int_eq(run_fake("open * once_again,time 2 segv", false), 4);
    ck_assert_str_eq(in_database(), "chunk,");
}
END_TEST

/* Both had their share of the 100 seconds, not half of it, or tried everything. */
START_TEST(a_search_that_had_its_share_is_not_made_again)
{
    static const struct {
        double seconds;
        size_t tried;
        bool again;
    } rows[] = {{45, 3, false}, {5, 3, true}, {5, 34, false}};
    ef_error error;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(tune_database_prepare(path_of("new/folders/db"), &device, &error), EF_OK);
        for (size_t k = 0; k < 2; k++) {
            tune_record record = {.knobs = json_object(),
                                  .source = "abc",
                                  .identity = "i1",
                                  .tried = rows[i].tried,
                                  .of = 34,
                                  .seconds = rows[i].seconds};
            ck_assert(tune_target_parse(shapes[k], &record.target));
            ck_assert_int_eq(
                tune_database_put(path_of("new/folders/db"), &device, &record, 1, &error), EF_OK);
            json_decref(record.knobs);
        }
        ck_assert_int_eq(run_fake("", false), 0);
        ck_assert_int_eq(count_log("time") > 0, rows[i].again);
        unlink(path_of("log"));
    }
}
END_TEST

/* They were cold. */
START_TEST(the_first_samples_of_many_do_not_come_back)
{
    size_t count;
    begin("");
    for (int i = 0; i < TUNE_SAMPLES + 4; i++)
        ck_assert_int_eq(tune_journal_time(&session.journal, gelu, session.options[RIGHT].text,
                                           i < 4 ? 100 : 1 + 0.01 * i, &session.error),
                         EF_OK);
    tune_known *known = tune_session_known(&session, &count);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(known->samples, TUNE_SAMPLES);
    for (size_t i = 0; i < TUNE_SAMPLES; i++)
        ck_assert_double_eq(known->ms[i], 1 + 0.01 * (double)(i + 4));
    free(known);
}
END_TEST

/* ---- choices that are checked again ---- */

static char *copy_of_database(void)
{
    char *copy = strdup(read_text("new/folders/db"));
    ck_assert_ptr_nonnull(copy);
    return copy;
}

/* What says nothing against a choice leaves its record. */
START_TEST(a_check_gives_up_what_lost_and_nothing_else)
{
    static const struct {
        const char *scenario;
        double budget_s;
        int status;
        const char *database; /* NULL: as it was */
    } plans[] = {{"", INFINITY, 0, "chunk,chunk,"},
                 {"verify 1 wrong", INFINITY, 0, "default,default,"},
                 {"time 1 segv", INFINITY, 0, "default,default,"},
                 {"time 0 segv", INFINITY, 4, NULL},
                 {"verify 0 wrong,time 1 segv", INFINITY, 4, NULL},
                 {"time * sick", INFINITY, 4, NULL},
                 {"verify 1 hang", 0.6, 0, NULL},
                 {"open * segv", INFINITY, 4, NULL}};
    for (size_t p = 0; p < sizeof plans / sizeof *plans; p++) {
        ck_assert_int_eq(run_fake("", false), 0);
        ck_assert_str_eq(in_database(), "chunk,chunk,");
        char *before = copy_of_database();
        int status = run_request(plans[p].scenario,
                                 (tune_request){.budget_s = plans[p].budget_s, .check = true});
        ck_assert_msg(status == plans[p].status, "%s: %d", plans[p].scenario, status);
        if (plans[p].database)
            ck_assert_str_eq(in_database(), plans[p].database);
        else
            ck_assert_str_eq(read_text("new/folders/db"), before);
        free(before);
        remove_folder();
        make_folder();
    }
}
END_TEST

/* A default that fails is not written down, with no time at all. */
START_TEST(a_check_of_a_default_wants_it_to_run)
{
    ck_assert_int_eq(run_fake("", false), 0);
    ck_assert_int_eq(run_request("verify 1 wrong", (tune_request){.budget_s = 9, .check = true}),
                     0);
    ck_assert_str_eq(in_database(), "default,default,");
    ck_assert_int_eq(run_request("", (tune_request){.budget_s = 9, .check = true}), 0);
    char *before = copy_of_database();
    ck_assert_ptr_nonnull(strstr(before, "\"ms\":1.5,"));
    ck_assert_int_eq(run_request("time 0 log", (tune_request){.budget_s = 9, .check = true}), 4);
    ck_assert_str_eq(read_text("new/folders/db"), before);
    ck_assert_int_eq(run_request("verify 0 wrong", (tune_request){.budget_s = 9, .check = true}),
                     4);
    ck_assert_str_eq(read_text("new/folders/db"), before);
    free(before);
}
END_TEST

START_TEST(a_check_ends_when_it_is_asked_to)
{
    const volatile sig_atomic_t stop = 1;
    tune_verdict v;
    ck_assert_int_eq(run_fake("", false), 0);
    begin("");
    int asked = count_log(" 1");
    ck_assert_int_eq(tune_check(&session, path_of("new/folders/db"), INFINITY, &stop, &v), EF_OK);
    ck_assert_int_eq(v.end, TUNE_UNCHECKED);
    ck_assert_str_eq(v.why, "interrupted");
    ck_assert_int_eq(tune_check(&session, path_of("new/folders/db"), 0, NULL, &v), EF_OK);
    ck_assert_int_eq(v.end, TUNE_UNCHECKED);
    ck_assert_str_eq(v.why, "the time was up");
    ck_assert_int_eq(count_log(" 1"), asked);
    end();
}
END_TEST

START_TEST(what_is_known_goes_into_the_next_search)
{
    size_t count;
    begin("verify 3 wrong");
    ck_outcome(sample(1), TUNE_CORRECT);
    ck_outcome(verify(1), TUNE_CORRECT);
    ck_outcome(sample(2), TUNE_CORRECT);
    ck_outcome(sample(3), TUNE_CORRECT);
    ck_outcome(verify(3), TUNE_CORRECTNESS);
    end();
    begin("");
    tune_known *known = tune_session_known(&session, &count);
    ck_assert_uint_eq(count, 3);
    ck_assert(known[0].candidate == 1 && known[0].outcome == TUNE_CORRECT && known[0].verified &&
              known[0].samples == 1 && known[0].ms[0] == fake_ms(1));
    ck_assert(known[1].candidate == 2 && known[1].outcome == TUNE_CORRECT && !known[1].verified &&
              known[1].samples == 1);
    ck_assert(known[2].candidate == 3 && known[2].outcome == TUNE_CORRECTNESS &&
              known[2].samples == 0); /* the time of what is wrong is none to compare with */
    free(known);
    end();
}
END_TEST

/* ---- a supervisor that is killed ---- */

/* A run, killed so much later; false: it had ended well before. */
static bool killed_after(useconds_t moment)
{
    int status;
    pid_t run = fork();
    if (run == 0)
        _exit(freopen("/dev/null", "w", stdout) ? run_fake("", false) : 99);
    usleep(moment);
    kill(run, SIGKILL);
    ck_assert_int_eq(waitpid(run, &status, 0), run);
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* Each line of the database is whole; how many there are. */
static size_t whole_lines(void)
{
    FILE *file = fopen(path_of("new/folders/db"), "r");
    char *line = NULL;
    size_t room = 0, count = 0;
    for (ssize_t length; file && (length = getline(&line, &room, file)) > 0; count++) {
        json_t *json = json_loadb(line, (size_t)length, 0, NULL);
        ck_assert_msg(json && line[length - 1] == '\n', "line %zu is \"%s\"", count + 1, line);
        json_decref(json);
    }
    free(line);
    if (file)
        fclose(file);
    return count;
}

static int count_files(const char *name)
{
    DIR *dir = opendir(path_of(name));
    int count = -2; /* . and .. */
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Has a choice had all its times, or failed? */
static bool is_finished(const tune_entry *e)
{
    return e->count >= TUNE_SAMPLES || tune_is_failure(tune_journal_outcome(e));
}

/* A later journal has all that an earlier one has, and no more of what was finished; but of the
 * default, which has its chance in each run. */
static void ck_goes_on(const tune_journal *before, const tune_journal *after)
{
    for (size_t i = 0; i < before->count; i++) {
        const tune_entry *was = &before->entries[i];
        const tune_entry *is = tune_journal_find(after, was->target, was->choice);
        ck_assert(is && is->count >= was->count);
        for (size_t k = 0; k < was->count; k++)
            ck_assert_double_eq(is->ms[k], was->ms[k]);
        ck_assert_msg(is->is_default || !is_finished(was) || is->count == was->count,
                      "%s was tried again", was->choice);
    }
}

static void look(tune_journal *j)
{
    ef_error error;
    const char *path = path_of("new/folders/db.journal");
    *j = (tune_journal){.fd = -1};
    if (!access(path, F_OK))
        ck_assert_int_eq(tune_journal_look(j, path, &error), EF_OK);
}

/* A run that ends before it is killed does not count; others begin where there is nothing. */
START_TEST(a_run_that_is_killed_at_any_moment_goes_on)
{
    const size_t kills = ef_test_size(5, 15, 50);
    ef__rng rng = {1};
    tune_journal before, after;
    look(&before);
    for (size_t killed = 0, lines = 0; killed < kills;) {
        const double r = ef__rng_uniform(&rng);
        const bool counts = killed_after((useconds_t)(60e3 * r * r));
        look(&after);
        ck_goes_on(&before, &after);
        tune_journal_close(&before);
        before = after;
        ck_assert_uint_ge(whole_lines(), lines);
        lines = whole_lines();
        killed += counts;
        if (counts)
            continue;
        remove_folder();
        make_folder();
        tune_journal_close(&before);
        lines = 0;
    }
    tune_journal_close(&before);
    ck_assert_int_eq(run_fake("", false), 0);
    ck_assert_uint_eq(whole_lines(), 3); /* the header and both targets */
    ck_assert_int_eq(count_files("new/folders"), 2);
}
END_TEST

/* ---- the journal ---- */

static tune_journal journal;

static ef_status open_journal(const char *identity)
{
    ef_error error;
    ef_status status = tune_journal_open(&journal, path_of("j"), identity, &error);
    if (status)
        tune_journal_close(&journal);
    return status;
}

static void fill_journal(void)
{
    ef_error error;
    ck_assert_int_eq(open_journal("i"), EF_OK);
    tune_journal_begin(&journal, "t", "good", &error);
    tune_journal_time(&journal, "t", "good", 1.5, &error);
    tune_journal_time(&journal, "t", "good", 2.5, &error);
    tune_journal_end(&journal, "t", "good", TUNE_CORRECT, 0.25, "", &error);
    const tune_candidate chosen = {.median_ms = 2, .ratio = {0.75, 0.5, 0.875}, .rounds = 9};
    tune_journal_fate(&journal, "t", "good", "the choice", &chosen, &error);
    tune_journal_begin(&journal, "t", "killer", &error);
    tune_journal_end(&journal, "t", "bad", TUNE_COMPILE, 1e300 * 1e300, "no such name", &error);
    tune_journal_close(&journal);
}

static void check_journal(void)
{
    const tune_entry *e = tune_journal_find(&journal, "t", "good");
    ck_assert(e && e->count == 2 && e->ms[0] == 1.5 && e->ms[1] == 2.5 && !e->begun);
    ck_assert(e->outcome == TUNE_CORRECT && e->worst == 0.25 && e->median_ms == 2);
    ck_assert_str_eq(e->fate, "the choice");
    ck_assert(e->rounds == 9 && e->ratio.median == 0.75 && e->ratio.low == 0.5 &&
              e->ratio.high == 0.875);
    e = tune_journal_find(&journal, "t", "killer");
    ck_assert(e && e->begun);
    e = tune_journal_find(&journal, "t", "bad");
    ck_assert(e && e->outcome == TUNE_COMPILE && e->worst > 1);
    ck_assert_str_eq(e->text, "no such name");
    ck_assert_ptr_null(tune_journal_find(&journal, "u", "good"));
}

START_TEST(a_journal_gives_back_what_was_put_in)
{
    fill_journal();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(open_journal("i"), EF_OK);
        check_journal();
        tune_journal_close(&journal);
    }
}
END_TEST

/* Wherever its end was cut off: every whole line before is there, and those that come after. */
START_TEST(a_journal_is_cut_off_anywhere)
{
    char all[4096];
    ef_error error;
    fill_journal();
    snprintf(all, sizeof all, "%s", read_text("j"));
    const size_t length = strlen(all), step = ef_test_size(7, 3, 1);
    for (size_t at = 0; at <= length; at += step) {
        FILE *f = fopen(path_of("j"), "w");
        fwrite(all, 1, at, f);
        fclose(f);
        size_t times = 0;
        for (const char *s = all;
             (s = strstr(s, "\"what\":\"time\"")) && strchr(s, '}') < all + at;)
            s = strchr(s, '}'), times++;
        ck_assert_msg(open_journal("i") == EF_OK, "cut at %zu", at);
        const tune_entry *e = tune_journal_find(&journal, "t", "good");
        ck_assert_msg((e ? e->count : 0) == times, "cut at %zu: %zu times", at, times);
        ck_assert_int_eq(tune_journal_time(&journal, "t", "new", 4, &error), EF_OK);
        tune_journal_close(&journal);
        ck_assert_int_eq(open_journal("i"), EF_OK);
        ck_assert_msg(tune_journal_find(&journal, "t", "new") != NULL, "cut at %zu", at);
        e = tune_journal_find(&journal, "t", "good");
        ck_assert_uint_eq(e ? e->count : 0, times);
        tune_journal_close(&journal);
    }
}
END_TEST

START_TEST(rubbish_in_a_journal_is_passed_over)
{
    static const char *const rubbish[] = {
        "rubbish\n",
        "[]\n",
        "{}\n",
        "{\"what\":\"time\",\"target\":\"t\"}\n",
        "\n\n",
        "{\"what\":\"time\",\"target\":\"t\",\"choice\":\"good\",\"ms\":\"x\"}\n",
        "{\"what\":\"end\",\"target\":\"t\",\"choice\":\"good\",\"outcome\":3}\n",
        "{\"what\":\"no such\",\"target\":\"t\",\"choice\":\"good\"}\n",
        "\xff\xfe\n",
        "{\"what\":\"fate\",\"target\":\"t\",\"choice\":\"good\"}\n",
        "{\"what\":\"time\",\"target\":\"t\",\"choice\":\"good\",\"ms\":0}\n",
        "{\"what\":\"time\",\"target\":\"t\",\"choice\":\"good\",\"ms\":-5}\n",
        "{\"what\":\"time\",\"target\":\"t\",\"choice\":\"good\",\"ms\":1e308}\n",
        "{\"what\":\"fate\",\"target\":\"t\",\"choice\":\"good\",\"fate\":\"x\",\"ms\":-1}\n",
        "{\"what\":\"time\",\"target\":\"t\",\"choice\":\"killer\",\"ms\":1e9}\n",
        "{\"what\":\"forget\",\"target\":\"u\"}\n"};
    fill_journal();
    for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++)
        write_file("j", "a", rubbish[i]);
    ck_assert_int_eq(open_journal("i"), EF_OK);
    check_journal();
    tune_journal_close(&journal);
}
END_TEST

/* As older journals have it, or as someone has edited it. */
START_TEST(a_fate_may_be_without_rounds)
{
    static const char *const members[] = {
        "",
        ",\"ratio\":0.5,\"low\":0.5,\"high\":0.5",
        ",\"ratio\":0.5,\"low\":0.5,\"high\":0.5,\"rounds\":0",
        ",\"ratio\":0.5,\"low\":0.5,\"high\":0.5,\"rounds\":-3",
        ",\"ratio\":0.5,\"low\":-0.5,\"high\":0.5,\"rounds\":15",
        ",\"ratio\":0.5,\"low\":0.5,\"high\":1e300,\"rounds\":15",
        ",\"ratio\":\"x\",\"low\":0.5,\"high\":0.5,\"rounds\":15"};
    fill_journal();
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        char line[256];
        snprintf(line, sizeof line,
                 "{\"what\":\"fate\",\"target\":\"t\",\"choice\":\"good\",\"fate\":\"%zu\","
                 "\"ms\":3.0%s}\n",
                 i, members[i]);
        write_file("j", "a", line);
        ck_assert_int_eq(open_journal("i"), EF_OK);
        const tune_entry *e = tune_journal_find(&journal, "t", "good");
        ck_assert(e && atoi(e->fate) == (int)i && e->median_ms == 3);
        ck_assert_msg(e->rounds == 0 && e->ratio.median == 0, "%s", members[i]);
        tune_journal_close(&journal);
    }
}
END_TEST

START_TEST(a_journal_of_something_else_begins_anew)
{
    char path[512];
    fill_journal();
    ck_assert_int_eq(open_journal("other"), EF_OK);
    ck_assert_uint_eq(journal.count, 0);
    tune_journal_close(&journal);
    ck_assert_int_eq(rename(path_of("j.old"), strcpy(path, path_of("j"))), 0); /* it is kept */
    ck_assert_int_eq(open_journal("i"), EF_OK);
    check_journal();
    tune_journal_close(&journal);
    ck_assert_int_eq(access(path_of("j.old"), F_OK), -1);
    write_file("j", "w", "");
    ck_assert_int_eq(open_journal("i"), EF_OK);
    tune_journal_close(&journal);
}
END_TEST

START_TEST(a_journal_forgets_one_target)
{
    ef_error error;
    fill_journal();
    ck_assert_int_eq(open_journal("i"), EF_OK);
    ck_assert(tune_journal_has_failures(&journal, "t"));
    tune_journal_begin(&journal, "u", "good", &error);
    tune_journal_time(&journal, "u", "good", 3.5, &error);
    ck_assert(!tune_journal_has_failures(&journal, "u"));
    ck_assert_int_eq(tune_journal_forget(&journal, "t", &error), EF_OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(journal.count, 1);
        ck_assert_ptr_null(tune_journal_find(&journal, "t", "good"));
        ck_assert_ptr_nonnull(tune_journal_find(&journal, "u", "good"));
        ck_assert(!tune_journal_has_failures(&journal, "t"));
        tune_journal_close(&journal);
        ck_assert_int_eq(open_journal("i"), EF_OK);
    }
    tune_journal_close(&journal);
}
END_TEST

/* One that never ran, at once; one that did, or was right, the second time. */
START_TEST(a_choice_that_ended_its_run_has_failed)
{
    static const char *const choices[] = {"new", "timed", "verified"};
    ef_error error;
    ck_assert_int_eq(open_journal("i"), EF_OK);
    tune_journal_time(&journal, "timed", "timed", 1, &error);
    tune_journal_end(&journal, "verified", "verified", TUNE_CORRECT, 0, NULL, &error);
    for (int begun = 1; begun <= 3; begun++) {
        for (size_t i = 0; i < 3; i++) {
            const char *name = choices[i];
            tune_journal_begin(&journal, name, name, &error);
            const tune_entry *e = tune_journal_find(&journal, name, name);
            const bool failed = i == 0 || begun > 1;
            ck_assert_msg(tune_is_failure(tune_journal_outcome(e)) == failed, "%s", name);
            ck_assert((tune_journal_why(e) != NULL) == failed);
            ck_assert_msg(tune_journal_has_failures(&journal, name) == failed, "%s", name);
        }
        tune_journal_close(&journal);
        ck_assert_int_eq(open_journal("i"), EF_OK);
    }
    tune_journal_late(&journal, "new", "new", 1, &error); /* it was not the choice */
    ck_assert(!tune_journal_has_failures(&journal, "new"));
    tune_journal_close(&journal);
}
END_TEST

START_TEST(a_file_that_is_no_journal_is_left_alone)
{
    static const char *const texts[] = {"Dear diary\n", "{}\n", "\n", "{\"format\": \"x\"}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file("j", "w", texts[i]);
        ck_assert_int_eq(open_journal("i"), EF_EFORMAT);
        ck_assert_str_eq(read_text("j"), texts[i]);
    }
}
END_TEST

START_TEST(only_one_has_the_journal)
{
    int ready[2];
    char byte;
    fill_journal();
    ck_assert_int_eq(pipe(ready), 0);
    pid_t other = fork();
    if (other == 0) {
        int fd = open(path_of("j"), O_RDWR);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        ck_assert_int_eq(write(ready[1], "x", 1), 1);
        hang();
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(open_journal("other"), EF_ESTATE); /* which would begin anew */
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    ck_assert_int_eq(open_journal("i"), EF_OK);
    check_journal();
    tune_journal_close(&journal);
    close(ready[0]);
    close(ready[1]);
}
END_TEST

START_TEST(a_choice_that_ended_the_run_is_not_tried_again)
{
    ef_error error;
    begin("");
    char text[128];
    strcpy(text, session.options[2].text);
    ck_assert_int_eq(tune_journal_begin(&session.journal, gelu, text, &error), EF_OK);
    end();
    begin("");
    ck_outcome(sample(2), TUNE_RUNTIME);
    ck_assert_ptr_nonnull(strstr(session.options[2].why, "the run ended while"));
    end();
    begin("");
    session.retry_failed = true;
    open_target();
    ck_outcome(sample(2), TUNE_CORRECT);
    end();
    begin("");
    ck_outcome(sample(2), TUNE_CORRECT);
    ck_assert_int_eq(
        tune_journal_begin(&session.journal, gelu, session.options[RIGHT].text, &error), EF_OK);
    end();
    begin(""); /* the default is */
    ck_outcome(sample(RIGHT), TUNE_CORRECT);
    end();
}
END_TEST

/* It is likely the best, and what cut it off may be anything: once. */
START_TEST(a_choice_that_has_run_and_ended_the_run_is_tried_once_more)
{
    ef_error error;
    begin("");
    char text[128];
    strcpy(text, session.options[2].text);
    ck_outcome(sample(2), TUNE_CORRECT);
    ck_outcome(verify(2), TUNE_CORRECT);
    ck_assert_int_eq(tune_journal_begin(&session.journal, gelu, text, &error), EF_OK);
    end();
    begin("");
    ck_outcome(session.options[2].outcome, TUNE_CORRECT);
    ck_assert_int_eq(tune_journal_begin(&session.journal, gelu, text, &error), EF_OK);
    end();
    begin("");
    ck_outcome(sample(2), TUNE_RUNTIME);
    end();
}
END_TEST

START_TEST(a_fresh_session_forgets_its_target_alone)
{
    begin("verify 3 wrong");
    ck_outcome(verify(3), TUNE_CORRECTNESS);
    end();
    begin("");
    gelu = "gelu.forward H2000";
    session.fresh = true;
    open_target();
    ck_outcome(verify(2), TUNE_CORRECT);
    end();
    gelu = "gelu.forward H1000";
    begin("");
    ck_outcome(session.options[3].outcome, TUNE_CORRECTNESS);
    session.fresh = true;
    open_target();
    ck_outcome(session.options[3].outcome, TUNE_UNTRIED);
    end();
}
END_TEST

/* What is right in one class need not be in the other. */
START_TEST(each_class_of_accuracy_has_its_own_in_the_journal)
{
    begin("verify 3 wrong");
    strcpy(session.device.accuracy, "strict");
    open_target();
    ck_outcome(verify(3), TUNE_CORRECTNESS);
    end();
    begin("");
    ck_outcome(session.options[3].outcome, TUNE_UNTRIED);
    ck_outcome(sample(3), TUNE_CORRECT);
    strcpy(session.device.accuracy, "strict");
    open_target();
    ck_outcome(session.options[3].outcome, TUNE_CORRECTNESS);
    end();
}
END_TEST

/* ---- the database ---- */

static ef_status put(const char *name, const char *target, const char *variant, double ms)
{
    ef_error error;
    tune_record record = {.variant = variant,
                          .knobs = json_pack("{s:i}", "chunk", 64),
                          .source = "s",
                          .identity = "i",
                          .ms = ms,
                          .base_ms = 2 * ms};
    ck_assert(tune_target_parse(target, &record.target));
    ef_status status = tune_database_put(path_of(name), &device, &record, 1, &error);
    json_decref(record.knobs);
    return status;
}

static bool take_ms(void *user, json_t *line)
{
    const char *shape = json_string_value(json_object_get(line, "shape"));
    if (shape)
        sprintf((char *)user + strlen(user), "%s %g,", shape,
                json_real_value(json_object_get(line, "ms")));
    return true;
}

static const char *records(const char *name)
{
    static char text[4096];
    ef_error error;
    text[0] = '\0';
    ck_assert_int_eq(tune_database_read(path_of(name), take_ms, text, &error), EF_OK);
    return text;
}

static bool has(const char *name, const char *target, const char *identity)
{
    tune_target t;
    ck_assert(tune_target_parse(target, &t));
    return tune_database_has(path_of(name), &t, device.accuracy, identity, 0);
}

START_TEST(a_result_replaces_its_targets_and_no_other)
{
    ck_assert_int_eq(put("db", gelu, "chunk", 1), EF_OK);
    ck_assert_int_eq(put("db", "gelu.forward H2000", NULL, 2), EF_OK);
    ck_assert_int_eq(put("db", "gelu.backward H1000", "item", 3), EF_OK);
    write_file("db", "a",
               "broken\n{\"op\": \"of a later version\", \"shape\": \"x\", \"ms\": 9.0}\n");
    ck_assert_int_eq(put("db", gelu, "item", 4), EF_OK);
    ck_assert_str_eq(records("db"), "gelu.forward H2000 2,gelu.backward H1000 3,x 9,"
                                    "gelu.forward H1000 4,");
    ck_assert(has("db", gelu, "i"));
    ck_assert(!has("db", gelu, "j"));
    ck_assert(!has("db", "gelu.forward H1001", "i"));
    ck_assert(!has("none", gelu, "i"));
}
END_TEST

static bool take_driver(void *user, json_t *line)
{
    const char *shape = json_string_value(json_object_get(line, "shape"));
    if (shape)
        sprintf((char *)user + strlen(user), "%s by %s,", shape,
                json_string_value(json_object_get(line, "driver")));
    return true;
}

START_TEST(a_result_is_of_the_driver_that_it_was_measured_with)
{
    char text[512] = "";
    ef_error error;
    tune_device updated = device;
    tune_record record = {
        .knobs = json_object(), .source = "s", .identity = "j", .samples = 13, .mad_ms = 0.5};
    ck_assert_int_eq(put("db", gelu, "chunk", 1), EF_OK);
    ck_assert_ptr_null(strstr(read_text("db"), "pci"));
    ck_assert_ptr_null(strstr(read_text("db"), "samples"));
    updated.vendor_id = 0x10de;
    updated.local_bytes = 49152;
    strcpy(updated.pci, "0000:1b:00");
    ck_assert_int_eq(put("db", "gelu.forward H2000", NULL, 2), EF_OK);
    strcpy(updated.driver, "2");
    ck_assert(tune_target_parse("gelu.forward H2000", &record.target));
    ck_assert_int_eq(tune_database_put(path_of("db"), &updated, &record, 1, &error), EF_OK);
    ck_assert_int_eq(tune_database_read(path_of("db"), take_driver, text, &error), EF_OK);
    ck_assert_str_eq(text, "gelu.forward H1000 by 1,gelu.forward H2000 by 2,");
    ck_assert_ptr_nonnull(strstr(read_text("db"), "\"vendor_id\":4318,"));
    ck_assert_ptr_nonnull(strstr(read_text("db"), "\"local_bytes\":49152,\"pci\":\"0000:1b:00\""));
    ck_assert_ptr_nonnull(strstr(read_text("db"), "\"samples\":13,\"mad_ms\":0.5"));
    json_decref(record.knobs);
}
END_TEST

START_TEST(a_record_that_needs_a_new_search_stays_in_force)
{
    tune_target t;
    ef_error error;
    tune_device updated = device;
    ck_assert_int_eq(put("db", gelu, "chunk", 1), EF_OK);
    ck_assert_int_eq(put("db", "gelu.forward H2000", NULL, 2), EF_OK);
    strcpy(updated.driver, "2");
    ck_assert(tune_target_parse(gelu, &t));
    strcpy(updated.accuracy, "strict"); /* whose record is another */
    ck_assert_int_eq(tune_database_reopen(path_of("db"), &updated, &t, &error), EF_OK);
    ck_assert(has("db", gelu, "i"));
    strcpy(updated.accuracy, "normal");
    ck_assert_int_eq(tune_database_reopen(path_of("db"), &updated, &t, &error), EF_OK);
    ck_assert(!has("db", gelu, "i") && has("db", "gelu.forward H2000", "i"));
    ck_assert_str_eq(records("db"), "gelu.forward H1000 1,gelu.forward H2000 2,");
    char text[512] = "";
    ck_assert_int_eq(tune_database_read(path_of("db"), take_driver, text, &error), EF_OK);
    ck_assert_str_eq(text, "gelu.forward H1000 by 1,gelu.forward H2000 by 1,");
    ck_assert_int_eq(tune_database_reopen(path_of("none"), &device, &t, &error), EF_OK);
    ck_assert_int_eq(access(path_of("none"), F_OK), -1);
    write_file("db", "w", "important notes\n");
    ck_assert_int_eq(tune_database_reopen(path_of("db"), &device, &t, &error), EF_EFORMAT);
    ck_assert_str_eq(read_text("db"), "important notes\n");
}
END_TEST

START_TEST(folders_are_made)
{
    ef_error error;
    ck_assert_int_eq(tune_database_prepare(path_of("a/b//c/db"), &device, &error), EF_OK);
    ck_assert_int_eq(put("a/b/c/db", gelu, NULL, 1), EF_OK);
    ck_assert_str_eq(records("a/b/c/db"), "gelu.forward H1000 1,");
    ck_assert_int_eq(tune_database_prepare(path_of("a/b/c/db"), &device, &error), EF_OK);
    ck_assert_str_eq(records("a/b/c/db"), "gelu.forward H1000 1,");
    ck_assert_int_eq(tune_database_prepare(path_of("a/b/c/db/under/a/file"), &device, &error),
                     EF_EIO);
    ck_assert_int_eq(tune_database_prepare("/proc/none/db", &device, &error), EF_EIO);
    ck_assert_ptr_nonnull(strstr(error.text, "--db FILE"));
    if (geteuid() == 0)
        return; /* nothing is read-only for root */
    chmod(path_of("a"), 0500);
    ck_assert_int_eq(tune_database_prepare(path_of("a/new/db"), &device, &error), EF_EIO);
    ck_assert_int_eq(put("a/db", gelu, NULL, 1), EF_EIO);
    chmod(path_of("a"), 0700);
}
END_TEST

START_TEST(files_of_something_else_are_left_alone)
{
    static const char *const texts[] = {
        "",
        "important notes\n",
        "{}\n",
        "\x7f"
        "ELF",
        "{\"format\": \"energyflow tune 2\", \"key\": \"k1\", \"driver\": \"1\"}\n",
        "{\"format\": \"energyflow tune 1\", \"key\": \"other\", \"driver\": \"1\"}\n",
        "{\"format\": \"energyflow tune 1\", \"driver\": \"1\"}\n"};
    ef_error error;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file("db", "w", texts[i]);
        ck_assert_int_eq(tune_database_prepare(path_of("db"), &device, &error), EF_EFORMAT);
        ck_assert_int_eq(put("db", gelu, NULL, 1), EF_EFORMAT);
        ck_assert_str_eq(read_text("db"), texts[i]);
    }
    unlink(path_of("db"));
    ck_assert_int_eq(put("db", gelu, NULL, 1), EF_OK);
    ck_assert_int_eq(truncate(path_of("db"), EF__TUNE_MOST_BYTES + 1), 0);
    ck_assert_int_eq(put("db", gelu, NULL, 1), EF_EFORMAT);
    ck_assert_int_eq(truncate(path_of("db"), (off_t)1 << 40), 0); /* and is not read, either */
    ck_assert_int_eq(tune_database_prepare(path_of("db"), &device, &error), EF_EFORMAT);
    unlink(path_of("db"));
    ck_assert_int_eq(mkfifo(path_of("db"), 0666), 0);
    ck_assert_int_eq(tune_database_prepare(path_of("db"), &device, &error), EF_EIO);
    unlink(path_of("db"));
    ck_assert_int_eq(mkdir(path_of("db"), 0777), 0);
    ck_assert_int_eq(tune_database_prepare(path_of("db"), &device, &error), EF_EIO);
}
END_TEST

START_TEST(looking_writes_nothing)
{
    ef_error error;
    ck_assert_int_eq(put("db", gelu, NULL, 1), EF_OK);
    struct stat before, after;
    ck_assert_int_eq(stat(path_of("db"), &before), 0);
    ck_assert_int_eq(tune_database_prepare(path_of("db"), &device, &error), EF_OK);
    ck_assert_int_eq(stat(path_of("db"), &after), 0);
    ck_assert(before.st_ino == after.st_ino); /* another eftune may be about to replace it */
}
END_TEST

/* ---- targets ---- */

static void ck_order(bool is_cpu, const char *const *want, size_t count)
{
    tune_target list[5];
    char text[128];
    ck_assert(tune_target_parse("gelu.forward H1000", &list[0]));
    ck_assert(tune_target_parse("linear.dx B4 D8 E8", &list[1]));
    ck_assert(tune_target_parse("gelu.forward H9000", &list[2]));
    ck_assert(tune_target_parse("clblast", &list[3]));
    ck_assert(tune_target_parse("linear.dx B9 D8 E8", &list[4]));
    list[1].devices = TUNE_CPUS;
    list[2].devices = TUNE_NO_CPUS;
    ck_assert_uint_eq(tune_targets_order(list, 5, is_cpu), count);
    for (size_t i = 0; i < count; i++) {
        tune_target_text(&list[i], text, sizeof text);
        ck_assert_str_eq(text, want[i]);
    }
}

START_TEST(heavy_targets_of_the_device_come_first)
{
    ck_order(true,
             (const char *const[]){"clblast", "linear.dx B4 D8 E8", "linear.dx B9 D8 E8",
                                   "gelu.forward H1000"},
             4);
    ck_order(false,
             (const char *const[]){"clblast", "linear.dx B9 D8 E8", "gelu.forward H1000",
                                   "gelu.forward H9000"},
             4);
}
END_TEST

/* Batches of a GPU are larger, and it gets the vocabulary's products. */
START_TEST(each_device_has_its_batches)
{
    static const struct {
        int effort;
        bool is_cpu;
        size_t batch[3];
    } rows[] = {{0, true, {16}}, {0, false, {64, 4}}, {1, true, {16, 4}}, {1, false, {16, 64, 4}}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t count, batches = 0;
        tune_target *list = tune_default_targets(rows[r].effort, &count);
        count = tune_targets_order(list, count, rows[r].is_cpu);
        for (size_t i = 0; i < count; i++)
            if (list[i].id == EF__CONV1D_DX && list[i].n[4] == 5)
                ck_assert_uint_eq(list[i].n[0], rows[r].batch[batches++]);
        ck_assert_uint_eq(count, 15 * batches + (rows[r].is_cpu ? 0 : 3));
        ck_assert(batches == 3 || rows[r].batch[batches] == 0);
        free(list);
    }
}
END_TEST

/* ---- progress ---- */

START_TEST(progress_says_what_is_known)
{
    tune_progress p = {.stage = TUNE_EXPLORE, .done = 1, .total = 34};
    char text[256], cut[16];
    tune_progress_text(&p, text, sizeof text);
    ck_assert_str_eq(text, "exploring 1/34");
    p = (tune_progress){.stage = TUNE_FINALS,
                        .done = 3,
                        .total = 15,
                        .best_ms = 1,
                        .control_ms = 2,
                        .ratio = {.median = 0.5, .low = 0.4, .high = 0.8}};
    p.failed[TUNE_COMPILE] = 2;
    p.failed[TUNE_TIMEOUT] = 1;
    tune_progress_text(&p, text, sizeof text);
    ck_assert_str_eq(text, "finals 3/15, best 1 ms, default 2 ms, 2.00 times as fast "
                           "(1.25 to 2.50), failed: 2 compile, 1 timeout");
    tune_progress_text(&p, cut, sizeof cut);
    ck_assert_str_eq(cut, "finals 3/15, be");
}
END_TEST

START_TEST(targets_that_cannot_be_are_refused)
{
    static const char *const bad[] = {
        "",
        " ",
        "gelu",
        "gelu.forward",
        "gelu.forward H0",
        "gelu.forward H-1",
        "gelu.forward H1x",
        "gelu.forward H5 H5",
        "gelu.forward H2147483648",
        "gelu.forward H99999999999999999999",
        "gelu.forward D5",
        "no.such H5",
        "gelu.forward H 5",
        "layernorm.forward B2147483647",
        "linear.forward -5",
        "conv1d.forward B2147483647 L2147483647 D2147483647 H5 K5 d1"};
    char text[128];
    tune_target t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!tune_target_parse(bad[i], &t), "%s", bad[i]);
    ck_assert(tune_target_parse("\tconv1d.dx  K5 B2 L3 D4  H6 d7\n", &t));
    tune_target_text(&t, text, sizeof text);
    ck_assert_str_eq(text, "conv1d.dx B2 L3 D4 H6 K5 d7");
}
END_TEST

/* ---- CLBlast ---- */

/* budget_s is that of three targets; CLBlast's share of it a quarter. */
static int run_clblast(const char *scenario, tune_request request)
{
    static const char *const texts[] = {"clblast", "linear.forward B4 D32 E32",
                                        "linear.dx B64 D64 E64"};
    tune_target targets[3];
    char db[512];
    snprintf(db, sizeof db, "%s/db", folder);
    for (size_t i = 0; i < 3; i++)
        ck_assert(tune_target_parse(texts[i], &targets[i]));
    fake_argv[2] = (char *)scenario;
    request.command = "test";
    request.worker = fake_argv;
    request.db = db;
    request.target = targets;
    request.count = 3;
    request.products = targets + 1;
    request.product_count = request.product_count ? request.product_count : 2;
    request.budget_s = request.budget_s > 0 ? request.budget_s : 400;
    request.seed = 1;
    request.stop = &stopped;
    request.json = true;
    unsetenv("EF_LINEAR");
    return tune_run(&request);
}

/* Of a stream; returns where it went. */
static int redirect(FILE *stream, const char *name)
{
    const int before = dup(fileno(stream));
    const int to = open(path_of(name), O_CREAT | O_WRONLY | O_TRUNC, 0666);
    fflush(stream);
    ck_assert_int_ge(dup2(to, fileno(stream)), 0);
    close(to);
    return before;
}

static void restore(FILE *stream, int before)
{
    fflush(stream);
    ck_assert_int_ge(dup2(before, fileno(stream)), 0);
    close(before);
}

/* With what it says on standard output and error in the files out and err. */
static int run_clblast_aside(const char *scenario, tune_request request)
{
    const int out = redirect(stdout, "out"), err = redirect(stderr, "err");
    const int status = run_clblast(scenario, request);
    restore(stdout, out);
    restore(stderr, err);
    return status;
}

static void make_gpu(void)
{
    make_folder();
    write_file("gpu", "w", "");
}

static int stored(const char *kernel, const char *name)
{
    json_t *kernels = tune_database_clblast(path_of("db"), "1");
    int value = kernels ? parameter(kernels, kernel, name) : -1;
    json_decref(kernels);
    return value;
}

/* Each kernel for the sizes that it is best at, which is between 16, the cube root of 4 32 32, and
 * 64; and whoever comes after takes them. */
START_TEST(clblast_gets_one_set_for_all_products)
{
    const tune_request usual = {0}, check = {.check = true};
    ck_assert_int_eq(run_clblast("", usual), 0);
    ck_assert_int_eq(stored("Xgemm", "MWG"), 64);
    ck_assert_int_eq(stored("Pad", "PAD_WPTX"), 4);
    ck_assert_int_eq(stored("XgemmDirect", "WGD"), 32);
    ck_assert_int_eq(stored("GemmRoutine", "XGEMM_MIN_INDIRECT_SIZE"), 40);
    ck_assert_ptr_null(tune_database_clblast(path_of("db"), "of old"));
    ck_assert_int_eq(count_log("own"), 0);
    ck_assert_int_eq(count_log("tuned"), 2);
    int times = count_log("time");
    ck_assert_int_eq(run_clblast("", usual), 0); /* all is there */
    ck_assert_int_eq(count_log("time"), times);
    unlink(path_of("db"));
    ck_assert_int_eq(run_clblast("", usual), 0); /* and most of it is in the journal */
    ck_assert_int_lt(count_log("time"), times + times / 2);
    ck_assert_int_eq(stored("GemmRoutine", "XGEMM_MIN_INDIRECT_SIZE"), 40);

    ck_assert_int_eq(run_clblast("", check), 0); /* checked, it stays, and goes if it is wrong */
    ck_assert_int_eq(stored("Pad", "PAD_WPTX"), 4);
    ck_assert_int_eq(run_clblast("verify 0 once_wrong", check), 0);
    ck_assert_int_eq(stored("Pad", "PAD_WPTX"), -1);
}
END_TEST

/* Once there is a set, it keeps that, and says so. It is tried again because the products are
 * others. */
START_TEST(without_time_clblast_keeps_the_set_that_there_is)
{
    ck_assert_int_eq(run_clblast_aside("", (tune_request){.budget_s = 12}), 0);
    ck_assert_ptr_nonnull(strstr(read_text("out"), "\"choice\":\"built-in\",\"adopted\":false"));
    ck_assert_int_eq(run_clblast("", (tune_request){0}), 0);
    ck_assert_int_eq(run_clblast_aside("", (tune_request){.budget_s = 12, .product_count = 1}), 0);
    const char *said = read_text("out");
    ck_assert_msg(strstr(said, "\"choice\":\"Xgemm GEMMK 0, ") != NULL, "%s", said);
    ck_assert_ptr_null(strstr(said, "built-in"));
    ck_assert_int_eq(stored("Xgemm", "MWG"), 64);
}
END_TEST

START_TEST(without_time_clblast_keeps_its_own_parameters)
{
    ck_assert_int_eq(run_clblast("", (tune_request){.budget_s = 12}), 0);
    ck_assert_int_eq(stored("Xgemm", "MWG"), -1);
    ck_assert_int_eq(count_log("tuned"), 0);
    ck_assert_int_eq(count_log("own"), 2);
}
END_TEST

/* The record says which variant: the default would be CLBlast. */
START_TEST(a_clblast_that_is_wrong_by_itself_is_left_out)
{
    ck_assert_int_eq(run_clblast("verify * wrong", (tune_request){0}), 4); /* direct's is, too */
    unlink(path_of("db.journal"));
    ck_assert_int_eq(run_clblast("verify -1 wrong", (tune_request){0}), 0);
    ck_assert_ptr_nonnull(strstr(read_text("db"), "\"variant\":\"direct\""));
    ck_assert_ptr_null(strstr(read_text("db"), "\"variant\":\"default\""));
}
END_TEST

/* Tiles in registers alone, of all that CLBlast has; the direct kernel stays its own. */
static void ck_set_of_cpu(void)
{
    ck_assert_int_eq(stored("Xgemm", "GEMMK"), 1);
    ck_assert_int_eq(stored("Xgemm", "MWG"), 128);
    ck_assert_int_eq(stored("Xgemm", "VWM"), 8);
    ck_assert_int_eq(stored("Pad", "PAD_WPTX"), 4);
    ck_assert_int_eq(stored("XgemmDirect", "WGD"), 0);
    ck_assert_int_eq(stored("GemmRoutine", "XGEMM_MIN_INDIRECT_SIZE"), 40);
    ck_assert_ptr_nonnull(strstr(read_text("db"), "\"variant\":\"clblast\""));
}

static bool has_all(const char *text, const char *const *parameters)
{
    char one[32];
    for (const char *const *p = parameters; *p; p++) {
        snprintf(one, sizeof one, " %s,", *p);
        if (!strstr(text, one))
            return false;
    }
    return true;
}

/* Of the sets that were tried, the number of the first with all of the parameters; 0: none. */
static size_t tried_as(const char *const *parameters)
{
    tune_journal j;
    ef_error error;
    size_t found = 0;
    ck_assert_int_eq(tune_journal_look(&j, path_of("db.journal"), &error), EF_OK);
    for (size_t i = 1; i < j.count && !found; i++) /* 0: its own */
        found = has_all(j.entries[i].choice, parameters) ? i : 0;
    tune_journal_close(&j);
    return found;
}

/* It begins with tiles that may well be good, and tries copies of all sizes. */
START_TEST(a_cpu_begins_with_what_may_be_good)
{
    static const char *const start[] = {"KREG 1",  "MDIMA 4", "MDIMC 4", "MWG 32", "NDIMB 4",
                                        "NDIMC 4", "NWG 32",  "VWM 8",   "VWN 1",  NULL};
    static const char *const copies[] = {
        "COPY_DIMX 32", "COPY_DIMY 8",   "COPY_VW 4",     "COPY_WPT 4",
        "PAD_DIMX 32",  "PAD_DIMY 8",    "PAD_WPTX 4",    "PAD_WPTY 1",
        "TRA_DIM 16",   "TRA_PAD 0",     "TRA_SHUFFLE 0", "TRA_WPT 1",
        "PADTRA_PAD 0", "PADTRA_TILE 8", "PADTRA_WPT 4",  NULL};
    ck_assert_int_eq(run_clblast("", (tune_request){0}), 0);
    ck_assert_uint_eq(tried_as(start), 1);
    ck_assert_uint_gt(tried_as(copies), 1);
}
END_TEST

START_TEST(a_cpu_gets_the_kernel_that_works_in_registers)
{
    ck_assert_int_eq(run_clblast("", (tune_request){.budget_s = 200}), 0); /* of which a quarter */
    ck_assert_int_eq(stored("Xgemm", "GEMMK"), -1);
    ck_assert_int_eq(count_log("own"), 2);
    ck_assert_int_eq(run_clblast("", (tune_request){0}), 0);
    ck_set_of_cpu();
    ck_assert_int_eq(count_log("tuned"), 2);
}
END_TEST

static void stop_after(double seconds)
{
    const struct itimerval moment = {.it_value = {.tv_usec = (suseconds_t)(1e6 * seconds) + 1}};
    stopped = 0;
    signal(SIGALRM, on_alarm);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &moment, NULL), 0);
}

/* Each run goes on behind the one before. One that ends before its moment does not count; the next
 * begins where there is nothing. */
START_TEST(a_cpus_run_that_is_stopped_at_any_moment_ends_the_same)
{
    const size_t stops = ef_test_size(3, 8, 20);
    ef__rng rng = {2};
    for (size_t count = 0; count < stops;) {
        const double r = ef__rng_uniform(&rng);
        stop_after(0.5 * r * r);
        const int status = run_clblast("", (tune_request){0});
        ck_assert_msg(status == (stopped ? 130 : 0), "%d", status);
        count += stopped;
        if (stopped)
            continue;
        ck_set_of_cpu();
        remove_folder();
        make_folder();
    }
    stopped = 0;
    signal(SIGALRM, SIG_IGN);
    ck_assert_int_eq(run_clblast("", (tune_request){0}), 0);
    ck_set_of_cpu();
}
END_TEST

/* There is a set that is right, but nothing to compare it with; the own kernels stay what they are,
 * and are said to be. */
START_TEST(a_cpus_clblast_that_is_wrong_by_itself_is_left_out)
{
    ck_assert_int_eq(run_clblast_aside("verify -1 wrong", (tune_request){0}), 0);
    const char *err = read_text("err");
    ck_assert_msg(strstr(err, "CLBlast is left out: with its own parameters") != NULL, "%s", err);
    ck_assert_int_eq(stored("Xgemm", "GEMMK"), -1);
    ck_assert_int_gt(count_log("verify 0"), 0);
    ck_assert_int_eq(count_log("own"), 2);
    const char *records = read_text("db"), *direct = "\"variant\":\"direct\"";
    ck_assert(count_text(records, direct) == 2 && count_text(records, "\"variant\"") == 2);
    const char *said = read_text("out");
    ck_assert_int_eq(count_text(said, "\"choice\":\"direct"), 2);
    ck_assert_int_eq(count_text(said, "\"target\":\"clblast\""), 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tune_session");
    TCase *t = ef_test_case(s, "supervisor");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, a_worker_that_does_not_start_is_said);
    tcase_add_test(t, what_happens_to_the_worker_is_the_choices_outcome);
    tcase_add_test(t, a_second_answer_is_not_taken_for_the_next_ones);
    tcase_add_test(t, a_worker_that_dies_between_requests_is_nobodys_failure);
    tcase_add_test(t, the_default_is_asked_twice);
    tcase_add_test(t, a_round_that_fails_names_the_one);
    tcase_add_test(t, what_runs_out_of_the_budget_has_not_failed);
    tcase_add_test(t, what_runs_out_of_the_budget_twice_hangs);
    tcase_add_test(t, a_run_that_hangs_does_not_cost_the_time_to_build);
    tcase_add_test(t, what_a_worker_has_started_ends_with_it);
    tcase_add_test(t, a_new_worker_has_the_time_to_build_again);
    tcase_add_test(t, three_failures_with_a_healthy_device_stay_failures);
    tcase_add_test(t, failures_of_a_sick_device_that_recovers_are_tried_again);
    tcase_add_test(t, one_start_that_fails_is_no_end);
    tcase_add_test(t, a_device_that_does_not_recover_ends_the_run);
    tcase_add_test(t, runs_end_with_the_right_status);
    tcase_add_test(t, a_wrong_choice_that_is_fast_hides_no_other);
    tcase_add_test(t, one_target_is_finished_rather_than_two_begun);
    tcase_add_test(t, failures_are_tried_again_where_all_is_tuned);
    tcase_add_test(t, a_fresh_search_that_is_cut_off_goes_on);
    tcase_add_test(t, the_journal_has_the_rounds_of_finalists);
    tcase_add_test(t, a_target_that_does_not_open_again_stops_no_other);
    tcase_add_test(t, a_search_that_had_its_share_is_not_made_again);
    tcase_add_test(t, the_first_samples_of_many_do_not_come_back);
    tcase_add_test(t, a_check_gives_up_what_lost_and_nothing_else);
    tcase_add_test(t, a_check_of_a_default_wants_it_to_run);
    tcase_add_test(t, a_check_ends_when_it_is_asked_to);
    tcase_add_test(t, what_is_known_goes_into_the_next_search);
    tcase_add_test(t, a_run_that_is_killed_at_any_moment_goes_on);
    t = ef_test_case(s, "clblast");
    tcase_add_checked_fixture(t, make_gpu, remove_folder);
    tcase_add_test(t, clblast_gets_one_set_for_all_products);
    tcase_add_test(t, without_time_clblast_keeps_its_own_parameters);
    tcase_add_test(t, without_time_clblast_keeps_the_set_that_there_is);
    tcase_add_test(t, a_clblast_that_is_wrong_by_itself_is_left_out);
    t = ef_test_case(s, "clblast on a cpu");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, a_cpu_gets_the_kernel_that_works_in_registers);
    tcase_add_test(t, a_cpu_begins_with_what_may_be_good);
    tcase_add_test(t, a_cpus_run_that_is_stopped_at_any_moment_ends_the_same);
    tcase_add_test(t, a_cpus_clblast_that_is_wrong_by_itself_is_left_out);
    t = ef_test_case(s, "journal");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, a_journal_gives_back_what_was_put_in);
    tcase_add_test(t, a_journal_is_cut_off_anywhere);
    tcase_add_test(t, rubbish_in_a_journal_is_passed_over);
    tcase_add_test(t, a_fate_may_be_without_rounds);
    tcase_add_test(t, a_journal_of_something_else_begins_anew);
    tcase_add_test(t, a_journal_forgets_one_target);
    tcase_add_test(t, a_choice_that_ended_its_run_has_failed);
    tcase_add_test(t, a_file_that_is_no_journal_is_left_alone);
    tcase_add_test(t, only_one_has_the_journal);
    tcase_add_test(t, a_choice_that_ended_the_run_is_not_tried_again);
    tcase_add_test(t, a_choice_that_has_run_and_ended_the_run_is_tried_once_more);
    tcase_add_test(t, a_fresh_session_forgets_its_target_alone);
    tcase_add_test(t, each_class_of_accuracy_has_its_own_in_the_journal);
    t = ef_test_case(s, "database");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, a_result_replaces_its_targets_and_no_other);
    tcase_add_test(t, a_result_is_of_the_driver_that_it_was_measured_with);
    tcase_add_test(t, a_record_that_needs_a_new_search_stays_in_force);
    tcase_add_test(t, folders_are_made);
    tcase_add_test(t, files_of_something_else_are_left_alone);
    tcase_add_test(t, looking_writes_nothing);
    tcase_add_test(t, heavy_targets_of_the_device_come_first);
    tcase_add_test(t, each_device_has_its_batches);
    tcase_add_test(t, targets_that_cannot_be_are_refused);
    tcase_add_test(t, progress_says_what_is_known);
    return s;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--fake"))
        return fake(argv[2], argv[3]);
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return 99;
    self[length] = '\0';
    signal(SIGPIPE, SIG_IGN); /* of a worker that died */
    return ef_test_main(suite, false);
}
