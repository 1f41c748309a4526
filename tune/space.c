/* Every point of a part, valid or not, has a code: its values' places as the digits of a number in
 * mixed radix. The codes of all parts follow one another; a space keeps those of the valid points,
 * ascending, and a point's number is its place among them. */
#include "space.h"
#include "base/size.h"
#include <stdlib.h>
#include <string.h>

struct tune_space {
    tune_part *parts;
    size_t *first; /* [parts + 1] code of each part's first point */
    size_t part_count;
    size_t *codes; /* [count] */
    size_t count, room;
};

size_t tune_part_parameters(const tune_part *part)
{
    size_t n = 0;
    while (n < TUNE_PARAMETERS && part->parameter[n].name)
        n++;
    return n;
}

static tune_point decode(const tune_space *s, size_t code)
{
    tune_point point = {0};
    while (code >= s->first[point.part + 1])
        point.part++;
    const tune_part *part = &s->parts[point.part];
    size_t digits = code - s->first[point.part];
    for (size_t i = tune_part_parameters(part); i-- > 0;) {
        const tune_parameter *p = &part->parameter[i];
        point.value[i] = p->values[digits % p->count];
        digits /= p->count;
    }
    return point;
}

static bool place(const tune_parameter *p, int value, size_t *at)
{
    for (*at = 0; *at < p->count; ++*at)
        if (p->values[*at] == value)
            return true;
    return false;
}

static bool encode(const tune_space *s, const tune_point *point, size_t *code)
{
    if (point->part >= s->part_count)
        return false;
    const tune_part *part = &s->parts[point->part];
    size_t digits = 0, n = tune_part_parameters(part), at;
    for (size_t i = 0; i < n; i++) {
        if (!place(&part->parameter[i], point->value[i], &at))
            return false;
        digits = digits * part->parameter[i].count + at;
    }
    *code = s->first[point->part] + digits;
    return true;
}

static bool add(tune_space *s, size_t code)
{
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        size_t *more = realloc(s->codes, room * sizeof *more);
        if (!more)
            return false;
        s->codes = more;
        s->room = room;
    }
    s->codes[s->count++] = code;
    return true;
}

static bool lay_out(tune_space *s, const tune_part *parts, size_t count)
{
    s->parts = calloc(count + 1, sizeof *s->parts);
    s->first = calloc(count + 1, sizeof *s->first);
    if (!s->parts || !s->first)
        return false;
    s->part_count = count;
    for (size_t i = 0; i < count; i++) {
        size_t points = 1;
        s->parts[i] = parts[i];
        for (size_t k = 0; k < tune_part_parameters(&parts[i]); k++)
            if (!ef__mul(points, parts[i].parameter[k].count, &points))
                return false;
        if (!ef__add(s->first[i], points, &s->first[i + 1]))
            return false;
    }
    return true;
}

tune_space *tune_space_new(const tune_part *parts, size_t count,
                           bool (*valid)(const void *user, const tune_point *point),
                           const void *user)
{
    tune_space *s = calloc(1, sizeof *s);
    bool fine = s && lay_out(s, parts, count);
    for (size_t code = 0; fine && code < s->first[count]; code++) {
        tune_point point = decode(s, code);
        if (!valid || valid(user, &point))
            fine = add(s, code);
    }
    if (fine)
        return s;
    tune_space_free(s);
    return NULL;
}

void tune_space_free(tune_space *s)
{
    if (!s)
        return;
    free(s->parts);
    free(s->first);
    free(s->codes);
    free(s);
}

size_t tune_space_count(const tune_space *s)
{
    return s->count;
}

const tune_part *tune_space_part(const tune_space *s, size_t part)
{
    return &s->parts[part];
}

tune_point tune_space_point(const tune_space *s, size_t number)
{
    return decode(s, s->codes[number]);
}

static int compare(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

bool tune_space_number(const tune_space *s, const tune_point *point, size_t *number)
{
    size_t code;
    if (!encode(s, point, &code))
        return false;
    const size_t *at = s->count ? bsearch(&code, s->codes, s->count, sizeof code, compare) : NULL;
    if (at)
        *number = (size_t)(at - s->codes);
    return at != NULL;
}

size_t tune_space_neighbours(const tune_space *s, size_t number, size_t out[TUNE_NEIGHBOURS])
{
    const tune_point here = tune_space_point(s, number);
    const tune_part *part = &s->parts[here.part];
    size_t n = 0, parameters = tune_part_parameters(part);
    for (size_t i = 0; i < parameters; i++)
        for (size_t k = 0; k < part->parameter[i].count; k++) {
            tune_point there = here;
            there.value[i] = part->parameter[i].values[k];
            if (there.value[i] != here.value[i] && tune_space_number(s, &there, &out[n]))
                n++;
        }
    return n;
}
