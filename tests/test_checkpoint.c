/* Tests of checkpoints and whole runs: save, open, refuse, break. */
#include "diary.h"
#include "mutate.h"
#include "train/checkpoint.h"
#include "train/resume.h"
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- files ---- */

START_TEST(the_best_model_is_beside_the_last)
{
    const char *const names[][2] = {{"model.safetensors", "model.best.safetensors"},
                                    {"a/b.c/model", "a/b.c/model.best"},
                                    {"/x/.hidden", "/x/.hidden.best"},
                                    {"m.", "m.best."}};
    for (int i = 0; i < 4; i++) {
        char *best = ef_train_best_path(names[i][0]);
        ck_assert_str_eq(best, names[i][1]);
        free(best);
    }
}
END_TEST

START_TEST(a_state_survives_its_json)
{
    ef__run_state s = {.step = 1ull << 40,
                       .epoch = 3,
                       .position = 17,
                       .skipped = 2,
                       .seed = UINT64_MAX - 5,
                       .has_best = true,
                       .best = -0.1234567890123456,
                       .stale = 5,
                       .val_fraction = 0.1,
                       .ab_ratio = 0.7,
                       .micro_batch = 8,
                       .max_batches = 9,
                       .data_bytes = 1ull << 35,
                       .data_sha256 = "abc",
                       .val_sha256 = "def",
                       .batch = 32,
                       .accum = 4,
                       .bucket = true,
                       .identity = {"a \"device\"", "d", "l", "v"}},
                  t;
    ef_trainer_options_default(&s.trainer[EF_ENCODER]);
    s.trainer[EF_DECODER] = s.trainer[EF_ENCODER];
    s.trainer[EF_ENCODER].scope = EF_TRAIN_LAST;
    s.trainer[EF_DECODER].lr = 1.0f / 3;
    char *text, *again;
    ck_assert_int_eq(ef__run_dump("f", &s, &text, NULL), EF_OK);
    ck_assert_int_eq(ef__run_parse("f", text, &t, NULL), EF_OK);
    ck_assert_uint_eq(t.step, s.step);
    ck_assert_uint_eq(t.seed, s.seed);
    ck_assert_double_eq(t.best, s.best);
    ck_assert_double_eq(t.ab_ratio, s.ab_ratio);
    ck_assert_str_eq(t.val_sha256, "def");
    ck_assert_float_eq(t.trainer[EF_DECODER].lr, s.trainer[EF_DECODER].lr);
    ck_assert_int_eq(t.trainer[EF_ENCODER].scope, s.trainer[EF_ENCODER].scope);
    ck_assert_str_eq(t.identity.device, s.identity.device);
    ck_assert_int_eq(ef__run_dump("f", &t, &again, NULL), EF_OK);
    ck_assert_str_eq(text, again);
    free(text);
    free(again);
    ef__models c = {.has = {true}}, d;
    ef_model_config_default(&c.config[0]);
    c.config[0].tanh = true;
    ef_error error;
    refused(ef__run_parse("f", "{\"version\":2}", &t, &error), EF_EFORMAT, &error, "version 2");
    refused(ef__run_parse("f", "{\"version\":1}", &t, &error), EF_EFORMAT, &error, "f: metadata");
    refused(ef__config_parse("f", NULL, &d, &error), EF_EFORMAT, &error,
            "\"config\": is not there");
    ck_assert_int_eq(ef__config_dump("f", &c, &text, NULL), EF_OK);
    ck_assert_int_eq(ef__config_parse("f", text, &d, NULL), EF_OK);
    ck_assert(d.has[EF_ENCODER] && !d.has[EF_DECODER]);
    ck_assert_uint_eq(d.config[0].blocks, 4);
    ck_assert_uint_eq(d.config[0].dilations[3], 8);
    ck_assert_float_eq(d.config[0].eps, c.config[0].eps);
    ck_assert(d.config[0].tanh);
    free(text);
}
END_TEST

START_TEST(a_state_that_json_cannot_say_is_no_lack_of_memory)
{
    ef__run_state s = {.best = NAN};
    ef__models c = {.has = {true}};
    ef_error error;
    char *text = "";
    refused(ef__run_dump("f", &s, &text, &error), EF_EFORMAT, &error, "f: metadata \"run\": ");
    ck_assert_ptr_null(text);
    s.best = 0;
    snprintf(s.identity.device, sizeof s.identity.device, "a\xff");
    refused(ef__run_dump("f", &s, &text, &error), EF_EFORMAT, &error, "UTF-8");
    ef_model_config_default(&c.config[0]);
    c.config[0].eps = INFINITY;
    refused(ef__config_dump("f", &c, &text, &error), EF_EFORMAT, &error, "\"config\": ");
}
END_TEST

