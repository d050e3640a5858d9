/* message.h -- everything that actors say to each other: one closed tagged union.
 *
 * Requests are verbs; answers are the same name + `_reply` (may cross nodes) or `_done` (local).
 * A message has one owner and one arena; every pointer in it points into its arena. Who receives it
 * consumes it: handle() and outbox_send() take ownership on every path. A message to another node
 * is the same message to an id whose node part is not ours (rpc/peer_codec.c makes it bytes).
 * Deadlines are absolute (monotonic) inside a node; the wire carries the milliseconds left.
 */
#ifndef ACTORS_MESSAGE_H
#define ACTORS_MESSAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "model/keyspace.h"
#include "model/quorum.h"
#include "model/register.h"
#include "model/register_value.h"
#include "model/topology_change.h"
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
    X(tree_roots, 1)                                                                               \
    X(tree_roots_reply, 1)                                                                         \
    X(tree_read, 1)                                                                                \
    X(tree_read_reply, 1)                                                                          \
    X(digest_read, 1)                                                                              \
    X(digest_read_reply, 1)                                                                        \
    X(record_fetch, 1)                                                                             \
    X(record_fetch_reply, 1)                                                                       \
    X(register_query, 1)                                                                           \
    X(register_query_reply, 1)                                                                     \
    X(register_prepare, 1)                                                                         \
    X(register_prepare_reply, 1)                                                                   \
    X(register_accept, 1)                                                                          \
    X(register_accept_reply, 1)                                                                    \
    X(reap_hints, 1)                                                                               \
    X(reap_hints_reply, 1)                                                                         \
    X(reap_seal, 1)                                                                                \
    X(reap_seal_reply, 1)                                                                          \
    X(reap_remove, 1)                                                                              \
    X(reap_remove_reply, 1)                                                                        \
    X(key_explain, 1)                                                                              \
    X(key_explain_reply, 1)                                                                        \
    X(reap_scan, 0)                                                                                \
    X(reap_scan_done, 0)                                                                           \
    X(vnode_doubt, 0)                                                                              \
    X(vnode_incomplete, 0)                                                                         \
    X(vnode_adopt, 0)                                                                              \
    X(vnode_adopt_done, 0)                                                                         \
    X(vnode_complete, 0)                                                                           \
    X(vnode_complete_done, 0)                                                                      \
    X(record_repair, 0)                                                                            \
    X(range_dirty, 0)                                                                              \
    X(client_maintenance, 0)                                                                       \
    X(client_maintenance_done, 0)                                                                  \
    X(client_explain, 0)                                                                           \
    X(client_explain_done, 0)                                                                      \
    X(topology_document, 1)                                                                        \
    X(topology_document_reply, 1)                                                                  \
    X(topology_fetch, 1)                                                                           \
    X(topology_prepare, 1)                                                                         \
    X(topology_prepare_reply, 1)                                                                   \
    X(topology_accept, 1)                                                                          \
    X(topology_accept_reply, 1)                                                                    \
    X(topology_behind, 0)                                                                          \
    X(client_topology, 0)                                                                          \
    X(client_topology_done, 0)                                                                     \
    X(vnode_report, 1)                                                                             \
    X(vnode_report_reply, 1)                                                                       \
    X(client_reports, 0)                                                                           \
    X(client_reports_done, 0)                                                                      \
    X(register_list, 1)                                                                            \
    X(register_list_reply, 1)                                                                      \
    X(register_settle, 0)                                                                          \
    X(register_settle_done, 0)

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
    uint64_t version;       /* of a register: changes so far; its value is the one in `set` */
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
    struct bytes context; /* clock_encode bytes: verified by the edge, decoded by the replica */
    enum consistency level;
    uint32_t count; /* w, for CONSISTENCY_COUNT */
    bool strict;    /* a fallback's hint does not count for w, whatever the keyspace says */
    /* REQUEST_ID_BYTES or empty: a retry with the same id gets the first outcome, never a second
     * dot. */
    struct bytes request_id;
    /* In consistent keyspaces alone, and never passed on to another node. */
    enum register_condition condition;
    struct bytes expected;
    uint64_t expected_version;
};

#define REQUEST_ID_BYTES 16u
static_assert(REQUEST_ID_BYTES == REGISTER_CHANGE_ID_BYTES, "a register remembers them");

