/* A run as it is seen: progress, log, curve, signals, and what it came to. */
#include "cmd/eftrain.h"
#include "cmd/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_notice(void *user, const char *text)
{
    ef__progress_note(&((eftrain_watch *)user)->progress, text);
}

static void on_begin(void *user, uint64_t step, uint64_t steps)
{
    eftrain_watch *w = user;
    (void)steps;
    w->begun = w->step = step;
}

static void on_step(void *user, const ef_step_report *s)
{
    eftrain_watch *w = user;
    const bool a = s->kind == EF_ENCODER;
    w->step = s->step;
    w->skipped = s->skipped_total;
    ef__progress_step(&w->progress, s);
    if (w->settings->plot)
        eftrain_curve_step(&w->curve, s);
    if (w->log.file)
        eftrain_log_line(
            &w->log,
            json_pack("{s:I,s:I,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:b}", "step", (json_int_t)s->step,
                      "epoch", (json_int_t)s->epoch, "kind", a ? "A" : "B", "loss",
                      ef__json_real(s->loss), a ? "mse" : "ce", ef__json_real(a ? s->mse : s->ce),
                      a ? "cos" : "accuracy", ef__json_real(a ? s->cos : s->accuracy), "grad_norm",
                      ef__json_real(s->grad_norm), "lr", ef__json_real(s->lr), "samples_per_s",
                      ef__json_real(s->samples_per_s), "skipped", (int)s->skipped));
}

/* Drawn after each epoch; what goes wrong is said when it is drawn for the last time. */
static ef_status draw(eftrain_watch *w, ef_error *error)
{
    const eftrain_settings *s = w->settings;
    return s->plot
               ? eftrain_plot(&w->curve, s->run.save ? s->run.save : s->run.data, s->plot, error)
               : EF_OK;
}

/* A value of the epoch's, null where nothing was held out. */
static json_t *held_out(const ef_epoch_report *e, double value)
{
    return ef__json_real(e->has_val ? value : NAN);
}

static json_t *epoch_line(const ef_epoch_report *e)
{
    json_t *line = json_pack("{s:I}", "epoch", (json_int_t)e->epoch);
    if (e->mode != EF_MODE_DECODER) {
        json_object_set_new(line, "val_mse", held_out(e, e->val_mse));
        json_object_set_new(line, "val_cos", held_out(e, e->val_cos));
    }
    if (e->mode != EF_MODE_ENCODER) {
        json_object_set_new(line, "val_ce", held_out(e, e->val_ce));
        json_object_set_new(line, "val_accuracy", held_out(e, e->val_accuracy));
    }
    json_object_set_new(line, "best", json_boolean(e->best));
    json_object_set_new(line, "seconds", ef__json_real(e->seconds));
    json_object_set_new(line, "samples_per_s", ef__json_real(e->samples_per_s));
    json_object_set_new(line, "padding", ef__json_real(e->padding));
    return line;
}

static void on_epoch(void *user, const ef_epoch_report *e)
{
    eftrain_watch *w = user;
    ef_error error;
    w->last = *e;
    if (e->best)
        w->best = *e;
    ef__progress_epoch(&w->progress, e);
    if (w->log.file)
        eftrain_log_line(&w->log, epoch_line(e));
    eftrain_curve_epoch(&w->curve, e);
    (void)draw(w, &error);
}

static bool should_stop(void *user)
{
    const eftrain_watch *w = user;
    return atomic_load(&w->signals.interrupted) || eftrain_log_unread(&w->log);
}

ef_train_observer eftrain_observe(eftrain_watch *w)
{
    return (ef_train_observer){w, on_notice, on_begin, on_step, on_epoch, should_stop};
}

/* ---- the end ---- */

static void print_held_out(FILE *to, const char *before, const ef_epoch_report *e)
{
    if (e->mode != EF_MODE_DECODER)
        fprintf(to, "%scos %.4f, mse %.4g", before, e->val_cos, e->val_mse);
    if (e->mode == EF_MODE_COMBINED)
        before = ", ";
    if (e->mode != EF_MODE_ENCODER)
        fprintf(to, "%sce %.4f, accuracy %.4f", before, e->val_ce, e->val_accuracy);
}

static void print_summary(const eftrain_watch *w)
{
    const ef_train_options *r = &w->settings->run;
    FILE *to = w->log.file == stdout ? stderr : stdout;
    bool idle = r->resume && w->step == w->begun && !w->last.epoch;
    fprintf(to, "%s: %" PRIu64 " steps", idle ? "already trained" : "trained", w->step);
    if (idle)
        fprintf(to, "; --epochs %" PRIu64 " leaves nothing to do", r->epochs);
    if (w->skipped)
        fprintf(to, ", %" PRIu64 " of them skipped", w->skipped);
    if (w->last.has_val)
        print_held_out(to, "; held-out ", &w->last);
    if (w->best.epoch && r->mode == EF_MODE_DECODER)
        fprintf(to, "; best ce %.4f in epoch %" PRIu64, w->best.val_ce, w->best.epoch);
    else if (w->best.epoch)
        fprintf(to, "; best cos %.4f in epoch %" PRIu64, w->best.val_cos, w->best.epoch);
    const char *saved = idle ? NULL : r->save;
    fprintf(to, "%s%s\n", saved ? "; saved in " : "", saved ? saved : "");
}

/* Every input could be read at first, so EF_EIO is that of a write, or of a file that changed.
 * EF_EARG is the command line's fault where model or trainer refuse what they are to be, else a
 * file's: an id, another run. */
static int exit_code(ef_status status, const ef_error *error)
{
    const char *const refusing[] = {"encoder", "decoder", "model", "pair", "trainer"};
    if (status == EF_EIO)
        return EF__RUNTIME;
    for (int i = 0; status == EF_EARG && i < 5; i++)
        if (!strcmp(error->op, refusing[i]))
            return EF__USAGE;
    return ef__exit_code(status);
}

static int say_stopped(const eftrain_watch *w)
{
    const bool unread = eftrain_log_unread(&w->log);
    const char *what = unread ? "cannot write to stdout" : "interrupted";
    const char *save = w->settings->run.save;
    const int code = unread ? EF__RUNTIME : EF__INTERRUPTED;
    return save ? ef__say_error(EFTRAIN, code, "%s; --resume %s continues", what, save)
                : ef__say_error(EFTRAIN, code, "%s; without --save nothing is kept", what);
}

static int say_status(const eftrain_watch *w, ef_status status, const ef_error *error)
{
    if (!status) {
        print_summary(w);
        return EXIT_SUCCESS;
    }
    if (status == EF_ECANCELLED)
        return say_stopped(w);
    return ef__say_error(EFTRAIN, exit_code(status, error), "%s",
                         *error->text ? error->text : ef_strerror(status));
}

int eftrain_say_result(eftrain_watch *w, ef_status status, const ef_error *error)
{
    ef_error picture;
    ef__progress_clear(&w->progress);
    int code = say_status(w, status, error);
    if (!draw(w, &picture))
        return code;
    int drawn = ef__say_error(EFTRAIN, EF__RUNTIME, "%s", picture.text);
    return code ? code : drawn;
}
