#include "model/tcn.h"

enum { NORM_WEIGHT, NORM_BIAS, CONV1_WEIGHT, CONV1_BIAS, CONV2_WEIGHT, CONV2_BIAS, SEGMENTS };

void ef__tcn_begin(ef__tcn *tcn, const ef_model_config *config, ef__params *params)
{
    *tcn = (ef__tcn){.params = params,
                     .width = config->width,
                     .hidden = config->hidden,
                     .taps = config->taps,
                     .blocks = config->blocks,
                     .dilations = config->dilations,
                     .eps = config->eps};
}

void ef__tcn_add(ef__tcn *tcn, size_t block, size_t number)
{
    ef__params *p = tcn->params;
    const size_t D = tcn->width, H = tcn->hidden, n = number;
    const int group = 1 + (int)block;
    tcn->at[block] = p->segments;
    ef__params_add(p, group, 1, &D, "blocks.%zu.norm.weight", n);
    ef__params_add(p, group, 1, &D, "blocks.%zu.norm.bias", n);
    ef__params_add(p, group, 3, (size_t[]){H, D, tcn->taps}, "blocks.%zu.conv1.weight", n);
    ef__params_add(p, group, 1, &H, "blocks.%zu.conv1.bias", n);
    ef__params_add(p, group, 3, (size_t[]){D, H, 1}, "blocks.%zu.conv2.weight", n);
    ef__params_add(p, group, 1, &D, "blocks.%zu.conv2.bias", n);
}

void ef__tcn_share(ef__tcn *tcn, size_t block)
{
    tcn->at[block] = tcn->params->segments - SEGMENTS;
}

static const ef__segment *segments_of(const ef__tcn *tcn, size_t block)
{
    return tcn->params->segment + tcn->at[block];
}

ef__block_segments ef__tcn_block(const ef__tcn *tcn, size_t block)
{
    const ef__segment *s = segments_of(tcn, block);
    return (ef__block_segments){&s[NORM_WEIGHT], &s[CONV1_WEIGHT], &s[CONV2_WEIGHT]};
}

/* A tensor of x's leading dimensions [B,L]; columns 0: without a last one. */
static ef_status new_like(const ef__tcn *tcn, const ef_tensor *x, size_t columns, const char *label,
                          ef_tensor **tensor)
{
    const size_t *dims = ef_tensor_dims(x);
    return ef_tensor_new(tcn->params->actor, EF_F32, columns ? 3 : 2,
                         (size_t[]){dims[0], dims[1], columns}, label, tensor);
}

static ef_status new_trace(const ef__tcn *tcn, const ef_tensor *x, bool keep, ef__block_trace *t)
{
    ef_status status = new_like(tcn, x, tcn->width, "norm", &t->norm);
    if (!status)
        status = new_like(tcn, x, tcn->hidden, "act", &t->act);
    if (!status && keep)
        status = new_like(tcn, x, tcn->hidden, "pre", &t->pre);
    if (!status && keep)
        status = new_like(tcn, x, 0, "mean", &t->mean);
    if (!status && keep)
        status = new_like(tcn, x, 0, "rstd", &t->rstd);
    return status;
}

static void clear_block(ef__block_trace *t)
{
    ef_tensor_free(t->x);
    ef_tensor_free(t->norm);
    ef_tensor_free(t->mean);
    ef_tensor_free(t->rstd);
    ef_tensor_free(t->pre);
    ef_tensor_free(t->act);
    *t = (ef__block_trace){0};
}

void ef__tcn_trace_clear(ef__tcn_trace *trace)
{
    for (size_t i = 0; i < EF_MAX_BLOCKS; i++)
        clear_block(&trace->block[i]);
}

/* Three launches; y may be x. */
static ef_status block_forward(const ef__tcn *tcn, size_t i, const ef_tensor *mask,
                               const ef_tensor *x, const ef__block_trace *t, ef_tensor *y)
{
    ef_actor *a = tcn->params->actor;
    const ef__segment *s = segments_of(tcn, i);
    ef_epilogue hidden = {.bias = s[CONV1_BIAS].value, .pre = t->pre, .gelu = true};
    ef_epilogue out = {.bias = s[CONV2_BIAS].value, .residual = x, .mask = mask};
    ef_status status = ef_layernorm_forward(a, x, s[NORM_WEIGHT].value, s[NORM_BIAS].value, mask,
                                            tcn->eps, t->norm, t->mean, t->rstd);
    if (!status)
        status = ef_conv1d_forward(a, t->norm, s[CONV1_WEIGHT].value, tcn->dilations[i], &hidden,
                                   t->act);
    if (!status)
        status = ef_conv1d_forward(a, t->act, s[CONV2_WEIGHT].value, 1, &out, y);
    return status;
}

