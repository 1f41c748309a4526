#include "cmd/config.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20 };

typedef struct reading {
    const ef__option *table;
    const char *path;
    ef_error *error;
} reading;

static ef_status fail(ef_error *error, ef_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static ef_status fail(ef_error *error, ef_status status, const char *format, ...)
{
    va_list args;
    if (!error)
        return status;
    *error = (ef_error){.status = status};
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}

/* ---- reading ---- */

/* A key as a JSON pointer has it, in one line. */
static const char *pointer_to(const char *key, char *text, size_t size)
{
    char *to = text, *end = text + size - 3;
    for (*to++ = '/'; *key && to < end; key++) {
        if (*key == '~' || *key == '/')
            *to++ = '~';
        *to++ = *key == '~'                                ? '0'
                : *key == '/'                              ? '1'
                : (unsigned char)*key < ' ' || *key == 127 ? '?'
                                                           : *key;
    }
    *to = '\0';
    return text;
}

static const char *type_of(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a number",  "true",     "false",    "null"};
    return names[json_typeof(value)];
}

static ef_status another_type(const reading *r, const char *pointer, const char *wanted,
                              const json_t *value)
{
    return fail(r->error, EF_EFORMAT, "%s: %s: is %s, must be %s", r->path, pointer, type_of(value),
                wanted);
}

static ef_status take_text(const reading *r, const ef__option *o, const char *pointer,
                           const char *text)
{
    char why[EF__WHY];
    if (ef__value_parse(o, text, why))
        return EF_OK;
    return fail(r->error, EF_EFORMAT, "%s: %s: %.80s: %s", r->path, pointer, text, why);
}

static ef_status take_number(const reading *r, const ef__option *o, const char *pointer,
                             const json_t *value)
{
    char text[64];
    bool real = o->kind == EF__REAL || o->kind == EF__DOUBLE;
    if (real ? !json_is_number(value) : !json_is_integer(value))
        return another_type(r, pointer, real ? "a number" : "an integer", value);
    if (json_is_integer(value))
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(text, sizeof text, "%.15g", json_real_value(value));
    if (json_is_real(value) && strtod(text, NULL) != json_real_value(value))
        snprintf(text, sizeof text, "%.17g", json_real_value(value));
    return take_text(r, o, pointer, text);
}

static ef_status take_string(const reading *r, const ef__option *o, const char *pointer,
                             const json_t *value)
{
    if (!json_is_string(value))
        return another_type(r, pointer, "a string", value);
    const char *text = json_string_value(value);
    return *text ? take_text(r, o, pointer, text) : EF_OK;
}

static ef_status take_switch(const reading *r, const ef__option *o, const char *pointer,
                             const json_t *value)
{
    if (!json_is_boolean(value))
        return another_type(r, pointer, "true or false", value);
    return take_text(r, o, pointer, json_is_true(value) ? "true" : "false");
}

static ef_status take_list(const reading *r, const ef__option *o, const char *pointer,
                           const json_t *value)
{
    char text[24 * EF_MAX_BLOCKS + 24], element[100];
    size_t used = 0, count = json_array_size(value);
    if (!json_is_array(value))
        return another_type(r, pointer, "an array of integers", value);
    if (count > EF_MAX_BLOCKS)
        return fail(r->error, EF_EFORMAT, "%s: %s: has %zu numbers, at most %d", r->path, pointer,
                    count, EF_MAX_BLOCKS);
    for (size_t i = 0; i < count; i++) {
        const json_t *number = json_array_get(value, i);
        snprintf(element, sizeof element, "%.70s/%zu", pointer, i);
        if (!json_is_integer(number))
            return another_type(r, element, "an integer", number);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%" JSON_INTEGER_FORMAT,
                                 i ? "," : "", json_integer_value(number));
    }
    return count ? take_text(r, o, pointer, text) : EF_OK;
}

static ef_status take(const reading *r, const char *key, const json_t *value)
{
    char pointer[80];
    const ef__option *o = ef__option_find(r->table, key, strlen(key));
    pointer_to(key, pointer, sizeof pointer);
    if (!o)
        return fail(r->error, EF_EFORMAT, "%s: %s: unknown key; the nearest is \"%s\"", r->path,
                    pointer, ef__option_nearest(r->table, key, strlen(key)));
    if (json_is_null(value))
        return EF_OK;
    switch (o->kind) {
    case EF__FLAG:
    case EF__SWITCH:
        return take_switch(r, o, pointer, value);
    case EF__TEXT:
    case EF__CHOICE:
        return take_string(r, o, pointer, value);
    case EF__LIST:
        return take_list(r, o, pointer, value);
    default:
        return take_number(r, o, pointer, value);
    }
}

