// link: coterie_model
/* Equal state is equal bytes, and every other byte string is CORRUPT: a decoder that takes
 * something gives it back byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/effort.h"
#include "tests/unit/random_set.h"

#include <stdlib.h>

#define SEED 4711u

static struct bytes encoded(struct arena *arena, const struct version_set *set)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    version_set_encode(&writer, set);
    return writer_result(&writer);
}

static struct bytes encoded_clock(struct arena *arena, const struct clock *clock)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    clock_encode(&writer, clock);
    return writer_result(&writer);
}

/* Decodes an exact copy on the heap, so that a read past its end is seen by ASan. */
static void assert_canonical_or_corrupt(struct arena *arena, struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    assert_non_null(copy);
    if (bytes.size != 0)
        memcpy(copy, bytes.data, bytes.size);

    struct version_set untouched = {.count = 77, .clock = {.count = 78}};
    struct version_set set = untouched;
    struct reader reader = reader_of(bytes_of(copy, bytes.size));
    if (version_set_decode(&reader, arena, &set) == OK) {
        struct bytes used = bytes_of(copy, bytes.size - reader_left(&reader));
        assert_true(bytes_equal(used, encoded(arena, &set)));
    } else {
        assert_memory_equal(&set, &untouched, sizeof set);
        assert_true(reader.failed);
    }

    struct clock clock = {.count = 79};
    reader = reader_of(bytes_of(copy, bytes.size));
    if (clock_decode(&reader, arena, &clock) == OK) {
        struct bytes used = bytes_of(copy, bytes.size - reader_left(&reader));
        assert_true(bytes_equal(used, encoded_clock(arena, &clock)));
    } else {
        assert_int_equal(clock.count, 79);
        assert_true(reader.failed);
    }
    free(copy);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 50000; round++) {
        arena_clear(&arena);
        struct version_set set = set_of(&arena, random_masks(&prng), prng_u64(&prng));
        struct bytes bytes = encoded(&arena, &set);
        struct reader reader = reader_of(bytes);
        struct version_set back;
        assert_int_equal(version_set_decode(&reader, &arena, &back), OK);
        assert_true(reader_done(&reader));
        assert_true(version_set_equal(&set, &back));
        for (uint32_t i = 0; i < back.count; i++) {
            const uint8_t *value = back.versions[i].value.data;
            assert_true(back.versions[i].value.size == 0 ||
                        (value > bytes.data && value < bytes.data + bytes.size));
        }
    }
    arena_deinit(&arena);
}

static void test_damage(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 2);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 600; round++) {
        arena_clear(&arena);
        struct version_set set = set_of(&arena, random_masks(&prng), 0);
        struct bytes bytes = encoded(&arena, &set);
        for (size_t size = 0; size < bytes.size; size++) {
            struct reader reader = reader_of(bytes_of(bytes.data, size));
            struct version_set back;
            assert_int_equal(version_set_decode(&reader, &arena, &back), ERR_CORRUPT);
        }
        uint8_t *copy = arena_alloc(&arena, bytes.size);
        for (uint32_t i = 0; i < 40; i++) {
            memcpy(copy, bytes.data, bytes.size);
            for (uint64_t flips = prng_below(&prng, 3) + 1; flips > 0; flips--)
                copy[prng_below(&prng, bytes.size)] ^= (uint8_t)(1u << prng_below(&prng, 8));
            assert_canonical_or_corrupt(&arena, bytes_of(copy, bytes.size));
        }
    }
    arena_deinit(&arena);
}

static void test_random_bytes(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 3);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint32_t rounds = effort(100000);
    for (uint32_t round = 0; round < rounds; round++) {
        arena_clear(&arena);
        uint8_t bytes[64];
        size_t size = prng_below(&prng, sizeof bytes + 1);
        uint64_t small = prng_below(&prng, 2); /* small numbers get past the first checks */
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(small ? prng_below(&prng, 4) : prng_u64(&prng));
        assert_canonical_or_corrupt(&arena, bytes_of(bytes, size));
    }
    arena_deinit(&arena);
}

#define BYTES(...) bytes_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define WRITTEN    1, 0, 0, 0, 0, 0, 0, 0
#define E8         8, 0, 0, 0, 0, 0, 0, 0
#define E9         9, 0, 0, 0, 0, 0, 0, 0
#define E10        10, 0, 0, 0, 0, 0, 0, 0
#define MAX_VARINT 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1

