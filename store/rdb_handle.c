#include "store/rdb.h"

#include <sys/statvfs.h>

/* A batch is written when it is this big, and at each submit. One write of many costs about two
 * thirds of many writes (bench/micro_store). */
#define BATCH_BYTES_MAX ((size_t)1 << 20)

static struct rdb_handle *handle_of(const struct store *store)
{
    return CONTAINER_OF(store, struct rdb_handle, store);
}

static enum err rdb_read(struct store *store, uint32_t partition, struct bytes key,
                         struct arena *arena, struct bytes *ret_value)
{
    struct rdb_handle *handle = handle_of(store);
    struct rdb_engine *engine = handle->engine;
    counter_add(&handle->reads, 1);
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    if (family == NULL)
        return ERR_NOT_FOUND;
    bool vnode = partition < engine->options.partitions;
    if (vnode && cache_get(&handle->cache, partition, key, arena, ret_value)) {
        counter_add(&handle->cache_hits, 1);
        return OK;
    }
    const struct overlay_entry *staged = overlay_find(&handle->overlay, partition, key);
    if (staged != NULL) {
        if (staged->deleted)
            return ERR_NOT_FOUND;
        *ret_value = arena_copy(arena, staged->value);
        return OK;
    }
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
        engine->db, engine->read_options, family, (const char *)key.data, key.size, &error);
    if (error != NULL)
        return rdb_error(error);
    if (slice == NULL)
        return ERR_NOT_FOUND;
    size_t size = 0;
    const char *data = rocksdb_pinnableslice_value(slice, &size);
    *ret_value = arena_copy(arena, bytes_of(data, size));
    rocksdb_pinnableslice_destroy(slice);
    if (vnode)
        cache_put(&handle->cache, partition, key, ret_value);
    return OK;
}

static enum err refuse(struct rdb_handle *handle)
{
    counter_add(&handle->refused, 1);
    return ERR_OVERLOADED;
}

/* Writes what is staged. OVERLOADED: RocksDB would have had to wait; the batch stays, readable and
 * not durable, and is tried again. A failed write other than a stall is final: what the log holds
 * of it is not known. */
static enum err batch_send(struct rdb_handle *handle, rocksdb_writebatch_t *batch)
{
    struct rdb_engine *engine = handle->engine;
    char *error = NULL;
    rocksdb_write(engine->db, engine->write_options, batch, &error);
    if (error != NULL && rdb_is_stall(error)) {
        rocksdb_free(error);
        atomic_store_explicit(&handle->stalled, true, memory_order_relaxed);
        return refuse(handle);
    }
    if (error != NULL) {
        rdb_fail(engine, error);
        rocksdb_free(error);
        return ERR_IO;
    }
    atomic_store_explicit(&handle->stalled, false, memory_order_relaxed);
    return OK;
}

static enum err batch_write(struct rdb_handle *handle)
{
    if (handle->overlay.count == 0)
        return OK;
    enum err err = batch_send(handle, handle->batch);
    if (err != OK)
        return err;
    rocksdb_writebatch_clear(handle->batch);
    overlay_clear(&handle->overlay);
    handle->batch_bytes = 0;
    atomic_store_explicit(&handle->written,
                          atomic_load_explicit(&handle->staged, memory_order_relaxed),
                          memory_order_release);
    return OK;
}

/* Room for one more write, or why not. The floor of free space is kept for what does not `grow`. */
static enum err batch_admit(struct rdb_handle *handle, bool grows)
{
    struct rdb_engine *engine = handle->engine;
    if (atomic_load_explicit(&engine->failed, memory_order_acquire))
        return ERR_IO;
    if ((grows && atomic_load_explicit(&engine->full, memory_order_relaxed)) ||
        atomic_load_explicit(&engine->pressed, memory_order_relaxed))
        return refuse(handle);
    if (atomic_load_explicit(&handle->stalled, memory_order_relaxed) ||
        overlay_full(&handle->overlay) || handle->batch_bytes >= BATCH_BYTES_MAX)
        return batch_write(handle);
    return OK;
}

static enum err rdb_stage(struct store *store, uint32_t partition, struct bytes key,
                          const struct bytes *value, enum store_sync sync)
{
    struct rdb_handle *handle = handle_of(store);
    struct rdb_engine *engine = handle->engine;
    enum err err = batch_admit(handle, value != NULL && partition != STORE_META);
    if (err != OK)
        return err;
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    if (family == NULL) {
        err = rdb_family_create(engine, partition, &family);
        if (err != OK)
            return err;
    }
    rdb_compactor_written(engine, partition);
    if (value != NULL)
        rocksdb_writebatch_put_cf(handle->batch, family, (const char *)key.data, key.size,
                                  (const char *)value->data, value->size);
    else {
        rocksdb_writebatch_delete_cf(handle->batch, family, (const char *)key.data, key.size);
        atomic_fetch_add_explicit(
            &engine->compactor
                 .deletes[engine_partition_slot(partition, engine->options.partitions)],
            1, memory_order_relaxed);
    }
    overlay_put(&handle->overlay, partition, key, value);
    if (partition < engine->options.partitions)
        cache_put(&handle->cache, partition, key, value);
    handle->batch_bytes += key.size + (value == NULL ? 0 : value->size);
    uint64_t staged = atomic_load_explicit(&handle->staged, memory_order_relaxed);
    atomic_store_explicit(&handle->staged, staged + 1, memory_order_release);
    handle->wants_sync |= sync == STORE_SYNC_NOW;
    return OK;
}

