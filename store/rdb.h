/* rdb.h -- the RocksDB engine, as its own files see it.
 *
 *   engine_rocksdb.c   opening with its checks and error texts, closing
 *   rdb_options.c      the memory plan and every RocksDB option
 *   rdb_partitions.c   the table of column families
 *   rdb_handle.c       the port (actors/store.h): read, stage, scan, drop
 *   rdb_overlay.c      what a handle has staged and not yet written
 *   rdb_cache.c        its hot records
 *   rdb_syncer.c       the thread that makes staged writes durable and looks after space
 *   rdb_compactor.c    the thread that turns deletions into free space
 *   rdb_mark.c         how far writes were acknowledged, outside of RocksDB
 *   rdb_figures.c      what the metrics show
 *
 * Threads
 *   a handle            one thread at a time; its counters are read by any
 *   families[]          read without a lock; written under families_mutex. Making one holds up all
 *                       writes for tens of milliseconds, as dropping one would: so one that was
 * made stays, and a dropped partition is one that was emptied failed, full, pressed  set by any
 * thread or by the syncer, read by all
 */
#ifndef STORE_RDB_H
#define STORE_RDB_H

#include "base/counter.h"
#include "store/engine_class.h"
#include "store/rdb_cache.h"
#include "store/rdb_overlay.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

/* How options.memory_bytes is cut: one half for the cache, one half for memtables. RocksDB starts
 * to flush at half of theirs, since its budget is soft; at the whole of it writes are refused. */
struct rdb_plan {
    uint64_t cache_bytes; /* blocks, indexes and filters of all families */
    uint64_t
        write_buffers_bytes; /* memtables of all families together: beyond it they are flushed */
    uint64_t write_buffer_bytes;  /* the largest memtable of one family */
    uint64_t arena_block_bytes;   /* what a memtable grows by */
    uint64_t wal_bytes_max;       /* beyond it the families that hold the oldest log are flushed */
    uint64_t memtable_bytes_max;  /* beyond it writes are refused until flushes have caught up */
    uint64_t free_disk_bytes_min; /* below it writes are refused */
};

struct rdb_handle {
    struct store store;
    struct rdb_engine *engine;
    rocksdb_writebatch_t *batch; /* staged, not written yet */
    struct overlay overlay;      /* the same, for reads */
    size_t batch_bytes;
    struct cache cache; /* of vnodes; meta and hints have several writers */
    uint32_t index;
    bool wants_sync;      /* staged with STORE_SYNC_NOW since the last submit */
    _Atomic bool stalled; /* RocksDB has refused the batch: it is tried again, nothing is added */
    uint64_t syncing;     /* the syncer's: written when the running sync began */
    _Atomic uint64_t staged;
    _Atomic uint64_t written; /* to RocksDB; a sync covers this much */
    _Atomic uint64_t committed;
    struct counter refused;
    struct counter reads;
    struct counter cache_hits;
} __attribute__((aligned(64)));

struct rdb_syncer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_cond_t done;     /* a sync has ended, or the engine has failed */
    _Atomic bool wanted;     /* false -> true wakes the thread */
    bool stop;               /* under mutex */
    uint64_t memory_seen_ns; /* the thread's */
    uint64_t space_seen_ns;  /* the thread's */
    struct counter syncs;
    struct counter synced_writes;
    struct counter sync_ns;
};

/* Deletions of one family, and of them: a family with fewer is left to automatic compactions. */
#define RDB_COMPACT_DELETES_MIN 256u
#define RDB_COMPACT_DELETES_MAX 100000u

struct rdb_compactor_look {
    uint64_t deletes;   /* at the last look */
    uint64_t compacted; /* that the last compaction has seen */
    uint32_t quiet;     /* looks without another */
};

struct rdb_compactor {
    pthread_t thread;
    pthread_mutex_t mutex; /* of `stop` */
    pthread_cond_t wake;
    bool stop;
    pthread_mutex_t unlinking;        /* held while files of an emptied family go */
    _Atomic bool *emptied;            /* by slot: nothing was written since it was dropped */
    _Atomic uint64_t *deletes;        /* staged so far, by slot */
    struct rdb_compactor_look *looks; /* the thread's */
    struct counter compactions;
};

/* The syncer's, but for opening and closing. */
struct rdb_mark {
    int fd;
    uint64_t count;    /* of writes to the file, ever */
    uint64_t sequence; /* RocksDB's */
    uint64_t synced_ns;
    bool dirty;
    struct counter missed; /* for want of space */
};

struct rdb_engine {
    struct engine engine;
    struct engine_options options; /* directory is our copy */
    char *directory;
    struct rdb_plan plan;

    rocksdb_t *db;
    rocksdb_options_t *db_options; /* of the database and of every family */
    rocksdb_block_based_table_options_t *table_options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_options;
    rocksdb_writeoptions_t *write_options;
    rocksdb_memory_consumers_t *memory_consumers;
    rocksdb_column_family_handle_t *default_family;

