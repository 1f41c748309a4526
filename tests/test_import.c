/* Tests of EFCK1 and EFOP1 files: a projection and its moments from elsewhere. */
#include "efb.h"
#include "folder.h"
#include "mutate.h"
#include "train/checkpoint.h"
#include "train/import.h"
#include <math.h>

enum { OUT = 3, IN = 4, WEIGHT = OUT * IN };

/* Weight 0, 1/8, 2/8 ...; bias -1, -2, -3. */
static efb efck(uint32_t bias)
{
    efb f = {0};
    efb_put(&f, "EFCK1", 5);
    efb_put_u32(&f, OUT);
    efb_put_u32(&f, IN);
    efb_put_u32(&f, bias);
    for (int i = 0; i < WEIGHT; i++)
        efb_put(&f, &(float){(float)i / 8}, 4);
    for (int i = 0; bias && i < OUT; i++)
        efb_put(&f, &(float){(float)-i - 1}, 4);
    return f;
}

/* m i + 1, v (i + 1) / 16 of the weight and, if parts is 2, of the bias. */
static efb efop(uint32_t steps, uint32_t parts)
{
    efb f = {0};
    efb_put(&f, "EFOP1", 5);
    efb_put_u32(&f, steps);
    efb_put_u32(&f, parts);
    for (uint32_t p = 0; p < parts; p++) {
        uint32_t count = p ? OUT : WEIGHT;
        efb_put_u32(&f, count);
        for (uint32_t i = 0; i < 2 * count; i++)
            efb_put(&f, &(float){i < count ? (float)i + 1 : (float)(i - count + 1) / 16}, 4);
    }
    return f;
}

static ef_status parse(bool moments, const unsigned char *data, size_t bytes, ef_error *error)
{
    ef__efck c;
    ef__efop o;
    return moments ? ef__efop_parse("a", data, bytes, &o, error)
                   : ef__efck_parse("a", data, bytes, &c, error);
}

/* Takes f over. */
static void refused(bool moments, efb f, const char *text)
{
    ef_error error = {0};
    efb_refused(parse(moments, f.data, f.bytes, &error), EF_EFORMAT, &error, text);
    free(f.data);
}

START_TEST(a_file_cut_at_any_byte_is_refused)
{
    efb whole[] = {efck(0), efck(1), efop(9, 1), efop(9, 2)};
    for (int i = 0; i < 4; i++) {
        ef_error error = {0};
        for (size_t n = 0; n < whole[i].bytes; n++) {
            unsigned char *copy = malloc(n ? n : 1);
            memcpy(copy, whole[i].data, n);
            efb_refused(parse(i > 1, copy, n, &error), EF_EFORMAT, &error, "a: is ");
            free(copy);
        }
        ck_assert_int_eq(parse(i > 1, whole[i].data, whole[i].bytes, &error), EF_OK);
        efb_put(&whole[i], "", 1);
        refused(i > 1, whole[i], "a: bytes after the last number");
    }
}
END_TEST

START_TEST(what_is_wrong_with_a_file_is_said)
{
    efb f = efck(1);
    f.data[4] = '2';
    refused(false, f, "a: is a newer file than EFCK1");
    f = efck(1);
    f.data[3] = 'X';
    refused(false, f, "a: is no EFCK1 file");
    refused(true, efck(1), "a: is no EFOP1 file");
    refused(false, efck(2), "neither that it has a bias");
    f = efck(1);
    memset(f.data + 5, 0xff, 8);
    refused(false, f, "numbers of the weight do not fit");
    f = efck(1);
    memcpy(f.data + f.bytes - 4, &(float){NAN}, 4);
    refused(false, f, "the bias: value 2 is not a finite number");
    refused(true, efop(9, 0), "neither one nor two");
    refused(true, efop(0x80000000, 1), "more than 2147483647 steps");
    f = efop(9, 2);
    efb_put_u32(&f, 0);
    memcpy(f.data + 9, &(uint32_t){3}, 4);
    refused(true, f, "neither one nor two");
    f = efop(1, 1);
    memcpy(f.data + f.bytes - 4, &(float){-1}, 4);
    refused(true, f, "second moment below 0");
}
END_TEST

START_TEST(mutants_are_refused_or_in_bounds)
{
    uint64_t seed = 1;
    size_t taken = 0, runs = ef_test_size(2000, 40000, 400000);
    efb whole[] = {efck(1), efop(9, 2)};
    for (size_t i = 0; i < runs; i++) {
        ef_error error = {0};
        size_t bytes = whole[i % 2].bytes;
        unsigned char *copy = mutate(whole[i % 2].data, i % 4 < 2 ? 24 : bytes, &bytes, &seed);
        ef_status status = parse(i % 2, copy, bytes, &error);
        ck_assert(!status || (status == EF_EFORMAT && !strncmp(error.text, "a: ", 3)));
        taken += !status;
        free(copy);
    }
    free(whole[0].data);
    free(whole[1].data);
    ck_assert_msg(taken && taken < runs, "%zu of %zu taken", taken, runs);
}
END_TEST

/* ---- into a model ---- */

static ef_encoder *encoder_of(ef_actor *a)
{
    ef_encoder *e = NULL;
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = 9;
    c.width = IN;
    c.hidden = 6;
    c.vector = OUT;
    c.blocks = 1;
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 1, true, &e));
    return e;
}

