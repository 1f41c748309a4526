/* UTF-8, code point by code point. */
#ifndef EF_BASE_UTF8_H
#define EF_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { EF__UTF8_BAD = 0x110000, EF__UTF8_MAX = 4 }; /* no code point; bytes of one, at most */

/* ef__utf8_next -- the code point at *at, which is before end; *at moves behind it. Of what is not
 * UTF-8, each longest start of a sequence, or else each byte, is one EF__UTF8_BAD: as Unicode
 * recommends and as Python's errors="replace" does. */
static inline uint32_t ef__utf8_next(const unsigned char **at, const unsigned char *end)
{
    const unsigned char *p = *at;
    uint32_t c = *p++;
    unsigned low = 0x80, high = 0xbf; /* of the second byte */
    int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;
    if (c == 0xe0)
        low = 0xa0;
    if (c == 0xed)
        high = 0x9f;
    if (c == 0xf0)
        low = 0x90;
    if (c == 0xf4)
        high = 0x8f;
    if (more > 0)
        c &= 0x3fu >> more;
    for (; more > 0 && p < end && *p >= low && *p <= high; more--) {
        c = c << 6 | (*p++ & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *at = p;
    return more ? EF__UTF8_BAD : c;
}

/* ef__utf8_put -- write a code point to `to`; how many bytes it took. */
static inline size_t ef__utf8_put(uint32_t c, unsigned char *to)
{
    const size_t bytes = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = bytes - 1; i; i--, c >>= 6)
        to[i] = (unsigned char)(0x80 | (c & 0x3f));
    to[0] = (unsigned char)(lead[bytes] | c);
    return bytes;
}

#endif
