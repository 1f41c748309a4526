/* Does eftune's verification find what is wrong, and nothing else? */
#include "ef_test.h"
#include "../tune/products.h"
#include "../tune/timing.h"
#include "../tune/verify.h"
#include "ref.h"
#include <math.h>
#include <string.h>

/* Bundles of four rows at dilation 2 and some that are cut off; many more elements than double
 * precision has a sample of. */
static const char *const convolutions[] = {"conv1d.forward B3 L45 D64 H48 K5 d2",
                                           "conv1d.dx B3 L45 D48 H64 K5 d2",
                                           "conv1d.dw B3 L128 D48 H40 K5 d2"};

static tune_cases *make_cases(ef_actor *a, const char *text)
{
    tune_cases *c = ef_test_alloc(sizeof *c);
    tune_target target;
    ef_error error;
    ck_assert(tune_target_parse(text, &target));
    ck_assert_msg(!tune_cases_make(c, a, &target, &error), "%s", error.text);
    return c;
}

/* Does the variant run the target? */
static bool runs(ef_actor *a, const tune_cases *c, ef__choice *choice, const char *variant)
{
    bench_job j;
    *choice = ef__op_untuned(ef__device_of(a), c->targets[0].id, variant);
    ef_test_ok(a, bench_job_open(&j, &c->cases[0], a));
    memcpy(j.args.knob, choice->knob, sizeof j.args.knob);
    bool fits = ef__variant_runs(choice->variant, ef__device_of(a), &j.args);
    bench_job_close(&j);
    return fits;
}

static double worst(ef_actor *a, const tune_cases *c, const ef__choice *choice, char text[256])
{
    double worst;
    ef_test_ok(a, tune_verify(a, c, choice, &worst, text, 256));
    return worst;
}

START_TEST(each_variant_is_right)
{
    char text[256];
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
        tune_cases *c = make_cases(a, convolutions[i]);
        const ef__variant *v = ef__op_row(c->targets[0].id)->variants;
        for (; v->name; v++) {
            ef__choice choice;
            if (runs(a, c, &choice, v->name))
                ck_assert_msg(worst(a, c, &choice, text) <= 1, "%s: %s", v->name, text);
        }
        tune_cases_free(c);
    }
    ef_test_close(a);
}
END_TEST

/* All sums of absolute values are known, as they are for another sample. */
START_TEST(magnitudes_are_those_of_the_sums)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
        tune_cases *c = make_cases(a, convolutions[i]);
        const bench_case *target = &c->cases[0];
        const size_t *n = target->in.args.n, count = target->in.t[2].count;
        const ref_conv s = {n[0], n[1], n[2], n[3], n[4], n[5]};
        const float *t[] = {target->in.t[0].data, target->in.t[1].data};
        double *want = ef_test_doubles(count), *mag = ef_test_doubles(count);
        (i == 0   ? ref_conv1d_forward
         : i == 1 ? ref_conv1d_dx
                  : ref_conv1d_dw)(&s, t[0], t[1], want, mag);
        for (size_t e = 0; e < count; e++) {
            ck_assert_double_le(fabs(target->mag[2][e] - mag[e]), 1e-5 * mag[e]);
            if (!isnan(target->want[2][e]))
                ck_assert_double_le(fabs(target->want[2][e] - want[e]), 1e-12 * mag[e]);
        }
        tune_cases_free(c);
    }
    ef_test_close(a);
}
END_TEST

/* As if the kernel had put a little too much into element e. */
static bool is_found(ef_actor *a, tune_cases *c, const ef__choice *choice, size_t e, double much)
{
    char text[256], element[32];
    double *want = &c->cases[0].want[2][e], before = *want;
    float *plain = &c->plain[2][e], plain_before = *plain;
    *want -= much;
    *plain -= (float)much;
    snprintf(element, sizeof element, "element %zu of", e);
    const bool found = worst(a, c, choice, text) > 1;
    ck_assert_msg(!found || strstr(text, element), "not %zu: %s", e, text);
    *want = before;
    *plain = plain_before;
    return found;
}

/* What a loose variant may be off follows the sums that it makes together with an element, not the
 * largest of all: an error of these in a sequence, or a channel, of small numbers is found. */
