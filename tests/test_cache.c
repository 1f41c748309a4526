/* The cache of program binaries, on a driver that passes for one without a cache of its own.
 * OpenCL's functions that are defined here take the place of the loader's in this program. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "actor/internal.h"
#include "ef_test.h"
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct driver {
    const char *platform, *version; /* of the platform and of the driver; NULL: the real ones */
    unsigned sources, binaries;     /* programs made of each */
    bool refuses, cannot_build;     /* binaries */
    cl_program loaded;
} driver;

#define REAL(function) ((__typeof__(&function))(uintptr_t)dlsym(RTLD_NEXT, #function))

cl_int clGetPlatformInfo(cl_platform_id platform, cl_platform_info what, size_t room, void *value,
                         size_t *size)
{
    cl_int code = REAL(clGetPlatformInfo)(platform, what, room, value, size);
    if (driver.platform && what == CL_PLATFORM_NAME)
        snprintf(value, room, "%s", driver.platform);
    return code;
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t room, void *value,
                       size_t *size)
{
    cl_int code = REAL(clGetDeviceInfo)(device, what, room, value, size);
    if (driver.version && what == CL_DRIVER_VERSION)
        snprintf(value, room, "%s", driver.version);
    return code;
}

cl_program clCreateProgramWithSource(cl_context context, cl_uint n, const char **text,
                                     const size_t *lengths, cl_int *code)
{
    driver.sources++;
    driver.loaded = NULL; /* its address may be used again */
    return REAL(clCreateProgramWithSource)(context, n, text, lengths, code);
}

cl_program clCreateProgramWithBinary(cl_context context, cl_uint n, const cl_device_id *devices,
                                     const size_t *bytes, const unsigned char **binaries,
                                     cl_int *status, cl_int *code)
{
    driver.binaries++;
    *code = CL_INVALID_BINARY;
    if (driver.refuses)
        return NULL;
    return driver.loaded =
               REAL(clCreateProgramWithBinary)(context, n, devices, bytes, binaries, status, code);
}

cl_int clBuildProgram(cl_program program, cl_uint n, const cl_device_id *devices,
                      const char *options, void(CL_CALLBACK *done)(cl_program, void *), void *user)
{
    if (driver.cannot_build && program == driver.loaded)
        return CL_BUILD_PROGRAM_FAILURE;
    return REAL(clBuildProgram)(program, n, devices, options, done, user);
}

/* ---- help ---- */

static char root[] = "/tmp/ef-test-cache-XXXXXX", folder[64], file[192];

static void enter(void)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(folder, sizeof folder, "%s/deep/cache", root); /* not there yet */
    setenv("EF_CACHE", folder, 1);
    driver = (struct driver){.platform = "Test"};
}

static void leave(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* How many files a folder has; the last one's path goes into file. */
static size_t files(const char *where)
{
    size_t n = 0;
    DIR *dir = opendir(where);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.') {
            n++;
            snprintf(file, sizeof file, "%.80s/%.100s", where, e->d_name);
        }
    if (dir)
        closedir(dir);
    return n;
}

/* A program, with that define, in an actor of its own. */
static ef_stats build(long define)
{
    ef_stats stats;
    ef_actor *a = ef_test_open();
    const ef__call call = {
        .op = "test", .source = "record", .kernel = "record_check", .defines = {{"TEST", define}}};
    driver.sources = driver.binaries = 0;
    ef__lock(a);
    ef_test_ok(a, ef__prepare(a, &call));
    ef__unlock(a);
    ef_actor_stats(a, &stats);
    ck_assert_uint_eq(stats.builds, 1);
    ef_test_close(a);
    return stats;
}

static void is_built(long define)
{
    ck_assert_uint_eq(build(define).loads, 0);
    ck_assert_uint_eq(driver.sources, 1);
}

static void is_loaded(long define)
{
    ck_assert_uint_eq(build(define).loads, 1);
    ck_assert_uint_eq(driver.sources, 0);
    ck_assert_uint_eq(driver.binaries, 1);
}

