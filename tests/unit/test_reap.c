// link: coterie_actors coterie_store
/* Rules of model/reap.h and actors/reaper.h (RELIABILITY rules 13, 14): a tombstone goes when every
 * replica has shown the same one under one floor and no member keeps hints; everything else waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/reaper.h"
#include "tests/unit/actor_fixture.h"

#define SECONDS (1000 * MS)

/* -- what is dead --------------------------------------------------------------------------------
 */

static void dead_is_what_nobody_can_read(void **state)
{
    (void)state;
    enum { NOW = 1000000, OLD = 500000 };
    struct case_of {
        struct version version;
        bool dead;
    } cases[] = {
        {{.written_at = (uint64_t)(OLD - 1) << 16, .flags = VERSION_TOMBSTONE}, true},
        {{.written_at = (uint64_t)OLD << 16, .flags = VERSION_TOMBSTONE}, false}, /* too young */
        {{.written_at = (uint64_t)(OLD - 1) << 16}, false},                       /* a value */
        {{.written_at = (uint64_t)(OLD - 2) << 16, .expires_at_ms = OLD - 1}, true},
        {{.written_at = (uint64_t)(OLD - 2) << 16, .expires_at_ms = OLD}, false},
        {{.written_at = (uint64_t)(OLD - 2) << 16, .expires_at_ms = NOW + 1},
         false}, /* still lives */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct version pair[2] = {cases[i].version, cases[0].version};
        struct version_set set = {.count = 2, .versions = pair};
        assert_int_equal(reap_is_dead(&set, OLD, NOW), cases[i].dead);
    }
}

static void lists_come_back_as_they_went(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct reap_list list = {.count = 0};
    struct reap_list back;
    for (uint32_t i = 0; i < 9; i++)
        list.digests[list.count++] = (struct reap_digest){i / 2, i};
    struct bytes bytes = reap_list_encode(&arena, &list);
    assert_int_equal(reap_list_decode(bytes, &back), OK);
    assert_int_equal(back.count, 9);
    assert_memory_equal(back.digests, list.digests, 9 * sizeof list.digests[0]);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(reap_list_decode(bytes_of(bytes.data, size), &back),
                         size % 16 == 0 ? OK : ERR_CORRUPT);
    uint8_t *twice = arena_alloc(&arena, 32);
    memset(twice, 7, 32);
    assert_int_equal(reap_list_decode(bytes_of(twice, 32), &back), ERR_CORRUPT);
    struct reap_bits bits = {{0}};
    reap_bits_set(&bits, 3);
    reap_bits_set(&bits, 8);
    struct reap_bits other = {{0xff, 0}};
    assert_int_equal(reap_bits_and(&bits, bytes_of(other.bytes, 1), 9), ERR_CORRUPT);
    assert_int_equal(reap_bits_and(&bits, bytes_of(other.bytes, 2), 9), OK);
    reap_list_keep(&list, &bits);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.digests[0].checksum, 3);
    arena_deinit(&arena);
}

/* -- rounds
 * ---------------------------------------------------------------------------------------- */

struct bench {
    struct fixture f;
    struct actor actor; /* whose name the messages carry */
    struct reaper reaper;
    uint32_t partition;
    uint32_t keyspace_id;
    struct replica_set set;
    struct reap_list dead;
};

static void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, 4, 1);
    b->actor = (struct actor){.magic = ACTOR_MAGIC, .id = actor_id_of(SELF, ACTOR_ANTI_ENTROPY)};
    struct reaper_options options = reaper_options_default(SELF, 1);
    reaper_init(&b->reaper, &options);
    for (uint32_t i = 0; i < 3; i++)
        b->dead.digests[b->dead.count++] = (struct reap_digest){100 + i, 7 * i};
}

static void bench_deinit(struct bench *b)
{
    fixture_deinit(&b->f);
}

static void tick(struct bench *b)
{
    reaper_tick(&b->reaper, &b->f.ctx, &b->actor);
    reaper_check(&b->reaper);
}

static void pass(struct bench *b, uint64_t ns)
{
    b->f.ctx.now_ns += ns;
    b->f.ctx.wall_ms += ns / MS;
    tick(b);
}

static void answer(struct bench *b, struct message *message)
{
    reaper_handle(&b->reaper, &b->f.ctx, &b->actor, message);
    reaper_check(&b->reaper);
    message_free(message);
}

