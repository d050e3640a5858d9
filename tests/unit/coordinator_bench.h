/* coordinator_bench.h -- one coordinator; the test is the clients, the replicas and the other
 * nodes. */
#ifndef TESTS_UNIT_COORDINATOR_BENCH_H
#define TESTS_UNIT_COORDINATOR_BENCH_H

#include "actors/coordinator.h"
#include "tests/unit/actor_fixture.h"

#define REQUESTS_MAX  4u
#define GENERATION    5u
#define READ_LATE_NS  (100 * MS)
#define WRITE_LATE_NS (500 * MS)
#define DEADLINE_NS   (5000 * MS)
/* What the coordinator keeps back for the way to the client. */
#define DEADLINE_KEPT_NS (DEADLINE_NS - 100 * MS)
#define CLIENT           77u

struct bench {
    struct fixture f;
    struct coordinator *coordinator;
    const struct coordinator_figures *figures;
};

static inline void bench_init(struct bench *b, uint32_t members, uint32_t centers)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, members, centers);
    struct coordinator_options options = coordinator_options_default(SELF, 0, GENERATION, 1);
    assert_int_equal(options.read_late_ns, READ_LATE_NS);
    assert_int_equal(options.write_late_ns, WRITE_LATE_NS);
    assert_int_equal(options.deadline_default_ns, DEADLINE_NS);
    options.requests_max = REQUESTS_MAX;
    b->coordinator = coordinator_new(&options);
    b->figures = coordinator_figures(b->coordinator);
    b->f.actor = coordinator_actor(b->coordinator);
    b->f.ctx.store = NULL; /* a coordinator has none */
}

static inline void bench_deinit(struct bench *b)
{
    coordinator_free(b->coordinator);
    fixture_deinit(&b->f);
}

/* The replicas of a key as this node sees them, the local data centre first. */
static inline struct replica_set bench_replicas_in(struct bench *b, enum test_keyspace index,
                                                   const char *key)
{
    struct replica_set set;
    const struct keyspace *keyspace =
        keyspace_map_find_id(&b->f.view->keyspaces, b->f.keyspace_ids[index]);
    view_replica_set(b->f.view, keyspace, test_partition(&b->f, index, key), &set);
    return set;
}

static inline struct replica_set bench_replicas(struct bench *b, const char *key)
{
    return bench_replicas_in(b, KEYSPACE_TEST_SIBLINGS, key);
}

static inline bool bench_is_replica(struct bench *b, const char *key, uint32_t member)
{
    struct replica_set set = bench_replicas(b, key);
    for (uint32_t i = 0; i < set.count; i++) {
        if (set.replicas[i].member == member)
            return true;
    }
    return false;
}

/* -- a change under way
 * --------------------------------------------------------------------------------------------- */

/* The walk of the key's partition on each side, ended by 0: the first N are its replicas there. */
struct walks {
    uint32_t now[8];
    uint32_t next[8];
};

static inline void bench_walk(struct topology *topology, enum topology_side side,
                              uint32_t partition, const uint32_t *walk)
{
    uint32_t count = 0;
    while (walk[count] != 0)
        count++;
    for (uint32_t i = 0; i < topology->partitions; i++)
        topology->owners[side][(partition + i) % topology->partitions] = walk[i % count];
}

/* The view of a running change in which all partitions are in that phase since that epoch; nobody
 * is known to be down. One data centre. */
static inline struct view *bench_change_view(struct bench *b, enum test_keyspace index,
                                             const char *key, const struct walks *walks,
                                             enum partition_phase phase, uint64_t epoch)
{
    struct topology topology;
    uint32_t partitions = b->f.topology.partitions;
    uint32_t partition = test_partition(&b->f, index, key);
    topology_copy(&b->f.arena, &b->f.topology, &topology);
    assert_int_equal(topology.data_center_count, 1);
    topology.owners[TOPOLOGY_NEXT] = ARENA_NEW(&b->f.arena, uint32_t, partitions);
    bench_walk(&topology, TOPOLOGY_NOW, partition, walks->now);
    bench_walk(&topology, TOPOLOGY_NEXT, partition, walks->next);
    topology.epoch = epoch;
    topology.change = (struct topology_change){.state = CHANGE_RUNNING, .began_epoch = 2};
    for (uint32_t i = 0; i < partitions; i++) {
        topology.phases[i] = (uint8_t)phase;
        topology.phase_epochs[i] = phase == PHASE_WAITING ? 0 : epoch;
    }
    assert_true(topology_valid(&topology));
    struct view *view = view_new(&topology, &b->f.map, SELF);
    view->version = b->f.view->version + 1;
    return view;
}

static inline void bench_show(struct bench *b, struct view *view)
{
    view_unref(b->f.view);
    b->f.view = view;
    b->f.ctx.view = view;
}

