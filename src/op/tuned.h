/* A device's tuned choices: the database that eftune writes, as dispatch reads it.
 *
 * A file of lines, each a JSON object. The first names the format and the device; each other is a
 * record, the choice for one operation at one shape (tune/README.md has the members), which counts
 * for the driver that it names. Unknown members are ignored; a line that cannot be used is counted
 * and passed over. */
#ifndef EF_OP_TUNED_H
#define EF_OP_TUNED_H

#include "base/sha256.h"
#include "op/clblast.h"
#include "op/op.h"
#include <jansson.h>

#define EF__TUNE_FORMAT "energyflow tune 1"
#define EF__TUNE_CLBLAST "clblast" /* the op of the record of CLBlast's parameters */

enum { EF__TUNE_MOST_BYTES = 16 << 20 };

/* choice.variant NULL: the untuned choice was found best. */
typedef struct ef__tuned_record {
    ef__op_id id;
    size_t n[EF__MAX_SIZES]; /* of the operation's arguments, as checked */
    int parts;               /* of its epilogue */
    ef_accuracy accuracy;    /* the class that it was chosen in */
    ef__choice choice;
} ef__tuned_record;

typedef struct ef__tuned {
    ef__tuned_record *records; /* [count] */
    size_t count;
    ef__clblast_set clblast; /* may be empty */
    ef_tune_info info;
} ef__tuned;

/* Read path. Errors: EF_EIO, EF_EFORMAT (not such a file, of another device or too large),
 * EF_ENOMEM. */
ef_status ef__tuned_read(ef_actor *a, const char *path, ef__tuned **tuned, ef_error *error);
void ef__tuned_free(ef__tuned *tuned);

/* Call see for the header and then for each line that is not empty, in their order, with NULL for
 * what is no JSON object, until it returns false. Errors: EF_EIO, EF_EFORMAT (not such a file, or
 * too large), EF_ENOMEM. */
ef_status ef__tuned_lines(const char *path, bool (*see)(void *user, json_t *line), void *user,
                          ef_error *error);

/* The choice of the record of this accuracy that is nearest to args in the sum of |log2| of its
 * sizes' ratios, at most 3 away, with the same epilogue before another, among those that may run
 * args; variant NULL: none. */
ef__choice ef__tuned_find(const ef__tuned *tuned, const ef__device *device, ef__op_id id,
                          const ef__args *args, ef_accuracy accuracy);

/* Of the kernels of an operation's variants. */
ef_status ef__op_hash(ef_actor *a, ef__op_id id, char hex[EF__SHA256_HEX]);

/* "rows 6, vectors 2"; "" without knobs. Written into text. */
const char *ef__choice_text(const ef__choice *choice, char *text, size_t size);

/* What tells the actor's device from others of other speed: hexadecimal. */
void ef__tuned_key(ef_actor *a, char key[EF__SHA256_HEX]);

/* Where the database of the device with this key is for its user: the XDG base directory for data.
 * Returns its length, as snprintf. */
int ef__tuned_user_path(const char *key, char *path, size_t size);

/* And that for users who have none of their own. */
int ef__tuned_system_path(const char *key, char *path, size_t size);

/* The database that the actor takes: what EF_TUNE names (then named), else the user's, else the
 * system's. Empty: EF_TUNE=off, or there is none. Errors: EARG (too long). */
ef_status ef__tuned_path(ef_actor *a, char *path, size_t size, bool *named);

#endif
