/* A dataset: an open file and where the records of its samples are.
 *
 * Records are little-endian, nothing is aligned: u32 n, n bytes of text, where there are texts; u32
 * L, L x u32 id, L x u8 mask, where there are ids; E x f32 target. EFB files consist of them. Those
 * of a JSONL file, and of texts that were tokenized, are in a store: a file without a name that has
 * texts and ids; n is EF__NO_TEXT in a sample without text, L is 0 in one without ids.
 *
 * Once a dataset is open, every sample was seen to be sound; each is read anew when it is needed,
 * and a file that has become shorter since then is an error. */
#ifndef EF_DATA_DATASET_H
#define EF_DATA_DATASET_H

#include "base/file.h"
#include "base/sha256.h"

#define EF__NO_TEXT UINT32_MAX

struct ef_dataset {
    char *path;
    int fd;
    const unsigned char *memory; /* the caller's, instead of a file; or NULL */
    size_t bytes;
    int store;               /* where the records are, if not in the file itself; -1 */
    const ef_dataset *whole; /* of a part: what has its samples; else NULL */
    size_t *part;            /* [count] which ones */
    const char *format;
    bool has_text, has_ids, normalized; /* what a record consists of; what EFB2 says of targets */
    size_t declared;                    /* samples that an EFB file's header counts */
    size_t count;                       /* samples, > 0 */
    size_t width;                       /* numbers in a target, > 0 */
    size_t longest;                     /* most ids in a sample */
    int32_t max_id;                     /* every id is 0 .. max_id */
    size_t texts, bare;                 /* samples with a text; samples without ids */
    size_t largest;                     /* bytes of the largest record */
    size_t allocated;                   /* samples that the arrays have room for */
    size_t *offset;                     /* [count + 1] of each record, and the end */
    uint32_t *length;                   /* [count] ids of each sample */
    size_t *line;                       /* [count] in a JSONL file, from 1; else NULL */
    size_t skipped;                     /* lines left out */
    char first_skipped[512];            /* what is wrong with the first of them */
    unsigned char *room;                /* of ef_dataset_read: a record, */
    void *aligned;                      /* and what must be aligned of it */
    char sha256[EF__SHA256_HEX];
};

/* One sample: pointers of any alignment. */
typedef struct ef__sample {
    size_t length; /* 0: it has no ids */
    const unsigned char *ids, *mask, *target;
    const char *text; /* NULL: it has none */
    size_t text_bytes;
} ef__sample;

/* ---- Using it (dataset.c) ---- */

/* ef__dataset_parse -- ef_dataset_open_with for memory that outlives the dataset; path is for
 * messages. */
ef_status ef__dataset_parse(const char *path, const void *data, size_t bytes,
                            const ef_dataset_options *options, ef_dataset **dataset,
                            ef_error *error);

/* ef__dataset_open_targets -- a JSONL file of targets: lines may be plain arrays, and need neither
 * text nor ids. */
ef_status ef__dataset_open_targets(const char *path, ef_dataset **dataset, ef_error *error);

/* ef__dataset_length -- how many ids a sample has. */
size_t ef__dataset_length(const ef_dataset *dataset, size_t index);

/* ef__dataset_room -- bytes that any of the samples fits in. */
size_t ef__dataset_room(const ef_dataset *dataset);

/* ef__dataset_read -- read a sample into room. Any thread, each with a room of its own. Errors: EIO
 * (the file cannot be read, or is not what it was when it was opened). */
ef_status ef__dataset_read(const ef_dataset *dataset, size_t index, unsigned char *room,
                           ef__sample *sample, ef_error *error);

/* ef__dataset_need_ids -- every sample has ids, or EFORMAT that names the first without. */
ef_status ef__dataset_need_ids(const ef_dataset *dataset, ef_error *error);

/* ef__loader_full_length -- each epoch has a full batch at least that long: of the samples that are
 * longer, each might stand in the batch that is not full. */
size_t ef__loader_full_length(const ef_loader *loader);

/* ef__loader_prepared -- when its thread prepared the batch that ef_loader_next gave last, by
 * ef__now. */
void ef__loader_prepared(const ef_loader *loader, double *from, double *to);

/* ef__dataset_part -- those samples with picked[i] == which, at least one, as a dataset; the whole
 * one must outlive it. It has no SHA-256. Errors: EIO, ENOMEM. */
ef_status ef__dataset_part(const ef_dataset *whole, const bool *picked, bool which,
                           ef_dataset **part, ef_error *error);

/* ef__load_u32 -- a little-endian number at any address. */
static inline uint32_t ef__load_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- Making one: what the readers of the formats share (dataset.c) ---- */

/* ef__dataset_bad -- EFORMAT with the path before the text. */
ef_status ef__dataset_bad(const ef_dataset *dataset, ef_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ef__dataset_where -- "a.efb: sample 7", "a.jsonl:8". */
void ef__dataset_where(const ef_dataset *dataset, size_t index, char *text, size_t size);

ef_status ef__dataset_no_memory(const ef_dataset *dataset, ef_error *error);

/* ef__dataset_fetch -- bytes of the file as it was when it was opened, both ends inside it. */
ef_status ef__dataset_fetch(const ef_dataset *dataset, size_t at, void *to, size_t bytes,
                            ef_error *error);

/* ef__dataset_decode -- a record of so many bytes; false: it is none. */
bool ef__dataset_decode(const ef_dataset *dataset, const unsigned char *record, size_t bytes,
                        ef__sample *sample);

/* ef__dataset_add -- count one more sample, whose record ends there. Errors: ENOMEM. */
ef_status ef__dataset_add(ef_dataset *dataset, const ef__sample *sample, size_t end, size_t line,
                          ef_error *error);

/* ef__dataset_count -- what a sample adds to the numbers about all of them, but for count. */
void ef__dataset_count(ef_dataset *dataset, const ef__sample *sample);

/* ef__dataset_tell -- progress, now and then; ECANCELLED when it is not to go on. */
ef_status ef__dataset_tell(const ef_dataset *dataset, const ef_dataset_options *options,
                           size_t done, size_t all, ef_error *error);

/* ---- The readers ---- */

/* ef__efb_open -- find and check the records of an EFB file (efb.c). */
ef_status ef__efb_open(ef_dataset *dataset, const ef_dataset_options *options, ef_error *error);

/* ef__efb_header -- width, declared count, what a record consists of; offset[0] becomes where the
 * first begins. */
ef_status ef__efb_header(ef_dataset *dataset, ef_error *error);

/* ef__efb_record -- bytes of sample number index, which begins at that place. */
ef_status ef__efb_record(const ef_dataset *dataset, size_t index, size_t at, size_t *bytes,
                         ef_error *error);

/* ef__efb_check -- ids that are none, and, unless that is allowed, targets that are not finite. */
ef_status ef__efb_check(const ef_dataset *dataset, size_t index, const ef__sample *sample,
                        bool not_finite, ef_error *error);

/* ef__jsonl_open -- read a JSONL file into a store (jsonl.c). bare_targets: lines may be plain
 * arrays, and need neither text nor ids. */
ef_status ef__jsonl_open(ef_dataset *dataset, const ef_dataset_options *options, bool bare_targets,
                         ef_error *error);

#endif
