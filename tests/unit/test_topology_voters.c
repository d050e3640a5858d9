// link: coterie_model
/* Who votes on the next epoch (model/topology.h): voters are apart, as many as stand the most
 * losses, those of before rather than others, and nobody who is on the way in, out, or dead. */
#include "tests/unit/topology_bench.h"

#define SEED 31u

/* One place a character pair: data centre and zone, as in "a1 a2 b1". */
static void bench_places(struct bench *bench, const char *places)
{
    *bench = (struct bench){.keyspace = keyspace_builtin(), .progress.announced_max = 64};
    arena_init(&bench->arena, NULL, 0);
    bench->keyspaces = (struct keyspace_map){.count = 1, .keyspaces = &bench->keyspace};
    struct topology_seed seeds[MEMBERS_MAX] = {0};
    size_t count = (strlen(places) + 1) / 3;
    for (size_t i = 0; i < count; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%02zu", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "n%02zu:1", i + 1);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "%c", places[3 * i]);
        snprintf(seeds[i].zone, sizeof seeds[i].zone, "%c", places[3 * i + 1]);
    }
    const char *why = NULL;
    assert_int_equal(topology_initial(&bench->arena, seeds, count, 16, &bench->topology, &why), OK);
}

static bool votes(const struct topology *topology, uint32_t number)
{
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        if (topology->voters[i] == number)
            return true;
    }
    return false;
}

static void check_voters(const char *places, const char *expect)
{
    struct bench bench;
    bench_places(&bench, places);
    char text[64] = "";
    for (uint32_t i = 0; i < bench.topology.voter_count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u", i == 0 ? "" : " ",
                 bench.topology.voters[i]);
    assert_string_equal(text, expect);
    bench_deinit(&bench);
}

static void test_apart(void **state)
{
    (void)state;
    check_voters("a1", "1");
    check_voters("a1 a1", "1 2");
    check_voters("a1 a1 a1 a1", "1 2 3");
    check_voters("a1 a1 a1 a1 a1 a1", "1 2 3 4 5");
    check_voters("a1 a1 a1 a2 a2 a2 a3 a3 a3", "1 2 4 5 7");
    check_voters("a1 a1 a1 b1 b1 b1 c1 c1 c1", "1 2 4 5 7");
    check_voters("a1 a1 a2 b1 b1 b2 c1 c1 c1", "1 3 4 6 7");
    /* Five would have a majority in one place. */
    check_voters("a1 b1 c1 c1 c1 c1", "1 2 3");
    check_voters("a1 a2 a3 a3 a3 a3", "1 2 3");
    check_voters("a1 a1 b1 b1 b1", "1 2 3 4 5");
}

static void test_those_of_before(void **state)
{
    (void)state;
    struct bench bench;
    bench_places(&bench, "a1 a1 a1 a1 a1 a1 a1");
    uint32_t before[VOTERS_MAX];
    memcpy(before, bench.topology.voters, sizeof before);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 2});
    /* 2 on its way out does not vote; the others that did still do. */
    assert_false(votes(&bench.topology, 2));
    assert_int_equal(bench.topology.voter_count, 5);
    for (uint32_t i = 0; i < VOTERS_MAX; i++)
        assert_true(before[i] == 2 || votes(&bench.topology, before[i]));
    memcpy(before, bench.topology.voters, sizeof before);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    assert_memory_equal(bench.topology.voters, before, sizeof before);
    bench_deinit(&bench);
}

/* All are replaced at a time: those who leave vote until it is over. */
static void test_all_replaced(void **state)
{
    (void)state;
    struct bench bench;
    bench_places(&bench, "a1 a1 a1");
    for (uint32_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "m%u", i);
        struct topology_operation join = join_of(name, (uint8_t)(i + 1));
        snprintf(join.data_center, sizeof join.data_center, "a");
        bench_operate(&bench, &join);
        bench_operate(&bench,
                      &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = i + 1});
    }
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    assert_int_equal(bench.topology.voter_count, 3);
    assert_true(votes(&bench.topology, 1) && votes(&bench.topology, 3));
    /* Aborted, those who came leave: those who were there vote on. */
    struct topology running = bench.topology;
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    assert_true(votes(&bench.topology, 1) && votes(&bench.topology, 3));
    bench.topology = running;
    bench_run(&bench);
    assert_int_equal(bench.topology.voter_count, 3);
    assert_true(votes(&bench.topology, 4) && votes(&bench.topology, 6));
    bench_deinit(&bench);
}

