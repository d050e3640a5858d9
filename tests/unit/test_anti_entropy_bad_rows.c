// link: coterie_actors coterie_store
/* Rules of actors/replica_quarantine.h, anti_entropy_gain.c and anti_entropy_completion.c, between
 * real replicas: where a row cannot be read, nobody says that there is nothing: neither the copy
 * that a change makes of it, nor one that was lost and is filled from it, nor a repair that found
 * nobody who could tell, until somebody gives the row up. It delays nothing but its keyspace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/move_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define OTHER    KEYSPACE_TEST_LWW
#define KEYS     20u
#define SECONDS  (1000 * MS)

static bool is_old(struct moves *m, uint32_t partition, uint32_t member)
{
    return (change_sides(&m->f, KEYSPACE, partition, member) & 1u << TOPOLOGY_NOW) != 0;
}

/* The next of the replicas that have the partition, 0 behind the last; after 0: the first. */
static uint32_t old_after(struct moves *m, uint32_t partition, uint32_t member)
{
    for (member++; member <= NODES; member++) {
        if (is_old(m, partition, member))
            return member;
    }
    return 0;
}

#define EACH_OLD(member, m, partition)                                                             \
    (uint32_t member = old_after(m, partition, 0); member != 0;                                    \
     member = old_after(m, partition, member))

/* SELF is to gain a partition of `n` replicas; all of them hold all keys. */
static uint32_t begin(struct moves *m, uint8_t n, uint32_t *ret_old)
{
    moves_init(m);
    if (n != 3) {
        change_replicate(&m->f, KEYSPACE, n);
        change_finish(&m->f);
    }
    change_operate(
        &m->f, (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = SELF, .weight = 3});
    change_commit(&m->f);
    uint32_t partition = change_partition(&m->f, KEYSPACE, 1u << TOPOLOGY_NEXT);
    moves_show_all(m);
    moves_run(m, 2 * SECONDS);
    *ret_old = old_after(m, partition, 0);
    for
        EACH_OLD(member, m, partition)
        {
            for (uint32_t i = 0; i < KEYS; i++)
                assert_int_equal(moves_put(m, member, KEYSPACE,
                                           change_key(&m->f, KEYSPACE, partition, i), 1, "v"),
                                 OK);
        }
    return partition;
}

static void announce(struct moves *m, uint32_t partition)
{
    moves_step(m, partition, PHASE_ANNOUNCED);
    moves_show_all(m);
}

static void damage(struct moves *m, uint32_t member, uint32_t partition, const char *name)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint32_t id = m->f.keyspace_ids[KEYSPACE];
    struct bytes text = bytes_of_string(name);
    struct bytes key = bytes_of(memory, hash_storage_key(id, text, hash_key(id, text), memory));
    assert_true(engine_memory_damage(m->nodes[member].engine, partition, key, 80));
}

static uint64_t figure(const struct counter *counter)
{
    return counter_get(counter);
}

static enum err get(struct moves *m, uint32_t member, const char *name, uint32_t *ret_count)
{
    struct version_set set;
    enum err err = moves_get(m, member, KEYSPACE, name, &set);
    *ret_count = set.count;
    return err;
}

static struct client_maintenance_done give_up(struct moves *m, uint32_t member, uint64_t task)
{
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->client_maintenance = (struct client_maintenance){
        .operation = task == 0 ? MAINTENANCE_REPAIR_START : MAINTENANCE_REPAIR_STATUS,
        .task = task,
        .keyspace_id = m->f.keyspace_ids[KEYSPACE],
        .gives_up = true,
    };
    struct client_maintenance_done done =
        moves_ask(m, member, ACTOR_ANTI_ENTROPY, message)->client_maintenance_done;
    assert_int_equal(done.status, OK);
    return done;
}

