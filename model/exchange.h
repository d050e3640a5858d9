/* exchange.h -- what the two sides of an anti-entropy exchange tell each other, as bytes.
 *
 *     roots -> children of the nodes that differ, some levels at a time (merkle.h)
 *           -> digests of the keys in the leaves that differ -> the records that a side lacks
 *
 * Each list travels as one `bytes` field of a message. Lists are canonical; decoders refuse all
 * else as CORRUPT, take memory in proportion to their input, and give what a CHECK elsewhere may
 * rely on: order, bounds, counts. Source: Dynamo (SOSP 2007) 4.7; RELIABILITY rule 23.
 *
 * Figures (tests/unit/test_exchange_bytes.c: a million keys, 64 partitions of 4096 leaves, records
 * of 180 bytes, 64 bytes added for each message). One key differs: 1.1 to 1.5 KB in the 6 messages
 * of its partition, and 80 bytes for each partition that is equal. A thousand differ: 1.84 to 1.87
 * times the bytes where one side is newer (for each key 68 of descent, 36 of digests, 33 of
 * envelopes, 15 of key and framing), 1.89 times where both sides wrote. With leaves of 8 keys 1.98,
 * of 2 keys 1.86 for twice the memory; with the whole ring hash in a digest 1.96; with that and 8
 * children at each step 2.04.
 */
#ifndef MODEL_EXCHANGE_H
#define MODEL_EXCHANGE_H

#include "base/arena.h"
#include "base/err.h"
#include "model/merkle.h"

/* -- roots: one for each keyspace that has keys or a floor in the partition
 * ---------------------------------
 */

struct exchange_root {
    uint32_t keyspace_id;
    unsigned depth;  /* of the sender's tree; the descent ends at the lesser depth of both */
    uint64_t floor;  /* of the keyspace in the sender's vnode (actors/message_range.h, reap_seal) */
    uint64_t reaped; /* under which something may have been removed; at most `floor` */
    bool incomplete; /* this keyspace's copy is being filled; it does not vote */
    struct merkle_node node;
};

struct exchange_roots {
    uint32_t count;                    /* at most KEYSPACES_MAX */
    const struct exchange_root *roots; /* ascending by keyspace id, each once */
};

struct bytes exchange_roots_encode(struct arena *arena, const struct exchange_roots *roots);
enum err exchange_roots_decode(struct arena *arena, struct bytes bytes,
                               struct exchange_roots *ret_roots) MUST_USE;

/* -- indices: of nodes at one level, or places of keys --------------------------------------------
 */

struct exchange_indices {
    uint32_t count;
    const uint32_t *indices; /* strictly ascending */
};

struct bytes exchange_indices_encode(struct arena *arena, const struct exchange_indices *indices);
/* All indices are < limit: 2^level for nodes, exchange_places() for places. */
enum err exchange_indices_decode(struct arena *arena, struct bytes bytes, uint64_t limit,
                                 struct exchange_indices *ret_indices) MUST_USE;

/* -- hashes: merkle_front_hashes of a front that both sides know ---------------------------------
 */

struct bytes exchange_hashes_encode(struct arena *arena, const uint32_t *hashes, uint32_t count);
/* Exactly `count` of them, or CORRUPT. */
enum err exchange_hashes_decode(struct arena *arena, struct bytes bytes, uint32_t count,
                                const uint32_t **ret_hashes) MUST_USE;

/* -- digests: the keys of the leaves that differ and what they hold
 * -------------------------------- */

/* A key goes by its place: the number of its leaf and the EXCHANGE_PLACE_BITS bits of its ring hash
 * that follow. Three bytes instead of eight, and keys that share a place are told apart by what
 * they hold. */
#define EXCHANGE_PLACE_BITS 16u

struct exchange_digest {
    uint32_t place;
    uint32_t state; /* exchange_state() of the record's checksum */
    uint64_t dots;  /* clock_dot_count() of the record: the side with more is not the older one */
};

struct exchange_digests {
    uint32_t count;
    const struct exchange_digest *digests; /* ascending by (place, state, dots) */
};

/* `depth` is the lesser of both trees: the level of the leaves that are compared. */
uint32_t exchange_place(uint32_t partitions, unsigned depth, uint64_t key_hash);
/* How many places there are: 2^(depth + EXCHANGE_PLACE_BITS). */
uint64_t exchange_places(unsigned depth);
/* The hashes that have the place. */
struct merkle_range exchange_place_range(uint32_t partition, uint32_t partitions, unsigned depth,
                                         uint32_t place);
/* 32 bits of a record's checksum under the salt of the exchange. */
uint32_t exchange_state(uint64_t checksum, uint64_t salt);
/* A scan gives places in order, but not the keys of one place as digests are. */
void exchange_digests_sort(struct exchange_digest *digests, uint32_t count);
struct bytes exchange_digests_encode(struct arena *arena, const struct exchange_digests *digests);
enum err exchange_digests_decode(struct arena *arena, struct bytes bytes, unsigned depth,
                                 struct exchange_digests *ret_digests) MUST_USE;

/* What two lists of the same leaves say. */
struct exchange_diff {
    struct exchange_indices send; /* positions in `mine`: the other side lacks the key, or holds it
                                   * otherwise and mine is not the older state */
    struct exchange_indices
        want; /* places, each once: I lack a key there, or hold an older state */
    uint32_t only_mine;
    uint32_t only_theirs;
    uint32_t different;
};

/* Of a key that both hold differently, the side that knows of more dots sends: history only grows,
 * so it cannot be the older one. With as many dots on both sides the states are concurrent and both
 * have something to send; then `mine` goes. Who receives a record joins it with its own and sends
 * the join back when that is not what came. Who is asked for places sends what it holds there.
 *
 * Keys that share a place are paired by order after equal ones have been taken out. A wrong pair
 * costs a further exchange, never a record: each exchange brings at least one of them to equality.
 */
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
