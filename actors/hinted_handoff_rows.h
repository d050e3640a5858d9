/* hinted_handoff_rows.h -- inside of hinted handoff: what its files share. Included by
 * hinted_handoff*.c only.
 *
 *     hinted_handoff.c          the actor, and the way in
 *     hinted_handoff_rows.c     rows in the store, and what they add up to
 *     hinted_handoff_deliver.c  the way out: the turns of targets
 *     hinted_handoff_flight.c   one hint on its way, and its answer
 *     hinted_handoff_retarget.c and where to, when the target is not a replica any more
 *     hinted_handoff_pause.c    what is held back, dirty ranges, questions, figures
 */
#ifndef ACTORS_HINTED_HANDOFF_ROWS_H
#define ACTORS_HINTED_HANDOFF_ROWS_H

#include "actors/hinted_handoff.h"
#include "base/heap.h"
#include "model/hash.h"

#define ROW_KEY_BYTES_MAX (4u + STORAGE_KEY_BYTES_MAX)

/* A hint that was sent and is not answered. */
struct flight {
    uint64_t id; /* 0: a free place */
    uint64_t sent_ns;
    uint64_t late_ns;
    uint64_t digest; /* of the row's value as it was sent */
    uint64_t stored_at_ms;
    size_t key_size;
    uint8_t *key; /* row key, owned */
};

#define RATE_SECONDS 10u

/* What other threads may read of a target. */
struct target_gauges {
    struct counter member;
    struct counter state;
    struct counter paused;
    struct counter hints;
    struct counter bytes;
    struct counter oldest_ms;
    struct counter rate[RATE_SECONDS]; /* second << 24 | delivered in it */
};

struct target {
    uint32_t member;
    uint64_t count;
    uint64_t bytes;
    bool was_served;  /* there, and not paused, at the last turn */
    uint64_t next_ns; /* when to look at it again */
    uint64_t backoff_ns;
    uint64_t backed_off_ns;  /* failures of what was sent before are known */
    uint64_t said_ns;        /* when what it lacks was logged last */
    uint64_t pass_oldest_ms; /* among the rows of this round so far */
    bool pass_stale;         /* one of this round was refused under its floor */
    size_t cursor_size;
    uint8_t cursor[ROW_KEY_BYTES_MAX + 1]; /* rows below have had their turn in this round */
    uint32_t credit;                       /* that it has granted last */
    uint32_t window;                       /* at most that; 0: probe when next_ns has come */
    uint32_t flight_count;
    struct flight flights[HINT_WINDOW_MAX];
    /* Partitions that anti-entropy has to be told of, soon: one message for many hints. */
    bool dirty_any;
    uint64_t dirty_at_ns;
    uint8_t dirty[PARTITIONS_MAX / 8];
    struct target_gauges *gauges; /* its place in hinted_handoff.gauges */
};

/* Rows of one (partition, keyspace), over all targets. Open addressing; grows, never shrinks. */
struct range_count {
    uint64_t range; /* partition << 32 | keyspace id */
    uint64_t rows;  /* 0: a place that may be taken by another when the table grows */
    bool taken;
};

struct range_counts {
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t taken;
    struct range_count *places;
};

/* All targets, or none, except those listed. */
struct pauses {
    bool all;
    uint32_t count;
    uint32_t members[MEMBERS_MAX];
};

struct hinted_handoff {
    struct actor actor;
    struct hinted_handoff_options options;
    uint32_t target_count;
    struct target *targets[MEMBERS_MAX];
    struct target_gauges gauges[MEMBERS_MAX]; /* member 0: nobody yet */
    struct pauses pauses;
    bool pauses_read;
    uint64_t serial;
    /* The count of an earlier life's rows goes through the store in slices. Rows at or above the
     * mark are not in the figures yet. */
    bool counted;
    uint64_t count_at_ns; /* the next slice */
    size_t counted_size;
    uint8_t counted_mark[ROW_KEY_BYTES_MAX + 1];
    struct range_counts ranges;
    struct heap held; /* answers by the sequence that they wait for */
    uint64_t held_count;
    struct arena scratch; /* of one step */
    struct hinted_handoff_figures figures;
};

/* A row taken apart; borrowed from it. */
struct hint {
    uint32_t target;
    uint32_t keyspace_id;
    struct bytes key;
    uint32_t policy;
    uint32_t partition;
    uint64_t stored_at_ms; /* the first of what was joined */
    uint64_t floor;
    struct bytes request_id; /* of the last put that had one */
    struct bytes request_context;
    struct bytes record;
};

