#include "cmd/options.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_OPTIONS = 96, HELP_COLUMN = 28, LONG = 256 };

int ef__say_error(const char *command, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

int ef__say_failure(const char *command, ef_status status, const ef_error *error)
{
    return ef__say_error(command, ef__exit_code(status), "%s",
                         *error->text ? error->text : ef_strerror(status));
}

/* ---- help ---- */

static void print_default(const ef__option *o)
{
    char text[1024];
    if (o->fallback) {
        if (*o->fallback)
            printf(" (default: %s)", o->fallback);
    } else if (o->kind != EF__TEXT && o->kind != EF__FLAG && o->kind != EF__SET) {
        ef__value_print(o, text, sizeof text);
        printf(" (default: %s)", text);
    }
}

static void print_option(const ef__option *o)
{
    if (o->kind == EF__GROUP) {
        printf("\n%s:\n", o->name);
        return;
    }
    int width =
        printf("  --%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    if (width > HELP_COLUMN - 2)
        width = printf("\n") - 1;
    printf("%*s%s", HELP_COLUMN - width, "", o->help);
    print_default(o);
    printf("\n");
}

static void print_help(const ef__command *c)
{
    printf("Usage: %s %s\n%s\n", c->name, c->usage, c->about);
    for (const ef__option *o = c->options; o->name; o++)
        if (o->help)
            print_option(o);
    printf("\n  %-*s%s\n  %-*s%s\n", HELP_COLUMN - 2, "--help", "print this and exit",
           HELP_COLUMN - 2, "--version", "print the versions of command and libraries and exit");
    printf("\nExit status: 0 success, 1 failure at run time, 2 wrong usage, 3 bad data or format,\n"
           "4 device or driver, 130 interrupted. See man %s.\n",
           c->name);
}

/* ---- the command line ---- */

/* The table for getopt_long. An option's value is LONG and its place in the command's table. */
static void long_options(const ef__command *c, struct option *longs)
{
    for (int i = 0; c->options[i].name; i++) {
        const ef__option *o = &c->options[i];
        int argument = o->kind == EF__FLAG ? no_argument : required_argument;
        if (o->kind != EF__GROUP && !o->config_only)
            *longs++ = (struct option){o->name, argument, NULL, LONG + i};
    }
    *longs++ = (struct option){"help", no_argument, NULL, 'h'};
    *longs++ = (struct option){"version", no_argument, NULL, 'V'};
    *longs = (struct option){0};
}

static int bad_option(const ef__command *c, int result, char **argv)
{
    const char *text = argv[optind - 1];
    if (result == ':')
        return ef__say_error(c->name, EF__USAGE, "%s: needs a value", text);
    if (optopt >= LONG || (optopt && strchr("hV", optopt)))
        return ef__say_error(c->name, EF__USAGE, "%s: takes no value", text);
    if (optopt)
        return ef__say_error(c->name, EF__USAGE, "unknown option -%c (see --help)", optopt);
    return ef__say_error(c->name, EF__USAGE, "unknown option %s (see --help)", text);
}

/* KEY=VALUE, for any option that a configuration has: KEY is its key there, or a JSON pointer to
 * it. */
static int take_set(const ef__command *c, const char *text)
{
    char why[EF__WHY];
    const char *key = text + (*text == '/'), *end = strchr(key, '=');
    if (!end || end == key)
        return ef__say_error(c->name, EF__USAGE, "--set %s: is not KEY=VALUE", text);
    const ef__option *o = ef__option_find(c->options, key, (size_t)(end - key));
    if (!o)
        return ef__say_error(c->name, EF__USAGE, "--set %s: unknown key; the nearest is \"%s\"",
                             text, ef__option_nearest(c->options, key, (size_t)(end - key)));
    if (ef__value_parse(o, end + 1, why))
        return 0;
    return ef__say_error(c->name, EF__USAGE, "--set %s: %s", text, why);
}

static int take(const ef__command *c, const ef__option *o, const char *text)
{
    char why[EF__WHY];
    if (o->kind == EF__SET)
        return take_set(c, text);
    if (ef__value_parse(o, text, why))
        return 0;
    return ef__say_error(c->name, EF__USAGE, "--%s %s: %s", o->name, text, why);
}

int ef__options_parse(const ef__command *c, int argc, char **argv)
{
    struct option longs[MOST_OPTIONS + 3];
    int result;
    optind = 0; /* a command line may be read twice */
    long_options(c, longs);
    opterr = 0;
    while ((result = getopt_long(argc, argv, ":hV", longs, NULL)) != -1) {
        if (result == 'h') {
            print_help(c);
            return ef__command_end(c->name, EXIT_SUCCESS);
        }
        if (result == 'V') {
            printf("%s %s\n", c->name, ef_version_full());
            return ef__command_end(c->name, EXIT_SUCCESS);
        }
        if (result < LONG)
            return bad_option(c, result, argv);
        int wrong = take(c, &c->options[result - LONG], optarg);
        if (wrong)
            return wrong;
    }
    if (c->operands)
        *c->operands = optind;
    else if (optind < argc)
        return ef__say_error(c->name, EF__USAGE, "unexpected argument \"%s\"", argv[optind]);
    return -1;
}

/* ---- how a command begins, fails and ends ---- */

/* A closed standard stream stays closed: no file of ours may get its number, and its output. */
static void keep_streams_closed(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

void ef__command_begin(void)
{
    keep_streams_closed();
    signal(SIGXFSZ, SIG_IGN); /* a write past the limit fails like any other, and is said */
    uselocale(
        newlocale(LC_ALL_MASK, "C", (locale_t)0)); /* holds even if a driver calls setlocale */
    setenv("POCL_AFFINITY", "1", 0);               /* threads stay on their cores */
    setenv("POCL_SIGFPE_HANDLER", "0", 0);         /* signals are the command's own */
}

int ef__exit_code(ef_status status)
{
    switch (status) {
    case EF_OK:
        return EXIT_SUCCESS;
    case EF_EARG:
    case EF_ESHAPE:
    case EF_EFORMAT:
    case EF_EIO:
        return EF__DATA;
    case EF_EDEVICE:
    case EF_EBUILD:
    case EF_ENOMEM:
        return EF__DEVICE;
    case EF_ECANCELLED:
        return EF__INTERRUPTED;
    default:
        return EF__RUNTIME;
    }
}

int ef__say_no_vocabulary(const char *command, const char *checkpoint)
{
    return ef__say_error(command, EF__DATA, "%s: carries no vocabulary: --vocab is needed",
                         checkpoint);
}

int ef__open_device(const char *command, const char *device, ef_actor **actor)
{
    ef_error error = {0};
    ef_status status = ef_actor_open(device, actor, &error);
    if (!status)
        return 0;
    return ef__say_error(command, status == EF_EARG ? EF__USAGE : ef__exit_code(status), "%s",
                         error.text);
}

void ef__warn_untuned(const char *command, ef_actor *actor)
{
    ef_tune_info t;
    if (ef_tune_get(actor, &t))
        return; /* the first operation says why */
    if (*t.error)
        ef__say_error(command, 0, "not tuned: %s", t.error);
    else if (t.of_other_driver)
        ef__say_error(command, 0,
                      "%zu tuned choice%s of another driver%s%s: eftune --check brings back those "
                      "that are still good",
                      t.of_other_driver, t.of_other_driver == 1 ? "" : "s", *t.driver ? ", " : "",
                      t.driver);
}

int ef__command_end(const char *command, int code)
{
    if ((fflush(stdout) || ferror(stdout)) && !code)
        return ef__say_error(command, EF__RUNTIME, "cannot write to stdout: %s", strerror(errno));
    return code;
}
