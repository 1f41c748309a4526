/* Launches of cl/conv1d.cl and conv1d_toom.cl, the kernels for CPU devices: work-groups of one
 * work-item, weights packed in panels. The knobs bound what a group holds and depend on the device
 * alone; how much a group takes is a run-time argument. */
#include "base/size.h"
#include "op/conv1d.h"
#include <string.h>

/* A register tile is rows x vectors vectors, width floats wide. A group holds at most so many tiles
 * of rows (dw: of input channels) and so many panels, and so many sums in tiles: with few tiles the
 * forward pass and dx take more panels than their knob says. */
typedef struct blocking {
    size_t rows, vectors, width, tiles, panels, sums;
} blocking;

enum { ROWS, VECTORS, TILES, PANELS };
enum { PARTIAL = 64, BUNDLES = 32 };                    /* as in cl/ */
enum { DW_SUMS = 192 << 10, DW_TOOM_SUMS = 384 << 10 }; /* bytes */
enum { MOST_PRIVATE = 640 << 10, MOST_PANELS = 16 };

size_t ef__lanes(const ef__device *device)
{
    size_t vector = device->info.vector_width;
    return vector >= 16 ? 16 : vector >= 8 ? 8 : 4;
}

/* Sums by slice: one, or a point each. */
static blocking taps_blocking(const ef__device *device, const int *knob, size_t slices)
{
    blocking b = {.rows = (size_t)knob[ROWS],
                  .vectors = (size_t)knob[VECTORS],
                  .width = (size_t)knob[VECTORS] * ef__lanes(device),
                  .tiles = (size_t)knob[TILES],
                  .panels = MOST_PANELS};
    b.sums = slices * b.tiles * (size_t)knob[PANELS];
    return b;
}

static blocking dw_blocking(const ef__device *device, const int *knob, size_t sums)
{
    blocking b = taps_blocking(device, knob, 1);
    b.panels = (size_t)knob[PANELS];
    b.sums = sums / (b.rows * b.width * sizeof(float));
    return b;
}

static ef__call call_of(const char *op, const char *source, const char *kernel, const blocking *b)
{
    return (ef__call){
        .op = op,
        .source = source,
        .kernel = kernel,
        .defines = {{"ROWS", (long)b->rows},
                    {"PV", (long)b->vectors},
                    {"MAX_TILES", (long)b->tiles},
                    {"MAX_PANELS", (long)b->panels},
                    {"MAX_SUMS", (long)b->sums}},
        .local = {1, 1, 1},
    };
}

static ef__call toom_call(const char *op, const char *kernel, const blocking *b, size_t outputs,
                          size_t K)
{
    ef__call call = call_of(op, "conv1d_toom", kernel, b);
    call.defines[5] = (ef__define){"OUTPUTS", (long)outputs};
    call.defines[6] = (ef__define){"TAPS", (long)K};
    return call;
}

/* ---- a group's share of an m x n grid of tiles ---- */

typedef struct share {
    size_t m, n;
} share;

/* The parts of n, each at most most, made equal. */
static size_t even(size_t n, size_t most)
{
    return ef__ceil_div(n, ef__ceil_div(n, most ? most : 1));
}

static bool is_busy(const ef__device *device, size_t m, size_t n, share s)
{
    size_t groups = ef__ceil_div(m, s.m) * ef__ceil_div(n, s.n);
    return groups >= 4 * (size_t)device->info.compute_units;
}

/* How long m x n tiles take in groups of s, in tiles: a group costs a row of tiles by itself. */
static size_t rounds(const ef__device *device, size_t m, size_t n, share s)
{
    size_t groups = ef__ceil_div(m, s.m) * ef__ceil_div(n, s.n);
    return ef__ceil_div(groups, device->info.compute_units) * (s.m + 1) * s.n;
}

/* Weights so large are read from memory for each group's rows. */
static bool is_large(const size_t *n)
{
    enum { LARGE = 1 << 20 };
    return n[EF__CIN] * n[EF__COUT] * n[EF__K] > LARGE;
}

static bool halves_rows(size_t m, size_t n, share s, const blocking *b, bool large)
{
    if (s.m == 1 || s.n == 1)
        return s.n == 1;
    return large ? ef__ceil_div(m, s.m) * n * b->width <= ef__ceil_div(n, s.n) * m * b->rows
                 : s.m > 2;
}

/* Tiles of rows x panels. Halves the rows first, which a group copies, while it reads weights in
 * place; with large ones so that all groups together read least. Takes fewer rows where the last
 * round would leave compute units idle. */
