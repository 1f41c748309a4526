/* Parameters of CLBlast's GEMM: lists, rules, records. They stand in alphabetical order, as the
 * enums beside each kernel. */
#include "op/clblast.h"
#include <stdio.h>
#include <string.h>

#define VALUES(...) {__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int)

static bool divides(int part, int whole)
{
    return part > 0 && whole % part == 0;
}

static ef__clblast_group group(int x, int y, int floats)
{
    return (ef__clblast_group){{(size_t)x, (size_t)y}, sizeof(float) * (size_t)floats};
}

/* ---- Xgemm: the indirect kernel ---- */

enum { GEMMK, KREG, KWG, KWI, MDIMA, MDIMC, MWG, NDIMB, NDIMC, NWG, SA, SB, STRM, STRN, VWM, VWN };

static const ef__clblast_parameter xgemm_local[] = {{"GEMMK", VALUES(0)},
                                                    {"KREG", VALUES(1)},
                                                    {"KWG", VALUES(16, 32)},
                                                    {"KWI", VALUES(2)},
                                                    {"MDIMA", VALUES(8, 16, 32)},
                                                    {"MDIMC", VALUES(8, 16, 32)},
                                                    {"MWG", VALUES(16, 32, 64, 128)},
                                                    {"NDIMB", VALUES(8, 16, 32)},
                                                    {"NDIMC", VALUES(8, 16, 32)},
                                                    {"NWG", VALUES(16, 32, 64, 128)},
                                                    {"SA", VALUES(0, 1)},
                                                    {"SB", VALUES(0, 1)},
                                                    {"STRM", VALUES(0, 1)},
                                                    {"STRN", VALUES(0, 1)},
                                                    {"VWM", VALUES(1, 2, 4, 8)},
                                                    {"VWN", VALUES(1, 2, 4, 8)},
                                                    {0}};

static const ef__clblast_parameter xgemm_registers[] = {{"GEMMK", VALUES(1)},
                                                        {"KREG", VALUES(1, 2, 4, 8, 16)},
                                                        {"KWG", VALUES(1)},
                                                        {"KWI", VALUES(1)},
                                                        {"MDIMA", VALUES(2, 4, 8, 16, 32)},
                                                        {"MDIMC", VALUES(2, 4, 8, 16, 32)},
                                                        {"MWG", VALUES(8, 16, 32, 64, 128)},
                                                        {"NDIMB", VALUES(2, 4, 8, 16, 32)},
                                                        {"NDIMC", VALUES(2, 4, 8, 16, 32)},
                                                        {"NWG", VALUES(8, 16, 32, 64, 128)},
                                                        {"SA", VALUES(0)},
                                                        {"SB", VALUES(0)},
                                                        {"STRM", VALUES(0)},
                                                        {"STRN", VALUES(0)},
                                                        {"VWM", VALUES(1, 2, 4, 8)},
                                                        {"VWN", VALUES(1, 2, 4, 8)},
                                                        {0}};

static bool tiles(const int *v)
{
    return divides(v[KWI], v[KWG]) && divides(v[MDIMC] * v[VWM], v[MWG]) &&
           divides(v[NDIMC] * v[VWN], v[NWG]) && divides(v[MDIMA] * v[VWM], v[MWG]) &&
           divides(v[NDIMB] * v[VWN], v[NWG]);
}

static bool valid_local(const int *v, int version)
{
    (void)version;
    int items = v[MDIMC] * v[NDIMC];
    return tiles(v) && divides(items / v[MDIMA], v[KWG]) && divides(items / v[NDIMB], v[KWG]);
}

/* Before 1.6.3 the routine pads m to MWG and n to NWG of the operands as given, but this kernel
 * takes them swapped: unequal tiles give wrong results or fail (CLBlast pull request 543). */
static bool valid_registers(const int *v, int version)
{
    return tiles(v) && divides(v[VWN], v[KREG]) && v[MDIMC] == v[MDIMA] && v[NDIMC] == v[NDIMB] &&
           (version >= EF__CLBLAST_MENDED || v[MWG] == v[NWG]);
}

static ef__clblast_group xgemm_group(const int *v)
{
    return group(v[MDIMC], v[NDIMC], v[KWG] * (v[SA] * v[MWG] + v[SB] * v[NWG]));
}

/* ---- XgemmDirect: one kernel, no copies before it ---- */

enum { KWID, MDIMAD, MDIMCD, NDIMBD, NDIMCD, PADA, PADB, VWMD, VWND, WGD };

