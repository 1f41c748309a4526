/* Tests of src/data: EFB1 files and the loader. */
#include "ef_test.h"
#include "mutate.h"
#include "data/efb.h"
#include <stdio.h>
#include <unistd.h>

/* ---- EFB1 files in memory ---- */

typedef struct efb {
    unsigned char *data;
    size_t bytes, room;
} efb;

static void put(efb *f, const void *data, size_t bytes)
{
    if (f->bytes + bytes > f->room)
        f->data = realloc(f->data, f->room = 2 * (f->bytes + bytes));
    memcpy(f->data + f->bytes, data, bytes);
    f->bytes += bytes;
}

static void put_u32(efb *f, uint32_t x)
{
    put(f,
        (unsigned char[]){(unsigned char)x, (unsigned char)(x >> 8), (unsigned char)(x >> 16),
                          (unsigned char)(x >> 24)},
        4);
}

static efb efb_begin(uint32_t count, uint32_t width)
{
    efb f = {0};
    put(&f, "EFB1", 4);
    put_u32(&f, count);
    put_u32(&f, width);
    return f;
}

/* One sample; its target is {name, 0.5, 0.5, ...}. */
static void efb_add(efb *f, size_t length, const uint32_t *ids, const uint8_t *mask, uint32_t name,
                    size_t width)
{
    put_u32(f, (uint32_t)length);
    for (size_t i = 0; i < length; i++)
        put_u32(f, ids[i]);
    put(f, mask, length);
    for (size_t i = 0; i < width; i++) {
        float x = i ? 0.5f : (float)name;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        put_u32(f, bits);
    }
}

enum { WIDTH = 3, LONG = 40 };

/* count samples of 1 .. LONG ids, none masked. */
static efb efb_random(uint32_t count, uint64_t seed)
{
    efb f = efb_begin(count, WIDTH);
    for (uint32_t n = 0; n < count; n++) {
        uint32_t ids[LONG];
        uint8_t mask[LONG];
        size_t length = 1 + mutate_random(&seed) % LONG;
        for (size_t i = 0; i < length; i++) {
            ids[i] = 1 + mutate_random(&seed) % 99;
            mask[i] = 1;
        }
        efb_add(&f, length, ids, mask, n, WIDTH);
    }
    return f;
}

static ef_dataset *parsed(const efb *f)
{
    ef_dataset *d = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef__dataset_parse("a.efb", f->data, f->bytes, &d, &error), "%s", error.text);
    return d;
}

static void refused(ef_status got, ef_status want, const ef_error *error, const char *text)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", ef_strerror(got), ef_strerror(want),
                  error->text);
    ck_assert_int_eq(error->status, want);
    ck_assert_msg(strstr(error->text, text), "\"%s\" does not say \"%s\"", error->text, text);
}

static void parse_refused(const void *data, size_t bytes, const char *text)
{
    ef_error error = {0};
    ef_dataset *d = NULL;
    refused(ef__dataset_parse("a.efb", data, bytes, &d, &error), EF_EFORMAT, &error, "a.efb: ");
    refused(error.status, EF_EFORMAT, &error, text);
    ck_assert_ptr_null(d);
}

START_TEST(a_file_tells_what_is_in_it)
{
    char path[] = "/tmp/ef-test-data-XXXXXX", hex[EF__SHA256_HEX];
    efb f = efb_begin(2, 2);
    efb_add(&f, 3, (uint32_t[]){5, 2147483647, 7}, (uint8_t[]){1, 1, 0}, 0, 2);
    efb_add(&f, 1, (uint32_t[]){0}, (uint8_t[]){1}, 1, 2);
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, f.data, f.bytes), (ssize_t)f.bytes);
    close(fd);
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
    refused(ef_dataset_open(path, &d, &error), EF_EIO, &error, "cannot open: No such file");
}
END_TEST

