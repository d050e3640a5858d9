// link: coterie_actors coterie_store
/* Rules of actors/replica_vnode.h: floors, and vnodes that were lost and are filled again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/replica_state.h"
#include "tests/unit/replica_bench.h"

#include <inttypes.h>

#define KEYSPACE KEYSPACE_TEST_SIBLINGS

static uint32_t partition_of(const struct bench *b)
{
    return test_partition(&b->f, KEYSPACE, "k");
}

static void doubt(struct bench *b, uint32_t partition)
{
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->vnode_doubt = (struct vnode_doubt){.partition = partition, .reason = DOUBT_RESTORED};
    fixture_handle(&b->f, message);
}

/* The incarnation that anti-entropy was told of. */
static uint64_t take_incomplete(struct bench *b, uint32_t partition)
{
    struct message *message = fixture_take(&b->f, MESSAGE_vnode_incomplete);
    assert_int_equal(message->to.kind, ACTOR_ANTI_ENTROPY);
    assert_int_equal(message->to.node, SELF);
    assert_int_equal(message->vnode_incomplete.partition, partition);
    uint64_t incarnation = message->vnode_incomplete.incarnation;
    assert_int_not_equal(incarnation, 0);
    message_free(message);
    return incarnation;
}

/* Emptied, durably. */
static uint64_t lose(struct bench *b)
{
    doubt(b, partition_of(b));
    fixture_sync(&b->f);
    uint64_t incarnation = take_incomplete(b, partition_of(b));
    fixture_sync(&b->f);
    fixture_silent(&b->f);
    return incarnation;
}

static void send_adopt_above(struct bench *b, uint64_t floor, uint64_t reaped)
{
    struct message *message = message_new(MESSAGE_vnode_adopt, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->vnode_adopt = (struct vnode_adopt){.partition = partition_of(b),
                                                .keyspace_id = b->f.keyspace_ids[KEYSPACE],
                                                .floor = floor,
                                                .reaped = reaped};
    fixture_handle(&b->f, message);
}

static void send_adopt(struct bench *b, uint64_t floor)
{
    send_adopt_above(b, floor, 0);
}

static enum err adopt_done(struct bench *b)
{
    struct message *done = fixture_take(&b->f, MESSAGE_vnode_adopt_done);
    enum err status = done->vnode_adopt_done.status;
    assert_int_equal(done->to.kind, ACTOR_ANTI_ENTROPY);
    message_free(done);
    return status;
}

static enum err adopt(struct bench *b, uint64_t floor)
{
    send_adopt(b, floor);
    fixture_sync(&b->f);
    return adopt_done(b);
}

static void send_complete(struct bench *b, uint64_t incarnation)
{
    struct message *message = message_new(MESSAGE_vnode_complete, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->vnode_complete =
        (struct vnode_complete){.partition = partition_of(b), .incarnation = incarnation};
    fixture_handle(&b->f, message);
}

static enum err complete(struct bench *b, uint64_t incarnation)
{
    send_complete(b, incarnation);
    fixture_sync(&b->f);
    struct message *done = fixture_take(&b->f, MESSAGE_vnode_complete_done);
    enum err status = done->vnode_complete_done.status;
    message_free(done);
    return status;
}

static struct bytes peer_record(struct bench *b, const char *value)
{
    struct version_set peer = test_write(&b->f, &(struct version_set){0}, NULL, 2, 1, value);
    return test_record(&b->f, KEYSPACE, "k", &peer);
}

static enum err write_under_floor(struct bench *b, struct bytes record, uint64_t floor)
{
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->replica_write = (struct replica_write){
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .key = bytes_of_string("k"),
        .record = record,
        .partition = partition_of(b),
        .reason = WRITE_HINT,
        .floor = floor,
    };
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_replica_write_reply);
    enum err status = reply->replica_write_reply.status;
    message_free(reply);
    return status;
}

static uint64_t read_floor(struct bench *b)
{
    send_read(b, KEYSPACE, "k");
    struct message *reply = fixture_take(&b->f, MESSAGE_replica_read_reply);
    assert_int_equal(reply->replica_read_reply.status, OK);
    uint64_t floor = reply->replica_read_reply.floor;
    message_free(reply);
    return floor;
}

/* A complete vnode with that floor, by the only way that needs no round of reaping. */
static void start_with_floor(struct bench *b, uint64_t floor)
{
    bench_init(b);
    uint64_t incarnation = lose(b);
    assert_int_equal(adopt(b, floor), OK);
    assert_int_equal(complete(b, incarnation), OK);
}

/* -- lost copies ---------------------------------------------------------------------------------
 */

/* replica_vnode.h: an incomplete vnode answers no read and no mint, and takes writes of a keyspace
 * from the adoption of its floor on; complete, it does all again. Other vnodes are not touched. */
static void incomplete_until_filled(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE, "k", "old", NULL);
    struct version_set set;
    uint64_t incarnation = lose(&b);
    struct bytes record = peer_record(&b, "theirs");
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
    uint64_t staged = store_staged(b.f.ctx.store);
    assert_int_equal(mint(&b, KEYSPACE, "k", "new", NULL).status, ERR_INCOMPLETE);
    assert_int_equal(write_under_floor(&b, record, 0), ERR_INCOMPLETE);
    assert_int_equal(store_staged(b.f.ctx.store), staged);
    assert_int_equal(counter_get(&replica_figures(b.replica)->incomplete_refused), 3);
    assert_int_equal(counter_get(&replica_figures(b.replica)->vnodes_incomplete), 1);
    assert_int_not_equal(test_partition(&b.f, KEYSPACE, "k3"), partition_of(&b));
    assert_int_equal(mint(&b, KEYSPACE, "k3", "v", NULL).status, OK);

    assert_int_equal(adopt(&b, 0), OK);
    assert_int_equal(write_under_floor(&b, record, 0), OK);
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
    assert_int_equal(mint(&b, KEYSPACE, "k", "new", NULL).status, ERR_INCOMPLETE);

    assert_int_equal(complete(&b, incarnation), OK);
    assert_int_equal(counter_get(&replica_figures(b.replica)->vnodes_incomplete), 0);
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
    assert_int_equal(set.count, 1); /* what was there before was dropped */
    assert_true(test_holds(&set, "theirs"));
    assert_int_equal(mint(&b, KEYSPACE, "k", "new", NULL).status, OK);
    bench_deinit(&b);
}

