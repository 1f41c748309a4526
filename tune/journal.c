/* The journal of a tuning run. */
#include "journal.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- entries ---- */

static tune_entry *entry_of(tune_journal *j, const char *target, const char *choice)
{
    for (size_t i = j->count; i-- > 0;)
        if (!strcmp(j->entries[i].choice, choice) && !strcmp(j->entries[i].target, target))
            return &j->entries[i];
    if (j->count == j->room) {
        size_t room = j->room ? 2 * j->room : 256;
        tune_entry *more = realloc(j->entries, room * sizeof *more);
        if (!more)
            return NULL;
        j->entries = more;
        j->room = room;
    }
    tune_entry e = {.target = strdup(target), .choice = strdup(choice)};
    if (!e.target || !e.choice) {
        free(e.target);
        free(e.choice);
        return NULL;
    }
    j->entries[j->count] = e;
    return &j->entries[j->count++];
}

const tune_entry *tune_journal_find(const tune_journal *j, const char *target, const char *choice)
{
    for (size_t i = 0; i < j->count; i++)
        if (!strcmp(j->entries[i].choice, choice) && !strcmp(j->entries[i].target, target))
            return &j->entries[i];
    return NULL;
}

static void free_entry(tune_entry *e)
{
    free(e->target);
    free(e->choice);
    free(e->ms);
    free(e->text);
    free(e->fate);
}

static void forget(tune_journal *j, const char *target)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->count; i++)
        if (strcmp(j->entries[i].target, target))
            j->entries[kept++] = j->entries[i];
        else
            free_entry(&j->entries[i]);
    j->count = kept;
}

/* Was it the choice that ended its run? */
static bool ended_run(const tune_entry *e)
{
    const bool had_run = e->count > 0 || e->outcome == TUNE_CORRECT;
    return e->begun && (!had_run || e->begun_twice);
}

tune_outcome tune_journal_outcome(const tune_entry *e)
{
    return ended_run(e) ? TUNE_RUNTIME : e->outcome;
}

const char *tune_journal_why(const tune_entry *e)
{
    return ended_run(e) ? "the run ended while it was tried" : e->text;
}

bool tune_journal_has_failures(const tune_journal *j, const char *target)
{
    for (size_t i = 0; i < j->count; i++)
        if (tune_is_failure(tune_journal_outcome(&j->entries[i])) &&
            !strcmp(j->entries[i].target, target))
            return true;
    return false;
}

static void begin_entry(tune_entry *e)
{
    e->begun_twice |= e->begun;
    e->begun = true;
}

static void end_late(tune_entry *e, double seconds)
{
    double *longest = e->late_s;
    e->begun = false;
    if (seconds > longest[0]) {
        longest[1] = longest[0];
        longest[0] = seconds;
    } else if (seconds > longest[1])
        longest[1] = seconds;
}

static bool add_time(tune_entry *e, double ms)
{
    e->begun = false;
    double *more = realloc(e->ms, (e->count + 1) * sizeof *more);
    if (!more)
        return false;
    e->ms = more;
    e->ms[e->count++] = ms;
    return true;
}

static void end_entry(tune_entry *e, tune_outcome outcome, double worst, const char *text)
{
    e->begun = false;
    e->outcome = outcome;
    e->worst = worst;
    free(e->text);
    e->text = text && *text ? strdup(text) : NULL;
}

static bool set_fate(tune_entry *e, const char *fate, double ms, tune_interval ratio, size_t rounds)
{
    free(e->fate);
    e->fate = strdup(fate);
    e->median_ms = ms;
    e->ratio = ratio;
    e->rounds = rounds;
    return e->fate != NULL;
}

static void set_default(tune_entry *e, double floor_ms)
{
    e->is_default = true;
    e->floor_ms = floor_ms;
}

/* ---- lines: what, target, choice, and what belongs to it ---- */

