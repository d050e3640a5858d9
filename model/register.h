/* register.h -- one linearizable register by consensus without a log: CASPaxos, as pure steps.
 *
 * A key of a consistent keyspace, and the topology document, are each one register. Acceptors (the
 * key's replicas, never a fallback) keep a promise and the last accepted value; a proposer (a
 * coordinator) turns the value by a change function. Nothing here sends, stores or waits: the host
 * sends what a step asks for, makes an acceptor's new state durable *before* its answer leaves, and
 * draws ballots and back-off.
 *
 *     QUERY --majority shows one accepted ballot, no promise above it--> decided (reads, false
 * conditions)
 *       |
 *       v                majority promises               majority accepts
 *     PREPARE ----------------------------> ACCEPT -----------------------> decided
 *       | conflict: a greater ballot         | conflict: too late to say no; once an accept was
 * sent, the v                                    v outcome is *unknown* until a later round decides
 *     again, above it, after a jittered back-off
 *
 * A read and a compare-and-set whose condition is false decide as well: they end a round, or meet
 * the condition above, before they answer, so that what a minority has accepted cannot appear after
 * it was said not to be there (CASSANDRA-12126, scylladb 6299).
 *
 * Quorums are majorities of the acceptors. While a partition moves there are two sets, and every
 * quorum is a majority of the old *and* of the new one. Ballots carry the proposer's member number
 * and incarnation: no two lives of a proposer use one ballot. Below the ballot floor of a partition
 * nothing is promised or accepted: that is how a register can be removed (an absent register has
 * promised the floor).
 *
 * Source: Rystsov, CASPaxos: Replicated State Machines without logs (2018), 2.2, 2.3, 3.1; Howard
 * and Mortier, Paxos vs Raft (2020) for the fast read; Cassandra CEP-14 for the floor.
 */
#ifndef MODEL_REGISTER_H
#define MODEL_REGISTER_H

#include "base/arena.h"
#include "base/err.h"
#include "model/limits.h"

/* Ordered by counter, member, incarnation. counter 0: none, less than all others. */
struct ballot {
    uint64_t counter;
    uint32_t member;
    uint64_t incarnation; /* of the proposer: never the same in two lives of a member */
};

int ballot_compare(struct ballot a, struct ballot b);
struct ballot ballot_max(struct ballot a, struct ballot b);
/* The least ballot of this proposer above `seen`. */
struct ballot ballot_above(struct ballot seen, uint32_t member, uint64_t incarnation);

/* -- acceptor
 * -------------------------------------------------------------------------------------- */

/* What an acceptor keeps of a register; all zero is an absent one. `value` is opaque here, empty =
 * none. */
struct register_state {
    struct ballot promised; /* none after an accept: the accepted ballot stands for it */
    struct ballot accepted;
    struct bytes value;
};

/* True: *state is the new state, to be durable before the promise leaves. False: *ret_conflict is
 * the ballot that stands in the way, and nothing has changed. */
bool register_prepare(struct register_state *state, struct ballot floor, struct ballot ballot,
                      struct ballot *ret_conflict) MUST_USE;
/* The same for accepting; a duplicate of what was accepted is accepted again. */
bool register_accept(struct register_state *state, struct ballot floor, struct ballot ballot,
                     struct bytes value, struct ballot *ret_conflict) MUST_USE;

struct bytes register_state_encode(struct arena *arena, const struct register_state *state);
/* CORRUPT. The value is borrowed. */
enum err register_state_decode(struct bytes bytes, struct register_state *ret_state) MUST_USE;

/* -- proposer
 * ---------------------------------------------------------------------------------------- */

#define REGISTER_ACCEPTORS_MAX REPLICAS_TOTAL_MAX
/* Of a key of a consistent keyspace: a bit each. */
#define REGISTER_REPLICAS_MAX 32u
/* With the ballots beside it, it fits where a record does. */
#define REGISTER_VALUE_BYTES_MAX (RECORD_BYTES_MAX - 128u)

enum register_set { REGISTER_OLD = 1u << 0, REGISTER_NEW = 1u << 1 };

struct register_acceptors {
    uint32_t count;
    struct {
        uint32_t member;
        uint8_t sets; /* enum register_set; in one set only: a cluster at rest */
    } list[REGISTER_ACCEPTORS_MAX];
};

enum register_phase { REGISTER_QUERY, REGISTER_PREPARE, REGISTER_ACCEPT };

