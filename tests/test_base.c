/* Tests of src/base: SHA-256, atomic saves, safetensors. */
#include "ef_test.h"
#include "mutate.h"
#include "base/file.h"
#include "base/safetensors.h"
#include "base/sha256.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/ef-test-base-XXXXXX";

/* Each test runs in an empty folder. */
static void enter(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static int count_files(bool and_remove)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
            n++;
            if (and_remove)
                unlinkat(dirfd(dir), e->d_name, 0);
        }
    closedir(dir);
    return n;
}

static void leave(void)
{
    count_files(true);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    strcpy(folder + sizeof folder - 7, "XXXXXX");
}

/* Of a failed call: its status, and what its text contains. */
static void refused(ef_status got, ef_status want, const ef_error *error, const char *text)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", ef_strerror(got), ef_strerror(want),
                  error->text);
    ck_assert_int_eq(error->status, want);
    ck_assert_msg(strstr(error->text, text), "\"%s\" does not say \"%s\"", error->text, text);
}

/* ---- SHA-256: the examples of FIPS 180 and of NIST's CAVP ---- */

static const struct {
    const char *text, *hex;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnop"
     "qrs"
     "mnopqrstnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

START_TEST(sha256_gives_the_published_digests)
{
    char hex[EF__SHA256_HEX];
    ef__sha256_hex(vectors[_i].text, strlen(vectors[_i].text), hex);
    ck_assert_str_eq(hex, vectors[_i].hex);
}
END_TEST

START_TEST(sha256_of_a_million_letters_in_pieces_of_any_size)
{
    static const unsigned char want[] = {0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92,
                                         0x81, 0xa1, 0xc7, 0xe2, 0x84, 0xd7, 0x3e, 0x67,
                                         0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97, 0x20, 0x0e,
                                         0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0};
    static const size_t piece[] = {1, 7, 63, 64, 65, 1000, 1000000};
    unsigned char digest[EF__SHA256_BYTES], *a = malloc(1000000);
    memset(a, 'a', 1000000);
    for (size_t p = 0; p < sizeof piece / sizeof *piece; p++) {
        ef__sha256 sha;
        ef__sha256_begin(&sha);
        for (size_t at = 0; at < 1000000; at += piece[p])
            ef__sha256_add(&sha, a + at, piece[p] < 1000000 - at ? piece[p] : 1000000 - at);
        ef__sha256_end(&sha, digest);
        ck_assert_mem_eq(digest, want, sizeof want);
    }
    free(a);
}
END_TEST

/* ---- Files ---- */

static ef_status save(const char *path, const void *data, size_t bytes, ef_error *error)
{
    ef__file *file = NULL;
    ef_status status = ef__file_begin(path, &file, error);
    if (!status)
        status = ef__file_write(file, data, bytes, error);
    if (!status)
        return ef__file_commit(file, error);
    ef__file_abandon(file);
    return status;
}

static void holds(const char *path, const void *data, size_t bytes)
{
    ef__map map;
    ef_error error = {0};
    ck_assert_msg(!ef__file_map(path, &map, &error), "%s", error.text);
    ck_assert_uint_eq(map.bytes, bytes);
    if (bytes)
        ck_assert_mem_eq(map.data, data, bytes);
    ef__file_unmap(&map);
}

START_TEST(a_save_replaces_the_file_and_leaves_nothing_else)
{
    ck_assert_int_eq(save("file", "old", 3, NULL), EF_OK);
    ck_assert_int_eq(chmod("file", 0640), 0);
    ck_assert_int_eq(save("./file", "newer", 5, NULL), EF_OK);
    holds("file", "newer", 5);
    struct stat st;
    ck_assert_int_eq(stat("file", &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0640);
    ck_assert_int_eq(save("empty", NULL, 0, NULL), EF_OK);
    holds("empty", NULL, 0);
    ck_assert_int_eq(count_files(false), 2);
}
END_TEST

START_TEST(a_save_follows_a_symbolic_link)
{
    ck_assert_int_eq(save("file", "old", 3, NULL), EF_OK);
    ck_assert_int_eq(symlink("file", "link"), 0);
    ck_assert_int_eq(save("link", "new", 3, NULL), EF_OK);
    holds("file", "new", 3);
    struct stat st;
    ck_assert_int_eq(lstat("link", &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
}
END_TEST

START_TEST(an_abandoned_save_leaves_the_old_file)
{
    ef__file *file;
    ck_assert_int_eq(save("file", "old", 3, NULL), EF_OK);
    ck_assert_int_eq(ef__file_begin("file", &file, NULL), EF_OK);
    ck_assert_int_eq(ef__file_write(file, "new", 3, NULL), EF_OK);
    holds("file", "old", 3);
    ef__file_abandon(file);
    ef__file_abandon(NULL);
    holds("file", "old", 3);
    ck_assert_int_eq(count_files(false), 1);
}
END_TEST

START_TEST(a_save_that_does_not_end_lets_no_second_one_in)
{
    ef_error error = {0};
    ef__file *a, *b;
    ck_assert_int_eq(ef__file_begin("file", &a, NULL), EF_OK);
    refused(ef__file_begin("file", &b, &error), EF_EIO, &error,
            "file: is being written by another");
    ck_assert_int_eq(ef__file_write(a, "aaa", 3, NULL), EF_OK);
    ck_assert_int_eq(ef__file_commit(a, NULL), EF_OK);
    holds("file", "aaa", 3);
    ck_assert_int_eq(save("file", "bb", 2, NULL), EF_OK);
    holds("file", "bb", 2);
    ck_assert_int_eq(count_files(false), 1);
}
END_TEST

START_TEST(saves_at_the_same_time_take_turns)
{
    ef__file *file;
    char ready;
    int line[2];
    ck_assert_int_eq(pipe(line), 0);
    pid_t child = fork();
    if (!child) {
        bool well = !ef__file_begin("file", &file, NULL) && write(line[1], "x", 1) == 1 &&
                    !usleep(300000) && !ef__file_write(file, "first", 5, NULL) &&
                    !ef__file_commit(file, NULL);
        _exit(!well);
    }
    int how;
    ck_assert_int_eq(read(line[0], &ready, 1), 1);
    ck_assert_int_eq(save("file", "second", 6, NULL), EF_OK);
    ck_assert_int_eq(waitpid(child, &how, 0), child);
    ck_assert_int_eq(how, 0);
    holds("file", "second", 6);
    ck_assert_int_eq(count_files(false), 1);
    close(line[0]);
    close(line[1]);
}
END_TEST

START_TEST(what_a_killed_save_left_is_taken_over)
{
    pid_t child = fork();
    if (!child) {
        ef__file *file;
        if (!ef__file_begin("file", &file, NULL) && !ef__file_write(file, "longer", 6, NULL))
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_int_eq(count_files(false), 1);
    ck_assert_int_eq(save("file", "new", 3, NULL), EF_OK);
    holds("file", "new", 3);
    ck_assert_int_eq(count_files(false), 1);
}
END_TEST

START_TEST(a_full_disk_leaves_the_old_file)
{
    ef_error error = {0};
    char *large = calloc(1, 100000);
    ck_assert_int_eq(save("file", "old", 3, NULL), EF_OK);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){50000, 50000}), 0);
    refused(save("file", large, 100000, &error), EF_EIO, &error,
            "file: cannot write: File too large");
    holds("file", "old", 3);
    ck_assert_int_eq(count_files(false), 1);
    free(large);
}
END_TEST

/* The descriptor of the one temporary file is put on /dev/full. */
START_TEST(no_space_left_is_named)
{
    ef_error error = {0};
    ef__file *file;
    ck_assert_int_eq(save("file", "old", 3, NULL), EF_OK);
    ck_assert_int_eq(ef__file_begin("file", &file, NULL), EF_OK);
    int full = open("/dev/full", O_WRONLY), found = 0;
    for (int fd = 3; fd < full; fd++) {
        char link[64], target[256] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) > 0 && strstr(target, "file.ef-tmp"))
            found += dup2(full, fd) == fd;
    }
    close(full);
    ck_assert_int_eq(found, 1);
    refused(ef__file_write(file, "new", 3, &error), EF_EIO, &error,
            "cannot write: No space left on device");
    ef__file_abandon(file);
    holds("file", "old", 3);
    ck_assert_int_eq(count_files(false), 1);
}
END_TEST

