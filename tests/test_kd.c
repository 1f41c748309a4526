/* What stands between the last block and the loss: masked mean and distillation loss. */
#include "ef_test.h"
#include "ref.h"
#include <math.h>
#include <string.h>

/* ---- masked mean ---- */

typedef struct shape {
    size_t B, L, D;
} shape;

static const shape shapes[] = {{2, 5, 7},   {1, 1, 1},   {3, 7, 17},   {2, 0, 6},     {1, 33, 16},
                               {5, 64, 67}, {40, 3, 65}, {2, 1031, 5}, {16, 128, 256}};

static size_t shape_count(void)
{
    return ef_test_size(4, 7, sizeof shapes / sizeof *shapes);
}

/* About two thirds kept, sample 0 all masked if there are more, and NaN in every masked step. */
static float *masked_input(shape s, uint8_t **mask, uint64_t seed)
{
    float *x = ef_test_randn(s.B * s.L * s.D, seed);
    *mask = ef_test_mask(s.B * s.L, seed, 0.66);
    if (s.B > 1)
        memset(*mask, 0, s.L);
    for (size_t i = 0; i < s.B * s.L * s.D; i++)
        if (!(*mask)[i / s.D])
            x[i] = NAN;
        else if (i % 3 == 0)
            (*mask)[i / s.D] = (uint8_t)(1 + i % 255); /* anything but 0 is kept */
    return x;
}

/* Forces the n-th of an operation's variants, or of the values of their knobs. */
typedef bool force_nth(ef_actor *a, ef__op_id id, size_t n);

static void check_mean(ef_actor *a, shape s, uint64_t seed, force_nth *force)
{
    uint8_t *mask;
    const float *x = masked_input(s, &mask, seed);
    double *want = ef_test_doubles(s.B * s.D), *kept = ef_test_doubles(s.B);
    ref_masked_mean_forward(s.B, s.L, s.D, x, mask, want, kept);
    ef_tensor *tx = ef_test_f32(a, SHAPE(s.B, s.L, s.D), x);
    ef_tensor *tmask = ef_test_u8(a, SHAPE(s.B, s.L), mask);
    for (size_t n = 0; force(a, EF__MASKED_MEAN_FORWARD, n); n++) {
        ef_tensor *y = ef_test_f32(a, SHAPE(s.B, s.D), NULL);
        ef_tensor *count = ef_test_f32(a, SHAPE(s.B), NULL);
        if (!ef_test_fits(a, ef_masked_mean_forward(a, tx, tmask, y, count)))
            continue;
        ef_test_near("y", y, want, 5e-7, 1e-6);
        ef_test_near("count", count, kept, 0, 0);
    }
}

static void check_mean_backward(ef_actor *a, shape s, uint64_t seed, force_nth *force)
{
    uint8_t *mask;
    const float *x = masked_input(s, &mask, seed), *dy = ef_test_randn(s.B * s.D, seed + 1);
    double *want = ef_test_doubles(s.B * s.L * s.D);
    ref_masked_mean_backward(s.B, s.L, s.D, dy, mask, want);
    ef_tensor *tx = ef_test_f32(a, SHAPE(s.B, s.L, s.D), x);
    ef_tensor *tmask = ef_test_u8(a, SHAPE(s.B, s.L), mask);
    ef_tensor *y = ef_test_f32(a, SHAPE(s.B, s.D), NULL);
    ef_tensor *tdy = ef_test_f32(a, SHAPE(s.B, s.D), dy);
    ef_tensor *count = ef_test_f32(a, SHAPE(s.B), NULL);
    ef_test_ok(a, ef_masked_mean_forward(a, tx, tmask, y, count));
    for (size_t n = 0; force(a, EF__MASKED_MEAN_BACKWARD, n); n++) {
        ef_tensor *dx = ef_test_f32(a, SHAPE(s.B, s.L, s.D), NULL);
        if (ef_test_fits(a, ef_masked_mean_backward(a, tdy, tmask, count, dx)))
            ef_test_near("dx", dx, want, 0, 1e-6);
    }
}

