/* The roofline of each operation: what its variants reach beside what flop and bytes allow. */
#include "bench.h"
#include "base/error.h"
#include "cmd/picture.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct bench_point {
    const ef__op *op;
    const ef__variant *variant;
    char shape[80];
    double intensity; /* flop a byte */
    double rate;      /* flop/s */
    double fma, copy; /* ceilings: flop/s, byte/s */
};

/* What computes nothing has no place on a roofline. */
ef_status bench_roofline_add(bench *b, const ef__op *op, const ef__variant *v,
                             const bench_line *line)
{
    if (line->flops <= 0 || line->bytes <= 0)
        return EF_OK;
    bench_point p = {.op = op,
                     .variant = v,
                     .intensity = line->flops / line->bytes,
                     .rate = line->flops / line->ms * 1e3};
    bench_point *more = realloc(b->points, (b->point_count + 1) * sizeof *more);
    if (!more)
        return ef__error_set(&b->error, EF_ENOMEM, 0, NULL, "no host memory for the picture");
    b->points = more;
    memcpy(p.shape, line->shape, sizeof p.shape);
    ef_status status = bench_ceiling_fma(b, &p.fma);
    if (!status)
        status = bench_ceiling_copy(b, line->bytes, &p.copy);
    if (!status)
        more[b->point_count++] = p;
    return status;
}

static bool is_same_panel(const bench_point *x, const bench_point *y)
{
    return x->op == y->op && !strcmp(x->shape, y->shape);
}

/* The points of a panel stand behind each other. */
static size_t panel_size(const bench *b, size_t first)
{
    size_t end = first + 1;
    while (end < b->point_count && is_same_panel(&b->points[first], &b->points[end]))
        end++;
    return end - first;
}

static void draw_panel(FILE *script, const bench_point *p, size_t count)
{
    char title[160];
    double ridge = p->fma / p->copy, least = p->rate;
    for (size_t i = 1; i < count; i++)
        least = fmin(least, p[i].rate);
    snprintf(title, sizeof title, "%s %s", p->op->name, p->shape);
    ef__picture_panel(script, title);
    fprintf(script, "set xrange [%g:%g]\nset yrange [%g:%g]\n", fmin(p->intensity, ridge) / 8,
            fmax(p->intensity, ridge) * 8, least / 1e9 / 6, p->fma / 1e9 * 3);
    fprintf(script, "plot (x * %g < %g ? x * %g : %g) lw 2 lc rgb '#555555' notitle", p->copy / 1e9,
            p->fma / 1e9, p->copy / 1e9, p->fma / 1e9);
    for (size_t i = 0; i < count; i++)
        fprintf(script, ", '-' with points pt 7 ps 0.7 lc %zu title '%s %.3g'", i + 1,
                p[i].variant->name, p[i].rate / 1e9);
    fputc('\n', script);
    for (size_t i = 0; i < count; i++)
        fprintf(script, "%g %g\ne\n", p[i].intensity, p[i].rate / 1e9);
}

ef_status bench_roofline_draw(bench *b)
{
    char title[300];
    size_t panels = 0;
    for (size_t i = 0; i < b->point_count; i += panel_size(b, i))
        panels++;
    snprintf(title, sizeof title, "%s: GFLOP/s against flop a byte",
             ef_actor_device(b->actor)->name);
    FILE *script = ef__picture_begin(panels, title, &b->error);
    if (!script)
        return b->error.status;
    fprintf(script, "set logscale xy\nset key bottom right\n");
    for (size_t i = 0; i < b->point_count; i += panel_size(b, i))
        draw_panel(script, &b->points[i], panel_size(b, i));
    return ef__picture_end(script, b->plot, &b->error);
}
