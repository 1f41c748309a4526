/* database.h -- writing a device's tuned choices (op/tuned.h reads them). */
#ifndef TUNE_DATABASE_H
#define TUNE_DATABASE_H

#include "base/sha256.h"
#include "target.h"
#include <jansson.h>

/* What the file is of. */
typedef struct tune_device {
    char name[128], platform[128], version[128], driver[128], cpu[128], key[EF__SHA256_HEX];
    char accuracy[8]; /* the class that is tuned for */
    int units;
    /* What tells it from others of its name; 0 and "" where it is not known. */
    unsigned vendor_id;
    size_t max_work_group, local_bytes;
    char pci[16], uuid[33];
} tune_device;

/* The result for one target. variant NULL: the untuned choice is best. */
typedef struct tune_record {
    tune_target target;
    const char *variant;
    json_t *knobs;                 /* object; borrowed */
    const char *source, *identity; /* of its kernels; of device, driver and all kernels */
    double ms, base_ms, low, high; /* low, high: of the interval of ms / base_ms */
    size_t samples;                /* that ms is the median of; 0: not said */
    double mad_ms;                 /* their median distance from it */
    double worst;                  /* error over its bound */
    size_t tried, of;              /* choices */
    double seconds;                /* that the search had */
} tune_record;

/* Records are lines of JSON by target, each stamped with the device's driver; a result takes the
 * place of an older one of its target and kernels, others keep their stamps. Only one at a time may
 * do that: who has the journal beside it. Errors: EIO, EFORMAT (the file there is of something
 * else), ENOMEM. */
ef_status tune_database_put(const char *path, const tune_device *device, const tune_record *results,
                            size_t count, ef_error *error);

/* The target's record, if there is one, needs a new search; until that has ended, its choice stays
 * in force. Errors: EIO, EFORMAT. */
ef_status tune_database_reopen(const char *path, const tune_device *device,
                               const tune_target *target, ef_error *error);

/* Make path's folder and see that a file there is of this device. Errors: EIO, EFORMAT. */
ef_status tune_database_prepare(const char *path, const tune_device *device, ef_error *error);

/* Is the line a record of this target and class of accuracy? */
bool tune_database_is_of(json_t *line, const tune_target *target, const char *accuracy);

/* The parameters that the database has for this CLBlast, measured with that driver (NULL: any), not
 * checked; the caller's. NULL: none. */
json_t *tune_database_clblast(const char *path, const char *driver);

/* Is there a record of the target, measured with this identity, that tried everything or had at
 * least so many seconds for it? */
bool tune_database_has(const char *path, const tune_target *target, const char *accuracy,
                       const char *identity, double seconds);

/* Call see for the header and for each record, in their order, until it returns false. Errors: EIO,
 * EFORMAT. */
ef_status tune_database_read(const char *path, bool (*see)(void *user, json_t *line), void *user,
                             ef_error *error);

#endif
