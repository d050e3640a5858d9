// link: coterie_actors coterie_store
/* Rules of actors/hinted_handoff.h (RELIABILITY rule 22): durable before it counts, delivered when
 * the target is there, deleted after its durable answer, bounded, nothing silently forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/hint_bench.h"

#include <stdlib.h>

#define KEYS_MANY 100u

/* -- the way in ---------------------------------------------------------------------------------
 */

static void answered_when_durable(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    store_hint(&b, TARGET, "k", one_write(&b, "k", 3, "v"));
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->held), 1);
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    /* The same again is there already, and still answered only by what is durable. */
    store_hint(&b, TARGET, "k", one_write(&b, "k", 3, "v"));
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    assert_int_equal(hints(&b), 1);
    bench_deinit(&b);
}

/* A hint that was acknowledged is there after a power cut, and one that was not is not. */
static void survives_a_restart(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "kept", 3, "v");
    store_hint(&b, TARGET, "lost", one_write(&b, "lost", 3, "v"));
    fixture_silent(&b.f);
    bench_restart(&b, false);
    assert_int_equal(hints(&b), 1);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    struct message *message = expect_delivery(&b);
    assert_true(bytes_equal(message->replica_write.key, bytes_of_string("kept")));
    assert_true(bytes_equal(message->replica_write.record, one_write(&b, "kept", 3, "v")));
    message_free(message);
    bench_deinit(&b);
}

/* One row a target and key: a hint is a state, joined by the merge. */
static void hints_join(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "left");
    keep_hint(&b, "k", 4, "right");
    assert_int_equal(hints(&b), 1);
    assert_int_equal(counter_get(&b.figures->joined), 1);
    store_hint(&b, 3, "k", one_write(&b, "k", 4, "right")); /* another target, another row */
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    assert_int_equal(hints(&b), 2);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    struct message *message = expect_delivery(&b);
    struct version_set set = test_decode(&b.f, SIBLINGS, "k", message->replica_write.record);
    assert_true(test_holds(&set, "left") && test_holds(&set, "right"));
    message_free(message);
    bench_deinit(&b);
}

/* limits.h: a join that could never leave is not kept; what was kept before stays as it is, also
 * when the target says that it is too large together with what is held there. */
static void hints_can_travel(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    char *big = malloc(VALUE_BYTES_MAX_CEILING + 1);
    assert_non_null(big);
    memset(big, 'x', VALUE_BYTES_MAX_CEILING);
    big[VALUE_BYTES_MAX_CEILING] = '\0';
    keep_hint(&b, "k", 3, big);
    store_hint(&b, TARGET, "k", one_write(&b, "k", 4, big));
    fixture_sync(&b.f);
    expect_stored(&b, ERR_LIMIT);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    deliver_one(&b, ERR_LIMIT);
    assert_int_equal(hints(&b), 1);
    deliver_one(&b, OK);
    assert_int_equal(hints(&b), 0);
    free(big);
    bench_deinit(&b);
}

/* For nobody, for itself, damaged, too late: refused, and nothing is kept. */
static void refusals(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes record = one_write(&b, "k", 3, "v");
    store_hint(&b, 99, "k", record);
    expect_stored(&b, ERR_INVALID);
    store_hint(&b, SELF, "k", record);
    expect_stored(&b, ERR_INVALID);
    store_hint(&b, TARGET, "other", record);
    expect_stored(&b, ERR_CORRUPT);
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->refused), 3);
    bench_deinit(&b);
}

/* Bounded in bytes per target; what has no room is refused and counted, joins that fit go on. */
static void overflow_is_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    hinted_handoff_free(b.hinted_handoff);
    b.options.target_bytes_max = 300;
    bench_start(&b, 2);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < 10; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%u", i);
        store_hint(&b, TARGET, key, one_write(&b, key, 3, "v"));
        fixture_sync(&b.f);
        bool full = counter_get(&b.figures->overflow) > 0;
        kept += !full;
        expect_stored(&b, full ? ERR_LIMIT : OK);
    }
    assert_true(kept > 0 && kept < 10);
    assert_int_equal(hints(&b), kept);
    assert_int_equal(counter_get(&b.figures->overflow), 10 - kept);
    assert_true(counter_get(&b.figures->bytes) <= 300);
    store_hint(&b, 3, "k", one_write(&b, "k", 3, "v")); /* each target has its own room */
    fixture_sync(&b.f);
    expect_stored(&b, OK);
    bench_deinit(&b);
}

/* -- the way out --------------------------------------------------------------------------------
 */

/* Nothing is sent to one that is down; the row goes when the target's answer is OK, not before. */
static void deleted_after_its_answer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    assert_false(wait_for_mail(&b, 5 * SECONDS));
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    struct message *message = expect_delivery(&b);
    uint64_t id = message->id;
    message_free(message);
    assert_int_equal(hints(&b), 1);
    answer_delivery(&b, id, 4, OK); /* not the target's word */
    answer_delivery(&b, id + 1, TARGET, OK);
    assert_int_equal(hints(&b), 1);
    bench_restart(&b, true);
    assert_int_equal(hints(&b), 1);
    answer_delivery(&b, id, TARGET, OK); /* to an earlier life */
    assert_int_equal(hints(&b), 1);
    message = expect_delivery(&b);
    assert_true(message->id != id);
    answer_delivery(&b, message->id, TARGET, OK);
    message_free(message);
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->bytes), 0);
    assert_int_equal(counter_get(&b.figures->delivered), 1);
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    fixture_sync(&b.f);
    bench_restart(&b, false);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* An answer about an older state does not delete what was joined to it since. */
