// link: coterie_model
/* Rules of model/exchange.h: lists come back as they were, in one encoding each; whatever else
 * comes is CORRUPT and harmless; and two lists of digests say exactly who lacks what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/exchange_lists.h"

#include <stdlib.h>

#define SEED 20261122u

/* -- round trips and damage ---------------------------------------------------------------------
 */

static void lists_come_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t kind = 0; kind < LISTS; kind++) {
        for (uint64_t round = 0; round < 3000; round++) {
            struct prng prng;
            prng_init(&prng, SEED + round, kind);
            arena_clear(&arena);
            struct list list = list_random(&arena, &prng, kind);
            struct bytes bytes = list_encode(&arena, &list);
            struct list back = {.kind = kind, .limit = list.limit, .count = list.count};
            assert_int_equal(list_decode(&arena, bytes, &back), OK);
            assert_true(list_equal(&list, &back));
            assert_true(bytes_equal(bytes, list_encode(&arena, &back)));
        }
    }
    arena_deinit(&arena);
}

/* On the heap at its exact size, so that AddressSanitizer sees a read past its end. Whatever is
 * taken is canonical, and what is refused has changed nothing. */
static enum err decode_copy(const struct list *as, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy + 1, data, size);
    struct bytes bytes = bytes_of(copy + 1, size);
    struct list list = {.kind = as->kind, .limit = as->limit, .count = as->count};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    enum err err = list_decode(&arena, bytes, &list);
    assert_true(arena.chunk_bytes <= LIST_MEMORY_BASE + LIST_MEMORY_PER_BYTE * size);
    if (err == OK) {
        assert_true(bytes_equal(bytes, list_encode(&arena, &list)));
    } else {
        assert_int_equal(err, ERR_CORRUPT);
        assert_true(list_untouched(&list));
    }
    free(copy);
    arena_deinit(&arena);
    return err;
}

static void cut_lists_are_refused(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t kind = 0; kind < LISTS; kind++) {
        for (uint64_t round = 0; round < 100; round++) {
            struct prng prng;
            prng_init(&prng, SEED + round, 10 + kind);
            arena_clear(&arena);
            struct list list = list_random(&arena, &prng, kind);
            struct bytes bytes = list_encode(&arena, &list);
            for (size_t size = 0; size < bytes.size; size++)
                assert_int_equal(decode_copy(&list, bytes.data, size), ERR_CORRUPT);
            uint8_t *longer = arena_alloc(&arena, bytes.size + 1);
            memcpy(longer, bytes.data, bytes.size);
            longer[bytes.size] = (uint8_t)prng_below(&prng, 2);
            assert_int_equal(decode_copy(&list, longer, bytes.size + 1), ERR_CORRUPT);
        }
    }
    arena_deinit(&arena);
}

/* Flipped bits, odd numbers and noise. */
static void damaged_lists_are_refused_or_canonical(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t kind = 0; kind < LISTS; kind++) {
        uint32_t taken = 0;
        for (uint64_t round = 0; round < 20000; round++) {
            struct prng prng;
            prng_init(&prng, SEED + round, 20 + kind);
            arena_clear(&arena);
            struct list list = list_random(&arena, &prng, kind);
            struct bytes bytes = list_encode(&arena, &list);
            uint8_t *data = arena_alloc(&arena, bytes.size + 64);
            size_t size = bytes.size;
            memcpy(data, bytes.data, size);
            if (prng_chance(&prng, 0.2)) {
                size = prng_below(&prng, 64);
                for (size_t i = 0; i < size; i++)
                    data[i] = (uint8_t)prng_u64(&prng);
            }
            for (uint64_t flips = 1 + prng_below(&prng, 3); flips > 0 && size > 0; flips--) {
                static const uint8_t odd[] = {0, 1, 0x7F, 0x80, 0xFF};
                size_t at = prng_below(&prng, size);
                if (prng_chance(&prng, 0.5))
                    data[at] = odd[prng_below(&prng, sizeof odd)];
                else
                    data[at] ^= (uint8_t)(1u << at % 8);
            }
            taken += decode_copy(&list, data, size) == OK;
        }
        assert_in_range(taken, 100, 19999); /* both branches were met */
    }
    arena_deinit(&arena);
}

