/* replica_state.h -- inside of a replica shard: what its files share. Included by replica*.c only.
 *
 *     replica.c         the actor, and answers that wait for the log
 *     replica_record.c  a key's record in the store
 *     replica_epoch.c   key epochs: which one a write gets, and amnesia
 *     replica_mint.c    coordinated writes
 *     replica_merge.c   states from other nodes
 *     replica_onward.c  of other data centres, passed on to the replicas of this one
 *     replica_vnode.c   the vnodes: what is known of them, and their floors
 *     replica_lost.c    vnodes that were lost and are filled again
 *     replica_fence.c   what this node may answer, by the epochs of both sides
 *     replica_gain.c    what a change of the topology gives and takes
 *     replica_reap.c    tombstones that may go
 *     replica_tree.c    their hash trees, changed with each row
 *     replica_build.c   and built by a scan
 *     replica_keep.c    or kept over a clean stop
 *     replica_quarantine.c rows that fail their checksum
 *     replica_explain.c one key as it is seen here
 *     replica_answer.c  what they are asked in an exchange
 *     replica_register.c the acceptor of registers: keys of consistent keyspaces
 *     replica_request.c puts with a request id, answered again with their first outcome
 */
#ifndef ACTORS_REPLICA_STATE_H
#define ACTORS_REPLICA_STATE_H

#include "actors/epoch_lease.h"
#include "actors/replica.h"
#include "actors/replica_quarantine.h"
#include "actors/replica_request.h"
#include "actors/replica_tree.h"
#include "actors/replica_vnode.h"

#include "base/heap.h"
#include "model/hash.h"
#include "model/hint_gate.h"
#include "model/hlc.h"
#include "model/record.h"
#include "model/register.h"

/* Keys with a staged write, by hash: a slot holds the last sequence of any key that falls into it.
 * Two keys in one slot wait a little longer than they must, which is harmless. */
#define PENDING_SLOTS 4096u

/* The last write to a key that came from something else than its put, by hash: others may take its
 * place. */
#define REPAIR_NOTES 1024u

struct repair_note {
    uint64_t hash;
    uint64_t at_ms; /* wall clock; 0: none */
    uint32_t keyspace_id;
    enum write_reason reason;
};

struct replica {
    struct actor actor;
    struct replica_options options;
    uint64_t epoch_floor;
    bool clean_start; /* the last stop was a clean one */
    struct epoch_lease lease;
    struct hlc hlc;
    uint64_t pending[PENDING_SLOTS];
    struct hint_gate hint_gate;
    struct heap held; /* answers by the sequence that they wait for */
    uint64_t held_count;
    uint32_t partition;   /* of the message that is being handled */
    struct arena scratch; /* of one step */
    struct request_memory requests;
    struct vnode_table vnodes;
    struct gain_table gains;
    struct tree_table trees;
    struct quarantine quarantine;
    struct repair_note repair_notes[REPAIR_NOTES];
    struct replica_figures figures;
};

/* What this vnode holds of a key. */
struct local_state {
    uint8_t key_memory[STORAGE_KEY_BYTES_MAX];
    struct bytes key; /* storage key */
    uint32_t keyspace_id;
    uint64_t hash;
    struct bytes record; /* empty: nothing here */
    bool bad_row;        /* there is one, and it is not sound: CORRUPT */
    struct version_set set;
};

/* -- replica.c -------------------------------------------------------------------------------- */

/* Sends `answer` when the log is durable up to `sequence` (0: at once). */
void replica_answer(struct replica *replica, struct actor_context *ctx, struct message *answer,
                    uint64_t sequence);
/* What is held for this vnode rests on rows that will be gone: it says INCOMPLETE, and a mint
 * nothing at all. */
void replica_void_answers(struct replica *replica, uint32_t partition);
/* Work whose asker has given up is not begun, and no more than can be held. UNAVAILABLE: the rows
 * of the vnodes are not known yet. INVALID: there is no such partition. */
enum err replica_admit(struct replica *replica, const struct actor_context *ctx,
                       const struct message *message) MUST_USE;

/* -- replica_fence.c ------------------------------------------------------------------------------
 */

enum fence {
    FENCE_READ,     /* by a reader only */
    FENCE_WRITE,    /* by a reader or a writer */
    FENCE_SPREAD,   /* likewise, whenever it was planned */
    FENCE_HINT,     /* likewise, but by who stays */
    FENCE_QUESTION, /* likewise, of anti-entropy: by who knows the sender's document */
};

/* By the view: what this member is of a keyspace that is in the view. */
struct vnode_part replica_part_of(const struct replica *replica, const struct view *view,
                                  const struct keyspace *keyspace, uint32_t partition);
/* The same of any keyspace; remembered, for vnode_serves and the like. */
struct vnode_part replica_part(struct replica *replica, const struct actor_context *ctx,
                               struct vnode *vnode, uint32_t keyspace_id);
