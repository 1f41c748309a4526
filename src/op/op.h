/* The op table: one row for each operation, read by dispatch, efbench, the tests and the tuner. */
#ifndef EF_OP_OP_H
#define EF_OP_OP_H

#include "actor/actor.h"

#define EF__OP_LIST(X)                                                                             \
    X(CAST, cast)                                                                                  \
    X(RESIDUAL_ADD, residual_add)                                                                  \
    X(MASK_ROWS, mask_rows)                                                                        \
    X(EPILOGUE, epilogue)                                                                          \
    X(GELU_FORWARD, gelu_forward)                                                                  \
    X(GELU_BACKWARD, gelu_backward)                                                                \
    X(TANH_FORWARD, tanh_forward)                                                                  \
    X(TANH_BACKWARD, tanh_backward)                                                                \
    X(LAYERNORM_FORWARD, layernorm_forward)                                                        \
    X(LAYERNORM_BACKWARD, layernorm_backward)                                                      \
    X(CONV1D_FORWARD, conv1d_forward)                                                              \
    X(CONV1D_DX, conv1d_dx)                                                                        \
    X(CONV1D_DW, conv1d_dw)                                                                        \
    X(LINEAR_FORWARD, linear_forward)                                                              \
    X(LINEAR_DX, linear_dx)                                                                        \
    X(LINEAR_DW, linear_dw)                                                                        \
    X(EMBEDDING_FORWARD, embedding_forward)                                                        \
    X(EMBEDDING_BACKWARD, embedding_backward)                                                      \
    X(MASKED_MEAN_FORWARD, masked_mean_forward)                                                    \
    X(MASKED_MEAN_BACKWARD, masked_mean_backward)                                                  \
    X(MASKED_SUM, masked_sum)                                                                      \
    X(KD_LOSS, kd_loss)                                                                            \
    X(CROSS_ENTROPY_LOSS, cross_entropy_loss)                                                      \
    X(RING_TAPS, ring_taps)                                                                        \
    X(TOKEN_CHOOSE, token_choose)                                                                  \
    X(COUNT_ABOVE, count_above)                                                                    \
    X(OPTIM_NORM, optim_norm)                                                                      \
    X(OPTIM_UPDATE, optim_update)

typedef enum ef__op_id {
#define OP_ENUM(id, row) EF__##id,
    EF__OP_LIST(OP_ENUM)
#undef OP_ENUM
        EF__OPS
} ef__op_id;

enum { EF__MAX_TENSORS = 12, EF__MAX_SIZES = 8, EF__MAX_KNOBS = 6, EF__MAX_VALUES = 8 };

/* An operation's arguments. t: its tensors, in the order of its documentation, NULL where left out;
 * n: the extents that its check fills in for variants, flops and bytes (the meaning stands at the
 * top of each op module); f: its scalars; epilogue: conv1d and linear; knob: dispatch fills in what
 * was chosen for the variant, in the order of its knobs. */
typedef struct ef__args {
    const ef_tensor *t[EF__MAX_TENSORS];
    size_t n[EF__MAX_SIZES];
    float f[EF__MAX_SIZES];
    ef_epilogue epilogue;
    int knob[EF__MAX_KNOBS];
} ef__args;

/* Parts of an epilogue, also the bits that the kernels read (cl/common.cl). */
enum {
    EF__BIAS = 1,
    EF__PRE = 2,
    EF__GELU = 4,
    EF__GELU_GRAD = 8,
    EF__RESIDUAL = 16,
    EF__MASK = 32,
    EF__ALL_PARTS = 63
};
int ef__epilogue_parts(const ef_epilogue *e);

/* What a variant leaves to be chosen for a device: a -D of its kernels, or how much a group
 * takes. */
typedef struct ef__knob {
    const char *name;           /* "rows" */
    int values[EF__MAX_VALUES]; /* all above 0; 0 ends */
} ef__knob;

/* Resources of a work-group. */
typedef struct ef__group {
    size_t items, local_bytes;
} ef__group;

typedef struct ef__variant {
    const char *name; /* the kernel's suffix: layernorm_fwd_row is "row" of layernorm.forward */
    int fuses;        /* parts of the epilogue that it does itself */
    bool (*fits)(const ef__device *device, const ef__args *args);
    ef_status (*launch)(ef_actor *a, const ef__args *args);
    ef__knob knobs[EF__MAX_KNOBS]; /* name NULL ends */
    /* The untuned values, which are valid wherever the variant fits; NULL: the first of each. */
    void (*settle)(const ef__device *device, int *knob);
    /* Do args->knob go together, for these args? NULL: always. */
    bool (*valid)(const ef__device *device, const ef__args *args);
    /* Of args->knob; NULL: one item, no local memory. */
    ef__group (*group)(const ef__device *device, const ef__args *args);
    bool loose; /* admitted in the normal class of accuracy alone */
} ef__variant;

/* A call for tests and efbench, which fill it in at sizes of theirs. tensors: a word for each of t,
 * in order, as "nBLD mBL zBLD": what it holds, then its extents.
 *   f32: n normal, p about 1, z zero   f16: h zero   u8: m mask
 *   i32: i ids, t flags of chunks, c 1
 *   B samples of L tokens, D width, H hidden, K taps, V ids, E outputs, P parameters in C chunks,
 *   1 to 9 themselves */
typedef struct ef__example {
    const char *tensors;
    size_t n[EF__MAX_SIZES]; /* what the caller puts into args.n and args.f */
    float f[EF__MAX_SIZES];
    int epilogue; /* its parts */
} ef__example;

enum { EF__MAX_VARIANTS = 6, EF__MAX_EXAMPLES = 2, EF__MAX_SOURCES = 4 };

