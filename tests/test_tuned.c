/* The database of tuned choices as dispatch reads it. */
#include "ef_test.h"
#include "base/clock.h"
#include "op/tuned.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "test_tuned.XXXXXX";

/* A database of the actor's device, with these lines behind its header. */
static void write_database(ef_actor *a, const char *lines)
{
    char key[EF__SHA256_HEX];
    FILE *f = fopen(path, "w");
    ef__tuned_key(a, key);
    ck_assert_ptr_nonnull(f);
    fprintf(f, "{\"format\": \"%s\", \"key\": \"%s\", \"driver\": \"%s\", \"other\": [1]}\n%s",
            EF__TUNE_FORMAT, key, ef_actor_device(a)->driver, lines);
    ck_assert_int_eq(fclose(f), 0);
}

/* A record of the variant with its untuned knobs, of the kernels that are there, measured with that
 * driver. */
static const char *record_by(ef_actor *a, const char *driver, ef__op_id id, const char *variant,
                             size_t n)
{
    char *line = ef_test_alloc(1024), hex[EF__SHA256_HEX] = "", *end;
    ef__choice c = ef__op_untuned(ef__device_of(a), id, variant);
    if (c.variant)
        ck_assert_int_eq(ef__op_hash(a, id, hex), EF_OK);
    end = line + sprintf(line,
                         "{\"op\": \"%s\", \"n\": [%zu], \"parts\": 0, \"accuracy\": \"normal\", "
                         "\"variant\": \"%s\", "
                         "\"source\": \"%s\", \"driver\": \"%s\", \"knobs\": {",
                         ef__op_row(id)->name, n, variant, hex, driver);
    for (size_t i = 0; c.variant && i < ef__knobs(c.variant); i++)
        end += sprintf(end, "%s\"%s\": %d", i ? ", " : "", c.variant->knobs[i].name, c.knob[i]);
    sprintf(end, "}}\n");
    return line;
}

static const char *record(ef_actor *a, ef__op_id id, const char *variant, size_t n)
{
    return record_by(a, ef_actor_device(a)->driver, id, variant, n);
}

/* Of what is in force. */
static const char *digest(ef_actor *a)
{
    ef_tune_info *info = ef_test_alloc(sizeof *info);
    ef_test_ok(a, ef_tune_get(a, info));
    return info->digest;
}

static const char *chosen(ef_actor *a, size_t n)
{
    return ef__op_choose(a, EF__GELU_FORWARD, &(ef__args){.n = {n}}).variant->name;
}

/* That which is not the untuned choice. */
static const char *other(ef_actor *a)
{
    return strcmp(chosen(a, 1000), "item") ? "item" : "chunk";
}

static const char *join(const char *x, const char *y)
{
    char *both = ef_test_alloc(strlen(x) + strlen(y) + 1);
    return strcat(strcpy(both, x), y);
}

START_TEST(the_nearest_record_decides)
{
    ef_actor *a = ef_test_open();
    const char *untuned = chosen(a, 1000), *tuned = other(a);
    const bool fits = ef_actor_device(a)->is_cpu;
    write_database(a, join(record(a, EF__GELU_FORWARD, tuned, 1000),
                           record(a, EF__GELU_FORWARD, "default", 16000)));
    ef_test_ok(a, ef_tune_load(a, path));
    ck_assert_str_eq(chosen(a, 1000), fits ? tuned : untuned);
    ck_assert_str_eq(chosen(a, 2000), fits ? tuned : untuned);
    ck_assert_str_eq(chosen(a, 5000), untuned); /* nearer to 16000 */
    ck_assert_str_eq(chosen(a, 16000), untuned);
    ck_assert_str_eq(chosen(a, 124), untuned); /* more than 3 doublings away */
    ck_assert_str_eq(chosen(a, 126), fits ? tuned : untuned);
    ck_assert_str_eq(ef__op_choose(a, EF__GELU_BACKWARD, &(ef__args){.n = {1000}}).variant->name,
                     untuned);
    ef_test_close(a);
}
END_TEST