static tune_outcome outcome_of(const char *name)
{
    for (int i = 0; i < TUNE_OUTCOME_COUNT; i++)
        if (!strcmp(name, tune_outcome_text(i)))
            return i;
    return TUNE_UNTRIED;
}

/* Each line says when it was written; between a beginning and what comes after lies the work. */
static void add_cost(tune_entry *e, const char *what, int64_t at)
{
    tune_cost *c = &e->cost;
    const double ms = c->begun_at && at > c->begun_at ? (double)(at - c->begun_at) : 0;
    const bool ended = !strcmp(what, "end");
    if (!strcmp(what, "begin"))
        c->begun_at = c->at = at;
    else if (ended || !strcmp(what, "time")) {
        *(e->count == 0 ? &c->first : ended ? &c->verified : &c->others) += ms;
        c->begun_at = 0;
        c->at = at;
    } else if (!strcmp(what, "late"))
        c->begun_at = 0;
}

/* Of a file anyone may have edited. */
static bool is_time(double ms)
{
    const double most = 1e9;
    return ms >= 0 && ms < most;
}

/* The rounds of a fate, where it has some. */
static bool read_fate(tune_entry *e, json_t *line, const char *fate, double ms)
{
    tune_interval r;
    json_int_t rounds;
    const bool has_rounds = !json_unpack(line, "{s:F, s:F, s:F, s:I}", "ratio", &r.median, "low",
                                         &r.low, "high", &r.high, "rounds", &rounds) &&
                            rounds > 0 && is_time(r.median) && is_time(r.low) && is_time(r.high);
    return set_fate(e, fate, ms, has_rounds ? r : (tune_interval){0},
                    has_rounds ? (size_t)rounds : 0);
}

/* A line that is none is passed over: the last one of a killed run may be cut off. */
static bool apply(tune_journal *j, json_t *line)
{
    const char *what, *target, *choice, *outcome, *text;
    double number = json_number_value(json_object_get(line, "ms"));
    if (json_unpack(line, "{s:s, s:s}", "what", &what, "target", &target))
        return true;
    if (!strcmp(what, "forget"))
        forget(j, target);
    if (json_unpack(line, "{s:s}", "choice", &choice) || !is_time(number) ||
        (!strcmp(what, "time") && number == 0))
        return true;
    tune_entry *e = entry_of(j, target, choice);
    if (!e)
        return false;
    add_cost(e, what, json_integer_value(json_object_get(line, "at")));
    if (!strcmp(what, "begin"))
        begin_entry(e);
    else if (!strcmp(what, "late") && !json_unpack(line, "{s:F}", "seconds", &number))
        end_late(e, number);
    else if (!strcmp(what, "end") && !json_unpack(line, "{s:s, s:F, s:s}", "outcome", &outcome,
                                                  "worst", &number, "text", &text))
        end_entry(e, outcome_of(outcome), number, text);
    else if (!strcmp(what, "default") && !json_unpack(line, "{s:F}", "floor_ms", &number))
        set_default(e, is_time(number) ? number : 0);
    else if (!strcmp(what, "fate") &&
             !json_unpack(line, "{s:s, s:F}", "fate", &text, "ms", &number))
        return read_fate(e, line, text, number);
    else if (!strcmp(what, "time") && !json_unpack(line, "{s:F}", "ms", &number))
        return add_time(e, number);
    return true;
}

static ef_status failed(const tune_journal *j, ef_error *error)
{
    return ef__error_set(error, EF_EIO, errno, NULL, "%s: %s", j->path, strerror(errno));
}

static ef_status no_memory(ef_error *error)
{
    return ef__error_set(error, EF_ENOMEM, 0, NULL, "no host memory for the journal");
}

void tune_add_rounds(json_t *line, tune_interval ratio, size_t rounds)
{
    json_object_set_new(line, "ratio", json_real(ratio.median));
    json_object_set_new(line, "low", json_real(ratio.low));
    json_object_set_new(line, "high", json_real(ratio.high));
    json_object_set_new(line, "rounds", json_integer((json_int_t)rounds));
}