struct bad {
    uint32_t kind;
    uint64_t limit;
    uint32_t count;
    size_t size;
    uint8_t data[32];
    const char *why;
};

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const struct bad rows[] = {
        {LIST_ROOTS, 0, 0, 9, {1, 9, 0, 0, 0, 3, 0, 0, 0}, "depth 3"},
        {LIST_ROOTS, 0, 0, 9, {1, 9, 0, 0, 0, 17, 0, 0, 0}, "depth 17"},
        {LIST_ROOTS, 0, 0, 17, {2, 9, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0}, "twice"},
        {LIST_ROOTS, 0, 0, 17, {2, 9, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0}, "descending"},
        {LIST_ROOTS, 0, 0, 9, {1, 9, 0, 0, 0, 4, 0, 0, 1}, "keys without a sum"},
        {LIST_ROOTS, 0, 0, 9, {1, 9, 0, 0, 0, 4, 2, 3, 0}, "reaped above the floor"},
        {LIST_ROOTS, 0, 0, 9, {2, 9, 0, 0, 0, 4, 0, 0, 0}, "more than there is"},
        {LIST_INDICES, 16, 0, 2, {1, 16}, "at the limit"},
        {LIST_INDICES, 16, 0, 3, {2, 8, 7}, "a gap to the limit"},
        {LIST_INDICES, 0, 0, 2, {1, 0}, "nothing is below 0"},
        {LIST_INDICES, 1, 0, 3, {2, 0, 0}, "more than the limit"},
        {LIST_INDICES, 16, 0, 3, {1, 0x80, 0}, "a padded varint"},
        {LIST_INDICES, UINT64_C(1) << 32, 0, 7, {2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0}, "past 2^32"},
        {LIST_HASHES, 0, 1, 3, {1, 2, 3}, "a byte too few"},
        {LIST_HASHES, 0, 1, 8, {1, 2, 3}, "one too many"},
        {LIST_HASHES, 0, 0, 4, {1, 2, 3}, "none was asked for"},
        {LIST_DIGESTS, 4, 0, 10, {1, 0x80, 0x80, 0x80, 0x80, 0x01, 1, 0, 0, 0}, "cut"},
        {LIST_DIGESTS, 4, 0, 9, {1, 0x80, 0x80, 0x40, 1, 0, 0, 0, 0}, "place past the leaves"},
        {LIST_DIGESTS, 4, 0, 13, {2, 5, 1, 9, 0, 0, 0, 0, 1, 8, 0, 0, 0}, "state not ascending"},
        {LIST_DIGESTS, 4, 0, 13, {2, 5, 2, 9, 0, 0, 0, 0, 1, 9, 0, 0, 0}, "dots not ascending"},
        {LIST_RECORDS, 0, 0, 3, {1, 0, 0}, "an empty key"},
        {LIST_RECORDS, 0, 0, 4, {1, 1, 'k', 1}, "a record that is not there"},
        {LIST_RECORDS, 0, 0, 3, {1, 2, 'k'}, "half a key"},
        {LIST_RECORDS, 0, 0, 9, {1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, "2^56"},
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct list as = {.kind = rows[i].kind, .limit = rows[i].limit, .count = rows[i].count};
        if (decode_copy(&as, rows[i].data, rows[i].size) != ERR_CORRUPT)
            fail_msg("taken: %s", rows[i].why);
    }
    /* A key may be KEY_BYTES_MAX long, and no longer. */
    for (size_t size = KEY_BYTES_MAX; size <= KEY_BYTES_MAX + 1; size++) {
        struct writer writer;
        writer_init(&writer, &arena, size + 8);
        writer_varint(&writer, 1);
        writer_sized_bytes(&writer, bytes_of(arena_alloc_zero(&arena, size), size));
        writer_varint(&writer, 0);
        struct bytes bytes = writer_result(&writer);
        struct list as = {.kind = LIST_RECORDS};
        enum err expected = size <= KEY_BYTES_MAX ? OK : ERR_CORRUPT;
        assert_int_equal(decode_copy(&as, bytes.data, bytes.size), expected);
    }
    arena_deinit(&arena);
}

