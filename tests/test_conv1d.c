/* conv1d: values, causality, gradients, rules; every variant. Epilogues and packed weights have a
 * program of their own: test_fusion.c. */
#include "conv.h"
#include "op/conv1d.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Most telling first: EF_TEST_SIZE takes that many. */
static const ref_conv shapes[] = {
    /* B   L  Cin Cout K  d */
    {2, 8, 3, 3, 3, 2},    {1, 11, 33, 32, 3, 1},  {1, 21, 32, 33, 5, 1},  {2, 130, 2, 3, 5, 1},
    {1, 1, 1, 1, 1, 1},    {3, 5, 7, 17, 2, 4},    {1, 37, 17, 5, 5, 8},   {2, 33, 33, 33, 3, 1},
    {1, 3, 5, 11, 8, 32},  {2, 13, 11, 7, 4, 3},   {1, 64, 16, 32, 5, 4},  {2, 40, 70, 130, 5, 3},
    {3, 29, 7, 3, 6, 5},   {2, 100, 3, 17, 7, 16}, {2, 131, 65, 35, 5, 2}, {2, 70, 130, 3, 1, 9},
    {1, 300, 5, 7, 3, 32}, {16, 9, 33, 65, 5, 1},
};

START_TEST(all_operations_agree_with_plain_loops)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(4, 12, sizeof shapes / sizeof *shapes); i++)
        conv_agrees(a, shapes[i], false);
    ef_test_close(a);
}
END_TEST

/* Every K and d, channels and lengths taken in turn from short lists, L < d (K-1) among them. */
START_TEST(all_taps_and_dilations_agree)
{
    static const size_t channels[] = {1, 3, 5, 7, 11, 17, 33}, lengths[] = {1, 7, 20, 41};
    static const size_t dilations[] = {1, 2, 4, 7, 8, 16, 31, 32};
    ef_actor *a = ef_test_open();
    size_t n = 0;
    for (size_t K = 1; K <= ef_test_size(2, 5, 8); K++)
        for (size_t i = 0; i < ef_test_size(1, 3, 8); i++, n++) {
            const size_t Cin = channels[n % 7], Cout = channels[(n / 7 + n) % 7];
            conv_agrees(a, (ref_conv){1 + n % 3, lengths[n % 4], Cin, Cout, K, dilations[i]},
                        false);
        }
    ef_test_close(a);
}
END_TEST

/* More than a tile and less; channels in fours, where loads are vectors, and not. */
START_TEST(knobs_change_only_the_speed)
{
    static const ref_conv some[] = {
        {1, 21, 12, 36, 3, 2}, {2, 37, 70, 133, 5, 3}, {1, 300, 36, 5, 1, 1}};
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(1, 2, 3); i++)
        conv_agrees_tuned(a, some[i], false);
    ef_test_close(a);
}
END_TEST

/* y = cols w^T, and dx = col2im(dy w). */
START_TEST(im2col_is_the_oracle)
{
    const ref_conv s = {2, 8, 3, 3, 3, 2};
    const size_t width = s.Cin * s.K;
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL), *dx = conv_x(a, &p, NULL);
    double *cols = ef_test_doubles(s.B * s.L * width), *want = ef_test_doubles(p.ny);
    double *dcols = ef_test_doubles(s.B * s.L * width), *want_dx = ef_test_doubles(p.nx);

    ref_im2col(&s, p.x, cols);
    for (size_t r = 0; r < s.B * s.L; r++)
        for (size_t o = 0; o < s.Cout; o++)
            for (size_t c = 0; c < width; c++) {
                want[r * s.Cout + o] += cols[r * width + c] * p.w[o * width + c];
                dcols[r * width + c] += (double)p.dy[r * s.Cout + o] * p.w[o * width + c];
            }
    ref_col2im(&s, dcols, want_dx);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        ef_test_variant(a, EF__CONV1D_DX, v);
        if (!ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            continue;
        ef_test_ok(a, ef_conv1d_dx(a, p.tdy, p.tw, s.d, NULL, dx));
        ef_test_near("forward", y, want, 1e-5, 0);
        ef_test_near("dx", dx, want_dx, 1e-5, 0);
    }
    ef_test_close(a);
}
END_TEST

