/* claim_copies.h -- the copies that a ring makes, and what they cost, while owners are changed one
 * place (or two) at a time (claim_settle.c).
 *
 * The cost of a ring is one number: each copy that has to be made anew, the square of the copies by
 * which a member is beside its share, much more for those by which it is outside of what the
 * balance allows, and a little for places, so that keyspaces with fewer copies are balanced too.
 * A changed owner touches only the walks that look at its place, a handful, which are walked anew;
 * their ends never fall behind one another, so they are the last few starts before the place.
 */
#ifndef MODEL_CLAIM_COPIES_H
#define MODEL_CLAIM_COPIES_H

#include "model/claim_board.h"

struct copies_range {
    int32_t least;
    int32_t most;
};

struct copies {
    struct board *board;
    uint32_t mask;    /* Q - 1 */
    uint32_t wanted;  /* copies of a partition */
    uint32_t apart;   /* of them in distinct zones */
    uint32_t members; /* that own a place */
    uint32_t zones;   /* that own a place */
    uint32_t zone_owned[MEMBERS_MAX];
    uint64_t zone_bits[MEMBERS_MAX];           /* by member */
    uint64_t sets[PARTITIONS_MAX];             /* copies by start: bits by member */
    uint16_t reach[PARTITIONS_MAX];            /* places that the walk looks at */
    uint64_t lost[(PARTITIONS_MAX + 63) / 64]; /* starts that have lost a copy */
    uint32_t lost_count;
    uint64_t over; /* members beside their shares */
    uint64_t under;
    int32_t held[MEMBERS_MAX];
    struct copies_range shares[MEMBERS_MAX];  /* rounded down and up */
    struct copies_range allowed[MEMBERS_MAX]; /* what the balance allows */
    struct copies_range places[MEMBERS_MAX];
    int64_t cost;
    uint64_t walked; /* places looked at by all walks */
};

/* Walks that a change touches, as they are after it. */
struct trial {
    uint32_t count;
    struct {
        uint64_t set;
        uint16_t start;
        uint16_t reach;
    } sets[2 * PARTITIONS_MAX];
    uint64_t touched; /* members, by bits */
    int32_t held[MEMBERS_MAX];
    int64_t cost; /* more than before */
};

/* Of the board's owners as they are. */
void copies_init(struct copies *copies, struct board *board);
/* Gives the place to the member, or has two places exchange their owners, if that makes the cost no
 * greater. Whether it did. `trial` is for its use, zeroed before the first. */
bool copies_replace(struct copies *copies, struct trial *trial, uint32_t place, uint16_t member);
bool copies_swap(struct copies *copies, struct trial *trial, uint32_t p, uint32_t q);
uint32_t copies_count(uint64_t set);

#endif