ef_status ef__tcn_forward(const ef__tcn *tcn, const ef_tensor *mask, ef_tensor **x,
                          ef__tcn_trace *trace)
{
    ef_status status = EF_OK;
    for (size_t i = 0; i < tcn->blocks && !status; i++) {
        bool keep = trace && i >= trace->first;
        ef__block_trace scratch = {0}, *t = keep ? &trace->block[i] : &scratch;
        ef_tensor *y = *x;
        status = new_trace(tcn, *x, keep, t);
        if (!status && keep)
            status = new_like(tcn, *x, tcn->width, "block", &y);
        if (!status)
            status = block_forward(tcn, i, mask, *x, t, y);
        if (y != *x) {
            t->x = *x;
            *x = y;
        }
        clear_block(&scratch);
    }
    return status;
}

/* Five operations; dx comes in as the gradient of the block's output. */
static ef_status block_backward(const ef__tcn *tcn, size_t i, const ef_tensor *mask,
                                const ef__block_trace *t, bool want_dx, ef_tensor *dx)
{
    ef_actor *a = tcn->params->actor;
    const ef__segment *s = segments_of(tcn, i);
    ef_epilogue gelu = {.gelu_grad = t->pre};
    ef_tensor *dpre = NULL, *dnorm = NULL;
    ef_status status = new_like(tcn, dx, tcn->hidden, "dpre", &dpre);
    if (!status)
        status = new_like(tcn, dx, tcn->width, "dnorm", &dnorm);
    if (!status)
        status = ef_conv1d_dw(a, t->act, dx, 1, s[CONV2_WEIGHT].grad, s[CONV2_BIAS].grad);
    if (!status)
        status = ef_conv1d_dx(a, dx, s[CONV2_WEIGHT].value, 1, &gelu, dpre);
    if (!status)
        status = ef_conv1d_dw(a, t->norm, dpre, tcn->dilations[i], s[CONV1_WEIGHT].grad,
                              s[CONV1_BIAS].grad);
    if (!status)
        status = ef_conv1d_dx(a, dpre, s[CONV1_WEIGHT].value, tcn->dilations[i], NULL, dnorm);
    if (!status)
        status = ef_layernorm_backward(a, t->x, s[NORM_WEIGHT].value, t->mean, t->rstd, dnorm, mask,
                                       want_dx ? dx : NULL, want_dx ? dx : NULL,
                                       s[NORM_WEIGHT].grad, s[NORM_BIAS].grad);
    ef_tensor_free(dpre);
    ef_tensor_free(dnorm);
    return status;
}

ef_status ef__tcn_backward(const ef__tcn *tcn, const ef_tensor *mask, const ef__tcn_trace *trace,
                           bool want_dx, ef_tensor *dx)
{
    ef_status status = EF_OK;
    for (size_t i = tcn->blocks; i-- > trace->first && !status;)
        status = block_backward(tcn, i, mask, &trace->block[i], want_dx || i > trace->first, dx);
    return status;
}

size_t ef__tcn_first_kept(int group)
{
    return group > 0 ? (size_t)group - 1 : 0;
}

/* At each position: what the pass keeps of its blocks, beside it the gradients dx and dnorm [D] and
 * dpre [H] of one of them; without blocks to train, a block's x, norm and act, which are as large.
 * In double, for the product may pass 64 bits. */
ef_status ef__tcn_check_batch(const ef__tcn *tcn, int group, size_t B, size_t L)
{
    ef_actor *a = tcn->params->actor;
    const ef_device_info *device = ef_actor_device(a);
    double D = (double)tcn->width, H = (double)tcn->hidden;
    double kept = (double)(tcn->blocks - ef__tcn_first_kept(group));
    double column = (double)B * (double)L * sizeof(float), largest = column * (D > H ? D : H);
    double bytes = column * (kept * (2 * D + 2 * H + 2) + 2 * D + H);
    ef_stats stats;
    ef_actor_stats(a, &stats);
    double left = (double)device->global_bytes - (double)stats.pool_used;
    if (bytes <= left && largest <= (double)device->max_alloc_bytes)
        return EF_OK;
    return ef__fail(
        a, EF_ENOMEM, 0, "model",
        "model: a batch of %zu x %zu ids needs %.0f bytes beside the parameters, %.0f of "
        "them in one buffer; %.0f are available on the device, at most %llu in one buffer",
        B, L, bytes, largest, left > 0 ? left : 0, (unsigned long long)device->max_alloc_bytes);
}
