#include "actors/coordinator_request.h"

#include <stdlib.h>

struct coordinator_options coordinator_options_default(uint32_t self, uint8_t index,
                                                       uint64_t generation, uint64_t incarnation)
{
    return (struct coordinator_options){
        .self = self,
        .index = index,
        .requests_max = 8192,
        .incarnation = incarnation,
        .generation = generation,
        .read_late_ns = 100u * 1000 * 1000,
        .write_late_ns = 500u * 1000 * 1000,
        .deadline_default_ns = (uint64_t)DEADLINE_DEFAULT_MS * 1000 * 1000,
    };
}

static struct coordinator *coordinator_of(struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    return CONTAINER_OF(actor, struct coordinator, actor);
}

static void coordinator_on_replica_write_reply(struct coordinator *coordinator,
                                               struct actor_context *ctx, struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    uint32_t member = message->from.node;
    enum err status = message->replica_write_reply.status;
    uint64_t epoch = message->epoch;
    message_free(message);
    if (request == NULL)
        return;
    if (request->state == REQUEST_WRITING || request->state == REQUEST_SETTLING)
        coordinator_put_on_written(coordinator, ctx, request, member, status, epoch);
    else if (request->state == REQUEST_REPAIRING)
        coordinator_repair_on_written(coordinator, ctx, request, member, status, epoch);
    else if (request->state == REQUEST_COMPARING)
        coordinator_compare_on_written(coordinator, request, member, status);
}

static void coordinator_handle(struct actor *actor, struct actor_context *ctx,
                               struct message *message)
{
    struct coordinator *coordinator = coordinator_of(actor);
    coordinator_epoch_note(coordinator, ctx, message);
    switch (message->kind) {
    case MESSAGE_client_get:
        coordinator_on_client_get(coordinator, ctx, message);
        break;
    case MESSAGE_client_put:
        coordinator_on_client_put(coordinator, ctx, message);
        break;
    case MESSAGE_forward_put:
        coordinator_on_forward_put(coordinator, ctx, message);
        break;
    case MESSAGE_forward_put_reply:
        coordinator_on_forward_put_reply(coordinator, ctx, message);
        break;
    case MESSAGE_replica_mint_done:
        coordinator_on_replica_mint_done(coordinator, ctx, message);
        break;
    case MESSAGE_replica_write_reply:
        coordinator_on_replica_write_reply(coordinator, ctx, message);
        break;
    case MESSAGE_replica_read_reply:
        coordinator_on_replica_read_reply(coordinator, ctx, message);
        break;
    case MESSAGE_hint_store_reply:
        coordinator_on_hint_store_reply(coordinator, ctx, message);
        break;
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept_reply:
        coordinator_on_register_reply(coordinator, ctx, message);
        break;
    case MESSAGE_register_settle:
        coordinator_on_register_settle(coordinator, ctx, message);
        break;
    case MESSAGE_client_get_done:
    case MESSAGE_client_put_done:
    case MESSAGE_replica_mint:
    case MESSAGE_replica_write:
    case MESSAGE_replica_read:
    case MESSAGE_store_committed:
    case MESSAGE_peer_link:
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_keyspace_change:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store:
    case MESSAGE_tree_roots:
    case MESSAGE_tree_roots_reply:
    case MESSAGE_tree_read:
    case MESSAGE_tree_read_reply:
    case MESSAGE_digest_read:
    case MESSAGE_digest_read_reply:
    case MESSAGE_record_fetch:
    case MESSAGE_record_fetch_reply:
    case MESSAGE_register_query:
    case MESSAGE_register_prepare:
    case MESSAGE_register_accept:
    case MESSAGE_reap_hints:
    case MESSAGE_reap_hints_reply:
    case MESSAGE_reap_seal:
    case MESSAGE_reap_seal_reply:
    case MESSAGE_reap_remove:
    case MESSAGE_reap_remove_reply:
    case MESSAGE_key_explain:
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
    case MESSAGE_client_maintenance:
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
    case MESSAGE_register_settle_done:
    case MESSAGE_KIND_COUNT:
        counter_add(&coordinator->figures.unexpected, 1);
        message_free(message);
        break;
    }
    coordinator_request_drop_wakes(coordinator);
    arena_clear(&coordinator->scratch);
}

