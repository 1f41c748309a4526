/* Reading a device's tuned choices, and finding the nearest one. */
#include "op/tuned.h"
#include "actor/identity.h"
#include "base/error.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one line ---- */

static bool find_op(const char *name, ef__op_id *id)
{
    for (int i = 0; i < EF__OPS; i++)
        if (!strcmp(ef__op_row(i)->name, name)) {
            *id = i;
            return true;
        }
    return false;
}

static bool read_sizes(json_t *json, size_t *n)
{
    size_t count = json_array_size(json);
    if (!json_is_array(json) || count > EF__MAX_SIZES)
        return false;
    for (size_t i = 0; i < count; i++) {
        json_t *item = json_array_get(json, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return false;
        n[i] = (size_t)json_integer_value(item);
    }
    return true;
}

/* Every knob of the variant, by name. */
static bool read_knobs(json_t *json, ef__choice *c)
{
    size_t count = ef__knobs(c->variant);
    if (!json_is_object(json) || json_object_size(json) != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(json, c->variant->knobs[i].name);
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number <= 0 || number > INT32_MAX)
            return false;
        c->knob[i] = (int)number;
    }
    return true;
}

typedef enum reading { GOOD, BROKEN, STALE, OTHER_DRIVER } reading;

/* A file that is being read. */
typedef struct reader {
    ef_actor *actor;
    const char *path;
    bool any_driver;                    /* EF_TUNE_STALE=use */
    bool begun;                         /* the header is read */
    char hash[EF__OPS][EF__SHA256_HEX]; /* of the operations' kernels; "": not known yet */
    ef__tuned *tuned;
    ef_error *error;
    ef_status status;
} reader;

/* The kernels that the record was measured with are those that would run. */
static bool is_current(reader *r, ef__op_id id, const char *source)
{
    if (!*r->hash[id] && ef__op_hash(r->actor, id, r->hash[id]))
        *r->hash[id] = '\0';
    return *r->hash[id] && !strcmp(r->hash[id], source);
}

/* Another driver may be faster otherwise, or wrong. */
static reading by_driver(reader *r, const char *driver)
{
    ef_tune_info *info = &r->tuned->info;
    if (driver && !strcmp(driver, ef_actor_device(r->actor)->driver))
        return GOOD;
    if (!*info->driver)
        snprintf(info->driver, sizeof info->driver, "%s", driver ? driver : "");
    return r->any_driver ? GOOD : OTHER_DRIVER;
}

static bool find_accuracy(const char *name, ef_accuracy *accuracy)
{
    *accuracy = strcmp(name, "strict") ? EF_NORMAL : EF_STRICT;
    return *accuracy == EF_STRICT || !strcmp(name, "normal");
}

static reading read_record(reader *r, json_t *line, ef__tuned_record *to)
{
    const char *op, *accuracy, *variant, *source, *driver = NULL;
    json_t *sizes, *knobs;
    int parts;
    *to = (ef__tuned_record){0};
    if (json_unpack(line, "{s:s, s:o, s:i, s:s, s:s, s:o, s:s, s?s}", "op", &op, "n", &sizes,
                    "parts", &parts, "accuracy", &accuracy, "variant", &variant, "knobs", &knobs,
                    "source", &source, "driver", &driver) ||
        !read_sizes(sizes, to->n) || parts & ~EF__ALL_PARTS ||
        !find_accuracy(accuracy, &to->accuracy))
        return BROKEN;
    to->parts = parts;
    if (!find_op(op, &to->id))
        return STALE;
    if (!strcmp(variant, "default"))
        return by_driver(r, driver);
    to->choice = ef__op_untuned(ef__device_of(r->actor), to->id, variant);
    if (!to->choice.variant || !read_knobs(knobs, &to->choice))
        return STALE;
    if (to->choice.variant->loose && to->accuracy == EF_STRICT)
        return BROKEN;
    return is_current(r, to->id, source) ? by_driver(r, driver) : STALE;
}

/* Of another CLBlast, or that nothing but CLBlast's own was better: none. */
static reading read_clblast(reader *r, json_t *line, ef__clblast_set *set)
{
    const char *variant, *source, *driver = NULL;
    json_t *kernels;
    const ef__clblast_limits limits = ef__clblast_limits_of(ef__device_of(r->actor));
    *set = (ef__clblast_set){.has = {0}};
    if (json_unpack(line, "{s:s, s:o, s:s, s?s}", "variant", &variant, "knobs", &kernels, "source",
                    &source, "driver", &driver))
        return BROKEN;
    if (strcmp(source, ef__clblast_source()))
        return STALE;
    if (strcmp(variant, "default") && !ef__clblast_read(kernels, &limits, set))
        return BROKEN;
    return by_driver(r, driver);
}

/* ---- the file ---- */

static bool is_format(json_t *line)
{
    const char *format = json_string_value(json_object_get(line, "format"));
    return format && !strcmp(format, EF__TUNE_FORMAT);
}

