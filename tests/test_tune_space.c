/* Tests of the tuner's spaces: enumeration, numbers, neighbours, and CLBlast's families. */
#include "../tune/clblast_space.h"
#include "ef_test.h"
#include <stdlib.h>
#include <string.h>

static const tune_part parts[] = {
    {"tile", {{"rows", {1, 2, 4}, 3}, {"width", {8, 16}, 2}}},
    {"plain", {{0}}},
    {"panel", {{"rows", {4, 8}, 2}}},
};

/* 4 x 16 is too much of a tile. */
static bool small(const void *user, const tune_point *p)
{
    const int *most = user;
    return p->part != 0 || p->value[0] * p->value[1] < *most;
}

START_TEST(points_come_in_a_fixed_order)
{
    static const tune_point want[] = {{0, {1, 8}}, {0, {1, 16}}, {0, {2, 8}}, {0, {2, 16}},
                                      {0, {4, 8}}, {1, {0}},     {2, {4}},    {2, {8}}};
    const size_t count = sizeof want / sizeof *want;
    tune_space *s = tune_space_new(parts, 3, small, &(int){64});
    ck_assert_uint_eq(tune_space_count(s), count);
    for (size_t i = 0; i < count; i++) {
        size_t number;
        tune_point got = tune_space_point(s, i);
        ck_assert(tune_space_number(s, &want[i], &number));
        ck_assert_uint_eq(number, i);
        ck_assert_uint_eq(got.part, want[i].part);
        ck_assert_mem_eq(got.value, want[i].value, sizeof got.value);
    }
    ck_assert_str_eq(tune_space_part(s, 2)->name, "panel");
    tune_space_free(s);
    tune_space_free(NULL);
}
END_TEST

START_TEST(what_is_not_in_a_space_has_no_number)
{
    static const tune_point foreign[] = {{0, {4, 16}}, {0, {3, 8}}, {2, {16}}, {3, {0}}};
    tune_space *s = tune_space_new(parts, 3, small, &(int){64});
    size_t number;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        ck_assert_msg(!tune_space_number(s, &foreign[i], &number), "point %zu", i);
    tune_space_free(s);
    s = tune_space_new(parts, 0, NULL, NULL);
    ck_assert_uint_eq(tune_space_count(s), 0);
    ck_assert(!tune_space_number(s, &foreign[0], &number));
    tune_space_free(s);
}
END_TEST

static size_t differences(const tune_point *a, const tune_point *b)
{
    size_t n = 0;
    for (size_t i = 0; i < TUNE_PARAMETERS; i++)
        n += a->value[i] != b->value[i];
    return a->part == b->part ? n : TUNE_PARAMETERS + 1;
}

/* Against all pairs. */
START_TEST(neighbours_differ_in_one_parameter)
{
    tune_space *s =
        tune_clblast_space((tune_clblast_set[]){TUNE_XGEMM_DIRECT_1, TUNE_COPY, TUNE_XGEMM_11}, 3,
                           &(ef__clblast_limits){1024, {1024, 1024}, 49152, 10700});
    size_t count = tune_space_count(s), out[TUNE_NEIGHBOURS];
    tune_point *point = ef_test_alloc(count * sizeof *point);
    for (size_t i = 0; i < count; i++)
        point[i] = tune_space_point(s, i);
    for (size_t i = 0; i < count; i++) {
        size_t want = 0, got = tune_space_neighbours(s, i, out);
        for (size_t k = 0; k < count; k++)
            want += differences(&point[i], &point[k]) == 1;
        ck_assert_uint_eq(got, want);
        for (size_t k = 0; k < got; k++)
            ck_assert_uint_eq(differences(&point[i], &point[out[k]]), 1);
    }
    tune_space_free(s);
}
END_TEST

/* ---- CLBlast ---- */

