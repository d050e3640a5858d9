// link: coterie_actors coterie_store
/* Requests while their partition goes over from one set of replicas to another (model/topology.h):
 * whom they need, what their messages say of the plan, and how they go on when a replica knows of
 * another epoch. DESIGN.md 4; RELIABILITY rules 26 to 28. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/one_key_bench.h"

static struct bytes some_record(struct bench *b, const char *value)
{
    struct version_set nothing = {0};
    struct version_set set = test_write(&b->f, &nothing, NULL, 1, 1, value);
    return test_record(&b->f, SIBLINGS, KEY, &set);
}

static struct bytes the_record(struct bench *b)
{
    return some_record(b, "value");
}

/* -- whom a request needs
 * --------------------------------------------------------------------------------------------- */

/* A write needs its quorum in both sets while both are written; who is in both counts in both. What
 * is told is how far the worse set is. */
static void a_write_needs_both_sets(void **state)
{
    (void)state;
    for (int phase = PHASE_ANNOUNCED; phase <= PHASE_COPIED; phase++) {
        struct bench b;
        begin(&b, &one_stays, (enum partition_phase)phase, 7);
        struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
        assert_int_equal(m.epoch, 7);
        assert_int_equal(m.targets.count, 4);
        mint_done(&b, m.id, OK, NULL);
        bench_write_reply(&b, m.id, 2, OK);
        bench_write_reply(&b, m.id, 3, OK); /* all of the one set, one of the other */
        fixture_silent(&b.f);
        bench_write_reply(&b, m.id, 5, OK);
        struct put_result result = put_answered(&b, OK, OUTCOME_APPLIED);
        assert_int_equal(result.progress.needed, 2);
        bench_write_reply(&b, m.id, 4, OK);

        m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
        mint_done(&b, m.id, OK, NULL);
        bench_write_reply(&b, m.id, 4, OK);
        bench_write_reply(&b, m.id, 5, OK);
        bench_write_reply(&b, m.id, 2, ERR_LIMIT);
        fixture_silent(&b.f);
        bench_write_reply(&b, m.id, 3, ERR_LIMIT);
        result = put_answered_lacking(&b, ERR_LIMIT, OUTCOME_UNKNOWN, 2);
        assert_int_equal(result.progress.acked, 1);
        assert_int_equal(result.progress.needed, 2);
        bench_deinit(&b);
    }
}

/* Before the announcement nobody of the new set is asked for anything, after the end nobody of the
 * old one. */
static void one_set_before_and_after(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
    assert_int_equal(m.targets.count, 2);
    assert_true(asked_member(&m.targets, 2) && asked_member(&m.targets, 3));
    change(&b, &one_replaced, PHASE_DONE, 8);
    m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
    assert_int_equal(m.targets.count, 2);
    assert_true(asked_member(&m.targets, 2) && asked_member(&m.targets, 4));
    bench_deinit(&b);
}

