/* What a convolution does besides: epilogues in one launch, weights packed once for each update. */
#include "conv.h"
#include <math.h>
#include <string.h>

/* ---- epilogues ---- */

typedef struct parts {
    float *bias, *gelu_grad, *residual;
    uint8_t *mask;
    ef_tensor *tbias, *tgelu_grad, *tmask;
} parts;

static parts parts_new(ef_actor *a, size_t rows, size_t C)
{
    parts e = {.bias = ef_test_randn(C, 6),
               .gelu_grad = ef_test_randn(rows * C, 7),
               .residual = ef_test_randn(rows * C, 8),
               .mask = ef_test_mask(rows, 9, 0.6)};
    e.tbias = ef_test_f32(a, SHAPE(C), e.bias);
    e.tmask = ef_test_u8(a, SHAPE(rows), e.mask);
    return e;
}

/* The parts in bits, once as the library takes them and once as the reference does. The residual is
 * the output itself. */
static void epilogue_agrees(ef_actor *a, const conv *p, parts *e, int bits, const double *plain,
                            double bound)
{
    const ef_test_shape shape = SHAPE(p->s.B, p->s.L, p->s.Cout);
    double *want = ef_test_doubles(p->ny), *pre = ef_test_doubles(p->ny);
    ef_tensor *y = ef_test_f32(a, shape, bits & EF__RESIDUAL ? e->residual : NULL);
    const ef_epilogue given = {
        .bias = bits & EF__BIAS ? e->tbias : NULL,
        .pre = bits & EF__PRE ? ef_test_f32(a, shape, NULL) : NULL,
        .gelu = bits & EF__GELU,
        .gelu_grad = bits & EF__GELU_GRAD ? ef_test_f32(a, shape, e->gelu_grad) : NULL,
        .residual = bits & EF__RESIDUAL ? y : NULL,
        .mask = bits & EF__MASK ? e->tmask : NULL,
    };
    const ref_epilogue same = {
        .bias = bits & EF__BIAS ? e->bias : NULL,
        .pre = bits & EF__PRE ? pre : NULL,
        .gelu = bits & EF__GELU,
        .gelu_grad = bits & EF__GELU_GRAD ? e->gelu_grad : NULL,
        .residual = bits & EF__RESIDUAL ? e->residual : NULL,
        .mask = bits & EF__MASK ? e->mask : NULL,
    };
    memcpy(want, plain, p->ny * sizeof *want);
    ref_epilogue_apply(&same, p->s.B * p->s.L, p->s.Cout, want);
    if (!ef_test_fits(a, ef_conv1d_forward(a, p->tx, p->tw, p->s.d, &given, y)))
        return;
    ef_test_near("y", y, want, bound, bound);
    if (given.pre)
        ef_test_near("pre", given.pre, pre, bound, bound);
}

/* Each part alone, all pairs, what the model uses, and everything. */
START_TEST(epilogues_agree_alone_and_together)
{
    static const ref_conv sizes[] = {
        {2, 7, 5, 19, 2, 3}, {1, 11, 32, 9, 3, 1}, {3, 21, 8, 33, 1, 1}, {2, 41, 33, 21, 5, 2}};
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(2, 4, 4); i++) {
        conv p = conv_new(a, sizes[i], false);
        parts e = parts_new(a, p.s.B * p.s.L, p.s.Cout);
        double *plain = ef_test_doubles(p.ny);
        ref_conv1d_forward(&p.s, p.x, p.w, plain, NULL);
        for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++)
            for (int bits = 0; bits <= EF__ALL_PARTS; bits += (int)ef_test_size(7, 1, 1))
                epilogue_agrees(a, &p, &e, bits, plain,
                                ef__op_row(EF__CONV1D_FORWARD)->variants[v].loose ? 1e-4 : 1e-5);
    }
    ef_test_close(a);
}
END_TEST

/* The backward pass multiplies by gelu' and masks; dx runs the same code with channels swapped. */
static void check_dx_epilogue(ef_actor *a, ref_conv s)
{
    conv p = conv_new(a, s, false);
    parts e = parts_new(a, s.B * s.L, s.Cin);
    double *want = ef_test_doubles(p.nx);
    ref_conv1d_dx(&s, p.dy, p.w, want, NULL);
    ref_epilogue_apply(&(ref_epilogue){.gelu_grad = e.gelu_grad, .mask = e.mask}, s.B * s.L, s.Cin,
                       want);
    const ef_epilogue given = {.gelu_grad = ef_test_f32(a, SHAPE(s.B, s.L, s.Cin), e.gelu_grad),
                               .mask = e.tmask};
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_DX, v); v++) {
        ef_tensor *dx = conv_x(a, &p, NULL);
        if (ef_test_fits(a, ef_conv1d_dx(a, p.tdy, p.tw, s.d, &given, dx)))
            ef_test_near("dx", dx, want, 1e-5, 1e-5);
    }
}

START_TEST(dx_takes_an_epilogue)
{
    ef_actor *a = ef_test_open();
    check_dx_epilogue(a, (ref_conv){2, 9, 13, 6, 3, 2});
    check_dx_epilogue(a, (ref_conv){2, 13, 9, 33, 3, 1});
    ef_test_close(a);
}
END_TEST

START_TEST(nan_in_a_masked_row_becomes_zero)
{
    const ref_conv s = {1, 6, 3, 5, 1, 1};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    const uint8_t mask[6] = {1, 0, 1, 1, 0, 1};
    ef_tensor *tmask = ef_test_u8(a, SHAPE(1, 6), mask);
    for (size_t i = 0; i < p.nx; i++)
        if (!mask[i / s.Cin])
            p.x[i] = NAN;
    ef_test_set(p.tx, p.x);
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        ef_tensor *y = conv_y(a, &p, NULL);
        if (!ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, 1, &(ef_epilogue){.mask = tmask}, y)))
            continue;
        const float *got = ef_test_read(y);
        for (size_t i = 0; i < p.ny; i++)
            ck_assert_msg(mask[i / s.Cout] ? isfinite(got[i]) : got[i] == 0, "element %zu: %g", i,
                          (double)got[i]);
    }
    ef_test_close(a);
}
END_TEST

