#include "data/trie.h"
#include "base/size.h"
#include <stdlib.h>

enum { BLOCK = 256, TRIES = 64 };
#define NO_NODE UINT32_MAX       /* the parent of ROOT and DEAD */
#define VACANT (UINT32_MAX - 1u) /* the parent of a slot that is not taken */

/* Keys [first, end) have `depth` bytes in common, which lead to node. */
typedef struct branch {
    uint32_t node;
    size_t first, end, depth;
} branch;

/* Vacant slots are a ring through DEAD, in the order of their making: next in base, previous in
 * id. The slots of one block of 256 have the same base's upper bits, so a base fits wholly into one
 * block. */
typedef struct builder {
    ef__trie_node *node;
    size_t size, room;
    const ef__trie_key *key;
    branch *todo;
    size_t left;
} builder;

static void take_slot(builder *b, uint32_t slot, uint32_t parent)
{
    ef__trie_node *n = &b->node[slot];
    b->node[n->id].base = n->base;
    b->node[n->base].id = n->id;
    *n = (ef__trie_node){.base = 0, .parent = parent, .id = -1};
}

/* A block of vacant slots more, at the end of the ring. */
static bool add_block(builder *b)
{
    if (b->size + BLOCK > INT32_MAX)
        return false;
    if (b->size + BLOCK > b->room) {
        const size_t room = b->room ? 2 * b->room : 4096;
        ef__trie_node *more = realloc(b->node, room * sizeof *more);
        if (!more)
            return false;
        b->node = more;
        b->room = room;
    }
    if (!b->size)
        b->node[EF__TRIE_DEAD] = (ef__trie_node){EF__TRIE_DEAD, NO_NODE, EF__TRIE_DEAD};
    for (uint32_t i = (uint32_t)b->size; i < b->size + BLOCK; i++) {
        if (i == EF__TRIE_DEAD)
            continue;
        const int32_t last = b->node[EF__TRIE_DEAD].id;
        b->node[i] = (ef__trie_node){EF__TRIE_DEAD, VACANT, last};
        b->node[last].base = i;
        b->node[EF__TRIE_DEAD].id = (int32_t)i;
    }
    b->size += BLOCK;
    return true;
}

/* The different bytes that follow in the keys of a branch. */
static size_t labels_of(const builder *b, const branch *from, unsigned char *label)
{
    size_t count = 0;
    for (size_t i = from->first; i < from->end; i++) {
        const unsigned char next = b->key[i].text[from->depth];
        if (!count || label[count - 1] != next)
            label[count++] = next;
    }
    return count;
}

static bool is_vacant(const builder *b, uint32_t base, const unsigned char *label, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (b->node[base ^ label[i]].parent != VACANT)
            return false;
    return true;
}

/* A base whose slots are vacant: by one of the first vacant slots, by one of the last, or in a new
 * block; so the time for a node is bounded. */
static bool find_base(builder *b, const unsigned char *label, size_t count, uint32_t *base)
{
    uint32_t slot = b->node[EF__TRIE_DEAD].base;
    for (int i = 0; i < TRIES && slot != EF__TRIE_DEAD; i++, slot = b->node[slot].base)
        if (is_vacant(b, *base = slot ^ label[0], label, count))
            return true;
    slot = (uint32_t)b->node[EF__TRIE_DEAD].id;
    for (int i = 0; i < BLOCK && slot != EF__TRIE_DEAD; i++, slot = (uint32_t)b->node[slot].id)
        if (is_vacant(b, *base = slot ^ label[0], label, count))
            return true;
    *base = (uint32_t)b->size;
    return add_block(b);
}

/* Make the children of a branch; each is one more to do. */
static bool grow(builder *b, branch from)
{
    unsigned char label[BLOCK];
    uint32_t base;
    if (b->key[from.first].bytes == from.depth)
        b->node[from.node].id = b->key[from.first++].id;
    const size_t count = labels_of(b, &from, label);
    if (!count)
        return true;
    if (!find_base(b, label, count, &base))
        return false;
    b->node[from.node].base = base;
    for (size_t i = 0; i < count; i++) {
        const size_t first = from.first;
        while (from.first < from.end && b->key[from.first].text[from.depth] == label[i])
            from.first++;
        take_slot(b, base ^ label[i], from.node);
        b->todo[b->left++] = (branch){base ^ label[i], first, from.first, from.depth + 1};
    }
    return true;
}

bool ef__trie_build(ef__trie *trie, const ef__trie_key *key, size_t count)
{
    builder b = {.key = key, .todo = malloc((count + 1) * sizeof *b.todo)};
    bool good = b.todo && add_block(&b); /* branches that wait have no key in common */
    if (good)
        take_slot(&b, EF__TRIE_ROOT, NO_NODE);
    if (good && count)
        b.todo[b.left++] = (branch){EF__TRIE_ROOT, 0, count, 0};
    while (good && b.left)
        good = grow(&b, b.todo[--b.left]);
    free(b.todo);
    if (!good) {
        free(b.node);
        return false;
    }
    b.node[EF__TRIE_DEAD] = (ef__trie_node){.base = 0, .parent = NO_NODE, .id = -1};
    trie->node = b.node;
    return true;
}

void ef__trie_free(ef__trie *trie)
{
    free(trie->node);
    trie->node = NULL;
}
