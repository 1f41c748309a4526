/* Dispatch and the op table: every row is sound, every operation runs in and out of batches and is
 * readable either way, refuses what no operation takes, and marks what it writes. */
#include "ef_test.h"
#include "example.h"
#include <stdio.h>
#include <string.h>

/* ---- one small call of every operation ---- */

static const size_t small[EXAMPLE_SIZES] = {2, 5, 9, 4, 2, 99, 11};

static ef_tensor *make_tensor(ef_actor *a, const example_array *t)
{
    ef_test_shape shape = {t->rank, {0}};
    memcpy(shape.dims, t->dims, sizeof shape.dims);
    return t->dtype == EF_F32   ? ef_test_f32(a, shape, t->data)
           : t->dtype == EF_F16 ? ef_test_f16(a, shape, t->data)
           : t->dtype == EF_I32 ? ef_test_i32(a, shape, t->data)
                                : ef_test_u8(a, shape, t->data);
}

/* Fresh tensors, the same numbers each time. */
static ef__args make_args(ef_actor *a, int id, int which)
{
    example e;
    ef_tensor *t[EXAMPLE_TENSORS] = {NULL};
    ck_assert_msg(ef__op_row(id)->examples[which].tensors, "%s: no example", ef__op_row(id)->name);
    example_make(ef__op_row(id), which, small, &e);
    ck_assert(!e.no_memory);
    for (int i = 0; i < EXAMPLE_TENSORS; i++)
        if (e.t[i].rank)
            t[i] = make_tensor(a, &e.t[i]);
    example_bind(&e.args, t);
    example_clear(&e);
    return e.args;
}

static const ef_tensor *first_output(int id, const ef__args *args)
{
    return args->t[__builtin_ctz(ef__op_row(id)->writes)];
}

/* ---- the table ---- */

static int tensors(const ef__op *op)
{
    int count = 0;
    while (count < EF__MAX_TENSORS && op->names[count])
        count++;
    return count;
}

static int words(const char *text)
{
    int count = 1;
    while ((text = strchr(text, ' ')) != NULL) {
        text++;
        count++;
    }
    return count;
}

START_TEST(every_row_is_complete)
{
    for (int id = 0; id < EF__OPS; id++) {
        const ef__op *op = ef__op_row(id);
        ck_assert_ptr_nonnull(op->name);
        ck_assert_msg(op->check && op->flops && op->bytes && op->writes, "%s", op->name);
        for (int e = 0; e < EF__MAX_EXAMPLES && op->examples[e].tensors; e++)
            ck_assert_msg(words(op->examples[e].tensors) == tensors(op),
                          "%s: an example has %d tensors, the row names %d", op->name,
                          words(op->examples[e].tensors), tensors(op));
        size_t v = 0;
        while (v < EF__MAX_VARIANTS && op->variants[v].name) {
            ck_assert_msg(op->variants[v].fits && op->variants[v].launch, "%s", op->name);
            v++;
        }
        ck_assert_msg(v > 0 && op->variants[v - 1].fits == ef__fits_always,
                      "%s: the last variant does not always fit", op->name);
    }
}
END_TEST

/* A tuner can try every point. Of the CPU's convolutions fewer are valid: test_conv1d. */
START_TEST(no_variant_has_too_many_points)
{
    for (int id = 0; id < EF__OPS; id++) {
        const ef__variant *v = ef__op_row(id)->variants;
        for (; v < ef__op_row(id)->variants + EF__MAX_VARIANTS && v->name; v++) {
            size_t points = 1;
            for (size_t k = 0; k < ef__knobs(v); k++)
                points *= ef__knob_values(&v->knobs[k]);
            ck_assert_msg(points <= 600, "%s[%s]: %zu points", ef__op_row(id)->name, v->name,
                          points);
        }
    }
}
END_TEST

