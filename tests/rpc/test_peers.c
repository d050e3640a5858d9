// link: coterie_rpc coterie_store
/* Peers talk over one stream each way: in order, many messages a frame, bounded, refused with a
 * sentence when they should not talk, and everything is freed in whatever state it is (DESIGN.md 9,
 * 10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/peers.h"
#include "store/engine.h"

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
#define WAIT_MS      30000
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
    bool says_address; /* 127.0.0.1 and its port */
};

static void coordinator_handle(struct actor *actor, struct actor_context *ctx,
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

static void replica_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
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

static void gossip_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    (void)ctx;
    struct node *node = CONTAINER_OF(actor, struct node, gossip);
    if (message->kind == MESSAGE_peer_link && message->peer_link.member < MEMBER_SLOTS) {
        uint32_t member = message->peer_link.member;
        atomic_fetch_add(message->peer_link.up ? &node->ups[member] : &node->downs[member], 1);
        atomic_store(&node->up[member], message->peer_link.up);
    }
    message_free(message);
}

static const struct actor_class coordinator_class = {"coordinator", coordinator_handle, NULL, NULL,
                                                     NULL};
static const struct actor_class replica_class = {"replica", replica_handle, NULL, NULL, NULL};
static const struct actor_class gossip_class = {"gossip", gossip_handle, NULL, NULL, NULL};

static void deliver_remote(void *host, struct message *list)
{
    rpc_peers_deliver(((struct node *)host)->peers, list);
}

static void refused(void *host, uint32_t member, const char *why)
{
    (void)member;
    struct node *node = host;
    pthread_mutex_lock(&node->lock);
    snprintf(node->refusal, sizeof node->refusal, "%s", why);
    pthread_mutex_unlock(&node->lock);
}

static void told(void *host, uint32_t member, const struct incarnation_answer *answer)
{
    (void)member;
    struct node *node = host;
    pthread_mutex_lock(&node->lock);
    node->told = *answer;
    pthread_mutex_unlock(&node->lock);
}

static struct incarnation_answer told_of(struct node *node)
{
    pthread_mutex_lock(&node->lock);
    struct incarnation_answer answer = node->told;
    pthread_mutex_unlock(&node->lock);
    return answer;
}

static bool refused_with(struct node *node, const char *part)
{
    pthread_mutex_lock(&node->lock);
    bool found = strstr(node->refusal, part) != NULL;
    pthread_mutex_unlock(&node->lock);
    return found;
}

/* Three members a, b, c at these ports of 127.0.0.1 (or of `host`). */
static struct topology topology_at(struct arena *arena, const char *host, const int *ports)
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

static struct view *placeholder_view(uint32_t self)
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

static struct peer_hello hello_of(const struct node_options *options)
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

static struct node *node_start(const struct node_options *options)
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
    snprintf(address, sizeof address, "127.0.0.1:%d", options->port);
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

static struct node *node_start_plain(uint32_t member)
{
    return node_start(&(struct node_options){.member = member});
}

static void node_stop(struct node *node, uint32_t grace_ms)
{
    rpc_peers_drain(node->peers, grace_ms);
    runtime_stop(node->runtime);
    rpc_peers_free(node->peers);
    rpc_loop_free(node->loop);
    runtime_free(node->runtime);
    pthread_mutex_destroy(&node->lock);
    free(node);
}

static void node_connect_host(struct node *node, const char *host, const int *ports)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology = topology_at(&arena, host, ports);
    rpc_peers_connect(node->peers, &topology);
    arena_deinit(&arena);
}

static void node_connect(struct node *node, int a, int b, int c)
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

static struct rpc_peer_figures figures_of(struct node *node, uint32_t member)
{
    struct rpc_peer_figures figures[MEMBERS_MAX];
    size_t count = rpc_peers_figures(node->peers, figures, MEMBERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (figures[i].member == member)
            return figures[i];
    return (struct rpc_peer_figures){0};
}

static struct rpc_peers_totals totals_of(struct node *node)
{
    struct rpc_peers_totals totals;
    rpc_peers_totals(node->peers, &totals);
    return totals;
}

/* Both ways: what a sends arrives, and so do the answers. */
static bool linked(struct node *a, struct node *b)
{
    struct rpc_peer_figures there = figures_of(a, b->member);
    struct rpc_peer_figures back = figures_of(b, a->member);
    return there.connected && there.serving && back.connected && back.serving &&
           atomic_load(&a->up[b->member]) && atomic_load(&b->up[a->member]);
}

/* `count` requests from a's coordinator to b's replica, with ids from `first`, as one batch. */
static void ask(struct node *a, uint32_t to, uint64_t first, uint32_t count, uint32_t key_bytes)
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

/* -- tests
 * ------------------------------------------------------------------------------------------------
 */

static void test_three_nodes_talk_in_order(void **state)
{
    (void)state;
    struct node *nodes[NODES_MAX];
    for (uint32_t i = 0; i < NODES_MAX; i++)
        nodes[i] = node_start_plain(i + 1);
    for (uint32_t i = 0; i < NODES_MAX; i++)
        node_connect(nodes[i], nodes[0]->port, nodes[1]->port, nodes[2]->port);
    for (uint32_t i = 0; i < NODES_MAX; i++)
        for (uint32_t j = 0; j < i; j++)
            WAIT_FOR(linked(nodes[i], nodes[j]));
    const uint32_t rounds = 200;
    const uint32_t batch = 20;
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < NODES_MAX; i++)
            for (uint32_t j = 0; j < NODES_MAX; j++)
                if (i != j)
                    ask(nodes[i], nodes[j]->member, round * batch, batch, 16);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        WAIT_FOR(atomic_load(&nodes[i]->answers) == (NODES_MAX - 1) * rounds * batch);
        WAIT_FOR(atomic_load(&nodes[i]->requests) == (NODES_MAX - 1) * rounds * batch);
        assert_int_equal(atomic_load(&nodes[i]->disorder), 0);
        assert_int_equal(atomic_load(&nodes[i]->ups[1 + (i + 1) % NODES_MAX]), 1);
    }
    /* The sender counts when gRPC says that the frame has left, which may be after the answer. */
    WAIT_FOR(figures_of(nodes[0], 2).messages_sent == 2 * rounds * batch);
    struct rpc_peer_figures figures = figures_of(nodes[0], 2);
    assert_int_equal(figures.messages_received, 2 * rounds * batch);
    assert_int_equal(figures.messages_dropped, 0);
    assert_int_equal(figures.queue_bytes, 0);
    assert_int_equal(figures.reconnects, 0);
    for (uint32_t i = 0; i < NODES_MAX; i++)
        node_stop(nodes[i], 100);
}

