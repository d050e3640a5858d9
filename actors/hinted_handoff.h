/* hinted_handoff.h -- keeps writes for replicas that are away and hands them over.
 *
 * Owns:     the rows of STORE_HINTS: one for each (target, key), joined when another comes; the row
 *           META_HINTS_PAUSED of STORE_META.
 * Receives: hint_store, replica_write_reply, reap_hints, key_explain, client_maintenance (pause and
 *           resume), store_committed.
 * Sends:    hint_store_reply (when the hint is durable), replica_write (WRITE_HINT), range_dirty.
 * Time:     a target that is down is looked at every half second; one that is back is served after
 *           a random delay, as many hints in flight as the target has granted, refilled every
 *           `pace_ns`.
 * Memory:   answers held until durable, at most held_max; per target `window` keys in flight; a
 *           count for each (partition, keyspace) that has rows.
 * Source:   Dynamo (SOSP 2007) 4.6; RELIABILITY 2.4, rule 22.
 *
 * A hint is a state, so delivering it twice does nothing; it is deleted only after its target has
 * said that it is durable there, and only if no other write has been joined to it meanwhile. It
 * says the floor of the replica that it was read from, so that a target that has reaped tombstones
 * since takes nothing old from it: the least of what was joined, unless one of them holds all of
 * the other. It says the request id of the last put in it, so that the target knows a retry. What
 * is given up -- no room, too old, damaged, refused for good -- is counted, logged, and told to
 * anti-entropy as a dirty range. A hint whose target is no replica of its key any more, or no
 * member, or was given up, is kept for those that are, instead.
 *
 * A hint that is refused under its floor is kept, tried again every few seconds, and its range told
 * to anti-entropy: a round of reaping that has sealed the target but not the replica that the hint
 * was read from has removed nothing, and then the hint may be one of two copies of a write that was
 * acknowledged. No round begins while it is kept. Anti-entropy raises the floor that lags and takes
 * what that replica holds to the target, which then holds all of the hint and says so. What was
 * reaped in truth (a hint that was long on its way, a row that came back after a crash) is refused
 * for ever: it is given up after stale_age_max_ms.
 *
 * Credits: the target says with each answer how many hints this node may have under way
 * (model/hint_gate.h); one that came back is sent HINT_CREDIT_FIRST, then the window grows by one
 * an answer up to what was granted. A grant of 0 ends in one hint as a probe, after a back-off.
 *
 * Row: target (4 bytes, big endian) + storage key (hash.h) -> u8 format (2) | varint policy |
 * varint partition | u64 stored at, wall ms | varint floor | varint size, request id | varint size,
 * its context | record. Format 1 has no floor (it is 0) and no request.
 */
#ifndef ACTORS_HINTED_HANDOFF_H
#define ACTORS_HINTED_HANDOFF_H

#include "actors/actor.h"
#include "base/counter.h"

#define HINT_WINDOW_MAX 64u

struct hinted_handoff;

struct hinted_handoff_options {
    uint32_t self;
    uint64_t generation;       /* of this start: keeps answers to an earlier life apart */
    uint32_t held_max;         /* 16384 */
    uint64_t target_bytes_max; /* rows for one target; 1 GiB */
    uint64_t total_bytes_max;  /* 4 GiB */
    uint64_t age_max_ms;       /* older hints are dropped; 7 days */
    uint64_t stale_age_max_ms; /* and those whose floor is refused; 1 day, many exchanges */
    uint32_t window;           /* whatever a target grants; 32; at most HINT_WINDOW_MAX */
    uint64_t pace_ns;          /* 10 ms */
    uint64_t late_ns;          /* a hint not answered by then is sent again; 1 s, doubling to 8 s */
};

struct hinted_handoff_figures {
    struct counter hints; /* now */
    struct counter bytes; /* now */
    struct counter stored;
    struct counter joined;    /* stored into a hint that was there */
    struct counter sent;      /* again ones included */
    struct counter delivered; /* durable at their targets, deleted here */
    struct counter resent;
    struct counter failed;  /* refused by the target or not delivered: tried again later */
    struct counter refused; /* invalid, for a member that is gone, or too many at once */
    struct counter probes;  /* sent without a credit, to ask for one */
    struct counter paused;  /* targets whose delivery is paused, now */
    /* dirty: their targets lack them until anti-entropy or a read finds out */
    struct counter overflow; /* hint_store refused: over the bytes for its target or in total */
    struct counter expired;
    struct counter corrupt;
    struct counter stale;      /* refusals by targets whose floor is greater; kept */
    struct counter rejected;   /* refused by the target for good */
    struct counter dirty;      /* range_dirty sent: partitions of a target */
    struct counter retargeted; /* their targets were no replicas any more: others got them */
    struct counter orphaned;   /* of keyspaces that were dropped */
    struct counter held;       /* now */
    struct counter store_errors;
    struct counter unexpected;
};

enum hint_target_state {
    HINT_TARGET_IDLE, /* nothing is kept for it */
    HINT_TARGET_AWAY,
    HINT_TARGET_DELIVERING,
    HINT_TARGET_PAUSED,
    HINT_TARGET_WAITING, /* for credit */
};

/* One target as it stands. */
struct hint_target_figures {
    uint32_t member;
    enum hint_target_state state;
    bool paused; /* also without hints */
    uint64_t hints;
    uint64_t bytes;
    uint64_t oldest_ms;     /* wall clock, of the last pass over the rows; 0: none */
    double delivered_per_s; /* over the last ten seconds */
};

struct hinted_handoff_options hinted_handoff_options_default(uint32_t self, uint64_t generation);
struct hinted_handoff *hinted_handoff_new(const struct hinted_handoff_options *options);
void hinted_handoff_free(struct hinted_handoff *hinted_handoff);
struct actor *hinted_handoff_actor(struct hinted_handoff *hinted_handoff);
const struct hinted_handoff_figures *
hinted_handoff_figures(const struct hinted_handoff *hinted_handoff);
/* Any thread; at most MEMBERS_MAX. `now_ns` is the actor's clock. Gives how many. */
size_t hinted_handoff_targets(const struct hinted_handoff *hinted_handoff, uint64_t now_ns,
                              struct hint_target_figures *ret, size_t max);

/* The row of STORE_META that says whose hints are held back. */
#define META_HINTS_PAUSED "hints_paused"

#endif