START_TEST(results_do_not_change_with_the_choice)
{
    enum { N = 1000 };
    ef_actor *a = ef_test_open();
    float *x = ef_test_randn(N, 1);
    ef_tensor *tx = ef_test_f32(a, SHAPE(N), x), *y = ef_test_f32(a, SHAPE(N), NULL);
    ef_test_ok(a, ef_gelu_forward(a, tx, y));
    double *want = ef_test_widen(N, ef_test_read(y));
    write_database(a, record(a, EF__GELU_FORWARD, other(a), N));
    ef_test_ok(a, ef_tune_load(a, path));
    ef_test_set(y, NULL);
    ef_test_ok(a, ef_gelu_forward(a, tx, y));
    ef_test_near("y", y, want, 1e-6, 1e-6);
    ef_test_close(a);
}
END_TEST

START_TEST(lines_that_are_no_records_are_passed_over)
{
    ef_actor *a = ef_test_open();
    const char *good = record(a, EF__GELU_FORWARD, "item", 1000);
    const char *const bad[] = {"nonsense\n",
                               "\n",
                               "[1, 2]\n",
                               "{\"op\": \"gelu.forward\"}\n",
                               "{\"op\": \"gelu.forward\", \"n\": [-1], \"parts\": 0, "
                               "\"accuracy\": \"normal\", \"variant\": \"item\", \"knobs\": "
                               "{}, "
                               "\"source\": \"\"}\n",
                               "{\"op\": \"gelu.forward\", \"n\": [1,2,3,4,5,6,7,8,9], \"parts\": "
                               "0, \"accuracy\": \"normal\", \"variant\": "
                               "\"item\", "
                               "\"knobs\": {}, \"source\": \"\"}\n",
                               "{\"op\": \"no such\", \"n\": [1], \"parts\": 0, \"accuracy\": "
                               "\"normal\", \"variant\": \"item\", \"knobs\": {}, "
                               "\"source\": \"\"}\n",
                               "{\"op\": \"gelu.forward\", \"n\": [1], \"parts\": 0, \"accuracy\": "
                               "\"normal\", \"variant\": \"gone\", \"knobs\": "
                               "{}, "
                               "\"source\": \"\"}\n",
                               "{\"op\": \"gelu.forward\", \"n\": [1], \"parts\": 0, \"accuracy\": "
                               "\"normal\", \"variant\": \"item\", "
                               "\"knobs\": {\"no\": 1}, \"source\": \"\"}\n",
                               "{\"op\": \"gelu.forward\", \"n\": [1], \"parts\": 0, \"accuracy\": "
                               "\"normal\", \"variant\": \"item\", \"knobs\": "
                               "{}, "
                               "\"source\": \"of other kernels\"}\n"};
    ef__tuned *t;
    ef_error error;
    const char *lines = good;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        lines = join(lines, bad[i]);
    write_database(a, join(lines, "{\"op\": \"cut o"));
    ck_assert_int_eq(ef__tuned_read(a, path, &t, &error), EF_OK);
    ck_assert_uint_eq(t->info.choices, 1);
    ck_assert_uint_eq(t->info.broken + t->info.stale,
                      sizeof bad / sizeof *bad); /* the empty one is none */
    ck_assert_str_eq(t->info.driver, "");
    ef__tuned_free(t);
    ef_test_close(a);
}
END_TEST

static const struct {
    const char *text, *says;
} unreadable[] = {
    {"", "not a file of"},
    {"{}", "not a file of"},
    {"\x7f"
     "ELF",
     "not a file of"},
    {"{\"format\": \"energyflow tune 2\", \"key\": \"x\", \"driver\": \"\"}\n", "not a file of"},
    {"{\"format\": \"energyflow tune 1\", \"driver\": \"\"}\n", "another device"},
    {"{\"format\": \"energyflow tune 1\", \"key\": \"x\", \"driver\": \"\"}\n", "another device"}};
enum { UNREADABLE = sizeof unreadable / sizeof *unreadable };

