/* The actor over a driver that fails, stalls or is watched. OpenCL's functions that are defined
 * here take the place of the loader's in this program; unarmed they pass everything on. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "ef_test.h"
#include "actor/internal.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SHAPES = 64, FILLS = 16 };

static struct driver {
    cl_int finish_code; /* what clFinish answers */
    bool finish_stalls; /* it waits until this is false */
    unsigned finishing, finished;
    int reads_left;            /* the read after these fails; below 0: none does */
    cl_event sick, *next_sick; /* an event that failed; where the next read's is to go */
    bool never_done;           /* no event is ever complete */
    bool full;                 /* no buffer can be had */
    size_t largest;            /* nor one of more bytes; 0: any */
    bool no_compiler;          /* the device has none */
    bool swallow;              /* kernels, fills and large buffers are not really made */
    size_t groups[3];          /* most of a launch, in each dimension */
    struct {
        cl_kernel kernel;
        size_t local[3];
    } shapes[SHAPES];             /* launches that differ in kernel or work-group size */
    size_t shape_count, nameless; /* nameless: without a work-group size */
    struct {
        size_t origin, offset, bytes; /* origin: of the sub-buffer */
    } fills[FILLS];
    size_t fill_count, origin;
} driver = {.reads_left = -1};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void disarm(void)
{
    driver = (struct driver){.reads_left = -1};
}

/* The loader's function in place of which one here stands. */
#define REAL(function) ((__typeof__(&function))(uintptr_t)dlsym(RTLD_NEXT, #function))

static cl_int marker(cl_command_queue queue, cl_event *event)
{
    return event ? clEnqueueMarkerWithWaitList(queue, 0, NULL, event) : CL_SUCCESS;
}

cl_int clFinish(cl_command_queue queue)
{
    cl_int code = REAL(clFinish)(queue);
    pthread_mutex_lock(&lock);
    driver.finishing++;
    pthread_cond_broadcast(&changed);
    while (driver.finish_stalls)
        pthread_cond_wait(&changed, &lock);
    driver.finishing--;
    driver.finished++;
    code = driver.finish_code ? driver.finish_code : code;
    pthread_mutex_unlock(&lock);
    return code;
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset,
                           size_t bytes, void *to, cl_uint n, const cl_event *list, cl_event *event)
{
    if (driver.reads_left == 0)
        return CL_OUT_OF_RESOURCES;
    if (driver.reads_left > 0)
        driver.reads_left--;
    cl_int code =
        REAL(clEnqueueReadBuffer)(queue, mem, blocking, offset, bytes, to, n, list, event);
    if (driver.next_sick && event) {
        *driver.next_sick = *event;
        driver.next_sick = NULL;
    }
    return code;
}

cl_int clGetEventInfo(cl_event event, cl_event_info what, size_t room, void *value, size_t *size)
{
    cl_int code = REAL(clGetEventInfo)(event, what, room, value, size);
    if (what == CL_EVENT_COMMAND_EXECUTION_STATUS && driver.never_done)
        *(cl_int *)value = CL_RUNNING;
    if (what == CL_EVENT_COMMAND_EXECUTION_STATUS && event == driver.sick)
        *(cl_int *)value = CL_OUT_OF_RESOURCES;
    return code;
}

cl_int clWaitForEvents(cl_uint n, const cl_event *events)
{
    cl_int code = REAL(clWaitForEvents)(n, events);
    return events[0] == driver.sick ? CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST : code;
}

/* Remembers a kernel with a work-group size that it has not been launched with. */
static void remember(cl_kernel kernel, cl_uint dims, const size_t *local)
{
    size_t size[3] = {0}, i = 0;
    memcpy(size, local, dims * sizeof *size);
    while (i < driver.shape_count &&
           (driver.shapes[i].kernel != kernel || memcmp(driver.shapes[i].local, size, sizeof size)))
        i++;
    if (i < driver.shape_count || i == SHAPES)
        return;
    driver.shapes[i].kernel = kernel;
    memcpy(driver.shapes[i].local, size, sizeof size);
    driver.shape_count++;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                              const size_t *offset, const size_t *global, const size_t *local,
                              cl_uint n, const cl_event *list, cl_event *event)
{
    driver.nameless += !local;
    if (local)
        remember(kernel, dims, local);
    for (cl_uint i = 0; local && i < dims; i++)
        if (global[i] / local[i] > driver.groups[i])
            driver.groups[i] = global[i] / local[i];
    if (driver.swallow)
        return marker(queue, event);
    return REAL(clEnqueueNDRangeKernel)(queue, kernel, dims, offset, global, local, n, list, event);
}