/* What the member says that its copy waits for. */
static bool says_bad_rows(struct moves *m, uint32_t member, uint32_t source)
{
    struct waits waits;
    const struct vnode_report_reply *report = moves_report(m, member);
    assert_int_equal(waits_decode(&m->f.arena, report->waits, &waits), OK);
    for (uint32_t i = 0; i < waits.count; i++) {
        const struct wait *wait = &waits.list[i];
        if (wait->cause == WAIT_EXCHANGE && wait->member == source &&
            wait->keyspace_id == m->f.keyspace_ids[KEYSPACE] && wait->why != NULL &&
            strcmp(wait->why, WAIT_WHY_BAD_ROWS) == 0)
            return true;
    }
    return false;
}

/* The only replica cannot read a row: who is given the partition has all others, is not filled, and
 * says why, also when the source knows of the row by its start alone; it has it when somebody gave
 * the row up, as nothing. */
static void copy_of_an_only_replica(void **state)
{
    (void)state;
    for (int restarts = 0; restarts < 2; restarts++) {
        struct moves m;
        uint32_t old;
        uint32_t count;
        uint32_t partition = begin(&m, 1, &old);
        const char *name = change_key(&m.f, KEYSPACE, partition, 7);
        damage(&m, old, partition, name);
        announce(&m, partition);
        assert_false(moves_until_filled(&m, SELF, partition, 5 * SECONDS));
        if (restarts == 1) {
            moves_crash(&m, old);
            moves_show(&m, old);
        }
        assert_false(moves_until_filled(&m, SELF, partition, 60 * SECONDS));
        assert_true(says_bad_rows(&m, SELF, old));
        assert_int_equal(figure(&anti_entropy_figures(m.nodes[SELF].ae)->keys_received), KEYS - 1);
        assert_int_equal(get(&m, old, name, &count), ERR_CORRUPT);
        struct client_maintenance_done done = give_up(&m, old, 0);
        assert_true(moves_until_filled(&m, SELF, partition, 90 * SECONDS));
        assert_int_equal(get(&m, old, name, &count), OK);
        assert_int_equal(count, 0);
        moves_run(&m, 80 * SECONDS);
        done = give_up(&m, old, done.task);
        assert_true(done.ended);
        assert_int_equal(done.keys_repaired, 1);
        moves_step(&m, partition, PHASE_COPIED);
        moves_show_all(&m);
        assert_int_equal(get(&m, SELF, name, &count), OK);
        assert_int_equal(count, 0);
        for (uint32_t i = 0; i < KEYS; i++) {
            name = change_key(&m.f, KEYSPACE, partition, i);
            assert_int_equal(get(&m, SELF, name, &count), OK);
            assert_int_equal(count, i == 7 ? 0 : 1);
        }
        moves_deinit(&m);
    }
}

/* A row that rots in the middle, when its tree has counted it: met by the scans of the exchange. */
static void rot_that_nobody_knew_of(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old;
    uint32_t partition = begin(&m, 1, &old);
    announce(&m, partition);
    damage(&m, old, partition, change_key(&m.f, KEYSPACE, partition, 3));
    assert_false(moves_until_filled(&m, SELF, partition, 30 * SECONDS));
    assert_true(says_bad_rows(&m, SELF, old));
    moves_deinit(&m);
}

/* One of three: the others mend it, then the copy is whole, and has the value. Nothing is given up.
 */
static void copy_of_one_of_three(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old;
    uint32_t count;
    uint32_t partition = begin(&m, 3, &old);
    const char *name = change_key(&m.f, KEYSPACE, partition, 7);
    damage(&m, old, partition, name);
    announce(&m, partition);
    assert_true(moves_until_filled(&m, SELF, partition, 60 * SECONDS));
    assert_int_equal(get(&m, old, name, &count), OK);
    assert_int_equal(count, 1);
    moves_step(&m, partition, PHASE_COPIED);
    moves_show_all(&m);
    assert_int_equal(get(&m, SELF, name, &count), OK);
    assert_int_equal(count, 1);
    moves_deinit(&m);
}

