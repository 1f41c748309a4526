#include "actor/identity.h"
#include "actor/internal.h"
#include "base/sha256.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Each field ends with a 0, so that none runs into the next. */
static void add_text(ef__sha256 *sha, const char *text)
{
    ef__sha256_add(sha, text, strlen(text) + 1);
}

static void add_number(ef__sha256 *sha, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, n);
    add_text(sha, text);
}

void ef__identity_hash(ef__identity *id)
{
    const ef_device_info *info = &id->info;
    const uint64_t caches[] = {info->l1d_bytes, info->l2_bytes, info->l3_bytes};
    char hex[EF__SHA256_HEX];
    ef__sha256 sha;
    ef__sha256_begin(&sha);
    add_text(&sha, info->platform);
    add_number(&sha, id->vendor_id);
    add_text(&sha, info->name);
    add_number(&sha, info->compute_units);
    add_number(&sha, info->max_work_group);
    add_number(&sha, info->local_bytes);
    if (info->is_cpu) {
        add_text(&sha, info->host_cpu);
        for (size_t i = 0; i < sizeof caches / sizeof *caches; i++)
            add_number(&sha, caches[i]);
    }
    ef__sha256_end_hex(&sha, hex);
    snprintf(id->hash, sizeof id->hash, "%.16s", hex);
}

static void get_uuid(cl_device_id device, ef__identity *id)
{
    enum { KHR_UUID = 0x106A, BYTES = 16 };
    unsigned char uuid[BYTES];
    if (strstr(id->info.extensions, "cl_khr_device_uuid") &&
        !clGetDeviceInfo(device, KHR_UUID, sizeof uuid, uuid, NULL))
        for (int i = 0; i < BYTES; i++)
            snprintf(id->uuid + 2 * i, 3, "%02x", uuid[i]);
}

/* The rest of what has its info. */
static void identify(cl_device_id device, ef__identity *id)
{
    cl_platform_id platform = NULL;
    cl_uint vendor = 0;
    clGetDeviceInfo(device, CL_DEVICE_VENDOR_ID, sizeof vendor, &vendor, NULL);
    id->vendor_id = vendor;
    clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL);
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof id->platform_version - 1,
                      id->platform_version, NULL);
    if (id->info.pci_bus >= 0)
        snprintf(id->pci, sizeof id->pci, "%04x:%02x:%02x", (unsigned)id->info.pci_domain & 0xffff,
                 (unsigned)id->info.pci_bus & 0xff, (unsigned)id->info.pci_device & 0xff);
    get_uuid(device, id);
    ef__identity_hash(id);
}

void ef__identity_get(const ef_actor *a, ef__identity *id)
{
    *id = (ef__identity){.info = a->about.info};
    ef__locality_fill(&id->info);
    identify(a->device, id);
}

ef_status ef__identity_describe(size_t index, ef__identity *id, ef_error *error)
{
    cl_device_id device;
    ef_status status = ef__device_at(index, &device, error);
    *id = (ef__identity){.hash = ""};
    if (!status)
        status = ef_device_describe(index, &id->info, error);
    if (!status)
        identify(device, id);
    return status;
}
