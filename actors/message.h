/* message.h -- everything that actors say to each other: one closed tagged union.
 *
 * Requests are verbs; answers are the same name + `_reply` (may cross nodes) or `_done` (local).
 * A message has one owner and one arena; every pointer in it points into its arena. Who receives it
 * consumes it: handle() and outbox_send() take ownership on every path. A message to another node is
 * the same message to an id whose node part is not ours (rpc/peer_codec.c makes it bytes).
 * Deadlines are absolute (monotonic) inside a node; the wire carries the milliseconds left.
 */
#ifndef ACTORS_MESSAGE_H
#define ACTORS_MESSAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "model/keyspace.h"
#include "model/quorum.h"
#include "model/version.h"

struct view;

enum actor_kind {
    ACTOR_EDGE, /* no actor: the rpc layer's calls; `client` tells which */
    ACTOR_COORDINATOR,
    ACTOR_REPLICA,
    ACTOR_GOSSIP,
    ACTOR_HINTED_HANDOFF,
    ACTOR_ANTI_ENTROPY,
    ACTOR_RUNTIME, /* no actor: takes view_publish */
    ACTOR_KIND_COUNT
};

struct actor_id {
    uint32_t node; /* member number */
    uint8_t kind;  /* enum actor_kind */
    uint8_t index; /* which coordinator, which replica shard */
};

/* X(kind, struct, crosses nodes) */
#define MESSAGE_TABLE(X)                                                                           \
    X(client_get, 0)                                                                               \
    X(client_get_done, 0)                                                                          \
    X(client_put, 0)                                                                               \
    X(client_put_done, 0)                                                                          \
    X(forward_put, 1)                                                                              \
    X(forward_put_reply, 1)                                                                        \
    X(replica_mint, 0)                                                                             \
    X(replica_mint_done, 0)                                                                        \
    X(replica_write, 1)                                                                            \
    X(replica_write_reply, 1)                                                                      \
    X(replica_read, 1)                                                                             \
    X(replica_read_reply, 1)                                                                       \
    X(store_committed, 0)                                                                          \
    X(peer_link, 0)                                                                                \
    X(gossip_digest, 1)                                                                            \
    X(gossip_digest_reply, 1)                                                                      \
    X(gossip_keyspaces, 1)                                                                         \
    X(gossip_keyspaces_reply, 1)                                                                   \
    X(keyspace_change, 0)                                                                          \
    X(keyspace_change_done, 0)                                                                     \
    X(view_publish, 0)                                                                             \
    X(hint_store, 1)                                                                               \
    X(hint_store_reply, 1)                                                                         \
    X(tree_compare, 1)                                                                             \
    X(tree_compare_reply, 1)

enum message_kind {
#define X(name, crosses) MESSAGE_##name,
    MESSAGE_TABLE(X)
#undef X
        MESSAGE_KIND_COUNT
};

/* What became of a mutation. Never mixed up (DESIGN.md 7). */
enum outcome {
    OUTCOME_NOT_APPLIED, /* no replica has it or ever will */
    OUTCOME_APPLIED,     /* as many replicas as asked for have made it durable */
    OUTCOME_UNKNOWN,     /* some replica may have it, or get it */
};

/* A policy of the keyspace that replicas must know to handle a key, as the coordinator sees it. */
enum replica_policy {
    POLICY_LWW = 1u << 0,
    POLICY_PERIODIC = 1u << 1, /* acknowledged from memory */
};

/* -- between the rpc layer and a coordinator -------------------------------------------------- */

/* Answers go back with the same `client`: the rpc layer's own handle, opaque to actors. */
struct client_get {
    uint64_t client;
    uint32_t keyspace_id;
    struct bytes key;
    enum consistency level;
    uint32_t count; /* r, for CONSISTENCY_COUNT */
};

#define PROGRESS_FALLBACKS_MAX 14u

/* How far a request got, for answers and errors alike: "k of n, who is missing". A fallback's hint
 * is among `acked`; the replica that it stands for is missing all the same. */
struct progress {
    uint32_t acked;
    uint32_t needed;
    uint8_t acked_count;
    uint8_t missing_count;
    uint8_t fallback_count;
    uint32_t acked_members[REPLICAS_TOTAL_MAX];
    uint32_t missing_members[REPLICAS_TOTAL_MAX];
    uint32_t fallback_members[PROGRESS_FALLBACKS_MAX]; /* keep hints that count */
};

struct client_get_done {
    uint64_t client;
    enum err status; /* OK also when nothing was found: versions.count == 0 */
    const char *why; /* NULL or static text or in the arena */
    struct progress progress;
    struct version_set set; /* merged; holds tombstones and expired versions too */
    uint64_t wall_ms;       /* the coordinator's clock, for what is live and what TTL is left */
    uint64_t retry_after_ms;
};

/* One write: put, or delete (VERSION_TOMBSTONE). */
struct put_request {
    uint32_t keyspace_id;
    struct bytes key;
    struct bytes value;
    uint32_t flags; /* enum version_flag */
    uint64_t expires_at_ms;
    bool has_context;
    struct bytes context; /* clock_encode bytes: verified by the edge, decoded again by the replica */
    enum consistency level;
    uint32_t count; /* w, for CONSISTENCY_COUNT */
    bool strict;    /* a fallback's hint does not count for w, whatever the keyspace says */
};

struct put_result {
    enum err status;
    enum outcome outcome;
    const char *why;
    struct progress progress;
    struct bytes context; /* clock bytes; empty when not applied */
    uint32_t sibling_count;
    uint64_t retry_after_ms;
};

struct client_put {
    uint64_t client;
    struct put_request request;
};

struct client_put_done {
    uint64_t client;
    struct put_result result;
};