    pthread_mutex_t families_mutex;
    _Atomic(rocksdb_column_family_handle_t *)
        *families; /* engine_partition_slot(); NULL = absent */

    struct rdb_handle *handles;
    struct rdb_syncer syncer;
    struct rdb_compactor compactor;
    struct rdb_mark mark;
    bool log_short;       /* recovery found less than was acknowledged */
    _Atomic bool failed;  /* for good */
    _Atomic bool full;    /* free disk space below the floor */
    _Atomic bool pressed; /* memtables over their ceiling */

    pthread_mutex_t figures_mutex;
    struct engine_figures figures; /* as of figures_at_ns */
    uint64_t figures_at_ns;
};

/* -- engine_rocksdb.c ------------------------------------------------------------------------- */

/* Final: later stages give IO; options.failed hears of the first. */
void rdb_fail(struct rdb_engine *engine, const char *why);
/* What a read error's message means for the caller; frees it. CORRUPT or IO. */
enum err rdb_error(char *message);
/* Whether a write was refused because it would have had to wait. */
bool rdb_is_stall(const char *message);
uint64_t rdb_now_ns(void);

/* -- rdb_options.c ---------------------------------------------------------------------------- */

struct rdb_plan rdb_plan(uint64_t memory_bytes, uint32_t partitions);
void rdb_options_init(struct rdb_engine *engine);
void rdb_options_deinit(struct rdb_engine *engine);

/* -- rdb_partitions.c ------------------------------------------------------------------------- */

enum { RDB_FAMILY_NAME_SIZE = 16 };

/* "p0000".., "meta", "hints". False: not a name of ours. */
bool rdb_family_parse(const char *name, uint32_t *ret_partition);
/* NULL when absent. */
rocksdb_column_family_handle_t *rdb_family(struct rdb_engine *engine, uint32_t partition);
/* Creates it when absent; OVERLOADED, IO (and the engine has failed). */
enum err rdb_family_create(struct rdb_engine *engine, uint32_t partition,
                           rocksdb_column_family_handle_t **ret_family) MUST_USE;
/* Of its keys and values, uncompressed, about; those that were overwritten lately count as well. */
uint64_t rdb_family_bytes(struct rdb_engine *engine, uint32_t partition);
bool rdb_family_is_empty(struct rdb_engine *engine, uint32_t partition);
/* Removes all that it holds. */
void rdb_batch_empty(rocksdb_writebatch_t *batch, rocksdb_column_family_handle_t *family);
enum err rdb_create_partitions(struct engine *engine, const uint32_t *partitions, size_t count);
void rdb_families_close(struct rdb_engine *engine);

/* -- rdb_compactor.c -------------------------------------------------------------------------- */

void rdb_compactor_start(struct rdb_engine *engine);
void rdb_compactor_stop(struct rdb_engine *engine);
/* The thread that owns the partition: it was emptied. */
void rdb_compactor_emptied(struct rdb_engine *engine, uint32_t partition);
bool rdb_compactor_is_emptied(const struct rdb_engine *engine, uint32_t partition);
/* That thread: it is about to be written. */
void rdb_compactor_written(struct rdb_engine *engine, uint32_t partition);

/* -- rdb_handle.c ----------------------------------------------------------------------------- */

void rdb_handle_init(struct rdb_handle *handle, struct rdb_engine *engine, uint32_t index);
void rdb_handle_deinit(struct rdb_handle *handle);

/* -- rdb_syncer.c ----------------------------------------------------------------------------- */

void rdb_syncer_start(struct rdb_engine *engine);
/* After a last sync. */
void rdb_syncer_stop(struct rdb_engine *engine);
/* Somebody waits for what has been staged up to now. */
void rdb_syncer_wake(struct rdb_engine *engine);
/* Returns when all that any handle has staged before the call is durable; IO. */
enum err rdb_syncer_wait(struct rdb_engine *engine) MUST_USE;
/* Sets `full`. */
void rdb_look_at_space(struct rdb_engine *engine);

/* -- rdb_mark.c ------------------------------------------------------------------------------- */

/* Makes the file when it is not there: then nothing was acknowledged, as far as can be known.
 * Damaged: there is a mark and it cannot be read. IO. */
enum err rdb_mark_open(struct rdb_mark *mark, const char *directory, bool *ret_damaged) MUST_USE;
/* The log is durable up to `sequence`, and nobody has been told yet. A failure is final. */
void rdb_mark_write(struct rdb_engine *engine, uint64_t sequence);
void rdb_mark_sync(struct rdb_engine *engine, uint64_t now_ns);
void rdb_mark_close(struct rdb_mark *mark);

/* -- rdb_figures.c ---------------------------------------------------------------------------- */

void rdb_figures(struct engine *engine, struct engine_figures *ret);
/* NULL: it cannot be told now. To destroy. */
rocksdb_memory_usage_t *rdb_memory_usage(struct rdb_engine *engine);

#endif
