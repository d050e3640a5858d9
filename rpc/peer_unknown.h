/* peer_unknown.h -- calls on the peer port of methods that do not exist (internal to it): answered
 * at once, or they would wait inside gRPC for ever. One is ready on each queue. */
#ifndef RPC_PEER_UNKNOWN_H
#define RPC_PEER_UNKNOWN_H

#include "rpc/peer_link.h"

/* Until the port closes. */
void peer_unknown_arm(struct rpc_peers *peers, grpc_completion_queue *queue);

#endif
