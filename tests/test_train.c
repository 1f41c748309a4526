/* Tests of src/train: the schedule, the step, accumulation, skipping, scopes, evaluation. */
#include "ef_test.h"
#include "ref.h"
#include "train/trainer.h"
#include "train_data.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { V = TRAIN_VOCAB, E = TRAIN_WIDTH, L = TRAIN_LONGEST };

static ef_model_config tiny_config(void)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = V;
    c.width = 10;
    c.hidden = 14;
    c.taps = 3;
    c.vector = E;
    c.length = L;
    return c;
}

typedef struct setup {
    ef_actor *a;
    ef_encoder *encoder;
    ef_trainer *trainer;
} setup;

static setup new_setup(ef_actor *a, const ef_trainer_options *options)
{
    setup s = {.a = a};
    ef_model_config c = tiny_config();
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, true, &s.encoder));
    ef_test_ok(a, ef_trainer_new(s.encoder, options, &s.trainer));
    return s;
}

static ef_trainer_options plain_options(void)
{
    ef_trainer_options o;
    ef_trainer_options_default(&o);
    o.warmup = 0;
    o.lr = 3e-3f;
    return o;
}

static void free_setup(setup *s)
{
    ef_trainer_free(s->trainer);
    ef_encoder_free(s->encoder);
}

static ef_batch random_batch(size_t B, uint64_t seed)
{
    return (ef_batch){.B = B,
                      .L = L,
                      .E = E,
                      .ids = ef_test_ints(B * L, seed, 0, V),
                      .mask = ef_test_mask(B * L, seed + 1, 0.8),
                      .target = ef_test_randn(B * E, seed + 2)};
}

static void step(setup *s, const ef_batch *batches, size_t count, float metrics[EF_METRICS])
{
    ef_readback *readback;
    const void *data;
    size_t n;
    ef_test_ok(s->a, ef_trainer_step(s->trainer, batches, count, &readback));
    ef_test_ok(s->a, ef_readback_value(readback, &data, &n));
    ck_assert_uint_eq(n, EF_METRICS);
    memcpy(metrics, data, EF_METRICS * sizeof *metrics);
    ef_readback_free(readback);
}

static const float *values(const setup *s)
{
    return ef_test_read(s->encoder->model.params->value);
}

static size_t value_bytes(const setup *s)
{
    return s->encoder->model.params->count * sizeof(float);
}

/* ---- the schedule ---- */

START_TEST(the_rate_follows_the_formula)
{
    ef_trainer_options o;
    ef_trainer_options_default(&o);
    o.lr = 0.5f;
    o.min_lr = 0.125f;
    o.warmup = 4;
    o.decay = 8;
    const double want[] = {0.125,
                           0.25,
                           0.375,
                           0.5,
                           0.5,
                           0.125 + 0.1875 * (1 + cos(acos(-1) / 8)),
                           0.125 + 0.1875 * (1 + cos(acos(-1) / 4))};
    for (uint64_t s = 0; s < 7; s++)
        ck_assert_double_eq_tol(ef_lr_at(&o, s), want[s], 1e-12);
    ck_assert_double_eq_tol(ef_lr_at(&o, 8), 0.3125, 1e-12);
    ck_assert_double_eq_tol(ef_lr_at(&o, 12), 0.125, 1e-12);
    ck_assert_double_eq_tol(ef_lr_at(&o, 1000000), 0.125, 1e-12);
    o.decay = 0;
    ck_assert_double_eq_tol(ef_lr_at(&o, 1000), 0.5, 1e-12);
    o.decay = 8;
    o.min_lr = -1;
    ck_assert_double_eq_tol(ef_lr_at(&o, 12), 0.005, 1e-12);
    o.min_lr = 0.25f;
    ck_assert_double_eq_tol(ef_lr_at(&o, 0), 0.25, 1e-12);
}
END_TEST

/* ---- the step ---- */

START_TEST(a_step_is_one_wait_and_at_most_90_launches_with_4_blocks)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup s = new_setup(a, &o);
    ef_batch batch = random_batch(3, 1);
    float metrics[EF_METRICS];
    ef_stats before, after;
    ck_assert_uint_eq(s.encoder->model.config.blocks, 4);
    for (int i = 0; i < 3; i++) {
        ef_actor_stats(a, &before);
        step(&s, &batch, 1, metrics);
        ef_actor_stats(a, &after);
        ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
        ck_assert_uint_le(after.launches - before.launches, 90);
    }
    printf("launches per step, 4 blocks: %d\n", (int)(after.launches - before.launches));
    ck_assert_uint_eq(ef_trainer_attempted(s.trainer), 3);
    ck_assert_float_eq(metrics[EF_METRIC_STEPS], 3);
    free_setup(&s);
    ef_test_close(a);
}
END_TEST

