/* A set of byte strings and their ids as a double array: the child of node n by byte b is slot
 * base[n] ^ b, if that slot's parent is n. One load for each byte of a string. */
#ifndef EF_DATA_TRIE_H
#define EF_DATA_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EF__TRIE_ROOT, EF__TRIE_DEAD }; /* the first node; one that has no children and no id */

typedef struct ef__trie_node {
    uint32_t base, parent;
    int32_t id; /* of the string that ends here, or -1 */
} ef__trie_node;

typedef struct ef__trie {
    ef__trie_node *node;
} ef__trie;

typedef struct ef__trie_key {
    const unsigned char *text;
    size_t bytes;
    int32_t id;
} ef__trie_key;

/* ef__trie_build -- from keys that are sorted by memcmp (a start of another one before it),
 * different and not empty. false: no memory. Free it with ef__trie_free; a zeroed one is fine. */
bool ef__trie_build(ef__trie *trie, const ef__trie_key *key, size_t count);
void ef__trie_free(ef__trie *trie);

/* ef__trie_child -- the child of a node, EF__TRIE_ROOT if it has none by that byte. */
static inline uint32_t ef__trie_child(const ef__trie *trie, uint32_t node, unsigned char byte)
{
    const uint32_t child = trie->node[node].base ^ byte;
    return trie->node[child].parent == node ? child : EF__TRIE_ROOT;
}

#endif
