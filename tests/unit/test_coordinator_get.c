// link: coterie_actors coterie_store
/* Rules of actors/coordinator.h, reads: READING and how it ends. */
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

/* DESIGN.md 7: asks just R replicas, itself first; equal answers are the answer. */
static void equal_answers(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_DEFAULT, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 2);
    assert_int_equal(asked.members[0], SELF);
    struct bytes record = record_of(&b, "k", 1, "v");
    bench_read_reply(&b, asked.id, asked.members[0], OK, record);
    /* The first word of a member stands. */
    bench_read_reply(&b, asked.id, asked.members[0], OK, record_of(&b, "k", 1, "another"));
    fixture_silent(&b.f);
    bench_read_reply(&b, asked.id, asked.members[1], OK, record);
    struct client_get_done done = bench_got(&b, OK);
    assert_int_equal(done.set.count, 1);
    assert_true(test_holds(&done.set, "v"));
    assert_int_equal(done.wall_ms, b.f.ctx.wall_ms);
    assert_int_equal(done.progress.acked, 2);
    assert_int_equal(done.progress.needed, 2);
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    assert_int_equal(counter_get(&b.figures->read_differed), 0);
    bench_deinit(&b);
}

/* A key that nobody holds is OK with nothing, not an error. */
static void nothing_found(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    for (uint32_t i = 0; i < asked.count; i++)
        bench_read_reply(&b, asked.id, asked.members[i], OK, (struct bytes){0});
    assert_int_equal(bench_got(&b, OK).set.count, 0);
    bench_deinit(&b);
}

/* Levels ask as many as they need. */
static void levels_ask_what_they_need(void **state)
{
    (void)state;
    static const struct {
        enum consistency level;
        uint32_t count;
        uint32_t asked;
    } cases[] = {{CONSISTENCY_ONE, 0, 1},          {CONSISTENCY_QUORUM, 0, 2},
                 {CONSISTENCY_ALL, 0, 3},          {CONSISTENCY_LOCAL_ONE, 0, 1},
                 {CONSISTENCY_LOCAL_QUORUM, 0, 2}, {CONSISTENCY_COUNT, 3, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        bench_get(&b, SIBLINGS, "k", cases[i].level, cases[i].count);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(asked.count, cases[i].asked);
        for (uint32_t r = 0; r < asked.count; r++) {
            fixture_silent(&b.f);
            bench_read_reply(&b, asked.id, asked.members[r], OK, (struct bytes){0});
        }
        bench_got(&b, OK);
        bench_deinit(&b);
    }
}

/* What cannot be planned is refused at once, with a sentence. */
static void refused_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_COUNT, 0);
    bench_got(&b, ERR_INVALID);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_COUNT, 4);
    bench_got(&b, ERR_INVALID);
    b.f.keyspace_ids[SIBLINGS] ^= 1;
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
    bench_got(&b, ERR_NOT_FOUND);
    b.f.keyspace_ids[SIBLINGS] ^= 1;
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct client_get_done done = bench_got(&b, ERR_UNAVAILABLE);
    assert_int_equal(done.progress.acked, 0);
    assert_int_equal(done.progress.needed, 2);
    assert_int_equal(done.progress.missing_count, 2); /* those that are down */
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    bench_deinit(&b);
}

/* One of three down: the others are asked, the answer comes. */
static void one_down(void **state)
{
    (void)state;
    for (uint32_t down = 2; down <= 3; down++) {
        struct bench b;
        bench_init(&b, 3, 1);
        fixture_set_liveness(&b.f, down, LIVENESS_DOWN);
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(asked.count, 2);
        assert_false(asked_member(&asked, down));
        bench_read_reply(&b, asked.id, asked.members[0], OK, (struct bytes){0});
        bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
        bench_got(&b, OK);
        bench_deinit(&b);
    }
}

/* A replica that fails is replaced by the next one; too many failures are UNAVAILABLE, or what the
 * replicas themselves said when a retry there makes sense. */
