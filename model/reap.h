/* reap.h -- tombstones that may go: which records are dead, and the lists that a round speaks of.
 *
 * A record is dead when no reader can see anything in it: every version is a tombstone or has
 * expired. Dead records are only removed by a round (actors/reaper.h) in which every replica has
 * shown that it holds the very same one. Source: Riak's reap by equal tombstone clocks
 * (docs/ReapErase.md); RELIABILITY rules 13 to 16.
 */
#ifndef MODEL_REAP_H
#define MODEL_REAP_H

#include "model/version.h"

#define REAP_BATCH_MAX 512u

/* Names one state of one key: 64 bits of each, for a removal must not rest on less. */
struct reap_digest {
    uint64_t key_hash;
    uint64_t checksum; /* record_checksum() */
};

struct reap_list {
    uint32_t count; /* at most REAP_BATCH_MAX */
    struct reap_digest digests[REAP_BATCH_MAX];
};

/* Nothing in the set is live at wall_ms, and all of it was written, and has expired, before
 * older_than_ms. Both are wall clocks: they decide when a round may be tried, never who survives.
 */
bool reap_is_dead(const struct version_set *set, uint64_t older_than_ms, uint64_t wall_ms);

/* 16 bytes each, ascending by (key hash, checksum), each once. */
struct bytes reap_list_encode(struct arena *arena, const struct reap_list *list);
/* CORRUPT for anything else. */
enum err reap_list_decode(struct bytes bytes, struct reap_list *ret_list) MUST_USE;

/* One bit for each digest, in order; unused bits are 0. */
struct reap_bits {
    uint8_t bytes[REAP_BATCH_MAX / 8];
};

size_t reap_bits_bytes(uint32_t count);
void reap_bits_set(struct reap_bits *bits, uint32_t index);
/* Clears what `bytes` has not set. CORRUPT when it is not as long as `count` asks. */
enum err reap_bits_and(struct reap_bits *bits, struct bytes bytes, uint32_t count) MUST_USE;
/* Keeps the digests whose bit is set. */
void reap_list_keep(struct reap_list *list, const struct reap_bits *bits);

#endif
