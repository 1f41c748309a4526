/* Gradient norm, the device's decision to skip, AdamW. */
#include "ef_test.h"
#include "op/optim.h"
#include "ref.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { BOTH = EF__DECAY | EF__TRAINABLE };

/* An arena on the host and on the device. */
typedef struct arena {
    ef_actor *a;
    size_t chunks, n;
    int32_t *flags;
    float *p;
    ef_tensor *value, *grad, *m, *v, *table, *counts, *metrics;
} arena;

static ef_tensor *flat(ef_actor *a, size_t n, const float *data)
{
    return ef_test_f32(a, SHAPE(n), data ? data : ef_test_floats(n));
}

/* Chunk i has flags[i mod count]. */
static arena arena_new(ef_actor *a, size_t chunks, size_t count, const int32_t *flags)
{
    arena s = {.a = a, .chunks = chunks, .n = chunks * EF__CHUNK};
    s.flags = ef_test_alloc(chunks * sizeof *flags);
    for (size_t i = 0; i < chunks; i++)
        s.flags[i] = flags[i % count];
    s.p = ef_test_randn(s.n, 99);
    s.value = flat(a, s.n, s.p);
    s.grad = flat(a, s.n, NULL);
    s.m = flat(a, s.n, NULL);
    s.v = flat(a, s.n, NULL);
    s.table = ef_test_i32(a, SHAPE(chunks), s.flags);
    s.counts = ef_test_i32(a, SHAPE(EF__COUNTS), ef_test_alloc(EF__COUNTS * 4));
    s.metrics = flat(a, EF_METRICS, NULL);
    return s;
}

static void norm(arena *s, float lr)
{
    ef_test_ok(s->a, ef__optim_norm(s->a, s->grad, s->table, lr, s->metrics, s->counts));
}

static void update(arena *s, const ef__optim_rule *rule)
{
    ef_test_ok(s->a, ef__optim_update(s->a, s->value, s->grad, s->m, s->v, s->table, s->counts,
                                      s->metrics, rule));
}

static void step(arena *s, const float *g, const ef__optim_rule *rule)
{
    ef_test_set(s->grad, g);
    norm(s, rule->lr);
    update(s, rule);
}

static float metric(const arena *s, int which)
{
    return ((const float *)ef_test_read(s->metrics))[which];
}

/* for (size_t v = 0; variant(a, &v); v++): all variants of both operations that fit the device, the
 * norm's v-th with the update's v-th. */
static bool variant(ef_actor *a, size_t *v)
{
    const ef__variant *list = ef__op_row(EF__OPTIM_NORM)->variants;
    while (list[*v].name && !list[*v].fits(ef__device_of(a), NULL))
        ++*v;
    const bool more = ef_test_variant(a, EF__OPTIM_NORM, *v);
    return ef_test_variant(a, EF__OPTIM_UPDATE, *v) && more;
}

static ef__optim_rule plain_rule(void)
{
    return (ef__optim_rule){
        .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.05f};
}

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
        for (size_t v = 0; variant(a, &v); v++) {
            ef_test_set(s.grad, g);
            norm(&s, 0.5f);
            const double got = metric(&s, EF_METRIC_GRAD_NORM);
            ck_assert_msg(fabs(got - want) <= 1.2e-7 * want, "%.9g, want %.9g", got, want);
            ck_assert(metric(&s, EF_METRIC_LR) == 0.5f && metric(&s, EF_METRIC_SKIPPED) == 0);
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
    for (size_t v = 0; variant(a, &v); v++) {
        ef_test_set(s.grad, g);
        norm(&s, 0);
        const double got = metric(&s, EF_METRIC_GRAD_NORM);
        ck_assert_msg(fabs(got - want) <= 2e-7 * want, "%.9g, want %.9g", got, want);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_gradient_of_3_4_is_clipped_to_norm_1)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        float *g = ef_test_floats(s.n);
        ef__optim_rule rule = plain_rule();
        rule.clip = 1;
        g[0] = 3;
        g[1] = 4;
        step(&s, g, &rule);
        ck_assert_float_eq(metric(&s, EF_METRIC_GRAD_NORM), 5);
        const float *m = ef_test_read(s.m); /* 0.1 of the gradient */
        ck_assert_float_eq_tol(m[0], 0.06f, 1e-7f);
        ck_assert_float_eq_tol(m[1], 0.08f, 1e-7f);
    }
    ef_test_close(a);
}
END_TEST

