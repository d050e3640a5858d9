// link: coterie_actors coterie_store
/* Rules of actors/hinted_handoff.h (RELIABILITY rule 22): durable before it counts, delivered when
 * the target is there, deleted after its durable answer, bounded, nothing silently forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/hinted_handoff.h"
#include "tests/unit/actor_fixture.h"

#define SIBLINGS  KEYSPACE_TEST_SIBLINGS
#define TARGET    2u
#define SECONDS   (1000 * MS)
#define ASKED_ID  9u
#define KEYS_MANY 100u

struct bench {
    struct fixture f;
    struct hinted_handoff *hinted_handoff;
    const struct hinted_handoff_figures *figures;
    struct hinted_handoff_options options;
};

static void bench_start(struct bench *b, uint64_t generation)
{
    b->options.generation = generation;
    b->hinted_handoff = hinted_handoff_new(&b->options);
    b->figures = hinted_handoff_figures(b->hinted_handoff);
    b->f.actor = hinted_handoff_actor(b->hinted_handoff);
    while (actor_wake_at_ns(b->f.actor) <= b->f.ctx.now_ns)
        fixture_tick(&b->f);
}

static void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, 4, 1);
    b->options = hinted_handoff_options_default(SELF, 1);
    fixture_set_liveness(&b->f, TARGET, LIVENESS_DOWN);
    bench_start(b, 1);
}

static void bench_deinit(struct bench *b)
{
    hinted_handoff_free(b->hinted_handoff);
    fixture_deinit(&b->f);
}

static void bench_restart(struct bench *b, bool keep)
{
    hinted_handoff_free(b->hinted_handoff);
    fixture_crash(&b->f, keep);
    bench_start(b, b->options.generation + 1);
}

static struct bytes one_write(struct bench *b, const char *key, uint32_t member, const char *value)
{
    struct version_set empty = {0};
    struct version_set set = test_write(&b->f, &empty, NULL, member, 7, value);
    return test_record(&b->f, SIBLINGS, key, &set);
}

static void store_hint(struct bench *b, uint32_t target, const char *key, struct bytes record)
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
                  .reason = WRITE_HINT},
    };
    fixture_handle(&b->f, message);
}

static void expect_stored(struct bench *b, enum err status)
{
    struct message *reply = fixture_take(&b->f, MESSAGE_hint_store_reply);
    assert_int_equal(reply->hint_store_reply.status, status);
    assert_int_equal(reply->to.node, 3);
    assert_int_equal(reply->id, ASKED_ID);
    message_free(reply);
}

static void keep_hint(struct bench *b, const char *key, uint32_t member, const char *value)
{
    store_hint(b, TARGET, key, one_write(b, key, member, value));
    fixture_sync(&b->f);
    expect_stored(b, OK);
}

/* Lets time pass in small steps until something leaves. */
static bool wait_for_mail(struct bench *b, uint64_t limit_ns)
{
    for (uint64_t passed_ns = 0; passed_ns < limit_ns; passed_ns += 5 * MS) {
        if (b->f.outbox.first != NULL)
            return true;
        fixture_pass(&b->f, 5 * MS);
    }
    return b->f.outbox.first != NULL;
}

static struct message *expect_delivery(struct bench *b)
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

static void answer_delivery(struct bench *b, uint64_t id, uint32_t from, enum err status)
{
    struct message *reply = message_new(MESSAGE_replica_write_reply, 0);
    reply->from = actor_id_of(from, ACTOR_REPLICA);
    reply->id = id;
    reply->replica_write_reply.status = status;
    fixture_handle(&b->f, reply);
}

static uint64_t hints(const struct bench *b)
{
    return counter_get(&b->figures->hints);
}

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
    answer_delivery(&b, message->id, TARGET, ERR_OVERLOADED);
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
            kind == MESSAGE_store_committed)
            continue;
        fixture_handle(&b.f, message_new((enum message_kind)kind, 0));
        sent++;
    }
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->unexpected), sent);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answered_when_durable),
        cmocka_unit_test(survives_a_restart),
        cmocka_unit_test(hints_join),
        cmocka_unit_test(refusals),
        cmocka_unit_test(overflow_is_counted),
        cmocka_unit_test(deleted_after_its_answer),
        cmocka_unit_test(joined_while_in_flight),
        cmocka_unit_test(sent_again),
        cmocka_unit_test(paced_in_windows),
        cmocka_unit_test(expiry_is_counted),
        cmocka_unit_test(foreign_messages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