/* Also where a group may have few items. */
START_TEST(untuned_knobs_are_valid_on_any_device)
{
    ef_actor *a = ef_test_open();
    static const size_t items[] = {1, 8, 64, 256, 1024, 4096};
    for (size_t i = 0; i < sizeof items / sizeof *items; i++)
        for (int id = 0; id < EF__OPS; id++) {
            ef__device device = *ef__device_of(a);
            const ef__variant *v = ef__op_row(id)->variants;
            ef__args args = make_args(a, id, 0);
            ef_test_ok(a, ef__op_row(id)->check(a, ef__op_row(id)->name, &args));
            device.info.max_work_group = items[i];
            for (; v < ef__op_row(id)->variants + EF__MAX_VARIANTS && v->name; v++) {
                ef__choice c = ef__op_untuned(&device, id, v->name);
                memcpy(args.knob, c.knob, sizeof args.knob);
                ck_assert_msg(!v->fits(&device, &args) || ef__variant_runs(v, &device, &args),
                              "%s[%s], groups of %zu", ef__op_row(id)->name, v->name, items[i]);
            }
        }
    ef_test_close(a);
}
END_TEST

START_TEST(costs_are_positive_and_finite)
{
    ef_actor *a = ef_test_open();
    for (int id = 0; id < EF__OPS; id++) {
        const ef__op *op = ef__op_row(id);
        for (int e = 0; e < EF__MAX_EXAMPLES && op->examples[e].tensors; e++) {
            ef__args args = make_args(a, id, e);
            ef_test_ok(a, op->check(a, op->name, &args));
            ck_assert_msg(op->flops(&args) >= 0 && op->flops(&args) < 1e9, "%s", op->name);
            ck_assert_msg(op->bytes(&args) > 0 && op->bytes(&args) < 1e9, "%s", op->name);
        }
    }
    ef_test_close(a);
}
END_TEST

/* ---- operation x {in a batch, outside} x readback {deferred, immediate} ---- */

static void *read_back(ef_actor *a, const ef_tensor *t, ef_readback_mode mode, bool in_batch)
{
    ef_readback *rb;
    const void *value;
    size_t count;
    void *copy = ef_test_alloc(ef_tensor_bytes(t));
    ef_test_ok(a, ef_readback_start(a, t, mode, "value", &rb));
    if (in_batch && mode == EF_DEFER_UNTIL_SYNC) {
        ck_assert_int_eq(ef_readback_poll(rb), EF_ETIMEOUT);
        ef_test_ok(a, ef_batch_sync(a, "test"));
    }
    ef_test_ok(a, ef_readback_value(rb, &value, &count));
    memcpy(copy, value, ef_tensor_bytes(t));
    if (in_batch && mode == EF_IMMEDIATE)
        ef_test_ok(a, ef_batch_sync(a, "test"));
    ef_readback_free(rb);
    return copy;
}

START_TEST(every_operation_runs_in_batches_and_out_and_reads_either_way)
{
    ef_actor *a = ef_test_open();
    for (int id = 0; id < EF__OPS; id++) {
        const void *first = NULL;
        for (int how = 0; how < 4; how++) {
            bool in_batch = how & 1;
            ef_readback_mode mode = how & 2 ? EF_IMMEDIATE : EF_DEFER_UNTIL_SYNC;
            ef__args args = make_args(a, id, 0);
            const ef_tensor *out = first_output(id, &args);
            if (in_batch)
                ef_test_ok(a, ef_batch_begin(a));
            ef_test_ok(a, ef__op_run(a, id, &args));
            const void *value = read_back(a, out, mode, in_batch);
            ck_assert_msg(!first || !memcmp(first, value, ef_tensor_bytes(out)),
                          "%s differs, way %d", ef__op_row(id)->name, how);
            first = value;
        }
    }
    ef_test_close(a);
}
END_TEST

/* ---- what dispatch does for all of them ---- */