/* DESIGN.md 12: what queued up during the last send is the next frame. */
static void test_frames_carry_many_messages(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    const uint64_t count = 100000;
    const uint32_t batch = 50;
    uint64_t start_ns = runtime_now_ns();
    for (uint64_t sent = 0; sent < count; sent += batch) {
        ask(a, 2, sent, batch, 100);
        if (sent > atomic_load(&a->answers) + 30000) /* keeps the mailboxes from overflowing */
            WAIT_FOR(sent < atomic_load(&a->answers) + 20000);
    }
    WAIT_FOR(atomic_load(&a->answers) == count);
    double seconds = (double)(runtime_now_ns() - start_ns) / 1e9;
    assert_int_equal(atomic_load(&a->disorder) + atomic_load(&b->disorder), 0);
    WAIT_FOR(figures_of(a, 2).messages_sent == count);
    struct rpc_peer_figures there = figures_of(a, 2);
    struct rpc_peer_figures back = figures_of(b, 1);
    print_message("%.0f requests/s and as many answers/s; %.0f messages a frame there, %.0f back\n",
                  (double)count / seconds, (double)count / (double)there.frames_sent,
                  (double)count / (double)back.frames_sent);
    assert_true(there.frames_sent * 5 < count);
    assert_true(back.frames_sent * 5 < count);
    assert_int_equal(there.messages_dropped, 0);
    node_stop(a, 100);
    node_stop(b, 100);
}

static void test_large_messages_take_frames_of_their_own(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect_host(a, "localhost", (const int[]){a->port, b->port, NOWHERE});
    node_connect_host(b, "localhost", (const int[]){a->port, b->port, NOWHERE});
    WAIT_FOR(linked(a, b));
    uint8_t *value = calloc(1, GRPC_MESSAGE_BYTES_MAX);
    CHECK(value != NULL);
    for (uint64_t id = 0; id < 12; id++) {
        struct message *message = message_new(MESSAGE_replica_write, 0);
        message->id = id;
        message->from = (struct actor_id){1, ACTOR_COORDINATOR, 0};
        message->to = (struct actor_id){2, ACTOR_REPLICA, 0};
        message->replica_write.key = bytes_of_string("key");
        message->replica_write.record = bytes_of(value, 3 * 1024 * 1024);
        rpc_peers_deliver(a->peers, message);
    }
    /* One that no frame can carry is counted, not sent. */
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->from = (struct actor_id){1, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){2, ACTOR_REPLICA, 0};
    message->replica_write.key = bytes_of_string("key");
    message->replica_write.record = bytes_of(value, GRPC_MESSAGE_BYTES_MAX);
    rpc_peers_deliver(a->peers, message);
    WAIT_FOR(atomic_load(&b->requests) == 12);
    assert_int_equal(atomic_load(&b->disorder), 0);
    assert_int_equal(figures_of(a, 2).messages_dropped, 1);
    assert_true(figures_of(a, 2).connected);
    free(value);
    node_stop(a, 100);
    node_stop(b, 100);
}

static void test_a_peer_dies_and_comes_back(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    int port = b->port;
    node_connect(a, a->port, port, NOWHERE);
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    for (uint32_t round = 1; round <= 3; round++) {
        node_stop(b, 0);
        WAIT_FOR(atomic_load(&a->downs[2]) == round);
        WAIT_FOR(!figures_of(a, 2).connected && !figures_of(a, 2).serving);
        uint64_t dropped = figures_of(a, 2).messages_dropped;
        uint64_t undelivered = atomic_load(&a->undelivered);
        ask(a, 2, 0, 7, 16); /* taken for half a second at most, when the link is just opening */
        WAIT_FOR(figures_of(a, 2).messages_dropped == dropped + 7);
        WAIT_FOR(atomic_load(&a->undelivered) == undelivered + 7);
        b = node_start(&(struct node_options){.member = 2, .port = port});
        node_connect(b, a->port, port, NOWHERE);
        WAIT_FOR(linked(a, b));
        assert_int_equal(atomic_load(&a->ups[2]), round + 1);
        assert_int_equal(figures_of(a, 2).reconnects, round);
        uint64_t answers = atomic_load(&a->answers);
        ask(a, 2, 0, 10, 16);
        WAIT_FOR(atomic_load(&a->answers) == answers + 10);
    }
    node_stop(b, 0);
    node_stop(a, 0);
}

/* peers.h: who waits for an answer hears at once that there will be none: of a peer without a link,
 * and of one that is not known. */
static void test_without_a_link_the_answer_is_undelivered(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    assert_true(rpc_peers_settled(a->peers)); /* no peers yet */
    node_connect(a, a->port, NOWHERE, NOWHERE);
    WAIT_FOR(rpc_peers_settled(a->peers));
    uint64_t start_ns = runtime_now_ns();
    ask(a, 2, 0, 7, 16);
    ask(a, 7, 0, 3, 16);
    WAIT_FOR(atomic_load(&a->undelivered) == 10);
    assert_true(runtime_now_ns() - start_ns < 400 * NS_PER_MS);
    assert_int_equal(atomic_load(&a->answers), 10);
    assert_int_equal(atomic_load(&a->disorder), 0); /* each as if from the peer, in order */
    assert_int_equal(figures_of(a, 2).messages_dropped, 7);
    /* Nobody waits for this one. */
    struct message *message = message_new(MESSAGE_replica_read_reply, 0);
    message->from = (struct actor_id){1, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){2, ACTOR_COORDINATOR, 0};
    rpc_peers_deliver(a->peers, message);
    assert_int_equal(figures_of(a, 2).messages_dropped, 8);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    assert_int_equal(atomic_load(&a->answers), 10);
    node_stop(a, 0);
}