/* STALE_EPOCH: plan again with a newer document. UNAVAILABLE: the sender's document is newer than
 * what is in force here; it is being fetched. `keyspace_id` 0: the role is not looked at. */
enum err replica_fence(struct replica *replica, struct actor_context *ctx,
                       const struct message *message, uint32_t keyspace_id,
                       enum fence fence) MUST_USE;

/* -- replica_gain.c -------------------------------------------------------------------------------
 */

/* Looks at what a new view says, and goes on with what is to be removed. */
void replica_gains_go_on(struct replica *replica, struct actor_context *ctx);
uint64_t replica_gains_wake_at_ns(const struct replica *replica);

/* -- replica_record.c ---------------------------------------------------------------------------
 */

/* A read error is an error, never "nothing" (RELIABILITY rule 5). */
enum err replica_load(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                      uint32_t keyspace_id, struct bytes key,
                      struct local_state *ret_state) MUST_USE;
/* The same for a reader, who decodes for himself: the checksum is enough before it is sent. */
enum err replica_load_record(struct replica *replica, struct actor_context *ctx,
                             const struct replica_read *read,
                             struct local_state *ret_state) MUST_USE;
/* The one place where a record is written: `state` is what was there. */
enum err replica_store(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                       const struct local_state *state, struct bytes record,
                       uint32_t policy) MUST_USE;
/* Its counterpart: the key of `state` (which needs no set) is gone. */
enum err replica_remove(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                        uint32_t keyspace_id, const struct local_state *state) MUST_USE;
/* The register of a key (replica_register.c); all zero when there is none. */
enum err replica_load_register(struct replica *replica, struct actor_context *ctx,
                               uint32_t partition, uint32_t keyspace_id, struct bytes key,
                               struct local_state *ret_state,
                               struct register_state *ret_register) MUST_USE;
/* Registers are in no hash tree: states of theirs are never exchanged. */
enum err replica_store_register(struct replica *replica, struct actor_context *ctx,
                                uint32_t partition, struct bytes key,
                                const struct local_state *state,
                                const struct register_state *next) MUST_USE;
/* What an answer about this key must wait for. Periodic keyspaces are acknowledged from memory. */
uint64_t replica_sequence(const struct replica *replica, uint64_t hash, uint32_t policy);

/* A row as a scan meets it; borrowed. */
struct row {
    uint64_t hash;
    uint32_t keyspace_id;
    struct bytes key;
    struct bytes record;
};

/* CORRUPT: it is not this partition's, or fails its checksum. A record of a newer release is sound.
 */
enum err replica_row_parse(const struct replica *replica, uint32_t partition, struct bytes key,
                           struct bytes value, struct row *ret_row) MUST_USE;
/* -- replica_epoch.c ------------------------------------------------------------------------------
 */

/* Whether `clock` knows more of this node's writes than `memory` does. */
bool replica_ahead_of_memory(const struct replica *replica, const struct clock *clock,
                             const struct clock *memory);
/* A fresh epoch that neither clock has an entry of. They can only know one when the directory was
 * restored from an older copy and its lease with it. */
enum err replica_draw_epoch(struct replica *replica, struct actor_context *ctx,
                            const struct clock *a, const struct clock *b,
                            uint64_t *ret_epoch) MUST_USE;
/* The key epoch for a write here: the one in use, or a fresh one when this replica holds nothing of
 * its own, when the last start followed a crash (the floor), when the writer has seen more of our
 * writes than we remember, or when the epoch is not one that this directory has ever drawn. */
enum err replica_choose_epoch(struct replica *replica, struct actor_context *ctx,
                              uint32_t partition, const struct version_set *set,
                              const struct clock *context, uint64_t *ret_epoch) MUST_USE;
/* No write here takes the next counter of an own epoch below it. */
uint64_t replica_epoch_floor(struct replica *replica, uint32_t partition);

/* -- replica_mint.c, replica_merge.c
 * ---------------------------------------------------------------- */

void replica_on_mint(struct replica *replica, struct actor_context *ctx,
                     const struct message *message);
void replica_on_write(struct replica *replica, struct actor_context *ctx,
                      const struct message *message);
/* As the answer to a hint leaves: what its sender may have under way from now on. */
void replica_grant(struct replica *replica, const struct actor_context *ctx,
                   struct replica_write_reply *reply);

/* -- replica_onward.c -----------------------------------------------------------------------------
 */

/* A write from another data centre goes on to the replicas of this one that it names. */
void replica_pass_on(struct replica *replica, struct actor_context *ctx,
                     const struct message *message);

/* -- replica_register.c ---------------------------------------------------------------------------
 */

