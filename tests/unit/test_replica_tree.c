// link: coterie_actors coterie_store
/* Rules of actors/replica_tree.h: trees say what the rows say, whatever happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tree_bench.h"

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

/* message_range.h: UNAVAILABLE until the trees are built; after a crash they are built from what it
 * left.
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

/* Requests to repair it. */
static void drop_messages(struct bench *b)
{
    struct message *message;
    while ((message = outbox_take(&b->f.outbox)) != NULL)
        message_free(message);
}

/* replica_keep.c: nobody would know of a bad row again if trees that do not count it were kept. */
static void bad_rows_are_met_again(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_key(&b, "k", "v");
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    struct bytes name = bytes_of_string("k");
    uint32_t id = b.f.keyspace_ids[KEYSPACE];
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    struct bytes key = bytes_of(memory, hash_storage_key(id, name, hash_key(id, name), memory));
    assert_true(engine_memory_damage(b.f.engine, partition, key, 80));
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_CORRUPT);
    fixture_pass(&b.f, 20 * 1000 * MS);
    settle(&b); /* built again, without it */
    drop_messages(&b);
    stop_cleanly(&b);
    assert_int_equal(kept_rows(&b), 15);
    bench_restart(&b, true);
    first_step(&b);
    settle(&b);
    fixture_sync(&b.f);
    drop_messages(&b);
    struct message *reply = ask_roots(&b, partition);
    assert_true(reply->tree_roots_reply.bad_rows);
    message_free(reply);
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
        cmocka_unit_test(bad_rows_are_met_again),
        cmocka_unit_test(kept_trees_need_the_clean_mark),
        cmocka_unit_test(kept_trees_that_are_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
