/* Dispatch: every operation is checked, given a variant and enqueued here, as one bracket on the
 * actor. The choices that were forced hang in the actor's slot. */
#include "base/error.h"
#include "op/capture.h"
#include "op/tuned.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ef__op *const rows[EF__OPS] = {
#define ROW(id, row) &ef__op_##row,
    EF__OP_LIST(ROW)
#undef ROW
};

/* A choice that was made: the same arguments get it again. */
typedef struct made {
    size_t n[EF__MAX_SIZES];
    int parts;
    ef__op_id id;
    ef__choice choice; /* variant NULL: an empty place */
} made;

enum { PLACES = 512 };

typedef struct choices {
    ef__choice forced[EF__OPS]; /* variant NULL: not forced */
    ef__tuned *tuned;           /* NULL: there is no database */
    bool looked;                /* for one */
    bool verbose;               /* EF_TUNE_VERBOSE: each new choice is said */
    made made[PLACES];
    ef__capture *capture; /* NULL: not wanted */
} choices;

const ef__op *ef__op_row(ef__op_id id)
{
    return rows[id];
}

/* ---- variants ---- */

bool ef__fits_always(const ef__device *device, const ef__args *args)
{
    (void)device;
    (void)args;
    return true;
}

bool ef__fits_cpu(const ef__device *device, const ef__args *args)
{
    (void)args;
    return device->info.is_cpu;
}

size_t ef__knobs(const ef__variant *v)
{
    size_t n = 0;
    while (n < EF__MAX_KNOBS && v->knobs[n].name)
        n++;
    return n;
}

size_t ef__knob_values(const ef__knob *k)
{
    size_t n = 0;
    while (n < EF__MAX_VALUES && k->values[n])
        n++;
    return n;
}

int ef__value_within(const int *values, size_t most)
{
    while ((size_t)*values > most)
        values++;
    return *values;
}

static int largest_group(const ef__device *device)
{
    static const int groups[EF__MAX_VALUES] = {EF__GROUPS};
    return ef__value_within(groups, device->info.max_work_group);
}

void ef__settle_group(const ef__device *device, int *knob)
{
    knob[0] = largest_group(device);
}

bool ef__valid_group(const ef__device *device, const ef__args *args)
{
    return args->knob[0] >= 32 || args->knob[0] == largest_group(device);
}

ef__group ef__group_of_items(const ef__device *device, const ef__args *args)
{
    (void)device;
    return (ef__group){(size_t)args->knob[0], 0};
}

static ef__choice untuned(const ef__device *device, const ef__variant *v)
{
    ef__choice c = {.variant = v};
    for (size_t i = 0; i < ef__knobs(v); i++)
        c.knob[i] = v->knobs[i].values[0];
    if (v->settle)
        v->settle(device, c.knob);
    return c;
}

const ef__variant *ef__op_variant(ef__op_id id, const char *name)
{
    const ef__variant *v = rows[id]->variants;
    for (int i = 0; i < EF__MAX_VARIANTS && v[i].name; i++)
        if (!strcmp(v[i].name, name))
            return &v[i];
    return NULL;
}

ef__choice ef__op_untuned(const ef__device *device, ef__op_id id, const char *name)
{
    const ef__variant *v = ef__op_variant(id, name);
    return v ? untuned(device, v) : (ef__choice){0};
}

static bool is_value(const ef__knob *k, int value)
{
    for (size_t i = 0; i < ef__knob_values(k); i++)
        if (k->values[i] == value)
            return true;
    return false;
}

bool ef__variant_runs(const ef__variant *v, const ef__device *device, const ef__args *args)
{
    const ef_device_info *info = &device->info;
    if (!v->fits(device, args))
        return false;
    for (size_t i = 0; i < ef__knobs(v); i++)
        if (!is_value(&v->knobs[i], args->knob[i]))
            return false;
    const ef__group g = v->group ? v->group(device, args) : (ef__group){1, 0};
    return g.items <= info->max_work_group && g.local_bytes <= info->local_bytes &&
           (!v->valid || v->valid(device, args));
}

static void destroy(void *data)
{
    choices *c = data;
    ef__tuned_free(c->tuned);
    ef__capture_end(c->capture);
    free(c);
}

