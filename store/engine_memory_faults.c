/* What goes wrong with the simulator's disk: crashes, copies of directories, damaged rows, writes
 * that were acknowledged and are not there, calls that fail. */
#include "store/engine_memory_state.h"

#include <stdlib.h>

static void disk_put(struct memory_disk *disk, size_t slot, const struct memory_record *record)
{
    if (disk->maps[slot] == NULL)
        disk->maps[slot] = memory_map_new();
    struct bytes key = memory_record_key(record);
    free(memory_map_replace(disk->maps[slot], key,
                            memory_record_new(key, memory_record_value(record))));
}

static size_t disk_slot(const struct memory_disk *disk, const struct memory_map *map)
{
    size_t slot = 0;
    while (disk->maps[slot] != map)
        slot++;
    return slot;
}

struct memory_disk *memory_disk_copy(const struct memory_disk *disk, const struct engine *base)
{
    struct memory_disk *copy = memory_disk_new();
    CHECK(disk->open == (base != NULL));
    if (disk->maps != NULL)
        memory_disk_set_partitions(copy, disk->partitions);
    for (size_t slot = 0; disk->maps != NULL && slot < (size_t)disk->partitions + 2; slot++) {
        const struct memory_map *map = disk->maps[slot];
        for (uint32_t i = 0; map != NULL && i < map->count; i++)
            disk_put(copy, slot, map->records[i]);
        if (map != NULL && copy->maps[slot] != NULL) {
            copy->maps[slot]->has_hole = map->has_hole;
            memcpy(copy->maps[slot]->hole, map->hole, sizeof map->hole);
        }
    }
    /* The newest first, as a crash undoes them. */
    const struct memory_engine *engine = base == NULL ? NULL : memory_engine_of(base);
    copy->sequence = disk->sequence - (engine == NULL ? 0 : engine->log_count);
    copy->mark = disk->mark;
    for (size_t i = engine == NULL ? 0 : engine->log_count; i > 0; i--) {
        const struct pending *pending = &engine->log[i - 1];
        if (pending->map == NULL || (pending->before == NULL && pending->after == NULL))
            continue;
        size_t slot = disk_slot(disk, pending->map);
        if (pending->before != NULL)
            disk_put(copy, slot, pending->before);
        else if (copy->maps[slot] != NULL)
            free(memory_map_replace(copy->maps[slot], memory_record_key(pending->after), NULL));
    }
    return copy;
}

bool engine_memory_damage(struct engine *base, uint32_t partition, struct bytes key, uint64_t bit)
{
    struct memory_engine *engine = memory_engine_of(base);
    struct memory_map *map = *memory_disk_map(engine->disk, partition);
    const struct memory_record *record = map == NULL ? NULL : memory_map_find(map, key);
    if (record == NULL || record->value_size == 0)
        return false;
    for (size_t i = 0; i < engine->log_count; i++) {
        if (engine->log[i].after == record)
            return false;
    }
    struct memory_record *damaged = memory_record_new(key, memory_record_value(record));
    bit %= 8 * (uint64_t)record->value_size;
    damaged->bytes[damaged->key_size + bit / 8] ^= (uint8_t)(1u << bit % 8);
    free(memory_map_replace(map, key, damaged));
    return true;
}

static void hole_bound(uint64_t hash, uint8_t bound[MEMORY_HOLE_BYTES])
{
    for (unsigned i = 0; i < MEMORY_HOLE_BYTES; i++)
        bound[i] = (uint8_t)(hash >> (56 - 8 * i));
}

bool engine_memory_hide(struct engine *base, uint32_t partition, uint64_t first, uint64_t last)
{
    struct memory_map *map = *memory_disk_map(memory_engine_of(base)->disk, partition);
    if (map == NULL || map->has_hole)
        return false;
    map->has_hole = true;
    hole_bound(first, map->hole[0]);
    hole_bound(last, map->hole[1]);
    return true;
}

bool engine_memory_hides(const struct engine *base)
{
    const struct memory_disk *disk = memory_engine_of(base)->disk;
    for (uint32_t i = 0; i < disk->partitions; i++) {
        if (disk->maps[i] != NULL && disk->maps[i]->has_hole)
            return true;
    }
    return false;
}

/* How many of `unsynced` writes a crash leaves: all, none and one in between are each frequent. A
 * process crash loses only what had not reached the page cache, so it loses less than a power cut.
 */
static size_t crash_kept(size_t unsynced, enum crash_kind kind, struct prng *prng)
{
    uint64_t first = prng_below(prng, unsynced + 1);
    uint64_t second = prng_below(prng, unsynced + 1);
    uint64_t more = first > second ? first : second;
    uint64_t less = first > second ? second : first;
    switch (prng_below(prng, 4)) {
    case 0:
        return kind == CRASH_PROCESS ? unsynced : 0;
    case 1:
        return (size_t)first;
    default:
        return (size_t)(kind == CRASH_PROCESS ? more : less);
    }
}

static void lie_undo(struct memory_engine *engine)
{
    struct pending *last = &engine->settled[--engine->settled_next % ENGINE_MEMORY_LIES_MAX];
    memory_log_undo(engine, last);
    *last = (struct pending){0};
}

/* A torn write fails its checksum in the log: recovery stops before it, so to a reader it is a
 * write that was lost with all after it. */
void engine_memory_crash(struct engine *base, enum crash_kind kind, struct prng *prng)
{
    struct memory_engine *engine = memory_engine_of(base);
    size_t kept = crash_kept(engine->log_count, kind, prng);
    while (engine->log_count > kept)
        memory_log_undo_last(engine);
    if (engine->lies != 0) {
        while (engine->log_count > 0)
            memory_log_undo_last(engine);
        for (uint32_t i = 0; i < engine->lies && engine->settled_next > 0; i++)
            lie_undo(engine);
    }
    memory_engine_free(engine);
}

void engine_memory_lie(struct engine *base, uint32_t writes)
{
    CHECK_U64(writes, <=, ENGINE_MEMORY_LIES_MAX);
    memory_engine_of(base)->lies = writes;
}

void engine_memory_set_faults(struct engine *base, struct prng *prng, double read_error,
                              double overloaded, bool fsync_fails)
{
    struct memory_engine *engine = memory_engine_of(base);
    CHECK(prng != NULL || (read_error <= 0 && overloaded <= 0));
    engine->fault_prng = prng;
    engine->read_error = read_error;
    engine->overloaded = overloaded;
    engine->fsync_fails = fsync_fails;
}