/* What is said to a peer whose hello is on its way comes after the handshake, in order. */
static void test_messages_wait_for_the_handshake(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2); /* not connected: calls wait there */
    node_connect(a, a->port, b->port, NOWHERE);
    assert_false(rpc_peers_settled(a->peers));
    ask(a, 2, 0, 5, 16);
    ask(a, 2, 5, 5, 16);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    assert_int_equal(atomic_load(&a->answers) + figures_of(a, 2).messages_dropped, 0);
    assert_true(figures_of(a, 2).queue_bytes > 0);
    assert_false(rpc_peers_settled(a->peers));
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(atomic_load(&a->answers) == 10);
    assert_int_equal(atomic_load(&a->undelivered) + atomic_load(&a->disorder), 0);
    assert_int_equal(atomic_load(&b->requests), 10);
    assert_int_equal(atomic_load(&b->disorder), 0);
    WAIT_FOR(linked(a, b));
    WAIT_FOR(rpc_peers_settled(a->peers) && rpc_peers_settled(b->peers));
    node_stop(b, 0);
    node_stop(a, 0);
}

/* They do not wait for longer than half a second and a tick of the loop, and then they are
 * answered; later ones are not taken. */
static void test_messages_do_not_wait_for_long(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    uint64_t start_ns = runtime_now_ns();
    ask(a, 2, 0, 10, 16);
    WAIT_FOR(figures_of(a, 2).messages_dropped == 10);
    uint64_t took_ns = runtime_now_ns() - start_ns;
    assert_true(took_ns > 490 * NS_PER_MS);
    assert_true(took_ns < 2500 * NS_PER_MS);
    assert_int_equal(figures_of(a, 2).queue_bytes, 0);
    WAIT_FOR(atomic_load(&a->undelivered) == 10);
    ask(a, 2, 10, 5, 16);
    assert_int_equal(figures_of(a, 2).messages_dropped, 15);
    WAIT_FOR(atomic_load(&a->undelivered) == 15);
    assert_int_equal(atomic_load(&a->disorder), 0);
    /* None of them arrives later. */
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    ask(a, 2, 15, 1, 16);
    WAIT_FOR(atomic_load(&a->answers) == 16);
    assert_int_equal(atomic_load(&b->requests), 1);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* A peer that calls is called back at once, however long the back-off: after a short life of the
 * link (which then waits), and after a long one (then gRPC waits). */
static void test_who_calls_is_called_back(void **state)
{
    (void)state;
    const uint32_t backoff_ms = 20000;
    for (int steady = 0; steady < 2; steady++) {
        struct node *a = node_start(&(struct node_options){.member = 1, .backoff_ms = backoff_ms});
        struct node *b = node_start_plain(2);
        int port = b->port;
        node_connect(a, a->port, port, NOWHERE);
        node_connect(b, a->port, port, NOWHERE);
        WAIT_FOR(linked(a, b));
        if (steady != 0)
            nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000}, NULL);
        node_stop(b, 0);
        WAIT_FOR(!figures_of(a, 2).connected && !figures_of(a, 2).serving);
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* into the back-off */
        b = node_start(&(struct node_options){.member = 2, .port = port});
        uint64_t start_ns = runtime_now_ns();
        node_connect(b, a->port, port, NOWHERE);
        WAIT_FOR(figures_of(a, 2).serving);
        ask(b, 1, 0, 1, 16); /* the answer needs the link back */
        WAIT_FOR(atomic_load(&b->answers) == 1);
        assert_int_equal(atomic_load(&b->undelivered), 0);
        assert_true(runtime_now_ns() - start_ns < backoff_ms * NS_PER_MS / 10);
        WAIT_FOR(linked(a, b));
        node_stop(b, 0);
        node_stop(a, 0);
    }
}

/* Node 2 with something wrong calls node 1, which calls back: both say why, nobody is connected. */
static void check_refusal(struct node_options wrong, const char *part)
{
    struct node *a = node_start_plain(1);
    struct node *b = node_start(&wrong);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(totals_of(a).refused >= 2 && totals_of(b).refused >= 2);
    WAIT_FOR(refused_with(a, part));
    WAIT_FOR(refused_with(b, part));
    assert_false(figures_of(a, 2).connected);
    assert_false(figures_of(a, 2).serving);
    assert_int_equal(atomic_load(&a->ups[2]), 0);
    assert_int_equal(totals_of(a).accepted, 0);
    node_stop(a, 0);
    node_stop(b, 0);
}

static void test_refusals(void **state)
{
    (void)state;
    check_refusal((struct node_options){.member = 2, .cluster = 1}, "two different clusters");
    check_refusal((struct node_options){.member = 2, .protocol = 9}, "no version in common");
    check_refusal((struct node_options){.member = 2, .partitions = 128}, "partitions are");
    check_refusal((struct node_options){.member = 2, .identity = 1}, "data directory was copied");
}

static void test_wrong_member_behind_an_address(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *c = node_start_plain(3);
    node_connect(a, a->port, c->port, NOWHERE); /* believes that b is where c is */
    node_connect(c, a->port, NOWHERE, c->port);
    WAIT_FOR(refused_with(a, "meant for member 2, but this is member 3"));
    WAIT_FOR(refused_with(c, "meant for member 2"));
    assert_false(figures_of(a, 2).connected);
    /* c itself is where it says it is. */
    WAIT_FOR(figures_of(c, 1).connected);
    /* A corrected address is used at once. */
    node_connect(a, a->port, NOWHERE, c->port);
    WAIT_FOR(linked(a, c));
    node_stop(a, 0);
    node_stop(c, 0);
}

