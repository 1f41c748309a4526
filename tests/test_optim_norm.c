/* The gradient's norm, and the device's decision to skip a step. */
#include "arena.h"
#include "ref.h"
#include <float.h>
#include <math.h>

START_TEST(norm_is_that_of_trainable_chunks)
{
    ef_actor *a = ef_test_open();
    const size_t chunks[] = {1, 3, 35, 300};
    for (size_t i = 0; i < ef_test_size(2, 3, 4); i++) {
        arena s = arena_new(a, chunks[i], 3, (int32_t[]){BOTH, EF__TRAINABLE, EF__DECAY});
        float *g = ef_test_randn(s.n, i), *trained = ef_test_floats(s.n);
        for (size_t k = 0; k < s.n; k++)
            if (s.flags[k / EF__CHUNK] & EF__TRAINABLE)
                trained[k] = g[k];
            else
                g[k] = NAN; /* frozen: not looked at */
        const double want = ref_norm(s.n, trained);
        for (size_t v = 0; arena_variant(a, &v); v++) {
            ef_test_set(s.grad, g);
            arena_norm(&s, 0.5f);
            const double got = arena_metric(&s, EF_METRIC_GRAD_NORM);
            ck_assert_msg(fabs(got - want) <= 1.2e-7 * want, "%.9g, want %.9g", got, want);
            ck_assert(arena_metric(&s, EF_METRIC_LR) == 0.5f &&
                      arena_metric(&s, EF_METRIC_SKIPPED) == 0);
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(norm_keeps_its_digits_over_many_equal_numbers)
{
    ef_actor *a = ef_test_open();
    arena s = arena_new(a, ef_test_size(4, 64, 1024), 1, (int32_t[]){BOTH});
    float *g = ef_test_floats(s.n);
    for (size_t i = 0; i < s.n; i++)
        g[i] = 1.1f;
    const double want = ref_norm(s.n, g);
    for (size_t v = 0; arena_variant(a, &v); v++) {
        ef_test_set(s.grad, g);
        arena_norm(&s, 0);
        const double got = arena_metric(&s, EF_METRIC_GRAD_NORM);
        ck_assert_msg(fabs(got - want) <= 2e-7 * want, "%.9g, want %.9g", got, want);
    }
    ef_test_close(a);
}
END_TEST

/* A step that must be skipped: nothing changes but grad and the counts. */
static void check_skipped(arena *s, const float *g, int in_a_row)
{
    const ef__optim_rule rule = arena_rule();
    const void *p = ef_test_read(s->value), *m = ef_test_read(s->m), *v = ef_test_read(s->v);
    const int32_t *updates = ef_test_read(s->state.updates),
                  *before = ef_test_read(s->state.counts);
    arena_step(s, g, &rule);
    const int32_t *after = ef_test_read(s->state.counts);
    ef_test_same_bits("p", s->value, p);
    ef_test_same_bits("m", s->m, m);
    ef_test_same_bits("v", s->v, v);
    ef_test_same_bits("grad", s->grad, ef_test_floats(s->n));
    ef_test_same_bits("updates", s->state.updates, updates);
    ck_assert_int_eq(after[EF__COUNT_SKIPPED], before[EF__COUNT_SKIPPED] + 1);
    ck_assert_int_eq(after[EF__COUNT_SKIPPED_IN_A_ROW], in_a_row);
    ck_assert_float_eq(arena_metric(s, EF_METRIC_SKIPPED), 1);
    ck_assert_float_eq(arena_metric(s, EF_METRIC_SKIPPED_IN_A_ROW), (float)in_a_row);
    ck_assert_float_eq(arena_metric(s, EF_METRIC_STEPS), (float)updates[0]);
}

static void set_loss(arena *s, float loss)
{
    float *metrics = ef_test_floats(EF_METRICS);
    metrics[EF_METRIC_LOSS] = loss;
    ef_test_set(s->metrics, metrics);
}

START_TEST(what_is_not_finite_skips_the_step_on_the_device)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = arena_rule();
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 19, 1, (int32_t[]){BOTH});
        float *good = ef_test_randn(s.n, 1), *bad = ef_test_randn(s.n, 2);
        arena_step(&s, good, &rule);
        bad[18 * EF__CHUNK + 77] = INFINITY;
        check_skipped(&s, bad, 1);
        bad[18 * EF__CHUNK + 77] = NAN;
        check_skipped(&s, bad, 2);
        bad[18 * EF__CHUNK + 77] = -FLT_MAX; /* its square is not finite */
        check_skipped(&s, bad, 3);
        arena_step(&s, good, &rule);
        ck_assert_float_eq(arena_metric(&s, EF_METRIC_SKIPPED), 0);
        ck_assert_float_eq(arena_metric(&s, EF_METRIC_SKIPPED_IN_A_ROW), 0);
        ck_assert_float_eq(arena_metric(&s, EF_METRIC_STEPS), 2);
        set_loss(&s, NAN);
        check_skipped(&s, good, 1);
        set_loss(&s, -INFINITY);
        check_skipped(&s, good, 2);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_bad_id_skips_the_step_on_the_device)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = arena_rule();
    arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
    ef_tensor *ids = ef_test_i32(a, SHAPE(2), (int32_t[]){1, 70007});
    ef_tensor *w = ef_test_f32(a, SHAPE(4, 3), ef_test_floats(12));
    ef_tensor *y = ef_test_f32(a, SHAPE(2, 3), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_embedding_forward(a, ids, w, NULL, y));
    arena_step(&s, ef_test_randn(s.n, 1), &rule);
    ef_test_refused(a, ef_batch_sync(a, "step"), EF_EARG, "70007");
    ef_test_same_bits("p", s.value, s.p);
    ck_assert_float_eq(arena_metric(&s, EF_METRIC_SKIPPED), 1);
    arena_step(&s, ef_test_randn(s.n, 1), &rule); /* the reset cleared the record */
    ck_assert_float_eq(arena_metric(&s, EF_METRIC_SKIPPED), 0);
    ef_test_close(a);
}
END_TEST

