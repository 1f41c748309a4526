/* Pictures: gnuplot reads a script from a file and prints the SVG into another. */
#include "picture.h"
#include "base/file.h"
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WIDTH = 420, HEIGHT = 300, TITLE = 30 };

static ef_status failed(ef_error *error, const char *what)
{
    return ef__error_set(error, EF_EIO, errno, NULL, "%s: %s", what, strerror(errno));
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

FILE *bench_picture_begin(size_t panels, const char *title, ef_error *error)
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

void bench_picture_panel(FILE *script, const char *title)
{
    fprintf(script, "set title ");
    quote(script, title);
    fputc('\n', script);
}

/* ---- gnuplot ---- */

/* Its exit status, or -1: it could not be run. What it reads and writes are files: neither side
 * waits for the other. */
static int run(FILE *script, FILE *picture, FILE *complaint)
{
    char name[] = "gnuplot", plain[] = "-d", *argv[] = {name, plain, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, fileno(script), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, fileno(picture), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, fileno(complaint), STDERR_FILENO);
    errno = posix_spawnp(&pid, name, &files, NULL, argv, environ);
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
    return ef__error_set(error, EF_EIO, 0, NULL, "gnuplot: %s", said);
}

static ef_status save(FILE *picture, const char *path, ef_error *error)
{
    char block[16384];
    size_t bytes;
    ef__file *file;
    ef_status status = ef__file_begin(path, &file, error);
    if (status)
        return status;
    rewind(picture);
    while (!status && (bytes = fread(block, 1, sizeof block, picture)) > 0)
        status = ef__file_write(file, block, bytes, error);
    if (!status)
        return ef__file_commit(file, error);
    ef__file_abandon(file);
    return status;
}

ef_status bench_picture_end(FILE *script, const char *path, ef_error *error)
{
    FILE *picture = tmpfile(), *complaint = tmpfile();
    ef_status status = EF_OK;
    int code;
    fprintf(script, "unset multiplot\n");
    if (!picture || !complaint || fflush(script) || ferror(script) ||
        lseek(fileno(script), 0, SEEK_SET) < 0)
        status = failed(error, "a temporary file");
    else if ((code = run(script, picture, complaint)) < 0)
        status = failed(error, "gnuplot");
    else
        status = code ? complain(complaint, error) : save(picture, path, error);
    fclose(script);
    if (picture)
        fclose(picture);
    if (complaint)
        fclose(complaint);
    return status;
}