/* The counts that CLBlast's own tuners print: 578, 407 and 16566 stand in logs of its users. */
START_TEST(clblast_families_have_their_known_counts)
{
    static const ef__clblast_limits large = {1024, {1024, 1024}, 48 << 10, 10700},
                                    small_ones = {256, {256, 256}, 32 << 10, 10700};
    static const struct {
        const char *kernel;
        size_t parameters, all, large, small;
    } want[TUNE_CLBLAST_SETS] = {
        [TUNE_XGEMM_1] = {"Xgemm", 16, 26244, 578, 488},
        [TUNE_XGEMM_2] = {"Xgemm", 16, 663552, 120800, 112928},
        [TUNE_XGEMM_11] = {"Xgemm", 16, 19683, 407, 407},
        [TUNE_XGEMM_12] = {"Xgemm", 16, 1250000, 16566, 15910},
        [TUNE_XGEMM_DIRECT_1] = {"XgemmDirect", 10, 3888, 46, 41},
        [TUNE_XGEMM_DIRECT_2] = {"XgemmDirect", 10, 62208, 8420, 3347},
        [TUNE_COPY] = {"Copy", 4, 144, 144, 96},
        [TUNE_PAD] = {"Pad", 4, 81, 81, 54},
        [TUNE_TRANSPOSE] = {"Transpose", 4, 100, 56, 48},
        [TUNE_PADTRANSPOSE] = {"Padtranspose", 3, 40, 18, 14},
        [TUNE_GEMM_ROUTINE] = {"GemmRoutine", 1, 2, 2, 2},
    };
    for (tune_clblast_set set = 0; set < TUNE_CLBLAST_SETS; set++) {
        const tune_part part = tune_clblast_part(set);
        tune_space *all = tune_space_new(&part, 1, NULL, NULL),
                   *fits = tune_clblast_space(&set, 1, &large),
                   *fewer = tune_clblast_space(&set, 1, &small_ones);
        ck_assert_str_eq(ef__clblast_kernel(tune_clblast_id(set)), want[set].kernel);
        ck_assert_uint_eq(tune_part_parameters(&part), want[set].parameters);
        ck_assert_msg(tune_space_count(all) == want[set].all &&
                          tune_space_count(fits) == want[set].large &&
                          tune_space_count(fewer) == want[set].small,
                      "%s: %zu of %zu and %zu", part.name, tune_space_count(fits),
                      tune_space_count(all), tune_space_count(fewer));
        tune_space_free(all);
        tune_space_free(fits);
        tune_space_free(fewer);
    }
}
END_TEST

/* An override without all of these is refused. */
START_TEST(clblast_sets_name_every_parameter_of_their_kernel)
{
    static const struct {
        const char *kernel, *names;
    } want[] = {
        {"Xgemm", "GEMMK KREG KWG KWI MDIMA MDIMC MWG NDIMB NDIMC NWG SA SB STRM STRN VWM VWN "},
        {"XgemmDirect", "KWID MDIMAD MDIMCD NDIMBD NDIMCD PADA PADB VWMD VWND WGD "},
        {"Copy", "COPY_DIMX COPY_DIMY COPY_VW COPY_WPT "},
        {"Pad", "PAD_DIMX PAD_DIMY PAD_WPTX PAD_WPTY "},
        {"Transpose", "TRA_DIM TRA_PAD TRA_SHUFFLE TRA_WPT "},
        {"Padtranspose", "PADTRA_PAD PADTRA_TILE PADTRA_WPT "},
        {"GemmRoutine", "XGEMM_MIN_INDIRECT_SIZE "},
    };
    for (tune_clblast_set set = 0; set < TUNE_CLBLAST_SETS; set++) {
        const tune_part part = tune_clblast_part(set);
        char names[256] = "";
        size_t row = 0;
        for (size_t i = 0; i < tune_part_parameters(&part); i++)
            strcat(strcat(names, part.parameter[i].name), " ");
        while (strcmp(want[row].kernel, ef__clblast_kernel(tune_clblast_id(set))) != 0)
            row++;
        ck_assert_str_eq(names, want[row].names);
    }
}
END_TEST

static size_t unequal_tiles(const tune_space *s)
{
    enum { MWG = 6, NWG = 9 };
    size_t n = 0;
    for (size_t i = 0; i < tune_space_count(s); i++) {
        tune_point p = tune_space_point(s, i);
        n += p.value[MWG] != p.value[NWG];
    }
    return n;
}

