/* hint_bench.h -- a hinted handoff under test: node SELF keeps hints for TARGET, the test is all
 * others. */
#ifndef TESTS_UNIT_HINT_BENCH_H
#define TESTS_UNIT_HINT_BENCH_H

#include "actors/hinted_handoff.h"
#include "tests/unit/actor_fixture.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define TARGET   2u
#define SECONDS  (1000 * MS)
#define ASKED_ID 9u

struct bench {
    struct fixture f;
    struct hinted_handoff *hinted_handoff;
    const struct hinted_handoff_figures *figures;
    struct hinted_handoff_options options;
};

static inline void bench_start(struct bench *b, uint64_t generation)
{
    b->options.generation = generation;
    b->hinted_handoff = hinted_handoff_new(&b->options);
    b->figures = hinted_handoff_figures(b->hinted_handoff);
    b->f.actor = hinted_handoff_actor(b->hinted_handoff);
    while (actor_wake_at_ns(b->f.actor) <= b->f.ctx.now_ns)
        fixture_tick(&b->f);
}

static inline void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, 4, 1);
    for (uint32_t i = 0; i < b->f.map.count; i++) /* TARGET is a replica of every key */
        ((struct keyspace *)b->f.map.keyspaces)[i].n = 4;
    view_unref(b->f.view);
    b->f.ctx.view = b->f.view = view_new(&b->f.topology, &b->f.map, SELF);
    b->options = hinted_handoff_options_default(SELF, 1);
    fixture_set_liveness(&b->f, TARGET, LIVENESS_DOWN);
    bench_start(b, 1);
}

static inline void bench_deinit(struct bench *b)
{
    hinted_handoff_free(b->hinted_handoff);
    fixture_deinit(&b->f);
}

static inline void bench_restart(struct bench *b, bool keep)
{
    hinted_handoff_free(b->hinted_handoff);
    fixture_crash(&b->f, keep);
    bench_start(b, b->options.generation + 1);
}

static inline struct bytes one_write(struct bench *b, const char *key, uint32_t member,
                                     const char *value)
{
    struct version_set empty = {0};
    struct version_set set = test_write(&b->f, &empty, NULL, member, 7, value);
    return test_record(&b->f, SIBLINGS, key, &set);
}

static inline void store_hint_read_at(struct bench *b, uint32_t target, const char *key,
                                      struct bytes record, uint64_t floor)
{
    struct message *message = message_new(MESSAGE_hint_store, 0);
    message->from = actor_id_of(3, ACTOR_COORDINATOR);
    message->id = ASKED_ID;
    message->hint_store = (struct hint_store){
        .target = target,
        .write = {.keyspace_id = b->f.keyspace_ids[SIBLINGS],
                  .key = bytes_of_string(key),
                  .record = record,
                  .policy = POLICY_PERIODIC,
                  .partition = test_partition(&b->f, SIBLINGS, key),
                  .reason = WRITE_HINT,
                  .floor = floor},
    };
    fixture_handle(&b->f, message);
}

static inline void store_hint(struct bench *b, uint32_t target, const char *key,
                              struct bytes record)
{
    store_hint_read_at(b, target, key, record, 0);
}

static inline void expect_stored(struct bench *b, enum err status)
{
    struct message *reply = fixture_take(&b->f, MESSAGE_hint_store_reply);
    assert_int_equal(reply->hint_store_reply.status, status);
    assert_int_equal(reply->to.node, 3);
    assert_int_equal(reply->id, ASKED_ID);
    message_free(reply);
}

static inline void keep_hint(struct bench *b, const char *key, uint32_t member, const char *value)
{
    store_hint(b, TARGET, key, one_write(b, key, member, value));
    fixture_sync(&b->f);
    expect_stored(b, OK);
}

/* Lets time pass in small steps until something leaves. */
static inline bool wait_for_mail(struct bench *b, uint64_t limit_ns)
{
    for (uint64_t passed_ns = 0; passed_ns < limit_ns; passed_ns += 5 * MS) {
        if (b->f.outbox.first != NULL)
            return true;
        fixture_pass(&b->f, 5 * MS);
    }
    return b->f.outbox.first != NULL;
}

static inline struct message *expect_delivery(struct bench *b)
{
    assert_true(wait_for_mail(b, 2 * SECONDS));
    struct message *message = fixture_take(&b->f, MESSAGE_replica_write);
    assert_int_equal(message->to.node, TARGET);
    assert_int_equal(message->to.kind, ACTOR_REPLICA);
    assert_int_equal(message->from.kind, ACTOR_HINTED_HANDOFF);
    assert_int_equal(message->replica_write.reason, WRITE_HINT);
    /* Durable there whatever the keyspace asks, before it is forgotten here. */
    assert_int_equal(message->replica_write.policy & POLICY_PERIODIC, 0);
    return message;
}

#define CREDIT_ENOUGH HINT_WINDOW_MAX

static inline void answer_granting(struct bench *b, uint64_t id, uint32_t from, enum err status,
                                   uint32_t credit)
{
    struct message *reply = message_new(MESSAGE_replica_write_reply, 0);
    reply->from = actor_id_of(from, ACTOR_REPLICA);
    reply->id = id;
    reply->replica_write_reply = (struct replica_write_reply){.status = status, .credit = credit};
    fixture_handle(&b->f, reply);
}

static inline void answer_delivery(struct bench *b, uint64_t id, uint32_t from, enum err status)
{
    answer_granting(b, id, from, status, CREDIT_ENOUGH);
}

/* The next delivery, and what its target says. */
static inline void deliver_one(struct bench *b, enum err status)
{
    struct message *message = expect_delivery(b);
    answer_delivery(b, message->id, TARGET, status);
    message_free(message);
}

static inline void expect_dirty(struct bench *b, const char *key)
{
    assert_true(wait_for_mail(b, SECONDS));
    struct message *message = fixture_take(&b->f, MESSAGE_range_dirty);
    assert_int_equal(message->to.node, SELF);
    assert_int_equal(message->to.kind, ACTOR_ANTI_ENTROPY);
    assert_int_equal(message->range_dirty.member, TARGET);
    assert_int_equal(message->range_dirty.partition, test_partition(&b->f, SIBLINGS, key));
    message_free(message);
}

static inline uint64_t hints(const struct bench *b)
{
    return counter_get(&b->figures->hints);
}

#endif
