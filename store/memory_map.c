#include "store/memory_map.h"

#include "base/check.h"

#include <stdlib.h>

struct memory_record *memory_record_new(struct bytes key, struct bytes value)
{
    CHECK_U64(key.size, <=, UINT32_MAX);
    CHECK_U64(value.size, <=, UINT32_MAX);
    struct memory_record *record = malloc(sizeof *record + key.size + value.size);
    CHECK(record != NULL);
    record->key_size = (uint32_t)key.size;
    record->value_size = (uint32_t)value.size;
    if (key.size != 0)
        memcpy(record->bytes, key.data, key.size);
    if (value.size != 0)
        memcpy(record->bytes + key.size, value.data, value.size);
    return record;
}

struct bytes memory_record_key(const struct memory_record *record)
{
    return bytes_of(record->bytes, record->key_size);
}

struct bytes memory_record_value(const struct memory_record *record)
{
    return bytes_of(record->bytes + record->key_size, record->value_size);
}

uint32_t memory_map_lower_bound(const struct memory_map *map, struct bytes key)
{
    uint32_t low = 0;
    uint32_t high = map->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bytes_compare(memory_record_key(map->records[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct memory_record *memory_map_find(const struct memory_map *map, struct bytes key)
{
    uint32_t place = memory_map_lower_bound(map, key);
    if (place == map->count || !bytes_equal(memory_record_key(map->records[place]), key))
        return NULL;
    return map->records[place];
}

bool memory_map_hides(const struct memory_map *map, struct bytes key)
{
    size_t size = key.size < MEMORY_HOLE_BYTES ? key.size : MEMORY_HOLE_BYTES;
    struct bytes head = bytes_of(key.data, size);
    return map->has_hole && bytes_compare(head, bytes_of(map->hole[0], MEMORY_HOLE_BYTES)) >= 0 &&
           bytes_compare(head, bytes_of(map->hole[1], MEMORY_HOLE_BYTES)) <= 0;
}

static void map_insert(struct memory_map *map, uint32_t place, struct memory_record *record)
{
    if (map->count == map->capacity) {
        map->capacity = map->capacity == 0 ? 16 : 2 * map->capacity;
        map->records = realloc(map->records, map->capacity * sizeof(struct memory_record *));
        CHECK(map->records != NULL);
    }
    memmove(map->records + place + 1, map->records + place,
            (map->count - place) * sizeof(struct memory_record *));
    map->records[place] = record;
    map->count++;
}

struct memory_record *memory_map_replace(struct memory_map *map, struct bytes key,
                                         struct memory_record *record)
{
    uint32_t place = memory_map_lower_bound(map, key);
    bool found = place < map->count && bytes_equal(memory_record_key(map->records[place]), key);
    if (!found) {
        if (record != NULL)
            map_insert(map, place, record);
        return NULL;
    }
    struct memory_record *before = map->records[place];
    if (record != NULL) {
        map->records[place] = record;
        return before;
    }
    map->count--;
    memmove(map->records + place, map->records + place + 1,
            (map->count - place) * sizeof(struct memory_record *));
    return before;
}

void memory_map_free(struct memory_map *map)
{
    for (uint32_t i = 0; i < map->count; i++)
        free(map->records[i]);
    free(map->records);
    free(map);
}

struct memory_map *memory_map_new(void)
{
    struct memory_map *map = calloc(1, sizeof *map);
    CHECK(map != NULL);
    return map;
}
