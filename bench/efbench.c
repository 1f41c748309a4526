/* efbench -- verify and time what the library does, item by item. */
#include "bench.h"
#include "cmd/options.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bench_item *run;
} items[] = {{"deferral", bench_deferral}, {"launch", bench_launch},     {"ops", bench_ops},
             {"encoder", bench_encoder},   {"generate", bench_generate}, {"start", bench_start}};

enum { ITEMS = sizeof items / sizeof *items };

static bench_item *find(const char *name)
{
    for (int i = 0; i < ITEMS; i++)
        if (!strcmp(items[i].name, name))
            return items[i].run;
    return NULL;
}

static bool is_among(const char *name, char **names)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* ---- actors ---- */

ef_status bench_open(bench *b, const char *debug, ef_actor **actor)
{
    if (debug)
        setenv("EF_DEBUG", debug, 1);
    ef_status status = ef_actor_open(b->device, actor, &b->error);
    unsetenv("EF_DEBUG");
    return status;
}

ef_status bench_force_plain(ef_actor *a)
{
    ef_status status = EF_OK;
    for (int id = 0; id < EF__OPS && !status; id++) {
        const ef__variant *v = ef__op_row(id)->variants;
        while (v + 1 < ef__op_row(id)->variants + EF__MAX_VARIANTS && v[1].name)
            v++;
        status = ef__op_force(a, id, v->name, NULL);
    }
    return status;
}

ef_status bench_count(ef_actor *a, ef_status (*run)(void *user), void *user, double *waits,
                      double *launches)
{
    ef_stats before, after;
    ef_status status = run(user); /* the first one may pack and build */
    ef_actor_stats(a, &before);
    if (!status)
        status = run(user);
    ef_actor_stats(a, &after);
    *waits = (double)(after.host_waits - before.host_waits);
    *launches = (double)(after.launches - before.launches);
    return status;
}

/* ---- the command ---- */

/* Run the named items; the status to exit with. */
static int run_items(bench *b, const char *command, char **names)
{
    int code = ef__open_device(command, b->device, &b->actor);
    ef_status status = EF_OK;
    if (code)
        return code;
    ef__warn_untuned(command, b->actor);
    for (; *names && !status; names++)
        status = find(*names)(b);
    if (status)
        code = ef__exit_code(status);
    else if (b->plot && bench_roofline_draw(b))
        code = EF__RUNTIME;
    free(b->points);
    ef_actor_close(b->actor);
    if (code)
        return ef__say_error(command, code, "%s", b->error.text);
    if (b->wrong)
        return ef__say_error(command, EF__RUNTIME, "not every result is right");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    bench b = {.rounds = 9};
    int operands = 0;
    const double most = 1 << 16;
    const ef__option options[] = {
        {"json", EF__FLAG, &b.json, .help = "one JSON object a line"},
        {"device", EF__TEXT, &b.device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {"rounds", EF__SIZE, &b.rounds, "N", 1, 101, .help = "a time is the median of so many"},
        {"model", EF__CHOICE, &b.model, "full|sample",
         .help = "of ops, encoder, generate, start; deferral times the sample, with full both"},
        {"batch", EF__SIZE, &b.batch, "B", 1, most, "the item's own", .help = "samples in a batch"},
        {"length", EF__SIZE, &b.length, "L", 1, most, "the item's own",
         .help = "positions of a sample"},
        {"plot", EF__TEXT, &b.plot, "FILE.svg", .fallback = "",
         .help = "draw what ops prints: rooflines, by gnuplot"},
        {"first-step", EF__FLAG, &b.first_step, .help = NULL},
        {0}};
    const ef__command command = {
        .name = "efbench",
        .usage = "[OPTION...] deferral|launch|ops|encoder|generate|start...",
        .about = "Verify and time this library. Items:\n"
                 "  deferral  a training step with one wait against a wait after every operation\n"
                 "  launch    one tiny operation: enqueued, waited for, read back\n"
                 "  ops       each operation at the model's shapes, each of its variants\n"
                 "  encoder   the model: encoding, and a training step\n"
                 "  generate  a decoder's next token, at position 10 and at 500\n"
                 "  start     a process, from its start to the end of its first training step\n",
        .options = options,
        .operands = &operands};
    ef__command_begin();
    unsetenv("EF_DEBUG"); /* it would be timed along */
    int code = ef__options_parse(&command, argc, argv);
    if (code >= 0)
        return code;
    if (b.first_step) {
        code = ef__exit_code(bench_first_step(&b));
        return ef__say_error("efbench", code, "%s", b.error.text);
    }
    if (operands == argc)
        return ef__say_error("efbench", EF__USAGE, "nothing to time (see --help)");
    for (int i = operands; i < argc; i++)
        if (!find(argv[i]))
            return ef__say_error("efbench", EF__USAGE, "no item is called \"%s\" (see --help)",
                                 argv[i]);
    if (b.plot && !is_among("ops", argv + operands))
        return ef__say_error("efbench", EF__USAGE, "--plot: draws ops, which is not to be timed");
    return ef__command_end("efbench", run_items(&b, "efbench", argv + operands));
}
