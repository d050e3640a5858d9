/* rdb_cache.h -- a handle's hot records: what it has staged or read last, by key.
 *
 * Bounded: CACHE_SETS * CACHE_WAYS records of at most CACHE_RECORD_BYTES_MAX. A set is one line of
 * the processor's cache; in a full one the places are taken in turn. (Directly mapped, 10,000 hot
 * keys drove each other out of 16,384 slots at every fourth read.) A vnode has one writer, so what
 * stands here is never older than what the handle has staged. It saves a write the search in the
 * memtable for the state that it follows, and a read of a hot key all of RocksDB; cold keys and
 * large values are the block cache's. */
#ifndef STORE_RDB_CACHE_H
#define STORE_RDB_CACHE_H

#include "base/arena.h"

#include <assert.h>

#define CACHE_SETS             2048u
#define CACHE_WAYS             7u
#define CACHE_RECORD_BYTES_MAX 512u /* key and value together */

struct cache_entry;

struct cache_set {
    struct cache_entry *entries[CACHE_WAYS];
    uint8_t tags[CACHE_WAYS]; /* of their hashes: spares most looks at entries of other keys */
    uint8_t turn;
};
static_assert(sizeof(struct cache_set) == 64, "one line");

struct cache {
    struct cache_set *sets; /* NULL until the first record */
};

void cache_clear(struct cache *cache);
/* `value` NULL forgets the key. */
void cache_put(struct cache *cache, uint32_t partition, struct bytes key,
               const struct bytes *value);
/* Copies the value into the arena. False: not here. */
bool cache_get(const struct cache *cache, uint32_t partition, struct bytes key, struct arena *arena,
               struct bytes *ret_value);

#endif
