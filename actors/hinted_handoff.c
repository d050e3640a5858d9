#include "actors/hinted_handoff_rows.h"

#include "base/mutation.h"
#include "model/record.h"

#include <stdlib.h>

#define MS_NS (1000u * 1000)

struct hinted_handoff_options hinted_handoff_options_default(uint32_t self, uint64_t generation)
{
    return (struct hinted_handoff_options){
        .self = self,
        .generation = generation,
        .held_max = 16384,
        .target_bytes_max = (uint64_t)1 << 30,
        .total_bytes_max = (uint64_t)4 << 30,
        .age_max_ms = (uint64_t)7 * 24 * 3600 * 1000,
        .stale_age_max_ms = (uint64_t)24 * 3600 * 1000,
        .window = 32,
        .pace_ns = 10 * (uint64_t)MS_NS,
        .late_ns = 1000 * (uint64_t)MS_NS,
    };
}

/* -- keeping ------------------------------------------------------------------------------------
 */

/* A state that holds all of the join was read as it stands, under its own floor. */
static uint64_t joined_floor(bool old_is_all, uint64_t old_floor, bool new_is_all,
                             uint64_t new_floor)
{
    uint64_t least = old_floor < new_floor ? old_floor : new_floor;
    uint64_t most = old_floor < new_floor ? new_floor : old_floor;
    if (old_is_all && new_is_all)
        return most;
    return old_is_all ? old_floor : new_is_all ? new_floor : least;
}

/* The hint that is kept already, if any, joined to this one. */
static enum err hint_join(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                          struct target *target, struct bytes row_key, struct hint *hint,
                          size_t *ret_size_before)
{
    struct arena *scratch = &hinted_handoff->scratch;
    struct bytes value;
    struct hint old;
    struct version_set old_set;
    struct version_set new_set;
    enum err err = record_decode(scratch, hint->keyspace_id, hint->key, hint->record, &new_set);
    if (err != OK)
        return err;
    err = store_read(ctx->store, STORE_HINTS, row_key, scratch, &value);
    if (err == ERR_NOT_FOUND) {
        *ret_size_before = 0;
        return OK;
    }
    if (err != OK)
        return err;
    *ret_size_before = row_key.size + value.size;
    if (hint_decode(row_key, value, &old) != OK ||
        record_decode(scratch, old.keyspace_id, old.key, old.record, &old_set) != OK) {
        counter_add(&hinted_handoff->figures.corrupt, 1);
        hint_dirty(hinted_handoff, ctx, target, hint->partition, "a hint was damaged on disk");
        return OK; /* the new one takes its place */
    }
    struct version_set merged = version_set_merge(scratch, &old_set, &new_set);
    if (MUTATE(HINT_REPLACES_HINT))
        merged = new_set;
    if ((hint->policy & POLICY_LWW) != 0)
        merged = version_set_last_writer_wins(scratch, &merged);
    hint->record = record_encode(scratch, hint->keyspace_id, hint->key, &merged);
    if (hint->record.size > RECORD_BYTES_MAX) /* it could never leave again */
        return ERR_LIMIT;
    hint->floor = joined_floor(version_set_equal(&merged, &old_set), old.floor,
                               version_set_equal(&merged, &new_set), hint->floor);
    if (hint->request_id.size == 0) {
        hint->request_id = old.request_id;
        hint->request_context = old.request_context;
    }
    if (old.stored_at_ms < hint->stored_at_ms)
        hint->stored_at_ms = old.stored_at_ms;
    counter_add(&hinted_handoff->figures.joined, 1);
    return OK;
}

static bool hint_has_room(const struct hinted_handoff *hinted_handoff, const struct target *target,
                          size_t before, size_t after)
{
    const struct hinted_handoff_options *options = &hinted_handoff->options;
    return after <= before || (target->bytes + (after - before) <= options->target_bytes_max &&
                               counter_get(&hinted_handoff->figures.bytes) + (after - before) <=
                                   options->total_bytes_max);
}

/* For a member that is there, and a key that lives where the request says. */
static bool hint_is_sound(const struct hinted_handoff *hinted_handoff,
                          const struct actor_context *ctx, const struct hint *hint)
{
    return hint->target != hinted_handoff->options.self &&
           hint_member_is_there(ctx->view, hint->target) && hint->key.size <= KEY_BYTES_MAX &&
           hint->request_id.size <= REQUEST_ID_BYTES &&
           hint->request_context.size <= CONTEXT_BYTES_MAX &&
           hint->partition == hash_partition(hash_key(hint->keyspace_id, hint->key),
                                             ctx->view->topology.partitions);
}

