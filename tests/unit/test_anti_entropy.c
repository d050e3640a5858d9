// link: coterie_actors coterie_store coterie_codec
/* Rules of actors/anti_entropy.h: an exchange makes two replicas equal, both ways, whatever is lost
 * on the way; only one that went through proves anything (Dynamo 4.7, RELIABILITY rule 23). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/anti_entropy_bench.h"

#define P    5u
#define PEER 2u

static bool idle(const struct bench *b)
{
    return figure(&b->figures->exchanges) > 0 && figure(&b->figures->exchanges_running) == 0;
}

static bool clean(const struct bench *b)
{
    return figure(&b->figures->dirty) == 0 && figure(&b->figures->exchanges_running) == 0;
}

/* One exchange of (P, PEER), to its end. */
static void exchange_once(struct bench *b)
{
    mark_dirty(b, P, PEER);
    assert_true(bench_run(b, clean, 60 * SECONDS));
}

static void expect_proven(const struct bench *b, uint64_t as_of_ms)
{
    struct anti_entropy_proof p = proof(b, P, PEER);
    assert_int_equal(p.state, ANTI_ENTROPY_IDENTICAL);
    assert_int_equal(p.identical_as_of_ms, as_of_ms);
    assert_int_equal(p.attempted_ms, as_of_ms);
}

static void expect_not_proven(const struct bench *b)
{
    struct anti_entropy_proof p = proof(b, P, PEER);
    assert_int_not_equal(p.state, ANTI_ENTROPY_IDENTICAL);
    assert_int_equal(p.identical_as_of_ms, 0);
}

static void equal_roots_cost_two_messages(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < 20; i++) {
        fake_put(&b, SELF, key_in(&b, P, i), 1, "v");
        fake_put(&b, PEER, key_in(&b, P, i), 1, "v");
    }
    uint64_t began_ms = b.f.ctx.wall_ms;
    exchange_once(&b);
    assert_int_equal(b.to_peers, 1);
    assert_int_equal(b.from_peers, 1);
    assert_in_range(b.peer_bytes, 20, 200);
    assert_int_equal(figure(&b.figures->exchanges_equal), 1);
    expect_proven(&b, began_ms);
    bench_deinit(&b);
}

/* What only one side holds, or one has newer, or both wrote apart: both end with the join. */
static void both_ways(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < 40; i++) {
        const char *key = key_in(&b, P, i);
        uint32_t holder = i % 2 == 0 ? SELF : PEER;
        if (i % 8 < 2) { /* one side alone */
            fake_put(&b, holder, key, holder, "alone");
        } else if (i % 8 < 4) { /* newer on one side */
            fake_put(&b, SELF, key, 3, "old");
            fake_put(&b, PEER, key, 3, "old");
            fake_put(&b, holder, key, holder, "newer");
        } else if (i % 8 < 6) { /* concurrent; more writes on one side */
            fake_put(&b, SELF, key, 1, "mine");
            fake_put(&b, PEER, key, 2, "theirs");
            fake_put(&b, holder, key, holder, "again");
        } else { /* equal */
            fake_put(&b, SELF, key, 3, "same");
            fake_put(&b, PEER, key, 3, "same");
        }
    }
    uint64_t began_ms = b.f.ctx.wall_ms;
    exchange_once(&b);
    assert_true(fakes_equal(&b, SELF, PEER));
    assert_int_equal(b.fakes[SELF].count, 40);
    for (uint32_t i = 4; i < 40; i += 8) {
        struct item *item = fake_find(&b.fakes[SELF], b.f.keyspace_ids[SIBLINGS],
                                      bytes_of_string(key_in(&b, P, i)));
        assert_int_equal(fake_set(&b, item).count, 2); /* siblings */
    }
    expect_proven(&b, began_ms);
    /* 5 alone and 5 newer of each side, 10 concurrent ones both ways; equal ones stay where they
     * are */
    assert_int_equal(figure(&b.figures->keys_sent), 20);
    assert_int_equal(figure(&b.figures->keys_received), 20);
    assert_int_equal(proof(&b, P, PEER).keys_repaired, 40);
    assert_int_equal(figure(&b.figures->exchanges), 1);
    /* Once more: nothing to do. */
    b.to_peers = 0;
    exchange_once(&b);
    assert_int_equal(b.to_peers, 1);
    bench_deinit(&b);
}

/* Other partitions are not looked at. */
static void one_range_only(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fake_put(&b, SELF, key_in(&b, P, 1), 1, "v");
    fake_put(&b, SELF, key_in(&b, P + 1, 2), 1, "v");
    exchange_once(&b);
    assert_int_equal(b.fakes[PEER].count, 1);
    assert_false(anti_entropy_proof(b.ae, P, SELF, &(struct anti_entropy_proof){0}));
    assert_int_equal(proof(&b, P + 1, PEER).state, ANTI_ENTROPY_WAITING);
    bench_deinit(&b);
}

