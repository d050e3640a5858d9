// link: coterie_actors coterie_store
/* Rules of actors/replica_quarantine.h: a row that fails its checksum is never "not found", never
 * spread, never overwritten but by the join of all other replicas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/exchange.h"
#include "tests/unit/replica_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS

static const struct replica_figures *figures(const struct bench *b)
{
    return replica_figures(b->replica);
}

static struct bytes storage_key(struct bench *b, const char *key)
{
    uint32_t id = b->f.keyspace_ids[KEYSPACE];
    uint8_t *memory = arena_alloc(&b->f.arena, STORAGE_KEY_BYTES_MAX);
    struct bytes name = bytes_of_string(key);
    return bytes_of(memory, hash_storage_key(id, name, hash_key(id, name), memory));
}

/* Turns over a bit of what is held of a key; gives the bytes as they are now. */
static struct bytes damage(struct bench *b, const char *key)
{
    struct bytes row;
    uint32_t partition = test_partition(&b->f, KEYSPACE, key);
    assert_int_equal(store_read(b->f.ctx.store, partition, storage_key(b, key), &b->f.arena, &row),
                     OK);
    assert_true(
        engine_memory_damage(b->f.engine, partition, storage_key(b, key), 8 * (row.size / 2)));
    assert_int_equal(store_read(b->f.ctx.store, partition, storage_key(b, key), &b->f.arena, &row),
                     OK);
    return row;
}

static void settle(struct bench *b)
{
    for (int i = 0; i < 100; i++)
        fixture_pass(&b->f, 4 * MS);
}

/* The next message must be a request to repair that key. */
static void take_repair(struct bench *b, const char *key)
{
    struct message *message = fixture_take(&b->f, MESSAGE_record_repair);
    assert_int_equal(message->to.node, SELF);
    assert_int_equal(message->to.kind, ACTOR_ANTI_ENTROPY);
    assert_int_equal(message->record_repair.partition, test_partition(&b->f, KEYSPACE, key));
    assert_int_equal(message->record_repair.keyspace_id, b->f.keyspace_ids[KEYSPACE]);
    assert_true(bytes_equal(message->record_repair.key, bytes_of_string(key)));
    message_free(message);
}

static enum err read_status(struct bench *b, const char *key)
{
    struct version_set set;
    return read_set(b, KEYSPACE, key, &set);
}

static struct bytes record_of(struct bench *b, const char *key, uint32_t member, const char *value)
{
    struct version_set set = test_write(&b->f, &(struct version_set){0}, NULL, member, 1, value);
    return test_record(&b->f, KEYSPACE, key, &set);
}

/* RELIABILITY rule 25: met by a read, a mint, a merge or a scan, the key answers CORRUPT, its bytes
 * are copied aside, the bad row stays as it is, and anti-entropy is asked once. */
static void met_in_any_way(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct bench b;
        bench_init(&b);
        settle(&b);
        mint(&b, KEYSPACE, "k", "v", NULL);
        struct bytes bad = damage(&b, "k");
        uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
        if (way == 0) {
            assert_int_equal(read_status(&b, "k"), ERR_CORRUPT);
        } else if (way == 1) {
            assert_int_equal(mint(&b, KEYSPACE, "k", "w", NULL).status, ERR_CORRUPT);
        } else if (way == 2) {
            assert_int_equal(write_record(&b, KEYSPACE, "k", record_of(&b, "k", 2, "theirs"),
                                          WRITE_ANTI_ENTROPY),
                             ERR_CORRUPT);
        } else {
            static const uint32_t zero = 0;
            struct exchange_indices nodes = {.count = 1, .indices = &zero};
            struct message *message = message_new(MESSAGE_digest_read, 0);
            message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
            message->digest_read =
                (struct digest_read){.partition = partition,
                                     .keyspace_id = b.f.keyspace_ids[KEYSPACE],
                                     .nodes = exchange_indices_encode(&b.f.arena, &nodes)};
            fixture_handle(&b.f, message);
            fixture_sync(&b.f);
            struct message *reply = fixture_take(&b.f, MESSAGE_digest_read_reply);
            struct exchange_digests digests;
            assert_int_equal(
                exchange_digests_decode(&b.f.arena, reply->digest_read_reply.digests, 0, &digests),
                OK);
            assert_int_equal(digests.count, 0); /* it is not spread */
            message_free(reply);
        }
        assert_int_equal(counter_get(&figures(&b)->quarantined), 1);
        fixture_pass(&b.f, 0);
        take_repair(&b, "k");
        for (int i = 0; i < 3; i++)
            assert_int_equal(read_status(&b, "k"), ERR_CORRUPT);
        fixture_pass(&b.f, 1000 * MS);
        fixture_silent(&b.f);
        assert_int_equal(counter_get(&figures(&b)->corrupt), 4);
        struct bytes row;
        assert_int_equal(
            store_read(b.f.ctx.store, partition, storage_key(&b, "k"), &b.f.arena, &row), OK);
        assert_true(bytes_equal(row, bad));
        uint8_t *name = arena_alloc(&b.f.arena, 15 + STORAGE_KEY_BYTES_MAX);
        memcpy(name, "quarantine/\0\0\0", 14);
        name[14] = (uint8_t)partition;
        struct bytes key = storage_key(&b, "k");
        memcpy(name + 15, key.data, key.size);
        assert_int_equal(
            store_read(b.f.ctx.store, STORE_META, bytes_of(name, 15 + key.size), &b.f.arena, &row),
            OK);
        assert_true(bytes_equal(row, bad));
        /* Other keys live. */
        assert_int_equal(read_status(&b, "other"), OK);
        bench_deinit(&b);
    }
}

