/* Random version sets over 64 dots (2 members x 2 key epochs x counters 1..16), and the same sets
 * as two bit masks: `seen` (dots in the history) and `live` (dots that still have a version). Laws
 * that are lines of text in a paper are one line of bit arithmetic here. */
#ifndef TESTS_UNIT_RANDOM_SET_H
#define TESTS_UNIT_RANDOM_SET_H

#include "base/prng.h"
#include "model/version.h"

#define ACTORS             4u
#define COUNTERS_PER_ACTOR 16u
#define DOTS               (ACTORS * COUNTERS_PER_ACTOR)

struct masks {
    uint64_t seen;
    uint64_t live;
};

static inline uint64_t bit(uint32_t index)
{
    return 1ull << index;
}

static inline struct dot dot_at(uint32_t index)
{
    static const struct dot actors[ACTORS] = {{.member = 1, .key_epoch = 1},
                                              {.member = 1, .key_epoch = 1700000000000ull << 20},
                                              {.member = 7, .key_epoch = 3},
                                              {.member = UINT32_MAX, .key_epoch = UINT64_MAX}};
    struct dot dot = actors[index / COUNTERS_PER_ACTOR];
    dot.counter = index % COUNTERS_PER_ACTOR + 1;
    return dot;
}

static inline uint32_t actor_bits(uint64_t seen, uint32_t actor)
{
    return (uint32_t)(seen >> (actor * COUNTERS_PER_ACTOR)) & 0xFFFFu;
}

/* Built without the code under test. */
static inline struct clock clock_of(struct arena *arena, uint64_t seen)
{
    struct clock_entry *entries = ARENA_NEW(arena, struct clock_entry, ACTORS);
    uint32_t count = 0;
    for (uint32_t actor = 0; actor < ACTORS; actor++) {
        uint32_t bits = actor_bits(seen, actor);
        if (bits == 0)
            continue;
        struct dot dot = dot_at(actor * COUNTERS_PER_ACTOR);
        struct clock_entry *entry = &entries[count++];
        *entry = (struct clock_entry){.member = dot.member, .key_epoch = dot.key_epoch};
        while (bits & (1u << entry->base))
            entry->base++;
        uint64_t *extras = ARENA_NEW(arena, uint64_t, COUNTERS_PER_ACTOR);
        for (uint32_t i = (uint32_t)entry->base; i < COUNTERS_PER_ACTOR; i++) {
            if (bits & (1u << i))
                extras[entry->extra_count++] = i + 1;
        }
        entry->extras = extras;
    }
    return (struct clock){.count = count, .entries = entries};
}

/* A dot has one content in a correct system; `variant` > 0 gives another one. */
static inline struct version version_at(struct arena *arena, uint32_t index, uint32_t variant)
{
    struct version version = {.dot = dot_at(index), .written_at = (index * 37u) % 8u};
    if (index % 5 == 0)
        version.flags = VERSION_TOMBSTONE;
    else
        version.value = bytes_of_string(arena_printf(arena, "v%u.%u", index, variant));
    if (index % 7 == 0)
        version.expires_at_ms = 1000u + index;
    version.written_at += (uint64_t)variant << 40;
    return version;
}

static inline struct version_set set_of(struct arena *arena, struct masks masks, uint64_t variants)
{
    struct version *versions = ARENA_NEW(arena, struct version, DOTS);
    uint32_t count = 0;
    for (uint32_t i = 0; i < DOTS; i++) {
        if (masks.live & bit(i))
            versions[count++] = version_at(arena, i, (variants & bit(i)) != 0);
    }
    return (struct version_set){
        .clock = clock_of(arena, masks.seen), .count = count, .versions = versions};
}

/* Prefixes with a few dots above them, as replicas and contexts have them; sometimes anything. */
static inline uint64_t random_seen(struct prng *prng)
{
    uint64_t seen = 0;
    for (uint32_t actor = 0; actor < ACTORS; actor++) {
        uint64_t bits = 0;
        switch (prng_below(prng, 4)) {
        case 0:
            break;
        case 1:
            bits = (1ull << prng_below(prng, 17)) - 1;
            break;
        case 2:
            bits = ((1ull << prng_below(prng, 17)) - 1) | (1ull << prng_below(prng, 16));
            break;
        default:
            bits = prng_below(prng, 1u << 16);
            break;
        }
        seen |= bits << (actor * COUNTERS_PER_ACTOR);
    }
    return seen;
}

static inline struct masks random_masks(struct prng *prng)
{
    struct masks masks = {.seen = random_seen(prng)};
    masks.live = masks.seen & prng_u64(prng) & prng_u64(prng) & prng_u64(prng);
    return masks;
}

#endif
