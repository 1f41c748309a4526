/* Launches of cl/conv1d.cl and conv1d_toom.cl, the kernels for CPU devices: work-groups of one
 * work-item, weights packed in panels. The knobs depend on the device alone; how much a group takes
 * is a run-time argument. */
#include "base/size.h"
#include "op/conv1d.h"
#include <string.h>

/* A register tile is rows x vectors vectors; the others are the most that a group may hold, in
 * tiles: their sums stay within 48 KB (dw: 192 KB) of private memory. */
typedef struct knobs {
    size_t rows, vectors, width, tiles, toom_tiles, sums, dw_tiles, dw_panels, dw_sums;
} knobs;

static knobs knobs_of(const ef__device *device)
{
    size_t vector = device->info.vector_width;
    knobs k = {.vectors = 2, .tiles = 8, .toom_tiles = 4, .dw_tiles = 16, .dw_panels = 8};
    k.rows = vector >= 16 ? 8 : 6;
    k.width = k.vectors * (vector >= 16 ? 16 : vector >= 8 ? 8 : 4);
    k.sums = 12288 / (k.rows * k.width);
    k.dw_sums = 4 * k.sums;
    return k;
}

size_t ef__panel_width(const ef__device *device)
{
    return knobs_of(device).width;
}

static ef__call call_of(const ef__device *device, const char *op, const char *source,
                        const char *kernel, size_t tiles, ef__define own)
{
    const knobs k = knobs_of(device);
    return (ef__call){
        .op = op,
        .source = source,
        .kernel = kernel,
        .defines = {{"ROWS", (long)k.rows},
                    {"PV", (long)k.vectors},
                    {"MAX_TILES", (long)tiles},
                    {"MAX_SUMS", (long)k.sums},
                    {"DW_TILES", (long)k.dw_tiles},
                    {"DW_PANELS", (long)k.dw_panels},
                    {"DW_SUMS", (long)k.dw_sums},
                    own},
        .local = {1, 1, 1},
    };
}

ef__call ef__panel_call(const ef__device *device, const char *op, const char *kernel)
{
    return call_of(device, op, "conv1d", kernel, knobs_of(device).tiles,
                   (ef__define){"PACK_ROWS", EF__PACK_ROWS});
}

