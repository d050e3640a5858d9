// link: coterie_actors coterie_store coterie_codec
/* Rules of actors/anti_entropy.h about turns: every pair within the interval, never in a hurry,
 * dirty ranges first and remembered on disk, repairs that can be followed, ended and gone on with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/anti_entropy_bench.h"

#define P    5u
#define PEER 2u

static bool clean(const struct bench *b)
{
    return figure(&b->figures->dirty) == 0 && figure(&b->figures->exchanges_running) == 0;
}

static bool idle(const struct bench *b)
{
    return figure(&b->figures->exchanges) > 0 && figure(&b->figures->exchanges_running) == 0;
}

static struct client_maintenance_done
maintain(struct bench *b, enum maintenance_operation operation, uint32_t keyspace_id, uint64_t task)
{
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->client_maintenance = (struct client_maintenance){
        .client = 42, .operation = operation, .keyspace_id = keyspace_id, .task = task};
    fixture_handle(&b->f, message);
    struct message *last = b->f.outbox.last;
    assert_non_null(last);
    assert_int_equal(last->kind, MESSAGE_client_maintenance_done);
    assert_int_equal(last->to.kind, ACTOR_EDGE);
    struct client_maintenance_done done = last->client_maintenance_done;
    assert_int_equal(done.client, 42);
    return done;
}

/* -- turns --------------------------------------------------------------------------------------
 */

/* Every pair that this node drives once an interval, spread over it; an idle cluster says little.
 */
static void every_pair_has_its_turn(void **state)
{
    (void)state;
    struct bench b;
    bench_init_with(&b, 100 * SECONDS);
    uint64_t began_ms = b.f.ctx.wall_ms;
    assert_int_equal(figure(&b.figures->ranges), 2 * PARTITIONS); /* 1 is the lowest member */
    for (uint32_t tenth = 1; tenth <= 10; tenth++) {
        assert_false(bench_run(&b, never, 10 * SECONDS));
        assert_in_range(figure(&b.figures->exchanges), tenth, 4 * tenth + 8); /* not all at once */
        if (tenth < 10)
            assert_int_equal(figure(&b.figures->identical_as_of_ms), 0);
    }
    assert_int_equal(figure(&b.figures->ranges_proven), 2 * PARTITIONS);
    assert_true(figure(&b.figures->identical_as_of_ms) >= began_ms);
    for (uint32_t round = 0; round < 3; round++) {
        uint64_t exchanges = figure(&b.figures->exchanges);
        uint64_t messages = b.to_peers;
        uint64_t since_ms = b.f.ctx.wall_ms;
        assert_false(bench_run(&b, never, 101 * SECONDS));
        assert_true(figure(&b.figures->identical_as_of_ms) >= since_ms);
        assert_in_range(figure(&b.figures->exchanges) - exchanges, 2 * PARTITIONS, 3 * PARTITIONS);
        assert_in_range(b.to_peers - messages, 2 * PARTITIONS, 3 * PARTITIONS);
    }
    bench_deinit(&b);
}

/* The lower number drives; the higher one only what it has a reason for. */
static void the_lower_number_drives(void **state)
{
    (void)state;
    struct bench b;
    bench_init_with(&b, 10 * SECONDS);
    anti_entropy_free(b.ae);
    view_unref(b.f.view);
    b.f.view = view_new(&b.f.topology, &b.f.map, 2);
    b.f.ctx.view = b.f.view;
    b.options.self = b.options.reaper.self = 2;
    bench_start(&b, 2);
    assert_int_equal(figure(&b.figures->ranges), PARTITIONS); /* with 3 */
    assert_true(proof(&b, P, 3).driven);
    assert_false(proof(&b, P, 1).driven);
    bench_deinit(&b);
}

static bool all_of_two(const struct bench *b)
{
    for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
        if (proof(b, partition, 2).identical_as_of_ms == 0)
            return false;
    }
    return true;
}

/* A member that is down is skipped, costs no messages, and has its turn when it is back. */
static void who_is_down_is_skipped(void **state)
{
    (void)state;
    struct bench b;
    bench_init_with(&b, 10 * SECONDS);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    assert_true(bench_run(&b, all_of_two, 10 * SECONDS));
    uint64_t exchanges = figure(&b.figures->exchanges);
    assert_int_equal(proof(&b, P, 3).state, ANTI_ENTROPY_WAITING);
    assert_false(bench_run(&b, never, 5 * SECONDS));
    assert_in_range(figure(&b.figures->exchanges) - exchanges, 0, PARTITIONS);
    assert_int_equal(figure(&b.figures->exchanges_failed), 0);
    fixture_set_liveness(&b.f, 3, LIVENESS_ALIVE);
    assert_false(bench_run(&b, never, 12 * SECONDS));
    assert_int_equal(figure(&b.figures->ranges_proven), 2 * PARTITIONS);
    bench_deinit(&b);
}

