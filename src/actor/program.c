/* Programs and kernels: built once per (file, -D options), looked up by a hash of both. */
#include "actor/internal.h"
#include "actor/kernels.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A call site passes the same literals each time, so a kernel is found by their addresses and the
 * values of the defines: no text is made or compared on the way of every launch. */
static unsigned bucket_of(const ef__call *c)
{
    uintptr_t h = (uintptr_t)c->source * 31 + (uintptr_t)c->kernel;
    for (unsigned i = 0; i < EF__MAX_DEFINES && c->defines[i].name; i++)
        h = h * 31 + (uintptr_t)c->defines[i].value;
    return (unsigned)(h ^ h >> 7 ^ h >> 14) % EF__BUCKETS;
}

static bool is_same(const ef__kernel *k, const ef__call *c)
{
    return k->source == c->source && k->name == c->kernel &&
           !memcmp(k->defines, c->defines, sizeof k->defines);
}

static void make_options(const ef_actor *a, const ef__call *c, char options[256])
{
    const ef__device *d = &a->about;
    int n = snprintf(options, 256, "-cl-std=CL1.2 -cl-mad-enable -DVW=%u -DEF_CPU=%d",
                     d->info.vector_width, d->info.is_cpu);
    for (unsigned i = 0; i < EF__MAX_DEFINES && c->defines[i].name && n < 256; i++)
        n += snprintf(options + n, 256 - (size_t)n, " -D%s=%ld", c->defines[i].name,
                      c->defines[i].value);
}

/* ---- sources ---- */

static const ef__kernel_source *embedded(const char *name)
{
    for (size_t i = 0; i < ef__kernel_source_count; i++) {
        if (!strcmp(ef__kernel_sources[i].name, name))
            return &ef__kernel_sources[i];
    }
    return NULL;
}

static ef_status read_file(ef_actor *a, const char *op, const char *dir, const char *name,
                           char **text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.cl", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return ef__fail(a, EF_EBUILD, 0, op, "%s: %s: %s", op, path, strerror(errno));
    size_t used = 0, room = 1 << 16;
    char *s = malloc(room);
    while (s) {
        used += fread(s + used, 1, room - used - 1, f);
        if (used < room - 1)
            break;
        char *more = realloc(s, room *= 2);
        if (!more)
            free(s);
        s = more;
    }
    fclose(f);
    if (!s)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    s[used] = '\0';
    *text = s;
    return EF_OK;
}

static ef_status join_lines(ef_actor *a, const char *op, const char *name, char **text)
{
    const ef__kernel_source *k = embedded(name);
    if (!k)
        return ef__fail(a, EF_EBUILD, 0, op, "%s: there is no kernel file %s.cl", op, name);
    size_t bytes = 1, used = 0;
    for (size_t i = 0; i < k->count; i++)
        bytes += strlen(k->lines[i]);
    char *s = malloc(bytes);
    if (!s)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    for (size_t i = 0; i < k->count; i++)
        used += (size_t)sprintf(s + used, "%s", k->lines[i]);
    s[used] = '\0';
    *text = s;
    return EF_OK;
}

/* EF_CL_DIR reads kernels from disk: for work on them, without rebuilding the library. */
static ef_status get_source(ef_actor *a, const char *op, const char *name, char **text)
{
    const char *dir = getenv("EF_CL_DIR");
    return dir && *dir ? read_file(a, op, dir, name, text) : join_lines(a, op, name, text);
}

ef_status ef__kernel_hash(ef_actor *a, const char *source, char hex[EF__SHA256_HEX])
{
    char *text[2] = {NULL, NULL};
    ef__sha256 sha;
    ef_status status = get_source(a, "tune", "common", &text[0]);
    if (!status)
        status = get_source(a, "tune", source, &text[1]);
    ef__sha256_begin(&sha);
    for (int i = 0; i < 2 && !status; i++)
        ef__sha256_add(&sha, text[i], strlen(text[i]) + 1);
    ef__sha256_end_hex(&sha, hex);
    free(text[0]);
    free(text[1]);
    return status;
}

/* ---- building ---- */

/* The compiler's first error line, or the log's first line. */
static void first_error(char *log)
{
    char *at = strstr(log, "error:");
    while (at && at > log && at[-1] != '\n')
        at--;
    if (at)
        memmove(log, at, strlen(at) + 1);
    log[strcspn(log, "\n")] = '\0';
}

