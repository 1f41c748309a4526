/* Tests of the tokenizer against Hugging Face's: every line of a file that make_wordpiece.py wrote.
 * usage: test_wordpiece [GOLDEN.jsonl VOCAB.txt]; a line has "text" or "hex", "ids", and, if it
 * wants, "decoded". */
#include "ef_test.h"
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char *golden_path, *vocabulary_path;

static ef_tokenizer *tokenizer(void)
{
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef_tokenizer_open(vocabulary_path, &t, &error), "%s", error.text);
    return t;
}

/* ---- Lines of the golden file ---- */

typedef struct line {
    json_t *json;
    char *text;
    size_t bytes, count;
    int32_t *ids;
} line;

static char *from_hex(const char *hex, size_t bytes)
{
    char *text = ef_test_alloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++) {
        unsigned byte;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        text[i] = (char)byte;
    }
    return text;
}

static bool next_line(FILE *f, line *l)
{
    json_t *text, *hex, *ids;
    json_error_t error;
    l->json = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
    if (!l->json) {
        ck_assert_msg(feof(f), "%s: %s", golden_path, error.text);
        return false;
    }
    text = json_object_get(l->json, "text");
    hex = json_object_get(l->json, "hex");
    ids = json_object_get(l->json, "ids");
    ck_assert(json_is_array(ids) && (json_is_string(text) || json_is_string(hex)));
    /* Memory of exactly that size, so that the address sanitizer sees a step past its end. */
    l->bytes = text ? json_string_length(text) : json_string_length(hex) / 2;
    l->text = malloc(l->bytes ? l->bytes : 1);
    memcpy(l->text, text ? json_string_value(text) : from_hex(json_string_value(hex), l->bytes),
           l->bytes);
    l->count = json_array_size(ids);
    l->ids = malloc(l->count * sizeof *l->ids);
    for (size_t i = 0; i < l->count; i++)
        l->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    return true;
}

static void free_line(line *l)
{
    json_decref(l->json);
    free(l->text);
    free(l->ids);
}

/* Call check for every line; how many it was content with. */
static size_t each_line(bool (*check)(const ef_tokenizer *t, const line *l), size_t *lines)
{
    ef_tokenizer *t = tokenizer();
    FILE *f = fopen(golden_path, "r");
    size_t good = 0;
    line l;
    ck_assert_msg(f, "cannot open %s", golden_path);
    for (*lines = 0; next_line(f, &l); free_line(&l)) {
        ++*lines;
        if (check(t, &l))
            good++;
        else
            printf("%s:%zu: is not so here\n", golden_path, *lines);
    }
    fclose(f);
    ef_tokenizer_free(t);
    ck_assert_uint_gt(*lines, 0);
    return good;
}

static bool same_ids(const ef_tokenizer *t, const line *l)
{
    const size_t max = l->bytes + 2;
    int32_t *ids = malloc(max * sizeof *ids);
    const size_t count = ef_tokenizer_encode(t, l->text, l->bytes, ids, max);
    const bool same = count == l->count && !memcmp(ids, l->ids, count * sizeof *ids);
    free(ids);
    return same;
}

START_TEST(ids_are_hugging_faces)
{
    size_t lines, good = each_line(same_ids, &lines);
    ck_assert_uint_eq(good, lines);
}
END_TEST

static bool same_text(const ef_tokenizer *t, const line *l)
{
    const json_t *decoded = json_object_get(l->json, "decoded");
    if (!decoded)
        return true;
    const size_t bytes = ef_tokenizer_decode(t, l->ids, l->count, NULL, 0);
    char *text = malloc(bytes + 1);
    const size_t again = ef_tokenizer_decode(t, l->ids, l->count, text, bytes + 1);
    const bool same = bytes == again && !strcmp(text, json_string_value(decoded));
    free(text);
    return same;
}

START_TEST(ids_are_decoded_as_hugging_face_does)
{
    size_t lines, good = each_line(same_text, &lines);
    ck_assert_uint_eq(good, lines);
}
END_TEST

/* Whatever there is room for: the first ids, then [SEP], and nothing behind. */
static bool cut_well(const ef_tokenizer *t, const line *l)
{
    for (size_t max = 0; max <= l->count && max < 40; max++) {
        int32_t *ids = malloc((max ? max : 1) * sizeof *ids);
        const size_t count = ef_tokenizer_encode(t, l->text, l->bytes, ids, max);
        const bool good = max < 2 ? !count
                                  : count == max && !memcmp(ids, l->ids, (max - 1) * sizeof *ids) &&
                                        ids[max - 1] == l->ids[l->count - 1];
        free(ids);
        if (!good)
            return false;
    }
    return true;
}

START_TEST(a_long_text_is_cut_before_sep)
{
    size_t lines, good = each_line(cut_well, &lines);
    ck_assert_uint_eq(good, lines);
}
END_TEST

static bool survives(const ef_tokenizer *t, const line *l)
{
    ef_tokenizer *copy = NULL;
    size_t bytes;
    const char *text = ef_tokenizer_vocabulary(t, &bytes);
    ck_assert(!ef_tokenizer_parse("copy", text, bytes, &copy, NULL));
    const bool same = same_ids(copy, l);
    ef_tokenizer_free(copy);
    return same;
}

START_TEST(a_tokenizer_is_made_again_from_its_vocabulary)
{
    ef_tokenizer *t = tokenizer();
    static char text[] = "two children, running!";
    int32_t ids[32];
    line l = {.text = text, .bytes = strlen(text), .ids = ids};
    l.count = ef_tokenizer_encode(t, text, l.bytes, ids, 32);
    ck_assert(survives(t, &l));
    ef_tokenizer_free(t);
}
END_TEST

