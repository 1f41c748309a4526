/* Tests of embedding: a text has the vector that it has alone, in the order of the texts. */
#include "actor/actor.h"
#include "ef_test.h"
#include "model/encoder.h"
#include "train/window.h"
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { E = 6, LENGTH = 12, BATCH = 4, WINDOW = BATCH * EF__WINDOW_BATCHES, TEXTS = 3 * WINDOW + 5 };

static const char vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n##c\nthe\ndog\nruns\n.\n\xc3\xa9\n";

typedef struct setup {
    ef_actor *a;
    ef_encoder *encoder;
    ef_tokenizer *tokenizer;
    ef_text *texts; /* [TEXTS] of all lengths, some of them hostile */
} setup;

static ef_text *make_texts(void)
{
    static const ef_text hostile[] = {{"", 0},
                                      {" \t ", 3},
                                      {"a\0dog", 5},
                                      {"\xff the \xc3", 7},
                                      {"[SEP] [PAD]", 11},
                                      {"\xc3\x89 \xe4\xb8\xad .", 8}};
    static const char *const word[] = {"the ", "dog ", "runs ", "abc ", "cab", ". ", "zebra "};
    ef_text *texts = ef_test_alloc(TEXTS * sizeof *texts);
    const int32_t *draw = ef_test_ints(TEXTS * 24, 5, 0, 7), *words = ef_test_ints(TEXTS, 6, 1, 20);
    for (size_t i = 0; i < TEXTS; i++) {
        char *text = ef_test_alloc(256);
        for (int k = 0; k < words[i]; k++)
            strcat(text, word[draw[i * 24 + (size_t)k]]);
        texts[i] = i % 29 < 6 ? hostile[i % 29] : (ef_text){text, strlen(text)};
    }
    return texts;
}

static setup begin(void)
{
    setup s = {.a = ef_test_open()};
    ef_model_config c;
    ef_tensor *t;
    ef_model_config_default(&c);
    c.vocab = 16;
    c.width = 9;
    c.hidden = 13;
    c.taps = 3;
    c.vector = E;
    c.blocks = 2;
    c.length = LENGTH;
    ef_test_ok(s.a, ef_encoder_new(s.a, &c, EF_INIT_TORCH, 7, false, &s.encoder));
    for (size_t i = 0; (t = ef_encoder_parameter(s.encoder, i, NULL)); i++)
        ef_test_ok(s.a, ef_tensor_write(t, ef_test_randn(ef_tensor_count(t), i)));
    ck_assert_int_eq(ef_tokenizer_parse("v", vocabulary, sizeof vocabulary - 1, &s.tokenizer, NULL),
                     EF_OK);
    s.texts = make_texts();
    return s;
}

static void end(setup *s)
{
    ef_encoder_free(s->encoder);
    ef_tokenizer_free(s->tokenizer);
    ef_test_close(s->a);
}

/* The vector of one text, by itself. */
static double *alone(const setup *s, const ef_text *text)
{
    static const uint8_t ones[LENGTH] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    int32_t ids[LENGTH];
    size_t n = ef_tokenizer_encode(s->tokenizer, text->text, text->bytes, ids, LENGTH);
    ef_tensor *y = ef_test_f32(s->a, SHAPE(1, E), NULL);
    ef_test_ok(s->a, ef_encoder_encode(s->encoder, ef_test_i32(s->a, SHAPE(1, n), ids),
                                       ef_test_u8(s->a, SHAPE(1, n), ones), y));
    return ef_test_widen(E, ef_test_read(y));
}

static void check_rows(const setup *s, const float *vectors, size_t count, bool normalize)
{
    for (size_t i = 0; i < count; i++) {
        const double *want = alone(s, &s->texts[i]);
        double square = 0;
        for (int k = 0; k < E; k++)
            square += want[k] * want[k];
        for (int k = 0; k < E; k++)
            ck_assert_double_eq_tol((double)vectors[i * E + (size_t)k],
                                    normalize ? want[k] / sqrt(square) : want[k],
                                    1e-5 * (1 + sqrt(square)));
    }
}

static const ef_embed_options options = {.batch = BATCH};

START_TEST(a_vector_is_that_of_its_text_alone_in_the_order_of_the_texts)
{
    setup s = begin();
    const size_t counts[] = {TEXTS, 0, 1, BATCH + 1, WINDOW, 2 * WINDOW};
    for (size_t i = 0; i < ef_test_size(3, 6, 6); i++) {
        float *vectors = ef_test_floats(counts[i] * E);
        ef_error error = {0};
        ck_assert_msg(
            !ef_embed(s.encoder, s.tokenizer, &options, s.texts, counts[i], vectors, &error), "%s",
            error.text);
        check_rows(&s, vectors, i ? counts[i] % 7 : TEXTS, false);
    }
    end(&s);
}
END_TEST

