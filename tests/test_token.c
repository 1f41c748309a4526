/* The choice of a token: the likeliest, ties, draws against their definition in double precision,
 * draws against their distribution, the state. */
#include "base/rng.h"
#include "ef_test.h"
#include "op/token.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    size_t N, V;
} shape;

static const shape shapes[] = {{2, 5},   {1, 1},     {3, 17},    {4, 257},
                               {1, 256}, {2, 30522}, {65, 1031}, {3, 2}};

enum { S = 3 }; /* columns of the history */

typedef struct choice {
    ef_tensor *ids, *state, *history;
} choice;

static choice new_choice(ef_actor *a, size_t N, uint64_t seed)
{
    int32_t *state = ef_test_ints(3 * N, seed, INT32_MIN, INT32_MAX);
    for (size_t n = 0; n < N; n++)
        state[3 * n + 2] = (int32_t)n; /* so many were chosen */
    return (choice){ef_test_i32(a, SHAPE(N), NULL), ef_test_i32(a, SHAPE(N, 3), state),
                    ef_test_i32(a, SHAPE(N, S), NULL)};
}

/* The likeliest; of equals the first. */
static int32_t largest(const float *x, size_t V)
{
    size_t best = 0;
    for (size_t v = 1; v < V; v++)
        if (x[v] > x[best] || (isnan(x[best]) && !isnan(x[v])))
            best = v;
    return (int32_t)best;
}

static bool run(ef_actor *a, shape s, const float *x, size_t k, float temperature, const choice *c)
{
    ef_tensor *logits = ef_test_f32(a, SHAPE(s.N, s.V), x);
    return ef_test_fits(a,
                        ef__token_choose(a, logits, k, temperature, c->ids, c->state, c->history));
}

static void check_largest(ef_actor *a, shape s, const float *x)
{
    for (size_t v = 0; ef_test_variant(a, EF__TOKEN_CHOOSE, v); v++) {
        const choice c = new_choice(a, s.N, 1);
        if (!run(a, s, x, 0, 0, &c) || !run(a, s, x, 1, 0.5f, &c))
            continue;
        const int32_t *ids = ef_test_read(c.ids), *state = ef_test_read(c.state),
                      *history = ef_test_read(c.history);
        for (size_t n = 0; n < s.N; n++) {
            ck_assert_int_eq(ids[n], largest(x + n * s.V, s.V));
            ck_assert_int_eq(state[3 * n + 2], (int32_t)n + 2);
            for (size_t i = 0; i < S; i++)
                ck_assert_int_eq(history[n * S + i],
                                 i == (n + 2) % S ? 0x5a5a5a5a : ids[n]); /* not written */
        }
    }
}

START_TEST(the_likeliest_is_taken)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(3, 5, sizeof shapes / sizeof *shapes); i++)
        check_largest(a, shapes[i], ef_test_randn(shapes[i].N * shapes[i].V, i));
    ef_test_close(a);
}
END_TEST

START_TEST(of_equals_the_first_is_taken_and_nan_never)
{
    ef_actor *a = ef_test_open();
    const shape s = {5, 700};
    float *x = ef_test_floats(s.N * s.V);
    for (size_t v = 0; v < s.V; v++) {
        x[v] = v % 3 ? -1.0f : 2.0f;
        x[s.V + v] = v ? 0.0f : -0.0f; /* equal */
        x[2 * s.V + v] = v == 600 ? -INFINITY : NAN;
        x[3 * s.V + v] = NAN;
        x[4 * s.V + v] = v == 300 || v == 699 ? INFINITY : 1e30f;
    }
    check_largest(a, s, x);
    ef_test_close(a);
}
END_TEST

/* ---- draws ---- */

