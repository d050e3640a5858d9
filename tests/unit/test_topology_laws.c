// link: coterie_model
/* Laws of topology documents under thousands of random operations and steps: each is valid and one
 * epoch on, numbers are never used again, slots stay with their members, partitions move by the
 * table of model/topology.h alone, and an abort ends where the change began (DESIGN.md section 4).
 */
#include "tests/effort.h"
#include "tests/unit/topology_bench.h"

#define SEED        424242u
#define RUNS        effort(60)
#define MOVES       300u
#define NUMBERS_MAX 4096u

struct laws {
    struct bench bench;
    struct prng prng;
    struct keyspace keyspaces[3];
    bool removed[NUMBERS_MAX];
    uint8_t slots[NUMBERS_MAX]; /* + 1; 0: not given */
    struct topology settled;    /* what the change under way began from */
    uint32_t join_next;
    struct {
        uint32_t operations, refused, steps, commits, aborts, ends, gone, members_most;
    } counts;
};

static uint64_t below(struct laws *laws, uint64_t bound)
{
    return prng_below(&laws->prng, bound);
}

static void check_members(struct laws *laws)
{
    const struct topology *topology = &laws->bench.topology;
    uint64_t slots = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        uint32_t number = member->number;
        assert_true(number < NUMBERS_MAX);
        assert_int_equal(slots >> member->slot & 1, 0);
        slots |= (uint64_t)1 << member->slot;
        if (laws->slots[number] == 0)
            laws->slots[number] = (uint8_t)(member->slot + 1);
        assert_int_equal(laws->slots[number], member->slot + 1);
        assert_true(!laws->removed[number] || member->status == MEMBER_REMOVED);
        laws->removed[number] = member->status == MEMBER_REMOVED;
    }
    for (uint32_t number = 1; number < topology->number_next; number++)
        assert_true(topology_member(topology, number) != NULL || laws->removed[number]);
    laws->counts.members_most = topology->member_count > laws->counts.members_most
                                    ? topology->member_count
                                    : laws->counts.members_most;
}

/* A partition's phase after a step, by the table. */
static void check_phases(const struct topology *before, const struct topology *after)
{
    bool aborts = after->change.aborting && !before->change.aborting;
    bool ends = before->change.state == CHANGE_RUNNING && after->change.state != CHANGE_RUNNING;
    for (uint32_t p = 0; p < after->partitions; p++) {
        uint8_t from = before->phases[p];
        uint8_t to = after->phases[p];
        bool stepped = after->phase_epochs[p] == after->epoch;
        if (!stepped)
            assert_true(after->phase_epochs[p] == before->phase_epochs[p]);
        if (aborts) {
            assert_int_equal(to, from == PHASE_ANNOUNCED ? PHASE_COPIED
                                 : from == PHASE_COPIED  ? PHASE_COPIED
                                                         : 3 - from);
            assert_int_equal(stepped, from == PHASE_COPIED);
            /* What is read: the same, or the side that it goes back to. */
            assert_true(topology_is_joint(before, p) == topology_is_joint(after, p));
        } else if (ends) {
            assert_int_equal(to, PHASE_WAITING);
            assert_true(stepped || from == PHASE_DONE);
        } else if (from != to) {
            assert_true(stepped);
            assert_true(to == from + 1 || (from == PHASE_WAITING && to == PHASE_DONE));
        }
    }
}

static bool sides_equal(const struct member *member, const struct member *other)
{
    return member_place_equal(&member->places[TOPOLOGY_NOW], &other->places[TOPOLOGY_NOW]);
}

/* All that the change began from is there again. */
static void check_aborted(const struct topology *began, const struct topology *after)
{
    for (uint32_t i = 0; i < after->data_center_count * after->partitions; i++)
        assert_int_equal(after->owners[TOPOLOGY_NOW][i],
                         i < began->data_center_count * began->partitions
                             ? began->owners[TOPOLOGY_NOW][i]
                             : MEMBER_NONE);
    for (uint32_t i = 0; i < after->member_count; i++) {
        const struct member *member = &after->members[i];
        const struct member *then = topology_member(began, member->number);
        if (then == NULL || then->status == MEMBER_JOINING)
            assert_int_equal(member->status, MEMBER_REMOVED);
        else if (member->gone)
            assert_true(member->status == MEMBER_LEAVING || member->status == MEMBER_REMOVED);
        else if (then->status != MEMBER_REMOVED)
            assert_true(member->status == MEMBER_NORMAL && sides_equal(member, then));
    }
    for (uint32_t i = 0; i < began->replication_count; i++)
        assert_memory_equal(began->replication[i].n[0], after->replication[i].n[0],
                            DATA_CENTERS_MAX);
}