/* Reads are answered by the set that is read, and count in nothing else. */
static void a_read_asks_one_set(void **state)
{
    (void)state;
    for (int phase = PHASE_WAITING; phase <= PHASE_DONE; phase++) {
        struct bench b;
        begin(&b, &all_others, (enum partition_phase)phase, 7);
        uint32_t first = phase < PHASE_COPIED ? 1 : 4;
        bench_get(&b, SIBLINGS, KEY, CONSISTENCY_ALL, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(asked.count, 3);
        assert_int_equal(asked.epoch, 7);
        for (uint32_t member = first; member < first + 3; member++)
            assert_true(asked_member(&asked, member));
        fixture_pass(&b.f, READ_LATE_NS); /* nor later */
        asked = bench_asked(&b, MESSAGE_replica_read);
        for (uint32_t i = 0; i < asked.count; i++)
            assert_in_range(asked.members[i], first, first + 2);
        for (uint32_t member = 1; member <= 6; member++) {
            if (member < first || member > first + 2)
                bench_read_reply(&b, asked.id, member, OK, the_record(&b));
        }
        fixture_silent(&b.f);
        for (uint32_t member = first; member < first + 3; member++)
            bench_read_reply(&b, asked.id, member, OK, (struct bytes){0});
        assert_int_equal(bench_got(&b, OK).set.count, 0);
        bench_deinit(&b);
    }
}

/* A dot is minted where the key is read: a replica that is only written may lack what it must be
 * above. */
static void only_readers_mint(void **state)
{
    (void)state;
    static const struct walks self_comes = {{2, 3, 4}, {1, 2, 3}};
    struct bench b;
    begin(&b, &self_comes, PHASE_ANNOUNCED, 7);
    bench_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    struct asked asked = bench_asked(&b, MESSAGE_forward_put);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.epoch, 7);
    assert_in_range(asked.members[0], 2, 4);
    struct message *message = message_new(MESSAGE_forward_put, 0);
    message->from = actor_id_of(5, ACTOR_COORDINATOR);
    message->id = id_of(1);
    message->forward_put.request = bench_put_request(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    fixture_handle(&b.f, message);
    message = fixture_take(&b.f, MESSAGE_forward_put_reply);
    assert_int_equal(message->forward_put_reply.result.status, ERR_STALE_EPOCH);
    assert_int_equal(message->forward_put_reply.result.outcome, OUTCOME_NOT_APPLIED);
    message_free(message);
    change(&b, &self_comes, PHASE_COPIED, 8);
    assert_int_equal(begin_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM).targets.count, 3);
    static const struct walks self_goes = {{1, 2, 3}, {2, 3, 4}};
    change(&b, &self_goes, PHASE_COPIED, 9); /* written still, not read any more */
    bench_put(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM);
    assert_int_equal(bench_asked(&b, MESSAGE_forward_put).count, 1);
    bench_deinit(&b);
}

/* All messages of a request say the epoch of its plan, whatever the view is by then. */
static void messages_say_the_epoch_of_the_plan(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_read).epoch, 7);
    change(&b, &one_replaced, PHASE_ANNOUNCED, 8);
    mint_done(&b, m.id, OK, NULL);
    bench_write_reply(&b, m.id, 2, ERR_OVERLOADED);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.hints, 1);
    assert_int_equal(asked.epoch, 7);
    fixture_pass(&b.f, READ_LATE_NS);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_read).epoch, 7);
    fixture_pass(&b.f, WRITE_LATE_NS - READ_LATE_NS);
    while (b.f.outbox.first != NULL && b.f.outbox.first->kind == MESSAGE_replica_read)
        message_free(outbox_take(&b.f.outbox));
    asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1); /* to 3, and no word to 4 */
    assert_int_equal(asked.epoch, 7);
    bench_deinit(&b);
}

/* -- another epoch at the gossip
 * --------------------------------------------------------------------------------------------- */

/* topology_behind leaves once for a newer epoch, and not again before 10 ms. */
static void gossip_hears_of_newer_epochs(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    struct minting m = begin_put(&b, SIBLINGS, KEY, CONSISTENCY_ALL);
    mint_done_at(&b, 7, m.id, OK, NULL);
    fixture_silent(&b.f);
    bench_write_reply_at(&b, 9, m.id, 2, OK);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.told, 1);
    assert_int_equal(asked.told_member, 2);
    assert_int_equal(asked.told_epoch, 9);
    bench_write_reply_at(&b, 9, m.id, 2, OK);
    bench_write_reply_at(&b, 6, m.id, 2, OK);
    bench_write_reply_at(&b, 7, m.id, 2, OK);
    bench_write_reply_at(&b, 99, m.id, SELF, OK); /* a view of this node: on its way here */
    fixture_silent(&b.f);
    fixture_pass(&b.f, 10 * MS);
    bench_write_reply_at(&b, 9, m.id, 2, OK);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_write).told, 1);
    bench_write_reply_at(&b, 10, m.id, 2, OK);
    asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.told, 1);
    assert_int_equal(asked.told_epoch, 10);
    assert_int_equal(counter_get(&b.figures->epochs_told), 3);
    bench_deinit(&b);
}

