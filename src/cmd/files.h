/* files.h -- the files of a training run as its options name them: what is read is there, and what
 * is written is nothing that is read, or written already. Each function says what is wrong and
 * returns the status to exit with, or 0. */
#ifndef EF_CMD_FILES_H
#define EF_CMD_FILES_H

#include <energyflow.h>

/* ef__check_inputs -- as far as can be seen from outside, before the device is opened. */
int ef__check_inputs(const char *command, const ef_train_options *run);

/* ef__check_saves -- --save and the best model beside it. A run may save where it is resumed
 * from. */
int ef__check_saves(const char *command, const ef_train_options *run, const char *best);

/* ef__check_log -- --log-json, which is open already: all its names lead to it. */
int ef__check_log(const char *command, const ef_train_options *run, const char *log,
                  const char *best);

#endif