/* logit / temperature + Gumbel noise, as cl/token.cl says. */
static double score(float logit, float temperature, const int32_t *state, uint32_t count, size_t id)
{
    const uint64_t key = (uint64_t)(uint32_t)state[1] << 32 | (uint32_t)state[0];
    ef__rng rng = {key + ((uint64_t)count << 32 | id) * 0x9E3779B97F4A7C15u};
    const double u = ((double)(ef__rng_next(&rng) >> 32) + 0.5) * 0x1p-32;
    return (double)logit / (double)temperature - log(-log1p(-u));
}

static int descending(const void *x, const void *y)
{
    const float a = *(const float *)x, b = *(const float *)y;
    return (a < b) - (a > b);
}

static float kth(const float *x, size_t V, size_t k)
{
    float *sorted = ef_test_floats(V);
    memcpy(sorted, x, V * sizeof *x);
    qsort(sorted, V, sizeof *sorted, descending);
    return sorted[(k && k < V ? k : V) - 1];
}

/* Each choice is among the k and has the best score but for rounding. */
static void check_draw(ef_actor *a, shape s, size_t k, float temperature)
{
    const float *x = ef_test_randn(s.N * s.V, s.V + k);
    for (size_t v = 0; ef_test_variant(a, EF__TOKEN_CHOOSE, v); v++) {
        const choice c = new_choice(a, s.N, 7);
        const int32_t *state = ef_test_read(c.state);
        if (!run(a, s, x, k, temperature, &c))
            continue;
        const int32_t *ids = ef_test_read(c.ids);
        for (size_t n = 0; n < s.N; n++) {
            const float *row = x + n * s.V, least = kth(row, s.V, k);
            double best = -INFINITY, got = -INFINITY;
            for (size_t i = 0; i < s.V; i++)
                if (row[i] >= least) {
                    const double z = score(row[i], temperature, state + 3 * n, (uint32_t)n, i);
                    best = z > best ? z : best;
                    got = (int32_t)i == ids[n] ? z : got;
                }
            ck_assert_msg(got >= best - 1e-4, "N%zu V%zu k%zu, row %zu: id %d has %g, best %g", s.N,
                          s.V, k, n, ids[n], got, best);
        }
    }
}

START_TEST(a_draw_is_the_best_of_the_k_likeliest_with_their_noise)
{
    static const size_t ks[] = {3, 0, 1, 40, 255};
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < ef_test_size(3, 5, sizeof shapes / sizeof *shapes); i++)
        for (size_t k = 0; k < ef_test_size(2, 5, 5); k++)
            check_draw(a, shapes[i], ks[k], k % 2 ? 1.0f : 0.4f);
    ef_test_close(a);
}
END_TEST

/* Negative numbers, equal ones, the k-th among many that share all digits but the last. */
START_TEST(what_equals_the_kth_may_be_drawn_and_nothing_below_it)
{
    ef_actor *a = ef_test_open();
    const shape s = {512, 9};
    float *x = ef_test_floats(s.N * s.V);
    static const float row[] = {-3, -2, -2.0000002f, -2, -1e-30f, -2, -1e30f, -2.0000005f, -5};
    bool seen[9] = {false};
    for (size_t n = 0; n < s.N; n++)
        memcpy(x + n * s.V, row, sizeof row);
    for (size_t v = 0; ef_test_variant(a, EF__TOKEN_CHOOSE, v); v++) {
        const choice c = new_choice(a, s.N, 3);
        if (!run(a, s, x, 2, 8, &c))
            continue;
        const int32_t *ids = ef_test_read(c.ids);
        for (size_t n = 0; n < s.N; n++)
            seen[ids[n]] = true;
    }
    for (size_t i = 0; i < 9; i++)
        ck_assert_msg(seen[i] == (row[i] >= -2), "%zu", i);
    ef_test_close(a);
}
END_TEST

/* Pearson's chi-square of count[V] against what softmax expects; V - 1 degrees of freedom. */
static double chi_square(const size_t *count, const float *x, size_t V, float temperature, double N)
{
    double sum = 0, chi = 0;
    for (size_t v = 0; v < V; v++)
        sum += exp((double)x[v] / (double)temperature);
    for (size_t v = 0; v < V; v++) {
        const double want = N * exp((double)x[v] / (double)temperature) / sum;
        chi += ((double)count[v] - want) * ((double)count[v] - want) / want;
    }
    return chi;
}

