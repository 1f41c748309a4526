/* Weights in panels for cl/conv1d.cl, kept beside the memory that they come from. A lease's
 * attachment lists every layout that was ever asked for of any weight in it, in blocks: one as
 * large as the weights, which is seldom too small, and others behind it. When the lease was written
 * since, the next request repacks the whole list of its block in one launch, the others find it
 * fresh. A list that is full starts again: a model's weights are far fewer, but views may be of any
 * place. Queue order keeps an earlier operation's panels intact: a repack is enqueued behind it. */
#include "base/size.h"
#include "op/conv1d.h"
#include <stdlib.h>
#include <string.h>

enum { PACK_ROWS = 64 }; /* channels that one group packs */

/* One packed copy, as the device's table has it (cl/conv1d_pack.cl). */
typedef struct copy {
    int64_t from, to, Cout, Cin, K, layout, first_group, slices, vectors;
} copy;

/* A block. Only the first is the attachment. */
typedef struct panels panels;
struct panels {
    ef__attachment base;
    panels *next;
    ef_tensor *packed; /* all copies */
    ef_tensor *table;  /* copies, on the device */
    copy *copies;
    size_t count, groups;
    size_t used, room; /* of packed, in elements */
    bool fresh;        /* packed holds all copies of the weights at version */
    uint64_t version;
};

static void destroy(ef__attachment *self)
{
    for (panels *p = (panels *)self, *next; p; p = next) {
        next = p->next;
        ef_tensor_free(p->packed);
        ef_tensor_free(p->table);
        free(p->copies);
        free(p);
    }
}

static size_t lanes(const copy *c)
{
    return (size_t)(c->layout ? c->Cin : c->Cout);
}

static size_t depth(const copy *c)
{
    return (size_t)(c->layout ? c->Cout : c->Cin);
}

static size_t panel_count(const ef__device *device, const copy *c)
{
    return ef__ceil_div(lanes(c), (size_t)c->vectors * ef__lanes(device));
}

/* Elements of a copy, rounded up to what a view may start at. */
static size_t elements(const ef__device *device, const copy *c)
{
    const size_t width = (size_t)c->vectors * ef__lanes(device);
    return ef__round_up(panel_count(device, c) * width * depth(c) * (size_t)c->slices, 16);
}

static bool same(const copy *c, const copy *d)
{
    return c->from == d->from && c->layout == d->layout && c->Cout == d->Cout && c->Cin == d->Cin &&
           c->K == d->K && c->slices == d->slices && c->vectors == d->vectors;
}

static ef_status upload(ef_actor *a, panels *p)
{
    size_t ints = p->count * sizeof(copy) / sizeof(int32_t);
    ef_tensor *table;
    ef_status status = ef_tensor_new(a, EF_I32, 1, &ints, "pack table", &table);
    if (status)
        return status;
    ef_tensor_free(p->table);
    p->table = table;
    return ef_tensor_write(table, p->copies);
}

static ef_status append(ef_actor *a, const char *op, panels *p, const copy *wanted)
{
    const ef__device *device = ef__device_of(a);
    copy *copies = realloc(p->copies, (p->count + 1) * sizeof *copies);
    if (!copies)
        return ef__fail(a, EF_ENOMEM, 0, op, "%s: no host memory", op);
    p->copies = copies;
    copy *c = &copies[p->count++];
    *c = *wanted;
    c->to = (int64_t)p->used;
    c->first_group = (int64_t)p->groups;
    p->used += elements(device, c);
    p->groups += panel_count(device, c) * ef__ceil_div(depth(c), PACK_ROWS);
    p->fresh = false;
    return upload(a, p);
}