START_TEST(what_cannot_be_saved_to_is_named)
{
    ef_error error = {0};
    refused(save("no/file", "x", 1, &error), EF_EIO, &error,
            "no/: cannot open the folder: No such");
    refused(save("/dev/null", "x", 1, &error), EF_EIO, &error, "/dev/null: is not a regular file");
    refused(save(folder, "x", 1, &error), EF_EIO, &error, "is not a regular file");
    refused(save("", "x", 1, &error), EF_EIO, &error, "is no file name");
    ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
    refused(save("dangling", "x", 1, &error), EF_EIO, &error, "is not a regular file");
    ck_assert_int_eq(unlink("dangling"), 0);
    if (geteuid() == 0)
        puts("SKIP: a read-only folder does not stop root");
    else {
        ck_assert_int_eq(chmod(folder, 0555), 0);
        refused(save("file", "x", 1, &error), EF_EIO, &error, "cannot write beside it: Permission");
        ck_assert_int_eq(chmod(folder, 0755), 0);
    }
    ck_assert_int_eq(count_files(false), 0);
}
END_TEST

START_TEST(what_cannot_be_mapped_is_named)
{
    ef__map map;
    ef_error error = {0};
    refused(ef__file_map("none", &map, &error), EF_EIO, &error, "none: cannot open: No such file");
    refused(ef__file_map(".", &map, &error), EF_EIO, &error, ".: is not a regular file");
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    refused(ef__file_map("fifo", &map, &error), EF_EIO, &error, "fifo: is not a regular file");
}
END_TEST

