/* Verification of one choice. */
#include "verify.h"
#include "op/conv1d.h"
#include "train/trainer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, REPEATS = 3 }; /* elements on each side: views start at multiples of 64 bytes */

/* ---- bounds ---- */

/* Sums of products: c 2^-24 sum|a||b|; others: relative to the element and the whole. */
static const double strict_c = 8, loose_c = 64, relative = 2e-5;

/* Behind the sum an epilogue has the GELU, or the gradient of one: no steeper than this. */
static const double slope = 1.13;

typedef struct bound {
    const bench_case *c;
    int tensor;
    double factor, rms;
    bool sums, loose, epilogue;
} bound;

static bound bound_of(const bench_case *c, int i, const ef__variant *v)
{
    bound b = {.c = c,
               .tensor = i,
               .factor = v->loose ? loose_c : strict_c,
               .loose = v->loose,
               .epilogue = c->in.t[EXAMPLE_MASK].rank > 0};
    size_t known = 0;
    for (size_t k = 0; k < c->in.t[i].count; k++) {
        b.sums |= c->mag[i][k] > 0;
        if (!isnan(c->want[i][k])) {
            b.rms += c->want[i][k] * c->want[i][k];
            known++;
        }
    }
    b.rms = known ? sqrt(b.rms / (double)known) : 0;
    return b;
}

/* The largest of the sums that a loose variant makes together with element e's: its errors follow
 * it. They are those of the rows of a bundle, or of a weight's taps. */
static double together(const bound *b, size_t e)
{
    const example_array *t = &b->c->in.t[b->tensor];
    const double *mag = b->c->mag[b->tensor];
    const size_t *n = b->c->in.args.n, K = n[EF__K], C = t->dims[t->rank - 1];
    double most = mag[e];
    if (b->c->id == EF__CONV1D_DW) {
        for (size_t j = 0; j < K && t->rank == 3; j++)
            most = fmax(most, mag[e / K * K + j]);
        return most;
    }
    const size_t row = e / C, from = row - row % n[EF__L];
    size_t at = ef__conv1d_bundle(n, row % n[EF__L], EF__LOOSE_OUTPUTS);
    for (int m = 0; m < EF__LOOSE_OUTPUTS && at < n[EF__L]; m++, at += n[EF__D])
        most = fmax(most, mag[(from + at) * C + e % C]);
    return most;
}

/* What element e may be off. */
static double allowed(const bound *b, size_t e, double want)
{
    const double rounding = relative * (fabs(want) + b->rms);
    if (!b->sums)
        return rounding + 1e-30;
    const double most = b->loose ? together(b, e) : b->c->mag[b->tensor][e];
    const double sums = b->factor * ldexp(most, -24) + 1e-30;
    return b->epilogue ? slope * sums + rounding : sums;
}

/* ---- tensors in guard bands ---- */

typedef struct guarded {
    ef_tensor *all, *inner;
    size_t count;
    const example_array *from;
} guarded;

static const unsigned char GUARD_BYTE = 0x5a;

static size_t element_bytes(ef_dtype dtype)
{
    return dtype == EF_U8 ? 1 : dtype == EF_F16 ? 2 : 4;
}

/* data, or NaN where the operation is to overwrite what is there. */
static ef_status put(ef_actor *a, const example_array *t, bool overwritten, guarded *g)
{
    const size_t bytes = element_bytes(t->dtype), count = t->count + 2 * GUARD;
    unsigned char *image = malloc(count * bytes);
    ef_status status = EF_OK;
    *g = (guarded){.count = t->count, .from = t};
    if (!image)
        return EF_ENOMEM;
    memset(image, GUARD_BYTE, count * bytes);
    memcpy(image + GUARD * bytes, t->data, t->count * bytes);
    if (overwritten)
        memset(image + GUARD * bytes, 0xff, t->count * bytes); /* a NaN */
    status = ef_tensor_new(a, t->dtype, 1, &count, "guarded", &g->all);
    if (!status)
        status = ef_tensor_write(g->all, image);
    if (!status)
        status = ef_tensor_view(g->all, GUARD, t->rank, t->dims, "verify", &g->inner);
    free(image);
    return status;
}

