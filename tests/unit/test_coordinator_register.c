// link: coterie_actors coterie_store
/* A coordinator as proposer of registers: whom it asks, and what it may say of an outcome
 * (RELIABILITY rules 33 to 35 and 20). That histories are linearizable is in
 * test_register_cluster.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define STRONG KEYSPACE_TEST_STRONG

/* What was asked last: all that left is of one kind. */
struct round {
    struct asked asked;
    struct ballot ballot;
    struct bytes value;
};

static struct round asked_round(struct bench *b, enum message_kind kind)
{
    struct round round = {0};
    const struct message *first = b->f.outbox.first;
    assert_non_null(first);
    if (kind == MESSAGE_register_prepare)
        round.ballot = first->register_prepare.ballot;
    if (kind == MESSAGE_register_accept) {
        round.ballot = first->register_accept.ballot;
        round.value = arena_copy(&b->f.arena, first->register_accept.value);
    }
    round.asked = bench_asked(b, kind);
    return round;
}

static void promise(struct bench *b, const struct round *round, uint32_t member, enum err status)
{
    struct message *message = message_new(MESSAGE_register_prepare_reply, 0);
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = round->asked.id;
    message->register_prepare_reply.status = status;
    message->register_prepare_reply.agreed = status == OK;
    fixture_handle(&b->f, message);
}

static void accepted(struct bench *b, const struct round *round, uint32_t member,
                     struct ballot conflict)
{
    struct message *message = message_new(MESSAGE_register_accept_reply, 0);
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = round->asked.id;
    message->register_accept_reply.agreed = conflict.counter == 0;
    message->register_accept_reply.conflict = conflict;
    fixture_handle(&b->f, message);
}

static void put_ends(struct bench *b, enum err status, enum outcome outcome)
{
    struct message *message = fixture_take(&b->f, MESSAGE_client_put_done);
    assert_int_equal(message->client_put_done.result.status, status);
    assert_int_equal(message->client_put_done.result.outcome, outcome);
    assert_int_equal(message->client_put_done.client, CLIENT);
    message_free(message);
    fixture_silent(&b->f);
}

/* A fallback knows nothing of promises: with a replica down nobody stands in for it. */
static void only_replicas_are_asked(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 6, 1);
    struct replica_set replicas = bench_replicas_in(&b, STRONG, "k");
    assert_int_equal(replicas.count, 3);
    fixture_set_liveness(&b.f, replicas.replicas[2].member, LIVENESS_DOWN);
    bench_put(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    struct round round = asked_round(&b, MESSAGE_register_prepare);
    assert_int_equal(round.asked.count, 2);
    assert_true(asked_member(&round.asked, replicas.replicas[0].member));
    assert_true(asked_member(&round.asked, replicas.replicas[1].member));
    promise(&b, &round, replicas.replicas[0].member, OK);
    for (uint32_t member = 1; member <= 6; member++) { /* a vote that nobody asked for */
        if (member != replicas.replicas[0].member && member != replicas.replicas[1].member)
            promise(&b, &round, member, OK);
    }
    fixture_silent(&b.f);
    promise(&b, &round, replicas.replicas[1].member, OK);
    round = asked_round(&b, MESSAGE_register_accept);
    accepted(&b, &round, replicas.replicas[1].member, (struct ballot){0});
    accepted(&b, &round, replicas.replicas[1].member, (struct ballot){0});
    fixture_silent(&b.f);
    accepted(&b, &round, replicas.replicas[0].member, (struct ballot){0});
    put_ends(&b, OK, OUTCOME_APPLIED);
    bench_deinit(&b);
}

/* Without a majority: UNAVAILABLE at once, and nothing was sent that could be accepted. */
static void no_majority_no_answer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    bench_put(&b, STRONG, "k", CONSISTENCY_ONE);
    /* Those that are down are named, not those that were not even asked. */
    struct message *refusal = fixture_take(&b.f, MESSAGE_client_put_done);
    const struct put_result *result = &refusal->client_put_done.result;
    assert_int_equal(result->status, ERR_UNAVAILABLE);
    assert_int_equal(result->outcome, OUTCOME_NOT_APPLIED);
    assert_int_equal(result->progress.needed, 2);
    assert_int_equal(result->progress.missing_count, 2);
    for (uint8_t i = 0; i < 2; i++)
        assert_int_not_equal(result->progress.missing_members[i], 1);
    message_free(refusal);
    fixture_silent(&b.f);
    bench_get(&b, STRONG, "k", CONSISTENCY_ONE, 0);
    bench_got(&b, ERR_UNAVAILABLE);
    fixture_set_liveness(&b.f, 2, LIVENESS_ALIVE);
    bench_put(&b, STRONG, "k", CONSISTENCY_ONE);
    struct round round = asked_round(&b, MESSAGE_register_prepare);
    promise(&b, &round, 1, OK);
    promise(&b, &round, 2, ERR_INCOMPLETE); /* it has forgotten, it has no vote */
    put_ends(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
    bench_deinit(&b);
}

