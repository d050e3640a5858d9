/* gossip_cluster.h -- several gossip actors on simulated disks, with the real wire between them and
 * a seeded event heap that loses, doubles and reorders messages, cuts pairs of nodes apart and cuts
 * their power. What anybody shows or says of the topology is written down: one document an epoch.
 */
#ifndef TESTS_UNIT_GOSSIP_CLUSTER_H
#define TESTS_UNIT_GOSSIP_CLUSTER_H

#include "actors/gossip.h"
#include "base/heap.h"
#include "rpc/peer_codec.h"
#include "tests/unit/actor_fixture.h"

#include <inttypes.h>
#include <stdlib.h>

#define NODES_MAX  12u
#define EPOCHS_MAX 4096u

enum event_kind { EVENT_MESSAGE, EVENT_SYNC, EVENT_TICK, EVENT_START, EVENT_OTHER };

struct event {
    enum event_kind kind;
    uint32_t node; /* member; of EVENT_OTHER: whatever the test means */
    uint32_t life;
    uint64_t mark;
    uint32_t from;
    struct bytes bytes;      /* from another node, owned */
    struct message *message; /* from this one */
};

struct node {
    uint32_t member;
    bool up;
    uint32_t life;
    struct memory_disk *disk;
    struct engine *engine;
    struct arena arena;
    struct boot boot;
    struct gossip *gossip;
    struct view *view;
    uint64_t committed;
    uint64_t told;
    bool sync_due;
    uint64_t tick_ns;
    bool forgets;             /* its votes were not recalled when it went */
    uint64_t epoch_said;      /* the greatest epoch that it said to have in force */
    struct memory_disk *copy; /* an older one of its disk, or NULL */
    enum identity_verdict
        lost; /* what its peers say of its disk at the next start; FIRST: nothing */
};

struct cluster {
    struct arena arena;
    struct topology topology; /* of epoch 1 */
    struct keyspace_map map;
    struct prng prng;
    struct heap heap;
    uint64_t tie;
    uint64_t now_ns;
    double loss;
    double doubles;
    uint64_t delay_ns;
    uint64_t sync_ns;
    uint64_t proposal_timeout_ns; /* 0: gossip's own */
    uint64_t phase_timeout_ns;
    uint32_t announced_max;
    uint64_t cut_until_ns[NODES_MAX + 1][NODES_MAX + 1];
    uint32_t node_count;
    struct node nodes[NODES_MAX];
    struct bytes documents[EPOCHS_MAX]; /* by epoch, in the arena */
    uint64_t epoch_max;
    struct topology newest;
    /* The test's part; may be NULL. */
    void (*on_edge)(struct cluster *c, const struct message *message);
    /* To another actor of a node; true: it was taken care of. */
    bool (*on_actor)(struct cluster *c, struct node *node, const struct message *message);
    void (*on_other)(struct cluster *c, uint32_t what);
    void (*on_step)(struct cluster *c, struct node *node);
    void (*on_epoch)(struct cluster *c, uint64_t epoch); /* its document is known from now on */
    void *closure;
};

static inline void schedule(struct cluster *c, uint64_t after_ns, struct event event)
{
    struct event *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    *copy = event;
    heap_push(&c->heap,
              (struct heap_entry){.key = c->now_ns + after_ns, .tie = c->tie++, .value = copy});
}

static inline struct node *node_of(struct cluster *c, uint32_t member)
{
    return &c->nodes[member - 1];
}

/* -- what is known ------------------------------------------------------------------------- */

/* The rule of all: one document an epoch. */
static inline void note_document(struct cluster *c, struct bytes bytes)
{
    struct topology topology;
    assert_int_equal(topology_decode(&c->arena, bytes, &topology), OK);
    assert_true(topology_valid(&topology));
    assert_true(topology.epoch < EPOCHS_MAX);
    struct bytes *known = &c->documents[topology.epoch];
    if (known->size == 0) {
        *known = arena_copy(&c->arena, bytes);
        if (c->on_epoch != NULL)
            c->on_epoch(c, topology.epoch);
    } else if (!bytes_equal(*known, bytes))
        fail_msg("two documents of epoch %" PRIu64, topology.epoch);
    if (topology.epoch > c->epoch_max) {
        c->epoch_max = topology.epoch;
        c->newest = topology;
    }
}

