/* ef_test.c -- the test kit of ef_test.h.
 *
 * Arrays and tensors stay on two lists until ef_test_close; a tensor is a view between two guard
 * bands of GUARD elements in a parent of its own. */
#include "ef_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GUARD = 64 }; /* elements: 64 bytes at least, the alignment of a view */

typedef struct array {
    struct array *next;
    _Alignas(64) char data[];
} array;

typedef struct tensor {
    struct tensor *next;
    ef_tensor *parent, *view;
    uint32_t mark; /* its NaN's own bits */
} tensor;

static array *arrays;
static tensor *tensors;

/* ---- running ---- */

/* Asks in a child, so that the runner stays clean. 0: there is a device, else the exit status. */
static int probe(void)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        ef_error error = {0};
        if (ef_device_count() == 0) {
            puts("SKIP: no OpenCL device");
            fflush(stdout);
            _exit(77);
        }
        ef_actor *a = NULL;
        if (ef_actor_open(NULL, &a, &error))
            fprintf(stderr, "cannot open the device: %s\n", error.text);
        ef_actor_close(a);
        _exit(error.status ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return EXIT_FAILURE;
    return WEXITSTATUS(status);
}

int ef_test_main(Suite *(*suite)(void), bool needs_device)
{
    int status = needs_device ? probe() : 0;
    if (status)
        return status;
    setenv("CK_DEFAULT_TIMEOUT", "60", 0);
    SRunner *runner = srunner_create(suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

TCase *ef_test_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    suite_add_tcase(suite, tcase);
    return tcase;
}

size_t ef_test_size(size_t tiny, size_t small, size_t full)
{
    const char *size = getenv("EF_TEST_SIZE");
    if (!size || !*size || !strcmp(size, "full"))
        return full;
    ck_assert_msg(!strcmp(size, "small") || !strcmp(size, "tiny"), "EF_TEST_SIZE=%s", size);
    return size[0] == 's' ? small : tiny;
}

ef_actor *ef_test_open(void)
{
    ef_error error;
    ef_actor *a = NULL;
    if (ef_actor_open(NULL, &a, &error))
        ck_abort_msg("ef_actor_open: %s", error.text);
    return a;
}

void ef_test_close(ef_actor *a)
{
    ef_test_ok(a, ef_actor_finish(a));
    ef_test_ok(a, ef_actor_error(a, NULL));
    while (tensors) {
        tensor *t = tensors;
        tensors = t->next;
        ef_tensor_free(t->view);
        ef_tensor_free(t->parent);
        free(t);
    }
    while (arrays) {
        array *r = arrays;
        arrays = r->next;
        free(r);
    }
    ef_actor_close(a);
}

/* ---- status ---- */

void ef_test_status(ef_actor *a, ef_status status, const char *what, const char *file, int line)
{
    if (status)
        ck_abort_msg("%s:%d: %s: %s: %s", file, line, what, ef_strerror(status),
                     ef_actor_message(a));
}

void ef_test_refused(ef_actor *a, ef_status got, ef_status want, const char *text)
{
    const char *message = ef_actor_message(a);
    ck_assert_msg(got == want, "got \"%s\" (%s), want \"%s\"", ef_strerror(got), message,
                  ef_strerror(want));
    ck_assert_msg(strstr(message, text) != NULL, "\"%s\" does not contain \"%s\"", message, text);
    ck_assert_int_eq(ef_actor_error(a, NULL), want);
    ef_test_ok(a, ef_actor_reset(a));
    ck_assert_int_eq(ef_actor_error(a, NULL), EF_OK);
}

/* ---- arrays ---- */

void *ef_test_alloc(size_t bytes)
{
    size_t all = (sizeof(array) + bytes + 63) / 64 * 64;
    array *r = aligned_alloc(64, all);
    ck_assert_ptr_nonnull(r);
    memset(r, 0, all);
    r->next = arrays;
    arrays = r;
    return r->data;
}

float *ef_test_floats(size_t n)
{
    return ef_test_alloc(n * sizeof(float));
}

double *ef_test_doubles(size_t n)
{
    return ef_test_alloc(n * sizeof(double));
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(uint64_t *state) /* in (0,1) */
{
    return ((double)(splitmix(state) >> 12) + 0.5) * 0x1p-52;
}

float *ef_test_randn(size_t n, uint64_t seed)
{
    float *x = ef_test_floats(n);
    for (size_t i = 0; i < n; i++) {
        double radius = sqrt(-2 * log(uniform(&seed)));
        x[i] = (float)(radius * cos(6.283185307179586 * uniform(&seed)));
    }
    return x;
}

uint8_t *ef_test_mask(size_t n, uint64_t seed, double keep)
{
    uint8_t *mask = ef_test_alloc(n);
    for (size_t i = 0; i < n; i++)
        mask[i] = uniform(&seed) < keep;
    return mask;
}

int32_t *ef_test_ints(size_t n, uint64_t seed, int32_t low, int32_t high)
{
    int32_t *x = ef_test_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = low + (int32_t)(uniform(&seed) * ((double)high - low));
    return x;
}

double *ef_test_widen(size_t n, const float *x)
{
    double *wide = ef_test_doubles(n);
    for (size_t i = 0; i < n; i++)
        wide[i] = x[i];
    return wide;
}

/* ---- tensors ---- */

static size_t element_bytes(ef_dtype dtype)
{
    return dtype == EF_U8 ? 1 : dtype == EF_F16 ? 2 : 4;
}

/* A NaN that no arithmetic makes, or bytes that are no mask's, id's or sum's. Each tensor has a NaN
 * of its own, since one that is read past the end of one tensor may be written past another's. */
static void fill_pattern(ef_dtype dtype, uint32_t mark, size_t n, void *data)
{
    const uint32_t nan32 = 0x7fc5a000 + mark % 4096;
    const uint16_t nan16 = (uint16_t)(0x7e01 + mark % 511);
    for (size_t i = 0; i < n; i++)
        if (dtype == EF_F32)
            memcpy((char *)data + i * 4, &nan32, 4);
        else if (dtype == EF_F16)
            memcpy((char *)data + i * 2, &nan16, 2);
        else
            memset((char *)data + i * element_bytes(dtype), 0x5a, element_bytes(dtype));
}

static ef_tensor *new_tensor(ef_actor *a, ef_dtype dtype, ef_test_shape shape, const void *data)
{
    size_t n = 1, size = element_bytes(dtype);
    for (size_t i = 0; i < shape.rank; i++)
        n *= shape.dims[i];
    size_t all = n + 2 * GUARD;
    tensor *t = malloc(sizeof *t);
    char *image = malloc(all * size);
    ck_assert(t && image);
    t->mark = tensors ? tensors->mark + 1 : 1;
    fill_pattern(dtype, t->mark, all, image);
    if (data && n)
        memcpy(image + GUARD * size, data, n * size);
    ef_test_ok(a, ef_tensor_new(a, dtype, 1, &all, "test", &t->parent));
    ef_test_ok(a, ef_tensor_write(t->parent, image));
    ef_test_ok(a, ef_tensor_view(t->parent, GUARD, shape.rank, shape.dims, "test", &t->view));
    free(image);
    t->next = tensors;
    tensors = t;
    return t->view;
}

ef_tensor *ef_test_f32(ef_actor *a, ef_test_shape shape, const float *data)
{
    return new_tensor(a, EF_F32, shape, data);
}

ef_tensor *ef_test_f16(ef_actor *a, ef_test_shape shape, const uint16_t *data)
{
    return new_tensor(a, EF_F16, shape, data);
}

ef_tensor *ef_test_i32(ef_actor *a, ef_test_shape shape, const int32_t *data)
{
    return new_tensor(a, EF_I32, shape, data);
}

ef_tensor *ef_test_u8(ef_actor *a, ef_test_shape shape, const uint8_t *data)
{
    return new_tensor(a, EF_U8, shape, data);
}

void ef_test_set(ef_tensor *t, const float *data)
{
    size_t n = ef_tensor_count(t);
    float *image = ef_test_floats(n);
    if (data)
        memcpy(image, data, n * sizeof *image);
    else
        fill_pattern(EF_F32, 0, n, image);
    ef_test_ok(ef__tensor_actor(t), ef_tensor_write(t, image));
}

/* All of t as the kit's array. */
static char *download(const ef_tensor *t)
{
    ef_actor *a = ef__tensor_actor(t);
    ef_readback *rb = NULL;
    const void *value = NULL;
    size_t count = 0;
    char *copy = ef_test_alloc(ef_tensor_bytes(t));
    ef_test_ok(a, ef_readback_start(a, t, EF_IMMEDIATE, "test", &rb));
    ef_test_ok(a, ef_readback_value(rb, &value, &count));
    ck_assert_uint_eq(count, ef_tensor_count(t));
    if (count)
        memcpy(copy, value, ef_tensor_bytes(t));
    ef_readback_free(rb);
    return copy;
}

void *ef_test_read(const ef_tensor *t)
{
    char band[GUARD * 4];
    size_t size = element_bytes(ef_tensor_dtype(t)), width = GUARD * size;
    const tensor *own = tensors;
    while (own && own->view != t)
        own = own->next;
    if (!own)
        return download(t);
    char *all = download(own->parent);
    fill_pattern(ef_tensor_dtype(t), own->mark, GUARD, band);
    ck_assert_msg(!memcmp(all, band, width), "something was written before the tensor");
    ck_assert_msg(!memcmp(all + width + ef_tensor_bytes(t), band, width),
                  "something was written past the tensor");
    return all + width;
}

/* ---- comparing ---- */

/* How far an element is off, as a multiple of what is allowed; past 1 is wrong. */
static double excess(double got, double want, double allowed)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (got == want)
        return 0;
    return isfinite(got) && isfinite(want) && allowed > 0 ? fabs(got - want) / allowed : INFINITY;
}

typedef double allowance(size_t i, double want, const void *how);

static void compare(const char *what, const ef_tensor *t, const double *want, allowance *allowed,
                    const void *how)
{
    const float *got = ef_test_read(t);
    size_t n = ef_tensor_count(t), wrong = 0, worst = 0;
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double e = excess(got[i], want[i], allowed(i, want[i], how));
        wrong += e > 1;
        if (e > most) {
            most = e;
            worst = i;
        }
    }
    if (wrong)
        ck_abort_msg("%s: %zu of %zu elements wrong; the worst is [%zu]: got %.9g, want %.9g, off "
                     "by %.3g, allowed %.3g",
                     what, wrong, n, worst, got[worst], want[worst], fabs(got[worst] - want[worst]),
                     allowed(worst, want[worst], how));
}

