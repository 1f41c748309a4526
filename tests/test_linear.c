/* linear: CLBlast and the library's own kernels against plain loops in double precision. */
#include "actor/cl.h"
#include "conv.h"
#include <clblast_c.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* {rows, I, O}; most telling first: EF_TEST_SIZE takes that many. The last weight is so large that
 * dx reads it in place. */
static const size_t shapes[][3] = {
    {3, 5, 7},    {1, 1, 1},   {17, 33, 11}, {1, 64, 17},  {65, 7, 3},    {2, 3, 130},
    {16, 32, 48}, {130, 1, 5}, {31, 100, 1}, {64, 64, 64}, {200, 19, 35}, {5, 32, 32800},
};

/* y [rows,O] = x [rows,I] w^T as a convolution. */
static ref_conv matrix(size_t rows, size_t I, size_t O)
{
    return (ref_conv){1, rows, I, O, 1, 1};
}

/* Unset, and with each setting of EF_LINEAR, where the other's variants do not fit. */
START_TEST(all_operations_agree_with_plain_loops)
{
    static const char *const pins[] = {NULL, "own", "clblast"};
    ef_actor *a = ef_test_open();
    for (size_t pin = 0; pin < ef_test_size(1, 3, 3); pin++) {
        if (pins[pin])
            setenv("EF_LINEAR", pins[pin], 1);
        for (size_t i = 0; i < ef_test_size(2, 5, sizeof shapes / sizeof *shapes); i++)
            conv_agrees(a, matrix(shapes[i][0], shapes[i][1], shapes[i][2]), true);
    }
    ef_test_close(a);
}
END_TEST

/* Does a variant of this name fit the problem? */
static bool fits(ef_actor *a, const conv *c, const char *name)
{
    const ef__op *op = ef__op_row(EF__LINEAR_FORWARD);
    ef__args args = {.t = {c->tx, c->tw, c->tdy}};
    const ef__variant *v = op->variants;
    ef_test_ok(a, op->check(a, op->name, &args));
    while (strcmp(v->name, name))
        v++;
    return v->fits(ef__device_of(a), &args);
}

/* Let CLBlast work in scratch when m n k >= size^3. */
static void scratch_from(ef_actor *a, size_t size)
{
    static const char *name = "XGEMM_MIN_INDIRECT_SIZE";
    cl_device_id device;
    cl_command_queue queue = ef__queue(a);
    ck_assert_int_eq(clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof device, &device, NULL),
                     CL_SUCCESS);
    ck_assert_int_eq(
        CLBlastOverrideParameters(device, "GemmRoutine", CLBlastPrecisionSingle, 1, &name, &size),
        CLBlastSuccess);
}

/* From a size on CLBlast copies its operands into padded scratch first; here from 1 on. */
START_TEST(products_in_padded_copies_agree)
{
    ef_actor *a = ef_test_open();
    setenv("EF_LINEAR", "clblast", 1);
    scratch_from(a, 1);
    conv_agrees(a, matrix(37, 21, 70), true);
    if (ef_test_size(0, 1, 1)) {
        conv_agrees(a, matrix(64, 128, 96), true);
        conv_agrees(a, matrix(259, 211, 107), true);
    }
    ef_test_close(a);
}
END_TEST

/* Rows are all leading dimensions; y and x may split them differently. */
START_TEST(any_leading_dimensions_are_rows)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, matrix(12, 5, 7), true);
    double *want = ef_test_doubles(p.ny), *mag = ef_test_doubles(p.ny);
    ref_conv1d_forward(&p.s, p.x, p.w, want, mag);
    ef_tensor *x = ef_test_f32(a, SHAPE(2, 3, 2, 5), p.x),
              *y = ef_test_f32(a, SHAPE(4, 3, 7), NULL);
    ef_test_ok(a, ef_linear_forward(a, x, p.tw, NULL, y));
    ef_test_within("y", y, want, mag, CONV_BOUND);
    ef_test_close(a);
}
END_TEST

