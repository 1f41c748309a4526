/* LayerNorm: both directions against double references, masks, residual, accumulation, extremes. */
#include "ef_test.h"
#include "ref.h"
#include <math.h>
#include <string.h>

static const double eps = 1e-5;

static const struct {
    size_t rows, C;
} shapes[] = {{1, 1},  {3, 5},   {2, 7},    {5, 11},    {13, 31},
              {7, 64}, {4, 257}, {64, 256}, {130, 512}, {2049, 36}};

#define SHAPES ef_test_size(5, 8, sizeof shapes / sizeof *shapes)

/* One case: its host arrays, tensors of its inputs, references. */
typedef struct problem {
    ef_actor *a;
    size_t rows, C;
    float *x, *gamma, *beta, *dy, *residual, *dgamma0, *dbeta0;
    uint8_t *mask;
    double *y, *mean, *rstd, *dx, *dgamma, *dbeta;
    ef_tensor *tx, *tgamma, *tbeta, *tdy, *tresidual, *tmask;
} problem;

static ef_tensor *matrix(const problem *p, const float *data)
{
    return ef_test_f32(p->a, SHAPE(p->rows, p->C), data);
}

static ef_tensor *row_of(const problem *p, const float *data)
{
    return ef_test_f32(p->a, SHAPE(p->C), data);
}

static ef_tensor *column_of(const problem *p)
{
    return ef_test_f32(p->a, SHAPE(p->rows), NULL);
}

static void make_references(problem *p)
{
    size_t n = p->rows * p->C;
    p->y = ef_test_doubles(n);
    p->dx = ef_test_doubles(n);
    p->mean = ef_test_doubles(p->rows);
    p->rstd = ef_test_doubles(p->rows);
    p->dgamma = ef_test_widen(p->C, p->dgamma0);
    p->dbeta = ef_test_widen(p->C, p->dbeta0);
    ref_layernorm_forward(p->rows, p->C, p->x, p->gamma, p->beta, p->mask, eps, p->y, p->mean,
                          p->rstd);
    ref_layernorm_backward(p->rows, p->C, p->x, p->gamma, p->dy, p->mask, p->residual, eps, p->dx,
                           p->dgamma, p->dbeta);
    for (size_t r = 0; p->mask && r < p->rows; r++)
        if (!p->mask[r])
            p->mean[r] = p->rstd[r] = 0;
}

static problem make_problem(ef_actor *a, size_t rows, size_t C, double offset, bool masked,
                            bool residual)
{
    size_t n = rows * C;
    problem p = {.a = a, .rows = rows, .C = C};
    p.x = ef_test_randn(n, 1);
    for (size_t i = 0; i < n; i++)
        p.x[i] = (float)(p.x[i] + offset);
    p.gamma = ef_test_randn(C, 2);
    p.beta = ef_test_randn(C, 3);
    p.dy = ef_test_randn(n, 4);
    p.residual = residual ? ef_test_randn(n, 5) : NULL;
    p.dgamma0 = ef_test_randn(C, 6);
    p.dbeta0 = ef_test_randn(C, 7);
    p.mask = masked ? ef_test_mask(rows, 8, 0.7) : NULL;
    make_references(&p);
    p.tx = matrix(&p, p.x);
    p.tgamma = row_of(&p, p.gamma);
    p.tbeta = row_of(&p, p.beta);
    p.tdy = matrix(&p, p.dy);
    p.tresidual = residual ? matrix(&p, p.residual) : NULL;
    p.tmask = masked ? ef_test_u8(a, SHAPE(rows), p.mask) : NULL;
    return p;
}

static ef_status forward(const problem *p, ef_tensor *y, ef_tensor *mean, ef_tensor *rstd)
{
    return ef_layernorm_forward(p->a, p->tx, p->tgamma, p->tbeta, p->tmask, (float)eps, y, mean,
                                rstd);
}

static void check_forward(const problem *p)
{
    ef_tensor *y = matrix(p, NULL), *mean = column_of(p), *rstd = column_of(p);
    if (!ef_test_fits(p->a, forward(p, y, mean, rstd)))
        return;
    ef_test_near("y", y, p->y, 4e-6, 2e-6);
    ef_test_near("mean", mean, p->mean, 1e-6, 1e-6);
    ef_test_near("rstd", rstd, p->rstd, 0, 2e-6);
}

