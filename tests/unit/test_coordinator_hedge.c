// link: coterie_actors coterie_store
/* Hedged reads (DESIGN.md 7; Dean and Barroso, The Tail at Scale): one more replica when an answer
 * is late for the one it is asked of, never fed by hedged answers, at most 5 % of the questions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define US       ((uint64_t)1000)

/* How long the percentile takes to settle, and a hedge's price in first questions. */
#define READS_TO_LEARN 2000u
#define HEDGE_COST     20u

static uint32_t other_of(const struct asked *asked)
{
    assert_int_equal(asked->count, 2);
    assert_int_equal(asked->members[0], SELF);
    return asked->members[1];
}

static struct asked begin(struct bench *b)
{
    bench_get(b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    return bench_asked(b, MESSAGE_replica_read);
}

/* A read at this node, which answers at once, and another replica, which answers after `ns`. */
static void read_taking(struct bench *b, uint64_t ns)
{
    struct asked asked = begin(b);
    bench_read_reply(b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b->f, ns);
    bench_asked(b, MESSAGE_replica_read); /* it may have been late */
    bench_read_reply(b, asked.id, other_of(&asked), OK, (struct bytes){0});
    bench_got(b, OK);
}

/* Another replica usually takes a half to the whole of `ns`, so its 95th percentile is near `ns`;
 * the figures start from there, and there is credit for 16 hedges. */
static void taught(struct bench *b, uint64_t ns)
{
    bench_init(b, 3, 1);
    for (uint32_t i = 0; i < READS_TO_LEARN; i++)
        read_taking(b, prng_between(&b->f.prng, ns / 2, ns));
    for (uint32_t i = 0; i < 16 * HEDGE_COST; i++) {
        bench_get(b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
        struct asked asked = bench_asked(b, MESSAGE_replica_read);
        bench_read_reply(b, asked.id, SELF, OK, (struct bytes){0});
        bench_got(b, OK);
    }
    fixture_silent(&b->f);
}

static struct asked hedge_of(struct bench *b)
{
    struct asked hedge = bench_asked(b, MESSAGE_replica_read);
    assert_int_equal(hedge.count, 1);
    return hedge;
}

/* A peer that usually takes up to 5 ms is late soon after that, not before: the next replica is
 * asked, once, and its answer is as good as the late one's. */
static void late_for_its_replica(void **state)
{
    (void)state;
    struct bench b;
    taught(&b, 5 * MS);
    uint64_t sent = counter_get(&b.figures->hedges_sent);
    uint64_t won = counter_get(&b.figures->hedges_won);
    struct asked asked = begin(&b);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b.f, MS);
    fixture_pass(&b.f, 2 * MS);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 4 * MS);
    struct asked hedge = hedge_of(&b);
    assert_int_equal(hedge.id, asked.id);
    assert_false(asked_member(&asked, hedge.members[0]));
    assert_int_equal(counter_get(&b.figures->hedges_sent), sent + 1);
    fixture_pass(&b.f, 50 * MS);
    fixture_silent(&b.f); /* one a read */
    bench_read_reply(&b, asked.id, hedge.members[0], OK, (struct bytes){0});
    struct client_get_done done = bench_got(&b, OK);
    assert_true(progress_acked(&done.progress, hedge.members[0]));
    assert_int_equal(counter_get(&b.figures->hedges_won), won + 1);
    assert_int_equal(counter_get(&b.figures->read_late), 0);
    bench_deinit(&b);
}

/* A hedge that loses is no win. */
static void the_late_one_may_be_first(void **state)
{
    (void)state;
    struct bench b;
    taught(&b, 5 * MS);
    uint64_t won = counter_get(&b.figures->hedges_won);
    struct asked asked = begin(&b);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b.f, 7 * MS);
    hedge_of(&b);
    bench_read_reply(&b, asked.id, other_of(&asked), OK, (struct bytes){0});
    bench_got(&b, OK);
    assert_int_equal(counter_get(&b.figures->hedges_won), won);
    bench_deinit(&b);
}

