/* process.h -- a worker process: started, asked, watched, ended. It never outlives its
 * supervisor. */
#ifndef TUNE_PROCESS_H
#define TUNE_PROCESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct tune_process {
    pid_t pid; /* 0: none */
    int to, from;
    char *read; /* what came and was no whole line yet */
    size_t used, room;
    unsigned started; /* how often */
} tune_process;

typedef enum tune_answer {
    TUNE_ANSWERED,
    TUNE_DIED,    /* of the request, or before */
    TUNE_SILENT,  /* for too long */
    TUNE_GARBLED, /* it said something else than one object of JSON in a line */
} tune_answer;

/* Start argv[0], which is looked for as execv does, and wait for its first line. */
tune_answer tune_process_start(tune_process *p, char *const argv[], double seconds, json_t **line);

/* One request, one answer; after anything but ANSWERED the process is to be ended. The request is
 * freed. */
tune_answer tune_process_ask(tune_process *p, json_t *request, double seconds, json_t **answer);

/* Another line of the same answer. */
tune_answer tune_process_next(tune_process *p, double seconds, json_t **line);

/* It lives, and has said nothing since its last answer. */
bool tune_process_is_quiet(const tune_process *p);

/* End it, at once. text: what it died of, "" or "signal 11", "exit status 1". */
void tune_process_end(tune_process *p, char *text, size_t size);

/* In a child, first: it does not outlive its parent, and has a group of its own, so that Ctrl-C is
 * the parent's alone. */
void tune_process_attach(pid_t parent);

/* What a line of JSON or of a terminal cannot hold becomes blanks: a compiler's log, cut off. */
void tune_one_line(char *text);

#endif
