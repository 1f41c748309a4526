/* case.h -- an operation with arguments at a model's sizes, what it should give, and a run of it on
 * a device: for efbench, which times it, and eftune, which compares its variants. */
#ifndef BENCH_CASE_H
#define BENCH_CASE_H

#include "../tests/example.h"

typedef struct bench_case {
    ef__op_id id;
    example in;                    /* args as the operation's check fills them in */
    double *want[EXAMPLE_TENSORS]; /* of written tensors, NaN: not known */
    double
        *mag[EXAMPLE_TENSORS]; /* of sums of products: those of their absolute values, else NULL */
} bench_case;

/* All of it for example `which` of the operation. n, unless NULL: what the caller puts into args.n.
 * Free it also when that fails, with ENOMEM or what the actor says. */
ef_status bench_case_make(bench_case *c, ef_actor *a, ef__op_id id, int which,
                          const size_t model[EXAMPLE_SIZES], const size_t *n, ef_error *error);
void bench_case_free(bench_case *c);

/* expect.c, one for each row of the table: fills in want and mag. Where an input is another
 * operation's result, it puts that into the example first. */
#define BENCH_EXPECT(id, row) void bench_expect_##row(bench_case *c);
EF__OP_LIST(BENCH_EXPECT)
#undef BENCH_EXPECT

/* ---- on a device ---- */

typedef struct bench_job {
    const bench_case *c;
    ef_actor *actor;
    ef_tensor *t[EXAMPLE_TENSORS];
    ef__args args;
} bench_job;

/* Tensors with the case's data, and arguments that passed the check. Close it also when this fails.
 * It does not own the actor. */
ef_status bench_job_open(bench_job *j, const bench_case *c, ef_actor *a);
void bench_job_close(bench_job *j);

/* bench_task's run: the operation, enqueued. */
ef_status bench_job_run(void *user);

/* Element i of data as the example's tensor t has it. */
double bench_element(const example_array *t, const void *data, size_t i);

/* Run it and compare each result with what is known of it: ||got - want|| <= 1e-5 ||want||. */
ef_status bench_job_verify(bench_job *j, bool *right);

#endif
