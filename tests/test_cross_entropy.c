/* Softmax cross-entropy of rows of logits: loss, hits and gradient. */
#include "ef_test.h"
#include "ref.h"
#include <math.h>
#include <string.h>

typedef struct shape {
    size_t N, V;
} shape;

static const shape shapes[] = {{3, 5},  {1, 1}, {4, 17},    {2, 1031}, {16, 64}, {5, 130},
                               {33, 7}, {2, 8}, {3, 30522}, {300, 2},  {40, 129}};

static const char op[] = "cross_entropy.loss";
static const float weight = 0.375f;

static size_t shape_count(void)
{
    return ef_test_size(3, 9, sizeof shapes / sizeof *shapes);
}

/* A fifth of the positions does not count. */
static int32_t *targets(shape s, uint64_t seed)
{
    int32_t *target = ef_test_ints(s.N, seed, 0, (int32_t)s.V);
    for (size_t n = 2; n < s.N; n += 5)
        target[n] = EF_IGNORED;
    return target;
}

static void check_loss(ef_actor *a, shape s, const float *x, const int32_t *target)
{
    const float before[4] = {0.5f, -1, 2, 7};
    double *metrics = ef_test_widen(4, before), *dx = ef_test_doubles(s.N * s.V);
    ref_cross_entropy_loss(s.N, s.V, x, target, weight, dx, metrics);
    ef_tensor *tt = ef_test_i32(a, SHAPE(s.N), target);
    for (size_t v = 0; ef_test_variant(a, EF__CROSS_ENTROPY_LOSS, v); v++) {
        ef_tensor *tx = ef_test_f32(a, SHAPE(s.N, s.V), x);
        ef_tensor *tdx = ef_test_f32(a, SHAPE(s.N, s.V), NULL);
        ef_tensor *m = ef_test_f32(a, SHAPE(4), before), *same = ef_test_f32(a, SHAPE(4), before);
        if (!ef_test_fits(a, ef_cross_entropy_loss(a, tx, tt, weight, NULL, tdx, m)))
            continue;
        ef_test_near("metrics", m, metrics, 1e-6, 1e-6);
        ef_test_near("dlogits", tdx, dx, 1e-7, 2e-6);
        ef_test_ok(a, ef_cross_entropy_loss(a, tx, tt, weight, NULL, NULL, same));
        ef_test_same_bits("metrics without a gradient", same, ef_test_read(m));
        ef_test_ok(a, ef_cross_entropy_loss(a, tx, tt, weight, NULL, tx, m));
        ef_test_same_bits("dlogits in place", tx, ef_test_read(tdx));
    }
}

START_TEST(loss_hits_and_gradient_agree_with_the_reference)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++) {
        const shape s = shapes[i];
        check_loss(a, s, ef_test_randn(s.N * s.V, i), targets(s, i + 1));
    }
    ef_test_close(a);
}
END_TEST

/* exp alone would overflow, or give 0 in every place. */
START_TEST(logits_may_be_huge)
{
    ef_actor *a = ef_test_open();
    const shape s = {4, 37};
    float *x = ef_test_randn(s.N * s.V, 1);
    for (size_t v = 0; v < s.V; v++) {
        x[v] += 1e4f;
        x[s.V + v] -= 1e4f;
        x[2 * s.V + v] *= 1e3f;
        x[3 * s.V + v] = v == 5 ? 0 : -INFINITY;
    }
    check_loss(a, s, x, (int32_t[]){1, 36, EF_IGNORED, 5});
    ef_test_close(a);
}
END_TEST

/* A gradient of 1/(V N) must not become zero: 16 sequences of 128 ids, V 30522. */
START_TEST(small_gradients_are_kept)
{
    ef_actor *a = ef_test_open();
    const size_t V = 30522;
    float *x = ef_test_floats(V);
    double *want = ef_test_doubles(V);
    for (size_t v = 0; v < V; v++)
        want[v] = (1.0 / (double)V - (v == 7)) / 2048;
    ef_tensor *tx = ef_test_f32(a, SHAPE(1, V), x), *dx = ef_test_f32(a, SHAPE(1, V), NULL);
    ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
    for (size_t v = 0; ef_test_variant(a, EF__CROSS_ENTROPY_LOSS, v); v++)
        if (ef_test_fits(a, ef_cross_entropy_loss(a, tx, ef_test_i32(a, SHAPE(1), (int32_t[]){7}),
                                                  1.0f / 2048, NULL, dx, m)))
            ef_test_near("dlogits", dx, want, 0, 1e-6);
    ef_test_close(a);
}
END_TEST

