// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy_gain.c, between real replicas: what a change gives a member is whole
 * when it says so, from all of the old set, whatever fails in between. Source: model/topology.h,
 * model/topology_change.h (needs). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/move_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define STRONG   KEYSPACE_TEST_STRONG
#define KEYS     60u
#define SECONDS  (1000 * MS)

/* SELF gains this partition; each key lies on one of the old replicas alone. */
static uint32_t begin(struct moves *m)
{
    change_operate(
        &m->f, (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = SELF, .weight = 3});
    change_operate(&m->f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&m->f);
    uint32_t partition = change_partition(&m->f, KEYSPACE, 1u << TOPOLOGY_NEXT);
    moves_show_all(m);
    moves_run(m, 2 * SECONDS);
    uint32_t old[NODES] = {0};
    uint32_t count = 0;
    for (uint32_t member = 1; member <= NODES; member++) {
        if ((change_sides(&m->f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) != 0)
            old[count++] = member;
    }
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(moves_put(m, old[i % 3], KEYSPACE,
                                   change_key(&m->f, KEYSPACE, partition, i), old[i % 3], "v"),
                         OK);
    return partition;
}

static void announce(struct moves *m, uint32_t partition)
{
    moves_step(m, partition, PHASE_ANNOUNCED);
    moves_show_all(m);
}

static uint32_t old_replica(const struct moves *m, uint32_t partition)
{
    uint32_t member = 1;
    while ((change_sides(&m->f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) == 0)
        member++;
    return member;
}

static void holds_all(struct moves *m, uint32_t member, uint32_t partition)
{
    struct version_set set;
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(
            moves_get(m, member, KEYSPACE, change_key(&m->f, KEYSPACE, partition, i), &set), OK);
        assert_int_equal(set.count, 1);
    }
}

/* From the announcement to the first read; what is written meanwhile is there as well. */
static void filled_from_all(void **state)
{
    (void)state;
    struct moves m;
    struct version_set set;
    moves_init(&m);
    uint32_t partition = begin(&m);
    const char *late = change_key(&m.f, KEYSPACE, partition, KEYS);
    assert_false(moves_filled(&m, SELF, partition));
    announce(&m, partition);
    assert_false(moves_filled(&m, SELF, partition));
    assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
    uint64_t held = store_bytes(engine_store(m.nodes[SELF].engine, HANDLE_ACTOR), partition);
    assert_int_equal(moves_put(&m, SELF, KEYSPACE, late, 2, "w"), OK);
    const struct vnode_report_reply *report = moves_report(&m, SELF);
    assert_int_equal(report->epoch, m.f.topology.epoch);
    assert_int_equal(report->change, topology_change_name(&m.f.topology));
    assert_true(report->gains > 0);
    assert_int_equal(report->gains_filled, 1);
    /* In the unit of the sizes, and nothing twice although there are several sources. */
    assert_in_range(report->bytes_copied, held / 2, held);
    assert_true(report->bytes_per_second > 0);
    assert_true(report->free_bytes > 0);
    assert_int_equal(report->sizes.size, 16 * 8);
    moves_step(&m, partition, PHASE_COPIED);
    moves_show_all(&m);
    holds_all(&m, SELF, partition);
    assert_int_equal(moves_get(&m, SELF, KEYSPACE, late, &set), OK);
    assert_int_equal(set.count, 1);
    assert_true(moves_filled(&m, SELF, partition));

    /* All that is left of it: who lost it has dropped it. */
    moves_step(&m, partition, PHASE_DONE);
    moves_show_all(&m);
    moves_run(&m, 2 * SECONDS);
    uint64_t dropped = 0;
    for (uint32_t member = 1; member <= NODES; member++)
        dropped += counter_get(&replica_figures(m.nodes[member].replica)->vnodes_dropped);
    assert_int_equal(dropped, 1);
    holds_all(&m, SELF, partition);
    moves_deinit(&m);
}

/* An old replica that cannot be reached, or does not know of the announcement, is waited for: what
 * only it has would be missing. One that is gone is not. */
static void every_source_is_needed(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct moves m;
        moves_init(&m);
        uint32_t partition = begin(&m);
        uint32_t lagging = old_replica(&m, partition);
        moves_step(&m, partition, PHASE_ANNOUNCED);
        if (how == 2) {
            struct member *members = m.f.topology.members;
            members[lagging - 1].gone = true;
        }
        for (uint32_t member = 1; member <= NODES; member++) {
            if (how != 1 || member != lagging)
                moves_show(&m, member);
        }
        m.nodes[lagging].cut = how != 1;
        bool filled = moves_until_filled(&m, SELF, partition, 40 * SECONDS);
        assert_int_equal(filled, how == 2);
        m.nodes[lagging].cut = false;
        moves_show(&m, lagging);
        assert_true(moves_until_filled(&m, SELF, partition, 40 * SECONDS));
        if (how != 2) {
            moves_step(&m, partition, PHASE_COPIED);
            moves_show_all(&m);
            holds_all(&m, SELF, partition);
        }
        moves_deinit(&m);
    }
}

