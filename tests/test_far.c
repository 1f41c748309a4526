/* Kernels count beyond 2^31 and 2^32. Large GPUs take tensors of that size. Elsewhere most kernels
 * run on tensors that seem to start so much earlier than they do: their offset wraps, the kernel's
 * sum wraps back, and the work-items' ids begin there too, where the driver keeps all 64 bits of a
 * global work offset, which NVIDIA's does not. */
#include "actor/internal.h"
#include "base/size.h"
#include "conv.h"
#include "op/conv1d.h"
#include <stdio.h>
#include <string.h>

static const size_t FAR = (size_t)1 << 33; /* elements */
enum { C = 64 };

static ef_tensor earlier(const ef_tensor *t, size_t elements)
{
    ef_tensor far = *t;
    far.offset -= elements;
    return far;
}

/* Skips, out loud, what a device cannot do. */
static bool is_cpu(const ef_actor *a, const char *what)
{
    if (!ef_actor_device(a)->is_cpu)
        printf("SKIP %s: offsets of work-items beyond 2^32 are for CPUs\n", what);
    return ef_actor_device(a)->is_cpu;
}

static bool holds(const ef_actor *a, size_t bytes, const char *what)
{
    bool held = ef_actor_device(a)->max_alloc_bytes >= bytes;
    if (!held)
        printf("SKIP %s: buffers of %zu GiB are needed\n", what, (bytes >> 30) + 1);
    return held;
}

/* More than a CPU's tests should take. */
static bool is_large_gpu(const ef_actor *a, size_t bytes, const char *what)
{
    if (!ef_actor_device(a)->is_gpu)
        printf("SKIP %s: for GPUs\n", what);
    return ef_actor_device(a)->is_gpu && holds(a, bytes, what);
}

/* A view of the last n elements of t. */
static ef_tensor *end_of(ef_actor *a, ef_tensor *t, int ndim, const size_t *dims)
{
    ef_tensor *end;
    size_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dims[i];
    ef_test_ok(a, ef_tensor_view(t, ef_tensor_count(t) - n, ndim, dims, "end", &end));
    return end;
}

/* A part that begins in one gibibyte and ends in the next. */
START_TEST(a_fill_passes_gibibytes)
{
    enum { AROUND = 1024 };
    const size_t most = (size_t)1 << 30, count[] = {most + 2 * AROUND}, part[] = {2 * AROUND},
                 all[] = {4 * AROUND};
    ef_actor *a = ef_test_open();
    ef_tensor *t, *middle, *end;
    if (holds(a, *count, "a fill that passes a gibibyte")) {
        ef_test_ok(a, ef_tensor_new(a, EF_U8, 1, count, "t", &t));
        ef_test_ok(a, ef_tensor_view(t, most - AROUND, 1, part, "middle", &middle));
        end = end_of(a, t, 1, all);
        ef_test_ok(a, ef_tensor_fill(end, 1));
        ef_test_ok(a, ef_tensor_fill(middle, 2));
        ef_readback *r;
        const void *data;
        ef_test_ok(a, ef_readback_start(a, end, EF_IMMEDIATE, "end", &r));
        ef_test_ok(a, ef_readback_value(r, &data, NULL));
        for (int i = 0; i < 4 * AROUND; i++)
            ck_assert_uint_eq(((const uint8_t *)data)[i],
                              i / AROUND == 1 || i / AROUND == 2 ? 2 : 1);
        ef_readback_free(r);
        ef_tensor_free(middle);
        ef_tensor_free(end);
        ef_tensor_free(t);
    }
    ef_test_close(a);
}
END_TEST

