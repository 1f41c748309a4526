/* progress.h -- a training run on stderr: a bar that is redrawn on a terminal, lines otherwise. */
#ifndef EF_CMD_PROGRESS_H
#define EF_CMD_PROGRESS_H

#include <energyflow.h>

typedef struct ef__progress {
    const char *command;
    bool terminal, drawn;   /* drawn: the bar stands on the terminal's last line */
    double shown;           /* when the last bar or step line was written */
    double mse, cos;        /* sums over the epoch's steps that were not skipped */
    uint64_t steps, epochs; /* those steps; epochs of the run */
} ef__progress;

void ef__progress_begin(ef__progress *p, const char *command);
void ef__progress_note(ef__progress *p, const char *text);
void ef__progress_step(ef__progress *p, const ef_step_report *step);
void ef__progress_epoch(ef__progress *p, const ef_epoch_report *epoch);

/* ef__progress_clear -- take the bar away, so that something else can be written. */
void ef__progress_clear(ef__progress *p);

#endif
