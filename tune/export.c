/* T4 results and the cache of Kernel Tuner. What is not measured is left out: of both, how long the
 * search and its framework took; "compilation" is until the first time was known. */
#include "export.h"
#include "base/file.h"
#include "op/clblast.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

enum { DIGITS = JSON_REAL_PRECISION(9) };

/* ---- files ---- */

static ef_status no_memory(ef_error *error)
{
    return ef__error_set(error, EF_ENOMEM, 0, NULL, "no host memory for what is written");
}

static ef_status make_folder(const char *path, ef_error *error)
{
    if (!mkdir(path, 0777) || errno == EEXIST)
        return EF_OK;
    return ef__error_set(error, EF_EIO, errno, NULL, "%s: %s", path, strerror(errno));
}

/* Text becomes FOLDER/NAME with the suffix; of the name only what is plain everywhere stays. */
static ef_status save(const char *folder, const char *name, const char *suffix, const char *text,
                      ef_error *error)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    char path[4400];
    ef__file *file;
    if (!text)
        return no_memory(error);
    int at = snprintf(path, sizeof path, "%s/", folder);
    int length = snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    if ((size_t)length >= sizeof path)
        return ef__error_set(error, EF_EIO, 0, NULL, "%s/%s: the name is too long", folder, name);
    for (int end = at + (int)strlen(name); at < end; at++)
        if (!strchr(plain, path[at]))
            path[at] = '_';
    ef_status status = ef__file_begin(path, &file, error);
    if (status)
        return status;
    status = ef__file_write(file, text, strlen(text), error);
    if (!status)
        return ef__file_commit(file, error);
    ef__file_abandon(file);
    return status;
}

static ef_status save_json(const char *folder, const char *name, const char *suffix, json_t *json,
                           ef_error *error)
{
    char *text = json ? json_dumps(json, JSON_INDENT(1) | DIGITS) : NULL;
    ef_status status = save(folder, name, suffix, text, error);
    free(text);
    json_decref(json);
    return status;
}

/* ---- what both formats tell of a choice ---- */

/* "toom2 rows 6, vectors 2" */
static json_t *configuration(const char *choice)
{
    char copy[EF__CLBLAST_TEXT], *save, *word, *value;
    json_t *c = json_object();
    snprintf(copy, sizeof copy, "%s", choice);
    word = strtok_r(copy, " ", &save);
    json_object_set_new(c, "variant", json_string(word ? word : ""));
    while ((word = strtok_r(NULL, " ,", &save)) && (value = strtok_r(NULL, " ,", &save)))
        json_object_set_new(c, word, json_integer(strtoll(value, NULL, 10)));
    return c;
}

/* Of a correct one: others have none that count. */
static json_t *times(const tune_tried *t)
{
    json_t *list = json_array();
    for (size_t i = 0; t->outcome == TUNE_CORRECT && i < t->entry->count; i++)
        json_array_append_new(list, json_real(t->entry->ms[i]));
    return list;
}

static void put_timestamp(json_t *object, int64_t at)
{
    char text[32];
    const time_t seconds = (time_t)(at / 1000);
    struct tm utc;
    if (at == 0 || !gmtime_r(&seconds, &utc))
        return;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_object_set_new(object, "timestamp", json_string(text));
}

/* ---- T4 ---- */

/* Correctness is 1 where results were compared and were right. */
static json_t *t4_result(const tune_tried *t)
{
    const tune_cost *c = &t->entry->cost;
    const bool timed = t->outcome == TUNE_CORRECT && t->ms > 0;
    json_t *measured = json_array();
    if (timed)
        json_array_append_new(
            measured, json_pack("{s:s, s:f, s:s}", "name", "time", "value", t->ms, "unit", "ms"));
    json_t *result = json_object();
    put_timestamp(result, c->at);
    json_object_set_new(result, "configuration", configuration(t->entry->choice));
    json_object_set_new(result, "objectives", json_pack("[s]", "time"));
    json_object_set_new(result, "times",
                        json_pack("{s:f, s:f, s:f, s:f, s:o}", "compilation_time", c->first,
                                  "compilation", c->first, "benchmark", c->others, "validation",
                                  c->verified, "runtimes", times(t)));
    json_object_set_new(result, "invalidity", json_string(tune_outcome_text(t->outcome)));
    json_object_set_new(result, "correctness", json_integer(t->entry->outcome == TUNE_CORRECT));
    json_object_set_new(result, "measurements", measured);
    return result;
}

