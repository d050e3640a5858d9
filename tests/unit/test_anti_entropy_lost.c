// link: coterie_actors coterie_store coterie_codec
/* Rules of actors/anti_entropy_completion.c and anti_entropy_record.c: what was lost here comes
 * back from all other replicas, never from some of them; and of anti_entropy_explain.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/anti_entropy_bench.h"
#include "tests/unit/change_bench.h"

#define P 5u

static bool all_complete(const struct bench *b)
{
    return figure(&b->figures->incomplete) == 0;
}

static bool adopted(const struct bench *b)
{
    return b->fakes[SELF].adopted;
}

static void lose_vnode(struct bench *b, uint32_t partition, uint64_t incarnation)
{
    struct fake *self = &b->fakes[SELF];
    struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
    message->vnode_incomplete =
        (struct vnode_incomplete){.partition = partition, .incarnation = incarnation};
    self->complete = self->adopted = false;
    self->floorless = UINT32_MAX;
    self->count = 0;
    self->floor = 0;
    fixture_handle(&b->f, message);
    fixture_pass(&b->f, 0);
}

static void put_everywhere(struct bench *b)
{
    for (uint32_t i = 0; i < 30; i++) {
        const char *key = key_in(b, P, i);
        for (uint32_t member = 1; member <= MEMBERS; member++)
            fake_put(b, member, key, 1, "v");
    }
    fake_put(b, 2, key_in(b, P, 100), 2, "only 2 has it");
    fake_put(b, 3, key_in(b, P, 101), 3, "only 3 has it");
}

/* -- vnodes -------------------------------------------------------------------------------------
 */

/* The greatest floor is adopted first, then every other replica is gone through, then it votes. */
static void filled_from_all_others(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_everywhere(&b);
    b.fakes[2].floor = b.fakes[2].reaped = 3;
    b.fakes[3].floor = 9;
    lose_vnode(&b, P, 1);
    assert_int_equal(figure(&b.figures->incomplete), 1);
    assert_true(bench_run(&b, all_complete, 20 * SECONDS));
    assert_int_equal(b.completed, 1);
    assert_int_equal(b.fakes[SELF].adopted_floor, 9);
    assert_int_equal(b.fakes[SELF].adopted_reaped, 3);
    assert_int_equal(b.fakes[SELF].count, 32);
    assert_int_equal(b.fakes[2].floor, 9); /* or nothing could come from there */
    assert_int_equal(figure(&b.figures->completed), 1);
    assert_int_equal(figure(&b.figures->stale_floor), 0);
    bench_deinit(&b);
}

/* As long as one of the others is away it may be the only one that holds something. */
static void one_that_is_away_is_waited_for(void **state)
{
    (void)state;
    for (uint32_t away = 2; away <= MEMBERS; away++) {
        struct bench b;
        bench_init(&b);
        put_everywhere(&b);
        fixture_set_liveness(&b.f, away, LIVENESS_DOWN);
        b.fakes[5 - away].floor = 4;
        lose_vnode(&b, P, 1);
        assert_false(bench_run(&b, all_complete, 120 * SECONDS));
        assert_int_equal(b.fakes[SELF].adopted_floor,
                         4); /* one complete replica is enough for it */
        assert_int_equal(b.fakes[SELF].count, 31);
        assert_int_equal(b.completed, 0);
        fixture_set_liveness(&b.f, away, LIVENESS_ALIVE);
        assert_true(bench_run(&b, all_complete, 20 * SECONDS));
        assert_int_equal(b.fakes[SELF].count, 32);
        bench_deinit(&b);
    }
}

/* When all others are being filled as well the floor waits until all of them have spoken. */
static void without_a_complete_one_all_must_speak(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_everywhere(&b);
    b.fakes[2].complete = b.fakes[3].complete = false;
    b.fakes[2].adopted = b.fakes[3].adopted = true;
    b.fakes[2].floor = b.fakes[3].floor = 5;
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    lose_vnode(&b, P, 1);
    assert_false(bench_run(&b, adopted, 60 * SECONDS));
    fixture_set_liveness(&b.f, 3, LIVENESS_ALIVE);
    assert_true(bench_run(&b, adopted, 20 * SECONDS));
    assert_true(bench_run(&b, all_complete, 20 * SECONDS));
    assert_int_equal(b.fakes[SELF].adopted_floor, 5);
    assert_int_equal(b.fakes[SELF].count, 32);
    bench_deinit(&b);
}

