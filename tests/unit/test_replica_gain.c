// link: coterie_actors coterie_store
/* Rules of actors/replica_gain.h: what a change gives a member begins empty, is filled, and counts
 * only then; what it takes is removed; whatever crashes in between. Source: model/topology.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/exchange.h"
#include "tests/unit/change_bench.h"
#include "tests/unit/replica_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define OTHER    KEYSPACE_TEST_LWW

struct gain_bench {
    struct bench b;
    uint32_t partition; /* that SELF gains */
    const char *key;    /* in it */
};

static void gain_init(struct gain_bench *g)
{
    memset(g, 0, sizeof *g);
    fixture_init(&g->b.f, 5, 1);
    bench_start(&g->b);
    g->partition = change_gain(&g->b.f, KEYSPACE);
    g->key = change_key(&g->b.f, KEYSPACE, g->partition, 1);
    fixture_pass(&g->b.f, 2000 * MS);
}

/* SELF leaves, and loses the partition with all others. */
static void loss_init(struct gain_bench *g)
{
    memset(g, 0, sizeof *g);
    fixture_init(&g->b.f, 5, 1);
    bench_start(&g->b);
    change_leave(&g->b.f, SELF);
    g->partition = change_partition(&g->b.f, KEYSPACE, 1u << TOPOLOGY_NOW);
    g->key = change_key(&g->b.f, KEYSPACE, g->partition, 1);
    fixture_pass(&g->b.f, 2000 * MS);
}

static void step(struct gain_bench *g, enum partition_phase phase)
{
    change_step(&g->b.f, g->partition, phase);
    fixture_pass(&g->b.f, 2000 * MS);
}

/* What anti-entropy was told of one keyspace since; the last of it. False: nothing. */
static bool told(struct gain_bench *g, enum test_keyspace keyspace, struct vnode_incomplete *ret)
{
    struct message *message;
    bool any = false;
    while ((message = outbox_take(&g->b.f.outbox)) != NULL) {
        assert_int_equal(message->kind, MESSAGE_vnode_incomplete);
        if (message->vnode_incomplete.keyspace_id == g->b.f.keyspace_ids[keyspace] &&
            message->vnode_incomplete.partition == g->partition) {
            *ret = message->vnode_incomplete;
            any = true;
        }
        message_free(message);
    }
    return any;
}

static struct vnode_incomplete take_gain(struct gain_bench *g)
{
    struct vnode_incomplete incomplete = {0};
    assert_true(told(g, KEYSPACE, &incomplete));
    assert_int_equal(incomplete.epoch, g->b.f.topology.phase_epochs[g->partition]);
    return incomplete;
}

static enum err put(struct gain_bench *g, enum test_keyspace keyspace, const char *key,
                    const char *value)
{
    struct fixture *f = &g->b.f;
    struct version_set set = test_write(f, &(struct version_set){0}, NULL, 2, 1, value);
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->id = ++g->b.next_id;
    message->epoch = f->topology.epoch;
    message->from = actor_id_of(3, ACTOR_COORDINATOR);
    message->replica_write = (struct replica_write){.keyspace_id = f->keyspace_ids[keyspace],
                                                    .key = bytes_of_string(key),
                                                    .record = test_record(f, keyspace, key, &set),
                                                    .policy = policy_of(keyspace),
                                                    .partition = test_partition(f, keyspace, key)};
    fixture_handle(f, message);
    fixture_sync(f);
    message = fixture_take(f, MESSAGE_replica_write_reply);
    enum err status = message->replica_write_reply.status;
    message_free(message);
    return status;
}

