/* conv.c -- the problem of conv.h. */
#include "conv.h"
#include <math.h>
#include <stdio.h>

conv conv_new(ef_actor *a, ref_conv s, bool linear)
{
    conv c = {.s = s, .linear = linear};
    c.nx = s.B * s.L * s.Cin;
    c.nw = s.Cout * s.Cin * s.K;
    c.ny = s.B * s.L * s.Cout;
    c.x = ef_test_randn(c.nx, 1);
    c.w = ef_test_randn(c.nw, 2);
    c.dy = ef_test_randn(c.ny, 3);
    c.tx = conv_x(a, &c, c.x);
    c.tw = conv_w(a, &c, c.w);
    c.tdy = conv_y(a, &c, c.dy);
    return c;
}

ef_tensor *conv_x(ef_actor *a, const conv *c, const float *data)
{
    const ref_conv *s = &c->s;
    return ef_test_f32(a, c->linear ? SHAPE(s->L, s->Cin) : SHAPE(s->B, s->L, s->Cin), data);
}

ef_tensor *conv_w(ef_actor *a, const conv *c, const float *data)
{
    const ref_conv *s = &c->s;
    return ef_test_f32(a, c->linear ? SHAPE(s->Cout, s->Cin) : SHAPE(s->Cout, s->Cin, s->K), data);
}

ef_tensor *conv_y(ef_actor *a, const conv *c, const float *data)
{
    const ref_conv *s = &c->s;
    return ef_test_f32(a, c->linear ? SHAPE(s->L, s->Cout) : SHAPE(s->B, s->L, s->Cout), data);
}

ef_status conv_forward(ef_actor *a, const conv *c, const ef_epilogue *e, ef_tensor *y)
{
    return c->linear ? ef_linear_forward(a, c->tx, c->tw, e, y)
                     : ef_conv1d_forward(a, c->tx, c->tw, c->s.d, e, y);
}

ef_status conv_dx(ef_actor *a, const conv *c, const ef_epilogue *e, ef_tensor *dx)
{
    return c->linear ? ef_linear_dx(a, c->tdy, c->tw, e, dx)
                     : ef_conv1d_dx(a, c->tdy, c->tw, c->s.d, e, dx);
}

ef_status conv_dw(ef_actor *a, const conv *c, ef_tensor *dw, ef_tensor *db)
{
    return c->linear ? ef_linear_dw(a, c->tx, c->tdy, dw, db)
                     : ef_conv1d_dw(a, c->tx, c->tdy, c->s.d, dw, db);
}

void conv_check_forward(const char *what, const conv *c, const ef_tensor *y)
{
    double *want = ef_test_doubles(c->ny), *mag = ef_test_doubles(c->ny);
    ref_conv1d_forward(&c->s, c->x, c->w, want, mag);
    ef_test_within(what, y, want, mag, CONV_BOUND);
}

/* Forces the n-th of an operation's variants, or of the values of their knobs. */
typedef bool force_nth(ef_actor *a, ef__op_id id, size_t n);

static const char *name_of(ef__op_id id, size_t n, const ref_conv *s)
{
    static char text[128];
    snprintf(text, sizeof text, "%s, number %zu, B%zu L%zu %zu->%zu K%zu d%zu",
             ef__op_row(id)->name, n, s->B, s->L, s->Cin, s->Cout, s->K, s->d);
    return text;
}

static void forward_agrees(ef_actor *a, const conv *c, force_nth *force)
{
    const ef__op_id id = c->linear ? EF__LINEAR_FORWARD : EF__CONV1D_FORWARD;
    for (size_t n = 0; force(a, id, n); n++) {
        ef_tensor *y = conv_y(a, c, NULL);
        if (ef_test_fits(a, conv_forward(a, c, NULL, y)))
            conv_check_forward(name_of(id, n, &c->s), c, y);
    }
}

static void dx_agrees(ef_actor *a, const conv *c, force_nth *force)
{
    const ef__op_id id = c->linear ? EF__LINEAR_DX : EF__CONV1D_DX;
    double *want = ef_test_doubles(c->nx), *mag = ef_test_doubles(c->nx);
    ref_conv1d_dx(&c->s, c->dy, c->w, want, mag);
    for (size_t n = 0; force(a, id, n); n++) {
        ef_tensor *dx = conv_x(a, c, NULL);
        if (ef_test_fits(a, conv_dx(a, c, NULL, dx)))
            ef_test_within(name_of(id, n, &c->s), dx, want, mag, CONV_BOUND);
    }
}

