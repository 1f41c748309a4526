#include "cmd/files.h"
#include "cmd/options.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ef__check_input(const char *command, const char *path)
{
    struct stat about;
    if (!path)
        return 0;
    if (stat(path, &about) || access(path, R_OK))
        return ef__say_error(command, EF__DATA, "%s: cannot read: %s", path, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return ef__say_error(command, EF__DATA, "%s: is not a regular file", path);
    return 0;
}

int ef__check_inputs(const char *command, const ef_train_options *r)
{
    const char *paths[] = {r->data, r->val, r->vocabulary, r->resume, r->init_from, r->init_optim};
    int code = 0;
    for (size_t i = 0; !code && i < sizeof paths / sizeof *paths; i++)
        code = ef__check_input(command, paths[i]);
    return code;
}

/* ---- no file is read and written at once, or written twice ---- */

/* Whether both are the same file, through whatever links; of what is not there, the same name. */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    if (!a || !b || !strcmp(a, b))
        return a && b;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int ef__check_apart(const char *command, ef__place written, const ef__place *others, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (same_file(written.path, others[i].path))
            return ef__say_error(command, EF__USAGE, "%s and %s are the same file: %s",
                                 written.option, others[i].option, written.path);
    return 0;
}

int ef__check_saves(const char *command, const ef_train_options *r, const char *best)
{
    const ef__place inputs[] = {{"--data", r->data},
                                {"--val", r->val},
                                {"--vocab", r->vocabulary},
                                {"--init-from", r->init_from},
                                {"--init-optim", r->init_optim}};
    int code = ef__check_apart(command, (ef__place){"--save", r->save}, inputs, 5);
    return code ? code
                : ef__check_apart(command, (ef__place){"--save's best model", best}, inputs, 5);
}

int ef__check_output(const char *command, const char *option, const char *path,
                     const ef_train_options *r, const char *best, const char *log)
{
    const ef__place others[] = {{"--data", r->data},
                                {"--val", r->val},
                                {"--vocab", r->vocabulary},
                                {"--init-from", r->init_from},
                                {"--init-optim", r->init_optim},
                                {"--resume", r->resume},
                                {"--save", r->save},
                                {"--save's best model", best},
                                {"--log-json", log}};
    return ef__check_apart(command, (ef__place){option, path}, others, 9);
}