static ef_status build_failed(ef_actor *a, const ef__call *c, cl_program program, cl_int code)
{
    size_t bytes = 0;
    clGetProgramBuildInfo(program, a->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
    char *log = calloc(bytes + 1, 1);
    if (log) {
        clGetProgramBuildInfo(program, a->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
        first_error(log);
    }
    ef_status status = ef__fail(a, EF_EBUILD, code, c->op, "%s: %s.cl does not build: %s (%d): %s",
                                c->op, c->source, ef__cl_name(code), code, log ? log : "");
    free(log);
    return status;
}

static ef_status compile(ef_actor *a, const ef__call *c, char *const text[2], const char *options,
                         cl_program *program)
{
    cl_int code;
    cl_program p = clCreateProgramWithSource(a->context, 2, (const char **)text, NULL, &code);
    if (code)
        return ef__cl_fail(a, c->op, "clCreateProgramWithSource", code);
    code = clBuildProgram(p, 1, &a->device, options, NULL, NULL);
    if (code) {
        ef_status status = build_failed(a, c, p, code);
        clReleaseProgram(p);
        return status;
    }
    *program = p;
    return EF_OK;
}

/* From the cache, else from its source, and then into the cache. */
static ef_status build(ef_actor *a, const ef__call *c, const char *options, cl_program *program)
{
    char *text[2] = {NULL, NULL};
    ef__cache_entry entry;
    ef_status status = get_source(a, c->op, "common", &text[0]);
    if (!status)
        status = get_source(a, c->op, c->source, &text[1]);
    bool cached = !status && ef__cache_key(a, text, options, &entry);
    cl_program loaded = cached ? ef__cache_load(a, &entry, options) : NULL;
    if (loaded) {
        *program = loaded;
        a->stats.loads++;
    } else if (!status) {
        status = compile(a, c, text, options, program);
        if (!status && cached)
            ef__cache_save(a, &entry, *program);
    }
    free(text[0]);
    free(text[1]);
    return status;
}

static ef_status program_get(ef_actor *a, const ef__call *c, const char *options,
                             ef__program **program)
{
    for (ef__program *p = a->programs; p; p = p->next) {
        if (!strcmp(p->source, c->source) && !strcmp(p->options, options)) {
            *program = p;
            return EF_OK;
        }
    }
    ef__program *p = calloc(1, sizeof *p);
    if (!p)
        return ef__fail(a, EF_ENOMEM, 0, c->op, "%s: no host memory", c->op);
    ef_status status = build(a, c, options, &p->program);
    if (status) {
        free(p);
        return status;
    }
    p->source = c->source;
    memcpy(p->options, options, sizeof p->options);
    p->next = a->programs;
    a->programs = *program = p;
    a->stats.builds++;
    return EF_OK;
}

static ef_status kernel_new(ef_actor *a, const ef__call *c, ef__kernel **kernel)
{
    char options[256];
    ef__program *program = NULL;
    make_options(a, c, options);
    ef_status status = program_get(a, c, options, &program);
    if (status)
        return status;
    ef__kernel *k = calloc(1, sizeof *k);
    if (!k)
        return ef__fail(a, EF_ENOMEM, 0, c->op, "%s: no host memory", c->op);
    cl_int code;
    k->kernel = clCreateKernel(program->program, c->kernel, &code);
    if (code) {
        free(k);
        return ef__fail(a, EF_EBUILD, code, c->op, "%s: clCreateKernel(%s): %s (%d)", c->op,
                        c->kernel, ef__cl_name(code), code);
    }
    k->source = c->source;
    k->name = c->kernel;
    memcpy(k->defines, c->defines, sizeof k->defines);
    *kernel = k;
    return EF_OK;
}

ef_status ef__kernel_get(ef_actor *a, const ef__call *c, cl_kernel *kernel)
{
    ef__kernel **bucket = &a->kernels[bucket_of(c)], *k = *bucket;
    while (k && !is_same(k, c))
        k = k->next;
    if (!k) {
        ef_status status = kernel_new(a, c, &k);
        if (status)
            return status;
        k->next = *bucket;
        *bucket = k;
    }
    *kernel = k->kernel;
    return EF_OK;
}

void ef__programs_close(ef_actor *a)
{
    for (unsigned i = 0; i < EF__BUCKETS; i++) {
        while (a->kernels[i]) { /* kernels before their programs */
            ef__kernel *k = a->kernels[i];
            a->kernels[i] = k->next;
            clReleaseKernel(k->kernel);
            free(k);
        }
    }
    while (a->programs) {
        ef__program *p = a->programs;
        a->programs = p->next;
        clReleaseProgram(p->program);
        free(p);
    }
}