static double allow_near(size_t i, double want, const void *how)
{
    const double *bound = how;
    (void)i;
    return bound[0] + bound[1] * fabs(want);
}

void ef_test_near(const char *what, const ef_tensor *got, const double *want, double absolute,
                  double relative)
{
    compare(what, got, want, allow_near, (const double[]){absolute, relative});
}

typedef struct magnitude {
    const double *mag;
    double c;
} magnitude;

static double allow_within(size_t i, double want, const void *how)
{
    const magnitude *m = how;
    (void)want;
    return m->c * 0x1p-24 * m->mag[i] + 1e-30;
}

void ef_test_within(const char *what, const ef_tensor *got, const double *want, const double *mag,
                    double c)
{
    compare(what, got, want, allow_within, &(magnitude){mag, c});
}

void ef_test_norm(const char *what, const ef_tensor *t, const double *want, double bound)
{
    const float *got = ef_test_read(t);
    double off = 0, all = 0;
    for (size_t i = 0; i < ef_tensor_count(t); i++) {
        off += (got[i] - want[i]) * (got[i] - want[i]);
        all += want[i] * want[i];
    }
    ck_assert_msg(sqrt(off) <= bound * sqrt(all),
                  "%s: ||got - want|| / ||want|| is %.3g, allowed %.3g", what, sqrt(off / all),
                  bound);
}