/* Latin-1, and so long that what is kept of it ends anywhere. */
START_TEST(an_identity_can_be_saved_whatever_the_environment_says)
{
    ef_actor *a = ef_test_open();
    ef__run_state s = {0};
    ef_trainer_options_default(&s.trainer[EF_ENCODER]);
    for (int length = 180; length < 200; length++) {
        char linear[512] = "", *text;
        for (int i = 0; i < length; i++)
            strcat(linear, i % 2 ? "\xe9" : "\xc3\xa9");
        setenv("EF_LINEAR", linear, 1);
        ef__identity_of(a, &s.identity);
        ck_assert_int_eq(ef__run_dump("f", &s, &text, NULL), EF_OK);
        ck_assert_ptr_nonnull(strstr(text, "linear %c3%a9%e9%c3%a9"));
        free(text);
    }
    ef_test_close(a);
}
END_TEST

START_TEST(a_saved_model_opens_for_inference_with_the_same_bits)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    ef_encoder *e;
    ef_error error;
    ef_eval_report report;
    ef_dataset *val;
    o.val = in_folder("val.efb");
    o.save = in_folder("m.safetensors");
    run_well(a, &o, &d);
    ck_assert_uint_eq(d.epochs, 3);
    if (ef_encoder_open(a, o.save, &e, &error))
        ck_abort_msg("%s", error.text);
    ck_assert_ptr_null(e->model.params->grad);
    ef_checkpoint_info info;
    ck_assert(!ef_checkpoint_describe(o.save, &info, &error));
    ck_assert(info.has_encoder && !info.has_decoder && !info.has_vocabulary);
    ck_assert_uint_eq(info.encoder.vector, ef_encoder_get_config(e)->vector);
    ck_assert_int_eq(ef_checkpoint_describe(o.val, &info, &error), EF_EFORMAT);
    ck_assert(info.has_encoder);
    ck_assert_int_eq(ef_dataset_open(o.val, &val, &error), EF_OK);
    ck_assert_int_eq(ef_evaluate(e, val, NULL, &report, &error), EF_OK);
    ck_assert_double_eq(report.cos, d.epoch[2].val_cos);
    ck_assert_double_eq(report.mse, d.epoch[2].val_mse);
    ef_encoder_free(e);
    size_t best = 0;
    for (size_t i = 0; i < 3; i++)
        if (d.epoch[i].best)
            best = i;
    if (ef_encoder_open(a, in_folder("m.best.safetensors"), &e, &error))
        ck_abort_msg("%s", error.text);
    ck_assert_int_eq(ef_evaluate(e, val, NULL, &report, &error), EF_OK);
    ck_assert_double_eq(report.cos, d.epoch[best].val_cos);
    ef_encoder_free(e);
    ef_dataset_free(val);
    end(a);
}
END_TEST

START_TEST(no_epoch_at_all_saves_the_initial_model)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    ef_encoder *e, *fresh;
    ef_error error;
    o.epochs = 0;
    o.init = EF_INIT_PLAN;
    o.save = in_folder("m");
    run_well(a, &o, &d);
    ck_assert_uint_eq(d.steps, 0);
    ck_assert_int_eq(ef_encoder_open(a, o.save, &e, &error), EF_OK);
    ef_test_ok(a, ef_encoder_new(a, &e->model.config, EF_INIT_PLAN, o.seed, false, &fresh));
    ef_test_same_bits("parameters", e->model.params->value,
                      ef_test_read(fresh->model.params->value));
    ef_encoder_free(e);
    ef_encoder_free(fresh);
    end(a);
}
END_TEST

/* ---- what can be wrong ---- */