/* The choices of this actor, made if they are not there. */
static choices *choices_of(ef_actor *a, const char *op)
{
    ef__slot *slot = ef__actor_slot(a);
    if (!slot->data) {
        choices *c = slot->data = calloc(1, sizeof(choices));
        slot->destroy = destroy;
        if (c) {
            c->capture = ef__capture_new(a);
            c->verbose = getenv("EF_TUNE_VERBOSE") != NULL;
        }
    }
    if (!slot->data)
        ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    return slot->data;
}

static ef_status force(ef_actor *a, ef__op_id id, const char *name, const int *knob)
{
    choices *all = choices_of(a, rows[id]->name);
    ef__choice c = {0};
    if (!all)
        return EF_ENOMEM;
    if (name) {
        c = ef__op_untuned(ef__device_of(a), id, name);
        if (!c.variant)
            return ef__fail(a, EF_EARG, 0, rows[id]->name, "%s: no variant is called %s",
                            rows[id]->name, name);
        if (knob)
            memcpy(c.knob, knob, ef__knobs(c.variant) * sizeof *knob);
    }
    all->forced[id] = c;
    return EF_OK;
}

ef_status ef__op_force(ef_actor *a, ef__op_id id, const char *variant, const int *knob)
{
    ef__lock(a);
    ef_status status = force(a, id, variant, knob);
    ef__unlock(a);
    return status;
}

/* ---- what was tuned ---- */

/* No choices, for a reason. NULL: no memory. */
static ef__tuned *without(const char *path, const ef_error *why)
{
    ef__tuned *t = calloc(1, sizeof *t);
    if (t) {
        snprintf(t->info.path, sizeof t->info.path, "%s", path);
        snprintf(t->info.error, sizeof t->info.error, "%s", why->text);
    }
    return t;
}

/* A database that nobody named does not stop who cannot read it: there are the built-in choices. */
static ef_status load(ef_actor *a, choices *c, const char *path, bool named)
{
    ef__tuned *tuned = NULL;
    ef_error error;
    ef_status status = ef__tuned_read(a, path, &tuned, &error);
    if (!status && !named && !ef__clblast_is_empty(&tuned->clblast) &&
        !ef__clblast_agrees(a, &tuned->clblast)) {
        ef__tuned_free(tuned);
        status = ef__error_set(&error, EF_EFORMAT, 0, NULL,
                               "%s: since this process began CLBlast was tuned again", path);
    }
    if (!named && (status == EF_EIO || status == EF_EFORMAT) && (tuned = without(path, &error)))
        status = EF_OK;
    if (status)
        return ef__fail(a, status, error.code, "tune", "tune: %s", error.text);
    if (!ef__clblast_is_empty(&tuned->clblast))
        status = ef__clblast_adopt(a, &tuned->clblast);
    if (status) {
        ef__tuned_free(tuned);
        return status;
    }
    ef__tuned_free(c->tuned);
    c->tuned = tuned;
    c->looked = true;
    memset(c->made, 0, sizeof c->made);
    return EF_OK;
}

ef_status ef_tune_load(ef_actor *a, const char *path)
{
    assert(path);
    ef__lock(a);
    ef_status status = ef__ready(a);
    choices *c = status ? NULL : choices_of(a, "tune");
    if (!status)
        status = c ? load(a, c, path, true) : EF_ENOMEM;
    ef__unlock(a);
    return status;
}

/* The device's database, once. */
static ef_status look(ef_actor *a, choices *c)
{
    char path[4096];
    bool named;
    if (c->looked)
        return EF_OK;
    ef_status status = ef__tuned_path(a, path, sizeof path, &named);
    if (!status && *path)
        status = load(a, c, path, named);
    c->looked = !status;
    return status;
}

ef_status ef_tune_get(ef_actor *a, ef_tune_info *info)
{
    assert(info);
    memset(info, 0, sizeof *info);
    ef__lock(a);
    ef_status status = ef__ready(a);
    choices *c = status ? NULL : choices_of(a, "tune");
    if (!status)
        status = c ? look(a, c) : EF_ENOMEM;
    if (!status && c->tuned)
        *info = c->tuned->info;
    ef__unlock(a);
    return status;
}

/* ---- choosing ---- */

static bool admits(ef_actor *a, const ef__variant *v)
{
    return !v->loose || ef_actor_accuracy(a) == EF_NORMAL;
}

