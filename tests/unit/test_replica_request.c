// link: coterie_actors coterie_store
/* Rules of actors/replica_request.h (RELIABILITY rule 21): mutations are idempotent by request id.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/replica_request.h"
#include "tests/unit/replica_bench.h"

static const char id_a[REQUEST_ID_BYTES + 1] = "aaaaaaaaaaaaaaaa";
static const char id_b[REQUEST_ID_BYTES + 1] = "bbbbbbbbbbbbbbbb";

struct outcome_seen {
    enum err status;
    struct version_set set;
    struct bytes context;
    struct bytes sent_id;
    struct bytes sent_context;
    struct bytes sent_record;
};

/* A put with a request id, everything durable, everything that left. */
static struct outcome_seen put_with_id(struct bench *b, const char *key, const char *value,
                                       const char *id)
{
    struct outcome_seen seen = {0};
    struct message *message = mint_message(b, KEYSPACE_TEST_SIBLINGS, key, value, NULL);
    message->replica_mint.request.request_id = bytes_of_string(id);
    fixture_handle(&b->f, message);
    fixture_pass_over_votes(&b->f);
    if (b->f.outbox.count != 0 && b->f.outbox.first->kind == MESSAGE_replica_write) {
        struct message *sent = fixture_take(&b->f, MESSAGE_replica_write);
        seen.sent_id = arena_copy(&b->f.arena, sent->replica_write.request_id);
        seen.sent_context = arena_copy(&b->f.arena, sent->replica_write.request_context);
        seen.sent_record = arena_copy(&b->f.arena, sent->replica_write.record);
        message_free(sent);
    }
    fixture_sync(&b->f);
    struct message *done = fixture_take(&b->f, MESSAGE_replica_mint_done);
    seen.status = done->replica_mint_done.status;
    if (seen.status == OK) {
        seen.context = arena_copy(&b->f.arena, done->replica_mint_done.context);
        seen.set = test_decode(&b->f, KEYSPACE_TEST_SIBLINGS, key, done->replica_mint_done.record);
    } else {
        assert_non_null(done->replica_mint_done.why);
    }
    message_free(done);
    fixture_silent(&b->f);
    return seen;
}

static const struct replica_figures *figures(const struct bench *b)
{
    return replica_figures(b->replica);
}

/* The same id: the same context, no second dot, and the targets are sent the state again. */
static void a_retry_makes_no_second_dot(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct outcome_seen first = put_with_id(&b, "k", "v", id_a);
    struct outcome_seen again = put_with_id(&b, "k", "v", id_a);
    assert_int_equal(again.status, OK);
    assert_true(bytes_equal(again.context, first.context));
    assert_true(version_set_equal(&again.set, &first.set));
    assert_true(bytes_equal(again.sent_record, first.sent_record));
    assert_true(bytes_equal(again.sent_id, bytes_of_string(id_a)));
    assert_true(bytes_equal(again.sent_context, first.context));
    assert_int_equal(counter_get(&figures(&b)->minted), 1);
    assert_int_equal(counter_get(&figures(&b)->requests_repeated), 1);
    /* Another id, or none, is another write. */
    assert_int_equal(put_with_id(&b, "k", "v", id_b).set.clock.entries[0].base, 2);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL).set.clock.entries[0].base, 3);
    bench_deinit(&b);
}

/* A retry that comes after other writes brings nothing back: it is answered, the key stays as it
 * is. */
static void a_late_retry_brings_nothing_back(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct outcome_seen first = put_with_id(&b, "k", "old", id_a);
    mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "new", NULL);
    struct outcome_seen again = put_with_id(&b, "k", "old", id_a);
    assert_true(bytes_equal(again.context, first.context));
    assert_true(test_holds(&again.set, "new"));
    assert_false(test_holds(&again.set, "old"));
    bench_deinit(&b);
}

/* One id is one write: for another key it is a mistake, said as such; nothing is staged. */
static void an_id_belongs_to_one_key(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_with_id(&b, "k", "v", id_a);
    uint64_t staged = store_staged(b.f.ctx.store);
    struct outcome_seen other = put_with_id(&b, "other", "v", id_a);
    assert_int_equal(other.status, ERR_INVALID);
    assert_int_equal(other.sent_record.size, 0);
    assert_int_equal(store_staged(b.f.ctx.store), staged);
    bench_deinit(&b);
}

/* A replica that was sent the write knows it too: the retry may come through it. */
static void a_retry_through_another_replica(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
    struct bytes context = test_clock_bytes(&b.f, &peer.clock);
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->replica_write = (struct replica_write){
        .keyspace_id = b.f.keyspace_ids[KEYSPACE_TEST_SIBLINGS],
        .key = bytes_of_string("k"),
        .record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer),
        .partition = test_partition(&b.f, KEYSPACE_TEST_SIBLINGS, "k"),
        .request_id = bytes_of_string(id_a),
        .request_context = context,
    };
    fixture_handle(&b.f, message);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_replica_write_reply));
    struct outcome_seen again = put_with_id(&b, "k", "v", id_a);
    assert_true(bytes_equal(again.context, context));
    assert_int_equal(counter_get(&figures(&b)->minted), 0);
    assert_true(version_set_equal(&again.set, &peer));
    bench_deinit(&b);
}

