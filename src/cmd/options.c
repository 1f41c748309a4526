#include "cmd/options.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_OPTIONS = 64, HELP_COLUMN = 28, LONG = 256 };

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

/* ---- numbers: all of the text, in decimal, finite ---- */

/* What is wrong with a number, said once for all kinds; 0 when nothing is. */
static int check_range(const ef__command *c, const ef__option *o, const char *text, double value)
{
    if (value < o->least)
        return ef__say_error(c->name, EF__USAGE, "--%s %s: must be at least %g", o->name, text,
                             o->least);
    if (o->most != 0 && value > o->most)
        return ef__say_error(c->name, EF__USAGE, "--%s %s: must be at most %.10g", o->name, text,
                             o->most);
    return 0;
}

/* Digits up to *end; false when there are none or they pass 64 bits. */
static bool read_u64(const char *text, char **end, uint64_t *value)
{
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, end, 10);
    return errno == 0;
}

static int parse_whole(const ef__command *c, const ef__option *o, const char *text)
{
    char *end = NULL;
    uint64_t value;
    if (!read_u64(text, &end, &value) || *end || (o->kind == EF__SIZE && value > SIZE_MAX))
        return ef__say_error(c->name, EF__USAGE, "--%s %s: not a whole number", o->name, text);
    int wrong = check_range(c, o, text, (double)value);
    if (wrong)
        return wrong;
    if (o->kind == EF__SIZE)
        *(size_t *)o->value = (size_t)value;
    else
        *(uint64_t *)o->value = value;
    return 0;
}

static int parse_real(const ef__command *c, const ef__option *o, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    bool plain = *text && text[strspn(text, "0123456789.eE+-")] == '\0';
    if (!plain || *end)
        return ef__say_error(c->name, EF__USAGE, "--%s %s: not a number", o->name, text);
    if (!isfinite((float)value))
        return ef__say_error(c->name, EF__USAGE, "--%s %s: too large", o->name, text);
    int wrong = check_range(c, o, text, value);
    if (!wrong)
        *(float *)o->value = (float)value;
    return wrong;
}

static int parse_list(const ef__command *c, const ef__option *o, const char *text)
{
    ef__list list = {0};
    const char *from = text;
    for (;;) {
        char *end = NULL;
        uint64_t value;
        if (!read_u64(from, &end, &value) || (*end && *end != ','))
            return ef__say_error(c->name, EF__USAGE, "--%s %s: not numbers separated by commas",
                                 o->name, text);
        int wrong = check_range(c, o, text, (double)value);
        if (wrong)
            return wrong;
        if (list.count == EF_MAX_BLOCKS)
            return ef__say_error(c->name, EF__USAGE, "--%s %s: more than %d numbers", o->name, text,
                                 EF_MAX_BLOCKS);
        list.at[list.count++] = (size_t)value;
        if (!*end)
            break;
        from = end + 1;
    }
    *(ef__list *)o->value = list;
    return 0;
}

/* The word number index of "a|b|c", and its length; NULL past the last. */
static const char *word_at(const char *words, int index, int *length)
{
    while (index-- > 0) {
        words = strchr(words, '|');
        if (!words++)
            return NULL;
    }
    *length = (int)strcspn(words, "|");
    return words;
}

static int parse_choice(const ef__command *c, const ef__option *o, const char *text)
{
    int length;
    const char *word;
    for (int i = 0; (word = word_at(o->argument, i, &length)); i++)
        if (strlen(text) == (size_t)length && !strncmp(text, word, (size_t)length)) {
            *(int *)o->value = i;
            return 0;
        }
    return ef__say_error(c->name, EF__USAGE, "--%s %s: not one of %s", o->name, text, o->argument);
}

static int parse_value(const ef__command *c, const ef__option *o, const char *text)
{
    switch (o->kind) {
    case EF__FLAG:
        *(bool *)o->value = true;
        return 0;
    case EF__TEXT:
        if (!*text)
            return ef__say_error(c->name, EF__USAGE, "--%s: is empty", o->name);
        *(const char **)o->value = text;
        return 0;
    case EF__SIZE:
    case EF__U64:
        return parse_whole(c, o, text);
    case EF__REAL:
        return parse_real(c, o, text);
    case EF__CHOICE:
        return parse_choice(c, o, text);
    case EF__LIST:
        return parse_list(c, o, text);
    case EF__GROUP:
        break;
    }
    return 0;
}

/* ---- help ---- */

static void print_default(const ef__option *o)
{
    int length;
    const char *word;
    if (o->fallback) {
        if (*o->fallback)
            printf(" (default: %s)", o->fallback);
    } else if (o->kind == EF__SIZE) {
        printf(" (default: %zu)", *(size_t *)o->value);
    } else if (o->kind == EF__U64) {
        printf(" (default: %" PRIu64 ")", *(uint64_t *)o->value);
    } else if (o->kind == EF__REAL) {
        printf(" (default: %g)", (double)*(float *)o->value);
    } else if (o->kind == EF__CHOICE) {
        if ((word = word_at(o->argument, *(int *)o->value, &length)))
            printf(" (default: %.*s)", length, word);
    } else if (o->kind == EF__LIST) {
        const ef__list *list = o->value;
        for (size_t i = 0; i < list->count; i++)
            printf("%s%zu", i ? "," : " (default: ", list->at[i]);
        printf(")");
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
        if (o->kind != EF__GROUP)
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

int ef__options_parse(const ef__command *c, int argc, char **argv)
{
    struct option longs[MOST_OPTIONS + 3];
    int result;
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
        int wrong = parse_value(c, &c->options[result - LONG], optarg);
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
    if (fflush(stdout) || ferror(stdout))
        return ef__say_error(command, EF__RUNTIME, "cannot write to stdout: %s", strerror(errno));
    return code;
}
