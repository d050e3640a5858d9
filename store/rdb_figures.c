#include "store/rdb.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIGURES_AGE_MAX_NS 1000000000ull

static uint64_t family_figure(struct rdb_engine *engine, rocksdb_column_family_handle_t *family,
                              const char *property)
{
    uint64_t value = 0;
    return rocksdb_property_int_cf(engine->db, family, property, &value) == 0 ? value : 0;
}

static void add_families(struct rdb_engine *engine, struct engine_figures *figures)
{
    pthread_mutex_lock(&engine->families_mutex);
    for (uint32_t i = 0; i < engine->options.partitions + 2; i++) {
        rocksdb_column_family_handle_t *family = atomic_load(&engine->families[i]);
        if (family == NULL)
            continue;
        figures->partitions_open += i < engine->options.partitions;
        figures->sst_bytes += family_figure(engine, family, "rocksdb.total-sst-files-size");
        figures->keys_estimate += family_figure(engine, family, "rocksdb.estimate-num-keys");
        figures->pending_compaction_bytes +=
            family_figure(engine, family, "rocksdb.estimate-pending-compaction-bytes");
    }
    pthread_mutex_unlock(&engine->families_mutex);
}

bool rdb_family_is_empty(struct rdb_engine *engine, uint32_t partition)
{
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    return family == NULL || rdb_compactor_is_emptied(engine, partition) ||
           (family_figure(engine, family, "rocksdb.num-entries-active-mem-table") == 0 &&
            family_figure(engine, family, "rocksdb.num-entries-imm-mem-tables") == 0 &&
            family_figure(engine, family, "rocksdb.live-sst-files-size") == 0);
}

/* "...; raw value size=2000; ...", in the words of RocksDB. */
static uint64_t property_number(const char *properties, const char *name)
{
    const char *found = strstr(properties, name);
    return found == NULL ? 0 : strtoull(found + strlen(name), NULL, 10);
}

/* Keys and values of the tables, as they were before they were compressed. */
static uint64_t tables_bytes(struct rdb_engine *engine, rocksdb_column_family_handle_t *family)
{
    char *properties =
        rocksdb_property_value_cf(engine->db, family, "rocksdb.aggregated-table-properties");
    if (properties == NULL)
        return 0;
    uint64_t bytes = property_number(properties, "raw key size=") +
                     property_number(properties, "raw value size=");
    rocksdb_free(properties);
    return bytes;
}

uint64_t rdb_family_bytes(struct rdb_engine *engine, uint32_t partition)
{
    pthread_mutex_lock(&engine->families_mutex);
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    uint64_t bytes = 0;
    if (family != NULL && !rdb_compactor_is_emptied(engine, partition))
        bytes = tables_bytes(engine, family) +
                family_figure(engine, family, "rocksdb.cur-size-all-mem-tables");
    pthread_mutex_unlock(&engine->families_mutex);
    return bytes;
}

rocksdb_memory_usage_t *rdb_memory_usage(struct rdb_engine *engine)
{
    char *error = NULL;
    rocksdb_memory_usage_t *usage =
        rocksdb_approximate_memory_usage_create(engine->memory_consumers, &error);
    if (error == NULL)
        return usage;
    rocksdb_free(error);
    return NULL;
}

static void add_database(struct rdb_engine *engine, struct engine_figures *figures)
{
    rocksdb_column_family_handle_t *family = engine->default_family;
    figures->compactions_for_space = counter_get(&engine->compactor.compactions);
    figures->running_compactions = family_figure(engine, family, "rocksdb.num-running-compactions");
    figures->running_flushes = family_figure(engine, family, "rocksdb.num-running-flushes");
    figures->background_errors = family_figure(engine, family, "rocksdb.background-errors");
    figures->write_stopped = family_figure(engine, family, "rocksdb.is-write-stopped") != 0 ||
                             atomic_load(&engine->failed) || atomic_load(&engine->full) ||
                             atomic_load(&engine->pressed);
    rocksdb_memory_usage_t *usage = rdb_memory_usage(engine);
    if (usage == NULL)
        return;
    figures->memtable_bytes = rocksdb_approximate_memory_usage_get_mem_table_total(usage);
    figures->table_reader_bytes =
        rocksdb_approximate_memory_usage_get_mem_table_readers_total(usage);
    figures->block_cache_bytes = rocksdb_approximate_memory_usage_get_cache_total(usage);
    rocksdb_approximate_memory_usage_destroy(usage);
}

static uint64_t wal_bytes(const char *directory)
{
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return 0;
    uint64_t bytes = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *suffix = strrchr(entry->d_name, '.');
        struct stat status;
        if (suffix != NULL && strcmp(suffix, ".log") == 0 &&
            fstatat(dirfd(dir), entry->d_name, &status, 0) == 0)
            bytes += (uint64_t)status.st_size;
    }
    closedir(dir);
    return bytes;
}

static void add_counters(struct rdb_engine *engine, struct engine_figures *figures)
{
    for (uint32_t i = 0; i < engine->options.handle_count; i++) {
        const struct rdb_handle *handle = &engine->handles[i];
        figures->staged += atomic_load_explicit(&handle->staged, memory_order_relaxed);
        figures->refused += counter_get(&handle->refused);
        figures->reads += counter_get(&handle->reads);
        figures->cache_hits += counter_get(&handle->cache_hits);
    }
    figures->syncs = counter_get(&engine->syncer.syncs);
    figures->synced_writes = counter_get(&engine->syncer.synced_writes);
    figures->sync_ns_total = counter_get(&engine->syncer.sync_ns);
}

void rdb_figures(struct engine *base, struct engine_figures *ret)
{
    struct rdb_engine *engine = CONTAINER_OF(base, struct rdb_engine, engine);
    pthread_mutex_lock(&engine->figures_mutex);
    uint64_t now_ns = rdb_now_ns();
    if (engine->figures_at_ns == 0 || now_ns - engine->figures_at_ns >= FIGURES_AGE_MAX_NS) {
        struct engine_figures figures = {.wal_bytes = wal_bytes(engine->directory)};
        add_counters(engine, &figures);
        add_families(engine, &figures);
        add_database(engine, &figures);
        engine->figures = figures;
        engine->figures_at_ns = now_ns;
    }
    *ret = engine->figures;
    pthread_mutex_unlock(&engine->figures_mutex);
}