/* What each row breaks, and only that. The first row of each kind is sound. */
static void test_canonical(void **state)
{
    (void)state;
    const struct {
        const char *what;
        enum err expect;
        struct bytes bytes;
    } rows[] = {
        {"an empty set", OK, BYTES(0, 0)},
        {"one version", OK, BYTES(1, 5, E9, 3, 0, 1, 0, 2, WRITTEN, 0, 0, 1, 'x')},
        {"two entries, one extra", OK, BYTES(2, 5, E9, 3, 1, 0, 5, E10, 1, 0, 0)},
        {"two versions", OK,
         BYTES(1, 5, E9, 3, 0, 2, 0, 2, WRITTEN, 0, 0, 0, 0, 3, WRITTEN, 0, 0, 0)},
        {"a version at an extra", OK, BYTES(1, 5, E9, 3, 1, 0, 1, 0, 5, WRITTEN, 0, 0, 0)},
        {"a tombstone", OK, BYTES(1, 5, E9, 3, 0, 1, 0, 2, WRITTEN, 0, 1, 0)},
        {"nothing", ERR_CORRUPT, BYTES(0)},
        {"no count of versions", ERR_CORRUPT, BYTES(1, 5, E9, 3, 0)},
        {"an entry that covers nothing", ERR_CORRUPT, BYTES(1, 5, E9, 0, 0, 0)},
        {"the same actor twice", ERR_CORRUPT, BYTES(2, 5, E9, 3, 0, 5, E9, 4, 0, 0)},
        {"epochs out of order", ERR_CORRUPT, BYTES(2, 5, E9, 3, 0, 5, E8, 4, 0, 0)},
        {"members out of order", ERR_CORRUPT, BYTES(2, 5, E9, 3, 0, 4, E10, 4, 0, 0)},
        {"a padded number", ERR_CORRUPT, BYTES(1, 0x85, 0, E9, 3, 0, 0)},
        {"a member above 32 bits", ERR_CORRUPT,
         BYTES(1, 0x80, 0x80, 0x80, 0x80, 0x10, E9, 3, 0, 0)},
        {"more extras than bytes", ERR_CORRUPT, BYTES(1, 5, E9, 3, 9, 0, 0)},
        {"an extra above all counters", ERR_CORRUPT, BYTES(1, 5, E9, 3, 1, MAX_VARINT, 0)},
        {"an extra above the last base", ERR_CORRUPT, BYTES(1, 5, E9, MAX_VARINT, 1, 0, 0)},
        {"more entries than bytes", ERR_CORRUPT, BYTES(9, 5, E9, 3, 0, 0)},
        {"more versions than bytes", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 2, 0, 2, WRITTEN, 0, 0, 1, 'x')},
        {"no such entry", ERR_CORRUPT, BYTES(1, 5, E9, 3, 0, 1, 1, 2, WRITTEN, 0, 0, 1, 'x')},
        {"a version not covered", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 1, 0, 4, WRITTEN, 0, 0, 1, 'x')},
        {"a version below an extra", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 1, 0, 1, 0, 4, WRITTEN, 0, 0, 0)},
        {"a version without a dot", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 1, 0, 0, WRITTEN, 0, 0, 1, 'x')},
        {"the same dot twice", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 2, 0, 2, WRITTEN, 0, 0, 0, 0, 2, WRITTEN, 0, 0, 0)},
        {"dots out of order", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 2, 0, 3, WRITTEN, 0, 0, 0, 0, 2, WRITTEN, 0, 0, 0)},
        {"an unknown flag", ERR_CORRUPT, BYTES(1, 5, E9, 3, 0, 1, 0, 2, WRITTEN, 0, 2, 0)},
        {"a tombstone with a value", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 1, 0, 2, WRITTEN, 0, 1, 1, 'x')},
        {"a value that is cut", ERR_CORRUPT, BYTES(1, 5, E9, 3, 0, 1, 0, 2, WRITTEN, 0, 0, 2, 'x')},
        {"a value of all sizes", ERR_CORRUPT,
         BYTES(1, 5, E9, 3, 0, 1, 0, 2, WRITTEN, 0, 0, MAX_VARINT)},
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct version_set set;
        struct reader reader = reader_of(rows[i].bytes);
        enum err err = version_set_decode(&reader, &arena, &set);
        if (err != rows[i].expect)
            fail_msg("%s: %s", rows[i].what, err_text(err));
        assert_canonical_or_corrupt(&arena, rows[i].bytes);
    }
    arena_deinit(&arena);
}

static struct clock clock_with(struct arena *arena, uint32_t entry_count, uint32_t extra_count)
{
    struct clock_entry *entries = ARENA_NEW(arena, struct clock_entry, entry_count);
    uint64_t *extras = ARENA_NEW(arena, uint64_t, extra_count);
    for (uint32_t i = 0; i < extra_count; i++)
        extras[i] = 3 + 2ull * i;
    for (uint32_t i = 0; i < entry_count; i++)
        entries[i] = (struct clock_entry){.member = i, .base = 1};
    /* The bound is for all entries together: the first two share them. */
    uint32_t half = entry_count > 1 ? extra_count / 2 : 0;
    entries[0].extras = extras;
    entries[0].extra_count = extra_count - half;
    if (half > 0) {
        entries[1].extras = extras;
        entries[1].extra_count = half;
    }
    return (struct clock){.count = entry_count, .entries = entries};
}

/* A context is bounded by number; a set by its input alone, so that any merge can be read again. */
static void test_limits(void **state)
{
    (void)state;
    const struct {
        uint32_t entries;
        uint32_t extras;
        enum err expect;
    } rows[] = {{4096, 65536, OK},       {4097, 0, ERR_CORRUPT}, {1, 65537, ERR_CORRUPT},
                {2, 65537, ERR_CORRUPT}, {1, 65536, OK},         {4096, 0, OK}};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct clock clock = clock_with(&arena, rows[i].entries, rows[i].extras);
        struct reader reader = reader_of(encoded_clock(&arena, &clock));
        struct clock back;
        assert_int_equal(clock_decode(&reader, &arena, &back), rows[i].expect);
        struct version_set set = {.clock = clock};
        reader = reader_of(encoded(&arena, &set));
        assert_int_equal(version_set_decode(&reader, &arena, &set), OK);
        assert_true(clock_equal(&set.clock, &clock));
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_damage),
        cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
