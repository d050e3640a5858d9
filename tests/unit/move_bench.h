/* move_bench.h -- five nodes of real replicas and anti-entropy on simulated disks; the test takes
 * the steps of a change, and says which node knows of which. */
#ifndef TESTS_UNIT_MOVE_BENCH_H
#define TESTS_UNIT_MOVE_BENCH_H

#include "actors/anti_entropy.h"
#include "actors/replica.h"
#include "tests/unit/change_bench.h"

#include <stdlib.h>

#define NODES 5u

struct node {
    uint32_t member;
    struct memory_disk *disk;
    struct engine *engine;
    struct arena arena;
    struct boot boot;
    struct replica *replica;
    struct anti_entropy *ae;
    struct view *view;
    uint64_t committed;
    uint64_t told;
    uint64_t generation;
    bool cut; /* nothing reaches it from other nodes, nor leaves it */
};

struct moves {
    struct fixture f;        /* the topology and the keyspaces; no actor */
    struct topology initial; /* of the first start */
    struct node nodes[NODES + 1];
    struct outbox outbox;
    struct message *kept; /* to an edge or a coordinator, the last one */
    uint64_t id;
    uint32_t settled; /* register_settle seen */
    bool settle_fails;
    uint64_t fill_ns; /* pace and the like: passed by moves_until */
    uint64_t bytes_per_second;
};

static inline void moves_committed(void *host, uint32_t handle, uint64_t sequence)
{
    if (handle == HANDLE_ACTOR)
        ((struct node *)host)->committed = sequence;
}

static inline struct actor_context moves_context(struct moves *m, struct node *node)
{
    return (struct actor_context){.now_ns = m->f.ctx.now_ns,
                                  .wall_ms = m->f.ctx.wall_ms,
                                  .prng = &m->f.prng,
                                  .view = node->view,
                                  .outbox = &m->outbox,
                                  .store = engine_store(node->engine, HANDLE_ACTOR)};
}

/* The document as it is now comes into force there. */
static inline void moves_show(struct moves *m, uint32_t member)
{
    struct node *node = &m->nodes[member];
    struct view *view = view_new(&m->f.topology, &m->f.map, member);
    view->version = node->view == NULL ? 1 : node->view->version + 1;
    if (node->view != NULL)
        view_unref(node->view);
    node->view = view;
}

static inline void moves_show_all(struct moves *m)
{
    for (uint32_t member = 1; member <= NODES; member++)
        moves_show(m, member);
}

static inline void moves_start(struct moves *m, uint32_t member)
{
    struct node *node = &m->nodes[member];
    struct engine_options engine = {.handle_count = HANDLE_COUNT,
                                    .partitions = m->initial.partitions,
                                    .committed = moves_committed,
                                    .host = node};
    struct boot_options boot = {.topology = &m->initial,
                                .self = member,
                                .shards = 1,
                                .random_id = {(uint8_t)member},
                                .wall_ms = m->f.ctx.wall_ms};
    char why[256];
    node->engine = engine_memory_open(&engine, node->disk);
    node->committed = node->told = 0;
    assert_int_equal(boot_node(engine_store(node->engine, HANDLE_BOOT), &node->arena, &boot,
                               &node->boot, why, sizeof why),
                     OK);
    struct replica_options replica = {.self = member, .shards = 1, .held_max = 4096};
    node->replica = replica_new(&replica, &node->boot);
    struct anti_entropy_options ae =
        anti_entropy_options_default(member, ++node->generation, m->initial.partitions);
    ae.late_ns = 200 * MS;
    ae.interval_ns = 10000ull * 3600 * 1000 * MS;
    ae.reaper.interval_ns = ae.reaper.late_ns = ae.interval_ns;
    if (m->bytes_per_second != 0)
        ae.fill_bytes_per_second = m->bytes_per_second;
    node->ae = anti_entropy_new(&ae);
}