static void failures(void **state)
{
    (void)state;
    static const struct {
        enum err replica;
        enum err client;
    } cases[] = {{ERR_IO, ERR_UNAVAILABLE},
                 {ERR_CORRUPT, ERR_UNAVAILABLE},
                 {ERR_TIMEOUT, ERR_UNAVAILABLE},
                 {ERR_OVERLOADED, ERR_OVERLOADED}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        bench_init(&b, 3, 1);
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
        struct asked asked = bench_asked(&b, MESSAGE_replica_read);
        bench_read_reply(&b, asked.id, asked.members[0], cases[i].replica, (struct bytes){0});
        struct asked more = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(more.count, 1);
        assert_false(asked_member(&asked, more.members[0]));
        /* The same failure again is not a second one. */
        bench_read_reply(&b, asked.id, asked.members[0], cases[i].replica, (struct bytes){0});
        fixture_silent(&b.f);
        bench_read_reply(&b, asked.id, more.members[0], cases[i].replica, (struct bytes){0});
        struct client_get_done done = bench_got(&b, cases[i].client);
        assert_int_equal(done.retry_after_ms != 0, cases[i].client == ERR_OVERLOADED);
        assert_int_equal(done.set.count, 0);
        bench_deinit(&b);
    }
}

/* RELIABILITY rule 25: a damaged record never votes; the read goes on without it. */
static void corrupt_answers_do_not_vote(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct bytes record = record_of(&b, "k", 1, "v");
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply(&b, asked.id, asked.members[0], OK, record_of(&b, "other", 1, "v"));
    assert_int_equal(counter_get(&b.figures->corrupt), 1);
    struct asked more = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(more.count, 1);
    bench_read_reply(&b, asked.id, asked.members[1], OK, record);
    fixture_silent(&b.f);
    bench_read_reply(&b, asked.id, more.members[0], OK, record);
    assert_int_equal(bench_got(&b, OK).set.count, 1);
    bench_deinit(&b);
}

/* DESIGN.md 7: a late read asks the remaining replicas; "not yet" before "now". Another node's
 * silence may be a lost message: it is asked again, this node is not. */
static void late_asks_more(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.members[0], SELF);
    fixture_pass(&b.f, READ_LATE_NS - 1);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 1);
    struct asked more = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(more.count, 2);
    assert_int_equal(more.id, asked.id);
    assert_int_equal(more.members[0], asked.members[1]);
    assert_false(asked_member(&asked, more.members[1]));
    assert_int_equal(counter_get(&b.figures->read_late), 1);
    assert_int_equal(counter_get(&b.figures->asked_again), 1);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    bench_read_reply(&b, asked.id, more.members[1], OK, (struct bytes){0});
    bench_got(&b, OK);
    /* The next read asks the one that answered. */
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked next = bench_asked(&b, MESSAGE_replica_read);
    assert_true(asked_member(&next, more.members[1]));
    bench_deinit(&b);
}

/* coordinator.h: asked again after 100 ms, 200 ms more, 400 ms more and so on, all that have not
 * answered and no others; nothing after the end. */
static void asked_again_at_doubling_times(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_ALL, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 3);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    uint64_t wait_ns = READ_LATE_NS; /* at 100, 300, 700, 1500, 3100 ms */
    for (uint32_t round = 0; round < 5; round++, wait_ns *= 2) {
        fixture_pass(&b.f, wait_ns - 1);
        fixture_silent(&b.f);
        fixture_pass(&b.f, 1);
        struct asked again = bench_asked(&b, MESSAGE_replica_read);
        assert_int_equal(again.count, round < 2 ? 2 : 1);
        assert_false(asked_member(&again, SELF));
        assert_true(asked_member(&again, 3));
        if (round == 1) {
            bench_read_reply(&b, asked.id, 2, OK, (struct bytes){0});
            bench_read_reply(&b, asked.id, 2, OK, (struct bytes){0}); /* to the second question */
            fixture_silent(&b.f);
        }
    }
    assert_int_equal(counter_get(&b.figures->read_late), 1); /* a read, however often */
    assert_int_equal(counter_get(&b.figures->asked_again), 2 + 2 + 1 + 1 + 1);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 3100 * MS - 1);
    fixture_silent(&b.f); /* at 6300 ms would be after the deadline */
    bench_read_reply(&b, asked.id, 3, OK, (struct bytes){0});
    assert_int_equal(bench_got(&b, OK).progress.acked, 3);
    fixture_pass(&b.f, 10 * DEADLINE_NS);
    fixture_silent(&b.f);
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    bench_deinit(&b);
}