cl_mem clCreateSubBuffer(cl_mem mem, cl_mem_flags flags, cl_buffer_create_type type,
                         const void *region, cl_int *code)
{
    driver.origin = ((const cl_buffer_region *)region)->origin;
    if (driver.swallow)
        return (*code = clRetainMemObject(mem)) ? NULL : mem;
    return REAL(clCreateSubBuffer)(mem, flags, type, region, code);
}

cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem mem, const void *pattern, size_t size,
                           size_t offset, size_t bytes, cl_uint n, const cl_event *list,
                           cl_event *event)
{
    if (driver.fill_count < FILLS) {
        driver.fills[driver.fill_count].origin = driver.origin;
        driver.fills[driver.fill_count].offset = offset;
        driver.fills[driver.fill_count++].bytes = bytes;
    }
    if (driver.swallow)
        return marker(queue, event);
    return REAL(clEnqueueFillBuffer)(queue, mem, pattern, size, offset, bytes, n, list, event);
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host,
                      cl_int *code)
{
    *code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    return driver.full || (driver.largest && bytes > driver.largest)
               ? NULL
               : REAL(clCreateBuffer)(context, flags, driver.swallow ? 256 : bytes, host, code);
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t room, void *value,
                       size_t *size)
{
    cl_int code = REAL(clGetDeviceInfo)(device, what, room, value, size);
    if (driver.swallow &&
        (what == CL_DEVICE_MAX_MEM_ALLOC_SIZE || what == CL_DEVICE_GLOBAL_MEM_SIZE))
        *(cl_ulong *)value = (cl_ulong)1 << 40;
    if (driver.no_compiler && what == CL_DEVICE_COMPILER_AVAILABLE)
        *(cl_bool *)value = CL_FALSE;
    return code;
}

/* ---- help ---- */

static ef_readback *start(ef_actor *a, const ef_tensor *t, ef_readback_mode mode)
{
    ef_readback *r = NULL;
    ef_test_ok(a, ef_readback_start(a, t, mode, "value", &r));
    return r;
}

static float first_of(ef_actor *a, ef_readback *r)
{
    const void *data = NULL;
    ef_test_ok(a, ef_readback_value(r, &data, NULL));
    float value = *(const float *)data;
    ef_readback_free(r);
    return value;
}

static void stall(bool on)
{
    pthread_mutex_lock(&lock);
    driver.finish_stalls = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* How many threads are in clFinish; waits for the first. */
static unsigned await_finishing(void)
{
    pthread_mutex_lock(&lock);
    while (driver.finishing == 0)
        pthread_cond_wait(&changed, &lock);
    unsigned n = driver.finishing;
    pthread_mutex_unlock(&lock);
    return n;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* ---- failures ---- */

START_TEST(after_a_failed_finish_nothing_that_was_read_is_trusted)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(3), NULL);
    const void *data = NULL;
    ef_error e;
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC);
    ef_test_ok(a, ef_tensor_fill(t, 2)); /* later than what is read */
    driver.finish_code = CL_INVALID_COMMAND_QUEUE;
    ck_assert_int_eq(ef_batch_sync(a, "doomed"), EF_EDEVICE);
    ck_assert_int_eq(ef_readback_value(r, &data, NULL), EF_EDEVICE);
    ck_assert_ptr_null(data);
    ck_assert_int_eq(ef_actor_error(a, &e), EF_EDEVICE);
    ck_assert_int_eq(e.code, CL_INVALID_COMMAND_QUEUE);
    ck_assert_ptr_nonnull(strstr(e.text, "doomed: clFinish"));
    ck_assert_ptr_nonnull(strstr(e.text, "lost"));
    driver.finish_code = CL_SUCCESS;
    ck_assert_int_eq(ef_actor_reset(a), EF_EDEVICE); /* a lost device stays lost */
    ck_assert_int_eq(ef_tensor_fill(t, 2), EF_EDEVICE);
    ef_readback_free(r);
    ef_actor_close(a);
}
END_TEST

