/* anti_entropy_state.h -- inside of anti-entropy: what it keeps and how its parts call each other.
 * Included by anti_entropy*.c only.
 *
 *     schedule    which two replicas of which partition come next; proofs
 *     exchange    two replicas asked, and what they are asked
 *     compare     what their answers say, from the roots down to the digests
 *     transfer    the records that one of them lacks
 *     dirty       marks of ranges that must be compared, on disk
 *     completion  vnodes that were lost
 *     gains       what a change of the topology gives this member, or has it compare
 *     gain        how that is filled
 *     registers   registers of such a partition
 *     votes       how a copy that was emptied votes again in registers
 *     report      how far that has come
 *     waits       for whom what is not filled waits
 *     members     which member has which slot
 *     record      single rows that were lost
 *     task        repairs that somebody asked for
 *     explain     what each node holds of one key
 *
 * The types and calls of exchange, compare and transfer are in anti_entropy_exchange.h, those of
 * gains, gain, registers and votes in anti_entropy_gain.h.
 */
#ifndef ACTORS_ANTI_ENTROPY_STATE_H
#define ACTORS_ANTI_ENTROPY_STATE_H

#include "actors/anti_entropy.h"
#include "actors/anti_entropy_exchange.h"
#include "actors/anti_entropy_gain.h"
#include "actors/reaper.h"

#define AE_RECORDS_MAX  64u
#define AE_EXPLAINS_MAX 16u
#define AE_TASKS_MAX    8u

/* Whose answer it is: a part of each id. */
enum ae_owner {
    AE_OWNER_EXCHANGE = 1,
    AE_OWNER_COMPLETION,
    AE_OWNER_RECORD,
    AE_OWNER_EXPLAIN,
    AE_OWNER_GAIN,
    AE_OWNER_SETTLE,
    AE_OWNER_RENEWAL,
};

/* -- ranges ------------------------------------------------------------------------------------ */

struct ae_range {
    uint32_t partition;
    uint32_t member;
    bool pair;   /* this node and the member are both replicas */
    bool driven; /* and this node has the lower number */
    bool dirty;
    uint64_t dirty_serial; /* of its mark: only what began later counts */
    uint64_t dirty_done;   /* members that have been compared with it since */
    uint64_t due_ns;
    uint64_t retry_ns; /* not before */
    uint64_t backoff_ns;
};

struct ae_proof {
    struct counter member;  /* whose slot this is */
    _Atomic uint32_t state; /* enum anti_entropy_state + 1; 0: no pair */
    struct counter driven;
    struct counter identical_as_of_ms;
    struct counter attempted_ms;
    struct counter keys_repaired;
    struct counter bytes_moved;
};

struct ae_proofs {
    struct ae_proof of[MEMBERS_MAX]; /* by slot */
};

/* -- vnodes that were lost ----------------------------------------------------------------------
 *
 *     ASK ─▶ ADOPT ─▶ FILL ─▶ FINISH ─▶ (gone), or if it is unreadable in part: GIVE
 *      ▲       │        │        │
 *      └───────┴────────┴────────┘ failed: again after a pause
 *
 *     GIVE ─▶ (gone: it is emptied, and told of again)
 */
enum ae_completion_phase { AE_ASK, AE_ADOPT, AE_FILL, AE_FINISH, AE_GIVE };

struct ae_completion {
    bool known; /* false: nothing to do for this partition */
    enum ae_completion_phase phase;
    uint64_t incarnation; /* of the vnode; another one: it was emptied again */
    uint64_t serial;      /* of the time when this was heard of */
    bool unreadable;      /* the store cannot read a part of it */
    uint64_t since_ms;    /* GIVE: the wall clock when it began */
    uint64_t done;        /* members that it has been filled from since; GIVE: that hold the rest */
    struct ae_ids lacks;  /* but for these, of which one of them could not give all; GIVE: of these
                             what cannot be read is given up */
    uint64_t id;          /* of the question that is open; 0: none */
    uint64_t sent_ns;
    uint64_t next_ns;
    uint64_t backoff_ns;
    uint64_t waiting;       /* members whose roots are awaited; GIVE: that were asked lately */
    uint32_t adopts;        /* answers awaited */
    struct message **roots; /* [MEMBERS_MAX], owned, in ASK only */
};