/* Pages of any size give the same end; nothing is asked without end. */
static void pages_are_walked(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 7, 1000};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct bench b;
        bench_init(&b);
        b.digests_max = sizes[i];
        b.places_max = sizes[ARRAY_COUNT(sizes) - 1 - i];
        b.options.window = 1 + sizes[i] % 128;
        anti_entropy_free(b.ae);
        bench_start(&b, 2);
        for (uint32_t j = 0; j < 200; j++) {
            const char *key = key_in(&b, P, j);
            if (j % 5 != 1)
                fake_put(&b, SELF, key, 1, "v");
            if (j % 5 != 2)
                fake_put(&b, PEER, key, j % 5 == 3 ? 2 : 1, "v");
        }
        exchange_once(&b);
        assert_true(fakes_equal(&b, SELF, PEER));
        assert_int_equal(figure(&b.figures->exchanges), 1);
        /* 40 that one side lacks each way, 40 concurrent ones both ways, none that was equal */
        assert_int_equal(figure(&b.figures->keys_sent), 80);
        assert_int_equal(figure(&b.figures->keys_received), 80);
        assert_true(b.in_flight_max <= b.options.window);
        bench_deinit(&b);
    }
}

/* A side without anything is filled without a descent. */
static void an_empty_side_is_filled(void **state)
{
    (void)state;
    for (uint32_t holder = SELF; holder <= PEER; holder++) {
        struct bench b;
        bench_init(&b);
        for (uint32_t i = 0; i < 300; i++)
            fake_put(&b, holder, key_in(&b, P, i), holder, "v");
        exchange_once(&b);
        assert_true(fakes_equal(&b, SELF, PEER));
        assert_int_equal(figure(holder == SELF ? &b.figures->keys_sent : &b.figures->keys_received),
                         300);
        bench_deinit(&b);
    }
}

static void torture_data(struct bench *b)
{
    bench_init(b);
    b->digests_max = 3;
    b->places_max = 2;
    for (uint32_t i = 0; i < 12; i++) {
        const char *key = key_in(b, P, i);
        if (i % 4 != 1)
            fake_put(b, SELF, key, 1, "v");
        if (i % 4 != 2)
            fake_put(b, PEER, key, i % 4 == 3 ? 2 : 1, "v");
    }
}

/* Whichever message is lost, the exchange goes through. */
static void every_message_may_be_lost(void **state)
{
    (void)state;
    uint64_t messages = 1;
    for (uint64_t lost = 0; lost <= messages; lost++) {
        struct bench b;
        torture_data(&b);
        b.lose = lost;
        uint64_t began_ms = b.f.ctx.wall_ms;
        exchange_once(&b);
        assert_true(fakes_equal(&b, SELF, PEER));
        expect_proven(&b, began_ms);
        assert_int_equal(figure(&b.figures->exchanges), 1);
        assert_int_equal(figure(&b.figures->asked_again), lost > 0);
        messages = lost == 0 ? b.carried : messages;
        bench_deinit(&b);
    }
    assert_true(messages > 50);
}

/* Whichever step fails, nothing is proven and the mark stays; the next attempt finds the rest. */
static void no_failure_proves_anything(void **state)
{
    (void)state;
    uint64_t requests = 1;
    for (uint64_t refused = 0; refused <= requests; refused++) {
        struct bench b;
        torture_data(&b);
        b.refuse = refused;
        if (refused == 0) {
            exchange_once(&b);
            requests = b.requests;
        } else {
            mark_dirty(&b, P, PEER);
            assert_true(bench_run(&b, idle, 60 * SECONDS));
            assert_int_equal(figure(&b.figures->exchanges_failed), 1);
            expect_not_proven(&b);
            assert_int_equal(proof(&b, P, PEER).state, ANTI_ENTROPY_FAILED);
            assert_int_equal(figure(&b.figures->dirty), 1);
            assert_true(bench_run(&b, clean, 60 * SECONDS));
            assert_int_equal(proof(&b, P, PEER).state, ANTI_ENTROPY_IDENTICAL);
        }
        assert_true(fakes_equal(&b, SELF, PEER));
        bench_deinit(&b);
    }
    assert_true(requests > 20);
}

/* A side that never answers ends the exchange after some attempts. */
static void silence_ends_it(void **state)
{
    (void)state;
    struct bench b;
    torture_data(&b);
    b.fakes[PEER].silent = true;
    mark_dirty(&b, P, PEER);
    assert_false(bench_run(&b, idle, (1 + 2 + 4) * b.options.late_ns));
    assert_true(bench_run(&b, idle, 9 * b.options.late_ns));
    assert_int_equal(b.to_peers, b.options.tries);
    expect_not_proven(&b);
    bench_deinit(&b);
}

