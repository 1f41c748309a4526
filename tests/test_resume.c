/* Tests of runs that end early and go on: the same bits, or a refusal. */
#include "diary.h"
#include "train/checkpoint.h"
#include "train/resume.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Stop at the step, go on, and compare with the whole run. */
static void break_at(ef_actor *a, ef_train_options o, size_t step, const diary *whole)
{
    static diary first, second;
    o.save = in_folder("broken");
    first.stop_after = step;
    refused(run(a, &o, &first), EF_ECANCELLED, &first.error, "stopped");
    ck_assert_uint_eq(first.steps, step);
    o.resume = o.save;
    o.strict_resume = true;
    run_well(a, &o, &second);
    ck_assert_uint_eq(first.steps + second.steps, whole->steps);
    ck_assert_uint_eq(second.begun, first.steps);
    ck_assert_uint_eq(second.whole, whole->whole);
    for (size_t s = 0; s < second.steps; s++)
        same_step(&second.step[s], &whole->step[first.steps + s]);
    same_files(in_folder("whole"), in_folder("broken"));
}

START_TEST(a_resumed_run_is_the_unbroken_run_bit_for_bit)
{
    ef_actor *a = begin();
    static diary whole;
    const size_t stops[] = {1, 5, 8, 13, 23}, accums[] = {1, 3};
    const ef_train_mode modes[] = {EF_MODE_ENCODER, EF_MODE_DECODER, EF_MODE_COMBINED};
    for (int j = 0; j < 6; j++) {
        ef_train_options o = tiny_options();
        o.mode = modes[j / 2];
        o.val = in_folder("val.efb");
        o.accum = accums[j % 2];
        o.bucket = j % 2 == 0;
        o.trainer.loss_scale = j % 2 ? 8 : 0;
        o.save = in_folder("whole");
        run_well(a, &o, &whole);
        for (size_t i = 0; i < ef_test_size(1, 2, j < 2 ? 5 : 3) && stops[i] < whole.steps; i++)
            break_at(a, o, stops[i], &whole);
    }
    end(a);
}
END_TEST

START_TEST(what_a_run_leaves_out_and_holds_out_it_does_again_when_resumed)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary whole;
    o.val_fraction = 0.2;
    o.max_batches = 3;
    o.micro_batch = 3;
    o.patience = 2;
    o.save = in_folder("whole");
    run_well(a, &o, &whole);
    ck_assert_uint_eq(whole.steps, 9);
    break_at(a, o, 2, &whole);
    break_at(a, o, 6, &whole);
    o.trainer.lr = o.trainer.weight_decay = 0; /* the first epoch stays the best */
    o.epochs = 9;
    run_well(a, &o, &whole);
    ck_assert_uint_eq(whole.steps, 9);
    break_at(a, o, 7, &whole);
    end(a);
}
END_TEST

/* The held-out data end too early from the first epoch's last step on. */
static void cut_val(void *user, const ef_step_report *report)
{
    on_step(user, report);
    if (report->step == 8)
        ck_assert_int_eq(truncate(path_of("val.efb"), 40), 0);
}

START_TEST(a_validation_that_fails_loses_no_step)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary whole, first, rest;
    const ef_train_observer watch = {.user = &first, .on_step = cut_val, .on_epoch = on_epoch};
    o.val = in_folder("val.efb");
    o.save = in_folder("whole");
    run_well(a, &o, &whole);
    o.save = in_folder("broken");
    refused(ef_train(a, &o, &watch, &first.error), EF_EIO, &first.error, "val.efb");
    ck_assert_uint_eq(first.steps, 8);
    ck_assert_uint_eq(first.epochs, 0);
    train_data_write(o.val, 9, 2);
    o.resume = o.save;
    o.strict_resume = true;
    run_well(a, &o, &rest);
    ck_assert_uint_eq(rest.begun, 8);
    ck_assert_uint_eq(rest.epochs, whole.epochs);
    same_files(in_folder("whole"), in_folder("broken"));
    same_files(in_folder("whole.best"), in_folder("broken.best"));
    end(a);
}
END_TEST

