/* Files: saves that are whole or not there at all, reads at any place, and read-only maps.
 * A save writes to a temporary file beside the target and renames it over the target at the end:
 * whatever fails before that leaves an existing target as it was and no temporary file behind. (A
 * killed process may leave one, named TARGET.ef-tmp; the next save of TARGET takes its place.)
 * Every error names the file and its cause. */
#ifndef EF_BASE_FILE_H
#define EF_BASE_FILE_H

#include "base/error.h"

/* A save in progress. */
typedef struct ef__file ef__file;

/* ef__file_begin -- start to save path. A symbolic link is followed; an existing file keeps its
 * permissions. Errors: EIO (folder missing or not writable, path is no regular file,
 * another save of it is not at its end in 8 seconds), ENOMEM. */
ef_status ef__file_begin(const char *path, ef__file **file, ef_error *error);

/* ef__file_write -- append. After a failure only ef__file_abandon is left to do. Errors: EIO. */
ef_status ef__file_write(ef__file *file, const void *data, size_t bytes, ef_error *error);

/* ef__file_patch -- write over what was written, from byte `at` on. Errors: EIO. */
ef_status ef__file_patch(ef__file *file, size_t at, const void *data, size_t bytes,
                         ef_error *error);

/* ef__file_sync -- make what was written durable, so that a commit has little left that can fail.
 * Errors: EIO. */
ef_status ef__file_sync(ef__file *file, ef_error *error);

/* ef__file_commit -- make what was written durable and put it in path's place. Frees file in any
 * case. Errors: EIO; the old file is still there, unless the text says that only the folder could
 * not be synced. */
ef_status ef__file_commit(ef__file *file, ef_error *error);

/* ef__file_abandon -- drop what was written and free file; NULL is fine. */
void ef__file_abandon(ef__file *file);

/* ef__file_open -- open a regular file to read from: its descriptor (close it) and its size.
 * Errors: EIO. */
ef_status ef__file_open(const char *path, int *fd, size_t *bytes, ef_error *error);

/* ef__file_append -- open a file to append to, made if it is missing: its descriptor (close it).
 * What one write(2) adds stays together. Errors: EIO. */
ef_status ef__file_append(const char *path, int *fd, ef_error *error);

/* ef__file_read -- so many bytes from any place of an open file; path is for messages. Errors: EIO,
 * also when the file has become too short for that. */
ef_status ef__file_read(int fd, const char *path, size_t at, void *to, size_t bytes,
                        ef_error *error);

/* A file's bytes, mapped read-only. data is never NULL, even of an empty file. */
typedef struct ef__map {
    const unsigned char *data;
    size_t bytes;
} ef__map;

/* ef__file_map -- map a regular file. Who changes the file in place changes the map (and kills its
 * reader by making the file shorter); a save by ef__file_begin does not. So: for files that are
 * read at once, not for those that stay open for hours. Errors: EIO. */
ef_status ef__file_map(const char *path, ef__map *map, ef_error *error);

/* ef__file_unmap -- let go of a map; of a zeroed one too. */
void ef__file_unmap(ef__map *map);

#endif
