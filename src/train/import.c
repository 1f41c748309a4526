#include "train/import.h"
#include "base/file.h"
#include "op/optim.h"
#include "train/trainer.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 5 };

/* What is left of a file that is being read. */
typedef struct rest {
    const char *path;
    const unsigned char *next;
    size_t bytes;
    ef_error *error;
} rest;

static ef_status bad(const rest *r, const char *what)
{
    return ef__error_set(r->error, EF_EFORMAT, 0, NULL, "%s: %s", r->path, what);
}

/* The magic, and so many numbers. */
static ef_status take_header(rest *r, const char *magic, uint32_t *number, size_t count)
{
    if (r->bytes < MAGIC || memcmp(r->next, magic, MAGIC - 1))
        return ef__error_set(r->error, EF_EFORMAT, 0, NULL, "%s: is no %s file", r->path, magic);
    if (r->next[MAGIC - 1] != '1')
        return ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                             "%s: is a newer file than %s, which this library reads", r->path,
                             magic);
    if (r->bytes < MAGIC + 4 * count)
        return bad(r, "is cut off in its header");
    for (size_t i = 0; i < count; i++)
        memcpy(&number[i], r->next + MAGIC + 4 * i, 4);
    r->next += MAGIC + 4 * count;
    r->bytes -= MAGIC + 4 * count;
    return EF_OK;
}

/* So many floats, all of them finite. */
static ef_status take_floats(rest *r, const char *what, uint64_t count, const unsigned char **to)
{
    if (count > r->bytes / 4)
        return ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                             "%s: is cut off: %" PRIu64 " numbers of %s do not fit", r->path, count,
                             what);
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, r->next + 4 * i, 4);
        if (!isfinite(value))
            return ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                                 "%s: %s: value %zu is not a finite number", r->path, what, i);
    }
    *to = r->next;
    r->next += 4 * (size_t)count;
    r->bytes -= 4 * (size_t)count;
    return EF_OK;
}

static ef_status at_end(const rest *r)
{
    return r->bytes ? bad(r, "bytes after the last number") : EF_OK;
}

ef_status ef__efck_parse(const char *path, const unsigned char *data, size_t bytes, ef__efck *efck,
                         ef_error *error)
{
    rest r = {path, data, bytes, error};
    uint32_t n[3] = {0};
    ef__efck c = {0};
    ef_status status = take_header(&r, "EFCK1", n, 3);
    if (!status && n[2] > 1)
        status = bad(&r, "says neither that it has a bias nor that it has none");
    if (!status)
        status = take_floats(&r, "the weight", (uint64_t)n[0] * n[1], &c.weight);
    if (!status && n[2])
        status = take_floats(&r, "the bias", n[0], &c.bias);
    if (!status)
        status = at_end(&r);
    c.out = n[0];
    c.in = n[1];
    if (!status)
        *efck = c;
    return status;
}

static ef_status take_part(rest *r, ef__efop *o, size_t part)
{
    if (r->bytes < 4)
        return bad(r, "is cut off before a count");
    memcpy(&o->count[part], r->next, 4);
    r->next += 4;
    r->bytes -= 4;
    ef_status status = take_floats(r, "m", o->count[part], &o->m[part]);
    if (!status)
        status = take_floats(r, "v", o->count[part], &o->v[part]);
    for (uint32_t i = 0; i < o->count[part] && !status; i++) {
        float value;
        memcpy(&value, o->v[part] + 4 * (size_t)i, 4);
        if (value < 0)
            status = bad(r, "has a second moment below 0");
    }
    return status;
}

ef_status ef__efop_parse(const char *path, const unsigned char *data, size_t bytes, ef__efop *efop,
                         ef_error *error)
{
    rest r = {path, data, bytes, error};
    uint32_t n[2] = {0};
    ef_status status = take_header(&r, "EFOP1", n, 2);
    ef__efop o = {.steps = n[0], .parts = n[1]};
    if (!status && o.steps > INT32_MAX)
        status = bad(&r, "counts more than 2147483647 steps");
    if (!status && (o.parts < 1 || o.parts > EF__EFOP_PARTS))
        status = bad(&r, "has moments of neither one nor two parameters");
    for (uint32_t i = 0; i < o.parts && !status; i++)
        status = take_part(&r, &o, i);
    if (!status)
        status = at_end(&r);
    if (!status)
        *efop = o;
    return status;
}