START_TEST(masked_mean_is_the_mean_of_kept_steps)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++)
        check_mean(a, shapes[i], i, ef_test_variant);
    ef_test_close(a);
}
END_TEST

START_TEST(masked_mean_backward_spreads_over_kept_steps)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++)
        check_mean_backward(a, shapes[i], i, ef_test_variant);
    ef_test_close(a);
}
END_TEST

typedef struct mean_problem {
    ef_actor *a;
    shape s;
    float *x, *weight; /* weight: of each output in the loss */
    uint8_t *mask;
} mean_problem;

static double mean_value(void *user)
{
    const mean_problem *p = user;
    ef_tensor *y = ef_test_f32(p->a, SHAPE(p->s.B, p->s.D), NULL);
    ef_test_ok(p->a,
               ef_masked_mean_forward(p->a, ef_test_f32(p->a, SHAPE(p->s.B, p->s.L, p->s.D), p->x),
                                      ef_test_u8(p->a, SHAPE(p->s.B, p->s.L), p->mask), y,
                                      ef_test_f32(p->a, SHAPE(p->s.B), NULL)));
    const float *got = ef_test_read(y);
    double sum = 0;
    for (size_t i = 0; i < p->s.B * p->s.D; i++)
        sum += (double)got[i] * p->weight[i];
    return sum;
}

START_TEST(masked_mean_backward_is_the_slope_of_the_forward_pass)
{
    const shape s = {3, 5, 7};
    ef_actor *a = ef_test_open();
    mean_problem p = {a, s, ef_test_randn(3 * 5 * 7, 1), ef_test_randn(3 * 7, 2),
                      ef_test_mask(3 * 5, 3, 0.6)};
    ef_tensor *mask = ef_test_u8(a, SHAPE(3, 5), p.mask), *count = ef_test_f32(a, SHAPE(3), NULL);
    ef_tensor *x = ef_test_f32(a, SHAPE(3, 5, 7), p.x), *dx = ef_test_f32(a, SHAPE(3, 5, 7), NULL);
    ef_test_ok(a, ef_masked_mean_forward(a, x, mask, ef_test_f32(a, SHAPE(3, 7), NULL), count));
    ef_test_ok(a,
               ef_masked_mean_backward(a, ef_test_f32(a, SHAPE(3, 7), p.weight), mask, count, dx));
    ef_test_slopes("dx", mean_value, &p, p.x, 3 * 5 * 7, ef_test_read(dx), 105, 0.125, 1e-5, 1e-5);
    ef_test_close(a);
}
END_TEST

static void check_sum(ef_actor *a, shape s, uint64_t seed, force_nth *force)
{
    uint8_t *mask;
    const float *x = masked_input(s, &mask, seed);
    double *want = ef_test_doubles(s.B * s.D), *mag = ef_test_doubles(s.B * s.D);
    float *size = ef_test_floats(s.B * s.L * s.D);
    for (size_t i = 0; i < s.B * s.L * s.D; i++)
        size[i] = fabsf(x[i]);
    ref_masked_sum(s.B, s.L, s.D, x, mask, want);
    ref_masked_sum(s.B, s.L, s.D, size, mask, mag);
    ef_tensor *tx = ef_test_f32(a, SHAPE(s.B, s.L, s.D), x);
    ef_tensor *tmask = ef_test_u8(a, SHAPE(s.B, s.L), mask);
    for (size_t n = 0; force(a, EF__MASKED_SUM, n); n++) {
        ef_tensor *y = ef_test_f32(a, SHAPE(s.B, s.D), NULL);
        if (ef_test_fits(a, ef_masked_sum(a, tx, tmask, y)))
            ef_test_within("y", y, want, mag, 8); /* 5e-7 */
    }
}

