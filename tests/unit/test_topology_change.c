// link: coterie_model
/* Operations and steps of model/topology_change.h, one by one: what each does to a document, and
 * what it refuses with which sentence (DESIGN.md section 4). */
#include "tests/unit/topology_bench.h"

static void test_join_is_staged_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, 16);
    struct topology_operation join = join_of("n4", 4);
    uint32_t number = bench_operate(&bench, &join);
    assert_int_equal(number, 4);
    assert_int_equal(bench.topology.epoch, 2);
    assert_int_equal(bench.topology.change.state, CHANGE_STAGED);
    const struct member *member = topology_member(&bench.topology, 4);
    assert_int_equal(member->status, MEMBER_JOINING);
    assert_string_equal(member->name, "n4");
    assert_string_equal(member->places[TOPOLOGY_NEXT].zone, "default");
    assert_int_equal(member->places[TOPOLOGY_NEXT].weight, 1);
    assert_int_equal(bench.topology.number_next, 5);
    /* Not yet in the ring, and not among the voters. */
    assert_true(bench.topology.owners[0] == bench.topology.owners[1]);
    assert_int_equal(bench.topology.voter_count, 3);
    /* The same node asks again: the same number, no new epoch. */
    assert_int_equal(bench_operate(&bench, &join), 4);
    assert_int_equal(bench.topology.epoch, 2);
    struct topology_operation other = join_of("n4", 5);
    bench_refused(&bench, &other, ERR_EXISTS, "name n4");
    snprintf(other.name, sizeof other.name, "n5");
    snprintf(other.address, sizeof other.address, "n2:1");
    bench_refused(&bench, &other, ERR_EXISTS, "address n2:1");
    memset(other.join_id, 0, sizeof other.join_id);
    bench_refused(&bench, &other, ERR_INVALID, "join_id");
    bench_deinit(&bench);
}

/* A join that is held says so for as long as nobody has committed it, in the encoded document too;
 * node/join_watch.c leaves it to an operator then. */
static void test_a_join_is_held(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, 16);
    struct topology_operation join = join_of("n4", 4);
    join.hold = true;
    bench_operate(&bench, &join);
    bench_join(&bench, "n5", 5);
    struct topology decoded;
    assert_int_equal(
        topology_decode(&bench.arena, topology_encode(&bench.arena, &bench.topology), &decoded),
        OK);
    assert_true(topology_member(&decoded, 4)->held);
    assert_false(topology_member(&decoded, 5)->held);
    assert_int_equal(topology_member(&decoded, 4)->status, MEMBER_JOINING);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 4});
    assert_false(topology_member(&bench.topology, 4)->held);
    join = join_of("n6", 6);
    join.hold = true;
    bench_operate(&bench, &join);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    assert_false(topology_member(&bench.topology, 6)->held);
    assert_int_equal(topology_member(&bench.topology, 6)->status, MEMBER_JOINING);
    /* No member but one that joins and is staged can be held. */
    struct member *member = &bench.topology.members[bench.topology.member_count - 1];
    member->held = true;
    assert_false(topology_valid(&bench.topology));
    bench_deinit(&bench);
}

static void test_words_are_checked(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, 16);
    struct topology_operation join = join_of("", 4);
    bench_refused(&bench, &join, ERR_INVALID, "a name must");
    join = join_of("a b", 4);
    bench_refused(&bench, &join, ERR_INVALID, "a name must");
    join = join_of("n4", 4);
    join.address[0] = '\0';
    bench_refused(&bench, &join, ERR_INVALID, "an address must");
    join = join_of("n4", 4);
    memset(join.zone, 'z', sizeof join.zone);
    bench_refused(&bench, &join, ERR_INVALID, "a zone must");
    join = join_of("n4", 4);
    join.data_center[0] = '\n';
    bench_refused(&bench, &join, ERR_INVALID, "a data centre must");
    join = join_of("n4", 4);
    join.weight = WEIGHT_MAX + 1;
    bench_refused(&bench, &join, ERR_INVALID, "a weight must");
    bench_deinit(&bench);
}

