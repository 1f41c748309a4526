#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The folder stays open from begin to commit, so that all of a save happens in the same one. */
struct ef__file {
    int folder, fd;
    char *path;       /* of the target, links resolved */
    const char *name; /* its last part */
    char *temp;       /* name of the temporary file in the folder */
    mode_t mode;      /* of an existing target, else 0 */
};

static ef_status failed(ef_error *error, const char *path, const char *what)
{
    int code = errno;
    return ef__error_set(error, EF_EIO, 0, NULL, "%s: %s: %s", path, what, strerror(code));
}

static int open_again(int folder, const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(folder, path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static bool sync_again(int fd)
{
    int result;
    do
        result = fsync(fd);
    while (result && errno == EINTR);
    /* A file system without fsync for this kind of file answers EINVAL: there is no more to be
     * had. */
    return !result || errno == EINVAL;
}

static void file_free(ef__file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->folder >= 0)
        close(file->folder);
    free(file->temp);
    free(file->path);
    free(file);
}

/* Where path leads: through links, to the place itself when there is nothing yet. */
static char *resolve(const char *path)
{
    char *real = realpath(path, NULL);
    return real || errno != ENOENT ? real : strdup(path);
}

static ef_status open_folder(ef__file *file, ef_error *error)
{
    char *slash = strrchr(file->path, '/');
    file->name = slash ? slash + 1 : file->path;
    if (!*file->name)
        return ef__error_set(error, EF_EIO, 0, NULL, "%s: is no file name", file->path);
    char *folder = slash ? strndup(file->path, (size_t)(file->name - file->path)) : strdup(".");
    if (!folder)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", file->path);
    file->folder = open_again(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    ef_status status = file->folder < 0 ? failed(error, folder, "cannot open the folder") : EF_OK;
    free(folder);
    return status;
}

/* Whether the open file is (still) the one of that name: another save may have just renamed it. */
static bool is_named(int fd, int folder, const char *name)
{
    struct stat own, there;
    return !fstat(fd, &own) && !fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) &&
           own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

enum { WAIT_MS = 8000, LOOK_MS = 20 };

/* Get the lock within the time that another save may take. */
static bool lock_soon(int fd)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    for (int ms = 0; flock(fd, LOCK_EX | LOCK_NB); ms += LOOK_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return true; /* a file system without locks */
        if (ms >= WAIT_MS)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* One name for all saves of a target, so that what a killed process left is written over by the
 * next; the lock, which ends with its process, keeps apart those who save at the same time: they
 * take turns. */
static ef_status open_temp(ef__file *file, ef_error *error)
{
    size_t size = strlen(file->name) + sizeof ".ef-tmp";
    if (!(file->temp = malloc(size)))
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", file->path);
    snprintf(file->temp, size, "%s.ef-tmp", file->name);
    for (;;) {
        file->fd = open_again(file->folder, file->temp, O_WRONLY | O_CREAT | O_NOFOLLOW, 0666);
        if (file->fd < 0)
            return failed(error, file->path, "cannot write beside it");
        if (!lock_soon(file->fd))
            return ef__error_set(error, EF_EIO, 0, NULL, "%s: is being written by another",
                                 file->path);
        if (is_named(file->fd, file->folder, file->temp))
            break;
        close(file->fd);
    }
    return ftruncate(file->fd, 0) ? failed(error, file->path, "cannot write beside it") : EF_OK;
}

ef_status ef__file_begin(const char *path, ef__file **out, ef_error *error)
{
    ef__file *file = calloc(1, sizeof *file);
    if (!file)
        return ef__error_set(error, EF_ENOMEM, 0, NULL, "%s: out of memory", path);
    file->folder = file->fd = -1;
    struct stat old;
    ef_status status = EF_OK;
    if (!(file->path = resolve(path)))
        status = failed(error, path, "cannot find it");
    if (!status)
        status = open_folder(file, error);
    bool exists = !status && !fstatat(file->folder, file->name, &old, AT_SYMLINK_NOFOLLOW);
    if (exists && !S_ISREG(old.st_mode)) /* a link here is one that leads nowhere */
        status = ef__error_set(error, EF_EIO, 0, NULL, "%s: is not a regular file", path);
    if (!status)
        status = open_temp(file, error);
    if (status) {
        file_free(file);
        return status;
    }
    if (exists)
        file->mode = old.st_mode & 0777;
    *out = file;
    return EF_OK;
}

ef_status ef__file_write(ef__file *file, const void *data, size_t bytes, ef_error *error)
{
    const char *from = data;
    while (bytes) {
        ssize_t n = write(file->fd, from, bytes < SSIZE_MAX ? bytes : SSIZE_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(error, file->path, "cannot write");
        from += n;
        bytes -= (size_t)n;
    }
    return EF_OK;
}

ef_status ef__file_patch(ef__file *file, size_t at, const void *data, size_t bytes, ef_error *error)
{
    const char *from = data;
    while (bytes) {
        ssize_t n = pwrite(file->fd, from, bytes < SSIZE_MAX ? bytes : SSIZE_MAX, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(error, file->path, "cannot write");
        from += n;
        at += (size_t)n;
        bytes -= (size_t)n;
    }
    return EF_OK;
}

ef_status ef__file_sync(ef__file *file, ef_error *error)
{
    return sync_again(file->fd) ? EF_OK : failed(error, file->path, "cannot write");
}

ef_status ef__file_commit(ef__file *file, ef_error *error)
{
    const char *failure = NULL;
    if (file->mode)
        (void)!fchmod(file->fd, file->mode); /* not ours to change: then the umask's */
    if (!sync_again(file->fd)) {
        failure = "cannot write";
    } else if (renameat(file->folder, file->temp, file->folder, file->name)) {
        failure = "cannot replace it";
    } else {
        free(file->temp); /* the name may be another save's from here on */
        file->temp = NULL;
        if (!sync_again(file->folder))
            failure = "is written, but its folder could not be synced";
    }
    ef_status status = failure ? failed(error, file->path, failure) : EF_OK;
    ef__file_abandon(file);
    return status;
}

void ef__file_abandon(ef__file *file)
{
    if (!file)
        return;
    if (file->temp)
        unlinkat(file->folder, file->temp, 0);
    file_free(file);
}

static ef_status check_readable(int fd, const char *path, size_t *bytes, ef_error *error)
{
    struct stat st;
    if (fstat(fd, &st))
        return failed(error, path, "cannot read");
    if (!S_ISREG(st.st_mode))
        return ef__error_set(error, EF_EIO, 0, NULL, "%s: is not a regular file", path);
    if ((uintmax_t)st.st_size > SIZE_MAX / 2)
        return ef__error_set(error, EF_EIO, 0, NULL, "%s: is too large", path);
    *bytes = (size_t)st.st_size;
    return EF_OK;
}

ef_status ef__file_open(const char *path, int *out, size_t *bytes, ef_error *error)
{
    int fd = open_again(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0); /* or a FIFO would block */
    if (fd < 0)
        return failed(error, path, "cannot open");
    ef_status status = check_readable(fd, path, bytes, error);
    if (status)
        close(fd);
    else
        *out = fd;
    return status;
}

/* at: where nothing could be read. */
static ef_status ended(ef_error *error, int fd, const char *path, size_t at)
{
    struct stat s;
    const size_t end = !fstat(fd, &s) && (size_t)s.st_size < at ? (size_t)s.st_size : at;
    return ef__error_set(error, EF_EIO, 0, NULL,
                         "%s: was changed while in use: it ends at byte %zu now", path, end);
}

ef_status ef__file_append(const char *path, int *fd, ef_error *error)
{
    *fd = open_again(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0666);
    return *fd < 0 ? failed(error, path, "cannot write") : EF_OK;
}

ef_status ef__file_read(int fd, const char *path, size_t at, void *to, size_t bytes,
                        ef_error *error)
{
    for (char *next = to; bytes;) {
        ssize_t n = pread(fd, next, bytes < SSIZE_MAX ? bytes : SSIZE_MAX, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(error, path, "cannot read");
        if (n == 0)
            return ended(error, fd, path, at);
        next += n;
        at += (size_t)n;
        bytes -= (size_t)n;
    }
    return EF_OK;
}

ef_status ef__file_map(const char *path, ef__map *map, ef_error *error)
{
    int fd;
    size_t bytes;
    void *data = "";
    ef_status status = ef__file_open(path, &fd, &bytes, error);
    if (status)
        return status;
    if (bytes)
        data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        status = failed(error, path, "cannot map it");
    else
        *map = (ef__map){data, bytes};
    close(fd);
    return status;
}

void ef__file_unmap(ef__map *map)
{
    if (map->bytes)
        munmap((void *)map->data, map->bytes);
    *map = (ef__map){0};
}
