// link: coterie_actors coterie_store
/* Puts that meet a change of the topology (model/topology.h) before their mint, after it, and when
 * they are passed on: planned anew, with what is known kept, and honest about the outcome.
 * DESIGN.md 4; RELIABILITY rules 26 to 28. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/one_key_bench.h"

/* -- puts before anything is staged
 * --------------------------------------------------------------------------------------------- */

/* Refused by our own replica, which has another view than the plan: minted by another plan, or
 * passed on by it, once the view is there; with nothing under the old id. NOT_APPLIED when the
 * deadline comes first. */
static void a_put_refused_at_the_mint(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    mint_done_at(&b, 8, m.id, ERR_STALE_EPOCH, NULL);
    fixture_silent(&b.f);
    change(&b, &one_replaced, PHASE_ANNOUNCED, 8);
    fixture_pass(&b.f, MS); /* the view of this node is never far */
    struct minting again = take_mint(&b);
    assert_int_equal(again.epoch, 8);
    assert_int_equal(again.targets.count, 3);
    assert_int_not_equal(again.id, m.id);
    mint_done_at(&b, 8, m.id, OK, NULL); /* nobody's */
    fixture_silent(&b.f);
    mint_done_at(&b, 7, again.id, ERR_UNAVAILABLE, NULL); /* this time the replica is behind */
    fixture_pass(&b.f, 10 * MS);
    again = take_mint(&b);
    mint_done_at(&b, 8, again.id, OK, NULL);
    bench_write_reply_at(&b, 8, again.id, 2, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);

    m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    change(&b, &all_others, PHASE_DONE, 9);
    mint_done_at(&b, 9, m.id, ERR_STALE_EPOCH, NULL);
    struct asked asked = bench_asked(&b, MESSAGE_forward_put); /* no replica here any more */
    assert_int_equal(asked.count, 1);
    assert_in_range(asked.members[0], 4, 6);
    assert_int_equal(asked.epoch, 9);
    bench_deinit(&b);
}

static void a_put_never_taken_was_not_applied(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    uint32_t mints = 0;
    mint_done_at(&b, 8, m.id, ERR_STALE_EPOCH, NULL);
    for (uint64_t left_ns = DEADLINE_KEPT_NS; left_ns > 0; left_ns -= MS) {
        fixture_pass(&b.f, MS);
        if (b.f.outbox.first == NULL || b.f.outbox.first->kind != MESSAGE_replica_mint)
            continue;
        m = take_mint(&b);
        mints++;
        mint_done_at(&b, 8, m.id, ERR_STALE_EPOCH, NULL);
    }
    put_answered(&b, ERR_TIMEOUT, OUTCOME_NOT_APPLIED);
    assert_in_range(mints, 10, 60); /* 1, 2, 4 ms, and never more often than each 100 */
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    bench_deinit(&b);
}

static void forward_answer(struct bench *b, uint64_t epoch, const struct asked *asked,
                           enum err status)
{
    struct message *message = message_new(MESSAGE_forward_put_reply, 0);
    message->from = actor_id_of(asked->members[0], ACTOR_COORDINATOR);
    message->id = asked->id;
    message->epoch = epoch;
    message->forward_put_reply.result = (struct put_result){
        .status = status, .outcome = OUTCOME_NOT_APPLIED, .why = "refused in the test"};
    fixture_handle(&b->f, message);
}

/* A put that was passed on and refused: to the next replica when that one lags, by another plan
 * when it is ahead, and when all have refused again a little later, under another id. */
