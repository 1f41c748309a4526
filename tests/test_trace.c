/* EF_TRACE, as a reader of the file sees it. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "actor/trace.h"
#include "ef_test.h"
#include "energyflow_cl.h"
#include <dlfcn.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- a device whose clock is not the host's ---- */

static struct {
    cl_ulong ahead, drift; /* ns; ns for each query */
} device_clock;

cl_int clGetEventProfilingInfo(cl_event event, cl_profiling_info what, size_t room, void *value,
                               size_t *size)
{
    __typeof__(&clGetEventProfilingInfo) real =
        (__typeof__(&clGetEventProfilingInfo))(uintptr_t)dlsym(RTLD_NEXT,
                                                               "clGetEventProfilingInfo");
    cl_int code = real(event, what, room, value, size);
    if (!code)
        *(cl_ulong *)value += device_clock.ahead;
    device_clock.ahead += device_clock.drift;
    return code;
}

/* Runs once, in the host's next wait. */
static void (*in_wait)(ef_actor *a);
static ef_actor *waiting;

cl_int clFinish(cl_command_queue queue)
{
    void (*run)(ef_actor * a) = in_wait;
    in_wait = NULL;
    if (run)
        run(waiting);
    return ((__typeof__(&clFinish))(uintptr_t)dlsym(RTLD_NEXT, "clFinish"))(queue);
}

/* ---- help ---- */

static char folder[] = "/tmp/ef-test-trace-XXXXXX", path[64], second[64];

static void enter(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/t.json", folder);
    snprintf(second, sizeof second, "%s/t.json.1", folder);
    setenv("EF_TRACE", path, 1);
    memset(&device_clock, 0, sizeof device_clock);
}

static void leave(void)
{
    unsetenv("EF_TRACE");
    unlink(path);
    unlink(second);
    ck_assert_int_eq(rmdir(folder), 0);
}

static json_t *load(const char *name)
{
    json_error_t e;
    json_t *events = json_load_file(name, 0, &e);
    ck_assert_msg(events != NULL, "%s:%d: %s", name, e.line, e.text);
    ck_assert(json_is_array(events));
    return events;
}

static bool is_span(const json_t *e)
{
    return !strcmp(json_string_value(json_object_get(e, "ph")), "X");
}

static ef__lane lane_of(const json_t *e)
{
    return (ef__lane)json_integer_value(json_object_get(e, "tid"));
}

static const json_t *arg(const json_t *e, const char *name)
{
    return json_object_get(json_object_get(e, "args"), name);
}

static const char *arg_text(const json_t *e, const char *name)
{
    const char *text = json_string_value(arg(e, name));
    return text ? text : "";
}

static const char *name_of(const json_t *e)
{
    return json_string_value(json_object_get(e, "name"));
}

static double from(const json_t *e) /* us */
{
    return json_number_value(json_object_get(e, "ts"));
}

static double to(const json_t *e)
{
    return from(e) + json_number_value(json_object_get(e, "dur"));
}

/* How many spans a lane has, of that batch if it is named, and of that name if that is. */
static size_t count(const json_t *events, ef__lane lane, const char *batch, const char *name)
{
    size_t n = 0, i;
    json_t *e;
    json_array_foreach(events, i, e) n += is_span(e) && lane_of(e) == lane &&
                                          (!batch || !strcmp(arg_text(e, "batch"), batch)) &&
                                          (!name || !strcmp(name_of(e), name));
    return n;
}

static json_int_t op_of(const json_t *e)
{
    return json_integer_value(arg(e, "op"));
}

static int by_op(const void *x, const void *y)
{
    const json_t *a = *(const json_t *const *)x, *b = *(const json_t *const *)y;
    if (op_of(a) != op_of(b))
        return op_of(a) > op_of(b) ? 1 : -1;
    return (from(a) > from(b)) - (from(a) < from(b));
}

/* In each lane, in the order in which the host enqueued them, one ends before the next begins, but
 * for what the clocks are apart. */
static void is_monotone(const json_t *events, double slack)
{
    const size_t n = json_array_size(events);
    const json_t **sorted = ef_test_alloc(n * sizeof *sorted), *last[8] = {NULL};
    size_t spans = 0;
    for (size_t i = 0; i < n; i++)
        if (is_span(json_array_get(events, i)))
            sorted[spans++] = json_array_get(events, i);
    qsort(sorted, spans, sizeof *sorted, by_op);
    for (size_t i = 0; i < spans; i++) {
        const json_t *e = sorted[i], *before = last[lane_of(e)];
        ck_assert(to(e) >= from(e));
        ck_assert_msg(!before || from(e) >= to(before) - slack, "%s: begins at %f, %s ends at %f",
                      name_of(e), from(e), name_of(before), to(before));
        last[lane_of(e)] = e;
    }
}