static share taps_share(const ef__device *device, size_t m, size_t n, const blocking *b,
                        size_t slices, bool large)
{
    share s = {even(m, b->tiles), 1};
    s.n = even(n, ef__min(b->panels, b->sums / slices / s.m));
    while (s.m * s.n > 1 && !is_busy(device, m, n, s)) {
        if (halves_rows(m, n, s, b, large))
            s.m = even(m, s.m / 2);
        else
            s.n = even(n, s.n / 2);
    }
    for (share less = {s.m - 1, s.n}; less.m > 0; less.m--)
        if (rounds(device, m, n, less) < rounds(device, m, n, s))
            s.m = less.m;
    return s;
}

/* Input channels x panels, for all slices: taps or points. */
static share dw_share(const ef__device *device, size_t m, size_t n, const blocking *b,
                      size_t slices)
{
    const size_t room = b->sums / slices;
    share s = {1, even(n, ef__min(b->panels, room))};
    s.m = even(m, ef__min(b->tiles, room / s.n));
    while (s.m * s.n > 1 && !is_busy(device, m, n, s)) {
        if (s.m > s.n)
            s.m = even(m, s.m / 2);
        else
            s.n = even(n, s.n / 2);
    }
    return s;
}

/* ---- launches ---- */

bool ef__conv1d_fits_taps_panel(const ef__device *device, const ef__args *args)
{
    const ef_epilogue *e = &args->epilogue;
    bool one = !e->pre || !e->gelu_grad; /* they are one argument of the kernel */
    return device->info.is_cpu && one && args->n[EF__CIN] > 0 && args->n[EF__COUT] > 0;
}

/* Bundles of so many rows d apart in a sequence, also those whose last rows are past the end. */
static size_t bundles(const size_t *n, size_t outputs)
{
    const size_t rows = outputs * n[EF__D];
    return n[EF__L] / rows * n[EF__D] + ef__min(n[EF__L] % rows, n[EF__D]);
}

size_t ef__conv1d_bundle(const size_t *n, size_t t, size_t outputs)
{
    return t / (outputs * n[EF__D]) * (outputs * n[EF__D]) + t % n[EF__D];
}

/* Products of a sequence's rows with taps: those that do not meet padding alone. */
static size_t products(const size_t *n)
{
    size_t sum = 0;
    for (size_t j = 0; j < n[EF__K] && j * n[EF__D] < n[EF__L]; j++)
        sum += n[EF__L] - j * n[EF__D];
    return sum;
}

/* Whether tiles of so many rows that are taken across sequences meet padding alone so much more
 * often that it is worth reading rows that are L apart. */
static bool goes_across(const size_t *n, size_t rows)
{
    size_t sum = 0; /* of products, where tiles go along a sequence */
    for (size_t j = 0; j < n[EF__K] && j * n[EF__D] < n[EF__L]; j++)
        sum += ef__min(n[EF__L], n[EF__L] - j * n[EF__D] + rows - 1);
    return n[EF__B] >= rows && 10 * products(n) <= 9 * sum;
}

/* Sums of fewer products are not left to Toom-Cook: its errors follow the neighbours of what an
 * element sums, and in a short sum of small numbers they show. */
enum { FEWEST_CHANNELS = 32, FEWEST_ROWS = 256 };

/* Bundles are counted in tiles of at most 8 of them: few rows do not fill one. */
static bool toom_saves(const size_t *n, size_t outputs)
{
    const size_t work = ef__round_up(n[EF__B] * bundles(n, outputs), 8) * (n[EF__K] + outputs - 1);
    return (n[EF__K] == 3 || n[EF__K] == 5) && 5 * work <= 4 * n[EF__B] * products(n);
}

bool ef__conv1d_fits_taps_toom(const ef__device *device, const ef__args *args, size_t outputs)
{
    return ef__conv1d_fits_taps_panel(device, args) && toom_saves(args->n, outputs) &&
           ef__columns(args->t[0]) >= FEWEST_CHANNELS;
}

/* Large weights without older taps are read for dx as they are, if in whole panels: to pack them
 * takes as long as a tenth of the product of 512 rows, and as much memory as they do. */
static bool reads_in_place(const ef__args *args, ef__direction direction, size_t outputs,
                           size_t width)
{
    const size_t *n = args->n;
    return direction == EF__BACKWARD && outputs == 1 && n[EF__K] == 1 && n[EF__CIN] % width == 0 &&
           is_large(n);
}