/* The most device memory that a run with that many held-out samples takes. */
static uint64_t memory_of(ef_train_mode mode, uint32_t held_out)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary d;
    ef_stats stats;
    o.mode = mode;
    o.epochs = 1;
    o.batch = 16;
    o.micro_batch = 2;
    o.val = in_folder("many.efb");
    train_data_write(o.val, held_out, 2);
    run_well(a, &o, &d);
    ef_actor_stats(a, &stats);
    end(a);
    return stats.pool_peak;
}

START_TEST(a_validation_takes_no_more_memory_than_a_step)
{
    ck_assert_uint_eq(memory_of(EF_MODE_ENCODER, 1), memory_of(EF_MODE_ENCODER, 64));
    ck_assert_uint_eq(memory_of(EF_MODE_DECODER, 1), memory_of(EF_MODE_DECODER, 64));
}
END_TEST

/* An epoch's end is not saved yet when it is told: a run that is killed there tells it again. */
static void expect_unsaved(void *user, const ef_epoch_report *report)
{
    on_epoch(user, report);
    ck_assert_int_eq(access(path_of("m"), F_OK), report->epoch == 1 ? -1 : 0);
}

START_TEST(an_epoch_is_told_before_its_end_is_saved)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary d;
    o.epochs = 2;
    o.save = in_folder("m");
    ck_assert_int_eq(
        ef_train(a, &o, &(ef_train_observer){.user = &d, .on_epoch = expect_unsaved}, &d.error),
        EF_OK);
    ck_assert_uint_eq(d.epochs, 2);
    end(a);
}
END_TEST

START_TEST(what_has_nothing_left_to_do_leaves_its_checkpoint)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary d;
    o.epochs = 1;
    o.save = in_folder("m");
    run_well(a, &o, &d);
    o.save = in_folder("n");
    run_well(a, &o, &d);
    o.resume = o.save;
    o.trainer.lr = 0.25f;
    run_well(a, &o, &d);
    ck_assert_ptr_nonnull(strstr(d.notice, "learning rate was"));
    ck_assert_uint_eq(d.steps, 0);
    same_files(in_folder("m"), in_folder("n"));
    end(a);
}
END_TEST

START_TEST(save_every_saves_between_epochs)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary d, whole, rest;
    o.save = in_folder("m");
    o.save_every = 3;
    run_well(a, &o, &whole);
    o.save = in_folder("n");
    d.lose_after = 5; /* nothing is written after that */
    refused(run(a, &o, &d), EF_EDEVICE, &d.error, "the device is gone");
    ef_test_ok(a, ef_actor_reset(a));
    o.resume = o.save;
    run_well(a, &o, &rest);
    ck_assert_uint_eq(rest.step[0].step, 4);
    for (size_t s = 0; s < rest.steps; s++)
        same_step(&rest.step[s], &whole.step[3 + s]);
    same_files(in_folder("m"), in_folder("n"));
    end(a);
}
END_TEST

START_TEST(a_save_leaves_the_run_as_it_was)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary never, often;
    o.save = in_folder("never"); /* but at the end */
    o.epochs = 1;
    run_well(a, &o, &never);
    o.save = in_folder("often");
    o.save_every = 1;
    run_well(a, &o, &often);
    ck_assert_uint_eq(often.steps, never.steps);
    for (size_t s = 0; s < never.steps; s++)
        same_step(&often.step[s], &never.step[s]);
    same_files(in_folder("never"), in_folder("often"));
    end(a);
}
END_TEST

START_TEST(a_lost_device_writes_nothing)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    o.save = in_folder("m");
    d.lose_after = 2;
    refused(run(a, &o, &d), EF_EDEVICE, &d.error, "the device is gone");
    ck_assert_int_ne(access(o.save, F_OK), 0);
    ef_test_ok(a, ef_actor_reset(a));
    end(a);
}
END_TEST

