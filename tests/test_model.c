/* Tests of src/model: parameters, initial values, the block stack, the encoder. */
#include "ef_test.h"
#include "model/encoder.h"
#include "model/init.h"
#include "op/tanh.h"
#include <math.h>
#include <string.h>

static ef_model_config small_config(void)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = 23;
    c.width = 9;
    c.hidden = 13;
    c.taps = 3;
    c.vector = 5;
    c.blocks = 2;
    c.length = 12;
    return c;
}

static ef_encoder *new_encoder(ef_actor *a, const ef_model_config *c, bool trainable)
{
    ef_encoder *e = NULL;
    ef_test_ok(a, ef_encoder_new(a, c, EF_INIT_TORCH, 7, trainable, &e));
    return e;
}

/* Busy values, so that every parameter matters. */
static void randomise(ef_actor *a, ef_encoder *e)
{
    ef_tensor *t;
    for (size_t i = 0; (t = ef_encoder_parameter(e, i, NULL)); i++) {
        size_t n = ef_tensor_count(t);
        float *x = ef_test_randn(n, i + 1);
        for (size_t j = 0; j < n; j++)
            x[j] = ef_tensor_rank(t) < 2 ? 1 + 0.3f * x[j] : 0.4f * x[j];
        ef_test_ok(a, ef_tensor_write(t, x));
    }
}

/* ---- initial values ---- */

START_TEST(the_plans_initialiser_draws_what_the_original_drew)
{
    ck_assert_uint_eq(ef__derive(42, "embedding"), 0x1186059113482696u);
    ef__rng rng = ef__rng_new(ef__derive(42, "embedding"));
    const double drawn[] = {.86095446, .71726859, .08513808};
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(ef__rng_plan(&rng), drawn[i], 1e-8);
    ef__segment s = {.name = "embedding.weight", .rank = 2, .dims = {1, 3}, .count = 3};
    float values[3];
    ef__init_segment(&s, 3, EF_INIT_PLAN, 42, values);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(values[i], 0.02 * (2 * drawn[i] - 1), 1e-9);
}
END_TEST

START_TEST(the_plans_taps_are_drawn_forward_and_stored_reversed)
{
    enum { O = 2, I = 3, K = 4 };
    ef__segment s = {
        .name = "blocks.3.conv1.weight", .rank = 3, .dims = {O, I, K}, .count = O * I * K};
    float values[O * I * K];
    ef__init_segment(&s, I * K, EF_INIT_PLAN, 5, values);
    ef__rng rng = ef__rng_new(ef__derive(ef__derive(5, "tcn_stack_3"), "conv1"));
    for (int row = 0; row < O * I; row++)
        for (int k = 0; k < K; k++)
            ck_assert_double_eq_tol(values[row * K + K - 1 - k],
                                    (2 * (double)ef__rng_plan(&rng) - 1) / (I * K), 1e-8);
    ef__segment bias = {.name = "blocks.3.conv1.bias", .rank = 1, .dims = {O}, .count = O};
    ef__init_segment(&bias, I * K, EF_INIT_PLAN, 5, values);
    rng = ef__rng_new(ef__derive(ef__derive(5, "tcn_stack_3"), "conv1") + 1);
    ck_assert_double_eq_tol(values[0], 1e-3 * (2 * (double)ef__rng_plan(&rng) - 1), 1e-9);
}
END_TEST

