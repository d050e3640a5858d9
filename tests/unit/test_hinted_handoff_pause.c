// link: coterie_actors coterie_store
/* Rules of actors/hinted_handoff.h: delivery is paused for one target or for all, over restarts;
 * reaping hears of no hints only when there are none (RELIABILITY 2.2); what is kept for whom, and
 * how it goes on, can be asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/hint_bench.h"

/* -- pause and resume -------------------------------------------------------------------------- */

static enum err maintain(struct bench *b, enum maintenance_operation operation, uint32_t member)
{
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->id = 77;
    message->client_maintenance =
        (struct client_maintenance){.client = 77, .operation = operation, .member = member};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_client_maintenance_done);
    enum err status = reply->client_maintenance_done.status;
    assert_int_equal(reply->client_maintenance_done.client, 77);
    assert_int_equal(reply->to.kind, ACTOR_EDGE);
    message_free(reply);
    return status;
}

static struct hint_target_figures figures_of(const struct bench *b, uint32_t member)
{
    struct hint_target_figures all[MEMBERS_MAX];
    size_t count =
        hinted_handoff_targets(b->hinted_handoff, b->f.ctx.now_ns, all, ARRAY_COUNT(all));
    for (size_t i = 0; i < count; i++) {
        if (all[i].member == member)
            return all[i];
    }
    return (struct hint_target_figures){0};
}

/* Hints are taken and kept meanwhile; the pause is there before anything is sent by a new start. */
static void paused_over_restarts(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, TARGET), OK);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    assert_false(wait_for_mail(&b, 10 * SECONDS));
    bench_restart(&b, false);
    keep_hint(&b, "l", 3, "v");
    assert_false(wait_for_mail(&b, 10 * SECONDS));
    assert_int_equal(hints(&b), 2);
    assert_int_equal(figures_of(&b, TARGET).state, HINT_TARGET_PAUSED);
    assert_int_equal(counter_get(&b.figures->paused), 1);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_RESUME, TARGET), OK);
    assert_int_equal(counter_get(&b.figures->paused), 0);
    deliver_one(&b, OK);
    deliver_one(&b, OK);
    assert_int_equal(hints(&b), 0);
    bench_restart(&b, false);
    assert_int_equal(counter_get(&b.figures->paused), 0);
    bench_deinit(&b);
}

/* A start that cannot read who is paused delivers nothing until it can. */
static void pauses_that_cannot_be_read(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, TARGET), OK);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    hinted_handoff_free(b.hinted_handoff);
    fixture_crash(&b.f, true);
    b.options.generation++;
    b.hinted_handoff = hinted_handoff_new(&b.options);
    b.figures = hinted_handoff_figures(b.hinted_handoff);
    b.f.actor = hinted_handoff_actor(b.hinted_handoff);
    store_hint(&b, TARGET, "k", one_write(&b, "k", 3, "v"));
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    /* The disk is well again each time, but not when the row would be read. */
    for (uint32_t i = 0; i < 20; i++) {
        engine_memory_set_faults(b.f.engine, &b.f.prng, 1.0, 0, false);
        assert_false(wait_for_mail(&b, 60 * MS));
        engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
        assert_false(wait_for_mail(&b, 40 * MS));
    }
    assert_true(counter_get(&b.figures->store_errors) > 0);
    assert_false(wait_for_mail(&b, 10 * SECONDS));
    assert_int_equal(hints(&b), 1);
    assert_int_equal(counter_get(&b.figures->paused), 1);
    bench_deinit(&b);
}

/* What was under way counts when it is answered before the pause, not after: then it stays, and is
 * sent again. */
static void paused_while_in_flight(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    struct message *message = expect_delivery(&b);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, MEMBER_NONE), OK);
    assert_false(wait_for_mail(&b, 10 * SECONDS)); /* not even sent again */
    answer_delivery(&b, message->id, TARGET, OK);
    message_free(message);
    assert_int_equal(hints(&b), 1);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_RESUME, MEMBER_NONE), OK);
    deliver_one(&b, OK);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* All but one, one of all, and all again. */
static void pauses_of_all_and_of_one(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, MEMBER_NONE), OK);
    assert_int_equal(counter_get(&b.figures->paused), 3);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_RESUME, 3), OK);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_RESUME, 3), OK); /* the same again */
    assert_int_equal(counter_get(&b.figures->paused), 2);
    bench_restart(&b, false);
    assert_true(figures_of(&b, TARGET).paused && figures_of(&b, 4).paused);
    assert_false(figures_of(&b, 3).paused);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, 3), OK);
    assert_int_equal(counter_get(&b.figures->paused), 3);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_RESUME, MEMBER_NONE), OK);
    assert_int_equal(counter_get(&b.figures->paused), 0);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, 4), OK);
    bench_restart(&b, false);
    assert_int_equal(counter_get(&b.figures->paused), 1);
    assert_true(figures_of(&b, 4).paused);
    bench_deinit(&b);
}

