/* Tests of vocabularies: which files are one, what is refused, and the trie of their tokens. */
#include "data/wordpiece.h"
#include "ef_test.h"
#include "folder.h"
#include "mutate.h"
#include <string.h>
#include <unistd.h>

#define BASE "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static ef_tokenizer *parse(const char *text)
{
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef_tokenizer_parse("v.txt", text, strlen(text), &t, &error), "%s", error.text);
    return t;
}

static void refused(const char *text, size_t bytes, const char *want)
{
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    ck_assert_int_eq(ef_tokenizer_parse("v.txt", text, bytes, &t, &error), EF_EFORMAT);
    ck_assert_int_eq(error.status, EF_EFORMAT);
    ck_assert_msg(!strncmp(error.text, want, strlen(want)), "\"%s\", not \"%s\"", error.text, want);
    ck_assert_ptr_null(t);
    ck_assert_int_eq(ef_tokenizer_parse("v.txt", text, bytes, &t, NULL), EF_EFORMAT);
}

START_TEST(a_token_has_the_number_of_its_line)
{
    static const char text[] = BASE "a\n##b\nb c\n\xc3\xa9";
    static const char *const same[] = {
        text, BASE "a\n##b\nb c\n\xc3\xa9\n",
        BASE "a \t\n##b\r\nb c\xe3\x80\x80\n\xc3\xa9\xc2\xa0\r",
        "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\na\r\n##b\r\nb c\r\n\xc3\xa9\r\n"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        ef_tokenizer *t = parse(same[i]);
        size_t bytes;
        ck_assert_uint_eq(ef_tokenizer_size(t), 9);
        ck_assert_int_eq(ef_tokenizer_id(t, "[PAD]"), 0);
        ck_assert_int_eq(ef_tokenizer_id(t, "a"), 5);
        ck_assert_int_eq(ef_tokenizer_id(t, "##b"), 6);
        ck_assert_int_eq(ef_tokenizer_id(t, "b c"), 7);
        ck_assert_int_eq(ef_tokenizer_id(t, "\xc3\xa9"), 8);
        ck_assert_int_eq(ef_tokenizer_id(t, "b"), -1);
        ck_assert_int_eq(ef_tokenizer_id(t, ""), -1);
        ck_assert(!memcmp(ef_tokenizer_token(t, 7, &bytes), "b c\n", 4) && bytes == 3);
        ck_assert(!memcmp(ef_tokenizer_token(t, 8, &bytes), "\xc3\xa9\n", 3) && bytes == 2);
        ck_assert_ptr_null(ef_tokenizer_token(t, 9, &bytes));
        ck_assert_ptr_null(ef_tokenizer_token(t, -1, &bytes));
        const char *lines = ef_tokenizer_vocabulary(t, &bytes);
        ck_assert_uint_eq(bytes, strlen(same[1]));
        ck_assert(!memcmp(lines, same[1], bytes));
        ef_tokenizer_free(t);
    }
    ef_tokenizer_free(NULL);
}
END_TEST