static double now_us(void)
{
    return 1e-3 * (double)ef__trace_now();
}

/* ---- a training step ---- */

enum { V = 11, L = 6, E = 5, B = 3 };

typedef struct model {
    ef_encoder *encoder;
    ef_trainer *trainer;
} model;

static model new_model(ef_actor *a)
{
    model m = {0};
    ef_model_config c;
    ef_trainer_options o;
    ef_model_config_default(&c);
    c.vocab = V;
    c.width = 8;
    c.hidden = 12;
    c.vector = E;
    c.length = L;
    ef_trainer_options_default(&o);
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, true, &m.encoder));
    ef_test_ok(a, ef_trainer_new(m.encoder, &o, &m.trainer));
    return m;
}

static void step(ef_actor *a, model *m)
{
    ef_batch b = {.B = B,
                  .L = L,
                  .E = E,
                  .ids = ef_test_ints(B * L, 1, 0, V),
                  .mask = ef_test_mask(B * L, 2, 0.9),
                  .target = ef_test_randn(B * E, 3)};
    ef_readback *r = NULL;
    ef_test_ok(a, ef_trainer_step(m->trainer, &b, 1, &r));
    ef_readback_free(r);
}

static void free_model(model *m)
{
    ef_trainer_free(m->trainer);
    ef_encoder_free(m->encoder);
}

static const char label[] = "my \"step\" \xc3\xbc";

/* A step in a batch of its own; the interval that it took. */
static void traced_step(ef_actor *a, ef_stats *before, ef_stats *after, double interval[2])
{
    model m = new_model(a);
    step(a, &m); /* builds, packs */
    ef_test_ok(a, ef_actor_finish(a));
    ef_actor_stats(a, before);
    interval[0] = now_us();
    ef_test_ok(a, ef_batch_begin(a));
    step(a, &m);
    ef_test_ok(a, ef_batch_sync(a, label));
    interval[1] = now_us();
    ef_actor_stats(a, after);
    free_model(&m);
}

/* The operation's span in the host's lane. */
static const json_t *enqueue_of(const json_t *events, const json_t *command)
{
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e) if (is_span(e) && lane_of(e) == EF__ENQUEUE &&
                                         json_equal(arg(e, "op"), arg(command, "op"))) return e;
    ck_abort_msg("%s: nothing enqueued it", name_of(command));
    return NULL;
}

/* Every span of the step: in its interval, after what enqueued it, complete. Returns the bytes of
 * uploads and readbacks. */
static uint64_t check_spans(const json_t *events, const ef_stats *before, const double interval[2])
{
    uint64_t bytes = 0;
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e)
    {
        if (!is_span(e) || strcmp(arg_text(e, "batch"), label))
            continue;
        ck_assert_msg(from(e) >= interval[0] && to(e) <= interval[1],
                      "%s: %f to %f not in %f to %f", name_of(e), from(e), to(e), interval[0],
                      interval[1]);
        ck_assert_int_eq(json_integer_value(arg(e, "epoch")), (json_int_t)before->epoch);
        if (lane_of(e) != EF__DEVICE && lane_of(e) != EF__READBACK)
            continue;
        ck_assert(from(e) >= from(enqueue_of(events, e)));
        if (arg(e, "kernel"))
            ck_assert(arg_text(e, "kernel")[0] && arg_text(e, "global")[0] &&
                      arg_text(e, "local")[0] && arg_text(e, "shape")[0] == '[');
        if (lane_of(e) == EF__READBACK || !strcmp(name_of(e), "tensor.write"))
            bytes += (uint64_t)json_integer_value(arg(e, "bytes"));
    }
    return bytes;
}

/* _i: is the device's clock ahead, and drifting? */
START_TEST(a_step_appears_once_a_launch)
{
    ef_stats before, after;
    double interval[2];
    if (_i)
        device_clock.ahead = (cl_ulong)5e15, device_clock.drift = 5000;
    ef_actor *a = ef_test_open();
    const double slack = ef_actor_device(a)->is_cpu ? 50 : 1000;
    traced_step(a, &before, &after, interval);
    ef_test_close(a);
    json_t *events = load(path);
    if (!_i)
        is_monotone(events, slack);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, label, NULL), after.ops - before.ops);
    ck_assert_uint_eq(count(events, EF__DEVICE, label, NULL) -
                          count(events, EF__DEVICE, label, "tensor.write"),
                      after.launches - before.launches);
    ck_assert_uint_eq(count(events, EF__WAIT, label, "wait"), 1);
    ck_assert_uint_eq(count(events, EF__READBACK, label, "readback"), 1);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, label, "embedding.forward"), 1);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, label, "optim.update"), 1);
    ck_assert_uint_eq(check_spans(events, &before, interval),
                      after.bytes_up - before.bytes_up + after.bytes_down - before.bytes_down);
    json_decref(events);
}
END_TEST

