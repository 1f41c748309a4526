/* The builder of EFB1 files. */
#include "efb.h"
#include "ef_test.h"
#include "mutate.h"
#include <stdio.h>
#include <unistd.h>

void efb_put(efb *f, const void *data, size_t bytes)
{
    if (f->bytes + bytes > f->room)
        f->data = realloc(f->data, f->room = 2 * (f->bytes + bytes));
    memcpy(f->data + f->bytes, data, bytes);
    f->bytes += bytes;
}

void efb_put_u32(efb *f, uint32_t x)
{
    efb_put(f,
            (unsigned char[]){(unsigned char)x, (unsigned char)(x >> 8), (unsigned char)(x >> 16),
                              (unsigned char)(x >> 24)},
            4);
}

efb efb_begin(uint32_t count, uint32_t width)
{
    efb f = {0};
    efb_put(&f, "EFB1", 4);
    efb_put_u32(&f, count);
    efb_put_u32(&f, width);
    return f;
}

void efb_add(efb *f, size_t length, const uint32_t *ids, const uint8_t *mask, uint32_t name,
             size_t width)
{
    efb_put_u32(f, (uint32_t)length);
    for (size_t i = 0; i < length; i++)
        efb_put_u32(f, ids[i]);
    efb_put(f, mask, length);
    for (size_t i = 0; i < width; i++) {
        float x = i ? 0.5f : (float)name;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        efb_put_u32(f, bits);
    }
}

efb efb_random(uint32_t count, uint64_t seed)
{
    efb f = efb_begin(count, EFB_WIDTH);
    for (uint32_t n = 0; n < count; n++) {
        uint32_t ids[EFB_LONGEST];
        uint8_t mask[EFB_LONGEST];
        size_t length = 1 + mutate_random(&seed) % EFB_LONGEST;
        for (size_t i = 0; i < length; i++) {
            ids[i] = 1 + mutate_random(&seed) % 99;
            mask[i] = 1;
        }
        efb_add(&f, length, ids, mask, n, EFB_WIDTH);
    }
    return f;
}

ef_dataset *efb_parsed(const efb *f)
{
    ef_dataset *d = NULL;
    ef_error error = {0};
    ck_assert_msg(!ef__dataset_parse("a.efb", f->data, f->bytes, NULL, &d, &error), "%s",
                  error.text);
    return d;
}

char *efb_file(const efb *f)
{
    char *path = ef_test_alloc(64);
    snprintf(path, 64, "/tmp/ef-test-data-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, f->data, f->bytes), (ssize_t)f->bytes);
    close(fd);
    return path;
}

void efb_refused(ef_status got, ef_status want, const ef_error *error, const char *text)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", ef_strerror(got), ef_strerror(want),
                  error->text);
    ck_assert_int_eq(error->status, want);
    ck_assert_msg(strstr(error->text, text), "\"%s\" does not say \"%s\"", error->text, text);
}
