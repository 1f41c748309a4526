/* lines.h -- lines of any input, a pipe or a terminal too, without waiting for more of them than
 * there are. */
#ifndef EF_CMD_LINES_H
#define EF_CMD_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EF__LONGEST_LINE = 1 << 24 };

typedef enum ef__line {
    EF__LINE,        /* there is one */
    EF__LINE_PAUSE,  /* nothing came for some time */
    EF__LINE_END,    /* there are no more */
    EF__LINE_LONG,   /* it is longer than EF__LONGEST_LINE bytes */
    EF__LINE_FAILED, /* the input cannot be read: errno */
    EF__LINE_NO_MEMORY
} ef__line;

typedef struct ef__lines {
    int fd;
    char *data; /* [begin .. end) of room was read and is not given yet */
    size_t begin, end, room;
    bool ended;
    uint64_t number, bytes; /* lines given; bytes read */
} ef__lines;

/* ef__lines_next -- the next line without its end, "\n" or "\r\n", which the last one may lack. It
 * is there until the next call. pause_ms: how long to wait for more. */
ef__line ef__lines_next(ef__lines *lines, int pause_ms, const char **line, size_t *bytes);

#endif