START_TEST(what_is_outside_of_a_batch_has_no_label)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(2, 3), NULL);
    ef_test_ok(a, ef_tensor_fill(x, 1));
    for (int i = 0; i < 2; i++) {
        ef_test_ok(a, ef_batch_begin(a));
        ef_test_ok(a, ef_batch_begin(a));
        ef_test_ok(a, ef_gelu_forward(a, x, x));
        ef_test_ok(a, ef_batch_sync(a, "inner"));
        ef_test_ok(a, ef_batch_sync(a, i ? "second" : "first"));
        ef_test_ok(a, ef_tensor_fill(x, 1));
    }
    ef_test_read(x);
    ef_test_close(a);
    json_t *events = load(path);
    ck_assert_uint_eq(count(events, EF__DEVICE, NULL, "tensor.fill"), 3);
    ck_assert_uint_eq(count(events, EF__DEVICE, "", "tensor.fill"), 3);
    ck_assert_uint_eq(count(events, EF__DEVICE, "first", NULL), 1);
    ck_assert_uint_eq(count(events, EF__DEVICE, "second", NULL), 1);
    ck_assert_uint_eq(count(events, EF__DEVICE, "inner", NULL), 0);
    ck_assert_uint_eq(count(events, EF__READBACK, "", "readback"), 1);
    json_decref(events);
}
END_TEST

static void open_the_next(ef_actor *a)
{
    ef_tensor *y = NULL;
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){3}, "y", &y));
    ef_test_ok(a, ef_tensor_copy(y, y));
    ef_tensor_free(y);
}

START_TEST(a_batch_that_opens_during_a_sync_has_its_own_label)
{
    ef_actor *a = waiting = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(x, 1));
    in_wait = open_the_next;
    ef_test_ok(a, ef_batch_sync(a, "first"));
    ef_test_ok(a, ef_batch_sync(a, "next"));
    ef_test_close(a);
    json_t *events = load(path);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, "first", "tensor.fill"), 1);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, "next", "tensor.copy"), 1);
    ck_assert_uint_eq(count(events, EF__WAIT, "first", NULL), 1);
    ck_assert_uint_eq(count(events, EF__WAIT, "next", NULL), 1);
    json_decref(events);
}
END_TEST

/* A command that was done long before its sync is shown when it was. */
START_TEST(the_devices_clock_is_mapped_to_the_hosts)
{
    device_clock.ahead = (cl_ulong)5e15;
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_batch_begin(a));
    ef_test_ok(a, ef_tensor_fill(x, 1));
    ef_test_ok(a, ef_batch_sync(a, "flush"));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    ef_test_ok(a, ef_batch_sync(a, "late"));
    const double synced = now_us();
    ef_test_close(a);
    json_t *events = load(path);
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e) if (is_span(e) && lane_of(e) == EF__DEVICE &&
                                         !strcmp(name_of(e), "tensor.fill"))
        ck_assert_msg(synced - to(e) > 150000, "%f us before the end", synced - to(e));
    ck_assert_uint_eq(count(events, EF__DEVICE, "late", "tensor.fill"), 1);
    json_decref(events);
}
END_TEST

/* Labels are the caller's: quotes, line ends, bytes that are no UTF-8. */
START_TEST(any_label_gives_valid_json)
{
    static const char *const labels[] = {"\"\\\n\t\x01", "\xff\xfe", "half \xe2\x82", "", "/"};
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL);
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        ef_readback *r = NULL;
        ef_test_ok(a, ef_batch_begin(a));
        ef_test_ok(a, ef_tensor_fill(x, 1));
        ef_test_ok(a, ef_readback_start(a, x, EF_DEFER_UNTIL_SYNC, labels[i], &r));
        ef_test_ok(a, ef_batch_sync(a, labels[i]));
        ef_readback_free(r);
    }
    ef_test_close(a);
    json_t *events = load(path);
    ck_assert_uint_eq(count(events, EF__DEVICE, labels[0], NULL), 1);
    ck_assert_uint_eq(count(events, EF__DEVICE, "half ", NULL), 1);
    size_t i, labelled = 0;
    json_t *e;
    json_array_foreach(events, i, e) labelled +=
        is_span(e) && lane_of(e) == EF__READBACK &&
        !strcmp(arg_text(e, "label"), arg_text(e, "batch"));
    ck_assert_uint_eq(labelled, sizeof labels / sizeof *labels);
    json_decref(events);
}
END_TEST

