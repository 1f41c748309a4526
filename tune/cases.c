/* The cases of a target, and what they should give: of large products double precision has a
 * sample, and the plain variant all. */
#include "base/error.h"
#include "op/conv1d.h"
#include "train/trainer.h"
#include "../tests/ref.h"
#include "verify.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- magnitudes ---- */

static bool is_dw(const bench_case *c)
{
    return c->id == EF__CONV1D_DW || c->id == EF__LINEAR_DW;
}

static bool is_product(const bench_case *c)
{
    return c->id >= EF__CONV1D_FORWARD && c->id <= EF__LINEAR_DW;
}

/* Of a part of x, or dy, that only a part of the result is made of. */
static double magnitude(size_t part)
{
    return ldexp(1, -4 * (int)(part % 4));
}

/* Each sequence has a magnitude of its own, without older taps each row; for dw each channel of x:
 * what leaks out of one shows. They are powers of two, so all that is expected follows exactly. */
static void vary(bench_case *c)
{
    const size_t *n = c->in.args.n, K = n[EF__K], I = n[EF__CIN];
    const example_array *x = &c->in.t[0], *y = &c->in.t[2];
    const size_t rows = K == 1 ? 1 : n[EF__L];
    if (!is_product(c))
        return;
    for (size_t e = 0; e < x->count; e++)
        ((float *)x->data)[e] *=
            (float)magnitude(is_dw(c) ? e % I : e / x->dims[x->rank - 1] / rows);
    for (size_t e = 0; e < y->count; e++) {
        const double own = magnitude(is_dw(c) ? e / K % I : e / y->dims[y->rank - 1] / rows);
        c->want[2][e] *= own;
        c->mag[2][e] *= own;
    }
}

/* ---- the plain variant ---- */

/* All results of a variant, out[] is the caller's to free. v NULL: of the untuned choice. */
static ef_status run_variant(ef_actor *a, const bench_case *c, const ef__variant *v,
                             float *out[EF__MAX_TENSORS])
{
    bench_job j;
    ef_status status = ef__op_force(a, c->id, v ? v->name : NULL, NULL);
    if (status)
        return status;
    status = tune_job_open(&j, c, a);
    if (!status)
        status = bench_job_run(&j);
    for (int i = 0; i < EF__MAX_TENSORS && !status; i++) {
        ef_readback *readback = NULL;
        const void *data;
        size_t count;
        if (!c->want[i] || c->in.t[i].dtype != EF_F32)
            continue;
        status = ef_readback_start(a, j.t[i], EF_IMMEDIATE, NULL, &readback);
        if (!status)
            status = ef_readback_value(readback, &data, &count);
        if (!status && !out[i])
            out[i] = malloc(count * sizeof(float));
        if (!status && !out[i])
            status = EF_ENOMEM;
        if (!status)
            memcpy(out[i], data, count * sizeof(float));
        ef_readback_free(readback);
    }
    bench_job_close(&j);
    return status ? status : ef__op_force(a, c->id, NULL, NULL);
}

/* Of the one that always fits; where that does not run, of the untuned choice. */
static ef_status run_plain(ef_actor *a, const bench_case *c, float *out[EF__MAX_TENSORS])
{
    const ef__variant *v = ef__op_row(c->id)->variants, *end = v + EF__MAX_VARIANTS;
    while (v + 1 < end && v[1].name)
        v++;
    ef_status status = run_variant(a, c, v, out);
    if (!status || status == EF_ENOMEM)
        return status;
    ef_actor_reset(a);
    return run_variant(a, c, NULL, out);
}

/* Sums of absolute values: those that are not known are sums[], if that has the known ones, else
 * the largest. */
static void take_magnitudes(bench_case *c, const float *sums)
{
    const double near = 1e-3;
    const size_t count = c->in.t[2].count;
    double most = 0;
    bool agree = true;
    for (size_t e = 0; e < count; e++) {
        const double mag = c->mag[2][e];
        agree = agree && (isnan(c->want[2][e]) || fabs(sums[e] - mag) <= near * mag);
        most = fmax(most, mag);
    }
    for (size_t e = 0; e < count; e++)
        if (isnan(c->want[2][e]))
            c->mag[2][e] = agree ? sums[e] : most;
}

static float *absolute(const example_array *t)
{
    float *copy = malloc(t->count * sizeof *copy);
    for (size_t e = 0; e < t->count && copy; e++)
        copy[e] = fabsf(((const float *)t->data)[e]);
    return copy;
}

/* The plain variant sums absolute values if its inputs are. */
static ef_status add_magnitudes(ef_actor *a, bench_case *c)
{
    float *out[EF__MAX_TENSORS] = {NULL};
    bench_case twin = *c;
    bool all_known = true;
    if (!is_product(c))
        return EF_OK;
    for (size_t e = 0; e < c->in.t[2].count; e++)
        all_known &= !isnan(c->want[2][e]);
    if (all_known)
        return EF_OK;
    twin.in.t[0].data = absolute(&c->in.t[0]);
    twin.in.t[1].data = absolute(&c->in.t[1]);
    ef_status status = twin.in.t[0].data && twin.in.t[1].data ? EF_OK : EF_ENOMEM;
    if (!status)
        status = run_plain(a, &twin, out);
    if (!status)
        take_magnitudes(c, out[2]);
    free(twin.in.t[0].data);
    free(twin.in.t[1].data);
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        free(out[i]);
    return status;
}