START_TEST(normalized_vectors_have_norm_one_but_for_zeros)
{
    setup s = begin();
    ef_embed_options o = options;
    float *vectors = ef_test_floats(WINDOW * E), zeros[9 * E] = {0};
    ef_error error = {0};
    ef_tensor *t;
    const char *name;
    o.normalize = true;
    ck_assert_int_eq(ef_embed(s.encoder, s.tokenizer, &o, s.texts, WINDOW, vectors, &error), EF_OK);
    check_rows(&s, vectors, WINDOW, true);
    for (size_t i = 0; (t = ef_encoder_parameter(s.encoder, i, &name)); i++)
        if (!strncmp(name, "proj.", 5))
            ef_test_ok(s.a, ef_tensor_write(t, zeros));
    ck_assert_int_eq(ef_embed(s.encoder, s.tokenizer, &o, s.texts, 3, vectors, &error), EF_OK);
    ck_assert_mem_eq(vectors, zeros, 3 * E * sizeof *vectors);
    end(&s);
}
END_TEST

/* ---- streams ---- */

typedef struct flow {
    const setup *s;
    size_t count, pause_after, give_up_after, stop_after; /* 0: never */
    bool endless;
    atomic_size_t given, taken;
    size_t most_ahead, most_at_once;
    float *vectors;
} flow;

/* A text that waits for the vectors of all before it: only a pause brings them. */
static ef_next next_text(void *user, ef_text *text)
{
    flow *f = user;
    const size_t given = f->given, ahead = given - f->taken;
    f->most_ahead = ahead > f->most_ahead ? ahead : f->most_ahead;
    if (f->stop_after && given == f->stop_after)
        return EF_NEXT_STOP;
    if (f->pause_after && given % f->pause_after == 0 && ahead)
        return EF_NEXT_PAUSE;
    if (given == f->count)
        return f->endless ? EF_NEXT_PAUSE : EF_NEXT_END;
    *text = f->s->texts[f->given++];
    return EF_NEXT_TEXT;
}

static bool take_vectors(void *user, const float *vectors, const ef_text *texts, size_t count)
{
    flow *f = user;
    for (size_t i = 0; i < count; i++) {
        const ef_text *want = &f->s->texts[f->taken + i];
        ck_assert_uint_eq(texts[i].bytes, want->bytes);
        ck_assert(!want->bytes || !memcmp(texts[i].text, want->text, want->bytes));
    }
    memcpy(f->vectors + f->taken * E, vectors, count * E * sizeof *vectors);
    f->most_at_once = count > f->most_at_once ? count : f->most_at_once;
    f->taken += count;
    return !f->give_up_after || f->taken < f->give_up_after;
}

static ef_status run(flow *f, ef_embed_report *report, ef_error *error)
{
    const ef_embed_stream stream = {f, next_text, take_vectors};
    f->vectors = ef_test_floats(TEXTS * E);
    return ef_embed_texts(f->s->encoder, f->s->tokenizer, &options, &stream, report, error);
}

START_TEST(a_stream_waits_once_a_window_and_is_read_three_windows_ahead_at_most)
{
    setup s = begin();
    flow f = {.s = &s, .count = TEXTS};
    ef_embed_report report;
    ef_error error = {0};
    ef_stats before, after;
    ef_actor_stats(s.a, &before);
    ck_assert_msg(!run(&f, &report, &error), "%s", error.text);
    ef_actor_stats(s.a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 4);
    ck_assert_uint_le(f.most_ahead, 3 * WINDOW);
    ck_assert_uint_eq(f.most_at_once, WINDOW);
    check_rows(&s, f.vectors, TEXTS, false);
    ck_assert_uint_eq(report.texts, TEXTS);
    size_t cut = 0, broken = 0, ids = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        int32_t room[256];
        size_t n = ef_tokenizer_encode(s.tokenizer, s.texts[i].text, s.texts[i].bytes, room, 256);
        cut += n > LENGTH;
        ids += n < LENGTH ? n : LENGTH;
        broken += i % 29 == 3;
    }
    ck_assert_uint_gt(cut, 0);
    ck_assert_uint_eq(report.cut, cut);
    ck_assert_uint_eq(report.not_utf8, broken);
    ck_assert_uint_eq(report.ids, ids);
    ck_assert_uint_ge(report.positions, ids);
    ck_assert_uint_lt(report.positions,
                      ids + ids / 10); /* the longest of a batch is near the rest */
    ck_assert(report.seconds > 0 && report.texts_per_s > 0);
    end(&s);
}
END_TEST

START_TEST(a_stream_that_pauses_gets_its_vectors_first)
{
    setup s = begin();
    const size_t pauses[] = {1, 3, WINDOW, WINDOW + 1};
    for (int i = 0; i < 4; i++) {
        flow f = {.s = &s, .count = pauses[i] < 4 ? 10 : TEXTS, .pause_after = pauses[i]};
        ef_error error = {0};
        ck_assert_msg(!run(&f, NULL, &error), "%s", error.text);
        ck_assert_uint_eq(f.taken, f.count);
        ck_assert_uint_le(f.most_ahead, pauses[i]);
        check_rows(&s, f.vectors, f.count % 11, false);
    }
    end(&s);
}
END_TEST

