#include "model/claim_board.h"

#include "base/check.h"

#include <string.h>

/* Sets that are worked out in all; what one copy more to be made costs, against the square of the
 * copies by which a member is over or under its share. */
#define SETS_WORK_MAX (1u << 20)
#define MOVED_COST    4
#define STALL_TURNS   24u /* swaps tried in a row without a gain, per partition */

/* The copies that a ring makes, as ring.h has them: bits by member index. */
struct copies {
    struct board *board;
    uint32_t zones;   /* that have owners */
    uint32_t members; /* that own something */
    uint32_t reach_max;
    uint32_t work;
    uint64_t sets[PARTITIONS_MAX];
    uint16_t reach[PARTITIONS_MAX]; /* places that the walk looks at */
    int32_t held[MEMBERS_MAX];
    int32_t least[MEMBERS_MAX];
    int32_t most[MEMBERS_MAX];
};

static uint64_t bit_of(uint16_t index)
{
    return (uint64_t)1 << index;
}

/* Sets have few bits: no more than the copies of one partition, or the zones. */
static uint32_t count_of(uint64_t set)
{
    uint32_t count = 0;
    for (; set != 0; set &= set - 1)
        count++;
    return count;
}

static uint64_t set_at(struct copies *copies, uint32_t start, uint16_t *ret_reach)
{
    const struct board *board = copies->board;
    uint32_t mask = board->input->partitions - 1;
    uint32_t n = board->input->replicas;
    uint32_t wanted = n < copies->members ? n : copies->members;
    uint32_t apart = wanted < copies->zones ? wanted : copies->zones;
    uint64_t met = 0;
    uint64_t zones = 0;
    uint64_t taken = 0;
    uint16_t spare[MEMBERS_MAX];
    uint32_t taken_count = 0;
    uint32_t spare_count = 0;
    uint32_t step = 0;
    for (; taken_count < apart || taken_count + spare_count < wanted; step++) {
        uint16_t owner = board->owners[(start + step) & mask];
        if ((met & bit_of(owner)) != 0)
            continue;
        met |= bit_of(owner);
        if (taken_count < apart && (zones & bit_of(board->zones[owner])) == 0) {
            zones |= bit_of(board->zones[owner]);
            taken |= bit_of(owner);
            taken_count++;
        } else {
            spare[spare_count++] = owner;
        }
    }
    for (uint32_t i = 0; taken_count < wanted; i++, taken_count++)
        taken |= bit_of(spare[i]);
    copies->work++;
    *ret_reach = (uint16_t)step;
    return taken;
}

static int64_t moved_cost(const struct copies *copies, uint32_t partition, uint64_t set)
{
    const uint64_t *before = copies->board->input->previous_copies;
    if (before == NULL)
        return 0;
    return MOVED_COST * (int64_t)count_of(set & ~before[partition]);
}

static int64_t balance_cost(const struct copies *copies, uint32_t member, int32_t held)
{
    int64_t off = 0;
    if (held > copies->most[member])
        off = held - copies->most[member];
    else if (held < copies->least[member])
        off = copies->least[member] - held;
    return off * off;
}

static void copies_init(struct copies *copies, struct board *board)
{
    const struct claim_input *input = board->input;
    uint64_t zones = 0;
    uint64_t owners = 0;
    memset(copies, 0, sizeof *copies);
    memset(board->owned, 0, sizeof board->owned);
    copies->board = board;
    for (uint32_t p = 0; p < input->partitions; p++) {
        zones |= bit_of(board->zones[board->owners[p]]);
        owners |= bit_of(board->owners[p]);
        board->owned[board->owners[p]]++;
    }
    copies->zones = count_of(zones);
    copies->members = count_of(owners);
    uint32_t n = input->replicas < copies->members ? input->replicas : copies->members;
    for (uint32_t i = 0; i < input->member_count; i++) {
        uint64_t share = board->shares[i].parts / board->shares[i].of;
        uint64_t rest = board->shares[i].parts % board->shares[i].of;
        copies->least[i] = (int32_t)(share * n);
        copies->most[i] = (int32_t)((share + (rest != 0)) * n);
    }
    for (uint32_t p = 0; p < input->partitions; p++) {
        copies->sets[p] = set_at(copies, p, &copies->reach[p]);
        copies->reach_max =
            copies->reach[p] > copies->reach_max ? copies->reach[p] : copies->reach_max;
        for (uint64_t left = copies->sets[p]; left != 0; left &= left - 1)
            copies->held[__builtin_ctzll(left)]++;
    }
}

/* Sets that were worked out anew for a swap. */
struct trial {
    uint32_t count;
    struct {
        uint32_t partition;
        uint64_t set;
        uint16_t reach;
    } sets[2 * PARTITIONS_MAX];
    int32_t held[MEMBERS_MAX];
    int64_t gain;
};

static void trial_add(struct copies *copies, struct trial *trial, uint32_t partition)
{
    uint16_t reach = 0;
    uint64_t set = set_at(copies, partition, &reach);
    uint64_t before = copies->sets[partition];
    trial->sets[trial->count].partition = partition;
    trial->sets[trial->count].set = set;
    trial->sets[trial->count++].reach = reach;
    if (set == before)
        return;
    trial->gain += moved_cost(copies, partition, before) - moved_cost(copies, partition, set);
    for (uint64_t left = set & ~before; left != 0; left &= left - 1)
        trial->held[__builtin_ctzll(left)]++;
    for (uint64_t left = before & ~set; left != 0; left &= left - 1)
        trial->held[__builtin_ctzll(left)]--;
}

