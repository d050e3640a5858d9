#include "cli/lines.h"

#include "base/check.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (256u * 1024)

bool lines_open(struct lines *lines, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0 || S_ISDIR(about.st_mode)) {
        cli_note("cannot open %s: %s", path, strerror(fd < 0 ? errno : EISDIR));
        if (fd > STDIN_FILENO)
            close(fd);
        return false;
    }
    *lines = (struct lines){.fd = fd, .path = is_stdin ? "stdin" : path, .capacity = BUFFER_BYTES};
    lines->bytes_total = S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0;
    lines->buffer = malloc(lines->capacity);
    CHECK(lines->buffer != NULL);
    return true;
}

void lines_close(struct lines *lines)
{
    if (lines->fd != STDIN_FILENO)
        close(lines->fd);
    free(lines->buffer);
}

/* More bytes behind `end`; false at the end or on an error. */
static bool lines_fill(struct lines *lines, bool *ret_failed)
{
    if (lines->start > 0) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    if (lines->end == lines->capacity) {
        lines->capacity *= 2;
        lines->buffer = realloc(lines->buffer, lines->capacity);
        CHECK(lines->buffer != NULL);
    }
    ssize_t size;
    do {
        size = read(lines->fd, lines->buffer + lines->end, lines->capacity - lines->end);
        lines->stopped = lines->stop != NULL && *lines->stop != 0;
    } while (size < 0 && errno == EINTR && !lines->stopped);
    if (size < 0 && !lines->stopped) {
        cli_note("cannot read %s: %s", lines->path, strerror(errno));
        *ret_failed = true;
    }
    lines->at_end = size <= 0;
    if (size > 0)
        lines->end += (size_t)size;
    return size > 0;
}

enum lines_result lines_next(struct lines *lines, struct bytes *ret_line)
{
    size_t looked = 0; /* bytes from `start` on without a newline */
    bool too_long = false, failed = false;
    for (;;) {
        const uint8_t *from = lines->buffer + lines->start;
        const uint8_t *newline = memchr(from + looked, '\n', lines->end - lines->start - looked);
        size_t size = newline == NULL ? lines->end - lines->start : (size_t)(newline - from);
        if (newline == NULL && size > LINE_BYTES_MAX) {
            too_long = true;
            lines->bytes += size;
            lines->start = lines->end;
            size = 0;
        }
        looked = size;
        if (newline == NULL && lines_fill(lines, &failed))
            continue;
        if (failed)
            return LINES_FAILED;
        if (lines->stopped) /* what came so far of this line is not the line */
            return LINES_END;
        if (newline == NULL && size == 0 && !too_long)
            return LINES_END;
        from = lines->buffer + lines->start; /* lines_fill may have moved it */
        size_t whole = size + (newline == NULL ? 0 : 1);
        lines->start += whole;
        lines->bytes += whole;
        lines->line++;
        if (size > 0 && from[size - 1] == '\r')
            size--;
        *ret_line = bytes_of(from, size);
        return too_long || size > LINE_BYTES_MAX ? LINES_TOO_LONG : LINES_LINE;
    }
}

bool lines_ready(const struct lines *lines)
{
    if (lines->at_end ||
        memchr(lines->buffer + lines->start, '\n', lines->end - lines->start) != NULL)
        return true;
    struct pollfd wait = {.fd = lines->fd, .events = POLLIN};
    return poll(&wait, 1, 0) > 0;
}