/* Faster than 1 ms is never late: such differences are noise. */
static void never_before_one_millisecond(void **state)
{
    (void)state;
    struct bench b;
    taught(&b, 50 * US);
    struct asked asked = begin(&b);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b.f, MS - 1);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 1);
    hedge_of(&b);
    bench_deinit(&b);
}

/* Nothing is known of a peer in its first answers: only the late time of all reads counts. */
static void not_before_it_knows(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    for (uint32_t i = 0; i < 15; i++)
        read_taking(&b, MS);
    struct asked asked = begin(&b);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b.f, READ_LATE_NS - 1);
    fixture_silent(&b.f);
    bench_read_reply(&b, asked.id, other_of(&asked), OK, (struct bytes){0});
    bench_got(&b, OK);
    bench_deinit(&b);
}

/* A peer slower than the late time is late then, like all others: no hedge, but all are asked. */
static void never_after_the_late_time(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    for (uint32_t i = 0; i < 100; i++)
        read_taking(&b, READ_LATE_NS - 1);
    struct asked asked = begin(&b);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b.f, READ_LATE_NS - 1);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 1);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_read).count, 2);
    assert_int_equal(counter_get(&b.figures->hedges_sent), 0);
    assert_int_equal(counter_get(&b.figures->read_late), 1);
    bench_deinit(&b);
}

/* The percentile finds the tail by itself: of answers that take 2 ms and, one in ten, 40 ms, the
 * slow ones are within it, and nine in ten are not late; of one in fifty, the slow ones are beyond
 * it. */
static void the_95th_percentile(void **state)
{
    (void)state;
    static const struct {
        uint32_t one_in;
        bool beyond;
    } cases[] = {{10, false}, {50, true}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        uint64_t hedged = 0;
        bench_init(&b, 3, 1);
        for (uint32_t r = 0; r < 4000; r++) {
            bool slow = prng_below(&b.f.prng, cases[i].one_in) == 0;
            struct asked asked = begin(&b);
            bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
            for (uint32_t ms = 0; ms < (slow ? 40 : 2); ms++)
                fixture_pass(&b.f, MS);
            uint32_t before = bench_asked(&b, MESSAGE_replica_read).count;
            if (r >= 2000 && slow)
                hedged += before;
            bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
            bench_got(&b, OK);
        }
        /* About 200 or 40 slow reads were counted. */
        if (cases[i].beyond)
            assert_true(hedged >= 25);
        else
            assert_true(hedged <= 110);
        bench_deinit(&b);
    }
}

/* DESIGN.md 7: at most 5 % extra load, also and above all when every answer is late. */
static void capped_when_all_are_slow(void **state)
{
    (void)state;
    struct bench b;
    taught(&b, MS);
    uint64_t sent = counter_get(&b.figures->hedges_sent);
    uint32_t burst = 0;
    uint32_t reads = 0;
    for (; reads < 400; reads++) {
        struct asked asked = begin(&b);
        bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
        fixture_pass(&b.f, 90 * MS);
        struct asked hedge = bench_asked(&b, MESSAGE_replica_read);
        burst += hedge.count;
        bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
        bench_got(&b, OK);
    }
    /* What was saved up, 16, and one for 20 first questions of two a read. */
    assert_true(burst <= 16 + 2 * reads / HEDGE_COST);
    assert_true(burst >= 16);
    assert_int_equal(counter_get(&b.figures->hedges_sent), sent + burst);
    assert_true(counter_get(&b.figures->hedges_capped) > 0);
    bench_deinit(&b);
}

/* Nothing saved up: the first late read that is known to be late has no hedge to spend. */
static void capped_at_first(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    /* 16 reads at one replica each earn 16 of 20. */
    for (uint32_t i = 0; i < 16; i++) {
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
        bench_got(&b, OK);
    }
    for (uint32_t round = 0; round < 4; round++) {
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        fixture_pass(&b.f, 2 * MS);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_read).count, round < 3 ? 0 : 1);
        bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
        bench_got(&b, OK);
    }
    assert_int_equal(counter_get(&b.figures->hedges_capped), 3);
    assert_int_equal(counter_get(&b.figures->hedges_sent), 1);
    bench_deinit(&b);
}

