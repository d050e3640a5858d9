/* The way out: hints in flight to targets that are there. */
#include "actors/hinted_handoff_rows.h"

#include "base/mutation.h"
#include "model/record.h"

#include <stdlib.h>

#define MS_NS           (1000u * 1000)
#define DOWN_LOOK_NS    (500 * (uint64_t)MS_NS)
#define START_SPREAD_NS (500 * (uint64_t)MS_NS)
#define BACKOFF_MIN_NS  (1000 * (uint64_t)MS_NS)
#define BACKOFF_MAX_NS  (8000 * (uint64_t)MS_NS)
#define LATE_MAX_FACTOR 8u
#define SCAN_ROWS_MAX   256u /* of a turn */
#define FILL_BYTES_MAX  ((size_t)1 << 20)

/* -- flights ----------------------------------------------------------------------------------- */

static struct flight *flight_find(struct target *target, struct bytes row_key)
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

void hint_deliver_stop(struct target *target)
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
    };
    counter_add(&hinted_handoff->figures.sent, 1);
    outbox_send(ctx, &hinted_handoff->actor, message);
}

/* Deletes the row unless another write has been joined to it since it was sent. */
static void hint_was_delivered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                               struct target *target, const struct flight *flight)
{
    struct bytes row_key = bytes_of(flight->key, flight->key_size);
    struct bytes value;
    enum err err = store_read(ctx->store, STORE_HINTS, row_key, &hinted_handoff->scratch, &value);
    bool same = err == OK && hash_bytes(value, 0) == flight->digest;
    if (MUTATE(HINT_FORGOTTEN_THOUGH_JOINED))
        same = err == OK;
    if (same)
        err =
            hint_row_change(hinted_handoff, ctx, target, row_key, row_key.size + value.size, NULL);
    else if (err == OK || err == ERR_NOT_FOUND)
        return;
    if (err == OK)
        counter_add(&hinted_handoff->figures.delivered, 1);
    else
        counter_add(&hinted_handoff->figures.store_errors, 1); /* sent again, which is harmless */
}

/* A whole window that fails is one failure. */
static void target_back_off(struct actor_context *ctx, struct target *target)
{
    uint64_t backoff_ns = target->backoff_ns == 0 ? BACKOFF_MIN_NS : 2 * target->backoff_ns;
    target->backoff_ns = backoff_ns < BACKOFF_MAX_NS ? backoff_ns : BACKOFF_MAX_NS;
    target->backed_off_ns = ctx->now_ns + 1;
    target->next_ns =
        ctx->now_ns + target->backoff_ns / 2 + prng_below(ctx->prng, target->backoff_ns);
}

void hint_deliver_answered(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                           const struct message *message)
{
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        struct target *target = hinted_handoff->targets[i];
        struct flight *flight = target->flights;
        if (target->member != message->from.node || message->id == 0)
            continue;
        while (flight < target->flights + HINT_WINDOW_MAX && flight->id != message->id)
            flight++;
        if (flight == target->flights + HINT_WINDOW_MAX)
            return;
        if (message->replica_write_reply.status == OK) {
            hint_was_delivered(hinted_handoff, ctx, target, flight);
            target->backoff_ns = 0;
            uint64_t next_ns = ctx->now_ns + hinted_handoff->options.pace_ns;
            if (target->next_ns > next_ns)
                target->next_ns = next_ns;
        } else {
            counter_add(&hinted_handoff->figures.failed, 1);
            if (flight->sent_ns >= target->backed_off_ns)
                target_back_off(ctx, target);
        }
        flight_end(target, flight);
        return;
    }
}

/* -- a target's turn
 * --------------------------------------------------------------------------------- */

struct row {
    struct bytes key;
    struct bytes value;
    struct row *next;
};

struct turn {
    struct hinted_handoff *hinted_handoff;
    struct row *first;
    struct row *last;
    uint32_t rows;
    uint32_t rows_max;
    size_t bytes;
    bool more;
};

static bool turn_visit(void *closure, struct bytes row_key, struct bytes value)
{
    struct turn *turn = closure;
    struct arena *scratch = &turn->hinted_handoff->scratch;
    if (turn->rows == turn->rows_max || turn->bytes >= FILL_BYTES_MAX) {
        turn->more = true;
        return false;
    }
    struct row *row = ARENA_NEW(scratch, struct row, 1);
    row->key = arena_copy(scratch, row_key);
    row->value = arena_copy(scratch, value);
    if (turn->last == NULL)
        turn->first = row;
    else
        turn->last->next = row;
    turn->last = row;
    turn->rows++;
    turn->bytes += row_key.size + value.size;
    return true;
}

/* The next rows of a target, from where the last turn ended. */
static enum err turn_scan(struct actor_context *ctx, const struct target *target, struct turn *turn)
{
    uint8_t first[4];
    uint8_t end[4];
    for (uint32_t i = 0; i < 4; i++) {
        first[i] = (uint8_t)(target->member >> (24 - 8 * i));
        end[i] = (uint8_t)((target->member + 1) >> (24 - 8 * i));
    }
    struct bytes from = target->cursor_size == 0 ? bytes_of(first, sizeof first)
                                                 : bytes_of(target->cursor, target->cursor_size);
    struct bytes to = target->member == UINT32_MAX ? (struct bytes){0} : bytes_of(end, sizeof end);
    return store_scan(ctx->store, STORE_HINTS, from, to, turn_visit, turn);
}