/* What the arena should hold after steps, in doubles. */
typedef struct state {
    double *p, *m, *v;
} state;

static void reference_step(const arena *s, const float *g, const ef__optim_rule *r, uint64_t number,
                           state want)
{
    float *trained = ef_test_floats(s->n);
    for (size_t i = 0; i < s->n; i++)
        trained[i] = s->flags[i / EF__CHUNK] & EF__TRAINABLE ? g[i] : 0;
    ref_adam o = {r->lr,           r->beta1,
                  r->beta2,        r->epsilon,
                  r->weight_decay, ref_clip_scale(ref_norm(s->n, trained), r->clip),
                  number,          r->l2};
    for (size_t c = 0; c < s->chunks; c++) {
        const size_t i = c * EF__CHUNK;
        if (s->flags[c] & EF__TRAINABLE)
            ref_adam_step(&o, r->l2 || s->flags[c] & EF__DECAY, EF__CHUNK, g + i, want.p + i,
                          want.m + i, want.v + i);
    }
}

/* Twenty steps whose gradients are zero in every other chunk, and now and then everywhere. */
static void check_steps(ef_actor *a, const ef__optim_rule *rule)
{
    arena s = arena_new(a, ef_test_size(5, 5, 37), 5,
                        (int32_t[]){BOTH, EF__TRAINABLE, BOTH, EF__TRAINABLE, EF__DECAY});
    state want = {ef_test_widen(s.n, s.p), ef_test_doubles(s.n), ef_test_doubles(s.n)};
    const uint64_t steps = ef_test_size(3, 20, 20);
    for (uint64_t t = 1; t <= steps; t++) {
        float *g = ef_test_randn(s.n, t);
        for (size_t i = 0; i < s.n; i++)
            if (t % 7 == 0 || (i / EF__CHUNK % 2 && t < 8))
                g[i] = 0;
        step(&s, g, rule);
        reference_step(&s, g, rule, t, want);
    }
    ef_test_near("p", s.value, want.p, 3e-7, 1e-6);
    ef_test_near("m", s.m, want.m, 1e-7, 1e-6);
    ef_test_near("v", s.v, want.v, 1e-9, 2e-6);
    ef_test_same_bits("grad", s.grad, ef_test_floats(s.n));
    ck_assert_float_eq(metric(&s, EF_METRIC_STEPS), (float)steps);
}

