/* init.h -- fresh parameters: pure functions of (kind, seed, name), the same on every machine. */
#ifndef EF_MODEL_INIT_H
#define EF_MODEL_INIT_H

#include "base/rng.h"
#include "model/params.h"

ef__rng ef__rng_new(uint64_t seed);  /* seeded as the plan's original seeds it */
float ef__rng_plan(ef__rng *rng);    /* [0,1) in 24 bits, the plan's */
double ef__rng_normal(ef__rng *rng); /* Box-Muller, one value for two draws */

/* The seed of a part: FNV-1a over base's 8 bytes, little-endian, then the label. */
uint64_t ef__derive(uint64_t base, const char *label);

/* Values of one segment. fan_in: of the weight, also for its bias. */
void ef__init_segment(const ef__segment *segment, size_t fan_in, ef_init init, uint64_t seed,
                      float *values);

/* Enqueue the writes of all of them. */
ef_status ef__init_params(ef__params *params, ef_init init, uint64_t seed);

#endif
