/* put_bench.h -- puts through a coordinator under test: their mints, answers and ids. */
#ifndef TESTS_UNIT_PUT_BENCH_H
#define TESTS_UNIT_PUT_BENCH_H

#include "tests/unit/coordinator_bench.h"

/* The mint of the put that was just begun. */
struct minting {
    uint64_t id;
    uint64_t epoch;
    uint32_t policy;
    struct asked targets;
};

static inline struct minting take_mint(struct bench *b)
{
    struct message *message = fixture_take(&b->f, MESSAGE_replica_mint);
    const struct replica_mint *mint = &message->replica_mint;
    struct minting minting = {.id = message->id, .epoch = message->epoch, .policy = mint->policy};
    assert_int_equal(message->to.node, SELF);
    assert_true(message->deadline_ns > b->f.ctx.now_ns);
    assert_true(bytes_equal(mint->request.value, bytes_of_string("value")));
    assert_int_equal(mint->partition, hash_partition(mint->hash, b->f.topology.partitions));
    for (uint32_t i = 0; i < mint->target_count; i++)
        minting.targets.members[minting.targets.count++] = mint->targets[i];
    message_free(message);
    fixture_silent(&b->f);
    return minting;
}

static inline struct minting begin_put(struct bench *b, enum test_keyspace keyspace,
                                       const char *key, enum consistency level)
{
    bench_put(b, keyspace, key, level);
    return take_mint(b);
}

/* Of a replica whose view is of that epoch. */
static inline void mint_done_at(struct bench *b, uint64_t epoch, uint64_t id, enum err status,
                                const char *why)
{
    struct message *message = message_new(MESSAGE_replica_mint_done, 0);
    message->epoch = epoch;
    message->from = actor_id_of(SELF, ACTOR_REPLICA);
    message->id = id;
    message->replica_mint_done = (struct replica_mint_done){.status = status, .why = why};
    if (status == OK) {
        message->replica_mint_done.staged = true;
        message->replica_mint_done.context = bytes_of_string("context");
        message->replica_mint_done.record = bytes_of_string("record");
        message->replica_mint_done.sibling_count = 2;
    }
    fixture_handle(&b->f, message);
}

/* It has refused for want of space. */
static inline void mint_refused_full(struct bench *b, uint64_t id, const char *why)
{
    struct message *message = message_new(MESSAGE_replica_mint_done, 0);
    message->from = actor_id_of(SELF, ACTOR_REPLICA);
    message->id = id;
    message->replica_mint_done =
        (struct replica_mint_done){.status = ERR_OVERLOADED, .why = why, .disk_full = true};
    fixture_handle(&b->f, message);
}

static inline void mint_done(struct bench *b, uint64_t id, enum err status, const char *why)
{
    mint_done_at(b, 0, id, status, why);
}

/* As put_answered, where replicas are left without the write and a hint. */
static inline struct put_result put_answered_lacking(struct bench *b, enum err status,
                                                     enum outcome outcome, uint32_t lacking)
{
    struct message *message = fixture_take(&b->f, MESSAGE_client_put_done);
    struct put_result result = message->client_put_done.result;
    assert_int_equal(result.status, status);
    assert_int_equal(result.outcome, outcome);
    assert_int_equal(message->client_put_done.client, CLIENT);
    assert_int_equal(message->to.kind, ACTOR_EDGE);
    assert_int_equal(message->id, 4321);
    assert_int_equal(result.why == NULL, status == OK);
    /* A context is given back only for what was applied. */
    assert_int_equal(result.context.size != 0, outcome == OUTCOME_APPLIED);
    put_result_copy(&b->f.arena, &result, &result);
    message_free(message);
    struct asked asked = bench_asked(b, MESSAGE_range_dirty);
    assert_int_equal(asked.count, 0);
    assert_int_equal(asked.hints, 0);
    assert_int_equal(asked.dirty, lacking);
    return result;
}

static inline struct put_result put_answered(struct bench *b, enum err status, enum outcome outcome)
{
    return put_answered_lacking(b, status, outcome, 0);
}

/* Ids as coordinators make them: generation, serial, place in the table. */
static inline uint64_t id_of(uint64_t serial)
{
    return (uint64_t)GENERATION << 48 | serial << 16 | 3;
}

#endif