/* ---- into a model ---- */

/* from NULL: zeros. */
static ef_status write_part(ef_tensor *arena, const ef__segment *s, const unsigned char *from)
{
    ef_tensor *view = NULL;
    ef_status status = ef_tensor_view(arena, s->offset, 1, &s->count, s->name, &view);
    if (!status)
        status = from ? ef_tensor_write(view, from) : ef_tensor_fill(view, 0);
    ef_tensor_free(view);
    return status;
}

ef_status ef_encoder_import(ef_encoder *e, const char *path, ef_error *error)
{
    const ef__segment *weight = &e->model.params->segment[e->proj];
    ef__map map;
    ef__efck c;
    ef_status status = ef__file_map(path, &map, error);
    if (status)
        return status;
    status = ef__efck_parse(path, map.data, map.bytes, &c, error);
    if (!status && (c.out != e->model.config.vector || c.in != e->model.config.width))
        status = ef__error_set(error, EF_EFORMAT, 0, NULL,
                               "%s: its weight is [%" PRIu32 ",%" PRIu32
                               "], the encoder's projection is [%zu,%zu]",
                               path, c.out, c.in, e->model.config.vector, e->model.config.width);
    if (!status) {
        ef__lock(e->model.actor);
        status = write_part(e->model.params->value, weight, c.weight);
        if (!status)
            status = write_part(e->model.params->value, weight + 1, c.bias);
        status = ef__actor_says(e->model.actor, status, error);
        ef__unlock(e->model.actor);
    }
    ef__file_unmap(&map);
    return status;
}

static ef_status check_moments(const char *path, const ef__efop *o, const ef__segment *weight,
                               ef_error *error)
{
    for (size_t i = 0; i < o->parts; i++)
        if (o->count[i] != weight[i].count)
            return ef__error_set(error, EF_EFORMAT, 0, NULL,
                                 "%s: has %" PRIu32 " moments for \"%s\", which has %zu values",
                                 path, o->count[i], weight[i].name, weight[i].count);
    return EF_OK;
}

static ef_status write_moments(ef_trainer *t, const ef__efop *o, const ef__segment *weight)
{
    ef__params *p = t->model->params;
    int32_t updates[EF__PARTS] = {0};
    updates[t->model->own] = (int32_t)o->steps;
    ef_status status = ef_tensor_write(p->updates, updates);
    for (size_t i = 0; i < EF__EFOP_PARTS && !status; i++) {
        status = write_part(p->m, &weight[i], o->m[i]);
        if (!status)
            status = write_part(p->v, &weight[i], o->v[i]);
    }
    return status;
}

ef_status ef_trainer_import(ef_trainer *t, const char *path, ef_error *error)
{
    const ef_encoder *e = t->encoder;
    ef__map map;
    ef__efop o;
    if (!e)
        return ef__error_set(error, EF_ESTATE, 0, NULL,
                             "%s: has moments of a projection, a decoder has none", path);
    const ef__segment *weight = &e->model.params->segment[e->proj];
    if (t->options.scope != EF_TRAIN_PROJ)
        return ef__error_set(error, EF_ESTATE, 0, NULL,
                             "%s: has moments of a projection, the trainer's scope is wider", path);
    ef_status status = ef__file_map(path, &map, error);
    if (status)
        return status;
    status = ef__efop_parse(path, map.data, map.bytes, &o, error);
    if (!status)
        status = check_moments(path, &o, weight, error);
    if (!status) {
        ef__lock(e->model.actor);
        status = ef__actor_says(e->model.actor, write_moments(t, &o, weight), error);
        if (!status)
            t->attempted = o.steps;
        ef__unlock(e->model.actor);
    }
    ef__file_unmap(&map);
    return status;
}