/* Keeps it for its target, joined to what is kept already. LIMIT: no room, when that is `bounded`.
 */
enum err hint_keep_row(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                       struct hint *hint, bool bounded) MUST_USE;
/* Answers when all that was staged up to here is durable. */
void hint_answer(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                 struct message *reply);

/* -- hinted_handoff_rows.c ----------------------------------------------------------------------
 */

/* CORRUPT. The record's own checksum is not looked at. */
enum err hint_decode(struct bytes row_key, struct bytes value, struct hint *ret_hint) MUST_USE;
struct bytes hint_encode(struct arena *arena, const struct hint *hint);
size_t hint_row_key(const struct hint *hint, uint8_t ret[ROW_KEY_BYTES_MAX]);

/* NULL when it is new and all places are taken. */
struct target *hint_target(struct hinted_handoff *hinted_handoff, uint32_t member);
/* Writes or (value NULL) deletes a row whose size was `size_before` (0: there was none), and keeps
 * the figures. */
enum err hint_row_change(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         struct target *target, struct bytes row_key, size_t size_before,
                         const struct bytes *value) MUST_USE;
/* The row's partition, by its key alone; false when that is damaged. */
bool hint_row_partition(const struct view *view, struct bytes row_key, uint32_t *ret_partition);
uint64_t hint_range_rows(const struct hinted_handoff *hinted_handoff, uint32_t partition,
                         uint32_t keyspace_id);
void hint_ranges_free(struct range_counts *ranges);
bool hint_member_is_there(const struct view *view, uint32_t number);
/* Counts the next slice of rows. */
void hint_count_rows(struct hinted_handoff *hinted_handoff, struct actor_context *ctx);

/* -- hinted_handoff_deliver.c -------------------------------------------------------------------
 */

struct hint_row {
    struct bytes key;
    struct bytes value;
    struct hint_row *next;
};

/* Looks at a target whose time has come, and sets its next one. */
void hint_deliver_turn(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                       struct target *target);
/* Whether the row is not to be sent: it cannot or need not be delivered, and is dropped; or it
 * belongs to others by now. False: *hint is what it holds. */
bool hint_row_drop(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                   struct target *target, const struct hint_row *row, struct hint *hint);

/* -- hinted_handoff_flight.c --------------------------------------------------------------------
 */

/* NULL: the row is not on its way. */
struct flight *hint_flight_find(struct target *target, struct bytes row_key);
/* There is a free place. */
void hint_flight_send(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                      struct target *target, const struct hint_row *row, const struct hint *hint);
/* Sends again what has not been answered in time, in the state that it is in now. */
void hint_flights_again(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                        struct target *target);
/* A replica_write_reply. */
void hint_flight_answered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                          const struct message *message);
/* Forgets what is on its way; the rows stay. */
void hint_flights_stop(struct target *target);

/* -- hinted_handoff_retarget.c ------------------------------------------------------------------
 */

enum hint_place {
    HINT_STAYS, /* its target is a replica of the key */
    HINT_MOVED, /* others are; its row is gone */
    HINT_STUCK, /* it is to go, and cannot now: not to be sent */
};
/* Where a sound row belongs by the view; moves it. */
enum hint_place hint_place(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                           struct target *target, struct bytes row_key, size_t row_size,
                           const struct hint *hint) MUST_USE;

/* -- hinted_handoff_pause.c ---------------------------------------------------------------------
 */

/* The target will lack something of this partition until something else finds it: told to
 * anti-entropy soon, and logged at most every ten seconds. */
void hint_dirty(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                struct target *target, uint32_t partition, const char *why);
/* Sends what has to be told by now. */
void hint_dirty_tell(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                     struct target *target);
bool hint_paused(const struct hinted_handoff *hinted_handoff, uint32_t member);
/* Reads who is paused; before anything is delivered. */
enum err hint_pauses_read(struct hinted_handoff *hinted_handoff,
                          struct actor_context *ctx) MUST_USE;
void hint_on_maintenance(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         const struct message *message);
void hint_on_reap_hints(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                        const struct message *message);
void hint_on_key_explain(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         const struct message *message);
/* Brings the gauges up to date. */
void hint_gauge(struct hinted_handoff *hinted_handoff, const struct actor_context *ctx,
                struct target *target);
void hint_gauge_delivered(const struct actor_context *ctx, struct target *target);

#endif
