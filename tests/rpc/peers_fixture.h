/* peers_fixture.h -- nodes of three small actors behind real peer ports, for the tests of the peer
 * port. */
#ifndef TESTS_RPC_PEERS_FIXTURE_H
#define TESTS_RPC_PEERS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/peers.h"
#include "store/engine.h"
#include "tests/rpc/free_port.h"

#include <arpa/inet.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NODES_MAX    3u
#define MEMBER_SLOTS 8u
#define PARTITIONS   64u
#define NOWHERE      1 /* this port and the two above it: nobody listens */
#define WAIT_MS      60000
#define BOUND        77000u
#define NS_PER_MS    UINT64_C(1000000)

/* -- a node: a coordinator that counts answers, a replica that gives them, a gossip that sees links
 * ------ */

struct node {
    uint32_t member;
    int port;
    struct runtime *runtime;
    struct rpc_loop *loop;
    struct rpc_peers *peers;
    struct actor coordinator;
    struct actor replica;
    struct actor gossip;
    _Atomic uint64_t answers;
    _Atomic uint64_t undelivered; /* of the answers: UNAVAILABLE */
    _Atomic uint64_t disorder;
    _Atomic uint64_t requests;
    uint64_t next_answer[MEMBER_SLOTS];  /* coordinator's */
    uint64_t next_request[MEMBER_SLOTS]; /* replica's */
    _Atomic bool up[MEMBER_SLOTS];
    _Atomic uint32_t ups[MEMBER_SLOTS];
    _Atomic uint32_t downs[MEMBER_SLOTS];
    _Atomic uint64_t epoch_heard[MEMBER_SLOTS]; /* of hellos that know a newer document */
    pthread_mutex_t lock;
    char refusal[256];
    struct incarnation_answer told;
};

struct node_options {
    uint32_t member;
    int port;
    uint8_t identity; /* 0: as the member */
    uint8_t superseded;
    uint64_t generation; /* 0: 1 */
    uint64_t nonce;
    struct store *meta;
    uint8_t cluster;
    uint32_t protocol;
    uint32_t partitions;
    size_t queue_bytes_max;
    uint32_t stall_ms;
    uint32_t backoff_ms;
    uint32_t raise_ms;
    bool says_address; /* 127.0.0.1 and its port */
};

static inline void coordinator_handle(struct actor *actor, struct actor_context *ctx,
                                      struct message *message)
{
    (void)ctx;
    struct node *node = CONTAINER_OF(actor, struct node, coordinator);
    if (message->id != node->next_answer[message->from.node]++)
        atomic_fetch_add(&node->disorder, 1);
    if (message->kind == MESSAGE_replica_read_reply &&
        message->replica_read_reply.status == ERR_UNAVAILABLE)
        atomic_fetch_add(&node->undelivered, 1);
    atomic_fetch_add(&node->answers, 1);
    message_free(message);
}

static inline void replica_handle(struct actor *actor, struct actor_context *ctx,
                                  struct message *message)
{
    struct node *node = CONTAINER_OF(actor, struct node, replica);
    if (message->id != node->next_request[message->from.node]++)
        atomic_fetch_add(&node->disorder, 1);
    atomic_fetch_add(&node->requests, 1);
    if (message->kind == MESSAGE_replica_read) {
        struct message *reply = message_new_reply(message, MESSAGE_replica_read_reply, 0);
        outbox_send(ctx, actor, reply);
    }
    message_free(message);
}

static inline void gossip_handle(struct actor *actor, struct actor_context *ctx,
                                 struct message *message)
{
    (void)ctx;
    struct node *node = CONTAINER_OF(actor, struct node, gossip);
    if (message->kind == MESSAGE_peer_link && message->peer_link.member < MEMBER_SLOTS) {
        uint32_t member = message->peer_link.member;
        atomic_fetch_add(message->peer_link.up ? &node->ups[member] : &node->downs[member], 1);
        atomic_store(&node->up[member], message->peer_link.up);
    }
    if (message->kind == MESSAGE_topology_behind && message->topology_behind.member < MEMBER_SLOTS)
        atomic_store(&node->epoch_heard[message->topology_behind.member],
                     message->topology_behind.epoch);
    message_free(message);
}

static const struct actor_class coordinator_class = {"coordinator", coordinator_handle, NULL, NULL,
                                                     NULL};
static const struct actor_class replica_class = {"replica", replica_handle, NULL, NULL, NULL};
static const struct actor_class gossip_class = {"gossip", gossip_handle, NULL, NULL, NULL};

static inline void deliver_remote(void *host, struct message *list)
{
    rpc_peers_deliver(((struct node *)host)->peers, list);
}

