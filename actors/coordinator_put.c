/* The write side: mint here or pass on to a replica, count durable copies. DESIGN.md 7. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"

#include <stdlib.h>

const struct put_request *coordinator_put_request(const struct message *origin)
{
    return origin->kind == MESSAGE_client_put ? &origin->client_put.request
                                              : &origin->forward_put.request;
}

/* An answer in the form that the origin expects; its result is the caller's to fill. */
static struct message *put_answer(const struct message *origin, size_t size_hint,
                                  struct put_result **ret_result)
{
    if (origin->kind == MESSAGE_client_put) {
        struct message *answer = message_new_reply(origin, MESSAGE_client_put_done, size_hint);
        answer->client_put_done.client = origin->client_put.client;
        *ret_result = &answer->client_put_done.result;
        return answer;
    }
    CHECK(origin->kind == MESSAGE_forward_put);
    struct message *answer = message_new_reply(origin, MESSAGE_forward_put_reply, size_hint);
    *ret_result = &answer->forward_put_reply.result;
    return answer;
}

/* Answered; kept until no replica is left without the write or a hint of it. At most half of the
 * table is such requests. */
static void put_settle(struct coordinator *coordinator, struct actor_context *ctx,
                       struct request *request)
{
    if (coordinator_hint_settled(coordinator, request) ||
        2 * coordinator->settling_count >= coordinator->options.requests_max) {
        coordinator_hint_tell_lacking(coordinator, ctx, request);
        coordinator_request_end(coordinator, request);
        return;
    }
    coordinator_request_settle(coordinator, request);
    request->deadline_ns = ctx->now_ns + 6 * coordinator->options.write_late_ns;
    /* After a long pause the deadline has come before what was late, and took its wake-up. */
    if (request->late_at_ns == NEVER_NS || request->late_at_ns <= ctx->now_ns)
        coordinator_request_set_late(coordinator, ctx, request, coordinator->options.write_late_ns);
}

static void put_end(struct coordinator *coordinator, struct actor_context *ctx,
                    struct request *request, enum err status, enum outcome outcome, const char *why)
{
    struct put_result *result;
    const struct replica_mint_done *mint =
        request->mint == NULL ? NULL : &request->mint->replica_mint_done;
    struct message *answer =
        put_answer(request->origin, mint == NULL ? 0 : mint->context.size, &result);
    result->status = status;
    result->outcome = outcome;
    result->why = why == NULL ? NULL : arena_string(&answer->arena, bytes_of_string(why));
    coordinator_request_progress(request, &result->progress);
    if (mint != NULL && outcome == OUTCOME_APPLIED) {
        result->context = arena_copy(&answer->arena, mint->context);
        result->sibling_count = mint->sibling_count;
    }
    if (status == ERR_UNAVAILABLE)
        counter_add(&coordinator->figures.unavailable, 1);
    if (status == ERR_OVERLOADED)
        result->retry_after_ms = 100;
    outbox_send(ctx, &coordinator->actor, answer);
    if (mint != NULL) { /* applied or not known: it is here, so it is owed to all */
        put_settle(coordinator, ctx, request);
        return;
    }
    if (outcome == OUTCOME_UNKNOWN && request->state == REQUEST_WRITING)
        coordinator_hint_tell_lacking(coordinator, ctx, request);
    coordinator_request_end(coordinator, request);
}

/* -- this node holds a replica: mint here --------------------------------------------------------
 */

static void put_mint(struct coordinator *coordinator, struct actor_context *ctx,
                     struct request *request)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    struct message *message =
        message_new(MESSAGE_replica_mint, put->key.size + put->value.size + put->context.size);
    struct replica_mint *mint = &message->replica_mint;
    message->id = request->id;
    message->to = (struct actor_id){.node = coordinator->options.self, .kind = ACTOR_REPLICA};
    message->deadline_ns = request->deadline_ns;
    put_request_copy(&message->arena, put, &mint->request);
    mint->policy = request->policy;
    mint->partition = request->partition;
    mint->hash = request->hash;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        if (member != coordinator->options.self && view_alive(ctx->view, member))
            mint->targets[mint->target_count++] = member;
    }
    coordinator_remote_route(coordinator, ctx->view, request, mint);
    coordinator_request_set_late(coordinator, ctx, request, coordinator->options.write_late_ns);
    coordinator_request_send(coordinator, ctx, request, message);
}

