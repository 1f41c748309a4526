/* eftrain -- train a text encoder from a teacher's vectors: ef_train with a command line, a
 * progress display, a log and signals. */
#include "cmd/files.h"
#include "cmd/options.h"
#include "cmd/progress.h"
#include "cmd/signals.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "eftrain"

typedef struct settings {
    ef_train_options run;
    ef__list dilations;
    size_t blocks;                  /* 0: as many as there are dilations */
    int bucket, init, optim, scope; /* places in the words of their options */
    const char *device, *log;
} settings;

/* ---- the command line ---- */

static int read_options(settings *s, int argc, char **argv)
{
    ef_train_options *r = &s->run;
    ef_trainer_options *t = &r->trainer;
    ef_model_config *m = &r->model;
    const double most = INT32_MAX;
    const ef__option table[] = {
        {"Data", EF__GROUP, .help = ""},
        {"data", EF__TEXT, &r->data, "FILE", .help = "samples to train on (needed)"},
        {"val", EF__TEXT, &r->val, "FILE", .help = "samples to evaluate after each epoch"},
        {"vocab", EF__TEXT, &r->vocabulary, "FILE",
         .help = "vocab.txt for data that are texts, kept in checkpoints"},
        {"length", EF__SIZE, &m->length, "N", 1, most, .help = "cut samples to N ids"},
        {"vocab-size", EF__SIZE, &m->vocab, "N", 0, most,
         "the vocabulary's, else the largest id in data and val + 1", .help = "ids are below N"},
        {"bucket", EF__CHOICE, &s->bucket, "on|off", .help = "batches of samples of like length"},
        {"Model", EF__GROUP, .help = ""},
        {"width", EF__SIZE, &m->width, "N", 1, most, .help = "values at each position"},
        {"hidden", EF__SIZE, &m->hidden, "N", 1, most, .help = "values inside a block"},
        {"taps", EF__SIZE, &m->taps, "N", 1, most, .help = "taps of the convolutions"},
        {"dilations", EF__LIST, &s->dilations, "N,...", 1, most, .help = "of the blocks"},
        {"blocks", EF__SIZE, &s->blocks, "N", 1, EF_MAX_BLOCKS, "one for each dilation",
         .help = "how many blocks"},
        {"init", EF__CHOICE, &s->init, "scaled|torch|plan", .help = "initial parameters"},
        {"Training", EF__GROUP, .help = ""},
        {"epochs", EF__U64, &r->epochs, "N", 0, most, .help = "times through the data"},
        {"batch", EF__SIZE, &r->batch, "N", 1, most, .help = "samples in a batch"},
        {"accum", EF__SIZE, &r->accum, "N", 1, most, .help = "batches in a step"},
        {"seed", EF__U64, &r->seed, "N", .help = "of initial parameters and order"},
        {"lr", EF__REAL, &t->lr, "X", .help = "learning rate"},
        {"min-lr", EF__REAL, &t->min_lr, "X", .fallback = "lr / 100",
         .help = "final learning rate"},
        {"warmup", EF__U64, &t->warmup, "N", 0, most,
         .help = "steps of linear warm-up; then a cosine"},
        {"alpha", EF__REAL, &t->alpha, "X", .help = "weight of 1 - cos in the loss"},
        {"beta", EF__REAL, &t->beta, "X", .help = "weight of mse in the loss"},
        {"clip", EF__REAL, &t->clip, "X", .help = "most norm of the gradient; 0: any"},
        {"weight-decay", EF__REAL, &t->weight_decay, "X", .help = "of matrices"},
        {"optim", EF__CHOICE, &s->optim, "adamw|adam-l2",
         .help = "decay beside the gradient, or in it"},
        {"train", EF__CHOICE, &s->scope, "all|last|proj",
         .help = "everything, the last block with proj, or proj"},
        {"Checkpoints", EF__GROUP, .help = ""},
        {"save", EF__TEXT, &r->save, "FILE",
         .help = "write checkpoints to FILE, the best beside it"},
        {"save-every", EF__U64, &r->save_every, "N", 1, most, "at each epoch's end only",
         .help = "save after every N steps too"},
        {"resume", EF__TEXT, &r->resume, "FILE", .help = "continue the run of a checkpoint"},
        {"strict-resume", EF__FLAG, &r->strict_resume, .help = "only if bit for bit the same run"},
        {"init-from", EF__TEXT, &r->init_from, "FILE",
         .help = "start with a checkpoint's parameters"},
        {"Other", EF__GROUP, .help = ""},
        {"log-json", EF__TEXT, &s->log, "FILE",
         .help = "a JSON object for each step and epoch; -: to stdout"},
        {"device", EF__TEXT, &s->device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "--data FILE [--val FILE] [OPTION...]",
        .about = "Train a causal TCN text encoder to give the vectors that a teacher gave.",
        .options = table};
    return ef__options_parse(&command, argc, argv);
}

static void settings_default(settings *s)
{
    *s = (settings){0};
    ef_train_options_default(&s->run);
    s->bucket = !s->run.bucket;
    s->init = (int)s->run.init;
    s->optim = (int)s->run.trainer.optim;
    s->scope = (int)s->run.trainer.scope;
    s->dilations.count = s->run.model.blocks;
    memcpy(s->dilations.at, s->run.model.dilations, sizeof s->dilations.at);
}

/* From the words of the command line to the library's options. */
static void settle(settings *s)
{
    ef_model_config *m = &s->run.model;
    s->run.bucket = !s->bucket;
    s->run.init = (ef_init)s->init;
    s->run.trainer.optim = (ef_optim)s->optim;
    s->run.trainer.scope = (ef_scope)s->scope;
    m->blocks = s->blocks ? s->blocks : s->dilations.count;
    for (size_t i = 0; i < m->blocks; i++)
        m->dilations[i] = i < s->dilations.count ? s->dilations.at[i] : 1;
    if (m->blocks > s->dilations.count)
        ef__say_error(NAME, 0, "--blocks %zu: only %zu dilations are given, the other blocks get 1",
                      m->blocks, s->dilations.count);
    if (m->blocks < s->dilations.count)
        ef__say_error(NAME, 0, "--blocks %zu: the last %zu dilations are not used", m->blocks,
                      s->dilations.count - m->blocks);
}

static int check_usage(const settings *s)
{
    const ef_train_options *r = &s->run;
    const char *wrong = !r->data                    ? "--data is needed (see --help)"
                        : r->resume && r->init_from ? "--resume and --init-from exclude each other"
                        : r->strict_resume && !r->resume ? "--strict-resume needs --resume"
                        : r->save_every && !r->save      ? "--save-every needs --save"
                                                         : NULL;
    return wrong ? ef__say_error(NAME, EF__USAGE, "%s", wrong) : 0;
}

/* ---- a run as it is seen ---- */

typedef struct watch {
    ef__progress progress;
    FILE *log; /* or NULL */
    bool log_failed;
    bool log_old; /* what an earlier run wrote is still there, and is to go */
    uint64_t begun, step, skipped, best_epoch; /* begun: the steps of the run that is resumed */
    ef_epoch_report last;                      /* epoch 0: none yet */
    double best_cos;
    ef__signals signals;
} watch;

/* JSON knows no NaN and no infinity. */
static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void log_line(watch *w, json_t *object)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(9);
    if (w->log_old)
        (void)!ftruncate(fileno(w->log), 0); /* a pipe holds nothing old */
    w->log_old = false;
    if (!object || json_dumpf(object, w->log, flags) || fputc('\n', w->log) == EOF ||
        fflush(w->log))
        w->log_failed = true;
    json_decref(object);
}