static const ef__clblast_parameter direct[] = {{"KWID", VALUES(2, 8, 16)},
                                               {"MDIMAD", VALUES(8, 16, 32)},
                                               {"MDIMCD", VALUES(8, 16, 32)},
                                               {"NDIMBD", VALUES(8, 16, 32)},
                                               {"NDIMCD", VALUES(8, 16, 32)},
                                               {"PADA", VALUES(0, 1)},
                                               {"PADB", VALUES(0, 1)},
                                               {"VWMD", VALUES(1, 2, 4, 8)},
                                               {"VWND", VALUES(1, 2, 4, 8)},
                                               {"WGD", VALUES(8, 16, 32, 64)},
                                               {0}};

static bool valid_direct(const int *v, int version)
{
    (void)version;
    int items = v[MDIMCD] * v[NDIMCD], tile = v[WGD];
    return divides(v[KWID], tile) && divides(v[MDIMCD] * v[VWMD], tile) &&
           divides(v[NDIMCD] * v[VWND], tile) && divides(v[MDIMAD] * v[VWMD], tile) &&
           divides(v[NDIMBD] * v[VWND], tile) && divides(items / v[MDIMAD], tile) &&
           divides(items / v[NDIMBD], tile);
}

static ef__clblast_group direct_group(const int *v)
{
    return group(v[MDIMCD], v[NDIMCD], v[WGD] * (v[WGD] + v[PADA] + v[WGD] + v[PADB]));
}

/* ---- The copies around the indirect kernel ---- */

static const ef__clblast_parameter copy[] = {{"COPY_DIMX", VALUES(8, 16, 32)},
                                             {"COPY_DIMY", VALUES(8, 16, 32)},
                                             {"COPY_VW", VALUES(1, 2, 4, 8)},
                                             {"COPY_WPT", VALUES(1, 2, 4, 8)},
                                             {0}};

static const ef__clblast_parameter pad[] = {{"PAD_DIMX", VALUES(8, 16, 32)},
                                            {"PAD_DIMY", VALUES(8, 16, 32)},
                                            {"PAD_WPTX", VALUES(1, 2, 4)},
                                            {"PAD_WPTY", VALUES(1, 2, 4)},
                                            {0}};

static ef__clblast_group copy_group(const int *v)
{
    return group(v[0], v[1], 0);
}

enum { TRA_DIM, TRA_PAD, TRA_SHUFFLE, TRA_WPT };

static const ef__clblast_parameter transpose[] = {{"TRA_DIM", VALUES(4, 8, 16, 32, 64)},
                                                  {"TRA_PAD", VALUES(0, 1)},
                                                  {"TRA_SHUFFLE", VALUES(0, 1)},
                                                  {"TRA_WPT", VALUES(1, 2, 4, 8, 16)},
                                                  {0}};

static ef__clblast_group transpose_group(const int *v)
{
    return group(v[TRA_DIM], v[TRA_DIM],
                 v[TRA_WPT] * v[TRA_WPT] * v[TRA_DIM] * (v[TRA_DIM] + v[TRA_PAD]));
}

enum { PADTRA_PAD, PADTRA_TILE, PADTRA_WPT };

static const ef__clblast_parameter padtranspose[] = {{"PADTRA_PAD", VALUES(0, 1)},
                                                     {"PADTRA_TILE", VALUES(8, 16, 32, 64)},
                                                     {"PADTRA_WPT", VALUES(1, 2, 4, 8, 16)},
                                                     {0}};

static ef__clblast_group padtranspose_group(const int *v)
{
    int side = v[PADTRA_WPT] * v[PADTRA_TILE];
    return group(v[PADTRA_TILE], v[PADTRA_TILE], side * (side + v[PADTRA_PAD]));
}

/* ---- The switch ---- */

/* The two ends time both kernels on any shape. */
static const ef__clblast_parameter gemm_routine[] = {
    {"XGEMM_MIN_INDIRECT_SIZE", VALUES(0, EF__CLBLAST_HUGE)}, {0}};

static ef__clblast_group one_item(const int *v)
{
    (void)v;
    return group(1, 1, 0);
}

/* ---- All of them ---- */

static bool any(const int *v, int version)
{
    (void)v;
    (void)version;
    return true;
}

static const struct {
    const char *kernel;
    const ef__clblast_parameter *parameter;
    bool (*valid)(const int *v, int version);
    ef__clblast_group (*group)(const int *v);
} rows[EF__CLBLAST_IDS] = {
    [EF__XGEMM_LOCAL] = {"Xgemm", xgemm_local, valid_local, xgemm_group},
    [EF__XGEMM_REGISTERS] = {"Xgemm", xgemm_registers, valid_registers, xgemm_group},
    [EF__XGEMM_DIRECT] = {"XgemmDirect", direct, valid_direct, direct_group},
    [EF__COPY] = {"Copy", copy, any, copy_group},
    [EF__PAD] = {"Pad", pad, any, copy_group},
    [EF__TRANSPOSE] = {"Transpose", transpose, any, transpose_group},
    [EF__PADTRANSPOSE] = {"Padtranspose", padtranspose, any, padtranspose_group},
    [EF__GEMM_ROUTINE] = {"GemmRoutine", gemm_routine, any, one_item},
};