START_TEST(forward_is_the_formula)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__LAYERNORM_FORWARD, v); v++)
        for (size_t k = 0; k < SHAPES; k++)
            for (int masked = 0; masked < 2; masked++) {
                problem p = make_problem(a, shapes[k].rows, shapes[k].C, 0, masked, false);
                check_forward(&p);
            }
    ef_test_close(a);
}
END_TEST

/* More rows than are taken at a time, with a tail; more columns than a row has items, and fewer. */
static const size_t tails[][2] = {{19, 21}, {7, 300}, {1100, 12}};

START_TEST(forward_is_the_formula_whatever_the_knobs)
{
    ef_actor *a = ef_test_open();
    for (size_t k = 0; ef_test_knobs(a, EF__LAYERNORM_FORWARD, k); k++)
        for (size_t i = 0; i < ef_test_size(1, 2, 3); i++)
            for (int masked = 0; masked < 2; masked++) {
                problem p = make_problem(a, tails[i][0], tails[i][1], 0, masked, false);
                check_forward(&p);
            }
    ef_test_close(a);
}
END_TEST

/* Rows whose first elements are far off, constant rows, and a row that is not a number. */
START_TEST(the_variance_survives_elements_far_off_the_mean)
{
    enum { COUNT = 12, WIDTH = 256 };
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__LAYERNORM_FORWARD, v); v++) {
        problem p = make_problem(a, COUNT, WIDTH, 0, false, false);
        for (size_t i = 0; i < COUNT * WIDTH; i++)
            if (i / WIDTH == 3)
                p.x[i] = 1e6f;
            else if (i % WIDTH < i / WIDTH)
                p.x[i] = 1e3f;
        p.x[5 * WIDTH + 77] = NAN;
        make_references(&p);
        ef_test_set(p.tx, p.x);
        ef_tensor *y = matrix(&p, NULL), *mean = column_of(&p), *rstd = column_of(&p);
        if (!ef_test_fits(a, forward(&p, y, mean, rstd)))
            continue;
        const float *got = ef_test_read(y), *moment = ef_test_read(rstd);
        for (size_t i = 0; i < COUNT * WIDTH; i++)
            if (i / WIDTH == 5)
                ck_assert(isnan(got[i]) && isnan(moment[5]));
            else
                ck_assert_msg(fabs(got[i] - p.y[i]) <= 4e-6 + 1e-5 * fabs(p.y[i]),
                              "y[%zu] is %.9g, not %.9g", i, got[i], p.y[i]);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(forward_may_overwrite_x_and_leave_out_the_moments)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__LAYERNORM_FORWARD, v); v++) {
        problem p = make_problem(a, 9, 37, 0, true, false);
        if (ef_test_fits(a, forward(&p, p.tx, NULL, NULL)))
            ef_test_near("y", p.tx, p.y, 4e-6, 2e-6);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_large_mean_does_not_cancel)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__LAYERNORM_FORWARD, v); v++) {
        problem p = make_problem(a, 16, 256, 1e4, false, false);
        ef_tensor *y = matrix(&p, NULL), *mean = column_of(&p), *rstd = column_of(&p);
        if (!ef_test_fits(a, forward(&p, y, mean, rstd)))
            continue;
        ef_test_near("y", y, p.y, 1e-5, 1e-5);
        ef_test_near("mean", mean, p.mean, 0, 1e-7);
        for (size_t u = 0; ef_test_variant(a, EF__LAYERNORM_BACKWARD, u); u++) {
            ef_tensor *dx = matrix(&p, NULL);
            if (ef_test_fits(a, ef_layernorm_backward(a, p.tx, p.tgamma, mean, rstd, p.tdy, NULL,
                                                      NULL, dx, NULL, NULL)))
                ef_test_near("dx", dx, p.dx, 5e-3, 1e-3);
        }
    }
    ef_test_close(a);
}
END_TEST

