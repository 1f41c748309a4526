/* progress.h -- something long on stderr: a line that is redrawn on a terminal, new lines
 * otherwise; a bar, when it is a training run. */
#ifndef EF_CMD_PROGRESS_H
#define EF_CMD_PROGRESS_H

#include <energyflow.h>

enum { EF__STEP_KINDS = 2 }; /* of an encoder, of a decoder */

typedef struct ef__progress {
    const char *command;
    bool terminal, drawn; /* drawn: something stands on the terminal's last line */
    double shown;         /* when the last bar or step line was written */
    /* of each kind, sums over the epoch's steps that were not skipped: mse or ce; cos or
     * accuracy */
    double error[EF__STEP_KINDS], likeness[EF__STEP_KINDS];
    uint64_t steps[EF__STEP_KINDS], epochs; /* those steps; epochs of the run */
} ef__progress;

void ef__progress_begin(ef__progress *p, const char *command);

/* ef__progress_due -- is it time to show something? */
bool ef__progress_due(ef__progress *p);

/* ef__progress_show -- how far it is. */
void ef__progress_show(ef__progress *p, const char *text);

/* ef__progress_share -- when it is time: so much is done of what. */
void ef__progress_share(ef__progress *p, const char *what, uint64_t done, uint64_t all);

/* ef__progress_clear -- take it away, so that something else can be written. */
void ef__progress_clear(ef__progress *p);

/* ---- a training run ---- */

void ef__progress_note(ef__progress *p, const char *text);

void ef__progress_step(ef__progress *p, const ef_step_report *step);
void ef__progress_epoch(ef__progress *p, const ef_epoch_report *epoch);

#endif