static void write_unreadable(const char *to, int which)
{
    FILE *f = fopen(to, "w");
    ck_assert_ptr_nonnull(f);
    fputs(unreadable[which].text, f);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(files_of_something_else_are_refused)
{
    ef_actor *a = ef_test_open();
    for (int i = 0; i < UNREADABLE; i++) {
        write_unreadable(path, i);
        ef_test_refused(a, ef_tune_load(a, path), EF_EFORMAT, unreadable[i].says);
    }
    ck_assert_int_eq(truncate(path, EF__TUNE_MOST_BYTES + 1), 0);
    ef_test_refused(a, ef_tune_load(a, path), EF_EFORMAT, "bytes, more than");
    unlink(path);
    ef_test_refused(a, ef_tune_load(a, path), EF_EIO, path);
    ck_assert_str_eq(digest(a), "");
    ef_test_close(a);
}
END_TEST

/* At `place` is the database that nobody named. */
static void works_without(const char *place, ef_status status, const char *says)
{
    ef_tune_info info;
    ef_actor *a = ef_test_open();
    ef_test_ok(
        a, ef_gelu_forward(a, ef_test_f32(a, SHAPE(10), NULL), ef_test_f32(a, SHAPE(10), NULL)));
    ef_test_ok(a, ef_tune_get(a, &info));
    ck_assert_str_eq(info.path, place);
    ck_assert_msg(strstr(info.error, place) && strstr(info.error, says), "%s", info.error);
    ck_assert(!info.choices && !*info.digest);
    ef_test_refused(a, ef_tune_load(a, place), status, says); /* now it is asked for */
    ef_test_close(a);
}

static void unreadable_databases_stop_nothing(const char *place)
{
    for (int i = 0; i < UNREADABLE; i++) {
        write_unreadable(place, i);
        works_without(place, EF_EFORMAT, unreadable[i].says);
    }
    ck_assert_int_eq(truncate(place, EF__TUNE_MOST_BYTES + 1), 0);
    works_without(place, EF_EFORMAT, "bytes, more than");
    unlink(place);
    ck_assert_int_eq(mkdir(place, 0777), 0);
    works_without(place, EF_EIO, place);
    rmdir(place);
}

START_TEST(the_environment_says_which)
{
    char key[EF__SHA256_HEX], home[] = "test_tuned_home.XXXXXX", own[4096], found[4096],
                              absolute[4096];
    bool named;
    ef_actor *a = ef_test_open();
    const char *untuned = chosen(a, 1000), *tuned = ef_actor_device(a)->is_cpu ? other(a) : untuned;
    write_database(a, record(a, EF__GELU_FORWARD, other(a), 1000));
    ck_assert_ptr_nonnull(realpath(path, absolute));
    ef__tuned_key(a, key);
    ef_test_close(a);

    setenv("EF_TUNE", absolute, 1);
    a = ef_test_open();
    ef_test_ok(a, ef_gelu_forward(a, ef_test_f32(a, SHAPE(1000), NULL),
                                  ef_test_f32(a, SHAPE(1000), NULL)));
    ck_assert_str_eq(chosen(a, 1000), tuned);
    ck_assert_uint_eq(strlen(digest(a)), 64);
    ef_test_close(a);

    setenv("EF_TUNE", "/nonexistent/file", 1);
    a = ef_test_open();
    ef_test_refused(
        a, ef_gelu_forward(a, ef_test_f32(a, SHAPE(1), NULL), ef_test_f32(a, SHAPE(1), NULL)),
        EF_EIO, "/nonexistent/file");
    ef_test_close(a);

    ck_assert_ptr_nonnull(mkdtemp(home));
    ck_assert_ptr_nonnull(realpath(home, own));
    setenv("XDG_DATA_HOME", own, 1);
    setenv("EF_TUNE", "on", 1);
    a = ef_test_open();
    ef_test_ok(a, ef__tuned_path(a, found, sizeof found, &named));
    ck_assert(!*found && !named);
    ck_assert_str_eq(digest(a), ""); /* none is there */
    ck_assert_str_eq(chosen(a, 1000), untuned);
    ef_test_close(a);

    strcat(own, "/energyflow");
    mkdir(own, 0777);
    strcat(own, "/tune");
    mkdir(own, 0777);
    ef__tuned_user_path(key, found, sizeof found);
    ck_assert_int_eq(rename(path, found), 0);
    unsetenv("EF_TUNE");
    a = ef_test_open();
    ck_assert_uint_eq(strlen(digest(a)), 64);
    ck_assert_str_eq(chosen(a, 1000), tuned);
    ef_test_close(a);

    setenv("EF_TUNE", "off", 1);
    a = ef_test_open();
    ck_assert_str_eq(digest(a), "");
    ck_assert_str_eq(chosen(a, 1000), untuned);
    ef_test_close(a);
    unsetenv("EF_TUNE");
    unreadable_databases_stop_nothing(found);
    rmdir(own);
    *strrchr(own, '/') = '\0';
    rmdir(own);
    rmdir(home);
}
END_TEST

/* With the first occurrence of `old` replaced. */
static const char *replaced(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    ck_assert_ptr_nonnull(at);
    char *all = ef_test_alloc(strlen(text) + strlen(new) + 1);
    sprintf(all, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    return all;
}

/* The header says who wrote last; each record, what it was measured with. */
START_TEST(another_drivers_choices_are_not_used)
{
    ef_tune_info info;
    ef_actor *a = ef_test_open();
    const char *own = record(a, EF__GELU_FORWARD, "item", 1000),
               *older = record_by(a, "0.1", EF__GELU_FORWARD, "item", 2000),
               *found_best = record_by(a, "0.1", EF__GELU_BACKWARD, "default", 2000),
               *unsaid =
                   replaced(record(a, EF__GELU_BACKWARD, "item", 1000), "\"driver\"", "\"x\"");
    write_database(a, join(join(own, older), join(found_best, unsaid)));
    for (int use = 0; use < 2; use++) {
        if (use)
            setenv("EF_TUNE_STALE", "use", 1);
        ef_test_ok(a, ef_tune_load(a, path));
        ef_test_ok(a, ef_tune_get(a, &info));
        ck_assert_uint_eq(info.choices, use ? 4 : 1);
        ck_assert_uint_eq(info.of_other_driver, use ? 0 : 3);
        ck_assert_uint_eq(info.broken + info.stale, 0);
        ck_assert_str_eq(info.driver, "0.1");
    }
    ef_test_close(a);
}
END_TEST

static const char *loose_variant(ef__op_id id)
{
    const ef__variant *v = ef__op_row(id)->variants;
    while (v->name && !v->loose)
        v++;
    ck_assert_ptr_nonnull(v->name);
    return v->name;
}

START_TEST(the_strict_class_gets_no_loose_variant)
{
    ef_tune_info info;
    ef_actor *a = ef_test_open();
    const char *loose = record(a, EF__CONV1D_FORWARD, loose_variant(EF__CONV1D_FORWARD), 1),
               *strict = replaced(loose, "\"normal\"", "\"strict\""),
               *neither = replaced(loose, "\"normal\"", "\"stricter\"");
    write_database(a, join(loose, join(strict, neither)));
    ef_test_ok(a, ef_tune_load(a, path));
    ef_test_ok(a, ef_tune_get(a, &info));
    ck_assert_uint_eq(info.choices, 1);
    ck_assert_uint_eq(info.broken, 2);
    ef_test_close(a);
}
END_TEST

START_TEST(the_digest_is_of_the_choices)
{
    char first[65], second[65];
    ef_actor *a = ef_test_open();
    const char *one = record(a, EF__GELU_FORWARD, "item", 1000);
    write_database(a, one);
    ef_test_ok(a, ef_tune_load(a, path));
    strcpy(first, digest(a));
    write_database(a, join("broken\n", one));
    ef_test_ok(a, ef_tune_load(a, path));
    ck_assert_str_eq(first, digest(a));
    write_database(a, join(one, record(a, EF__GELU_FORWARD, "default", 10)));
    ef_test_ok(a, ef_tune_load(a, path));
    strcpy(second, digest(a));
    ck_assert_str_ne(first, second);
    ef_test_close(a);
}
END_TEST

/* ---- EF_TUNE_CAPTURE ---- */

/* The lines of path. */
static json_t *read_capture(void)
{
    char text[4096];
    json_t *lines = json_array();
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(text, sizeof text, f)) {
        json_t *line = json_loads(text, 0, NULL);
        ck_assert_msg(json_is_object(line), "%s", text);
        json_array_append_new(lines, line);
    }
    fclose(f);
    return lines;
}

static void check_capture(json_t *line, json_int_t size, json_int_t count)
{
    const ef__op *row = ef__op_row(EF__GELU_FORWARD);
    const ef__args args = {.n = {(size_t)size}};
    ck_assert_str_eq(json_string_value(json_object_get(line, "op")), "gelu.forward");
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(line, "n"), 0)), size);
    ck_assert_int_eq(json_integer_value(json_object_get(line, "count")), count);
    ck_assert_double_eq(json_number_value(json_object_get(line, "flops")), row->flops(&args));
    ck_assert_double_eq(json_number_value(json_object_get(line, "bytes")), row->bytes(&args));
}

