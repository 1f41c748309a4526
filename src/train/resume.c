#include "train/resume.h"
#include "actor/kernels.h"
#include "base/sha256.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whatever a driver or the environment says becomes printable ASCII: JSON takes it, in any encoding
 * and cut anywhere. */
static void put_text(char *to, size_t size, const char *text)
{
    static const char digit[] = "0123456789abcdef";
    char *end = to + size - 4; /* of an escape and the final 0 */
    for (; *text && to < end; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= ' ' && c <= '~') {
            *to++ = *text;
        } else {
            *to++ = '%';
            *to++ = digit[c >> 4];
            *to++ = digit[c & 15];
        }
    }
    *to = 0;
}

/* The kernels that this library was built with; a folder of others is named instead. */
static void describe_kernels(char *text, size_t size)
{
    const char *folder = getenv("EF_CL_DIR");
    char hex[EF__SHA256_HEX];
    ef__sha256 sha;
    ef__sha256_begin(&sha);
    for (size_t i = 0; i < ef__kernel_source_count; i++)
        for (size_t j = 0; j < ef__kernel_sources[i].count; j++)
            ef__sha256_add(&sha, ef__kernel_sources[i].lines[j],
                           strlen(ef__kernel_sources[i].lines[j]));
    ef__sha256_end_hex(&sha, hex);
    snprintf(text, size, folder ? "of %s" : "%.8s", folder ? folder : hex);
}

void ef__identity_of(ef_actor *a, ef__identity *id)
{
    const ef_device_info *d = ef_actor_device(a);
    const char *linear = getenv("EF_LINEAR");
    char kernels[200], text[512];
    ef_tune_info tuned;
    if (ef_tune_get(a, &tuned))
        *tuned.digest = '\0'; /* the first operation will say why */
    describe_kernels(kernels, sizeof kernels);
    snprintf(text, sizeof text, "%s, %u units, vectors of %u", d->name, d->compute_units,
             d->vector_width);
    put_text(id->device, sizeof id->device, text);
    snprintf(text, sizeof text, "%s %s", d->platform, d->driver);
    put_text(id->driver, sizeof id->driver, text);
    put_text(id->library, sizeof id->library, ef_version_full());
    snprintf(text, sizeof text, "kernels %s, linear %s, accuracy %s, tuned %.12s", kernels,
             linear ? linear : "default", ef_actor_accuracy(a) == EF_STRICT ? "strict" : "normal",
             *tuned.digest ? tuned.digest : "not");
    put_text(id->variants, sizeof id->variants, text);
}

/* A comparison in progress: the first thing that is refused ends it. */
typedef struct comparison {
    const char *path;
    const char *way;   /* what it is compared for */
    const char *of;    /* of which of two models: before what is compared */
    ef_status refusal; /* of what should be the same; EF_OK: it gets a notice */
    void (*notice)(void *user, const char *text);
    void *user;
    ef_error *error;
    ef_status status;
} comparison;

static void compare(comparison *c, ef_status refusal, const char *what, const char *saved,
                    const char *now)
{
    char text[1280];
    if (c->status || !strcmp(saved, now))
        return;
    if (refusal) {
        c->status = ef__error_set(c->error, refusal, 0, NULL,
                                  "%s: cannot be %s: its %s%s is %s, this run's is %s", c->path,
                                  c->way, c->of, what, saved, now);
    } else if (c->notice) {
        snprintf(
            text, sizeof text,
            "%s: its %s%s was \"%s\" and is \"%s\" now: results may differ from an unbroken run",
            c->path, c->of, what, saved, now);
        c->notice(c->user, text);
    }
}

static void must_be(comparison *c, const char *what, uint64_t saved, uint64_t now)
{
    char a[24], b[24];
    snprintf(a, sizeof a, "%" PRIu64, saved);
    snprintf(b, sizeof b, "%" PRIu64, now);
    compare(c, EF_EARG, what, a, b);
}

/* Nine digits tell any two floats apart. */
static void compare_reals(comparison *c, ef_status refusal, const char *what, double saved,
                          double now)
{
    char a[32], b[32];
    snprintf(a, sizeof a, "%.9g", saved);
    snprintf(b, sizeof b, "%.9g", now);
    compare(c, refusal, what, a, b);
}

static void should_be(comparison *c, const char *what, double saved, double now)
{
    compare_reals(c, c->refusal, what, saved, now);
}

/* A place in a list of words; what a file says may be none. */
static const char *word(const char *const *words, size_t count, uint64_t at)
{
    return at < count ? words[at] : "unknown";
}

static void compare_words(comparison *c, ef_status refusal, const char *what,
                          const char *const *words, size_t count, uint64_t saved, uint64_t now)
{
    compare(c, refusal, what, word(words, count, saved), word(words, count, now));
}

static void compare_switches(comparison *c, const char *what, bool saved, bool now)
{
    static const char *const words[] = {"off", "on"};
    compare_words(c, EF_EARG, what, words, 2, saved, now);
}

static void compare_identities(comparison *c, const ef__identity *saved, const ef__identity *now)
{
    compare(c, c->refusal, "device", saved->device, now->device);
    compare(c, c->refusal, "driver", saved->driver, now->driver);
    compare(c, c->refusal, "library", saved->library, now->library);
    compare(c, c->refusal, "choice of variants", saved->variants, now->variants);
}

