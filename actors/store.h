/* store.h -- the storage that an actor may use in a step: one writer's handle on the node's store.
 *
 * This is the port; store/ implements it twice: engine_rocksdb.c and engine_memory.c. A partition
 * is a vnode's column family (0..Q-1), or STORE_META, or STORE_HINTS. Keys and values are opaque
 * here.
 *
 * Reads are synchronous and see every write that this handle staged before. A staged write is in
 * the log's order but not yet durable: it has a sequence, and once the commit log is on disk up to
 * it the engine posts `store_committed{sequence}` (message.h) to the handle's actor. Only then may
 * anything that depends on it be shown to anyone. The host submits after each drained batch, before
 * anything that the batch sent leaves: then the writes enter the log, which all handles of a node
 * share, and are visible through other handles. A crash keeps a prefix of the log, never a gap.
 *
 * A partition has one writer: the replica shard that it lives on. STORE_META and STORE_HINTS may be
 * written through any handle, each key by one of them only.
 */
#ifndef ACTORS_STORE_H
#define ACTORS_STORE_H

#include "base/arena.h"
#include "base/err.h"

#define STORE_META  UINT32_MAX
#define STORE_HINTS (UINT32_MAX - 1)

struct store;

/* False ends the scan. Key and value are borrowed for the call. */
typedef bool (*store_visit)(void *closure, struct bytes key, struct bytes value);

enum store_sync {
    STORE_SYNC_LATER, /* durable with the next periodic sync (100 ms) or with any later
                         STORE_SYNC_NOW */
    STORE_SYNC_NOW,   /* somebody waits for it: sync as soon as the running sync is over */
};

struct store_class {
    const char *name;
    enum err (*read)(struct store *store, uint32_t partition, struct bytes key, struct arena *arena,
                     struct bytes *ret_value);
    enum err (*stage)(struct store *store, uint32_t partition, struct bytes key,
                      const struct bytes *value, enum store_sync sync);
    enum err (*scan)(struct store *store, uint32_t partition, struct bytes from, struct bytes to,
                     store_visit visit, void *closure);
    enum err (*drop)(struct store *store, uint32_t partition);
    uint64_t (*staged)(const struct store *store);
    uint64_t (*committed)(const struct store *store);
    void (*submit)(struct store *store);
    enum err (*sync)(struct store *store);
    uint64_t (*bytes)(struct store *store, uint32_t partition);
    uint64_t (*free_bytes)(struct store *store);
};

struct store {
    const struct store_class *class;
};

/* NOT_FOUND, CORRUPT (a block failed its checksum), IO. A read error is never "not found". */
static inline enum err MUST_USE store_read(struct store *store, uint32_t partition,
                                           struct bytes key, struct arena *arena,
                                           struct bytes *ret_value)
{
    return store->class->read(store, partition, key, arena, ret_value);
}

/* OVERLOADED: the engine is stalled or out of space; nothing was staged. For want of space only
 * rows of vnodes and hints are refused: who its peers are, what they agreed on (STORE_META) and
 * deletes go to a reserve, or a node with a full disk would lock out each peer that starts again,
 * and keep hints that have been delivered. IO: the engine has failed for good (DESIGN.md 6: a
 * failed fsync is final); nothing was staged. Creates the partition when absent. */
static inline enum err MUST_USE store_put(struct store *store, uint32_t partition, struct bytes key,
                                          struct bytes value, enum store_sync sync)
{
    return store->class->stage(store, partition, key, &value, sync);
}

static inline enum err MUST_USE store_delete(struct store *store, uint32_t partition,
                                             struct bytes key, enum store_sync sync)
{
    return store->class->stage(store, partition, key, NULL, sync);
}

/* Keys in [from, to) in byte order; empty `to` means the end. Sees a state no older than the call.
 * An absent partition is empty. */
static inline enum err MUST_USE store_scan(struct store *store, uint32_t partition,
                                           struct bytes from, struct bytes to, store_visit visit,
                                           void *closure)
{
    return store->class->scan(store, partition, from, to, visit, closure);
}

/* All of a vnode's partition in one call (not STORE_META or STORE_HINTS, which have several users).
 * A crash may undo it, or a part of it, until something that is staged behind it is durable: so a
 * row that says that this is empty goes behind, and before it nothing here counts. OVERLOADED, IO:
 * as above. */
static inline enum err MUST_USE store_drop(struct store *store, uint32_t partition)
{
    return store->class->drop(store, partition);
}

/* The sequence of the last write staged through this handle, 0 for none since it was opened. */
static inline uint64_t store_staged(const struct store *store)
{
    return store->class->staged(store);
}

/* Durable up to here (for this handle). */
static inline uint64_t store_committed(const struct store *store)
{
    return store->class->committed(store);
}

/* Called by the host after each drained batch of messages: wakes the syncer once, if anyone waits.
 */
static inline void store_submit(struct store *store)
{
    store->class->submit(store);
}

/* About how many bytes of keys and values a vnode's partition holds: what a copy of it moves,
 * however well the disk compresses it. For people and for plans. */
static inline uint64_t store_bytes(struct store *store, uint32_t partition)
{
    return store->class->bytes(store, partition);
}

/* What the disk has left. */
static inline uint64_t store_free_bytes(struct store *store)
{
    return store->class->free_bytes(store);
}

/* Waits until all that was staged is durable. Only at start and shutdown, never in a step. */
static inline enum err MUST_USE store_sync(struct store *store)
{
    return store->class->sync(store);
}

#endif
