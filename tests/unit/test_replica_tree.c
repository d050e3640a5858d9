// link: coterie_actors coterie_store
/* Rules of actors/replica_tree.h and of what a replica answers in an exchange (message.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/exchange.h"
#include "tests/unit/replica_bench.h"

#include <stdlib.h>

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define SALT     77u

/* Ticks until the actor has nothing to do soon. */
static void settle(struct bench *b)
{
    for (int i = 0; i < 1000; i++)
        fixture_pass(&b->f, 4 * MS);
    assert_true(actor_wake_at_ns(b->f.actor) > b->f.ctx.now_ns + 4 * MS);
}

static void start(struct bench *b)
{
    bench_init(b);
    settle(b);
}

static void consistent(struct bench *b)
{
    assert_int_equal(replica_trees_differing(b->replica, b->f.ctx.store), 0);
    assert_int_equal(counter_get(&replica_figures(b->replica)->tree_drift), 0);
}

static struct message *question(struct bench *b, enum message_kind kind)
{
    struct message *message = message_new(kind, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    return message;
}

static struct message *ask_roots(struct bench *b, uint32_t partition)
{
    struct message *message = question(b, MESSAGE_tree_roots);
    message->tree_roots.partition = partition;
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_tree_roots_reply);
}

/* The root of the keyspace under test, count 0 when it has none. */
static struct exchange_root root_of(struct bench *b, uint32_t partition)
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
static void model_add(struct merkle *tree, struct bench *b, const char *key, struct bytes record)
{
    merkle_add(tree, hash_key(b->f.keyspace_ids[KEYSPACE], bytes_of_string(key)),
               record_checksum(record));
}

/* Keys of one partition, in no order. */
static void key_in(const struct bench *b, uint32_t partition, uint32_t number, char ret[16])
{
    for (uint32_t i = 0, seen = 0;; i++) {
        snprintf(ret, 16, "k%u", i);
        if (test_partition(&b->f, KEYSPACE, ret) == partition && seen++ == number)
            return;
    }
}

static struct bytes put_key(struct bench *b, const char *key, const char *value)
{
    struct version_set set = test_write(&b->f, &(struct version_set){0}, NULL, 2, 1, value);
    struct bytes record = test_record(&b->f, KEYSPACE, key, &set);
    assert_int_equal(write_record(b, KEYSPACE, key, record, WRITE_REPLICATE), OK);
    return record;
}

/* -- trees and rows
 * -------------------------------------------------------------------------------- */

/* replica_tree.h: the tree says what is held, after inserts, overwrites, merges and those that
 * change nothing. */
static void trees_follow_rows(void **state)
{
    (void)state;
    struct bench b;
    struct merkle model;
    start(&b);
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    assert_int_equal(root_of(&b, partition).node.count, 0);
    struct minted m = mint(&b, KEYSPACE, "k", "one", NULL);
    m = mint(&b, KEYSPACE, "k", "two", &m.context);
    struct version_set peer = test_write(&b.f, &m.set, &m.set.clock, 2, 1, "three");
    struct bytes record = test_record(&b.f, KEYSPACE, "k", &peer);
    assert_int_equal(write_record(&b, KEYSPACE, "k", record, WRITE_REPLICATE), OK);
    assert_int_equal(write_record(&b, KEYSPACE, "k", record, WRITE_REPLICATE), OK);
    merkle_init(&model, partition, 16, MERKLE_DEPTH_MIN);
    model_add(&model, &b, "k", record);
    struct exchange_root root = root_of(&b, partition);
    assert_true(merkle_node_equal(root.node, merkle_root(&model)));
    assert_int_equal(root.depth, MERKLE_DEPTH_MIN);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_keys), 1);
    consistent(&b);
    merkle_deinit(&model);
    bench_deinit(&b);
}

/* message.h: UNAVAILABLE until the trees are built; after a crash they are built from what it left.
 */
