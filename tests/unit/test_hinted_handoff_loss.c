// link: coterie_actors coterie_store
/* Rules of actors/hinted_handoff.h: what is given up is told to anti-entropy as a dirty range and
 * counted (RELIABILITY 2.4, rule 22); a hint says the floor of its source, and a target that has
 * reaped since refuses it (RELIABILITY 2.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/hint_bench.h"

static struct message *deliver_to_target(struct bench *b)
{
    fixture_set_liveness(&b->f, TARGET, LIVENESS_ALIVE);
    return expect_delivery(b);
}

static void keep_read_at(struct bench *b, const char *key, uint32_t member, uint64_t floor)
{
    store_hint_read_at(b, TARGET, key, one_write(b, key, member, "v"), floor);
    fixture_sync(&b->f);
    expect_stored(b, OK);
}

/* -- the floor ---------------------------------------------------------------------------------
 */

/* Of joined hints the least: the join holds what was read under it. */
static void the_floor_travels(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_read_at(&b, "k", 3, 9);
    bench_restart(&b, true);
    keep_read_at(&b, "k", 4, 5);
    keep_read_at(&b, "k", 1, 7);
    struct message *message = deliver_to_target(&b);
    assert_int_equal(message->replica_write.floor, 5);
    message_free(message);
    bench_deinit(&b);
}

static void keep_set_read_at(struct bench *b, const struct version_set *set, uint64_t floor)
{
    store_hint_read_at(b, TARGET, "k", test_record(&b->f, SIBLINGS, "k", set), floor);
    fixture_sync(&b->f);
    expect_stored(b, OK);
}

/* A state that holds all of the other was read just so, and keeps its floor: the higher one where a
 * newer write covers an older one, the lower one where the older state comes late. The same state
 * read twice has the higher one. */
static void the_floor_of_what_covers(void **state)
{
    (void)state;
    static const struct {
        bool older_first;
        uint64_t older_floor, newer_floor, expected;
    } cases[] = {{true, 3, 9, 9}, {false, 3, 9, 9}, {true, 9, 3, 3}, {false, 9, 3, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        bench_init(&b);
        struct version_set older = test_write(&b.f, &(struct version_set){0}, NULL, 3, 7, "older");
        struct version_set newer = test_write(&b.f, &older, NULL, 3, 7, "newer");
        keep_set_read_at(&b, cases[i].older_first ? &older : &newer,
                         cases[i].older_first ? cases[i].older_floor : cases[i].newer_floor);
        keep_set_read_at(&b, cases[i].older_first ? &newer : &older,
                         cases[i].older_first ? cases[i].newer_floor : cases[i].older_floor);
        struct message *message = deliver_to_target(&b);
        assert_int_equal(message->replica_write.floor, cases[i].expected);
        message_free(message);
        bench_deinit(&b);
    }
    struct bench b;
    bench_init(&b);
    keep_read_at(&b, "k", 3, 9);
    keep_read_at(&b, "k", 3, 5);
    struct message *message = deliver_to_target(&b);
    assert_int_equal(message->replica_write.floor, 9);
    message_free(message);
    bench_deinit(&b);
}

/* So that a retry through the target makes no second write (RELIABILITY rule 21): the last id of
 * those joined, also when a state without one is joined to it. */
static void the_request_travels(void **state)
{
    (void)state;
    static const char *const ids[] = {"0123456789abcdef", "fedcba9876543210", ""};
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < ARRAY_COUNT(ids); i++) {
        struct message *message = message_new(MESSAGE_hint_store, 0);
        message->from = actor_id_of(3, ACTOR_COORDINATOR);
        message->id = ASKED_ID;
        message->hint_store.target = TARGET;
        message->hint_store.write =
            (struct replica_write){.keyspace_id = b.f.keyspace_ids[SIBLINGS],
                                   .key = bytes_of_string("k"),
                                   .record = one_write(&b, "k", 10 + i, "v"),
                                   .partition = test_partition(&b.f, SIBLINGS, "k"),
                                   .request_id = bytes_of_string(ids[i]),
                                   .request_context = bytes_of_string(ids[i])};
        fixture_handle(&b.f, message);
        fixture_sync(&b.f);
        expect_stored(&b, OK);
    }
    bench_restart(&b, false);
    struct message *message = deliver_to_target(&b);
    assert_true(bytes_equal(message->replica_write.request_id, bytes_of_string(ids[1])));
    assert_true(bytes_equal(message->replica_write.request_context, bytes_of_string(ids[1])));
    message_free(message);
    bench_deinit(&b);
}

