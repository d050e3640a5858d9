#include "tests/sim/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

void trace_init(struct trace *trace, bool text, FILE *stream)
{
    memset(trace, 0, sizeof *trace);
    trace->text = text;
    trace->stream = stream;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
    hash *= 0xBF58476D1CE4E5B9u;
    return hash ^ (hash >> 29);
}

void trace_mix(struct trace *trace, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    trace->hash = mix(mix(mix(mix(trace->hash, a), b), c), d);
    trace->events++;
}

void trace_line(struct trace *trace, uint64_t now_ns, const char *format, ...)
{
    if (!trace->text)
        return;
    char *line = trace->last[trace->line_count++ % TRACE_LAST_MAX];
    int used = snprintf(line, TRACE_LINE_SIZE, "%4" PRIu64 ".%09" PRIu64 " ", now_ns / 1000000000u,
                        now_ns % 1000000000u);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, TRACE_LINE_SIZE - (size_t)used, format, arguments);
    va_end(arguments);
    if (trace->stream != NULL)
        fprintf(trace->stream, "%s\n", line);
}

void trace_print_last(const struct trace *trace, FILE *file)
{
    uint64_t kept = trace->line_count < TRACE_LAST_MAX ? trace->line_count : TRACE_LAST_MAX;
    for (uint64_t i = trace->line_count - kept; i < trace->line_count; i++)
        fprintf(file, "%s\n", trace->last[i % TRACE_LAST_MAX]);
}
