/* rdb_cache.h -- a handle's hot records: what it has staged or read last, by key.
 *
 * Direct-mapped and bounded: CACHE_SLOTS records of at most CACHE_RECORD_BYTES_MAX. A vnode has one
 * writer, so what stands here is never older than what the handle has staged. It saves a write the
 * search in the memtable for the state that it follows, and a read of a hot key all of RocksDB;
 * cold keys and large values are the block cache's. */
#ifndef STORE_RDB_CACHE_H
#define STORE_RDB_CACHE_H

#include "base/arena.h"

#define CACHE_SLOTS            16384u
#define CACHE_RECORD_BYTES_MAX 512u /* key and value together */

struct cache_entry;

struct cache {
    struct cache_entry **slots; /* NULL until the first record */
};

void cache_clear(struct cache *cache);
/* `value` NULL forgets the key. */
void cache_put(struct cache *cache, uint32_t partition, struct bytes key,
               const struct bytes *value);
/* Copies the value into the arena. False: not here. */
bool cache_get(const struct cache *cache, uint32_t partition, struct bytes key, struct arena *arena,
               struct bytes *ret_value);

#endif
