// link: coterie_model
/* topology_waits: whatever keeps topology_step from going on is named, each partition for each
 * member that it waits for, and nothing else is. */
#include "tests/unit/topology_bench.h"

static struct waits waits_of(struct bench *bench)
{
    struct waits waits = {0};
    topology_waits(&bench->arena, &bench->topology, &bench->keyspaces, &bench->progress, &waits);
    return waits;
}

static const struct wait *find(const struct waits *waits, enum wait_cause cause, uint32_t member)
{
    for (uint32_t i = 0; i < waits->count; i++) {
        if (waits->list[i].cause == cause && waits->list[i].member == member)
            return &waits->list[i];
    }
    return NULL;
}

/* A fourth member joins three; committed, and nothing is known of anybody yet. */
static void commit_join(struct bench *bench)
{
    bench_init(bench, 3, 16);
    bench->progress.announced_max = 4;
    bench_join(bench, "n4", 4);
    bench_operate(bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
}

static void test_nothing_runs(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, 16);
    assert_int_equal(waits_of(&bench).count, 0);
    bench_join(&bench, "n4", 4);
    assert_int_equal(waits_of(&bench).count, 0); /* staged: it waits for a commit alone */
    bench_deinit(&bench);
}

/* One that cannot be reached holds up each partition that it takes part in, as one entry. */
static void test_one_is_away(void **state)
{
    (void)state;
    struct bench bench;
    commit_join(&bench);
    bench.dead = 2;
    bench_run(&bench);
    struct waits waits = waits_of(&bench);
    const struct wait *wait = find(&waits, WAIT_EPOCH, 2);
    assert_non_null(wait);
    uint32_t with = 0;
    uint32_t first = UINT32_MAX;
    uint64_t bit = (uint64_t)1 << topology_member(&bench.topology, 2)->slot;
    for (uint32_t p = 0; p < bench.topology.partitions; p++) {
        struct side_sets sets = bench_sets(&bench, p);
        if (bench.topology.phases[p] == PHASE_DONE || ((sets.sets[0] | sets.sets[1]) & bit) == 0)
            continue;
        with++;
        first = p < first ? p : first;
    }
    assert_int_equal(wait->count, with);
    assert_int_equal(wait->partition, first);
    assert_null(find(&waits, WAIT_EPOCH, 1));
    assert_null(find(&waits, WAIT_EPOCH, 4));
    bench_deinit(&bench);
}

/* All know everything, and the copies are on their way: so many at a time, the others wait. */
static void test_copies_and_turns(void **state)
{
    (void)state;
    struct bench bench;
    commit_join(&bench);
    bench_all_know(&bench);
    assert_true(bench_step(&bench));
    bench_all_know(&bench);
    bench_steps(&bench);
    bench_all_know(&bench);
    struct waits waits = waits_of(&bench);
    const struct wait *fill = find(&waits, WAIT_FILL, 4);
    const struct wait *turn = find(&waits, WAIT_TURN, MEMBER_NONE);
    assert_non_null(fill);
    assert_non_null(turn);
    assert_int_equal(fill->count, 4);
    assert_int_equal(fill->count + turn->count,
                     moving(&bench, PHASE_ANNOUNCED) + moving(&bench, PHASE_WAITING));
    assert_null(find(&waits, WAIT_RESUME, MEMBER_NONE));
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_PAUSE});
    bench_all_know(&bench);
    waits = waits_of(&bench);
    const struct wait *resume = find(&waits, WAIT_RESUME, MEMBER_NONE);
    assert_non_null(resume);
    assert_int_equal(waits.count, 1);
    assert_int_equal(resume->count,
                     moving(&bench, PHASE_ANNOUNCED) + moving(&bench, PHASE_WAITING));
    bench_deinit(&bench);
}

/* Who leaves stays for the hints that it keeps; who is gone for good is waited for by nobody. */
static void test_hints_of_one_that_leaves(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 16);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 3});
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    uint8_t slot = topology_member(&bench.topology, 3)->slot;
    bench.progress.keeps_hints[slot] = true;
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    struct waits waits = waits_of(&bench);
    assert_int_equal(waits.count, 1);
    assert_non_null(find(&waits, WAIT_HANDS_ON, 3));
    bench_operate(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 3, .gone = true});
    assert_int_equal(waits_of(&bench).count, 0);
    assert_true(bench_step(&bench));
    bench_deinit(&bench);
}