START_TEST(a_broken_checkpoint_is_refused_by_name_and_never_crashes)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    size_t bytes, header = 0;
    ef_encoder *e = NULL;
    ef_error error;
    char *broken = in_folder("broken");
    o.save = in_folder("m");
    o.epochs = 1;
    run_well(a, &o, &d);
    unsigned char *file = read_file(o.save, &bytes);
    memcpy(&header, file, 8);
    for (size_t cut = 0; cut < bytes; cut += 1 + bytes / ef_test_size(10, 50, 150)) {
        write_file(broken, file, cut);
        refused(ef_encoder_open(a, broken, &e, &error), EF_EFORMAT, &error, broken);
    }
    uint64_t seed = 1;
    for (size_t i = 0; i < ef_test_size(10, 200, 600); i++) {
        size_t n = bytes;
        unsigned char *copy = mutate(file, 8 + header, &n, &seed);
        write_file(broken, copy, n);
        free(copy);
        ef_status status = ef_encoder_open(a, broken, &e, &error);
        ck_assert_msg(status == EF_OK || status == EF_EFORMAT, "%s", error.text);
        if (status == EF_OK)
            ef_encoder_free(e);
        ef_test_ok(a, ef_actor_error(a, NULL));
    }
    end(a);
}
END_TEST

START_TEST(a_value_that_is_no_number_is_refused_by_tensor)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    size_t bytes;
    ef_error error;
    ef_encoder *e;
    ef__st_reader *reader;
    o.save = in_folder("m");
    o.epochs = 0;
    run_well(a, &o, &d);
    unsigned char *file = read_file(o.save, &bytes);
    const char *const names[] = {"proj.weight", "optim.v.blocks.1.norm.bias"};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ef__st_parse(o.save, file, bytes, &reader, &error), EF_OK);
        float kept, *value = (float *)(ef__st_find(reader, names[i])->data);
        ef__st_close(reader);
        kept = *value;
        *value = NAN;
        write_file(in_folder("nan"), file, bytes);
        *value = kept;
        o.resume = in_folder("nan");
        refused(run(a, &o, &d), EF_EFORMAT, &d.error, names[i]);
    }
    write_file(in_folder("nan"), file, bytes);
    run_well(a, &o, &d);
    refused(ef_encoder_open(a, o.data, &e, &error), EF_EFORMAT, &error, "train.efb");
    refused(ef_encoder_open(a, in_folder("none"), &e, &error), EF_EIO, &error, "none");
    end(a);
}
END_TEST

START_TEST(a_save_that_fails_leaves_the_old_file_and_no_other)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    size_t bytes, after;
    o.save = in_folder("m");
    o.epochs = 1;
    run_well(a, &o, &d);
    unsigned char *old = read_file(o.save, &bytes);
    struct rlimit limit, kept;
    getrlimit(RLIMIT_FSIZE, &kept);
    limit = kept;
    limit.rlim_cur = bytes / 2; /* as good as a full disk */
    signal(SIGXFSZ, SIG_IGN);
    o.seed = 2;
    setrlimit(RLIMIT_FSIZE, &limit);
    ef_status status = run(a, &o, &d);
    setrlimit(RLIMIT_FSIZE, &kept);
    refused(status, EF_EIO, &d.error, o.save);
    ck_assert_mem_eq(read_file(o.save, &after), old, bytes);
    ck_assert_uint_eq(after, bytes);
    char command[128];
    snprintf(command, sizeof command, "test $(ls %s | wc -l) = 3", folder);
    ck_assert_msg(system(command) == 0, "a temporary file is left in %s", folder);
    end(a);
}
END_TEST

START_TEST(a_save_that_cannot_work_is_known_before_the_first_step)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    o.save = in_folder("no/such/folder/m");
    refused(run(a, &o, &d), EF_EIO, &d.error, "no/such/folder");
    ck_assert_uint_eq(d.steps, 0);
    o.save = NULL;
    o.batch = 0;
    refused(run(a, &o, &d), EF_EARG, &d.error, "batch");
    o = tiny_options();
    o.data = in_folder("nothing.efb");
    refused(run(a, &o, &d), EF_EIO, &d.error, "nothing.efb");
    o = tiny_options();
    o.model.vocab = TRAIN_VOCAB - 1;
    refused(run(a, &o, &d), EF_EFORMAT, &d.error, "train.efb");
    train_data_write(in_folder("wide.efb"), 500, 2);
    o = tiny_options();
    o.data = in_folder("val.efb");
    o.val = in_folder("wide.efb");
    o.model.vocab = 18;
    refused(run(a, &o, &d), EF_EFORMAT, &d.error, "efb");
    ck_assert_uint_eq(d.steps, 0);
    end(a);
}
END_TEST

