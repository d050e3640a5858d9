#include "store/rdb.h"

#include "base/thread_signals.h"

#include <sys/statvfs.h>
#include <time.h>

#define MS_NS             1000000ull
#define SECOND_NS         (1000 * MS_NS)
#define LOOK_AROUND_MS    100u /* at least so often, also when nothing happens */
#define LOOK_AT_MEMORY_MS 50u  /* at most so often */
#define LOOK_AT_SPACE_MS  1000u

/* -- space and memory ------------------------------------------------------------------------- */

void rdb_look_at_space(struct rdb_engine *engine)
{
    struct statvfs space;
    if (statvfs(engine->directory, &space) != 0)
        return; /* the next write says what is wrong */
    uint64_t free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    bool full = free_bytes < engine->plan.free_disk_bytes_min;
    if (full == atomic_exchange(&engine->full, full))
        return;
    log_write(engine->options.log, full ? LOG_WARNING : LOG_INFO,
              full ? "store_disk_full" : "store_disk_ok", "directory=%s free_bytes=%llu floor=%llu",
              engine->directory, (unsigned long long)free_bytes,
              (unsigned long long)engine->plan.free_disk_bytes_min);
}

/* Only while a flush runs: RocksDB starts one when a write comes, so refusing all writes while none
 * runs would be for ever. */
static void look_at_memory(struct rdb_engine *engine)
{
    rocksdb_memory_usage_t *usage = rdb_memory_usage(engine);
    if (usage == NULL)
        return;
    uint64_t bytes = rocksdb_approximate_memory_usage_get_mem_table_total(usage);
    rocksdb_approximate_memory_usage_destroy(usage);
    uint64_t flushes = 0;
    rocksdb_property_int_cf(engine->db, engine->default_family, "rocksdb.num-running-flushes",
                            &flushes);
    bool pressed = bytes > engine->plan.memtable_bytes_max && flushes > 0;
    atomic_store_explicit(&engine->pressed, pressed, memory_order_relaxed);
}

/* -- one sync --------------------------------------------------------------------------------- */

/* Notes for each handle what the sync that starts now will cover; false: nothing is unsynced. */
static bool sync_begin(struct rdb_engine *engine)
{
    bool any = false;
    for (uint32_t i = 0; i < engine->options.handle_count; i++) {
        struct rdb_handle *handle = &engine->handles[i];
        handle->syncing = atomic_load_explicit(&handle->written, memory_order_acquire);
        any |= handle->syncing > atomic_load_explicit(&handle->committed, memory_order_relaxed);
    }
    return any;
}

static void sync_end(struct rdb_engine *engine)
{
    for (uint32_t i = 0; i < engine->options.handle_count; i++) {
        struct rdb_handle *handle = &engine->handles[i];
        uint64_t before = atomic_load_explicit(&handle->committed, memory_order_relaxed);
        if (handle->syncing == before)
            continue;
        counter_add(&engine->syncer.synced_writes, handle->syncing - before);
        atomic_store_explicit(&handle->committed, handle->syncing, memory_order_release);
        if (engine->options.committed != NULL)
            engine->options.committed(engine->options.host, i, handle->syncing);
    }
}

/* After a failure nothing is tried again: the kernel may have dropped the pages and the next fsync
 * would report success. */
static void syncer_sync(struct rdb_engine *engine)
{
    struct rdb_syncer *syncer = &engine->syncer;
    if (atomic_load(&engine->failed) || !sync_begin(engine))
        return;
    uint64_t began_ns = rdb_now_ns();
    /* At least all that sync_begin has seen written. */
    uint64_t sequence = rocksdb_get_latest_sequence_number(engine->db);
    char *error = NULL;
    rocksdb_flush_wal(engine->db, 1, &error);
    if (error != NULL) {
        rdb_fail(engine, error);
        rocksdb_free(error);
        return;
    }
    counter_add(&syncer->syncs, 1);
    counter_add(&syncer->sync_ns, rdb_now_ns() - began_ns);
    rdb_mark_write(engine, sequence);
    if (!atomic_load(&engine->failed))
        sync_end(engine);
}

/* -- the thread ------------------------------------------------------------------------------- */

enum round { ROUND_LOOK, ROUND_SYNC, ROUND_LAST };

/* Until someone wants a sync, the periodic one is due, or it is time to look around. */
static enum round syncer_sleep(struct rdb_engine *engine, uint64_t sync_due_ns)
{
    struct rdb_syncer *syncer = &engine->syncer;
    uint64_t look_due_ns = rdb_now_ns() + LOOK_AROUND_MS * MS_NS;
    uint64_t due_ns = sync_due_ns < look_due_ns ? sync_due_ns : look_due_ns;
    struct timespec deadline = {.tv_sec = (time_t)(due_ns / SECOND_NS),
                                .tv_nsec = (long)(due_ns % SECOND_NS)};
    pthread_mutex_lock(&syncer->mutex);
    int late = 0;
    while (!atomic_load(&syncer->wanted) && !syncer->stop && late == 0)
        late = pthread_cond_clockwait(&syncer->wake, &syncer->mutex, CLOCK_MONOTONIC, &deadline);
    bool stop = syncer->stop;
    pthread_mutex_unlock(&syncer->mutex);
    /* From here a submit sets it again, and is covered by the next round or by this one. */
    bool wanted = atomic_exchange(&syncer->wanted, false);
    if (stop)
        return ROUND_LAST;
    return wanted || rdb_now_ns() >= sync_due_ns ? ROUND_SYNC : ROUND_LOOK;
}

