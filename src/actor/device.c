/* Which devices there are, and the one that was asked for. */
#include "actor/internal.h"
#include "base/error.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 64 };

static size_t list(cl_device_id devices[MAX_DEVICES])
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n = 0;
    size_t count = 0;
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &n))
        return 0;
    for (cl_uint i = 0; i < n && i < MAX_PLATFORMS; i++) {
        cl_uint room = (cl_uint)(MAX_DEVICES - count), found = 0;
        if (room &&
            !clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, room, devices + count, &found))
            count += found < room ? found : room;
    }
    return count;
}

size_t ef_device_count(void)
{
    cl_device_id devices[MAX_DEVICES];
    return list(devices);
}

/* ---- description ---- */

static void get(cl_device_id d, cl_device_info what, size_t bytes, void *value)
{
    memset(value, 0, bytes);
    clGetDeviceInfo(d, what, bytes, value, NULL);
}

static void get_text(cl_device_id d, cl_device_info what, size_t room, char *text)
{
    char long_text[8192] = "";
    clGetDeviceInfo(d, what, sizeof long_text, long_text, NULL);
    long_text[sizeof long_text - 1] = '\0';
    const char *from = long_text + strspn(long_text, " ");
    snprintf(text, room, "%.*s", (int)room - 1, from);
}

/* PCI address, where the driver tells it: NVIDIA's query, else cl_khr_pci_bus_info. */
static void get_pci(cl_device_id d, ef_device_info *info)
{
    enum { NV_BUS = 0x4008, NV_SLOT = 0x4009, NV_DOMAIN = 0x400A, KHR_PCI = 0x410F };
    cl_uint bus, slot, domain = 0, khr[4];
    info->pci_domain = info->pci_bus = info->pci_device = -1;
    if (strstr(info->extensions, "cl_nv_device_attribute_query") &&
        !clGetDeviceInfo(d, NV_BUS, sizeof bus, &bus, NULL) &&
        !clGetDeviceInfo(d, NV_SLOT, sizeof slot, &slot, NULL)) {
        clGetDeviceInfo(d, NV_DOMAIN, sizeof domain, &domain, NULL);
        info->pci_domain = (int)domain;
        info->pci_bus = (int)bus;
        info->pci_device = (int)(slot >> 3);
    } else if (strstr(info->extensions, "cl_khr_pci_bus_info") &&
               !clGetDeviceInfo(d, KHR_PCI, sizeof khr, khr, NULL)) {
        info->pci_domain = (int)khr[0];
        info->pci_bus = (int)khr[1];
        info->pci_device = (int)khr[2];
    }
}

/* 4, 8 or 16 floats: what kernels are written for. GPUs report 1 and use 4. */
static unsigned usable_width(cl_device_id d, bool is_cpu)
{
    cl_uint width;
    get(d, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof width, &width);
    return !is_cpu || width < 8 ? 4 : width < 16 ? 8 : 16;
}

static void describe(cl_device_id d, ef_device_info *info)
{
    cl_platform_id platform;
    cl_device_type type;
    cl_uint units;
    cl_ulong bytes;
    memset(info, 0, sizeof *info);
    get(d, CL_DEVICE_PLATFORM, sizeof platform, &platform);
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof info->platform - 1, info->platform, NULL);
    get_text(d, CL_DEVICE_NAME, sizeof info->name, info->name);
    get_text(d, CL_DEVICE_VENDOR, sizeof info->vendor, info->vendor);
    get_text(d, CL_DEVICE_VERSION, sizeof info->version, info->version);
    get_text(d, CL_DRIVER_VERSION, sizeof info->driver, info->driver);
    get_text(d, CL_DEVICE_EXTENSIONS, sizeof info->extensions, info->extensions);
    get(d, CL_DEVICE_TYPE, sizeof type, &type);
    info->is_cpu = type & CL_DEVICE_TYPE_CPU;
    info->is_gpu = !info->is_cpu && type & CL_DEVICE_TYPE_GPU;
    info->vector_width = usable_width(d, info->is_cpu);
    get(d, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units);
    info->compute_units = units;
    get(d, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof info->max_work_group, &info->max_work_group);
    get(d, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof bytes, &bytes);
    info->global_bytes = bytes;
    get(d, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof bytes, &bytes);
    info->max_alloc_bytes = bytes;
    get(d, CL_DEVICE_LOCAL_MEM_SIZE, sizeof bytes, &bytes);
    info->local_bytes = bytes;
    info->package = info->numa_node = -1;
    get_pci(d, info);
}