/* ---- Safetensors ---- */

static const double f64[2] = {1.5, -2.25};
static const float f32[6] = {0, 1, 2, 3, 4, 5};
static const uint8_t u8[3] = {7, 8, 9};
static const int64_t i64[1] = {-5};

static void save_example(const char *path)
{
    ef__st_writer *w = ef__st_writer_new();
    ef__st_put_metadata(w, "config", "{\"name\": \"caf\u00e9\"}");
    ef__st_put_metadata(w, "empty", "");
    ef__st_put(w, "bytes", EF__ST_U8, 1, (size_t[]){3}, u8);
    ef__st_put(w, "matrix \"q\"", EF__ST_F32, 2, (size_t[]){2, 3}, f32);
    ef__st_put(w, "none", EF__ST_F16, 2, (size_t[]){0, 4}, NULL);
    ef__st_put(w, "wide", EF__ST_F64, 1, (size_t[]){2}, f64);
    ef__st_put(w, "scalar", EF__ST_I64, 0, NULL, i64);
    ef_error error = {0};
    ck_assert_msg(!ef__st_save(w, path, &error), "%s", error.text);
    ef__st_writer_free(w);
}

static ef__map map_example(void)
{
    ef__map map;
    save_example("example");
    ck_assert_int_eq(ef__file_map("example", &map, NULL), EF_OK);
    return map;
}

static void has(const ef__st_reader *r, const char *name, ef__st_dtype dtype, size_t rank,
                const size_t *dims, const void *data, size_t bytes)
{
    const ef__st_tensor *t = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef__st_need(r, name, dtype, rank, dims, &t, &error), "%s", error.text);
    ck_assert_uint_eq(t->bytes, bytes);
    if (bytes)
        ck_assert_mem_eq(t->data, data, bytes);
    ck_assert_uint_eq((uintptr_t)t->data % (bytes ? bytes / t->count : 1), 0);
    ck_assert_ptr_eq(ef__st_find(r, name), t);
}

START_TEST(safetensors_come_back_as_they_were_put)
{
    ef__st_reader *r = NULL;
    save_example("a");
    ck_assert_int_eq(ef__st_open("a", &r, NULL), EF_OK);
    has(r, "bytes", EF__ST_U8, 1, (size_t[]){3}, u8, 3);
    has(r, "matrix \"q\"", EF__ST_F32, 2, (size_t[]){2, 3}, f32, sizeof f32);
    has(r, "none", EF__ST_F16, 2, (size_t[]){0, 4}, NULL, 0);
    has(r, "wide", EF__ST_F64, 1, (size_t[]){2}, f64, sizeof f64);
    has(r, "scalar", EF__ST_I64, 0, NULL, i64, sizeof i64);
    ck_assert_str_eq(ef__st_at(r, 0)->name, "wide");
    ck_assert_ptr_null(ef__st_at(r, 5));
    ck_assert_ptr_null(ef__st_find(r, "__metadata__"));
    ck_assert_str_eq(ef__st_metadata(r, "config"), "{\"name\": \"caf\u00e9\"}");
    ck_assert_str_eq(ef__st_metadata(r, "empty"), "");
    ck_assert_ptr_null(ef__st_metadata(r, "bytes"));
    ck_assert_str_eq(ef__st_path(r), "a");
    ef__st_close(r);
    ef__st_close(NULL);
}
END_TEST

