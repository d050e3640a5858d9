/* Dots and clocks. A clock entry is canonical when base + 1 is not among its extras, so comparing
 * bases is comparing the covered prefixes. */
#include "base/check.h"
#include "model/version.h"

int dot_compare(struct dot a, struct dot b)
{
    if (a.member != b.member)
        return a.member < b.member ? -1 : 1;
    if (a.key_epoch != b.key_epoch)
        return a.key_epoch < b.key_epoch ? -1 : 1;
    return (a.counter > b.counter) - (a.counter < b.counter);
}

static int actor_compare(const struct clock_entry *entry, uint32_t member, uint64_t key_epoch)
{
    if (entry->member != member)
        return entry->member < member ? -1 : 1;
    return (entry->key_epoch > key_epoch) - (entry->key_epoch < key_epoch);
}

/* The index of the first entry that is not below the actor. */
static uint32_t entry_index(const struct clock *clock, uint32_t member, uint64_t key_epoch)
{
    uint32_t low = 0;
    uint32_t high = clock->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (actor_compare(&clock->entries[middle], member, key_epoch) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many extras are <= counter: also where a greater one would go. */
static uint32_t extras_until(const struct clock_entry *entry, uint64_t counter)
{
    uint32_t low = 0;
    uint32_t high = entry->extra_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entry->extras[middle] <= counter)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool entry_covers(const struct clock_entry *entry, uint64_t counter)
{
    if (counter <= entry->base)
        return true;
    uint32_t until = extras_until(entry, counter);
    return until > 0 && entry->extras[until - 1] == counter;
}

const struct clock_entry *clock_find(const struct clock *clock, uint32_t member, uint64_t key_epoch)
{
    uint32_t index = entry_index(clock, member, key_epoch);
    if (index < clock->count && actor_compare(&clock->entries[index], member, key_epoch) == 0)
        return &clock->entries[index];
    return NULL;
}

bool clock_covers(const struct clock *clock, struct dot dot)
{
    if (dot.counter == 0)
        return false;
    const struct clock_entry *entry = clock_find(clock, dot.member, dot.key_epoch);
    return entry != NULL && entry_covers(entry, dot.counter);
}

static bool entry_descends(const struct clock_entry *a, const struct clock_entry *b)
{
    if (a->base < b->base)
        return false;
    uint32_t i = 0;
    for (uint32_t j = extras_until(b, a->base); j < b->extra_count; j++, i++) {
        while (i < a->extra_count && a->extras[i] < b->extras[j])
            i++;
        if (i == a->extra_count || a->extras[i] != b->extras[j])
            return false;
    }
    return true;
}

bool clock_descends(const struct clock *a, const struct clock *b)
{
    uint32_t i = 0;
    for (uint32_t j = 0; j < b->count; j++, i++) {
        const struct clock_entry *entry = &b->entries[j];
        while (i < a->count && actor_compare(&a->entries[i], entry->member, entry->key_epoch) < 0)
            i++;
        if (i == a->count || actor_compare(&a->entries[i], entry->member, entry->key_epoch) != 0 ||
            !entry_descends(&a->entries[i], entry))
            return false;
    }
    return true;
}

bool clock_equal(const struct clock *a, const struct clock *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct clock_entry *x = &a->entries[i];
        const struct clock_entry *y = &b->entries[i];
        if (actor_compare(x, y->member, y->key_epoch) != 0 || x->base != y->base ||
            x->extra_count != y->extra_count)
            return false;
        if (x->extra_count != 0 &&
            memcmp(x->extras, y->extras, x->extra_count * sizeof *x->extras) != 0)
            return false;
    }
    return true;
}

/* Takes into base the extras that follow it directly. */
static void entry_absorb(struct clock_entry *entry)
{
    while (entry->extra_count > 0 && entry->extras[0] == entry->base + 1) {
        entry->base++;
        entry->extras++;
        entry->extra_count--;
    }
    if (entry->extra_count == 0)
        entry->extras = NULL;
}

/* The entry with everything up to `base` covered; base + 1 may still be among its extras. */
static struct clock_entry entry_raise(const struct clock_entry *entry, uint64_t base)
{
    struct clock_entry raised = *entry;
    uint32_t passed = extras_until(entry, base);
    raised.base = base;
    raised.extra_count -= passed;
    raised.extras = raised.extra_count == 0 ? NULL : entry->extras + passed;
    return raised;
}

static struct clock_entry entry_merge(struct arena *arena, const struct clock_entry *a,
                                      const struct clock_entry *b)
{
    uint64_t base = a->base > b->base ? a->base : b->base;
    struct clock_entry x = entry_raise(a, base);
    struct clock_entry y = entry_raise(b, base);
    struct clock_entry merged = x.extra_count == 0 ? y : x;
    if (x.extra_count != 0 && y.extra_count != 0) {
        uint64_t *extras =
            arena_alloc(arena, ((size_t)x.extra_count + y.extra_count) * sizeof *extras);
        uint32_t count = 0;
        uint32_t i = 0;
        uint32_t j = 0;
        while (i < x.extra_count || j < y.extra_count) {
            if (j == y.extra_count || (i < x.extra_count && x.extras[i] < y.extras[j])) {
                extras[count++] = x.extras[i++];
            } else {
                if (i < x.extra_count && x.extras[i] == y.extras[j])
                    i++;
                extras[count++] = y.extras[j++];
            }
        }
        merged.extras = extras;
        merged.extra_count = count;
    }
    entry_absorb(&merged);
    return merged;
}

struct clock clock_merge(struct arena *arena, const struct clock *a, const struct clock *b)
{
    if (clock_descends(a, b))
        return *a;
    if (clock_descends(b, a))
        return *b;
    struct clock_entry *entries =
        arena_alloc(arena, ((size_t)a->count + b->count) * sizeof *entries);
    uint32_t count = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a->count && j < b->count) {
        int order = actor_compare(&a->entries[i], b->entries[j].member, b->entries[j].key_epoch);
        if (order < 0)
            entries[count++] = a->entries[i++];
        else if (order > 0)
            entries[count++] = b->entries[j++];
        else
            entries[count++] = entry_merge(arena, &a->entries[i++], &b->entries[j++]);
    }
    while (i < a->count)
        entries[count++] = a->entries[i++];
    while (j < b->count)
        entries[count++] = b->entries[j++];
    return (struct clock){.count = count, .entries = entries};
}

