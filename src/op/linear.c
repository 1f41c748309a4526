/* Linear: CLBlast's SGEMM, or the convolution kernels at K = 1. Sizes n as in op/conv1d.h.
 *
 * CLBlast's caches and parameters belong to the process and race before 1.6.1, so one lock guards
 * all calls into it: with the list of parameters under it, the library's only mutable state at file
 * scope. Untuned, CPU devices take the library's own kernels and others CLBlast;
 * EF_LINEAR=clblast|own decides for all. */
#include "actor/cl.h"
#include "base/rng.h"
#include "base/size.h"
#include "op/clblast.h"
#include "op/conv1d.h"
#include <clblast_c.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t clblast_lock = PTHREAD_MUTEX_INITIALIZER;

/* A device whose parameters were adopted; it stays until the process ends. */
typedef struct adopted {
    struct adopted *next;
    cl_device_id device;
    ef__clblast_set set;
    bool checked;
    double worst; /* that was found then: of an element's error over its bound */
} adopted;

static adopted *adopted_devices; /* under the lock */

/* ---- rules ---- */

static ef_status want_rows(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                           const size_t *n, size_t channels)
{
    char text[80];
    if (ef__rows(t) == n[EF__L] && ef__columns(t) == channels)
        return EF_OK;
    return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s is %s, expected %zu rows of %zu", op, name,
                    ef__tensor_text(t, text), n[EF__L], channels);
}

/* n from the rows of a tensor and from the weight [O,I]. */
static ef_status measure(ef_actor *a, const char *op, ef__args *args, const char *name,
                         const ef_tensor *w, const ef_tensor *rows)
{
    size_t *n = args->n;
    ef_status status = ef__want_rank(a, op, name, w, 2);
    if (status)
        return status;
    n[EF__B] = n[EF__K] = n[EF__D] = 1;
    n[EF__L] = ef__rows(rows);
    n[EF__COUT] = ef_tensor_dims(w)[0];
    n[EF__CIN] = ef_tensor_dims(w)[1];
    return ef__conv1d_want_extents(a, op, n);
}

static ef_status check_forward(ef_actor *a, const char *op, ef__args *args)
{
    ef_status status = measure(a, op, args, "w", args->t[1], args->t[0]);
    return status ? status : ef__conv1d_check_taps(a, op, args, EF__FORWARD, want_rows);
}

static ef_status check_dx(ef_actor *a, const char *op, ef__args *args)
{
    ef_status status = measure(a, op, args, "w", args->t[1], args->t[0]);
    return status ? status : ef__conv1d_check_taps(a, op, args, EF__BACKWARD, want_rows);
}

static ef_status check_dw(ef_actor *a, const char *op, ef__args *args)
{
    ef_status status = measure(a, op, args, "dw", args->t[2], args->t[0]);
    return status ? status : ef__conv1d_check_dw(a, op, args, want_rows);
}

/* ---- CLBlast ---- */

/* c [m,n] = op(a) op(b) + beta c, row-major, k products each. */
typedef struct gemm {
    const ef_tensor *a, *b, *c;
    bool a_transposed, b_transposed;
    size_t m, n, k;
    float beta;
} gemm;

static bool pinned(const char *kind)
{
    const char *pin = getenv("EF_LINEAR");
    return pin && !strcmp(pin, kind);
}

/* Its built-in parameters take groups of up to 256, and it prints when they do not fit. */
static bool fits_clblast(const ef__device *device, const ef__args *args)
{
    return !pinned("own") && device->info.max_work_group >= 256 && args->n[EF__L] &&
           args->n[EF__CIN] && args->n[EF__COUT];
}

static ef_status clblast_failed(ef_actor *a, const char *op, const char *function, int code)
{
    if (code == CLBlastOpenCLBuildProgramFailure)
        return ef__fail(a, EF_EBUILD, code, op, "%s: %s: a kernel of CLBlast does not build", op,
                        function);
    return ef__cl_fail(a, op, function, code);
}

/* CLBlast enqueues the product alone where it wants no scratch. Else it first makes padded copies
 * of what is not in its layout, of c too if beta needs it, and copies c back: this many at most. */
static unsigned launches(const gemm *g, size_t scratch_bytes)
{
    return scratch_bytes == 0 ? 1 : g->beta != 0 ? 5 : 4;
}