/* Levels that speak of the local data centre mean this node's: a coordinator in another one would
 * count there. */
static bool put_stays_local(const struct request *request)
{
    return request->quorum.level == CONSISTENCY_LOCAL_ONE ||
           request->quorum.level == CONSISTENCY_LOCAL_QUORUM;
}

/* Pass it on to the first live replica that is read and has not been tried, which coordinates it;
 * local data centre first. False: there is none. */
static bool put_forward(struct coordinator *coordinator, struct actor_context *ctx,
                        struct request *request)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        bool remote = request->replicas.replicas[i].data_center != ctx->view->local_data_center;
        if ((request->asked >> i & 1) != 0 || !request->replicas.replicas[i].reader ||
            !view_alive(ctx->view, member) || (remote && put_stays_local(request)))
            continue;
        struct message *message =
            message_new(MESSAGE_forward_put, put->key.size + put->value.size + put->context.size);
        message->id = request->id;
        message->to = (struct actor_id){.node = member, .kind = ACTOR_COORDINATOR};
        message->deadline_ns = request->deadline_ns;
        put_request_copy(&message->arena, put, &message->forward_put.request);
        request->asked |= (uint64_t)1 << i;
        request->forwarded_to = member;
        counter_add(&coordinator->figures.forwarded, 1);
        coordinator_request_send(coordinator, ctx, request, message);
        return true;
    }
    return false;
}

static void put_forward_first(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request)
{
    if (!put_forward(coordinator, ctx, request)) {
        put_end(coordinator, ctx, request, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED,
                "no replica of the key is alive");
        return;
    }
    coordinator_request_move(request, REQUEST_FORWARDED);
    coordinator_request_wake(coordinator, request);
}

/* Our own copy is not to be written on, so nothing was staged; another replica's may be. */
static bool put_is_for_another(enum err status)
{
    return status == ERR_INCOMPLETE || status == ERR_CORRUPT;
}

/* False: no other replica can be asked, or it is not ours to ask. */
static bool put_mint_elsewhere(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, enum err status)
{
    int own = coordinator_request_replica_index(request, coordinator->options.self);
    if (!put_is_for_another(status) || request->origin->kind != MESSAGE_client_put)
        return false;
    request->asked |= (uint64_t)1 << own;
    if (!put_forward(coordinator, ctx, request))
        return false;
    coordinator_request_move(request, REQUEST_FORWARDED);
    request->late_at_ns = NEVER_NS;
    coordinator_request_wake(coordinator, request);
    return true;
}

static void put_refuse(struct coordinator *coordinator, struct actor_context *ctx,
                       struct message *origin)
{
    struct put_result *result;
    struct message *answer = put_answer(origin, 0, &result);
    result->status = ERR_OVERLOADED;
    result->outcome = OUTCOME_NOT_APPLIED;
    result->why = "too many requests in flight on this node";
    result->retry_after_ms = 100;
    outbox_send(ctx, &coordinator->actor, answer);
    message_free(origin);
}

/* A replica that is only written has not got all that a dot must be above. */
static bool put_mints_here(const struct coordinator *coordinator, const struct request *request)
{
    int own = coordinator_request_replica_index(request, coordinator->options.self);
    return own >= 0 && request->replicas.replicas[own].reader;
}

