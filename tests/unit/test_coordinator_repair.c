// link: coterie_actors coterie_store
/* Read repair: before the answer for those that voted (RELIABILITY rule 19), after it for those
 * that were asked and came too late to vote (DESIGN.md 7); never with what a newer floor has hidden
 * (rule 14). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS

static struct bytes record_of(struct bench *b, const char *key, uint32_t member, const char *value)
{
    struct version_set set = test_write(&b->f, &(struct version_set){0}, NULL, member, 1, value);
    return test_record(&b->f, SIBLINGS, key, &set);
}

struct differing {
    struct asked asked;
    struct asked repair;
};

/* A quorum read of which the second voter lacks what the first holds. */
static struct differing begin_differing(struct bench *b)
{
    struct differing d;
    bench_get(b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    d.asked = bench_asked(b, MESSAGE_replica_read);
    bench_read_reply(b, d.asked.id, d.asked.members[0], OK, record_of(b, "k", 1, "v"));
    bench_read_reply(b, d.asked.id, d.asked.members[1], OK, (struct bytes){0});
    d.repair = bench_asked(b, MESSAGE_replica_write);
    return d;
}

/* RELIABILITY rule 19: voters that differ are repaired before the answer: not yet, then now. */
static void repair_before_the_answer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct differing d = begin_differing(&b);
    assert_int_equal(d.repair.count, 1);
    assert_int_equal(d.repair.members[0], d.asked.members[1]);
    assert_true(bytes_equal(d.repair.record, record_of(&b, "k", 1, "v")));
    assert_int_equal(counter_get(&b.figures->read_differed), 1);
    assert_int_equal(counter_get(&b.figures->read_repairs), 1);
    /* Answers that change nothing: of one that was not repaired, a read again, a late one. */
    bench_write_reply(&b, d.asked.id, d.asked.members[0], OK);
    bench_write_reply(&b, d.asked.id, d.asked.members[0], ERR_IO);
    bench_write_reply(&b, d.asked.id, 9, ERR_IO);
    bench_read_reply(&b, d.asked.id, d.asked.members[1], OK, (struct bytes){0});
    bench_read_reply(&b, d.asked.id, 3, OK, (struct bytes){0});
    fixture_silent(&b.f);
    bench_write_reply(&b, d.asked.id, d.repair.members[0], OK);
    struct client_get_done done = bench_got(&b, OK);
    assert_true(test_holds(&done.set, "v"));
    assert_int_equal(done.progress.acked, 2);
    bench_deinit(&b);
}

/* Both voters hold what the other lacks: both are repaired, the answer waits for both. */
static void repair_of_all_voters(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply(&b, asked.id, asked.members[0], OK, record_of(&b, "k", 1, "a"));
    bench_read_reply(&b, asked.id, asked.members[1], OK, record_of(&b, "k", 2, "b"));
    struct asked repair = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(repair.count, 2);
    bench_write_reply(&b, asked.id, repair.members[1], OK);
    bench_write_reply(&b, asked.id, repair.members[1], OK); /* twice is once */
    fixture_silent(&b.f);
    bench_write_reply(&b, asked.id, repair.members[0], OK);
    struct client_get_done done = bench_got(&b, OK);
    assert_true(test_holds(&done.set, "a") && test_holds(&done.set, "b"));
    bench_deinit(&b);
}

static const struct {
    enum err replica;
    enum err client;
} refusals[] = {{ERR_IO, ERR_UNAVAILABLE},         {ERR_CORRUPT, ERR_UNAVAILABLE},
                {ERR_TIMEOUT, ERR_UNAVAILABLE},    {ERR_UNAVAILABLE, ERR_UNAVAILABLE},
                {ERR_INCOMPLETE, ERR_UNAVAILABLE}, {ERR_OVERLOADED, ERR_OVERLOADED}};

/* A repair that fails, and no other replica to take its vote: no value may be shown that a later
 * read could miss. */
