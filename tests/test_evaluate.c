/* Evaluation: means over samples, ranks among targets, a decoder's loss, against plain loops in
 * double precision. */
#include "data/pairs.h"
#include "folder.h"
#include "op/op.h"
#include "ref.h"
#include "train/recall.h"
#include "train/spearman.h"
#include "train_data.h"
#include <math.h>
#include <string.h>

enum { V = TRAIN_VOCAB, E = TRAIN_WIDTH, L = TRAIN_LONGEST };

static ef_model_config tiny_config(void)
{
    ef_model_config c;
    ef_model_config_default(&c);
    c.vocab = V;
    c.width = 10;
    c.hidden = 14;
    c.taps = 3;
    c.vector = E;
    c.blocks = 2;
    c.length = L;
    return c;
}

static ef_encoder *new_encoder(ef_actor *a)
{
    const ef_model_config c = tiny_config();
    ef_encoder *e;
    ef_test_ok(a, ef_encoder_new(a, &c, EF_INIT_TORCH, 3, false, &e));
    return e;
}

/* One that tells some ids right: some are likelier than others. */
static ef_decoder *new_decoder(ef_actor *a)
{
    const ef_model_config c = tiny_config();
    const char *name;
    ef_decoder *d;
    ef_tensor *t;
    ef_test_ok(a, ef_decoder_new(a, &c, EF_INIT_TORCH, 3, false, &d));
    for (size_t i = 0; (t = ef_decoder_parameter(d, i, &name)); i++)
        if (!strcmp(name, "out.bias"))
            ef_test_ok(a, ef_tensor_write(t, ef_test_randn(V, 5)));
    return d;
}

static ef_dataset *open_data(const char *name)
{
    ef_dataset *data;
    ef_error error;
    if (ef_dataset_open(path_of(name), &data, &error))
        ck_abort_msg("%s", error.text);
    return data;
}

static ef_dataset *new_data(uint32_t samples)
{
    train_data_write(path_of("data.efb"), samples, 1);
    return open_data("data.efb");
}

/* Samples of so many ids each. */
static ef_dataset *data_of_lengths(size_t count, const size_t *length)
{
    const float target[E] = {1};
    ef_dataset_writer *w;
    ef_error error;
    ck_assert(!ef_dataset_writer_new(path_of("lengths.efb"), EF_DATA_EFB1, E, &w, &error));
    for (size_t n = 0; n < count; n++) {
        const ef_sample s = {.length = length[n],
                             .ids = ef_test_ints(length[n], n, 1, V),
                             .mask = NULL,
                             .target = target};
        if (ef_dataset_writer_add(w, &s, &error))
            ck_abort_msg("%s", error.text);
    }
    ck_assert(!ef_dataset_writer_save(w, &error));
    ef_dataset_writer_free(w);
    return open_data("lengths.efb");
}

/* Samples of one id each, whose targets are the rows of target. */
static ef_dataset *data_of_targets(size_t count, size_t width, const float *target)
{
    ef_dataset_writer *w;
    ef_error error;
    ck_assert(!ef_dataset_writer_new(path_of("targets.efb"), EF_DATA_EFB1, width, &w, &error));
    for (size_t n = 0; n < count; n++) {
        const int32_t id = 1;
        const ef_sample s = {.length = 1, .ids = &id, .target = target + n * width};
        ck_assert(!ef_dataset_writer_add(w, &s, &error));
    }
    ck_assert(!ef_dataset_writer_save(w, &error));
    ef_dataset_writer_free(w);
    return open_data("targets.efb");
}

static ef_eval_report evaluated(ef_encoder *e, ef_dataset *data, const ef_eval_options *options)
{
    ef_eval_report report;
    ef_error error;
    if (ef_evaluate(e, data, options, &report, &error))
        ck_abort_msg("%s", error.text);
    return report;
}

/* ---- an encoder ---- */

