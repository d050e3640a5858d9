/* One hint on its way: sent, answered or sent again, and what becomes of its row. */
#include "actors/hinted_handoff_rows.h"

#include "base/mutation.h"
#include "model/hint_gate.h"

#include <stdlib.h>

#define MS_NS             (1000u * 1000)
#define BACKOFF_MIN_NS    (1000 * (uint64_t)MS_NS)
#define BACKOFF_MAX_NS    (8000 * (uint64_t)MS_NS)
#define BACKOFF_FILLED_NS (100 * (uint64_t)MS_NS) /* the first: a copy that is just being given */
#define LATE_MAX_FACTOR   8u
#define OVERLOADED_FACTOR 10u /* of the pace, when the target has no room for one more */

struct flight *hint_flight_find(struct target *target, struct bytes row_key)
{
    for (uint32_t i = 0; i < HINT_WINDOW_MAX; i++) {
        struct flight *flight = &target->flights[i];
        if (flight->id != 0 && bytes_equal(bytes_of(flight->key, flight->key_size), row_key))
            return flight;
    }
    return NULL;
}

static void flight_end(struct target *target, struct flight *flight)
{
    free(flight->key);
    *flight = (struct flight){0};
    target->flight_count--;
}

void hint_flights_stop(struct target *target)
{
    for (uint32_t i = 0; i < HINT_WINDOW_MAX; i++) {
        if (target->flights[i].id != 0)
            flight_end(target, &target->flights[i]);
    }
}

static uint64_t flight_id(struct hinted_handoff *hinted_handoff)
{
    uint64_t serial = ++hinted_handoff->serial & (UINT64_MAX >> 16);
    return (hinted_handoff->options.generation & 0xFFFF) << 48 | serial;
}

static struct flight *flight_begin(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                                   struct target *target, struct bytes row_key)
{
    struct flight *flight = target->flights;
    while (flight->id != 0)
        flight++;
    CHECK(flight < target->flights + HINT_WINDOW_MAX);
    *flight = (struct flight){
        .id = flight_id(hinted_handoff),
        .sent_ns = ctx->now_ns,
        .late_ns = hinted_handoff->options.late_ns,
        .key_size = row_key.size,
        .key = malloc(row_key.size),
    };
    CHECK(flight->key != NULL);
    memcpy(flight->key, row_key.data, row_key.size);
    target->flight_count++;
    return flight;
}

static void hint_send(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                      const struct flight *flight, const struct hint *hint)
{
    struct message *message =
        message_new(MESSAGE_replica_write, hint->key.size + hint->record.size);
    message->id = flight->id;
    message->to = (struct actor_id){.node = hint->target, .kind = ACTOR_REPLICA};
    message->replica_write = (struct replica_write){
        .keyspace_id = hint->keyspace_id,
        .key = arena_copy(&message->arena, hint->key),
        .record = arena_copy(&message->arena, hint->record),
        /* Durable there before it is forgotten here, whatever the keyspace asks of writes. */
        .policy = hint->policy & ~(uint32_t)POLICY_PERIODIC,
        .partition = hint->partition,
        .reason = WRITE_HINT,
        .floor = MUTATE(HINT_FLOOR_FORGOTTEN) ? UINT64_MAX : hint->floor,
        .request_id = arena_copy(&message->arena, hint->request_id),
        .request_context = arena_copy(&message->arena, hint->request_context),
    };
    counter_add(&hinted_handoff->figures.sent, 1);
    outbox_send(ctx, &hinted_handoff->actor, message);
}

enum row_fate {
    ROW_GONE,
    ROW_STAYS, /* it has grown since it was sent, or was gone before */
    ROW_STUCK, /* the store takes nothing now */
};

/* Deletes the row unless another write has been joined to it since it was sent. */
static enum row_fate row_end(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                             struct target *target, const struct flight *flight)
{
    struct bytes row_key = bytes_of(flight->key, flight->key_size);
    struct bytes value;
    enum err err = store_read(ctx->store, STORE_HINTS, row_key, &hinted_handoff->scratch, &value);
    bool same = err == OK && hash_bytes(value, 0) == flight->digest;
    if (MUTATE(HINT_FORGOTTEN_THOUGH_JOINED))
        same = err == OK;
    if (err == ERR_NOT_FOUND || (err == OK && !same))
        return ROW_STAYS;
    if (err == OK)
        err =
            hint_row_change(hinted_handoff, ctx, target, row_key, row_key.size + value.size, NULL);
    if (err == OK)
        return ROW_GONE;
    counter_add(&hinted_handoff->figures.store_errors, 1); /* sent again, which is harmless */
    return ROW_STUCK;
}

