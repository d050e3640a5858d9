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
    for (uint32_t i = 0; cache->sets != NULL && i < CACHE_SETS; i++) {
        for (uint32_t way = 0; way < CACHE_WAYS; way++)
            free(cache->sets[i].entries[way]);
    }
    free(cache->sets);
    cache->sets = NULL;
}

static bool entry_is(const struct cache_entry *entry, uint64_t hash, uint32_t partition,
                     struct bytes key)
{
    return entry != NULL && entry->hash == hash && entry->partition == partition &&
           bytes_equal(bytes_of(entry->bytes, entry->key_size), key);
}

static struct cache_set *set_of(const struct cache *cache, uint64_t hash)
{
    return &cache->sets[hash % CACHE_SETS];
}

static uint8_t tag_of(uint64_t hash)
{
    return (uint8_t)(hash >> 56); /* bits that do not choose the set */
}

/* The way that holds the key; CACHE_WAYS: none. */
static uint32_t way_find(const struct cache_set *set, uint64_t hash, uint32_t partition,
                         struct bytes key)
{
    uint32_t way = 0;
    while (way < CACHE_WAYS &&
           (set->tags[way] != tag_of(hash) || !entry_is(set->entries[way], hash, partition, key)))
        way++;
    return way;
}

/* For a key that is not there: a free way, or the one whose turn it is. */
static uint32_t way_take(struct cache_set *set)
{
    for (uint32_t way = 0; way < CACHE_WAYS; way++) {
        if (set->entries[way] == NULL)
            return way;
    }
    set->turn = (uint8_t)((set->turn + 1u) % CACHE_WAYS);
    return set->turn;
}

void cache_put(struct cache *cache, uint32_t partition, struct bytes key, const struct bytes *value)
{
    uint64_t hash = hash_bytes(key, partition);
    size_t size = key.size + (value == NULL ? 0 : value->size);
    if (cache->sets == NULL) {
        if (value == NULL)
            return;
        cache->sets = aligned_alloc(sizeof *cache->sets, sizeof *cache->sets * CACHE_SETS);
        CHECK(cache->sets != NULL);
        memset(cache->sets, 0, sizeof *cache->sets * CACHE_SETS);
    }
    struct cache_set *set = set_of(cache, hash);
    uint32_t way = way_find(set, hash, partition, key);
    if (value == NULL || size > CACHE_RECORD_BYTES_MAX) {
        if (way < CACHE_WAYS) {
            free(set->entries[way]);
            set->entries[way] = NULL;
        }
        return;
    }
    if (way == CACHE_WAYS)
        way = way_take(set);
    struct cache_entry *entry = set->entries[way];
    if (entry == NULL || entry->capacity < size) {
        free(entry);
        size_t capacity = (size + 63) / 64 * 64; /* records of one key grow a little now and then */
        entry = malloc(sizeof *entry + capacity);
        CHECK(entry != NULL);
        entry->capacity = (uint32_t)capacity;
        set->entries[way] = entry;
    }
    set->tags[way] = tag_of(hash);
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
    if (cache->sets == NULL)
        return false;
    uint64_t hash = hash_bytes(key, partition);
    const struct cache_set *set = set_of(cache, hash);
    uint32_t way = way_find(set, hash, partition, key);
    if (way == CACHE_WAYS)
        return false;
    const struct cache_entry *entry = set->entries[way];
    *ret_value = arena_copy(arena, bytes_of(entry->bytes + entry->key_size, entry->value_size));
    return true;
}