START_TEST(what_is_written_is_marked_and_nothing_else)
{
    ef_actor *a = ef_test_open();
    for (int id = 0; id < EF__OPS; id++) {
        uint64_t before[EF__MAX_TENSORS] = {0};
        const ef__op *op = ef__op_row(id);
        ef__args args = make_args(a, id, 0);
        for (int i = 0; i < EF__MAX_TENSORS && args.t[i]; i++)
            before[i] = ef__tensor_version(args.t[i]);
        ef_test_ok(a, ef__op_run(a, id, &args));
        for (int i = 0; i < EF__MAX_TENSORS && args.t[i]; i++)
            ck_assert_msg((ef__tensor_version(args.t[i]) != before[i]) == (op->writes >> i & 1),
                          "%s: tensor %d", op->name, i);
    }
    ef_test_close(a);
}
END_TEST

/* EARG; the message starts with the operation and holds both texts. */
static void refused_by_name(ef_actor *a, ef__op_id id, const ef__args *args, const char *text,
                            const char *other)
{
    const char *op = ef__op_row(id)->name;
    ef_status status = ef__op_run(a, id, args);
    ck_assert_msg(!strncmp(ef_actor_message(a), op, strlen(op)), "%s: %s", op, ef_actor_message(a));
    ck_assert_msg(strstr(ef_actor_message(a), other) != NULL, "%s", ef_actor_message(a));
    ef_test_refused(a, status, EF_EARG, text);
}

START_TEST(every_operation_refuses_null_half_and_strangers_by_name)
{
    ef_actor *a = ef_test_open(), *other = NULL;
    ck_assert_int_eq(ef_actor_open(NULL, &other, NULL), EF_OK);
    size_t one = 1;
    ef_tensor *stranger = NULL;
    ef_test_ok(other, ef_tensor_new(other, EF_F32, 1, &one, "stranger", &stranger));
    for (int id = 0; id < EF__OPS; id++) {
        const ef__op *op = ef__op_row(id);
        const ef__args good = make_args(a, id, 0);
        for (int i = 0; i < EF__MAX_TENSORS && good.t[i]; i++) {
            ef__args bad = good;
            bad.t[i] = NULL;
            if (!(op->optional >> i & 1))
                refused_by_name(a, id, &bad, "is NULL", op->names[i]);
            bad.t[i] = stranger;
            refused_by_name(a, id, &bad, "belongs to another actor", "stranger");
            bad.t[i] = ef_test_f16(a, SHAPE(1), NULL);
            if (id != EF__CAST)
                refused_by_name(a, id, &bad, "f16 not supported yet", "test");
        }
    }
    ef_tensor_free(stranger);
    ef_actor_close(other);
    ef_test_close(a);
}
END_TEST

/* ---- what may share memory ---- */

/* like's shape in memory, from byte on; lives as long as the memory. */
static ef_tensor *view_at(ef_actor *a, ef_tensor *memory, size_t byte, const ef_tensor *like)
{
    ef_tensor *view = NULL;
    size_t element = ef_tensor_bytes(memory) / ef_tensor_count(memory);
    ef_test_ok(a, ef_tensor_view(memory, byte / element, ef_tensor_rank(like), ef_tensor_dims(like),
                                 "view", &view));
    return view;
}

static ef_tensor *memory_for(ef_actor *a, ef_dtype dtype)
{
    ef_tensor *memory = NULL;
    ef_test_ok(a, ef_tensor_new(a, dtype, 1, (size_t[]){8192}, "memory", &memory));
    ef_test_ok(a, ef_tensor_fill(memory, 1));
    return memory;
}

/* Tensor i begins a memory, tensor j follows byte bytes later. */
static void share(ef_actor *a, ef__op_id id, int i, int j, size_t byte)
{
    const ef__op *op = ef__op_row(id);
    ef__args args = make_args(a, id, 0);
    ef_tensor *memory = memory_for(a, ef_tensor_dtype(args.t[i]));
    ef_tensor *out = view_at(a, memory, 0, args.t[i]), *in = view_at(a, memory, byte, args.t[j]);
    args.t[i] = out;
    args.t[j] = in;
    if (byte == 0 && i == __builtin_ctz(op->writes) && op->in_place >> j & 1) {
        ef_test_ok(a, ef__op_run(a, id, &args));
    } else {
        bool turned = j < i && op->writes >> j & 1; /* of two outputs the first is named first */
        char text[80];
        snprintf(text, sizeof text, "%s overlaps %s", op->names[turned ? j : i],
                 op->names[turned ? i : j]);
        refused_by_name(a, id, &args, text, op->name);
    }
    ef_tensor_free(in);
    ef_tensor_free(out);
    ef_tensor_free(memory);
}

