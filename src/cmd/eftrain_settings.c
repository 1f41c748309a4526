/* The options of eftrain: one table for command line, configuration and --dump-config. */
#include "cmd/config.h"
#include "cmd/eftrain.h"
#include <stdlib.h>
#include <string.h>

static const double MOST = INT32_MAX, MOST_SEED = 1e18; /* JSON's integers have 63 bits */

/* ---- the table, in parts that a function can hold ---- */

/* Put a part behind the n rows that are there; how many there are then. */
static size_t add(ef__option *rows, size_t n, const ef__option *part)
{
    while (part->name)
        rows[n++] = *part++;
    rows[n] = (ef__option){0};
    return n;
}

static size_t add_data(eftrain_settings *s, ef__option *rows, size_t n)
{
    ef_train_options *r = &s->run;
    const ef__option part[] = {
        {"Data", EF__GROUP, .help = ""},
        {"data", EF__TEXT, &r->data, "FILE", .help = "samples to train on (needed)",
         .key = "dataPath"},
        {"val", EF__TEXT, &r->val, "FILE", .help = "samples to evaluate after each epoch"},
        {"val-fraction", EF__DOUBLE, &r->val_fraction, "X", 0, 0.99,
         .help = "hold out this share of the data instead", .key = "valFraction"},
        {"vocab", EF__TEXT, &r->vocabulary, "FILE",
         .help = "vocab.txt for data that are texts, kept in checkpoints"},
        {"requireTokens", EF__SWITCH, &s->tokens, .most = 1, .config_only = true},
        {"length", EF__SIZE, &r->model.length, "N", 1, MOST, .help = "cut samples to N ids",
         .key = "maxLength"},
        {"vocab-size", EF__SIZE, &r->model.vocab, "N", 1, MOST,
         "the vocabulary's, else the largest id in data and val + 1", .help = "ids are below N"},
        {"bucket", EF__SWITCH, &s->bucket, "on|off", 0, 1,
         .help = "batches of samples of like length"},
        {"max-batches", EF__SIZE, &r->max_batches, "N", 0, MOST, "0, all",
         .help = "batches in an epoch", .key = "maxBatches"},
        {0}};
    return add(rows, n, part);
}

static size_t add_models(eftrain_settings *s, ef__option *rows, size_t n)
{
    ef_model_config *m = &s->run.model, *d = &s->run.decoder;
    ef_trainer_options *t = &s->run.decoder_trainer;
    static const char alike[] = "as without dec-";
    const ef__option part[] = {
        {"Model", EF__GROUP, .help = ""},
        {"width", EF__SIZE, &m->width, "N", 1, MOST, .help = "values at each position"},
        {"hidden", EF__SIZE, &m->hidden, "N", 1, MOST, .help = "values inside a block"},
        {"taps", EF__SIZE, &m->taps, "N", 1, MOST, .help = "taps of the convolutions"},
        {"dilations", EF__LIST, &s->dilations, "N,...", 1, MOST, .help = "of the blocks"},
        {"blocks", EF__SIZE, &s->blocks, "N", 1, EF_MAX_BLOCKS, "one for each dilation",
         .help = "how many blocks"},
        {"init", EF__CHOICE, &s->init, "scaled|torch|plan", .help = "initial parameters"},
        {"Decoder, where it is to differ", EF__GROUP, .help = ""},
        {"dec-vocab-size", EF__SIZE, &d->vocab, "N", 1, MOST, alike, .help = "ids are below N",
         .key = "decVocabSize"},
        {"dec-hidden", EF__SIZE, &d->hidden, "N", 1, MOST, alike, .help = "values inside a block",
         .key = "decHidden"},
        {"dec-taps", EF__SIZE, &d->taps, "N", 1, MOST, alike, .help = "taps of the convolutions",
         .key = "decKernelSize"},
        {"dec-dilations", EF__LIST, &s->dec_dilations, "N,...", 1, MOST, alike,
         .help = "of the blocks", .key = "decDilation"},
        {"dec-blocks", EF__SIZE, &s->dec_blocks, "N", 1, EF_MAX_BLOCKS, alike,
         .help = "how many blocks", .key = "decBlocks"},
        {"dec-lr", EF__REAL, &t->lr, "X", .fallback = alike, .help = "learning rate",
         .key = "decLR"},
        {"dec-weight-decay", EF__REAL, &t->weight_decay, "X", .fallback = alike,
         .help = "of matrices", .key = "decWeightDecay"},
        {0}};
    return add(rows, n, part);
}

