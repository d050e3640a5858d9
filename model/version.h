/* version.h -- what a key holds: all live siblings and the causal history that covers them.
 *
 * A version set is {clock, versions}. The clock says which dots have been seen; a version is a live
 * value with its dot. Every version's dot is covered by the clock; a dot covered by the clock with
 * no version is a write that some later write replaced. That is a dotted version vector set
 * generalised to non-contiguous histories (a clock entry is a base and extra dots above it), so
 * that the context of a put may cover the writer's own dot without the siblings below it.
 *
 * Source: Almeida, Baquero, Goncalves, Preguica, Fonte: Scalable and Accurate Causality Tracking
 * for Eventually Consistent Stores (DAIS 2014), 4; Preguica et al.: Dotted Version Vectors (2010).
 *
 * Merge is a join: commutative, associative, idempotent. A set is canonical: clock entries ordered
 * by (member, key epoch), extras ascending and none that base could absorb, versions ordered by
 * dot. Equal state is equal bytes. All functions are pure; results live in `arena` and may share
 * memory with their inputs, so inputs must outlive results.
 *
 * Dotless versions (dot.counter == 0): values that no replica has accepted yet. No clock covers
 * them, a merge keeps each distinct one. Replicas never store them; they exist so that the
 * published laws of DVVSet can be checked whole.
 */
#ifndef MODEL_VERSION_H
#define MODEL_VERSION_H

#include "base/arena.h"
#include "base/codec.h"
#include "base/err.h"

/* Names one write of one key, for ever. The actor is (member, key_epoch). */
struct dot {
    uint32_t member;
    uint64_t key_epoch;
    uint64_t counter; /* from 1 */
};

struct clock_entry {
    uint32_t member;
    uint64_t key_epoch;
    uint64_t base;        /* 1..base are covered */
    uint32_t extra_count; /* and these, ascending, all > base + 1 */
    const uint64_t *extras;
};

struct clock {
    uint32_t count;
    const struct clock_entry *entries;
};

enum version_flag {
    VERSION_TOMBSTONE = 1u << 0, /* a delete: value is empty */
};

struct version {
    struct dot dot;
    uint64_t written_at; /* hybrid logical clock (hlc.h) of the write; decides in lww keyspaces */
    uint64_t expires_at_ms; /* wall clock, 0 = never */
    uint32_t flags;         /* enum version_flag */
    struct bytes value;
};

struct version_set {
    struct clock clock;
    uint32_t count;
    const struct version *versions;
};

/* -- dots and clocks ------------------------------------------------------------------------- */

int dot_compare(struct dot a, struct dot b); /* by member, key epoch, counter */
bool clock_covers(const struct clock *clock, struct dot dot);
/* a covers every dot that b covers. */
bool clock_descends(const struct clock *a, const struct clock *b);
bool clock_equal(const struct clock *a, const struct clock *b);
struct clock clock_merge(struct arena *arena, const struct clock *a, const struct clock *b);
struct clock clock_add(struct arena *arena, const struct clock *clock, struct dot dot);
/* The entry of an actor or NULL. */
const struct clock_entry *clock_find(const struct clock *clock, uint32_t member,
                                     uint64_t key_epoch);
/* The greatest key epoch that `clock` holds of a member, 0 for none. */
uint64_t clock_last_epoch(const struct clock *clock, uint32_t member);
/* The greatest counter covered of an actor, extras included; 0 for none. */
uint64_t clock_last_counter(const struct clock *clock, uint32_t member, uint64_t key_epoch);
/* How many dots it covers: grows strictly with the history (as long as nothing is pruned), so of
 * two clocks the one that covers more is not the older one. Stops at UINT64_MAX. */
uint64_t clock_dot_count(const struct clock *clock);

/* Canonical bytes; this is also what a context is made of. */
void clock_encode(struct writer *writer, const struct clock *clock);
/* Refuses what is not canonical, and more than 4096 entries or 65536 extras (CORRUPT). */
enum err clock_decode(struct reader *reader, struct arena *arena, struct clock *ret_clock) MUST_USE;

/* -- sets ------------------------------------------------------------------------------------ */

/* The join of two replicas' states: a version stays when both hold it, or when one holds it and the
 * other's clock has not seen its dot. Equal dots with different contents (never in a correct
 * system) are both kept out of harm: the greater contents (written_at, expires_at_ms, flags, value)
 * win. */
struct version_set version_set_merge(struct arena *arena, const struct version_set *a,
                                     const struct version_set *b);

/* A coordinated write. Removes exactly the versions that `context` covers, adds `version` (its dot
 * field is ignored) under the next counter of actor (member, key_epoch), and joins the context into
 * the clock. `context` NULL: the write replaces all that `set` holds. `set` may be empty ({0}).
 * Gives the dot through ret_dot. DESIGN.md section 5. */
struct version_set version_set_put(struct arena *arena, const struct version_set *set,
                                   const struct clock *context, uint32_t member, uint64_t key_epoch,
                                   const struct version *version, struct dot *ret_dot);

/* Amnesia met (riak_kv PR 1643): an entry for a fresh actor, base 1 without a version, so that
 * later writes of this life cannot be mistaken for ones that others have seen. */
struct version_set version_set_add_epoch(struct arena *arena, const struct version_set *set,
                                         uint32_t member, uint64_t key_epoch);

/* The policy of lww keyspaces: keeps the version that wins by (written_at, dot), whole clock.
 * Loses nothing only where each write replaces what its replica holds (context NULL) under a
 * written_at greater than all of that: else a replaced version with a later timestamp could have
 * pushed out, on another replica, the one that a merge would keep. */
struct version_set version_set_last_writer_wins(struct arena *arena, const struct version_set *set);

/* Bounds the clock by what no member writes under any more: while it has more than `entries_max`
 * entries, drops those of retired members that no version's dot is under, the lowest key epoch
 * first. Entries of current members and those under versions stay, so the result may still be
 * longer. No version is lost, here or in a later merge. The price: a value that was replaced under
 * a dropped entry comes back as a sibling when a merge meets a replica that holds nothing newer (an
 * old hint, a restored copy). A merge with a replica that still has the entries brings those back:
 * the bound holds for good only when every replica of the key has dropped them.
 *
 * For coordinated writes alone, never in a merge: a merge that drops what the other side holds is
 * no join, and replicas would go on repairing each other for ever (riak_kv issues 26 and 1864). */
typedef bool version_is_current_fn(uint32_t member, void *closure);
struct version_set version_set_prune(struct arena *arena, const struct version_set *set,
                                     uint32_t entries_max, version_is_current_fn *is_current,
                                     void *closure);

/* What a reader hands back later: covers every version in the set (the set's clock). */
struct clock version_set_context(const struct version_set *set);

/* What a writer hands back later: its own context and its own dot, nothing that it has not seen.
 * context NULL = the write replaced everything the replica held: then `replaced` (the set before
 * the write) is covered as well. */
struct clock version_set_put_context(struct arena *arena, const struct clock *context,
                                     const struct version_set *replaced, struct dot dot);

bool version_set_equal(const struct version_set *a, const struct version_set *b);
/* A reader at wall_ms sees it: neither a tombstone nor expired. */
bool version_is_live(const struct version *version, uint64_t wall_ms);

void version_set_encode(struct writer *writer, const struct version_set *set);
/* CORRUPT on anything that is not canonical; values are borrowed from the input. Memory is bounded
 * by the size of the input (about 10 times), not by clock_decode's limits, so that whatever a merge
 * gives can be read again. */
enum err version_set_decode(struct reader *reader, struct arena *arena,
                            struct version_set *ret_set) MUST_USE;

#endif