/* Of a model that takes every kind of convolution. On a CPU each program takes a good part of the
 * time to the first step. */
START_TEST(a_first_step_takes_at_most_7_programs)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    ef_model_config c = tiny_config();
    setup s = {.a = a};
    ef_batch batch = random_batch(32, 1);
    float metrics[EF_METRICS];
    ef_stats stats;
    c.width = 64;
    c.hidden = 128;
    c.taps = 5;
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, true, &s.encoder));
    ef_test_ok(a, ef_trainer_new(s.encoder, &o, &s.trainer));
    step(&s, &batch, 1, metrics);
    ef_actor_stats(a, &stats);
    printf("programs of a first step: %d\n", (int)stats.builds);
    if (ef_actor_device(a)->is_cpu)
        ck_assert_uint_le(stats.builds, 7);
    free_setup(&s);
    ef_test_close(a);
}
END_TEST

START_TEST(metrics_are_those_before_the_update)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    o.alpha = 0.7f;
    o.beta = 1.3f;
    setup s = new_setup(a, &o);
    ef_batch b = random_batch(4, 1);
    float metrics[EF_METRICS];
    double want[3] = {0};
    ef_tensor *y = ef_test_f32(a, SHAPE(b.B, E), NULL);
    ef_test_ok(a, ef_encoder_encode(s.encoder, ef_test_i32(a, SHAPE(b.B, L), b.ids),
                                    ef_test_u8(a, SHAPE(b.B, L), b.mask), y));
    ref_kd_loss(b.B, E, ef_test_read(y), b.target, o.alpha, o.beta, 1, want, NULL);
    step(&s, &b, 1, metrics);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(metrics[i], want[i], 1e-5);
    ck_assert_double_eq_tol(metrics[EF_METRIC_LR], 3e-3, 1e-9);
    ck_assert_float_eq(metrics[EF_METRIC_SKIPPED], 0);
    free_setup(&s);
    ef_test_close(a);
}
END_TEST

START_TEST(four_micro_batches_are_one_batch)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup whole = new_setup(a, &o), parts = new_setup(a, &o);
    ef_batch b = random_batch(10, 1), micro[4];
    const size_t sizes[4] = {3, 4, 1, 2};
    float one[EF_METRICS], four[EF_METRICS];
    for (size_t i = 0, at = 0; i < 4; at += sizes[i++])
        micro[i] = (ef_batch){.B = sizes[i],
                              .L = L,
                              .E = E,
                              .ids = b.ids + at * L,
                              .mask = b.mask + at * L,
                              .target = b.target + at * E};
    ef_test_ok(a, ef__trainer_gradients(whole.trainer, &b, 1));
    ef_test_ok(a, ef__trainer_gradients(parts.trainer, micro, 4));
    size_t n = whole.encoder->model.params->count;
    double *want = ef_test_widen(n, ef_test_read(whole.encoder->model.params->grad));
    ef_test_norm("gradient", parts.encoder->model.params->grad, want, 1e-6);
    step(&whole, &b, 1, one);
    step(&parts, micro, 4, four);
    for (int i = 0; i < EF_METRICS; i++)
        ck_assert_float_eq_tol(one[i], four[i], 1e-5f);
    free_setup(&whole);
    free_setup(&parts);
    ef_test_close(a);
}
END_TEST

START_TEST(steps_nest_in_the_callers_batch_with_one_wait)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup nested = new_setup(a, &o), single = new_setup(a, &o);
    ef_batch b = random_batch(3, 1);
    ef_readback *readback[3];
    ef_stats before, after;
    float metrics[3][EF_METRICS];
    ef_actor_stats(a, &before);
    ef_test_ok(a, ef_batch_begin(a));
    for (int i = 0; i < 3; i++) {
        ef_test_ok(a, ef_trainer_step(nested.trainer, &b, 1, &readback[i]));
        ck_assert_int_eq(ef_readback_poll(readback[i]), EF_ETIMEOUT);
    }
    ef_test_ok(a, ef_batch_sync(a, "three steps"));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
    for (int i = 0; i < 3; i++) {
        const void *data;
        size_t n;
        step(&single, &b, 1, metrics[i]);
        ef_test_ok(a, ef_readback_value(readback[i], &data, &n));
        ck_assert_mem_eq(data, metrics[i], sizeof metrics[i]);
        ef_readback_free(readback[i]);
    }
    ef_test_same_bits("parameters", nested.encoder->model.params->value, values(&single));
    free_setup(&nested);
    free_setup(&single);
    ef_test_close(a);
}
END_TEST

