/* ceiling.cl -- what a device can do at most: multiply-adds in registers, and a plain copy. */
#if EF_CPU
#define NUMBERS VEC /* a work-item's */
#define KEEP(v, p, i) VSTORE(v, (p) + (i) * VW)
#else
#define NUMBERS float
#define KEEP(v, p, i) STORE(v, p, i)
#endif

/* Twelve sums that do not wait for each other, steps times; factor below 1 keeps them finite. */
__kernel void ceiling_fma(OUT(REAL, y), const float factor, const int steps)
{
    const long at = get_global_id(0);
    const NUMBERS k = factor, s = (float)at + 1.0f;
    NUMBERS a = s, b = s + 1, c = s + 2, d = s + 3, e = s + 4, f = s + 5;
    NUMBERS g = s + 6, h = s + 7, i = s + 8, j = s + 9, l = s + 10, m = s + 11;
    for (int n = 0; n < steps; n++) {
        a = fma(a, k, s), b = fma(b, k, s), c = fma(c, k, s), d = fma(d, k, s);
        e = fma(e, k, s), f = fma(f, k, s), g = fma(g, k, s), h = fma(h, k, s);
        i = fma(i, k, s), j = fma(j, k, s), l = fma(l, k, s), m = fma(m, k, s);
    }
    KEEP(a + b + c + d + e + f + g + h + i + j + l + m, PTR(y), at);
}

/* Each work-item copies a run of vectors. */
__kernel void ceiling_copy(IN(REAL, x), OUT(REAL, y), const long run)
{
    const long first = get_global_id(0) * run;
    for (long i = first; i < first + run; i++)
        VSTORE(VLOAD(PTR(x) + i * VW), PTR(y) + i * VW);
}
