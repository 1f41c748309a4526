/* efdata info: what is in a file of samples, and what it will cost to train on. */
#include "cmd/efdata.h"
#include "cmd/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct settings {
    const char *path;
    size_t batch;
    bool json;
    ef_dataset_options read;
} settings;

/* Of lengths: their order statistics. */
typedef struct lengths {
    size_t least, p50, p90, p95, p99, most;
    double mean;
} lengths;

typedef struct report {
    lengths ids, kept;      /* as they are in the file; up to the last that the mask keeps */
    double plain, bucketed; /* share of a batch's positions that are padding; NAN: no ids */
    double least_norm, mean_norm, most_norm, mean_cos; /* of targets that are finite */
    size_t not_finite;
} report;

static int read_options(settings *s, int argc, char **argv)
{
    int first;
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"batch", EF__SIZE, &s->batch, "N", 1, INT32_MAX,
         .help = "samples in a batch, for the padding"},
        {"skip-bad", EF__FLAG, &s->read.skip_bad,
         .help = "JSONL: leave out lines that are no samples, and count them"},
        {"json", EF__FLAG, &s->json, .help = "one JSON object instead of lines"},
        {0}};
    int code = efdata_options("info FILE [OPTION...]", "Say what is in a file of samples.", table,
                              argc, argv, 1, "a file", &first);
    if (code < 0)
        s->path = argv[first];
    return code;
}

/* ---- lengths and padding ---- */

static int by_size(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* The least that so many hundredths of n are not above. */
static size_t percentile(const size_t *sorted, size_t n, size_t hundredths)
{
    return sorted[(n * hundredths + 99) / 100 - 1];
}

/* Sorts them. */
static lengths statistics(size_t *length, size_t n)
{
    double sum = 0;
    qsort(length, n, sizeof *length, by_size);
    for (size_t i = 0; i < n; i++)
        sum += (double)length[i];
    return (lengths){length[0],
                     percentile(length, n, 50),
                     percentile(length, n, 90),
                     percentile(length, n, 95),
                     percentile(length, n, 99),
                     length[n - 1],
                     sum / (double)n};
}

static int measure_padding(const settings *s, ef_dataset *data, bool bucket, double *share)
{
    const ef_loader_options o = {.batch = s->batch, .shuffle = true, .bucket = bucket, .seed = 1};
    ef_loader *loader = NULL;
    ef_batch b = {0};
    ef_error error = {0};
    double positions = 0, tokens = 0;
    ef_status status = ef_loader_new(data, &o, &loader, &error);
    while (!status && !(status = ef_loader_next(loader, &b, &error)) && b.B) {
        positions += (double)b.B * (double)b.L;
        tokens += (double)b.tokens;
        if (efdata_interrupted())
            status = EF_ECANCELLED;
    }
    ef_loader_free(loader);
    *share = 1 - tokens / positions;
    return status ? efdata_failed(status, false, &error) : 0;
}

/* ---- one pass over the samples, or two ---- */

typedef struct pass {
    ef_dataset *data;
    report *report;
    size_t *ids, *kept; /* [N] */
    double *mean;       /* [E] of the finite targets */
    double mean_norm;   /* of that */
    size_t finite;
} pass;

static double norm_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void add_sample(pass *p, size_t index, const ef_sample *s)
{
    size_t width = ef_dataset_width(p->data), kept = s->length;
    report *r = p->report;
    while (kept && !s->mask[kept - 1])
        kept--;
    p->ids[index] = s->length;
    p->kept[index] = kept;
    double norm = norm_of(s->target, width);
    if (!isfinite(norm)) { /* finite floats have a finite sum of squares in double */
        r->not_finite++;
        return;
    }
    for (size_t i = 0; i < width; i++)
        p->mean[i] += (double)s->target[i];
    r->least_norm = p->finite ? fmin(r->least_norm, norm) : norm;
    r->most_norm = fmax(r->most_norm, norm);
    r->mean_norm += norm;
    p->finite++;
}

static void end_first(pass *p)
{
    double sum = 0;
    for (size_t i = 0; i < ef_dataset_width(p->data); i++) {
        p->mean[i] /= (double)p->finite;
        sum += p->mean[i] * p->mean[i];
    }
    p->mean_norm = sqrt(sum);
    p->report->mean_norm /= (double)p->finite;
}

static void compare_sample(pass *p, size_t index, const ef_sample *s)
{
    size_t width = ef_dataset_width(p->data);
    double dot = 0, norm = norm_of(s->target, width);
    (void)index;
    if (!isfinite(norm))
        return;
    for (size_t i = 0; i < width; i++)
        dot += p->mean[i] * (double)s->target[i];
    p->report->mean_cos += dot / (fmax(norm, 1e-6) * fmax(p->mean_norm, 1e-6)) / (double)p->finite;
}

static int each_sample(pass *p, const char *path,
                       void (*take)(pass *p, size_t index, const ef_sample *sample))
{
    size_t count = ef_dataset_size(p->data);
    for (size_t i = 0; i < count; i++) {
        ef_sample sample;
        ef_error error = {0};
        if (!efdata_step((void *)path, i, count))
            return efdata_stopped();
        ef_status status = ef_dataset_read(p->data, i, &sample, &error);
        if (status)
            return efdata_failed(status, false, &error);
        take(p, i, &sample);
    }
    efdata_clear();
    return 0;
}

static int look(const settings *s, pass *p)
{
    size_t count = ef_dataset_size(p->data);
    report *r = p->report;
    int code = each_sample(p, s->path, add_sample);
    if (code)
        return code;
    end_first(p);
    code = each_sample(p, s->path, compare_sample);
    r->ids = statistics(p->ids, count);
    r->kept = statistics(p->kept, count);
    r->plain = r->bucketed = NAN;
    if (!code && !ef_dataset_bare(p->data))
        code = measure_padding(s, p->data, false, &r->plain);
    if (!code && !ef_dataset_bare(p->data))
        code = measure_padding(s, p->data, true, &r->bucketed);
    if (!p->finite)
        r->least_norm = r->mean_norm = r->most_norm = r->mean_cos = NAN;
    return code;
}

/* ---- printing ---- */

static void print_lengths(const char *name, const lengths *l)
{
    printf("%-16s mean %.1f, least %zu, 50 %% %zu, 90 %% %zu, 95 %% %zu, 99 %% %zu, most %zu\n",
           name, l->mean, l->least, l->p50, l->p90, l->p95, l->p99, l->most);
}

static void print_text(const settings *s, const ef_dataset *d, const report *r)
{
    printf("%-16s %s, %" PRIu64 " bytes%s\n", "file", ef_dataset_format(d), ef_dataset_bytes(d),
           ef_dataset_normalized(d) ? ", says that targets have norm 1" : "");
    printf("%-16s %zu, %zu with a text, %zu without ids, %zu lines left out\n", "samples",
           ef_dataset_size(d), ef_dataset_texts(d), ef_dataset_bare(d),
           ef_dataset_skipped(d, NULL));
    if (ef_dataset_longest(d)) {
        print_lengths("ids", &r->ids);
        print_lengths("  unmasked", &r->kept);
        printf("%-16s %" PRId32 "\n", "largest id", ef_dataset_max_id(d));
    }
    if (!ef_dataset_bare(d))
        printf("%-16s %.1f %% of the positions of batches of %zu, %.1f %% if bucketed\n", "padding",
               100 * r->plain, s->batch, 100 * r->bucketed);
    printf("%-16s width %zu, norms %.4g to %.4g, mean %.4g; %zu not finite\n", "targets",
           ef_dataset_width(d), r->least_norm, r->most_norm, r->mean_norm, r->not_finite);
    printf("%-16s cos %.4f with the targets, on average\n", "mean vector", r->mean_cos);
}

static json_int_t whole(uint64_t value)
{
    return (json_int_t)value;
}

static json_t *json_lengths(const lengths *l, bool there)
{
    return there ? json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:I}", "mean", ef__json_real(l->mean),
                             "least", whole(l->least), "p50", whole(l->p50), "p90", whole(l->p90),
                             "p95", whole(l->p95), "p99", whole(l->p99), "most", whole(l->most))
                 : json_null();
}

