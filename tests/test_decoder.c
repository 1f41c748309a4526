/* Tests of the decoder and its step: shapes, causality, which positions count, chunks of logits,
 * micro-batches, scopes. tests/test_golden.c holds the numbers against PyTorch's. */
#include "ef_test.h"
#include "folder.h"
#include "ref.h"
#include "train/checkpoint.h"
#include "train_data.h"
#include <math.h>
#include <string.h>

enum { V = 37, E = 5, L = 8 };

static ef_model_config tiny_config(size_t vocab)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = vocab;
    c.width = 10;
    c.hidden = 14;
    c.taps = 3;
    c.vector = E;
    c.blocks = 2;
    c.length = L;
    return c;
}

static ef_decoder *new_decoder(ef_actor *a, size_t vocab, bool trainable)
{
    ef_model_config c = tiny_config(vocab);
    ef_decoder *d = NULL;
    ef_test_ok(a, ef_decoder_new(a, &c, EF_INIT_TORCH, 3, trainable, &d));
    return d;
}

typedef struct setup {
    ef_actor *a;
    ef_decoder *d;
    ef_trainer *trainer;
} setup;

static setup new_setup(size_t vocab, ef_scope scope)
{
    setup s = {.a = ef_test_open()};
    ef_trainer_options o;
    ef_trainer_options_default(&o);
    o.warmup = 0;
    o.lr = 3e-3f;
    o.scope = scope;
    s.d = new_decoder(s.a, vocab, true);
    ef_test_ok(s.a, ef_trainer_new_decoder(s.d, &o, &s.trainer));
    return s;
}

static void free_setup(setup *s)
{
    ef_trainer_free(s->trainer);
    ef_decoder_free(s->d);
    ef_test_close(s->a);
}

static ef_batch random_batch(size_t B, size_t length, size_t vocab, uint64_t seed)
{
    return (ef_batch){.B = B,
                      .L = length,
                      .E = E,
                      .ids = ef_test_ints(B * length, seed, 0, (int32_t)vocab),
                      .mask = ef_test_mask(B * length, seed + 1, 0.8),
                      .target = ef_test_randn(B * E, seed + 2)};
}

static const float *step(setup *s, const ef_batch *batches, size_t count)
{
    ef_readback *readback;
    const void *data;
    size_t n;
    float *metrics = ef_test_floats(EF_METRICS);
    ef_test_ok(s->a, ef_trainer_step(s->trainer, batches, count, &readback));
    ef_test_ok(s->a, ef_readback_value(readback, &data, &n));
    memcpy(metrics, data, EF_METRICS * sizeof *metrics);
    ef_readback_free(readback);
    return metrics;
}

static ef_tensor *logits(ef_actor *a, ef_decoder *d, const ef_batch *b)
{
    ef_tensor *y = ef_test_f32(a, SHAPE(b->B, b->L, d->model.config.vocab), NULL);
    ef_test_ok(a, ef_decoder_logits(d, ef_test_i32(a, SHAPE(b->B, b->L), b->ids),
                                    ef_test_u8(a, SHAPE(b->B, b->L), b->mask),
                                    ef_test_f32(a, SHAPE(b->B, b->E), b->target), y));
    return y;
}

/* ---- forward ---- */

