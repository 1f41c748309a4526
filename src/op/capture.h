/* What EF_TUNE_CAPTURE=FILE writes: which operations ran, at which shapes and how often, appended
 * to FILE when the actor closes, for eftune --shapes FILE. */
#ifndef EF_OP_CAPTURE_H
#define EF_OP_CAPTURE_H

#include "op/op.h"

typedef struct ef__capture ef__capture;

/* NULL: the environment did not ask for one when the actor opened, or there is no memory for it. */
ef__capture *ef__capture_new(const ef_actor *a);
void ef__capture_add(ef__capture *c, ef__op_id id, const ef__args *args);

/* Writes all lines at once, so that those of several processes do not mix, and frees; NULL is fine.
 * What cannot be written is said on stderr. */
void ef__capture_end(ef__capture *c);

#endif
