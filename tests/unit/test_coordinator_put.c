// link: coterie_actors coterie_store
/* Rules of actors/coordinator.h, writes: WRITING and how it ends; outcomes are honest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/put_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS

/* DESIGN.md 7: APPLIED when W distinct nodes have made it durable, this one among them. */
static void w_durable_copies(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_DEFAULT);
    assert_int_equal(m.targets.count, 2);
    bench_write_reply(&b, m.id, m.targets.members[0], OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, m.id, m.targets.members[0], OK); /* the same node twice is one */
    bench_write_reply(&b, m.id, SELF, ERR_IO);             /* its own copy is the mint's to say */
    bench_write_reply(&b, m.id, 9, OK);
    fixture_silent(&b.f);
    mint_done(&b, m.id, OK, NULL);
    struct put_result result = put_answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(result.progress.acked, 2);
    assert_int_equal(result.progress.needed, 2);
    assert_true(progress_acked(&result.progress, SELF));
    assert_int_equal(result.progress.missing_members[0], m.targets.members[1]);
    assert_int_equal(result.sibling_count, 2);
    assert_true(bytes_equal(result.context, bytes_of_string("context")));
    bench_write_reply(&b, m.id, m.targets.members[1], OK);
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->answers_late), 0); /* it was waited for */
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    bench_write_reply(&b, m.id, m.targets.members[1], OK);
    assert_int_equal(counter_get(&b.figures->answers_late), 1);
    bench_deinit(&b);
}

/* Even when enough others have it: the context comes from the mint, and a mint that is not durable
 * could lose its epoch. */
static void waits_for_its_own_mint(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_ONE);
    bench_write_reply(&b, m.id, 2, OK);
    bench_write_reply(&b, m.id, 3, OK);
    fixture_silent(&b.f);
    mint_done(&b, m.id, OK, NULL);
    put_answered(&b, OK, OUTCOME_APPLIED);
    mint_done(&b, m.id, OK, NULL); /* late */
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* What the replica must know of the keyspace travels with the mint. */
static void policies_travel(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    assert_int_equal(begin_put(&b, SIBLINGS, "k", CONSISTENCY_ONE).policy, 0);
    assert_int_equal(begin_put(&b, KEYSPACE_TEST_LWW, "k", CONSISTENCY_ONE).policy, POLICY_LWW);
    assert_int_equal(begin_put(&b, KEYSPACE_TEST_PERIODIC, "k", CONSISTENCY_ONE).policy,
                     POLICY_PERIODIC);
    bench_deinit(&b);
}

/* RELIABILITY rule 20: a mint that was refused staged nothing anywhere: NOT_APPLIED, with the
 * replica's own status and reason. */
static void refused_at_the_mint(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_INVALID, ERR_LIMIT, ERR_OVERLOADED,
                                        ERR_TIMEOUT, ERR_IO,    ERR_PRECONDITION};
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
        mint_done(&b, m.id, refusals[i], "the replica's reason");
        struct put_result result = put_answered(&b, refusals[i], OUTCOME_NOT_APPLIED);
        assert_string_equal(result.why, "the replica's reason");
        assert_int_equal(result.retry_after_ms != 0, refusals[i] == ERR_OVERLOADED);
        bench_deinit(&b);
    }
}

/* Our own copy is incomplete (message_range.h, "a copy that was lost"), or damaged where the key
 * is, or our disk is full: nothing was staged, so another replica may coordinate the write.
 * RELIABILITY 2.1: never "not found". */
static void minted_elsewhere(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_INCOMPLETE, ERR_CORRUPT, ERR_OVERLOADED};
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
        struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
        if (refusals[i] == ERR_OVERLOADED)
            mint_refused_full(&b, m.id, "full");
        else
            mint_done(&b, m.id, refusals[i], NULL);
        struct message *forward = fixture_take(&b.f, MESSAGE_forward_put);
        assert_int_equal(forward->to.node, 3);
        assert_int_equal(forward->id, m.id);
        assert_true(bytes_equal(forward->forward_put.request.value, bytes_of_string("value")));
        message_free(forward);
        fixture_silent(&b.f);
        mint_done(&b, m.id, OK, NULL); /* twice is once */
        bench_write_reply(&b, m.id, 3, OK);
        fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
        fixture_silent(&b.f);
        struct message *message = message_new(MESSAGE_forward_put_reply, 0);
        message->from = actor_id_of(3, ACTOR_COORDINATOR);
        message->id = m.id;
        message->forward_put_reply.result = (struct put_result){
            .status = OK, .outcome = OUTCOME_APPLIED, .context = bytes_of_string("context")};
        fixture_handle(&b.f, message);
        put_answered(&b, OK, OUTCOME_APPLIED);
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        bench_deinit(&b);
    }
}