/* ---- CLBlast's parameters; all under the lock ---- */

int ef__clblast_version(void)
{
    return CLBLAST_VERSION_MAJOR * 10000 + CLBLAST_VERSION_MINOR * 100 + CLBLAST_VERSION_PATCH;
}

const char *ef__clblast_source(void)
{
    return "CLBlast " EF_CLBLAST_VERSION;
}

static cl_device_id device_of(ef_actor *a)
{
    cl_device_id device = NULL;
    clGetCommandQueueInfo(ef__queue(a), CL_QUEUE_DEVICE, sizeof device, &device, NULL);
    return device;
}

static ef_status override(ef_actor *a, const ef__clblast_set *set)
{
    for (ef__clblast_id id = 0; id < EF__CLBLAST_IDS; id++) {
        const char *names[EF__CLBLAST_PARAMETERS];
        size_t values[EF__CLBLAST_PARAMETERS], count = ef__clblast_count(id);
        if (!set->has[id])
            continue;
        for (size_t i = 0; i < count; i++) {
            names[i] = ef__clblast_parameters(id)[i].name;
            values[i] = (size_t)set->value[id][i];
        }
        int code = CLBlastOverrideParameters(device_of(a), ef__clblast_kernel(id),
                                             CLBlastPrecisionSingle, count, names, values);
        if (code)
            return clblast_failed(a, "clblast", "CLBlastOverrideParameters", code);
    }
    return EF_OK;
}

ef_status ef__clblast_override(ef_actor *a, const ef__clblast_set *set)
{
    pthread_mutex_lock(&clblast_lock);
    ef_status status = override(a, set);
    pthread_mutex_unlock(&clblast_lock);
    return status;
}

ef_status ef__clblast_forget(ef_actor *a)
{
    pthread_mutex_lock(&clblast_lock);
    int code = CLBlastClearCache();
    pthread_mutex_unlock(&clblast_lock);
    return code ? clblast_failed(a, "clblast", "CLBlastClearCache", code) : EF_OK;
}

static adopted *find_adopted(cl_device_id device)
{
    adopted *d = adopted_devices;
    while (d && d->device != device)
        d = d->next;
    return d;
}

static ef_status adopt(ef_actor *a, const ef__clblast_set *set)
{
    adopted *d = find_adopted(device_of(a));
    if (d && !memcmp(&d->set, set, sizeof *set))
        return EF_OK;
    if (d)
        return ef__fail(a, EF_ESTATE, 0, "clblast",
                        "clblast: this process has other tuned parameters for the device, from "
                        "another database");
    d = malloc(sizeof *d);
    if (!d)
        return ef__fail(a, EF_ENOMEM, 0, "clblast", "clblast: no host memory");
    ef_status status = override(a, set);
    if (status) {
        free(d);
        return status;
    }
    *d = (adopted){.next = adopted_devices, .device = device_of(a), .set = *set};
    adopted_devices = d;
    return EF_OK;
}

bool ef__clblast_agrees(ef_actor *a, const ef__clblast_set *set)
{
    pthread_mutex_lock(&clblast_lock);
    const adopted *d = find_adopted(device_of(a));
    pthread_mutex_unlock(&clblast_lock);
    return !d || !memcmp(&d->set, set, sizeof *set);
}

ef_status ef__clblast_adopt(ef_actor *a, const ef__clblast_set *set)
{
    pthread_mutex_lock(&clblast_lock);
    ef_status status = adopt(a, set);
    pthread_mutex_unlock(&clblast_lock);
    return status;
}

/* ---- do they compute right? ---- */

enum { PROBE_M = 65, PROBE_N = 33, PROBE_K = 17 };

typedef struct probe {
    float a[PROBE_M * PROBE_K], b[PROBE_K * PROBE_N], c[PROBE_M * PROBE_N];
} probe;

static void fill(float *x, size_t count, ef__rng *rng)
{
    for (size_t i = 0; i < count; i++)
        x[i] = 2 * (float)ef__rng_uniform(rng) - 1;
}