/* ---- the loss scale ---- */

static float scale_of(const arena *s)
{
    return *(float *)ef_test_read(s->state.scale);
}

START_TEST(the_loss_scale_doubles_after_good_steps_and_halves_after_an_overflow)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = arena_rule();
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        const float *good = ef_test_randn(s.n, 1);
        s.state.scale = ef_test_f32(a, SHAPE(1), (float[]){32768});
        for (int i = 1; i < EF__SCALE_GOOD; i++)
            arena_norm(&s, 0);
        ck_assert(scale_of(&s) == 32768);
        arena_norm(&s, 0);
        ck_assert(scale_of(&s) == EF__SCALE_MOST && arena_metric(&s, EF_METRIC_SCALE) == 32768);
        for (int i = 0; i < EF__SCALE_GOOD; i++)
            arena_norm(&s, 0);
        ck_assert(scale_of(&s) == EF__SCALE_MOST);
        for (int i = 1; i <= 20; i++) {
            set_loss(&s, INFINITY);
            check_skipped(&s, good, i);
            ck_assert(scale_of(&s) == (i < 16 ? EF__SCALE_MOST >> i : 1));
        }
        set_loss(&s, 0);
        arena_step(&s, good, &rule);
        ck_assert(scale_of(&s) == 1 && arena_metric(&s, EF_METRIC_SKIPPED) == 0);
    }
    ef_test_close(a);
}
END_TEST

/* Powers of two scale without rounding. */
START_TEST(a_scaled_gradient_gives_the_same_bits)
{
    ef_actor *a = ef_test_open();
    ef__optim_rule rule = arena_rule();
    rule.clip = 1;
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena plain = arena_new(a, 3, 1, (int32_t[]){BOTH}),
              scaled = arena_new(a, 3, 1, plain.flags);
        float *g = ef_test_randn(plain.n, 1), *times = ef_test_floats(plain.n);
        for (size_t i = 0; i < plain.n; i++)
            times[i] = 1024 * g[i];
        scaled.state.scale = ef_test_f32(a, SHAPE(1), (float[]){1024});
        arena_step(&plain, g, &rule);
        arena_step(&scaled, times, &rule);
        ef_test_same_bits("p", scaled.value, ef_test_read(plain.value));
        ef_test_same_bits("v", scaled.v, ef_test_read(plain.v));
        ck_assert(arena_metric(&scaled, EF_METRIC_GRAD_NORM) ==
                  arena_metric(&plain, EF_METRIC_GRAD_NORM));
    }
    ef_test_close(a);
}
END_TEST

/* ---- parts ---- */

/* Chunks of three parts; a trainer of the first two, then one of the last two. */
START_TEST(each_part_has_its_count_of_updates)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = arena_rule();
    const int part = 1 << EF__PART_SHIFT;
    for (size_t v = 0; arena_variant(a, &v); v++) {
        const int32_t flags[] = {BOTH, BOTH + part, BOTH + 2 * part};
        arena s = arena_new(a, 3, 3, flags), alone = arena_new(a, 3, 1, flags);
        const float *g = ef_test_randn(s.n, 1);
        s.state.shared = 1;
        arena_step(&s, g, &rule);
        s.state.own = 2;
        arena_step(&s, g, &rule);
        ck_assert_mem_eq(ef_test_read(s.state.updates), ((int32_t[]){1, 2, 1}), 12);
        ck_assert(arena_metric(&s, EF_METRIC_STEPS) == 1);
        arena_step(&alone, g, &rule);
        arena_step(&alone, g, &rule);
        ck_assert_mem_eq((float *)ef_test_read(s.value) + EF__CHUNK,
                         (float *)ef_test_read(alone.value) + EF__CHUNK, EF__CHUNK * 4);
    }
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("optim_norm");
    TCase *c = ef_test_case(s, "optim_norm");
    tcase_add_test(c, norm_is_that_of_trainable_chunks);
    tcase_add_test(c, the_loss_scale_doubles_after_good_steps_and_halves_after_an_overflow);
    tcase_add_test(c, a_scaled_gradient_gives_the_same_bits);
    tcase_add_test(c, each_part_has_its_count_of_updates);
    tcase_add_test(c, norm_keeps_its_digits_over_many_equal_numbers);
    tcase_add_test(c, what_is_not_finite_skips_the_step_on_the_device);
    tcase_add_test(c, a_bad_id_skips_the_step_on_the_device);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
