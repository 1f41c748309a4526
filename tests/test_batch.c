/* Batches and readbacks: what may be read when, what a failure does, who waits for whom. */
#include "ef_test.h"
#include "actor/cl.h"
#include "ref.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ef_readback *start(ef_actor *a, const ef_tensor *t, ef_readback_mode mode, const char *label)
{
    ef_readback *r = NULL;
    ef_test_ok(a, ef_readback_start(a, t, mode, label, &r));
    return r;
}

static float first_of(ef_actor *a, ef_readback *r)
{
    const void *data = NULL;
    ef_test_ok(a, ef_readback_value(r, &data, NULL));
    return *(const float *)data;
}

START_TEST(a_deferred_readback_is_ready_after_its_sync)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(5), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 3));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "three");
    ck_assert_int_eq(ef_readback_poll(r), EF_ETIMEOUT);
    ef_test_ok(a, ef_batch_sync(a, "batch"));
    const void *one = NULL, *two = NULL;
    size_t count = 0;
    ef_test_ok(a, ef_readback_value(r, &one, &count));
    ef_test_ok(a, ef_readback_value(r, &two, NULL));
    ck_assert_ptr_eq(one, two);
    ck_assert_uint_eq(count, 5);
    ck_assert_float_eq(*(const float *)one, 3);
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

static sigjmp_buf trapped;

static void on_abort(int number)
{
    siglongjmp(trapped, number);
}

/* Asks and comes back from the trap; said gets what it prints. */
static int value_or_trap(ef_readback *r, const void **data, char said[512])
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    ck_assert(file && dup2(fileno(file), STDERR_FILENO) == STDERR_FILENO);
    signal(SIGABRT, on_abort);
    int caught = sigsetjmp(trapped, 1);
    if (!caught)
        ef_readback_value(r, data, NULL);
    signal(SIGABRT, SIG_DFL);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    said[fread(said, 1, 511, file)] = '\0';
    fclose(file);
    return caught;
}

static void has_all(const char *text, const char *const *parts)
{
    for (; *parts; parts++)
        ck_assert_msg(strstr(text, *parts) != NULL, "\"%s\" does not contain \"%s\"", text, *parts);
}

START_TEST(asking_early_traps_and_says_what_was_asked_for)
{
    static const char *const parts[] = {"readback early", "tensor test", "written by residual_add",
                                        "after step 1",   "epoch 2",     NULL};
    ef_actor *a = ef_test_open();
    char said[512];
    ef_tensor *t = ef_test_f32(a, SHAPE(1), (float[]){2});
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_batch_sync(a, "step 1"));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_residual_add(a, t, t));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "early");
    const void *data = NULL;
    ck_assert_int_eq(value_or_trap(r, &data, said), SIGABRT);
    ck_assert_ptr_null(data);
    has_all(said, parts);
    ef_test_ok(a, ef_batch_sync(a, "step 2")); /* the lock was given back */
    ck_assert_float_eq(first_of(a, r), 4);
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

START_TEST(asking_early_is_an_error_when_wanted)
{
    static const char *const first[] = {"readback early", "written by tensor.fill",
                                        "(the first one, epoch 1)", NULL};
    static const char *const inner[] = {"(inner, epoch 1)", NULL};
    ef_actor *a = ef_test_open();
    ef_actor_set_guard(a, EF_GUARD_ERROR);
    ef_tensor *t = ef_test_f32(a, SHAPE(1), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 3));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "early");
    const void *data = NULL;
    ck_assert_int_eq(ef_readback_value(r, &data, NULL), EF_EEARLY);
    has_all(ef_actor_message(a), first);
    ef_test_ok(a, ef_batch_sync(a, "inner"));
    ck_assert_int_eq(ef_readback_value(r, &data, NULL), EF_EEARLY);
    has_all(ef_actor_message(a), inner);
    ck_assert_ptr_null(data);
    ck_assert_int_eq(ef_actor_error(a, NULL), EF_OK); /* returned, not sticky */
    ef_test_ok(a, ef_batch_sync(a, "batch"));
    ck_assert_float_eq(first_of(a, r), 3);
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