static void scan_from(rocksdb_iterator_t *iterator, struct bytes from, store_visit visit,
                      void *closure)
{
    rocksdb_iter_seek(iterator, (const char *)from.data, from.size);
    while (rocksdb_iter_valid(iterator)) {
        size_t key_size = 0;
        size_t value_size = 0;
        const char *key = rocksdb_iter_key(iterator, &key_size);
        const char *value = rocksdb_iter_value(iterator, &value_size);
        if (!visit(closure, bytes_of(key, key_size), bytes_of(value, value_size)))
            return;
        rocksdb_iter_next(iterator);
    }
}

/* A scan reads each block once: it does not push the hot ones out of the cache. */
static enum err rdb_scan(struct store *store, uint32_t partition, struct bytes from,
                         struct bytes to, store_visit visit, void *closure)
{
    struct rdb_handle *handle = handle_of(store);
    struct rdb_engine *engine = handle->engine;
    counter_add(&handle->reads, 1);
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    if (family == NULL || (to.size != 0 && bytes_compare(from, to) >= 0))
        return OK;
    enum err err = batch_write(handle); /* an iterator does not see the overlay */
    if (err != OK)
        return err;
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(options, 1);
    rocksdb_readoptions_set_fill_cache(options, 0);
    if (to.size != 0)
        rocksdb_readoptions_set_iterate_upper_bound(options, (const char *)to.data, to.size);
    rocksdb_iterator_t *iterator = rocksdb_create_iterator_cf(engine->db, options, family);
    scan_from(iterator, from, visit, closure);
    char *error = NULL;
    rocksdb_iter_get_error(iterator, &error);
    rocksdb_iter_destroy(iterator);
    rocksdb_readoptions_destroy(options);
    return error == NULL ? OK : rdb_error(error);
}

static enum err rdb_drop(struct store *store, uint32_t partition)
{
    struct rdb_handle *handle = handle_of(store);
    struct rdb_engine *engine = handle->engine;
    CHECK_U64(partition, <, engine->options.partitions); /* the others have several users */
    if (atomic_load_explicit(&engine->failed, memory_order_acquire))
        return ERR_IO;
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    if (family == NULL)
        return OK;
    enum err err = batch_write(handle); /* what was staged comes before */
    if (err != OK || rdb_family_is_empty(engine, partition))
        return err;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rdb_batch_empty(batch, family);
    err = batch_send(handle, batch);
    rocksdb_writebatch_destroy(batch);
    if (err != OK)
        return err;
    cache_clear(&handle->cache);
    rdb_compactor_emptied(engine, partition);
    return OK;
}

static uint64_t rdb_staged(const struct store *store)
{
    return atomic_load_explicit(&handle_of(store)->staged, memory_order_relaxed);
}

static uint64_t rdb_committed(const struct store *store)
{
    return atomic_load_explicit(&handle_of(store)->committed, memory_order_acquire);
}

static void rdb_submit(struct store *store)
{
    struct rdb_handle *handle = handle_of(store);
    if (batch_write(handle) != OK || !handle->wants_sync)
        return; /* a stalled batch is tried again when the syncer has the actor stepped */
    handle->wants_sync = false;
    rdb_syncer_wake(handle->engine);
}

static enum err rdb_sync(struct store *store)
{
    struct rdb_handle *handle = handle_of(store);
    enum err err = batch_write(handle);
    if (err != OK)
        return err;
    handle->wants_sync = false;
    return rdb_syncer_wait(handle->engine);
}

static uint64_t rdb_bytes(struct store *store, uint32_t partition)
{
    return rdb_family_bytes(handle_of(store)->engine, partition);
}

static uint64_t rdb_free_bytes(struct store *store)
{
    const struct rdb_engine *engine = handle_of(store)->engine;
    struct statvfs status;
    if (statvfs(engine->options.directory, &status) != 0)
        return 0;
    uint64_t available = (uint64_t)status.f_bavail * status.f_frsize;
    uint64_t floor = engine->plan.free_disk_bytes_min;
    return available > floor ? available - floor : 0;
}

static const struct store_class rdb_store_class = {
    .name = "rocksdb",
    .read = rdb_read,
    .stage = rdb_stage,
    .scan = rdb_scan,
    .drop = rdb_drop,
    .staged = rdb_staged,
    .committed = rdb_committed,
    .submit = rdb_submit,
    .sync = rdb_sync,
    .bytes = rdb_bytes,
    .free_bytes = rdb_free_bytes,
};

void rdb_handle_init(struct rdb_handle *handle, struct rdb_engine *engine, uint32_t index)
{
    handle->store.class = &rdb_store_class;
    handle->engine = engine;
    handle->index = index;
    handle->batch = rocksdb_writebatch_create();
    overlay_init(&handle->overlay);
}

void rdb_handle_deinit(struct rdb_handle *handle)
{
    rocksdb_writebatch_destroy(handle->batch);
    overlay_deinit(&handle->overlay);
    cache_clear(&handle->cache);
}