START_TEST(a_step_with_an_infinity_is_skipped_on_the_device)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup s = new_setup(a, &o), clean = new_setup(a, &o);
    ef_batch good = random_batch(3, 1), bad = random_batch(3, 4);
    float metrics[EF_METRICS];
    ((float *)bad.target)[5] = INFINITY;
    step(&s, &good, 1, metrics);
    const float *before = values(&s), *m = ef_test_read(s.encoder->model.params->m);
    for (int i = 1; i <= 3; i++) {
        step(&s, &bad, 1, metrics);
        ck_assert_float_eq(metrics[EF_METRIC_SKIPPED], 1);
        ck_assert_float_eq(metrics[EF_METRIC_SKIPPED_IN_A_ROW], i);
        ck_assert_float_eq(metrics[EF_METRIC_STEPS], 1);
    }
    ef_test_same_bits("parameters", s.encoder->model.params->value, before);
    ef_test_same_bits("m", s.encoder->model.params->m, m);
    ef_test_near("gradients", s.encoder->model.params->grad,
                 ef_test_doubles(s.encoder->model.params->count), 0, 0);
    ck_assert_uint_eq(ef_trainer_attempted(s.trainer), 4);
    step(&s, &good, 1, metrics);
    ck_assert_float_eq(metrics[EF_METRIC_SKIPPED], 0);
    ck_assert_float_eq(metrics[EF_METRIC_SKIPPED_IN_A_ROW], 0);
    step(&clean, &good, 1, metrics);
    step(&clean, &good, 1, metrics);
    ef_test_same_bits("as if it had not been", s.encoder->model.params->value, values(&clean));
    free_setup(&s);
    free_setup(&clean);
    ef_test_close(a);
}
END_TEST

START_TEST(a_bad_id_found_on_the_device_is_an_argument_error_and_changes_nothing)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup s = new_setup(a, &o);
    ef_batch b = random_batch(3, 1);
    ef_readback *readback = NULL;
    float metrics[EF_METRICS];
    const float *before = values(&s);
    ((int32_t *)b.ids)[7] = V + 2;
    ef_test_refused(a, ef_trainer_step(s.trainer, &b, 1, &readback), EF_EARG,
                    "id 21 at position 7");
    ck_assert_ptr_null(readback);
    ef_test_same_bits("parameters", s.encoder->model.params->value, before);
    ((int32_t *)b.ids)[7] = V - 1;
    step(&s, &b, 1, metrics);
    ck_assert_float_eq(metrics[EF_METRIC_SKIPPED], 0);
    ck_assert_float_eq(metrics[EF_METRIC_STEPS], 1);
    free_setup(&s);
    ef_test_close(a);
}
END_TEST

START_TEST(a_batch_without_ids_mask_or_target_is_refused_by_name)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup s = new_setup(a, &o);
    const ef_batch whole = random_batch(3, 1);
    ef_batch b[2] = {whole, whole};
    ef_readback *readback = NULL;
    b[1].ids = NULL;
    ef_test_refused(a, ef_trainer_step(s.trainer, b, 2, &readback), EF_EARG,
                    "trainer.step: ids of micro-batch 1 is NULL");
    b[1] = whole;
    b[1].mask = NULL;
    ef_test_refused(a, ef_trainer_step(s.trainer, b, 2, &readback), EF_EARG, "mask");
    b[1] = whole;
    b[1].target = NULL;
    ef_test_refused(a, ef_trainer_step(s.trainer, b, 2, &readback), EF_EARG, "target");
    ck_assert_ptr_null(readback);
    free_setup(&s);
    ef_test_close(a);
}
END_TEST

