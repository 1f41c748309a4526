/* Tests of the formats beside EFB1: EFB2, JSONL, vectors; of what is written; of repairs. */
#include "efb.h"
#include "ef_test.h"
#include "folder.h"
#include "mutate.h"
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const char *write_bytes(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, bytes, f), bytes);
    ck_assert_int_eq(fclose(f), 0);
    return path_of(name);
}

static ef_dataset *parsed(const void *data, size_t bytes, const ef_dataset_options *o)
{
    ef_error error = {0};
    ef_dataset *d = NULL;
    ck_assert_msg(!ef__dataset_parse("a", data, bytes, o, &d, &error), "%s", error.text);
    return d;
}

static void refused(const void *data, size_t bytes, const char *text)
{
    ef_error error = {0};
    ef_dataset *d = NULL;
    efb_refused(ef__dataset_parse("a", data, bytes, NULL, &d, &error), EF_EFORMAT, &error, text);
    ck_assert_ptr_null(d);
}

static ef_sample sample_of(ef_dataset *d, size_t index)
{
    ef_error error = {0};
    ef_sample s;
    ck_assert_msg(!ef_dataset_read(d, index, &s, &error), "%s", error.text);
    return s;
}

/* ---- EFB2 ---- */

enum { IDS = 1, TEXTS = 2, NORMALIZED = 4 };

/* Samples "word0" {3, 4, 5}, mask 1 1 0, target {name, 0.5}. */
static efb efb2(uint32_t count, uint32_t flags)
{
    efb f = {0};
    efb_put(&f, "EFB2", 4);
    efb_put_u32(&f, count);
    efb_put_u32(&f, 2);
    efb_put_u32(&f, flags);
    for (uint32_t n = 0; n < count; n++) {
        char text[] = "word0";
        text[4] = (char)('0' + n);
        if (flags & TEXTS) {
            efb_put_u32(&f, 5);
            efb_put(&f, text, 5);
        }
        if (flags & IDS)
            efb_add(&f, 3, (uint32_t[]){3, 4, 5}, (uint8_t[]){1, 1, 0}, n, 2);
        else
            efb_put(&f, (float[]){(float)n, 0.5f}, 8);
    }
    return f;
}

START_TEST(efb2_reads_right_with_each_flag)
{
    for (uint32_t flags = 1; flags < 8; flags++) {
        if (!(flags & (IDS | TEXTS)))
            continue;
        efb f = efb2(3, flags);
        ef_dataset *d = parsed(f.data, f.bytes, NULL);
        ck_assert_str_eq(ef_dataset_format(d), "EFB2");
        ck_assert_uint_eq(ef_dataset_size(d), 3);
        ck_assert_uint_eq(ef_dataset_width(d), 2);
        ck_assert_uint_eq(ef_dataset_texts(d), flags & TEXTS ? 3 : 0);
        ck_assert_uint_eq(ef_dataset_bare(d), flags & IDS ? 0 : 3);
        ck_assert_uint_eq(ef_dataset_longest(d), flags & IDS ? 3 : 0);
        ck_assert_int_eq(ef_dataset_normalized(d), (flags & NORMALIZED) != 0);
        for (size_t i = 0; i < 3; i++) {
            ef_sample s = sample_of(d, i);
            ck_assert_float_eq(s.target[0], (float)i);
            ck_assert_float_eq(s.target[1], 0.5f);
            ck_assert_uint_eq(s.length, flags & IDS ? 3 : 0);
            if (flags & IDS) {
                ck_assert_mem_eq(s.ids, ((int32_t[]){3, 4, 5}), 12);
                ck_assert_mem_eq(s.mask, ((uint8_t[]){1, 1, 0}), 3);
            }
            ck_assert_int_eq(s.text != NULL, (flags & TEXTS) != 0);
            if (s.text) {
                ck_assert_uint_eq(s.bytes, 5);
                ck_assert_mem_eq(s.text, "word", 4);
                ck_assert_int_eq(s.text[4], (char)('0' + i));
            }
        }
        ef_sample s;
        ef_error error;
        efb_refused(ef_dataset_read(d, 3, &s, &error), EF_EARG, &error, "no sample 3 of 3");
        ef_dataset_free(d);
        free(f.data);
    }
}
END_TEST

START_TEST(efb2_cut_at_any_byte_is_refused)
{
    for (uint32_t flags = 1; flags < 4; flags++) {
        efb f = efb2(3, flags);
        for (size_t n = 0; n < f.bytes; n++) {
            unsigned char *copy = malloc(n ? n : 1);
            memcpy(copy, f.data, n);
            refused(copy, n, n >= 16 ? "efdata repair" : "a: ");
            free(copy);
        }
        efb_put(&f, "", 1);
        refused(f.data, f.bytes, "1 bytes after the last of 3 samples");
        free(f.data);
    }
}
END_TEST

