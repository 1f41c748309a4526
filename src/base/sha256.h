/* SHA-256 (FIPS 180-4), in one go or in pieces. */
#ifndef EF_BASE_SHA256_H
#define EF_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define EF__SHA256_BYTES 32
#define EF__SHA256_HEX 65 /* with the final 0 */

typedef struct ef__sha256 {
    uint32_t state[8];
    uint64_t bytes;          /* fed so far */
    unsigned char block[64]; /* the first bytes % 64 of it wait for the rest of a block */
} ef__sha256;

void ef__sha256_begin(ef__sha256 *sha);
void ef__sha256_add(ef__sha256 *sha, const void *data, size_t bytes);
void ef__sha256_end(ef__sha256 *sha, unsigned char digest[EF__SHA256_BYTES]);

/* The digest as lower case hexadecimal: at the end of pieces, and of one piece of memory. */
void ef__sha256_end_hex(ef__sha256 *sha, char hex[EF__SHA256_HEX]);
void ef__sha256_hex(const void *data, size_t bytes, char hex[EF__SHA256_HEX]);

#endif