START_TEST(an_output_overlaps_nothing_but_what_it_may_be)
{
    ef_actor *a = ef_test_open();
    for (int id = 0; id < EF__OPS; id++) {
        const ef__args args = make_args(a, id, 0);
        for (int i = 0; i < EF__MAX_TENSORS && args.t[i]; i++) {
            for (int j = 0; j < EF__MAX_TENSORS && args.t[j]; j++) {
                if (j == i || !(ef__op_row(id)->writes >> i & 1) ||
                    ef_tensor_dtype(args.t[i]) != ef_tensor_dtype(args.t[j]))
                    continue;
                share(a, id, i, j, 0);
                if (ef_tensor_bytes(args.t[i]) > 64)
                    share(a, id, i, j, 64);
            }
        }
    }
    ef_test_close(a);
}
END_TEST

/* Tensor j is the result too, or the result starts as a copy of it; the bits of the result. */
static const void *run_over(ef_actor *a, ef__op_id id, int j, bool in_place)
{
    const unsigned result = (unsigned)__builtin_ctz(ef__op_row(id)->writes);
    ef__args args = make_args(a, id, 0);
    if (in_place)
        args.t[result] = args.t[j];
    else
        ef_test_ok(a, ef_tensor_copy((ef_tensor *)args.t[result], args.t[j]));
    return ef_test_fits(a, ef__op_run(a, id, &args)) ? ef_test_read(args.t[result]) : NULL;
}

START_TEST(in_place_gives_the_same_bits)
{
    ef_actor *a = ef_test_open();
    for (int id = 0; id < EF__OPS; id++) {
        const ef__args args = make_args(a, id, 0);
        size_t bytes = ef_tensor_bytes(first_output(id, &args));
        for (int j = 0; ef__op_row(id)->in_place >> j; j++) {
            for (size_t v = 0; ef__op_row(id)->in_place >> j & 1 && ef_test_variant(a, id, v);
                 v++) {
                const void *apart = run_over(a, id, j, false);
                ck_assert_msg(!apart || !memcmp(apart, run_over(a, id, j, true), bytes),
                              "%s over %s, variant %zu", ef__op_row(id)->name,
                              ef__op_row(id)->names[j], v);
            }
        }
    }
    ef_test_close(a);
}
END_TEST

