/* config.h -- a command's options as a JSON object: a key for each row of its table. */
#ifndef EF_CMD_CONFIG_H
#define EF_CMD_CONFIG_H

#include "cmd/value.h"
#include <jansson.h>
#include <stdio.h>

/* ef__config_take -- take the values of a JSON text into the table, in the text's order; null and
 * "" are no value and change nothing. path: for messages. Texts stay those of *root: json_decref it
 * after their last use. Errors: EFORMAT: what is no JSON, by line and column; what is no object; an
 * unknown key (the nearest is named), a value of another type (both are named) or out of bounds, by
 * JSON pointer. */
ef_status ef__config_take(const ef__option *table, const char *path, const char *text, size_t bytes,
                          json_t **root, ef_error *error);

/* ef__config_read -- the same for a file. Errors: also EIO. */
ef_status ef__config_read(const ef__option *table, const char *path, json_t **root,
                          ef_error *error);

/* ef__config_write -- all keys in the table's order; null: no value. What is read and written again
 * is the same text. Errors: EFORMAT (a text that is not UTF-8), ENOMEM. */
ef_status ef__config_write(const ef__option *table, FILE *file, ef_error *error);

#endif