START_TEST(what_is_no_vocabulary_is_refused_by_line)
{
    static const struct {
        const char *text, *error;
    } row[] = {
        {"", "v.txt: is empty"},
        {"\n", "v.txt:1: is blank"},
        {BASE "a\n\nb\n", "v.txt:7: is blank"},
        {BASE "a\n \t\r\n", "v.txt:7: is blank"},
        {BASE "\xe3\x80\x80\n", "v.txt:6: is blank"},
        {BASE "a\nb\na\nb\nb\n", "v.txt:8: is the token of line 6 again"},
        {BASE "b\na\nb\nb", "v.txt:8: is the token of line 6 again"},
        {BASE "a\nb\nb\na\n", "v.txt:8: is the token of line 7 again"},
        {BASE "a\na \n", "v.txt:7: is the token of line 6 again"},
        {BASE "a\xff\n", "v.txt:6: is not UTF-8"},
        {BASE "a\n\xed\xa0\x80", "v.txt:7: is not UTF-8"},
        {BASE "\xc3\n\xa9\n", "v.txt:6: is not UTF-8"},
        {"[PAD]\n[CLS]\n[SEP]\n", "v.txt: none of its 3 lines is [UNK]"},
        {"[UNK]\n[SEP]\n", "v.txt: none of its 2 lines is [CLS]"},
        {"[UNK]\n[CLS]\n[sep]\n", "v.txt: none of its 3 lines is [SEP]"},
        {"{\"vocab\": 1}", "v.txt: none of its 1 lines is [UNK]"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        refused(row[i].text, strlen(row[i].text), row[i].error);
    ef_tokenizer_free(parse("[UNK]\n[CLS]\n[SEP]"));
}
END_TEST

START_TEST(a_file_is_opened_or_named)
{
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    make_folder();
    FILE *f = fopen(path_of("v.txt"), "w");
    fputs(BASE "a", f);
    fclose(f);
    ck_assert_msg(!ef_tokenizer_open(path_of("v.txt"), &t, &error), "%s", error.text);
    ck_assert_uint_eq(ef_tokenizer_size(t), 6);
    ef_tokenizer_free(t);
    t = NULL;
    ck_assert_int_eq(ef_tokenizer_open(path_of("none.txt"), &t, &error), EF_EIO);
    ck_assert_msg(strstr(error.text, "/none.txt: cannot open: No such file"), "%s", error.text);
    f = fopen(path_of("v.txt"), "a");
    fputs("\n\n", f);
    fclose(f);
    ck_assert_int_eq(ef_tokenizer_open(path_of("v.txt"), &t, &error), EF_EFORMAT);
    ck_assert_msg(strstr(error.text, "/v.txt:7: is blank"), "%s", error.text);
    ck_assert_ptr_null(t);
    remove_folder();
}
END_TEST

/* A safetensors file "m" that carries these bytes; data NULL: none. */
static void save_carrier(ef__st_dtype dtype, const char *data, size_t count)
{
    const float bias[2] = {0};
    ef__st_writer *w = ef__st_writer_new();
    ef__st_put(w, "proj.bias", EF__ST_F32, 1, (size_t[]){2}, bias);
    if (data)
        ef__st_put(w, EF__VOCABULARY, dtype, 1, &count, data);
    ck_assert_int_eq(ef__st_save(w, path_of("m"), NULL), EF_OK);
    ef__st_writer_free(w);
}

START_TEST(a_checkpoint_is_opened_when_it_carries_a_vocabulary)
{
    static const char lines[] = BASE "a\n##b\n", twice[] = BASE "a\na\n";
    static const struct {
        ef__st_dtype dtype;
        const char *data, *error;
        size_t count;
    } row[] = {
        {EF__ST_U8, NULL, "/m: carries no vocabulary: it has no tensor \"tokenizer.vocab\"", 0},
        {EF__ST_U8, lines, "/m: tensor \"tokenizer.vocab\": is empty", 0},
        {EF__ST_U8, twice, "/m: tensor \"tokenizer.vocab\":7: is the token of line 6 again",
         sizeof twice - 1},
        {EF__ST_F32, lines, "/m: tensor \"tokenizer.vocab\"", 2},
    };
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    size_t bytes;
    make_folder();
    save_carrier(EF__ST_U8, lines, sizeof lines - 1);
    ck_assert_msg(!ef_tokenizer_open(path_of("m"), &t, &error), "%s", error.text);
    ck_assert_mem_eq(ef_tokenizer_vocabulary(t, &bytes), lines, sizeof lines - 1);
    ck_assert_uint_eq(bytes, sizeof lines - 1);
    ck_assert_int_eq(ef_tokenizer_id(t, "##b"), 6);
    ef_tokenizer_free(t);
    t = NULL;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        save_carrier(row[i].dtype, row[i].data, row[i].count);
        ck_assert_int_eq(ef_tokenizer_open(path_of("m"), &t, &error), EF_EFORMAT);
        ck_assert_msg(strstr(error.text, row[i].error), "%s", error.text);
        ck_assert_ptr_null(t);
    }
    ck_assert_int_eq(truncate(path_of("m"), 20), 0);
    ck_assert_int_eq(ef_tokenizer_open(path_of("m"), &t, &error), EF_EFORMAT);
    ck_assert_msg(strstr(error.text, "/m: ") && !strstr(error.text, "line"), "%s", error.text);
    remove_folder();
}
END_TEST

static void save_lines(const char *lines)
{
    FILE *f = fopen(path_of("v.txt"), "w");
    ck_assert(f && fputs(lines, f) >= 0 && !fclose(f));
}

/* text NULL: it opens, with so many tokens; 0: there is none. */
static void open_for(bool vocab, bool checkpoint, size_t tokens, const char *text)
{
    char paths[2][4096];
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    snprintf(paths[0], sizeof *paths, "%s", path_of("v.txt"));
    snprintf(paths[1], sizeof *paths, "%s", path_of("m"));
    ef_status status =
        ef_tokenizer_open_for(vocab ? paths[0] : NULL, checkpoint ? paths[1] : NULL, &t, &error);
    ck_assert_int_eq(status, text ? EF_EARG : EF_OK);
    ck_assert_uint_eq(t ? ef_tokenizer_size(t) : 0, tokens);
    ck_assert_msg(!text || (strstr(error.text, text) && strstr(error.text, paths[0]) &&
                            strstr(error.text, paths[1])),
                  "%s", error.text);
    ef_tokenizer_free(t);
}

START_TEST(a_vocabulary_for_a_checkpoint_has_its_tokens)
{
    static const char lines[] = BASE "a\n##b\n";
    static const struct {
        const char *lines, *error;
    } row[] = {{BASE "a\n##c\n", ": id 6 is \"##c\", in the vocabulary of "},
               {BASE "ab\n##b\n", ": id 5 is \"ab\", in the vocabulary of "},
               {BASE "c\n", ": id 5 is \"c\", in the vocabulary of "},
               {BASE "a\n", ": has 6 tokens, the vocabulary of "},
               {BASE "a\n", "/m 7: id 6 is in one alone"},
               {BASE "a\n##b\nc\n", "/m 7: id 7 is in one alone"}};
    make_folder();
    save_carrier(EF__ST_U8, lines, sizeof lines - 1);
    save_lines(lines);
    open_for(true, true, 7, NULL);
    open_for(false, true, 7, NULL);
    open_for(true, false, 7, NULL);
    open_for(false, false, 0, NULL);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        save_lines(row[i].lines);
        open_for(true, true, 0, row[i].error);
    }
    save_carrier(EF__ST_U8, NULL, 0);
    open_for(true, true, 8, NULL);
    open_for(false, true, 0, NULL);
    remove_folder();
}
END_TEST

