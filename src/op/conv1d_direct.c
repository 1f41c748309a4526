/* Launches of cl/conv1d_direct.cl, which fit any device, and the costs of a convolution. */
#include "base/size.h"
#include "op/conv1d.h"
#include <string.h>

enum { PARTIAL = 64, MOST_SPLITS = 64 }; /* PARTIAL: as in cl/ */
enum { SIDE, SIDE_M, SIDE_N, DEPTH, BUFFERS };

/* ---- knobs ---- */

static ef__group group_of(const int *knob)
{
    const size_t side = (size_t)knob[SIDE];
    const size_t wide = side * (size_t)(knob[SIDE_M] + knob[SIDE_N]) + 8; /* both, padded */
    return (ef__group){side * side,
                       (size_t)knob[BUFFERS] * (size_t)knob[DEPTH] * wide * sizeof(float)};
}

ef__group ef__direct_group(const ef__device *device, const ef__args *args)
{
    (void)device;
    return group_of(args->knob);
}

/* The first values are for GPUs, as large a group as they allow in as much local memory. A CPU,
 * which has better variants, gets small tiles: they compile soon. */
void ef__direct_settle(const ef__device *device, int *knob)
{
    if (device->info.is_cpu) {
        knob[SIDE] = 8;
        knob[SIDE_M] = 4;
    }
    while (group_of(knob).items > device->info.max_work_group)
        knob[SIDE] /= 2;
    if (device->info.is_cpu || group_of(knob).local_bytes > device->info.local_bytes)
        knob[DEPTH] = 8;
    while (knob[SIDE] > 1 && group_of(knob).local_bytes > device->info.local_bytes)
        knob[SIDE] /= 2;
}

/* Sides of less than 8 are for devices that have no larger ones. */
bool ef__direct_valid(const ef__device *device, const ef__args *args)
{
    return args->knob[SIDE] >= 8 ||
           4 * (size_t)args->knob[SIDE] * (size_t)args->knob[SIDE] > device->info.max_work_group ||
           2 * group_of(args->knob).local_bytes > device->info.local_bytes;
}

/* ---- launches ---- */

/* A call over the tiles of an m x n matrix, all but its arguments. */
static ef__call tiled(const int *knob, const char *op, const char *kernel, size_t m, size_t n)
{
    const size_t side = (size_t)knob[SIDE];
    const size_t down = ef__ceil_div(m, side * (size_t)knob[SIDE_M]);
    const size_t across = ef__ceil_div(n, side * (size_t)knob[SIDE_N]);
    return (ef__call){
        .op = op,
        .source = "conv1d_direct",
        .kernel = kernel,
        .defines = {{"T", knob[SIDE]},
                    {"SIDE_M", knob[SIDE_M]},
                    {"SIDE_N", knob[SIDE_N]},
                    {"DEPTH", knob[DEPTH]},
                    {"BUFFERS", knob[BUFFERS]}},
        .global = {down * across * side, side},
        .local = {side, side},
    };
}

ef_status ef__conv1d_taps_direct(ef_actor *a, const char *op, const ef__args *args,
                                 ef__direction direction)
{
    const size_t *n = args->n, rows = n[EF__B] * n[EF__L], K = n[EF__K];
    size_t in = n[direction ? EF__COUT : EF__CIN], out = n[direction ? EF__CIN : EF__COUT];
    size_t across = n[EF__CIN] * K; /* from one output channel of w to the next */
    int64_t d = (int64_t)n[EF__D];
    const ef_epilogue *e = &args->epilogue;
    ef__call call = tiled(args->knob, op, "conv1d_taps_direct", rows, out);
    const ef__arg list[] = {
        ef__t(args->t[0]),
        ef__t(args->t[1]),
        ef__t(args->t[2]),
        ef__t(e->bias),
        ef__t(e->pre),
        ef__t(e->gelu_grad),
        ef__t(e->residual),
        ef__t(e->mask),
        ef__i((int32_t)rows),
        ef__i((int32_t)n[EF__L]),
        ef__i((int32_t)in),
        ef__i((int32_t)out),
        ef__i((int32_t)K),
        ef__n((size_t)(direction ? d : -d)),
        ef__n(direction ? K : across),
        ef__n(direction ? across : K),
        ef__i(ef__epilogue_parts(e)),
    };
    memcpy(call.args, list, sizeof list);
    return ef__launch(a, &call);
}

