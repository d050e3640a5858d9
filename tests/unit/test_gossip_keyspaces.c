// link: coterie_actors coterie_store
/* Rules of actors/gossip.h, the keyspace map: changes, spreading, durability, convergence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gossip_bench.h"

/* The maps that a change has sent to the other nodes; all of the outbox. */
struct spread {
    uint32_t count;
    uint64_t id;
    struct bytes map;
};

static struct spread take_spread(struct bench *b)
{
    struct spread spread = {0};
    struct message *message;
    while ((message = outbox_take(&b->f.outbox)) != NULL) {
        assert_int_equal(message->kind, MESSAGE_gossip_keyspaces);
        spread.count++;
        spread.id = message->id;
        spread.map = arena_copy(&b->f.arena, message->gossip_keyspaces.map);
        message_free(message);
    }
    return spread;
}

/* Answered when our own row is durable and every node has answered: not before either. known_by
 * counts those that have it. */
static void create(void **state)
{
    (void)state;
    for (int disk_last = 0; disk_last < 2; disk_last++) {
        struct bench b;
        bench_init(&b, 1, 4);
        bench_change(&b, KEYSPACE_CREATE, "books");
        assert_true(bench_has(&b, "books"));
        struct spread spread = take_spread(&b);
        assert_int_equal(spread.count, 3);
        if (!disk_last)
            fixture_sync(&b.f);
        bench_keyspaces_reply(&b, spread.id, 2, OK);
        bench_keyspaces_reply(&b, spread.id, 2, OK); /* twice is once */
        bench_keyspaces_reply(&b, spread.id + 1, 3, OK);
        bench_keyspaces_reply(&b, spread.id, 9, OK);
        bench_keyspaces_reply(&b, spread.id, 3, ERR_IO); /* has it not */
        fixture_silent(&b.f);
        bench_keyspaces_reply(&b, spread.id, 4, OK);
        if (disk_last) {
            fixture_silent(&b.f);
            fixture_sync(&b.f);
        }
        struct keyspace_change_done done = bench_changed(&b, OK);
        assert_int_equal(done.known_by, 3);
        assert_int_equal(done.nodes, 4);
        assert_string_equal(done.keyspace.name, "books");
        assert_int_equal(done.keyspace.id,
                         keyspace_id(done.keyspace.name, done.keyspace.created_at));
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* Nodes that are down are not waited for, silent ones until the change's deadline: not yet, then
 * now, with an honest count. Without our own disk it is a TIMEOUT. */
static void create_without_all(void **state)
{
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        struct bench b;
        bench_init(&b, 1, 4);
        bench_round(&b);
        bench_link(&b, 2, false);
        bench_change(&b, KEYSPACE_CREATE, "books");
        struct spread spread = take_spread(&b);
        assert_int_equal(spread.count, 2);
        if (durable)
            fixture_sync(&b.f);
        bench_keyspaces_reply(&b, spread.id, 3, OK);
        uint64_t deadline_ns = b.f.ctx.now_ns + 2000 * MS;
        while (actor_wake_at_ns(b.f.actor) < deadline_ns) {
            bench_round(&b);
        }
        assert_int_equal(actor_wake_at_ns(b.f.actor), deadline_ns);
        fixture_pass(&b.f, deadline_ns - b.f.ctx.now_ns);
        assert_int_equal(bench_changed(&b, durable ? OK : ERR_TIMEOUT).known_by, 2);
        bench_deinit(&b);
    }
}

/* The refusals: exists, not found, a bad definition, too many; nothing is sent and nothing changes.
 */
static void refusals(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    uint64_t digest = bench_map_digest(&b);
    bench_change(&b, KEYSPACE_CREATE, "lww");
    bench_changed(&b, ERR_EXISTS);
    bench_change(&b, KEYSPACE_DROP, "nothing");
    bench_changed(&b, ERR_NOT_FOUND);
    bench_change(&b, KEYSPACE_CREATE, "Bad Name");
    bench_changed(&b, ERR_INVALID);
    fixture_silent(&b.f);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    bench_change(&b, KEYSPACE_CREATE, "books");
    bench_changed(&b, ERR_OVERLOADED);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->store_errors), 1);
    assert_int_equal(bench_map_digest(&b), digest);
    bench_deinit(&b);
}

