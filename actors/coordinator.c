#include "actors/coordinator_request.h"

#include "model/hash.h"

#include <stdlib.h>

/* The answer should reach the client before its own deadline: what is kept back for the way. */
#define DEADLINE_MARGIN_MAX_NS (100u * 1000 * 1000)
#define LATENCY_UNKNOWN_NS     (1000u * 1000)

struct coordinator_options coordinator_options_default(uint32_t self, uint8_t index,
                                                       uint64_t generation)
{
    return (struct coordinator_options){
        .self = self,
        .index = index,
        .requests_max = 8192,
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

/* -- the request table
 * ----------------------------------------------------------------------------- */

/* An id names a start of this node, a request, and its place in the table, so that an answer to a
 * request that has ended, in this life or an earlier one, meets nobody. */
static uint64_t coordinator_request_id(struct coordinator *coordinator, uint32_t index)
{
    uint64_t serial = ++coordinator->serial & UINT32_MAX;
    return (coordinator->options.generation & 0xFFFF) << 48 | serial << 16 | index;
}

static void in_flight_changed(struct coordinator *coordinator)
{
    counter_set(&coordinator->figures.in_flight, coordinator->options.requests_max -
                                                     coordinator->free_count -
                                                     coordinator->settling_count);
}

struct request *coordinator_request_new(struct coordinator *coordinator, struct actor_context *ctx,
                                        struct message *origin, enum request_state state)
{
    if (coordinator->free_count == 0) {
        counter_add(&coordinator->figures.refused, 1);
        return NULL;
    }
    uint32_t index = coordinator->free_indices[--coordinator->free_count];
    struct request *request = &coordinator->requests[index];
    memset(request, 0, sizeof *request);
    request->state = state;
    request->id = coordinator_request_id(coordinator, index);
    request->origin = origin;
    request->started_ns = ctx->now_ns;
    request->late_at_ns = NEVER_NS;
    uint64_t deadline_ns = origin->deadline_ns;
    if (deadline_ns == 0)
        deadline_ns = ctx->now_ns + coordinator->options.deadline_default_ns;
    uint64_t left_ns = deadline_ns > ctx->now_ns ? deadline_ns - ctx->now_ns : 0;
    uint64_t margin_ns = left_ns / 10;
    if (margin_ns > DEADLINE_MARGIN_MAX_NS)
        margin_ns = DEADLINE_MARGIN_MAX_NS;
    request->deadline_ns = ctx->now_ns + left_ns - margin_ns;
    in_flight_changed(coordinator);
    return request;
}

struct request *coordinator_request_find(struct coordinator *coordinator, uint64_t id)
{
    uint32_t index = (uint32_t)(id & 0xFFFF);
    if (index < coordinator->options.requests_max) {
        struct request *request = &coordinator->requests[index];
        if (request->state != REQUEST_FREE && request->id == id)
            return request;
    }
    counter_add(&coordinator->figures.answers_late, 1);
    return NULL;
}

void coordinator_request_move(struct request *request, enum request_state state)
{
    static const bool allowed[REQUEST_STATE_COUNT][REQUEST_STATE_COUNT] = {
        [REQUEST_READING] = {[REQUEST_REPAIRING] = true, [REQUEST_FREE] = true},
        [REQUEST_REPAIRING] = {[REQUEST_FREE] = true},
        [REQUEST_FORWARDED] = {[REQUEST_FREE] = true},
        [REQUEST_WRITING] =
            {[REQUEST_FREE] = true, [REQUEST_FORWARDED] = true, [REQUEST_SETTLING] = true},
        [REQUEST_SETTLING] = {[REQUEST_FREE] = true},
    };
    CHECK(allowed[request->state][state]);
    request->state = state;
}

void coordinator_request_settle(struct coordinator *coordinator, struct request *request)
{
    coordinator_request_move(request, REQUEST_SETTLING);
    counter_set(&coordinator->figures.settling, ++coordinator->settling_count);
    in_flight_changed(coordinator);
}

static void free_list(struct message *list)
{
    while (list != NULL) {
        struct message *next = list->next;
        message_free(list);
        list = next;
    }
}

void coordinator_request_end(struct coordinator *coordinator, struct request *request)
{
    if (request->state == REQUEST_SETTLING)
        counter_set(&coordinator->figures.settling, --coordinator->settling_count);
    coordinator_request_move(request, REQUEST_FREE);
    message_free(request->origin);
    free_list(request->answers);
    message_free(request->result);
    message_free(request->mint);
    coordinator->free_indices[coordinator->free_count++] =
        (uint32_t)(request - coordinator->requests);
    in_flight_changed(coordinator);
}

/* Drops the entries of requests that have ended, so that the heap stays within a few entries a
 * request however long deadlines are. */
static void wakes_compact(struct coordinator *coordinator)
{
    struct heap kept;
    heap_init(&kept);
    for (size_t i = 0; i < coordinator->wakes.count; i++) {
        struct heap_entry entry = coordinator->wakes.entries[i];
        const struct request *request = &coordinator->requests[entry.tie & 0xFFFF];
        if (request->state != REQUEST_FREE && request->id == entry.tie)
            heap_push(&kept, entry);
    }
    heap_deinit(&coordinator->wakes);
    coordinator->wakes = kept;
}

void coordinator_request_wake_at(struct coordinator *coordinator, const struct request *request,
                                 uint64_t at_ns)
{
    if (coordinator->wakes.count >= 8 * (size_t)coordinator->options.requests_max + 64)
        wakes_compact(coordinator);
    heap_push(&coordinator->wakes, (struct heap_entry){.key = at_ns, .tie = request->id});
}

void coordinator_request_set_late(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint64_t late_ns)
{
    request->late_ns = late_ns;
    request->late_at_ns = ctx->now_ns + late_ns;
    if (request->late_at_ns >= request->deadline_ns)
        request->late_at_ns = NEVER_NS;
    coordinator_request_wake_at(coordinator, request,
                                request->late_at_ns == NEVER_NS ? request->deadline_ns
                                                                : request->late_at_ns);
}

void coordinator_request_send_write(struct coordinator *coordinator, struct actor_context *ctx,
                                    const struct request *request, uint32_t member,
                                    struct bytes record, enum write_reason reason)
{
    const struct message *origin = request->origin;
    bool get = origin->kind == MESSAGE_client_get;
    const struct put_request *put = get ? NULL : coordinator_put_request(origin);
    struct bytes key = get ? origin->client_get.key : put->key;
    struct message *message = message_new(MESSAGE_replica_write, key.size + record.size);
    message->id = request->id;
    message->to = (struct actor_id){.node = member, .kind = ACTOR_REPLICA};
    message->deadline_ns = request->deadline_ns;
    message->replica_write = (struct replica_write){
        .keyspace_id = get ? origin->client_get.keyspace_id : put->keyspace_id,
        .key = arena_copy(&message->arena, key),
        .record = arena_copy(&message->arena, record),
        .policy = request->policy,
        .partition = request->partition,
        .reason = reason,
    };
    outbox_send(ctx, &coordinator->actor, message);
}

int coordinator_request_replica_index(const struct request *request, uint32_t member)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if (request->replicas.replicas[i].member == member)
            return (int)i;
    }
    return -1;
}

