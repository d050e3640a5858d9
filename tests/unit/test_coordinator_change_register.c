// link: coterie_actors coterie_store
/* Registers whose partition goes over: majorities of both sets, rounds that meet another epoch, and
 * settling a key for the member that gains it. DESIGN.md 4, 8; RELIABILITY rules 33 to 35. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define STRONG KEYSPACE_TEST_STRONG
#define KEY    "k"

static const struct walks one_stays = {{1, 2, 3}, {1, 4, 5}};
static const struct walks all_others = {{1, 2, 3}, {4, 5, 6}};

static void change(struct bench *b, const struct walks *walks, enum partition_phase phase,
                   uint64_t epoch)
{
    bench_change(b, STRONG, KEY, walks, phase, epoch);
}

static void begin(struct bench *b, const struct walks *walks, enum partition_phase phase,
                  uint64_t epoch)
{
    bench_init(b, 7, 1);
    change(b, walks, phase, epoch);
}

static void query_answer(struct bench *b, uint64_t epoch, uint64_t id, uint32_t member,
                         enum err status, struct ballot accepted)
{
    struct message *message = message_new(MESSAGE_register_query_reply, 0);
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = id;
    message->epoch = epoch;
    message->register_query_reply =
        (struct register_query_reply){.status = status, .accepted = accepted};
    fixture_handle(&b->f, message);
}

static void promise(struct bench *b, uint64_t epoch, uint64_t id, uint32_t member, enum err status)
{
    struct message *message = message_new(MESSAGE_register_prepare_reply, 0);
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = id;
    message->epoch = epoch;
    message->register_prepare_reply.status = status;
    message->register_prepare_reply.agreed = status == OK;
    fixture_handle(&b->f, message);
}

static void accept(struct bench *b, uint64_t epoch, uint64_t id, uint32_t member, enum err status)
{
    struct message *message = message_new(MESSAGE_register_accept_reply, 0);
    message->from = actor_id_of(member, ACTOR_REPLICA);
    message->id = id;
    message->epoch = epoch;
    message->register_accept_reply.status = status;
    message->register_accept_reply.agreed = status == OK;
    fixture_handle(&b->f, message);
}

static struct progress put_ends(struct bench *b, enum err status, enum outcome outcome)
{
    struct message *message = fixture_take(&b->f, MESSAGE_client_put_done);
    struct progress progress = message->client_put_done.result.progress;
    assert_int_equal(message->client_put_done.result.status, status);
    assert_int_equal(message->client_put_done.result.outcome, outcome);
    message_free(message);
    fixture_silent(&b->f);
    return progress;
}

/* A change needs a majority of each set to promise and to accept, in either phase of the move. */
static void a_change_needs_both_majorities(void **state)
{
    (void)state;
    for (int phase = PHASE_ANNOUNCED; phase <= PHASE_COPIED; phase++) {
        struct bench b;
        begin(&b, &one_stays, (enum partition_phase)phase, 7);
        bench_put(&b, STRONG, KEY, CONSISTENCY_DEFAULT);
        struct asked asked = bench_asked(&b, MESSAGE_register_prepare);
        assert_int_equal(asked.count, 5);
        assert_int_equal(asked.epoch, 7);
        for (uint32_t member = 1; member <= 3; member++)
            promise(&b, 7, asked.id, member, OK);
        fixture_silent(&b.f);
        promise(&b, 7, asked.id, 5, OK);
        asked = bench_asked(&b, MESSAGE_register_accept);
        assert_int_equal(asked.count, 5);
        accept(&b, 7, asked.id, 4, OK);
        accept(&b, 7, asked.id, 5, OK);
        accept(&b, 7, asked.id, 2, OK);
        fixture_silent(&b.f);
        accept(&b, 7, asked.id, 3, OK);
        put_ends(&b, OK, OUTCOME_APPLIED);
        bench_deinit(&b);
    }
}