static void drop(guarded *g)
{
    ef_tensor_free(g->inner);
    ef_tensor_free(g->all);
}

ef_status tune_job_open(bench_job *j, const bench_case *c, ef_actor *a)
{
    ef_status status = bench_job_open(j, c, a);
    for (int i = 0; i < EXAMPLE_TENSORS && !status; i++) {
        guarded g = {0};
        if (!c->in.t[i].rank)
            continue;
        status = put(a, &c->in.t[i], false, &g);
        ef_tensor_free(j->t[i]);
        j->t[i] = g.inner; /* which keeps all of it */
        ef_tensor_free(g.all);
    }
    example_bind(&j->args, j->t);
    return status;
}

/* A copy of all of it; the caller frees. */
static ef_status get(ef_actor *a, const guarded *g, unsigned char **image)
{
    ef_readback *readback = NULL;
    const void *data;
    size_t count;
    ef_status status = ef_readback_start(a, g->all, EF_IMMEDIATE, NULL, &readback);
    if (!status)
        status = ef_readback_value(readback, &data, &count);
    if (!status) {
        *image = malloc(ef_tensor_bytes(g->all));
        if (*image)
            memcpy(*image, data, ef_tensor_bytes(g->all));
        else
            status = EF_ENOMEM;
    }
    ef_readback_free(readback);
    return status;
}

static bool guards_hold(const guarded *g, const unsigned char *image)
{
    const size_t band = GUARD * element_bytes(g->from->dtype);
    const size_t inner = g->count * element_bytes(g->from->dtype);
    for (size_t i = 0; i < band; i++)
        if (image[i] != GUARD_BYTE || image[band + inner + i] != GUARD_BYTE)
            return false;
    return true;
}

/* ---- one run of one case ---- */

typedef struct check {
    ef_actor *actor;
    const tune_cases *cases;
    int which; /* 0: the target */
    const ef__choice *choice;
    unsigned char *first[EXAMPLE_TENSORS]; /* what the first run gave */
    double worst;
    char *text;
    size_t size;
} check;

static const char *name_of(const check *k, int tensor)
{
    static const char *const epilogue[] = {"bias", "residual", "mask", "pre", "gelu_grad"};
    return tensor < EF__MAX_TENSORS ? ef__op_row(k->cases->targets[0].id)->names[tensor]
                                    : epilogue[tensor - EF__MAX_TENSORS];
}

static void blame(check *k, double error, const char *what, int tensor, size_t element)
{
    char shape[128];
    if (error <= k->worst)
        return;
    k->worst = error;
    tune_target_text(&k->cases->targets[k->which], shape, sizeof shape);
    snprintf(k->text, k->size, "%s%s: %s, element %zu of %s", shape,
             k->which == TUNE_EPILOGUE ? " with an epilogue" : "", what, element,
             name_of(k, tensor));
}

static void compare_known(check *k, int i, const unsigned char *inner)
{
    const bench_case *c = &k->cases->cases[k->which];
    bound b = bound_of(c, i, k->choice->variant);
    b.factor += k->which == TUNE_EPILOGUE ? strict_c : 0; /* the plain variant's */
    for (size_t e = 0; e < c->in.t[i].count; e++) {
        double want = c->want[i][e], got = bench_element(&c->in.t[i], inner, e);
        if (isnan(want))
            continue;
        double error = fabs(got - want) / allowed(&b, e, want);
        blame(k, isnan(error) ? INFINITY : error, isnan(got) ? "not written" : "wrong", i, e);
    }
}

/* Where only a sample is known, every other element is held against the plain variant's. What is
 * known is not: the plain variant may be the wrong one. */
