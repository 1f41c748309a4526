/* efdata -- make, look at and mend files of samples. */
#include "cmd/efdata.h"
#include "cmd/files.h"
#include "cmd/progress.h"
#include "cmd/signals.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"pack", efdata_pack},     {"convert", efdata_convert},
                {"info", efdata_info},     {"split", efdata_split},
                {"repair", efdata_repair}, {"tokenize", efdata_tokenize}};

enum { COMMANDS = sizeof commands / sizeof *commands };

/* ---- interrupts and progress ---- */

/* The command's one of each: whatever a sub-command does heeds them. */
static ef__signals signals;
static ef__progress progress;

bool efdata_interrupted(void)
{
    return atomic_load(&signals.interrupted);
}

void efdata_clear(void)
{
    ef__progress_clear(&progress);
}

bool efdata_step(void *user, uint64_t done, uint64_t all)
{
    ef__progress_share(&progress, user, done, all);
    return !efdata_interrupted();
}

int efdata_stopped(void)
{
    efdata_clear();
    return ef__say_error(EFDATA, EF__INTERRUPTED, "interrupted: nothing is written");
}

/* ---- options ---- */

int efdata_options(const char *usage, const char *about, const ef__option *options, int argc,
                   char **argv, int count, const char *names, int *first)
{
    const ef__command command = {
        .name = EFDATA, .usage = usage, .about = about, .options = options, .operands = first};
    int code = ef__options_parse(&command, argc, argv);
    if (code >= 0)
        return code;
    if (argc - *first < count)
        return ef__say_error(EFDATA, EF__USAGE, "%s: needs %s (see --help)", argv[0], names);
    if (argc - *first > count)
        return ef__say_error(EFDATA, EF__USAGE, "%s: unexpected argument \"%s\"", argv[0],
                             argv[*first + count]);
    return -1;
}

int efdata_format(const char *path, int asked, ef_data_format *format)
{
    const char *suffix = strrchr(path, '.');
    if (asked != EFDATA_BY_SUFFIX)
        *format = (ef_data_format)asked;
    else if (suffix && !strcmp(suffix, ".efb"))
        *format = EF_DATA_EFB1;
    else if (suffix && !strcmp(suffix, ".jsonl"))
        *format = EF_DATA_JSONL;
    else
        return ef__say_error(EFDATA, EF__USAGE,
                             "%s: ends in neither .efb nor .jsonl: --format is needed", path);
    return 0;
}

int efdata_vocabulary(const char *path, ef_tokenizer **tokenizer)
{
    ef_error error = {0};
    ef_status status = path ? ef_tokenizer_open(path, tokenizer, &error) : EF_OK;
    return status ? efdata_failed(status, false, &error) : 0;
}

/* ---- files ---- */

int efdata_failed(ef_status status, bool written, const ef_error *error)
{
    efdata_clear();
    if (status == EF_ECANCELLED)
        return efdata_stopped();
    int code = ef__say_failure(EFDATA, status, error);
    return written && status == EF_EIO ? EF__RUNTIME : code;
}

int efdata_open(const char *path, ef_dataset_options *options, ef_dataset **dataset)
{
    ef_error error = {0};
    const char *first;
    options->on_progress = efdata_step;
    options->user = (void *)path;
    ef_status status = ef_dataset_open_with(path, options, dataset, &error);
    efdata_clear();
    if (status)
        return efdata_failed(status, false, &error);
    size_t skipped = ef_dataset_skipped(*dataset, &first);
    if (skipped)
        ef__say_error(EFDATA, 0, "%zu bad line%s left out, the first: %s", skipped,
                      skipped == 1 ? " is" : "s are", first);
    return 0;
}