static inline struct topology document_of(struct cluster *c, uint64_t epoch)
{
    struct topology topology;
    assert_int_equal(topology_decode(&c->arena, c->documents[epoch], &topology), OK);
    return topology;
}

/* What was in force once is in force ever after, or a later one. */
static inline void note_in_force(struct node *node, uint64_t epoch)
{
    assert_true(epoch >= node->epoch_said);
    node->epoch_said = epoch;
}

static inline void note_message(struct cluster *c, struct node *node, const struct message *message)
{
    if (message->kind == MESSAGE_topology_document)
        note_document(c, message->topology_document.document);
    if (message->kind == MESSAGE_topology_document_reply)
        note_in_force(node, message->topology_document_reply.epoch);
    if (message->kind == MESSAGE_gossip_digest)
        note_in_force(node, message->gossip_digest.topology_epoch);
    if (message->kind == MESSAGE_client_topology_done)
        note_document(c, message->client_topology_done.document);
}

/* -- nodes --------------------------------------------------------------------------------- */

static inline void cluster_on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    if (handle == HANDLE_ACTOR)
        ((struct node *)host)->committed = sequence;
}

static inline void node_step(struct cluster *c, struct node *node, struct message *message);

/* One that was removed does not start. `joined`: at its first start, the document that names it;
 * else NULL. */
static inline void node_start(struct cluster *c, struct node *node, const struct topology *joined)
{
    struct engine_options engine = {.handle_count = HANDLE_COUNT,
                                    .partitions = c->topology.partitions,
                                    .committed = cluster_on_committed,
                                    .host = node};
    assert_false(node->up);
    node->engine = engine_memory_open(&engine, node->disk);
    node->committed = node->told = 0;
    bool founder = topology_member(&c->topology, node->member) != NULL;
    struct boot_options options = {.topology = founder ? &c->topology : NULL,
                                   .joined = joined,
                                   .self = node->member,
                                   .shards = 1,
                                   .random_id = {(uint8_t)node->member},
                                   .start_nonce = c->now_ns,
                                   .wall_ms = WALL_MS + c->now_ns / MS};
    char why[512] = "";
    struct store *meta = engine_store(node->engine, HANDLE_BOOT);
    struct boot_renewal renewal = {
        .answer = {.verdict = node->lost,
                   .action = IDENTITY_RENEW,
                   .known = {.self = {.node_id = node->boot.hello.self.node_id,
                                      .generation = node->boot.generation}},
                   .epoch_bound = node->boot.epoch_bound},
        .fresh = {.bytes = {(uint8_t)node->member, (uint8_t)node->life, 1}}};
    arena_clear(&node->arena);
    enum err err = boot_node(meta, &node->arena, &options, &node->boot, why, sizeof why);
    if (err == OK && node->lost != IDENTITY_FIRST) {
        err = boot_renew(meta, &node->arena, &renewal, why, sizeof why);
        if (err == OK)
            err = boot_node(meta, &node->arena, &options, &node->boot, why, sizeof why);
        node->lost = IDENTITY_FIRST;
    }
    if (err == ERR_DENIED && topology_was_removed(&c->newest, node->member)) {
        engine_close(node->engine);
        return;
    }
    if (err != OK)
        fail_msg("member %u: %s", node->member, why);
    note_document(c, topology_encode(&node->arena, &node->boot.topology));
    note_in_force(node, node->boot.topology.epoch);
    struct gossip_options gossip = gossip_options_default(node->member, node->boot.generation);
    gossip.incarnation = node->boot.epoch_start;
    if (c->proposal_timeout_ns != 0)
        gossip.proposal_timeout_ns = c->proposal_timeout_ns;
    if (c->phase_timeout_ns != 0)
        gossip.phase_timeout_ns = c->phase_timeout_ns;
    if (c->announced_max != 0)
        gossip.announced_max = c->announced_max;
    gossip.addresses = node->boot.addresses;
    gossip.address_count = node->boot.address_count;
    node->gossip = gossip_new(&gossip, &node->boot.topology, &node->boot.keyspaces);
    node->view = gossip_first_view(node->gossip);
    node->up = true;
    node->sync_due = false;
    node->tick_ns = NEVER_NS;
    node->life++;
    node_step(c, node, NULL);
}

