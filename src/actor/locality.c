/* Where a device is in the machine, from hwloc. A CPU device is all of the machine's cores; a GPU
 * is found by its PCI address. */
#include "actor/internal.h"
#include "base/error.h"
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool load(hwloc_topology_t *topology, bool with_io)
{
    if (hwloc_topology_init(topology))
        return false;
    hwloc_topology_set_io_types_filter(*topology, with_io ? HWLOC_TYPE_FILTER_KEEP_IMPORTANT
                                                          : HWLOC_TYPE_FILTER_KEEP_NONE);
    if (!hwloc_topology_load(*topology))
        return true;
    hwloc_topology_destroy(*topology);
    return false;
}

/* The part of the tree that the device's cores, or the cores next to it, form. */
static hwloc_obj_t place_of(hwloc_topology_t t, const ef_device_info *info)
{
    if (info->pci_bus < 0)
        return hwloc_get_root_obj(t);
    hwloc_obj_t pci = hwloc_get_pcidev_by_busid(
        t, (unsigned)info->pci_domain, (unsigned)info->pci_bus, (unsigned)info->pci_device, 0);
    return pci ? hwloc_get_non_io_ancestor_obj(t, pci) : hwloc_get_root_obj(t);
}

static uint64_t cache_bytes(hwloc_topology_t t, hwloc_obj_type_t type)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(t, type, 0);
    return cache ? cache->attr->cache.size : 0;
}

void ef__locality_fill(ef_device_info *info)
{
    hwloc_topology_t t;
    if (!load(&t, info->pci_bus >= 0))
        return;
    hwloc_obj_t place = place_of(t, info);
    hwloc_obj_t package = place->type == HWLOC_OBJ_PACKAGE
                              ? place
                              : hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_PACKAGE, place);
    if (!package)
        package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
    info->package = package ? (int)package->os_index : -1;
    int node = place->nodeset ? hwloc_bitmap_first(place->nodeset) : -1;
    info->numa_node = node;
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    snprintf(info->host_cpu, sizeof info->host_cpu, "%s", model ? model : "");
    int cores = place->cpuset
                    ? hwloc_get_nbobjs_inside_cpuset_by_type(t, place->cpuset, HWLOC_OBJ_CORE)
                    : 0;
    info->cores = cores > 0 ? (unsigned)cores : 0;
    info->l1d_bytes = cache_bytes(t, HWLOC_OBJ_L1CACHE);
    info->l2_bytes = cache_bytes(t, HWLOC_OBJ_L2CACHE);
    info->l3_bytes = cache_bytes(t, HWLOC_OBJ_L3CACHE);
    hwloc_topology_destroy(t);
}

/* ---- the tree as text ---- */

static void print_object(FILE *f, hwloc_topology_t t, hwloc_obj_t o, int depth, hwloc_obj_t place,
                         const char *device)
{
    char type[64], attributes[128];
    hwloc_obj_type_snprintf(type, sizeof type, o, 0);
    hwloc_obj_attr_snprintf(attributes, sizeof attributes, o, " ", 0);
    fprintf(f, "%*s%s", depth * 2, "", type);
    if (o->os_index != HWLOC_UNKNOWN_INDEX)
        fprintf(f, " %u", o->os_index);
    fprintf(f, "%s%s%s\n", *attributes ? " (" : "", attributes, *attributes ? ")" : "");
    if (o == place)
        fprintf(f, "%*sOpenCL device: %s\n", depth * 2 + 2, "", device);
    for (hwloc_obj_t c = o->memory_first_child; c; c = c->next_sibling)
        print_object(f, t, c, depth + 1, place, device);
    for (hwloc_obj_t c = o->first_child; c; c = c->next_sibling)
        print_object(f, t, c, depth + 1, place, device);
}

ef_status ef_device_tree(size_t index, char **text, ef_error *error)
{
    ef_device_info info;
    ef_status status = ef_device_describe(index, &info, error);
    if (status)
        return status;
    hwloc_topology_t t;
    if (!load(&t, info.pci_bus >= 0))
        return ef__error_set(error, EF_EDEVICE, 0, "tree", "hwloc cannot read this machine");
    char *buffer = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&buffer, &bytes);
    if (f) {
        print_object(f, t, hwloc_get_root_obj(t), 0, place_of(t, &info), info.name);
        fclose(f);
    }
    hwloc_topology_destroy(t);
    if (!buffer)
        return ef__error_set(error, EF_ENOMEM, 0, "tree", "tree: no memory");
    *text = buffer;
    return EF_OK;
}
