#include "model/claim_board.h"

#include "base/check.h"

#define MOVED_EXTRA_DIVISOR 10u /* moves beyond the minimum: a tenth of it */
/* More than all zones in a window can cost: at most 14 neighbours at 64 each. */
#define MEMBER_COST 4096u
/* Bounds on the search: places looked at in all, and rounds in a row without a gain. */
#define SEARCH_WORK_MAX  (1u << 19)
#define SEARCH_STALL_MIN 64u
#define MIX_TURNS        32u /* swaps tried per partition */

/* Near repeats cost more than far ones, so that where not all of `spread` neighbours can differ,
 * the first few still do. A member twice outweighs any zones. */
static void board_set_costs(struct board *board)
{
    const struct claim_input *input = board->input;
    bool zone_used[MEMBERS_MAX] = {false};
    uint32_t takers = 0;
    for (uint32_t i = 0; i < input->member_count; i++) {
        if (board->quotas[i] == 0)
            continue;
        takers++;
        board->zone_count += !zone_used[board->zones[i]];
        zone_used[board->zones[i]] = true;
    }
    uint32_t spread = input->spread;
    board->member_window = takers < spread ? takers : spread;
    board->zone_window = board->zone_count < spread ? board->zone_count : spread;
    for (uint32_t d = 1; d < board->member_window; d++) {
        uint32_t nearness = board->member_window - 1 - d;
        board->member_cost[d] = MEMBER_COST << (3 * (nearness < 5 ? nearness : 5));
    }
    for (uint32_t d = 1; d < board->zone_window; d++) {
        uint32_t nearness = board->zone_window - 1 - d;
        board->zone_cost[d] = 1u << (2 * (nearness < 3 ? nearness : 3));
    }
}

/* What it costs that `member` owns the partition, given the neighbours. */
static uint32_t board_cost_at(const struct board *board, uint32_t partition, uint16_t member)
{
    uint32_t mask = board->input->partitions - 1;
    uint32_t cost = 0;
    for (uint32_t d = 1; d < board->member_window || d < board->zone_window; d++) {
        uint16_t after = board->owners[(partition + d) & mask];
        uint16_t ahead = board->owners[(partition - d) & mask];
        if (after != NOBODY)
            cost += (after == member) * board->member_cost[d] +
                    (board->zones[after] == board->zones[member]) * board->zone_cost[d];
        if (ahead != NOBODY)
            cost += (ahead == member) * board->member_cost[d] +
                    (board->zones[ahead] == board->zones[member]) * board->zone_cost[d];
    }
    return cost;
}

static uint64_t board_cost(const struct board *board)
{
    uint64_t cost = 0;
    for (uint32_t p = 0; p < board->input->partitions; p++)
        cost += board_cost_at(board, p, board->owners[p]);
    return cost;
}

/* Lays `counts` out in a circle, equal ones far apart: as many rounds as the greatest count, the
 * items dealt to the rounds in turn, the most numerous first. Equal neighbours are then at least
 * total / greatest apart, rounded down, which is the best that can be had. */
static void deal(const uint16_t *order, const uint32_t *counts, uint32_t count, uint16_t *ret_items)
{
    uint16_t items[PARTITIONS_MAX];
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < counts[order[i]]; k++)
            items[total++] = order[i];
    }
    uint32_t rounds = count == 0 ? 0 : counts[order[0]];
    uint32_t next = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t k = round; k < total; k += rounds)
            ret_items[next++] = items[k];
    }
}

/* Orders indexes by count, the greatest first; equal ones by rank, then as they were. */
static void order_by_count(uint16_t *order, const uint32_t *counts, const uint32_t *ranks,
                           uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint16_t moving = order[i];
        uint32_t k = i;
        for (; k > 0; k--) {
            uint16_t left = order[k - 1];
            bool stays = counts[left] > counts[moving] ||
                         (counts[left] == counts[moving] && ranks[left] <= ranks[moving]);
            if (stays)
                break;
            order[k] = left;
        }
        order[k] = moving;
    }
}

/* Members dealt out with no regard to zones, but equal quotas in turns of zones. */
static void board_deal_members(struct board *board)
{
    uint16_t order[MEMBERS_MAX];
    uint32_t ranks[MEMBERS_MAX];
    uint32_t seen[MEMBERS_MAX] = {0};
    for (uint16_t i = 0; i < board->input->member_count; i++) {
        order[i] = i;
        ranks[i] = seen[board->zones[i]]++;
    }
    order_by_count(order, board->quotas, ranks, board->input->member_count);
    deal(order, board->quotas, board->input->member_count, board->owners);
}

