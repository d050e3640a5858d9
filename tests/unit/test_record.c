// link: coterie_model
/* A record is its key's and whole, or it is CORRUPT (DESIGN.md 6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/random_set.h"

#include "model/hash.h"
#include "model/record.h"

#include <stdlib.h>

#define SEED     99u
#define KEYSPACE 0xC0FFEEu

static const struct bytes key = {(const uint8_t *)"user/42", 7};

static struct version_set with_value(struct arena *arena, size_t size)
{
    struct version_set set = {0};
    struct version version = {.written_at = 0x0191234567890001,
                              .value = bytes_of(arena_alloc_zero(arena, size), size)};
    struct dot dot;
    return version_set_put(arena, &set, NULL, 3, 1700000000000ull << 20, &version, &dot);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 20000; round++) {
        arena_clear(&arena);
        struct version_set set = set_of(&arena, random_masks(&prng), 0);
        struct bytes record = record_encode(&arena, KEYSPACE, key, &set);
        struct version_set back;
        assert_int_equal(record_verify(KEYSPACE, key, record), OK);
        assert_int_equal(record_decode(&arena, KEYSPACE, key, record, &back), OK);
        assert_true(version_set_equal(&set, &back));
        struct bytes again = record_encode(&arena, KEYSPACE, key, &back);
        assert_true(bytes_equal(record, again));
    }
    const size_t sizes[] = {0, 1, 100, 127, 128, 16384, 1024 * 1024, 3 * 1024 * 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        arena_clear(&arena);
        struct version_set set = with_value(&arena, sizes[i]);
        struct bytes record = record_encode(&arena, KEYSPACE, key, &set);
        struct version_set back;
        assert_int_equal(record_decode(&arena, KEYSPACE, key, record, &back), OK);
        assert_true(version_set_equal(&set, &back));
    }
    arena_deinit(&arena);
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 2);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 40; round++) {
        arena_clear(&arena);
        struct version_set set = set_of(&arena, random_masks(&prng), 0);
        if (round < 4)
            set = with_value(&arena, (size_t[]){0, 100, 300, 1500}[round]);
        struct bytes record = record_encode(&arena, KEYSPACE, key, &set);
        uint8_t *copy = malloc(record.size);
        assert_non_null(copy);
        memcpy(copy, record.data, record.size);
        struct version_set untouched = {.count = 77};
        for (size_t bit_index = 0; bit_index < 8 * record.size; bit_index++) {
            copy[bit_index / 8] ^= (uint8_t)(1u << bit_index % 8);
            struct bytes flipped = bytes_of(copy, record.size);
            assert_int_equal(record_verify(KEYSPACE, key, flipped), ERR_CORRUPT);
            assert_int_equal(record_decode(&arena, KEYSPACE, key, flipped, &untouched),
                             ERR_CORRUPT);
            copy[bit_index / 8] ^= (uint8_t)(1u << bit_index % 8);
        }
        for (size_t size = 0; size < record.size; size++)
            assert_int_equal(record_verify(KEYSPACE, key, bytes_of(copy, size)), ERR_CORRUPT);
        assert_int_equal(record_verify(KEYSPACE, key, bytes_of(copy, record.size)), OK);
        assert_int_equal(untouched.count, 77);
        free(copy);
    }
    arena_deinit(&arena);
}

static void test_moved(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct version_set set = with_value(&arena, 100);
    struct version_set empty = {0};
    const struct version_set *sets[] = {&set, &empty};
    for (size_t i = 0; i < 2; i++) {
        struct bytes record = record_encode(&arena, KEYSPACE, key, sets[i]);
        const char *others[] = {"", "user/4", "user/43", "user/422", "USER/42", "user/42 "};
        for (size_t j = 0; j < sizeof others / sizeof others[0]; j++) {
            struct bytes other = bytes_of_string(others[j]);
            assert_int_equal(record_verify(KEYSPACE, other, record), ERR_CORRUPT);
        }
        assert_int_equal(record_verify(KEYSPACE + 1, key, record), ERR_CORRUPT);
        assert_int_equal(record_verify(KEYSPACE, key, record), OK);
    }
    arena_deinit(&arena);
}

/* The bytes of a sound record with its checksum made anew. */
static struct bytes sealed(struct arena *arena, struct bytes body)
{
    struct writer writer;
    writer_init(&writer, arena, body.size + 8);
    writer_bytes(&writer, body);
    writer_u64(&writer, hash_bytes(body, hash_key(KEYSPACE, key)));
    return writer_result(&writer);
}

/* A checksum does not make nonsense sound, and a newer format is not damage. */
static void test_sound_checksum(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    const struct {
        enum err verify;
        enum err decode;
        struct bytes body;
    } rows[] = {
        {OK, OK, bytes_of("\1\0\0", 3)},
        {OK, ERR_CORRUPT, bytes_of("\1", 1)},
        {OK, ERR_CORRUPT, bytes_of("\1\0", 2)},
        {OK, ERR_CORRUPT, bytes_of("\1\0\0\0", 4)}, /* something left over */
        {OK, ERR_CORRUPT, bytes_of("\1\1\1\1\0\0\0\0\0\0\0\0\0\0", 14)},
        {ERR_UNSUPPORTED, ERR_UNSUPPORTED, bytes_of("\2\0\0", 3)},
        {ERR_UNSUPPORTED, ERR_UNSUPPORTED, bytes_of("\0", 1)},
        {ERR_CORRUPT, ERR_CORRUPT, bytes_of("", 0)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct version_set set;
        struct bytes record = sealed(&arena, rows[i].body);
        assert_int_equal(record_verify(KEYSPACE, key, record), rows[i].verify);
        assert_int_equal(record_decode(&arena, KEYSPACE, key, record, &set), rows[i].decode);
    }
    arena_deinit(&arena);
}

/* The format on disk: a change of it is a change of these bytes and needs a new format number. */
static void test_golden(void **state)
{
    (void)state;
    static const uint8_t golden[] = {
        0x01, 0x02, 0x02, 0xE8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x09,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x01, 0x00, 0x01,
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0xAC, 0x02, 0x00, 0x07, 0x75, 0x73,
        0x65, 0x72, 0x2F, 0x34, 0x32, 0xFC, 0x67, 0x37, 0xA5, 0xF0, 0x19, 0x78, 0x4D};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct version version = {.written_at = 0x0102030405060708, .expires_at_ms = 300, .value = key};
    struct version_set set = {0};
    struct dot dot;
    set = version_set_put(&arena, &set, NULL, 2, 1000, &version, &dot);
    set.clock = clock_add(&arena, &set.clock, (struct dot){.member = 9, .counter = 5});
    struct bytes record = record_encode(&arena, KEYSPACE, key, &set);
    assert_int_equal(record.size, sizeof golden);
    assert_memory_equal(record.data, golden, sizeof golden);
    assert_true(record_checksum(record) == 0x4D7819F0A53767FC);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_moved),      cmocka_unit_test(test_sound_checksum),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