/* replica_vnode.h: nothing is dropped before the row that says so is durable, and from the doubt on
 * nothing is answered. */
static void dropped_behind_its_row(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE, "k", "v", NULL);
    doubt(&b, partition_of(&b));
    fixture_silent(&b.f);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
    assert_int_equal(adopt(&b, 0), ERR_UNAVAILABLE);
    bench_deinit(&b);

    bench_init(&b);
    mint(&b, KEYSPACE, "k", "v", NULL);
    doubt(&b, partition_of(&b));
    bench_restart(&b, false); /* neither the row nor the drop has happened */
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
    assert_int_equal(set.count, 1);
    bench_deinit(&b);
}

/* replica_vnode.h: a write that was staged when the doubt came is not acknowledged when its row is
 * durable, as that will be dropped: INCOMPLETE, and a mint ends like one of a node that crashed. */
static void what_is_held_is_void(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    send_write(&b, KEYSPACE, "k", peer_record(&b, "theirs"), WRITE_REPLICATE);
    send_read(&b, KEYSPACE, "k");
    fixture_handle(&b.f, mint_message(&b, KEYSPACE, "k", "v", NULL));
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    fixture_handle(&b.f, mint_message(&b, KEYSPACE, "k3", "v", NULL)); /* of another vnode */
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    doubt(&b, partition_of(&b));
    fixture_sync(&b.f);
    struct message *reply = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, ERR_INCOMPLETE);
    message_free(reply);
    reply = fixture_take(&b.f, MESSAGE_replica_read_reply);
    assert_int_equal(reply->replica_read_reply.status, ERR_INCOMPLETE);
    message_free(reply);
    reply = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(reply->id, b.next_id);
    assert_int_equal(reply->replica_mint_done.status, OK);
    message_free(reply);
    take_incomplete(&b, partition_of(&b));
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* A crash at any point of a loss ends in an incomplete, empty vnode that anti-entropy hears of. */
static void a_crash_does_not_complete(void **state)
{
    (void)state;
    for (int point = 0; point < 3; point++) {
        struct bench b;
        bench_init(&b);
        mint(&b, KEYSPACE, "k", "v", NULL);
        doubt(&b, partition_of(&b));
        if (point > 0) {
            fixture_sync(&b.f); /* emptied; that it is empty is not durable */
            message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
        }
        if (point > 1) {
            fixture_sync(&b.f);
            assert_int_equal(adopt(&b, 7), OK);
            assert_int_equal(write_under_floor(&b, peer_record(&b, "theirs"), 7), OK);
        }
        bench_restart(&b, point == 0);
        fixture_tick(&b.f);
        uint64_t incarnation = take_incomplete(&b, partition_of(&b));
        struct version_set set;
        assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
        fixture_sync(&b.f);
        assert_int_equal(complete(&b, incarnation), OK);
        assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
        assert_int_equal(set.count, point > 1 ? 1 : 0);
        assert_int_equal(read_floor(&b), point > 1 ? 7 : 0);
        bench_restart(&b, false);
        fixture_tick(&b.f);
        fixture_silent(&b.f); /* complete for good */
        assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
        bench_deinit(&b);
    }
}

