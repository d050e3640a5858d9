/* replica_vnode.h -- inside of a replica shard: its vnodes, and what each keyspace has in them.
 *
 *     complete --vnode_doubt--> emptying --row durable, partition dropped--> incomplete
 *         ^                                                                      |
 *         +------------------------- vnode_complete -----------------------------+
 *
 * One that the store cannot read in part is complete, and stays so while what it can read may be
 * nowhere else: it answers CORRUPT where it cannot, and says of its keyspaces that rows are bad.
 *
 * An incomplete vnode answers no read and no mint; it takes writes of a keyspace once that one's
 * floor was adopted. The state's row is durable before anything is dropped, and says "emptying"
 * until all is: a crash in between begins again. Answers that are held then, of writes that will be
 * gone, say INCOMPLETE; a mint's never leaves, as if the node had crashed.
 *
 * The floor says which writes may bring something new: one that was read under a lower floor may
 * carry what has been reaped since (message_range.h, reap_seal). What leaves is tagged with a floor
 * that no crash can take back. The *reaped* floor is the greatest that every replica is known to
 * have sealed: nothing was removed under a greater one. A replica below it has lost what it had
 * sealed.
 *
 * Rows in STORE_META, written through this shard's handle alone (big-endian numbers):
 *     "vnode-state/" u32 partition               -> u8 format | u8 state; none: complete
 *     "vnode-floor/" u32 partition, u32 keyspace -> u8 format | u64 floor [| u64 adopted at, wall
 *         clock, ms: what was here before had been lost; 0: nothing was [| u64 reaped floor]];
 *         none: 0, or not adopted
 *     "vnode-voter/" u32 partition               -> u8 format; none: it votes in registers
 *     "vnode-votes/" u32 partition, u32 keyspace -> u8 format: it does so in these all the same
 *         (replica_votes.c)
 *     "vnode-gains/" u32 partition, u32 keyspace -> u8 format | u8 state | u64 epoch
 *         (replica_gain.h)
 *     "vnode-epoch/" u32 partition               -> u8 format | u64 floor of key epochs; none: 0
 *
 * Included by replica*.c only.
 */
#ifndef ACTORS_REPLICA_VNODE_H
#define ACTORS_REPLICA_VNODE_H

#include "actors/replica.h"
#include "actors/replica_gain.h"
#include "model/merkle.h"

enum vnode_state { VNODE_COMPLETE, VNODE_EMPTYING, VNODE_INCOMPLETE, VNODE_STATE_COUNT };

/* One keyspace in one vnode. */
struct vnode_keyspace {
    uint32_t id;
    bool has_row;            /* of the floor; what "adopted" means while the vnode is incomplete */
    uint64_t floor;          /* what a write is held against */
    uint64_t floor_durable;  /* the one before, until `floor_sequence` is durable */
    uint64_t floor_sequence; /* of the row */
    uint64_t sealed_floor;   /* that this life of these contents has sealed; 0: none */
    uint64_t reaped;         /* at most `floor` */
    uint64_t adopted_at_ms;  /* wall clock; what was here before had been lost. 0: nothing was */
    bool reap_clean;         /* no tombstone and no time to live: nothing to reap */
    bool reap_looks_clean;   /* so far, in the scan that is under way */
    /* replica_gain.h */
    struct vnode_part part;
    uint64_t part_version; /* of the view that it is of, and one; 0: of none */
    struct vnode_gain gain;
    bool registers;  /* rows of registers are here, or were */
    bool votes_told; /* to anti-entropy: it does not vote in its registers */
    bool leaving;    /* its rows are removed: nothing of it counts */
    bool sweeping;   /* by the sweep under way */
    bool given_up;   /* what the store cannot read of it: nobody waits for that any more */
    /* replica_tree.h */
    struct merkle *tree;    /* NULL: no keys, when the vnode's trees are ready */
    struct merkle *next;    /* of the build under way, up to its cursor */
    uint64_t keys_expected; /* by that build */
    uint64_t gone_since_ns; /* not in the view since; 0: it is there, or was not looked for */
    bool forgotten;         /* has no trees: it was dropped */
};

struct vnode {
    uint32_t partition;
    enum vnode_state state;
    bool emptying_staged; /* the row that says so */
    uint64_t emptying_sequence;
    uint64_t retry_ns;    /* when emptying is tried again; 0: it waits for the log */
    uint64_t incarnation; /* of its contents: another one each time that it was emptied */
    /* It was emptied once: it does not know what it has promised and accepted of registers, and no
     * exchange can tell it that. It has no vote in them, but in the keyspaces where it has begun
     * anew since (replica_votes.c). */
    bool registers_lost;
    uint64_t learns_from; /* the epoch from which on it learns, without a vote; 0: it does not */
    uint32_t voting_count;
    uint32_t *voting; /* keyspaces, in any order */
    /* Own key epochs below are not counted on from: rows that had them were removed here, and may
     * come back with less than they had. As boot.h's, for this vnode. */
    uint64_t epoch_floor;
    bool absent; /* nothing is here: it was dropped as nobody's, in this life */
    /* The store cannot read a part of it, met in this life: it serves the rest, and is emptied when
     * other copies hold all of that (replica_vnode_unreadable). */
    bool unreadable;
    uint64_t unreadable_ns; /* when anti-entropy is told again */
    bool doubted;           /* before its rows were known; `doubt` says why */
    enum doubt_reason doubt;
    uint32_t keyspace_count;
    uint32_t keyspace_capacity;
    struct vnode_keyspace *keyspaces; /* ascending by id */
    /* replica_tree.h */
    bool trees_ready;
    bool trees_suspect;   /* known not to say what the rows do: the next ones may differ */
    uint64_t build_at_ns; /* when they are built (again) */
};

