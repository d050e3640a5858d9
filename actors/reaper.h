/* reaper.h -- removes tombstones and expired records when all replicas hold the same ones. A part
 * of the anti-entropy actor.
 *
 * Sends:    reap_scan (to this node's replica), reap_hints (to every member's hinted handoff),
 *           reap_seal and reap_remove (to every replica of the key's partition).
 * Receives: their answers.
 * Time:     one round at a time; a turn through all partitions that this node leads, then
 *           `interval_ns`.
 * Memory:   one list of at most REAP_BATCH_MAX digests.
 * Source:   ARCHITECTURE.md, "Tombstones", says why it is safe; RELIABILITY rules 13, 14.
 *
 *     IDLE --turn--> SCANNING --something dead--> HINTS --none anywhere--> ASKING --all floors--+
 *       ^               |                           |                        |                  v
 *       +--- nothing ---+--------- put off ---------+------------------------+------------- SEALING
 *       |                                                           |                           |
 *       +-------- all have ------- REMOVING <--all still sealed-- CONFIRMING <---all the same---+
 *
 * ASKING hears the floors of all replicas, and below which of them something was removed, before
 * any is raised: a replica that is an older copy of itself must not be sealed as if it had only
 * been away, not even by its own node (message_range.h, reap_seal).
 *
 * CONFIRMING closes a gap: a replica that sealed, lost its data and took over the floor of others
 * that had not sealed yet may have let something old in. When all have sealed, whoever loses its
 * data takes over a floor that is no lower than the round's. So all are asked, after the last seal,
 * whether they are still the copy that sealed; who answers yes has noted the floor as reaped.
 *
 * A round needs every member of the cluster: one that is away may keep a hint that is the second
 * copy of an acknowledged write. Until it is back, or out of the cluster, tombstones stay.
 */
#ifndef ACTORS_REAPER_H
#define ACTORS_REAPER_H

#include "actors/actor.h"
#include "base/counter.h"
#include "model/reap.h"

struct reaper_options {
    uint32_t self;
    uint64_t generation;    /* of this start: keeps answers to an earlier life apart */
    uint64_t interval_ns;   /* between turns; 60 s */
    uint64_t reap_after_ms; /* how long a dead record is left alone; 10 minutes */
    uint64_t pace_ns;       /* between pages of a scan; 10 ms */
    uint64_t late_ns;       /* a step that is not answered by then fails, or is sent again; 5 s */
};

struct reaper_figures {
    struct counter turns;
    struct counter rounds; /* that sealed something */
    struct counter
        put_off; /* rounds and turns: a member or its answer was missing, or hints were kept */
    struct counter differed;   /* records that not all replicas held so */
    struct counter reaped;     /* records, once for all replicas */
    struct counter unanswered; /* removals that some replica never confirmed */
};

enum reaper_state {
    REAPER_IDLE,
    REAPER_SCANNING,
    REAPER_HINTS,
    REAPER_ASKING,
    REAPER_SEALING,
    REAPER_CONFIRMING,
    REAPER_REMOVING
};

struct reaper {
    struct reaper_options options;
    struct reaper_figures figures;
    enum reaper_state state;
    uint64_t serial;
    uint64_t next_ns; /* IDLE: the next step; otherwise when this one is late */
    /* where the turn is */
    bool turning;
    uint32_t partition;
    uint32_t keyspace_index; /* in the view's map */
    uint32_t keyspace_id;
    uint64_t from_hash;
    bool more;
    uint64_t through_hash;
    uint32_t failures; /* of rounds at this place */
    /* the round */
    uint64_t floor;
    uint64_t reaped; /* the greatest that a replica has noted */
    uint64_t older_than_ms;
    uint32_t tries;
    uint32_t asked_count;
    uint32_t asked[MEMBERS_MAX]; /* members that have not answered this step */
    struct reap_list list;
    struct reap_bits matched;
};

struct reaper_options reaper_options_default(uint32_t self, uint64_t generation);
void reaper_init(struct reaper *reaper, const struct reaper_options *options);
/* The answers: reap_scan_done, reap_hints_reply, reap_seal_reply, reap_remove_reply. */
void reaper_handle(struct reaper *reaper, struct actor_context *ctx, const struct actor *actor,
                   const struct message *message);
void reaper_tick(struct reaper *reaper, struct actor_context *ctx, const struct actor *actor);
uint64_t reaper_wake_at_ns(const struct reaper *reaper);
void reaper_check(const struct reaper *reaper);

#endif