/* replica_quarantine.h: only the join of all other replicas takes the place of a bad row, and the
 * key gets a fresh epoch: its dots can not repeat those that only the bad row knew. */
static void repaired_by_the_join(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    settle(&b);
    struct minted lost = mint(&b, KEYSPACE, "k", "mine", NULL);
    damage(&b, "k");
    assert_int_equal(read_status(&b, "k"), ERR_CORRUPT);
    struct bytes join = record_of(&b, "k", 2, "theirs");
    static const enum write_reason others[] = {WRITE_REPLICATE, WRITE_READ_REPAIR, WRITE_HINT,
                                               WRITE_ANTI_ENTROPY};
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        assert_int_equal(write_record(&b, KEYSPACE, "k", join, others[i]), ERR_CORRUPT);
    assert_int_equal(write_record(&b, KEYSPACE, "k", join, WRITE_REPAIR), OK);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &held), OK);
    assert_int_equal(held.count, 1);
    assert_true(test_holds(&held, "theirs"));
    assert_true(own_epoch(&held) > own_epoch(&lost.set));
    struct minted next = mint(&b, KEYSPACE, "k", "next", NULL);
    assert_int_equal(next.status, OK);
    assert_int_equal(clock_find(&next.set.clock, SELF, own_epoch(&lost.set)) == NULL, 1);
    assert_int_equal(counter_get(&figures(&b)->quarantined), 0);
    assert_int_equal(counter_get(&figures(&b)->rows_repaired), 1);
    /* The lost write may come back from wherever it was, and is a sibling then. */
    assert_int_equal(
        write_record(&b, KEYSPACE, "k", test_record(&b.f, KEYSPACE, "k", &lost.set), WRITE_HINT),
        OK);
    assert_int_equal(read_set(&b, KEYSPACE, "k", &held), OK);
    assert_true(test_holds(&held, "mine") && test_holds(&held, "next"));
    bench_deinit(&b);
}

/* A repair of a row that is sound by now is a merge like any other. */
static void a_late_repair_is_a_merge(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE, "k", "mine", NULL);
    assert_int_equal(write_record(&b, KEYSPACE, "k", record_of(&b, "k", 2, "theirs"), WRITE_REPAIR),
                     OK);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &held), OK);
    assert_true(test_holds(&held, "mine") && test_holds(&held, "theirs"));
    assert_int_equal(counter_get(&figures(&b)->rows_repaired), 0);
    bench_deinit(&b);
}

/* One that found nothing anywhere and comes late leaves no row where there is none, nor changes
 * what is there. */
static void a_late_repair_with_nothing_is_none(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes row;
    struct bytes nothing = test_record(&b.f, KEYSPACE, "k", &(struct version_set){0});
    assert_int_equal(write_record(&b, KEYSPACE, "k", nothing, WRITE_REPAIR), OK);
    assert_int_equal(store_read(b.f.ctx.store, test_partition(&b.f, KEYSPACE, "k"),
                                storage_key(&b, "k"), &b.f.arena, &row),
                     ERR_NOT_FOUND);
    mint(&b, KEYSPACE, "k", "mine", NULL);
    assert_int_equal(write_record(&b, KEYSPACE, "k", nothing, WRITE_REPAIR), OK);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &held), OK);
    assert_true(held.count == 1 && test_holds(&held, "mine"));
    bench_deinit(&b);
}

/* replica_quarantine.h: asked again after 30 s, for as long as it takes; a bounded number a second.
 */
