/* hinted_handoff_rows.h -- inside of hinted handoff: its rows in the store, what they add up
 * to, and their delivery. Included by hinted_handoff*.c only. */
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
    size_t key_size;
    uint8_t *key; /* row key, owned */
};

struct target {
    uint32_t member;
    uint64_t count;
    uint64_t bytes;
    bool was_alive;
    uint64_t next_ns; /* when to look at it again */
    uint64_t backoff_ns;
    uint64_t backed_off_ns; /* failures of what was sent before are known */
    uint64_t said_ns;       /* when what it lacks was logged last */
    size_t cursor_size;
    uint8_t cursor[ROW_KEY_BYTES_MAX + 1]; /* rows below have had their turn in this round */
    uint32_t flight_count;
    struct flight flights[HINT_WINDOW_MAX];
};

struct hinted_handoff {
    struct actor actor;
    struct hinted_handoff_options options;
    uint32_t target_count;
    struct target *targets[MEMBERS_MAX];
    uint64_t serial;
    /* The count of an earlier life's rows goes through the store in slices. Rows at or above the
     * mark are not in the figures yet. */
    bool counted;
    uint64_t count_at_ns; /* the next slice */
    size_t counted_size;
    uint8_t counted_mark[ROW_KEY_BYTES_MAX + 1];
    struct heap held; /* hint_store_reply by the sequence that they wait for */
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
    uint64_t stored_at_ms;
    struct bytes record;
};

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
/* Logs what a target will lack until something else finds it, at most every ten seconds. */
void hint_say_dirty(struct actor_context *ctx, struct target *target, const char *what);
bool hint_member_is_there(const struct view *view, uint32_t number);
/* Counts the next slice of rows. */
void hint_count_rows(struct hinted_handoff *hinted_handoff, struct actor_context *ctx);

/* -- hinted_handoff_deliver.c --------------------------------------------------------------------
 */

/* Looks at a target whose time has come, and sets its next one. */
void hint_deliver_turn(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                       struct target *target);
/* A replica_write_reply. */
void hint_deliver_answered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                           const struct message *message);
/* Forgets what is in flight; the rows stay. */
void hint_deliver_stop(struct target *target);

#endif