START_TEST(pytorchs_initialiser_has_its_distributions)
{
    enum { N = 60000 };
    static float x[N];
    double sum = 0, squares = 0, most = 0;
    ef__segment embedding = {.name = "embedding.weight", .rank = 2, .dims = {N / 6, 6}, .count = N};
    ef__init_segment(&embedding, 6, EF_INIT_TORCH, 1, x);
    for (int i = 0; i < N; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    ck_assert_double_eq_tol(sum / N, 0, 4e-4);
    ck_assert_double_eq_tol(sqrt(squares / N), 0.02, 3e-4);
    ef__segment conv = {
        .name = "blocks.0.conv1.weight", .rank = 3, .dims = {N / 40, 8, 5}, .count = N};
    ef__init_segment(&conv, 40, EF_INIT_TORCH, 1, x);
    squares = 0;
    for (int i = 0; i < N; i++) {
        most = fmax(most, fabsf(x[i]));
        squares += (double)x[i] * x[i];
    }
    ck_assert_double_le(most, 1 / sqrt(40.) * (1 + 1e-6));
    ck_assert_double_eq_tol(squares / N, 1 / 120., 2e-4);
}
END_TEST

START_TEST(scaled_is_pytorchs_with_conv2s_weights_zero)
{
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *scaled = NULL, *torch = NULL, *other = NULL;
    ef_tensor *t;
    const char *name;
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_SCALED, 3, false, &scaled));
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, false, &torch));
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 4, false, &other));
    for (size_t i = 0; (t = ef_encoder_parameter(scaled, i, &name)); i++) {
        size_t n = ef_tensor_count(t);
        ef_tensor *expected = ef_encoder_parameter(torch, i, NULL);
        bool conv2 = strstr(name, "conv2.weight") != NULL, norm = strstr(name, "norm") != NULL;
        ef_test_same_bits(name, t, conv2 ? ef_test_floats(n) : ef_test_read(expected));
        const float *x = ef_test_read(expected),
                    *y = ef_test_read(ef_encoder_parameter(other, i, NULL));
        ck_assert_msg(norm || memcmp(x, y, n * sizeof *x), "%s does not depend on the seed", name);
    }
    ef_encoder_free(scaled);
    ef_encoder_free(torch);
    ef_encoder_free(other);
    ef_test_close(a);
}
END_TEST

/* ---- parameters ---- */

START_TEST(parameters_have_pytorchs_names_and_shapes_in_padded_segments)
{
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *e = new_encoder(a, &c, true);
    const ef__params *p = e->model.params;
    size_t numbers = 0;
    ck_assert_str_eq(p->segment[0].name, "embedding.weight");
    ck_assert_str_eq(p->segment[7].name, "blocks.1.norm.weight");
    ck_assert_str_eq(p->segment[9].name, "blocks.1.conv1.weight");
    ck_assert_uint_eq(p->segment[9].dims[0], c.hidden);
    ck_assert_uint_eq(p->segment[9].dims[1], c.width);
    ck_assert_uint_eq(p->segment[9].dims[2], c.taps);
    ck_assert_str_eq(p->segment[p->segments - 1].name, "proj.bias");
    for (size_t i = 0; i < p->segments; i++) {
        const ef__segment *s = &p->segment[i];
        ck_assert_uint_eq(s->offset % EF__CHUNK, 0);
        ck_assert_int_eq(s->decay, s->rank > 1);
        numbers += s->count;
    }
    ck_assert_uint_eq(ef_encoder_parameters(e), numbers);
    ck_assert_ptr_null(ef_encoder_parameter(e, p->segments, NULL));
    ef_encoder_free(e);
    ef_test_close(a);
}
END_TEST

START_TEST(a_model_that_cannot_be_is_refused_with_its_reason)
{
    ef_actor *a = ef_test_open();
    const struct {
        size_t vocab, taps, blocks, dilation;
        ef_status status;
        const char *text;
    } cases[] = {{0, 3, 2, 1, EF_EARG, "vocab is 0"},
                 {23, 0, 2, 1, EF_EARG, "taps is 0"},
                 {23, 3, 0, 1, EF_EARG, "blocks is 0"},
                 {23, 3, EF_MAX_BLOCKS + 1, 1, EF_EARG, "at most 64"},
                 {23, 3, 2, (size_t)1 << 40, EF_EARG, "dilation"},
                 {1 << 28, 3, 2, 1, EF_ENOMEM, "bytes"},
                 {INT32_MAX, 3, 2, 1, EF_EARG, "overflow"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ef_model_config c = small_config();
        ef_encoder *e = NULL;
        ef_stats before, after;
        c.vocab = cases[i].vocab;
        c.taps = cases[i].taps;
        c.blocks = cases[i].blocks;
        c.dilations[0] = cases[i].dilation;
        c.width = c.vocab > 1000 ? c.vocab : c.width;
        ef_actor_stats(a, &before);
        ef_test_refused(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 1, true, &e), cases[i].status,
                        cases[i].text);
        ef_actor_stats(a, &after);
        ck_assert_ptr_null(e);
        ck_assert_uint_eq(before.pool_bytes, after.pool_bytes);
    }
    ef_test_close(a);
}
END_TEST