static uint32_t places_of(const struct topology *topology, bool by_zone, bool voters_only,
                          uint32_t *ret_most)
{
    const struct member *firsts[MEMBERS_MAX];
    uint32_t counts[MEMBERS_MAX] = {0};
    uint32_t places = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status != MEMBER_NORMAL || member->gone ||
            (voters_only && !votes(topology, member->number)))
            continue;
        uint32_t place = 0;
        const struct member_place *mine = &member->places[TOPOLOGY_NEXT];
        for (; place < places; place++) {
            const struct member_place *its = &firsts[place]->places[TOPOLOGY_NEXT];
            if (its->data_center == mine->data_center &&
                (!by_zone || strcmp(its->zone, mine->zone) == 0))
                break;
        }
        if (place == places)
            firsts[places++] = member;
        counts[place]++;
    }
    *ret_most = 0;
    for (uint32_t i = 0; i < places; i++)
        *ret_most = counts[i] > *ret_most ? counts[i] : *ret_most;
    return places;
}

/* Wherever members are: no place of three or more holds a majority of the votes. */
static void test_stands_the_loss_of_a_place(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    uint32_t judged = 0;
    for (uint32_t round = 0; round < 2000; round++) {
        char places[3 * 20 + 1] = "";
        uint64_t count = 3 + prng_below(&prng, 17);
        uint64_t data_centers = 1 + prng_below(&prng, 5);
        uint64_t zones = 1 + prng_below(&prng, 4);
        for (uint64_t i = 0; i < count; i++) {
            places[3 * i] = (char)('a' + prng_below(&prng, data_centers));
            places[3 * i + 1] = (char)('1' + prng_below(&prng, zones));
            places[3 * i + 2] = ' ';
        }
        places[3 * count - 1] = '\0';
        struct bench bench;
        bench_places(&bench, places);
        for (uint32_t change = 0; change < 4; change++) {
            const struct topology *topology = &bench.topology;
            uint32_t most = 0;
            uint32_t all = places_of(topology, false, false, &most);
            assert_true(topology->voter_count == 2 || topology->voter_count % 2 == 1);
            uint32_t held = places_of(topology, false, true, &most);
            bool judges = topology->voter_count >= 3 && held > 0;
            if (judges && all >= 3)
                assert_true(2 * most <= topology->voter_count);
            uint32_t all_zones = places_of(topology, true, false, &most);
            places_of(topology, true, true, &most);
            if (judges && all == 1 && all_zones >= 3)
                assert_true(2 * most <= topology->voter_count);
            judged += judges && (all >= 3 || all_zones >= 3);
            uint32_t number = (uint32_t)(1 + prng_below(&prng, count));
            const struct member *member = topology_member(topology, number);
            uint32_t normal = 0;
            for (uint32_t i = 0; i < topology->member_count; i++)
                normal += topology->members[i].status == MEMBER_NORMAL;
            if (member->status != MEMBER_NORMAL || normal <= 3)
                continue;
            bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE,
                                                               .member = number,
                                                               .gone = change % 2 == 0});
            assert_false(votes(&bench.topology, number));
        }
        bench_deinit(&bench);
    }
    assert_true(judged > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apart),
        cmocka_unit_test(test_those_of_before),
        cmocka_unit_test(test_all_replaced),
        cmocka_unit_test(test_stands_the_loss_of_a_place),
    };
    return cmocka_run_group_tests_name("topology_voters", tests, NULL, NULL);
}