enum { ROOM = 1 << 20, HEAD = 80 };

static size_t get(char *bytes)
{
    FILE *f = fopen(file, "rb");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(bytes, 1, ROOM, f);
    fclose(f);
    return n;
}

static void put(const char *bytes, size_t n)
{
    FILE *f = fopen(file, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* ---- tests ---- */

START_TEST(a_program_is_built_once)
{
    is_built(1);
    ck_assert_uint_eq(files(folder), 1);
    is_loaded(1);
    is_loaded(1);
    is_built(2);
    ck_assert_uint_eq(files(folder), 2);
    is_loaded(2);
}
END_TEST

START_TEST(a_loaded_program_computes_the_same)
{
    static const size_t n = 37;
    float *first = NULL;
    for (int i = 0; i < 2; i++) {
        ef_stats stats;
        ef_actor *a = ef_test_open();
        ef_tensor *x = ef_test_f32(a, SHAPE(n), ef_test_randn(n, 1));
        ef_tensor *y = ef_test_f32(a, SHAPE(n), NULL);
        ef_test_ok(a, ef_gelu_forward(a, x, y));
        ef_actor_stats(a, &stats);
        ck_assert_uint_eq(stats.loads, i ? stats.builds : 0);
        if (i)
            ef_test_same_bits("y", y, first);
        else
            first = memcpy(malloc(n * sizeof *first), ef_test_read(y), n * sizeof *first);
        ef_test_close(a);
    }
    free(first);
}
END_TEST

/* Ways to spoil a file of n bytes. */
static size_t spoil(size_t how, char *bytes, size_t n)
{
    static const size_t cuts[] = {0, 1, HEAD - 1, HEAD, HEAD + 1};
    const size_t flips[] = {0, 8, 15, 16, 48, HEAD, n - 1};
    enum { CUTS = sizeof cuts / sizeof *cuts, FLIPS = sizeof flips / sizeof *flips };
    if (how < CUTS)
        return cuts[how];
    if (how < CUTS + FLIPS) {
        bytes[flips[how - CUTS]] ^= 1;
        return n;
    }
    bytes[n] = 0;
    return how == CUTS + FLIPS ? n - 1 : n + 1;
}

START_TEST(a_file_that_is_not_whole_never_reaches_the_driver)
{
    enum { WAYS = 14 };
    char *bytes = malloc(2 * ROOM), *whole = bytes + ROOM;
    is_built(1);
    ck_assert_uint_eq(files(folder), 1);
    const size_t n = get(whole);
    ck_assert(n > HEAD + 1 && n < ROOM - 1);
    for (size_t how = 0; how < WAYS; how++) {
        memcpy(bytes, whole, n);
        put(bytes, spoil(how, bytes, n));
        is_built(1);
        ck_assert_msg(driver.binaries == 0, "file %zu", how);
    }
    is_loaded(1); /* it was replaced */
    free(bytes);
}
END_TEST

START_TEST(a_file_of_another_program_is_foreign)
{
    char *bytes = malloc(ROOM);
    is_built(1);
    ck_assert_uint_eq(files(folder), 1);
    const size_t n = get(bytes);
    ck_assert_int_eq(unlink(file), 0);
    is_built(2);
    ck_assert_uint_eq(files(folder), 1);
    put(bytes, n);
    is_built(2);
    ck_assert_uint_eq(driver.binaries, 0);
    is_loaded(2);
    free(bytes);
}
END_TEST

/* _i: does the driver refuse it at once, or when it is to build it? */
START_TEST(a_binary_that_the_driver_refuses_is_replaced)
{
    struct stat before, after;
    is_built(1);
    ck_assert_uint_eq(files(folder), 1);
    ck_assert_int_eq(stat(file, &before), 0);
    driver.refuses = _i == 0;
    driver.cannot_build = _i == 1;
    is_built(1);
    ck_assert_uint_eq(driver.binaries, 1);
    driver.refuses = driver.cannot_build = false;
    ck_assert_int_eq(stat(file, &after), 0);
    ck_assert(before.st_ino != after.st_ino);
    is_loaded(1);
}
END_TEST

START_TEST(another_driver_or_source_is_another_program)
{
    char name[96];
    is_built(1);
    driver.version = "99";
    is_built(1);
    driver.version = NULL;
    driver.platform = "Test 2";
    is_built(1);
    driver.platform = "Test";
    ck_assert_uint_eq(files(folder), 3);
    is_loaded(1);
    setenv("EF_CL_DIR", root, 1);
    const char *const names[] = {"common", "record"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/%s.cl", root, names[i]);
        FILE *f = fopen(name, "w");
        fputs(i ? "__kernel void record_check(__global float *x) { *x = 1; }\n" : "\n", f);
        fclose(f);
    }
    is_built(1);
    is_loaded(1);
    unsetenv("EF_CL_DIR");
    is_loaded(1);
}
END_TEST

START_TEST(without_a_place_for_it_there_is_no_cache)
{
    char blocked[96];
    snprintf(blocked, sizeof blocked, "%s/file/cache", root);
    snprintf(file, sizeof file, "%s/file", root);
    put("", 0);
    setenv("EF_CACHE", blocked, 1);
    is_built(1);
    is_built(1);
    unsetenv("EF_CACHE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    is_built(1);
    is_built(1);
    setenv("HOME", root, 1);
    setenv("EF_CACHE", "off", 1);
    is_built(1);
    is_built(1);
    ck_assert_uint_eq(files(root), 1);
}
END_TEST

START_TEST(the_place_is_the_users_cache_folder)
{
    char where[96];
    unsetenv("EF_CACHE");
    setenv("HOME", root, 1);
    setenv("XDG_CACHE_HOME", "relative", 1); /* to be ignored, says the specification */
    is_built(1);
    snprintf(where, sizeof where, "%s/.cache/energyflow", root);
    ck_assert_uint_eq(files(where), 1);
    snprintf(where, sizeof where, "%s/xdg", root);
    setenv("XDG_CACHE_HOME", where, 1);
    is_built(1);
    snprintf(where, sizeof where, "%s/xdg/energyflow", root);
    ck_assert_uint_eq(files(where), 1);
    is_loaded(1);
}
END_TEST

START_TEST(a_setting_that_is_no_path_is_refused)
{
    ef_actor *a = NULL;
    ef_error e = {0};
    setenv("EF_CACHE", "of", 1);
    ck_assert_int_eq(ef_actor_open(NULL, &a, &e), EF_EARG);
    ck_assert_ptr_nonnull(strstr(e.text, "EF_CACHE=of"));
    ck_assert_ptr_null(a);
}
END_TEST

START_TEST(drivers_with_a_cache_of_their_own_keep_to_it)
{
    static const char *const platforms[] = {"Portable Computing Language", "Oclgrind"};
    setenv("EF_DEVICE", "0", 1); /* Oclgrind is only taken when it is named */
    for (size_t i = 0; i < sizeof platforms / sizeof *platforms; i++) {
        driver.platform = platforms[i];
        is_built(1);
        is_built(1);
    }
    ck_assert_uint_eq(files(folder), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("cache");
    TCase *t = ef_test_case(s, "cache");
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_test(t, a_program_is_built_once);
    tcase_add_test(t, a_loaded_program_computes_the_same);
    tcase_add_test(t, a_file_that_is_not_whole_never_reaches_the_driver);
    tcase_add_test(t, a_file_of_another_program_is_foreign);
    tcase_add_loop_test(t, a_binary_that_the_driver_refuses_is_replaced, 0, 2);
    tcase_add_test(t, another_driver_or_source_is_another_program);
    tcase_add_test(t, without_a_place_for_it_there_is_no_cache);
    tcase_add_test(t, the_place_is_the_users_cache_folder);
    tcase_add_test(t, a_setting_that_is_no_path_is_refused);
    tcase_add_test(t, drivers_with_a_cache_of_their_own_keep_to_it);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