START_TEST(masked_sum_is_the_sum_of_kept_steps)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++)
        check_sum(a, shapes[i], i, ef_test_variant);
    check_sum(a, (shape){2, 70, 300}, 1, ef_test_knobs);
    ef_test_close(a);
}
END_TEST

/* Fewer steps than items share a column, and more columns than a group has. */
START_TEST(masked_mean_is_the_same_whatever_the_knobs)
{
    static const shape some[] = {{3, 5, 41}, {2, 70, 300}};
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(1, 2, 2); i++) {
        check_mean(a, some[i], i, ef_test_knobs);
        check_mean_backward(a, some[i], i, ef_test_knobs);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(masked_mean_refuses_shapes_that_disagree)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(2, 3, 4), NULL), *y = ef_test_f32(a, SHAPE(2, 4), NULL);
    ef_tensor *mask = ef_test_u8(a, SHAPE(2, 3), NULL),
              *short_mask = ef_test_u8(a, SHAPE(2, 2), NULL);
    ef_tensor *count = ef_test_f32(a, SHAPE(2), NULL), *wide = ef_test_f32(a, SHAPE(2, 5), NULL);
    const char *forward = "masked_mean.forward", *backward = "masked_mean.backward";
    ef_test_refused(a, ef_masked_mean_forward(a, x, short_mask, y, count), EF_ESHAPE, forward);
    ef_test_refused(a, ef_masked_mean_forward(a, x, mask, wide, count), EF_ESHAPE, forward);
    ef_test_refused(a, ef_masked_mean_forward(a, x, mask, y, y), EF_ESHAPE, forward);
    ef_test_refused(a, ef_masked_mean_forward(a, y, mask, y, count), EF_EARG, forward);
    ef_test_refused(a, ef_masked_mean_forward(a, x, x, y, count), EF_EARG, forward);
    ef_test_refused(a, ef_masked_mean_backward(a, wide, mask, count, x), EF_ESHAPE, backward);
    ef_test_close(a);
}
END_TEST

/* ---- distillation loss ---- */

static const size_t rows_columns[][2] = {{2, 5},   {1, 1},   {3, 17},   {16, 384},
                                         {1, 131}, {300, 7}, {7, 4099}, {64, 768}};

static size_t kd_count(void)
{
    return ef_test_size(3, 6, sizeof rows_columns / sizeof *rows_columns);
}

static const float alpha = 0.75f, beta = 1.25f, weight = 0.375f;

static void check_kd(ef_actor *a, size_t B, size_t E, const float *y, const float *t, double bound)
{
    const float before[4] = {0.5f, -1, 2, 7};
    double *metrics = ef_test_widen(4, before), *dy = ef_test_doubles(B * E);
    ref_kd_loss(B, E, y, t, alpha, beta, weight, metrics, dy);
    ef_tensor *ty = ef_test_f32(a, SHAPE(B, E), y), *tt = ef_test_f32(a, SHAPE(B, E), t);
    for (size_t v = 0; ef_test_variant(a, EF__KD_LOSS, v); v++) {
        ef_tensor *m = ef_test_f32(a, SHAPE(4), before), *tdy = ef_test_f32(a, SHAPE(B, E), NULL);
        if (!ef_test_fits(a, ef_kd_loss(a, ty, tt, alpha, beta, weight, NULL, m, tdy)))
            continue;
        ef_test_near("metrics", m, metrics, 1e-6, 1e-6);
        ef_test_norm("dy", tdy, dy, bound);
    }
}