START_TEST(a_loose_variant_is_held_to_its_own_bundle)
{
    ef_actor *a = ef_test_open();
    for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
        tune_cases *c = make_cases(a, convolutions[i]);
        const bench_case *target = &c->cases[0];
        const size_t count = target->in.t[2].count;
        ef__choice choice;
        double most = 0;
        if (!runs(a, c, &choice, "toom4")) {
            tune_cases_free(c);
            continue;
        }
        for (size_t e = 0; e < count; e++)
            most = fmax(most, target->mag[2][e]);
        /* the last sequence; of the gradient an element of input channel 1 */
        const size_t small[] = {i < 2 ? count - 1 : 5, i < 2 ? count - 48 : 9};
        for (size_t k = 0; k < 2; k++) {
            const size_t e = small[k];
            const double bound = ldexp(64 * target->mag[2][e], -24);
            ck_assert_double_lt(8 * bound, ldexp(64 * most, -24));
            /* the last row of dx is made with one that sums three times as much */
            ck_assert(!is_found(a, c, &choice, e, (i == 1 && k ? 2 : 0.2) * bound));
            ck_assert_msg(is_found(a, c, &choice, e, 8 * bound), "%s: %zu", convolutions[i], e);
        }
        tune_cases_free(c);
    }
    ef_test_close(a);
}
END_TEST

/* ---- timing ---- */

START_TEST(sets_of_tensors_are_used_by_turns)
{
    ef_actor *a = ef_test_open();
    tune_cases *c = make_cases(a, "masked_mean.forward B2 L16 D32");
    const ef__choice choice = ef__op_untuned(ef__device_of(a), EF__MASKED_MEAN_FORWARD, "column");
    tune_timing t;
    size_t calls = 0;
    double ms;
    ef_test_ok(a, tune_timing_open(&t, a, &c->cases[0]));
    ck_assert_uint_gt(t.count, 1); /* so small, they all stay in caches */
    for (size_t i = 1; i < t.count; i++)
        ck_assert_ptr_ne(t.sets[i].t[0], t.sets[0].t[0]);
    ef_test_ok(a, tune_timing_measure(&t, &choice, &calls, NULL, NULL, &ms));
    ck_assert_double_ge(ms * (double)calls, 5);
    ck_assert_uint_ge(t.next, t.count + calls);
    tune_timing_close(&t);
    tune_cases_free(c);
    ef_test_close(a);
}
END_TEST

/* ---- CLBlast's products ---- */

/* Whatever has CLBlast build programs counts, once for each set: at last there is no room. */
START_TEST(programs_that_are_verified_are_counted)
{
    char text[256];
    double worst, ms, each;
    tune_products p;
    ef_error error;
    ef_actor *a = ef_test_open();
    json_t *list = json_pack("[{s:s, s:f}]", "target", "linear.forward B4 D8 E8", "weight", 1.0);
    json_t *own = json_null(), *others = json_object();
    ef_test_ok(a, tune_products_open(&p, a, list, &error));
    if (tune_products_fit(&p)) {
        while (p.built_count < TUNE_SETS_KEPT)
            p.built[p.built_count++] = json_incref(others);
        ef_test_ok(a, tune_products_verify(&p, own, &worst, text, sizeof text));
        ck_assert_uint_eq(p.built_count, 1);
        ef_test_ok(a, tune_products_time(&p, own, &ms, &each));
        ck_assert_uint_eq(p.built_count, 1);
        ck_assert(json_is_null(p.built[0]) && ms > 0 && each == ms);
    }
    tune_products_close(&p);
    json_decref(list);
    json_decref(others);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tune_verify");
    TCase *t = ef_test_case(s, "verify");
    tcase_add_test(t, each_variant_is_right);
    tcase_add_test(t, magnitudes_are_those_of_the_sums);
    tcase_add_test(t, a_loose_variant_is_held_to_its_own_bundle);
    t = ef_test_case(s, "timing");
    tcase_add_test(t, sets_of_tensors_are_used_by_turns);
    tcase_add_test(t, programs_that_are_verified_are_counted);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