/* message.h: what an exchange proves is void when the vnode was emptied again meanwhile. */
static void completion_of_an_earlier_life(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t first = lose(&b);
    uint64_t second = lose(&b);
    assert_int_not_equal(first, second);
    assert_int_equal(complete(&b, first), ERR_PRECONDITION);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
    assert_int_equal(complete(&b, second), OK);
    assert_int_equal(complete(&b, second), OK); /* an answer was lost */
    bench_deinit(&b);
}

/* message.h: vnode_adopt and vnode_complete are done when durable. */
static void done_is_durable(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t incarnation = lose(&b);
    send_adopt(&b, 3);
    send_complete(&b, incarnation);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_adopt_done));
    message_free(fixture_take(&b.f, MESSAGE_vnode_complete_done));
    bench_deinit(&b);
}

/* A doubt about all vnodes, while the store refuses to write or to drop: refused at once, emptied
 * when it can be. */
static void a_loss_is_tried_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE, "k", "v", NULL);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    doubt(&b, UINT32_MAX);
    fixture_sync(&b.f);
    fixture_silent(&b.f);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
    assert_int_equal(counter_get(&replica_figures(b.replica)->vnodes_incomplete), 16);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    fixture_pass(&b.f, 99 * MS);
    assert_false(engine_memory_wants_sync(b.f.engine));
    fixture_pass(&b.f, MS);
    fixture_sync(&b.f);
    for (uint32_t partition = 0; partition < 16; partition++)
        take_incomplete(&b, partition);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* Nothing is answered before the rows are known, and a doubt that comes earlier is not lost. */
static void nothing_before_the_rows(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 1.0, 0, false);
    doubt(&b, partition_of(&b));
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_UNAVAILABLE);
    assert_int_equal(mint(&b, KEYSPACE, "k", "v", NULL).status, ERR_UNAVAILABLE);
    assert_int_equal(adopt(&b, 0), ERR_UNAVAILABLE);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    fixture_pass(&b.f, 250 * MS);
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_INCOMPLETE);
    fixture_sync(&b.f);
    take_incomplete(&b, partition_of(&b));
    bench_deinit(&b);
}

/* A partition that is not there, or not the key's, is refused: peers may say anything. */
static void foreign_partitions_are_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    static const uint32_t offsets[] = {1, 16, 1000};
    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        struct message *message = message_new(MESSAGE_replica_read, 0);
        message->from = actor_id_of(3, ACTOR_COORDINATOR);
        message->replica_read = (struct replica_read){
            .keyspace_id = b.f.keyspace_ids[KEYSPACE],
            .key = bytes_of_string("k"),
            .partition = i == 0 ? (partition_of(&b) + 1) % 16 : offsets[i],
        };
        fixture_handle(&b.f, message);
        struct message *reply = fixture_take(&b.f, MESSAGE_replica_read_reply);
        assert_int_equal(reply->replica_read_reply.status, ERR_INVALID);
        message_free(reply);
    }
    bench_deinit(&b);
}

/* The first of these keys that shares the vnode of "k". */
static const char *beside_k(const struct bench *b, char memory[16])
{
    for (int i = 0; i < 1000; i++) {
        snprintf(memory, 16, "other%d", i);
        if (test_partition(&b->f, KEYSPACE, memory) == partition_of(b))
            return memory;
    }
    fail();
    return NULL;
}

static void hide_k(struct bench *b)
{
    uint64_t hash = hash_key(b->f.keyspace_ids[KEYSPACE], bytes_of_string("k"));
    assert_true(engine_memory_hide(b->f.engine, partition_of(b), hash, hash));
}