static void pauses_of_nobody(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, SELF), ERR_INVALID);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, 99), ERR_INVALID);
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_START, 0), ERR_UNSUPPORTED);
    assert_int_equal(counter_get(&b.figures->paused), 0);
    bench_deinit(&b);
}

/* Paused is not for ever: the bound in age holds. */
static void paused_hints_expire(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, MEMBER_NONE), OK);
    b.f.ctx.wall_ms += b.options.age_max_ms + 1;
    expect_dirty(&b, "k");
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* -- reaping ----------------------------------------------------------------------------------- */

static enum err ask_for_range(struct bench *b, uint32_t partition, enum test_keyspace keyspace)
{
    struct message *message = message_new(MESSAGE_reap_hints, 0);
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->id = 5;
    message->reap_hints =
        (struct reap_hints){.partition = partition, .keyspace_id = b->f.keyspace_ids[keyspace]};
    fixture_handle(&b->f, message);
    if (b->f.outbox.first == NULL)
        fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_reap_hints_reply);
    enum err status = reply->reap_hints_reply.status;
    assert_int_equal(reply->to.kind, ACTOR_ANTI_ENTROPY);
    message_free(reply);
    return status;
}

/* A row counts from when it is staged until its target has it, whoever the target is. */
static void reaping_asks(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint32_t partition = test_partition(&b.f, SIBLINGS, "k");
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), OK);
    store_hint(&b, TARGET, "k", one_write(&b, "k", 3, "v"));
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), ERR_PRECONDITION); /* staged */
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    store_hint(&b, 3, "k", one_write(&b, "k", 4, "w"));
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), ERR_PRECONDITION);
    assert_int_equal(ask_for_range(&b, (partition + 1) % 16, SIBLINGS), OK);
    assert_int_equal(ask_for_range(&b, partition, KEYSPACE_TEST_LWW), OK);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, OK);
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), ERR_PRECONDITION); /* member 3's */
    bench_restart(&b, true);
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), ERR_PRECONDITION);
    fixture_set_liveness(&b.f, 3, LIVENESS_ALIVE);
    assert_true(wait_for_mail(&b, 2 * SECONDS));
    struct message *message = fixture_take(&b.f, MESSAGE_replica_write);
    answer_delivery(&b, message->id, 3, OK);
    message_free(message);
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), OK);
    bench_deinit(&b);
}

/* None is kept only when no crash can bring a row back that was deleted: the round would be over
 * and the row refused under its floor. */
static void reaping_waits_for_the_deletion(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, OK);
    assert_int_equal(hints(&b), 0);
    struct message *message = message_new(MESSAGE_reap_hints, 0);
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->reap_hints = (struct reap_hints){.partition = test_partition(&b.f, SIBLINGS, "k"),
                                              .keyspace_id = b.f.keyspace_ids[SIBLINGS]};
    fixture_handle(&b.f, message);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    message = fixture_take(&b.f, MESSAGE_reap_hints_reply);
    assert_int_equal(message->reap_hints_reply.status, OK);
    message_free(message);
    bench_deinit(&b);
}

/* After a start nobody knows until the rows have been counted. */
static void reaping_asks_too_early(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    uint32_t partition = test_partition(&b.f, SIBLINGS, "k");
    hinted_handoff_free(b.hinted_handoff);
    b.options.generation++;
    b.hinted_handoff = hinted_handoff_new(&b.options);
    b.figures = hinted_handoff_figures(b.hinted_handoff);
    b.f.actor = hinted_handoff_actor(b.hinted_handoff);
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), ERR_UNAVAILABLE);
    assert_int_equal(ask_for_range(&b, (partition + 1) % 16, SIBLINGS), ERR_UNAVAILABLE);
    fixture_tick(&b.f);
    assert_int_equal(ask_for_range(&b, partition, SIBLINGS), ERR_PRECONDITION);
    assert_int_equal(ask_for_range(&b, (partition + 1) % 16, SIBLINGS), OK);
    bench_deinit(&b);
}