/* ---- with an epilogue ---- */

/* Parts of an epilogue that some variant does itself: all that a training step has at once. What is
 * kept of the forward pass is what its gradient reads. */
static int parts_of(const ef__op *op)
{
    const bool is_dx = op == ef__op_row(EF__CONV1D_DX) || op == ef__op_row(EF__LINEAR_DX);
    int parts = 0;
    for (int i = 0; i < EF__MAX_VARIANTS && op->variants[i].name; i++)
        parts |= op->variants[i].fuses;
    return parts & ~(is_dx ? EF__PRE | EF__GELU : EF__GELU_GRAD);
}

/* What the case should give with its epilogue, which is the host's. */
static bool expect_epilogue(bench_case *c, int y)
{
    const example_array *t = c->in.t;
    const size_t count = t[y].count, channels = t[y].dims[t[y].rank - 1];
    if (t[EXAMPLE_PRE].rank) {
        c->want[EXAMPLE_PRE] = malloc(count * sizeof(double));
        c->mag[EXAMPLE_PRE] = malloc(count * sizeof(double));
        if (!c->want[EXAMPLE_PRE] || !c->mag[EXAMPLE_PRE])
            return false;
        memcpy(c->mag[EXAMPLE_PRE], c->mag[y], count * sizeof(double));
    }
    for (size_t r = 0; r < t[EXAMPLE_MASK].count; r++)
        ((uint8_t *)t[EXAMPLE_MASK].data)[r] = r % 3 != 1;
    const ref_epilogue host = {.bias = t[EXAMPLE_BIAS].data,
                               .pre = c->want[EXAMPLE_PRE],
                               .gelu = c->in.args.epilogue.gelu,
                               .gelu_grad = t[EXAMPLE_GELU_GRAD].data,
                               .residual = t[EXAMPLE_RESIDUAL].data,
                               .mask = t[EXAMPLE_MASK].data};
    ref_epilogue_apply(&host, count / channels, channels, c->want[y]);
    return true;
}

static ef_status make_one(bench_case *c, ef_actor *a, const tune_target *t, ef_error *error)
{
    ef_status status = tune_case_make(c, a, t, error);
    if (!status)
        vary(c);
    return status;
}

/* Sums that are not known are those of the plain variant. */
static ef_status add_epilogue(tune_cases *c, ef_actor *a, int parts, ef_error *error)
{
    const ef__op *op = ef__op_row(c->targets[0].id);
    const int y = __builtin_ctz(op->writes);
    bench_case *own = &c->cases[TUNE_EPILOGUE];
    c->targets[TUNE_EPILOGUE] = c->targets[0];
    ef_status status = make_one(own, a, &c->targets[0], error);
    if (status)
        return status;
    memcpy(own->mag[y], c->cases[0].mag[y], own->in.t[y].count * sizeof *own->mag[y]);
    for (size_t e = 0; e < own->in.t[y].count; e++)
        if (isnan(own->want[y][e]))
            own->want[y][e] = c->plain[y][e];
    example_epilogue(&own->in, op, parts);
    if (own->in.no_memory || !expect_epilogue(own, y))
        return ef__error_set(error, EF_ENOMEM, 0, op->name, "%s: no host memory for %s", op->name,
                             own->in.shape);
    c->count = TUNE_CASES;
    return EF_OK;
}

/* ---- all of them ---- */

static ef_status add_plain(tune_cases *c, ef_actor *a)
{
    ef_status status = run_plain(a, &c->cases[0], c->plain);
    for (int i = 0; i <= TUNE_PROBES && !status; i++)
        status = add_magnitudes(a, &c->cases[i]);
    return status;
}

ef_status tune_cases_make(tune_cases *c, ef_actor *a, const tune_target *t, ef_error *error)
{
    ef_status status = EF_OK;
    *c = (tune_cases){.targets = {*t}, .count = TUNE_EPILOGUE};
    for (int i = 0; i <= TUNE_PROBES && !status; i++) {
        if (i)
            c->targets[i] = tune_probe(t, i - 1);
        status = make_one(&c->cases[i], a, &c->targets[i], error);
    }
    if (!status && (status = add_plain(c, a)))
        ef__actor_says(a, status, error);
    const int parts = parts_of(ef__op_row(t->id));
    if (!status && parts)
        status = add_epilogue(c, a, parts, error);
    return status;
}

void tune_cases_free(tune_cases *c)
{
    for (int i = 0; i < TUNE_CASES; i++)
        bench_case_free(&c->cases[i]);
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        free(c->plain[i]);
}
