/* The curve of a run. */
#include "cmd/eftrain.h"
#include "cmd/picture.h"
#include <math.h>
#include <stdlib.h>

enum { MOST_POINTS = 1000 }; /* of a line; more than that are drawn as means of neighbours */

static void add(eftrain_points *p, uint64_t step, double value)
{
    if (p->count == p->room) {
        size_t room = p->room ? 2 * p->room : 256;
        eftrain_point *at = realloc(p->at, room * sizeof *at);
        if (!at)
            return;
        p->at = at;
        p->room = room;
    }
    if (isfinite(value))
        p->at[p->count++] = (eftrain_point){step, value};
}

void eftrain_curve_step(eftrain_curve *c, const ef_step_report *s)
{
    add(&c->steps[s->kind], s->step, s->kind == EF_ENCODER ? s->loss : s->ce);
}

void eftrain_curve_epoch(eftrain_curve *c, const ef_epoch_report *e)
{
    if (e->has_val && e->mode != EF_MODE_DECODER)
        add(&c->epochs[EF_ENCODER], e->step, e->val_cos);
    if (e->has_val && e->mode != EF_MODE_ENCODER)
        add(&c->epochs[EF_DECODER], e->step, e->val_ce);
}

void eftrain_curve_free(eftrain_curve *c)
{
    for (int k = 0; k < EF__STEP_KINDS; k++) {
        free(c->steps[k].at);
        free(c->epochs[k].at);
    }
}

static void write_block(FILE *script, const char *name, const eftrain_points *p)
{
    size_t each = p->count / MOST_POINTS + 1;
    fprintf(script, "$%s << end\n", name);
    for (size_t i = 0; i < p->count; i += each) {
        double sum = 0;
        size_t n = 0;
        for (; n < each && i + n < p->count; n++)
            sum += p->at[i + n].value;
        fprintf(script, "%llu %.9g\n", (unsigned long long)p->at[i + n - 1].step, sum / (double)n);
    }
    fprintf(script, "end\n");
}

static void draw(FILE *script, const eftrain_curve *c, ef_model_kind kind)
{
    const bool encoder = kind == EF_ENCODER;
    write_block(script, "steps", &c->steps[kind]);
    write_block(script, "epochs", &c->epochs[kind]);
    ef__picture_panel(script, encoder ? "encoder" : "decoder");
    fprintf(script, "set xlabel 'step'\nset ylabel '%s'\n", encoder ? "loss" : "cross-entropy");
    if (encoder)
        fprintf(script, "set ytics nomirror\nset y2tics\nset y2label 'cosine'\n");
    else
        fprintf(script, "set ytics mirror\nunset y2tics\nunset y2label\n");
    fprintf(script, "plot $steps with lines lc rgb '#1f77b4' title '%s'", encoder ? "loss" : "ce");
    if (c->epochs[kind].count)
        fprintf(script, ", $epochs %s with linespoints pt 7 ps 0.5 lc rgb '#d62728' title '%s'",
                encoder ? "axes x1y2" : "", encoder ? "held-out cos" : "held-out ce");
    fputc('\n', script);
}

ef_status eftrain_plot(const eftrain_curve *c, const char *title, const char *path, ef_error *error)
{
    size_t panels = 0;
    for (int k = 0; k < EF__STEP_KINDS; k++)
        panels += c->steps[k].count > 0;
    if (!panels)
        return EF_OK;
    FILE *script = ef__picture_begin(panels, title, error);
    if (!script)
        return EF_EIO;
    for (int k = 0; k < EF__STEP_KINDS; k++)
        if (c->steps[k].count)
            draw(script, c, k);
    return ef__picture_end(script, path, error);
}