static void take_unreadable(struct bench *b)
{
    struct message *message = fixture_take(&b->f, MESSAGE_vnode_incomplete);
    assert_int_equal(message->vnode_incomplete.partition, partition_of(b));
    assert_int_equal(message->vnode_incomplete.keyspace_id, 0);
    assert_true(message->vnode_incomplete.unreadable);
    message_free(message);
    assert_int_equal(counter_get(&replica_figures(b->replica)->vnodes_unreadable), 1);
    assert_int_equal(counter_get(&replica_figures(b->replica)->vnodes_incomplete), 1);
}

/* Whether the copy says that rows of the keyspace may be bad. */
static bool says_bad_rows(struct bench *b, enum test_keyspace keyspace)
{
    struct message *message = message_new(MESSAGE_tree_roots, 0);
    struct exchange_indices ids = {0};
    message->from = actor_id_of(2, ACTOR_ANTI_ENTROPY);
    message->tree_roots.partition = partition_of(b);
    fixture_handle(&b->f, message);
    struct message *reply = fixture_take(&b->f, MESSAGE_tree_roots_reply);
    assert_int_equal(reply->tree_roots_reply.status, OK);
    assert_true(reply->tree_roots_reply.complete);
    assert_true(reply->tree_roots_reply.unfit);
    if (reply->tree_roots_reply.bad_keyspaces.size > 0)
        assert_int_equal(exchange_indices_decode(&b->f.arena, reply->tree_roots_reply.bad_keyspaces,
                                                 (uint64_t)UINT32_MAX + 1, &ids),
                         OK);
    message_free(reply);
    bool found = false;
    for (uint32_t i = 0; i < ids.count; i++)
        found = found || ids.indices[i] == b->f.keyspace_ids[keyspace];
    return found;
}

static void send_doubt(struct bench *b, enum doubt_reason reason)
{
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->vnode_doubt = (struct vnode_doubt){
        .partition = partition_of(b), .reason = reason, .keyspace_id = b->f.keyspace_ids[KEYSPACE]};
    fixture_handle(&b->f, message);
}

/* RELIABILITY rule 25, message.h, DOUBT_CORRUPT: a vnode that the engine cannot read in part, met
 * by a read or by the scan that builds its trees, serves what it can, says of each keyspace that
 * rows are bad until it is given up there, and is emptied when anti-entropy says so; what comes too
 * late for that does nothing. */
static void what_the_engine_cannot_read(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct bench b;
        struct version_set set;
        char memory[16];
        bench_init(&b);
        const char *other = beside_k(&b, memory);
        mint(&b, KEYSPACE, "k", "v", NULL);
        mint(&b, KEYSPACE, other, "v", NULL);
        hide_k(&b);
        if (way == 0)
            send_read(&b, KEYSPACE, "k");
        else
            bench_restart(&b, true);
        for (int i = 0; i < 100; i++)
            fixture_pass(&b.f, 4 * MS);
        take_unreadable(&b);
        if (way == 0)
            message_free(fixture_take(&b.f, MESSAGE_replica_read_reply));
        assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_CORRUPT);
        assert_int_equal(read_set(&b, KEYSPACE, other, &set), OK);
        assert_int_equal(set.count, 1);
        assert_true(says_bad_rows(&b, KEYSPACE) && says_bad_rows(&b, KEYSPACE_TEST_LWW));
        send_doubt(&b, DOUBT_GIVEN_UP);
        assert_true(!says_bad_rows(&b, KEYSPACE) && says_bad_rows(&b, KEYSPACE_TEST_LWW));
        assert_int_equal(read_set(&b, KEYSPACE, "k", &set), ERR_CORRUPT);
        fixture_silent(&b.f);
        send_doubt(&b, DOUBT_CORRUPT);
        fixture_sync(&b.f);
        take_incomplete(&b, partition_of(&b));
        fixture_sync(&b.f);
        assert_int_equal(counter_get(&replica_figures(b.replica)->vnodes_unreadable), 0);
        assert_int_equal(read_set(&b, KEYSPACE, other, &set), ERR_INCOMPLETE);
        assert_int_equal(raw_record(&b, KEYSPACE, other).size, 0);
        send_doubt(&b, DOUBT_CORRUPT);
        send_doubt(&b, DOUBT_GIVEN_UP);
        fixture_sync(&b.f);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

