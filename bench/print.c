/* One line for each thing timed: a JSON object, or a row of a table. */
#include "bench.h"
#include <stdio.h>

/* What limits the line's work, and how fast it was beside that. */
typedef struct rate {
    const char *unit;
    double value, ceiling;
} rate;

static ef_status rate_of(bench *b, const bench_line *line, rate *r)
{
    double fma, copy = 1, seconds = line->ms / 1e3;
    ef_status status = bench_ceiling_fma(b, &fma);
    if (!status && line->bytes > 0)
        status = bench_ceiling_copy(b, line->bytes, &copy);
    if (status)
        return status;
    if (line->flops / fma > line->bytes / copy)
        *r = (rate){"gflops", line->flops / seconds / 1e9, fma / 1e9};
    else
        *r = (rate){"gbytes", line->bytes / seconds / 1e9, copy / 1e9};
    return EF_OK;
}

static void print_json(const bench_line *line, const rate *r)
{
    printf("{\"item\": \"%s\", \"shape\": \"%s\", \"ms\": %.6g, \"%s\": %.6g, \"ceiling\": %.6g, "
           "\"peak_bytes\": %llu, \"verified\": %s",
           line->item, line->shape, line->ms, r->unit, r->value, r->ceiling,
           (unsigned long long)line->peak_bytes, line->verified ? "true" : "false");
    for (int i = 0; i < BENCH_NUMBERS && line->more[i].name; i++)
        printf(", \"%s\": %.6g", line->more[i].name, line->more[i].value);
    printf("}\n");
}

static void print_header(bench *b)
{
    if (b->has_header)
        return;
    b->has_header = true;
    printf("%s\n%-28s %-34s %10s %10s %6s %8s %9s\n", ef_actor_device(b->actor)->name, "item",
           "shape", "ms", "rate", "of", "peak MB", "verified");
}

static void print_row(bench *b, const bench_line *line, const rate *r)
{
    print_header(b);
    printf("%-28s %-34s %10.4g %7.4g %s %5.0f%% %8.4g %9s", line->item, line->shape, line->ms,
           r->value, r->unit[1] == 'f' ? "GF" : "GB", 100 * r->value / r->ceiling,
           (double)line->peak_bytes / 1e6, line->verified ? "yes" : "NO");
    for (int i = 0; i < BENCH_NUMBERS && line->more[i].name; i++)
        printf("%s%s %.4g", i ? ", " : "\n    ", line->more[i].name, line->more[i].value);
    printf("\n");
}

ef_status bench_print(bench *b, const bench_line *line)
{
    rate r;
    ef_status status = rate_of(b, line, &r);
    if (status)
        return status;
    if (b->json)
        print_json(line, &r);
    else
        print_row(b, line, &r);
    fflush(stdout);
    b->wrong |= !line->verified;
    return EF_OK;
}