static void joined_while_in_flight(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "first");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    struct message *message = expect_delivery(&b);
    keep_hint(&b, "k", 4, "second");
    answer_delivery(&b, message->id, TARGET, OK);
    message_free(message);
    assert_int_equal(hints(&b), 1);
    message = expect_delivery(&b);
    struct version_set set = test_decode(&b.f, SIBLINGS, "k", message->replica_write.record);
    assert_true(test_holds(&set, "first") && test_holds(&set, "second"));
    answer_delivery(&b, message->id, TARGET, OK);
    message_free(message);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* Unanswered: the same again after a second, then two. Refused: again after a pause. */
static void sent_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    struct message *message = expect_delivery(&b);
    uint64_t id = message->id;
    message_free(message);
    assert_false(wait_for_mail(&b, 990 * MS));
    message = expect_delivery(&b);
    assert_int_equal(message->id, id);
    message_free(message);
    assert_false(wait_for_mail(&b, 1990 * MS));
    message = expect_delivery(&b);
    answer_delivery(&b, message->id, TARGET, ERR_UNAVAILABLE);
    message_free(message);
    assert_int_equal(hints(&b), 1);
    assert_int_equal(counter_get(&b.figures->resent), 2);
    assert_int_equal(counter_get(&b.figures->failed), 1);
    assert_false(wait_for_mail(&b, 490 * MS));
    message = expect_delivery(&b);
    answer_delivery(&b, message->id, TARGET, OK);
    message_free(message);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* At most a window in flight, at most a window each pace; everything arrives once. */
static void paced_in_windows(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < KEYS_MANY; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%u", i);
        keep_hint(&b, key, 3, "v");
    }
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    uint32_t delivered = 0;
    while (delivered < KEYS_MANY && wait_for_mail(&b, 900 * MS)) {
        uint64_t ids[HINT_WINDOW_MAX];
        uint32_t count = 0;
        struct message *message;
        while ((message = outbox_take(&b.f.outbox)) != NULL) {
            assert_true(count < b.options.window);
            ids[count++] = message->id;
            message_free(message);
        }
        assert_false(wait_for_mail(&b, 500 * MS)); /* the window is full, or all are in flight */
        for (uint32_t i = 0; i < count; i++)
            answer_delivery(&b, ids[i], TARGET, OK);
        fixture_silent(&b.f); /* the next ones wait for their time */
        delivered += count;
    }
    assert_int_equal(delivered, KEYS_MANY);
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

/* Older than the age: dropped and counted, also while the target is down. */
static void expiry_is_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    b.f.ctx.wall_ms += b.options.age_max_ms - 5000;
    fixture_pass(&b.f, 2 * SECONDS);
    assert_int_equal(hints(&b), 1);
    fixture_pass(&b.f, 4 * SECONDS);
    assert_int_equal(hints(&b), 0);
    assert_int_equal(counter_get(&b.figures->expired), 1);
    assert_int_equal(counter_get(&b.figures->delivered), 0);
    bench_deinit(&b);
}

static void foreign_messages_are_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t sent = 0;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (kind == MESSAGE_hint_store || kind == MESSAGE_replica_write_reply ||
            kind == MESSAGE_store_committed || kind == MESSAGE_reap_hints ||
            kind == MESSAGE_key_explain || kind == MESSAGE_client_maintenance)
            continue;
        fixture_handle(&b.f, message_new((enum message_kind)kind, 0));
        sent++;
    }
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->unexpected), sent);
    bench_deinit(&b);
}

/* A keeper whose own store takes nothing cannot forget what it has delivered: it slows down, and
 * ends when the store is well again. */
static void a_stalled_keeper_does_not_hammer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    keep_hint(&b, "k", 3, "v");
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    uint32_t sent = 0;
    for (uint64_t passed_ns = 0; passed_ns < 10 * SECONDS; passed_ns += 5 * MS) {
        fixture_pass(&b.f, 5 * MS);
        while (b.f.outbox.first != NULL) {
            struct message *message = outbox_take(&b.f.outbox);
            assert_int_equal(message->kind, MESSAGE_replica_write);
            answer_delivery(&b, message->id, TARGET, OK);
            message_free(message);
            sent++;
        }
    }
    assert_true(sent > 1);
    assert_true(sent < 12);
    assert_int_equal(hints(&b), 1);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    for (int i = 0; i < 4000 && hints(&b) != 0; i++) {
        fixture_pass(&b.f, 5 * MS);
        while (b.f.outbox.first != NULL) {
            struct message *message = outbox_take(&b.f.outbox);
            answer_delivery(&b, message->id, TARGET, OK);
            message_free(message);
        }
    }
    assert_int_equal(hints(&b), 0);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answered_when_durable),
        cmocka_unit_test(survives_a_restart),
        cmocka_unit_test(hints_join),
        cmocka_unit_test(hints_can_travel),
        cmocka_unit_test(refusals),
        cmocka_unit_test(overflow_is_counted),
        cmocka_unit_test(deleted_after_its_answer),
        cmocka_unit_test(joined_while_in_flight),
        cmocka_unit_test(sent_again),
        cmocka_unit_test(paced_in_windows),
        cmocka_unit_test(expiry_is_counted),
        cmocka_unit_test(foreign_messages_are_counted),
        cmocka_unit_test(a_stalled_keeper_does_not_hammer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