/* -- rows that were lost ------------------------------------------------------------------------
 */

struct ae_record {
    bool used;
    uint32_t partition;
    uint32_t keyspace_id;
    uint64_t hash;
    struct bytes key; /* owned */
    uint64_t id;      /* of the round that is under way; 0: none */
    uint64_t sent_ns;
    uint64_t next_ns;
    uint64_t backoff_ns;
    bool writing;
    uint64_t waiting;    /* members whose answers are awaited */
    bool unsure;         /* one of them has a bad row there too, or is being filled */
    bool held;           /* by one that is whole */
    uint64_t floor;      /* the least of them */
    struct bytes joined; /* record, owned; empty: nobody has it so far */
};

/* -- repairs ------------------------------------------------------------------------------------
 */

struct ae_task_range {
    uint32_t partition;
    uint32_t member;
    bool ended;
    bool failed;
    uint32_t tries;
    uint64_t retry_ns;
};

struct ae_task {
    uint64_t id; /* 0: a free place */
    uint32_t keyspace_id;
    bool driven_only;
    bool gives_up;     /* bad rows that no other replica can mend, until: */
    uint64_t until_ns; /* in this life, once planned; 0: it does not */
    bool ended;
    bool cancelled;
    bool planned; /* `ranges` is made */
    uint64_t started_ms;
    uint32_t count;
    struct ae_task_range *ranges; /* owned; ascending */
    uint32_t cursor;              /* all below have ended */
    uint32_t done;
    uint32_t failed;
    uint32_t total;
    uint64_t keys;
    uint64_t bytes;
    /* where an earlier life was: everything below has ended */
    bool resumed;
    uint32_t resume_partition;
    uint32_t resume_member;
};

struct ae_explain {
    struct message *done; /* owned; NULL: a free place */
    uint64_t id;
    uint64_t until_ns;
    uint64_t waiting_replicas;
    uint64_t waiting_hints;
};

/* -- the actor ----------------------------------------------------------------------------------
 */

/* A member as the view showed it last. */
struct ae_seen {
    uint64_t generation;
    bool down;
};

struct anti_entropy {
    struct actor actor;
    struct anti_entropy_options options;
    struct anti_entropy_figures figures;
    uint64_t serial; /* numbers ids and events */
    bool loaded;     /* the rows of an earlier life */
    uint64_t load_ns;

    struct ae_pace {
        int64_t bytes; /* may be sent now; negative: a debt */
        uint64_t at_ns;
    } paces[2]; /* of fills, and of all else */

    uint32_t running; /* but fills */
    uint32_t fills;
    struct ae_exchange exchanges[ANTI_ENTROPY_EXCHANGES_MAX];

    bool viewed; /* the three below are of a view */
    uint64_t view_version;
    uint64_t topology_epoch;
    uint64_t keyspaces_digest;
    uint64_t slots_version;      /* of the view that the next two are of, and one; 0: of none */
    uint32_t slots[MEMBERS_MAX]; /* members by slot; MEMBER_NONE: nobody yet */
    uint64_t gone;               /* bits by slot: nothing waits for them */
    struct ae_seen seen[MEMBERS_MAX]; /* by slot */
    bool changing;                    /* a change of the topology is under way */
    uint64_t *replicas;               /* of each partition in any keyspace: bits by slot */
    uint32_t range_count;
    uint32_t range_capacity;
    struct ae_range *ranges;             /* ascending by (partition, member) */
    uint64_t look_ns;                    /* when the schedule has something to do */
    _Atomic(struct ae_proofs *) *proofs; /* [partitions]; made once, freed with the actor */