int efdata_next(ef__lines *lines, const char *name, const char **line, size_t *bytes)
{
    enum { PAUSE_MS = 50 };
    ef__line next = EF__LINE_PAUSE;
    while (next == EF__LINE_PAUSE && !efdata_interrupted())
        next = ef__lines_next(lines, PAUSE_MS, line, bytes);
    if (next == EF__LINE)
        return 0;
    const int why = errno;
    *line = NULL;
    efdata_clear();
    switch (next) {
    case EF__LINE_LONG:
        return ef__say_error(EFDATA, EF__DATA, "%s:%" PRIu64 ": is longer than %d bytes", name,
                             lines->number + 1, EF__LONGEST_LINE);
    case EF__LINE_FAILED:
        return ef__say_error(EFDATA, EF__DATA, "%s: cannot read: %s", name, strerror(why));
    case EF__LINE_NO_MEMORY:
        return ef__say_error(EFDATA, EF__DEVICE, "out of memory");
    default:
        return 0;
    }
}

int efdata_apart(const char *name, const char *output, const char *const *inputs, size_t count)
{
    int code = 0;
    for (size_t i = 0; i < count && !code; i++) {
        const bool standard = inputs[i] && !strcmp(inputs[i], "-");
        const ef__place input = {"an input", standard ? "/dev/stdin" : inputs[i]};
        code = ef__check_apart(EFDATA, (ef__place){name, output}, &input, 1);
    }
    return code;
}

int efdata_begin(efdata_output *o, size_t width)
{
    ef_error error = {0};
    ef_status status = ef_dataset_writer_new(o->path, o->format, width, &o->writer, &error);
    return status ? efdata_failed(status, true, &error) : 0;
}

int efdata_add(efdata_output *o, const ef_sample *sample)
{
    ef_error error = {0};
    o->texts += sample->text && o->format == EF_DATA_EFB1;
    ef_status status = ef_dataset_writer_add(o->writer, sample, &error);
    return status ? efdata_failed(status, true, &error) : 0;
}

int efdata_finish(efdata_output *o)
{
    ef_error error = {0};
    ef_status status = ef_dataset_writer_finish(o->writer, &error);
    return status ? efdata_failed(status, true, &error) : 0;
}

int efdata_save(efdata_output *o, uint64_t samples)
{
    ef_error error = {0};
    ef_status status = ef_dataset_writer_save(o->writer, &error);
    efdata_clear();
    if (status)
        return efdata_failed(status, true, &error);
    ef__say_error(EFDATA, 0, "%s: %" PRIu64 " sample%s%s", o->path, samples,
                  samples == 1 ? "" : "s", o->texts ? ", without their texts: EFB1 has none" : "");
    return 0;
}

/* ---- the command ---- */

static int usage(int argc, char **argv)
{
    const ef__option none[] = {{0}};
    const ef__command command = {
        .name = EFDATA,
        .usage = "pack|convert|info|split|repair|tokenize [OPTION...] [FILE...]",
        .about = "Make, look at and mend files of samples: texts or ids with a teacher's vectors.\n"
                 "\n"
                 "  pack      texts and vectors into a file of samples\n"
                 "  convert   EFB1, EFB2 or JSONL into EFB1 or JSONL\n"
                 "  info      what is in a file\n"
                 "  split     a file in two, by a seeded draw\n"
                 "  repair    save what is whole of a broken file\n"
                 "  tokenize  texts on stdin into ids on stdout\n"
                 "\n"
                 "efdata SUB-COMMAND --help says more of each.",
        .options = none};
    int code = ef__options_parse(&command, argc, argv);
    return code >= 0 ? code : ef__say_error(EFDATA, EF__USAGE, "no sub-command (see --help)");
}

static int run(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-')
        return usage(argc, argv);
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    return ef__say_error(EFDATA, EF__USAGE, "unknown sub-command \"%s\" (see --help)", argv[1]);
}

int main(int argc, char **argv)
{
    ef__command_begin();
    ef__progress_begin(&progress, EFDATA);
    int code = ef__signals_catch(&signals, EFDATA);
    if (!code) {
        code = run(argc, argv);
        ef__signals_release(&signals);
    }
    return ef__command_end(EFDATA, code);
}
