/* ef_test.h -- the test kit: one program per module, every test in its own process.
 *
 * The runner never touches OpenCL, because PoCL does not survive a fork; each test forks (check's
 * default) and opens its own actor. What the kit hands out, arrays and tensors, belongs to it and
 * lives until ef_test_close. Every tensor lies between guard bands that ef_test_read checks. */
#ifndef EF_TEST_H
#define EF_TEST_H

#include "op/op.h"
#include <check.h>

/* A sanitizer keeps what was freed, and needs terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EF_TEST_SANITIZED 1
#else
#define EF_TEST_SANITIZED 0
#endif

/* ---- running ---- */

/* main() of a test program. needs_device: without one the program says so and exits 77. */
int ef_test_main(Suite *(*suite)(void), bool needs_device);

/* A test case of suite with the kit's time limit; add tests to it with tcase_add_test. */
TCase *ef_test_case(Suite *suite, const char *name);

/* One of three by EF_TEST_SIZE=tiny|small|full (unset: full): how many rows of a shape table, most
 * useful first, or how many repetitions. */
size_t ef_test_size(size_t tiny, size_t small, size_t full);

/* Open the device that the environment names; close it, failing on a sticky error, and free all
 * that the kit handed out. */
ef_actor *ef_test_open(void);
void ef_test_close(ef_actor *a);

/* ---- status ---- */

#define ef_test_ok(a, call) ef_test_status((a), (call), #call, __FILE__, __LINE__)
void ef_test_status(ef_actor *a, ef_status status, const char *what, const char *file, int line);

/* The call failed with status and its message contains text; it is sticky until the reset that this
 * does. */
void ef_test_refused(ef_actor *a, ef_status got, ef_status want, const char *text);

/* ---- arrays: zeroed, or filled from a seed; the same seed gives the same numbers ---- */

void *ef_test_alloc(size_t bytes);
float *ef_test_floats(size_t n);
double *ef_test_doubles(size_t n);
float *ef_test_randn(size_t n, uint64_t seed);               /* N(0,1) */
uint8_t *ef_test_mask(size_t n, uint64_t seed, double keep); /* 1 with probability keep */
int32_t *ef_test_ints(size_t n, uint64_t seed, int32_t low, int32_t high); /* low <= i < high */
double *ef_test_widen(size_t n, const float *x);

/* ---- tensors ---- */

typedef struct ef_test_shape {
    size_t rank, dims[EF_MAX_RANK];
} ef_test_shape;

#define SHAPE(...)                                                                                 \
    ((ef_test_shape){sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), {__VA_ARGS__}})

/* data NULL: NaN in floats, 0x5a in every byte of the others. */
ef_tensor *ef_test_f32(ef_actor *a, ef_test_shape shape, const float *data);
ef_tensor *ef_test_f16(ef_actor *a, ef_test_shape shape, const uint16_t *data);
ef_tensor *ef_test_i32(ef_actor *a, ef_test_shape shape, const int32_t *data);
ef_tensor *ef_test_u8(ef_actor *a, ef_test_shape shape, const uint8_t *data);

/* New data into an f32 tensor; NULL: NaN. */
void ef_test_set(ef_tensor *t, const float *data);

/* The tensor's elements, a new array each time; fails if a guard band was written. */
void *ef_test_read(const ef_tensor *t);

/* ---- comparing; each prints the worst element when it fails ---- */

/* |got - want| <= absolute + relative |want|; a NaN only where NaN is wanted, an Inf likewise. */
void ef_test_near(const char *what, const ef_tensor *got, const double *want, double absolute,
                  double relative);
/* |got - want| <= c 2^-24 mag + 1e-30 for each element */
void ef_test_within(const char *what, const ef_tensor *got, const double *want, const double *mag,
                    double c);
/* ||got - want|| <= bound ||want|| */
void ef_test_norm(const char *what, const ef_tensor *got, const double *want, double bound);
void ef_test_same_bits(const char *what, const ef_tensor *got, const void *want);

/* run(user) overwrites out; three runs give the same bits. */
void ef_test_repeats(const char *what, void (*run)(void *user), void *user, const ef_tensor *out);

/* ---- variants ---- */

/* for (size_t v = 0; ef_test_variant(a, EF__CONV1D_FORWARD, v); v++): forces the op's v-th variant;
 * past the last it returns false and gives the choice back to the library. */
bool ef_test_variant(ef_actor *a, ef__op_id id, size_t v);
/* The same over all variants that have knobs: first with the first value of each, then with one
 * after another at each of its values, the others untuned. A call that the values are not valid for
 * does not fit. */
bool ef_test_knobs(ef_actor *a, ef__op_id id, size_t k);
/* Did the call run? false, after a reset, if it was refused because the forced variant does not fit
 * its arguments; any other failure fails the test. */
bool ef_test_fits(ef_actor *a, ef_status status);

/* ---- finite differences ---- */

/* The slope of loss(user) in each of at most samples evenly chosen elements of p[n], by central
 * differences with step h, agrees with gradient to absolute + relative |gradient|. loss reads p. */
void ef_test_slopes(const char *what, double (*loss)(void *user), void *user, float *p, size_t n,
                    const float *gradient, size_t samples, double h, double absolute,
                    double relative);

#endif