static inline void refused(void *host, uint32_t member, const char *why)
{
    (void)member;
    struct node *node = host;
    pthread_mutex_lock(&node->lock);
    snprintf(node->refusal, sizeof node->refusal, "%s", why);
    pthread_mutex_unlock(&node->lock);
}

static inline void told(void *host, uint32_t member, const struct incarnation_answer *answer)
{
    (void)member;
    struct node *node = host;
    pthread_mutex_lock(&node->lock);
    node->told = *answer;
    pthread_mutex_unlock(&node->lock);
}

static inline struct incarnation_answer told_of(struct node *node)
{
    pthread_mutex_lock(&node->lock);
    struct incarnation_answer answer = node->told;
    pthread_mutex_unlock(&node->lock);
    return answer;
}

static inline bool refused_with(struct node *node, const char *part)
{
    pthread_mutex_lock(&node->lock);
    bool found = strstr(node->refusal, part) != NULL;
    pthread_mutex_unlock(&node->lock);
    return found;
}

/* Three members a, b, c at these ports of 127.0.0.1 (or of `host`). */
static inline struct topology topology_at(struct arena *arena, const char *host, const int *ports)
{
    struct topology_seed seeds[NODES_MAX];
    memset(seeds, 0, sizeof seeds);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "%c", (int)('a' + i));
        int port = ports[i] == NOWHERE ? NOWHERE + (int)i : ports[i];
        snprintf(seeds[i].address, sizeof seeds[i].address, "%s:%d", host, port);
        seeds[i].weight = 1;
    }
    struct topology topology;
    const char *why = "";
    CHECK(topology_initial(arena, seeds, NODES_MAX, PARTITIONS, &topology, &why) == OK);
    return topology;
}

static inline struct view *placeholder_view(uint32_t self)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology = topology_at(&arena, "127.0.0.1", (const int[]){1, 2, 3});
    struct keyspace keyspace = keyspace_builtin();
    struct keyspace_map map = {.count = 1, .keyspaces = &keyspace};
    struct view *view = view_new(&topology, &map, self);
    arena_deinit(&arena);
    return view;
}

static inline struct peer_hello hello_of(const struct node_options *options)
{
    struct peer_hello hello = {
        .protocol_min = options->protocol == 0 ? PEER_PROTOCOL_VERSION : options->protocol,
        .protocol_max = options->protocol == 0 ? PEER_PROTOCOL_VERSION : options->protocol,
        .partitions = options->partitions == 0 ? PARTITIONS : options->partitions,
        .epoch = 1,
        .member = options->member,
        .name = "node",
    };
    if (options->says_address)
        snprintf(hello.address, sizeof hello.address, "127.0.0.1:%d", options->port);
    memset(hello.cluster_id, 0xc0 + options->cluster, sizeof hello.cluster_id);
    struct identity_hello identity = {
        .self = {.generation = options->generation == 0 ? 1 : options->generation,
                 .start_nonce = options->nonce == 0 ? options->identity : options->nonce}};
    memset(identity.self.node_id.bytes,
           options->identity == 0 ? (int)options->member : options->identity, NODE_ID_BYTES);
    if (options->superseded != 0)
        memset(identity.superseded[identity.superseded_count++].bytes, options->superseded,
               NODE_ID_BYTES);
    peer_hello_say_identity(&hello, &identity, BOUND);
    return hello;
}

static inline struct node *node_start(const struct node_options *options)
{
    struct node *node = calloc(1, sizeof *node);
    CHECK(node != NULL);
    uint32_t self = options->member;
    node->member = self;
    CHECK(pthread_mutex_init(&node->lock, NULL) == 0);
    struct runtime_options runtime_options = {.self = self,
                                              .mailbox_messages_max = 65536,
                                              .seed = 1,
                                              .deliver_remote = deliver_remote,
                                              .host = node};
    node->runtime = runtime_new(&runtime_options, placeholder_view(1));
    actor_init(&node->coordinator, &coordinator_class,
               (struct actor_id){self, ACTOR_COORDINATOR, 0});
    actor_init(&node->replica, &replica_class, (struct actor_id){self, ACTOR_REPLICA, 0});
    actor_init(&node->gossip, &gossip_class, (struct actor_id){self, ACTOR_GOSSIP, 0});
    runtime_add_actor(node->runtime, &node->coordinator, NULL, "coordinator");
    runtime_add_actor(node->runtime, &node->replica, NULL, "replica");
    runtime_add_actor(node->runtime, &node->gossip, NULL, "gossip");
    runtime_start(node->runtime);
    node->loop = rpc_loop_new(1, node->runtime);
    rpc_loop_start(node->loop);
    char address[64];
    char why[256] = "";
    snprintf(address, sizeof address, "127.0.0.1:%d",
             options->port == 0 ? free_port() : options->port);
    struct rpc_peers_options peers_options = {
        .address = address,
        .loop = node->loop,
        .runtime = node->runtime,
        .hello = hello_of(options),
        .queue_bytes_max =
            options->queue_bytes_max == 0 ? 64u * 1024 * 1024 : options->queue_bytes_max,
        .backoff_min_ms = options->backoff_ms == 0 ? 50 : options->backoff_ms,
        .backoff_max_ms = options->backoff_ms == 0 ? 300 : options->backoff_ms,
        .refused_ms = 500,
        .stall_ms = options->stall_ms,
        .raise_ms = options->raise_ms,
        .refused = refused,
        .told = told,
        .meta = options->meta,
        .host = node,
    };
    if (rpc_peers_start(&peers_options, &node->peers, why, sizeof why) != OK)
        fail_msg("%s", why);
    node->port = rpc_peers_port(node->peers);
    return node;
}