enum err hint_keep_row(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                       struct hint *hint, bool bounded)
{
    uint8_t memory[ROW_KEY_BYTES_MAX];
    size_t before = 0;
    struct target *target = hint_target(hinted_handoff, hint->target);
    if (target == NULL)
        return ERR_LIMIT;
    struct bytes row_key = bytes_of(memory, hint_row_key(hint, memory));
    enum err err = hint_join(hinted_handoff, ctx, target, row_key, hint, &before);
    if (err == ERR_CORRUPT || err == ERR_UNSUPPORTED)
        hint_dirty(hinted_handoff, ctx, target, hint->partition, "a hint came damaged");
    if (err != OK)
        return err;
    struct bytes value = hint_encode(&hinted_handoff->scratch, hint);
    if (bounded && !hint_has_room(hinted_handoff, target, before, row_key.size + value.size)) {
        counter_add(&hinted_handoff->figures.overflow, 1);
        hint_dirty(hinted_handoff, ctx, target, hint->partition, "no room for more hints");
        return ERR_LIMIT;
    }
    err = hint_row_change(hinted_handoff, ctx, target, row_key, before, &value);
    if (err == OK)
        counter_add(&hinted_handoff->figures.stored, 1);
    hint_gauge(hinted_handoff, ctx, target);
    return err;
}

static enum err hint_keep(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                          const struct hint_store *request)
{
    const struct replica_write *write = &request->write;
    struct hint hint = {
        .target = request->target,
        .keyspace_id = write->keyspace_id,
        .key = write->key,
        .policy = write->policy,
        .partition = write->partition,
        .stored_at_ms = ctx->wall_ms,
        .floor = write->floor,
        .request_id = write->request_id,
        .request_context = write->request_context,
        .record = write->record,
    };
    if (!hint_is_sound(hinted_handoff, ctx, &hint))
        return ERR_INVALID;
    return hint_keep_row(hinted_handoff, ctx, &hint, true);
}

/* A member that leaves hands on what it keeps, and is gone when there is nothing left: nobody would
 * know of what came later. */
static bool is_on_its_way(const struct hinted_handoff *hinted_handoff, const struct view *view)
{
    const struct member *self = topology_member(&view->topology, hinted_handoff->options.self);
    return view->topology.change.state == CHANGE_RUNNING && self != NULL &&
           self->status == MEMBER_LEAVING;
}

static enum err hint_admit(const struct hinted_handoff *hinted_handoff,
                           const struct actor_context *ctx, const struct message *message)
{
    if (is_on_its_way(hinted_handoff, ctx->view))
        return ERR_UNAVAILABLE;
    if (message->deadline_ns != 0 && ctx->now_ns >= message->deadline_ns)
        return ERR_TIMEOUT;
    return hinted_handoff->held.count < hinted_handoff->options.held_max ? OK : ERR_OVERLOADED;
}

void hint_answer(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                 struct message *reply)
{
    uint64_t sequence = store_staged(ctx->store);
    if (MUTATE(HINT_COUNTS_UNSYNCED))
        sequence = 0;
    if (sequence <= store_committed(ctx->store)) {
        outbox_send(ctx, &hinted_handoff->actor, reply);
        return;
    }
    heap_push(
        &hinted_handoff->held,
        (struct heap_entry){.key = sequence, .tie = hinted_handoff->held_count++, .value = reply});
    counter_set(&hinted_handoff->figures.held, hinted_handoff->held.count);
}

static void hinted_handoff_on_hint_store(struct hinted_handoff *hinted_handoff,
                                         struct actor_context *ctx, const struct message *message)
{
    struct message *reply = message_new_reply(message, MESSAGE_hint_store_reply, 0);
    enum err err = hint_admit(hinted_handoff, ctx, message);
    if (err == OK)
        err = hint_keep(hinted_handoff, ctx, &message->hint_store);
    reply->hint_store_reply.status = err;
    if (err == OK) {
        hint_answer(hinted_handoff, ctx, reply);
        return;
    }
    counter_add(&hinted_handoff->figures.refused, 1);
    outbox_send(ctx, &hinted_handoff->actor, reply);
}

