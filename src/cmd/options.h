/* options.h -- what the commands share: one table of options drives parsing, --help and the
 * messages about what is wrong; how a command begins, fails and ends.
 *
 * Numbers are read and printed as in the C locale, whatever the environment says. */
#ifndef EF_CMD_OPTIONS_H
#define EF_CMD_OPTIONS_H

#include <energyflow.h>

/* Exit status, beside EXIT_SUCCESS. */
enum { EF__RUNTIME = 1, EF__USAGE = 2, EF__DATA = 3, EF__DEVICE = 4, EF__INTERRUPTED = 130 };

typedef enum ef__option_kind {
    EF__GROUP,  /* a heading of the help */
    EF__FLAG,   /* bool: no argument */
    EF__TEXT,   /* const char * */
    EF__SIZE,   /* size_t */
    EF__U64,    /* uint64_t */
    EF__REAL,   /* float */
    EF__CHOICE, /* int: the argument's place in "a|b|c" */
    EF__LIST    /* ef__list: sizes, separated by commas */
} ef__option_kind;

typedef struct ef__list {
    size_t count, at[EF_MAX_BLOCKS];
} ef__list;

typedef struct ef__option {
    const char *name; /* without the dashes; NULL ends the table */
    ef__option_kind kind;
    void *value;          /* holds the default when parsing begins */
    const char *argument; /* "FILE"; the words of a choice */
    double least, most;   /* of numbers, both included; most 0: what the type holds */
    const char *fallback; /* the default in words, where the value does not say it */
    const char *help;     /* NULL: not for users */
} ef__option;

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

/* ef__exit_code -- the exit status for what a library call returned, where files are only read. */
int ef__exit_code(ef_status status);

/* ef__open_device -- open the device of --device; 0, or the status to exit with. */
int ef__open_device(const char *command, const char *device, ef_actor **actor);

/* ef__warn_untuned -- say it on stderr if the device's database cannot be read, or has choices that
 * are not used because the driver is another one. */
void ef__warn_untuned(const char *command, ef_actor *actor);

/* ef__command_end -- what went to stdout is out, or the status becomes EF__RUNTIME. */
int ef__command_end(const char *command, int code);

#endif
