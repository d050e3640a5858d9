/* gossip_bench.h -- one gossip actor on a simulated disk; the test is the other nodes and the host.
 */
#ifndef TESTS_UNIT_GOSSIP_BENCH_H
#define TESTS_UNIT_GOSSIP_BENCH_H

#include "actors/gossip.h"
#include "tests/unit/actor_fixture.h"

#define CLIENT     77u
#define GENERATION 5u
#define INTERVAL   (1000 * MS)

struct bench {
    struct fixture f;
    uint32_t self;
    struct gossip *gossip;
    const struct gossip_figures *figures;
    struct view *view; /* the last one published */
};

static inline void bench_take_view(struct bench *b, struct message *message)
{
    view_unref(b->view);
    b->view = view_ref(message->view_publish.view);
    message_free(message);
}

static inline void bench_start(struct bench *b, const struct keyspace_map *map)
{
    struct gossip_options options = gossip_options_default(b->self, GENERATION);
    assert_int_equal(options.interval_ns, INTERVAL);
    b->gossip = gossip_new(&options, &b->f.topology, map);
    b->figures = gossip_figures(b->gossip);
    b->f.actor = gossip_actor(b->gossip);
    b->view = gossip_first_view(b->gossip);
}

static inline void bench_init(struct bench *b, uint32_t self, uint32_t members)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, members, 1);
    b->self = self;
    bench_start(b, &b->f.map);
}

static inline void bench_stop(struct bench *b)
{
    view_unref(b->view);
    gossip_free(b->gossip);
    b->f.actor = NULL;
}

static inline void bench_deinit(struct bench *b)
{
    bench_stop(b);
    fixture_deinit(&b->f);
}

/* Takes all views out of the outbox, keeps the rest in order. */
static inline uint32_t bench_views(struct bench *b)
{
    struct outbox rest;
    uint32_t count = 0;
    struct message *message;
    outbox_init(&rest);
    struct actor_context ctx = {.outbox = &rest};
    while ((message = outbox_take(&b->f.outbox)) != NULL) {
        if (message->kind == MESSAGE_view_publish) {
            assert_true(message->view_publish.view->version > b->view->version);
            bench_take_view(b, message);
            count++;
        } else {
            outbox_send(&ctx, b->f.actor, message);
        }
    }
    b->f.outbox = rest;
    return count;
}

/* One gossip round that is due; its digests are dropped. Gives how many there were. */
static inline uint32_t bench_round(struct bench *b)
{
    uint64_t wake_at_ns = actor_wake_at_ns(b->f.actor);
    fixture_pass(&b->f, wake_at_ns > b->f.ctx.now_ns ? wake_at_ns - b->f.ctx.now_ns : 0);
    bench_views(b);
    uint32_t count = 0;
    struct message *message;
    while ((message = outbox_take(&b->f.outbox)) != NULL) {
        assert_int_equal(message->kind, MESSAGE_gossip_digest);
        message_free(message);
        count++;
    }
    return count;
}

static inline uint64_t bench_map_digest(struct bench *b)
{
    return keyspace_map_digest(&b->view->keyspaces);
}

/* A digest from `from` with one heartbeat; its reply is dropped. */
static inline void bench_heartbeat(struct bench *b, uint32_t from, uint32_t member,
                                   uint64_t generation, uint64_t heartbeat)
{
    struct message *message = message_new(MESSAGE_gossip_digest, 0);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->gossip_digest.topology_epoch = 1;
    message->gossip_digest.keyspaces_digest = bench_map_digest(b);
    message->gossip_digest.heartbeat_count = 1;
    message->gossip_digest.heartbeats = ARENA_NEW(&message->arena, struct gossip_heartbeat, 1);
    message->gossip_digest.heartbeats[0] = (struct gossip_heartbeat){
        .member = member, .generation = generation, .heartbeat = heartbeat};
    fixture_handle(&b->f, message);
    bench_views(b);
    message_free(fixture_take(&b->f, MESSAGE_gossip_digest_reply));
    fixture_silent(&b->f);
}

static inline void bench_link(struct bench *b, uint32_t member, bool up)
{
    struct message *message = message_new(MESSAGE_peer_link, 0);
    message->peer_link.member = member;
    message->peer_link.up = up;
    fixture_handle(&b->f, message);
    bench_views(b);
    fixture_silent(&b->f);
}

static inline enum liveness bench_liveness(struct bench *b, uint32_t member)
{
    return view_liveness(b->view, member);
}

/* -- keyspaces ----------------------------------------------------------------------------------
 */

static inline void bench_change(struct bench *b, enum keyspace_operation operation,
                                const char *name)
{
    struct message *message = message_new(MESSAGE_keyspace_change, 0);
    message->from = actor_id_of(b->self, ACTOR_EDGE);
    message->keyspace_change.client = CLIENT;
    message->keyspace_change.operation = operation;
    message->keyspace_change.keyspace = keyspace_default(name);
    fixture_handle(&b->f, message);
    bench_views(b);
}

static inline struct keyspace_change_done bench_changed(struct bench *b, enum err status)
{
    struct message *message = fixture_take(&b->f, MESSAGE_keyspace_change_done);
    struct keyspace_change_done done = message->keyspace_change_done;
    assert_int_equal(done.status, status);
    assert_int_equal(done.client, CLIENT);
    assert_int_equal(message->to.kind, ACTOR_EDGE);
    assert_int_equal(done.why == NULL, status == OK);
    message_free(message);
    return done;
}

static inline void bench_keyspaces_reply(struct bench *b, uint64_t id, uint32_t from,
                                         enum err status)
{
    struct message *message = message_new(MESSAGE_gossip_keyspaces_reply, 0);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->id = id;
    message->gossip_keyspaces_reply.status = status;
    fixture_handle(&b->f, message);
}

static inline void bench_send_map(struct bench *b, uint32_t from, struct bytes map)
{
    struct message *message = message_new(MESSAGE_gossip_keyspaces, map.size);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->id = 5;
    message->gossip_keyspaces.map = arena_copy(&message->arena, map);
    fixture_handle(&b->f, message);
    bench_views(b);
}

static inline bool bench_has(struct bench *b, const char *name)
{
    return keyspace_map_find(&b->view->keyspaces, name) != NULL;
}

#endif