START_TEST(logits_have_a_row_of_the_vocabulary_for_each_position)
{
    ef_actor *a = ef_test_open();
    ef_decoder *d = new_decoder(a, 123, false);
    const ef_batch b = random_batch(3, 8, 123, 1);
    const float *y = ef_test_read(logits(a, d, &b));
    for (size_t i = 0; i < 3 * 8 * 123; i++)
        ck_assert(isfinite(y[i]));
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* In the strict class not even a rounding of what follows is seen. */
START_TEST(logits_do_not_depend_on_what_follows)
{
    ef_actor *a = ef_test_open();
    ef_decoder *d = new_decoder(a, V, false);
    ef_batch b = random_batch(2, L, V, 1), other = random_batch(2, L, V, 5);
    enum { SAME = 5 };
    memset((uint8_t *)b.mask, 1, 2 * L);
    other.mask = b.mask;
    other.target = b.target;
    for (size_t i = 0; i < 2 * L; i++)
        if (i % L < SAME)
            ((int32_t *)other.ids)[i] = b.ids[i];
    ef_actor_set_accuracy(a, EF_STRICT);
    const float *y = ef_test_read(logits(a, d, &b)), *z = ef_test_read(logits(a, d, &other));
    for (size_t s = 0; s < 2; s++)
        ck_assert_mem_eq(y + s * L * V, z + s * L * V, SAME * V * sizeof *y);
    ck_assert(memcmp(y, z, 2 * L * V * sizeof *y) != 0);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* Deferred: in a batch, read after its sync, and until then nothing waits. */
START_TEST(a_deferred_forward_gives_what_an_immediate_one_does)
{
    ef_actor *a = ef_test_open();
    ef_decoder *d = new_decoder(a, V, false);
    const ef_batch b = random_batch(2, L, V, 1);
    double *want = ef_test_widen(2 * L * V, ef_test_read(logits(a, d, &b)));
    ef_stats before, after;
    ef_readback *late, *now;
    const void *data[2];
    ef_test_ok(a, ef_batch_begin(a));
    ef_actor_stats(a, &before);
    ef_tensor *y = logits(a, d, &b);
    ef_test_ok(a, ef_readback_start(a, y, EF_DEFER_UNTIL_SYNC, "late", &late));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits, before.host_waits);
    ef_test_ok(a, ef_readback_start(a, logits(a, d, &b), EF_IMMEDIATE, "now", &now));
    ef_test_ok(a, ef_readback_value(now, &data[0], NULL));
    ck_assert_int_eq(ef_readback_poll(late), EF_ETIMEOUT);
    ef_test_ok(a, ef_batch_sync(a, "deferred"));
    ef_test_ok(a, ef_readback_value(late, &data[1], NULL));
    for (size_t i = 0; i < 2 * 2 * L * V; i++)
        ck_assert_double_eq_tol(((const float *)data[i % 2])[i / 2], want[i / 2], 1e-4);
    ef_readback_free(late);
    ef_readback_free(now);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

START_TEST(logits_refuse_shapes_that_disagree_and_ids_past_the_vocabulary)
{
    ef_actor *a = ef_test_open();
    ef_decoder *d = new_decoder(a, V, false);
    const ef_batch b = random_batch(2, 3, V, 1);
    ef_tensor *ids = ef_test_i32(a, SHAPE(2, 3), b.ids), *mask = ef_test_u8(a, SHAPE(2, 3), b.mask);
    ef_tensor *z = ef_test_f32(a, SHAPE(2, E), b.target), *y = ef_test_f32(a, SHAPE(2, 3, V), NULL);
    ef_tensor *wide = ef_test_f32(a, SHAPE(2, E + 1), NULL);
    ef_tensor *flat = ef_test_f32(a, SHAPE(6, V), NULL);
    ef_test_refused(a, ef_decoder_logits(d, NULL, mask, z, y), EF_EARG,
                    "decoder.logits: ids is NULL");
    ef_test_refused(a, ef_decoder_logits(d, ids, mask, wide, y), EF_ESHAPE,
                    "decoder.logits: z is [2,6], must be [2,5]");
    ef_test_refused(a, ef_decoder_logits(d, ids, mask, z, flat), EF_EARG, "decoder.logits: logits");
    ef_test_refused(a, ef_decoder_logits(d, ids, mask, z, ef_test_f32(a, SHAPE(2, 3, V + 1), NULL)),
                    EF_ESHAPE, "decoder.logits: logits is [2,3,38], must be [2,3,37]");
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* ---- the step ---- */

START_TEST(the_loss_is_the_mean_over_positions_before_unmasked_ones)
{
    setup s = new_setup(V, EF_TRAIN_ALL);
    const ef_batch b = random_batch(4, L, V, 1);
    const float *y = ef_test_read(logits(s.a, s.d, &b));
    int32_t *target = ef_test_ints(4 * L, 1, EF_IGNORED, EF_IGNORED + 1);
    size_t count = 0;
    for (size_t n = 0; n < 4 * L; n++)
        if (n % L + 1 < L && b.mask[n + 1]) {
            target[n] = b.ids[n + 1];
            count++;
        }
    ck_assert_uint_eq(ef__count_targets(&b), count);
    double want[3] = {0};
    ref_cross_entropy_loss(4 * L, V, y, target, 1.0 / (double)count, NULL, want);
    const float *metrics = step(&s, &b, 1);
    ck_assert_double_eq_tol(metrics[EF_METRIC_LOSS], want[0], 1e-5);
    ck_assert_double_eq_tol(metrics[EF_METRIC_CE], want[1], 1e-5);
    ck_assert_double_eq_tol(metrics[EF_METRIC_ACCURACY], want[2], 1e-6);
    free_setup(&s);
}
END_TEST

START_TEST(micro_batches_are_one_batch)
{
    setup whole = new_setup(V, EF_TRAIN_ALL), parts = new_setup(V, EF_TRAIN_ALL);
    const ef_batch b = random_batch(5, L, V, 1);
    ef_batch two[2] = {b, b};
    two[0].B = 2;
    two[1].B = 3;
    two[1].ids += 2 * L;
    two[1].mask += 2 * L;
    two[1].target += 2 * E;
    ef_test_ok(whole.a, ef__trainer_gradients(whole.trainer, &b, 1));
    ef_test_ok(parts.a, ef__trainer_gradients(parts.trainer, two, 2));
    const size_t n = whole.d->model.params->count;
    ef_test_norm("gradient", parts.d->model.params->grad,
                 ef_test_widen(n, ef_test_read(whole.d->model.params->grad)), 1e-6);
    free_setup(&parts);
    free_setup(&whole);
}
END_TEST

/* More counted positions than one chunk of logits has rows; the halves have one each. */
START_TEST(chunks_of_logits_are_one_loss)
{
    const size_t vocab = 30522, B = 8, length = 128;
    setup whole = new_setup(vocab, EF_TRAIN_ALL), parts = new_setup(vocab, EF_TRAIN_ALL);
    const ef_batch b = random_batch(B, length, vocab, 1);
    ef_batch halves[2] = {b, b};
    halves[0].B = halves[1].B = B / 2;
    halves[1].ids += B / 2 * length;
    halves[1].mask += B / 2 * length;
    halves[1].target += B / 2 * E;
    ef_stats before, after;
    ef_actor_stats(whole.a, &before);
    ef_test_ok(whole.a, ef__trainer_gradients(whole.trainer, &b, 1));
    ef_test_ok(parts.a, ef__trainer_gradients(parts.trainer, halves, 2));
    ef_actor_stats(whole.a, &after);
    ck_assert_uint_gt(ef__count_targets(&b) * vocab * sizeof(float), 64 << 20);
    if (!ef_actor_device(whole.a)->is_gpu) /* they take larger chunks */
        ck_assert_uint_lt(after.pool_peak - before.pool_used,
                          B * length * vocab * sizeof(float) * 4 / 5);
    ef_test_norm("metrics", parts.trainer->metrics,
                 ef_test_widen(EF_METRICS, ef_test_read(whole.trainer->metrics)), 1e-6);
    ef_test_norm(
        "gradient", parts.d->model.params->grad,
        ef_test_widen(whole.d->model.params->count, ef_test_read(whole.d->model.params->grad)),
        2e-6);
    free_setup(&parts);
    free_setup(&whole);
}
END_TEST

START_TEST(a_batch_without_a_position_that_counts_trains_nothing)
{
    setup s = new_setup(V, EF_TRAIN_ALL);
    ef_batch b = random_batch(2, L, V, 1);
    for (size_t i = 0; i < 2 * L; i++)
        ((uint8_t *)b.mask)[i] = i % L == 0;
    ef_test_ok(s.a, ef__trainer_gradients(s.trainer, &b, 1));
    ef_test_near("gradient", s.d->model.params->grad, ef_test_doubles(s.d->model.params->count), 0,
                 0);
    const float *metrics = step(&s, &b, 1);
    ck_assert(metrics[EF_METRIC_LOSS] == 0 && metrics[EF_METRIC_GRAD_NORM] == 0);
    free_setup(&s);
}
END_TEST

START_TEST(a_step_is_one_wait)
{
    setup s = new_setup(V, EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, L, V, 1);
    ef_stats before, after;
    step(&s, &b, 1);
    ef_actor_stats(s.a, &before);
    step(&s, &b, 1);
    ef_actor_stats(s.a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
    free_setup(&s);
}
END_TEST

/* What a step takes it gives back, chunks and lists too. */
START_TEST(steps_grow_no_memory)
{
    setup s = new_setup(V, EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, L, V, 1);
    ef_stats early, late;
    for (size_t i = 0; i < 10; i++)
        step(&s, &b, 1);
    ef_actor_stats(s.a, &early);
    for (size_t i = 0; i < ef_test_size(5, 100, 100); i++)
        step(&s, &b, 1);
    ef_actor_stats(s.a, &late);
    ck_assert_uint_eq(late.pool_used, early.pool_used);
    ck_assert_uint_eq(late.pool_bytes, early.pool_bytes);
    free_setup(&s);
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
    ef_test_set(w->segment->value, w->values);
    return step(&w->s, &w->b, 1)[EF_METRIC_LOSS];
}

/* Of a learning rate of 0, so that steps change nothing. */
START_TEST(the_gradient_of_each_parameter_is_the_slope_of_the_loss)
{
    slope w = {.s = {.a = ef_test_open()}, .b = random_batch(3, L, V, 1)};
    ef_trainer_options o;
    ef_trainer_options_default(&o);
    o.lr = o.weight_decay = 0;
    w.s.d = new_decoder(w.s.a, V, true);
    ef_test_ok(w.s.a, ef_trainer_new_decoder(w.s.d, &o, &w.s.trainer));
    const ef__params *p = w.s.d->model.params;
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
                       gradient + w.segment->offset, ef_test_size(1, 5, 5), 1e-2, 1e-4, 1e-2);
        ef_test_set(w.segment->value, w.values);
    }
    free_setup(&w.s);
}
END_TEST

START_TEST(a_step_with_an_infinity_is_skipped_on_the_device)
{
    setup s = new_setup(V, EF_TRAIN_ALL);
    const ef_batch good = random_batch(3, L, V, 1), bad = random_batch(3, L, V, 4);
    ((float *)bad.target)[E + 1] = INFINITY;
    step(&s, &good, 1);
    const float *before = ef_test_read(s.d->model.params->value),
                *m = ef_test_read(s.d->model.params->m);
    const float *metrics = step(&s, &bad, 1);
    ck_assert_float_eq(metrics[EF_METRIC_SKIPPED], 1);
    ck_assert_float_eq(metrics[EF_METRIC_STEPS], 1);
    ef_test_same_bits("parameters", s.d->model.params->value, before);
    ef_test_same_bits("m", s.d->model.params->m, m);
    metrics = step(&s, &good, 1);
    ck_assert_float_eq(metrics[EF_METRIC_SKIPPED], 0);
    ck_assert_float_eq(metrics[EF_METRIC_STEPS], 2);
    free_setup(&s);
}
END_TEST

/* Which segments of a group below the scope's a step has changed. */
static void check_scope(ef_scope scope, int group)
{
    setup s = new_setup(V, scope);
    const ef_batch b = random_batch(3, L, V, 1);
    const ef__params *p = s.d->model.params;
    const float *before = ef_test_read(p->value);
    step(&s, &b, 1);
    const float *after = ef_test_read(p->value);
    for (size_t i = 0; i < p->segments; i++) {
        const ef__segment *g = &p->segment[i];
        bool same = !memcmp(before + g->offset, after + g->offset, g->count * sizeof *before);
        ck_assert_msg(same == (g->group < group), "%s", g->name);
    }
    free_setup(&s);
}

START_TEST(a_scope_trains_its_own_groups)
{
    check_scope(EF_TRAIN_ALL, 0);
    check_scope(EF_TRAIN_LAST, 2);
    check_scope(EF_TRAIN_PROJ, 3);
}
END_TEST

static double loss_after(ef_scope scope, size_t steps)
{
    setup s = new_setup(V, scope);
    const ef_batch b = random_batch(6, L, V, 1);
    const float *metrics = NULL;
    for (size_t i = 0; i < steps; i++)
        metrics = step(&s, &b, 1);
    const double loss = metrics[EF_METRIC_LOSS];
    free_setup(&s);
    return loss;
}

START_TEST(the_loss_falls_and_more_parameters_make_it_fall_further)
{
    const size_t steps = ef_test_size(40, 100, 200);
    const double all = loss_after(EF_TRAIN_ALL, steps), last = loss_after(EF_TRAIN_LAST, steps),
                 proj = loss_after(EF_TRAIN_PROJ, steps), first = loss_after(EF_TRAIN_ALL, 1);
    ck_assert_msg(all < last && last < proj && proj < first, "%g %g %g %g", all, last, proj, first);
}
END_TEST

/* A run over a file: the mean loss of an epoch is below that of the one before. */
START_TEST(epochs_over_a_file_lower_the_loss)
{
    enum { EPOCHS = 3, SAMPLES = 30 };
    setup s = {.a = ef_test_open()};
    const ef_loader_options how = {.batch = 4, .shuffle = true, .seed = 1};
    const char *path = path_of("train.efb");
    ef_model_config c = tiny_config(TRAIN_VOCAB);
    ef_trainer_options o;
    ef_error error;
    ef_dataset *data;
    ef_loader *loader;
    ef_batch b;
    double loss[EPOCHS] = {0};
    c.vector = TRAIN_WIDTH;
    ef_trainer_options_default(&o);
    o.warmup = 0;
    ef_test_ok(s.a, ef_decoder_new(s.a, &c, EF_INIT_TORCH, 3, true, &s.d));
    ef_test_ok(s.a, ef_trainer_new_decoder(s.d, &o, &s.trainer));
    train_data_write(path, SAMPLES, 1);
    ck_assert_int_eq(ef_dataset_open(path, &data, &error), EF_OK);
    ck_assert_int_eq(ef_loader_new(data, &how, &loader, &error), EF_OK);
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        ck_assert_int_eq(ef_loader_seek(loader, epoch, 0, &error), EF_OK);
        while (!ef_loader_next(loader, &b, &error) && b.B)
            loss[epoch] += step(&s, &b, 1)[EF_METRIC_LOSS];
    }
    ck_assert_msg(loss[0] > loss[1] && loss[1] > loss[2] && loss[2] > 0, "%g %g %g", loss[0],
                  loss[1], loss[2]);
    ef_loader_free(loader);
    ef_dataset_free(data);
    free_setup(&s);
}
END_TEST

/* ---- checkpoints ---- */

START_TEST(a_saved_decoder_opens_with_the_same_bits_and_as_no_encoder)
{
    setup s = new_setup(V, EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, L, V, 1);
    const char *path = path_of("decoder.safetensors"), *const paths[] = {path, NULL};
    const ef__run_state state = {0};
    const ef__trainers trainers = {{[EF_DECODER] = s.trainer}};
    ef_decoder *d;
    ef_encoder *e;
    ef_error error;
    step(&s, &b, 1);
    ck_assert_int_eq(ef__checkpoint_save(&trainers, &state, NULL, paths, &error), EF_OK);
    if (ef_decoder_open(s.a, path, &d, &error))
        ck_abort_msg("%s", error.text);
    ck_assert_ptr_null(d->model.params->grad);
    ef_test_same_bits("logits", logits(s.a, d, &b), ef_test_read(logits(s.a, s.d, &b)));
    ck_assert_int_eq(ef_encoder_open(s.a, path, &e, &error), EF_EFORMAT);
    ck_assert_msg(strstr(error.text, "decoder.safetensors: its model is of the kind decoder, not "
                                     "encoder"),
                  "%s", error.text);
    ef_checkpoint_info info;
    ck_assert(!ef_checkpoint_describe(path, &info, &error));
    ck_assert(info.has_decoder && !info.has_encoder && !info.has_vocabulary);
    ck_assert_uint_eq(info.decoder.vocab, V);
    ef_decoder_free(d);
    free_setup(&s);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("decoder");
    TCase *c = ef_test_case(s, "forward");
    tcase_add_test(c, logits_have_a_row_of_the_vocabulary_for_each_position);
    tcase_add_test(c, logits_do_not_depend_on_what_follows);
    tcase_add_test(c, a_deferred_forward_gives_what_an_immediate_one_does);
    tcase_add_test(c, logits_refuse_shapes_that_disagree_and_ids_past_the_vocabulary);
    c = ef_test_case(s, "step");
    tcase_add_test(c, the_loss_is_the_mean_over_positions_before_unmasked_ones);
    tcase_add_test(c, micro_batches_are_one_batch);
    tcase_add_test(c, chunks_of_logits_are_one_loss);
    tcase_add_test(c, a_batch_without_a_position_that_counts_trains_nothing);
    tcase_add_test(c, a_step_is_one_wait);
    tcase_add_test(c, steps_grow_no_memory);
    tcase_add_test(c, the_gradient_of_each_parameter_is_the_slope_of_the_loss);
    tcase_add_test(c, a_step_with_an_infinity_is_skipped_on_the_device);
    tcase_add_test(c, a_scope_trains_its_own_groups);
    tcase_add_test(c, the_loss_falls_and_more_parameters_make_it_fall_further);
    c = ef_test_case(s, "files");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_add_test(c, epochs_over_a_file_lower_the_loss);
    tcase_add_test(c, a_saved_decoder_opens_with_the_same_bits_and_as_no_encoder);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
