/* replica_bench.h -- a replica shard on a simulated disk; the test is the coordinators and the
 * other replicas. */
#ifndef TESTS_UNIT_REPLICA_BENCH_H
#define TESTS_UNIT_REPLICA_BENCH_H

#include "actors/replica.h"
#include "model/hlc.h"
#include "tests/unit/actor_fixture.h"

#define HELD_MAX 8u
#define LEASE    1000u /* key epochs of one lease */

struct bench {
    struct fixture f;
    struct topology initial; /* of the first start */
    struct boot boot;
    struct replica *replica;
    uint64_t next_id;
};

static inline void bench_start(struct bench *b)
{
    if (b->initial.partitions == 0)
        topology_copy(&b->f.arena, &b->f.topology, &b->initial);
    struct boot_options options = {.topology = &b->initial,
                                   .self = SELF,
                                   .shards = 1,
                                   .epoch_lease = LEASE,
                                   .random_id = {1},
                                   .wall_ms = b->f.ctx.wall_ms};
    char why[256];
    assert_int_equal(boot_node(engine_store(b->f.engine, HANDLE_BOOT), &b->f.arena, &options,
                               &b->boot, why, sizeof why),
                     OK);
    struct replica_options replica = {.self = SELF, .shard = 0, .shards = 1, .held_max = HELD_MAX};
    b->replica = replica_new(&replica, &b->boot);
    b->f.actor = replica_actor(b->replica);
}

static inline void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, 3, 1);
    bench_start(b);
}

static inline void bench_deinit(struct bench *b)
{
    replica_free(b->replica);
    fixture_deinit(&b->f);
}

static inline void bench_restart(struct bench *b, bool keep)
{
    replica_free(b->replica);
    b->f.actor = NULL;
    fixture_crash(&b->f, keep);
    bench_start(b);
}

static inline uint32_t policy_of(enum test_keyspace keyspace)
{
    return keyspace == KEYSPACE_TEST_LWW        ? POLICY_LWW
           : keyspace == KEYSPACE_TEST_PERIODIC ? POLICY_PERIODIC
                                                : 0u;
}

/* A mint from coordinator 0 with one target, node 2. */
static inline struct message *mint_message(struct bench *b, enum test_keyspace keyspace,
                                           const char *key, const char *value,
                                           const struct clock *context)
{
    struct message *message = message_new(MESSAGE_replica_mint, 0);
    message->epoch = b->f.topology.epoch;
    message->id = ++b->next_id;
    message->from = actor_id_of(SELF, ACTOR_COORDINATOR);
    message->replica_mint = (struct replica_mint){
        .request = {.keyspace_id = b->f.keyspace_ids[keyspace],
                    .key = bytes_of_string(key),
                    .value = bytes_of_string(value)},
        .policy = policy_of(keyspace),
        .partition = test_partition(&b->f, keyspace, key),
        .target_count = 1,
        .targets = {2},
    };
    if (context != NULL) {
        message->replica_mint.request.has_context = true;
        message->replica_mint.request.context = test_clock_bytes(&b->f, context);
    }
    return message;
}

struct minted {
    enum err status;
    struct version_set set;
    struct clock context;
    uint32_t siblings;
};

/* Mints, makes it durable, takes all that leaves. */
static inline struct minted mint(struct bench *b, enum test_keyspace keyspace, const char *key,
                                 const char *value, const struct clock *context)
{
    struct minted result = {0};
    fixture_handle(&b->f, mint_message(b, keyspace, key, value, context));
    fixture_pass_over_votes(&b->f);
    if (b->f.outbox.count > 0 && b->f.outbox.first->kind == MESSAGE_replica_write)
        message_free(fixture_take(&b->f, MESSAGE_replica_write));
    fixture_sync(&b->f);
    struct message *done = fixture_take(&b->f, MESSAGE_replica_mint_done);
    result.status = done->replica_mint_done.status;
    assert_int_equal(done->id, b->next_id);
    if (result.status == OK) {
        result.set = test_decode(&b->f, keyspace, key, done->replica_mint_done.record);
        result.context = test_clock(&b->f, done->replica_mint_done.context);
        result.siblings = done->replica_mint_done.sibling_count;
        assert_int_equal(result.siblings, result.set.count);
    } else {
        assert_false(done->replica_mint_done.staged);
    }
    message_free(done);
    fixture_silent(&b->f);
    return result;
}

static inline void send_write(struct bench *b, enum test_keyspace keyspace, const char *key,
                              struct bytes record, enum write_reason reason)
{
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->replica_write = (struct replica_write){
        .keyspace_id = b->f.keyspace_ids[keyspace],
        .key = bytes_of_string(key),
        .record = record,
        .policy = policy_of(keyspace),
        .partition = test_partition(&b->f, keyspace, key),
        .reason = reason,
    };
    fixture_handle(&b->f, message);
}

static inline enum err write_record(struct bench *b, enum test_keyspace keyspace, const char *key,
                                    struct bytes record, enum write_reason reason)
{
    send_write(b, keyspace, key, record, reason);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_replica_write_reply);
    enum err status = reply->replica_write_reply.status;
    assert_int_equal(reply->to.node, 2);
    message_free(reply);
    fixture_silent(&b->f);
    return status;
}

static inline void send_read(struct bench *b, enum test_keyspace keyspace, const char *key)
{
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(3, ACTOR_COORDINATOR);
    message->replica_read = (struct replica_read){
        .keyspace_id = b->f.keyspace_ids[keyspace],
        .key = bytes_of_string(key),
        .policy = policy_of(keyspace),
        .partition = test_partition(&b->f, keyspace, key),
    };
    fixture_handle(&b->f, message);
}

static inline enum err read_set(struct bench *b, enum test_keyspace keyspace, const char *key,
                                struct version_set *ret_set)
{
    send_read(b, keyspace, key);
    struct message *reply = fixture_take(&b->f, MESSAGE_replica_read_reply);
    enum err status = reply->replica_read_reply.status;
    *ret_set = (struct version_set){0};
    if (status == OK && reply->replica_read_reply.record.size != 0)
        *ret_set = test_decode(&b->f, keyspace, key, reply->replica_read_reply.record);
    message_free(reply);
    fixture_silent(&b->f);
    return status;
}

/* Puts raw bytes where the record of a key lies. */
static inline void put_raw(struct bench *b, enum test_keyspace keyspace, const char *key,
                           struct bytes record)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint32_t id = b->f.keyspace_ids[keyspace];
    struct bytes name = bytes_of_string(key);
    size_t size = hash_storage_key(id, name, hash_key(id, name), memory);
    assert_int_equal(store_put(b->f.ctx.store, test_partition(&b->f, keyspace, key),
                               bytes_of(memory, size), record, STORE_SYNC_NOW),
                     OK);
    fixture_sync(&b->f);
}

/* What lies there; empty: nothing. */
static inline struct bytes raw_record(struct bench *b, enum test_keyspace keyspace, const char *key)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint32_t id = b->f.keyspace_ids[keyspace];
    struct bytes name = bytes_of_string(key);
    struct bytes record = {0};
    size_t size = hash_storage_key(id, name, hash_key(id, name), memory);
    enum err err = store_read(b->f.ctx.store, test_partition(&b->f, keyspace, key),
                              bytes_of(memory, size), &b->f.arena, &record);
    assert_true(err == OK || err == ERR_NOT_FOUND);
    return record;
}

static inline uint64_t own_epoch(const struct version_set *set)
{
    return clock_last_epoch(&set->clock, SELF);
}

#endif
