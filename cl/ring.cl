/* ring.cl -- what the taps of a causal convolution read, from a ring of the last rows. */

/* taps[b,t,c,j] = row t - (K-1-j) d of x, or of the ring before it; then the ring has x's last rows.
 *   x [B,T,C]   taps [B,T,C,K]   ring [B,R,C], R >= (K-1) d; slot: where x's first row will stand
 * An item has one column: nobody else reads or writes what it keeps. Where R is (K-1) d a row takes
 * the place of the one that its own oldest tap was the last to read. */
__kernel void ring_taps_item(IN(REAL, x), OUT(REAL, taps), OUT(REAL, ring), const long B,
                             const long T, const long C, const long K, const long R, const long d,
                             const long slot)
{
    const long i = get_global_id(0), b = i / C, c = i % C;
    if (i >= B * C)
        return;
    __global REAL *kept = PTR(ring) + b * R * C + c;
    for (long t = 0, at = slot; t < T; t++) {
        const long row = (b * T + t) * C + c;
        const REAL now = LOAD(PTR(x), row);
        for (long j = 0; j < K - 1; j++) {
            const long from = at - (K - 1 - j) * d;
            STORE(LOAD(kept, (from < 0 ? from + R : from) * C), PTR(taps), row * K + j);
        }
        STORE(now, PTR(taps), row * K + K - 1);
        if (R > 0)
            STORE(now, kept, at * C);
        at = at + 1 < R ? at + 1 : 0;
    }
}
