/* service_health.h -- the standard health protocol (internal to the client port).
 *
 * Check is a call like others (service.h). Watch streams live here: at most HEALTH_WATCHERS_MAX;
 * each sends the state at once and every change after it, skipping those that it was too slow for.
 */
#ifndef RPC_SERVICE_HEALTH_H
#define RPC_SERVICE_HEALTH_H

#include "rpc/edge.h"

#define HEALTH_WATCHERS_MAX 128u

struct health;

struct health *health_new(struct edge *edge);
/* After the server has started. */
void health_arm(struct health *health, void *registered_watch);
/* edge->serving has changed: tells the watchers. */
void health_changed(struct health *health);
/* Ends all streams. */
void health_drain(struct health *health);
/* Streams and armed slots that gRPC still knows. */
uint32_t health_live(const struct health *health);
/* health_live is 0. */
void health_free(struct health *health);

#endif