/* What a gradient held counts as one more product of its sum. */
static void add_old(size_t n, const float *old, double *mag)
{
    for (size_t i = 0; i < n; i++)
        mag[i] += fabs((double)old[i]);
}

static void dw_agrees(ef_actor *a, const conv *c, force_nth *force)
{
    const ef__op_id id = c->linear ? EF__LINEAR_DW : EF__CONV1D_DW;
    const size_t O = c->s.Cout;
    float *old = ef_test_randn(c->nw, 4), *old_db = ef_test_randn(O, 5);
    double *want = ef_test_widen(c->nw, old), *mag = ef_test_doubles(c->nw);
    double *want_db = ef_test_widen(O, old_db), *mag_db = ef_test_doubles(O);
    ref_conv1d_dw(&c->s, c->x, c->dy, want, mag);
    ref_bias_grad(c->s.B * c->s.L, O, c->dy, want_db, mag_db);
    add_old(c->nw, old, mag);
    add_old(O, old_db, mag_db);

    for (size_t n = 0; force(a, id, n); n++) {
        ef_tensor *dw = conv_w(a, c, old), *db = ef_test_f32(a, SHAPE(O), old_db);
        ef_tensor *alone = conv_w(a, c, old);
        const char *name = name_of(id, n, &c->s);
        if (!ef_test_fits(a, conv_dw(a, c, dw, db)))
            continue;
        ef_test_within(name, dw, want, mag, CONV_BOUND);
        ef_test_within(name, db, want_db, mag_db, CONV_BOUND);
        ef_test_ok(a, conv_dw(a, c, alone, NULL));
        ef_test_same_bits(name, alone, ef_test_read(dw));
    }
}

static void all_agree(ef_actor *a, ref_conv s, bool linear, force_nth *force)
{
    conv c = conv_new(a, s, linear);
    forward_agrees(a, &c, force);
    dx_agrees(a, &c, force);
    dw_agrees(a, &c, force);
}

void conv_agrees(ef_actor *a, ref_conv s, bool linear)
{
    all_agree(a, s, linear, ef_test_variant);
}

void conv_agrees_tuned(ef_actor *a, ref_conv s, bool linear)
{
    all_agree(a, s, linear, ef_test_knobs);
}

/* ---- finite differences ---- */

typedef struct loss_of {
    ef_actor *a;
    conv *c;
    float *bias;
    ef_tensor *tbias, *y;
} loss_of;

static double loss(void *user)
{
    loss_of *l = user;
    const conv *c = l->c;
    double sum = 0;
    ef_test_set(c->tx, c->x);
    ef_test_set(c->tw, c->w);
    ef_test_set(l->tbias, l->bias);
    ef_test_ok(l->a, conv_forward(l->a, c, &(ef_epilogue){.bias = l->tbias}, l->y));
    const float *y = ef_test_read(l->y);
    for (size_t i = 0; i < c->ny; i++)
        sum += (double)y[i] * c->dy[i];
    return sum;
}

void conv_slopes_agree(ef_actor *a, ref_conv s, bool linear)
{
    const size_t samples = ef_test_size(3, 20, 20);
    conv c = conv_new(a, s, linear);
    loss_of l = {a, &c, ef_test_randn(s.Cout, 6), NULL, conv_y(a, &c, NULL)};
    l.tbias = ef_test_f32(a, SHAPE(s.Cout), l.bias);
    ef_tensor *dx = conv_x(a, &c, NULL), *dw = conv_w(a, &c, ef_test_floats(c.nw));
    ef_tensor *db = ef_test_f32(a, SHAPE(s.Cout), ef_test_floats(s.Cout));
    ef_test_ok(a, conv_dx(a, &c, NULL, dx));
    ef_test_ok(a, conv_dw(a, &c, dw, db));
    const float *gx = ef_test_read(dx), *gw = ef_test_read(dw), *gb = ef_test_read(db);
    ef_test_slopes("dx", loss, &l, c.x, c.nx, gx, samples, 0.125, 1e-4, 1e-4);
    ef_test_slopes("dw", loss, &l, c.w, c.nw, gw, samples, 0.125, 1e-4, 1e-4);
    ef_test_slopes("db", loss, &l, l.bias, s.Cout, gb, samples, 0.125, 1e-4, 1e-4);
}

uint64_t conv_launches(ef_actor *a)
{
    ef_stats stats;
    ef_actor_stats(a, &stats);
    return stats.launches;
}