static void on_notice(void *user, const char *text)
{
    ef__progress_note(&((watch *)user)->progress, text);
}

static void on_begin(void *user, uint64_t step, uint64_t steps)
{
    watch *w = user;
    (void)steps;
    w->begun = w->step = step;
}

static void on_step(void *user, const ef_step_report *s)
{
    watch *w = user;
    w->step = s->step;
    w->skipped = s->skipped_total;
    ef__progress_step(&w->progress, s);
    if (w->log)
        log_line(w, json_pack("{s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:b}", "step", (json_int_t)s->step,
                              "epoch", (json_int_t)s->epoch, "loss", real(s->loss), "mse",
                              real(s->mse), "cos", real(s->cos), "grad_norm", real(s->grad_norm),
                              "lr", real(s->lr), "samples_per_s", real(s->samples_per_s), "skipped",
                              (int)s->skipped));
}

static void on_epoch(void *user, const ef_epoch_report *e)
{
    watch *w = user;
    w->last = *e;
    if (e->best) {
        w->best_epoch = e->epoch;
        w->best_cos = e->val_cos;
    }
    ef__progress_epoch(&w->progress, e);
    if (w->log)
        log_line(w, json_pack("{s:I,s:o,s:o,s:b,s:o,s:o,s:o}", "epoch", (json_int_t)e->epoch,
                              "val_mse", real(e->has_val ? e->val_mse : NAN), "val_cos",
                              real(e->has_val ? e->val_cos : NAN), "best", (int)e->best, "seconds",
                              real(e->seconds), "samples_per_s", real(e->samples_per_s), "padding",
                              real(e->padding)));
}

static bool should_stop(void *user)
{
    return atomic_load(&((watch *)user)->signals.interrupted);
}

/* ---- main ---- */