START_TEST(ten_skipped_steps_in_a_row_end_the_run)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    o.trainer.lr = 1e30f;
    o.trainer.warmup = 0;
    o.epochs = 5;
    ef_status status = run(a, &o, &d);
    refused(status, EF_ESTATE, &d.error, "10 steps in a row were skipped");
    char step[32];
    snprintf(step, sizeof step, "step %zu", d.steps);
    ck_assert_ptr_nonnull(strstr(d.error.text, step));
    ck_assert(d.step[d.steps - 1].skipped);
    ck_assert_uint_eq(d.step[d.steps - 1].skipped_total, 10);
    end(a);
}
END_TEST

/* 65536 is halved sixteen times: the first step at 1 is the seventeenth. */
START_TEST(skipped_steps_end_the_run_only_at_a_loss_scale_of_1)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    o.trainer.lr = 1e30f;
    o.trainer.warmup = 0;
    o.trainer.loss_scale = 65536;
    o.epochs = 5;
    refused(run(a, &o, &d), EF_ESTATE, &d.error, "17 steps in a row were skipped");
    ck_assert_uint_eq(d.step[d.steps - 1].skipped_total, 17);
    end(a);
}
END_TEST

START_TEST(a_step_of_more_batches_than_there_are_is_a_step_of_them_all)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary all, more;
    struct rlimit limit, kept;
    o.accum = 8; /* 30 samples, 4 in a batch */
    o.save = in_folder("all");
    run_well(a, &o, &all);
    ck_assert_uint_eq(all.steps, o.epochs);
    o.accum = INT32_MAX;
    o.save = in_folder("more");
    getrlimit(RLIMIT_AS, &kept);
    limit = kept;
    limit.rlim_cur = (rlim_t)16 << 30; /* rings of that many batches would not fit */
    if (!EF_TEST_SANITIZED)
        setrlimit(RLIMIT_AS, &limit);
    run_well(a, &o, &more);
    setrlimit(RLIMIT_AS, &kept);
    ck_assert_uint_eq(more.steps, all.steps);
    for (size_t s = 0; s < all.steps; s++)
        same_step(&all.step[s], &more.step[s]);
    o.resume = o.save;
    run_well(a, &o, &more); /* what was asked for is what is saved */
    o.resume = NULL;
    o.accum = (size_t)INT32_MAX + 1;
    refused(run(a, &o, &more), EF_EARG, &more.error, "more than 2147483647 batches in a step");
    o.accum = 1;
    o.batch = SIZE_MAX;
    refused(run(a, &o, &more), EF_EARG, &more.error, "more than 2147483647 samples");
    o.batch = INT32_MAX;
    run_well(a, &o, &more);
    ck_assert_uint_eq(more.steps, o.epochs);
    end(a);
}
END_TEST

START_TEST(a_run_tells_how_many_samples_it_cuts)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    o.epochs = 1;
    run_well(a, &o, &d);
    ck_assert_uint_eq(d.notices, 1);
    ck_assert_ptr_nonnull(strstr(d.notice, "of 30 samples are longer than 7 ids"));
    ck_assert_double_ge(d.epoch[0].padding, 1);
    o.model.length = TRAIN_LONGEST;
    run_well(a, &o, &d);
    ck_assert_uint_eq(d.notices, 0);
    end(a);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *files = ef_test_case(s, "files");
    tcase_add_test(files, the_best_model_is_beside_the_last);
    tcase_add_test(files, a_state_survives_its_json);
    tcase_add_test(files, a_state_that_json_cannot_say_is_no_lack_of_memory);
    tcase_add_test(files, an_identity_can_be_saved_whatever_the_environment_says);
    tcase_add_test(files, a_saved_model_opens_for_inference_with_the_same_bits);
    tcase_add_test(files, no_epoch_at_all_saves_the_initial_model);
    TCase *broken = ef_test_case(s, "broken");
    tcase_add_test(broken, a_broken_checkpoint_is_refused_by_name_and_never_crashes);
    tcase_add_test(broken, a_value_that_is_no_number_is_refused_by_tensor);
    tcase_add_test(broken, a_save_that_fails_leaves_the_old_file_and_no_other);
    tcase_add_test(broken, a_save_that_cannot_work_is_known_before_the_first_step);
    tcase_add_test(broken, ten_skipped_steps_in_a_row_end_the_run);
    tcase_add_test(broken, skipped_steps_end_the_run_only_at_a_loss_scale_of_1);
    tcase_add_test(broken, a_step_of_more_batches_than_there_are_is_a_step_of_them_all);
    tcase_add_test(broken, a_run_tells_how_many_samples_it_cuts);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