/* Crashes of the one that is filled and of those that it is filled from, at many times. */
static void crashes(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 12; round++) {
        struct moves m;
        moves_init(&m);
        uint32_t partition = begin(&m);
        announce(&m, partition);
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t passes = 0; passes < 1 + (round * 7 + i * 3) % 20; passes++)
                moves_pass(&m, 5 * MS);
            moves_crash(&m, i == 2 ? old_replica(&m, partition) : SELF);
        }
        assert_true(moves_until_filled(&m, SELF, partition, 60 * SECONDS));
        moves_crash(&m, SELF);
        assert_true(moves_until_filled(&m, SELF, partition, 5 * SECONDS)); /* it is told again */
        moves_step(&m, partition, PHASE_COPIED);
        moves_show_all(&m);
        holds_all(&m, SELF, partition);
        moves_deinit(&m);
    }
}

/* Paused, nothing is copied; resumed, it goes on. */
static void pause_and_resume(void **state)
{
    (void)state;
    struct moves m;
    moves_init(&m);
    uint32_t partition = begin(&m);
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_PAUSE});
    announce(&m, partition);
    assert_false(moves_until_filled(&m, SELF, partition, 10 * SECONDS));
    assert_int_equal(counter_get(&anti_entropy_figures(m.nodes[SELF].ae)->fill_bytes), 0);
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_RESUME});
    moves_show_all(&m);
    assert_true(moves_until_filled(&m, SELF, partition, 10 * SECONDS));
    moves_deinit(&m);
}

/* No faster than the change says. */
static void paced(void **state)
{
    (void)state;
    uint64_t took_ns[2];
    for (int slow = 0; slow < 2; slow++) {
        struct moves m;
        moves_init(&m);
        uint32_t partition = begin(&m);
        change_operate(
            &m.f, (struct topology_operation){.kind = TOPOLOGY_PACE,
                                              .bytes_per_second = slow == 0 ? 100 << 20 : 2000});
        uint64_t begun_ns = m.f.ctx.now_ns;
        announce(&m, partition);
        assert_true(moves_until_filled(&m, SELF, partition, 60 * SECONDS));
        took_ns[slow] = m.f.ctx.now_ns - begun_ns;
        uint64_t bytes = counter_get(&anti_entropy_figures(m.nodes[SELF].ae)->fill_bytes);
        if (slow == 1)
            assert_true(took_ns[1] > (bytes - 4000) * SECONDS / 2000 / 2);
        moves_deinit(&m);
    }
    assert_true(took_ns[1] > 2 * took_ns[0]);
}

