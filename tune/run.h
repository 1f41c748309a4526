/* run.h -- a tuning run: every target searched, its result in the database before the next. */
#ifndef TUNE_RUN_H
#define TUNE_RUN_H

#include "session.h"

typedef struct tune_request {
    const char *command;       /* name of the program, for messages */
    char *const *worker;       /* argv */
    const char *db;            /* NULL: the user's for this device */
    const tune_target *target; /* [count] */
    size_t count;
    const tune_target *products; /* [product_count] what CLBlast's parameters are tuned for, where
                                    they are the first target */
    size_t product_count;
    double budget_s; /* may be infinite */
    uint64_t seed;
    bool check; /* what the database has, instead of searching */
    bool fresh, retry_failed, json;
    bool alone; /* the only run on this machine: say it if other processes disturb it */
    const volatile sig_atomic_t *stop;
} tune_request;

/* The status to exit with; what went wrong was said. */
int tune_run(const tune_request *request);

/* One line on stdout; it is freed. */
void tune_print_json(json_t *line);

/* "finals 3/15, best 1.1 ms, default 2 ms, 1.82 times as fast (1.79 to 1.85), failed: 2 compile" */
void tune_progress_text(const tune_progress *p, char *text, size_t size);

#endif