/* Rows of each split: so many splits that the device is busy, each of a few hundred rows at least.
 * A function of device and shape alone, so that sums repeat. */
static size_t span_of(const ef__device *device, const ef__call *call, size_t rows)
{
    size_t groups = call->global[0] / call->local[0];
    size_t splits = ef__ceil_div(4 * (size_t)device->info.compute_units, groups);
    size_t span = ef__ceil_div(rows, ef__min(splits, MOST_SPLITS));
    return ef__round_up(span < 4 * PARTIAL ? 4 * PARTIAL : span, PARTIAL);
}

ef_status ef__conv1d_dw_direct(ef_actor *a, const char *op, const ef__args *args)
{
    const ef__device *device = ef__device_of(a);
    const ef_tensor *dw = args->t[2], *db = args->t[3];
    const size_t *n = args->n, rows = n[EF__B] * n[EF__L];
    const size_t K = dw ? n[EF__K] : 0, N = K * n[EF__CIN] + (db ? 1 : 0);
    if (!rows || !N || !n[EF__COUT])
        return EF_OK;

    ef__call call = tiled(args->knob, op, "conv1d_dw_direct", n[EF__COUT], N);
    const size_t span = span_of(device, &call, rows), splits = ef__ceil_div(rows, span);
    const size_t sums[] = {splits, n[EF__COUT], N};
    ef_tensor *partial = NULL;
    ef_status status = EF_OK;
    if (splits > 1)
        status = ef_tensor_new(a, EF_F32, 3, sums, "conv1d.dw sums", &partial);
    if (status)
        return status;
    const ef__arg Cin = ef__i((int32_t)n[EF__CIN]), Cout = ef__i((int32_t)n[EF__COUT]);
    const ef__arg list[] = {
        ef__t(args->t[0]),
        ef__t(args->t[1]),
        ef__t(dw),
        ef__t(db),
        ef__t(partial),
        ef__i((int32_t)rows),
        ef__i((int32_t)n[EF__L]),
        Cin,
        Cout,
        ef__i((int32_t)K),
        ef__i((int32_t)N),
        ef__n((size_t) - (int64_t)n[EF__D]),
        ef__i((int32_t)span),
    };
    memcpy(call.args, list, sizeof list);
    call.global[2] = splits;
    call.local[2] = 1;
    status = ef__launch(a, &call);
    if (!status && partial) {
        ef__call sum = {.op = op,
                        .source = call.source,
                        .kernel = "conv1d_dw_sum",
                        .args = {ef__t(partial), ef__t(dw), ef__t(db), Cin, Cout, ef__i((int32_t)K),
                                 ef__i((int32_t)N), ef__i((int32_t)splits)}};
        memcpy(sum.defines, call.defines, sizeof sum.defines);
        ef__spread(a, &sum, N * n[EF__COUT]);
        status = ef__launch(a, &sum);
    }
    ef_tensor_free(partial);
    return status;
}

double ef__conv1d_flops(const ef__args *args)
{
    const size_t *n = args->n;
    return 2. * (double)(n[EF__B] * n[EF__L]) * (double)n[EF__CIN] * (double)n[EF__COUT] *
           (double)n[EF__K];
}

/* Elements of input and output. */
static double elements(const size_t *n)
{
    double rows = (double)(n[EF__B] * n[EF__L]);
    return rows * ((double)n[EF__CIN] + (double)n[EF__COUT]);
}

static double weights(const size_t *n)
{
    return (double)n[EF__CIN] * (double)n[EF__COUT] * (double)n[EF__K];
}

double ef__conv1d_taps_bytes(const ef__args *args)
{
    const ef_epilogue *e = &args->epilogue;
    const ef_tensor *parts[] = {e->bias, e->pre, e->gelu_grad, e->residual, e->mask};
    double bytes = 4 * (elements(args->n) + weights(args->n));

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i])
            bytes += (double)ef_tensor_bytes(parts[i]);
    return bytes;
}

double ef__conv1d_dw_bytes(const ef__args *args)
{
    const ef_tensor *db = args->t[3];
    double bias = db ? (double)ef_tensor_bytes(db) : 0;
    return 4 * (elements(args->n) + 2 * weights(args->n)) + 2 * bias;
}
