/* anti_entropy_gain.h -- inside of anti-entropy: copies that a change of the topology gives this
 * member, copies that it compares with those that drop out, and votes in registers that a copy lost
 * with its rows. anti_entropy_gains.c keeps the table, _gain.c has them filled, _registers.c lists
 * and settles what registers the sources hold, _votes.c renews votes.
 */
#ifndef ACTORS_ANTI_ENTROPY_GAIN_H
#define ACTORS_ANTI_ENTROPY_GAIN_H

#include "actors/anti_entropy_exchange.h"

struct ae_settle; /* anti_entropy_registers.c */

/* -- what a change of the topology gives --------------------------------------------------------
 *
 *     ASK ─▶ ADOPT ─▶ FILL ─▶ FINISH ─▶ filled
 *      ▲       │        │        │
 *      └───────┴────────┴────────┘ failed: again after a pause
 */
enum ae_gain_phase { AE_GAIN_ASK, AE_GAIN_ADOPT, AE_GAIN_FILL, AE_GAIN_RENEW, AE_GAIN_FINISH };

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

/* anti_entropy_votes.c */
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

#endif