START_TEST(a_clblast_call_is_one_span)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(5, 8), ef_test_randn(40, 1));
    ef_tensor *y = ef_test_f32(a, SHAPE(5, 5), NULL);
    ef_test_ok(a, ef__op_force(a, EF__LINEAR_FORWARD, "clblast", NULL));
    ef_test_ok(a, ef_linear_forward(a, x, x, NULL, y));
    ef_test_close(a);
    json_t *events = load(path);
    ck_assert_uint_eq(count(events, EF__DEVICE, NULL, "linear.forward[clblast]"), 1);
    json_decref(events);
}
END_TEST

START_TEST(a_refused_operation_is_on_the_hosts_side_alone)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL), *y = ef_test_f32(a, SHAPE(4), NULL);
    ef_test_refused(a, ef_residual_add(a, x, y), EF_ESHAPE, "residual_add");
    ef_test_close(a);
    json_t *events = load(path);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, NULL, "residual_add"), 1);
    ck_assert_uint_eq(count(events, EF__DEVICE, NULL, "residual_add"), 0);
    json_decref(events);
}
END_TEST

/* More spans than are held back for a label. */
START_TEST(a_long_batch_is_written_in_parts)
{
    const size_t n = ef_test_size(100, 1000, 70000);
    struct stat st;
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL);
    ef_test_ok(a, ef_batch_begin(a));
    for (size_t i = 0; i < n; i++)
        ef_test_ok(a, ef_tensor_fill(x, 1));
    if (n == 70000) /* more than wait for a sync */
        ck_assert(!stat(path, &st) && st.st_size > 100000);
    ef_test_ok(a, ef_batch_sync(a, "long"));
    ef_test_close(a);
    json_t *events = load(path);
    ck_assert_uint_eq(count(events, EF__DEVICE, NULL, "tensor.fill"), n);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, NULL, "tensor.fill"), n);
    is_monotone(events, 1000);
    json_decref(events);
}
END_TEST

/* ---- files ---- */

START_TEST(a_second_actor_has_a_file_of_its_own)
{
    ef_actor *a = ef_test_open(), *b = NULL;
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL), *y = NULL;
    ck_assert_int_eq(ef_actor_open(NULL, &b, NULL), EF_OK);
    ef_test_ok(b, ef_tensor_new(b, EF_F32, 1, (size_t[]){3}, "y", &y));
    ef_test_ok(a, ef_tensor_fill(x, 1));
    ef_test_ok(b, ef_tensor_copy(y, y));
    ef_tensor_free(y);
    ef_actor_close(b);
    ef_test_close(a);
    json_t *events = load(path), *others = load(second);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, NULL, "tensor.fill"), 1);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, NULL, "tensor.copy"), 0);
    ck_assert_uint_eq(count(others, EF__ENQUEUE, NULL, "tensor.fill"), 0);
    ck_assert_uint_eq(count(others, EF__ENQUEUE, NULL, "tensor.copy"), 1);
    json_decref(events);
    json_decref(others);
    ef_test_close(ef_test_open()); /* nobody has the file any more */
    events = load(path);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, NULL, NULL), 0);
    json_decref(events);
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_an_error_of_opening)
{
    const char *const bad[] = {"/nonexistent/t.json", folder, "/dev/null"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ef_actor *a = NULL;
        ef_error e = {0};
        setenv("EF_TRACE", bad[i], 1);
        ck_assert_int_eq(ef_actor_open(NULL, &a, &e), EF_EIO);
        ck_assert_ptr_null(a);
        ck_assert_ptr_nonnull(strstr(e.text, "EF_TRACE"));
        ck_assert_ptr_nonnull(strstr(e.text, bad[i]));
    }
    setenv("EF_TRACE", "", 1);
    ef_actor *a = ef_test_open();
    ck_assert(!a->trace && !a->profiling);
    ef_test_close(a);
}
END_TEST

/* The text of a trace that was cut; with the bracket that readers do without it is JSON. */
static json_t *load_cut(void)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(text, 1, sizeof text - 2, f);
    fclose(f);
    ck_assert_uint_gt(n, 0);
    ck_assert_int_ne(text[n - 2], ']');
    memcpy(text + n, "]", 2);
    json_error_t e;
    json_t *events = json_loads(text, 0, &e);
    ck_assert_msg(events != NULL, "%d: %s", e.line, e.text);
    return events;
}

