// link: coterie_actors coterie_store
/* Whom reads ask first: this node, its zone, its data centre, others; among those as near as each
 * other the fastest. LOCAL_* levels never leave the data centre. DESIGN.md 7, 9. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define KEY      "k"

/* n01 to n04 in one data centre, zones as given, n05 to n07 in another; all of a data centre hold
 * all keys. */
static void begin(struct bench *b, const char *const zones[4])
{
    struct topology_seed seeds[7] = {0};
    const char *why = NULL;
    bench_init(b, 7, 1);
    for (uint32_t i = 0; i < ARRAY_COUNT(seeds); i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%02u", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "127.0.0.1:%u", 7701 + i);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, i < 4 ? "here" : "there");
        snprintf(seeds[i].zone, sizeof seeds[i].zone, "%s", i < 4 ? zones[i] : zones[0]);
    }
    assert_int_equal(
        topology_initial(&b->f.arena, seeds, ARRAY_COUNT(seeds), 16, &b->f.topology, &why), OK);
    struct keyspace wide = keyspace_default("siblings");
    wide.n = 4;
    fixture_add_keyspace(&b->f, SIBLINGS, wide);
    bench_show(b, view_new(&b->f.topology, &b->f.map, SELF));
}

static struct asked get(struct bench *b, enum consistency level, uint32_t count)
{
    bench_get(b, SIBLINGS, KEY, level, count);
    return bench_asked(b, MESSAGE_replica_read);
}

static void answer_all(struct bench *b, const struct asked *asked)
{
    for (uint32_t i = 0; i < asked->count; i++)
        bench_read_reply(b, asked->id, asked->members[i], OK, (struct bytes){0});
    bench_got(b, OK);
}

/* One read in which each member that is asked answers after its time. */
static void teach(struct bench *b, const uint64_t delays_ns[8], uint32_t reads)
{
    for (uint32_t i = 0; i < reads; i++) {
        struct asked asked = get(b, CONSISTENCY_ALL, 0);
        for (uint64_t passed_ns = 0; passed_ns <= 8 * MS; passed_ns += MS) {
            for (uint32_t k = 0; k < asked.count; k++) {
                if (delays_ns[asked.members[k]] == passed_ns)
                    bench_read_reply(b, asked.id, asked.members[k], OK, (struct bytes){0});
            }
            if (passed_ns < 8 * MS)
                fixture_pass(&b->f, MS);
        }
        while (b->f.outbox.first != NULL)
            message_free(outbox_take(&b->f.outbox));
    }
}

/* However fast the far ones are: this node, the zone, the data centre, the other one. */
static void the_nearest_first(void **state)
{
    (void)state;
    static const char *const zones[4] = {"a", "b", "a", "c"};
    struct bench b;
    begin(&b, zones);
    teach(&b, (const uint64_t[8]){0, 0, 3 * MS, 6 * MS, 4 * MS, MS, MS, MS}, 30);
    struct asked asked = get(&b, CONSISTENCY_COUNT, 5);
    assert_int_equal(asked.count, 5);
    static const uint32_t expected[] = {1, 3, 2, 4}; /* 2 is faster than 4 */
    for (uint32_t i = 0; i < ARRAY_COUNT(expected); i++)
        assert_int_equal(asked.members[i], expected[i]);
    assert_in_range(asked.members[4], 5, 7);
    answer_all(&b, &asked);
    bench_deinit(&b);
}

/* Among those as near the measured latency decides. */
static void the_fastest_of_a_class(void **state)
{
    (void)state;
    static const char *const zones[4] = {"a", "b", "b", "b"};
    static const uint64_t delays[][8] = {
        {0, 0, MS, 4 * MS, 6 * MS, MS, MS, MS},
        {0, 0, 6 * MS, 4 * MS, MS, MS, MS, MS},
        {0, 0, 4 * MS, MS, 6 * MS, MS, MS, MS},
    };
    static const uint32_t expected[][3] = {{2, 3, 4}, {4, 3, 2}, {3, 2, 4}};
    for (size_t i = 0; i < ARRAY_COUNT(delays); i++) {
        struct bench b;
        begin(&b, zones);
        teach(&b, delays[i], 30);
        struct asked asked = get(&b, CONSISTENCY_COUNT, 4);
        assert_int_equal(asked.members[0], SELF);
        for (uint32_t k = 0; k < 3; k++)
            assert_int_equal(asked.members[k + 1], expected[i][k]);
        answer_all(&b, &asked);
        bench_deinit(&b);
    }
}