/* What a read gives: `ret_found` whether there is anything. */
static enum err get(struct gain_bench *g, enum test_keyspace keyspace, const char *key,
                    bool *ret_found)
{
    struct fixture *f = &g->b.f;
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->id = ++g->b.next_id;
    message->epoch = f->topology.epoch;
    message->from = actor_id_of(3, ACTOR_COORDINATOR);
    message->replica_read = (struct replica_read){.keyspace_id = f->keyspace_ids[keyspace],
                                                  .key = bytes_of_string(key),
                                                  .partition = test_partition(f, keyspace, key)};
    fixture_handle(f, message);
    fixture_sync(f);
    message = fixture_take(f, MESSAGE_replica_read_reply);
    enum err status = message->replica_read_reply.status;
    *ret_found = message->replica_read_reply.record.size != 0;
    message_free(message);
    return status;
}

static enum err adopt(struct gain_bench *g, uint64_t floor)
{
    struct message *message = message_new(MESSAGE_vnode_adopt, 0);
    message->id = ++g->b.next_id;
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->epoch = g->b.f.topology.epoch;
    message->vnode_adopt = (struct vnode_adopt){
        .partition = g->partition, .keyspace_id = g->b.f.keyspace_ids[KEYSPACE], .floor = floor};
    fixture_handle(&g->b.f, message);
    fixture_sync(&g->b.f);
    message = fixture_take(&g->b.f, MESSAGE_vnode_adopt_done);
    enum err status = message->vnode_adopt_done.status;
    message_free(message);
    return status;
}

static void send_complete(struct gain_bench *g, uint64_t incarnation)
{
    struct message *message = message_new(MESSAGE_vnode_complete, 0);
    message->id = ++g->b.next_id;
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->epoch = g->b.f.topology.epoch;
    message->vnode_complete = (struct vnode_complete){.partition = g->partition,
                                                      .keyspace_id = g->b.f.keyspace_ids[KEYSPACE],
                                                      .incarnation = incarnation};
    fixture_handle(&g->b.f, message);
}

static enum err complete(struct gain_bench *g, uint64_t incarnation)
{
    send_complete(g, incarnation);
    fixture_sync(&g->b.f);
    struct message *message = fixture_take(&g->b.f, MESSAGE_vnode_complete_done);
    enum err status = message->vnode_complete_done.status;
    message_free(message);
    return status;
}

/* What lies on the disk under a key, past all that the replica says. */
static bool lies_there(struct gain_bench *g, enum test_keyspace keyspace, const char *key)
{
    return raw_record(&g->b, keyspace, key).size != 0;
}

static void restart(struct gain_bench *g, bool keep)
{
    bench_restart(&g->b, keep);
    fixture_pass(&g->b.f, 2000 * MS);
    fixture_pass(&g->b.f, 2000 * MS);
}

static const struct replica_figures *figures(const struct gain_bench *g)
{
    return replica_figures(g->b.replica);
}

/* From an empty copy to one that is read: writes are taken once the floor is known, reads wait
 * until the copy is whole and the partition is read from the new set. */
static void life_of_a_gain(void **state)
{
    (void)state;
    struct gain_bench g;
    bool found;
    gain_init(&g);
    fixture_silent(&g.b.f);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_STALE_EPOCH);

    step(&g, PHASE_ANNOUNCED);
    struct vnode_incomplete gain = take_gain(&g);
    assert_false(gain.filled);
    fixture_sync(&g.b.f);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_INCOMPLETE);
    assert_int_equal(adopt(&g, 7), OK);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_STALE_FLOOR);
    send_write(&g.b, KEYSPACE, g.key, (struct bytes){0}, WRITE_HINT);
    message_free(fixture_take(&g.b.f, MESSAGE_replica_write_reply));
    assert_int_equal(counter_get(&figures(&g)->gains_filling), 5); /* of each keyspace */
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), ERR_STALE_EPOCH);
    assert_int_equal(complete(&g, gain.incarnation + 100), ERR_PRECONDITION);
    assert_int_equal(complete(&g, gain.incarnation), OK);
    assert_int_equal(complete(&g, gain.incarnation), OK);
    assert_int_equal(adopt(&g, 8), ERR_PRECONDITION);
    assert_int_equal(counter_get(&figures(&g)->gains_filled), 1);
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), ERR_STALE_EPOCH);

    step(&g, PHASE_COPIED);
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), OK);
    bool other_found;
    const char *other = change_key(&g.b.f, OTHER, g.partition, 1);
    assert_int_equal(get(&g, OTHER, other, &other_found), ERR_INCOMPLETE); /* was not filled */
    step(&g, PHASE_DONE);
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), OK);
    restart(&g, true);
    told(&g, OTHER, &gain);
    assert_false(gain.filled);
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), OK);
    bench_deinit(&g.b);
}

