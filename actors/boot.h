/* boot.h -- what a node reads and writes in STORE_META before its actors run: who it is, how often
 * it has started, which keyspaces it knows, and the key epochs that it may use.
 *
 * Key epochs (DESIGN.md 5) are drawn from one number line per node. A start begins above every
 * lease that any earlier start has held; shard s of P uses start + s, start + s + P, ... The floor
 * is the rule that makes dots unique through crashes: after a start that did not follow a clean
 * stop, a write to a key whose own actor is older than the floor draws a fresh epoch, because a
 * staged write that the crash took back may already have been sent to other replicas under the next
 * counter. What a shard does with its part is epoch_lease.h.
 *
 * A start begins at its own time (ms << 20) when that is above the leases, so that a wiped
 * directory, or one restored from an older copy, never repeats itself. Nor does it when its clock
 * has gone back: a start stays below its epoch_bound, peers keep that number for each member
 * (incarnation.h), and a new incarnation begins at or above the greatest that its judge has seen.
 * Two starts from one copy, with a clock that has gone back, know of nothing else but the same
 * leases: each begins a random way above them (EPOCH_GAP).
 *
 * A directory that cannot prove that it holds what it has acknowledged goes on without a vote: rows
 * of all its vnodes say so (replica.h) before anything else is read or written.
 *
 * The topology document in the directory is the one that counts from the second start on; it comes
 * from the log (gossip_log.h). The list that the cluster began with has to name the same members as
 * ever; a zone or weight in it that is not the document's is only warned of. An address in it that
 * was changed since the last start is news: it takes the place of the document's in this node's
 * views until the document has another one (boot_addresses.h).
 */
#ifndef ACTORS_BOOT_H
#define ACTORS_BOOT_H

#include "actors/incarnation.h"
#include "base/log.h"
#include "model/keyspace.h"
#include "model/topology.h"

/* Epochs of one shard that one lease covers. Loading new keys draws one each, so the last fifth
 * must outlast a sync of the commit log: 10,000 did not (a load of 1,000-item batches was refused).
 */
#define EPOCH_LEASE 1000000u

/* What one start may use: 200 days at a million new keys a second, 4.7 hours of a clock's line. */
#define EPOCH_SPAN ((uint64_t)1 << 44)
#define EPOCH_GAP  ((uint64_t)1 << 40) /* room for a million leases; a start takes one */

struct boot_options {
    /* Epoch 1, from --initial-cluster. NULL: not given, which only the first start of a cluster's
     * founder minds. */
    const struct topology *topology;
    /* Of a node that joins, at its first start: a document with it as a member. */
    const struct topology *joined;
    /* What --initial-cluster says to a member that has joined: where members are, by name
     * (boot_addresses.h). Without `topology`. */
    const struct topology_seed *listed;
    size_t listed_count;
    uint32_t self;    /* MEMBER_NONE: whose directory it is, not at a first start */
    const char *name; /* that the member has to have; NULL: not looked at */
    uint32_t shards;
    uint64_t wall_ms;
    uint8_t random_id[16]; /* becomes the node id at the first start, not all zero */
    uint64_t start_nonce;  /* random */
    uint32_t epoch_lease;  /* 0: EPOCH_LEASE */
    bool log_short;        /* the engine recovered less than it had acknowledged (engine.h) */
    const struct log *log;
};

/* Where a member is, for as long as the document says `instead_of`. */
struct boot_address {
    uint32_t member;
    char address[ADDRESS_MAX + 1];
    char instead_of[ADDRESS_MAX + 1];
};

struct boot {
    /* In force, durable. In the arena, or at a first start in that of the options' topology. */
    struct topology topology;
    uint32_t self;
    uint32_t address_count;
    struct boot_address *addresses; /* in the arena */
    struct identity_hello hello;    /* who this node is; its id names the directory for ever */
    uint64_t generation;            /* the hello's as it starts: 1 at the first start */
    uint64_t epoch_start;
    uint64_t epoch_bound; /* this start uses none at or above it */
    uint64_t epoch_limit; /* of every shard's first lease; durable */
    uint64_t epoch_floor;
    uint32_t epoch_lease;
    bool first_start;
    bool clean;                    /* the last stop was a clean one */
    struct keyspace_map keyspaces; /* in the arena */
};

/* Everything it wrote is durable when it returns OK. `why` gets a sentence on error: PRECONDITION
 * (the directory belongs to another cluster, member or Q), DENIED (its member was removed),
 * CORRUPT, IO. */
enum err boot_node(struct store *meta, struct arena *arena, const struct boot_options *options,
                   struct boot *ret_boot, char *why, size_t why_size) MUST_USE;

struct boot_renewal {
    struct incarnation_answer answer; /* RENEW, from a peer */
    struct node_id fresh;             /* random, not all zero */
    const struct log *log;
};

/* Before boot_node, when a peer has said that this directory is not what it was: from now on it is
 * a new incarnation (identity_renew) whose vnodes are all to be emptied and filled again, and whose
 * key epochs start at or above the answer's bound. Durable when it returns OK; a crash inside
 * leaves the old identity, which will be told again. */
enum err boot_renew(struct store *meta, struct arena *arena, const struct boot_renewal *renewal,
                    char *why, size_t why_size) MUST_USE;

/* While the node runs: stages the next generation of this directory. When it is durable the node's
 * hellos say it, and the peers keep it: a copy that was taken before does not come near it by being
 * started, and is known for what it is (identity.h). `accepted`: some peer has taken this life for
 * what it says to be. PRECONDITION before that: it may be such a copy, and would raise itself above
 * what they remember. */
enum err boot_raise_generation(struct store *meta, bool accepted,
                               uint64_t *ret_generation) MUST_USE;

/* At the end of a clean stop, after the last write of any actor. */
enum err boot_mark_clean(struct store *meta) MUST_USE;

/* Rows whose owner after the start is the gossip actor: the keyspace map, the topology document in
 * force, and what was promised and accepted for the next one (gossip_log.h). */
#define META_KEYSPACES "keyspaces"
#define META_TOPOLOGY  "topology"
#define META_SLOT      "topology-slot"
/* There: what was promised may be forgotten. An epoch in it: not for that one. */
#define META_FORGOT "topology-forgot"

#endif