/* ---- the stack ---- */

typedef struct stack {
    ef_actor *a;
    ef_encoder *e;
    size_t B, L;
    float *x, *weight; /* [B,L,D]; weight: of each output in the loss */
    uint8_t *mask;
    ef_tensor *value; /* the parameter that is varied, or NULL: x */
    float *p;
} stack;

static stack new_stack(ef_actor *a, size_t L, size_t blocks)
{
    stack s = {.a = a, .B = 2, .L = L};
    ef_model_config c = small_config();
    c.blocks = blocks;
    s.e = new_encoder(a, &c, true);
    randomise(a, s.e);
    size_t n = s.B * L * c.width;
    s.x = ef_test_randn(n, 11);
    s.weight = ef_test_randn(n, 12);
    s.mask = ef_test_mask(s.B * L, 13, 0.7);
    for (size_t i = 0; i < n; i++)
        if (!s.mask[i / c.width])
            s.weight[i] = 0;
    return s;
}

/* The stack's output, a tensor of the caller's. */
static ef_tensor *run_stack(const stack *s, ef__tcn_trace *trace)
{
    ef_tensor *x = NULL, *mask = ef_test_u8(s->a, SHAPE(s->B, s->L), s->mask);
    const size_t dims[3] = {s->B, s->L, s->e->model.config.width};
    ef_test_ok(s->a, ef_tensor_new(s->a, EF_F32, 3, dims, "x", &x));
    ef_test_ok(s->a, ef_tensor_write(x, s->x));
    ef_test_ok(s->a, ef__tcn_forward(&s->e->tcn, mask, &x, trace));
    return x;
}

static double stack_loss(void *user)
{
    stack *s = user;
    if (s->value)
        ef_test_ok(s->a, ef_tensor_write(s->value, s->p));
    ef_tensor *y = run_stack(s, NULL);
    const float *out = ef_test_read(y);
    double sum = 0;
    for (size_t i = 0; i < ef_tensor_count(y); i++)
        sum += (double)out[i] * s->weight[i];
    ef_tensor_free(y);
    return sum;
}

START_TEST(every_gradient_of_a_stack_is_the_slope)
{
    ef_actor *a = ef_test_open();
    stack s = new_stack(a, 7, 2);
    ef__params *p = s.e->model.params;
    ef__tcn_trace trace = {.first = 0};
    size_t n = s.B * s.L * s.e->model.config.width, samples = ef_test_size(2, 6, 12);
    ef_tensor *y = run_stack(&s, &trace);
    ef_tensor *dx = ef_test_f32(a, SHAPE(s.B, s.L, s.e->model.config.width), s.weight);
    ef_tensor *mask = ef_test_u8(a, SHAPE(s.B, s.L), s.mask);
    ef_test_ok(a, ef__tcn_backward(&s.e->tcn, mask, &trace, true, dx));
    ef__tcn_trace_clear(&trace);
    ef_tensor_free(y);
    ef_test_slopes("x", stack_loss, &s, s.x, n, ef_test_read(dx), samples, 1e-2, 2e-2, 1e-2);
    for (size_t i = 1; i < p->segments - 2; i++) {
        s.value = p->segment[i].value;
        s.p = ef_test_read(s.value);
        ef_test_slopes(p->segment[i].name, stack_loss, &s, s.p, p->segment[i].count,
                       ef_test_read(p->segment[i].grad), samples, 1e-2, 2e-2, 1e-2);
        ef_test_ok(a, ef_tensor_write(s.value, s.p));
    }
    ef_encoder_free(s.e);
    ef_test_close(a);
}
END_TEST

