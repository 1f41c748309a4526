/* Which devices are tuned at once, and what becomes of their lines and ends, without a device: the
 * runs are children of this program that note in a file when they begin and end. */
#include "ef_test.h"
#include "../tune/jobs.h"
#include "base/clock.h"
#include "folder.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 2 is 1 seen by another platform's driver, 4 by its UUID; 6 is equal to 5. */
static const char *const devices[] = {
    "{\"index\": 0, \"name\": \"pthread\", \"platform\": \"PoCL\", \"kind\": \"cpu\", "
    "\"key\": \"k0\", \"pci\": \"\", \"uuid\": \"\"}",
    "{\"index\": 1, \"name\": \"Card A\", \"platform\": \"One\", \"kind\": \"gpu\", "
    "\"key\": \"k1\", \"pci\": \"0000:1b:00\", \"uuid\": \"aa\"}",
    "{\"index\": 2, \"name\": \"card a\", \"platform\": \"Two\", \"kind\": \"gpu\", "
    "\"key\": \"k2\", \"pci\": \"0000:1b:00\", \"uuid\": \"\"}",
    "{\"index\": 3, \"name\": \"basic\", \"platform\": \"PoCL\", \"kind\": \"cpu\", "
    "\"key\": \"k3\", \"pci\": \"\", \"uuid\": \"\"}",
    "{\"index\": 4, \"name\": \"Card A\", \"platform\": \"Three\", \"kind\": \"gpu\", "
    "\"key\": \"k4\", \"pci\": \"\", \"uuid\": \"aa\"}",
    "{\"index\": 5, \"name\": \"Card B\", \"platform\": \"One\", \"kind\": \"gpu\", "
    "\"key\": \"k5\", \"pci\": \"0000:2b:00\", \"uuid\": \"bb\"}",
    "{\"index\": 6, \"name\": \"Card B\", \"platform\": \"One\", \"kind\": \"gpu\", "
    "\"key\": \"k5\", \"pci\": \"0000:3b:00\", \"uuid\": \"cc\"}",
    "{\"index\": 7, \"name\": \"Simulator\", \"platform\": \"Oclgrind\", \"kind\": \"gpu\", "
    "\"key\": \"k7\", \"pci\": \"\", \"uuid\": \"\"}"};
enum { DEVICES = sizeof devices / sizeof *devices };

static volatile sig_atomic_t stopped;

/* ---- the runs ---- */

/* What a run does: its lines, and how many others it waits for. */
typedef struct plan {
    const char *out, *err;
    size_t company;    /* runs that have begun before this one ends */
    const char *fails; /* this device ends with status 3 */
    const char *dies;
    bool stops; /* it asks for the end of all, and goes on till then */
} plan;

static void note(const char *what, const char *device)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%s %s\n", what, device);
    int fd = open(path_of("log"), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ck_assert(write(fd, line, (size_t)length) == length);
    close(fd);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static int list(void *user)
{
    (void)user;
    for (size_t i = 0; i < DEVICES; i++)
        puts(devices[i]);
    return 0;
}

static int run(void *user, const char *device)
{
    const plan *p = user;
    signal(SIGINT, on_signal);
    note("begin", device);
    if (p->out)
        fputs(p->out, stdout);
    if (p->err)
        fputs(p->err, stderr);
    for (double end = ef__now() + 10; count(read_text("log"), "begin") < p->company;) {
        ck_assert(ef__now() < end);
        usleep(2000);
    }
    if (p->stops && !stopped)
        kill(getppid(), SIGINT);
    for (int i = 0; i < 1000 && p->stops && !stopped; i++)
        usleep(10000);
    usleep(5000);
    if (p->dies && !strcmp(p->dies, device))
        raise(SIGKILL);
    note("end", device);
    return stopped ? 130 : p->fails && !strcmp(p->fails, device) ? 3 : 0;
}

/* With stdout and stderr in the files out and err. */
static int run_jobs(tune_jobs jobs, const plan *p)
{
    static const struct {
        int fd;
        const char *name;
    } streams[] = {{STDOUT_FILENO, "out"}, {STDERR_FILENO, "err"}};
    int kept[2];
    jobs.command = "test";
    jobs.list = jobs.list ? jobs.list : list;
    jobs.run = run;
    jobs.user = (void *)p;
    jobs.stop = &stopped;
    stopped = 0;
    signal(SIGINT, on_signal);
    unlink(path_of("log"));
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        kept[i] = dup(streams[i].fd);
        int fd = open(path_of(streams[i].name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(fd, streams[i].fd);
        close(fd);
    }
    int code = tune_jobs_run(&jobs);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(kept[i], streams[i].fd);
        close(kept[i]);
    }
    return code;
}

/* ---- tests ---- */

/* From the log: how many ran at once at most; never two of a group. */
static size_t most_at_once(const char *log)
{
    static const int group[DEVICES] = {1, 2, 2, 1, 2, 3, 3, 4};
    bool running[DEVICES] = {false};
    size_t most = 0;
    char what[8];
    int device, length;
    for (; sscanf(log, "%7s %d\n%n", what, &device, &length) == 2; log += length) {
        size_t now = 0;
        for (int i = 0; i < DEVICES; i++) {
            ck_assert_msg(!running[i] || *what == 'e' || group[i] != group[device],
                          "%d and %d at once", i, device);
            now += running[i];
        }
        running[device] = *what == 'b';
        most = now + (*what == 'b') > most ? now + (*what == 'b') : most;
    }
    return most;
}

START_TEST(so_many_run_at_once_and_none_beside_itself)
{
    static const size_t at_once[] = {1, 2, 64}, most[] = {1, 2, 3};
    for (size_t i = 0; i < 3; i++) {
        const plan p = {.company = most[i]};
        ck_assert_int_eq(run_jobs((tune_jobs){.at_once = at_once[i]}, &p), 0);
        const char *log = read_text("log");
        ck_assert_uint_eq(most_at_once(log), most[i]);
        for (int d = 0; d < DEVICES; d++) { /* not 6, which is like 5, nor Oclgrind */
            char ended[16];
            snprintf(ended, sizeof ended, "end %d\n", d);
            ck_assert_uint_eq(count(log, ended), d < 6);
        }
    }
}
END_TEST

START_TEST(devices_are_named)
{
    static const struct {
        const char *wanted, *ran;
    } rows[] = {{"4", "begin 4\nend 4\n"},
                {"oclgrind", "begin 7\nend 7\n"},
                {"CARD b", "begin 5\nend 5\n"},
                {"pocl", "begin 0\nend 0\nbegin 3\nend 3\n"}};
    const plan p = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 9, .wanted = rows[i].wanted}, &p), 0);
        ck_assert_str_eq(read_text("log"), rows[i].ran);
    }
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 9, .wanted = "8"}, &p), 2);
    ck_assert_str_eq(read_text("err"), "test: no device \"8\"\n");
    ck_assert_str_eq(read_text("log"), "");
}
END_TEST

