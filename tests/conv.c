/* conv.c -- the problem of conv.h. */
#include "conv.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

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

double *conv_spread(const ref_conv *s, size_t channels, const double *mag)
{
    double *most = ef_test_doubles(s->B * s->L * channels);
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->L; t++)
            for (size_t m = 0, first = t % s->d + t / s->d / 4 * 4 * s->d; m < 4; m++)
                for (size_t c = 0; c < channels && first + m * s->d < s->L; c++) {
                    double *to = most + (b * s->L + t) * channels + c;
                    *to = fmax(*to, mag[(b * s->L + first + m * s->d) * channels + c]);
                }
    return most;
}

double *conv_spread_taps(const ref_conv *s, const double *mag)
{
    const size_t n = s->Cout * s->Cin * s->K;
    double *most = ef_test_doubles(n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < s->K; j++)
            most[i] = fmax(most[i], mag[i / s->K * s->K + j]);
    return most;
}

void conv_check_forward(const char *what, const conv *c, const ef_tensor *y)
{
    double *want = ef_test_doubles(c->ny), *mag = ef_test_doubles(c->ny);
    ref_conv1d_forward(&c->s, c->x, c->w, want, mag);
    ef_test_within(what, y, want, mag, CONV_BOUND);
}

/* Forces the n-th of an operation's variants, or of the values of direct's knobs. */
typedef bool force_nth(ef_actor *a, ef__op_id id, size_t n);

static const char *name_of(ef__op_id id, size_t n, const ref_conv *s)
{
    static char text[128];
    snprintf(text, sizeof text, "%s, number %zu, B%zu L%zu %zu->%zu K%zu d%zu",
             ef__op_row(id)->name, n, s->B, s->L, s->Cin, s->Cout, s->K, s->d);
    return text;
}

/* What the forced variant promises: mag, or spread where it is loose. */
static void agrees(ef_actor *a, ef__op_id id, const char *name, const ef_tensor *got,
                   const double *want, const double *mag, const double *spread)
{
    const bool loose = ef__op_choose(a, id, &(ef__args){0}).variant->loose;
    ef_test_within(name, got, want, loose ? spread : mag, loose ? CONV_LOOSE : CONV_BOUND);
}

static void forward_agrees(ef_actor *a, const conv *c, force_nth *force)
{
    const ef__op_id id = c->linear ? EF__LINEAR_FORWARD : EF__CONV1D_FORWARD;
    double *want = ef_test_doubles(c->ny), *mag = ef_test_doubles(c->ny);
    ref_conv1d_forward(&c->s, c->x, c->w, want, mag);
    const double *spread = conv_spread(&c->s, c->s.Cout, mag);
    for (size_t n = 0; force(a, id, n); n++) {
        ef_tensor *y = conv_y(a, c, NULL);
        if (ef_test_fits(a, conv_forward(a, c, NULL, y)))
            agrees(a, id, name_of(id, n, &c->s), y, want, mag, spread);
    }
}