/* Many ranges: the count stays right while the table grows and its places are used again. */
static void reaping_asks_of_many_ranges(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint32_t expected[16] = {0};
    for (uint32_t round = 0; round < 2; round++) {
        fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
        for (uint32_t i = 0; i < 300; i++) {
            struct version_set empty = {0};
            struct version_set set = test_write(&b.f, &empty, NULL, 3, 7, "v");
            char key[16];
            snprintf(key, sizeof key, "key%u", i);
            /* Keyspaces that nobody knows any more are kept apart as well. */
            uint32_t keyspace_id = 1000 + i % 150;
            uint32_t partition = hash_partition(hash_key(keyspace_id, bytes_of_string(key)), 16);
            struct message *message = message_new(MESSAGE_hint_store, 0);
            message->from = actor_id_of(3, ACTOR_COORDINATOR);
            message->id = ASKED_ID;
            message->hint_store.target = TARGET;
            message->hint_store.write = (struct replica_write){
                .keyspace_id = keyspace_id,
                .key = bytes_of_string(key),
                .record = record_encode(&b.f.arena, keyspace_id, bytes_of_string(key), &set),
                .partition = partition,
            };
            fixture_handle(&b.f, message);
            fixture_sync(&b.f);
            expect_stored(&b, OK);
            b.f.keyspace_ids[KEYSPACE_TEST_LWW] = keyspace_id;
            assert_int_equal(ask_for_range(&b, partition, KEYSPACE_TEST_LWW), ERR_PRECONDITION);
            expected[partition]++;
        }
        fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
        while (hints(&b) > 0)
            deliver_one(&b, OK);
        for (uint32_t i = 0; i < 150 * 16; i++) {
            b.f.keyspace_ids[KEYSPACE_TEST_LWW] = 1000 + i / 16;
            assert_int_equal(ask_for_range(&b, i % 16, KEYSPACE_TEST_LWW), OK);
        }
    }
    assert_true(expected[0] > 0 && expected[15] > 0);
    bench_deinit(&b);
}

/* -- explain ----------------------------------------------------------------------------------- */

static struct key_explain_reply explain(struct bench *b, const char *key)
{
    struct message *message = message_new(MESSAGE_key_explain, 0);
    message->from = actor_id_of(3, ACTOR_COORDINATOR);
    message->key_explain = (struct key_explain){.partition = test_partition(&b->f, SIBLINGS, key),
                                                .keyspace_id = b->f.keyspace_ids[SIBLINGS],
                                                .key = bytes_of_string(key)};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_key_explain_reply);
    struct key_explain_reply answer = reply->key_explain_reply;
    message_free(reply);
    return answer;
}

static void explain_says_for_whom(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_set_liveness(&b.f, 4, LIVENESS_DOWN);
    keep_hint(&b, "k", 3, "v");
    uint64_t since_ms = b.f.ctx.wall_ms;
    fixture_pass(&b.f, 3 * SECONDS);
    store_hint(&b, 4, "k", one_write(&b, "k", 3, "v"));
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    keep_hint(&b, "other", 3, "v");
    struct key_explain_reply reply = explain(&b, "k");
    assert_int_equal(reply.status, OK);
    assert_int_equal(reply.hint_count, 2);
    assert_int_equal(reply.hint_members[0], TARGET);
    assert_int_equal(reply.hint_members[1], 4);
    assert_int_equal(reply.hint_stored_at_ms, since_ms);
    reply = explain(&b, "other");
    assert_int_equal(reply.hint_count, 1);
    reply = explain(&b, "nothing");
    assert_int_equal(reply.status, OK);
    assert_int_equal(reply.hint_count, 0);
    assert_int_equal(reply.hint_stored_at_ms, 0);
    bench_deinit(&b);
}

/* -- figures ----------------------------------------------------------------------------------- */

static void figures_of_a_target(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t first_ms = b.f.ctx.wall_ms;
    keep_hint(&b, "k", 3, "v");
    fixture_pass(&b.f, 3 * SECONDS);
    for (uint32_t i = 0; i < 4; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%u", i);
        keep_hint(&b, key, 3, "v");
    }
    struct hint_target_figures figures = figures_of(&b, TARGET);
    assert_int_equal(figures.state, HINT_TARGET_AWAY);
    assert_int_equal(figures.hints, 5);
    assert_int_equal(figures.bytes, counter_get(&b.figures->bytes));
    assert_int_equal(figures.oldest_ms, first_ms);
    assert_true(figures.delivered_per_s < 0.001);
    bench_restart(&b, true);
    assert_int_equal(figures_of(&b, TARGET).oldest_ms, first_ms);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, OK);
    assert_int_equal(figures_of(&b, TARGET).state, HINT_TARGET_DELIVERING);
    while (hints(&b) > 0)
        deliver_one(&b, OK);
    figures = figures_of(&b, TARGET);
    assert_int_equal(figures.state, HINT_TARGET_IDLE);
    assert_int_equal(figures.hints, 0);
    assert_int_equal(figures.oldest_ms, 0);
    assert_true(figures.delivered_per_s > 0.49 && figures.delivered_per_s < 0.51);
    b.f.ctx.now_ns += 12 * SECONDS; /* nobody has to write for it to pass */
    assert_true(figures_of(&b, TARGET).delivered_per_s < 0.001);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paused_over_restarts),   cmocka_unit_test(pauses_that_cannot_be_read),
        cmocka_unit_test(paused_while_in_flight), cmocka_unit_test(pauses_of_all_and_of_one),
        cmocka_unit_test(pauses_of_nobody),       cmocka_unit_test(paused_hints_expire),
        cmocka_unit_test(reaping_asks),           cmocka_unit_test(reaping_waits_for_the_deletion),
        cmocka_unit_test(reaping_asks_too_early), cmocka_unit_test(reaping_asks_of_many_ranges),
        cmocka_unit_test(explain_says_for_whom),  cmocka_unit_test(figures_of_a_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