START_TEST(another_model_or_data_file_is_refused_with_both_values)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options(), other;
    diary d = {0};
    o.save = in_folder("m");
    o.epochs = 1;
    run_well(a, &o, &d);
    o.save = NULL;
    o.epochs = 2;
    o.resume = in_folder("m");
    other = o;
    other.model.width = 9;
    refused(run(a, &other, &d), EF_EARG, &d.error, "width is 8, this run's is 9");
    other = o;
    other.model.vocab = 40;
    refused(run(a, &other, &d), EF_EARG, &d.error, "vocabulary size is 19, this run's is 40");
    other = o;
    other.model.dilations[1] = 3;
    refused(run(a, &other, &d), EF_EARG, &d.error, "dilation of block 1 is 2, this run's is 3");
    other = o;
    other.seed = 9;
    refused(run(a, &other, &d), EF_EARG, &d.error, "seed is 1, this run's is 9");
    other = o;
    other.mode = EF_MODE_COMBINED;
    refused(run(a, &other, &d), EF_EARG, &d.error, "mode is encoder, this run's is combined");
    other = o;
    other.val_fraction = 0.25;
    refused(run(a, &other, &d), EF_EARG, &d.error, "held-out share is 0, this run's is 0.25");
    other = o;
    other.max_batches = 3;
    refused(run(a, &other, &d), EF_EARG, &d.error,
            "number of batches in an epoch is 0, this run's is 3");
    other = o;
    other.init_from = in_folder("m");
    refused(run(a, &other, &d), EF_EARG, &d.error, "both");
    train_data_write(in_folder("train.efb"), SAMPLES, 3);
    refused(run(a, &o, &d), EF_EARG, &d.error, "SHA-256");
    train_data_write(in_folder("train.efb"), SAMPLES + 9, 1);
    refused(run(a, &o, &d), EF_EARG, &d.error, "data file's size");
    ck_assert_uint_eq(d.steps, 0);
    end(a);
}
END_TEST

START_TEST(other_held_out_data_are_refused_with_both_values)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    diary d = {0};
    o.epochs = 1;
    o.val = in_folder("val.efb");
    o.save = in_folder("m");
    run_well(a, &o, &d);
    o.save = NULL;
    o.epochs = 2;
    o.resume = in_folder("m");
    o.val = NULL;
    refused(run(a, &o, &d), EF_EARG, &d.error, "this run's is none");
    o.val = in_folder("train.efb");
    refused(run(a, &o, &d), EF_EARG, &d.error, "held-out data's SHA-256 is ");
    train_data_write(in_folder("val.efb"), 9, 3);
    o.val = in_folder("val.efb");
    refused(run(a, &o, &d), EF_EARG, &d.error, "held-out data's SHA-256 is ");
    train_data_write(in_folder("val.efb"), 9, 2);
    run_well(a, &o, &d);
    end(a);
}
END_TEST

/* Text of the same length for what is there once. */
static void edit(const char *path, const char *from, const char *to)
{
    size_t bytes, n = strlen(from), found = 0;
    unsigned char *data = read_file(path, &bytes);
    ck_assert_uint_eq(strlen(to), n);
    for (size_t i = 0; i + n <= bytes; i++)
        if (!memcmp(data + i, from, n)) {
            memcpy(data + i, to, n);
            found++;
        }
    ck_assert_uint_eq(found, 1);
    write_file(path, data, bytes);
}