typedef struct ef__op {
    const char *name;                   /* "layernorm.forward" */
    const char *names[EF__MAX_TENSORS]; /* of its tensors, in their order; NULL ends */
    unsigned writes;    /* bit i: t[i] is written; the first of them is the result */
    unsigned in_place;  /* bit i: t[i] may be the result itself; else no output overlaps a tensor */
    unsigned optional;  /* bit i: t[i] may be NULL */
    unsigned any_dtype; /* bit i: t[i] need not be f32 (its check looks) */
    ef_status (*check)(ef_actor *a, const char *op, ef__args *args); /* every rule, once; fills n */
    double (*flops)(const ef__args *args);
    double (*bytes)(const ef__args *args);  /* least traffic: each operand once */
    ef__example examples[EF__MAX_EXAMPLES]; /* of all tensors; one at least, tensors NULL ends */
    const char *sources[EF__MAX_SOURCES]; /* files of cl/ that it takes kernels from: the tuner's */
    ef__variant
        variants[EF__MAX_VARIANTS]; /* best default first; the last always fits; name NULL ends */
} ef__op;

#define OP_ROW(id, row) extern const ef__op ef__op_##row;
EF__OP_LIST(OP_ROW)
#undef OP_ROW

const ef__op *ef__op_row(ef__op_id id);

/* Check, choose a variant, launch, run the rest of the epilogue. All public operations end here. */
ef_status ef__op_run(ef_actor *a, ef__op_id id, const ef__args *args);

/* A variant with its knobs. */
typedef struct ef__choice {
    const ef__variant *variant;
    int knob[EF__MAX_KNOBS];
} ef__choice;

/* Force a variant by name on this actor (tests, tuner), with these knobs or, NULL, its untuned
 * ones; name NULL: back to the choice. EF_EARG if unknown. */
ef_status ef__op_force(ef_actor *a, ef__op_id id, const char *variant, const int *knob);

/* What args would get in the actor's class of accuracy; args must have passed check. */
ef__choice ef__op_choose(ef_actor *a, ef__op_id id, const ef__args *args);

/* The variant of that name; NULL: there is none. */
const ef__variant *ef__op_variant(ef__op_id id, const char *name);

/* The same with its untuned knobs. */
ef__choice ef__op_untuned(const ef__device *device, ef__op_id id, const char *variant);

/* May the variant run args, with args->knob? */
bool ef__variant_runs(const ef__variant *v, const ef__device *device, const ef__args *args);

/* How many knobs it has, and how many values a knob has. */
size_t ef__knobs(const ef__variant *v);
size_t ef__knob_values(const ef__knob *k);

/* The first of a knob's values that is not above most, which is so for the least of them. */
int ef__value_within(const int *values, size_t most);

/* For variants whose first knob is the number of items in a work-group, which has the values
 * EF__GROUPS: settle, valid, group. Groups of less than 32 are for devices without larger ones. */
#define EF__GROUPS 256, 128, 64, 32, 8, 1, 512
void ef__settle_group(const ef__device *device, int *knob);
bool ef__valid_group(const ef__device *device, const ef__args *args);
ef__group ef__group_of_items(const ef__device *device, const ef__args *args);

/* ---- what checks are made of: each reports op and returns the status; NULL tensors pass ---- */

ef_status ef__want_rank(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                        size_t rank);
ef_status ef__want_dtype(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                         ef_dtype dtype);
/* t has exactly count elements. what says why: "one for each column of x". */
ef_status ef__want_count(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                         size_t count, const char *what);
ef_status ef__want_same_shape(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                              const char *other_name, const ef_tensor *other);
/* mask is u8 with one element for each row of another tensor. */
ef_status ef__want_mask(ef_actor *a, const char *op, const ef_tensor *mask, const ef_tensor *of);
ef_status ef__want_epilogue(ef_actor *a, const char *op, const ef_epilogue *e, const ef_tensor *y);
/* No output shares memory with another tensor of the call, those of its epilogue included, but the
 * result with what row allows and with the epilogue's residual: then they are the same memory. */
ef_status ef__want_apart(ef_actor *a, const ef__op *row, const ef__args *args);

/* Product of all dimensions but the last; the last dimension. */
size_t ef__rows(const ef_tensor *t);
size_t ef__columns(const ef_tensor *t);

/* The tensor that an epilogue applies to. */
const ef_tensor *ef__result(const ef__op *row, const ef__args *args);

/* ---- launch shapes ---- */

/* One work-item for each of items, in groups whose size is the device's alone; the kernel ends
 * those past the last. */
void ef__spread(ef_actor *a, ef__call *call, size_t items);

/* A call of an elementwise kernel, all but its grid: all tensors in order, then n[0] elements. */
ef__call ef__flat_call(const ef__args *args, const char *op, const char *source,
                       const char *kernel);
/* Launches one. An item has a contiguous chunk of elements, whose size is the last argument; 0: one
 * element. */
ef_status ef__launch_flat(ef_actor *a, const ef__args *args, const char *op, const char *source,
                          const char *kernel, size_t chunk);

bool ef__fits_always(const ef__device *device, const ef__args *args);
bool ef__fits_cpu(const ef__device *device, const ef__args *args);

/* Packed panels of weight w (op/pack.c): *packed is a view, to be freed by the caller. layout 0:
 * for forward, 1: for dx. outputs 1: its taps; 2, 4: at the points of F(outputs,K), K 3 or 5. A
 * panel is so many vectors wide. When w's arena has changed, all of its weights that were ever
 * asked for are repacked in one launch, in several if there are too many for a block. */
ef_status ef__pack(ef_actor *a, const char *op, const ef_tensor *w, int layout, size_t outputs,
                   size_t vectors, ef_tensor **packed);

#endif