/* So does a read, fast or not; and what is told is how far the worse set is. */
static void a_read_needs_both_majorities(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_COPIED, 7);
    bench_get(&b, STRONG, KEY, CONSISTENCY_DEFAULT, 0);
    struct asked asked = bench_asked(&b, MESSAGE_register_query);
    assert_int_equal(asked.count, 6);
    for (uint32_t member = 3; member <= 6; member++)
        query_answer(&b, 7, asked.id, member, OK, (struct ballot){0});
    fixture_silent(&b.f);
    query_answer(&b, 7, asked.id, 1, OK, (struct ballot){0});
    bench_got(&b, OK);
    assert_int_equal(counter_get(&b.figures->register_fast_reads), 1);
    bench_get(&b, STRONG, KEY, CONSISTENCY_DEFAULT, 0);
    asked = bench_asked(&b, MESSAGE_register_query);
    for (uint32_t member = 4; member <= 6; member++)
        query_answer(&b, 7, asked.id, member, OK, (struct ballot){0});
    query_answer(&b, 7, asked.id, 3, ERR_INCOMPLETE, (struct ballot){0});
    query_answer(&b, 7, asked.id, 2, ERR_INCOMPLETE, (struct ballot){0});
    struct client_get_done done = bench_got(&b, ERR_UNAVAILABLE);
    assert_int_equal(done.progress.acked, 0);
    assert_int_equal(done.progress.needed, 2);
    bench_get(&b, STRONG, KEY, CONSISTENCY_DEFAULT, 0);
    asked = bench_asked(&b, MESSAGE_register_query);
    for (uint32_t member = 1; member <= 4; member++)
        query_answer(&b, 7, asked.id, member, OK, (struct ballot){0});
    query_answer(&b, 7, asked.id, 5, ERR_INCOMPLETE, (struct ballot){0});
    query_answer(&b, 7, asked.id, 6, ERR_INCOMPLETE, (struct ballot){0});
    assert_int_equal(bench_got(&b, ERR_UNAVAILABLE).progress.acked, 1);
    bench_deinit(&b);
}

/* Refused for its epoch, a round begins again with the replicas of the new view, in the phase of a
 * query or above all that it has met; nothing that was agreed to before counts. After an accept the
 * outcome stays unknown until a round of the new plan has told it. */
static void a_refused_round_begins_again(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_stays, PHASE_WAITING, 7);
    bench_get(&b, STRONG, KEY, CONSISTENCY_DEFAULT, 0);
    struct asked asked = bench_asked(&b, MESSAGE_register_query);
    assert_int_equal(asked.count, 3);
    change(&b, &one_stays, PHASE_ANNOUNCED, 8);
    query_answer(&b, 7, asked.id, 1, OK, (struct ballot){0});
    query_answer(&b, 8, asked.id, 2, ERR_STALE_EPOCH, (struct ballot){0});
    uint64_t before = asked.id;
    asked = bench_asked(&b, MESSAGE_register_query);
    assert_int_equal(asked.count, 5);
    assert_int_equal(asked.epoch, 8);
    query_answer(&b, 7, before, 3, OK, (struct ballot){0});
    for (uint32_t member = 2; member <= 4; member++) {
        fixture_silent(&b.f);
        query_answer(&b, 8, asked.id, member, OK, (struct ballot){0});
    }
    fixture_silent(&b.f);
    query_answer(&b, 8, asked.id, 5, OK, (struct ballot){0});
    bench_got(&b, OK);

    bench_put(&b, STRONG, KEY, CONSISTENCY_DEFAULT);
    asked = bench_asked(&b, MESSAGE_register_prepare);
    for (uint32_t member = 1; member <= 4; member++)
        promise(&b, 8, asked.id, member, OK);
    const struct message *first = b.f.outbox.first;
    struct ballot ballot = first->register_accept.ballot;
    asked = bench_asked(&b, MESSAGE_register_accept);
    accept(&b, 9, asked.id, 4, ERR_STALE_EPOCH); /* the view is on its way */
    assert_int_equal(bench_asked(&b, MESSAGE_register_accept).told, 1);
    accept(&b, 9, asked.id, 5, ERR_STALE_EPOCH);
    accept(&b, 9, asked.id, 2, ERR_STALE_EPOCH);
    fixture_silent(&b.f); /* no majority can come, and still no failure */
    change(&b, &one_stays, PHASE_DONE, 9);
    fixture_pass(&b.f, 10 * MS);
    assert_true(ballot_compare(b.f.outbox.first->register_prepare.ballot, ballot) > 0);
    asked = bench_asked(&b, MESSAGE_register_prepare);
    assert_int_equal(asked.count, 3);
    assert_int_equal(asked.epoch, 9);
    fixture_pass(&b.f, DEADLINE_KEPT_NS);
    bench_asked_until(&b, MESSAGE_register_prepare, MESSAGE_client_put_done);
    put_ends(&b, ERR_TIMEOUT, OUTCOME_UNKNOWN);
    assert_int_equal(counter_get(&b.figures->replanned), 2);
    bench_deinit(&b);
}

/* Who is behind has not refused: it is asked again after 10 ms, alone, and votes then. */
static void a_round_waits_for_who_is_behind(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_stays, PHASE_ANNOUNCED, 8);
    bench_put(&b, STRONG, KEY, CONSISTENCY_DEFAULT);
    struct asked asked = bench_asked(&b, MESSAGE_register_prepare);
    promise(&b, 7, asked.id, 4, ERR_UNAVAILABLE);
    promise(&b, 7, asked.id, 5, ERR_UNAVAILABLE);
    promise(&b, 8, asked.id, 1, OK);
    promise(&b, 8, asked.id, 2, OK);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 10 * MS);
    asked = bench_asked(&b, MESSAGE_register_prepare);
    assert_int_equal(asked.count, 2);
    assert_true(asked_member(&asked, 4) && asked_member(&asked, 5));
    promise(&b, 7, asked.id, 4, ERR_UNAVAILABLE);
    promise(&b, 8, asked.id, 5, OK);
    assert_int_equal(bench_asked(&b, MESSAGE_register_accept).count, 5);
    bench_deinit(&b);
}

