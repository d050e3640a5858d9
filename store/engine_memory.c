/* The simulator's disk. A partition is a sorted array of records; the log of what is not yet
 * durable keeps the record that each write replaced, so that a crash undoes the newest writes first
 * and what remains is a prefix of the staging order. One owner, one thread, no clock. */
#include "store/engine_memory_state.h"

#include <stdlib.h>

#define FREE_BYTES ((uint64_t)1 << 40) /* as good as never full */

/* -- the disk --------------------------------------------------------------------------------- */

struct memory_map **memory_disk_map(const struct memory_disk *disk, uint32_t partition)
{
    return &disk->maps[engine_partition_slot(partition, disk->partitions)];
}

static struct memory_map *disk_map_create(struct memory_disk *disk, uint32_t partition)
{
    struct memory_map **place = memory_disk_map(disk, partition);
    if (*place == NULL)
        *place = memory_map_new();
    return *place;
}

struct memory_disk *memory_disk_new(void)
{
    struct memory_disk *disk = calloc(1, sizeof *disk);
    CHECK(disk != NULL);
    return disk;
}

void memory_disk_set_partitions(struct memory_disk *disk, uint32_t partitions)
{
    if (disk->maps != NULL) {
        CHECK_U64(disk->partitions, ==, partitions); /* Q is fixed for the life of a disk */
        return;
    }
    disk->partitions = partitions;
    disk->maps = calloc((size_t)partitions + 2, sizeof(struct memory_map *));
    CHECK(disk->maps != NULL);
}

static void disk_clear(struct memory_disk *disk)
{
    for (size_t i = 0; disk->maps != NULL && i < (size_t)disk->partitions + 2; i++) {
        if (disk->maps[i] != NULL)
            memory_map_free(disk->maps[i]);
        disk->maps[i] = NULL;
    }
}

void memory_disk_free(struct memory_disk *disk)
{
    if (disk == NULL)
        return;
    CHECK(!disk->open);
    disk_clear(disk);
    free(disk->maps);
    free(disk);
}

enum err memory_disk_read(const struct memory_disk *disk, uint32_t partition, struct bytes key,
                          struct arena *arena, struct bytes *ret_value)
{
    CHECK(!disk->open);
    const struct memory_map *map = disk->maps == NULL ? NULL : *memory_disk_map(disk, partition);
    if (map != NULL && memory_map_hides(map, key))
        return ERR_CORRUPT;
    const struct memory_record *record = map == NULL ? NULL : memory_map_find(map, key);
    if (record == NULL)
        return ERR_NOT_FOUND;
    *ret_value = arena_copy(arena, memory_record_value(record));
    return OK;
}

void memory_disk_wipe(struct memory_disk *disk)
{
    CHECK(!disk->open);
    disk_clear(disk);
    disk->sequence = 0;
    disk->mark = 0;
}

/* -- the log ---------------------------------------------------------------------------------- */

static void log_push(struct memory_engine *engine, struct pending pending)
{
    if (engine->log_count == engine->log_capacity) {
        engine->log_capacity = engine->log_capacity == 0 ? 64 : 2 * engine->log_capacity;
        engine->log = realloc(engine->log, engine->log_capacity * sizeof *engine->log);
        CHECK(engine->log != NULL);
    }
    engine->log[engine->log_count++] = pending;
}

void memory_log_undo(struct memory_engine *engine, const struct pending *last)
{
    engine->disk->sequence--;
    if (last->map == NULL || (last->before == NULL && last->after == NULL))
        return;
    struct bytes key = memory_record_key(last->before != NULL ? last->before : last->after);
    struct memory_record *undone = memory_map_replace(last->map, key, last->before);
    CHECK(undone == last->after);
    free(undone);
}

void memory_log_undo_last(struct memory_engine *engine)
{
    memory_log_undo(engine, &engine->log[--engine->log_count]);
}

static void settled_push(struct memory_engine *engine, const struct pending *pending)
{
    struct pending *place = &engine->settled[engine->settled_next++ % ENGINE_MEMORY_LIES_MAX];
    free(place->before);
    *place = *pending;
}