/* -- gets
 * --------------------------------------------------------------------------------------------- */

/* With the view at hand a refused get begins anew at once. Without, the gossip hears of it and the
 * get looks again, after 10 ms, 20, 40; no answer of before counts in the new plan. */
static void a_get_refused_is_planned_again(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct bench b;
        begin(&b, &all_others, PHASE_ANNOUNCED, 7);
        bench_get(&b, SIBLINGS, KEY, CONSISTENCY_ALL, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        uint64_t before = asked.id;
        bench_read_reply_at(&b, 7, before, 1, OK, the_record(&b), 0);
        if (known)
            change(&b, &all_others, PHASE_COPIED, 8);
        bench_read_reply_at(&b, 8, before, 2, ERR_STALE_EPOCH, (struct bytes){0}, 0);
        if (!known) {
            asked = bench_asked(&b, MESSAGE_replica_read);
            assert_int_equal(asked.told, 1);
            assert_int_equal(asked.told_epoch, 8);
            for (uint64_t wait_ns = 10 * MS; wait_ns <= 20 * MS; wait_ns *= 2) {
                fixture_pass(&b.f, wait_ns - 1);
                fixture_silent(&b.f);
                fixture_pass(&b.f, 1);
                asked = bench_asked(&b, MESSAGE_replica_read);
                assert_int_equal(asked.told, 1);
                assert_int_equal(asked.count, 0);
            }
            change(&b, &all_others, PHASE_COPIED, 8);
            fixture_pass(&b.f, 40 * MS);
        }
        asked = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(asked.count, 3);
        assert_int_equal(asked.epoch, 8);
        assert_true(asked_member(&asked, 4) && asked_member(&asked, 5) && asked_member(&asked, 6));
        assert_int_not_equal(asked.id, before);
        bench_read_reply_at(&b, 8, before, 3, OK, the_record(&b), 0);
        bench_read_reply_at(&b, 8, asked.id, 4, OK, (struct bytes){0}, 0);
        bench_read_reply_at(&b, 8, asked.id, 5, OK, (struct bytes){0}, 0);
        fixture_silent(&b.f);
        bench_read_reply_at(&b, 8, asked.id, 6, OK, (struct bytes){0}, 0);
        assert_int_equal(bench_got(&b, OK).set.count, 0);
        assert_int_equal(counter_get(&b.figures->replanned), 1);
        bench_deinit(&b);
    }
}

/* A quorum of the plan that others have answered is one: who refuses is not needed. And a get whose
 * view never comes ends with its deadline, not before. */
static void a_get_goes_on_without_who_refused(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &one_replaced, PHASE_WAITING, 7);
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    uint32_t other = asked.members[0] == SELF ? asked.members[1] : asked.members[0];
    bench_read_reply_at(&b, 8, asked.id, other, ERR_STALE_EPOCH, (struct bytes){0}, 0);
    asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 1);
    bench_read_reply_at(&b, 7, asked.id, SELF, OK, (struct bytes){0}, 0);
    bench_read_reply_at(&b, 7, asked.id, asked.members[0], OK, (struct bytes){0}, 0);
    bench_got(&b, OK);

    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_ALL, 0);
    asked = bench_asked(&b, MESSAGE_replica_read);
    for (uint32_t member = 1; member <= 3; member++)
        bench_read_reply_at(&b, 8, asked.id, member, ERR_STALE_EPOCH, (struct bytes){0}, 0);
    for (uint64_t left_ns = DEADLINE_KEPT_NS; left_ns > 0; left_ns -= 10 * MS) {
        assert_int_equal(bench_asked(&b, MESSAGE_replica_read).count, 0);
        fixture_pass(&b.f, 10 * MS);
    }
    bench_got(&b, ERR_TIMEOUT);
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    bench_deinit(&b);
}

