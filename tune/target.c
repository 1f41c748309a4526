/* Operations, shapes, and the examples that have them. */
#include "target.h"
#include "base/size.h"
#include "op/conv1d.h"
#include "op/tuned.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "BLDHKVE"; /* of an example's sizes */

/* at: the letter that stands for each of the operation's sizes, in their order; d is the dilation,
 * which the caller of a convolution puts into args.n, - is 1. Another letter of the example is 1.
 * which: the example. */
typedef struct row {
    int id;
    const char *at;
    int which;
    unsigned accumulates;
    size_t least; /* width of the probes: the gradient of a narrower row is all rounding */
} row;

static const row table[] = {
    {EF__CONV1D_FORWARD, "BLDHKd", 0, 0, 0},
    {EF__CONV1D_DX, "BLDHKd", 0, 0, 0},
    {EF__CONV1D_DW, "BLDHKd", 0, 1 << 2 | 1 << 3, 0},
    {EF__LINEAR_FORWARD, "-BDE--", 0, 0, 0},
    {EF__LINEAR_DX, "-BDE--", 0, 0, 0},
    {EF__LINEAR_DW, "-BDE--", 0, 1 << 2 | 1 << 3, 0},
    {EF__LAYERNORM_FORWARD, "BD", 0, 0, 3},
    {EF__LAYERNORM_BACKWARD, "BD", 0, 1 << 8 | 1 << 9, 3},
    {EF__GELU_FORWARD, "H", 0, 0, 0},
    {EF__GELU_BACKWARD, "H", 0, 0, 0},
    {EF__MASKED_MEAN_FORWARD, "BLD", 0, 0, 0},
    {EF__MASKED_MEAN_BACKWARD, "BLD", 0, 0, 0},
    {TUNE_CLBLAST, "", 0, 0, 0},
};

enum { ROWS = sizeof table / sizeof *table };

static const row *row_of(int id)
{
    for (int i = 0; i < ROWS; i++)
        if (table[i].id == id)
            return &table[i];
    return NULL;
}

const char *tune_target_op(const tune_target *t)
{
    return t->id == TUNE_CLBLAST ? EF__TUNE_CLBLAST : ef__op_row(t->id)->name;
}

bool tune_is_product(const tune_target *t)
{
    return t->id != TUNE_CLBLAST && ef__op_variant(t->id, "clblast");
}

static const row *row_named(const char *op)
{
    for (int i = 0; i < ROWS; i++)
        if (!strcmp(tune_target_op(&(tune_target){.id = table[i].id}), op))
            return &table[i];
    return NULL;
}

bool tune_is_tunable(ef__op_id id)
{
    return row_of(id) != NULL;
}

bool tune_is_tunable_name(const char *op)
{
    return row_named(op) != NULL;
}

unsigned tune_accumulates(ef__op_id id)
{
    return row_of(id)->accumulates;
}

/* ---- text ---- */

void tune_target_text(const tune_target *t, char *text, size_t size)
{
    const row *r = row_of(t->id);
    int used = snprintf(text, size, "%s", tune_target_op(t));
    for (size_t i = 0; r->at[i] && (size_t)used < size; i++)
        if (r->at[i] != '-')
            used += snprintf(text + used, size - (size_t)used, " %c%zu", r->at[i], t->n[i]);
}

/* One word, "L128". */
static bool parse_size(const row *r, const char *word, tune_target *t)
{
    const char *at = strchr(r->at, *word);
    char *end;
    unsigned long long value = strtoull(word + 1, &end, 10);
    if (!at || *word == '-' || word[1] < '1' || word[1] > '9' || *end || value > INT32_MAX ||
        t->n[at - r->at] /* named before */)
        return false;
    t->n[at - r->at] = (size_t)value;
    return true;
}