static void run_gelu(ef_actor *a, size_t n)
{
    ef_test_ok(a,
               ef_gelu_forward(a, ef_test_f32(a, SHAPE(n), NULL), ef_test_f32(a, SHAPE(n), NULL)));
}

START_TEST(what_ran_is_captured_when_the_actor_closes)
{
    ck_assert_int_eq(truncate(path, 0), 0);
    setenv("EF_TUNE_CAPTURE", path, 1);
    ef_actor *a = ef_test_open(), *b = ef_test_open();
    setenv("EF_TUNE_CAPTURE", "/nonexistent/later", 1); /* they have theirs */
    run_gelu(a, 100);
    run_gelu(a, 100);
    run_gelu(b, 300);
    ef_test_close(a);
    ef_test_close(b);
    json_t *lines = read_capture();
    ck_assert_uint_eq(json_array_size(lines), 2);
    check_capture(json_array_get(lines, 0), 100, 2);
    check_capture(json_array_get(lines, 1), 300, 1);
    json_decref(lines);
}
END_TEST

START_TEST(a_file_that_cannot_be_captured_to_is_said_at_once)
{
    static const char *const bad[] = {"/nonexistent/file", ".", "/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ef_actor *a;
        ef_error e;
        setenv("EF_TUNE_CAPTURE", bad[i], 1);
        ck_assert_int_eq(ef_actor_open(NULL, &a, &e), EF_EIO);
        ck_assert_msg(strstr(e.text, "EF_TUNE_CAPTURE") && strstr(e.text, bad[i]), "%s", e.text);
    }
    setenv("EF_TUNE_CAPTURE", "", 1);
    ef_test_close(ef_test_open());
}
END_TEST