/* What walks over p or q, each once. */
static void trial_fill(struct copies *copies, struct trial *trial, uint32_t p, uint32_t q)
{
    uint32_t mask = copies->board->input->partitions - 1;
    trial->count = 0;
    trial->gain = 0;
    memset(trial->held, 0, sizeof trial->held);
    for (uint32_t d = 0; d < copies->reach_max; d++) {
        uint32_t at = (p - d) & mask;
        if (copies->reach[at] > d)
            trial_add(copies, trial, at);
    }
    for (uint32_t d = 0; d < copies->reach_max; d++) {
        uint32_t at = (q - d) & mask;
        uint32_t from_p = (p - at) & mask;
        bool done = from_p < copies->reach_max && copies->reach[at] > from_p;
        if (copies->reach[at] > d && !done)
            trial_add(copies, trial, at);
    }
    for (uint32_t i = 0; i < copies->board->input->member_count; i++) {
        if (trial->held[i] != 0)
            trial->gain += balance_cost(copies, i, copies->held[i]) -
                           balance_cost(copies, i, copies->held[i] + trial->held[i]);
    }
}

static void trial_keep(struct copies *copies, const struct trial *trial)
{
    for (uint32_t i = 0; i < trial->count; i++) {
        copies->sets[trial->sets[i].partition] = trial->sets[i].set;
        copies->reach[trial->sets[i].partition] = trial->sets[i].reach;
        if (trial->sets[i].reach > copies->reach_max)
            copies->reach_max = trial->sets[i].reach;
    }
    for (uint32_t i = 0; i < copies->board->input->member_count; i++)
        copies->held[i] += trial->held[i];
}

static void swap_owners(struct board *board, uint32_t p, uint32_t q)
{
    uint16_t owner = board->owners[p];
    board->owners[p] = board->owners[q];
    board->owners[q] = owner;
}

static int64_t copies_cost(const struct copies *copies)
{
    int64_t cost = 0;
    for (uint32_t i = 0; i < copies->board->input->member_count; i++)
        cost += balance_cost(copies, i, copies->held[i]);
    for (uint32_t p = 0; p < copies->board->input->partitions; p++)
        cost += moved_cost(copies, p, copies->sets[p]);
    return cost;
}

/* A place that `member` owns, from a drawn one on. */
static uint32_t place_of(struct copies *copies, uint16_t member)
{
    const struct board *board = copies->board;
    uint32_t mask = board->input->partitions - 1;
    uint32_t at = (uint32_t)prng_below(&copies->board->prng, board->input->partitions);
    while (board->owners[at] != member)
        at = (at + 1) & mask;
    return at;
}

/* Two places to swap. Where a copy moves: a place that its walk looks at, and one of a member that
 * was there before. Else any, and a near or a far one: near ones keep a tight ring tight, far ones
 * move shares. */
static void draw_places(struct copies *copies, uint32_t turn, uint32_t *ret_p, uint32_t *ret_q)
{
    struct board *board = copies->board;
    uint32_t partitions = board->input->partitions;
    const uint64_t *before = board->input->previous_copies;
    uint32_t p = (uint32_t)prng_below(&board->prng, partitions);
    if (before != NULL && turn % 2 == 0) {
        for (uint32_t i = 0; i < partitions; i++) {
            uint32_t start = (p + i) % partitions;
            uint64_t lost = before[start] & ~copies->sets[start];
            if (lost == 0)
                continue;
            for (uint64_t skip = prng_below(&board->prng, count_of(lost)); skip > 0; skip--)
                lost &= lost - 1;
            uint16_t member = (uint16_t)__builtin_ctzll(lost);
            if (board->owned[member] == 0)
                break;
            *ret_p =
                (uint32_t)((start + prng_below(&board->prng, copies->reach[start])) % partitions);
            *ret_q = place_of(copies, member);
            return;
        }
    }
    uint64_t reach = turn % 4 == 1 ? partitions : board->input->spread + 1;
    *ret_p = p;
    *ret_q = (uint32_t)((p + prng_below(&board->prng, reach)) % partitions);
}

void board_settle_copies(struct board *board, struct arena *arena)
{
    uint32_t partitions = board->input->partitions;
    struct copies *copies = ARENA_NEW(arena, struct copies, 1);
    struct trial *trial = ARENA_NEW(arena, struct trial, 1);
    copies_init(copies, board);
    if (copies_cost(copies) == 0)
        return;
    uint32_t stall = 0;
    for (uint32_t i = 0; stall < STALL_TURNS * partitions && copies->work < SETS_WORK_MAX; i++) {
        uint32_t p = 0;
        uint32_t q = 0;
        draw_places(copies, i, &p, &q);
        if (board->owners[p] == board->owners[q]) {
            stall++;
            continue;
        }
        swap_owners(board, p, q);
        trial_fill(copies, trial, p, q);
        stall = trial->gain > 0 ? 0 : stall + 1;
        if (trial->gain >= 0)
            trial_keep(copies, trial);
        else
            swap_owners(board, p, q);
    }
}