START_TEST(no_broken_vocabulary_breaks_the_parser)
{
    static const char text[] =
        BASE "a\n##a\nab\n##ab\nabc\nb\n##b\nba\n\xc3\xa9\n##\xc3\xa9\xc3\xa9\n";
    uint64_t seed = 1;
    for (size_t i = 0; i < ef_test_size(2000, 20000, 100000); i++) {
        size_t bytes = sizeof text - 1;
        unsigned char *copy = mutate((const unsigned char *)text, bytes, &bytes, &seed);
        ef_tokenizer *t = NULL;
        ef_error error = {0};
        int32_t ids[64];
        if (ef_tokenizer_parse("v.txt", copy, bytes, &t, &error))
            ck_assert_int_eq(error.status, EF_EFORMAT);
        else
            ck_assert_uint_ge(ef_tokenizer_encode(t, (char *)copy, bytes, ids, 64), 2);
        ef_tokenizer_free(t);
        free(copy);
    }
}
END_TEST

/* ---- The trie ---- */

static int32_t find(const ef__trie *trie, const unsigned char *text, size_t bytes)
{
    uint32_t node = EF__TRIE_ROOT;
    for (size_t i = 0; i < bytes; i++)
        if (!(node = ef__trie_child(trie, node, text[i])))
            return -1;
    return trie->node[node].id;
}

static int compare(const void *left, const void *right)
{
    const ef__trie_key *a = left, *b = right;
    const int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? order : (int)a->bytes - (int)b->bytes;
}

/* Sorted, different, not empty; of `letters` different bytes, so that they share beginnings. */
static size_t random_keys(ef__trie_key *key, size_t most, unsigned letters, uint64_t seed)
{
    size_t count = 0;
    for (size_t i = 0; i < most; i++) {
        unsigned char *text = ef_test_alloc(16);
        key[i] = (ef__trie_key){text, 1 + mutate_random(&seed) % 16, 0};
        for (size_t k = 0; k < key[i].bytes; k++)
            text[k] = (unsigned char)(mutate_random(&seed) % letters * (256 / letters));
    }
    qsort(key, most, sizeof *key, compare);
    for (size_t i = 0; i < most; i++)
        if (!count || compare(&key[count - 1], &key[i]))
            key[count++] = key[i];
    for (size_t i = 0; i < count; i++)
        key[i].id = (int32_t)(i * 7 % count);
    return count;
}

START_TEST(a_trie_has_its_keys_and_nothing_else)
{
    static const struct {
        size_t most;
        unsigned letters;
    } row[] = {{0, 1}, {1, 1}, {2, 2}, {100, 2}, {3000, 4}, {3000, 64}, {20000, 256}};
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        ef__trie trie;
        ef__trie_key *key = ef_test_alloc((row[r].most + 1) * sizeof *key);
        const size_t count = random_keys(key, row[r].most, row[r].letters, r);
        ck_assert(ef__trie_build(&trie, key, count));
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(find(&trie, key[i].text, key[i].bytes), key[i].id);
        /* Beginnings of keys, and keys with one byte more, are keys themselves or not there. */
        for (size_t i = 0; i < count; i++)
            for (size_t n = 1; n <= key[i].bytes + 1; n++) {
                unsigned char text[17] = {0};
                memcpy(text, key[i].text, key[i].bytes);
                const ef__trie_key want = {text, n, 0}, *there;
                there = bsearch(&want, key, count, sizeof *key, compare);
                ck_assert_int_eq(find(&trie, text, n), there ? there->id : -1);
            }
        for (unsigned byte = 0; byte < 256; byte++)
            ck_assert(!ef__trie_child(&trie, EF__TRIE_DEAD, (unsigned char)byte));
        ck_assert_int_eq(trie.node[EF__TRIE_DEAD].id, -1);
        ef__trie_free(&trie);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("vocabulary");
    TCase *v = ef_test_case(s, "vocabulary");
    tcase_add_test(v, a_token_has_the_number_of_its_line);
    tcase_add_test(v, what_is_no_vocabulary_is_refused_by_line);
    tcase_add_test(v, a_file_is_opened_or_named);
    tcase_add_test(v, a_checkpoint_is_opened_when_it_carries_a_vocabulary);
    tcase_add_test(v, a_vocabulary_for_a_checkpoint_has_its_tokens);
    tcase_add_test(v, no_broken_vocabulary_breaks_the_parser);
    TCase *t = ef_test_case(s, "trie");
    tcase_add_test(t, a_trie_has_its_keys_and_nothing_else);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