START_TEST(a_foreign_or_unfinished_file_is_named)
{
    parse_refused("", 0, "is not an EFB1 file");
    parse_refused("EFB1\1\0\0\0\1\0\0", 11, "is not an EFB1 file");
    parse_refused("PK\3\4\1\0\0\0\1\0\0\0........", 20, "is not an EFB1 file");
    parse_refused("EFB2\1\0\0\0\1\0\0\0........", 20, "is an EFB2 file");
    parse_refused("EFB1\0\0\0\0\1\0\0\0", 12, "has no samples");
    parse_refused("EFB1\0\0\0\0\1\0\0\0........", 20,
                  "counts 0 samples, but 8 bytes follow: its writer did not finish");
    parse_refused("EFB1\1\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\1", 21, "targets of width 0");
    parse_refused("EFB1\377\377\377\377\377\377\377\377........", 20,
                  "is cut off: 4294967295 samples of width 4294967295 do not fit");
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
        put_u32(&value, row[i].value);
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
    put(&f, "", 1);
    parse_refused(f.data, f.bytes, "1 bytes after the last of 5 samples");
    free(f.data);
}
END_TEST

/* ---- The loader ---- */

static ef_loader *loader(ef_dataset *d, ef_loader_options o)
{
    ef_loader *l = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef_loader_new(d, &o, &l, &error), "%s", error.text);
    return l;
}

static ef_batch next(ef_loader *l)
{
    ef_batch b;
    if (ef_loader_next(l, &b, NULL))
        ck_abort_msg("ef_loader_next failed");
    return b;
}

/* Which sample stands in a row: its target begins with its number. */
static uint32_t name_of(const ef_batch *b, size_t row)
{
    float x = b->target[row * b->E];
    return x >= 0 && x < 1e6f ? (uint32_t)x : 0;
}

/* The epoch's samples in order; returns how many positions its batches have. */
static size_t run_epoch(ef_loader *l, uint64_t epoch, uint32_t *names, size_t count)
{
    size_t n = 0, positions = 0, batches = 0;
    ck_assert_int_eq(ef_loader_seek(l, epoch, 0, NULL), EF_OK);
    for (ef_batch b = next(l); b.B; b = next(l), batches++) {
        positions += b.B * b.L;
        for (size_t r = 0; r < b.B; r++) {
            if (n == count) /* no ck_assert in long loops: each one is a message to the runner */
                ck_abort_msg("an epoch of more than %zu samples", count);
            names[n++] = name_of(&b, r);
        }
    }
    ck_assert_uint_eq(n, count);
    ck_assert_uint_eq(batches, ef_loader_batches(l));
    ck_assert_uint_eq(next(l).B, 0);
    return positions;
}

static void same_batch(const ef_batch *a, const ef_batch *b)
{
    ck_assert_uint_eq(a->B, b->B);
    ck_assert_uint_eq(a->L, b->L);
    ck_assert_uint_eq(a->E, b->E);
    ck_assert_uint_eq(a->tokens, b->tokens);
    if (!a->B)
        return;
    ck_assert_mem_eq(a->ids, b->ids, a->B * a->L * sizeof *a->ids);
    ck_assert_mem_eq(a->mask, b->mask, a->B * a->L);
    ck_assert_mem_eq(a->target, b->target, a->B * a->E * sizeof *a->target);
}

/* Whatever is not refused can be loaded to the last byte. */
START_TEST(mutated_files_are_refused_or_in_bounds)
{
    uint64_t seed = 1;
    uint32_t names[3];
    volatile size_t sum = 0;
    size_t accepted = 0, runs = ef_test_size(1000, 20000, 200000);
    efb f = efb_random(3, 2);
    for (size_t i = 0; i < runs; i++) {
        ef_error error = {0};
        ef_dataset *d = NULL;
        size_t bytes = f.bytes;
        unsigned char *copy = mutate(f.data, i % 2 ? 64 : bytes, &bytes, &seed);
        ef_status status = ef__dataset_parse("mutant", copy, bytes, &d, &error);
        if (status && (status != EF_EFORMAT || !strstr(error.text, "mutant: ")))
            ck_abort_msg("mutant %zu: %s: %s", i, ef_strerror(status), error.text);
        for (size_t n = 0; !status && n < ef_dataset_size(d); n++) {
            ef__sample s = ef__dataset_sample(d, n);
            for (const unsigned char *p = s.ids; p < s.target + 4 * ef_dataset_width(d); p++)
                sum += *p;
        }
        if (!status && accepted++ % 500 == 0) {
            ef_loader *l = loader(d, (ef_loader_options){.batch = 2, .shuffle = true});
            run_epoch(l, 0, names, ef_dataset_size(d));
            ef_loader_free(l);
        }
        ef_dataset_free(d);
        free(copy);
    }
    free(f.data);
    ck_assert_msg(accepted && accepted < runs, "%zu of %zu accepted", accepted, runs);
}
END_TEST