/* -- coordinator to coordinator: this node holds no replica of the key --------------------------- */

struct forward_put {
    struct put_request request;
};

struct forward_put_reply {
    struct put_result result;
};

/* -- coordinator and replica ---------------------------------------------------------------------- */

/* Mint the dot for a write, stage it here, send the merged state to `targets` at once as replica_write
 * whose replies go to the coordinator; replica_mint_done follows when it is durable here. */
struct replica_mint {
    struct put_request request;
    uint32_t policy; /* enum replica_policy */
    uint32_t partition;
    uint64_t hash;
    uint8_t target_count;
    uint32_t targets[REPLICAS_TOTAL_MAX];
};

struct replica_mint_done {
    enum err status; /* OK: durable here. PRECONDITION, LIMIT, OVERLOADED, INVALID: nothing was staged */
    const char *why;
    bool staged;          /* targets were sent the write */
    struct bytes context; /* put context, clock bytes */
    struct bytes record;  /* the state that was sent */
    uint32_t sibling_count;
};

enum write_reason { WRITE_REPLICATE, WRITE_READ_REPAIR, WRITE_HINT, WRITE_ANTI_ENTROPY };

/* Merge this state into yours; the reply leaves when the result is durable. */
struct replica_write {
    uint32_t keyspace_id;
    struct bytes key;
    struct bytes record;
    uint32_t policy;
    uint32_t partition;
    enum write_reason reason;
};

struct replica_write_reply {
    enum err status;
};

struct replica_read {
    uint32_t keyspace_id;
    struct bytes key;
    uint32_t policy;
    uint32_t partition;
};

struct replica_read_reply {
    enum err status;     /* OK with an empty record: this replica holds nothing of the key */
    struct bytes record; /* durable here */
};

/* -- from the host ---------------------------------------------------------------------------------- */

struct store_committed {
    uint64_t sequence; /* of the receiving actor's store handle */
};

/* A peer's connection came up or went down. */
struct peer_link {
    uint32_t member;
    bool up;
};

/* -- gossip ------------------------------------------------------------------------------------------- */

struct gossip_heartbeat {
    uint32_t member;
    uint64_t generation; /* durable counter of starts, not a time */
    uint64_t heartbeat;
};

/* Push-pull: the reply is the receiver's own digest. */
struct gossip_digest {
    uint64_t topology_epoch;
    uint64_t keyspaces_digest;
    uint32_t heartbeat_count;
    struct gossip_heartbeat *heartbeats;
};

struct gossip_digest_reply {
    struct gossip_digest digest;
};

/* The whole keyspace map (it is small), sent when digests differ; merged, made durable, answered. */
struct gossip_keyspaces {
    struct bytes map; /* keyspace_map_encode */
};

struct gossip_keyspaces_reply {
    enum err status;
    uint64_t keyspaces_digest; /* of the receiver, after the merge */
};

enum keyspace_operation { KEYSPACE_CREATE, KEYSPACE_DROP };

struct keyspace_change {
    uint64_t client;
    enum keyspace_operation operation;
    struct keyspace keyspace; /* for a drop only the name counts */
};

struct keyspace_change_done {
    uint64_t client;
    enum err status;
    const char *why;
    struct keyspace keyspace;
    uint32_t known_by; /* nodes that have it, this one included */
    uint32_t nodes;    /* nodes in the cluster */
};

/* To the host: this view replaces the one before. The view is counted (view.h); the message holds one
 * reference. */
struct view_publish {
    struct view *view;
};

/* -- hinted handoff ------------------------------------------------------------------------------------ */

/* Keep this write until its target has it; the reply leaves when the hint is durable. */
struct hint_store {
    uint32_t target; /* member that the write is for */
    struct replica_write write;
};

struct hint_store_reply {
    enum err status;
};

/* -- anti-entropy: its place; refused as UNSUPPORTED until it works ------------------------------------ */

struct tree_compare {
    uint32_t partition;
    uint64_t root;
};

struct tree_compare_reply {
    enum err status;
};

/* -- the union ----------------------------------------------------------------------------------------- */

#define MESSAGE_MAGIC 0x434d5347u /* "CMSG" */

struct message {
    uint32_t magic;
    enum message_kind kind;
    struct actor_id from;
    struct actor_id to;
    uint64_t id;          /* the request's number at `from`; an answer carries its request's */
    uint64_t deadline_ns; /* monotonic; 0 = none */
    uint64_t epoch;       /* topology epoch of the sender, in every message between nodes */
    struct message *next; /* in an outbox or a list: owner's use */
    struct arena arena;
    union {
#define X(name, crosses) struct name name;
        MESSAGE_TABLE(X)
#undef X
    };
};

/* A zeroed body; the arena starts with memory inside the same allocation (enough for small keys and
 * values), `size_hint` more bytes if the caller knows that they will be needed. */
struct message *message_new(enum message_kind kind, size_t size_hint);
/* NULL is fine. view_publish drops its reference. */
void message_free(struct message *message);
const char *message_kind_text(enum message_kind kind);
bool message_crosses_nodes(enum message_kind kind);
/* An answer to `request`: to its sender, same id, same deadline. */
struct message *message_new_reply(const struct message *request, enum message_kind kind,
                                  size_t size_hint);
/* What a request that was never sent (no link to its node) is answered with, as if from there: UNAVAILABLE,
 * and for a write NOT_APPLIED. NULL for messages that nobody waits for. */
struct message *message_new_undelivered(const struct message *request);
/* Deep copies of the parts that requests are passed on with. */
void put_request_copy(struct arena *arena, const struct put_request *from, struct put_request *ret);
void put_result_copy(struct arena *arena, const struct put_result *from, struct put_result *ret);

#endif