START_TEST(epilogues_agree_whoever_runs_them)
{
    const size_t rows = 18, O = 21, I = 9;
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, matrix(rows, I, O), true);
    float *bias = ef_test_randn(O, 6), *grad = ef_test_randn(p.nx, 7),
          *more = ef_test_randn(p.ny, 8);
    uint8_t *mask = ef_test_mask(rows, 9, 0.5);
    double *y = ef_test_doubles(p.ny), *pre = ef_test_doubles(p.ny), *dx = ef_test_doubles(p.nx);
    ef_tensor *tbias = ef_test_f32(a, SHAPE(O), bias),
              *tgrad = ef_test_f32(a, SHAPE(rows, I), grad);
    ef_tensor *tmask = ef_test_u8(a, SHAPE(rows), mask);

    ref_conv1d_forward(&p.s, p.x, p.w, y, NULL);
    ref_epilogue_apply(
        &(ref_epilogue){.bias = bias, .pre = pre, .gelu = true, .residual = more, .mask = mask},
        rows, O, y);
    ref_conv1d_dx(&p.s, p.dy, p.w, dx, NULL);
    ref_epilogue_apply(&(ref_epilogue){.gelu_grad = grad, .mask = mask}, rows, I, dx);
    for (size_t v = 0; ef_test_variant(a, EF__LINEAR_FORWARD, v); v++) {
        ef_test_variant(a, EF__LINEAR_DX, v);
        ef_tensor *ty = ef_test_f32(a, SHAPE(rows, O), more),
                  *tpre = ef_test_f32(a, SHAPE(rows, O), NULL);
        ef_tensor *tdx = ef_test_f32(a, SHAPE(rows, I), NULL);
        const ef_epilogue all = {
            .bias = tbias, .pre = tpre, .gelu = true, .residual = ty, .mask = tmask};
        if (!ef_test_fits(a, ef_linear_forward(a, p.tx, p.tw, &all, ty)))
            continue;
        ef_test_near("y", ty, y, 1e-5, 1e-5);
        ef_test_near("pre", tpre, pre, 1e-5, 1e-5);
        ef_test_ok(a, ef_linear_dx(a, p.tdy, p.tw,
                                   &(ef_epilogue){.gelu_grad = tgrad, .mask = tmask}, tdx));
        ef_test_near("dx", tdx, dx, 1e-5, 1e-5);
    }
    ef_test_close(a);
}
END_TEST

/* One macro batch is the sum of its micro-batches. */
START_TEST(gradients_of_micro_batches_add_up)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, matrix(64, 11, 13), true);
    for (size_t v = 0; ef_test_variant(a, EF__LINEAR_DW, v); v++) {
        float *zero = ef_test_floats(p.nw);
        ef_tensor *whole = ef_test_f32(a, SHAPE(13, 11), zero),
                  *sum = ef_test_f32(a, SHAPE(13, 11), zero);
        if (!ef_test_fits(a, ef_linear_dw(a, p.tx, p.tdy, whole, NULL)))
            continue;
        for (size_t i = 0; i < 4; i++) {
            ef_tensor *x, *dy;
            ef_test_ok(a, ef_tensor_view(p.tx, i * 16 * 11, 2, (size_t[]){16, 11}, "x", &x));
            ef_test_ok(a, ef_tensor_view(p.tdy, i * 16 * 13, 2, (size_t[]){16, 13}, "dy", &dy));
            ef_test_ok(a, ef_linear_dw(a, x, dy, sum, NULL));
            ef_tensor_free(x);
            ef_tensor_free(dy);
        }
        ef_test_near("dw", sum, ef_test_widen(p.nw, ef_test_read(whole)), 1e-5, 1e-5);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(knobs_change_nothing_and_are_few)
{
    ef_actor *a = ef_test_open();
    conv_knobs_are_few(a, matrix(130, 40, 70), true);
    conv_knobs_change_nothing(a, matrix(130, 70, 90), true);
    ef_test_close(a);
}
END_TEST

START_TEST(gradients_are_the_slopes_of_the_forward_pass)
{
    ef_actor *a = ef_test_open();
    conv_slopes_agree(a, matrix(6, 5, 7), true);
    ef_test_close(a);
}
END_TEST

/* ---- choice, counters, rules ---- */

static const char *chosen(ef_actor *a, const conv *p)
{
    ef__args args = {.t = {p->tx, p->tw, p->tdy}};
    ef_test_ok(a, ef__op_row(EF__LINEAR_FORWARD)->check(a, "linear.forward", &args));
    return ef__op_choose(a, EF__LINEAR_FORWARD, &args).variant->name;
}

START_TEST(ef_linear_pins_who_multiplies)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, matrix(3, 5, 7), true);
    const bool cpu = ef_actor_device(a)->is_cpu;
    unsetenv("EF_LINEAR");
    const bool clblast = ef_actor_device(a)->max_work_group >= 256;
    ck_assert_str_eq(chosen(a, &p), cpu ? "panel" : clblast ? "clblast" : "direct");
    ck_assert(fits(a, &p, "panel") == cpu && fits(a, &p, "clblast") == clblast);
    setenv("EF_LINEAR", "own", 1);
    ck_assert_str_eq(chosen(a, &p), cpu ? "panel" : "direct");
    ck_assert(!fits(a, &p, "clblast"));
    setenv("EF_LINEAR", "clblast", 1);
    ck_assert_str_eq(chosen(a, &p), clblast ? "clblast" : "direct");
    ck_assert(!fits(a, &p, "panel"));
    ef_test_close(a);
}
END_TEST