static json_t *now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return json_integer((json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* Append one line, which says when; safe: with all before it on the disk when this returns. The
 * line is freed. */
static ef_status append(tune_journal *j, json_t *line, bool safe, ef_error *error)
{
    json_object_set_new(line, "at", now_ms());
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    ef_status status = text ? EF_OK : no_memory(error);
    size_t length = text ? strlen(text) : 0;
    if (text)
        text[length++] = '\n';
    for (size_t at = 0; !status && at < length;) {
        ssize_t n = write(j->fd, text + at, length - at);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EINTR)
            status = failed(j, error);
    }
    if (!status && safe && fdatasync(j->fd))
        status = failed(j, error);
    free(text);
    json_decref(line);
    return status;
}

ef_status tune_journal_begin(tune_journal *j, const char *target, const char *choice,
                             ef_error *error)
{
    tune_entry *e = entry_of(j, target, choice);
    if (!e)
        return no_memory(error);
    begin_entry(e);
    return append(j,
                  json_pack("{s:s, s:s, s:s}", "what", "begin", "target", target, "choice", choice),
                  true, error);
}

ef_status tune_journal_end(tune_journal *j, const char *target, const char *choice,
                           tune_outcome outcome, double worst, const char *text, ef_error *error)
{
    tune_entry *e = entry_of(j, target, choice);
    if (!e)
        return no_memory(error);
    end_entry(e, outcome, worst, text);
    return append(j,
                  json_pack("{s:s, s:s, s:s, s:s, s:f, s:s}", "what", "end", "target", target,
                            "choice", choice, "outcome", tune_outcome_text(outcome), "worst",
                            isfinite(worst) ? worst : 1e30, "text", text ? text : ""),
                  true, error);
}

ef_status tune_journal_late(tune_journal *j, const char *target, const char *choice, double seconds,
                            ef_error *error)
{
    tune_entry *e = entry_of(j, target, choice);
    if (!e)
        return no_memory(error);
    end_late(e, seconds);
    return append(j,
                  json_pack("{s:s, s:s, s:s, s:f}", "what", "late", "target", target, "choice",
                            choice, "seconds", seconds),
                  true, error);
}

ef_status tune_journal_forget(tune_journal *j, const char *target, ef_error *error)
{
    forget(j, target);
    return append(j, json_pack("{s:s, s:s}", "what", "forget", "target", target), true, error);
}

ef_status tune_journal_time(tune_journal *j, const char *target, const char *choice, double ms,
                            ef_error *error)
{
    tune_entry *e = entry_of(j, target, choice);
    if (!e || !add_time(e, ms))
        return no_memory(error);
    return append(j,
                  json_pack("{s:s, s:s, s:s, s:f}", "what", "time", "target", target, "choice",
                            choice, "ms", ms),
                  false, error);
}

ef_status tune_journal_default(tune_journal *j, const char *target, const char *choice,
                               double floor_ms, ef_error *error)
{
    tune_entry *e = entry_of(j, target, choice);
    if (!e)
        return no_memory(error);
    set_default(e, floor_ms);
    return append(j,
                  json_pack("{s:s, s:s, s:s, s:f}", "what", "default", "target", target, "choice",
                            choice, "floor_ms", floor_ms),
                  false, error);
}

ef_status tune_journal_fate(tune_journal *j, const char *target, const char *choice,
                            const char *fate, const tune_candidate *found, ef_error *error)
{
    tune_entry *e = entry_of(j, target, choice);
    if (!e || !set_fate(e, fate, found->median_ms, found->ratio, found->rounds))
        return no_memory(error);
    json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:f}", "what", "fate", "target", target,
                             "choice", choice, "fate", fate, "ms", found->median_ms);
    if (line && found->rounds)
        tune_add_rounds(line, found->ratio, found->rounds);
    return append(j, line, false, error);
}

/* ---- opening ---- */

static const char opening[] = "{\"identity\":"; /* of the first line */

