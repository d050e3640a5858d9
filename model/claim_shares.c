#include "model/claim_board.h"

#include "base/check.h"

#include <assert.h>

/* Levels are copies by weight, with so many bits of fraction: more than tell apart any two levels
 * at which a share reaches a bound, which differ by one part of all weights at least. */
#define LEVEL_BITS 32u
static_assert(PARTITIONS_MAX <= 1u << 10 && MEMBERS_MAX <= 1u << 6 && WEIGHT_MAX <= 1u << 6 &&
                  REPLICAS_MAX < 1u << 3,
              "all members' copies at the highest level fit 64 bits");

/* What bounds the shares: each member holds a partition once. With as many zones as copies so does
 * each zone; with fewer, each zone has all partitions. */
struct bounds {
    const struct board *board;
    uint64_t copies; /* of one partition */
    bool zones_apart;
    uint64_t zone_weights[MEMBERS_MAX];
};

static void bounds_fill(struct bounds *bounds, const struct board *board)
{
    const struct claim_input *input = board->input;
    uint32_t members = 0;
    uint32_t zones = 0;
    *bounds = (struct bounds){.board = board};
    for (uint32_t i = 0; i < input->member_count; i++) {
        uint16_t weight = input->members[i].weight;
        members += weight != 0;
        zones += weight != 0 && bounds->zone_weights[board->zones[i]] == 0;
        bounds->zone_weights[board->zones[i]] += weight;
    }
    CHECK_U64(members, >, 0);
    uint32_t n = input->replicas == 0 ? 1 : input->replicas;
    bounds->copies = n < members ? n : members;
    bounds->zones_apart = zones >= bounds->copies;
}

static bool is_capped(const struct bounds *bounds, uint64_t level, uint32_t member)
{
    uint64_t weight = bounds->board->input->members[member].weight;
    return !bounds->zones_apart && level * weight >= (uint64_t)bounds->board->input->partitions
                                                         << LEVEL_BITS;
}

/* Whether the zone holds all partitions at that level, no more and no fewer; what its members have
 * by themselves otherwise. */
static bool zone_is_fixed(const struct bounds *bounds, uint64_t level, uint32_t zone,
                          uint64_t *ret_copies)
{
    const struct claim_input *input = bounds->board->input;
    uint64_t all = (uint64_t)input->partitions << LEVEL_BITS;
    *ret_copies = 0;
    for (uint32_t i = 0; i < input->member_count; i++) {
        if (bounds->board->zones[i] == zone)
            *ret_copies += is_capped(bounds, level, i) ? all : level * input->members[i].weight;
    }
    return bounds->zones_apart ? *ret_copies > all : *ret_copies < all;
}

static uint64_t copies_at(const struct bounds *bounds, uint64_t level)
{
    uint64_t sum = 0;
    for (uint32_t zone = 0; zone < bounds->board->input->member_count; zone++) {
        uint64_t copies = 0;
        if (bounds->zone_weights[zone] == 0)
            continue;
        if (zone_is_fixed(bounds, level, zone, &copies))
            copies = (uint64_t)bounds->board->input->partitions << LEVEL_BITS;
        sum += copies;
    }
    return sum;
}

/* The greatest level that gives out no more than all copies. */
static uint64_t level_find(const struct bounds *bounds)
{
    uint64_t all = (bounds->copies * bounds->board->input->partitions) << LEVEL_BITS;
    uint64_t low = 0;
    uint64_t high = all;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (copies_at(bounds, middle) <= all)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Shares as even by weight as the bounds allow: a level by weight, and at it those that a bound
 * holds. The level says who they are; what the others share is then an exact fraction. */
void board_set_shares(struct board *board)
{
    const struct claim_input *input = board->input;
    uint64_t partitions = input->partitions;
    struct bounds bounds;
    bounds_fill(&bounds, board);
    uint64_t level = level_find(&bounds);
    uint64_t copies = bounds.copies * partitions; /* of those that no bound holds */
    uint64_t weights = 0;
    bool zones_fixed[MEMBERS_MAX] = {false};
    for (uint32_t zone = 0; zone < input->member_count; zone++) {
        uint64_t ignored = 0;
        zones_fixed[zone] =
            bounds.zone_weights[zone] != 0 && zone_is_fixed(&bounds, level, zone, &ignored);
        board->zone_quotas_max[zone] =
            zones_fixed[zone] ? (uint32_t)((partitions + bounds.copies - 1) / bounds.copies)
                              : input->partitions;
        copies -= zones_fixed[zone] ? partitions : 0;
    }
    for (uint32_t i = 0; i < input->member_count; i++) {
        if (zones_fixed[board->zones[i]])
            continue;
        if (is_capped(&bounds, level, i))
            copies -= partitions;
        else
            weights += input->members[i].weight;
    }
    for (uint32_t i = 0; i < input->member_count; i++) {
        uint64_t weight = input->members[i].weight;
        board->shares[i].parts = copies * weight;
        board->shares[i].of = weights * bounds.copies;
        if (zones_fixed[board->zones[i]]) {
            board->shares[i].parts = partitions * weight;
            board->shares[i].of = bounds.zone_weights[board->zones[i]] * bounds.copies;
        } else if (is_capped(&bounds, level, i)) {
            board->shares[i].parts = partitions;
            board->shares[i].of = bounds.copies;
        }
        if (weight == 0) {
            board->shares[i].parts = 0;
            board->shares[i].of = 1;
        }
    }
}
