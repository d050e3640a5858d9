/* node.h -- one node put together: store, actors, threads, ports. The daemon is this and a main().
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "actors/anti_entropy.h"
#include "actors/coordinator.h"
#include "actors/gossip.h"
#include "actors/hinted_handoff.h"
#include "actors/replica.h"
#include "node/config.h"
#include "node/join.h"
#include "rpc/peers.h"
#include "rpc/server.h"
#include "store/engine.h"

#include <pthread.h>

#define NODE_ACTORS_MAX 16u

/* What the process ends with when the disk has failed it: as sysexits.h calls it. */
#define EXIT_DISK_FAILED 74

/* Sent to the process when node_end has become something else than NODE_GOES_ON. */
#define NODE_END_SIGNAL SIGUSR1

enum node_end {
    NODE_GOES_ON,
    NODE_RENEWS, /* a peer knows better who this member is: stop, start again with `renewal` */
    NODE_IS_DUPLICATE, /* another process of this member runs: stop for good */
    NODE_WAS_REMOVED,  /* it has left the cluster, or was taken out: stop for good */
};

struct http;

struct node {
    const struct config *config;
    struct log log;
    struct arena arena;                 /* topology and keyspaces of the start */
    const struct topology_seed *listed; /* --initial-cluster, in the arena */
    size_t listed_count;
    struct topology topology; /* of the start; that of now is in the view */
    uint32_t self;
    bool joined;              /* it came by --join: its place is not in a list of its own */
    struct bytes cluster_key; /* of its file, in the arena; wiped when the ports are open */
    struct boot boot;
    uint64_t started_ns;
    uint64_t epoch_seen; /* of the view before; the thread that publishes views alone */

    struct engine *engine;
    struct runtime *runtime;
    struct rpc_loop *loop;
    struct rpc_server *server;
    struct rpc_peers *peers;
    struct http *http;
    struct join_watch join_watch;

    uint32_t coordinator_count;
    uint32_t replica_count;
    uint32_t grpc_thread_count; /* coordinator i is stepped by gRPC thread i, when there is one */
    struct coordinator *coordinators[NODE_ACTORS_MAX];
    struct replica *replicas[NODE_ACTORS_MAX];
    struct gossip *gossip;
    struct hinted_handoff *hinted_handoff;
    struct anti_entropy *anti_entropy;

    /* The syncer posts to actors; stopping ends that before the runtime stops. */
    pthread_mutex_t post_lock;
    bool posting;
    enum node_end end;             /* under post_lock */
    char judge[NODE_NAME_MAX + 1]; /* the member that says so; empty: this node's own document */
    struct incarnation_answer renewal;
};

/* Starts everything; the node serves when it returns OK. On an error `why` says what to do, and
 * what was started has been stopped again. INVALID: the settings by themselves are wrong, and
 * nothing was made or opened; whatever else cannot be (the directory is another member's, a port is
 * taken) has other errors; CLOSED: a signal ended it before it had joined. node->end tells of a
 * directory whose member was removed. `renewal` is what a peer
 * has said to the life before this one, else NULL: then the directory becomes a new incarnation
 * first (actors/boot.h). */
enum err node_start(struct node *node, const struct config *config, const struct log *log,
                    const struct incarnation_answer *renewal, char *why, size_t why_size) MUST_USE;
enum node_end node_end(struct node *node);
/* What this node alone knows to be wrong with it; `host` is the node. Any thread. */
struct own_troubles node_own_troubles(void *host);
/* As the view has it now; "#7" when it does not list the member. Any registered thread. */
void node_member_name(struct node *node, uint32_t member, char ret_name[NODE_NAME_MAX + 1]);
/* Drains, makes durable, marks the stop as clean, frees. False: the stop could not be marked clean
 * (the next start takes fresh key epochs, nothing is lost). */
bool node_stop(struct node *node);

#endif
