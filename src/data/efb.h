/* A dataset in memory: a map of an EFB1 file and where its samples start.
 * EFB1, little-endian, nothing aligned: "EFB1", u32 N, u32 E, then N times: u32 L, L x u32 id,
 * L x u8 mask, E x f32 target. Once a dataset is open, every sample is known to be in bounds. */
#ifndef EF_DATA_EFB_H
#define EF_DATA_EFB_H

#include "base/file.h"
#include "base/sha256.h"

struct ef_dataset {
    char *path;
    ef__map map;
    bool mapped;      /* false: the memory is the caller's */
    size_t count;     /* samples, > 0 */
    size_t width;     /* numbers in a target, > 0 */
    size_t longest;   /* most ids in a sample */
    int32_t max_id;   /* every id is 0 .. max_id */
    uint64_t *offset; /* [count] of each sample's L in the map */
    char sha256[EF__SHA256_HEX];
};

/* One sample: pointers into the map, of any alignment. */
typedef struct ef__sample {
    size_t length; /* > 0 */
    const unsigned char *ids, *mask, *target;
} ef__sample;

ef__sample ef__dataset_sample(const ef_dataset *dataset, size_t index);

/* ef__load_u32 -- a little-endian number at any address. */
static inline uint32_t ef__load_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ef__dataset_parse -- ef_dataset_open for memory that outlives the dataset; path is for
 * messages. */
ef_status ef__dataset_parse(const char *path, const void *data, size_t bytes, ef_dataset **dataset,
                            ef_error *error);

#endif