static bool count_row(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)closure;
    return true;
}

/* replica_scan: all that lies before, between and behind what cannot be read is met, once. */
static void scans_go_past_it(void **state)
{
    (void)state;
    for (uint32_t width = 0; width < 64; width++) {
        struct bench b;
        bench_init(&b);
        uint32_t partition = partition_of(&b);
        struct merkle_range all = merkle_range(partition, b.f.view->topology.partitions, 0, 0);
        uint64_t first = all.first + (all.last - all.first) / 3;
        uint64_t last = width == 63 ? UINT64_MAX : first + ((uint64_t)1 << width);
        uint32_t hidden = 0;
        uint32_t met = 0;
        last = last > all.last ? all.last : last;
        for (uint32_t i = 0; i < 3000; i++) {
            char key[16];
            snprintf(key, sizeof key, "many%" PRIu32, i);
            uint64_t hash = hash_key(b.f.keyspace_ids[KEYSPACE], bytes_of_string(key));
            if (hash < all.first || hash > all.last)
                continue;
            mint(&b, KEYSPACE, key, "v", NULL);
            hidden += hash >= first && hash <= last;
            met++;
        }
        assert_true(met > 100);
        if (!engine_memory_hide(b.f.engine, partition, first, last))
            fail();
        fixture_tick(&b.f);
        uint32_t seen = 0;
        bool hole;
        assert_int_equal(replica_scan(b.replica, &b.f.ctx, partition, (struct bytes){0},
                                      (struct bytes){0}, count_row, &seen, &hole),
                         OK);
        assert_int_equal(seen, met - hidden);
        assert_int_equal(hole, hidden > 0);
        bench_deinit(&b);
    }
}

/* -- floors --------------------------------------------------------------------------------------
 */

/* RELIABILITY rule 14: what was read under a lower floor brings nothing new; what is here already
 * may come again. */
static void a_write_from_below_the_floor(void **state)
{
    (void)state;
    struct bench b;
    start_with_floor(&b, 5);
    struct bytes record = peer_record(&b, "theirs");
    assert_int_equal(write_under_floor(&b, record, 4), ERR_STALE_FLOOR);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
    assert_int_equal(set.count, 0);
    assert_int_equal(write_under_floor(&b, record, 5), OK);
    assert_int_equal(write_under_floor(&b, record, 4), OK);
    assert_int_equal(write_under_floor(&b, record, 6), OK);
    assert_int_equal(counter_get(&replica_figures(b.replica)->stale_floor), 1);
    /* A floor is one keyspace's. */
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "x");
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "other%d", i);
        assert_int_equal(write_record(&b, KEYSPACE_TEST_STRICT, key,
                                      test_record(&b.f, KEYSPACE_TEST_STRICT, key, &peer),
                                      WRITE_REPLICATE),
                         OK);
    }
    bench_deinit(&b);
}

/* A stale write that shows our own forgotten writes draws no epoch: nothing of it is taken. */
static void a_stale_write_draws_no_epoch(void **state)
{
    (void)state;
    struct bench b;
    start_with_floor(&b, 5);
    struct version_set mine = test_write(&b.f, &(struct version_set){0}, NULL, SELF, 9, "mine");
    uint64_t drawn = counter_get(&replica_figures(b.replica)->epochs_drawn);
    assert_int_equal(write_under_floor(&b, test_record(&b.f, KEYSPACE, "k", &mine), 4),
                     ERR_STALE_FLOOR);
    assert_int_equal(counter_get(&replica_figures(b.replica)->epochs_drawn), drawn);
    assert_int_equal(counter_get(&replica_figures(b.replica)->amnesia), 0);
    bench_deinit(&b);
}

/* design: every state that travels says the floor that its source had: reads, mints, and the writes
 * that a mint sends. The floor outlives crashes. */
static void states_say_the_floor(void **state)
{
    (void)state;
    struct bench b;
    start_with_floor(&b, 5);
    bench_restart(&b, false);
    assert_int_equal(read_floor(&b), 5);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE, "k", "v", NULL));
    struct message *sent = fixture_take(&b.f, MESSAGE_replica_write);
    assert_int_equal(sent->replica_write.floor, 5);
    message_free(sent);
    fixture_sync(&b.f);
    struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.floor, 5);
    message_free(done);
    assert_int_equal(write_under_floor(&b, peer_record(&b, "x"), 4), ERR_STALE_FLOOR);
    bench_deinit(&b);
}

