#include "train/checkpoint.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *ef_train_best_path(const char *save)
{
    const char *slash = strrchr(save, '/'), *name = slash ? slash + 1 : save;
    const char *dot = strrchr(name, '.');
    size_t length = strlen(save), stem = dot && dot > name ? (size_t)(dot - save) : length;
    char *best = malloc(length + sizeof ".best");
    if (best)
        sprintf(best, "%.*s.best%s", (int)stem, save, save + stem);
    return best;
}

/* ---- saving ---- */

/* Host copies of the arenas and the counts, all of one moment. */
enum { VALUE, M, V, COUNTS, PARTS };

typedef struct snapshot {
    ef_readback *readback[PARTS];
    const void *data[PARTS];
} snapshot;

/* Of an arena's names in a file. */
static const char *const prefix[] = {[VALUE] = "", [M] = "optim.m.", [V] = "optim.v."};

static ef_status take(ef_trainer *t, snapshot *s)
{
    ef__params *p = t->params;
    ef_actor *a = p->actor;
    const ef_tensor *tensor[PARTS] = {p->value, p->m, p->v, t->counts};
    size_t count;
    ef_status status = ef_batch_begin(a);
    if (status)
        return status;
    for (int i = 0; i < PARTS && !status; i++)
        status =
            ef_readback_start(a, tensor[i], EF_DEFER_UNTIL_SYNC, "checkpoint", &s->readback[i]);
    ef_status synced = ef_batch_sync(a, "checkpoint");
    status = status ? status : synced;
    for (int i = 0; i < PARTS && !status; i++)
        status = ef_readback_value(s->readback[i], &s->data[i], &count);
    return status;
}

/* The place of the first value that is no finite number; count: there is none. */
static size_t find_not_finite(const void *data, size_t count)
{
    float value;
    for (size_t i = 0; i < count; i++) {
        memcpy(&value, (const char *)data + i * sizeof value, sizeof value);
        if (!isfinite(value))
            return i;
    }
    return count;
}

/* What could not be loaded again must not take the place of what can. */
static ef_status check_arena_taken(const ef__params *p, const char *before, const float *arena,
                                   const char *path, ef_error *error)
{
    for (size_t i = 0; i < p->segments; i++) {
        const ef__segment *s = &p->segment[i];
        if (find_not_finite(arena + s->offset, s->count) < s->count)
            return ef__error_set(error, EF_ESTATE, 0, NULL,
                                 "%s: is not written: the run's \"%s%s\" is not finite", path,
                                 before, s->name);
    }
    return EF_OK;
}

static void put_arena(ef__st_writer *w, const ef__params *p, const char *before, const void *arena)
{
    char name[sizeof p->segment->name + 16];
    for (size_t i = 0; i < p->segments; i++) {
        const ef__segment *s = &p->segment[i];
        snprintf(name, sizeof name, "%s%s", before, s->name);
        ef__st_put(w, name, EF__ST_F32, s->rank, s->dims, (const float *)arena + s->offset);
    }
}

static ef_status put_state(ef__st_writer *w, const char *path, const ef_model_config *model,
                           const ef__run_state *state, ef_error *error)
{
    char *config = NULL, *run = NULL;
    ef_status status = ef__config_dump(path, model, &config, error);
    if (!status)
        status = ef__run_dump(path, state, &run, error);
    if (!status) {
        ef__st_put_metadata(w, "format", "pt");
        ef__st_put_metadata(w, "config", config);
        ef__st_put_metadata(w, "run", run);
    }
    free(config);
    free(run);
    return status;
}

static ef_status write_files(ef_trainer *t, const ef__run_state *state, const snapshot *s,
                             const char *const *paths, ef_error *error)
{
    const ef__params *p = t->params;
    ef__st_writer *w = ef__st_writer_new();
    if (!w)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", *paths);
    ef_status status = put_state(w, *paths, t->config, state, error);
    for (int i = VALUE; i <= V && !status; i++) {
        status = check_arena_taken(p, prefix[i], s->data[i], *paths, error);
        put_arena(w, p, prefix[i], s->data[i]);
    }
    if (!status) {
        ef__st_put(w, "optim.counts", EF__ST_I32, 1, ef_tensor_dims(t->counts), s->data[COUNTS]);
        for (; *paths && !status; paths++)
            status = ef__st_save(w, *paths, error);
    }
    ef__st_writer_free(w);
    return status;
}

ef_status ef__checkpoint_save(ef_trainer *t, const ef__run_state *state, const char *const *paths,
                              ef_error *error)
{
    snapshot s = {0};
    ef_status status = ef__actor_says(t->actor, take(t, &s), error);
    if (!status)
        status = write_files(t, state, &s, paths, error);
    for (int i = 0; i < PARTS; i++)
        ef_readback_free(s.readback[i]);
    return status;
}

/* ---- loading ---- */

static ef_status check_finite(const ef__st_reader *file, const ef__st_tensor *t, ef_error *error)
{
    size_t i = find_not_finite(t->data, t->count);
    return i == t->count ? EF_OK
                         : ef__error_set(error, EF_EFORMAT, 0, NULL,
                                         "%s: tensor \"%s\": value %zu is not a finite number",
                                         ef__st_path(file), t->name, i);
}

