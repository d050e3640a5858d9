/* What is held back, what anti-entropy has to be told, questions, and figures. */
#include "actors/hinted_handoff_rows.h"

#include "base/codec.h"
#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define MS_NS          (1000ull * 1000)
#define SECOND_NS      (1000 * MS_NS)
#define SAY_EVERY_NS   (10 * SECOND_NS)
#define DIRTY_EVERY_NS (100 * MS_NS)
#define PAUSED_FORMAT  1u
#define RATE_BITS      24u

/* -- dirty ranges ------------------------------------------------------------------------------ */

void hint_dirty(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                struct target *target, uint32_t partition, const char *why)
{
    (void)hinted_handoff;
    if (partition >= ctx->view->topology.partitions ||
        !hint_member_is_there(ctx->view, target->member))
        return;
    if (MUTATE(HINT_OVERFLOW_SILENT))
        return;
    target->dirty[partition / 8] |= (uint8_t)(1u << partition % 8);
    target->dirty_any = true;
    if (target->said_ns != 0 && ctx->now_ns < target->said_ns + SAY_EVERY_NS)
        return;
    target->said_ns = ctx->now_ns;
    log_write(ctx->log, LOG_WARNING, "hints_lost",
              "target=%" PRIu32 " why=\"%s\" hints=%" PRIu64 " bytes=%" PRIu64, target->member, why,
              target->count, target->bytes);
}

void hint_dirty_tell(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                     struct target *target)
{
    for (uint32_t partition = 0; partition < PARTITIONS_MAX; partition++) {
        if ((target->dirty[partition / 8] & 1u << partition % 8) == 0)
            continue;
        struct message *message = message_new(MESSAGE_range_dirty, 0);
        message->to =
            (struct actor_id){.node = hinted_handoff->options.self, .kind = ACTOR_ANTI_ENTROPY};
        message->range_dirty =
            (struct range_dirty){.partition = partition, .member = target->member};
        counter_add(&hinted_handoff->figures.dirty, 1);
        outbox_send(ctx, &hinted_handoff->actor, message);
    }
    memset(target->dirty, 0, sizeof target->dirty);
    target->dirty_any = false;
    target->dirty_at_ns = ctx->now_ns + DIRTY_EVERY_NS;
}

/* -- pause and resume -------------------------------------------------------------------------- */

static bool pauses_list(const struct pauses *pauses, uint32_t member, uint32_t *ret_index)
{
    for (uint32_t i = 0; i < pauses->count; i++) {
        if (pauses->members[i] == member) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

bool hint_paused(const struct hinted_handoff *hinted_handoff, uint32_t member)
{
    uint32_t index = 0;
    return !hinted_handoff->pauses_read ||
           hinted_handoff->pauses.all != pauses_list(&hinted_handoff->pauses, member, &index);
}

/* Who has to be shown as paused has a place among the targets, with hints or without. */
static void pauses_show(struct hinted_handoff *hinted_handoff, struct actor_context *ctx)
{
    uint64_t paused = 0;
    for (uint32_t i = 0; i < ctx->view->topology.member_count; i++) {
        uint32_t member = ctx->view->topology.members[i].number;
        if (member != hinted_handoff->options.self && hint_member_is_there(ctx->view, member) &&
            hint_paused(hinted_handoff, member))
            (void)hint_target(hinted_handoff, member);
    }
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        struct target *target = hinted_handoff->targets[i];
        paused += hint_paused(hinted_handoff, target->member);
        hint_gauge(hinted_handoff, ctx, target);
    }
    counter_set(&hinted_handoff->figures.paused, paused);
}

static enum err pauses_decode(struct bytes row, struct pauses *ret_pauses)
{
    struct pauses pauses = {0};
    struct reader reader = reader_of(row);
    uint8_t format = reader_u8(&reader);
    pauses.all = reader_u8(&reader) != 0;
    pauses.count = (uint32_t)reader_varint_max(&reader, MEMBERS_MAX);
    for (uint32_t i = 0; i < pauses.count && i < MEMBERS_MAX; i++)
        pauses.members[i] = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    if (format != PAUSED_FORMAT || !reader_done(&reader))
        return ERR_CORRUPT;
    *ret_pauses = pauses;
    return OK;
}

static enum err pauses_write(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                             const struct pauses *pauses)
{
    struct writer writer;
    writer_init(&writer, &hinted_handoff->scratch, 16 + 5 * (size_t)pauses->count);
    writer_u8(&writer, PAUSED_FORMAT);
    writer_u8(&writer, pauses->all);
    writer_varint(&writer, pauses->count);
    for (uint32_t i = 0; i < pauses->count; i++)
        writer_varint(&writer, pauses->members[i]);
    return store_put(ctx->store, STORE_META, bytes_of_string(META_HINTS_PAUSED),
                     writer_result(&writer), STORE_SYNC_NOW);
}

/* A row that cannot be read holds nothing back: hints that wait for ever for a pause that nobody
 * sees would be worse than ones that are delivered. */
enum err hint_pauses_read(struct hinted_handoff *hinted_handoff, struct actor_context *ctx)
{
    struct bytes row;
    enum err err = store_read(ctx->store, STORE_META, bytes_of_string(META_HINTS_PAUSED),
                              &hinted_handoff->scratch, &row);
    if (err == OK && pauses_decode(row, &hinted_handoff->pauses) != OK) {
        counter_add(&hinted_handoff->figures.corrupt, 1);
        log_write(ctx->log, LOG_ERROR, "hints_pause_lost",
                  "why=\"its row is damaged\" what_now=\"all hints are delivered; pause again\"");
    } else if (err != OK && err != ERR_NOT_FOUND) {
        return err;
    }
    hinted_handoff->pauses_read = true;
    pauses_show(hinted_handoff, ctx);
    return OK;
}

/* Members that are gone make room. */
static enum err pauses_list_add(const struct view *view, struct pauses *pauses, uint32_t member)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pauses->count; i++) {
        if (hint_member_is_there(view, pauses->members[i]))
            pauses->members[count++] = pauses->members[i];
    }
    pauses->count = count;
    if (count == MEMBERS_MAX)
        return ERR_LIMIT;
    pauses->members[pauses->count++] = member;
    return OK;
}