static void roots_are_bounded(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t count = KEYSPACES_MAX; count <= KEYSPACES_MAX + 1; count++) {
        struct writer writer;
        writer_init(&writer, &arena, 64);
        writer_varint(&writer, count);
        for (uint32_t i = 0; i < count; i++) {
            writer_u32(&writer, i);
            writer_u8(&writer, 4);
            writer_varint(&writer, 0);
            writer_varint(&writer, 0);
            writer_varint(&writer, 0);
        }
        struct exchange_roots roots;
        enum err expected = count <= KEYSPACES_MAX ? OK : ERR_CORRUPT;
        assert_int_equal(exchange_roots_decode(&arena, writer_result(&writer), &roots), expected);
    }
    arena_deinit(&arena);
}

static void sizes_of_records_are_known(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    static const size_t sizes[] = {1, 127, 128, 4096};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            struct exchange_record record = {
                .key = bytes_of(arena_alloc_zero(&arena, sizes[i]), sizes[i]),
                .record = bytes_of(arena_alloc_zero(&arena, 5 * sizes[j]), 5 * sizes[j])};
            struct exchange_record both[] = {record, record};
            struct exchange_records one = {.count = 1, .records = both};
            struct exchange_records two = {.count = 2, .records = both};
            assert_int_equal(exchange_records_encode(&arena, &two).size -
                                 exchange_records_encode(&arena, &one).size,
                             exchange_record_bytes(&record));
        }
    }
    arena_deinit(&arena);
}

/* -- places and states --------------------------------------------------------------------------
 */

static void places_cut_leaves(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 30);
    static const uint32_t partition_counts[] = {1, 64, 1024};
    for (uint32_t round = 0; round < 3000; round++) {
        uint32_t partitions = partition_counts[round % 3];
        unsigned depth = (unsigned)prng_between(&prng, MERKLE_DEPTH_MIN, MERKLE_DEPTH_MAX);
        uint64_t hash = prng_u64(&prng);
        uint32_t partition = hash_partition(hash, partitions);
        uint32_t place = exchange_place(partitions, depth, hash);
        assert_true(place < exchange_places(depth));
        assert_int_equal(place >> EXCHANGE_PLACE_BITS, merkle_index(partitions, depth, hash));
        struct merkle_range range = exchange_place_range(partition, partitions, depth, place);
        assert_true(hash >= range.first && hash <= range.last);
        assert_int_equal(exchange_place(partitions, depth, range.first), place);
        assert_int_equal(exchange_place(partitions, depth, range.last), place);
        if (place + 1 < exchange_places(depth))
            assert_int_equal(exchange_place(partitions, depth, range.last + 1), place + 1);
    }
    assert_true(exchange_places(16) == UINT64_C(1) << 32);
}

static void states_follow_checksum_and_salt(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 31);
    uint32_t equal = 0;
    for (uint32_t round = 0; round < 100000; round++) {
        uint64_t checksum = prng_u64(&prng);
        uint64_t bit = UINT64_C(1) << round % 64;
        uint64_t salt = prng_u64(&prng);
        uint32_t one = exchange_state(checksum, salt);
        assert_int_equal(one, exchange_state(checksum, salt));
        equal += one == exchange_state(checksum ^ bit, salt);
        equal += one == exchange_state(checksum, salt ^ bit);
    }
    assert_in_range(equal, 0, 2);
}

static void sorting_orders_places_states_dots(void **state)
{
    (void)state;
    struct exchange_digest digests[] = {{5, 1, 1}, {4, 2, 9}, {5, 0, 7},
                                        {4, 2, 1}, {4, 1, 1}, {4000000000u, 0, 0}};
    static const struct exchange_digest sorted[] = {{4, 1, 1}, {4, 2, 1}, {4, 2, 9},
                                                    {5, 0, 7}, {5, 1, 1}, {4000000000u, 0, 0}};
    exchange_digests_sort(digests, 6);
    assert_memory_equal(digests, sorted, sizeof sorted);
    exchange_digests_sort(NULL, 0);
}

/* -- who lacks what ------------------------------------------------------------------------------
 */

struct diff_row {
    const char *what;
    struct exchange_digest mine[4];
    uint32_t mine_count;
    struct exchange_digest theirs[4];
    uint32_t theirs_count;
    uint32_t send[4];
    uint32_t send_count;
    uint32_t want[4];
    uint32_t want_count;
    uint32_t only_mine, only_theirs, different;
};