static ef_status see_lines(const char *path, const char *text, size_t bytes,
                           bool (*see)(void *user, json_t *line), void *user, ef_error *error)
{
    bool go = true;
    for (size_t at = 0, next; go && (at < bytes || at == 0); at = next) {
        const char *end = bytes > at ? memchr(text + at, '\n', bytes - at) : NULL;
        const size_t length = end ? (size_t)(end - text) - at : bytes - at;
        next = at + length + 1;
        if (at && !length)
            continue;
        json_t *line = json_loadb(text + at, length, 0, NULL);
        const bool good = at || is_format(line);
        go = good && see(user, json_is_object(line) ? line : NULL);
        json_decref(line);
        if (!good)
            return ef__error_set(error, EF_EFORMAT, 0, NULL, "%s:1: not a file of \"%s\"", path,
                                 EF__TUNE_FORMAT);
    }
    return EF_OK;
}

ef_status ef__tuned_lines(const char *path, bool (*see)(void *user, json_t *line), void *user,
                          ef_error *error)
{
    int fd;
    size_t bytes;
    char *text = NULL;
    ef_status status = ef__file_open(path, &fd, &bytes, error);
    if (status)
        return status;
    if (bytes > EF__TUNE_MOST_BYTES)
        status = ef__error_set(error, EF_EFORMAT, 0, NULL, "%s: %zu bytes, more than %d", path,
                               bytes, EF__TUNE_MOST_BYTES);
    else if (!(text = malloc(bytes + 1)))
        status = ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: no host memory", path);
    if (!status)
        status = ef__file_read(fd, path, 0, text, bytes, error);
    close(fd);
    if (!status)
        status = see_lines(path, text, bytes, see, user, error);
    free(text);
    return status;
}

static ef_status check_header(reader *r, json_t *line)
{
    const char *key = json_string_value(json_object_get(line, "key"));
    char own[EF__SHA256_HEX];
    ef__tuned_key(r->actor, own);
    if (key && !strcmp(key, own))
        return EF_OK;
    return ef__error_set(r->error, EF_EFORMAT, 0, NULL,
                         "%s:1: tuned for another device (%.12s, this one is %.12s)", r->path,
                         key ? key : "without a key", own);
}

static ef_status keep(reader *r, const ef__tuned_record *record)
{
    ef__tuned *t = r->tuned;
    ef__tuned_record *more = realloc(t->records, (t->count + 1) * sizeof *more);
    if (!more)
        return ef__error_set(r->error, EF_ENOMEM, 0, NULL, "%s: no host memory", r->path);
    t->records = more;
    t->records[t->count++] = *record;
    t->info.choices++;
    return EF_OK;
}

_Static_assert(sizeof((ef_tune_info *)0)->clblast == EF__CLBLAST_TEXT, "a set's text fits");

static bool is_clblast(json_t *line)
{
    const char *op = json_string_value(json_object_get(line, "op"));
    return op && !strcmp(op, EF__TUNE_CLBLAST);
}

static ef_status read_choice(reader *r, json_t *line)
{
    ef__tuned *t = r->tuned;
    ef__tuned_record record;
    ef__clblast_set set;
    const bool clblast = is_clblast(line);
    const reading got = clblast ? read_clblast(r, line, &set) : read_record(r, line, &record);
    t->info.broken += got == BROKEN;
    t->info.stale += got == STALE;
    t->info.of_other_driver += got == OTHER_DRIVER;
    if (got != GOOD)
        return EF_OK;
    if (!clblast)
        return keep(r, &record);
    t->clblast = set;
    t->info.choices++;
    ef__clblast_text(&set, t->info.clblast);
    return EF_OK;
}

static bool read_line(void *user, json_t *line)
{
    reader *r = user;
    r->status = r->begun ? read_choice(r, line) : check_header(r, line);
    r->begun = true;
    return !r->status;
}

static void digest(ef__tuned *t)
{
    ef__sha256 sha;
    ef__sha256_begin(&sha);
    for (size_t i = 0; i < t->count; i++) {
        const ef__tuned_record *r = &t->records[i];
        char text[512], knobs[128];
        int used = snprintf(text, sizeof text, "%s %d %d %s %s", ef__op_row(r->id)->name, r->parts,
                            r->accuracy, r->choice.variant ? r->choice.variant->name : "default",
                            ef__choice_text(&r->choice, knobs, sizeof knobs));
        for (size_t k = 0; k < EF__MAX_SIZES; k++)
            used += snprintf(text + used, sizeof text - (size_t)used, " %zu", r->n[k]);
        ef__sha256_add(&sha, text, (size_t)used + 1);
    }
    if (!ef__clblast_is_empty(&t->clblast))
        ef__sha256_add(&sha, t->info.clblast, strlen(t->info.clblast) + 1);
    if (t->info.choices)
        ef__sha256_end_hex(&sha, t->info.digest);
}

