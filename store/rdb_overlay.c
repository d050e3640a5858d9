#include "store/rdb_overlay.h"

#include "base/check.h"
#include "model/hash.h"

void overlay_init(struct overlay *overlay)
{
    memset(overlay, 0, sizeof *overlay);
    arena_init(&overlay->arena, NULL, 0);
}

void overlay_deinit(struct overlay *overlay)
{
    arena_deinit(&overlay->arena);
}

void overlay_clear(struct overlay *overlay)
{
    if (overlay->count == 0)
        return;
    memset(overlay->slots, 0, sizeof overlay->slots);
    overlay->count = 0;
    arena_clear(&overlay->arena);
}

bool overlay_full(const struct overlay *overlay)
{
    return overlay->count == ARRAY_COUNT(overlay->entries);
}

/* The slot that holds the key, or the free one where it belongs. */
static uint32_t overlay_slot(const struct overlay *overlay, uint64_t hash, uint32_t partition,
                             struct bytes key)
{
    for (uint32_t slot = (uint32_t)hash % OVERLAY_SLOTS;; slot = (slot + 1) % OVERLAY_SLOTS) {
        if (overlay->slots[slot] == 0)
            return slot;
        const struct overlay_entry *entry = &overlay->entries[overlay->slots[slot] - 1];
        if (entry->hash == hash && entry->partition == partition && bytes_equal(entry->key, key))
            return slot;
    }
}

void overlay_put(struct overlay *overlay, uint32_t partition, struct bytes key,
                 const struct bytes *value)
{
    uint64_t hash = hash_bytes(key, partition);
    uint32_t slot = overlay_slot(overlay, hash, partition, key);
    if (overlay->slots[slot] == 0) {
        CHECK(!overlay_full(overlay));
        struct overlay_entry *entry = &overlay->entries[overlay->count++];
        overlay->slots[slot] = (uint16_t)overlay->count;
        *entry = (struct overlay_entry){
            .hash = hash, .partition = partition, .key = arena_copy(&overlay->arena, key)};
    }
    struct overlay_entry *entry = &overlay->entries[overlay->slots[slot] - 1];
    entry->deleted = value == NULL;
    entry->value = value == NULL ? (struct bytes){0} : arena_copy(&overlay->arena, *value);
}

const struct overlay_entry *overlay_find(const struct overlay *overlay, uint32_t partition,
                                         struct bytes key)
{
    if (overlay->count == 0)
        return NULL;
    uint32_t slot = overlay_slot(overlay, hash_bytes(key, partition), partition, key);
    return overlay->slots[slot] == 0 ? NULL : &overlay->entries[overlay->slots[slot] - 1];
}