START_TEST(a_checkpoint_whose_steps_do_not_lead_to_its_place_is_refused)
{
    static const struct {
        const char *was, *is, *text;
    } edits[] = {
        {"step\\\":2,", "step\\\":3,", "it counts 3 steps, batch 6 of epoch 0 is after 2"},
        {"epoch\\\":0,", "epoch\\\":1,", "it counts 2 steps, batch 6 of epoch 1 is after 5"},
        {"position\\\":6,", "position\\\":8,", "it counts 2 steps, batch 8 of epoch 0 is after 3"},
        {"position\\\":6,", "position\\\":9,", "it stands at batch 9 of an epoch of 8"}};
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary d;
    o.accum = 3;
    o.save = in_folder("m");
    d.stop_after = 2;
    refused(run(a, &o, &d), EF_ECANCELLED, &d.error, "stopped");
    d.stop_after = 0;
    o.resume = o.save;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        edit(o.save, edits[i].was, edits[i].is);
        refused(run(a, &o, &d), EF_EFORMAT, &d.error, edits[i].text);
        edit(o.save, edits[i].is, edits[i].was);
    }
    run_well(a, &o, &d);
    end(a);
}
END_TEST

START_TEST(what_changed_gets_one_notice_or_a_refusal_when_strict)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    ef__models m = {.has = {true}};
    ef_model_config_default(&m.config[EF_ENCODER]);
    diary d = {.a = a};
    ef__run_state now = {.trainer = {o.trainer}}, saved;
    ef__identity_of(a, &now.identity);
    saved = now;
    ef__resume_side was = {&m, &saved}, is = {&m, &now};
    ck_assert_int_eq(ef__resume_check("f", was, is, true, on_notice, &d, &d.error), EF_OK);
    ck_assert_uint_eq(d.notices, 0);
    snprintf(saved.identity.driver, sizeof saved.identity.driver, "another driver 1.0");
    ck_assert_int_eq(ef__resume_check("f", was, is, false, on_notice, &d, &d.error), EF_OK);
    ck_assert_uint_eq(d.notices, 1);
    ck_assert_ptr_nonnull(strstr(d.notice, "driver was \"another driver 1.0\""));
    refused(ef__resume_check("f", was, is, true, on_notice, &d, &d.error), EF_ESTATE, &d.error,
            "driver is another driver 1.0");
    ck_assert_uint_eq(d.notices, 1);
    saved = now;
    saved.trainer[EF_ENCODER].lr = 0.25f;
    ck_assert_int_eq(ef__resume_check("f", was, is, false, on_notice, &d, &d.error), EF_OK);
    ck_assert_ptr_nonnull(strstr(d.notice, "learning rate was \"0.25\""));
    saved = now;
    saved.trainer[EF_ENCODER].optim = EF_OPTIM_ADAM_L2;
    saved.trainer[EF_ENCODER].scope = (ef_scope)7;
    ck_assert_int_eq(ef__resume_check("f", was, is, false, on_notice, &d, &d.error), EF_OK);
    ck_assert_ptr_nonnull(strstr(d.notice, "optimiser was \"adam-l2\" and is \"adamw\""));
    ck_assert_ptr_nonnull(strstr(d.notice, "trained part was \"unknown\" and is \"all\""));
    saved = now;
    saved.bucket = true;
    refused(ef__resume_check("f", was, is, false, on_notice, &d, &d.error), EF_EARG, &d.error,
            "bucketing is on, this run's is off");
    saved = now;
    ef_actor_set_accuracy(a, EF_STRICT);
    ef__identity_of(a, &saved.identity);
    ef_actor_set_accuracy(a, EF_NORMAL);
    refused(ef__resume_check("f", was, is, true, on_notice, &d, &d.error), EF_ESTATE, &d.error,
            "accuracy strict, tuned not, this run's is");
    saved = now;
    snprintf(saved.identity.variants, sizeof saved.identity.variants, "linear of old");
    ck_assert_int_eq(ef__resume_check("f", was, is, false, on_notice, &d, &d.error), EF_OK);
    ck_assert_ptr_nonnull(
        strstr(d.notice, "f: its choice of variants was \"linear of old\" and is"));
    end(a);
}
END_TEST

