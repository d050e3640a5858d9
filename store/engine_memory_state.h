/* engine_memory_state.h -- inside of the simulator's disk: what it keeps, for engine_memory.c and
 * engine_memory_faults.c alone.
 */
#ifndef STORE_ENGINE_MEMORY_STATE_H
#define STORE_ENGINE_MEMORY_STATE_H

#include "store/engine_class.h"
#include "store/memory_map.h"

struct memory_disk {
    struct memory_map **maps; /* partitions + 2, NULL = absent */
    uint32_t partitions;
    bool open;
    uint64_t sequence; /* writes on it */
    uint64_t mark;     /* of those acknowledged, as an engine has it outside of its log */
};

/* One staged write that is not durable yet. */
struct pending {
    struct memory_map *map;       /* NULL: nothing to undo */
    struct memory_record *before; /* owned; NULL when the key was absent */
    struct memory_record
        *after; /* the map's, or the `before` of a later write; NULL for a delete */
    uint64_t sequence;
    uint32_t handle;
};

struct memory_handle {
    struct store store;
    struct memory_engine *engine;
    uint32_t index;
    uint64_t staged;
    uint64_t committed;
};

struct memory_engine {
    struct engine engine;
    struct engine_options options;
    struct memory_disk *disk;
    struct memory_handle *handles;
    struct pending *log; /* oldest first */
    size_t log_count;
    size_t log_capacity;
    /* The last writes that were settled, a ring: what a disk that lies takes back. */
    struct pending settled[ENGINE_MEMORY_LIES_MAX];
    uint64_t settled_next;
    uint32_t lies;
    bool log_short;
    uint64_t durable;        /* log position; log[0] is at durable + 1 */
    uint64_t wanted;         /* position of the last write with STORE_SYNC_NOW */
    struct prng *fault_prng; /* borrowed; NULL: no faults */
    double read_error;
    double overloaded;
    bool fsync_fails;
    bool failed;
    struct engine_figures figures;
};

struct memory_engine *memory_engine_of(const struct engine *engine);
/* The disk stays as it is. */
void memory_engine_free(struct memory_engine *engine);
/* The place of its map, which may be NULL. */
struct memory_map **memory_disk_map(const struct memory_disk *disk, uint32_t partition);
void memory_disk_set_partitions(struct memory_disk *disk, uint32_t partitions);
/* Puts back what the write replaced. */
void memory_log_undo(struct memory_engine *engine, const struct pending *last);
void memory_log_undo_last(struct memory_engine *engine);

#endif
