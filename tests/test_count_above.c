/* How many numbers of a row are above its level. */
#include "ef_test.h"
#include "op/count_above.h"
#include "ref.h"
#include <math.h>

static const size_t shapes[][2] = {{3, 17},  {1, 1},    {5, 8},   {2, 4099},
                                   {33, 16}, {129, 31}, {4, 128}, {300, 7}};

static void check_count(ef_actor *a, size_t R, size_t C, const float *x, const float *level)
{
    float *before = ef_test_floats(R);
    double *want = ef_test_doubles(R);
    for (size_t r = 0; r < R; r++)
        want[r] = before[r] = (float)(r % 5);
    ref_count_above(R, C, x, level, want);
    ef_tensor *tx = ef_test_f32(a, SHAPE(R, C), x), *tl = ef_test_f32(a, SHAPE(R), level);
    for (size_t v = 0; ef_test_variant(a, EF__COUNT_ABOVE, v); v++) {
        ef_tensor *count = ef_test_f32(a, SHAPE(R), before);
        if (ef_test_fits(a, ef__count_above(a, tx, tl, count)))
            ef_test_near("count", count, want, 0, 0);
    }
}

START_TEST(what_is_above_the_level_is_added_to_the_count)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(3, 8, 8); i++) {
        const size_t R = shapes[i][0], C = shapes[i][1];
        check_count(a, R, C, ef_test_randn(R * C, i), ef_test_randn(R, i + 100));
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_number_that_is_the_level_is_not_above_it)
{
    ef_actor *a = ef_test_open();
    float *x = ef_test_floats(3 * 37), level[] = {0, 1, 1.0000001f};
    for (size_t i = 0; i < 3 * 37; i++)
        x[i] = (float)(i % 3);
    check_count(a, 3, 37, x, level);
    ef_test_close(a);
}
END_TEST

START_TEST(what_is_not_a_number_is_above)
{
    ef_actor *a = ef_test_open();
    float *x = ef_test_randn(4 * 37, 1), level[] = {INFINITY, 0, NAN, -INFINITY};
    x[3] = x[36] = x[37 + 36] = NAN; /* in a vector, and in what is left of a row */
    x[5] = x[37] = INFINITY;
    x[3 * 37 + 4] = -INFINITY;
    check_count(a, 4, 37, x, level);
    ef_test_close(a);
}
END_TEST

START_TEST(wrong_arguments_are_refused_by_name)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3, 4), ef_test_floats(12));
    ef_tensor *three = ef_test_f32(a, SHAPE(3), ef_test_floats(3));
    ef_tensor *four = ef_test_f32(a, SHAPE(4), ef_test_floats(4));
    ef_test_refused(a, ef__count_above(a, x, four, three), EF_ESHAPE, "level");
    ef_test_refused(a, ef__count_above(a, x, three, four), EF_ESHAPE, "count");
    ef_test_refused(a, ef__count_above(a, four, three, three), EF_EARG, "x has rank 1");
    ef_test_refused(a, ef__count_above(a, x, three, three), EF_EARG, "count");
    ef_test_close(a);
}
END_TEST

START_TEST(no_columns_leave_the_counts)
{
    ef_actor *a = ef_test_open();
    const float counts[] = {1, 2, 3};
    ef_tensor *x = ef_test_f32(a, SHAPE(3, 0), NULL), *count = ef_test_f32(a, SHAPE(3), counts);
    ef_test_ok(a, ef__count_above(a, x, ef_test_f32(a, SHAPE(3), counts), count));
    ef_test_same_bits("counts", count, counts);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("count_above");
    TCase *t = ef_test_case(s, "count");
    tcase_add_test(t, what_is_above_the_level_is_added_to_the_count);
    tcase_add_test(t, a_number_that_is_the_level_is_not_above_it);
    tcase_add_test(t, what_is_not_a_number_is_above);
    tcase_add_test(t, wrong_arguments_are_refused_by_name);
    tcase_add_test(t, no_columns_leave_the_counts);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
