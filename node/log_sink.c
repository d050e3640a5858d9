#include "node/log_sink.h"

#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void sink(void *host, enum log_level level, const char *event, const char *fields)
{
    char line[1400];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    int size =
        snprintf(line, sizeof line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s node=%s%s%s\n",
                 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                 parts.tm_sec, now.tv_nsec / 1000000, log_level_text(level), event,
                 (const char *)host, fields[0] == '\0' ? "" : " ", fields);
    if (size >= (int)sizeof line) {
        size = (int)sizeof line - 1;
        line[size - 1] = '\n';
    }
    ssize_t written = write(STDERR_FILENO, line, (size_t)size);
    (void)written; /* nobody to tell */
}

struct log log_sink_stderr(enum log_level level, const char *node_name)
{
    return (struct log){.sink = sink, .host = (void *)(uintptr_t)node_name, .level = level};
}