static inline void moves_init(struct moves *m)
{
    memset(m, 0, sizeof *m);
    fixture_init(&m->f, NODES, 1);
    m->f.ctx.now_ns = 20000ull * 3600 * 1000 * MS;
    topology_copy(&m->f.arena, &m->f.topology, &m->initial);
    outbox_init(&m->outbox);
    for (uint32_t member = 1; member <= NODES; member++) {
        m->nodes[member].member = member;
        m->nodes[member].disk = memory_disk_new();
        arena_init(&m->nodes[member].arena, NULL, 0);
        moves_show(m, member);
        moves_start(m, member);
    }
}

static inline void moves_stop(struct node *node)
{
    replica_free(node->replica);
    anti_entropy_free(node->ae);
}

static inline void moves_deinit(struct moves *m)
{
    struct message *message;
    while ((message = outbox_take(&m->outbox)) != NULL)
        message_free(message);
    message_free(m->kept);
    for (uint32_t member = 1; member <= NODES; member++) {
        struct node *node = &m->nodes[member];
        moves_stop(node);
        engine_close(node->engine);
        memory_disk_free(node->disk);
        view_unref(node->view);
        arena_deinit(&node->arena);
    }
    fixture_deinit(&m->f);
}

/* A crash that loses all that is not durable. What is under way to and from the node is lost. */
static inline void moves_crash(struct moves *m, uint32_t member)
{
    struct node *node = &m->nodes[member];
    struct message *message;
    struct prng prng;
    while ((message = outbox_take(&m->outbox)) != NULL)
        message_free(message);
    moves_stop(node);
    prng_init(&prng, m->f.ctx.now_ns, 0);
    engine_memory_crash(node->engine, CRASH_POWER, &prng);
    moves_start(m, member);
}

static inline bool moves_cut(const struct moves *m, const struct message *message)
{
    if (message->from.node == message->to.node || message->from.node == MEMBER_NONE ||
        message->from.node > NODES)
        return false;
    return m->nodes[message->from.node].cut || m->nodes[message->to.node].cut;
}

static inline void moves_deliver(struct moves *m, struct message *message)
{
    struct node *node = &m->nodes[message->to.node];
    struct actor_context ctx = moves_context(m, node);
    struct actor *actor = NULL;
    bool cut = moves_cut(m, message);
    if (message->to.kind == ACTOR_REPLICA)
        actor = replica_actor(node->replica);
    else if (message->to.kind == ACTOR_ANTI_ENTROPY)
        actor = anti_entropy_actor(node->ae);
    if (cut) {
        message_free(message);
    } else if (actor != NULL) {
        actor_handle(actor, &ctx, message);
        actor_check(actor);
    } else if (message->kind == MESSAGE_register_settle) {
        struct message *done = message_new_reply(message, MESSAGE_register_settle_done, 0);
        done->register_settle_done.status = m->settle_fails ? ERR_UNAVAILABLE : OK;
        done->from = message->to;
        m->settled += !m->settle_fails;
        message_free(message);
        done->next = NULL;
        moves_deliver(m, done);
    } else if (message->to.kind == ACTOR_GOSSIP) {
        message_free(message); /* of a newer document: the test shows it */
    } else {
        message_free(m->kept);
        m->kept = message;
    }
}

static inline void moves_sync(struct moves *m)
{
    for (uint32_t member = 1; member <= NODES; member++) {
        struct node *node = &m->nodes[member];
        engine_memory_sync(node->engine, engine_memory_mark(node->engine));
        if (node->committed == node->told)
            continue;
        node->told = node->committed;
        for (int i = 0; i < 2; i++) {
            struct message *message = message_new(MESSAGE_store_committed, 0);
            message->from = message->to =
                actor_id_of(member, i == 0 ? ACTOR_REPLICA : ACTOR_ANTI_ENTROPY);
            message->store_committed.sequence = node->committed;
            moves_deliver(m, message);
        }
    }
}

/* All that is under way arrives, then everybody whose time has come acts. */
static inline void moves_pass(struct moves *m, uint64_t ns)
{
    struct message *message;
    for (int i = 0; i < 8; i++) {
        struct outbox taken = m->outbox;
        outbox_init(&m->outbox);
        while ((message = outbox_take(&taken)) != NULL)
            moves_deliver(m, message);
        moves_sync(m);
    }
    m->f.ctx.now_ns += ns;
    m->f.ctx.wall_ms += ns / MS;
    for (uint32_t member = 1; member <= NODES; member++) {
        struct node *node = &m->nodes[member];
        struct actor_context ctx = moves_context(m, node);
        struct actor *actors[] = {replica_actor(node->replica), anti_entropy_actor(node->ae)};
        for (size_t i = 0; i < ARRAY_COUNT(actors); i++) {
            if (actor_wake_at_ns(actors[i]) > m->f.ctx.now_ns)
                continue;
            actor_tick(actors[i], &ctx);
            actor_check(actors[i]);
        }
    }
}

