/* http.h -- the HTTP port: /metrics (Prometheus), / (a status page), /status.json, /healthz.
 *
 * libmicrohttpd on one thread of ours, GET only, at most 64 connections, bodies built per request.
 */
#ifndef NODE_HTTP_H
#define NODE_HTTP_H

#include "base/err.h"

#include <stddef.h>

struct http;
struct node;

/* IO with a sentence in `why`. `address` is host:port, port 0 = any free one. */
enum err http_start(struct node *node, const char *address, struct http **ret_http, char *why,
                    size_t why_size) MUST_USE;
void http_stop(struct http *http);

/* The bodies (metrics.c, status.c); malloc'ed, NUL-terminated. Any registered thread. */
char *metrics_text(struct node *node);
char *status_json(struct node *node);
char *status_page(struct node *node);

#endif