static ef_status taps(ef_actor *a, const ef__args *args, ef__direction direction, size_t outputs,
                      const blocking *b, ef__call *call)
{
    const ef__device *device = ef__device_of(a);
    const size_t *n = args->n, rows = n[EF__B] * bundles(n, outputs);
    const ef_epilogue *e = &args->epilogue;
    const size_t in = n[direction ? EF__COUT : EF__CIN], out = n[direction ? EF__CIN : EF__COUT];
    const size_t tiles = ef__ceil_div(rows, b->rows), panels = ef__ceil_div(out, b->width);
    const share s = taps_share(device, tiles, panels, b, outputs == 1 ? 1 : n[EF__K] + outputs - 1,
                               is_large(n));
    const int32_t d = (int32_t)n[EF__D];
    const bool in_place = reads_in_place(args, direction, outputs, b->width);
    ef_tensor *packed = NULL;

    ef_status status = EF_OK;
    if (!in_place)
        status = ef__pack(a, call->op, args->t[1], (int)direction, outputs, b->vectors, &packed);
    if (status)
        return status;
    call->global[0] = ef__ceil_div(tiles, s.m);
    call->global[1] = ef__ceil_div(panels, s.n);
    const ef__arg list[] = {
        ef__t(args->t[0]),
        ef__t(in_place ? args->t[1] : packed),
        ef__t(args->t[2]),
        ef__t(e->bias),
        ef__t(e->pre ? e->pre : e->gelu_grad),
        ef__t(e->residual),
        ef__t(e->mask),
        ef__i((int32_t)n[EF__B]),
        ef__i((int32_t)n[EF__L]),
        ef__i((int32_t)in),
        ef__i((int32_t)out),
        ef__i((int32_t)n[EF__K]),
        ef__i(direction ? d : -d),
        ef__i((int32_t)s.m),
        ef__i((int32_t)s.n),
        ef__i(ef__epilogue_parts(e)),
    };
    memcpy(call->args, list, sizeof list);
    if (outputs == 1) { /* the strides of the weights' rows and panels, the order of rows */
        ef__arg *more = call->args + sizeof list / sizeof *list;
        more[0] = ef__i((int32_t)(in_place ? out : b->width));
        more[1] = ef__n(in_place ? b->width : n[EF__K] * in * b->width);
        more[2] = ef__i(goes_across(n, b->rows));
    }
    status = ef__launch(a, call);
    ef_tensor_free(packed);
    return status;
}

ef_status ef__conv1d_taps_panel(ef_actor *a, const char *op, const ef__args *args,
                                ef__direction direction)
{
    const blocking b = taps_blocking(ef__device_of(a), args->knob, 1);
    ef__call call = call_of(op, "conv1d", "conv1d_taps_panel", &b);
    return taps(a, args, direction, 1, &b, &call);
}

ef_status ef__conv1d_taps_toom(ef_actor *a, const char *op, const ef__args *args,
                               ef__direction direction, size_t outputs)
{
    const size_t K = args->n[EF__K];
    const blocking b = taps_blocking(ef__device_of(a), args->knob, K + outputs - 1);
    const char *kernel = outputs == 2 ? "conv1d_taps_toom2" : "conv1d_taps_toom4";
    ef__call call = toom_call(op, kernel, &b, outputs, K);
    return taps(a, args, direction, outputs, &b, &call);
}

bool ef__conv1d_fits_dw_panel(const ef__device *device, const ef__args *args)
{
    enum { MOST_TAPS = 128 }; /* a group has room for a tile of each, whatever the knobs are */
    return device->info.is_cpu && args->n[EF__CIN] > 0 && args->n[EF__K] <= MOST_TAPS;
}

bool ef__conv1d_fits_dw_toom(const ef__device *device, const ef__args *args, size_t outputs)
{
    const size_t *n = args->n;
    return ef__conv1d_fits_dw_panel(device, args) && toom_saves(n, outputs) &&
           n[EF__B] * n[EF__L] >= FEWEST_ROWS;
}