/* Inf and NaN from step t on leave the bits of all earlier outputs as they were. */
static void check_causality(ef_actor *a, ref_conv s)
{
    static const size_t steps[] = {1, 5, 8, 16, 23, 40};
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL);
    float *spoilt = ef_test_floats(p.nx);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        ef_test_set(p.tx, p.x);
        if (!ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            continue;
        const float *clean = ef_test_read(y);
        for (size_t i = 0; i < ef_test_size(2, 6, 6); i++) {
            memcpy(spoilt, p.x, p.nx * sizeof *spoilt);
            for (size_t b = 0; b < s.B; b++)
                for (size_t t = steps[i]; t < s.L; t++)
                    for (size_t c = 0; c < s.Cin; c++)
                        spoilt[(b * s.L + t) * s.Cin + c] = c % 2 ? NAN : INFINITY;
            ef_test_set(p.tx, spoilt);
            ef_test_ok(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y));
            const float *got = ef_test_read(y);
            for (size_t b = 0; b < s.B; b++)
                ck_assert_mem_eq(got + b * s.L * s.Cout, clean + b * s.L * s.Cout,
                                 steps[i] * s.Cout * sizeof *got);
        }
    }
}

START_TEST(later_inputs_do_not_change_earlier_outputs)
{
    ef_actor *a = ef_test_open();
    ef_actor_set_accuracy(a, EF_STRICT);
    for (size_t K = 3; K < 3 + ef_test_size(1, 3, 3); K++)
        check_causality(a, (ref_conv){2, 41, 33, 20, K, K == 4 ? 3 : 2});
    ef_test_close(a);
}
END_TEST

/* The largest of n numbers, and the largest change. */
static double largest(size_t n, const float *y, const float *was)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)y[i] - (was ? was[i] : 0)));
    return most;
}

/* In the normal class other numbers from a step on may change an earlier output, by rounding: by
 * 1e-5 of the largest output. A loose variant does it somewhere, or it needs not be called so. */
START_TEST(in_the_normal_class_later_inputs_only_reach_the_rounding)
{
    const ref_conv s = {2, 83, ef_test_size(32, 64, 64), ef_test_size(9, 20, 20), 5, 2};
    const size_t n = s.L * s.Cout;
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL);
    float *other = ef_test_randn(p.nx, 11);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        ef_test_set(p.tx, p.x);
        if (!ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            continue;
        const float *clean = ef_test_read(y);
        double change = 0;
        for (size_t step = 20; step < 40; step += ef_test_size(20, 3, 1)) {
            float *x = ef_test_alloc(p.nx * sizeof *x);
            for (size_t i = 0; i < p.nx; i++)
                x[i] = i / s.Cin % s.L < step ? p.x[i] : other[i];
            ef_test_set(p.tx, x);
            ef_test_ok(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y));
            const float *got = ef_test_read(y);
            for (size_t b = 0; b < s.B; b++)
                change = fmax(change, largest(step * s.Cout, got + b * n, clean + b * n));
        }
        ck_assert_double_le(change, 1e-5 * largest(p.ny, clean, NULL));
        ck_assert(ef__op_row(EF__CONV1D_FORWARD)->variants[v].loose == (change > 0));
    }
    ef_test_close(a);
}
END_TEST

/* Whatever the class: an Inf reaches rows that read it and, of loose variants, the rest of their
 * bundles of four; all others keep their bits. */
START_TEST(an_inf_stays_in_its_bundle)
{
    const ref_conv s = {2, 83, ef_test_size(32, 64, 64), ef_test_size(9, 20, 20), 5, 2};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        const bool loose = ef__op_row(EF__CONV1D_FORWARD)->variants[v].loose;
        ef_test_set(p.tx, p.x);
        if (!ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            continue;
        const float *clean = ef_test_read(y);
        for (size_t at = 31; at < 31 + ef_test_size(1, 8, 8); at++) {
            float *x = ef_test_alloc(p.nx * sizeof *x);
            memcpy(x, p.x, p.nx * sizeof *x);
            x[at * s.Cin + 5] = INFINITY;
            ef_test_set(p.tx, x);
            ef_test_ok(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y));
            const float *got = ef_test_read(y);
            for (size_t r = 0; r < s.B * s.L; r++) {
                const size_t first = r % s.d + r / s.d / 4 * 4 * s.d;
                const size_t from = loose ? first : r, to = loose ? first + 3 * s.d : r;
                const bool reads =
                    r < s.L && r % s.d == at % s.d && to >= at && from <= at + (s.K - 1) * s.d;
                if (!reads)
                    ck_assert_mem_eq(got + r * s.Cout, clean + r * s.Cout, s.Cout * sizeof *got);
                else if (r >= at && r <= at + (s.K - 1) * s.d)
                    ck_assert(!isfinite(got[r * s.Cout]));
            }
        }
    }
    ef_test_close(a);
}
END_TEST