/* The largest error of an element of got, over its bound. Not written: infinite. */
static double compare(const probe *p, bool a_transposed, bool b_transposed, const float *got)
{
    double worst = 0;
    for (size_t i = 0; i < PROBE_M; i++)
        for (size_t j = 0; j < PROBE_N; j++) {
            double want = p->c[i * PROBE_N + j], mag = fabs(want);
            for (size_t k = 0; k < PROBE_K; k++) {
                double x = p->a[a_transposed ? k * PROBE_M + i : i * PROBE_K + k];
                double y = p->b[b_transposed ? j * PROBE_K + k : k * PROBE_N + j];
                want += x * y;
                mag += fabs(x * y);
            }
            double error = fabs(got[i * PROBE_N + j] - want) / (8 * ldexp(mag, -24));
            worst = isnan(error) ? INFINITY : fmax(worst, error);
        }
    return worst;
}

static cl_mem copy_of(cl_context context, float *data, size_t bytes)
{
    return clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes, data, NULL);
}

/* c += op(a) op(b), on a queue of its own: what the actor has enqueued is not waited for. Returns
 * CLBlast's code or OpenCL's. */
static int run_probe(cl_context context, cl_command_queue queue, probe *p, bool a_transposed,
                     bool b_transposed, double *worst)
{
    float got[PROBE_M * PROBE_N];
    cl_mem a = copy_of(context, p->a, sizeof p->a), b = copy_of(context, p->b, sizeof p->b),
           c = copy_of(context, p->c, sizeof p->c);
    int code = CL_OUT_OF_RESOURCES;
    if (a && b && c)
        code = CLBlastSgemm(CLBlastLayoutRowMajor,
                            a_transposed ? CLBlastTransposeYes : CLBlastTransposeNo,
                            b_transposed ? CLBlastTransposeYes : CLBlastTransposeNo, PROBE_M,
                            PROBE_N, PROBE_K, 1, a, 0, a_transposed ? PROBE_M : PROBE_K, b, 0,
                            b_transposed ? PROBE_K : PROBE_N, 1, c, 0, PROBE_N, &queue, NULL);
    if (!code)
        code = clEnqueueReadBuffer(queue, c, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL);
    if (!code)
        *worst = fmax(*worst, compare(p, a_transposed, b_transposed, got));
    clFinish(queue);
    if (a)
        clReleaseMemObject(a);
    if (b)
        clReleaseMemObject(b);
    if (c)
        clReleaseMemObject(c);
    return code;
}

/* The three products of this file, at a small shape that is no multiple of anything. */
static ef_status probe_all(ef_actor *a, double *worst)
{
    static const bool transposed[][2] = {{false, true}, {false, false}, {true, false}};
    probe p;
    ef__rng rng = {1};
    cl_context context = NULL;
    cl_int code;
    fill(p.a, PROBE_M * PROBE_K, &rng);
    fill(p.b, PROBE_K * PROBE_N, &rng);
    fill(p.c, PROBE_M * PROBE_N, &rng);
    clGetCommandQueueInfo(ef__queue(a), CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
    cl_command_queue queue = clCreateCommandQueue(context, device_of(a), 0, &code);
    for (size_t i = 0; i < 3 && !code; i++)
        code = run_probe(context, queue, &p, transposed[i][0], transposed[i][1], worst);
    if (queue)
        clReleaseCommandQueue(queue);
    return code ? clblast_failed(a, "clblast", "the check of its tuned parameters", code) : EF_OK;
}

/* Adopted parameters were measured in another process, maybe on a day of another driver. */
static ef_status check_adopted(ef_actor *a, const char *op)
{
    adopted *d = adopted_devices ? find_adopted(device_of(a)) : NULL;
    if (d && !d->checked) {
        ef_status status = probe_all(a, &d->worst);
        if (status)
            return status;
        d->checked = true;
    }
    if (d && d->worst > 1)
        return ef__fail(a, EF_EDEVICE, 0, op,
                        "%s: CLBlast computes wrong numbers with its tuned parameters (%.3g times "
                        "what is allowed): run with EF_TUNE=off, and eftune --fresh",
                        op, d->worst);
    return EF_OK;
}

static ef_status multiply(ef_actor *a, const char *op, const gemm *g)
{
    const CLBlastTranspose at = g->a_transposed ? CLBlastTransposeYes : CLBlastTransposeNo;
    const CLBlastTranspose bt = g->b_transposed ? CLBlastTransposeYes : CLBlastTransposeNo;
    const size_t a_ld = g->a_transposed ? g->m : g->k, b_ld = g->b_transposed ? g->k : g->n;
    size_t a_at, b_at, c_at, scratch_at = 0, bytes = 0;
    cl_mem am = ef__tensor_mem(g->a, &a_at), bm = ef__tensor_mem(g->b, &b_at);
    cl_mem cm = ef__tensor_mem(g->c, &c_at);
    cl_command_queue queue = ef__queue(a);
    cl_event event = NULL, before = NULL;
    ef_tensor *scratch = NULL;
    ef_status status = EF_OK;

    int code = 0;

    pthread_mutex_lock(&clblast_lock);
    status = check_adopted(a, op);
    if (!status)
        code = CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, at, bt, g->m, g->n, g->k, a_at,
                                          a_ld, b_at, b_ld, c_at, g->n, &queue, &bytes);
    if (code)
        status = clblast_failed(a, op, "CLBlastSGemmTempBufferSize", code);
    else if (!status && bytes)
        status = ef_tensor_new(a, EF_F32, 1, &(size_t){ef__ceil_div(bytes, sizeof(float))},
                               "CLBlast scratch", &scratch);
    if (!status) {
        before = bytes ? ef__marker(a) : NULL; /* the event is the last kernel's */
        code = CLBlastSgemmWithTempBuffer(CLBlastLayoutRowMajor, at, bt, g->m, g->n, g->k, 1.f, am,
                                          a_at, a_ld, bm, b_at, b_ld, g->beta, cm, c_at, g->n,
                                          &queue, ef__device_of(a)->keeps_events ? &event : NULL,
                                          scratch ? ef__tensor_mem(scratch, &scratch_at) : NULL);
        if (code)
            status = clblast_failed(a, op, "CLBlastSgemmWithTempBuffer", code);
        else
            ef__count_launches(a, launches(g, bytes));
    }
    pthread_mutex_unlock(&clblast_lock);
    ef__keep_event(a, event, before, op);
    ef_tensor_free(scratch);
    return status;
}