/* Two keys may be of one value, but no text: taken once more, each leaves it as it is. */
static ef_status check_agrees(const reading *r, const char *key, const json_t *value)
{
    char was[24 * EF_MAX_BLOCKS + 24], is[sizeof was], pointer[80];
    const ef__option *o = ef__option_find(r->table, key, strlen(key));
    if (json_is_null(value) || o->kind == EF__TEXT)
        return EF_OK;
    ef__value_print(o, was, sizeof was);
    ef_status status = take(r, key, value);
    ef__value_print(o, is, sizeof is);
    if (status || !strcmp(was, is))
        return status;
    return fail(r->error, EF_EFORMAT, "%s: %s: contradicts another key, by which it is %s", r->path,
                pointer_to(key, pointer, sizeof pointer), was);
}

ef_status ef__config_take(const ef__option *table, const char *path, const char *text, size_t bytes,
                          json_t **root, ef_error *error)
{
    const reading r = {table, path, error};
    json_error_t why;
    json_t *value, *object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    const char *key;
    ef_status status = EF_OK;
    if (!object)
        return fail(error, EF_EFORMAT, "%s:%d:%d: %s", path, why.line, why.column, why.text);
    if (!json_is_object(object))
        status = fail(error, EF_EFORMAT, "%s: is %s, must be an object", path, type_of(object));
    else
        json_object_foreach(object, key, value) if (!status) status = take(&r, key, value);
    if (!status)
        json_object_foreach(object, key, value) if (!status) status = check_agrees(&r, key, value);
    if (status)
        json_decref(object);
    else
        *root = object;
    return status;
}

ef_status ef__config_read(const ef__option *table, const char *path, json_t **root, ef_error *error)
{
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(MOST_BYTES) : NULL;
    size_t bytes = text ? fread(text, 1, MOST_BYTES, file) : 0;
    ef_status status;
    if (!file || ferror(file))
        status = fail(error, EF_EIO, "%s: cannot read: %s", path, strerror(errno));
    else if (!text)
        status = fail(error, EF_ENOMEM, "%s: out of memory", path);
    else if (bytes == MOST_BYTES)
        status = fail(error, EF_EFORMAT, "%s: is longer than %d bytes", path, MOST_BYTES - 1);
    else
        status = ef__config_take(table, path, text, bytes, root, error);
    free(text);
    if (file)
        fclose(file);
    return status;
}

/* ---- writing ---- */

static ef_status write_string(const ef__option *o, const char *text, FILE *file, ef_error *error)
{
    json_t *string = json_string(text);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    json_decref(string);
    if (!quoted)
        return fail(error, EF_EFORMAT, "--%s %s: is not UTF-8, which JSON is", o->name, text);
    fputs(quoted, file);
    free(quoted);
    return EF_OK;
}

static ef_status write_value(const ef__option *o, FILE *file, ef_error *error)
{
    char text[24 * EF_MAX_BLOCKS + 24];
    if (!ef__value_given(o)) {
        fputs("null", file);
        return EF_OK;
    }
    if (o->kind == EF__TEXT)
        return write_string(o, *(const char **)o->value, file, error);
    ef__value_print(o, text, sizeof text);
    if (o->kind == EF__CHOICE)
        return write_string(o, text, file, error);
    if (o->kind == EF__FLAG || o->kind == EF__SWITCH)
        fputs(strcmp(text, "on") ? "false" : "true", file);
    else
        fprintf(file, o->kind == EF__LIST ? "[%s]" : "%s", text);
    return EF_OK;
}

ef_status ef__config_write(const ef__option *table, FILE *file, ef_error *error)
{
    ef_status status = EF_OK;
    const char *before = "{\n";
    for (const ef__option *o = table; o->name && !status; o++) {
        const char *key = ef__option_key(o);
        if (!key)
            continue;
        fprintf(file, "%s    \"%s\": ", before, key);
        status = write_value(o, file, error);
        before = ",\n";
    }
    fputs("\n}\n", file);
    return status;
}
