/* server.h -- the client port: KeyValue, Cluster, Maintenance, health, reflection.
 *
 * Turns calls into messages for the coordinators (round robin) and the gossip actor, and their
 * answers into replies with google.rpc details. Reads (status, nodes, ring, keyspaces) are answered
 * from the view at once. Admission: at most requests_max in flight over all calls; beyond that a
 * call is accepted and answered RESOURCE_EXHAUSTED with RetryInfo at once, so nothing queues
 * without a bound.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include "actors/anti_entropy.h"
#include "actors/hinted_handoff.h"
#include "rpc/code.h"
#include "rpc/context.h"
#include "rpc/loop.h"
#include "rpc/problems.h"

enum rpc_operation {
    RPC_GET,
    RPC_PUT,
    RPC_DELETE,
    RPC_COMPARE_AND_SET,
    RPC_BATCH_GET,
    RPC_BATCH_WRITE,
    RPC_CLUSTER,
    RPC_NULL,
    RPC_OPERATION_COUNT
};

#define RPC_LATENCY_BUCKETS 28u /* bucket i: up to 2^i * 16 us; the last is +Inf */

struct rpc_operation_figures {
    uint64_t requests;
    uint64_t errors[RPC_CODES]; /* by gRPC status code; [0] is successes */
    uint64_t latency[RPC_LATENCY_BUCKETS];
    uint64_t latency_ns_total;
};

struct rpc_server_options {
    const char *address; /* host:port; port 0 = any free one */
    struct rpc_loop *loop;
    struct runtime *runtime;
    const struct log *log;
    uint32_t requests_max;    /* in flight; 4096 */
    uint32_t value_bytes_max; /* VALUE_BYTES_MAX_DEFAULT..VALUE_BYTES_MAX_CEILING */
    const char *node_name;
    const char *version;
    struct context_keys context_keys; /* the same on all nodes of a cluster */
    /* Any thread. NULL: there are none. */
    struct own_troubles (*own_troubles)(void *host);
    bool closed_at_first; /* requests for data are UNAVAILABLE until the node is set to serve */
    /* What Hints answers from; any thread. NULL: nothing is kept. */
    size_t (*hint_targets)(void *host, struct hint_target_figures *ret, size_t max);
    /* What Status says of convergence; any thread. NULL: nothing is compared. */
    const struct anti_entropy *anti_entropy;
    /* What a plan reckons with where a change has no pace of its own. */
    uint64_t move_bytes_per_second;
    void *host;
};

struct rpc_server;

/* IO with a sentence in `why` (address in use, ...). */
enum err rpc_server_start(const struct rpc_server_options *options, struct rpc_server **ret_server,
                          char *why, size_t why_size) MUST_USE;
int rpc_server_port(const struct rpc_server *server);
/* Health: what Check and Watch say for "" and the services. Starts as not serving. */
void rpc_server_set_serving(struct rpc_server *server, bool serving);
/* Answers to clients, a list linked by `next`; consumed. Any registered thread
 * (runtime_options.deliver_edge). */
void rpc_server_deliver(struct rpc_server *server, struct message *list);
/* Refuses new calls (health says not serving), waits up to grace_ms for running ones, cancels the
 * rest. */
void rpc_server_drain(struct rpc_server *server, uint32_t grace_ms);
void rpc_server_free(struct rpc_server *server);
void rpc_server_figures(const struct rpc_server *server, enum rpc_operation operation,
                        struct rpc_operation_figures *ret);
uint64_t rpc_server_in_flight(const struct rpc_server *server);
uint64_t rpc_server_refused(const struct rpc_server *server);

#endif
