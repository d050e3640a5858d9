/* anti_entropy.h -- makes replicas equal, for ever: compares hash trees, hands over what differs,
 * and says as of when which two were the same.
 *
 * Owns:     exchanges under way (at most exchanges_max), the table of ranges (partition, member)
 *           with their turns and proofs, and in STORE_META the rows "anti-entropy/...": dirty
 *           ranges and repair tasks.
 * Receives: tree_roots_reply, tree_read_reply, digest_read_reply, record_fetch_reply,
 *           replica_write_reply, reap_seal_reply, vnode_incomplete, vnode_adopt_done,
 *           vnode_complete_done, record_repair, range_dirty, client_maintenance (repairs),
 *           client_explain, key_explain_reply, store_committed.
 *           What the reaper (reaper.h), a part of it, receives.
 * Sends:    the questions to those answers, to its own replicas and to those of peers;
 *           replica_write (WRITE_ANTI_ENTROPY), reap_seal (without digests: to raise a floor that
 *           lags), client_maintenance_done, client_explain_done.
 * Time:     each range that this node drives has its turn once in interval_ns, spread and
 *           jittered, and within return_spread_ns when a member is back or has started again;
 *           incomplete vnodes, dirty ranges and repairs come first. A question is asked
 *           again after late_ns, doubling; after `tries` the exchange ends and backs off.
 * Memory:   per exchange one page of digests and one of records, and up to 2^16 tree nodes.
 * Source:   Dynamo (SOSP 2007) 4.7; RELIABILITY rule 23.
 *
 * Of two replicas the one with the lower member number drives, except for a range that was marked
 * dirty here, for a vnode of this node that is incomplete, and for a repair.
 *
 * A proof: an exchange begun at T that ended whole has seen both trees after T, has had every
 * difference that it found made durable on the side that lacked it, and so everything that either
 * side held at T is held by both. An exchange in which one question or one write failed proves
 * nothing, whatever the trees say.
 */
#ifndef ACTORS_ANTI_ENTROPY_H
#define ACTORS_ANTI_ENTROPY_H

#include "actors/actor.h"
#include "actors/reaper.h"
#include "base/counter.h"

#define ANTI_ENTROPY_EXCHANGES_MAX 10u
#define ANTI_ENTROPY_WINDOW_MAX    128u

struct anti_entropy;

struct anti_entropy_options {
    uint32_t self;
    uint64_t generation;       /* of this start: keeps answers to an earlier life apart */
    uint32_t partitions;       /* of the topology */
    uint32_t exchanges_max;    /* 2; with fills_max at most ANTI_ENTROPY_EXCHANGES_MAX */
    uint32_t window;           /* records under way in one exchange; 64 */
    uint64_t bytes_per_second; /* to and from peers, all exchanges but fills; 16 MiB */
    uint32_t fills_max;        /* exchanges that fill what a change gives, beside the others; 2 */
    uint64_t fill_bytes_per_second; /* all of those, unless the change says another; 64 MiB */
    uint64_t interval_ns;           /* 1 h */
    uint64_t
        return_spread_ns;    /* all have their turn within this time when a member is back; 30 s */
    uint64_t late_ns;        /* 2 s */
    uint32_t tries;          /* of one question; 4 */
    uint64_t backoff_min_ns; /* 1 s */
    uint64_t backoff_max_ns; /* 15 s */
    struct reaper_options reaper;
};

struct anti_entropy_figures {
    struct counter exchanges;
    struct counter exchanges_equal; /* among them: nothing differed */
    struct counter exchanges_failed;
    struct counter exchanges_running; /* now */
    struct counter brought_forward;   /* times that a member was back */
    struct counter keys_sent;         /* records that a peer made durable */
    struct counter keys_received;     /* and this node */
    struct counter bytes_moved;       /* to and from peers, by the payload */
    struct counter bytes_gained;      /* keys and values that changes have given this node */
    struct counter stale_floor;       /* records refused for their source's floor */
    struct counter floors_raised;
    struct counter asked_again;
    struct counter late;               /* answers to what had ended */
    struct counter ranges;             /* that this node drives, now */
    struct counter ranges_proven;      /* among them, since the start */
    struct counter identical_as_of_ms; /* the oldest among them; 0: some have no proof yet */
    struct counter dirty;              /* ranges, now */
    struct counter dirty_marked;
    struct counter dirty_lost; /* marks that found no room, or a member that is gone */
    struct counter incomplete; /* vnodes being filled, now */
    struct counter completed;
    struct counter gains;        /* (partition, keyspace) that a change gives, being filled, now */
    struct counter gains_filled; /* since the start */
    struct counter refills;      /* among those of now: they are read, and were lost */
    struct counter fills;        /* exchanges for them */
    struct counter fill_bytes;   /* that they have moved */
    struct counter registers_settled;
    struct counter votes;         /* (partition, keyspace) that wait for their votes, now */
    struct counter votes_renewed; /* since the start */
    struct counter renewals;      /* epochs asked for to that end */
    struct counter reports;
    struct counter records_repaired;
    struct counter records_missing; /* that no other replica holds either */
    struct counter records_refused; /* too many at once */
    struct counter tasks;           /* running */
    struct counter explained;
    struct counter store_errors;
    struct counter corrupt; /* answers and rows that cannot be read */
    struct counter unexpected;
};

struct anti_entropy_options anti_entropy_options_default(uint32_t self, uint64_t generation,
                                                         uint32_t partitions);
struct anti_entropy *anti_entropy_new(const struct anti_entropy_options *options);
void anti_entropy_free(struct anti_entropy *anti_entropy);
struct actor *anti_entropy_actor(struct anti_entropy *anti_entropy);
const struct anti_entropy_figures *anti_entropy_figures(const struct anti_entropy *anti_entropy);

const struct reaper_figures *anti_entropy_reaper_figures(const struct anti_entropy *anti_entropy);

/* -- the table of proofs: any thread ------------------------------------------------------------
 */

enum anti_entropy_state {
    ANTI_ENTROPY_WAITING, /* not compared since this node's start */
    ANTI_ENTROPY_RUNNING,
    ANTI_ENTROPY_IDENTICAL,
    ANTI_ENTROPY_FAILED, /* the last attempt proved nothing */
};

struct anti_entropy_proof {
    enum anti_entropy_state state;
    bool driven;                 /* by this node's schedule; else the peer's table says more */
    uint64_t identical_as_of_ms; /* wall clock; 0: no proof since this node's start */
    uint64_t attempted_ms;       /* begin of the last attempt */
    uint64_t keys_repaired;      /* by it, both ways */
    uint64_t bytes_moved;        /* by it */
};

/* False: this node and `member` are no replicas of one vnode. */
bool anti_entropy_proof(const struct anti_entropy *anti_entropy, uint32_t partition,
                        uint32_t member, struct anti_entropy_proof *ret_proof);

#endif
