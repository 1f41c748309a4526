/* database.h -- writing a device's tuned choices (op/tuned.h reads them). */
#ifndef TUNE_DATABASE_H
#define TUNE_DATABASE_H

#include "base/sha256.h"
#include "target.h"
#include <jansson.h>

/* What the file is of. */
typedef struct tune_device {
    char name[128], platform[128], version[128], driver[128], cpu[128], key[EF__SHA256_HEX];
    int units;
} tune_device;

/* The result for one target. variant NULL: the untuned choice is best. */
typedef struct tune_record {
    tune_target target;
    const char *variant;
    json_t *knobs;                 /* object; borrowed */
    const char *source, *identity; /* of its kernels; of device, driver and all kernels */
    double ms, base_ms, low, high; /* low, high: of the interval of ms / base_ms */
    double worst;                  /* error over its bound */
    double floor_ms;               /* of the plain formula at the device's ceilings, 0: not known */
    size_t tried;
} tune_record;

/* Records are lines of JSON by target; a result takes the place of an older one of its target and
 * kernels. path's folder is made if it is missing. Errors: EIO, EFORMAT (the file there is of
 * something else), ENOMEM. */
ef_status tune_database_put(const char *path, const tune_device *device, const tune_record *results,
                            size_t count, ef_error *error);

/* Make path's folder and see that a file there is of this device and can be replaced. Errors: EIO,
 * EFORMAT. */
ef_status tune_database_prepare(const char *path, const tune_device *device, ef_error *error);

/* Is the line a record of this target? */
bool tune_database_is_of(json_t *line, const tune_target *target);

/* A choice's knobs, by their names. */
json_t *tune_knobs_json(const ef__choice *choice);

/* Is there a record of the target, measured with this identity? */
bool tune_database_has(const char *path, const tune_target *target, const char *identity);

/* Call see for the header and for each record, in their order, until it returns false. Errors: EIO,
 * EFORMAT. */
ef_status tune_database_read(const char *path, bool (*see)(void *user, json_t *line), void *user,
                             ef_error *error);

#endif
