/* Times of choices, by gnuplot. */
#include "plot.h"
#include "../bench/picture.h"
#include <stdlib.h>
#include <string.h>

static int by_time(const void *x, const void *y)
{
    double a = ((const tune_tried *)x)->ms, b = ((const tune_tried *)y)->ms;
    return (a > b) - (a < b);
}

static bool has_fate(const tune_tried *t, tune_fate fate)
{
    return t->entry->fate && !strcmp(t->entry->fate, tune_fate_text(fate));
}

/* Of the target's record; 0: not known. */
static double floor_of(const tune_books *b, const char *target)
{
    json_t *record;
    size_t i;
    json_array_foreach(b->records, i, record)
    {
        const char *shape = json_string_value(json_object_get(record, "shape"));
        if (shape && !strcmp(shape, target))
            return json_number_value(json_object_get(record, "floor_ms"));
    }
    return 0;
}

/* Points of gnuplot's: those of one fate (-1: all), at their place in the order. */
static size_t write_block(FILE *script, const char *name, const tune_tried *t, size_t count,
                          int fate)
{
    size_t points = 0;
    fprintf(script, "$%s << end\n", name);
    for (size_t i = 0; i < count; i++)
        if (fate < 0 || has_fate(&t[i], (tune_fate)fate)) {
            fprintf(script, "%zu %g\n", i + 1, t[i].ms);
            points++;
        }
    fprintf(script, "end\n");
    return points;
}

/* t[count]: sorted. What failed has no time. */
static void draw(FILE *script, const tune_tried *t, size_t count, size_t failed, double floor_ms)
{
    char title[256];
    snprintf(title, sizeof title, "%s: %zu tried, %zu failed", t->entry->target, count + failed,
             failed);
    bench_picture_panel(script, title);
    write_block(script, "all", t, count, -1);
    bool has_default = write_block(script, "default", t, count, TUNE_FATE_CONTROL) > 0;
    bool has_choice = write_block(script, "choice", t, count, TUNE_FATE_CHOSEN) > 0;
    fprintf(script, "set xrange [0:%zu]\nset xtics %s\n", count + 1, count < 10 ? "1" : "autofreq");
    fprintf(script, "plot $all with points pt 7 ps 0.4 lc rgb '#888888' notitle");
    if (has_default)
        fprintf(script, ", $default with points pt 5 ps 0.9 lc rgb '#1f77b4' title '%s'",
                has_choice ? "default" : "default, kept");
    if (has_choice)
        fprintf(script, ", $choice with points pt 9 ps 1.1 lc rgb '#d62728' title 'choice'");
    if (floor_ms > 0)
        fprintf(script, ", %g with lines dt 2 lc rgb '#2ca02c' title 'floor %.3g ms'", floor_ms,
                floor_ms);
    fputc('\n', script);
}

static void draw_target(FILE *script, const tune_books *b, const tune_tried *group, size_t count,
                        tune_tried *room)
{
    size_t timed = 0;
    for (size_t i = 0; i < count; i++)
        if (group[i].outcome == TUNE_CORRECT && group[i].ms > 0)
            room[timed++] = group[i];
    if (timed == 0)
        return;
    qsort(room, timed, sizeof *room, by_time);
    draw(script, room, timed, count - timed, floor_of(b, group->entry->target));
}

ef_status tune_plot(const tune_books *b, const char *path, ef_error *error)
{
    size_t panels = 0;
    for (size_t i = 0; i < b->count; i += tune_books_group(b, i))
        panels++;
    tune_tried *room = calloc(b->count, sizeof *room);
    if (!room)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "no host memory for the picture");
    FILE *script = bench_picture_begin(panels, tune_books_header(b, "device"), error);
    if (!script) {
        free(room);
        return EF_EIO;
    }
    fprintf(script,
            "set logscale y\nset ylabel 'ms'\nset format y '%%g'\nset key top left Left reverse\n");
    for (size_t i = 0; i < b->count; i += tune_books_group(b, i))
        draw_target(script, b, &b->tried[i], tune_books_group(b, i), room);
    free(room);
    return bench_picture_end(script, path, error);
}
