// link: coterie_actors coterie_store
/* Rules of actors/gossip.h, liveness: rounds, digests, convictions, links. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gossip_bench.h"

/* gossip.h: a round every interval +-10 %, a digest to `fanout` distinct peers, with a heartbeat of
 * our own that grows. */
static void rounds(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 6);
    uint64_t heartbeat = 0;
    uint64_t last_ns = 0;
    for (int round = 0; round < 50; round++) {
        uint64_t wake_at_ns = actor_wake_at_ns(b.f.actor);
        if (round > 0) {
            assert_true(wake_at_ns - last_ns >= INTERVAL * 9 / 10);
            assert_true(wake_at_ns - last_ns <= INTERVAL * 11 / 10);
            b.f.ctx.now_ns = wake_at_ns;
        }
        last_ns = b.f.ctx.now_ns;
        fixture_tick(&b.f);
        bench_views(&b);
        bool told[8] = {false};
        for (int i = 0; i < 3; i++) {
            struct message *message = fixture_take(&b.f, MESSAGE_gossip_digest);
            assert_int_not_equal(message->to.node, 1);
            assert_false(told[message->to.node]);
            told[message->to.node] = true;
            const struct gossip_heartbeat *own = &message->gossip_digest.heartbeats[0];
            assert_int_equal(own->member, 1);
            assert_int_equal(own->generation, GENERATION);
            assert_true(i > 0 ? own->heartbeat == heartbeat : own->heartbeat > heartbeat);
            heartbeat = own->heartbeat;
            message_free(message);
        }
        fixture_silent(&b.f);
    }
    bench_deinit(&b);
}

/* A node of its own has nobody to tell, and is alive. */
static void alone(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(bench_round(&b), 0);
    assert_int_equal(bench_liveness(&b, 1), LIVENESS_ALIVE);
    bench_deinit(&b);
}

/* What this node says of itself in an answer. */
static uint64_t own_generation(struct bench *b)
{
    struct message *message = message_new(MESSAGE_gossip_digest, 0);
    message->from = actor_id_of(2, ACTOR_GOSSIP);
    message->gossip_digest.keyspaces_digest = bench_map_digest(b);
    fixture_handle(&b->f, message);
    bench_views(b);
    struct message *reply = fixture_take(&b->f, MESSAGE_gossip_digest_reply);
    assert_int_equal(reply->gossip_digest_reply.digest.heartbeats[0].member, b->self);
    uint64_t generation = reply->gossip_digest_reply.digest.heartbeats[0].generation;
    message_free(reply);
    return generation;
}

/* gossip.h, push-pull: a digest is answered with our own, which holds what we have heard of others.
 */
static void push_pull(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    bench_heartbeat(&b, 2, 3, 4, 40); /* of 3, through 2 */
    assert_int_equal(bench_liveness(&b, 3), LIVENESS_ALIVE);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_UNKNOWN);
    struct message *message = message_new(MESSAGE_gossip_digest, 0);
    message->from = actor_id_of(2, ACTOR_GOSSIP);
    message->id = 9;
    message->gossip_digest.keyspaces_digest = bench_map_digest(&b);
    fixture_handle(&b.f, message);
    struct message *reply = fixture_take(&b.f, MESSAGE_gossip_digest_reply);
    assert_int_equal(reply->to.node, 2);
    assert_int_equal(reply->id, 9);
    const struct gossip_digest *digest = &reply->gossip_digest_reply.digest;
    assert_int_equal(digest->topology_epoch, 1);
    assert_int_equal(digest->keyspaces_digest, bench_map_digest(&b));
    assert_int_equal(digest->heartbeat_count, 2); /* not of 2: nothing is known of it */
    assert_int_equal(digest->heartbeats[1].member, 3);
    assert_int_equal(digest->heartbeats[1].generation, 4);
    assert_int_equal(digest->heartbeats[1].heartbeat, 40);
    message_free(reply);
    bench_deinit(&b);
}