struct put_result {
    enum err status;
    enum outcome outcome;
    const char *why;
    struct progress progress;
    struct bytes context; /* clock bytes; empty when not applied */
    uint32_t sibling_count;
    uint64_t retry_after_ms;
    /* Of a register: the version that was made, or, with CONFLICT (the condition is false), the one
     * that stands, and what it holds. */
    uint64_t version;
    bool found;
    struct bytes value;
};

struct client_put {
    uint64_t client;
    struct put_request request;
};

struct client_put_done {
    uint64_t client;
    struct put_result result;
};

/* -- coordinator to coordinator: this node holds no replica of the key ---------------------------
 */

struct forward_put {
    struct put_request request;
};

struct forward_put_reply {
    struct put_result result;
};

/* -- coordinator and replica ----------------------------------------------------------------------
 */

/* Mint the dot for a write, stage it here, send the merged state to `targets` at once as
 * replica_write whose replies go to the coordinator; replica_mint_done follows when it is durable
 * here. Of another data centre one target is sent it, and passes it on to the others. */
struct replica_mint {
    struct put_request request;
    uint32_t policy; /* enum replica_policy */
    uint32_t partition;
    uint64_t hash;
    uint8_t target_count;
    uint32_t targets[REPLICAS_TOTAL_MAX];
    uint8_t via[REPLICAS_TOTAL_MAX]; /* 1 + index of the target that passes it on; 0: nobody */
};

struct replica_mint_done {
    enum err
        status; /* OK: durable here. PRECONDITION, LIMIT, OVERLOADED, INVALID: nothing was staged */
    const char *why;
    bool staged;          /* targets were sent the write */
    struct bytes context; /* put context, clock bytes */
    struct bytes record;  /* the state that was sent; empty: made before, and reaped since */
    uint64_t floor;       /* of this replica when it was made */
    uint32_t sibling_count;
};

enum write_reason {
    WRITE_REPLICATE,
    WRITE_READ_REPAIR,
    WRITE_HINT,
    WRITE_ANTI_ENTROPY,
    /* Anti-entropy to its own replica, never to another node: the join of what all other replicas
     * hold of the key of a record_repair. It may take the place of a row that failed its checksum.
     */
    WRITE_REPAIR,
};

/* Of one data centre, while a partition goes over from one set to another. */
#define ONWARD_MAX (2 * REPLICAS_MAX)

/* Merge this state into yours; the reply leaves when the result is durable. */
struct replica_write {
    uint32_t keyspace_id;
    struct bytes key;
    struct bytes record;
    uint32_t policy;
    uint32_t partition;
    enum write_reason reason;
    /* The partition's floor at the replica that the state was read from, when it was read (the
     * least, of a join): below the receiver's, nothing new is taken from it (STALE_FLOOR; see
     * reap_seal). */
    uint64_t floor;
    /* Of the put that made this state, so that a retry through another replica finds it. */
    struct bytes request_id;
    struct bytes request_context;
    /* From another data centre: pass it on to these of your own, once, whether you can take it or
     * not. Nobody hears of one that cannot be reached; the coordinator sends it again when it is
     * late. */
    uint8_t onward_count;
    uint32_t onward[ONWARD_MAX];
    uint32_t answer_to; /* it was passed on for this member's coordinator of from.index, which gets
                           the reply; MEMBER_NONE: for the sender */
};

struct replica_write_reply {
    enum err status;
    uint32_t credit; /* to a hint: how many its sender may have under way from now on */
    bool differs;    /* what is held now is not what came: it covers that and more */
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
    uint64_t floor;      /* of this replica when it read it */
};

/* -- registers: keys of consistent keyspaces (model/register.h)
 * ---------------------------------------------------------------------
 *
 * A coordinator asks the key's replicas, never a fallback. What an answer speaks of is durable
 * before it leaves. INCOMPLETE: this copy has lost what it promised and does not vote.
 * PRECONDITION: the keyspace is an available one; NOT_FOUND: it is not known there. */
struct register_query {
    uint32_t keyspace_id;
    struct bytes key;
    uint32_t partition;
};

struct register_query_reply {
    enum err status;
    struct ballot promised;
    struct ballot accepted;
    struct bytes value; /* of `accepted` */
};

struct register_prepare {
    uint32_t keyspace_id;
    struct bytes key;
    uint32_t partition;
    struct ballot ballot;
};

struct register_prepare_reply {
    enum err status;
    bool agreed;            /* promised */
    struct ballot conflict; /* when not agreed */
    struct ballot accepted;
    struct bytes value; /* of `accepted` */
};