/* A node that has lost its directory has lost the keyspaces with it. Until it is told of them it
 * cannot know what it lacks. */
static void keyspaces_that_are_not_known_yet_are_waited_for(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_everywhere(&b);
    fixture_show_keyspaces(&b.f, SIBLINGS, false);
    lose_vnode(&b, P, 1);
    assert_false(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(b.completed, 0);
    fixture_show_keyspaces(&b.f, SIBLINGS, true);
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(b.fakes[SELF].count, 32);
    bench_deinit(&b);
}

/* Those that are asked may hold nothing of a keyspace that others know: neither rows nor floors
 * tell of it then, nor of the replicas that only it has. So nothing is asked before a majority of
 * all members and each replica has told which keyspaces there are (simulator seed 216749). */
static void keyspaces_are_told_before_anything_is_asked(void **state)
{
    (void)state;
    for (uint32_t last = 2; last <= MEMBERS; last++) {
        struct bench b;
        bench_init(&b);
        put_everywhere(&b);
        for (uint32_t member = 2; member <= MEMBERS; member++)
            fixture_set_heard(&b.f, member, false);
        lose_vnode(&b, P, 1);
        assert_false(bench_run(&b, adopted, 60 * SECONDS));
        for (uint32_t member = 2; member <= MEMBERS; member++)
            fixture_set_heard(&b.f, member, member != last); /* a majority, but not this replica */
        assert_true(view_keyspaces_heard(b.f.ctx.view));
        assert_false(bench_run(&b, adopted, 60 * SECONDS));
        fixture_set_heard(&b.f, last, true);
        assert_true(bench_run(&b, all_complete, 5 * SECONDS));
        assert_int_equal(b.fakes[SELF].count, 32);
        bench_deinit(&b);
    }
}

/* Of a keyspace that is heard of after the floors of the others were taken over, and of which all
 * rows have been reaped, there is nothing to hand over but the floor: without it this copy would
 * take what the others have removed, and later find that it has lost its seal. */
static void floors_of_keyspaces_heard_of_late_are_adopted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.fakes[2].floor = b.fakes[3].floor = 4;
    b.fakes[2].reaped = b.fakes[3].reaped = 4;
    fixture_show_keyspaces(&b.f, SIBLINGS, false);
    lose_vnode(&b, P, 1);
    assert_true(bench_run(&b, adopted, 20 * SECONDS));
    assert_true(fake_is_floorless(&b, &b.fakes[SELF], b.f.keyspace_ids[SIBLINGS]));
    fixture_show_keyspaces(&b.f, SIBLINGS, true);
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_false(fake_is_floorless(&b, &b.fakes[SELF], b.f.keyspace_ids[SIBLINGS]));
    bench_deinit(&b);
}

/* Emptied once more: what was filled before counts for nothing. */
static void emptied_again_begins_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_everywhere(&b);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    lose_vnode(&b, P, 1);
    assert_false(bench_run(&b, all_complete, 5 * SECONDS)); /* 2 is through */
    lose_vnode(&b, P, 2);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 3, LIVENESS_ALIVE);
    assert_false(bench_run(&b, all_complete, 60 * SECONDS));
    fixture_set_liveness(&b.f, 2, LIVENESS_ALIVE);
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(b.fakes[SELF].count, 32);
    assert_int_equal(b.completed, 1);
    bench_deinit(&b);
}

/* An exchange that began before the loss says nothing of the vnode after it. */
static void older_exchanges_do_not_count(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    put_everywhere(&b);
    for (uint32_t member = 2; member <= MEMBERS; member++)
        mark_dirty(&b, P, member);
    assert_int_equal(figure(&b.figures->exchanges_running), 2);
    /* Both have asked for the roots; the fakes answer as if nothing was there to compare. */
    struct fake *kept = malloc((MEMBERS + 1) * sizeof *kept);
    memcpy(kept, b.fakes, (MEMBERS + 1) * sizeof *kept);
    b.fakes[SELF].count = b.fakes[2].count = b.fakes[3].count = 0;
    lose_vnode(&b, P, 1);
    bench_carry(&b);
    assert_int_equal(figure(&b.figures->exchanges_equal), 2);
    memcpy(&b.fakes[2], &kept[2], 2 * sizeof *kept);
    free(kept);
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(b.fakes[SELF].count, 32);
    bench_deinit(&b);
}

/* What this node reported of a peer it may have lost with its own copy: the mark stays until it has
 * been filled, and the peer is compared with it again. */