/* A neighbour that has not answered for a while is the last of its data centre, and still before
 * all others. */
static void a_silent_neighbour_is_last(void **state)
{
    (void)state;
    static const char *const zones[4] = {"a", "a", "b", "b"};
    struct bench b;
    begin(&b, zones);
    struct asked asked = get(&b, CONSISTENCY_LOCAL_QUORUM, 0);
    assert_true(asked_member(&asked, 2) && asked_member(&asked, 3));
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    bench_read_reply(&b, asked.id, 3, OK, (struct bytes){0});
    fixture_pass(&b.f, READ_LATE_NS);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_read).count, 2);
    bench_read_reply(&b, asked.id, 4, OK, (struct bytes){0});
    bench_got(&b, OK);
    asked = get(&b, CONSISTENCY_COUNT, 5);
    assert_int_equal(asked.members[3], 2);
    assert_in_range(asked.members[4], 5, 7);
    bench_deinit(&b);
}

/* LOCAL_* levels: neither the first questions, nor hedges, nor those that are late, nor those after
 * a failure go to another data centre, even when no other is left. */
static void local_levels_stay_here(void **state)
{
    (void)state;
    static const char *const zones[4] = {"a", "b", "c", "a"};
    static const enum consistency levels[] = {CONSISTENCY_LOCAL_ONE, CONSISTENCY_LOCAL_QUORUM};
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        struct bench b;
        begin(&b, zones);
        teach(&b, (const uint64_t[8]){0, 0, 2 * MS, 2 * MS, 2 * MS, MS, MS, MS}, 40);
        struct asked asked = get(&b, levels[i], 0);
        for (uint64_t passed_ns = 0; passed_ns < DEADLINE_KEPT_NS; passed_ns += MS) {
            for (uint32_t k = 0; k < asked.count; k++)
                assert_in_range(asked.members[k], 1, 4);
            if (passed_ns == 300 * MS)
                bench_read_reply(&b, asked.id, 3, ERR_IO, (struct bytes){0});
            fixture_pass(&b.f, MS);
            if (b.f.outbox.first != NULL && b.f.outbox.first->kind == MESSAGE_client_get_done)
                break;
            asked = bench_asked(&b, MESSAGE_replica_read);
        }
        bench_got(&b, ERR_TIMEOUT);
        bench_deinit(&b);
    }
}

/* A hedge goes to the nearest that is left. */
static void hedges_go_to_the_nearest(void **state)
{
    (void)state;
    static const char *const zones[4] = {"a", "b", "c", "a"};
    struct bench b;
    begin(&b, zones);
    teach(&b, (const uint64_t[8]){0, 0, 2 * MS, 3 * MS, 4 * MS, MS, MS, MS}, 40);
    struct asked asked = get(&b, CONSISTENCY_COUNT, 2);
    assert_int_equal(asked.members[0], SELF);
    assert_int_equal(asked.members[1], 4);
    bench_read_reply(&b, asked.id, SELF, OK, (struct bytes){0});
    uint64_t sent = counter_get(&b.figures->hedges_sent);
    for (uint32_t i = 0; i < 90 && counter_get(&b.figures->hedges_sent) == sent; i++)
        fixture_pass(&b.f, MS);
    asked = bench_asked(&b, MESSAGE_replica_read);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], 2);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_first),          cmocka_unit_test(the_fastest_of_a_class),
        cmocka_unit_test(a_silent_neighbour_is_last), cmocka_unit_test(local_levels_stay_here),
        cmocka_unit_test(hedges_go_to_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
