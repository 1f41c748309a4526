/* gelu.cl -- GELU and its gradient alone; the functions themselves are in common.cl. */

static void forward(__global const REAL *x, __global REAL *y, const long i, const long n)
{
    store_lanes(gelu(load_lanes(x + i, n)), y + i, n);
}

static void backward(__global const REAL *x, __global const REAL *dy, __global REAL *dx,
                     const long i, const long n)
{
    store_lanes(load_lanes(dy + i, n) * gelu_grad(load_lanes(x + i, n)), dx + i, n);
}

/* An item has a contiguous chunk. */
__kernel void gelu_fwd_chunk(IN(REAL, x), OUT(REAL, y), const long n, const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(n, from + chunk);
    EACH_VECTOR(i, lanes, from, to, forward(PTR(x), PTR(y), i, lanes))
}

__kernel void gelu_bwd_chunk(IN(REAL, x), IN(REAL, dy), OUT(REAL, dx), const long n,
                             const long chunk)
{
    const long from = get_global_id(0) * chunk, to = min(n, from + chunk);
    EACH_VECTOR(i, lanes, from, to, backward(PTR(x), PTR(dy), PTR(dx), i, lanes))
}

#ifdef GROUP

/* A group has GROUP EACH contiguous elements, an item every GROUP-th of them. */
#define EACH_ELEMENT(i, n, CALL)                                                                   \
    for (int k = 0; k < EACH; k++) {                                                               \
        const long i = ((long)get_global_id(0) / GROUP * EACH + k) * GROUP + get_local_id(0);      \
        if (i < n)                                                                                 \
            CALL;                                                                                  \
    }

__kernel void gelu_fwd_item(IN(REAL, x), OUT(REAL, y), const long n)
{
    EACH_ELEMENT(i, n, forward(PTR(x), PTR(y), i, 1))
}

__kernel void gelu_bwd_item(IN(REAL, x), IN(REAL, dy), OUT(REAL, dx), const long n)
{
    EACH_ELEMENT(i, n, backward(PTR(x), PTR(dy), PTR(dx), i, 1))
}

#endif