static void *encode_all(void *t)
{
    size_t lines;
    FILE *f = fopen(golden_path, "r");
    size_t wrong = 0;
    line l;
    for (lines = 0; lines < 200 && next_line(f, &l); lines++) {
        wrong += !same_ids(t, &l);
        free_line(&l);
    }
    fclose(f);
    return wrong ? t : NULL;
}

START_TEST(threads_share_a_tokenizer)
{
    pthread_t thread[4];
    ef_tokenizer *t = tokenizer();
    for (int i = 0; i < 4; i++)
        ck_assert(!pthread_create(&thread[i], NULL, encode_all, t));
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(thread[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
    ef_tokenizer_free(t);
}
END_TEST

/* ---- By a vocabulary of a few lines ---- */

static const char few[] = "[UNK]\n[CLS]\n[SEP]\na\nab\n##c\n##cd\n[\n]\n##n't\n.\nn't\n's\nmask\n##"
                          "mask\n'm\n've\n're\n?\n!\n,";

static void gives(const char *vocabulary, const char *text, const char *want)
{
    ef_tokenizer *t = NULL;
    int32_t ids[16];
    char got[256] = "";
    ck_assert(!ef_tokenizer_parse("few", vocabulary, strlen(vocabulary), &t, NULL));
    const size_t count = ef_tokenizer_encode(t, text, strlen(text), ids, 16);
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *token = ef_tokenizer_token(t, ids[i], &bytes);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", i ? " " : "", (int)bytes,
                 token);
    }
    ck_assert_str_eq(got, want);
    ef_tokenizer_free(t);
}

START_TEST(the_longest_token_is_taken)
{
    gives(few, "a", "[CLS] a [SEP]");
    gives(few, "abcd abc acc", "[CLS] ab ##cd ab ##c a ##c ##c [SEP]");
    gives(few, "abx x ad", "[CLS] [UNK] [UNK] [UNK] [SEP]"); /* a ##bcd is not tried for ab */
    gives(few, "c cd #", "[CLS] [UNK] [UNK] [UNK] [SEP]");
    gives("[UNK]\n[CLS]\n[SEP]\na\n", "a aa", "[CLS] a [UNK] [SEP]"); /* no "##" at all */
    gives("[UNK]\n[CLS]\n[SEP]\na\n#\n", "a # aa", "[CLS] a # [UNK] [SEP]");
}
END_TEST

START_TEST(special_tokens_stand_for_themselves)
{
    gives(few, "a[SEP]a", "[CLS] a [SEP] a [SEP]");
    gives(few, "[CLS][UNK]", "[CLS] [CLS] [UNK] [SEP]");
    gives(few, "[cls", "[CLS] [ [UNK] [SEP]");
    gives(few, "[MASK]", "[CLS] [ mask ] [SEP]"); /* it is not in this vocabulary */
    gives("[UNK]\n[CLS]\n[SEP]\n[MASK]\n[\n", "[[MASK][mask", "[CLS] [ [MASK] [ [UNK] [SEP]");
}
END_TEST

START_TEST(decoded_text_fits_its_room)
{
    static const struct {
        int32_t ids[8];
        size_t count;
        const char *text;
    } row[] = {
        {{0}, 0, ""},
        {{1, 3, 2}, 3, "a"},
        {{5, 3, 5, 3, 10}, 5, "##c ac a."},
        {{10, 10, 3, 11, 12}, 5, ".. an't's"},
        {{3, 9, -1, 99, 0, 3}, 6, "an't a"},
        {{3, 15, 16, 17, 18, 19, 20}, 7, "a'm've're?!,"},
        {{0, 1, 2}, 3, ""},
    };
    ef_tokenizer *t = NULL;
    ck_assert(!ef_tokenizer_parse("few", few, strlen(few), &t, NULL));
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (size_t room = 0; room < 16; room++) {
            char text[17], want[17];
            memset(text, '#', sizeof text);
            memset(want, '#', sizeof want);
            if (room)
                snprintf(want, room, "%s", row[i].text);
            const size_t bytes = ef_tokenizer_decode(t, row[i].ids, row[i].count, text, room);
            ck_assert_uint_eq(bytes, strlen(row[i].text));
            ck_assert(!memcmp(text, want, sizeof text));
        }
    ef_tokenizer_free(t);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("wordpiece");
    TCase *g = ef_test_case(s, "golden");
    tcase_add_test(g, ids_are_hugging_faces);
    tcase_add_test(g, ids_are_decoded_as_hugging_face_does);
    tcase_add_test(g, a_long_text_is_cut_before_sep);
    tcase_add_test(g, a_tokenizer_is_made_again_from_its_vocabulary);
    tcase_add_test(g, threads_share_a_tokenizer);
    TCase *f = ef_test_case(s, "few");
    tcase_add_test(f, the_longest_token_is_taken);
    tcase_add_test(f, special_tokens_stand_for_themselves);
    tcase_add_test(f, decoded_text_fits_its_room);
    return s;
}

int main(int argc, char **argv)
{
    static char golden[4096], vocabulary[4096];
    const char *srcdir = getenv("srcdir");
    snprintf(golden, sizeof golden, "%s/tests/wordpiece/golden.jsonl", srcdir ? srcdir : ".");
    snprintf(vocabulary, sizeof vocabulary, "%s/tests/wordpiece/vocab.txt", srcdir ? srcdir : ".");
    golden_path = argc > 2 ? argv[1] : golden;
    vocabulary_path = argc > 2 ? argv[2] : vocabulary;
    return ef_test_main(suite, false);
}
