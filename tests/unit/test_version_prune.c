// link: coterie_model
/* Rule: a clock over its bound loses what only retired members can have written and no version
 * stands on, the oldest first; no version is lost then or later, and what a merge can bring back at
 * worst is a sibling (model/version.h; DESIGN.md 5; RELIABILITY 2.1.6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/random_set.h"

#include "model/limits.h"

#define SEED   20261122u
#define ROUNDS 50000u

#define LAW(round, condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %u round %u: %s", SEED, (unsigned)(round), #condition);                 \
    } while (0)

/* Of the actors of random_set.h: members 1 (two key epochs), 7 and UINT32_MAX. */
struct members {
    bool one, seven, last;
};

static bool is_current(uint32_t member, void *closure)
{
    const struct members *current = closure;
    return member == 1 ? current->one : member == 7 ? current->seven : current->last;
}

struct bench {
    struct arena arena;
    struct prng prng;
    struct members current;
    uint32_t entries_max;
    struct version_set set;
    struct version_set pruned;
};

static void bench_init(struct bench *b, uint64_t stream)
{
    arena_init(&b->arena, NULL, 0);
    prng_init(&b->prng, SEED, stream);
}

static void bench_draw(struct bench *b)
{
    arena_clear(&b->arena);
    b->current = (struct members){.one = prng_chance(&b->prng, 0.5),
                                  .seven = prng_chance(&b->prng, 0.3),
                                  .last = prng_chance(&b->prng, 0.3)};
    b->entries_max = (uint32_t)prng_below(&b->prng, 5);
    b->set = set_of(&b->arena, random_masks(&b->prng), 0);
    b->pruned = version_set_prune(&b->arena, &b->set, b->entries_max, is_current, &b->current);
}

static bool holds(const struct version_set *set, struct dot dot)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (dot_compare(set->versions[i].dot, dot) == 0)
            return true;
    }
    return false;
}

static bool stands_on(const struct version_set *set, const struct clock_entry *entry)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->versions[i].dot.member == entry->member &&
            set->versions[i].dot.key_epoch == entry->key_epoch)
            return true;
    }
    return false;
}

static bool was_dropped(const struct bench *b, uint32_t member, uint64_t key_epoch)
{
    return clock_find(&b->set.clock, member, key_epoch) != NULL &&
           clock_find(&b->pruned.clock, member, key_epoch) == NULL;
}

/* Exactly the oldest that may go, as few as it takes; all else as it was. */
static void drops_what_it_may_and_no_more(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1);
    uint32_t dropped_ever = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bench_draw(&b);
        uint32_t may_go = 0;
        uint32_t dropped = 0;
        uint64_t youngest_dropped = 0;
        uint64_t oldest_kept = UINT64_MAX;
        for (uint32_t i = 0; i < b.set.clock.count; i++) {
            const struct clock_entry *entry = &b.set.clock.entries[i];
            bool retired = !is_current(entry->member, &b.current);
            bool free = retired && !stands_on(&b.set, entry);
            may_go += free;
            if (was_dropped(&b, entry->member, entry->key_epoch)) {
                LAW(round, free);
                dropped++;
                if (entry->key_epoch > youngest_dropped)
                    youngest_dropped = entry->key_epoch;
            } else if (free && entry->key_epoch < oldest_kept) {
                oldest_kept = entry->key_epoch;
            }
        }
        uint32_t excess = b.set.clock.count > b.entries_max ? b.set.clock.count - b.entries_max : 0;
        LAW(round, dropped == (may_go < excess ? may_go : excess));
        LAW(round, youngest_dropped <= oldest_kept);
        LAW(round, b.pruned.clock.count == b.set.clock.count - dropped);
        LAW(round, clock_descends(&b.set.clock, &b.pruned.clock));
        dropped_ever += dropped;

        /* The versions are untouched, and all of them covered. */
        LAW(round, b.pruned.count == b.set.count);
        for (uint32_t i = 0; i < b.set.count; i++) {
            LAW(round, dot_compare(b.pruned.versions[i].dot, b.set.versions[i].dot) == 0);
            LAW(round, clock_covers(&b.pruned.clock, b.set.versions[i].dot));
        }
        struct version_set same = {b.pruned.clock, b.set.count, b.set.versions};
        LAW(round, version_set_equal(&b.pruned, &same));
    }
    assert_true(dropped_ever > ROUNDS / 10);
    arena_deinit(&b.arena);
}

static void is_canonical_and_idempotent(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 2);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bench_draw(&b);
        struct version_set again =
            version_set_prune(&b.arena, &b.pruned, b.entries_max, is_current, &b.current);
        LAW(round, version_set_equal(&again, &b.pruned));
        struct writer writer;
        writer_init(&writer, &b.arena, 64);
        version_set_encode(&writer, &b.pruned);
        struct reader reader = reader_of(writer_result(&writer));
        struct version_set back;
        LAW(round, version_set_decode(&reader, &b.arena, &back) == OK && reader_done(&reader));
        LAW(round, version_set_equal(&back, &b.pruned));
    }
    arena_deinit(&b.arena);
}

/* Against any other replica the pruned set keeps at least what the whole one would, and what comes
 * back beside that is a value that the other replica still holds under a dropped entry. */