/* Large inputs that an output does not read do not reach it by rounding either. */
START_TEST(large_inputs_stay_in_their_receptive_field)
{
    const ref_conv s = {1, 64, 32, 5, 5, 3};
    const size_t large = 30, reach = (s.K - 1) * s.d;
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL);
    double *want = ef_test_doubles(p.ny), *mag = ef_test_doubles(p.ny);
    ef_actor_set_accuracy(a, EF_STRICT);
    for (size_t c = 0; c < s.Cin; c++)
        p.x[large * s.Cin + c] = 1e20f;
    ef_test_set(p.tx, p.x);
    ref_conv1d_forward(&s, p.x, p.w, want, mag);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        if (!ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            continue;
        const float *got = ef_test_read(y);
        for (size_t t = 0; t < s.L; t++)
            for (size_t o = 0; o < s.Cout; o++)
                if (t < large || t > large + reach || (t - large) % s.d)
                    ck_assert_double_le(fabs(got[t * s.Cout + o] - want[t * s.Cout + o]),
                                        CONV_BOUND * 0x1p-24 * mag[t * s.Cout + o]);
    }
    ef_test_close(a);
}
END_TEST

/* Where numbers differ much in size, the errors of F(2,K) follow the rows around an output, as the
 * header says: here x is large in every other row and w has one tap. */
START_TEST(toom_cook_errors_follow_the_neighbourhood)
{
    const ref_conv s = {2, 64, 40, 7, 5, 1}, one = {2, 64, 40, 7, 1, 1};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL);
    double *want = ef_test_doubles(p.ny), *mag = ef_test_doubles(p.ny);
    double *plain = ef_test_doubles(p.ny);
    float *near = ef_test_floats(p.nx), *taps = ef_test_floats(s.Cout * s.Cin);
    ef_actor_set_accuracy(a, EF_STRICT);
    for (size_t i = 0; i < p.nw; i++)
        p.w[i] = i % s.K == 1 ? p.w[i] : 0;
    for (size_t i = 0; i < p.nx; i++)
        p.x[i] *= i / s.Cin % 2 ? 1e-4f : 1;
    for (size_t i = 0; i < p.nx; i++)
        for (size_t r = 0; r <= s.K + 1; r++) { /* rows t + 1, t, ..., t - K */
            const size_t t = i / s.Cin % s.L + 1;
            near[i] += t >= r && t - r < s.L ? fabsf(p.x[i + s.Cin - r * s.Cin]) : 0;
        }
    for (size_t i = 0; i < p.nw; i++)
        taps[i / s.K] += fabsf(p.w[i]);
    ef_test_set(p.tx, p.x);
    ef_test_set(p.tw, p.w);
    ref_conv1d_forward(&s, p.x, p.w, want, NULL);
    ref_conv1d_forward(&one, near, taps, plain, mag);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++)
        if (ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            ef_test_within("y", y, want, mag, CONV_BOUND);
    ef_test_close(a);
}
END_TEST

static const char *chosen(ef_actor *a, ef__op_id id, const conv *p, const ef_tensor *from,
                          const ef_tensor *to)
{
    const ref_conv *s = &p->s;
    const ef__args args = {.t = {from, id == EF__CONV1D_DW ? p->tdy : p->tw, to},
                           .n = {s->B, s->L, s->Cin, s->Cout, s->K, s->d}};
    return ef__op_choose(a, id, &args).variant->name;
}

