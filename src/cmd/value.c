#include "cmd/value.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wrong(char *why, const char *text)
{
    snprintf(why, EF__WHY, "%s", text);
    return false;
}

/* ---- reading ---- */

static bool check_range(const ef__option *o, double value, char *why)
{
    if (value < o->least)
        snprintf(why, EF__WHY, "must be at least %g", o->least);
    else if (o->most != 0 && value > o->most)
        snprintf(why, EF__WHY, "must be at most %.10g", o->most);
    else
        return true;
    return false;
}

/* Digits up to *end; false when there are none or they pass 64 bits. */
static bool read_u64(const char *text, char **end, uint64_t *value)
{
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, end, 10);
    return errno == 0;
}

static bool parse_whole(const ef__option *o, const char *text, char *why)
{
    char *end = NULL;
    uint64_t value;
    if (!read_u64(text, &end, &value) || *end || (o->kind == EF__SIZE && value > SIZE_MAX))
        return wrong(why, "not a whole number");
    if (!check_range(o, (double)value, why))
        return false;
    if (o->kind == EF__SIZE)
        *(size_t *)o->value = (size_t)value;
    else
        *(uint64_t *)o->value = value;
    return true;
}

static bool parse_real(const ef__option *o, const char *text, char *why)
{
    char *end;
    double value = strtod(text, &end) + 0; /* no negative zero */
    bool plain = *text && text[strspn(text, "0123456789.eE+-")] == '\0';
    if (!plain || *end)
        return wrong(why, "not a number");
    if (!isfinite((float)value))
        return wrong(why, "too large");
    if (!check_range(o, value, why))
        return false;
    if (o->kind == EF__REAL)
        *(float *)o->value = (float)value;
    else
        *(double *)o->value = value;
    return true;
}

static bool parse_list(const ef__option *o, const char *text, char *why)
{
    ef__list list = {0};
    for (const char *from = text;;) {
        char *end = NULL;
        uint64_t value;
        if (!read_u64(from, &end, &value) || (*end && *end != ','))
            return wrong(why, "not numbers separated by commas");
        if (!check_range(o, (double)value, why))
            return false;
        if (list.count == EF_MAX_BLOCKS) {
            snprintf(why, EF__WHY, "more than %d numbers", EF_MAX_BLOCKS);
            return false;
        }
        list.at[list.count++] = (size_t)value;
        if (!*end)
            break;
        from = end + 1;
    }
    *(ef__list *)o->value = list;
    return true;
}

/* The word number index of "a|b|c", and its length; NULL past the last. */
static const char *word_at(const char *words, int index, int *length)
{
    while (index-- > 0) {
        words = strchr(words, '|');
        if (!words++)
            return NULL;
    }
    *length = (int)strcspn(words, "|");
    return words;
}

static bool parse_choice(const ef__option *o, const char *text, char *why)
{
    int length;
    const char *word;
    for (int i = 0; (word = word_at(o->argument, i, &length)); i++)
        if (strlen(text) == (size_t)length && !strncmp(text, word, (size_t)length)) {
            *(int *)o->value = i;
            return true;
        }
    snprintf(why, EF__WHY, "not one of %s", o->argument);
    return false;
}

static bool parse_switch(const ef__option *o, const char *text, char *why)
{
    bool on = !text || !strcmp(text, "on") || !strcmp(text, "true");
    if (!on && strcmp(text, "off") && strcmp(text, "false"))
        return wrong(why, "not one of on|off");
    if (o->kind == EF__FLAG)
        *(bool *)o->value = on;
    else
        *(int *)o->value = (int)(on ? o->most : o->least);
    return true;
}

bool ef__value_parse(const ef__option *o, const char *text, char why[EF__WHY])
{
    switch (o->kind) {
    case EF__FLAG:
    case EF__SWITCH:
        return parse_switch(o, text, why);
    case EF__TEXT:
        if (!*text)
            return wrong(why, "is empty");
        *(const char **)o->value = text;
        return true;
    case EF__SIZE:
    case EF__U64:
        return parse_whole(o, text, why);
    case EF__REAL:
    case EF__DOUBLE:
        return parse_real(o, text, why);
    case EF__CHOICE:
        return parse_choice(o, text, why);
    case EF__LIST:
        return parse_list(o, text, why);
    case EF__GROUP:
    case EF__SET:
        break;
    }
    return true;
}