START_TEST(debug_sync_blames_the_operation_that_lost_the_device)
{
    setenv("EF_DEBUG", "sync", 1);
    ef_actor *a = ef_test_open();
    unsetenv("EF_DEBUG");
    ef_tensor *t = ef_test_f32(a, SHAPE(3), NULL);
    ef_readback *r = NULL;
    driver.finish_code = CL_INVALID_COMMAND_QUEUE;
    ck_assert_int_eq(ef_readback_start(a, t, EF_IMMEDIATE, "r", &r), EF_EDEVICE);
    ck_assert_ptr_null(r);
    ck_assert_ptr_nonnull(strstr(ef_actor_message(a), "readback: clFinish"));
    ck_assert_ptr_null(strstr(ef_actor_message(a), "EF_DEBUG"));
    ef_actor_close(a);
}
END_TEST

/* Three readbacks, of which the second one's command fails. */
static void fail_the_second(ef_readback_mode mode)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(3), NULL);
    const void *data = NULL;
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 7));
    ef_readback *before = start(a, t, EF_DEFER_UNTIL_SYNC);
    driver.next_sick = &driver.sick;
    ef_readback *sick = start(a, t, mode), *after = start(a, t, EF_DEFER_UNTIL_SYNC);
    ck_assert_ptr_nonnull(driver.sick);
    if (mode == EF_IMMEDIATE)
        ck_assert_int_eq(ef_readback_value(sick, &data, NULL), EF_EDEVICE);
    ck_assert_int_eq(ef_batch_sync(a, "sick"), EF_EDEVICE);
    ck_assert_float_eq(first_of(a, before), 7);
    ck_assert_int_eq(ef_readback_value(sick, &data, NULL), EF_EDEVICE);
    ck_assert_ptr_nonnull(strstr(ef_actor_message(a), "CL_OUT_OF_RESOURCES"));
    ck_assert_int_eq(ef_readback_value(after, &data, NULL), EF_EDEVICE);
    ck_assert_ptr_null(data);
    driver.sick = NULL;
    ef_readback_free(sick);
    ef_readback_free(after);
    ef_test_ok(a, ef_actor_reset(a));
    ef_test_close(a);
}

START_TEST(a_readback_whose_command_failed_fails)
{
    fail_the_second(_i ? EF_IMMEDIATE : EF_DEFER_UNTIL_SYNC);
}
END_TEST

/* A bad id, so that the record is read along with an immediate readback. */
static ef_readback *start_after_a_bad_id(ef_actor *a, ef_status want)
{
    ef_tensor *w = ef_test_f32(a, SHAPE(4, 2), ef_test_randn(8, 1));
    ef_tensor *ids = ef_test_i32(a, SHAPE(2), (int32_t[]){3, 77});
    ef_tensor *y = ef_test_f32(a, SHAPE(2, 2), NULL);
    ef_readback *r = NULL;
    ef_test_ok(a, ef_embedding_forward(a, ids, w, NULL, y));
    ck_assert_int_eq(ef_readback_start(a, y, EF_IMMEDIATE, "y", &r), want);
    return r;
}

START_TEST(a_readback_that_cannot_start_leaves_no_read_behind)
{
    ef_actor *a = ef_test_open();
    ef_test_ok(a, ef_actor_finish(a));
    for (driver.reads_left = 1; driver.reads_left >= 0; driver.reads_left--) {
        unsigned before = driver.finished;
        int left = driver.reads_left;
        ck_assert_ptr_null(start_after_a_bad_id(a, EF_EDEVICE));
        ck_assert_uint_eq(driver.finished - before, left); /* waited for the record's */
        ck_assert_ptr_nonnull(strstr(ef_actor_message(a), "clEnqueueReadBuffer"));
        driver.reads_left = -1;
        ef_test_ok(a, ef_actor_reset(a));
        driver.reads_left = left;
    }
    ef_test_close(a);
}
END_TEST

START_TEST(an_immediate_readback_in_a_batch_tells_of_a_bad_id)
{
    ef_actor *a = ef_test_open();
    const void *data = NULL;
    ef_test_ok(a, ef_batch_begin(a));
    ef_readback *r = start_after_a_bad_id(a, EF_OK);
    ck_assert_int_eq(ef_readback_value(r, &data, NULL), EF_EARG);
    ck_assert_ptr_null(data);
    ef_test_refused(a, ef_batch_sync(a, "bad"), EF_EARG, "id 77 at position 1");
    ef_readback_free(r);
    ef_test_close(a);
}
END_TEST

