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

static ef__params *params_of(const ef__trainers *t)
{
    return (t->of[0] ? t->of[0] : t->of[1])->model->params;
}

/* What a file holds: arenas, and small tensors that stand as they are. All of one moment. */
enum { VALUE, M, V, UPDATES, COUNTS, SCALE = COUNTS + EF__KINDS, PARTS = SCALE + EF__KINDS };

/* Of an arena's names in a file. */
static const char *const prefix[] = {[VALUE] = "", [M] = "optim.m.", [V] = "optim.v."};

/* NULL: there is none. */
static ef_tensor *tensor_of(const ef__trainers *t, int part)
{
    const ef__params *p = params_of(t);
    ef_tensor *const arenas[] = {p->value, p->m, p->v, p->updates};
    if (part < COUNTS)
        return arenas[part];
    const ef_trainer *trainer = t->of[(part - COUNTS) % EF__KINDS];
    return !trainer ? NULL : part < SCALE ? trainer->counts : trainer->scale;
}

/* Of a small tensor. */
static const char *name_of(const ef__trainers *t, int part, char *name, size_t size)
{
    const bool pair = t->of[0] && t->of[1] && part != UPDATES;
    snprintf(name, size, "optim.%s%s%s",
             part == UPDATES ? "updates"
             : part < SCALE  ? "counts"
                             : "scale",
             pair ? "." : "", pair ? ef__kinds[(part - COUNTS) % EF__KINDS] : "");
    return name;
}

static ef__st_dtype dtype_of(int part)
{
    return part < SCALE ? EF__ST_I32 : EF__ST_F32;
}

typedef struct snapshot {
    ef_readback *readback[PARTS];
    const void *data[PARTS];
} snapshot;