/* NaN in masked rows of x and dy must not reach anything. */
START_TEST(masked_rows_are_never_looked_at)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__LAYERNORM_FORWARD, v); v++) {
        problem p = make_problem(a, 40, 19, 0, true, true);
        for (size_t i = 0; i < p.rows * p.C; i++)
            if (!p.mask[i / p.C])
                p.x[i] = p.dy[i] = NAN;
        ef_test_set(p.tx, p.x);
        ef_test_set(p.tdy, p.dy);
        check_forward(&p);
        ef_tensor *mean = column_of(&p), *rstd = column_of(&p), *dx = matrix(&p, NULL);
        ef_tensor *dgamma = row_of(&p, p.dgamma0), *dbeta = row_of(&p, p.dbeta0);
        if (!ef_test_fits(a, forward(&p, dx, mean, rstd)))
            continue;
        ef_test_ok(a, ef__op_force(a, EF__LAYERNORM_BACKWARD, v ? "row" : NULL, NULL));
        ef_test_ok(a, ef_layernorm_backward(a, p.tx, p.tgamma, mean, rstd, p.tdy, p.tmask,
                                            p.tresidual, dx, dgamma, dbeta));
        ef_test_near("dx", dx, p.dx, 2e-5, 1e-5);
        ef_test_norm("dgamma", dgamma, p.dgamma, 5e-6);
        ef_test_norm("dbeta", dbeta, p.dbeta, 5e-6);
    }
    ef_test_close(a);
}
END_TEST

static void check_backward(const problem *p)
{
    ef_actor *a = p->a;
    ef_tensor *mean = column_of(p), *rstd = column_of(p), *dx = matrix(p, NULL);
    ef_tensor *dgamma = row_of(p, p->dgamma0), *dbeta = row_of(p, p->dbeta0);
    ef_test_ok(a, forward(p, dx, mean, rstd));
    ef_test_set(dx, NULL);
    if (!ef_test_fits(a, ef_layernorm_backward(a, p->tx, p->tgamma, mean, rstd, p->tdy, p->tmask,
                                               p->tresidual, dx, dgamma, dbeta)))
        return;
    ef_test_near("dx", dx, p->dx, 2e-5, 1e-5);
    ef_test_norm("dgamma", dgamma, p->dgamma, 5e-6);
    ef_test_norm("dbeta", dbeta, p->dbeta, 5e-6);
    /* without the parameters' gradients; over the residual, else over dy */
    ef_tensor *over = p->tresidual ? p->tresidual : p->tdy;
    ef_tensor *again = row_of(p, p->dgamma0), *again_beta = row_of(p, p->dbeta0);
    ef_test_ok(a, ef_layernorm_backward(a, p->tx, p->tgamma, mean, rstd, p->tdy, p->tmask, NULL,
                                        NULL, again, again_beta));
    ef_test_same_bits("dgamma alone", again, ef_test_read(dgamma));
    ef_test_same_bits("dbeta alone", again_beta, ef_test_read(dbeta));
    ef_test_ok(a, ef_layernorm_backward(a, p->tx, p->tgamma, mean, rstd, p->tdy, p->tmask,
                                        p->tresidual, over, NULL, NULL));
    ef_test_same_bits("dx in place", over, ef_test_read(dx));
}

START_TEST(backward_is_the_gradient)
{
    ef_actor *a = ef_test_open();
    for (size_t v = 0; ef_test_variant(a, EF__LAYERNORM_BACKWARD, v); v++)
        for (size_t k = 0; k < SHAPES; k++)
            for (int with = 0; with < 4; with++) {
                problem p = make_problem(a, shapes[k].rows, shapes[k].C, 0, with & 1, with & 2);
                check_backward(&p);
            }
    ef_test_close(a);
}
END_TEST

START_TEST(backward_is_the_gradient_whatever_the_knobs)
{
    ef_actor *a = ef_test_open();
    for (size_t k = 0; ef_test_knobs(a, EF__LAYERNORM_BACKWARD, k); k++)
        for (size_t i = 0; i < ef_test_size(1, 2, 3); i++)
            for (int with = 0; with < 4; with += 3) {
                problem p = make_problem(a, tails[i][0], tails[i][1], 0, with & 1, with & 2);
                check_backward(&p);
            }
    ef_test_close(a);
}
END_TEST