START_TEST(what_is_not_a_number_shows)
{
    ef_actor *a = ef_test_open();
    const uint32_t full = 0x7fffffff; /* NaN as GPUs make it: its low bits are set */
    float bad[] = {NAN, INFINITY};
    memcpy(bad, &full, sizeof *bad);
    for (size_t i = 0; i < 4; i++) {
        float *x = ef_test_randn(3 * 37, 1);
        x[37 + (i % 2 ? 36 : 3)] = bad[i / 2]; /* in a vector, and in what is left of a row */
        ef_tensor *tx = ef_test_f32(a, SHAPE(3, 37), x);
        ef_tensor *t = ef_test_i32(a, SHAPE(3), (int32_t[]){1, 2, 3});
        for (size_t v = 0; ef_test_variant(a, EF__CROSS_ENTROPY_LOSS, v); v++) {
            ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
            ef_tensor *dx = ef_test_f32(a, SHAPE(3, 37), NULL);
            if (!ef_test_fits(a, ef_cross_entropy_loss(a, tx, t, 1, NULL, dx, m)))
                continue;
            ck_assert(!isfinite(((const float *)ef_test_read(m))[0]));
            ck_assert(!isfinite(((const float *)ef_test_read(dx))[37]));
            ck_assert(isfinite(((const float *)ef_test_read(dx))[0]));
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_bad_target_gives_zeros_and_an_error_at_the_sync)
{
    ef_actor *a = ef_test_open();
    const float zeros[4 * 9] = {0};
    ef_tensor *x = ef_test_f32(a, SHAPE(4, 9), ef_test_randn(36, 1));
    ef_tensor *t = ef_test_i32(a, SHAPE(4), (int32_t[]){EF_IGNORED, EF_IGNORED, 9, -7});
    for (size_t v = 0; ef_test_variant(a, EF__CROSS_ENTROPY_LOSS, v); v++) {
        ef_tensor *dx = ef_test_f32(a, SHAPE(4, 9), NULL);
        ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
        ef_test_ok(a, ef_batch_begin(a));
        if (!ef_test_fits(a, ef_cross_entropy_loss(a, x, t, 1, NULL, dx, m)))
            continue;
        ef_status s = ef_batch_sync(a, "bad target");
        ck_assert_msg(strstr(ef_actor_message(a), "target 9 at position 2"), "%s",
                      ef_actor_message(a));
        ef_test_refused(a, s, EF_EARG, op);
        ef_test_same_bits("dlogits", dx, zeros);
        ef_test_same_bits("metrics", m, zeros);
    }
    ef_test_close(a);
}
END_TEST

typedef struct problem {
    shape s;
    float *x;
    int32_t *target;
} problem;

static double value(void *user)
{
    const problem *p = user;
    double metrics[3] = {0};
    ref_cross_entropy_loss(p->s.N, p->s.V, p->x, p->target, weight, NULL, metrics);
    return metrics[0];
}

START_TEST(the_gradient_is_the_slope_of_the_loss)
{
    ef_actor *a = ef_test_open();
    const shape s = {6, 23};
    problem p = {s, ef_test_randn(s.N * s.V, 7), targets(s, 8)};
    ef_tensor *x = ef_test_f32(a, SHAPE(s.N, s.V), p.x),
              *dx = ef_test_f32(a, SHAPE(s.N, s.V), NULL);
    ef_tensor *m = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
    ef_test_ok(
        a, ef_cross_entropy_loss(a, x, ef_test_i32(a, SHAPE(s.N), p.target), weight, NULL, dx, m));
    ef_test_slopes("dlogits", value, &p, p.x, s.N * s.V, ef_test_read(dx), 40, 1e-3, 1e-6, 1e-3);
    ef_test_close(a);
}
END_TEST

typedef struct tensors {
    ef_actor *a;
    ef_tensor *x, *t, *dx, *m;
} tensors;

static void run(void *user)
{
    tensors *k = user;
    ef_test_ok(k->a, ef_tensor_fill(k->m, 0));
    ef_test_ok(k->a, ef_cross_entropy_loss(k->a, k->x, k->t, 1, NULL, k->dx, k->m));
}

START_TEST(the_same_bits_again)
{
    ef_actor *a = ef_test_open();
    const shape s = {50, 777};
    tensors k = {a, ef_test_f32(a, SHAPE(s.N, s.V), ef_test_randn(s.N * s.V, 1)),
                 ef_test_i32(a, SHAPE(s.N), targets(s, 2)), ef_test_f32(a, SHAPE(s.N, s.V), NULL),
                 ef_test_f32(a, SHAPE(3), ef_test_floats(3))};
    for (size_t v = 0; ef_test_variant(a, EF__CROSS_ENTROPY_LOSS, v); v++)
        if (ef_test_fits(a, ef_cross_entropy_loss(a, k.x, k.t, 1, NULL, k.dx, k.m))) {
            ef_test_repeats("metrics", run, &k, k.m);
            ef_test_repeats("dlogits", run, &k, k.dx);
        }
    ef_test_close(a);
}
END_TEST

START_TEST(shapes_that_disagree_are_refused)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(2, 5), NULL), *turned = ef_test_f32(a, SHAPE(5, 2), NULL);
    ef_tensor *flat = ef_test_f32(a, SHAPE(10), NULL), *m = ef_test_f32(a, SHAPE(3), NULL);
    ef_tensor *two = ef_test_f32(a, SHAPE(2), NULL), *t = ef_test_i32(a, SHAPE(2), NULL);
    ef_tensor *three = ef_test_i32(a, SHAPE(3), NULL);
    ef_test_refused(a, ef_cross_entropy_loss(a, flat, t, 1, NULL, NULL, m), EF_EARG, op);
    ef_test_refused(a, ef_cross_entropy_loss(a, x, three, 1, NULL, NULL, m), EF_ESHAPE, op);
    ef_test_refused(a, ef_cross_entropy_loss(a, x, two, 1, NULL, NULL, m), EF_EARG, op);
    ef_test_refused(a, ef_cross_entropy_loss(a, x, t, 1, NULL, turned, m), EF_ESHAPE, op);
    ef_test_refused(a, ef_cross_entropy_loss(a, x, t, 1, NULL, NULL, two), EF_ESHAPE, op);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("cross-entropy");
    TCase *c = ef_test_case(s, "cross-entropy");
    tcase_add_test(c, loss_hits_and_gradient_agree_with_the_reference);
    tcase_add_test(c, logits_may_be_huge);
    tcase_add_test(c, small_gradients_are_kept);
    tcase_add_test(c, what_is_not_a_number_shows);
    tcase_add_test(c, a_bad_target_gives_zeros_and_an_error_at_the_sync);
    tcase_add_test(c, the_gradient_is_the_slope_of_the_loss);
    tcase_add_test(c, the_same_bits_again);
    tcase_add_test(c, shapes_that_disagree_are_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
