/* Streams and generation: a stream gives the logits of the full pass at every position, however
 * many positions it takes at a time; what is generated is what full passes would choose. */
#include "ef_test.h"
#include "model/stream.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { V = 61, E = 6 };

static ef_model_config config_of(size_t taps, size_t blocks, const size_t *dilations)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = V;
    c.width = 24;
    c.hidden = 40;
    c.taps = taps;
    c.vector = E;
    c.blocks = blocks;
    c.length = 16; /* no limit to a stream */
    memcpy(c.dilations, dilations, blocks * sizeof *dilations);
    return c;
}

/* Torch's draws make small logits of small differences; these are as those of a trained model. */
static ef_decoder *new_decoder(ef_actor *a, const ef_model_config *c)
{
    ef_decoder *d = NULL;
    ef_test_ok(a, ef_decoder_new(a, c, EF_INIT_TORCH, 3, false, &d));
    const char *name;
    ef_tensor *t;
    for (size_t i = 0; (t = ef_decoder_parameter(d, i, &name)); i++) {
        float *values = ef_test_read(t);
        for (size_t k = 0; k < ef_tensor_count(t); k++)
            values[k] *= strstr(name, "bias") ? 1 : 1.7f;
        ef_test_ok(a, ef_tensor_write(t, values));
    }
    return d;
}

static const size_t dilations[] = {1, 2, 8, 0};

typedef struct texts {
    size_t B, L;
    const int32_t *ids;
    const uint8_t *mask;
    const float *z;
} texts;

static texts random_texts(size_t B, size_t L, double keep, uint64_t seed)
{
    return (texts){B, L, ef_test_ints(B * L, seed, 0, V), ef_test_mask(B * L, seed + 1, keep),
                   ef_test_randn(B * E, seed + 2)};
}

static const float *full_logits(ef_actor *a, ef_decoder *d, const texts *x)
{
    ef_tensor *y = ef_test_f32(a, SHAPE(x->B, x->L, V), NULL);
    ef_test_ok(a, ef_decoder_logits(d, ef_test_i32(a, SHAPE(x->B, x->L), x->ids),
                                    ef_test_u8(a, SHAPE(x->B, x->L), x->mask),
                                    ef_test_f32(a, SHAPE(x->B, E), x->z), y));
    return ef_test_read(y);
}

/* Elements of bytes size from .. from + T of each row of all [B,L]. */
static void *part(const texts *x, const void *all, size_t size, size_t from, size_t T)
{
    char *to = ef_test_alloc(x->B * T * size);
    for (size_t b = 0; b < x->B; b++)
        memcpy(to + b * T * size, (const char *)all + (b * x->L + from) * size, T * size);
    return to;
}

/* The largest difference between a stream's logits, by step positions at a time, and full's. */
static double worst_difference(ef_actor *a, ef_decoder *d, const texts *x, size_t step,
                               const float *full)
{
    ef_stream *s = NULL;
    double worst = 0;
    ef_test_ok(a, ef_stream_new(d, ef_test_f32(a, SHAPE(x->B, E), x->z), &s));
    for (size_t from = 0, T; from < x->L; from += T) {
        T = from + step < x->L ? step : x->L - from;
        ef_tensor *y = ef_test_f32(a, SHAPE(x->B, T, V), NULL);
        ck_assert_uint_eq(ef_stream_position(s), from);
        ef_test_ok(
            a, ef_stream_logits(s, ef_test_i32(a, SHAPE(x->B, T), part(x, x->ids, 4, from, T)),
                                ef_test_u8(a, SHAPE(x->B, T), part(x, x->mask, 1, from, T)), y));
        const float *got = ef_test_read(y), *want = part(x, full, V * sizeof *full, from, T);
        for (size_t i = 0; i < x->B * T * V; i++) {
            const double difference = fabs((double)got[i] - want[i]);
            ck_assert_msg(isfinite(difference), "from %zu: element %zu", from, i);
            worst = difference > worst ? difference : worst;
        }
    }
    ef_stream_free(s);
    return worst;
}

