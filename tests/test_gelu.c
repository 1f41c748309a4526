/* GELU and its gradient: values, extremes, finite differences, shapes, refusals. */
#include "ef_test.h"
#include "ref.h"
#include <math.h>

static const size_t counts[] = {1, 7, 8, 17, 4096, 4099, 65537};

#define COUNTS ef_test_size(4, 6, sizeof counts / sizeof *counts)

static ef_tensor *vector(ef_actor *a, size_t n, const float *data)
{
    return ef_test_f32(a, SHAPE(n), data);
}

/* n elements, the same for each seed; y may be x. */
static void check_forward(ef_actor *a, size_t n, uint64_t seed)
{
    float *x = ef_test_randn(n, seed);
    double *want = ef_test_doubles(n);
    for (size_t i = 0; i < n; i++)
        want[i] = ref_gelu(x[i] *= 3);
    ef_tensor *y = vector(a, n, NULL);
    if (!ef_test_fits(a, ef_gelu_forward(a, vector(a, n, x), y)))
        return;
    ef_test_near("y", y, want, 1e-6, 1e-6);
    ef_tensor *same = vector(a, n, x);
    ef_test_ok(a, ef_gelu_forward(a, same, same));
    ef_test_near("y = x", same, want, 1e-6, 1e-6);
}

static void check_backward(ef_actor *a, size_t n, uint64_t seed)
{
    float *x = ef_test_randn(n, seed), *dy = ef_test_randn(n, seed + 100);
    double *want = ef_test_doubles(n);
    for (size_t i = 0; i < n; i++)
        want[i] = dy[i] * ref_gelu_grad(x[i] *= 3);
    ef_tensor *tx = vector(a, n, x), *tdy = vector(a, n, dy), *dx = vector(a, n, NULL);
    if (!ef_test_fits(a, ef_gelu_backward(a, tx, tdy, dx)))
        return;
    ef_test_near("dx", dx, want, 2e-6, 1e-6);
    ef_test_ok(a, ef_gelu_backward(a, tx, tdy, tdy));
    ef_test_near("dx = dy", tdy, want, 2e-6, 1e-6);
}

START_TEST(forward_is_the_formula)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__GELU_FORWARD, v); v++)
        for (size_t k = 0; k < COUNTS; k++)
            check_forward(a, counts[k], k);
    ef_test_close(a);
}
END_TEST

START_TEST(backward_is_the_derivative)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__GELU_BACKWARD, v); v++)
        for (size_t k = 0; k < COUNTS; k++)
            check_backward(a, counts[k], k);
    ef_test_close(a);
}
END_TEST

/* Less than a group has, a tail, and more than one group. */
static const size_t tails[] = {5, 1027, 40003};

START_TEST(knobs_change_nothing)
{
    ef_actor *a = ef_test_open();
    for (size_t k = 0; ef_test_knobs(a, EF__GELU_FORWARD, k); k++)
        for (size_t i = 0; i < ef_test_size(2, 3, 3); i++)
            check_forward(a, tails[i], i);
    for (size_t k = 0; ef_test_knobs(a, EF__GELU_BACKWARD, k); k++)
        for (size_t i = 0; i < ef_test_size(2, 3, 3); i++)
            check_backward(a, tails[i], i);
    ef_test_close(a);
}
END_TEST

/* Every float in the range where it bends, in steps of 2^-10, relative to the value. */
START_TEST(the_tail_does_not_cancel)
{
    ef_actor *a = ef_test_open();
    size_t n = ef_test_size(64, 16385, 16385);
    float *x = ef_test_floats(n);
    double *want = ef_test_doubles(n);
    for (size_t i = 0; i < n; i++)
        want[i] = ref_gelu(x[i] = (float)(16.0 * i / (n - 1) - 8));
    ef_tensor *y = vector(a, n, NULL);
    ef_test_ok(a, ef_gelu_forward(a, vector(a, n, x), y));
    ef_test_near("y", y, want, 0, 2e-5);
    ef_test_close(a);
}
END_TEST

START_TEST(extremes_neither_overflow_nor_hide_a_nan)
{
    const float x[] = {1e4f,  -1e4f,  1e38f,   -1e38f, INFINITY, -INFINITY, NAN,     0.0f,
                       -0.0f, 1e-30f, -1e-30f, 30.0f,  -30.0f,   3.4e38f,   -3.4e38f};
    enum { SIZE = sizeof x / sizeof *x, MINUS_INF = 5, IS_NAN = 6 };
    ef_actor *a = ef_test_open();
    float ones[SIZE];
    for (int i = 0; i < SIZE; i++)
        ones[i] = 1;
    for (size_t v = 0; ef_test_variant(a, EF__GELU_FORWARD, v); v++) {
        ef_tensor *y = vector(a, SIZE, NULL);
        if (!ef_test_fits(a, ef_gelu_forward(a, vector(a, SIZE, x), y)))
            continue;
        const float *got = ef_test_read(y);
        for (int i = 0; i < SIZE; i++)
            if (i == MINUS_INF)
                ck_assert_msg(isnan(got[i]) || got[i] == 0, "gelu(-Inf) = %g", got[i]);
            else if (i == IS_NAN)
                ck_assert_msg(isnan(got[i]), "gelu(NaN) = %g", got[i]);
            else
                ck_assert_msg(got[i] == (x[i] > 1    ? x[i]
                                         : x[i] < -1 ? 0
                                                     : x[i] / 2),
                              "gelu(%g) = %g", x[i], got[i]);
    }
    for (size_t v = 0; ef_test_variant(a, EF__GELU_BACKWARD, v); v++) {
        ef_tensor *dx = vector(a, SIZE, NULL);
        if (!ef_test_fits(a, ef_gelu_backward(a, vector(a, SIZE, x), vector(a, SIZE, ones), dx)))
            continue;
        const float *got = ef_test_read(dx);
        for (int i = 0; i < SIZE; i++)
            if (i == IS_NAN)
                ck_assert_msg(isnan(got[i]), "gelu'(NaN) = %g", got[i]);
            else
                ck_assert_msg(fabs(got[i] - (x[i] > 1    ? 1
                                             : x[i] < -1 ? 0
                                                         : 0.5)) < 1e-6,
                              "gelu'(%g) = %g", x[i], got[i]);
    }
    ef_test_close(a);
}
END_TEST