START_TEST(an_operation_without_room_for_its_scratch_is_named)
{
    ef_actor *a = ef_test_open();
    ef_tensor *y = ef_test_f32(a, SHAPE(999, 2), NULL), *metrics = ef_test_f32(a, SHAPE(3), NULL);
    ef_actor_trim(a);
    driver.full = true;
    ef_test_refused(a, ef_kd_loss(a, y, y, 1, 1, 1, NULL, metrics, NULL), EF_ENOMEM,
                    "kd.loss: kd rows needs 7992 bytes");
    driver.full = false;
    ef_test_close(a);
}
END_TEST

/* Packed weights take the room of the whole arena, where the device has that. */
START_TEST(weights_are_packed_where_there_is_no_room_for_their_arena)
{
    enum { LARGE = 1 << 20 };
    ef_actor *a = ef_test_open();
    float ones[17 * 16];
    for (size_t i = 0; i < 17 * 16; i++)
        ones[i] = 1;
    ef_tensor *x = ef_test_f32(a, SHAPE(17, 16), ones), *y = ef_test_f32(a, SHAPE(17, 16), NULL);
    ef_tensor *arena = NULL, *w = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, &(size_t){LARGE}, "arena", &arena));
    ef_test_ok(a, ef_tensor_fill(arena, 1));
    ef_test_ok(a, ef_tensor_view(arena, 512, 2, (size_t[]){16, 16}, "w", &w));
    ef_actor_trim(a);
    driver.largest = LARGE;
    ef_test_ok(a, ef_linear_forward(a, x, w, NULL, y));
    driver.largest = 0;
    for (size_t i = 0; i < 17 * 16; i++)
        ck_assert(((float *)ef_test_read(y))[i] == 16);
    ck_assert_int_eq(ef_actor_error(a, NULL), EF_OK);
    ef_tensor_free(w);
    ef_tensor_free(arena);
    ef_test_close(a);
}
END_TEST

/* ---- waiting ---- */

START_TEST(waiting_for_an_immediate_readback_ends_in_time)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(3), NULL);
    ef_test_ok(a, ef_tensor_fill(t, 4));
    ef_readback *r = start(a, t, EF_IMMEDIATE);
    driver.never_done = true;
    ck_assert_int_eq(ef_readback_wait(r, 0), EF_ETIMEOUT);
    ck_assert_int_eq(ef_readback_wait(r, 20), EF_ETIMEOUT);
    ck_assert_int_eq(ef_readback_poll(r), EF_ETIMEOUT);
    driver.never_done = false;
    ef_test_ok(a, ef_readback_wait(r, 10000));
    ck_assert_float_eq(first_of(a, r), 4);
    ef_test_close(a);
}
END_TEST

typedef struct task {
    ef_actor *a;
    ef_readback *r;
    unsigned done;
} task;

static void *sync_batch(void *user)
{
    task *k = user;
    ef_status status = ef_batch_sync(k->a, "long");
    __atomic_store_n(&k->done, 1, __ATOMIC_SEQ_CST);
    return (void *)(intptr_t)status;
}

static void *close_actor(void *user)
{
    task *k = user;
    ef_actor_close(k->a);
    __atomic_store_n(&k->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static intptr_t join(pthread_t thread)
{
    void *status;
    ck_assert_int_eq(pthread_join(thread, &status), 0);
    return (intptr_t)status;
}

START_TEST(closing_waits_for_the_sync_of_another_thread)
{
    ef_actor *a = NULL;
    size_t dims = 3;
    pthread_t threads[2];
    ck_assert_int_eq(ef_actor_open(NULL, &a, NULL), EF_OK);
    task sync = {.a = a}, closing = {.a = a};
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, &dims, "t", &t));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(t, 6));
    ef_readback *r = start(a, t, EF_DEFER_UNTIL_SYNC);
    stall(true);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, sync_batch, &sync), 0);
    await_finishing();
    ck_assert_int_eq(pthread_create(&threads[1], NULL, close_actor, &closing), 0);
    pause_ms(50);
    ck_assert_uint_eq(await_finishing(), 1); /* closing has not come to its own wait */
    ck_assert_uint_eq(__atomic_load_n(&closing.done, __ATOMIC_SEQ_CST), 0);
    stall(false);
    ck_assert_int_eq(join(threads[0]), EF_OK);
    join(threads[1]);
    ck_assert_float_eq(first_of(a, r), 6); /* it was resolved, not cancelled */
    ef_tensor_free(t);
}
END_TEST