/* In the files m and n. */
static void same_tensor(const char *name)
{
    ef__st_reader *m, *n;
    ck_assert_int_eq(ef__st_open(in_folder("m"), &m, NULL), EF_OK);
    ck_assert_int_eq(ef__st_open(in_folder("n"), &n, NULL), EF_OK);
    const ef__st_tensor *a = ef__st_find(m, name), *b = ef__st_find(n, name);
    ck_assert_uint_eq(a->bytes, b->bytes);
    ck_assert_mem_eq(a->data, b->data, a->bytes);
    ef__st_close(m);
    ef__st_close(n);
}

START_TEST(init_from_takes_the_parameters_and_starts_afresh)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary first, second;
    ef_encoder *from, *to;
    ef_error error;
    ef__st_reader *file;
    o.save = in_folder("m");
    run_well(a, &o, &first);
    o.init_from = in_folder("m");
    o.save = in_folder("n");
    o.epochs = 0;
    run_well(a, &o, &second);
    ck_assert_int_eq(ef_encoder_open(a, in_folder("m"), &from, &error), EF_OK);
    ck_assert_int_eq(ef_encoder_open(a, in_folder("n"), &to, &error), EF_OK);
    ef_test_same_bits("parameters", to->model.params->value,
                      ef_test_read(from->model.params->value));
    ck_assert_int_eq(ef__st_open(in_folder("n"), &file, &error), EF_OK);
    const ef__st_tensor *m = ef__st_find(file, "optim.m.proj.weight");
    ck_assert_mem_eq(m->data, ef_test_alloc(m->bytes), m->bytes);
    ef__st_close(file);
    ef_encoder_free(from);
    ef_encoder_free(to);
    o.init_optim = in_folder("m");
    run_well(a, &o, &second);
    same_tensor("optim.m.proj.weight");
    same_tensor("optim.counts");
    o.init_optim = NULL;
    o.epochs = 1;
    run_well(a, &o, &second);
    ck_assert_uint_eq(second.step[0].step, 1);
    end(a);
}
END_TEST

START_TEST(init_from_another_model_is_refused_with_both_values)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options(), other;
    static diary d;
    o.epochs = 0;
    o.save = in_folder("m");
    run_well(a, &o, &d);
    o.init_from = in_folder("m");
    o.save = NULL;
    other = o;
    other.model.hidden = 13;
    refused(run(a, &other, &d), EF_EARG, &d.error,
            "cannot be started from: its hidden width is 12, this run's is 13");
    other = o;
    other.model.dilations[1] = 3; /* the same shapes */
    refused(run(a, &other, &d), EF_EARG, &d.error, "dilation of block 1 is 2, this run's is 3");
    other = o;
    other.model.eps = 1e-3f;
    refused(run(a, &other, &d), EF_EARG, &d.error, "eps is ");
    other = o;
    other.mode = EF_MODE_DECODER;
    refused(run(a, &other, &d), EF_EARG, &d.error, "kind is encoder, this run's is decoder");
    other.mode = EF_MODE_COMBINED;
    refused(run(a, &other, &d), EF_EARG, &d.error, "kind is encoder, this run's is combined");
    other = o;
    other.model.length = 9;
    run_well(a, &other, &d);
    edit(o.init_from, "\"config\"", "\"c0nfig\""); /* no checkpoint: the shapes alone can tell */
    other.model.hidden = 13;
    refused(run(a, &other, &d), EF_EFORMAT, &d.error, "blocks.0.conv1.weight");
    end(a);
}
END_TEST