/* Answers the scan under way with `list` (NULL: nothing is dead). */
static void answer_scan(struct bench *b, const struct reap_list *list, bool more)
{
    struct message *scan = fixture_take(&b->f, MESSAGE_reap_scan);
    assert_int_equal(scan->to.node, SELF);
    assert_int_equal(scan->reap_scan.older_than_ms, b->f.ctx.wall_ms - 600000);
    b->partition = scan->reap_scan.partition;
    b->keyspace_id = scan->reap_scan.keyspace_id;
    view_replica_set(b->f.view, keyspace_map_find_id(&b->f.map, b->keyspace_id), b->partition,
                     &b->set);
    struct message *done = message_new(MESSAGE_reap_scan_done, 0);
    done->id = scan->id;
    done->from = scan->to;
    done->reap_scan_done = (struct reap_scan_done){.more = more, .through_hash = 102};
    if (list != NULL)
        done->reap_scan_done.digests = reap_list_encode(&done->arena, list);
    message_free(scan);
    answer(b, done);
}

static void answer_hints(struct bench *b, uint32_t refuser)
{
    struct message *asked[4];
    for (uint32_t i = 0; i < 4; i++) {
        asked[i] = fixture_take(&b->f, MESSAGE_reap_hints);
        assert_int_equal(asked[i]->to.node, i + 1); /* every member, replica or not */
        assert_int_equal(asked[i]->to.kind, ACTOR_HINTED_HANDOFF);
        assert_int_equal(asked[i]->reap_hints.partition, b->partition);
        assert_int_equal(asked[i]->reap_hints.keyspace_id, b->keyspace_id);
    }
    fixture_silent(&b->f);
    for (uint32_t i = 0; i < 4; i++) {
        struct message *reply = message_new(MESSAGE_reap_hints_reply, 0);
        reply->id = asked[i]->id;
        reply->from = asked[i]->to;
        reply->reap_hints_reply.status = i + 1 == refuser ? ERR_CONFLICT : OK;
        message_free(asked[i]);
        answer(b, reply);
    }
}

/* The first question to the replicas is for their floors: a seal that none takes. The one at
 * `refuser` (1..3) answers something else. */
static void answer_floors(struct bench *b, const uint64_t floors[3], const uint64_t reaped[3],
                          uint32_t refuser)
{
    struct message *asked[3];
    for (uint32_t i = 0; i < 3; i++) {
        asked[i] = fixture_take(&b->f, MESSAGE_reap_seal);
        assert_int_equal(asked[i]->to.node, b->set.replicas[i].member);
        assert_int_equal(asked[i]->reap_seal.floor, 0);
        assert_int_equal(asked[i]->reap_seal.reaped, 0);
        assert_int_equal(asked[i]->reap_seal.digests.size, 0);
    }
    fixture_silent(&b->f);
    for (uint32_t i = 0; i < 3; i++) {
        struct message *reply = message_new(MESSAGE_reap_seal_reply, 0);
        reply->id = asked[i]->id;
        reply->from = asked[i]->to;
        reply->reap_seal_reply =
            (struct reap_seal_reply){.status = i + 1 == refuser ? ERR_INCOMPLETE : ERR_STALE_FLOOR,
                                     .floor = floors[i],
                                     .reaped = reaped[i]};
        message_free(asked[i]);
        answer(b, reply);
    }
}

/* All at floor 5, nothing reaped. */
static void answer_equal_floors(struct bench *b)
{
    static const uint64_t floors[3] = {5, 5, 5};
    static const uint64_t reaped[3] = {0, 0, 0};
    answer_floors(b, floors, reaped, 0);
}

/* Every replica is asked to seal; answers with `status`, `floor` and these bits from the i-th. */
static void answer_seal(struct bench *b, uint32_t index, enum err status, uint64_t floor,
                        uint8_t matched, uint64_t expected_floor)
{
    struct message *seal = fixture_take(&b->f, MESSAGE_reap_seal);
    assert_int_equal(seal->to.node, b->set.replicas[index].member);
    assert_int_equal(seal->reap_seal.floor, expected_floor);
    assert_int_equal(seal->reap_seal.digests.size, 48);
    struct message *reply = message_new(MESSAGE_reap_seal_reply, 0);
    reply->id = seal->id;
    reply->from = seal->to;
    reply->reap_seal_reply =
        (struct reap_seal_reply){.status = status,
                                 .floor = floor,
                                 .matched = arena_copy(&reply->arena, bytes_of(&matched, 1))};
    message_free(seal);
    /* Later: all were asked at once. */
    reply->next = NULL;
    answer(b, reply);
}

