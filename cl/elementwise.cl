/* elementwise.cl -- copies and sums; the last is what an epilogue does when its operation cannot.
 *
 * Each body handles up to VW elements. A chunk kernel (CPU) walks a contiguous part of the work
 * with it, an item kernel (GPU) calls it for one element. */

/* ---- cast ---- */

static VEC load_half_lanes(__global const half *p, const long n)
{
    if (n >= VW)
        return CAT(vload_half, VW)(0, p);
    float lane[VW];
    for (int i = 0; i < VW; i++)
        lane[i] = i < n ? vload_half(i, p) : 0.0f;
    return VLOAD(lane);
}

static void store_half_lanes(const VEC v, __global half *p, const long n)
{
    if (n >= VW) {
        CAT(CAT(vstore_half, VW), _rte)(v, 0, p);
        return;
    }
    float lane[VW];
    VSTORE(v, lane);
    for (int i = 0; i < VW && i < n; i++)
        vstore_half_rte(lane[i], i, p);
}

__kernel void cast_narrow_chunk(IN(float, x), OUT(half, y), const long n, const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(n, from + chunk);
    EACH_VECTOR(i, lanes, from, to,
                store_half_lanes(load_lanes(PTR(x) + i, lanes), PTR(y) + i, lanes))
}

__kernel void cast_narrow_item(IN(float, x), OUT(half, y), const long n)
{
    const long i = get_global_id(0);
    if (i < n)
        vstore_half_rte(PTR(x)[i], i, PTR(y));
}

__kernel void cast_widen_chunk(IN(half, x), OUT(float, y), const long n, const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(n, from + chunk);
    EACH_VECTOR(i, lanes, from, to,
                store_lanes(load_half_lanes(PTR(x) + i, lanes), PTR(y) + i, lanes))
}

__kernel void cast_widen_item(IN(half, x), OUT(float, y), const long n)
{
    const long i = get_global_id(0);
    if (i < n)
        PTR(y)[i] = vload_half(i, PTR(x));
}

/* ---- y += x ---- */

static void add(__global const REAL *x, __global REAL *y, const long n)
{
    store_lanes(load_lanes(y, n) + load_lanes(x, n), y, n);
}

__kernel void residual_add_chunk(IN(REAL, x), OUT(REAL, y), const long n, const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(n, from + chunk);
    EACH_VECTOR(i, lanes, from, to, add(PTR(x) + i, PTR(y) + i, lanes))
}

__kernel void residual_add_item(IN(REAL, x), OUT(REAL, y), const long n)
{
    const long i = get_global_id(0);
    if (i < n)
        STORE(LOAD(PTR(y), i) + LOAD(PTR(x), i), PTR(y), i);
}

/* ---- rows of zeros where the mask is 0; an item of the chunk form has a few rows ---- */

__kernel void mask_rows_chunk(IN(uchar, mask), OUT(REAL, y), const long rows, const long C,
                              const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(rows, from + chunk);
    for (long r = from; r < to; r++) {
        __global REAL *row = PTR(y) + r * C;
        if (PTR(mask)[r] == 0)
            EACH_VECTOR(c, lanes, 0, C, store_lanes((VEC)0.0f, row + c, lanes))
    }
}

__kernel void mask_rows_item(IN(uchar, mask), OUT(REAL, y), const long rows, const long C)
{
    const long i = get_global_id(0);
    if (i < rows * C && PTR(mask)[i / C] == 0)
        STORE(0.0f, PTR(y), i);
}

/* ---- epilogue: y = the parts of z ---- */

#define EPILOGUE_ARGS                                                                              \
    IN(REAL, z), OUT(REAL, y), IN(REAL, bias), OUT(REAL, pre), IN(REAL, slope),                    \
        IN(REAL, residual), IN(uchar, mask), const int parts, const long rows, const long C
#define EPILOGUE                                                                                   \
    {                                                                                              \
        PTR(bias), PTR(slope), PTR(residual), PTR(mask), PTR(y), PTR(pre), parts                   \
    }

__kernel void epilogue_chunk(EPILOGUE_ARGS, const long chunk)
{
    const epilogue e = EPILOGUE;
    const long from = get_global_id(0) * chunk, to = min(rows, from + chunk);
    for (long r = from; r < to; r++)
        EACH_VECTOR(c, lanes, 0, C,
                    finish(&e, load_lanes(PTR(z) + r * C + c, lanes), r * C + c, r, c, lanes))
}

__kernel void epilogue_item(EPILOGUE_ARGS)
{
    const epilogue e = EPILOGUE;
    const long i = get_global_id(0);
    if (i < rows * C)
        finish(&e, load_lanes(PTR(z) + i, 1), i, i / C, i % C, 1);
}