static void diffs_say_who_lacks_what(void **state)
{
    (void)state;
    static const struct diff_row rows[] = {
        {.what = "nothing"},
        {"equal", {{1, 7, 3}, {2, 8, 1}}, 2, {{1, 7, 3}, {2, 8, 1}}, 2, .only_mine = 0},
        {"only mine", {{1, 7, 3}, {2, 8, 1}}, 2, {{1, 7, 3}}, 1, {1}, 1, .only_mine = 1},
        {"only theirs",
         {{2, 8, 1}},
         1,
         {{1, 7, 3}, {2, 8, 1}},
         2,
         .want = {1},
         .want_count = 1,
         .only_theirs = 1},
        {"all mine", {{1, 7, 3}, {2, 8, 1}}, 2, {{0}}, 0, {0, 1}, 2, .only_mine = 2},
        {"all theirs",
         {{0}},
         0,
         {{1, 7, 3}, {2, 8, 1}},
         2,
         .want = {1, 2},
         .want_count = 2,
         .only_theirs = 2},
        {"mine is newer", {{1, 7, 3}}, 1, {{1, 6, 2}}, 1, {0}, 1, .different = 1},
        {"theirs is newer",
         {{1, 7, 2}},
         1,
         {{1, 6, 3}},
         1,
         .want = {1},
         .want_count = 1,
         .different = 1},
        {"concurrent", {{1, 7, 2}}, 1, {{1, 6, 2}}, 1, {0}, 1, .different = 1},
        {"states alike, dots not",
         {{1, 7, 2}},
         1,
         {{1, 7, 3}},
         1,
         .want = {1},
         .want_count = 1,
         .different = 1},
        {"a shared place, equal ones out first",
         {{5, 1, 1}, {5, 2, 2}, {5, 3, 3}},
         3,
         {{5, 1, 1}, {5, 3, 3}, {5, 4, 9}},
         3,
         .want = {5},
         .want_count = 1,
         .different = 1},
        {"a shared place, one side more",
         {{5, 1, 1}, {5, 2, 2}},
         2,
         {{5, 1, 1}},
         1,
         {1},
         1,
         .only_mine = 1},
        {"a shared place, asked for once",
         {{4, 1, 1}},
         1,
         {{4, 1, 1}, {4, 2, 2}, {4, 3, 3}},
         3,
         .want = {4},
         .want_count = 1,
         .only_theirs = 2},
        {"the last place",
         {{1, 1, 1}},
         1,
         {{1, 1, 1}, {UINT32_MAX, 1, 1}},
         2,
         .want = {UINT32_MAX},
         .want_count = 1,
         .only_theirs = 1},
        {"the same twice", {{5, 1, 1}, {5, 1, 1}}, 2, {{5, 1, 1}}, 1, {1}, 1, .only_mine = 1},
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct diff_row *row = &rows[i];
        struct exchange_digests mine = {row->mine_count, row->mine};
        struct exchange_digests theirs = {row->theirs_count, row->theirs};
        struct exchange_diff diff = exchange_digests_diff(&arena, &mine, &theirs);
        bool right = diff.send.count == row->send_count && diff.want.count == row->want_count &&
                     diff.only_mine == row->only_mine && diff.only_theirs == row->only_theirs &&
                     diff.different == row->different;
        for (uint32_t j = 0; right && j < diff.send.count; j++)
            right = diff.send.indices[j] == row->send[j];
        for (uint32_t j = 0; right && j < diff.want.count; j++)
            right = diff.want.indices[j] == row->want[j];
        if (!right)
            fail_msg("%s", row->what);
    }
    arena_deinit(&arena);
}

/* A key is a number, its place one of a few, and what a side holds of it a set of up to eight dots
 * as bits: history that only grows, joined by "or". */
#define WORLD_KEYS 40u

static struct exchange_digests world_digests(struct arena *arena, const uint8_t *held,
                                             uint32_t places, uint64_t salt)
{
    struct exchange_digest *digests = arena_alloc(arena, WORLD_KEYS * sizeof *digests);
    uint32_t count = 0;
    for (uint32_t key = 0; key < WORLD_KEYS; key++) {
        if (held[key] == 0)
            continue;
        digests[count++] =
            (struct exchange_digest){.place = key % places,
                                     .state = exchange_state(key * 256 + held[key], salt),
                                     .dots = (uint64_t)__builtin_popcount(held[key])};
    }
    exchange_digests_sort(digests, count);
    return (struct exchange_digests){.count = count, .digests = digests};
}