START_TEST(the_same_tensors_give_the_same_bytes)
{
    save_example("a");
    save_example("b");
    ef__map a;
    ck_assert_int_eq(ef__file_map("a", &a, NULL), EF_OK);
    holds("b", a.data, a.bytes);
    ef__file_unmap(&a);
}
END_TEST

START_TEST(an_empty_safetensors_file_is_one)
{
    ef__st_reader *r = NULL;
    ef__st_writer *w = ef__st_writer_new();
    ck_assert_int_eq(ef__st_save(w, "a", NULL), EF_OK);
    ck_assert_int_eq(ef__st_open("a", &r, NULL), EF_OK);
    ck_assert_ptr_null(ef__st_at(r, 0));
    ef__st_close(r);
    ef__st_writer_free(w);
}
END_TEST

START_TEST(another_shape_than_needed_is_named)
{
    ef__st_reader *r = NULL;
    ef_error error = {0};
    const ef__st_tensor *t = NULL;
    save_example("a");
    ck_assert_int_eq(ef__st_open("a", &r, NULL), EF_OK);
    refused(ef__st_need(r, "bytes", EF__ST_F32, 2, (size_t[]){3, 1}, &t, &error), EF_EFORMAT,
            &error, "a: tensor \"bytes\": is U8 [3], should be F32 [3,1]");
    refused(ef__st_need(r, "gone", EF__ST_F32, 0, NULL, &t, &error), EF_EFORMAT, &error,
            "a: tensor \"gone\": is not there");
    ck_assert_ptr_null(t);
    ef__st_close(r);
}
END_TEST

/* Each put spoils a writer; the save says so and writes nothing. */
START_TEST(what_cannot_be_put_is_named)
{
    static const size_t vast[] = {SIZE_MAX, 2}, many[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const char *const text[] = {"a: \"t\": tensor put twice",
                                       "a: \"k\": metadata put twice",
                                       "a: \"v\": tensor whose shape overflows",
                                       "a: \"m\": tensor of more than 8 dimensions",
                                       "a: \"\xff\": name is not UTF-8",
                                       "a: \"__metadata__\": tensor put twice"};
    for (int i = 0; i < 6; i++) {
        ef_error error = {0};
        ef__st_writer *w = ef__st_writer_new();
        ef__st_put(w, "t", EF__ST_U8, 1, (size_t[]){3}, u8);
        ef__st_put_metadata(w, "k", "v");
        if (i == 0)
            ef__st_put(w, "t", EF__ST_U8, 1, (size_t[]){3}, u8);
        else if (i == 1)
            ef__st_put_metadata(w, "k", "v");
        else if (i == 2)
            ef__st_put(w, "v", EF__ST_U8, 2, vast, u8);
        else if (i == 3)
            ef__st_put(w, "m", EF__ST_U8, 9, many, u8);
        else
            ef__st_put(w, i == 4 ? "\xff" : "__metadata__", EF__ST_U8, 1, (size_t[]){3}, u8);
        ef__st_put(w, "t", EF__ST_U8, 9, many, u8); /* a later error does not hide the first */
        refused(ef__st_save(w, "a", &error), EF_EARG, &error, text[i]);
        ef__st_writer_free(w);
    }
    ck_assert_int_eq(count_files(false), 0);
}
END_TEST

START_TEST(a_failed_checkpoint_leaves_the_old_one)
{
    ef_error error = {0};
    float *large = calloc(25000, sizeof *large);
    save_example("a");
    ef__st_writer *w = ef__st_writer_new();
    ef__st_put(w, "large", EF__ST_F32, 1, (size_t[]){25000}, large);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){50000, 50000}), 0);
    refused(ef__st_save(w, "a", &error), EF_EIO, &error, "a: cannot write");
    ef__st_writer_free(w);
    free(large);
    ef__st_reader *r = NULL;
    ck_assert_int_eq(ef__st_open("a", &r, NULL), EF_OK);
    has(r, "bytes", EF__ST_U8, 1, (size_t[]){3}, u8, 3);
    ef__st_close(r);
    ck_assert_int_eq(count_files(false), 1);
}
END_TEST

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"t\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