/* Remembered over a crash that kept the write; a write that was lost with its row is minted again.
 */
static void ids_live_as_long_as_their_writes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct outcome_seen first = put_with_id(&b, "k", "v", id_a);
    bench_restart(&b, false);
    fixture_tick(&b.f);
    assert_true(bytes_equal(put_with_id(&b, "k", "v", id_a).context, first.context));
    assert_int_equal(counter_get(&figures(&b)->minted), 0);

    struct message *lost = mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "w", NULL);
    lost->replica_mint.request.request_id = bytes_of_string(id_b);
    fixture_handle(&b.f, lost);
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    bench_restart(&b, false);
    struct outcome_seen minted = put_with_id(&b, "k", "w", id_b);
    assert_true(test_holds(&minted.set, "w"));
    assert_int_equal(counter_get(&figures(&b)->minted), 1);
    bench_deinit(&b);
}

/* Ten minutes, not less; then the row is gone, of this life and of an earlier one. */
static void ids_are_kept_ten_minutes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_tick(&b.f);
    assert_true(actor_wake_at_ns(b.f.actor) > b.f.ctx.now_ns + 400 * MS); /* nothing of this */
    put_with_id(&b, "k", "v", id_a);
    bench_restart(&b, true);
    fixture_tick(&b.f);
    assert_int_equal(counter_get(&figures(&b)->requests_remembered), 1);
    fixture_pass(&b.f, (REQUEST_KEPT_MS - 1) * MS);
    put_with_id(&b, "k", "v", id_a);
    assert_int_equal(counter_get(&figures(&b)->requests_repeated), 1);
    fixture_pass(&b.f, 2000 * MS);
    assert_int_equal(counter_get(&figures(&b)->requests_remembered), 0);
    assert_true(actor_wake_at_ns(b.f.actor) > b.f.ctx.now_ns + 400 * MS);
    put_with_id(&b, "k", "v", id_a);
    assert_int_equal(counter_get(&figures(&b)->minted), 1);
    bench_deinit(&b);
}

/* The vnode of the key is emptied, and filled with `record`. */
static void lose_and_complete(struct bench *b, struct bytes record)
{
    uint32_t partition = test_partition(&b->f, KEYSPACE_TEST_SIBLINGS, "k");
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->vnode_doubt = (struct vnode_doubt){.partition = partition, .reason = DOUBT_LOG_SHORT};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    message = fixture_take(&b->f, MESSAGE_vnode_incomplete);
    uint64_t incarnation = message->vnode_incomplete.incarnation;
    message_free(message);
    message = message_new(MESSAGE_vnode_adopt, 0);
    message->vnode_adopt = (struct vnode_adopt){
        .partition = partition, .keyspace_id = b->f.keyspace_ids[KEYSPACE_TEST_SIBLINGS]};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    message_free(fixture_take(&b->f, MESSAGE_vnode_adopt_done));
    if (record.size != 0)
        assert_int_equal(write_record(b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_ANTI_ENTROPY),
                         OK);
    message = message_new(MESSAGE_vnode_complete, 0);
    message->vnode_complete =
        (struct vnode_complete){.partition = partition, .incarnation = incarnation};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    message_free(fixture_take(&b->f, MESSAGE_vnode_complete_done));
}

/* What a vnode has lost it has not made: the row of a request outlives the write that it was about,
 * and a retry that it answers would acknowledge a write that is nowhere. */
static void a_lost_write_is_made_again(void **state)
{
    (void)state;
    for (int others_hold = 0; others_hold < 2; others_hold++) {
        struct bench b;
        bench_init(&b);
        struct outcome_seen first = put_with_id(&b, "k", "v", id_a);
        struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &first.set);
        lose_and_complete(&b, others_hold ? record : (struct bytes){0});
        bench_restart(&b, false);
        fixture_tick(&b.f);
        struct outcome_seen again = put_with_id(&b, "k", "v", id_a);
        assert_int_equal(again.status, OK);
        assert_true(test_holds(&again.set, "v"));
        assert_int_equal(counter_get(&figures(&b)->minted), !others_hold);
        bench_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retry_makes_no_second_dot),
        cmocka_unit_test(a_late_retry_brings_nothing_back),
        cmocka_unit_test(an_id_belongs_to_one_key),
        cmocka_unit_test(a_retry_through_another_replica),
        cmocka_unit_test(ids_live_as_long_as_their_writes),
        cmocka_unit_test(ids_are_kept_ten_minutes),
        cmocka_unit_test(a_lost_write_is_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