static unsigned place_of(ef__op_id id, const ef__args *args, int parts)
{
    uint64_t h = (uint64_t)id << 8 | (unsigned)parts;
    for (int i = 0; i < EF__MAX_SIZES; i++)
        h = (h ^ args->n[i]) * 0x9e3779b97f4a7c15u;
    return (unsigned)(h >> 40) % PLACES;
}

static ef__choice decide(ef_actor *a, const choices *c, ef__op_id id, const ef__args *args)
{
    const ef__variant *v = rows[id]->variants;
    const ef__device *device = ef__device_of(a);
    ef__choice tuned = {0};
    if (c && c->tuned)
        tuned = ef__tuned_find(c->tuned, device, id, args, ef_actor_accuracy(a));
    if (tuned.variant)
        return tuned;
    while (!admits(a, v) || !v->fits(device, args))
        v++;
    assert(v->name && v < rows[id]->variants + EF__MAX_VARIANTS);
    return untuned(device, v);
}

static void say(const made *m)
{
    char knobs[128];
    fprintf(stderr, "energyflow: %s", rows[m->id]->name);
    for (int i = 0; i < EF__MAX_SIZES && m->n[i]; i++)
        fprintf(stderr, " %zu", m->n[i]);
    fprintf(stderr, ": %s %s\n", m->choice.variant->name,
            ef__choice_text(&m->choice, knobs, sizeof knobs));
}

ef__choice ef__op_choose(ef_actor *a, ef__op_id id, const ef__args *args)
{
    choices *c = ef__actor_slot(a)->data;
    /* the class of accuracy is one more bit */
    const int parts = ef__epilogue_parts(&args->epilogue) |
                      (ef_actor_accuracy(a) == EF_STRICT ? EF__ALL_PARTS + 1 : 0);
    if (c && c->forced[id].variant)
        return c->forced[id];
    if (!c || (!c->tuned && !c->verbose))
        return decide(a, c, id, args);
    made *m = &c->made[place_of(id, args, parts)];
    if (!m->choice.variant || m->id != id || m->parts != parts ||
        memcmp(m->n, args->n, sizeof m->n)) {
        *m = (made){.id = id, .parts = parts, .choice = decide(a, c, id, args)};
        memcpy(m->n, args->n, sizeof m->n);
        if (c->verbose)
            say(m);
    }
    return m->choice;
}

/* ---- epilogues ---- */

int ef__epilogue_parts(const ef_epilogue *e)
{
    return (e->bias ? EF__BIAS : 0) | (e->pre ? EF__PRE : 0) | (e->gelu ? EF__GELU : 0) |
           (e->gelu_grad ? EF__GELU_GRAD : 0) | (e->residual ? EF__RESIDUAL : 0) |
           (e->mask ? EF__MASK : 0);
}

static ef_epilogue select_parts(const ef_epilogue *e, int parts)
{
    return (ef_epilogue){.bias = parts & EF__BIAS ? e->bias : NULL,
                         .pre = parts & EF__PRE ? e->pre : NULL,
                         .gelu = parts & EF__GELU,
                         .gelu_grad = parts & EF__GELU_GRAD ? e->gelu_grad : NULL,
                         .residual = parts & EF__RESIDUAL ? e->residual : NULL,
                         .mask = parts & EF__MASK ? e->mask : NULL};
}

/* The parts come in the order of their bits: a variant does those before the first that it
 * lacks. */
static int leading_parts(int wanted, int can)
{
    int lacking = wanted & ~can;
    return lacking ? wanted & ((lacking & -lacking) - 1) : wanted;
}

/* ---- running ---- */

static unsigned result_index(const ef__op *op)
{
    return (unsigned)__builtin_ctz(op->writes);
}

const ef_tensor *ef__result(const ef__op *row, const ef__args *args)
{
    return args->t[result_index(row)];
}

/* The variant's part and what is left of the epilogue. The variant writes the result before the
 * rest reads the residual: where they are one, the plain result waits in scratch memory. */