static void asked_at_a_pace(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    settle(&b);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        mint(&b, KEYSPACE, key, "v", NULL);
        damage(&b, key);
        assert_int_equal(read_status(&b, key), ERR_CORRUPT);
    }
    fixture_pass(&b.f, 0);
    for (uint32_t i = 0; i < 64; i++)
        message_free(fixture_take(&b.f, MESSAGE_record_repair));
    fixture_silent(&b.f);
    fixture_pass(&b.f, 1000 * MS);
    for (uint32_t i = 0; i < 36; i++)
        message_free(fixture_take(&b.f, MESSAGE_record_repair));
    fixture_silent(&b.f);
    fixture_pass(&b.f, 28900 * MS);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 100 * MS);
    message_free(fixture_take(&b.f, MESSAGE_record_repair));
    bench_deinit(&b);
}

/* replica_tree.h: trees are built without the bad row, and that is no drift; with the repair it is
 * in them again. */
static void trees_do_not_count_it(void **state)
{
    (void)state;
    for (int early = 0; early < 2; early++) {
        struct bench b;
        bench_init(&b);
        settle(&b);
        mint(&b, KEYSPACE, "k", "v", NULL);
        damage(&b, "k");
        assert_int_equal(read_status(&b, "k"), ERR_CORRUPT);
        fixture_pass(&b.f, 0);
        take_repair(&b, "k");
        if (early == 0) {
            fixture_pass(&b.f, 10000 * MS);
            settle(&b);
            assert_int_equal(counter_get(&figures(&b)->tree_keys), 0);
        }
        assert_int_equal(write_record(&b, KEYSPACE, "k", record_of(&b, "k", 2, "x"), WRITE_REPAIR),
                         OK);
        fixture_pass(&b.f, 10000 * MS);
        settle(&b);
        assert_int_equal(counter_get(&figures(&b)->tree_keys), 1);
        assert_int_equal(counter_get(&figures(&b)->tree_drift), 0);
        assert_int_equal(replica_trees_differing(b.replica, b.f.ctx.store), 0);
        bench_deinit(&b);
    }
}

/* A restart forgets the table and meets the row again: by its scan, at the latest. */
static void met_again_after_a_start(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE, "k", "v", NULL);
    damage(&b, "k");
    assert_int_equal(read_status(&b, "k"), ERR_CORRUPT);
    bench_restart(&b, true);
    assert_int_equal(counter_get(&figures(&b)->quarantined), 0);
    settle(&b);
    assert_int_equal(counter_get(&figures(&b)->quarantined), 1);
    assert_int_equal(counter_get(&figures(&b)->tree_keys), 0);
    take_repair(&b, "k");
    assert_int_equal(read_status(&b, "k"), ERR_CORRUPT);
    bench_deinit(&b);
}

static bool count_row(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)closure;
    return true;
}

static uint32_t copies(struct bench *b)
{
    uint32_t count = 0;
    assert_int_equal(store_scan(b->f.ctx.store, STORE_META, bytes_of_string("quarantine/"),
                                bytes_of_string("quarantine0"), count_row, &count),
                     OK);
    return count;
}

/* replica_quarantine.h: at most 1024 rows are remembered and 1000 copied aside, over restarts too;
 * the others answer CORRUPT all the same. */
static void room_is_bounded(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    settle(&b);
    for (int i = 0; i < 1100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        put_raw(&b, KEYSPACE, key, bytes_of_string("this is no record"));
        assert_int_equal(read_status(&b, key), ERR_CORRUPT);
    }
    assert_int_equal(copies(&b), 1000);
    assert_int_equal(counter_get(&figures(&b)->quarantined), 1024);
    assert_int_equal(counter_get(&figures(&b)->quarantine_full), 100 + 76);
    fixture_sync(&b.f);
    bench_restart(&b, true);
    fixture_tick(&b.f);
    while (b.f.outbox.first != NULL)
        message_free(fixture_take(&b.f, MESSAGE_record_repair));
    put_raw(&b, KEYSPACE, "one more", bytes_of_string("this is no record"));
    assert_int_equal(read_status(&b, "one more"), ERR_CORRUPT);
    assert_int_equal(copies(&b), 1000);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(met_in_any_way),
        cmocka_unit_test(repaired_by_the_join),
        cmocka_unit_test(a_late_repair_is_a_merge),
        cmocka_unit_test(a_late_repair_with_nothing_is_none),
        cmocka_unit_test(asked_at_a_pace),
        cmocka_unit_test(trees_do_not_count_it),
        cmocka_unit_test(met_again_after_a_start),
        cmocka_unit_test(room_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
