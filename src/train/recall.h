/* recall.h -- where each sample's own target stands among all targets, by cosine with the model's
 * vector. Vectors are collected until there are as many as a pass over all targets is for; the
 * device then multiplies them with the targets, a part after the other, and counts those that are
 * nearer. Memory does not depend on how many samples there are. */
#ifndef EF_TRAIN_RECALL_H
#define EF_TRAIN_RECALL_H

#include "train/evaluate.h"

enum { EF__RECALLS = 3 }; /* at 1, 5 and 10 */

typedef struct ef__recall {
    ef__evaluation *evaluation;
    size_t room, count;    /* vectors of a pass; those that wait for it */
    float *vector, *level; /* [room,E] of norm 1; [room] what is nearer has a larger cosine */
    float *targets;        /* of norm 1, a part of them */
    unsigned char *sample;
    uint64_t found[EF__RECALLS];
} ef__recall;

/* Errors: ENOMEM. ef__recall_free in any case. */
ef_status ef__recall_begin(ef__recall *r, ef__evaluation *evaluation);
void ef__recall_free(ef__recall *r);

/* One more sample's vector and target. Errors: what the device and the dataset say, ECANCELLED. */
ef_status ef__recall_add(ef__recall *r, const float *vector, const float *target);

/* Look for those that still wait. */
ef_status ef__recall_end(ef__recall *r);

#endif
