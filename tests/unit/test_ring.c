// link: coterie_model
/* The preference list: distinct nodes, distinct zones first, then fallbacks in walk order, one list
 * a data centre (DESIGN.md section 4; Dynamo 4.3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/ring.h"

#include <stdio.h>

#define PARTITIONS 16u

/* A ring spelled out: member n is letter 'A' + n - 1, its zone given by a second string. */
struct fixture {
    struct topology topology;
    struct member members[MEMBERS_MAX];
    char data_centers[DATA_CENTERS_MAX][ZONE_NAME_MAX + 1];
    uint32_t owners[DATA_CENTERS_MAX * PARTITIONS];
    uint8_t phases[PARTITIONS];
    uint64_t phase_epochs[PARTITIONS];
};

static void fixture_init(struct fixture *fixture, const char *zones, const char *ring)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->topology = (struct topology){
        .epoch = 1,
        .partitions = PARTITIONS,
        .member_count = (uint32_t)strlen(zones),
        .members = fixture->members,
        .data_center_count = 1,
        .data_centers = fixture->data_centers,
        .owners = {fixture->owners, fixture->owners},
        .number_next = (uint32_t)strlen(zones) + 1,
        .phases = fixture->phases,
        .phase_epochs = fixture->phase_epochs,
        .voter_count = 1,
        .voters = {1},
    };
    snprintf(fixture->data_centers[0], sizeof fixture->data_centers[0], "dc");
    for (uint32_t i = 0; i < fixture->topology.member_count; i++) {
        struct member *member = &fixture->members[i];
        member->number = i + 1;
        member->status = MEMBER_NORMAL;
        member->slot = (uint8_t)i;
        member->places[TOPOLOGY_NOW].weight = 1;
        snprintf(member->name, sizeof member->name, "%c", (int)('A' + i));
        snprintf(member->address, sizeof member->address, "host-%u:1", i);
        member->places[TOPOLOGY_NOW].zone[0] = zones[i];
        member->places[TOPOLOGY_NEXT] = member->places[TOPOLOGY_NOW];
    }
    for (uint32_t p = 0; p < PARTITIONS; p++)
        fixture->owners[p] = (uint32_t)(ring[p] - 'A' + 1);
    assert_true(topology_valid(&fixture->topology));
}

static const char *list_text(const struct preference_list *list)
{
    static char text[MEMBERS_MAX + 2];
    uint32_t size = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        if (i == list->replicas)
            text[size++] = '|';
        text[size++] = (char)('A' + list->members[i] - 1);
    }
    text[size] = '\0';
    return text;
}

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *zones;
        const char *ring;
        uint32_t partition;
        uint32_t n;
        const char *expect; /* replicas | fallbacks */
    } cases[] = {
        {"xxxx", "ABCDABCDABCDABCD", 0, 3, "ABC|D"},
        {"xxxx", "ABCDABCDABCDABCD", 2, 3, "CDA|B"},
        {"xxxx", "ABCDABCDABCDABCD", 15, 1, "D|ABC"}, /* wraps */
        {"xxxx", "ABCDABCDABCDABCD", 1, 4, "BCDA"},
        {"xxxx", "ABCDABCDABCDABCD", 1, 7, "BCDA"}, /* fewer nodes than N */
        {"xxx", "AAAABBBBCCCCAAAA", 14, 2, "AB|C"}, /* a node repeats */
        {"xyxy", "ABCDABCDABCDABCD", 0, 2, "AB|CD"},
        {"xxyy", "ABCDABCDABCDABCD", 0, 2, "AC|BD"}, /* B shares A's zone: fallback, in order */
        {"xxyy", "ABCDABCDABCDABCD", 0, 3, "ACB|D"}, /* zones run out: walk order again */
        {"xxxyz", "ABCDEABCDEABCDEA", 0, 3, "ADE|BC"},
        {"xxxyz", "ABCDEABCDEABCDEA", 0, 4, "ADEB|C"},
        {"xxxxy", "ABCDABCDABCDABCE", 0, 2, "AE|BCD"}, /* the other zone is far */
        {"xy", "AAAAAAAAAAAAAAAA", 3, 3, "A"},         /* B owns nothing */
        {"x", "AAAAAAAAAAAAAAAA", 0, 3, "A"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fixture fixture;
        fixture_init(&fixture, cases[i].zones, cases[i].ring);
        struct preference_list list;
        ring_preference_list(&fixture.topology, TOPOLOGY_NOW, 0, cases[i].partition, cases[i].n,
                             &list);
        assert_string_equal(list_text(&list), cases[i].expect);
    }
}