/* Nobody else is there, or another coordinator has passed it on to us: refused, not applied, and
 * the other one goes on. */
static void minted_nowhere(void **state)
{
    (void)state;
    for (int passed_on = 0; passed_on < 2; passed_on++) {
        struct bench b;
        bench_init(&b, 3, 1);
        if (!passed_on) {
            struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_ONE);
            fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
            fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
            mint_done(&b, m.id, ERR_INCOMPLETE, "why");
            put_answered(&b, ERR_INCOMPLETE, OUTCOME_NOT_APPLIED);
        } else {
            struct message *message = message_new(MESSAGE_forward_put, 0);
            message->from = actor_id_of(2, ACTOR_COORDINATOR);
            message->id = id_of(1);
            message->deadline_ns = b.f.ctx.now_ns + DEADLINE_NS;
            message->forward_put.request = bench_put_request(&b, SIBLINGS, "k", CONSISTENCY_ONE);
            fixture_handle(&b.f, message);
            mint_done(&b, take_mint(&b).id, ERR_INCOMPLETE, "why");
            struct message *reply = fixture_take(&b.f, MESSAGE_forward_put_reply);
            assert_int_equal(reply->forward_put_reply.result.status, ERR_INCOMPLETE);
            assert_int_equal(reply->forward_put_reply.result.outcome, OUTCOME_NOT_APPLIED);
            message_free(reply);
            fixture_silent(&b.f);
        }
        bench_deinit(&b);
    }
}

/* A disk that is full is said to be, with the reason that its replica gives, to clients and to who
 * passed the write on; no time to wait is told, since nobody knows it. */
static void full_disk_is_told(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_ONE);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    mint_refused_full(&b, m.id, "the disk of node n1 is full");
    struct put_result result = put_answered(&b, ERR_OVERLOADED, OUTCOME_NOT_APPLIED);
    assert_true(result.disk_full);
    assert_int_equal(result.retry_after_ms, 0);
    assert_string_equal(result.why, "the disk of node n1 is full");

    struct message *message = message_new(MESSAGE_forward_put, 0);
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->id = id_of(1);
    message->deadline_ns = b.f.ctx.now_ns + DEADLINE_NS;
    message->forward_put.request = bench_put_request(&b, SIBLINGS, "k", CONSISTENCY_ONE);
    fixture_handle(&b.f, message);
    mint_refused_full(&b, take_mint(&b).id, "why");
    struct message *reply = fixture_take(&b.f, MESSAGE_forward_put_reply);
    assert_int_equal(reply->forward_put_reply.result.status, ERR_OVERLOADED);
    assert_true(reply->forward_put_reply.result.disk_full);
    message_free(reply);
    bench_deinit(&b);
}

/* RELIABILITY rule 20: with too many failures after the mint the outcome is UNKNOWN, also when the
 * failures come before the mint's own answer. What is minted is owed to the others all the same. */
static void too_many_failures(void **state)
{
    (void)state;
    for (int mint_first = 0; mint_first < 2; mint_first++) {
        struct bench b;
        bench_init(&b, 3, 1);
        struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
        if (mint_first)
            mint_done(&b, m.id, OK, NULL);
        bench_write_reply(&b, m.id, 2, ERR_LIMIT);
        bench_write_reply(&b, m.id, 2, OK); /* the first word of a member stands */
        fixture_silent(&b.f);
        bench_write_reply(&b, m.id, 3, mint_first ? ERR_LIMIT : ERR_DENIED);
        struct put_result result =
            put_answered_lacking(&b, mint_first ? ERR_LIMIT : ERR_UNAVAILABLE, OUTCOME_UNKNOWN, 2);
        assert_int_equal(result.progress.acked, mint_first ? 1 : 0);
        assert_int_equal(counter_get(&b.figures->unsettled), 1);
        mint_done(&b, m.id, OK, NULL);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* The deadline: UNKNOWN, whatever has been acknowledged; not yet, then now. */
static void deadline_while_writing(void **state)
{
    (void)state;
    for (int minted = 0; minted < 2; minted++) {
        struct bench b;
        bench_init(&b, 3, 1);
        struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
        if (minted)
            mint_done(&b, m.id, OK, NULL);
        fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, minted ? 2 : 0);
        fixture_pass(&b.f, 1);
        struct put_result result =
            put_answered_lacking(&b, ERR_TIMEOUT, OUTCOME_UNKNOWN, minted ? 0 : 2);
        assert_int_equal(result.progress.acked, minted);
        assert_int_equal(counter_get(&b.figures->timeouts), 1);
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        if (minted) { /* it is owed to the others for some time still */
            fixture_pass(&b.f, WRITE_LATE_NS);
            assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 2);
            fixture_pass(&b.f, 6 * WRITE_LATE_NS);
            assert_int_equal(bench_asked(&b, MESSAGE_replica_write).dirty, 2);
        }
        assert_int_equal(counter_get(&b.figures->unsettled), 1);
        assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
        fixture_pass(&b.f, 10 * DEADLINE_NS);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* coordinator.h: sent again after 500 ms, 1 s more, 2 s more, the same record to all that have not
 * answered and no others; nothing after the end. */
static void sent_again_at_doubling_times(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_ALL);
    mint_done(&b, m.id, OK, NULL);
    uint64_t wait_ns = WRITE_LATE_NS; /* at 500, 1500, 3500 ms */
    for (uint32_t round = 0; round < 3; round++, wait_ns *= 2) {
        fixture_pass(&b.f, wait_ns - 1);
        fixture_silent(&b.f);
        fixture_pass(&b.f, 1);
        struct asked again = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(again.count, round == 0 ? 2 : 1);
        assert_int_equal(again.id, m.id);
        assert_true(asked_member(&again, 3));
        assert_true(bytes_equal(again.record, bytes_of_string("record")));
        bench_write_reply(&b, m.id, 2, OK); /* each time it is asked; it is one copy */
        fixture_silent(&b.f);
    }
    assert_int_equal(counter_get(&b.figures->asked_again), 4);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 3500 * MS - 1);
    fixture_silent(&b.f);
    bench_write_reply(&b, m.id, 3, OK);
    assert_int_equal(put_answered(&b, OK, OUTCOME_APPLIED).progress.acked, 3);
    bench_write_reply(&b, m.id, 3, OK);
    fixture_pass(&b.f, 10 * DEADLINE_NS);
    fixture_silent(&b.f);
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    bench_deinit(&b);
}