/* The draft 1.1.0 has these members; readers of 1.0.0 pass over them. */
static json_t *t4_metadata(const tune_books *b, const tune_tried *t, size_t count)
{
    int64_t last = 0;
    for (size_t i = 0; i < count; i++)
        last = t[i].entry->cost.at > last ? t[i].entry->cost.at : last;
    json_t *m =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "timeunit", "milliseconds", "compute_api",
                  "OpenCL", "platform", tune_books_header(b, "platform"), "device",
                  tune_books_header(b, "device"), "autotuner", "eftune", "autotuner_version",
                  tune_books_header(b, "library"), "target", t->entry->target);
    put_timestamp(m, last);
    return m;
}

static ef_status write_t4(const tune_books *b, const tune_tried *t, size_t count,
                          const char *folder, ef_error *error)
{
    json_t *results = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(results, t4_result(&t[i]));
    return save_json(folder, t->entry->target, "_T4.json",
                     json_pack("{s:s, s:o, s:o}", "schema_version", "1.0.0", "metadata",
                               t4_metadata(b, t, count), "results", results),
                     error);
}

static json_t *requirement(const char *name, const char *version)
{
    return json_sprintf("%s==%s", name, version);
}

/* The schema has the operating system inside of "hardware", Kernel Tuner writes it beside. */
static ef_status write_metadata(const tune_books *b, const char *folder, ef_error *error)
{
    struct utsname host;
    const char *system = uname(&host) < 0 ? "" : host.sysname;
    const char *device = tune_books_header(b, "device"), *driver = tune_books_header(b, "driver");
    const char *platform = tune_books_header(b, "platform");
    json_t *hardware = json_pack("{s:[{s:s, s:s}, {s:s, s:s}], s:s}", "hardware_description", "id",
                                 "cpu", "product", tune_books_header(b, "cpu"), "id", "device",
                                 "product", device, "operating_system", system);
    json_t *environment =
        json_pack("{s:{s:{s:s, s:s, s:s, s:s, s:O*}}, s:[o, o, o]}", "device_query", "opencl",
                  "platform", platform, "version", tune_books_header(b, "version"), "device",
                  device, "driver", driver, "compute_units", json_object_get(b->header, "units"),
                  "requirements", requirement("libenergyflow", tune_books_header(b, "library")),
                  requirement("CLBlast", EF_CLBLAST_VERSION), requirement(platform, driver));
    return save_json(folder, "metadata", "_T4.json",
                     json_pack("{s:s, s:{s:o, s:s, s:o}}", "schema_version", "1.0.0", "metadata",
                               "hardware", hardware, "operating_system", system, "environment",
                               environment),
                     error);
}

/* ---- Kernel Tuner: one set of parameters for all variants, 0 where a variant has it not ---- */

/* Whole numbers are kept in order. */
static void add_value(json_t *values, json_t *value)
{
    size_t at = 0;
    for (; at < json_array_size(values); at++) {
        json_t *own = json_array_get(values, at);
        if (json_equal(own, value))
            return;
        if (json_is_integer(own) && json_integer_value(own) > json_integer_value(value))
            break;
    }
    json_array_insert(values, at, value);
}

/* Every parameter of the configurations, and the values that it has in them. They become complete:
 * each has all parameters. */
static json_t *parameters(json_t *configurations)
{
    json_t *all = json_object(), *one, *values;
    const char *name;
    size_t i;
    json_array_foreach(configurations, i, one)
    {
        json_object_foreach(one, name, values)
        {
            if (!json_object_get(all, name))
                json_object_set_new(all, name, json_array());
        }
    }
    json_array_foreach(configurations, i, one)
    {
        json_object_foreach(all, name, values)
        {
            if (!json_object_get(one, name))
                json_object_set_new(one, name, json_integer(0));
            add_value(values, json_object_get(one, name));
        }
    }
    return all;
}