/* What comes late, or from another side, or for an earlier life changes nothing. */
static void strange_answers_are_late(void **state)
{
    (void)state;
    struct bench b;
    torture_data(&b);
    b.fakes[PEER].silent = b.fakes[SELF].silent = true;
    bench_carry(&b);
    mark_dirty(&b, P, PEER);
    struct message *asked = fixture_take(&b.f, MESSAGE_tree_roots);
    struct message *other = fixture_take(&b.f, MESSAGE_tree_roots);
    struct message *answers[3];
    for (uint32_t i = 0; i < 3; i++) {
        answers[i] = message_new(MESSAGE_tree_roots_reply, 0);
        answers[i]->id = asked->id;
        answers[i]->from = asked->to;
    }
    answers[0]->from.node = 3;
    answers[1]->id += 1 << 13;           /* another question */
    answers[2]->id ^= (uint64_t)1 << 42; /* another life */
    for (uint32_t i = 0; i < 3; i++) {
        fixture_handle(&b.f, answers[i]);
        assert_int_equal(figure(&b.figures->late), i + 1);
    }
    assert_int_equal(figure(&b.figures->exchanges_running), 1);
    message_free(asked);
    message_free(other);
    bench_deinit(&b);
}

/* A refused record ends for itself: the others go on, nothing is proven, and it is not tried again
 * at once. */
static void refused_records_prove_nothing(void **state)
{
    (void)state;
    static const enum err statuses[] = {ERR_STALE_FLOOR, ERR_CORRUPT};
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++) {
        struct bench b;
        torture_data(&b);
        b.fakes[PEER].write_status = statuses[i];
        mark_dirty(&b, P, PEER);
        assert_true(bench_run(&b, idle, 10 * SECONDS));
        assert_int_equal(b.fakes[SELF].count, 12); /* the other way went */
        assert_int_equal(figure(&b.figures->stale_floor) > 0, statuses[i] == ERR_STALE_FLOOR);
        expect_not_proven(&b);
        assert_int_equal(figure(&b.figures->dirty), 1);
        uint64_t requests = b.requests;
        assert_false(bench_run(&b, never, b.options.backoff_min_ns / 2 - 10 * MS));
        assert_int_equal(b.requests, requests);
        assert_false(bench_run(&b, never, 60 * SECONDS));
        assert_in_range(figure(&b.figures->exchanges), 4, 14); /* doubling to 15 s */
        bench_deinit(&b);
    }
}

/* A side that has too much to do is asked again; the same exchange goes through. */
static void overload_is_waited_out(void **state)
{
    (void)state;
    static const enum err statuses[] = {ERR_OVERLOADED, ERR_TIMEOUT};
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++) {
        struct bench b;
        torture_data(&b);
        b.fakes[PEER].write_status = statuses[i];
        mark_dirty(&b, P, PEER);
        assert_false(bench_run(&b, idle, SECONDS));
        assert_true(b.fakes[PEER].writes > 0);
        b.fakes[PEER].write_status = OK;
        assert_true(bench_run(&b, clean, 10 * SECONDS));
        assert_true(fakes_equal(&b, SELF, PEER));
        assert_int_equal(figure(&b.figures->exchanges), 1);
        assert_int_equal(figure(&b.figures->exchanges_failed), 0);
        bench_deinit(&b);
    }
}

/* What was read before a round of reaping comes under the floor of then, and is refused after it:
 * it could be older than the tombstone (RELIABILITY rule 14). The next exchange reads anew. */
static void records_travel_under_the_floor_that_they_were_read_under(void **state)
{
    (void)state;
    struct bench b;
    torture_data(&b);
    b.sealed_after_fetch = 9;
    exchange_once(&b);
    assert_true(figure(&b.figures->stale_floor) > 0);
    assert_true(fakes_equal(&b, SELF, PEER));
    bench_deinit(&b);
}

/* A floor that lags is raised without taking part in a removal; then records go both ways. */
static void lagging_floors_are_raised(void **state)
{
    (void)state;
    for (uint32_t ahead = SELF; ahead <= PEER; ahead++) {
        struct bench b;
        torture_data(&b);
        b.fakes[ahead].floor = 7;
        exchange_once(&b);
        assert_true(fakes_equal(&b, SELF, PEER));
        assert_int_equal(b.fakes[SELF].floor, 7);
        assert_int_equal(b.fakes[PEER].floor, 7);
        assert_int_equal(b.fakes[ahead].seals, 0);
        assert_true(figure(&b.figures->floors_raised) > 0);
        assert_int_equal(figure(&b.figures->stale_floor), 0);
        bench_deinit(&b);
    }
}

