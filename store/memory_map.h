/* memory_map.h -- a partition of the simulator's disk: records in the byte order of their keys.
 *
 * A sorted array of pointers: right for the hundreds of keys of a simulated node; an insert moves
 * the pointers behind it. A record never changes after memory_record_new().
 */
#ifndef STORE_MEMORY_MAP_H
#define STORE_MEMORY_MAP_H

#include "base/bytes.h"

#define MEMORY_HOLE_BYTES 8u

struct memory_record {
    uint32_t key_size;
    uint32_t value_size;
    uint8_t bytes[]; /* key, then value */
};

struct memory_map {
    struct memory_record **records; /* by key */
    uint32_t count;
    uint32_t capacity;
    uint32_t scans; /* running: a drop would pull the records from under them */
    bool has_hole;  /* keys whose first bytes are these, or in between, cannot be read */
    uint8_t hole[2][MEMORY_HOLE_BYTES];
};

/* Copies both. free() ends it. */
struct memory_record *memory_record_new(struct bytes key, struct bytes value);
struct bytes memory_record_key(const struct memory_record *record);
struct bytes memory_record_value(const struct memory_record *record);

/* Whether the key lies in the hole. */
bool memory_map_hides(const struct memory_map *map, struct bytes key);

struct memory_map *memory_map_new(void);
/* With all its records. */
void memory_map_free(struct memory_map *map);
/* The place of the first record whose key is >= `key`. */
uint32_t memory_map_lower_bound(const struct memory_map *map, struct bytes key);
/* NULL when absent. */
struct memory_record *memory_map_find(const struct memory_map *map, struct bytes key);
/* Puts `record` (the map owns it now; NULL: nothing) in the place of `key`; gives back what was
 * there, which is the caller's now. */
struct memory_record *memory_map_replace(struct memory_map *map, struct bytes key,
                                         struct memory_record *record);

#endif