static void hinted_handoff_on_store_committed(struct hinted_handoff *hinted_handoff,
                                              struct actor_context *ctx,
                                              const struct store_committed *committed)
{
    const struct heap_entry *least;
    while ((least = heap_peek(&hinted_handoff->held)) != NULL && least->key <= committed->sequence)
        outbox_send(ctx, &hinted_handoff->actor, heap_pop(&hinted_handoff->held).value);
    counter_set(&hinted_handoff->figures.held, hinted_handoff->held.count);
}

/* -- the actor
 * --------------------------------------------------------------------------------------- */

static void hinted_handoff_handle(struct actor *actor, struct actor_context *ctx,
                                  struct message *message)
{
    struct hinted_handoff *hinted_handoff = CONTAINER_OF(actor, struct hinted_handoff, actor);
    CHECK(ctx->store != NULL);
    switch (message->kind) {
    case MESSAGE_hint_store:
        hinted_handoff_on_hint_store(hinted_handoff, ctx, message);
        break;
    case MESSAGE_replica_write_reply:
        hint_flight_answered(hinted_handoff, ctx, message);
        break;
    case MESSAGE_reap_hints:
        hint_on_reap_hints(hinted_handoff, ctx, message);
        break;
    case MESSAGE_key_explain:
        hint_on_key_explain(hinted_handoff, ctx, message);
        break;
    case MESSAGE_client_maintenance:
        hint_on_maintenance(hinted_handoff, ctx, message);
        break;
    case MESSAGE_store_committed:
        hinted_handoff_on_store_committed(hinted_handoff, ctx, &message->store_committed);
        break;
    case MESSAGE_client_get:
    case MESSAGE_client_get_done:
    case MESSAGE_client_put:
    case MESSAGE_client_put_done:
    case MESSAGE_forward_put:
    case MESSAGE_forward_put_reply:
    case MESSAGE_replica_mint:
    case MESSAGE_replica_mint_done:
    case MESSAGE_replica_write:
    case MESSAGE_replica_read:
    case MESSAGE_replica_read_reply:
    case MESSAGE_peer_link:
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_keyspace_change:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store_reply:
    case MESSAGE_tree_roots:
    case MESSAGE_tree_roots_reply:
    case MESSAGE_tree_read:
    case MESSAGE_tree_read_reply:
    case MESSAGE_digest_read:
    case MESSAGE_digest_read_reply:
    case MESSAGE_record_fetch:
    case MESSAGE_record_fetch_reply:
    case MESSAGE_reap_hints_reply:
    case MESSAGE_register_query:
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept:
    case MESSAGE_register_accept_reply:
    case MESSAGE_reap_seal:
    case MESSAGE_reap_seal_reply:
    case MESSAGE_reap_remove:
    case MESSAGE_reap_remove_reply:
    case MESSAGE_key_explain_reply:
    case MESSAGE_reap_scan:
    case MESSAGE_reap_scan_done:
    case MESSAGE_vnode_doubt:
    case MESSAGE_vnode_incomplete:
    case MESSAGE_vnode_adopt:
    case MESSAGE_vnode_adopt_done:
    case MESSAGE_vnode_complete:
    case MESSAGE_vnode_complete_done:
    case MESSAGE_record_repair:
    case MESSAGE_range_dirty:
    case MESSAGE_client_maintenance_done:
    case MESSAGE_client_explain:
    case MESSAGE_client_explain_done:
    case MESSAGE_topology_document:
    case MESSAGE_topology_document_reply:
    case MESSAGE_topology_fetch:
    case MESSAGE_topology_prepare:
    case MESSAGE_topology_prepare_reply:
    case MESSAGE_topology_accept:
    case MESSAGE_topology_accept_reply:
    case MESSAGE_topology_behind:
    case MESSAGE_client_topology:
    case MESSAGE_client_topology_done:
    case MESSAGE_vnode_report:
    case MESSAGE_vnode_report_reply:
    case MESSAGE_client_reports:
    case MESSAGE_client_reports_done:
    case MESSAGE_register_list:
    case MESSAGE_register_list_reply:
    case MESSAGE_register_settle:
    case MESSAGE_register_settle_done:
    case MESSAGE_KIND_COUNT:
        counter_add(&hinted_handoff->figures.unexpected, 1);
        break;
    }
    message_free(message);
    arena_clear(&hinted_handoff->scratch);
}