START_TEST(a_stream_can_be_given_up_from_either_end)
{
    setup s = begin();
    ef_error error = {0};
    ef_embed_report report = {.texts = 77};
    flow f = {.s = &s, .count = TEXTS, .give_up_after = WINDOW};
    ck_assert_int_eq(run(&f, &report, &error), EF_ECANCELLED);
    ck_assert_uint_eq(f.taken, WINDOW);
    ck_assert_uint_eq(report.texts, 77);
    flow g = {.s = &s, .count = TEXTS, .stop_after = WINDOW + 2};
    ck_assert_int_eq(run(&g, &report, &error), EF_ECANCELLED);
    ck_assert_uint_le(g.taken, WINDOW);
    flow again = {.s = &s, .count = 5};
    ck_assert_msg(!run(&again, NULL, &error), "%s", error.text);
    end(&s);
}
END_TEST

static bool lose_device(void *user, const float *vectors, const ef_text *texts, size_t count)
{
    flow *f = user;
    ef__fail(f->s->a, EF_EDEVICE, -36, "test", "test: the device is gone");
    return take_vectors(user, vectors, texts, count);
}

START_TEST(a_lost_device_ends_a_stream_that_only_pauses)
{
    setup s = begin();
    flow f = {.s = &s, .count = 2 * WINDOW, .endless = true, .vectors = ef_test_floats(TEXTS * E)};
    const ef_embed_stream stream = {&f, next_text, lose_device};
    ef_error error = {0};
    ck_assert_int_eq(ef_embed_texts(s.encoder, s.tokenizer, &options, &stream, NULL, &error),
                     EF_EDEVICE);
    ck_assert_msg(strstr(error.text, "the device is gone"), "%s", error.text);
    ef_test_ok(s.a, ef_actor_reset(s.a));
    end(&s);
}
END_TEST

START_TEST(a_window_takes_few_texts_when_they_are_long)
{
    enum { LONG = EF__WINDOW_BYTES / 4 + 1 };
    setup s = begin();
    char *text = ef_test_alloc(LONG);
    memset(text, ' ', LONG);
    for (size_t i = 0; i < 10; i++)
        s.texts[i] = (ef_text){text, LONG};
    flow f = {.s = &s, .count = 10};
    ef_error error = {0};
    ck_assert_msg(!run(&f, NULL, &error), "%s", error.text);
    ck_assert_uint_eq(f.taken, 10);
    ck_assert_uint_eq(f.most_at_once, 4);
    end(&s);
}
END_TEST

/* ---- refused ---- */

static void refused(const setup *s, ef_embed_options o, ef_status want, const char *text)
{
    float vectors[5 * E];
    ef_error error = {0};
    ck_assert_int_eq(ef_embed(s->encoder, s->tokenizer, &o, s->texts + 6, 5, vectors, &error),
                     want);
    ck_assert_msg(strstr(error.text, text), "%s", error.text);
}

START_TEST(what_cannot_be_embedded_is_refused)
{
    setup s = begin();
    float *nan = ef_test_floats(ef_tensor_count(ef_encoder_parameter(s.encoder, 0, NULL)));
    refused(&s, (ef_embed_options){.length = 1}, EF_EARG, "a length of 1");
    refused(&s, (ef_embed_options){.batch = 4097}, EF_EARG, "a batch of more");
    for (size_t i = 0; i < 9; i++)
        nan[12 * 9 + i] = NAN; /* the row of "dog" */
    s.texts[6] = s.texts[7] = s.texts[9] = s.texts[10] = (ef_text){"a", 1};
    s.texts[8] = (ef_text){"the dog", 7};
    ef_test_ok(s.a, ef_tensor_write(ef_encoder_parameter(s.encoder, 0, NULL), nan));
    refused(&s, options, EF_ESTATE, "the vector of text 2 is not finite");
    ef_tokenizer_free(s.tokenizer);
    static const char more[] =
        "[UNK]\n[CLS]\n[SEP]\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n";
    ck_assert_int_eq(ef_tokenizer_parse("v", more, sizeof more - 1, &s.tokenizer, NULL), EF_OK);
    refused(&s, options, EF_EARG, "the vocabulary has 17 tokens, the model has 16");
    end(&s);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("embed");
    TCase *t = ef_test_case(s, "embed");
    tcase_add_test(t, a_vector_is_that_of_its_text_alone_in_the_order_of_the_texts);
    tcase_add_test(t, normalized_vectors_have_norm_one_but_for_zeros);
    tcase_add_test(t, a_stream_waits_once_a_window_and_is_read_three_windows_ahead_at_most);
    tcase_add_test(t, a_stream_that_pauses_gets_its_vectors_first);
    tcase_add_test(t, a_stream_can_be_given_up_from_either_end);
    tcase_add_test(t, a_lost_device_ends_a_stream_that_only_pauses);
    tcase_add_test(t, a_window_takes_few_texts_when_they_are_long);
    tcase_add_test(t, what_cannot_be_embedded_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
