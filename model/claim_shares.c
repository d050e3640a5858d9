#include "model/claim_board.h"

#include "base/check.h"

#include <string.h>

/* What is still to be shared out by weight: `copies` by all of `weight`. */
struct pool {
    uint64_t copies;
    uint64_t weight;
};

static void pool_of_all(const struct board *board, struct pool *ret_pool, uint64_t *zone_weights)
{
    const struct claim_input *input = board->input;
    uint32_t n = input->replicas == 0 ? 1 : input->replicas;
    *ret_pool = (struct pool){.copies = (uint64_t)input->partitions * n};
    for (uint32_t i = 0; i < input->member_count; i++) {
        zone_weights[board->zones[i]] += input->members[i].weight;
        ret_pool->weight += input->members[i].weight;
    }
    CHECK_U64(ret_pool->weight, >, 0);
}

/* Takes out of the pool who would get more than `copies` by weight (or less), one group at a time
 * until none is left: each of them gets `copies`. */
static void pool_fix(struct pool *pool, uint64_t copies, bool more, const uint64_t *weights,
                     uint32_t count, bool *fixed)
{
    for (bool again = true; again;) {
        again = false;
        struct pool before = *pool;
        for (uint32_t i = 0; i < count; i++) {
            if (fixed[i] || weights[i] == 0 || weights[i] == before.weight)
                continue;
            uint64_t share = before.copies * weights[i];
            uint64_t bound = copies * before.weight;
            if (more ? share <= bound : share >= bound)
                continue;
            fixed[i] = true;
            again = true;
            pool->copies -= copies;
            pool->weight -= weights[i];
        }
    }
}

static uint32_t count_some(const uint64_t *weights, uint32_t count)
{
    uint32_t some = 0;
    for (uint32_t i = 0; i < count; i++)
        some += weights[i] != 0;
    return some;
}

void board_set_shares(struct board *board)
{
    const struct claim_input *input = board->input;
    uint64_t partitions = input->partitions;
    uint64_t n = input->replicas == 0 ? 1 : input->replicas;
    uint64_t zone_weights[MEMBERS_MAX] = {0};
    uint64_t weights[MEMBERS_MAX] = {0};
    bool zones_fixed[MEMBERS_MAX] = {false};
    bool fixed[MEMBERS_MAX] = {false};
    struct pool pool;
    pool_of_all(board, &pool, zone_weights);
    for (uint32_t i = 0; i < input->member_count; i++) {
        weights[i] = input->members[i].weight;
        board->zone_quotas_max[i] = input->partitions;
    }
    bool zones_apart = count_some(zone_weights, input->member_count) >= n;
    bool members_apart = count_some(weights, input->member_count) >= n;
    if (n > 1 && members_apart)
        pool_fix(&pool, partitions, zones_apart, zone_weights, input->member_count, zones_fixed);
    for (uint32_t i = 0; i < input->member_count; i++) {
        if (zones_fixed[board->zones[i]])
            weights[i] = 0;
    }
    if (n > 1 && members_apart && !zones_apart)
        pool_fix(&pool, partitions, true, weights, input->member_count, fixed);
    for (uint32_t i = 0; i < input->member_count; i++) {
        uint16_t zone = board->zones[i];
        uint64_t weight = input->members[i].weight;
        board->shares[i].parts = (fixed[i] ? 1 : weight) * partitions;
        board->shares[i].of = fixed[i] ? n : zone_weights[zone] * n;
        if (!fixed[i] && !zones_fixed[zone]) {
            board->shares[i].parts = pool.copies * weight;
            board->shares[i].of = pool.weight * n;
        }
        if (zones_fixed[zone])
            board->zone_quotas_max[zone] = (uint32_t)((partitions + n - 1) / n);
        if (weight == 0) {
            board->shares[i].parts = 0;
            board->shares[i].of = 1;
        }
    }
}