/* Tensors are freed at once, so that their memory is leased again while it is in use. _i: also
 * filled with NaN when it is freed. */
START_TEST(one_batch_holds_64_operations_with_one_label)
{
    if (_i)
        setenv("EF_DEBUG", "canary", 1);
    ef_actor *a = ef_test_open();
    ef_readback *r[64];
    size_t dims = 7;
    ef_test_ok(a, ef_batch_begin(a));
    for (int i = 0; i < 64; i++) {
        const float input[7] = {(float)i, 1, 2, 3, 4, 5, 6};
        ef_tensor *x = NULL, *y = NULL;
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, &dims, "same", &x));
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, &dims, "same", &y));
        ef_test_ok(a, ef_tensor_write(x, input));
        ef_test_ok(a, ef_tensor_fill(y, 100));
        ef_test_ok(a, ef_residual_add(a, x, y));
        r[i] = start(a, y, EF_DEFER_UNTIL_SYNC, "same");
        ef_tensor_free(x); /* legal: the queue is in order */
        ef_tensor_free(y);
    }
    ef_test_ok(a, ef_batch_sync(a, "64"));
    for (int i = 0; i < 64; i++) {
        ck_assert_float_eq(first_of(a, r[i]), (float)(100 + i));
        ef_readback_free(r[i]);
    }
    ef_test_close(a);
}
END_TEST

/* The first element, whatever the type. */
static double number_of(ef_dtype type, const void *data)
{
    switch (type) {
    case EF_I32:
        return *(const int32_t *)data;
    case EF_U8:
        return *(const uint8_t *)data;
    case EF_F16:
        return ref_float(*(const uint16_t *)data);
    default:
        return *(const float *)data;
    }
}

/* _i: of each type of element. */
START_TEST(immediate_readbacks_leave_the_batch_open)
{
    static const ef_dtype types[] = {EF_F32, EF_F16, EF_I32, EF_U8};
    const ef_dtype type = types[_i];
    ef_actor *a = ef_test_open();
    ef_actor_set_guard(a, EF_GUARD_ERROR);
    ef_tensor *t = NULL;
    const void *data;
    ef_test_ok(a, ef_tensor_new(a, type, 1, (size_t[]){3}, "t", &t));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 201));
    ef_readback *late = start(a, t, EF_DEFER_UNTIL_SYNC, "late");
    for (int i = 0; i < 200; i++) {
        ef_test_ok(a, ef_tensor_fill(t, i));
        ef_readback *r = start(a, t, EF_IMMEDIATE, "now");
        ef_test_ok(a, ef_readback_value(r, &data, NULL));
        ck_assert_double_eq(number_of(type, data), i);
        ef_readback_free(r);
        ck_assert_int_eq(ef_readback_value(late, &data, NULL), EF_EEARLY);
    }
    ef_test_ok(a, ef_batch_sync(a, "200"));
    ef_test_ok(a, ef_readback_value(late, &data, NULL));
    ck_assert_double_eq(number_of(type, data), 201);
    ef_readback_free(late);
    ef_tensor_free(t);
    ef_test_close(a);
}
END_TEST

START_TEST(a_synced_epoch_stays_readable_while_the_next_is_open)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(2), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ef_readback *one = start(a, t, EF_DEFER_UNTIL_SYNC, "one");
    ef_test_ok(a, ef_batch_sync(a, "N"));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 2));
    ef_readback *two = start(a, t, EF_DEFER_UNTIL_SYNC, "two");
    ck_assert_float_eq(first_of(a, one), 1);
    ck_assert_int_eq(ef_readback_poll(two), EF_ETIMEOUT);
    ef_test_ok(a, ef_batch_sync(a, "N+1"));
    ck_assert_float_eq(first_of(a, two), 2);
    ef_readback_free(one);
    ef_readback_free(two);
    ef_test_close(a);
}
END_TEST