static enum err pauses_change(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                              bool pause, uint32_t member, const char **ret_why)
{
    struct pauses pauses = hinted_handoff->pauses;
    uint32_t index = 0;
    enum err err = OK;
    if (member == MEMBER_NONE) {
        pauses = (struct pauses){.all = pause};
    } else if (member == hinted_handoff->options.self || !hint_member_is_there(ctx->view, member)) {
        *ret_why = "the target must be another member of this cluster";
        return ERR_INVALID;
    } else if (hint_paused(hinted_handoff, member) != pause) {
        if (pauses_list(&pauses, member, &index))
            pauses.members[index] = pauses.members[--pauses.count];
        else
            err = pauses_list_add(ctx->view, &pauses, member);
    }
    if (err == OK)
        err = pauses_write(hinted_handoff, ctx, &pauses);
    if (err != OK)
        return err;
    hinted_handoff->pauses = pauses;
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        struct target *target = hinted_handoff->targets[i];
        if (member == MEMBER_NONE || target->member == member)
            target->next_ns = ctx->now_ns;
    }
    pauses_show(hinted_handoff, ctx);
    return OK;
}

static bool held_is_full(const struct hinted_handoff *hinted_handoff)
{
    return hinted_handoff->held.count >= hinted_handoff->options.held_max;
}

void hint_on_maintenance(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         const struct message *message)
{
    const struct client_maintenance *request = &message->client_maintenance;
    struct message *reply = message_new_reply(message, MESSAGE_client_maintenance_done, 0);
    struct client_maintenance_done *done = &reply->client_maintenance_done;
    bool pause = request->operation == MAINTENANCE_HINTS_PAUSE;
    done->client = request->client;
    if (!pause && request->operation != MAINTENANCE_HINTS_RESUME)
        done->status = ERR_UNSUPPORTED;
    else if (held_is_full(hinted_handoff))
        done->status = ERR_OVERLOADED;
    else if (!hinted_handoff->pauses_read && hint_pauses_read(hinted_handoff, ctx) != OK)
        done->status = ERR_UNAVAILABLE;
    else
        done->status = pauses_change(hinted_handoff, ctx, pause, request->member, &done->why);
    hint_answer(hinted_handoff, ctx, reply);
}

/* -- questions ---------------------------------------------------------------------------------
 */

/* The answer waits until no row that was deleted can come back with a crash: it would be refused
 * under its floor, and kept. */
void hint_on_reap_hints(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                        const struct message *message)
{
    const struct reap_hints *request = &message->reap_hints;
    struct message *reply = message_new_reply(message, MESSAGE_reap_hints_reply, 0);
    if (!hinted_handoff->counted)
        reply->reap_hints_reply.status = ERR_UNAVAILABLE;
    else if (held_is_full(hinted_handoff))
        reply->reap_hints_reply.status = ERR_OVERLOADED;
    else if (hint_range_rows(hinted_handoff, request->partition, request->keyspace_id) != 0 &&
             !MUTATE(REAP_IGNORES_HINTS))
        reply->reap_hints_reply.status = ERR_PRECONDITION;
    if (reply->reap_hints_reply.status == OK)
        hint_answer(hinted_handoff, ctx, reply);
    else
        outbox_send(ctx, &hinted_handoff->actor, reply);
}