START_TEST(adamw_decays_only_chunks_that_say_so)
{
    ef_actor *a = ef_test_open();
    ef__optim_rule rule = plain_rule();
    for (size_t v = 0; variant(a, &v); v++) {
        rule.clip = 0;
        check_steps(a, &rule);
        rule.clip = 1;
        check_steps(a, &rule);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(adam_l2_adds_decay_to_every_gradient)
{
    ef_actor *a = ef_test_open();
    ef__optim_rule rule = plain_rule();
    rule.l2 = true;
    for (size_t v = 0; variant(a, &v); v++)
        check_steps(a, &rule);
    ef_test_close(a);
}
END_TEST

/* torch 2.x: AdamW([p], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1), p float32,
 * gradients g[t]; torch_p[t] is p after step t. */
static const float torch_g[3][4] = {
    {0.1f, -2, 0, 1e-4f}, {0.3f, 1, 0, -1e-4f}, {-0.2f, 0.5f, 0, 3}};
static const float torch_first[4] = {1, -2, 0.5f, 0.25f};
static const float torch_p[3][4] = {{0.989000022f, -1.98800004f, 0.499500006f, 0.239751011f},
                                    {0.978833258f, -1.98334873f, 0.49900052f, 0.240037531f},
                                    {0.975275397f, -1.98075151f, 0.498501539f, 0.23340939f}};

START_TEST(adamw_equals_torch)
{
    ef_actor *a = ef_test_open();
    ef__optim_rule rule = plain_rule();
    rule.weight_decay = 0.1f;
    for (size_t v = 0; variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        memcpy(s.p, torch_first, sizeof torch_first);
        ef_test_set(s.value, s.p);
        for (int t = 0; t < 3; t++) {
            float *g = ef_test_floats(s.n);
            memcpy(g, torch_g[t], sizeof torch_g[t]);
            step(&s, g, &rule);
            const float *p = ef_test_read(s.value);
            for (int i = 0; i < 4; i++)
                ck_assert_float_eq_tol(p[i], torch_p[t][i], 1e-6f * fabsf(torch_p[t][i]));
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_parameter_without_gradient_only_decays)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = plain_rule();
    for (size_t v = 0; variant(a, &v); v++) {
        arena s = arena_new(a, 2, 2, (int32_t[]){BOTH, EF__TRAINABLE});
        float *want = ef_test_floats(s.n);
        const float decay = (float)(1 - (double)rule.lr * rule.weight_decay);
        for (size_t i = 0; i < s.n; i++)
            want[i] = i < EF__CHUNK ? s.p[i] * decay : s.p[i];
        step(&s, ef_test_floats(s.n), &rule);
        ef_test_same_bits("p", s.value, want);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(frozen_chunks_keep_their_bits_and_lose_their_gradient)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = plain_rule();
    for (size_t v = 0; variant(a, &v); v++) {
        arena s = arena_new(a, 18, 1, (int32_t[]){EF__DECAY});
        const float *moments = ef_test_randn(s.n, 5);
        ef_test_set(s.m, moments);
        ef_test_set(s.v, moments);
        step(&s, ef_test_randn(s.n, 6), &rule);
        ef_test_same_bits("p", s.value, s.p);
        ef_test_same_bits("m", s.m, moments);
        ef_test_same_bits("v", s.v, moments);
        ef_test_same_bits("grad", s.grad, ef_test_floats(s.n));
        ck_assert_float_eq(metric(&s, EF_METRIC_STEPS), 1);
    }
    ef_test_close(a);
}
END_TEST

/* A step that must be skipped: nothing changes but grad and the counts. */
static void check_skipped(arena *s, const float *g, int in_a_row)
{
    const ef__optim_rule rule = plain_rule();
    const void *p = ef_test_read(s->value), *m = ef_test_read(s->m), *v = ef_test_read(s->v);
    const int32_t *before = ef_test_read(s->counts);
    step(s, g, &rule);
    const int32_t *after = ef_test_read(s->counts);
    ef_test_same_bits("p", s->value, p);
    ef_test_same_bits("m", s->m, m);
    ef_test_same_bits("v", s->v, v);
    ef_test_same_bits("grad", s->grad, ef_test_floats(s->n));
    ck_assert_int_eq(after[EF__COUNT_STEPS], before[EF__COUNT_STEPS]);
    ck_assert_int_eq(after[EF__COUNT_SKIPPED], before[EF__COUNT_SKIPPED] + 1);
    ck_assert_int_eq(after[EF__COUNT_SKIPPED_IN_A_ROW], in_a_row);
    ck_assert_float_eq(metric(s, EF_METRIC_SKIPPED), 1);
    ck_assert_float_eq(metric(s, EF_METRIC_SKIPPED_IN_A_ROW), (float)in_a_row);
    ck_assert_float_eq(metric(s, EF_METRIC_STEPS), (float)before[EF__COUNT_STEPS]);
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
    const ef__optim_rule rule = plain_rule();
    for (size_t v = 0; variant(a, &v); v++) {
        arena s = arena_new(a, 19, 1, (int32_t[]){BOTH});
        float *good = ef_test_randn(s.n, 1), *bad = ef_test_randn(s.n, 2);
        step(&s, good, &rule);
        bad[18 * EF__CHUNK + 77] = INFINITY;
        check_skipped(&s, bad, 1);
        bad[18 * EF__CHUNK + 77] = NAN;
        check_skipped(&s, bad, 2);
        bad[18 * EF__CHUNK + 77] = -FLT_MAX; /* its square is not finite */
        check_skipped(&s, bad, 3);
        step(&s, good, &rule);
        ck_assert_float_eq(metric(&s, EF_METRIC_SKIPPED), 0);
        ck_assert_float_eq(metric(&s, EF_METRIC_SKIPPED_IN_A_ROW), 0);
        ck_assert_float_eq(metric(&s, EF_METRIC_STEPS), 2);
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
    const ef__optim_rule rule = plain_rule();
    arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
    ef_tensor *ids = ef_test_i32(a, SHAPE(2), (int32_t[]){1, 70007});
    ef_tensor *w = ef_test_f32(a, SHAPE(4, 3), ef_test_floats(12));
    ef_tensor *y = ef_test_f32(a, SHAPE(2, 3), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_embedding_forward(a, ids, w, y));
    step(&s, ef_test_randn(s.n, 1), &rule);
    ef_test_refused(a, ef_batch_sync(a, "step"), EF_EARG, "70007");
    ef_test_same_bits("p", s.value, s.p);
    ck_assert_float_eq(metric(&s, EF_METRIC_SKIPPED), 1);
    step(&s, ef_test_randn(s.n, 1), &rule); /* the reset cleared the record */
    ck_assert_float_eq(metric(&s, EF_METRIC_SKIPPED), 0);
    ef_test_close(a);
}
END_TEST

START_TEST(moments_end_in_zero_not_in_denormals)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = plain_rule();
    for (size_t v = 0; variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        float *small = ef_test_floats(s.n);
        for (size_t i = 0; i < s.n; i++)
            small[i] = FLT_MIN;
        ef_test_set(s.m, small);
        ef_test_set(s.v, small);
        step(&s, ef_test_floats(s.n), &rule);
        ef_test_same_bits("m", s.m, ef_test_floats(s.n));
        ef_test_same_bits("v", s.v, ef_test_floats(s.n));
    }
    ef_test_close(a);
}
END_TEST

static void run_step(void *user)
{
    arena *s = user;
    const ef__optim_rule rule = plain_rule();
    ef_test_ok(s->a, ef_tensor_fill(s->counts, 0));
    ef_test_ok(s->a, ef_tensor_fill(s->m, 0));
    ef_test_ok(s->a, ef_tensor_fill(s->v, 0));
    ef_test_set(s->value, s->p);
    step(s, ef_test_randn(s->n, 3), &rule);
}

START_TEST(a_step_gives_the_same_bits_again_in_three_launches)
{
    ef_actor *a = ef_test_open();
    arena s = arena_new(a, 33, 1, (int32_t[]){BOTH});
    const ef__optim_rule rule = plain_rule();
    ef_stats before, after;
    for (size_t v = 0; variant(a, &v); v++) {
        ef_test_repeats("p", run_step, &s, s.value);
        ef_actor_stats(a, &before);
        norm(&s, rule.lr);
        update(&s, &rule);
        ef_actor_stats(a, &after);
        ck_assert_uint_eq(after.launches - before.launches, 3);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(an_arena_that_is_no_arena_is_refused)
{
    ef_actor *a = ef_test_open();
    arena s = arena_new(a, 2, 1, (int32_t[]){BOTH});
    ef__optim_rule rule = plain_rule();
    ef_tensor *odd = flat(a, 1000, NULL), *small = flat(a, 1024, NULL);
    ef_test_refused(a, ef__optim_norm(a, odd, s.table, 0, s.metrics, s.counts), EF_ESHAPE,
                    "optim.norm");
    ef_test_refused(a, ef__optim_norm(a, small, s.table, 0, s.metrics, s.counts), EF_ESHAPE,
                    "optim.norm");
    ef_test_refused(
        a, ef__optim_update(a, s.value, s.grad, s.m, small, s.table, s.counts, s.metrics, &rule),
        EF_ESHAPE, "optim.update");
    rule.beta2 = 1;
    ef_test_refused(
        a, ef__optim_update(a, s.value, s.grad, s.m, s.v, s.table, s.counts, s.metrics, &rule),
        EF_EARG, "optim.update");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("optim");
    TCase *c = ef_test_case(s, "optim");
    tcase_add_test(c, norm_is_that_of_trainable_chunks);
    tcase_add_test(c, norm_keeps_its_digits_over_many_equal_numbers);
    tcase_add_test(c, a_gradient_of_3_4_is_clipped_to_norm_1);
    tcase_add_test(c, adamw_decays_only_chunks_that_say_so);
    tcase_add_test(c, adam_l2_adds_decay_to_every_gradient);
    tcase_add_test(c, adamw_equals_torch);
    tcase_add_test(c, a_parameter_without_gradient_only_decays);
    tcase_add_test(c, frozen_chunks_keep_their_bits_and_lose_their_gradient);
    tcase_add_test(c, what_is_not_finite_skips_the_step_on_the_device);
    tcase_add_test(c, a_bad_id_skips_the_step_on_the_device);
    tcase_add_test(c, moments_end_in_zero_not_in_denormals);
    tcase_add_test(c, a_step_gives_the_same_bits_again_in_three_launches);
    tcase_add_test(c, an_arena_that_is_no_arena_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
