// link: coterie_actors coterie_store
/* Rules of actors/replica_reap.c (RELIABILITY rules 13 to 16): a replica shows what it holds dead
 * only under a floor that it has just raised, takes nothing older from then on, and removes just
 * what was shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/reap.h"
#include "tests/unit/change_bench.h"
#include "tests/unit/replica_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define AGE_MS   1000u

static uint32_t partition_of(const struct bench *b, const char *key)
{
    return test_partition(&b->f, KEYSPACE, key);
}

/* A put, or with value NULL a delete; `ttl_ms` 0: for ever. */
static struct bytes write_here(struct bench *b, const char *key, const char *value, uint64_t ttl_ms)
{
    struct message *message = mint_message(b, KEYSPACE, key, value == NULL ? "" : value, NULL);
    message->replica_mint.request.flags = value == NULL ? VERSION_TOMBSTONE : 0;
    message->replica_mint.request.expires_at_ms = ttl_ms == 0 ? 0 : b->f.ctx.wall_ms + ttl_ms;
    fixture_handle(&b->f, message);
    message_free(fixture_take(&b->f, MESSAGE_replica_write));
    fixture_sync(&b->f);
    struct message *done = fixture_take(&b->f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.status, OK);
    struct bytes record = arena_copy(&b->f.arena, done->replica_mint_done.record);
    message_free(done);
    return record;
}

struct scanned {
    enum err status;
    bool more;
    uint64_t through_hash;
    struct reap_list list;
};

static struct scanned scan_from(struct bench *b, uint32_t partition, uint64_t from_hash,
                                uint32_t limit)
{
    struct message *message = message_new(MESSAGE_reap_scan, 0);
    message->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->reap_scan = (struct reap_scan){.partition = partition,
                                            .keyspace_id = b->f.keyspace_ids[KEYSPACE],
                                            .from_hash = from_hash,
                                            .older_than_ms = b->f.ctx.wall_ms - AGE_MS,
                                            .limit = limit};
    fixture_handle(&b->f, message);
    struct message *done = fixture_take(&b->f, MESSAGE_reap_scan_done);
    struct scanned scanned = {.status = done->reap_scan_done.status,
                              .more = done->reap_scan_done.more,
                              .through_hash = done->reap_scan_done.through_hash};
    assert_int_equal(reap_list_decode(done->reap_scan_done.digests, &scanned.list), OK);
    message_free(done);
    return scanned;
}

static struct scanned scan(struct bench *b, const char *key)
{
    return scan_from(b, partition_of(b, key), 0, REAP_BATCH_MAX);
}

static void age(struct bench *b)
{
    b->f.ctx.wall_ms += 2 * AGE_MS;
}

struct sealed {
    enum err status;
    uint64_t floor;
    uint64_t reaped;
    uint8_t matched;
};

/* `reaped`: by the others, as far as the sender knows. */
static void send_seal_above(struct bench *b, const char *key, uint64_t floor, uint64_t reaped,
                            const struct reap_list *list)
{
    struct message *message = message_new(MESSAGE_reap_seal, 0);
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->epoch = b->f.view->topology.epoch;
    message->reap_seal = (struct reap_seal){.partition = partition_of(b, key),
                                            .keyspace_id = b->f.keyspace_ids[KEYSPACE],
                                            .floor = floor,
                                            .reaped = reaped,
                                            .older_than_ms = b->f.ctx.wall_ms - AGE_MS,
                                            .digests = reap_list_encode(&message->arena, list)};
    fixture_handle(&b->f, message);
}

static void send_seal(struct bench *b, const char *key, uint64_t floor,
                      const struct reap_list *list)
{
    send_seal_above(b, key, floor, 0, list);
}

static struct sealed seal_above(struct bench *b, const char *key, uint64_t floor, uint64_t reaped,
                                const struct reap_list *list)
{
    send_seal_above(b, key, floor, reaped, list);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_reap_seal_reply);
    struct sealed sealed = {.status = reply->reap_seal_reply.status,
                            .floor = reply->reap_seal_reply.floor,
                            .reaped = reply->reap_seal_reply.reaped};
    if (sealed.status == OK) {
        assert_int_equal(reply->reap_seal_reply.matched.size, reap_bits_bytes(list->count));
        sealed.matched = list->count == 0 ? 0 : reply->reap_seal_reply.matched.data[0];
    }
    message_free(reply);
    return sealed;
}

