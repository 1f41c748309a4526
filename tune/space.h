/* space.h -- what can be chosen: parts (variants, or sets of a kernel family), each with parameters
 * and their values. A space holds the valid points of all its parts, numbered in a fixed order:
 * part by part, the last parameter fastest, values as listed. */
#ifndef TUNE_SPACE_H
#define TUNE_SPACE_H

#include <stdbool.h>
#include <stddef.h>

enum { TUNE_PARAMETERS = 16, TUNE_VALUES = 8 };

typedef struct tune_parameter {
    const char *name;
    int values[TUNE_VALUES]; /* in an order in which neighbours are alike: ascending */
    size_t count;
} tune_parameter;

typedef struct tune_part {
    const char *name;
    tune_parameter parameter[TUNE_PARAMETERS]; /* name NULL ends; none: the part is one point */
} tune_part;

typedef struct tune_point {
    size_t part;
    int value[TUNE_PARAMETERS]; /* of the part's parameters, in their order; 0 past the last */
} tune_point;

typedef struct tune_space tune_space;

/* tune_space_new -- enumerate parts[count], which are copied (their names are not).
 *   valid  may this point be tried? NULL: all may. Only asked here.
 * NULL: out of memory, or a part has more points than a size_t can count. */
tune_space *tune_space_new(const tune_part *parts, size_t count,
                           bool (*valid)(const void *user, const tune_point *point),
                           const void *user);
void tune_space_free(tune_space *space);

/* Valid points; they have the numbers 0 .. count-1. */
size_t tune_space_count(const tune_space *space);
const tune_part *tune_space_part(const tune_space *space, size_t part);
size_t tune_part_parameters(const tune_part *part);

tune_point tune_space_point(const tune_space *space, size_t number);

/* The number of a point; false if it is not in the space. */
bool tune_space_number(const tune_space *space, const tune_point *point, size_t *number);

enum { TUNE_NEIGHBOURS = TUNE_PARAMETERS * (TUNE_VALUES - 1) };

/* tune_space_neighbours -- the valid points that differ from a point in one parameter: how many,
 * and their numbers, parameter by parameter, values as listed. */
size_t tune_space_neighbours(const tune_space *space, size_t number, size_t out[TUNE_NEIGHBOURS]);

#endif
