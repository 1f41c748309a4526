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

/* One lease has one attachment, so its address tells leases apart. */
static bool same_lease(const ef_tensor *x, const ef_tensor *y)
{
    return ef__tensor_attachment(x) == ef__tensor_attachment(y);
}

static size_t first_byte(const ef_tensor *t)
{
    return ef__tensor_offset(t) * (ef_tensor_bytes(t) / ef_tensor_count(t));
}

bool ef__overlap(const ef_tensor *x, const ef_tensor *y)
{
    if (!x || !y || !ef_tensor_count(x) || !ef_tensor_count(y) || !same_lease(x, y))
        return false;
    return first_byte(x) < first_byte(y) + ef_tensor_bytes(y) &&
           first_byte(y) < first_byte(x) + ef_tensor_bytes(x);
}

ef_status ef__want_apart(ef_actor *a, const char *op, const char *name, const ef_tensor *t,
                         const char *other_name, const ef_tensor *other, bool or_same)
{
    if (!ef__overlap(t, other) || (or_same && first_byte(t) == first_byte(other)))
        return EF_OK;
    return ef__fail(a, EF_EARG, 0, op, "%s: %s overlaps %s", op, name, other_name);
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
        bool may_be_y;
    } parts[] = {{"epilogue.pre", e->pre, false},
                 {"epilogue.gelu_grad", e->gelu_grad, false},
                 {"epilogue.residual", e->residual, true}};
    ef_status status = ef__want_dtype(a, op, "epilogue.bias", e->bias, EF_F32);
    if (!status)
        status = ef__want_count(a, op, "epilogue.bias", e->bias, ef__columns(y),
                                "one for each column of the result");
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++) {
        status = ef__want_dtype(a, op, parts[i].name, parts[i].t, EF_F32);
        if (!status)
            status = ef__want_same_shape(a, op, parts[i].name, parts[i].t, "the result", y);
        if (!status)
            status = ef__want_apart(a, op, parts[i].name, parts[i].t, "the result", y,
                                    parts[i].may_be_y);
    }
    return status ? status : ef__want_mask(a, op, e->mask, y);
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
