/* folder.h -- for tests that need a place for files: a new folder, and what is in it. */
#ifndef EF_TESTS_FOLDER_H
#define EF_TESTS_FOLDER_H

#include "ef_test.h"
#include <stdio.h>
#include <stdlib.h>

static char folder[64];

static inline void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/ef_test_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static inline void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* The path of a file in the folder, until the next call. Not the kit's string: programs that a test
 * starts have no kit. */
static inline const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* What a file in the folder has, the first 64 KiB; "" if there is none. Until the next call. */
static inline const char *read_text(const char *name)
{
    static char text[65536];
    FILE *f = fopen(path_of(name), "r");
    text[0] = '\0';
    if (f) {
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        fclose(f);
    }
    return text;
}

#endif