static void marks_outlive_the_loss(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_everywhere(&b);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    mark_dirty(&b, P, 2);
    lose_vnode(&b, P, 1);
    fixture_set_liveness(&b.f, 2, LIVENESS_ALIVE);
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(figure(&b.figures->dirty), 1);
    uint64_t exchanges = figure(&b.figures->exchanges);
    assert_false(bench_run(&b, never, 2 * SECONDS));
    assert_int_equal(figure(&b.figures->dirty), 0);
    assert_int_equal(figure(&b.figures->exchanges), exchanges + 1);
    bench_deinit(&b);
}

/* A repair of one keyspace fills no vnode. */
static void one_keyspace_completes_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t member = 2; member <= MEMBERS; member++)
        fixture_set_liveness(&b.f, member, LIVENESS_DOWN);
    lose_vnode(&b, P, 1);
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->client_maintenance.keyspace_id = b.f.keyspace_ids[SIBLINGS];
    fixture_handle(&b.f, message);
    assert_false(bench_run(&b, never, SECONDS)); /* the fakes answer all the same */
    assert_true(figure(&b.figures->exchanges_equal) >= 2 * PARTITIONS);
    fake_put(&b, 2, key_in(&b, P, 1), 2, "v");
    for (uint32_t member = 2; member <= MEMBERS; member++)
        fixture_set_liveness(&b.f, member, LIVENESS_ALIVE);
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(b.fakes[SELF].count, 1);
    bench_deinit(&b);
}

/* Said twice of one incarnation: nothing begins anew. */
static void said_twice(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    lose_vnode(&b, P, 1);
    lose_vnode(&b, P, 1);
    assert_int_equal(figure(&b.figures->incomplete), 1);
    assert_true(bench_run(&b, all_complete, 20 * SECONDS));
    assert_int_equal(b.completed, 1);
    bench_deinit(&b);
}

/* Whichever question fails or message is lost, it ends complete, and not before it holds all. */
static void every_step_may_fail(void **state)
{
    (void)state;
    uint64_t messages = 1;
    uint64_t requests = 1;
    for (uint64_t i = 0; i <= messages + requests; i++) {
        struct bench b;
        bench_init(&b);
        for (uint32_t j = 0; j < 3; j++) {
            fake_put(&b, 2, key_in(&b, P, j), 2, "v");
            fake_put(&b, 3, key_in(&b, P, j + 1), 3, "v");
        }
        if (i > 0 && i <= messages)
            b.lose = i;
        else if (i > 0)
            b.refuse = i - messages;
        lose_vnode(&b, P, 1);
        assert_true(bench_run(&b, all_complete, 100 * SECONDS));
        assert_int_equal(b.fakes[SELF].count, 4);
        assert_int_equal(figure(&b.figures->completed), 1);
        if (i == 0) {
            messages = b.carried;
            requests = b.requests;
        }
        bench_deinit(&b);
    }
    assert_true(messages > 20);
}

static bool four_adopted(const struct bench *b)
{
    return b->fakes[SELF].writes >= 4;
}

/* All of a node's vnodes at once: a few at a time, to the end. */
static void all_vnodes_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        fake_put(&b, 2, key_in(&b, i, i), 2, "v");
    for (uint32_t i = 0; i < PARTITIONS; i++)
        lose_vnode(&b, i, i + 1);
    assert_int_equal(figure(&b.figures->incomplete), PARTITIONS);
    assert_in_range(figure(&b.figures->exchanges_running), 0, 2);
    assert_true(bench_run(&b, four_adopted, 20 * SECONDS));
    assert_true(bench_run(&b, all_complete, 60 * SECONDS));
    assert_int_equal(b.fakes[SELF].count, PARTITIONS);
    assert_int_equal(b.completed, PARTITIONS);
    bench_deinit(&b);
}

/* -- rows ---------------------------------------------------------------------------------------
 */

static bool repaired(const struct bench *b)
{
    return figure(&b->figures->records_repaired) > 0;
}

static void lose_row(struct bench *b, const char *key)
{
    struct message *message = message_new(MESSAGE_record_repair, 0);
    message->record_repair = (struct record_repair){
        .partition = P, .keyspace_id = b->f.keyspace_ids[SIBLINGS], .key = bytes_of_string(key)};
    fixture_handle(&b->f, message);
    fixture_pass(&b->f, 0);
}