static void hinted_handoff_tick(struct actor *actor, struct actor_context *ctx)
{
    struct hinted_handoff *hinted_handoff = CONTAINER_OF(actor, struct hinted_handoff, actor);
    CHECK(ctx->store != NULL);
    if (!hinted_handoff->counted && hinted_handoff->count_at_ns <= ctx->now_ns)
        hint_count_rows(hinted_handoff, ctx);
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        struct target *target = hinted_handoff->targets[i];
        if (target->count > 0 && target->next_ns <= ctx->now_ns)
            hint_deliver_turn(hinted_handoff, ctx, target);
        if (target->dirty_any && target->dirty_at_ns <= ctx->now_ns)
            hint_dirty_tell(hinted_handoff, ctx, target);
        arena_clear(&hinted_handoff->scratch);
    }
}

static uint64_t hinted_handoff_wake_at_ns(const struct actor *actor)
{
    const struct hinted_handoff *hinted_handoff =
        CONTAINER_OF(actor, const struct hinted_handoff, actor);
    uint64_t at_ns = hinted_handoff->counted ? NEVER_NS : hinted_handoff->count_at_ns;
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        const struct target *target = hinted_handoff->targets[i];
        if (target->count > 0 && target->next_ns < at_ns)
            at_ns = target->next_ns;
        if (target->dirty_any && target->dirty_at_ns < at_ns)
            at_ns = target->dirty_at_ns;
    }
    return at_ns;
}

static void hinted_handoff_check(const struct actor *actor)
{
    const struct hinted_handoff *hinted_handoff =
        CONTAINER_OF(actor, const struct hinted_handoff, actor);
    uint64_t hints = 0;
    uint64_t bytes = 0;
    CHECK_U64(hinted_handoff->held.count, <=, hinted_handoff->options.held_max);
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        const struct target *target = hinted_handoff->targets[i];
        CHECK_U64(target->flight_count, <=, hinted_handoff->options.window);
        CHECK((target->count == 0) == (target->bytes == 0));
        hints += target->count;
        bytes += target->bytes;
    }
    CHECK_U64(hints, ==, counter_get(&hinted_handoff->figures.hints));
    CHECK_U64(bytes, ==, counter_get(&hinted_handoff->figures.bytes));
    CHECK_U64(hinted_handoff->pauses.count, <=, MEMBERS_MAX);
}

static const struct actor_class hinted_handoff_class = {
    .name = "hinted_handoff",
    .handle = hinted_handoff_handle,
    .tick = hinted_handoff_tick,
    .wake_at_ns = hinted_handoff_wake_at_ns,
    .check = hinted_handoff_check,
};

struct hinted_handoff *hinted_handoff_new(const struct hinted_handoff_options *options)
{
    CHECK(options->window > 0 && options->window <= HINT_WINDOW_MAX);
    struct hinted_handoff *hinted_handoff = calloc(1, sizeof *hinted_handoff);
    CHECK(hinted_handoff != NULL);
    actor_init(&hinted_handoff->actor, &hinted_handoff_class,
               (struct actor_id){.node = options->self, .kind = ACTOR_HINTED_HANDOFF});
    hinted_handoff->options = *options;
    heap_init(&hinted_handoff->held);
    arena_init(&hinted_handoff->scratch, NULL, 0);
    return hinted_handoff;
}

void hinted_handoff_free(struct hinted_handoff *hinted_handoff)
{
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        hint_flights_stop(hinted_handoff->targets[i]);
        free(hinted_handoff->targets[i]);
    }
    while (heap_peek(&hinted_handoff->held) != NULL)
        message_free(heap_pop(&hinted_handoff->held).value);
    heap_deinit(&hinted_handoff->held);
    hint_ranges_free(&hinted_handoff->ranges);
    arena_deinit(&hinted_handoff->scratch);
    free(hinted_handoff);
}

struct actor *hinted_handoff_actor(struct hinted_handoff *hinted_handoff)
{
    return &hinted_handoff->actor;
}

const struct hinted_handoff_figures *
hinted_handoff_figures(const struct hinted_handoff *hinted_handoff)
{
    return &hinted_handoff->figures;
}
