/* Tests of an encoder and a decoder that share their last block: what each step changes, the one
 * optimiser state, checkpoints of both. */
#include "ef_test.h"
#include "folder.h"
#include "ref.h"
#include "train/checkpoint.h"
#include <math.h>
#include <string.h>

enum { V = 31, E = 5, L = 7, SHARED = 6 }; /* SHARED: segments of a block */

static ef_model_config config_of(size_t blocks)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = V;
    c.width = 10;
    c.hidden = 14;
    c.taps = 3;
    c.vector = E;
    c.blocks = blocks;
    c.length = L;
    return c;
}

typedef struct setup {
    ef_actor *a;
    ef_encoder *encoder;
    ef_decoder *decoder;
    ef__trainers trainers;
} setup;

static void add_trainers(setup *s, ef_scope scope, float loss_scale)
{
    ef_trainer_options o;
    ef_trainer_options_default(&o);
    o.warmup = 0;
    o.lr = 3e-3f;
    o.scope = scope;
    o.loss_scale = loss_scale;
    ef_test_ok(s->a, ef_trainer_new(s->encoder, &o, &s->trainers.of[EF_ENCODER]));
    o.lr = 2e-3f;
    ef_test_ok(s->a, ef_trainer_new_decoder(s->decoder, &o, &s->trainers.of[EF_DECODER]));
}

/* An encoder of three blocks, a decoder of two: one's third is the other's second. */
static setup new_setup(ef_scope scope)
{
    const ef_model_config e = config_of(3), d = config_of(2);
    setup s = {.a = ef_test_open()};
    ef_test_ok(s.a, ef_pair_new(s.a, &e, &d, EF_INIT_TORCH, 3, true, &s.encoder, &s.decoder));
    add_trainers(&s, scope, 0);
    return s;
}

static void free_models(setup *s)
{
    ef_trainer_free(s->trainers.of[EF_ENCODER]);
    ef_trainer_free(s->trainers.of[EF_DECODER]);
    ef_encoder_free(s->encoder);
    ef_decoder_free(s->decoder);
}

