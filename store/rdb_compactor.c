#include "store/rdb.h"

#include "base/thread_signals.h"

#include <stdlib.h>
#include <time.h>

#define LOOK_MS     1000u
#define QUIET_LOOKS 3u /* without another deletion */

static size_t slot_of(const struct rdb_engine *engine, uint32_t partition)
{
    return engine_partition_slot(partition, engine->options.partitions);
}

/* Files of an emptied family go without being read; what is not in files of its own is left to the
 * compaction. The log has to say first that it was emptied: files that are gone are gone at once.
 */
static void compactor_unlink(struct rdb_engine *engine, size_t slot,
                             rocksdb_column_family_handle_t *family)
{
    struct rdb_compactor *compactor = &engine->compactor;
    char *error = NULL;
    pthread_mutex_lock(&compactor->unlinking);
    if (atomic_load(&compactor->emptied[slot])) {
        rocksdb_flush_wal(engine->db, 1, &error);
        if (error == NULL)
            rocksdb_delete_file_in_range_cf(engine->db, family, NULL, 0, NULL, 0, &error);
    }
    pthread_mutex_unlock(&compactor->unlinking);
    if (error != NULL)
        rdb_fail(engine, error);
    rocksdb_free(error);
}

/* One family's deletions become space: what they delete and they themselves go. Automatic
 * compactions get there too, but only when new writes push them. */
static void compactor_compact(struct rdb_engine *engine, size_t slot)
{
    rocksdb_column_family_handle_t *family =
        atomic_load_explicit(&engine->families[slot], memory_order_acquire);
    if (family == NULL)
        return;
    compactor_unlink(engine, slot, family);
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    rocksdb_compact_range_cf_opt(engine->db, family, options, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(options);
    counter_add(&engine->compactor.compactions, 1);
}

void rdb_compactor_emptied(struct rdb_engine *engine, uint32_t partition)
{
    struct rdb_compactor *compactor = &engine->compactor;
    size_t slot = slot_of(engine, partition);
    atomic_store(&compactor->emptied[slot], true);
    atomic_fetch_add_explicit(&compactor->deletes[slot], RDB_COMPACT_DELETES_MIN,
                              memory_order_relaxed);
}

bool rdb_compactor_is_emptied(const struct rdb_engine *engine, uint32_t partition)
{
    return atomic_load_explicit(&engine->compactor.emptied[slot_of(engine, partition)],
                                memory_order_relaxed);
}

void rdb_compactor_written(struct rdb_engine *engine, uint32_t partition)
{
    struct rdb_compactor *compactor = &engine->compactor;
    if (!rdb_compactor_is_emptied(engine, partition))
        return;
    pthread_mutex_lock(&compactor->unlinking);
    atomic_store(&compactor->emptied[slot_of(engine, partition)], false);
    pthread_mutex_unlock(&compactor->unlinking);
}

/* Whether this family's turn has come: many deletions and then none for a while, or very many. */
static bool compactor_is_due(struct rdb_compactor *compactor, size_t slot)
{
    uint64_t deletes = atomic_load_explicit(&compactor->deletes[slot], memory_order_relaxed);
    struct rdb_compactor_look *look = &compactor->looks[slot];
    look->quiet = deletes == look->deletes ? look->quiet + 1 : 0;
    look->deletes = deletes;
    uint64_t since = deletes - look->compacted;
    if (since < RDB_COMPACT_DELETES_MIN ||
        (look->quiet < QUIET_LOOKS && since < RDB_COMPACT_DELETES_MAX))
        return false;
    look->compacted = deletes;
    return true;
}

static bool compactor_sleep(struct rdb_compactor *compactor)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += LOOK_MS / 1000;
    pthread_mutex_lock(&compactor->mutex);
    int late = 0;
    while (!compactor->stop && late == 0)
        late =
            pthread_cond_clockwait(&compactor->wake, &compactor->mutex, CLOCK_MONOTONIC, &deadline);
    bool stop = compactor->stop;
    pthread_mutex_unlock(&compactor->mutex);
    return !stop;
}

static void *compactor_run(void *argument)
{
    struct rdb_engine *engine = argument;
    struct rdb_compactor *compactor = &engine->compactor;
    while (compactor_sleep(compactor)) {
        for (size_t slot = 0; slot < (size_t)engine->options.partitions + 2; slot++) {
            if (compactor_is_due(compactor, slot) && !atomic_load(&engine->failed))
                compactor_compact(engine, slot);
        }
    }
    return NULL;
}

void rdb_compactor_start(struct rdb_engine *engine)
{
    struct rdb_compactor *compactor = &engine->compactor;
    size_t slots = (size_t)engine->options.partitions + 2;
    compactor->deletes = calloc(slots, sizeof *compactor->deletes);
    compactor->looks = calloc(slots, sizeof *compactor->looks);
    compactor->emptied = calloc(slots, sizeof *compactor->emptied);
    CHECK(compactor->deletes != NULL && compactor->looks != NULL && compactor->emptied != NULL);
    CHECK(pthread_mutex_init(&compactor->mutex, NULL) == 0);
    CHECK(pthread_mutex_init(&compactor->unlinking, NULL) == 0);
    CHECK(pthread_cond_init(&compactor->wake, NULL) == 0);
    sigset_t before = thread_signals_block();
    CHECK(pthread_create(&compactor->thread, NULL, compactor_run, engine) == 0);
    thread_signals_restore(before);
    pthread_setname_np(compactor->thread, "store-compact");
}

void rdb_compactor_stop(struct rdb_engine *engine)
{
    struct rdb_compactor *compactor = &engine->compactor;
    pthread_mutex_lock(&compactor->mutex);
    compactor->stop = true;
    pthread_cond_signal(&compactor->wake);
    pthread_mutex_unlock(&compactor->mutex);
    rocksdb_disable_manual_compaction(engine->db);
    CHECK(pthread_join(compactor->thread, NULL) == 0);
    pthread_cond_destroy(&compactor->wake);
    pthread_mutex_destroy(&compactor->unlinking);
    pthread_mutex_destroy(&compactor->mutex);
    free(compactor->emptied);
    free(compactor->looks);
    free(compactor->deletes);
}