/* Nothing is sent again before the mint is durable here, and nothing to one that has failed or was
 * down at the beginning; a mint is never asked for twice. */
static void sent_again_to_whom(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 6, 2);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_LOCAL_QUORUM);
    assert_int_equal(m.targets.count, 4);
    fixture_pass(&b.f, WRITE_LATE_NS);
    fixture_silent(&b.f);
    fixture_set_liveness(&b.f, 2, LIVENESS_ALIVE);
    bench_write_reply(&b, m.id, 3, ERR_UNAVAILABLE);
    mint_done(&b, m.id, OK, NULL);
    assert_int_equal(bench_asked(&b, MESSAGE_hint_store).hints, 2); /* for 2 and 3 */
    fixture_pass(&b.f, 2 * WRITE_LATE_NS - 1);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 1);
    struct asked again = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(again.count, 3);
    assert_true(asked_member(&again, 4) && asked_member(&again, 5) && asked_member(&again, 6));
    bench_write_reply(&b, m.id, 3, OK); /* its first word stands */
    fixture_silent(&b.f);
    bench_write_reply(&b, m.id, 5, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);
    bench_deinit(&b);
}

/* Before anything was sent: NOT_APPLIED, at once. */
static void refused_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
    assert_int_equal(m.targets.count, 1); /* nothing is sent to one that is known to be down */
    assert_int_equal(m.targets.members[0], 3);
    bench_put(&b, SIBLINGS, "k", CONSISTENCY_ALL);
    put_answered(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    bench_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
    struct put_result result = put_answered(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
    assert_int_equal(result.progress.needed, 2);
    bench_put(&b, SIBLINGS, "k", CONSISTENCY_COUNT);
    put_answered(&b, ERR_INVALID, OUTCOME_NOT_APPLIED);
    b.f.keyspace_ids[SIBLINGS] ^= 1;
    bench_put(&b, SIBLINGS, "k", CONSISTENCY_ONE);
    put_answered(&b, ERR_NOT_FOUND, OUTCOME_NOT_APPLIED);
    bench_deinit(&b);
}

/* coordinator.h: beyond requests_max OVERLOADED, NOT_APPLIED, with a retry delay; for a client and
 * for another coordinator. */
static void table_full(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    for (uint32_t i = 0; i < REQUESTS_MAX; i++)
        begin_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
    bench_put(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
    assert_true(put_answered(&b, ERR_OVERLOADED, OUTCOME_NOT_APPLIED).retry_after_ms > 0);
    struct message *message = message_new(MESSAGE_forward_put, 0);
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->id = id_of(99);
    message->forward_put.request = bench_put_request(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
    fixture_handle(&b.f, message);
    struct message *reply = fixture_take(&b.f, MESSAGE_forward_put_reply);
    assert_int_equal(reply->forward_put_reply.result.status, ERR_OVERLOADED);
    assert_int_equal(reply->forward_put_reply.result.outcome, OUTCOME_NOT_APPLIED);
    message_free(reply);
    assert_int_equal(counter_get(&b.figures->refused), 2);
    bench_deinit(&b);
}

/* RELIABILITY rule 18: EACH_QUORUM waits for a majority in every data centre, LOCAL_QUORUM for its
 * own alone; both are sent to all. */
static void data_centres(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 6, 2); /* n01 n03 n05 are local, n02 n04 n06 are not */
    struct minting m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_EACH_QUORUM);
    assert_int_equal(m.targets.count, 5);
    mint_done(&b, m.id, OK, NULL);
    bench_write_reply(&b, m.id, 3, OK);
    bench_write_reply(&b, m.id, 5, OK);
    bench_write_reply(&b, m.id, 2, OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, m.id, 6, OK);
    struct put_result result = put_answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(result.progress.needed, 4);
    bench_write_reply(&b, m.id, 4, OK);

    m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_LOCAL_QUORUM);
    assert_int_equal(m.targets.count, 5);
    mint_done(&b, m.id, OK, NULL);
    bench_write_reply(&b, m.id, 2, OK);
    bench_write_reply(&b, m.id, 4, OK);
    bench_write_reply(&b, m.id, 6, OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, m.id, 5, OK);
    assert_int_equal(put_answered(&b, OK, OUTCOME_APPLIED).progress.needed, 2);
    bench_write_reply(&b, m.id, 3, OK);

    m = begin_put(&b, SIBLINGS, "k", CONSISTENCY_LOCAL_QUORUM);
    bench_write_reply(&b, m.id, 2, ERR_IO);
    bench_write_reply(&b, m.id, 4, ERR_IO);
    bench_write_reply(&b, m.id, 6, ERR_IO); /* the other one's failures do not count */
    mint_done(&b, m.id, OK, NULL);
    assert_int_equal(bench_asked(&b, MESSAGE_hint_store).hints, 3);
    bench_write_reply(&b, m.id, 3, ERR_IO);
    bench_write_reply(&b, m.id, 5, ERR_IO);
    assert_int_equal(bench_asked_before(&b, MESSAGE_client_put_done).hints, 2);
    put_answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    bench_deinit(&b);
}