/* The configuration's values in the order of the parameters. */
static void kt_key(json_t *configuration, json_t *all, char *key, size_t size)
{
    const char *name, *comma = "";
    json_t *values;
    size_t used = 0;
    json_object_foreach(all, name, values)
    {
        json_t *value = json_object_get(configuration, name);
        if (used < size && json_is_string(value))
            used +=
                (size_t)snprintf(key + used, size - used, "%s%s", comma, json_string_value(value));
        else if (used < size)
            used += (size_t)snprintf(key + used, size - used, "%s%lld", comma,
                                     (long long)json_integer_value(value));
        comma = ",";
    }
}

static const char *kt_error(tune_outcome outcome)
{
    return outcome == TUNE_CORRECT       ? NULL
           : outcome == TUNE_COMPILE     ? "CompilationFailedConfig"
           : outcome == TUNE_CONSTRAINTS ? "InvalidConfig"
                                         : "RuntimeFailedConfig";
}

/* What a choice took, added to its configuration. */
static void kt_put(json_t *entry, const tune_tried *t)
{
    const tune_cost *c = &t->entry->cost;
    const char *error = kt_error(t->outcome);
    if (error)
        json_object_set_new(entry, "__error__", json_string(error));
    else
        json_object_set_new(entry, "time", json_real(t->ms));
    json_object_set_new(entry, "times", times(t));
    json_object_set_new(entry, "compile_time", json_real(c->first));
    json_object_set_new(entry, "verification_time", json_real(c->verified));
    json_object_set_new(entry, "benchmark_time", json_real(c->others));
    put_timestamp(entry, c->at);
}

/* "conv1d.forward B16 L128": conv1d.forward, [16, 128] */
static json_t *kt_header(const tune_books *b, const char *target, json_t *all)
{
    json_t *names = json_array(), *sizes = json_array(), *values;
    const char *name, *at = target;
    const int length = (int)strcspn(target, " ");
    while ((at = strchr(at, ' ')) && *++at)
        if (strpbrk(at, "0123456789") == at + 1)
            json_array_append_new(sizes, json_integer(strtoll(at + 1, NULL, 10)));
    json_object_foreach(all, name, values) json_array_append_new(names, json_string(name));
    return json_pack("{s:s, s:o, s:o, s:o, s:O, s:s}", "device_name",
                     tune_books_header(b, "device"), "kernel_name",
                     json_stringn(target, (size_t)length), "problem_size", sizes,
                     "tune_params_keys", names, "tune_params", all, "objective", "time");
}

/* The object's text without its last }, or without either brace. */
static void write_open(FILE *out, json_t *object, bool inner)
{
    char *text = json_dumps(object, DIGITS);
    if (text)
        fwrite(text + inner, 1, strlen(text) - 1 - inner, out);
    free(text);
    json_decref(object);
}

/* Kernel Tuner looks for } and } on a line of its own as the last bytes, and goes on from there. */
static void write_cache(FILE *out, const tune_books *b, const tune_tried *t, size_t count)
{
    json_t *entries = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(entries, configuration(t[i].entry->choice));
    json_t *all = parameters(entries);
    write_open(out, kt_header(b, t->entry->target, all), false);
    fprintf(out, ", \"cache\": {");
    for (size_t i = 0; i < count; i++) {
        char key[1024] = "";
        json_t *entry = json_array_get(entries, i);
        kt_key(entry, all, key, sizeof key);
        kt_put(entry, &t[i]);
        fprintf(out, "%s\n", i ? "," : "");
        write_open(out, json_pack("{s:O}", key, entry), true);
    }
    fprintf(out, "}\n}");
    json_decref(all);
    json_decref(entries);
}

static ef_status write_kt(const tune_books *b, const tune_tried *t, size_t count,
                          const char *folder, ef_error *error)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return no_memory(error);
    write_cache(out, b, t, count);
    bool whole = !ferror(out);
    whole = !fclose(out) && whole;
    ef_status status = save(folder, t->entry->target, "_cache.json", whole ? text : NULL, error);
    free(text);
    return status;
}

/* ---- all targets ---- */

ef_status tune_export(const tune_books *b, tune_format format, const char *folder, ef_error *error)
{
    ef_status status = make_folder(folder, error);
    if (!status && format == TUNE_T4)
        status = write_metadata(b, folder, error);
    for (size_t i = 0; i < b->count && !status; i += tune_books_group(b, i))
        status = (format == TUNE_T4 ? write_t4 : write_kt)(b, &b->tried[i], tune_books_group(b, i),
                                                           folder, error);
    return status;
}
