/* A dataset: an open EFB1 file and where its samples start.
 * EFB1, little-endian, nothing aligned: "EFB1", u32 N, u32 E, then N times: u32 L, L x u32 id,
 * L x u8 mask, E x f32 target. Once a dataset is open, every sample was seen to be sound; each is
 * read anew when it is needed, and a file that has become shorter since then is an error. */
#ifndef EF_DATA_EFB_H
#define EF_DATA_EFB_H

#include "base/file.h"
#include "base/sha256.h"

struct ef_dataset {
    char *path;
    int fd;
    const unsigned char *memory; /* the caller's, instead of a file; or NULL */
    size_t bytes;
    size_t count;   /* samples, > 0 */
    size_t width;   /* numbers in a target, > 0 */
    size_t longest; /* most ids in a sample */
    int32_t max_id; /* every id is 0 .. max_id */
    size_t *offset; /* [count + 1] of each sample's L, and the end */
    char sha256[EF__SHA256_HEX];
};

/* One sample: pointers of any alignment into the memory that it was read to. */
typedef struct ef__sample {
    size_t length; /* > 0 */
    const unsigned char *ids, *mask, *target;
} ef__sample;

/* ef__dataset_length -- how many ids a sample has. */
size_t ef__dataset_length(const ef_dataset *dataset, size_t index);

/* ef__dataset_room -- bytes that any of the samples fits in. */
size_t ef__dataset_room(const ef_dataset *dataset);

/* ef__dataset_read -- read a sample into room. Any thread, each with a room of its own. Errors: EIO
 * (the file cannot be read, or is not what it was when it was opened). */
ef_status ef__dataset_read(const ef_dataset *dataset, size_t index, unsigned char *room,
                           ef__sample *sample, ef_error *error);

/* ef__loader_full_length -- each epoch has a full batch at least that long: of the samples that are
 * longer, each might stand in the batch that is not full. */
size_t ef__loader_full_length(const ef_loader *loader);

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