/* limits.h: KEYSPACES_MAX names, dropped ones included; then LIMIT. */
static void limit(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 1);
    char name[16];
    for (uint32_t i = KEYSPACE_TEST_COUNT; i < KEYSPACES_MAX; i++) {
        snprintf(name, sizeof name, "k%u", i);
        bench_change(&b, KEYSPACE_CREATE, name);
        fixture_sync(&b.f);
        bench_changed(&b, OK);
    }
    bench_change(&b, KEYSPACE_DROP, "k100");
    fixture_sync(&b.f);
    assert_true(bench_changed(&b, OK).keyspace.dropped);
    bench_change(&b, KEYSPACE_CREATE, "more");
    bench_changed(&b, ERR_LIMIT);
    bench_deinit(&b);
}

/* At most 16 changes wait at once; the next is OVERLOADED. */
static void too_many_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    char name[16];
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "k%d", i);
        bench_change(&b, KEYSPACE_CREATE, name);
        take_spread(&b);
    }
    bench_change(&b, KEYSPACE_CREATE, "more");
    bench_changed(&b, ERR_OVERLOADED);
    assert_false(bench_has(&b, "more"));
    bench_deinit(&b);
}

/* keyspace.h: dropped and created again it is another keyspace, in the same millisecond too. */
static void drop_and_create_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 1);
    bench_change(&b, KEYSPACE_CREATE, "books");
    fixture_sync(&b.f);
    struct keyspace_change_done first = bench_changed(&b, OK);
    bench_change(&b, KEYSPACE_DROP, "books");
    fixture_sync(&b.f);
    struct keyspace_change_done dropped = bench_changed(&b, OK);
    assert_false(bench_has(&b, "books"));
    assert_int_equal(dropped.keyspace.id, first.keyspace.id);
    assert_true(dropped.keyspace.changed_at > first.keyspace.changed_at);
    bench_change(&b, KEYSPACE_CREATE, "books");
    fixture_sync(&b.f);
    struct keyspace_change_done second = bench_changed(&b, OK);
    assert_true(bench_has(&b, "books"));
    assert_int_not_equal(second.keyspace.id, first.keyspace.id);
    assert_true(second.keyspace.changed_at > dropped.keyspace.changed_at);
    bench_deinit(&b);
}

/* A map from another node is merged and shown at once, and acknowledged when durable: not yet, then
 * now. A map that brings nothing waits for what is staged as well. */
static void maps_from_others(void **state)
{
    (void)state;
    struct bench a;
    struct bench b;
    bench_init(&a, 1, 2);
    bench_init(&b, 2, 2);
    bench_change(&a, KEYSPACE_CREATE, "books");
    struct spread spread = take_spread(&a);
    bench_send_map(&b, 1, spread.map);
    assert_true(bench_has(&b, "books"));
    bench_send_map(&b, 1, spread.map);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    for (int i = 0; i < 2; i++) {
        struct message *reply = fixture_take(&b.f, MESSAGE_gossip_keyspaces_reply);
        assert_int_equal(reply->gossip_keyspaces_reply.status, OK);
        assert_int_equal(reply->gossip_keyspaces_reply.keyspaces_digest, bench_map_digest(&a));
        message_free(reply);
    }
    assert_int_equal(counter_get(&b.figures->maps_merged), 1);
    bench_send_map(&b, 1, spread.map); /* nothing new, nothing staged: at once */
    message_free(fixture_take(&b.f, MESSAGE_gossip_keyspaces_reply));
    bench_deinit(&a);
    bench_deinit(&b);
}

/* A damaged map, or one that cannot be stored, is answered with the reason and changes nothing. */
static void maps_refused(void **state)
{
    (void)state;
    struct bench a;
    struct bench b;
    bench_init(&a, 1, 2);
    bench_init(&b, 2, 2);
    uint64_t digest = bench_map_digest(&b);
    bench_change(&a, KEYSPACE_CREATE, "books");
    struct spread spread = take_spread(&a);
    bench_send_map(&b, 1, bytes_of(spread.map.data, spread.map.size - 1));
    struct message *reply = fixture_take(&b.f, MESSAGE_gossip_keyspaces_reply);
    assert_int_equal(reply->gossip_keyspaces_reply.status, ERR_CORRUPT);
    message_free(reply);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    bench_send_map(&b, 1, spread.map);
    reply = fixture_take(&b.f, MESSAGE_gossip_keyspaces_reply);
    assert_int_equal(reply->gossip_keyspaces_reply.status, ERR_OVERLOADED);
    assert_int_equal(reply->gossip_keyspaces_reply.keyspaces_digest, digest);
    message_free(reply);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    assert_int_equal(bench_map_digest(&b), digest);
    bench_deinit(&a);
    bench_deinit(&b);
}