START_TEST(kd_loss_gives_metrics_and_gradient)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < kd_count(); i++) {
        const size_t B = rows_columns[i][0], E = rows_columns[i][1];
        check_kd(a, B, E, ef_test_randn(B * E, i), ef_test_randn(B * E, i + 100), 1e-6);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(kd_loss_stays_finite_where_a_norm_vanishes)
{
    ef_actor *a = ef_test_open();
    const size_t E = 19;
    float *y = ef_test_randn(4 * E, 1), *t = ef_test_randn(4 * E, 2);
    for (size_t e = 0; e < E; e++) {
        y[e] = 0;          /* a zero vector */
        y[E + e] *= 1e-8f; /* shorter than 1e-6 */
        t[2 * E + e] = 0;
    }
    check_kd(a, 4, E, y, t, 1e-6);
    ef_test_close(a);
}
END_TEST

START_TEST(kd_loss_gives_only_what_is_wanted)
{
    ef_actor *a = ef_test_open();
    const size_t B = 5, E = 33;
    const float *y = ef_test_randn(B * E, 1), *t = ef_test_randn(B * E, 2);
    double *metrics = ef_test_doubles(3), *dy = ef_test_doubles(B * E);
    ref_kd_loss(B, E, y, t, alpha, beta, weight, metrics, dy);
    ef_tensor *ty = ef_test_f32(a, SHAPE(B, E), y), *tt = ef_test_f32(a, SHAPE(B, E), t);
    for (size_t v = 0; ef_test_variant(a, EF__KD_LOSS, v); v++) {
        ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
        ef_tensor *tdy = ef_test_f32(a, SHAPE(B, E), NULL);
        if (!ef_test_fits(a, ef_kd_loss(a, ty, tt, alpha, beta, weight, NULL, m, NULL)))
            continue;
        ef_test_ok(a, ef_kd_loss(a, ty, tt, alpha, beta, weight, NULL, NULL, tdy));
        ef_test_ok(a, ef_kd_loss(a, ty, tt, alpha, beta, weight, NULL, NULL, NULL));
        ef_test_near("metrics", m, metrics, 1e-6, 1e-6);
        ef_test_norm("dy", tdy, dy, 1e-6);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(kd_loss_shows_what_is_not_a_number)
{
    ef_actor *a = ef_test_open();
    float *y = ef_test_randn(3 * 20, 1), *t = ef_test_randn(3 * 20, 2);
    t[25] = NAN;
    ef_tensor *ty = ef_test_f32(a, SHAPE(3, 20), y), *tt = ef_test_f32(a, SHAPE(3, 20), t);
    for (size_t v = 0; ef_test_variant(a, EF__KD_LOSS, v); v++) {
        ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
        if (!ef_test_fits(a, ef_kd_loss(a, ty, tt, 1, 1, 1, NULL, m, NULL)))
            continue;
        const float *got = ef_test_read(m);
        ck_assert(isnan(got[0]) && isnan(got[1]) && isnan(got[2]));
    }
    ef_test_close(a);
}
END_TEST

typedef struct kd_problem {
    size_t B, E;
    float *y, *t;
} kd_problem;

static double kd_value(void *user)
{
    const kd_problem *k = user;
    double metrics[3] = {0};
    ref_kd_loss(k->B, k->E, k->y, k->t, alpha, beta, weight, metrics, NULL);
    return metrics[0];
}

START_TEST(kd_gradient_is_the_slope_of_the_loss)
{
    ef_actor *a = ef_test_open();
    kd_problem k = {4, 23, ef_test_randn(4 * 23, 7), ef_test_randn(4 * 23, 8)};
    ef_tensor *y = ef_test_f32(a, SHAPE(k.B, k.E), k.y), *t = ef_test_f32(a, SHAPE(k.B, k.E), k.t);
    ef_tensor *dy = ef_test_f32(a, SHAPE(k.B, k.E), NULL);
    ef_test_ok(a, ef_kd_loss(a, y, t, alpha, beta, weight, NULL, NULL, dy));
    ef_test_slopes("dy", kd_value, &k, k.y, k.B * k.E, ef_test_read(dy), 40, 1e-3, 1e-6, 1e-3);
    ef_test_close(a);
}
END_TEST

typedef struct kd_tensors {
    ef_actor *a;
    ef_tensor *y, *t, *metrics;
} kd_tensors;

static void run_kd(void *user)
{
    kd_tensors *k = user;
    ef_test_ok(k->a, ef_tensor_fill(k->metrics, 0));
    ef_test_ok(k->a, ef_kd_loss(k->a, k->y, k->t, 1, 1, 1, NULL, k->metrics, NULL));
}

START_TEST(kd_loss_gives_the_same_bits_again)
{
    ef_actor *a = ef_test_open();
    kd_tensors k = {a, ef_test_f32(a, SHAPE(50, 77), ef_test_randn(50 * 77, 1)),
                    ef_test_f32(a, SHAPE(50, 77), ef_test_randn(50 * 77, 2)),
                    ef_test_f32(a, SHAPE(3), NULL)};
    for (size_t v = 0; ef_test_variant(a, EF__KD_LOSS, v); v++)
        if (ef_test_fits(a, ef_kd_loss(a, k.y, k.t, 1, 1, 1, NULL, k.metrics, NULL)))
            ef_test_repeats("metrics", run_kd, &k, k.metrics);
    ef_test_close(a);
}
END_TEST

START_TEST(kd_loss_takes_two_launches)
{
    ef_actor *a = ef_test_open();
    ef_stats before, after;
    ef_tensor *y = ef_test_f32(a, SHAPE(4, 6), ef_test_randn(24, 1));
    ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3)),
              *dy = ef_test_f32(a, SHAPE(4, 6), NULL);
    ef_actor_stats(a, &before);
    ef_test_ok(a, ef_kd_loss(a, y, y, 1, 1, 1, NULL, m, dy));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.launches - before.launches, 2);
    ef_test_close(a);
}
END_TEST

