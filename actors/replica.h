/* replica.h -- one shard of this node's vnodes: mints dots, merges states, answers reads.
 *
 * Owns:     the vnodes p with p mod P == its index; one writer each, so no lock.
 * Receives: replica_mint, replica_write, replica_read, store_committed; vnode_doubt, vnode_adopt,
 *           vnode_complete; register_query, register_prepare, register_accept; tree_roots,
 * tree_read, digest_read, record_fetch and their replies back. Sends:    replica_mint_done,
 * replica_write (to the other replicas), replica_write_reply, replica_read_reply; vnode_incomplete,
 * vnode_adopt_done, vnode_complete_done. Time:     answers wait for the commit log, never for a
 * clock; hash trees are built in slices, a few milliseconds apart. Memory:   answers held until
 * durable, at most held_max; a table of what is pending; hash trees, at most tree_bytes_max and a
 * little for each keyspace of each vnode. Source:   Dynamo (SOSP 2007) 4.4, 4.5; riak_kv issue 679
 * for key epochs; DESIGN.md 5, 6.
 *
 * What a crash could undo is shown to nobody: an answer that depends on a staged write is held
 * until store_committed. The one exception is replica_write: a minted state leaves for the other
 * replicas before it is durable here, so that one fsync time covers all copies. That is safe
 * because after a crash every key gets a fresh key epoch with its next write here (boot.h: the
 * floor), so the dot that was sent can never name another write.
 */
#ifndef ACTORS_REPLICA_H
#define ACTORS_REPLICA_H

#include "actors/actor.h"
#include "actors/boot.h"
#include "base/counter.h"

struct replica;

struct replica_options {
    uint32_t self;
    uint8_t shard;
    uint8_t shards;
    uint32_t held_max; /* answers waiting for the log; beyond it requests are OVERLOADED; 16384 */
    uint64_t tree_bytes_max;     /* hash trees of this shard; 0: 64 MiB */
    uint64_t derive_interval_ms; /* in which each of them is built anew; 0: a day */
    uint32_t tree_slice_rows;    /* of a build, looked at in one step; 0: 512 */
};

struct replica_figures {
    struct counter minted;
    struct counter merged;      /* replica_write that changed something */
    struct counter merged_same; /* that brought nothing new */
    struct counter passed_on;   /* copies of writes from other data centres, to replicas of ours */
    struct counter read;
    struct counter epochs_drawn;
    struct counter amnesia; /* own actor met ahead of memory */
    struct counter corrupt; /* records that failed their checksum, on disk or from a peer */
    struct counter read_errors;
    struct counter overloaded;
    struct counter siblings_warned;
    struct counter siblings_refused;
    struct counter clock_refused;        /* lww timestamps too far ahead */
    struct counter reaped;               /* tombstones and expired records removed */
    struct counter clock_entries_pruned; /* of retired members, by writes here */
    struct counter requests_remembered;  /* request ids, now */
    struct counter requests_repeated;    /* puts that were answered with their first outcome */
    struct counter
        requests_forgotten; /* ids given up before their time: no room, or a refusing disk */
    struct counter
        vnodes_incomplete; /* now; also those that lack one keyspace after a loss, and: */
    struct counter vnodes_unreadable; /* the store cannot read a part of them, now */
    struct counter trees;             /* hash trees, now */
    struct counter tree_bytes;        /* now */
    struct counter tree_keys;         /* now */
    struct counter tree_builds;       /* vnodes whose trees were built from their rows */
    struct counter quarantined;       /* rows that failed their checksum and wait for repair, now */
    struct counter registers_mute;    /* (partition, keyspace) whose copy here has no vote, now */
    struct counter registers_renewed; /* those that votes came back to, since the start */
    struct counter registers_bad;     /* registers that did, which stay as they are, now */
    struct counter quarantine_full;   /* such rows that were not remembered or not copied aside */
    struct counter repairs_asked;     /* of anti-entropy */
    struct counter rows_repaired;
    struct counter tree_drift;         /* trees that did not say what the rows do */
    struct counter incomplete_refused; /* requests to an incomplete vnode */
    struct counter stale_floor;        /* writes read before tombstones were reaped, refused */
    struct counter register_queries;
    struct counter register_promises;
    struct counter register_accepts;
    struct counter register_conflicts; /* a greater ballot stood in the way */
    struct counter register_refused;   /* this copy has lost what it promised, or the row is bad */
    struct counter stale_epoch;        /* refused: planned before the partition's last step */
    struct counter behind;             /* refused: the sender's document is newer */
    struct counter gains;              /* (partition, keyspace) that changes gave, begun */
    struct counter gains_filling;      /* now */
    struct counter gains_filled;
    struct counter vnodes_dropped;    /* that changes took */
    struct counter keyspaces_removed; /* from vnodes that stay */
    struct counter held;              /* now */
    struct counter unexpected;        /* messages that are not for a replica */
};

/* Before any shard runs: stages rows that say of every vnode that it is to be emptied and filled
 * again (boot.h). */
enum err replica_rows_doubt_all(struct store *meta, uint32_t partitions) MUST_USE;
/* Whether any vnode of this directory is complete by its row. */
enum err replica_rows_vote(struct store *meta, uint32_t partitions, bool *ret_vote) MUST_USE;

struct replica *replica_new(const struct replica_options *options, const struct boot *boot);
void replica_free(struct replica *replica);
struct actor *replica_actor(struct replica *replica);
/* At a clean stop, behind the last message and before boot_mark_clean: the next start need not
 * build its hash trees. `store` is this shard's handle. On an error the stop is not a clean one. */
enum err replica_keep_trees(struct replica *replica, struct store *store) MUST_USE;
/* How many trees say something else than their rows, by a scan of all of them: an invariant for
 * tests to look at between steps. */
uint32_t replica_trees_differing(const struct replica *replica, struct store *store);
/* Whether its copy would vote in registers of the keyspace, for tests to look at. */
bool replica_votes(struct replica *replica, uint32_t partition, uint32_t keyspace_id);
const struct replica_figures *replica_figures(const struct replica *replica);

#endif
