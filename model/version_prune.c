#include "model/version.h"

#include <stdlib.h>

/* An entry that may go. */
struct candidate {
    uint64_t key_epoch;
    uint32_t member;
    uint32_t index;
};

static int candidate_compare(const void *a_pointer, const void *b_pointer)
{
    const struct candidate *a = a_pointer;
    const struct candidate *b = b_pointer;
    if (a->key_epoch != b->key_epoch)
        return a->key_epoch < b->key_epoch ? -1 : 1;
    return (a->member > b->member) - (a->member < b->member);
}

/* Some version's dot is under the entry. */
static bool is_needed(const struct version_set *set, const struct clock_entry *entry)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct dot *dot = &set->versions[i].dot;
        if (dot->counter > 0 && dot->member == entry->member && dot->key_epoch == entry->key_epoch)
            return true;
    }
    return false;
}

struct version_set version_set_prune(struct arena *arena, const struct version_set *set,
                                     uint32_t entries_max, version_is_current_fn *is_current,
                                     void *closure)
{
    const struct clock *clock = &set->clock;
    if (clock->count <= entries_max)
        return *set;
    struct candidate *candidates = arena_alloc(arena, clock->count * sizeof *candidates);
    uint32_t count = 0;
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct clock_entry *entry = &clock->entries[i];
        if (!is_current(entry->member, closure) && !is_needed(set, entry))
            candidates[count++] = (struct candidate){
                .key_epoch = entry->key_epoch, .member = entry->member, .index = i};
    }
    if (count > 1)
        qsort(candidates, count, sizeof *candidates, candidate_compare);
    uint32_t excess = clock->count - entries_max;
    uint32_t dropped = count < excess ? count : excess;

    bool *drops = arena_alloc_zero(arena, clock->count * sizeof *drops);
    for (uint32_t i = 0; i < dropped; i++)
        drops[candidates[i].index] = true;
    struct clock_entry *entries = arena_alloc(arena, clock->count * sizeof *entries);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < clock->count; i++) {
        if (!drops[i])
            entries[kept++] = clock->entries[i];
    }
    struct version_set pruned = *set;
    pruned.clock = (struct clock){.count = kept, .entries = entries};
    return pruned;
}