static void built_after_a_crash(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct bench b;
        start(&b);
        struct bytes record = put_key(&b, "k", "durable");
        uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
        struct merkle model;
        merkle_init(&model, partition, 16, MERKLE_DEPTH_MIN);
        if (keep == 0)
            model_add(&model, &b, "k", record);
        struct version_set more = test_write(&b.f, &(struct version_set){0}, NULL, 3, 1, "lost");
        send_write(&b, KEYSPACE, "k", test_record(&b.f, KEYSPACE, "k", &more), WRITE_REPLICATE);
        bench_restart(&b, keep == 1);
        struct message *reply = ask_roots(&b, partition);
        assert_int_equal(reply->tree_roots_reply.status, ERR_UNAVAILABLE);
        message_free(reply);
        settle(&b);
        assert_int_equal(counter_get(&replica_figures(b.replica)->tree_builds), 16);
        struct version_set held;
        assert_int_equal(read_set(&b, KEYSPACE, "k", &held), OK);
        assert_int_equal(held.count, 1 + (uint32_t)keep);
        if (keep == 1)
            model_add(&model, &b, "k", test_record(&b.f, KEYSPACE, "k", &held));
        assert_true(merkle_node_equal(root_of(&b, partition).node, merkle_root(&model)));
        consistent(&b);
        merkle_deinit(&model);
        bench_deinit(&b);
    }
}

/* replica_tree.h: writes below, at and above the cursor of a build all end up in the new tree. */
static void writes_during_a_build(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    char key[16];
    for (uint32_t i = 0; i < 1200; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, "v");
    }
    bench_restart(&b, false);
    uint64_t builds = 0;
    for (uint32_t step = 0; builds < 16 && step < 1000; step++) {
        fixture_pass(&b.f, 4 * MS);
        builds = counter_get(&replica_figures(b.replica)->tree_builds);
        for (uint32_t i = 0; i < 40; i++) {
            key_in(&b, 5, (step * 40 + i) * 7 % 1300, key);
            mint(&b, KEYSPACE, key, "again", NULL);
        }
    }
    assert_int_equal(builds, 16);
    consistent(&b);
    assert_true(root_of(&b, 5).node.count >= 1200);
    bench_deinit(&b);
}

/* replica_tree.h: a tree two levels too shallow is built anew, deeper, and serves meanwhile. */
static void trees_grow(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    char key[16];
    for (uint32_t i = 0; i < 1000; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, "v");
        if (i % 50 == 0)
            fixture_pass(&b.f, 4 * MS);
        assert_int_equal(root_of(&b, 5).node.count, i + 1);
    }
    settle(&b);
    assert_in_range(root_of(&b, 5).depth, merkle_depth_for(1000) - 1, merkle_depth_for(1000));
    consistent(&b);
    /* From a scan it has the right depth at once. */
    bench_restart(&b, false);
    settle(&b);
    assert_int_equal(root_of(&b, 5).depth, merkle_depth_for(1000));
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_builds), 16);
    consistent(&b);
    bench_deinit(&b);
}

/* replica_tree.h: beyond tree_bytes_max trees are made shallower; figures say what they take. */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    char key[16];
    for (uint32_t i = 0; i < 1000; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, "v");
    }
    replica_free(b.replica);
    b.f.actor = NULL;
    fixture_crash(&b.f, true);
    bench_start(&b);
    struct replica_options options = {
        .self = SELF, .shards = 1, .held_max = HELD_MAX, .tree_bytes_max = 1000};
    replica_free(b.replica);
    b.replica = replica_new(&options, &b.boot);
    b.f.actor = replica_actor(b.replica);
    settle(&b);
    assert_int_equal(root_of(&b, 5).node.count, 1000);
    assert_in_range(counter_get(&replica_figures(b.replica)->tree_bytes), 1, 1000);
    assert_int_equal(counter_get(&replica_figures(b.replica)->trees), 1);
    put_key(&b, "other", "v"); /* no storm of builds that cannot help */
    fixture_pass(&b.f, 4 * MS);
    settle(&b);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_builds), 16);
    bench_deinit(&b);
}