static struct sealed seal(struct bench *b, const char *key, uint64_t floor,
                          const struct reap_list *list)
{
    return seal_above(b, key, floor, 0, list);
}

static enum err remove_listed(struct bench *b, const char *key, uint64_t floor,
                              const struct reap_list *list, uint32_t *ret_removed)
{
    struct message *message = message_new(MESSAGE_reap_remove, 0);
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->epoch = b->f.view->topology.epoch;
    message->reap_remove = (struct reap_remove){.partition = partition_of(b, key),
                                                .keyspace_id = b->f.keyspace_ids[KEYSPACE],
                                                .floor = floor,
                                                .digests = reap_list_encode(&message->arena, list)};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_reap_remove_reply);
    enum err status = reply->reap_remove_reply.status;
    *ret_removed = reply->reap_remove_reply.removed;
    message_free(reply);
    return status;
}

/* What a round asks before it removes anything. */
static enum err confirm(struct bench *b, const char *key, uint64_t floor)
{
    struct reap_list none = {.count = 0};
    uint32_t removed;
    return remove_listed(b, key, floor, &none, &removed);
}

static enum err write_under(struct bench *b, const char *key, struct bytes record, uint64_t floor)
{
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->replica_write = (struct replica_write){.keyspace_id = b->f.keyspace_ids[KEYSPACE],
                                                    .key = bytes_of_string(key),
                                                    .record = record,
                                                    .partition = partition_of(b, key),
                                                    .floor = floor};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_replica_write_reply);
    enum err status = reply->replica_write_reply.status;
    message_free(reply);
    return status;
}

/* Only what is dead and old enough; a value never, a time to live when it is over. */
static void the_scan_finds_what_is_dead(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes live = write_here(&b, "live", "v", 0);
    struct bytes deleted = write_here(&b, "deleted", NULL, 0);
    struct bytes expiring = write_here(&b, "expiring", "v", 500);
    struct bytes lasting = write_here(&b, "lasting", "v", 100000);
    static const char *const keys[] = {"live", "deleted", "expiring", "lasting"};
    struct bytes records[] = {live, deleted, expiring, lasting};
    for (int i = 0; i < 4; i++) {
        struct scanned scanned = scan(&b, keys[i]);
        assert_int_equal(scanned.status, OK);
        assert_int_equal(scanned.list.count, 0); /* nothing is old enough yet */
    }
    age(&b);
    for (int i = 0; i < 4; i++) {
        struct scanned scanned = scan(&b, keys[i]);
        bool dead = i == 1 || i == 2;
        bool listed = false;
        for (uint32_t k = 0; k < scanned.list.count; k++)
            listed = listed || scanned.list.digests[k].checksum == record_checksum(records[i]);
        assert_int_equal(listed, dead);
    }
    bench_deinit(&b);
}

/* A whole scan that met no tombstone and no time to live is not repeated until one is written. */
static void a_clean_vnode_is_not_scanned_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    write_here(&b, "k", "v", 0);
    assert_int_equal(scan(&b, "k").list.count, 0);
    /* From behind the replica's back: a scan that reads would find it. */
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "");
    struct version dead = set.versions[0];
    dead.flags = VERSION_TOMBSTONE;
    dead.written_at = 1;
    struct version_set dead_set = {.clock = set.clock, .count = 1, .versions = &dead};
    struct bytes dead_record = test_record(&b.f, KEYSPACE, "k", &dead_set);
    put_raw(&b, KEYSPACE, "k", dead_record);
    assert_int_equal(scan(&b, "k").list.count, 0);
    write_here(&b, "k", NULL, 0);
    age(&b);
    assert_int_equal(scan(&b, "k").list.count, 1);
    /* With a tombstone that is too young the next scan looks again. */
    struct bench c;
    bench_init(&c);
    write_here(&c, "k", NULL, 0);
    assert_int_equal(scan(&c, "k").list.count, 0);
    age(&c);
    assert_int_equal(scan(&c, "k").list.count, 1);
    bench_deinit(&c);
    bench_deinit(&b);
}

/* Pages meet every dead record once. */
static void pages_cover_the_vnode(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint32_t partition = partition_of(&b, "key-0");
    uint32_t wanted = 0;
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%d", i);
        if (partition_of(&b, key) != partition)
            continue;
        write_here(&b, key, NULL, 0);
        wanted++;
    }
    assert_true(wanted > 5);
    age(&b);
    uint32_t met = 0;
    uint64_t from_hash = 0;
    for (;;) {
        struct scanned scanned = scan_from(&b, partition, from_hash, 2);
        met += scanned.list.count;
        if (!scanned.more)
            break;
        assert_int_equal(scanned.list.count, 2);
        from_hash = scanned.through_hash + 1;
    }
    assert_int_equal(met, wanted);
    bench_deinit(&b);
}

