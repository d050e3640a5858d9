/* exchange.h -- what the two sides of an anti-entropy exchange tell each other, as bytes.
 *
 *     roots -> children of the nodes that differ, a few levels at a time (merkle.h) -> digests of
 * the keys in the leaves that differ -> the records that the other side lacks
 *
 * Each list travels as one `bytes` field of a message. Lists are canonical; decoders refuse all
 * else as CORRUPT, take memory in proportion to their input, and give what a CHECK elsewhere may
 * rely on: order, bounds, counts. Source: Dynamo (SOSP 2007) 4.7; RELIABILITY rule 23.
 */
#ifndef MODEL_EXCHANGE_H
#define MODEL_EXCHANGE_H

#include "base/arena.h"
#include "base/err.h"
#include "model/merkle.h"

/* -- roots: one for each keyspace that has keys in the partition ---------------------------------
 */

struct exchange_root {
    uint32_t keyspace_id;
    unsigned depth; /* of the sender's tree; the descent ends at the lesser depth of both */
    struct merkle_node node;
};

struct exchange_roots {
    uint32_t count;                    /* at most KEYSPACES_MAX */
    const struct exchange_root *roots; /* ascending by keyspace id, each once */
};

struct bytes exchange_roots_encode(struct arena *arena, const struct exchange_roots *roots);
enum err exchange_roots_decode(struct arena *arena, struct bytes bytes,
                               struct exchange_roots *ret_roots) MUST_USE;

/* -- indices: of nodes at one level, or positions in a list of digests ---------------------------
 */

struct exchange_indices {
    uint32_t count;
    const uint32_t *indices; /* strictly ascending */
};

struct bytes exchange_indices_encode(struct arena *arena, const struct exchange_indices *indices);
/* All indices are < limit: 2^level, or the length of the list. */
enum err exchange_indices_decode(struct arena *arena, struct bytes bytes, uint32_t limit,
                                 struct exchange_indices *ret_indices) MUST_USE;

/* -- hashes: merkle_front_hashes of a front that both sides know ---------------------------------
 */

struct bytes exchange_hashes_encode(struct arena *arena, const uint32_t *hashes, uint32_t count);
/* Exactly `count` of them, or CORRUPT. */
enum err exchange_hashes_decode(struct arena *arena, struct bytes bytes, uint32_t count,
                                const uint32_t **ret_hashes) MUST_USE;

/* -- digests: the keys of one range and what they hold -------------------------------------------
 */

struct exchange_digest {
    uint64_t key_hash;
    uint64_t dots;  /* clock_dot_count() of the record: the side with more is not the older one */
    uint32_t state; /* exchange_state() of the record's checksum */
};

struct exchange_digests {
    uint32_t count;
    const struct exchange_digest *digests; /* ascending by (key_hash, state, dots) */
};

/* 32 bits of a record's checksum under the salt of the exchange. */
uint32_t exchange_state(uint64_t checksum, uint64_t salt);
/* Keys may share a ring hash, and a scan does not order them as digests are. */
void exchange_digests_sort(struct exchange_digest *digests, uint32_t count);
/* All keys lie in `range`, which both sides know. */
struct bytes exchange_digests_encode(struct arena *arena, struct merkle_range range,
                                     const struct exchange_digests *digests);
enum err exchange_digests_decode(struct arena *arena, struct bytes bytes, struct merkle_range range,
                                 struct exchange_digests *ret_digests) MUST_USE;

/* What two lists of one range say: positions in `mine` and `theirs`. */
struct exchange_diff {
    struct exchange_indices send; /* of mine: the other lacks the key, or holds it otherwise and
                                   * mine is not the older one */
    struct exchange_indices want; /* of theirs: I lack the key, or hold an older state */
    uint32_t only_mine;
    uint32_t only_theirs;
    uint32_t different;
};

/* Of a key that both hold differently, the side that knows of more dots sends: history only grows,
 * so it cannot be the older one. With as many dots on both sides the states are concurrent and both
 * have something to send; then `mine` goes. Who receives a record joins it with its own and sends
 * the join back when that is not what came.
 *
 * Keys that share a ring hash are paired by order after equal ones have been taken out. A wrong
 * pair costs a further exchange, never a record: each exchange brings at least one of them to
 * equality. */
struct exchange_diff exchange_digests_diff(struct arena *arena, const struct exchange_digests *mine,
                                           const struct exchange_digests *theirs);

/* -- records --------------------------------------------------------------------------------------
 */

struct exchange_record {
    struct bytes key;    /* 1..KEY_BYTES_MAX bytes, in the keyspace of the exchange */
    struct bytes record; /* record.h; not verified here */
};

struct exchange_records {
    uint32_t count;
    const struct exchange_record *records;
};

/* What one record takes in a list: senders fill a message up to a bound. */
size_t exchange_record_bytes(const struct exchange_record *record);
struct bytes exchange_records_encode(struct arena *arena, const struct exchange_records *records);
/* Keys and records are borrowed from `bytes`. */
enum err exchange_records_decode(struct arena *arena, struct bytes bytes,
                                 struct exchange_records *ret_records) MUST_USE;

#endif