/* The oldest `count` writes are durable: what they replaced is not needed any more. */
static void log_settle(struct memory_engine *engine, size_t count)
{
    CHECK_U64(count, <=, engine->log_count);
    for (size_t i = 0; i < count; i++) {
        struct pending *pending = &engine->log[i];
        settled_push(engine, pending);
        engine->handles[pending->handle].committed = pending->sequence;
    }
    engine->disk->mark += count;
    engine->log_count -= count;
    if (count != 0)
        memmove(engine->log, engine->log + count, engine->log_count * sizeof *engine->log);
    engine->durable += count;
}

static void engine_fail(struct memory_engine *engine, const char *why)
{
    engine->failed = true;
    engine->figures.background_errors++;
    if (engine->options.failed != NULL)
        engine->options.failed(engine->options.host, why);
}

/* -- the port --------------------------------------------------------------------------------- */

static struct memory_handle *handle_of(const struct store *store)
{
    return CONTAINER_OF(store, struct memory_handle, store);
}

static bool fault(struct memory_engine *engine, double chance)
{
    return engine->fault_prng != NULL && chance > 0 && prng_chance(engine->fault_prng, chance);
}

static enum err memory_read(struct store *store, uint32_t partition, struct bytes key,
                            struct arena *arena, struct bytes *ret_value)
{
    struct memory_engine *engine = handle_of(store)->engine;
    engine->figures.reads++;
    if (fault(engine, engine->read_error))
        return ERR_IO;
    const struct memory_map *map = *memory_disk_map(engine->disk, partition);
    if (map != NULL && memory_map_hides(map, key))
        return ERR_CORRUPT;
    const struct memory_record *record = map == NULL ? NULL : memory_map_find(map, key);
    if (record == NULL)
        return ERR_NOT_FOUND;
    *ret_value = arena_copy(arena, memory_record_value(record));
    return OK;
}

static enum err memory_stage(struct store *store, uint32_t partition, struct bytes key,
                             const struct bytes *value, enum store_sync sync)
{
    struct memory_handle *handle = handle_of(store);
    struct memory_engine *engine = handle->engine;
    if (engine->failed)
        return ERR_IO;
    if (fault(engine, engine->overloaded)) {
        engine->figures.refused++;
        return ERR_OVERLOADED;
    }
    struct memory_map *map = disk_map_create(engine->disk, partition);
    struct memory_record *after = value == NULL ? NULL : memory_record_new(key, *value);
    struct memory_record *before = memory_map_replace(map, key, after);
    log_push(engine, (struct pending){.map = map,
                                      .before = before,
                                      .after = after,
                                      .sequence = ++handle->staged,
                                      .handle = handle->index});
    if (sync == STORE_SYNC_NOW)
        engine->wanted = engine->durable + engine->log_count;
    engine->figures.staged++;
    engine->disk->sequence++;
    return OK;
}

/* The visitor may stage: the place of the next key is looked up again when it did. A record that it
 * replaced lives on in the log while the visitor runs. */
static enum err memory_scan(struct store *store, uint32_t partition, struct bytes from,
                            struct bytes to, store_visit visit, void *closure)
{
    struct memory_engine *engine = handle_of(store)->engine;
    engine->figures.reads++;
    if (fault(engine, engine->read_error))
        return ERR_IO;
    struct memory_map *map = *memory_disk_map(engine->disk, partition);
    if (map == NULL)
        return OK;
    enum err err = memory_map_hides(map, from) ? ERR_CORRUPT : OK;
    map->scans++;
    uint32_t place = memory_map_lower_bound(map, from);
    while (err == OK && place < map->count) {
        struct memory_record *record = map->records[place];
        struct bytes key = memory_record_key(record);
        if (to.size != 0 && bytes_compare(key, to) >= 0)
            break;
        if (memory_map_hides(map, key)) {
            err = ERR_CORRUPT;
            break;
        }
        uint64_t staged = engine->figures.staged;
        if (!visit(closure, key, memory_record_value(record)))
            break;
        if (staged == engine->figures.staged) {
            place++;
            continue;
        }
        place = memory_map_lower_bound(map, key);
        if (place < map->count && bytes_equal(memory_record_key(map->records[place]), key))
            place++;
    }
    map->scans--;
    return err;
}

/* Deletions that count as no write of the handle's: a crash takes them back from the end, all, some
 * or none, until something behind them is durable. */