static void compare_models(comparison *c, const ef_model_config *saved, const ef_model_config *now)
{
    must_be(c, "vocabulary size", saved->vocab, now->vocab);
    must_be(c, "width", saved->width, now->width);
    must_be(c, "hidden width", saved->hidden, now->hidden);
    must_be(c, "number of taps", saved->taps, now->taps);
    must_be(c, "number of blocks", saved->blocks, now->blocks);
    must_be(c, "vector width", saved->vector, now->vector);
    compare_switches(c, "tanh", saved->tanh, now->tanh);
    for (size_t i = 0; i < saved->blocks && i < now->blocks; i++) {
        char what[40];
        snprintf(what, sizeof what, "dilation of block %zu", i);
        must_be(c, what, saved->dilations[i], now->dilations[i]);
    }
}

static void compare_trainers(comparison *c, const ef_trainer_options *saved,
                             const ef_trainer_options *now)
{
    static const char *const optims[] = {
        [EF_OPTIM_ADAMW] = "adamw", [EF_OPTIM_ADAM_L2] = "adam-l2"};
    static const char *const scopes[] = {
        [EF_TRAIN_ALL] = "all", [EF_TRAIN_LAST] = "last", [EF_TRAIN_PROJ] = "proj"};
    should_be(c, "alpha", saved->alpha, now->alpha);
    should_be(c, "beta", saved->beta, now->beta);
    should_be(c, "learning rate", saved->lr, now->lr);
    should_be(c, "final learning rate", saved->min_lr, now->min_lr);
    should_be(c, "warm-up", (double)saved->warmup, (double)now->warmup);
    should_be(c, "number of steps after warm-up", (double)saved->decay, (double)now->decay);
    should_be(c, "weight decay", saved->weight_decay, now->weight_decay);
    should_be(c, "beta1", saved->beta1, now->beta1);
    should_be(c, "beta2", saved->beta2, now->beta2);
    should_be(c, "epsilon", saved->epsilon, now->epsilon);
    should_be(c, "clip", saved->clip, now->clip);
    should_be(c, "loss scale", saved->loss_scale, now->loss_scale);
    compare_words(c, c->refusal, "optimiser", optims, 2, saved->optim, now->optim);
    compare_words(c, c->refusal, "trained part", scopes, 3, saved->scope, now->scope);
}

/* Both sides have a model of that kind; which it is, is said where there are two. */
static bool begin_kind(comparison *c, const ef__models *was, const ef__models *is, int kind)
{
    const bool two = is->has[EF_ENCODER] && is->has[EF_DECODER];
    c->of = !two ? "" : kind == EF_ENCODER ? "encoder's " : "decoder's ";
    return was->has[kind] && is->has[kind];
}

ef_status ef__resume_check(const char *path, ef__resume_side saved, ef__resume_side now,
                           bool strict, void (*notice)(void *user, const char *text), void *user,
                           ef_error *error)
{
    comparison c = {path, "resumed", "", strict ? EF_ESTATE : EF_OK, notice, user, error, EF_OK};
    const ef__run_state *was = saved.state, *is = now.state;
    compare(&c, EF_EARG, "mode", ef__models_kind(saved.models), ef__models_kind(now.models));
    for (int k = 0; k < EF__KINDS; k++)
        if (begin_kind(&c, saved.models, now.models, k)) {
            const ef_model_config *had = &saved.models->config[k], *has = &now.models->config[k];
            compare_models(&c, had, has);
            must_be(&c, "length", had->length, has->length);
        }
    c.of = "";
    must_be(&c, "data file's size", was->data_bytes, is->data_bytes);
    compare(&c, EF_EARG, "data file's SHA-256", was->data_sha256, is->data_sha256);
    compare(&c, EF_EARG, "held-out data's SHA-256", *was->val_sha256 ? was->val_sha256 : "none",
            *is->val_sha256 ? is->val_sha256 : "none");
    compare_reals(&c, EF_EARG, "held-out share", was->val_fraction, is->val_fraction);
    must_be(&c, "seed", was->seed, is->seed);
    must_be(&c, "batch", was->batch, is->batch);
    must_be(&c, "number of batches in a step", was->accum, is->accum);
    must_be(&c, "number of batches in an epoch", was->max_batches, is->max_batches);
    compare_switches(&c, "bucketing", was->bucket, is->bucket);
    if (now.models->has[EF_ENCODER] && now.models->has[EF_DECODER])
        compare_reals(&c, EF_EARG, "share of A steps", was->ab_ratio, is->ab_ratio);
    should_be(&c, "micro-batch", (double)was->micro_batch, (double)is->micro_batch);
    for (int k = 0; k < EF__KINDS; k++)
        if (begin_kind(&c, saved.models, now.models, k)) {
            should_be(&c, "eps", saved.models->config[k].eps, now.models->config[k].eps);
            compare_trainers(&c, &was->trainer[k], &is->trainer[k]);
        }
    c.of = "";
    compare_identities(&c, &was->identity, &is->identity);
    return c.status;
}

ef_status ef__start_check(const char *path, const ef__models *saved, const ef__models *now,
                          ef_error *error)
{
    comparison c = {.path = path, .way = "started from", .of = "", .error = error};
    compare(&c, EF_EARG, "kind", ef__models_kind(saved), ef__models_kind(now));
    for (int k = 0; k < EF__KINDS; k++)
        if (begin_kind(&c, saved, now, k)) {
            compare_models(&c, &saved->config[k], &now->config[k]);
            compare_reals(&c, EF_EARG, "eps", saved->config[k].eps, now->config[k].eps);
        }
    return c.status;
}