/* Has the actors of stalled handles stepped, whose submit tries the batch again: tells them once
 * more how far they are durable. */
static void nudge_stalled(struct rdb_engine *engine)
{
    for (uint32_t i = 0; i < engine->options.handle_count; i++) {
        struct rdb_handle *handle = &engine->handles[i];
        if (atomic_load_explicit(&handle->stalled, memory_order_relaxed) &&
            engine->options.committed != NULL)
            engine->options.committed(
                engine->options.host, i,
                atomic_load_explicit(&handle->committed, memory_order_relaxed));
    }
}

static void look_around(struct rdb_engine *engine)
{
    struct rdb_syncer *syncer = &engine->syncer;
    uint64_t now_ns = rdb_now_ns();
    rdb_mark_sync(engine, now_ns);
    if (now_ns - syncer->memory_seen_ns >= LOOK_AT_MEMORY_MS * MS_NS) {
        syncer->memory_seen_ns = now_ns;
        look_at_memory(engine);
        nudge_stalled(engine);
    }
    if (now_ns - syncer->space_seen_ns >= LOOK_AT_SPACE_MS * MS_NS) {
        syncer->space_seen_ns = now_ns;
        rdb_look_at_space(engine);
    }
}

static void *syncer_run(void *argument)
{
    struct rdb_engine *engine = argument;
    struct rdb_syncer *syncer = &engine->syncer;
    uint64_t period_ns = engine->options.periodic_sync_ms * MS_NS;
    uint64_t sync_due_ns = rdb_now_ns() + period_ns;
    if (engine->options.thread_started != NULL)
        engine->options.thread_started(engine->options.host);
    enum round round = ROUND_LOOK;
    while (round != ROUND_LAST) {
        round = syncer_sleep(engine, sync_due_ns);
        if (round != ROUND_LOOK) {
            sync_due_ns = rdb_now_ns() + period_ns;
            syncer_sync(engine);
            pthread_mutex_lock(&syncer->mutex);
            pthread_cond_broadcast(&syncer->done);
            pthread_mutex_unlock(&syncer->mutex);
        }
        look_around(engine);
    }
    if (engine->options.thread_stopping != NULL)
        engine->options.thread_stopping(engine->options.host);
    return NULL;
}

void rdb_syncer_start(struct rdb_engine *engine)
{
    struct rdb_syncer *syncer = &engine->syncer;
    CHECK(pthread_mutex_init(&syncer->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&syncer->wake, NULL) == 0);
    CHECK(pthread_cond_init(&syncer->done, NULL) == 0);
    sigset_t before = thread_signals_block();
    CHECK(pthread_create(&syncer->thread, NULL, syncer_run, engine) == 0);
    thread_signals_restore(before);
    pthread_setname_np(syncer->thread, "store-sync");
}

void rdb_syncer_stop(struct rdb_engine *engine)
{
    struct rdb_syncer *syncer = &engine->syncer;
    pthread_mutex_lock(&syncer->mutex);
    syncer->stop = true;
    pthread_cond_signal(&syncer->wake);
    pthread_mutex_unlock(&syncer->mutex);
    CHECK(pthread_join(syncer->thread, NULL) == 0);
    pthread_cond_destroy(&syncer->done);
    pthread_cond_destroy(&syncer->wake);
    pthread_mutex_destroy(&syncer->mutex);
}

void rdb_syncer_wake(struct rdb_engine *engine)
{
    struct rdb_syncer *syncer = &engine->syncer;
    if (atomic_exchange(&syncer->wanted, true))
        return; /* it has not slept since */
    pthread_mutex_lock(&syncer->mutex);
    pthread_cond_signal(&syncer->wake);
    pthread_mutex_unlock(&syncer->mutex);
}

static bool all_committed(struct rdb_engine *engine, const uint64_t *staged)
{
    for (uint32_t i = 0; i < engine->options.handle_count; i++) {
        if (atomic_load_explicit(&engine->handles[i].committed, memory_order_acquire) < staged[i])
            return false;
    }
    return true;
}

enum err rdb_syncer_wait(struct rdb_engine *engine)
{
    struct rdb_syncer *syncer = &engine->syncer;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint64_t *staged = ARENA_NEW(&arena, uint64_t, engine->options.handle_count);
    for (uint32_t i = 0; i < engine->options.handle_count; i++)
        staged[i] = atomic_load_explicit(&engine->handles[i].written, memory_order_acquire);
    rdb_syncer_wake(engine);
    pthread_mutex_lock(&syncer->mutex);
    while (!all_committed(engine, staged) && !atomic_load(&engine->failed))
        pthread_cond_wait(&syncer->done, &syncer->mutex);
    pthread_mutex_unlock(&syncer->mutex);
    enum err err = all_committed(engine, staged) ? OK : ERR_IO;
    arena_deinit(&arena);
    return err;
}