/* What was under way when a member went may lie on some replicas alone: all pairs are compared soon
 * after it is back or has started again, and not before. */
static void compared_soon_after_a_return(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_set_liveness(&b.f, 2, LIVENESS_ALIVE);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    b.f.view->version++;
    assert_false(bench_run(&b, never, 100 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 0);
    fixture_set_liveness(&b.f, 3, LIVENESS_ALIVE);
    b.f.view->version++;
    assert_false(bench_run(&b, never, 10 * SECONDS));
    assert_in_range(figure(&b.figures->exchanges), 1, 2 * PARTITIONS - 1); /* spread */
    assert_false(bench_run(&b, never, 25 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 2 * PARTITIONS); /* with 2 as well */
    assert_false(bench_run(&b, never, 100 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 2 * PARTITIONS); /* once */

    b.f.view->members[1].generation++; /* so fast that nobody missed it */
    b.f.view->version++;
    assert_false(bench_run(&b, never, 35 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 4 * PARTITIONS);
    b.f.view->version++; /* anything else is no return */
    assert_false(bench_run(&b, never, 35 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 4 * PARTITIONS);
    bench_deinit(&b);
}

/* A side that goes down in the middle ends it; no more than `exchanges_max` at once. */
static void bounded_and_ended(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.fakes[2].silent = b.fakes[3].silent = true;
    for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
        mark_dirty(&b, partition, 2);
        mark_dirty(&b, partition, 3);
    }
    assert_int_equal(figure(&b.figures->exchanges_running), 2);
    fixture_set_liveness(&b.f, 2, LIVENESS_DOWN);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    assert_false(bench_run(&b, never, b.options.late_ns + SECONDS));
    assert_int_equal(figure(&b.figures->exchanges_running), 0);
    assert_int_equal(figure(&b.figures->exchanges), 2);
    bench_deinit(&b);
}

/* -- dirty ranges -------------------------------------------------------------------------------
 */

/* A mark is a row: it survives a crash once durable, and is gone after an exchange. */
static void marks_survive_crashes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_set_liveness(&b.f, PEER, LIVENESS_DOWN);
    for (uint32_t i = 0; i < 5; i++) /* once, however often it is said */
        mark_dirty(&b, P, PEER);
    mark_dirty(&b, P + 1, PEER);
    assert_int_equal(figure(&b.figures->dirty), 2);
    assert_int_equal(figure(&b.figures->dirty_marked), 6);
    fixture_sync(&b.f);
    bench_restart(&b, false);
    assert_int_equal(figure(&b.figures->dirty), 2);
    assert_false(bench_run(&b, never, 5 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 0);
    fixture_set_liveness(&b.f, PEER, LIVENESS_ALIVE);
    assert_true(bench_run(&b, clean, 5 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 2);
    fixture_sync(&b.f);
    bench_restart(&b, false);
    assert_int_equal(figure(&b.figures->dirty), 0);
    assert_false(bench_run(&b, never, 5 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 0);
    bench_deinit(&b);
}

/* What is marked while it is being compared is compared again. */
static void only_a_later_exchange_clears(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mark_dirty(&b, P, PEER);
    assert_int_equal(figure(&b.figures->exchanges_running), 1);
    mark_dirty(&b, P, PEER);
    assert_true(bench_run(&b, idle, SECONDS));
    assert_int_equal(figure(&b.figures->dirty), 1);
    assert_true(bench_run(&b, clean, SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 2);
    bench_deinit(&b);
}

/* A repair of one keyspace leaves the others as they are, and the mark as well. */
static void one_keyspace_clears_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    b.refuse = b.requests + 1;
    mark_dirty(&b, P, PEER);
    assert_true(bench_run(&b, idle, SECONDS));
    uint64_t exchanges = figure(&b.figures->exchanges);
    maintain(&b, MAINTENANCE_REPAIR_START, b.f.keyspace_ids[SIBLINGS], 0);
    assert_false(bench_run(&b, never, b.options.backoff_min_ns / 2 - 10 * MS));
    assert_int_equal(figure(&b.figures->exchanges) - exchanges, 2 * PARTITIONS);
    assert_int_equal(figure(&b.figures->dirty), 1);
    assert_true(bench_run(&b, clean, 2 * SECONDS));
    bench_deinit(&b);
}

/* A mark about this node itself, or about a range that it is no replica of: the member is compared
 * with every other replica. */
static void marks_of_others_need_all(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fake_put(&b, 2, key_in(&b, P, 1), 2, "v");
    fake_put(&b, 3, key_in(&b, P, 2), 3, "v");
    mark_dirty(&b, P, SELF);
    assert_true(bench_run(&b, clean, SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 2);
    assert_int_equal(b.fakes[SELF].count, 2);
    bench_deinit(&b);
}

/* This node, fourth of four, keeps hints of a range that it has no replica of. */
static void two_others_are_compared(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    anti_entropy_free(b.ae);
    view_unref(b.f.view);
    b.f.topology = fixture_topology(&b.f.arena, 4, 1, PARTITIONS, 7701);
    b.fakes = realloc(b.fakes, 5 * sizeof b.fakes[0]);
    memset(&b.fakes[4], 0, sizeof b.fakes[4]);
    b.fakes[4].complete = true;
    b.f.view = view_new(&b.f.topology, &b.f.map, SELF);
    b.f.ctx.view = b.f.view;
    bench_start(&b, 2);
    struct replica_set set;
    uint32_t partition = 0;
    for (bool replica = true; replica; partition += replica) {
        view_replica_set(b.f.view, &b.f.map.keyspaces[0], partition, &set);
        replica = false;
        for (uint32_t i = 0; i < set.count; i++)
            replica |= set.replicas[i].member == SELF;
    }
    assert_false(anti_entropy_proof(b.ae, partition, 2, &(struct anti_entropy_proof){0}));
    fake_put(&b, 2, key_in(&b, partition, 1), 2, "v");
    fake_put(&b, 3, key_in(&b, partition, 2), 3, "v");
    mark_dirty(&b, partition, 4);
    assert_true(bench_run(&b, clean, SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 2); /* 2 and 4, 3 and 4 */
    assert_int_equal(b.fakes[4].count, 2);
    assert_int_equal(b.fakes[SELF].count, 0);
    bench_deinit(&b);
}

/* -- repairs ------------------------------------------------------------------------------------
 */

static bool tasks_over(const struct bench *b)
{
    return figure(&b->figures->tasks) == 0 && figure(&b->figures->exchanges_running) == 0;
}

static bool some_ranges(const struct bench *b)
{
    return figure(&b->figures->exchanges) == 10;
}

static void a_repair_goes_through_all_ranges(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        fake_put(&b, i % 2 == 0 ? SELF : 3, key_in(&b, i, i), 1, "v");
    struct client_maintenance_done done = maintain(&b, MAINTENANCE_REPAIR_START, 0, 0);
    assert_int_equal(done.status, OK);
    assert_false(done.ended);
    assert_int_equal(done.started_ms, b.f.ctx.wall_ms);
    uint64_t task = done.task;
    assert_true(task != 0);
    /* The same again is the one that runs. */
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task, task);
    assert_true(bench_run(&b, some_ranges, SECONDS));
    done = maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task);
    assert_false(done.ended);
    assert_in_range(done.ranges_done, 8, 10);
    assert_int_equal(done.ranges_total, 2 * PARTITIONS);
    assert_true(bench_run(&b, tasks_over, SECONDS));
    done = maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task);
    assert_true(done.ended);
    assert_null(done.why);
    assert_int_equal(done.ranges_done, 2 * PARTITIONS);
    assert_int_equal(done.ranges_failed, 0);
    /* What 1 holds goes to 2 and 3; what 3 holds comes to 1 or, had it its turn before, does not go
     * on to 2 from there. */
    assert_in_range(done.keys_repaired, 3 * PARTITIONS / 2, 2 * PARTITIONS);
    assert_true(done.bytes_moved > 1000);
    assert_int_not_equal(maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task, task);
    bench_deinit(&b);
}

/* One keyspace alone is repaired, and says nothing of the others. */
static void a_repair_of_one_keyspace(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fake_put(&b, SELF, key_in(&b, P, 1), 1, "v");
    uint32_t id = b.f.keyspace_ids[KEYSPACE_TEST_LWW];
    struct version_set empty = {0};
    struct version_set set = test_write(&b.f, &empty, NULL, 1, 7, "v");
    fake_store(&b, &b.fakes[SELF], id, bytes_of_string("other"), &set);
    uint64_t task = maintain(&b, MAINTENANCE_REPAIR_START, id, 0).task;
    assert_true(bench_run(&b, tasks_over, SECONDS));
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task).keys_repaired, 2);
    assert_int_equal(b.fakes[2].count, 1);
    assert_int_equal(b.fakes[3].count, 1);
    assert_int_equal(proof(&b, P, PEER).identical_as_of_ms, 0);
    assert_int_equal(proof(&b, P, PEER).state, ANTI_ENTROPY_WAITING);
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_START, 12345, 0).status, ERR_NOT_FOUND);
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, 12345).status, ERR_NOT_FOUND);
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_CANCEL, 0, 0).status, ERR_NOT_FOUND);
    assert_int_equal(maintain(&b, MAINTENANCE_HINTS_PAUSE, 0, 0).status, ERR_UNSUPPORTED);
    bench_deinit(&b);
}