static void a_put_passed_on_is_passed_on_again(void **state)
{
    (void)state;
    static const struct walks elsewhere = {{2, 3, 4}, {5, 6, 7}};
    struct bench b;
    begin(&b, &elsewhere, PHASE_COPIED, 8);
    bench_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    struct asked asked = bench_asked(&b, MESSAGE_forward_put);
    uint64_t first = asked.id;
    for (uint32_t i = 0; i < 3; i++) { /* none of them has heard of the step */
        assert_int_equal(asked.count, 1);
        assert_in_range(asked.members[0], 5, 7);
        assert_int_equal(asked.id, first);
        forward_answer(&b, 7, &asked, ERR_STALE_EPOCH);
        if (i < 2)
            asked = bench_asked(&b, MESSAGE_forward_put);
    }
    fixture_silent(&b.f);
    forward_answer(&b, 7, &asked, ERR_STALE_EPOCH); /* once more: it is for nothing */
    fixture_silent(&b.f);
    fixture_pass(&b.f, 10 * MS);
    asked = bench_asked(&b, MESSAGE_forward_put);
    assert_int_equal(asked.count, 1);
    assert_int_not_equal(asked.id, first);
    forward_answer(&b, 9, &asked, ERR_STALE_EPOCH); /* aborted: the old set again */
    assert_int_equal(bench_asked(&b, MESSAGE_forward_put).told, 1);
    static const struct walks back = {{5, 6, 7}, {2, 3, 4}};
    change(&b, &back, PHASE_DONE, 9);
    fixture_pass(&b.f, 20 * MS);
    asked = bench_asked(&b, MESSAGE_forward_put);
    assert_int_equal(asked.count, 1);
    assert_in_range(asked.members[0], 2, 4);
    assert_int_equal(asked.epoch, 9);
    forward_answer(&b, 9, &asked, ERR_LIMIT);
    put_answered(&b, ERR_LIMIT, OUTCOME_NOT_APPLIED);
    bench_deinit(&b);
}

/* -- minted puts
 * --------------------------------------------------------------------------------------------- */

/* What members that stay have answered is carried over, the others are sent the write under the new
 * epoch, and who has left counts no more. With the view at hand, and as soon as it comes. */
static void a_minted_put_goes_on_by_the_new_sets(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct bench b;
        begin(&b, &one_stays, PHASE_WAITING, 7);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
        mint_done_at(&b, 7, m.id, OK, NULL);
        bench_write_reply_at(&b, 7, m.id, 2, OK);
        if (known)
            change(&b, &one_stays, PHASE_ANNOUNCED, 8);
        bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH);
        if (!known) {
            assert_int_equal(bench_asked(&b, MESSAGE_replica_write).told, 1);
            change(&b, &one_stays, PHASE_ANNOUNCED, 8);
            fixture_pass(&b.f, 10 * MS);
        }
        struct asked asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 3);
        assert_int_equal(asked.epoch, 8);
        assert_int_equal(asked.write.reason, WRITE_REPLICATE);
        assert_true(bytes_equal(asked.record, RECORD));
        assert_true(asked_member(&asked, 3) && asked_member(&asked, 4) && asked_member(&asked, 5));
        bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH); /* of the copy before: nothing */
        fixture_silent(&b.f);
        bench_write_reply_at(&b, 8, m.id, 3, OK);
        bench_write_reply_at(&b, 8, m.id, 4, OK);
        fixture_silent(&b.f);
        change(&b, &one_stays, PHASE_DONE, 9); /* two steps at once */
        bench_write_reply_at(&b, 9, m.id, 5, ERR_STALE_EPOCH);
        asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 1);
        bench_write_reply_at(&b, 9, m.id, 2, OK); /* has left */
        fixture_silent(&b.f);
        bench_write_reply_at(&b, 9, m.id, 5, OK);
        struct put_result result = put_answered(&b, OK, OUTCOME_APPLIED);
        assert_int_equal(result.progress.acked, 3);
        assert_true(progress_acked(&result.progress, 4) && progress_acked(&result.progress, 5));
        assert_int_equal(counter_get(&b.figures->replanned), 2);
        assert_int_equal(counter_get(&b.figures->settling), 0);
        bench_deinit(&b);
    }
}

/* A replica that is only written by now may have been emptied since it answered, to be filled
 * again: its answer is not carried over, not even this node's own. */
static void answers_of_who_is_only_written_count_no_more(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_ANNOUNCED, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    mint_done_at(&b, 7, m.id, OK, NULL);
    bench_write_reply_at(&b, 7, m.id, 2, OK);
    bench_write_reply_at(&b, 7, m.id, 4, OK);
    fixture_silent(&b.f);
    change(&b, &all_others, PHASE_COPIED, 8);
    bench_write_reply_at(&b, 8, m.id, 5, ERR_STALE_EPOCH);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 5);
    assert_true(asked_member(&asked, SELF) && asked_member(&asked, 2));
    assert_false(asked_member(&asked, 4));
    bench_write_reply_at(&b, 8, m.id, 5, OK); /* the one set has two, the other one none */
    bench_write_reply_at(&b, 8, m.id, SELF, OK);
    fixture_silent(&b.f);
    bench_write_reply_at(&b, 8, m.id, 3, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);
    bench_deinit(&b);
}

/* A refusal that overtakes the news that the write is durable here changes the plan when that
 * comes. */
