/* AdamW and its kin: values, clipping, decay, frozen chunks; the norm is in test_optim_norm.c. */
#include "arena.h"
#include "ref.h"
#include <float.h>
#include <math.h>
#include <string.h>

START_TEST(a_gradient_of_3_4_is_clipped_to_norm_1)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        float *g = ef_test_floats(s.n);
        ef__optim_rule rule = arena_rule();
        rule.clip = 1;
        g[0] = 3;
        g[1] = 4;
        arena_step(&s, g, &rule);
        ck_assert_float_eq(arena_metric(&s, EF_METRIC_GRAD_NORM), 5);
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
        arena_step(&s, g, rule);
        reference_step(&s, g, rule, t, want);
    }
    ef_test_near("p", s.value, want.p, 3e-7, 1e-6);
    ef_test_near("m", s.m, want.m, 1e-7, 1e-6);
    ef_test_near("v", s.v, want.v, 1e-9, 2e-6);
    ef_test_same_bits("grad", s.grad, ef_test_floats(s.n));
    ck_assert_float_eq(arena_metric(&s, EF_METRIC_STEPS), (float)steps);
}

START_TEST(adamw_decays_only_chunks_that_say_so)
{
    ef_actor *a = ef_test_open();
    ef__optim_rule rule = arena_rule();
    for (size_t v = 0; arena_variant(a, &v); v++) {
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
    ef__optim_rule rule = arena_rule();
    rule.l2 = true;
    for (size_t v = 0; arena_variant(a, &v); v++)
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
    ef__optim_rule rule = arena_rule();
    rule.weight_decay = 0.1f;
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        memcpy(s.p, torch_first, sizeof torch_first);
        ef_test_set(s.value, s.p);
        for (int t = 0; t < 3; t++) {
            float *g = ef_test_floats(s.n);
            memcpy(g, torch_g[t], sizeof torch_g[t]);
            arena_step(&s, g, &rule);
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
    const ef__optim_rule rule = arena_rule();
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 2, 2, (int32_t[]){BOTH, EF__TRAINABLE});
        float *want = ef_test_floats(s.n);
        const float decay = (float)(1 - (double)rule.lr * rule.weight_decay);
        for (size_t i = 0; i < s.n; i++)
            want[i] = i < EF__CHUNK ? s.p[i] * decay : s.p[i];
        arena_step(&s, ef_test_floats(s.n), &rule);
        ef_test_same_bits("p", s.value, want);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(frozen_chunks_keep_their_bits_and_lose_their_gradient)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = arena_rule();
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 18, 1, (int32_t[]){EF__DECAY});
        const float *moments = ef_test_randn(s.n, 5);
        ef_test_set(s.m, moments);
        ef_test_set(s.v, moments);
        arena_step(&s, ef_test_randn(s.n, 6), &rule);
        ef_test_same_bits("p", s.value, s.p);
        ef_test_same_bits("m", s.m, moments);
        ef_test_same_bits("v", s.v, moments);
        ef_test_same_bits("grad", s.grad, ef_test_floats(s.n));
        ck_assert_float_eq(arena_metric(&s, EF_METRIC_STEPS), 1);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(moments_end_in_zero_not_in_denormals)
{
    ef_actor *a = ef_test_open();
    const ef__optim_rule rule = arena_rule();
    for (size_t v = 0; arena_variant(a, &v); v++) {
        arena s = arena_new(a, 1, 1, (int32_t[]){BOTH});
        float *small = ef_test_floats(s.n);
        for (size_t i = 0; i < s.n; i++)
            small[i] = FLT_MIN;
        ef_test_set(s.m, small);
        ef_test_set(s.v, small);
        arena_step(&s, ef_test_floats(s.n), &rule);
        ef_test_same_bits("m", s.m, ef_test_floats(s.n));
        ef_test_same_bits("v", s.v, ef_test_floats(s.n));
    }
    ef_test_close(a);
}
END_TEST

static void run_step(void *user)
{
    arena *s = user;
    const ef__optim_rule rule = arena_rule();
    ef_test_ok(s->a, ef_tensor_fill(s->state.updates, 0));
    ef_test_ok(s->a, ef_tensor_fill(s->m, 0));
    ef_test_ok(s->a, ef_tensor_fill(s->v, 0));
    ef_test_set(s->value, s->p);
    arena_step(s, ef_test_randn(s->n, 3), &rule);
}

START_TEST(a_step_gives_the_same_bits_again_in_three_launches)
{
    ef_actor *a = ef_test_open();
    arena s = arena_new(a, 33, 1, (int32_t[]){BOTH});
    const ef__optim_rule rule = arena_rule();
    ef_stats before, after;
    for (size_t v = 0; arena_variant(a, &v); v++) {
        ef_test_repeats("p", run_step, &s, s.value);
        ef_actor_stats(a, &before);
        arena_norm(&s, rule.lr);
        arena_update(&s, &rule);
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
    ef__optim_rule rule = arena_rule();
    ef_tensor *odd = arena_flat(a, 1000, NULL), *small = arena_flat(a, 1024, NULL);
    ef_test_refused(a, ef__optim_norm(a, odd, &s.state, 0, s.metrics), EF_ESHAPE, "optim.norm");
    ef_test_refused(a, ef__optim_norm(a, small, &s.state, 0, s.metrics), EF_ESHAPE, "optim.norm");
    ef_test_refused(a, ef__optim_update(a, s.value, s.grad, s.m, small, &s.state, s.metrics, &rule),
                    EF_ESHAPE, "optim.update");
    rule.beta2 = 1;
    ef_test_refused(a, ef__optim_update(a, s.value, s.grad, s.m, s.v, &s.state, s.metrics, &rule),
                    EF_EARG, "optim.update");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("optim");
    TCase *c = ef_test_case(s, "optim");
    tcase_add_test(c, a_gradient_of_3_4_is_clipped_to_norm_1);
    tcase_add_test(c, adamw_decays_only_chunks_that_say_so);
    tcase_add_test(c, adam_l2_adds_decay_to_every_gradient);
    tcase_add_test(c, adamw_equals_torch);
    tcase_add_test(c, a_parameter_without_gradient_only_decays);
    tcase_add_test(c, frozen_chunks_keep_their_bits_and_lose_their_gradient);
    tcase_add_test(c, moments_end_in_zero_not_in_denormals);
    tcase_add_test(c, a_step_gives_the_same_bits_again_in_three_launches);
    tcase_add_test(c, an_arena_that_is_no_arena_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
