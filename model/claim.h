/* claim.h -- who owns which partition: a pure function of the members and the owners before.
 *
 * Guarantees for one data centre of S members over Q partitions (Q >= 10 x S recommended):
 *   - max/mean of partitions per weight <= 1.05 where Q allows it (a partition is indivisible: then
 *     every member is within one partition of its share);
 *   - moved partitions <= 1.1 x the minimum that any balanced assignment needs;
 *   - any `spread` neighbours on the ring, wrapping round, on distinct members while S >= spread,
 *     and in distinct zones while enough zones exist; what cannot be had is counted, never hidden;
 *   - the same input gives the same output.
 * Where these pull against each other: balance, then moves, then members apart (near neighbours
 * before far ones), then zones apart. A first claim keeps all windows of `spread` free of repeats
 * whenever the quotas allow it. A change may not (a ring of five that loses one cannot become a
 * strict cycle of four by its few moves): for Q >= 10 x S, equal weights and N = spread - 1 all
 * windows of N stay free of repeats when S >= N + 2 after an addition and S >= 2 x N after a
 * removal (tested for S <= 16, N <= 5).
 *
 * With `replicas` shares and moves are counted in copies instead, and copies come before places: an
 * owner that changes touches the sets of all partitions that walk over it. The fair share of a
 * member is that of a level by weight (claim_shares.c): nobody holds a partition twice, no zone
 * does while there are as many zones as copies, and with fewer each zone has all partitions. The
 * least that a change moves is the cost of a minimum-cost flow: copies from partitions over their
 * zones, one copy a zone where zones suffice, to members that take their fair share rounded down or
 * up; a copy costs 1 where it was not before. That is a lower bound, the minimum over any sets
 * whatever. The sets of a ring are tied together by its walk, so a ring may not reach it.
 *
 *   - Each partition has min(N, members) copies, in as many zones as there are, up to N: always.
 *   - Shares: no member above 1.05 of its fair share, or that share rounded up. Below its share a
 *     member may be by 5 %, or by two places (N copies each); in a ring with fewer than 10
 *     partitions for a member, of which two places would be much, by one.
 *   - Moves: no more than 1.1 times the least.
 * Shares and moves are what a bounded search reaches (claim_settle.c), not what it proves.
 * Over 1..64 members, weights 1..64, 1..9 zones, N 1..5 and Q of 10 x the members or more, about
 * one claim in a thousand has a member a copy above its bound, and some four changes in a hundred
 * move more than 1.1 times the least, two of them by more than N copies beyond; most are changes of
 * a zone (tests/unit/test_claim_copies.c). At Q = 256 with 62 members a change takes 1 to 5 ms,
 * where there are fewer zones than copies up to 12; a first ring 1 to 11 ms. At Q = 1024 a claim
 * takes up to some 100 ms.
 * A ring with 3 to 9 partitions for a member is no less exact, but one claim in fifteen has a
 * member a copy above its bound, and all changes together move 1.15 times the least: few sets can
 * be had.
 *
 * Source: Dynamo 6.2 strategy 3; riak_core docs/claim-version4.md for the requirements; the flow is
 * that of Ahuja, Magnanti, Orlin, Network Flows, chapter 9.
 */
#ifndef MODEL_CLAIM_H
#define MODEL_CLAIM_H

#include "base/arena.h"
#include "model/limits.h"

/* N of the default keyspace and one fallback. */
#define CLAIM_SPREAD_DEFAULT 4u

struct claim_member {
    uint32_t number;
    uint16_t weight; /* 0 = gives up everything (leaving) */
    uint16_t zone;   /* any number; equal = same zone */
};

struct claim_input {
    const struct claim_member *members; /* ordered by number, 1..MEMBERS_MAX of them */
    uint32_t member_count;
    uint32_t partitions;      /* Q */
    uint32_t spread;          /* 1..PARTITIONS_MIN neighbours that should differ: N + 1 */
    const uint32_t *previous; /* Q owners before, MEMBER_NONE = nobody; NULL = first claim */
    /* N, or 0: shares are those of places. */
    uint32_t replicas;
    /* With `replicas`: the copies of each partition before, bits by index of `members`; those of
     * members that are not listed left out. NULL: there are none. */
    const uint64_t *previous_copies;
};

struct claim_result {
    uint32_t *owners;           /* Q member numbers, in the arena */
    uint32_t moved;             /* partitions whose previous owner was somebody else (not nobody) */
    uint32_t moved_min;         /* the least that balance alone needs */
    uint32_t member_violations; /* windows of `spread` neighbours with a member twice */
    /* Windows of min(spread, number of zones) neighbours with a zone twice. */
    uint32_t zone_violations;
};

/* At least one member has weight > 0. */
struct claim_result claim(struct arena *arena, const struct claim_input *input);

#endif