/* Bad at all replicas: none of them takes the others' silence for "nothing was there". */
static void bad_everywhere(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old;
    uint32_t count;
    uint32_t partition = begin(&m, 3, &old);
    const char *name = change_key(&m.f, KEYSPACE, partition, 7);
    for
        EACH_OLD(member, &m, partition)
    damage(&m, member, partition, name);
    for
        EACH_OLD(member, &m, partition)
    assert_int_equal(get(&m, member, name, &count), ERR_CORRUPT);
    moves_run(&m, 40 * SECONDS);
    for
        EACH_OLD(member, &m, partition)
    assert_int_equal(get(&m, member, name, &count), ERR_CORRUPT);
    for
        EACH_OLD(member, &m, partition)
    give_up(&m, member, 0);
    moves_run(&m, 80 * SECONDS);
    for
        EACH_OLD(member, &m, partition)
        {
            assert_int_equal(get(&m, member, name, &count), OK);
            assert_int_equal(count, 0);
        }
    moves_deinit(&m);
}

/* A replica that is away may have it: such a row is not given up, and is mended when it is back. */
static void what_may_be_mended_is_kept(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old;
    uint32_t count;
    uint32_t partition = begin(&m, 3, &old);
    const char *name = change_key(&m.f, KEYSPACE, partition, 7);
    uint32_t other = old_after(&m, partition, old);
    damage(&m, old, partition, name);
    m.nodes[other].cut = true;
    assert_int_equal(get(&m, old, name, &count), ERR_CORRUPT);
    give_up(&m, old, 0);
    moves_run(&m, 80 * SECONDS);
    assert_int_equal(get(&m, old, name, &count), ERR_CORRUPT);
    m.nodes[other].cut = false;
    moves_run(&m, 80 * SECONDS);
    assert_int_equal(get(&m, old, name, &count), OK);
    assert_int_equal(count, 1);
    moves_deinit(&m);
}

/* -- copies that were lost ----------------------------------------------------------------------
 */

/* Two replicas of a partition, with all keys; the same of OTHER, with all its replicas. */
static uint32_t begin_pair(struct moves *m, uint32_t ret_pair[2])
{
    uint32_t count = 0;
    moves_init(m);
    change_replicate(&m->f, KEYSPACE, 2);
    change_finish(&m->f);
    moves_show_all(m);
    moves_run(m, 2 * SECONDS);
    uint32_t partition =
        change_partition(&m->f, KEYSPACE, 1u << TOPOLOGY_NOW | 1u << TOPOLOGY_NEXT);
    for (uint32_t member = 1; member <= NODES; member++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            const char *name = change_key(&m->f, KEYSPACE, partition, i);
            const char *other = change_key(&m->f, OTHER, partition, i);
            if (is_old(m, partition, member))
                assert_int_equal(moves_put(m, member, KEYSPACE, name, 1, "v"), OK);
            if (change_sides(&m->f, OTHER, partition, member) != 0)
                assert_int_equal(moves_put(m, member, OTHER, other, 1, "v"), OK);
        }
        if (is_old(m, partition, member))
            ret_pair[count++] = member;
    }
    assert_int_equal(count, 2);
    return partition;
}

static void lose(struct moves *m, uint32_t member, uint32_t partition)
{
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->from = message->to = actor_id_of(member, ACTOR_REPLICA);
    message->vnode_doubt = (struct vnode_doubt){.partition = partition, .reason = DOUBT_WIPED};
    moves_deliver(m, message);
}

static uint64_t incomplete(struct moves *m, uint32_t member)
{
    return figure(&replica_figures(m->nodes[member].replica)->vnodes_incomplete);
}

static uint64_t said_incomplete(struct moves *m, uint32_t member)
{
    const struct anti_entropy_figures *figures = anti_entropy_figures(m->nodes[member].ae);
    return figure(&figures->incomplete) + figure(&figures->refills);
}