/* A replica that does not know of the plan's epoch yet has not failed: it is asked again after 10
 * ms, and its answer then counts. */
static void a_get_waits_for_who_is_behind(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_DONE, 8);
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_ALL, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply_at(&b, 8, asked.id, 4, OK, the_record(&b), 0);
    bench_read_reply_at(&b, 8, asked.id, 5, OK, the_record(&b), 0);
    for (uint64_t wait_ns = 10 * MS; wait_ns <= 40 * MS; wait_ns *= 2) {
        bench_read_reply_at(&b, 7, asked.id, 6, ERR_UNAVAILABLE, (struct bytes){0}, 0);
        fixture_pass(&b.f, wait_ns - 1);
        fixture_silent(&b.f);
        fixture_pass(&b.f, 1);
        asked = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(asked.count, 1);
        assert_int_equal(asked.members[0], 6);
        assert_int_equal(asked.told, 0);
    }
    bench_read_reply_at(&b, 8, asked.id, 6, OK, the_record(&b), 0);
    assert_int_equal(bench_got(&b, OK).set.count, 1);
    /* The same word of one that has the epoch is a failure. */
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_ALL, 0);
    asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply_at(&b, 8, asked.id, 6, ERR_UNAVAILABLE, (struct bytes){0}, 0);
    bench_got(&b, ERR_UNAVAILABLE);
    bench_deinit(&b);
}

/* -- what a read answers while the next step will read the other set
 * --------------------------------------------------------------------------------------------- */

/* Members of both sets are asked before others, and their votes are enough for both. */
static void members_of_both_sets_vote_first(void **state)
{
    (void)state;
    static const struct walks self_goes = {{1, 2, 3}, {2, 3, 4}};
    struct bench b;
    begin(&b, &self_goes, PHASE_ANNOUNCED, 7);
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 2);
    assert_true(asked_member(&asked, 2) && asked_member(&asked, 3));
    bench_read_reply(&b, asked.id, 2, OK, the_record(&b));
    bench_read_reply(&b, asked.id, 3, OK, the_record(&b));
    assert_int_equal(bench_got(&b, OK).set.count, 1);
    change(&b, &self_goes, PHASE_WAITING, 8); /* this node first, as ever */
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
    asked = bench_asked(&b, MESSAGE_replica_read);
    assert_true(asked_member(&asked, SELF));
    bench_deinit(&b);
}

/* An answer of the announced set is on a quorum of the other one before it leaves: the next step
 * reads that, and what was seen must not vanish. Nothing found needs nothing; nor does a level
 * whose reads may go back in time anyway; nor a read of the new set. */