/* A join from its staging to its end, partition by partition. */
static void test_join_goes_over(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 64);
    bench_join(&bench, "n5", 5);
    bench_refused(&bench, &(struct topology_operation){.kind = TOPOLOGY_PAUSE}, ERR_PRECONDITION,
                  "no change is under way");
    struct topology_operation commit = {
        .kind = TOPOLOGY_COMMIT, .expected_epoch = 1, .wall_ms = 1234};
    bench_refused(&bench, &commit, ERR_CONFLICT, "epoch 1");
    commit.expected_epoch = bench.topology.epoch;
    bench_operate(&bench, &commit);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    assert_int_equal(bench.topology.change.began_epoch, bench.topology.epoch);
    assert_int_equal(bench.topology.change.began_ms, 1234);
    assert_int_equal(topology_change_name(&bench.topology), bench.topology.epoch);
    commit.expected_epoch = 0;
    bench_refused(&bench, &commit, ERR_PRECONDITION, "under way already");
    struct topology_operation join = join_of("n6", 6);
    bench_refused(&bench, &join, ERR_PRECONDITION, "under way");
    assert_int_equal(owned(&bench.topology, TOPOLOGY_NOW, 5), 0);
    assert_in_range(owned(&bench.topology, TOPOLOGY_NEXT, 5), 12, 13);

    /* Nobody has been heard of: nothing is announced. */
    bench_forget(&bench);
    bench.progress.announced_max = 3;
    bench_steps(&bench);
    assert_int_equal(bench_phases(&bench, PHASE_ANNOUNCED), 0);
    bench_all_know(&bench);
    assert_true(bench_step(&bench));
    assert_int_equal(moving(&bench, PHASE_ANNOUNCED), 3);
    uint32_t p = first_moving(&bench, PHASE_ANNOUNCED);
    assert_int_equal(bench.topology.phase_epochs[p], bench.topology.epoch);
    assert_true(topology_is_joint(&bench.topology, p));
    assert_int_equal(topology_read_side(&bench.topology, p), TOPOLOGY_NOW);

    /* All know of it, but it is not filled: nothing moves. */
    bench_all_know(&bench);
    bench_steps(&bench);
    assert_int_equal(bench.topology.phases[p], PHASE_ANNOUNCED);
    /* Filled, but one has not heard of the announcement. */
    bench_fill(&bench, 5, p);
    uint8_t slot = slot_of_set(&bench, TOPOLOGY_NOW, p);
    bench.progress.epochs[slot] = bench.topology.phase_epochs[p] - 1;
    bench_steps(&bench);
    assert_int_equal(bench.topology.phases[p], PHASE_ANNOUNCED);
    bench_all_know(&bench);
    assert_true(bench_step(&bench));
    assert_int_equal(bench.topology.phases[p], PHASE_COPIED);
    assert_int_equal(topology_read_side(&bench.topology, p), TOPOLOGY_NEXT);
    /* One reader does not know: nothing is taken from the old set. */
    bench_all_know(&bench);
    bench.progress.epochs[slot] = bench.topology.phase_epochs[p] - 1;
    bench_steps(&bench);
    assert_int_equal(bench.topology.phases[p], PHASE_COPIED);
    /* The one that is filled has a bad row: what it could be mended from stays. */
    bench_all_know(&bench);
    uint8_t *unsound = bench.progress.unsound[topology_member(&bench.topology, 5)->slot];
    unsound[p / 8] = (uint8_t)(1u << p % 8);
    bench_steps(&bench);
    assert_int_equal(bench.topology.phases[p], PHASE_COPIED);
    unsound[p / 8] = 0;
    bench_all_know(&bench);
    assert_true(bench_step(&bench));
    assert_int_equal(bench.topology.phases[p], PHASE_DONE);

    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(topology_member(&bench.topology, 5)->status, MEMBER_NORMAL);
    assert_in_range(owned(&bench.topology, TOPOLOGY_NOW, 5), 12, 13);
    assert_int_equal(bench_phases(&bench, PHASE_WAITING), 64);
    assert_int_equal(bench.topology.voter_count, 5);
    bench_deinit(&bench);
}