/* Zones dealt out first, then each zone's places to its members. */
static void board_deal_zones(struct board *board)
{
    uint32_t count = board->input->member_count;
    uint16_t order[MEMBERS_MAX];
    uint32_t no_ranks[MEMBERS_MAX] = {0};
    uint32_t zone_quotas[MEMBERS_MAX] = {0};
    for (uint16_t i = 0; i < count; i++) {
        order[i] = i;
        zone_quotas[board->zones[i]] += board->quotas[i];
    }
    order_by_count(order, zone_quotas, no_ranks, count);
    uint16_t places[PARTITIONS_MAX];
    deal(order, zone_quotas, count, places);
    for (uint16_t zone = 0; zone < count; zone++) {
        uint32_t inside = 0;
        for (uint16_t i = 0; i < count; i++) {
            if (board->zones[i] == zone)
                order[inside++] = i;
        }
        order_by_count(order, board->quotas, no_ranks, inside);
        uint16_t turns[PARTITIONS_MAX];
        deal(order, board->quotas, inside, turns);
        uint32_t next = 0;
        for (uint32_t p = 0; p < board->input->partitions; p++) {
            if (places[p] == zone)
                board->owners[p] = turns[next++];
        }
    }
}

static void board_place_first(struct board *board)
{
    uint16_t by_members[PARTITIONS_MAX];
    size_t size = board->input->partitions * sizeof *by_members;
    board_deal_members(board);
    uint64_t cost = board_cost(board);
    memcpy(by_members, board->owners, size);
    board_deal_zones(board);
    if (cost <= board_cost(board))
        memcpy(board->owners, by_members, size);
}

/* The partition that `taker` had best take: one without owner, or of one above its quota. Of equal
 * ones, any (drawn) or the first. */
static uint32_t board_find_gain(struct board *board, uint16_t taker, bool drawn)
{
    uint32_t best = PARTITIONS_MAX;
    uint32_t equals = 0;
    int64_t best_cost = INT64_MAX;
    for (uint32_t p = 0; p < board->input->partitions; p++) {
        uint16_t owner = board->owners[p];
        if (owner != NOBODY && board->owned[owner] <= board->quotas[owner])
            continue;
        int64_t cost = board_cost_at(board, p, taker);
        if (owner != NOBODY)
            cost -= board_cost_at(board, p, owner);
        if (cost > best_cost)
            continue;
        equals = cost < best_cost ? 1 : equals + 1;
        best_cost = cost;
        if (equals == 1 || (drawn && prng_below(&board->prng, equals) == 0))
            best = p;
    }
    CHECK_U64(best, !=, PARTITIONS_MAX);
    return best;
}

/* Keeps what the quotas allow, and lets those below theirs take turns in taking the rest. */
static void board_place_again(struct board *board, bool drawn)
{
    uint32_t count = board->input->member_count;
    for (uint32_t p = 0; p < board->input->partitions; p++)
        board->owners[p] = board->before[p] < GONE ? board->before[p] : NOBODY;
    memcpy(board->owned, board->owned_before, sizeof board->owned);
    for (;;) {
        uint16_t taker = NOBODY;
        uint32_t most = 0;
        for (uint16_t i = 0; i < count; i++) {
            if (board->owned[i] < board->quotas[i] && board->quotas[i] - board->owned[i] > most) {
                most = board->quotas[i] - board->owned[i];
                taker = i;
            }
        }
        if (taker == NOBODY)
            break;
        uint32_t place = board_find_gain(board, taker, drawn);
        if (board->owners[place] != NOBODY)
            board->owned[board->owners[place]]--;
        board->owners[place] = taker;
        board->owned[taker]++;
    }
}

static int moves_of(const struct board *board, uint32_t partition, uint16_t owner)
{
    return board->before[partition] != NOBODY && board->before[partition] != owner;
}

void board_count_moves(struct board *board)
{
    uint32_t partitions = board->input->partitions;
    uint32_t kept = 0;
    uint32_t owned = 0;
    board->moved = 0;
    for (uint32_t p = 0; p < partitions; p++) {
        owned += board->before[p] != NOBODY;
        board->moved += (uint32_t)moves_of(board, p, board->owners[p]);
    }
    for (uint32_t i = 0; i < board->input->member_count; i++)
        kept +=
            board->owned_before[i] < board->quotas[i] ? board->owned_before[i] : board->quotas[i];
    /* Partitions of nobody are filled by whoever lacks some, which moves nothing. */
    board->moved_min = owned - kept;
    board->moved_max = board->moved_min + board->moved_min / MOVED_EXTRA_DIVISOR;
}