static void compare_plain(check *k, int i, const unsigned char *inner)
{
    const bench_case *c = &k->cases->cases[k->which];
    const float *plain = k->cases->plain[i];
    bound b = bound_of(c, i, k->choice->variant);
    b.factor += strict_c;
    for (size_t e = 0; plain && e < c->in.t[i].count; e++) {
        if (!isnan(c->want[i][e]))
            continue;
        double got = bench_element(&c->in.t[i], inner, e);
        double error = fabs(got - plain[e]) / allowed(&b, e, plain[e]);
        blame(k, isnan(error) ? INFINITY : error, isnan(got) ? "not written" : "wrong", i, e);
    }
}

/* The tensors that an operation writes, and overwrites, those of its epilogue included. */
static unsigned writes(const ef__op *op)
{
    return op->writes | 1u << EXAMPLE_PRE;
}

static unsigned overwrites(ef__op_id id)
{
    return writes(ef__op_row(id)) & ~tune_accumulates(id);
}

static ef_status compare(check *k, int i, const guarded *g, int run)
{
    const size_t band = GUARD * element_bytes(g->from->dtype);
    unsigned char *image = NULL;
    ef_status status = get(k->actor, g, &image);
    if (status)
        return status;
    if (!guards_hold(g, image))
        blame(k, INFINITY, "written outside of its tensor", i, 0);
    if (!(writes(ef__op_row(k->cases->targets[0].id)) >> i & 1) &&
        memcmp(image + band, g->from->data, g->count * element_bytes(g->from->dtype)))
        blame(k, INFINITY, "an input was changed", i, 0);
    if (run == 0 && k->cases->cases[k->which].want[i]) {
        compare_known(k, i, image + band);
        if (k->which == 0)
            compare_plain(k, i, image + band);
    }
    if (run == 0) {
        k->first[i] = image;
        return EF_OK;
    }
    if (memcmp(image, k->first[i], ef_tensor_bytes(g->all)))
        blame(k, INFINITY, "differs when it is run again", i, 0);
    free(image);
    return EF_OK;
}

static ef_status run_once(check *k, int run)
{
    const bench_case *c = &k->cases->cases[k->which];
    const unsigned overwritten = overwrites(c->id);
    guarded g[EXAMPLE_TENSORS] = {{0}};
    ef_tensor *t[EXAMPLE_TENSORS] = {NULL};
    ef__args args = c->in.args;
    ef_status status = EF_OK;
    for (int i = 0; i < EXAMPLE_TENSORS && !status; i++)
        if (c->in.t[i].rank) {
            status = put(k->actor, &c->in.t[i], overwritten >> i & 1, &g[i]);
            t[i] = g[i].inner;
        }
    example_bind(&args, t);
    memcpy(args.knob, k->choice->knob, sizeof args.knob);
    /* a choice that does not run a probe is not asked to */
    const bool runs =
        !status && ef__variant_runs(k->choice->variant, ef__device_of(k->actor), &args);
    if (runs)
        status = ef__op_run(k->actor, c->id, &args);
    for (int i = 0; i < EXAMPLE_TENSORS && runs && !status; i++)
        if (t[i])
            status = compare(k, i, &g[i], run);
    for (int i = 0; i < EXAMPLE_TENSORS; i++)
        drop(&g[i]);
    return status;
}

static ef_status check_case(check *k)
{
    ef_status status = EF_OK;
    for (int run = 0; run < REPEATS && !status; run++)
        status = run_once(k, run);
    for (int i = 0; i < EXAMPLE_TENSORS; i++) {
        free(k->first[i]);
        k->first[i] = NULL;
    }
    return status;
}

ef_status tune_verify(ef_actor *a, const tune_cases *c, const ef__choice *choice, double *worst,
                      char *text, size_t size)
{
    check k = {.actor = a, .cases = c, .choice = choice, .text = text, .size = size};
    *text = '\0';
    ef_status status = ef__op_force(a, c->targets[0].id, choice->variant->name, choice->knob);
    for (k.which = 0; k.which < c->count && !status; k.which++)
        status = check_case(&k);
    *worst = k.worst;
    return status;
}