void ef_test_same_bits(const char *what, const ef_tensor *t, const void *want)
{
    const char *got = ef_test_read(t), *expected = want;
    size_t size = element_bytes(ef_tensor_dtype(t));
    for (size_t i = 0; i < ef_tensor_bytes(t); i++)
        if (got[i] != expected[i]) /* an assertion for each byte would take seconds */
            ck_abort_msg("%s: the bits of element %zu differ", what, i / size);
}

void ef_test_repeats(const char *what, void (*run)(void *user), void *user, const ef_tensor *out)
{
    run(user);
    void *first = ef_test_read(out);
    for (int i = 0; i < 2; i++) {
        run(user);
        ef_test_same_bits(what, out, first);
    }
}

/* ---- variants ---- */

bool ef_test_variant(ef_actor *a, ef__op_id id, size_t v)
{
    const ef__op *op = ef__op_row(id);
    const char *name = v < EF__MAX_VARIANTS ? op->variants[v].name : NULL;
    ef_test_ok(a, ef__op_force(a, id, name, NULL));
    return name != NULL;
}

/* Changes untuned knobs into the k-th choice of a variant, or returns how many there are. */
static size_t nth_knobs(const ef__variant *v, size_t k, int *knob)
{
    const size_t knobs = ef__knobs(v);
    size_t count = knobs > 0;
    for (size_t i = 0; k == 0 && i < knobs; i++)
        knob[i] = v->knobs[i].values[0];
    for (size_t i = 0; i < knobs; count += ef__knob_values(&v->knobs[i++]))
        if (k >= count && k < count + ef__knob_values(&v->knobs[i]))
            knob[i] = v->knobs[i].values[k - count];
    return count;
}