/* PRECONDITION: the keyspace is known here, and of the other mode. NOT_FOUND: one that is not known
 * holds no registers. */
enum err replica_admit_mode(const struct actor_context *ctx, uint32_t keyspace_id,
                            enum keyspace_mode mode) MUST_USE;
/* A register's row is
 *     u8 format ('R') | register_state_encode | u64 checksum
 * sealed as a record is (model/record.h), with a format that no record has. */
struct bytes register_row_encode(struct arena *arena, uint32_t keyspace_id, struct bytes key,
                                 const struct register_state *state);
enum err register_row_decode(uint32_t keyspace_id, struct bytes key, struct bytes row,
                             struct register_state *ret_state) MUST_USE;
/* Of a sound row. */
bool register_row_is(struct bytes row);
void replica_on_register_query(struct replica *replica, struct actor_context *ctx,
                               const struct message *message);
void replica_on_register_prepare(struct replica *replica, struct actor_context *ctx,
                                 const struct message *message);
void replica_on_register_accept(struct replica *replica, struct actor_context *ctx,
                                const struct message *message);
void replica_on_register_list(struct replica *replica, struct actor_context *ctx,
                              const struct message *message);

/* -- replica_reap.c -------------------------------------------------------------------------------
 */

/* This set was written: the next scan has to look. */
void replica_reap_note(struct vnode *vnode, uint32_t keyspace_id, const struct version_set *set);
void replica_on_reap_scan(struct replica *replica, struct actor_context *ctx,
                          const struct message *message);
void replica_on_reap_seal(struct replica *replica, struct actor_context *ctx,
                          const struct message *message);
void replica_on_reap_remove(struct replica *replica, struct actor_context *ctx,
                            const struct message *message);

/* -- replica_vnode.c ------------------------------------------------------------------------------
 */

/* Reads what is known of the vnodes; true when it is. */
bool replica_vnodes_load(struct replica *replica, struct actor_context *ctx);
/* -- replica_lost.c -------------------------------------------------------------------------------
 */

/* Tells anti-entropy of an incomplete vnode. */
void replica_vnode_announce(struct replica *replica, struct actor_context *ctx,
                            const struct vnode *vnode);
/* Sets the figures of what is being filled. */
void replica_vnodes_count(struct replica *replica);
/* What waits for the log, or for another try. */
void replica_vnodes_go_on(struct replica *replica, struct actor_context *ctx);
uint64_t replica_vnodes_wake_at_ns(const struct replica *replica);
/* Empties it and lets it be filled again. */
void replica_vnode_doubt(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                         enum doubt_reason reason);
/* The store itself cannot read a part of it: anti-entropy is told, which has it emptied when other
 * copies hold all that this one can give (anti_entropy_completion.c). Until then that is served. */
void replica_vnode_unreadable(struct replica *replica, struct actor_context *ctx,
                              struct vnode *vnode);
void replica_on_vnode_doubt(struct replica *replica, struct actor_context *ctx,
                            const struct message *message);
void replica_on_vnode_adopt(struct replica *replica, struct actor_context *ctx,
                            const struct message *message);
void replica_on_vnode_complete(struct replica *replica, struct actor_context *ctx,
                               const struct message *message);

/* -- replica_scan.c -------------------------------------------------------------------------------
 */

/* As store_scan, but goes on behind what the store cannot read, and says so: a part of the vnode is
 * unreadable then. */
enum err replica_scan(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                      struct bytes from, struct bytes to, store_visit visit, void *closure,
                      bool *ret_hole) MUST_USE;

/* -- replica_votes.c ------------------------------------------------------------------------------
 */

/* Tells anti-entropy, if it does not vote in this keyspace, whose replica it is. */
void replica_votes_tell(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                        const struct keyspace *keyspace);
enum err replica_votes_learn(struct replica *replica, const struct vnode_adopt *adopt) MUST_USE;
enum err replica_votes_complete(struct replica *replica, struct actor_context *ctx,
                                const struct vnode_complete *complete) MUST_USE;

/* -- replica_answer.c -----------------------------------------------------------------------------
 */

void replica_on_tree_roots(struct replica *replica, struct actor_context *ctx,
                           const struct message *message);
void replica_on_tree_read(struct replica *replica, struct actor_context *ctx,
                          const struct message *message);
void replica_on_digest_read(struct replica *replica, struct actor_context *ctx,
                            const struct message *message);
void replica_on_record_fetch(struct replica *replica, struct actor_context *ctx,
                             const struct message *message);

/* -- replica_explain.c ----------------------------------------------------------------------------
 */

/* A write has changed the key of that hash. */
void replica_note_repair(struct replica *replica, const struct actor_context *ctx,
                         const struct replica_write *write, uint64_t hash);
void replica_on_key_explain(struct replica *replica, struct actor_context *ctx,
                            const struct message *message);

#endif