START_TEST(inference_in_place_gives_the_bits_of_the_pass_that_keeps)
{
    ef_actor *a = ef_test_open();
    stack s = new_stack(a, 9, 3);
    ef__tcn_trace trace = {.first = 1};
    ef_tensor *kept = run_stack(&s, &trace), *y = run_stack(&s, NULL);
    ef_test_same_bits("stack", y, ef_test_read(kept));
    ck_assert_ptr_null(trace.block[0].x);
    ck_assert_ptr_nonnull(trace.block[1].x);
    ef__tcn_trace_clear(&trace);
    ef_tensor_free(kept);
    ef_tensor_free(y);
    ef_encoder_free(s.e);
    ef_test_close(a);
}
END_TEST

/* What a training step finds: the weights are known and have changed. */
START_TEST(a_block_forward_is_four_launches_at_most_and_no_wait)
{
    ef_actor *a = ef_test_open();
    stack s = new_stack(a, 7, 1);
    ef_tensor *x, *mask = ef_test_u8(a, SHAPE(s.B, s.L), s.mask);
    for (int i = 0; i < 2; i++) {
        ef__tcn_trace trace = {.first = 0};
        ef_stats before, after;
        randomise(a, s.e);
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 3, (size_t[]){s.B, s.L, 9}, "x", &x));
        ef_test_ok(a, ef_tensor_write(x, s.x));
        ef_actor_stats(a, &before);
        ef_test_ok(a, ef__tcn_forward(&s.e->tcn, mask, &x, &trace));
        ef_actor_stats(a, &after);
        ck_assert_uint_le(after.launches - before.launches, i == 0 ? 5 : 4);
        ck_assert_uint_eq(after.host_waits, before.host_waits);
        ef__tcn_trace_clear(&trace);
        ef_tensor_free(x);
    }
    ef_encoder_free(s.e);
    ef_test_close(a);
}
END_TEST

START_TEST(an_output_sees_its_receptive_field_and_no_more)
{
    enum { L = 24, AT = 16 };
    ef_actor *a = ef_test_open();
    ef_actor_set_accuracy(a, EF_STRICT);
    stack s = new_stack(a, L, 2);
    size_t D = s.e->model.config.width, field = ef_receptive_field(&s.e->model.config);
    ck_assert_uint_eq(field, 1 + 2 * 1 + 2 * 2);
    memset(s.mask, 1, s.B * L);
    ef_tensor *y = run_stack(&s, NULL);
    const float *before = ef_test_read(y);
    ef_tensor_free(y);
    for (size_t t = 0; t < L; t++) {
        float kept = s.x[t * D];
        s.x[t * D] = kept + 1;
        y = run_stack(&s, NULL);
        const float *after = ef_test_read(y);
        ef_tensor_free(y);
        s.x[t * D] = kept;
        bool differs = memcmp(before + AT * D, after + AT * D, D * sizeof *after) != 0;
        ck_assert_msg(differs == (t <= AT && t + field > AT), "step %d and input %zu", AT, t);
    }
    ef_encoder_free(s.e);
    ef_test_close(a);
}
END_TEST

START_TEST(the_default_receptive_field_is_61)
{
    ef_model_config c;
    ef_model_config_default(&c);
    ck_assert_uint_eq(ef_receptive_field(&c), 61);
    c.dilations[3] = 0;
    ck_assert_uint_eq(ef_receptive_field(&c), 33);
}
END_TEST

/* ---- the encoder ---- */

/* Vectors [B,E] of ids [B,L]. */
static ef_tensor *encode(ef_actor *a, ef_encoder *e, size_t B, size_t L, const int32_t *ids,
                         const uint8_t *mask)
{
    ef_tensor *y = ef_test_f32(a, SHAPE(B, e->model.config.vector), NULL);
    ef_test_ok(a, ef_encoder_encode(e, ef_test_i32(a, SHAPE(B, L), ids),
                                    ef_test_u8(a, SHAPE(B, L), mask), y));
    return y;
}