/* What lies here from an earlier time counts for nothing, and goes. */
static void leftovers_go(void **state)
{
    (void)state;
    struct gain_bench g;
    gain_init(&g);
    struct version_set set = test_write(&g.b.f, &(struct version_set){0}, NULL, 2, 1, "old");
    put_raw(&g.b, KEYSPACE, g.key, test_record(&g.b.f, KEYSPACE, g.key, &set));
    restart(&g, true); /* of before the announcement */
    assert_false(lies_there(&g, KEYSPACE, g.key));
    step(&g, PHASE_ANNOUNCED);
    take_gain(&g);
    bench_deinit(&g.b);
}

/* A crash at any step: what was said durably holds, the rest begins again. */
static void crashes(void **state)
{
    (void)state;
    for (unsigned keep = 0; keep < 2; keep++) {
        struct gain_bench g;
        bool found;
        gain_init(&g);
        step(&g, PHASE_ANNOUNCED);
        take_gain(&g); /* the row was staged */
        restart(&g, keep != 0);
        struct vnode_incomplete gain = take_gain(&g);
        assert_false(gain.filled);
        fixture_sync(&g.b.f);
        assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_INCOMPLETE);
        assert_int_equal(adopt(&g, 0), OK);
        assert_int_equal(put(&g, KEYSPACE, g.key, "v"), OK);
        restart(&g, keep != 0); /* what was answered is there */
        gain = take_gain(&g);
        assert_false(gain.filled);
        assert_true(lies_there(&g, KEYSPACE, g.key));
        assert_int_equal(put(&g, KEYSPACE, g.key, "w"), OK);
        send_complete(&g, gain.incarnation); /* staged, not said */
        fixture_silent(&g.b.f);
        restart(&g, keep != 0);
        gain = take_gain(&g);
        assert_int_equal(gain.filled, keep != 0);
        assert_int_equal(complete(&g, gain.incarnation), OK);
        restart(&g, keep != 0);
        assert_true(take_gain(&g).filled);
        step(&g, PHASE_COPIED);
        assert_int_equal(get(&g, KEYSPACE, g.key, &found), OK);
        assert_true(found);
        bench_deinit(&g.b);
    }
}

static void fill(struct gain_bench *g)
{
    step(g, PHASE_ANNOUNCED);
    struct vnode_incomplete gain = take_gain(g);
    fixture_sync(&g->b.f);
    assert_int_equal(adopt(g, 0), OK);
    assert_int_equal(put(g, KEYSPACE, g->key, "v"), OK);
    assert_int_equal(complete(g, gain.incarnation), OK);
}

/* A change that is taken back takes back what it gave, in every phase; a later one begins with
 * nothing. */
