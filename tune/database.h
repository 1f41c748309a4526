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
    json_t *knobs; /* object; borrowed */
    const char *source;
    double ms, base_ms, low, high; /* low, high: of the interval of ms / base_ms */
    double worst;                  /* error over its bound */
    size_t tried;
} tune_record;

/* Records are lines of JSON by target; a result takes the place of an older one of its target and
 * kernels. path's folder is made if it is missing. Errors: EIO, EFORMAT (the file there is of
 * something else), ENOMEM. */
ef_status tune_database_put(const char *path, const tune_device *device, const tune_record *results,
                            size_t count, ef_error *error);

#endif