/* An EFOP1 file for the tiny model's projection. */
static void write_moments(const char *path, uint32_t steps, uint32_t width)
{
    const float value = 0.125f;
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "cannot write %s", path);
    fwrite("EFOP1", 1, 5, f);
    fwrite((uint32_t[]){steps, 2}, 4, 2, f);
    for (uint32_t p = 0; p < 2; p++) {
        uint32_t count = p ? TRAIN_WIDTH : TRAIN_WIDTH * width;
        fwrite(&count, 4, 1, f);
        for (uint32_t i = 0; i < 2 * count; i++)
            fwrite(&value, 4, 1, f);
    }
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(a_run_with_moments_from_elsewhere_is_resumed_bit_for_bit)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary whole;
    o.trainer.scope = EF_TRAIN_PROJ;
    o.trainer.warmup = 12;
    o.init_optim = in_folder("moments");
    write_moments(o.init_optim, 77, (uint32_t)o.model.width);
    o.save = in_folder("whole");
    run_well(a, &o, &whole);
    ck_assert_double_eq(whole.step[0].lr, ef_lr_at(&o.trainer, 0));
    break_at(a, o, 5, &whole);
    break_at(a, o, 8, &whole);
    end(a);
}
END_TEST

/* ---- vocabularies ---- */

static const char tokens[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\nd\ne\nf\n##a\n##b\n";

static void write_text(const char *name, const char *text)
{
    write_file(path_of(name), text, strlen(text));
}

/* Samples with a text alone in "texts", and the same with ids in "ids". */
static void write_texts(void)
{
    static char texts[4096], ids[4096];
    size_t t = 0, i = 0;
    for (int n = 0; n < 12; n++) {
        const int a = n % 6, b = n * n % 6;
        const char *const target = "\"target\":[0.5,-1,0.25,1]}\n";
        t += (size_t)sprintf(texts + t, "{\"text\":\"%c %c%c\",%s", 'a' + a, 'a' + b, 'b', target);
        i += (size_t)sprintf(ids + i, "{\"input_ids\":[2,%d,%d,11,3],%s", 4 + a, 4 + b, target);
    }
    write_text("texts", texts);
    write_text("ids", ids);
    write_text("v.txt", tokens);
}

static void check_carried(const char *path)
{
    ef_tokenizer *t = NULL;
    ef_error error = {0};
    size_t bytes;
    ck_assert_msg(!ef_tokenizer_open(path, &t, &error), "%s", error.text);
    ck_assert_mem_eq(ef_tokenizer_vocabulary(t, &bytes), tokens, sizeof tokens - 1);
    ck_assert_uint_eq(bytes, sizeof tokens - 1);
    ef_tokenizer_free(t);
}

START_TEST(a_run_with_a_vocabulary_takes_texts_and_its_checkpoints_carry_it)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options();
    static diary ids, texts, rest;
    write_texts();
    o.data = in_folder("ids");
    o.model.vocab = 12;
    run_well(a, &o, &ids);
    o.model.vocab = 0;
    o.data = o.val = in_folder("texts");
    refused(run(a, &o, &texts), EF_EFORMAT, &texts.error, "a vocabulary is needed (--vocab)");
    o.vocabulary = in_folder("v.txt");
    o.save = in_folder("m");
    run_well(a, &o, &texts);
    ck_assert_uint_eq(texts.steps, ids.steps);
    for (size_t s = 0; s < ids.steps; s++)
        same_step(&texts.step[s], &ids.step[s]);
    check_carried(o.save);
    check_carried(in_folder("m.best"));
    o.vocabulary = NULL;
    o.save = in_folder("n");
    o.init_from = in_folder("m");
    run_well(a, &o, &rest);
    check_carried(o.save);
    o.init_from = NULL;
    o.resume = in_folder("m");
    o.epochs = 4;
    run_well(a, &o, &rest);
    check_carried(o.save);
    o.vocabulary = in_folder("m");
    run_well(a, &o, &rest);
    end(a);
}
END_TEST