static void repair_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
        struct differing d = begin_differing(&b);
        bench_write_reply(&b, d.asked.id, d.repair.members[0], refusals[i].replica);
        struct client_get_done done = bench_got(&b, refusals[i].client);
        assert_int_equal(done.set.count, 0);
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        /* Too late. */
        bench_write_reply(&b, d.asked.id, d.repair.members[0], OK);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* The questions of the read that began anew: to all but the one that refused. */
static struct asked asked_without(struct bench *b, const struct differing *d)
{
    struct asked anew = bench_asked(b, MESSAGE_replica_read);
    assert_int_equal(anew.count, 2);
    assert_false(asked_member(&anew, d->repair.members[0]));
    assert_int_not_equal(anew.id, d->asked.id);
    return anew;
}

/* While another replica is left it votes in the place of the one that cannot be repaired: with one
 * full disk of three reads go on. */
static void another_votes_in_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        struct differing d = begin_differing(&b);
        bench_write_reply(&b, d.asked.id, d.repair.members[0], refusals[i].replica);
        struct asked anew = asked_without(&b, &d);
        /* To what was asked before: to nobody. */
        bench_write_reply(&b, d.asked.id, d.repair.members[0], OK);
        bench_read_reply(&b, d.asked.id, 3, OK, record_of(&b, "k", 1, "v"));
        bench_read_reply(&b, anew.id, d.repair.members[0], OK, record_of(&b, "k", 1, "v"));
        bench_read_reply(&b, anew.id, anew.members[0], OK, record_of(&b, "k", 1, "v"));
        fixture_silent(&b.f);
        bench_read_reply(&b, anew.id, anew.members[1], OK, record_of(&b, "k", 1, "v"));
        struct client_get_done done = bench_got(&b, OK);
        assert_true(test_holds(&done.set, "v"));
        assert_int_equal(done.progress.acked, 2);
        assert_false(progress_acked(&done.progress, d.repair.members[0]));
        assert_int_equal(counter_get(&b.figures->left_out), 1);
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        bench_deinit(&b);
    }
}

/* The other one lacks it as well: repaired before the answer like any voter; should that one refuse
 * too, too few are left. */
static void the_other_is_repaired_too(void **state)
{
    (void)state;
    for (uint32_t refuses = 0; refuses < 2; refuses++) {
        struct bench b;
        bench_init(&b, 3, 1);
        struct differing d = begin_differing(&b);
        bench_write_reply(&b, d.asked.id, d.repair.members[0], ERR_OVERLOADED);
        struct asked anew = asked_without(&b, &d);
        bench_read_reply(&b, anew.id, anew.members[0], OK, record_of(&b, "k", 1, "v"));
        bench_read_reply(&b, anew.id, anew.members[1], OK, (struct bytes){0});
        struct asked repair = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(repair.count, 1);
        assert_int_equal(repair.members[0], anew.members[1]);
        bench_write_reply(&b, anew.id, repair.members[0], refuses ? ERR_OVERLOADED : OK);
        struct client_get_done done = bench_got(&b, refuses ? ERR_OVERLOADED : OK);
        assert_int_equal(done.set.count, refuses ? 0 : 1);
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        bench_deinit(&b);
    }
}

/* It went down between the refusal and the answers: no vote is left, the read ends. */
static void the_other_cannot_be_read(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct differing d = begin_differing(&b);
    bench_write_reply(&b, d.asked.id, d.repair.members[0], ERR_OVERLOADED);
    struct asked anew = asked_without(&b, &d);
    bench_read_reply(&b, anew.id, anew.members[0], ERR_IO, (struct bytes){0});
    bench_got(&b, ERR_UNAVAILABLE);
    bench_deinit(&b);
}

/* A repair that nobody acknowledges ends at the deadline, however early it began: a request always
 * ends. */
static void deadline_while_repairing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    begin_differing(&b);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
    bench_asked(&b, MESSAGE_replica_write);
    fixture_pass(&b.f, 1);
    struct client_get_done done = bench_got(&b, ERR_UNAVAILABLE);
    assert_non_null(strstr(done.why, "repaired"));
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    fixture_pass(&b.f, 10 * DEADLINE_NS);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* coordinator.h: a repair is sent again 100 ms after it was sent, 200 ms later and so on, the same
 * record to those that have not acknowledged it; twice acknowledged is once. */