/* Vectors of all samples, one after the other. */
static float *vectors_of(ef_actor *a, ef_encoder *e, ef_dataset *data)
{
    const size_t N = ef_dataset_size(data);
    float *vectors = ef_test_floats(N * E);
    for (size_t n = 0; n < N; n++) {
        ef_sample s;
        ck_assert(!ef_dataset_read(data, n, &s, NULL));
        ef_tensor *y = ef_test_f32(a, SHAPE(1, E), NULL);
        ef_test_ok(a, ef_encoder_encode(e, ef_test_i32(a, SHAPE(1, s.length), s.ids),
                                        ef_test_u8(a, SHAPE(1, s.length), s.mask), y));
        memcpy(vectors + n * E, ef_test_read(y), E * sizeof *vectors);
    }
    return vectors;
}

static double cosine(const float *a, const float *b, size_t n)
{
    double aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < n; i++) {
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
        ab += (double)a[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

START_TEST(the_means_over_samples_are_those_of_plain_loops)
{
    enum { N = 20 };
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_dataset *data = new_data(N);
    const float *y = vectors_of(a, e, data);
    double mse = 0, cos = 0;
    for (size_t n = 0; n < N; n++) {
        ef_sample s;
        ck_assert(!ef_dataset_read(data, n, &s, NULL));
        cos += cosine(y + n * E, s.target, E) / N;
        for (size_t i = 0; i < E; i++)
            mse += pow((double)y[n * E + i] - s.target[i], 2) / (N * E);
    }
    const ef_eval_report r = evaluated(e, data, NULL);
    ck_assert_uint_eq(r.samples, N);
    ck_assert_uint_eq(r.length, L);
    ck_assert_double_eq_tol(r.mse, mse, 1e-6);
    ck_assert_double_eq_tol(r.cos, cos, 1e-6);
    ck_assert_double_gt(r.mean_vector_mse, 0);
    ck_assert_double_lt(r.mean_vector_cos, 1);
    ck_assert(isnan(r.recall_1) && isnan(r.recall_5) && isnan(r.recall_10));
    ef_encoder_free(e);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(neither_batch_nor_micro_batch_changes_the_result)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_dataset *data = new_data(20);
    const ef_eval_options how[] = {{.batch = 1, .recall = true},
                                   {.batch = 7, .micro_batch = 2, .recall = true},
                                   {.batch = 7, .micro_batch = 100, .recall = true},
                                   {.batch = 1000, .micro_batch = 3, .recall = true}};
    const ef_eval_report want = evaluated(e, data, &(ef_eval_options){.recall = true});
    ck_assert_double_lt(want.recall_1, 1);
    ck_assert_double_gt(want.recall_10, want.recall_1);
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        const ef_eval_report r = evaluated(e, data, &how[i]);
        ck_assert_uint_eq(r.samples, 20);
        ck_assert_double_eq_tol(r.mse, want.mse, 1e-6);
        ck_assert_double_eq_tol(r.cos, want.cos, 1e-6);
        ck_assert_double_eq_tol(r.mean_vector_mse, want.mean_vector_mse, 1e-12);
        ck_assert_double_eq(r.recall_1, want.recall_1);
        ck_assert_double_eq(r.recall_10, want.recall_10);
    }
    ef_encoder_free(e);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(a_batch_of_more_samples_than_there_are_is_one_of_all)
{
    ef_actor *a = ef_test_open();
    ef_encoder *e = new_encoder(a);
    ef_dataset *data = new_data(23);
    const ef_eval_options all = {.batch = 23, .micro_batch = 5};
    const ef_eval_options more = {.batch = SIZE_MAX / 4, .micro_batch = 5};
    ck_assert(evaluated(e, data, &more).cos == evaluated(e, data, &all).cos);
    ef_encoder_free(e);
    ef_dataset_free(data);
    ef_test_close(a);
}
END_TEST

START_TEST(max_batches_takes_the_first_samples_and_them_alone)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_dataset *few = new_data(14), *many;
    const ef_eval_report want = evaluated(e, few, &(ef_eval_options){.recall = true});
    ef_dataset_free(few);
    many = new_data(30);
    const ef_eval_report r =
        evaluated(e, many, &(ef_eval_options){.batch = 7, .max_batches = 2, .recall = true});
    ck_assert_uint_eq(r.samples, 14);
    ck_assert_double_eq_tol(r.mse, want.mse, 1e-6);
    ck_assert_double_eq_tol(r.mean_vector_mse, want.mean_vector_mse, 1e-12);
    ck_assert_double_eq(r.recall_1, want.recall_1);
    ck_assert_double_eq(r.recall_5, want.recall_5);
    ck_assert_uint_eq(evaluated(e, many, &(ef_eval_options){.max_batches = SIZE_MAX}).samples, 30);
    ef_encoder_free(e);
    ef_dataset_free(many);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(a_batch_is_one_wait_also_in_parts)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_decoder *d = new_decoder(a);
    ef_dataset *data = new_data(20);
    const ef_eval_options parts = {.batch = 10, .micro_batch = 3};
    ef_decoder_report report;
    ef_stats before, between, after;
    ef_actor_stats(a, &before);
    evaluated(e, data, &parts);
    ef_actor_stats(a, &between);
    ck_assert(!ef_evaluate_decoder(d, data, &parts, &report, NULL));
    ef_actor_stats(a, &after);
    ck_assert_uint_eq(between.host_waits - before.host_waits, 2);
    ck_assert_uint_eq(after.host_waits - between.host_waits, 2);
    ef_encoder_free(e);
    ef_decoder_free(d);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

/* ---- length ---- */

START_TEST(the_length_is_the_models_or_what_is_asked_for_or_that_of_95_in_100)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    size_t length[100];
    for (size_t n = 0; n < 100; n++)
        length[n] = 7 * n % 100 + 1; /* each of 1..100 */
    const struct {
        size_t count, asked, cap, got;
    } cases[] = {{100, 0, 0, L},
                 {100, 12, 0, 12},
                 {100, 12, 5, 12},
                 {100, EF_LENGTH_P95, 0, 95},
                 {100, EF_LENGTH_P95, 94, 94},
                 {100, EF_LENGTH_P95, 300, 95},
                 {1, EF_LENGTH_P95, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ef_eval_options o = {.length = cases[i].asked, .length_cap = cases[i].cap};
        ef_dataset *data = data_of_lengths(cases[i].count, length);
        ck_assert_uint_eq(evaluated(e, data, &o).length, cases[i].got);
        ef_dataset_free(data);
    }
    ef_dataset *data = data_of_lengths(2, (size_t[]){700, 800});
    const ef_eval_options o = {.length = EF_LENGTH_P95, .length_cap = 1000};
    ck_assert_uint_eq(evaluated(e, data, &o).length, 512);
    ef_dataset_free(data);
    data = data_of_lengths(10, length); /* 1 8 15 .. 64: of the first two 95 in 100 is 8 */
    const ef_eval_options two = {.length = EF_LENGTH_P95, .batch = 1, .max_batches = 2};
    ck_assert_uint_eq(evaluated(e, data, &two).length, 8);
    ef_dataset_free(data);
    ef_encoder_free(e);
    remove_folder();
    ef_test_close(a);
}
END_TEST

/* ---- recall ---- */

/* How many find their target among the 1, 5, 10 nearest; room 0: as many to a pass as fit. */
static void find(ef_actor *a, size_t N, size_t width, const float *vector, const float *target,
                 size_t room, uint64_t *found)
{
    ef_error error;
    ef__evaluation v = {
        .actor = a, .dataset = data_of_targets(N, width, target), .samples = N, .error = &error};
    ef__recall r;
    ck_assert(!ef__recall_begin(&r, &v));
    r.room = room ? room : r.room;
    ef_status status = EF_OK;
    for (size_t n = 0; n < N && !status; n++)
        status = ef__recall_add(&r, vector + n * width, target + n * width);
    if (!status)
        status = ef__recall_end(&r);
    ck_assert_msg(!status, "%s", error.text);
    memcpy(found, r.found, sizeof r.found);
    ef__recall_free(&r);
    ef_dataset_free(v.dataset);
}

/* Between how many a plain loop finds: similarities as near to a tie as rounding may go either
 * way. */
static void find_plainly(size_t N, size_t width, const float *vector, const float *target,
                         uint64_t *least, uint64_t *most)
{
    static const size_t among[] = {1, 5, 10};
    memset(least, 0, 3 * sizeof *least);
    memset(most, 0, 3 * sizeof *most);
    for (size_t n = 0; n < N; n++) {
        const double own = cosine(vector + n * width, target + n * width, width) + 1e-5;
        size_t surely = 0, perhaps = 0;
        for (size_t j = 0; j < N; j++) {
            const double other = cosine(vector + n * width, target + j * width, width);
            surely += other > own + 1e-6;
            perhaps += other > own - 1e-6;
        }
        for (int k = 0; k < 3; k++) {
            least[k] += perhaps < among[k];
            most[k] += surely < among[k];
        }
    }
}

START_TEST(recall_is_that_of_plain_loops_in_one_pass_or_several)
{
    const size_t N = ef_test_size(70, 900, 4200), width = 24; /* more than a part of targets */
    const size_t rooms[] = {0, N / 3 + 5, 1};
    ef_actor *a = ef_test_open();
    make_folder();
    float *target = ef_test_randn(N * width, 1), *noise = ef_test_randn(N * width, 2);
    float *vector = ef_test_floats(N * width);
    for (size_t i = 0; i < N * width; i++)
        vector[i] = 3 * (target[i] + (float)(i / width % 7) * 0.5f * noise[i]);
    uint64_t least[3], most[3], found[3];
    find_plainly(N, width, vector, target, least, most);
    for (int i = 0; i < (N < 100 ? 3 : 2); i++) {
        find(a, N, width, vector, target, rooms[i], found);
        for (int k = 0; k < 3; k++)
            ck_assert_msg(found[k] >= least[k] && found[k] <= most[k], "%llu of %llu to %llu",
                          (unsigned long long)found[k], (unsigned long long)least[k],
                          (unsigned long long)most[k]);
    }
    ck_assert_uint_lt(most[0] - least[0], 4);
    ck_assert_uint_gt(least[0], N / 10);
    ck_assert_uint_gt(least[2], most[0]);
    ck_assert_uint_lt(most[2], N);
    remove_folder();
    ef_test_close(a);
}
END_TEST

/* Targets are directions 0, 0.01, 0.02 .. in a plane, and all but the first vector are their
 * targets. The first, at angle, has its own where it was planted. */
START_TEST(planted_ranks_are_found_and_ties_are_in_favour)
{
    enum { N = 40 };
    static const struct {
        double angle;
        size_t rank;
    } planted[] = {{0, 1},      {0.0025, 1}, {0.005, 1},   {0.0225, 5}, {0.025, 5},
                   {0.0275, 6}, {0.05, 10},  {0.0475, 10}, {0.0525, 11}};
    static const size_t among[] = {1, 5, 10};
    ef_actor *a = ef_test_open();
    make_folder();
    float target[2 * N], vector[2 * N];
    for (size_t n = 0; n < N; n++) {
        const double size = 1 + (double)(n % 5);
        target[2 * n] = (float)(size * cos(0.01 * (double)n));
        target[2 * n + 1] = (float)(size * sin(0.01 * (double)n));
    }
    for (size_t i = 0; i < sizeof planted / sizeof *planted; i++) {
        uint64_t found[3];
        memcpy(vector, target, sizeof vector);
        vector[0] = (float)(7 * cos(planted[i].angle));
        vector[1] = (float)(7 * sin(planted[i].angle));
        find(a, N, 2, vector, target, 0, found);
        for (int k = 0; k < 3; k++)
            ck_assert_msg(found[k] == N - 1 + (planted[i].rank <= among[k]),
                          "angle %g among %zu: %llu", planted[i].angle, among[k],
                          (unsigned long long)found[k]);
    }
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(twins_of_a_target_do_not_push_it_out)
{
    enum { N = 30, W = 12 };
    ef_actor *a = ef_test_open();
    make_folder();
    float *target = ef_test_randn(N * W, 1);
    uint64_t found[3];
    for (size_t n = 1; n < N; n++) /* all of one direction */
        for (size_t i = 0; i < W; i++)
            target[n * W + i] = (float)(n + 1) * target[i];
    find(a, N, W, ef_test_randn(N * W, 2), target, 0, found);
    ck_assert_uint_eq(found[0], N);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(a_vector_without_direction_finds_nothing)
{
    enum { N = 20, W = 5 };
    ef_actor *a = ef_test_open();
    make_folder();
    float *target = ef_test_randn(N * W, 1), *vector = ef_test_floats(N * W);
    uint64_t found[3];
    memcpy(vector, target, N * W * sizeof *vector);
    memset(vector, 0, W * sizeof *vector);
    vector[W + 2] = NAN;
    vector[3 * W] = -INFINITY;
    find(a, N, W, vector, target, 0, found);
    ck_assert_uint_eq(found[0], N - 3);
    ck_assert_uint_eq(found[2], N - 3);
    find(a, 3, W, vector, target, 0, found); /* fewer than 5 and 10: whatever has a direction */
    for (int k = 0; k < 3; k++)
        ck_assert_uint_eq(found[k], 1);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(a_target_without_direction_is_not_found)
{
    enum { N = 20, W = 5 };
    ef_actor *a = ef_test_open();
    make_folder();
    float *target = ef_test_randn(N * W, 1), *vector = ef_test_floats(N * W);
    uint64_t found[3];
    memcpy(vector, target, N * W * sizeof *vector);
    memset(target, 0, W * sizeof *target);
    find(a, N, W, vector, target, 0, found);
    ck_assert_uint_eq(found[0], N - 1);
    memset(target, 0, N * W * sizeof *target);
    find(a, N, W, vector, target, 0, found);
    for (int k = 0; k < 3; k++)
        ck_assert_uint_eq(found[k], 0);
    remove_folder();
    ef_test_close(a);
}
END_TEST

/* ---- a decoder ---- */

/* Loss and hits of a sample, of its logits. */
static size_t add_sample(ef_actor *a, ef_decoder *d, const ef_sample *s, double *sums)
{
    const size_t n = s->length;
    int32_t *target = ef_test_ints(n, 1, EF_IGNORED, EF_IGNORED + 1);
    ef_tensor *y = ef_test_f32(a, SHAPE(1, n, V), NULL);
    ef_test_ok(a, ef_decoder_logits(d, ef_test_i32(a, SHAPE(1, n), s->ids),
                                    ef_test_u8(a, SHAPE(1, n), s->mask),
                                    ef_test_f32(a, SHAPE(1, E), s->target), y));
    memcpy(target, s->ids + 1, (n - 1) * sizeof *target);
    ref_cross_entropy_loss(n, V, ef_test_read(y), target, 1, NULL, sums);
    return n - 1;
}

START_TEST(a_decoders_loss_is_that_of_its_logits)
{
    const ef_eval_options how[] = {{0}, {.batch = 1}, {.batch = 6, .micro_batch = 2}};
    ef_actor *a = ef_test_open();
    make_folder();
    ef_decoder *d = new_decoder(a);
    ef_dataset *data = new_data(20);
    double sums[3] = {0};
    size_t tokens = 0;
    for (size_t n = 0; n < 20; n++) {
        ef_sample s;
        ck_assert(!ef_dataset_read(data, n, &s, NULL));
        tokens += add_sample(a, d, &s, sums);
    }
    ck_assert_double_gt(sums[2], 0);
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        ef_decoder_report r;
        ck_assert(!ef_evaluate_decoder(d, data, &how[i], &r, NULL));
        ck_assert_uint_eq(r.tokens, tokens);
        ck_assert_uint_eq(r.samples, 20);
        ck_assert_double_eq_tol(r.cross_entropy, sums[0] / (double)tokens, 1e-5);
        ck_assert_double_eq_tol(r.perplexity, exp(sums[0] / (double)tokens), 1e-3);
        ck_assert_double_eq_tol(r.accuracy, sums[2] / (double)tokens, 1e-6);
    }
    ef_decoder_free(d);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(without_a_second_id_a_decoder_has_nothing_to_tell)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_decoder *d = new_decoder(a);
    ef_dataset *data = data_of_lengths(3, (size_t[]){1, 1, 1});
    ef_decoder_report r;
    ck_assert(!ef_evaluate_decoder(d, data, NULL, &r, NULL));
    ck_assert_uint_eq(r.tokens, 0);
    ck_assert_uint_eq(r.samples, 3);
    ck_assert(isnan(r.cross_entropy) && isnan(r.perplexity) && isnan(r.accuracy));
    ef_decoder_free(d);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

/* ---- pairs of sentences ---- */

START_TEST(ranks_correlate_as_computed_by_hand)
{
    const struct {
        size_t n;
        double x[10], y[10], rho;
    } cases[] = {{5, {1, 2, 3, 4, 5}, {1, 10, 100, 1000, 1e9}, 1},
                 {5, {1, 2, 3, 4, 5}, {5, 4, -3, -4, -5}, -1},
                 {10,
                  {106, 100, 86, 101, 99, 103, 97, 113, 112, 110},
                  {7, 27, 2, 50, 28, 29, 20, 12, 6, 17},
                  -29.0 / 165},
                 {4, {1, 2, 2, 3}, {1, 2, 3, 4}, 0.9486832980505138}, /* 4.5 / sqrt(4.5 5) */
                 {4, {1, 1, 2, 2}, {3, 1, 3, 1}, 0},
                 {6, {7, 7, 7, 0, 0, 1}, {2, 2, 2, -1, 1, 1}, 14.25 / 15}, /* below */
                 {3, {4, 4, 4}, {1, 2, 3}, NAN},
                 {3, {1, 2, 3}, {1, NAN, 3}, NAN},
                 {1, {1}, {1}, NAN}};
    /* Ranks 5 5 5 1.5 1.5 3 and 5 5 5 1 2.5 2.5: less 3.5, the sums of squares are 15, of products
     * 3 2.25 + 2 2.5 + 2 1 + 0.5 1 = 14.25. */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double rho;
        ck_assert(!ef__spearman(cases[i].n, cases[i].x, cases[i].y, &rho, NULL));
        if (isnan(cases[i].rho))
            ck_assert(isnan(rho));
        else
            ck_assert_double_eq_tol(rho, cases[i].rho, 1e-12);
    }
}
END_TEST

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(pairs_are_lines_of_three_columns)
{
    static const char good[] = "4.5\ta b\t c \r\n-1e1\tx\ty y";
    ef__pairs p;
    ef_error error;
    ck_assert(!ef__pairs_parse("p", good, strlen(good), &p, &error));
    ck_assert_uint_eq(p.count, 2);
    ck_assert_double_eq(p.pair[0].score, 4.5);
    ck_assert_double_eq(p.pair[1].score, -10);
    ck_assert_uint_eq(p.pair[0].text[0].bytes, 3);
    ck_assert_mem_eq(p.pair[0].text[0].text, "a b", 3);
    ck_assert_mem_eq(p.pair[0].text[1].text, " c ", 3);
    ck_assert_uint_eq(p.pair[1].text[1].bytes, 3);
    ck_assert_mem_eq(p.pair[1].text[1].text, "y y", 3);
    ef__pairs_free(&p);

    static const struct {
        const char *text, *says;
    } bad[] = {{"", "p: is empty"},
               {"1\ta\tb\n2\ta", "p:2: has 2 columns"},
               {"1\ta\tb\n\n", "p:2: has 1 column,"},
               {"1\ta\tb\tc\n", "p:1: has 4 columns"},
               {"1\ta\tb\n1\ta\tb\nx\ta\tb\n", "p:3: its score is no number"},
               {"1,5\ta\tb\n", "p:1: its score is no number"},
               {"nan\ta\tb\n", "p:1: its score is no number"},
               {"1e999\ta\tb\n", "p:1: its score is no number"},
               {"\"1\"\ta\tb\n", "p:1: its score is no number"},
               {"\ta\tb\n", "p:1: its score is no number"},
               {"1\t\tb\n", "p:1: its first sentence is empty"},
               {"1\ta\t \r\n", "p:1: its second sentence is empty"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(ef__pairs_parse("p", bad[i].text, strlen(bad[i].text), &p, &error),
                         EF_EFORMAT);
        ck_assert_msg(!strncmp(error.text, bad[i].says, strlen(bad[i].says)), "%s", error.text);
    }
}
END_TEST

static ef_tokenizer *new_tokenizer(const char *tokens)
{
    char text[256];
    ef_tokenizer *t;
    ef_error error;
    snprintf(text, sizeof text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n%s", tokens);
    if (ef_tokenizer_parse("v", text, strlen(text), &t, &error))
        ck_abort_msg("%s", error.text);
    return t;
}

/* Of a text, alone, cut to most ids. */
static const float *vector_of(ef_actor *a, ef_encoder *e, const ef_tokenizer *t, const char *text,
                              size_t most)
{
    int32_t ids[32];
    const uint8_t mask[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const size_t n = ef_tokenizer_encode(t, text, strlen(text), ids, most);
    ef_tensor *y = ef_test_f32(a, SHAPE(1, E), NULL);
    ef_test_ok(a, ef_encoder_encode(e, ef_test_i32(a, SHAPE(1, n), ids),
                                    ef_test_u8(a, SHAPE(1, n), mask), y));
    return ef_test_read(y);
}

START_TEST(similarities_of_pairs_are_ranked_with_their_scores)
{
    static const char *const pairs[][3] = {{"1", "a b", "a b c"}, {"5", "d", "e f g h d d a"},
                                           {"2", "a", "a"},       {"2", "h g f", "f g h"},
                                           {"4", "b b b", "c"},   {"0.5", "a b c d e f g h", "h"},
                                           {"3", "g", "g h"}};
    enum { N = sizeof pairs / sizeof *pairs };
    const ef_eval_options how[] = {{.length = 6}, {.length = 6, .batch = 2}, {.length = 4}, {0}};
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_tokenizer *t = new_tokenizer("a\nb\nc\nd\ne\nf\ng\nh\n");
    char text[512] = "";
    for (size_t i = 0; i < N; i++)
        sprintf(text + strlen(text), "%s\t%s\t%s\n", pairs[i][0], pairs[i][1], pairs[i][2]);
    write_text("pairs.tsv", text);
    for (size_t k = 0; k < sizeof how / sizeof *how; k++) {
        const size_t most = how[k].length ? how[k].length : L;
        double score[N], similarity[N], want;
        ef_pairs_report r;
        ef_error error;
        for (size_t i = 0; i < N; i++) {
            const float *one = vector_of(a, e, t, pairs[i][1], most);
            score[i] = atof(pairs[i][0]);
            similarity[i] = (float)cosine(one, vector_of(a, e, t, pairs[i][2], most), E);
        }
        ck_assert(!ef__spearman(N, score, similarity, &want, NULL));
        if (ef_evaluate_pairs(e, t, path_of("pairs.tsv"), &how[k], &r, &error))
            ck_abort_msg("%s", error.text);
        ck_assert_uint_eq(r.pairs, N);
        ck_assert_double_eq_tol(r.spearman, want, 1e-12);
    }
    ef_tokenizer_free(t);
    ef_encoder_free(e);
    remove_folder();
    ef_test_close(a);
}
END_TEST

START_TEST(pairs_need_a_vocabulary_that_fits)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_tokenizer *t = new_tokenizer("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\n");
    ef_pairs_report r = {.pairs = 77};
    ef_error error;
    write_text("pairs.tsv", "1\ta\tb\n");
    ck_assert_int_eq(ef_evaluate_pairs(e, t, path_of("pairs.tsv"), NULL, &r, &error), EF_EARG);
    ck_assert_str_eq(error.text, "embedding: the vocabulary has 20 tokens, the model has 19");
    ck_assert_uint_eq(r.pairs, 77);
    ef_tokenizer_free(t);
    ef_encoder_free(e);
    remove_folder();
    ef_test_close(a);
}
END_TEST

/* ---- what is refused; progress ---- */

START_TEST(what_does_not_fit_the_model_is_refused_by_name)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_dataset *data = new_data(5);
    ef_model_config wide = tiny_config(), small = tiny_config();
    ef_encoder *e;
    ef_decoder *d;
    ef_eval_report er = {.samples = 77};
    ef_decoder_report dr = {.samples = 77};
    ef_error error;
    wide.vector = E + 1;
    small.vocab = 2;
    ef_test_ok(a, ef_encoder_new(a, &wide, EF_INIT_TORCH, 3, false, &e));
    ef_test_ok(a, ef_decoder_new(a, &small, EF_INIT_TORCH, 3, false, &d));
    ck_assert_int_eq(ef_evaluate(e, data, NULL, &er, &error), EF_EFORMAT);
    ck_assert_ptr_nonnull(strstr(error.text, "data.efb: its targets have 6 values"));
    ck_assert_ptr_nonnull(strstr(error.text, "vectors 7"));
    ck_assert_int_eq(ef_evaluate_decoder(d, data, NULL, &dr, &error), EF_EFORMAT);
    ck_assert_ptr_nonnull(strstr(error.text, "not below the vocabulary size 2"));
    ck_assert_uint_eq(er.samples, 77);
    ck_assert_uint_eq(dr.samples, 77);
    ef_encoder_free(e);
    ef_decoder_free(d);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

typedef struct teller {
    uint64_t done, all, calls, last; /* last: calls until it says no */
} teller;

static bool tell(void *user, uint64_t done, uint64_t all)
{
    teller *t = user;
    ck_assert_uint_gt(done, t->done);
    ck_assert_uint_le(done, all);
    t->done = done;
    t->all = all;
    return ++t->calls != t->last;
}

START_TEST(progress_goes_up_to_the_end_and_may_be_ended)
{
    ef_actor *a = ef_test_open();
    make_folder();
    ef_encoder *e = new_encoder(a);
    ef_decoder *d = new_decoder(a);
    ef_dataset *data = new_data(20);
    teller t = {0};
    ef_eval_options o = {.batch = 6, .recall = true, .on_progress = tell, .user = &t};
    ef_eval_report er;
    ef_decoder_report dr;
    evaluated(e, data, &o);
    ck_assert_uint_eq(t.done, 40); /* the targets are gone through once more */
    ck_assert_uint_eq(t.all, 40);
    ck_assert_uint_eq(t.calls, 5);
    t = (teller){.last = 5};
    ck_assert_int_eq(ef_evaluate(e, data, &o, &er, NULL), EF_ECANCELLED);
    ck_assert_uint_eq(t.calls, 5);
    t = (teller){.last = 2};
    ck_assert_int_eq(ef_evaluate_decoder(d, data, &o, &dr, NULL), EF_ECANCELLED);
    ck_assert_uint_eq(t.all, 20);
    ck_assert_int_eq(ef_actor_finish(a), EF_OK);
    ef_encoder_free(e);
    ef_decoder_free(d);
    ef_dataset_free(data);
    remove_folder();
    ef_test_close(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("evaluate");
    TCase *t = ef_test_case(s, "encoder");
    tcase_add_test(t, the_means_over_samples_are_those_of_plain_loops);
    tcase_add_test(t, neither_batch_nor_micro_batch_changes_the_result);
    tcase_add_test(t, a_batch_of_more_samples_than_there_are_is_one_of_all);
    tcase_add_test(t, max_batches_takes_the_first_samples_and_them_alone);
    tcase_add_test(t, a_batch_is_one_wait_also_in_parts);
    tcase_add_test(t, the_length_is_the_models_or_what_is_asked_for_or_that_of_95_in_100);
    t = ef_test_case(s, "recall");
    tcase_add_test(t, recall_is_that_of_plain_loops_in_one_pass_or_several);
    tcase_add_test(t, planted_ranks_are_found_and_ties_are_in_favour);
    tcase_add_test(t, twins_of_a_target_do_not_push_it_out);
    tcase_add_test(t, a_vector_without_direction_finds_nothing);
    tcase_add_test(t, a_target_without_direction_is_not_found);
    t = ef_test_case(s, "decoder");
    tcase_add_test(t, a_decoders_loss_is_that_of_its_logits);
    tcase_add_test(t, without_a_second_id_a_decoder_has_nothing_to_tell);
    t = ef_test_case(s, "pairs");
    tcase_add_test(t, ranks_correlate_as_computed_by_hand);
    tcase_add_test(t, pairs_are_lines_of_three_columns);
    tcase_add_test(t, similarities_of_pairs_are_ranked_with_their_scores);
    tcase_add_test(t, pairs_need_a_vocabulary_that_fits);
    t = ef_test_case(s, "both");
    tcase_add_test(t, what_does_not_fit_the_model_is_refused_by_name);
    tcase_add_test(t, progress_goes_up_to_the_end_and_may_be_ended);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
