/* keyspace.h -- named sets of keys with one policy, as a versioned map that replicas can merge.
 *
 * A definition's id is a hash of its name and creation time, and seeds the key hash: a keyspace
 * that is dropped and created again is another one and can see nothing of the first. The map's
 * merge keeps, per name, the definition with the greater changed_at (hybrid logical clock, then the
 * canonical bytes): last writer wins, commutative, associative, idempotent. Drops are tombstones.
 */
#ifndef MODEL_KEYSPACE_H
#define MODEL_KEYSPACE_H

#include "base/arena.h"
#include "base/codec.h"
#include "base/err.h"
#include "model/limits.h"
#include "model/quorum.h"

enum keyspace_conflict { KEYSPACE_SIBLINGS, KEYSPACE_LWW };
enum keyspace_mode { KEYSPACE_AVAILABLE, KEYSPACE_CONSISTENT };
enum keyspace_durability { KEYSPACE_FSYNC, KEYSPACE_PERIODIC };

struct keyspace {
    uint32_t id;
    char name[KEYSPACE_NAME_MAX + 1];
    uint64_t created_at; /* hlc */
    uint64_t changed_at; /* hlc */
    bool dropped;
    enum keyspace_mode mode;
    enum keyspace_conflict conflict;
    enum keyspace_durability durability;
    uint8_t n; /* replicas in each data centre that has no entry of its own; 1..REPLICAS_MAX */
    uint8_t data_center_count; /* own N for named data centres; 0 = n everywhere */
    struct {
        char name[32];
        uint8_t n;
    } data_centers[DATA_CENTERS_MAX];
    enum consistency read_level; /* never DEFAULT */
    enum consistency write_level;
    uint8_t read_count; /* for CONSISTENCY_COUNT, else 0 */
    uint8_t write_count;
    bool strict; /* strict quorum: W counts replicas alone, never a fallback's hint */
};

/* Ordered by name; at most KEYSPACES_MAX, tombstones included. */
struct keyspace_map {
    uint32_t count;
    const struct keyspace *keyspaces;
};

/* N 3, QUORUM, siblings, available, fsync; times 0. Whoever sets created_at sets id anew. A name
 * that is too long becomes the empty one, which no validation passes. */
struct keyspace keyspace_default(const char *name);
/* The keyspace that exists in every cluster from epoch 1 ("default"): the same on every node. */
struct keyspace keyspace_builtin(void);
/* INVALID with *ret_why naming field and limit (static text). */
enum err keyspace_validate(const struct keyspace *keyspace, const char **ret_why) MUST_USE;
bool keyspace_name_valid(const char *name);
uint32_t keyspace_id(const char *name, uint64_t created_at);
/* N in the data centre of that name. */
uint32_t keyspace_n(const struct keyspace *keyspace, const char *data_center);

/* NULL when absent or dropped. */
const struct keyspace *keyspace_map_find(const struct keyspace_map *map, const char *name);
const struct keyspace *keyspace_map_find_id(const struct keyspace_map *map, uint32_t id);
/* It was there once; one that nobody has told of yet may be new. */
bool keyspace_map_known_dropped(const struct keyspace_map *map, uint32_t id);
/* Replaces the definition of that name whatever its age, or adds it: then the caller has seen that
 * map->count < KEYSPACES_MAX. */
struct keyspace_map keyspace_map_put(struct arena *arena, const struct keyspace_map *map,
                                     const struct keyspace *keyspace);
/* Two sides that filled up while apart may hold more names than KEYSPACES_MAX together: the first
 * in order of name stay, the same ones on every node. */
struct keyspace_map keyspace_map_merge(struct arena *arena, const struct keyspace_map *a,
                                       const struct keyspace_map *b);
struct bytes keyspace_map_encode(struct arena *arena, const struct keyspace_map *map);
/* CORRUPT; UNSUPPORTED for another format version. What is given back is valid and canonical. */
enum err keyspace_map_decode(struct arena *arena, struct bytes bytes,
                             struct keyspace_map *ret_map) MUST_USE;
/* Of the canonical bytes: equal maps, equal digest. */
uint64_t keyspace_map_digest(const struct keyspace_map *map);

#endif
