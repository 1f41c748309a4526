/* Parameters stand in alphabetical order, as the enums beside each family. */
#include "clblast_space.h"

#define VALUES(...) {__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int)

static bool divides(int part, int whole)
{
    return part > 0 && whole % part == 0;
}

static tune_clblast_group group(int x, int y, int floats)
{
    return (tune_clblast_group){{(size_t)x, (size_t)y}, sizeof(float) * (size_t)floats};
}

/* ---- Xgemm: the indirect kernel. GEMMK 0 works in tiles of local memory, 1 in registers ---- */

enum { GEMMK, KREG, KWG, KWI, MDIMA, MDIMC, MWG, NDIMB, NDIMC, NWG, SA, SB, STRM, STRN, VWM, VWN };

static const tune_part xgemm_1 = {"xgemm 1",
                                  {{"GEMMK", VALUES(0)},
                                   {"KREG", VALUES(1)},
                                   {"KWG", VALUES(32)},
                                   {"KWI", VALUES(2)},
                                   {"MDIMA", VALUES(8, 16, 32)},
                                   {"MDIMC", VALUES(8, 16, 32)},
                                   {"MWG", VALUES(16, 32, 64)},
                                   {"NDIMB", VALUES(8, 16, 32)},
                                   {"NDIMC", VALUES(8, 16, 32)},
                                   {"NWG", VALUES(16, 32, 64)},
                                   {"SA", VALUES(0, 1)},
                                   {"SB", VALUES(0, 1)},
                                   {"STRM", VALUES(0)},
                                   {"STRN", VALUES(0)},
                                   {"VWM", VALUES(1, 2, 4)},
                                   {"VWN", VALUES(1, 2, 4)}}};
static const tune_part xgemm_2 = {"xgemm 2",
                                  {{"GEMMK", VALUES(0)},
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
                                   {"VWN", VALUES(1, 2, 4, 8)}}};
static const tune_part xgemm_11 = {"xgemm 11",
                                   {{"GEMMK", VALUES(1)},
                                    {"KREG", VALUES(1, 2, 4)},
                                    {"KWG", VALUES(1)},
                                    {"KWI", VALUES(1)},
                                    {"MDIMA", VALUES(4, 8, 16)},
                                    {"MDIMC", VALUES(4, 8, 16)},
                                    {"MWG", VALUES(16, 32, 64)},
                                    {"NDIMB", VALUES(4, 8, 16)},
                                    {"NDIMC", VALUES(4, 8, 16)},
                                    {"NWG", VALUES(16, 32, 64)},
                                    {"SA", VALUES(0)},
                                    {"SB", VALUES(0)},
                                    {"STRM", VALUES(0)},
                                    {"STRN", VALUES(0)},
                                    {"VWM", VALUES(1, 2, 4)},
                                    {"VWN", VALUES(1, 2, 4)}}};
static const tune_part xgemm_12 = {"xgemm 12",
                                   {{"GEMMK", VALUES(1)},
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
                                    {"VWN", VALUES(1, 2, 4, 8)}}};

static bool xgemm_tiles(const int *v)
{
    return divides(v[KWI], v[KWG]) && divides(v[MDIMC] * v[VWM], v[MWG]) &&
           divides(v[NDIMC] * v[VWN], v[NWG]) && divides(v[MDIMA] * v[VWM], v[MWG]) &&
           divides(v[NDIMB] * v[VWN], v[NWG]);
}

static bool xgemm_many_local(const int *v, int version)
{
    (void)version;
    int items = v[MDIMC] * v[NDIMC];
    return xgemm_tiles(v) && divides(items / v[MDIMA], v[KWG]) && divides(items / v[NDIMB], v[KWG]);
}

static bool xgemm_few_local(const int *v, int version)
{
    return xgemm_many_local(v, version) && v[MDIMC] == v[MDIMA] && v[NDIMC] == v[NDIMB] &&
           v[SA] == v[SB];
}

/* Before 1.6.3 the routine pads m to MWG and n to NWG of the operands as given, but this kernel
 * takes them swapped: unequal tiles give wrong results or fail (CLBlast pull request 543). */