static void test_leave(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 32);
    struct topology_operation leave = {.kind = TOPOLOGY_LEAVE, .member = 9};
    bench_refused(&bench, &leave, ERR_NOT_FOUND, "no member has the number 9");
    leave.member = 2;
    bench_operate(&bench, &leave);
    assert_int_equal(topology_member(&bench.topology, 2)->status, MEMBER_LEAVING);
    uint64_t epoch = bench.topology.epoch;
    bench_operate(&bench, &leave);
    assert_int_equal(bench.topology.epoch, epoch);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    /* It is removed when it keeps nothing for others any more. */
    uint8_t slot = topology_member(&bench.topology, 2)->slot;
    bench.progress.keeps_hints[slot] = true;
    bench_run(&bench);
    assert_int_equal(bench_phases(&bench, PHASE_DONE), 32);
    assert_int_equal(topology_member(&bench.topology, 2)->status, MEMBER_LEAVING);
    bench.progress.keeps_hints[slot] = false;
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(topology_member(&bench.topology, 2)->status, MEMBER_REMOVED);
    assert_true(topology_was_removed(&bench.topology, 2));
    assert_int_equal(owned(&bench.topology, TOPOLOGY_NOW, 2), 0);
    bench_refused(&bench, &leave, ERR_NOT_FOUND, "has left");
    /* Three replicas, and two would be left. */
    leave.member = 1;
    bench_operate(&bench, &leave);
    struct topology_operation commit = {.kind = TOPOLOGY_COMMIT};
    bench_refused(&bench, &commit, ERR_PRECONDITION, "would have 2 members");
    commit.force = true;
    bench_operate(&bench, &commit);
    bench_run(&bench);
    assert_int_equal(topology_member(&bench.topology, 1)->status, MEMBER_REMOVED);
    for (uint32_t member = 3; member <= 4; member++)
        bench_operate(&bench,
                      &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = member});
    bench_refused(&bench, &commit, ERR_PRECONDITION, "no replica at all");
    bench_deinit(&bench);
}

/* A dead one is replaced by another with the same name at the same address. */
static void test_replace_a_dead_one(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, 16);
    struct topology_operation join = join_of("n2", 77);
    bench_refused(&bench, &join, ERR_EXISTS, "name n2");
    bench_operate(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 2, .gone = true});
    assert_int_equal(bench_operate(&bench, &join), 4);
    assert_int_equal(topology_member_by_name(&bench.topology, "n2")->number, 4);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    bench_all_know(&bench);
    bench.dead = 2;
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(topology_member(&bench.topology, 2)->status, MEMBER_REMOVED);
    assert_int_equal(owned(&bench.topology, TOPOLOGY_NOW, 4),
                     16 - owned(&bench.topology, TOPOLOGY_NOW, 1) -
                         owned(&bench.topology, TOPOLOGY_NOW, 3));
    bench_deinit(&bench);
}

/* All that there is moves to another machine, and what must not be lost is not given up. */
static void test_the_only_member(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 1, 8);
    bench_refused(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 1, .gone = true},
                  ERR_PRECONDITION, "last member alive");
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 1});
    struct topology_operation commit = {.kind = TOPOLOGY_COMMIT, .force = true};
    bench_refused(&bench, &commit, ERR_PRECONDITION, "no replica at all");
    bench_join(&bench, "n2", 2);
    bench_operate(&bench, &commit);
    assert_int_equal(bench.topology.voter_count, 1);
    assert_int_equal(bench.topology.voters[0], 1);
    bench_refused(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 2, .gone = true},
                  ERR_PRECONDITION, "last member alive");
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(bench.topology.voters[0], 2);
    bench_deinit(&bench);
}

/* What the announcement asks, and what an abort takes back: a copy that is held is never emptied.
 */
