/* The parameters of CLBlast's GEMM: what there is, the values that its own tuners try, and the
 * rules that its override does not check (CLBlast 1.5.3 to 1.7.0, src/tuning/kernels/). Parameters
 * that break one build or launch wrongly, or compute wrong numbers: none of them reach CLBlast. */
#ifndef EF_OP_CLBLAST_H
#define EF_OP_CLBLAST_H

#include "actor/actor.h"
#include <jansson.h>

/* A kernel of CLBlast, or one of the two that share the name Xgemm. */
typedef enum ef__clblast_id {
    EF__XGEMM_LOCAL,     /* GEMMK 0: tiles in local memory */
    EF__XGEMM_REGISTERS, /* GEMMK 1: tiles in registers */
    EF__XGEMM_DIRECT,
    EF__COPY,
    EF__PAD,
    EF__TRANSPOSE,
    EF__PADTRANSPOSE,
    EF__GEMM_ROUTINE, /* which kernel: the direct one where m n k is below the cube of this */
    EF__CLBLAST_IDS
} ef__clblast_id;

enum {
    EF__CLBLAST_PARAMETERS = 16,
    EF__CLBLAST_VALUES = 8,
    EF__CLBLAST_MENDED = 10603, /* version whose register kernel takes tiles that are not square */
    EF__CLBLAST_TEXT = 640,     /* of a set */
    EF__CLBLAST_HUGE =
        1 << 20 /* of GEMM_ROUTINE: always the direct kernel; its cube fits 64 bits */
};

typedef struct ef__clblast_parameter {
    const char *name;
    int values[EF__CLBLAST_VALUES]; /* ascending */
    size_t count;
} ef__clblast_parameter;

/* What bounds parameters on a device. */
typedef struct ef__clblast_limits {
    size_t group;       /* items of a work-group */
    size_t item[2];     /* of its first two dimensions */
    size_t local_bytes; /* memory of a work-group */
    int version;        /* CLBlast's: 10503 is 1.5.3; 0: not known */
} ef__clblast_limits;

typedef struct ef__clblast_group {
    size_t item[2], local_bytes;
} ef__clblast_group;

/* The name that CLBlastOverrideParameters knows, which wants every parameter of it. */
const char *ef__clblast_kernel(ef__clblast_id id);

/* In alphabetical order; name NULL ends. */
const ef__clblast_parameter *ef__clblast_parameters(ef__clblast_id id);
size_t ef__clblast_count(ef__clblast_id id);

/* The place among them of one that is there. */
size_t ef__clblast_place(ef__clblast_id id, const char *name);

/* What a work-group takes in single precision, of values in the order of the parameters. */
ef__clblast_group ef__clblast_group_of(ef__clblast_id id, const int *values);

/* Do the values go together, and does the device run them? Each is one of its parameter's. */
bool ef__clblast_valid(ef__clblast_id id, const int *values, const ef__clblast_limits *limits);

ef__clblast_limits ef__clblast_limits_of(const ef__device *device);

/* ---- a set: parameters of some of the kernels; the others keep CLBlast's own ---- */

typedef struct ef__clblast_set {
    int has[EF__CLBLAST_IDS]; /* XGEMM_LOCAL or XGEMM_REGISTERS, not both */
    int value[EF__CLBLAST_IDS][EF__CLBLAST_PARAMETERS];
} ef__clblast_set;

/* {"Xgemm": {"GEMMK": 0, ...}, ...}: false, and the set is empty: a kernel that there is not, not
 * exactly its parameters, values that are not valid. */
bool ef__clblast_read(json_t *kernels, const ef__clblast_limits *limits, ef__clblast_set *set);
json_t *ef__clblast_json(const ef__clblast_set *set);
bool ef__clblast_is_empty(const ef__clblast_set *set);

/* "Xgemm GEMMK 1, KREG 4, COPY_DIMX 8": each parameter's name is of one kernel alone. */
const char *ef__clblast_text(const ef__clblast_set *set, char text[EF__CLBLAST_TEXT]);

/* ---- in force (op/linear.c) ---- */

/* The CLBlast that this library was built with: 10503 is 1.5.3; and as records have it. */
int ef__clblast_version(void);
const char *ef__clblast_source(void);

/* CLBlast takes these parameters for all products in single precision on the actor's device, in the
 * whole process, until others are given; there is no way back to its own. */
ef_status ef__clblast_override(ef_actor *a, const ef__clblast_set *set);

/* ef__clblast_agrees -- would adopting the set be no error? */
bool ef__clblast_agrees(ef_actor *a, const ef__clblast_set *set);

/* The same for good: the device's first set stays, and another one is ESTATE. Before its first
 * product CLBlast has to show that it computes right with them, else all are EDEVICE. */
ef_status ef__clblast_adopt(ef_actor *a, const ef__clblast_set *set);

/* Drop the programs that CLBlast keeps, of all sets so far. */
ef_status ef__clblast_forget(ef_actor *a);

#endif
