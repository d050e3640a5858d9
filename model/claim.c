#include "model/claim.h"

#include "base/check.h"
#include "model/claim_board.h"
#include "model/topology.h"

#define BALANCE_PERCENT_MAX 105u
#define CLAIM_SEED          0x636c61696du

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
                            uint32_t b)
{
    uint32_t zone_a = board->zones[a];
    uint32_t zone_b = board->zones[b];
    bool room_a = zone_quotas[zone_a] < board->zone_quotas_max[zone_a];
    bool room_b = zone_quotas[zone_b] < board->zone_quotas_max[zone_b];
    if (room_a != room_b)
        return room_a;
    /* What it is full with, as a part of its share. */
    uint64_t full_a = (board->quotas[a] + 1) * board->shares[a].of;
    uint64_t full_b = (board->quotas[b] + 1) * board->shares[b].of;
    bool over_a = full_a * 100 > BALANCE_PERCENT_MAX * board->shares[a].parts;
    bool over_b = full_b * 100 > BALANCE_PERCENT_MAX * board->shares[b].parts;
    if (over_a != over_b)
        return over_b;
    bool keeps_a = board->owned_before[a] > board->quotas[a];
    bool keeps_b = board->owned_before[b] > board->quotas[b];
    if (keeps_a != keeps_b)
        return keeps_a;
    uint64_t load_a = full_a * board->shares[b].parts;
    uint64_t load_b = full_b * board->shares[a].parts;
    if (load_a != load_b)
        return load_a < load_b;
    return zone_quotas[zone_a] < zone_quotas[zone_b];
}

/* Shares that bounds have cut add up to less than the ring: everybody with a weight may take one
 * more.
 */
static uint32_t next_round(const struct board *board, bool *may_grow)
{
    uint32_t first = MEMBERS_MAX;
    for (uint32_t i = 0; i < board->input->member_count; i++) {
        may_grow[i] = board->input->members[i].weight != 0;
        if (may_grow[i] && (first == MEMBERS_MAX || board->quotas[i] < board->quotas[first]))
            first = i;
    }
    CHECK_U64(first, !=, MEMBERS_MAX);
    return first;
}

/* Every member gets its share rounded down or up. Who is rounded up: first whom it keeps within the
 * balance, then who keeps a partition by it. */
static void board_set_quotas(struct board *board)
{
    const struct claim_input *input = board->input;
    uint32_t zone_quotas[MEMBERS_MAX] = {0};
    bool may_grow[MEMBERS_MAX];
    uint32_t left = input->partitions;
    for (uint32_t i = 0; i < input->member_count; i++) {
        board->quotas[i] = (uint32_t)(board->shares[i].parts / board->shares[i].of);
        may_grow[i] = board->shares[i].parts % board->shares[i].of != 0;
        zone_quotas[board->zones[i]] += board->quotas[i];
        CHECK_U64(board->quotas[i], <=, left);
        left -= board->quotas[i];
    }
    for (; left > 0; left--) {
        uint32_t best = MEMBERS_MAX;
        for (uint32_t i = 0; i < input->member_count; i++) {
            if (may_grow[i] &&
                (best == MEMBERS_MAX || extra_is_better(board, zone_quotas, i, best)))
                best = i;
        }
        if (best == MEMBERS_MAX)
            best = next_round(board, may_grow);
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
    prng_init(&board.prng, CLAIM_SEED, input->partitions);
    board_read_previous(&board);
    board_set_zones(&board);
    board_set_shares(&board);
    board_set_quotas(&board);
    board_place(&board);
    if (input->replicas != 0) {
        board_settle_copies(&board, arena);
        board_count_moves(&board);
    }
    return board_result(&board, arena);
}