/* ---- packed weights ---- */

/* An update while a forward is in flight: that forward still uses the old weights, the next the
 * new. */
START_TEST(packed_weights_follow_an_update)
{
    const ref_conv s = {2, 40, 17, 33, 3, 2};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    float *w[2] = {p.w, ef_test_randn(p.nw, 22)};
    double *want[2], *mag[2];
    for (int i = 0; i < 2; i++) {
        want[i] = ef_test_doubles(p.ny);
        mag[i] = ef_test_doubles(p.ny);
        ref_conv1d_forward(&s, p.x, w[i], want[i], mag[i]);
    }
    for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++) {
        ef_tensor *y[4] = {conv_y(a, &p, NULL), conv_y(a, &p, NULL), conv_y(a, &p, NULL),
                           conv_y(a, &p, NULL)};
        bool fits = true;
        ef_test_ok(a, ef_batch_begin(a));
        for (int i = 0; fits && i < 4; i++) {
            ef_test_ok(a, ef_tensor_write(p.tw, w[i % 2]));
            fits = ef_test_fits(a, ef_conv1d_forward(a, p.tx, p.tw, s.d, NULL, y[i]));
        }
        if (!fits)
            continue;
        ef_test_ok(a, ef_batch_sync(a, "updates"));
        for (int i = 0; i < 4; i++)
            ef_test_within("y", y[i], want[i % 2], mag[i % 2], CONV_BOUND);
    }
    ef_test_close(a);
}
END_TEST

/* Three weights in one arena, both directions: after an update one launch packs all of them. */
START_TEST(an_arena_is_repacked_in_one_launch)
{
    const ref_conv s = {1, 20, 16, 16, 3, 1};
    const size_t dims[] = {16, 16, 3}, count = 16 * 16 * 3;
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, false);
    float *values = ef_test_randn(3 * count, 4);
    double *want = ef_test_doubles(p.ny), *mag = ef_test_doubles(p.ny);
    ef_tensor *arena = ef_test_f32(a, SHAPE(3 * count), values), *w[3], *out = conv_y(a, &p, NULL);
    bool packs = ef_actor_device(a)->is_cpu;

    for (size_t i = 0; i < 3; i++)
        ef_test_ok(a, ef_tensor_view(arena, i * count, 3, dims, "w", &w[i]));
    for (int pass = 0; pass < 3; pass++) {
        if (pass == 2)
            ef_test_set(arena, values);
        uint64_t before = conv_launches(a);
        for (size_t i = 0; i < 3; i++) {
            ef_test_ok(a, ef_conv1d_forward(a, p.tx, w[i], 1, NULL, out));
            ef_test_ok(a, ef_conv1d_dx(a, p.tdy, w[i], 1, NULL, out));
        }
        if (pass > 0)
            ck_assert_uint_eq(conv_launches(a) - before, 6 + (packs && pass == 2));
    }
    for (size_t i = 0; i < 3; i++) {
        ref_conv1d_forward(&s, p.x, values + i * count, want, mag);
        ef_test_ok(a, ef_conv1d_forward(a, p.tx, w[i], 1, NULL, out));
        ef_test_within("y", out, want, mag, CONV_BOUND);
        ef_tensor_free(w[i]);
    }
    ef_test_close(a);
}
END_TEST

/* Two layouts of a weight, each larger than half of the room for both. */
START_TEST(what_a_block_has_no_room_for_is_packed_in_another)
{
    const ref_conv s = {1, 3, 1001, 1040, 1, 1};
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, s, true);
    float *w[] = {p.w, ef_test_randn(p.nw, 5)};
    ef_tensor *y = conv_y(a, &p, NULL), *dx = conv_x(a, &p, NULL);
    double *want = ef_test_doubles(p.ny), *mag = ef_test_doubles(p.ny);
    double *want_dx = ef_test_doubles(p.nx), *mag_dx = ef_test_doubles(p.nx);
    const bool packs = ef_actor_device(a)->is_cpu;

    for (int pass = 0; pass < 4; pass++) {
        if (pass % 2 == 0)
            ef_test_set(p.tw, w[pass / 2]);
        uint64_t before = conv_launches(a);
        ef_test_ok(a, conv_forward(a, &p, NULL, y));
        ef_test_ok(a, conv_dx(a, &p, NULL, dx));
        if (packs)
            ck_assert_uint_eq(conv_launches(a) - before, pass % 2 ? 2 : 4);
        ref_conv1d_forward(&s, p.x, w[pass / 2], want, mag);
        ref_conv1d_dx(&s, p.dy, w[pass / 2], want_dx, mag_dx);
        ef_test_within("y", y, want, mag, CONV_BOUND);
        ef_test_within("dx", dx, want_dx, mag_dx, CONV_BOUND);
    }
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("fusion");
    TCase *epilogue = ef_test_case(s, "epilogue"), *pack = ef_test_case(s, "pack");
    tcase_add_test(epilogue, epilogues_agree_alone_and_together);
    tcase_add_test(epilogue, dx_takes_an_epilogue);
    tcase_add_test(epilogue, nan_in_a_masked_row_becomes_zero);
    tcase_add_test(pack, packed_weights_follow_an_update);
    tcase_add_test(pack, an_arena_is_repacked_in_one_launch);
    tcase_add_test(pack, what_a_block_has_no_room_for_is_packed_in_another);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