static void refused_before_the_mint_is_durable(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    bench_write_reply_at(&b, 8, m.id, 2, ERR_STALE_EPOCH);
    bench_asked(&b, MESSAGE_replica_write);
    change(&b, &one_replaced, PHASE_ANNOUNCED, 8);
    fixture_pass(&b.f, 20 * MS);
    fixture_silent(&b.f);
    mint_done_at(&b, 7, m.id, OK, NULL);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 3);
    assert_int_equal(asked.epoch, 8);
    bench_write_reply_at(&b, 8, m.id, 4, OK); /* 1 and 4 are no quorum of 1, 2, 3 */
    fixture_silent(&b.f);
    bench_write_reply_at(&b, 8, m.id, 2, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);
    bench_deinit(&b);
}

/* A replica that is behind is no replica that is away: it is sent the write again after 10 ms, and
 * nobody keeps a hint for it. */
static void a_put_waits_for_who_is_behind(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_ANNOUNCED, 8);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
    bench_write_reply_at(&b, 7, m.id, 4, ERR_UNAVAILABLE);
    fixture_pass(&b.f, 10 * MS);
    fixture_silent(&b.f); /* not durable here yet */
    mint_done_at(&b, 8, m.id, OK, NULL);
    bench_write_reply_at(&b, 8, m.id, 2, OK);
    bench_write_reply_at(&b, 8, m.id, 3, OK);
    fixture_pass(&b.f, 20 * MS);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], 4);
    assert_int_equal(asked.hints, 0);
    bench_write_reply_at(&b, 8, m.id, 4, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    bench_deinit(&b);
}

/* A copy that was only just announced takes writes in a moment. With few nodes all others are
 * replicas already, so nobody can stand in for it: it is asked again, the write does not fail.
 * Where somebody can, a hint is kept at once. */
static void a_copy_that_is_coming_is_asked_again(void **state)
{
    (void)state;
    static const struct walks nobody_else = {{1, 2, 3, 4}, {1, 2, 4, 3}};
    for (int another = 0; another < 2; another++) {
        struct bench b;
        begin(&b, another ? &one_replaced : &nobody_else, PHASE_ANNOUNCED, 8);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
        mint_done_at(&b, 8, m.id, OK, NULL);
        bench_write_reply_at(&b, 8, m.id, 2, OK);
        bench_write_reply_at(&b, 8, m.id, 3, OK);
        bench_asked(&b, MESSAGE_replica_write);
        bench_write_reply_at(&b, 8, m.id, 4, ERR_INCOMPLETE);
        struct asked asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.hints, another);
        if (another) {
            bench_hint_reply(&b, m.id, asked.keepers[0], OK);
        } else {
            fixture_pass(&b.f, 20 * MS);
            asked = bench_asked(&b, MESSAGE_replica_write);
            assert_int_equal(asked.count, 1);
            assert_int_equal(asked.members[0], 4);
            bench_write_reply_at(&b, 8, m.id, 4, OK);
        }
        put_answered(&b, OK, OUTCOME_APPLIED);
        bench_deinit(&b);
    }
}

/* A wait that a new plan has made needless takes no wake-up with it that a request needs: the ask
 * for late ones was moved behind it meanwhile. Neither an answer nor a place in the table is lost.
 */
static void a_wait_that_falls_away_wakes_nobody_less(void **state)
{
    (void)state;
    for (int answered = 0; answered < 2; answered++) {
        struct bench b;
        begin(&b, &one_replaced, PHASE_WAITING, 7);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
        mint_done_at(&b, 7, m.id, OK, NULL);
        if (answered) {
            bench_write_reply_at(&b, 7, m.id, 2, OK);
            put_answered(&b, OK, OUTCOME_APPLIED);
        }
        fixture_pass(&b.f, 495 * MS);
        bench_write_reply_at(&b, 6, m.id, 3, ERR_UNAVAILABLE); /* asked again at 505 ms */
        fixture_pass(&b.f, 6 * MS);                            /* late at 500 ms */
        bench_asked(&b, MESSAGE_replica_write);
        change(&b, &one_replaced, PHASE_ANNOUNCED, 8);
        bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH);
        for (int i = 0; i < 1000; i++) {
            fixture_pass(&b.f, 20 * MS);
            bench_asked_until(&b, MESSAGE_replica_write, MESSAGE_client_put_done);
            if (!answered && b.f.outbox.first != NULL)
                break;
        }
        if (!answered)
            put_answered(&b, ERR_TIMEOUT, OUTCOME_UNKNOWN);
        fixture_pass(&b.f, 20000 * MS);
        bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        assert_int_equal(counter_get(&b.figures->settling), 0);
        bench_deinit(&b);
    }
}