/* Answers to a hedged read never feed the estimate, neither the late one's own nor the hedge's;
 * that it was late does, once, as one step of an eighth, however late the answer was. */
static void hedged_answers_are_no_samples(void **state)
{
    (void)state;
    for (uint32_t slow = 0; slow < 2; slow++) {
        struct bench b;
        taught(&b, 5 * MS);
        uint64_t late_ns[2];
        struct asked asked[2];
        for (uint32_t round = 0; round < 2; round++) {
            asked[round] = begin(&b);
            bench_read_reply(&b, asked[round].id, SELF, OK, (struct bytes){0});
            uint64_t began_ns = b.f.ctx.now_ns;
            fixture_pass(&b.f, MS); /* this node itself would be late after 1 ms */
            fixture_silent(&b.f);
            late_ns[round] = actor_wake_at_ns(b.f.actor) - began_ns;
            fixture_pass(&b.f, 9 * MS);
            struct asked hedge = hedge_of(&b);
            fixture_pass(&b.f, slow ? 80 * MS : 0);
            bench_read_reply(&b, asked[round].id, slow ? asked[round].members[1] : hedge.members[0],
                             OK, (struct bytes){0});
            bench_got(&b, OK);
        }
        assert_int_equal(late_ns[1], late_ns[0] + late_ns[0] / 8);
        bench_deinit(&b);
    }
}

/* A replica that stops answering is not the favourite for long, although none of its answers, and
 * none of the hedges', is ever timed: fewer reads are hedged than there is credit for. */
static void a_stopped_one_loses_its_place(void **state)
{
    (void)state;
    struct bench b;
    taught(&b, MS);
    for (uint32_t i = 0; i < 100; i++) { /* 2 is the faster one */
        fixture_set_liveness(&b.f, 2 + i % 2, LIVENESS_DOWN);
        read_taking(&b, i % 2 == 0 ? 800 * US : 400 * US);
        fixture_set_liveness(&b.f, 2 + i % 2, LIVENESS_ALIVE);
    }
    uint32_t favoured = 0;
    for (uint32_t i = 0; i < 30; i++) {
        struct asked asked = begin(&b);
        bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
        uint32_t answers = other_of(&asked);
        if (answers == 2) {
            favoured++;
            fixture_pass(&b.f, MS);
            fixture_pass(&b.f, MS);
            answers = hedge_of(&b).members[0];
        }
        assert_int_equal(answers, 3);
        fixture_pass(&b.f, 800 * US);
        bench_read_reply(&b, asked.id, 3, OK, (struct bytes){0});
        bench_got(&b, OK);
    }
    assert_in_range(favoured, 1, 8);
    assert_int_equal(counter_get(&b.figures->read_late), 0);
    bench_deinit(&b);
}

/* A refusal says nothing of how fast a replica reads: one that refuses at once is not the fastest.
 */
static void errors_are_no_samples(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    uint32_t refusing = 0;
    struct asked asked;
    for (uint32_t i = 0; i < 20; i++) {
        asked = begin(&b);
        bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
        if (i == 0)
            refusing = other_of(&asked);
        if (other_of(&asked) == refusing) {
            bench_read_reply(&b, asked.id, refusing, ERR_UNAVAILABLE, (struct bytes){0});
            asked.members[1] = hedge_of(&b).members[0];
        }
        bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
        bench_got(&b, OK);
        /* The other one, for once asked at the beginning, takes half of what is thought of one
         * that nobody knows. */
        fixture_set_liveness(&b.f, refusing, LIVENESS_DOWN);
        read_taking(&b, 500 * US);
        fixture_set_liveness(&b.f, refusing, LIVENESS_ALIVE);
    }
    asked = begin(&b);
    assert_int_not_equal(other_of(&asked), refusing);
    bench_deinit(&b);
}