static void other_keyspace_is_read(struct moves *m, uint32_t member, uint32_t partition)
{
    struct version_set set;
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(moves_get(m, member, OTHER, change_key(&m->f, OTHER, partition, i), &set),
                         OK);
        assert_int_equal(set.count, 1);
    }
}

/* The other one of two cannot read a row: the lost copy has all others, answers nothing of that
 * keyspace, and says why; the rest of the partition is complete. Nor does the other one take the
 * silence of a copy that lacks things for an answer. */
static void lost_copy_of_two(void **state)
{
    (void)state;
    for (int restarts = 0; restarts < 3; restarts++) {
        struct moves m;
        uint32_t pair[2];
        uint32_t count;
        uint32_t partition = begin_pair(&m, pair);
        uint32_t lost = pair[restarts == 1];
        uint32_t sound = pair[restarts != 1];
        const char *name = change_key(&m.f, KEYSPACE, partition, 7);
        damage(&m, sound, partition, name);
        lose(&m, lost, partition);
        moves_run(&m, 20 * SECONDS);
        if (restarts > 0) {
            moves_crash(&m, restarts == 1 ? lost : sound);
            moves_show(&m, restarts == 1 ? lost : sound);
        }
        moves_run(&m, 60 * SECONDS);
        assert_int_equal(get(&m, lost, name, &count), ERR_INCOMPLETE);
        assert_int_equal(get(&m, sound, name, &count), ERR_CORRUPT);
        assert_int_equal(incomplete(&m, lost), 1);
        assert_int_equal(said_incomplete(&m, lost), 1);
        assert_true(says_bad_rows(&m, lost, sound));
        other_keyspace_is_read(&m, lost, partition);
        give_up(&m, sound, 0);
        moves_run(&m, 90 * SECONDS);
        assert_int_equal(incomplete(&m, lost), 0);
        assert_int_equal(said_incomplete(&m, lost), 0);
        for (uint32_t i = 0; i < KEYS; i++) {
            name = change_key(&m.f, KEYSPACE, partition, i);
            assert_int_equal(get(&m, lost, name, &count), OK);
            assert_int_equal(count, i == 7 ? 0 : 1);
            assert_int_equal(get(&m, sound, name, &count), OK);
            assert_int_equal(count, i == 7 ? 0 : 1);
        }
        moves_deinit(&m);
    }
}

/* Of three the third one mends it, before or after the lost copy is filled: nobody gives it up. */
static void lost_copy_of_three(void **state)
{
    (void)state;
    for (int knows = 0; knows < 2; knows++) {
        struct moves m;
        uint32_t old;
        uint32_t count;
        uint32_t partition = begin(&m, 3, &old);
        const char *name = change_key(&m.f, KEYSPACE, partition, 7);
        uint32_t other = old + 1;
        while (!is_old(&m, partition, other))
            other++;
        damage(&m, other, partition, name);
        if (knows == 1)
            assert_int_equal(get(&m, other, name, &count), ERR_CORRUPT);
        lose(&m, old, partition);
        moves_run(&m, 60 * SECONDS);
        assert_int_equal(incomplete(&m, old), 0);
        assert_int_equal(said_incomplete(&m, old), 0);
        assert_int_equal(get(&m, other, name, &count), OK);
        assert_int_equal(count, 1);
        assert_int_equal(get(&m, old, name, &count), OK);
        assert_int_equal(count, 1);
        moves_deinit(&m);
    }
}

/* A second copy that is lost does not wait with all else for the first one: it lacks that keyspace
 * as well. */
