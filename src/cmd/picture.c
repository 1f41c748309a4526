/* Pictures: gnuplot reads a script from a file and prints the SVG into another. */
#include "cmd/picture.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WIDTH = 420, HEIGHT = 300, TITLE = 30 };

static ef_status fail(ef_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static ef_status fail(ef_error *error, const char *format, ...)
{
    va_list args;
    *error = (ef_error){.status = EF_EIO};
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return EF_EIO;
}

static ef_status failed(ef_error *error, const char *what)
{
    return fail(error, "%s: %s", what, strerror(errno));
}

/* ---- the script ---- */

/* Between ' a ' is written twice. */
static void quote(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text; text++) {
        if (*text == '\'')
            fputc('\'', script);
        fputc(*text, script);
    }
    fputc('\'', script);
}

FILE *ef__picture_begin(size_t panels, const char *title, ef_error *error)
{
    FILE *script = tmpfile();
    int columns = (int)fmin(4, ceil(sqrt((double)panels)));
    int rows = ((int)panels + columns - 1) / columns;
    if (!script) {
        failed(error, "a temporary file");
        return NULL;
    }
    fprintf(script,
            "set terminal svg size %d,%d noenhanced font 'sans,11' background rgb 'white'\n"
            "set multiplot layout %d,%d title ",
            columns * WIDTH, rows * HEIGHT + TITLE, rows, columns);
    quote(script, title);
    fprintf(script, "\nset grid lc rgb '#dddddd'\n");
    return script;
}

void ef__picture_panel(FILE *script, const char *title)
{
    fprintf(script, "set title ");
    quote(script, title);
    fputc('\n', script);
}

/* ---- gnuplot ---- */

/* It takes signals as any other program, whatever this one blocks or ignores. */
static int spawn(pid_t *pid, char *const *argv, const posix_spawn_file_actions_t *files)
{
    posix_spawnattr_t how;
    sigset_t none, pipe;
    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &pipe);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int code = posix_spawnp(pid, *argv, files, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    return code;
}

/* Its exit status, or -1: it could not be run. What it reads and writes are files: neither side
 * waits for the other. */
static int run(FILE *script, int picture, FILE *complaint)
{
    char name[] = "gnuplot", plain[] = "-d", *argv[] = {name, plain, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, fileno(script), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, picture, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, fileno(complaint), STDERR_FILENO);
    errno = spawn(&pid, argv, &files);
    posix_spawn_file_actions_destroy(&files);
    if (errno)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* gnuplot shows the line, an arrow below it, and then says what is wrong. */
static ef_status complain(FILE *complaint, ef_error *error)
{
    char line[256], said[256] = "it fails";
    rewind(complaint);
    while (fgets(line, sizeof line, complaint)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[strspn(line, " \t^")] != '\0')
            memcpy(said, line, sizeof said);
    }
    return fail(error, "gnuplot: %s", said);
}

static ef_status draw(FILE *script, int picture, ef_error *error)
{
    FILE *complaint = tmpfile();
    ef_status status = EF_OK;
    int code;
    if (!complaint || fflush(script) || ferror(script) || lseek(fileno(script), 0, SEEK_SET) < 0)
        status = failed(error, "a temporary file");
    else if ((code = run(script, picture, complaint)) != 0)
        status = code < 0 ? failed(error, "gnuplot") : complain(complaint, error);
    if (complaint)
        fclose(complaint);
    return status;
}

/* gnuplot does not say that a disk is full. */
static bool is_whole(int picture)
{
    static const char end[] = "</svg>";
    char tail[16] = "";
    const off_t size = lseek(picture, 0, SEEK_END);
    return size > (off_t)sizeof tail && pread(picture, tail, sizeof tail - 1, size - 15) == 15 &&
           strstr(tail, end);
}

/* Draw into a file beside path, which takes its place when it is whole; not: it goes again. */
static ef_status draw_beside(FILE *script, const char *path, bool keep, ef_error *error)
{
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.%ld.ef-tmp", path, (long)getpid()) >=
        (int)sizeof beside)
        return fail(error, "%.200s...: the name is too long", path);
    int picture = open(beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (picture < 0)
        return failed(error, path);
    ef_status status = draw(script, picture, error);
    if (!status && keep && !is_whole(picture))
        status = fail(error, "%s: the picture could not be written whole", path);
    if (close(picture) && !status)
        status = failed(error, path);
    if (!status && keep && !rename(beside, path))
        return EF_OK;
    if (!status && keep)
        status = failed(error, path);
    unlink(beside);
    return status;
}

/* Through a link, what it leads to is replaced. */
static ef_status draw_at(FILE *script, const char *path, bool keep, ef_error *error)
{
    struct stat about;
    if (stat(path, &about))
        return draw_beside(script, path, keep, error);
    if (!S_ISREG(about.st_mode))
        return fail(error, "%s: is not a regular file", path);
    char *target = realpath(path, NULL);
    ef_status status = target ? draw_beside(script, target, keep, error) : failed(error, path);
    free(target);
    return status;
}

ef_status ef__picture_end(FILE *script, const char *path, ef_error *error)
{
    fprintf(script, "unset multiplot\n");
    ef_status status = draw_at(script, path, true, error);
    fclose(script);
    return status;
}

ef_status ef__picture_check(const char *path, ef_error *error)
{
    FILE *nothing = tmpfile();
    if (!nothing)
        return failed(error, "a temporary file");
    ef_status status = draw_at(nothing, path, false, error);
    fclose(nothing);
    return status;
}