/* replica_tree.h: derived anew on schedule; a tree that was wrong is counted, and right from then.
 */
static void drift_is_found(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_key(&b, "k", "v");
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    /* Behind the replica's back. */
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 2, "other");
    struct bytes record = test_record(&b.f, KEYSPACE, "k", &set);
    put_raw(&b, KEYSPACE, "k", record);
    assert_int_equal(replica_trees_differing(b.replica, b.f.ctx.store), 1);
    for (int i = 0; i < 36; i++) {
        b.f.ctx.now_ns += 3600 * 1000 * MS;
        settle(&b);
    }
    assert_true(counter_get(&replica_figures(b.replica)->tree_builds) >= 32);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_drift), 1);
    assert_int_equal(replica_trees_differing(b.replica, b.f.ctx.store), 0);
    struct merkle model;
    merkle_init(&model, partition, 16, MERKLE_DEPTH_MIN);
    model_add(&model, &b, "k", record);
    assert_true(merkle_node_equal(root_of(&b, partition).node, merkle_root(&model)));
    merkle_deinit(&model);
    bench_deinit(&b);
}

/* design: ids of dropped keyspaces lose their trees; those not heard of yet do not. */
static void dropped_keyspaces_are_forgotten(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_key(&b, "k", "v");
    assert_int_equal(counter_get(&replica_figures(b.replica)->trees), 1);
    struct keyspace dropped = *keyspace_map_find(&b.f.map, "siblings");
    dropped.dropped = true;
    struct keyspace_map map = keyspace_map_put(&b.f.arena, &b.f.map, &dropped);
    view_unref(b.f.view);
    b.f.ctx.view = b.f.view = view_new(&b.f.topology, &map, SELF);
    assert_int_equal(root_of(&b, test_partition(&b.f, KEYSPACE, "k")).node.count, 0);
    fixture_pass(&b.f, 60 * 1000 * MS);
    assert_int_equal(counter_get(&replica_figures(b.replica)->trees), 0);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_bytes), 0);
    put_key(&b, "k2", "late"); /* somebody who has not heard of it */
    consistent(&b);
    bench_deinit(&b);
}

static void stop_cleanly(struct bench *b)
{
    assert_int_equal(replica_keep_trees(b->replica, b->f.ctx.store), OK);
    assert_int_equal(boot_mark_clean(engine_store(b->f.engine, HANDLE_BOOT)), OK);
}

static bool count_row(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)closure;
    return true;
}

static uint32_t kept_rows(struct bench *b)
{
    uint32_t count = 0;
    assert_int_equal(store_scan(b->f.ctx.store, STORE_META, bytes_of_string("vnode-tree/"),
                                bytes_of_string("vnode-tree0"), count_row, &count),
                     OK);
    return count;
}

/* The first step after a start, whatever it is about. */
static void first_step(struct bench *b)
{
    fixture_handle(&b->f, question(b, MESSAGE_store_committed));
}

static void no_trees(struct bench *b, uint32_t partition)
{
    struct message *reply = ask_roots(b, partition);
    assert_int_equal(reply->tree_roots_reply.status, ERR_UNAVAILABLE);
    message_free(reply);
}

/* design: trees are kept over a clean stop, their rows are gone from the start on, and a crash
 * later does not find them. */
static void kept_over_a_clean_stop(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    char key[16];
    for (uint32_t i = 0; i < 300; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, "v");
    }
    settle(&b);
    struct exchange_root before = root_of(&b, 5);
    stop_cleanly(&b);
    assert_int_equal(kept_rows(&b), 17);
    bench_restart(&b, true);
    first_step(&b);
    assert_int_equal(kept_rows(&b), 0);
    fixture_sync(&b.f);
    struct exchange_root after = root_of(&b, 5);
    assert_true(merkle_node_equal(after.node, before.node));
    assert_int_equal(after.depth, before.depth);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_builds), 0);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_keys), 300);
    consistent(&b);
    /* A crash: what was kept before is not true any more, and is not taken. */
    put_key(&b, "k", "new");
    bench_restart(&b, true);
    no_trees(&b, 5);
    settle(&b);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_builds), 16);
    consistent(&b);
    /* Nor are trees that were not there at the last clean stop. */
    bench_restart(&b, true);
    first_step(&b);
    stop_cleanly(&b);
    bench_restart(&b, true);
    no_trees(&b, 5);
    settle(&b);
    consistent(&b);
    bench_deinit(&b);
}

