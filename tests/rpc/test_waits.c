// link: coterie_rpc
/* What `coterie changes` says of bad rows that hold a change or a copy up: who is to mend them,
 * what its log has of them, and, where nobody may be able to, how they are given up
 * (docs/operations.md, Repair). */
#include "actors/view.h"
#include "model/wait.h"
#include "rpc/change.h"
#include "tests/unit/topology_bench.h"

#define MEMBERS 4u

static const uint8_t everything[PARTITIONS_MAX / 8] = {[0 ... PARTITIONS_MAX / 8 - 1] = 0xff};

struct told {
    struct bench bench;
    struct view *view;
    struct member_report reports[MEMBERS];
    Coterie__V1__GetChangeResponse response;
};

/* A fourth member joins three. `bad`: it has met bad rows that are not mended, until which nobody
 * drops a copy. All answer, and all but n4 have done their part then. */
static void told_init(struct told *told, bool bad)
{
    struct bench *bench = &told->bench;
    bench_init(bench, 3, 16);
    bench_join(bench, "n4", 4);
    bench_operate(bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    if (bad)
        memset(bench->progress.unsound[topology_member(&bench->topology, 4)->slot], 0xff,
               sizeof bench->progress.unsound[0]);
    bench_run(bench);
    told->view = view_new(&bench->topology, &bench->keyspaces, 1);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        told->reports[i] = (struct member_report){
            .member = i + 1,
            .report = {.epoch = bench->topology.epoch,
                       .change = topology_change_name(&bench->topology),
                       .filled = bytes_of(everything, bench->topology.partitions / 8),
                       .free_bytes = 1,
                       .keyspaces_digest = keyspace_map_digest(&bench->keyspaces)}};
    }
    coterie__v1__get_change_response__init(&told->response);
}

static void told_deinit(struct told *told)
{
    view_unref(told->view);
    bench_deinit(&told->bench);
}

/* The one line of this cause. */
static const Coterie__V1__Wait *line_of(struct told *told, int cause)
{
    struct reports reports = {.count = MEMBERS, .list = told->reports};
    const Coterie__V1__Wait *found = NULL;
    waits_fill(&told->bench.arena, told->view, &reports, &told->response);
    for (size_t i = 0; i < told->response.n_waits; i++) {
        assert_true(found == NULL || (int)told->response.waits[i]->cause != cause);
        if ((int)told->response.waits[i]->cause == cause)
            found = told->response.waits[i];
    }
    assert_non_null(found);
    return found;
}

/* An older copy, which may be the only sound one, does not go before. */
static void test_change_waits_for_bad_rows(void **state)
{
    (void)state;
    struct told told;
    told_init(&told, true);
    assert_int_equal(told.bench.topology.change.state, CHANGE_RUNNING);
    told.reports[3].report.filled = (struct bytes){0}; /* it says of none that its rows are sound */
    const Coterie__V1__Wait *line = line_of(&told, COTERIE__V1__WAIT__CAUSE__CAUSE_BAD_ROWS);
    uint32_t moving_count = moving(&told.bench, PHASE_COPIED);
    assert_true(moving_count > 1);
    assert_int_equal(line->partitions, moving_count);
    assert_int_equal(line->n_waits_for, 1);
    assert_string_equal(line->waits_for[0], "n4");
    char expected[200];
    snprintf(expected, sizeof expected,
             "%u partitions (the first: %u) wait for n4, which mends bad rows before an older copy "
             "goes: its log has them (row_quarantined)",
             moving_count, line->first_partition);
    assert_string_equal(line->text, expected);
    told_deinit(&told);
}

/* n4 fills partition 7 from n2, whose rows are bad: the sentence has the command that gives up what
 * nobody can mend. Any other reason stands as it is. */
static void test_copy_waits_for_bad_rows(void **state)
{
    (void)state;
    struct told told;
    told_init(&told, false);
    assert_int_equal(told.bench.topology.change.state, CHANGE_NONE);
    struct waits waits = {0};
    struct wait wait = {.cause = WAIT_EXCHANGE,
                        .keyspace_id = told.bench.keyspace.id,
                        .member = 2,
                        .partition = 7,
                        .count = 1,
                        .why = WAIT_WHY_BAD_ROWS};
    waits_add(&waits, &wait);
    told.reports[3].report.waits = waits_encode(&told.bench.arena, &waits);
    const Coterie__V1__Wait *line = line_of(&told, COTERIE__V1__WAIT__CAUSE__CAUSE_COMPARISON);
    assert_string_equal(line->node, "n4");
    assert_string_equal(line->keyspace, "default");
    assert_string_equal(
        line->text, "keyspace default: partition 7 waits for n2 to mend bad rows (row_quarantined, "
                    "vnode_unreadable in its log) that n4 is to copy: what no replica can mend is "
                    "lost if you give it up (coterie repair "
                    "--give-up-bad-rows --keyspace default)");

    waits.list[0].why = "input/output error";
    told.reports[3].report.waits = waits_encode(&told.bench.arena, &waits);
    coterie__v1__get_change_response__init(&told.response);
    line = line_of(&told, COTERIE__V1__WAIT__CAUSE__CAUSE_COMPARISON);
    assert_non_null(strstr(line->text, "did not go through (input/output error)"));
    assert_null(strstr(line->text, "give"));
    told_deinit(&told);
}

/* n2 cannot read a part of partition 7, and n3 does not hold the rest; or nobody is there to. */
static void test_unreadable_copy(void **state)
{
    (void)state;
    struct told told;
    told_init(&told, false);
    struct waits waits = {0};
    struct wait wait = {.cause = WAIT_UNREADABLE,
                        .keyspace_id = told.bench.keyspace.id,
                        .member = 3,
                        .partition = 7,
                        .count = 1};
    waits_add(&waits, &wait);
    told.reports[1].report.waits = waits_encode(&told.bench.arena, &waits);
    const Coterie__V1__Wait *line = line_of(&told, COTERIE__V1__WAIT__CAUSE__CAUSE_UNREADABLE);
    assert_string_equal(line->node, "n2");
    assert_string_equal(
        line->text, "keyspace default: at n2 partition 7 cannot be read in part (vnode_unreadable "
                    "in its log): it is emptied and filled again when the other copies hold the "
                    "rest, and n3 does not; what no replica can read is lost if you give it up "
                    "(coterie repair --give-up-bad-rows --keyspace default)");
    waits.list[0].member = MEMBER_NONE;
    told.reports[1].report.waits = waits_encode(&told.bench.arena, &waits);
    coterie__v1__get_change_response__init(&told.response);
    line = line_of(&told, COTERIE__V1__WAIT__CAUSE__CAUSE_UNREADABLE);
    assert_non_null(strstr(line->text, "no other replica has it"));
    assert_int_equal(line->n_waits_for, 0);
    told_deinit(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_waits_for_bad_rows),
        cmocka_unit_test(test_copy_waits_for_bad_rows),
        cmocka_unit_test(test_unreadable_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