/* A row of an earlier format: its floor is the lowest. Its layout stands here by hand. */
static void format_1_is_read(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes record = one_write(&b, "old", 3, "v");
    uint8_t key[4 + STORAGE_KEY_BYTES_MAX] = {0, 0, 0, TARGET};
    struct bytes name = bytes_of_string("old");
    uint32_t keyspace = b.f.keyspace_ids[SIBLINGS];
    size_t key_size = 4 + hash_storage_key(keyspace, name, hash_key(keyspace, name), key + 4);
    struct writer writer;
    writer_init(&writer, &b.f.arena, 64);
    writer_u8(&writer, 1);
    writer_varint(&writer, 0);
    writer_varint(&writer, test_partition(&b.f, SIBLINGS, "old"));
    writer_u64(&writer, WALL_MS);
    writer_bytes(&writer, record);
    assert_int_equal(store_put(b.f.ctx.store, STORE_HINTS, bytes_of(key, key_size),
                               writer_result(&writer), STORE_SYNC_NOW),
                     OK);
    bench_restart(&b, true);
    assert_int_equal(hints(&b), 1);
    keep_read_at(&b, "new", 3, 4);
    struct message *message = deliver_to_target(&b);
    struct message *second = expect_delivery(&b);
    if (bytes_equal(second->replica_write.key, name)) {
        struct message *first = message;
        message = second;
        second = first;
    }
    assert_true(bytes_equal(message->replica_write.key, name));
    assert_true(bytes_equal(message->replica_write.record, record));
    assert_int_equal(message->replica_write.floor, 0);
    assert_int_equal(second->replica_write.floor, 4);
    message_free(message);
    message_free(second);
    bench_deinit(&b);
}

/* The target was sealed by a round that its source has missed, perhaps in vain: should the source
 * be lost, the hint is all that is left. It is kept, also over a restart, and the range looked at;
 * sent again, not all the time, until the target holds it. */
static void stale_hints_are_kept(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_read_at(&b, "k", 3, 1);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, ERR_STALE_FLOOR);
    assert_int_equal(hints(&b), 1);
    assert_int_equal(counter_get(&b.figures->stale), 1);
    assert_int_equal(counter_get(&b.figures->delivered), 0);
    expect_dirty(&b, "k");
    assert_int_equal(counter_get(&b.figures->dirty), 1);
    bench_restart(&b, false);
    assert_int_equal(hints(&b), 1);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t before_ns = b.f.ctx.now_ns;
        while (b.f.outbox.first == NULL || b.f.outbox.first->kind != MESSAGE_replica_write) {
            assert_true(wait_for_mail(&b, 10 * SECONDS));
            if (b.f.outbox.first->kind == MESSAGE_range_dirty)
                expect_dirty(&b, "k");
        }
        struct message *message = fixture_take(&b.f, MESSAGE_replica_write);
        assert_true(i < 2 || b.f.ctx.now_ns - before_ns >= 1 * SECONDS);
        assert_int_equal(message->replica_write.floor, 1);
        answer_delivery(&b, message->id, TARGET, i < 3 ? ERR_STALE_FLOOR : OK);
        message_free(message);
    }
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->delivered), 1);
    bench_deinit(&b);
}

/* What was reaped in truth is refused for ever: given up in the end, or no round would begin again.
 */
static void stale_hints_end(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_read_at(&b, "k", 3, 1);
    b.f.ctx.wall_ms += b.options.stale_age_max_ms + 1;
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, ERR_STALE_FLOOR);
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->delivered), 0);
    expect_dirty(&b, "k");
    bench_deinit(&b);
}

