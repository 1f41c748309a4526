/* Verification of one choice. */
#include "verify.h"
#include "base/error.h"
#include "train/trainer.h"
#include "../tests/ref.h"
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
    double c, mag, rms; /* mag: the largest known */
    bool epilogue;
} bound;

static bound bound_of(const bench_case *c, int i, const ef__variant *v)
{
    bound b = {.c = v->loose ? loose_c : strict_c, .epilogue = c->in.t[EXAMPLE_MASK].rank > 0};
    size_t known = 0;
    for (size_t k = 0; k < c->in.t[i].count; k++)
        if (!isnan(c->want[i][k])) {
            b.mag = fmax(b.mag, c->mag[i][k]);
            b.rms += c->want[i][k] * c->want[i][k];
            known++;
        }
    b.rms = known ? sqrt(b.rms / (double)known) : 0;
    return b;
}

/* What an element may be off. A loose variant's errors follow the neighbours that share its tile:
 * the largest of all stands for theirs. */
static double allowed(const bound *b, const ef__variant *v, double mag, double want)
{
    if (b->mag == 0)
        return relative * (fabs(want) + b->rms) + 1e-30;
    const double sums = b->c * ldexp(v->loose ? b->mag : mag, -24) + 1e-30;
    return b->epilogue ? slope * sums + relative * (fabs(want) + b->rms) : sums;
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
    const ef__variant *v = k->choice->variant;
    bound b = bound_of(c, i, v);
    b.c += k->which == TUNE_EPILOGUE ? strict_c : 0; /* the plain variant's */
    for (size_t e = 0; e < c->in.t[i].count; e++) {
        double want = c->want[i][e], got = bench_element(&c->in.t[i], inner, e);
        if (isnan(want))
            continue;
        double error = fabs(got - want) / allowed(&b, v, c->mag[i][e], want);
        blame(k, isnan(error) ? INFINITY : error, isnan(got) ? "not written" : "wrong", i, e);
    }
}

/* Where only a sample is known, every other element is held against the plain variant's. What is
 * known is not: the plain variant may be the wrong one. */
static void compare_plain(check *k, int i, const unsigned char *inner)
{
    const bench_case *c = &k->cases->cases[k->which];
    const ef__variant *v = k->choice->variant;
    const float *plain = k->cases->plain[i];
    bound b = bound_of(c, i, v);
    b.c += strict_c;
    for (size_t e = 0; plain && e < c->in.t[i].count; e++) {
        if (!isnan(c->want[i][e]))
            continue;
        double got = bench_element(&c->in.t[i], inner, e);
        double error = fabs(got - plain[e]) / allowed(&b, v, b.mag, plain[e]);
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

/* ---- the cases ---- */

/* The results of a variant for the target, in full. NULL: of the untuned choice. */
static ef_status run_plain(tune_cases *c, ef_actor *a, const ef__variant *v)
{
    bench_job j;
    ef_status status = ef__op_force(a, c->targets[0].id, v ? v->name : NULL, NULL);
    if (status)
        return status;
    status = tune_job_open(&j, &c->cases[0], a);
    if (!status)
        status = bench_job_run(&j);
    for (int i = 0; i < EF__MAX_TENSORS && !status; i++) {
        ef_readback *readback = NULL;
        const void *data;
        size_t count;
        if (!c->cases[0].want[i] || c->cases[0].in.t[i].dtype != EF_F32)
            continue;
        status = ef_readback_start(a, j.t[i], EF_IMMEDIATE, NULL, &readback);
        if (!status)
            status = ef_readback_value(readback, &data, &count);
        if (!status && !c->plain[i])
            c->plain[i] = malloc(count * sizeof(float));
        if (!status && !c->plain[i])
            status = EF_ENOMEM;
        if (!status)
            memcpy(c->plain[i], data, count * sizeof(float));
        ef_readback_free(readback);
    }
    bench_job_close(&j);
    return status ? status : ef__op_force(a, c->targets[0].id, NULL, NULL);
}

static ef_status make_plain(tune_cases *c, ef_actor *a)
{
    const ef__op *op = ef__op_row(c->targets[0].id);
    const ef__variant *v = op->variants;
    while (v + 1 < op->variants + EF__MAX_VARIANTS && v[1].name)
        v++;
    ef_status status = run_plain(c, a, v);
    if (!status || status == EF_ENOMEM)
        return status;
    ef_actor_reset(a);
    return run_plain(c, a, NULL);
}

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

/* The sums that are not known are those of the plain variant. */
static void take_plain(bench_case *c, int y, const float *plain)
{
    const size_t count = c->in.t[y].count;
    double most = 0;
    for (size_t e = 0; e < count; e++)
        most = fmax(most, c->mag[y][e]);
    for (size_t e = 0; e < count; e++)
        if (isnan(c->want[y][e])) {
            c->want[y][e] = plain[e];
            c->mag[y][e] = most;
        }
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

static ef_status add_epilogue(tune_cases *c, ef_actor *a, int parts, ef_error *error)
{
    const ef__op *op = ef__op_row(c->targets[0].id);
    const int y = __builtin_ctz(op->writes);
    bench_case *own = &c->cases[TUNE_EPILOGUE];
    c->targets[TUNE_EPILOGUE] = c->targets[0];
    ef_status status = tune_case_make(own, a, &c->targets[0], error);
    if (status)
        return status;
    take_plain(own, y, c->plain[y]);
    example_epilogue(&own->in, op, parts);
    if (own->in.no_memory || !expect_epilogue(own, y))
        return ef__error_set(error, EF_ENOMEM, 0, op->name, "%s: no host memory for %s", op->name,
                             own->in.shape);
    c->count = TUNE_CASES;
    return EF_OK;
}

ef_status tune_cases_make(tune_cases *c, ef_actor *a, const tune_target *t, ef_error *error)
{
    ef_status status = EF_OK;
    *c = (tune_cases){.targets = {*t}, .count = TUNE_EPILOGUE};
    for (int i = 0; i <= TUNE_PROBES && !status; i++) {
        if (i)
            c->targets[i] = tune_probe(t, i - 1);
        status = tune_case_make(&c->cases[i], a, &c->targets[i], error);
    }
    if (!status && (status = make_plain(c, a)))
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