/* The join of what all others hold is written here; one that is away is waited for. */
static void a_row_comes_back(void **state)
{
    (void)state;
    for (uint32_t away = 0; away <= 2; away += 2) {
        struct bench b;
        bench_init(&b);
        const char *key = key_in(&b, P, 1);
        fake_put(&b, 2, key, 2, "a");
        fake_put(&b, 3, key, 3, "b");
        fake_put(&b, 3, key_in(&b, P, 2), 3, "another");
        if (away != 0)
            fixture_set_liveness(&b.f, away, LIVENESS_DOWN);
        lose_row(&b, key);
        lose_row(&b, key); /* is under way */
        if (away != 0) {
            assert_false(bench_run(&b, repaired, 60 * SECONDS));
            assert_int_equal(b.fakes[SELF].count, 0);
            fixture_set_liveness(&b.f, away, LIVENESS_ALIVE);
        }
        assert_true(bench_run(&b, repaired, 20 * SECONDS));
        assert_int_equal(b.fakes[SELF].count, 1);
        struct version_set set = fake_set(&b, &b.fakes[SELF].items[0]);
        assert_true(test_holds(&set, "a") && test_holds(&set, "b"));
        assert_int_equal(figure(&b.figures->records_repaired), 1);
        bench_deinit(&b);
    }
}

/* Who is away for a time is waited for, also one that is to leave; who is declared gone while it is
 * away is not. */
static void a_row_when_one_is_gone(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    const char *key = key_in(&b, P, 1);
    fake_put(&b, 2, key, 2, "a");
    fake_put(&b, 3, key, 3, "b");
    struct topology_operation leave = {.kind = TOPOLOGY_LEAVE, .member = 3};
    change_operate(&b.f, leave);
    change_publish(&b.f);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    lose_row(&b, key);
    assert_false(bench_run(&b, repaired, 60 * SECONDS));
    assert_int_equal(b.fakes[SELF].count, 0);
    leave.gone = true;
    change_operate(&b.f, leave);
    change_publish(&b.f);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    assert_true(bench_run(&b, repaired, 60 * SECONDS));
    struct version_set set = fake_set(&b, &b.fakes[SELF].items[0]);
    assert_true(test_holds(&set, "a") && !test_holds(&set, "b"));
    bench_deinit(&b);
}

static void a_row_whatever_is_lost(void **state)
{
    (void)state;
    uint64_t messages = 1;
    for (uint64_t lost = 0; lost <= messages; lost++) {
        struct bench b;
        bench_init(&b);
        const char *key = key_in(&b, P, 1);
        fake_put(&b, 2, key, 2, "a");
        b.lose = lost;
        lose_row(&b, key);
        assert_true(bench_run(&b, repaired, 60 * SECONDS));
        assert_int_equal(b.fakes[SELF].count, 1);
        messages = lost == 0 ? b.carried : messages;
        bench_deinit(&b);
    }
    assert_int_equal(messages, 6);
}

/* Nobody else has it: said, and a state without versions takes its place. More than there is room
 * for: said. */
static void rows_that_cannot_come_back(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    lose_row(&b, key_in(&b, P, 1));
    assert_true(bench_run(&b, repaired, 20 * SECONDS));
    assert_int_equal(figure(&b.figures->records_missing), 1);
    assert_int_equal(b.fakes[SELF].count, 1);
    struct version_set set = fake_set(&b, &b.fakes[SELF].items[0]);
    assert_int_equal(set.count, 0);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    for (uint32_t i = 0; i < 100; i++)
        lose_row(&b, key_in(&b, P, i));
    assert_int_equal(figure(&b.figures->records_refused), 36); /* 64 places */
    bench_deinit(&b);
}

/* -- one key, as all nodes see it ---------------------------------------------------------------
 */

