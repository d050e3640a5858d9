/* trace.h -- what happened in a run: a hash of all of it, always, and readable lines when asked
 * for.
 *
 * Two runs of one seed are the same run exactly when their hashes are the same.
 */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_LAST_MAX  50u
#define TRACE_LINE_SIZE 320u

struct trace {
    uint64_t hash;
    uint64_t events;
    bool text;    /* lines are made at all */
    FILE *stream; /* where each line goes at once; NULL: only the last ones are kept */
    uint64_t line_count;
    char last[TRACE_LAST_MAX][TRACE_LINE_SIZE];
};

void trace_init(struct trace *trace, bool text, FILE *stream);
/* Takes four numbers into the hash. */
void trace_mix(struct trace *trace, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* Only when trace->text. */
__attribute__((format(printf, 3, 4))) void trace_line(struct trace *trace, uint64_t now_ns,
                                                      const char *format, ...);
/* The last lines, oldest first. */
void trace_print_last(const struct trace *trace, FILE *file);

#endif