static int list_badly(void *user)
{
    (void)user;
    puts("{\"index\": 0}");
    return 0;
}

static int list_nothing(void *user)
{
    (void)user;
    fputs("test: no driver\n", stderr);
    return 4;
}

START_TEST(a_list_that_fails_is_said)
{
    const plan p = {0};
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 1, .list = list_badly}, &p), 4);
    ck_assert_str_eq(read_text("err"), "test: the list of devices cannot be read\n");
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 1, .list = list_nothing}, &p), 4);
    ck_assert_str_eq(read_text("err"), "test: no driver\n");
}
END_TEST

START_TEST(lines_say_whose_they_are)
{
    static char endless[10001];
    memset(endless, 'x', sizeof endless - 1);
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 1, .wanted = "pocl"},
                              &(plan){.out = "one\n\ntwo", .err = "three\n"}),
                     0);
    ck_assert_str_eq(read_text("out"), "device 0: one\ndevice 0: \ndevice 0: two\n"
                                       "device 3: one\ndevice 3: \ndevice 3: two\n");
    ck_assert_str_eq(read_text("err"), "device 0: three\ndevice 3: three\n");
    run_jobs((tune_jobs){.at_once = 1, .wanted = "5", .json = true},
             &(plan){.out = "{\"target\":\"x\"}\n", .err = "{}\n"});
    ck_assert_str_eq(read_text("out"), "{\"device\":5,\"target\":\"x\"}\n");
    ck_assert_str_eq(read_text("err"), "device 5: {}\n");
    run_jobs((tune_jobs){.at_once = 1, .wanted = "5"}, &(plan){.out = endless});
    ck_assert_uint_eq(count(read_text("out"), "x"), 10000);
}
END_TEST

START_TEST(the_worst_end_counts_and_stops_no_other)
{
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 1}, &(plan){.fails = "1"}), 3);
    ck_assert_uint_eq(count(read_text("log"), "end"), 6);
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 1}, &(plan){.dies = "1"}), 1);
    ck_assert_uint_eq(count(read_text("log"), "end"), 5);
    ck_assert_str_eq(read_text("err"), "test: device 1: the process died of signal 9\n");
}
END_TEST

START_TEST(an_interrupt_reaches_all_and_none_begins_any_more)
{
    ck_assert_int_eq(run_jobs((tune_jobs){.at_once = 2}, &(plan){.company = 2, .stops = true}),
                     130);
    const char *log = read_text("log");
    ck_assert_uint_eq(count(log, "begin"), 2);
    ck_assert_uint_eq(count(log, "end"), 2);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tune jobs");
    TCase *c = ef_test_case(s, "jobs");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_add_test(c, so_many_run_at_once_and_none_beside_itself);
    tcase_add_test(c, devices_are_named);
    tcase_add_test(c, a_list_that_fails_is_said);
    tcase_add_test(c, lines_say_whose_they_are);
    tcase_add_test(c, the_worst_end_counts_and_stops_no_other);
    tcase_add_test(c, an_interrupt_reaches_all_and_none_begins_any_more);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
