/* cast, residual_add, mask_rows and the epilogue. */
#include "ef_test.h"
#include "ref.h"
#include <math.h>
#include <string.h>

static const size_t counts[] = {1, 7, 8, 9, 4095, 4097, 70001};

#define COUNTS ef_test_size(4, 6, sizeof counts / sizeof *counts)

/* ---- cast ---- */

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Every half, its neighbours in f32, and what lies halfway to the next half. */
START_TEST(a_cast_to_half_rounds_to_nearest_even)
{
    ef_actor *a = ef_test_open();
    size_t n = ef_test_size(513, 32769, 32769), step = 32769 / n;
    float *x = ef_test_floats(4 * n);
    uint16_t *want = ef_test_alloc(4 * n * sizeof *want);
    for (size_t i = 0; i < n; i++) {
        uint32_t half = (uint32_t)(i * step) % 0x7c00, bits;
        float exact = ref_float((uint16_t)half);
        memcpy(&bits, &exact, sizeof bits);
        x[4 * i] = exact;
        x[4 * i + 1] = -from_bits(bits + 0x1000);
        x[4 * i + 2] = from_bits(bits + 0x1001);
        x[4 * i + 3] = from_bits(bits + 0x0fff);
    }
    const float more[] = {INFINITY, -INFINITY, 65519.996f, 65520, 1e30f, -0.0f, 1e-30f};
    memcpy(x, more, sizeof more);
    for (size_t i = 0; i < 4 * n; i++)
        want[i] = ref_half(x[i]);
    for (size_t v = 0; ef_test_variant(a, EF__CAST, v); v++) {
        ef_tensor *y = ef_test_f16(a, SHAPE(4 * n - 1), NULL);
        if (ef_test_fits(a, ef_cast(a, ef_test_f32(a, SHAPE(4 * n - 1), x), y)))
            ef_test_same_bits("half", y, want);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_cast_from_half_is_exact)
{
    ef_actor *a = ef_test_open();
    size_t n = ef_test_size(1000, 65536, 65536), step = 65536 / n;
    uint16_t *x = ef_test_alloc(n * sizeof *x);
    double *want = ef_test_doubles(n);
    for (size_t i = 0; i < n; i++)
        want[i] = ref_float(x[i] = (uint16_t)(i * step));
    for (size_t v = 0; ef_test_variant(a, EF__CAST, v); v++) {
        ef_tensor *y = ef_test_f32(a, SHAPE(n), NULL);
        if (ef_test_fits(a, ef_cast(a, ef_test_f16(a, SHAPE(n), x), y)))
            ef_test_near("float", y, want, 0, 0);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_cast_is_between_f32_and_f16)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(5), NULL), *ids = ef_test_i32(a, SHAPE(5), NULL);
    ef_tensor *half = ef_test_f16(a, SHAPE(4), NULL);
    ef_test_refused(a, ef_cast(a, x, x), EF_EARG, "cast: f32 to f16 or f16 to f32");
    ef_test_refused(a, ef_cast(a, ids, x), EF_EARG, "cast: f32 to f16 or f16 to f32");
    ef_test_refused(a, ef_cast(a, x, half), EF_ESHAPE, "cast: y and x disagree");
    ef_test_close(a);
}
END_TEST

/* ---- sums and masks ---- */

START_TEST(residual_add_is_exact)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__RESIDUAL_ADD, v); v++)
        for (size_t k = 0; k < COUNTS; k++) {
            size_t n = counts[k];
            float *x = ef_test_randn(n, k), *y = ef_test_randn(n, k + 50), *sum = ef_test_floats(n);
            for (size_t i = 0; i < n; i++)
                sum[i] = x[i] + y[i];
            ef_tensor *tx = ef_test_f32(a, SHAPE(n), x), *ty = ef_test_f32(a, SHAPE(n), y);
            if (!ef_test_fits(a, ef_residual_add(a, tx, ty)))
                continue;
            ef_test_same_bits("y + x", ty, sum);
            for (size_t i = 0; i < n; i++)
                sum[i] = x[i] + x[i];
            ef_test_ok(a, ef_residual_add(a, tx, tx));
            ef_test_same_bits("x + x", tx, sum);
        }
    ef_test_close(a);
}
END_TEST