static inline void moves_run(struct moves *m, uint64_t ns)
{
    for (uint64_t passed = 0; passed < ns; passed += 5 * MS)
        moves_pass(m, 5 * MS);
}

/* The next document; not shown to anybody yet. */
static inline void moves_step(struct moves *m, uint32_t partition, enum partition_phase phase)
{
    m->f.topology.epoch++;
    m->f.topology.phases[partition] = (uint8_t)phase;
    m->f.topology.phase_epochs[partition] = m->f.topology.epoch;
}

/* -- what is asked of a node ------------------------------------------------------------------ */

static inline struct message *moves_ask(struct moves *m, uint32_t member, enum actor_kind kind,
                                        struct message *message)
{
    message->id = ++m->id;
    message->from = actor_id_of(member, ACTOR_COORDINATOR);
    message->to = actor_id_of(member, kind);
    message->epoch = m->nodes[member].view->topology.epoch;
    message_free(m->kept);
    m->kept = NULL;
    moves_deliver(m, message);
    for (int i = 0; i < 20 && (m->kept == NULL || m->kept->id != m->id); i++)
        moves_pass(m, 0);
    assert_non_null(m->kept);
    assert_int_equal(m->kept->id, m->id);
    return m->kept;
}

static inline enum err moves_put(struct moves *m, uint32_t member, enum test_keyspace keyspace,
                                 const char *key, uint32_t writer, const char *value)
{
    struct version_set set = test_write(&m->f, &(struct version_set){0}, NULL, writer, 7, value);
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->replica_write =
        (struct replica_write){.keyspace_id = m->f.keyspace_ids[keyspace],
                               .key = bytes_of_string(key),
                               .record = test_record(&m->f, keyspace, key, &set),
                               .partition = test_partition(&m->f, keyspace, key)};
    return moves_ask(m, member, ACTOR_REPLICA, message)->replica_write_reply.status;
}

static inline enum err moves_get(struct moves *m, uint32_t member, enum test_keyspace keyspace,
                                 const char *key, struct version_set *ret_set)
{
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->replica_read =
        (struct replica_read){.keyspace_id = m->f.keyspace_ids[keyspace],
                              .key = bytes_of_string(key),
                              .partition = test_partition(&m->f, keyspace, key)};
    const struct replica_read_reply *reply =
        &moves_ask(m, member, ACTOR_REPLICA, message)->replica_read_reply;
    *ret_set = (struct version_set){0};
    if (reply->status == OK && reply->record.size != 0)
        *ret_set = test_decode(&m->f, keyspace, key, reply->record);
    return reply->status;
}

static inline const struct vnode_report_reply *moves_report(struct moves *m, uint32_t member)
{
    struct message *message = message_new(MESSAGE_vnode_report, 0);
    message->vnode_report.sizes = true;
    return &moves_ask(m, member, ACTOR_ANTI_ENTROPY, message)->vnode_report_reply;
}

static inline bool moves_filled(struct moves *m, uint32_t member, uint32_t partition)
{
    const struct vnode_report_reply *report = moves_report(m, member);
    assert_int_equal(report->status, OK);
    return report->filled.size != 0 &&
           (report->filled.data[partition / 8] >> partition % 8 & 1) != 0;
}

/* Until the member has filled the partition; false: not in that time. */
static inline bool moves_until_filled(struct moves *m, uint32_t member, uint32_t partition,
                                      uint64_t limit_ns)
{
    uint64_t until_ns = m->f.ctx.now_ns + limit_ns;
    while (!moves_filled(m, member, partition)) {
        if (m->f.ctx.now_ns >= until_ns)
            return false;
        moves_run(m, 20 * MS);
    }
    return true;
}

#endif
