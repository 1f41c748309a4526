/* Tests of how text becomes words: Hugging Face's for every code point, and UTF-8. */
#include "base/sha256.h"
#include "data/words.h"
#include "ef_test.h"
#include "ws.h"
#include <stdio.h>
#include <stdlib.h>

/* The words of a text, each with a bar behind it; those that are too long are "!". */
static const char *words_of(const char *text, size_t bytes)
{
    static char out[4096];
    size_t n = 0;
    ef__words w;
    for (ef__words_begin(&w, text, bytes); ef__words_next(&w); out[n++] = '|') {
        if (w.chars > EF__WORD_CHARS) {
            out[n++] = '!';
        } else {
            memcpy(out + n, w.word, w.bytes);
            n += w.bytes;
        }
    }
    out[n] = '\0';
    return out;
}

START_TEST(text_is_split_and_folded)
{
    static const struct {
        const char *text, *words;
    } row[] = {
        {"", ""},
        {" \t\r\n ", ""},
        {"Hello, World", "hello|,|world|"},
        {"a.b..c", "a|.|b|.|.|c|"},
        {"a\vb\x7f"
         "c",
         "abc|"},
        {"caf\xc3\xa9 CAFE\xcc\x81", "cafe|cafe|"},
        {"\xe4\xbd\xa0\xe5\xa5\xbdx", "\xe4\xbd\xa0|\xe5\xa5\xbd|x|"},
        {"a\xc2\xa0"
         "b\xe3\x80\x80"
         "c",
         "a|b|c|"},
        {"\xe2\x80\x9cq\xe2\x80\x9d", "\xe2\x80\x9c|q|\xe2\x80\x9d|"},
        {"x\xe2\x89\xa0y", "x|=|y|"},
        {"\xe2\x84\xaa\xc4\xb0", "ki|"},
        /* U+1D165 has class 216, U+302E 224, U+08D4 230: their order is mended, but not past what
         * has class 0, even if that goes: U+0941. */
        {"a\xe0\xa3\x94\xe3\x80\xae\xf0\x9d\x85\xa5", "a\xf0\x9d\x85\xa5\xe3\x80\xae\xe0\xa3\x94|"},
        {"a\xe0\xa3\x94\xe0\xa5\x81\xe3\x80\xae", "a\xe0\xa3\x94\xe3\x80\xae|"},
        {"a\xe0\xa3\x94\xcc\x81\xe3\x80\xae", "a\xe3\x80\xae\xe0\xa3\x94|"},
        {".\xe3\x80\xae.", ".|\xe3\x80\xae|.|"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        ck_assert_str_eq(words_of(row[i].text, strlen(row[i].text)), row[i].words);
    ck_assert_str_eq(words_of("a\0b", 3), "ab|");
}
END_TEST

/* A letter of one, two and three bytes, and a mark that waits for what comes after it. */
START_TEST(a_word_has_at_most_100_code_points)
{
    static const char *const letter[] = {"a", "\xd0\xb6", "\xe3\x82\xa2", "\xe3\x80\xae"};
    for (size_t k = 0; k < sizeof letter / sizeof *letter; k++)
        for (size_t chars = 99; chars <= 220; chars += chars == 101 ? 119 : 1) {
            char text[1000] = "";
            for (size_t i = 0; i < chars; i++)
                strcat(text, letter[k]);
            const size_t bytes = strlen(text);
            const char *words = words_of(text, bytes);
            if (chars > 100)
                ck_assert_str_eq(words, "!|");
            else
                ck_assert(!memcmp(words, text, bytes) && !strcmp(words + bytes, "|"));
            strcat(text, "z y");
            ck_assert_str_eq(words_of(text, strlen(text)) + (chars > 99 ? 2 : bytes + 2), "y|");
        }
}
END_TEST

/* The bytes of text that code points [first, first + 4096) make, as make_wordpiece.py has it. */
static void digest_of(uint32_t first, char *hex)
{
    ef__sha256 sha;
    ef__sha256_begin(&sha);
    for (uint32_t c = first; c < first + 0x1000; c++) {
        unsigned char text[16] = "A";
        size_t bytes = 1, chars = 0;
        ef__words w;
        if (c >= 0xd800 && c < 0xe000)
            continue;
        bytes += ef__utf8_put(c, text + bytes);
        bytes += ef__utf8_put(0x302e, text + bytes);
        bytes += ef__utf8_put(c, text + bytes);
        text[bytes++] = 'b';
        for (ef__words_begin(&w, text, bytes); ef__words_next(&w); chars += w.chars) {
            w.word[w.bytes] = ' ';
            ef__sha256_add(&sha, w.word, w.bytes + 1);
        }
        if (chars > bytes) /* bytes + 2 ids are not enough */
            ck_abort_msg("U+%04X has more letters than bytes", (unsigned)c);
        ef__sha256_add(&sha, "\n", 1);
    }
    ef__sha256_end_hex(&sha, hex);
}

START_TEST(every_code_point_is_as_hugging_face_has_it)
{
    const char *srcdir = getenv("srcdir");
    char path[4096], want[32];
    unsigned first, next = 0, wrong = 0;
    snprintf(path, sizeof path, "%s/tests/wordpiece/code_points.txt", srcdir ? srcdir : ".");
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    for (; fscanf(f, "%x %16s", &first, want) == 2; next += 0x1000) {
        char hex[EF__SHA256_HEX];
        ck_assert_uint_eq(first, next);
        digest_of(first, hex);
        if (strncmp(hex, want, 16)) {
            printf("U+%04X to U+%04X: not all are as they should be\n", first, first + 0xfff);
            wrong++;
        }
    }
    fclose(f);
    ck_assert_uint_eq(next, 0x110000);
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(utf8_is_read_as_python_reads_it)
{
    static const struct {
        const char *bytes, *read; /* ? for each that is none */
    } row[] = {
        {"a\xc3\xa9", "ae"},
        {"\x80", "?"},
        {"\xc0\xaf", "??"},
        {"\xc1\xbf", "??"},
        {"\xc3(", "?("},
        {"\xe2\x82", "?"},
        {"\xe2\x82(", "?("},
        {"\xe2(", "?("},
        {"\xe0\x9f\xbf", "???"},
        {"\xed\xa0\x80", "???"},
        {"\xed\x9f\xbf", "x"},
        {"\xee\x80\x80", "x"},
        {"\xf0\x8f\xbf\xbf", "????"},
        {"\xf0\x90\x80\x80", "x"},
        {"\xf0\x9f\x98", "?"},
        {"\xf0\x9f\x98(", "?("},
        {"\xf4\x8f\xbf\xbf", "x"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xf5\x80\x80\x80", "????"},
        {"\xff", "?"},
        {"\xc3\xc3\xa9", "?e"},
        {"\xf0\x9f\xe2\x82\xac", "?x"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const unsigned char *p = (const unsigned char *)row[i].bytes,
                            *end = p + strlen(row[i].bytes);
        char read[16];
        size_t n = 0;
        while (p < end) {
            const uint32_t c = ef__utf8_next(&p, end);
            read[n++] = c == EF__UTF8_BAD ? '?' : c == 0xe9 ? 'e' : c < 0x80 ? (char)c : 'x';
        }
        read[n] = '\0';
        ck_assert_str_eq(read, row[i].read);
    }
}
END_TEST

START_TEST(a_code_point_is_read_as_it_was_written)
{
    for (uint32_t c = 0; c < 0x110000; c++) {
        unsigned char text[EF__UTF8_MAX];
        const unsigned char *p = text;
        if (c >= 0xd800 && c < 0xe000)
            continue;
        const size_t bytes = ef__utf8_put(c, text);
        if (ef__utf8_next(&p, text + bytes) != c || p != text + bytes)
            ck_abort_msg("U+%04X is not read back", (unsigned)c);
    }
}
END_TEST

START_TEST(the_tokenizer_of_tests_numbers_words_as_they_come)
{
    static ws t;
    int32_t ids[8];
    ck_assert_uint_eq(ws_encode(&t, " The cat\tthe  dog\n", ids, 8), 4);
    ck_assert(!memcmp(ids, (int32_t[]){2, 3, 2, 4}, 4 * sizeof *ids));
    t.fixed = true;
    ck_assert_uint_eq(ws_encode(&t, "dog bird", ids, 8), 2);
    ck_assert(!memcmp(ids, (int32_t[]){4, WS_UNK}, 2 * sizeof *ids));
    ck_assert_uint_eq(ws_encode(&t, "dog bird", ids, 1), 1);
    ck_assert_uint_eq(ws_encode(&t, "", ids, 8), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("words");
    TCase *t = ef_test_case(s, "words");
    tcase_add_test(t, text_is_split_and_folded);
    tcase_add_test(t, a_word_has_at_most_100_code_points);
    tcase_add_test(t, every_code_point_is_as_hugging_face_has_it);
    TCase *u = ef_test_case(s, "utf8");
    tcase_add_test(u, utf8_is_read_as_python_reads_it);
    tcase_add_test(u, a_code_point_is_read_as_it_was_written);
    TCase *v = ef_test_case(s, "ws");
    tcase_add_test(v, the_tokenizer_of_tests_numbers_words_as_they_come);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