static uint32_t key_of_digest(const uint8_t *held, const struct exchange_digest *digest,
                              uint32_t places, uint64_t salt)
{
    for (uint32_t key = 0; key < WORLD_KEYS; key++) {
        if (held[key] != 0 && key % places == digest->place &&
            exchange_state(key * 256 + held[key], salt) == digest->state)
            return key;
    }
    fail_msg("no key for a digest");
    return 0;
}

/* `to` joins what it is sent and sends the join back when it is more. */
static uint32_t send_key(uint8_t *from, uint8_t *to, uint32_t key)
{
    to[key] |= from[key];
    if (to[key] == from[key])
        return 1;
    from[key] |= to[key];
    return 2;
}

static uint32_t count_differing(const uint8_t *a, const uint8_t *b)
{
    uint32_t count = 0;
    for (uint32_t key = 0; key < WORLD_KEYS; key++)
        count += a[key] != b[key];
    return count;
}

/* One exchange. Gives how many records it moved. */
static uint32_t play(struct arena *arena, uint8_t *mine, uint8_t *theirs, uint32_t places,
                     uint64_t salt)
{
    struct exchange_digests my_list = world_digests(arena, mine, places, salt);
    struct exchange_digests their_list = world_digests(arena, theirs, places, salt);
    struct exchange_diff diff = exchange_digests_diff(arena, &my_list, &their_list);
    uint32_t moved = 0;
    uint8_t before[WORLD_KEYS];
    memcpy(before, mine, sizeof before);
    for (uint32_t i = 0; i < diff.send.count; i++) {
        const struct exchange_digest *digest = &my_list.digests[diff.send.indices[i]];
        moved += send_key(mine, theirs, key_of_digest(before, digest, places, salt));
    }
    for (uint32_t i = 0; i < diff.want.count; i++) {
        for (uint32_t key = 0; key < WORLD_KEYS; key++) {
            if (theirs[key] != 0 && key % places == diff.want.indices[i])
                moved += send_key(theirs, mine, key);
        }
    }
    return moved;
}

/* Where each key has its own place one exchange makes both sides equal, and moves one record for an
 * ordered pair and two for a concurrent one. Where places are shared each exchange makes at least
 * one key more equal. */
static void exchanges_end_in_equality(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 20000; round++) {
        struct prng prng;
        prng_init(&prng, SEED + round, 40);
        arena_clear(&arena);
        uint8_t mine[WORLD_KEYS];
        uint8_t theirs[WORLD_KEYS];
        uint32_t needed = 0;
        for (uint32_t key = 0; key < WORLD_KEYS; key++) {
            mine[key] = (uint8_t)(prng_u64(&prng) & prng_u64(&prng));
            theirs[key] = prng_chance(&prng, 0.5)   ? mine[key]
                          : prng_chance(&prng, 0.5) ? (uint8_t)(mine[key] & prng_u64(&prng))
                                                    : (uint8_t)prng_u64(&prng);
            uint8_t both = mine[key] | theirs[key];
            needed += mine[key] != both;
            needed += theirs[key] != both;
        }
        uint32_t places = round % 3 == 0 ? WORLD_KEYS : 1 + (uint32_t)prng_below(&prng, WORLD_KEYS);
        uint32_t left = count_differing(mine, theirs);
        uint32_t moved = play(&arena, mine, theirs, places, round);
        if (places == WORLD_KEYS) {
            assert_int_equal(count_differing(mine, theirs), 0);
            assert_int_equal(moved, needed);
        }
        while (left > 0 && count_differing(mine, theirs) > 0) {
            assert_true(count_differing(mine, theirs) < left);
            left = count_differing(mine, theirs);
            play(&arena, mine, theirs, places, round + left);
        }
        assert_int_equal(play(&arena, mine, theirs, places, round), 0);
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_come_back),
        cmocka_unit_test(cut_lists_are_refused),
        cmocka_unit_test(damaged_lists_are_refused_or_canonical),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(roots_are_bounded),
        cmocka_unit_test(sizes_of_records_are_known),
        cmocka_unit_test(places_cut_leaves),
        cmocka_unit_test(states_follow_checksum_and_salt),
        cmocka_unit_test(sorting_orders_places_states_dots),
        cmocka_unit_test(diffs_say_who_lacks_what),
        cmocka_unit_test(exchanges_end_in_equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
