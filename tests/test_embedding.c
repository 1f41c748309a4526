/* Embedding: rows are copied exactly; gradients are added in the order of the positions, so both
 * are compared bit by bit with plain float loops. */
#include "ef_test.h"
#include "ref.h"
#include <math.h>
#include <string.h>

typedef struct shape {
    size_t n, V, D;
} shape;

static const shape shapes[] = {{7, 5, 3},    {1, 1, 1},     {40, 9, 17},
                               {33, 12, 64}, {257, 31, 65}, {1100, 7, 16},
                               {1, 300, 8},  {100, 2, 1},   {2049, 900, 37}};

static size_t shape_count(void)
{
    return ef_test_size(3, 6, sizeof shapes / sizeof *shapes);
}

START_TEST(forward_copies_rows)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++) {
        const shape s = shapes[i];
        const int32_t *ids = ef_test_ints(s.n, i, 0, (int32_t)s.V);
        const float *w = ef_test_randn(s.V * s.D, i + 1);
        double *want = ef_test_doubles(s.n * s.D);
        ref_embedding_forward(s.n, s.V, s.D, 1, ids, w, NULL, want);
        ef_tensor *tids = ef_test_i32(a, SHAPE(s.n), ids);
        ef_tensor *tw = ef_test_f32(a, SHAPE(s.V, s.D), w);
        for (size_t v = 0; ef_test_variant(a, EF__EMBEDDING_FORWARD, v); v++) {
            ef_tensor *y = ef_test_f32(a, SHAPE(s.n, s.D), NULL);
            if (ef_test_fits(a, ef_embedding_forward(a, tids, tw, NULL, y)))
                ef_test_near("y", y, want, 0, 0);
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(forward_adds_a_row_to_each_sample)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++) {
        const shape s = shapes[i];
        const size_t B = 3, n = B * s.n;
        const int32_t *ids = ef_test_ints(n, i, 0, (int32_t)s.V);
        const float *w = ef_test_randn(s.V * s.D, i + 1), *add = ef_test_randn(B * s.D, i + 2);
        double *want = ef_test_doubles(n * s.D);
        ref_embedding_forward(n, s.V, s.D, s.n, ids, w, add, want);
        ef_tensor *tids = ef_test_i32(a, SHAPE(B, s.n), ids);
        ef_tensor *tw = ef_test_f32(a, SHAPE(s.V, s.D), w);
        ef_tensor *tadd = ef_test_f32(a, SHAPE(B, s.D), add);
        for (size_t v = 0; ef_test_variant(a, EF__EMBEDDING_FORWARD, v); v++) {
            ef_tensor *y = ef_test_f32(a, SHAPE(B, s.n, s.D), NULL);
            if (ef_test_fits(a, ef_embedding_forward(a, tids, tw, tadd, y)))
                ef_test_near("y", y, want, 0, 1e-6);
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_bad_id_gives_zeros_and_an_error_at_the_sync)
{
    ef_actor *a = ef_test_open();
    const size_t n = 30, V = 11, D = 5;
    int32_t *ids = ef_test_ints(n, 1, 0, (int32_t)V);
    float *w = ef_test_randn(V * D, 2);
    double *want = ef_test_doubles(n * D);
    ids[29] = INT32_MIN;
    ids[23] = -1;
    ids[17] = (int32_t)V;
    ref_embedding_forward(n, V, D, 1, ids, w, NULL, want);
    ef_tensor *tids = ef_test_i32(a, SHAPE(5, 6), ids), *tw = ef_test_f32(a, SHAPE(V, D), w);
    for (size_t v = 0; ef_test_variant(a, EF__EMBEDDING_FORWARD, v); v++) {
        ef_tensor *y = ef_test_f32(a, SHAPE(5, 6, D), NULL);
        ef_test_ok(a, ef_batch_begin(a));
        if (!ef_test_fits(a, ef_embedding_forward(a, tids, tw, NULL, y)))
            continue;
        ef_status s = ef_batch_sync(a, "bad id");
        ck_assert_msg(strstr(ef_actor_message(a), "17"), "%s", ef_actor_message(a));
        ef_test_refused(a, s, EF_EARG, "11");
        ef_test_near("y", y, want, 0, 0);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(of_two_operations_the_first_one_is_blamed)
{
    ef_actor *a = ef_test_open();
    ef_tensor *w = ef_test_f32(a, SHAPE(1000, 2), ef_test_randn(2000, 1));
    ef_tensor *y = ef_test_f32(a, SHAPE(3, 2), NULL);
    ef_tensor *good = ef_test_i32(a, SHAPE(3), (int32_t[]){1, 2, 999});
    ef_tensor *first = ef_test_i32(a, SHAPE(3), (int32_t[]){5, 6, 70007});
    ef_tensor *second = ef_test_i32(a, SHAPE(3), (int32_t[]){80008, 6, 7});
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_embedding_forward(a, good, w, NULL, y));
    ef_test_ok(a, ef_embedding_forward(a, first, w, NULL, y));
    ef_test_ok(a, ef_embedding_forward(a, second, w, NULL, y));
    ef_test_refused(a, ef_batch_sync(a, "two"), EF_EARG, "70007");
    ef_test_ok(a, ef_batch_begin(a)); /* the record is clean again */
    ef_test_ok(a, ef_embedding_forward(a, good, w, NULL, y));
    ef_test_ok(a, ef_batch_sync(a, "good"));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_embedding_forward(a, second, w, NULL, y));
    ef_test_refused(a, ef_batch_sync(a, "again"), EF_EARG, "80008");
    ef_test_close(a);
}
END_TEST

/* dw += in the order of the positions, in float: what every variant must give, bit by bit. */
static void add_in_order(shape s, const int32_t *ids, const float *dy, float *dw)
{
    for (size_t n = 0; n < s.n; n++)
        for (size_t d = 0; d < s.D && ids[n] > 0 && (size_t)ids[n] < s.V; d++)
            dw[(size_t)ids[n] * s.D + d] += dy[n * s.D + d];
}

static void check_backward(ef_actor *a, shape s, const int32_t *ids)
{
    const float *dy = ef_test_randn(s.n * s.D, 3);
    float *dw = ef_test_randn(s.V * s.D, 4), *want = ef_test_floats(s.V * s.D);
    dw[0] = NAN; /* row 0 is not even read */
    memcpy(want, dw, s.V * s.D * sizeof *want);
    add_in_order(s, ids, dy, want);
    ef_tensor *tids = ef_test_i32(a, SHAPE(s.n), ids), *tdy = ef_test_f32(a, SHAPE(s.n, s.D), dy);
    for (size_t v = 0; ef_test_variant(a, EF__EMBEDDING_BACKWARD, v); v++) {
        ef_tensor *tdw = ef_test_f32(a, SHAPE(s.V, s.D), dw);
        if (ef_test_fits(a, ef_embedding_backward(a, tids, tdy, tdw)))
            ef_test_same_bits("dw", tdw, want);
    }
}

START_TEST(backward_adds_in_the_order_of_the_positions)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < shape_count(); i++) {
        const shape s = shapes[i];
        int32_t *ids = ef_test_ints(s.n, i, 0, (int32_t)s.V);
        check_backward(a, s, ids);
        for (size_t n = 0; n < s.n; n++) /* few rows, far apart */
            ids[n] = n % 5 ? ids[n] / 3 : (int32_t)s.V - 1;
        check_backward(a, s, ids);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(backward_agrees_with_the_reference)
{
    ef_actor *a = ef_test_open();
    const size_t n = 300, V = 40, D = 19;
    const int32_t *ids = ef_test_ints(n, 5, 0, (int32_t)V);
    const float *dy = ef_test_randn(n * D, 6);
    double *want = ef_test_doubles(V * D);
    ref_embedding_backward(n, V, D, ids, dy, want);
    ef_tensor *dw = ef_test_f32(a, SHAPE(V, D), ef_test_floats(V * D));
    ef_test_ok(a, ef_embedding_backward(a, ef_test_i32(a, SHAPE(n), ids),
                                        ef_test_f32(a, SHAPE(n, D), dy), dw));
    ef_test_near("dw", dw, want, 1e-5, 1e-6);
    ef_test_close(a);
}
END_TEST

START_TEST(backward_ignores_ids_out_of_range)
{
    ef_actor *a = ef_test_open();
    int32_t ids[9] = {3, -1, 0, INT32_MAX, 3, 4, INT32_MIN, 2, 0};
    check_backward(a, (shape){9, 4, 21}, ids);
    ef_test_close(a);
}
END_TEST

START_TEST(no_ids_is_no_work)
{
    ef_actor *a = ef_test_open();
    const float w[6] = {1, 2, 3, 4, 5, 6};
    ef_tensor *ids = ef_test_i32(a, SHAPE(0), NULL), *rows = ef_test_f32(a, SHAPE(0, 3), NULL);
    ef_tensor *tw = ef_test_f32(a, SHAPE(2, 3), w);
    ef_test_ok(a, ef_embedding_forward(a, ids, tw, NULL, rows));
    ef_test_ok(a, ef_embedding_backward(a, ids, rows, tw));
    ef_test_same_bits("w", tw, w);
    ef_test_close(a);
}
END_TEST

START_TEST(shapes_that_disagree_are_refused)
{
    ef_actor *a = ef_test_open();
    ef_tensor *ids = ef_test_i32(a, SHAPE(2, 3), NULL), *floats = ef_test_f32(a, SHAPE(2, 3), NULL);
    ef_tensor *w = ef_test_f32(a, SHAPE(4, 5), NULL), *y = ef_test_f32(a, SHAPE(2, 3, 5), NULL);
    ef_tensor *narrow = ef_test_f32(a, SHAPE(2, 3, 4), NULL);
    ef_tensor *few = ef_test_f32(a, SHAPE(2, 2, 5), NULL);
    ef_test_refused(a, ef_embedding_forward(a, floats, w, NULL, y), EF_EARG, "embedding.forward");
    ef_test_refused(a, ef_embedding_forward(a, ids, w, NULL, narrow), EF_ESHAPE,
                    "embedding.forward");
    ef_test_refused(a, ef_embedding_forward(a, ids, w, NULL, few), EF_ESHAPE, "embedding.forward");
    ef_test_refused(a, ef_embedding_forward(a, ids, y, NULL, y), EF_EARG, "embedding.forward");
    ef_tensor *wide = ef_test_f32(a, SHAPE(2, 6), NULL), *four = ef_test_f32(a, SHAPE(4, 5), NULL);
    ef_test_refused(a, ef_embedding_forward(a, ids, w, wide, y), EF_ESHAPE, "embedding.forward");
    ef_test_refused(a, ef_embedding_forward(a, ids, w, four, y), EF_ESHAPE, "embedding.forward");
    ef_test_refused(a, ef_embedding_backward(a, ids, narrow, w), EF_ESHAPE, "embedding.backward");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("embedding");
    TCase *c = ef_test_case(s, "embedding");
    tcase_add_test(c, forward_copies_rows);
    tcase_add_test(c, forward_adds_a_row_to_each_sample);
    tcase_add_test(c, a_bad_id_gives_zeros_and_an_error_at_the_sync);
    tcase_add_test(c, of_two_operations_the_first_one_is_blamed);
    tcase_add_test(c, backward_adds_in_the_order_of_the_positions);
    tcase_add_test(c, backward_agrees_with_the_reference);
    tcase_add_test(c, backward_ignores_ids_out_of_range);
    tcase_add_test(c, no_ids_is_no_work);
    tcase_add_test(c, shapes_that_disagree_are_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