/* ---- JSONL ---- */

static void jsonl_refused(const char *text, const char *why)
{
    refused(text, strlen(text), why);
}

START_TEST(a_jsonl_file_tells_what_is_in_it)
{
    const char text[] =
        "\n{\"text\": \"a\\u0000\\u00e9\", \"target\": [1, \"2.5\", -0.0], \"other\": {}}\r\n"
        "  \t\n"
        "{\"input_ids\": [5, \"6\", 2147483647], \"target\": [\"1e-3\", 0, 3], \"text\": null}\n"
        "{\"text\": \"\", \"input_ids\": [7], \"attention_mask\": [0], \"target\": [1, 2, 3]}";
    ef_dataset *d = parsed(text, sizeof text - 1, NULL);
    ck_assert_str_eq(ef_dataset_format(d), "JSONL");
    ck_assert_uint_eq(ef_dataset_size(d), 3);
    ck_assert_uint_eq(ef_dataset_width(d), 3);
    ck_assert_uint_eq(ef_dataset_texts(d), 2);
    ck_assert_uint_eq(ef_dataset_bare(d), 1);
    ck_assert_uint_eq(ef_dataset_longest(d), 3);
    ck_assert_int_eq(ef_dataset_max_id(d), INT32_MAX);
    ck_assert_uint_eq(ef_dataset_skipped(d, NULL), 0);
    ef_sample s = sample_of(d, 0);
    ck_assert_uint_eq(s.bytes, 4);
    ck_assert_mem_eq(s.text, "a\0\xc3\xa9", 4);
    ck_assert_uint_eq(s.length, 0);
    ck_assert_mem_eq(s.target, ((float[]){1, 2.5f, -0.0f}), 12);
    s = sample_of(d, 1);
    ck_assert_ptr_null(s.text);
    ck_assert_mem_eq(s.ids, ((int32_t[]){5, 6, INT32_MAX}), 12);
    ck_assert_mem_eq(s.mask, ((uint8_t[]){1, 1, 1}), 3);
    ck_assert_float_eq(s.target[0], 1e-3f);
    s = sample_of(d, 2);
    ck_assert_ptr_nonnull(s.text);
    ck_assert_uint_eq(s.bytes, 0);
    ck_assert_uint_eq(s.mask[0], 0);
    ef_dataset_free(d);
}
END_TEST

#define GOOD "{\"text\": \"x\", \"target\": [1, 2]}\n"

START_TEST(a_bad_line_is_named)
{
    static const struct {
        const char *line, *error;
    } row[] = {
        {"{\"text\": \"x\", \"target\": [1]}", "a:7: \"target\" has 1 numbers, expected 2"},
        {"{\"text\": \"x\"}", "a:7: \"target\" is missing"},
        {"{\"text\": \"x\", \"target\": 1}", "a:7: \"target\" is no array of numbers"},
        {"{\"text\": \"x\", \"target\": [1, \"a\"]}", "a:7: \"target\" element 1 is no finite"},
        {"{\"text\": \"x\", \"target\": [1, null]}", "a:7: \"target\" element 1 is no finite"},
        {"{\"text\": \"x\", \"target\": [1, 1e39]}", "a:7: \"target\" element 1 is no finite"},
        {"{\"text\": \"x\", \"target\": [1, NaN]}", "a:7: byte "},
        {"{\"text\": 5, \"target\": [1, 2]}", "a:7: \"text\" is no string"},
        {"{\"target\": [1, 2]}", "a:7: has neither \"text\" nor \"input_ids\""},
        {"{\"target\": [1, 2], \"input_ids\": []}", "a:7: has neither \"text\" nor"},
        {"{\"target\": [1, 2], \"input_ids\": {}}", "a:7: \"input_ids\" is no array"},
        {"{\"target\": [1, 2], \"input_ids\": [1, -1]}", "a:7: \"input_ids\" element 1 is no"},
        {"{\"target\": [1, 2], \"input_ids\": [2147483648]}", "a:7: \"input_ids\" element 0"},
        {"{\"target\": [1, 2], \"input_ids\": [1.5]}", "a:7: \"input_ids\" element 0"},
        {"{\"target\": [1, 2], \"input_ids\": [1], \"attention_mask\": 1}",
         "a:7: \"attention_mask\" is no array"},
        {"{\"target\": [1, 2], \"input_ids\": [1], \"attention_mask\": [1, 1]}",
         "a:7: \"attention_mask\" has 2 numbers, \"input_ids\" has 1"},
        {"{\"target\": [1, 2], \"input_ids\": [1], \"attention_mask\": [256]}",
         "a:7: \"attention_mask\" element 0"},
        {"{\"target\": [1, 2], \"target\": [1, 2], \"text\": \"\"}", "a:7: byte "},
        {"[1, 2]", "a:7: is no JSON object"},
        {"{\"text\": \"x\", \"target\": [1, 2", "a:7: byte "},
        {"{\"text\": \"\xff\", \"target\": [1, 2]}", "a:7: byte "},
        {"{\"text\": \"x\", \"target\": [1, 2]} x", "a:7: byte "},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char text[1024];
        ef_dataset *d;
        const char *first;
        snprintf(text, sizeof text, GOOD "\n\n" GOOD GOOD "\n%s\n" GOOD, row[i].line);
        jsonl_refused(text, row[i].error);
        d = parsed(text, strlen(text), &(ef_dataset_options){.skip_bad = true});
        ck_assert_uint_eq(ef_dataset_size(d), 4);
        ck_assert_uint_eq(ef_dataset_skipped(d, &first), 1);
        ck_assert_msg(strstr(first, row[i].error) != NULL, "%s", first);
        ef_dataset_free(d);
    }
    jsonl_refused("{\"text\": \"x\", \"target\": []}", "a:1: \"target\" has no numbers");
    jsonl_refused("{]", "a:1: byte");
    ef_dataset *d = NULL;
    ef_error error = {0};
    efb_refused(
        ef__dataset_parse("a", "{}\n", 3, &(ef_dataset_options){.skip_bad = true}, &d, &error),
        EF_EFORMAT, &error, "a: has no samples: a:1: \"target\" is missing");
}
END_TEST