/* What a CPU gets when it saves products and all sums are long, by the class of accuracy. */
START_TEST(toom_cook_where_it_saves_products)
{
    static const struct {
        ref_conv s;
        const char *normal[3], *strict[3]; /* forward, dx, dw; NULL: panel */
    } cases[] = {
        {{4, 64, 32, 33, 5, 2}, {"toom4", "toom4", "toom4"}, {"toom2", "toom2", "toom2"}},
        {{4, 64, 32, 33, 3, 2}, {"toom4", "toom4", "toom4"}, {"toom2", "toom2", "toom2"}},
        {{3, 64, 32, 31, 5, 2}, {"toom4", NULL, NULL}, {"toom2", NULL, NULL}},
        {{3, 64, 31, 32, 5, 2}, {NULL, "toom4", NULL}, {NULL, "toom2", NULL}},
        {{4, 64, 2, 3, 5, 2}, {NULL, NULL, "toom4"}, {NULL, NULL, "toom2"}},
        {{1, 16, 32, 32, 5, 1}, {"toom2", "toom2", NULL}, {"toom2", "toom2", NULL}},
        {{4, 64, 32, 33, 5, 16}, {"toom4", "toom4", "toom4"}, {NULL}},
        {{4, 64, 32, 33, 4, 2}, {NULL}, {NULL}},
    };
    static const ef__op_id ids[] = {EF__CONV1D_FORWARD, EF__CONV1D_DX, EF__CONV1D_DW};
    ef_actor *a = ef_test_open();
    for (size_t i = 0; ef_actor_device(a)->is_cpu && i < sizeof cases / sizeof *cases; i++) {
        conv p = conv_new(a, cases[i].s, false);
        const ef_tensor *from[] = {p.tx, p.tdy, p.tx}, *to[] = {p.tdy, p.tx, p.tw};
        for (int strict = 0; strict < 2; strict++)
            for (int op = 0; op < 3; op++) {
                const char *want = strict ? cases[i].strict[op] : cases[i].normal[op];
                ef_actor_set_accuracy(a, strict ? EF_STRICT : EF_NORMAL);
                ck_assert_str_eq(chosen(a, ids[op], &p, from[op], to[op]), want ? want : "panel");
            }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(the_strict_class_refuses_a_loose_variant)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, (ref_conv){4, 64, 32, 33, 5, 2}, false);
    ef_tensor *y = conv_y(a, &p, NULL);
    ck_assert_int_eq(ef_actor_accuracy(a), EF_NORMAL);
    ef_test_ok(a, ef__op_force(a, EF__CONV1D_FORWARD, "toom4", NULL));
    ef_actor_set_accuracy(a, EF_STRICT);
    ck_assert_int_eq(ef_actor_accuracy(a), EF_STRICT);
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, p.tw, 2, NULL, y), EF_EARG,
                    "variant toom4 does not fit");
    ef_actor_set_accuracy(a, EF_NORMAL);
    if (ef_actor_device(a)->is_cpu)
        ef_test_ok(a, ef_conv1d_forward(a, p.tx, p.tw, 2, NULL, y));
    ef_test_close(a);
    setenv("EF_ACCURACY", "strict", 1);
    a = ef_test_open();
    ck_assert_int_eq(ef_actor_accuracy(a), EF_STRICT);
    ef_test_close(a);
}
END_TEST

START_TEST(knobs_change_nothing_and_are_few)
{
    const ref_conv small = {2, 64, 40, 70, 5, 2};
    ef_actor *a = ef_test_open();
    conv_knobs_are_few(a, (ref_conv){4, 64, 40, 70, 5, 2}, false);
    conv_knobs_change_nothing(a, ef_test_size(0, 1, 1) ? (ref_conv){5, 64, 70, 90, 5, 2} : small,
                              false);
    ef_test_close(a);
}
END_TEST

START_TEST(gradients_are_the_slopes_of_the_forward_pass)
{
    ef_actor *a = ef_test_open();
    conv_slopes_agree(a, (ref_conv){2, 7, 3, 4, 3, 2}, false);
    ef_test_close(a);
}
END_TEST

typedef struct rerun {
    ef_actor *a;
    conv *p;
    ef_tensor *out;
} rerun;

static void forward_again(void *user)
{
    rerun *r = user;
    ef_test_ok(r->a, ef_conv1d_forward(r->a, r->p->tx, r->p->tw, r->p->s.d, NULL, r->out));
}

static void dw_again(void *user)
{
    rerun *r = user;
    ef_test_ok(r->a, ef_tensor_fill(r->out, 0));
    ef_test_ok(r->a, ef_conv1d_dw(r->a, r->p->tx, r->p->tdy, r->p->s.d, r->out, NULL));
}

