#include "cmd/lines.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 16 };

/* Room for a piece more behind what is left, which moves to the front. */
static bool make_room(ef__lines *l)
{
    if (l->begin)
        memmove(l->data, l->data + l->begin, l->end - l->begin);
    l->end -= l->begin;
    l->begin = 0;
    if (l->room - l->end >= PIECE)
        return true;
    size_t room = 2 * (l->room + PIECE);
    char *data = realloc(l->data, room);
    if (!data)
        return false;
    l->data = data;
    l->room = room;
    return true;
}

/* Read what there is; EF__LINE: something came, or the end. */
static ef__line more(ef__lines *l, int pause_ms)
{
    struct pollfd input = {.fd = l->fd, .events = POLLIN};
    if (l->room - l->end < PIECE && !make_room(l))
        return EF__LINE_NO_MEMORY;
    int ready = poll(&input, 1, pause_ms);
    if (ready == 0 || (ready < 0 && errno == EINTR))
        return EF__LINE_PAUSE;
    ssize_t n = read(l->fd, l->data + l->end, l->room - l->end);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? EF__LINE_PAUSE : EF__LINE_FAILED;
    l->ended = n == 0;
    l->end += (size_t)n;
    l->bytes += (size_t)n;
    return EF__LINE;
}

ef__line ef__lines_next(ef__lines *l, int pause_ms, const char **line, size_t *bytes)
{
    size_t seen = 0; /* bytes without an end of line */
    for (;;) {
        const size_t left = l->end - l->begin;
        const char *from = l->data + l->begin;
        const char *end = left > seen ? memchr(from + seen, '\n', left - seen) : NULL;
        size_t length = end ? (size_t)(end - from) : left;
        if (length > EF__LONGEST_LINE)
            return EF__LINE_LONG;
        if (!end && l->ended && !left)
            return EF__LINE_END;
        if (end || l->ended) {
            l->begin += length + (end != NULL);
            l->number++;
            *line = from;
            *bytes = length - (length && from[length - 1] == '\r');
            return EF__LINE;
        }
        seen = left;
        ef__line read = more(l, pause_ms);
        if (read != EF__LINE)
            return read;
    }
}
