/* hash.h -- where a key lives: XXH3-64 of the key seeded by the keyspace id, and its partition.
 *
 * The 64-bit hash space is cut into Q = 2^k equal partitions; partition p holds the hashes whose
 * top k bits are p. Source: Dynamo (SOSP 2007) 4.2 and 6.2, strategy 3.
 */
#ifndef MODEL_HASH_H
#define MODEL_HASH_H

#include "base/bytes.h"

uint64_t hash_key(uint32_t keyspace_id, struct bytes key);
/* `partitions` is a power of two, 1..PARTITIONS_MAX. */
uint32_t hash_partition(uint64_t hash, uint32_t partitions);
/* The first hash of a partition. */
uint64_t hash_partition_start(uint32_t partition, uint32_t partitions);
/* XXH3-64 with a seed: checksums and digests. */
uint64_t hash_bytes(struct bytes bytes, uint64_t seed);
/* One number onto another, each bit of the one in all bits of the other; no two onto the same. The
 * closing step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
uint64_t hash_mix(uint64_t number);

/* The storage key of a record: hash (8 bytes, big endian), keyspace id (4 bytes, big endian), key.
 * Ring order is byte order, so a range of hashes is a range of storage keys. */
#define STORAGE_KEY_PREFIX    12u
#define STORAGE_KEY_BYTES_MAX (STORAGE_KEY_PREFIX + 4096u)
/* Writes STORAGE_KEY_PREFIX + key.size bytes to `ret`; gives that size. */
size_t hash_storage_key(uint32_t keyspace_id, struct bytes key, uint64_t hash, uint8_t *ret);
/* Takes a storage key apart; false when it is too short. The key is borrowed. */
bool hash_storage_key_parse(struct bytes storage_key, uint64_t *ret_hash, uint32_t *ret_keyspace_id,
                            struct bytes *ret_key);

#endif
