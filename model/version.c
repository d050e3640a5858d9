#include "model/version.h"

#include "base/check.h"
#include "base/mutation.h"

static int u64_compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* A total order on what a version holds beside its dot. */
static int contents_compare(const struct version *a, const struct version *b)
{
    int order = u64_compare(a->written_at, b->written_at);
    if (order == 0)
        order = u64_compare(a->expires_at_ms, b->expires_at_ms);
    if (order == 0)
        order = u64_compare(a->flags, b->flags);
    if (order == 0 && !(a->value.data == b->value.data && a->value.size == b->value.size))
        order = bytes_compare(a->value, b->value);
    return order;
}

static bool is_dotless(const struct version *version)
{
    return version->dot.counter == 0;
}

/* Dotless versions first, by contents, for each distinct one stays; then by dot alone. */
static int position_compare(const struct version *a, const struct version *b)
{
    if (is_dotless(a) || is_dotless(b))
        return is_dotless(a) && is_dotless(b) ? contents_compare(a, b) : is_dotless(a) ? -1 : 1;
    return dot_compare(a->dot, b->dot);
}

/* Whether a side that holds no version with this dot had it once. */
static bool merge_has_seen(const struct clock *clock, struct dot dot)
{
    if (MUTATE(MERGE_BY_COUNTER))
        dot.key_epoch = clock_last_epoch(clock, dot.member);
    return clock_covers(clock, dot);
}

struct version_set version_set_merge(struct arena *arena, const struct version_set *a,
                                     const struct version_set *b)
{
    size_t capacity = (size_t)a->count + b->count;
    struct version *versions =
        capacity == 0 ? NULL : arena_alloc(arena, capacity * sizeof *versions);
    uint32_t count = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a->count || j < b->count) {
        int order = 0;
        if (i == a->count)
            order = 1;
        else if (j == b->count)
            order = -1;
        else
            order = position_compare(&a->versions[i], &b->versions[j]);

        if (order < 0) {
            const struct version *version = &a->versions[i++];
            if (!merge_has_seen(&b->clock, version->dot))
                versions[count++] = *version;
        } else if (order > 0) {
            const struct version *version = &b->versions[j++];
            if (!merge_has_seen(&a->clock, version->dot))
                versions[count++] = *version;
        } else {
            const struct version *x = &a->versions[i++];
            const struct version *y = &b->versions[j++];
            if (MUTATE(MERGE_DROPS_EQUAL_DOT))
                continue;
            versions[count++] = contents_compare(x, y) >= 0 ? *x : *y;
        }
    }
    return (struct version_set){
        .clock = clock_merge(arena, &a->clock, &b->clock), .count = count, .versions = versions};
}

struct version_set version_set_put(struct arena *arena, const struct version_set *set,
                                   const struct clock *context, uint32_t member, uint64_t key_epoch,
                                   const struct version *version, struct dot *ret_dot)
{
    CHECK(!(version->flags & VERSION_TOMBSTONE) || version->value.size == 0);
    if (MUTATE(DELETE_REMOVES_ALL) && (version->flags & VERSION_TOMBSTONE) != 0)
        context = NULL;
    struct clock clock = context == NULL ? set->clock : clock_merge(arena, &set->clock, context);
    if (MUTATE(CLOCK_PRUNED_AT_4) && clock.count > 4)
        clock = (struct clock){.count = 4, .entries = clock.entries + clock.count - 4};
    uint64_t last = clock_last_counter(&clock, member, key_epoch);
    CHECK_U64(last, <, UINT64_MAX);
    struct version added = *version;
    added.dot = (struct dot){.member = member, .key_epoch = key_epoch, .counter = last + 1};

    uint32_t capacity = context == NULL ? 1 : set->count + 1;
    struct version *versions = arena_alloc(arena, capacity * sizeof *versions);
    uint32_t count = 0;
    bool placed = false;
    if (context != NULL) {
        for (uint32_t i = 0; i < set->count; i++) {
            const struct version *held = &set->versions[i];
            if (clock_covers(context, held->dot))
                continue;
            if (!placed && position_compare(&added, held) < 0) {
                versions[count++] = added;
                placed = true;
            }
            versions[count++] = *held;
        }
    }
    if (!placed)
        versions[count++] = added;
    *ret_dot = added.dot;
    return (struct version_set){
        .clock = clock_add(arena, &clock, added.dot), .count = count, .versions = versions};
}

struct version_set version_set_add_epoch(struct arena *arena, const struct version_set *set,
                                         uint32_t member, uint64_t key_epoch)
{
    CHECK(clock_find(&set->clock, member, key_epoch) == NULL);
    struct version_set result = *set;
    struct dot first = {.member = member, .key_epoch = key_epoch, .counter = 1};
    result.clock = clock_add(arena, &set->clock, first);
    return result;
}

struct version_set version_set_last_writer_wins(struct arena *arena, const struct version_set *set)
{
    (void)arena; /* the winner is a part of the input */
    struct version_set result = *set;
    for (uint32_t i = 1; i < set->count; i++) {
        const struct version *rival = &set->versions[i];
        /* Versions are ordered by dot, so the later one wins a tie. */
        if (rival->written_at >= result.versions[0].written_at)
            result.versions = rival;
    }
    result.count = set->count == 0 ? 0 : 1;
    return result;
}

struct clock version_set_context(const struct version_set *set)
{
    return set->clock;
}

struct clock version_set_put_context(struct arena *arena, const struct clock *context,
                                     const struct version_set *replaced, struct dot dot)
{
    if (MUTATE(CONTEXT_COVERS_SIBLINGS))
        context = NULL;
    return clock_add(arena, context == NULL ? &replaced->clock : context, dot);
}

bool version_set_equal(const struct version_set *a, const struct version_set *b)
{
    if (a->count != b->count || !clock_equal(&a->clock, &b->clock))
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (position_compare(&a->versions[i], &b->versions[i]) != 0 ||
            contents_compare(&a->versions[i], &b->versions[i]) != 0)
            return false;
    }
    return true;
}

bool version_is_live(const struct version *version, uint64_t wall_ms)
{
    if (version->flags & VERSION_TOMBSTONE)
        return false;
    return version->expires_at_ms == 0 || wall_ms < version->expires_at_ms;
}