/* A hint that is kept for a member that stays goes on counting, unless its keeper has become a
 * replica: then that is one node with one vote, and somebody else keeps the hint. */
static void hints_are_carried_over(void **state)
{
    (void)state;
    static const struct walks keeper_comes = {{1, 2, 3, 4, 5, 6}, {1, 2, 4, 3, 5, 6}};
    for (int comes = 0; comes < 2; comes++) {
        const struct walks *walks = comes ? &keeper_comes : &one_replaced;
        struct bench b;
        begin(&b, walks, PHASE_WAITING, 7);
        fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
        mint_done_at(&b, 7, m.id, OK, NULL);
        struct asked asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.hints, 1);
        uint32_t keeper = asked.keepers[0];
        assert_int_equal(keeper, comes ? 4 : 5);
        bench_hint_reply(&b, m.id, keeper, OK);
        fixture_silent(&b.f);
        change(&b, walks, PHASE_ANNOUNCED, 8);
        fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
        bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH);
        asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 2);
        assert_true(asked_member(&asked, 3) && asked_member(&asked, 4));
        assert_int_equal(asked.hints, comes);
        bench_write_reply_at(&b, 8, m.id, 3, OK);
        bench_write_reply_at(&b, 8, m.id, 4, OK);
        if (comes) {
            fixture_silent(&b.f);
            bench_hint_reply(&b, m.id, 4, OK); /* of before: it counts for nothing */
            fixture_silent(&b.f);
            assert_int_equal(asked.keepers[0], 5);
            assert_int_equal(asked.targets[0], 2);
            bench_hint_reply(&b, m.id, 5, OK);
        }
        struct put_result result = put_answered(&b, OK, OUTCOME_APPLIED);
        assert_int_equal(result.progress.fallback_count, 1);
        assert_int_equal(result.progress.fallback_members[0], 5);
        assert_int_equal(result.progress.missing_count, 1);
        assert_int_equal(result.progress.missing_members[0], 2);
        bench_deinit(&b);
    }
}

/* A new member that is down gets a hint like any other; what has failed for good stays failed. */
static void new_members_may_be_down(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_stays, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    mint_done_at(&b, 7, m.id, OK, NULL);
    bench_write_reply_at(&b, 7, m.id, 2, ERR_LIMIT);
    change(&b, &one_stays, PHASE_ANNOUNCED, 8);
    fixture_set_liveness(&b.f, 4, LIVENESS_DOWN);
    bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 2);
    assert_true(asked_member(&asked, 3) && asked_member(&asked, 5));
    assert_int_equal(asked.hints, 1);
    assert_int_equal(asked.targets[0], 4);
    assert_int_equal(asked.keepers[0], 6);
    bench_write_reply_at(&b, 8, m.id, 2, OK); /* its first word stands */
    bench_hint_reply(&b, m.id, 6, OK);
    fixture_silent(&b.f);
    bench_write_reply_at(&b, 8, m.id, 3, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);
    bench_deinit(&b);
}

/* A write that was answered settles with the replicas of the new sets. */
static void what_settles_goes_on_too(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    mint_done_at(&b, 7, m.id, OK, NULL);
    bench_write_reply_at(&b, 7, m.id, 2, OK);
    put_answered(&b, OK, OUTCOME_APPLIED);
    change(&b, &one_replaced, PHASE_ANNOUNCED, 8);
    bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 2);
    bench_write_reply_at(&b, 8, m.id, 3, OK);
    assert_int_equal(counter_get(&b.figures->settling), 1);
    bench_write_reply_at(&b, 8, m.id, 4, OK);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* This node is no replica any more when its write goes on; what it minted is sent to those that
 * are, and its own copy counts for nothing. Never with a keyspace that is gone. */