static void put_begin(struct coordinator *coordinator, struct actor_context *ctx,
                      struct message *origin)
{
    const char *why = NULL;
    struct request *request = coordinator_request_new(coordinator, ctx, origin, REQUEST_WRITING);
    if (request == NULL) {
        put_refuse(coordinator, ctx, origin);
        return;
    }
    const struct put_request *put = coordinator_put_request(origin);
    if (put->condition != REGISTER_ALWAYS) {
        put_end(coordinator, ctx, request, ERR_PRECONDITION, OUTCOME_NOT_APPLIED,
                "condition: only a consistent keyspace has compare-and-set");
        return;
    }
    enum err err = coordinator_request_plan(coordinator, ctx, request, put->keyspace_id, put->key,
                                            put->level, put->count, put, &why);
    if (err != OK) {
        put_end(coordinator, ctx, request, err, OUTCOME_NOT_APPLIED, why);
        return;
    }
    if (put_mints_here(coordinator, request))
        put_mint(coordinator, ctx, request);
    else if (origin->kind == MESSAGE_client_put)
        put_forward_first(coordinator, ctx, request);
    else
        put_end(coordinator, ctx, request, ERR_STALE_EPOCH, OUTCOME_NOT_APPLIED,
                "passed on to a node that holds no replica of the key that is read");
}

void coordinator_on_client_put(struct coordinator *coordinator, struct actor_context *ctx,
                               struct message *message)
{
    counter_add(&coordinator->figures.puts, 1);
    if (coordinator_register_takes(ctx, message->client_put.request.keyspace_id)) {
        coordinator_register_begin(coordinator, ctx, message);
        return;
    }
    put_begin(coordinator, ctx, message);
}

/* Whether this forward_put has not come before. Ids of one sender ascend (coordinator.c). */
static bool forward_is_new(struct coordinator *coordinator, const struct message *message)
{
    struct actor_id from = message->from;
    struct forward_origin **slot =
        &coordinator->origins[(from.node * COORDINATORS_MAX + from.index) % COORDINATOR_ORIGINS];
    if (*slot == NULL) {
        *slot = calloc(1, sizeof **slot);
        CHECK(*slot != NULL);
        (*slot)->id = from;
    } else if (!actor_id_equal((*slot)->id, from)) {
        memset(*slot, 0, sizeof **slot);
        (*slot)->id = from;
    }
    if (MUTATE(FORWARD_WRITTEN_TWICE))
        return true;
    return replay_window_accept(&(*slot)->window, message->id >> 16);
}

void coordinator_on_forward_put(struct coordinator *coordinator, struct actor_context *ctx,
                                struct message *message)
{
    if (!forward_is_new(coordinator, message)) {
        counter_add(&coordinator->figures.duplicates, 1);
        message_free(message);
        return;
    }
    counter_add(&coordinator->figures.taken_over, 1);
    put_begin(coordinator, ctx, message);
}

/* Whether the write can be given to another replica: this one has not applied it and never will. */
static bool forward_was_refused(const struct message *message)
{
    const struct put_result *result = &message->forward_put_reply.result;
    return result->outcome == OUTCOME_NOT_APPLIED &&
           (result->status == ERR_UNAVAILABLE || result->status == ERR_STALE_EPOCH ||
            put_is_for_another(result->status));
}

void coordinator_on_forward_put_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    /* One that was tried before and answers twice must not move the write a second time. */
    if (request != NULL && request->state == REQUEST_FORWARDED &&
        message->from.node == request->forwarded_to &&
        !(forward_was_refused(message) && put_forward(coordinator, ctx, request))) {
        struct put_result *result;
        const struct put_result *from = &message->forward_put_reply.result;
        struct message *answer = put_answer(request->origin, from->context.size, &result);
        put_result_copy(&answer->arena, from, result);
        outbox_send(ctx, &coordinator->actor, answer);
        coordinator_request_end(coordinator, request);
    }
    message_free(message);
}

/* -- counting durable copies
 * ---------------------------------------------------------------------------- */

void coordinator_put_decide(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request)
{
    if (request->state == REQUEST_SETTLING) {
        if (!coordinator_hint_settled(coordinator, request))
            return;
        coordinator_hint_tell_lacking(coordinator, ctx, request);
        coordinator_request_end(coordinator, request);
        return;
    }
    enum quorum_state state = quorum_state(&request->quorum);
    if (state == QUORUM_MET && request->mint != NULL)
        put_end(coordinator, ctx, request, OK, OUTCOME_APPLIED, NULL);
    else if (state == QUORUM_IMPOSSIBLE)
        put_end(coordinator, ctx, request, coordinator_request_failure(request), OUTCOME_UNKNOWN,
                "too many replicas could not take the write; some have it");
}

