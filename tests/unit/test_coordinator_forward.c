// link: coterie_actors coterie_store
/* Rules of actors/coordinator.h, writes that are passed on: FORWARDED and how it ends, and what is
 * taken over from others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/put_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS

struct forwarded {
    uint64_t id;
    uint32_t member;
};

static struct forwarded begin_forward(struct bench *b, const char *key)
{
    bench_put(b, SIBLINGS, key, CONSISTENCY_QUORUM);
    struct message *message = fixture_take(&b->f, MESSAGE_forward_put);
    struct forwarded forwarded = {.id = message->id, .member = message->to.node};
    assert_int_equal(message->to.kind, ACTOR_COORDINATOR);
    assert_true(bytes_equal(message->forward_put.request.key, bytes_of_string(key)));
    assert_true(bytes_equal(message->forward_put.request.value, bytes_of_string("value")));
    assert_int_equal(message->deadline_ns, b->f.ctx.now_ns + DEADLINE_KEPT_NS);
    message_free(message);
    fixture_silent(&b->f);
    return forwarded;
}

static void forward_reply(struct bench *b, struct forwarded forwarded, struct put_result result)
{
    struct message *message = message_new(MESSAGE_forward_put_reply, 0);
    message->from = actor_id_of(forwarded.member, ACTOR_COORDINATOR);
    message->id = forwarded.id;
    message->forward_put_reply.result = result;
    fixture_handle(&b->f, message);
}

/* DESIGN.md 7: a node without a replica passes a write to the first live one; what that one says is
 * the answer, in full, once. */
static void passed_on(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    const char *key = bench_key(&b, false);
    struct replica_set replicas = bench_replicas(&b, key);
    struct forwarded forwarded = begin_forward(&b, key);
    assert_int_equal(forwarded.member, replicas.replicas[0].member);
    struct put_result theirs = {.status = OK,
                                .outcome = OUTCOME_APPLIED,
                                .context = bytes_of_string("context"),
                                .sibling_count = 3,
                                .progress = {.acked = 2, .needed = 2, .acked_count = 1}};
    theirs.progress.acked_members[0] = forwarded.member;
    forward_reply(&b, forwarded, theirs);
    struct put_result result = put_answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(result.sibling_count, 3);
    assert_int_equal(result.progress.needed, 2);
    assert_true(progress_acked(&result.progress, forwarded.member));
    forward_reply(&b, forwarded, theirs);
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->forwarded), 1);

    /* The first one down: the second. A refusal there is a refusal here. */
    fixture_set_liveness(&b.f, replicas.replicas[0].member, LIVENESS_DOWN);
    forwarded = begin_forward(&b, key);
    assert_int_equal(forwarded.member, replicas.replicas[1].member);
    forward_reply(&b, forwarded,
                  (struct put_result){.status = ERR_LIMIT,
                                      .outcome = OUTCOME_NOT_APPLIED,
                                      .why = "too many siblings"});
    assert_string_equal(put_answered(&b, ERR_LIMIT, OUTCOME_NOT_APPLIED).why, "too many siblings");
    bench_deinit(&b);
}

static struct forwarded forwarded_on(struct bench *b)
{
    struct message *message = fixture_take(&b->f, MESSAGE_forward_put);
    struct forwarded forwarded = {.id = message->id, .member = message->to.node};
    assert_true(bytes_equal(message->forward_put.request.value, bytes_of_string("value")));
    message_free(message);
    fixture_silent(&b->f);
    return forwarded;
}

static struct put_result refusal_of(enum err status)
{
    return (struct put_result){.status = status, .outcome = OUTCOME_NOT_APPLIED, .why = "no"};
}

/* In refused_forward_goes_on: OVERLOADED for want of space. One that is busy ends a forward
 * (other_answers_end_a_forward). */
static struct put_result refusal_to_try_elsewhere(enum err status)
{
    struct put_result result = refusal_of(status);
    result.disk_full = status == ERR_OVERLOADED;
    return result;
}