static void gains_given_back(void **state)
{
    (void)state;
    for (unsigned phase = PHASE_WAITING; phase <= PHASE_DONE; phase++) {
        struct gain_bench g;
        gain_init(&g);
        if (phase >= PHASE_ANNOUNCED)
            fill(&g);
        if (phase >= PHASE_COPIED)
            step(&g, PHASE_COPIED);
        if (phase >= PHASE_DONE)
            step(&g, PHASE_DONE);
        change_abort(&g.b.f);
        fixture_pass(&g.b.f, 2000 * MS);
        bool now_done = g.b.f.topology.phases[g.partition] == PHASE_DONE;
        assert_int_equal(now_done, phase == PHASE_WAITING);
        assert_int_equal(lies_there(&g, KEYSPACE, g.key), phase != PHASE_WAITING);
        for (unsigned to = g.b.f.topology.phases[g.partition] + 1; to <= PHASE_DONE; to++)
            step(&g, (enum partition_phase)to);
        assert_false(lies_there(&g, KEYSPACE, g.key));
        assert_int_equal(put(&g, KEYSPACE, g.key, "late"), ERR_STALE_EPOCH);
        restart(&g, false);
        assert_false(lies_there(&g, KEYSPACE, g.key));
        bench_deinit(&g.b);
    }
}

/* A copy that was filled for one announcement is void for another, also when nothing in between
 * was seen here. */
static void announced_anew(void **state)
{
    (void)state;
    struct gain_bench g;
    gain_init(&g);
    fill(&g);
    step(&g, PHASE_ANNOUNCED);
    struct vnode_incomplete gain = take_gain(&g);
    assert_false(gain.filled);
    fixture_sync(&g.b.f);
    assert_false(lies_there(&g, KEYSPACE, g.key));
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_INCOMPLETE);
    restart(&g, true);
    assert_false(take_gain(&g).filled);
    bench_deinit(&g.b);
}

/* What is lost goes with its floor; a regain begins with nothing. Who is given back what it never
 * lost keeps it. */
static void losses(void **state)
{
    (void)state;
    for (unsigned phase = PHASE_WAITING; phase <= PHASE_DONE; phase++) {
        struct gain_bench g;
        bool found;
        loss_init(&g);
        assert_int_equal(put(&g, KEYSPACE, g.key, "v"), OK);
        for (unsigned to = PHASE_ANNOUNCED; to <= phase; to++)
            step(&g, (enum partition_phase)to);
        bool lost = phase == PHASE_DONE;
        assert_int_equal(lies_there(&g, KEYSPACE, g.key), !lost);
        change_abort(&g.b.f);
        fixture_pass(&g.b.f, 2000 * MS);
        if (!lost) {
            fixture_silent(&g.b.f);
            assert_int_equal(get(&g, KEYSPACE, g.key, &found), OK);
            assert_true(found);
        } else {
            step(&g, PHASE_ANNOUNCED);
            assert_false(take_gain(&g).filled);
            fixture_sync(&g.b.f);
            assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_INCOMPLETE);
        }
        bench_deinit(&g.b);
    }
}

static enum err give_back(struct gain_bench *g, const struct version_set *set)
{
    return write_record(&g->b, KEYSPACE, g->key, test_record(&g->b.f, KEYSPACE, g->key, set),
                        WRITE_ANTI_ENTROPY);
}

/* A copy that comes back has this member's own writes of before, and stays as it was: one that
 * differed from all others would have to be handed round again. What has not come back is not
 * written a second time: the next write has a key epoch of its own, whether the stop in between was
 * a clean one (boot.h has the floor of crashes). Dynamo needs each dot to name one write. */