/* The file's tensor for a segment, of the right shape and finite. */
static ef_status find(const ef__st_reader *file, const char *before, const ef__segment *s,
                      const ef__st_tensor **tensor, ef_error *error)
{
    char name[sizeof s->name + 16];
    snprintf(name, sizeof name, "%s%s", before, s->name);
    ef_status status = ef__st_need(file, name, EF__ST_F32, s->rank, s->dims, tensor, error);
    return status ? status : check_finite(file, *tensor, error);
}

static ef_status check_arena(const ef__st_reader *file, const char *before, const ef__params *p,
                             ef_error *error)
{
    const ef__st_tensor *tensor;
    ef_status status = EF_OK;
    for (size_t i = 0; i < p->segments && !status; i++)
        status = find(file, before, &p->segment[i], &tensor, error);
    return status;
}

/* A file that has passed check_arena. Padding keeps its zeros. */
static ef_status write_arena(const ef__st_reader *file, const char *before, ef__params *p,
                             ef_tensor *arena)
{
    char name[sizeof p->segment->name + 16];
    ef_status status = EF_OK;
    for (size_t i = 0; i < p->segments && !status; i++) {
        const ef__segment *s = &p->segment[i];
        ef_tensor *view = NULL;
        snprintf(name, sizeof name, "%s%s", before, s->name);
        status = ef_tensor_view(arena, s->offset, 1, &s->count, name, &view);
        if (!status)
            status = ef_tensor_write(view, ef__st_find(file, name)->data);
        ef_tensor_free(view);
    }
    return status;
}

ef_status ef__checkpoint_params(const ef__st_reader *file, ef__params *p, ef_error *error)
{
    ef_status status = check_arena(file, prefix[VALUE], p, error);
    return status ? status
                  : ef__actor_says(p->actor, write_arena(file, prefix[VALUE], p, p->value), error);
}

ef_status ef__checkpoint_optim(const ef__st_reader *file, ef_trainer *t, ef_error *error)
{
    ef__params *p = t->params;
    const ef__st_tensor *counts;
    size_t dims[1] = {EF__COUNTS};
    ef_status status = ef__st_need(file, "optim.counts", EF__ST_I32, 1, dims, &counts, error);
    if (!status)
        status = check_arena(file, prefix[M], p, error);
    if (!status)
        status = check_arena(file, prefix[V], p, error);
    if (status)
        return status;
    status = write_arena(file, prefix[M], p, p->m);
    if (!status)
        status = write_arena(file, prefix[V], p, p->v);
    if (!status)
        status = ef_tensor_write(t->counts, counts->data);
    return ef__actor_says(p->actor, status, error);
}

/* ---- a model for inference ---- */

/* The largest tensors have the configuration's sizes: known before anything is allocated for it. */
static ef_status check_sizes(const ef__st_reader *file, const ef_model_config *c, ef_error *error)
{
    const bool encoder = c->kind == EF_ENCODER;
    const size_t embedding[] = {c->vocab, c->width}, conv1[] = {c->hidden, c->width, c->taps};
    const size_t proj[] = {c->vector, c->width}, cond[] = {c->width, c->vector};
    const ef__st_tensor *t;
    ef_status status = ef__st_need(file, "embedding.weight", EF__ST_F32, 2, embedding, &t, error);
    if (!status)
        status = ef__st_need(file, "blocks.0.conv1.weight", EF__ST_F32, 3, conv1, &t, error);
    if (!status)
        status = ef__st_need(file, encoder ? "proj.weight" : "cond.weight", EF__ST_F32, 2,
                             encoder ? proj : cond, &t, error);
    return status || encoder ? status
                             : ef__st_need(file, "out.weight", EF__ST_F32, 2, embedding, &t, error);
}

/* A checkpoint that has a model of this kind, which it may allocate for. */
static ef_status open_checkpoint(const char *path, ef_model_kind kind, ef__st_reader **file,
                                 ef_model_config *config, ef_error *error)
{
    ef_status status = ef__st_open(path, file, error);
    if (!status)
        status = ef__run_check_version(path, ef__st_metadata(*file, "run"), error);
    if (!status)
        status = ef__config_parse(path, ef__st_metadata(*file, "config"), kind, config, error);
    return status ? status : check_sizes(*file, config, error);
}

ef_status ef_encoder_open(ef_actor *a, const char *path, ef_encoder **encoder, ef_error *error)
{
    ef__st_reader *file = NULL;
    ef_model_config config;
    ef_encoder *e = NULL;
    ef_status status = open_checkpoint(path, EF_ENCODER, &file, &config, error);
    if (!status) {
        ef__lock(a);
        status = ef__actor_says(a, ef__encoder_new(a, &config, false, &e), error);
        if (!status)
            status = ef__checkpoint_params(file, e->params, error);
        ef__unlock(a);
    }
    ef__st_close(file);
    if (status)
        ef_encoder_free(e);
    else
        *encoder = e;
    return status;
}

ef_status ef_decoder_open(ef_actor *a, const char *path, ef_decoder **decoder, ef_error *error)
{
    ef__st_reader *file = NULL;
    ef_model_config config;
    ef_decoder *d = NULL;
    ef_status status = open_checkpoint(path, EF_DECODER, &file, &config, error);
    if (!status) {
        ef__lock(a);
        status = ef__actor_says(a, ef__decoder_new(a, &config, false, &d), error);
        if (!status)
            status = ef__checkpoint_params(file, d->params, error);
        ef__unlock(a);
    }
    ef__st_close(file);
    if (status)
        ef_decoder_free(d);
    else
        *decoder = d;
    return status;
}
