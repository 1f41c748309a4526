/* What EF_TUNE_CAPTURE=FILE writes: which operations ran, at which shapes and how often, appended
 * to FILE when the actor closes, for eftune --shapes FILE. */
#ifndef EF_OP_CAPTURE_H
#define EF_OP_CAPTURE_H

#include "op/op.h"

typedef struct ef__capture ef__capture;

/* NULL: the environment does not ask for one, or there is no memory for it. */
ef__capture *ef__capture_new(void);
void ef__capture_add(ef__capture *c, ef__op_id id, const ef__args *args);

/* Writes, as far as that can be done, and frees; NULL is fine. */
void ef__capture_end(ef__capture *c);

#endif