/* Where a set becomes smaller, those that stay hear of all that those who go hold. */
static void smaller_sets_are_compared(void **state)
{
    (void)state;
    struct moves m;
    struct version_set set;
    moves_init(&m);
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_REPLICATE,
                                                     .keyspace_id = m.f.keyspace_ids[KEYSPACE],
                                                     .n = {1}});
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&m.f);
    uint32_t partition = change_partition(&m.f, KEYSPACE, 3);
    moves_show_all(&m);
    moves_run(&m, 2 * SECONDS);
    for (uint32_t member = 2; member <= NODES; member++) {
        if ((change_sides(&m.f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) != 0)
            assert_int_equal(moves_put(&m, member, KEYSPACE,
                                       change_key(&m.f, KEYSPACE, partition, member), member, "v"),
                             OK);
    }
    assert_false(moves_filled(&m, SELF, partition));
    announce(&m, partition);
    assert_false(moves_filled(&m, SELF, partition));
    assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
    moves_step(&m, partition, PHASE_COPIED);
    moves_show_all(&m);
    for (uint32_t member = 2; member <= NODES; member++) {
        if ((change_sides(&m.f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) == 0)
            continue;
        assert_int_equal(
            moves_get(&m, SELF, KEYSPACE, change_key(&m.f, KEYSPACE, partition, member), &set), OK);
        assert_int_equal(set.count, 1);
    }
    moves_deinit(&m);
}

static void accept_register(struct moves *m, uint32_t member, uint32_t partition, const char *key)
{
    struct message *message = message_new(MESSAGE_register_accept, 0);
    message->register_accept = (struct register_accept){.partition = partition,
                                                        .keyspace_id = m->f.keyspace_ids[STRONG],
                                                        .key = bytes_of_string(key),
                                                        .ballot = {.counter = 8, .member = member},
                                                        .value = bytes_of_string("x")};
    assert_int_equal(moves_ask(m, member, ACTOR_REPLICA, message)->register_accept_reply.status,
                     OK);
}

/* Every register that a majority of the old set knows of is settled, each once, before the copy is
 * filled. */
static void registers_are_settled(void **state)
{
    (void)state;
    struct moves m;
    moves_init(&m);
    uint32_t partition = begin(&m);
    uint32_t old[NODES] = {0};
    uint32_t count = 0;
    for (uint32_t member = 1; member <= NODES; member++) {
        if ((change_sides(&m.f, STRONG, partition, member) & 1u << TOPOLOGY_NOW) != 0)
            old[count++] = member;
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        const char *key = change_key(&m.f, STRONG, partition, i);
        accept_register(&m, old[i % 3], partition, key);
        accept_register(&m, old[(i + 1) % 3], partition, key);
    }
    m.settle_fails = true;
    announce(&m, partition);
    assert_false(moves_until_filled(&m, SELF, partition, 5 * SECONDS));
    m.settle_fails = false;
    m.nodes[old[0]].cut = true; /* a majority is enough, but not for the other keyspaces */
    moves_run(&m, 10 * SECONDS);
    m.nodes[old[0]].cut = false;
    assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
    assert_int_equal(m.settled, KEYS);
    moves_deinit(&m);
}

/* The actor has its turn at short intervals, as when it has much else to do. */
static void keep_busy(struct moves *m, uint32_t member, uint64_t ns)
{
    for (uint64_t passed = 0; passed < ns; passed += 20 * MS) {
        struct actor_context ctx = moves_context(m, &m->nodes[member]);
        actor_tick(anti_entropy_actor(m->nodes[member].ae), &ctx);
        moves_run(m, 20 * MS);
    }
}

/* Lists that the old set refuses, for it has not heard of the announcement yet, are asked for again
 * soon, whatever else keeps the actor busy. */
static void refused_lists_are_asked_again(void **state)
{
    (void)state;
    struct moves m;
    moves_init(&m);
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_REPLICATE,
                                                     .keyspace_id = m.f.keyspace_ids[STRONG],
                                                     .n = {1}});
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&m.f);
    uint32_t partition = change_partition(&m.f, STRONG, 3);
    const char *key = change_key(&m.f, STRONG, partition, 0);
    moves_show_all(&m);
    moves_run(&m, SECONDS);
    for (uint32_t member = 1; member <= NODES; member++) {
        if ((change_sides(&m.f, STRONG, partition, member) & 1u << TOPOLOGY_NOW) != 0)
            accept_register(&m, member, partition, key);
    }
    moves_step(&m, partition, PHASE_ANNOUNCED);
    moves_show(&m, SELF);
    keep_busy(&m, SELF, SECONDS);
    assert_int_equal(m.settled, 0);
    moves_show_all(&m);
    keep_busy(&m, SELF, SECONDS);
    assert_int_equal(m.settled, 1);
    moves_deinit(&m);
}

