/* actor.h -- the contract of an actor: a deterministic state machine that the host steps.
 *
 * Everything a step may know or do is in `ctx`: same messages, same clock readings, same seed, same
 * result. The host is a thread of the runtime (runtime/) in production and one seeded event heap in
 * tests/sim. No globals, no callbacks, no hidden clock.
 *
 * A concrete actor is a struct whose first member is `struct actor`.
 */
#ifndef ACTORS_ACTOR_H
#define ACTORS_ACTOR_H

#include "actors/message.h"
#include "actors/store.h"
#include "actors/view.h"
#include "base/log.h"
#include "base/prng.h"

#define ACTOR_MAGIC 0x41435452u /* "ACTR" */
#define NEVER_NS    UINT64_MAX

/* Messages that a step wants sent, in order. The host delivers them when the batch is done. */
struct outbox {
    struct message *first;
    struct message *last;
    uint32_t count;
};

struct actor_context {
    uint64_t now_ns;  /* monotonic */
    uint64_t wall_ms; /* wall clock; for TTL and hybrid clocks, never for who survives */
    struct prng *prng;
    const struct view *view;
    struct outbox *outbox;
    struct store *store; /* replica shards and gossip; NULL for the others */
    const struct log *log;
};

struct actor;

struct actor_class {
    const char *name;
    /* Consumes the message on every path. */
    void (*handle)(struct actor *actor, struct actor_context *ctx, struct message *message);
    /* Acts on passed deadlines. */
    void (*tick)(struct actor *actor, struct actor_context *ctx);
    /* When it next wants a tick, monotonic; NEVER_NS = not at all. */
    uint64_t (*wake_at_ns)(const struct actor *actor);
    /* Its invariants; the simulator calls it after every step. */
    void (*check)(const struct actor *actor);
};

struct actor {
    uint32_t magic;
    const struct actor_class *class;
    struct actor_id id;
};

void actor_init(struct actor *actor, const struct actor_class *class, struct actor_id id);
void actor_handle(struct actor *actor, struct actor_context *ctx, struct message *message);
void actor_tick(struct actor *actor, struct actor_context *ctx);
uint64_t actor_wake_at_ns(const struct actor *actor);
void actor_check(const struct actor *actor);

void outbox_init(struct outbox *outbox);
/* Consumes the message. Sets from and epoch when they are not set. */
void outbox_send(struct actor_context *ctx, const struct actor *from, struct message *message);
/* Takes the first message out; NULL when empty. */
struct message *outbox_take(struct outbox *outbox);

/* Tells this node's gossip that the member's topology document is newer: gossip fetches it. */
void actor_tell_newer_epoch(const struct actor *actor, struct actor_context *ctx, uint32_t member,
                            uint64_t epoch);
/* The same of whoever sent the message, when its epoch is beyond the view's. */
void actor_heard_epoch(const struct actor *actor, struct actor_context *ctx,
                       const struct message *message);

static inline bool actor_id_equal(struct actor_id a, struct actor_id b)
{
    return a.node == b.node && a.kind == b.kind && a.index == b.index;
}

/* The replica shard that a partition lives on, on a node with `shards` of them. Peers may have
 * other counts: a replica request to another node says index 0 and its partition; the receiving
 * host sends it to the shard that holds that partition (message_partition). */
static inline uint8_t replica_shard(uint32_t partition, uint32_t shards)
{
    return (uint8_t)(partition % shards);
}
/* The partition that a message to a replica is about; UINT32_MAX for store_committed. */
uint32_t message_partition(const struct message *message);

#endif