static void test_needs(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 64);
    bench_join(&bench, "n5", 5);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    bench_all_know(&bench);
    bench.progress.announced_max = 1;
    uint32_t waiting = first_moving(&bench, PHASE_WAITING);
    assert_int_equal(topology_need(&bench.topology, &bench.keyspace, waiting, 5), NEED_NOTHING);
    bench_step(&bench);
    uint32_t p = first_moving(&bench, PHASE_ANNOUNCED);
    waiting = first_moving(&bench, PHASE_WAITING);
    uint32_t loser = number_of(&bench, slot_of_set(&bench, TOPOLOGY_NOW, p));
    uint32_t loser_waiting = number_of(&bench, slot_of_set(&bench, TOPOLOGY_NOW, waiting));
    assert_int_equal(topology_need(&bench.topology, &bench.keyspace, p, 5), NEED_COPY);
    for (uint32_t number = 1; number <= 4; number++)
        assert_int_equal(topology_need(&bench.topology, &bench.keyspace, p, number), NEED_NOTHING);
    uint64_t name = topology_change_name(&bench.topology);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    assert_int_equal(topology_change_name(&bench.topology), bench.topology.epoch);
    assert_true(topology_change_name(&bench.topology) != name);
    assert_int_equal(bench.topology.change.began_epoch, name);
    /* Both are in the new set and not in the old one, and have their copies. */
    assert_int_equal(bench.topology.phases[p], PHASE_COPIED);
    assert_int_equal(bench.topology.phases[waiting], PHASE_DONE);
    assert_int_equal(topology_need(&bench.topology, &bench.keyspace, p, loser), NEED_NOTHING);
    assert_int_equal(topology_need(&bench.topology, &bench.keyspace, waiting, loser_waiting),
                     NEED_NOTHING);
    uint64_t epoch = bench.topology.epoch;
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    assert_int_equal(bench.topology.epoch, epoch);
    bench_run(&bench);
    assert_int_equal(topology_member(&bench.topology, 5)->status, MEMBER_REMOVED);
    bench_deinit(&bench);
    /* A set that shrinks: those that stay ask those that go. */
    bench_init(&bench, 5, 64);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_REPLICATE,
                                                       .keyspace_id = bench.keyspace.id,
                                                       .n = {1}});
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    bench_all_know(&bench);
    bench.progress.announced_max = 64;
    bench_step(&bench);
    p = first_moving(&bench, PHASE_ANNOUNCED);
    uint32_t stays = topology_owner(&bench.topology, TOPOLOGY_NEXT, 0, p);
    assert_int_equal(topology_need(&bench.topology, &bench.keyspace, p, stays), NEED_EXCHANGE);
    bench_all_know(&bench);
    assert_false(bench_step(&bench));
    bench_fill(&bench, stays, p);
    assert_true(bench_step(&bench));
    assert_int_equal(bench.topology.phases[p], PHASE_COPIED);
    bench_deinit(&bench);
}

/* It dies in the middle of a change of others: that one ends, and it is staged to leave. */
static void test_dies_during_a_change(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 32);
    bench_join(&bench, "n5", 5);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    bench.dead = 3;
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    bench_operate(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 3, .gone = true});
    assert_int_equal(topology_member(&bench.topology, 3)->status, MEMBER_NORMAL);
    for (uint32_t i = 0; i < bench.topology.voter_count; i++)
        assert_int_not_equal(bench.topology.voters[i], 3);
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_STAGED);
    assert_int_equal(topology_member(&bench.topology, 5)->status, MEMBER_NORMAL);
    assert_int_equal(topology_member(&bench.topology, 3)->status, MEMBER_LEAVING);
    /* It has not been waited for: it cannot come back. */
    struct topology_operation abort = {.kind = TOPOLOGY_ABORT};
    bench_refused(&bench, &abort, ERR_PRECONDITION, "cannot come back");
    bench_join(&bench, "n3", 6);
    bench_operate(&bench, &abort);
    assert_int_equal(bench.topology.change.state, CHANGE_STAGED);
    assert_true(topology_member(&bench.topology, 3)->gone);
    assert_int_equal(topology_member(&bench.topology, 6)->status, MEMBER_REMOVED);
    bench_deinit(&bench);
}