/* ---- CLBlast's parameters: a process has one set, and each test is a process ---- */

static const char xgemm[] = "\"Xgemm\": {\"GEMMK\": 1, \"KREG\": 4, \"KWG\": 1, \"KWI\": 1, "
                            "\"MDIMA\": 4, \"MDIMC\": 4, \"MWG\": 16, \"NDIMB\": 4, \"NDIMC\": 4, "
                            "\"NWG\": 16, \"SA\": 0, \"SB\": 0, \"STRM\": 0, \"STRN\": 0, "
                            "\"VWM\": 4, \"VWN\": 4}",
                  routine[] = "\"GemmRoutine\": {\"XGEMM_MIN_INDIRECT_SIZE\": 1}";

/* With one occurrence of `old` in kernels replaced. */
static const char *clblast_record(ef_actor *a, const char *source, const char *kernels,
                                  const char *old, const char *new)
{
    char *line = ef_test_alloc(2048);
    const char *at = old ? strstr(kernels, old) : kernels + strlen(kernels);
    ck_assert_ptr_nonnull(at);
    sprintf(line,
            "{\"op\": \"clblast\", \"n\": [], \"parts\": 0, \"accuracy\": \"normal\", "
            "\"variant\": \"set\", \"source\": \"%s\", \"driver\": \"%s\", \"knobs\": "
            "{%.*s%s%s}}\n",
            source, ef_actor_device(a)->driver, (int)(at - kernels), kernels, old ? new : "",
            old ? at + strlen(old) : "");
    return line;
}

static const char *in_force(ef_actor *a)
{
    ef_tune_info *info = ef_test_alloc(sizeof *info);
    ef_test_ok(a, ef_tune_get(a, info));
    return info->clblast;
}