static void explain(struct bench *b, const char *key, uint64_t deadline_ns)
{
    struct message *message = message_new(MESSAGE_client_explain, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->deadline_ns = deadline_ns;
    message->client_explain = (struct client_explain){
        .client = 42, .keyspace_id = b->f.keyspace_ids[SIBLINGS], .key = bytes_of_string(key)};
    fixture_handle(&b->f, message);
}

/* Answers the next question, if somebody is there to do it. */
static uint64_t explain_id;

static void answer_explain(struct bench *b, bool silent)
{
    struct message *message = fixture_take(&b->f, MESSAGE_key_explain);
    explain_id = message->id;
    struct message *reply = message_new_reply(message, MESSAGE_key_explain_reply, 0);
    reply->from = message->to;
    reply->key_explain_reply.leaf_keys = message->to.node;
    if (message->to.kind == ACTOR_REPLICA)
        reply->key_explain_reply.record = arena_copy(&reply->arena, bytes_of_string("held"));
    else
        reply->key_explain_reply.hint_count = 1;
    if (silent)
        message_free(reply);
    else
        fixture_handle(&b->f, reply);
    message_free(message);
}

static void everybody_is_asked(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    const char *key = key_in(&b, P, 1);
    explain(&b, key, 0);
    for (uint32_t i = 0; i < 2 * MEMBERS; i++) /* the handoffs' answers come last */
        answer_explain(&b, b.f.outbox.first->to.kind == ACTOR_HINTED_HANDOFF);
    fixture_silent(&b.f);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct message *reply = message_new(MESSAGE_key_explain_reply, 0);
        reply->from = actor_id_of(i + 1, ACTOR_HINTED_HANDOFF);
        reply->id = explain_id;
        reply->key_explain_reply.hint_count = 1;
        fixture_handle(&b.f, reply);
    }
    struct message *done = fixture_take(&b.f, MESSAGE_client_explain_done);
    const struct client_explain_done *body = &done->client_explain_done;
    assert_int_equal(body->client, 42);
    assert_int_equal(body->status, OK);
    assert_int_equal(body->partition, P);
    assert_int_equal(body->count, MEMBERS);
    for (uint32_t i = 0; i < body->count; i++) {
        assert_int_equal(body->nodes[i].member, i + 1);
        assert_true(body->nodes[i].replica);
        assert_int_equal(body->nodes[i].held.status, OK);
        assert_int_equal(body->nodes[i].held.leaf_keys, i + 1);
        assert_true(bytes_equal(body->nodes[i].held.record, bytes_of_string("held")));
        assert_int_equal(body->nodes[i].hints.hint_count, 1);
    }
    message_free(done);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* What has come by the deadline is the answer; who is down is not asked. */
static void the_deadline_ends_it(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    explain(&b, key_in(&b, P, 1), b.f.ctx.now_ns + 800 * MS);
    for (uint32_t i = 0; i < 4; i++)
        answer_explain(&b, i >= 2); /* 1 answers, 3 does not */
    fixture_pass(&b.f, 690 * MS);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 20 * MS); /* before the asker gives up */
    struct message *done = fixture_take(&b.f, MESSAGE_client_explain_done);
    const struct client_explain_done *body = &done->client_explain_done;
    assert_int_equal(body->count, MEMBERS);
    assert_int_equal(body->nodes[0].held.status, OK);
    assert_int_equal(body->nodes[1].held.status, ERR_UNAVAILABLE);
    assert_int_equal(body->nodes[2].held.status, ERR_TIMEOUT);
    assert_int_equal(body->nodes[2].hints.status, ERR_TIMEOUT);
    message_free(done);
    bench_deinit(&b);
}

static void explanations_are_bounded(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    for (uint32_t i = 0; i < 17; i++)
        explain(&b, "k", 0);
    struct message *last = b.f.outbox.last;
    assert_int_equal(last->kind, MESSAGE_client_explain_done);
    assert_int_equal(last->client_explain_done.status, ERR_OVERLOADED);
    struct message *message = message_new(MESSAGE_client_explain, 0);
    message->client_explain.keyspace_id = 12345;
    fixture_handle(&b.f, message);
    assert_int_equal(b.f.outbox.last->client_explain_done.status, ERR_NOT_FOUND);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filled_from_all_others),
        cmocka_unit_test(one_that_is_away_is_waited_for),
        cmocka_unit_test(without_a_complete_one_all_must_speak),
        cmocka_unit_test(keyspaces_that_are_not_known_yet_are_waited_for),
        cmocka_unit_test(keyspaces_are_told_before_anything_is_asked),
        cmocka_unit_test(floors_of_keyspaces_heard_of_late_are_adopted),
        cmocka_unit_test(emptied_again_begins_again),
        cmocka_unit_test(older_exchanges_do_not_count),
        cmocka_unit_test(marks_outlive_the_loss),
        cmocka_unit_test(one_keyspace_completes_nothing),
        cmocka_unit_test(said_twice),
        cmocka_unit_test(every_step_may_fail),
        cmocka_unit_test(all_vnodes_at_once),
        cmocka_unit_test(a_row_comes_back),
        cmocka_unit_test(a_row_when_one_is_gone),
        cmocka_unit_test(a_row_whatever_is_lost),
        cmocka_unit_test(rows_that_cannot_come_back),
        cmocka_unit_test(everybody_is_asked),
        cmocka_unit_test(the_deadline_ends_it),
        cmocka_unit_test(explanations_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