/* A request whose deadline has passed on the way is ended by the next tick, not kept. */
static void deadline_passed_already(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct message *message = message_new(MESSAGE_client_put, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->id = 4321;
    message->deadline_ns = b.f.ctx.now_ns - 1;
    message->client_put.client = CLIENT;
    message->client_put.request = bench_put_request(&b, SIBLINGS, "k", CONSISTENCY_QUORUM);
    fixture_handle(&b.f, message);
    message = fixture_take(&b.f, MESSAGE_replica_mint);
    assert_true(message->deadline_ns != 0 && message->deadline_ns <= b.f.ctx.now_ns);
    message_free(message);
    fixture_pass(&b.f, 0);
    put_answered_lacking(&b, ERR_TIMEOUT, OUTCOME_UNKNOWN, 2);
    bench_deinit(&b);
}

/* actor.h: a message that is not for a coordinator is counted and consumed; answers to nobody too.
 */
static void foreign_messages_are_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    uint64_t expected = 0;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        bool for_it = kind == MESSAGE_client_get || kind == MESSAGE_client_put ||
                      kind == MESSAGE_forward_put || kind == MESSAGE_register_settle;
        bool answer = kind == MESSAGE_forward_put_reply || kind == MESSAGE_replica_mint_done ||
                      kind == MESSAGE_replica_write_reply || kind == MESSAGE_replica_read_reply ||
                      kind == MESSAGE_hint_store_reply || kind == MESSAGE_register_query_reply ||
                      kind == MESSAGE_register_prepare_reply ||
                      kind == MESSAGE_register_accept_reply;
        if (for_it)
            continue;
        fixture_handle(&b.f, message_new((enum message_kind)kind, 0));
        expected += !answer;
    }
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->unexpected), expected);
    assert_int_equal(counter_get(&b.figures->answers_late), 8);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(w_durable_copies),
        cmocka_unit_test(waits_for_its_own_mint),
        cmocka_unit_test(policies_travel),
        cmocka_unit_test(refused_at_the_mint),
        cmocka_unit_test(minted_elsewhere),
        cmocka_unit_test(full_disk_is_told),
        cmocka_unit_test(minted_nowhere),
        cmocka_unit_test(too_many_failures),
        cmocka_unit_test(deadline_while_writing),
        cmocka_unit_test(sent_again_at_doubling_times),
        cmocka_unit_test(sent_again_to_whom),
        cmocka_unit_test(refused_at_once),
        cmocka_unit_test(table_full),
        cmocka_unit_test(data_centres),
        cmocka_unit_test(deadline_passed_already),
        cmocka_unit_test(foreign_messages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