START_TEST(the_same_input_gives_the_same_bits)
{
    const ref_conv s = {ef_test_size(1, 4, 4), ef_test_size(21, 150, 150), 33, 21, 3, 2};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *dw = ef_test_f32(a, SHAPE(s.Cout, s.Cin, s.K), NULL), *y = conv_y(a, &p, NULL);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++)
        if (ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y)))
            ef_test_repeats("forward", forward_again, &(rerun){a, &p, y}, y);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_DW, v); v++)
        if (ef_test_fits(a, ef_conv1d_dw(a, p.tx, p.tdy, s.d, dw, NULL)))
            ef_test_repeats("dw", dw_again, &(rerun){a, &p, dw}, dw);
    ef_test_close(a);
}
END_TEST

/* ---- rules ---- */

START_TEST(what_does_not_fit_is_refused_by_name)
{
    const ref_conv s = {2, 8, 3, 5, 3, 2};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    ef_tensor *y = conv_y(a, &p, NULL), *dx = conv_x(a, &p, NULL),
              *dw = ef_test_f32(a, SHAPE(5, 3, 3), NULL);
    ef_tensor *flat = ef_test_f32(a, SHAPE(5, 9), NULL),
              *none = ef_test_f32(a, SHAPE(5, 3, 0), NULL);
    ef_tensor *short_db = ef_test_f32(a, SHAPE(4), NULL);
    ef_tensor *few = ef_test_u8(a, SHAPE(15), NULL);

    ef_test_refused(a, ef_conv1d_forward(a, p.tdy, p.tw, 1, NULL, y), EF_ESHAPE,
                    "conv1d.forward: x");
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, p.tw, 1, NULL, dx), EF_ESHAPE,
                    "conv1d.forward: y");
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, flat, 1, NULL, y), EF_EARG, "w has rank 2");
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, none, 1, NULL, y), EF_EARG, "no taps");
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, p.tw, 1, &(ef_epilogue){.mask = few}, y),
                    EF_ESHAPE, "mask has 15 values");
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, p.tw, 1, &(ef_epilogue){.bias = short_db}, y),
                    EF_ESHAPE, "bias has 4 values");
    ef_test_refused(a, ef_conv1d_dx(a, p.tx, p.tw, 1, NULL, dx), EF_ESHAPE, "conv1d.dx: dy");
    ef_test_refused(a, ef_conv1d_dx(a, p.tdy, p.tw, 1, NULL, p.tdy), EF_ESHAPE, "conv1d.dx: dx");
    ef_test_refused(a, ef_conv1d_dw(a, p.tx, p.tx, 1, dw, NULL), EF_ESHAPE, "conv1d.dw: dy");
    ef_test_refused(a, ef_conv1d_dw(a, p.tx, p.tdy, 1, dw, short_db), EF_ESHAPE, "db has 4 values");
    ef_test_close(a);
}
END_TEST

START_TEST(an_output_may_not_overlap_the_input)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, (ref_conv){1, 4, 3, 3, 1, 1}, false);
    ef_test_refused(a, ef_conv1d_forward(a, p.tx, p.tw, 1, NULL, p.tx), EF_EARG, "overlap");
    ef_test_close(a);
}
END_TEST

/* d = 0 is 1; from d = L on only the last tap sees anything, however large d is. */
START_TEST(any_dilation_is_legal)
{
    static const size_t given[] = {0, 8, 9, SIZE_MAX}, means[] = {1, 8, 8, 8};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, (ref_conv){2, 8, 3, 5, 3, 1}, false);
    double *want = ef_test_doubles(p.ny), *mag = ef_test_doubles(p.ny);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++)
        for (size_t i = 0; i < 4; i++) {
            ef_tensor *y = conv_y(a, &p, NULL);
            p.s.d = means[i];
            ref_conv1d_forward(&p.s, p.x, p.w, want, mag);
            if (ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, given[i], NULL, y)))
                ef_test_within("y", y, want, mag, CONV_BOUND);
        }
    ef_test_close(a);
}
END_TEST

