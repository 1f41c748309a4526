/* Tests of the writer of vectors: what it writes is read back with the same bits. */
#include "base/number.h"
#include "data/dataset.h"
#include "ef_test.h"
#include "folder.h"
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { N = 5, E = 8 };

/* ---- numbers ---- */

static void check_number(float x)
{
    char text[EF__FLOAT_CHARS + 1], *end;
    const size_t bytes = (size_t)(ef__put_float(text, x) - text);
    ck_assert_uint_le(bytes, EF__FLOAT_CHARS);
    text[bytes] = '\0';
    const float back = strtof(text, &end);
    ck_assert_msg(!*end && !memcmp(&back, &x, sizeof x), "%.9g is written as %s", (double)x, text);
    json_t *json = json_loadb(text, bytes, JSON_DECODE_ANY, NULL);
    const float number = (float)json_number_value(json);
    ck_assert_msg(json_is_number(json) && !memcmp(&number, &x, sizeof x), "%.9g is in JSON %s",
                  (double)x, text);
    json_decref(json);
}

START_TEST(a_number_is_read_back_with_the_same_bits)
{
    static const float special[] = {0,
                                    1,
                                    10,
                                    0.1f,
                                    100,
                                    123456792,
                                    1e-4f,
                                    9.9999e-5f,
                                    0.99999994f,
                                    9.9999999f,
                                    999999936,
                                    1e9f,
                                    1e10f,
                                    FLT_MIN,
                                    FLT_MAX,
                                    FLT_TRUE_MIN,
                                    9.99999e-5f,
                                    0.001f,
                                    0.0099999998f,
                                    16777217,
                                    8388607.5f};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            check_number((float)sign * special[i]);
            check_number((float)sign * nextafterf(special[i], 0));
            check_number((float)sign * nextafterf(special[i], 1));
        }
    const int32_t *bits = ef_test_ints(2 << 17, 1, 0, 1 << 16);
    for (size_t i = 0; i < ef_test_size(1 << 12, 1 << 15, 1 << 17); i++) {
        uint32_t raw = (uint32_t)bits[2 * i] << 16 | (uint32_t)bits[2 * i + 1];
        float x;
        memcpy(&x, &raw, sizeof x);
        if (isfinite(x))
            check_number(x);
        check_number((float)(bits[2 * i] - 32768) / 65536.0f / (float)(1 + bits[2 * i + 1]));
    }
}
END_TEST

/* ---- files ---- */

static const ef_text texts[N] = {{"plain", 5},
                                 {"\"quoted\" \\ /", 12},
                                 {"tab\t\0\x1f end", 10},
                                 {"\xc3\xa9 \xff \xe4\xb8", 7},
                                 {"", 0}};
static const char *const json_texts[N] = {"plain", "\"quoted\" \\ /", "tab\t\0\x1f end",
                                          "\xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd", ""};
static const size_t json_bytes[N] = {5, 12, 10, 10, 0};

static float *make_vectors(void)
{
    float *x = ef_test_randn(N * E, 3);
    x[0] = -0.0f;
    x[1] = 1e-30f;
    x[2] = FLT_MAX;
    x[3] = 7;
    return x;
}

static void write_vectors(const char *path, ef_vectors_format format, const float *x)
{
    ef_vectors_writer *w = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef_vectors_writer_new(path, format, E, &w, &error), "%s", error.text);
    ck_assert_int_eq(ef_vectors_writer_add(w, x, texts, 2, &error), EF_OK);
    ck_assert_int_eq(ef_vectors_writer_add(w, x + 2 * E, texts + 2, N - 2, &error), EF_OK);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_msg(!ef_vectors_writer_save(w, &error), "%s", error.text);
    ef_vectors_writer_free(w);
}

