/* test_golden -- encoder and decoder and their training steps against PyTorch in double precision.
 *
 * usage: test_golden [FILE...]     without files: those of tests/golden A file has a model's
 * parameters, a batch, the output, the gradients of the first step, and log and parameters of 20
 * steps (tests/golden/make_golden.py). Each tensor's ||a-b|| / ||b|| is printed. */
#include "base/safetensors.h"
#include "ef_test.h"
#include "train/trainer.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double output_bound = 1e-5, grad_bound = 1e-5, after_bound = 2e-5, log_bound = 1e-5,
                    row_bound = 1e-6;

static char **files;
static int file_count;

typedef struct golden {
    ef_actor *a;
    ef__st_reader *file;
    const char *name;
    json_t *json;
    ef_encoder *encoder; /* either, the other is NULL */
    ef_decoder *decoder;
    ef_trainer *trainer;
    ef_batch batch;
    ef_trainer_options options;
    size_t steps;
    int failed;
} golden;

static double number(const golden *g, const char *key)
{
    json_t *value = json_object_get(g->json, key);
    ck_assert_msg(json_is_number(value), "%s: config has no \"%s\"", g->name, key);
    return json_number_value(value);
}

static const ef__st_tensor *tensor(const golden *g, const char *prefix, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "%s%s", prefix, name);
    const ef__st_tensor *t = ef__st_find(g->file, key);
    ck_assert_msg(t != NULL, "%s: no tensor \"%s\"", g->name, key);
    return t;
}

/* A copy that is aligned and lives as long as the test. */
static void *data_of(const ef__st_tensor *t)
{
    return memcpy(ef_test_alloc(t->bytes), t->data, t->bytes);
}

static void judge(golden *g, const char *prefix, const char *name, double error, double bound)
{
    bool good = error <= bound;
    printf("  %-6s %-28s %.2e  (%.0e)%s\n", prefix, name, error, bound, good ? "" : "  FAILED");
    g->failed += !good;
}

static void compare(golden *g, const char *prefix, const char *name, const float *got, double bound)
{
    const ef__st_tensor *t = tensor(g, prefix, name);
    const float *want = data_of(t);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < t->count; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    judge(g, prefix, name, norm > 0 ? sqrt(difference / norm) : sqrt(difference), bound);
}

static void read_config(golden *g, ef_model_config *c)
{
    ef_model_config_default(c);
    c->vocab = (size_t)number(g, "V");
    c->width = (size_t)number(g, "D");
    c->hidden = (size_t)number(g, "H");
    c->taps = (size_t)number(g, "K");
    c->vector = (size_t)number(g, "E");
    c->length = (size_t)number(g, "L");
    c->eps = (float)number(g, "eps");
    json_t *dilations = json_object_get(g->json, "dilations");
    c->blocks = json_array_size(dilations);
    for (size_t i = 0; i < c->blocks; i++)
        c->dilations[i] = (size_t)json_integer_value(json_array_get(dilations, i));
    ef_trainer_options *o = &g->options;
    ef_trainer_options_default(o);
    o->lr = (float)number(g, "lr");
    o->min_lr = (float)number(g, "min_lr");
    o->weight_decay = (float)number(g, "weight_decay");
    o->clip = (float)number(g, "clip");
    o->warmup = (uint64_t)number(g, "warmup");
    o->decay = (uint64_t)number(g, "decay");
    o->alpha = (float)number(g, "alpha");
    o->beta = (float)number(g, "beta");
    g->steps = (size_t)number(g, "steps");
}

static ef_tensor *parameter_of(const golden *g, size_t index, const char **name)
{
    return g->encoder ? ef_encoder_parameter(g->encoder, index, name)
                      : ef_decoder_parameter(g->decoder, index, name);
}

static void build(golden *g, bool is_encoder)
{
    ef_model_config config;
    ef_tensor *parameter;
    const char *name;
    read_config(g, &config);
    if (is_encoder)
        ef_test_ok(g->a, ef_encoder_new(g->a, &config, EF_INIT_TORCH, 1, true, &g->encoder));
    else
        ef_test_ok(g->a, ef_decoder_new(g->a, &config, EF_INIT_TORCH, 1, true, &g->decoder));
    for (size_t i = 0; (parameter = parameter_of(g, i, &name)); i++) {
        const ef__st_tensor *t = tensor(g, "param.", name);
        ck_assert_uint_eq(t->count, ef_tensor_count(parameter));
        ef_test_ok(g->a, ef_tensor_write(parameter, t->data));
    }
    if (is_encoder)
        ef_test_ok(g->a, ef_trainer_new(g->encoder, &g->options, &g->trainer));
    else
        ef_test_ok(g->a, ef_trainer_new_decoder(g->decoder, &g->options, &g->trainer));
    g->batch = (ef_batch){.B = (size_t)number(g, "B"),
                          .L = config.length,
                          .E = config.vector,
                          .ids = data_of(tensor(g, "", "ids")),
                          .mask = data_of(tensor(g, "", "mask")),
                          .target = data_of(tensor(g, "", is_encoder ? "target" : "z"))};
}