void hint_flight_send(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                      struct target *target, const struct hint_row *row, const struct hint *hint)
{
    struct flight *flight = flight_begin(hinted_handoff, ctx, target, row->key);
    flight->digest = hash_bytes(row->value, 0);
    flight->stored_at_ms = hint->stored_at_ms;
    hint_send(hinted_handoff, ctx, flight, hint);
    if (MUTATE(HINT_FORGOTTEN_WHEN_SENT))
        (void)row_end(hinted_handoff, ctx, target, flight);
}

/* Sends again what has not been answered in time, in the state that it is in now. */
static void flight_again(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         struct target *target, struct flight *flight)
{
    uint64_t late_max_ns = LATE_MAX_FACTOR * hinted_handoff->options.late_ns;
    struct hint_row row = {.key = bytes_of(flight->key, flight->key_size)};
    struct hint hint;
    flight->sent_ns = ctx->now_ns;
    flight->late_ns = 2 * flight->late_ns < late_max_ns ? 2 * flight->late_ns : late_max_ns;
    enum err err =
        store_read(ctx->store, STORE_HINTS, row.key, &hinted_handoff->scratch, &row.value);
    if (err != OK && err != ERR_NOT_FOUND) {
        counter_add(&hinted_handoff->figures.store_errors, 1);
        return;
    }
    if (err == ERR_NOT_FOUND || hint_row_drop(hinted_handoff, ctx, target, &row, &hint)) {
        flight_end(target, flight);
        return;
    }
    uint64_t digest = hash_bytes(row.value, 0);
    if (flight->digest != digest) /* an answer to the older state is void */
        flight->id = flight_id(hinted_handoff);
    flight->digest = digest;
    flight->stored_at_ms = hint.stored_at_ms;
    counter_add(&hinted_handoff->figures.resent, 1);
    hint_send(hinted_handoff, ctx, flight, &hint);
}

void hint_flights_again(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                        struct target *target)
{
    for (uint32_t i = 0; i < HINT_WINDOW_MAX; i++) {
        struct flight *flight = &target->flights[i];
        if (flight->id != 0 && ctx->now_ns >= flight->sent_ns + flight->late_ns)
            flight_again(hinted_handoff, ctx, target, flight);
    }
}

/* -- answers ----------------------------------------------------------------------------------- */

/* The target will never take it: anti-entropy has to see to the range. */
static void hint_was_rejected(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                              struct target *target, const struct flight *flight,
                              struct counter *counter, const char *why)
{
    uint32_t partition = 0;
    if (row_end(hinted_handoff, ctx, target, flight) != ROW_GONE)
        return;
    counter_add(counter, 1);
    if (hint_row_partition(ctx->view, bytes_of(flight->key, flight->key_size), &partition))
        hint_dirty(hinted_handoff, ctx, target, partition, why);
}

/* The row stays: should the replica that it was read from lose its disk, it is the only copy. Once
 * the target holds all of it, by anti-entropy, the target says OK to it. Not for ever: what was
 * reaped in truth is refused always, and no round begins while it is kept. */
static void hint_is_stale(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                          struct target *target, const struct flight *flight)
{
    uint32_t partition = 0;
    /* Kept at a time that is still to come: the clock was set back, and would have it stay until
     * then. */
    if (flight->stored_at_ms > ctx->wall_ms ||
        flight->stored_at_ms + hinted_handoff->options.stale_age_max_ms < ctx->wall_ms) {
        hint_was_rejected(hinted_handoff, ctx, target, flight, &hinted_handoff->figures.stale,
                          "refused under their floors for too long");
        return;
    }
    counter_add(&hinted_handoff->figures.stale, 1);
    target->pass_stale = true;
    if (hint_row_partition(ctx->view, bytes_of(flight->key, flight->key_size), &partition))
        hint_dirty(hinted_handoff, ctx, target, partition,
                   "refused under their floors, kept until the target holds what they say");
}

/* A whole window that fails is one failure. */
static void target_back_off(struct actor_context *ctx, struct target *target, uint64_t first_ns)
{
    uint64_t backoff_ns = target->backoff_ns == 0 ? first_ns : 2 * target->backoff_ns;
    target->backoff_ns = backoff_ns < BACKOFF_MAX_NS ? backoff_ns : BACKOFF_MAX_NS;
    target->backed_off_ns = ctx->now_ns + 1;
    target->next_ns =
        ctx->now_ns + target->backoff_ns / 2 + prng_below(ctx->prng, target->backoff_ns);
}