/* design: a stop that was not a clean one leaves nothing that could be trusted. */
static void kept_trees_need_the_clean_mark(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_key(&b, "k", "v");
    assert_int_equal(replica_keep_trees(b.replica, b.f.ctx.store), OK);
    bench_restart(&b, true);
    no_trees(&b, 5);
    settle(&b);
    consistent(&b);
    bench_deinit(&b);
}

/* A kept tree that cannot be read, or is missing, costs a build and nothing else. */
static void kept_trees_that_are_damaged(void **state)
{
    (void)state;
    for (int missing = 0; missing < 2; missing++) {
        struct bench b;
        start(&b);
        put_key(&b, "k", "v");
        uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
        stop_cleanly(&b);
        uint8_t row[19] = "vnode-tree/";
        uint32_t id = b.f.keyspace_ids[KEYSPACE];
        for (int i = 0; i < 4; i++) {
            row[11 + i] = (uint8_t)(partition >> (24 - 8 * i));
            row[15 + i] = (uint8_t)(id >> (24 - 8 * i));
        }
        struct bytes value;
        struct bytes name = bytes_of(row, sizeof row);
        assert_int_equal(store_read(b.f.ctx.store, STORE_META, name, &b.f.arena, &value), OK);
        uint8_t *damaged = arena_alloc(&b.f.arena, value.size);
        memcpy(damaged, value.data, value.size);
        damaged[value.size / 2] ^= 1;
        enum err err = missing == 1 ? store_delete(b.f.ctx.store, STORE_META, name, STORE_SYNC_NOW)
                                    : store_put(b.f.ctx.store, STORE_META, name,
                                                bytes_of(damaged, value.size), STORE_SYNC_NOW);
        assert_int_equal(err, OK);
        bench_restart(&b, true);
        no_trees(&b, partition);
        fixture_sync(&b.f);
        assert_int_equal(root_of(&b, (partition + 1) % 16).node.count, 0); /* kept */
        settle(&b);
        assert_int_equal(counter_get(&replica_figures(b.replica)->tree_builds), 1);
        consistent(&b);
        bench_deinit(&b);
    }
}

/* -- answers
 * --------------------------------------------------------------------------------------- */

/* message.h: answers about trees are held until all that they speak of is durable. */
static void answers_wait_for_the_log(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
    send_write(&b, KEYSPACE, "k", test_record(&b.f, KEYSPACE, "k", &set), WRITE_REPLICATE);
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    uint32_t id = b.f.keyspace_ids[KEYSPACE];
    static const uint32_t zero = 0;
    struct exchange_indices nodes = {.count = 1, .indices = &zero};
    struct bytes root = exchange_indices_encode(&b.f.arena, &nodes);
    struct message *message = question(&b, MESSAGE_tree_roots);
    message->tree_roots.partition = partition;
    fixture_handle(&b.f, message);
    message = question(&b, MESSAGE_tree_read);
    message->tree_read = (struct tree_read){
        .partition = partition, .keyspace_id = id, .fanout_bits = 2, .nodes = root};
    fixture_handle(&b.f, message);
    message = question(&b, MESSAGE_digest_read);
    message->digest_read =
        (struct digest_read){.partition = partition, .keyspace_id = id, .nodes = root};
    fixture_handle(&b.f, message);
    message = question(&b, MESSAGE_record_fetch);
    message->record_fetch =
        (struct record_fetch){.partition = partition, .keyspace_id = id, .places = root};
    fixture_handle(&b.f, message);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    static const enum message_kind kinds[] = {MESSAGE_replica_write_reply, MESSAGE_tree_roots_reply,
                                              MESSAGE_tree_read_reply, MESSAGE_digest_read_reply,
                                              MESSAGE_record_fetch_reply};
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        struct message *reply = fixture_take(&b.f, kinds[i]);
        assert_int_equal(reply->replica_write_reply.status, OK);
        assert_true(i == 0 || reply->to.kind == ACTOR_ANTI_ENTROPY);
        message_free(reply);
    }
    bench_deinit(&b);
}

