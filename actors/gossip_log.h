/* gossip_log.h -- the topology log: which document comes next. Inside of the gossip actor.
 *
 * The document of epoch e + 1 is one register (model/register.h), decided once and for all by a
 * majority of the voters that the document of epoch e names; so there is one document an epoch,
 * whoever proposes. Every member with a document may propose (gossip_log.c); every voter answers
 * from its *slot* (gossip_slot.c), which is durable before anything of it is said, and void once
 * the document of its epoch has been adopted.
 *
 *     prepare --majority promises--> nothing accepted: own document --accept, majority--> decided
 *        ^                           something accepted: that one --accept, majority----> decided
 *        |   conflict, silence: after a random while, above all ballots seen                 |
 *        +--- it was another one: once more, on top of it, when it is in force here <--------+
 *
 * An operation is applied, and refused, only on a document that a majority has just said to be the
 * last one. Once an own document has been sent to be accepted, and until its epoch is known, the
 * outcome is *unknown*: when the deadline passes then, the answer says so. The document that is
 * seen in its epoch tells. When that epoch went by unseen, the operation is done if the newest
 * document is as it asks for; if not, somebody may have undone it: it is not made again, and the
 * answer is unknown.
 *
 * A voter whose directory may have forgotten what it promised (it was wiped or restored, or its log
 * is short: boot.h writes META_FORGOT) does not vote before it has *recalled* (gossip_recall.c): it
 * prepares a ballot far above all others at the other voters. When so many have promised it that
 * every majority has one of them, whatever was decided below that ballot is among what they have
 * accepted, and what else it may have promised can do no harm below it. When nothing was accepted
 * there, then it cannot have known a later document, and has recalled for good; otherwise it does
 * so again in the next epoch. Voters that have forgotten as well count when all have answered.
 *
 * Sends and receives topology_prepare, topology_accept and their replies; what is decided is spread
 * as topology_document (gossip_document.c). Time: a round is begun again after phase_timeout_ns
 * without a majority, a proposal ends after proposal_timeout_ns. Memory: PROPOSALS_MAX proposals,
 * one at a time under way; one slot.
 */
#ifndef ACTORS_GOSSIP_LOG_H
#define ACTORS_GOSSIP_LOG_H

#include "actors/actor.h"

struct gossip;

/* -- gossip_slot.c: the acceptor
 * --------------------------------------------------------------------------- */

struct slot {
    bool loaded;
    bool forgot;             /* has to recall before it votes, other than in: */
    uint64_t recalled_epoch; /* 0: none */
    uint64_t epoch;          /* to be decided; other than the one in force + 1: of the past, void */
    struct register_state state;
    struct arena arena; /* of the accepted document */
};

void gossip_on_topology_prepare(struct gossip *gossip, struct actor_context *ctx,
                                const struct message *message);
void gossip_on_topology_accept(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message);

/* OK: the slot is that of the epoch that comes next, its row is read. */
enum err slot_open_next(struct gossip *gossip, struct actor_context *ctx) MUST_USE;
/* Stages what the slot is to be, and only then has it so. */
enum err slot_keep(struct gossip *gossip, struct actor_context *ctx,
                   const struct register_state *state) MUST_USE;

/* -- gossip_recall.c: what a voter that has forgotten does
 * ----------------------------------------------------------------------------------------- */

struct recall {
    bool asks; /* a round is under way */
    uint64_t epoch;
    uint64_t id;
    uint64_t late_at_ns; /* of the round, or when to begin one */
    struct ballot ballot;
    struct ballot seen;
    uint32_t answered; /* bit by place among the voters */
    uint32_t promised; /* of these */
    struct ballot accepted;
    struct bytes value;
    struct arena arena;
};

/* True: the slot may vote. Otherwise it is seen to. */
bool recall_is_done(const struct gossip *gossip);
void recall_tick(struct gossip *gossip, struct actor_context *ctx);
uint64_t recall_wake_at_ns(const struct gossip *gossip);
/* Answers to a proposer's rounds are none of its own. */
void recall_on_prepare_reply(struct gossip *gossip, struct actor_context *ctx,
                             const struct message *message);

/* -- gossip_log.c: the proposer
 * --------------------------------------------------------------------------- */

enum offer {
    OFFER_NONE, /* no document of the proposal can be decided any more, or none was sent */
    OFFER_OPEN,
    OFFER_WON,
    OFFER_OUT_OF_SIGHT, /* its epoch went by unseen */
};

/* Something to be decided. */
struct proposal {
    struct message *origin; /* client_topology; NULL: nobody waits for it */
    bool step;              /* of the running change, by what is known then (gossip_moves.h) */
    struct topology_operation operation; /* else */
    uint64_t deadline_ns;
    enum offer offer;
    uint64_t offer_epoch;
    struct bytes offer_bytes;
    uint32_t number;    /* topology_operate's */
    struct arena arena; /* of offer_bytes */
};

#define PROPOSALS_MAX 16u

enum proposer_state {
    PROPOSER_IDLE,
    PROPOSER_WAITING, /* until retry_at_ns, or a newer document */
    PROPOSER_PREPARING,
    PROPOSER_ACCEPTING,
    PROPOSER_ADOPTING, /* decided, and not in force here yet */
};

struct proposer {
    struct proposal *queue[PROPOSALS_MAX]; /* the first one is under way */
    uint32_t count;
    enum proposer_state state;
    struct register_round round;
    struct arena arena; /* of the round */
    uint64_t id;        /* of the messages of its phase */
    uint64_t late_at_ns;
    uint64_t retry_at_ns;
    uint32_t attempts;
    struct ballot seen; /* every ballot so far in this epoch is at or below it */
    uint64_t seen_epoch;
};

/* Consumes the message. */
void gossip_on_client_topology(struct gossip *gossip, struct actor_context *ctx,
                               struct message *message);
void gossip_on_topology_prepare_reply(struct gossip *gossip, struct actor_context *ctx,
                                      const struct message *message);
void gossip_on_topology_accept_reply(struct gossip *gossip, struct actor_context *ctx,
                                     const struct message *message);
/* The document that was decided for that epoch has been seen, whether or not it is news. */
void proposer_see(struct gossip *gossip, uint64_t epoch, struct bytes bytes);
/* Another document is in force. */
void proposer_advance(struct gossip *gossip, struct actor_context *ctx);
/* Acts on what is due. */
void proposer_tick(struct gossip *gossip, struct actor_context *ctx);
uint64_t proposer_wake_at_ns(const struct gossip *gossip);
/* For nobody who waits: an operation, or a step of the running change. Left away when there is one
 * already, or no room. */
void proposer_add(struct gossip *gossip, struct actor_context *ctx,
                  const struct topology_operation *operation);
void proposer_add_step(struct gossip *gossip, struct actor_context *ctx);
void proposer_free(struct proposer *proposer);

#endif
