/* case.h -- an operation with arguments at a model's sizes, and what it should give. */
#ifndef BENCH_CASE_H
#define BENCH_CASE_H

#include "bench.h"
#include "../tests/example.h"

typedef struct bench_case {
    ef__op_id id;
    example in;                    /* args as the operation's check fills them in */
    double *want[EF__MAX_TENSORS]; /* of written tensors, NaN: not known; made by the runner */
} bench_case;

/* expect.c, one for each row of the table: fills in want. Where an input is another operation's
 * result, it puts that into the example first. */
#define BENCH_EXPECT(id, row) void bench_expect_##row(bench_case *c);
EF__OP_LIST(BENCH_EXPECT)
#undef BENCH_EXPECT

#endif
