/* A database and its journal. */
#include "books.h"
#include "database.h"
#include "stats.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what was tried ---- */

static tune_outcome outcome_of(const tune_entry *e)
{
    const tune_outcome outcome = tune_journal_outcome(e);
    return outcome == TUNE_UNTRIED && e->count ? TUNE_CORRECT : outcome;
}

static bool find_median(tune_tried *t)
{
    const tune_entry *e = t->entry;
    double *ms = e->count ? malloc(e->count * sizeof *ms) : NULL;
    if (ms) {
        memcpy(ms, e->ms, e->count * sizeof *ms);
        t->ms = tune_median(ms, e->count);
    }
    free(ms);
    return ms || !e->count;
}

static int by_target(const void *x, const void *y)
{
    const tune_entry *a = ((const tune_tried *)x)->entry, *b = ((const tune_tried *)y)->entry;
    int order = strcmp(a->target, b->target);
    return order ? order : (a > b) - (a < b);
}

static bool list_tried(tune_books *b)
{
    const tune_journal *j = &b->journal;
    b->tried = calloc(j->count + 1, sizeof *b->tried);
    for (size_t i = 0; b->tried && i < j->count; i++) {
        tune_tried t = {.entry = &j->entries[i], .outcome = outcome_of(&j->entries[i])};
        if (t.outcome == TUNE_UNTRIED)
            continue;
        if (!find_median(&t))
            return false;
        b->tried[b->count++] = t;
    }
    if (b->tried)
        qsort(b->tried, b->count, sizeof *b->tried, by_target);
    return b->tried != NULL;
}

size_t tune_books_group(const tune_books *b, size_t first)
{
    size_t end = first + 1;
    while (end < b->count && !strcmp(b->tried[end].entry->target, b->tried[first].entry->target))
        end++;
    return end - first;
}

/* ---- both files ---- */

static bool see_header(void *user, json_t *line)
{
    ((tune_books *)user)->header = json_incref(line);
    return false;
}

ef_status tune_books_read(tune_books *b, const char *db, ef_error *error)
{
    char path[4200];
    *b = (tune_books){.journal = {.fd = -1}};
    ef_status status = tune_database_read(db, see_header, b, error);
    snprintf(path, sizeof path, "%s.journal", db);
    if (!status)
        status = tune_journal_look(&b->journal, path, error);
    if (!status && !list_tried(b))
        status = ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: no host memory", path);
    if (!status && !b->count)
        status = ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: nothing was tried yet", path);
    return status;
}

void tune_books_close(tune_books *b)
{
    json_decref(b->header);
    free(b->tried);
    tune_journal_close(&b->journal);
}

const char *tune_books_header(const tune_books *b, const char *name)
{
    const char *text = json_string_value(json_object_get(b->header, name));
    return text ? text : "";
}