/* ---- writing ---- */

static double number_of(const ef__option *o)
{
    switch (o->kind) {
    case EF__SIZE:
        return (double)*(size_t *)o->value;
    case EF__U64:
        return (double)*(uint64_t *)o->value;
    case EF__REAL:
        return (double)*(float *)o->value;
    default:
        return *(double *)o->value;
    }
}

bool ef__value_given(const ef__option *o)
{
    char why[EF__WHY];
    switch (o->kind) {
    case EF__TEXT:
        return *(const char **)o->value != NULL;
    case EF__SIZE:
    case EF__U64:
    case EF__REAL:
    case EF__DOUBLE:
        return check_range(o, number_of(o), why);
    case EF__SWITCH:
        return *(int *)o->value == (int)o->least || *(int *)o->value == (int)o->most;
    case EF__LIST:
        return ((ef__list *)o->value)->count > 0;
    default:
        return true;
    }
}

/* As few digits as give the same number again. */
static void print_real(const ef__option *o, char *text, size_t size)
{
    double value = number_of(o);
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        double again = strtod(text, NULL);
        if (o->kind == EF__REAL ? (float)again == (float)value : again == value)
            break;
    }
}

static void print_list(const ef__list *list, char *text, size_t size)
{
    size_t used = 0;
    *text = '\0';
    for (size_t i = 0; i < list->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? "," : "", list->at[i]);
}

void ef__value_print(const ef__option *o, char *text, size_t size)
{
    int length = 0;
    const char *word;
    switch (o->kind) {
    case EF__SIZE:
        snprintf(text, size, "%zu", *(size_t *)o->value);
        break;
    case EF__U64:
        snprintf(text, size, "%" PRIu64, *(uint64_t *)o->value);
        break;
    case EF__REAL:
    case EF__DOUBLE:
        print_real(o, text, size);
        break;
    case EF__CHOICE:
        word = word_at(o->argument, *(int *)o->value, &length);
        snprintf(text, size, "%.*s", length, word ? word : "");
        break;
    case EF__SWITCH:
        snprintf(text, size, "%s", *(int *)o->value == (int)o->most ? "on" : "off");
        break;
    case EF__FLAG:
        snprintf(text, size, "%s", *(bool *)o->value ? "on" : "off");
        break;
    case EF__TEXT:
        snprintf(text, size, "%s", *(const char **)o->value);
        break;
    case EF__LIST:
        print_list(o->value, text, size);
        break;
    case EF__GROUP:
    case EF__SET:
        *text = '\0';
    }
}

/* ---- rows ---- */

const char *ef__option_key(const ef__option *o)
{
    const char *key = o->key ? o->key : o->name;
    return o->kind == EF__GROUP || o->kind == EF__SET || !*key ? NULL : key;
}

const ef__option *ef__option_find(const ef__option *table, const char *key, size_t length)
{
    for (const ef__option *o = table; o->name; o++) {
        const char *own = ef__option_key(o);
        if (own && strlen(own) == length && !strncmp(own, key, length))
            return o;
    }
    return NULL;
}

enum { LONGEST_KEY = 40 };

static size_t least_of(size_t a, size_t b, size_t c)
{
    a = a < b ? a : b;
    return a < c ? a : c;
}

/* Letters to put in, take out or change to make one of the other; what passes LONGEST_KEY is not
 * looked at. */
static size_t distance(const char *a, const char *b, size_t length)
{
    size_t row[LONGEST_KEY + 1], n = length < LONGEST_KEY ? length : LONGEST_KEY;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = least_of(change, diagonal + 1, row[j] + 1);
        }
    }
    return row[n];
}

const char *ef__option_nearest(const ef__option *table, const char *key, size_t length)
{
    const char *nearest = "";
    size_t least = SIZE_MAX;
    for (const ef__option *o = table; o->name; o++) {
        const char *own = ef__option_key(o);
        size_t far = own ? distance(own, key, length) : SIZE_MAX;
        size_t name = own ? distance(o->name, key, length) : SIZE_MAX;
        if (far < least || name < least) {
            least = far < name ? far : name;
            nearest = own;
        }
    }
    return nearest;
}