/* Headers in front of 8 bytes of data. */
static const struct {
    const char *header, *error;
} headers[] = {
    {ENTRY("F32", "[2]", "[0,8]"), NULL},
    {ENTRY("F32", "[2]", "[0,8]") "     ", NULL},
    {ENTRY("I64", "[]", "[0,8]"), NULL},
    {ENTRY("F32", "[2]", "[0,8]") "}", "header: byte"},
    {ENTRY("F32", "[2]", "[0,8"), "header: byte"},
    {ENTRY("F32", "[2]", "[0,4]"), "tensor \"t\": has 4 bytes of data, its shape needs 8"},
    {ENTRY("U8", "[9]", "[0,9]"), "tensor \"t\": its data passes the end"},
    {ENTRY("F32", "[2]", "[0,12]"), "tensor \"t\": its data passes the end"},
    {ENTRY("F32", "[1]", "[0,4]"), "bytes after the last tensor"},
    {ENTRY("F32", "[1]", "[4,8]"), "tensor \"t\": there is a hole"},
    {ENTRY("F32", "[2]", "[8,0]"), "passes the end"},
    {ENTRY("F32", "[2]", "[-8,0]"), "not two sizes"},
    {ENTRY("F32", "[2]", "[0.0,8.0]"), "not two sizes"},
    {ENTRY("F32", "[2]", "[0,8,9]"), "not two sizes"},
    {ENTRY("F32", "[2]", "[99999999999999999999,8]"), "header: byte"},
    {ENTRY("F32", "[-2]", "[0,8]"), "a dimension that is no size"},
    {ENTRY("F32", "[9223372036854775807,9223372036854775807]", "[0,8]"), "shape overflows"},
    {ENTRY("F32", "[4611686018427387905]", "[0,4]"), "shape overflows"},
    {ENTRY("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), "more than 8 dimensions"},
    {ENTRY("F32", "2", "[0,8]"), "no shape"},
    {ENTRY("BF16", "[4]", "[0,8]"), "tensor \"t\": dtype BF16 is not supported"},
    {"{\"t\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype (none)"},
    {"{\"t\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "is not an object of dtype"},
    {"{\"t\":7}", "is not an object of dtype"},
    {"[]", "header is not an object"},
    {"", "header: byte"},
    {"{}", "bytes after the last tensor"},
    {"{\"__metadata__\":[]}", "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"n\":1}}", "metadata \"n\" is not a string"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]},"
     "\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
     "tensor \"u\": overlaps"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},"
     "\"t\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
     "duplicate"},
    {"{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
     "duplicate"},
    {"{\"\\u0000\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", "header: byte"},
};

START_TEST(a_bad_header_is_named)
{
    uint64_t length = strlen(headers[_i].header);
    size_t bytes = 8 + length + 8;
    char *file = calloc(1, bytes);
    memcpy(file, &length, 8);
    memcpy(file + 8, headers[_i].header, length);
    ef_error error = {0};
    ef__st_reader *r = NULL;
    ef_status status = ef__st_parse("a.file", file, bytes, &r, &error);
    if (headers[_i].error) {
        refused(status, EF_EFORMAT, &error, headers[_i].error);
        refused(status, EF_EFORMAT, &error, "a.file: ");
        ck_assert_ptr_null(r);
    } else
        ck_assert_msg(!status, "%s", error.text);
    ef__st_close(r);
    free(file);
}
END_TEST

