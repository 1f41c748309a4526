/* jobs.h -- a run on each of several devices, some of them at once, each in a process of its own
 * whose lines are passed on with the device's number in front. The parent never touches OpenCL:
 * another process lists the devices.
 *
 * CPU devices wait for each other, as they share the host, and so do devices that are one piece of
 * hardware, by UUID or PCI address. Of equal ones, which have one database, only the first runs. */
#ifndef TUNE_JOBS_H
#define TUNE_JOBS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct tune_jobs {
    const char *command; /* name of the program, for messages */
    const char *wanted;  /* index, or part of a name; NULL: all but Oclgrind's */
    size_t at_once;      /* at least 1 */
    double watch_s;      /* for other processes' load, before the first; 0: not */
    bool json;           /* lines of the runs are objects: they get a member "device" */
    /* Both run in a child and return its exit status. list: a line for each device, as eftune
     * --list --json prints it. */
    int (*list)(void *user);
    int (*run)(void *user, const char *device);
    void *user;
    const volatile sig_atomic_t *stop; /* becomes 1: the runs get SIGINT, and no other begins */
} tune_jobs;

/* The status to exit with: the highest of the runs'. What went wrong was said. */
int tune_jobs_run(const tune_jobs *jobs);

#endif
