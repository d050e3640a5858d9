/* hinted_handoff.h -- keeps writes for replicas that are away and hands them over.
 *
 * Owns:     the rows of STORE_HINTS: one for each (target, key), joined when another comes.
 * Receives: hint_store, replica_write_reply, store_committed.
 * Sends:    hint_store_reply (when the hint is durable), replica_write (WRITE_HINT).
 * Time:     a target that is down is looked at every half second; one that is back is served after
 *           a random delay, `window` hints in flight, refilled every `pace_ns`.
 * Memory:   answers held until durable, at most held_max; per target `window` keys in flight.
 * Source:   Dynamo (SOSP 2007) 4.6; RELIABILITY rule 22.
 *
 * A hint is a state, so delivering it twice does nothing; it is deleted only after its target has
 * said that it is durable there, and only if no other write has been joined to it meanwhile. What
 * is refused or expires is counted and logged: then anti-entropy or a read has to find it.
 *
 * Row: target (4 bytes, big endian) + storage key (hash.h) -> u8 format (1) | varint policy |
 * varint partition | u64 stored at, wall ms | record.
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
    uint32_t window;           /* 32; at most HINT_WINDOW_MAX */
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
    /* dirty: their targets lack them until anti-entropy or a read finds out */
    struct counter overflow; /* hint_store refused: over the bytes for its target or in total */
    struct counter expired;
    struct counter corrupt;
    struct counter held; /* now */
    struct counter store_errors;
    struct counter unexpected;
};

struct hinted_handoff_options hinted_handoff_options_default(uint32_t self, uint64_t generation);
struct hinted_handoff *hinted_handoff_new(const struct hinted_handoff_options *options);
void hinted_handoff_free(struct hinted_handoff *hinted_handoff);
struct actor *hinted_handoff_actor(struct hinted_handoff *hinted_handoff);
const struct hinted_handoff_figures *
hinted_handoff_figures(const struct hinted_handoff *hinted_handoff);

#endif
