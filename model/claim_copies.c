#include "model/claim_copies.h"

#include "base/check.h"

#include <string.h>

/* What things cost: a copy to be made anew; the square of the copies outside of what the balance
 * allows; the square of the places beside the share of places. The square of the copies beside the
 * share costs 1: so eight copies beside it are borne rather than moved, if the balance allows them.
 */
#define MOVED_COST   16
#define OUTSIDE_COST 50
#define PLACE_COST   2
/* Per cent of a share. */
#define ALLOWED_MOST  105u
#define ALLOWED_LEAST 95u
/* With fewer partitions for a member on average, a place is much of a share. */
#define PARTITIONS_PER_MEMBER 10u

static uint64_t bit_of(uint32_t index)
{
    return (uint64_t)1 << index;
}

/* Sets have few bits. */
uint32_t copies_count(uint64_t set)
{
    uint32_t count = 0;
    for (; set != 0; set &= set - 1)
        count++;
    return count;
}

/* The copies of one partition, as ring.h has them: the first owners of `apart` zones, and as many
 * of the others as are wanted, the first that the walk meets. */
static uint64_t set_at(struct copies *copies, uint32_t start, uint16_t *ret_reach)
{
    const uint16_t *owners = copies->board->owners;
    uint32_t apart = copies->apart;
    uint32_t spare = copies->wanted - copies->apart;
    uint64_t met = 0;
    uint64_t zones = 0;
    uint64_t taken = 0;
    uint32_t at = start;
    for (; apart + spare > 0; at++) {
        uint16_t owner = owners[at & copies->mask];
        if ((met & bit_of(owner)) != 0)
            continue;
        met |= bit_of(owner);
        if (apart > 0 && (zones & copies->zone_bits[owner]) == 0)
            apart--;
        else if (spare > 0)
            spare--;
        else
            continue;
        zones |= copies->zone_bits[owner];
        taken |= bit_of(owner);
    }
    copies->walked += at - start;
    *ret_reach = (uint16_t)(at - start);
    return taken;
}

static int64_t square_outside(struct copies_range range, int32_t value)
{
    int64_t outside = 0;
    if (value > range.most)
        outside = value - range.most;
    else if (value < range.least)
        outside = range.least - value;
    return outside * outside;
}

static int64_t held_cost(const struct copies *copies, uint32_t member, int32_t held)
{
    return square_outside(copies->shares[member], held) +
           OUTSIDE_COST * square_outside(copies->allowed[member], held);
}

static int64_t place_cost(const struct copies *copies, uint32_t member, int32_t more)
{
    int32_t owned = (int32_t)copies->board->owned[member];
    return PLACE_COST * square_outside(copies->places[member], owned + more);
}

static uint64_t before_at(const struct copies *copies, uint32_t start)
{
    const uint64_t *before = copies->board->input->previous_copies;
    return before == NULL ? UINT64_MAX : before[start];
}

/* Without copies before, nothing is lost. */
static void note_lost(struct copies *copies, uint32_t start)
{
    const uint64_t *before = copies->board->input->previous_copies;
    if (before == NULL)
        return;
    uint64_t *word = &copies->lost[start / 64];
    uint64_t bit = bit_of(start % 64);
    copies->lost_count -= (*word & bit) != 0;
    *word &= ~bit;
    if ((before[start] & ~copies->sets[start]) != 0) {
        *word |= bit;
        copies->lost_count++;
    }
}

static void note_held(struct copies *copies, uint32_t member)
{
    uint64_t bit = bit_of(member);
    copies->over &= ~bit;
    copies->under &= ~bit;
    if (copies->held[member] > copies->shares[member].most)
        copies->over |= bit;
    if (copies->held[member] < copies->shares[member].least)
        copies->under |= bit;
}

static struct copies_range range_of(uint64_t parts, uint64_t of)
{
    return (struct copies_range){.least = (int32_t)(parts / of),
                                 .most = (int32_t)((parts + of - 1) / of)};
}

/* No more than 1.05 of the share, or the share rounded up. Below the share, two places: without
 * that a member could give up copies only where each of its places gives one. In a ring with few
 * places for a member two would be much of its share: one. */
