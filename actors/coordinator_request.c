/* The request table: places, ids, wake-ups, and how states move. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"

/* The answer should reach the client before its own deadline: what is kept back for the way. */
#define DEADLINE_MARGIN_MAX_NS (100u * 1000 * 1000)
#define SOON_NS_MAX            (100u * 1000 * 1000)

/* An id names a start of this node, a request, and its place in the table, so that an answer to a
 * request that has ended, in this life or an earlier one, meets nobody. */
static uint64_t coordinator_request_id(struct coordinator *coordinator, uint32_t index)
{
    uint64_t serial = ++coordinator->serial & UINT32_MAX;
    if (MUTATE(STALE_ANSWER_COUNTS))
        return serial << 16 | index;
    return (coordinator->options.generation & 0xFFFF) << 48 | serial << 16 | index;
}

static void in_flight_changed(struct coordinator *coordinator)
{
    counter_set(&coordinator->figures.in_flight,
                coordinator->options.requests_max - coordinator->free_count -
                    coordinator->settling_count - coordinator->comparing_count);
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
    request->hedge_at_ns = NEVER_NS;
    request->soon_at_ns = NEVER_NS;
    request->wake_at_ns = NEVER_NS;
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
        [REQUEST_READING] = {[REQUEST_FREE] = true,
                             [REQUEST_READING] = true,
                             [REQUEST_REPAIRING] = true,
                             [REQUEST_COMPARING] = true},
        [REQUEST_REPAIRING] =
            {[REQUEST_FREE] = true, [REQUEST_READING] = true, [REQUEST_COMPARING] = true},
        [REQUEST_COMPARING] = {[REQUEST_FREE] = true},
        [REQUEST_FORWARDED] = {[REQUEST_FREE] = true, [REQUEST_WRITING] = true},
        [REQUEST_WRITING] =
            {[REQUEST_FREE] = true, [REQUEST_FORWARDED] = true, [REQUEST_SETTLING] = true},
        [REQUEST_SETTLING] = {[REQUEST_FREE] = true},
        [REQUEST_REGISTER] = {[REQUEST_FREE] = true},
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

void coordinator_request_compare(struct coordinator *coordinator, struct request *request)
{
    coordinator_request_move(request, REQUEST_COMPARING);
    counter_set(&coordinator->figures.comparing, ++coordinator->comparing_count);
    in_flight_changed(coordinator);
}

void coordinator_request_renew(struct coordinator *coordinator, struct request *request)
{
    request->id = coordinator_request_id(coordinator, (uint32_t)(request - coordinator->requests));
    request->wake_at_ns = NEVER_NS;
}

void coordinator_request_free_list(struct message *list)
{
    while (list != NULL) {
        struct message *next = list->next;
        message_free(list);
        list = next;
    }
}

void coordinator_request_forget_answers(struct request *request)
{
    coordinator_request_free_list(request->answers);
    coordinator_request_free_list(request->kept);
    message_free(request->result);
    request->answers = request->kept = request->result = NULL;
}

void coordinator_request_end(struct coordinator *coordinator, struct request *request)
{
    if (request->state == REQUEST_SETTLING)
        counter_set(&coordinator->figures.settling, --coordinator->settling_count);
    if (request->state == REQUEST_COMPARING)
        counter_set(&coordinator->figures.comparing, --coordinator->comparing_count);
    coordinator_request_move(request, REQUEST_FREE);
    coordinator_request_forget_answers(request);
    message_free(request->origin);
    message_free(request->mint);
    message_free(request->fresh);
    coordinator_register_free(request->work);
    request->work = NULL;
    coordinator->free_indices[coordinator->free_count++] =
        (uint32_t)(request - coordinator->requests);
    in_flight_changed(coordinator);
}

static bool wakes_somebody(const struct coordinator *coordinator, const struct heap_entry *entry)
{
    const struct request *request = &coordinator->requests[entry->tie & 0xFFFF];
    return request->state != REQUEST_FREE && request->id == entry->tie &&
           request->wake_at_ns == entry->key;
}

/* Drops the entries that wake nobody, so that the heap stays within a few entries a request however
 * long deadlines are. */
static void wakes_compact(struct coordinator *coordinator)
{
    struct heap kept;
    heap_init(&kept);
    for (size_t i = 0; i < coordinator->wakes.count; i++) {
        if (wakes_somebody(coordinator, &coordinator->wakes.entries[i]))
            heap_push(&kept, coordinator->wakes.entries[i]);
    }
    heap_deinit(&coordinator->wakes);
    coordinator->wakes = kept;
}

void coordinator_request_drop_wakes(struct coordinator *coordinator)
{
    const struct heap_entry *least;
    while ((least = heap_peek(&coordinator->wakes)) != NULL && !wakes_somebody(coordinator, least))
        heap_pop(&coordinator->wakes);
}

uint64_t coordinator_request_first_ns(const struct request *request)
{
    uint64_t at_ns = request->deadline_ns;
    if (request->late_at_ns < at_ns)
        at_ns = request->late_at_ns;
    if (request->hedge_at_ns < at_ns)
        at_ns = request->hedge_at_ns;
    if (request->soon_at_ns < at_ns)
        at_ns = request->soon_at_ns;
    return at_ns;
}

void coordinator_request_wake(struct coordinator *coordinator, struct request *request)
{
    uint64_t at_ns = coordinator_request_first_ns(request);
    if (at_ns >= request->wake_at_ns)
        return;
    if (coordinator->wakes.count >= 8 * (size_t)coordinator->options.requests_max + 64)
        wakes_compact(coordinator);
    request->wake_at_ns = at_ns;
    heap_push(&coordinator->wakes, (struct heap_entry){.key = at_ns, .tie = request->id});
}

void coordinator_request_set_late(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint64_t late_ns)
{
    request->late_ns = late_ns;
    request->late_at_ns = ctx->now_ns + late_ns;
    if (request->late_at_ns >= request->deadline_ns)
        request->late_at_ns = NEVER_NS;
    coordinator_request_wake(coordinator, request);
}

void coordinator_request_set_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint64_t first_ns)
{
    if (request->soon_at_ns != NEVER_NS)
        return;
    request->soon_ns = request->soon_ns == 0 ? first_ns : 2 * request->soon_ns;
    if (request->soon_ns > SOON_NS_MAX)
        request->soon_ns = SOON_NS_MAX;
    request->soon_at_ns = ctx->now_ns + request->soon_ns;
    if (request->soon_at_ns >= request->deadline_ns)
        request->soon_at_ns = NEVER_NS;
    coordinator_request_wake(coordinator, request);
}