/* CLBlast's launches are counted, its scratch comes from the pool and goes back. */
START_TEST(clblast_is_counted_and_borrows_its_scratch)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, matrix(37, 21, 70), true);
    ef_tensor *y = ef_test_f32(a, SHAPE(37, 70), NULL);
    ef_stats before, after;
    setenv("EF_LINEAR", "clblast", 1);
    scratch_from(a, 1);
    ef_test_ok(a, ef_linear_forward(a, p.tx, p.tw, NULL, y));
    ef_actor_stats(a, &before);
    for (int i = 0; i < 5; i++)
        ef_test_ok(a, ef_linear_forward(a, p.tx, p.tw, NULL, y));
    ef_actor_stats(a, &after);
    if (fits(a, &p, "clblast"))
        ck_assert_uint_gt(after.launches - before.launches, 5);
    ck_assert_uint_le(after.launches - before.launches, 5 * 4);
    ck_assert_uint_eq(after.host_waits, before.host_waits);
    ck_assert_uint_eq(after.pool_bytes, before.pool_bytes);
    ck_assert_uint_eq(after.pool_used, before.pool_used);
    ef_test_close(a);
}
END_TEST

typedef struct worker {
    pthread_t thread;
    ef_actor *a;
    conv p;
    ef_tensor *y;
    ef_status status;
} worker;

static void *multiply_often(void *user)
{
    worker *w = user;
    for (size_t i = 0; !w->status && i < ef_test_size(1, 20, 50); i++)
        w->status = ef_linear_forward(w->a, w->p.tx, w->p.tw, NULL, w->y);
    return NULL;
}

/* Two actors in two threads: CLBlast's caches are the process's. */
START_TEST(actors_share_clblast)
{
    worker w[2] = {{.status = EF_OK}, {.status = EF_OK}};
    setenv("EF_LINEAR", "clblast", 1);
    for (int i = 0; i < 2; i++) {
        w[i].a = ef_test_open();
        w[i].p = conv_new(w[i].a, matrix(17, 33, 11), true);
        w[i].y = ef_test_f32(w[i].a, SHAPE(w[i].p.s.L, w[i].p.s.Cout), NULL);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&w[i].thread, NULL, multiply_often, &w[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(w[i].thread, NULL);
        ef_test_ok(w[i].a, w[i].status);
        conv_check_forward("y", &w[i].p, w[i].y);
    }
    ef_test_ok(w[0].a, ef_actor_finish(w[0].a));
    ef_test_close(w[1].a);
    ef_actor_close(w[0].a);
}
END_TEST

START_TEST(what_does_not_fit_is_refused_by_name)
{
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, matrix(6, 5, 7), true);
    ef_tensor *y = ef_test_f32(a, SHAPE(6, 7), NULL), *dx = ef_test_f32(a, SHAPE(6, 5), NULL);
    ef_tensor *dw = ef_test_f32(a, SHAPE(7, 5), NULL), *cube = ef_test_f32(a, SHAPE(7, 5, 1), NULL);
    ef_tensor *db = ef_test_f32(a, SHAPE(6), NULL);
    ef_test_refused(a, ef_linear_forward(a, p.tdy, p.tw, NULL, y), EF_ESHAPE, "linear.forward: x");
    ef_test_refused(a, ef_linear_forward(a, p.tx, p.tw, NULL, dx), EF_ESHAPE, "linear.forward: y");
    ef_test_refused(a, ef_linear_forward(a, p.tx, cube, NULL, y), EF_EARG, "w has rank 3");
    ef_test_refused(a, ef_linear_dx(a, p.tx, p.tw, NULL, dx), EF_ESHAPE, "linear.dx: dy");
    ef_test_refused(a, ef_linear_dw(a, p.tx, p.tx, dw, NULL), EF_ESHAPE, "linear.dw: dy");
    ef_test_refused(a, ef_linear_dw(a, p.tx, p.tdy, dw, db), EF_ESHAPE, "db has 6 values");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("linear");
    TCase *values = ef_test_case(s, "values"), *rules = ef_test_case(s, "rules");
    tcase_add_test(values, all_operations_agree_with_plain_loops);
    tcase_add_test(values, products_in_padded_copies_agree);
    tcase_add_test(values, any_leading_dimensions_are_rows);
    tcase_add_test(values, epilogues_agree_whoever_runs_them);
    tcase_add_test(values, gradients_of_micro_batches_add_up);
    tcase_add_test(values, knobs_change_nothing_and_are_few);
    tcase_add_test(values, gradients_are_the_slopes_of_the_forward_pass);
    tcase_add_test(rules, ef_linear_pins_who_multiplies);
    tcase_add_test(rules, clblast_is_counted_and_borrows_its_scratch);
    tcase_add_test(rules, actors_share_clblast);
    tcase_add_test(rules, what_does_not_fit_is_refused_by_name);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