/* replica_vnode.h: what leaves is tagged with a floor that no crash can take back; what comes in is
 * held against the new one at once. */
static void a_floor_is_said_when_durable(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t incarnation = lose(&b);
    assert_int_equal(adopt(&b, 1), OK);
    send_adopt(&b, 2);
    send_complete(&b, incarnation);
    assert_int_equal(read_floor(&b), 1);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE, "k", "v", NULL));
    struct message *sent = fixture_take(&b.f, MESSAGE_replica_write);
    assert_int_equal(sent->replica_write.floor, 1);
    message_free(sent);
    struct bytes record = peer_record(&b, "theirs");
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->replica_write = (struct replica_write){.keyspace_id = b.f.keyspace_ids[KEYSPACE],
                                                    .key = bytes_of_string("k"),
                                                    .record = record,
                                                    .partition = partition_of(&b),
                                                    .floor = 1};
    fixture_handle(&b.f, message);
    struct message *reply = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, ERR_STALE_FLOOR);
    message_free(reply);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_adopt_done));
    message_free(fixture_take(&b.f, MESSAGE_vnode_complete_done));
    struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.floor, 2); /* it waited for the floor, too */
    message_free(done);
    assert_int_equal(read_floor(&b), 2);
    bench_deinit(&b);
}

/* design: a complete replica's floor is raised by seals alone; a lower one is never adopted. */
static void floors_are_not_adopted_lightly(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_int_equal(adopt(&b, 5), ERR_PRECONDITION);
    assert_int_equal(read_floor(&b), 0);
    uint64_t incarnation = lose(&b);
    assert_int_equal(adopt(&b, 5), OK);
    assert_int_equal(adopt(&b, 4), OK);
    assert_int_equal(complete(&b, incarnation), OK);
    assert_int_equal(read_floor(&b), 5);
    lose(&b); /* what was adopted in an earlier life is gone */
    assert_int_equal(write_under_floor(&b, peer_record(&b, "x"), 5), ERR_INCOMPLETE);
    bench_deinit(&b);
}

/* message.h, vnode_adopt: while a copy is being filled nothing is reaped. One that has adopted less
 * than the others have reaped was filled in another time, from which its directory was put back. */
static void an_incomplete_copy_from_before_is_emptied_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    lose(&b);
    send_adopt_above(&b, 5, 3);
    fixture_sync(&b.f);
    assert_int_equal(adopt_done(&b), OK);
    assert_int_equal(write_under_floor(&b, peer_record(&b, "deleted since"), 5), OK);
    bench_restart(&b, true);
    fixture_tick(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
    send_adopt_above(&b, 6, 5); /* had sealed that */
    fixture_sync(&b.f);
    assert_int_equal(adopt_done(&b), OK);
    assert_true(raw_record(&b, KEYSPACE, "k").size != 0);
    send_adopt_above(&b, 9, 7);
    assert_int_equal(adopt_done(&b), ERR_INCOMPLETE);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
    fixture_sync(&b.f);
    assert_int_equal(raw_record(&b, KEYSPACE, "k").size, 0);
    send_adopt_above(&b, 9, 7); /* now it is empty */
    fixture_sync(&b.f);
    assert_int_equal(adopt_done(&b), OK);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(incomplete_until_filled),
        cmocka_unit_test(dropped_behind_its_row),
        cmocka_unit_test(what_is_held_is_void),
        cmocka_unit_test(a_crash_does_not_complete),
        cmocka_unit_test(completion_of_an_earlier_life),
        cmocka_unit_test(done_is_durable),
        cmocka_unit_test(a_loss_is_tried_again),
        cmocka_unit_test(nothing_before_the_rows),
        cmocka_unit_test(foreign_partitions_are_refused),
        cmocka_unit_test(what_the_engine_cannot_read),
        cmocka_unit_test(scans_go_past_it),
        cmocka_unit_test(a_write_from_below_the_floor),
        cmocka_unit_test(a_stale_write_draws_no_epoch),
        cmocka_unit_test(states_say_the_floor),
        cmocka_unit_test(a_floor_is_said_when_durable),
        cmocka_unit_test(floors_are_not_adopted_lightly),
        cmocka_unit_test(an_incomplete_copy_from_before_is_emptied_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