static ef_status launch_split(ef_actor *a, const ef__op *op, const ef__variant *v,
                              const ef__args *args, int fused)
{
    const ef_tensor *y = ef__result(op, args);
    int rest = ef__epilogue_parts(&args->epilogue) & ~fused;
    ef__args head = *args, tail = {.t = {y, y}, .epilogue = select_parts(&args->epilogue, rest)};
    ef_tensor *z = NULL;
    ef_status status = EF_OK;
    head.epilogue = select_parts(&args->epilogue, fused);
    if (tail.epilogue.residual && ef__overlap(tail.epilogue.residual, y)) {
        status = ef_tensor_new(a, EF_F32, ef_tensor_rank(y), ef_tensor_dims(y), op->name, &z);
        head.t[result_index(op)] = tail.t[0] = z;
    }
    if (!status)
        status = v->launch(a, &head);
    if (!status)
        status = ef__op_run(a, EF__EPILOGUE, &tail);
    ef_tensor_free(z);
    return status;
}

static ef_status launch(ef_actor *a, ef__op_id id, ef__args *args)
{
    const ef__op *op = rows[id];
    choices *all = choices_of(a, op->name);
    ef_status status = all ? look(a, all) : EF_ENOMEM;
    if (status)
        return status;
    const ef__choice c = ef__op_choose(a, id, args);
    const ef__variant *v = c.variant;
    memcpy(args->knob, c.knob, sizeof args->knob);
    if (!admits(a, v) || !ef__variant_runs(v, ef__device_of(a), args))
        return ef__fail(a, EF_EARG, 0, op->name, "%s: variant %s does not fit", op->name, v->name);
    if (all->capture)
        ef__capture_add(all->capture, id, args);
    int wanted = ef__epilogue_parts(&args->epilogue), fused = leading_parts(wanted, v->fuses);
    return fused == wanted ? v->launch(a, args) : launch_split(a, op, v, args, fused);
}

/* What no operation may be given: another actor's tensor, f16 but in a cast. */
static ef_status check_tensor(ef_actor *a, ef__op_id id, const ef_tensor *t)
{
    const char *op = rows[id]->name;
    char text[80];
    ef_status status = t ? ef__tensor_usable(a, t, op) : EF_OK;
    if (!status && t && id != EF__CAST && ef_tensor_dtype(t) == EF_F16)
        status = ef__fail(a, EF_EARG, 0, op, "%s: f16 not supported yet: %s", op,
                          ef__tensor_text(t, text));
    return status;
}

static ef_status check_tensors(ef_actor *a, ef__op_id id, const ef__args *args)
{
    const ef__op *op = rows[id];
    const ef_epilogue *e = &args->epilogue;
    const ef_tensor *const parts[] = {e->bias, e->pre, e->gelu_grad, e->residual, e->mask};
    ef_status status = EF_OK;
    for (int i = 0; !status && i < EF__MAX_TENSORS && op->names[i]; i++) {
        if (!args->t[i] && !(op->optional >> i & 1))
            return ef__fail(a, EF_EARG, 0, op->name, "%s: %s is NULL", op->name, op->names[i]);
        status = check_tensor(a, id, args->t[i]);
        if (!status && !(op->any_dtype >> i & 1))
            status = ef__want_dtype(a, op->name, op->names[i], args->t[i], EF_F32);
    }
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++)
        status = check_tensor(a, id, parts[i]);
    return status;
}

static bool writes_nothing(const ef__op *op, const ef__args *args)
{
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        if (op->writes >> i & 1 && args->t[i] && ef_tensor_count(args->t[i]))
            return false;
    return true;
}

static void mark_written(const ef__op *op, const ef__args *args)
{
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        if (op->writes >> i & 1 && args->t[i])
            ef__tensor_written((ef_tensor *)args->t[i]);
    if (args->epilogue.pre)
        ef__tensor_written(args->epilogue.pre);
}

ef_status ef__op_run(ef_actor *a, ef__op_id id, const ef__args *given)
{
    const ef__op *op = rows[id];
    ef__args args = *given;
    ef_status status = ef__op_begin(a, op->name);
    if (!status)
        status = check_tensors(a, id, &args);
    if (!status)
        status = op->check(a, op->name, &args);
    if (!status)
        status = ef__want_apart(a, op, &args);
    if (!status && !writes_nothing(op, &args)) {
        status = launch(a, id, &args);
        mark_written(op, &args);
    }
    return ef__op_end(a, status);
}
