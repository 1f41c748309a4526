/* example.c -- reads the words of an example (op/op.h) and fills its arrays. */
#include "example.h"
#include "base/size.h"
#include "op/conv1d.h"
#include "op/optim.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sizes ---- */

static const char letters[] = "BLDHKVE";

static size_t parameters(const size_t model[EXAMPLE_SIZES])
{
    size_t D = model[2], H = model[3], K = model[4], V = model[5], E = model[6];
    size_t block = D * H * (K + 1) + H + 3 * D;
    return ef__round_up((V + E) * D + E + 4 * block, EF__CHUNK);
}

static size_t size_of(const size_t model[EXAMPLE_SIZES], char letter)
{
    const char *at = strchr(letters, letter);
    if (letter >= '1' && letter <= '9')
        return (size_t)(letter - '0');
    if (letter == 'P')
        return parameters(model);
    if (letter == 'C')
        return parameters(model) / EF__CHUNK;
    assert(at && "a size that op/op.h does not name");
    return model[at - letters];
}

/* Every size that the words name, once. */
static void write_shape(example *e, const char *words, const size_t model[EXAMPLE_SIZES])
{
    size_t used = 0;
    for (const char *s = words; *s; s++)
        if (*s >= 'A' && *s <= 'Z' && memchr(words, *s, (size_t)(s - words)) == NULL)
            used += (size_t)snprintf(e->shape + used, sizeof e->shape - used, "%s%c%zu",
                                     used ? " " : "", *s, size_of(model, *s));
    if (e->args.n[EF__D])
        snprintf(e->shape + used, sizeof e->shape - used, " d%zu", e->args.n[EF__D]);
}

/* ---- numbers ---- */

static double draw(uint64_t *state) /* -1 .. 1 */
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 32) / 2147483648.0 - 1;
}

static float f32_of(char kind, uint64_t *seed)
{
    if (kind == 'n')
        return (float)(1.7320508 * draw(seed));
    return kind == 'p' ? (float)(1 + draw(seed) / 4) : 0;
}

static int32_t i32_of(char kind, size_t V, uint64_t *seed)
{
    if (kind == 'i')
        return 1 + (int32_t)((draw(seed) + 1) / 2 * (double)(V - 1));
    return kind == 't' ? EF__DECAY | EF__TRAINABLE : 1;
}

/* The last sixteenth of every other sample is masked. */
static bool is_kept(size_t i, size_t L)
{
    return i / L % 2 == 0 || i % L < L - ef__ceil_div(L, 16);
}

static void fill(example_array *t, char kind, size_t V, uint64_t seed)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->dtype == EF_F32)
            ((float *)t->data)[i] = f32_of(kind, &seed);
        else if (t->dtype == EF_I32)
            ((int32_t *)t->data)[i] = i32_of(kind, V, &seed);
        else if (t->dtype == EF_U8)
            ((uint8_t *)t->data)[i] = is_kept(i, t->dims[t->rank - 1]);
}

static ef_dtype dtype_of(char kind)
{
    assert(strchr("npzhictm", kind) && "a kind that op/op.h does not name");
    return kind == 'h' ? EF_F16 : kind == 'm' ? EF_U8 : strchr("ict", kind) ? EF_I32 : EF_F32;
}

/* ---- examples ---- */

static void put(example *e, int i, char kind, size_t rank, const size_t *dims, size_t V)
{
    example_array *t = &e->t[i];
    *t = (example_array){.dtype = dtype_of(kind), .rank = rank, .count = 1};
    for (size_t k = 0; k < rank; k++)
        t->count *= t->dims[k] = dims[k];
    t->data = calloc(t->count, sizeof(float));
    if (t->data)
        fill(t, kind, V, (uint64_t)i + 1);
    else
        e->no_memory = true;
}

/* One word: its length. */
static size_t put_word(example *e, int i, const char *word, const size_t model[EXAMPLE_SIZES])
{
    size_t length = strcspn(word, " "), dims[EF_MAX_RANK];
    assert(length >= 2 && length - 1 <= EF_MAX_RANK && i < EF__MAX_TENSORS);
    for (size_t k = 1; k < length; k++)
        dims[k - 1] = size_of(model, word[k]);
    put(e, i, word[0], length - 1, dims, size_of(model, 'V'));
    return length;
}

void example_epilogue(example *e, const ef__op *op, int parts)
{
    const example_array *y = &e->t[__builtin_ctz(op->writes)]; /* the first result */
    if (parts & EF__BIAS)
        put(e, EXAMPLE_BIAS, 'n', 1, &y->dims[y->rank - 1], 0);
    if (parts & EF__PRE)
        put(e, EXAMPLE_PRE, 'z', y->rank, y->dims, 0);
    if (parts & EF__GELU_GRAD)
        put(e, EXAMPLE_GELU_GRAD, 'n', y->rank, y->dims, 0);
    if (parts & EF__RESIDUAL)
        put(e, EXAMPLE_RESIDUAL, 'n', y->rank, y->dims, 0);
    if (parts & EF__MASK)
        put(e, EXAMPLE_MASK, 'm', y->rank - 1, y->dims, 0);
    e->args.epilogue.gelu = parts & EF__GELU;
}

void example_make(const ef__op *op, int which, const size_t model[EXAMPLE_SIZES], example *e)
{
    const ef__example *from = &op->examples[which];
    const char *word = from->tensors;
    *e = (example){.no_memory = false};
    memcpy(e->args.n, from->n, sizeof from->n);
    memcpy(e->args.f, from->f, sizeof from->f);
    for (int i = 0; *word; i++) {
        word += put_word(e, i, word, model);
        word += *word == ' ';
    }
    example_epilogue(e, op, from->epilogue);
    write_shape(e, from->tensors, model);
}

void example_clear(example *e)
{
    for (int i = 0; i < EXAMPLE_TENSORS; i++)
        free(e->t[i].data);
}

void example_bind(ef__args *args, ef_tensor *const t[EXAMPLE_TENSORS])
{
    for (int i = 0; i < EF__MAX_TENSORS; i++)
        args->t[i] = t[i];
    args->epilogue.bias = t[EXAMPLE_BIAS];
    args->epilogue.residual = t[EXAMPLE_RESIDUAL];
    args->epilogue.mask = t[EXAMPLE_MASK];
    args->epilogue.pre = t[EXAMPLE_PRE];
    args->epilogue.gelu_grad = t[EXAMPLE_GELU_GRAD];
}
