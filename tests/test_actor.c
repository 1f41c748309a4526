/* The actor: devices, tensors, the pool, errors, a caller's own queue. */
#include "ef_test.h"
#include "energyflow_cl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(every_status_has_a_text)
{
    for (int s = EF_OK; s <= EF_ETIMEOUT; s++)
        ck_assert_str_ne(ef_strerror((ef_status)s), "unknown status");
    ck_assert_str_eq(ef_strerror((ef_status)99), "unknown status");
    ck_assert_ptr_nonnull(strstr(ef_version_full(), ef_version()));
    const char *const built_with[] = {"(OpenCL loader ", ", CLBlast ", ", hwloc ", ", jansson ",
                                      ", utf8proc "};
    for (size_t i = 0; i < sizeof built_with / sizeof *built_with; i++) {
        const char *at = strstr(ef_version_full(), built_with[i]);
        ck_assert_msg(at && at[strlen(built_with[i])] >= '0' && at[strlen(built_with[i])] <= '9',
                      "%s", built_with[i]);
    }
}
END_TEST

START_TEST(a_device_is_found_by_index_and_by_part_of_its_name)
{
    ef_device_info info;
    ef_error error;
    ck_assert_uint_ge(ef_device_count(), 1);
    ck_assert_int_eq(ef_device_describe(0, &info, &error), EF_OK);
    ck_assert_uint_ge(info.compute_units, 1);
    ef_actor *a = NULL;
    ck_assert_int_eq(ef_actor_open("0", &a, &error), EF_OK);
    ck_assert_str_eq(ef_actor_device(a)->name, info.name);
    ef_actor_close(a);
    char part[5] = "";
    memcpy(part, info.name, 4);
    ck_assert_int_eq(ef_actor_open(part, &a, &error), EF_OK);
    ef_actor_close(a);
}
END_TEST

START_TEST(a_name_that_matches_nothing_lists_what_there_is)
{
    ef_device_info info;
    ef_error error = {0};
    ef_actor *a = NULL;
    ck_assert_int_eq(ef_device_describe(0, &info, NULL), EF_OK);
    ck_assert_int_eq(ef_actor_open("no such device", &a, &error), EF_EARG);
    ck_assert_ptr_nonnull(strstr(error.text, "no such device"));
    ck_assert_ptr_nonnull(strstr(error.text, info.name));
    ck_assert_int_eq(ef_actor_open("999", &a, &error), EF_EARG);
    ck_assert_int_eq(ef_device_describe(999, &info, &error), EF_EARG);
    ck_assert_ptr_null(a);
}
END_TEST

START_TEST(the_machine_around_a_device_is_known)
{
    char *text = NULL;
    ef_device_info info;
    ck_assert_int_eq(ef_device_tree(0, &text, NULL), EF_OK);
    ck_assert_int_eq(ef_device_describe(0, &info, NULL), EF_OK);
    ck_assert_ptr_nonnull(strstr(text, info.name));
    free(text);
}
END_TEST

START_TEST(tensors_round_trip_through_the_device)
{
    ef_actor *a = ef_test_open();
    float *x = ef_test_randn(3 * 5 * 7, 1);
    ef_tensor *t = ef_test_f32(a, SHAPE(3, 5, 7), x);
    ef_test_same_bits("f32", t, x);
    ck_assert_uint_eq(ef_tensor_rank(t), 3);
    ck_assert_uint_eq(ef_tensor_count(t), 105);
    ck_assert_uint_eq(ef_tensor_bytes(t), 420);
    ck_assert_uint_eq(ef_tensor_dims(t)[2], 7);
    uint8_t *m = ef_test_mask(11, 2, .5);
    ef_test_same_bits("u8", ef_test_u8(a, SHAPE(11), m), m);
    int32_t *n = ef_test_ints(13, 3, -5, 1 << 30);
    ef_test_same_bits("i32", ef_test_i32(a, SHAPE(13), n), n);
    ef_test_close(a);
}
END_TEST

START_TEST(an_upload_copies_the_callers_memory)
{
    ef_actor *a = ef_test_open();
    float x[3] = {1, 2, 3}, want[3] = {1, 2, 3};
    ef_tensor *t = ef_test_f32(a, SHAPE(3), NULL);
    ef_test_ok(a, ef_tensor_write(t, x));
    memset(x, 0xff, sizeof x);
    ef_test_same_bits("upload", t, want);
    ef_test_close(a);
}
END_TEST

