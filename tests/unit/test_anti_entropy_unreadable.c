// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy_give.c, between real replicas: a copy that its store cannot read in
 * part is not emptied while what it can read may be nowhere else; whoever is filled from it waits,
 * and both say why; nothing but what nobody can read is lost, and that when somebody gives it up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/move_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define KEYS     20u
#define HIDDEN   7u
#define SECONDS  (1000 * MS)

static uint64_t figure(const struct counter *counter)
{
    return counter_get(counter);
}

static bool is_old(struct moves *m, uint32_t partition, uint32_t member)
{
    return (change_sides(&m->f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) != 0;
}

/* `n` replicas of a partition, in member order, which all hold all keys. */
static uint32_t begin(struct moves *m, uint8_t n, uint32_t ret_old[3])
{
    uint32_t count = 0;
    moves_init(m);
    /* Nobody here begins anew as an acceptor. */
    struct keyspace registers =
        *keyspace_map_find_id(&m->f.map, m->f.keyspace_ids[KEYSPACE_TEST_STRONG]);
    registers.dropped = true;
    m->f.map = keyspace_map_put(&m->f.arena, &m->f.map, &registers);
    if (n != 3) {
        change_replicate(&m->f, KEYSPACE, n);
        change_finish(&m->f);
    }
    moves_show_all(m);
    moves_run(m, 2 * SECONDS);
    uint32_t partition =
        change_partition(&m->f, KEYSPACE, 1u << TOPOLOGY_NOW | 1u << TOPOLOGY_NEXT);
    for (uint32_t member = 1; member <= NODES; member++) {
        if (!is_old(m, partition, member))
            continue;
        ret_old[count++] = member;
        for (uint32_t i = 0; i < KEYS; i++)
            assert_int_equal(
                moves_put(m, member, KEYSPACE, change_key(&m->f, KEYSPACE, partition, i), 1, "v"),
                OK);
    }
    assert_int_equal(count, n);
    return partition;
}

static void hide(struct moves *m, uint32_t member, uint32_t partition, uint32_t number)
{
    const char *name = change_key(&m->f, KEYSPACE, partition, number);
    uint64_t hash = hash_key(m->f.keyspace_ids[KEYSPACE], bytes_of_string(name));
    assert_true(engine_memory_hide(m->nodes[member].engine, partition, hash, hash));
}

static void lose(struct moves *m, uint32_t member, uint32_t partition)
{
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->from = message->to = actor_id_of(member, ACTOR_REPLICA);
    message->vnode_doubt = (struct vnode_doubt){.partition = partition, .reason = DOUBT_WIPED};
    moves_deliver(m, message);
}

/* Of one keyspace, or of all (0): any may have rows there. */
static void give_up(struct moves *m, uint32_t member, uint32_t keyspace_id)
{
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->client_maintenance = (struct client_maintenance){
        .operation = MAINTENANCE_REPAIR_START, .keyspace_id = keyspace_id, .gives_up = true};
    assert_int_equal(
        moves_ask(m, member, ACTOR_ANTI_ENTROPY, message)->client_maintenance_done.status, OK);
}

static enum err get(struct moves *m, uint32_t member, uint32_t partition, uint32_t number,
                    uint32_t *ret_count)
{
    struct version_set set;
    enum err err =
        moves_get(m, member, KEYSPACE, change_key(&m->f, KEYSPACE, partition, number), &set);
    *ret_count = set.count;
    return err;
}

/* All keys, but for the one that is given up. */
static void holds_all(struct moves *m, uint32_t member, uint32_t partition, bool gave_up)
{
    uint32_t count;
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(get(m, member, partition, i, &count), OK);
        assert_int_equal(count, gave_up && i == HIDDEN ? 0 : 1);
    }
    const struct replica_figures *figures = replica_figures(m->nodes[member].replica);
    assert_int_equal(figure(&figures->vnodes_incomplete), 0);
    assert_int_equal(figure(&figures->vnodes_unreadable), 0);
    assert_int_equal(figure(&anti_entropy_figures(m->nodes[member].ae)->incomplete), 0);
}

/* What can be read of a copy that goes on: all but one, which is never "not found". */
static void serves_the_rest(struct moves *m, uint32_t member, uint32_t partition)
{
    uint32_t count;
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(get(m, member, partition, i, &count), i == HIDDEN ? ERR_CORRUPT : OK);
        assert_true(i == HIDDEN || count == 1);
    }
    assert_int_equal(figure(&replica_figures(m->nodes[member].replica)->vnodes_unreadable), 1);
}

/* That its copy waits, for that member (MEMBER_NONE: for nobody). */
static bool says(struct moves *m, uint32_t member, enum wait_cause cause, uint32_t other)
{
    struct waits waits;
    assert_int_equal(waits_decode(&m->f.arena, moves_report(m, member)->waits, &waits), OK);
    for (uint32_t i = 0; i < waits.count; i++) {
        if (waits.list[i].cause == cause && waits.list[i].member == other &&
            waits.list[i].keyspace_id == m->f.keyspace_ids[KEYSPACE])
            return true;
    }
    return false;
}