START_TEST(a_header_length_beyond_the_file_is_named)
{
    static const uint64_t length[] = {9, 100000001, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};
    for (int i = 0; i < 5; i++) {
        ef_error error = {0};
        unsigned char file[16] = {0};
        memcpy(file, &length[i], 8);
        refused(ef__st_parse("a", file, 16, &(ef__st_reader *){0}, &error), EF_EFORMAT, &error,
                "a: no safetensors file, or cut off");
    }
}
END_TEST

START_TEST(a_safetensors_file_cut_at_any_byte_is_refused)
{
    ef__map map = map_example();
    for (size_t n = 0; n < map.bytes; n++) {
        ef_error error = {0};
        unsigned char *copy = malloc(n ? n : 1);
        memcpy(copy, map.data, n);
        ef__st_reader *r = NULL;
        refused(ef__st_parse("cut", copy, n, &r, &error), EF_EFORMAT, &error, "cut: ");
        free(copy);
    }
    ef__file_unmap(&map);
}
END_TEST

/* Whatever is not refused can be read to the last byte. */
START_TEST(mutated_safetensors_are_refused_or_in_bounds)
{
    uint64_t seed = 1;
    size_t accepted = 0, runs = ef_test_size(1000, 20000, 100000);
    ef__map map = map_example();
    for (size_t i = 0; i < runs; i++) {
        ef_error error = {0};
        ef__st_reader *r = NULL;
        size_t bytes = map.bytes;
        unsigned char *copy = mutate(map.data, map.bytes - 60, &bytes, &seed), sum = 0;
        ef_status status = ef__st_parse("mutant", copy, bytes, &r, &error);
        if (status && (status != EF_EFORMAT || !strstr(error.text, "mutant: ")))
            ck_abort_msg("mutant %zu: %s: %s", i, ef_strerror(status), error.text);
        const ef__st_tensor *t;
        for (size_t k = 0; !status && (t = ef__st_at(r, k)); k++)
            for (size_t b = 0; b < t->bytes; b++)
                sum ^= ((const unsigned char *)t->data)[b];
        accepted += !status + 0 * sum;
        ef__st_close(r);
        free(copy);
    }
    ef__file_unmap(&map);
    ck_assert_msg(accepted && accepted < runs / 2, "%zu of %zu accepted", accepted, runs);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("base");
    TCase *sha = ef_test_case(s, "sha256");
    tcase_add_loop_test(sha, sha256_gives_the_published_digests, 0,
                        sizeof vectors / sizeof *vectors);
    tcase_add_test(sha, sha256_of_a_million_letters_in_pieces_of_any_size);
    TCase *file = ef_test_case(s, "file");
    tcase_add_checked_fixture(file, enter, leave);
    tcase_add_test(file, a_save_replaces_the_file_and_leaves_nothing_else);
    tcase_add_test(file, a_save_follows_a_symbolic_link);
    tcase_add_test(file, an_abandoned_save_leaves_the_old_file);
    tcase_add_test(file, a_save_that_does_not_end_lets_no_second_one_in);
    tcase_add_test(file, saves_at_the_same_time_take_turns);
    tcase_add_test(file, what_a_killed_save_left_is_taken_over);
    tcase_add_test(file, a_full_disk_leaves_the_old_file);
    tcase_add_test(file, no_space_left_is_named);
    tcase_add_test(file, what_cannot_be_saved_to_is_named);
    tcase_add_test(file, what_cannot_be_mapped_is_named);
    TCase *st = ef_test_case(s, "safetensors");
    tcase_add_checked_fixture(st, enter, leave);
    tcase_add_test(st, safetensors_come_back_as_they_were_put);
    tcase_add_test(st, the_same_tensors_give_the_same_bytes);
    tcase_add_test(st, an_empty_safetensors_file_is_one);
    tcase_add_test(st, another_shape_than_needed_is_named);
    tcase_add_test(st, what_cannot_be_put_is_named);
    tcase_add_test(st, a_failed_checkpoint_leaves_the_old_one);
    tcase_add_loop_test(st, a_bad_header_is_named, 0, sizeof headers / sizeof *headers);
    tcase_add_test(st, a_header_length_beyond_the_file_is_named);
    tcase_add_test(st, a_safetensors_file_cut_at_any_byte_is_refused);
    tcase_add_test(st, mutated_safetensors_are_refused_or_in_bounds);
    return s;
}

int main(void)
{
    return ef_test_main(suite, false);
}
