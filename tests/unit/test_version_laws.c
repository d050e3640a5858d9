// link: coterie_model
/* The laws of version sets on random ones, against sets of dots as bit masks: the join is
 * commutative, associative, idempotent and monotone; equal state is equal bytes; a put removes only
 * what its context covers. 10^5 triples; 10^6 when COTERIE_LONG is set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/effort.h"
#include "tests/unit/random_set.h"

#include <stdlib.h>

/* DVVSet's "less": b's history strictly contains a's. */
static bool is_less(const struct version_set *a, const struct version_set *b)
{
    return clock_descends(&b->clock, &a->clock) && !clock_descends(&a->clock, &b->clock);
}

static uint32_t rounds(void)
{
    return effort(100000);
}

#define SEED 20261122u

/* So that a failing law says which round of which seed it was. */
#define LAW(round, condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %u round %u: %s", SEED, (unsigned)(round), #condition);                 \
    } while (0)

static bool same(const struct version_set *a, struct version_set b)
{
    return version_set_equal(a, &b);
}

static bool has_masks(const struct version_set *set, struct masks masks)
{
    if (set->count != (uint32_t)__builtin_popcountll(masks.live))
        return false;
    uint32_t next = 0;
    for (uint32_t i = 0; i < DOTS; i++) {
        if (clock_covers(&set->clock, dot_at(i)) != ((masks.seen & bit(i)) != 0))
            return false;
        if ((masks.live & bit(i)) && dot_compare(set->versions[next++].dot, dot_at(i)) != 0)
            return false;
    }
    return true;
}

static struct bytes encoded(struct arena *arena, const struct version_set *set)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    version_set_encode(&writer, set);
    return writer_result(&writer);
}

static struct masks join(struct masks a, struct masks b)
{
    return (struct masks){.seen = a.seen | b.seen,
                          .live = (a.live & b.live) | (a.live & ~b.seen) | (b.live & ~a.seen)};
}

/* One or two values that no replica has accepted, now and then. */
static struct version_set some_dotless(struct arena *arena, struct prng *prng,
                                       struct version_set set)
{
    for (uint64_t left = prng_below(prng, 3); left > 0; left--) {
        struct version *version = ARENA_NEW(arena, struct version, 1);
        version->value = bytes_of_string(arena_printf(arena, "d%u", (unsigned)prng_below(prng, 4)));
        struct version_set single = {.count = 1, .versions = version};
        set = version_set_merge(arena, &set, &single);
    }
    return set;
}

static void test_join(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < rounds(); round++) {
        arena_clear(&arena);
        struct masks masks[3];
        struct version_set sets[3];
        for (int i = 0; i < 3; i++) {
            masks[i] = random_masks(&prng);
            if (i > 0 && prng_chance(&prng, 0.2))
                masks[i] = join(masks[i], masks[i - 1]);
            uint64_t variants = prng_chance(&prng, 0.1) ? prng_u64(&prng) : 0;
            sets[i] = set_of(&arena, masks[i], variants);
            if (round % 4 == 0)
                sets[i] = some_dotless(&arena, &prng, sets[i]);
        }
        struct version_set *a = &sets[0];
        struct version_set *b = &sets[1];
        struct version_set *c = &sets[2];
        struct version_set ab = version_set_merge(&arena, a, b);
        struct version_set bc = version_set_merge(&arena, b, c);
        LAW(round, same(&ab, version_set_merge(&arena, b, a)));
        struct version_set left = version_set_merge(&arena, &ab, c);
        LAW(round, same(&left, version_set_merge(&arena, a, &bc)));
        LAW(round, same(a, version_set_merge(&arena, a, a)));
        LAW(round, same(&ab, version_set_merge(&arena, &ab, b)));
        LAW(round, clock_descends(&ab.clock, &a->clock) && clock_descends(&ab.clock, &b->clock));
        if (round % 4 != 0) {
            LAW(round, has_masks(&ab, join(masks[0], masks[1])));
            struct bytes one = encoded(&arena, &ab);
            LAW(round, bytes_equal(one, encoded(&arena, &ab)));
            LAW(round, version_set_equal(&ab, c) == bytes_equal(one, encoded(&arena, c)));
            LAW(round, version_set_equal(&ab, b) == bytes_equal(one, encoded(&arena, b)));
            struct version_set ba = version_set_merge(&arena, b, a);
            LAW(round, bytes_equal(one, encoded(&arena, &ba)));
        }
    }
    arena_deinit(&arena);
}

static uint32_t last_of(uint64_t seen, uint32_t actor)
{
    uint32_t bits = actor_bits(seen, actor);
    return bits == 0 ? 0 : 32u - (uint32_t)__builtin_clz(bits);
}