/* Runs rounds; every `period` a new heartbeat of member 2. Until `until_ns`. */
static void live_until(struct bench *b, uint64_t *heartbeat, uint64_t until_ns)
{
    while (b->f.ctx.now_ns < until_ns) {
        bench_round(b);
        bench_heartbeat(b, 2, 2, 1, ++*heartbeat);
    }
}

/* gossip.h: a peer whose heartbeat is overdue goes down: not yet within the acceptable pause,
 * surely after ten intervals; one that speaks again is back at once. */
static void conviction(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    uint64_t heartbeat = 0;
    live_until(&b, &heartbeat, b.f.ctx.now_ns + 60 * INTERVAL);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_ALIVE);
    assert_int_equal(counter_get(&b.figures->convictions), 1); /* 3, which never spoke */
    assert_int_equal(bench_liveness(&b, 3), LIVENESS_DOWN);
    uint64_t silent_ns = b.f.ctx.now_ns;
    while (b.f.ctx.now_ns < silent_ns + 10 * INTERVAL) {
        if (b.f.ctx.now_ns < silent_ns + 3 * INTERVAL)
            assert_int_equal(bench_liveness(&b, 2), LIVENESS_ALIVE);
        bench_round(&b);
        bench_heartbeat(&b, 3, 2, 1, heartbeat); /* one that we have is no sign of life */
    }
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_DOWN);
    assert_int_equal(counter_get(&b.figures->convictions), 2);
    bench_heartbeat(&b, 2, 2, 1, heartbeat + 1);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_ALIVE);
    assert_int_equal(counter_get(&b.figures->revivals), 1);
    bench_deinit(&b);
}

/* RELIABILITY rule 30: a greater generation is a new life, its heartbeats begin anew; an older one
 * is a ghost and says nothing. */
static void generations(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    bench_round(&b);
    bench_heartbeat(&b, 2, 2, 7, 1000);
    bench_link(&b, 2, true);
    for (int i = 0; i < 10; i++) {
        bench_round(&b);
        bench_heartbeat(&b, 3, 2, 6, 2000 + (uint64_t)i); /* ghost */
    }
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_DOWN);
    bench_heartbeat(&b, 3, 2, 8, 1);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_ALIVE);
    assert_int_equal(b.view->members[1].generation, 8);
    bench_heartbeat(&b, 3, 55, 1, 1); /* of nobody */
    assert_int_equal(bench_liveness(&b, 1), LIVENESS_ALIVE);
    bench_deinit(&b);
}

/* RELIABILITY rule 30: peers that knew this member in an earlier life, whose count of starts is
 * lost with its disk, would take it for a ghost: it goes on above what they say. */
static void own_ghost_is_outbid(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    bench_heartbeat(&b, 3, 1, GENERATION, 1000); /* this life */
    bench_heartbeat(&b, 3, 1, GENERATION - 1, 1000);
    assert_int_equal(own_generation(&b), GENERATION);
    bench_heartbeat(&b, 3, 1, 99, 1000);
    assert_int_equal(own_generation(&b), 100);
    bench_heartbeat(&b, 3, 1, UINT64_MAX, 1); /* nothing is above that */
    assert_int_equal(own_generation(&b), 100);
    assert_int_equal(bench_liveness(&b, 1), LIVENESS_ALIVE);
    bench_deinit(&b);
}

/* RELIABILITY rule 31: after a pause of our own nobody is convicted, in whatever order mail and
 * ticks come; after a while of listening the silent ones are. */