START_TEST(register_tiles_are_square_before_clblast_1_6_3)
{
    static const int versions[] = {0, 10503, 10602, 10603, 10700};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        ef__clblast_limits limits = {1024, {1024, 1024}, 48 << 10, versions[i]};
        for (tune_clblast_set set = TUNE_XGEMM_1; set <= TUNE_XGEMM_12; set++) {
            bool local = set <= TUNE_XGEMM_2;
            tune_space *s = tune_clblast_space(&set, 1, &limits);
            ck_assert_uint_gt(tune_space_count(s), 0);
            ck_assert_int_eq(unequal_tiles(s) > 0, local || versions[i] >= 10603);
            tune_space_free(s);
        }
    }
}
END_TEST

START_TEST(clblast_groups_stay_within_the_limits)
{
    static const tune_clblast_set set[] = {TUNE_XGEMM_1, TUNE_XGEMM_DIRECT_1, TUNE_TRANSPOSE,
                                           TUNE_PADTRANSPOSE, TUNE_COPY};
    static const ef__clblast_limits limits = {256, {64, 16}, 8192, 10700};
    size_t most_items = 0, most_bytes = 0;
    tune_space *s = tune_clblast_space(set, 5, &limits);
    for (size_t i = 0; i < tune_space_count(s); i++) {
        tune_point p = tune_space_point(s, i);
        ef__clblast_group g = ef__clblast_group_of(tune_clblast_id(set[p.part]), p.value);
        size_t items = g.item[0] * g.item[1];
        ck_assert(g.item[0] <= 64 && g.item[1] <= 16 && items <= 256 && g.local_bytes <= 8192);
        most_items = items > most_items ? items : most_items;
        most_bytes = g.local_bytes > most_bytes ? g.local_bytes : most_bytes;
    }
    ck_assert_uint_eq(most_items, 256);
    ck_assert_uint_eq(most_bytes, 8192);
    tune_space_free(s);
}
END_TEST

START_TEST(clblast_groups_take_what_their_kernels_declare)
{
    static const struct {
        tune_clblast_set set;
        tune_point point;
        ef__clblast_group want;
    } row[] = {
        {TUNE_XGEMM_2,
         {0, {0, 1, 32, 2, 8, 16, 64, 8, 8, 128, 1, 1, 0, 0, 1, 1}},
         {{16, 8}, 24576}},
        {TUNE_XGEMM_2, {0, {0, 1, 16, 2, 8, 16, 64, 8, 8, 128, 0, 1, 0, 0, 1, 1}}, {{16, 8}, 8192}},
        {TUNE_XGEMM_12, {0, {1, 1, 1, 1, 4, 4, 64, 2, 2, 128, 0, 0, 0, 0, 1, 1}}, {{4, 2}, 0}},
        {TUNE_XGEMM_DIRECT_2, {0, {2, 8, 16, 8, 32, 0, 1, 1, 1, 32}}, {{16, 32}, 8320}},
        {TUNE_COPY, {0, {8, 16, 1, 2}}, {{8, 16}, 0}},
        {TUNE_PAD, {0, {32, 16, 1, 2}}, {{32, 16}, 0}},
        {TUNE_TRANSPOSE, {0, {8, 1, 0, 4}}, {{8, 8}, 4608}},
        {TUNE_PADTRANSPOSE, {0, {1, 16, 2}}, {{16, 16}, 4224}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        ef__clblast_group got =
            ef__clblast_group_of(tune_clblast_id(row[i].set), row[i].point.value);
        ck_assert_mem_eq(&got, &row[i].want, sizeof got);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tune_space");
    TCase *space = ef_test_case(s, "space"), *clblast = ef_test_case(s, "clblast");
    tcase_add_test(space, points_come_in_a_fixed_order);
    tcase_add_test(space, what_is_not_in_a_space_has_no_number);
    tcase_add_test(space, neighbours_differ_in_one_parameter);
    tcase_add_test(clblast, clblast_families_have_their_known_counts);
    tcase_add_test(clblast, clblast_sets_name_every_parameter_of_their_kernel);
    tcase_add_test(clblast, register_tiles_are_square_before_clblast_1_6_3);
    tcase_add_test(clblast, clblast_groups_stay_within_the_limits);
    tcase_add_test(clblast, clblast_groups_take_what_their_kernels_declare);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