static void own_writes_come_back(void **state)
{
    (void)state;
    for (unsigned clean = 0; clean < 2; clean++) {
        struct gain_bench g;
        loss_init(&g);
        struct minted first = mint(&g.b, KEYSPACE, g.key, "1", NULL);
        struct minted second = mint(&g.b, KEYSPACE, g.key, "2", &first.context);
        struct dot lost = second.set.versions[0].dot;
        assert_int_equal(lost.counter, 2);
        for (unsigned to = PHASE_ANNOUNCED; to <= PHASE_DONE; to++)
            step(&g, (enum partition_phase)to);
        assert_false(lies_there(&g, KEYSPACE, g.key));
        change_abort(&g.b.f);
        fixture_pass(&g.b.f, 2000 * MS);
        if (clean != 0) {
            assert_int_equal(boot_mark_clean(engine_store(g.b.f.engine, HANDLE_BOOT)), OK);
            restart(&g, true);
        }
        step(&g, PHASE_ANNOUNCED);
        struct vnode_incomplete gain = take_gain(&g);
        fixture_sync(&g.b.f);
        assert_int_equal(adopt(&g, 0), OK);
        assert_int_equal(give_back(&g, &first.set), OK);
        assert_int_equal(complete(&g, gain.incarnation), OK);
        assert_true(bytes_equal(raw_record(&g.b, KEYSPACE, g.key),
                                test_record(&g.b.f, KEYSPACE, g.key, &first.set)));
        assert_int_equal(counter_get(&figures(&g)->amnesia), 0);
        step(&g, PHASE_COPIED);
        struct minted third = mint(&g.b, KEYSPACE, g.key, "3", &first.context);
        assert_int_equal(third.set.count, 1);
        assert_true(third.set.versions[0].dot.key_epoch > lost.key_epoch);
        /* From there on it counts. */
        struct minted fourth = mint(&g.b, KEYSPACE, g.key, "4", &third.context);
        assert_int_equal(fourth.set.versions[0].dot.counter, 2);
        bench_deinit(&g.b);
    }
}

/* A loss that cannot be written down yet: trees say what the rows do all the while, and it is
 * brought to an end later. */
static void loss_while_overloaded(void **state)
{
    (void)state;
    unsigned half_done = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct gain_bench g;
        gain_init(&g);
        fill(&g);
        fixture_sync(&g.b.f);
        change_abort(&g.b.f);
        step(&g, PHASE_COPIED);
        assert_true(lies_there(&g, KEYSPACE, g.key));
        struct prng prng;
        prng_init(&prng, i, 0);
        engine_memory_set_faults(g.b.f.engine, &prng, 0, 0.9, false);
        step(&g, PHASE_DONE);
        assert_int_equal(replica_trees_differing(g.b.replica, g.b.f.ctx.store), 0);
        bool dropped = counter_get(&figures(&g)->vnodes_dropped) != 0;
        half_done += !dropped && !lies_there(&g, KEYSPACE, g.key);
        engine_memory_set_faults(g.b.f.engine, NULL, 0, 0, false);
        fixture_pass(&g.b.f, 2000 * MS);
        assert_int_equal(counter_get(&figures(&g)->vnodes_dropped), 1);
        assert_false(lies_there(&g, KEYSPACE, g.key));
        assert_int_equal(counter_get(&figures(&g)->tree_drift), 0);
        bench_deinit(&g.b);
    }
    assert_true(half_done != 0);
}

/* A loss while answers wait for the log: nobody hears of writes that are gone. */
static void answers_are_voided(void **state)
{
    (void)state;
    struct gain_bench g;
    loss_init(&g);
    struct version_set set = test_write(&g.b.f, &(struct version_set){0}, NULL, 2, 1, "v");
    send_write(&g.b, KEYSPACE, g.key, test_record(&g.b.f, KEYSPACE, g.key, &set), WRITE_HINT);
    fixture_silent(&g.b.f);
    step(&g, PHASE_ANNOUNCED);
    step(&g, PHASE_COPIED);
    fixture_silent(&g.b.f);
    step(&g, PHASE_DONE);
    fixture_sync(&g.b.f);
    struct message *reply = fixture_take(&g.b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, ERR_INCOMPLETE);
    message_free(reply);
    bench_deinit(&g.b);
}

/* A keyspace that gets more replicas comes into vnodes that hold others: those serve all the while,
 * with all that they hold. When it gets fewer again, its rows go, and no others. */