/* The other one of two was lost: it gets what can be read and waits, through starts of either,
 * until the rest is given up. Only that is lost. */
static void beside_a_lost_copy(void **state)
{
    (void)state;
    for (int restarts = 0; restarts < 3; restarts++) {
        struct moves m;
        uint32_t pair[3];
        uint32_t count;
        uint32_t partition = begin(&m, 2, pair);
        hide(&m, pair[0], partition, HIDDEN);
        lose(&m, pair[1], partition);
        assert_int_equal(get(&m, pair[0], partition, HIDDEN, &count), ERR_CORRUPT);
        moves_run(&m, 30 * SECONDS);
        if (restarts > 0) {
            moves_crash(&m, pair[restarts - 1]);
            moves_show(&m, pair[restarts - 1]);
        }
        moves_run(&m, 60 * SECONDS);
        serves_the_rest(&m, pair[0], partition);
        assert_int_equal(get(&m, pair[1], partition, 3, &count), ERR_INCOMPLETE);
        assert_true(says(&m, pair[0], WAIT_UNREADABLE, pair[1]));
        assert_true(says(&m, pair[1], WAIT_EXCHANGE, pair[0]));
        give_up(&m, pair[0], m.f.keyspace_ids[KEYSPACE]);
        moves_run(&m, 90 * SECONDS);
        assert_int_equal(get(&m, pair[1], partition, HIDDEN, &count), OK);
        assert_int_equal(count, 0);
        serves_the_rest(&m, pair[0], partition); /* rows of other keyspaces may be there */
        give_up(&m, pair[0], 0);
        moves_run(&m, 90 * SECONDS);
        holds_all(&m, pair[0], partition, true);
        holds_all(&m, pair[1], partition, true);
        assert_false(says(&m, pair[0], WAIT_UNREADABLE, pair[1]));
        moves_deinit(&m);
    }
}

/* Where the other one is complete it takes what only this one has acknowledged, and gives all back;
 * nobody gives anything up. While it is away this one goes on. */
static void beside_a_complete_copy(void **state)
{
    (void)state;
    for (int away = 0; away < 2; away++) {
        struct moves m;
        uint32_t pair[3];
        uint32_t count;
        uint32_t partition = begin(&m, 2, pair);
        const char *name = change_key(&m.f, KEYSPACE, partition, KEYS);
        m.nodes[pair[1]].cut = away == 1;
        hide(&m, pair[0], partition, HIDDEN);
        assert_int_equal(moves_put(&m, pair[0], KEYSPACE, name, 2, "here alone"), OK);
        assert_int_equal(get(&m, pair[0], partition, HIDDEN, &count), ERR_CORRUPT);
        if (away == 1) {
            moves_run(&m, 60 * SECONDS);
            serves_the_rest(&m, pair[0], partition);
            assert_true(says(&m, pair[0], WAIT_UNREADABLE, pair[1]));
        }
        m.nodes[pair[1]].cut = false;
        moves_run(&m, 60 * SECONDS);
        for (uint32_t i = 0; i < 2; i++) {
            holds_all(&m, pair[i], partition, false);
            assert_int_equal(get(&m, pair[i], partition, KEYS, &count), OK);
            assert_int_equal(count, 1);
        }
        moves_deinit(&m);
    }
}

/* Of three one was lost, and may have been the other one that had what cannot be read here: both
 * wait for each other, and it is given up. Then the third one gives it back, for it had it. */
static void beside_a_lost_and_a_complete_copy(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old[3];
    uint32_t count;
    uint32_t partition = begin(&m, 3, old);
    hide(&m, old[0], partition, HIDDEN);
    lose(&m, old[1], partition);
    assert_int_equal(get(&m, old[0], partition, HIDDEN, &count), ERR_CORRUPT);
    moves_run(&m, 60 * SECONDS);
    serves_the_rest(&m, old[0], partition);
    assert_true(says(&m, old[0], WAIT_UNREADABLE, old[1]));
    assert_false(says(&m, old[0], WAIT_UNREADABLE, old[2]));
    give_up(&m, old[0], 0);
    moves_run(&m, 90 * SECONDS);
    for (uint32_t i = 0; i < 3; i++)
        holds_all(&m, old[i], partition, false);
    moves_deinit(&m);
}

/* Of three complete ones the other two give back what it cannot read, when both are there. */
static void one_of_three(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old[3];
    uint32_t count;
    uint32_t partition = begin(&m, 3, old);
    m.nodes[old[2]].cut = true;
    hide(&m, old[0], partition, HIDDEN);
    assert_int_equal(get(&m, old[0], partition, HIDDEN, &count), ERR_CORRUPT);
    moves_run(&m, 30 * SECONDS);
    serves_the_rest(&m, old[0], partition);
    m.nodes[old[2]].cut = false;
    moves_run(&m, 60 * SECONDS);
    for (uint32_t i = 0; i < 3; i++)
        holds_all(&m, old[i], partition, false);
    moves_deinit(&m);
}

