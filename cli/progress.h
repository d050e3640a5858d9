/* progress.h -- how far a long command is: a bar on a terminal, a plain line every few seconds
 * elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *verb; /* "imported" */
    bool is_terminal;
    bool drawn; /* a bar stands on the line */
    uint64_t started_ms;
    uint64_t told_ms;
};

uint64_t progress_now_ms(void);
void progress_init(struct progress *progress, const char *verb);
/* Draws when it is time to. done/total: of whatever is measured (bytes); total 0: not known. */
void progress_show(struct progress *progress, uint64_t items, uint64_t done, uint64_t total);
/* The same with words of the caller's own; part: 0 to 1. eta_ms 0: not known. */
void progress_show_text(struct progress *progress, double part, uint64_t eta_ms, const char *text);
/* Removes the bar, so that other lines can be written. */
void progress_clear(struct progress *progress);
double progress_seconds(const struct progress *progress);

#endif