START_TEST(masked_rows_become_zero_and_others_keep_their_bits)
{
    static const size_t shapes[][3] = {{1, 1, 1}, {2, 3, 5}, {1, 13, 8}, {3, 7, 33}, {2, 40, 256}};
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__MASK_ROWS, v); v++)
        for (size_t k = 0; k < ef_test_size(4, 5, 5); k++) {
            size_t B = shapes[k][0], L = shapes[k][1], C = shapes[k][2];
            float *y = ef_test_randn(B * L * C, k);
            uint8_t *mask = ef_test_mask(B * L, k, 0.5);
            for (size_t i = 0; i < B * L; i++)
                mask[i] *= (uint8_t)(1 + i % 255); /* anything but 0 keeps */
            y[0] = NAN;
            mask[0] = 0;
            ef_tensor *t = ef_test_f32(a, SHAPE(B, L, C), y);
            if (!ef_test_fits(a, ef_mask_rows(a, ef_test_u8(a, SHAPE(B, L), mask), t)))
                continue;
            for (size_t i = 0; i < B * L * C; i++)
                if (!mask[i / C])
                    y[i] = 0;
            ef_test_same_bits("y", t, y);
        }
    ef_test_close(a);
}
END_TEST

START_TEST(shapes_that_disagree_are_refused)
{
    ef_actor *a = ef_test_open();
    ef_tensor *y = ef_test_f32(a, SHAPE(2, 3, 4), NULL), *flat = ef_test_f32(a, SHAPE(24), NULL);
    ef_test_refused(a, ef_residual_add(a, flat, y), EF_ESHAPE, "residual_add: x and y disagree");
    ef_test_refused(a, ef_mask_rows(a, ef_test_u8(a, SHAPE(2, 4), NULL), y), EF_ESHAPE,
                    "mask_rows: mask has 8 values, expected 6");
    ef_test_refused(a, ef_mask_rows(a, flat, y), EF_EARG, "mask_rows: mask is f32, expected u8");
    ef_test_refused(a, ef_mask_rows(a, ef_test_u8(a, SHAPE(24), NULL), flat), EF_EARG,
                    "mask_rows: y has rank 1, expected 3");
    ef_test_close(a);
}
END_TEST

/* ---- epilogue ---- */

/* The host's side of an epilogue, and the device's. */
typedef struct problem {
    size_t rows, C;
    float *z, *bias, *slope, *residual;
    uint8_t *mask;
    ef_tensor *tz, *ty, *tbias, *tpre, *tslope, *tresidual, *tmask;
} problem;

static problem make_problem(ef_actor *a, size_t rows, size_t C)
{
    size_t n = rows * C;
    problem p = {.rows = rows, .C = C};
    p.z = ef_test_randn(n, 1);
    p.bias = ef_test_randn(C, 2);
    p.slope = ef_test_randn(n, 3);
    p.residual = ef_test_randn(n, 4);
    p.mask = ef_test_mask(rows, 5, 0.6);
    p.tz = ef_test_f32(a, SHAPE(rows, C), p.z);
    p.ty = ef_test_f32(a, SHAPE(rows, C), NULL);
    p.tbias = ef_test_f32(a, SHAPE(C), p.bias);
    p.tpre = ef_test_f32(a, SHAPE(rows, C), NULL);
    p.tslope = ef_test_f32(a, SHAPE(rows, C), p.slope);
    p.tresidual = ef_test_f32(a, SHAPE(rows, C), p.residual);
    p.tmask = ef_test_u8(a, SHAPE(rows), p.mask);
    return p;
}

static ef_epilogue device_parts(const problem *p, int parts)
{
    return (ef_epilogue){parts & EF__BIAS ? p->tbias : NULL,
                         parts & EF__PRE ? p->tpre : NULL,
                         parts & EF__GELU,
                         parts & EF__GELU_GRAD ? p->tslope : NULL,
                         parts & EF__RESIDUAL ? p->tresidual : NULL,
                         parts & EF__MASK ? p->tmask : NULL};
}

static void check_parts(ef_actor *a, const problem *p, int parts, const ef_epilogue *e,
                        const ef_tensor *z, const ef_tensor *y)
{
    double *want = ef_test_widen(p->rows * p->C, p->z), *pre = ef_test_doubles(p->rows * p->C);
    ref_epilogue ref = {parts & EF__BIAS ? p->bias : NULL,
                        parts & EF__PRE ? pre : NULL,
                        parts & EF__GELU,
                        parts & EF__GELU_GRAD ? p->slope : NULL,
                        parts & EF__RESIDUAL ? p->residual : NULL,
                        parts & EF__MASK ? p->mask : NULL};
    ref_epilogue_apply(&ref, p->rows, p->C, want);
    if (!ef_test_fits(a, ef__op_run(a, EF__EPILOGUE, &(ef__args){.t = {z, y}, .epilogue = *e})))
        return;
    ef_test_near("y", y, want, 2e-6, 2e-6);
    if (parts & EF__PRE)
        ef_test_near("pre", p->tpre, pre, 1e-6, 1e-6);
}

