#include "store/rdb_cache.h"

#include "base/check.h"
#include "model/hash.h"

#include <stdlib.h>

struct cache_entry {
    uint64_t hash;
    uint32_t partition;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t capacity;
    uint8_t bytes[]; /* key, value */
};

void cache_clear(struct cache *cache)
{
    for (uint32_t i = 0; cache->slots != NULL && i < CACHE_SLOTS; i++)
        free(cache->slots[i]);
    free(cache->slots);
    cache->slots = NULL;
}

static bool entry_is(const struct cache_entry *entry, uint64_t hash, uint32_t partition,
                     struct bytes key)
{
    return entry != NULL && entry->hash == hash && entry->partition == partition &&
           bytes_equal(bytes_of(entry->bytes, entry->key_size), key);
}

void cache_put(struct cache *cache, uint32_t partition, struct bytes key, const struct bytes *value)
{
    uint64_t hash = hash_bytes(key, partition);
    size_t size = key.size + (value == NULL ? 0 : value->size);
    if (cache->slots == NULL) {
        if (value == NULL)
            return;
        cache->slots = calloc(CACHE_SLOTS, sizeof *cache->slots);
        CHECK(cache->slots != NULL);
    }
    struct cache_entry **slot = &cache->slots[hash % CACHE_SLOTS];
    if (value == NULL || size > CACHE_RECORD_BYTES_MAX) {
        if (entry_is(*slot, hash, partition, key)) {
            free(*slot);
            *slot = NULL;
        }
        return;
    }
    struct cache_entry *entry = *slot;
    if (entry == NULL || entry->capacity < size) {
        free(entry);
        size_t capacity = (size + 63) / 64 * 64; /* records of one key grow a little now and then */
        entry = malloc(sizeof *entry + capacity);
        CHECK(entry != NULL);
        entry->capacity = (uint32_t)capacity;
        *slot = entry;
    }
    entry->hash = hash;
    entry->partition = partition;
    entry->key_size = (uint32_t)key.size;
    entry->value_size = (uint32_t)value->size;
    memcpy(entry->bytes, key.data, key.size);
    if (value->size != 0)
        memcpy(entry->bytes + key.size, value->data, value->size);
}

bool cache_get(const struct cache *cache, uint32_t partition, struct bytes key, struct arena *arena,
               struct bytes *ret_value)
{
    if (cache->slots == NULL)
        return false;
    uint64_t hash = hash_bytes(key, partition);
    const struct cache_entry *entry = cache->slots[hash % CACHE_SLOTS];
    if (!entry_is(entry, hash, partition, key))
        return false;
    *ret_value = arena_copy(arena, bytes_of(entry->bytes + entry->key_size, entry->value_size));
    return true;
}
