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
 *     report      how far that has come
 *     waits       for whom what is not filled waits
 *     members     which member has which slot
 *     record      single rows that were lost
 *     task        repairs that somebody asked for
 *     explain     what each node holds of one key
 */
#ifndef ACTORS_ANTI_ENTROPY_STATE_H
#define ACTORS_ANTI_ENTROPY_STATE_H

#include "actors/anti_entropy.h"
#include "actors/reaper.h"
#include "model/exchange.h"

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

/* -- exchanges ----------------------------------------------------------------------------------
 *
 *            roots differ           leaves           some differ
 *   ROOTS ─┬─────────────▶ ALIGN ─▶ TREE ─▶ DIGESTS ──────────────▶ FETCH ◀─▶ WRITE
 *          │                         ▲        ▲  │                    │
 *          │ equal                   │        └──┴─── next page ◀─────┘ all handed over
 *          ▼                         └── next keyspace, or the end
 *        ended                  any failure: ended, not whole
 */
enum ae_phase { AE_ROOTS, AE_ALIGN, AE_TREE, AE_DIGESTS, AE_FETCH, AE_WRITE };

/* In the order in which they take the places; gains have places, and a pace, of their own. */
enum ae_reason { AE_COMPLETION, AE_DIRTY, AE_TASK, AE_SCHEDULE, AE_GAIN };

/* A question to one of the two sides. */
struct ae_ask {
    bool wanted; /* false: this side need not be asked */
    uint64_t id; /* 0: not sent */
    uint64_t sent_ns;
    uint32_t tries;
    struct message *answer; /* owned, until both sides have answered */
};

struct ae_keyspace {
    uint32_t id;
    unsigned depth; /* that both trees have */
    bool differs;
    bool empty[2];
    uint64_t floors[2];
    uint64_t reaped[2];
    bool incomplete[2];
};

/* Records at these places go from one side to the other. */
struct ae_leg {
    uint32_t source;
    uint32_t count;
    uint32_t done;
    const uint32_t *places; /* ascending, in the page's arena */
    bool *differs;          /* the receiver holds more than what came: it goes back */
};

#define AE_LEGS 4u /* there and back, from either side */

struct ae_write {
    uint64_t id; /* 0: a free place */
    uint32_t record;
    uint32_t tries;
    uint64_t sent_ns;
};

struct ae_nodes {
    uint32_t *indices; /* owned */
    uint32_t count;
    uint32_t capacity;
};

/* Keyspaces, by id, each once; the room is owned. */
struct ae_ids {
    uint32_t count;
    uint32_t capacity;
    uint32_t *ids;
};

struct ae_exchange {
    bool running;
    uint32_t slot;
    uint32_t partition;
    uint32_t members[2];
    enum ae_reason reason;
    uint64_t task;          /* AE_TASK */
    uint32_t only_keyspace; /* 0: all */
    uint64_t serial;        /* of its begin, among all that happens here */
    uint64_t began_ms;
    uint64_t salt;
    enum ae_phase phase;
    struct ae_ask asks[2];
    bool stalled; /* waits for its share of the bytes */
    uint64_t wake_ns;

    bool complete[2];
    bool self_was_complete; /* at its begin */
    uint32_t keyspace_count;
    uint32_t keyspace_at;
    struct ae_keyspace *keyspaces; /* in the arena */
    struct arena arena;

    /* the descent in one keyspace */
    unsigned level;       /* of `front` */
    unsigned fanout_bits; /* of the question that is open */
    struct ae_nodes front;
    struct ae_nodes next;
    uint32_t front_from; /* the chunk that is asked about */
    uint32_t front_to;

    /* one page of digests */
    uint64_t page_from;
    bool page_more;
    uint64_t page_through;
    uint32_t leg;
    struct ae_leg legs[AE_LEGS];
    struct arena page;

    /* one page of records */
    struct message *fetched; /* owned */
    struct exchange_records records;
    uint32_t record_next;
    uint32_t write_count;
    struct ae_write writes[ANTI_ENTROPY_WINDOW_MAX];

