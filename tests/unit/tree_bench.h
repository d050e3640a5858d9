/* tree_bench.h -- a replica shard whose hash trees are looked at, by the questions of an exchange.
 */
#ifndef TESTS_UNIT_TREE_BENCH_H
#define TESTS_UNIT_TREE_BENCH_H

#include "model/exchange.h"
#include "tests/unit/replica_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define SALT     77u

/* Ticks until the actor has nothing to do soon. */
static inline void settle(struct bench *b)
{
    for (int i = 0; i < 1000; i++)
        fixture_pass(&b->f, 4 * MS);
    fixture_pass(&b->f, 4 * MS); /* should this be the time to look for another view */
    assert_true(actor_wake_at_ns(b->f.actor) > b->f.ctx.now_ns + 4 * MS);
}

static inline void start(struct bench *b)
{
    bench_init(b);
    settle(b);
}

static inline void consistent(struct bench *b)
{
    assert_int_equal(replica_trees_differing(b->replica, b->f.ctx.store), 0);
    assert_int_equal(counter_get(&replica_figures(b->replica)->tree_drift), 0);
}

static inline struct message *question(struct bench *b, enum message_kind kind)
{
    struct message *message = message_new(kind, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    return message;
}

static inline struct message *ask_roots(struct bench *b, uint32_t partition)
{
    struct message *message = question(b, MESSAGE_tree_roots);
    message->tree_roots.partition = partition;
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_tree_roots_reply);
}

/* The root of the keyspace under test, count 0 when it has none. */
static inline struct exchange_root root_of(struct bench *b, uint32_t partition)
{
    struct message *reply = ask_roots(b, partition);
    struct exchange_roots roots;
    struct exchange_root found = {0};
    assert_int_equal(reply->tree_roots_reply.status, OK);
    assert_int_equal(exchange_roots_decode(&b->f.arena, reply->tree_roots_reply.roots, &roots), OK);
    for (uint32_t i = 0; i < roots.count; i++) {
        if (roots.roots[i].keyspace_id == b->f.keyspace_ids[KEYSPACE])
            found = roots.roots[i];
    }
    message_free(reply);
    return found;
}

/* What a tree of these records would say. */
static inline void model_add(struct merkle *tree, struct bench *b, const char *key,
                             struct bytes record)
{
    merkle_add(tree, hash_key(b->f.keyspace_ids[KEYSPACE], bytes_of_string(key)),
               record_checksum(record));
}

/* Keys of one partition, in no order. */
static inline void key_in(const struct bench *b, uint32_t partition, uint32_t number, char ret[16])
{
    for (uint32_t i = 0, seen = 0;; i++) {
        snprintf(ret, 16, "k%u", i);
        if (test_partition(&b->f, KEYSPACE, ret) == partition && seen++ == number)
            return;
    }
}

static inline struct bytes put_key(struct bench *b, const char *key, const char *value)
{
    struct version_set set = test_write(&b->f, &(struct version_set){0}, NULL, 2, 1, value);
    struct bytes record = test_record(&b->f, KEYSPACE, key, &set);
    assert_int_equal(write_record(b, KEYSPACE, key, record, WRITE_REPLICATE), OK);
    return record;
}

#endif