static void check_output(golden *g)
{
    const ef_batch *b = &g->batch;
    ef_tensor *ids = ef_test_i32(g->a, SHAPE(b->B, b->L), b->ids);
    ef_tensor *mask = ef_test_u8(g->a, SHAPE(b->B, b->L), b->mask);
    ef_tensor *y, *z;
    if (g->encoder) {
        y = ef_test_f32(g->a, SHAPE(b->B, b->E), NULL);
        ef_test_ok(g->a, ef_encoder_encode(g->encoder, ids, mask, y));
    } else {
        y = ef_test_f32(g->a, SHAPE(b->B, b->L, g->trainer->model->config.vocab), NULL);
        z = ef_test_f32(g->a, SHAPE(b->B, b->E), b->target);
        ef_test_ok(g->a, ef_decoder_logits(g->decoder, ids, mask, z, y));
    }
    compare(g, "", "output", ef_test_read(y), output_bound);
}

static void check_gradients(golden *g)
{
    const ef__params *p = g->trainer->model->params;
    ef_test_ok(g->a, ef__trainer_gradients(g->trainer, &g->batch, 1));
    for (size_t i = 0; i < p->segments; i++)
        compare(g, "grad.", p->segment[i].name, ef_test_read(p->segment[i].grad), grad_bound);
}

static void check_log(golden *g)
{
    const double *log = data_of(tensor(g, "", "log"));
    const int metric[] = {EF_METRIC_LOSS, EF_METRIC_MSE, g->encoder ? EF_METRIC_COS : EF_METRIC_CE,
                          EF_METRIC_GRAD_NORM, EF_METRIC_LR};
    double worst = 0;
    for (size_t s = 0; s < g->steps; s++) {
        ef_readback *readback;
        const void *data;
        size_t count;
        ef_test_ok(g->a, ef_trainer_step(g->trainer, &g->batch, 1, &readback));
        ef_test_ok(g->a, ef_readback_value(readback, &data, &count));
        for (int i = 0; i < 5; i++) {
            double want = log[5 * s + i], got = ((const float *)data)[metric[i]];
            worst = fmax(worst, fabs(got - want) / fmax(1, fabs(want)));
        }
        ef_readback_free(readback);
    }
    judge(g, "", "log", worst, log_bound);
}

/* The padding row gets no gradient: decay alone moves it. */
static void check_padding_row(golden *g)
{
    const float *before = data_of(tensor(g, "param.", "embedding.weight"));
    const float *after = ef_test_read(parameter_of(g, 0, NULL));
    double decay = 1, worst = 0;
    for (size_t s = 0; s < g->steps; s++)
        decay *= 1 - ef_lr_at(&g->options, s) * number(g, "weight_decay");
    for (size_t i = 0; i < g->trainer->model->config.width; i++)
        worst = fmax(worst, fabs(after[i] - before[i] * decay) / fmax(1, fabs(before[i])));
    judge(g, "", "embedding row 0", worst, row_bound);
}

static void check_after(golden *g)
{
    ef_tensor *parameter;
    const char *name;
    for (size_t i = 0; (parameter = parameter_of(g, i, &name)); i++)
        compare(g, "after.", name, ef_test_read(parameter), after_bound);
}

static void check_model(golden *g, bool is_encoder)
{
    g->a = ef_test_open();
    build(g, is_encoder);
    check_output(g);
    check_gradients(g);
    check_log(g);
    check_after(g);
    check_padding_row(g);
    ef_trainer_free(g->trainer);
    ef_encoder_free(g->encoder);
    ef_decoder_free(g->decoder);
    ef_test_close(g->a);
}

START_TEST(models_train_as_in_pytorch)
{
    golden g = {.name = files[_i]};
    ef_error error;
    if (ef__st_open(g.name, &g.file, &error))
        ck_abort_msg("%s", error.text);
    const char *config = ef__st_metadata(g.file, "config");
    g.json = config ? json_loads(config, 0, NULL) : NULL;
    const char *kind = json_string_value(json_object_get(g.json, "kind"));
    ck_assert_msg(kind != NULL, "%s: no golden file: metadata \"config\" has no kind", g.name);
    printf("%s\n", g.name);
    check_model(&g, strcmp(kind, "encoder") == 0);
    fflush(stdout);
    json_decref(g.json);
    ef__st_close(g.file);
    ck_assert_msg(g.failed == 0, "%s: %d tensors are too far from PyTorch's", g.name, g.failed);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("golden");
    tcase_add_loop_test(ef_test_case(s, "files"), models_train_as_in_pytorch, 0, file_count);
    return s;
}

int main(int argc, char **argv)
{
    enum { BUNDLED = 6 };
    static char bundled[BUNDLED][4096], *own[BUNDLED];
    static const char *const names[BUNDLED] = {"encoder_one", "encoder_odd", "encoder_small",
                                               "decoder_one", "decoder_odd", "decoder_small"};
    const char *srcdir = getenv("srcdir");
    for (int i = 0; i < BUNDLED; i++) {
        snprintf(bundled[i], sizeof bundled[i], "%s/tests/golden/%s.safetensors",
                 srcdir ? srcdir : ".", names[i]);
        own[i] = bundled[i];
    }
    files = argc > 1 ? argv + 1 : own;
    file_count = argc > 1 ? argc - 1 : BUNDLED;
    return ef_test_main(suite, true);
}
