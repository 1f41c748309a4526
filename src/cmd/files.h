/* files.h -- files as options name them: what is read is there, and what is written is nothing that
 * is read, or written already. Each function says what is wrong and returns the status to exit
 * with, or 0. */
#ifndef EF_CMD_FILES_H
#define EF_CMD_FILES_H

#include <energyflow.h>

/* ef__check_input -- a file to be read, NULL for none, as far as can be seen from outside. */
int ef__check_input(const char *command, const char *path);

typedef struct ef__place {
    const char *option, *path; /* path NULL: not given */
} ef__place;

/* ef__check_apart -- written is the same file as none of the others, through whatever links. */
int ef__check_apart(const char *command, ef__place written, const ef__place *others, size_t count);

/* ef__check_inputs -- all those of a training run, before the device is opened. */
int ef__check_inputs(const char *command, const ef_train_options *run);

/* ef__check_saves -- --save and the best model beside it. A run may save where it is resumed
 * from. */
int ef__check_saves(const char *command, const ef_train_options *run, const char *best);

/* ef__check_output -- another output, by its option. log: that of --log-json, which is open already
 * so that all its names lead to it; NULL: none, or it is this one. */
int ef__check_output(const char *command, const char *option, const char *path,
                     const ef_train_options *run, const char *best, const char *log);

#endif