START_TEST(without_shuffle_batches_are_in_the_order_of_the_file)
{
    efb f = efb_begin(3, 2);
    efb_add(&f, 2, (uint32_t[]){5, 6}, (uint8_t[]){1, 255}, 0, 2);
    efb_add(&f, 4, (uint32_t[]){7, 8, 9, 0}, (uint8_t[]){1, 0, 1, 0}, 1, 2);
    efb_add(&f, 3, (uint32_t[]){4, 0, 0}, (uint8_t[]){0, 0, 0}, 2, 2);
    ef_dataset *d = parsed(&f);
    ef_loader *l = loader(d, (ef_loader_options){.batch = 2});
    ck_assert_uint_eq(ef_loader_batches(l), 2);
    ef_batch a = next(l), b = next(l);
    same_batch(&a, &(ef_batch){.B = 2,
                               .L = 3,
                               .E = 2,
                               .tokens = 4,
                               .ids = (int32_t[]){5, 6, 0, 7, 8, 9},
                               .mask = (uint8_t[]){1, 1, 0, 1, 0, 1},
                               .target = (float[]){0, 0.5f, 1, 0.5f}});
    same_batch(&b, &(ef_batch){.B = 1,
                               .L = 1,
                               .E = 2,
                               .ids = (int32_t[]){4},
                               .mask = (uint8_t[]){0},
                               .target = (float[]){2, 0.5f}});
    ck_assert_uint_eq(next(l).B, 0);
    ef_loader_free(l);
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

START_TEST(left_padding_stays_and_a_cut_keeps_the_prefix)
{
    efb f = efb_begin(1, 1);
    efb_add(&f, 6, (uint32_t[]){0, 0, 3, 4, 5, 0}, (uint8_t[]){0, 0, 1, 1, 1, 0}, 0, 1);
    ef_dataset *d = parsed(&f);
    static const size_t cut[] = {0, 6, 5, 3, 2, 1}, length[] = {5, 5, 5, 3, 1, 1},
                        tokens[] = {3, 3, 3, 1, 0, 0};
    for (size_t i = 0; i < 6; i++) {
        ef_loader *l = loader(d, (ef_loader_options){.batch = 1, .length = cut[i]});
        ef_batch b = next(l);
        same_batch(&b, &(ef_batch){.B = 1,
                                   .L = length[i],
                                   .E = 1,
                                   .tokens = tokens[i],
                                   .ids = (int32_t[]){0, 0, 3, 4, 5},
                                   .mask = (uint8_t[]){0, 0, 1, 1, 1},
                                   .target = (float[]){0}});
        ef_loader_free(l);
    }
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

START_TEST(an_id_beyond_the_vocabulary_is_named_if_it_is_fed)
{
    efb f = efb_begin(2, 1);
    efb_add(&f, 1, (uint32_t[]){1}, (uint8_t[]){1}, 0, 1);
    efb_add(&f, 4, (uint32_t[]){9, 10, 11, 99}, (uint8_t[]){1, 0, 1, 0}, 0, 1);
    ef_dataset *d = parsed(&f);
    ef_error error = {0};
    ef_loader *l = NULL;
    ef_loader_options o = {.batch = 2, .vocab = 10};
    refused(ef_loader_new(d, &o, &l, &error), EF_EFORMAT, &error,
            "a.efb: sample 1: id 10 at position 1 is not below the vocabulary size 10");
    o.vocab = 11;
    refused(ef_loader_new(d, &o, &l, &error), EF_EFORMAT, &error, "id 11 at position 2");
    ck_assert_ptr_null(l);
    o.length = 2;
    ef_loader_free(loader(d, o));
    o = (ef_loader_options){.batch = 2, .vocab = 12};
    ef_loader_free(loader(d, o));
    o = (ef_loader_options){.batch = 0};
    refused(ef_loader_new(d, &o, &l, &error), EF_EARG, &error, "a batch of 0 samples");
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

enum { COUNT = 1003 };

/* What a test of the order works on: COUNT samples in batches of 8, by default shuffled. */
static struct {
    efb file;
    ef_dataset *dataset;
    uint32_t a[COUNT], b[COUNT];
} many;

static void make_many(void)
{
    many.file = efb_random(COUNT, 7);
    many.dataset = parsed(&many.file);
}

static void free_many(void)
{
    ef_dataset_free(many.dataset);
    free(many.file.data);
}

static ef_loader *load_many(bool shuffle, bool bucket, uint64_t seed)
{
    return loader(
        many.dataset,
        (ef_loader_options){.batch = 8, .shuffle = shuffle, .bucket = bucket, .seed = seed});
}

START_TEST(an_epoch_visits_every_sample_once)
{
    for (int i = 0; i < 4; i++) {
        ef_loader *l = load_many(i & 1, i & 2, 1);
        for (uint64_t epoch = 0; epoch < 5; epoch++) {
            uint8_t seen[COUNT] = {0};
            run_epoch(l, epoch, many.a, COUNT);
            for (size_t n = 0; n < COUNT; n++)
                if (many.a[n] >= COUNT || seen[many.a[n]]++)
                    ck_abort_msg("sample %u comes twice or is none", many.a[n]);
        }
        ef_loader_free(l);
    }
}
END_TEST

START_TEST(the_order_depends_on_seed_and_epoch_alone)
{
    for (int bucket = 0; bucket < 2; bucket++) {
        ef_loader *l = load_many(true, bucket, 1), *same = load_many(true, bucket, 1),
                  *other = load_many(true, bucket, 2);
        run_epoch(l, 0, many.a, COUNT);
        run_epoch(l, 3, many.a, COUNT);
        run_epoch(same, 3, many.b, COUNT);
        ck_assert_mem_eq(many.a, many.b, sizeof many.a);
        run_epoch(same, 4, many.b, COUNT);
        ck_assert_mem_ne(many.a, many.b, sizeof many.a);
        run_epoch(other, 3, many.b, COUNT);
        ck_assert_mem_ne(many.a, many.b, sizeof many.a);
        ef_loader_free(l);
        ef_loader_free(same);
        ef_loader_free(other);
    }
}
END_TEST

/* A resumed run must see what an earlier version would have: these numbers may never change. */
START_TEST(the_order_is_the_one_of_earlier_versions)
{
    static const uint32_t plain[10] = {0, 3, 4, 6, 1, 5, 9, 2, 7, 8},
                          bucket[10] = {6, 4, 7, 3, 0, 9, 1, 5, 2, 8};
    efb f = efb_random(10, 3);
    ef_dataset *d = parsed(&f);
    for (int i = 0; i < 2; i++) {
        ef_loader *l =
            loader(d, (ef_loader_options){.batch = 3, .shuffle = true, .bucket = i, .seed = 42});
        run_epoch(l, 1, many.a, 10);
        for (size_t n = 0; n < 10; n++)
            ck_assert_uint_eq(many.a[n], (i ? bucket : plain)[n]);
        ef_loader_free(l);
    }
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

/* 2000 epochs of 5 samples: each place of each sample comes up 400 times, sigma 18. */
START_TEST(a_shuffle_favours_no_place)
{
    size_t times[5][5] = {{0}};
    efb f = efb_random(5, 3);
    ef_dataset *d = parsed(&f);
    ef_loader *l = loader(d, (ef_loader_options){.batch = 5, .shuffle = true, .seed = 9});
    for (uint64_t epoch = 0; epoch < 2000; epoch++) {
        run_epoch(l, epoch, many.a, 5);
        for (size_t n = 0; n < 5; n++)
            times[n][many.a[n]]++;
    }
    for (size_t i = 0; i < 25; i++)
        ck_assert_msg(times[i / 5][i % 5] > 320 && times[i / 5][i % 5] < 480,
                      "sample %zu in place %zu: %zu times", i % 5, i / 5, times[i / 5][i % 5]);
    ef_loader_free(l);
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

START_TEST(seeking_gives_what_running_gives)
{
    ef_loader *run = load_many(true, true, 1), *seek = load_many(true, true, 1);
    uint64_t seed = 5;
    size_t batches = ef_loader_batches(run);
    for (int i = 0; i < 50; i++) {
        uint64_t epoch = mutate_random(&seed) % 3;
        size_t position = mutate_random(&seed) % batches;
        ck_assert_int_eq(ef_loader_seek(run, epoch, 0, NULL), EF_OK);
        for (size_t n = 0; n < position; n++)
            next(run);
        ck_assert_int_eq(ef_loader_seek(seek, epoch, position, NULL), EF_OK);
        for (int n = 0; n < 3; n++) {
            ef_batch a = next(run), b = next(seek);
            same_batch(&a, &b);
        }
    }
    ef_error error = {0};
    ck_assert_int_eq(ef_loader_seek(seek, 0, batches, NULL), EF_OK);
    ck_assert_uint_eq(next(seek).B, 0);
    refused(ef_loader_seek(seek, 0, batches + 1, &error), EF_EARG, &error,
            "no batch 127 in an epoch of 126");
    ef_loader_free(run);
    ef_loader_free(seek);
}
END_TEST

START_TEST(buckets_save_padding_and_are_still_drawn)
{
    ef_loader *plain = load_many(true, false, 1), *bucket = load_many(true, true, 1);
    size_t with = run_epoch(bucket, 0, many.a, COUNT), tokens = 0;
    size_t without = run_epoch(plain, 0, many.b, COUNT);
    ef_loader_seek(plain, 0, 0, NULL);
    for (ef_batch b = next(plain); b.B; b = next(plain))
        tokens += b.tokens;
    ck_assert_msg(without > tokens * 3 / 2, "%zu positions for %zu", without, tokens);
    ck_assert_msg(with < tokens * 11 / 10, "%zu positions for %zu", with, tokens);
    size_t longer = 0; /* the lengths of neighbouring batches go up as often as down */
    ef_loader_seek(bucket, 0, 0, NULL);
    for (ef_batch a = next(bucket), b = next(bucket); b.B; a = b, b = next(bucket))
        longer += b.L > a.L;
    ck_assert_uint_gt(longer, ef_loader_batches(bucket) / 3);
    ck_assert_uint_lt(longer, ef_loader_batches(bucket) * 2 / 3);
    ef_loader_free(plain);
    ef_loader_free(bucket);
}
END_TEST

START_TEST(the_last_batches_given_stay_as_they_were)
{
    for (size_t keep = 0; keep < 5; keep++) {
        size_t held = keep ? keep : EF_LOADER_KEEP;
        ef_loader *l =
            loader(many.dataset, (ef_loader_options){.batch = 8, .seed = 1, .keep = keep});
        ef_loader *again = load_many(false, false, 1);
        ef_batch given[5];
        size_t n = 0;
        for (ef_batch b = next(l); b.B; b = next(l)) {
            given[n++ % held] = b;
            if (n % 7 == 0)
                ck_assert_int_eq(ef_loader_seek(l, n % 2, n, NULL), EF_OK);
            for (size_t i = n < held ? 0 : n - held; i < n; i++) {
                ck_assert_int_eq(ef_loader_seek(again, 0, i, NULL), EF_OK);
                ef_batch want = next(again);
                same_batch(&given[i % held], &want);
            }
        }
        ck_assert_uint_eq(n, ef_loader_batches(l));
        ef_loader_free(l);
        ef_loader_free(again);
    }
}
END_TEST

START_TEST(a_loader_may_be_freed_at_any_time)
{
    ef_loader_free(NULL);
    for (size_t i = 0; i < 200; i++) {
        ef_loader *l = load_many(true, true, i);
        if (i % 4 & 1)
            ck_assert_int_eq(ef_loader_seek(l, 1, i % ef_loader_batches(l), NULL), EF_OK);
        for (size_t n = 0; n < i % 3; n++)
            next(l);
        if (i % 4 & 2)
            ck_assert_int_eq(ef_loader_seek(l, 2, 0, NULL), EF_OK);
        ef_loader_free(l);
    }
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
    tcase_add_test(file, mutated_files_are_refused_or_in_bounds);
    TCase *small = ef_test_case(s, "batches");
    tcase_add_test(small, without_shuffle_batches_are_in_the_order_of_the_file);
    tcase_add_test(small, left_padding_stays_and_a_cut_keeps_the_prefix);
    tcase_add_test(small, an_id_beyond_the_vocabulary_is_named_if_it_is_fed);
    TCase *order = ef_test_case(s, "order");
    tcase_add_checked_fixture(order, make_many, free_many);
    tcase_add_test(order, an_epoch_visits_every_sample_once);
    tcase_add_test(order, the_order_depends_on_seed_and_epoch_alone);
    tcase_add_test(order, the_order_is_the_one_of_earlier_versions);
    tcase_add_test(order, a_shuffle_favours_no_place);
    tcase_add_test(order, seeking_gives_what_running_gives);
    tcase_add_test(order, buckets_save_padding_and_are_still_drawn);
    tcase_add_test(order, the_last_batches_given_stay_as_they_were);
    tcase_add_test(order, a_loader_may_be_freed_at_any_time);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