bool ef_test_knobs(ef_actor *a, ef__op_id id, size_t k)
{
    const ef__variant *v = ef__op_row(id)->variants;
    for (; v < ef__op_row(id)->variants + EF__MAX_VARIANTS && v->name; v++) {
        ef__choice c = ef__op_untuned(ef__device_of(a), id, v->name);
        const size_t count = nth_knobs(v, k, c.knob);
        if (k < count) {
            ef_test_ok(a, ef__op_force(a, id, v->name, c.knob));
            return true;
        }
        k -= count;
    }
    ef_test_ok(a, ef__op_force(a, id, NULL, NULL));
    return false;
}

bool ef_test_fits(ef_actor *a, ef_status status)
{
    if (status == EF_EARG && strstr(ef_actor_message(a), "does not fit")) {
        ef_test_ok(a, ef_actor_reset(a));
        return false;
    }
    ef_test_ok(a, status);
    return true;
}

/* ---- finite differences ---- */

static double slope(double (*loss)(void *user), void *user, float *p, double h)
{
    float kept = *p, up = (float)(kept + h), down = (float)(kept - h);
    *p = up;
    double rise = loss(user);
    *p = down;
    rise -= loss(user);
    *p = kept;
    return rise / ((double)up - down);
}

void ef_test_slopes(const char *what, double (*loss)(void *user), void *user, float *p, size_t n,
                    const float *gradient, size_t samples, double h, double absolute,
                    double relative)
{
    size_t count = samples < n ? samples : n;
    for (size_t k = 0; k < count; k++) {
        size_t i = k * n / count;
        double want = slope(loss, user, p + i, h);
        ck_assert_msg(excess(gradient[i], want, absolute + relative * fabs(want)) <= 1,
                      "%s: gradient[%zu] is %.9g, the slope is %.9g", what, i, gradient[i], want);
    }
}