/* A replica below what was reaped is told so, whichever side it is on; it takes no seal, and what
 * it holds goes nowhere. */
static void copies_from_before_a_removal_spread_nothing(void **state)
{
    (void)state;
    for (uint32_t ahead = SELF; ahead <= PEER; ahead++) {
        struct bench b;
        torture_data(&b);
        uint32_t behind = SELF + PEER - ahead;
        b.fakes[ahead].floor = 7;
        b.fakes[ahead].reaped = 5;
        b.fakes[behind].floor = 4;
        mark_dirty(&b, P, PEER);
        assert_false(bench_run(&b, clean, SECONDS / 2));
        assert_true(b.fakes[behind].seals > 0);
        assert_int_equal(b.fakes[behind].floor, 4);
        assert_int_equal(b.fakes[ahead].writes + b.fakes[behind].writes, 0);
        assert_true(figure(&b.figures->exchanges_failed) > 0);
        b.fakes[behind].floor = 5; /* it had sealed that: it is only late */
        assert_true(bench_run(&b, clean, 20 * SECONDS));
        assert_int_equal(b.fakes[behind].floor, 7);
        assert_true(fakes_equal(&b, SELF, PEER));
        bench_deinit(&b);
    }
}

/* A tree that gets another depth in the middle ends the exchange; the next one finds it. */
static void changing_trees_are_met(void **state)
{
    (void)state;
    struct bench b;
    torture_data(&b);
    mark_dirty(&b, P, PEER);
    assert_true(bench_carry(&b)); /* the roots */
    struct message *read = fixture_take(&b.f, MESSAGE_tree_read);
    struct message *reply = message_new_reply(read, MESSAGE_tree_read_reply, 0);
    reply->from = read->to;
    reply->tree_read_reply.level = read->tree_read.level;
    fixture_handle(&b.f, reply);
    message_free(read);
    bench_carry(&b);
    assert_int_equal(figure(&b.figures->exchanges_failed), 1);
    expect_not_proven(&b);
    assert_true(bench_run(&b, clean, 60 * SECONDS));
    assert_true(fakes_equal(&b, SELF, PEER));
    bench_deinit(&b);
}

/* No more bytes than the rate allows, counted by what the messages carry. */
static void paced_by_bytes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.bytes_per_second = 65536;
    anti_entropy_free(b.ae);
    bench_start(&b, 2);
    char value[1001];
    memset(value, 'v', 1000);
    value[1000] = 0;
    for (uint32_t i = 0; i < 200; i++)
        fake_put(&b, SELF, key_in(&b, P, i), 1, value);
    mark_dirty(&b, P, PEER);
    assert_false(bench_run(&b, clean, 2 * SECONDS)); /* 200 kB at 64 KiB a second, and a burst */
    assert_in_range(b.fakes[PEER].count, 100, 160);
    assert_true(bench_run(&b, clean, 2 * SECONDS));
    assert_true(fakes_equal(&b, SELF, PEER));
    bench_deinit(&b);
}

/* Kinds that are not for this actor are counted; answers to nothing are late. */
static void foreign_messages_are_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    uint64_t sent = 0;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (kind == MESSAGE_client_maintenance || kind == MESSAGE_client_explain ||
            kind == MESSAGE_vnode_incomplete || kind == MESSAGE_record_repair ||
            kind == MESSAGE_vnode_report || kind == MESSAGE_key_explain)
            continue;
        struct message *message = message_new((enum message_kind)kind, 0);
        message->id = 77;
        fixture_handle(&b.f, message);
        sent++;
    }
    fixture_silent(&b.f);
    /* store_committed, three of the reaper's answers and its seal, range_dirty */
    assert_int_equal(figure(&b.figures->unexpected) + figure(&b.figures->late), sent - 6);
    assert_int_equal(figure(&b.figures->dirty_lost), 1);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_roots_cost_two_messages),
        cmocka_unit_test(both_ways),
        cmocka_unit_test(one_range_only),
        cmocka_unit_test(pages_are_walked),
        cmocka_unit_test(an_empty_side_is_filled),
        cmocka_unit_test(every_message_may_be_lost),
        cmocka_unit_test(no_failure_proves_anything),
        cmocka_unit_test(silence_ends_it),
        cmocka_unit_test(strange_answers_are_late),
        cmocka_unit_test(refused_records_prove_nothing),
        cmocka_unit_test(overload_is_waited_out),
        cmocka_unit_test(records_travel_under_the_floor_that_they_were_read_under),
        cmocka_unit_test(lagging_floors_are_raised),
        cmocka_unit_test(copies_from_before_a_removal_spread_nothing),
        cmocka_unit_test(changing_trees_are_met),
        cmocka_unit_test(paced_by_bytes),
        cmocka_unit_test(foreign_messages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