static bool xgemm_many_registers(const int *v, int version)
{
    enum { MENDED = 10603 };
    return xgemm_tiles(v) && divides(v[VWN], v[KREG]) && v[MDIMC] == v[MDIMA] &&
           v[NDIMC] == v[NDIMB] && (version >= MENDED || v[MWG] == v[NWG]);
}

static bool xgemm_few_registers(const int *v, int version)
{
    return xgemm_many_registers(v, version) && v[VWM] == v[VWN];
}

static tune_clblast_group xgemm_group(const int *v)
{
    return group(v[MDIMC], v[NDIMC], v[KWG] * (v[SA] * v[MWG] + v[SB] * v[NWG]));
}

/* ---- XgemmDirect: one kernel, no copies before it ---- */

enum { KWID, MDIMAD, MDIMCD, NDIMBD, NDIMCD, PADA, PADB, VWMD, VWND, WGD };

static const tune_part direct_1 = {"direct 1",
                                   {{"KWID", VALUES(2)},
                                    {"MDIMAD", VALUES(8, 16, 32)},
                                    {"MDIMCD", VALUES(8, 16, 32)},
                                    {"NDIMBD", VALUES(8, 16, 32)},
                                    {"NDIMCD", VALUES(8, 16, 32)},
                                    {"PADA", VALUES(1)},
                                    {"PADB", VALUES(1)},
                                    {"VWMD", VALUES(1, 2, 4, 8)},
                                    {"VWND", VALUES(1, 2, 4, 8)},
                                    {"WGD", VALUES(8, 16, 32)}}};
static const tune_part direct_2 = {"direct 2",
                                   {{"KWID", VALUES(2, 8, 16)},
                                    {"MDIMAD", VALUES(8, 16, 32)},
                                    {"MDIMCD", VALUES(8, 16, 32)},
                                    {"NDIMBD", VALUES(8, 16, 32)},
                                    {"NDIMCD", VALUES(8, 16, 32)},
                                    {"PADA", VALUES(0, 1)},
                                    {"PADB", VALUES(0, 1)},
                                    {"VWMD", VALUES(1, 2, 4, 8)},
                                    {"VWND", VALUES(1, 2, 4, 8)},
                                    {"WGD", VALUES(8, 16, 32, 64)}}};

static bool direct_many(const int *v, int version)
{
    (void)version;
    int items = v[MDIMCD] * v[NDIMCD], tile = v[WGD];
    return divides(v[KWID], tile) && divides(v[MDIMCD] * v[VWMD], tile) &&
           divides(v[NDIMCD] * v[VWND], tile) && divides(v[MDIMAD] * v[VWMD], tile) &&
           divides(v[NDIMBD] * v[VWND], tile) && divides(items / v[MDIMAD], tile) &&
           divides(items / v[NDIMBD], tile);
}

static bool direct_few(const int *v, int version)
{
    return direct_many(v, version) && v[MDIMCD] == v[MDIMAD] && v[NDIMCD] == v[NDIMBD];
}

static tune_clblast_group direct_group(const int *v)
{
    return group(v[MDIMCD], v[NDIMCD], v[WGD] * (v[WGD] + v[PADA] + v[WGD] + v[PADB]));
}

/* ---- The copies around the indirect kernel ---- */

static const tune_part copy = {"copy",
                               {{"COPY_DIMX", VALUES(8, 16, 32)},
                                {"COPY_DIMY", VALUES(8, 16, 32)},
                                {"COPY_VW", VALUES(1, 2, 4, 8)},
                                {"COPY_WPT", VALUES(1, 2, 4, 8)}}};
static const tune_part pad = {"pad",
                              {{"PAD_DIMX", VALUES(8, 16, 32)},
                               {"PAD_DIMY", VALUES(8, 16, 32)},
                               {"PAD_WPTX", VALUES(1, 2, 4)},
                               {"PAD_WPTY", VALUES(1, 2, 4)}}};

static tune_clblast_group copy_group(const int *v)
{
    return group(v[0], v[1], 0);
}

enum { TRA_DIM, TRA_PAD, TRA_SHUFFLE, TRA_WPT };

