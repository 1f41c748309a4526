/* The settings that the environment has for an actor, read when it opens. A value that nothing
 * knows is an error: a misspelt setting must not pass for one that is in force. */
#include "actor/internal.h"
#include "base/error.h"
#include "base/file.h"
#include <stdlib.h>
#include <string.h>

typedef struct variable {
    const char *name, *allowed; /* words parted by | */
    bool several;               /* its value is words parted by commas */
} variable;

/* Is word, of n characters, in list, whose words separator parts? */
static bool has_word(const char *list, char separator, const char *word, size_t n)
{
    const char *end;
    for (; (end = strchr(list, separator)) != NULL; list = end + 1)
        if ((size_t)(end - list) == n && !memcmp(list, word, n))
            return true;
    return strlen(list) == n && !memcmp(list, word, n);
}

static bool is_set(const char *name, const char *word)
{
    const char *value = getenv(name);
    return value && has_word(value, ',', word, strlen(word));
}

static ef_status check(const variable *v, ef_error *error)
{
    const char *value = getenv(v->name);
    if (!value || !*value)
        return EF_OK;
    for (const char *word = value, *end; word; word = *end ? end + 1 : NULL) {
        end = word + (v->several ? strcspn(word, ",") : strlen(word));
        if (!has_word(v->allowed, '|', word, (size_t)(end - word)))
            return ef__error_set(error, EF_EARG, 0, "open", "open: %s=%s: must be %s%s", v->name,
                                 value, v->allowed, v->several ? ", parted by commas" : "");
    }
    return EF_OK;
}

/* Now, not when hours of work are to be written. */
static ef_status open_capture(ef_actor *a, ef_error *error)
{
    const char *path = getenv("EF_TUNE_CAPTURE");
    ef_error why;
    if (!path || !*path || !ef__file_append(path, &a->capture, &why))
        return EF_OK;
    return ef__error_set(error, EF_EIO, 0, "open", "open: EF_TUNE_CAPTURE=%s", why.text);
}

ef_status ef__environment_read(ef_actor *a, ef_error *error)
{
    static const variable variables[] = {{"EF_GUARD", "trap|error", false},
                                         {"EF_ACCURACY", "strict|normal", false},
                                         {"EF_DEBUG", "sync|canary", true},
                                         {"EF_LINEAR", "clblast|own", false}, /* op/linear.c */
                                         {"EF_TUNE_STALE", "use", false}};    /* op/tuned.c */
    a->capture = -1;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        ef_status status = check(&variables[i], error);
        if (status)
            return status;
    }
    a->guard = is_set("EF_GUARD", "error") ? EF_GUARD_ERROR : EF_GUARD_TRAP;
    a->accuracy = is_set("EF_ACCURACY", "strict") ? EF_STRICT : EF_NORMAL;
    a->debug_sync = is_set("EF_DEBUG", "sync");
    a->debug_canary = is_set("EF_DEBUG", "canary");
    return open_capture(a, error);
}