static void damage(struct moves *m, uint32_t member, uint32_t partition, const char *name)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint32_t id = m->f.keyspace_ids[KEYSPACE];
    struct bytes text = bytes_of_string(name);
    struct bytes key = bytes_of(memory, hash_storage_key(id, text, hash_key(id, text), memory));
    assert_true(engine_memory_damage(m->nodes[member].engine, partition, key, 80));
}

/* A bad row at who is read: it is not said to be filled before that is mended, from the copy that
 * is to go. */
static void bad_rows_are_mended_first(void **state)
{
    (void)state;
    struct moves m;
    struct version_set set;
    moves_init(&m);
    uint32_t partition = begin(&m);
    announce(&m, partition);
    assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
    moves_step(&m, partition, PHASE_COPIED);
    moves_show_all(&m);
    assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
    const char *name = change_key(&m.f, KEYSPACE, partition, 1);
    damage(&m, SELF, partition, name);
    m.nodes[SELF].cut = true;
    assert_int_equal(moves_get(&m, SELF, KEYSPACE, name, &set), ERR_CORRUPT);
    moves_run(&m, 100 * MS);
    assert_false(moves_until_filled(&m, SELF, partition, 10 * SECONDS));
    m.nodes[SELF].cut = false;
    assert_true(moves_until_filled(&m, SELF, partition, 60 * SECONDS));
    assert_int_equal(moves_get(&m, SELF, KEYSPACE, name, &set), OK);
    assert_int_equal(set.count, 1);
    moves_deinit(&m);
}

/* The bad row of an only replica: that who is just being given the partition has nothing there says
 * nothing, neither before the change is taken back nor after. */
static void bad_row_of_an_only_replica(void **state)
{
    (void)state;
    struct moves m;
    struct version_set set;
    moves_init(&m);
    change_replicate(&m.f, KEYSPACE, 1);
    change_finish(&m.f);
    change_operate(
        &m.f, (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = SELF, .weight = 3});
    change_commit(&m.f);
    uint32_t partition = change_partition(&m.f, KEYSPACE, 1u << TOPOLOGY_NEXT);
    uint32_t old = old_replica(&m, partition);
    moves_show_all(&m);
    moves_run(&m, 2 * SECONDS);
    const char *name = change_key(&m.f, KEYSPACE, partition, 1);
    assert_int_equal(moves_put(&m, old, KEYSPACE, name, old, "v"), OK);
    announce(&m, partition);
    damage(&m, old, partition, name);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(moves_get(&m, old, KEYSPACE, name, &set), ERR_CORRUPT);
        moves_run(&m, 40 * SECONDS);
        assert_int_equal(moves_get(&m, old, KEYSPACE, name, &set), ERR_CORRUPT);
        assert_int_equal(counter_get(&anti_entropy_figures(m.nodes[old].ae)->records_repaired), 0);
        if (i == 0) {
            change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_ABORT});
            assert_int_equal(m.f.topology.phases[partition], PHASE_COPIED);
            moves_show_all(&m);
        }
    }
    moves_deinit(&m);
}

/* Nor does the bad row of one of three wait for who is just being given the partition: from below
 * the floor of the others its answer would have the repair refused for ever. */