    const char *why;      /* ended: it had to; static. NULL: it went through to its end */
    uint64_t bytes;       /* to and from peers */
    uint64_t keys[2];     /* made durable on that side */
    uint64_t taken_bytes; /* of them, keys and records, by this node */
    uint32_t
        refused; /* records that were not taken, or keyspaces not heard of: nothing is proven */
    bool differed;
    struct ae_ids lacks; /* of these the other side could not give all: bad rows, a lost copy */
    bool left_out;       /* a keyspace whose copy is being filled: nothing is proven either */
    bool waits;          /* for one that a change gives: a vnode that was lost waits as well */
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
 *     ASK ─▶ ADOPT ─▶ FILL ─▶ FINISH ─▶ (gone)
 *      ▲       │        │        │
 *      └───────┴────────┴────────┘ failed: again after a pause
 */
enum ae_completion_phase { AE_ASK, AE_ADOPT, AE_FILL, AE_FINISH };

struct ae_completion {
    bool known; /* false: nothing to do for this partition */
    enum ae_completion_phase phase;
    uint64_t incarnation; /* of the vnode; another one: it was emptied again */
    uint64_t serial;      /* of the time when this was heard of */
    uint64_t done;        /* members that it has been filled from since */
    struct ae_ids lacks;  /* but for these, of which one of them could not give all */
    uint64_t id;          /* of the question that is open; 0: none */
    uint64_t sent_ns;
    uint64_t next_ns;
    uint64_t backoff_ns;
    uint64_t waiting;       /* members whose roots are awaited */
    uint32_t adopts;        /* answers awaited */
    struct message **roots; /* [MEMBERS_MAX], owned, in ASK only */
};

/* -- what a change of the topology gives --------------------------------------------------------
 *
 *     ASK ─▶ ADOPT ─▶ FILL ─▶ FINISH ─▶ filled
 *      ▲       │        │        │
 *      └───────┴────────┴────────┘ failed: again after a pause
 */
enum ae_gain_phase { AE_GAIN_ASK, AE_GAIN_ADOPT, AE_GAIN_FILL, AE_GAIN_RENEW, AE_GAIN_FINISH };

struct ae_settle; /* anti_entropy_votes.c */
void ae_votes_on_incomplete(struct anti_entropy *ae, struct actor_context *ctx,
                            const struct vnode_incomplete *incomplete);
void ae_votes_on_epoch(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct message *message);
void ae_votes_refresh(struct anti_entropy *ae, struct actor_context *ctx);
/* False: the answer is to something else. Else it consumes it. */
bool ae_votes_answered(struct anti_entropy *ae, struct actor_context *ctx, struct message *message);
void ae_votes_tick(struct anti_entropy *ae, struct actor_context *ctx);
uint64_t ae_votes_wake_ns(const struct anti_entropy *ae);
void ae_votes_free(struct anti_entropy *ae);

/* anti_entropy_registers.c */

struct ae_gain {
    uint32_t partition;
    uint32_t keyspace_id;
    bool compares; /* this member holds a copy, and compares it with those that drop out */
    bool votes;    /* not the copy is wanted, but its votes in registers (anti_entropy_votes.c) */
    bool filled;
    uint64_t epoch; /* of the announcement */
    uint64_t incarnation;
    enum ae_gain_phase phase;
    uint64_t serial; /* of the time when this was heard of */
    uint64_t done;   /* members that it has been filled from since, by slot */
    uint64_t id;     /* of the question that is open; 0: none */
    uint64_t next_ns;
    uint64_t backoff_ns;
    uint64_t wake_ns;         /* of its next step */
    uint64_t waiting;         /* members whose roots are awaited, by slot */
    struct message **roots;   /* [MEMBERS_MAX], owned, in ASK only */
    struct ae_settle *settle; /* owned; of a consistent keyspace, in FILL */
    /* for people (anti_entropy_waits.c) */
    uint64_t since_ms;
    uint64_t incomplete; /* sources that said so when they were asked last, by slot */
    uint64_t failed;     /* sources whose last exchange did not go through, by slot */
    const char *why;     /* of the last one of those; static */
    /* of votes: `epoch` is the first one of the renewal */
    uint64_t votes_from; /* the second one; 0: not decided yet */
    uint64_t set;        /* replicas when it was listed, by slot */
    uint64_t lacks;      /* of those, who had not listed all when it was looked at last, by slot */
    uint64_t emptied;    /* of those, who have no vote either */
};

/* The epochs that votes need, asked for together. */
struct ae_renewal {
    uint64_t id;     /* of the question to gossip; 0: none is open */
    uint64_t serial; /* what wanted an epoch before has it by the answer */
    uint64_t late_ns;
    uint64_t first_ns; /* since when somebody wants one; 0: nobody does */
    uint64_t ask_ns;   /* not before */
    uint8_t partitions[PARTITIONS_MAX / 8];
};

#define AE_RATE_SECONDS 8u

struct ae_gains {
    uint32_t count;
    uint32_t capacity;
    struct ae_gain *list; /* ascending by (partition, keyspace) */
    uint64_t change;      /* topology_change_name that the figures are about */
    uint64_t bytes;       /* copied for it: keys and records, as store_bytes counts them */
    struct {
        uint64_t second;
        uint64_t bytes;
    } rate[AE_RATE_SECONDS];
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

/* anti_entropy_exchange.c */
struct ae_exchange_plan {
    uint32_t partition;
    uint32_t members[2];
    enum ae_reason reason;
    uint64_t task;
    uint32_t only_keyspace;
};
/* False: no place is free, or these two are being compared already. */
bool ae_exchange_begin(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange_plan *plan);
void ae_exchange_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                          struct message *message);
/* Whether a question of an exchange is open that this answers. */
bool ae_exchange_expects(const struct anti_entropy *ae, const struct message *message);
void ae_exchange_tick(struct anti_entropy *ae, struct actor_context *ctx);
bool ae_exchange_runs(const struct anti_entropy *ae, uint32_t partition, uint32_t a, uint32_t b);
/* Ends it; `why` NULL: it went through to its end. */
void ae_exchange_end(struct anti_entropy *ae, struct actor_context *ctx,
                     struct ae_exchange *exchange, const char *why);
void ae_exchange_free(struct ae_exchange *exchange);
/* What the side gives of the keyspace is not all that it held. */
void ae_exchange_note_lack(const struct anti_entropy *ae, struct ae_exchange *exchange,
                           uint32_t side, uint32_t keyspace_id);
void ae_ids_add(struct ae_ids *ids, uint32_t id);
void ae_ids_free(struct ae_ids *ids);

void ae_asks_clear(struct ae_exchange *exchange);
/* A phase, and which sides are asked in it; none: what comes next is to be found. */
void ae_exchange_enter(struct ae_exchange *exchange, enum ae_phase phase, bool first, bool second);

static inline struct ae_keyspace *ae_exchange_keyspace(const struct ae_exchange *exchange)
{
    return &exchange->keyspaces[exchange->keyspace_at];
}

/* The nodes that are asked about. */
static inline struct exchange_indices ae_exchange_chunk(const struct ae_exchange *exchange)
{
    return (struct exchange_indices){.count = exchange->front_to - exchange->front_from,
                                     .indices = exchange->front.indices + exchange->front_from};
}

/* anti_entropy_compare.c: each gives NULL, or why the exchange has to end; AE_DONE: it is through
 */
extern const char *const AE_DONE;
const char *ae_compare_roots_answered(struct anti_entropy *ae, struct actor_context *ctx,
                                      struct ae_exchange *exchange);
const char *ae_compare_align_answered(struct anti_entropy *ae, struct ae_exchange *exchange);
const char *ae_compare_tree_answered(struct anti_entropy *ae, struct ae_exchange *exchange);
const char *ae_compare_tree_next(struct ae_exchange *exchange);
const char *ae_compare_digests_answered(struct anti_entropy *ae, struct ae_exchange *exchange);
const char *ae_compare_digests_next(struct ae_exchange *exchange);
const char *ae_compare_fetch_next(struct ae_exchange *exchange);

/* anti_entropy_transfer.c: FETCH and WRITE */
/* What both sides say of a page: plans its legs. */
void ae_transfer_plan(struct ae_exchange *exchange, const struct exchange_digests digests[2]);
/* Goes to the next leg that has something left; false: the page is done. */
bool ae_transfer_next(struct ae_exchange *exchange);
struct message *ae_transfer_question(struct ae_exchange *exchange);
/* The next three give NULL, or why the exchange has to end. */
const char *ae_transfer_fetched(const struct anti_entropy *ae, struct ae_exchange *exchange);
/* Fills the window. *ret_done: all that was fetched is written. */
const char *ae_transfer_write(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, bool *ret_done);
const char *ae_transfer_written(struct anti_entropy *ae, struct actor_context *ctx,
                                struct ae_exchange *exchange, const struct message *message);
/* When the next write is late; sends again what is. */
const char *ae_transfer_again(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, uint64_t *ret_late_ns);
void ae_transfer_drop(struct ae_exchange *exchange);
/* After what time a question that was sent `tries` times is late. */
uint64_t ae_late_ns(const struct anti_entropy *ae, uint32_t tries);

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

/* anti_entropy_gains.c */
void ae_gain_on_incomplete(struct anti_entropy *ae, struct actor_context *ctx,
                           const struct vnode_incomplete *incomplete);
/* A new view: what is void goes, and what is to be compared comes. */
void ae_gains_refresh(struct anti_entropy *ae, struct actor_context *ctx);
void ae_gains_free(struct anti_entropy *ae);
/* NULL when it is not there. */
struct ae_gain *ae_gain_find(const struct anti_entropy *ae, uint32_t partition,
                             uint32_t keyspace_id);
/* Those that it is filled from, by slot: of all keyspaces but consistent ones every one is needed.
 * Not this member. */
uint64_t ae_gain_sources(const struct anti_entropy *ae, const struct actor_context *ctx,
                         const struct ae_gain *gain);
/* Nothing is under way in it any more. */
void ae_gain_clear(struct ae_gain *gain);
/* What is to be compared besides begins in its place. */
void ae_gain_filled(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain);
void ae_gain_roots_drop(struct ae_gain *gain);
/* Those that are not filled, for the figures. */
void ae_gains_count(struct anti_entropy *ae, const struct actor_context *ctx);

/* anti_entropy_gain.c */
void ae_gain_answered(struct anti_entropy *ae, struct actor_context *ctx, struct message *message);
void ae_gains_tick(struct anti_entropy *ae, struct actor_context *ctx);
uint64_t ae_gains_wake_ns(const struct anti_entropy *ae);
bool ae_gain_next(struct anti_entropy *ae, struct actor_context *ctx,
                  struct ae_exchange_plan *ret_plan, uint64_t *look_ns);
void ae_gain_ended(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct ae_exchange *exchange, bool whole);
/* anti_entropy_registers.c */
/* Lists and settles; true when all that the sources have is settled. */
bool ae_settle_step(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain);
void ae_settle_listed(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain,
                      struct message *message);
void ae_settle_done(struct anti_entropy *ae, struct actor_context *ctx,
                    const struct message *message);
uint64_t ae_settle_wake_ns(const struct ae_gain *gain);
/* All that could be asked have answered, and too few of them have a list. */
bool ae_settle_is_refused(const struct ae_gain *gain);
/* When it has come on last. */
uint64_t ae_settle_advanced_ns(const struct ae_gain *gain);
void ae_settle_free(struct ae_gain *gain);
/* Those that have not listed what is asked for now, by slot; and of these, who have no vote. None
 * while what was listed is being settled. */
uint64_t ae_settle_lacks(const struct anti_entropy *ae, const struct actor_context *ctx,
                         const struct ae_gain *gain, uint64_t *ret_emptied);

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