static struct message *ask_nodes(struct bench *b, uint32_t level, uint32_t fanout_bits,
                                 const uint32_t *indices, uint32_t count)
{
    struct exchange_indices nodes = {.count = count, .indices = indices};
    struct message *message = question(b, MESSAGE_tree_read);
    message->tree_read = (struct tree_read){
        .partition = 5,
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .level = level,
        .fanout_bits = fanout_bits,
        .salt = SALT,
        .nodes = arena_copy(&message->arena, exchange_indices_encode(&b->f.arena, &nodes))};
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_tree_read_reply);
}

/* message.h, tree_read: the hashes of children, down to the leaves of this tree and no deeper. */
static void nodes_are_answered(void **state)
{
    (void)state;
    struct bench b;
    struct merkle model;
    char key[16];
    start(&b);
    merkle_init(&model, 5, 16, MERKLE_DEPTH_MIN);
    for (uint32_t i = 0; i < 50; i++) {
        key_in(&b, 5, i, key);
        model_add(&model, &b, key, put_key(&b, key, "v"));
    }
    static const uint32_t some[] = {0, 2, 3};
    const uint32_t *hashes;
    uint32_t expected[3u << 3];
    /* Two levels asked for, from level 2 of a tree of depth 4; then three, of which two are there.
     */
    for (uint32_t bits = 2; bits < 4; bits++) {
        struct message *reply = ask_nodes(&b, 2, bits, some, 3);
        struct merkle_front front = {
            .salt = SALT, .level = 2, .fanout_bits = 2, .count = 3, .indices = some};
        merkle_front_hashes(&model, &front, expected);
        assert_int_equal(reply->tree_read_reply.status, OK);
        assert_int_equal(reply->tree_read_reply.level, 4);
        assert_int_equal(reply->tree_read_reply.depth, 4);
        assert_int_equal(
            exchange_hashes_decode(&b.f.arena, reply->tree_read_reply.hashes, 12, &hashes), OK);
        assert_memory_equal(hashes, expected, 12 * sizeof *hashes);
        message_free(reply);
    }
    struct message *reply = ask_nodes(&b, 4, 2, some, 3);
    assert_int_equal(reply->tree_read_reply.status, OK);
    assert_int_equal(reply->tree_read_reply.level, 4);
    assert_int_equal(reply->tree_read_reply.hashes.size, 0);
    message_free(reply);
    /* What a peer should not ask. */
    static const struct {
        uint32_t level, bits;
    } bad[] = {{2, 0}, {2, 7}, {1, 2}, {17, 2}, {64, 2}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        reply = ask_nodes(&b, bad[i].level, bad[i].bits, some, 3);
        assert_int_not_equal(reply->tree_read_reply.status, OK);
        message_free(reply);
    }
    merkle_deinit(&model);
    bench_deinit(&b);
}

static struct message *ask_digests(struct bench *b, uint32_t level, const uint32_t *indices,
                                   uint32_t count, uint64_t from_hash)
{
    struct exchange_indices nodes = {.count = count, .indices = indices};
    struct message *message = question(b, MESSAGE_digest_read);
    message->digest_read = (struct digest_read){
        .partition = 5,
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .level = level,
        .salt = SALT,
        .nodes = arena_copy(&message->arena, exchange_indices_encode(&b->f.arena, &nodes)),
        .from_hash = from_hash};
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_digest_read_reply);
}