static void dx_agrees(ef_actor *a, const conv *c, force_nth *force)
{
    const ef__op_id id = c->linear ? EF__LINEAR_DX : EF__CONV1D_DX;
    double *want = ef_test_doubles(c->nx), *mag = ef_test_doubles(c->nx);
    ref_conv1d_dx(&c->s, c->dy, c->w, want, mag);
    const double *spread = conv_spread(&c->s, c->s.Cin, mag);
    for (size_t n = 0; force(a, id, n); n++) {
        ef_tensor *dx = conv_x(a, c, NULL);
        if (ef_test_fits(a, conv_dx(a, c, NULL, dx)))
            agrees(a, id, name_of(id, n, &c->s), dx, want, mag, spread);
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
    const double *spread = conv_spread_taps(&c->s, mag);

    for (size_t n = 0; force(a, id, n); n++) {
        ef_tensor *dw = conv_w(a, c, old), *db = ef_test_f32(a, SHAPE(O), old_db);
        ef_tensor *alone = conv_w(a, c, old);
        const char *name = name_of(id, n, &c->s);
        if (!ef_test_fits(a, conv_dw(a, c, dw, db)))
            continue;
        agrees(a, id, name, dw, want, mag, spread);
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

/* Each value of each knob, the others untuned. Those of the CPU's kernels are tried below. */
static bool force_direct(ef_actor *a, ef__op_id id, size_t n)
{
    ef__choice c = ef__op_untuned(ef__device_of(a), id, "direct");
    for (size_t k = 0; k < ef__knobs(c.variant); k++) {
        const size_t values = ef__knob_values(&c.variant->knobs[k]);
        if (n < values) {
            c.knob[k] = c.variant->knobs[k].values[n];
            ef_test_ok(a, ef__op_force(a, id, "direct", c.knob));
            return true;
        }
        n -= values;
    }
    ef_test_ok(a, ef__op_force(a, id, NULL, NULL));
    return false;
}

void conv_agrees_tuned(ef_actor *a, ref_conv s, bool linear)
{
    all_agree(a, s, linear, force_direct);
}

/* ---- knobs ---- */

enum { MOST_POINTS = 150 };

typedef struct points {
    int knob[MOST_POINTS][EF__MAX_KNOBS];
    size_t count;
} points;

static ef__op_id op_of(const conv *c, int op)
{
    static const ef__op_id ids[2][3] = {{EF__CONV1D_FORWARD, EF__CONV1D_DX, EF__CONV1D_DW},
                                        {EF__LINEAR_FORWARD, EF__LINEAR_DX, EF__LINEAR_DW}};
    return ids[c->linear][op];
}

static ef__args args_of(const conv *c, int op)
{
    const ref_conv *s = &c->s;
    const ef_tensor *const t[3][3] = {
        {c->tx, c->tw, c->tdy}, {c->tdy, c->tw, c->tx}, {c->tx, c->tdy, c->tw}};
    return (ef__args){.t = {t[op][0], t[op][1], t[op][2]},
                      .n = {s->B, s->L, s->Cin, s->Cout, s->K, s->d}};
}

/* All points that the variant may run at. */
static points *valid_points(const ef__variant *v, const ef__device *device, ef__args args)
{
    points *p = ef_test_alloc(sizeof *p);
    size_t all = 1;
    for (size_t i = 0; i < ef__knobs(v); i++)
        all *= ef__knob_values(&v->knobs[i]);
    for (size_t number = 0; number < all; number++) {
        for (size_t i = 0, rest = number; i < ef__knobs(v); i++) {
            const size_t values = ef__knob_values(&v->knobs[i]);
            args.knob[i] = v->knobs[i].values[rest % values];
            rest /= values;
        }
        if (!ef__variant_runs(v, device, &args))
            continue;
        ck_assert_uint_lt(p->count, MOST_POINTS);
        memcpy(p->knob[p->count++], args.knob, sizeof args.knob);
    }
    return p;
}

void conv_knobs_are_few(ef_actor *a, ref_conv s, bool linear)
{
    const conv c = conv_new(a, s, linear);
    for (unsigned width = 4; width <= 16; width *= 2)
        for (int op = 0; op < 3; op++) {
            const ef__variant *v = ef__op_row(op_of(&c, op))->variants;
            ef__device device = *ef__device_of(a);
            device.info.is_cpu = true;
            device.info.vector_width = width;
            for (; v->fits != ef__fits_always; v++) {
                ef__args args = args_of(&c, op);
                ef__choice untuned = ef__op_untuned(&device, op_of(&c, op), v->name);
                memcpy(args.knob, untuned.knob, sizeof args.knob);
                if (!v->fits(&device, &args) || !ef__knobs(v))
                    continue;
                ck_assert_msg(ef__variant_runs(v, &device, &args), "%s", v->name);
                ck_assert_uint_gt(valid_points(v, &device, args)->count, 9);
            }
        }
}

/* The first of the valid points with the tallest tiles; the last of all, with the widest. */
static const int *tallest(const points *p)
{
    const int *best = p->knob[0];
    for (size_t i = 1; i < p->count; i++)
        if (p->knob[i][0] > best[0])
            best = p->knob[i];
    return best;
}

/* What the operation gives, into a new tensor; dw also gives db. */
static ef_status run(ef_actor *a, const conv *c, int op, ef_tensor **out, ef_tensor **db)
{
    *db = ef_test_f32(a, SHAPE(c->s.Cout), ef_test_floats(c->s.Cout));
    *out = op == 0   ? conv_y(a, c, NULL)
           : op == 1 ? conv_x(a, c, NULL)
                     : conv_w(a, c, ef_test_floats(c->nw));
    return op == 0   ? conv_forward(a, c, NULL, *out)
           : op == 1 ? conv_dx(a, c, NULL, *out)
                     : conv_dw(a, c, *out, *db);
}

static void knobs_change_nothing(ef_actor *a, const conv *c, int op, const ef__variant *v)
{
    const points *p = valid_points(v, ef__device_of(a), args_of(c, op));
    ef_tensor *out, *db;
    ef_test_ok(a, ef__op_force(a, op_of(c, op), v->name, NULL));
    ef_test_ok(a, run(a, c, op, &out, &db));
    const float *want = ef_test_read(out), *want_db = ef_test_read(db);
    for (size_t k = 0; k < ef_test_size(1, 2, 2); k++) { /* each compiles anew */
        const int *knob = k ? tallest(p) : p->knob[p->count - 1];
        char text[128];
        snprintf(text, sizeof text, "%s[%s] knobs %d %d %d %d", ef__op_row(op_of(c, op))->name,
                 v->name, knob[0], knob[1], knob[2], knob[3]);
        ef_test_ok(a, ef__op_force(a, op_of(c, op), v->name, knob));
        ef_test_ok(a, run(a, c, op, &out, &db));
        ef_test_same_bits(text, out, want);
        ef_test_same_bits(text, db, want_db);
    }
    ef_test_ok(a, ef__op_force(a, op_of(c, op), NULL, NULL));
}

void conv_knobs_change_nothing(ef_actor *a, ref_conv s, bool linear)
{
    const conv c = conv_new(a, s, linear);
    for (int op = 0; op < 3; op++) {
        const ef__variant *v = ef__op_row(op_of(&c, op))->variants;
        for (; v->fits != ef__fits_always; v++) {
            const ef__args args = args_of(&c, op);
            if (ef__knobs(v) && v->fits(ef__device_of(a), &args))
                knobs_change_nothing(a, &c, op, v);
        }
    }
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