/* The refusal was of the older state; what was joined to it meanwhile has its own turn. */
static void stale_but_joined(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_read_at(&b, "k", 3, 1);
    struct message *message = deliver_to_target(&b);
    keep_read_at(&b, "k", 4, 1);
    answer_delivery(&b, message->id, TARGET, ERR_STALE_FLOOR);
    message_free(message);
    assert_int_equal(hints(&b), 1);
    expect_dirty(&b, "k");
    struct message *joined = NULL;
    assert_true(wait_for_mail(&b, 10 * SECONDS));
    joined = fixture_take(&b.f, MESSAGE_replica_write);
    answer_delivery(&b, joined->id, TARGET, OK);
    message_free(joined);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* -- refused -----------------------------------------------------------------------------------
 */

static void refused_for_good(void **state)
{
    (void)state;
    static const enum err finals[] = {ERR_INVALID};
    for (size_t i = 0; i < ARRAY_COUNT(finals); i++) {
        struct bench b;
        bench_init(&b);
        keep_hint(&b, "k", 3, "v");
        fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
        deliver_one(&b, finals[i]);
        assert_int_equal(hints(&b), 0);
        assert_int_equal(counter_get(&b.figures->rejected), 1);
        expect_dirty(&b, "k");
        bench_deinit(&b);
    }
}

/* A copy that is being filled, a link that is down, a damaged row there: later. */
static void refused_for_now(void **state)
{
    (void)state;
    static const enum err passing[] = {ERR_INCOMPLETE, ERR_UNAVAILABLE, ERR_OVERLOADED, ERR_IO,
                                       ERR_CORRUPT,    ERR_UNSUPPORTED, ERR_TIMEOUT};
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    for (size_t i = 0; i < ARRAY_COUNT(passing); i++) {
        assert_true(wait_for_mail(&b, 13 * SECONDS));
        deliver_one(&b, passing[i]);
        assert_int_equal(hints(&b), 1);
    }
    assert_int_equal(counter_get(&b.figures->failed), ARRAY_COUNT(passing));
    assert_int_equal(counter_get(&b.figures->dirty), 0);
    assert_true(wait_for_mail(&b, 13 * SECONDS));
    deliver_one(&b, OK);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* The time until the next delivery, which the target refuses so. */
static uint64_t refused_after_ms(struct bench *b, enum err status)
{
    uint64_t before_ns = b->f.ctx.now_ns;
    assert_true(wait_for_mail(b, 13 * SECONDS));
    deliver_one(b, status);
    return (b->f.ctx.now_ns - before_ns) / MS;
}

/* A copy that a change has just announced takes writes a moment later: the hint is not to outlive
 * the move. One that is filled for long is asked no more often than any other target. */
static void a_copy_that_is_given_is_asked_again_soon(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    refused_after_ms(&b, ERR_INCOMPLETE);
    assert_in_range(refused_after_ms(&b, ERR_INCOMPLETE), 50, 160);
    assert_in_range(refused_after_ms(&b, ERR_INCOMPLETE), 100, 310);
    for (uint32_t i = 0; i < 10; i++)
        refused_after_ms(&b, ERR_INCOMPLETE);
    assert_in_range(refused_after_ms(&b, OK), 4000, 12100);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    refused_after_ms(&b, ERR_IO);
    assert_in_range(refused_after_ms(&b, ERR_IO), 500, 1510);
    bench_deinit(&b);
}

/* -- given up ----------------------------------------------------------------------------------
 */

static void bench_init_full(struct bench *b)
{
    bench_init(b);
    hinted_handoff_free(b->hinted_handoff);
    b->options.target_bytes_max = 1;
    bench_start(b, 2);
}

static void overflow(struct bench *b, const char *key)
{
    store_hint(b, TARGET, key, one_write(b, key, 3, "v"));
    expect_stored(b, ERR_LIMIT);
}

/* Many hints of one range are one word to anti-entropy, soon; later ones are another, and no range
 * is named again that nothing was lost of. */
static void overflow_is_dirty(void **state)
{
    (void)state;
    static const char *const keys[] = {"k", "other"};
    struct bench b;
    bench_init_full(&b);
    assert_int_not_equal(test_partition(&b.f, SIBLINGS, "k"),
                         test_partition(&b.f, SIBLINGS, "other"));
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 20; i++)
            overflow(&b, keys[round]);
        expect_dirty(&b, keys[round]);
        assert_false(wait_for_mail(&b, SECONDS));
        assert_int_equal(counter_get(&b.figures->overflow), 20 * (round + 1));
        assert_int_equal(counter_get(&b.figures->dirty), round + 1);
    }
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    bench_deinit(&b);
}

/* However fast they come. */
static void dirty_ranges_are_paced(void **state)
{
    (void)state;
    struct bench b;
    bench_init_full(&b);
    for (uint32_t i = 0; i < 60; i++) {
        overflow(&b, "k");
        fixture_pass(&b.f, 5 * MS);
        struct message *message = outbox_take(&b.f.outbox);
        if (message != NULL)
            message_free(message);
    }
    assert_true(counter_get(&b.figures->dirty) >= 3 && counter_get(&b.figures->dirty) <= 4);
    bench_deinit(&b);
}