static void answer_remove(struct bench *b, struct message *remove, enum err status)
{
    struct message *reply = message_new(MESSAGE_reap_remove_reply, 0);
    reply->id = remove->id;
    reply->from = remove->to;
    reply->reap_remove_reply.status = status;
    message_free(remove);
    answer(b, reply);
}

/* After the last seal all are asked once more; the one at `refuser` (1..3) has lost its data since.
 */
static void answer_confirmations(struct bench *b, uint32_t refuser)
{
    struct message *asked[3];
    for (uint32_t i = 0; i < 3; i++) {
        asked[i] = fixture_take(&b->f, MESSAGE_reap_remove);
        assert_int_equal(asked[i]->to.node, b->set.replicas[i].member);
        assert_int_equal(asked[i]->reap_remove.floor, 6);
        assert_int_equal(asked[i]->reap_remove.digests.size, 0);
    }
    fixture_silent(&b->f);
    for (uint32_t i = 0; i < 3; i++)
        answer_remove(b, asked[i], i + 1 == refuser ? ERR_PRECONDITION : OK);
}

static uint64_t reaped(const struct bench *b)
{
    return counter_get(&b->reaper.figures.reaped);
}

/* The way of a round: what all three hold goes, from all three, and nothing else. */
static void what_all_hold_is_removed(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    tick(&b);
    answer_scan(&b, &b.dead, false);
    answer_hints(&b, 0);
    answer_equal_floors(&b);
    assert_int_equal(b.f.outbox.count, 3);
    answer_seal(&b, 0, OK, 6, 0x7, 6);
    answer_seal(&b, 1, OK, 6, 0x5, 6);     /* the second record differs here */
    assert_int_equal(b.f.outbox.count, 1); /* two of three are not enough for anything */
    answer_seal(&b, 2, OK, 6, 0x7, 6);
    answer_confirmations(&b, 0);
    struct message *removals[3];
    for (uint32_t i = 0; i < 3; i++) {
        removals[i] = fixture_take(&b.f, MESSAGE_reap_remove);
        assert_int_equal(removals[i]->to.node, b.set.replicas[i].member);
        assert_int_equal(removals[i]->reap_remove.floor, 6);
        struct reap_list list;
        assert_int_equal(reap_list_decode(removals[i]->reap_remove.digests, &list), OK);
        assert_int_equal(list.count, 2);
        assert_int_equal(list.digests[0].key_hash, 100);
        assert_int_equal(list.digests[1].key_hash, 102);
    }
    for (uint32_t i = 0; i < 3; i++)
        answer_remove(&b, removals[i], OK);
    assert_int_equal(reaped(&b), 2);
    assert_int_equal(counter_get(&b.reaper.figures.differed), 1);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* A hint anywhere, on whatever member, puts the round off; so does a member that is away. */
static void hints_and_absence_put_it_off(void **state)
{
    (void)state;
    for (uint32_t refuser = 1; refuser <= 4; refuser++) {
        struct bench b;
        bench_init(&b);
        tick(&b);
        answer_scan(&b, &b.dead, false);
        answer_hints(&b, refuser);
        fixture_silent(&b.f);
        assert_int_equal(counter_get(&b.reaper.figures.put_off), 1);
        pass(&b, 5 * SECONDS); /* the same place once more, from the scan on */
        uint32_t partition = b.partition;
        answer_scan(&b, NULL, false);
        assert_int_equal(b.partition, partition);
        bench_deinit(&b);
    }
    struct bench b;
    bench_init(&b);
    fixture_set_liveness(&b.f, 4, LIVENESS_DOWN);
    tick(&b);
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.reaper.figures.put_off), 1);
    pass(&b, 59 * SECONDS);
    fixture_silent(&b.f);
    fixture_set_liveness(&b.f, 4, LIVENESS_ALIVE);
    pass(&b, 1 * SECONDS);
    message_free(fixture_take(&b.f, MESSAGE_reap_scan));
    bench_deinit(&b);
}

/* Seals say the greatest of all reaped floors, so that none is sealed that has lost what it had
 * sealed; and not before all have been asked. */