START_TEST(a_file_of_each_format_is_read_back_with_the_same_bits)
{
    const float *x = make_vectors();
    make_folder();
    const char *path = strcpy(ef_test_alloc(256), path_of("v"));
    for (int format = EF_VECTORS_JSONL; format <= EF_VECTORS_SAFETENSORS; format++) {
        ef_vectors *v = NULL;
        ef_error error = {0};
        float row[E];
        write_vectors(path, (ef_vectors_format)format, x);
        ck_assert_msg(!ef_vectors_open(path, NULL, &v, &error), "%s", error.text);
        ck_assert_uint_eq(ef_vectors_size(v), N);
        ck_assert_uint_eq(ef_vectors_width(v), E);
        for (size_t i = 0; i < N; i++) {
            ck_assert_int_eq(ef_vectors_read(v, i, row, &error), EF_OK);
            ck_assert_mem_eq(row, x + i * E, sizeof row);
        }
        ef_vectors_free(v);
        unlink(path);
    }
    write_vectors(path, EF_VECTORS_TEXT, x);
    FILE *f = fopen(path, "r");
    for (size_t i = 0; i < N * E; i++) {
        float value;
        char after;
        ck_assert_int_eq(fscanf(f, "%f%c", &value, &after), 2);
        ck_assert_int_eq(after, i % E == E - 1 ? '\n' : ' ');
        ck_assert(!memcmp(&value, x + i, sizeof value));
    }
    ck_assert_int_eq(fgetc(f), EOF);
    fclose(f);
    remove_folder();
}
END_TEST

START_TEST(lines_of_json_have_their_texts_as_utf8)
{
    const float *x = make_vectors();
    make_folder();
    const char *path = strcpy(ef_test_alloc(256), path_of("v"));
    write_vectors(path, EF_VECTORS_JSONL, x);
    FILE *f = fopen(path, "r");
    for (size_t i = 0; i < N; i++) {
        json_error_t why;
        json_t *json = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &why);
        ck_assert_msg(json != NULL, "%s", why.text);
        const json_t *text = json_object_get(json, "text");
        ck_assert_uint_eq(json_string_length(text), json_bytes[i]);
        ck_assert_mem_eq(json_string_value(text), json_texts[i], json_bytes[i] + 1);
        ck_assert_uint_eq(json_array_size(json_object_get(json, "vector")), E);
        json_decref(json);
    }
    fclose(f);
    remove_folder();
}
END_TEST

static void refused(ef_status got, ef_status want, const ef_error *error, const char *text)
{
    ck_assert_int_eq(got, want);
    ck_assert_msg(strstr(error->text, text), "%s", error->text);
}

START_TEST(what_cannot_be_written_is_refused_and_leaves_nothing)
{
    float *x = make_vectors();
    ef_vectors_writer *w = NULL;
    ef_error error = {0};
    make_folder();
    const char *path = strcpy(ef_test_alloc(256), path_of("v"));
    refused(ef_vectors_writer_new(path, EF_VECTORS_NPY, 0, &w, &error), EF_EARG, &error, "width 0");
    refused(ef_vectors_writer_new(path, (ef_vectors_format)4, E, &w, &error), EF_EARG, &error,
            "unknown format 4");
    refused(ef_vectors_writer_new(NULL, EF_VECTORS_NPY, E, &w, &error), EF_EARG, &error,
            "stdout: only lines");
    refused(ef_vectors_writer_new(path_of("none/v"), EF_VECTORS_NPY, E, &w, &error), EF_EIO, &error,
            "none/");
    ck_assert_ptr_null(w);
    x[2 * E + 3] = NAN;
    ck_assert_int_eq(ef_vectors_writer_new(path, EF_VECTORS_NPY, E, &w, &error), EF_OK);
    refused(ef_vectors_writer_add(w, x, NULL, N, &error), EF_EARG, &error,
            "/v: vector 2: value 3 is not finite");
    ef_vectors_writer_free(w);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("vectors");
    TCase *t = ef_test_case(s, "vectors");
    tcase_add_test(t, a_number_is_read_back_with_the_same_bits);
    tcase_add_test(t, a_file_of_each_format_is_read_back_with_the_same_bits);
    tcase_add_test(t, lines_of_json_have_their_texts_as_utf8);
    tcase_add_test(t, what_cannot_be_written_is_refused_and_leaves_nothing);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