const char *ef__clblast_kernel(ef__clblast_id id)
{
    return rows[id].kernel;
}

const ef__clblast_parameter *ef__clblast_parameters(ef__clblast_id id)
{
    return rows[id].parameter;
}

size_t ef__clblast_count(ef__clblast_id id)
{
    size_t n = 0;
    while (rows[id].parameter[n].name)
        n++;
    return n;
}

size_t ef__clblast_place(ef__clblast_id id, const char *name)
{
    size_t i = 0;
    while (strcmp(rows[id].parameter[i].name, name) != 0)
        i++;
    return i;
}

ef__clblast_group ef__clblast_group_of(ef__clblast_id id, const int *values)
{
    return rows[id].group(values);
}

/* The switch may lie anywhere between its ends. */
static bool is_value(ef__clblast_id id, const ef__clblast_parameter *p, int value)
{
    if (id == EF__GEMM_ROUTINE)
        return value >= 0 && value <= EF__CLBLAST_HUGE;
    for (size_t i = 0; i < p->count; i++)
        if (p->values[i] == value)
            return true;
    return false;
}

bool ef__clblast_valid(ef__clblast_id id, const int *values, const ef__clblast_limits *l)
{
    for (size_t i = 0; i < ef__clblast_count(id); i++)
        if (!is_value(id, &rows[id].parameter[i], values[i]))
            return false;
    ef__clblast_group g = rows[id].group(values);
    return rows[id].valid(values, l->version) && g.item[0] <= l->item[0] &&
           g.item[1] <= l->item[1] && g.item[0] * g.item[1] <= l->group &&
           g.local_bytes <= l->local_bytes;
}

ef__clblast_limits ef__clblast_limits_of(const ef__device *d)
{
    const size_t group = d->info.max_work_group;
    return (ef__clblast_limits){group, {group, group}, d->info.local_bytes, ef__clblast_version()};
}

/* ---- Sets ---- */

/* Exactly the parameters of the kernel. */
static bool read_values(json_t *json, ef__clblast_id id, int *values)
{
    const size_t count = ef__clblast_count(id);
    if (json_object_size(json) != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(json, rows[id].parameter[i].name);
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 0 || number > EF__CLBLAST_HUGE)
            return false;
        values[i] = (int)number;
    }
    return true;
}

static bool read_kernel(const char *kernel, json_t *json, const ef__clblast_limits *limits,
                        ef__clblast_set *set)
{
    for (ef__clblast_id id = 0; id < EF__CLBLAST_IDS; id++) {
        int values[EF__CLBLAST_PARAMETERS] = {0};
        if (strcmp(rows[id].kernel, kernel) || !read_values(json, id, values) ||
            !ef__clblast_valid(id, values, limits))
            continue;
        set->has[id] = 1;
        memcpy(set->value[id], values, sizeof values);
        return true;
    }
    return false;
}

bool ef__clblast_read(json_t *kernels, const ef__clblast_limits *limits, ef__clblast_set *set)
{
    const char *kernel;
    json_t *values;
    *set = (ef__clblast_set){.has = {0}};
    bool good = json_object_size(kernels) > 0;
    json_object_foreach(kernels, kernel, values)
    {
        good = good && read_kernel(kernel, values, limits, set);
    }
    if (!good)
        *set = (ef__clblast_set){.has = {0}};
    return good;
}

json_t *ef__clblast_json(const ef__clblast_set *set)
{
    json_t *kernels = json_object();
    for (ef__clblast_id id = 0; id < EF__CLBLAST_IDS; id++) {
        if (!set->has[id])
            continue;
        json_t *values = json_object();
        for (size_t i = 0; i < ef__clblast_count(id); i++)
            json_object_set_new(values, rows[id].parameter[i].name,
                                json_integer(set->value[id][i]));
        json_object_set_new(kernels, rows[id].kernel, values);
    }
    return kernels;
}

bool ef__clblast_is_empty(const ef__clblast_set *set)
{
    for (ef__clblast_id id = 0; id < EF__CLBLAST_IDS; id++)
        if (set->has[id])
            return false;
    return true;
}

const char *ef__clblast_text(const ef__clblast_set *set, char text[EF__CLBLAST_TEXT])
{
    int used = 0;
    text[0] = '\0';
    for (ef__clblast_id id = 0; id < EF__CLBLAST_IDS; id++)
        for (size_t i = 0; set->has[id] && i < ef__clblast_count(id); i++)
            used += snprintf(text + used, EF__CLBLAST_TEXT - (size_t)used, "%s%s%s %d",
                             used ? ", " : rows[id].kernel, used ? "" : " ",
                             rows[id].parameter[i].name, set->value[id][i]);
    return text;
}
