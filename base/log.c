#include "base/log.h"

#include "base/check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

const char *log_level_text(enum log_level level)
{
    static const char *const texts[] = {"debug", "info", "warning", "error"};
    CHECK_U64(level, <, LOG_LEVEL_COUNT);
    return texts[level];
}

void log_write(const struct log *log, enum log_level level, const char *event, const char *format,
               ...)
{
    if (log == NULL || log->sink == NULL || level < log->level)
        return;
    char fields[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fields, sizeof fields, format, arguments);
    va_end(arguments);
    log->sink(log->host, level, event, fields);
}