/* A document of these members; all numbers below `number_next` that are not listed were removed. */
static void node_connect_members(struct node *node, uint64_t epoch, uint32_t number_next,
                                 const uint32_t *numbers, const int *ports, uint32_t count)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology = topology_at(&arena, "127.0.0.1", (const int[]){1, 2, 3});
    struct member *members = ARENA_NEW(&arena, struct member, count);
    for (uint32_t i = 0; i < count; i++) {
        members[i] = topology.members[0];
        members[i].number = numbers[i];
        members[i].slot = (uint8_t)i;
        snprintf(members[i].name, sizeof members[i].name, "m%u", numbers[i]);
        snprintf(members[i].address, sizeof members[i].address, "127.0.0.1:%d", ports[i]);
    }
    topology.epoch = epoch;
    topology.number_next = number_next;
    topology.members = members;
    topology.member_count = count;
    rpc_peers_connect(node->peers, &topology);
    arena_deinit(&arena);
}

/* One that a node has not heard of yet comes again, and is linked when its document has come. */
static void test_a_member_that_is_not_known_yet(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *d = node_start_plain(7);
    node_connect_members(a, 3, 7, (const uint32_t[]){1}, (const int[]){a->port}, 1);
    node_connect_members(d, 4, 8, (const uint32_t[]){1, 7}, (const int[]){a->port, d->port}, 2);
    WAIT_FOR(totals_of(a).verdicts[IDENTITY_UNKNOWN] > 1);
    assert_false(figures_of(d, 1).connected);
    assert_int_equal(told_of(d).action, IDENTITY_PROCEED); /* its life goes on */
    assert_int_equal(totals_of(a).refused + totals_of(d).refused, 0);
    node_connect_members(a, 4, 8, (const uint32_t[]){1, 7}, (const int[]){a->port, d->port}, 2);
    WAIT_FOR(linked(a, d));
    node_stop(d, 0);
    node_stop(a, 0);
}

