/* eftexteval -- how near an encoder comes to its teacher on held-out text. */
#include "cmd/options.h"
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME "eftexteval"

typedef struct settings {
    const char *data, *checkpoint, *device;
    size_t batch, length;
    bool json;
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    const ef__option table[] = {
        {"Options", EF__GROUP, .help = ""},
        {"data", EF__TEXT, &s->data, "FILE",
         .help = "EFB file with the teacher's vectors (needed)"},
        {"checkpoint", EF__TEXT, &s->checkpoint, "FILE",
         .help = "encoder, as eftrain saves it (needed)"},
        {"batch", EF__SIZE, &s->batch, "N", 1, INT32_MAX, .help = "samples in a batch"},
        {"length", EF__SIZE, &s->length, "N", 1, INT32_MAX, "the model's",
         .help = "cut samples to N ids"},
        {"json", EF__FLAG, &s->json, .help = "one JSON object instead of lines"},
        {"device", EF__TEXT, &s->device, "D", .fallback = "EF_DEVICE, else a GPU, else the CPU",
         .help = "index or part of the name"},
        {0}};
    const ef__command command = {
        .name = NAME,
        .usage = "--data FILE --checkpoint FILE [OPTION...]",
        .about = "Compare an encoder's vectors of held-out text with its teacher's.",
        .options = table};
    int code = ef__options_parse(&command, argc, argv);
    if (code < 0 && !s->data)
        return ef__say_error(NAME, EF__USAGE, "--data is needed (see --help)");
    if (code < 0 && !s->checkpoint)
        return ef__say_error(NAME, EF__USAGE, "--checkpoint is needed (see --help)");
    return code;
}

/* JSON knows no NaN and no infinity. */
static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_json(const ef_eval_report *r)
{
    json_t *object = json_pack("{s:o,s:o,s:o,s:o,s:I,s:o}", "mse", real(r->mse), "cos",
                               real(r->cos), "mean_vector_mse", real(r->mean_vector_mse),
                               "mean_vector_cos", real(r->mean_vector_cos), "samples",
                               (json_int_t)r->samples, "samples_per_s", real(r->samples_per_s));
    json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(object);
}

static void print_text(const ef_eval_report *r)
{
    printf("                 cos      mse\n");
    printf("encoder      %7.4f  %.3e\n", r->cos, r->mse);
    printf("mean vector  %7.4f  %.3e\n", r->mean_vector_cos, r->mean_vector_mse);
    printf("%" PRIu64 " samples, %.0f samples/s\n", r->samples, r->samples_per_s);
}

static int evaluate(const settings *s, ef_actor *actor, ef_dataset *data)
{
    ef_encoder *encoder = NULL;
    ef_eval_report report;
    ef_error error = {0};
    ef_status status = ef_encoder_open(actor, s->checkpoint, &encoder, &error);
    if (!status)
        status =
            ef_evaluate(encoder, data, &(ef_eval_options){.batch = s->batch, .length = s->length},
                        &report, &error);
    ef_encoder_free(encoder);
    if (status)
        return ef__say_error(NAME, ef__exit_code(status), "%s",
                             *error.text ? error.text : ef_strerror(status));
    if (s->json)
        print_json(&report);
    else
        print_text(&report);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    settings s = {.batch = 64};
    ef_dataset *data = NULL;
    ef_actor *actor = NULL;
    ef_error error = {0};
    ef__command_begin();
    int code = read_options(&s, argc, argv);
    if (code >= 0)
        return code;
    ef_status status = ef_dataset_open(s.data, &data, &error);
    if (status)
        return ef__say_error(NAME, ef__exit_code(status), "%s", error.text);
    code = ef__open_device(NAME, s.device, &actor);
    if (!code) {
        ef__warn_untuned(NAME, actor);
        code = evaluate(&s, actor, data);
    }
    ef_actor_close(actor);
    ef_dataset_free(data);
    return ef__command_end(NAME, code);
}