START_TEST(batches_nest_and_wait_once)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(2), NULL);
    ef_test_ok(a, ef_actor_finish(a));
    ef_stats before, after;
    ef_actor_stats(a, &before);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 4));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "inner");
    ef_test_ok(a, ef_batch_sync(a, "inner"));
    ck_assert_int_eq(ef_readback_poll(r), EF_ETIMEOUT);
    ef_test_ok(a, ef_batch_sync(a, "outer"));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 1);
    ck_assert_uint_eq(after.epoch, before.epoch + 1);
    ck_assert_uint_eq(after.epoch_synced, before.epoch);
    ck_assert_float_eq(first_of(a, r), 4);
    ef_readback_free(r);
    ck_assert_int_eq(ef_batch_sync(a, "none"), EF_ESTATE);
    ck_assert_int_eq(ef_actor_error(a, NULL), EF_OK);
    ef_test_close(a);
}
END_TEST

START_TEST(an_empty_tensor_gives_a_ready_readback)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 2, (size_t[]){3, 0}, "empty", &t));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, NULL);
    const void *data;
    size_t count = 1;
    ef_test_ok(a, ef_readback_value(r, &data, &count));
    ck_assert_uint_eq(count, 0);
    ef_test_ok(a, ef_batch_sync(a, "empty"));
    ef_readback_free(r);
    ef_tensor_free(t);
    ef_test_close(a);
}
END_TEST

/* A launch that the driver refuses: a work-group larger than any. */
static ef_status refused_launch(ef_actor *a)
{
    ef_status status = ef__op_begin(a, "broken.op");
    if (!status)
        status = ef__launch(a, &(ef__call){.op = "broken.op",
                                           .source = "record",
                                           .kernel = "record_check",
                                           .global = {1 << 24},
                                           .local = {1 << 24},
                                           .args = {ef__t(ef__record(a)), ef__t(ef__record(a)),
                                                    ef__i(0), ef__i(1)}});
    return ef__op_end(a, status);
}

START_TEST(the_first_error_of_a_batch_is_sticky_and_spares_earlier_readbacks)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(2), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 5));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "before"), *none = NULL;
    ck_assert_int_eq(refused_launch(a), EF_EDEVICE);
    ck_assert_int_eq(ef_tensor_fill(t, 6), EF_EDEVICE);
    ck_assert_int_eq(ef_readback_start(a, t, EF_IMMEDIATE, "after", &none), EF_EDEVICE);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(ef_batch_sync(a, "failing"), EF_EDEVICE);
    ck_assert_float_eq(first_of(a, r), 5);
    ef_error e;
    ck_assert_int_eq(ef_actor_error(a, &e), EF_EDEVICE);
    ck_assert_ptr_nonnull(strstr(e.text, "broken.op"));
    ck_assert_ptr_nonnull(strstr(e.text, "clEnqueueNDRangeKernel"));
    ck_assert_int_eq(ef_batch_begin(a), EF_EDEVICE);
    ef_test_ok(a, ef_actor_reset(a));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_batch_sync(a, "again"));
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

/* Of five operations the third fails: the results of two are there, the others' readbacks say which
 * it was. */