/* Falls at once to what was granted, and grows by one an answer. */
static void target_credit(struct actor_context *ctx, struct target *target,
                          const struct flight *flight, uint32_t credit)
{
    target->credit = credit;
    if (credit <= target->window)
        target->window = credit;
    else
        target->window++;
    if (target->window == 0 && flight->sent_ns >= target->backed_off_ns)
        target_back_off(ctx, target, BACKOFF_MIN_NS);
}

/* The next turn comes `wait_ns` from now or before, if there is credit. */
static void target_goes_on(const struct actor_context *ctx, struct target *target, uint64_t wait_ns)
{
    if (target->credit == 0)
        return;
    target->backoff_ns = 0;
    if (target->next_ns > ctx->now_ns + wait_ns)
        target->next_ns = ctx->now_ns + wait_ns;
}

/* While the store here is stalled a delivered row cannot go: sending it again at once would not
 * end. */
static void flight_delivered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                             struct target *target, const struct flight *flight)
{
    enum row_fate fate = row_end(hinted_handoff, ctx, target, flight);
    if (fate == ROW_GONE) {
        counter_add(&hinted_handoff->figures.delivered, 1);
        hint_gauge_delivered(ctx, target);
    }
    if (fate != ROW_STUCK)
        target_goes_on(ctx, target, hinted_handoff->options.pace_ns);
    else if (flight->sent_ns >= target->backed_off_ns)
        target_back_off(ctx, target, BACKOFF_MIN_NS);
}

static void flight_answered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                            struct target *target, struct flight *flight,
                            const struct replica_write_reply *reply)
{
    uint64_t pace_ns = hinted_handoff->options.pace_ns;
    switch (reply->status) {
    case ERR_OK:
        target_credit(ctx, target, flight, reply->credit);
        flight_delivered(hinted_handoff, ctx, target, flight);
        break;
    case ERR_STALE_FLOOR:
        target_credit(ctx, target, flight, reply->credit);
        hint_is_stale(hinted_handoff, ctx, target, flight);
        break;
    case ERR_INVALID:
        target_credit(ctx, target, flight, reply->credit);
        hint_was_rejected(hinted_handoff, ctx, target, flight, &hinted_handoff->figures.rejected,
                          "the target refuses them");
        target_goes_on(ctx, target, pace_ns);
        break;
    case ERR_OVERLOADED:
        counter_add(&hinted_handoff->figures.failed, 1);
        target_credit(ctx, target, flight, reply->credit);
        target_goes_on(ctx, target, OVERLOADED_FACTOR * pace_ns);
        break;
    /* Its copy is being filled. It takes writes again as soon as it knows the floors, which may be
     * a moment after a change has given it the copy: who waits longer keeps the hint beyond the
     * move, and reaping with it. */
    case ERR_INCOMPLETE:
        counter_add(&hinted_handoff->figures.failed, 1);
        if (flight->sent_ns >= target->backed_off_ns)
            target_back_off(ctx, target, BACKOFF_FILLED_NS);
        break;
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_CORRUPT: /* what it holds of the key is damaged; it may be repaired */
    case ERR_LIMIT:   /* too large together with what it holds, until somebody makes that less */
    case ERR_IO:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CONFLICT:
    case ERR_PRECONDITION:
    case ERR_STALE_EPOCH:
    case ERR_UNSUPPORTED: /* by its version; the next one may know the format */
    case ERR_DENIED:
    case ERR_CLOSED:
    case ERR_COUNT:
        counter_add(&hinted_handoff->figures.failed, 1);
        if (flight->sent_ns >= target->backed_off_ns)
            target_back_off(ctx, target, BACKOFF_MIN_NS);
        break;
    }
}

void hint_flight_answered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                          const struct message *message)
{
    actor_heard_epoch(&hinted_handoff->actor, ctx, message);
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        struct target *target = hinted_handoff->targets[i];
        struct flight *flight = target->flights;
        if (target->member != message->from.node || message->id == 0)
            continue;
        while (flight < target->flights + HINT_WINDOW_MAX && flight->id != message->id)
            flight++;
        if (flight == target->flights + HINT_WINDOW_MAX)
            return;
        flight_answered(hinted_handoff, ctx, target, flight, &message->replica_write_reply);
        flight_end(target, flight);
        hint_gauge(hinted_handoff, ctx, target);
        return;
    }
}
