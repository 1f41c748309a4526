/* eftrain -- train an encoder by distillation, a decoder by cross-entropy, or both. */
#include "cmd/eftrain.h"
#include "cmd/config.h"
#include "cmd/files.h"
#include "cmd/picture.h"
#include <signal.h>
#include <stdlib.h>

/* A picture that cannot be drawn is better known before the training than after it. */
static int check_plot(const eftrain_settings *s, const char *best)
{
    ef_error error;
    int code = ef__check_output(EFTRAIN, "--plot", s->plot, &s->run, best, s->log);
    if (!code && s->plot && ef__picture_check(s->plot, &error))
        code = ef__say_error(EFTRAIN, EF__RUNTIME, "%s", error.text);
    return code;
}

static int check_config(const eftrain_settings *s, const char *best)
{
    const ef__place config = {"--config", s->config};
    const ef__place written[] = {{"--save", s->run.save},
                                 {"--save's best model", best},
                                 {"--log-json", s->log},
                                 {"--plot", s->plot}};
    int code = 0;
    for (size_t i = 0; i < sizeof written / sizeof *written && !code; i++)
        code = ef__check_apart(EFTRAIN, written[i], &config, 1);
    return code;
}

/* Nothing is written before everything that is to be written was found apart from the rest. */
static int open_outputs(const eftrain_settings *s, eftrain_watch *w)
{
    char *best = s->run.save ? ef_train_best_path(s->run.save) : NULL;
    int code = check_config(s, best);
    if (!code)
        code = ef__check_saves(EFTRAIN, &s->run, best);
    if (!code)
        code = eftrain_log_open(s, best, &w->log);
    if (!code)
        code = check_plot(s, best);
    free(best);
    return code;
}

static int train(const eftrain_settings *s, ef_actor *actor, eftrain_watch *w)
{
    const ef_train_observer observer = eftrain_observe(w);
    ef_error error = {0};
    ef__progress_begin(&w->progress, EFTRAIN);
    ef_status status = ef_train(actor, &s->run, &observer, &error);
    return eftrain_say_result(w, status, &error);
}

static int dump(eftrain_settings *s)
{
    ef__option rows[EFTRAIN_ROWS];
    ef_error error;
    eftrain_table(s, rows);
    ef_status status = ef__config_write(rows, stdout, &error);
    return status ? ef__say_error(EFTRAIN, ef__exit_code(status), "%s", error.text) : 0;
}

/* All that can be said before a device is opened. */
static int prepare(eftrain_settings *s, eftrain_watch *w)
{
    int code = eftrain_check(s);
    if (!code)
        code = ef__check_inputs(EFTRAIN, &s->run);
    if (!code)
        code = open_outputs(s, w);
    if (!code)
        eftrain_settle(s);
    return code;
}

static int run(const eftrain_settings *s, eftrain_watch *w)
{
    ef_actor *actor = NULL;
    int code = ef__signals_catch(&w->signals, EFTRAIN);
    if (code)
        return code;
    code = ef__open_device(EFTRAIN, s->device, &actor);
    if (!code) {
        ef__warn_untuned(EFTRAIN, actor);
        code = train(s, actor, w);
    }
    ef_actor_close(actor);
    ef__signals_release(&w->signals);
    return code;
}

int main(int argc, char **argv)
{
    eftrain_settings s;
    eftrain_watch w = {.settings = &s};
    ef__command_begin();
    signal(SIGPIPE, SIG_IGN); /* a log that is not read any more fails as any other */
    int code = eftrain_read(&s, argc, argv);
    if (code < 0 && s.dump) {
        code = ef__command_end(EFTRAIN, dump(&s));
    } else if (code < 0) {
        code = prepare(&s, &w);
        if (!code)
            code = run(&s, &w);
        code = ef__command_end(EFTRAIN, eftrain_log_close(&s, &w.log, code));
    }
    eftrain_curve_free(&w.curve);
    json_decref(s.root);
    return code;
}
