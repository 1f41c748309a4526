/* A device's identity. What is defined here of OpenCL takes the place of the loader's: while fake
 * is on, the device has a UUID and a PCI address, and versions of their own. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "ef_test.h"
#include "actor/identity.h"
#include "actor/internal.h"
#include <dlfcn.h>
#include <string.h>

static bool fake;

#define REAL(function) ((__typeof__(&function))(uintptr_t)dlsym(RTLD_NEXT, #function))

static cl_int answer(const void *from, size_t bytes, size_t room, void *value)
{
    ck_assert_uint_le(bytes, room);
    memcpy(value, from, bytes);
    return CL_SUCCESS;
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t room, void *value,
                       size_t *size)
{
    static const char extensions[] = "cl_khr_pci_bus_info cl_khr_device_uuid";
    static const char driver[] = "99.9", version[] = "OpenCL 9.9 fake";
    static const cl_uint pci[4] = {1, 0x2a, 3, 0};
    static const cl_uchar uuid[16] = {0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff};
    if (fake && what == CL_DEVICE_EXTENSIONS)
        return answer(extensions, sizeof extensions, room, value);
    if (fake && what == CL_DRIVER_VERSION)
        return answer(driver, sizeof driver, room, value);
    if (fake && what == CL_DEVICE_VERSION)
        return answer(version, sizeof version, room, value);
    if (fake && what == 0x410F)
        return answer(pci, sizeof pci, room, value);
    if (fake && what == 0x106A)
        return answer(uuid, sizeof uuid, room, value);
    return REAL(clGetDeviceInfo)(device, what, room, value, size);
}

cl_int clGetPlatformInfo(cl_platform_id platform, cl_platform_info what, size_t room, void *value,
                         size_t *size)
{
    static const char version[] = "OpenCL 9.8 fake";
    if (fake && what == CL_PLATFORM_VERSION)
        return answer(version, sizeof version, room, value);
    return REAL(clGetPlatformInfo)(platform, what, room, value, size);
}

static ef__identity identity(void)
{
    ef__identity id;
    ef_actor *a = ef_test_open();
    ef__identity_get(a, &id);
    ef_test_close(a);
    return id;
}

static void is_hash(const char *text)
{
    ck_assert_uint_eq(strlen(text), 16);
    ck_assert_uint_eq(strspn(text, "0123456789abcdef"), 16);
}

START_TEST(a_device_has_a_stable_identity)
{
    ef__identity x = identity(), y = identity();
    is_hash(x.hash);
    ck_assert_str_eq(x.hash, y.hash);
    ck_assert(x.info.name[0] && x.info.platform[0] && x.info.driver[0] && x.info.version[0]);
    ck_assert_ptr_nonnull(strstr(x.platform_version, "OpenCL"));
    ck_assert(x.info.compute_units && x.info.max_work_group && x.info.local_bytes);
    if (x.info.is_cpu)
        ck_assert(x.info.host_cpu[0] && x.info.l1d_bytes);
}
END_TEST

START_TEST(it_is_known_without_opening_the_device)
{
    const ef__identity opened = identity();
    const size_t count = ef_device_count();
    size_t same = 0;
    ef__identity id;
    ef_error error;
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(ef__identity_describe(i, &id, &error), EF_OK);
        is_hash(id.hash);
        same += !strcmp(id.hash, opened.hash) && !strcmp(id.info.name, opened.info.name);
    }
    ck_assert_uint_ge(same, 1);
    ck_assert_int_eq(ef__identity_describe(count, &id, &error), EF_EARG);
}
END_TEST

/* What was written under a hash is found by later releases. This one is the start of
 * printf 'P\0007\000N\0002\0000\0000\000' | sha256sum */
START_TEST(the_hash_is_the_same_everywhere)
{
    ef__identity id = {.info = {.platform = "P", .name = "N", .compute_units = 2}, .vendor_id = 7};
    ef__identity_hash(&id);
    ck_assert_str_eq(id.hash, "0cb23512e6a838b8");
}
END_TEST

START_TEST(every_field_of_the_hardware_counts)
{
    const ef__identity base = {.info = {.platform = "P", .name = "N", .is_cpu = true}};
    ef__identity other[11];
    size_t n = sizeof other / sizeof *other;
    for (size_t i = 0; i < n; i++)
        other[i] = base;
    strcpy(other[1].info.platform, "Q");
    strcpy(other[2].info.name, "M");
    other[3].vendor_id = 1;
    other[4].info.compute_units = 1;
    other[5].info.max_work_group = 1;
    other[6].info.local_bytes = 1;
    strcpy(other[7].info.host_cpu, "C");
    other[8].info.l1d_bytes = 1;
    other[9].info.l2_bytes = 1;
    other[10].info.l3_bytes = 1;
    for (size_t i = 0; i < n; i++) {
        ef__identity_hash(&other[i]);
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(strcmp(other[i].hash, other[j].hash), "%zu and %zu", i, j);
    }
}
END_TEST

START_TEST(text_does_not_run_from_one_field_into_the_next)
{
    ef__identity x = {.info = {.name = "N1"}, .vendor_id = 1};
    ef__identity y = {.info = {.name = "N"}, .vendor_id = 11};
    ef__identity z = {.info = {.name = "N", .compute_units = 10}, .vendor_id = 1};
    ef__identity_hash(&x);
    ef__identity_hash(&y);
    ef__identity_hash(&z);
    ck_assert_str_ne(x.hash, y.hash);
    ck_assert_str_ne(x.hash, z.hash);
}
END_TEST

START_TEST(updates_and_equal_cards_keep_the_hash)
{
    ef__identity plain = identity();
    fake = true;
    ef__identity other = identity();
    ck_assert_str_eq(other.uuid, "ab0102030405060708090a0b0c0d0eff");
    ck_assert_str_eq(other.pci, "0001:2a:03");
    ck_assert_str_eq(other.info.driver, "99.9");
    ck_assert_str_eq(other.info.version, "OpenCL 9.9 fake");
    ck_assert_str_eq(other.platform_version, "OpenCL 9.8 fake");
    ck_assert_str_eq(other.hash, plain.hash);
}
END_TEST

START_TEST(the_host_does_not_count_for_a_gpu)
{
    ef__identity x = {.info = {.name = "N"}}, y = x;
    strcpy(y.info.host_cpu, "C");
    y.info.l3_bytes = 5;
    ef__identity_hash(&x);
    ef__identity_hash(&y);
    ck_assert_str_eq(x.hash, y.hash);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("identity");
    TCase *t = ef_test_case(s, "identity");
    tcase_add_test(t, a_device_has_a_stable_identity);
    tcase_add_test(t, it_is_known_without_opening_the_device);
    tcase_add_test(t, the_hash_is_the_same_everywhere);
    tcase_add_test(t, every_field_of_the_hardware_counts);
    tcase_add_test(t, text_does_not_run_from_one_field_into_the_next);
    tcase_add_test(t, updates_and_equal_cards_keep_the_hash);
    tcase_add_test(t, the_host_does_not_count_for_a_gpu);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
