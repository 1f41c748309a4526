/* What tells a device from others: tuned choices are kept and found by it. */
#ifndef EF_ACTOR_IDENTITY_H
#define EF_ACTOR_IDENTITY_H

#include "actor/actor.h"

/* Empty or 0 where it is not known. */
typedef struct ef__identity {
    ef_device_info info; /* with its hwloc part */
    char platform_version[128];
    uint32_t vendor_id;
    char pci[16];  /* address, "0000:1b:00" */
    char uuid[33]; /* cl_khr_device_uuid, hexadecimal */
    char hash[17]; /* hexadecimal, of what ef__identity_hash says */
} ef__identity;

/* ef__identity_get -- the identity of an actor's device. Reads the machine's tree: takes
 * milliseconds. */
void ef__identity_get(const ef_actor *a, ef__identity *identity);

/* ef__identity_describe -- likewise that of a device by its index, without opening it.
 * Errors: EARG (there is none). */
ef_status ef__identity_describe(size_t index, ef__identity *identity, ef_error *error);

/* ef__identity_hash -- set hash by the kind of hardware and whose driver runs it: platform, vendor
 * id, name, compute units, largest work-group, local memory; of CPU devices also the model and the
 * cache sizes, because PoCL names many CPUs alike. Not by versions, which an update changes, nor by
 * PCI address and UUID, which tell one of several equal cards. */
void ef__identity_hash(ef__identity *identity);

#endif