START_TEST(an_epilogue_overlaps_no_output)
{
    static const ef__op_id ids[] = {EF__EPILOGUE, EF__CONV1D_FORWARD, EF__CONV1D_DX,
                                    EF__LINEAR_FORWARD, EF__LINEAR_DX};
    ef_actor *a = ef_test_open();
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        const ef__op_id id = ids[k];
        ef__args args = make_args(a, id, 0);
        ef_tensor *memory = memory_for(a, EF_F32), *fresh = NULL, *bias = NULL;
        ef_tensor *x = view_at(a, memory, 4096, args.t[0]);
        ef_tensor *y = view_at(a, memory, 0, first_output(id, &args));
        ef_tensor *later = view_at(a, memory, 64, y), *over_x = view_at(a, memory, 4096, y);
        size_t columns = ef__columns(y);
        ef_test_ok(a, ef_tensor_view(memory, 0, 1, &columns, "view", &bias));
        ef_test_ok(a,
                   ef_tensor_new(a, EF_F32, ef_tensor_rank(y), ef_tensor_dims(y), "fresh", &fresh));
        ef_test_ok(a, ef_tensor_fill(fresh, 1));
        args.t[0] = x;
        args.t[__builtin_ctz(ef__op_row(id)->writes)] = y;
        const struct {
            ef_epilogue epilogue;
            const char *part;
        } bad[] = {
            {{.pre = y}, "epilogue.pre"},
            {{.pre = later}, "epilogue.pre"},
            {{.pre = over_x}, "epilogue.pre overlaps"},
            {{.pre = fresh, .residual = fresh}, "epilogue.pre overlaps epilogue.residual"},
            {{.bias = bias}, "overlaps epilogue.bias"},
            {{.gelu_grad = y}, "overlaps epilogue.gelu_grad"},
            {{.residual = later}, "overlaps epilogue.residual"},
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            args.epilogue = bad[i].epilogue;
            if (id != EF__EPILOGUE || bad[i].epilogue.pre != over_x)
                refused_by_name(a, id, &args, bad[i].part, "overlaps");
        }
        args.epilogue = (ef_epilogue){.residual = y, .pre = fresh};
        ef_test_ok(a, ef__op_run(a, id, &args));
        ef_tensor *all[] = {memory, fresh, bias, x, y, later, over_x};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            ef_tensor_free(all[i]);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(an_error_is_sticky_until_reset_and_keeps_the_device_idle)
{
    ef_actor *a = ef_test_open();
    ef_tensor *x = ef_test_f32(a, SHAPE(4), NULL), *y = ef_test_f32(a, SHAPE(5), NULL);
    ef_stats before, after;
    ef_error error;
    ck_assert_int_eq(ef_residual_add(a, x, y), EF_ESHAPE);
    ef_actor_stats(a, &before);
    for (int id = 0; id < EF__OPS; id++)
        ck_assert_int_eq(ef__op_run(a, id, &(ef__args){.t = {x, x, x, x, x, x, x, x, x, x}}),
                         EF_ESHAPE);
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(before.launches, after.launches);
    ck_assert_int_eq(ef_actor_error(a, &error), EF_ESHAPE);
    ck_assert_str_eq(error.op, "residual_add");
    ef_test_ok(a, ef_actor_reset(a));
    ef_test_ok(a, ef_residual_add(a, x, x));
    ef_test_close(a);
}
END_TEST

START_TEST(a_variant_is_forced_by_name_until_it_is_given_back)
{
    ef_actor *a = ef_test_open();
    for (int id = 0; id < EF__OPS; id++) {
        const ef__op *op = ef__op_row(id);
        ef__args args = make_args(a, id, 0);
        ef_test_ok(a, op->check(a, op->name, &args));
        const ef__choice choice = ef__op_choose(a, id, &args);
        memcpy(args.knob, choice.knob, sizeof args.knob);
        ck_assert(ef__variant_runs(choice.variant, ef__device_of(a), &args));
        for (size_t v = 0; ef_test_variant(a, id, v); v++)
            ck_assert_ptr_eq(ef__op_choose(a, id, &args).variant, &op->variants[v]);
        ck_assert_ptr_eq(ef__op_choose(a, id, &args).variant, choice.variant);
        ef_test_refused(a, ef__op_force(a, id, "no such", NULL), EF_EARG,
                        "no variant is called no such");
    }
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("ops");
    TCase *t = ef_test_case(s, "ops");
    tcase_add_test(t, every_row_is_complete);
    tcase_add_test(t, no_variant_has_too_many_points);
    tcase_add_test(t, untuned_knobs_are_valid_on_any_device);
    tcase_add_test(t, costs_are_positive_and_finite);
    tcase_add_test(t, every_operation_runs_in_batches_and_out_and_reads_either_way);
    tcase_add_test(t, what_is_written_is_marked_and_nothing_else);
    tcase_add_test(t, every_operation_refuses_null_half_and_strangers_by_name);
    tcase_add_test(t, an_output_overlaps_nothing_but_what_it_may_be);
    tcase_add_test(t, in_place_gives_the_same_bits);
    tcase_add_test(t, an_epilogue_overlaps_no_output);
    tcase_add_test(t, an_error_is_sticky_until_reset_and_keeps_the_device_idle);
    tcase_add_test(t, a_variant_is_forced_by_name_until_it_is_given_back);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
