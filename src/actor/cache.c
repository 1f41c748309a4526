/* Program binaries on disk: one file for each program, named by the SHA-256 of all that decides
 * what the compiler makes of it. A driver may crash on a binary that is not whole, so a file is
 * checked to the last byte before the driver sees it. Nothing here is an error: without a usable
 * file the program is built, and where none can be written that happens each time.
 *
 * File: "EFPROG1\n", the bytes of the binary (u64, little-endian), the key and the SHA-256 of the
 * binary (32 bytes each), the binary. */
#include "actor/internal.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC = 8, HEAD = MAGIC + 8 + 2 * EF__SHA256_BYTES, LARGEST = 256 << 20 };

/* ---- where ---- */

/* PoCL has a cache of its own, and its binaries hold every kernel for every size seen. Oclgrind
 * builds in no time and is there to look at sources. */
static bool is_worth_it(const ef_actor *a)
{
    const char *platform = a->about.info.platform;
    cl_uint devices = 0;
    clGetContextInfo(a->context, CL_CONTEXT_NUM_DEVICES, sizeof devices, &devices, NULL);
    return devices == 1 && !strstr(platform, "Portable Computing Language") &&
           !strstr(platform, "Oclgrind");
}

ef_status ef__cache_open(ef_actor *a, ef_error *error)
{
    const char *own = getenv("EF_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const size_t room = sizeof a->cache;
    int n = 0;
    if (own && *own && strcmp(own, "off") && !strchr(own, '/'))
        return ef__error_set(error, EF_EARG, 0, "open",
                             "open: EF_CACHE=%s: must be off or a folder's path, with a /", own);
    if (!is_worth_it(a) || (own && !strcmp(own, "off")))
        return EF_OK;
    if (own && *own)
        n = snprintf(a->cache, room, "%s", own);
    else if (xdg && *xdg == '/')
        n = snprintf(a->cache, room, "%s/energyflow", xdg);
    else if (home && *home == '/')
        n = snprintf(a->cache, room, "%s/.cache/energyflow", home);
    if (n >= (int)room)
        a->cache[0] = '\0';
    return EF_OK;
}

static void make_folder(const char *folder)
{
    char path[sizeof((ef_actor *)0)->cache];
    snprintf(path, sizeof path, "%s", folder);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    mkdir(path, 0700);
}

/* ---- what ---- */

static void add_text(ef__sha256 *sha, const char *text)
{
    ef__sha256_add(sha, text, strlen(text) + 1);
}

bool ef__cache_key(const ef_actor *a, const char *source, const char *options,
                   ef__cache_entry *entry)
{
    cl_platform_id platform = NULL;
    char version[128] = "", hex[2 * EF__SHA256_BYTES + 1];
    ef__sha256 sha;
    if (!a->cache[0])
        return false;
    clGetDeviceInfo(a->device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL);
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof version - 1, version, NULL);
    const char *const parts[] = {
        source, options, version, a->about.info.platform, a->about.info.name, a->about.info.driver};
    ef__sha256_begin(&sha);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        add_text(&sha, parts[i]);
    ef__sha256_end(&sha, entry->key);
    for (int i = 0; i < EF__SHA256_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", entry->key[i]);
    snprintf(entry->path, sizeof entry->path, "%s/%s.bin", a->cache, hex);
    return true;
}

static void make_head(unsigned char head[HEAD], const ef__cache_entry *entry,
                      const unsigned char *binary, size_t bytes)
{
    ef__sha256 sha;
    memcpy(head, "EFPROG1\n", MAGIC);
    for (int i = 0; i < 8; i++)
        head[MAGIC + i] = (unsigned char)((uint64_t)bytes >> 8 * i);
    memcpy(head + MAGIC + 8, entry->key, EF__SHA256_BYTES);
    ef__sha256_begin(&sha);
    ef__sha256_add(&sha, binary, bytes);
    ef__sha256_end(&sha, head + MAGIC + 8 + EF__SHA256_BYTES);
}

/* ---- from disk ---- */

/* The binary of a file that is whole and of this key; NULL: there is none. */
static unsigned char *read_binary(const ef__cache_entry *entry, size_t *bytes)
{
    unsigned char head[HEAD], want[HEAD], *binary = NULL;
    size_t size = 0;
    int fd;
    if (ef__file_open(entry->path, &fd, &size, NULL))
        return NULL;
    *bytes = size > HEAD && size <= LARGEST ? size - HEAD : 0;
    if (*bytes)
        binary = malloc(*bytes);
    bool whole = binary && !ef__file_read(fd, entry->path, 0, head, HEAD, NULL) &&
                 !ef__file_read(fd, entry->path, HEAD, binary, *bytes, NULL);
    close(fd);
    if (whole) {
        make_head(want, entry, binary, *bytes);
        whole = !memcmp(head, want, HEAD);
    }
    if (!whole) {
        free(binary);
        binary = NULL;
    }
    return binary;
}

cl_program ef__cache_load(const ef_actor *a, const ef__cache_entry *entry, const char *options)
{
    size_t bytes;
    cl_int status = CL_SUCCESS, code;
    const unsigned char *binary = read_binary(entry, &bytes);
    if (!binary)
        return NULL;
    cl_program p =
        clCreateProgramWithBinary(a->context, 1, &a->device, &bytes, &binary, &status, &code);
    free((void *)binary);
    if (!code && !status && !clBuildProgram(p, 1, &a->device, options, NULL, NULL))
        return p;
    if (!code)
        clReleaseProgram(p);
    return NULL;
}

/* ---- to disk ---- */

static void write_binary(const char *folder, const ef__cache_entry *entry,
                         const unsigned char *binary, size_t bytes)
{
    unsigned char head[HEAD];
    ef__file *file;
    make_head(head, entry, binary, bytes);
    make_folder(folder);
    if (ef__file_begin(entry->path, &file, NULL))
        return;
    if (ef__file_write(file, head, HEAD, NULL) || ef__file_write(file, binary, bytes, NULL))
        ef__file_abandon(file);
    else
        ef__file_commit(file, NULL);
}

void ef__cache_save(const ef_actor *a, const ef__cache_entry *entry, cl_program program)
{
    size_t bytes = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) || !bytes)
        return;
    unsigned char *binary = malloc(bytes);
    if (binary && !clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL))
        write_binary(a->cache, entry, binary, bytes);
    free(binary);
}