static void plan_level(const struct keyspace *keyspace, bool write, enum consistency *level,
                       uint32_t *count)
{
    if (*level != CONSISTENCY_DEFAULT)
        return;
    *level = write ? keyspace->write_level : keyspace->read_level;
    *count = write ? keyspace->write_count : keyspace->read_count;
}

enum err coordinator_request_plan(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint32_t keyspace_id, struct bytes key,
                                  enum consistency level, uint32_t count, bool write,
                                  const char **ret_why)
{
    const struct view *view = ctx->view;
    const struct keyspace *keyspace = keyspace_map_find_id(&view->keyspaces, keyspace_id);
    if (keyspace == NULL) {
        *ret_why = "keyspace: not known to this node; it may have just been dropped or created";
        return ERR_NOT_FOUND;
    }
    if (keyspace->mode != KEYSPACE_AVAILABLE) {
        *ret_why = "keyspace: its mode is not available";
        return ERR_PRECONDITION;
    }
    request->policy = (keyspace->conflict == KEYSPACE_LWW ? POLICY_LWW : 0u) |
                      (keyspace->durability == KEYSPACE_PERIODIC ? POLICY_PERIODIC : 0u);
    request->hash = hash_key(keyspace_id, key);
    request->partition = hash_partition(request->hash, view->topology.partitions);
    view_replica_set(view, keyspace, request->partition, &request->replicas);
    plan_level(keyspace, write, &level, &count);
    quorum_init(&request->quorum, level, count, view->local_data_center);
    for (uint32_t i = 0; i < request->replicas.count; i++)
        quorum_add_replica(&request->quorum, request->replicas.replicas[i].member,
                           request->replicas.replicas[i].data_center);
    enum err err = quorum_seal(&request->quorum);
    if (err != OK) {
        *ret_why = err == ERR_INVALID ? "r or w: 0, or more than the key has replicas"
                                      : "consistency: a data centre it needs holds no replica";
        return err;
    }
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if (view_alive(view, request->replicas.replicas[i].member))
            continue;
        if (write)
            coordinator_hint_reserve(coordinator, ctx, request, i);
        else
            quorum_fail(&request->quorum, request->replicas.replicas[i].member);
    }
    if (quorum_state(&request->quorum) == QUORUM_IMPOSSIBLE) {
        *ret_why = "too many replicas of the key are down";
        return ERR_UNAVAILABLE;
    }
    return OK;
}