struct bytes coordinator_request_key(const struct request *request)
{
    const struct message *origin = request->origin;
    if (origin->kind == MESSAGE_register_settle)
        return origin->register_settle.key;
    return origin->kind == MESSAGE_client_get ? origin->client_get.key
                                              : coordinator_put_request(origin)->key;
}

struct replica_write coordinator_request_write(const struct request *request, struct arena *arena,
                                               struct bytes record, enum write_reason reason)
{
    const struct message *origin = request->origin;
    struct replica_write write = {
        .key = arena_copy(arena, coordinator_request_key(request)),
        .record = arena_copy(arena, record),
        .policy = request->policy,
        .partition = request->partition,
        .reason = reason,
        .floor = request->floor,
    };
    if (origin->kind == MESSAGE_client_get) {
        write.keyspace_id = origin->client_get.keyspace_id;
        return write;
    }
    const struct put_request *put = coordinator_put_request(origin);
    write.keyspace_id = put->keyspace_id;
    if (put->request_id.size != 0) {
        write.request_id = arena_copy(arena, put->request_id);
        write.request_context = arena_copy(arena, request->mint->replica_mint_done.context);
    }
    return write;
}

void coordinator_request_send_write(struct coordinator *coordinator, struct actor_context *ctx,
                                    const struct request *request, uint32_t member,
                                    struct bytes record, enum write_reason reason)
{
    struct message *message =
        message_new(MESSAGE_replica_write, coordinator_request_key(request).size + record.size);
    message->id = request->id;
    message->to = (struct actor_id){.node = member, .kind = ACTOR_REPLICA};
    message->deadline_ns = request->deadline_ns;
    message->replica_write = coordinator_request_write(request, &message->arena, record, reason);
    coordinator_request_send(coordinator, ctx, request, message);
}

void coordinator_request_send(struct coordinator *coordinator, struct actor_context *ctx,
                              const struct request *request, struct message *message)
{
    message->epoch = request->epoch;
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

bool coordinator_request_is_minter(const struct coordinator *coordinator,
                                   const struct request *request, uint32_t index)
{
    return request->replicas.replicas[index].member == coordinator->options.self &&
           request->replicas.replicas[index].reader;
}