START_TEST(fill_and_copy_touch_nothing_else)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(17), NULL), *y = ef_test_f32(a, SHAPE(17), NULL);
    float want[17];
    for (int i = 0; i < 17; i++)
        want[i] = -2.5f;
    ef_test_ok(a, ef_tensor_fill(x, -2.5));
    ef_test_ok(a, ef_tensor_copy(y, x));
    ef_test_same_bits("copy", y, want);
    ef_tensor *h = ef_test_f16(a, SHAPE(3), NULL);
    const struct {
        double value;
        uint16_t bits;
    } half[] = {{1.5, 0x3e00}, {-65504, 0xfbff},   {65520, 0x7c00}, {6e-8, 0x0001},
                {1e-9, 0},     {INFINITY, 0x7c00}, {2049, 0x6800},  {2051, 0x6802}};
    for (size_t i = 0; i < sizeof half / sizeof *half; i++) {
        uint16_t three[3] = {half[i].bits, half[i].bits, half[i].bits};
        ef_test_ok(a, ef_tensor_fill(h, half[i].value));
        ef_test_same_bits("half", h, three);
    }
    ef_test_refused(a, ef_tensor_copy(h, x), EF_ESHAPE, "tensor.copy");
    ef_test_close(a);
}
END_TEST

START_TEST(a_view_shares_memory_and_outlives_its_parent)
{
    ef_actor *a = ef_test_open();
    ef_tensor *parent = NULL, *view = NULL, *none = NULL;
    float x[64];
    for (int i = 0; i < 64; i++)
        x[i] = (float)i;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){64}, "parent", &parent));
    ef_test_ok(a, ef_tensor_write(parent, x));
    ef_test_ok(a, ef_tensor_view(parent, 16, 2, (size_t[]){2, 8}, "view", &view));
    ef_test_refused(a, ef_tensor_view(parent, 8, 1, (size_t[]){8}, "odd", &none), EF_EARG,
                    "64-byte");
    ef_test_refused(a, ef_tensor_view(parent, 48, 1, (size_t[]){17}, "long", &none), EF_ESHAPE,
                    "parent");
    ef_tensor_free(parent);
    const void *data;
    ef_readback *r = NULL;
    ef_test_ok(a, ef_readback_start(a, view, EF_IMMEDIATE, NULL, &r));
    ef_test_ok(a, ef_readback_value(r, &data, NULL));
    ck_assert_int_eq(memcmp(data, x + 16, 64), 0);
    ef_readback_free(r);
    ef_tensor_free(view);
    ef_test_close(a);
}
END_TEST

START_TEST(the_pool_reuses_trims_and_counts)
{
    ef_actor *a = ef_test_open();
    ef_stats s, later;
    ef_tensor *t = NULL;
    for (int i = 0; i < 100; i++) {
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){1000}, "t", &t));
        ef_test_ok(a, ef_tensor_fill(t, i));
        ef_tensor_free(t);
        if (i == 0)
            ef_actor_stats(a, &s);
    }
    ef_actor_stats(a, &later);
    ck_assert_uint_eq(later.pool_bytes, s.pool_bytes);
    ck_assert_uint_eq(later.pool_used, s.pool_used);
    ef_actor_trim(a);
    ef_actor_stats(a, &later);
    ck_assert_uint_lt(later.pool_bytes, s.pool_bytes);
    ck_assert_uint_eq(later.pool_bytes, later.pool_used);
    ef_test_close(a);
}
END_TEST

START_TEST(a_size_that_cannot_be_is_refused_with_numbers)
{
    ef_actor *a = ef_test_open();
    ef_tensor *t = NULL;
    size_t huge[2] = {SIZE_MAX / 2, 3};
    ef_test_refused(a, ef_tensor_new(a, EF_F32, 2, huge, "huge", &t), EF_EARG, "huge");
    size_t large = (size_t)(ef_actor_device(a)->max_alloc_bytes / 4 + 1);
    ef_test_refused(a, ef_tensor_new(a, EF_F32, 1, &large, "large", &t), EF_ENOMEM,
                    "tensor.new: large needs ");
    ef_test_refused(a, ef_tensor_new(a, EF_F32, 1, &large, NULL, &t), EF_ENOMEM, "bytes left");
    ef_test_refused(a, ef_tensor_new(a, EF_F32, 5, huge, "deep", &t), EF_EARG, "rank 5");
    ck_assert_ptr_null(t);
    ef_test_close(a);
}
END_TEST