static void beside_others(void **state)
{
    (void)state;
    struct gain_bench g;
    bool found;
    memset(&g, 0, sizeof g);
    fixture_init(&g.b.f, 5, 1);
    bench_start(&g.b);
    change_replicate(&g.b.f, OTHER, 4);
    change_finish(&g.b.f);
    change_replicate(&g.b.f, KEYSPACE, 4);
    g.partition = change_partition(&g.b.f, KEYSPACE, 1u << TOPOLOGY_NEXT);
    assert_int_equal(change_sides(&g.b.f, KEYSPACE, g.partition, SELF), 1u << TOPOLOGY_NEXT);
    assert_int_equal(change_sides(&g.b.f, OTHER, g.partition, SELF), 3);
    const char *other = change_key(&g.b.f, OTHER, g.partition, 1);
    g.key = change_key(&g.b.f, KEYSPACE, g.partition, 1);
    fixture_pass(&g.b.f, 5000 * MS);
    assert_int_equal(put(&g, OTHER, other, "stays"), OK);
    for (uint32_t i = 0; i < 700; i++) /* more than one slice of leftovers */
        put_raw(&g.b, KEYSPACE, change_key(&g.b.f, KEYSPACE, g.partition, 2 + i),
                bytes_of_string("old"));

    change_step(&g.b.f, g.partition, PHASE_ANNOUNCED);
    struct vnode_incomplete gain = {0};
    for (int i = 0; i < 100 && gain.incarnation == 0; i++) {
        fixture_pass(&g.b.f, 10 * MS);
        fixture_sync(&g.b.f);
        told(&g, KEYSPACE, &gain);
        assert_int_equal(get(&g, OTHER, other, &found), OK);
        assert_true(found);
        if (gain.incarnation == 0)
            assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_INCOMPLETE);
    }
    assert_int_not_equal(gain.incarnation, 0);
    for (uint32_t i = 0; i < 700; i++)
        assert_false(lies_there(&g, KEYSPACE, change_key(&g.b.f, KEYSPACE, g.partition, 2 + i)));
    assert_int_equal(adopt(&g, 0), OK);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), OK);
    assert_int_equal(complete(&g, gain.incarnation), OK);
    restart(&g, true);
    assert_true(take_gain(&g).filled);
    step(&g, PHASE_COPIED);
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), OK);
    assert_true(found);
    assert_int_equal(replica_trees_differing(g.b.replica, g.b.f.ctx.store), 0);

    /* And back. */
    change_abort(&g.b.f);
    for (int i = 0; i < 3 && g.b.f.topology.phases[g.partition] != PHASE_DONE; i++)
        step(&g, (enum partition_phase)(g.b.f.topology.phases[g.partition] + 1));
    for (int i = 0; i < 100; i++)
        fixture_pass(&g.b.f, 10 * MS);
    assert_false(lies_there(&g, KEYSPACE, g.key));
    assert_true(lies_there(&g, OTHER, other));
    assert_int_equal(get(&g, OTHER, other, &found), OK);
    assert_int_equal(counter_get(&figures(&g)->vnodes_dropped), 0);
    assert_int_equal(counter_get(&figures(&g)->keyspaces_removed), 1);
    assert_int_equal(replica_trees_differing(g.b.replica, g.b.f.ctx.store), 0);
    bench_deinit(&g.b);
}

static void go_on(struct gain_bench *g, uint64_t ns)
{
    struct message *message;
    fixture_pass(&g->b.f, ns);
    fixture_sync(&g->b.f);
    while ((message = outbox_take(&g->b.f.outbox)) != NULL)
        message_free(message);
}

static void damage(struct gain_bench *g, const char *key)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint32_t id = g->b.f.keyspace_ids[KEYSPACE];
    struct bytes name = bytes_of_string(key);
    struct bytes row = bytes_of(memory, hash_storage_key(id, name, hash_key(id, name), memory));
    assert_true(engine_memory_damage(g->b.f.engine, g->partition, row, 80));
}

/* A bad row goes with the rest, though no tree counts it and nothing else is left; also when the
 * node has started since, and knows of nothing but the bad row. */
