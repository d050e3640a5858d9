/* rdb_overlay.h -- what a handle has staged and not yet written to RocksDB, so that it can read it.
 *
 * A small open-addressing table over (partition, key); the last value of a key wins. Emptied in one
 * go. */
#ifndef STORE_RDB_OVERLAY_H
#define STORE_RDB_OVERLAY_H

#include "base/arena.h"

#define OVERLAY_SLOTS 512u /* a power of two; at most half of them are used */

struct overlay_entry {
    uint64_t hash;
    uint32_t partition;
    bool deleted;
    struct bytes key;
    struct bytes value;
};

struct overlay {
    uint32_t count;                /* distinct keys */
    uint16_t slots[OVERLAY_SLOTS]; /* index of an entry + 1; 0 = free */
    struct overlay_entry entries[OVERLAY_SLOTS / 2];
    struct arena arena;
};

void overlay_init(struct overlay *overlay);
void overlay_deinit(struct overlay *overlay);
void overlay_clear(struct overlay *overlay);
bool overlay_full(const struct overlay *overlay);
/* Copies key and value; `value` NULL is a delete. Not when full. */
void overlay_put(struct overlay *overlay, uint32_t partition, struct bytes key,
                 const struct bytes *value);
/* NULL: nothing staged of this key. */
const struct overlay_entry *overlay_find(const struct overlay *overlay, uint32_t partition,
                                         struct bytes key);

#endif