/* Drops a row that cannot or need not be delivered. */
static bool row_drop(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                     struct target *target, const struct row *row, struct hint *hint)
{
    struct hinted_handoff_figures *figures = &hinted_handoff->figures;
    struct counter *counter = NULL;
    const char *why = NULL;
    if (hint_decode(row->key, row->value, hint) != OK ||
        record_verify(hint->keyspace_id, hint->key, hint->record) != OK) {
        counter = &figures->corrupt;
        why = "a hint was damaged on disk";
    } else if (!hint_member_is_there(ctx->view, target->member)) {
        counter = &figures->refused;
        why = "the member is gone";
    } else if (hint->stored_at_ms + hinted_handoff->options.age_max_ms < ctx->wall_ms) {
        counter = &figures->expired;
        why = "hints were too old";
    }
    if (counter == NULL)
        return false;
    if (hint_row_change(hinted_handoff, ctx, target, row->key, row->key.size + row->value.size,
                        NULL) == OK) {
        counter_add(counter, 1);
        hint_say_dirty(ctx, target, why);
    } else {
        counter_add(&figures->store_errors, 1);
    }
    return true;
}

static void row_send(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                     struct target *target, const struct row *row, const struct hint *hint)
{
    struct flight *flight = flight_begin(hinted_handoff, ctx, target, row->key);
    flight->digest = hash_bytes(row->value, 0);
    hint_send(hinted_handoff, ctx, flight, hint);
    if (MUTATE(HINT_FORGOTTEN_WHEN_SENT))
        hint_was_delivered(hinted_handoff, ctx, target, flight);
}

/* Sends again what has not been answered in time, in the state that it is in now. */
static void flight_again(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         struct target *target, struct flight *flight)
{
    uint64_t late_max_ns = LATE_MAX_FACTOR * hinted_handoff->options.late_ns;
    struct row row = {.key = bytes_of(flight->key, flight->key_size)};
    struct hint hint;
    flight->sent_ns = ctx->now_ns;
    flight->late_ns = 2 * flight->late_ns < late_max_ns ? 2 * flight->late_ns : late_max_ns;
    enum err err =
        store_read(ctx->store, STORE_HINTS, row.key, &hinted_handoff->scratch, &row.value);
    if (err != OK && err != ERR_NOT_FOUND) {
        counter_add(&hinted_handoff->figures.store_errors, 1);
        return;
    }
    if (err == ERR_NOT_FOUND || row_drop(hinted_handoff, ctx, target, &row, &hint)) {
        flight_end(target, flight);
        return;
    }
    uint64_t digest = hash_bytes(row.value, 0);
    if (flight->digest != digest) /* an answer to the older state is void */
        flight->id = flight_id(hinted_handoff);
    flight->digest = digest;
    counter_add(&hinted_handoff->figures.resent, 1);
    hint_send(hinted_handoff, ctx, flight, &hint);
}

static void flights_again(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                          struct target *target)
{
    for (uint32_t i = 0; i < HINT_WINDOW_MAX; i++) {
        struct flight *flight = &target->flights[i];
        if (flight->id != 0 && ctx->now_ns >= flight->sent_ns + flight->late_ns)
            flight_again(hinted_handoff, ctx, target, flight);
    }
}

/* One pass over some rows: drops what has to go, sends when the target is there. */
static void target_rows(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                        struct target *target, bool send)
{
    struct turn turn = {
        .hinted_handoff = hinted_handoff,
        .rows_max = send ? 2 * hinted_handoff->options.window : SCAN_ROWS_MAX,
    };
    if (turn_scan(ctx, target, &turn) != OK) {
        counter_add(&hinted_handoff->figures.store_errors, 1);
        return;
    }
    const struct row *last = NULL;
    for (const struct row *row = turn.first; row != NULL; row = row->next) {
        struct hint hint;
        if (flight_find(target, row->key) == NULL &&
            !row_drop(hinted_handoff, ctx, target, row, &hint) && send) {
            if (target->flight_count >= hinted_handoff->options.window) {
                turn.more = true;
                break;
            }
            row_send(hinted_handoff, ctx, target, row, &hint);
        }
        last = row;
    }
    if (!turn.more) {
        target->cursor_size = 0; /* and again from the start */
    } else if (last != NULL && last->key.size <= ROW_KEY_BYTES_MAX) {
        memcpy(target->cursor, last->key.data, last->key.size);
        target->cursor[last->key.size] = 0;
        target->cursor_size = last->key.size + 1;
    }
}

void hint_deliver_turn(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                       struct target *target)
{
    bool alive = view_alive(ctx->view, target->member);
    bool came_back = alive && !target->was_alive;
    target->was_alive = alive;
    if (!alive || came_back) {
        hint_deliver_stop(target);
        target->backoff_ns = 0;
    }
    if (came_back) {
        /* Not all keepers at once. */
        target->next_ns = ctx->now_ns + prng_below(ctx->prng, START_SPREAD_NS);
        return;
    }
    if (alive)
        flights_again(hinted_handoff, ctx, target);
    target_rows(hinted_handoff, ctx, target, alive);
    uint64_t wait_ns = !alive                                  ? DOWN_LOOK_NS
                       : target->count <= target->flight_count ? hinted_handoff->options.late_ns / 4
                                                               : hinted_handoff->options.pace_ns;
    target->next_ns = ctx->now_ns + wait_ns + prng_below(ctx->prng, wait_ns / 4 + 1);
}