static inline void bench_change(struct bench *b, enum test_keyspace index, const char *key,
                                const struct walks *walks, enum partition_phase phase,
                                uint64_t epoch)
{
    bench_show(b, bench_change_view(b, index, key, walks, phase, epoch));
}

/* A key of which this node holds a replica, or none. */
static inline const char *bench_key(struct bench *b, bool here)
{
    static char key[16];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key%u", i);
        if (bench_is_replica(b, key, SELF) == here)
            return key;
    }
    fail_msg("no such key");
    return NULL;
}

static inline void bench_get(struct bench *b, enum test_keyspace keyspace, const char *key,
                             enum consistency level, uint32_t count)
{
    struct message *message = message_new(MESSAGE_client_get, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->id = 1234;
    message->deadline_ns = b->f.ctx.now_ns + DEADLINE_NS;
    message->client_get = (struct client_get){.client = CLIENT,
                                              .keyspace_id = b->f.keyspace_ids[keyspace],
                                              .key = bytes_of_string(key),
                                              .level = level,
                                              .count = count};
    fixture_handle(&b->f, message);
}

static inline struct put_request bench_put_request(struct bench *b, enum test_keyspace keyspace,
                                                   const char *key, enum consistency level)
{
    return (struct put_request){.keyspace_id = b->f.keyspace_ids[keyspace],
                                .key = bytes_of_string(key),
                                .value = bytes_of_string("value"),
                                .level = level};
}

static inline void bench_put_strict(struct bench *b, enum test_keyspace keyspace, const char *key,
                                    enum consistency level, bool strict)
{
    struct message *message = message_new(MESSAGE_client_put, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->id = 4321;
    message->deadline_ns = b->f.ctx.now_ns + DEADLINE_NS;
    message->client_put.client = CLIENT;
    message->client_put.request = bench_put_request(b, keyspace, key, level);
    message->client_put.request.strict = strict;
    fixture_handle(&b->f, message);
}

static inline void bench_put(struct bench *b, enum test_keyspace keyspace, const char *key,
                             enum consistency level)
{
    bench_put_strict(b, keyspace, key, level, false);
}

/* -- the other side -----------------------------------------------------------------------------
 */

/* Members that were sent a message of this kind, in order; all that left is taken. */
struct asked {
    uint32_t count;
    uint32_t members[REPLICAS_TOTAL_MAX];
    uint64_t id;
    uint64_t epoch;             /* of all of them */
    struct replica_write write; /* the last one, in a hint or by itself */
    struct bytes record;        /* its record */
    uint32_t hints;             /* hint_store that left beside them */
    uint32_t keepers[REPLICAS_TOTAL_MAX];
    uint32_t targets[REPLICAS_TOTAL_MAX];
    uint32_t dirty; /* range_dirty that left beside them, to the local anti-entropy */
    uint32_t dirty_members[REPLICAS_TOTAL_MAX];
    uint32_t dirty_partition;
    uint32_t told; /* topology_behind that left beside them, to the local gossip */
    uint32_t told_member;
    uint64_t told_epoch;
};

static inline void bench_keep_write(struct bench *b, struct asked *asked,
                                    const struct replica_write *write)
{
    asked->write = *write;
    asked->write.key = arena_copy(&b->f.arena, write->key);
    asked->write.request_id = arena_copy(&b->f.arena, write->request_id);
    asked->write.request_context = arena_copy(&b->f.arena, write->request_context);
    asked->record = asked->write.record = arena_copy(&b->f.arena, write->record);
}

static inline struct asked bench_asked_until(struct bench *b, enum message_kind kind,
                                             enum message_kind until)
{
    struct asked asked = {0};
    struct message *message;
    while (b->f.outbox.first != NULL && b->f.outbox.first->kind != until) {
        message = outbox_take(&b->f.outbox);
        if (message->kind == MESSAGE_topology_behind) {
            assert_int_equal(message->to.kind, ACTOR_GOSSIP);
            assert_int_equal(message->to.node, SELF);
            asked.told++;
            asked.told_member = message->topology_behind.member;
            asked.told_epoch = message->topology_behind.epoch;
            message_free(message);
            continue;
        }
        if (message->kind == kind || message->kind == MESSAGE_hint_store) {
            assert_true(asked.epoch == 0 || asked.epoch == message->epoch);
            asked.epoch = message->epoch;
        }
        if (message->kind == MESSAGE_hint_store) {
            const struct hint_store *hint = &message->hint_store;
            assert_int_equal(message->to.kind, ACTOR_HINTED_HANDOFF);
            assert_int_equal(hint->write.reason, WRITE_HINT);
            asked.keepers[asked.hints] = message->to.node;
            asked.targets[asked.hints++] = hint->target;
            asked.id = message->id;
            bench_keep_write(b, &asked, &hint->write);
            message_free(message);
            continue;
        }
        if (message->kind == MESSAGE_range_dirty) {
            assert_int_equal(message->to.kind, ACTOR_ANTI_ENTROPY);
            assert_int_equal(message->to.node, SELF);
            asked.dirty_members[asked.dirty++] = message->range_dirty.member;
            asked.dirty_partition = message->range_dirty.partition;
            message_free(message);
            continue;
        }
        assert_int_equal(message->kind, kind);
        assert_int_equal(message->from.kind, ACTOR_COORDINATOR);
        assert_true(message->epoch != 0);
        /* DESIGN.md 3: deadlines are passed on, less what the way back takes. */
        if (kind == MESSAGE_replica_read)
            assert_in_range(message->deadline_ns, b->f.ctx.now_ns + 1,
                            b->f.ctx.now_ns + DEADLINE_KEPT_NS);
        asked.members[asked.count++] = message->to.node;
        asked.id = message->id;
        if (kind == MESSAGE_replica_write)
            bench_keep_write(b, &asked, &message->replica_write);
        message_free(message);
    }
    return asked;
}

static inline struct asked bench_asked(struct bench *b, enum message_kind kind)
{
    return bench_asked_until(b, kind, MESSAGE_KIND_COUNT);
}

/* The hints that left before a message of this kind, which is the next one. */
static inline struct asked bench_asked_before(struct bench *b, enum message_kind kind)
{
    return bench_asked_until(b, MESSAGE_hint_store, kind);
}

/* Of a replica whose view is of that epoch. */
static inline void bench_read_reply_at(struct bench *b, uint64_t epoch, uint64_t id,
                                       uint32_t member, enum err status, struct bytes record,
                                       uint64_t floor)
{
    struct message *message = message_new(MESSAGE_replica_read_reply, 0);
    message->epoch = epoch;
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = id;
    message->replica_read_reply.status = status;
    message->replica_read_reply.record = arena_copy(&message->arena, record);
    message->replica_read_reply.floor = floor;
    fixture_handle(&b->f, message);
}

static inline void bench_read_reply_of(struct bench *b, uint64_t id, uint32_t member,
                                       enum err status, struct bytes record, uint64_t floor)
{
    bench_read_reply_at(b, 0, id, member, status, record, floor);
}

static inline void bench_read_reply(struct bench *b, uint64_t id, uint32_t member, enum err status,
                                    struct bytes record)
{
    bench_read_reply_of(b, id, member, status, record, 0);
}

static inline void bench_write_reply_at(struct bench *b, uint64_t epoch, uint64_t id,
                                        uint32_t member, enum err status)
{
    struct message *message = message_new(MESSAGE_replica_write_reply, 0);
    message->epoch = epoch;
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = id;
    message->replica_write_reply.status = status;
    fixture_handle(&b->f, message);
}

static inline void bench_write_reply(struct bench *b, uint64_t id, uint32_t member, enum err status)
{
    bench_write_reply_at(b, 0, id, member, status);
}

static inline void bench_hint_reply(struct bench *b, uint64_t id, uint32_t keeper, enum err status)
{
    struct message *message = message_new(MESSAGE_hint_store_reply, 0);
    message->from = actor_id_of(keeper, ACTOR_HINTED_HANDOFF);
    message->id = id;
    message->hint_store_reply.status = status;
    fixture_handle(&b->f, message);
}

static inline struct client_get_done bench_got(struct bench *b, enum err status)
{
    struct message *message = fixture_take(&b->f, MESSAGE_client_get_done);
    struct client_get_done done = message->client_get_done;
    assert_int_equal(done.status, status);
    assert_int_equal(done.client, CLIENT);
    assert_int_equal(message->to.kind, ACTOR_EDGE);
    assert_int_equal(message->id, 1234);
    if (status == OK)
        assert_true(done.why == NULL);
    else
        assert_non_null(done.why);
    /* What the set points into lives on in the fixture. */
    struct writer writer;
    writer_init(&writer, &b->f.arena, 64);
    version_set_encode(&writer, &done.set);
    struct reader reader = reader_of(writer_result(&writer));
    assert_int_equal(version_set_decode(&reader, &b->f.arena, &done.set), OK);
    done.why = done.why == NULL ? NULL : arena_string(&b->f.arena, bytes_of_string(done.why));
    message_free(message);
    fixture_silent(&b->f);
    return done;
}

static inline bool asked_member(const struct asked *asked, uint32_t member)
{
    for (uint32_t i = 0; i < asked->count; i++) {
        if (asked->members[i] == member)
            return true;
    }
    return false;
}

static inline bool progress_acked(const struct progress *progress, uint32_t member)
{
    for (uint32_t i = 0; i < progress->acked_count; i++) {
        if (progress->acked_members[i] == member)
            return true;
    }
    return false;
}

#endif