/* Rows differ by key; one row's draws by count. 11 degrees: above 31.3 one in a thousand times. */
START_TEST(draws_have_the_distribution_of_softmax)
{
    enum { ROWS = 4096, V = 12, AGAIN = 8 };
    ef_actor *a = ef_test_open();
    const float *row = ef_test_randn(V, 5);
    float *x = ef_test_floats(ROWS * V);
    size_t by_row[V] = {0}, by_count[V] = {0};
    for (size_t n = 0; n < ROWS; n++)
        memcpy(x + n * V, row, V * sizeof *row);
    const choice c = new_choice(a, ROWS, 11);
    for (size_t i = 0; i < AGAIN; i++) {
        ck_assert(run(a, (shape){ROWS, V}, x, 0, 0.7f, &c));
        const int32_t *ids = ef_test_read(c.ids);
        for (size_t n = 0; n < ROWS; n++)
            by_row[ids[n]]++;
    }
    const int32_t *state = ef_test_read(c.state);
    int32_t *same = ef_test_alloc(ROWS * sizeof(int32_t[3]));
    for (size_t n = 0; n < ROWS; n++) { /* one key, all counts */
        memcpy(same + 3 * n, state, sizeof(int32_t[2]));
        same[3 * n + 2] = (int32_t)n;
    }
    const choice one = {c.ids, ef_test_i32(a, SHAPE(ROWS, 3), same), c.history};
    ck_assert(run(a, (shape){ROWS, V}, x, 0, 0.7f, &one));
    const int32_t *ids = ef_test_read(one.ids);
    for (size_t n = 0; n < ROWS; n++)
        by_count[ids[n]]++;
    ck_assert_double_lt(chi_square(by_row, row, V, 0.7f, ROWS * AGAIN), 31.3);
    ck_assert_double_lt(chi_square(by_count, row, V, 0.7f, ROWS), 31.3);
    ef_test_close(a);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(2, 5), NULL);
    const choice c = new_choice(a, 2, 1), three = new_choice(a, 3, 1);
    ef_test_refused(a, ef__token_choose(a, x, 0, -1, c.ids, c.state, c.history), EF_EARG,
                    "token.choose: temperature is -1");
    ef_test_refused(a, ef__token_choose(a, x, 0, NAN, c.ids, c.state, c.history), EF_EARG,
                    "token.choose: temperature is");
    ef_test_refused(a, ef__token_choose(a, x, 0, 0, three.ids, c.state, c.history), EF_ESHAPE,
                    "token.choose: ids has 3 values, expected 2");
    ef_test_refused(a, ef__token_choose(a, x, 0, 0, c.ids, three.state, c.history), EF_ESHAPE,
                    "token.choose: state has 9 values, expected 6");
    ef_test_refused(a, ef__token_choose(a, x, 0, 0, c.ids, c.state, three.history), EF_ESHAPE,
                    "token.choose: history is [3,3], must be [2,1] or wider");
    ef_test_refused(
        a, ef__token_choose(a, ef_test_f32(a, SHAPE(2, 0), NULL), 0, 0, c.ids, c.state, c.history),
        EF_ESHAPE, "token.choose: 0 logits a row");
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("token");
    TCase *c = ef_test_case(s, "largest");
    tcase_add_test(c, the_likeliest_is_taken);
    tcase_add_test(c, of_equals_the_first_is_taken_and_nan_never);
    c = ef_test_case(s, "draws");
    tcase_add_test(c, a_draw_is_the_best_of_the_k_likeliest_with_their_noise);
    tcase_add_test(c, what_equals_the_kth_may_be_drawn_and_nothing_below_it);
    tcase_add_test(c, draws_have_the_distribution_of_softmax);
    c = ef_test_case(s, "refused");
    tcase_add_test(c, what_does_not_fit_is_refused);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