START_TEST(a_process_that_dies_leaves_its_synced_batches)
{
    fflush(NULL);
    pid_t child = fork(); /* nothing of OpenCL was called yet */
    if (child == 0) {
        ef_actor *a = ef_test_open();
        ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL);
        ef_test_ok(a, ef_batch_begin(a));
        ef_test_ok(a, ef_tensor_fill(x, 1));
        ef_test_ok(a, ef_batch_sync(a, "whole"));
        ef_test_ok(a, ef_tensor_fill(x, 2));
        raise(SIGKILL);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    json_t *events = load_cut();
    ck_assert_uint_eq(count(events, EF__DEVICE, "whole", "tensor.fill"), 1);
    json_decref(events);
}
END_TEST

START_TEST(a_full_disk_ends_the_trace_not_the_work)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL);
    struct rlimit limit = {8000, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 50; i++) {
        ef_test_ok(a, ef_batch_begin(a));
        ef_test_ok(a, ef_tensor_fill(x, i));
        ef_test_ok(a, ef_batch_sync(a, "full"));
    }
    ck_assert_float_eq(*(const float *)ef_test_read(x), 49);
    ef_test_close(a);
    json_t *events = load_cut();
    ck_assert_uint_gt(count(events, EF__DEVICE, "full", "tensor.fill"), 3);
    ck_assert_uint_lt(count(events, EF__DEVICE, "full", "tensor.fill"), 50);
    json_decref(events);
}
END_TEST

START_TEST(what_a_loader_did_has_a_lane_without_a_batch)
{
    ef_actor *a = ef_test_open();
    ef_test_ok(a, ef_batch_begin(a));
    ef__trace_loaded(a, 1.5, 1.75);
    ef_test_ok(a, ef_batch_sync(a, "step"));
    ef_test_close(a);
    json_t *events = load(path), *e;
    size_t i;
    ck_assert_uint_eq(count(events, EF__LOADER, NULL, "batch"), 1);
    json_array_foreach(events, i, e) if (is_span(e) && lane_of(e) == EF__LOADER)
    {
        ck_assert(from(e) == 1.5e6 && to(e) == 1.75e6);
        ck_assert_ptr_null(arg(e, "batch"));
    }
    json_decref(events);
}
END_TEST

START_TEST(an_adopted_queue_without_times_shows_the_host)
{
    ef_actor *owner = ef_test_open(), *a = NULL;
    cl_int code;
    cl_command_queue queue = clCreateCommandQueue(owner->context, owner->device, 0, &code);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(ef_actor_adopt(owner->context, queue, &a, NULL), EF_OK);
    clReleaseCommandQueue(queue);
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){9}, "t", &t));
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ef_test_ok(a, ef_actor_finish(a));
    ef_tensor_free(t);
    ef_actor_close(a);
    ef_test_close(owner);
    json_t *events = load(second);
    ck_assert_uint_eq(count(events, EF__ENQUEUE, NULL, "tensor.fill"), 1);
    ck_assert_uint_eq(count(events, EF__WAIT, NULL, NULL), 1);
    ck_assert_uint_eq(count(events, EF__DEVICE, NULL, NULL), 0);
    json_decref(events);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("trace");
    TCase *t = ef_test_case(s, "spans");
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_loop_test(t, a_step_appears_once_a_launch, 0, 2);
    tcase_add_test(t, what_is_outside_of_a_batch_has_no_label);
    tcase_add_test(t, a_batch_that_opens_during_a_sync_has_its_own_label);
    tcase_add_test(t, the_devices_clock_is_mapped_to_the_hosts);
    tcase_add_test(t, any_label_gives_valid_json);
    tcase_add_test(t, a_clblast_call_is_one_span);
    tcase_add_test(t, a_refused_operation_is_on_the_hosts_side_alone);
    tcase_add_test(t, a_long_batch_is_written_in_parts);
    t = ef_test_case(s, "files");
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_test(t, a_second_actor_has_a_file_of_its_own);
    tcase_add_test(t, a_file_that_cannot_be_written_is_an_error_of_opening);
    tcase_add_test(t, a_process_that_dies_leaves_its_synced_batches);
    tcase_add_test(t, a_full_disk_ends_the_trace_not_the_work);
    tcase_add_test(t, what_a_loader_did_has_a_lane_without_a_batch);
    tcase_add_test(t, an_adopted_queue_without_times_shows_the_host);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
