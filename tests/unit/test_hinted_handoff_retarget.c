// link: coterie_actors coterie_store
/* Rules of actors/hinted_handoff_retarget.c: a hint whose target is no replica of the key any more
 * reaches those that are, and is never thrown away for that. Source: Dynamo (SOSP 2007) 4.6; a hint
 * may be one of the copies that were counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/change_bench.h"
#include "tests/unit/hint_bench.h"

static void start(struct bench *b)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, 5, 1);
    b->options = hinted_handoff_options_default(SELF, 1);
    bench_start(b, 1);
}

static bool is_replica(const struct bench *b, uint32_t partition, uint32_t member)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&b->f.ctx.view->keyspaces, b->f.keyspace_ids[SIBLINGS]);
    return view_role(b->f.view, keyspace, partition, member) != ROLE_NONE;
}

/* A key of which TARGET is a replica, and a hint of it. */
static const char *keep(struct bench *b, uint32_t number)
{
    for (uint32_t i = 0;; i++) {
        char name[24];
        snprintf(name, sizeof name, "h%u-%u", number, i);
        if (!is_replica(b, test_partition(&b->f, SIBLINGS, name), TARGET))
            continue;
        const char *key = arena_string(&b->f.arena, bytes_of_string(name));
        store_hint(b, TARGET, key, one_write(b, key, 3, "v"));
        fixture_sync(&b->f);
        expect_stored(b, OK);
        return key;
    }
}

/* Everybody but who is `silent` takes what comes, and says so; bits by member who got the key. */
static uint32_t deliver(struct bench *b, const char *key, uint32_t silent, uint64_t ns)
{
    uint32_t got = 0;
    for (uint64_t passed = 0; passed < ns; passed += 20 * MS) {
        struct message *message;
        fixture_pass(&b->f, 20 * MS);
        fixture_sync(&b->f);
        while ((message = outbox_take(&b->f.outbox)) != NULL) {
            if (message->kind == MESSAGE_replica_write && message->to.node != silent) {
                assert_int_equal(message->replica_write.reason, WRITE_HINT);
                struct version_set set =
                    test_decode(&b->f, SIBLINGS, key, message->replica_write.record);
                assert_true(test_holds(&set, "v"));
                got |= 1u << message->to.node;
                struct message *reply = message_new_reply(message, MESSAGE_replica_write_reply, 0);
                reply->from = message->to;
                reply->replica_write_reply.credit = 8;
                fixture_handle(&b->f, reply);
            }
            message_free(message);
        }
    }
    return got;
}

/* The target has left: all replicas of now get it, this node's own among them, each once. */
static void of_one_that_has_left(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
    const char *key = keep(&b, 0);
    uint32_t partition = test_partition(&b.f, SIBLINGS, key);
    change_leave(&b.f, TARGET);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
    assert_int_equal(deliver(&b, key, 0, 5 * SECONDS), 0);
    assert_int_equal(counter_get(&b.figures->hints), 1); /* it is the target still */
    change_finish(&b.f);
    assert_true(topology_was_removed(&b.f.topology, TARGET));
    uint32_t got = deliver(&b, key, 0, 20 * SECONDS);
    for (uint32_t member = 1; member <= 5; member++)
        assert_int_equal(got >> member & 1, is_replica(&b, partition, member));
    assert_int_equal(counter_get(&b.figures->hints), 0);
    assert_int_equal(counter_get(&b.figures->retargeted), 1);
    bench_deinit(&b);
}

/* The target is given up while a change runs, which may wait for what is kept here: the others get
 * it before any step. While nobody else is a replica it stays. */
static void of_one_that_is_given_up(void **state)
{
    (void)state;
    for (int alone = 0; alone < 2; alone++) {
        struct bench b;
        start(&b);
        if (alone == 1) {
            change_replicate(&b.f, SIBLINGS, 1);
            change_finish(&b.f);
        }
        fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
        const char *key = keep(&b, 0);
        uint32_t partition = test_partition(&b.f, SIBLINGS, key);
        change_operate(&b.f, (struct topology_operation){
                                 .kind = TOPOLOGY_LEAVE, .member = TARGET, .gone = true});
        change_publish(&b.f);
        fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
        uint32_t got = deliver(&b, key, 0, 20 * SECONDS);
        for (uint32_t member = 1; member <= 5; member++)
            assert_int_equal(got >> member & 1,
                             member != TARGET && is_replica(&b, partition, member));
        assert_int_equal(counter_get(&b.figures->hints), alone);
        assert_int_equal(counter_get(&b.figures->retargeted), 1 - alone);
        bench_deinit(&b);
    }
}