static inline struct node *node_start_plain(uint32_t member)
{
    return node_start(&(struct node_options){.member = member});
}

static inline void node_stop(struct node *node, uint32_t grace_ms)
{
    rpc_peers_drain(node->peers, grace_ms);
    runtime_stop(node->runtime);
    rpc_peers_free(node->peers);
    rpc_loop_free(node->loop);
    runtime_free(node->runtime);
    pthread_mutex_destroy(&node->lock);
    free(node);
}

static inline void node_connect_host(struct node *node, const char *host, const int *ports)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology = topology_at(&arena, host, ports);
    rpc_peers_connect(node->peers, &topology);
    arena_deinit(&arena);
}

static inline void node_connect(struct node *node, int a, int b, int c)
{
    node_connect_host(node, "127.0.0.1", (const int[]){a, b, c});
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        uint64_t until_ns = runtime_now_ns() + WAIT_MS * NS_PER_MS;                                \
        while (!(condition)) {                                                                     \
            if (runtime_now_ns() > until_ns)                                                       \
                fail_msg("waited in vain for: %s", #condition);                                    \
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);                                \
        }                                                                                          \
    } while (0)

static inline struct rpc_peer_figures figures_of(struct node *node, uint32_t member)
{
    struct rpc_peer_figures figures[MEMBERS_MAX];
    size_t count = rpc_peers_figures(node->peers, figures, MEMBERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (figures[i].member == member)
            return figures[i];
    return (struct rpc_peer_figures){0};
}

static inline struct rpc_peers_totals totals_of(struct node *node)
{
    struct rpc_peers_totals totals;
    rpc_peers_totals(node->peers, &totals);
    return totals;
}

/* Both ways: what a sends arrives, and so do the answers. */
static inline bool linked(struct node *a, struct node *b)
{
    struct rpc_peer_figures there = figures_of(a, b->member);
    struct rpc_peer_figures back = figures_of(b, a->member);
    return there.connected && there.serving && back.connected && back.serving &&
           atomic_load(&a->up[b->member]) && atomic_load(&b->up[a->member]);
}

/* `count` requests from a's coordinator to b's replica, with ids from `first`, as one batch. */
static inline void ask(struct node *a, uint32_t to, uint64_t first, uint32_t count,
                       uint32_t key_bytes)
{
    static uint8_t key[KEY_BYTES_MAX] = {'k'};
    struct message *list = NULL;
    for (uint32_t i = count; i-- > 0;) {
        struct message *message = message_new(MESSAGE_replica_read, 0);
        message->id = first + i;
        message->epoch = 1;
        message->from = (struct actor_id){a->member, ACTOR_COORDINATOR, 0};
        message->to = (struct actor_id){to, ACTOR_REPLICA, 0};
        message->deadline_ns = runtime_now_ns() + 5000 * NS_PER_MS;
        message->replica_read.partition = 5;
        message->replica_read.key = bytes_of(key, key_bytes);
        message->next = list;
        list = message;
    }
    rpc_peers_deliver(a->peers, list);
}

static inline int group_setup(void **state)
{
    (void)state;
    /* c-ares 1.18 leaks the name of every look-up that /etc/hosts answers. */
    setenv("GRPC_DNS_RESOLVER", "native", 0);
    rpc_library_init(NULL);
    runtime_thread_register();
    return 0;
}

static inline int group_teardown(void **state)
{
    (void)state;
    runtime_thread_unregister();
    rpc_library_shutdown();
    return 0;
}

#endif