static const tune_part transpose = {"transpose",
                                    {{"TRA_DIM", VALUES(4, 8, 16, 32, 64)},
                                     {"TRA_PAD", VALUES(0, 1)},
                                     {"TRA_SHUFFLE", VALUES(0, 1)},
                                     {"TRA_WPT", VALUES(1, 2, 4, 8, 16)}}};

static tune_clblast_group transpose_group(const int *v)
{
    return group(v[TRA_DIM], v[TRA_DIM],
                 v[TRA_WPT] * v[TRA_WPT] * v[TRA_DIM] * (v[TRA_DIM] + v[TRA_PAD]));
}

enum { PADTRA_PAD, PADTRA_TILE, PADTRA_WPT };

static const tune_part padtranspose = {"padtranspose",
                                       {{"PADTRA_PAD", VALUES(0, 1)},
                                        {"PADTRA_TILE", VALUES(8, 16, 32, 64)},
                                        {"PADTRA_WPT", VALUES(1, 2, 4, 8, 16)}}};

static tune_clblast_group padtranspose_group(const int *v)
{
    int side = v[PADTRA_WPT] * v[PADTRA_TILE];
    return group(v[PADTRA_TILE], v[PADTRA_TILE], side * (side + v[PADTRA_PAD]));
}

/* ---- The switch: the direct kernel runs where m n k is below the cube of this. The two ends time
 * both kernels on any shape, and the cube of the second fits a size_t. ---- */

static const tune_part gemm_routine = {"gemm routine",
                                       {{"XGEMM_MIN_INDIRECT_SIZE", VALUES(0, 1 << 20)}}};

static tune_clblast_group one_item(const int *v)
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
    const tune_part *part;
    bool (*valid)(const int *v, int version);
    tune_clblast_group (*group)(const int *v);
} rows[TUNE_CLBLAST_SETS] = {
    [TUNE_XGEMM_1] = {"Xgemm", &xgemm_1, xgemm_few_local, xgemm_group},
    [TUNE_XGEMM_2] = {"Xgemm", &xgemm_2, xgemm_many_local, xgemm_group},
    [TUNE_XGEMM_11] = {"Xgemm", &xgemm_11, xgemm_few_registers, xgemm_group},
    [TUNE_XGEMM_12] = {"Xgemm", &xgemm_12, xgemm_many_registers, xgemm_group},
    [TUNE_XGEMM_DIRECT_1] = {"XgemmDirect", &direct_1, direct_few, direct_group},
    [TUNE_XGEMM_DIRECT_2] = {"XgemmDirect", &direct_2, direct_many, direct_group},
    [TUNE_COPY] = {"Copy", &copy, any, copy_group},
    [TUNE_PAD] = {"Pad", &pad, any, copy_group},
    [TUNE_TRANSPOSE] = {"Transpose", &transpose, any, transpose_group},
    [TUNE_PADTRANSPOSE] = {"Padtranspose", &padtranspose, any, padtranspose_group},
    [TUNE_GEMM_ROUTINE] = {"GemmRoutine", &gemm_routine, any, one_item},
};

const char *tune_clblast_kernel(tune_clblast_set set)
{
    return rows[set].kernel;
}

const tune_part *tune_clblast_part(tune_clblast_set set)
{
    return rows[set].part;
}

tune_clblast_group tune_clblast_group_of(tune_clblast_set set, const tune_point *point)
{
    return rows[set].group(point->value);
}

typedef struct context {
    const tune_clblast_set *sets;
    const tune_clblast_limits *limits;
} context;

static bool valid(const void *user, const tune_point *point)
{
    const context *c = user;
    const tune_clblast_limits *l = c->limits;
    tune_clblast_set set = c->sets[point->part];
    tune_clblast_group g = rows[set].group(point->value);
    return rows[set].valid(point->value, l->version) && g.item[0] <= l->item[0] &&
           g.item[1] <= l->item[1] && g.item[0] * g.item[1] <= l->group &&
           g.local_bytes <= l->local_bytes;
}

tune_space *tune_clblast_space(const tune_clblast_set *sets, size_t count,
                               const tune_clblast_limits *limits)
{
    tune_part parts[TUNE_CLBLAST_SETS];
    for (size_t i = 0; i < count; i++)
        parts[i] = *rows[sets[i]].part;
    return tune_space_new(parts, count, valid, &(context){sets, limits});
}