    struct ae_gains gains;
    struct ae_renewal renewal;
    uint32_t vote_count;
    struct ae_gain *votes;             /* in any order; at most one by (partition, keyspace) */
    struct ae_completion *completions; /* [partitions] */
    uint32_t completions_asking;
    struct ae_record records[AE_RECORDS_MAX];
    struct ae_task tasks[AE_TASKS_MAX];
    struct ae_explain explains[AE_EXPLAINS_MAX];
    struct reaper reaper;
    struct arena scratch; /* of one step */
};

/* anti_entropy.c */
uint64_t ae_id(struct anti_entropy *ae, enum ae_owner owner, uint32_t slot);
/* A member that a question can be sent to. */
bool ae_reachable(const struct actor_context *ctx, uint32_t member);
uint64_t ae_backoff(const struct anti_entropy *ae, struct actor_context *ctx, uint64_t *backoff_ns);
/* The policy of writes: durable before they are acknowledged, whatever the keyspace asks. */
uint32_t ae_policy(const struct keyspace *keyspace);
bool ae_is_replica(const struct view *view, const struct keyspace *keyspace, uint32_t partition,
                   uint32_t member);
struct message *ae_message(enum message_kind kind, uint32_t member, uint64_t id, size_t size);
/* Bytes of a message to or from a peer; nothing for this node's own. */
void ae_charge(struct anti_entropy *ae, struct ae_exchange *exchange, uint32_t member,
               size_t payload);
/* False: not now; then *ret_wait_ns is how long. */
bool ae_pace(struct anti_entropy *ae, const struct actor_context *ctx,
             const struct ae_exchange *exchange, uint64_t *ret_wait_ns);

/* anti_entropy_members.c */
/* Takes over who has which slot. What was known of the one before is forgotten. */
void ae_members_refresh(struct anti_entropy *ae, const struct actor_context *ctx);
/* By its slot; 0: it has none. */
uint64_t ae_member_bit(const struct anti_entropy *ae, uint32_t member);
/* Its slot; MEMBERS_MAX: it has none. */
uint32_t ae_member_slot(const struct anti_entropy *ae, uint32_t member);

/* anti_entropy_schedule.c */
void ae_schedule_tick(struct anti_entropy *ae, struct actor_context *ctx);
void ae_schedule_begun(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange *exchange);
void ae_schedule_ended(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange *exchange, bool whole);
/* All replicas of a partition on both sides, by slot. */
uint64_t ae_replicas(const struct anti_entropy *ae, const struct actor_context *ctx,
                     const struct keyspace *keyspace, uint32_t partition);
/* NULL when it is not there. */
struct ae_range *ae_range_find(struct anti_entropy *ae, uint32_t partition, uint32_t member);
struct ae_range *ae_range_add(struct anti_entropy *ae, uint32_t partition, uint32_t member);
/* Whether the two can be compared now; else *look_ns is lowered to when to look again. */
bool ae_schedule_can(const struct anti_entropy *ae, const struct actor_context *ctx,
                     uint32_t partition, uint32_t a, uint32_t b, uint64_t *look_ns);

/* anti_entropy_dirty.c */
enum err ae_dirty_load(struct anti_entropy *ae, struct actor_context *ctx) MUST_USE;
void ae_dirty_mark(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct range_dirty *mark);
void ae_dirty_clear(struct anti_entropy *ae, struct actor_context *ctx, struct ae_range *range);
bool ae_dirty_next(struct anti_entropy *ae, struct actor_context *ctx,
                   struct ae_exchange_plan *ret_plan, uint64_t *look_ns);
void ae_dirty_ended(struct anti_entropy *ae, struct actor_context *ctx,
                    const struct ae_exchange *exchange, bool whole);

/* anti_entropy_completion.c */
void ae_completion_on_incomplete(struct anti_entropy *ae, struct actor_context *ctx,
                                 const struct vnode_incomplete *incomplete);
void ae_completion_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                            struct message *message);
void ae_completion_tick(struct anti_entropy *ae, struct actor_context *ctx);
uint64_t ae_completion_wake_ns(const struct anti_entropy *ae);
bool ae_completion_next(struct anti_entropy *ae, struct actor_context *ctx,
                        struct ae_exchange_plan *ret_plan, uint64_t *look_ns);
