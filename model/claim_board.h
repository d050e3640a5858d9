/* claim_board.h -- the working state of one claim (claim.c) while owners are placed
 * (claim_place.c).
 *
 * A claim goes in three steps: how many partitions each member gets (quotas), a first placing that
 * moves no more than the quotas need, and a search that swaps owners while that brings equal owners
 * or zones further apart. With replicas a last one follows (claim_settle.c), and a change goes from
 * the second to it. Quotas never change after the first step; the last may leave a member beside
 * its quota.
 */
#ifndef MODEL_CLAIM_BOARD_H
#define MODEL_CLAIM_BOARD_H

#include "base/prng.h"
#include "model/claim.h"

#define NOBODY UINT16_MAX       /* no owner, or none before */
#define GONE   (UINT16_MAX - 1) /* the owner before is not a member any more */

struct board {
    const struct claim_input *input;
    struct prng prng; /* of a fixed seed: the same input gives the same output */
    struct {
        uint64_t parts;
        uint64_t of;
    } shares[MEMBERS_MAX];                 /* of partitions, as fractions */
    uint32_t zone_quotas_max[MEMBERS_MAX]; /* by zone index */
    uint32_t quotas[MEMBERS_MAX];
    uint32_t owned[MEMBERS_MAX];
    uint32_t owned_before[MEMBERS_MAX];
    uint16_t zones[MEMBERS_MAX]; /* dense zone indexes */
    uint32_t zone_count;         /* of members that want partitions, as are the windows below */
    uint32_t member_window;
    uint32_t zone_window;
    uint32_t member_cost[PARTITIONS_MIN]; /* of one owner twice, by distance */
    uint32_t zone_cost[PARTITIONS_MIN];
    uint16_t owners[PARTITIONS_MAX];
    uint16_t before[PARTITIONS_MAX];
    uint32_t moved;
    uint32_t moved_min;
    uint32_t moved_max;
};

/* What each member should own, by weight, zones and replicas (claim_shares.c). */
void board_set_shares(struct board *board);
/* Places owners by the quotas and counts the moves: a first ring, or a change of the one before. */
void board_place(struct board *board);
/* Gives places to other members while that makes fewer copies move, or evens out how many a member
 * has (claim_settle.c). */
void board_settle_copies(struct board *board, struct arena *arena);
void board_count_moves(struct board *board);

#endif