/* A run that is resumed continues its log; another one replaces it with its first line, so that a
 * run that does not begin leaves what was there. Opening makes the file, so that all its names lead
 * to it when they are compared. */
static int open_log(const settings *s, const char *best, watch *w)
{
    if (s->log && !strcmp(s->log, "-"))
        w->log = stdout;
    if (!s->log || w->log)
        return 0;
    bool made = access(s->log, F_OK);
    w->log = fopen(s->log, "ae");
    w->log_old = !s->run.resume;
    if (!w->log)
        return ef__say_error(NAME, EF__RUNTIME, "%s: %s", s->log, strerror(errno));
    int code = ef__check_log(NAME, &s->run, s->log, best);
    if (code && made)
        unlink(s->log);
    return code;
}

/* Nothing is written before everything that is to be written was found apart from the rest. */
static int open_outputs(const settings *s, watch *w)
{
    char *best = s->run.save ? ef_train_best_path(s->run.save) : NULL;
    int code = ef__check_saves(NAME, &s->run, best);
    if (!code)
        code = open_log(s, best, w);
    free(best);
    return code;
}

static int close_log(const settings *s, watch *w, int code)
{
    if (w->log && w->log != stdout && fclose(w->log))
        w->log_failed = true;
    if (w->log_failed && !code)
        return ef__say_error(NAME, EF__RUNTIME, "%s: the log could not be written whole", s->log);
    return code;
}

static void print_summary(const settings *s, const watch *w)
{
    FILE *to = w->log == stdout ? stderr : stdout;
    bool idle = s->run.resume && w->step == w->begun && !w->last.epoch;
    fprintf(to, "%s: %" PRIu64 " steps", idle ? "already trained" : "trained", w->step);
    if (idle)
        fprintf(to, "; --epochs %" PRIu64 " leaves nothing to do", s->run.epochs);
    if (w->skipped)
        fprintf(to, ", %" PRIu64 " of them skipped", w->skipped);
    if (w->last.has_val)
        fprintf(to, "; held-out cos %.4f, mse %.4g", w->last.val_cos, w->last.val_mse);
    if (w->best_epoch)
        fprintf(to, "; best cos %.4f in epoch %" PRIu64, w->best_cos, w->best_epoch);
    fprintf(to, "%s%s\n", s->run.save ? "; saved in " : "", s->run.save ? s->run.save : "");
}

/* Every input could be read at first, so EF_EIO is that of a write, or of a file that changed.
 * EF_EARG is the command line's fault where model or trainer refuse what they are to be, else a
 * file's: an id, another run. */
static int exit_code(ef_status status, const ef_error *error)
{
    const char *const refusing[] = {"encoder", "model", "trainer"};
    if (status == EF_EIO)
        return EF__RUNTIME;
    for (int i = 0; status == EF_EARG && i < 3; i++)
        if (!strcmp(error->op, refusing[i]))
            return EF__USAGE;
    return ef__exit_code(status);
}

static int say_result(const settings *s, const watch *w, ef_status status, const ef_error *error)
{
    if (!status) {
        print_summary(s, w);
        return EXIT_SUCCESS;
    }
    if (status == EF_ECANCELLED && s->run.save)
        return ef__say_error(NAME, EF__INTERRUPTED, "interrupted; --resume %s continues",
                             s->run.save);
    if (status == EF_ECANCELLED)
        return ef__say_error(NAME, EF__INTERRUPTED, "interrupted; without --save nothing is kept");
    return ef__say_error(NAME, exit_code(status, error), "%s",
                         *error->text ? error->text : ef_strerror(status));
}

static int train(const settings *s, ef_actor *actor, watch *w)
{
    const ef_train_observer observer = {w, on_notice, on_begin, on_step, on_epoch, should_stop};
    ef_error error = {0};
    ef__progress_begin(&w->progress, NAME);
    ef_status status = ef_train(actor, &s->run, &observer, &error);
    ef__progress_clear(&w->progress);
    return say_result(s, w, status, &error);
}

int main(int argc, char **argv)
{
    settings s;
    watch w = {0};
    ef_actor *actor = NULL;
    ef__command_begin();
    settings_default(&s);
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    code = check_usage(&s);
    if (!code)
        code = ef__check_inputs(NAME, &s.run);
    if (!code)
        code = open_outputs(&s, &w);
    if (!code) {
        settle(&s);
        code = ef__signals_catch(&w.signals, NAME);
    }
    if (!code) {
        code = ef__open_device(NAME, s.device, &actor);
        if (!code) {
            ef__warn_untuned(NAME, actor);
            code = train(&s, actor, &w);
        }
        ef_actor_close(actor);
        ef__signals_release(&w.signals);
    }
    return ef__command_end(NAME, close_log(&s, &w, code));
}