static void expiry_is_dirty(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    b.f.ctx.wall_ms += b.options.age_max_ms + 1;
    expect_dirty(&b, "k");
    assert_int_equal(counter_get(&b.figures->expired), 1);
    bench_deinit(&b);
}

/* A join does not make a hint younger. */
static void joined_hints_expire(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    b.f.ctx.wall_ms += b.options.age_max_ms - 1000;
    keep_hint(&b, "k", 4, "w");
    b.f.ctx.wall_ms += 2000;
    expect_dirty(&b, "k");
    assert_int_equal(counter_get(&b.figures->expired), 1);
    bench_deinit(&b);
}

static bool damage_visit(void *closure, struct bytes key, struct bytes value)
{
    struct bench *b = closure;
    static const uint8_t zeros[256];
    assert_true(value.size <= sizeof zeros);
    assert_int_equal(store_put(b->f.ctx.store, STORE_HINTS, arena_copy(&b->f.arena, key),
                               bytes_of(zeros, value.size), STORE_SYNC_NOW),
                     OK);
    return false;
}

/* The first row's value, by one of the same size. */
static void damage_first_row(struct bench *b)
{
    assert_int_equal(store_scan(b->f.ctx.store, STORE_HINTS, (struct bytes){0}, (struct bytes){0},
                                damage_visit, b),
                     OK);
}

/* The key tells what was lost. Damage that a start finds is counted among the hints until its turn.
 */
static void damage_is_dirty(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    damage_first_row(&b);
    bench_restart(&b, true);
    expect_dirty(&b, "k");
    assert_int_equal(counter_get(&b.figures->corrupt), 1);
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->bytes), 0);
    bench_deinit(&b);
}

/* The new one takes its place; what the old one held is gone. */
static void damage_met_by_a_join(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    damage_first_row(&b);
    keep_hint(&b, "k", 4, "w");
    expect_dirty(&b, "k");
    assert_int_equal(hints(&b), 1);
    assert_int_equal(counter_get(&b.figures->corrupt), 1);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, OK);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* Nobody is kept a hint for that is no member any more. */
static void removed_members_get_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.f.view->topology.members[TARGET - 1].status = MEMBER_REMOVED;
    store_hint(&b, TARGET, "k", one_write(&b, "k", 4, "w"));
    expect_stored(&b, ERR_INVALID);
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->refused), 1);
    bench_deinit(&b);
}

/* A hint for a key that does not live where it says would be looked for in the wrong place. */
static void wrong_partitions_are_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct message *message = message_new(MESSAGE_hint_store, 0);
    message->from = actor_id_of(3, ACTOR_COORDINATOR);
    message->id = ASKED_ID;
    message->hint_store.target = TARGET;
    message->hint_store.write =
        (struct replica_write){.keyspace_id = b.f.keyspace_ids[SIBLINGS],
                               .key = bytes_of_string("k"),
                               .record = one_write(&b, "k", 3, "v"),
                               .partition = (test_partition(&b.f, SIBLINGS, "k") + 1) % 16,
                               .reason = WRITE_HINT};
    fixture_handle(&b.f, message);
    expect_stored(&b, ERR_INVALID);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_floor_travels),
        cmocka_unit_test(the_floor_of_what_covers),
        cmocka_unit_test(the_request_travels),
        cmocka_unit_test(format_1_is_read),
        cmocka_unit_test(stale_hints_are_kept),
        cmocka_unit_test(stale_hints_end),
        cmocka_unit_test(stale_but_joined),
        cmocka_unit_test(refused_for_good),
        cmocka_unit_test(refused_for_now),
        cmocka_unit_test(a_copy_that_is_given_is_asked_again_soon),
        cmocka_unit_test(overflow_is_dirty),
        cmocka_unit_test(dirty_ranges_are_paced),
        cmocka_unit_test(expiry_is_dirty),
        cmocka_unit_test(joined_hints_expire),
        cmocka_unit_test(damage_is_dirty),
        cmocka_unit_test(damage_met_by_a_join),
        cmocka_unit_test(removed_members_get_nothing),
        cmocka_unit_test(wrong_partitions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