static void free_setup(setup *s)
{
    free_models(s);
    ef_test_close(s->a);
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

static const float *step(setup *s, ef_model_kind kind, const ef_batch *b)
{
    ef_readback *readback;
    const void *data;
    size_t n;
    float *metrics = ef_test_floats(EF_METRICS);
    ef_test_ok(s->a, ef_trainer_step(s->trainers.of[kind], b, 1, &readback));
    ef_test_ok(s->a, ef_readback_value(readback, &data, &n));
    memcpy(metrics, data, EF_METRICS * sizeof *metrics);
    ef_readback_free(readback);
    return metrics;
}

static ef__params *params_of(const setup *s)
{
    return s->encoder->model.params;
}

static ef_tensor *vectors(ef_encoder *e, const ef_batch *b)
{
    ef_actor *a = e->model.actor;
    ef_tensor *y = ef_test_f32(a, SHAPE(b->B, E), NULL);
    ef_test_ok(a, ef_encoder_encode(e, ef_test_i32(a, SHAPE(b->B, L), b->ids),
                                    ef_test_u8(a, SHAPE(b->B, L), b->mask), y));
    return y;
}

static ef_tensor *logits(ef_decoder *d, const ef_batch *b)
{
    ef_actor *a = d->model.actor;
    ef_tensor *y = ef_test_f32(a, SHAPE(b->B, L, V), NULL);
    ef_test_ok(a, ef_decoder_logits(d, ef_test_i32(a, SHAPE(b->B, L), b->ids),
                                    ef_test_u8(a, SHAPE(b->B, L), b->mask),
                                    ef_test_f32(a, SHAPE(b->B, E), b->target), y));
    return y;
}

/* ---- the set ---- */

START_TEST(a_pair_is_an_encoder_and_a_decoder_whose_last_block_is_the_encoders)
{
    setup s = new_setup(EF_TRAIN_ALL);
    const ef_model_config ce = config_of(3), cd = config_of(2);
    const ef_batch b = random_batch(3, 1);
    ef_encoder *e;
    ef_decoder *d;
    ef_test_ok(s.a, ef_encoder_new(s.a, &ce, EF_INIT_TORCH, 3, false, &e));
    ef_test_ok(s.a, ef_decoder_new(s.a, &cd, EF_INIT_TORCH, 3, false, &d));
    for (size_t i = 0; i < SHARED; i++)
        ef_test_ok(s.a, ef_tensor_copy(d->model.params->segment[d->tcn.at[1] + i].value,
                                       e->model.params->segment[e->tcn.at[2] + i].value));
    ef_test_same_bits("vectors", vectors(s.encoder, &b), ef_test_read(vectors(e, &b)));
    ef_test_same_bits("logits", logits(s.decoder, &b), ef_test_read(logits(d, &b)));
    ck_assert_uint_eq(ef_encoder_parameters(s.encoder), ef_encoder_parameters(e));
    ck_assert_uint_eq(ef_decoder_parameters(s.decoder), ef_decoder_parameters(d));
    const size_t shared = params_of(&s)->segments,
                 all = s.encoder->model.segments + s.decoder->model.segments;
    ck_assert_uint_eq(all, shared + SHARED);
    ef_encoder_free(e);
    ef_decoder_free(d);
    free_setup(&s);
}
END_TEST

START_TEST(names_say_whose_a_parameter_is)
{
    setup s = new_setup(EF_TRAIN_ALL);
    const char *name;
    ck_assert_ptr_nonnull(ef_encoder_parameter(s.encoder, 0, &name));
    ck_assert_str_eq(name, "encoder.embedding.weight");
    ef_tensor *shared = ef_decoder_parameter(s.decoder, 0, &name);
    ck_assert_str_eq(name, "encoder.blocks.2.norm.weight");
    const char *again;
    ck_assert_ptr_eq(shared,
                     ef_encoder_parameter(s.encoder, s.encoder->model.segments - SHARED, &again));
    ck_assert_ptr_eq(name, again);
    ck_assert_ptr_nonnull(ef_decoder_parameter(s.decoder, SHARED, &name));
    ck_assert_str_eq(name, "decoder.embedding.weight");
    ck_assert_ptr_null(ef_decoder_parameter(s.decoder, s.decoder->model.segments, NULL));
    free_setup(&s);
}
END_TEST

START_TEST(each_of_a_pair_lives_without_the_other)
{
    const ef_model_config c = config_of(1);
    const ef_batch b = random_batch(2, 1);
    ef_actor *a = ef_test_open();
    ef_encoder *e;
    ef_decoder *d;
    for (int first = 0; first < 2; first++) {
        ef_test_ok(a, ef_pair_new(a, &c, &c, EF_INIT_TORCH, 3, false, &e, &d));
        const void *y = ef_test_read(vectors(e, &b)), *z = ef_test_read(logits(d, &b));
        if (first == EF_ENCODER) {
            ef_encoder_free(e);
            ef_test_same_bits("logits", logits(d, &b), z);
            ef_decoder_free(d);
        } else {
            ef_decoder_free(d);
            ef_test_same_bits("vectors", vectors(e, &b), y);
            ef_encoder_free(e);
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_pair_that_cannot_share_is_refused_with_both_sizes)
{
    ef_actor *a = ef_test_open();
    ef_model_config e = config_of(3), d = config_of(2);
    ef_encoder *encoder;
    ef_decoder *decoder;
    d.hidden = 15;
    ef_test_refused(a, ef_pair_new(a, &e, &d, EF_INIT_TORCH, 3, true, &encoder, &decoder), EF_EARG,
                    "width 10, hidden 14, taps 3 in the encoder and width 10, hidden 15, taps 3");
    d = config_of(2);
    d.vocab = 30;
    ef_test_refused(a, ef_pair_new(a, &e, &d, EF_INIT_TORCH, 3, true, &encoder, &decoder), EF_EARG,
                    "31 ids and vectors of 5, the decoder 30 and 5");
    ef_test_close(a);
}
END_TEST

/* ---- steps ---- */

/* Which of the set's parts [encoder only | shared | decoder only] have other bits than before. */
static int changed(const setup *s, const char *before, const char *after)
{
    const ef__params *p = params_of(s);
    int parts = 0;
    for (size_t i = 0; i < p->segments; i++) {
        const ef__segment *g = &p->segment[i];
        if (memcmp(before + g->offset * 4, after + g->offset * 4, g->count * 4))
            parts |= 1 << g->part;
    }
    return parts;
}

START_TEST(a_step_changes_its_model_and_not_the_other)
{
    const struct {
        ef_scope scope;
        int by_encoder, by_decoder;
    } cases[] = {{EF_TRAIN_ALL, 3, 6}, {EF_TRAIN_LAST, 3, 6}, {EF_TRAIN_PROJ, 1, 4}};
    for (int i = 0; i < 3; i++) {
        setup s = new_setup(cases[i].scope);
        const ef_batch b = random_batch(3, 1);
        const char *p0 = ef_test_read(params_of(&s)->value);
        step(&s, EF_ENCODER, &b);
        const char *p1 = ef_test_read(params_of(&s)->value);
        ck_assert_int_eq(changed(&s, p0, p1), cases[i].by_encoder);
        step(&s, EF_DECODER, &b);
        const char *p2 = ef_test_read(params_of(&s)->value);
        ck_assert_int_eq(changed(&s, p1, p2), cases[i].by_decoder);
        const int32_t shared = cases[i].scope == EF_TRAIN_PROJ ? 0 : 2;
        ck_assert_mem_eq(ef_test_read(params_of(&s)->updates), ((int32_t[]){1, shared, 1}), 12);
        free_setup(&s);
    }
}
END_TEST

/* Of the shared block, decoupled decay and bias corrections of step 2 included. */
START_TEST(the_shared_block_has_one_optimiser_state)
{
    setup s = new_setup(EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, 1);
    const ef__params *p = params_of(&s);
    ef_trainer *t = s.trainers.of[EF_DECODER];
    const ef_trainer_options *o = &t->options;
    step(&s, EF_ENCODER, &b);
    const size_t n = p->count;
    double *value = ef_test_widen(n, ef_test_read(p->value));
    double *m = ef_test_widen(n, ef_test_read(p->m)), *v = ef_test_widen(n, ef_test_read(p->v));
    ef_test_ok(s.a, ef__trainer_gradients(t, &b, 1));
    const float *g = ef_test_read(p->grad);
    const ref_adam rule = {o->lr,
                           o->beta1,
                           o->beta2,
                           o->epsilon,
                           o->weight_decay,
                           ref_clip_scale(ref_norm(n, g), o->clip),
                           2,
                           false};
    step(&s, EF_DECODER, &b); /* the gradients above are not added to */
    for (size_t i = 0; i < SHARED; i++) {
        const ef__segment *q = &p->segment[s.decoder->tcn.at[1] + i];
        ref_adam_step(&rule, q->decay, q->count, g + q->offset, value + q->offset, m + q->offset,
                      v + q->offset);
        ef_test_norm(q->name, q->value, value + q->offset, 1e-6);
    }
    free_setup(&s);
}
END_TEST

START_TEST(alternating_steps_improve_mse_cos_and_ce)
{
    setup s = new_setup(EF_TRAIN_ALL);
    const ef_batch b = random_batch(4, 1);
    const float *a0 = step(&s, EF_ENCODER, &b), *d0 = step(&s, EF_DECODER, &b), *a1, *d1;
    for (int i = 0; i < 20; i++) {
        a1 = step(&s, EF_ENCODER, &b);
        d1 = step(&s, EF_DECODER, &b);
    }
    ck_assert(a1[EF_METRIC_MSE] < a0[EF_METRIC_MSE] && a1[EF_METRIC_COS] > a0[EF_METRIC_COS]);
    ck_assert(d1[EF_METRIC_CE] < d0[EF_METRIC_CE]);
    ck_assert(a1[EF_METRIC_STEPS] == 21 && d1[EF_METRIC_STEPS] == 21);
    free_setup(&s);
}
END_TEST

START_TEST(steps_of_both_kinds_wait_once_and_nest_in_a_batch)
{
    setup s = new_setup(EF_TRAIN_ALL), nested = new_setup(EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, 1);
    ef_readback *readback[EF__KINDS];
    ef_stats before, after;
    for (int k = 0; k < EF__KINDS; k++) {
        ef_actor_stats(s.a, &before);
        step(&s, k, &b);
        ef_actor_stats(s.a, &after);
        ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
    }
    ef_actor_stats(nested.a, &before);
    ef_test_ok(nested.a, ef_batch_begin(nested.a));
    for (int k = 0; k < EF__KINDS; k++)
        ef_test_ok(nested.a, ef_trainer_step(nested.trainers.of[k], &b, 1, &readback[k]));
    ef_test_ok(nested.a, ef_batch_sync(nested.a, "A and B"));
    ef_actor_stats(nested.a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
    ef_test_same_bits("parameters", params_of(&nested)->value, ef_test_read(params_of(&s)->value));
    for (int k = 0; k < EF__KINDS; k++)
        ef_readback_free(readback[k]);
    free_setup(&s);
    free_setup(&nested);
}
END_TEST

/* ---- the loss scale ---- */

static void scale_anew(setup *s, float loss_scale)
{
    ef_trainer_free(s->trainers.of[EF_ENCODER]);
    ef_trainer_free(s->trainers.of[EF_DECODER]);
    add_trainers(s, EF_TRAIN_ALL, loss_scale);
}

START_TEST(scaled_steps_give_the_same_bits)
{
    setup plain = new_setup(EF_TRAIN_ALL), scaled = new_setup(EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, 1);
    scale_anew(&scaled, 1024);
    for (int i = 0; i < 4; i++) {
        const float *x = step(&plain, i % 2, &b), *y = step(&scaled, i % 2, &b);
        ck_assert_mem_eq(x, y, EF_METRIC_SCALE * sizeof *x);
        ck_assert(x[EF_METRIC_SCALE] == 1 && y[EF_METRIC_SCALE] == 1024);
    }
    ef_test_same_bits("parameters", params_of(&scaled)->value,
                      ef_test_read(params_of(&plain)->value));
    free_setup(&plain);
    free_setup(&scaled);
}
END_TEST

static void check_overflow(setup *s, ef_model_kind kind, const ef_batch *good, const ef_batch *bad)
{
    const ef__params *p = params_of(s);
    const ef_tensor *state[] = {p->value, p->m, p->v, p->updates};
    const void *before[4];
    step(s, kind, good);
    for (int i = 0; i < 4; i++)
        before[i] = ef_test_read(state[i]);
    for (float scale = 1024; scale > 256; scale /= 2) {
        const float *metrics = step(s, kind, bad);
        ck_assert(metrics[EF_METRIC_SKIPPED] == 1 && metrics[EF_METRIC_SCALE] == scale);
    }
    for (int i = 0; i < 4; i++)
        ef_test_same_bits("a skipped step's state", state[i], before[i]);
    const float *metrics = step(s, kind, good);
    ck_assert(metrics[EF_METRIC_SKIPPED] == 0 && metrics[EF_METRIC_SCALE] == 256);
    ck_assert(metrics[EF_METRIC_STEPS] == 2);
}

START_TEST(an_overflow_changes_nothing_but_the_scale)
{
    for (int kind = 0; kind < EF__KINDS; kind++) {
        setup s = new_setup(EF_TRAIN_ALL);
        const ef_batch good = random_batch(3, 1);
        ef_batch bad = good;
        float *vector = ef_test_floats(3 * E);
        for (size_t i = 0; i < 3 * E; i++)
            vector[i] = i % 2 ? 3e38f : -3e38f;
        bad.target = vector;
        scale_anew(&s, 1024);
        check_overflow(&s, kind, &good, &bad);
        free_setup(&s);
    }
}
END_TEST

START_TEST(a_loss_scale_that_cannot_be_is_refused)
{
    setup s = new_setup(EF_TRAIN_ALL);
    ef_trainer_options o;
    ef_trainer *t;
    ef_trainer_options_default(&o);
    const float wrong[] = {0.5f, 65537, -1, NAN};
    for (int i = 0; i < 4; i++) {
        o.loss_scale = wrong[i];
        ef_test_refused(s.a, ef_trainer_new(s.encoder, &o, &t), EF_EARG, "loss_scale");
    }
    free_setup(&s);
}
END_TEST

/* ---- checkpoints ---- */

static void save(const setup *s, const char *path)
{
    const char *const paths[] = {path, NULL};
    const ef__run_state state = {0};
    ef_error error;
    if (ef__checkpoint_save(&s->trainers, &state, NULL, paths, &error))
        ck_abort_msg("%s", error.text);
}

static void load(setup *s, const char *path)
{
    ef__st_reader *file;
    ef_error error;
    if (ef__st_open(path, &file, &error) || ef__checkpoint_params(file, params_of(s), &error) ||
        ef__checkpoint_optim(file, &s->trainers, &error))
        ck_abort_msg("%s", error.text);
    ef__st_close(file);
}

START_TEST(a_pair_goes_on_from_its_checkpoint_bit_for_bit)
{
    setup s = new_setup(EF_TRAIN_ALL), again = new_setup(EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, 1);
    const char *path = path_of("pair.safetensors");
    scale_anew(&s, 1024);
    scale_anew(&again, 2048);
    const int kinds[] = {0, 0, 1, 0, 1, 1, 0, 1};
    for (int i = 0; i < 5; i++)
        step(&s, kinds[i], &b);
    save(&s, path);
    load(&again, path);
    for (int i = 5; i < 8; i++) {
        const float *want = step(&s, kinds[i], &b), *got = step(&again, kinds[i], &b);
        ck_assert_mem_eq(want, got, EF_METRICS * sizeof *want);
    }
    ef_test_same_bits("parameters", params_of(&again)->value, ef_test_read(params_of(&s)->value));
    ef_test_same_bits("updates", params_of(&again)->updates, ((int32_t[]){4, 8, 4}));
    free_setup(&s);
    free_setup(&again);
}
END_TEST

START_TEST(a_state_that_no_training_comes_to_is_refused)
{
    const int32_t count[EF__COUNTS] = {0, -1}, updates[EF__PARTS] = {0, 0, -2};
    const float scale = -8;
    const char *const names[] = {"optim.v.encoder.embedding.weight\": value 0", "optim.updates",
                                 "optim.counts.decoder", "optim.scale.encoder"};
    for (int i = 0; i < 4; i++) {
        setup s = new_setup(EF_TRAIN_ALL);
        ef__st_reader *file;
        ef_error error;
        scale_anew(&s, 1024);
        if (i == 0)
            ef_test_ok(s.a, ef_tensor_fill(params_of(&s)->v, -1));
        if (i == 1)
            ef_test_ok(s.a, ef_tensor_write(params_of(&s)->updates, updates));
        if (i == 2)
            ef_test_ok(s.a, ef_tensor_write(s.trainers.of[EF_DECODER]->counts, count));
        if (i == 3)
            ef_test_ok(s.a, ef_tensor_write(s.trainers.of[EF_ENCODER]->scale, &scale));
        save(&s, path_of("pair.safetensors"));
        ck_assert_int_eq(ef__st_open(path_of("pair.safetensors"), &file, &error), EF_OK);
        ck_assert_int_eq(ef__checkpoint_optim(file, &s.trainers, &error), EF_EFORMAT);
        ck_assert_msg(strstr(error.text, names[i]) != NULL, "%s", error.text);
        ef__st_close(file);
        free_setup(&s);
    }
}
END_TEST

START_TEST(each_of_a_pair_opens_from_its_checkpoint_with_values_of_its_own_alone)
{
    setup s = new_setup(EF_TRAIN_ALL);
    const ef_batch b = random_batch(3, 1);
    const char *path = path_of("pair.safetensors");
    ef_encoder *e;
    ef_decoder *d;
    ef_error error;
    step(&s, EF_ENCODER, &b);
    step(&s, EF_DECODER, &b);
    save(&s, path);
    if (ef_encoder_open(s.a, path, &e, &error) || ef_decoder_open(s.a, path, &d, &error))
        ck_abort_msg("%s", error.text);
    ef_test_same_bits("vectors", vectors(e, &b), ef_test_read(vectors(s.encoder, &b)));
    ef_test_same_bits("logits", logits(d, &b), ef_test_read(logits(s.decoder, &b)));
    ef_checkpoint_info info;
    ck_assert(!ef_checkpoint_describe(path, &info, &error));
    ck_assert(info.has_decoder && info.has_encoder && !info.has_vocabulary);
    ck_assert_uint_eq(info.encoder.width, e->model.config.width);
    ck_assert_uint_eq(info.decoder.hidden, d->model.config.hidden);
    ck_assert_uint_eq(e->model.params->segments, s.encoder->model.segments);
    ck_assert_uint_eq(d->model.params->segments, s.decoder->model.segments);
    ck_assert(!e->model.params->grad && !d->model.params->grad);
    ef_encoder_free(e);
    ef_decoder_free(d);
    free_setup(&s);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pair");
    TCase *c = ef_test_case(s, "set");
    tcase_add_test(c, a_pair_is_an_encoder_and_a_decoder_whose_last_block_is_the_encoders);
    tcase_add_test(c, names_say_whose_a_parameter_is);
    tcase_add_test(c, each_of_a_pair_lives_without_the_other);
    tcase_add_test(c, a_pair_that_cannot_share_is_refused_with_both_sizes);
    c = ef_test_case(s, "steps");
    tcase_add_test(c, a_step_changes_its_model_and_not_the_other);
    tcase_add_test(c, the_shared_block_has_one_optimiser_state);
    tcase_add_test(c, alternating_steps_improve_mse_cos_and_ce);
    tcase_add_test(c, steps_of_both_kinds_wait_once_and_nest_in_a_batch);
    c = ef_test_case(s, "loss scale");
    tcase_add_test(c, scaled_steps_give_the_same_bits);
    tcase_add_test(c, an_overflow_changes_nothing_but_the_scale);
    tcase_add_test(c, a_loss_scale_that_cannot_be_is_refused);
    c = ef_test_case(s, "checkpoints");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_add_test(c, a_pair_goes_on_from_its_checkpoint_bit_for_bit);
    tcase_add_test(c, a_state_that_no_training_comes_to_is_refused);
    tcase_add_test(c, each_of_a_pair_opens_from_its_checkpoint_with_values_of_its_own_alone);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
