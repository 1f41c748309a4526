/* The few values lie between a least and a most of all that there are, and some of them go
 * together. */
#include "clblast_space.h"
#include <string.h>

typedef struct span {
    const char *name;
    int least, most;
} span;

static const span xgemm_1[] = {{"KWG", 32, 32}, {"MWG", 16, 64}, {"NWG", 16, 64}, {"STRM", 0, 0},
                               {"STRN", 0, 0},  {"VWM", 1, 4},   {"VWN", 1, 4},   {0}};
static const span xgemm_11[] = {
    {"KREG", 1, 4},  {"MDIMA", 4, 16}, {"MDIMC", 4, 16}, {"NDIMB", 4, 16}, {"NDIMC", 4, 16},
    {"MWG", 16, 64}, {"NWG", 16, 64},  {"VWM", 1, 4},    {"VWN", 1, 4},    {0}};
static const span direct_1[] = {
    {"KWID", 2, 2}, {"PADA", 1, 1}, {"PADB", 1, 1}, {"WGD", 8, 32}, {0}};
static const span every[] = {{0}};

/* Pairs of parameters that are equal in the set; NULL ends. */
typedef const char *const equals[7];
static equals xgemm_1_equal = {"MDIMC", "MDIMA", "NDIMC", "NDIMB", "SA", "SB"};
static equals xgemm_11_equal = {"VWM", "VWN"};
static equals direct_1_equal = {"MDIMCD", "MDIMAD", "NDIMCD", "NDIMBD"};
static equals none_equal = {NULL};

static const struct {
    const char *name;
    ef__clblast_id id;
    const span *spans;
    const char *const *equal;
} rows[TUNE_CLBLAST_SETS] = {
    [TUNE_XGEMM_1] = {"xgemm 1", EF__XGEMM_LOCAL, xgemm_1, xgemm_1_equal},
    [TUNE_XGEMM_2] = {"xgemm 2", EF__XGEMM_LOCAL, every, none_equal},
    [TUNE_XGEMM_11] = {"xgemm 11", EF__XGEMM_REGISTERS, xgemm_11, xgemm_11_equal},
    [TUNE_XGEMM_12] = {"xgemm 12", EF__XGEMM_REGISTERS, every, none_equal},
    [TUNE_XGEMM_DIRECT_1] = {"direct 1", EF__XGEMM_DIRECT, direct_1, direct_1_equal},
    [TUNE_XGEMM_DIRECT_2] = {"direct 2", EF__XGEMM_DIRECT, every, none_equal},
    [TUNE_COPY] = {"copy", EF__COPY, every, none_equal},
    [TUNE_PAD] = {"pad", EF__PAD, every, none_equal},
    [TUNE_TRANSPOSE] = {"transpose", EF__TRANSPOSE, every, none_equal},
    [TUNE_PADTRANSPOSE] = {"padtranspose", EF__PADTRANSPOSE, every, none_equal},
    [TUNE_GEMM_ROUTINE] = {"gemm routine", EF__GEMM_ROUTINE, every, none_equal},
};

ef__clblast_id tune_clblast_id(tune_clblast_set set)
{
    return rows[set].id;
}

static bool is_in(const span *spans, const char *name, int value)
{
    for (; spans->name; spans++)
        if (!strcmp(spans->name, name))
            return value >= spans->least && value <= spans->most;
    return true;
}

tune_part tune_clblast_part(tune_clblast_set set)
{
    const ef__clblast_parameter *from = ef__clblast_parameters(rows[set].id);
    tune_part part = {.name = rows[set].name};
    for (tune_parameter *p = part.parameter; from->name; from++, p++) {
        p->name = from->name;
        for (size_t i = 0; i < from->count; i++)
            if (is_in(rows[set].spans, from->name, from->values[i]))
                p->values[p->count++] = from->values[i];
    }
    return part;
}

static int value_of(tune_clblast_set set, const tune_point *point, const char *name)
{
    return point->value[ef__clblast_place(rows[set].id, name)];
}

typedef struct context {
    const tune_clblast_set *sets;
    const ef__clblast_limits *limits;
} context;

static bool valid(const void *user, const tune_point *point)
{
    const context *c = user;
    tune_clblast_set set = c->sets[point->part];
    for (const char *const *e = rows[set].equal; *e; e += 2)
        if (value_of(set, point, e[0]) != value_of(set, point, e[1]))
            return false;
    return ef__clblast_valid(rows[set].id, point->value, c->limits);
}

tune_space *tune_clblast_space(const tune_clblast_set *sets, size_t count,
                               const ef__clblast_limits *limits)
{
    tune_part parts[TUNE_CLBLAST_SETS];
    for (size_t i = 0; i < count; i++)
        parts[i] = tune_clblast_part(sets[i]);
    return tune_space_new(parts, count, valid, &(context){sets, limits});
}

/* ---- tied ---- */

/* What name goes with; NULL: it is its own. */
static const char *leader_of(tune_clblast_set set, const ef__clblast_limits *limits,
                             const char *name)
{
    static const char *const pairs[][2] = {
        {"MDIMA", "MDIMC"}, {"NDIMB", "NDIMC"}, {"MDIMAD", "MDIMCD"}, {"NDIMBD", "NDIMCD"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcmp(pairs[i][0], name))
            return pairs[i][1];
    const bool square = rows[set].id == EF__XGEMM_REGISTERS && limits->version < EF__CLBLAST_MENDED;
    return square && !strcmp(name, "NWG") ? "MWG" : NULL;
}

static tune_part tied_part(tune_clblast_set set, const ef__clblast_limits *limits)
{
    const tune_part whole = tune_clblast_part(set);
    tune_part part = {.name = whole.name};
    size_t count = 0;
    for (size_t i = 0; i < tune_part_parameters(&whole); i++)
        if (!leader_of(set, limits, whole.parameter[i].name))
            part.parameter[count++] = whole.parameter[i];
    return part;
}

void tune_clblast_untie(tune_clblast_set set, const ef__clblast_limits *limits,
                        const tune_point *point, int values[EF__CLBLAST_PARAMETERS])
{
    const ef__clblast_parameter *all = ef__clblast_parameters(rows[set].id);
    const tune_part part = tied_part(set, limits);
    for (size_t i = 0; all[i].name; i++) {
        const char *leader = leader_of(set, limits, all[i].name);
        const char *name = leader ? leader : all[i].name;
        size_t k = 0;
        while (strcmp(part.parameter[k].name, name) != 0)
            k++;
        values[i] = point->value[k];
    }
}

static bool valid_tied(const void *user, const tune_point *point)
{
    const context *c = user;
    tune_point whole = {.part = point->part};
    tune_clblast_untie(c->sets[point->part], c->limits, point, whole.value);
    return valid(c, &whole);
}

tune_space *tune_clblast_tied_space(const tune_clblast_set *sets, size_t count,
                                    const ef__clblast_limits *limits)
{
    tune_part parts[TUNE_CLBLAST_SETS];
    for (size_t i = 0; i < count; i++)
        parts[i] = tied_part(sets[i], limits);
    return tune_space_new(parts, count, valid_tied, &(context){sets, limits});
}