static ef_status dw(ef_actor *a, const ef__args *args, size_t slices, const blocking *b,
                    ef__call *call)
{
    const size_t *n = args->n, K = n[EF__K], rows = n[EF__B] * n[EF__L];
    const bool flat = K == 1; /* without older taps all rows are one sequence */
    const size_t tiles = ef__ceil_div(n[EF__CIN], b->rows);
    const size_t panels = ef__ceil_div(n[EF__COUT], b->width);
    const share s = dw_share(ef__device_of(a), tiles, panels, b, slices);

    call->global[0] = ef__ceil_div(tiles, s.m);
    call->global[1] = ef__ceil_div(panels, s.n);
    const ef__arg list[] = {
        ef__t(args->t[0]),
        ef__t(args->t[1]),
        ef__t(args->t[2]),
        ef__t(args->t[3]),
        ef__i((int32_t)(flat ? 1 : n[EF__B])),
        ef__i((int32_t)(flat ? rows : n[EF__L])),
        ef__i((int32_t)n[EF__CIN]),
        ef__i((int32_t)n[EF__COUT]),
        ef__i((int32_t)K),
        ef__i((int32_t)n[EF__D]),
        ef__i((int32_t)s.m),
        ef__i((int32_t)s.n),
    };
    memcpy(call->args, list, sizeof list);
    return ef__launch(a, call);
}

ef_status ef__conv1d_dw_panel(ef_actor *a, const char *op, const ef__args *args)
{
    const blocking b = dw_blocking(ef__device_of(a), args->knob, DW_SUMS);
    ef__call call = call_of(op, "conv1d", "conv1d_dw_panel", &b);
    return dw(a, args, args->n[EF__K], &b, &call);
}

ef_status ef__conv1d_dw_toom(ef_actor *a, const char *op, const ef__args *args, size_t outputs)
{
    const size_t K = args->n[EF__K];
    const blocking b = dw_blocking(ef__device_of(a), args->knob, DW_TOOM_SUMS);
    const char *kernel = outputs == 2 ? "conv1d_dw_toom2" : "conv1d_dw_toom4";
    ef__call call = toom_call(op, kernel, &b, outputs, K);
    return dw(a, args, K + outputs - 1, &b, &call);
}

/* ---- knobs ---- */

/* As many registers as the tile takes: its sums, a row of weights and what is broadcast. Fewer than
 * 8 sums do not hide how long a multiply-add takes. */
static bool fits_registers(const ef__device *device, const blocking *b)
{
    const size_t registers = ef__lanes(device) == 16 ? 32 : 16;
    return b->rows * b->vectors >= 8 && (b->rows + 1) * b->vectors + 1 <= registers;
}

static bool valid_taps(const ef__device *device, const ef__args *args, size_t slices)
{
    const blocking b = taps_blocking(device, args->knob, slices);
    const size_t depth = slices == 1 ? 2 * PARTIAL : PARTIAL;
    const size_t block = slices * b.tiles * b.rows * depth, sums = b.sums * b.rows * b.width;
    return fits_registers(device, &b) && (block + sums) * sizeof(float) <= MOST_PRIVATE;
}

/* So many rows at so many points are copied at a time. */
static bool valid_dw(const ef__device *device, const ef__args *args, size_t rows, size_t slices,
                     size_t sums)
{
    const blocking b = dw_blocking(device, args->knob, sums);
    const size_t block = rows * (b.tiles * b.rows + b.panels * b.width);
    return fits_registers(device, &b) && slices <= b.sums &&
           block * sizeof(float) + sums <= MOST_PRIVATE;
}

void ef__conv1d_settle_taps(const ef__device *device, int *knob)
{
    if (ef__lanes(device) == 16) {
        knob[ROWS] = 8;
        knob[PANELS] = 6;
    }
}

void ef__conv1d_settle_dw(const ef__device *device, int *knob)
{
    if (ef__lanes(device) == 16)
        knob[ROWS] = 8;
}

void ef__conv1d_settle_dw_toom(const ef__device *device, int *knob)
{
    if (ef__lanes(device) == 16) {
        knob[ROWS] = 8;
        knob[TILES] = 8;
        knob[PANELS] = 4;
    }
}

bool ef__conv1d_valid_taps_panel(const ef__device *device, const ef__args *args)
{
    return valid_taps(device, args, 1);
}

bool ef__conv1d_valid_taps_toom(const ef__device *device, const ef__args *args, size_t outputs)
{
    return valid_taps(device, args, args->n[EF__K] + outputs - 1);
}

bool ef__conv1d_valid_dw_panel(const ef__device *device, const ef__args *args)
{
    return valid_dw(device, args, PARTIAL, args->n[EF__K], DW_SUMS);
}

bool ef__conv1d_valid_dw_toom(const ef__device *device, const ef__args *args, size_t outputs)
{
    const size_t points = args->n[EF__K] + outputs - 1;
    return valid_dw(device, args, BUNDLES * points, points, DW_TOOM_SUMS);
}