static size_t add_training(eftrain_settings *s, ef__option *rows, size_t n)
{
    ef_train_options *r = &s->run;
    const ef__option part[] = {
        {"Training", EF__GROUP, .help = ""},
        {"mode", EF__CHOICE, &s->mode, "encoder|decoder|combined", .help = "what is trained"},
        {"enableAB", EF__SWITCH, &s->mode, .least = EF_MODE_ENCODER, .most = EF_MODE_COMBINED,
         .config_only = true},
        {"ab-ratio", EF__DOUBLE, &r->ab_ratio, "X", 0, 1,
         .help = "combined: share of the steps that train the encoder", .key = "abRatio"},
        {"epochs", EF__U64, &r->epochs, "N", 0, MOST, .help = "times through the data"},
        {"patience", EF__U64, &r->patience, "N", 0, MOST, "0, any number",
         .help = "end after N epochs without a better one"},
        {"batch", EF__SIZE, &r->batch, "N", 1, MOST, .help = "samples in a batch",
         .key = "batchSize"},
        {"micro-batch", EF__SIZE, &r->micro_batch, "N", 0, MOST, "0, the batch",
         .help = "samples on the device at a time", .key = "microBatch"},
        {"accum", EF__SIZE, &r->accum, "N", 1, MOST, .help = "batches in a step",
         .key = "accumSteps"},
        {"seed", EF__U64, &r->seed, "N", 0, MOST_SEED,
         .help = "of initial parameters, order and held-out share"},
        {0}};
    return add(rows, n, part);
}

static size_t add_trainer(eftrain_settings *s, ef__option *rows, size_t n)
{
    ef_trainer_options *t = &s->run.trainer;
    const ef__option part[] = {
        {"lr", EF__REAL, &t->lr, "X", .help = "learning rate"},
        {"min-lr", EF__REAL, &t->min_lr, "X", .fallback = "lr / 100", .help = "final learning rate",
         .key = "minLR"},
        {"warmup", EF__U64, &t->warmup, "N", 0, MOST,
         .help = "steps of linear warm-up; then a cosine", .key = "warmupSteps"},
        {"decay-steps", EF__U64, &t->decay, "N", 0, MOST, "the rest of the run",
         .help = "steps of the cosine; 0: none", .key = "cosineDecaySteps"},
        {"alpha", EF__REAL, &t->alpha, "X", .help = "weight of 1 - cos in the loss",
         .key = "alphaCos"},
        {"beta", EF__REAL, &t->beta, "X", .help = "weight of mse in the loss", .key = "betaMSE"},
        {"clip", EF__REAL, &t->clip, "X", .help = "most norm of the gradient; 0: any",
         .key = "clipNorm"},
        {"loss-scale", EF__REAL, &t->loss_scale, "X", 0, 65536,
         .help = "of gradients, at first; 0: none"},
        {"weight-decay", EF__REAL, &t->weight_decay, "X", .help = "of matrices",
         .key = "weightDecay"},
        {"optim", EF__CHOICE, &s->optim, "adamw|adam-l2",
         .help = "decay beside the gradient, or in it"},
        {"train", EF__CHOICE, &s->scope, "all|last|proj",
         .help = "everything, the last block with proj, or proj"},
        {"unfreezeLastTCN", EF__SWITCH, &s->scope, .least = EF_TRAIN_PROJ, .most = EF_TRAIN_LAST,
         .config_only = true},
        {0}};
    return add(rows, n, part);
}