static ef_status forward_clblast(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    const gemm g = {.a = args->t[0],
                    .b = args->t[1],
                    .c = args->t[2],
                    .b_transposed = true,
                    .m = n[EF__L],
                    .n = n[EF__COUT],
                    .k = n[EF__CIN]};
    return multiply(a, "linear.forward[clblast]", &g);
}

static ef_status dx_clblast(ef_actor *a, const ef__args *args)
{
    const size_t *n = args->n;
    const gemm g = {.a = args->t[0],
                    .b = args->t[1],
                    .c = args->t[2],
                    .m = n[EF__L],
                    .n = n[EF__CIN],
                    .k = n[EF__COUT]};
    return multiply(a, "linear.dx[clblast]", &g);
}

static ef_status dw_clblast(ef_actor *a, const ef__args *args)
{
    static const char op[] = "linear.dw[clblast]";
    const size_t *n = args->n;
    const gemm g = {.a = args->t[1],
                    .b = args->t[0],
                    .c = args->t[2],
                    .a_transposed = true,
                    .m = n[EF__COUT],
                    .n = n[EF__CIN],
                    .k = n[EF__L],
                    .beta = 1};
    const ef__choice direct = ef__op_untuned(ef__device_of(a), EF__LINEAR_DW, "direct");
    ef__args bias = *args;
    bias.t[2] = NULL;
    memcpy(bias.knob, direct.knob, sizeof bias.knob);
    ef_status status = multiply(a, op, &g);
    return status || !args->t[3] ? status : ef__conv1d_dw_direct(a, op, &bias);
}

/* ---- the library's own ---- */

static bool fits_taps_panel(const ef__device *device, const ef__args *args)
{
    return !pinned("clblast") && ef__conv1d_fits_taps_panel(device, args);
}

static bool fits_dw_panel(const ef__device *device, const ef__args *args)
{
    return !pinned("clblast") && ef__conv1d_fits_dw_panel(device, args);
}

static ef_status forward_panel(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_panel(a, "linear.forward[panel]", args, EF__FORWARD);
}

static ef_status forward_direct(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_direct(a, "linear.forward[direct]", args, EF__FORWARD);
}

static ef_status dx_panel(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_panel(a, "linear.dx[panel]", args, EF__BACKWARD);
}

