/* Any bytes as a configuration of eftrain: refused, by place or by JSON pointer, or what it makes
 * of the options is the same text after it is read again. */
#include "cmd/config.h"
#include "cmd/eftrain.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The whole configuration after one that is taken; NULL: it is refused. */
static char *taken(const char *text, size_t bytes)
{
    eftrain_settings s;
    ef__option rows[EFTRAIN_ROWS];
    ef_error error = {0};
    char *whole = NULL;
    size_t length;
    eftrain_defaults(&s);
    eftrain_table(&s, rows);
    if (ef__config_take(rows, "a.json", text, bytes, &s.root, &error)) {
        assert(error.status == EF_EFORMAT && !strncmp(error.text, "a.json:", 7) && !s.root);
        return NULL;
    }
    FILE *to = open_memstream(&whole, &length);
    if (!to || ef__config_write(rows, to, &error) || fclose(to))
        abort();
    json_decref(s.root);
    return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *text = taken((const char *)data, bytes);
    char *again = text ? taken(text, strlen(text)) : NULL;
    assert(!text || (again && !strcmp(text, again)));
    free(text);
    free(again);
    return 0;
}
