/* Tests of EFB1 files: what is in them, and what is refused. */
#include "efb.h"
#include "ef_test.h"
#include "mutate.h"
#include <stdio.h>
#include <unistd.h>

static void parse_refused(const void *data, size_t bytes, const char *text)
{
    ef_error error = {0};
    ef_dataset *d = NULL;
    efb_refused(ef__dataset_parse("a.efb", data, bytes, NULL, &d, &error), EF_EFORMAT, &error,
                "a.efb: ");
    efb_refused(error.status, EF_EFORMAT, &error, text);
    ck_assert_ptr_null(d);
}

START_TEST(a_file_tells_what_is_in_it)
{
    char hex[EF__SHA256_HEX];
    efb f = efb_begin(2, 2);
    efb_add(&f, 3, (uint32_t[]){5, 2147483647, 7}, (uint8_t[]){1, 1, 0}, 0, 2);
    efb_add(&f, 1, (uint32_t[]){0}, (uint8_t[]){1}, 1, 2);
    char *path = efb_file(&f);
    ef_dataset *d = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef_dataset_open(path, &d, &error), "%s", error.text);
    unlink(path);
    ck_assert_uint_eq(ef_dataset_size(d), 2);
    ck_assert_uint_eq(ef_dataset_width(d), 2);
    ck_assert_uint_eq(ef_dataset_longest(d), 3);
    ck_assert_int_eq(ef_dataset_max_id(d), 2147483647);
    ck_assert_uint_eq(ef_dataset_bytes(d), f.bytes);
    ck_assert_str_eq(ef_dataset_path(d), path);
    ef__sha256_hex(f.data, f.bytes, hex);
    ck_assert_str_eq(ef_dataset_sha256(d), hex);
    ck_assert_ptr_eq(ef_dataset_sha256(d), ef_dataset_sha256(d));
    ef_dataset_free(d);
    ef_dataset_free(NULL);
    free(f.data);
    efb_refused(ef_dataset_open(path, &d, &error), EF_EIO, &error, "cannot open: No such file");
}
END_TEST

