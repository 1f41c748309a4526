/* Tests of the loader: batches, orders, seeking, and a file that changes meanwhile. */
#include "base/clock.h"
#include "efb.h"
#include "ef_test.h"
#include "mutate.h"
#include <stdio.h>
#include <unistd.h>

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

START_TEST(without_shuffle_batches_are_in_the_order_of_the_file)
{
    efb f = efb_begin(3, 2);
    efb_add(&f, 2, (uint32_t[]){5, 6}, (uint8_t[]){1, 255}, 0, 2);
    efb_add(&f, 4, (uint32_t[]){7, 8, 9, 0}, (uint8_t[]){1, 0, 1, 0}, 1, 2);
    efb_add(&f, 3, (uint32_t[]){4, 0, 0}, (uint8_t[]){0, 0, 0}, 2, 2);
    ef_dataset *d = efb_parsed(&f);
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

/* The second batch is prepared while the first is out, into another slot. */
START_TEST(it_says_when_the_batch_that_it_gave_was_prepared)
{
    efb f = efb_begin(2, 1);
    efb_add(&f, 1, (uint32_t[]){1}, (uint8_t[]){1}, 0, 1);
    efb_add(&f, 1, (uint32_t[]){2}, (uint8_t[]){1}, 0, 1);
    ef_dataset *d = efb_parsed(&f);
    double began = ef__now(), from[2], to[2];
    ef_loader *l = loader(d, (ef_loader_options){.batch = 1});
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(next(l).B, 1);
        ef__loader_prepared(l, &from[i], &to[i]);
        ck_assert(from[i] <= to[i] && to[i] <= ef__now());
    }
    ck_assert(began <= from[0] && to[0] <= from[1]);
    ef_loader_free(l);
    ef_dataset_free(d);
    free(f.data);
}
END_TEST

