/* log.h -- structured log lines: an event name and key=value pairs.
 *
 * The sink is given by the host (node/ stamps the time and writes the line; the simulator traces
 * it; tests drop it), so that base needs no clock and no file. Whoever decides what to do logs,
 * once.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_LEVEL_COUNT };

struct log {
    /* `fields` is "key=value key=value", values quoted where needed. Any thread may call. */
    void (*sink)(void *host, enum log_level level, const char *event, const char *fields);
    void *host;
    enum log_level
        level; /* lower lines are not formatted at all; written only before threads run */
};

const char *log_level_text(enum log_level level);
/* `log` may be NULL: then nothing is written. Lines are cut at 1 KiB. */
__attribute__((format(printf, 4, 5))) void log_write(const struct log *log, enum log_level level,
                                                     const char *event, const char *format, ...);

#endif