static void swap_owners(struct board *board, uint32_t a, uint32_t b)
{
    uint16_t owner = board->owners[a];
    board->owners[a] = board->owners[b];
    board->owners[b] = owner;
}

/* How much less it costs when p and q swap owners. */
static int64_t swap_gain(struct board *board, uint32_t p, uint32_t q)
{
    uint16_t a = board->owners[p];
    uint16_t b = board->owners[q];
    int64_t gain = (int64_t)board_cost_at(board, p, a) + board_cost_at(board, q, b);
    swap_owners(board, p, q);
    gain -= (int64_t)board_cost_at(board, p, b) + board_cost_at(board, q, a);
    swap_owners(board, p, q);
    return gain;
}

/* Mixes a first placing by swaps that cost nothing. A dealt ring repeats itself, so a member would
 * have the same few neighbours everywhere: they alone would stand in for it when it fails, and none
 * of them could take over its places when it leaves. */
static void board_mix(struct board *board)
{
    uint32_t partitions = board->input->partitions;
    for (uint32_t i = 0; i < MIX_TURNS * partitions; i++) {
        uint32_t p = (uint32_t)prng_below(&board->prng, partitions);
        /* In a tight ring only near ones can swap. */
        uint64_t reach = i % 2 == 0 ? partitions : board->input->spread + 1;
        uint32_t q = (uint32_t)((p + prng_below(&board->prng, reach)) % partitions);
        if (board->owners[p] != board->owners[q] && swap_gain(board, p, q) >= 0)
            swap_owners(board, p, q);
    }
}

struct swap {
    uint32_t partner;
    int64_t gain;
    int moves;
};

/* The best partner to swap owners with; of equal ones, any (drawn). */
static struct swap board_find_swap(struct board *board, uint32_t p)
{
    struct swap best = {.partner = PARTITIONS_MAX, .gain = INT64_MIN};
    uint32_t equals = 0;
    for (uint32_t q = 0; q < board->input->partitions; q++) {
        uint16_t a = board->owners[p];
        uint16_t b = board->owners[q];
        if (a == b)
            continue;
        int moves = moves_of(board, p, b) + moves_of(board, q, a) - moves_of(board, p, a) -
                    moves_of(board, q, b);
        if (moves > 0 && board->moved + (uint32_t)moves > board->moved_max)
            continue;
        int64_t gain = swap_gain(board, p, q);
        if (gain < best.gain)
            continue;
        equals = gain > best.gain ? 1 : equals + 1;
        if (prng_below(&board->prng, equals) == 0)
            best = (struct swap){.partner = q, .gain = gain, .moves = moves};
    }
    return best;
}

/* Takes the costly places in turn and swaps owners where that costs less, or at least not more. */
static void board_search(struct board *board)
{
    uint32_t partitions = board->input->partitions;
    uint32_t stall_max = SEARCH_STALL_MIN + 2 * partitions;
    uint32_t stall = 0;
    uint32_t idle = 0; /* places in a row that cost nothing */
    uint32_t work = 0;
    for (uint32_t p = 0; idle < partitions && stall < stall_max; p = (p + 1) % partitions) {
        if (board_cost_at(board, p, board->owners[p]) == 0) {
            idle++;
            continue;
        }
        idle = 0;
        work += partitions;
        if (work > SEARCH_WORK_MAX)
            break;
        struct swap swap = board_find_swap(board, p);
        stall = swap.gain > 0 ? 0 : stall + 1;
        if (swap.gain < 0)
            continue;
        swap_owners(board, p, swap.partner);
        board->moved = (uint32_t)((int)board->moved + swap.moves);
    }
}

static void board_claim_first(struct board *board)
{
    board_place_first(board);
    board_count_moves(board);
    board_search(board);
    board_mix(board);
}

/* Placing by draw leaves a member different neighbours everywhere, as a later change needs; placing
 * in ring order packs better. The second is for rings too tight for the first. */
static void board_claim_again(struct board *board)
{
    board_place_again(board, true);
    if (board->input->replicas != 0)
        return; /* the copies decide where owners had better be (claim_settle.c) */
    board_count_moves(board);
    board_search(board);
    uint64_t cost = board_cost(board);
    if (cost == 0)
        return;
    uint16_t drawn[PARTITIONS_MAX];
    size_t size = board->input->partitions * sizeof *drawn;
    memcpy(drawn, board->owners, size);
    board_place_again(board, false);
    board_count_moves(board);
    board_search(board);
    if (cost <= board_cost(board)) {
        memcpy(board->owners, drawn, size);
        board_count_moves(board);
    }
}

void board_place(struct board *board)
{
    board_set_costs(board);
    if (board->input->previous == NULL)
        board_claim_first(board);
    else
        board_claim_again(board);
}