/* A member that is away fails its ranges after some attempts; the task ends and says so. */
static void ranges_that_fail_are_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_set_liveness(&b.f, 3, LIVENESS_DOWN);
    b.fakes[3].silent = true;
    uint64_t task = maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task;
    assert_true(bench_run(&b, tasks_over, 3600 * SECONDS));
    struct client_maintenance_done done = maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task);
    assert_int_equal(done.ranges_done, PARTITIONS);
    assert_int_equal(done.ranges_failed, PARTITIONS);
    bench_deinit(&b);
}

/* One failure is no failed range. */
static void ranges_have_attempts(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    bench_carry(&b);
    b.refuse = b.requests + 1;
    uint64_t task = maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task;
    assert_true(bench_run(&b, tasks_over, 60 * SECONDS));
    struct client_maintenance_done done = maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task);
    assert_int_equal(figure(&b.figures->exchanges_failed), 1);
    assert_int_equal(done.ranges_done, 2 * PARTITIONS);
    assert_int_equal(done.ranges_failed, 0);
    bench_deinit(&b);
}

static void cancelled_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t task = maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task;
    assert_true(bench_run(&b, some_ranges, SECONDS));
    struct client_maintenance_done done = maintain(&b, MAINTENANCE_REPAIR_CANCEL, 0, task);
    assert_true(done.ended);
    assert_string_equal(done.why, "cancelled");
    assert_int_equal(figure(&b.figures->exchanges_running), 0);
    assert_false(bench_run(&b, never, 10 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 10);
    fixture_sync(&b.f);
    bench_restart(&b, false);
    assert_false(bench_run(&b, never, 10 * SECONDS));
    assert_int_equal(figure(&b.figures->exchanges), 0);
    assert_true(maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task).ended);
    bench_deinit(&b);
}