static void coordinator_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct request *request)
{
    if (request->state == REQUEST_SETTLING) {
        coordinator_hint_tell_lacking(coordinator, ctx, request);
        coordinator_request_end(coordinator, request);
        return;
    }
    if (request->state == REQUEST_COMPARING) {
        coordinator_compare_on_deadline(coordinator, request);
        return;
    }
    counter_add(&coordinator->figures.timeouts, 1);
    switch (request->state) {
    case REQUEST_READING:
        coordinator_get_on_deadline(coordinator, ctx, request);
        break;
    case REQUEST_REPAIRING:
        coordinator_repair_on_deadline(coordinator, ctx, request);
        break;
    case REQUEST_FORWARDED:
    case REQUEST_WRITING:
        coordinator_put_on_deadline(coordinator, ctx, request);
        break;
    case REQUEST_REGISTER:
        coordinator_register_on_deadline(coordinator, ctx, request);
        break;
    case REQUEST_SETTLING:
    case REQUEST_COMPARING:
    case REQUEST_FREE:
    case REQUEST_STATE_COUNT:
        UNREACHABLE("a free request has no deadline");
    }
}

static void coordinator_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request)
{
    switch (request->state) {
    case REQUEST_READING:
        coordinator_get_on_late(coordinator, ctx, request);
        break;
    case REQUEST_REPAIRING:
        coordinator_repair_on_late(coordinator, ctx, request);
        break;
    case REQUEST_WRITING: /* these set their own next time, and may have ended */
    case REQUEST_SETTLING:
        coordinator_put_on_late(coordinator, ctx, request);
        return;
    case REQUEST_REGISTER:
        coordinator_register_on_late(coordinator, ctx, request);
        return;
    case REQUEST_FORWARDED: /* sent once: a second could be a second write */
    case REQUEST_COMPARING:
    case REQUEST_FREE:
    case REQUEST_STATE_COUNT:
        UNREACHABLE("such a request is never late");
    }
    coordinator_request_set_late(coordinator, ctx, request, 2 * request->late_ns);
}

static void coordinator_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request)
{
    request->soon_at_ns = NEVER_NS;
    switch (request->state) {
    case REQUEST_READING:
        coordinator_get_on_soon(coordinator, ctx, request);
        break;
    case REQUEST_REPAIRING:
        coordinator_repair_on_soon(coordinator, ctx, request);
        break;
    case REQUEST_FORWARDED:
    case REQUEST_WRITING:
    case REQUEST_SETTLING:
        coordinator_put_on_soon(coordinator, ctx, request);
        break;
    case REQUEST_REGISTER:
        coordinator_register_on_soon(coordinator, ctx, request);
        break;
    case REQUEST_COMPARING:
    case REQUEST_FREE:
    case REQUEST_STATE_COUNT:
        UNREACHABLE("such a request waits for no view");
    }
}

static void coordinator_tick(struct actor *actor, struct actor_context *ctx)
{
    struct coordinator *coordinator = coordinator_of(actor);
    const struct heap_entry *least;
    while ((least = heap_peek(&coordinator->wakes)) != NULL && least->key <= ctx->now_ns) {
        struct heap_entry entry = heap_pop(&coordinator->wakes);
        struct request *request = &coordinator->requests[entry.tie & 0xFFFF];
        if (request->state == REQUEST_FREE || request->id != entry.tie ||
            request->wake_at_ns != entry.key)
            continue; /* ended long ago, or was to be woken earlier */
        request->wake_at_ns = NEVER_NS;
        if (request->deadline_ns <= ctx->now_ns)
            coordinator_on_deadline(coordinator, ctx, request);
        else if (request->late_at_ns <= ctx->now_ns)
            coordinator_on_late(coordinator, ctx, request);
        else if (request->hedge_at_ns <= ctx->now_ns)
            coordinator_hedge_on_due(coordinator, ctx, request);
        else if (request->soon_at_ns <= ctx->now_ns)
            coordinator_on_soon(coordinator, ctx, request);
        /* Its time may have been moved; what goes on is never left without a wake-up. */
        if (request->state != REQUEST_FREE)
            coordinator_request_wake(coordinator, request);
    }
    arena_clear(&coordinator->scratch);
}

