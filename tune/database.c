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
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:s*, s:s*}",
                     "format", EF__TUNE_FORMAT, "library", ef_version(), "key", d->key, "device",
                     d->name, "platform", d->platform, "version", d->version, "driver", d->driver,
                     "cpu", d->cpu, "units", d->units, "vendor_id", (json_int_t)d->vendor_id,
                     "max_work_group", (json_int_t)d->max_work_group, "local_bytes",
                     (json_int_t)d->local_bytes, "pci", *d->pci ? d->pci : NULL, "uuid",
                     *d->uuid ? d->uuid : NULL);
}

static json_t *sizes(const tune_target *t)
{
    json_t *n = json_array();
    for (int i = 0; i < EF__MAX_SIZES; i++)
        json_array_append_new(n, json_integer((json_int_t)t->n[i]));
    return n;
}

static json_t *record_line(const tune_device *d, const tune_record *r)
{
    char date[32], shape[128];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    tune_target_text(&r->target, shape, sizeof shape);
    json_t *line =
        json_pack("{s:s, s:o, s:i, s:s, s:s, s:O, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, "
                  "s:I, s:I, s:f, s:s}",
                  "op", tune_target_op(&r->target), "n", sizes(&r->target), "parts", 0, "accuracy",
                  d->accuracy, "variant", r->variant ? r->variant : "default", "knobs", r->knobs,
                  "source", r->source, "driver", d->driver, "identity", r->identity, "shape", shape,
                  "ms", r->ms, "base_ms", r->base_ms, "ratio_low", r->low, "ratio_high", r->high,
                  "worst", r->worst, "tried", (json_int_t)r->tried, "of", (json_int_t)r->of,
                  "seconds", r->seconds, "date", date);
    if (line && r->samples) {
        json_object_set_new(line, "samples", json_integer((json_int_t)r->samples));
        json_object_set_new(line, "mad_ms", json_real(r->mad_ms));
    }
    return line;
}

/* ---- the file ---- */

bool tune_database_is_of(json_t *line, const tune_target *t, const char *accuracy)
{
    const char *op = json_string_value(json_object_get(line, "op"));
    const char *class = json_string_value(json_object_get(line, "accuracy"));
    json_t *own = sizes(t);
    bool same = op && class && !strcmp(op, tune_target_op(t)) &&
                (t->id == TUNE_CLBLAST || !strcmp(class, accuracy)) && /* it is for both */
                json_equal(json_object_get(line, "n"), own);
    json_decref(own);
    return same;
}

static bool is_replaced(json_t *line, const char *accuracy, const tune_record *results,
                        size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tune_database_is_of(line, &results[i].target, accuracy))
            return true;
    return false;
}

typedef struct viewer {
    bool (*see)(void *user, json_t *line);
    void *user;
} viewer;

/* Lines that are broken are passed over. */
static bool see_good(void *user, json_t *line)
{
    viewer *v = user;
    return !line || v->see(v->user, line);
}

ef_status tune_database_read(const char *path, bool (*see)(void *user, json_t *line), void *user,
                             ef_error *error)
{
    viewer v = {see, user};
    return ef__tuned_lines(path, see_good, &v, error);
}

typedef struct reading {
    const tune_device *device;
    const tune_record *records; /* that come anew */
    size_t count;
    const tune_target *reopened; /* NULL: none */
    json_t *lines;               /* that stay, without the header */
    bool foreign, any_reopened;
} reading;

static bool see_old(void *user, json_t *line)
{
    reading *r = user;
    const char *key = json_string_value(json_object_get(line, "key"));
    if (json_object_get(line, "format")) {
        r->foreign = !key || strcmp(key, r->device->key);
        return !r->foreign;
    }
    if (is_replaced(line, r->device->accuracy, r->records, r->count))
        return true;
    if (r->reopened && tune_database_is_of(line, r->reopened, r->device->accuracy)) {
        json_object_set_new(line, "identity", json_string(""));
        r->any_reopened = true;
    }
    json_array_append(r->lines, line);
    return true;
}