ef_status ef__device_at(size_t index, cl_device_id *device, ef_error *error)
{
    cl_device_id devices[MAX_DEVICES];
    size_t n = list(devices);
    if (index >= n)
        return ef__error_set(error, EF_EARG, 0, "device", "device %zu: there are %zu", index, n);
    *device = devices[index];
    return EF_OK;
}

ef_status ef_device_describe(size_t index, ef_device_info *info, ef_error *error)
{
    cl_device_id device;
    ef_status status = ef__device_at(index, &device, error);
    if (status)
        return status;
    describe(device, info);
    ef__locality_fill(info);
    return EF_OK;
}

ef_status ef__device_fill(cl_device_id device, ef__device *about, ef_error *error)
{
    cl_bool compiler;
    describe(device, &about->info);
    about->keeps_events = about->info.is_cpu;
    get(device, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler);
    if (!compiler)
        return ef__error_set(error, EF_EDEVICE, CL_COMPILER_NOT_AVAILABLE, "open",
                             "open: %s has no OpenCL C compiler", about->info.name);
    return EF_OK;
}

/* ---- choice ---- */

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++) {
        if (!strncasecmp(text, part, n))
            return true;
    }
    return n == 0;
}

/* "0: name (platform); 1: ..." for the error of a name that matches nothing. */
static void list_text(const cl_device_id *devices, size_t n, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n && used < room; i++) {
        ef_device_info info;
        describe(devices[i], &info);
        int k = snprintf(text + used, room - used, "%s%zu: %s (%s)", i ? "; " : "", i, info.name,
                         info.platform);
        used += (size_t)k;
    }
}

static bool is_index(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static bool matches(cl_device_id d, const char *wanted)
{
    ef_device_info info;
    describe(d, &info);
    return contains(info.name, wanted) || contains(info.platform, wanted);
}

/* A GPU, else a CPU, else anything; Oclgrind calls itself all of them and is only taken by name. */
static cl_device_id preferred(const cl_device_id *devices, size_t n)
{
    cl_device_id cpu = NULL, other = NULL;
    for (size_t i = 0; i < n; i++) {
        ef_device_info info;
        describe(devices[i], &info);
        if (contains(info.platform, "Oclgrind"))
            continue;
        if (info.is_gpu)
            return devices[i];
        if (info.is_cpu && !cpu)
            cpu = devices[i];
        else if (!other)
            other = devices[i];
    }
    return cpu ? cpu : other;
}

ef_status ef__device_find(const char *wanted, cl_device_id *device, ef_error *error)
{
    cl_device_id devices[MAX_DEVICES], found = NULL;
    size_t n = list(devices);
    if (n == 0)
        return ef__error_set(error, EF_EDEVICE, 0, "open",
                             "open: no OpenCL device; install a driver (on Debian: pocl-opencl-icd "
                             "for the CPU)");
    if (!wanted || !*wanted)
        wanted = getenv("EF_DEVICE");
    if (!wanted || !*wanted)
        found = preferred(devices, n);
    else if (is_index(wanted) && strlen(wanted) < 4 && (size_t)atoi(wanted) < n)
        found = devices[atoi(wanted)];
    for (size_t i = 0; !found && wanted && *wanted && !is_index(wanted) && i < n; i++) {
        if (matches(devices[i], wanted))
            found = devices[i];
    }
    if (!found) {
        char text[400];
        list_text(devices, n, text, sizeof text);
        return ef__error_set(error, EF_EARG, 0, "open", "open: no device \"%s\"; there are %s",
                             wanted ? wanted : "(any)", text);
    }
    *device = found;
    return EF_OK;
}
