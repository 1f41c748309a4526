#include "cmd/progress.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const double BAR_EVERY = 0.1, LINE_EVERY = 5; /* seconds */
enum { SHORTEST_BAR = 5, LONGEST_BAR = 40 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int columns(void)
{
    struct winsize size;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : 80;
}

/* 1:02:03 or 2:03 */
static void format_time(char *text, size_t room, double seconds)
{
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, room, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, room, "%lu:%02lu", s / 60, s % 60);
}

void ef__progress_begin(ef__progress *p, const char *command)
{
    *p = (ef__progress){.command = command, .terminal = isatty(STDERR_FILENO), .shown = now()};
}

void ef__progress_clear(ef__progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

void ef__progress_note(ef__progress *p, const char *text)
{
    ef__progress_clear(p);
    fprintf(stderr, "%s: %s\n", p->command, text);
}

bool ef__progress_due(ef__progress *p)
{
    const double time = now();
    if (time - p->shown < (p->terminal ? BAR_EVERY : LINE_EVERY))
        return false;
    p->shown = time;
    return true;
}

void ef__progress_show(ef__progress *p, const char *text)
{
    const int width = columns() - 1;
    if (p->terminal)
        fprintf(stderr, "\r%.*s\033[K", width, text);
    else
        fprintf(stderr, "%s: %s\n", p->command, text);
    p->drawn = p->terminal;
}

void ef__progress_share(ef__progress *p, const char *what, uint64_t done, uint64_t all)
{
    char text[256];
    if (!ef__progress_due(p))
        return;
    snprintf(text, sizeof text, "%s: %.0f %%", what, all ? 100 * (double)done / (double)all : 100);
    ef__progress_show(p, text);
}

/* What a kind of step measures. */
static const char *const errors[] = {[EF_ENCODER] = "mse", [EF_DECODER] = "ce"};
static const char *const likenesses[] = {[EF_ENCODER] = "cos", [EF_DECODER] = "accuracy"};

static double error_of(const ef_step_report *s)
{
    return s->kind == EF_ENCODER ? s->mse : s->ce;
}

static double likeness_of(const ef_step_report *s)
{
    return s->kind == EF_ENCODER ? s->cos : s->accuracy;
}

static void draw_bar(ef__progress *p, const ef_step_report *s, const char *eta)
{
    char head[64], tail[160], bar[LONGEST_BAR + 1] = "";
    snprintf(head, sizeof head, "epoch %" PRIu64 "/%" PRIu64, s->epoch, s->epochs);
    snprintf(tail, sizeof tail, "%.0f samples/s lr %.2g %s %.3g %s %.4f ETA %s", s->samples_per_s,
             s->lr, errors[s->kind], error_of(s), likenesses[s->kind], likeness_of(s), eta);
    int width = columns() - 1, room = width - (int)(strlen(head) + strlen(tail)) - 4;
    size_t length = room > LONGEST_BAR ? LONGEST_BAR : room < SHORTEST_BAR ? 0 : (size_t)room;
    size_t full = s->steps ? (size_t)((double)length * (double)s->step / (double)s->steps) : 0;
    memset(bar, '-', length);
    memset(bar, '#', full > length ? length : full);
    char line[sizeof head + sizeof tail + sizeof bar + 8];
    snprintf(line, sizeof line, length ? "%s [%s] %s" : "%s%s %s", head, bar, tail);
    ef__progress_show(p, line);
}

void ef__progress_step(ef__progress *p, const ef_step_report *s)
{
    char text[128], eta[32];
    p->epochs = s->epochs;
    if (s->skipped) {
        snprintf(text, sizeof text,
                 "step %" PRIu64 " is skipped: its loss or gradient is not finite", s->step);
        ef__progress_note(p, text);
    } else {
        p->error[s->kind] += error_of(s);
        p->likeness[s->kind] += likeness_of(s);
        p->steps[s->kind]++;
    }
    if (!ef__progress_due(p))
        return;
    format_time(eta, sizeof eta, s->eta_s);
    if (p->terminal)
        draw_bar(p, s, eta);
    else
        fprintf(stderr,
                "epoch %" PRIu64 "/%" PRIu64 " step %" PRIu64 "/%" PRIu64
                ": %.0f samples/s, lr %.2g, %s %.4g, %s %.4f, ETA %s\n",
                s->epoch, s->epochs, s->step, s->steps, s->samples_per_s, s->lr, errors[s->kind],
                error_of(s), likenesses[s->kind], likeness_of(s), eta);
}

/* counted: say how many steps there were, too. */
static void print_means(const ef__progress *p, ef_model_kind kind, bool counted)
{
    double n = (double)p->steps[kind];
    if (n == 0)
        return;
    if (counted)
        fprintf(stderr, "%.0f %s steps: ", n, kind == EF_ENCODER ? "A" : "B");
    fprintf(stderr, "mean %s %.4g, %s %.4f, ", errors[kind], p->error[kind] / n, likenesses[kind],
            p->likeness[kind] / n);
}

static void print_held_out(const ef_epoch_report *e)
{
    fprintf(stderr, "held-out ");
    if (e->mode != EF_MODE_DECODER)
        fprintf(stderr, "mse %.4g, cos %.4f", e->val_mse, e->val_cos);
    if (e->mode == EF_MODE_COMBINED)
        fprintf(stderr, ", ");
    if (e->mode != EF_MODE_ENCODER)
        fprintf(stderr, "ce %.4g, accuracy %.4f", e->val_ce, e->val_accuracy);
    fprintf(stderr, "%s, ", e->best ? " (best)" : "");
}

void ef__progress_epoch(ef__progress *p, const ef_epoch_report *e)
{
    ef__progress_clear(p);
    fprintf(stderr, "epoch %" PRIu64 "/%" PRIu64 " done: ", e->epoch, p->epochs);
    for (int k = 0; k < EF__STEP_KINDS; k++)
        print_means(p, k, e->mode == EF_MODE_COMBINED);
    if (e->has_val)
        print_held_out(e);
    fprintf(stderr, "%.0f samples/s, %.1f s\n", e->samples_per_s, e->seconds);
    for (int k = 0; k < EF__STEP_KINDS; k++) {
        p->error[k] = p->likeness[k] = 0;
        p->steps[k] = 0;
    }
}