static void check_next(struct laws *laws, const struct topology *before)
{
    const struct topology *after = &laws->bench.topology;
    assert_true(topology_valid(after));
    if (after->epoch == before->epoch)
        return;
    assert_true(after->epoch == before->epoch + 1);
    assert_true(after->number_next >= before->number_next);
    struct topology decoded;
    struct bytes bytes = topology_encode(&laws->bench.arena, after);
    assert_int_equal(topology_decode(&laws->bench.arena, bytes, &decoded), OK);
    assert_true(bytes_equal(topology_encode(&laws->bench.arena, &decoded), bytes));
    check_members(laws);
    check_phases(before, after);
    bool ran = before->change.state == CHANGE_RUNNING;
    bool runs = after->change.state == CHANGE_RUNNING;
    if (!ran && runs) {
        laws->counts.commits++;
        laws->settled = *before;
    }
    if (ran && !runs) {
        laws->counts.ends++;
        if (before->change.aborting)
            check_aborted(&laws->settled, after);
        else
            assert_memory_equal(before->owners[TOPOLOGY_NEXT], after->owners[TOPOLOGY_NOW],
                                sizeof(uint32_t) * after->data_center_count * after->partitions);
    }
}

static void operate(struct laws *laws, const struct topology_operation *operation)
{
    struct bench *bench = &laws->bench;
    struct topology before = bench->topology;
    uint32_t number = 0;
    const char *why = NULL;
    laws->counts.operations++;
    enum err err = topology_operate(&bench->arena, &before, &bench->keyspaces, operation,
                                    &bench->topology, &number, &why);
    bool running = before.change.state == CHANGE_RUNNING;
    if (err != OK) {
        laws->counts.refused++;
        assert_true(why != NULL && strlen(why) > 20);
        return;
    }
    /* One change at a time. */
    if (operation->kind == TOPOLOGY_COMMIT)
        assert_false(running);
    if (operation->kind == TOPOLOGY_JOIN && bench->topology.epoch != before.epoch) {
        assert_false(running);
        assert_int_equal(number, before.number_next);
    }
    if (operation->kind == TOPOLOGY_ABORT && bench->topology.epoch != before.epoch)
        laws->counts.aborts += running;
    check_next(laws, &before);
}

static uint32_t any_number(struct laws *laws)
{
    const struct topology *topology = &laws->bench.topology;
    return topology->members[below(laws, topology->member_count)].number;
}

static void any_place(struct laws *laws, struct topology_operation *operation)
{
    static const char *const data_centers[] = {"default", "east", "west"};
    if (below(laws, 3) == 0)
        snprintf(operation->data_center, sizeof operation->data_center, "%s",
                 data_centers[below(laws, 3)]);
    if (below(laws, 2) == 0)
        snprintf(operation->zone, sizeof operation->zone, "r%u", (unsigned)below(laws, 4));
    operation->weight = (uint16_t)below(laws, 4);
}

static void any_operation(struct laws *laws)
{
    static const uint8_t likely[] = {
        TOPOLOGY_JOIN,   TOPOLOGY_JOIN,   TOPOLOGY_JOIN,      TOPOLOGY_LEAVE,  TOPOLOGY_LEAVE,
        TOPOLOGY_PLACE,  TOPOLOGY_PLACE,  TOPOLOGY_REPLICATE, TOPOLOGY_ABORT,  TOPOLOGY_PAUSE,
        TOPOLOGY_RESUME, TOPOLOGY_RESUME, TOPOLOGY_PACE,      TOPOLOGY_ADDRESS};
    struct topology_operation operation = {
        .kind = (enum topology_operation_kind)likely[below(laws, sizeof likely)],
        .member = any_number(laws),
        .gone = below(laws, 4) == 0,
        .force = below(laws, 2) == 0,
        .bytes_per_second = below(laws, 3),
        .keyspace_id = laws->keyspaces[below(laws, 3)].id,
        .hold = laws->join_next % 2 == 0,
    };
    any_place(laws, &operation);
    for (uint32_t i = 0; i < laws->bench.topology.data_center_count; i++)
        operation.n[i] = (uint8_t)below(laws, 5);
    snprintf(operation.name, sizeof operation.name, "m%u", laws->join_next);
    snprintf(operation.address, sizeof operation.address, "m%u:1", laws->join_next++);
    memcpy(operation.join_id, &laws->join_next, sizeof laws->join_next);
    struct member *member = NULL;
    for (uint32_t i = 0; i < laws->bench.topology.member_count; i++) {
        if (laws->bench.topology.members[i].number == operation.member)
            member = &laws->bench.topology.members[i];
    }
    laws->counts.gone += operation.kind == TOPOLOGY_LEAVE && operation.gone && member != NULL;
    operate(laws, &operation);
    if (below(laws, 4) == 0)
        operate(laws, &(struct topology_operation){
                          .kind = TOPOLOGY_COMMIT,
                          .expected_epoch = below(laws, 2) == 0 ? laws->bench.topology.epoch : 0,
                          .force = below(laws, 4) != 0});
}

