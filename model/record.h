/* record.h -- a key's state as bytes: on disk, in a merge, between peers. One format.
 *
 *     u8 format (1) | version set (version.h) | u64 checksum
 *
 * The checksum is XXH3-64 of everything before it, seeded by the key's own hash (hash_key), so a
 * record that was moved to another key or keyspace, cut or flipped is CORRUPT: it never wins a
 * merge and is never sent on (DESIGN.md 6). A sound record of an unknown format is UNSUPPORTED:
 * that is a newer release's data, not damage.
 */
#ifndef MODEL_RECORD_H
#define MODEL_RECORD_H

#include "model/version.h"

struct bytes record_encode(struct arena *arena, uint32_t keyspace_id, struct bytes key,
                           const struct version_set *set);
/* Checks the checksum first. Values are borrowed from `record`. */
enum err record_decode(struct arena *arena, uint32_t keyspace_id, struct bytes key,
                       struct bytes record, struct version_set *ret_set) MUST_USE;
/* Only the checksum and the format. */
enum err record_verify(uint32_t keyspace_id, struct bytes key, struct bytes record) MUST_USE;
/* The checksum that a sound record ends with: equal exactly for equal state of one key. What stands
 * for the record where records are compared (merkle.h). */
uint64_t record_checksum(struct bytes record);

#endif