/* The floor rises above all that was, durably, in the step that shows what is held. */
static void a_seal_raises_the_floor(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes tombstone = write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    assert_int_equal(list.count, 1);
    assert_int_equal(seal(&b, "k", 0, &list).status, ERR_STALE_FLOOR);
    assert_int_equal(seal(&b, "k", UINT64_MAX, &list).status, ERR_INVALID);
    send_seal(&b, "k", 3, &list);
    fixture_silent(&b.f); /* not before it is durable */
    fixture_sync(&b.f);
    struct message *reply = fixture_take(&b.f, MESSAGE_reap_seal_reply);
    assert_int_equal(reply->reap_seal_reply.status, OK);
    assert_int_equal(reply->reap_seal_reply.matched.data[0], 1);
    message_free(reply);
    struct sealed again = seal(&b, "k", 3, &list);
    assert_int_equal(again.status, ERR_STALE_FLOOR);
    assert_int_equal(again.floor, 3);
    /* What was read before brings nothing new; what is known already is no news. */
    struct version_set older = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "older");
    struct bytes record = test_record(&b.f, KEYSPACE, "k", &older);
    assert_int_equal(write_under(&b, "k", record, 2), ERR_STALE_FLOOR);
    assert_int_equal(write_under(&b, "k", tombstone, 2), OK);
    bench_restart(&b, false);
    fixture_tick(&b.f);
    assert_int_equal(write_under(&b, "k", record, 2), ERR_STALE_FLOOR);
    assert_int_equal(write_under(&b, "k", record, 3), OK);
    bench_deinit(&b);
}

/* Another state, one too young for this clock, one that is not there: no match. */
static void a_seal_shows_only_the_very_same(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    list.digests[0].checksum++;
    assert_int_equal(seal(&b, "k", 1, &list).matched, 0);
    list.digests[0].checksum--;
    assert_int_equal(seal(&b, "k", 2, &list).matched, 1);
    b.f.ctx.wall_ms -= 2 * AGE_MS; /* a clock that is behind the leader's */
    assert_int_equal(seal(&b, "k", 3, &list).matched, 0);
    age(&b);
    write_here(&b, "k", "again", 0);
    assert_int_equal(seal(&b, "k", 4, &list).matched, 0);
    struct reap_list garbage = {.count = 1, .digests = {{1, 2}}};
    assert_int_equal(seal(&b, "k", 5, &garbage).matched, 0);
    bench_deinit(&b);
}

/* What was shown goes, if it is still so and no other round has begun; the key begins a new life.
 */
static void a_removal_takes_what_was_shown(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint32_t removed;
    write_here(&b, "k", "v", 0);
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct version_set before;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &before), OK);
    struct reap_list list = scan(&b, "k").list;
    assert_int_equal(seal(&b, "k", 1, &list).matched, 1);
    assert_int_equal(remove_listed(&b, "k", 1, &list, &removed), ERR_PRECONDITION); /* not asked */
    assert_int_equal(confirm(&b, "k", 1), OK);
    assert_int_equal(remove_listed(&b, "k", 2, &list, &removed), ERR_STALE_FLOOR);
    assert_int_equal(remove_listed(&b, "k", 1, &list, &removed), OK);
    assert_int_equal(removed, 1);
    assert_int_equal(remove_listed(&b, "k", 1, &list, &removed), OK); /* again: nothing left */
    assert_int_equal(removed, 0);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
    assert_int_equal(set.clock.count, 0);
    /* kv679: the next life's dots are none of the last one's. */
    struct minted reborn = mint(&b, KEYSPACE, "k", "new", NULL);
    assert_true(own_epoch(&reborn.set) > own_epoch(&before));
    bench_deinit(&b);
}

/* An empty list asks whether the copy that sealed is still there: not after a restart, nor when it
 * was lost and filled again. */
