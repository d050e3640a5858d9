/* peers.h -- the peer port and the links to all peers.
 *
 * This node opens one bidi stream to each peer (its sending direction) and serves one from each
 * peer. What queued up during the last send is the next frame. A link that is down drops what it is
 * given (counted; the protocols above live with loss) and reconnects with jittered back-off; the
 * gossip actor and the coordinators are told by peer_link messages. Queues are bounded in bytes.
 *
 * Who calls and is no member by the newest document of this node is told so: a number that was
 * never given may be one that this node has not heard of yet (UNKNOWN: it comes again), any other
 * one has been removed (REMOVED: its process ends, model/identity.h).
 *
 * A member's own word for its address, in its hello, goes before the topology's until that changes.
 *
 * Owns:     per peer one channel, one queue of frames (queue_bytes_max), one call; at most
 *           PEER_STREAMS_MAX calls from peers.
 * Receives: any message for another node (rpc_peers_deliver); hostile bytes on its port.
 *           Every ten seconds it raises the generation in this node's directory, once some peer has
 *           accepted this life, and tells all that have (boot_raise_generation).
 * Sends:    whatever peers sent to actors of this node; peer_link to the gossip actor, from
 * ACTOR_RUNTIME. Time:     looks after its links once a second on the loop's first thread (stalled
 * sends, silent handshakes, retries). Order:    runtime and loop run from before rpc_peers_start
 * until after rpc_peers_drain; rpc_peers_deliver may be called until rpc_peers_free, which comes
 * after runtime_stop.
 */
#ifndef RPC_PEERS_H
#define RPC_PEERS_H

#include "actors/incarnation.h"
#include "rpc/loop.h"
#include "rpc/peer_codec.h"

#define PEER_STREAMS_MAX 256u

struct rpc_peers_options {
    const char *address; /* host:port to listen on; port 0 = any free one */
    struct rpc_loop *loop;
    struct runtime *runtime;
    const struct log *log;
    struct peer_hello hello; /* this node's own; to_member is set per link */
    size_t queue_bytes_max;  /* per link, 64 MiB */
    uint32_t backoff_min_ms; /* 100 */
    uint32_t backoff_max_ms; /* 2000 */
    uint32_t refused_ms;     /* until a refused link is tried again; 0 = 5000 */
    uint32_t raise_ms;       /* between two raises of the own generation; 0 = 10000 */
    uint32_t stall_ms;       /* a send or handshake without progress ends its stream; 0 = 10000 */
    /* The store cannot go on with this peer (other cluster, other Q, duplicate identity): for the
     * log and the status page. May be NULL. */
    void (*refused)(void *host, uint32_t member, const char *why);
    /* A peer says that this process must not go on as it is: RENEW or STOP. Once, on a loop thread;
     * the host ends this life (no link is to be used any more). May be NULL. */
    void (*told)(void *host, uint32_t member, const struct incarnation_answer *answer);
    /* Where the rows of the other members are kept, this port's own handle; rpc_peers_committed
     * tells how far it is durable. NULL: they are forgotten at the end. */
    struct store *meta;
    void *host;
};

struct rpc_peers;

enum err rpc_peers_start(const struct rpc_peers_options *options, struct rpc_peers **ret_peers,
                         char *why, size_t why_size) MUST_USE;
int rpc_peers_port(const struct rpc_peers *peers);
/* Opens links to every other member of the topology and closes those to members that were removed;
 * again after each change of it, before anything is sent to the new members. A document older than
 * the one before is ignored. Peers that call before the first time wait. Any thread. */
void rpc_peers_connect(struct rpc_peers *peers, const struct topology *topology);
/* The log is durable up to here for the handle `meta`. Any thread, until rpc_peers_free. */
void rpc_peers_committed(struct rpc_peers *peers, uint64_t sequence);
/* Every link has come up or failed once: what is said of the peers is known, not assumed. */
bool rpc_peers_settled(struct rpc_peers *peers);
/* runtime_options.deliver_remote: a list linked by `next`; consumed. Any registered thread. In
 * order per peer and calling thread, nothing twice. While a link is being opened messages wait for
 * it, for half a second and a tick of the loop at most. What was never sent is dropped, counted and
 * answered (message_new_undelivered); what was given to gRPC when a link broke is only dropped. */
void rpc_peers_deliver(struct rpc_peers *peers, struct message *list);
/* Gives queued frames up to grace_ms to leave, then ends all streams and waits until they are gone.
 */
void rpc_peers_drain(struct rpc_peers *peers, uint32_t grace_ms);
/* Drains first when that was not done. NULL is fine. */
void rpc_peers_free(struct rpc_peers *peers);

struct rpc_peer_figures {
    uint32_t member;
    bool connected; /* our stream to it: what we send arrives */
    bool serving;   /* its stream to us */
    uint64_t messages_sent;
    uint64_t messages_received;
    uint64_t messages_dropped; /* link down, queue full, or too large for the wire */
    uint64_t frames_sent;
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t queue_bytes;
    uint64_t reconnects; /* times that the link came up, but for the first */
};
/* Up to `max`, ordered by member; gives how many there are. */
size_t rpc_peers_figures(struct rpc_peers *peers, struct rpc_peer_figures *ret, size_t max);

struct rpc_peers_totals {
    uint64_t streams;                     /* from peers, now */
    uint64_t accepted;                    /* from peers, ever */
    uint64_t refused;                     /* handshakes that said no, either direction */
    uint64_t malformed;                   /* streams ended for what was in them */
    uint64_t raises;                      /* of the generation, told to the peers */
    uint64_t verdicts[IDENTITY_VERDICTS]; /* of hellos, either direction */
};
void rpc_peers_totals(struct rpc_peers *peers, struct rpc_peers_totals *ret);

#endif
