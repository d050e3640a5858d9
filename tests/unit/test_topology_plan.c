// link: coterie_model
/* What a change moves, counted in copies of partitions: at most 1.1 times what the new shares need,
 * and shares within 1.05 of even by weight (DESIGN.md section 4). */
#include "tests/effort.h"
#include "tests/unit/claim_oracle.h"
#include "tests/unit/topology_bench.h"

#define N 3u

#define MEMBERS_MOST (effort_is_full() ? MEMBERS_MAX : 16u)

struct figures {
    uint32_t runs;
    uint32_t moved;
    double least;       /* copies that fair shares need */
    double moved_worst; /* of one change, to its least */
    double held_worst;  /* by one member, to its fair share */
    const char *worst_what;
    uint32_t beyond; /* changes that move more than 1.1 times the least and the slack */
    uint32_t uneven; /* members over 1.05 times their share and the slack */
};

/* By index of the topology's members: 0 for those that are not there. */
static void fair_shares(const struct topology *topology, enum topology_side side, uint32_t dc,
                        double fair[MEMBERS_MAX])
{
    struct oracle_scene scene = {.partitions = topology->partitions, .replicas = N};
    uint32_t places[MEMBERS_MAX];
    double shares[MEMBERS_MAX];
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        const struct member_place *place = &member->places[side];
        fair[i] = 0;
        if (!member_is_on(member, side) || place->data_center != dc)
            continue;
        uint16_t zone = 0; /* as whoever has it first */
        while (strcmp(topology->members[zone].places[side].zone, place->zone) != 0)
            zone++;
        places[scene.count] = i;
        scene.members[scene.count++] =
            (struct claim_member){.number = member->number, .weight = place->weight, .zone = zone};
    }
    oracle_fair(&scene, shares);
    for (uint32_t i = 0; i < scene.count; i++)
        fair[places[i]] = shares[i];
}

static const struct plan_member *planned(const struct plan *plan, uint32_t number)
{
    for (uint32_t i = 0; i < plan->member_count; i++) {
        if (plan->members[i].number == number)
            return &plan->members[i];
    }
    return NULL;
}

/* `slack`: copies beyond 1.1 times the least; a partition is indivisible, and so are its copies. */
static void measure(struct bench *bench, struct figures *figures, const char *what, double slack)
{
    struct plan plan;
    const struct topology *topology = &bench->topology;
    plan_make(&bench->arena, topology, &bench->keyspaces, NULL, &plan);
    double least = 0;
    for (uint32_t dc = 0; dc < topology->data_center_count; dc++) {
        double fair[MEMBERS_MAX];
        fair_shares(topology, TOPOLOGY_NEXT, dc, fair);
        for (uint32_t i = 0; i < topology->member_count; i++) {
            if (fair[i] == 0)
                continue;
            const struct plan_member *member = planned(&plan, topology->members[i].number);
            bool was_there = topology->members[i].places[TOPOLOGY_NOW].data_center == dc;
            double before = was_there ? member->replicas[TOPOLOGY_NOW] : 0;
            double held = member->replicas[TOPOLOGY_NEXT];
            least += fair[i] > before ? fair[i] - before : 0;
            if (held / fair[i] > figures->held_worst)
                figures->held_worst = held / fair[i];
            if (held <= 1.05 * fair[i] || held <= fair[i] + 2 * N)
                continue;
            figures->uneven++;
            print_message("  %s: a member holds %.0f copies, its share is %.1f\n", what, held,
                          fair[i]);
        }
    }
    assert_int_equal(plan.member_violations, 0);
    assert_int_equal(plan.zone_violations, 0);
    figures->runs++;
    figures->moved += plan.moved;
    figures->least += least;
    if (least > 0 && plan.moved / least > figures->moved_worst) {
        figures->moved_worst = plan.moved / least;
        figures->worst_what = what;
    }
    if (plan.moved <= 1.1 * least + slack)
        return;
    figures->beyond++;
    print_message("  %s: %u copies move, fair shares need %.1f\n", what, plan.moved, least);
}

/* `shape` deals members to zones: 0 evenly, else unevenly. */
static uint32_t zone_for(uint32_t member, uint32_t zones, uint32_t shape)
{
    static const uint32_t uneven[] = {0, 1, 0, 2, 0, 1, 3, 0};
    return shape == 0 ? member % zones : uneven[member % 8] % zones;
}

static void bench_zones(struct bench *bench, uint32_t members, uint32_t data_centers,
                        uint32_t zones, uint32_t shape)
{
    *bench = (struct bench){.keyspace = keyspace_builtin(), .progress.announced_max = 1024};
    arena_init(&bench->arena, NULL, 0);
    bench->keyspaces = (struct keyspace_map){.count = 1, .keyspaces = &bench->keyspace};
    struct topology_seed seeds[MEMBERS_MAX] = {0};
    for (uint32_t i = 0; i < members; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%02u", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "n%02u:1", i + 1);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "d%u", i % data_centers);
        snprintf(seeds[i].zone, sizeof seeds[i].zone, "z%u",
                 zone_for(i / data_centers, zones, shape));
    }
    uint32_t partitions = 64;
    while (partitions < 16 * members / data_centers && partitions < PARTITIONS_MAX)
        partitions *= 2;
    const char *why = NULL;
    assert_int_equal(
        topology_initial(&bench->arena, seeds, members, partitions, &bench->topology, &why), OK);
}

