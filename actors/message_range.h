/* message_range.h -- bodies of messages about all keys of a partition (message.h): two replicas
 * made equal, tombstones reaped, copies lost and filled, registers that go over.
 */
#ifndef ACTORS_MESSAGE_RANGE_H
#define ACTORS_MESSAGE_RANGE_H

#include "base/bytes.h"
#include "base/err.h"

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
    /* whose rows those are, by exchange_indices_encode; empty: of any */
    struct bytes bad_keyspaces;
    bool unfit; /* to be what another copy is emptied for: it cannot be read in part, whether or not
                   that is given up, or was emptied and does not vote in some registers */
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
    bool incomplete;      /* this copy is being filled: what it lacks says nothing */
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
    DOUBT_CORRUPT,   /* the engine cannot read a part of it, and other copies hold the rest */
    DOUBT_GIVEN_UP,  /* that part is given up in one keyspace: nothing is emptied for that */
};

/* From the host to each replica shard: empty these vnodes and begin again as incomplete. The last
 * two come from anti-entropy, and mean nothing any more for a vnode that was emptied since. */
struct vnode_doubt {
    uint32_t partition; /* UINT32_MAX: all of this shard's */
    enum doubt_reason reason;
    uint32_t keyspace_id; /* GIVEN_UP */
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
    /* The engine cannot read a part of it: it is to be emptied when other copies hold the rest
     * (vnode_doubt, DOUBT_CORRUPT). */
    bool unreadable;
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
    /* Of a whole vnode: keyspaces of which another replica could not give all. Each is filled by
     * itself then (replica_gain.h). */
    uint32_t unfilled_count;
    const uint32_t *unfilled;
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

#endif
