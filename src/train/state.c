#include "train/state.h"
#include "model/encoder.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* For json_pack's arguments. */
static json_int_t integer(uint64_t value)
{
    return (json_int_t)value;
}

static ef_status bad(const char *path, const char *what, const char *why, ef_error *error)
{
    return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: metadata \"%s\": %s", path, what, why);
}

/* The text of what json_pack_ex gave: NULL, and why, for what JSON does not know, a NaN or a text
 * that is not UTF-8. */
static ef_status dump(const char *path, const char *what, json_t *json, const json_error_t *why,
                      char **text, ef_error *error)
{
    enum json_error_code code = json ? json_error_out_of_memory : json_error_code(why);
    *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (*text)
        return EF_OK;
    if (code == json_error_out_of_memory || code == json_error_null_value) /* a part's memory */
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    return bad(path, what, why->text, error);
}

const char *const ef__kinds[EF__KINDS] = {[EF_ENCODER] = "encoder", [EF_DECODER] = "decoder"};
static const char pair[] = "combined";

const char *ef__models_kind(const ef__models *models)
{
    return models->has[0] && models->has[1] ? pair : ef__kinds[models->has[EF_DECODER]];
}

ef_status ef__models_want(const char *path, const ef__models *models, ef_model_kind kind,
                          ef_error *error)
{
    return models->has[kind] ? EF_OK
                             : ef__error_set(error, EF_EFORMAT, 0, NULL,
                                             "%s: its model is of the kind %s, not %s", path,
                                             ef__models_kind(models), ef__kinds[kind]);
}

static json_t *pack_config(const ef_model_config *c, json_error_t *why)
{
    json_t *dilations = json_array();
    for (size_t i = 0; i < c->blocks; i++)
        if (json_array_append_new(dilations, json_integer(integer(c->dilations[i])))) {
            json_decref(dilations);
            dilations = NULL;
        }
    return json_pack_ex(why, 0, "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:f, s:b}", "kind",
                        ef__kinds[c->kind], "vocab", integer(c->vocab), "width", integer(c->width),
                        "hidden", integer(c->hidden), "taps", integer(c->taps), "vector",
                        integer(c->vector), "length", integer(c->length), "dilations", dilations,
                        "eps", c->eps, "tanh", c->tanh);
}

ef_status ef__config_dump(const char *path, const ef__models *models, char **text, ef_error *error)
{
    json_error_t why = {.text = ""};
    json_t *json = NULL, *config[EF__KINDS] = {0};
    bool packed = true;
    for (int i = 0; i < EF__KINDS && packed; i++)
        if (models->has[i])
            packed = (config[i] = pack_config(&models->config[i], &why)) != NULL;
    if (packed && config[0] && config[1])
        json = json_pack_ex(&why, 0, "{s:s, s:O, s:O}", "kind", pair, ef__kinds[0], config[0],
                            ef__kinds[1], config[1]);
    else if (packed)
        json = json_incref(config[config[0] ? 0 : 1]);
    for (int i = 0; i < EF__KINDS; i++)
        json_decref(config[i]);
    return dump(path, "config", json, &why, text, error);
}

static json_t *pack_trainer(const ef_trainer_options *t, json_error_t *why)
{
    return json_pack_ex(
        why, 0, "{s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i}", "alpha",
        t->alpha, "beta", t->beta, "lr", t->lr, "min_lr", t->min_lr, "warmup", integer(t->warmup),
        "decay", integer(t->decay), "weight_decay", t->weight_decay, "beta1", t->beta1, "beta2",
        t->beta2, "epsilon", t->epsilon, "clip", t->clip, "loss_scale", t->loss_scale, "optim",
        (int)t->optim, "scope", (int)t->scope);
}

static json_t *pack_identity(const ef__identity *id, json_error_t *why)
{
    return json_pack_ex(why, 0, "{s:s, s:s, s:s, s:s}", "device", id->device, "driver", id->driver,
                        "library", id->library, "variants", id->variants);
}

static json_t *pack_run(const ef__run_state *s, json_error_t *why)
{
    return json_pack_ex(
        why, 0,
        "{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:I, s:s, s:s, s:f, s:f, s:I, s:I, s:I,"
        " s:I, s:b}",
        "version", EF__FORMAT_VERSION, "step", integer(s->step), "epoch", integer(s->epoch),
        "position", integer(s->position), "skipped", integer(s->skipped), "seed", integer(s->seed),
        "stale", integer(s->stale), "has_best", s->has_best, "best", s->best, "data_bytes",
        integer(s->data_bytes), "data_sha256", s->data_sha256, "val_sha256", s->val_sha256,
        "val_fraction", s->val_fraction, "ab_ratio", s->ab_ratio, "batch", integer(s->batch),
        "accum", integer(s->accum), "micro_batch", integer(s->micro_batch), "max_batches",
        integer(s->max_batches), "bucket", s->bucket);
}