static void test_abort_what_is_staged(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 16);
    struct topology_operation abort = {.kind = TOPOLOGY_ABORT};
    bench_refused(&bench, &abort, ERR_PRECONDITION, "nothing is staged");
    bench_join(&bench, "n5", 5);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 1});
    struct topology_operation place = {.kind = TOPOLOGY_PLACE, .member = 2, .weight = 3};
    snprintf(place.zone, sizeof place.zone, "r2");
    bench_operate(&bench, &place);
    assert_int_equal(topology_member(&bench.topology, 2)->places[TOPOLOGY_NEXT].weight, 3);
    assert_int_equal(topology_member(&bench.topology, 2)->places[TOPOLOGY_NOW].weight, 1);
    bench_operate(&bench, &abort);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(topology_member(&bench.topology, 1)->status, MEMBER_NORMAL);
    assert_int_equal(topology_member(&bench.topology, 2)->places[TOPOLOGY_NEXT].weight, 1);
    /* The number is not given again, and who has been turned away does not come back as it was. */
    struct topology_operation join = join_of("n5", 5);
    bench_refused(&bench, &join, ERR_PRECONDITION, "has been removed");
    assert_int_equal(bench_join(&bench, "n5", 6), 6);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 6});
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    bench_deinit(&bench);
}

static void test_flow(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 32);
    bench_join(&bench, "n5", 5);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_PAUSE});
    assert_true(bench.topology.change.paused);
    uint64_t epoch = bench.topology.epoch;
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_PAUSE});
    assert_int_equal(bench.topology.epoch, epoch);
    bench_run(&bench);
    assert_int_equal(bench_phases(&bench, PHASE_ANNOUNCED), 0);
    bench_operate(&bench,
                  &(struct topology_operation){.kind = TOPOLOGY_PACE, .bytes_per_second = 5000});
    assert_int_equal(bench.topology.change.bytes_per_second, 5000);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_RESUME});
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(bench.topology.change.bytes_per_second, 0);
    struct topology_operation address = {.kind = TOPOLOGY_ADDRESS, .member = 5};
    snprintf(address.address, sizeof address.address, "n1:1");
    bench_refused(&bench, &address, ERR_EXISTS, "address n1:1");
    snprintf(address.address, sizeof address.address, "other:1");
    bench_operate(&bench, &address);
    assert_string_equal(topology_member(&bench.topology, 5)->address, "other:1");
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    bench_deinit(&bench);
}

/* model/register.h, an acceptor that begins anew: an epoch for the partitions that were named, each
 * time that it is asked for; nothing else is another, and a running change is not disturbed. */
static void test_renew(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 32);
    struct topology_operation renew = {.kind = TOPOLOGY_RENEW, .member = 2};
    bench_refused(&bench, &renew, ERR_INVALID, "no partition");
    renew.partitions[0] = 1u << 3;
    renew.partitions[1] = 1u << 2;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t epoch = bench.topology.epoch;
        bench_operate(&bench, &renew);
        assert_int_equal(bench.topology.epoch, epoch + 1);
        assert_int_equal(bench.topology.change.state, CHANGE_NONE);
        for (uint32_t p = 0; p < 32; p++) {
            assert_int_equal(bench.topology.phase_epochs[p], p == 3 || p == 10 ? epoch + 1 : 0);
            assert_int_equal(bench.topology.phases[p], PHASE_WAITING);
        }
    }
    bench_join(&bench, "n5", 5);
    bench_operate(&bench, &renew);
    assert_int_equal(bench.topology.change.state, CHANGE_STAGED);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    bench_refused(&bench, &renew, ERR_PRECONDITION, "a change is under way");
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    bench_operate(&bench, &renew);
    bench_deinit(&bench);
}