START_TEST(a_step_that_broke_off_leaves_nothing_in_the_next_one)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup s = new_setup(a, &o), clean = new_setup(a, &o);
    ef_batch b[2] = {random_batch(3, 1), random_batch(2, 4)};
    ef_readback *readback = NULL;
    float metrics[EF_METRICS];
    ef_test_ok(a, ef__trainer_gradients(s.trainer, b, 1));
    step(&s, b, 2, metrics);
    step(&clean, b, 2, metrics);
    ef_test_same_bits("parameters", s.encoder->model.params->value, values(&clean));
    b[1].E = E + 1;
    ef_test_refused(a, ef_trainer_step(s.trainer, b, 2, &readback), EF_ESHAPE, "targets have 7");
    b[1].E = E;
    b[1].B = 0;
    ef_test_refused(a, ef_trainer_step(s.trainer, b, 2, &readback), EF_ESHAPE, "empty");
    ef_test_refused(a, ef_trainer_step(s.trainer, b, 0, &readback), EF_EARG, "no micro-batch");
    free_setup(&s);
    free_setup(&clean);
    ef_test_close(a);
}
END_TEST

START_TEST(a_trainer_wants_a_trainable_encoder_and_sound_options)
{
    ef_actor *a = ef_test_open();
    ef_model_config c = tiny_config();
    ef_encoder *values_only = NULL, *encoder = NULL;
    ef_trainer *t = NULL;
    ef_trainer_options o = plain_options();
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, false, &values_only));
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, true, &encoder));
    ck_assert_int_eq(ef_trainer_new(values_only, &o, &t), EF_ESTATE);
    o.lr = NAN;
    ef_test_refused(a, ef_trainer_new(encoder, &o, &t), EF_EARG, "lr");
    o = plain_options();
    o.beta2 = 1;
    ef_test_refused(a, ef_trainer_new(encoder, &o, &t), EF_EARG, "beta2");
    o = plain_options();
    o.epsilon = 0;
    ef_test_refused(a, ef_trainer_new(encoder, &o, &t), EF_EARG, "epsilon");
    ck_assert_ptr_null(t);
    ef_encoder_free(values_only);
    ef_encoder_free(encoder);
    ef_test_close(a);
}
END_TEST

START_TEST(a_scope_trains_its_part_and_nothing_else)
{
    ef_actor *a = ef_test_open();
    ef_batch b = random_batch(4, 1);
    float metrics[EF_METRICS];
    for (int scope = EF_TRAIN_ALL; scope <= EF_TRAIN_PROJ; scope++) {
        ef_trainer_options o = plain_options();
        o.scope = (ef_scope)scope;
        setup s = new_setup(a, &o);
        const ef__params *p = s.encoder->model.params;
        const float *before = values(&s);
        for (int i = 0; i < 2; i++)
            step(&s, &b, 1, metrics);
        const float *after = values(&s);
        for (size_t i = 0; i < p->segments; i++) {
            const ef__segment *g = &p->segment[i];
            bool proj = strncmp(g->name, "proj.", 5) == 0;
            bool last = strncmp(g->name, "blocks.3.", 9) == 0;
            bool moves = proj || scope == EF_TRAIN_ALL || (scope == EF_TRAIN_LAST && last);
            bool moved =
                memcmp(before + g->offset, after + g->offset, g->count * sizeof *after) != 0;
            ck_assert_msg(moves == moved, "scope %d: %s", scope, g->name);
        }
        free_setup(&s);
    }
    ef_test_close(a);
}
END_TEST

/* What a step is said to need is most of what it takes, and no more. */
START_TEST(a_batch_that_will_not_fit_is_known_from_what_a_step_takes)
{
    for (int scope = EF_TRAIN_ALL; scope <= EF_TRAIN_PROJ; scope++) {
        ef_actor *a = ef_test_open();
        ef_trainer_options o = plain_options();
        o.scope = (ef_scope)scope;
        setup s = new_setup(a, &o);
        int group = ef__scope_group(&s.encoder->model.config, o.scope);
        ef_batch b = random_batch(200, 1);
        float metrics[EF_METRICS];
        ef_stats before, after;
        double needed;
        ef_test_ok(a, ef__tcn_check_batch(&s.encoder->tcn, group, b.B, b.L));
        ef_actor_stats(a, &before);
        step(&s, &b, 1, metrics);
        ef_actor_stats(a, &after);
        ef_test_refused(a, ef__tcn_check_batch(&s.encoder->tcn, group, 1000000000, 1000000000),
                        EF_ENOMEM, "model: a batch of 1000000000 x 1000000000 ids needs ");
        ck_assert_int_eq(sscanf(strstr(ef_actor_message(a), "needs "), "needs %lf", &needed), 1);
        needed *= (double)(b.B * b.L) * 1e-18;
        ck_assert_double_le(needed, (double)(after.pool_peak - before.pool_used));
        ck_assert_double_ge(needed, 0.5 * (double)(after.pool_peak - before.pool_used));
        free_setup(&s);
        ef_test_close(a);
    }
}
END_TEST

