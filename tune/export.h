/* export.h -- what was tried, in the formats of other tuners. */
#ifndef TUNE_EXPORT_H
#define TUNE_EXPORT_H

#include "books.h"

typedef enum tune_format {
    TUNE_T4, /* T4 results 1.0.0, with the metadata of its draft 1.1.0 */
    TUNE_KT  /* the cache of Kernel Tuner */
} tune_format;

/* A file for each target in folder, which is made if it is missing; for TUNE_T4 one of metadata,
 * too. A file there of the same name is replaced. Errors: EIO, ENOMEM. */
ef_status tune_export(const tune_books *b, tune_format format, const char *folder, ef_error *error);

#endif