static void bad_row_goes(bool restarts)
{
    struct gain_bench g;
    bool found;
    memset(&g, 0, sizeof g);
    fixture_init(&g.b.f, 5, 1);
    bench_start(&g.b);
    change_replicate(&g.b.f, OTHER, 5);
    change_finish(&g.b.f);
    change_replicate(&g.b.f, KEYSPACE, 1);
    g.partition = change_partition(&g.b.f, KEYSPACE, 1u << TOPOLOGY_NOW);
    g.key = change_key(&g.b.f, KEYSPACE, g.partition, 1);
    fixture_pass(&g.b.f, 5000 * MS);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), OK);
    damage(&g, g.key);
    assert_int_equal(get(&g, KEYSPACE, g.key, &found), ERR_CORRUPT);
    for (int i = 0; i < 5000; i++) /* the trees are built anew without it */
        go_on(&g, 4 * MS);
    if (restarts) {
        bench_restart(&g.b, true);
        for (int i = 0; i < 5000; i++)
            go_on(&g, 4 * MS);
    }
    assert_int_equal(counter_get(&figures(&g)->quarantined), 1);
    for (uint32_t phase = PHASE_ANNOUNCED; phase <= PHASE_DONE; phase++) {
        change_step(&g.b.f, g.partition, (enum partition_phase)phase);
        for (int i = 0; i < 100; i++)
            go_on(&g, 10 * MS);
    }
    assert_int_equal(change_sides(&g.b.f, OTHER, g.partition, SELF), 3);
    assert_false(lies_there(&g, KEYSPACE, g.key));
    assert_int_equal(counter_get(&figures(&g)->quarantined), 0);
    bench_deinit(&g.b);
}

static void bad_rows_go_too(void **state)
{
    (void)state;
    bad_row_goes(false);
    bad_row_goes(true);
}

/* One that is met when its keyspace goes, but its partition waits for another one to be swept. */
static void bad_row_met_while_it_goes(void **state)
{
    (void)state;
    struct gain_bench g;
    bool found;
    memset(&g, 0, sizeof g);
    fixture_init(&g.b.f, 5, 1);
    bench_start(&g.b);
    change_replicate(&g.b.f, OTHER, 5);
    change_finish(&g.b.f);
    change_replicate(&g.b.f, KEYSPACE, 1);
    uint32_t first = change_partition(&g.b.f, KEYSPACE, 1u << TOPOLOGY_NOW);
    g.partition = first + 1;
    while (change_sides(&g.b.f, KEYSPACE, g.partition, SELF) != 1u << TOPOLOGY_NOW)
        g.partition++;
    fixture_pass(&g.b.f, 5000 * MS);
    const char *keys[2];
    for (uint32_t i = 0; i < 2; i++) {
        keys[i] = change_key(&g.b.f, KEYSPACE, g.partition, i);
        assert_int_equal(put(&g, KEYSPACE, keys[i], "v"), OK);
        damage(&g, keys[i]);
    }
    g.key = change_key(&g.b.f, KEYSPACE, first, 0);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), OK);
    for (uint32_t i = 1; i < 3000; i++) /* six slices */
        put_raw(&g.b, KEYSPACE, change_key(&g.b.f, KEYSPACE, first, i), bytes_of_string("old"));
    assert_int_equal(get(&g, KEYSPACE, keys[0], &found), ERR_CORRUPT);
    for (int i = 0; i < 9990; i++)
        go_on(&g, MS); /* ten seconds after that the trees are built anew */
    assert_int_equal(counter_get(&figures(&g)->corrupt), 1);
    for (uint32_t phase = PHASE_ANNOUNCED; phase <= PHASE_DONE; phase++) {
        change_step(&g.b.f, first, (enum partition_phase)phase);
        change_step(&g.b.f, g.partition, (enum partition_phase)phase);
    }
    for (int i = 0; i < 1000; i++)
        go_on(&g, MS);
    assert_true(counter_get(&figures(&g)->corrupt) > 1);
    assert_int_equal(counter_get(&figures(&g)->keyspaces_removed), 2);
    assert_int_equal(counter_get(&figures(&g)->quarantined), 0);
    bench_deinit(&g.b);
}