/* Members have heard of any epoch, and filled anything. */
static void any_progress(struct laws *laws)
{
    struct topology_progress *progress = &laws->bench.progress;
    bool most = below(laws, 3) != 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        progress->epochs[slot] = laws->bench.topology.epoch - (most ? 0 : below(laws, 2));
        progress->keeps_hints[slot] = below(laws, 50) == 0;
        for (uint32_t i = 0; i < PARTITIONS_MAX / 8; i++)
            progress->filled[slot][i] = most ? 0xff : (uint8_t)prng_u64(&laws->prng);
    }
    progress->announced_max = 1 + (uint32_t)below(laws, 8);
}

static void laws_init(struct laws *laws, uint64_t stream)
{
    bench_init(&laws->bench, 4, 16);
    prng_init(&laws->prng, SEED, stream);
    laws->keyspaces[0] = keyspace_builtin();
    laws->keyspaces[1] = keyspace_default("two");
    laws->keyspaces[1].n = 2;
    laws->keyspaces[1].id = 2;
    laws->keyspaces[2] = keyspace_default("west");
    laws->keyspaces[2].n = 1;
    laws->keyspaces[2].data_center_count = 1;
    memcpy(laws->keyspaces[2].data_centers[0].name, "west", 5);
    laws->keyspaces[2].data_centers[0].n = 5;
    laws->keyspaces[2].id = 3;
    laws->bench.keyspaces = (struct keyspace_map){.count = 3, .keyspaces = laws->keyspaces};
}

static void test_random_sequences(void **state)
{
    (void)state;
    static struct laws laws;
    struct laws sums = {0};
    for (uint32_t run = 0; run < RUNS; run++) {
        memset(&laws, 0, sizeof laws);
        laws_init(&laws, run);
        for (uint32_t move = 0; move < MOVES; move++) {
            if (below(&laws, 2) == 0)
                any_operation(&laws);
            any_progress(&laws);
            struct topology before = laws.bench.topology;
            laws.counts.steps += bench_step(&laws.bench);
            check_next(&laws, &before);
        }
        sums.counts.operations += laws.counts.operations;
        sums.counts.refused += laws.counts.refused;
        sums.counts.steps += laws.counts.steps;
        sums.counts.commits += laws.counts.commits;
        sums.counts.aborts += laws.counts.aborts;
        sums.counts.ends += laws.counts.ends;
        sums.counts.gone += laws.counts.gone;
        if (laws.counts.members_most > sums.counts.members_most)
            sums.counts.members_most = laws.counts.members_most;
        bench_deinit(&laws.bench);
    }
    print_message("%u runs: %u operations, %u refused; %u steps, %u commits, %u aborts of running "
                  "changes, %u ends; %u gone; %u members listed at most\n",
                  RUNS, sums.counts.operations, sums.counts.refused, sums.counts.steps,
                  sums.counts.commits, sums.counts.aborts, sums.counts.ends, sums.counts.gone,
                  sums.counts.members_most);
    assert_true(sums.counts.commits > 10 * RUNS && sums.counts.ends > 8 * RUNS);
    assert_true(sums.counts.aborts > RUNS && sums.counts.steps > 30 * RUNS);
    assert_true(sums.counts.members_most > 20);
}

/* Removed members make room on the list one by one; their numbers and slots do not come back to
 * those who are listed. */
static void test_list_is_full(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 16);
    for (uint32_t i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        struct topology_operation join = join_of(name, 1);
        memcpy(join.join_id, &(uint32_t){i + 1}, sizeof i);
        assert_int_equal(bench_operate(&bench, &join), 5 + i);
        bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    }
    assert_int_equal(bench.topology.member_count, MEMBERS_MAX);
    assert_true(topology_member(&bench.topology, 5) == NULL);
    assert_true(topology_was_removed(&bench.topology, 5));
    for (uint32_t i = 0; i < MEMBERS_MAX - 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", 100 + i);
        struct topology_operation join = join_of(name, 1);
        memcpy(join.join_id, &(uint32_t){1000 + i}, sizeof i);
        bench_operate(&bench, &join);
    }
    struct topology_operation join = join_of("last", 1);
    memset(join.join_id, 0xff, sizeof join.join_id);
    bench_refused(&bench, &join, ERR_LIMIT, "64 members");
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_sequences),
                                       cmocka_unit_test(test_list_is_full)};
    return cmocka_run_group_tests_name("topology_laws", tests, NULL, NULL);
}