/* RELIABILITY rule 31: who was removed does not come back; it is told so, and its links end. */
static void test_a_member_that_was_removed(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    const uint32_t both[] = {1, 2};
    const int ports[] = {a->port, b->port};
    node_connect_members(a, 1, 3, both, ports, 2);
    node_connect_members(b, 1, 3, both, ports, 2);
    WAIT_FOR(linked(a, b));
    node_connect_members(a, 5, 3, both, ports, 1);
    WAIT_FOR(told_of(b).action == IDENTITY_STOP);
    assert_int_equal(told_of(b).verdict, IDENTITY_REMOVED);
    assert_false(figures_of(a, 2).connected);
    WAIT_FOR(!figures_of(a, 2).serving);
    WAIT_FOR(refused_with(a, "member 2 was removed from the cluster"));
    /* An older document than the one in force changes nothing. */
    node_connect_members(a, 4, 3, both, ports, 2);
    assert_false(figures_of(a, 2).connected);
    node_stop(b, 0);
    /* Nor is another process of it let in, under whatever id. */
    b = node_start(&(struct node_options){.member = 2, .identity = 9});
    node_connect_members(b, 1, 3, both, (const int[]){a->port, b->port}, 2);
    WAIT_FOR(told_of(b).verdict == IDENTITY_REMOVED);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* Identity is not the address: a member that has moved is reached where it says it is, although the
 * topology still says otherwise, and where the topology says from its next word on. */
static void test_a_member_that_has_moved(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    int port = b->port;
    node_stop(b, 0);
    b = node_start(&(struct node_options){.member = 2, .port = port, .says_address = true});
    const uint32_t both[] = {1, 2};
    node_connect_members(a, 1, 3, both, (const int[]){a->port, NOWHERE}, 2);
    node_connect_members(b, 1, 3, both, (const int[]){a->port, NOWHERE}, 2);
    WAIT_FOR(linked(a, b));
    /* A newer document with the same address changes nothing. */
    node_connect_members(a, 2, 3, both, (const int[]){a->port, NOWHERE}, 2);
    ask(a, 2, 0, 1, 8);
    WAIT_FOR(atomic_load(&a->answers) == 1);
    node_connect_members(a, 3, 3, both, (const int[]){a->port, b->port}, 2);
    WAIT_FOR(linked(a, b));
    node_connect_members(a, 4, 3, both, (const int[]){a->port, NOWHERE + 1}, 2);
    WAIT_FOR(!figures_of(a, 2).connected);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* Numbers are never used again: over time there are more of them than a cluster has members. */
static void test_more_members_over_time_than_at_once(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *z = node_start_plain(6);
    for (uint32_t round = 0; round < 3 * MEMBERS_MAX; round++) {
        const uint32_t numbers[] = {1, 100 + round, 1000 + round};
        const int ports[] = {a->port, NOWHERE, NOWHERE};
        node_connect_members(a, 10 + round, 2000, numbers, ports, 3);
        if (round % 32 == 0)
            WAIT_FOR(rpc_peers_settled(a->peers));
    }
    const uint32_t last[] = {1, 6};
    const int ports[] = {a->port, z->port};
    node_connect_members(z, 5000, 2000, last, ports, 2);
    WAIT_FOR((node_connect_members(a, 5000, 2000, last, ports, 2), linked(a, z)));
    ask(a, 6, 0, 1, 8);
    WAIT_FOR(atomic_load(&a->answers) == 1);
    node_stop(z, 0);
    node_stop(a, 0);
}

static void test_own_number(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    /* A second member 1: it looks for b at a's port. */
    struct node *twin = node_start(&(struct node_options){.member = 1, .identity = 9});
    node_connect(twin, twin->port, a->port, NOWHERE);
    WAIT_FOR(refused_with(a, "both nodes say that they are member 1"));
    WAIT_FOR(refused_with(twin, "both nodes say that they are member 1"));
    node_stop(twin, 0);
    node_stop(a, 0);
}

/* RELIABILITY rule 29: two processes of one member must not run. Whether the first still does is
 * asked of it, on the link that is up. */
static void test_duplicate_identity(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    int port = b->port;
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    struct node *twin = node_start(&(struct node_options){.member = 2, .identity = 9});
    node_connect(twin, a->port, twin->port, NOWHERE);
    WAIT_FOR(refused_with(a, "duplicate identity"));
    WAIT_FOR(refused_with(twin, "duplicate identity"));
    assert_true(linked(a, b));
    assert_false(figures_of(twin, 1).connected);
    WAIT_FOR(told_of(twin).action == IDENTITY_STOP);
    assert_int_equal(told_of(b).action, IDENTITY_PROCEED);
    assert_int_equal(atomic_load(&b->downs[1]), 0); /* it was asked, not disturbed */
    node_stop(twin, 0);
    /* When the first is gone, another id is a directory that was lost, not the member. */
    node_stop(b, 0);
    WAIT_FOR(!figures_of(a, 2).serving);
    twin = node_start(&(struct node_options){.member = 2, .identity = 9, .port = port});
    node_connect(twin, a->port, twin->port, NOWHERE);
    WAIT_FOR(told_of(twin).action == IDENTITY_RENEW);
    assert_int_equal(told_of(twin).verdict, IDENTITY_WIPED);
    assert_int_equal(told_of(twin).known.node_id.bytes[0], 2);
    assert_int_equal(told_of(twin).epoch_bound, BOUND);
    assert_false(figures_of(twin, 1).connected);
    assert_false(figures_of(a, 2).serving);
    node_stop(twin, 0);
    /* As the new incarnation that it has become it is the member. */
    twin = node_start(
        &(struct node_options){.member = 2, .identity = 9, .superseded = 2, .port = port});
    node_connect(twin, a->port, twin->port, NOWHERE);
    WAIT_FOR(linked(a, twin));
    assert_int_equal(told_of(twin).action, IDENTITY_PROCEED);
    node_stop(twin, 0);
    /* And the one that it has replaced is not, any more. */
    b = node_start(&(struct node_options){.member = 2, .port = port, .generation = 9});
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_WIPED && told_of(b).action == IDENTITY_RENEW);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* RELIABILITY rule 30: the same id goes on with a higher generation; the same one again from
 * another process is an older copy. */
static void test_restarted_and_restored(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start(&(struct node_options){.member = 2, .nonce = 5, .generation = 4});
    int port = b->port;
    node_connect(a, a->port, port, NOWHERE);
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    node_stop(b, 0);
    b = node_start(&(struct node_options){.member = 2, .nonce = 6, .generation = 5, .port = port});
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    node_stop(b, 0);
    b = node_start(&(struct node_options){.member = 2, .nonce = 7, .generation = 5, .port = port});
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_RESTORED);
    assert_int_equal(told_of(b).known.generation, 5);
    assert_false(figures_of(b, 1).connected);
    WAIT_FOR(totals_of(a).verdicts[IDENTITY_RESTORED] > 0);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* -- rows on disk: no link before its row is durable, on neither side ---------------------------
 */

#define META_HANDLES 1u

static struct engine *disk_open(struct memory_disk *memory)
{
    struct engine_options options = {.handle_count = META_HANDLES, .partitions = PARTITIONS};
    return engine_memory_open(&options, memory);
}

static void test_rows_are_durable_before_use(void **state)
{
    (void)state;
    struct memory_disk *memory = memory_disk_new();
    struct engine *disk = disk_open(memory);
    struct store *meta = engine_store(disk, 0);
    struct node *a = node_start(&(struct node_options){.member = 1, .meta = meta});
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(totals_of(a).verdicts[IDENTITY_FIRST] > 0);
    /* Longer than a handshake takes: neither direction is up. */
    nanosleep(&(struct timespec){.tv_nsec = 200 * (long)NS_PER_MS}, NULL);
    assert_false(figures_of(a, 2).connected);
    assert_false(figures_of(b, 1).connected);
    assert_int_equal(atomic_load(&a->ups[2]) + atomic_load(&b->ups[1]), 0);
    engine_memory_sync(disk, engine_memory_mark(disk));
    rpc_peers_committed(a->peers, store_committed(meta));
    WAIT_FOR(linked(a, b));
    node_stop(b, 0);
    node_stop(a, 0);
    engine_close(disk);

    /* After a restart of the judge the row counts. */
    disk = disk_open(memory);
    a = node_start(&(struct node_options){.member = 1, .meta = engine_store(disk, 0)});
    b = node_start(&(struct node_options){.member = 2, .identity = 9});
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_WIPED && told_of(b).action == IDENTITY_RENEW);
    assert_int_equal(told_of(b).known.node_id.bytes[0], 2);
    node_stop(b, 0);
    node_stop(a, 0);
    engine_close(disk);
    memory_disk_free(memory);
}

/* -- hostile bytes
 * ---------------------------------------------------------------------------------------- */

static int raw_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static grpc_byte_buffer *buffer_of(struct bytes bytes)
{
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes.data, bytes.size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void pluck(grpc_completion_queue *queue, void *tag)
{
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(20, GPR_TIMESPAN));
    grpc_event event = grpc_completion_queue_pluck(queue, tag, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        fail_msg("no answer on the raw stream");
}

/* Opens a stream as a client of its own, sends two frames, gives the status that it ends with. */
static grpc_status_code raw_stream(int port, const char *method, struct bytes first,
                                   struct bytes second)
{
    char target[64];
    snprintf(target, sizeof target, "ipv4:127.0.0.1:%d", port);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, NULL);
    grpc_channel_credentials_release(credentials);
    grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice method_name = grpc_slice_from_copied_string(method);
    grpc_call *call =
        grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, method_name, NULL,
                                 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_byte_buffer *frames[2] = {buffer_of(first), buffer_of(second)};
    grpc_byte_buffer *in = NULL;
    grpc_metadata_array initial = {0};
    grpc_metadata_array trailing = {0};
    grpc_status_code status = GRPC_STATUS_UNKNOWN;
    grpc_slice details = grpc_empty_slice();
    grpc_op open[3] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA, .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = frames[0]},
    };
    grpc_op receive[2] = {
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &in},
    };
    grpc_op more = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = frames[1]};
    grpc_op end = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                   .data.recv_status_on_client = {.trailing_metadata = &trailing,
                                                  .status = &status,
                                                  .status_details = &details}};
    int tags[4];
    CHECK(grpc_call_start_batch(call, &end, 1, &tags[0], NULL) == GRPC_CALL_OK);
    CHECK(grpc_call_start_batch(call, open, 2, &tags[1], NULL) == GRPC_CALL_OK);
    CHECK(grpc_call_start_batch(call, receive, 2, &tags[2], NULL) == GRPC_CALL_OK);
    pluck(queue, &tags[1]);
    CHECK(grpc_call_start_batch(call, &more, 1, &tags[3], NULL) == GRPC_CALL_OK);
    pluck(queue, &tags[3]);
    pluck(queue, &tags[2]);
    pluck(queue, &tags[0]);
    grpc_byte_buffer_destroy(frames[0]);
    grpc_byte_buffer_destroy(frames[1]);
    grpc_byte_buffer_destroy(in);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    grpc_slice_unref(details);
    grpc_slice_unref(method_name);
    grpc_call_unref(call);
    grpc_channel_destroy(channel);
    grpc_completion_queue_shutdown(queue);
    while (
        grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(queue);
    return status;
}

