/* target.h -- what is tuned: an operation at a shape, and how its example has that shape. */
#ifndef TUNE_TARGET_H
#define TUNE_TARGET_H

#include "../bench/case.h"
#include <jansson.h>

/* As an operation: CLBlast's parameters, which all of its products share; it has no sizes. */
enum { TUNE_CLBLAST = EF__OPS };

typedef enum tune_devices { TUNE_ALL_DEVICES, TUNE_CPUS, TUNE_NO_CPUS } tune_devices;

typedef struct tune_target {
    int id;                  /* of the operation, or TUNE_CLBLAST */
    size_t n[EF__MAX_SIZES]; /* of the operation's arguments, as checked */
    double weight;           /* its share of the budget, in any unit */
    tune_devices devices;    /* that it is for */
} tune_target;

/* "conv1d.forward"; "clblast". */
const char *tune_target_op(const tune_target *t);

/* Is it one of the operations that CLBlast has products for? */
bool tune_is_product(const tune_target *t);

/* Can eftune choose for this operation? */
bool tune_is_tunable(ef__op_id id);
bool tune_is_tunable_name(const char *op);

/* "conv1d.forward B16 L128 D256 H512 K5 d4"; false: no such operation, or sizes that it cannot
 * have. */
bool tune_target_parse(const char *text, tune_target *t);
/* A line of EF_TUNE_CAPTURE: {"op", "n", "count"}; its count becomes the weight. */
bool tune_target_read(json_t *line, tune_target *t);
void tune_target_text(const tune_target *t, char *text, size_t size);

/* Make one of those that are less than a doubling apart, the one of most weight; returns how many
 * are left. */
size_t tune_targets_merge(tune_target *list, size_t count);

/* Those that are for the device, the heavy before the light, but CLBlast's parameters first: they
 * are what products run with. Returns how many there are. */
size_t tune_targets_order(tune_target *list, size_t count, bool is_cpu);

/* A target's share of the budget: larger spaces of slower kernels get more. CLBlast's parameters:
 * 0, they have a share of their own. */
double tune_target_share(const tune_target *t);

/* The case of a target. Errors as bench_case_make. */
ef_status tune_case_make(bench_case *c, ef_actor *a, const tune_target *t, ef_error *error);

/* The small targets that a choice for t is verified at, too: odd primes, a tail of 1, the least. */
enum { TUNE_PROBES = 3 };
tune_target tune_probe(const tune_target *t, int i);

/* Bit i: tensor i of the operation is added to, not overwritten. */
unsigned tune_accumulates(ef__op_id id);

/* Those of a TCN encoder's training step: a list of *count, the caller frees it; NULL: no memory.
 * Each device has its batch sizes, with effort 0 fewer than with others. */
tune_target *tune_default_targets(int effort, size_t *count);

#endif