static const char *const trainers[] = {[EF_ENCODER] = "trainer", [EF_DECODER] = "decoder_trainer"};

ef_status ef__run_dump(const char *path, const ef__run_state *s, char **text, ef_error *error)
{
    json_error_t why;
    json_t *json = pack_run(s, &why);
    for (int k = 0; k <= EF__KINDS && json; k++) {
        json_t *part =
            k < EF__KINDS ? pack_trainer(&s->trainer[k], &why) : pack_identity(&s->identity, &why);
        const char *name = k < EF__KINDS ? trainers[k] : "identity";
        bool failed = !part;
        if (failed || json_object_set_new(json, name, part)) {
            json_decref(json);
            json = NULL;
        }
    }
    return dump(path, "run", json, &why, text, error);
}

static json_t *load(const char *path, const char *what, const char *text, ef_error *error)
{
    json_error_t why = {.text = "is not there"};
    json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, &why) : NULL;
    if (!json)
        bad(path, what, why.text, error);
    return json;
}

/* A size of at most 31 bits; anything else becomes 0, which ef__config_check refuses. */
static size_t size_of(json_int_t value)
{
    return value > 0 && value <= INT32_MAX ? (size_t)value : 0;
}

static bool parse_model(const json_t *json, ef_model_config *c, json_error_t *why)
{
    json_int_t vocab, width, hidden, taps, vector, length;
    json_t *dilations;
    double eps;
    int tanh;
    if (json_unpack_ex((json_t *)json, why, 0, "{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:F, s:b}",
                       "vocab", &vocab, "width", &width, "hidden", &hidden, "taps", &taps, "vector",
                       &vector, "length", &length, "dilations", &dilations, "eps", &eps, "tanh",
                       &tanh))
        return false;
    *c = (ef_model_config){.vocab = size_of(vocab),
                           .width = size_of(width),
                           .hidden = size_of(hidden),
                           .taps = size_of(taps),
                           .vector = size_of(vector),
                           .blocks = json_array_size(dilations),
                           .length = size_of(length),
                           .eps = (float)eps,
                           .tanh = tanh};
    for (size_t i = 0; i < c->blocks && i < EF_MAX_BLOCKS; i++)
        c->dilations[i] = size_of(json_integer_value(json_array_get(dilations, i)));
    return true;
}

static bool parse_models(json_t *json, ef__models *m, json_error_t *why)
{
    const char *kind = ef__kinds[EF_ENCODER];
    json_t *parts[EF__KINDS];
    if (json_unpack_ex(json, why, 0, "{s?s}", "kind", &kind))
        return false;
    if (!strcmp(kind, pair)) {
        m->has[0] = m->has[1] = true;
        return !json_unpack_ex(json, why, 0, "{s:o, s:o}", ef__kinds[0], &parts[0], ef__kinds[1],
                               &parts[1]) &&
               parse_model(parts[0], &m->config[0], why) &&
               parse_model(parts[1], &m->config[1], why);
    }
    for (int i = 0; i < EF__KINDS; i++)
        if (!strcmp(kind, ef__kinds[i])) {
            m->has[i] = true;
            return parse_model(json, &m->config[i], why);
        }
    snprintf(why->text, sizeof why->text, "this library knows no model of the kind \"%.64s\"",
             kind);
    return false;
}

ef_status ef__config_parse(const char *path, const char *text, ef__models *models, ef_error *error)
{
    ef__models m = {0};
    json_error_t why;
    ef_error wrong;
    json_t *json = load(path, "config", text, error);
    if (!json)
        return EF_EFORMAT;
    bool parsed = parse_models(json, &m, &why);
    json_decref(json);
    if (!parsed)
        return bad(path, "config", why.text, error);
    for (int i = 0; i < EF__KINDS; i++) {
        m.config[i].kind = (ef_model_kind)i;
        if (m.has[i] && ef__config_check(&m.config[i], &wrong))
            return bad(path, "config", wrong.text, error);
    }
    *models = m;
    return EF_OK;
}

static bool parse_trainer(json_t *json, ef_trainer_options *o, json_error_t *why)
{
    double alpha, beta, lr, min_lr, weight_decay, beta1, beta2, epsilon, clip, loss_scale;
    json_int_t warmup, decay;
    int optim, scope;
    if (json_unpack_ex(json, why, 0,
                       "{s:F, s:F, s:F, s:F, s:I, s:I, s:F, s:F, s:F, s:F, s:F, s:F, s:i, s:i}",
                       "alpha", &alpha, "beta", &beta, "lr", &lr, "min_lr", &min_lr, "warmup",
                       &warmup, "decay", &decay, "weight_decay", &weight_decay, "beta1", &beta1,
                       "beta2", &beta2, "epsilon", &epsilon, "clip", &clip, "loss_scale",
                       &loss_scale, "optim", &optim, "scope", &scope))
        return false;
    *o = (ef_trainer_options){.alpha = (float)alpha,
                              .beta = (float)beta,
                              .lr = (float)lr,
                              .min_lr = (float)min_lr,
                              .warmup = (uint64_t)warmup,
                              .decay = (uint64_t)decay,
                              .weight_decay = (float)weight_decay,
                              .beta1 = (float)beta1,
                              .beta2 = (float)beta2,
                              .epsilon = (float)epsilon,
                              .clip = (float)clip,
                              .loss_scale = (float)loss_scale,
                              .optim = (ef_optim)optim,
                              .scope = (ef_scope)scope};
    return true;
}