/* Loss is a function of the seed alone, so this is a test of the gradients' worth, not of luck. */
START_TEST(training_more_of_the_model_learns_more)
{
    ef_actor *a = ef_test_open();
    const char *srcdir = getenv("srcdir");
    char path[4096];
    ef_error error;
    ef_dataset *data;
    double loss[3], first[3];
    snprintf(path, sizeof path, "%s/tests/sample/sample.efb", srcdir ? srcdir : ".");
    if (ef_dataset_open(path, &data, &error))
        ck_abort_msg("%s", error.text);
    for (int scope = EF_TRAIN_ALL; scope <= EF_TRAIN_PROJ; scope++) {
        ef_trainer_options o = plain_options();
        ef_model_config c = tiny_config();
        ef_loader_options how = {.batch = 16, .length = 32, .shuffle = true, .seed = 1};
        ef_loader *loader;
        setup s = {.a = a};
        o.scope = (ef_scope)scope;
        c.vocab = (size_t)ef_dataset_max_id(data) + 1;
        c.width = 32;
        c.hidden = 32;
        c.vector = ef_dataset_width(data);
        ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 1, true, &s.encoder));
        ef_test_ok(a, ef_trainer_new(s.encoder, &o, &s.trainer));
        ck_assert_int_eq(ef_loader_new(data, &how, &loader, &error), EF_OK);
        loss[scope] = first[scope] = 0;
        for (uint64_t i = 0; i < 200; i++) {
            float metrics[EF_METRICS];
            ef_batch batch;
            size_t each = ef_loader_batches(loader);
            ef_loader_seek(loader, i / each, i % each, &error);
            ck_assert_int_eq(ef_loader_next(loader, &batch, &error), EF_OK);
            step(&s, &batch, 1, metrics);
            if (i < 20)
                first[scope] += metrics[EF_METRIC_LOSS] / 20;
            if (i >= 180)
                loss[scope] += metrics[EF_METRIC_LOSS] / 20;
        }
        ck_assert_double_lt(loss[scope], first[scope]);
        ef_loader_free(loader);
        free_setup(&s);
    }
    printf("loss after 200 steps: all %.4f last %.4f proj %.4f\n", loss[0], loss[1], loss[2]);
    ck_assert_double_lt(loss[EF_TRAIN_ALL], loss[EF_TRAIN_LAST]);
    ck_assert_double_lt(loss[EF_TRAIN_LAST], loss[EF_TRAIN_PROJ]);
    ef_dataset_free(data);
    ef_test_close(a);
}
END_TEST

/* 0 under a sanitizer. */
static long resident_pages(void)
{
    long pages = 0;
    FILE *f = EF_TEST_SANITIZED ? NULL : fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages;
}

START_TEST(a_thousand_steps_grow_neither_pool_nor_memory)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup s = new_setup(a, &o);
    ef_batch b = random_batch(2, 1);
    float metrics[EF_METRICS];
    ef_stats early, late;
    size_t steps = ef_test_size(20, 1000, 1000);
    for (size_t i = 0; i < steps / 10; i++)
        step(&s, &b, 1, metrics);
    ef_actor_stats(a, &early);
    long pages = resident_pages();
    for (size_t i = steps / 10; i < steps; i++)
        step(&s, &b, 1, metrics);
    ef_actor_stats(a, &late);
    ck_assert_uint_eq(late.pool_bytes, early.pool_bytes);
    ck_assert_uint_eq(late.pool_used, early.pool_used);
    ck_assert_int_le(resident_pages() - pages, 1024 * 1024 / sysconf(_SC_PAGESIZE));
    free_setup(&s);
    ef_test_close(a);
}
END_TEST

START_TEST(the_same_steps_give_the_same_bits)
{
    ef_actor *a = ef_test_open();
    ef_trainer_options o = plain_options();
    setup one = new_setup(a, &o), two = new_setup(a, &o);
    float first[EF_METRICS], second[EF_METRICS];
    for (uint64_t i = 0; i < 5; i++) {
        ef_batch b = random_batch(3, 10 * i);
        step(&one, &b, 1, first);
        step(&two, &b, 1, second);
        ck_assert_mem_eq(first, second, sizeof first);
    }
    ck_assert_mem_eq(values(&one), values(&two), value_bytes(&one));
    free_setup(&one);
    free_setup(&two);
    ef_test_close(a);
}
END_TEST