struct vnode_table {
    uint32_t partitions; /* Q */
    uint8_t shard;
    uint8_t shards;
    bool loaded; /* the rows are known; nothing is answered before */
    uint64_t load_ns;
    uint32_t count;
    struct vnode *vnodes; /* partition / shards is the place */
    uint32_t emptying;
    uint64_t incarnation;
};

void vnode_table_init(struct vnode_table *table, const struct replica_options *options,
                      uint32_t partitions);
void vnode_table_deinit(struct vnode_table *table);
/* `partition` lives on this shard. */
struct vnode *vnode_of(struct vnode_table *table, uint32_t partition);

/* NULL: nothing is known of it here. */
struct vnode_keyspace *vnode_keyspace_find(const struct vnode *vnode, uint32_t keyspace_id);
/* Adds it when it is not there. Pointers found before are void. */
struct vnode_keyspace *vnode_keyspace_get(struct vnode *vnode, uint32_t keyspace_id);

/* What a write of this keyspace is held against. */
uint64_t vnode_floor(const struct vnode *vnode, uint32_t keyspace_id);
/* What may be said of a state that leaves when the log is durable up to `sequence`. */
uint64_t vnode_floor_said(const struct vnode *vnode, uint32_t keyspace_id, struct store *store,
                          uint64_t sequence);
/* Under which something may have been removed. */
uint64_t vnode_reaped(const struct vnode *vnode, uint32_t keyspace_id);
/* Somebody has noted `reaped`, so all replicas had sealed it, and this one is below. One that holds
 * nothing of the keyspace and was never asked to seal is new to it, and has nothing to bring back.
 * The vnode's trees are ready. */
bool vnode_lost_its_seal(const struct vnode *vnode, uint32_t keyspace_id, uint64_t reaped);

struct vnode_floors {
    uint64_t floor;
    uint64_t reaped;
};

/* Stages them; they count at once for what comes in. The caller has seen that they are no step
 * back. */
enum err vnode_floors_set(struct vnode *vnode, struct store *store, uint32_t keyspace_id,
                          struct vnode_floors floors) MUST_USE;

/* Stages the removal of one floor, or of all. */
enum err vnode_floor_forget(const struct vnode *vnode, struct store *store,
                            uint32_t keyspace_id) MUST_USE;
enum err vnode_floors_forget(const struct vnode *vnode, struct store *store) MUST_USE;
/* Stages the row of a gain; GAIN_NONE has none. */
enum err vnode_gain_stage(const struct vnode *vnode, struct store *store, uint32_t keyspace_id,
                          enum gain_state state, uint64_t epoch) MUST_USE;
/* Stages a greater floor of key epochs; before rows are removed. It counts at once. */
enum err vnode_epoch_floor_raise(struct vnode *vnode, struct store *store, uint64_t epoch) MUST_USE;
/* Stages the row that takes its vote in registers: before the row that ends the emptying, so that
 * the log never has the second without the first. */
enum err vnode_lost_stage(const struct vnode *vnode, struct store *store) MUST_USE;
/* Stages the row that gives it back for one keyspace, or its removal. */
enum err vnode_voting_stage(const struct vnode *vnode, struct store *store, uint32_t keyspace_id,
                            bool votes) MUST_USE;
/* Stages the row that says so; COMPLETE has none. */
enum err vnode_state_stage(const struct vnode *vnode, struct store *store,
                           enum vnode_state state) MUST_USE;

/* -- replica_lost.c: by what the view said last of it (replica_part)
 * --------------------------------
 */

/* INCOMPLETE, for reads and mints. */
enum err vnode_serves(const struct vnode *vnode, uint32_t keyspace_id) MUST_USE;
/* INCOMPLETE, for writes. */
enum err vnode_takes_writes(const struct vnode *vnode, uint32_t keyspace_id) MUST_USE;
/* INCOMPLETE, for registers. A copy that a change gives this member votes from the time when it is
 * empty: it is a new acceptor of the new set, and the old set's majority is needed beside it. */
enum err vnode_votes(const struct vnode *vnode, uint32_t keyspace_id) MUST_USE;
/* It does not vote, but takes what is planned in this epoch as an acceptor whose answers are lost.
 */
bool vnode_learns(const struct vnode *vnode, uint32_t keyspace_id, uint64_t epoch);

/* -- replica_votes.c
 * ----------------------------------------------------------------------------------------- */

/* It has lost its vote, and has not got it back in this keyspace. */
bool vnode_is_mute(const struct vnode *vnode, uint32_t keyspace_id);
void vnode_voting_add(struct vnode *vnode, uint32_t keyspace_id);
/* It was emptied: nothing that it was given back counts. Stages that; `vnode_voting_forget` follows
 * when the emptying is staged as a whole. */
enum err vnode_voting_unstage(const struct vnode *vnode, struct store *store) MUST_USE;
void vnode_voting_forget(struct vnode *vnode);

#endif