/* While one of them is away its copy is kept, over a crash as well. */
static void kept_until_all_have_it(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    const char *key = keep(&b, 1);
    uint32_t partition = test_partition(&b.f, SIBLINGS, key);
    change_leave(&b.f, TARGET);
    change_finish(&b.f);
    uint32_t away = 3;
    while (!is_replica(&b, partition, away))
        away++;
    fixture_set_liveness(&b.f, away, LIVENESS_DOWN);
    uint32_t got = deliver(&b, key, away, 20 * SECONDS);
    assert_int_equal(got >> away & 1, 0);
    assert_int_not_equal(got, 0);
    assert_int_equal(counter_get(&b.figures->hints), 1);
    bench_restart(&b, false);
    assert_int_equal(counter_get(&b.figures->hints), 1);
    fixture_set_liveness(&b.f, away, LIVENESS_ALIVE);
    assert_int_equal(deliver(&b, key, 0, 20 * SECONDS), 1u << away);
    assert_int_equal(counter_get(&b.figures->hints), 0);
    bench_deinit(&b);
}

/* While the partition goes over the target is a replica still, but the new set has taken its copy
 * already: what came there now would go with it. */
static void held_back_while_it_goes_over(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    const char *key = keep(&b, 1);
    uint32_t partition = test_partition(&b.f, SIBLINGS, key);
    change_leave(&b.f, TARGET);
    static const enum partition_phase phases[] = {PHASE_ANNOUNCED, PHASE_COPIED};
    for (size_t i = 0; i < ARRAY_COUNT(phases); i++) {
        change_step(&b.f, partition, phases[i]);
        assert_int_equal(deliver(&b, key, 0, 5 * SECONDS), 0);
        assert_int_equal(counter_get(&b.figures->retargeted), 0);
        assert_int_equal(counter_get(&b.figures->hints), 1);
    }
    change_step(&b.f, partition, PHASE_DONE);
    uint32_t got = deliver(&b, key, TARGET, 20 * SECONDS);
    assert_int_equal(counter_get(&b.figures->retargeted), 1);
    assert_int_equal(counter_get(&b.figures->hints), 0);
    assert_int_equal(__builtin_popcount(got), 3);
    bench_deinit(&b);
}

/* What is kept already is handed on whatever room there is for more. */
static void room_does_not_bound_it(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    b.options.total_bytes_max = 220; /* one */
    hinted_handoff_free(b.hinted_handoff);
    bench_start(&b, 2);
    const char *key = keep(&b, 1);
    uint32_t partition = test_partition(&b.f, SIBLINGS, key);
    change_leave(&b.f, TARGET);
    change_finish(&b.f);
    uint32_t got = deliver(&b, key, 0, 20 * SECONDS);
    for (uint32_t member = 1; member <= 5; member++)
        assert_int_equal(got >> member & 1, is_replica(&b, partition, member));
    assert_int_equal(counter_get(&b.figures->hints), 0);
    bench_deinit(&b);
}

/* Who leaves takes no more: it is gone when it has handed on what it keeps. */
static void who_leaves_takes_none(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    const char *key = keep(&b, 1);
    change_leave(&b.f, SELF);
    store_hint(&b, TARGET, key, one_write(&b, key, 3, "v"));
    fixture_sync(&b.f);
    expect_stored(&b, ERR_UNAVAILABLE);
    assert_int_equal(deliver(&b, key, 0, 10 * SECONDS) >> TARGET & 1, 1);
    assert_int_equal(counter_get(&b.figures->hints), 0);
    bench_deinit(&b);
}

/* Of a keyspace that was dropped nobody wants anything; of one that is not known here, somebody
 * may.
 */
static void dropped_keyspaces(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
    keep(&b, 1);
    fixture_show_keyspaces(&b.f, SIBLINGS, false);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
    fixture_pass(&b.f, 5 * SECONDS);
    assert_int_equal(counter_get(&b.figures->hints), 1);
    for (uint32_t i = 0; i < b.f.map.count; i++)
        ((struct keyspace *)b.f.map.keyspaces)[i].dropped |=
            b.f.map.keyspaces[i].id == b.f.keyspace_ids[SIBLINGS];
    change_publish(&b.f);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_DOWN);
    fixture_pass(&b.f, 5 * SECONDS);
    assert_int_equal(counter_get(&b.figures->hints), 0);
    assert_int_equal(counter_get(&b.figures->orphaned), 1);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_one_that_has_left),   cmocka_unit_test(of_one_that_is_given_up),
        cmocka_unit_test(kept_until_all_have_it), cmocka_unit_test(held_back_while_it_goes_over),
        cmocka_unit_test(room_does_not_bound_it), cmocka_unit_test(who_leaves_takes_none),
        cmocka_unit_test(dropped_keyspaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
