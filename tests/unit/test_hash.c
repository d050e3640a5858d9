// link: coterie_model xxhash
/* Where a key lives: published XXH3 values, equal partitions, and storage keys in ring order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/prng.h"
#include "model/hash.h"
#include "model/limits.h"

#include <stdio.h>
#include <xxhash.h>

/* The header's inline code against the shared library's, all branches of the length. */
static void test_xxh3(void **state)
{
    (void)state;
    assert_true(hash_bytes((struct bytes){0}, 0) == 0x2D06800538D394C2u); /* XXH3-64 of nothing */
    struct prng prng;
    prng_init(&prng, 5, 0);
    static uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)prng_u64(&prng);
    for (size_t size = 0; size < sizeof data; size += 1 + size / 64) {
        uint64_t seed = prng_u64(&prng);
        assert_true(hash_bytes(bytes_of(data, size), seed) ==
                    XXH3_64bits_withSeed(data, size, seed));
        assert_true(hash_key(7, bytes_of(data, size)) == XXH3_64bits_withSeed(data, size, 7));
    }
}

static void test_partitions(void **state)
{
    (void)state;
    for (uint32_t partitions = 1; partitions <= PARTITIONS_MAX; partitions *= 2) {
        for (uint32_t i = 0; i < partitions; i++) {
            uint64_t start = hash_partition_start(i, partitions);
            assert_int_equal(hash_partition(start, partitions), i);
            if (i > 0)
                assert_int_equal(hash_partition(start - 1, partitions), i - 1);
        }
        assert_int_equal(hash_partition_start(0, partitions), 0);
        assert_int_equal(hash_partition(UINT64_MAX, partitions), partitions - 1);
    }
    assert_true(hash_partition_start(1, 2) == 1ull << 63);
}

/* Keys that people use spread evenly, and two keyspaces place one key independently. */
static void test_spread(void **state)
{
    (void)state;
    uint32_t counts[64] = {0};
    uint32_t together = 0;
    for (uint32_t i = 0; i < 64000; i++) {
        char text[32];
        snprintf(text, sizeof text, "user:%u", i);
        uint32_t partition = hash_partition(hash_key(1, bytes_of_string(text)), 64);
        counts[partition]++;
        together += partition == hash_partition(hash_key(2, bytes_of_string(text)), 64);
    }
    for (uint32_t i = 0; i < 64; i++)
        assert_in_range(counts[i], 850, 1150); /* 1000 +- 4.7 standard deviations */
    assert_in_range(together, 850, 1150);
}

static void test_storage_key(void **state)
{
    (void)state;
    static uint8_t big[KEY_BYTES_MAX];
    memset(big, 'k', sizeof big);
    struct prng prng;
    prng_init(&prng, 6, 0);
    uint8_t before[STORAGE_KEY_BYTES_MAX];
    size_t before_size = 0;
    uint64_t before_hash = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        struct bytes key = bytes_of(big, i == 0 ? KEY_BYTES_MAX : prng_below(&prng, 40));
        uint64_t hash = prng_u64(&prng);
        uint32_t keyspace_id = (uint32_t)prng_u64(&prng);
        uint8_t storage_key[STORAGE_KEY_BYTES_MAX];
        size_t size = hash_storage_key(keyspace_id, key, hash, storage_key);
        assert_int_equal(size, STORAGE_KEY_PREFIX + key.size);
        uint64_t parsed_hash = 0;
        uint32_t parsed_id = 0;
        struct bytes parsed_key;
        assert_true(hash_storage_key_parse(bytes_of(storage_key, size), &parsed_hash, &parsed_id,
                                           &parsed_key));
        assert_true(parsed_hash == hash && parsed_id == keyspace_id);
        assert_true(bytes_equal(parsed_key, key));
        if (i > 0) /* ring order is byte order */
            assert_true((bytes_compare(bytes_of(before, before_size), bytes_of(storage_key, size)) <
                         0) == (before_hash < hash));
        memcpy(before, storage_key, size);
        before_size = size;
        before_hash = hash;
    }
    const uint8_t golden[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 'a'};
    assert_int_equal(hash_storage_key(0x090A0B0C, bytes_of_string("a"), 0x0102030405060708, before),
                     sizeof golden);
    assert_memory_equal(before, golden, sizeof golden);
    uint64_t hash = 7;
    uint32_t id = 8;
    struct bytes key = {0};
    assert_false(
        hash_storage_key_parse(bytes_of(golden, STORAGE_KEY_PREFIX - 1), &hash, &id, &key));
    assert_true(hash == 7 && id == 8 && key.data == NULL);
    assert_true(hash_storage_key_parse(bytes_of(golden, STORAGE_KEY_PREFIX), &hash, &id, &key));
    assert_int_equal(key.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xxh3),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_storage_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