typedef struct problem {
    ef_actor *a;
    size_t n;
    float *x, *weight;
} problem;

static double loss(void *user)
{
    const problem *p = user;
    ef_tensor *y = vector(p->a, p->n, NULL);
    ef_test_ok(p->a, ef_gelu_forward(p->a, vector(p->a, p->n, p->x), y));
    const float *got = ef_test_read(y);
    double sum = 0;
    for (size_t i = 0; i < p->n; i++)
        sum += (double)got[i] * p->weight[i];
    return sum;
}

START_TEST(backward_agrees_with_finite_differences)
{
    ef_actor *a = ef_test_open();
    problem p = {a, 20, ef_test_randn(20, 1), ef_test_randn(20, 2)};
    ef_tensor *dx = vector(a, p.n, NULL);
    ef_test_ok(a, ef_gelu_backward(a, vector(a, p.n, p.x), vector(a, p.n, p.weight), dx));
    ef_test_slopes("dx", loss, &p, p.x, p.n, ef_test_read(dx), 20, 1e-2, 5e-4, 1e-3);
    ef_test_close(a);
}
END_TEST

static ef_tensor *repeat_x, *repeat_y;

static void run_forward(void *user)
{
    ef_test_set(repeat_y, NULL);
    ef_test_ok(user, ef_gelu_forward(user, repeat_x, repeat_y));
}

START_TEST(the_same_input_gives_the_same_bits)
{
    ef_actor *a = ef_test_open();
    repeat_x = vector(a, 5000, ef_test_randn(5000, 3));
    repeat_y = vector(a, 5000, NULL);
    ef_test_repeats("y", run_forward, a, repeat_y);
    ef_test_close(a);
}
END_TEST

START_TEST(wrong_arguments_are_refused_by_name)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = vector(a, 100, NULL), *y = vector(a, 99, NULL), *part = NULL;
    ef_tensor *ids = ef_test_i32(a, SHAPE(100), NULL), *half = ef_test_f16(a, SHAPE(100), NULL);
    size_t n = 84;
    ef_test_refused(a, ef_gelu_forward(a, x, y), EF_ESHAPE, "gelu.forward: y and x disagree");
    ef_test_refused(a, ef_gelu_forward(a, ids, x), EF_EARG, "gelu.forward: ");
    ef_test_refused(a, ef_gelu_forward(a, half, x), EF_EARG, "f16 not supported yet");
    ef_test_refused(a, ef_gelu_forward(a, NULL, x), EF_EARG, "gelu.forward: x is NULL");
    ef_test_refused(a, ef_gelu_backward(a, x, y, x), EF_ESHAPE, "gelu.backward: dy and x disagree");
    ef_test_refused(a, ef_gelu_backward(a, x, x, y), EF_ESHAPE, "gelu.backward: dx and x disagree");
    ef_test_ok(a, ef_tensor_view(x, 16, 1, &n, "part", &part));
    ef_tensor *start = NULL;
    ef_test_ok(a, ef_tensor_view(x, 0, 1, &n, "start", &start));
    ef_test_refused(a, ef_gelu_forward(a, start, part), EF_EARG, "gelu.forward: y overlaps x");
    ef_tensor_free(part);
    ef_tensor_free(start);
    ef_test_close(a);
}
END_TEST

START_TEST(nothing_is_launched_for_nothing)
{
    ef_actor *a = ef_test_open();
    ef_stats before, after;
    ef_tensor *x = ef_test_f32(a, SHAPE(0, 5), NULL), *y = ef_test_f32(a, SHAPE(0, 5), NULL);
    ef_actor_stats(a, &before);
    ef_test_ok(a, ef_gelu_forward(a, x, y));
    ef_test_ok(a, ef_gelu_backward(a, x, y, y));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(before.launches, after.launches);
    ck_assert_uint_eq(before.ops + 2, after.ops);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("gelu");
    TCase *t = ef_test_case(s, "gelu");
    tcase_add_test(t, forward_is_the_formula);
    tcase_add_test(t, backward_is_the_derivative);
    tcase_add_test(t, knobs_change_nothing);
    tcase_add_test(t, the_tail_does_not_cancel);
    tcase_add_test(t, extremes_neither_overflow_nor_hide_a_nan);
    tcase_add_test(t, backward_agrees_with_finite_differences);
    tcase_add_test(t, the_same_input_gives_the_same_bits);
    tcase_add_test(t, wrong_arguments_are_refused_by_name);
    tcase_add_test(t, nothing_is_launched_for_nothing);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
