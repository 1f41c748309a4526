/* What a ring gives the taps of a convolution: by however many rows at a time, the convolution of
 * all rows. */
#include "ef_test.h"
#include "op/ring.h"
#include "ref.h"
#include <string.h>

typedef struct shape {
    size_t B, C, K, d, more; /* more: rows of the ring beyond (K-1) d */
} shape;

static const shape shapes[] = {{1, 3, 3, 1, 0}, {3, 5, 5, 2, 0}, {2, 1, 2, 8, 0}, {1, 17, 1, 3, 0},
                               {3, 8, 5, 8, 0}, {2, 7, 4, 3, 5}, {1, 64, 3, 4, 1}};

enum { ALL = 83 }; /* rows of a sequence, beyond the receptive field of every shape */

static size_t ring_rows(const shape *s)
{
    return (s->K - 1) * s->d + s->more;
}

/* Rows from .. from + T of each sequence of x [B,ALL,C]. */
static ef_tensor *rows_of(ef_actor *a, const shape *s, const float *x, size_t from, size_t T)
{
    float *part = ef_test_floats(s->B * T * s->C);
    for (size_t b = 0; b < s->B; b++)
        memcpy(part + b * T * s->C, x + (b * ALL + from) * s->C, T * s->C * sizeof *part);
    return ef_test_f32(a, SHAPE(s->B, T, s->C), part);
}

/* The taps of all rows, [B,ALL,C,K], which ref_im2col has in this order. Rows come by step. */
static void check_taps(ef_actor *a, const shape *s, size_t step)
{
    const ref_conv conv = {s->B, ALL, s->C, 1, s->K, s->d};
    const size_t R = ring_rows(s), row = s->C * s->K;
    const float *x = ef_test_randn(s->B * ALL * s->C, s->K);
    double *want = ef_test_doubles(s->B * ALL * row);
    ef_tensor *ring = ef_test_f32(a, SHAPE(s->B, R, s->C), ef_test_floats(s->B * R * s->C));
    ref_im2col(&conv, x, want);
    for (size_t from = 0, T; from < ALL; from += T) {
        T = from + step < ALL ? step : ALL - from;
        ef_tensor *taps = ef_test_f32(a, SHAPE(s->B, T, s->C, s->K), NULL);
        ef_test_ok(a,
                   ef__ring_taps(a, rows_of(a, s, x, from, T), s->d, R ? from % R : 0, ring, taps));
        const float *got = ef_test_read(taps);
        for (size_t b = 0; b < s->B; b++)
            for (size_t i = 0; i < T * row; i++)
                ck_assert_msg(got[b * T * row + i] == want[(b * ALL + from) * row + i],
                              "B%zu C%zu K%zu d%zu, %zu rows from %zu: element %zu of sequence %zu",
                              s->B, s->C, s->K, s->d, T, from, i, b);
    }
}

START_TEST(taps_read_the_rows_of_the_whole_sequence)
{
    static const size_t steps[] = {1, 7, ALL};
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(3, 7, sizeof shapes / sizeof *shapes); i++)
        for (size_t k = 0; k < 3; k++)
            check_taps(a, &shapes[i], steps[k]);
    ef_test_close(a);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(2, 3, 4), NULL), *flat = ef_test_f32(a, SHAPE(6, 4), NULL);
    ef_tensor *taps = ef_test_f32(a, SHAPE(2, 3, 4, 5), NULL);
    ef_tensor *ring = ef_test_f32(a, SHAPE(2, 8, 4), NULL);
    ef_test_refused(a, ef__ring_taps(a, flat, 2, 0, ring, taps), EF_EARG,
                    "ring.taps: x has rank 2");
    ef_test_refused(a, ef__ring_taps(a, x, 2, 0, ring, ef_test_f32(a, SHAPE(2, 2, 4, 5), NULL)),
                    EF_ESHAPE, "ring.taps: taps must be x with a last dimension more");
    ef_test_refused(a, ef__ring_taps(a, x, 3, 0, ring, taps), EF_ESHAPE,
                    "must be [2,R,4], R 4 x 3 to");
    ef_test_refused(a, ef__ring_taps(a, x, 2, 8, ring, taps), EF_EARG,
                    "ring.taps: slot 8 of a ring of 8 rows");
    ef_test_ok(a, ef__ring_taps(a, x, 2, 7, ring, taps));
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("ring");
    TCase *c = ef_test_case(s, "ring");
    tcase_add_test(c, taps_read_the_rows_of_the_whole_sequence);
    tcase_add_test(c, what_does_not_fit_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
