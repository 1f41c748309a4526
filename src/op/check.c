/* What the operations' checks are made of: one rule each, one line of text when it is broken. */
#include "base/size.h"
#include "op/op.h"

static const char *dtype_name(ef_dtype dtype)
{
    static const char *const names[] = {"f32", "f16", "i32", "u8"};
    return names[dtype];
}

ef_status ef__want_rank(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                        size_t rank)
{
    if (!t || ef_tensor_rank(t) == rank)
        return EF_OK;
    return ef__fail(a, EF_EARG, 0, op, "%s: %s has rank %zu, expected %zu", op, name,
                    ef_tensor_rank(t), rank);
}

ef_status ef__want_dtype(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                         ef_dtype dtype)
{
    if (!t || ef_tensor_dtype(t) == dtype)
        return EF_OK;
    return ef__fail(a, EF_EARG, 0, op, "%s: %s is %s, expected %s", op, name,
                    dtype_name(ef_tensor_dtype(t)), dtype_name(dtype));
}

ef_status ef__want_count(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                         size_t count, const char *what)
{
    if (!t || ef_tensor_count(t) == count)
        return EF_OK;
    return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s has %zu values, expected %zu: %s", op, name,
                    ef_tensor_count(t), count, what);
}

ef_status ef__want_same_shape(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                              const char *other_name, const ef_tensor *other)
{
    char left[80], right[80];
    if (!t || !other)
        return EF_OK;
    bool same = ef_tensor_rank(t) == ef_tensor_rank(other);
    for (size_t i = 0; same && i < ef_tensor_rank(t); i++)
        same = ef_tensor_dims(t)[i] == ef_tensor_dims(other)[i];
    if (same)
        return EF_OK;
    return ef__fail(a, EF_ESHAPE, 0, op, "%s: %s and %s disagree: %s, %s", op, name, other_name,
                    ef__tensor_text(t, left), ef__tensor_text(other, right));
}

ef_status ef__want_mask(ef_actor *a, const char *op, const ef_tensor *mask, const ef_tensor *of)
{
    ef_status status = ef__want_dtype(a, op, "mask", mask, EF_U8);
    return status ? status : ef__want_count(a, op, "mask", mask, ef__rows(of), "one for each row");
}

ef_status ef__want_epilogue(ef_actor *a, const char *op, const ef_epilogue *e, const ef_tensor *y)
{
    const struct {
        const char *name;
        const ef_tensor *t;
    } parts[] = {{"epilogue.pre", e->pre},
                 {"epilogue.gelu_grad", e->gelu_grad},
                 {"epilogue.residual", e->residual}};
    ef_status status = ef__want_dtype(a, op, "epilogue.bias", e->bias, EF_F32);
    if (!status)
        status = ef__want_count(a, op, "epilogue.bias", e->bias, ef__columns(y),
                                "one for each column of the result");
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++) {
        status = ef__want_dtype(a, op, parts[i].name, parts[i].t, EF_F32);
        if (!status)
            status = ef__want_same_shape(a, op, parts[i].name, parts[i].t, "the result", y);
    }
    return status ? status : ef__want_mask(a, op, e->mask, y);
}

/* ---- overlap ---- */

typedef struct part {
    const char *name;
    const ef_tensor *t;
    bool written, may_be_result;
} part;

enum { EPILOGUE_TENSORS = 5 };

/* All tensors of a call; the number of them. */
static size_t list_tensors(const ef__op *row, const ef__args *args,
                           part list[EF__MAX_TENSORS + EPILOGUE_TENSORS])
{
    const ef_epilogue *e = &args->epilogue;
    const part last[EPILOGUE_TENSORS] = {{"epilogue.bias", e->bias, false, false},
                                         {"epilogue.pre", e->pre, true, false},
                                         {"epilogue.gelu_grad", e->gelu_grad, false, false},
                                         {"epilogue.residual", e->residual, false, true},
                                         {"epilogue.mask", e->mask, false, false}};
    size_t n = 0;
    for (size_t i = 0; i < EF__MAX_TENSORS && row->names[i]; i++)
        if (args->t[i])
            list[n++] =
                (part){row->names[i], args->t[i], row->writes >> i & 1, row->in_place >> i & 1};
    for (size_t i = 0; i < EPILOGUE_TENSORS; i++)
        if (last[i].t)
            list[n++] = last[i];
    return n;
}

ef_status ef__want_apart(ef_actor *a, const ef__op *row, const ef__args *args)
{
    part list[EF__MAX_TENSORS + EPILOGUE_TENSORS];
    const size_t n = list_tensors(row, args, list);
    const ef_tensor *result = ef__result(row, args);
    char left[80], right[80];
    for (const part *out = list; out < list + n; out++) {
        for (const part *p = list; out->written && p < list + n; p++) {
            bool in_place = out->t == result && p->may_be_result && ef__same_memory(out->t, p->t);
            if (p != out && !in_place && ef__overlap(out->t, p->t))
                return ef__fail(a, EF_EARG, 0, row->name, "%s: %s overlaps %s: %s, %s", row->name,
                                out->name, p->name, ef__tensor_text(out->t, left),
                                ef__tensor_text(p->t, right));
        }
    }
    return EF_OK;
}

size_t ef__columns(const ef_tensor *t)
{
    return ef_tensor_dims(t)[ef_tensor_rank(t) - 1];
}

size_t ef__rows(const ef_tensor *t)
{
    size_t rows = 1;
    for (size_t i = 0; i + 1 < ef_tensor_rank(t); i++)
        rows *= ef_tensor_dims(t)[i];
    return rows;
}