START_TEST(canary_mode_fills_freed_leases_with_nan)
{
    setenv("EF_DEBUG", "canary", 1);
    ef_actor *a = ef_test_open();
    ef_tensor *t = NULL, *again = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){100}, "t", &t));
    ef_test_ok(a, ef_tensor_fill(t, 1));
    ef_tensor_free(t);
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){100}, "t", &again));
    const void *data;
    ef_readback *r = NULL;
    ef_test_ok(a, ef_readback_start(a, again, EF_IMMEDIATE, NULL, &r));
    ef_test_ok(a, ef_readback_value(r, &data, NULL));
    ck_assert(isnan(((const float *)data)[50]));
    ef_readback_free(r);
    ef_tensor_free(again);
    ef_test_close(a);
}
END_TEST

START_TEST(an_unknown_setting_is_refused_by_name)
{
    static const struct {
        const char *name, *value, *allowed; /* NULL: legal */
    } settings[] = {{"EF_GUARD", "trap", NULL},
                    {"EF_GUARD", "", NULL},
                    {"EF_GUARD", "err", "trap|error"},
                    {"EF_GUARD", "trap,error", "trap|error"},
                    {"EF_DEBUG", "canary,sync", NULL},
                    {"EF_DEBUG", "syncs", "sync|canary"},
                    {"EF_DEBUG", "sync,", "sync|canary"},
                    {"EF_LINEAR", "own", NULL},
                    {"EF_LINEAR", "blas", "clblast|own"},
                    {"EF_ACCURACY", "strict", NULL},
                    {"EF_ACCURACY", "loose", "strict|normal"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        ef_actor *a = NULL;
        ef_error e = {0};
        setenv(settings[i].name, settings[i].value, 1);
        ef_status status = ef_actor_open(NULL, &a, &e);
        unsetenv(settings[i].name);
        ck_assert_int_eq(status, settings[i].allowed ? EF_EARG : EF_OK);
        ck_assert_int_eq(!a, !!settings[i].allowed);
        if (settings[i].allowed) {
            ck_assert_ptr_nonnull(strstr(e.text, settings[i].name));
            ck_assert_ptr_nonnull(strstr(e.text, settings[i].value));
            ck_assert_ptr_nonnull(strstr(e.text, settings[i].allowed));
        }
        ef_actor_close(a);
    }
}
END_TEST

START_TEST(debug_sync_waits_after_every_operation)
{
    setenv("EF_DEBUG", "sync", 1);
    ef_actor *a = ef_test_open();
    ef_tensor *t = ef_test_f32(a, SHAPE(3), NULL);
    ef_stats before, after;
    ef_actor_stats(a, &before);
    for (int i = 0; i < 5; i++)
        ef_test_ok(a, ef_tensor_fill(t, i));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(after.host_waits - before.host_waits, 5);
    ef_test_close(a);
}
END_TEST

START_TEST(a_broken_kernel_file_is_a_build_error_that_names_it)
{
    char dir[] = "/tmp/ef-test-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("EF_CL_DIR", dir, 1);
    snprintf(path, sizeof path, "%s/common.cl", dir);
    FILE *f = fopen(path, "w");
    fputs("\n", f);
    fclose(f);
    char broken[64];
    snprintf(broken, sizeof broken, "%s/elementwise.cl", dir);
    f = fopen(broken, "w");
    fputs("__kernel void residual_add(__global float *x) { this is not C }\n", f);
    fclose(f);
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL), *y = ef_test_f32(a, SHAPE(3), NULL);
    ef_test_refused(a, ef_residual_add(a, x, y), EF_EBUILD, "the program of elementwise.cl");
    unlink(broken);
    unlink(path);
    rmdir(dir);
    ef_test_close(a);
}
END_TEST

