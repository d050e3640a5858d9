/* Clocks and sets as bytes. Equal state is equal bytes: varints are shortest form, extras are gaps
 * (so that they cannot be out of order), and the decoder refuses every other freedom.
 *
 *     clock = varint count, count x {varint member, u64 key epoch, varint base,
 *                                    varint extra count, extra count x varint gap}
 *             gap = extra - previous - 1, the first counted from base + 1
 *     set   = clock, varint count, count x {varint index of the clock entry, varint counter,
 *                                           u64 written at, varint expires at, u8 flags,
 *                                           varint value size, value}
 *
 * A version names its actor by the entry that covers it: no actor is written twice, and a version
 * that the clock has not seen cannot be written at all.
 */
#include "base/check.h"
#include "model/version.h"

#define CONTEXT_ENTRIES_MAX 4096u
#define CONTEXT_EXTRAS_MAX  65536u
#define ENTRY_BYTES_MIN     11u
#define VERSION_BYTES_MIN   13u
#define FLAGS_KNOWN         ((unsigned)VERSION_TOMBSTONE)

void clock_encode(struct writer *writer, const struct clock *clock)
{
    writer_varint(writer, clock->count);
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct clock_entry *entry = &clock->entries[i];
        writer_varint(writer, entry->member);
        writer_u64(writer, entry->key_epoch);
        writer_varint(writer, entry->base);
        writer_varint(writer, entry->extra_count);
        uint64_t previous = entry->base + 1;
        for (uint32_t j = 0; j < entry->extra_count; j++) {
            CHECK_U64(entry->extras[j], >, previous);
            writer_varint(writer, entry->extras[j] - previous - 1);
            previous = entry->extras[j];
        }
    }
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* False when a gap leads past the last counter there is. */
static bool extras_decode(struct reader *reader, uint64_t base, uint32_t count, uint64_t *extras)
{
    uint64_t previous = base;
    bool fits = !__builtin_add_overflow(previous, 1, &previous);
    for (uint32_t i = 0; i < count && fits; i++) {
        fits = !__builtin_add_overflow(previous, reader_varint(reader), &previous) &&
               !__builtin_add_overflow(previous, 1, &previous);
        extras[i] = previous;
    }
    return fits && !reader->failed;
}

static bool entry_decode(struct reader *reader, struct arena *arena, uint64_t *extras_left,
                         struct clock_entry *entry)
{
    entry->member = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    entry->key_epoch = reader_u64(reader);
    entry->base = reader_varint(reader);
    /* An extra is a byte at least. */
    uint64_t extras_max = min_u64(*extras_left, min_u64(reader_left(reader), UINT32_MAX));
    entry->extra_count = (uint32_t)reader_varint_max(reader, extras_max);
    entry->extras = NULL;
    if (reader->failed || (entry->base == 0 && entry->extra_count == 0))
        return false;
    if (entry->extra_count == 0)
        return true;
    *extras_left -= entry->extra_count;
    uint64_t *extras = arena_alloc(arena, entry->extra_count * sizeof *extras);
    entry->extras = extras;
    return extras_decode(reader, entry->base, entry->extra_count, extras);
}

static bool entries_ascend(const struct clock_entry *a, const struct clock_entry *b)
{
    return a->member != b->member ? a->member < b->member : a->key_epoch < b->key_epoch;
}

static bool entries_decode(struct reader *reader, struct arena *arena, uint64_t entries_max,
                           uint64_t extras_max, struct clock *ret_clock)
{
    uint64_t fitting = min_u64(reader_left(reader) / ENTRY_BYTES_MIN, UINT32_MAX);
    uint32_t count = (uint32_t)reader_varint_max(reader, min_u64(entries_max, fitting));
    if (reader->failed)
        return false;
    struct clock_entry *entries = count == 0 ? NULL : arena_alloc(arena, count * sizeof *entries);
    for (uint32_t i = 0; i < count; i++) {
        if (!entry_decode(reader, arena, &extras_max, &entries[i]) ||
            (i > 0 && !entries_ascend(&entries[i - 1], &entries[i]))) {
            reader->failed = true;
            return false;
        }
    }
    *ret_clock = (struct clock){.count = count, .entries = entries};
    return true;
}

enum err clock_decode(struct reader *reader, struct arena *arena, struct clock *ret_clock)
{
    if (!entries_decode(reader, arena, CONTEXT_ENTRIES_MAX, CONTEXT_EXTRAS_MAX, ret_clock))
        return ERR_CORRUPT;
    return OK;
}

void version_set_encode(struct writer *writer, const struct version_set *set)
{
    clock_encode(writer, &set->clock);
    writer_varint(writer, set->count);
    uint32_t index = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct version *version = &set->versions[i];
        CHECK(version->dot.counter > 0);
        while (index < set->clock.count &&
               (set->clock.entries[index].member != version->dot.member ||
                set->clock.entries[index].key_epoch != version->dot.key_epoch))
            index++;
        CHECK_U64(index, <, set->clock.count);
        writer_varint(writer, index);
        writer_varint(writer, version->dot.counter);
        writer_u64(writer, version->written_at);
        writer_varint(writer, version->expires_at_ms);
        writer_u8(writer, (uint8_t)version->flags);
        writer_sized_bytes(writer, version->value);
    }
}

static bool version_decode(struct reader *reader, const struct clock *clock,
                           struct version *version)
{
    uint32_t index = (uint32_t)reader_varint_max(reader, clock->count);
    uint64_t counter = reader_varint(reader);
    version->written_at = reader_u64(reader);
    version->expires_at_ms = reader_varint(reader);
    version->flags = reader_u8(reader);
    version->value = reader_sized_bytes(reader, SIZE_MAX);
    if (reader->failed || index >= clock->count)
        return false;
    const struct clock_entry *entry = &clock->entries[index];
    version->dot =
        (struct dot){.member = entry->member, .key_epoch = entry->key_epoch, .counter = counter};
    if (!clock_covers(clock, version->dot) || (version->flags & ~FLAGS_KNOWN) != 0)
        return false;
    return !(version->flags & VERSION_TOMBSTONE) || version->value.size == 0;
}

enum err version_set_decode(struct reader *reader, struct arena *arena, struct version_set *ret_set)
{
    /* What a peer merged must be readable whatever its size: the input bounds a set's memory. */
    struct version_set set = {0};
    if (!entries_decode(reader, arena, UINT32_MAX, UINT64_MAX, &set.clock))
        return ERR_CORRUPT;
    uint64_t fitting = min_u64(reader_left(reader) / VERSION_BYTES_MIN, UINT32_MAX);
    set.count = (uint32_t)reader_varint_max(reader, fitting);
    if (reader->failed)
        return ERR_CORRUPT;
    struct version *versions =
        set.count == 0 ? NULL : arena_alloc(arena, set.count * sizeof *versions);
    for (uint32_t i = 0; i < set.count; i++) {
        if (!version_decode(reader, &set.clock, &versions[i]) ||
            (i > 0 && dot_compare(versions[i - 1].dot, versions[i].dot) >= 0)) {
            reader->failed = true;
            return ERR_CORRUPT;
        }
    }
    set.versions = versions;
    *ret_set = set;
    return OK;
}