START_TEST(a_command_that_fails_on_the_device_names_its_operation_and_later_readbacks_fail)
{
    enum { SICK = 2, OPERATIONS = 5 };
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(2), NULL);
    ef_readback *r[OPERATIONS];
    const void *data;
    cl_context context;
    cl_int code;
    clGetCommandQueueInfo(ef__queue(a), CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
    ef_test_ok(a, ef_batch_begin(a));
    for (int i = 0; i < OPERATIONS; i++) {
        if (i == SICK) {
            ef_test_ok(a, ef__op_begin(a, "sick.op"));
            cl_event event = clCreateUserEvent(context, &code); /* stands for one that failed */
            clSetUserEventStatus(event, CL_OUT_OF_RESOURCES);
            ef__keep_event(a, event, NULL, "sick.op");
            ef_test_ok(a, ef__op_end(a, EF_OK));
        } else {
            ef_test_ok(a, ef_tensor_fill(t, i));
        }
        r[i] = start(a, t, EF_DEFER_UNTIL_SYNC, "one of five");
    }
    ck_assert_int_eq(ef_batch_sync(a, "sick"), EF_EDEVICE);
    for (int i = 0; i < OPERATIONS; i++) {
        if (i < SICK) {
            ck_assert_float_eq(first_of(a, r[i]), (float)i);
        } else {
            ck_assert_int_eq(ef_readback_value(r[i], &data, NULL), EF_EDEVICE);
            ck_assert_ptr_nonnull(strstr(ef_actor_message(a), "sick.op"));
            ck_assert_ptr_nonnull(strstr(ef_actor_message(a), "CL_OUT_OF_RESOURCES"));
        }
        ef_readback_free(r[i]);
    }
    ef_test_ok(a, ef_actor_reset(a));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 6));
    ef_readback *again = start(a, t, EF_DEFER_UNTIL_SYNC, "again");
    ef_test_ok(a, ef_batch_sync(a, "after the reset"));
    ck_assert_float_eq(first_of(a, again), 6);
    ef_readback_free(again);
    ef_test_close(a);
}
END_TEST

START_TEST(reset_in_a_batch_cancels_its_readbacks)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(2), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "dropped");
    ef_test_ok(a, ef_actor_reset(a));
    const void *data;
    ck_assert_int_eq(ef_readback_value(r, &data, NULL), EF_ECANCELLED);
    ck_assert_int_eq(ef_batch_sync(a, "gone"), EF_ESTATE);
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

START_TEST(close_cancels_100_pending_readbacks)
{
    ef_error error;
    ef_actor *a = NULL;
    ck_assert_int_eq(ef_actor_open(NULL, &a, &error), EF_OK);
    size_t dims = 1000;
    ef_tensor *t = NULL, *none = NULL;
    ef_readback *r[100];
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, &dims, "outlives", &t));
    ef_test_ok(a, ef_batch_begin(a));
    for (int i = 0; i < 100; i++)
        r[i] = start(a, t, EF_DEFER_UNTIL_SYNC, "pending");
    ef_actor_close(a);
    for (int i = 0; i < 100; i++) {
        const void *data;
        ck_assert_int_eq(ef_readback_value(r[i], &data, NULL), EF_ECANCELLED);
        ck_assert_int_eq(ef_readback_wait(r[i], -1), EF_ECANCELLED);
        ef_readback_free(r[i]);
    }
    ck_assert_int_eq(ef_tensor_fill(t, 1), EF_ECANCELLED);
    ck_assert_int_eq(ef_tensor_view(t, 0, 1, &dims, NULL, &none), EF_ECANCELLED);
    ef_tensor_free(t);
}
END_TEST

/* ---- threads ---- */

static void *wait_for_it(void *readback)
{
    return (void *)(intptr_t)ef_readback_wait(readback, 10000);
}

START_TEST(four_threads_wait_for_the_one_that_syncs)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(2), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC, "shared");
    ck_assert_int_eq(ef_readback_wait(r, 20), EF_ETIMEOUT);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_for_it, ef_readback_retain(r)), 0);
    ef_test_ok(a, ef_batch_sync(a, "shared"));
    for (int i = 0; i < 4; i++) {
        void *status;
        pthread_join(threads[i], &status);
        ck_assert_int_eq((intptr_t)status, EF_OK);
        ef_readback_free(r);
    }
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

typedef struct work {
    ef_actor *a;
    int thread, rounds;
    ef_readback *result;
} work;

enum { MIX_WIDTH = 8, MIX_SIZE = 3 * 4 * MIX_WIDTH };