/* gossip.h: a digest that differs brings the map. */
static void differing_digests_bring_the_map(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    struct message *message = message_new(MESSAGE_gossip_digest, 0);
    message->from = actor_id_of(3, ACTOR_GOSSIP);
    message->gossip_digest.keyspaces_digest = bench_map_digest(&b) + 1;
    fixture_handle(&b.f, message);
    struct message *map = fixture_take(&b.f, MESSAGE_gossip_keyspaces);
    assert_int_equal(map->to.node, 3);
    message_free(map);
    message_free(fixture_take(&b.f, MESSAGE_gossip_digest_reply));
    message = message_new(MESSAGE_gossip_digest_reply, 0);
    message->from = actor_id_of(2, ACTOR_GOSSIP);
    message->gossip_digest_reply.digest.keyspaces_digest = bench_map_digest(&b) + 1;
    fixture_handle(&b.f, message);
    message_free(fixture_take(&b.f, MESSAGE_gossip_keyspaces));
    fixture_silent(&b.f);
    bench_deinit(&b);
}

static bool is_heard(const struct bench *b, uint32_t member)
{
    const struct topology *topology = &b->view->topology;
    return !b->view->members[topology_member(topology, member) - topology->members].unheard;
}

static void say_digest(struct bench *b, uint32_t from, uint64_t digest)
{
    struct message *message = message_new(MESSAGE_gossip_digest_reply, 0);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->gossip_digest_reply.digest.keyspaces_digest = digest;
    fixture_handle(&b->f, message);
    bench_views(b);
}

/* view.h: what a member knew is known here when its map was merged, or is the same. One that
 * differs, or that could not be stored, says nothing; a later difference takes nothing back. */
static void who_has_told_is_shown(void **state)
{
    (void)state;
    struct bench a;
    struct bench b;
    bench_init(&a, 1, 5);
    bench_init(&b, 2, 5);
    for (uint32_t member = 1; member <= 5; member++)
        assert_int_equal(is_heard(&b, member), member == 2);
    assert_false(view_keyspaces_heard(b.view));
    say_digest(&b, 3, bench_map_digest(&b) + 1);
    assert_false(is_heard(&b, 3));
    message_free(fixture_take(&b.f, MESSAGE_gossip_keyspaces));
    say_digest(&b, 3, bench_map_digest(&b));
    assert_true(is_heard(&b, 3));
    assert_false(view_keyspaces_heard(b.view)); /* two of five */
    bench_change(&a, KEYSPACE_CREATE, "books");
    struct spread spread = take_spread(&a);
    bench_send_map(&b, 1, bytes_of(spread.map.data, spread.map.size - 1));
    message_free(fixture_take(&b.f, MESSAGE_gossip_keyspaces_reply));
    assert_false(is_heard(&b, 1));
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    bench_send_map(&b, 1, spread.map);
    message_free(fixture_take(&b.f, MESSAGE_gossip_keyspaces_reply));
    assert_false(is_heard(&b, 1));
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    bench_send_map(&b, 1, spread.map);
    assert_true(is_heard(&b, 1));
    assert_true(view_keyspaces_heard(b.view)); /* three of five */
    say_digest(&b, 3, bench_map_digest(&b) + 1);
    message_free(fixture_take(&b.f, MESSAGE_gossip_keyspaces));
    assert_true(is_heard(&b, 3));
    bench_deinit(&a);
    bench_deinit(&b);
}

/* Who has left, or was given up, is no member that could tell. */
static void who_is_gone_is_not_waited_for(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 4);
    say_digest(&b, 2, bench_map_digest(&b));
    assert_false(view_keyspaces_heard(b.view)); /* two of four */
    b.view->topology.members[3].gone = true;
    assert_true(view_keyspaces_heard(b.view));
    b.view->topology.members[3].gone = false;
    b.view->topology.members[3].status = MEMBER_REMOVED;
    assert_true(view_keyspaces_heard(b.view));
    bench_deinit(&b);
}

/* gossip.h: two nodes that create the same name while cut off end with one of the two definitions,
 * and a drop against a create with the later one, whichever way the maps travel. */
