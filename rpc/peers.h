/* peers.h -- the peer port and the links to all peers.
 *
 * This node opens one bidi stream to each peer (its sending direction) and serves one from each peer.
 * What queued up during the last send is the next frame. A link that is down drops what it is given
 * (counted; the protocols above live with loss) and reconnects with jittered back-off; the gossip actor
 * and the coordinators are told by peer_link messages. Queues are bounded in bytes.
 */
#ifndef RPC_PEERS_H
#define RPC_PEERS_H

#include "rpc/loop.h"
#include "rpc/peer_codec.h"

struct rpc_peers_options {
    const char *address; /* host:port to listen on; port 0 = any free one */
    struct rpc_loop *loop;
    struct runtime *runtime;
    const struct log *log;
    struct peer_hello hello; /* this node's own; to_member is set per link */
    size_t queue_bytes_max;  /* per link, 64 MiB */
    uint32_t backoff_min_ms; /* 100 */
    uint32_t backoff_max_ms; /* 2000 */
    /* The store cannot go on with this peer (other cluster, other Q, duplicate identity): for the log and
     * the status page. May be NULL. */
    void (*refused)(void *host, uint32_t member, const char *why);
    void *host;
};

struct rpc_peers;

enum err rpc_peers_start(const struct rpc_peers_options *options, struct rpc_peers **ret_peers,
                         char *why, size_t why_size) MUST_USE;
int rpc_peers_port(const struct rpc_peers *peers);
/* Opens links to every other member of the topology; again after a change of topology. */
void rpc_peers_connect(struct rpc_peers *peers, const struct topology *topology);
/* runtime_options.deliver_remote: a list linked by `next`; consumed. Any registered thread. */
void rpc_peers_deliver(struct rpc_peers *peers, struct message *list);
void rpc_peers_drain(struct rpc_peers *peers, uint32_t grace_ms);
void rpc_peers_free(struct rpc_peers *peers);

struct rpc_peer_figures {
    uint32_t member;
    bool connected;
    uint64_t messages_sent;
    uint64_t messages_received;
    uint64_t messages_dropped; /* link down or queue full */
    uint64_t frames_sent;
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t queue_bytes;
    uint64_t reconnects;
};
size_t rpc_peers_figures(struct rpc_peers *peers, struct rpc_peer_figures *ret, size_t max);

#endif