static ef_status take(const ef__trainers *t, snapshot *s)
{
    ef_actor *a = params_of(t)->actor;
    size_t count;
    ef_status status = ef_batch_begin(a);
    if (status)
        return status;
    for (int i = 0; i < PARTS && !status; i++)
        if (tensor_of(t, i))
            status = ef_readback_start(a, tensor_of(t, i), EF_DEFER_UNTIL_SYNC, "checkpoint",
                                       &s->readback[i]);
    ef_status synced = ef_batch_sync(a, "checkpoint");
    status = status ? status : synced;
    for (int i = 0; i < PARTS && !status; i++)
        if (s->readback[i])
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

static ef_status put_state(ef__st_writer *w, const char *path, const ef__trainers *t,
                           const ef__run_state *state, ef_error *error)
{
    char *config = NULL, *run = NULL;
    ef__models models = {0};
    for (int i = 0; i < EF__KINDS; i++)
        if (t->of[i]) {
            models.has[i] = true;
            models.config[i] = t->of[i]->model->config;
        }
    ef_status status = ef__config_dump(path, &models, &config, error);
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

static void put_small(ef__st_writer *w, const ef__trainers *t, const snapshot *s)
{
    char name[48];
    for (int i = UPDATES; i < PARTS; i++)
        if (s->data[i])
            ef__st_put(w, name_of(t, i, name, sizeof name), dtype_of(i), 1,
                       ef_tensor_dims(tensor_of(t, i)), s->data[i]);
}

static void put_vocabulary(ef__st_writer *w, const ef_tokenizer *vocabulary)
{
    size_t bytes;
    const char *lines = ef_tokenizer_vocabulary(vocabulary, &bytes);
    ef__st_put(w, EF__VOCABULARY, EF__ST_U8, 1, &bytes, lines);
}

static ef_status write_files(const ef__trainers *t, const ef__run_state *state,
                             const ef_tokenizer *vocabulary, const snapshot *s,
                             const char *const *paths, ef_error *error)
{
    const ef__params *p = params_of(t);
    ef__st_writer *w = ef__st_writer_new();
    if (!w)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", *paths);
    ef_status status = put_state(w, *paths, t, state, error);
    for (int i = VALUE; i <= V && !status; i++) {
        status = check_arena_taken(p, prefix[i], s->data[i], *paths, error);
        put_arena(w, p, prefix[i], s->data[i]);
    }
    put_small(w, t, s);
    if (vocabulary)
        put_vocabulary(w, vocabulary);
    for (; *paths && !status; paths++)
        status = ef__st_save(w, *paths, error);
    ef__st_writer_free(w);
    return status;
}

ef_status ef__checkpoint_save(const ef__trainers *trainers, const ef__run_state *state,
                              const ef_tokenizer *vocabulary, const char *const *paths,
                              ef_error *error)
{
    snapshot s = {0};
    ef_status status = ef__actor_says(params_of(trainers)->actor, take(trainers, &s), error);
    if (!status)
        status = write_files(trainers, state, vocabulary, &s, paths, error);
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

/* Counts are no less than 0, a loss scale is one that training could have come to. */
static bool is_sound(const ef__st_tensor *t, int part)
{
    for (size_t i = 0; i < t->count; i++) {
        int32_t count;
        float scale;
        memcpy(&count, (const char *)t->data + 4 * i, sizeof count);
        memcpy(&scale, (const char *)t->data + 4 * i, sizeof scale);
        if (part < SCALE ? count < 0 : !(scale >= 1 && scale <= EF__SCALE_MOST))
            return false;
    }
    return true;
}

static ef_status find_small(const ef__st_reader *file, const ef__trainers *t, int part,
                            const ef__st_tensor **tensor, ef_error *error)
{
    char name[48];
    ef_status status = ef__st_need(file, name_of(t, part, name, sizeof name), dtype_of(part), 1,
                                   ef_tensor_dims(tensor_of(t, part)), tensor, error);
    if (!status && !is_sound(*tensor, part))
        status = ef__error_set(error, EF_EFORMAT, 0, NULL,
                               "%s: tensor \"%s\" has a value that no training comes to",
                               ef__st_path(file), name);
    return status;
}

/* Second moments are sums of squares. */
static ef_status check_second(const ef__st_reader *file, const ef__params *p, ef_error *error)
{
    const ef__st_tensor *t;
    float value;
    for (size_t i = 0; i < p->segments; i++) {
        ef_status status = find(file, prefix[V], &p->segment[i], &t, error);
        if (status)
            return status;
        for (size_t k = 0; k < t->count; k++) {
            memcpy(&value, (const char *)t->data + k * sizeof value, sizeof value);
            if (value < 0)
                return ef__error_set(error, EF_EFORMAT, 0, NULL,
                                     "%s: tensor \"%s\": value %zu is below 0", ef__st_path(file),
                                     t->name, k);
        }
    }
    return EF_OK;
}

/* A scale may be new to the run. */
static bool has_scale(const ef__st_reader *file, const ef__trainers *t, int part)
{
    char name[48];
    return ef__st_find(file, name_of(t, part, name, sizeof name)) != NULL;
}

/* A file that has them all. */
static ef_status write_optim(const ef__st_reader *file, const ef__trainers *t)
{
    ef__params *p = params_of(t);
    const ef__st_tensor *small;
    ef_status status = write_arena(file, prefix[M], p, p->m);
    if (!status)
        status = write_arena(file, prefix[V], p, p->v);
    for (int i = UPDATES; i < PARTS && !status; i++)
        if (tensor_of(t, i) && !find_small(file, t, i, &small, NULL)) /* but a scale that is new */
            status = ef_tensor_write(tensor_of(t, i), small->data);
    return status;
}

ef_status ef__checkpoint_optim(const ef__st_reader *file, const ef__trainers *trainers,
                               ef_error *error)
{
    const ef__params *p = params_of(trainers);
    const ef__st_tensor *small;
    ef_status status = check_arena(file, prefix[M], p, error);
    if (!status)
        status = check_second(file, p, error);
    for (int i = UPDATES; i < PARTS && !status; i++)
        if (tensor_of(trainers, i) && (i < SCALE || has_scale(file, trainers, i)))
            status = find_small(file, trainers, i, &small, error);
    return status ? status : ef__actor_says(p->actor, write_optim(file, trainers), error);
}

/* ---- a model for inference ---- */

/* The file's models, one of them of the kind that is wanted. */
static ef_status open_checkpoint(const char *path, ef_model_kind kind, ef__st_reader **file,
                                 ef__models *models, ef_error *error)
{
    ef_status status = ef__st_open(path, file, error);
    if (!status)
        status = ef__run_check_version(path, ef__st_metadata(*file, "run"), error);
    if (!status)
        status = ef__config_parse(path, ef__st_metadata(*file, "config"), models, error);
    return status ? status : ef__models_want(path, models, kind, error);
}

/* Nothing is allocated on the device before the file is known to have all of it. */
static ef_status fill_values(const ef__st_reader *file, ef__params *p, ef_error *error)
{
    ef_status status = check_arena(file, prefix[VALUE], p, error);
    if (status)
        return status;
    status = ef__params_build(p, false);
    if (!status)
        status = write_arena(file, prefix[VALUE], p, p->value);
    return ef__actor_says(p->actor, status, error);
}

ef_status ef_encoder_open(ef_actor *a, const char *path, ef_encoder **encoder, ef_error *error)
{
    ef__st_reader *file = NULL;
    ef__models models;
    ef_encoder *e = NULL;
    ef_status status = open_checkpoint(path, EF_ENCODER, &file, &models, error);
    if (!status) {
        const ef_model_config *config = &models.config[EF_ENCODER];
        ef__lock(a);
        status = ef__actor_says(a, ef__encoder_begin(a, config, models.has[EF_DECODER], &e), error);
        if (!status)
            status = fill_values(file, e->model.params, error);
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
    ef__models models;
    ef_decoder *d = NULL;
    ef_status status = open_checkpoint(path, EF_DECODER, &file, &models, error);
    if (!status) {
        const ef_model_config *pair = models.has[EF_ENCODER] ? &models.config[EF_ENCODER] : NULL;
        ef__lock(a);
        status = ef__actor_says(a, ef__decoder_begin(a, &models.config[EF_DECODER], pair, NULL, &d),
                                error);
        if (!status)
            status = fill_values(file, d->model.params, error);
        ef__unlock(a);
    }
    ef__st_close(file);
    if (status)
        ef_decoder_free(d);
    else
        *decoder = d;
    return status;
}
