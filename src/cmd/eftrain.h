/* eftrain.h -- what eftrain is made of. Each function that returns an int has said what is wrong,
 * and returns the status to exit with, or 0. */
#ifndef EF_CMD_EFTRAIN_H
#define EF_CMD_EFTRAIN_H

#include "cmd/options.h"
#include "cmd/progress.h"
#include "cmd/signals.h"
#include <jansson.h>
#include <stdio.h>

#define EFTRAIN "eftrain"

/* ---- settings (eftrain_settings.c) ---- */

typedef struct eftrain_settings {
    ef_train_options run; /* what of it the table cannot hold is set by eftrain_settle */
    ef__list dilations, dec_dilations;
    size_t blocks, dec_blocks;                    /* 0: as many as there are dilations */
    int mode, bucket, tokens, init, optim, scope; /* places in the words of their options */
    const char *device, *log, *plot, *config, *save_optim;
    bool dump;
    json_t *root; /* the configuration: texts above are its */
} eftrain_settings;

enum { EFTRAIN_ROWS = 96 };

void eftrain_defaults(eftrain_settings *s);

/* eftrain_table -- the options whose values are in s. */
void eftrain_table(eftrain_settings *s, ef__option rows[EFTRAIN_ROWS]);

/* eftrain_read -- defaults, then the configuration, then the command line. -1: go on; else the
 * status to exit with. json_decref s->root in any case. */
int eftrain_read(eftrain_settings *s, int argc, char **argv);

/* eftrain_settle -- from the values of the table to the library's options. */
void eftrain_settle(eftrain_settings *s);

/* eftrain_check -- options that exclude or need each other. */
int eftrain_check(const eftrain_settings *s);

/* ---- the curve (eftrain_plot.c) ---- */

typedef struct eftrain_point {
    uint64_t step;
    double value;
} eftrain_point;

typedef struct eftrain_points {
    eftrain_point *at;
    size_t count, room;
} eftrain_points;

typedef struct eftrain_curve {
    eftrain_points steps[EF__STEP_KINDS];  /* loss, or ce */
    eftrain_points epochs[EF__STEP_KINDS]; /* held-out cos, or ce */
} eftrain_curve;

/* What there is no memory for is left out. */
void eftrain_curve_step(eftrain_curve *c, const ef_step_report *step);
void eftrain_curve_epoch(eftrain_curve *c, const ef_epoch_report *epoch);
void eftrain_curve_free(eftrain_curve *c);

/* eftrain_plot -- a panel for each kind of step that there was; none: no picture. */
ef_status eftrain_plot(const eftrain_curve *c, const char *title, const char *path,
                       ef_error *error);

/* ---- the log (eftrain_log.c) ---- */

typedef struct eftrain_log {
    FILE *file;   /* or NULL */
    bool resumed; /* what is there is this run's, and what it says again is to go; else all is */
    bool begun;   /* that is done */
    bool failed;
} eftrain_log;

/* eftrain_log_open -- what is there stays until the first line, so that a run that does not begin
 * leaves it. Another run may not have it open. */
int eftrain_log_open(const eftrain_settings *s, const char *best, eftrain_log *log);

/* eftrain_log_line -- takes the object of a step or an epoch over; NULL: there was no memory. */
void eftrain_log_line(eftrain_log *log, json_t *object);

/* eftrain_log_unread -- it is stdout, which nobody reads any more. */
bool eftrain_log_unread(const eftrain_log *log);

/* eftrain_log_close -- code, or that the log is not whole. */
int eftrain_log_close(const eftrain_settings *s, eftrain_log *log, int code);

/* ---- a run as it is seen (eftrain_watch.c) ---- */

typedef struct eftrain_watch {
    const eftrain_settings *settings;
    ef__progress progress;
    eftrain_curve curve;
    eftrain_log log;
    uint64_t begun, step, skipped; /* begun: the steps of the run that is resumed */
    ef_epoch_report last, best;    /* epoch 0: none yet */
    ef__signals signals;
} eftrain_watch;

ef_train_observer eftrain_observe(eftrain_watch *w);

/* eftrain_say_result -- the last line, and the last picture: what the run came to. */
int eftrain_say_result(eftrain_watch *w, ef_status status, const ef_error *error);

#endif