static void settle(struct bench *b, uint32_t keyspace_id)
{
    struct message *message = message_new(MESSAGE_register_settle, 0);
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->id = 55;
    message->deadline_ns = b->f.ctx.now_ns + DEADLINE_NS;
    message->register_settle =
        (struct register_settle){.keyspace_id = keyspace_id, .key = bytes_of_string(KEY)};
    fixture_handle(&b->f, message);
}

static void settled(struct bench *b, enum err status)
{
    struct message *message = fixture_take(&b->f, MESSAGE_register_settle_done);
    assert_int_equal(message->register_settle_done.status, status);
    assert_int_equal(message->to.kind, ACTOR_ANTI_ENTROPY);
    assert_int_equal(message->id, 55);
    message_free(message);
    fixture_silent(&b->f);
}

/* register_settle ends a round by prepare and accept, though a query could tell: what a majority
 * shows is then held by a majority of the new set. The value is as it was. */
static void settling_is_a_full_round(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_ANNOUNCED, 7);
    settle(&b, b.f.keyspace_ids[STRONG]);
    struct asked asked = bench_asked(&b, MESSAGE_register_prepare);
    assert_int_equal(asked.count, 6);
    struct register_value held = {.version = 3, .found = true, .value = bytes_of_string("held")};
    for (uint32_t member = 1; member <= 5; member++) {
        struct message *message = message_new(MESSAGE_register_prepare_reply, 0);
        message->from = actor_id_of(member, ACTOR_REPLICA);
        message->id = asked.id;
        message->register_prepare_reply.agreed = true;
        if (member == 2) {
            message->register_prepare_reply.accepted = (struct ballot){.counter = 1, .member = 2};
            message->register_prepare_reply.value = register_value_encode(&message->arena, &held);
        }
        fixture_handle(&b.f, message);
    }
    const struct message *first = b.f.outbox.first;
    struct register_value proposed;
    assert_int_equal(first->kind, MESSAGE_register_accept);
    assert_int_equal(register_value_decode(first->register_accept.value, &proposed), OK);
    assert_int_equal(proposed.version, 3);
    assert_true(bytes_equal(proposed.value, held.value));
    asked = bench_asked(&b, MESSAGE_register_accept);
    for (uint32_t member = 1; member <= 5; member++) {
        fixture_silent(&b.f);
        accept(&b, 7, asked.id, member, OK);
    }
    settled(&b, OK);
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    bench_deinit(&b);
}

static void settling_may_fail(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_ANNOUNCED, 7);
    settle(&b, 4711);
    settled(&b, ERR_NOT_FOUND);
    settle(&b, b.f.keyspace_ids[KEYSPACE_TEST_SIBLINGS]);
    settled(&b, ERR_PRECONDITION);
    settle(&b, b.f.keyspace_ids[STRONG]);
    bench_asked(&b, MESSAGE_register_prepare);
    fixture_pass(&b.f, READ_LATE_NS);
    assert_int_equal(bench_asked(&b, MESSAGE_register_prepare).count, 6);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - READ_LATE_NS);
    settled(&b, ERR_TIMEOUT);
    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        settle(&b, b.f.keyspace_ids[STRONG]);
        bench_asked(&b, MESSAGE_register_prepare);
    }
    settle(&b, b.f.keyspace_ids[STRONG]);
    settled(&b, ERR_OVERLOADED);
    bench_deinit(&b);
}

/* A keyspace that is dropped while a round is to begin again. */
static void the_keyspace_may_go_meanwhile(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_stays, PHASE_WAITING, 7);
    bench_put(&b, STRONG, KEY, CONSISTENCY_DEFAULT);
    struct asked asked = bench_asked(&b, MESSAGE_register_prepare);
    fixture_show_keyspaces(&b.f, STRONG, false);
    b.f.view->topology.epoch = 8;
    promise(&b, 8, asked.id, 2, ERR_STALE_EPOCH);
    put_ends(&b, ERR_NOT_FOUND, OUTCOME_NOT_APPLIED);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_needs_both_majorities),
        cmocka_unit_test(a_read_needs_both_majorities),
        cmocka_unit_test(a_refused_round_begins_again),
        cmocka_unit_test(a_round_waits_for_who_is_behind),
        cmocka_unit_test(settling_is_a_full_round),
        cmocka_unit_test(settling_may_fail),
        cmocka_unit_test(the_keyspace_may_go_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