/* The records that stay. A file that is not there has none. */
static ef_status read_old(const char *path, reading *r, ef_error *error)
{
    ef_status status = access(path, F_OK) ? EF_OK : tune_database_read(path, see_old, r, error);
    if (!status && r->foreign)
        return ef__error_set(error, EF_EFORMAT, 0, NULL,
                             "%s:1: the database of another device; --db FILE names another", path);
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
    json_array_foreach(lines, i, line) if (!status) status = write_line(file, line, error);
    if (!status)
        return ef__file_commit(file, error);
    ef__file_abandon(file);
    return status;
}

ef_status tune_database_put(const char *path, const tune_device *device, const tune_record *records,
                            size_t count, ef_error *error)
{
    reading r = {.device = device, .records = records, .count = count, .lines = json_array()};
    bool made = !json_array_append_new(r.lines, header(device));
    ef_status status = read_old(path, &r, error);
    for (size_t i = 0; i < count && made && !status; i++)
        made = !json_array_append_new(r.lines, record_line(device, &records[i]));
    if (!status && !made)
        status = ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: no line can be made", path);
    if (!status)
        status = write_lines(path, r.lines, error);
    json_decref(r.lines);
    return status;
}

ef_status tune_database_reopen(const char *path, const tune_device *device,
                               const tune_target *target, ef_error *error)
{
    reading r = {.device = device, .reopened = target, .lines = json_array()};
    bool made = !json_array_append_new(r.lines, header(device));
    ef_status status = made ? read_old(path, &r, error)
                            : ef__error_set(error, EF_ENOMEM, 0, NULL, "no host memory");
    if (!status && r.any_reopened)
        status = write_lines(path, r.lines, error);
    json_decref(r.lines);
    return status;
}

ef_status tune_database_prepare(const char *path, const tune_device *device, ef_error *error)
{
    reading r = {.device = device, .lines = json_array()};
    ef_status status = make_folders(path, error);
    if (!status)
        status = read_old(path, &r, error);
    json_decref(r.lines);
    return status;
}

typedef struct wanted {
    const tune_target *target;
    const char *accuracy, *identity;
    double seconds;
    bool found;
} wanted;

static bool see_wanted(void *user, json_t *line)
{
    wanted *w = user;
    const char *identity;
    json_int_t tried, of;
    double seconds;
    if (!json_unpack(line, "{s:s, s:I, s:I, s:F}", "identity", &identity, "tried", &tried, "of",
                     &of, "seconds", &seconds))
        w->found = !strcmp(identity, w->identity) && (tried >= of || seconds >= w->seconds) &&
                   tune_database_is_of(line, w->target, w->accuracy);
    return !w->found;
}

bool tune_database_has(const char *path, const tune_target *target, const char *accuracy,
                       const char *identity, double seconds)
{
    wanted w = {target, accuracy, identity, seconds, false};
    return !tune_database_read(path, see_wanted, &w, NULL) && w.found;
}

typedef struct stored {
    const char *driver; /* NULL: any */
    json_t *kernels;
} stored;

static bool see_clblast(void *user, json_t *line)
{
    stored *s = user;
    const char *op = json_string_value(json_object_get(line, "op"));
    const char *variant = json_string_value(json_object_get(line, "variant"));
    const char *source = json_string_value(json_object_get(line, "source"));
    const char *driver = json_string_value(json_object_get(line, "driver"));
    json_t *knobs = json_object_get(line, "knobs");
    if (!op || strcmp(op, EF__TUNE_CLBLAST))
        return true;
    if (variant && source && strcmp(variant, "default") && !strcmp(source, ef__clblast_source()) &&
        json_is_object(knobs) && (!s->driver || (driver && !strcmp(driver, s->driver)))) {
        json_decref(s->kernels); /* of two the last, as programs do */
        s->kernels = json_incref(knobs);
    }
    return true;
}

json_t *tune_database_clblast(const char *path, const char *driver)
{
    stored s = {driver, NULL};
    return tune_database_read(path, see_clblast, &s, NULL) ? NULL : s.kernels;
}