/* At once: the copies are not what is looked at here. */
static void bench_commit(struct bench *bench)
{
    bench_operate(bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT, .force = true});
    do {
        bench_all_know(bench);
        memset(bench->progress.filled, 0xff, sizeof bench->progress.filled);
    } while (bench_step(bench));
    assert_int_equal(bench->topology.change.state, CHANGE_NONE);
}

static void bench_arrive(struct bench *bench, uint32_t index, uint32_t data_centers, uint32_t zones)
{
    char name[16];
    snprintf(name, sizeof name, "j%u", index);
    struct topology_operation join = join_of(name, (uint8_t)(index + 1));
    snprintf(join.data_center, sizeof join.data_center, "d%u", index % data_centers);
    snprintf(join.zone, sizeof join.zone, "z%u", index % zones);
    bench_operate(bench, &join);
}

static void play(struct figures *figures, uint32_t members, uint32_t data_centers, uint32_t zones,
                 uint32_t shape, double slack)
{
    struct bench bench;
    bench_zones(&bench, members, data_centers, zones, shape);
    for (uint32_t k = 0; members + k < MEMBERS_MOST && k < 3; k++) {
        bench_arrive(&bench, k, data_centers, zones);
        measure(&bench, figures, "join", slack);
        bench_commit(&bench);
    }
    for (uint32_t k = 0; k < 2; k++) {
        bench_operate(&bench,
                      &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = k + 1});
        measure(&bench, figures, "leave", slack);
        bench_commit(&bench);
    }
    struct topology_operation leave = {.kind = TOPOLOGY_LEAVE, .member = 3, .gone = true};
    const struct member_place place = *member_place(topology_member(&bench.topology, 3));
    struct topology_operation join = join_of("n03", 99);
    snprintf(join.data_center, sizeof join.data_center, "d%u", 2 % data_centers);
    memcpy(join.zone, place.zone, sizeof join.zone);
    bench_operate(&bench, &leave);
    bench_operate(&bench, &join);
    measure(&bench, figures, "replacement", slack);
    bench_commit(&bench);
    bench_operate(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_PLACE, .member = 4, .weight = 2});
    measure(&bench, figures, "weight", slack);
    bench_commit(&bench);
    bench_deinit(&bench);
}

static void check_figures(const char *what, const struct figures *figures, uint32_t beyond_max)
{
    print_message("%s: %u changes moved %u copies, %.3f of the least; the worst %s %.3f; the most "
                  "held %.3f of a fair share\n",
                  what, figures->runs, figures->moved, figures->moved / figures->least,
                  figures->worst_what, figures->moved_worst, figures->held_worst);
    assert_true(figures->moved <= 1.1 * figures->least);
    assert_int_equal(figures->uneven, 0);
    assert_true(figures->beyond <= beyond_max);
}

/* As many zones as replicas, or fewer. With one zone, or one for each replica, the rule holds for
 * each change; with two, single ones may move more. */
static void test_up_to_n_zones(void **state)
{
    (void)state;
    for (uint32_t zones = 1; zones <= N; zones++) {
        struct figures figures = {0};
        for (uint32_t members = 5; members < MEMBERS_MOST; members = 2 * members + 1) {
            for (uint32_t shape = 0; shape < 2; shape++)
                play(&figures, members, 1, zones, shape, 2 * N);
        }
        char what[32];
        snprintf(what, sizeof what, "%u zones", zones);
        check_figures(what, &figures, zones == 2 ? (figures.runs + 25) / 50 : 0);
    }
}

/* More zones than replicas: the rule holds over all, and but for one change in fifty. */
static void test_more_than_n_zones(void **state)
{
    (void)state;
    struct figures figures = {0};
    for (uint32_t members = 6; members < MEMBERS_MOST; members = 2 * members + 1) {
        for (uint32_t shape = 0; shape < 2; shape++)
            play(&figures, members, 1, N + 1, shape, 2 * N);
    }
    check_figures("4 zones", &figures, (figures.runs + 25) / 50);
}

static void test_three_data_centers(void **state)
{
    (void)state;
    struct figures figures = {0};
    for (uint32_t members = 15; members < MEMBERS_MOST; members = 3 * members) {
        for (uint32_t zones = 1; zones <= N; zones++)
            play(&figures, members, 3, zones, 1, 2 * N);
    }
    check_figures("3 data centres", &figures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up_to_n_zones),
        cmocka_unit_test(test_more_than_n_zones),
        cmocka_unit_test(test_three_data_centers),
    };
    return cmocka_run_group_tests_name("topology_plan", tests, NULL, NULL);
}