static void bad_row_while_another_is_given(void **state)
{
    (void)state;
    struct moves m;
    struct version_set set;
    moves_init(&m);
    uint32_t partition = begin(&m);
    uint32_t old = old_replica(&m, partition);
    const char *name = change_key(&m.f, KEYSPACE, partition, KEYS);
    for (uint32_t member = 1; member <= NODES; member++) {
        if ((change_sides(&m.f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) != 0)
            assert_int_equal(moves_put(&m, member, KEYSPACE, name, old, "v"), OK);
    }
    m.nodes[SELF].cut = true;
    announce(&m, partition);
    damage(&m, old, partition, name);
    assert_int_equal(moves_get(&m, old, KEYSPACE, name, &set), ERR_CORRUPT);
    moves_run(&m, 40 * SECONDS);
    assert_int_equal(moves_get(&m, old, KEYSPACE, name, &set), OK);
    assert_int_equal(set.count, 1);
    moves_deinit(&m);
}

/* The copy is emptied, as one whose disk was put back; nobody fills it for now. */
static void lose_copy(struct moves *m, uint32_t partition)
{
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    m->nodes[SELF].cut = true;
    message->from = message->to = actor_id_of(SELF, ACTOR_REPLICA);
    message->vnode_doubt = (struct vnode_doubt){.partition = partition, .reason = DOUBT_RESTORED};
    moves_deliver(m, message);
    moves_run(m, SECONDS);
}

/* What it gained is lost before the change is over, and another change announces the partition
 * before it has been filled again, of a keyspace that goes over or of the same one with fewer
 * replicas: it is filled all the same, and compared where that is asked for. */
static void lost_ones_are_filled_through_the_next_change(void **state)
{
    (void)state;
    for (int fewer = 0; fewer < 2; fewer++) {
        struct moves m;
        moves_init(&m);
        uint32_t partition = begin(&m);
        announce(&m, partition);
        assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
        lose_copy(&m, partition);
        change_finish(&m.f);
        moves_show_all(&m);
        moves_run(&m, SECONDS);
        change_replicate(&m.f, fewer ? KEYSPACE : STRONG, fewer ? 2 : 1);
        announce(&m, partition);
        moves_run(&m, SECONDS);
        m.nodes[SELF].cut = false;
        assert_true(moves_until_filled(&m, SELF, partition, 60 * SECONDS));
        moves_run(&m, 20 * SECONDS);
        holds_all(&m, SELF, partition);
        moves_deinit(&m);
    }
}

/* An announcement that was taken back: nothing is said to be filled for it, and the copy goes. */
static void taken_back(void **state)
{
    (void)state;
    for (int filled = 0; filled < 2; filled++) {
        struct moves m;
        moves_init(&m);
        uint32_t partition = begin(&m);
        announce(&m, partition);
        if (filled == 1)
            assert_true(moves_until_filled(&m, SELF, partition, 20 * SECONDS));
        else
            moves_run(&m, 30 * MS);
        change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_ABORT});
        moves_show_all(&m);
        moves_run(&m, SECONDS);
        moves_step(&m, partition, PHASE_DONE);
        moves_show_all(&m);
        moves_run(&m, SECONDS);
        const struct vnode_report_reply *report = moves_report(&m, SELF);
        assert_int_equal(report->change, topology_change_name(&m.f.topology));
        assert_int_equal(counter_get(&anti_entropy_figures(m.nodes[SELF].ae)->gains), 0);
        assert_int_equal(store_bytes(engine_store(m.nodes[SELF].engine, HANDLE_ACTOR), partition),
                         0);
        uint32_t member = 1; /* who is read again */
        while (change_sides(&m.f, KEYSPACE, partition, member) >> TOPOLOGY_NEXT != 1)
            member++;
        struct version_set set;
        const char *key = change_key(&m.f, KEYSPACE, partition, 0);
        assert_int_equal(moves_get(&m, member, KEYSPACE, key, &set), OK);
        assert_int_equal(set.count, 1);
        moves_deinit(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filled_from_all),
        cmocka_unit_test(every_source_is_needed),
        cmocka_unit_test(crashes),
        cmocka_unit_test(pause_and_resume),
        cmocka_unit_test(paced),
        cmocka_unit_test(smaller_sets_are_compared),
        cmocka_unit_test(registers_are_settled),
        cmocka_unit_test(refused_lists_are_asked_again),
        cmocka_unit_test(bad_rows_are_mended_first),
        cmocka_unit_test(bad_row_of_an_only_replica),
        cmocka_unit_test(bad_row_while_another_is_given),
        cmocka_unit_test(lost_ones_are_filled_through_the_next_change),
        cmocka_unit_test(taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