static void all_floors_are_heard_before_any_is_raised(void **state)
{
    (void)state;
    static const uint64_t floors[3] = {3, 9, 7};
    static const uint64_t reaped[3] = {1, 6, 7};
    for (uint32_t refuser = 0; refuser <= 3; refuser++) {
        struct bench b;
        bench_init(&b);
        tick(&b);
        answer_scan(&b, &b.dead, false);
        answer_hints(&b, 0);
        answer_floors(&b, floors, reaped, refuser);
        if (refuser != 0) {
            fixture_silent(&b.f);
            assert_int_equal(counter_get(&b.reaper.figures.put_off), 1);
        }
        for (uint32_t i = 0; refuser == 0 && i < 3; i++) {
            assert_int_equal(b.f.outbox.first->reap_seal.reaped, 7);
            answer_seal(&b, i, OK, 10, 0x7, 10);
        }
        bench_deinit(&b);
    }
}

/* A replica that cannot seal ends the round without a removal; the next one asks for floors anew.
 */
static void a_refused_seal_begins_again_above(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_STALE_FLOOR, ERR_INCOMPLETE, ERR_UNAVAILABLE, ERR_IO};
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct bench b;
        bench_init(&b);
        tick(&b);
        answer_scan(&b, &b.dead, false);
        answer_hints(&b, 0);
        answer_equal_floors(&b);
        answer_seal(&b, 0, OK, 6, 0x7, 6);
        answer_seal(&b, 1, refusals[i], 40, 0x7, 6);
        answer_seal(&b, 2, OK, 6, 0x7, 6);
        fixture_silent(&b.f);
        assert_int_equal(b.reaper.state, REAPER_IDLE);
        pass(&b, 5 * SECONDS);
        answer_scan(&b, &b.dead, false);
        answer_hints(&b, 0);
        static const uint64_t floors[3] = {6, 40, 6};
        static const uint64_t reaped[3] = {0, 0, 0};
        answer_floors(&b, floors, reaped, 0);
        answer_seal(&b, 0, OK, 41, 0x7, 41);
        bench_deinit(&b);
    }
}

/* reaper.h: a replica that is not the copy that sealed any more may hold anything: nothing is
 * removed. */
static void a_copy_lost_since_its_seal_ends_a_round(void **state)
{
    (void)state;
    for (uint32_t refuser = 1; refuser <= 3; refuser++) {
        struct bench b;
        bench_init(&b);
        tick(&b);
        answer_scan(&b, &b.dead, false);
        answer_hints(&b, 0);
        answer_equal_floors(&b);
        for (uint32_t i = 0; i < 3; i++)
            answer_seal(&b, i, OK, 6, 0x7, 6);
        answer_confirmations(&b, refuser);
        fixture_silent(&b.f);
        assert_int_equal(counter_get(&b.reaper.figures.put_off), 1);
        assert_int_equal(reaped(&b), 0);
        bench_deinit(&b);
    }
}

/* An answer that does not come: the round ends, and what comes late is not taken for the next
 * one's. */
static void silence_ends_a_round(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    tick(&b);
    answer_scan(&b, &b.dead, false);
    answer_hints(&b, 0);
    answer_equal_floors(&b);
    struct message *late = fixture_take(&b.f, MESSAGE_reap_seal);
    answer_seal(&b, 1, OK, 6, 0x7, 6);
    answer_seal(&b, 2, OK, 6, 0x7, 6);
    pass(&b, 5 * SECONDS - 1);
    assert_int_equal(b.reaper.state, REAPER_SEALING);
    pass(&b, 1);
    assert_int_equal(b.reaper.state, REAPER_IDLE);
    pass(&b, 5 * SECONDS);
    answer_scan(&b, &b.dead, false);
    answer_hints(&b, 0);
    answer_equal_floors(&b);
    assert_int_equal(b.f.outbox.count, 3);
    uint8_t all = 0x7;
    struct message *reply = message_new(MESSAGE_reap_seal_reply, 0);
    reply->id = late->id;
    reply->from = late->to;
    reply->reap_seal_reply = (struct reap_seal_reply){.floor = 6, .matched = bytes_of(&all, 1)};
    message_free(late);
    answer(&b, reply);
    assert_int_equal(b.reaper.asked_count, 3);
    assert_int_equal(reaped(&b), 0);
    bench_deinit(&b);
}