static struct copies_range allowed_of(const struct copies *copies, uint64_t parts, uint64_t of,
                                      struct copies_range share)
{
    const struct claim_input *input = copies->board->input;
    bool coarse = input->partitions < PARTITIONS_PER_MEMBER * input->member_count;
    int32_t below = (int32_t)copies->wanted * (coarse ? 1 : 2);
    int32_t least = share.least > below ? share.least - below : 0;
    struct copies_range allowed = {
        .most = (int32_t)(parts * ALLOWED_MOST / (of * 100)),
        .least = (int32_t)((parts * ALLOWED_LEAST + of * 100 - 1) / (of * 100)),
    };
    allowed.most = allowed.most > share.most ? allowed.most : share.most;
    allowed.least = allowed.least < least ? allowed.least : least;
    return allowed;
}

static void shares_init(struct copies *copies)
{
    const struct board *board = copies->board;
    for (uint32_t i = 0; i < board->input->member_count; i++) {
        uint64_t parts = board->shares[i].parts;
        uint64_t of = board->shares[i].of;
        copies->places[i] = range_of(parts, of);
        copies->shares[i] = range_of(parts * copies->wanted, of);
        copies->allowed[i] = allowed_of(copies, parts * copies->wanted, of, copies->shares[i]);
    }
}

void copies_init(struct copies *copies, struct board *board)
{
    const struct claim_input *input = board->input;
    memset(copies, 0, sizeof *copies);
    memset(board->owned, 0, sizeof board->owned);
    copies->board = board;
    copies->mask = input->partitions - 1;
    for (uint32_t p = 0; p < input->partitions; p++) {
        board->owned[board->owners[p]]++;
        copies->zone_owned[board->zones[board->owners[p]]]++;
    }
    for (uint32_t i = 0; i < input->member_count; i++) {
        copies->members += board->owned[i] != 0;
        copies->zones += copies->zone_owned[i] != 0;
        copies->zone_bits[i] = bit_of(board->zones[i]);
    }
    copies->wanted = input->replicas < copies->members ? input->replicas : copies->members;
    copies->apart = copies->wanted < copies->zones ? copies->wanted : copies->zones;
    shares_init(copies);
    for (uint32_t p = 0; p < input->partitions; p++) {
        copies->sets[p] = set_at(copies, p, &copies->reach[p]);
        copies->cost += MOVED_COST * copies_count(copies->sets[p] & ~before_at(copies, p));
        for (uint64_t left = copies->sets[p]; left != 0; left &= left - 1)
            copies->held[__builtin_ctzll(left)]++;
        note_lost(copies, p);
    }
    for (uint32_t i = 0; i < input->member_count; i++) {
        copies->cost += held_cost(copies, i, copies->held[i]) + place_cost(copies, i, 0);
        note_held(copies, i);
    }
}

static void trial_walk(struct copies *copies, struct trial *trial, uint32_t start)
{
    uint16_t reach = 0;
    uint64_t set = set_at(copies, start, &reach);
    uint64_t old = copies->sets[start];
    uint64_t before = before_at(copies, start);
    trial->sets[trial->count].start = (uint16_t)start;
    trial->sets[trial->count].reach = reach;
    trial->sets[trial->count++].set = set;
    trial->touched |= set ^ old;
    for (uint64_t left = set & ~old; left != 0; left &= left - 1) {
        uint32_t member = (uint32_t)__builtin_ctzll(left);
        trial->held[member]++;
        trial->cost += (before >> member & 1) == 0 ? MOVED_COST : 0;
    }
    for (uint64_t left = old & ~set; left != 0; left &= left - 1) {
        uint32_t member = (uint32_t)__builtin_ctzll(left);
        trial->held[member]--;
        trial->cost -= (before >> member & 1) == 0 ? MOVED_COST : 0;
    }
}

/* Walks anew what looked at the place before, but for starts within `done` places before `other`.
 * Gives how many there were. */
static uint32_t trial_walks(struct copies *copies, struct trial *trial, uint32_t place,
                            uint32_t other, uint32_t done)
{
    uint32_t distance = 0;
    for (; distance <= copies->mask; distance++) {
        uint32_t start = (place - distance) & copies->mask;
        if (copies->reach[start] <= distance)
            break;
        if (((other - start) & copies->mask) >= done)
            trial_walk(copies, trial, start);
    }
    return distance;
}