void coordinator_request_progress(const struct request *request, struct progress *ret_progress)
{
    struct progress *progress = ret_progress;
    quorum_progress(&request->quorum, &progress->acked, &progress->needed);
    /* Once too many have failed, those are the ones that are missing; the others may never have
     * been asked. */
    bool impossible = quorum_state(&request->quorum) == QUORUM_IMPOSSIBLE;
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        uint32_t member = request->quorum.members[i].member;
        bool stood_in = (request->stood_in >> i & 1) != 0;
        if (stood_in && progress->fallback_count < PROGRESS_FALLBACKS_MAX)
            progress->fallback_members[progress->fallback_count++] = request->keepers[i];
        if (request->quorum.members[i].state == REPLICA_ACKED && !stood_in)
            progress->acked_members[progress->acked_count++] = member;
        else if (stood_in)
            progress->missing_members[progress->missing_count++] = member;
        else if (!impossible || request->quorum.members[i].state == REPLICA_FAILED)
            progress->missing_members[progress->missing_count++] = member;
    }
}

enum err coordinator_request_failure(const struct request *request)
{
    switch (request->last_error) {
    case ERR_OVERLOADED:
    case ERR_LIMIT:
        return request->last_error;
    default:
        return ERR_UNAVAILABLE;
    }
}

/* -- who is fast
 * -------------------------------------------------------------------------------------- */

uint64_t coordinator_latency_ns(const struct coordinator *coordinator, uint32_t member)
{
    for (uint32_t i = 0; i < MEMBERS_MAX && coordinator->peers[i].member != MEMBER_NONE; i++) {
        if (coordinator->peers[i].member == member)
            return coordinator->peers[i].latency_ns;
    }
    return LATENCY_UNKNOWN_NS;
}