static void only_the_copy_that_sealed_confirms(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct reap_list none = {.count = 0};
    uint32_t removed;
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    assert_int_equal(remove_listed(&b, "k", 0, &none, &removed), OK); /* nobody's round, no harm */
    assert_int_equal(seal(&b, "k", 1, &list).matched, 1);
    assert_int_equal(remove_listed(&b, "k", 1, &none, &removed), OK);
    assert_int_equal(removed, 0);
    assert_int_equal(remove_listed(&b, "k", 2, &none, &removed), ERR_STALE_FLOOR);
    bench_restart(&b, true);
    fixture_tick(&b.f);
    assert_int_equal(remove_listed(&b, "k", 1, &none, &removed), ERR_PRECONDITION);
    assert_int_equal(seal(&b, "k", 2, &list).matched, 1);
    assert_int_equal(remove_listed(&b, "k", 2, &none, &removed), OK);
    bench_deinit(&b);
}

/* Written to since it was shown: it stays. */
static void a_removal_spares_what_changed(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint32_t removed;
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    assert_int_equal(seal(&b, "k", 1, &list).matched, 1);
    assert_int_equal(confirm(&b, "k", 1), OK);
    write_here(&b, "k", "new", 0);
    assert_int_equal(remove_listed(&b, "k", 1, &list, &removed), OK);
    assert_int_equal(removed, 0);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE, "k", &set), OK);
    assert_true(test_holds(&set, "new"));
    bench_deinit(&b);
}

/* Whoever confirms has noted, durably and before the answer, that all had sealed; it says so to who
 * comes with a lower floor, and no further seal takes it back. */
static void a_confirmation_notes_the_reaped_floor(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    assert_int_equal(seal(&b, "k", 4, &list).matched, 1);
    assert_int_equal(seal(&b, "k", 0, &list).reaped, 0); /* sealed, by whom else nobody has said */
    struct message *message = message_new(MESSAGE_reap_remove, 0);
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->reap_remove = (struct reap_remove){
        .partition = partition_of(&b, "k"), .keyspace_id = b.f.keyspace_ids[KEYSPACE], .floor = 4};
    fixture_handle(&b.f, message);
    fixture_silent(&b.f); /* not before it is durable */
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_reap_remove_reply));
    bench_restart(&b, false);
    fixture_tick(&b.f);
    struct sealed asked = seal(&b, "k", 0, &list);
    assert_int_equal(asked.status, ERR_STALE_FLOOR);
    assert_int_equal(asked.floor, 4);
    assert_int_equal(asked.reaped, 4);
    assert_int_equal(seal_above(&b, "k", 7, 4, &list).status, OK);
    assert_int_equal(seal(&b, "k", 0, &list).reaped, 4);
    assert_int_equal(seal_above(&b, "k", 9, 6, &list).status, OK); /* 7 is above 6 */
    assert_int_equal(seal(&b, "k", 0, &list).reaped, 6);
    bench_deinit(&b);
}

/* Who gains a partition takes over the floors that there are (ARCHITECTURE.md, "A cluster that
 * changes"): so while it goes over none is raised, and nothing is removed. */
static void nothing_is_reaped_while_a_partition_goes_over(void **state)
{
    (void)state;
    struct bench b;
    uint32_t removed = 0;
    struct reap_list none = {.count = 0};
    bench_init(&b);
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    assert_int_equal(seal(&b, "k", 4, &list).matched, 1);
    assert_int_equal(remove_listed(&b, "k", 4, &none, &removed), OK);
    change_operate(
        &b.f, (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = SELF, .weight = 3});
    change_commit(&b.f);
    for (enum partition_phase phase = PHASE_ANNOUNCED; phase <= PHASE_COPIED; phase++) {
        change_step(&b.f, partition_of(&b, "k"), phase);
        assert_int_equal(seal(&b, "k", 9, &list).status, ERR_PRECONDITION);
        assert_int_equal(seal(&b, "k", 0, &list).status, ERR_PRECONDITION);
        assert_int_equal(remove_listed(&b, "k", 4, &list, &removed), ERR_PRECONDITION);
        assert_int_equal(removed, 0);
    }
    change_step(&b.f, partition_of(&b, "k"), PHASE_DONE);
    assert_int_equal(seal(&b, "k", 0, &list).floor, 4);
    assert_int_equal(remove_listed(&b, "k", 4, &list, &removed), OK);
    assert_int_equal(removed, 1);
    bench_deinit(&b);
}

/* A seal that may find something lost waits for the trees. */
static void know_what_is_held(struct bench *b, const char *key)
{
    struct reap_list none = {.count = 0};
    assert_int_equal(seal_above(b, key, 8, 5, &none).status, ERR_UNAVAILABLE);
    for (uint32_t i = 0; i < 100; i++)
        fixture_pass(&b->f, 5 * MS);
}

