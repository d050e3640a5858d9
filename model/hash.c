#include "model/hash.h"

#include "base/check.h"
#include "model/limits.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(STORAGE_KEY_BYTES_MAX == STORAGE_KEY_PREFIX + KEY_BYTES_MAX, "a key fits");

uint64_t hash_bytes(struct bytes bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.size == 0 ? "" : (const void *)bytes.data, bytes.size, seed);
}

uint64_t hash_mix(uint64_t number)
{
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9u;
    number = (number ^ number >> 27) * 0x94D049BB133111EBu;
    return number ^ number >> 31;
}

uint64_t hash_key(uint32_t keyspace_id, struct bytes key)
{
    return hash_bytes(key, keyspace_id);
}

static unsigned partition_bits(uint32_t partitions)
{
    CHECK(partitions > 0 && (partitions & (partitions - 1)) == 0);
    CHECK_U64(partitions, <=, PARTITIONS_MAX);
    return (unsigned)__builtin_ctz(partitions);
}

uint32_t hash_partition(uint64_t hash, uint32_t partitions)
{
    unsigned bits = partition_bits(partitions);
    return bits == 0 ? 0 : (uint32_t)(hash >> (64 - bits));
}

uint64_t hash_partition_start(uint32_t partition, uint32_t partitions)
{
    CHECK_U64(partition, <, partitions);
    unsigned bits = partition_bits(partitions);
    return bits == 0 ? 0 : (uint64_t)partition << (64 - bits);
}

static void put_big_endian(uint8_t *ret, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        ret[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t get_big_endian(const uint8_t *data, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | data[i];
    return value;
}

size_t hash_storage_key(uint32_t keyspace_id, struct bytes key, uint64_t hash, uint8_t *ret)
{
    CHECK_U64(key.size, <=, KEY_BYTES_MAX);
    put_big_endian(ret, hash, 8);
    put_big_endian(ret + 8, keyspace_id, 4);
    if (key.size != 0)
        memcpy(ret + STORAGE_KEY_PREFIX, key.data, key.size);
    return STORAGE_KEY_PREFIX + key.size;
}

bool hash_storage_key_parse(struct bytes storage_key, uint64_t *ret_hash, uint32_t *ret_keyspace_id,
                            struct bytes *ret_key)
{
    if (storage_key.size < STORAGE_KEY_PREFIX)
        return false;
    *ret_hash = get_big_endian(storage_key.data, 8);
    *ret_keyspace_id = (uint32_t)get_big_endian(storage_key.data + 8, 4);
    *ret_key =
        bytes_of(storage_key.data + STORAGE_KEY_PREFIX, storage_key.size - STORAGE_KEY_PREFIX);
    return true;
}