/* message.h, digest_read: of the keys in the ranges and no others, of one keyspace, in order. */
static void digests_are_answered(void **state)
{
    (void)state;
    struct bench b;
    char key[16];
    start(&b);
    static const uint32_t some[] = {3, 4, 9, 15};
    struct exchange_digest expected[100];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 100; i++) {
        key_in(&b, 5, i, key);
        struct bytes record = put_key(&b, key, "v");
        uint64_t hash = hash_key(b.f.keyspace_ids[KEYSPACE], bytes_of_string(key));
        uint32_t leaf = merkle_index(16, 4, hash);
        bool asked = leaf == 3 || leaf == 4 || leaf == 9 || leaf == 15;
        struct exchange_digest digest = {.place = exchange_place(16, 4, hash),
                                         .state = exchange_state(record_checksum(record), SALT),
                                         .dots = 1};
        if (asked)
            expected[count++] = digest;
        snprintf(key, sizeof key, "strict%u", i);
        struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
        assert_int_equal(write_record(&b, KEYSPACE_TEST_STRICT, key,
                                      test_record(&b.f, KEYSPACE_TEST_STRICT, key, &set),
                                      WRITE_REPLICATE),
                         OK);
    }
    exchange_digests_sort(expected, count);
    struct message *reply = ask_digests(&b, 4, some, 4, 0);
    struct exchange_digests digests;
    assert_int_equal(reply->digest_read_reply.status, OK);
    assert_false(reply->digest_read_reply.more);
    assert_int_equal(
        exchange_digests_decode(&b.f.arena, reply->digest_read_reply.digests, 4, &digests), OK);
    assert_int_equal(digests.count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(digests.digests[i].place, expected[i].place);
        assert_int_equal(digests.digests[i].state, expected[i].state);
        assert_int_equal(digests.digests[i].dots, expected[i].dots);
    }
    message_free(reply);
    bench_deinit(&b);
}

/* message.h, digest_read: a step looks at about 2000 rows; the asker goes on behind where the
 * answer ended, and has seen each key once in the end. */
static void digests_come_in_pages(void **state)
{
    (void)state;
    struct bench b;
    char key[16];
    start(&b);
    for (uint32_t i = 0; i < 300; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, "v");
    }
    /* Many rows of another keyspace between them, put there in one go. */
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
    uint32_t others = 0;
    for (uint32_t i = 0; others < 6000; i++) {
        snprintf(key, sizeof key, "s%u", i);
        if (test_partition(&b.f, KEYSPACE_TEST_STRICT, key) != 5)
            continue;
        send_write(&b, KEYSPACE_TEST_STRICT, key,
                   test_record(&b.f, KEYSPACE_TEST_STRICT, key, &set), WRITE_REPLICATE);
        if (++others % 4 == 0)
            fixture_sync(&b.f);
    }
    fixture_sync(&b.f);
    while (b.f.outbox.first != NULL)
        message_free(fixture_take(&b.f, MESSAGE_replica_write_reply));
    uint32_t all[16];
    for (uint32_t i = 0; i < 16; i++)
        all[i] = i;
    uint32_t seen = 0;
    uint32_t pages = 0;
    uint64_t from = 0;
    bool more = true;
    int64_t last_place = -1;
    while (more) {
        struct message *reply = ask_digests(&b, 4, all, 16, from);
        struct exchange_digests digests;
        assert_int_equal(reply->digest_read_reply.status, OK);
        assert_int_equal(
            exchange_digests_decode(&b.f.arena, reply->digest_read_reply.digests, 4, &digests), OK);
        assert_true(digests.count == 0 || digests.digests[0].place > last_place);
        if (digests.count > 0)
            last_place = digests.digests[digests.count - 1].place;
        seen += digests.count;
        pages++;
        more = reply->digest_read_reply.more;
        assert_true(!more || reply->digest_read_reply.through_hash >= from);
        from = reply->digest_read_reply.through_hash + 1;
        message_free(reply);
    }
    assert_int_equal(seen, 300);
    assert_int_equal(pages, 4);
    bench_deinit(&b);
}