static void *finish_actor(void *user)
{
    task *k = user;
    return (void *)(intptr_t)ef_actor_finish(k->a);
}

static void *read_value(void *user)
{
    task *k = user;
    const void *data = NULL;
    ef_status status = ef_readback_value(k->r, &data, NULL);
    __atomic_store_n(&k->done, 1, __ATOMIC_SEQ_CST);
    return (void *)(intptr_t)status;
}

/* A finish has taken out the event of an operation that failed: until it is back, nobody knows
 * whether a readback after that operation may be trusted. */
START_TEST(an_immediate_readback_waits_for_who_knows_of_failures)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(3), (float[]){1, 2, 3});
    pthread_t threads[2];
    ef_test_ok(a, ef_actor_finish(a));
    ef_test_ok(a, ef__op_begin(a, "sick.op"));
    ck_assert_int_eq(clEnqueueMarkerWithWaitList(ef__queue(a), 0, NULL, &driver.sick), 0);
    ef__keep_event(a, driver.sick, NULL, "sick.op");
    ef_test_ok(a, ef__op_end(a, EF_OK));
    stall(true);
    task k = {.a = a};
    ck_assert_int_eq(pthread_create(&threads[0], NULL, finish_actor, &k), 0);
    await_finishing();
    k.r = start(a, t, EF_IMMEDIATE);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, read_value, &k), 0);
    pause_ms(50);
    ck_assert_uint_eq(__atomic_load_n(&k.done, __ATOMIC_SEQ_CST), 0);
    ck_assert_int_eq(ef_readback_poll(k.r), EF_ETIMEOUT);
    ck_assert_int_eq(ef_readback_wait(k.r, 5), EF_ETIMEOUT);
    stall(false);
    ck_assert_int_eq(join(threads[0]), EF_EDEVICE);
    ck_assert_int_eq(join(threads[1]), EF_EDEVICE);
    driver.sick = NULL; /* it is released: another event may get its address */
    ef_readback_free(k.r);
    ef_test_ok(a, ef_actor_reset(a));
    ef_test_close(a);
}
END_TEST

/* Immediate readbacks of a value of its own, while others sync and finish. */
static void *read_at_once(void *user)
{
    task *k = user;
    size_t dims = 5;
    ef_tensor *x = NULL;
    ef_status status = ef_tensor_new(k->a, EF_F32, 1, &dims, "x", &x);
    for (unsigned i = 0; !status && i < 200; i++) {
        ef_readback *r = NULL;
        const void *data = NULL;
        status = ef_tensor_fill(x, i);
        if (!status)
            status = ef_readback_start(k->a, x, EF_IMMEDIATE, "x", &r);
        if (!status && i % 3 == 0)
            status = ef_readback_wait(r, 10000);
        if (!status)
            status = ef_readback_value(r, &data, NULL);
        if (!status && *(const float *)data != (float)i)
            status = EF_EFORMAT;
        ef_readback_free(r);
    }
    ef_tensor_free(x);
    __atomic_fetch_add(&k->done, 1, __ATOMIC_SEQ_CST);
    return (void *)(intptr_t)status;
}

START_TEST(immediate_readbacks_race_with_syncs_and_finishes)
{
    ef_actor *a = ef_test_open();
    task k = {.a = a};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_at_once, &k), 0);
    while (__atomic_load_n(&k.done, __ATOMIC_SEQ_CST) < 4) {
        ef_test_ok(a, ef_batch_begin(a));
        ef_test_ok(a, ef_actor_finish(a));
        ef_test_ok(a, ef_batch_sync(a, "race"));
    }
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(join(threads[i]), EF_OK);
    ef_test_close(a);
}
END_TEST

/* ---- limits ---- */

/* Each is the first of its sub-buffer: far into a buffer NVIDIA's driver loses the device. */
/* What a device cannot do is an error that names it: nothing is done by the host instead. */
START_TEST(a_device_without_a_compiler_is_refused_by_name)
{
    ef_error e;
    ef_actor *a = ef_test_open();
    char name[256];
    snprintf(name, sizeof name, "%s has no OpenCL C compiler", ef_actor_device(a)->name);
    ef_test_close(a);
    a = NULL;
    driver.no_compiler = true;
    ck_assert_int_eq(ef_actor_open(NULL, &a, &e), EF_EDEVICE);
    ck_assert_ptr_null(a);
    ck_assert_msg(strstr(e.text, name) != NULL, "%s", e.text);
}
END_TEST