static void test_clocks(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 2);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < rounds(); round++) {
        arena_clear(&arena);
        uint64_t x = random_seen(&prng);
        uint64_t y = random_seen(&prng);
        if (prng_chance(&prng, 0.3))
            y = prng_chance(&prng, 0.5) ? (x | y) : x & prng_u64(&prng);
        struct clock a = clock_of(&arena, x);
        struct clock b = clock_of(&arena, y);
        struct clock both = clock_of(&arena, x | y);
        struct clock merged = clock_merge(&arena, &a, &b);
        LAW(round, clock_equal(&merged, &both));
        LAW(round, clock_descends(&a, &b) == ((y & ~x) == 0));
        LAW(round, clock_dot_count(&a) == (uint64_t)__builtin_popcountll(x));
        LAW(round, clock_equal(&a, &b) == (x == y));
        uint32_t index = (uint32_t)prng_below(&prng, DOTS);
        struct dot dot = dot_at(index);
        struct clock one_more = clock_of(&arena, x | bit(index));
        struct clock added = clock_add(&arena, &a, dot);
        LAW(round, clock_equal(&added, &one_more));
        LAW(round, clock_covers(&a, dot) == ((x & bit(index)) != 0));
        uint32_t actor = index / COUNTERS_PER_ACTOR;
        LAW(round, clock_last_counter(&a, dot.member, dot.key_epoch) == last_of(x, actor));
        LAW(round,
            (clock_find(&a, dot.member, dot.key_epoch) != NULL) == (actor_bits(x, actor) != 0));
        uint64_t newest = actor_bits(x, 1) != 0   ? dot_at(COUNTERS_PER_ACTOR).key_epoch
                          : actor_bits(x, 0) != 0 ? dot_at(0).key_epoch
                                                  : 0;
        LAW(round, clock_last_epoch(&a, 1) == newest);
        LAW(round, clock_last_epoch(&a, 2) == 0);
        LAW(round, clock_last_epoch(&a, UINT32_MAX) == (actor_bits(x, 3) != 0 ? UINT64_MAX : 0));
    }
    arena_deinit(&arena);
}

/* A put removes what its context covers and nothing else, its dot is new to set and context, and
 * the writer's next context covers what it saw and wrote, nothing else. */
static void test_put(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 3);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < rounds(); round++) {
        arena_clear(&arena);
        struct masks masks = random_masks(&prng);
        uint64_t seen = prng_chance(&prng, 0.7) ? masks.seen & prng_u64(&prng) : random_seen(&prng);
        bool blind = prng_chance(&prng, 0.2);
        uint32_t actor = (uint32_t)prng_below(&prng, ACTORS);
        uint32_t counter = last_of(masks.seen | (blind ? 0 : seen), actor);
        if (counter == COUNTERS_PER_ACTOR)
            continue; /* no room above in 64 dots */
        uint64_t new = bit(actor * COUNTERS_PER_ACTOR + counter);
        struct dot name = dot_at(actor * COUNTERS_PER_ACTOR + counter);
        struct version_set set = set_of(&arena, masks, 0);
        struct clock context = clock_of(&arena, seen);
        struct version version = version_at(&arena, 1, 0);
        struct dot dot;
        struct version_set put = version_set_put(&arena, &set, blind ? NULL : &context, name.member,
                                                 name.key_epoch, &version, &dot);
        LAW(round, dot_compare(dot, name) == 0);
        uint64_t kept = blind ? 0 : masks.live & ~seen;
        uint64_t history = masks.seen | (blind ? 0 : seen);
        LAW(round, has_masks(&put, (struct masks){.seen = history | new, .live = kept | new}));
        for (uint32_t i = 0; i < put.count; i++) {
            bool added = dot_compare(put.versions[i].dot, dot) == 0;
            LAW(round, !added || bytes_equal(put.versions[i].value, version.value));
        }
        struct clock ack = version_set_put_context(&arena, blind ? NULL : &context, &set, dot);
        struct clock wanted = clock_of(&arena, (blind ? masks.seen : seen) | new);
        LAW(round, clock_equal(&ack, &wanted));

        /* The put supersedes the set for whoever merges both, except for racing versions. */
        struct version_set merged = version_set_merge(&arena, &set, &put);
        LAW(round, version_set_equal(&merged, &put));
        LAW(round, is_less(&set, &put) && !is_less(&put, &set));
        LAW(round, !is_less(&put, &put));
        struct clock read = version_set_context(&put);
        struct version_set next = version_set_put(&arena, &put, &read, 9, 9, &version, &dot);
        LAW(round, next.count == 1 && dot.counter == 1);
    }
    arena_deinit(&arena);
}

static void test_last_writer_wins(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 4);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 20000; round++) {
        arena_clear(&arena);
        struct version_set a = set_of(&arena, random_masks(&prng), 0);
        struct version_set last = version_set_last_writer_wins(&arena, &a);
        LAW(round, last.count == (a.count > 0) && clock_equal(&last.clock, &a.clock));
        for (uint32_t i = 0; i < a.count; i++) {
            const struct version *rival = &a.versions[i];
            const struct version *winner = &last.versions[0];
            LAW(round, rival->written_at < winner->written_at ||
                           (rival->written_at == winner->written_at &&
                            dot_compare(rival->dot, winner->dot) <= 0));
        }
    }
    arena_deinit(&arena);
}

/* Where each write replaces what its replica holds under a greater timestamp, applying the policy
 * at any time on any replica loses nothing: all end with the write that is greatest by (written_at,
 * dot), whatever the skew of their clocks. */
