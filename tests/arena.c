/* arena.c -- the fixture of arena.h. */
#include "arena.h"

ef_tensor *arena_flat(ef_actor *a, size_t n, const float *data)
{
    return ef_test_f32(a, SHAPE(n), data ? data : ef_test_floats(n));
}

arena arena_new(ef_actor *a, size_t chunks, size_t count, const int32_t *flags)
{
    arena s = {.a = a, .chunks = chunks, .n = chunks * EF__CHUNK};
    s.flags = ef_test_alloc(chunks * sizeof *flags);
    for (size_t i = 0; i < chunks; i++)
        s.flags[i] = flags[i % count];
    s.p = ef_test_randn(s.n, 99);
    s.value = arena_flat(a, s.n, s.p);
    s.grad = arena_flat(a, s.n, NULL);
    s.m = arena_flat(a, s.n, NULL);
    s.v = arena_flat(a, s.n, NULL);
    s.state = (ef__optim_state){
        .table = ef_test_i32(a, SHAPE(chunks), s.flags),
        .updates = ef_test_i32(a, SHAPE(EF__PARTS), ef_test_alloc(EF__PARTS * 4)),
        .counts = ef_test_i32(a, SHAPE(EF__COUNTS), ef_test_alloc(EF__COUNTS * 4)),
        .shared = -1};
    s.metrics = arena_flat(a, EF_METRICS, NULL);
    return s;
}

void arena_norm(arena *s, float lr)
{
    ef_test_ok(s->a, ef__optim_norm(s->a, s->grad, &s->state, lr, s->metrics));
}

void arena_update(arena *s, const ef__optim_rule *rule)
{
    ef_test_ok(s->a,
               ef__optim_update(s->a, s->value, s->grad, s->m, s->v, &s->state, s->metrics, rule));
}

void arena_step(arena *s, const float *g, const ef__optim_rule *rule)
{
    ef_test_set(s->grad, g);
    arena_norm(s, rule->lr);
    arena_update(s, rule);
}

float arena_metric(const arena *s, int which)
{
    return ((const float *)ef_test_read(s->metrics))[which];
}

bool arena_variant(ef_actor *a, size_t *v)
{
    const ef__variant *list = ef__op_row(EF__OPTIM_NORM)->variants;
    while (list[*v].name && !list[*v].fits(ef__device_of(a), NULL))
        ++*v;
    const bool more = ef_test_variant(a, EF__OPTIM_NORM, *v);
    return ef_test_variant(a, EF__OPTIM_UPDATE, *v) && more;
}

ef__optim_rule arena_rule(void)
{
    return (ef__optim_rule){
        .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.05f};
}