static double loss(void *user)
{
    problem *p = user;
    ef_tensor *y = matrix(p, NULL);
    ef_test_set(p->tx, p->x);
    ef_test_set(p->tgamma, p->gamma);
    ef_test_set(p->tbeta, p->beta);
    ef_test_ok(p->a, forward(p, y, NULL, NULL));
    const float *got = ef_test_read(y);
    double sum = 0;
    for (size_t i = 0; i < p->rows * p->C; i++)
        sum += (double)got[i] * p->dy[i];
    return sum;
}

START_TEST(backward_agrees_with_finite_differences)
{
    ef_actor *a = ef_test_open();
    problem p = make_problem(a, 6, 10, 0, true, false);
    ef_tensor *y = matrix(&p, NULL), *mean = column_of(&p), *rstd = column_of(&p);
    ef_tensor *dx = matrix(&p, NULL), *dgamma = row_of(&p, ef_test_floats(p.C)),
              *dbeta = row_of(&p, ef_test_floats(p.C));
    size_t samples = ef_test_size(5, 20, 60);
    ef_test_ok(a, forward(&p, y, mean, rstd));
    ef_test_ok(a, ef_layernorm_backward(a, p.tx, p.tgamma, mean, rstd, p.tdy, p.tmask, NULL, dx,
                                        dgamma, dbeta));
    ef_test_slopes("dx", loss, &p, p.x, 60, ef_test_read(dx), samples, 1e-2, 1e-3, 1e-3);
    ef_test_slopes("dgamma", loss, &p, p.gamma, 10, ef_test_read(dgamma), 10, 1e-2, 1e-3, 1e-3);
    ef_test_slopes("dbeta", loss, &p, p.beta, 10, ef_test_read(dbeta), 10, 1e-2, 1e-3, 1e-3);
    ef_test_close(a);
}
END_TEST

typedef struct repeat {
    problem p;
    ef_tensor *mean, *rstd, *dx, *dgamma, *dbeta;
} repeat;

static void run_both(void *user)
{
    repeat *r = user;
    const problem *p = &r->p;
    ef_test_set(r->dgamma, p->dgamma0);
    ef_test_set(r->dbeta, p->dbeta0);
    ef_test_ok(p->a, forward(p, r->dx, r->mean, r->rstd));
    ef_test_ok(p->a, ef_layernorm_backward(p->a, p->tx, p->tgamma, r->mean, r->rstd, p->tdy, NULL,
                                           NULL, r->dx, r->dgamma, r->dbeta));
}

START_TEST(the_same_input_gives_the_same_bits)
{
    ef_actor *a = ef_test_open();
    repeat r = {make_problem(a, ef_test_size(20, 500, 500), 48, 0, false, false),
                NULL,
                NULL,
                NULL,
                NULL,
                NULL};
    r.mean = column_of(&r.p);
    r.rstd = column_of(&r.p);
    r.dx = matrix(&r.p, NULL);
    r.dgamma = row_of(&r.p, NULL);
    r.dbeta = row_of(&r.p, NULL);
    ef_test_repeats("dgamma", run_both, &r, r.dgamma);
    ef_test_repeats("dbeta", run_both, &r, r.dbeta);
    ef_test_repeats("dx", run_both, &r, r.dx);
    ef_test_close(a);
}
END_TEST

START_TEST(forward_is_one_launch_and_backward_at_most_two)
{
    ef_actor *a = ef_test_open();
    problem p = make_problem(a, 64, 64, 0, true, true);
    ef_tensor *y = matrix(&p, NULL), *mean = column_of(&p), *rstd = column_of(&p);
    ef_tensor *dgamma = row_of(&p, p.dgamma0), *dbeta = row_of(&p, p.dbeta0);
    ef_stats before, between, after;
    ef_actor_stats(a, &before);
    ef_test_ok(a, forward(&p, y, mean, rstd));
    ef_actor_stats(a, &between);
    ef_test_ok(a, ef_layernorm_backward(a, p.tx, p.tgamma, mean, rstd, p.tdy, p.tmask, p.tresidual,
                                        y, dgamma, dbeta));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(between.launches - before.launches, 1);
    ck_assert_uint_le(after.launches - between.launches, 2);
    ef_test_close(a);
}
END_TEST