/* One that has not applied it and never will: the next live replica gets it, each once. Only the
 * answer of the one that has it counts. */
static void refused_forward_goes_on(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_UNAVAILABLE, ERR_STALE_EPOCH, ERR_INCOMPLETE,
                                        ERR_CORRUPT, ERR_OVERLOADED};
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct bench b;
        bench_init(&b, 6, 1);
        const char *key = bench_key(&b, false);
        struct replica_set replicas = bench_replicas(&b, key);
        struct forwarded first = begin_forward(&b, key);
        fixture_set_liveness(&b.f, replicas.replicas[1].member, LIVENESS_DOWN);
        forward_reply(&b, first, refusal_to_try_elsewhere(refusals[i]));
        struct forwarded second = forwarded_on(&b);
        assert_int_equal(second.id, first.id);
        assert_int_equal(second.member, replicas.replicas[2].member);
        forward_reply(&b, first,
                      refusal_to_try_elsewhere(refusals[i])); /* the network repeats itself */
        forward_reply(&b, first, (struct put_result){.status = OK, .outcome = OUTCOME_APPLIED});
        fixture_silent(&b.f);
        fixture_set_liveness(&b.f, replicas.replicas[1].member, LIVENESS_ALIVE);
        forward_reply(&b, second, refusal_to_try_elsewhere(refusals[i]));
        struct forwarded third = forwarded_on(&b);
        assert_int_equal(third.member, replicas.replicas[1].member);
        forward_reply(&b, second, refusal_to_try_elsewhere(refusals[i]));
        fixture_silent(&b.f);
        /* All have refused: that is the answer. */
        forward_reply(&b, third, refusal_to_try_elsewhere(refusals[i]));
        struct put_result result = put_answered(&b, refusals[i], OUTCOME_NOT_APPLIED);
        assert_string_equal(result.why, "no");
        assert_int_equal(result.disk_full, refusals[i] == ERR_OVERLOADED);
        assert_int_equal(counter_get(&b.figures->forwarded), 3);
        bench_deinit(&b);
    }
}

/* What may have been applied, or would be refused everywhere, is not given to another one. */
static void other_answers_end_a_forward(void **state)
{
    (void)state;
    static const struct {
        enum err status;
        enum outcome outcome;
    } cases[] = {
        {ERR_UNAVAILABLE, OUTCOME_UNKNOWN},   {ERR_STALE_EPOCH, OUTCOME_UNKNOWN},
        {ERR_TIMEOUT, OUTCOME_UNKNOWN},       {ERR_TIMEOUT, OUTCOME_NOT_APPLIED},
        {ERR_OVERLOADED, OUTCOME_UNKNOWN},    {ERR_OVERLOADED, OUTCOME_NOT_APPLIED},
        {ERR_LIMIT, OUTCOME_NOT_APPLIED},     {ERR_INVALID, OUTCOME_NOT_APPLIED},
        {ERR_NOT_FOUND, OUTCOME_NOT_APPLIED}, {ERR_IO, OUTCOME_NOT_APPLIED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        bench_init(&b, 5, 1);
        struct forwarded forwarded = begin_forward(&b, bench_key(&b, false));
        struct put_result theirs = refusal_of(cases[i].status);
        theirs.outcome = cases[i].outcome;
        forward_reply(&b, forwarded, theirs);
        put_answered(&b, cases[i].status, cases[i].outcome);
        bench_deinit(&b);
    }
}

/* Silence of the node that it was passed on to: it is never sent again, that could be a second
 * write; at the deadline UNKNOWN, it may have it. Its answer is too late
 * then. */
static void deadline_while_forwarded(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct forwarded forwarded = begin_forward(&b, bench_key(&b, false));
    /* Answers of replicas are not for this state. */
    bench_write_reply(&b, forwarded.id, forwarded.member, OK);
    bench_read_reply(&b, forwarded.id, forwarded.member, OK, (struct bytes){0});
    mint_done(&b, forwarded.id, OK, NULL);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 1);
    put_answered(&b, ERR_TIMEOUT, OUTCOME_UNKNOWN);
    forward_reply(&b, forwarded, (struct put_result){.status = OK});
    fixture_silent(&b.f);
    bench_deinit(&b);
}