/* Never to a replica known to be down, and never where there is none left. */
static void not_to_one_that_is_down(void **state)
{
    (void)state;
    struct bench b;
    taught(&b, 5 * MS);
    struct asked asked = begin(&b);
    uint32_t third = 2 + 3 - other_of(&asked);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_set_liveness(&b.f, third, LIVENESS_DOWN);
    uint64_t capped = counter_get(&b.figures->hedges_capped);
    fixture_pass(&b.f, 90 * MS);
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->hedges_capped), capped);
    bench_deinit(&b);
}

/* DESIGN.md 8: LOCAL_* levels never ask another data centre, not as a hedge either; QUORUM may. */
static void local_levels_stay_local(void **state)
{
    (void)state;
    static const struct {
        enum consistency level;
        bool hedges;
    } cases[] = {{CONSISTENCY_LOCAL_QUORUM, false}, {CONSISTENCY_QUORUM, true}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        bench_init(&b, 4, 2); /* two replicas here, two there */
        for (uint32_t r = 0; r < READS_TO_LEARN; r++) {
            bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
            struct asked asked = bench_asked(&b, MESSAGE_replica_read);
            assert_int_equal(asked.count, 3);
            fixture_pass(&b.f, 2 * MS);
            bench_asked(&b, MESSAGE_replica_read);
            for (uint32_t k = 0; k < asked.count; k++)
                bench_read_reply(&b, asked.id, asked.members[k], OK, (struct bytes){0});
            bench_got(&b, OK);
        }
        bench_get(&b, SIBLINGS, "k", cases[i].level, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        fixture_pass(&b.f, 50 * MS);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_read).count, cases[i].hedges ? 1 : 0);
        assert_int_equal(asked.members[0], SELF);
        bench_deinit(&b);
    }
}

/* EACH_QUORUM: a late answer is replaced within its own data centre only. */
static void each_quorum_hedges_where_it_is_late(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 6, 2);
    for (uint32_t r = 0; r < READS_TO_LEARN; r++) {
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_EACH_QUORUM, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        fixture_pass(&b.f, 2 * MS);
        bench_asked(&b, MESSAGE_replica_read);
        for (uint32_t k = 0; k < asked.count; k++)
            bench_read_reply(&b, asked.id, asked.members[k], OK, (struct bytes){0});
        bench_got(&b, OK);
    }
    for (uint32_t there = 0; there < 2; there++) {
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_EACH_QUORUM, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(asked.count, 4);
        bool left = false;
        for (uint32_t k = 0; k < 4; k++) {
            /* The last one of that data centre is late. */
            bool late = !left && asked.members[k] % 2 == 1 - there && asked.members[k] != SELF;
            left |= late;
            if (!late)
                bench_read_reply(&b, asked.id, asked.members[k], OK, (struct bytes){0});
        }
        assert_true(left);
        fixture_pass(&b.f, 50 * MS);
        struct asked hedge = hedge_of(&b);
        assert_int_equal(hedge.members[0] % 2, 1 - there);
        bench_read_reply(&b, asked.id, hedge.members[0], OK, (struct bytes){0});
        bench_got(&b, OK);
    }
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_for_its_replica),
        cmocka_unit_test(the_late_one_may_be_first),
        cmocka_unit_test(never_before_one_millisecond),
        cmocka_unit_test(not_before_it_knows),
        cmocka_unit_test(never_after_the_late_time),
        cmocka_unit_test(the_95th_percentile),
        cmocka_unit_test(capped_when_all_are_slow),
        cmocka_unit_test(capped_at_first),
        cmocka_unit_test(hedged_answers_are_no_samples),
        cmocka_unit_test(a_stopped_one_loses_its_place),
        cmocka_unit_test(errors_are_no_samples),
        cmocka_unit_test(not_to_one_that_is_down),
        cmocka_unit_test(local_levels_stay_local),
        cmocka_unit_test(each_quorum_hedges_where_it_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