START_TEST(left_and_right_padding_give_the_same_vectors)
{
    enum { L = 11, REAL = 6 };
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *e = new_encoder(a, &c, false);
    randomise(a, e);
    int32_t ids[3 * L] = {0}, *text = ef_test_ints(REAL, 5, 1, 23);
    uint8_t mask[3 * L] = {0};
    const size_t start[3] = {0, L - REAL, 2}; /* left, right, in the middle */
    for (size_t b = 0; b < 3; b++)
        for (size_t t = 0; t < REAL; t++) {
            ids[b * L + start[b] + t] = text[t];
            mask[b * L + start[b] + t] = 1;
        }
    const float *y = ef_test_read(encode(a, e, 3, L, ids, mask));
    for (size_t b = 1; b < 3; b++)
        for (size_t i = 0; i < c.vector; i++)
            ck_assert_float_eq_tol(y[b * c.vector + i], y[i], 1e-5f);
    double *alone = ef_test_widen(c.vector, y);
    for (int t = 0; t < REAL; t++)
        mask[t] = 1;
    ef_test_near("without padding", encode(a, e, 1, REAL, text, mask), alone, 1e-5, 1e-5);
    ef_encoder_free(e);
    ef_test_close(a);
}
END_TEST

START_TEST(what_stands_in_masked_positions_does_not_matter)
{
    enum { B = 3, L = 10 };
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *e = new_encoder(a, &c, false);
    int32_t *ids = ef_test_ints(B * L, 1, 0, 23), *other = ef_test_ints(B * L, 2, 0, 23);
    uint8_t *mask = ef_test_mask(B * L, 3, 0.6);
    memset(mask + L, 0, L); /* a row without a token */
    for (int i = 0; i < B * L; i++)
        if (mask[i])
            other[i] = ids[i];
    ef_tensor *y = encode(a, e, B, L, ids, mask);
    ef_test_same_bits("vectors", encode(a, e, B, L, other, mask), ef_test_read(y));
    const float *bias = ef_test_read(e->model.params->segment[e->proj + 1].value);
    ck_assert_mem_eq((float *)ef_test_read(y) + c.vector, bias, c.vector * sizeof *bias);
    ef_encoder_free(e);
    ef_test_close(a);
}
END_TEST

START_TEST(a_write_to_the_parameters_does_not_reach_a_forward_already_in_flight)
{
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *e = new_encoder(a, &c, false);
    int32_t *ids = ef_test_ints(20, 1, 0, 23);
    uint8_t *mask = ef_test_mask(20, 2, 0.8);
    ef_tensor *weight = e->model.params->segment[3].value;
    const float *old = ef_test_read(weight), *new = ef_test_randn(ef_tensor_count(weight), 9);
    const float *want_old = ef_test_read(encode(a, e, 2, 10, ids, mask));
    ef_test_ok(a, ef_tensor_write(weight, new));
    const float *want_new = ef_test_read(encode(a, e, 2, 10, ids, mask));
    ef_test_ok(a, ef_tensor_write(weight, old));
    ef_test_ok(a, ef_batch_begin(a));
    ef_tensor *first = encode(a, e, 2, 10, ids, mask);
    ef_test_ok(a, ef_tensor_write(weight, new));
    ef_tensor *second = encode(a, e, 2, 10, ids, mask);
    ef_test_ok(a, ef_batch_sync(a, "two forwards"));
    ef_test_same_bits("before the write", first, want_old);
    ef_test_same_bits("after the write", second, want_new);
    ck_assert(memcmp(want_old, want_new, 2 * c.vector * sizeof *old) != 0);
    ef_encoder_free(e);
    ef_test_close(a);
}
END_TEST

/* Deferred: in a batch, read after its sync, and until then nothing waits. */
START_TEST(a_deferred_forward_gives_what_an_immediate_one_does)
{
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *e = new_encoder(a, &c, false);
    randomise(a, e);
    int32_t *ids = ef_test_ints(20, 1, 0, 23);
    uint8_t *mask = ef_test_mask(20, 2, 0.8);
    double *want = ef_test_widen(2 * c.vector, ef_test_read(encode(a, e, 2, 10, ids, mask)));
    ef_stats before, after;
    ef_readback *late, *now;
    const void *data;
    ef_test_ok(a, ef_batch_begin(a));
    ef_actor_stats(a, &before);
    ef_tensor *y = encode(a, e, 2, 10, ids, mask);
    ef_test_ok(a, ef_readback_start(a, y, EF_DEFER_UNTIL_SYNC, "late", &late));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits, before.host_waits);
    ck_assert_int_eq(ef_readback_poll(late), EF_ETIMEOUT);
    ef_test_ok(a, ef_readback_start(a, encode(a, e, 2, 10, ids, mask), EF_IMMEDIATE, "now", &now));
    ef_test_ok(a, ef_readback_value(now, &data, NULL));
    ck_assert_int_eq(ef_readback_poll(late), EF_ETIMEOUT);
    for (size_t i = 0; i < 2 * c.vector; i++)
        ck_assert_double_eq_tol(((const float *)data)[i], want[i], 1e-4);
    ef_test_ok(a, ef_batch_sync(a, "deferred"));
    ef_test_ok(a, ef_readback_value(late, &data, NULL));
    for (size_t i = 0; i < 2 * c.vector; i++)
        ck_assert_double_eq_tol(((const float *)data)[i], want[i], 1e-4);
    ef_readback_free(late);
    ef_readback_free(now);
    ef_encoder_free(e);
    ef_test_close(a);
}
END_TEST

