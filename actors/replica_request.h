/* replica_request.h -- request ids: a retried put gets the outcome of the first, and no second dot.
 *
 * A put with an id leaves a row beside its record, in the same write of the log: at the replica
 * that minted it and at those that its state was sent to. Whichever of them is asked again within
 * `REQUEST_KEPT_MS` answers from the row. A replica that never heard of the first attempt cannot
 * know, and mints: retry through the same nodes, or read first.
 *
 * Row in STORE_META: "request/" + id -> u8 format (1) | u64 wall ms | u32 partition | u32 keyspace
 * id | u64 key hash | context bytes. Included by replica*.c only.
 */
#ifndef ACTORS_REPLICA_REQUEST_H
#define ACTORS_REPLICA_REQUEST_H

#include "actors/replica.h"

#define REQUEST_KEPT_MS     600000u
#define REQUEST_IDS_MAX     1048576u /* of a node; 24 bytes each */
#define REQUEST_EXPIRE_STEP 256u     /* rows that one step deletes or looks at */

struct request_row {
    uint64_t at_ms; /* wall clock */
    uint8_t id[REQUEST_ID_BYTES];
};

/* What this shard remembers: ids in the order in which they came. */
struct request_memory {
    uint8_t shard;
    uint8_t shards;
    uint32_t max;
    uint32_t count;
    uint32_t first;
    uint32_t capacity;
    struct request_row *rows; /* a ring, grown as needed up to max */
    bool loaded;              /* rows of an earlier life have been looked at */
    uint8_t load_from[8 + REQUEST_ID_BYTES + 1];
    size_t load_from_size;
    uint64_t next_ns; /* when request_expire wants to run; NEVER_NS with nothing to do */
    struct replica_figures *figures;
};

void request_memory_init(struct request_memory *memory, const struct replica_options *options,
                         struct replica_figures *figures);
void request_memory_deinit(struct request_memory *memory);

/* What a row says of a put that has been here. */
struct request_seen {
    struct bytes context; /* in the arena */
    uint64_t at_ms;       /* wall clock */
};

/* Whether this put has been here: OK, NOT_FOUND, INVALID (the id was another key's), or a read
 * error. */
enum err request_find(struct request_memory *memory, struct actor_context *ctx, struct arena *arena,
                      const struct put_request *request, uint64_t hash,
                      struct request_seen *ret_seen) MUST_USE;

/* Stages the end of a row whose write was lost with its vnode. */
enum err request_forget(struct actor_context *ctx, struct bytes id) MUST_USE;

/* Stages the row. Nothing happens without an id, or when the row is there. */
enum err request_remember(struct request_memory *memory, struct actor_context *ctx,
                          struct arena *scratch, uint32_t partition, uint32_t keyspace_id,
                          uint64_t hash, struct bytes id, struct bytes context) MUST_USE;

/* Rows that have had their time go, a bounded number of them; sets next_ns. */
void request_expire(struct request_memory *memory, struct actor_context *ctx);

#endif
