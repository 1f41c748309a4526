/* Device time. OpenCL's clGetEventProfilingInfo that is defined here takes the place of the
 * loader's: while the clock is fixed, each command runs from 1000 to 5000 and a marker is done at
 * 100. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "ef_test.h"
#include "actor/internal.h"
#include "base/clock.h"
#include "energyflow_cl.h"
#include <clblast_c.h>
#include <dlfcn.h>

static bool fixed;

cl_int clGetEventProfilingInfo(cl_event event, cl_profiling_info what, size_t room, void *value,
                               size_t *size)
{
    __typeof__(&clGetEventProfilingInfo) real =
        (__typeof__(&clGetEventProfilingInfo))(uintptr_t)dlsym(RTLD_NEXT,
                                                               "clGetEventProfilingInfo");
    cl_int code = real(event, what, room, value, size);
    cl_command_type type = 0;
    clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof type, &type, NULL);
    if (fixed && !code)
        *(cl_ulong *)value = type == CL_COMMAND_MARKER            ? 100
                             : what == CL_PROFILING_COMMAND_START ? 1000
                                                                  : 5000;
    return code;
}

static ef_actor *open_profiling(void)
{
    ef_actor *a = NULL;
    ef_error e;
    ck_assert_msg(!ef__actor_open_profiling(NULL, &a, &e), "%s", e.text);
    return a;
}

static uint64_t time_of(ef_actor *a)
{
    uint64_t ns = UINT64_MAX;
    ef_test_ok(a, ef__profile_end(a, &ns));
    return ns;
}

START_TEST(every_command_between_begin_and_end_counts_once)
{
    ef_actor *a = open_profiling();
    ef_tensor *x = ef_test_f32(a, SHAPE(7), NULL), *y = ef_test_f32(a, SHAPE(7), NULL);
    fixed = true;
    ef_test_ok(a, ef_tensor_fill(x, 1)); /* before: not counted */
    ef_test_ok(a, ef__profile_begin(a));
    ck_assert_uint_eq(time_of(a), 0);
    ef_test_ok(a, ef__profile_begin(a));
    ef_test_ok(a, ef_tensor_fill(x, 1));
    ef_test_ok(a, ef_tensor_copy(y, x));
    ef_test_ok(a, ef_gelu_forward(a, x, y));
    ck_assert_uint_eq(time_of(a), 3 * 4000);
    ef_test_ok(a, ef_tensor_fill(x, 1));
    ef_test_ok(a, ef__profile_begin(a));
    ef_test_ok(a, ef_batch_begin(a));
    for (int i = 0; i < 3000; i++) /* more than are kept at a time */
        ef_test_ok(a, ef_tensor_fill(x, i));
    ef_test_ok(a, ef_batch_sync(a, "long"));
    ck_assert_uint_eq(time_of(a), 3000 * 4000);
    ef_test_close(a);
}
END_TEST

START_TEST(an_operation_of_several_launches_is_their_sum)
{
    ef_actor *a = open_profiling();
    ef_tensor *x = ef_test_f32(a, SHAPE(5, 8), ef_test_randn(40, 1));
    ef_tensor *w = ef_test_f32(a, SHAPE(3, 8), ef_test_randn(24, 2));
    ef_tensor *b = ef_test_f32(a, SHAPE(3), ef_test_randn(3, 3)),
              *y = ef_test_f32(a, SHAPE(5, 3), NULL);
    ef_epilogue e = {.bias = b};
    ef_test_ok(a, ef__op_force(a, EF__LINEAR_FORWARD, "clblast", NULL)); /* which fuses nothing */
    fixed = true;
    ef_test_ok(a, ef__profile_begin(a));
    ef_test_ok(a, ef_linear_forward(a, x, w, &e, y));
    ck_assert_uint_eq(time_of(a), 2 * 4000);
    ef_test_close(a);
}
END_TEST