static inline void node_crash(struct cluster *c, struct node *node)
{
    node->forgets = counter_get(&gossip_figures(node->gossip)->forgotten) != 0;
    gossip_free(node->gossip);
    view_unref(node->view);
    engine_memory_crash(node->engine, CRASH_POWER, &c->prng);
    node->up = false;
}

/* Its disk is empty at the next start, or an older copy of itself, and its peers tell it so. */
static inline void node_lose_disk(struct node *node)
{
    assert_false(node->up);
    node->epoch_said = 0;
    if (node->copy == NULL) {
        memory_disk_wipe(node->disk);
        node->lost = IDENTITY_WIPED;
        return;
    }
    memory_disk_free(node->disk);
    node->disk = node->copy;
    node->copy = NULL;
    node->lost = IDENTITY_RESTORED;
}

static inline void send_away(struct cluster *c, struct node *node, struct message *message)
{
    uint32_t to = message->to.node;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes bytes = peer_message_encode(&arena, message, c->now_ns);
    assert_true(bytes.size > 0);
    uint32_t copies = prng_chance(&c->prng, c->loss) ? 0 : 1;
    copies += prng_chance(&c->prng, c->doubles);
    if (to > c->node_count || c->cut_until_ns[node->member][to] > c->now_ns)
        copies = 0;
    for (uint32_t i = 0; i < copies; i++) {
        uint8_t *memory = malloc(bytes.size);
        assert_non_null(memory);
        memcpy(memory, bytes.data, bytes.size);
        uint64_t delay = prng_below(&c->prng, c->delay_ns);
        if (prng_chance(&c->prng, 0.05))
            delay *= 20;
        schedule(c, delay,
                 (struct event){.kind = EVENT_MESSAGE,
                                .node = to,
                                .from = node->member,
                                .bytes = bytes_of(memory, bytes.size)});
    }
    arena_deinit(&arena);
    message_free(message);
}

static inline void node_take_out(struct cluster *c, struct node *node, struct message *message)
{
    note_message(c, node, message);
    if (message->kind == MESSAGE_view_publish) {
        view_unref(node->view);
        node->view = view_ref(message->view_publish.view);
        if (node->boot.address_count == 0) /* else it may say other addresses */
            note_document(c, topology_encode(&c->arena, &node->view->topology));
        note_in_force(node, node->view->topology.epoch);
        message_free(message);
    } else if (message->to.kind == ACTOR_EDGE) {
        if (c->on_edge != NULL)
            c->on_edge(c, message);
        message_free(message);
    } else if (message->to.node != node->member) {
        send_away(c, node, message);
    } else if (message->to.kind == ACTOR_GOSSIP) {
        schedule(c, 1000,
                 (struct event){.kind = EVENT_MESSAGE,
                                .node = node->member,
                                .life = node->life,
                                .message = message});
    } else {
        if (c->on_actor != NULL)
            (void)c->on_actor(c, node, message);
        message_free(message);
    }
}

static inline void node_after(struct cluster *c, struct node *node, struct outbox *outbox)
{
    struct message *message;
    while ((message = outbox_take(outbox)) != NULL)
        node_take_out(c, node, message);
    if (!node->sync_due && engine_memory_wants_sync(node->engine)) {
        node->sync_due = true;
        schedule(c, prng_between(&c->prng, 1, c->sync_ns),
                 (struct event){.kind = EVENT_SYNC,
                                .node = node->member,
                                .life = node->life,
                                .mark = engine_memory_mark(node->engine)});
    }
    uint64_t wake_ns = actor_wake_at_ns(gossip_actor(node->gossip));
    if (wake_ns < node->tick_ns) {
        node->tick_ns = wake_ns;
        schedule(c, wake_ns > c->now_ns ? wake_ns - c->now_ns : 0,
                 (struct event){.kind = EVENT_TICK, .node = node->member, .life = node->life});
    }
}

static inline void node_step(struct cluster *c, struct node *node, struct message *message)
{
    struct outbox outbox;
    outbox_init(&outbox);
    struct actor_context ctx = {.now_ns = c->now_ns,
                                .wall_ms = WALL_MS + c->now_ns / MS,
                                .prng = &c->prng,
                                .view = node->view,
                                .outbox = &outbox,
                                .store = engine_store(node->engine, HANDLE_ACTOR)};
    struct actor *actor = gossip_actor(node->gossip);
    if (message == NULL)
        actor_tick(actor, &ctx);
    else
        actor_handle(actor, &ctx, message);
    actor_check(actor);
    node_after(c, node, &outbox);
    if (c->on_step != NULL)
        c->on_step(c, node);
}

