/* Times of choices, by gnuplot. */
#include "plot.h"
#include "base/error.h"
#include "cmd/picture.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_time(const void *x, const void *y)
{
    double a = ((const tune_tried *)x)->ms, b = ((const tune_tried *)y)->ms;
    return (a > b) - (a < b);
}

static bool is_any(const tune_tried *t)
{
    (void)t;
    return true;
}

static bool is_default(const tune_tried *t)
{
    return t->entry->is_default;
}

/* A search has ended with it. */
static bool is_settled(const tune_tried *t)
{
    return t->entry->is_default && t->entry->fate;
}

static bool is_choice(const tune_tried *t)
{
    return t->entry->fate && !strcmp(t->entry->fate, tune_fate_text(TUNE_FATE_CHOSEN));
}

/* Those of t[count] that are so, at their places in the order, as a block of data. */
static bool write_block(FILE *script, const char *name, const tune_tried *t, size_t count,
                        bool (*is_so)(const tune_tried *t))
{
    bool some = false;
    fprintf(script, "$%s << end\n", name);
    for (size_t i = 0; i < count; i++)
        if (is_so(&t[i])) {
            fprintf(script, "%zu %g\n", i + 1, t[i].ms);
            some = true;
        }
    fprintf(script, "end\n");
    return some;
}

/* t[count]: sorted. */
static void draw(FILE *script, const tune_tried *t, size_t count, double floor_ms)
{
    write_block(script, "all", t, count, is_any);
    bool has_default = write_block(script, "default", t, count, is_default);
    bool has_choice = write_block(script, "choice", t, count, is_choice);
    bool is_kept = write_block(script, "kept", t, count, is_settled) && !has_choice;
    fprintf(script, "set xrange [0:%zu]\nset xtics %s\n", count + 1, count < 10 ? "1" : "autofreq");
    fprintf(script, "plot $all with points pt 7 ps 0.4 lc rgb '#888888' notitle");
    if (has_default)
        fprintf(script, ", $default with points pt 5 ps 0.9 lc rgb '#1f77b4' title 'default%s'",
                is_kept ? ", kept" : "");
    if (has_choice)
        fprintf(script, ", $choice with points pt 9 ps 1.1 lc rgb '#d62728' title 'choice'");
    if (floor_ms > 0)
        fprintf(script, ", %g with lines dt 2 lc rgb '#2ca02c' title 'floor %.3g ms'", floor_ms,
                floor_ms);
    fputc('\n', script);
}

/* room[count] is for those that have a time; what failed has none that counts. */
static void draw_target(FILE *script, const tune_tried *group, size_t count, tune_tried *room)
{
    char title[256];
    size_t timed = 0;
    double floor_ms = 0;
    for (size_t i = 0; i < count; i++) {
        floor_ms = fmax(floor_ms, group[i].entry->floor_ms);
        if (group[i].outcome == TUNE_CORRECT && group[i].ms > 0)
            room[timed++] = group[i];
    }
    if (timed == 0)
        return;
    snprintf(title, sizeof title, "%s: %zu tried, %zu failed", group->entry->target, count,
             count - timed);
    ef__picture_panel(script, title);
    qsort(room, timed, sizeof *room, by_time);
    draw(script, room, timed, floor_ms);
}

ef_status tune_plot(const tune_books *b, const char *path, ef_error *error)
{
    size_t panels = 0;
    for (size_t i = 0; i < b->count; i += tune_books_group(b, i))
        panels++;
    tune_tried *room = calloc(b->count, sizeof *room);
    if (!room)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "no host memory for the picture");
    FILE *script = ef__picture_begin(panels, tune_books_header(b, "device"), error);
    if (!script) {
        free(room);
        return EF_EIO;
    }
    fprintf(script,
            "set logscale y\nset ylabel 'ms'\nset format y '%%g'\nset key top left Left reverse\n");
    for (size_t i = 0; i < b->count; i += tune_books_group(b, i))
        draw_target(script, &b->tried[i], tune_books_group(b, i), room);
    free(room);
    return ef__picture_end(script, path, error);
}