static void self_doubt(void **state)
{
    (void)state;
    for (int mail_first = 0; mail_first < 2; mail_first++) {
        struct bench b;
        bench_init(&b, 1, 4);
        for (int i = 0; i < 30; i++) {
            bench_round(&b);
            for (uint32_t member = 2; member <= 4; member++)
                bench_heartbeat(&b, member, member, 1, (uint64_t)i + 1);
        }
        assert_int_equal(counter_get(&b.figures->convictions), 0);
        b.f.ctx.now_ns += 20 * INTERVAL; /* we were not scheduled */
        if (mail_first) {
            bench_link(&b, 2, true);
            bench_heartbeat(&b, 2, 2, 1, 100);
        }
        bench_round(&b);
        assert_int_equal(counter_get(&b.figures->self_doubts), 1);
        for (int i = 0; i < 3; i++) {
            bench_heartbeat(&b, 2, 2, 1, 101 + (uint64_t)i);
            bench_round(&b);
        }
        for (uint32_t member = 2; member <= 4; member++)
            assert_int_equal(bench_liveness(&b, member), LIVENESS_ALIVE);
        assert_int_equal(counter_get(&b.figures->convictions), 0);
        for (int i = 0; i < 20; i++) {
            bench_heartbeat(&b, 2, 2, 1, 200 + (uint64_t)i);
            bench_round(&b);
        }
        assert_int_equal(bench_liveness(&b, 2), LIVENESS_ALIVE);
        assert_int_equal(bench_liveness(&b, 3), LIVENESS_DOWN);
        assert_int_equal(bench_liveness(&b, 4), LIVENESS_DOWN);
        bench_deinit(&b);
    }
}

/* gossip.h: a peer is down when our link to it is down, at once, whatever its heartbeats say; up
 * again counts as a sign of life. A link of nobody is ignored. */
static void links(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    bench_round(&b);
    bench_heartbeat(&b, 2, 2, 1, 1);
    uint64_t views = counter_get(&b.figures->views);
    bench_link(&b, 2, false);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_DOWN);
    assert_false(view_alive(b.view, 2));
    assert_int_equal(counter_get(&b.figures->views), views + 1);
    bench_heartbeat(&b, 3, 2, 1, 2);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_DOWN);
    bench_link(&b, 2, true);
    assert_int_equal(bench_liveness(&b, 2), LIVENESS_ALIVE);
    views = counter_get(&b.figures->views);
    bench_link(&b, 2, true);
    bench_link(&b, 9, false);
    bench_link(&b, 1, false);
    assert_int_equal(counter_get(&b.figures->views), views);
    assert_int_equal(bench_liveness(&b, 1), LIVENESS_ALIVE);
    bench_deinit(&b);
}

/* actor.h: a message that is not for gossip is counted and consumed. */
static void foreign_messages_are_counted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 3);
    uint64_t expected = 0;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        switch (kind) {
        case MESSAGE_gossip_digest:
        case MESSAGE_gossip_digest_reply:
        case MESSAGE_gossip_keyspaces:
        case MESSAGE_gossip_keyspaces_reply:
        case MESSAGE_keyspace_change:
        case MESSAGE_peer_link:
        case MESSAGE_store_committed:
        case MESSAGE_topology_document:
        case MESSAGE_topology_document_reply:
        case MESSAGE_topology_fetch:
        case MESSAGE_topology_prepare:
        case MESSAGE_topology_prepare_reply:
        case MESSAGE_topology_accept:
        case MESSAGE_topology_accept_reply:
        case MESSAGE_topology_behind:
        case MESSAGE_client_topology:
        case MESSAGE_client_reports:
        case MESSAGE_vnode_report_reply:
            continue;
        default:
            fixture_handle(&b.f, message_new((enum message_kind)kind, 0));
            expected++;
        }
    }
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&b.figures->unexpected), expected);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds),
        cmocka_unit_test(alone),
        cmocka_unit_test(push_pull),
        cmocka_unit_test(conviction),
        cmocka_unit_test(generations),
        cmocka_unit_test(own_ghost_is_outbid),
        cmocka_unit_test(self_doubt),
        cmocka_unit_test(links),
        cmocka_unit_test(foreign_messages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