START_TEST(no_rows_leave_the_gradients_alone)
{
    ef_actor *a = ef_test_open();
    problem p = make_problem(a, 0, 9, 0, false, false);
    ef_tensor *dgamma = row_of(&p, p.dgamma0), *dbeta = row_of(&p, p.dbeta0);
    ef_test_ok(a, forward(&p, matrix(&p, NULL), column_of(&p), column_of(&p)));
    ef_test_ok(a, ef_layernorm_backward(a, p.tx, p.tgamma, column_of(&p), column_of(&p), p.tdy,
                                        NULL, NULL, matrix(&p, NULL), dgamma, dbeta));
    ef_test_same_bits("dgamma", dgamma, p.dgamma0);
    ef_test_same_bits("dbeta", dbeta, p.dbeta0);
    ef_test_close(a);
}
END_TEST

START_TEST(wrong_arguments_are_refused_by_name)
{
    ef_actor *a = ef_test_open();
    problem p = make_problem(a, 4, 8, 0, true, false);
    ef_tensor *y = matrix(&p, NULL), *mean = column_of(&p), *rstd = column_of(&p);
    ef_tensor *seven = ef_test_f32(a, SHAPE(7), NULL), *gamma = p.tgamma, *mask = p.tmask;
    p.tgamma = seven;
    ef_test_refused(a, forward(&p, y, mean, rstd), EF_ESHAPE,
                    "layernorm.forward: gamma has 7 values, expected 8");
    p.tgamma = gamma;
    p.tmask = ef_test_u8(a, SHAPE(3), NULL);
    ef_test_refused(a, forward(&p, y, mean, rstd), EF_ESHAPE, "layernorm.forward: mask has 3");
    p.tmask = mask;
    ef_test_refused(a, forward(&p, y, mean, NULL), EF_EARG, "only one of mean and rstd");
    ef_test_refused(a, forward(&p, seven, mean, rstd), EF_ESHAPE, "y and x disagree");
    ef_test_refused(a, forward(&p, y, mean, seven), EF_ESHAPE, "rstd has 7 values");
    ef_test_refused(a, ef_layernorm_forward(a, p.tx, gamma, p.tbeta, NULL, 0, y, NULL, NULL),
                    EF_EARG, "eps");
    ef_test_refused(a, ef_layernorm_forward(a, p.tx, gamma, p.tbeta, NULL, NAN, y, NULL, NULL),
                    EF_EARG, "eps");
    ef_test_refused(
        a, ef_layernorm_backward(a, p.tx, gamma, mean, rstd, p.tdy, NULL, NULL, y, seven, gamma),
        EF_ESHAPE, "layernorm.backward: dgamma has 7 values, expected 8");
    ef_test_refused(
        a, ef_layernorm_backward(a, p.tx, gamma, mean, rstd, p.tdy, NULL, NULL, y, gamma, NULL),
        EF_EARG, "only one of dgamma and dbeta");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("layernorm");
    TCase *t = ef_test_case(s, "layernorm");
    tcase_add_test(t, forward_is_the_formula);
    tcase_add_test(t, forward_is_the_formula_whatever_the_knobs);
    tcase_add_test(t, the_variance_survives_elements_far_off_the_mean);
    tcase_add_test(t, forward_may_overwrite_x_and_leave_out_the_moments);
    tcase_add_test(t, a_large_mean_does_not_cancel);
    tcase_add_test(t, masked_rows_are_never_looked_at);
    tcase_add_test(t, backward_is_the_gradient);
    tcase_add_test(t, backward_is_the_gradient_whatever_the_knobs);
    tcase_add_test(t, backward_agrees_with_finite_differences);
    tcase_add_test(t, the_same_input_gives_the_same_bits);
    tcase_add_test(t, forward_is_one_launch_and_backward_at_most_two);
    tcase_add_test(t, no_rows_leave_the_gradients_alone);
    tcase_add_test(t, wrong_arguments_are_refused_by_name);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
