#include "model/claim_copies.h"

#include <string.h>

/* Bounds on the search, by partitions (a small ring counts as one of 256): changes tried in a row
 * without a gain, and places that walks look at, in all. */
#define STALL_TURNS    60u
#define WALKED_MAX     12288u
#define PARTITIONS_LOW 256u

static uint32_t draw_place(struct copies *copies)
{
    return (uint32_t)prng_u64(&copies->board->prng) & copies->mask;
}

static uint16_t draw_member(struct copies *copies, uint64_t set)
{
    for (uint64_t skip = prng_below(&copies->board->prng, copies_count(set)); skip > 0; skip--)
        set &= set - 1;
    return (uint16_t)__builtin_ctzll(set);
}

/* A place that the member owns, from a drawn one on; one that owns nothing has none. */
static bool draw_place_of(struct copies *copies, uint16_t member, uint32_t *ret_place)
{
    if (copies->board->owned[member] == 0)
        return false;
    *ret_place = draw_place(copies);
    while (copies->board->owners[*ret_place] != member)
        *ret_place = (*ret_place + 1) & copies->mask;
    return true;
}

/* As far away as makes a tight ring no looser. */
static uint32_t draw_near(struct copies *copies, uint32_t place)
{
    return (place + 1 + (uint32_t)prng_below(&copies->board->prng, copies->wanted + 2)) &
           copies->mask;
}

/* A start that has lost a copy, from a drawn one on. There is one. */
static uint32_t draw_lost(struct copies *copies)
{
    uint32_t words = (copies->mask + 64) / 64;
    uint32_t at = draw_place(copies);
    uint32_t word = at / 64;
    uint64_t bits = copies->lost[word] >> at % 64 << at % 64;
    while (bits == 0) {
        word = (word + 1) % words;
        bits = copies->lost[word];
    }
    return word * 64 + (uint32_t)__builtin_ctzll(bits);
}

/* The place becomes the member's: as it is, or for one that it has elsewhere. */
static bool give(struct copies *copies, struct trial *trial, uint32_t place, uint16_t member,
                 bool swap)
{
    uint32_t other = 0;
    if (swap && draw_place_of(copies, member, &other))
        return copies_swap(copies, trial, place, other);
    return copies_replace(copies, trial, place, member);
}

/* A place in the walk of a start that has lost a copy: that of a newcomer, or any. */
static uint32_t draw_lost_place(struct copies *copies, uint32_t start, bool of_new)
{
    uint64_t added = copies->sets[start] & ~copies->board->input->previous_copies[start];
    uint32_t place = start;
    if (!of_new || added == 0)
        return (start + (uint32_t)prng_below(&copies->board->prng, copies->reach[start])) &
               copies->mask;
    uint16_t newcomer = draw_member(copies, added);
    while (copies->board->owners[place] != newcomer)
        place = (place + 1) & copies->mask;
    return place;
}

/* A member that has lost a copy has a place again that the walk looks at. */
static bool try_lost(struct copies *copies, struct trial *trial, bool swap, bool of_new)
{
    uint32_t start = draw_lost(copies);
    uint64_t before = copies->board->input->previous_copies[start];
    uint16_t member = draw_member(copies, before & ~copies->sets[start]);
    return give(copies, trial, draw_lost_place(copies, start, of_new), member, swap);
}

/* A member that holds too little takes a place: of one that holds too much, where a copy moves
 * anyway, or any. */
static bool try_under(struct copies *copies, struct trial *trial, bool swap, uint32_t where)
{
    uint16_t member = draw_member(copies, copies->under);
    uint32_t place = draw_place(copies);
    if (where <= 1 && copies->over != 0)
        draw_place_of(copies, draw_member(copies, copies->over), &place);
    else if (where == 2 && copies->lost_count != 0)
        place = draw_lost_place(copies, draw_lost(copies), true);
    return give(copies, trial, place, member, swap);
}

/* A member that holds too much gives up a place, or exchanges it with one near it. */
static bool try_over(struct copies *copies, struct trial *trial, bool swap)
{
    uint32_t place = draw_place(copies);
    draw_place_of(copies, draw_member(copies, copies->over), &place);
    if (swap)
        return copies_swap(copies, trial, place, draw_near(copies, place));
    return copies_replace(copies, trial, place, copies->board->owners[draw_place(copies)]);
}

/* Any change: those that cost nothing lead to where others gain. */
static bool try_any(struct copies *copies, struct trial *trial, bool swap, bool near)
{
    uint32_t place = draw_place(copies);
    uint32_t other = swap && near ? draw_near(copies, place) : draw_place(copies);
    if (swap)
        return copies_swap(copies, trial, place, other);
    return copies_replace(copies, trial, place, copies->board->owners[other]);
}

static bool try_one(struct copies *copies, struct trial *trial)
{
    uint64_t dice = prng_u64(&copies->board->prng);
    uint32_t kind = dice & 7;
    bool swap = dice >> 3 & 1;
    bool coin = dice >> 4 & 1;
    if (kind < 3 && copies->lost_count != 0)
        return try_lost(copies, trial, swap, coin);
    if (kind < 5 && copies->under != 0)
        return try_under(copies, trial, swap, dice >> 5 & 3);
    if (kind < 6 && copies->over != 0)
        return try_over(copies, trial, swap);
    return try_any(copies, trial, swap, coin);
}

void board_settle_copies(struct board *board, struct arena *arena)
{
    struct copies *copies = ARENA_NEW(arena, struct copies, 1);
    struct trial *trial = ARENA_NEW(arena, struct trial, 1);
    memset(trial, 0, sizeof *trial);
    copies_init(copies, board);
    uint32_t partitions = board->input->partitions;
    uint32_t scale = partitions < PARTITIONS_LOW ? PARTITIONS_LOW : partitions;
    uint64_t walked_max = copies->walked + (uint64_t)WALKED_MAX * scale;
    for (uint32_t stall = 0; copies->cost > 0 && stall < STALL_TURNS * scale; stall++) {
        int64_t cost = copies->cost;
        if (copies->walked >= walked_max)
            break;
        if (try_one(copies, trial) && copies->cost < cost)
            stall = 0;
    }
}