static void check_stream(ef_actor *a, size_t taps, size_t B, size_t L, double keep, size_t step)
{
    const ef_model_config c = config_of(taps, 4, dilations);
    ef_decoder *d = new_decoder(a, &c);
    const texts x = random_texts(B, L, keep, taps + B);
    ef_actor_set_accuracy(a, EF_STRICT);
    double worst = worst_difference(a, d, &x, step, full_logits(a, d, &x));
    ck_assert_msg(worst <= 1e-5, "K%zu B%zu L%zu step %zu: %g", taps, B, L, step, worst);
    ef_actor_set_accuracy(a, EF_NORMAL); /* the full pass may round by its neighbours */
    worst = worst_difference(a, d, &x, step, full_logits(a, d, &x));
    ck_assert_msg(worst <= 1e-4, "normal: K%zu B%zu L%zu step %zu: %g", taps, B, L, step, worst);
    ef_decoder_free(d);
}

/* Beyond the receptive field, 49 for five taps, and round every ring more than once. */
START_TEST(a_stream_gives_the_logits_of_the_full_pass)
{
    ef_actor *a = ef_test_open();
    check_stream(a, 5, 3, 80, 1, 1);
    check_stream(a, 3, 1, 70, 1, 1);
    if (ef_test_size(0, 1, 1)) {
        check_stream(a, 5, 2, 80, 1, 7);
        check_stream(a, 5, 1, 80, 1, 80);
        check_stream(a, 1, 2, 9, 1, 1);
        check_stream(a, 2, 3, 40, 1, 33);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(masked_positions_are_as_in_the_full_pass)
{
    ef_actor *a = ef_test_open();
    check_stream(a, 5, 3, 60, 0.7, 1);
    check_stream(a, 5, 3, 60, 0.7, 9);
    ef_test_close(a);
}
END_TEST

/* What a position is told is seen for as long as the receptive field and not a position longer. */
START_TEST(a_stream_sees_as_far_as_the_receptive_field)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(4, 2, (size_t[]){1, 4});
    const size_t field = ef_receptive_field(&c), L = 40, at = 11;
    ef_decoder *d = new_decoder(a, &c);
    texts x = random_texts(1, L, 1, 1), y = x;
    int32_t *other = ef_test_alloc(L * sizeof *other);
    memcpy(other, x.ids, L * sizeof *other);
    other[at] = (other[at] + 1) % V;
    y.ids = other;
    const float *before = full_logits(a, d, &x);
    ck_assert_uint_eq(field, 16);
    ef_stream *s = NULL;
    ef_test_ok(a, ef_stream_new(d, ef_test_f32(a, SHAPE(1, E), x.z), &s));
    for (size_t t = 0; t < L; t++) {
        ef_tensor *logits = ef_test_f32(a, SHAPE(1, 1, V), NULL);
        ef_test_ok(a, ef_stream_logits(s, ef_test_i32(a, SHAPE(1, 1), y.ids + t), NULL, logits));
        const float *row = ef_test_read(logits);
        double difference = 0;
        for (size_t v = 0; v < V; v++)
            difference = fmax(difference, fabs((double)row[v] - before[t * V + v]));
        ck_assert_msg((difference > 1e-4) == (t >= at && t < at + field), "position %zu: %g", t,
                      difference);
    }
    ef_stream_free(s);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* Its last block's weights are among the encoder's. */
START_TEST(a_decoder_that_shares_its_last_block_streams)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(3, 3, dilations);
    ef_encoder *e = NULL;
    ef_decoder *d = NULL;
    ef_test_ok(a, ef_pair_new(a, &c, &c, EF_INIT_TORCH, 5, false, &e, &d));
    const texts x = random_texts(2, 30, 1, 1);
    ef_actor_set_accuracy(a, EF_STRICT);
    const double worst = worst_difference(a, d, &x, 1, full_logits(a, d, &x));
    ck_assert_msg(worst <= 1e-5, "%g", worst);
    ef_encoder_free(e);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

START_TEST(a_stream_refuses_other_shapes)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(3, 2, dilations);
    ef_decoder *d = new_decoder(a, &c);
    ef_stream *s = NULL;
    ef_test_refused(a, ef_stream_new(d, ef_test_f32(a, SHAPE(2, E + 1), NULL), &s), EF_ESHAPE,
                    "stream: z is [2,7], must be [B,6]");
    ef_test_refused(a, ef_stream_new(d, NULL, &s), EF_EARG, "stream: z is NULL");
    ef_test_ok(a, ef_stream_new(d, ef_test_f32(a, SHAPE(2, E), ef_test_randn(2 * E, 1)), &s));
    ef_tensor *ids = ef_test_i32(a, SHAPE(2, 3), ef_test_ints(6, 1, 0, V));
    ef_test_refused(a, ef_stream_logits(s, ef_test_i32(a, SHAPE(3, 3), NULL), NULL, NULL),
                    EF_ESHAPE, "stream.logits: ids is [3,3], must be [2,T]");
    ef_test_refused(a, ef_stream_logits(s, ids, NULL, ef_test_f32(a, SHAPE(2, 1, V), NULL)),
                    EF_ESHAPE, "stream.logits: logits is [2,1,61], must be [2,3,61]");
    ef_test_refused(a, ef_stream_logits(s, ids, ef_test_u8(a, SHAPE(2, 1), NULL), NULL), EF_ESHAPE,
                    "stream.logits: mask and ids disagree");
    ck_assert_uint_eq(ef_stream_position(s), 0);
    ef_test_ok(a, ef_stream_logits(s, ids, NULL, NULL));
    ck_assert_uint_eq(ef_stream_position(s), 3);
    ef_stream_free(s);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* ---- generation ---- */

enum { MOST = 90 };

typedef struct result {
    int32_t ids[8 * MOST];
    size_t lengths[8];
} result;

static ef_generate_options options_of(size_t max)
{
    ef_generate_options o;
    ef_generate_options_default(&o);
    o.max_tokens = max;
    return o;
}

/* Prompts of 3, 2, 1, 3, ... ids in L 4, with holes. */
static ef_batch prompts(size_t B, uint64_t seed)
{
    static const uint8_t masks[3][4] = {{1, 0, 1, 1}, {0, 1, 1, 0}, {0, 0, 0, 1}};
    uint8_t *mask = ef_test_alloc(B * 4);
    for (size_t b = 0; b < B; b++)
        memcpy(mask + 4 * b, masks[b % 3], 4);
    return (ef_batch){.B = B,
                      .L = 4,
                      .E = E,
                      .ids = ef_test_ints(4 * B, seed, 0, V),
                      .mask = mask,
                      .target = ef_test_randn(E * B, seed + 1)};
}

static result *generate(ef_actor *a, ef_decoder *d, const ef_batch *p, const ef_generate_options *o)
{
    result *r = ef_test_alloc(sizeof *r);
    ck_assert(p->B <= 8 && o->max_tokens <= MOST);
    ef_test_ok(a, ef_generate(d, p, o, r->ids, r->lengths));
    return r;
}

/* Each id is the one that a full pass over all before it finds the likeliest. */
static void check_by_full_passes(ef_actor *a, ef_decoder *d, const ef_batch *p, size_t b,
                                 const int32_t *made, size_t count)
{
    int32_t all[4 + MOST];
    uint8_t mask[4 + MOST];
    size_t n = 0;
    for (size_t t = 0; t < 4; t++)
        if (p->mask[4 * b + t])
            all[n++] = p->ids[4 * b + t];
    memcpy(all + n, made, count * sizeof *made);
    memset(mask, 1, sizeof mask);
    const texts x = {1, n + count, all, mask, p->target + b * E};
    const float *y = full_logits(a, d, &x);
    for (size_t i = 0; i < count; i++) {
        const float *row = y + (n - 1 + i) * V;
        size_t best = 0;
        for (size_t v = 1; v < V; v++)
            best = row[v] > row[best] ? v : best;
        ck_assert_msg(made[i] == (int32_t)best, "sequence %zu, id %zu: %d, %zu wanted", b, i,
                      made[i], best);
    }
}

START_TEST(what_is_generated_is_what_full_passes_choose)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(5, 4, dilations);
    ef_decoder *d = new_decoder(a, &c);
    const ef_batch p = prompts(4, 1);
    const ef_generate_options o = options_of(MOST);
    const result *r = generate(a, d, &p, &o);
    bool differ = false;
    for (size_t b = 0; b < p.B; b++) {
        ck_assert_uint_eq(r->lengths[b], MOST);
        check_by_full_passes(a, d, &p, b, r->ids + b * MOST, MOST);
        for (size_t i = 1; i < MOST; i++)
            differ |= r->ids[b * MOST + i] != r->ids[b * MOST];
    }
    ck_assert(differ); /* not one id for ever */
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

static ef_generate_options draws(size_t max)
{
    ef_generate_options o = options_of(max);
    o.top_k = 5;
    o.temperature = 1.3f;
    o.seed = 42;
    return o;
}

START_TEST(draws_repeat_and_do_not_depend_on_the_batch)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(5, 4, dilations);
    ef_decoder *d = new_decoder(a, &c);
    const ef_batch p = prompts(7, 5);
    ef_generate_options o = draws(40);
    const result *all = generate(a, d, &p, &o), *again = generate(a, d, &p, &o);
    ck_assert_mem_eq(all->ids, again->ids, 7 * 40 * sizeof(int32_t));
    for (size_t b = 0; b < 7; b++) {
        ef_batch one = p;
        one.B = 1;
        one.ids += 4 * b;
        one.mask += 4 * b;
        one.target += E * b;
        o.first = b;
        ck_assert_mem_eq(generate(a, d, &one, &o)->ids, all->ids + 40 * b, 40 * sizeof(int32_t));
    }
    o.first = 0;
    o.seed++;
    ck_assert(memcmp(generate(a, d, &p, &o)->ids, all->ids, 7 * 40 * sizeof(int32_t)) != 0);
    o.top_k = 1; /* no draw: neither seed nor temperature matter */
    const result *greedy = generate(a, d, &p, &o);
    o = options_of(40);
    ck_assert_mem_eq(generate(a, d, &p, &o)->ids, greedy->ids, 7 * 40 * sizeof(int32_t));
    o.top_k = 5;
    o.temperature = 0;
    ck_assert_mem_eq(generate(a, d, &p, &o)->ids, greedy->ids, 7 * 40 * sizeof(int32_t));
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* Of two equal sequences, the numbers' draws are different ones. */
START_TEST(sequences_draw_for_themselves)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(3, 2, dilations);
    ef_decoder *d = new_decoder(a, &c);
    ef_batch p = prompts(6, 5);
    const ef_generate_options o = draws(20);
    for (size_t b = 1; b < 6; b++) {
        memcpy((int32_t *)p.ids + 4 * b, p.ids, 4 * sizeof *p.ids);
        memcpy((uint8_t *)p.mask + 4 * b, p.mask, 4);
        memcpy((float *)p.target + E * b, p.target, E * sizeof *p.target);
    }
    const result *r = generate(a, d, &p, &o);
    for (size_t b = 1; b < 6; b++)
        ck_assert(memcmp(r->ids, r->ids + 20 * b, 20 * sizeof(int32_t)) != 0);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

/* The end is that of each sequence; what has ended waits for the others, and all for nobody. */
START_TEST(an_end_ends_its_sequence)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(5, 4, dilations);
    ef_decoder *d = new_decoder(a, &c);
    const ef_batch p = prompts(5, 9);
    ef_generate_options o = draws(MOST);
    const result *without = generate(a, d, &p, &o);
    size_t ended = 0;
    for (o.end = 0; o.end < V; o.end++) {
        const result *r = generate(a, d, &p, &o);
        for (size_t b = 0; b < p.B; b++) {
            const int32_t *free_run = without->ids + b * MOST, *got = r->ids + b * MOST;
            size_t n = 0;
            while (n < MOST && free_run[n] != o.end)
                n++;
            ck_assert_uint_eq(r->lengths[b], n);
            ck_assert_mem_eq(got, free_run, n * sizeof *got);
            for (size_t i = n; i < MOST; i++)
                ck_assert_int_eq(got[i], o.end);
            ended += n < MOST;
        }
    }
    ck_assert_uint_gt(ended, 10);
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

START_TEST(the_host_waits_once_for_16_ids_and_stops_when_all_have_ended)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(3, 2, dilations);
    ef_decoder *d = new_decoder(a, &c);
    const ef_batch p = prompts(1, 9);
    ef_generate_options o = options_of(40);
    ef_stats before, after;
    const result *r = generate(a, d, &p, &o);
    ef_actor_stats(a, &before);
    r = generate(a, d, &p, &o);
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 3);
    o.end = r->ids[0];
    ef_actor_stats(a, &before);
    r = generate(a, d, &p, &o);
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
    ck_assert_uint_eq(r->lengths[0], 0);
    ef_test_ok(a, ef_batch_begin(a)); /* inside of a batch too */
    o = options_of(40);
    const result *inside = generate(a, d, &p, &o);
    ef_test_ok(a, ef_batch_sync(a, "outer"));
    ck_assert_mem_eq(inside->ids, generate(a, d, &p, &o)->ids, 40 * sizeof(int32_t));
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

START_TEST(what_cannot_be_generated_is_refused)
{
    ef_actor *a = ef_test_open();
    const ef_model_config c = config_of(3, 2, dilations);
    ef_decoder *d = new_decoder(a, &c);
    ef_batch p = prompts(3, 1), wide = p, none = p, bad = p;
    ef_generate_options o = options_of(3);
    int32_t ids[9] = {7}, *wrong = ef_test_ints(12, 1, 0, V);
    size_t lengths[3];
    wide.E = 7;
    none.mask = ef_test_alloc(12);
    wrong[6] = V;
    bad.ids = wrong;
    ef_test_refused(a, ef_generate(d, &wide, &o, ids, lengths), EF_ESHAPE,
                    "generate: vectors have 7 values, the decoder takes 6");
    ef_test_refused(a, ef_generate(d, &none, &o, ids, lengths), EF_EARG,
                    "generate: sequence 0 has no prompt");
    ef_test_refused(a, ef_generate(d, &bad, &o, ids, lengths), EF_EARG,
                    "generate: id 61 at position 2 of sequence 1 is not in 0..60 (V 61)");
    o.end = V;
    ef_test_refused(a, ef_generate(d, &p, &o, ids, lengths), EF_EARG, "generate: end is 61");
    o.end = -1;
    o.temperature = NAN;
    ef_test_refused(a, ef_generate(d, &p, &o, ids, lengths), EF_EARG, "generate: temperature is");
    ck_assert_int_eq(ids[0], 7);
    o = options_of(0);
    ef_test_ok(a, ef_generate(d, &p, &o, ids, lengths));
    ck_assert_uint_eq(lengths[2], 0);
    ck_assert_int_eq(ids[0], 7);
    p.B = 0;
    o = options_of(3);
    ef_test_ok(a, ef_generate(d, &p, &o, ids, lengths));
    ef_decoder_free(d);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("generate");
    TCase *c = ef_test_case(s, "stream");
    tcase_add_test(c, a_stream_gives_the_logits_of_the_full_pass);
    tcase_add_test(c, masked_positions_are_as_in_the_full_pass);
    tcase_add_test(c, a_stream_sees_as_far_as_the_receptive_field);
    tcase_add_test(c, a_decoder_that_shares_its_last_block_streams);
    tcase_add_test(c, a_stream_refuses_other_shapes);
    c = ef_test_case(s, "generation");
    tcase_add_test(c, what_is_generated_is_what_full_passes_choose);
    tcase_add_test(c, draws_repeat_and_do_not_depend_on_the_batch);
    tcase_add_test(c, sequences_draw_for_themselves);
    tcase_add_test(c, an_end_ends_its_sequence);
    tcase_add_test(c, the_host_waits_once_for_16_ids_and_stops_when_all_have_ended);
    tcase_add_test(c, what_cannot_be_generated_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