static void repaired_again_at_doubling_times(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply(&b, asked.id, asked.members[0], OK, record_of(&b, "k", 1, "a"));
    fixture_pass(&b.f, READ_LATE_NS - 1);
    bench_read_reply(&b, asked.id, asked.members[1], OK, record_of(&b, "k", 2, "b"));
    struct asked repair = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(repair.count, 2);
    uint64_t wait_ns = READ_LATE_NS;
    for (uint32_t round = 0; round < 4; round++, wait_ns *= 2) {
        fixture_pass(&b.f, wait_ns - 1);
        fixture_silent(&b.f);
        fixture_pass(&b.f, 1);
        struct asked again = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(again.count, round == 0 ? 2 : 1);
        assert_int_equal(again.id, asked.id);
        assert_true(asked_member(&again, repair.members[1]));
        assert_true(bytes_equal(again.record, repair.record));
        bench_write_reply(&b, asked.id, repair.members[0], OK);
        fixture_silent(&b.f);
    }
    assert_int_equal(counter_get(&b.figures->read_repairs), 2); /* replicas, not messages */
    assert_int_equal(counter_get(&b.figures->asked_again), 2 + 1 + 1 + 1);
    assert_int_equal(counter_get(&b.figures->read_late), 0);
    bench_write_reply(&b, asked.id, repair.members[1], OK);
    assert_int_equal(bench_got(&b, OK).set.count, 2);
    bench_write_reply(&b, asked.id, repair.members[1], OK);
    fixture_pass(&b.f, 10 * DEADLINE_NS);
    fixture_silent(&b.f);
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    bench_deinit(&b);
}

/* lww: of what the voters hold the later stamp is answered and repaired. */
static void repair_in_lww(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, KEYSPACE_TEST_LWW, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    for (uint32_t i = 0; i < 2; i++) {
        struct version version = test_version(i == 0 ? "late" : "early", 100 - i);
        struct dot dot;
        struct version_set set =
            version_set_put(&b.f.arena, &(struct version_set){0}, NULL, 1 + i, 1, &version, &dot);
        bench_read_reply(&b, asked.id, asked.members[i], OK,
                         test_record(&b.f, KEYSPACE_TEST_LWW, "k", &set));
    }
    struct asked repair = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(repair.count, 2); /* the winner's clock grows too */
    bench_write_reply(&b, asked.id, repair.members[0], OK);
    bench_write_reply(&b, asked.id, repair.members[1], OK);
    struct client_get_done done = bench_got(&b, OK);
    assert_int_equal(done.set.count, 1);
    assert_true(test_holds(&done.set, "late"));
    bench_deinit(&b);
}

/* -- after the answer ------------------------------------------------------------------------- */

/* A quorum read that was late, so that the third replica was asked too; it is answered by this node
 * and that one, both of which said `record`. The one that is late is `ret_late`. */