void coordinator_on_replica_mint_done(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    const struct replica_mint_done *done = &message->replica_mint_done;
    if (request == NULL || request->state != REQUEST_WRITING || request->mint != NULL) {
        message_free(message);
        return;
    }
    if (done->status != OK) {
        CHECK(!done->staged);
        if (!put_mint_elsewhere(coordinator, ctx, request, done->status))
            put_end(coordinator, ctx, request, done->status, OUTCOME_NOT_APPLIED, done->why);
        message_free(message);
        return;
    }
    request->mint = message;
    request->floor = done->floor;
    quorum_ack(&request->quorum, coordinator->options.self);
    /* Tried again, deleted since and reaped: for that all replicas had to hold it. */
    for (uint32_t i = 0; i < request->replicas.count && done->record.size == 0; i++)
        quorum_ack(&request->quorum, request->replicas.replicas[i].member);
    coordinator_refresh_on_late(coordinator, ctx, request);
    coordinator_remote_resend(coordinator, ctx, request);
    coordinator_hint_minted(coordinator, ctx, request);
    coordinator_put_decide(coordinator, ctx, request);
}

void coordinator_put_on_written(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, uint32_t member, enum err status)
{
    int index = coordinator_request_replica_index(request, member);
    if (member == coordinator->options.self || index < 0)
        return;
    if (status == OK) {
        quorum_ack(&request->quorum, member);
        request->stood_in &= ~((uint64_t)1 << index);
        coordinator_refresh_taken(coordinator, ctx, request, (uint32_t)index);
    } else if (status == ERR_STALE_FLOOR) {
        coordinator_refresh_refused(coordinator, ctx, request, (uint32_t)index);
    } else {
        if (status == ERR_UNAVAILABLE)
            coordinator_remote_lost(coordinator, ctx, request, (uint32_t)index);
        coordinator_hint_refused(coordinator, ctx, request, (uint32_t)index, status);
    }
    coordinator_put_decide(coordinator, ctx, request);
}

void coordinator_on_hint_store_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                     struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    uint32_t keeper = message->from.node;
    enum err status = message->hint_store_reply.status;
    message_free(message);
    if (request != NULL &&
        (request->state == REQUEST_WRITING || request->state == REQUEST_SETTLING) &&
        coordinator_hint_answered(coordinator, ctx, request, keeper, status))
        coordinator_put_decide(coordinator, ctx, request);
}

/* A write to a replica may be lost on its way; it is a state, so it may come twice. A replica that
 * is this slow gets a hint as well, and a fallback may answer in its place. */
void coordinator_put_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    if (request->mint == NULL)
        return; /* not durable here yet: nothing to send again */
    struct bytes record = coordinator_refresh_record(request);
    coordinator_refresh_on_late(coordinator, ctx, request);
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        uint32_t member = request->quorum.members[i].member;
        if (request->quorum.members[i].state != REPLICA_WAITING ||
            member == coordinator->options.self || ((request->away | request->stale) >> i & 1) != 0)
            continue;
        counter_add(&coordinator->figures.asked_again, 1);
        coordinator_request_send_write(coordinator, ctx, request, member, record, WRITE_REPLICATE);
    }
    coordinator_hint_late(coordinator, ctx, request);
}

void coordinator_put_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request)
{
    enum outcome outcome = OUTCOME_UNKNOWN;
    if (MUTATE(TIMEOUT_IS_NOT_APPLIED))
        outcome = OUTCOME_NOT_APPLIED;
    put_end(coordinator, ctx, request, ERR_TIMEOUT, outcome,
            request->state == REQUEST_FORWARDED
                ? "the replica that the write was passed on to did not answer in time"
                : "too few replicas acknowledged in time");
}