/* A copy goes when those that are read have no bad row left: who has one is named. */
static void test_bad_rows(void **state)
{
    (void)state;
    struct bench bench;
    commit_join(&bench);
    memset(bench.progress.unsound[topology_member(&bench.topology, 4)->slot], 0xff,
           sizeof bench.progress.unsound[0]);
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    struct waits waits = waits_of(&bench);
    const struct wait *wait = find(&waits, WAIT_SOUND, 4);
    assert_non_null(wait);
    assert_int_equal(wait->count, moving(&bench, PHASE_COPIED));
    assert_null(find(&waits, WAIT_FILL, 4));
    bench_deinit(&bench);
}

/* The law: no step, no silence. Whatever is known of whom. */
static void test_who_stands_still_says_why(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 77, 1);
    uint32_t still = 0;
    for (uint32_t round = 0; round < 300; round++) {
        struct bench bench;
        commit_join(&bench);
        for (uint32_t i = 0; i < 40 && bench.topology.change.state == CHANGE_RUNNING; i++) {
            for (uint32_t m = 0; m < bench.topology.member_count; m++) {
                uint8_t slot = bench.topology.members[m].slot;
                bench.progress.epochs[slot] =
                    prng_chance(&prng, 0.2) ? 0 : bench.topology.epoch - prng_below(&prng, 2);
                for (uint32_t p = 0; p < bench.topology.partitions; p++)
                    if (prng_chance(&prng, 0.3))
                        bench_fill(&bench, bench.topology.members[m].number, p);
            }
            struct waits waits = waits_of(&bench);
            if (bench_step(&bench))
                continue;
            still++;
            assert_true(waits.count > 0);
            assert_true(find(&waits, WAIT_TURN, MEMBER_NONE) == NULL || waits.count > 1);
        }
        bench_deinit(&bench);
    }
    assert_true(still > 100);
}

/* Entries of one cause, keyspace and member are one; what has no room is counted. */
static void test_entries_join(void **state)
{
    (void)state;
    struct waits waits = {0};
    waits_add(&waits, &(struct wait){.cause = WAIT_COPY, .member = 2, .partition = 9, .count = 1});
    waits_add(&waits,
              &(struct wait){
                  .cause = WAIT_COPY, .member = 2, .partition = 4, .count = 1, .since_ms = 50});
    waits_add(&waits,
              &(struct wait){
                  .cause = WAIT_COPY, .member = 2, .partition = 7, .count = 2, .since_ms = 40});
    assert_int_equal(waits.count, 1);
    assert_int_equal(waits.list[0].count, 4);
    assert_int_equal(waits.list[0].partition, 4);
    assert_int_equal(waits.list[0].since_ms, 40);
    for (uint32_t i = 0; i < WAITS_MAX + 5; i++)
        waits_add(&waits, &(struct wait){.cause = WAIT_SOURCE, .member = 1 + i, .count = 1});
    assert_int_equal(waits.count, WAITS_MAX);
    assert_int_equal(waits.left_out, 6);
    struct arena arena;
    struct waits read;
    arena_init(&arena, NULL, 0);
    waits.list[3].why = "corrupt data";
    struct bytes bytes = waits_encode(&arena, &waits);
    assert_int_equal(waits_decode(&arena, bytes, &read), OK);
    assert_int_equal(read.count, WAITS_MAX);
    assert_int_equal(read.left_out, 6);
    assert_int_equal(read.list[0].since_ms, 40);
    assert_string_equal(read.list[3].why, "corrupt data");
    assert_int_equal(waits_decode(&arena, bytes_of(bytes.data, bytes.size - 1), &read),
                     ERR_CORRUPT);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_runs),     cmocka_unit_test(test_one_is_away),
        cmocka_unit_test(test_copies_and_turns), cmocka_unit_test(test_hints_of_one_that_leaves),
        cmocka_unit_test(test_bad_rows),         cmocka_unit_test(test_who_stands_still_says_why),
        cmocka_unit_test(test_entries_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