static void test_last_writer_wins_converges(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 6);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 5000; round++) {
        arena_clear(&arena);
        struct version_set replicas[3] = {{.count = 0}};
        struct version greatest = {0};
        for (uint32_t step = 0; step < 20; step++) {
            uint32_t at = (uint32_t)prng_below(&prng, 3);
            struct version_set *set = &replicas[at];
            if (prng_chance(&prng, 0.5)) {
                *set = version_set_merge(&arena, set, &replicas[prng_below(&prng, 3)]);
            } else {
                struct version version = version_at(&arena, step, 0);
                version.written_at = prng_below(&prng, 30);
                for (uint32_t i = 0; i < set->count; i++) {
                    if (version.written_at <= set->versions[i].written_at)
                        version.written_at = set->versions[i].written_at + 1;
                }
                *set = version_set_put(&arena, set, NULL, at, 1, &version, &version.dot);
                if (version.written_at > greatest.written_at ||
                    (version.written_at == greatest.written_at &&
                     dot_compare(version.dot, greatest.dot) > 0))
                    greatest = version;
            }
            if (prng_chance(&prng, 0.5))
                *set = version_set_last_writer_wins(&arena, set);
        }
        struct version_set all = {0};
        for (uint32_t i = 0; i < 3; i++)
            all = version_set_merge(&arena, &all, &replicas[i]);
        all = version_set_last_writer_wins(&arena, &all);
        LAW(round, all.count == (greatest.dot.counter > 0));
        LAW(round, all.count == 0 || dot_compare(all.versions[0].dot, greatest.dot) == 0);
    }
    arena_deinit(&arena);
}

/* Replicas that accept writes, lose messages and merge in any order end in equal bytes, and hold
 * every value that no later writer had seen. */
static void test_convergence(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 5);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 3000; round++) {
        arena_clear(&arena);
        struct version_set replicas[3] = {{.count = 0}};
        struct dot dots[DOTS];
        bool covered[DOTS] = {false}; /* by the context of a later write */
        uint32_t writes = 0;
        for (uint32_t step = 0; step < 20; step++) {
            uint32_t at = (uint32_t)prng_below(&prng, 3);
            uint32_t other = (uint32_t)prng_below(&prng, 3);
            if (prng_chance(&prng, 0.5)) {
                replicas[at] = version_set_merge(&arena, &replicas[at], &replicas[other]);
                continue;
            }
            struct clock context = version_set_context(&replicas[other]);
            for (uint32_t i = 0; i < writes; i++)
                covered[i] = covered[i] || clock_covers(&context, dots[i]);
            struct version version = version_at(&arena, step, 0);
            replicas[at] =
                version_set_put(&arena, &replicas[at], &context, at, 1, &version, &dots[writes]);
            for (uint32_t i = 0; i < writes; i++)
                LAW(round, dot_compare(dots[i], dots[writes]) != 0);
            writes++;
        }
        struct version_set forward = {0};
        struct version_set backward = {0};
        for (uint32_t i = 0; i < 3; i++) {
            forward = version_set_merge(&arena, &forward, &replicas[i]);
            backward = version_set_merge(&arena, &replicas[2 - i], &backward);
        }
        LAW(round, bytes_equal(encoded(&arena, &forward), encoded(&arena, &backward)));
        uint32_t live = 0;
        for (uint32_t i = 0; i < writes; i++) {
            live += !covered[i];
            LAW(round, clock_covers(&forward.clock, dots[i]));
        }
        LAW(round, forward.count == live);
    }
    arena_deinit(&arena);
}

static void test_add_epoch(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct version_set set = set_of(&arena, (struct masks){.seen = 7, .live = 4}, 0);
    struct version_set fresh = version_set_add_epoch(&arena, &set, 1, 2);
    assert_int_equal(fresh.count, set.count);
    assert_int_equal(clock_last_counter(&fresh.clock, 1, 2), 1);
    assert_true(is_less(&set, &fresh));
    struct version version = version_at(&arena, 1, 0);
    struct dot dot;
    struct clock nothing = {0};
    version_set_put(&arena, &fresh, &nothing, 1, 2, &version, &dot);
    assert_int_equal(dot.counter, 2);
    arena_deinit(&arena);
}

static void test_live(void **state)
{
    (void)state;
    struct version versions[] = {
        {.dot = {1, 1, 1}},
        {.dot = {1, 1, 2}, .expires_at_ms = 1000},
        {.dot = {1, 1, 3}, .flags = VERSION_TOMBSTONE},
        {.dot = {1, 1, 4}, .flags = VERSION_TOMBSTONE, .expires_at_ms = 1000},
    };
    assert_true(version_is_live(&versions[1], 999));
    assert_false(version_is_live(&versions[1], 1000));
    assert_false(version_is_live(&versions[3], 0));
    assert_true(version_is_live(&versions[0], UINT64_MAX));
    assert_false(version_is_live(&versions[2], 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_put),         cmocka_unit_test(test_last_writer_wins),
        cmocka_unit_test(test_convergence), cmocka_unit_test(test_last_writer_wins_converges),
        cmocka_unit_test(test_add_epoch),   cmocka_unit_test(test_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
