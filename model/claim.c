#include "model/claim.h"

#include "base/check.h"
#include "base/prng.h"
#include "model/topology.h"

#include <stdlib.h>

/* A claim goes in three steps: how many partitions each member gets (quotas), a first placing that
 * moves no more than the quotas need, and a search that swaps owners while that brings equal owners
 * or zones further apart. Quotas never change after the first step. */

#define NOBODY UINT16_MAX       /* no owner, or none before */
#define GONE   (UINT16_MAX - 1) /* the owner before is not a member any more */

#define BALANCE_PERCENT_MAX 105u
#define MOVED_EXTRA_DIVISOR 10u /* moves beyond the minimum: a tenth of it */
#define SEARCH_SEED         0x636c61696du
/* More than all zones in a window can cost: at most 14 neighbours at 64 each. */
#define MEMBER_COST 4096u
/* Bounds on the search: places looked at in all, and rounds in a row without a gain. */
#define SEARCH_WORK_MAX  (1u << 19)
#define SEARCH_STALL_MIN 64u
#define MIX_TURNS        32u /* swaps tried per partition */

struct board {
    const struct claim_input *input;
    struct prng prng; /* of a fixed seed: the same input gives the same output */
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

static uint16_t member_index(const struct claim_input *input, uint32_t number)
{
    for (uint16_t i = 0; i < input->member_count; i++) {
        if (input->members[i].number == number)
            return i;
    }
    return GONE;
}

static void board_read_previous(struct board *board)
{
    const struct claim_input *input = board->input;
    for (uint32_t p = 0; p < input->partitions; p++) {
        uint32_t number = input->previous == NULL ? MEMBER_NONE : input->previous[p];
        board->before[p] = number == MEMBER_NONE ? NOBODY : member_index(input, number);
        if (board->before[p] < GONE)
            board->owned_before[board->before[p]]++;
    }
}

/* Whether member a rather than b should get one partition above its floor. */
static bool extra_is_better(const struct board *board, const uint32_t *zone_quotas, uint32_t a,
                            uint32_t b, uint64_t weight_sum)
{
    const struct claim_member *members = board->input->members;
    uint64_t partitions = board->input->partitions;
    uint64_t full_a = board->quotas[a] + 1;
    uint64_t full_b = board->quotas[b] + 1;
    bool over_a = full_a * weight_sum * 100 > BALANCE_PERCENT_MAX * partitions * members[a].weight;
    bool over_b = full_b * weight_sum * 100 > BALANCE_PERCENT_MAX * partitions * members[b].weight;
    if (over_a != over_b)
        return over_b;
    bool keeps_a = board->owned_before[a] >= full_a;
    bool keeps_b = board->owned_before[b] >= full_b;
    if (keeps_a != keeps_b)
        return keeps_a;
    uint64_t load_a = full_a * members[b].weight;
    uint64_t load_b = full_b * members[a].weight;
    if (load_a != load_b)
        return load_a < load_b;
    return zone_quotas[board->zones[a]] < zone_quotas[board->zones[b]];
}

/* Every member gets its share Q * weight / sum rounded down or up. Who is rounded up: first whom it
 * keeps within the balance, then who keeps a partition by it. */
static void board_set_quotas(struct board *board)
{
    const struct claim_input *input = board->input;
    uint64_t weight_sum = 0;
    for (uint32_t i = 0; i < input->member_count; i++)
        weight_sum += input->members[i].weight;
    CHECK_U64(weight_sum, >, 0);
    uint32_t zone_quotas[MEMBERS_MAX] = {0};
    bool may_grow[MEMBERS_MAX];
    uint32_t left = input->partitions;
    for (uint32_t i = 0; i < input->member_count; i++) {
        uint64_t scaled = (uint64_t)input->partitions * input->members[i].weight;
        board->quotas[i] = (uint32_t)(scaled / weight_sum);
        may_grow[i] = scaled % weight_sum != 0;
        zone_quotas[board->zones[i]] += board->quotas[i];
        left -= board->quotas[i];
    }
    for (; left > 0; left--) {
        uint32_t best = MEMBERS_MAX;
        for (uint32_t i = 0; i < input->member_count; i++) {
            if (may_grow[i] &&
                (best == MEMBERS_MAX || extra_is_better(board, zone_quotas, i, best, weight_sum)))
                best = i;
        }
        CHECK_U64(best, !=, MEMBERS_MAX);
        may_grow[best] = false;
        board->quotas[best]++;
        zone_quotas[board->zones[best]]++;
    }
}

static void board_set_zones(struct board *board)
{
    const struct claim_input *input = board->input;
    uint16_t names[MEMBERS_MAX];
    uint16_t count = 0;
    for (uint32_t i = 0; i < input->member_count; i++) {
        uint16_t zone = 0;
        while (zone < count && names[zone] != input->members[i].zone)
            zone++;
        if (zone == count)
            names[count++] = input->members[i].zone;
        board->zones[i] = zone;
    }
}

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

static void board_count_moves(struct board *board)
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

/* Windows of `window` neighbours in which a label stands twice. */
static uint32_t count_violations(const uint16_t *labels, uint32_t partitions, uint32_t window)
{
    uint32_t violations = 0;
    for (uint32_t start = 0; start < partitions; start++) {
        bool twice = false;
        for (uint32_t i = 0; i < window && !twice; i++) {
            for (uint32_t j = i + 1; j < window && !twice; j++)
                twice = labels[(start + i) % partitions] == labels[(start + j) % partitions];
        }
        violations += twice;
    }
    return violations;
}

static uint32_t zones_with_weight(const struct board *board)
{
    bool used[MEMBERS_MAX] = {false};
    uint32_t count = 0;
    for (uint32_t i = 0; i < board->input->member_count; i++) {
        if (board->input->members[i].weight == 0 || used[board->zones[i]])
            continue;
        used[board->zones[i]] = true;
        count++;
    }
    return count;
}

static struct claim_result board_result(const struct board *board, struct arena *arena)
{
    const struct claim_input *input = board->input;
    struct claim_result result = {
        .owners = ARENA_NEW(arena, uint32_t, input->partitions),
        .moved = board->moved,
        .moved_min = board->moved_min,
    };
    uint16_t zones[PARTITIONS_MAX];
    for (uint32_t p = 0; p < input->partitions; p++) {
        result.owners[p] = input->members[board->owners[p]].number;
        zones[p] = board->zones[board->owners[p]];
    }
    uint32_t zone_count = zones_with_weight(board);
    uint32_t zone_window = zone_count < input->spread ? zone_count : input->spread;
    result.member_violations = count_violations(board->owners, input->partitions, input->spread);
    result.zone_violations = count_violations(zones, input->partitions, zone_window);
    return result;
}

struct claim_result claim(struct arena *arena, const struct claim_input *input)
{
    CHECK_U64(input->member_count, >, 0);
    CHECK_U64(input->member_count, <=, MEMBERS_MAX);
    CHECK_U64(input->partitions, >=, PARTITIONS_MIN);
    CHECK_U64(input->partitions, <=, PARTITIONS_MAX);
    CHECK((input->partitions & (input->partitions - 1)) == 0);
    CHECK_U64(input->spread, >, 0);
    CHECK_U64(input->spread, <=, PARTITIONS_MIN);
    struct board board = {.input = input};
    prng_init(&board.prng, SEARCH_SEED, input->partitions);
    board_read_previous(&board);
    board_set_zones(&board);
    board_set_quotas(&board);
    board_set_costs(&board);
    if (input->previous == NULL)
        board_claim_first(&board);
    else
        board_claim_again(&board);
    return board_result(&board, arena);
}