static void lost_beside_one_that_waits(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old[3];
    uint32_t count = 0;
    uint32_t partition = begin(&m, 3, &old[0]);
    const char *name = change_key(&m.f, KEYSPACE, partition, 7);
    for (uint32_t member = 1; member <= NODES; member++) {
        if (is_old(&m, partition, member))
            old[count++] = member;
    }
    damage(&m, old[1], partition, name);
    damage(&m, old[2], partition, name);
    lose(&m, old[0], partition);
    moves_run(&m, 20 * SECONDS);
    assert_int_equal(get(&m, old[0], name, &count), ERR_INCOMPLETE);
    lose(&m, old[1], partition);
    moves_run(&m, 40 * SECONDS);
    for (uint32_t i = 0; i < 2; i++) {
        struct version_set set;
        const char *other = change_key(&m.f, OTHER, partition, 3);
        assert_int_equal(get(&m, old[i], name, &count), ERR_INCOMPLETE);
        assert_int_equal(said_incomplete(&m, old[i]), 1);
        assert_int_equal(moves_get(&m, old[i], OTHER, other, &set), OK);
    }
    assert_int_equal(get(&m, old[2], name, &count), ERR_CORRUPT);
    give_up(&m, old[2], 0);
    moves_run(&m, 90 * SECONDS);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(incomplete(&m, old[i]), 0);
        assert_int_equal(get(&m, old[i], name, &count), OK);
        assert_int_equal(count, 0);
    }
    moves_deinit(&m);
}

/* What a copy holds that is being filled is not all that it had: a bad row is mended with it when
 * somebody gives up what may be missing, and with nothing less. */
static void what_a_lost_copy_got_since(void **state)
{
    (void)state;
    struct moves m;
    uint32_t pair[2];
    uint32_t count;
    uint32_t partition = begin_pair(&m, pair);
    const char *name = change_key(&m.f, KEYSPACE, partition, 7);
    damage(&m, pair[1], partition, name);
    lose(&m, pair[0], partition);
    moves_run(&m, 20 * SECONDS);
    assert_int_equal(moves_put(&m, pair[0], KEYSPACE, name, 2, "later"), OK);
    moves_run(&m, 60 * SECONDS);
    assert_int_equal(get(&m, pair[0], name, &count), ERR_INCOMPLETE);
    assert_int_equal(get(&m, pair[1], name, &count), ERR_CORRUPT);
    give_up(&m, pair[1], 0);
    moves_run(&m, 90 * SECONDS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(get(&m, pair[i], name, &count), OK);
        assert_int_equal(count, 1);
    }
    moves_deinit(&m);
}

/* -- one keyspace of a partition ----------------------------------------------------------------
 */

/* Who gains two keyspaces of a partition of which one has a bad row waits with that one alone. */
static void other_keyspaces_are_filled(void **state)
{
    (void)state;
    struct moves m;
    uint32_t old;
    uint32_t partition = begin(&m, 3, &old);
    for (uint32_t member = 1; member <= NODES; member++) {
        if (is_old(&m, partition, member))
            damage(&m, member, partition, change_key(&m.f, KEYSPACE, partition, 7));
    }
    announce(&m, partition);
    moves_run(&m, 60 * SECONDS);
    assert_int_equal(figure(&anti_entropy_figures(m.nodes[SELF].ae)->gains), 1);
    assert_true(says_bad_rows(&m, SELF, old));
    struct waits waits;
    assert_int_equal(waits_decode(&m.f.arena, moves_report(&m, SELF)->waits, &waits), OK);
    for (uint32_t i = 0; i < waits.count; i++)
        assert_int_equal(waits.list[i].keyspace_id, m.f.keyspace_ids[KEYSPACE]);
    moves_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_of_an_only_replica),    cmocka_unit_test(rot_that_nobody_knew_of),
        cmocka_unit_test(copy_of_one_of_three),       cmocka_unit_test(bad_everywhere),
        cmocka_unit_test(what_may_be_mended_is_kept), cmocka_unit_test(lost_copy_of_two),
        cmocka_unit_test(lost_copy_of_three),         cmocka_unit_test(what_a_lost_copy_got_since),
        cmocka_unit_test(other_keyspaces_are_filled), cmocka_unit_test(lost_beside_one_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