static void print_json(const settings *s, const ef_dataset *d, const report *r)
{
    bool ids = ef_dataset_longest(d) > 0;
    json_t *object = json_pack(
        "{s:s,s:s,s:I,s:b,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:{s:I,s:o,s:o},"
        "s:{s:I,s:I,s:o,s:o,s:o,s:o}}",
        "path", s->path, "format", ef_dataset_format(d), "bytes", whole(ef_dataset_bytes(d)),
        "normalized", ef_dataset_normalized(d), "samples", whole(ef_dataset_size(d)), "texts",
        whole(ef_dataset_texts(d)), "without_ids", whole(ef_dataset_bare(d)), "skipped",
        whole(ef_dataset_skipped(d, NULL)), "max_id",
        ids ? json_integer(ef_dataset_max_id(d)) : json_null(), "lengths",
        json_lengths(&r->ids, ids), "unmasked", json_lengths(&r->kept, ids), "padding", "batch",
        whole(s->batch), "plain", ef__json_real(r->plain), "bucketed", ef__json_real(r->bucketed),
        "targets", "width", whole(ef_dataset_width(d)), "not_finite", whole(r->not_finite),
        "least_norm", ef__json_real(r->least_norm), "mean_norm", ef__json_real(r->mean_norm),
        "most_norm", ef__json_real(r->most_norm), "mean_vector_cos", ef__json_real(r->mean_cos));
    json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(object);
}

static int inform(const settings *s, ef_dataset *data)
{
    size_t count = ef_dataset_size(data);
    report r = {0};
    pass p = {.data = data,
              .report = &r,
              .ids = malloc(count * sizeof *p.ids),
              .kept = malloc(count * sizeof *p.kept),
              .mean = calloc(ef_dataset_width(data), sizeof *p.mean)};
    int code = p.ids && p.kept && p.mean ? look(s, &p)
                                         : ef__say_error(EFDATA, EF__DEVICE, "out of memory");
    if (!code && s->json)
        print_json(s, data, &r);
    else if (!code)
        print_text(s, data, &r);
    free(p.ids);
    free(p.kept);
    free(p.mean);
    return code;
}

int efdata_info(int argc, char **argv)
{
    settings s = {.batch = 64, .read.not_finite = true};
    ef_dataset *data = NULL;
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    code = efdata_open(s.path, &s.read, &data);
    if (!code)
        code = inform(&s, data);
    ef_dataset_free(data);
    return code;
}