/* A product that CLBlast makes copies for: its event is that of the last of several kernels. */
START_TEST(all_kernels_of_a_clblast_call_count)
{
    enum { N = 33 };
    static const char *name = "XGEMM_MIN_INDIRECT_SIZE";
    ef_actor *a = open_profiling();
    ef_tensor *x = ef_test_f32(a, SHAPE(N, N), ef_test_randn(N * N, 1));
    ef_tensor *y = ef_test_f32(a, SHAPE(N, N), NULL);
    ef_stats before, after;
    ck_assert_int_eq(CLBlastOverrideParameters(a->device, "GemmRoutine", CLBlastPrecisionSingle, 1,
                                               &name, &(size_t){1}),
                     CLBlastSuccess);
    ef_test_ok(a, ef__op_force(a, EF__LINEAR_FORWARD, "clblast", NULL));
    fixed = true;
    ef_test_ok(a, ef__profile_begin(a));
    ef_actor_stats(a, &before);
    ef_test_ok(a, ef_linear_forward(a, x, x, NULL, y));
    ef_actor_stats(a, &after);
    ck_assert_uint_gt(after.launches - before.launches, 1);
    ck_assert_uint_eq(time_of(a), 5000 - 100);
    ef_test_close(a);
}
END_TEST

START_TEST(device_time_is_no_more_than_the_wall_clocks)
{
    enum { N = 1 << 20 };
    ef_actor *a = open_profiling();
    ef_tensor *x = ef_test_f32(a, SHAPE(N), ef_test_randn(N, 1)),
              *y = ef_test_f32(a, SHAPE(N), NULL);
    ef_test_ok(a, ef_gelu_forward(a, x, y));
    ef_test_ok(a, ef_actor_finish(a));
    double began = ef__now();
    ef_test_ok(a, ef__profile_begin(a));
    for (int i = 0; i < 5; i++)
        ef_test_ok(a, ef_gelu_forward(a, x, y));
    uint64_t ns = time_of(a);
    double wall = ef__now() - began;
    ck_assert_uint_gt(ns, 5 * N / 1000); /* 1000 elements a nanosecond: no machine */
    ck_assert_msg((double)ns <= 1e9 * wall, "%g ns of %g", (double)ns, 1e9 * wall);
    ef_test_close(a);
}
END_TEST

START_TEST(a_queue_without_times_says_so)
{
    uint64_t ns = 7;
    ef_actor *a = ef_test_open();
    ck_assert_int_eq(ef__profile_begin(a), EF_ESTATE);
    ck_assert_ptr_nonnull(strstr(ef_actor_message(a), "keeps no times"));
    ck_assert_int_eq(ef__profile_end(a, &ns), EF_ESTATE);
    ck_assert_uint_eq(ns, 7);
    ef_test_close(a);
}
END_TEST

/* _i: does the caller's queue keep times? */
START_TEST(an_adopted_queue_is_timed_if_it_can_be)
{
    ef_actor *owner = ef_test_open(), *a = NULL;
    cl_int code;
    uint64_t ns = 0;
    cl_command_queue queue = clCreateCommandQueue(owner->context, owner->device,
                                                  _i ? CL_QUEUE_PROFILING_ENABLE : 0, &code);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(ef_actor_adopt(owner->context, queue, &a, NULL), EF_OK);
    clReleaseCommandQueue(queue);
    ck_assert_int_eq(ef__profile_begin(a), _i ? EF_OK : EF_ESTATE);
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){9}, "t", &t));
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ck_assert_int_eq(ef__profile_end(a, &ns), _i ? EF_OK : EF_ESTATE);
    ck_assert_int_eq(ns > 0, _i != 0);
    ef_tensor_free(t);
    ef_actor_close(a);
    ef_test_close(owner);
}
END_TEST

static void unfix(void)
{
    fixed = false;
}

static Suite *suite(void)
{
    Suite *s = suite_create("profile");
    TCase *t = ef_test_case(s, "times");
    tcase_add_checked_fixture(t, unfix, NULL);
    tcase_add_test(t, every_command_between_begin_and_end_counts_once);
    tcase_add_test(t, an_operation_of_several_launches_is_their_sum);
    tcase_add_test(t, all_kernels_of_a_clblast_call_count);
    tcase_add_test(t, device_time_is_no_more_than_the_wall_clocks);
    t = ef_test_case(s, "queues");
    tcase_add_test(t, a_queue_without_times_says_so);
    tcase_add_loop_test(t, an_adopted_queue_is_timed_if_it_can_be, 0, 2);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