static void a_put_minted_by_who_leaves(void **state)
{
    (void)state;
    for (int dropped = 0; dropped < 2; dropped++) {
        struct bench b;
        begin(&b, &all_others, PHASE_WAITING, 7);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
        mint_done_at(&b, 7, m.id, OK, NULL);
        if (dropped) {
            fixture_show_keyspaces(&b.f, SIBLINGS, false);
            b.f.view->topology.epoch = 10;
            bench_write_reply_at(&b, 10, m.id, 2, ERR_STALE_EPOCH);
            put_answered(&b, ERR_NOT_FOUND, OUTCOME_UNKNOWN);
        } else {
            change(&b, &all_others, PHASE_DONE, 10);
            bench_write_reply_at(&b, 10, m.id, 2, ERR_STALE_EPOCH);
            struct asked asked = bench_asked(&b, MESSAGE_replica_write);
            assert_int_equal(asked.count, 3);
            bench_write_reply_at(&b, 10, m.id, 5, OK);
            bench_write_reply_at(&b, 10, m.id, 3, OK);
            fixture_silent(&b.f);
            bench_write_reply_at(&b, 10, m.id, 6, OK);
            put_answered(&b, OK, OUTCOME_APPLIED);
        }
        bench_deinit(&b);
    }
}

/* What this node minted is one copy, wherever the walk leads: it stands in for nobody, and when
 * nobody else can, the write fails at once. */
static void who_leaves_stands_in_for_nobody(void **state)
{
    (void)state;
    static const struct walks falls_back[2] = {{{1, 2, 3}, {4, 5, 6, 1}},
                                               {{1, 2, 3}, {4, 5, 6, 1, 7}}};
    for (int another = 0; another < 2; another++) {
        struct bench b;
        begin(&b, &falls_back[another], PHASE_WAITING, 7);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
        mint_done_at(&b, 7, m.id, OK, NULL);
        change(&b, &falls_back[another], PHASE_DONE, 10);
        fixture_set_liveness(&b.f, 4, LIVENESS_DOWN);
        bench_write_reply_at(&b, 10, m.id, 2, ERR_STALE_EPOCH);
        struct asked asked = bench_asked_until(&b, MESSAGE_replica_write, MESSAGE_client_put_done);
        assert_int_equal(asked.count, 2);
        assert_int_equal(asked.hints, 1); /* for 4 */
        assert_int_equal(asked.keepers[0], another ? 7 : SELF);
        if (!another) {
            put_answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
        } else {
            bench_hint_reply(&b, m.id, 7, OK);
            bench_write_reply_at(&b, 10, m.id, 5, OK);
            bench_write_reply_at(&b, 10, m.id, 6, OK);
            put_answered(&b, OK, OUTCOME_APPLIED);
        }
        bench_deinit(&b);
    }
}

/* A replica that is away, and whose hint counts for nothing, counts for nothing in the new plan
 * either. */
static void hints_of_strict_writes_do_not_count_later(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    bench_put_strict(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, true);
    struct minting m = take_mint(&b);
    mint_done_at(&b, 7, m.id, OK, NULL);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    bench_hint_reply(&b, m.id, asked.keepers[0], OK);
    change(&b, &one_replaced, PHASE_ANNOUNCED, 8);
    bench_write_reply_at(&b, 8, m.id, 3, ERR_STALE_EPOCH);
    asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 2);
    assert_int_equal(asked.hints, 0);
    bench_write_reply_at(&b, 8, m.id, 4, OK);
    fixture_silent(&b.f);
    bench_write_reply_at(&b, 8, m.id, 3, ERR_IO); /* neither 2 nor 3: it can never be met */
    asked = bench_asked_until(&b, MESSAGE_replica_write, MESSAGE_client_put_done);
    assert_int_equal(asked.hints, 1);
    put_answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_refused_at_the_mint),
        cmocka_unit_test(a_put_never_taken_was_not_applied),
        cmocka_unit_test(a_put_passed_on_is_passed_on_again),
        cmocka_unit_test(a_minted_put_goes_on_by_the_new_sets),
        cmocka_unit_test(answers_of_who_is_only_written_count_no_more),
        cmocka_unit_test(refused_before_the_mint_is_durable),
        cmocka_unit_test(a_put_waits_for_who_is_behind),
        cmocka_unit_test(a_copy_that_is_coming_is_asked_again),
        cmocka_unit_test(a_wait_that_falls_away_wakes_nobody_less),
        cmocka_unit_test(hints_are_carried_over),
        cmocka_unit_test(new_members_may_be_down),
        cmocka_unit_test(what_settles_goes_on_too),
        cmocka_unit_test(a_put_minted_by_who_leaves),
        cmocka_unit_test(who_leaves_stands_in_for_nobody),
        cmocka_unit_test(hints_of_strict_writes_do_not_count_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