static struct message *forward_message(struct bench *b, const char *key, uint32_t from, uint64_t id)
{
    struct message *message = message_new(MESSAGE_forward_put, 0);
    message->from = actor_id_of(from, ACTOR_COORDINATOR);
    message->id = id;
    message->deadline_ns = b->f.ctx.now_ns + DEADLINE_NS;
    message->forward_put.request = bench_put_request(b, SIBLINGS, key, CONSISTENCY_QUORUM);
    return message;
}

/* The other side: it is taken over like a client's own put, answered to where it came from; the
 * same one delivered twice is written once (RELIABILITY rule 21), another one is another. */
static void taken_over(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    const char *key = bench_key(&b, true);
    fixture_handle(&b.f, forward_message(&b, key, 4, id_of(99)));
    struct minting m = take_mint(&b);
    fixture_handle(&b.f, forward_message(&b, key, 4, id_of(99)));
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->duplicates), 1);
    mint_done(&b, m.id, OK, NULL);
    bench_write_reply(&b, m.id, m.targets.members[0], OK);
    struct message *reply = fixture_take(&b.f, MESSAGE_forward_put_reply);
    assert_int_equal(reply->to.node, 4);
    assert_int_equal(reply->id, id_of(99));
    assert_int_equal(reply->forward_put_reply.result.status, OK);
    assert_int_equal(reply->forward_put_reply.result.outcome, OUTCOME_APPLIED);
    message_free(reply);
    fixture_handle(&b.f, forward_message(&b, key, 4, id_of(99))); /* also after its end */
    fixture_silent(&b.f);
    fixture_handle(&b.f, forward_message(&b, key, 5, id_of(99)));
    take_mint(&b);
    fixture_handle(&b.f, forward_message(&b, key, 4, id_of(100)));
    take_mint(&b);
    assert_int_equal(counter_get(&b.figures->taken_over), 3);
    bench_deinit(&b);
}

/* Twice is told from whomever it comes: every coordinator that a cluster can have is remembered. */
static void duplicates_of_all_senders(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    const char *key = bench_key(&b, false); /* answered at once: no replica here */
    for (int round = 0; round < 2; round++) {
        for (uint32_t node = 2; node <= MEMBERS_MAX; node++) {
            for (uint8_t index = 0; index < 16; index++) {
                struct message *message = forward_message(&b, key, node, id_of(99));
                message->from.index = index;
                fixture_handle(&b.f, message);
                if (round == 0)
                    message_free(fixture_take(&b.f, MESSAGE_forward_put_reply));
                fixture_silent(&b.f);
            }
        }
    }
    bench_deinit(&b);
}

/* It is passed on once at most: a node that holds no replica either says so. */
static void never_passed_on_twice(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    fixture_handle(&b.f, forward_message(&b, bench_key(&b, false), 4, id_of(99)));
    struct message *reply = fixture_take(&b.f, MESSAGE_forward_put_reply);
    assert_int_equal(reply->forward_put_reply.result.status, ERR_STALE_EPOCH);
    assert_int_equal(reply->forward_put_reply.result.outcome, OUTCOME_NOT_APPLIED);
    message_free(reply);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passed_on),
        cmocka_unit_test(refused_forward_goes_on),
        cmocka_unit_test(other_answers_end_a_forward),
        cmocka_unit_test(deadline_while_forwarded),
        cmocka_unit_test(taken_over),
        cmocka_unit_test(duplicates_of_all_senders),
        cmocka_unit_test(never_passed_on_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