void ae_completion_ended(struct anti_entropy *ae, struct actor_context *ctx,
                         const struct ae_exchange *exchange, bool whole);
void ae_completion_free(struct ae_completion *completion);
/* There is nothing to do for it any more. */
void ae_completion_close(struct anti_entropy *ae, uint32_t partition);
/* The vnode was emptied, and is being filled. */
bool ae_completion_fills(const struct anti_entropy *ae, uint32_t partition);
/* The store cannot read a part of it, and the rest is given to others (anti_entropy_give.c). */
bool ae_completion_gives(const struct anti_entropy *ae, uint32_t partition);

/* anti_entropy_give.c */
void ae_give_begin(struct ae_completion *completion, const struct actor_context *ctx);
void ae_give_step(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition);
void ae_give_ended(struct anti_entropy *ae, struct ae_completion *completion,
                   const struct ae_exchange *exchange);
/* A keyspace in which this member is read: not all others hold what it can give, or there are too
 * few.
 */
bool ae_give_waits(const struct anti_entropy *ae, const struct actor_context *ctx,
                   uint32_t partition, const struct keyspace *keyspace);
struct ae_floor_found {
    uint64_t floor;
    uint64_t reaped;
    bool complete; /* one that said so, and is read, is among them */
    bool all;
};
/* What the answers (tree_roots_reply, by slot; NULL: none) of these sources say of one keyspace.
 * What was removed under a floor F had been sealed by every replica, so every complete one that is
 * read has a floor of at least F. */
struct ae_floor_found ae_find_floor(struct anti_entropy *ae, const struct actor_context *ctx,
                                    uint32_t partition, const struct keyspace *keyspace,
                                    uint64_t sources, struct message *const *answers);

/* anti_entropy_waits.c */
/* For whom copies of this member wait that a change gives it, or that were emptied. */
void ae_waits(const struct anti_entropy *ae, const struct actor_context *ctx, struct waits *waits);
/* Of one copy that was emptied, and has no vote. */
void ae_waits_of_vote(const struct anti_entropy *ae, const struct actor_context *ctx,
                      uint32_t partition, uint32_t keyspace_id, struct waits *waits);

/* anti_entropy_report.c */
void ae_report_on_report(struct anti_entropy *ae, struct actor_context *ctx,
                         const struct message *message);

/* anti_entropy_record.c */
void ae_record_on_repair(struct anti_entropy *ae, struct actor_context *ctx,
                         const struct record_repair *repair);
void ae_record_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                        const struct message *message);
void ae_record_tick(struct anti_entropy *ae, struct actor_context *ctx);
/* A bad row of this node's copy of the partition is not mended yet. */
bool ae_record_waits(const struct anti_entropy *ae, uint32_t partition);
uint64_t ae_record_wake_ns(const struct anti_entropy *ae);
void ae_record_free(struct ae_record *record);

/* anti_entropy_task.c */
enum err ae_task_load(struct anti_entropy *ae, struct actor_context *ctx) MUST_USE;
void ae_task_on_maintenance(struct anti_entropy *ae, struct actor_context *ctx,
                            const struct message *message);
bool ae_task_next(struct anti_entropy *ae, struct actor_context *ctx,
                  struct ae_exchange_plan *ret_plan, uint64_t *look_ns);
void ae_task_ended(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct ae_exchange *exchange, bool whole);
void ae_task_free(struct ae_task *task);
/* Somebody wants bad rows of the keyspace given up that no other replica can mend; counts one. */
bool ae_task_give_up(struct anti_entropy *ae, const struct actor_context *ctx,
                     uint32_t keyspace_id);

/* anti_entropy_explain.c */
void ae_explain_on_client(struct anti_entropy *ae, struct actor_context *ctx,
                          const struct message *message);
/* About a register: why this member's copy has no vote. */
void ae_explain_on_key(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct message *message);
void ae_explain_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                         const struct message *message);
void ae_explain_tick(struct anti_entropy *ae, struct actor_context *ctx);
uint64_t ae_explain_wake_ns(const struct anti_entropy *ae);

#endif