START_TEST(a_vocabulary_that_does_not_fit_is_refused_with_both_values)
{
    ef_actor *a = begin();
    ef_train_options o = tiny_options(), other;
    diary d = {0};
    write_texts();
    write_text("less.txt", "[UNK]\n[CLS]\n[SEP]\na\n");
    write_text("other.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nz\nd\ne\nf\n##a\n##b\n");
    o.data = in_folder("texts");
    o.vocabulary = in_folder("v.txt");
    o.epochs = 1;
    o.model.vocab = 11;
    refused(run(a, &o, &d), EF_EARG, &d.error, "vocabulary has 12 tokens, the model is to have 11");
    o.model.vocab = 12;
    o.save = in_folder("m");
    run_well(a, &o, &d);
    for (int i = 0; i < 2; i++) {
        other = o;
        *(i ? &other.resume : &other.init_from) = in_folder("m");
        other.vocabulary = in_folder("less.txt");
        refused(run(a, &other, &d), EF_EARG, &d.error, "less.txt: id 0 is \"[UNK]\", in the vocab");
        refused(EF_EARG, EF_EARG, &d.error, "/m \"[PAD]\"");
        other.vocabulary = in_folder("other.txt");
        refused(run(a, &other, &d), EF_EARG, &d.error, "other.txt: id 6 is \"z\", in the vocab");
        refused(EF_EARG, EF_EARG, &d.error, "/m \"c\"");
        other.vocabulary = NULL;
        other.model.vocab = 9;
        refused(run(a, &other, &d), EF_EARG, &d.error, "/m: its vocabulary has 12 tokens, the m");
    }
    ck_assert_uint_eq(d.steps, 0);
    other = o;
    other.vocabulary = in_folder("less.txt");
    other.model.vocab = 0;
    other.data = in_folder("ids");
    refused(run(a, &other, &d), EF_EFORMAT, &d.error, "id 4 at position 1");
    end(a);
}
END_TEST

START_TEST(micro_batches_change_nothing_but_roundings)
{
    ef_actor *a = begin();
    static diary whole, cut;
    for (int mode = EF_MODE_ENCODER; mode <= EF_MODE_COMBINED; mode++) {
        ef_train_options o = tiny_options();
        o.mode = (ef_train_mode)mode;
        o.accum = 2;
        run_well(a, &o, &whole);
        o.micro_batch = 3;
        run_well(a, &o, &cut);
        ck_assert_uint_eq(cut.steps, whole.steps);
        for (size_t s = 0; s < cut.steps; s++) {
            ck_assert_double_eq_tol(cut.step[s].loss, whole.step[s].loss, 1e-4);
            ck_assert_double_eq_tol(cut.step[s].grad_norm, whole.step[s].grad_norm, 1e-4);
        }
    }
    end(a);
}
END_TEST

/* ---- killed runs ---- */

/* A report without the clock's part. */
static void log_step(void *user, const ef_step_report *report)
{
    ef_step_report r = *report;
    r.samples_per_s = r.eta_s = 0;
    if (write(*(int *)user, &r, sizeof r) != (ssize_t)sizeof r)
        _exit(2);
}

/* A run in a process of its own, whose reports go to the log. The parent has not touched OpenCL. */
static pid_t start(const ef_train_options *o, const char *log)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    ef_error error;
    ef_actor *a = ef_test_open();
    const ef_train_observer watch = {.user = &fd, .on_step = log_step};
    ef_status status = ef_train(a, o, &watch, &error);
    if (status)
        fprintf(stderr, "%s\n", error.text);
    ef_actor_close(a);
    _exit(status != EF_OK);
}

static size_t logged(const char *log)
{
    struct stat about;
    return stat(log, &about) ? 0 : (size_t)about.st_size / sizeof(ef_step_report);
}

/* SIGKILL once so many reports are there; false: it ended before. */
static bool kill_after(pid_t pid, const char *log, size_t reports)
{
    int status;
    while (logged(log) < reports) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            ck_assert_int_eq(status, 0);
            return false;
        }
        usleep(100);
    }
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status);
}

/* Each step's last report. */
static void read_log(const char *log, ef_step_report *steps, size_t count)
{
    size_t bytes;
    const ef_step_report *r = (const ef_step_report *)(void *)read_file(log, &bytes);
    ck_assert_uint_eq(bytes % sizeof *r, 0);
    memset(steps, 0, count * sizeof *steps);
    for (size_t i = 0; i < bytes / sizeof *r; i++) {
        ck_assert_uint_le(r[i].step, count);
        steps[r[i].step - 1] = r[i];
    }
}