void coordinator_learn_latency(struct coordinator *coordinator, uint32_t member,
                               uint64_t latency_ns)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (coordinator->peers[i].member == MEMBER_NONE) {
            coordinator->peers[i].member = member;
            coordinator->peers[i].latency_ns = latency_ns;
            return;
        }
        if (coordinator->peers[i].member == member) {
            uint64_t *average = &coordinator->peers[i].latency_ns;
            *average = *average - *average / 8 + latency_ns / 8;
            return;
        }
    }
}

/* -- the actor
 * ------------------------------------------------------------------------------------------ */

static void coordinator_on_replica_write_reply(struct coordinator *coordinator,
                                               struct actor_context *ctx, struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    uint32_t member = message->from.node;
    enum err status = message->replica_write_reply.status;
    message_free(message);
    if (request == NULL)
        return;
    if (request->state == REQUEST_WRITING || request->state == REQUEST_SETTLING)
        coordinator_put_on_written(coordinator, ctx, request, member, status);
    else if (request->state == REQUEST_REPAIRING)
        coordinator_get_on_repaired(coordinator, ctx, request, member, status);
}

static void coordinator_handle(struct actor *actor, struct actor_context *ctx,
                               struct message *message)
{
    struct coordinator *coordinator = coordinator_of(actor);
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
    case MESSAGE_tree_compare:
    case MESSAGE_tree_compare_reply:
    case MESSAGE_KIND_COUNT:
        counter_add(&coordinator->figures.unexpected, 1);
        message_free(message);
        break;
    }
    arena_clear(&coordinator->scratch);
}

static void coordinator_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct request *request)
{
    if (request->state == REQUEST_SETTLING) {
        counter_add(&coordinator->figures.unsettled, 1);
        coordinator_request_end(coordinator, request);
        return;
    }
    counter_add(&coordinator->figures.timeouts, 1);
    switch (request->state) {
    case REQUEST_READING:
    case REQUEST_REPAIRING:
        coordinator_get_on_deadline(coordinator, ctx, request);
        break;
    case REQUEST_FORWARDED:
    case REQUEST_WRITING:
        coordinator_put_on_deadline(coordinator, ctx, request);
        break;
    case REQUEST_SETTLING:
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
    case REQUEST_REPAIRING:
        coordinator_get_on_late(coordinator, ctx, request);
        break;
    case REQUEST_WRITING:
    case REQUEST_SETTLING:
        coordinator_put_on_late(coordinator, ctx, request);
        break;
    case REQUEST_FORWARDED: /* sent once: a second could be a second write */
    case REQUEST_FREE:
    case REQUEST_STATE_COUNT:
        UNREACHABLE("such a request is never late");
    }
    coordinator_request_set_late(coordinator, ctx, request, 2 * request->late_ns);
}

static void coordinator_tick(struct actor *actor, struct actor_context *ctx)
{
    struct coordinator *coordinator = coordinator_of(actor);
    const struct heap_entry *least;
    while ((least = heap_peek(&coordinator->wakes)) != NULL && least->key <= ctx->now_ns) {
        uint64_t id = heap_pop(&coordinator->wakes).tie;
        struct request *request = &coordinator->requests[id & 0xFFFF];
        if (request->state == REQUEST_FREE || request->id != id)
            continue; /* ended long ago */
        if (request->deadline_ns <= ctx->now_ns)
            coordinator_on_deadline(coordinator, ctx, request);
        else if (request->late_at_ns <= ctx->now_ns)
            coordinator_on_late(coordinator, ctx, request);
        else if (request->late_at_ns == NEVER_NS)
            coordinator_request_wake_at(coordinator, request, request->deadline_ns);
        /* else its time was moved, and that wake-up is in the heap */
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
        CHECK((request->state == REQUEST_REPAIRING) == (request->result != NULL));
        CHECK(request->mint == NULL || request->state == REQUEST_WRITING ||
              request->state == REQUEST_SETTLING);
        CHECK_U64(request->stood_in & ~request->hinted, ==, 0);
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
