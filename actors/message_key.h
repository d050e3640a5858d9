/* message_key.h -- bodies of messages about one key (message.h): what a client asks for, what
 * coordinator, replicas and fallbacks make of it, and the registers of consistent keyspaces.
 */
#ifndef ACTORS_MESSAGE_KEY_H
#define ACTORS_MESSAGE_KEY_H

#include "base/bytes.h"
#include "base/err.h"
#include "model/quorum.h"
#include "model/register.h"
#include "model/register_value.h"
#include "model/version.h"

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
    bool disk_full; /* with OVERLOADED and NOT_APPLIED: `why` names the node without space */
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
    bool disk_full;       /* with OVERLOADED: the store has no space left, `why` says so */
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

#endif