START_TEST(a_run_that_is_killed_again_and_again_is_the_unbroken_one)
{
    enum { EPOCHS = 40, STEPS = 7 * EPOCHS, KILLS = 20 };
    static ef_step_report whole[STEPS], broken[STEPS];
    size_t kills = 0;
    int status;
    make_folder();
    train_data_write(in_folder("train.efb"), SAMPLES, 1);
    ef_train_options o = tiny_options();
    srand((unsigned)_i + 1);
    o.mode = (ef_train_mode)_i;
    o.epochs = EPOCHS;
    o.save_every = 3;
    o.val_fraction = 0.1;
    o.batch = 4;
    o.save = in_folder("whole");
    waitpid(start(&o, in_folder("whole.log")), &status, 0);
    ck_assert_int_eq(status, 0);
    read_log(in_folder("whole.log"), whole, STEPS);
    o.save = in_folder("broken");
    for (bool going = true; going;) {
        bool saved = access(o.save, F_OK) == 0;
        o.resume = saved ? o.save : NULL;
        o.strict_resume = saved;
        size_t more = kills < KILLS ? logged(in_folder("log")) + 1 + (size_t)rand() % 8 : SIZE_MAX;
        going = kill_after(start(&o, in_folder("log")), in_folder("log"), more);
        kills += going;
    }
    ck_assert_uint_eq(kills, KILLS);
    read_log(in_folder("log"), broken, STEPS);
    for (size_t i = 0; i < STEPS; i++)
        same_step(&broken[i], &whole[i]);
    same_files(in_folder("whole"), in_folder("broken"));
    remove_folder();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("resume");
    TCase *resume = ef_test_case(s, "resume");
    tcase_add_test(resume, a_resumed_run_is_the_unbroken_run_bit_for_bit);
    tcase_add_test(resume, what_a_run_leaves_out_and_holds_out_it_does_again_when_resumed);
    tcase_add_test(resume, micro_batches_change_nothing_but_roundings);
    tcase_add_loop_test(resume, a_run_that_is_killed_again_and_again_is_the_unbroken_one,
                        EF_MODE_ENCODER, EF_MODE_COMBINED + 1);
    tcase_add_test(resume, a_validation_that_fails_loses_no_step);
    tcase_add_test(resume, a_validation_takes_no_more_memory_than_a_step);
    tcase_add_test(resume, an_epoch_is_told_before_its_end_is_saved);
    tcase_add_test(resume, what_has_nothing_left_to_do_leaves_its_checkpoint);
    tcase_add_test(resume, save_every_saves_between_epochs);
    tcase_add_test(resume, a_save_leaves_the_run_as_it_was);
    tcase_add_test(resume, a_lost_device_writes_nothing);
    tcase_add_test(resume, another_model_or_data_file_is_refused_with_both_values);
    tcase_add_test(resume, other_held_out_data_are_refused_with_both_values);
    tcase_add_test(resume, a_checkpoint_whose_steps_do_not_lead_to_its_place_is_refused);
    tcase_add_test(resume, what_changed_gets_one_notice_or_a_refusal_when_strict);
    tcase_add_test(resume, init_from_takes_the_parameters_and_starts_afresh);
    tcase_add_test(resume, init_from_another_model_is_refused_with_both_values);
    tcase_add_test(resume, a_run_with_moments_from_elsewhere_is_resumed_bit_for_bit);
    tcase_add_test(resume, a_run_with_a_vocabulary_takes_texts_and_its_checkpoints_carry_it);
    tcase_add_test(resume, a_vocabulary_that_does_not_fit_is_refused_with_both_values);
    return s;
}

int main(void)
{
    return ef_test_main(suite, true);
}