START_TEST(a_foreign_or_unfinished_file_is_named)
{
    parse_refused("", 0, "is empty");
    parse_refused("EFB1\1\0\0\0\1\0\0", 11, "is cut off in its header of 12 bytes");
    parse_refused("PK\3\4\1\0\0\0\1\0\0\0........", 20, "is neither an EFB nor a JSONL file");
    parse_refused("EFBX\1\0\0\0\1\0\0\0........", 20, "is neither an EFB nor a JSONL file");
    parse_refused("EFB3\1\0\0\0\1\0\0\0........", 20,
                  "is an EFB3 file, this library reads EFB1 and EFB2");
    parse_refused("EFB2\1\0\0\0\1\0\0\0\1\0\0", 15, "is cut off in its header of 16 bytes");
    parse_refused("EFB2\1\0\0\0\1\0\0\0\11\0\0\0........", 24, "flags 0x9");
    parse_refused("EFB2\1\0\0\0\1\0\0\0\4\0\0\0........", 24, "has neither ids nor texts");
    parse_refused("EFB1\0\0\0\0\1\0\0\0", 12, "has no samples");
    parse_refused("EFB1\0\0\0\0\1\0\0\0........", 20,
                  "counts 0 samples, but 8 bytes follow: its writer did not finish; efdata repair "
                  "saves what is whole");
    parse_refused("EFB1\1\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\1", 21, "targets of width 0");
    parse_refused("EFB1\377\377\377\377\377\377\377\377........", 20,
                  "is cut off: 4294967295 samples of width 4294967295 do not fit");
    parse_refused("EFB1\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 20, "sample 0: has no ids");
    parse_refused("EFB1\2\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 20, "is cut off: 2 samples");
}
END_TEST

START_TEST(a_bad_sample_is_named)
{
    static const struct {
        size_t
            at; /* of a u32 in the second sample of two; each of the two has 4 + 3 * 5 + 8 bytes */
        uint32_t value;
        const char *error;
    } row[] = {
        {0, 0, "sample 1: has no ids"},
        {0, 4, "sample 1 of 2: length 4 passes the end of the file"},
        {0, 0xffffffff, "sample 1 of 2: length 4294967295 passes the end"},
        {0, 2, "5 bytes after the last of 2 samples"},
        {8, 0x80000000, "sample 1: id 2147483648 at position 1 passes 2147483647"},
        {19, 0x7fc00000, "sample 1: target element 0 is NaN"},
        {23, 0x7f800000, "sample 1: target element 1 is infinite"},
        {23, 0xff800000, "sample 1: target element 1 is infinite"},
        {23, 0xff800001, "sample 1: target element 1 is NaN"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        efb f = efb_begin(2, 2);
        efb_add(&f, 3, (uint32_t[]){1, 2, 3}, (uint8_t[]){1, 1, 1}, 0, 2);
        efb_add(&f, 3, (uint32_t[]){1, 2, 3}, (uint8_t[]){1, 1, 1}, 0, 2);
        efb value = {0};
        efb_put_u32(&value, row[i].value);
        memcpy(f.data + 12 + 27 + row[i].at, value.data, 4);
        if (row[i].at == 0 && row[i].value == 2) /* the target shifts: make all of it finite */
            memset(f.data + 12 + 27 + 4, 0, 23);
        parse_refused(f.data, f.bytes, row[i].error);
        free(value.data);
        free(f.data);
    }
}
END_TEST

START_TEST(a_file_cut_at_any_byte_is_refused)
{
    efb f = efb_random(5, 1);
    for (size_t n = 0; n < f.bytes; n++) {
        unsigned char *copy = malloc(n ? n : 1);
        memcpy(copy, f.data, n);
        parse_refused(copy, n, "");
        free(copy);
    }
    efb_put(&f, "", 1);
    parse_refused(f.data, f.bytes, "1 bytes after the last of 5 samples");
    free(f.data);
}
END_TEST

static void load_all(ef_dataset *d)
{
    const ef_loader_options o = {.batch = 2, .shuffle = true};
    ef_loader *l;
    ef_batch b;
    size_t samples = 0;
    ck_assert_int_eq(ef_loader_new(d, &o, &l, NULL), EF_OK);
    while (!ef_loader_next(l, &b, NULL) && b.B)
        samples += b.B;
    ck_assert_uint_eq(samples, ef_dataset_size(d));
    ef_loader_free(l);
}

/* Whatever is not refused can be loaded to the last byte. */
START_TEST(mutated_files_are_refused_or_in_bounds)
{
    uint64_t seed = 1;
    volatile size_t sum = 0;
    size_t accepted = 0, runs = ef_test_size(1000, 20000, 200000);
    efb f = efb_random(3, 2);
    for (size_t i = 0; i < runs; i++) {
        ef_error error = {0};
        ef_dataset *d = NULL;
        size_t bytes = f.bytes;
        unsigned char *copy = mutate(f.data, i % 2 ? 64 : bytes, &bytes, &seed);
        ef_status status = ef__dataset_parse("mutant", copy, bytes, NULL, &d, &error);
        if (status && (status != EF_EFORMAT || !strstr(error.text, "mutant:")))
            ck_abort_msg("mutant %zu: %s: %s", i, ef_strerror(status), error.text);
        for (size_t n = 0; !status && n < ef_dataset_size(d); n++) {
            unsigned char *room = malloc(ef__dataset_room(d));
            ef__sample s;
            if (ef__dataset_read(d, n, room, &s, &error))
                ck_abort_msg("mutant %zu: %s", i, error.text);
            for (const unsigned char *p = s.ids; p < s.target + 4 * ef_dataset_width(d); p++)
                sum += *p;
            free(room);
        }
        if (!status && accepted++ % 500 == 0) {
            load_all(d);
        }
        ef_dataset_free(d);
        free(copy);
    }
    free(f.data);
    ck_assert_msg(accepted && accepted < runs, "%zu of %zu accepted", accepted, runs);
}
END_TEST

/* What of a dataset is picked, or not, is a dataset of the same samples, loaded as it is read. */
START_TEST(two_parts_have_the_samples_of_the_whole)
{
    efb f = efb_random(7, 3);
    const bool picked[7] = {false, true, false, false, true, true, false};
    ef_dataset *whole = efb_parsed(&f), *part[2];
    size_t at[2] = {0, 0}, longest = 0;
    for (int which = 0; which < 2; which++) {
        ck_assert_int_eq(ef__dataset_part(whole, picked, which, &part[which], NULL), EF_OK);
        longest =
            ef_dataset_longest(part[which]) > longest ? ef_dataset_longest(part[which]) : longest;
        load_all(part[which]);
    }
    ck_assert_uint_eq(ef_dataset_size(part[false]), 4);
    ck_assert_uint_eq(ef_dataset_size(part[true]), 3);
    ck_assert_uint_eq(ef_dataset_width(part[true]), ef_dataset_width(whole));
    ck_assert_uint_eq(longest, ef_dataset_longest(whole));
    for (size_t n = 0; n < 7; n++) {
        ef_sample a, b;
        char of_whole[64], of_part[64];
        ck_assert_int_eq(ef_dataset_read(whole, n, &a, NULL), EF_OK);
        ck_assert_int_eq(ef_dataset_read(part[picked[n]], at[picked[n]], &b, NULL), EF_OK);
        ck_assert_uint_eq(a.length, b.length);
        ck_assert_mem_eq(a.ids, b.ids, 4 * a.length);
        ck_assert_mem_eq(a.target, b.target, 4 * ef_dataset_width(whole));
        ef__dataset_where(whole, n, of_whole, sizeof of_whole);
        ef__dataset_where(part[picked[n]], at[picked[n]]++, of_part, sizeof of_part);
        ck_assert_str_eq(of_whole, of_part);
    }
    ef_dataset_free(part[0]);
    ef_dataset_free(part[1]);
    ef_dataset_free(whole);
    free(f.data);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("data");
    TCase *file = ef_test_case(s, "efb");
    tcase_add_test(file, a_file_tells_what_is_in_it);
    tcase_add_test(file, a_foreign_or_unfinished_file_is_named);
    tcase_add_test(file, a_bad_sample_is_named);
    tcase_add_test(file, a_file_cut_at_any_byte_is_refused);
    tcase_add_test(file, two_parts_have_the_samples_of_the_whole);
    tcase_add_test(file, mutated_files_are_refused_or_in_bounds);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