START_TEST(parameters_of_clblast_that_are_not_valid_never_reach_it)
{
    static const char *const bad[][2] = {
        {"\"KREG\": 4, ", ""},                    /* not all */
        {"\"KREG\": 4", "\"KREG\": 4, \"X\": 1"}, /* one too many */
        {"\"KREG\": 4", "\"X\": 4"},              /* another */
        {"\"KREG\": 4", "\"KREG\": \"4\""},
        {"\"KREG\": 4", "\"KREG\": -4"},
        {"\"KREG\": 4", "\"KREG\": 1e30"},
        {"\"KREG\": 4", "\"KREG\": 3"},   /* no value of its */
        {"\"KREG\": 4", "\"KREG\": 1"},   /* no multiple of VWN: wrong numbers */
        {"\"MDIMA\": 4", "\"MDIMA\": 2"}, /* not MDIMC */
        {"\"GEMMK\": 1", "\"GEMMK\": 0"}, /* KWG is none of that kernel's */
        {"\"MDIMC\": 4", "\"MDIMC\": 0"},
        {"\"Xgemm\": ", "\"Xaxpy\": "},
        {"\"Xgemm\": {", "\"Xgemm\": 5, \"X\": {"},
    };
    ef_actor *a = ef_test_open();
    ef_tune_info info;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_database(a, clblast_record(a, ef__clblast_source(), xgemm, bad[i][0], bad[i][1]));
        ef_test_ok(a, ef_tune_load(a, path));
        ef_test_ok(a, ef_tune_get(a, &info));
        ck_assert_msg(info.broken == 1 && !*info.clblast && !*info.digest, "%s", bad[i][1]);
    }
    write_database(a, clblast_record(a, ef__clblast_source(), routine, " 1}", " 1048577}"));
    ef_test_ok(a, ef_tune_load(a, path));
    ck_assert_str_eq(in_force(a), "");
    write_database(a, clblast_record(a, "CLBlast 0.1", xgemm, NULL, NULL));
    ef_test_ok(a, ef_tune_load(a, path));
    ef_test_ok(a, ef_tune_get(a, &info));
    ck_assert(info.stale == 1 && !*info.clblast);
    if (ef__clblast_version() < EF__CLBLAST_MENDED) { /* tiles that are not square */
        write_database(
            a, clblast_record(a, ef__clblast_source(), xgemm, "\"NWG\": 16", "\"NWG\": 32"));
        ef_test_ok(a, ef_tune_load(a, path));
        ck_assert_str_eq(in_force(a), "");
    }
    ef_test_close(a);
}
END_TEST

/* The product goes by them. tests/test_linear.c has the same, so that they are built once. */
START_TEST(a_process_has_one_set_of_clblasts_parameters)
{
    enum { B = 70, D = 90, E = 110 };
    ef_actor *a = ef_test_open(), *b = ef_test_open(), *c = ef_test_open();
    float *x = ef_test_randn(B * D, 1), *w = ef_test_randn(E * D, 2);
    double *want = ef_test_doubles(B * E);
    for (size_t i = 0; i < B * E; i++)
        for (size_t k = 0; k < D; k++)
            want[i] += (double)x[i / E * D + k] * w[i % E * D + k];
    setenv("EF_LINEAR", "clblast", 1);
    write_database(a, clblast_record(a, ef__clblast_source(), routine, NULL, NULL));
    ef_test_ok(a, ef_tune_load(a, path));
    ck_assert_str_eq(in_force(a), "GemmRoutine XGEMM_MIN_INDIRECT_SIZE 1");
    ck_assert_uint_eq(strlen(digest(a)), 64);
    ef_tensor *y = ef_test_f32(a, SHAPE(B, E), NULL);
    ef_test_ok(a, ef_linear_forward(a, ef_test_f32(a, SHAPE(B, D), x),
                                    ef_test_f32(a, SHAPE(E, D), w), NULL, y));
    ef_test_near("y", y, want, 1e-4, 1e-5);

    ef_test_ok(b, ef_tune_load(b, path));
    ck_assert_str_eq(digest(a), digest(b));
    write_database(a, clblast_record(a, ef__clblast_source(), xgemm, NULL, NULL));
    ck_assert_int_eq(ef_tune_load(b, path), EF_ESTATE);
    ck_assert_ptr_nonnull(strstr(ef_actor_message(b), "other tuned parameters"));
    ck_assert_str_eq(digest(a), digest(b)); /* it keeps what it has */
    setenv("EF_TUNE", path, 1);
    y = ef_test_f32(c, SHAPE(B, E), NULL);
    for (int i = 0; i < 2; i++) /* nor does it go on without */
        ck_assert_int_eq(ef_linear_forward(c, ef_test_f32(c, SHAPE(B, D), x),
                                           ef_test_f32(c, SHAPE(E, D), w), NULL, y),
                         EF_ESTATE);
    ef_test_close(c);
    ef_test_close(b);
    ef_test_close(a);
}
END_TEST

