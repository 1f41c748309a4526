/* diary.h -- for the tests of whole runs: a run that remembers what it said. */
#ifndef EF_TESTS_DIARY_H
#define EF_TESTS_DIARY_H

#include "actor/actor.h"
#include "ef_test.h"
#include "folder.h"
#include "train_data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_STEPS = 64, SAMPLES = 30 };

typedef struct diary {
    ef_actor *a;
    ef_step_report step[MOST_STEPS];
    ef_epoch_report epoch[MOST_STEPS];
    uint64_t begun, whole;
    size_t steps, epochs, notices, stop_after, lose_after;
    char notice[4096];
    ef_error error;
} diary;

/* The path of a file in the folder: the kit's string. */
static inline char *in_folder(const char *name)
{
    return strcpy(ef_test_alloc(256), path_of(name));
}

static inline void on_notice(void *user, const char *text)
{
    diary *d = user;
    size_t used = strlen(d->notice);
    d->notices++;
    snprintf(d->notice + used, sizeof d->notice - used, "%s\n", text);
}

static inline void on_begin(void *user, uint64_t step, uint64_t steps)
{
    diary *d = user;
    ck_assert_uint_eq(d->steps, 0);
    d->begun = step;
    d->whole = steps;
}

static inline void on_step(void *user, const ef_step_report *report)
{
    diary *d = user;
    ck_assert_uint_lt(d->steps, MOST_STEPS);
    d->step[d->steps++] = *report;
    if (d->lose_after && d->steps == d->lose_after)
        ef__fail(d->a, EF_EDEVICE, -36, "test", "test: the device is gone");
}

static inline void on_epoch(void *user, const ef_epoch_report *report)
{
    diary *d = user;
    d->epoch[d->epochs++] = *report;
}

static inline bool should_stop(void *user)
{
    diary *d = user;
    return d->stop_after && d->steps == d->stop_after;
}

static inline ef_train_options tiny_options(void)
{
    ef_train_options o;
    ef_train_options_default(&o);
    o.data = in_folder("train.efb");
    o.epochs = 3;
    o.batch = 4;
    o.model.width = 8;
    o.model.hidden = 12;
    o.model.taps = 3;
    o.model.blocks = 2;
    o.model.length = 7; /* some samples are longer */
    o.trainer.warmup = 3;
    o.decoder = o.model;
    o.decoder_trainer.warmup = 2;
    return o;
}

static inline ef_status run(ef_actor *a, const ef_train_options *o, diary *d)
{
    size_t stop = d->stop_after, lose = d->lose_after;
    *d = (diary){.a = a, .stop_after = stop, .lose_after = lose};
    return ef_train(a, o,
                    &(ef_train_observer){d, on_notice, on_begin, on_step, on_epoch, should_stop},
                    &d->error);
}

static inline void run_well(ef_actor *a, const ef_train_options *o, diary *d)
{
    ef_status status = run(a, o, d);
    ck_assert_msg(status == EF_OK, "ef_train: %s", d->error.text);
}

static inline void refused(ef_status got, ef_status want, const ef_error *error, const char *text)
{
    ck_assert_msg(got == want, "got %s (%s), want %s", ef_strerror(got), error->text,
                  ef_strerror(want));
    ck_assert_msg(strstr(error->text, text) != NULL, "\"%s\" does not contain \"%s\"", error->text,
                  text);
}

static inline unsigned char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    unsigned char *data = ef_test_alloc(1 << 20);
    *bytes = fread(data, 1, 1 << 20, f);
    ck_assert_uint_lt(*bytes, 1 << 20);
    fclose(f);
    return data;
}

static inline void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    ck_assert_uint_eq(fwrite(data, 1, bytes, f), bytes);
    ck_assert_int_eq(fclose(f), 0);
}

static inline void same_files(const char *one, const char *two)
{
    size_t n, m;
    unsigned char *a = read_file(one, &n), *b = read_file(two, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(a, b, n);
}

/* A step's report without what the clock says. */
static inline void same_step(const ef_step_report *a, const ef_step_report *b)
{
    ck_assert_uint_eq(a->step, b->step);
    ck_assert_uint_eq(a->epoch, b->epoch);
    ck_assert_int_eq(a->kind, b->kind);
    ck_assert_double_eq(a->loss, b->loss);
    ck_assert_double_eq(a->mse, b->mse);
    ck_assert_double_eq(a->cos, b->cos);
    ck_assert_double_eq(a->ce, b->ce);
    ck_assert_double_eq(a->accuracy, b->accuracy);
    ck_assert_double_eq(a->grad_norm, b->grad_norm);
    ck_assert_double_eq(a->lr, b->lr);
}

static inline ef_actor *begin(void)
{
    ef_actor *a = ef_test_open();
    make_folder();
    train_data_write(in_folder("train.efb"), SAMPLES, 1);
    train_data_write(in_folder("val.efb"), 9, 2);
    return a;
}

static inline void end(ef_actor *a)
{
    remove_folder();
    ef_test_close(a);
}

#endif
