/* The log of a run: a line for each step and epoch. */
#include "cmd/eftrain.h"
#include "cmd/files.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what is there already ---- */

static bool is_regular(FILE *file)
{
    struct stat about;
    return !fstat(fileno(file), &about) && S_ISREG(about.st_mode);
}

/* Would a run write the line that goes on with this step of this epoch? */
static bool is_repeated(const char *line, uint64_t epoch, uint64_t step)
{
    unsigned long long old_epoch, old_step;
    if (sscanf(line, "{\"step\":%llu,\"epoch\":%llu,", &old_step, &old_epoch) == 2)
        return old_epoch > epoch || old_step >= step;
    return sscanf(line, "{\"epoch\":%llu,", &old_epoch) == 1 && old_epoch >= epoch;
}

/* How many bytes there are before the first such line, or one without an end; -1: cannot read. */
static off_t find_repeated(FILE *file, uint64_t epoch, uint64_t step)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    off_t at = 0;
    rewind(file);
    while ((n = getline(&line, &room, file)) > 0 && line[n - 1] == '\n' &&
           !is_repeated(line, epoch, step))
        at += n;
    free(line);
    return n < 0 && !feof(file) ? -1 : at;
}

/* A run that is resumed continues its log behind the last line before its own first one; another
 * replaces it. */
static bool make_way(eftrain_log *log, const json_t *first)
{
    const json_t *step = json_object_get(first, "step"); /* an epoch's line has none */
    const json_int_t epoch = json_integer_value(json_object_get(first, "epoch"));
    if (!is_regular(log->file))
        return true; /* a pipe holds nothing old */
    const off_t keep = log->resumed
                           ? find_repeated(log->file, (uint64_t)epoch,
                                           step ? (uint64_t)json_integer_value(step) : UINT64_MAX)
                           : 0;
    return keep >= 0 && !ftruncate(fileno(log->file), keep) && !fseek(log->file, 0, SEEK_END);
}

/* ---- from the beginning to the end ---- */

/* Opening makes the file, so that all its names lead to it when they are compared. */
int eftrain_log_open(const eftrain_settings *s, const char *best, eftrain_log *log)
{
    if (!s->log)
        return 0;
    if (!strcmp(s->log, "-")) {
        *log = (eftrain_log){.file = stdout, .begun = true};
        return 0;
    }
    const bool made = access(s->log, F_OK);
    *log = (eftrain_log){.file = fopen(s->log, "a+e"), .resumed = s->run.resume};
    if (!log->file)
        return ef__say_error(EFTRAIN, EF__RUNTIME, "%s: %s", s->log, strerror(errno));
    if (is_regular(log->file) && flock(fileno(log->file), LOCK_EX | LOCK_NB) &&
        errno == EWOULDBLOCK)
        return ef__say_error(EFTRAIN, EF__RUNTIME, "--log-json %s: another run is writing it",
                             s->log);
    int code = ef__check_output(EFTRAIN, "--log-json", s->log, &s->run, best, NULL);
    if (code && made)
        unlink(s->log);
    return code;
}

void eftrain_log_line(eftrain_log *log, json_t *object)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(9);
    if (!object || !(log->begun || make_way(log, object)) || json_dumpf(object, log->file, flags) ||
        fputc('\n', log->file) == EOF || fflush(log->file))
        log->failed = true;
    log->begun = true;
    json_decref(object);
}

bool eftrain_log_unread(const eftrain_log *log)
{
    return log->failed && log->file == stdout;
}

int eftrain_log_close(const eftrain_settings *s, eftrain_log *log, int code)
{
    if (log->file && log->file != stdout && fclose(log->file))
        log->failed = true;
    if (log->failed && !code)
        return ef__say_error(EFTRAIN, EF__RUNTIME, "%s: the log could not be written whole",
                             log->file == stdout ? "stdout" : s->log);
    return code;
}