static void test_replicate(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 5, 16);
    uint32_t id = bench.keyspaces.keyspaces[0].id;
    struct topology_operation replicate = {
        .kind = TOPOLOGY_REPLICATE, .keyspace_id = id + 1, .n = {5}};
    bench_refused(&bench, &replicate, ERR_NOT_FOUND, "no keyspace");
    replicate.keyspace_id = id;
    replicate.n[1] = 1;
    bench_refused(&bench, &replicate, ERR_INVALID, "in each data centre that there is");
    replicate.n[0] = replicate.n[1] = 0;
    bench_refused(&bench, &replicate, ERR_INVALID, "must have replicas");
    replicate.n[0] = 6;
    bench_operate(&bench, &replicate);
    struct topology_operation commit = {.kind = TOPOLOGY_COMMIT};
    bench_refused(&bench, &commit, ERR_PRECONDITION, "would have 5 members");
    replicate.n[0] = 5;
    bench_operate(&bench, &replicate);
    assert_int_equal(topology_replicas(&bench.topology, TOPOLOGY_NOW, id, 0, 99), 3);
    assert_int_equal(topology_replicas(&bench.topology, TOPOLOGY_NEXT, id, 0, 99), 5);
    bench_operate(&bench, &commit);
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);
    assert_int_equal(topology_replicas(&bench.topology, TOPOLOGY_NOW, id, 0, 99), 5);
    bench_deinit(&bench);
}

static void replicate_to(struct bench *bench, uint8_t n)
{
    struct topology_operation replicate = {
        .kind = TOPOLOGY_REPLICATE, .keyspace_id = bench->keyspace.id, .n = {n}};
    bench_operate(bench, &replicate);
    bench_operate(bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
}

/* Whoever is to be read must be sound before another copy goes, on the way there and on the way
 * back; where nobody drops out, and of who is gone, nothing is asked. */
static void test_unsound(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 5, 16);
    memset(bench.progress.unsound, 0xff, sizeof bench.progress.unsound);
    replicate_to(&bench, 4);
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE);

    replicate_to(&bench, 3);
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    assert_int_equal(bench_phases(&bench, PHASE_COPIED), 8);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_NONE); /* four hold them as before */

    replicate_to(&bench, 5);
    bench_all_know(&bench);
    bench_steps(&bench);
    for (uint32_t p = 0; p < 16; p++) {
        for (uint32_t member = 1; member <= 5; member++)
            bench_fill(&bench, member, p);
    }
    bench_all_know(&bench);
    assert_true(bench_step(&bench));
    uint32_t copied = bench_phases(&bench, PHASE_COPIED);
    assert_true(copied > 0);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    assert_int_equal(bench_phases(&bench, PHASE_COPIED), copied);
    memset(bench.progress.unsound, 0, sizeof bench.progress.unsound);
    memset(bench.progress.unsound[2], 0xff, sizeof bench.progress.unsound[2]);
    bench_run(&bench);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    bench.topology.members[2].gone = true;
    bench_run(&bench);
    assert_int_not_equal(bench.topology.change.state, CHANGE_RUNNING);
    bench_deinit(&bench);
}

/* No more replicas of a register than can be asked, in all data centres; not by force either. */
static void test_replicate_registers(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, 16);
    struct keyspace bank = keyspace_default("bank");
    bank.mode = KEYSPACE_CONSISTENT;
    bank.id = 4711;
    bench.keyspaces = keyspace_map_put(&bench.arena, &bench.keyspaces, &bank);
    for (uint32_t i = 0; i < 36; i++) {
        struct topology_operation join = {.kind = TOPOLOGY_JOIN, .join_id = {(uint8_t)(i + 1), 7}};
        snprintf(join.name, sizeof join.name, "j%u", i);
        snprintf(join.address, sizeof join.address, "j:%u", i);
        snprintf(join.data_center, sizeof join.data_center, "dc%u", i / 7);
        snprintf(join.zone, sizeof join.zone, "z");
        bench_operate(&bench, &join);
    }
    struct topology_operation replicate = {.kind = TOPOLOGY_REPLICATE, .keyspace_id = bank.id};
    assert_int_equal(bench.topology.data_center_count, 7); /* the last has one member */
    for (uint32_t i = 1; i < 6; i++)
        replicate.n[i] = 6;
    replicate.n[0] = 3;
    bench_operate(&bench, &replicate);
    struct topology_operation commit = {.kind = TOPOLOGY_COMMIT};
    bench_refused(&bench, &commit, ERR_PRECONDITION, "bank would have 33 replicas");
    commit.force = true;
    bench_refused(&bench, &commit, ERR_PRECONDITION, "bank would have 33 replicas");
    replicate.n[0] = 2;
    bench_operate(&bench, &replicate);
    commit.force = false;
    bench_operate(&bench, &commit);
    assert_int_equal(bench.topology.change.state, CHANGE_RUNNING);
    bench_deinit(&bench);
}