START_TEST(left_padding_stays_and_a_cut_keeps_the_prefix)
{
    efb f = efb_begin(1, 1);
    efb_add(&f, 6, (uint32_t[]){0, 0, 3, 4, 5, 0}, (uint8_t[]){0, 0, 1, 1, 1, 0}, 0, 1);
    ef_dataset *d = efb_parsed(&f);
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
    ef_dataset *d = efb_parsed(&f);
    ef_error error = {0};
    ef_loader *l = NULL;
    ef_loader_options o = {.batch = 2, .vocab = 10};
    efb_refused(ef_loader_new(d, &o, &l, &error), EF_EFORMAT, &error,
                "a.efb: sample 1: id 10 at position 1 is not below the vocabulary size 10");
    o.vocab = 11;
    efb_refused(ef_loader_new(d, &o, &l, &error), EF_EFORMAT, &error, "id 11 at position 2");
    ck_assert_ptr_null(l);
    o.length = 2;
    ef_loader_free(loader(d, o));
    o = (ef_loader_options){.batch = 2, .vocab = 12};
    ef_loader_free(loader(d, o));
    o = (ef_loader_options){.batch = 0};
    efb_refused(ef_loader_new(d, &o, &l, &error), EF_EARG, &error, "a batch of 0 samples");
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
    many.dataset = efb_parsed(&many.file);
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

START_TEST(each_epoch_has_a_full_batch_of_the_full_length)
{
    for (int i = 0; i < 4; i++) {
        ef_loader *l = load_many(i & 1, i & 2, 1);
        size_t longest = ef_dataset_longest(many.dataset), full = ef__loader_full_length(l);
        ck_assert_uint_gt(full, longest / 2);
        ck_assert_uint_le(full, longest);
        for (uint64_t epoch = 0; epoch < 20; epoch++) {
            size_t most = 0;
            ck_assert_int_eq(ef_loader_seek(l, epoch, 0, NULL), EF_OK);
            for (ef_batch b = next(l); b.B; b = next(l))
                if (b.B == 8 && b.L > most)
                    most = b.L;
            ck_assert_uint_ge(most, full);
        }
        ef_loader_free(l);
    }
    ef_loader *all = loader(many.dataset, (ef_loader_options){.batch = COUNT, .length = 3});
    ck_assert_uint_eq(ef__loader_full_length(all), 3);
    ef_loader_free(all);
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
    ef_dataset *d = efb_parsed(&f);
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
    ef_dataset *d = efb_parsed(&f);
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
    efb_refused(ef_loader_seek(seek, 0, batches + 1, &error), EF_EARG, &error,
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

/* ---- a file that changes meanwhile ---- */

/* 40 batches of an open file; the first was given. */
typedef struct opened {
    efb file;
    char *path;
    ef_dataset *dataset;
    ef_loader *loader;
} opened;

static opened open_file(void)
{
    opened o = {.file = efb_random(200, 1)};
    ef_error error = {0};
    o.path = efb_file(&o.file);
    ck_assert_msg(!ef_dataset_open(o.path, &o.dataset, &error), "%s", error.text);
    o.loader = loader(o.dataset, (ef_loader_options){.batch = 5});
    ck_assert_uint_eq(next(o.loader).B, 5);
    return o;
}

static void close_file(opened *o)
{
    ef_loader_free(o->loader);
    ef_dataset_free(o->dataset);
    free(o->file.data);
    unlink(o->path);
}

/* How many batches come before the one that fails. */
static size_t run_until_refused(opened *o, ef_error *error)
{
    ef_batch b;
    size_t n = 0;
    ef_status status;
    while (!(status = ef_loader_next(o->loader, &b, error)) && b.B)
        n++;
    efb_refused(status, EF_EIO, error, o->path);
    efb_refused(status, EF_EIO, error, "was changed while in use");
    ck_assert_uint_eq(b.B, 0);
    return n;
}

START_TEST(a_file_that_becomes_shorter_is_an_error_and_no_crash)
{
    const size_t left[] = {0, 11, 12, 2000};
    for (size_t i = 0; i < 4; i++) {
        opened o = open_file();
        ef_error error = {0}, again = {0};
        ck_assert_int_eq(truncate(o.path, (off_t)left[i]), 0);
        run_until_refused(&o, &error);
        ck_assert_uint_eq(run_until_refused(&o, &again), 0);
        ck_assert_str_eq(error.text, again.text);
        ck_assert_ptr_null(ef_dataset_sha256(o.dataset));
        close_file(&o);
    }
}
END_TEST

START_TEST(a_file_whose_samples_move_is_an_error)
{
    opened o = open_file();
    ef_error error = {0};
    FILE *f = fopen(o.path, "r+b");
    efb other = efb_random(200, 2);
    fwrite(other.data, 1, o.file.bytes < other.bytes ? o.file.bytes : other.bytes, f);
    ck_assert_int_eq(fclose(f), 0);
    run_until_refused(&o, &error);
    free(other.data);
    close_file(&o);
}
END_TEST

START_TEST(a_file_that_is_replaced_does_not_matter)
{
    opened o = open_file();
    efb other = efb_random(3, 2);
    char *path = efb_file(&other);
    size_t n = 1;
    ck_assert_int_eq(rename(path, o.path), 0);
    while (next(o.loader).B)
        n++;
    ck_assert_uint_eq(n, 40);
    free(other.data);
    close_file(&o);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("loader");
    TCase *small = ef_test_case(s, "batches");
    tcase_add_test(small, without_shuffle_batches_are_in_the_order_of_the_file);
    tcase_add_test(small, it_says_when_the_batch_that_it_gave_was_prepared);
    tcase_add_test(small, left_padding_stays_and_a_cut_keeps_the_prefix);
    tcase_add_test(small, an_id_beyond_the_vocabulary_is_named_if_it_is_fed);
    TCase *order = ef_test_case(s, "order");
    tcase_add_checked_fixture(order, make_many, free_many);
    tcase_add_test(order, an_epoch_visits_every_sample_once);
    tcase_add_test(order, each_epoch_has_a_full_batch_of_the_full_length);
    tcase_add_test(order, the_order_depends_on_seed_and_epoch_alone);
    tcase_add_test(order, the_order_is_the_one_of_earlier_versions);
    tcase_add_test(order, a_shuffle_favours_no_place);
    tcase_add_test(order, seeking_gives_what_running_gives);
    tcase_add_test(order, buckets_save_padding_and_are_still_drawn);
    tcase_add_test(order, the_last_batches_given_stay_as_they_were);
    tcase_add_test(order, a_loader_may_be_freed_at_any_time);
    TCase *changes = ef_test_case(s, "changes");
    tcase_add_test(changes, a_file_that_becomes_shorter_is_an_error_and_no_crash);
    tcase_add_test(changes, a_file_whose_samples_move_is_an_error);
    tcase_add_test(changes, a_file_that_is_replaced_does_not_matter);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