/* On 16 GiB: what the last elements become. */
START_TEST(more_than_two_to_the_32_elements)
{
    enum { SIZE = 320, ROWS = 5 };
    const size_t count[] = {((size_t)1 << 32) + SIZE}, size[] = {SIZE}, end_rows[] = {ROWS, C},
                 rows[] = {1, ((size_t)1 << 32) / C + ROWS, C}, end_mask[] = {ROWS};
    const uint8_t keep[ROWS] = {1, 0, 1, 1, 0};
    float *x = ef_test_randn(SIZE, 1), *z = ef_test_randn(ROWS * C, 2);
    double *want = ef_test_doubles(SIZE);
    ef_actor *a = ef_test_open();
    ef_tensor *all, *end, *mask;
    if (is_large_gpu(a, rows[1] * C * sizeof(float), "more than 2^32 elements")) {
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 1, count, "x", &all));
        ef_test_ok(a, ef_tensor_fill(all, 3));
        end = end_of(a, all, 1, size);
        ck_assert_float_eq(*(float *)ef_test_read(end), 3);
        ef_test_ok(a, ef_tensor_write(end, x));
        ef_test_ok(a, ef_gelu_forward(a, all, all));
        ef_test_ok(a, ef_residual_add(a, all, all));
        for (size_t i = 0; i < SIZE; i++)
            want[i] = 2 * ref_gelu(x[i]);
        const float *got = ef_test_read(end);
        for (size_t i = 0; i < SIZE; i++)
            ck_assert_msg(fabs(got[i] - want[i]) < 1e-5, "element %zu: %g, not %g", i, got[i],
                          want[i]);
        ef_tensor_free(end);
        ef_tensor_free(all);

        ef_test_ok(a, ef_tensor_new(a, EF_F32, 3, rows, "y", &all));
        ef_test_ok(a, ef_tensor_new(a, EF_U8, 2, rows, "mask", &mask));
        end = end_of(a, mask, 1, end_mask);
        ef_test_ok(a, ef_tensor_write(end, keep));
        ef_tensor_free(end);
        end = end_of(a, all, 2, end_rows);
        ef_test_ok(a, ef_tensor_write(end, z));
        ef_test_ok(a, ef_mask_rows(a, mask, all));
        got = ef_test_read(end);
        for (size_t i = 0; i < ROWS * C; i++)
            ck_assert_float_eq(got[i], keep[i / C] ? z[i] : 0);
        ef_tensor_free(end);
        ef_tensor_free(mask);
        ef_tensor_free(all);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(elements_are_counted_beyond_32_bits)
{
    enum { SIZE = 300, CHUNK = 4096 };
    static const struct {
        const char *source, *kernel;
        size_t chunk;
    } kernels[] = {{"gelu", "gelu_fwd_chunk", CHUNK},
                   {"gelu", "gelu_fwd_item", 1},
                   {"elementwise", "residual_add_chunk", CHUNK},
                   {"elementwise", "residual_add_item", 1}};
    ef_actor *a = ef_test_open();
    float *x = ef_test_randn(SIZE, 1), *y = ef_test_randn(SIZE, 2);
    for (size_t k = 0; is_cpu(a, "elements") && k < sizeof kernels / sizeof *kernels; k++) {
        double *want = ef_test_doubles(SIZE);
        ef_tensor *ty = ef_test_f32(a, SHAPE(SIZE), y);
        ef_tensor far_x = earlier(ef_test_f32(a, SHAPE(SIZE), x), FAR), far_y = earlier(ty, FAR);
        ef__call call = {.op = "test",
                         .source = kernels[k].source,
                         .kernel = kernels[k].kernel,
                         .defines = {{"GROUP", 1}, {"EACH", 1}},
                         .global = {kernels[k].chunk == 1 ? SIZE : 1},
                         .local = {1},
                         .offset = {FAR / kernels[k].chunk},
                         .args = {ef__t(&far_x), ef__t(&far_y), ef__n(FAR + SIZE)}};
        if (kernels[k].chunk > 1)
            call.args[3] = ef__n(CHUNK);
        for (size_t i = 0; i < SIZE; i++)
            want[i] = k < 2 ? ref_gelu(x[i]) : (double)x[i] + y[i];
        ef_test_ok(a, ef__launch(a, &call));
        ef_test_near(kernels[k].kernel, ty, want, 1e-6, 1e-6);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(rows_are_counted_beyond_32_bits)
{
    enum { ROWS = 3 };
    const uint8_t keep[ROWS] = {1, 0, 1};
    const size_t far_rows = FAR / C;
    ef_actor *a = ef_test_open();
    for (int item = 0; is_cpu(a, "rows") && item < 2; item++) {
        float *z = ef_test_randn(ROWS * C, 1);
        ef_tensor *t = ef_test_f32(a, SHAPE(ROWS, C), z);
        ef_tensor y = earlier(t, FAR), mask = earlier(ef_test_u8(a, SHAPE(ROWS), keep), far_rows);
        ef__call call = {.op = "test",
                         .source = "elementwise",
                         .kernel = item ? "mask_rows_item" : "mask_rows_chunk",
                         .global = {item ? ROWS * C : ROWS},
                         .local = {1},
                         .offset = {item ? FAR : far_rows},
                         .args = {ef__t(&mask), ef__t(&y), ef__n(far_rows + ROWS), ef__n(C)}};
        if (!item)
            call.args[4] = ef__n(1);
        ef_test_ok(a, ef__launch(a, &call));
        for (size_t i = C; i < 2 * C; i++)
            z[i] = 0;
        ef_test_same_bits("y", t, z);
    }
    ef_test_close(a);
}
END_TEST

/* ---- conv1d ---- */

enum { FAR_ROWS = 24 << 22 }; /* times C passes 2^32; a multiple of any tile's rows */

static ef__call far_panel(ef_actor *a, const ef_tensor *x, const ef_tensor *packed,
                          const ef_tensor *y, int rows)
{
    enum { TILE = 4 };
    const size_t lanes = ef__lanes(ef__device_of(a));
    ef__call call = {.op = "test",
                     .source = "conv1d",
                     .kernel = "conv1d_taps_panel",
                     .defines = {{"ROWS", TILE},
                                 {"PV", 1},
                                 {"MAX_TILES", 1},
                                 {"MAX_PANELS", 1},
                                 {"MAX_SUMS", 1}},
                     .local = {1, 1}};
    const ef__arg args[] = {ef__t(x),
                            ef__t(packed),
                            ef__t(y),
                            ef__t(NULL),
                            ef__t(NULL),
                            ef__t(NULL),
                            ef__t(NULL),
                            ef__i(1),
                            ef__i(FAR_ROWS + rows),
                            ef__i(C),
                            ef__i(C),
                            ef__i(1),
                            ef__i(-1),
                            ef__i(1),
                            ef__i(1),
                            ef__i(0),
                            ef__i((int32_t)lanes),
                            ef__n(C * lanes),
                            ef__i(0)};
    memcpy(call.args, args, sizeof args);
    call.offset[0] = FAR_ROWS / TILE;
    call.global[0] = ef__ceil_div((size_t)rows, TILE);
    call.global[1] = ef__ceil_div(C, lanes);
    return call;
}

static ef__call far_direct(const ef_tensor *x, const ef_tensor *w, const ef_tensor *y, int rows)
{
    return (ef__call){
        .op = "test",
        .source = "conv1d_direct",
        .kernel = "conv1d_taps_direct",
        .defines = {{"T", 1}, {"SIDE_M", 4}, {"SIDE_N", 4}, {"DEPTH", 8}, {"BUFFERS", 2}},
        .offset = {FAR_ROWS / 4 * (C / 4)},
        .global = {C / 4 * ef__ceil_div((size_t)rows, 4), 1},
        .local = {1, 1},
        .args = {ef__t(x), ef__t(w), ef__t(y), ef__t(NULL), ef__t(NULL), ef__t(NULL), ef__t(NULL),
                 ef__t(NULL), ef__i(FAR_ROWS + rows), ef__i(FAR_ROWS + rows), ef__i(C), ef__i(C),
                 ef__i(1), ef__n(1), ef__n(C), ef__n(1), ef__i(0)}};
}

START_TEST(row_offsets_pass_two_to_the_32)
{
    const int rows = 21;
    ef_actor *a = ef_test_open();
    conv p = conv_new(a, (ref_conv){1, (size_t)rows, C, C, 1, 1}, false);
    for (int panel = 0; panel <= ef_actor_device(a)->is_cpu; panel++) {
        ef_tensor *y = conv_y(a, &p, NULL), *packed = NULL, x = earlier(p.tx, (size_t)FAR_ROWS * C),
                  out = earlier(y, (size_t)FAR_ROWS * C);
        ef_test_ok(a, ef__op_begin(a, "test"));
        if (panel)
            ef_test_ok(a, ef__pack(a, "test", p.tw, 0, 1, 1, &packed));
        const ef__call call =
            panel ? far_panel(a, &x, packed, &out, rows) : far_direct(&x, p.tw, &out, rows);
        ef_test_ok(a, ef__op_end(a, ef__launch(a, &call)));
        conv_check_forward(panel ? "panel" : "direct", &p, y);
        ef_tensor_free(packed);
    }
    ef_test_close(a);
}
END_TEST

enum { WIDE = 512, LAST = 16 };

/* x has more than 2^31 elements, 9 GiB in one buffer, which only large GPUs have. forward reads its
 * last rows, dx writes them; what stands before them does not matter. */
START_TEST(offsets_pass_two_to_the_31)
{
    const size_t rows = ((size_t)1 << 31) / WIDE + 64, wide[] = {1, rows, WIDE},
                 one[] = {1, rows, 1}, last_wide[] = {LAST, WIDE}, last[] = {LAST};
    ef_actor *a = ef_test_open();
    float *ones = ef_test_floats(LAST * WIDE);
    for (size_t i = 0; i < LAST * WIDE; i++)
        ones[i] = 1;
    ef_tensor *x, *y, *end_x, *end_y, *w = ef_test_f32(a, SHAPE(1, WIDE, 2), ones);
    if (is_large_gpu(a, rows * WIDE * sizeof(float), "more than 2^31 elements")) {
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 3, wide, "x", &x));
        ef_test_ok(a, ef_tensor_new(a, EF_F32, 3, one, "y", &y));
        end_x = end_of(a, x, 2, last_wide);
        end_y = end_of(a, y, 1, last);
        ef_test_ok(a, ef_tensor_write(end_x, ones));
        ef_test_ok(a, ef_conv1d_forward(a, x, w, 3, NULL, y));
        ef_test_ok(a, ef_conv1d_dx(a, y, w, 3, NULL, x));
        const float *got_y = ef_test_read(end_y), *got_x = ef_test_read(end_x);
        for (size_t t = 3; t < LAST; t++)
            ck_assert_float_eq(got_y[t], 2 * WIDE);
        for (size_t i = 3 * WIDE; i < LAST * WIDE; i++)
            ck_assert_float_eq(got_x[i], (i / WIDE + 3 < LAST ? 2 : 1) * 2 * WIDE);
        ef_tensor_free(end_x);
        ef_tensor_free(end_y);
        ef_tensor_free(x);
        ef_tensor_free(y);
    }
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("far");
    TCase *t = ef_test_case(s, "far");
    tcase_add_test(t, a_fill_passes_gibibytes);
    tcase_add_test(t, more_than_two_to_the_32_elements);
    tcase_add_test(t, elements_are_counted_beyond_32_bits);
    tcase_add_test(t, rows_are_counted_beyond_32_bits);
    tcase_add_test(t, row_offsets_pass_two_to_the_32);
    tcase_add_test(t, offsets_pass_two_to_the_31);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
