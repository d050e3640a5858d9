/* engine.h -- the node's store: opening, closing, the commit-log syncer, figures.
 *
 * Two engines behind one face. engine_rocksdb.c: one RocksDB, a column family per vnode, one commit
 * log, one syncer thread. engine_memory.c: the simulator's disk, with exact crash semantics.
 * Handles (actors/store.h): one per replica shard, 0..shard_count-1, and one more (shard_count) for
 * the gossip actor and the start procedure.
 *
 * Threads: each handle belongs to one thread at a time; opening, closing and figures to the owner.
 */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include "actors/store.h"
#include "base/log.h"
#include "base/prng.h"

struct engine;

struct engine_options {
    const char *directory; /* created when absent (its parent exists) */
    uint32_t handle_count; /* replica shards + 1 */
    uint32_t partitions;   /* Q */
    uint64_t memory_bytes; /* ceiling for block cache and all memtables together; default 256 MiB */
    uint32_t periodic_sync_ms; /* 100 */
    const struct log *log;
    /* Durable up to `sequence` for that handle. Called on the syncer's thread. */
    void (*committed)(void *host, uint32_t handle, uint64_t sequence);
    /* The engine has failed for good (failed fsync or write): nothing more is acknowledged. Once,
     * on any thread. The host logs it and ends the process. */
    void (*failed)(void *host, const char *why);
    /* On the syncer's thread, at its start and before its end (to register with RCU); may be NULL.
     */
    void (*thread_started)(void *host);
    void (*thread_stopping)(void *host);
    void *host;
};

struct engine_figures {
    uint64_t staged; /* writes */
    uint64_t syncs;
    uint64_t synced_writes; /* writes made durable by those syncs */
    uint64_t sync_ns_total;
    uint64_t refused; /* OVERLOADED */
    uint64_t reads;
    uint64_t cache_hits; /* reads of hot records */
    uint64_t partitions_open;
    uint64_t memtable_bytes;
    uint64_t block_cache_bytes;
    uint64_t table_reader_bytes;
    uint64_t sst_bytes;
    uint64_t wal_bytes;
    uint64_t keys_estimate;
    uint64_t pending_compaction_bytes;
    uint64_t compactions_for_space; /* of families with many deletions */
    uint64_t running_compactions;
    uint64_t running_flushes;
    uint64_t background_errors;
    uint64_t write_stopped;
};

/* IO, CORRUPT, or INVALID (the directory was made with another `partitions`), with a message in
 * `why` (size why_size) that says what to do next. Takes a lock on the directory: a second process
 * is refused (DENIED). memory_bytes is at least 8 MiB. */
enum err engine_rocksdb_open(const struct engine_options *options, struct engine **ret_engine,
                             char *why, size_t why_size) MUST_USE;

struct store *engine_store(struct engine *engine, uint32_t handle);
/* Creates the column families of these partitions now (20-50 ms each), so that no first write pays.
 */
enum err engine_create_partitions(struct engine *engine, const uint32_t *partitions,
                                  size_t count) MUST_USE;
/* Whether recovery has found less than this directory had acknowledged (RELIABILITY rule 38): what
 * it holds is then no proof of anything. A directory from before there was a mark is taken as it
 * is. */
bool engine_log_short(const struct engine *engine);
/* Syncs, stops the syncer, closes. Handles must be idle. */
void engine_close(struct engine *engine);
/* Cached: recomputed at most once a second. Any thread. */
void engine_figures(struct engine *engine, struct engine_figures *ret);

/* -- the simulator's disk -----------------------------------------------------------------------
 */

/* Survives the engines opened on it, as a disk survives processes. */
struct memory_disk;
struct memory_disk *memory_disk_new(void);
void memory_disk_free(struct memory_disk *disk);
/* A disk of the same contents; with an engine opened on it, of what a crash that loses all that is
 * not durable would leave. */
struct memory_disk *memory_disk_copy(const struct memory_disk *disk, const struct engine *engine);
/* All is gone. No engine is opened on it. */
void memory_disk_wipe(struct memory_disk *disk);
/* Of a disk that no engine is opened on. NOT_FOUND. */
enum err memory_disk_read(const struct memory_disk *disk, uint32_t partition, struct bytes key,
                          struct arena *arena, struct bytes *ret_value) MUST_USE;

enum crash_kind {
    CRASH_PROCESS, /* kill -9: what reached the page cache stays; a prefix drawn by the seed */
    CRASH_POWER, /* also that may be lost: a prefix of the unsynced writes stays, the next one torn
                  */
};

/* options->directory is not used; `committed` is called from engine_memory_sync. */
struct engine *engine_memory_open(const struct engine_options *options, struct memory_disk *disk);
/* One sync of the commit log, completed now: everything staged up to `mark` becomes durable and
 * each handle with news gets `committed`. The simulator decides when; engine_memory_mark() is the
 * value at the time when the sync began. */
uint64_t engine_memory_mark(const struct engine *engine);
void engine_memory_sync(struct engine *engine, uint64_t mark);
/* Whether any staged write asked for STORE_SYNC_NOW and is not durable yet. */
bool engine_memory_wants_sync(const struct engine *engine);
/* What a crash that loses all that is not durable would leave of a key; NOT_FOUND. No fault is
 * injected. */
enum err engine_memory_read_durable(const struct engine *engine, uint32_t partition,
                                    struct bytes key, struct arena *arena,
                                    struct bytes *ret_value) MUST_USE;
/* Turns over one bit of a value on the disk, as bit rot does. False: the key is not there, is
 * empty, or is not durable yet. */
bool engine_memory_damage(struct engine *engine, uint32_t partition, struct bytes key,
                          uint64_t bit);
/* As a damaged block: keys that begin with these hashes (model/hash.h), or lie between, are CORRUPT
 * for reads (those for tests as well) and scans, until the partition is dropped. False: nothing is
 * there, or it has such a hole already. */
bool engine_memory_hide(struct engine *engine, uint32_t partition, uint64_t first, uint64_t last);
/* Some partition has one. */
bool engine_memory_hides(const struct engine *engine);
/* The next crash also takes back this many writes that were acknowledged, as a disk does that lies
 * about its syncs; at most the last ENGINE_MEMORY_LIES_MAX of this engine. The next start finds
 * log_short. */
#define ENGINE_MEMORY_LIES_MAX 64u
void engine_memory_lie(struct engine *engine, uint32_t writes);
/* Ends the engine without a sync; `disk` holds what the crash left, drawn from prng. Frees the
 * engine. */
void engine_memory_crash(struct engine *engine, enum crash_kind kind, struct prng *prng);
/* Faults to inject: chance that a read gives IO, that a stage gives OVERLOADED; fsync_fails makes
 * the next sync fail (the engine is failed for good, `failed` is called). */
void engine_memory_set_faults(struct engine *engine, struct prng *prng, double read_error,
                              double overloaded, bool fsync_fails);

#endif