static struct bytes frame_of(struct arena *arena, struct message *message)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    peer_frame_append(&writer, peer_message_encode(arena, message, 0));
    message_free(message);
    return writer_result(&writer);
}

static struct message *read_of_partition(uint32_t partition)
{
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->from = (struct actor_id){2, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){1, ACTOR_REPLICA, 0};
    message->replica_read.key = bytes_of_string("k");
    message->replica_read.partition = partition;
    return message;
}

static void test_hostile_streams_end_alone(void **state)
{
    (void)state;
    const char *link_method = "/coterie.internal.v1.Peer/Link";
    struct node *a = node_start_plain(1);
    struct node *c = node_start_plain(3);
    node_connect(a, a->port, NOWHERE, c->port);
    node_connect(c, a->port, NOWHERE, c->port);
    WAIT_FOR(linked(a, c));
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(&(struct node_options){.member = 2});
    hello.to_member = 1;
    struct bytes greeting = peer_frame_hello(&arena, &hello);
    struct bytes sound = frame_of(&arena, read_of_partition(3));
    struct bytes noise = bytes_of_string("\xff\xfe what is this \x01\x02");
    uint64_t malformed = totals_of(a).malformed;
    assert_int_equal(raw_stream(a->port, link_method, noise, noise), GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(raw_stream(a->port, link_method, sound, greeting),
                     GRPC_STATUS_INVALID_ARGUMENT); /* no hello first */
    assert_int_equal(raw_stream(a->port, link_method, greeting, noise),
                     GRPC_STATUS_INVALID_ARGUMENT);
    hello.start_nonce++; /* somebody else's, on the same stream */
    assert_int_equal(raw_stream(a->port, link_method, greeting, peer_frame_hello(&arena, &hello)),
                     GRPC_STATUS_INVALID_ARGUMENT);
    hello.start_nonce--;
    assert_int_equal(
        raw_stream(a->port, link_method, greeting, frame_of(&arena, read_of_partition(PARTITIONS))),
        GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(totals_of(a).malformed, malformed + 5);
    uint8_t *big = arena_alloc_zero(&arena, GRPC_MESSAGE_BYTES_MAX + 1);
    assert_int_equal(
        raw_stream(a->port, link_method, greeting, bytes_of(big, GRPC_MESSAGE_BYTES_MAX + 1)),
        GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(raw_stream(a->port, "/coterie.internal.v1.Peer/Other", greeting, sound),
                     GRPC_STATUS_UNIMPLEMENTED);
    hello.cluster_id[0] ^= 1;
    assert_int_equal(raw_stream(a->port, link_method, peer_frame_hello(&arena, &hello), sound),
                     GRPC_STATUS_FAILED_PRECONDITION);
    WAIT_FOR(totals_of(a).streams == 1);
    /* The link that behaves has noticed nothing. */
    assert_int_equal(atomic_load(&a->downs[3]) + atomic_load(&c->downs[1]), 0);
    ask(c, 1, 0, 10, 16);
    WAIT_FOR(atomic_load(&c->answers) == 10);
    arena_deinit(&arena);
    node_stop(a, 0);
    node_stop(c, 0);
}

static void test_garbage_on_the_port(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    struct prng prng;
    prng_init(&prng, 42, 0);
    for (int round = 0; round < 40; round++) {
        int fd = raw_connect(a->port);
        uint8_t garbage[4096];
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (uint8_t)prng_u64(&prng);
        if (round % 2 == 1) /* past the preface */
            memcpy(garbage, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        (void)!send(fd, garbage, prng_between(&prng, 1, sizeof garbage), MSG_NOSIGNAL);
        close(fd);
    }
    ask(a, 2, 0, 10, 16);
    ask(b, 1, 0, 10, 16);
    WAIT_FOR(atomic_load(&a->answers) == 10 && atomic_load(&b->answers) == 10);
    node_stop(a, 0);
    node_stop(b, 0);
}

/* One that calls again and again but cannot be called: messages to it do not pile up. */
static void test_a_queue_does_not_wait_for_who_only_calls(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2); /* not connected: a's call waits there */
    node_connect(a, a->port, b->port, NOWHERE);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(&(struct node_options){.member = 2});
    hello.to_member = 1;
    struct bytes greeting = peer_frame_hello(&arena, &hello);
    uint64_t start_ns = runtime_now_ns();
    ask(a, 2, 0, 5, 16);
    while (figures_of(a, 2).messages_dropped < 5) {
        raw_stream(a->port, "/coterie.internal.v1.Peer/Link", greeting, bytes_of_string("noise"));
        assert_true(runtime_now_ns() - start_ns < 2500 * NS_PER_MS);
    }
    assert_true(runtime_now_ns() - start_ns > 490 * NS_PER_MS);
    WAIT_FOR(atomic_load(&a->undelivered) == 5);
    arena_deinit(&arena);
    node_stop(a, 0);
    node_stop(b, 0);
}

/* -- a peer that says hello and reads nothing more
 * ------------------------------------------------------- */

struct deaf_peer {
    grpc_server *server;
    grpc_completion_queue *queue;
    int port;
    grpc_call *call;
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    int cancelled;
    bool closed; /* its close tag was plucked */
    grpc_byte_buffer *in;
    grpc_byte_buffer *out;
    int tags[4];
};

static void deaf_start(struct deaf_peer *deaf)
{
    memset(deaf, 0, sizeof *deaf);
    deaf->queue = grpc_completion_queue_create_for_pluck(NULL);
    deaf->server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(deaf->server, deaf->queue, NULL);
    void *method = grpc_server_register_method(deaf->server, "/coterie.internal.v1.Peer/Link", NULL,
                                               GRPC_SRM_PAYLOAD_NONE, 0);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    deaf->port = grpc_server_add_http2_port(deaf->server, "127.0.0.1:0", credentials);
    grpc_server_credentials_release(credentials);
    grpc_server_start(deaf->server);
    CHECK(grpc_server_request_registered_call(deaf->server, method, &deaf->call, &deaf->deadline,
                                              &deaf->metadata, NULL, deaf->queue, deaf->queue,
                                              &deaf->tags[0]) == GRPC_CALL_OK);
}

static void deaf_greet(struct deaf_peer *deaf)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(&(struct node_options){.member = 2});
    hello.to_member = 1;
    deaf->out = buffer_of(peer_frame_hello(&arena, &hello));
    pluck(deaf->queue, &deaf->tags[0]);
    grpc_op close_op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                        .data.recv_close_on_server.cancelled = &deaf->cancelled};
    grpc_op ops[3] = {
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &deaf->in},
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = deaf->out},
    };
    CHECK(grpc_call_start_batch(deaf->call, &close_op, 1, &deaf->tags[1], NULL) == GRPC_CALL_OK);
    CHECK(grpc_call_start_batch(deaf->call, ops, 3, &deaf->tags[2], NULL) == GRPC_CALL_OK);
    pluck(deaf->queue, &deaf->tags[2]);
    arena_deinit(&arena);
}