static struct asked begin_late(struct bench *b, enum test_keyspace keyspace, struct bytes record,
                               uint32_t *ret_late)
{
    bench_get(b, keyspace, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(b, MESSAGE_replica_read);
    fixture_pass(&b->f, READ_LATE_NS);
    struct asked more = bench_asked(b, MESSAGE_replica_read);
    assert_int_equal(more.count, 2);
    *ret_late = asked.members[1];
    bench_read_reply_of(b, asked.id, SELF, OK, record, 7);
    bench_read_reply_of(b, asked.id, more.members[1], OK, record, 7);
    asked.members[1] = more.members[1];
    return asked;
}

/* The answer does not wait; what the late one lacks is sent to it when it says so. */
static void late_ones_are_repaired_after_the_answer(void **state)
{
    (void)state;
    for (int empty = 0; empty < 2; empty++) {
        struct bench b;
        uint32_t late;
        bench_init(&b, 3, 1);
        struct version_set old = test_write(&b.f, &(struct version_set){0}, NULL, 1, 1, "old");
        struct version_set new = test_write(&b.f, &old, NULL, 1, 1, "new");
        struct bytes record = test_record(&b.f, SIBLINGS, "k", &new);
        struct asked asked = begin_late(&b, SIBLINGS, record, &late);
        struct client_get_done done = bench_got(&b, OK);
        assert_true(done.set.count == 1 && test_holds(&done.set, "new"));
        assert_int_equal(counter_get(&b.figures->in_flight), 0);
        assert_int_equal(counter_get(&b.figures->comparing), 1);
        bench_read_reply_of(&b, asked.id, late, OK,
                            empty ? (struct bytes){0} : test_record(&b.f, SIBLINGS, "k", &old), 5);
        struct asked repair = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(repair.count, 1);
        assert_int_equal(repair.members[0], late);
        assert_int_equal(repair.write.reason, WRITE_READ_REPAIR);
        assert_int_equal(repair.write.floor, 5);
        assert_true(bytes_equal(repair.record, record));
        assert_int_equal(counter_get(&b.figures->comparing), 1);
        bench_read_reply(&b, asked.id, late, OK, (struct bytes){0}); /* twice is once */
        fixture_silent(&b.f);
        assert_int_equal(counter_get(&b.figures->compared), 1);
        assert_int_equal(counter_get(&b.figures->late_repairs), 1);
        bench_write_reply(&b, asked.id, late, OK);
        assert_int_equal(counter_get(&b.figures->comparing), 0);
        assert_int_equal(counter_get(&b.figures->late_repairs_failed), 0);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* The late one may hold what the voters lack: both sides get the join. */
static void late_ones_may_know_more(void **state)
{
    (void)state;
    struct bench b;
    uint32_t late;
    bench_init(&b, 3, 1);
    struct asked asked = begin_late(&b, SIBLINGS, record_of(&b, "k", 1, "one"), &late);
    assert_int_equal(bench_got(&b, OK).set.count, 1);
    bench_read_reply_of(&b, asked.id, late, OK, record_of(&b, "k", 2, "two"), 9);
    struct asked repair = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(repair.count, 3);
    assert_int_equal(repair.write.floor, 7);
    struct version_set set = test_decode(&b.f, SIBLINGS, "k", repair.record);
    assert_true(set.count == 2 && test_holds(&set, "one") && test_holds(&set, "two"));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(counter_get(&b.figures->comparing), 1);
        bench_write_reply(&b, asked.id, repair.members[i], i == 1 ? ERR_STALE_FLOOR : OK);
    }
    assert_int_equal(counter_get(&b.figures->comparing), 0);
    assert_int_equal(counter_get(&b.figures->late_repairs_failed), 1);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* Equal bytes, a damaged record or a refusal: nothing to do, and nothing is kept. */
static void late_ones_without_need(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct bench b;
        uint32_t late;
        bench_init(&b, 3, 1);
        struct bytes record = record_of(&b, "k", 1, "v");
        struct asked asked = begin_late(&b, SIBLINGS, record, &late);
        bench_got(&b, OK);
        bench_read_reply(&b, asked.id, late, how == 2 ? ERR_IO : OK,
                         how == 1 ? record_of(&b, "other", 1, "v") : record);
        fixture_silent(&b.f);
        assert_int_equal(counter_get(&b.figures->comparing), 0);
        assert_int_equal(counter_get(&b.figures->compared), how == 0);
        assert_int_equal(counter_get(&b.figures->corrupt), how == 1);
        assert_int_equal(counter_get(&b.figures->late_repairs), 0);
        bench_deinit(&b);
    }
}

/* In a lww keyspace the join is the last write alone. */
static void late_ones_in_lww(void **state)
{
    (void)state;
    struct bench b;
    uint32_t late;
    bench_init(&b, 3, 1);
    struct version_set sets[2];
    struct bytes records[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct version version = test_version(i ? "last" : "first", ((uint64_t)WALL_MS + i) << 16);
        struct dot dot;
        sets[i] =
            version_set_put(&b.f.arena, &(struct version_set){0}, NULL, 1 + i, 1, &version, &dot);
        records[i] = test_record(&b.f, KEYSPACE_TEST_LWW, "k", &sets[i]);
    }
    struct asked asked = begin_late(&b, KEYSPACE_TEST_LWW, records[1], &late);
    bench_got(&b, OK);
    bench_read_reply(&b, asked.id, late, OK, records[0]);
    struct asked repair = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(repair.count, 3); /* the winner's clock grows too */
    struct version_set set = test_decode(&b.f, KEYSPACE_TEST_LWW, "k", repair.record);
    assert_true(set.count == 1 && test_holds(&set, "last"));
    bench_deinit(&b);
}

/* One that answers while the voters are repaired is compared with the result, after the answer. */
static void late_ones_during_a_repair(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    fixture_pass(&b.f, READ_LATE_NS);
    struct asked more = bench_asked(&b, MESSAGE_replica_read);
    uint32_t late = asked.members[1];
    bench_read_reply(&b, asked.id, SELF, OK, record_of(&b, "k", 1, "v"));
    bench_read_reply(&b, asked.id, more.members[1], OK, (struct bytes){0});
    struct asked repair = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(repair.count, 1);
    bench_read_reply(&b, asked.id, late, OK, (struct bytes){0});
    bench_read_reply(&b, asked.id, late, OK, (struct bytes){0}); /* twice is once */
    fixture_silent(&b.f);
    bench_write_reply(&b, asked.id, repair.members[0], OK);
    struct message *answer = fixture_take(&b.f, MESSAGE_client_get_done);
    assert_int_equal(answer->client_get_done.status, OK);
    message_free(answer);
    struct asked after = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(after.count, 1);
    assert_int_equal(after.members[0], late);
    assert_true(bytes_equal(after.record, repair.record));
    bench_write_reply(&b, asked.id, late, OK);
    assert_int_equal(counter_get(&b.figures->comparing), 0);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* Bounded in time: one that stays silent, and one that does not take its repair. */
static void comparing_ends(void **state)
{
    (void)state;
    for (int answers = 0; answers < 2; answers++) {
        struct bench b;
        uint32_t late;
        bench_init(&b, 3, 1);
        struct asked asked = begin_late(&b, SIBLINGS, record_of(&b, "k", 1, "v"), &late);
        bench_got(&b, OK);
        if (answers) {
            bench_read_reply(&b, asked.id, late, OK, (struct bytes){0});
            assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 1);
        }
        fixture_pass(&b.f, 10 * READ_LATE_NS - 1);
        assert_int_equal(counter_get(&b.figures->comparing), 1);
        fixture_pass(&b.f, 1);
        assert_int_equal(counter_get(&b.figures->comparing), 0);
        assert_int_equal(counter_get(&b.figures->late_repairs_failed), answers);
        assert_int_equal(counter_get(&b.figures->timeouts), 0);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* Bounded in space: a quarter of the table, here one of four; the next ones end with their answer.
 */
static void comparing_leaves_room(void **state)
{
    (void)state;
    struct bench b;
    uint32_t late;
    bench_init(&b, 3, 1);
    for (uint32_t i = 0; i < 3; i++) {
        begin_late(&b, SIBLINGS, record_of(&b, "k", 1, "v"), &late);
        bench_got(&b, OK);
        assert_int_equal(counter_get(&b.figures->comparing), 1);
        assert_int_equal(counter_get(&b.figures->compare_skipped), i);
    }
    bench_deinit(&b);
}

/* -- floors ----------------------------------------------------------------------------------- */

/* message_key.h: a join is as old as its oldest part, and a replica that holds nothing is one. */
static void a_repair_carries_the_least_floor(void **state)
{
    (void)state;
    static const uint64_t floors[][2] = {{3, 8}, {8, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(floors); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        bench_read_reply_of(&b, asked.id, asked.members[0], OK, record_of(&b, "k", 1, "v"),
                            floors[i][0]);
        bench_read_reply_of(&b, asked.id, asked.members[1], OK, (struct bytes){0}, floors[i][1]);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_write).write.floor, 3);
        fixture_pass(&b.f, READ_LATE_NS);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_write).write.floor, 3);
        bench_deinit(&b);
    }
}

/* A repair that meets a newer floor may bring back what was reaped: the read begins anew, and
 * what it was told before is forgotten. */
static void a_newer_floor_reads_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct differing d = begin_differing(&b);
    uint32_t voter = d.repair.members[0];
    bench_write_reply(&b, d.asked.id, voter, ERR_STALE_FLOOR);
    struct asked again = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(again.count, 2);
    assert_int_not_equal(again.id, d.asked.id);
    assert_int_equal(counter_get(&b.figures->read_again), 1);
    assert_int_equal(counter_get(&b.figures->in_flight), 1);
    /* What the first round may still say meets nobody. */
    bench_read_reply(&b, d.asked.id, again.members[0], OK, record_of(&b, "k", 1, "v"));
    bench_write_reply(&b, d.asked.id, voter, OK);
    fixture_silent(&b.f);
    bench_read_reply_of(&b, again.id, again.members[0], OK, (struct bytes){0}, 9);
    bench_read_reply_of(&b, again.id, again.members[1], OK, (struct bytes){0}, 9);
    assert_int_equal(bench_got(&b, OK).set.count, 0);
    fixture_pass(&b.f, 10 * DEADLINE_NS);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* A round of reaping that reaches one replica after the other may be met several times (simulator
 * seed 8533). A read that begins anew for the fifth time is UNAVAILABLE. Time runs on from the
 * first question. */
static void a_newer_floor_again_and_again_fails(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct differing d = begin_differing(&b);
    bench_write_reply(&b, d.asked.id, d.repair.members[0], ERR_STALE_FLOOR);
    for (uint32_t i = 0; i < 4; i++) {
        struct asked again = bench_asked(&b, MESSAGE_replica_read);
        bench_read_reply(&b, again.id, again.members[0], OK, record_of(&b, "k", 1, "v"));
        bench_read_reply(&b, again.id, again.members[1], OK, (struct bytes){0});
        struct asked repair = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(repair.count, 1);
        bench_write_reply(&b, again.id, repair.members[0], ERR_STALE_FLOOR);
    }
    assert_int_equal(bench_got(&b, ERR_UNAVAILABLE).set.count, 0);
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    /* And the deadline of one that reads again is the first one. */
    d = begin_differing(&b);
    bench_write_reply(&b, d.asked.id, d.repair.members[0], ERR_STALE_FLOOR);
    bench_asked(&b, MESSAGE_replica_read);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
    bench_asked(&b, MESSAGE_replica_read);
    fixture_pass(&b.f, 1);
    bench_got(&b, ERR_TIMEOUT);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repair_before_the_answer),
        cmocka_unit_test(repair_of_all_voters),
        cmocka_unit_test(repair_fails),
        cmocka_unit_test(another_votes_in_its_place),
        cmocka_unit_test(the_other_is_repaired_too),
        cmocka_unit_test(the_other_cannot_be_read),
        cmocka_unit_test(deadline_while_repairing),
        cmocka_unit_test(repaired_again_at_doubling_times),
        cmocka_unit_test(repair_in_lww),
        cmocka_unit_test(late_ones_are_repaired_after_the_answer),
        cmocka_unit_test(late_ones_may_know_more),
        cmocka_unit_test(late_ones_without_need),
        cmocka_unit_test(late_ones_in_lww),
        cmocka_unit_test(late_ones_during_a_repair),
        cmocka_unit_test(comparing_ends),
        cmocka_unit_test(comparing_leaves_room),
        cmocka_unit_test(a_repair_carries_the_least_floor),
        cmocka_unit_test(a_newer_floor_reads_again),
        cmocka_unit_test(a_newer_floor_again_and_again_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
