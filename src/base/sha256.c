#include "base/sha256.h"
#include <string.h>

static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void store_be32(unsigned char *to, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(x >> (24 - 8 * i));
}

static void schedule(uint32_t w[64], const unsigned char *block)
{
    for (int i = 0; i < 16; i++, block += 4)
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
               block[3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
}

static void compress(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[64], s[8];
    schedule(w, block);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t a = s[0], e = s[4];
        uint32_t t = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                     ((e & s[5]) ^ (~e & s[6])) + round_constant[i] + w[i];
        uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                     ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        s[7] = s[6], s[6] = s[5], s[5] = e, s[4] = s[3] + t;
        s[3] = s[2], s[2] = s[1], s[1] = a, s[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

void ef__sha256_begin(ef__sha256 *sha)
{
    *sha = (ef__sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                  0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void ef__sha256_add(ef__sha256 *sha, const void *data, size_t bytes)
{
    const unsigned char *from = data;
    size_t held = sha->bytes % 64;
    sha->bytes += bytes;
    for (; held && bytes; bytes--) {
        sha->block[held++] = *from++;
        if (held == 64) {
            compress(sha->state, sha->block);
            held = 0;
        }
    }
    for (; bytes >= 64; bytes -= 64, from += 64)
        compress(sha->state, from);
    if (bytes)
        memcpy(sha->block, from, bytes);
}

void ef__sha256_end(ef__sha256 *sha, unsigned char digest[EF__SHA256_BYTES])
{
    static const unsigned char pad[64] = {0x80};
    unsigned char length[8];
    uint64_t bits = sha->bytes * 8;
    store_be32(length, (uint32_t)(bits >> 32));
    store_be32(length + 4, (uint32_t)bits);
    ef__sha256_add(sha, pad, 1 + (119 - sha->bytes % 64) % 64);
    ef__sha256_add(sha, length, sizeof length);
    for (int i = 0; i < 8; i++)
        store_be32(digest + 4 * i, sha->state[i]);
}

void ef__sha256_end_hex(ef__sha256 *sha, char hex[EF__SHA256_HEX])
{
    static const char digit[] = "0123456789abcdef";
    unsigned char digest[EF__SHA256_BYTES];
    ef__sha256_end(sha, digest);
    for (int i = 0; i < EF__SHA256_BYTES; i++) {
        hex[2 * i] = digit[digest[i] >> 4];
        hex[2 * i + 1] = digit[digest[i] & 15];
    }
    hex[EF__SHA256_HEX - 1] = 0;
}

void ef__sha256_hex(const void *data, size_t bytes, char hex[EF__SHA256_HEX])
{
    ef__sha256 sha;
    ef__sha256_begin(&sha);
    ef__sha256_add(&sha, data, bytes);
    ef__sha256_end_hex(&sha, hex);
}
