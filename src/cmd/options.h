/* options.h -- what the commands share: one table of options drives parsing, --help and the
 * messages about what is wrong; how a command begins, fails and ends.
 *
 * Numbers are read and printed as in the C locale, whatever the environment says. */
#ifndef EF_CMD_OPTIONS_H
#define EF_CMD_OPTIONS_H

#include "cmd/value.h"

/* Exit status, beside EXIT_SUCCESS. */
enum { EF__RUNTIME = 1, EF__USAGE = 2, EF__DATA = 3, EF__DEVICE = 4, EF__INTERRUPTED = 130 };

typedef struct ef__command {
    const char *name, *usage, *about;
    const ef__option *options; /* beside --help and --version, which every command has */
    int *operands; /* out: where in argv they begin, after parsing; NULL: none are taken */
} ef__command;

/* ef__command_begin -- call it first: the locale, the standard streams, SIGXFSZ,
 * drivers' environment. */
void ef__command_begin(void);

/* ef__options_parse -- read the command line into the values of the table. Returns -1 to go on, or
 * the status to exit with: help or version was printed, or something is wrong and was said. */
int ef__options_parse(const ef__command *command, int argc, char **argv);

/* ef__say_error -- "COMMAND: TEXT" on stderr; returns code. */
int ef__say_error(const char *command, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ef__say_failure -- what a call of the library failed of; returns the status to exit with. */
int ef__say_failure(const char *command, ef_status status, const ef_error *error);

/* ef__exit_code -- the exit status for what a library call returned, where files are only read. */
int ef__exit_code(ef_status status);

/* ef__say_no_vocabulary -- neither the checkpoint has one nor --vocab was given; the status to exit
 * with. */
int ef__say_no_vocabulary(const char *command, const char *checkpoint);

/* ef__open_device -- open the device of --device; 0, or the status to exit with. */
int ef__open_device(const char *command, const char *device, ef_actor **actor);

/* ef__warn_untuned -- say it on stderr if the device's database cannot be read, or has choices that
 * are not used because the driver is another one. */
void ef__warn_untuned(const char *command, ef_actor *actor);

/* ef__command_end -- what went to stdout is out, or the status 0 becomes EF__RUNTIME. */
int ef__command_end(const char *command, int code);

#endif