/* What a good call of ef_encoder_encode has, B2 L4. */
typedef struct arguments {
    ef_model_config c;
    ef_encoder *e;
    int32_t *id;
    uint8_t *keep;
    ef_tensor *ids, *mask, *y;
} arguments;

static arguments make_arguments(ef_actor *a)
{
    arguments g = {
        .c = small_config(), .id = ef_test_ints(8, 1, 0, 23), .keep = ef_test_mask(8, 1, 1)};
    g.e = new_encoder(a, &g.c, false);
    g.ids = ef_test_i32(a, SHAPE(2, 4), g.id);
    g.mask = ef_test_u8(a, SHAPE(2, 4), g.keep);
    g.y = ef_test_f32(a, SHAPE(2, g.c.vector), NULL);
    return g;
}

START_TEST(encode_refuses_shapes_that_disagree_and_ids_past_the_vocabulary)
{
    ef_actor *a = ef_test_open();
    arguments g = make_arguments(a);
    ef_test_refused(a, ef_encoder_encode(g.e, g.ids, ef_test_u8(a, SHAPE(2, 3), g.keep), g.y),
                    EF_ESHAPE, "mask");
    ef_test_refused(a, ef_encoder_encode(g.e, g.ids, g.mask, ef_test_f32(a, SHAPE(2, 4), NULL)),
                    EF_ESHAPE, "vectors");
    ef_test_refused(a, ef_encoder_encode(g.e, g.y, g.mask, g.y), EF_EARG, "ids");
    g.id[5] = 23;
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_encoder_encode(g.e, ef_test_i32(a, SHAPE(2, 4), g.id), g.mask, g.y));
    ef_test_refused(a, ef_batch_sync(a, "bad id"), EF_EARG, "id 23 at position 5");
    ef_encoder_free(g.e);
    ef_test_close(a);
}
END_TEST

START_TEST(encode_refuses_a_tensor_that_cannot_be_used_before_it_begins)
{
    ef_actor *a = ef_test_open(), *b = ef_test_open();
    arguments g = make_arguments(a);
    ef_stats before, after;
    ef_actor_stats(a, &before);
    ef_test_refused(a, ef_encoder_encode(g.e, NULL, g.mask, g.y), EF_EARG,
                    "encoder.encode: ids is NULL");
    ef_test_refused(a, ef_encoder_encode(g.e, g.ids, NULL, g.y), EF_EARG,
                    "encoder.encode: mask is NULL");
    ef_test_refused(a, ef_encoder_encode(g.e, g.ids, g.mask, NULL), EF_EARG,
                    "encoder.encode: vectors is NULL");
    ef_test_refused(
        a, ef_encoder_encode(g.e, g.ids, g.mask, ef_test_f32(b, SHAPE(2, g.c.vector), NULL)),
        EF_EARG, "encoder.encode: ");
    ef_test_refused(
        a, ef_encoder_encode(g.e, g.ids, g.mask, ef_test_f32(a, SHAPE(2, g.c.vector + 1), NULL)),
        EF_ESHAPE, "encoder.encode: vectors is [2,6], must be [2,5]");
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.launches, before.launches);
    ef_encoder_free(g.e);
    ef_test_close(b);
    ef_test_close(a);
}
END_TEST

