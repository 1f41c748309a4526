/* journal.h -- what a tuning run has done, line by line, and on the disk before the next thing is
 * tried: a run that was killed goes on behind it. A choice that was begun and never ended killed
 * the run, or its machine: it has failed, unless it had run before and this was the first time. */
#ifndef TUNE_JOURNAL_H
#define TUNE_JOURNAL_H

#include "base/error.h"
#include "search.h"
#include <jansson.h>

/* How long a choice took, by the clock and in milliseconds, as a file that is read tells. */
typedef struct tune_cost {
    double first;     /* until its first time was known, or why there is none: built, warmed up */
    double others;    /* its other samples */
    double verified;  /* its verifications */
    int64_t begun_at; /* and nothing came after */
    int64_t at;       /* when it was last tried, since 1970; 0: not known */
} tune_cost;

/* What is known of a choice at a target. */
typedef struct tune_entry {
    char *target, *choice;
    bool begun;           /* and nothing came after */
    bool begun_twice;     /* the second time after nothing came */
    double late_s[2];     /* it was cut short after so long: the two longest; 0: was not */
    tune_outcome outcome; /* as it ended; TUNE_CORRECT: it was verified */
    double *ms;           /* its times, in the order they were taken */
    size_t count;
    double worst; /* error over its bound */
    char *text;   /* what went wrong */
    char *fate;   /* of the last search that ended; NULL: none did */
    double median_ms;
    tune_interval ratio; /* to the default, in that search's rounds */
    size_t rounds;       /* 0: it had none, or the journal is of a time when that was not written */
    bool is_default;     /* as the device is, untuned */
    double floor_ms;     /* the default's: of the target at the device's ceilings; 0: not known */
    tune_cost cost;
} tune_entry;

typedef struct tune_journal {
    int fd;
    char *path;
    tune_entry *entries;
    size_t count, room;
} tune_journal;

/* Open or make path and read what it holds. identity: of device, driver and kernels; a journal of
 * another starts anew, and what was there is in path.old. Only one at a time may have it. Errors:
 * EIO, EFORMAT (the file there is no journal; it stays), ESTATE (another has it), ENOMEM. */
ef_status tune_journal_open(tune_journal *j, const char *path, const char *identity,
                            ef_error *error);
void tune_journal_close(tune_journal *j);

/* Read what is in path, which may be in use; nothing can be written. Errors: EIO, ENOMEM. */
ef_status tune_journal_look(tune_journal *j, const char *path, ef_error *error);

/* NULL: nothing is known. */
const tune_entry *tune_journal_find(const tune_journal *j, const char *target, const char *choice);

/* What the choice came to, and why it failed, or NULL: one that ended its run counts as
 * TUNE_RUNTIME, but one that had run before only the second time: something else may have ended
 * it. */
tune_outcome tune_journal_outcome(const tune_entry *e);
const char *tune_journal_why(const tune_entry *e);

/* Does the journal have a choice of the target that failed? */
bool tune_journal_has_failures(const tune_journal *j, const char *target);

/* Nothing is known of the target any more. */
ef_status tune_journal_forget(tune_journal *j, const char *target, ef_error *error);

/* A beginning and an end are on the disk when they return, and what came before them. An end as
 * TUNE_UNTRIED takes a failure back. Errors: EIO, ENOMEM. */
ef_status tune_journal_begin(tune_journal *j, const char *target, const char *choice,
                             ef_error *error);
ef_status tune_journal_end(tune_journal *j, const char *target, const char *choice,
                           tune_outcome outcome, double worst, const char *text, ef_error *error);
ef_status tune_journal_time(tune_journal *j, const char *target, const char *choice, double ms,
                            ef_error *error);

/* It had so many seconds, and then the search's time was up: this, too, ends it. */
ef_status tune_journal_late(tune_journal *j, const char *target, const char *choice, double seconds,
                            ef_error *error);

/* The choice is the default of the target, which takes floor_ms at the device's ceilings. */
ef_status tune_journal_default(tune_journal *j, const char *target, const char *choice,
                               double floor_ms, ef_error *error);

/* Where a finished search has left the choice, its median time, and its rounds if there are some
 * against the default; of found nothing else counts. */
ef_status tune_journal_fate(tune_journal *j, const char *target, const char *choice,
                            const char *fate, const tune_candidate *found, ef_error *error);

/* As a fate has them, into a line: "ratio", its interval's "low" and "high", "rounds". */
void tune_add_rounds(json_t *line, tune_interval ratio, size_t rounds);

#endif