enum register_verdict {
    REGISTER_WAIT,      /* for more answers */
    REGISTER_PROPOSE,   /* a majority has promised: change `value`, then register_round_accept() */
    REGISTER_DECIDED,   /* the register holds `value`, and a majority has accepted just that */
    REGISTER_UNDECIDED, /* a query could not tell: prepare */
    REGISTER_CONFLICT,  /* begin again above `seen`; after an accept was sent its outcome is unknown
                         */
    REGISTER_FAILED,    /* no majority can answer any more */
};

/* One round. The value lives in the caller's memory. */
struct register_round {
    struct register_acceptors acceptors;
    enum register_phase phase;
    struct ballot ballot;   /* none while it queries */
    uint32_t answered;      /* bit by place in `acceptors`, this phase */
    uint32_t agreed;        /* of these, the ones that promised or accepted; in a query: answered */
    bool promised_above;    /* a query met a promise above what is accepted */
    struct ballot seen;     /* the greatest of all that was met */
    struct ballot accepted; /* the greatest accepted one, of this phase */
    uint32_t accepted_by;   /* bits: who shows that one */
    struct bytes value;     /* of `accepted` */
};

/* An acceptor's answer, to a query, a prepare or an accept. */
struct register_answer {
    uint32_t member;
    bool failed;            /* could not be asked, or refused for another reason than a ballot */
    bool agreed;            /* promised, or accepted; a query always agrees */
    struct ballot conflict; /* when not agreed */
    struct ballot promised; /* of a query */
    struct ballot accepted; /* of a query or a promise */
    struct bytes value;
};

void register_round_query(struct register_round *round, const struct register_acceptors *acceptors);
void register_round_prepare(struct register_round *round,
                            const struct register_acceptors *acceptors, struct ballot ballot);
/* After PROPOSE: `value` is sent to every acceptor under the round's ballot. */
void register_round_accept(struct register_round *round, struct bytes value);
/* Takes one answer to the phase under way. Answers of other members or second ones change nothing.
 */
enum register_verdict register_round_answer(struct register_round *round,
                                            const struct register_answer *answer);
/* `members` holds a majority of each set that there is; bits by place. */
bool register_majority(const struct register_acceptors *acceptors, uint32_t members);

/* -- an acceptor that begins anew
 * ------------------------------------------------------------------------------------------
 *
 * An acceptor whose memory is gone has given promises and acceptances that count for ever and that
 * it does not know. As long as it says nothing, nothing is wrong: a majority without it has a
 * member in common with every majority there ever was, and that one remembers. To vote again it
 *
 *   1. has an epoch E decided after its loss;
 *   2. lists the keys of the others, all of which have E in force by then and refuse rounds that
 *      were planned before it. A majority of all acceptors lists; who has lost its memory too
 *      refuses older rounds, and lists nothing;
 *   3. has each key settled by a round of E or later, for which it does not vote;
 *   4. has a second epoch F decided, and votes in rounds of F and later alone.
 *
 * Why that is enough. (a) Its former life answered rounds from before E alone, for E was not
 * decided yet when it ended. (b) After the second step nobody promises or accepts anything in those
 * any more. What they can have chosen was chosen before the list, and shows at one of those that
 * listed, for two majorities meet there. What they have proposed had a promise of one who answered
 * the list, and of one who takes part in any settling round: so the settled ballot is above it. (c)
 * The third step leaves each chosen value, or one built on it, with a majority that remembers;
 * every later quorum meets it, whether the acceptor is in it or not. (d) Rounds between E and F
 * have quorums without the acceptor; rounds from F on know one life of it only.
 *
 * Why F: a round of E may have been accepted by a member before it was fenced, and an old round
 * gone over it there with the former life's promise; then the acceptor, asked late, would make a
 * majority for the former. Why everybody and not a majority in the second step: one that was not
 * fenced, together with the former life's promise and one of somebody from before the fence, makes
 * a quorum for an old ballot above the settled one, which the acceptor knows nothing of when it
 * accepts below it (five acceptors). One that is gone for good (topology.h) promises nothing any
 * more and is left out; it counts among `acceptors`. Two of three that were emptied, or the only
 * one, never list a majority: they stay without a vote. What it forgets between its loss and F does
 * no harm, for nothing of it has counted; a loss after F begins again, with other epochs. From E on
 * the acceptor may learn what it is sent, as one whose answers are lost.
 *
 * tests/unit/test_register_renewal.c plays every order of events, and each step left out. */

/* Step 2 is done. Of `acceptors` in all, `others` are those besides the one that begins anew that
 * are not gone; `fenced` have answered in E or later, `listed` of these with all their keys. */
bool register_renewal_listed(uint32_t acceptors, uint64_t others, uint64_t fenced, uint64_t listed);

#endif
