/* lines.h -- reads lines from a file or a pipe, and can tell whether the next read would wait. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "base/bytes.h"

#include <signal.h>

/* A 3 MiB value in JSON's longest escapes (6 bytes a byte), and its key. */
#define LINE_BYTES_MAX (20u * 1024 * 1024)

struct lines {
    int fd;
    uint8_t *buffer;
    size_t capacity, start, end;
    uint64_t line;        /* number of the line given last, from 1 */
    uint64_t bytes;       /* given so far, newlines included */
    uint64_t bytes_total; /* of a regular file; 0: not known */
    bool at_end;
    const volatile sig_atomic_t *stop; /* set by a signal: no further waiting. NULL: nobody */
    bool stopped;                      /* and it was */
    const char *path;
};

enum lines_result { LINES_LINE, LINES_END, LINES_TOO_LONG, LINES_FAILED };

/* `path` "-" is stdin. False after saying why. */
bool lines_open(struct lines *lines, const char *path);
void lines_close(struct lines *lines);
/* The next line without its end (\n or \r\n), valid until the next call. Empty lines are given too.
 * What a signal has cut short is no line but the end.
 * A line over the limit is skipped and told as such. */
enum lines_result lines_next(struct lines *lines, struct bytes *ret_line);
/* lines_next will not wait for the input, except within a line. */
bool lines_ready(const struct lines *lines);

#endif