/* The owners of p and q (or of one place twice) are the new ones already. */
static void trial_fill(struct copies *copies, struct trial *trial, uint32_t p, uint32_t q)
{
    uint32_t done = trial_walks(copies, trial, p, p, 0);
    if (p != q)
        trial_walks(copies, trial, q, p, done);
    for (uint64_t left = trial->touched; left != 0; left &= left - 1) {
        uint32_t member = (uint32_t)__builtin_ctzll(left);
        int32_t held = copies->held[member];
        trial->cost +=
            held_cost(copies, member, held + trial->held[member]) - held_cost(copies, member, held);
    }
}

static void trial_keep(struct copies *copies, const struct trial *trial)
{
    for (uint32_t i = 0; i < trial->count; i++) {
        uint32_t start = trial->sets[i].start;
        copies->sets[start] = trial->sets[i].set;
        copies->reach[start] = trial->sets[i].reach;
        note_lost(copies, start);
    }
    for (uint64_t left = trial->touched; left != 0; left &= left - 1) {
        uint32_t member = (uint32_t)__builtin_ctzll(left);
        copies->held[member] += trial->held[member];
        note_held(copies, member);
    }
    copies->cost += trial->cost;
}

static void trial_clear(struct trial *trial)
{
    for (uint64_t left = trial->touched; left != 0; left &= left - 1)
        trial->held[__builtin_ctzll(left)] = 0;
    trial->touched = 0;
    trial->count = 0;
    trial->cost = 0;
}

/* Whether as many copies, as far apart, can be made when a place of `from` becomes one of `to`. */
static bool may_replace(const struct copies *copies, uint16_t from, uint16_t to)
{
    const struct board *board = copies->board;
    uint16_t zone_from = board->zones[from];
    uint16_t zone_to = board->zones[to];
    if (board->input->members[to].weight == 0)
        return false;
    if (board->owned[from] == 1 && copies->members == copies->wanted)
        return false;
    if (board->owned[to] == 0 && copies->members < board->input->replicas)
        return false;
    if (zone_from == zone_to)
        return true;
    if (copies->zone_owned[zone_from] == 1 && copies->zones == copies->apart)
        return false;
    return copies->zone_owned[zone_to] != 0 || copies->zones >= copies->wanted;
}

static void place_move(struct copies *copies, uint16_t from, uint16_t to)
{
    struct board *board = copies->board;
    uint32_t *zone_from = &copies->zone_owned[board->zones[from]];
    uint32_t *zone_to = &copies->zone_owned[board->zones[to]];
    copies->members -= --board->owned[from] == 0;
    copies->members += board->owned[to]++ == 0;
    copies->zones -= --*zone_from == 0;
    copies->zones += (*zone_to)++ == 0;
}

bool copies_replace(struct copies *copies, struct trial *trial, uint32_t place, uint16_t member)
{
    uint16_t *owner = &copies->board->owners[place];
    uint16_t from = *owner;
    if (from == member || !may_replace(copies, from, member))
        return false;
    trial->cost = place_cost(copies, from, -1) - place_cost(copies, from, 0) +
                  place_cost(copies, member, 1) - place_cost(copies, member, 0);
    *owner = member;
    trial_fill(copies, trial, place, place);
    bool kept = trial->cost <= 0;
    if (kept) {
        trial_keep(copies, trial);
        place_move(copies, from, member);
    } else {
        *owner = from;
    }
    trial_clear(trial);
    return kept;
}

bool copies_swap(struct copies *copies, struct trial *trial, uint32_t p, uint32_t q)
{
    uint16_t *owners = copies->board->owners;
    uint16_t a = owners[p];
    uint16_t b = owners[q];
    if (a == b)
        return false;
    owners[p] = b;
    owners[q] = a;
    trial_fill(copies, trial, p, q);
    bool kept = trial->cost <= 0;
    if (kept) {
        trial_keep(copies, trial);
    } else {
        owners[p] = a;
        owners[q] = b;
    }
    trial_clear(trial);
    return kept;
}