/* quorum.h: the first word of a replica stands. One that has failed is not asked again, and what
 * it says later neither counts nor is repaired. */
static void failed_ones_are_not_asked_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    uint32_t failed = asked.members[1];
    bench_read_reply(&b, asked.id, failed, ERR_UNAVAILABLE, (struct bytes){0});
    struct asked more = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(more.count, 1);
    fixture_pass(&b.f, READ_LATE_NS);
    struct asked again = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.members[0], more.members[0]);
    struct bytes record = record_of(&b, "k", 1, "v");
    bench_read_reply(&b, asked.id, failed, OK, (struct bytes){0});
    bench_read_reply(&b, asked.id, SELF, OK, record);
    fixture_silent(&b.f);
    bench_read_reply(&b, asked.id, more.members[0], OK, record);
    struct client_get_done done = bench_got(&b, OK);
    assert_int_equal(done.progress.acked, 2);
    assert_int_equal(counter_get(&b.figures->read_differed), 0);
    bench_deinit(&b);
}

/* One that was down when the read began has failed already, also when it is up again. */
static void down_ones_are_not_asked_later(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    bench_asked(&b, MESSAGE_replica_read);
    fixture_set_liveness(&b.f, 3, LIVENESS_ALIVE);
    fixture_pass(&b.f, READ_LATE_NS);
    struct asked again = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.members[0], 2);
    bench_deinit(&b);
}

/* The deadline ends a read with TIMEOUT, early enough for the answer to reach the client. */
static void deadline_while_reading(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
    bench_asked(&b, MESSAGE_replica_read);
    fixture_pass(&b.f, 1);
    struct client_get_done done = bench_got(&b, ERR_TIMEOUT);
    assert_int_equal(done.progress.acked, 1);
    assert_int_equal(done.progress.needed, 2);
    assert_true(progress_acked(&done.progress, SELF));
    assert_int_equal(done.progress.missing_count, 2);
    assert_int_equal(actor_wake_at_ns(b.f.actor), NEVER_NS);
    bench_deinit(&b);
}

/* A request that comes without a deadline gets the default one. */
static void deadline_default(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct message *message = message_new(MESSAGE_client_get, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->id = 1234;
    message->client_get = (struct client_get){
        .client = CLIENT, .keyspace_id = b.f.keyspace_ids[SIBLINGS], .key = bytes_of_string("k")};
    fixture_handle(&b.f, message);
    bench_asked(&b, MESSAGE_replica_read);
    fixture_pass(&b.f, DEADLINE_KEPT_NS - 1);
    bench_asked(&b, MESSAGE_replica_read);
    fixture_pass(&b.f, 1);
    bench_got(&b, ERR_TIMEOUT);
    bench_deinit(&b);
}

/* -- the table ------------------------------------------------------------------------------- */

/* Answers that are nobody's: of a foreign member, of one that was not asked, twice, after the end,
 * and of an earlier life of this node. */
static void answers_of_nobody(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    const char *key = bench_key(&b, true);
    struct replica_set replicas = bench_replicas(&b, key);
    assert_int_equal(replicas.count, 3);
    bench_get(&b, SIBLINGS, key, CONSISTENCY_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    for (uint32_t member = 1; member <= 6; member++) {
        if (!asked_member(&asked, member))
            bench_read_reply(&b, asked.id, member, OK, (struct bytes){0});
    }
    bench_read_reply(&b, asked.id, asked.members[0], OK, (struct bytes){0});
    bench_read_reply(&b, asked.id, asked.members[0], OK, (struct bytes){0});
    fixture_silent(&b.f);
    assert_int_equal(asked.id >> 48, GENERATION);
    uint64_t earlier = (asked.id & 0xFFFFFFFFFFFFu) | (uint64_t)(GENERATION - 1) << 48;
    bench_read_reply(&b, earlier, asked.members[1], OK, (struct bytes){0});
    bench_write_reply(&b, earlier, asked.members[1], OK);
    bench_read_reply(&b, asked.id | 0xFFFF, asked.members[1], OK, (struct bytes){0});
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->answers_late), 3);
    bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
    bench_got(&b, OK);
    bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->answers_late), 4);
    bench_deinit(&b);
}

