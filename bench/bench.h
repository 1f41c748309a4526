/* bench.h -- what the items of efbench share: one way to measure, one way to print, one model.
 *
 * An item is a function of the run. It prints its lines as it goes; the first failure of a library
 * call ends it and stands in error, a result that is not right is only printed and remembered. */
#ifndef BENCH_H
#define BENCH_H

#include "train/trainer.h"

typedef struct bench_point bench_point;

typedef struct bench {
    const char *device; /* of --device */
    const char *plot;   /* of --plot */
    bool json, first_step;
    size_t rounds, batch, length; /* batch, length 0: the item's own */
    int model;                    /* 0 full, 1 sample */
    ef_actor *actor;              /* for ceilings and the device's name; items open their own */
    ef_error error;
    bool wrong;      /* a line was not verified */
    bool has_header; /* of the table */
    double fma;      /* flop/s, 0: not measured yet */
    double copy[48]; /* byte/s of a copy that moves 2^i bytes, 0: not measured yet */
    bench_point *points;
    size_t point_count;
} bench;

typedef ef_status bench_item(bench *b);
bench_item bench_deferral, bench_launch, bench_ops, bench_encoder, bench_generate, bench_start;

/* What start times, in a process of its own: ends it, but for a failure. */
ef_status bench_first_step(bench *b);

/* ---- actors ---- */

/* A fresh actor, so that its counters are the item's alone. debug: EF_DEBUG while it opens. */
ef_status bench_open(bench *b, const char *debug, ef_actor **actor);

/* Every operation of the actor runs its last variant: the plain one that always fits. */
ef_status bench_force_plain(ef_actor *a);

/* What one run costs. */
ef_status bench_count(ef_actor *a, ef_status (*run)(void *user), void *user, double *waits,
                      double *launches);

/* ---- measuring (measure.c) ---- */

typedef struct bench_task {
    ef_status (*run)(void *user); /* one repetition */
    void *user;
    ef_actor *batch; /* repetitions form a batch of this actor; NULL: run itself waits */
    double ms;       /* out: time of one repetition, the median of the rounds */
    double least_ms; /* out: that of the fastest round */
} bench_task;

/* Times tasks by turns. Each is warmed up, then repeated often enough for the clock to see it. */
ef_status bench_measure(const bench *b, bench_task *tasks, size_t count);

/* What the device can do at most, the best of the rounds, measured once: multiply-adds in
 * registers; a copy that moves so many bytes, reads and writes together, in caches if they fit. */
ef_status bench_ceiling_fma(bench *b, double *flops_per_s);
ef_status bench_ceiling_copy(bench *b, double bytes, double *bytes_per_s);

/* ---- printing (print.c) ---- */

enum { BENCH_NUMBERS = 8 };

typedef struct bench_line {
    const char *item;
    char shape[80];
    double ms, flops, bytes; /* work of one repetition: what takes longer is printed */
    uint64_t peak_bytes;
    bool verified;
    struct {
        const char *name;
        double value;
    } more[BENCH_NUMBERS];
} bench_line;

/* Print a line with its ceiling. */
ef_status bench_print(bench *b, const bench_line *line);

/* ---- the picture (roofline.c) ---- */

/* Keep a line of a variant for the picture; then draw what was kept: a panel for each operation and
 * shape, its variants below the roof that the two ceilings make. */
ef_status bench_roofline_add(bench *b, const ef__op *op, const ef__variant *v,
                             const bench_line *line);
ef_status bench_roofline_draw(bench *b);

/* ---- a model to time (model.c) ---- */

typedef struct bench_shape {
    size_t B, L, D, H, K, V, E;
} bench_shape;

/* Four blocks, dilations 1,2,4,8. */
extern const bench_shape bench_full, bench_sample;

/* The run's model, batch and length over it. */
bench_shape bench_shape_of(const bench *b);

typedef struct bench_model {
    ef_actor *actor;
    ef_encoder *encoder;
    ef_trainer *trainer;
    ef_batch batch; /* full length, nothing masked; the same for every model of a shape */
    ef_tensor *ids, *mask, *vectors;
    float metrics[EF_METRICS]; /* of the last step */
    ef_error *error;
} bench_model;

/* All zero, then opened: close it also when that fails. It takes the actor over, also then. */
ef_status bench_model_open(bench *b, const bench_shape *s, ef_actor *a, bench_model *m);
void bench_model_close(bench_model *m);

/* Tasks: user is a bench_model. One forward pass, one training step, each with its own wait. */
ef_status bench_model_forward(void *user);
ef_status bench_model_step(void *user);

/* The vectors, malloc'ed. */
ef_status bench_model_vectors(bench_model *m, float **vectors, size_t *count);

double bench_forward_flops(const bench_shape *s); /* a step takes three times that */
void bench_shape_text(const bench_shape *s, char text[80]);

/* ||x - y|| / ||y||, at most bound? Not for NaN. */
bool bench_near(const float *x, const float *y, size_t n, double bound);

#endif