static struct topology draw_topology(struct arena *arena, struct prng *prng)
{
    struct topology_seed seeds[MEMBERS_MAX];
    memset(seeds, 0, sizeof seeds);
    uint32_t count = (uint32_t)prng_between(prng, 1, 20);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%02u", i);
        snprintf(seeds[i].address, sizeof seeds[i].address, "n%02u:1", i);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "dc%u",
                 (unsigned)prng_below(prng, 3));
        snprintf(seeds[i].zone, sizeof seeds[i].zone, "z%u", (unsigned)prng_below(prng, 4));
        seeds[i].weight = (uint16_t)prng_between(prng, 1, 4);
    }
    struct topology topology;
    const char *why = NULL;
    assert_int_equal(topology_initial(arena, seeds, count, 64, &topology, &why), OK);
    return topology;
}

/* Where the walk first meets the member, or the number of partitions. */
static uint32_t first_meeting(const struct topology *topology, uint32_t data_center,
                              uint32_t partition, uint32_t number)
{
    uint32_t step = 0;
    while (step < topology->partitions &&
           topology_owner(topology, TOPOLOGY_NEXT, data_center,
                          (partition + step) % topology->partitions) != number)
        step++;
    return step;
}

/* The definition read word by word: of the members not taken, the nearest on the walk whose zone is
 * not taken; when there is none, the nearest. After N, the nearest. */
static struct preference_list brute_force(const struct topology *topology, uint32_t data_center,
                                          uint32_t partition, uint32_t n)
{
    struct preference_list list = {0};
    for (;;) {
        const struct member *best = NULL;
        uint32_t best_score = UINT32_MAX;
        for (uint32_t i = 0; i < topology->member_count; i++) {
            const struct member *member = &topology->members[i];
            uint32_t score = first_meeting(topology, data_center, partition, member->number);
            if (score == topology->partitions)
                continue;
            bool skip_it = false;
            for (uint32_t k = 0; k < list.count; k++) {
                const struct member *other = topology_member(topology, list.members[k]);
                skip_it = skip_it || other == member;
                if (list.count < n && strcmp(other->places[1].zone, member->places[1].zone) == 0 &&
                    score < 1000)
                    score += 1000;
            }
            if (skip_it || score >= best_score)
                continue;
            best = member;
            best_score = score;
        }
        if (best == NULL)
            break;
        list.members[list.count++] = best->number;
        list.replicas = list.count < n ? list.count : n;
    }
    return list;
}

static void test_agrees_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct prng prng;
        prng_init(&prng, seed, 7);
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct topology topology = draw_topology(&arena, &prng);
        for (uint32_t dc = 0; dc < topology.data_center_count; dc++) {
            for (uint32_t p = 0; p < topology.partitions; p++) {
                uint32_t n = (uint32_t)prng_between(&prng, 1, REPLICAS_MAX);
                struct preference_list list;
                ring_preference_list(&topology, TOPOLOGY_NEXT, dc, p, n, &list);
                struct preference_list expect = brute_force(&topology, dc, p, n);
                assert_int_equal(list.count, expect.count);
                assert_int_equal(list.replicas, expect.replicas);
                for (uint32_t i = 0; i < list.count; i++) {
                    assert_int_equal(list.members[i], expect.members[i]);
                    assert_int_equal(
                        topology_member(&topology, list.members[i])->places[1].data_center, dc);
                }
            }
        }
        arena_deinit(&arena);
    }
}

/* A data centre that everyone has left has no replicas, and says so. */
static void test_empty_data_center(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, "xx", "ABABABABABABABAB");
    fixture.topology.data_center_count = 2;
    snprintf(fixture.data_centers[1], sizeof fixture.data_centers[1], "empty");
    assert_true(topology_valid(&fixture.topology));
    struct preference_list list;
    ring_preference_list(&fixture.topology, TOPOLOGY_NOW, 1, 5, 3, &list);
    assert_int_equal(list.count, 0);
    assert_int_equal(list.replicas, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_agrees_with_brute_force),
        cmocka_unit_test(test_empty_data_center),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