bool tune_target_parse(const char *text, tune_target *t)
{
    char copy[256], *save, *word;
    const row *r;
    if ((size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy ||
        !(word = strtok_r(copy, " \t\n", &save)))
        return false;
    *t = (tune_target){.weight = 1};
    r = row_named(word);
    if (!r)
        return false;
    t->id = r->id;
    while ((word = strtok_r(NULL, " \t\n", &save)) != NULL)
        if (!parse_size(r, word, t))
            return false;
    size_t product = 1; /* no tensor has more elements */
    for (size_t i = 0; r->at[i]; i++) {
        if (r->at[i] == '-')
            t->n[i] = 1;
        if (t->n[i] == 0 || !ef__mul(product, t->n[i], &product))
            return false;
    }
    return product < SIZE_MAX / sizeof(double);
}

bool tune_target_read(json_t *line, tune_target *t)
{
    const char *op;
    json_t *n;
    json_int_t count;
    if (json_unpack(line, "{s:s, s:o, s:I}", "op", &op, "n", &n, "count", &count) || count <= 0)
        return false;
    *t = (tune_target){.weight = (double)count};
    const row *r = row_named(op);
    if (!r)
        return false;
    t->id = r->id;
    for (size_t i = 0; r->at[i]; i++) {
        json_int_t size = json_integer_value(json_array_get(n, i));
        if (size < 1 || size > INT32_MAX)
            return false;
        t->n[i] = (size_t)size;
    }
    return true;
}

/* ---- merging ---- */

static bool is_near(const tune_target *x, const tune_target *y)
{
    double sum = 0;
    if (x->id != y->id)
        return false;
    for (int i = 0; i < EF__MAX_SIZES; i++)
        if (x->n[i] && y->n[i])
            sum += fabs(log2((double)x->n[i] / (double)y->n[i]));
    return sum < 1;
}

static int heavier(const void *x, const void *y)
{
    double a = ((const tune_target *)x)->weight, b = ((const tune_target *)y)->weight;
    return (a < b) - (a > b);
}

size_t tune_targets_merge(tune_target *list, size_t count)
{
    size_t kept = 0;
    qsort(list, count, sizeof *list, heavier);
    for (size_t i = 0, k; i < count; i++) {
        for (k = 0; k < kept && !is_near(&list[k], &list[i]); k++)
            ;
        if (k < kept)
            list[k].weight += list[i].weight;
        else
            list[kept++] = list[i];
    }
    return kept;
}

/* ---- order ---- */

double tune_target_share(const tune_target *t)
{
    if (t->id == TUNE_CLBLAST)
        return 0;
    return t->weight * (t->id >= EF__CONV1D_FORWARD && t->id <= EF__LINEAR_DW ? 3 : 1);
}

static bool goes_before(const tune_target *x, const tune_target *y)
{
    if (x->id == TUNE_CLBLAST || y->id == TUNE_CLBLAST)
        return x->id == TUNE_CLBLAST && y->id != TUNE_CLBLAST;
    return tune_target_share(x) > tune_target_share(y);
}

size_t tune_targets_order(tune_target *list, size_t count, bool is_cpu)
{
    size_t kept = 0;
    for (size_t i = 0, k; i < count; i++) {
        const tune_target one = list[i];
        if (one.devices == (is_cpu ? TUNE_NO_CPUS : TUNE_CPUS))
            continue;
        for (k = kept++; k > 0 && goes_before(&one, &list[k - 1]); k--)
            list[k] = list[k - 1];
        list[k] = one;
    }
    return kept;
}

/* ---- cases ---- */

ef_status tune_case_make(bench_case *c, ef_actor *a, const tune_target *t, ef_error *error)
{
    const row *r = row_of(t->id);
    size_t model[EXAMPLE_SIZES] = {1, 1, 1, 1, 1, 1, 1}, n[EF__MAX_SIZES] = {0};
    for (size_t i = 0; r->at[i]; i++)
        if (r->at[i] == 'd')
            n[i] = t->n[i];
        else if (r->at[i] != '-')
            model[strchr(letters, r->at[i]) - letters] = t->n[i];
    return bench_case_make(c, a, t->id, r->which, model, n, error);
}

/* Taps and channels keep their kind: a variant may be there for a number of taps, and for long sums
 * alone. */
tune_target tune_probe(const tune_target *t, int probe)
{
    static const struct {
        char letter;
        size_t size[TUNE_PROBES];
    } sizes[] = {{'B', {3, 2, 1}},   {'L', {37, 17, 1}}, {'D', {67, 33, 1}},
                 {'H', {41, 65, 1}}, {'E', {29, 33, 1}}, {'d', {3, 5, 1}}};
    const row *r = row_of(t->id);
    tune_target p = *t;
    for (size_t i = 0; r->at[i]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            if (r->at[i] == sizes[k].letter) {
                p.n[i] = sizes[k].size[probe];
                if (sizes[k].letter == 'D' && p.n[i] < r->least)
                    p.n[i] = r->least;
            }
    return p;
}

/* ---- what is tuned by default: the models that README trains, at a few batch sizes ---- */

tune_target *tune_default_targets(int effort, size_t *count)
{
    static const struct {
        const char *shape;
        size_t size; /* that %zu is, for a sample */
    } shapes[] = {{"conv1d.forward B%zu L128 D256 H512 K5 d4", 1},
                  {"conv1d.dx B%zu L128 D256 H512 K5 d4", 1},
                  {"conv1d.dw B%zu L128 D256 H512 K5 d4", 1},
                  {"conv1d.forward B%zu L128 D512 H256 K1 d1", 1},
                  {"conv1d.dx B%zu L128 D512 H256 K1 d1", 1},
                  {"conv1d.dw B%zu L128 D512 H256 K1 d1", 1},
                  {"layernorm.forward B%zu D256", 128},
                  {"layernorm.backward B%zu D256", 128},
                  {"gelu.forward H%zu", 128 * 512},
                  {"gelu.backward H%zu", 128 * 512},
                  {"linear.forward B%zu D256 E768", 1},
                  {"linear.dx B%zu D256 E768", 1},
                  {"linear.dw B%zu D256 E768", 1},
                  {"masked_mean.forward B%zu L128 D256", 1},
                  {"masked_mean.backward B%zu L128 D256", 1}};
    /* A decoder's products with its vocabulary. CPUs have the own GEMM for them. */
    static const char *const large[] = {"linear.forward B2048 D256 E30522",
                                        "linear.dx B2048 D256 E30522",
                                        "linear.dw B2048 D256 E30522"};
    /* What is best for a GPU at 16 need not be at 64. */
    static const struct batch {
        size_t size;
        tune_devices devices;
    } few[] = {{16, TUNE_CPUS}, {64, TUNE_NO_CPUS}, {4, TUNE_NO_CPUS}},
      more[] = {{16, TUNE_ALL_DEVICES}, {64, TUNE_NO_CPUS}, {4, TUNE_ALL_DEVICES}};
    enum { SHAPES = sizeof shapes / sizeof *shapes, BATCHES = sizeof few / sizeof *few, LARGE = 3 };
    const struct batch *batch = effort ? more : few;
    tune_target *list = calloc(BATCHES * SHAPES + LARGE, sizeof *list);
    *count = 0;
    for (size_t b = 0; list && b < BATCHES; b++)
        for (int i = 0; i < SHAPES; i++) {
            char text[128];
            snprintf(text, sizeof text, shapes[i].shape, batch[b].size * shapes[i].size);
            tune_target_parse(text, &list[*count]);
            list[(*count)++].devices = batch[b].devices;
        }
    for (int i = 0; list && i < LARGE; i++) {
        tune_target_parse(large[i], &list[*count]);
        list[(*count)++].devices = TUNE_NO_CPUS;
    }
    return list;
}