struct register_accept {
    uint32_t keyspace_id;
    struct bytes key;
    uint32_t partition;
    struct ballot ballot;
    struct bytes value;
};

struct register_accept_reply {
    enum err status;
    bool agreed;            /* accepted */
    struct ballot conflict; /* when not agreed */
};

/* -- from the host
 * ---------------------------------------------------------------------------------- */

struct store_committed {
    uint64_t sequence; /* of the receiving actor's store handle */
};

/* A peer's connection came up or went down. */
struct peer_link {
    uint32_t member;
    bool up;
};

/* -- gossip
 * ------------------------------------------------------------------------------------------- */

struct gossip_heartbeat {
    uint32_t member;
    uint64_t generation; /* durable counter of starts, not a time */
    uint64_t heartbeat;
};

/* Push-pull: the reply is the receiver's own digest. */
struct gossip_digest {
    uint64_t topology_epoch;
    uint64_t keyspaces_digest;
    uint64_t topology_digest; /* of that epoch's document (model/topology.h); 0: not said */
    uint32_t heartbeat_count;
    struct gossip_heartbeat *heartbeats;
};

struct gossip_digest_reply {
    struct gossip_digest digest;
};

/* The whole keyspace map (it is small), sent when digests differ; merged, made durable, answered.
 */
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

/* To the host: this view replaces the one before. The view is counted (view.h); the message holds
 * one reference. */
struct view_publish {
    struct view *view;
};

/* -- hinted handoff
 * ------------------------------------------------------------------------------------ */

/* Keep this write until its target has it; the reply leaves when the hint is durable. */
struct hint_store {
    uint32_t target; /* member that the write is for */
    struct replica_write write;
};

struct hint_store_reply {
    enum err status;
};

/* -- anti-entropy: what a replica answers about its hash trees (model/merkle.h) -------------------
 *
 * The anti-entropy actor of one node asks its own replica and a peer's the same questions and
 * compares: roots, then the children of nodes that differ, then the digests of the leaves that
 * differ, then the records, which it hands to the side that lacks them as replica_write
 * (WRITE_ANTI_ENTROPY). Answers are held until all that they speak of is durable. Lists are packed
 * by model/exchange.h. UNAVAILABLE: this tree is being built. */
struct tree_roots {
    uint32_t partition;
};

struct tree_roots_reply {
    enum err status;
    bool complete; /* false: this copy was lost and is being filled; it does not vote */
    bool bad_rows; /* known here in the partition: no tree counts them (replica_quarantine.h) */
    struct bytes roots; /* of each keyspace with rows or a floor */
};

struct tree_read {
    uint32_t partition;
    uint32_t keyspace_id;
    uint32_t level;       /* of the nodes; 0 is the root */
    uint32_t fanout_bits; /* how much deeper the answer is */
    uint64_t salt;        /* of the exchange */
    struct bytes nodes;   /* indices at that level, ascending */
};

struct tree_read_reply {
    enum err status;
    uint32_t level;      /* of the children; that of the nodes when this tree has no deeper one */
    uint32_t depth;      /* of this replica's tree */
    struct bytes hashes; /* 32 bits for each child of each node, in order */
};

struct digest_read {
    uint32_t partition;
    uint32_t keyspace_id;
    uint32_t level;
    uint64_t salt;
    struct bytes nodes; /* the ranges, as indices at that level */
    uint64_t from_hash; /* to go on where an answer ended */
};

struct digest_read_reply {
    enum err status;
    bool more;
    bool bad_rows;         /* were passed over */
    uint64_t through_hash; /* with `more`: whole up to here, inclusive, the end of a place */
    struct bytes digests;  /* of the keys in the ranges; places count from leaves of `level` */
};

struct record_fetch {
    uint32_t partition;
    uint32_t keyspace_id;
    uint32_t level;      /* of the leaves that the places count from (model/exchange.h) */
    struct bytes places; /* ascending, by exchange_indices_encode */
};

/* All that is held in as many whole places as fit, at least one; the asker comes back for the rest.
 * A key that is gone by now is left out. */
struct record_fetch_reply {
    enum err status;
    uint32_t served;      /* of the places asked for, from the first */
    bool bad_rows;        /* were passed over in these places */
    uint64_t floor;       /* of this replica when it read them */
    struct bytes records; /* {key, record} */
};