START_TEST(kd_loss_refuses_shapes_that_disagree)
{
    ef_actor *a = ef_test_open();
    ef_tensor *y = ef_test_f32(a, SHAPE(2, 5), NULL), *t = ef_test_f32(a, SHAPE(5, 2), NULL);
    ef_tensor *flat = ef_test_f32(a, SHAPE(10), NULL), *two = ef_test_f32(a, SHAPE(2), NULL);
    ef_test_refused(a, ef_kd_loss(a, y, t, 1, 1, 1, NULL, NULL, NULL), EF_ESHAPE, "kd.loss");
    ef_test_refused(a, ef_kd_loss(a, flat, flat, 1, 1, 1, NULL, NULL, NULL), EF_EARG, "kd.loss");
    ef_test_refused(a, ef_kd_loss(a, y, y, 1, 1, 1, NULL, two, NULL), EF_ESHAPE, "kd.loss");
    ef_test_refused(a, ef_kd_loss(a, y, y, 1, 1, 1, NULL, NULL, t), EF_ESHAPE, "kd.loss");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("kd");
    TCase *c = ef_test_case(s, "masked mean");
    tcase_add_test(c, masked_mean_is_the_mean_of_kept_steps);
    tcase_add_test(c, masked_mean_backward_spreads_over_kept_steps);
    tcase_add_test(c, masked_mean_backward_is_the_slope_of_the_forward_pass);
    tcase_add_test(c, masked_sum_is_the_sum_of_kept_steps);
    tcase_add_test(c, masked_mean_is_the_same_whatever_the_knobs);
    tcase_add_test(c, masked_mean_refuses_shapes_that_disagree);
    c = ef_test_case(s, "distillation loss");
    tcase_add_test(c, kd_loss_gives_metrics_and_gradient);
    tcase_add_test(c, kd_loss_stays_finite_where_a_norm_vanishes);
    tcase_add_test(c, kd_loss_gives_only_what_is_wanted);
    tcase_add_test(c, kd_loss_shows_what_is_not_a_number);
    tcase_add_test(c, kd_gradient_is_the_slope_of_the_loss);
    tcase_add_test(c, kd_loss_gives_the_same_bits_again);
    tcase_add_test(c, kd_loss_takes_two_launches);
    tcase_add_test(c, kd_loss_refuses_shapes_that_disagree);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