START_TEST(an_actor_works_on_a_callers_queue)
{
    cl_platform_id platform;
    cl_device_id device;
    cl_int code;
    ck_assert_int_eq(clGetPlatformIDs(1, &platform, NULL), 0);
    ck_assert_int_eq(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL), 0);
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, &code);
    ef_actor *a = NULL;
    ck_assert_int_eq(ef_actor_adopt(context, queue, &a, NULL), EF_OK);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){32}, "t", &t));
    ef_test_ok(a, ef_tensor_fill(t, 9));
    cl_mem mem;
    size_t offset;
    float x[32];
    ef_test_ok(a, ef_tensor_cl_mem(t, &mem, &offset));
    ck_assert_int_eq(
        clEnqueueReadBuffer(queue, mem, CL_TRUE, offset * 4, sizeof x, x, 0, NULL, NULL), 0);
    ck_assert_float_eq(x[31], 9);
    ef_tensor_free(t);
    ef_actor_close(a);
}
END_TEST

START_TEST(a_queue_that_is_out_of_order_is_refused)
{
    cl_platform_id platform;
    cl_device_id device;
    cl_int code;
    ck_assert_int_eq(clGetPlatformIDs(1, &platform, NULL), 0);
    ck_assert_int_eq(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL), 0);
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    cl_command_queue queue =
        clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    ef_actor *a = NULL;
    ef_error error;
    if (queue)
        ck_assert_int_eq(ef_actor_adopt(context, queue, &a, &error), EF_EARG);
    ck_assert_ptr_null(a);
    if (queue)
        clReleaseCommandQueue(queue);
    clReleaseContext(context);
}
END_TEST

START_TEST(a_copy_over_itself_is_refused_unless_it_is_one_memory)
{
    ef_actor *a = ef_test_open();
    float x[64];
    for (int i = 0; i < 64; i++)
        x[i] = (float)i;
    ef_tensor *t = ef_test_f32(a, SHAPE(64), x), *from = NULL, *to = NULL, *end = NULL;
    size_t n = 32;
    ef_test_ok(a, ef_tensor_view(t, 0, 1, &n, "from", &from));
    ef_test_ok(a, ef_tensor_view(t, 16, 1, &n, "to", &to));
    ef_test_ok(a, ef_tensor_view(t, 32, 1, &n, "end", &end));
    ef_test_refused(a, ef_tensor_copy(to, from), EF_EARG, "tensor.copy: to f32 [32] overlaps from");
    ef_test_refused(a, ef_tensor_copy(to, NULL), EF_EARG, "tensor.copy");
    ef_test_ok(a, ef_tensor_copy(t, t));
    ef_test_same_bits("t", t, x);
    ef_test_ok(a, ef_tensor_copy(end, from));
    memcpy(x + 32, x, sizeof x / 2);
    ef_test_same_bits("t", t, x);
    ef_readback *none = NULL;
    ef_test_refused(a, ef_readback_start(a, NULL, EF_IMMEDIATE, NULL, &none), EF_EARG, "NULL");
    ck_assert_ptr_null(none);
    ef_tensor *views[] = {from, to, end};
    for (int i = 0; i < 3; i++)
        ef_tensor_free(views[i]);
    ef_test_close(a);
}
END_TEST

START_TEST(a_trim_and_a_reset_leave_tensors_their_memory)
{
    ef_actor *a = ef_test_open();
    const float x[16] = {3, 1, 4, 1, 5};
    ef_tensor *t = ef_test_f32(a, SHAPE(16), x), *view = NULL, *other = NULL;
    size_t n = 16;
    ef_test_ok(a, ef_tensor_view(t, 0, 1, &n, "view", &view));
    ef_actor_trim(a);
    ef_test_ok(a, ef_actor_reset(a));
    for (int i = 0; i < 100; i++) { /* what was free is leased again, and nothing else */
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){144}, "other", &other));
        ef_test_ok(a, ef_tensor_fill(other, -1));
        ef_tensor_free(other);
    }
    ef_test_same_bits("t", t, x);
    ef_test_same_bits("view", view, x);
    ef_tensor_free(view);
    ef_test_close(a);
}
END_TEST

typedef struct inventory {
    char text[200];
    size_t bytes;
} inventory;

static void note(void *user, const char *label, size_t bytes)
{
    inventory *i = user;
    size_t end = strlen(i->text);
    snprintf(i->text + end, sizeof i->text - end, "%s,", label);
    i->bytes += bytes;
}

static void check_leased(ef_actor *a, const char *want)
{
    inventory found = {0};
    ef_stats stats;
    ef_actor_memory(a, note, &found);
    ef_actor_stats(a, &stats);
    ck_assert_str_eq(found.text, want);
    ck_assert_uint_eq(found.bytes, stats.pool_used);
}