/* A vote counts once, whoever says it twice. */
static void a_replica_seals_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    tick(&b);
    answer_scan(&b, &b.dead, false);
    answer_hints(&b, 0);
    answer_equal_floors(&b);
    uint8_t all = 0x7;
    for (int i = 0; i < 3; i++) {
        struct message *reply = message_new(MESSAGE_reap_seal_reply, 0);
        reply->id = b.reaper.serial;
        reply->from = actor_id_of(b.set.replicas[0].member, ACTOR_REPLICA);
        reply->reap_seal_reply = (struct reap_seal_reply){.floor = 6, .matched = bytes_of(&all, 1)};
        answer(&b, reply);
    }
    assert_int_equal(b.reaper.state, REAPER_SEALING);
    bench_deinit(&b);
}

/* A removal is sent again to those that have not answered, a few times, then the turn goes on. */
static void removals_are_sent_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    tick(&b);
    answer_scan(&b, &b.dead, false);
    answer_hints(&b, 0);
    answer_equal_floors(&b);
    for (uint32_t i = 0; i < 3; i++)
        answer_seal(&b, i, OK, 6, 0x7, 6);
    answer_confirmations(&b, 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct message *remove = fixture_take(&b.f, MESSAGE_reap_remove);
        if (i == 1) /* a link that is down is not an answer */
            answer_remove(&b, remove, ERR_UNAVAILABLE);
        else
            answer_remove(&b, remove, OK);
    }
    for (int tries = 1; tries < 5; tries++) {
        pass(&b, 5 * SECONDS);
        struct message *again = fixture_take(&b.f, MESSAGE_reap_remove);
        assert_int_equal(again->to.node, b.set.replicas[1].member);
        message_free(again);
        fixture_silent(&b.f);
    }
    pass(&b, 5 * SECONDS);
    assert_int_equal(reaped(&b), 3);
    assert_int_equal(counter_get(&b.reaper.figures.unanswered), 1);
    bench_deinit(&b);
}

/* A turn visits each (partition, keyspace) that this node leads once, then rests; over the nodes of
 * a cluster each has one leader. */
static void every_place_has_one_leader(void **state)
{
    (void)state;
    uint32_t places = 0;
    for (uint32_t self = 1; self <= 4; self++) {
        struct bench b;
        bench_init(&b);
        struct reaper_options options = reaper_options_default(self, 1);
        reaper_init(&b.reaper, &options);
        tick(&b);
        while (b.f.outbox.count != 0) {
            struct message *scan = fixture_take(&b.f, MESSAGE_reap_scan);
            struct message *done = message_new(MESSAGE_reap_scan_done, 0);
            done->id = scan->id;
            done->from = scan->to;
            message_free(scan);
            answer(&b, done);
            places++;
            pass(&b, 10 * MS);
        }
        assert_int_equal(counter_get(&b.reaper.figures.turns), 1);
        pass(&b, 53 * SECONDS);
        fixture_silent(&b.f);
        pass(&b, 14 * SECONDS);
        assert_int_equal(b.f.outbox.count, 1);
        bench_deinit(&b);
    }
    assert_int_equal(places,
                     16 * (KEYSPACE_TEST_COUNT - 1)); /* consistent keyspaces are not ours */
}

/* Pages: the next scan begins behind the last. */
static void pages_go_on_behind_each_other(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    tick(&b);
    answer_scan(&b, NULL, true);
    uint32_t partition = b.partition;
    fixture_silent(&b.f); /* paced */
    pass(&b, 10 * MS);
    struct message *scan = fixture_take(&b.f, MESSAGE_reap_scan);
    assert_int_equal(scan->reap_scan.from_hash, 103);
    assert_int_equal(scan->reap_scan.partition, partition);
    message_free(scan);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_is_what_nobody_can_read),
        cmocka_unit_test(lists_come_back_as_they_went),
        cmocka_unit_test(what_all_hold_is_removed),
        cmocka_unit_test(hints_and_absence_put_it_off),
        cmocka_unit_test(all_floors_are_heard_before_any_is_raised),
        cmocka_unit_test(a_refused_seal_begins_again_above),
        cmocka_unit_test(a_copy_lost_since_its_seal_ends_a_round),
        cmocka_unit_test(silence_ends_a_round),
        cmocka_unit_test(a_replica_seals_once),
        cmocka_unit_test(removals_are_sent_again),
        cmocka_unit_test(every_place_has_one_leader),
        cmocka_unit_test(pages_go_on_behind_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
