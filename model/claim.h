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
 * With `replicas` shares and moves are counted in copies instead: an owner that changes touches the
 * sets of all partitions that walk over it. Then owners are swapped while fewer copies move and
 * shares get more even; within one partition of its share each member still is. A bounded search:
 * over many changes it moves less than even shares ask for, single ones (where there are two zones,
 * or more zones than replicas) up to 1.4 times as much (tests/unit/test_topology_plan.c). It takes
 * some 10 ms at Q = 256.
 *
 * Source: Dynamo 6.2 strategy 3; riak_core docs/claim-version4.md for the requirements.
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
    /* N, or 0. With N the shares are those of copies: a partition has no two copies in one zone
     * while there are N zones, so a zone, or a member, that would get more than its Q copies by
     * weight owns Q / N partitions, and the others share the rest. With fewer zones than N each
     * zone has all partitions at least once. */
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