/* It may be cut off, too. */
static bool opens_journal(const char *text, size_t length)
{
    const size_t most = sizeof opening - 1;
    return !strncmp(text, opening, length < most ? length : most);
}

static bool is_of(json_t *line, const char *identity)
{
    const char *own = json_string_value(json_object_get(line, "identity"));
    return own && !strcmp(own, identity);
}

/* Every whole line; *usable: the file is of this identity, or of any if that is NULL. */
static ef_status read_all(tune_journal *j, const char *identity, bool *usable, ef_error *error)
{
    FILE *file = fdopen(dup(j->fd), "r");
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    ef_status status = file ? EF_OK : failed(j, error);
    *usable = false;
    for (size_t number = 0; !status && (length = getline(&text, &room, file)) > 0; number++) {
        json_t *line = json_loadb(text, (size_t)length, 0, NULL);
        if (number == 0 && !opens_journal(text, (size_t)length))
            status =
                ef__error_set(error, EF_EFORMAT, 0, NULL, "%s:1: not a journal of eftune", j->path);
        else if (number == 0)
            *usable = !identity || is_of(line, identity);
        else if (!apply(j, line))
            status = no_memory(error);
        json_decref(line);
        if (!*usable)
            break;
    }
    free(text);
    if (file)
        fclose(file);
    return status;
}

/* What is there, into the file beside it. */
static ef_status save_old(const tune_journal *j, ef_error *error)
{
    char path[4200], block[65536];
    ssize_t n;
    bool good = (size_t)snprintf(path, sizeof path, "%s.old", j->path) < sizeof path;
    FILE *old = good ? fopen(path, "we") : NULL;
    good = old && lseek(j->fd, 0, SEEK_SET) == 0;
    while (good && (n = read(j->fd, block, sizeof block)) != 0)
        good = n > 0 && fwrite(block, 1, (size_t)n, old) == (size_t)n;
    good = good && !fflush(old) && !fdatasync(fileno(old));
    ef_status status =
        good ? EF_OK : ef__error_set(error, EF_EIO, errno, NULL, "%s: %s", path, strerror(errno));
    if (old)
        fclose(old);
    return status;
}

/* What was cut off ends here: the next line is one of its own. */
static ef_status start(tune_journal *j, const char *identity, bool usable, ef_error *error)
{
    if (usable)
        return write(j->fd, "\n", 1) == 1 ? EF_OK : failed(j, error);
    ef_status status = lseek(j->fd, 0, SEEK_END) > 0 ? save_old(j, error) : EF_OK;
    if (status)
        return status;
    if (ftruncate(j->fd, 0))
        return failed(j, error);
    return append(j, json_pack("{s:s}", "identity", identity), true, error);
}

ef_status tune_journal_open(tune_journal *j, const char *path, const char *identity,
                            ef_error *error)
{
    bool usable = false;
    *j = (tune_journal){.fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666),
                        .path = strdup(path)};
    if (!j->path)
        return no_memory(error);
    if (j->fd < 0)
        return failed(j, error);
    if (flock(j->fd, LOCK_EX | LOCK_NB))
        return ef__error_set(error, EF_ESTATE, 0, NULL, "%s: another eftune is at work on it",
                             path);
    ef_status status = read_all(j, identity, &usable, error);
    return status ? status : start(j, identity, usable, error);
}

ef_status tune_journal_look(tune_journal *j, const char *path, ef_error *error)
{
    bool usable;
    *j = (tune_journal){.fd = open(path, O_RDONLY | O_CLOEXEC), .path = strdup(path)};
    if (!j->path)
        return no_memory(error);
    return j->fd < 0 ? failed(j, error) : read_all(j, NULL, &usable, error);
}

void tune_journal_close(tune_journal *j)
{
    for (size_t i = 0; i < j->count; i++)
        free_entry(&j->entries[i]);
    free(j->entries);
    free(j->path);
    if (j->fd >= 0)
        close(j->fd);
    *j = (tune_journal){.fd = -1};
}