/* -- reaping tombstones by proof
 * ------------------------------------------------------------------------
 *
 * Driven by the anti-entropy actor of a partition's first replica. Every state that travels
 * (replica_write) says the floor that its source had when it was read. A round: no node keeps hints
 * for the range; every replica of this epoch raises its floor durably above all that it had and
 * says at once which of the listed records it holds just so; what all hold is removed by all. A
 * late message from before the round carries a lower floor: a replica refuses to take anything new
 * from it (STALE_FLOOR).
 *
 * Before anything goes, every replica has durably noted that floor as *reaped*. A seal is durable
 * before it is answered, so who is below the reaped floor of another replica has lost its seal, and
 * may hold what was removed: it is a copy from before (DOUBT_RESTORED). */

/* What may be reaped, in hash order: records of tombstones and expired versions alone, old enough.
 */
struct reap_scan {
    uint32_t partition;
    uint32_t keyspace_id;
    uint64_t from_hash;
    uint64_t older_than_ms; /* wall clock: written and expired before */
    uint32_t limit;
};

struct reap_scan_done {
    enum err status;
    bool more; /* rows above through_hash have not been looked at */
    uint64_t through_hash;
    struct bytes digests; /* {key hash, record checksum}, 64 bits each (model/reap.h) */
};

/* To the hinted handoff of every member. OK: no hints for the range are kept here. */
struct reap_hints {
    uint32_t partition;
    uint32_t keyspace_id;
};

struct reap_hints_reply {
    enum err status;
};

/* STALE_FLOOR: `floor` is not above the one here; begin again above `floor`. 0 is never above: it
 * asks for the floors. INCOMPLETE: also when the floor here is below `reaped`. */
struct reap_seal {
    uint32_t partition;
    uint32_t keyspace_id;
    uint64_t floor;
    uint64_t reaped; /* the greatest that the sender knows of */
    uint64_t older_than_ms;
    struct bytes digests;
};

struct reap_seal_reply {
    enum err status;
    uint64_t floor;  /* here, durable */
    uint64_t reaped; /* with STALE_FLOOR */
    struct bytes
        matched; /* one bit for each digest: held just so, and reapable by this node's clock too */
};

/* With an empty list nothing is removed: OK says that this is still the copy that sealed, neither
 * restarted nor emptied since (PRECONDITION), and that the floor is noted as reaped, durably. */
struct reap_remove {
    uint32_t partition;
    uint32_t keyspace_id;
    uint64_t floor;       /* of the seal; STALE_FLOOR when another round has begun here */
    struct bytes digests; /* rows that are still just so are removed */
};

struct reap_remove_reply {
    enum err status;
    uint32_t removed;
};

/* -- a copy that was lost, in whole or in part
 * --------------------------------------------------------
 *
 * A vnode that cannot prove that it holds what it has acknowledged is *incomplete*: it answers no
 * replica_read and no replica_mint (INCOMPLETE), takes writes once it knows the floor, and is
 * complete again when anti-entropy has been through with every other replica. */

enum doubt_reason {
    DOUBT_WIPED,     /* peers know this member under another node id */
    DOUBT_RESTORED,  /* this directory is an older copy of itself */
    DOUBT_LOG_SHORT, /* recovery found less than was acknowledged */
    DOUBT_CORRUPT,   /* the engine cannot read a part of it */
};

/* From the host to each replica shard: empty these vnodes and begin again as incomplete. */
struct vnode_doubt {
    uint32_t partition; /* UINT32_MAX: all of this shard's */
    enum doubt_reason reason;
};

/* Replica to anti-entropy: begin with this one. What was under way with it is void when the
 * incarnation is another one: the vnode was emptied again. With a keyspace: a change of the
 * topology gives it to this member, and it is empty here; or it is filled by now, as an earlier
 * life knew. */
struct vnode_incomplete {
    uint32_t partition;
    uint32_t keyspace_id; /* 0: the whole vnode */
    uint64_t incarnation;
    uint64_t epoch; /* with a keyspace: of the announcement */
    bool filled;
    /* It is about the votes of a consistent keyspace alone: this copy was emptied once, and begins
     * anew as an acceptor (model/register.h). */
    bool votes;
};

/* Anti-entropy to its replica: the floors that the peers have. Done when durable; INCOMPLETE: what
 * was here is from before the reaped one, and is emptied. */
struct vnode_adopt {
    uint32_t partition;
    uint32_t keyspace_id;
    uint64_t floor;
    uint64_t reaped;
    /* Not 0: it is about votes instead, as vnode_incomplete said. The first epoch of the renewal:
     * what is planned in it or later is learned. PRECONDITION: it was emptied again. */
    uint64_t learns_from;
    uint64_t incarnation; /* with learns_from */
};

