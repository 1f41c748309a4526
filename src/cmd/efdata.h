/* efdata.h -- what the sub-commands of efdata share. Each function that returns an int has said
 * what is wrong, and returns the status to exit with, or 0. */
#ifndef EF_CMD_EFDATA_H
#define EF_CMD_EFDATA_H

#include "cmd/lines.h"
#include "cmd/options.h"

#define EFDATA "efdata"

/* ---- the sub-commands: argv[0] is their name ---- */

int efdata_pack(int argc, char **argv);
int efdata_convert(int argc, char **argv);
int efdata_info(int argc, char **argv);
int efdata_split(int argc, char **argv);
int efdata_repair(int argc, char **argv);
int efdata_tokenize(int argc, char **argv);

/* ---- options ---- */

/* efdata_options -- parse; then argv has exactly `count` operands, from *first on, named for the
 * message. -1: go on; else the status to exit with. */
int efdata_options(const char *usage, const char *about, const ef__option *options, int argc,
                   char **argv, int count, const char *names, int *first);

enum { EFDATA_BY_SUFFIX = -1 };
#define EFDATA_FORMATS "efb1|jsonl" /* in the order of ef_data_format */

/* efdata_format -- of an output: as asked for, or by the path's suffix. */
int efdata_format(const char *path, int asked, ef_data_format *format);

/* efdata_vocabulary -- the tokenizer of --vocab; path NULL: none. */
int efdata_vocabulary(const char *path, ef_tokenizer **tokenizer);

/* ---- interrupts and progress ---- */

bool efdata_interrupted(void);

/* efdata_step -- progress of something long, said now and then on stderr; user is what it is
 * called. False after an interrupt. */
bool efdata_step(void *user, uint64_t done, uint64_t all);

/* efdata_clear -- take it away from a terminal, so that something else can be written. */
void efdata_clear(void);

/* efdata_stopped -- say that the command was interrupted. */
int efdata_stopped(void);

/* ---- files ---- */

/* efdata_failed -- say what a call of the library said. written: it failed to write, where an EIO
 * is no fault of the data. */
int efdata_failed(ef_status status, bool written, const ef_error *error);

/* efdata_open -- open a dataset, with progress; left out lines are said. */
int efdata_open(const char *path, ef_dataset_options *options, ef_dataset **dataset);

/* efdata_next -- the next line of an input, which messages call by that name; *line is NULL behind
 * the last, and after an interrupt. */
int efdata_next(ef__lines *lines, const char *name, const char **line, size_t *bytes);

/* An output. */
typedef struct efdata_output {
    const char *path;
    int asked; /* its format, or EFDATA_BY_SUFFIX */
    ef_data_format format;
    ef_dataset_writer *writer;
    uint64_t texts; /* that were left out */
} efdata_output;

/* efdata_apart -- an output, by what the command line calls it, is none of the inputs; "-" is
 * standard input. */
int efdata_apart(const char *name, const char *output, const char *const *inputs, size_t count);

int efdata_begin(efdata_output *output, size_t width);
int efdata_add(efdata_output *output, const ef_sample *sample);

/* efdata_finish -- everything is on the disk: a save has little left that can fail. */
int efdata_finish(efdata_output *output);

/* efdata_save -- put it in its place and say how much it has. */
int efdata_save(efdata_output *output, uint64_t samples);

#endif