/* Rule 20: not applied before an accept was sent, unknown behind it. */
static void a_deadline_tells_the_truth(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_put(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    asked_round(&b, MESSAGE_register_prepare);
    fixture_pass(&b.f, DEADLINE_KEPT_NS);
    put_ends(&b, ERR_TIMEOUT, OUTCOME_NOT_APPLIED);
    bench_put(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    struct round round = asked_round(&b, MESSAGE_register_prepare);
    promise(&b, &round, 1, OK);
    promise(&b, &round, 2, OK);
    asked_round(&b, MESSAGE_register_accept);
    fixture_pass(&b.f, DEADLINE_KEPT_NS);
    put_ends(&b, ERR_TIMEOUT, OUTCOME_UNKNOWN);
    bench_deinit(&b);
}

/* Rule 35: whatever the key, and whatever became of it, a ballot is one proposal of one life. */
static void no_ballot_is_used_twice(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_put(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    struct round first = asked_round(&b, MESSAGE_register_prepare);
    assert_int_equal(first.ballot.member, SELF);
    assert_int_equal(first.ballot.incarnation, 1); /* of the bench */
    bench_put(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    struct round second = asked_round(&b, MESSAGE_register_prepare);
    assert_true(ballot_compare(second.ballot, first.ballot) > 0);
    promise(&b, &second, 1, OK);
    promise(&b, &second, 2, OK);
    second = asked_round(&b, MESSAGE_register_accept);
    struct ballot greater = {.counter = 1000, .member = 3, .incarnation = 7};
    accepted(&b, &second, 1, greater);
    accepted(&b, &second, 2, greater);
    fixture_pass(&b.f, 0);
    struct round again = asked_round(&b, MESSAGE_register_prepare);
    assert_true(ballot_compare(again.ballot, greater) > 0);
    /* Answers to the attempt before meet nobody. */
    accepted(&b, &second, 3, (struct ballot){0});
    promise(&b, &second, 3, OK);
    promise(&b, &second, 1, OK);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* Rule 33: each mode has its own operations. */
static void conditions_are_for_consistent_keyspaces(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct message *message = message_new(MESSAGE_client_put, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->client_put.client = CLIENT;
    message->client_put.request =
        bench_put_request(&b, KEYSPACE_TEST_SIBLINGS, "k", CONSISTENCY_DEFAULT);
    message->client_put.request.condition = REGISTER_IF_ABSENT;
    fixture_handle(&b.f, message);
    put_ends(&b, ERR_PRECONDITION, OUTCOME_NOT_APPLIED);
    message = message_new(MESSAGE_client_put, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->client_put.client = CLIENT;
    message->client_put.request = bench_put_request(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    message->client_put.request.has_context = true;
    fixture_handle(&b.f, message);
    put_ends(&b, ERR_INVALID, OUTCOME_NOT_APPLIED);
    /* An eventual write passed on by a node that does not know the keyspace's mode. */
    message = message_new(MESSAGE_forward_put, 0);
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->id = (uint64_t)1 << 16;
    message->forward_put.request = bench_put_request(&b, STRONG, "k", CONSISTENCY_DEFAULT);
    fixture_handle(&b.f, message);
    message = fixture_take(&b.f, MESSAGE_forward_put_reply);
    assert_int_equal(message->forward_put_reply.result.status, ERR_PRECONDITION);
    message_free(message);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_replicas_are_asked),
        cmocka_unit_test(no_majority_no_answer),
        cmocka_unit_test(a_deadline_tells_the_truth),
        cmocka_unit_test(no_ballot_is_used_twice),
        cmocka_unit_test(conditions_are_for_consistent_keyspaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
