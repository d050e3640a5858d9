/* The way out: the turns of targets. */
#include "actors/hinted_handoff_rows.h"

#include "model/hint_gate.h"
#include "model/record.h"

#define MS_NS           (1000u * 1000)
#define DOWN_LOOK_NS    (500 * (uint64_t)MS_NS)
#define START_SPREAD_NS (500 * (uint64_t)MS_NS)
#define STALE_WAIT_NS   (2000 * (uint64_t)MS_NS) /* after a round with hints that were stale */
#define SCAN_ROWS_MAX   256u                     /* of a turn */
#define FILL_BYTES_MAX  ((size_t)1 << 20)

struct turn {
    struct hinted_handoff *hinted_handoff;
    struct hint_row *first;
    struct hint_row *last;
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
    struct hint_row *row = ARENA_NEW(scratch, struct hint_row, 1);
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

bool hint_row_drop(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                   struct target *target, const struct hint_row *row, struct hint *hint)
{
    struct hinted_handoff_figures *figures = &hinted_handoff->figures;
    struct counter *counter = NULL;
    const char *why = NULL;
    uint32_t partition = 0;
    size_t size = row->key.size + row->value.size;
    if (hint_decode(row->key, row->value, hint) != OK ||
        record_verify(hint->keyspace_id, hint->key, hint->record) != OK) {
        counter = &figures->corrupt;
        why = "a hint was damaged on disk";
    } else if (hint->stored_at_ms + hinted_handoff->options.age_max_ms < ctx->wall_ms) {
        counter = &figures->expired;
        why = "hints were too old";
    } else {
        enum hint_place place = hint_place(hinted_handoff, ctx, target, row->key, size, hint);
        target->pass_stale |= place == HINT_STUCK; /* looked at again after a while */
        return place != HINT_STAYS;
    }
    if (hint_row_change(hinted_handoff, ctx, target, row->key, size, NULL) != OK) {
        counter_add(&figures->store_errors, 1);
        return true;
    }
    counter_add(counter, 1);
    if (hint_row_partition(ctx->view, row->key, &partition))
        hint_dirty(hinted_handoff, ctx, target, partition, why);
    return true;
}

/* One pass over some rows: drops what has to go, sends when the target is there. */
static void target_rows(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                        struct target *target, bool send)
{
    struct turn turn = {
        .hinted_handoff = hinted_handoff,
        .rows_max = send ? 2 * target->window : SCAN_ROWS_MAX,
    };
    if (turn_scan(ctx, target, &turn) != OK) {
        counter_add(&hinted_handoff->figures.store_errors, 1);
        return;
    }
    const struct hint_row *last = NULL;
    if (target->cursor_size == 0)
        target->pass_oldest_ms = UINT64_MAX;
    for (const struct hint_row *row = turn.first; row != NULL; row = row->next) {
        struct hint hint;
        if (hint_flight_find(target, row->key) == NULL &&
            !hint_row_drop(hinted_handoff, ctx, target, row, &hint)) {
            if (send && target->flight_count >= target->window) {
                turn.more = true;
                break;
            }
            if (send)
                hint_flight_send(hinted_handoff, ctx, target, row, &hint);
            if (hint.stored_at_ms < target->pass_oldest_ms)
                target->pass_oldest_ms = hint.stored_at_ms;
        }
        last = row;
    }
    if (!turn.more) {
        target->cursor_size = 0; /* and again from the start */
        if (target->pass_oldest_ms != UINT64_MAX)
            counter_set(&target->gauges->oldest_ms, target->pass_oldest_ms);
    } else if (last != NULL && last->key.size <= ROW_KEY_BYTES_MAX) {
        memcpy(target->cursor, last->key.data, last->key.size);
        target->cursor[last->key.size] = 0;
        target->cursor_size = last->key.size + 1;
    }
}

static uint64_t turn_wait_ns(const struct hinted_handoff *hinted_handoff,
                             const struct target *target, bool send)
{
    if (!send)
        return DOWN_LOOK_NS;
    return target->count <= target->flight_count || target->flight_count >= target->window
               ? hinted_handoff->options.late_ns / 4
               : hinted_handoff->options.pace_ns;
}

void hint_deliver_turn(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                       struct target *target)
{
    bool send =
        view_alive(ctx->view, target->member) && !hint_paused(hinted_handoff, target->member);
    bool begins = send && !target->was_served;
    target->was_served = send;
    if (!send || begins) {
        hint_flights_stop(target);
        target->backoff_ns = 0;
        target->credit = HINT_CREDIT_FIRST;
        target->window = HINT_CREDIT_FIRST;
    }
    if (begins) {
        /* Not all keepers at once. */
        target->next_ns = ctx->now_ns + prng_below(ctx->prng, START_SPREAD_NS);
        hint_gauge(hinted_handoff, ctx, target);
        return;
    }
    if (send && target->window == 0) {
        target->window = 1;
        counter_add(&hinted_handoff->figures.probes, 1);
    }
    if (target->window > hinted_handoff->options.window)
        target->window = hinted_handoff->options.window;
    if (send)
        hint_flights_again(hinted_handoff, ctx, target);
    target_rows(hinted_handoff, ctx, target, send);
    uint64_t wait_ns = turn_wait_ns(hinted_handoff, target, send);
    if (target->pass_stale && target->cursor_size == 0) {
        target->pass_stale = false;
        wait_ns = STALE_WAIT_NS;
    }
    target->next_ns = ctx->now_ns + wait_ns + prng_below(ctx->prng, wait_ns / 4 + 1);
    hint_gauge(hinted_handoff, ctx, target);
}