/* coordinator.h: beyond requests_max OVERLOADED at once; a place that is free again serves again,
 * under another id. */
static void table_full(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct asked asked = {0};
    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        bench_get(&b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
        asked = bench_asked(&b, MESSAGE_replica_read);
    }
    assert_int_equal(counter_get(&b.figures->in_flight), REQUESTS_MAX);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
    struct client_get_done done = bench_got(&b, ERR_OVERLOADED);
    assert_true(done.retry_after_ms > 0);
    assert_int_equal(counter_get(&b.figures->refused), 1);
    bench_read_reply(&b, asked.id, asked.members[0], OK, (struct bytes){0});
    bench_got(&b, OK);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_ONE, 0);
    struct asked again = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(again.id & 0xFFFF, asked.id & 0xFFFF);
    assert_int_not_equal(again.id, asked.id);
    bench_read_reply(&b, asked.id, asked.members[0], OK, (struct bytes){0});
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* -- data centres ---------------------------------------------------------------------------- */

static bool is_local(uint32_t member)
{
    return member % 2 == 1; /* n01, n03, ... are dc0 with this node */
}

/* DESIGN.md 8: LOCAL_* levels never wait for another data centre, not even when they are late. */
static void local_levels_stay_local(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 6, 2);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_LOCAL_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 2);
    assert_true(is_local(asked.members[0]) && is_local(asked.members[1]));
    fixture_pass(&b.f, READ_LATE_NS);
    struct asked again = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(again.count, 2);
    assert_int_equal(again.members[0], asked.members[1]);
    assert_true(is_local(again.members[0]) && is_local(again.members[1]));
    bench_read_reply(&b, asked.id, asked.members[0], ERR_IO, (struct bytes){0});
    fixture_silent(&b.f);
    bench_read_reply(&b, asked.id, asked.members[1], OK, (struct bytes){0});
    bench_read_reply(&b, asked.id, again.members[1], OK, (struct bytes){0});
    struct client_get_done done = bench_got(&b, OK);
    assert_int_equal(done.progress.needed, 2);
    bench_deinit(&b);
}

/* quorum.h: EACH_QUORUM asks a majority in every data centre and waits for each of them. */
static void each_quorum(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 6, 2);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_EACH_QUORUM, 0);
    struct asked asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 4);
    uint32_t local = 0;
    for (uint32_t i = 0; i < asked.count; i++)
        local += is_local(asked.members[i]);
    assert_int_equal(local, 2);
    for (uint32_t i = 0; i < asked.count; i++) {
        fixture_silent(&b.f);
        bench_read_reply(&b, asked.id, asked.members[i], OK, (struct bytes){0});
    }
    bench_got(&b, OK);
    /* Two of three in the other one down: it cannot be had, the local majority is not enough. */
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 4, LIVENESS_DOWN);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_EACH_QUORUM, 0);
    bench_got(&b, ERR_UNAVAILABLE);
    bench_get(&b, SIBLINGS, "k", CONSISTENCY_QUORUM, 0); /* four of six are there */
    assert_int_equal(bench_asked(&b, MESSAGE_replica_read).count, 4);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_answers),
        cmocka_unit_test(nothing_found),
        cmocka_unit_test(levels_ask_what_they_need),
        cmocka_unit_test(refused_at_once),
        cmocka_unit_test(one_down),
        cmocka_unit_test(failures),
        cmocka_unit_test(corrupt_answers_do_not_vote),
        cmocka_unit_test(late_asks_more),
        cmocka_unit_test(asked_again_at_doubling_times),
        cmocka_unit_test(failed_ones_are_not_asked_again),
        cmocka_unit_test(down_ones_are_not_asked_later),
        cmocka_unit_test(deadline_while_reading),
        cmocka_unit_test(deadline_default),
        cmocka_unit_test(answers_of_nobody),
        cmocka_unit_test(table_full),
        cmocka_unit_test(local_levels_stay_local),
        cmocka_unit_test(each_quorum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