/* Such a set does not pass the rules: this is what they are for. */
START_TEST(parameters_with_which_clblast_is_wrong_are_noticed)
{
    ef_actor *a = ef_test_open();
    ef__clblast_set set = {.has = {[EF__XGEMM_REGISTERS] = 1, [EF__GEMM_ROUTINE] = 1}};
    static const int wrong[] = {1, 1, 1, 1, 2, 2, 8, 2,
                                2, 8, 0, 0, 0, 0, 4, 4}; /* KREG below VWN */
    memcpy(set.value[EF__XGEMM_REGISTERS], wrong, sizeof wrong);
    setenv("EF_LINEAR", "clblast", 1);
    ef_test_ok(a, ef__clblast_adopt(a, &set));
    ef_test_refused(a,
                    ef_linear_forward(a, ef_test_f32(a, SHAPE(3, 5), NULL),
                                      ef_test_f32(a, SHAPE(7, 5), NULL), NULL,
                                      ef_test_f32(a, SHAPE(3, 7), NULL)),
                    EF_EDEVICE, "EF_TUNE=off");
    ef_actor_reset(a);
    ef_test_close(a);
}
END_TEST

START_TEST(a_choice_that_was_made_costs_little)
{
    enum { TIMES = 200000 };
    static const double most_ns =
        1000; /* 100 where nothing else runs; sanitizers take their share */
    ef_actor *a = ef_test_open();
    const ef__args args = {.n = {1000}};
    const char *lines = "";
    for (size_t i = 1; i <= 200; i++)
        lines = join(lines, record(a, EF__GELU_FORWARD, "item", i * 1000));
    write_database(a, lines);
    ef_test_ok(a, ef_tune_load(a, path));
    double least = 1e30;
    for (int round = 0; round < 5; round++) {
        double start = ef__now();
        for (int i = 0; i < TIMES; i++)
            ef__op_choose(a, EF__GELU_FORWARD, &args);
        double ns = (ef__now() - start) / TIMES * 1e9;
        least = ns < least ? ns : least;
    }
    printf("a choice: %.0f ns\n", least);
    ck_assert_msg(least < most_ns, "%g ns", least);
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tuned");
    TCase *t = ef_test_case(s, "database");
    tcase_add_test(t, the_nearest_record_decides);
    tcase_add_test(t, results_do_not_change_with_the_choice);
    tcase_add_test(t, lines_that_are_no_records_are_passed_over);
    tcase_add_test(t, files_of_something_else_are_refused);
    tcase_add_test(t, the_environment_says_which);
    tcase_add_test(t, another_drivers_choices_are_not_used);
    tcase_add_test(t, the_strict_class_gets_no_loose_variant);
    tcase_add_test(t, the_digest_is_of_the_choices);
    tcase_add_test(t, a_choice_that_was_made_costs_little);
    t = ef_test_case(s, "capture");
    tcase_add_test(t, what_ran_is_captured_when_the_actor_closes);
    tcase_add_test(t, a_file_that_cannot_be_captured_to_is_said_at_once);
    t = ef_test_case(s, "clblast");
    tcase_add_test(t, parameters_of_clblast_that_are_not_valid_never_reach_it);
    tcase_add_test(t, a_process_has_one_set_of_clblasts_parameters);
    tcase_add_test(t, parameters_with_which_clblast_is_wrong_are_noticed);
    return s;
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd < 0)
        return 99;
    close(fd);
    int code = ef_test_main(suite, true);
    unlink(path);
    return code;
}