/* The plan of what is staged is what its commit does, and its sums are those of the rings. */
static void test_plan(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 4, 64);
    bench_join(&bench, "n5", 5);
    uint64_t sizes[64];
    uint64_t bytes_in = 0;
    for (uint32_t p = 0; p < 64; p++)
        sizes[p] = 1000 + p;
    struct plan staged;
    plan_make(&bench.arena, &bench.topology, &bench.keyspaces, sizes, &staged);
    bench_operate(&bench, &(struct topology_operation){.kind = TOPOLOGY_COMMIT});
    struct plan plan;
    plan_make(&bench.arena, &bench.topology, &bench.keyspaces, sizes, &plan);
    assert_int_equal(plan.member_count, 5);
    assert_memory_equal(plan.members, staged.members, 5 * sizeof *plan.members);
    uint32_t sums[6] = {0};
    for (uint32_t i = 0; i < 5; i++) {
        const struct plan_member *member = &plan.members[i];
        for (uint32_t side = 0; side < 2; side++) {
            assert_int_equal(member->owned[side],
                             owned(&bench.topology, (enum topology_side)side, member->number));
            sums[side] += member->owned[side];
            sums[2 + side] += member->replicas[side];
        }
        assert_int_equal(member->replicas[0] + member->gains, member->replicas[1] + member->loses);
        sums[4] += member->gains;
        sums[5] += member->loses;
    }
    assert_int_equal(sums[0], 64);
    assert_int_equal(sums[1], 64);
    assert_int_equal(sums[2], 3 * 64);
    assert_int_equal(sums[3], 3 * 64);
    assert_int_equal(sums[4], plan.moved);
    assert_int_equal(sums[5], plan.moved);
    assert_int_equal(plan.members[4].replicas[0], 0);
    assert_in_range(plan.members[4].gains, 34, 42);
    uint32_t moved = 0;
    for (uint32_t p = 0; p < 64; p++) {
        struct side_sets sets = bench_sets(&bench, p);
        uint32_t gains = (uint32_t)__builtin_popcountll(sets.sets[1] & ~sets.sets[0]);
        moved += gains;
        bytes_in += gains * sizes[p];
    }
    assert_int_equal(plan.moved, moved);
    assert_true(plan.bytes == bytes_in);
    assert_int_equal(plan.zone_count, 1);
    assert_int_equal(plan.zones[0].members[0], 4);
    assert_int_equal(plan.zones[0].members[1], 5);
    assert_int_equal(plan.zones[0].replicas[1], 3 * 64);
    assert_int_equal(plan.member_violations, 0);
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_is_staged_once),
        cmocka_unit_test(test_a_join_is_held),
        cmocka_unit_test(test_words_are_checked),
        cmocka_unit_test(test_join_goes_over),
        cmocka_unit_test(test_leave),
        cmocka_unit_test(test_replace_a_dead_one),
        cmocka_unit_test(test_dies_during_a_change),
        cmocka_unit_test(test_abort_what_is_staged),
        cmocka_unit_test(test_flow),
        cmocka_unit_test(test_renew),
        cmocka_unit_test(test_replicate),
        cmocka_unit_test(test_unsound),
        cmocka_unit_test(test_replicate_registers),
        cmocka_unit_test(test_the_only_member),
        cmocka_unit_test(test_needs),
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests_name("topology_change", tests, NULL, NULL);
}