static void merges_lose_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3);
    uint32_t came_back = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bench_draw(&b);
        struct version_set other = set_of(&b.arena, random_masks(&b.prng), 0);
        struct version_set whole = version_set_merge(&b.arena, &b.set, &other);
        struct version_set merged = version_set_merge(&b.arena, &b.pruned, &other);
        for (uint32_t i = 0; i < whole.count; i++)
            LAW(round, holds(&merged, whole.versions[i].dot));
        for (uint32_t i = 0; i < merged.count; i++) {
            struct dot dot = merged.versions[i].dot;
            if (holds(&whole, dot))
                continue;
            LAW(round, was_dropped(&b, dot.member, dot.key_epoch) && holds(&other, dot));
            came_back++;
        }
        struct version_set both_pruned =
            version_set_prune(&b.arena, &other, b.entries_max, is_current, &b.current);
        merged = version_set_merge(&b.arena, &b.pruned, &both_pruned);
        for (uint32_t i = 0; i < whole.count; i++)
            LAW(round, holds(&merged, whole.versions[i].dot));
        /* With the whole set itself, or what descends from it, nothing comes back at all. */
        merged = version_set_merge(&b.arena, &b.pruned, &b.set);
        LAW(round, version_set_equal(&merged, &b.set));
        merged = version_set_merge(&b.arena, &b.pruned, &whole);
        LAW(round, version_set_equal(&merged, &whole));
    }
    assert_true(came_back > 0); /* the price is real, and paid in siblings */
    arena_deinit(&b.arena);
}

/* Writers with contexts from before replace what they would have replaced, and the dots of current
 * members go on where they were. */
static void writes_go_on_as_before(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 4);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bench_draw(&b);
        b.current.one = true;
        b.pruned = version_set_prune(&b.arena, &b.set, b.entries_max, is_current, &b.current);
        struct clock context = clock_of(&b.arena, random_seen(&b.prng));
        const struct clock *given = prng_chance(&b.prng, 0.2) ? NULL : &context;
        struct version version = {.flags = VERSION_TOMBSTONE};
        struct dot on_whole;
        struct dot on_pruned;
        struct version_set whole =
            version_set_put(&b.arena, &b.set, given, 1, 1, &version, &on_whole);
        struct version_set pruned =
            version_set_put(&b.arena, &b.pruned, given, 1, 1, &version, &on_pruned);
        LAW(round, dot_compare(on_whole, on_pruned) == 0);
        LAW(round, whole.count == pruned.count);
        for (uint32_t i = 0; i < whole.count; i++)
            LAW(round, dot_compare(whole.versions[i].dot, pruned.versions[i].dot) == 0);
    }
    arena_deinit(&b.arena);
}

/* -- at the bound of real clocks -----------------------------------------------------------------
 */

static bool below_ten(uint32_t member, void *closure)
{
    (void)closure;
    return member < 10;
}

static bool nobody(uint32_t member, void *closure)
{
    (void)member;
    (void)closure;
    return false;
}

static bool everybody(uint32_t member, void *closure)
{
    (void)member;
    (void)closure;
    return true;
}

/* Members 0..count-1 wrote one after the other over what they read; later members have lower key
 * epochs, so age is not the order of entries. */
static struct version_set written_by(struct arena *arena, uint32_t count)
{
    struct version_set set = {0};
    struct version version = {.value = bytes_of_string("v")};
    for (uint32_t member = 0; member < count; member++) {
        struct dot dot;
        set = version_set_put(arena, &set, NULL, member, 1000 - member, &version, &dot);
    }
    return set;
}

static void at_the_bound(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    static const struct {
        uint32_t writers;
        version_is_current_fn *is_current;
        uint32_t left;
    } rows[] = {
        {0, nobody, 0},      {1, nobody, 1},    {50, nobody, 50},
        {51, nobody, 50},    {60, nobody, 50},  {60, below_ten, 50},
        {60, everybody, 60}, {500, nobody, 50}, {500, below_ten, 50},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct version_set set = written_by(&arena, rows[i].writers);
        struct version_set pruned =
            version_set_prune(&arena, &set, CLOCK_ENTRIES_MAX, rows[i].is_current, NULL);
        assert_int_equal(pruned.clock.count, rows[i].left);
        assert_int_equal(pruned.count, set.count);
    }
    /* Of 60 the last one's version stands on its entry, the ten before it are the oldest. */
    struct version_set set = written_by(&arena, 60);
    struct version_set pruned = version_set_prune(&arena, &set, CLOCK_ENTRIES_MAX, below_ten, NULL);
    for (uint32_t member = 0; member < 60; member++) {
        bool kept = clock_find(&pruned.clock, member, 1000 - member) != NULL;
        assert_int_equal(kept, member < 49 || member == 59);
    }
    pruned = version_set_prune(&arena, &set, 0, below_ten, NULL);
    assert_int_equal(pruned.clock.count, 11);

    /* An actor is a member and a key epoch: one of them alone keeps nothing. */
    struct clock_entry entries[] = {{20, 5, 1, 0, NULL}, {21, 4, 1, 0, NULL}, {21, 5, 1, 0, NULL}};
    struct version version = {.dot = {21, 5, 1}};
    struct version_set small = {{3, entries}, 1, &version};
    pruned = version_set_prune(&arena, &small, 1, nobody, NULL);
    assert_int_equal(pruned.clock.count, 1);
    assert_true(clock_covers(&pruned.clock, version.dot));
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drops_what_it_may_and_no_more),
        cmocka_unit_test(is_canonical_and_idempotent),
        cmocka_unit_test(merges_lose_nothing),
        cmocka_unit_test(writes_go_on_as_before),
        cmocka_unit_test(at_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