static void what_was_read_is_copied_first(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_ANNOUNCED, 7);
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply(&b, asked.id, asked.members[0], OK, the_record(&b));
    bench_read_reply(&b, asked.id, asked.members[1], OK, the_record(&b));
    asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 2);
    assert_int_equal(asked.write.reason, WRITE_READ_REPAIR);
    assert_true(bytes_equal(asked.record, the_record(&b)));
    assert_int_equal(asked.epoch, 7);
    uint32_t first = asked.members[0];
    uint32_t second = asked.members[1];
    assert_in_range(first, 4, 6);
    assert_in_range(second, 4, 6);
    bench_write_reply(&b, asked.id, first, OK);
    bench_write_reply(&b, asked.id, first, OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, asked.id, second, ERR_IO); /* then the third one */
    asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], 4 + 5 + 6 - first - second);
    bench_write_reply_at(&b, 6, asked.id, asked.members[0], ERR_UNAVAILABLE); /* behind */
    fixture_pass(&b.f, 10 * MS);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 1);
    bench_write_reply(&b, asked.id, asked.members[0], OK);
    assert_int_equal(bench_got(&b, OK).set.count, 1);

    for (int empty = 0; empty < 2; empty++) { /* ONE promises nothing */
        bench_get(&b, SIBLINGS, KEY, empty ? CONSISTENCY_ALL : CONSISTENCY_ONE, 0);
        asked = bench_asked(&b, MESSAGE_replica_read);
        struct bytes record = empty ? (struct bytes){0} : the_record(&b);
        for (uint32_t i = 0; i < asked.count; i++)
            bench_read_reply(&b, asked.id, asked.members[i], OK, record);
        bench_got(&b, OK);
    }
    /* An abort would read the old set again; when the partition is done there is but one. */
    for (uint32_t phase = PHASE_COPIED; phase <= PHASE_DONE; phase++) {
        change(&b, &all_others, (enum partition_phase)phase, 6 + phase);
        bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
        asked = bench_asked(&b, MESSAGE_replica_read);
        for (uint32_t i = 0; i < asked.count; i++)
            bench_read_reply(&b, asked.id, asked.members[i], OK, the_record(&b));
        if (phase == PHASE_COPIED) {
            asked = bench_asked(&b, MESSAGE_replica_write);
            assert_int_equal(asked.count, 2);
            for (uint32_t i = 0; i < asked.count; i++) {
                assert_in_range(asked.members[i], 1, 3);
                bench_write_reply(&b, asked.id, asked.members[i], OK);
            }
        }
        assert_int_equal(bench_got(&b, OK).set.count, 1);
    }
    bench_deinit(&b);
}

/* When the other set cannot take what was read, the read fails rather than show it. One that is
 * late is sent it again, and the others as well. */
static void what_cannot_be_copied_is_not_shown(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, &all_others, PHASE_ANNOUNCED, 7);
    for (int late = 0; late < 2; late++) {
        bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        bench_read_reply(&b, asked.id, asked.members[0], OK, the_record(&b));
        bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
        asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 3); /* one voter, two of the other set */
        if (late) {
            fixture_pass(&b.f, READ_LATE_NS);
            asked = bench_asked(&b, MESSAGE_replica_write);
            assert_int_equal(asked.count, 4);
            bench_write_reply(&b, asked.id, 4, OK);
            bench_write_reply(&b, asked.id, 5, OK);
            fixture_silent(&b.f); /* the voter */
            bench_write_reply(&b, asked.id, 1, OK);
            bench_write_reply(&b, asked.id, 2, OK);
            bench_write_reply(&b, asked.id, 3, OK);
            bench_got(&b, OK);
            continue;
        }
        bench_write_reply(&b, asked.id, 4, ERR_IO);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 1);
        bench_write_reply(&b, asked.id, 6, ERR_IO);
        bench_got(&b, ERR_UNAVAILABLE);
    }
    fixture_set_liveness(&b.f, 4, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 5, LIVENESS_DOWN);
    bench_get(&b, SIBLINGS, KEY, CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply(&b, asked.id, asked.members[0], OK, the_record(&b));
    bench_read_reply(&b, asked.id, asked.members[1], OK, the_record(&b));
    bench_got(&b, ERR_UNAVAILABLE);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_needs_both_sets),
        cmocka_unit_test(one_set_before_and_after),
        cmocka_unit_test(a_read_asks_one_set),
        cmocka_unit_test(only_readers_mint),
        cmocka_unit_test(messages_say_the_epoch_of_the_plan),
        cmocka_unit_test(gossip_hears_of_newer_epochs),
        cmocka_unit_test(a_get_refused_is_planned_again),
        cmocka_unit_test(a_get_goes_on_without_who_refused),
        cmocka_unit_test(a_get_waits_for_who_is_behind),
        cmocka_unit_test(members_of_both_sets_vote_first),
        cmocka_unit_test(what_was_read_is_copied_first),
        cmocka_unit_test(what_cannot_be_copied_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