START_TEST(a_fill_goes_in_pieces_of_a_gibibyte)
{
    const size_t piece = (size_t)1 << 30, dims = 9 * piece / 4 + 3;
    driver.swallow = true;
    ef_actor *a = ef_test_open();
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, &dims, "large", &t));
    driver.fill_count = 0;
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ck_assert_uint_eq(driver.fill_count, 10);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(driver.fills[i].origin, i * piece);
        ck_assert_uint_eq(driver.fills[i].offset, 0);
        ck_assert_uint_eq(driver.fills[i].bytes, i < 9 ? piece : 12);
    }
    ef_tensor_free(t);
    ef_test_close(a);
}
END_TEST

static ef_tensor *empty_of(ef_actor *a, ef_dtype dtype, size_t rows, size_t columns, size_t depth)
{
    ef_tensor *t = NULL;
    size_t dims[] = {rows, columns, depth}, rank = depth ? 3 : columns ? 2 : 1;
    ef_test_ok(a, ef_tensor_new(a, dtype, rank, dims, "t", &t));
    return t;
}

/* The variants for GPUs, the last of each row, over numbers of rows, samples and channels that pass
 * what NVIDIA allows along y and z. */
START_TEST(no_grid_grows_along_y_or_z)
{
    const size_t many = 5000000;
    driver.swallow = true;
    ef_actor *a = ef_test_open();
    ef_tensor *rows = empty_of(a, EF_F32, many, 1, 1), *wide = empty_of(a, EF_F32, 1, 1, many);
    ef_tensor *w = empty_of(a, EF_F32, many, 1, 1), *one = empty_of(a, EF_F32, 1, 1, 1);
    ef_tensor *y = empty_of(a, EF_F32, many, 1, 1), *mask = empty_of(a, EF_U8, many, 1, 0);
    ef_tensor *flat = empty_of(a, EF_F32, many, 1, 0), *count = empty_of(a, EF_F32, many, 0, 0);
    const struct {
        ef__op_id id;
        const char *variant;
        ef__args args;
    } calls[] = {
        {EF__CONV1D_FORWARD, "direct", {.t = {rows, one, y}}},
        {EF__CONV1D_FORWARD, "direct", {.t = {one, w, wide}}},
        {EF__CONV1D_DX, "direct", {.t = {rows, one, y}}},
        {EF__CONV1D_DW, "direct", {.t = {rows, y, one}}},
        {EF__CONV1D_DW, "direct", {.t = {one, wide, w}}},
        {EF__MASKED_MEAN_FORWARD, "column", {.t = {rows, mask, flat, count}}},
        {EF__MASKED_MEAN_BACKWARD, "item", {.t = {flat, mask, count, rows}}},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        ef_test_ok(a, ef__op_force(a, calls[i].id, calls[i].variant, NULL));
        ef_test_ok(a, ef__op_run(a, calls[i].id, &calls[i].args));
        ck_assert_msg(driver.groups[1] <= 65535 && driver.groups[2] <= 65535,
                      "call %zu: %zu x %zu x %zu groups", i, driver.groups[0], driver.groups[1],
                      driver.groups[2]);
    }
    ef_tensor *all[] = {rows, wide, w, one, y, mask, flat, count};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ef_tensor_free(all[i]);
    ef_test_close(a);
}
END_TEST

/* ---- plateaus ---- */

static size_t below(uint64_t *seed, size_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return 1 + (size_t)(*seed >> 33) % n;
}

