/* service_reflection.h -- server reflection, v1 and v1alpha (internal to the client port).
 *
 * Serves the descriptor set that the build makes of the public .proto files and what they import.
 * At most REFLECTION_STREAMS_MAX streams at a time, one response for each request.
 */
#ifndef RPC_SERVICE_REFLECTION_H
#define RPC_SERVICE_REFLECTION_H

#include "rpc/edge.h"

#define REFLECTION_STREAMS_MAX 32u

struct reflection;

struct reflection *reflection_new(struct edge *edge);
/* Before the server starts. */
void reflection_register(struct reflection *reflection);
void reflection_arm(struct reflection *reflection);
void reflection_drain(struct reflection *reflection);
uint32_t reflection_live(const struct reflection *reflection);
void reflection_free(struct reflection *reflection);

#endif