/* What a thread of mixed operations works on; x and y change places. */
typedef struct mix {
    ef_tensor *x, *y, *add, *weight, *gamma, *mask;
} mix;

static ef_status mix_new(ef_actor *a, int seed, mix *m)
{
    const size_t cube[] = {3, 4, MIX_WIDTH}, square[] = {MIX_WIDTH, MIX_WIDTH};
    const uint8_t keep[12] = {1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1};
    float number[MIX_SIZE];
    for (int i = 0; i < MIX_SIZE; i++)
        number[i] = sinf((float)(i * (seed + 1)));
    ef_status status = ef_tensor_new(a, EF_F32, 3, cube, "x", &m->x);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 3, cube, "y", &m->y);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 3, cube, "add", &m->add);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 2, square, "weight", &m->weight);
    if (!status)
        status = ef_tensor_new(a, EF_F32, 1, square, "gamma", &m->gamma);
    if (!status)
        status = ef_tensor_new(a, EF_U8, 2, cube, "mask", &m->mask);
    if (!status)
        status = ef_tensor_write(m->x, number);
    if (!status)
        status = ef_tensor_write(m->add, number);
    if (!status)
        status = ef_tensor_write(m->weight, number);
    if (!status)
        status = ef_tensor_fill(m->gamma, 1.5);
    return status ? status : ef_tensor_write(m->mask, keep);
}

static void mix_free(mix *m)
{
    ef_tensor *all[] = {m->x, m->y, m->add, m->weight, m->gamma, m->mask};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ef_tensor_free(all[i]);
}

static void mix_swap(mix *m)
{
    ef_tensor *y = m->y;
    m->y = m->x;
    m->x = y;
}

/* One of seven operations. */
static ef_status mix_step(ef_actor *a, mix *m, unsigned which)
{
    ef_readback *r = NULL;
    ef_status status;
    switch (which) {
    case 0:
        return ef_residual_add(a, m->add, m->x);
    case 1:
        return ef_gelu_forward(a, m->x, m->x);
    case 2:
        return ef_mask_rows(a, m->mask, m->x);
    case 3:
        mix_swap(m);
        return ef_linear_forward(a, m->y, m->weight, NULL, m->x);
    case 4:
        mix_swap(m);
        return ef_tensor_copy(m->x, m->y);
    case 5:
        status = ef_readback_start(a, m->x, EF_DEFER_UNTIL_SYNC, "never asked", &r);
        ef_readback_free(r);
        return status;
    default:
        return ef_layernorm_forward(a, m->x, m->gamma, m->gamma, NULL, 1e-5f, m->x, NULL, NULL);
    }
}

/* That many operations, drawn by the thread's number; the result is what x ends as. */
static void *run_mixed(void *user)
{
    work *w = user;
    mix m = {0};
    uint32_t seed = (uint32_t)w->thread + 1;
    ef_status status = mix_new(w->a, w->thread, &m);
    for (int i = 0; !status && i < w->rounds; i++) {
        seed = seed * 1664525u + 1013904223u;
        status = mix_step(w->a, &m, (seed >> 16) % 7);
    }
    if (!status)
        status = mix_step(w->a, &m, 6); /* whatever it was, numbers of a middle size */
    if (!status)
        status = ef_readback_start(w->a, m.x, EF_DEFER_UNTIL_SYNC, "x", &w->result);
    mix_free(&m);
    return (void *)(intptr_t)status;
}