static void entry_add(struct arena *arena, struct clock_entry *entry, uint64_t counter)
{
    if (counter == entry->base + 1) {
        entry->base = counter;
        entry_absorb(entry);
        return;
    }
    uint32_t index = extras_until(entry, counter);
    uint64_t *extras = arena_alloc(arena, ((size_t)entry->extra_count + 1) * sizeof *extras);
    for (uint32_t i = 0; i < index; i++)
        extras[i] = entry->extras[i];
    extras[index] = counter;
    for (uint32_t i = index; i < entry->extra_count; i++)
        extras[i + 1] = entry->extras[i];
    entry->extras = extras;
    entry->extra_count++;
}

struct clock clock_add(struct arena *arena, const struct clock *clock, struct dot dot)
{
    CHECK(dot.counter > 0);
    uint32_t index = entry_index(clock, dot.member, dot.key_epoch);
    bool known = index < clock->count &&
                 actor_compare(&clock->entries[index], dot.member, dot.key_epoch) == 0;
    if (known && entry_covers(&clock->entries[index], dot.counter))
        return *clock;
    uint32_t count = clock->count + (known ? 0 : 1);
    struct clock_entry *entries = arena_alloc(arena, count * sizeof *entries);
    for (uint32_t i = 0; i < index; i++)
        entries[i] = clock->entries[i];
    entries[index] = known ? clock->entries[index]
                           : (struct clock_entry){.member = dot.member, .key_epoch = dot.key_epoch};
    for (uint32_t i = index + 1; i < count; i++)
        entries[i] = clock->entries[i - (known ? 0 : 1)];
    entry_add(arena, &entries[index], dot.counter);
    return (struct clock){.count = count, .entries = entries};
}

uint64_t clock_last_epoch(const struct clock *clock, uint32_t member)
{
    uint32_t index = entry_index(clock, member, UINT64_MAX);
    if (index < clock->count && clock->entries[index].member == member)
        return clock->entries[index].key_epoch;
    if (index > 0 && clock->entries[index - 1].member == member)
        return clock->entries[index - 1].key_epoch;
    return 0;
}

uint64_t clock_last_counter(const struct clock *clock, uint32_t member, uint64_t key_epoch)
{
    const struct clock_entry *entry = clock_find(clock, member, key_epoch);
    if (entry == NULL)
        return 0;
    return entry->extra_count == 0 ? entry->base : entry->extras[entry->extra_count - 1];
}

uint64_t clock_dot_count(const struct clock *clock)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct clock_entry *entry = &clock->entries[i];
        if (__builtin_add_overflow(count, entry->base, &count) ||
            __builtin_add_overflow(count, entry->extra_count, &count))
            return UINT64_MAX;
    }
    return count;
}