static uint64_t coordinator_wake_at_ns(const struct actor *actor)
{
    const struct coordinator *coordinator = CONTAINER_OF(actor, const struct coordinator, actor);
    const struct heap_entry *least = heap_peek(&coordinator->wakes);
    return least == NULL ? NEVER_NS : least->key;
}

static void coordinator_check(const struct actor *actor)
{
    const struct coordinator *coordinator = CONTAINER_OF(actor, const struct coordinator, actor);
    uint32_t used = 0;
    for (uint32_t i = 0; i < coordinator->options.requests_max; i++) {
        const struct request *request = &coordinator->requests[i];
        if (request->state == REQUEST_FREE)
            continue;
        used++;
        CHECK_U64(request->id & 0xFFFF, ==, i);
        CHECK(request->origin != NULL);
        CHECK(request->work == NULL || request->state == REQUEST_REGISTER);
        CHECK((request->state == REQUEST_REPAIRING) == (request->result != NULL));
        CHECK(request->mint == NULL || request->state == REQUEST_WRITING ||
              request->state == REQUEST_SETTLING);
        CHECK_U64(request->stood_in & ~request->hinted, ==, 0);
        CHECK(request->hedge_at_ns == NEVER_NS || request->state == REQUEST_READING);
        CHECK_U64(request->stale & request->hinted, ==, 0);
        CHECK_U64(request->timed & (~request->asked | request->answered), ==, 0);
        CHECK(!request->strict || request->stood_in == 0);
        CHECK(!request->unsent || request->mint == NULL);
        CHECK(request->soon_at_ns == NEVER_NS || request->state != REQUEST_COMPARING);
        CHECK_U64(request->wake_at_ns, <=, coordinator_request_first_ns(request));
    }
    CHECK_U64(used + coordinator->free_count, ==, coordinator->options.requests_max);
}

static const struct actor_class coordinator_class = {
    .name = "coordinator",
    .handle = coordinator_handle,
    .tick = coordinator_tick,
    .wake_at_ns = coordinator_wake_at_ns,
    .check = coordinator_check,
};

struct coordinator *coordinator_new(const struct coordinator_options *options)
{
    CHECK_U64(options->index, <, COORDINATORS_MAX);
    CHECK(options->requests_max > 0 && options->requests_max <= UINT16_MAX);
    struct coordinator *coordinator = calloc(1, sizeof *coordinator);
    CHECK(coordinator != NULL);
    actor_init(&coordinator->actor, &coordinator_class,
               (struct actor_id){
                   .node = options->self, .kind = ACTOR_COORDINATOR, .index = options->index});
    coordinator->options = *options;
    coordinator->requests = calloc(options->requests_max, sizeof *coordinator->requests);
    coordinator->free_indices = calloc(options->requests_max, sizeof *coordinator->free_indices);
    CHECK(coordinator->requests != NULL && coordinator->free_indices != NULL);
    for (uint32_t i = options->requests_max; i > 0; i--)
        coordinator->free_indices[coordinator->free_count++] = i - 1;
    heap_init(&coordinator->wakes);
    arena_init(&coordinator->scratch, NULL, 0);
    return coordinator;
}

void coordinator_free(struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->options.requests_max; i++) {
        if (coordinator->requests[i].state != REQUEST_FREE)
            coordinator_request_end(coordinator, &coordinator->requests[i]);
    }
    for (uint32_t i = 0; i < COORDINATOR_ORIGINS; i++)
        free(coordinator->origins[i]);
    heap_deinit(&coordinator->wakes);
    arena_deinit(&coordinator->scratch);
    free(coordinator->requests);
    free(coordinator->free_indices);
    free(coordinator);
}

struct actor *coordinator_actor(struct coordinator *coordinator)
{
    return &coordinator->actor;
}

const struct coordinator_figures *coordinator_figures(const struct coordinator *coordinator)
{
    return &coordinator->figures;
}