ef_status ef__tuned_read(ef_actor *a, const char *path, ef__tuned **tuned, ef_error *error)
{
    const char *stale = getenv("EF_TUNE_STALE");
    reader r = {.actor = a,
                .path = path,
                .any_driver = stale && !strcmp(stale, "use"),
                .tuned = calloc(1, sizeof *r.tuned),
                .error = error};
    if (!r.tuned)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: no host memory", path);
    ef_status status = ef__tuned_lines(path, read_line, &r, error);
    if (!status)
        status = r.status;
    if (status) {
        ef__tuned_free(r.tuned);
        return status;
    }
    digest(r.tuned);
    snprintf(r.tuned->info.path, sizeof r.tuned->info.path, "%s", path);
    *tuned = r.tuned;
    return EF_OK;
}

void ef__tuned_free(ef__tuned *t)
{
    if (t)
        free(t->records);
    free(t);
}

/* ---- the nearest record ---- */

static double distance(const ef__tuned_record *r, const ef__args *args)
{
    double sum = 0;
    for (size_t i = 0; i < EF__MAX_SIZES; i++) {
        double x = (double)(r->n[i] ? r->n[i] : 1), y = (double)(args->n[i] ? args->n[i] : 1);
        sum += fabs(log2(x / y));
    }
    return sum;
}

static bool runs(const ef__tuned_record *r, const ef__device *device, const ef__args *args)
{
    ef__args with = *args;
    memcpy(with.knob, r->choice.knob, sizeof with.knob);
    return !r->choice.variant || ef__variant_runs(r->choice.variant, device, &with);
}

ef__choice ef__tuned_find(const ef__tuned *t, const ef__device *device, ef__op_id id,
                          const ef__args *args, ef_accuracy accuracy)
{
    static const double most = 3, other_epilogue = 0.5;
    const int parts = ef__epilogue_parts(&args->epilogue);
    const ef__tuned_record *best = NULL;
    double least = most;
    for (const ef__tuned_record *r = t->records; r < t->records + t->count; r++) {
        if (r->id != id || r->accuracy != accuracy)
            continue;
        double d = distance(r, args);
        if (d > most)
            continue;
        d += r->parts == parts ? 0 : other_epilogue;
        if ((!best || d < least) && runs(r, device, args)) {
            best = r;
            least = d;
        }
    }
    return best ? best->choice : (ef__choice){0};
}

ef_status ef__op_hash(ef_actor *a, ef__op_id id, char hex[EF__SHA256_HEX])
{
    const ef__op *op = ef__op_row(id);
    ef_status status = EF_OK;
    ef__sha256 sha;
    ef__sha256_begin(&sha);
    for (int i = 0; i < EF__MAX_SOURCES && op->sources[i] && !status; i++) {
        status = ef__kernel_hash(a, op->sources[i], hex);
        ef__sha256_add(&sha, hex, strlen(hex) + 1);
    }
    if (ef__op_variant(id, "clblast")) /* its version stands for its kernels */
        ef__sha256_add(&sha, EF_CLBLAST_VERSION, sizeof EF_CLBLAST_VERSION);
    ef__sha256_end_hex(&sha, hex);
    return status;
}

const char *ef__choice_text(const ef__choice *c, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; c->variant && i < ef__knobs(c->variant) && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s %d", i ? ", " : "",
                                 c->variant->knobs[i].name, c->knob[i]);
    return text;
}

/* ---- where ---- */

int ef__tuned_user_path(const char *key, char *path, size_t size)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data == '/')
        return snprintf(path, size, "%s/energyflow/tune/%s.eftune", data, key);
    return snprintf(path, size, "%s/.local/share/energyflow/tune/%s.eftune", home ? home : "", key);
}

int ef__tuned_system_path(const char *key, char *path, size_t size)
{
    return snprintf(path, size, SYSCONFDIR "/energyflow/tune/%s.eftune", key);
}

static bool is_there(const char *path)
{
    return !access(path, F_OK);
}

ef_status ef__tuned_path(ef_actor *a, char *path, size_t size, bool *named)
{
    const char *tune = getenv("EF_TUNE");
    char key[EF__SHA256_HEX];
    int used = 0;
    path[0] = '\0';
    *named = tune && *tune && strcmp(tune, "on") && strcmp(tune, "off");
    if (tune && !strcmp(tune, "off"))
        return EF_OK;
    ef__tuned_key(a, key);
    if (*named)
        used = snprintf(path, size, "%s", tune);
    else {
        used = ef__tuned_user_path(key, path, size);
        if (!is_there(path))
            used = ef__tuned_system_path(key, path, size);
        if (!is_there(path))
            *path = '\0';
    }
    if (used < 0 || (size_t)used >= size)
        return ef__fail(a, EF_EARG, 0, "tune", "tune: the database's path is longer than %zu",
                        size);
    return EF_OK;
}

void ef__tuned_key(ef_actor *a, char key[EF__SHA256_HEX])
{
    ef__identity identity;
    ef__identity_get(a, &identity);
    snprintf(key, EF__SHA256_HEX, "%s", identity.hash);
}
