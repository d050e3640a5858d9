/* metrics.h -- parts of the page /metrics (http.h).
 *
 * Names follow the conventions of Prometheus: unit last, _total for counters; each name once, with
 * its type ("counter", "gauge", "histogram") and a sentence.
 */
#ifndef NODE_METRICS_H
#define NODE_METRICS_H

#include <stdint.h>
#include <stdio.h>

struct node;

/* What stands above the samples of a name. */
void metrics_write_header(FILE *out, const char *name, const char *type, const char *help);
/* One sample without labels, and its header. */
void metrics_write_number(FILE *out, const char *name, const char *type, const char *help,
                          uint64_t value);
/* What the actors count, those of one kind added up (metrics_actors.c). */
void metrics_write_actors(const struct node *node, FILE *out);

#endif