static bool parse_identity(json_t *json, ef__identity *id, json_error_t *why)
{
    const char *device, *driver, *library, *variants;
    if (json_unpack_ex(json, why, 0, "{s:s, s:s, s:s, s:s}", "device", &device, "driver", &driver,
                       "library", &library, "variants", &variants))
        return false;
    snprintf(id->device, sizeof id->device, "%s", device);
    snprintf(id->driver, sizeof id->driver, "%s", driver);
    snprintf(id->library, sizeof id->library, "%s", library);
    snprintf(id->variants, sizeof id->variants, "%s", variants);
    return true;
}

static bool parse_counts(json_t *json, ef__run_state *s, json_error_t *why)
{
    json_int_t step, epoch, position, skipped, seed, stale, bytes;
    if (json_unpack_ex(json, why, 0, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "step", &step, "epoch",
                       &epoch, "position", &position, "skipped", &skipped, "seed", &seed, "stale",
                       &stale, "data_bytes", &bytes))
        return false;
    if (step < 0 || epoch < 0 || position < 0 || skipped < 0 || stale < 0 || bytes < 0) {
        snprintf(why->text, sizeof why->text, "a count is negative");
        return false;
    }
    s->step = (uint64_t)step;
    s->epoch = (uint64_t)epoch;
    s->position = (uint64_t)position;
    s->skipped = (uint64_t)skipped;
    s->seed = (uint64_t)seed;
    s->stale = (uint64_t)stale;
    s->data_bytes = (uint64_t)bytes;
    return true;
}

static bool parse_run(json_t *json, ef__run_state *s, json_error_t *why)
{
    json_int_t batch, accum, micro, most;
    json_t *part[EF__KINDS], *identity;
    const char *sha256, *val_sha256;
    int has_best, bucket;
    if (json_unpack_ex(
            json, why, 0, "{s:b, s:F, s:s, s:s, s:F, s:F, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o}",
            "has_best", &has_best, "best", &s->best, "data_sha256", &sha256, "val_sha256",
            &val_sha256, "val_fraction", &s->val_fraction, "ab_ratio", &s->ab_ratio, "batch",
            &batch, "accum", &accum, "micro_batch", &micro, "max_batches", &most, "bucket", &bucket,
            trainers[EF_ENCODER], &part[EF_ENCODER], trainers[EF_DECODER], &part[EF_DECODER],
            "identity", &identity))
        return false;
    s->has_best = has_best;
    snprintf(s->data_sha256, sizeof s->data_sha256, "%s", sha256);
    snprintf(s->val_sha256, sizeof s->val_sha256, "%s", val_sha256);
    s->batch = size_of(batch);
    s->accum = size_of(accum);
    s->micro_batch = size_of(micro);
    s->max_batches = size_of(most);
    s->bucket = bucket;
    return parse_counts(json, s, why) &&
           parse_trainer(part[EF_ENCODER], &s->trainer[EF_ENCODER], why) &&
           parse_trainer(part[EF_DECODER], &s->trainer[EF_DECODER], why) &&
           parse_identity(identity, &s->identity, why);
}

static ef_status check_version(const char *path, const json_t *run, ef_error *error)
{
    json_int_t version = json_integer_value(json_object_get(run, "version"));
    return version == EF__FORMAT_VERSION
               ? EF_OK
               : ef__error_set(error, EF_EFORMAT, 0, NULL,
                               "%s: metadata \"run\": version %" JSON_INTEGER_FORMAT
                               ", this library reads %d",
                               path, version, EF__FORMAT_VERSION);
}

ef_status ef__run_check_version(const char *path, const char *text, ef_error *error)
{
    if (!text)
        return EF_OK;
    json_t *json = load(path, "run", text, error);
    ef_status status = json ? check_version(path, json, error) : EF_EFORMAT;
    json_decref(json);
    return status;
}

ef_status ef__run_parse(const char *path, const char *text, ef__run_state *state, ef_error *error)
{
    ef__run_state s = {0};
    json_error_t why;
    json_t *json = load(path, "run", text, error);
    if (!json)
        return EF_EFORMAT;
    ef_status status = check_version(path, json, error);
    bool parsed = !status && parse_run(json, &s, &why);
    json_decref(json);
    if (status)
        return status;
    if (!parsed)
        return bad(path, "run", why.text, error);
    *state = s;
    return EF_OK;
}