/* 1 x 1 weights at that many places of one buffer; each result is checked. */
static void multiply_views(ef_actor *a, ef_tensor *all, const float *weights, size_t count)
{
    const size_t dims[3] = {1, 1, 1};
    ef_tensor *x = ef_test_f32(a, SHAPE(1, 1, 1), (float[]){3}),
              *y = ef_test_f32(a, SHAPE(1, 1, 1), NULL);
    for (size_t i = 0; i < count; i++) {
        ef_tensor *w;
        ef_test_ok(a, ef_tensor_view(all, 16 * i, 3, dims, "w", &w));
        ef_test_ok(a, ef_conv1d_forward(a, x, w, 1, NULL, y));
        ef_tensor_free(w);
        if (i % 100 == 0)
            ck_assert_float_eq(*(const float *)ef_test_read(y), 3 * weights[16 * i]);
    }
}

START_TEST(weights_at_any_number_of_places_need_no_more_memory)
{
    ef_actor *a = ef_test_open();
    size_t count = ef_test_size(20, 3000, 3000), first = ef_test_size(20, 1050, 1050);
    const float *weights = ef_test_randn(16 * count, 1);
    ef_tensor *all = ef_test_f32(a, SHAPE(1, 1, 16 * count), weights);
    ef_stats early, late;
    multiply_views(a, all, weights, first);
    ef_actor_stats(a, &early);
    multiply_views(a, all, weights, count);
    ef_actor_stats(a, &late);
    ck_assert_uint_le(late.pool_bytes, early.pool_bytes + 4096);
    ef_test_close(a);
}
END_TEST

/* No rows: nothing to do. No inputs: the epilogue of zero. */
START_TEST(empty_tensors_are_legal)
{
    ef_actor *a = ef_test_open();
    ef_tensor *none = ef_test_f32(a, SHAPE(0, 4, 3), NULL),
              *w = ef_test_f32(a, SHAPE(2, 3, 5), NULL);
    ef_tensor *y = ef_test_f32(a, SHAPE(0, 4, 2), NULL), *dw = ef_test_f32(a, SHAPE(2, 3, 5), NULL);
    const float bias[2] = {1, -2};
    const double want[4] = {1, -2, 1, -2};
    ef_tensor *tbias = ef_test_f32(a, SHAPE(2), bias), *out = ef_test_f32(a, SHAPE(1, 2, 2), NULL);
    ef_test_ok(a, ef_conv1d_forward(a, none, w, 1, NULL, y));
    ef_test_ok(a, ef_conv1d_dw(a, none, y, 1, dw, NULL));
    ef_test_ok(a, ef_conv1d_forward(a, ef_test_f32(a, SHAPE(1, 2, 0), NULL),
                                    ef_test_f32(a, SHAPE(2, 0, 1), NULL), 1,
                                    &(ef_epilogue){.bias = tbias}, out));
    ef_test_near("epilogue of zero", out, want, 0, 0);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("conv1d");
    TCase *values = ef_test_case(s, "values"), *knobs = ef_test_case(s, "knobs"),
          *rules = ef_test_case(s, "rules");
    tcase_set_timeout(knobs, 300); /* a program for each value */
    tcase_add_test(values, all_operations_agree_with_plain_loops);
    tcase_add_test(values, all_taps_and_dilations_agree);
    tcase_add_test(knobs, knobs_change_only_the_speed);
    tcase_add_test(values, im2col_is_the_oracle);
    tcase_add_test(values, later_inputs_do_not_change_earlier_outputs);
    tcase_add_test(values, in_the_normal_class_later_inputs_only_reach_the_rounding);
    tcase_add_test(values, an_inf_stays_in_its_bundle);
    tcase_add_test(values, large_inputs_stay_in_their_receptive_field);
    tcase_add_test(values, toom_cook_errors_follow_the_neighbourhood);
    tcase_add_test(values, toom_cook_where_it_saves_products);
    tcase_add_test(values, knobs_change_nothing_and_are_few);
    tcase_add_test(values, gradients_are_the_slopes_of_the_forward_pass);
    tcase_add_test(values, the_same_input_gives_the_same_bits);
    tcase_add_test(rules, what_does_not_fit_is_refused_by_name);
    tcase_add_test(rules, the_strict_class_refuses_a_loose_variant);
    tcase_add_test(rules, an_output_may_not_overlap_the_input);
    tcase_add_test(rules, any_dilation_is_legal);
    tcase_add_test(rules, weights_at_any_number_of_places_need_no_more_memory);
    tcase_add_test(rules, empty_tensors_are_legal);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
