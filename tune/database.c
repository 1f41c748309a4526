/* The database's writer. */
#include "database.h"
#include "base/error.h"
#include "base/file.h"
#include "op/tuned.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- folders ---- */

/* Every folder that leads to path. */
static ef_status make_folders(const char *path, ef_error *error)
{
    char *copy = strdup(path);
    if (!copy)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: no host memory", path);
    ef_status status = EF_OK;
    for (char *at = strchr(copy + 1, '/'); at && !status; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(copy, 0777) && errno != EEXIST)
            status = ef__error_set(error, EF_EIO, errno, NULL,
                                   "%s: %s; --db FILE names another place", copy, strerror(errno));
        *at = '/';
    }
    free(copy);
    return status;
}

/* ---- lines ---- */

static json_t *header(const tune_device *d)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "format", EF__TUNE_FORMAT,
                     "library", ef_version(), "key", d->key, "device", d->name, "platform",
                     d->platform, "version", d->version, "driver", d->driver, "cpu", d->cpu,
                     "units", d->units);
}

static json_t *sizes(const tune_target *t)
{
    json_t *n = json_array();
    for (int i = 0; i < EF__MAX_SIZES; i++)
        json_array_append_new(n, json_integer((json_int_t)t->n[i]));
    return n;
}

static json_t *record_line(const tune_record *r)
{
    char date[32], shape[128];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    tune_target_text(&r->target, shape, sizeof shape);
    return json_pack("{s:s, s:o, s:i, s:s, s:O, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:I, s:s}", "op",
                     ef__op_row(r->target.id)->name, "n", sizes(&r->target), "parts", 0, "variant",
                     r->variant ? r->variant : "default", "knobs", r->knobs, "source", r->source,
                     "shape", shape, "ms", r->ms, "base_ms", r->base_ms, "ratio_low", r->low,
                     "ratio_high", r->high, "worst", r->worst, "tried", (json_int_t)r->tried, "date",
                     date);
}

/* ---- the file ---- */

/* Is the line a record of this target? */
static bool is_of(json_t *line, const tune_target *t)
{
    const char *op = json_string_value(json_object_get(line, "op"));
    json_t *own = sizes(t);
    bool same = op && !strcmp(op, ef__op_row(t->id)->name) &&
                json_equal(json_object_get(line, "n"), own);
    json_decref(own);
    return same;
}

static bool is_replaced(json_t *line, const tune_record *results, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_of(line, &results[i].target))
            return true;
    return !json_is_object(line);
}

/* The records that stay. A file that is not there has none. */
static ef_status read_old(const char *path, const tune_device *device, const tune_record *results,
                          size_t count, json_t *lines, ef_error *error)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0, kept = 0;
    ssize_t length;
    ef_status status = EF_OK;
    if (!file)
        return errno == ENOENT
                   ? EF_OK
                   : ef__error_set(error, EF_EIO, errno, NULL, "%s: %s", path, strerror(errno));
    for (size_t number = 0; !status && (length = getline(&text, &room, file)) > 0; number++) {
        json_t *line = json_loadb(text, (size_t)length, 0, NULL);
        const char *key = json_string_value(json_object_get(line, "key"));
        kept += (size_t)length;
        if (number == 0 && (!key || strcmp(key, device->key)))
            status = ef__error_set(error, EF_EFORMAT, 0, NULL,
                                   "%s:1: not the database of this device; --db FILE names another",
                                   path);
        else if (kept > EF__TUNE_MOST_BYTES)
            status = ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: more than %d bytes", path,
                                   EF__TUNE_MOST_BYTES);
        else if (number && !is_replaced(line, results, count))
            json_array_append(lines, line);
        json_decref(line);
    }
    free(text);
    fclose(file);
    return status;
}

static ef_status write_line(ef__file *file, json_t *line, ef_error *error)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (!text)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "no host memory");
    ef_status status = ef__file_write(file, text, strlen(text), error);
    if (!status)
        status = ef__file_write(file, "\n", 1, error);
    free(text);
    return status;
}

static ef_status write_lines(const char *path, json_t *lines, ef_error *error)
{
    ef__file *file;
    json_t *line;
    size_t i;
    ef_status status = ef__file_begin(path, &file, error);
    if (status)
        return status;
    json_array_foreach(lines, i, line)
        if (!status)
            status = write_line(file, line, error);
    if (!status)
        return ef__file_commit(file, error);
    ef__file_abandon(file);
    return status;
}

ef_status tune_database_put(const char *path, const tune_device *device, const tune_record *results,
                            size_t count, ef_error *error)
{
    json_t *lines = json_array();
    json_array_append_new(lines, header(device));
    ef_status status = make_folders(path, error);
    if (!status)
        status = read_old(path, device, results, count, lines, error);
    for (size_t i = 0; i < count && !status; i++)
        json_array_append_new(lines, record_line(&results[i]));
    if (!status)
        status = write_lines(path, lines, error);
    json_decref(lines);
    return status;
}