static ef_status dx_direct(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_taps_direct(a, "linear.dx[direct]", args, EF__BACKWARD);
}

static ef_status dw_panel(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_dw_panel(a, "linear.dw[panel]", args);
}

static ef_status dw_direct(ef_actor *a, const ef__args *args)
{
    return ef__conv1d_dw_direct(a, "linear.dw[direct]", args);
}

/* ---- table rows and public entry points ---- */

const ef__op ef__op_linear_forward = {
    .name = "linear.forward",
    .names = {"x", "w", "y"},
    .writes = 1 << 2,
    .check = check_forward,
    .flops = ef__conv1d_flops,
    .bytes = ef__conv1d_taps_bytes,
    .examples = {{.tensors = "nBD nED zBE"}, {.tensors = "nBLH nDH zBLD"}},
    .sources = {"conv1d", "conv1d_pack", "conv1d_direct"},
    .variants = {{"panel", EF__ALL_PARTS, fits_taps_panel, forward_panel, EF__TAPS_KNOBS,
                  ef__conv1d_settle_taps, ef__conv1d_valid_taps_panel},
                 {"clblast", 0, fits_clblast, forward_clblast},
                 {"direct",
                  EF__ALL_PARTS,
                  ef__fits_always,
                  forward_direct,
                  {EF__DIRECT_KNOBS},
                  EF__DIRECT_RULES}},
};

const ef__op ef__op_linear_dx = {
    .name = "linear.dx",
    .names = {"dy", "w", "dx"},
    .writes = 1 << 2,
    .check = check_dx,
    .flops = ef__conv1d_flops,
    .bytes = ef__conv1d_taps_bytes,
    .examples = {{.tensors = "nBE nED zBD"}, {.tensors = "nBLD nDH zBLH"}},
    .sources = {"conv1d", "conv1d_pack", "conv1d_direct"},
    .variants = {{"panel", EF__ALL_PARTS, fits_taps_panel, dx_panel, EF__TAPS_KNOBS,
                  ef__conv1d_settle_taps, ef__conv1d_valid_taps_panel},
                 {"clblast", 0, fits_clblast, dx_clblast},
                 {"direct",
                  EF__ALL_PARTS,
                  ef__fits_always,
                  dx_direct,
                  {EF__DIRECT_KNOBS},
                  EF__DIRECT_RULES}},
};

const ef__op ef__op_linear_dw = {
    .name = "linear.dw",
    .names = {"x", "dy", "dw", "db"},
    .writes = 1 << 2 | 1 << 3,
    .optional = 1 << 3,
    .check = check_dw,
    .flops = ef__conv1d_flops,
    .bytes = ef__conv1d_dw_bytes,
    .examples = {{.tensors = "nBD nBE zED zE"}, {.tensors = "nBLH nBLD zDH zD"}},
    .sources = {"conv1d", "conv1d_pack", "conv1d_direct"},
    .variants = {{"panel", 0, fits_dw_panel, dw_panel, EF__DW_KNOBS, ef__conv1d_settle_dw,
                  ef__conv1d_valid_dw_panel},
                 {"clblast", 0, fits_clblast, dw_clblast},
                 {"direct", 0, ef__fits_always, dw_direct, {EF__DIRECT_KNOBS}, EF__DIRECT_RULES}},
};

ef_status ef_linear_forward(ef_actor *a, const ef_tensor *x, const ef_tensor *w,
                            const ef_epilogue *epilogue, ef_tensor *y)
{
    ef__args args = {.t = {x, w, y}};
    if (epilogue)
        args.epilogue = *epilogue;
    return ef__op_run(a, EF__LINEAR_FORWARD, &args);
}

ef_status ef_linear_dx(ef_actor *a, const ef_tensor *dy, const ef_tensor *w,
                       const ef_epilogue *epilogue, ef_tensor *dx)
{
    ef__args args = {.t = {dy, w, dx}};
    if (epilogue)
        args.epilogue = *epilogue;
    return ef__op_run(a, EF__LINEAR_DX, &args);
}

ef_status ef_linear_dw(ef_actor *a, const ef_tensor *x, const ef_tensor *dy, ef_tensor *dw,
                       ef_tensor *db)
{
    ef__args args = {.t = {x, dy, dw, db}};
    return ef__op_run(a, EF__LINEAR_DW, &args);
}