/* The one that a change gives the partition. */
static uint32_t gaining(struct moves *m, uint32_t partition)
{
    uint32_t member = 1;
    while (change_sides(&m->f, KEYSPACE, partition, member) != 1u << TOPOLOGY_NEXT)
        member++;
    return member;
}

/* The change is known to all, and the partition announced; who gains it. */
static uint32_t announce(struct moves *m, uint32_t partition)
{
    moves_show_all(m);
    moves_run(m, 2 * SECONDS);
    moves_step(m, partition, PHASE_ANNOUNCED);
    moves_show_all(m);
    return gaining(m, partition);
}

/* Two that are unreadable at different places hold each other's rest, and neither is emptied: what
 * one of them cannot read the other one has. Who takes the place of one, when it is given up at
 * both, has all; then the other one has somebody to be filled from. */
static void two_of_two(void **state)
{
    (void)state;
    struct moves m;
    uint32_t pair[3];
    uint32_t count;
    uint32_t partition = begin(&m, 2, pair);
    hide(&m, pair[0], partition, HIDDEN);
    hide(&m, pair[1], partition, HIDDEN + 1);
    assert_int_equal(get(&m, pair[0], partition, HIDDEN, &count), ERR_CORRUPT);
    assert_int_equal(get(&m, pair[1], partition, HIDDEN + 1, &count), ERR_CORRUPT);
    moves_run(&m, 90 * SECONDS);
    serves_the_rest(&m, pair[0], partition);
    assert_int_equal(get(&m, pair[1], partition, HIDDEN, &count), OK);
    assert_int_equal(count, 1);
    change_operate(&m.f, (struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = pair[0]});
    change_commit(&m.f);
    uint32_t gains = announce(&m, partition);
    assert_false(moves_until_filled(&m, gains, partition, 30 * SECONDS));
    give_up(&m, pair[0], 0);
    give_up(&m, pair[1], 0);
    assert_true(moves_until_filled(&m, gains, partition, 90 * SECONDS));
    moves_step(&m, partition, PHASE_COPIED);
    moves_show_all(&m);
    moves_run(&m, 90 * SECONDS);
    holds_all(&m, gains, partition, false);
    holds_all(&m, pair[1], partition, false);
    moves_deinit(&m);
}

/* The only replica goes on, and says that there is nobody; who is given its copy waits until the
 * rest is given up. */
static void the_only_copy(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old[3];
    uint32_t count;
    uint32_t partition = begin(&m, 1, old);
    hide(&m, old[0], partition, HIDDEN);
    assert_int_equal(get(&m, old[0], partition, HIDDEN, &count), ERR_CORRUPT);
    moves_run(&m, 60 * SECONDS);
    serves_the_rest(&m, old[0], partition);
    assert_true(says(&m, old[0], WAIT_UNREADABLE, MEMBER_NONE));
    change_replicate(&m.f, KEYSPACE, 2);
    uint32_t gains = announce(&m, partition);
    assert_false(moves_until_filled(&m, gains, partition, 60 * SECONDS));
    assert_true(says(&m, gains, WAIT_EXCHANGE, old[0]));
    give_up(&m, old[0], 0);
    assert_true(moves_until_filled(&m, gains, partition, 90 * SECONDS));
    moves_step(&m, partition, PHASE_COPIED);
    moves_show_all(&m);
    moves_run(&m, 60 * SECONDS);
    holds_all(&m, gains, partition, true);
    holds_all(&m, old[0], partition, true);
    moves_deinit(&m);
}

/* A change is taken back before it has given anybody the copy, for it waits: whoever was to get it
 * drops out as he is, which waits for those that stay. They do not wait for him. */
static void beside_a_lost_copy_and_an_aborted_one(void **state)
{
    (void)state;
    struct moves m;
    uint32_t pair[3];
    uint32_t count;
    uint32_t partition = begin(&m, 2, pair);
    hide(&m, pair[0], partition, HIDDEN);
    lose(&m, pair[1], partition);
    assert_int_equal(get(&m, pair[0], partition, HIDDEN, &count), ERR_CORRUPT);
    change_replicate(&m.f, KEYSPACE, 3);
    uint32_t gains = announce(&m, partition);
    assert_false(moves_until_filled(&m, gains, partition, 30 * SECONDS));
    change_abort(&m.f);
    assert_int_equal(m.f.topology.phases[partition], PHASE_COPIED);
    moves_show_all(&m);
    moves_run(&m, 60 * SECONDS);
    serves_the_rest(&m, pair[0], partition);
    assert_false(moves_filled(&m, pair[0], partition));
    give_up(&m, pair[0], 0);
    moves_run(&m, 90 * SECONDS);
    for (uint32_t i = 0; i < 2; i++) {
        holds_all(&m, pair[i], partition, true);
        assert_true(moves_filled(&m, pair[i], partition));
    }
    moves_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_a_lost_copy),
        cmocka_unit_test(beside_a_complete_copy),
        cmocka_unit_test(beside_a_lost_and_a_complete_copy),
        cmocka_unit_test(one_of_three),
        cmocka_unit_test(two_of_two),
        cmocka_unit_test(the_only_copy),
        cmocka_unit_test(beside_a_lost_copy_and_an_aborted_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