static void concurrent_changes_converge(void **state)
{
    (void)state;
    for (int order = 0; order < 4; order++) {
        struct bench a;
        struct bench b;
        bench_init(&a, 1, 2);
        bench_init(&b, 2, 2);
        b.f.ctx.wall_ms += (order & 1) != 0 ? 10 : 0;
        bench_change(&a, KEYSPACE_CREATE, "books");
        bench_change(&a, KEYSPACE_DROP, "lww");
        struct bytes of_a = take_spread(&a).map;
        bench_change(&b, KEYSPACE_CREATE, "books");
        bench_change(&b, KEYSPACE_CREATE, "films");
        struct bytes of_b = take_spread(&b).map;
        assert_int_not_equal(bench_map_digest(&a), bench_map_digest(&b));
        if ((order & 2) != 0) {
            bench_send_map(&a, 2, of_b);
            bench_send_map(&b, 1, of_a);
        } else {
            bench_send_map(&b, 1, of_a);
            bench_send_map(&a, 2, of_b);
        }
        assert_int_equal(bench_map_digest(&a), bench_map_digest(&b));
        assert_true(bench_has(&a, "books") && bench_has(&a, "films"));
        assert_false(bench_has(&b, "lww"));
        /* A later change here wins over what came, although our clock is behind. */
        struct message *reply = NULL;
        bench_change(&a, KEYSPACE_DROP, "books");
        bench_send_map(&b, 1, take_spread(&a).map);
        assert_false(bench_has(&b, "books"));
        assert_int_equal(bench_map_digest(&a), bench_map_digest(&b));
        while ((reply = outbox_take(&b.f.outbox)) != NULL)
            message_free(reply);
        bench_deinit(&a);
        bench_deinit(&b);
    }
}

/* A definition stamped far ahead of our clock, further than we let our own be dragged, can be
 * changed here all the same: every change of a name is above all that is known of it. */
static void far_stamps_can_be_changed(void **state)
{
    (void)state;
    struct bench a;
    struct bench b;
    bench_init(&a, 1, 2);
    bench_init(&b, 2, 2);
    b.f.ctx.wall_ms += (uint64_t)10 * 60 * 1000;
    bench_change(&b, KEYSPACE_CREATE, "books");
    bench_send_map(&a, 2, take_spread(&b).map);
    assert_true(bench_has(&a, "books"));
    bench_change(&a, KEYSPACE_DROP, "books");
    bench_send_map(&b, 1, take_spread(&a).map);
    assert_false(bench_has(&b, "books"));
    bench_change(&a, KEYSPACE_CREATE, "films"); /* our own clock was not dragged along */
    const struct keyspace *films = keyspace_map_find(&a.view->keyspaces, "films");
    assert_non_null(films);
    assert_true(films->created_at < (uint64_t)(WALL_MS + 1000) << 16);
    bench_deinit(&a);
    bench_deinit(&b);
}

/* A map that was acknowledged survives a crash; one that was not may be gone. boot.h reads it. */
static void persistence(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 1);
    bench_change(&b, KEYSPACE_CREATE, "kept");
    fixture_sync(&b.f);
    bench_changed(&b, OK);
    bench_change(&b, KEYSPACE_CREATE, "lost");
    fixture_silent(&b.f); /* not acknowledged */
    bench_stop(&b);
    fixture_crash(&b.f, false);
    struct boot_options options = {.topology = &b.f.topology,
                                   .self = 1,
                                   .shards = 1,
                                   .random_id = {1},
                                   .wall_ms = b.f.ctx.wall_ms};
    struct boot boot;
    char why[256];
    assert_int_equal(boot_node(engine_store(b.f.engine, HANDLE_BOOT), &b.f.arena, &options, &boot,
                               why, sizeof why),
                     OK);
    bench_start(&b, &boot.keyspaces);
    assert_true(bench_has(&b, "kept"));
    assert_false(bench_has(&b, "lost"));
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create),
        cmocka_unit_test(create_without_all),
        cmocka_unit_test(refusals),
        cmocka_unit_test(limit),
        cmocka_unit_test(too_many_at_once),
        cmocka_unit_test(drop_and_create_again),
        cmocka_unit_test(maps_from_others),
        cmocka_unit_test(maps_refused),
        cmocka_unit_test(differing_digests_bring_the_map),
        cmocka_unit_test(who_has_told_is_shown),
        cmocka_unit_test(who_is_gone_is_not_waited_for),
        cmocka_unit_test(concurrent_changes_converge),
        cmocka_unit_test(far_stamps_can_be_changed),
        cmocka_unit_test(persistence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