START_TEST(tanh_and_its_gradient_are_right)
{
    enum { N = 77 };
    ef_actor *a = ef_test_open();
    float *x = ef_test_randn(N, 1), *dy = ef_test_randn(N, 2);
    double *want = ef_test_doubles(N), *slope = ef_test_doubles(N);
    x[0] = 1e4f;
    x[1] = -1e4f;
    for (int i = 0; i < N; i++) {
        want[i] = tanh(x[i]);
        slope[i] = dy[i] * (1 - want[i] * want[i]);
    }
    ef_tensor *y = ef_test_f32(a, SHAPE(7, 11), x), *dx = ef_test_f32(a, SHAPE(7, 11), dy);
    ef_test_ok(a, ef__tanh_forward(a, y, y));
    ef_test_near("tanh", y, want, 1e-7, 1e-6);
    ef_test_ok(a, ef__tanh_backward(a, y, dx, dx));
    ef_test_near("gradient", dx, slope, 1e-6, 1e-6);
    ef_test_refused(a, ef__tanh_forward(a, y, ef_test_f32(a, SHAPE(7, 12), NULL)), EF_ESHAPE,
                    "tanh.forward");
    ef_test_close(a);
}
END_TEST

START_TEST(a_model_with_tanh_gives_the_tanh_of_the_model_without)
{
    ef_actor *a = ef_test_open();
    ef_model_config c = small_config();
    ef_encoder *plain = new_encoder(a, &c, false), *bent;
    int32_t *ids = ef_test_ints(8, 1, 0, 23);
    uint8_t *mask = ef_test_mask(8, 1, 1);
    c.tanh = true;
    bent = new_encoder(a, &c, false);
    randomise(a, plain);
    randomise(a, bent);
    double *want = ef_test_widen(2 * c.vector, ef_test_read(encode(a, plain, 2, 4, ids, mask)));
    for (size_t i = 0; i < 2 * c.vector; i++)
        want[i] = tanh(want[i]);
    ef_test_near("tanh", encode(a, bent, 2, 4, ids, mask), want, 1e-6, 1e-6);
    ef_encoder_free(plain);
    ef_encoder_free(bent);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model");
    TCase *pure = ef_test_case(s, "initial values");
    tcase_add_test(pure, the_plans_initialiser_draws_what_the_original_drew);
    tcase_add_test(pure, the_plans_taps_are_drawn_forward_and_stored_reversed);
    tcase_add_test(pure, pytorchs_initialiser_has_its_distributions);
    tcase_add_test(pure, scaled_is_pytorchs_with_conv2s_weights_zero);
    TCase *params = ef_test_case(s, "parameters");
    tcase_add_test(params, parameters_have_pytorchs_names_and_shapes_in_padded_segments);
    tcase_add_test(params, a_model_that_cannot_be_is_refused_with_its_reason);
    TCase *tcn = ef_test_case(s, "stack");
    tcase_add_test(tcn, every_gradient_of_a_stack_is_the_slope);
    tcase_add_test(tcn, inference_in_place_gives_the_bits_of_the_pass_that_keeps);
    tcase_add_test(tcn, a_block_forward_is_four_launches_at_most_and_no_wait);
    tcase_add_test(tcn, an_output_sees_its_receptive_field_and_no_more);
    tcase_add_test(tcn, the_default_receptive_field_is_61);
    TCase *encoder = ef_test_case(s, "encoder");
    tcase_add_test(encoder, left_and_right_padding_give_the_same_vectors);
    tcase_add_test(encoder, what_stands_in_masked_positions_does_not_matter);
    tcase_add_test(encoder, a_deferred_forward_gives_what_an_immediate_one_does);
    tcase_add_test(encoder, a_write_to_the_parameters_does_not_reach_a_forward_already_in_flight);
    tcase_add_test(encoder, encode_refuses_shapes_that_disagree_and_ids_past_the_vocabulary);
    tcase_add_test(encoder, encode_refuses_a_tensor_that_cannot_be_used_before_it_begins);
    tcase_add_test(encoder, tanh_and_its_gradient_are_right);
    tcase_add_test(encoder, a_model_with_tanh_gives_the_tanh_of_the_model_without);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