START_TEST(what_is_leased_is_listed_by_label)
{
    static const char *const labels[] = {"one", "two", "three"};
    ef_actor *a = ef_test_open();
    ef_tensor *t[3], *view;
    size_t n = 16;
    check_leased(a, "error record,");
    for (int i = 0; i < 3; i++)
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, (size_t[]){100}, labels[i], &t[i]));
    ef_test_ok(a, ef_tensor_view(t[0], 0, 1, &n, "view", &view));
    check_leased(a, "error record,one,two,three,");
    ef_tensor_free(t[1]);
    check_leased(a, "error record,one,three,");
    ef_tensor_free(t[0]); /* the view holds its memory */
    ef_tensor_free(t[2]);
    check_leased(a, "error record,one,");
    ef_tensor_free(view);
    check_leased(a, "error record,");
    ef_test_close(a);
}
END_TEST

START_TEST(the_text_of_a_long_tensor_is_cut)
{
    ef_actor *a = ef_test_open();
    const size_t huge[] = {SIZE_MAX, SIZE_MAX / 3, 0, SIZE_MAX / 7};
    char label[200], text[80 + 16];
    memset(label, 'x', sizeof label);
    label[199] = '\0';
    memset(text, '#', sizeof text);
    ef_tensor *t = NULL;
    ef_test_ok(a, ef_tensor_new(a, EF_F32, 4, (size_t[]){0, 1, 2, 3}, label, &t));
    ck_assert_ptr_nonnull(strstr(ef__tensor_text(t, text), "xx f32 [0,1,2,3]"));
    memcpy((size_t *)ef_tensor_dims(t), huge, sizeof huge);
    ck_assert_ptr_eq(ef__tensor_text(t, text), text);
    ck_assert_uint_eq(strlen(text), 79);
    for (size_t i = 80; i < sizeof text; i++)
        ck_assert_int_eq(text[i], '#');
    ef_tensor_free(t);
    ef_test_close(a);
}
END_TEST

START_TEST(a_tensor_of_another_actor_is_refused)
{
    ef_actor *a = ef_test_open(), *b = NULL;
    ck_assert_int_eq(ef_actor_open(NULL, &b, NULL), EF_OK);
    ef_tensor *x = ef_test_f32(a, SHAPE(3), NULL), *y = NULL;
    ef_test_ok(b, ef_tensor_new(b, EF_F32, 1, (size_t[]){3}, "foreign", &y));
    ef_test_refused(a, ef_residual_add(a, y, x), EF_EARG, "foreign");
    ef_tensor_free(y);
    ef_actor_close(b);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("actor");
    TCase *t = ef_test_case(s, "device");
    tcase_add_test(t, every_status_has_a_text);
    tcase_add_test(t, a_device_is_found_by_index_and_by_part_of_its_name);
    tcase_add_test(t, a_name_that_matches_nothing_lists_what_there_is);
    tcase_add_test(t, the_machine_around_a_device_is_known);
    tcase_add_test(t, an_actor_works_on_a_callers_queue);
    tcase_add_test(t, a_queue_that_is_out_of_order_is_refused);
    t = ef_test_case(s, "tensors");
    tcase_add_test(t, tensors_round_trip_through_the_device);
    tcase_add_test(t, an_upload_copies_the_callers_memory);
    tcase_add_test(t, fill_and_copy_touch_nothing_else);
    tcase_add_test(t, a_view_shares_memory_and_outlives_its_parent);
    tcase_add_test(t, the_pool_reuses_trims_and_counts);
    tcase_add_test(t, a_size_that_cannot_be_is_refused_with_numbers);
    tcase_add_test(t, a_copy_over_itself_is_refused_unless_it_is_one_memory);
    tcase_add_test(t, a_trim_and_a_reset_leave_tensors_their_memory);
    tcase_add_test(t, what_is_leased_is_listed_by_label);
    tcase_add_test(t, the_text_of_a_long_tensor_is_cut);
    tcase_add_test(t, a_tensor_of_another_actor_is_refused);
    t = ef_test_case(s, "debugging");
    tcase_add_test(t, canary_mode_fills_freed_leases_with_nan);
    tcase_add_test(t, debug_sync_waits_after_every_operation);
    tcase_add_test(t, an_unknown_setting_is_refused_by_name);
    tcase_add_test(t, a_broken_kernel_file_is_a_build_error_that_names_it);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