static size_t add_files(eftrain_settings *s, ef__option *rows, size_t n)
{
    ef_train_options *r = &s->run;
    const ef__option part[] = {
        {"Checkpoints", EF__GROUP, .help = ""},
        {"save", EF__TEXT, &r->save, "FILE",
         .help = "write checkpoints to FILE, the best beside it", .key = "saveCheckpoint"},
        {"saveOptState", EF__TEXT, &s->save_optim, .config_only = true},
        {"save-every", EF__U64, &r->save_every, "N", 1, MOST, "at each epoch's end only",
         .help = "save after every N steps too"},
        {"resume", EF__TEXT, &r->resume, "FILE", .help = "continue the run of a checkpoint"},
        {"strict-resume", EF__FLAG, &r->strict_resume, .help = "only if bit for bit the same run"},
        {"init-from", EF__TEXT, &r->init_from, "FILE",
         .help = "start with a checkpoint's parameters", .key = "loadCheckpoint"},
        {"init-optim", EF__TEXT, &r->init_optim, "FILE", .help = "and with an optimiser's state",
         .key = "loadOptState"},
        {"Other", EF__GROUP, .help = ""},
        {"log-json", EF__TEXT, &s->log, "FILE",
         .help = "a JSON object for each step and epoch; -: to stdout"},
        {"plot", EF__TEXT, &s->plot, "FILE",
         .help = "draw loss and held-out values, SVG by gnuplot"},
        {"device", EF__TEXT, &s->device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {"Configuration", EF__GROUP, .help = ""},
        {"config", EF__TEXT, &s->config, "FILE",
         .help = "options from a JSON file, before those here", .key = ""},
        {"set", EF__SET, .argument = "KEY=VALUE", .help = "an option by its key there"},
        {"dump-config", EF__FLAG, &s->dump, .help = "print what a run would have, and exit",
         .key = ""},
        {0}};
    return add(rows, n, part);
}

void eftrain_table(eftrain_settings *s, ef__option rows[EFTRAIN_ROWS])
{
    size_t n = add_data(s, rows, 0);
    n = add_models(s, rows, n);
    n = add_training(s, rows, n);
    n = add_trainer(s, rows, n);
    add_files(s, rows, n);
}

/* ---- defaults, configuration, command line ---- */

void eftrain_defaults(eftrain_settings *s)
{
    *s = (eftrain_settings){.tokens = -1};
    ef_train_options *r = &s->run;
    ef_train_options_default(r);
    s->bucket = r->bucket;
    s->mode = (int)r->mode;
    s->init = (int)r->init;
    s->optim = (int)r->trainer.optim;
    s->scope = (int)r->trainer.scope;
    s->dilations.count = r->model.blocks;
    memcpy(s->dilations.at, r->model.dilations, sizeof s->dilations.at);
    r->decoder = (ef_model_config){0}; /* not given */
    r->decoder_trainer.lr = r->decoder_trainer.weight_decay = -1;
}

static int parse(eftrain_settings *s, int argc, char **argv)
{
    ef__option rows[EFTRAIN_ROWS];
    eftrain_table(s, rows);
    const ef__command command = {
        .name = EFTRAIN,
        .usage = "--data FILE [--val FILE] [OPTION...]",
        .about =
            "Train a causal TCN text encoder to give the vectors that a teacher gave, a decoder to "
            "give\nthe texts of such vectors, or both with a block in common.",
        .options = rows};
    return ef__options_parse(&command, argc, argv);
}

static int configure(eftrain_settings *s, const char *path)
{
    ef__option rows[EFTRAIN_ROWS];
    ef_error error;
    eftrain_table(s, rows);
    ef_status status = ef__config_read(rows, path, &s->root, &error);
    return status ? ef__say_error(EFTRAIN, ef__exit_code(status), "%s", error.text) : 0;
}

/* The command line is read twice: what it says of a configuration comes first, all else of it after
 * what that says. */
int eftrain_read(eftrain_settings *s, int argc, char **argv)
{
    eftrain_defaults(s);
    int code = parse(s, argc, argv);
    const char *config = s->config;
    if (code >= 0 || !config)
        return code;
    eftrain_defaults(s);
    code = configure(s, config);
    return code ? code : parse(s, argc, argv);
}

/* ---- what the library is to have of it ---- */

static void settle_blocks(ef_model_config *m, size_t blocks, const ef__list *dilations,
                          const char *option)
{
    m->blocks = blocks ? blocks : dilations->count;
    for (size_t i = 0; i < m->blocks; i++)
        m->dilations[i] = i < dilations->count ? dilations->at[i] : 1;
    if (m->blocks > dilations->count)
        ef__say_error(EFTRAIN, 0, "%s %zu: only %zu dilations are given, the other blocks get 1",
                      option, m->blocks, dilations->count);
    if (m->blocks < dilations->count)
        ef__say_error(EFTRAIN, 0, "%s %zu: the last %zu dilations are not used", option, m->blocks,
                      dilations->count - m->blocks);
}

/* The decoder is as the encoder but for what was given for it. */
static void settle_decoder(eftrain_settings *s)
{
    ef_train_options *r = &s->run;
    const ef_model_config given = r->decoder;
    const float lr = r->decoder_trainer.lr, decay = r->decoder_trainer.weight_decay;
    const bool blocks = s->dec_blocks || s->dec_dilations.count;
    r->decoder = r->model;
    r->decoder.vocab = given.vocab ? given.vocab : r->model.vocab;
    r->decoder.hidden = given.hidden ? given.hidden : r->model.hidden;
    r->decoder.taps = given.taps ? given.taps : r->model.taps;
    if (blocks && s->mode != EF_MODE_ENCODER)
        settle_blocks(&r->decoder, s->dec_blocks ? s->dec_blocks : s->blocks,
                      s->dec_dilations.count ? &s->dec_dilations : &s->dilations, "--dec-blocks");
    r->decoder_trainer = r->trainer;
    r->decoder_trainer.lr = lr >= 0 ? lr : r->trainer.lr;
    r->decoder_trainer.weight_decay = decay >= 0 ? decay : r->trainer.weight_decay;
}

void eftrain_settle(eftrain_settings *s)
{
    ef_train_options *r = &s->run;
    r->mode = (ef_train_mode)s->mode;
    r->bucket = s->bucket;
    r->need_ids = s->tokens == 1;
    r->init = (ef_init)s->init;
    r->trainer.optim = (ef_optim)s->optim;
    r->trainer.scope = (ef_scope)s->scope;
    settle_blocks(&r->model, s->blocks, &s->dilations, "--blocks");
    settle_decoder(s);
    if (s->save_optim)
        ef__say_error(EFTRAIN, 0, "saveOptState: %s is not written: the state is in checkpoints",
                      s->save_optim);
}

/* A rate that would rise where it is to fall. */
static bool rises(const eftrain_settings *s)
{
    const ef_trainer_options *t = &s->run.trainer, *d = &s->run.decoder_trainer;
    const float decoder = d->lr >= 0 ? d->lr : t->lr;
    return (s->mode != EF_MODE_DECODER && t->min_lr > t->lr) ||
           (s->mode != EF_MODE_ENCODER && t->min_lr > decoder);
}

int eftrain_check(const eftrain_settings *s)
{
    const ef_train_options *r = &s->run;
    const ef_trainer_options *t = &r->trainer;
    const bool held_out = r->val || r->val_fraction > 0;
    const char *wrong =
        !r->data                                 ? "--data is needed (see --help)"
        : r->val && r->val_fraction > 0          ? "--val and --val-fraction exclude each other"
        : r->patience && !held_out               ? "--patience needs --val or --val-fraction"
        : r->resume && r->init_from              ? "--resume and --init-from exclude each other"
        : r->resume && r->init_optim             ? "--resume and --init-optim exclude each other"
        : r->strict_resume && !r->resume         ? "--strict-resume needs --resume"
        : r->save_every && !r->save              ? "--save-every needs --save"
        : r->init_optim && !r->init_from         ? "--init-optim needs --init-from"
        : rises(s)                               ? "--min-lr is above --lr (or --dec-lr)"
        : t->loss_scale > 0 && t->loss_scale < 1 ? "--loss-scale must be 0 or from 1 to 65536"
        : t->alpha == 0 && t->beta == 0 && s->mode != EF_MODE_DECODER
            ? "--alpha 0 and --beta 0 leave no loss"
            : NULL;
    return wrong ? ef__say_error(EFTRAIN, EF__USAGE, "%s", wrong) : 0;
}