static void deaf_stop(struct deaf_peer *deaf)
{
    grpc_server_shutdown_and_notify(deaf->server, deaf->queue, &deaf->tags[3]);
    grpc_server_cancel_all_calls(deaf->server);
    if (!deaf->closed)
        pluck(deaf->queue, &deaf->tags[1]);
    pluck(deaf->queue, &deaf->tags[3]);
    grpc_byte_buffer_destroy(deaf->in);
    grpc_byte_buffer_destroy(deaf->out);
    grpc_call_unref(deaf->call);
    grpc_metadata_array_destroy(&deaf->metadata);
    grpc_server_destroy(deaf->server);
    grpc_completion_queue_shutdown(deaf->queue);
    while (grpc_completion_queue_pluck(deaf->queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
               .type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(deaf->queue);
}

static void deaf_accept(struct deaf_peer *deaf)
{
    pluck(deaf->queue, &deaf->tags[0]);
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                  .data.recv_close_on_server.cancelled = &deaf->cancelled};
    CHECK(grpc_call_start_batch(deaf->call, &op, 1, &deaf->tags[1], NULL) == GRPC_CALL_OK);
}

static void test_a_hello_without_an_answer_is_given_up(void **state)
{
    (void)state;
    struct deaf_peer deaf;
    deaf_start(&deaf);
    struct node *a = node_start(&(struct node_options){.member = 1, .stall_ms = 500});
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_accept(&deaf);
    pluck(deaf.queue, &deaf.tags[1]);
    assert_int_equal(deaf.cancelled, 1);
    assert_false(figures_of(a, 2).connected);
    assert_int_equal(atomic_load(&a->ups[2]), 0);
    WAIT_FOR(atomic_load(&a->downs[2]) == 1); /* said once, though it was never up */
    node_stop(a, 0);
    deaf.closed = true;
    deaf_stop(&deaf);
}

/* The other way round: a stream on which no hello comes. */
static void test_a_stream_without_a_hello_is_given_up(void **state)
{
    (void)state;
    struct node *a = node_start(&(struct node_options){.member = 1, .stall_ms = 500});
    node_connect(a, a->port, NOWHERE, NOWHERE);
    assert_int_equal(
        raw_stream(a->port, "/coterie.internal.v1.Peer/Link", (struct bytes){0}, (struct bytes){0}),
        GRPC_STATUS_INVALID_ARGUMENT); /* an empty frame is no hello */
    int fd = raw_connect(a->port);
    /* Preface, SETTINGS, and HEADERS that open the stream (names and values without Huffman). */
    static const char request[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                  "\0\0\0\4\0\0\0\0\0"
                                  "\0\0\x62\1\4\0\0\0\1"
                                  "\x83\x86"
                                  "\0\5:path\x1e/coterie.internal.v1.Peer/Link"
                                  "\0\xa:authority\1x"
                                  "\0\2te\x8trailers"
                                  "\0\xc"
                                  "content-type\x10"
                                  "application/grpc";
    CHECK(sizeof request - 1 == 24 + 9 + 9 + 0x62);
    CHECK(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof request - 1));
    WAIT_FOR(totals_of(a).streams == 1);
    WAIT_FOR(totals_of(a).streams == 0);
    close(fd);
    node_stop(a, 0);
}

static void test_the_queue_to_a_deaf_peer_is_bounded(void **state)
{
    (void)state;
    const size_t queue_bytes_max = GRPC_MESSAGE_BYTES_MAX;
    struct deaf_peer deaf;
    deaf_start(&deaf);
    struct node *a = node_start(
        &(struct node_options){.member = 1, .queue_bytes_max = queue_bytes_max, .stall_ms = 1500});
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_greet(&deaf);
    WAIT_FOR(figures_of(a, 2).connected);
    for (uint64_t i = 0; i < 4000; i++) {
        ask(a, 2, i, 1, KEY_BYTES_MAX);
        assert_true(figures_of(a, 2).queue_bytes <= queue_bytes_max);
    }
    struct rpc_peer_figures figures = figures_of(a, 2);
    assert_true(figures.messages_dropped > 1000);
    assert_true(figures.queue_bytes > queue_bytes_max / 2);
    /* A send that does not end ends the link. */
    WAIT_FOR(atomic_load(&a->downs[2]) == 1);
    WAIT_FOR(figures_of(a, 2).queue_bytes == 0);
    figures = figures_of(a, 2);
    assert_int_equal(figures.messages_dropped + figures.messages_sent, 4000);
    node_stop(a, 0);
    deaf_stop(&deaf);
}

/* -- the end in every state
 * -------------------------------------------------------------------------------- */

static void test_free_in_every_state(void **state)
{
    (void)state;
    /* Never connected. */
    node_stop(node_start_plain(1), 0);
    /* Nobody listens there; and at once, while the first attempts start. */
    struct node *a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    node_stop(a, 0);
    a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    ask(a, 2, 0, 5, 16);
    WAIT_FOR(figures_of(a, 2).messages_dropped == 5);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* into the back-off */
    node_stop(a, 100);
    /* With messages that wait for a link. */
    a = node_start_plain(1);
    struct node *waiting = node_start_plain(2);
    node_connect(a, a->port, waiting->port, NOWHERE);
    ask(a, 2, 0, 5, 16);
    node_stop(waiting, 0);
    node_stop(a, 100);
    /* A listener that never says anything. */
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CHECK(bind(silent, (struct sockaddr *)&address, size) == 0 && listen(silent, 8) == 0);
    CHECK(getsockname(silent, (struct sockaddr *)&address, &size) == 0);
    a = node_start_plain(1);
    node_connect(a, a->port, ntohs(address.sin_port), NOWHERE);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    node_stop(a, 0);
    close(silent);
    /* Connected but not greeted; then greeted, with a full queue. */
    struct deaf_peer deaf;
    deaf_start(&deaf);
    a = node_start_plain(1);
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_accept(&deaf);
    node_stop(a, 0);
    deaf_stop(&deaf);
    deaf_start(&deaf);
    a = node_start_plain(1);
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_greet(&deaf);
    WAIT_FOR(figures_of(a, 2).connected);
    for (uint64_t i = 0; i < 1000; i++)
        ask(a, 2, i, 1, KEY_BYTES_MAX);
    node_stop(a, 50);
    deaf_stop(&deaf);
    /* Without a drain of its own. */
    a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    rpc_peers_free(a->peers);
    runtime_stop(a->runtime);
    rpc_loop_free(a->loop);
    runtime_free(a->runtime);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static void test_an_address_in_use(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    char address[64];
    char why[256] = "";
    snprintf(address, sizeof address, "127.0.0.1:%d", a->port);
    struct rpc_peers_options options = {
        .address = address,
        .loop = a->loop,
        .runtime = a->runtime,
        .hello = hello_of(&(struct node_options){.member = 1}),
        .queue_bytes_max = GRPC_MESSAGE_BYTES_MAX,
        .backoff_min_ms = 100,
        .backoff_max_ms = 2000,
    };
    struct rpc_peers *second = NULL;
    assert_int_equal(rpc_peers_start(&options, &second, why, sizeof why), ERR_IO);
    assert_null(second);
    assert_non_null(strstr(why, address));
    node_stop(a, 0);
}

static int group_setup(void **state)
{
    (void)state;
    /* c-ares 1.18 leaks the name of every look-up that /etc/hosts answers. */
    setenv("GRPC_DNS_RESOLVER", "native", 0);
    rpc_library_init(NULL);
    runtime_thread_register();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    runtime_thread_unregister();
    rpc_library_shutdown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_nodes_talk_in_order),
        cmocka_unit_test(test_frames_carry_many_messages),
        cmocka_unit_test(test_large_messages_take_frames_of_their_own),
        cmocka_unit_test(test_a_peer_dies_and_comes_back),
        cmocka_unit_test(test_without_a_link_the_answer_is_undelivered),
        cmocka_unit_test(test_messages_wait_for_the_handshake),
        cmocka_unit_test(test_messages_do_not_wait_for_long),
        cmocka_unit_test(test_who_calls_is_called_back),
        cmocka_unit_test(test_a_queue_does_not_wait_for_who_only_calls),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_wrong_member_behind_an_address),
        cmocka_unit_test(test_a_member_that_is_not_known_yet),
        cmocka_unit_test(test_a_member_that_was_removed),
        cmocka_unit_test(test_a_member_that_has_moved),
        cmocka_unit_test(test_more_members_over_time_than_at_once),
        cmocka_unit_test(test_own_number),
        cmocka_unit_test(test_duplicate_identity),
        cmocka_unit_test(test_restarted_and_restored),
        cmocka_unit_test(test_rows_are_durable_before_use),
        cmocka_unit_test(test_hostile_streams_end_alone),
        cmocka_unit_test(test_garbage_on_the_port),
        cmocka_unit_test(test_a_hello_without_an_answer_is_given_up),
        cmocka_unit_test(test_a_stream_without_a_hello_is_given_up),
        cmocka_unit_test(test_the_queue_to_a_deaf_peer_is_bounded),
        cmocka_unit_test(test_free_in_every_state),
        cmocka_unit_test(test_an_address_in_use),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