typedef struct slope {
    setup s;
    ef_batch b;
    const ef__segment *segment;
    float *values;
} slope;

static double loss_of(void *user)
{
    slope *w = user;
    float metrics[EF_METRICS];
    ef_test_set(w->segment->value, w->values);
    step(&w->s, &w->b, 1, metrics);
    return metrics[EF_METRIC_LOSS];
}

/* Of a learning rate of 0, so that steps change nothing. _i: of a model with tanh. */
START_TEST(the_gradient_of_each_parameter_is_the_slope_of_the_loss)
{
    ef_model_config c = tiny_config();
    ef_trainer_options o = plain_options();
    slope w = {.s = {.a = ef_test_open()}, .b = random_batch(3, 1)};
    o.lr = o.weight_decay = 0;
    c.tanh = _i;
    ef_test_ok(w.s.a, ef_encoder_new(w.s.a, &c, EF_INIT_TORCH, 3, true, &w.s.encoder));
    ef_test_ok(w.s.a, ef_trainer_new(w.s.encoder, &o, &w.s.trainer));
    const ef__params *p = w.s.encoder->model.params;
    for (size_t i = 0; i < 3 * L; i++) /* id 0, the padding, has no gradient */
        if (w.b.ids[i] == 0)
            ((int32_t *)w.b.ids)[i] = 1;
    for (size_t i = 0; i < p->segments; i++) { /* of a size at which there are slopes to see */
        const ef__segment *g = &p->segment[i];
        float *x = ef_test_randn(g->count, i + 1);
        for (size_t k = 0; k < g->count; k++)
            x[k] = g->rank < 2 ? 1 + 0.3f * x[k] : 0.4f * x[k];
        ef_test_set(g->value, x);
    }
    ef_test_ok(w.s.a, ef__trainer_gradients(w.s.trainer, &w.b, 1));
    const float *gradient = ef_test_read(p->grad);
    for (size_t i = 0; i < p->segments; i++) {
        w.segment = &p->segment[i];
        w.values = ef_test_read(w.segment->value);
        ef_test_slopes(w.segment->name, loss_of, &w, w.values, w.segment->count,
                       gradient + w.segment->offset, ef_test_size(1, 5, 5), 1e-2, 2e-4, 1e-2);
        ef_test_set(w.segment->value, w.values);
    }
    free_setup(&w.s);
    ef_test_close(w.s.a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("train");
    tcase_add_test(ef_test_case(s, "schedule"), the_rate_follows_the_formula);
    TCase *steps = ef_test_case(s, "step");
    tcase_add_test(steps, a_step_is_one_wait_and_at_most_90_launches_with_4_blocks);
    tcase_add_test(steps, a_first_step_takes_at_most_7_programs);
    tcase_add_test(steps, metrics_are_those_before_the_update);
    tcase_add_test(steps, four_micro_batches_are_one_batch);
    tcase_add_test(steps, steps_nest_in_the_callers_batch_with_one_wait);
    tcase_add_test(steps, a_step_with_an_infinity_is_skipped_on_the_device);
    tcase_add_test(steps, a_bad_id_found_on_the_device_is_an_argument_error_and_changes_nothing);
    tcase_add_test(steps, a_batch_without_ids_mask_or_target_is_refused_by_name);
    tcase_add_test(steps, a_step_that_broke_off_leaves_nothing_in_the_next_one);
    tcase_add_test(steps, a_trainer_wants_a_trainable_encoder_and_sound_options);
    tcase_add_test(steps, a_scope_trains_its_part_and_nothing_else);
    tcase_add_test(steps, a_batch_that_will_not_fit_is_known_from_what_a_step_takes);
    tcase_add_test(steps, the_same_steps_give_the_same_bits);
    tcase_add_loop_test(steps, the_gradient_of_each_parameter_is_the_slope_of_the_loss, 0, 2);
    TCase *runs = ef_test_case(s, "runs");
    tcase_add_test(runs, training_more_of_the_model_learns_more);
    tcase_add_test(runs, a_thousand_steps_grow_neither_pool_nor_memory);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
