/* tanh.cl -- y = tanh(x), and dx = dy (1 - y^2). Small tensors: an item is one element. */
__kernel void tanh_fwd_item(IN(REAL, x), OUT(REAL, y), const long n)
{
    const long i = get_global_id(0);
    if (i < n)
        STORE(tanh(LOAD(PTR(x), i)), PTR(y), i);
}

__kernel void tanh_bwd_item(IN(REAL, y), IN(REAL, dy), OUT(REAL, dx), const long n)
{
    const long i = get_global_id(0);
    if (i >= n)
        return;
    const float v = LOAD(PTR(y), i);
    STORE(LOAD(PTR(dy), i) * (1.0f - v * v), PTR(dx), i);
}