/* After a crash it goes on where it was, under its id. */
static void gone_on_with_after_a_crash(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t task = maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task;
    uint64_t started_ms = b.f.ctx.wall_ms;
    assert_true(bench_run(&b, some_ranges, SECONDS));
    struct message *message;
    while ((message = outbox_take(&b.f.outbox)) != NULL)
        message_free(message);
    fixture_sync(&b.f);
    bench_restart(&b, false);
    assert_int_equal(figure(&b.figures->tasks), 1);
    assert_true(bench_run(&b, tasks_over, 10 * SECONDS));
    assert_in_range(figure(&b.figures->exchanges), 2 * PARTITIONS - 10, 2 * PARTITIONS - 6);
    struct client_maintenance_done done = maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, task);
    assert_true(done.ended);
    assert_int_equal(done.started_ms, started_ms);
    assert_int_equal(done.ranges_done, 2 * PARTITIONS);
    assert_int_equal(done.ranges_total, 2 * PARTITIONS);
    bench_deinit(&b);
}

/* Tasks that have ended make room; too many that run do not. */
static void tasks_are_bounded(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t first = 0;
    for (uint32_t i = 0; i < 12; i++) {
        uint64_t task = maintain(&b, MAINTENANCE_REPAIR_START, 0, 0).task;
        first = first == 0 ? task : first;
        assert_true(bench_run(&b, tasks_over, 10 * SECONDS));
    }
    assert_int_equal(maintain(&b, MAINTENANCE_REPAIR_STATUS, 0, first).status, ERR_NOT_FOUND);
    fixture_sync(&b.f);
    bench_restart(&b, false);
    assert_int_equal(figure(&b.figures->corrupt), 0);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_has_its_turn),
        cmocka_unit_test(the_lower_number_drives),
        cmocka_unit_test(who_is_down_is_skipped),
        cmocka_unit_test(compared_soon_after_a_return),
        cmocka_unit_test(bounded_and_ended),
        cmocka_unit_test(marks_survive_crashes),
        cmocka_unit_test(only_a_later_exchange_clears),
        cmocka_unit_test(one_keyspace_clears_nothing),
        cmocka_unit_test(marks_of_others_need_all),
        cmocka_unit_test(two_others_are_compared),
        cmocka_unit_test(a_repair_goes_through_all_ranges),
        cmocka_unit_test(a_repair_of_one_keyspace),
        cmocka_unit_test(ranges_that_fail_are_counted),
        cmocka_unit_test(ranges_have_attempts),
        cmocka_unit_test(cancelled_at_once),
        cmocka_unit_test(gone_on_with_after_a_crash),
        cmocka_unit_test(tasks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