/* One operation of each kind over a random size, in tensors of its own. */
static void run_random(ef_actor *a, uint64_t *seed)
{
    const size_t B = below(seed, 3), L = below(seed, 40), D = below(seed, 40), V = 9;
    ef_tensor *x = empty_of(a, EF_F32, B, L, D), *y = empty_of(a, EF_F32, B, L, D);
    ef_tensor *pooled = empty_of(a, EF_F32, B, D, 0), *count = empty_of(a, EF_F32, B, 0, 0);
    ef_tensor *mask = empty_of(a, EF_U8, B, L, 0), *ids = empty_of(a, EF_I32, B, L, 0);
    ef_tensor *table = empty_of(a, EF_F32, V, D, 0), *gamma = empty_of(a, EF_F32, D, 0, 0);
    ef_tensor *all[] = {x, y, pooled, count, mask, ids, table, gamma};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ef_test_ok(a, ef_tensor_fill(all[i], 1));
    switch (below(seed, 7)) {
    case 1:
        ef_test_ok(a, ef_embedding_forward(a, ids, table, NULL, x));
        break;
    case 2:
        ef_test_ok(a, ef_embedding_backward(a, ids, x, table));
        break;
    case 3:
        ef_test_ok(a, ef_masked_mean_forward(a, x, mask, pooled, count));
        break;
    case 4:
        ef_test_ok(a, ef_masked_mean_backward(a, pooled, mask, count, x));
        break;
    case 5:
        ef_test_ok(a, ef_layernorm_forward(a, x, gamma, gamma, mask, 1e-5f, y, NULL, NULL));
        break;
    case 6:
        ef_test_ok(a, ef_gelu_forward(a, x, y));
        break;
    default:
        ef_test_ok(a, ef_residual_add(a, x, y));
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ef_tensor_free(all[i]);
}

/* _i 0: the variants for this device, 1: the last ones, which are for GPUs. */
START_TEST(random_sizes_need_no_more_memory_programs_or_kernels)
{
    static const ef__op_id ids[] = {EF__EMBEDDING_FORWARD,   EF__EMBEDDING_BACKWARD,
                                    EF__MASKED_MEAN_FORWARD, EF__MASKED_MEAN_BACKWARD,
                                    EF__LAYERNORM_FORWARD,   EF__GELU_FORWARD,
                                    EF__RESIDUAL_ADD};
    ef_actor *a = ef_test_open();
    ef_stats warm, end;
    uint64_t seed = 11;
    const size_t rounds = ef_test_size(100, 2000, 10000);
    for (size_t i = 0; _i && i < sizeof ids / sizeof *ids; i++)
        ef_test_ok(a, ef__op_force(a, ids[i], ef__op_row(ids[i])->variants[1].name, NULL));
    for (size_t i = 0; i < 200 + rounds / 5; i++)
        run_random(a, &seed);
    ef_actor_stats(a, &warm);
    const size_t shapes = driver.shape_count;
    for (size_t i = 0; i < rounds; i++)
        run_random(a, &seed);
    ef_actor_stats(a, &end);
    ck_assert_uint_eq(driver.nameless, 0);
    ck_assert_uint_lt(shapes, SHAPES);
    ck_assert_uint_eq(driver.shape_count, shapes);
    ck_assert_uint_eq(end.builds, warm.builds);
    ck_assert_uint_le(end.pool_bytes, warm.pool_bytes + warm.pool_bytes / 4);
    ck_assert_uint_eq(end.pool_used, warm.pool_used);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("driver");
    TCase *t = ef_test_case(s, "failures");
    tcase_add_checked_fixture(t, disarm, NULL);
    tcase_add_test(t, after_a_failed_finish_nothing_that_was_read_is_trusted);
    tcase_add_test(t, debug_sync_blames_the_operation_that_lost_the_device);
    tcase_add_loop_test(t, a_readback_whose_command_failed_fails, 0, 2);
    tcase_add_test(t, a_readback_that_cannot_start_leaves_no_read_behind);
    tcase_add_test(t, an_immediate_readback_in_a_batch_tells_of_a_bad_id);
    tcase_add_test(t, an_operation_without_room_for_its_scratch_is_named);
    tcase_add_test(t, weights_are_packed_where_there_is_no_room_for_their_arena);
    t = ef_test_case(s, "waiting");
    tcase_add_checked_fixture(t, disarm, NULL);
    tcase_add_test(t, waiting_for_an_immediate_readback_ends_in_time);
    tcase_add_test(t, closing_waits_for_the_sync_of_another_thread);
    tcase_add_test(t, an_immediate_readback_waits_for_who_knows_of_failures);
    tcase_add_test(t, immediate_readbacks_race_with_syncs_and_finishes);
    t = ef_test_case(s, "limits");
    tcase_add_checked_fixture(t, disarm, NULL);
    tcase_add_test(t, a_device_without_a_compiler_is_refused_by_name);
    tcase_add_test(t, a_fill_goes_in_pieces_of_a_gibibyte);
    tcase_add_test(t, no_grid_grows_along_y_or_z);
    tcase_add_loop_test(t, random_sizes_need_no_more_memory_programs_or_kernels, 0, 2);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