START_TEST(an_epilogue_does_its_parts_in_order)
{
    static const size_t shapes[][2] = {{3, 5}, {1, 1}, {9, 16}, {5, 77}, {130, 257}};
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__EPILOGUE, v); v++)
        for (size_t k = 0; k < ef_test_size(2, 4, 5); k++) {
            problem p = make_problem(a, shapes[k][0], shapes[k][1]);
            for (int parts = 0; parts <= EF__ALL_PARTS; parts++) {
                ef_epilogue e = device_parts(&p, parts);
                ef_test_set(p.ty, NULL);
                check_parts(a, &p, parts, &e, p.tz, p.ty);
            }
        }
    ef_test_close(a);
}
END_TEST

START_TEST(the_result_may_be_the_residual_or_z)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__EPILOGUE, v); v++) {
        problem p = make_problem(a, 6, 21);
        ef_epilogue e = device_parts(&p, EF__ALL_PARTS);
        check_parts(a, &p, EF__ALL_PARTS, &e, p.tz, p.tresidual);
        ef_test_set(p.tresidual, p.residual);
        check_parts(a, &p, EF__ALL_PARTS, &e, p.tz, p.tz);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_nan_in_a_masked_row_becomes_zero)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__EPILOGUE, v); v++) {
        problem p = make_problem(a, 12, 10);
        ef_epilogue e = device_parts(&p, EF__MASK | EF__GELU | EF__RESIDUAL);
        for (size_t i = 0; i < p.rows * p.C; i++)
            if (!p.mask[i / p.C])
                p.z[i] = p.residual[i] = NAN;
        ef_test_set(p.tz, p.z);
        ef_test_set(p.tresidual, p.residual);
        check_parts(a, &p, EF__MASK | EF__GELU | EF__RESIDUAL, &e, p.tz, p.ty);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(parts_of_another_shape_are_refused_by_name)
{
    ef_actor *a = ef_test_open();
    problem p = make_problem(a, 4, 6);
    ef_tensor *small = ef_test_f32(a, SHAPE(4, 5), NULL);
    const struct {
        ef_epilogue e;
        ef_status status;
        const char *text;
    } bad[] = {
        {{.bias = small}, EF_ESHAPE, "epilogue: epilogue.bias has 20 values, expected 6"},
        {{.pre = small}, EF_ESHAPE, "epilogue.pre and the result disagree"},
        {{.gelu_grad = small}, EF_ESHAPE, "epilogue.gelu_grad and the result disagree"},
        {{.residual = small}, EF_ESHAPE, "epilogue.residual and the result disagree"},
        {{.mask = ef_test_u8(a, SHAPE(6), NULL)}, EF_ESHAPE, "mask has 6 values, expected 4"},
        {{.pre = p.ty}, EF_EARG, "y overlaps epilogue.pre"},
        {{.mask = p.tbias}, EF_EARG, "mask is f32, expected u8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ef_test_refused(
            a, ef__op_run(a, EF__EPILOGUE, &(ef__args){.t = {p.tz, p.ty}, .epilogue = bad[i].e}),
            bad[i].status, bad[i].text);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("elementwise");
    TCase *t = ef_test_case(s, "copies and sums"), *e = ef_test_case(s, "epilogue");
    tcase_add_test(t, a_cast_to_half_rounds_to_nearest_even);
    tcase_add_test(t, a_cast_from_half_is_exact);
    tcase_add_test(t, a_cast_is_between_f32_and_f16);
    tcase_add_test(t, residual_add_is_exact);
    tcase_add_test(t, masked_rows_become_zero_and_others_keep_their_bits);
    tcase_add_test(t, shapes_that_disagree_are_refused);
    tcase_add_test(e, an_epilogue_does_its_parts_in_order);
    tcase_add_test(e, the_result_may_be_the_residual_or_z);
    tcase_add_test(e, a_nan_in_a_masked_row_becomes_zero);
    tcase_add_test(e, parts_of_another_shape_are_refused_by_name);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