/* Takes f over. */
static const char *file_of(efb f)
{
    FILE *out = fopen(path_of("f"), "wb");
    ck_assert_uint_eq(fwrite(f.data, 1, f.bytes, out), f.bytes);
    ck_assert_int_eq(fclose(out), 0);
    free(f.data);
    return path_of("f");
}

START_TEST(a_projection_is_taken_and_nothing_else)
{
    ef_actor *a = ef_test_open();
    ef_encoder *e = encoder_of(a);
    const ef__segment *w = &e->model.params->segment[e->proj];
    float *before = ef_test_read(e->model.params->value), *after;
    ef_error error = {0};
    make_folder();
    for (uint32_t bias = 0; bias < 2; bias++) {
        ck_assert_msg(!ef_encoder_import(e, file_of(efck(bias)), &error), "%s", error.text);
        after = ef_test_read(e->model.params->value);
        for (int i = 0; i < WEIGHT; i++)
            ck_assert_float_eq(after[w->offset + (size_t)i], (float)i / 8);
        for (int i = 0; i < OUT; i++)
            ck_assert_float_eq(after[w[1].offset + (size_t)i], bias ? (float)-i - 1 : 0);
        ck_assert_mem_eq(after, before, w->offset * sizeof *after);
    }
    efb f = efck(1);
    memcpy(f.data + 5, (uint32_t[]){IN, OUT}, 8);
    f.bytes += 4;
    f.data = realloc(f.data, f.bytes);
    memset(f.data + f.bytes - 4, 0, 4);
    efb_refused(ef_encoder_import(e, file_of(f), &error), EF_EFORMAT, &error,
                "its weight is [4,3], the encoder's projection is [3,4]");
    efb_refused(ef_encoder_import(e, path_of("none"), &error), EF_EIO, &error, "none");
    ef_test_same_bits("parameters", e->model.params->value, after);
    ef_encoder_free(e);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(moments_and_steps_are_taken)
{
    ef_actor *a = ef_test_open();
    ef_encoder *e = encoder_of(a);
    ef_trainer *t = NULL;
    ef_trainer_options o;
    ef_error error = {0};
    make_folder();
    ef_trainer_options_default(&o);
    o.scope = EF_TRAIN_PROJ;
    ef_test_ok(a, ef_trainer_new(e, &o, &t));
    ck_assert_msg(!ef_trainer_import(t, file_of(efop(77, 2)), &error), "%s", error.text);
    ck_assert_uint_eq(ef_trainer_attempted(t), 77);
    const ef__segment *w = &e->model.params->segment[e->proj];
    float *m = ef_test_read(e->model.params->m), *v = ef_test_read(e->model.params->v);
    for (int i = 0; i < WEIGHT; i++) {
        ck_assert_float_eq(m[w->offset + (size_t)i], (float)i + 1);
        ck_assert_float_eq(v[w->offset + (size_t)i], (float)(i + 1) / 16);
    }
    ck_assert_float_eq(v[w[1].offset + 2], 3.0f / 16);
    ck_assert_int_eq(((int32_t *)ef_test_read(e->model.params->updates))[0], 77);
    efb f = efop(5, 1);
    memcpy(f.data + 13, &(uint32_t){WEIGHT - 1}, 4);
    f.bytes -= 8;
    efb_refused(ef_trainer_import(t, file_of(f), &error), EF_EFORMAT, &error,
                "has 11 moments for \"proj.weight\", which has 12 values");
    ck_assert_uint_eq(ef_trainer_attempted(t), 77);
    ef_test_same_bits("m", e->model.params->m, m);
    ef_trainer_free(t);
    o.scope = EF_TRAIN_ALL;
    ef_test_ok(a, ef_trainer_new(e, &o, &t));
    efb_refused(ef_trainer_import(t, file_of(efop(77, 2)), &error), EF_ESTATE, &error, "scope");
    ef_trainer_free(t);
    ef_encoder_free(e);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(a_checkpoint_of_a_newer_version_is_refused_by_name)
{
    ef_error error = {0};
    ef_encoder *e = NULL;
    ef_actor *a = ef_test_open();
    make_folder();
    ef__st_writer *w = ef__st_writer_new();
    ef__st_put_metadata(w, "run", "{\"version\":2}");
    ef__st_put_metadata(w, "config", "{}");
    ck_assert_int_eq(ef__st_save(w, path_of("f"), &error), EF_OK);
    ef__st_writer_free(w);
    efb_refused(ef_encoder_open(a, path_of("f"), &e, &error), EF_EFORMAT, &error,
                "version 2, this library reads 1");
    ck_assert_ptr_null(e);
    remove_folder();
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("import");
    TCase *file = ef_test_case(s, "file");
    tcase_add_test(file, a_file_cut_at_any_byte_is_refused);
    tcase_add_test(file, what_is_wrong_with_a_file_is_said);
    tcase_add_test(file, mutants_are_refused_or_in_bounds);
    TCase *model = ef_test_case(s, "model");
    tcase_add_test(model, a_projection_is_taken_and_nothing_else);
    tcase_add_test(model, moments_and_steps_are_taken);
    tcase_add_test(model, a_checkpoint_of_a_newer_version_is_refused_by_name);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