struct vnode_adopt_done {
    enum err status;
};

/* PRECONDITION: it was emptied again since that incarnation. */
struct vnode_complete {
    uint32_t partition;
    uint32_t keyspace_id; /* as vnode_incomplete said, both */
    uint64_t incarnation;
    /* Not 0: it votes again, from this epoch on. UNAVAILABLE: it is not in force there yet. */
    uint64_t votes_from;
};

struct vnode_complete_done {
    enum err status;
};

/* Replica to anti-entropy: this row failed its checksum; fetch the key from the other replicas. */
struct record_repair {
    uint32_t partition;
    uint32_t keyspace_id;
    struct bytes key;
};

/* To the local anti-entropy actor: `member` may lack something of this partition that nobody keeps
 * for it any more (hints overflowed, expired or were refused; a write ended with a copy missing).
 */
struct range_dirty {
    uint32_t partition;
    uint32_t member;
};

/* -- maintenance: the rpc layer asks, an actor answers
 * ---------------------------------------------- */

enum maintenance_operation {
    /* anti-entropy: `keyspace_id`, or all when 0, under the name `task`, so that asking twice
     * begins one; 0: the actor names it, or gives one that does the same */
    MAINTENANCE_REPAIR_START,
    MAINTENANCE_REPAIR_CANCEL, /* anti-entropy: `task` */
    MAINTENANCE_REPAIR_STATUS, /* anti-entropy: `task` */
    MAINTENANCE_HINTS_PAUSE,   /* hinted handoff: `member`, or all when MEMBER_NONE */
    MAINTENANCE_HINTS_RESUME,
};

struct client_maintenance {
    uint64_t client;
    enum maintenance_operation operation;
    uint32_t keyspace_id;
    uint32_t member;
    uint64_t task;
    bool driven_only; /* a repair: not the pairs that the other node compares by its schedule */
    bool gives_up;    /* a repair: also bad rows that no other replica can mend */
};

struct client_maintenance_done {
    uint64_t client;
    enum err status;
    const char *why;
    uint64_t task;
    /* of a repair */
    bool ended;
    uint32_t ranges_done;
    uint32_t ranges_total; /* pairs of vnode and peer */
    uint32_t ranges_failed;
    uint64_t keys_repaired;
    uint64_t bytes_moved;
    uint64_t started_ms; /* wall clock */
};

/* One key as one node sees it: replicas and hinted handoffs answer. */
struct key_explain {
    uint32_t partition;
    uint32_t keyspace_id;
    struct bytes key;
};

#define EXPLAIN_HINTS_MAX 8u

struct key_explain_reply {
    enum err status; /* of the read */
    struct bytes record;
    bool complete;
    uint64_t floor;
    uint32_t tree_depth;
    uint64_t leaf_index;
    uint64_t leaf_sum;
    uint32_t leaf_keys;
    uint64_t repaired_at_ms;  /* 0: not since the start, as far as it is remembered */
    uint32_t repaired_reason; /* enum write_reason */
    /* of a register: what the acceptor holds, with its value in `record` (register_value.h) */
    bool mute; /* the copy was emptied and does not vote */
    struct ballot promised;
    struct ballot accepted;
    /* of anti-entropy, which is asked about registers: waits_encode, why the copy does not vote */
    struct bytes waits;
    /* of a hinted handoff: for whom it keeps the key */
    uint8_t hint_count;
    uint32_t hint_members[EXPLAIN_HINTS_MAX];
    uint64_t hint_stored_at_ms; /* the oldest */
};

struct client_explain {
    uint64_t client;
    uint32_t keyspace_id;
    struct bytes key;
};

struct node_explain {
    uint32_t member;
    bool replica;                   /* of this key, not only a possible keeper of hints */
    struct key_explain_reply held;  /* of the replica */
    struct key_explain_reply hints; /* of the hinted handoff */
};

struct client_explain_done {
    uint64_t client;
    enum err status;
    const char *why;
    uint32_t partition;
    uint64_t hash;
    uint32_t count;
    struct node_explain *nodes; /* in the arena */
    uint64_t wall_ms;
};

/* -- the topology log (gossip_log.h)
 * -------------------------------------------------------------------------------
 *
 * Epoch e + 1 is one register: decided by a majority of the voters that the document of epoch e
 * names. Whoever has a newer document than the one asked about answers STALE_EPOCH and sends it. */