START_TEST(eight_threads_in_one_batch_equal_the_serial_run)
{
    ef_actor *a = ef_test_open();
    int rounds = (int)ef_test_size(10, 1000, 1000);
    work w[8], alone[8];
    pthread_t threads[8];
    ef_test_ok(a, ef_batch_begin(a));
    for (int i = 0; i < 8; i++) {
        w[i] = (work){a, i, rounds, NULL};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_mixed, &w[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        void *status;
        pthread_join(threads[i], &status);
        ck_assert_int_eq((intptr_t)status, EF_OK);
    }
    ef_test_ok(a, ef_batch_sync(a, "eight threads"));
    for (int i = 0; i < 8; i++) {
        const void *got, *want;
        size_t count;
        alone[i] = (work){a, i, rounds, NULL};
        ck_assert_ptr_null(run_mixed(&alone[i]));
        ef_test_ok(a, ef_readback_value(alone[i].result, &want, &count));
        ef_test_ok(a, ef_readback_value(w[i].result, &got, NULL));
        ck_assert_uint_eq(count, MIX_SIZE);
        ck_assert(isfinite(*(const float *)want));
        ck_assert_mem_eq(got, want, MIX_SIZE * sizeof(float));
        ef_readback_free(alone[i].result);
        ef_readback_free(w[i].result);
    }
    ef_test_close(a);
}
END_TEST

static void *own_batches(void *user)
{
    work *w = user;
    for (int i = 0; i < w->rounds; i++) {
        size_t dims = 5;
        ef_tensor *x = NULL;
        ef_readback *r = NULL;
        const void *data = NULL;
        ef_status status = ef_batch_begin(w->a);
        if (!status)
            status = ef_tensor_new(w->a, EF_F32, 1, &dims, "x", &x);
        if (!status)
            status = ef_tensor_fill(x, i);
        if (!status)
            status = ef_readback_start(w->a, x, EF_DEFER_UNTIL_SYNC, "x", &r);
        ef_tensor_free(x);
        if (!status)
            status = ef_batch_sync(w->a, "own");
        if (!status)
            status = ef_readback_wait(r, 10000); /* another thread may have joined the batch */
        if (!status)
            status = ef_readback_value(r, &data, NULL);
        if (!status && *(const float *)data != (float)i)
            status = EF_EFORMAT;
        ef_readback_free(r);
        if (status)
            return (void *)(intptr_t)status;
    }
    return NULL;
}

START_TEST(threads_may_begin_and_sync_at_any_time)
{
    ef_actor *a = ef_test_open();
    work w = {a, 0, (int)ef_test_size(3, 100, 100), NULL};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, own_batches, &w), 0);
    for (int i = 0; i < 8; i++) {
        void *status;
        pthread_join(threads[i], &status);
        ck_assert_int_eq((intptr_t)status, EF_OK);
    }
    ef_stats s;
    ef_actor_stats(a, &s);
    ck_assert_uint_eq(s.epoch_synced + 1, s.epoch);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("batch");
    TCase *t = ef_test_case(s, "readbacks");
    tcase_add_test(t, a_deferred_readback_is_ready_after_its_sync);
    tcase_add_test(t, asking_early_traps_and_says_what_was_asked_for);
    tcase_add_test(t, asking_early_is_an_error_when_wanted);
    tcase_add_loop_test(t, one_batch_holds_64_operations_with_one_label, 0, 2);
    tcase_add_loop_test(t, immediate_readbacks_leave_the_batch_open, 0, 4);
    tcase_add_test(t, a_synced_epoch_stays_readable_while_the_next_is_open);
    tcase_add_test(t, batches_nest_and_wait_once);
    tcase_add_test(t, an_empty_tensor_gives_a_ready_readback);
    t = ef_test_case(s, "failures");
    tcase_add_test(t, the_first_error_of_a_batch_is_sticky_and_spares_earlier_readbacks);
    tcase_add_test(t,
                   a_command_that_fails_on_the_device_names_its_operation_and_later_readbacks_fail);
    tcase_add_test(t, reset_in_a_batch_cancels_its_readbacks);
    tcase_add_test(t, close_cancels_100_pending_readbacks);
    t = ef_test_case(s, "threads");
    tcase_add_test(t, four_threads_wait_for_the_one_that_syncs);
    tcase_add_test(t, eight_threads_in_one_batch_equal_the_serial_run);
    tcase_add_test(t, threads_may_begin_and_sync_at_any_time);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