static void expect_emptied(struct bench *b, const char *key)
{
    struct version_set set;
    message_free(fixture_take(&b->f, MESSAGE_vnode_incomplete));
    assert_int_equal(read_set(b, KEYSPACE, key, &set), ERR_INCOMPLETE);
    fixture_sync(&b->f);
    struct bytes record = raw_record(b, KEYSPACE, key);
    assert_int_equal(record.size, 0);
}

/* kv679, restore-in-parts. A replica below what another one has noted as reaped is a copy from
 * before its own seal: it is emptied, whatever it holds, and whoever asks. Just at that floor it
 * has sealed, and is only late. */
static void a_copy_from_before_a_removal_is_emptied(void **state)
{
    (void)state;
    struct reap_list none = {.count = 0};
    for (uint64_t floor = 0; floor <= 5; floor++) {
        struct bench b;
        bench_init(&b);
        write_here(&b, "k", "deleted since", 0);
        if (floor > 0)
            assert_int_equal(seal(&b, "k", floor, &none).status, OK);
        know_what_is_held(&b, "k");
        struct sealed asked = seal_above(&b, "k", 8, 5, &none);
        if (floor == 5) {
            assert_int_equal(asked.status, OK);
        } else {
            assert_int_equal(asked.status, ERR_INCOMPLETE);
            expect_emptied(&b, "k");
        }
        bench_deinit(&b);
    }
}

/* A replica that holds nothing of a keyspace and was never asked to seal is new to it. */
static void one_that_is_new_to_a_keyspace_takes_the_floor(void **state)
{
    (void)state;
    struct reap_list none = {.count = 0};
    struct bench b;
    bench_init(&b);
    know_what_is_held(&b, "k");
    assert_int_equal(scan(&b, "k").list.count, 0); /* it has heard of it */
    assert_int_equal(seal_above(&b, "k", 8, 5, &none).status, OK);
    assert_int_equal(seal(&b, "k", 0, &none).reaped, 5);
    bench_deinit(&b);
}

/* A copy that is not complete shows nothing. */
static void an_incomplete_vnode_seals_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    struct message *doubt = message_new(MESSAGE_vnode_doubt, 0);
    doubt->vnode_doubt = (struct vnode_doubt){.partition = partition_of(&b, "k")};
    fixture_handle(&b.f, doubt);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
    fixture_sync(&b.f);
    uint32_t removed;
    assert_int_equal(scan(&b, "k").status, ERR_INCOMPLETE);
    assert_int_equal(seal(&b, "k", 1, &list).status, ERR_INCOMPLETE);
    assert_int_equal(remove_listed(&b, "k", 0, &list, &removed), ERR_INCOMPLETE);
    bench_deinit(&b);
}

/* A damaged row is no tombstone, whatever its last bytes say. */
static void damage_is_never_reaped(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes tombstone = write_here(&b, "k", NULL, 0);
    age(&b);
    struct reap_list list = scan(&b, "k").list;
    for (size_t size = 0; size < tombstone.size; size += 7) {
        put_raw(&b, KEYSPACE, "k", bytes_of(tombstone.data, size));
        assert_int_equal(scan(&b, "k").list.count, 0);
        assert_int_equal(seal(&b, "k", 1 + size, &list).matched, 0);
    }
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scan_finds_what_is_dead),
        cmocka_unit_test(a_clean_vnode_is_not_scanned_again),
        cmocka_unit_test(pages_cover_the_vnode),
        cmocka_unit_test(a_seal_raises_the_floor),
        cmocka_unit_test(a_seal_shows_only_the_very_same),
        cmocka_unit_test(a_removal_takes_what_was_shown),
        cmocka_unit_test(only_the_copy_that_sealed_confirms),
        cmocka_unit_test(a_removal_spares_what_changed),
        cmocka_unit_test(a_confirmation_notes_the_reaped_floor),
        cmocka_unit_test(nothing_is_reaped_while_a_partition_goes_over),
        cmocka_unit_test(a_copy_from_before_a_removal_is_emptied),
        cmocka_unit_test(one_that_is_new_to_a_keyspace_takes_the_floor),
        cmocka_unit_test(an_incomplete_vnode_seals_nothing),
        cmocka_unit_test(damage_is_never_reaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