static ef_status repack(ef_actor *a, const char *op, const ef_tensor *w, panels *p)
{
    ef_tensor *arena;
    ef_status status = ef__tensor_root(w, &arena);
    if (status)
        return status;
    ef__call call = {.op = op,
                     .source = "conv1d_pack",
                     .kernel = "conv1d_pack",
                     .global = {p->groups},
                     .local = {1},
                     .args = {ef__t(arena), ef__t(p->packed), ef__t(p->table),
                              ef__i((int32_t)p->count), ef__i(PACK_ROWS)}};
    status = ef__launch(a, &call);
    ef_tensor_free(arena);
    p->version = ef__tensor_version(w);
    p->fresh = !status;
    return status;
}

enum { MOST_COPIES = 1024, LEAST_ROOM = 1 << 14 };

/* A block with room for need elements; where there is room for all of w's memory once, that: rarely
 * is more packed. */
static ef_status new_block(ef_actor *a, const char *op, const ef_tensor *w, size_t need,
                           panels **block)
{
    ef_tensor *arena = NULL;
    panels *p = calloc(1, sizeof *p);
    ef_status status = p ? ef__tensor_root(w, &arena) : EF_ENOMEM;
    if (!p)
        return ef__fail(a, status, 0, op, "%s: no host memory", op);
    p->base.destroy = destroy;
    if (!status) {
        p->room = ef__max(need, ef__max(ef_tensor_count(arena), LEAST_ROOM));
        status = ef__tensor_new_upto(a, need, &p->room, "packed weights", &p->packed);
    }
    ef_tensor_free(arena);
    if (status)
        destroy(&p->base);
    else
        *block = p;
    return status;
}

/* The block and the place of a copy; NULL: it is nowhere. */
static panels *find(panels *p, const copy *wanted, size_t *i)
{
    for (; p; p = p->next)
        for (*i = 0; *i < p->count; ++*i)
            if (same(&p->copies[*i], wanted))
                return p;
    return NULL;
}

/* Lists a copy in the first block with room, in a new one behind them if there is none. A full list
 * starts again; what was handed out of it stays as it is, in queue order. */
static ef_status add(ef_actor *a, const char *op, const ef_tensor *w, const copy *wanted,
                     panels **p)
{
    panels **place = (panels **)ef__tensor_attachment(w), *first = *place;
    const size_t need = elements(ef__device_of(a), wanted);
    size_t count = 0;
    ef_status status = EF_OK;
    for (*p = first; *p; *p = (*p)->next)
        count += (*p)->count;
    if (count == MOST_COPIES) {
        destroy(&first->base);
        *place = NULL;
    }
    while (*place && (*place)->room - (*place)->used < need)
        place = &(*place)->next;
    if (!*place)
        status = new_block(a, op, w, need, place);
    *p = *place;
    return status ? status : append(a, op, *p, wanted);
}

ef_status ef__pack(ef_actor *a, const char *op, const ef_tensor *w, int layout, size_t outputs,
                   size_t vectors, ef_tensor **packed)
{
    const size_t *dims = ef_tensor_dims(w);
    const int64_t K = ef_tensor_rank(w) > 2 ? (int64_t)dims[2] : 1;
    const copy wanted = {
        .from = (int64_t)ef__tensor_offset(w),
        .Cout = (int64_t)dims[0],
        .Cin = (int64_t)dims[1],
        .K = K,
        .layout = layout,
        .slices = K + (int64_t)outputs - 1,
        .vectors = (int64_t)vectors,
    };
    ef__attachment **first = ef__tensor_attachment(w);
    size_t i, count = elements(ef__device_of(a), &wanted);
    panels *p = find((panels *)*first, &wanted, &i);
    ef_status status = EF_OK;
    if (!p) {
        status = add(a, op, w, &wanted, &p);
        i = status ? 0 : p->count - 1;
    }
    if (!status && (!p->fresh || p->version != ef__tensor_version(w)))
        status = repack(a, op, w, p);
    if (!status)
        return ef_tensor_view(p->packed, (size_t)p->copies[i].to, 1, &count, "packed weight",
                              packed);
    if (*first) /* a half-made list is worth nothing */
        (*first)->destroy(*first);
    *first = NULL;
    return status;
}