/* For whom the key is kept. All members are asked for, so that it needs no count. */
static enum err key_targets(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                            const struct key_explain *request, struct key_explain_reply *reply)
{
    const struct topology *topology = &ctx->view->topology;
    struct hint hint = {.keyspace_id = request->keyspace_id, .key = request->key};
    uint8_t memory[ROW_KEY_BYTES_MAX];
    if (request->key.size > KEY_BYTES_MAX)
        return ERR_INVALID;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct bytes value;
        struct hint kept;
        hint.target = topology->members[i].number;
        struct bytes row_key = bytes_of(memory, hint_row_key(&hint, memory));
        enum err err =
            store_read(ctx->store, STORE_HINTS, row_key, &hinted_handoff->scratch, &value);
        if (err == OK)
            err = hint_decode(row_key, value, &kept);
        if (err == ERR_NOT_FOUND)
            continue;
        if (err != OK)
            return err;
        if (reply->hint_count < EXPLAIN_HINTS_MAX)
            reply->hint_members[reply->hint_count++] = hint.target;
        if (reply->hint_stored_at_ms == 0 || kept.stored_at_ms < reply->hint_stored_at_ms)
            reply->hint_stored_at_ms = kept.stored_at_ms;
    }
    return OK;
}

void hint_on_key_explain(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         const struct message *message)
{
    struct message *reply = message_new_reply(message, MESSAGE_key_explain_reply, 0);
    struct key_explain_reply *explain = &reply->key_explain_reply;
    if (held_is_full(hinted_handoff)) {
        explain->status = ERR_OVERLOADED;
        outbox_send(ctx, &hinted_handoff->actor, reply);
        return;
    }
    explain->status = key_targets(hinted_handoff, ctx, &message->key_explain, explain);
    hint_answer(hinted_handoff, ctx, reply);
}

/* -- figures -----------------------------------------------------------------------------------
 */

static enum hint_target_state state_of(const struct hinted_handoff *hinted_handoff,
                                       const struct actor_context *ctx, const struct target *target)
{
    if (target->count == 0)
        return HINT_TARGET_IDLE;
    if (hint_paused(hinted_handoff, target->member))
        return HINT_TARGET_PAUSED;
    if (!view_alive(ctx->view, target->member))
        return HINT_TARGET_AWAY;
    return target->credit == 0 ? HINT_TARGET_WAITING : HINT_TARGET_DELIVERING;
}

void hint_gauge(struct hinted_handoff *hinted_handoff, const struct actor_context *ctx,
                struct target *target)
{
    struct target_gauges *gauges = target->gauges;
    counter_set(&gauges->hints, target->count);
    counter_set(&gauges->bytes, target->bytes);
    counter_set(&gauges->paused, hint_paused(hinted_handoff, target->member));
    counter_set(&gauges->state, state_of(hinted_handoff, ctx, target));
    if (target->count == 0)
        counter_set(&gauges->oldest_ms, 0);
    else if (counter_get(&gauges->oldest_ms) == 0)
        counter_set(&gauges->oldest_ms, ctx->wall_ms);
}

void hint_gauge_delivered(const struct actor_context *ctx, struct target *target)
{
    uint64_t second = ctx->now_ns / SECOND_NS;
    struct counter *bucket = &target->gauges->rate[second % RATE_SECONDS];
    uint64_t value = counter_get(bucket);
    if (value >> RATE_BITS != second)
        value = second << RATE_BITS;
    counter_set(bucket, value + 1);
}

size_t hinted_handoff_targets(const struct hinted_handoff *hinted_handoff, uint64_t now_ns,
                              struct hint_target_figures *ret, size_t max)
{
    uint64_t second = now_ns / SECOND_NS;
    size_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX && count < max; i++) {
        const struct target_gauges *gauges = &hinted_handoff->gauges[i];
        uint64_t delivered = 0;
        if (counter_get(&gauges->member) == MEMBER_NONE)
            continue;
        for (uint32_t j = 0; j < RATE_SECONDS; j++) {
            uint64_t value = counter_get(&gauges->rate[j]);
            if (second - (value >> RATE_BITS) < RATE_SECONDS)
                delivered += value & ((1u << RATE_BITS) - 1);
        }
        ret[count++] = (struct hint_target_figures){
            .member = (uint32_t)counter_get(&gauges->member),
            .state = (enum hint_target_state)counter_get(&gauges->state),
            .paused = counter_get(&gauges->paused) != 0,
            .hints = counter_get(&gauges->hints),
            .bytes = counter_get(&gauges->bytes),
            .oldest_ms = counter_get(&gauges->oldest_ms),
            .delivered_per_s = (double)delivered / RATE_SECONDS,
        };
    }
    return count;
}