/* Answered when it is durable there and in force, or was known already. */
struct topology_document {
    struct bytes document; /* topology_encode */
};

struct topology_document_reply {
    enum err status;
    uint64_t epoch; /* in force at the receiver */
};

/* Answered with a topology_document. */
struct topology_fetch {
    uint64_t epoch; /* that the asker has */
};

struct topology_prepare {
    uint64_t epoch; /* to be decided */
    struct ballot ballot;
};

struct topology_prepare_reply {
    enum err status; /* STALE_EPOCH; UNAVAILABLE: this member does not know the epoch before yet */
    bool agreed;
    struct ballot conflict;
    struct ballot accepted;
    struct bytes value; /* a document, of `accepted` */
};

struct topology_accept {
    uint64_t epoch;
    struct ballot ballot;
    struct bytes value;
};

struct topology_accept_reply {
    enum err status;
    bool agreed;
    struct ballot conflict;
};

/* Any actor to its gossip: `member` has a newer document than this node. */
struct topology_behind {
    uint32_t member;
    uint64_t epoch;
};

struct client_topology {
    uint64_t client;
    struct topology_operation operation;
};

struct client_topology_done {
    uint64_t client;
    enum err
        status; /* as topology_operate; UNAVAILABLE, TIMEOUT: it may still be decided (`unknown`) */
    const char *why;
    bool unknown;
    uint64_t epoch;  /* of the document that says so */
    uint32_t number; /* of a join: the new member */
    struct bytes document;
};

/* To the anti-entropy actor of a member: what its vnodes hold, and how far a change has come there.
 */
struct vnode_report {
    bool sizes; /* of partitions as well */
};

struct vnode_report_reply {
    enum err status;
    uint64_t epoch;      /* in force there */
    uint64_t change;     /* topology_change_name of what `filled` is about */
    struct bytes filled; /* bit by partition: what topology_need asks of this member is done */
    uint32_t gains;      /* vnodes that it gains by the change */
    uint32_t gains_filled;
    uint64_t bytes_copied;     /* by them so far */
    uint64_t bytes_per_second; /* lately */
    uint64_t free_bytes;       /* of the disk */
    uint64_t hints;            /* kept for others: a leaving member stays while there are any */
    struct bytes sizes; /* bytes by partition, big-endian u64 each; empty when not asked for */
    /* keyspace_map_digest of the map that `filled` is about: what a change gives depends on it */
    uint64_t keyspaces_digest;
    struct bytes waits; /* waits_encode: for what copies of this member wait (model/wait.h) */
};

/* The rpc layer to its gossip: ask every member for its report. */
struct client_reports {
    uint64_t client;
    bool sizes;
};

struct member_report {
    uint32_t member;
    struct vnode_report_reply report; /* status UNAVAILABLE: it did not answer */
};

struct client_reports_done {
    uint64_t client;
    enum err status;
    uint32_t count;
    struct member_report *reports; /* in the arena */
};

/* -- registers of a partition that goes over (actors/anti_entropy_registers.h)
 * --------------------------------------------------------------------------------------------
 *
 * The member that gains a partition lists the keys of all old replicas and has each decided once
 * more, with majorities of both sets: after that a majority of the new set holds all of them. */

/* Keys of registers, of a promise alone too, in order of their storage keys. */
struct register_list {
    uint32_t partition;
    uint32_t keyspace_id;
    struct bytes after; /* storage key; empty: from the beginning */
};

struct register_list_reply {
    enum err status;
    bool more;
    struct bytes last; /* storage key to go on after */
    struct bytes keys; /* sized bytes, one after the other */
};

/* Anti-entropy to a coordinator of its node: end a round on this key, whatever it holds. */
struct register_settle {
    uint32_t keyspace_id;
    struct bytes key;
};

struct register_settle_done {
    enum err status;
};

/* -- the union
 * ----------------------------------------------------------------------------------------- */

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
/* What a request that was never sent (no link to its node) is answered with, as if from there:
 * UNAVAILABLE, and for a write NOT_APPLIED. NULL for messages that nobody waits for, and for a
 * write that was passed on: whoever waits is on another node. */
struct message *message_new_undelivered(const struct message *request);
/* Deep copies of the parts that requests are passed on with. */
void put_request_copy(struct arena *arena, const struct put_request *from, struct put_request *ret);
void put_result_copy(struct arena *arena, const struct put_result *from, struct put_result *ret);

#endif