/* -- the loop ------------------------------------------------------------------------------ */

static inline void event_deliver(struct cluster *c, struct event *event)
{
    struct node *node = node_of(c, event->node);
    if (event->message != NULL) {
        if (node->up && node->life == event->life)
            node_step(c, node, event->message);
        else
            message_free(event->message);
        return;
    }
    if (node->up) {
        struct message *message =
            peer_message_decode(event->bytes, event->from, event->node, c->now_ns);
        assert_non_null(message);
        if (message->to.kind == ACTOR_GOSSIP) {
            node_step(c, node, message);
        } else {
            if (c->on_actor != NULL)
                (void)c->on_actor(c, node, message);
            message_free(message);
        }
    }
    free((void *)(uintptr_t)event->bytes.data);
}

static inline void event_sync(struct cluster *c, const struct event *event)
{
    struct node *node = node_of(c, event->node);
    if (!node->up || node->life != event->life)
        return;
    node->sync_due = false;
    engine_memory_sync(node->engine, event->mark);
    if (node->committed == node->told)
        return;
    node->told = node->committed;
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->store_committed.sequence = node->committed;
    node_step(c, node, message);
}

static inline void event_play(struct cluster *c, struct event *event)
{
    struct node *node = event->kind == EVENT_OTHER ? NULL : node_of(c, event->node);
    switch (event->kind) {
    case EVENT_MESSAGE:
        event_deliver(c, event);
        break;
    case EVENT_SYNC:
        event_sync(c, event);
        break;
    case EVENT_TICK:
        if (node->up && node->life == event->life) {
            node->tick_ns = NEVER_NS;
            node_step(c, node, NULL);
        }
        break;
    case EVENT_START:
        if (!node->up)
            node_start(c, node, NULL);
        break;
    case EVENT_OTHER:
        c->on_other(c, event->node);
        break;
    }
}

static inline void play_until(struct cluster *c, uint64_t end_ns)
{
    while (heap_peek(&c->heap) != NULL && heap_peek(&c->heap)->key <= end_ns) {
        struct heap_entry entry = heap_pop(&c->heap);
        c->now_ns = entry.key;
        event_play(c, entry.value);
        free(entry.value);
    }
    c->now_ns = end_ns;
}

/* `members` founders with nodes, room for more. */
static inline void cluster_init(struct cluster *c, uint64_t seed, uint32_t members)
{
    memset(c, 0, sizeof *c);
    arena_init(&c->arena, NULL, 0);
    heap_init(&c->heap);
    prng_init(&c->prng, seed, 0);
    c->now_ns = MS;
    c->delay_ns = MS;
    c->sync_ns = MS;
    c->topology = fixture_topology(&c->arena, members, 1, 16, 7701);
    c->node_count = members;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        c->nodes[i].member = i + 1;
        c->nodes[i].disk = memory_disk_new();
        arena_init(&c->nodes[i].arena, NULL, 0);
    }
}

static inline void cluster_start(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        node_start(c, &c->nodes[i], NULL);
}

static inline void cluster_deinit(struct cluster *c)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (c->nodes[i].up)
            node_crash(c, &c->nodes[i]);
        memory_disk_free(c->nodes[i].disk);
        if (c->nodes[i].copy != NULL)
            memory_disk_free(c->nodes[i].copy);
        arena_deinit(&c->nodes[i].arena);
    }
    while (heap_peek(&c->heap) != NULL) {
        struct event *event = heap_pop(&c->heap).value;
        message_free(event->message);
        free((void *)(uintptr_t)event->bytes.data);
        free(event);
    }
    heap_deinit(&c->heap);
    arena_deinit(&c->arena);
}

/* -- operations ---------------------------------------------------------------------------- */

static inline void ask(struct cluster *c, struct node *node, uint64_t client,
                       const struct topology_operation *operation)
{
    struct message *message = message_new(MESSAGE_client_topology, 0);
    message->from = actor_id_of(node->member, ACTOR_EDGE);
    message->to = actor_id_of(node->member, ACTOR_GOSSIP);
    message->client_topology.client = client;
    message->client_topology.operation = *operation;
    node_step(c, node, message);
}

#endif