static struct message *ask_records(struct bench *b, uint32_t level, const uint32_t *places,
                                   uint32_t count)
{
    struct exchange_indices list = {.count = count, .indices = places};
    struct message *message = question(b, MESSAGE_record_fetch);
    message->record_fetch = (struct record_fetch){
        .partition = 5,
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .level = level,
        .places = arena_copy(&message->arena, exchange_indices_encode(&b->f.arena, &list))};
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_record_fetch_reply);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* message.h, record_fetch: whole places, as many as fit in about 256 KiB, at least one; what is
 * gone is left out; the records are those that are held. */
static void records_are_fetched(void **state)
{
    (void)state;
    struct bench b;
    char key[16];
    start(&b);
    static char value[60 * 1024];
    memset(value, 'x', sizeof value - 1);
    uint32_t places[21];
    for (uint32_t i = 0; i < 20; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, value);
        places[i] =
            exchange_place(16, 4, hash_key(b.f.keyspace_ids[KEYSPACE], bytes_of_string(key)));
    }
    places[20] = 0; /* nothing there, most likely */
    qsort(places, 21, sizeof *places, compare_u32);
    uint32_t served = 0;
    uint32_t records_seen = 0;
    while (served < 21) {
        struct message *reply = ask_records(&b, 4, places + served, 21 - served);
        struct exchange_records records;
        assert_int_equal(reply->record_fetch_reply.status, OK);
        assert_in_range(reply->record_fetch_reply.served, 1, 21 - served);
        assert_true(reply->record_fetch_reply.records.size <= 300 * 1024);
        assert_int_equal(
            exchange_records_decode(&b.f.arena, reply->record_fetch_reply.records, &records), OK);
        for (uint32_t i = 0; i < records.count; i++)
            assert_int_equal(record_verify(b.f.keyspace_ids[KEYSPACE], records.records[i].key,
                                           records.records[i].record),
                             OK);
        served += reply->record_fetch_reply.served;
        records_seen += records.count;
        message_free(reply);
    }
    assert_int_equal(records_seen, 20);
    bench_deinit(&b);
}

/* message.h: the roots say whether the copy is complete, and the floor. */
static void an_incomplete_copy_says_so(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_key(&b, "k", "v");
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->vnode_doubt.partition = partition;
    fixture_handle(&b.f, message);
    struct message *reply = ask_roots(&b, partition);
    assert_int_equal(reply->tree_roots_reply.status, ERR_UNAVAILABLE); /* being emptied */
    message_free(reply);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
    fixture_sync(&b.f);
    assert_int_equal(root_of(&b, partition).node.count, 0);
    message = message_new(MESSAGE_vnode_adopt, 0);
    message->vnode_adopt = (struct vnode_adopt){
        .partition = partition, .keyspace_id = b.f.keyspace_ids[KEYSPACE], .floor = 9};
    fixture_handle(&b.f, message);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_adopt_done));
    assert_int_equal(root_of(&b, partition).floor, 9);
    reply = ask_roots(&b, partition);
    assert_false(reply->tree_roots_reply.complete);
    message_free(reply);
    reply = ask_roots(&b, (partition + 1) % 16);
    assert_true(reply->tree_roots_reply.complete);
    message_free(reply);
    consistent(&b);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_follow_rows),
        cmocka_unit_test(built_after_a_crash),
        cmocka_unit_test(writes_during_a_build),
        cmocka_unit_test(trees_grow),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(drift_is_found),
        cmocka_unit_test(dropped_keyspaces_are_forgotten),
        cmocka_unit_test(kept_over_a_clean_stop),
        cmocka_unit_test(kept_trees_need_the_clean_mark),
        cmocka_unit_test(kept_trees_that_are_damaged),
        cmocka_unit_test(answers_wait_for_the_log),
        cmocka_unit_test(nodes_are_answered),
        cmocka_unit_test(digests_are_answered),
        cmocka_unit_test(digests_come_in_pages),
        cmocka_unit_test(records_are_fetched),
        cmocka_unit_test(an_incomplete_copy_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