static enum err memory_drop(struct store *store, uint32_t partition)
{
    struct memory_handle *handle = handle_of(store);
    struct memory_engine *engine = handle->engine;
    CHECK_U64(partition, <, engine->disk->partitions); /* the others have several users */
    if (engine->failed)
        return ERR_IO;
    struct memory_map *map = *memory_disk_map(engine->disk, partition);
    CHECK(map == NULL || map->scans == 0);
    if (map != NULL)
        map->has_hole = false;
    while (map != NULL && map->count > 0) {
        struct bytes key = memory_record_key(map->records[map->count - 1]);
        struct memory_record *before = memory_map_replace(map, key, NULL);
        log_push(engine, (struct pending){.map = map,
                                          .before = before,
                                          .sequence = handle->staged,
                                          .handle = handle->index});
        engine->disk->sequence++;
    }
    return OK;
}

static uint64_t memory_staged(const struct store *store)
{
    return handle_of(store)->staged;
}

static uint64_t memory_committed(const struct store *store)
{
    return handle_of(store)->committed;
}

/* The simulator asks engine_memory_wants_sync() instead of being woken. */
static void memory_submit(struct store *store)
{
    (void)store;
}

static enum err memory_sync(struct store *store)
{
    struct memory_engine *engine = handle_of(store)->engine;
    if (!engine->failed)
        engine_memory_sync(&engine->engine, engine_memory_mark(&engine->engine));
    return engine->failed ? ERR_IO : OK;
}

static uint64_t memory_bytes(struct store *store, uint32_t partition)
{
    const struct memory_map *map = *memory_disk_map(handle_of(store)->engine->disk, partition);
    uint64_t bytes = 0;
    for (uint32_t i = 0; map != NULL && i < map->count; i++)
        bytes +=
            memory_record_key(map->records[i]).size + memory_record_value(map->records[i]).size;
    return bytes;
}

static uint64_t memory_free_bytes(struct store *store)
{
    (void)store;
    return FREE_BYTES;
}

static const struct store_class memory_store_class = {
    .name = "memory",
    .read = memory_read,
    .stage = memory_stage,
    .scan = memory_scan,
    .drop = memory_drop,
    .staged = memory_staged,
    .committed = memory_committed,
    .submit = memory_submit,
    .sync = memory_sync,
    .bytes = memory_bytes,
    .free_bytes = memory_free_bytes,
};

/* -- the engine ------------------------------------------------------------------------------- */

static const struct engine_class memory_engine_class;

struct memory_engine *memory_engine_of(const struct engine *engine)
{
    CHECK(engine->class == &memory_engine_class);
    return CONTAINER_OF(engine, struct memory_engine, engine);
}

static struct store *memory_engine_store(struct engine *base, uint32_t handle)
{
    struct memory_engine *engine = memory_engine_of(base);
    CHECK_U64(handle, <, engine->options.handle_count);
    return &engine->handles[handle].store;
}

static enum err memory_engine_create_partitions(struct engine *base, const uint32_t *partitions,
                                                size_t count)
{
    for (size_t i = 0; i < count; i++)
        disk_map_create(memory_engine_of(base)->disk, partitions[i]);
    return OK;
}

static void memory_engine_figures(struct engine *base, struct engine_figures *ret)
{
    const struct memory_engine *engine = memory_engine_of(base);
    *ret = engine->figures;
    ret->write_stopped = engine->failed;
    for (size_t i = 0; i < (size_t)engine->disk->partitions + 2; i++) {
        const struct memory_map *map = engine->disk->maps[i];
        if (map == NULL)
            continue;
        ret->partitions_open += i < engine->disk->partitions;
        ret->keys_estimate += map->count;
    }
}

/* What is left of the log is settled without a callback: the handles end here. */
void memory_engine_free(struct memory_engine *engine)
{
    log_settle(engine, engine->log_count);
    for (uint32_t i = 0; i < ENGINE_MEMORY_LIES_MAX; i++)
        free(engine->settled[i].before);
    engine->disk->open = false;
    free(engine->log);
    free(engine->handles);
    free(engine);
}