/* The width is that of the first sound line, also after longer and shorter ones that are not. */
START_TEST(lines_before_the_first_sound_one_do_not_say_the_width)
{
    const char text[] = "{\"target\": [1]}\n{\"target\": [1, 2, 3, 4, 5, 6, 7, 8]}\n"
                        "{\"target\": [1, \"x\", 3]}\n{\"text\": \"x\", \"target\": [1, 2, 3]}\n"
                        "{\"text\": \"x\", \"target\": [1, 2]}\n";
    ef_dataset *d = parsed(text, sizeof text - 1, &(ef_dataset_options){.skip_bad = true});
    ck_assert_uint_eq(ef_dataset_width(d), 3);
    ck_assert_uint_eq(ef_dataset_size(d), 1);
    ck_assert_uint_eq(ef_dataset_skipped(d, NULL), 4);
    ef_dataset_free(d);
}
END_TEST

/* Lines longer than what is read at once, of every length around that. */
START_TEST(lines_may_end_anywhere)
{
    enum { COUNT = 40, PIECE = 1 << 16 };
    efb f = {0};
    for (int i = 0; i < COUNT; i++) {
        char fill[PIECE + COUNT];
        memset(fill, 'a' + i % 26, sizeof fill);
        efb_put(&f, "{\"target\":[1],\"text\":\"", 22);
        efb_put(&f, fill, (size_t)(PIECE - 60 + i));
        efb_put(&f, "\"}\n", 3);
    }
    ef_dataset *d = parsed(f.data, f.bytes, NULL);
    ck_assert_uint_eq(ef_dataset_size(d), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ef_sample s = sample_of(d, i);
        ck_assert_uint_eq(s.bytes, PIECE - 60 + i);
        ck_assert_int_eq(s.text[s.bytes - 1], (char)('a' + i % 26));
    }
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

START_TEST(a_consumer_of_ids_is_told_which_sample_has_none)
{
    const char text[] =
        "{\"input_ids\": [1], \"target\": [1]}\n\n{\"text\": \"b\", \"target\": [2]}";
    const ef_loader_options batches = {.batch = 1};
    ef_error error = {0};
    ef_loader *l = NULL;
    ef_dataset *d = parsed(text, sizeof text - 1, NULL);
    efb_refused(ef_loader_new(d, &batches, &l, &error), EF_EFORMAT, &error,
                "a:3: has a text but no ids");
    ef_dataset_free(d);
    efb f = efb2(2, TEXTS);
    d = parsed(f.data, f.bytes, NULL);
    efb_refused(ef_loader_new(d, &batches, &l, &error), EF_EFORMAT, &error,
                "a: sample 0: has a text but no ids");
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

START_TEST(texts_get_ids_from_a_tokenizer)
{
    static const char tokens[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nabc\nword\n##0\n##1\n##2\n";
    const char text[] = "{\"input_ids\": [9], \"text\": \"abc\", \"target\": [1]}\n"
                        "{\"text\": \"abc word1\", \"target\": [2]}\n";
    ef_error error = {0};
    ef_tokenizer *t = NULL;
    ck_assert_int_eq(ef_tokenizer_parse("v", tokens, sizeof tokens - 1, &t, &error), EF_OK);
    ef_dataset_options o = {.tokenizer = t};
    const ef_loader_options batches = {.batch = 2};
    ef_loader *l = NULL;
    ef_batch b;
    ef_dataset *d = parsed(text, sizeof text - 1, &o);
    ck_assert_uint_eq(ef_dataset_bare(d), 0);
    ck_assert_int_eq(ef_dataset_max_id(d), 9);
    ck_assert_int_eq(ef_loader_new(d, &batches, &l, &error), EF_OK);
    ck_assert_int_eq(ef_loader_next(l, &b, &error), EF_OK);
    ck_assert_uint_eq(b.L, 5);
    ck_assert_mem_eq(b.ids, ((int32_t[]){9, 0, 0, 0, 0, 2, 4, 5, 7, 3}), 40);
    ck_assert_mem_eq(b.mask, ((uint8_t[]){1, 0, 0, 0, 0, 1, 1, 1, 1, 1}), 10);
    ef_loader_free(l);
    ef_dataset_free(d);
    o.most_ids = 3;
    efb f = efb2(3, TEXTS);
    d = parsed(f.data, f.bytes, &o);
    ck_assert_uint_eq(ef_dataset_longest(d), 3);
    ef_sample s = sample_of(d, 2);
    ck_assert_mem_eq(s.ids, ((int32_t[]){2, 5, 3}), 12);
    ck_assert_mem_eq(s.text, "word2", 5);
    ck_assert_float_eq(s.target[0], 2);
    ef_dataset_free(d);
    o.most_ids = 1;
    d = NULL;
    efb_refused(ef__dataset_parse("a", f.data, f.bytes, &o, &d, &error), EF_EARG, &error, "1 id");
    ck_assert_ptr_null(d);
    ef_tokenizer_free(t);
    free(f.data);
}
END_TEST

static bool stop_at_half(void *user, uint64_t done, uint64_t all)
{
    ++*(size_t *)user;
    return 2 * done < all;
}

START_TEST(opening_can_be_cancelled)
{
    size_t calls = 0;
    ef_dataset_options o = {.on_progress = stop_at_half, .user = &calls};
    ef_error error = {0};
    ef_dataset *d = NULL;
    efb f = efb2(9, TEXTS);
    efb_refused(ef__dataset_parse("a", f.data, f.bytes, &o, &d, &error), EF_ECANCELLED, &error,
                "a: cancelled");
    ck_assert(calls > 1 && calls < 9);
    calls = 0;
    efb_refused(ef__dataset_parse("a", GOOD GOOD GOOD GOOD, 4 * strlen(GOOD), &o, &d, &error),
                EF_ECANCELLED, &error, "a: cancelled");
    ck_assert(calls > 1 && calls < 5);
    free(f.data);
}
END_TEST

/* ---- Writing ---- */

static void write_all(const char *path, ef_data_format format, ef_dataset *d)
{
    ef_error error = {0};
    ef_dataset_writer *w = NULL;
    ck_assert_msg(!ef_dataset_writer_new(path, format, ef_dataset_width(d), &w, &error), "%s",
                  error.text);
    for (size_t i = 0; i < ef_dataset_size(d); i++) {
        ef_sample s = sample_of(d, i);
        ck_assert_msg(!ef_dataset_writer_add(w, &s, &error), "%s", error.text);
    }
    ck_assert_msg(!ef_dataset_writer_save(w, &error), "%s", error.text);
    ef_dataset_writer_free(w);
}

static ef_dataset *opened(const char *path)
{
    ef_error error = {0};
    ef_dataset *d = NULL;
    ck_assert_msg(!ef_dataset_open(path, &d, &error), "%s", error.text);
    return d;
}

/* Targets of every kind of finite float: exponents from denormals up, both zeros, all patterns. */
static efb all_floats(uint32_t count, uint32_t width)
{
    uint64_t seed = 5;
    efb f = efb_begin(count, width);
    for (uint32_t n = 0; n < count; n++) {
        uint32_t length = 1 + n % 5;
        efb_put_u32(&f, length);
        for (uint32_t i = 0; i < length; i++)
            efb_put_u32(&f, n ? mutate_random(&seed) >> (i % 31) : INT32_MAX);
        for (uint32_t i = 0; i < length; i++)
            efb_put(&f, &(uint8_t){(uint8_t)(n + i)}, 1);
        for (uint32_t i = 0; i < width; i++) {
            uint32_t bits = mutate_random(&seed) << 1 ^ mutate_random(&seed);
            if (n == 0)
                bits = i % 2 << 31 | i / 2 % 4;
            if ((bits & 0x7f800000) == 0x7f800000)
                bits ^= 1u << 30;
            efb_put_u32(&f, bits);
        }
    }
    return f;
}

START_TEST(efb1_to_jsonl_to_efb1_gives_equal_bytes)
{
    make_folder();
    efb f = all_floats((uint32_t)ef_test_size(50, 300, 2000), 37);
    char *jsonl = strdup(path_of("b.jsonl")), *path = strdup(path_of("c.efb"));
    ef_dataset *d = parsed(f.data, f.bytes, NULL);
    write_all(jsonl, EF_DATA_JSONL, d);
    ef_dataset_free(d);
    d = opened(jsonl);
    ck_assert_str_eq(ef_dataset_format(d), "JSONL");
    write_all(path, EF_DATA_EFB1, d);
    ef_dataset_free(d);
    d = opened(path);
    ck_assert_uint_eq(ef_dataset_bytes(d), f.bytes);
    char hex[EF__SHA256_HEX];
    ef__sha256_hex(f.data, f.bytes, hex);
    ck_assert_str_eq(ef_dataset_sha256(d), hex);
    ef_dataset_free(d);
    free(f.data);
    free(jsonl);
    free(path);
    remove_folder();
}
END_TEST

START_TEST(jsonl_keeps_texts_and_which_parts_there_are)
{
    const char text[] = "{\"text\":\"a\\u0000\xc3\xa9\\\"\",\"target\":[1.0,-0.0]}\n"
                        "{\"input_ids\":[1],\"attention_mask\":[3],\"target\":[0.5,2.0]}\n"
                        "{\"text\":\"\",\"input_ids\":[1,0],\"attention_mask\":[1,0],"
                        "\"target\":[0.100000001,2.0]}\n";
    make_folder();
    ef_dataset *d = parsed(text, sizeof text - 1, NULL);
    write_all(path_of("b.jsonl"), EF_DATA_JSONL, d);
    ck_assert_str_eq(read_text("b.jsonl"), text);
    ef_dataset_free(d);
    remove_folder();
}
END_TEST

START_TEST(a_writer_refuses_what_a_reader_would)
{
    make_folder();
    ef_error error = {0};
    ef_dataset_writer *w = NULL;
    const ef_sample good = {
        .length = 1, .ids = (int32_t[]){1}, .target = (float[]){1, 2}, .text = "x", .bytes = 1};
    ef_sample s = good;
    efb_refused(ef_dataset_writer_new(path_of("b"), EF_DATA_EFB1, 0, &w, &error), EF_EARG, &error,
                "width 0");
    efb_refused(ef_dataset_writer_new(path_of("no/b"), EF_DATA_EFB1, 2, &w, &error), EF_EIO, &error,
                "folder");
    for (int format = EF_DATA_EFB1; format <= EF_DATA_JSONL; format++) {
        ck_assert_int_eq(ef_dataset_writer_new(path_of("b"), (ef_data_format)format, 2, &w, &error),
                         EF_OK);
        efb_refused(ef_dataset_writer_save(w, &error), EF_EARG, &error, "no samples");
        s = good;
        s.ids = (int32_t[]){-1};
        efb_refused(ef_dataset_writer_add(w, &s, &error), EF_EARG, &error, "an id below 0");
        s = good;
        s.target = (float[]){1, NAN};
        efb_refused(ef_dataset_writer_add(w, &s, &error), EF_EARG, &error, "not finite");
        s = good;
        s.length = 0;
        s.text = format == EF_DATA_EFB1 ? "x" : NULL;
        efb_refused(ef_dataset_writer_add(w, &s, &error), EF_EARG, &error, "sample 0: has n");
        s = good;
        s.text = "\xff";
        if (format == EF_DATA_JSONL)
            efb_refused(ef_dataset_writer_add(w, &s, &error), EF_EARG, &error, "UTF-8");
        ck_assert_int_eq(ef_dataset_writer_add(w, &good, &error), EF_OK);
        ef_dataset_writer_free(w);
        ck_assert_int_ne(access(path_of("b"), F_OK), 0);
        ck_assert_int_ne(access(path_of("b.ef-tmp"), F_OK), 0);
    }
    remove_folder();
}
END_TEST

/* ---- Repairs ---- */

static ef_repair_report repaired(const efb *f, uint64_t kept)
{
    ef_error error = {0};
    ef_repair_report r = {0};
    char *from = strdup(write_bytes("broken", f->data, f->bytes));
    ef_status status = ef_dataset_repair(from, path_of("whole"), &r, &error);
    free(from);
    if (!kept) {
        efb_refused(status, EF_EFORMAT, &error, "has no sample to keep");
        ck_assert_int_ne(access(path_of("whole"), F_OK), 0);
        return r;
    }
    ck_assert_msg(!status, "%s", error.text);
    ck_assert_uint_eq(r.kept, kept);
    ef_dataset *d = opened(path_of("whole"));
    ck_assert_uint_eq(ef_dataset_size(d), kept);
    ef_dataset_free(d);
    unlink(path_of("whole"));
    return r;
}

START_TEST(a_file_cut_anywhere_is_repaired_up_to_there)
{
    make_folder();
    for (int second = 0; second < 2; second++) {
        efb f = second ? efb2(4, IDS | TEXTS) : efb_random(4, 3);
        ef_dataset *d = parsed(f.data, f.bytes, NULL);
        size_t whole = 0, all = f.bytes;
        for (f.bytes = d->offset[0]; f.bytes < all; f.bytes++) {
            whole += f.bytes == d->offset[whole + 1];
            ef_repair_report r = repaired(&f, whole);
            if (whole) {
                ck_assert_uint_eq(r.declared, 4);
                ck_assert_uint_eq(r.cut_bytes, f.bytes - d->offset[whole]);
                ck_assert_uint_eq(r.unsound, 0);
            }
        }
        ef_dataset_free(d);
        free(f.data);
    }
    remove_folder();
}
END_TEST

START_TEST(a_header_that_was_never_finished_is)
{
    make_folder();
    efb f = efb_random(6, 4);
    ef_dataset *d = parsed(f.data, f.bytes, NULL);
    memset(f.data + 4, 0, 4);
    ef_repair_report r = repaired(&f, 6);
    ck_assert_uint_eq(r.declared, 0);
    ck_assert_uint_eq(r.cut_bytes, 0);
    f.bytes -= 3;
    r = repaired(&f, 5);
    ck_assert_uint_eq(r.cut_bytes, f.bytes - d->offset[5]);
    ck_assert_ptr_nonnull(strstr(r.first, "sample 5: length "));
    ef_dataset_free(d);
    free(f.data);
    remove_folder();
}
END_TEST

START_TEST(a_repair_leaves_out_samples_that_no_reader_takes)
{
    make_folder();
    efb f = efb_random(4, 5);
    ef_dataset *d = parsed(f.data, f.bytes, NULL);
    size_t end = d->offset[2];
    ef_dataset_free(d);
    memcpy(f.data + end - 4, (unsigned char[]){0, 0, 0xc0, 0x7f}, 4);
    ef_repair_report r = repaired(&f, 3);
    ck_assert_uint_eq(r.unsound, 1);
    ck_assert_ptr_nonnull(strstr(r.first, "sample 1: target element 2 is NaN"));
    efb_put(&f, "tail", 4);
    r = repaired(&f, 3);
    ck_assert_uint_eq(r.cut_bytes, 4);
    f.data[4] = 1; /* what the header does not count is no sample */
    r = repaired(&f, 1);
    ck_assert_uint_eq(r.declared, 1);
    free(f.data);
    ef_error error = {0};
    char *from = strdup(write_bytes("x", "{}", 2));
    efb_refused(ef_dataset_repair(from, path_of("y"), &r, &error), EF_EFORMAT, &error,
                "is no EFB file");
    free(from);
    efb_refused(ef_dataset_repair(path_of("none"), "y", &r, &error), EF_EIO, &error, "none");
    remove_folder();
}
END_TEST

/* ---- Vectors ---- */

static efb npy(int version, const char *dictionary, const void *data, size_t bytes)
{
    efb f = {0};
    size_t length = strlen(dictionary) + 1;
    efb_put(&f, "\x93NUMPY", 6);
    efb_put(&f, (uint8_t[]){(uint8_t)version, 0}, 2);
    if (version == 1)
        efb_put(&f, (uint8_t[]){(uint8_t)length, 0}, 2);
    else
        efb_put_u32(&f, (uint32_t)length);
    efb_put(&f, dictionary, length - 1);
    efb_put(&f, "\n", 1);
    efb_put(&f, data, bytes);
    return f;
}

static efb safetensors(const char *header, const void *data, size_t bytes)
{
    efb f = {0};
    efb_put_u32(&f, (uint32_t)strlen(header));
    efb_put_u32(&f, 0);
    efb_put(&f, header, strlen(header));
    efb_put(&f, data, bytes);
    return f;
}

static const float single[] = {1, 2.5f, -0.0f, 1e-40f, 5, 6};
static const double twice[] = {1, 2.5, -0.0, 1e-40, 5, 6};
#define F4 "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
#define F8 "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }"
#define ST(type, end)                                                                              \
    "{\"v\":{\"dtype\":\"" type "\",\"shape\":[2,3],\"data_offsets\":[0," end "]}}"

/* Takes f over. */
static void same_vectors(efb f)
{
    ef_error error = {0};
    ef_vectors *v = NULL;
    float row[3];
    ck_assert_msg(!ef_vectors_open(write_bytes("v", f.data, f.bytes), NULL, &v, &error), "%s",
                  error.text);
    ck_assert_uint_eq(ef_vectors_size(v), 2);
    ck_assert_uint_eq(ef_vectors_width(v), 3);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(ef_vectors_read(v, i, row, &error), EF_OK);
        ck_assert_mem_eq(row, single + 3 * i, sizeof row);
    }
    efb_refused(ef_vectors_read(v, 2, row, &error), EF_EARG, &error, "no row 2 of 2");
    ef_vectors_free(v);
    for (size_t n = 0; n < f.bytes; n++) {
        v = NULL;
        ef_status status = ef_vectors_open(write_bytes("v", f.data, n), NULL, &v, &error);
        if (status != EF_EFORMAT || v)
            ck_abort_msg("cut at %zu: %s", n, ef_strerror(status));
    }
    free(f.data);
}

START_TEST(vectors_are_read_from_npy_safetensors_and_jsonl)
{
    make_folder();
    same_vectors(npy(1, F4, single, sizeof single));
    same_vectors(npy(2, F8, twice, sizeof twice));
    same_vectors(npy(3, F4, single, sizeof single));
    same_vectors(safetensors(ST("F32", "24"), single, sizeof single));
    same_vectors(safetensors(ST("F64", "48"), twice, sizeof twice));
    const char *lines[] = {
        "[1, 2.5, -0.0]\n[\"1e-40\", 5, 6]\n",
        "{\"target\": [1, 2.5, -0.0]}\n{\"text\": 5, \"target\": [1e-40, 5, 6]}"};
    for (int i = 0; i < 2; i++) {
        ef_vectors *v = NULL;
        ef_error error = {0};
        float row[3];
        const char *path = write_bytes("v", lines[i], strlen(lines[i]));
        ck_assert_msg(!ef_vectors_open(path, NULL, &v, &error), "%s", error.text);
        ck_assert_uint_eq(ef_vectors_size(v), 2);
        ck_assert_int_eq(ef_vectors_read(v, 1, row, &error), EF_OK);
        ck_assert_mem_eq(row, single + 3, sizeof row);
        ef_vectors_free(v);
    }
    remove_folder();
}
END_TEST

/* Takes f over. */
static void vectors_refused(efb f, const char *tensor, const char *text)
{
    ef_error error = {0};
    ef_vectors *v = NULL;
    efb_refused(ef_vectors_open(write_bytes("v", f.data, f.bytes), tensor, &v, &error), EF_EFORMAT,
                &error, text);
    ck_assert_ptr_null(v);
    free(f.data);
}

START_TEST(vectors_of_another_kind_are_refused_by_name)
{
    static const struct {
        const char *dictionary, *error;
    } row[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", "of dtype '>f4', should"},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }", "of dtype '<i8', should"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", "in Fortran order"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "not two dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", "not two dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "not two dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999), }",
         "not two dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", "24 bytes of data, its"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", "24 bytes of data, its"},
        {"{'descr': '<f4', 'shape': (2, 3), }", "is no dictionary"},
    };
    make_folder();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        vectors_refused(npy(1, row[i].dictionary, single, 24), NULL, row[i].error);
    vectors_refused(npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", "", 0),
                    NULL, "has no vectors");
    vectors_refused(npy(1, F4, single, 24), "w", "\"w\": is asked for, but this is no safetensors");
    vectors_refused(npy(4, F4, single, 24), NULL,
                    "is of .npy version 4, this library reads 1 to 3");
    vectors_refused(safetensors(ST("I32", "24"), single, 24), NULL, "\"v\": is I32 of 2 dim");
    vectors_refused(safetensors(ST("F32", "24"), single, 24), "w", "\"w\": is not there");
    vectors_refused(safetensors("{\"v\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}",
                                single, 24),
                    NULL, "\"v\": is F32 of 1 dim");
    vectors_refused(
        safetensors("{\"v\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[0,12]},"
                    "\"w\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[12,24]}}",
                    single, 24),
        NULL, "several tensors, \"v\" and \"w\"");
    vectors_refused(safetensors("{}", "", 0), NULL, "has no tensor");
    remove_folder();
}
END_TEST

START_TEST(a_vector_that_is_not_finite_is_named)
{
    static const double large[] = {1, 2, 3, 4, 1e39, 6};
    make_folder();
    efb f = npy(1, F8, large, sizeof large);
    ef_error error = {0};
    ef_vectors *v = NULL;
    float row[3] = {7, 7, 7};
    ck_assert_int_eq(ef_vectors_open(write_bytes("v", f.data, f.bytes), NULL, &v, &error), EF_OK);
    efb_refused(ef_vectors_read(v, 1, row, &error), EF_EFORMAT, &error, "row 1: element 1 is no");
    ck_assert_float_eq(row[0], 7);
    ck_assert_int_eq(ef_vectors_read(v, 0, row, &error), EF_OK);
    ef_vectors_free(v);
    free(f.data);
    remove_folder();
}
END_TEST

/* ---- Whatever is not refused can be read ---- */

/* What a mutant holds is read to the last byte; returns whether it was taken. */
static bool survives(const unsigned char *data, size_t bytes, const ef_dataset_options *o)
{
    ef_error error = {0};
    ef_dataset *d = NULL;
    volatile size_t sum = 0;
    ef_status status = ef__dataset_parse("mutant", data, bytes, o, &d, &error);
    if (status && (status != EF_EFORMAT || !strstr(error.text, "mutant")))
        ck_abort_msg("%s: %s", ef_strerror(status), error.text);
    for (size_t n = 0; !status && n < ef_dataset_size(d); n++) {
        ef_sample s = sample_of(d, n);
        for (size_t i = 0; i < s.length; i++)
            sum += (size_t)s.ids[i] + s.mask[i];
        for (size_t i = 0; i < s.bytes; i++)
            sum += (unsigned char)s.text[i];
        for (size_t i = 0; i < ef_dataset_width(d); i++)
            sum += isfinite(s.target[i]);
    }
    ef_dataset_free(d);
    return !status;
}

START_TEST(mutants_of_every_format_are_refused_or_in_bounds)
{
    const char lines[] = "{\"text\":\"ab\",\"target\":[1.0,-2e3]}\n"
                         "{\"input_ids\":[1,\"2\"],\"attention_mask\":[1,0],\"target\":[0.5,2]}\n";
    uint64_t seed = 1;
    size_t taken = 0, runs = ef_test_size(1000, 20000, 60000);
    efb f[] = {efb2(2, IDS), efb2(2, TEXTS), efb2(2, IDS | TEXTS), {0}};
    efb_put(&f[3], lines, sizeof lines - 1);
    for (size_t i = 0; i < runs; i++) {
        const efb *from = &f[i % 4];
        ef_dataset_options o = {.skip_bad = i / 4 % 2};
        size_t bytes = from->bytes;
        unsigned char *copy = mutate(from->data, bytes, &bytes, &seed);
        taken += survives(copy, bytes, &o);
        free(copy);
    }
    for (size_t i = 0; i < 4; i++)
        free(f[i].data);
    ck_assert_msg(taken && taken < runs, "%zu of %zu taken", taken, runs);
}
END_TEST

START_TEST(a_draw_is_of_that_many_and_the_seeds_own)
{
    bool a[100], b[100], c[100];
    ef_dataset_draw(100, 37, 1, a);
    ef_dataset_draw(100, 37, 1, b);
    ef_dataset_draw(100, 37, 2, c);
    size_t picked = 0;
    for (size_t i = 0; i < 100; i++)
        picked += a[i];
    ck_assert_uint_eq(picked, 37);
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert_mem_ne(a, c, sizeof a);
    ef_dataset_draw(100, 100, 1, a);
    ck_assert(a[0] && a[99]);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("formats");
    TCase *read = ef_test_case(s, "read");
    tcase_add_test(read, efb2_reads_right_with_each_flag);
    tcase_add_test(read, efb2_cut_at_any_byte_is_refused);
    tcase_add_test(read, a_jsonl_file_tells_what_is_in_it);
    tcase_add_test(read, a_bad_line_is_named);
    tcase_add_test(read, lines_before_the_first_sound_one_do_not_say_the_width);
    tcase_add_test(read, lines_may_end_anywhere);
    tcase_add_test(read, a_consumer_of_ids_is_told_which_sample_has_none);
    tcase_add_test(read, texts_get_ids_from_a_tokenizer);
    tcase_add_test(read, opening_can_be_cancelled);
    tcase_add_test(read, mutants_of_every_format_are_refused_or_in_bounds);
    TCase *written = ef_test_case(s, "written");
    tcase_add_test(written, efb1_to_jsonl_to_efb1_gives_equal_bytes);
    tcase_add_test(written, jsonl_keeps_texts_and_which_parts_there_are);
    tcase_add_test(written, a_writer_refuses_what_a_reader_would);
    tcase_add_test(written, a_file_cut_anywhere_is_repaired_up_to_there);
    tcase_add_test(written, a_header_that_was_never_finished_is);
    tcase_add_test(written, a_repair_leaves_out_samples_that_no_reader_takes);
    tcase_add_test(written, a_draw_is_of_that_many_and_the_seeds_own);
    TCase *vectors = ef_test_case(s, "vectors");
    tcase_add_test(vectors, vectors_are_read_from_npy_safetensors_and_jsonl);
    tcase_add_test(vectors, vectors_of_another_kind_are_refused_by_name);
    tcase_add_test(vectors, a_vector_that_is_not_finite_is_named);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