/* What a power cut brings back of a keyspace that has gone goes again, beside one that stays: also
 * when the node hears of no other view, and does not know at its start what it holds. */
static void removed_rows_come_back(void **state)
{
    (void)state;
    struct gain_bench g;
    bool found;
    memset(&g, 0, sizeof g);
    fixture_init(&g.b.f, 5, 1);
    bench_start(&g.b);
    change_replicate(&g.b.f, OTHER, 5);
    change_finish(&g.b.f);
    change_replicate(&g.b.f, KEYSPACE, 1);
    g.partition = change_partition(&g.b.f, KEYSPACE, 1u << TOPOLOGY_NOW);
    g.key = change_key(&g.b.f, KEYSPACE, g.partition, 1);
    const char *other = change_key(&g.b.f, OTHER, g.partition, 1);
    fixture_pass(&g.b.f, 5000 * MS);
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), OK);
    assert_int_equal(put(&g, OTHER, other, "stays"), OK);
    for (uint32_t phase = PHASE_ANNOUNCED; phase <= PHASE_DONE; phase++)
        change_step(&g.b.f, g.partition, (enum partition_phase)phase);
    for (int i = 0; i < 100; i++)
        fixture_pass(&g.b.f, 10 * MS);
    assert_int_equal(counter_get(&figures(&g)->keyspaces_removed), 1);
    assert_false(lies_there(&g, KEYSPACE, g.key));

    bench_restart(&g.b, false);
    assert_true(lies_there(&g, KEYSPACE, g.key));
    for (int i = 0; i < 300; i++)
        go_on(&g, 10 * MS);
    assert_false(lies_there(&g, KEYSPACE, g.key));
    assert_int_equal(get(&g, OTHER, other, &found), OK);
    assert_true(found);
    assert_int_equal(replica_trees_differing(g.b.replica, g.b.f.ctx.store), 0);
    bench_deinit(&g.b);
}

/* A copy that is doubted while it is filled, or after, is filled again. */
static void doubted_while_gained(void **state)
{
    (void)state;
    struct gain_bench g;
    gain_init(&g);
    fill(&g);
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->vnode_doubt = (struct vnode_doubt){.partition = g.partition, .reason = DOUBT_LOG_SHORT};
    fixture_handle(&g.b.f, message);
    fixture_sync(&g.b.f);
    fixture_pass(&g.b.f, 2000 * MS);
    fixture_sync(&g.b.f);
    struct vnode_incomplete gain = {0};
    assert_true(told(&g, KEYSPACE, &gain));
    assert_false(gain.filled);
    assert_false(lies_there(&g, KEYSPACE, g.key));
    assert_int_equal(put(&g, KEYSPACE, g.key, "v"), ERR_INCOMPLETE);
    restart(&g, false);
    assert_true(told(&g, KEYSPACE, &gain));
    assert_false(gain.filled);
    bench_deinit(&g.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_of_a_gain),
        cmocka_unit_test(leftovers_go),
        cmocka_unit_test(crashes),
        cmocka_unit_test(gains_given_back),
        cmocka_unit_test(announced_anew),
        cmocka_unit_test(losses),
        cmocka_unit_test(own_writes_come_back),
        cmocka_unit_test(loss_while_overloaded),
        cmocka_unit_test(answers_are_voided),
        cmocka_unit_test(beside_others),
        cmocka_unit_test(bad_rows_go_too),
        cmocka_unit_test(bad_row_met_while_it_goes),
        cmocka_unit_test(removed_rows_come_back),
        cmocka_unit_test(doubted_while_gained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