static void memory_engine_close(struct engine *base)
{
    struct memory_engine *engine = memory_engine_of(base);
    if (!engine->failed)
        engine_memory_sync(base, engine_memory_mark(base));
    while (engine->log_count > 0) /* the sync failed: unsynced pages are gone */
        memory_log_undo_last(engine);
    memory_engine_free(engine);
}

static bool memory_engine_log_short(const struct engine *base)
{
    return memory_engine_of(base)->log_short;
}

static const struct engine_class memory_engine_class = {
    .name = "memory",
    .store = memory_engine_store,
    .create_partitions = memory_engine_create_partitions,
    .close = memory_engine_close,
    .figures = memory_engine_figures,
    .log_short = memory_engine_log_short,
};

struct engine *engine_memory_open(const struct engine_options *options, struct memory_disk *disk)
{
    CHECK(!disk->open);
    CHECK_U64(options->handle_count, >, 0);
    memory_disk_set_partitions(disk, options->partitions);
    disk->open = true;
    struct memory_engine *engine = calloc(1, sizeof *engine);
    CHECK(engine != NULL);
    engine->engine.class = &memory_engine_class;
    engine->options = *options;
    engine->disk = disk;
    engine->log_short = disk->sequence < disk->mark;
    disk->mark = disk->sequence; /* what is there now is what there is */
    engine->handles = calloc(options->handle_count, sizeof *engine->handles);
    CHECK(engine->handles != NULL);
    for (uint32_t i = 0; i < options->handle_count; i++)
        engine->handles[i] = (struct memory_handle){
            .store = {.class = &memory_store_class}, .engine = engine, .index = i};
    return &engine->engine;
}

uint64_t engine_memory_mark(const struct engine *base)
{
    const struct memory_engine *engine = memory_engine_of(base);
    return engine->durable + engine->log_count;
}

bool engine_memory_wants_sync(const struct engine *base)
{
    const struct memory_engine *engine = memory_engine_of(base);
    return !engine->failed && engine->wanted > engine->durable;
}

static void tell_committed(struct memory_engine *engine, const uint64_t *committed_before)
{
    for (uint32_t i = 0; i < engine->options.handle_count; i++) {
        uint64_t committed = engine->handles[i].committed;
        if (committed > committed_before[i] && engine->options.committed != NULL)
            engine->options.committed(engine->options.host, i, committed);
    }
}

void engine_memory_sync(struct engine *base, uint64_t mark)
{
    struct memory_engine *engine = memory_engine_of(base);
    CHECK_U64(mark, <=, engine_memory_mark(base));
    if (engine->failed || mark <= engine->durable)
        return;
    if (engine->fsync_fails) {
        engine_fail(engine, "fsync of the commit log failed (injected)");
        return;
    }
    uint32_t handle_count = engine->options.handle_count;
    uint64_t *committed_before = calloc(handle_count, sizeof *committed_before);
    CHECK(committed_before != NULL);
    for (uint32_t i = 0; i < handle_count; i++)
        committed_before[i] = engine->handles[i].committed;
    engine->figures.syncs++;
    engine->figures.synced_writes += mark - engine->durable;
    log_settle(engine, (size_t)(mark - engine->durable));
    tell_committed(engine, committed_before);
    free(committed_before);
}

/* The oldest write that is not durable kept what was there before it. */
enum err engine_memory_read_durable(const struct engine *base, uint32_t partition, struct bytes key,
                                    struct arena *arena, struct bytes *ret_value)
{
    const struct memory_engine *engine = memory_engine_of(base);
    const struct memory_map *map = *memory_disk_map(engine->disk, partition);
    if (map != NULL && memory_map_hides(map, key))
        return ERR_CORRUPT;
    const struct memory_record *record = map == NULL ? NULL : memory_map_find(map, key);
    for (size_t i = 0; map != NULL && i < engine->log_count; i++) {
        const struct pending *pending = &engine->log[i];
        const struct memory_record *named =
            pending->before != NULL ? pending->before : pending->after;
        if (pending->map != map || named == NULL || !bytes_equal(memory_record_key(named), key))
            continue;
        record = pending->before;
        break;
    }
    if (record == NULL)
        return ERR_NOT_FOUND;
    *ret_value = arena_copy(arena, memory_record_value(record));
    return OK;
}
