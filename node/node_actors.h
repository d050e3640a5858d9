/* node_actors.h -- the actors of a node: which there are, what each takes from the settings, which
 * thread steps it, and which handle of the store is whose.
 *
 * Made when the store is open and the node knows who it is (node->boot), before the ports; `struct
 * node` owns them. Coordinator i is stepped by gRPC thread i while there is one, each other actor
 * by a thread of its own.
 */
#ifndef NODE_NODE_ACTORS_H
#define NODE_NODE_ACTORS_H

#include "node/node.h"

/* Handles of the store behind those of the replicas, which are 0 and up. */
enum node_handle {
    NODE_HANDLE_GOSSIP, /* and the start's, before there is gossip */
    NODE_HANDLE_HINTED_HANDOFF,
    NODE_HANDLE_ANTI_ENTROPY,
    NODE_HANDLE_PEERS, /* no actor's: the peer port's rows */
    NODE_HANDLES
};
static inline uint32_t node_handle(const struct node *node, enum node_handle handle)
{
    return node->replica_count + (uint32_t)handle;
}

struct store *node_store(const struct node *node, enum node_handle handle);
/* Who hears of what has become durable; not of NODE_HANDLE_PEERS. */
struct actor_id node_actors_of_handle(const struct node *node, uint32_t handle);
/* Makes the runtime too, with gossip's first view; its threads do not run yet. */
void node_actors_make(struct node *node, const struct runtime_options *runtime);
/* Those that were made. The runtime and the store are stopped. */
void node_actors_free(struct node *node);

#endif
