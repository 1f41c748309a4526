/* Is the load that others make told from our own? */
#include "ef_test.h"
#include "../tune/load.h"
#include "base/clock.h"
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 256 };
static const double window = 0.4; /* seconds */

static void *burn(void *seconds)
{
    for (double end = ef__now() + *(double *)seconds; ef__now() < end;)
        ;
    return NULL;
}

/* Every core, by threads of the process that calls. */
static void burn_all(double seconds)
{
    pthread_t threads[MOST];
    const long cores = sysconf(_SC_NPROCESSORS_ONLN), count = cores < MOST ? cores : MOST;
    for (long i = 0; i < count; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, burn, &seconds), 0);
    for (long i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

typedef enum { STRANGER, WORKER, WAITED_FOR, SELF } who;

static double seconds_of(int whose)
{
    struct rusage u;
    getrusage(whose, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static pid_t burning_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        burn_all(60);
        _exit(0);
    }
    usleep((useconds_t)(1e6 * window));
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* All cores are burnt. What others are said to have used of them, and what the one who burnt
 * did. */
static double others(who burns, bool *high, double *burnt, int *cores)
{
    tune_load load;
    char text[64];
    double used = -1, from = ef__now();
    tune_load_begin(&load, window);
    ck_assert(!tune_load_is_high(&load, 0, text, sizeof text)); /* not yet */
    pid_t child = burns == SELF ? 0 : burning_child();
    if (burns == SELF)
        burn_all(window);
    if (burns == WAITED_FOR)
        end_child(child);
    *high = tune_load_is_high(&load, burns == WORKER ? child : 0, text, sizeof text);
    const double seconds = ef__now() - from;
    ck_assert_int_eq(sscanf(text, "other processes use %lf of %d cores", &used, cores), 2);
    ck_assert(!tune_load_is_high(&load, 0, text, sizeof text)); /* once */
    if (burns == WORKER || burns == STRANGER)
        end_child(child);
    *burnt = seconds_of(burns == SELF ? RUSAGE_SELF : RUSAGE_CHILDREN) / seconds;
    return used;
}

/* What is counted in ticks may be off by some, and who has the cores may change meanwhile. */
enum { TRIES = 3 };

/* On a machine whose cores are not all for us it may not get so many. */
START_TEST(a_stranger_on_all_cores_is_seen)
{
    bool high, seen = false;
    double burnt = 0, used = 0;
    int cores = 0;
    for (int i = 0; i < TRIES && !seen; i++) {
        used = others(STRANGER, &high, &burnt, &cores);
        seen = used > 0.7 * burnt;
        if (fabs(used - 0.5 * cores) > 0.1) /* it is said rounded */
            ck_assert_int_eq(high, used > 0.5 * cores);
    }
    ck_assert_msg(seen, "%g, not %g of %d cores", used, burnt, cores);
}
END_TEST

/* There may be strangers at work, too, but not with the time that we had. */
START_TEST(what_we_use_is_not_the_others)
{
    const who ours = (who)(WORKER + _i);
    bool high, apart = false;
    double burnt = 0, used = 0;
    int cores = 0;
    for (int i = 0; i < TRIES && !apart; i++) {
        used = others(ours, &high, &burnt, &cores);
        apart = used + burnt < 1.25 * cores;
    }
    ck_assert_msg(apart, "%g and %g of %d cores", used, burnt, cores);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tune load");
    TCase *c = ef_test_case(s, "load");
    tcase_add_test(c, a_stranger_on_all_cores_is_seen);
    tcase_add_loop_test(c, what_we_use_is_not_the_others, 0, 3);
    return s;
}

/* What all cores were at work, in ticks; 0: that is not said. */
static unsigned long long busy_ticks(void)
{
    unsigned long long user = 0, nice = 0, kernel = 0;
    FILE *stat = fopen("/proc/stat", "r");
    if (!stat)
        return 0;
    const bool said = fscanf(stat, "cpu %llu %llu %llu", &user, &nice, &kernel) == 3;
    fclose(stat);
    return said ? user + nice + kernel : 0;
}

/* In some containers the figures stand still, or are none. */
static bool is_counted(void)
{
    double seconds = window;
    const double before = seconds_of(RUSAGE_SELF);
    const unsigned long long ticks = busy_ticks();
    burn(&seconds);
    const double burnt = seconds_of(RUSAGE_SELF) - before;
    const double counted = (double)(busy_ticks() - ticks) / (double)sysconf(_SC_CLK_TCK);
    return ticks > 0 && counted > 0.5 * burnt;
}

int main(void)
{
    if (is_counted())
        return ef_test_main(suite, false);
    puts("SKIP: /proc/stat does not count what runs here");
    return 77;
}