static ef__call toom_call(const ef__device *device, const char *op, const char *kernel, size_t taps)
{
    return call_of(device, op, "conv1d_toom", kernel, knobs_of(device).toom_tiles,
                   (ef__define){"TAPS", (long)taps});
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

/* Tiles of rows x panels, at most so many tiles and tiles times panels. Halves the rows first: a
 * group copies its rows, weights it reads in place. */
static share taps_share(const ef__device *device, size_t m, size_t n, size_t tiles, size_t sums)
{
    share s = {even(m, tiles), 1};
    s.n = even(n, ef__min(16, sums / s.m));
    while (s.m * s.n > 1 && !is_busy(device, m, n, s)) {
        if (s.m > 2 || s.n == 1)
            s.m = even(m, s.m / 2);
        else
            s.n = even(n, s.n / 2);
    }
    return s;
}

/* Input channels x panels, for all slices: taps or points. */
static share dw_share(const ef__device *device, size_t m, size_t n, size_t slices)
{
    const knobs k = knobs_of(device);
    size_t room = k.dw_sums / slices;
    share s = {1, even(n, ef__min(k.dw_panels, room))};
    s.m = even(m, ef__min(k.dw_tiles, room / s.n));
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

/* Pairs of rows d apart in a sequence, counting those whose second row is past the end. */
static size_t pairs(const size_t *n)
{
    return n[EF__L] / (2 * n[EF__D]) * n[EF__D] + ef__min(n[EF__L] % (2 * n[EF__D]), n[EF__D]);
}

/* Products of a sequence's rows with taps: those that do not meet padding alone. */
static size_t products(const size_t *n)
{
    size_t sum = 0;
    for (size_t j = 0; j < n[EF__K] && j * n[EF__D] < n[EF__L]; j++)
        sum += n[EF__L] - j * n[EF__D];
    return sum;
}

/* Sums of fewer products are not left to Toom-Cook: its errors follow the neighbours of what an
 * element sums, and in a short sum of small numbers they show. */
enum { FEWEST_CHANNELS = 32, FEWEST_ROWS = 256 };

static bool toom_saves(const size_t *n)
{
    return (n[EF__K] == 3 || n[EF__K] == 5) && 5 * pairs(n) * (n[EF__K] + 1) <= 4 * products(n);
}

bool ef__conv1d_fits_taps_toom2(const ef__device *device, const ef__args *args)
{
    return ef__conv1d_fits_taps_panel(device, args) && toom_saves(args->n) &&
           ef__columns(args->t[0]) >= FEWEST_CHANNELS;
}

bool ef__conv1d_fits_dw_toom2(const ef__device *device, const ef__args *args)
{
    const size_t *n = args->n;
    return ef__conv1d_fits_dw_panel(device, args) && toom_saves(n) &&
           n[EF__B] * n[EF__L] >= FEWEST_ROWS;
}

/* outputs 1: tap by tap; 2: Toom-Cook. */
static ef_status taps(ef_actor *a, const char *op, const ef__args *args, ef__direction direction,
                      int outputs)
{
    const ef__device *device = ef__device_of(a);
    const knobs k = knobs_of(device);
    const size_t *n = args->n, rows = n[EF__B] * (outputs == 2 ? pairs(n) : n[EF__L]);
    const ef_epilogue *e = &args->epilogue;
    const size_t in = n[direction ? EF__COUT : EF__CIN], out = n[direction ? EF__CIN : EF__COUT];
    const size_t tiles = ef__ceil_div(rows, k.rows), panels = ef__ceil_div(out, k.width);
    const size_t most = outputs == 2 ? k.toom_tiles : k.tiles;
    const share s = taps_share(device, tiles, panels, most, k.sums / (size_t)outputs);
    const int32_t d = (int32_t)n[EF__D];
    ef_tensor *packed;

    ef_status status = ef__pack(a, op, args->t[1], (int)direction, outputs, &packed);
    if (status)
        return status;
    ef__call call = outputs == 2 ? toom_call(device, op, "conv1d_taps_toom2", n[EF__K])
                                 : ef__panel_call(device, op, "conv1d_taps_panel");
    call.global[0] = ef__ceil_div(tiles, s.m);
    call.global[1] = ef__ceil_div(panels, s.n);
    const ef__arg list[] = {
        ef__t(args->t[0]),
        ef__t(packed),
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
    memcpy(call.args, list, sizeof list);
    status = ef__launch(a, &call);
    ef_tensor_free(packed);
    return status;
}

ef_status ef__conv1d_taps_panel(ef_actor *a, const char *op, const ef__args *args,
                                ef__direction direction)
{
    return taps(a, op, args, direction, 1);
}

ef_status ef__conv1d_taps_toom2(ef_actor *a, const char *op, const ef__args *args,
                                ef__direction direction)
{
    return taps(a, op, args, direction, 2);
}

bool ef__conv1d_fits_dw_panel(const ef__device *device, const ef__args *args)
{
    return device->info.is_cpu && args->n[EF__CIN] > 0 &&
           args->n[EF__K] <= knobs_of(device).dw_sums;
}

static ef_status dw(ef_actor *a, const char *op, const ef__args *args, int outputs)
{
    const ef__device *device = ef__device_of(a);
    const size_t *n = args->n, K = n[EF__K], rows = n[EF__B] * n[EF__L];
    const bool flat = K == 1; /* without older taps all rows are one sequence */
    const size_t tiles = ef__ceil_div(n[EF__CIN], knobs_of(device).rows);
    const size_t panels = ef__ceil_div(n[EF__COUT], ef__panel_width(device));
    const share s = dw_share(device, tiles, panels, K + (size_t)outputs - 1);

    ef__call call = outputs == 2 ? toom_call(device, op, "conv1d_dw_toom2", K)
                                 : ef__panel_call(device, op, "conv1d_dw_panel");
    call.global[0] = ef__ceil_div(tiles, s.m);
    call.global[1] = ef__ceil_div(panels, s.n);
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
    memcpy(call.args, list, sizeof list);
    return ef__launch(a, &call);
}

ef_status ef__conv1d_dw_panel(ef_actor *a, const char *op, const ef__args *args)
{
    return dw(a, op, args, 1);
}

ef_status ef__conv1d_dw_toom2(ef_actor *a, const char *op, const ef__args *args)
{
    return dw(a, op, args, 2);
}
